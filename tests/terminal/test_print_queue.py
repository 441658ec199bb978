"""Papers wait for the printer, come out once, and say so when they come out again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dobmi.terminal import print_queue
from dobmi.terminal.errors import (
    BadPrinter,
    LedgerUnusable,
    NoSuchPaper,
    PaperDone,
    PaperOut,
    PrinterGone,
    PrinterInUse,
    PrintFailed,
)
from dobmi.terminal.escpos_bytes import to_escpos
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.paper import Paper, PaperKind
from dobmi.terminal.print_queue import (
    KEPT_SECONDS,
    JobState,
    PrintingShown,
    PrintLock,
    PrintWorker,
    add,
    dismiss,
    find,
    job,
    jobs,
    print_again,
    print_waiting,
    waiting,
    waiting_count,
)
from dobmi.terminal.printer import PrinterState, Waits, parse_printer
from dobmi.terminal.receipt import balance_paper, sale_paper
from support.fake_printer import NetworkPrinter, network_printer
from support.papers import AT, BALANCE, SALE
from support.tills import Bench

QUICK = Waits(
    connect_seconds=1,
    answer_seconds=0.3,
    send_seconds=0.5,
    printing_seconds=0.6,
    poll_seconds=0.05,
)


def receipt(number: int) -> Paper:
    return sale_paper(replace(SALE, sequence=number), str)


def numbers(printer: NetworkPrinter) -> list[int]:
    """Of the sales whose receipts came out whole."""
    return [
        int(row.split()[-1])
        for paper in printer.papers
        if paper.cuts
        for row in paper.texts
        if row.startswith("Sale no.")
    ]


def copies(printer: NetworkPrinter) -> list[bool]:
    return ["COPY" in paper.texts for paper in printer.papers if paper.cuts]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(bench.database)) as opened:
        yield opened


@pytest.fixture
def printer() -> Iterator[NetworkPrinter]:
    with network_printer() as plugged_in:
        yield plugged_in


def run(ledger: Ledger, printer: NetworkPrinter) -> int:
    address = parse_printer(printer.setting)
    return print_waiting(ledger, address, 32, now=lambda: AT, waits=QUICK).count


class TestQueue:
    def test_papers_come_out_in_their_order_and_once(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        for number in (1, 2, 3):
            add(ledger, receipt(number), AT)
        assert run(ledger, printer) == 3
        assert run(ledger, printer) == 0
        assert numbers(printer) == [1, 2, 3]
        assert {one.state for one in jobs(ledger)} == {JobState.PRINTED}
        assert {one.done_unix_seconds for one in jobs(ledger)} == {AT}

    def test_a_printer_that_is_away_keeps_them_and_they_come_out_when_it_is_back(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        printer.unplug()
        number = add(ledger, receipt(1), AT)
        with pytest.raises(PrinterGone):
            run(ledger, printer)
        assert job(ledger, number).problem == "PRINT-GONE"
        assert job(ledger, number).state is JobState.WAITING
        printer.plug_in()
        assert run(ledger, printer) == 1
        assert job(ledger, number).problem == ""
        # Nothing had been sent: it is the original.
        assert copies(printer) == [False]

    def test_no_paper_before_the_first_byte_is_the_original_afterwards(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        printer.lines_left = 0
        add(ledger, receipt(1), AT)
        with pytest.raises(PaperOut):
            run(ledger, printer)
        printer.put_in_paper()
        run(ledger, printer)
        assert copies(printer) == [False]

    @pytest.mark.parametrize("after", [200, 900, 2000])
    def test_a_printer_that_went_away_in_the_middle_prints_a_copy_when_it_is_back(
        self, ledger: Ledger, printer: NetworkPrinter, after: int
    ) -> None:
        printer.dies_after = after
        number = add(ledger, receipt(1), AT)
        with pytest.raises(PrinterGone):
            run(ledger, printer)
        printer.unplug()
        assert job(ledger, number).begun_count == 1
        printer.plug_in()
        run(ledger, printer)
        assert copies(printer) == [True]

    def test_the_paper_that_ends_in_the_middle_lets_the_printer_finish_and_a_copy_follows(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        """What was sent is in the printer's buffer, and comes out with the new roll."""
        printer.lines_left = 5
        add(ledger, receipt(1), AT)
        with pytest.raises(PaperOut):
            run(ledger, printer)
        printer.put_in_paper()
        run(ledger, printer)
        assert numbers(printer) == [1, 1]
        assert copies(printer) == [False, True]

    def test_what_a_person_dismisses_does_not_come_out(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        first, second = add(ledger, receipt(1), AT), add(ledger, receipt(2), AT)
        dismiss(ledger, first, AT)
        run(ledger, printer)
        assert numbers(printer) == [2]
        for done in (first, second):
            with pytest.raises(PaperDone):
                dismiss(ledger, done, AT)
        with pytest.raises(NoSuchPaper):
            dismiss(ledger, 99, AT)

    def test_dismissed_while_the_printer_was_asked_how_it_is_nothing_is_sent(
        self, ledger: Ledger, printer: NetworkPrinter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = add(ledger, receipt(1), AT)
        begin = print_queue._begin

        def dismissed_before(ledger: Ledger, number: int) -> None:
            dismiss(ledger, number, AT)
            begin(ledger, number)

        monkeypatch.setattr(print_queue, "_begin", dismissed_before)
        assert run(ledger, printer) == 0
        assert not printer.papers
        assert job(ledger, number).state is JobState.DISMISSED


class TestCopies:
    def test_one_more_of_a_printed_receipt_is_a_copy(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        number = add(ledger, receipt(1), AT)
        run(ledger, printer)
        assert add(ledger, receipt(1), AT) != number
        print_again(ledger, number, AT)
        run(ledger, printer)
        assert copies(printer) == [False, True, True]

    def test_one_that_waits_still_is_not_doubled(self, ledger: Ledger) -> None:
        number = add(ledger, receipt(1), AT)
        assert add(ledger, receipt(1), AT) == number
        assert print_again(ledger, number, AT) == number
        assert waiting_count(ledger) == 1

    def test_balances_are_papers_of_their_moment_and_no_copies(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        for _ in range(2):
            add(ledger, balance_paper(BALANCE, str), AT)
        assert run(ledger, printer) == 2
        assert copies(printer) == [False, False]

    def test_what_is_done_for_long_is_cleared_away_and_a_receipt_of_then_is_a_copy(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        add(ledger, receipt(1), AT)
        left = add(ledger, receipt(2), AT)
        run(ledger, printer)
        later = AT + KEPT_SECONDS + 1
        waits = add(ledger, receipt(1), later)
        assert [one.number for one in jobs(ledger)] == [waits]
        assert job(ledger, waits).is_copy
        with pytest.raises(NoSuchPaper):
            job(ledger, left)

    def test_a_receipt_of_long_ago_is_a_copy_whatever_time_it_is_asked_for(
        self, ledger: Ledger
    ) -> None:
        """What there was of it may have been cleared away."""
        before = ledger.latest_unix_seconds()
        with ledger.begin() as connection:
            connection.execute(
                sa.text("UPDATE state SET server_unix_seconds = :now"),
                {"now": max(before, AT) + KEPT_SECONDS + 1},
            )
        assert job(ledger, add(ledger, receipt(1), AT)).is_copy

    def test_the_newest_paper_of_a_sale_is_found(self, ledger: Ledger) -> None:
        number = add(ledger, receipt(7), AT)
        found = find(ledger, PaperKind.SALE, 7)
        assert found is not None
        assert (found.number, found.paper) == (number, receipt(7))
        assert find(ledger, PaperKind.REFUND, 7) is None


class TestLedger:
    def test_a_paper_of_another_version_waits_and_does_not_hold_up_the_others(
        self, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        first = add(ledger, receipt(1), AT)
        add(ledger, receipt(2), AT)
        with ledger.begin() as connection:
            connection.execute(
                sa.text('UPDATE print_jobs SET paper = \'{"kind": "hologram"}\' WHERE id = :id'),
                {"id": first},
            )
        assert run(ledger, printer) == 1
        assert numbers(printer) == [2]
        assert job(ledger, first).paper is None
        assert job(ledger, first).problem == "PRINT-UNREADABLE"
        dismiss(ledger, first, AT)
        assert not waiting(ledger)

    @pytest.mark.parametrize(
        "change",
        ["state = 'waiting'", "begun_count = 0", "paper = ''", "done_unix_seconds = 1"],
    )
    def test_what_is_done_is_never_changed(
        self, ledger: Ledger, printer: NetworkPrinter, change: str
    ) -> None:
        add(ledger, receipt(1), AT)
        run(ledger, printer)
        with pytest.raises(LedgerUnusable), ledger.begin() as connection:
            connection.execute(sa.text(f"UPDATE print_jobs SET {change}"))  # noqa: S608 - our own

    def test_one_program_prints_at_a_time(self, bench: Bench) -> None:
        with (
            PrintLock(bench.database),
            pytest.raises(PrinterInUse),
            PrintLock(bench.database),
        ):
            pass

    def test_a_till_that_sells_and_a_printer_that_prints_do_not_shut_each_other_out(
        self, bench: Bench
    ) -> None:
        with bench.open(), PrintLock(bench.database):
            assert bench.database.with_name(bench.database.name + ".printing").exists()


class QueueMachine(RuleBasedStateMachine):
    """A printer that comes and goes, a program that ends and starts, people who dismiss."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.ledger = Ledger(Bench(folder).enrol().database)
        self.stack.callback(self.ledger.close)
        self.printer = self.stack.enter_context(network_printer())
        self.sold = 0
        self.dismissed: set[int] = set()

    def teardown(self) -> None:
        self.stack.close()

    @rule()
    def sell(self) -> None:
        self.sold += 1
        add(self.ledger, receipt(self.sold), AT)

    @rule(after=st.integers(20, 4000))
    def print_and_die(self, after: int) -> None:
        self.printer.dies_after = after
        with contextlib.suppress(PrintFailed):
            run(self.ledger, self.printer)
        self.printer.dies_after = None
        self.printer.unplug()
        self.printer.plug_in()

    @rule(lines=st.integers(0, 40))
    def print_on_the_rest_of_a_roll(self, lines: int) -> None:
        self.printer.lines_left = lines
        with contextlib.suppress(PrintFailed):
            run(self.ledger, self.printer)
        self.printer.put_in_paper()

    @precondition(lambda self: bool(waiting(self.ledger)))
    @rule()
    def dismiss_the_oldest(self) -> None:
        (oldest, *_) = waiting(self.ledger)
        dismiss(self.ledger, oldest.number, AT)
        self.dismissed.add(oldest.reference)

    @rule()
    def print_all(self) -> None:
        run(self.ledger, self.printer)
        out = set(numbers(self.printer))
        assert out | self.dismissed >= set(range(1, self.sold + 1)), "none is lost"

    @invariant()
    def of_each_sale_there_is_one_original(self) -> None:
        originals = [
            number
            for number, is_copy in zip(numbers(self.printer), copies(self.printer), strict=True)
            if not is_copy
        ]
        assert len(originals) == len(set(originals))


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)


class TestWorker:
    def work(self, bench: Bench, printer: NetworkPrinter, *, drawer: bool = False) -> PrintWorker:
        return PrintWorker(
            bench.database,
            printer.setting,
            32,
            drawer=drawer,
            waits=QUICK,
            retry_seconds=0.05,
            look_seconds=0.2,
            now=lambda: AT,
        )

    def until(self, condition: Callable[[], object]) -> None:
        ends = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < ends
            time.sleep(0.01)

    def test_it_prints_what_is_added(
        self, bench: Bench, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        with self.work(bench, printer) as worker:
            for number in (1, 2):
                add(ledger, receipt(number), AT)
                worker.wake()
            self.until(lambda: numbers(printer) == [1, 2])
            self.until(lambda: not waiting(ledger))
            self.until(lambda: worker.shown.printer.state is PrinterState.READY)
        assert copies(printer) == [False, False]

    def test_it_says_what_is_wrong_and_goes_on_by_itself(
        self, bench: Bench, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        printer.lines_left = 0
        with self.work(bench, printer) as worker:
            add(ledger, receipt(1), AT)
            worker.wake()
            self.until(lambda: isinstance(worker.shown.error, PaperOut))
            assert worker.shown.printer.state is PrinterState.PAPER_OUT
            assert worker.shown.waiting_count == 1
            printer.put_in_paper()
            self.until(lambda: numbers(printer) == [1])
            self.until(lambda: worker.shown.error is None)

    def test_an_idle_printer_that_goes_away_is_noticed(
        self, bench: Bench, printer: NetworkPrinter
    ) -> None:
        with self.work(bench, printer) as worker:
            self.until(lambda: worker.shown.printer.state is PrinterState.READY)
            printer.unplug()
            self.until(lambda: worker.shown.printer.state is PrinterState.GONE)
            printer.plug_in()
            self.until(lambda: worker.shown.printer.state is PrinterState.READY)

    def test_what_waited_when_the_program_ended_is_printed_by_the_next(
        self, bench: Bench, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        printer.unplug()
        with self.work(bench, printer) as worker:
            add(ledger, receipt(1), AT)
            worker.wake()
            self.until(lambda: isinstance(worker.shown.error, PrinterGone))
        printer.plug_in()
        with self.work(bench, printer):
            self.until(lambda: numbers(printer) == [1])

    def test_while_another_program_prints_it_waits_for_its_turn(
        self, bench: Bench, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        with PrintLock(bench.database):
            worker = self.work(bench, printer)
            worker.start()
            add(ledger, receipt(1), AT)
            self.until(lambda: isinstance(worker.shown.error, PrinterInUse))
            assert not printer.papers
        self.until(lambda: numbers(printer) == [1])
        worker.close()

    def test_every_change_is_told_once(self, bench: Bench, printer: NetworkPrinter) -> None:
        told: list[PrintingShown] = []
        worker = PrintWorker(
            bench.database,
            printer.setting,
            32,
            waits=QUICK,
            retry_seconds=0.02,
            look_seconds=0.02,
            on_change=told.append,
        )
        with worker:
            self.until(lambda: printer.connections > 3)
        assert [one.printer.state for one in told] == [PrinterState.READY]

    def test_the_drawer_is_opened_between_two_papers_or_not_at_all(
        self, bench: Bench, ledger: Ledger, printer: NetworkPrinter
    ) -> None:
        with self.work(bench, printer, drawer=True) as worker:
            for number in (1, 2, 3):
                add(ledger, receipt(number), AT)
            worker.open_drawer().result(5)
            self.until(lambda: numbers(printer) == [1, 2, 3])
            self.until(lambda: printer.drawer_kicks == 1)
            printer.unplug()
            with pytest.raises(PrinterGone):
                worker.open_drawer().result(5)
            printer.plug_in()
            self.until(lambda: worker.shown.printer.state is PrinterState.READY)
        assert printer.drawer_kicks == 1

    def test_while_another_program_prints_the_drawer_says_so(
        self, bench: Bench, printer: NetworkPrinter
    ) -> None:
        with (
            PrintLock(bench.database),
            self.work(bench, printer, drawer=True) as worker,
            pytest.raises(PrinterInUse),
        ):
            worker.open_drawer().result(5)
        assert not printer.drawer_kicks

    def test_where_no_drawer_is_set_nothing_is_opened(
        self, bench: Bench, printer: NetworkPrinter
    ) -> None:
        with self.work(bench, printer) as worker:
            worker.open_drawer().result(5)
            self.until(lambda: worker.shown.printer.state is PrinterState.READY)
        assert not printer.drawer_kicks

    def test_without_a_printer_it_does_nothing(self, bench: Bench) -> None:
        before = threading.active_count()
        with PrintWorker(bench.database, "none", 32) as worker:
            assert not worker.prints
            assert worker.shown.printer.state is PrinterState.NONE
            assert threading.active_count() == before

    def test_a_fault_of_the_program_does_not_end_the_printing(
        self,
        bench: Bench,
        ledger: Ledger,
        printer: NetworkPrinter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        faults = [RuntimeError("a fault")]

        def faulty(*arguments: object, **more: object) -> bytes:
            if faults:
                raise faults.pop()
            return to_escpos(*arguments, **more)  # type: ignore[arg-type] # passed on

        monkeypatch.setattr(print_queue, "to_escpos", faulty)
        add(ledger, receipt(1), AT)
        told: list[PrintingShown] = []
        with PrintWorker(
            bench.database,
            printer.setting,
            32,
            waits=QUICK,
            retry_seconds=0.05,
            on_change=told.append,
        ):
            self.until(lambda: numbers(printer) == [1])
        assert any(isinstance(one.error, PrintFailed) for one in told)

    def test_a_setting_that_names_no_printer_is_refused_at_once(self, bench: Bench) -> None:
        with pytest.raises(BadPrinter):
            PrintWorker(bench.database, "paper", 32)


def test_a_program_that_is_killed_in_the_middle_leaves_a_paper_that_will_say_copy(
    bench: Bench, ledger: Ledger, printer: NetworkPrinter
) -> None:
    printer.answers_in_turn = False
    number = add(ledger, receipt(1), AT)
    code = (
        "import sys; from pathlib import Path\n"
        "from dobmi.terminal.ledger import Ledger\n"
        "from dobmi.terminal.print_queue import PrintLock, print_waiting\n"
        "from dobmi.terminal.printer import parse_printer\n"
        "path = Path(sys.argv[1])\n"
        "with PrintLock(path): print_waiting(Ledger(path), parse_printer(sys.argv[2]), 32)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(bench.database), printer.setting])
    try:
        ends = time.monotonic() + 20
        while not printer.papers:
            assert time.monotonic() < ends
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert job(ledger, number).state is JobState.WAITING
    printer.answers_in_turn = True
    with PrintLock(bench.database):
        assert run(ledger, printer) == 1
    assert copies(printer) == [False, True]
