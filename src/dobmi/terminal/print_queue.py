"""Papers that are to be printed, kept in the till's ledger until a printer has taken them.

    add: waiting -> begin (durable, before the first byte) -> printed
         waiting -> dismissed, by a person

A sale never waits for paper: it is on disk before its paper is added. A paper that a printer had
begun with when it failed, or the program did, may be out already: then it says that it is a copy.
One program prints for a till at a time (a lock beside the ledger); adding and dismissing is for all.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

import sqlalchemy as sa

from dobmi.errors import DoBMIError
from dobmi.terminal import printer as printers
from dobmi.terminal.errors import NoSuchPaper, PaperDone, PrinterInUse, PrintFailed, TillInUse
from dobmi.terminal.escpos_bytes import to_escpos
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.lock import TillLock
from dobmi.terminal.paper import (
    Paper,
    PaperKind,
    as_copy,
    paper_from_json,
    paper_to_json,
)
from dobmi.terminal.printer import (
    WAITS,
    PrinterAddress,
    PrinterKind,
    PrinterShown,
    PrinterState,
    Waits,
)
from dobmi.terminal.schema import print_jobs

_log = logging.getLogger(__name__)

KEPT_SECONDS = 35 * 24 * 3600
"""So long a paper that is printed or dismissed can be printed again as it was."""
LISTED_MAX = 100
LOCK_SUFFIX = ".printing"
_KICK_SECONDS_MAX = 10
_UNREADABLE = "PRINT-UNREADABLE"
_ONCE = {PaperKind.SALE, PaperKind.REFUND, PaperKind.Z_REPORT, PaperKind.ORDER}
"""Of these there is one original."""


class JobState(StrEnum):
    WAITING = "waiting"
    PRINTED = "printed"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintJob:
    """`paper` is None where a program of another version wrote it. `problem`: the code of the error
    that the last try ended with, "" for none. `is_copy`: asked for as one. `begun_count`: how often
    a printer began with it. Times in Unix seconds.
    """

    number: int
    kind: PaperKind | None
    reference: int
    paper: Paper | None = field(repr=False)
    is_copy: bool
    state: JobState
    begun_count: int
    problem: str
    created_unix_seconds: int
    done_unix_seconds: int | None

    @property
    def may_be_out(self) -> bool:
        return self.is_copy or self.begun_count > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """`state` is the printer's after the last of them, None when there was none."""

    count: int
    state: PrinterState | None


# The queue


def add(ledger: Ledger, paper: Paper, unix_seconds: int) -> int:
    """The number under which the paper waits now.

    A receipt, slip or Z report that waits already is not doubled, and one that was printed or
    dismissed before, or is older than what is kept here, is a copy. What is done for long is
    cleared away.
    """
    before = max(unix_seconds, ledger.latest_unix_seconds()) - KEPT_SECONDS
    same = (print_jobs.c.kind == paper.kind.value, print_jobs.c.reference == paper.reference)
    with ledger.begin() as connection:
        connection.execute(print_jobs.delete().where(print_jobs.c.done_unix_seconds < before))
        is_copy = False
        if paper.kind in _ONCE:
            earlier = connection.execute(
                sa.select(print_jobs.c.id, print_jobs.c.state)
                .where(*same)
                .order_by(print_jobs.c.id.desc())
                .limit(1)
            ).one_or_none()
            if earlier is not None and earlier.state == JobState.WAITING.value:
                return int(earlier.id)
            is_copy = earlier is not None or paper.unix_seconds < before
        return _insert(connection, paper, unix_seconds, is_copy=is_copy)


def _insert(connection: sa.Connection, paper: Paper, unix_seconds: int, *, is_copy: bool) -> int:
    values = {
        "kind": paper.kind.value,
        "reference": paper.reference,
        "paper": paper_to_json(paper),
        "is_copy": is_copy,
        "state": JobState.WAITING.value,
        "created_unix_seconds": unix_seconds,
    }
    key = connection.execute(print_jobs.insert().values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def job(ledger: Ledger, number: int) -> PrintJob:
    """Raises NoSuchPaper."""
    with ledger.connect() as connection:
        row = connection.execute(
            sa.select(print_jobs).where(print_jobs.c.id == number)
        ).one_or_none()
    if row is None:
        raise NoSuchPaper(number=number)
    return _job(row)


def jobs(ledger: Ledger, limit: int = LISTED_MAX) -> tuple[PrintJob, ...]:
    """The newest, newest first."""
    query = sa.select(print_jobs).order_by(print_jobs.c.id.desc()).limit(limit)
    with ledger.connect() as connection:
        return tuple(map(_job, connection.execute(query)))


def waiting(ledger: Ledger) -> tuple[PrintJob, ...]:
    """Oldest first: as they will be printed."""
    query = (
        sa.select(print_jobs)
        .where(print_jobs.c.state == JobState.WAITING.value)
        .order_by(print_jobs.c.id)
    )
    with ledger.connect() as connection:
        return tuple(map(_job, connection.execute(query)))


def waiting_count(ledger: Ledger) -> int:
    query = (
        sa.select(sa.func.count())
        .select_from(print_jobs)
        .where(print_jobs.c.state == JobState.WAITING.value)
    )
    with ledger.connect() as connection:
        return int(connection.execute(query).scalar_one())


def find(ledger: Ledger, kind: PaperKind, reference: int) -> PrintJob | None:
    """The newest paper of, say, sale number 12, whatever became of it."""
    query = (
        sa.select(print_jobs)
        .where(print_jobs.c.kind == kind.value, print_jobs.c.reference == reference)
        .order_by(print_jobs.c.id.desc())
        .limit(1)
    )
    with ledger.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _job(row)


def dismiss(ledger: Ledger, number: int, unix_seconds: int) -> None:
    """A person says that it need not be printed. Raises NoSuchPaper, PaperDone."""
    if not _done(ledger, number, JobState.DISMISSED, unix_seconds):
        job(ledger, number)
        raise PaperDone(number=number)


def print_again(ledger: Ledger, number: int, unix_seconds: int) -> int:
    """Have a paper once more, as a copy; the number of the new one.

    One that waits still is not doubled: its own number comes back. Raises NoSuchPaper.
    """
    old = job(ledger, number)
    if old.state is JobState.WAITING:
        return number
    if old.paper is None:
        raise NoSuchPaper(number=number)
    with ledger.begin() as connection:
        return _insert(connection, old.paper, unix_seconds, is_copy=True)


def print_waiting(
    ledger: Ledger,
    address: PrinterAddress,
    columns: int,
    *,
    now: Callable[[], float] = time.time,
    waits: Waits = WAITS,
    stopped: Callable[[], bool] = lambda: False,
) -> Printed:
    """Print what waits, oldest first. The caller holds the print lock.

    Raises PrintFailed when the printer fails: the paper it failed with waits on, and says why.
    """
    printed = Printed(count=0, state=None)
    for one in waiting(ledger):
        if stopped():
            break
        if one.paper is None:
            _note(ledger, one.number, _UNREADABLE)
            continue
        paper = as_copy(one.paper) if one.may_be_out else one.paper
        data = to_escpos(paper, columns, native_qr=address.native_qr)
        try:
            state = printers.deliver(
                data, address, on_begin=partial(_begin, ledger, one.number), waits=waits
            )
        except PaperDone:
            continue  # dismissed while the printer was asked how it is
        except PrintFailed as error:
            _note(ledger, one.number, error.code)
            raise
        _done(ledger, one.number, JobState.PRINTED, int(now()))
        printed = Printed(count=printed.count + 1, state=state)
    return printed


def _begin(ledger: Ledger, number: int) -> None:
    """Raises PaperDone."""
    with ledger.begin() as connection:
        changed = connection.execute(
            print_jobs.update()
            .where(print_jobs.c.id == number, print_jobs.c.state == JobState.WAITING.value)
            .values(begun_count=print_jobs.c.begun_count + 1)
        ).rowcount
    if not changed:
        raise PaperDone(number=number)


def _done(ledger: Ledger, number: int, state: JobState, unix_seconds: int) -> bool:
    with ledger.begin() as connection:
        return bool(
            connection.execute(
                print_jobs.update()
                .where(print_jobs.c.id == number, print_jobs.c.state == JobState.WAITING.value)
                .values(state=state.value, done_unix_seconds=unix_seconds, problem="")
            ).rowcount
        )


def _note(ledger: Ledger, number: int, problem: str) -> None:
    with ledger.begin() as connection:
        connection.execute(
            print_jobs.update()
            .where(
                print_jobs.c.id == number,
                print_jobs.c.state == JobState.WAITING.value,
                print_jobs.c.problem != problem,
            )
            .values(problem=problem)
        )


def _job(row: sa.Row[Any]) -> PrintJob:
    paper = kind = None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        kind = PaperKind(row.kind)
        paper = paper_from_json(row.paper)
    return PrintJob(
        number=row.id,
        kind=kind,
        reference=row.reference,
        paper=paper,
        is_copy=row.is_copy,
        state=JobState(row.state),
        begun_count=row.begun_count,
        problem=row.problem,
        created_unix_seconds=row.created_unix_seconds,
        done_unix_seconds=row.done_unix_seconds,
    )


# Who prints


class PrintLock(TillLock):
    """Held by the one program that prints for a till. Raises PrinterInUse."""

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self.path = database.with_name(database.name + LOCK_SUFFIX)

    def acquire(self) -> None:
        try:
            super().acquire()
        except TillInUse as error:
            raise PrinterInUse(pid=error.facts["pid"]) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintingShown:
    """`printer` is how it was when it was last asked or used. `error`: why what waits does not get
    printed; of the printer, or of the ledger.
    """

    printer: PrinterShown
    waiting_count: int = 0
    error: DoBMIError | None = None


class PrintWorker:
    """Prints what waits, in a thread of its own, as long as it runs.

    with PrintWorker(database, "network:10.0.0.9", columns=32) as worker:
        print_queue.add(ledger, paper, now)
        worker.wake()

    A printer that is away is tried again every `retry_seconds`, and one that is there asked how it
    is every `look_seconds`. With no printer set it does nothing. Thread-safe.
    """

    def __init__(
        self,
        database: Path,
        setting: str,
        columns: int,
        *,
        drawer: bool = False,
        waits: Waits = WAITS,
        retry_seconds: float = 5,
        look_seconds: float = 30,
        now: Callable[[], float] = time.time,
        on_change: Callable[[PrintingShown], None] = lambda _shown: None,
    ) -> None:
        """`drawer`: one hangs on the printer. `on_change` is called in the worker's thread. Raises
        BadPrinter.
        """
        self._database = database
        self._address = printers.parse_printer(setting)
        self._columns = columns
        self._has_drawer = drawer and self.prints
        self._waits = waits
        self._retry_seconds = retry_seconds
        self._look_seconds = look_seconds
        self._now = now
        self._on_change = on_change
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._shown = PrintingShown(printer=PrinterShown(setting=setting, state=PrinterState.NONE))
        self._thread = threading.Thread(target=self._run, name="printer", daemon=True)
        self._kicks: SimpleQueue[tuple[float, Future[None]]] = SimpleQueue()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shown(self) -> PrintingShown:
        return self._shown

    @property
    def prints(self) -> bool:
        """Whether a printer is set: without one, papers are only shown on the screen."""
        return self._address.kind is not PrinterKind.NONE

    def start(self) -> None:
        if self.prints:
            self._thread.start()

    def close(self, timeout_seconds: float = 20) -> None:
        """What waits stays. A paper that the printer is at is finished if that does not take long."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def wake(self) -> None:
        """There is something to print, or a person says that the printer can be tried again."""
        self._wake.set()

    def open_drawer(self) -> Future[None]:
        """Now, after the paper that is being printed, or not at all: one that opens an hour later is
        a danger. Nothing happens where there is no drawer.

        The future raises PrintFailed.
        """
        asked: Future[None] = Future()
        if self._has_drawer:
            self._kicks.put((time.monotonic(), asked))
            self._wake.set()
        else:
            asked.set_result(None)
        return asked

    def _run(self) -> None:
        while not self._closing.is_set():
            error: DoBMIError
            try:
                with PrintLock(self._database), contextlib.closing(Ledger(self._database)) as own:
                    self._work(own)
                continue
            except DoBMIError as reason:  # another program prints, or the ledger cannot be used now
                error = reason
            except Exception:  # noqa: BLE001 - a till that prints nothing any more must not look well
                _log.exception("the printing begins anew")
                error = PrintFailed()
            self._show(PrintingShown(printer=self._shown.printer, error=error))
            self._kick_drawer(error)
            self._wake.wait(self._retry_seconds)
            self._wake.clear()
        self._kick_drawer(PrintFailed())

    def _work(self, ledger: Ledger) -> None:
        looked = float("-inf")
        while not self._closing.is_set():
            self._wake.clear()
            self._kick_drawer()
            printer, error = self._shown.printer, None
            state: PrinterState | None = None
            try:
                state = self._print(ledger)
            except PrintFailed as failed:
                error, printer = failed, printers.shown_after(self._address, failed)
            if state is not None:
                printer = PrinterShown(setting=self._address.setting, state=state)
            elif error is None and self._is_time_to_look(looked):
                printer = printers.printer_status(self._address, self._waits)
                looked = time.monotonic()
            count = waiting_count(ledger)
            self._show(PrintingShown(printer=printer, waiting_count=count, error=error))
            away = error is not None or not printer.state.can_print
            self._wake.wait(self._retry_seconds if away else self._look_seconds)

    def _is_time_to_look(self, looked: float) -> bool:
        is_there = self._shown.printer.state.can_print
        return not is_there or time.monotonic() - looked >= self._look_seconds

    def _print(self, ledger: Ledger) -> PrinterState | None:
        return print_waiting(
            ledger,
            self._address,
            self._columns,
            now=self._now,
            waits=self._waits,
            stopped=self._is_closing,
        ).state

    def _is_closing(self) -> bool:
        """Between two papers."""
        self._kick_drawer()
        return self._closing.is_set()

    def _kick_drawer(self, cannot: DoBMIError | None = None) -> None:
        """Once for all that asked since; `cannot`: why it is not to be."""
        asked: list[Future[None]] = []
        with contextlib.suppress(Empty):
            while True:
                since, one = self._kicks.get_nowait()
                if time.monotonic() - since > _KICK_SECONDS_MAX:
                    one.set_exception(PrintFailed())
                else:
                    asked.append(one)
        if asked and cannot is None:
            try:
                printers.kick_drawer(self._address, self._waits)
            except PrintFailed as error:
                cannot = error
        for one in asked:
            if cannot is None:
                one.set_result(None)
            else:
                one.set_exception(cannot)

    def _show(self, shown: PrintingShown) -> None:
        if shown != self._shown:
            self._shown = shown
            self._on_change(shown)
