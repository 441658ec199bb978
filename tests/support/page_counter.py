"""A counter for tests of the page: it shows what a test puts there, and keeps what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from dobmi.terminal.counter_state import (
    Acknowledge,
    AskBalance,
    Asked,
    AskLogin,
    AskSale,
    Cancel,
    Command,
    CounterState,
    Phase,
    ReaderShown,
)
from dobmi.terminal.till import Till

T = TypeVar("T")


class ShownCounter:
    """A CounterLike with no card: requests wait until the test says with `show` what comes."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.asked: list[Command] = []
        self.refuses: Exception | None = None
        self._state = CounterState(
            version=1, phase=Phase.IDLE, reader=ReaderShown(name="simulated")
        )
        self._ended: dict[str, CounterState] = {}
        self._watchers: list[Callable[[CounterState], None]] = []
        self._changed = threading.Condition()

    @property
    def state(self) -> CounterState:
        return self._state

    def show(self, **changes: object) -> CounterState:
        with self._changed:
            self._state = replace(
                self._state,
                version=self._state.version + 1,
                **changes,  # type: ignore[arg-type] # tests show what they like
            )
            if self._state.phase.is_final and self._state.request is not None:
                self._ended[self._state.request] = self._state
            self._changed.notify_all()
        for watcher in self._watchers:
            watcher(self._state)
        return self._state

    def do(self, command: Command) -> Future[None]:
        done: Future[None] = Future()
        self.asked.append(command)
        if self.refuses is not None:
            done.set_exception(self.refuses)
            return done
        match command:
            case AskSale():
                self._ask(
                    Asked.SALE,
                    command.request,
                    purchase=command.purchase,
                    member_class=command.member_class,
                )
            case AskBalance():
                self._ask(Asked.BALANCE, command.request)
            case AskLogin():
                self._ask(Asked.LOGIN, command.request)
            case Cancel() | Acknowledge():
                self.show(phase=Phase.IDLE, request=None, asked=None, purchase=None, error=None)
            case _:
                pass
        done.set_result(None)
        return done

    def _ask(self, asked: Asked, request: str, **more: object) -> None:
        facts: dict[str, object] = {
            "card": None,
            "error": None,
            "sale": None,
            "purchase": None,
            "settled": (),
            "lift_card": False,
            **more,
        }
        self.show(phase=Phase.WAITING, asked=asked, request=request, **facts)

    def ended(self, request: str) -> CounterState | None:
        return self._ended.get(request)

    def run(self, work: Callable[[Till], T]) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(self.till))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            done.set_exception(error)
        return done

    def changes(self, after_version: int, timeout_seconds: float | None = None) -> CounterState:
        with self._changed:
            self._changed.wait_for(lambda: self._state.version > after_version, timeout_seconds)
        return self._state

    def watch(self, on_change: Callable[[CounterState], None]) -> Callable[[], None]:
        self._watchers.append(on_change)
        return lambda: self._watchers.remove(on_change)
