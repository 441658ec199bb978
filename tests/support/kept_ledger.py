"""Makes the ledger that tests/terminal/kept holds for each version of the tables.

    cd tests && python -m support.kept_ledger

Run it once for a new version; the older ones stay as the programs of their time wrote them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

from dobmi.cardlib.custody import KeyRing
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import ZERO, Rupiah
from dobmi.sync.acknowledgement import Acknowledgement
from dobmi.sync.feed import KeysMin, Limits, SettledAs, Settlement, Settlements
from dobmi.sync.outlet import MemberNote, PinVerifier
from dobmi.sync.voucher import (
    DecisionVoucher,
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidVoucher,
)
from dobmi.terminal import print_queue
from dobmi.terminal.cart import Cart
from dobmi.terminal.errors import WrongPin
from dobmi.terminal.held_carts import hold_cart
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.outbox import keep_photo, record_taken
from dobmi.terminal.papers import paper_of_sale
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.schema import SCHEMA_VERSION
from dobmi.terminal.shift import close_shift, move_cash, open_shift, take_over
from dobmi.terminal.staff import Cashier, log_in_by_pin
from support.outlets import ANI, EGGS, ORDER, RICE, SITI, noted, ordered, staffed, stocked
from support.tills import NOW, Bench, card_with

KEPT = Path(__file__).parents[1] / "terminal" / "kept"
SIGNING = KeyRing(signing={"terminal": bytes(range(32))})
KINDS = [
    SaleVoucher,
    InDoubtVoucher,
    ResolutionVoucher,
    VoidVoucher,
    RefundVoucher,
    InDoubtVoucher,
    DecisionVoucher,
]
_COMMIT, _WRITE_RECORD = 0xC7, 0x8B


def kept_ledgers() -> dict[int, Path]:
    """By version."""
    return {int(path.stem.removeprefix("ledger_v")): path for path in KEPT.glob("ledger_v*.sql")}


def open_kept(path: Path, folder: Path) -> Bench:
    """A till that goes on with that ledger."""
    bench = Bench(folder, signing=SIGNING)
    with contextlib.closing(sqlite3.connect(bench.database)) as connection:
        connection.executescript(path.read_text(encoding="utf-8"))
    return bench


def make_ledger(folder: Path) -> Path:
    """One voucher of each kind, and a row or more in every table; its database."""
    bench = Bench(folder, signing=SIGNING).enrol()
    card = card_with()
    work_an_outlet(bench)
    with bench.open() as till:
        purchase = Purchase(Rupiah(12_500))
        till.bind_sale("halaman-1", purchase, order=ORDER.number)
        bench.tap(card)
        till.sell(purchase.amount, request="halaman-1")
        bench.tap(card, at_command(_COMMIT, Moment.AFTER))
        with contextlib.suppress(DoBMIError):
            till.sell(Rupiah(12_500))
        till.give_up()
        bench.tap(card)
        till.balance()
        bench.tap(card, at_command(_WRITE_RECORD))
        with contextlib.suppress(DoBMIError):
            till.sell(Rupiah(1_000))
        till.refund(1, Rupiah(500), reason="beras basah", request="halaman-2")
        bench.tap(card, at_command(_COMMIT, Moment.BEFORE))
        with contextlib.suppress(DoBMIError):
            till.sell(Rupiah(2_000))
        till.close_doubt(6, Outcome.NOT_PAID, supervisor=ANI, reason="kartu dibawa pulang")
    settled = Settlement(6, SettledAs.NOT_PAID, NOW, "card")
    bench.feed(
        blocked=(bytes(7),),
        credits_waiting=(card.uid,),
        settlements=Settlements(terminal_id=7, since=0, settled=(settled,)),
        limits=Limits(
            pin_above=Rupiah(100_000), keys_min=(KeysMin(2, NOW + 90 * 86_400),), cards_generation=1
        ),
        pins_locked=(bytes(7),),
    )
    with contextlib.closing(Ledger(bench.database)) as ledger:
        head = ledger.hash_at(5)
        assert head is not None
        ledger.record_acknowledgement(
            Acknowledgement(
                terminal_id=7,
                batch_hash=bytes(32),
                head_sequence=5,
                head_hash=head,
                unix_seconds=NOW,
                quarantined=((1, "kept"),),
            )
        )
        ledger.record_clock_reset("Ani", "jam salah")
        print_queue.add(ledger, paper_of_sale(ledger, "https://bmi.example", 1, str), NOW)
    return bench.database


def work_an_outlet(bench: Bench) -> None:
    """A row or more in the tables of the outlet; its second shift is open."""
    siti = replace(SITI, pin=PinVerifier(bytes(16), bytes(32)))
    note = MemberNote(ORDER.member_number, "karyawan", bytes(32))
    for part in (stocked(RICE, EGGS), staffed(siti, ANI), ordered(ORDER), noted(note)):
        bench.feed(outlet=part)
    with contextlib.closing(Ledger(bench.database)) as ledger:
        keep_photo(ledger, bytes(32), b"jpeg")
        close_shift(ledger, ZERO, NOW)
        open_shift(ledger, Cashier(ANI.name, ANI.number), Rupiah(200_000), NOW)
        take_over(ledger, Cashier(SITI.name, SITI.number), NOW)
        by = Cashier(SITI.name, SITI.number)
        move_cash(ledger, Rupiah(50_000), reason="uang kecil", by=by, now=NOW)
        hold_cart(ledger, Cart().add_item(RICE), label="Rini", by=SITI.name, now=NOW)
        with contextlib.suppress(WrongPin):
            log_in_by_pin(ledger, SITI.number, "111111", NOW)
        record_taken(ledger, 1)


def main() -> None:
    """Writes the ledger of this version, which must not be there yet."""
    with tempfile.TemporaryDirectory() as folder:
        database = make_ledger(Path(folder))
        with contextlib.closing(sqlite3.connect(database)) as connection:
            lines = [*connection.iterdump(), f"PRAGMA user_version = {SCHEMA_VERSION};"]
    with (KEPT / f"ledger_v{SCHEMA_VERSION}.sql").open("x", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
