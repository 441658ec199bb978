"""A counter over a simulated reader, and waiting for what it shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from dobmi.money import Rupiah
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import (
    AskBalance,
    AskLogin,
    AskSale,
    Command,
    CounterState,
    Phase,
    Request,
)
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.till import Till
from support.tills import Bench

SOON_SECONDS = 10.0
AMOUNT = Rupiah(12_500)
_numbers = itertools.count(1)


def new_id() -> str:
    return f"request-{next(_numbers)}"


def a_sale(amount: Rupiah = AMOUNT, **changes: object) -> AskSale:
    values: dict[str, object] = {"request": new_id(), "purchase": Purchase(amount)}
    return AskSale(**{**values, **changes})  # type: ignore[arg-type] # tests ask what they like


@dataclass
class Watched:
    """A running counter and everything it has shown."""

    counter: Counter
    states: list[CounterState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counter.watch(self.states.append)

    @property
    def state(self) -> CounterState:
        return self.counter.state

    def do(self, command: Command) -> None:
        self.counter.do(command).result(SOON_SECONDS)

    def run(self, work: Callable[[Till], object]) -> None:
        self.counter.run(work).result(SOON_SECONDS)

    def sees(self, condition: Callable[[CounterState], bool]) -> CounterState:
        """The newest state, once it is so."""
        state = self.counter.state
        while not condition(state):
            newer = self.counter.changes(state.version, SOON_SECONDS)
            assert newer.version > state.version, f"still {state}"
            state = newer
        return state

    def shows(self, *phases: Phase) -> CounterState:
        return self.sees(lambda state: state.phase in phases)

    def ends(self, request: Request) -> CounterState:
        """How it ended."""
        self.sees(lambda _: self.counter.ended(request.request) is not None)
        ended = self.counter.ended(request.request)
        assert ended is not None
        return ended

    def settles(self) -> CounterState:
        """The state after whatever is under way, and after one more look for cards and commands."""
        for _ in range(3):
            self.run(lambda _: None)
        return self.state

    def phases(self) -> list[Phase]:
        """Everything shown so far, one after the other."""
        return [phase for phase, _ in itertools.groupby(state.phase for state in self.states)]


def counter_of(bench: Bench, **changes: object) -> Counter:
    """Not started. Its syncs are on demand alone."""
    times = CounterTimes(card_wait_seconds=60, sync_interval_seconds=0)
    return Counter(lambda: bench.open(**changes), times)


def ask_balance() -> AskBalance:
    return AskBalance(request=new_id())


def ask_login() -> AskLogin:
    return AskLogin(request=new_id())
