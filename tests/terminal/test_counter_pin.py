"""The counter asks the member for the PIN, then the card: one tap is enough, a wrong PIN one more typing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.cardlib.errors import PinNotSet, WrongPin
from dobmi.cardlib.pin import Pin
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.money import Rupiah
from dobmi.sync.feed import Limits
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import AskSale, Cancel, GivePin, Phase
from dobmi.terminal.errors import CardPinLocked, CounterBusy, PinNotGiven
from support.counters import Watched, a_sale, counter_of
from support.pins import PIN, WRONG, give_pin
from support.tills import RING, Bench, balance_of, card_with

ABOVE = Rupiah(12_500)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path).enrol()
    bench.feed(pins_locked=(), limits=replace(Limits(), pin_above=Rupiah(10_000)))
    return bench


@pytest.fixture
def card() -> SimulatedCard:
    card = card_with(100_000)
    give_pin(card, RING)
    return card


@pytest.fixture
def watched(bench: Bench) -> Iterator[Watched]:
    with counter_of(bench) as counter:
        yield Watched(counter)


def give(watched: Watched, sale: AskSale, pin: Pin = PIN) -> None:
    watched.do(GivePin(request=sale.request, pin=pin))


def test_the_pin_then_one_tap(watched: Watched, bench: Bench, card: SimulatedCard) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    assert watched.shows(Phase.PIN).purchase == sale.purchase
    give(watched, sale)
    watched.shows(Phase.WAITING)
    bench.tap(card)
    watched.shows(Phase.PAID)
    assert balance_of(card) == 100_000 - ABOVE.amount
    assert bench.chain()[0].intent.with_pin  # type: ignore[union-attr] # a sale


def test_a_card_that_lies_there_already_pays_at_once(
    watched: Watched, bench: Bench, card: SimulatedCard
) -> None:
    bench.tap(card)
    watched.shows(Phase.CARD_HERE)
    sale = a_sale(ABOVE)
    watched.do(sale)
    shown = watched.shows(Phase.PIN)
    assert shown.card is not None
    give(watched, sale)
    assert watched.ends(sale).phase is Phase.PAID


def test_a_card_that_comes_while_it_is_typed_waits(
    watched: Watched, bench: Bench, card: SimulatedCard
) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    bench.tap(card)
    watched.settles()
    assert watched.state.phase is Phase.PIN
    give(watched, sale)
    assert watched.ends(sale).phase is Phase.PAID


def test_a_wrong_one_is_typed_again_and_the_same_card_pays(
    watched: Watched, bench: Bench, card: SimulatedCard
) -> None:
    bench.tap(card)
    sale = a_sale(ABOVE)
    watched.do(sale)
    give(watched, sale, WRONG)
    shown = watched.sees(lambda state: isinstance(state.error, WrongPin))
    assert shown.phase is Phase.PIN
    assert isinstance(shown.error, WrongPin)
    assert shown.error.tries_left == 2
    give(watched, sale)
    assert watched.ends(sale).phase is Phase.PAID


def test_three_wrong_ones_end_the_sale_and_the_next_asks_for_none(
    watched: Watched, bench: Bench, card: SimulatedCard
) -> None:
    bench.tap(card)
    sale = a_sale(ABOVE)
    watched.do(sale)
    for _ in range(3):
        watched.shows(Phase.PIN, Phase.REFUSED)
        give(watched, sale, WRONG)
        watched.settles()
    ended = watched.ends(sale)
    assert ended.phase is Phase.REFUSED
    assert isinstance(ended.error, CardPinLocked)
    bench.tap(card)
    watched.settles()
    again = a_sale(ABOVE)
    watched.do(again)
    give(watched, again)
    assert isinstance(watched.ends(again).error, CardPinLocked)
    assert balance_of(card) == 100_000


def test_a_card_without_a_pin_ends_the_sale(watched: Watched, bench: Bench) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    give(watched, sale)
    bench.tap(card_with(100_000))
    ended = watched.ends(sale)
    assert ended.phase is Phase.REFUSED
    assert isinstance(ended.error, PinNotSet)


def test_cancelled_it_is_forgotten(watched: Watched, bench: Bench, card: SimulatedCard) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    watched.shows(Phase.PIN)
    with pytest.raises(CounterBusy):
        watched.do(a_sale(ABOVE))
    watched.do(Cancel(request=sale.request))
    watched.shows(Phase.IDLE)
    give(watched, sale)
    bench.tap(card)
    assert watched.shows(Phase.CARD_HERE).sale is None
    assert bench.chain() == []


def test_another_request_s_pin_is_not_taken(watched: Watched) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    watched.do(GivePin(request="another", pin=PIN))
    watched.settles()
    assert watched.state.phase is Phase.PIN


def test_a_card_pulled_away_is_tapped_again_without_typing_again(
    watched: Watched, bench: Bench, card: SimulatedCard
) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    give(watched, sale)
    bench.tap(card, at_frame(5, Moment.AFTER))
    watched.sees(lambda state: state.error is not None)
    bench.tap(card)
    assert watched.ends(sale).phase is Phase.PAID


@pytest.mark.parametrize("moment", Moment)
def test_a_sale_in_doubt_needs_no_second_typing(
    watched: Watched, bench: Bench, card: SimulatedCard, moment: Moment
) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    give(watched, sale)
    bench.tap(card, at_frame(10, moment))
    watched.shows(Phase.IN_DOUBT)
    bench.tap(card)
    assert watched.ends(sale).phase is Phase.PAID
    assert balance_of(card) == 100_000 - ABOVE.amount


def test_up_to_the_amount_nothing_is_asked_of_the_member(watched: Watched) -> None:
    watched.do(a_sale(Rupiah(10_000)))
    assert watched.state.phase is Phase.WAITING


def test_nobody_types_it(bench: Bench) -> None:
    times = CounterTimes(card_wait_seconds=0.05, sync_interval_seconds=0)
    with Counter(bench.open, times) as counter:
        watched = Watched(counter)
        sale = a_sale(ABOVE)
        watched.do(sale)
        assert isinstance(watched.ends(sale).error, PinNotGiven)


def test_no_state_and_no_command_shows_it(
    watched: Watched, bench: Bench, card: SimulatedCard
) -> None:
    sale = a_sale(ABOVE)
    watched.do(sale)
    command = GivePin(request=sale.request, pin=PIN)
    watched.do(command)
    bench.tap(card)
    watched.shows(Phase.PAID)
    assert PIN.digits not in repr(command) + repr(watched.states) + repr(vars(watched.counter))
