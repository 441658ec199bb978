"""Credits that may be on their card: listed for people until the card tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from dobmi.central.cards import set_blocked
from dobmi.central.credit_doubts import NextStep, credits_in_doubt
from dobmi.central.periodic import run_due
from dobmi.central.replacement import replace_card
from dobmi.central.schema import CreditSource, pending_credits
from dobmi.central.server import Central
from dobmi.money import Rupiah
from support.central_client import Office
from support.traffic import START, ModelCard, ModelTill, World

DAY = 24 * 3600
YEARS = 10 * 365 * DAY


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


@pytest.fixture
def card(office: Office) -> ModelCard:
    return office.world.card(4711)


def steps(central: Central) -> list[NextStep]:
    return [one.next_step for one in credits_in_doubt(central)]


def test_who_how_much_and_since_when(world: World) -> None:
    station, card, other = world.station(), world.card(4711), world.card(4712)
    world.top_up(station, other, Rupiah(7_000))
    world.top_up_in_doubt(station, card, Rupiah(100_000))
    (found,) = credits_in_doubt(world.central)
    assert (found.card_uid, found.member_number, found.member_name) == (
        card.uid,
        4711,
        "Anggota 4711",
    )
    assert (found.sequence, found.amount, found.source) == (1, Rupiah(100_000), CreditSource.CASH)
    assert (found.since, found.attempts, found.next_step) == (START, 1, NextStep.TAP)


@pytest.mark.parametrize("arrived", [False, True])
def test_the_cards_next_sale_takes_it_off_the_list(
    office: Office, till: ModelTill, card: ModelCard, *, arrived: bool
) -> None:
    world, station = office.world, office.world.station()
    world.top_up(station, card, Rupiah(50_000))
    staged = world.top_up_in_doubt(station, card, Rupiah(100_000))
    if arrived:
        card.commit(staged)
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    assert steps(world.central) == ([] if arrived else [NextStep.TAP])


def test_no_number_of_days_settles_it(world: World) -> None:
    card = world.card(4711)
    world.top_up_in_doubt(world.station(), card, Rupiah(100_000))
    later = replace(world.central, unix_seconds=lambda: START + YEARS)
    assert all(run_due(later, interval_seconds=0, at_once=True).values())
    assert steps(world.central) == [NextStep.TAP]
    assert steps(later) == [NextStep.REPLACE]  # by then the card has expired


def test_a_blocked_card_has_to_be_unblocked_or_replaced_and_a_replaced_one_waits(
    world: World, till: ModelTill
) -> None:
    assert till.terminal_id  # a till that has yet to say that it has the block
    card = world.card(4711)
    world.top_up_in_doubt(world.station(), card, Rupiah(100_000))
    set_blocked(world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    assert steps(world.central) == [NextStep.UNBLOCK_OR_REPLACE]
    replace_card(world.central, card.uid, "hilang", by_terminal=None)
    assert steps(world.central) == [NextStep.WAIT]
    later = replace(world.central, unix_seconds=lambda: START + 30 * DAY)
    run_due(later, interval_seconds=0, at_once=True)
    assert steps(world.central) == []


def test_what_the_card_said_it_has_is_for_the_office_to_settle(world: World) -> None:
    card = world.card(4711)
    world.top_up_in_doubt(world.station(), card, Rupiah(100_000))
    with world.central.database.write() as connection:
        connection.execute(update(pending_credits).values(seen_at=START, seen_counter=1))
    assert steps(world.central) == [NextStep.SETTLE]
