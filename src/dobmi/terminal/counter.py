"""A counter: one thread that owns a till, and a state that everybody may look at.

    with Counter(make_till) as counter:
        counter.do(AskSale(request="5f3a…", purchase=Purchase(Rupiah(12_500)))).result()
        state = counter.changes(counter.state.version, timeout_seconds=20)

Whatever shows a till (the page, a test) goes through this, so that all have the same rules. The
thread looks for a card and for commands in turn, a tenth of a second at most for each; a card that
comes starts what was asked at once. Syncs run in a second thread, beside the sales.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from dobmi.errors import DoBMIError
from dobmi.terminal.counter_board import Board
from dobmi.terminal.counter_state import AskSync, Command, CounterState
from dobmi.terminal.counter_steps import CARD_WAIT_SECONDS, SLICE_SECONDS, CounterSteps
from dobmi.terminal.errors import CounterClosed, CounterFault
from dobmi.terminal.till import Till

T = TypeVar("T")

_TILL_RETRY_SECONDS = 1.0
_SYNC_RETRY_SECONDS_MAX = 60.0
_SYNC_JITTER = 0.2
_SYNC_END_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterTimes:
    """`sync_interval_seconds`: give or take a fifth, so that not all tills come at once; 0: no sync
    but on demand.
    """

    card_wait_seconds: float = CARD_WAIT_SECONDS
    sync_interval_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class _Queued:
    """`is_command`: a fault in it is one of the counter's own."""

    work: Callable[[Till], Any]
    future: Future[Any]
    is_command: bool


class Counter:
    """See the module, and counter_state.CounterLike for its methods. Thread-safe."""

    def __init__(
        self,
        make_till: Callable[[], Till],
        times: CounterTimes = CounterTimes(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        random_number: Callable[[], float] = random.random,
    ) -> None:
        """`make_till` is called in the counter's thread, and again when the till could not be opened.
        `random_number()` is at least 0 and below 1.
        """
        self._make_till = make_till
        self._times = times
        self._monotonic = monotonic
        self._random_number = random_number
        self._board = Board()
        self._steps = CounterSteps(
            self._board, card_wait_seconds=times.card_wait_seconds, monotonic=monotonic
        )
        self._queue: deque[_Queued] = deque()
        self._queued = Condition()
        self._closing = Event()
        self._opened = Event()
        self._sync_wanted = Event()
        self._worker = Thread(target=self._work, name="counter", daemon=True)
        self._syncer = Thread(target=self._sync_again_and_again, name="sync", daemon=True)
        self._till: Till | None = None
        """While it is open."""

    def start(self) -> None:
        self._worker.start()
        self._syncer.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End both threads; a sale that has begun is finished before. What waits is refused."""
        self._closing.set()
        self._opened.set()
        self._sync_wanted.set()
        with self._queued:
            self._queued.notify_all()
        # A sync may hang in the network; what it has written is whole, whenever it ends.
        for thread, seconds in ((self._worker, timeout_seconds), (self._syncer, _SYNC_END_SECONDS)):
            if thread.is_alive():
                thread.join(min(seconds, timeout_seconds))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # For everybody

    @property
    def state(self) -> CounterState:
        return self._board.state

    def do(self, command: Command) -> Future[None]:
        """See CounterLike."""
        if isinstance(command, AskSync):
            self._sync_wanted.set()
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._put(lambda till: self._steps.take(till, command), is_command=True)

    def run(self, work: Callable[[Till], T]) -> Future[T]:
        """See CounterLike."""
        return self._put(work, is_command=False)

    def ended(self, request: str) -> CounterState | None:
        """See CounterLike."""
        found = self._board.end_of(request)
        return None if found is None else found[1]

    def changes(self, after_version: int, timeout_seconds: float | None = None) -> CounterState:
        """See CounterLike."""
        return self._board.changes(after_version, timeout_seconds)

    def watch(self, on_change: Callable[[CounterState], None]) -> Callable[[], None]:
        """See CounterLike."""
        return self._board.watch(on_change)

    def _put(self, work: Callable[[Till], T], *, is_command: bool) -> Future[T]:
        future: Future[T] = Future()
        with self._queued:
            if self._closing.is_set():
                future.set_exception(CounterClosed())
            else:
                self._queue.append(_Queued(work, future, is_command))
                self._queued.notify_all()
        return future

    # The worker

    def _work(self) -> None:
        while not self._closing.is_set():
            error: DoBMIError
            try:
                with self._make_till() as till:
                    self._serve(till)
                continue
            except DoBMIError as reason:
                error = reason
            except Exception:  # noqa: BLE001 - a fault anywhere in a sale is survived as a crash is
                # As after a crash: the till is opened anew, and its ledger says how things stand.
                _log.exception("the counter begins anew")
                error = CounterFault()
            self._steps.show_closed(error)
            self._refuse_queue(error, _TILL_RETRY_SECONDS)
        self._refuse_queue(CounterClosed(), 0)

    def _serve(self, till: Till) -> None:
        try:
            self._till = till
            self._opened.set()
            self._steps.open(till)
            while not self._closing.is_set():
                self._run_queue(till)
                if not self._steps.step(till):
                    self._wait_for_queue(SLICE_SECONDS)
        finally:
            self._till = None
            self._opened.clear()
            self._steps.let_go()

    def _wait_for_queue(self, seconds: float) -> None:
        with self._queued:
            self._queued.wait_for(lambda: self._queue or self._closing.is_set(), seconds)

    def _run_queue(self, till: Till) -> None:
        while True:
            with self._queued:
                if not self._queue:
                    return
                one = self._queue.popleft()
            if not one.future.set_running_or_notify_cancel():
                continue
            self._steps.look_again_whether_stopped()
            try:
                one.future.set_result(one.work(till))
            except DoBMIError as error:
                one.future.set_exception(error)
            except Exception as error:
                one.future.set_exception(error)
                if one.is_command:
                    raise

    def _refuse_queue(self, error: DoBMIError, seconds: float) -> None:
        """Everything that comes within so many seconds."""
        until = self._monotonic() + seconds
        while True:
            with self._queued:
                refused = list(self._queue)
                self._queue.clear()
            for one in refused:
                if one.future.set_running_or_notify_cancel():
                    one.future.set_exception(error)
            left = until - self._monotonic()
            if left <= 0 or self._closing.is_set():
                return
            self._wait_for_queue(left)

    # Sync

    def _sync_again_and_again(self) -> None:
        """All of a network's tills start at once after a power cut: so also the first waits a little."""
        interval = self._times.sync_interval_seconds
        seconds = interval * _SYNC_JITTER * self._random_number()
        while True:
            self._sync_wanted.wait(seconds if interval else None)
            if self._closing.is_set():
                return
            self._sync_wanted.clear()
            till = self._till
            if till is None:
                self._opened.wait(_TILL_RETRY_SECONDS)
                self._sync_wanted.set()
                continue
            seconds = self.sync_pause_seconds(went_well=self._sync(till))

    def sync_pause_seconds(self, *, went_well: bool) -> float:
        """Drawn anew with every call."""
        pause = self._times.sync_interval_seconds
        if not went_well:
            pause = min(pause, _SYNC_RETRY_SECONDS_MAX)
        return pause * (1 + _SYNC_JITTER * (2 * self._random_number() - 1))

    def _sync(self, till: Till) -> bool:
        self._show_sync(is_running=True, done=0, total=0)
        try:
            result = till.sync_beside(lambda done, total: self._show_sync(done=done, total=total))
        except DoBMIError as error:
            self._show_sync(is_running=False, error=error)
            return False
        except Exception:  # noqa: BLE001 - the next sync is tried all the same
            _log.exception("the sync ended")
            self._show_sync(is_running=False, error=CounterFault())
            return False
        self._show_sync(
            is_running=False,
            error=None,
            result=result,
            result_unix_seconds=result.server_unix_seconds,
        )
        self.run(Till.learn_time)
        return True

    def _show_sync(self, **changes: Any) -> None:
        self._board.change(lambda state: state.after(sync=replace(state.sync, **changes)))
