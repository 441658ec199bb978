"""What issuing a batch costs: cards per hour, exchanges and relay messages a card, host time.

    python benchmarks/issuing.py [--json] [--cards 20] [--hand-seconds 3]

A central server process of its own (`dobmi central serve`) on loopback, a station's queue, and simulated cards
one after the other. Host time is wall time from the card's being found to its being issued, less the time in
which the simulated card itself computed. Radio time is the model of `dobmi.firmware_sim.timing`. `hand` is what
the clerk's hand needs to change cards, which nothing here measures: 3 seconds by default.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import requests

from dobmi.cardlib.custody import load_key_file
from dobmi.central.database import open_database
from dobmi.central.schema import Role
from dobmi.central.server import Central
from dobmi.central.terminals import invite
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.firmware_sim.timing import RadioTiming
from dobmi.provisioning import issuing
from dobmi.provisioning.enrolment import Station, enrol_station, open_station
from dobmi.provisioning.issuing import GivenLine
from dobmi.provisioning.queue import QueueControls, QueuePhase, StationDesk, issue_queue
from dobmi.settings import load_settings
from dobmi.sync import relay_client
from dobmi.sync.relay import Commands, decode_relay

PASSPHRASE = "benchmark"  # noqa: S105 - of keys that are thrown away
RATES = (106, 424)
START_SECONDS = 60.0


class CountedCard:
    """A card that counts its exchanges, its modelled time and its real time."""

    def __init__(self) -> None:
        self.card = SimulatedCard()
        self.exchanges = 0
        self.real_seconds = 0.0
        self.radio_seconds = dict.fromkeys(RATES, 0.0)
        self._timings = {rate: RadioTiming(rate) for rate in RATES}
        self.card.take_work()

    @property
    def uid(self) -> bytes:
        return self.card.uid

    @property
    def ats(self) -> bytes:
        return self.card.ats

    def power_off(self) -> None:
        self.card.power_off()

    def process(self, frame: bytes) -> bytes:
        begun = time.perf_counter()
        answer = self.card.process(frame)
        self.real_seconds += time.perf_counter() - begun
        work = self.card.take_work()
        self.exchanges += 1
        for rate, timing in self._timings.items():
            self.radio_seconds[rate] += timing.exchange_seconds(
                len(frame), len(answer), 64
            ) + timing.work_seconds(work)
        return answer


@dataclass(frozen=True)
class Result:
    cards: int
    exchanges_a_card: int
    relay_messages_a_card: float
    host_milliseconds_median: float
    radio_milliseconds_106: float
    radio_milliseconds_424: float
    network_milliseconds_each_way: int
    hand_seconds: float
    cards_per_hour_106: int
    cards_per_hour_424: int
    cards_per_hour_106_no_hand: int


@contextmanager
def central_process(folder: Path) -> Iterator[tuple[str, Central]]:
    """The server's address, and its own view of the same database to make invitations."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "dobmi.toml"
    key = SIMULATION_PUBLIC_KEY.hex()
    settings.write_text(
        f'[central]\nport = {port}\n[central.originality_keys]\nsimulation = "{key}"\n'
    )
    environment = {**os.environ, "DOBMI_PASSPHRASE": PASSPHRASE, "DOBMI_CONFIG": str(settings)}
    program = [sys.executable, "-m", "dobmi", "central"]
    for command in (["keys", "init"], ["init"]):
        subprocess.run([*program, *command], env=environment, check=True, capture_output=True)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*program, "serve"], env=environment, stderr=log, stdout=log)
    url = f"http://127.0.0.1:{port}"
    loaded = load_settings(settings).central
    database = open_database(loaded.database, folder)
    try:
        _until_ready(url, server, folder / "log")
        yield url, Central(database, load_key_file(folder / "central.keys", PASSPHRASE), loaded)
    finally:
        database.close()
        server.terminate()
        server.wait()


def _until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if requests.get(f"{url}/readyz", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    sys.exit(f"the server does not start:\n{log.read_text()}")


@contextmanager
def messages_counted() -> Iterator[list[int]]:
    """How many messages with commands the station gets, by the relay's own decoder."""
    counted = [0]

    def decode(data: bytes) -> object:
        message = decode_relay(data)
        counted[0] += isinstance(message, Commands)
        return message

    with patch.object(relay_client, "decode_relay", decode):
        yield counted


def run(station: Station, count: int, hand_seconds: float) -> list[Result]:
    lines = [
        GivenLine(member_number=number, name=f"Anggota {number}") for number in range(1, count + 1)
    ]
    batch = issuing.make_batch(station, "Benchmark", lines, "benchmark-0001")
    reader = SimulatedReader()
    cards: list[CountedCard] = []
    host: list[float] = []
    begun = 0.0
    with messages_counted() as messages:
        for state in issue_queue(
            StationDesk(station, batch.number), lambda: reader, QueueControls()
        ):
            match state.phase:
                case QueuePhase.LAY if reader.field.card is None:
                    cards.append(CountedCard())
                    begun = time.perf_counter()
                    reader.insert(cards[-1])
                case QueuePhase.ISSUED if reader.field.card is not None and state.line is None:
                    host.append(time.perf_counter() - begun - cards[-1].real_seconds)
                case QueuePhase.ISSUED | QueuePhase.FINISHED:
                    if len(host) < len(cards):
                        host.append(time.perf_counter() - begun - cards[-1].real_seconds)
                    reader.remove()
                case QueuePhase.STOPPED:
                    sys.exit(f"stopped: {state.trouble}")
    assert len(cards) == count
    relayed = messages[0] / count
    middle = statistics.median(host)
    radio = {rate: statistics.median(card.radio_seconds[rate] for card in cards) for rate in RATES}

    def hourly(rate: int, network_seconds: float, hand: float) -> int:
        return round(3600 / (middle + radio[rate] + 2 * network_seconds * (relayed + 3) + hand))

    return [
        Result(
            cards=count,
            exchanges_a_card=round(statistics.median(card.exchanges for card in cards)),
            relay_messages_a_card=round(relayed, 1),
            host_milliseconds_median=round(middle * 1000, 1),
            radio_milliseconds_106=round(radio[106] * 1000, 1),
            radio_milliseconds_424=round(radio[424] * 1000, 1),
            network_milliseconds_each_way=milliseconds,
            hand_seconds=hand_seconds,
            cards_per_hour_106=hourly(106, milliseconds / 1000, hand_seconds),
            cards_per_hour_424=hourly(424, milliseconds / 1000, hand_seconds),
            cards_per_hour_106_no_hand=hourly(106, milliseconds / 1000, 0),
        )
        for milliseconds in (0, 20, 50, 150)
    ]


def show(results: list[Result]) -> None:
    first = results[0]
    print(
        f"{first.cards} cards: {first.exchanges_a_card} exchanges and "
        f"{first.relay_messages_a_card} relay messages a card, host {first.host_milliseconds_median} ms "
        f"(median), radio {first.radio_milliseconds_106} ms at 106 kbit/s, "
        f"{first.radio_milliseconds_424} at 424"
    )
    print(f"cards an hour with {first.hand_seconds} s for the hand (reckoned for the network):")
    print(f"{'network ms each way':>20}{'at 106':>9}{'at 424':>9}{'106, no hand':>14}")
    for one in results:
        print(
            f"{one.network_milliseconds_each_way:>20}{one.cards_per_hour_106:>9}"
            f"{one.cards_per_hour_424:>9}{one.cards_per_hour_106_no_hand:>14}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--cards", type=int, default=20)
    parser.add_argument("--hand-seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        with central_process(folder) as (url, central):
            invitation = invite(central, Role.STATION, "Benchmark", "Kantor")
            files = folder / "station.keys", folder / "station.json"
            enrol_station(url, str(invitation), *files, PASSPHRASE)
            station = open_station(url, *files, PASSPHRASE)
            results = run(station, arguments.cards, arguments.hand_seconds)
    if arguments.json:
        print(json.dumps({"rows": [asdict(result) for result in results]}))
    else:
        show(results)


if __name__ == "__main__":
    main()
