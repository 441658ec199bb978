"""The simulated central server answers as app.py does, so that what is simulated is what is served."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from dobmi.central.overdue import SECONDS_PER_DAY, settle_overdue
from dobmi.central.replacement import replace_card
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.faults import Moment
from dobmi.fleet.events import STATION, Deliver, Tear
from dobmi.fleet.template import SETTINGS
from dobmi.fleet.till_process import ready
from dobmi.fleet.world import World, new_world
from dobmi.money import Rupiah
from dobmi.sync.cbor import CborValue
from dobmi.sync.relay import Action, Start

COMMIT_OF_SALE = 8


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        yield made


def sync(world: World, *tills: int) -> None:
    for till in tills:
        answer = world.at_till(world.tills[till], "sync", lambda machine: machine.sync())
        assert not isinstance(answer, DoBMIError), answer


def test_a_feed_that_is_asked_for_tells_the_server_what_the_till_has(world: World) -> None:
    """And what waited for the last till to have the block is restored."""
    card = world.cards[0]
    replace_card(world.office.central, card.serial, "hilang", by_terminal=None)
    sync(world, 0, 1, 2)
    assert _safe_at(world) is None
    sync(world, 0, 1)
    assert _safe_at(world) is None
    sync(world, 2)
    assert _safe_at(world) == world.seconds()


def test_a_till_hears_what_became_of_its_doubts(world: World) -> None:
    process, central = world.tills[0], world.office.central
    world.tap(process.reader, world.cards[0], Tear(COMMIT_OF_SALE, Moment.BEFORE))
    world.at_till(process, "a torn sale", lambda till: ready(till).sell(Rupiah(5_000)))
    world.at_till(process, "the next customer comes", lambda till: till.give_up())
    sync(world, 0)
    world.pass_time((SETTINGS.settle_after_days + 1) * SECONDS_PER_DAY)
    assert settle_overdue(central, world.seconds()).not_paid_count == 1
    sync(world, 0)
    (doubt,) = world.started(process).ledger.unanswered(world.cards[0].serial)
    assert doubt.settlement is not None
    assert doubt.settlement.rule == "no-word"


@pytest.mark.parametrize("action", [Action.REKEY, Action.ISSUE])
def test_a_till_relays_nothing_but_credits(world: World, action: Action) -> None:
    card = world.cards[0]
    parameters: dict[int, CborValue] = {1: 1001, 2: "Siti"} if action is Action.ISSUE else {}
    event = Deliver(at_seconds=0, at=0, card=0)
    refused = world.relayed(event, 0, card, Start(action, card.serial, parameters), action.value)
    assert isinstance(refused, DoBMIError)
    assert refused.facts["problem"] == "CENTRAL-ROLE"
    if action is Action.REKEY:
        done = world.relayed(event, STATION, card, Start(action, card.serial, {}), action.value)
        assert isinstance(done, dict)


def _safe_at(world: World) -> int | None:
    with closing(sqlite3.connect(world.office.disk.path)) as database:
        (safe_at,) = database.execute("SELECT safe_at FROM replacements").fetchone()
    assert safe_at is None or isinstance(safe_at, int)
    return safe_at
