"""A station's bench: one thread that owns the reader, and a state that everybody may look at.

    with Bench(open_reader, look) as bench:
        bench.ask(Task(request="5f3a…", owner="…", kind="topup", act=lambda card: …))

The thread looks for a card a tenth of a second at a time. A card that comes is looked at (who is it), and does
what was asked; one that lies there already does it at once. A card pulled away half-way is asked for
again, and no other does instead. While a list is issued (`queue.issue_queue`) the reader is the queue's.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
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
from dobmi.provisioning.queue import QueueControls, QueuePhase, QueueState
from dobmi.sync.errors import RelayInterrupted

T = TypeVar("T")

_SLICE_SECONDS = 0.1
_READER_RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Phase(StrEnum):
    """WAITING for a card; AGAIN: it left half-way, the same one is to come back; DONE and REFUSED
    stay until they were seen.
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
    """A list that is issued. `states` does it, with a reader of its own, and says how far it is."""

    number: int
    owner: str
    name: str
    controls: QueueControls = field(repr=False)
    states: Callable[[QueueControls], Iterator[QueueState]] = field(repr=False)


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
    queue: QueueState | None = None
    """How far the run is, or how it ended."""

    @property
    def is_running(self) -> bool:
        return self.run is not None and not (self.queue is not None and self.queue.is_over)


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

    @property
    def open_reader(self) -> Callable[[], Reader]:
        """For a run: the bench has let go of the reader by then."""
        return self._open_reader

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
        run = self._state.run
        if run is not None:
            run.controls.stop()
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
            if now.phase.is_busy:
                raise BenchBusy
            self._begin(task)

        if self._state.is_running:
            raise BenchBusy
        self._order(take)

    def begin_run(self, run: Run) -> None:
        """Issue a list. Raises BenchBusy."""

        def take() -> None:
            if self._state.phase.is_busy:
                raise BenchBusy
            self._show(run=run, queue=None, phase=Phase.IDLE, task=None, result=None, error=None)

        if self._state.is_running:
            raise BenchBusy
        self._order(take)

    def end_run(self) -> None:
        """Put away how the last run ended."""
        if not self._state.is_running:
            self._show(run=None, queue=None)

    def cancel(self, owner: str) -> None:
        """Give up waiting, or put away what was shown; of a task that `owner` asked."""

        def leave() -> None:
            task = self._state.task
            if task is not None and task.owner == owner and self._state.phase is not Phase.WORKING:
                self._rest()

        if not self._state.is_running:
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
                if self._state.run is not None and self._state.is_running:
                    self._issue(self._state.run)
                else:
                    self._step()
            except Exception:  # noqa: BLE001 - a fault with one card must not end the station's work
                _log.exception("the bench goes on")
                self._let_go()
                self._end(Phase.REFUSED, error=BenchFault())
        self._close_reader()

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

    def _issue(self, run: Run) -> None:
        """The run, with a reader of its own, to its end."""
        self._close_reader()
        self._show(card=None)
        try:
            for state in run.states(run.controls):
                self._show(queue=state)
        except DoBMIError as error:
            self._show(queue=QueueState(phase=QueuePhase.STOPPED, trouble=error))
        except Exception:  # noqa: BLE001 - what was issued is at the server; the list can be gone on with
            _log.exception("the run ended")
            self._show(queue=QueueState(phase=QueuePhase.STOPPED, trouble=BenchFault()))

    def _step(self) -> None:
        if self._state.phase is Phase.WAITING and self._monotonic() >= self._deadline:
            self._end(Phase.REFUSED, error=NoCardCame(seconds=round(self._card_wait_seconds)))
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
        self._close_reader()
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
        self._end(Phase.DONE, result=result)

    def _signal(self, reader: Reader, signal: Signal) -> None:
        with contextlib.suppress(DoBMIError):  # the light alone: what the card did stands
            reader.signal(signal)

    def _card_left(self) -> None:
        self._let_go()
        self._show(card=None, is_another=False)

    def _begin(self, task: Task) -> None:
        self._begun = None
        self._is_spent = False
        self._deadline = self._monotonic() + self._card_wait_seconds
        self._show(phase=Phase.WAITING, task=task, result=None, error=None, is_another=False)

    def _end(self, phase: Phase, **more: object) -> None:
        self._show(phase=phase, **more)

    def _rest(self) -> None:
        self._begun = None
        self._show(phase=Phase.IDLE, task=None, result=None, error=None, is_another=False)
        connection = self._connection
        if connection is not None:
            self._is_spent = False
            self._recognise(connection)

    def _close_reader(self) -> None:
        self._let_go()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

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
