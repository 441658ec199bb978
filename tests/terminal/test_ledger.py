"""The till's ledger: its promises are constraints, and one process owns it."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from dobmi.cardlib.custody import KeyRing
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import ZERO, Rupiah
from dobmi.sync.acknowledgement import Acknowledgement
from dobmi.sync.feed import Limits, SettledAs, Settlement, Settlements
from dobmi.terminal.clock import AHEAD_SECONDS_MAX, TillClock
from dobmi.terminal.errors import (
    ClockAhead,
    LedgerFull,
    LedgerTooNew,
    LedgerTooOld,
    LedgerUnusable,
    NoShift,
    NotEnrolled,
    NotThisTill,
    SaleInDoubt,
    ShiftOpen,
    SyncTooOld,
    TillInUse,
)
from dobmi.terminal.held_carts import held_carts
from dobmi.terminal.ledger import IntentRow, Ledger
from dobmi.terminal.lock import TillLock
from dobmi.terminal.picking import open_orders
from dobmi.terminal.schema import SCHEMA_VERSION
from dobmi.terminal.shift import take_over, z_report
from dobmi.terminal.staff import Cashier
from dobmi.terminal.status import till_status
from support.kept_ledger import KINDS, kept_ledgers, open_kept
from support.tills import NOW, Bench, another_holder, balance_of, card_with

AMOUNT = Rupiah(1_000)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


@pytest.fixture
def sold(bench: Bench) -> Bench:
    """A till that has sold three times."""
    bench.tap(card_with())
    with bench.open() as till:
        for _ in range(3):
            till.sell(AMOUNT)
    return bench


@pytest.fixture
def ledger(sold: Bench) -> Iterator[Ledger]:
    opened = Ledger(sold.database)
    yield opened
    opened.close()


def tables_of(database: Path) -> set[tuple[str, str]]:
    """Tables, indices and triggers: name and how it was made."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
        return {(name, " ".join(sql.split())) for name, sql in made}


def an_intent(sequence: int) -> IntentRow:
    return IntentRow(
        sequence=sequence,
        card_uid=bytes(7),
        member_number=1,
        holder="Siti",
        amount=AMOUNT,
        balance_before=Rupiah(5_000),
        evidence=b"evidence",
        goods=(),
        unix_seconds=NOW,
        shift=1,
        cashier="Siti",
    )


class TestPromises:
    @pytest.mark.parametrize("table", ["vouchers", "intents", "identity"])
    @pytest.mark.parametrize(
        "statement", ["DELETE FROM {}", "UPDATE {} SET unix_seconds = unix_seconds + 1"]
    )
    def test_what_was_written_is_never_changed(
        self, sold: Bench, table: str, statement: str
    ) -> None:
        with (
            sqlite3.connect(sold.database) as connection,
            pytest.raises(sqlite3.IntegrityError, match="never changed"),
        ):
            connection.execute(statement.format(table))
        connection.close()

    @pytest.mark.parametrize(
        ("sequence", "previous", "message"),
        [
            (5, "(SELECT hash FROM vouchers WHERE sequence = 3)", "a gap|broken"),
            (3, "x'00'", "UNIQUE|gap|broken"),
            (4, "x'00'", "broken chain"),
            (4, "(SELECT previous_hash FROM vouchers WHERE sequence = 3)", "broken|UNIQUE"),
        ],
    )
    def test_the_chain_has_no_gap_and_no_fork(
        self, sold: Bench, sequence: int, previous: str, message: str
    ) -> None:
        insert = (
            "INSERT INTO vouchers (sequence, previous_hash, hash, kind, card_uid, amount_rupiah, "  # noqa: S608 - the cases above
            f"unix_seconds, shift, cashier, encoded) VALUES ({sequence}, {previous}, x'FF', 1, "
            "x'00', 1, 1, 1, 'x', x'00')"
        )
        with (
            sqlite3.connect(sold.database) as connection,
            pytest.raises(sqlite3.IntegrityError, match=message),
        ):
            connection.execute(insert)
        connection.close()

    def test_a_number_is_taken_by_one_intent(self, ledger: Ledger) -> None:
        ledger.record_intent(an_intent(4))
        for sequence in (3, 4, 5):
            with pytest.raises(LedgerUnusable):
                ledger.record_intent(an_intent(sequence))
        assert ledger.open_intent() == an_intent(4)

    def test_what_the_server_acknowledged_never_goes_back(self, ledger: Ledger) -> None:
        hash_ = ledger.hash_at(3)
        assert hash_ is not None
        ack = Acknowledgement(
            terminal_id=7,
            batch_hash=bytes(32),
            head_sequence=3,
            head_hash=hash_,
            unix_seconds=NOW,
            quarantined=((2, "CARD-TMAC"),),
        )
        ledger.record_acknowledgement(ack)
        ledger.record_acknowledgement(replace(ack, head_sequence=1, quarantined=()))
        assert ledger.sync_state().acknowledged_sequence == 3
        assert ledger.quarantined() == ((2, "CARD-TMAC"),)
        assert ledger.unsent().count == 0

    def test_what_the_server_settled_never_goes_back_and_is_of_doubts_only(
        self, sold: Bench, ledger: Ledger
    ) -> None:
        card = card_with(holder=another_holder(2))
        sold.tap(card, at_command(0xC7, Moment.AFTER))
        with sold.open() as till:
            with pytest.raises(SaleInDoubt):
                till.sell(Rupiah(500))
            till.give_up()
            doubt = till.ledger.head().sequence
        for outcome, at in ((SettledAs.PAID, NOW + 9), (SettledAs.NOT_PAID, NOW + 8)):
            told = [Settlement(number, outcome, at, "card") for number in (1, doubt, doubt + 5)]
            settlements = Settlements(terminal_id=7, since=0, settled=tuple(told))
            sold.feed(settlements=settlements)
        (row,) = ledger.all_doubts()
        assert row.settlement == Settlement(doubt, SettledAs.PAID, NOW + 9, "card")
        with contextlib.closing(sqlite3.connect(sold.database)) as connection:
            with pytest.raises(sqlite3.IntegrityError, match="only goes forward"):
                connection.execute("UPDATE settlements SET unix_seconds = 1")
            kept = connection.execute("SELECT sequence FROM settlements").fetchall()
        assert kept == [(doubt,)]

    def test_it_is_durable_as_it_says(self, ledger: Ledger) -> None:
        with ledger._engine.connect() as connection:
            read = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        assert read == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

    def test_others_on_the_machine_cannot_read_it(self, sold: Bench) -> None:
        assert stat.S_IMODE(sold.database.stat().st_mode) == 0o600


class TestTrouble:
    def test_a_disk_that_is_full_is_told_as_such(self, sold: Bench) -> None:
        """A real SQLITE_FULL: the file may not grow by another page."""
        ledger = Ledger(sold.database)

        @event.listens_for(ledger._engine, "connect")
        def _no_more_pages(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")  # SQLite takes what there is now

        ledger.close()
        large = replace(an_intent(4), evidence=bytes(200_000))
        with pytest.raises(LedgerFull):
            ledger.record_intent(large)
        assert ledger.open_intent() is None
        ledger.close()

    def test_what_is_no_database_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "till.db"
        path.write_bytes(b"no database at all" * 100)
        with pytest.raises(LedgerUnusable):
            Ledger(path)

    def test_a_place_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LedgerUnusable):
            Ledger(tmp_path / "file" / "till.db")
        with pytest.raises(LedgerUnusable), Bench(tmp_path / "file").open():
            pass
        (tmp_path / "till-7.db.lock").mkdir()
        with pytest.raises(LedgerUnusable, match="directory"), Bench(tmp_path).open():
            pass

    @pytest.mark.parametrize("goods", [b"", b"\x01", b"\x81\x01", b"\x81\x84aa\x00\x01\x00"])
    def test_goods_that_cannot_be_read_are_told(self, sold: Bench, goods: bytes) -> None:
        with contextlib.closing(sqlite3.connect(sold.database)) as connection, connection:
            connection.execute("DROP TRIGGER intents_no_update")
            connection.execute("UPDATE intents SET goods = ? WHERE sequence = 1", (goods,))
        with sold.open() as till, pytest.raises(LedgerUnusable, match="goods"):
            till.ledger.intent(1)

    def test_a_disk_that_takes_no_pid_still_lets_the_till_start(
        self, sold: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "pwrite", full)
        with sold.open() as till:
            assert till.ledger.head().sequence == 3
            with pytest.raises(TillInUse), sold.open():
                pass

    def test_a_database_of_another_version_is_left_alone_and_says_whether_it_is_newer(
        self, sold: Bench
    ) -> None:
        for version, error in (("99", LedgerTooNew), ("1", LedgerTooOld)):
            with sqlite3.connect(sold.database) as connection:
                connection.execute(f"PRAGMA user_version = {version}")
            connection.close()
            with pytest.raises(error, match=f"version {version};"):
                Ledger(sold.database)

    def test_a_kept_ledger_of_each_version_is_read_whole_and_goes_on(self, tmp_path: Path) -> None:
        """A change of the tables must bring the ledgers of the versions before up to its own."""
        kept = kept_ledgers()
        assert max(kept) == SCHEMA_VERSION
        for version, path in kept.items():
            folder = tmp_path / str(version)
            folder.mkdir()
            old = open_kept(path, folder)
            before = old.chain()
            assert [type(voucher) for voucher in before] == KINDS
            with old.open() as till:
                assert till.ledger.last_shift() is not None
                assert till.ledger.quarantined() == ((1, "kept"),)
                assert [one.reason for one in till.ledger.clock_resets()] == ["jam salah"]
                assert [one.is_open for one in till.ledger.all_doubts()] == [False, False]
                assert till.ledger.is_blocked(bytes(7))
                assert len(till.ledger.sync_state().limits.keys_min) == (version >= 5)
                assert len(open_orders(till.ledger)) == (version >= 5)
                assert [one.cart.count for one in held_carts(till.ledger)] == [1] * (version >= 5)
                till.refund(1, Rupiah(300), reason="beras basah")
                assert till.ledger.refunded(1) == Rupiah(800)
                report = till.close_shift(Rupiah(250_000))
                assert (report.paid_count, report.refunds_total) == (2, Rupiah(800))
                assert report.difference == Rupiah(0 if version >= 5 else 250_000)
                assert z_report(till.ledger) == report
            assert old.chain()[:-1] == before
            new = Bench(tmp_path / f"{version}-new")
            new.folder.mkdir()
            assert tables_of(old.database) == tables_of(new.enrol().database)

    def test_a_till_without_identity_does_not_start(self, tmp_path: Path) -> None:
        with pytest.raises(NotEnrolled), Bench(tmp_path).open():
            pass

    def test_another_tills_identity_does_not_start_it(self, sold: Bench) -> None:
        with (
            pytest.raises(NotThisTill, match="7"),
            sold.open(signing=KeyRing.generate(signing=["terminal"])),
        ):
            pass
        with sold.open() as till:
            assert till.identity.terminal_id == 7


def _try_lock(database: Path, answers: multiprocessing.Queue[str]) -> None:
    try:
        with TillLock(database):
            answers.put("got it")
    except TillInUse as error:
        answers.put(str(error.facts["pid"]))


class TestLock:
    def test_a_second_process_is_told_who_owns_the_till(self, sold: Bench) -> None:
        spawn = multiprocessing.get_context("spawn")
        answers: multiprocessing.Queue[str] = spawn.Queue()
        found = []
        for owned in (True, False):
            process = spawn.Process(target=_try_lock, args=(sold.database, answers))
            if owned:
                with sold.open():
                    process.start()
                    process.join()
            else:
                process.start()
                process.join()
            found.append(answers.get(timeout=5))
        assert found == [str(os.getpid()), "got it"]

    def test_a_second_till_in_this_process_is_refused_too(self, sold: Bench) -> None:
        with sold.open(), pytest.raises(TillInUse), sold.open():
            pass

    def test_status_is_read_while_the_till_sells(self, sold: Bench) -> None:
        with sold.open() as till:
            till.sell(AMOUNT)
            ledger = Ledger(sold.database)
            now = till_status(ledger, lambda: NOW)
            ledger.close()
        assert (now.unsent.count, now.unsent.total) == (4, Rupiah(4_000))
        assert now.doubts == ()


class TestClock:
    def test_it_never_goes_back(self, ledger: Ledger) -> None:
        times = iter([NOW + 10, NOW - 5_000, NOW + 11])
        clock = TillClock(ledger, lambda: next(times))
        readings = [clock.read() for _ in range(3)]
        assert [one.unix_seconds for one in readings] == [NOW + 10, NOW + 10, NOW + 11]
        assert [one.is_wrong for one in readings] == [False, True, False]

    def test_after_a_restart_it_goes_on_from_the_newest_voucher(self, sold: Bench) -> None:
        sold.time = 0  # a machine without a battery clock
        with sold.open() as till:
            till.sell(AMOUNT)
            assert till.clock.read().behind_seconds == NOW
        times = [voucher.link.unix_seconds for voucher in sold.chain()]
        assert times == sorted(times)

    @pytest.mark.parametrize("far", [4_073_000_000, 1 << 33], ids=["2099", "2242"])
    def test_a_machine_far_ahead_is_not_believed_and_sells_nothing(
        self, sold: Bench, far: int
    ) -> None:
        sold.time = far
        card = card_with(holder=another_holder(2))
        sold.tap(card)
        with sold.open() as till:
            with pytest.raises(ClockAhead):
                till.sell(AMOUNT)
            till.refund(1, reason="x")
            till.balance()
            assert till.clock.read().ahead_seconds == far - NOW
        assert balance_of(card) == 100_000
        sold.time = NOW + 60
        with sold.open() as till:
            assert till.sell(AMOUNT).unix_seconds == NOW + 60
        assert max(voucher.link.unix_seconds for voucher in sold.chain()) == NOW + 60

    def test_it_is_believed_until_a_day_after_the_last_day_of_selling(self, sold: Bench) -> None:
        last = NOW + Limits().sync_age_seconds_max + AHEAD_SECONDS_MAX
        sold.time = last
        with sold.open() as till, pytest.raises(SyncTooOld):
            till.sell(AMOUNT)
        sold.time = last + 1
        with sold.open() as till:
            with pytest.raises(ClockAhead, match="15 days"):
                till.sell(AMOUNT)
            assert till.clock.now() < last


class TestShift:
    def test_closing_gives_the_totals_of_each_cashier(self, sold: Bench) -> None:
        with sold.open() as till:
            take_over(till.ledger, Cashier("Budi"), NOW)
            till.sell(AMOUNT)
            report = till.close_shift(ZERO)
        assert report.shift.cashier == "Siti"
        assert [(one.cashier, one.sales_count, one.sales_total) for one in report.totals] == [
            ("Budi", 1, Rupiah(1_000)),
            ("Siti", 3, Rupiah(3_000)),
        ]

    def test_it_is_opened_once_and_closed_once(self, bench: Bench) -> None:
        with bench.open() as till:
            with pytest.raises(ShiftOpen):
                till.open_shift()
            assert till.close_shift(ZERO).shift.number == 1
            with pytest.raises(NoShift):
                till.close_shift(ZERO)
            assert till.open_shift().number == 2


def test_what_is_written_stays_when_another_program_has_looked_meanwhile(bench: Bench) -> None:
    """A till has its ledger open several times over (counter, page, printer); a command beside it
    opens it once more, and is the last to close as far as it can see.

    POSIX drops all of a process's locks on a file when it closes any descriptor of it. Without its
    locks SQLite takes the other program for the only one, and deletes the log that ours goes on in.
    """
    program = (
        "import sys; from pathlib import Path; from dobmi.terminal.ledger import Ledger;"
        "ledger = Ledger(Path(sys.argv[1])); print(ledger.last_shift().on_duty); ledger.close()"
    )
    command = [sys.executable, "-c", program, str(bench.database)]

    def looked() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with (
        contextlib.closing(Ledger(bench.database)) as counter,
        contextlib.closing(Ledger(bench.database)),
    ):
        assert looked() == "Siti"
        take_over(counter, Cashier("Budi"), NOW)
        assert looked() == "Budi"
    assert looked() == "Budi"
