"""A station's bench: one thread that owns the reader, and a state that everybody may look at.

    with Bench(open_reader, look) as bench:
        bench.ask(Task(request="5f3a…", owner="…", kind="topup", act=lambda card: …))

The thread looks for a card a tenth of a second at a time. A card that comes is looked at (who is it), and does
what was asked; one that lies there already does it at once. A card pulled away half-way is asked for
again, and no other does instead. A run is tasks one after the other, card after card, with nothing
to press between.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Self, TypeVar

from dobmi.cardlib.errors import CardRemoved, NoCard, ReaderUnavailable
from dobmi.cardlib.readers import CardConnection, Reader, Signal
from dobmi.errors import DoBMIError
from dobmi.provisioning.errors import BenchBusy, BenchClosed, BenchFault, NoCardCame
from dobmi.sync.errors import RelayInterrupted

T = TypeVar("T")

_SLICE_SECONDS = 0.1
_READER_RETRY_SECONDS = 1.0
_NOTICE_SECONDS = 0.8
"""How long a finished card is shown at least, also when it is lifted at once."""

_log = logging.getLogger(__name__)


class Phase(StrEnum):
    """WAITING for a card; AGAIN: it left half-way, the same one is to come back; DONE and REFUSED
    stay until they were seen (or, in a run, until the card is lifted).
    """

    STARTING = "starting"
    IDLE = "idle"
    WAITING = "waiting"
    WORKING = "working"
    AGAIN = "again"
    DONE = "done"
    REFUSED = "refused"

    @property
    def is_busy(self) -> bool:
        return self in {Phase.WAITING, Phase.WORKING, Phase.AGAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one card is to do. `request` is its number, `owner` whoever asked, `facts` are for the page.

    `uid`: this card and no other. `act` works with the card and gives the result; it is called again
    with the same card when that left half-way, so it must be one that can be.
    """

    request: str
    owner: str
    kind: str
    act: Callable[[CardConnection], object] = field(repr=False)
    facts: Mapping[str, object] = field(default_factory=dict)
    uid: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Tasks in a row. `take` gives the next, None when there is none; it may raise a DoBMIError.

    `let_go` is called when the run is stopped, with the task that had begun; it raises nothing.
    """

    number: int
    owner: str
    name: str
    take: Callable[[], Task | None] = field(repr=False)
    let_go: Callable[[Task | None], None] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCard:
    """A card on the reader: what it is (`look`'s word), or why that is not known."""

    uid: bytes
    what: object = None
    error: DoBMIError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchState:
    """`version` grows with every change. `is_another`: not the card that was asked for lies there."""

    version: int = 0
    phase: Phase = Phase.STARTING
    reader: str = ""
    reader_error: DoBMIError | None = None
    card: SeenCard | None = None
    task: Task | None = None
    result: object = None
    error: DoBMIError | None = None
    is_another: bool = False
    run: Run | None = None
    is_paused: bool = False
    run_error: DoBMIError | None = None
    run_done: int = 0


class Bench:
    """See the module. Every method may be called by any thread."""

    def __init__(
        self,
        open_reader: Callable[[], Reader],
        look: Callable[[CardConnection], object],
        *,
        card_wait_seconds: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_reader` is called in the bench's thread, again and again while the reader is away;
        `look` says of a card that was laid down what it is. Both may raise a DoBMIError.
        """
        self._open_reader = open_reader
        self._look = look
        self._card_wait_seconds = card_wait_seconds
        self._monotonic = monotonic
        self._state = BenchState()
        self._changed = Condition()
        self._watchers: list[Callable[[], None]] = []
        self._orders: SimpleQueue[tuple[Callable[[], None], Future[None]]] = SimpleQueue()
        self._closing = Event()
        self._thread = Thread(target=self._work, name="bench", daemon=True)
        self._reader: Reader | None = None
        self._connection: CardConnection | None = None
        self._is_spent = False
        """The card that lies there has had its turn."""
        self._deadline = 0.0
        self._begun: bytes | None = None
        """The card that began the task and left half-way."""
        self._shown_until = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What a card is doing is finished before."""
        self._closing.set()
        self._thread.join(15)

    @property
    def state(self) -> BenchState:
        return self._state

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after every change, in the bench's thread."""
        self._watchers.append(on_change)

    def changes(self, after_version: int, timeout_seconds: float) -> BenchState:
        """The state, once it is newer than `after_version` or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.version > after_version, timeout_seconds)
            return self._state

    def ask(self, task: Task) -> None:
        """Have the next card do it. Asked again under the same number it is the same. Raises BenchBusy."""

        def take() -> None:
            now = self._state
            if now.task is not None and now.task.request == task.request:
                return
            if now.phase.is_busy or now.run is not None:
                raise BenchBusy
            self._begin(task)

        self._order(take)

    def begin_run(self, run: Run) -> None:
        """Take task after task. Raises BenchBusy."""

        def take() -> None:
            now = self._state
            if now.run is not None and now.run.number == run.number:
                self._show(is_paused=False, run_error=None)
                return
            if now.phase.is_busy or now.run is not None:
                raise BenchBusy
            self._show(
                run=run, is_paused=False, run_error=None, run_done=0, phase=Phase.IDLE, task=None
            )

        self._order(take)

    def pause_run(self) -> None:
        """No further task is taken; one that waits for its card waits no more."""
        self._order(lambda: self._pause(None))

    def resume_run(self) -> None:
        self._order(lambda: self._show(is_paused=False, run_error=None))

    def stop_run(self) -> None:
        def stop() -> None:
            run, task = self._state.run, self._state.task
            if run is None:
                return
            is_open = self._state.phase is not Phase.DONE
            self._rest(run=None, is_paused=False, run_error=None)
            run.let_go(task if is_open else None)

        self._order(stop)

    def skip(self) -> None:
        """Leave the task that waits for its card, or was refused; a run goes on with the next."""

        def leave() -> None:
            if self._state.phase in {Phase.WAITING, Phase.AGAIN, Phase.REFUSED}:
                self._rest()

        self._order(leave)

    def cancel(self, owner: str) -> None:
        """Give up waiting, or put away what was shown; of a task that `owner` asked."""

        def leave() -> None:
            task = self._state.task
            if task is None or task.owner != owner or self._state.phase is Phase.WORKING:
                return
            if self._state.run is not None and self._state.phase.is_busy:
                self._pause(None)
                return
            self._rest()

        self._order(leave)

    def _order(self, take: Callable[[], None]) -> None:
        """In the bench's thread, between two steps. Raises what `take` raises, BenchClosed."""
        done: Future[None] = Future()
        self._orders.put((take, done))
        while not done.done():
            if not self._thread.is_alive() or self._closing.is_set():
                raise BenchClosed
            with contextlib.suppress(TimeoutError):
                done.result(0.2)
        done.result()

    # The worker

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self._take_orders()
                self._step()
            except Exception:  # noqa: BLE001 - a fault with one card must not end the station's work
                _log.exception("the bench goes on")
                self._let_go()
                self._end(Phase.REFUSED, error=BenchFault())
        self._let_go()
        if self._reader is not None:
            self._reader.close()

    def _take_orders(self) -> None:
        while True:
            try:
                take, done = self._orders.get_nowait()
            except Empty:
                return
            try:
                take()
            except DoBMIError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    def _step(self) -> None:
        waits_alone = self._state.phase is Phase.WAITING and self._state.run is None
        if waits_alone and self._monotonic() >= self._deadline:
            self._end(Phase.REFUSED, error=NoCardCame(seconds=round(self._card_wait_seconds)))
        self._go_on_with_run()
        try:
            self._look_at_reader()
        except NoCard:
            self._let_go()
        except ReaderUnavailable as error:
            self._reader_gone(error)

    def _look_at_reader(self) -> None:
        reader = self._opened_reader()
        if self._connection is None:
            if not reader.wait_for_card(_SLICE_SECONDS):
                return
            with contextlib.suppress(CardRemoved):
                self._connection = reader.connect()
                self._is_spent = False
                self._card_came(reader, self._connection)
        elif self._state.phase in {Phase.WAITING, Phase.AGAIN} and not self._is_spent:
            self._serve(reader, self._connection)
        elif reader.wait_for_removal(_SLICE_SECONDS):
            self._card_left()

    def _opened_reader(self) -> Reader:
        if self._reader is None:
            try:
                self._reader = self._open_reader()
            except ReaderUnavailable:
                raise
            except DoBMIError as error:  # a setting that names no reader there is
                raise ReaderUnavailable(detail=error.explain()) from error
            phase = Phase.IDLE if self._state.phase is Phase.STARTING else self._state.phase
            self._show(reader=self._reader.name, reader_error=None, phase=phase)
        return self._reader

    def _reader_gone(self, error: DoBMIError) -> None:
        self._let_go()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        phase = Phase.IDLE if self._state.phase is Phase.STARTING else self._state.phase
        self._show(reader_error=error, phase=phase)
        self._closing.wait(_READER_RETRY_SECONDS)

    def _card_came(self, reader: Reader, connection: CardConnection) -> None:
        if self._state.phase in {Phase.WAITING, Phase.AGAIN}:
            self._serve(reader, connection)
            return
        self._recognise(connection)

    def _recognise(self, connection: CardConnection) -> None:
        self._show(card=SeenCard(uid=connection.uid))
        try:
            seen = SeenCard(uid=connection.uid, what=self._look(connection))
        except CardRemoved:
            self._card_left()
            return
        except DoBMIError as error:
            seen = SeenCard(uid=connection.uid, error=error)
        self._show(card=seen)

    def _serve(self, reader: Reader, connection: CardConnection) -> None:
        task = self._state.task
        assert task is not None
        wanted = self._begun or task.uid
        if wanted is not None and connection.uid != wanted:
            self._is_spent = True
            self._signal(reader, Signal.FAILURE)
            self._show(is_another=True, card=SeenCard(uid=connection.uid))
            return
        self._show(
            phase=Phase.WORKING, is_another=False, error=None, card=SeenCard(uid=connection.uid)
        )
        self._signal(reader, Signal.BUSY)
        self._is_spent = True
        try:
            result = task.act(connection)
        except DoBMIError as error:
            self._signal(reader, Signal.FAILURE)
            if isinstance(error, CardRemoved) or isinstance(error.__cause__, CardRemoved):
                self._begun = connection.uid
                self._let_go()
                self._show(phase=Phase.AGAIN, error=error, card=None)
            elif isinstance(error, RelayInterrupted):
                self._begun = connection.uid
                self._end(Phase.REFUSED, error=error)
            else:
                self._end(Phase.REFUSED, error=error)
            return
        self._signal(reader, Signal.SUCCESS)
        self._begun = None
        self._shown_until = self._monotonic() + _NOTICE_SECONDS
        done = self._state.run_done + (self._state.run is not None)
        self._end(Phase.DONE, result=result, run_done=done)

    def _signal(self, reader: Reader, signal: Signal) -> None:
        with contextlib.suppress(DoBMIError):  # the light alone: what the card did stands
            reader.signal(signal)

    def _card_left(self) -> None:
        self._let_go()
        now = self._state
        self._show(card=None, is_another=False)
        if now.run is not None and now.phase is Phase.REFUSED and now.task is not None:
            # The same person's turn again, with this card or another.
            self._show(phase=Phase.AGAIN if self._begun else Phase.WAITING)

    def _go_on_with_run(self) -> None:
        now = self._state
        if now.run is None or now.is_paused or now.phase not in {Phase.IDLE, Phase.DONE}:
            return
        if now.phase is Phase.DONE and (
            self._connection is not None or self._monotonic() < self._shown_until
        ):
            return
        try:
            task = now.run.take()
        except DoBMIError as error:
            self._pause(error)
            return
        if task is None:
            self._rest(run=None)
        else:
            self._begin(task)

    def _pause(self, error: DoBMIError | None) -> None:
        run, task = self._state.run, self._state.task
        if run is None or self._state.phase is Phase.WORKING:
            return
        is_open = self._state.phase is not Phase.DONE
        self._rest(is_paused=True, run_error=error)
        run.let_go(task if is_open else None)

    def _begin(self, task: Task) -> None:
        self._begun = None
        self._is_spent = False
        self._deadline = self._monotonic() + self._card_wait_seconds
        self._show(phase=Phase.WAITING, task=task, result=None, error=None, is_another=False)

    def _end(self, phase: Phase, **more: object) -> None:
        self._show(phase=phase, **more)

    def _rest(self, **more: object) -> None:
        self._begun = None
        self._show(phase=Phase.IDLE, task=None, result=None, error=None, is_another=False, **more)
        connection = self._connection
        if connection is not None and self._state.run is None:
            self._is_spent = False
            self._recognise(connection)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _show(self, **changes: object) -> None:
        with self._changed:
            self._state = replace(
                self._state,
                version=self._state.version + 1,
                **changes,  # type: ignore[arg-type] # fields of the state, by their names
            )
            self._changed.notify_all()
        for watcher in self._watchers:
            watcher()
