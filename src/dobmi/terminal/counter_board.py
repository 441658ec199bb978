"""Where a counter's state stands for everybody to see, and how its last requests ended. Thread-safe."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from threading import Condition

from dobmi.terminal.counter_state import CounterState, Request

_ENDED_KEPT = 100
_log = logging.getLogger(__name__)


class Board:
    def __init__(self) -> None:
        self._changed = Condition()
        self._state = CounterState()
        self._watchers: list[Callable[[CounterState], None]] = []
        self._ended: OrderedDict[str, tuple[Request, CounterState]] = OrderedDict()

    @property
    def state(self) -> CounterState:
        return self._state

    def change(
        self, change: Callable[[CounterState], CounterState], ended: Request | None = None
    ) -> None:
        """`change` makes the new state of the one now; with it `ended` has its end."""
        with self._changed:
            self._state = state = change(self._state)
            if ended is not None:
                self._ended[ended.request] = (ended, state)
                while len(self._ended) > _ENDED_KEPT:
                    self._ended.popitem(last=False)
            self._changed.notify_all()
            watchers = list(self._watchers)
        for watcher in watchers:
            try:
                watcher(state)
            except Exception:  # noqa: BLE001 - its fault is its own: a sale may be under way
                _log.exception("what watches the counter failed")

    def end_of(self, request: str) -> tuple[Request, CounterState] | None:
        """What was asked under this number, and the state that it ended in."""
        with self._changed:
            return self._ended.get(request)

    def changes(self, after_version: int, timeout_seconds: float | None = None) -> CounterState:
        """See CounterLike."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.version > after_version, timeout_seconds)
            return self._state

    def watch(self, on_change: Callable[[CounterState], None]) -> Callable[[], None]:
        """See CounterLike."""
        with self._changed:
            self._watchers.append(on_change)

        def end() -> None:
            with self._changed, contextlib.suppress(ValueError):  # ended before
                self._watchers.remove(on_change)

        return end
