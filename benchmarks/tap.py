"""What a tap costs: exchanges, bytes, host time and modelled radio time, for issue, top-up and sale.

    python benchmarks/tap.py [--json] [--taps 50] [--no-pcsc]

`sale` is the card's part alone; `till` is the whole sale, with intent and voucher made durable on the
disk of the folder it is run in. `sim:` talks to the card in process, `pcsc:` through pyscard, pcscd and the virtual reader. Host time
is wall time less the time that the simulated card computed: Python, cryptography, pcscd. Radio time
is the model of `dobmi.firmware_sim.timing`: bits on the air and the card's own work. The limit is
promise P7: from card on reader to "paid" in 300 ms.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.personalise import personalise
from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import CardKey, Holder, ReaderId
from dobmi.cardlib.readers import CardConnection, Reader, open_reader
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.pcscd import PcscdUnavailable, ensure_pcscd
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.firmware_sim.timing import RadioTiming, TimedCard
from dobmi.firmware_sim.vpcd import VirtualSlot
from dobmi.money import ZERO, Rupiah
from dobmi.sync.enrolment import Enrolment
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.shift import open_shift
from dobmi.terminal.staff import Cashier
from dobmi.terminal.till import Till

LIMIT_MILLISECONDS = 300
BALANCE_MAX = Rupiah(2_000_000)
ORIGINALITY_KEYS = {**NXP_PUBLIC_KEYS, "simulation": SIMULATION_PUBLIC_KEY}
RATES = (106, 424)


class Stopwatch:
    """A card that counts its exchanges, its bytes, its modelled time and its real time."""

    def __init__(self) -> None:
        self.card = SimulatedCard()
        self._timed = {rate: RadioTiming(rate) for rate in RATES}
        self._inner = TimedCard(self.card)
        self.reset()

    def reset(self) -> None:
        self.exchanges = self.sent = self.received = 0
        self.real_seconds = 0.0
        self.radio_seconds = dict.fromkeys(RATES, 0.0)

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
        self.sent += len(frame)
        self.received += len(answer)
        for rate, timing in self._timed.items():
            self.radio_seconds[rate] += timing.exchange_seconds(
                len(frame), len(answer), 64
            ) + timing.work_seconds(work)
        return answer


@dataclass(frozen=True)
class Row:
    path: str
    operation: str
    exchanges: int
    bytes_to_card: int
    bytes_from_card: int
    host_milliseconds_median: float
    radio_milliseconds_106: float
    radio_milliseconds_424: float
    total_milliseconds_106: float


@contextmanager
def in_process(card: Stopwatch) -> Iterator[Reader]:
    yield SimulatedReader(card)


@contextmanager
def through_pcscd(card: Stopwatch) -> Iterator[Reader]:
    with ensure_pcscd() as pcscd, VirtualSlot(port=pcscd.port) as slot:
        slot.insert(card)
        reader = open_reader("pcsc:Virtual PCD 00 00")
        try:
            if not reader.wait_for_card(5):
                raise PcscdUnavailable("the card does not show up in the virtual reader")
            yield reader
        finally:
            reader.close()


def measure(
    path: str,
    operation: str,
    *,
    card: Stopwatch,
    connect: Callable[[], CardConnection],
    act: Callable[[CardConnection], None],
    times: int,
) -> Row:
    host, radio = [], dict.fromkeys(RATES, 0.0)
    for _ in range(times):
        connection = connect()
        card.reset()
        begun = time.perf_counter()
        act(connection)
        host.append(time.perf_counter() - begun - card.real_seconds)
        radio = dict(card.radio_seconds)
        connection.disconnect()
    host_milliseconds = statistics.median(host) * 1000
    return Row(
        path=path,
        operation=operation,
        exchanges=card.exchanges,
        bytes_to_card=card.sent,
        bytes_from_card=card.received,
        host_milliseconds_median=round(host_milliseconds, 2),
        radio_milliseconds_106=round(radio[106] * 1000, 1),
        radio_milliseconds_424=round(radio[424] * 1000, 1),
        total_milliseconds_106=round(host_milliseconds + radio[106] * 1000, 1),
    )


def rows_of(
    path: str, way: Callable[[Stopwatch], AbstractContextManager[Reader]], taps: int
) -> Iterator[Row]:
    ring = KeyRing.generate(list(CardKey), ["card-issuer"])
    issuer = ring.public_key("card-issuer")
    holder = Holder(member_number=1, name="Siti Aminah", card_serial=1, expires=date(2031, 1, 1))
    card = Stopwatch()
    sequence = {"credit": 0, "sale": 0}

    def issue(connection: CardConnection) -> None:
        personalise(
            connection,
            ring,
            holder,
            lambda message: ring.sign("card-issuer", message),
            balance_max=BALANCE_MAX,
            originality_keys=ORIGINALITY_KEYS,
        )

    def top_up(connection: CardConnection) -> None:
        sequence["credit"] += 1
        purse = Purse(connection, ring, issuer)
        purse.begin_credit(sequence["credit"])
        purse.stage(purse.prepare_credit(Rupiah(20_000), 1_790_000_000, balance_max=BALANCE_MAX))
        purse.commit()

    def sale(connection: CardConnection) -> None:
        sequence["sale"] += 1
        purse = Purse(connection, ring, issuer)
        purse.begin_sale(ReaderId(terminal_id=1, sequence=sequence["sale"]))
        purse.stage(purse.prepare_debit(Rupiah(12_500), 1_790_000_000))
        purse.commit()

    with way(card) as reader:
        tap = functools.partial(measure, path, card=card, connect=reader.connect)
        yield tap("issue", act=issue, times=1)
        yield tap("top-up", act=top_up, times=taps)
        yield tap("sale", act=sale, times=taps)
        with a_till(ring, reader) as till:
            yield tap("till", act=lambda _: sell_at(till), times=taps)


@contextmanager
def a_till(ring: KeyRing, reader: Reader) -> Iterator[Till]:
    """A till with its ledger on this machine's disk."""
    signing = KeyRing.generate(signing=["terminal", "server"])
    enrolment = Enrolment(
        terminal_id=2,
        terminal_public_key=signing.public_key("terminal"),
        server_public_key=signing.public_key("server"),
        card_issuer_public_key=ring.public_key("card-issuer"),
        issuer="Koperasi BMI",
        seller="Toko Cikupa",
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        database = Path(folder) / "terminal.db"
        ledger = Ledger(database)
        ledger.store_identity(enrolment, int(time.time()))
        open_shift(ledger, Cashier("kasir"), ZERO, int(time.time()))
        ledger.close()
        with Till(database=database, signing=signing, custody=ring, reader=reader) as till:
            yield till


def sell_at(till: Till) -> None:
    till.sell(Rupiah(2_500))


def show(rows: list[Row]) -> None:
    print(f"{'path':7}{'what':8}{'exchanges':>10}{'to card':>9}{'from':>7}{'host ms':>9}"
          f"{'radio ms 106':>14}{'424':>7}{'sum at 106':>12}")  # fmt: skip
    for row in rows:
        print(
            f"{row.path:7}{row.operation:8}{row.exchanges:>10}{row.bytes_to_card:>9}"
            f"{row.bytes_from_card:>7}{row.host_milliseconds_median:>9.2f}"
            f"{row.radio_milliseconds_106:>14.1f}{row.radio_milliseconds_424:>7.1f}"
            f"{row.total_milliseconds_106:>12.1f}"
        )
    print(f"\nLimit (P7): {LIMIT_MILLISECONDS} ms from card on reader to paid.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--taps", type=int, default=50, help="top-ups and sales measured")
    parser.add_argument("--no-pcsc", action="store_true", help="leave pcscd out")
    arguments = parser.parse_args()
    rows = list(rows_of("sim:", in_process, arguments.taps))
    if not arguments.no_pcsc:
        try:
            rows += rows_of("pcsc:", through_pcscd, arguments.taps)
        except (PcscdUnavailable, OSError) as error:
            sys.exit(f"pcscd: {error} (--no-pcsc leaves it out)")
    if arguments.json:
        print(
            json.dumps(
                {"limit_milliseconds": LIMIT_MILLISECONDS, "rows": [asdict(row) for row in rows]}
            )
        )
    else:
        show(rows)


if __name__ == "__main__":
    main()
