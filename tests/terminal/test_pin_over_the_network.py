"""Limit, tries and locks between tills and the real central server, and the two command lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import select

from dobmi.cardlib.errors import WrongPin
from dobmi.central.acts import Actor
from dobmi.central.pin_session import change_card_pin
from dobmi.central.schema import anomalies, pin_events
from dobmi.central.server import Central
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.money import Rupiah
from dobmi.sync.feed import Limits
from dobmi.sync.relay import PinAct, PinParameters, SecretPins
from dobmi.terminal.errors import CardPinLocked, PinNeeded
from dobmi.terminal.till import enrol_till
from support.pins import OTHER, PIN, WRONG
from support.purses import InProcess
from support.servers import issued, new_central, serving, till_invitation
from support.tills import NOW, QUICK, Bench, Crash

LIMIT, ABOVE = Rupiah(10_000), Rupiah(12_500)


@dataclass
class Place:
    central: Central
    tills: list[Bench]
    card: SimulatedCard
    time: list[int]

    def later(self, seconds: int) -> None:
        self.time[0] += seconds
        for till in self.tills:
            till.time += seconds

    def sync(self, *tills: Bench) -> None:
        for bench in tills or self.tills:
            with bench.open() as till:
                till.sync()

    def at_service_point(self, act: PinAct, *, old: str = "", new: str = "") -> None:
        self.card.power_off()
        asked = PinParameters(act=act, identified_by="KTP" if act is PinAct.RESET else "")
        pins = SecretPins(old=old, new=new)
        change_card_pin(self.central, InProcess(self.card), asked, pins, Actor("", None))

    def wrong(self, bench: Bench) -> Exception:
        bench.tap(self.card)
        with bench.open() as till, pytest.raises((WrongPin, CardPinLocked)) as refused:
            till.sell(ABOVE, pin=WRONG)
        return refused.value


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    time = [NOW]
    central = new_central(tmp_path, lambda: time[0])
    settings = central.settings.model_copy(update={"pin_above_rupiah": LIMIT.amount})
    central = replace(central, settings=settings)
    tills = []
    with serving(central) as url:
        for number in (1, 2):
            folder = tmp_path / f"till {number}"
            folder.mkdir()
            bench = Bench(folder, server=url)
            enrol_till(
                database=bench.database,
                signing=bench.signing,
                server=url,
                invitation=till_invitation(central, f"Kasir {number}"),
                patience=QUICK,
                system_time=lambda: time[0],
            )
            tills.append(bench.start_shift())
        found = Place(central, tills, issued(central, 200_000), time)
        found.at_service_point(PinAct.SET, new=PIN.digits)
        found.later(60)
        found.sync()
        yield found


def kinds(place: Place) -> list[str]:
    with place.central.database.read() as connection:
        return sorted(connection.execute(select(anomalies.c.kind)).scalars())


def test_the_limit_comes_with_the_feed_and_a_sale_with_a_pin_is_nothing_to_look_into(
    place: Place,
) -> None:
    one, _ = place.tills
    one.tap(place.card)
    with one.open() as till:
        with pytest.raises(PinNeeded):
            till.sell(ABOVE)
        one.tap(place.card)
        till.sell(ABOVE, pin=PIN)
        till.sync()
    assert kinds(place) == []


def test_a_till_that_sells_above_it_without_is_found(place: Place) -> None:
    one, two = place.tills
    for bench in (one, two):
        bench.feed(
            version=0,
            since=0,
            limits=replace(till_limits(bench), pin_above=Rupiah(0)),
            pins_locked=(),
        )
    one.tap(place.card)
    with one.open() as till:
        till.sell(ABOVE)
        till.sync()
    two.tap(place.card)
    with two.open() as till:
        till.sell(LIMIT)
        till.sync()
    assert kinds(place) == ["sale-without-pin"]


def till_limits(bench: Bench) -> Limits:
    with bench.open() as till:
        return till.ledger.sync_state().limits


def test_three_at_one_till_lock_it_at_all_and_a_right_one_at_a_service_point_frees_it(
    place: Place,
) -> None:
    one, two = place.tills
    for _ in range(3):
        last = place.wrong(one)
    assert isinstance(last, CardPinLocked)
    place.sync()
    two.tap(place.card)
    with two.open() as till, pytest.raises(CardPinLocked):
        till.sell(ABOVE, pin=PIN)
    place.later(60)
    place.at_service_point(PinAct.PROVE, old=PIN.digits)
    place.sync()
    for bench in place.tills:
        bench.tap(place.card)
        with bench.open() as till:
            till.sell(ABOVE, pin=PIN)


def test_two_at_each_of_three_visits_come_to_six_and_lock_it(place: Place) -> None:
    one, two = place.tills
    for bench in (one, two):
        for _ in range(2):
            assert isinstance(place.wrong(bench), WrongPin)
    place.sync()
    assert isinstance(place.wrong(one), CardPinLocked)
    place.sync()
    two.tap(place.card)
    with two.open() as till, pytest.raises(CardPinLocked):
        till.sell(ABOVE, pin=PIN)


def test_a_forgotten_one_is_chosen_anew_and_the_old_one_is_wrong(place: Place) -> None:
    place.at_service_point(PinAct.RESET, new=OTHER.digits)
    one, _ = place.tills
    one.tap(place.card)
    with one.open() as till, pytest.raises(WrongPin):
        till.sell(ABOVE, pin=PIN)
    one.tap(place.card)
    with one.open() as till:
        till.sell(ABOVE, pin=OTHER)


def test_a_report_that_comes_again_is_counted_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = place.tills
    place.wrong(one)
    with monkeypatch.context() as patch:
        # The answer was lost: the till does not know that the server has it.
        patch.setattr("dobmi.terminal.outbox.record_taken", crash)
        with pytest.raises(Crash), one.open() as till:
            till.sync()
    place.sync(one)
    with place.central.database.read() as connection:
        events = connection.execute(select(pin_events.c.event)).scalars().all()
    assert events.count("wrong") == 1


def crash(*_: object) -> None:
    raise Crash
