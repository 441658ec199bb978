"""The counter's syncs: beside the sales, in their own time, and never in a sale's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from dobmi.central.cards import set_blocked
from dobmi.central.server import Central
from dobmi.firmware_sim.faults import at_command
from dobmi.money import Rupiah
from dobmi.sync.errors import ServerUnreachable
from dobmi.sync.voucher import SaleVoucher
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import AskSync, Phase
from dobmi.terminal.errors import CardBlocked, CounterFault, SyncTooOld
from dobmi.terminal.till import Till, enrol_till
from support.counters import AMOUNT, SOON_SECONDS, Watched, a_sale, counter_of
from support.servers import issued, new_central, office, serving, till_invitation
from support.tills import NOW, QUICK, Bench, balance_of, card_with

COMMIT = 0xC7
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def server_time() -> list[int]:
    return [NOW]


@pytest.fixture
def central(tmp_path: Path, server_time: list[int]) -> Central:
    return new_central(tmp_path, lambda: server_time[0])


@pytest.fixture
def bench(tmp_path: Path, central: Central) -> Iterator[Bench]:
    """A till enrolled with the server that is running."""
    with serving(central) as url:
        made = Bench(tmp_path, server=url)
        enrol_till(
            database=made.database,
            signing=made.signing,
            server=url,
            invitation=till_invitation(central),
            patience=QUICK,
            system_time=lambda: made.time,
        )
        yield made.start_shift()


@pytest.fixture
def watched(bench: Bench) -> Iterator[Watched]:
    with counter_of(bench) as counter:
        watched = Watched(counter)
        watched.shows(Phase.IDLE)
        yield watched


def sell(bench: Bench, watched: Watched, amount: Rupiah = AMOUNT) -> None:
    asked = a_sale(amount)
    watched.do(asked)
    bench.tap(card_with())
    assert watched.ends(asked).phase is Phase.PAID
    bench.reader.remove()
    watched.sees(lambda state: not state.lift_card)


def test_on_demand_it_sends_what_was_sold_also_while_a_card_is_waited_for(
    bench: Bench, watched: Watched, central: Central
) -> None:
    card = issued(central, 100_000)
    asked = a_sale()
    watched.do(asked)
    bench.tap(card)
    watched.ends(asked)
    bench.reader.remove()
    watched.sees(lambda state: not state.lift_card)
    watched.do(a_sale())
    watched.do(AskSync())
    done = watched.sees(lambda state: state.sync.result is not None).sync
    assert done.result is not None
    assert (done.result.sent_count, done.error) == (1, None)
    assert done.result_unix_seconds == NOW
    assert watched.state.phase is Phase.WAITING
    progress = [(state.sync.done, state.sync.total) for state in watched.states]
    assert (1, 1) in progress


def test_what_it_learns_holds_for_the_next_card(
    bench: Bench, watched: Watched, central: Central
) -> None:
    card = issued(central, 100_000)
    set_blocked(central, card.uid, "hilang", blocked=True, by_terminal=office(central))
    watched.do(AskSync())
    watched.sees(lambda state: state.sync.result is not None)
    asked = a_sale()
    watched.do(asked)
    bench.tap(card)
    assert isinstance(watched.ends(asked).error, CardBlocked)


def test_a_till_that_may_not_sell_any_more_may_again_after_a_sync(
    bench: Bench, watched: Watched, server_time: list[int]
) -> None:
    bench.time += 14 * DAY + HOUR
    server_time[0] += 14 * DAY + HOUR
    watched.run(lambda _: None)
    stopped = watched.sees(lambda state: state.stopped is not None).stopped
    assert isinstance(stopped, SyncTooOld)
    watched.do(AskSync())
    watched.sees(lambda state: state.stopped is None)
    sell(bench, watched)


class Holding(HTTPAdapter):
    """A network in which everything stays under way until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = threading.Event()
        self.may_go = threading.Event()

    def send(self, *arguments: object, **named: object) -> requests.Response:
        self.is_held.set()
        assert self.may_go.wait(SOON_SECONDS)
        return super().send(*arguments, **named)  # type: ignore[arg-type] # passed on


def test_no_sale_waits_for_the_network(bench: Bench) -> None:
    network = Holding()
    with counter_of(bench, transport=network) as counter:
        watched = Watched(counter)
        watched.shows(Phase.IDLE)
        watched.do(AskSync())
        assert network.is_held.wait(SOON_SECONDS)
        assert watched.state.sync.is_running
        sell(bench, watched)
        sell(bench, watched)
        assert watched.state.sync.is_running
        network.may_go.set()
        watched.sees(lambda state: state.sync.result is not None)
        watched.do(AskSync())
        watched.sees(
            lambda state: state.sync.result is not None and state.sync.result.sent_count == 2
        )


def test_one_in_doubt_stays_open_for_its_card(bench: Bench, watched: Watched) -> None:
    card = card_with(100_000)
    asked = a_sale()
    watched.do(asked)
    bench.tap(card, at_command(COMMIT))
    watched.shows(Phase.IN_DOUBT)
    watched.do(AskSync())
    watched.sees(lambda state: state.sync.result is not None)
    assert watched.state.phase is Phase.IN_DOUBT
    bench.tap(card)
    assert watched.ends(asked).phase is Phase.PAID
    assert [type(voucher) for voucher in bench.chain()] == [SaleVoucher]
    assert balance_of(card) == 87_500


def test_it_comes_again_and_again_by_itself_and_sales_go_on_beside(bench: Bench) -> None:
    times = CounterTimes(sync_interval_seconds=0.01)
    with Counter(bench.open, times) as counter:
        watched = Watched(counter)
        watched.shows(Phase.IDLE)
        for _ in range(15):
            sell(bench, watched, Rupiah(100))

        def runs() -> int:
            running = [state.sync.is_running for state in watched.states]
            return sum(after > before for before, after in pairwise(running))

        watched.sees(lambda state: runs() > 2 and state.sync.result is not None)
        assert {state.sync.error for state in watched.states} == {None}
    assert len(bench.chain()) == 15


def test_without_a_network_it_says_so_until_there_is_one(bench: Bench, watched: Watched) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def gone(*_: object, **__: object) -> None:
            raise ServerUnreachable(server="", detail="")

        patch.setattr(Till, "sync_beside", gone)
        watched.do(AskSync())
        lost = watched.sees(lambda state: state.sync.error is not None)
        assert isinstance(lost.sync.error, ServerUnreachable)
        sell(bench, watched)
    watched.do(AskSync())
    back = watched.sees(lambda state: state.sync.result is not None)
    assert back.sync.error is None


def test_a_fault_in_it_stops_no_sale_and_no_later_sync(bench: Bench, watched: Watched) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Till, "sync_beside", lambda *_: 1 // 0)
        watched.do(AskSync())
        faulty = watched.sees(lambda state: state.sync.error is not None)
        assert isinstance(faulty.sync.error, CounterFault)
    sell(bench, watched)
    watched.do(AskSync())
    watched.sees(lambda state: state.sync.result is not None)


@pytest.mark.parametrize(("number", "seconds"), [(0.0, 80.0), (0.5, 100.0), (1.0, 120.0)])
def test_not_all_tills_come_at_once(number: float, seconds: float) -> None:
    def no_till() -> Till:
        raise AssertionError

    counter = Counter(
        no_till, CounterTimes(sync_interval_seconds=100), random_number=lambda: number
    )
    assert counter.sync_pause_seconds(went_well=True) == pytest.approx(seconds)
    assert counter.sync_pause_seconds(went_well=False) == pytest.approx(seconds * 0.6)
