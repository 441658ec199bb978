"""The audit trail: each deed in its own transaction, numbered, chained, and never changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from dobmi.central.acts import (
    ACTS_COUNTER,
    Act,
    Actor,
    acts_broken_at,
    list_acts,
    note_act,
)
from dobmi.central.cards import set_blocked
from dobmi.central.database import add_to_counter
from dobmi.central.schema import staff_acts
from dobmi.central.server import Central
from dobmi.money import Rupiah
from support.traffic import START, World

ANI = Actor("Ani", None)


def broken(central: Central) -> list[int]:
    with central.database.write() as connection:
        rows = connection.execute(select(staff_acts).order_by(staff_acts.c.id)).all()
        count = add_to_counter(connection, ACTS_COUNTER, 0)
    return [number for number, _ in acts_broken_at(rows, count)]


def note(central: Central, times: int, actor: Actor = ANI) -> None:
    for number in range(times):
        with central.database.write() as connection:
            subject = f"card {number}"
            note_act(connection, actor, Act.BLOCK, subject=subject, detail="hilang", now=START)


def test_acts_are_numbered_and_chained_whoever_writes_at_once(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: note(world.central, 5, Actor(f"Orang {n}", n)), range(4)))
    found = list_acts(world.central.database)
    assert [one.id for one in found] == list(range(20, 0, -1))
    assert broken(world.central) == []


def test_what_fails_is_not_written_down_and_leaves_no_gap(world: World) -> None:
    note(world.central, 1)

    def noted_and_then_failed() -> None:
        with world.central.database.write() as connection:
            note_act(connection, ANI, Act.BLOCK, subject="card 9", now=START)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        noted_and_then_failed()
    note(world.central, 1)
    assert [one.id for one in list_acts(world.central.database)] == [2, 1]
    assert broken(world.central) == []


def test_a_deed_and_its_act_are_one_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = world.card(4711)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dobmi.central.cards.note_act", crash)
        with pytest.raises(KeyboardInterrupt):
            set_blocked(world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    before = list_acts(world.central.database, act=Act.BLOCK)
    set_blocked(world.central, card.uid, "hilang", blocked=True, by_terminal=None, actor=ANI)
    after = list_acts(world.central.database, act=Act.BLOCK)
    assert (len(before), [one.person for one in after]) == (0, ["Ani"])


def test_acts_are_found_by_who_what_when_and_to_what(world: World) -> None:
    with world.central.database.write() as connection:
        for number, name in enumerate(("Ani", "Budi", "Ani"), start=1):
            note_act(
                connection,
                Actor(name, number),
                Act.CREDIT if number == 3 else Act.BLOCK,
                subject=f"card {number}",
                amount=Rupiah(number * 1_000),
                now=START + number,
            )
    database = world.central.database

    def ids(**asked: object) -> list[int]:
        return [one.id for one in list_acts(database, **asked)]  # type: ignore[arg-type] # as given

    assert ids(person="Ani") == [3, 1]
    assert ids(act="credit") == [3]
    assert ids(subject="card 2") == [2]
    assert ids(subject="%") == []
    assert ids(station=2) == [2]
    assert ids(since=START + 2) == [3, 2]
    assert ids(until=START + 2) == [1]
    assert ids(before=3, newest=1) == [2]


def test_texts_that_are_too_long_are_cut_and_the_chain_holds(world: World) -> None:
    with world.central.database.write() as connection:
        note_act(connection, ANI, Act.BLOCK, subject="s" * 300, detail="d" * 900, now=START)
    one = list_acts(world.central.database)[0]
    assert (len(one.subject), len(one.detail)) == (120, 400)
    assert broken(world.central) == []
