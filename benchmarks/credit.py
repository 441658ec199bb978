"""What a relayed credit costs with a network between: time, round trips, and how near the least they are.

    python benchmarks/credit.py [--json] [--times 20] [--delay 0 20 50 150]

The central server, whole, on a port of its own; between it and the station a proxy that holds every
byte back for the delay, each way, and the connection itself for as long as TCP's own handshake would
take. The card is simulated: its time is the model of `dobmi.firmware_sim.timing` at 106 kbit/s and
stands apart, as nothing sleeps for it. `least` is what no program could do without: the round trips
that the card's protocol needs (docs/credits.md), and the card. TLS would add one or two round trips.
"""

from __future__ import annotations

import argparse
import json
import queue
import secrets
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvicorn

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import CardRemoved
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.app import create_app
from dobmi.central.credit_orders import order_credit
from dobmi.central.database import open_database
from dobmi.central.issue_session import issue_card
from dobmi.central.schema import CreditSource, Role
from dobmi.central.server import Central
from dobmi.central.terminals import enrol, invite
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import FieldLost
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.timing import RadioTiming
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.client import Requester
from dobmi.sync.enrolment import encode_enrol_request, verify_enrolment
from dobmi.sync.relay import Action, CreditResult, Start
from dobmi.sync.relay_client import relay_card_session

DELAYS_MILLISECONDS = (0, 20, 50, 150)
ROUND_TRIPS_LEAST = 7
"""TCP's handshake, the WebSocket's, and five groups of commands."""
ROUND_TRIPS_UNGROUPED = 15
"""As it was with each of the twelve commands by itself, the first after a message of its own."""
RATE = 106
CREDIT = Rupiah(1_000)


class Card:
    """A connection to the simulated card that counts exchanges, modelled and real time."""

    def __init__(self, card: SimulatedCard) -> None:
        self._card = card
        self._timing = RadioTiming(RATE)
        self.uid = card.uid
        self.reset()

    def reset(self) -> None:
        self.exchanges = 0
        self.model_seconds = self.real_seconds = 0.0
        self._card.power_off()

    def transmit(self, command: bytes) -> bytes:
        begun = time.perf_counter()
        try:
            answer = self._card.process(command)
        except FieldLost as error:
            raise CardRemoved from error
        self.real_seconds += time.perf_counter() - begun
        self.exchanges += 1
        work = self._card.take_work()
        exchange = self._timing.exchange_seconds(len(command), len(answer), 64)
        self.model_seconds += exchange + self._timing.work_seconds(work)
        return answer

    def disconnect(self) -> None:
        self._card.power_off()


class SlowLink:
    """A TCP proxy that holds all back for `delay_seconds`, each way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_seconds = 0.0
        self.round_trips = 0
        self._went_up = False
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, delay_seconds: float) -> None:
        self.delay_seconds, self.round_trips, self._went_up = delay_seconds, 0, False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.round_trips += 1  # TCP's own
            far = socket.create_connection(("127.0.0.1", self._port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened = time.monotonic() + 2 * self.delay_seconds
            self._pump(near, far, opened, up=True)
            self._pump(far, near, opened, up=False)

    def _pump(self, source: socket.socket, sink: socket.socket, opened: float, *, up: bool) -> None:
        held: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def take() -> None:
            while True:
                try:
                    data = source.recv(65536)
                except OSError:
                    data = b""
                if not up and data and self._went_up:
                    self.round_trips += 1
                self._went_up = up if data else self._went_up
                held.put((max(opened, time.monotonic()) + self.delay_seconds, data))
                if not data:
                    return

        def give() -> None:
            while True:
                due, data = held.get()
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        threading.Thread(target=give, daemon=True).start()


@dataclass(frozen=True)
class Row:
    delay_milliseconds_each_way: int
    round_trips: int
    exchanges: int
    network_and_programs_milliseconds: float
    card_milliseconds_modelled: float
    total_milliseconds: float
    least_milliseconds: float
    ratio_to_least: float
    ungrouped_least_milliseconds: float


@contextmanager
def central_server(folder: Path) -> Iterator[tuple[Central, int]]:
    """Running, on a port of its own."""
    keys = KeyRing.generate(list(CardKey), ["card-issuer", "server"])
    database = open_database("sqlite:///central.db", folder)
    database.create_tables()
    settings = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})
    central = Central(database, keys, settings, lambda: int(time.time()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(central), log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield central, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


def station_of(central: Central) -> Requester:
    signing = KeyRing.generate(signing=["terminal"])
    public_key = signing.public_key("terminal")

    def sign(message: bytes) -> bytes:
        return signing.sign("terminal", message)

    invitation = invite(central, Role.STATION, "Kantor", "Kantor pusat")
    answer = enrol(central, encode_enrol_request(invitation.code, public_key, sign))
    identity = verify_enrolment(answer, invitation, public_key)
    return Requester(
        terminal_id=identity.terminal_id,
        public_key=public_key,
        sign=sign,
        now=lambda: int(time.time()),
    )


def measure(
    central: Central, requester: Requester, card: Card, link: SlowLink, *, delay: int, times: int
) -> Row:
    walls, round_trips = [], set()
    for number in range(times + 1):
        order_credit(
            central,
            card.uid,
            CREDIT,
            CreditSource.CASH,
            idempotency_key=secrets.token_hex(8),
            station=requester.terminal_id,
        )
        card.reset()
        link.reset(delay / 1000)
        begun = time.perf_counter()
        result = relay_card_session(
            f"http://127.0.0.1:{link.port}",
            requester,
            Start(Action.CREDIT, card.uid),
            card.transmit,
        )
        wall = time.perf_counter() - begun - card.real_seconds
        assert CreditResult.from_cbor(result).total == CREDIT
        if number:  # the first warms up
            walls.append(wall * 1000)
            round_trips.add(link.round_trips)
    card_time = card.model_seconds * 1000
    total = statistics.median(walls) + card_time
    least = ROUND_TRIPS_LEAST * 2 * delay + card_time
    return Row(
        delay_milliseconds_each_way=delay,
        round_trips=max(round_trips),
        exchanges=card.exchanges,
        network_and_programs_milliseconds=round(statistics.median(walls), 1),
        card_milliseconds_modelled=round(card_time, 1),
        total_milliseconds=round(total, 1),
        least_milliseconds=round(least, 1),
        ratio_to_least=round(total / least, 2),
        ungrouped_least_milliseconds=round(ROUND_TRIPS_UNGROUPED * 2 * delay + card_time, 1),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--delay", type=int, nargs="*", default=list(DELAYS_MILLISECONDS))
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        central_server(Path(folder)) as (central, port),
    ):
        link, requester = SlowLink(port), station_of(central)
        card = Card(SimulatedCard())
        issue_card(central, card, 4711, "Siti Aminah")
        rows = [
            measure(central, requester, card, link, delay=one, times=asked.times)
            for one in asked.delay
        ]
        link.close()
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            print(
                f"{row.delay_milliseconds_each_way:4} ms each way: {row.total_milliseconds:7.1f} ms "
                f"({row.network_and_programs_milliseconds:.1f} + card "
                f"{row.card_milliseconds_modelled:.1f}), {row.round_trips} round trips, "
                f"{row.exchanges} exchanges, {row.ratio_to_least:.2f} x the least; ungrouped at "
                f"least {row.ungrouped_least_milliseconds:.1f} ms"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
