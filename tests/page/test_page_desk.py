"""The desk beside a real counter: what was paid never lies there to be paid once more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from dobmi.money import Rupiah
from dobmi.terminal.chain import Chain
from dobmi.terminal.counter_state import CounterState, Phase
from dobmi.terminal.errors import CounterBusy
from dobmi.terminal.page import desk as desks
from dobmi.terminal.page.desk import Desk
from support.counters import SOON_SECONDS, Watched, counter_of
from support.page_browser import Browser, request_of
from support.tills import Bench, balance_of, card_with


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


@pytest.fixture
def watched(bench: Bench) -> Iterator[Watched]:
    with counter_of(bench) as counter:
        watched = Watched(counter)
        watched.shows(Phase.IDLE)
        yield watched


def test_what_is_found_paid_after_a_fault_lies_on_the_desk_no_more(
    bench: Bench, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(watched.counter)
    watched.counter.watch(desk.on_counter)
    desk.change(lambda cart: cart.add_amount(Rupiah(12_500)))
    request = desk.state.request
    write_sale = Chain.write_sale
    faults = [RuntimeError("a fault")]

    def faulty(chain: Chain, *arguments: object) -> bytes:
        done = write_sale(chain, *arguments)  # type: ignore[arg-type] # passed on
        if faults:
            raise faults.pop()
        return done

    card = card_with(100_000)
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "write_sale", faulty)
        desk.pay(request)
        bench.tap(card)
        paid = watched.shows(Phase.PAID, Phase.REFUSED)
    assert (paid.phase, paid.request) == (Phase.PAID, request)
    assert balance_of(card) == 87_500
    until = time.monotonic() + SOON_SECONDS
    while desk.state.cart.lines and time.monotonic() < until:
        time.sleep(0.01)
    assert desk.state.cart.lines == ()
    assert desk.state.request != request


def test_an_older_state_that_comes_late_ends_nothing(cashier: Browser) -> None:
    """Two threads tell of the counter's states: its own, and that of the syncs."""
    before = cashier.counter.state
    request = request_of(cashier)
    cashier.tap("/sell/pay", request=request, typed="12500")
    assert cashier.counter.state.request == request
    cashier.page.desk.on_counter(before)
    assert cashier.page.desk.state.request == request


class _Deaf:
    """A counter that takes nothing for now."""

    def __init__(self) -> None:
        self.asked: list[Future[None]] = []

    @property
    def state(self) -> CounterState:
        return CounterState(phase=Phase.WORKING)

    def do(self, _command: object) -> Future[None]:
        self.asked.append(Future())
        return self.asked[-1]


def test_what_was_said_to_be_refused_is_not_done_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "ANSWER_SECONDS_MAX", 0.01)
    counter = _Deaf()
    desk = Desk(counter)  # type: ignore[arg-type] # as much of one as the desk asks
    desk.change(lambda cart: cart.add_amount(Rupiah(12_500)))
    request = desk.state.request
    with pytest.raises(CounterBusy):
        desk.pay(request)
    [asked] = counter.asked
    assert asked.cancelled()
    assert desk.state.request != request
    assert desk.state.cart.total == Rupiah(12_500)


def test_what_has_begun_is_waited_for_and_never_called_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desks, "ANSWER_SECONDS_MAX", 0.01)
    begun: Future[int] = Future()
    assert begun.set_running_or_notify_cancel()

    def later() -> None:
        time.sleep(0.1)
        begun.set_result(7)

    threading.Thread(target=later).start()
    assert desks.answer_of(begun) == 7
