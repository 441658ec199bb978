"""Orders of credits: limits by class, large ones held for a second person, cash and its count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import insert, select, update

from dobmi.central.acts import Act, Actor, list_acts
from dobmi.central.approvals import decide, propose_at
from dobmi.central.cards import PendingCredit, set_blocked, statement_of
from dobmi.central.carrying import Facts
from dobmi.central.cash import bank_cash
from dobmi.central.cash_desk import cash_desk, count_cash
from dobmi.central.circulation import circulation
from dobmi.central.credit_orders import HeldCredit, OrderState, order_credit, order_report
from dobmi.central.errors import (
    AmountNotAllowed,
    BalanceWouldPassLimit,
    CardIsBlocked,
    CashTooLittle,
    DayLimitPassed,
    IdempotencyConflict,
    RoleLacking,
    UnknownOrder,
)
from dobmi.central.schema import (
    ApprovalKind,
    CreditSource,
    StaffRole,
    cards,
    member_notes,
    pending_credits,
)
from dobmi.money import ZERO, Rupiah
from support.staffed import employ
from support.traffic import ModelCard, World


@pytest.fixture
def station(world: World) -> int:
    for name, role in (
        ("Ani", StaffRole.ISSUER),
        ("Budi", StaffRole.APPROVER),
        ("Cici", StaffRole.PROPOSER),
    ):
        employ(world.central, name, role, password=False)
    return world.station().terminal_id


@pytest.fixture
def card(world: World, station: int) -> ModelCard:  # noqa: ARG001 - the station is enrolled first
    return world.card(4711)


class Desk:
    """Somebody at the station."""

    def __init__(self, world: World, station: int, card: ModelCard) -> None:
        self.central, self.station, self.card = world.central, station, card

    def order(
        self,
        amount: int,
        key: str,
        *,
        who: str = "Ani",
        source: CreditSource = CreditSource.CASH,
        received: int | None = None,
    ) -> PendingCredit | HeldCredit:
        credit, _ = order_credit(
            self.central,
            self.card.uid,
            Rupiah(amount),
            source,
            idempotency_key=key,
            station=self.station,
            actor=Actor(who, self.station),
            received=None if received is None else Rupiah(received),
        )
        return credit

    def state(self, key: str) -> OrderState:
        return order_report(self.central, key, self.station).state

    def decide(self, held: PendingCredit | HeldCredit, *, accept: bool) -> None:
        assert isinstance(held, HeldCredit)
        now = self.central.unix_seconds()
        decide(self.central, held.approval, accept, Actor("Budi", None), now)

    def limit(self, name: str, value: int, member_class: str = "") -> None:
        facts: Facts = {"name": name, "value": value, "member_class": member_class}
        proposed = propose_at(self.central, ApprovalKind.LIMITS, facts, Actor("Cici", None))
        now = self.central.unix_seconds()
        decide(self.central, proposed.number, True, Actor("Budi", None), now)

    def set_class(self, name: str) -> None:
        with self.central.database.write() as connection:
            connection.execute(
                insert(member_notes).values(member_number=4711, member_class=name, version=1)
            )


@pytest.fixture
def desk(world: World, station: int, card: ModelCard) -> Desk:
    return Desk(world, station, card)


def test_a_large_credit_waits_for_a_second_person_and_comes_once(desk: Desk) -> None:
    held = desk.order(1_000_001, "large-0001", received=1_050_000)
    assert isinstance(held, HeldCredit)
    assert desk.state("large-0001") is OrderState.HELD
    assert circulation(desk.central).issued == ZERO, "no cash is in the books before that"
    assert desk.order(1_000_001, "large-0001") == held, "the same order is the same proposal"
    desk.decide(held, accept=True)
    desk.decide(held, accept=True)  # a second click
    credit = desk.order(1_000_001, "large-0001")
    assert isinstance(credit, PendingCredit)
    assert circulation(desk.central).in_flight == Rupiah(1_000_001)
    report = order_report(desk.central, "large-0001", desk.station)
    assert (report.state, report.sequence) == (OrderState.PENDING, credit.sequence)
    assert (report.received, report.change) == (Rupiah(1_050_000), Rupiah(49_999))
    assert report.person == "Ani"
    with desk.central.database.read() as connection:
        assert len(connection.execute(select(pending_credits.c.sequence)).all()) == 1


def test_a_refused_one_never_becomes_a_credit(desk: Desk) -> None:
    held = desk.order(1_500_000, "large-0001")
    desk.decide(held, accept=False)
    again = desk.order(1_500_000, "large-0001")
    assert isinstance(again, HeldCredit)
    assert again.state is desk.state("large-0001") is OrderState.REFUSED
    assert statement_of(desk.central, desk.card.uid).credits_waiting == ()
    assert cash_desk(desk.central, desk.station).expected == ZERO


def test_an_accepted_one_that_cannot_be_any_more_stays_undecided(desk: Desk) -> None:
    held = desk.order(1_500_000, "large-0001")
    set_blocked(desk.central, desk.card.uid, "hilang", blocked=True, by_terminal=None)
    with pytest.raises(CardIsBlocked):
        desk.decide(held, accept=True)
    assert desk.state("large-0001") is OrderState.HELD
    set_blocked(desk.central, desk.card.uid, "ketemu", blocked=False, by_terminal=None)
    desk.order(600_000, "small-0001")
    with pytest.raises(BalanceWouldPassLimit):
        desk.decide(held, accept=True)
    assert desk.state("large-0001") is OrderState.HELD


def test_one_key_is_one_order_held_or_not(desk: Desk) -> None:
    desk.order(1_500_000, "large-0001")
    with pytest.raises(IdempotencyConflict):
        desk.order(1_500_001, "large-0001")
    with pytest.raises(UnknownOrder):
        order_report(desk.central, "large-0001", desk.station + 1)


def test_where_nobody_logs_in_nothing_is_held(desk: Desk) -> None:
    assert isinstance(desk.order(1_500_000, "large-0001", who=""), PendingCredit)


def test_limits_are_by_class_and_for_all_others(desk: Desk) -> None:
    desk.limit("credit_max_rupiah", 300_000)
    desk.limit("credit_max_rupiah", 800_000, "pengurus")
    with pytest.raises(AmountNotAllowed):
        desk.order(300_001, "order-0001")
    desk.set_class("pengurus")
    assert isinstance(desk.order(800_000, "order-0001"), PendingCredit)
    with pytest.raises(AmountNotAllowed):
        desk.order(800_001, "order-0002")
    desk.limit("balance_max_rupiah", 1_000_000, "pengurus")
    with pytest.raises(BalanceWouldPassLimit):
        desk.order(200_001, "order-0002")
    assert isinstance(desk.order(200_000, "order-0002"), PendingCredit)


def test_the_card_itself_takes_no_more_than_it_was_issued_for(desk: Desk) -> None:
    """Whatever the limits have become since."""
    with desk.central.database.write() as connection:
        own = update(cards).where(cards.c.uid == desk.card.uid).values(value_limit_rupiah=400_000)
        connection.execute(own)
    desk.limit("balance_max_rupiah", 20_000_000)
    assert isinstance(desk.order(400_000, "order-0001"), PendingCredit)
    with pytest.raises(BalanceWouldPassLimit):
        desk.order(1, "order-0002")


def test_a_days_credits_have_a_limit_and_what_is_held_counts(desk: Desk) -> None:
    desk.limit("credit_day_max_rupiah", 1_700_000)
    desk.order(1_500_000, "large-0001")
    desk.order(200_000, "order-0001")
    with pytest.raises(DayLimitPassed):
        desk.order(1, "order-0002")
    now = desk.central.unix_seconds()
    desk.central = replace(desk.central, unix_seconds=lambda: now + 86_400)
    assert isinstance(desk.order(1_000, "order-0002"), PendingCredit)


def test_wages_are_not_an_issuers_to_give(desk: Desk) -> None:
    with pytest.raises(RoleLacking):
        desk.order(50_000, "wages-0001", source=CreditSource.SALARY)
    credit = desk.order(50_000, "wages-0001", who="Cici", source=CreditSource.SALARY)
    assert credit.source is CreditSource.SALARY
    assert cash_desk(desk.central, desk.station).expected == ZERO


@pytest.mark.parametrize("received", [0, 49_999])
def test_less_cash_than_the_amount_is_refused(desk: Desk, received: int) -> None:
    with pytest.raises(CashTooLittle):
        desk.order(50_000, "order-0001", received=received)


def test_the_cash_of_a_day_by_person_and_its_count(desk: Desk) -> None:
    desk.order(50_000, "order-0001", received=100_000)
    desk.order(20_000, "order-0002")
    desk.order(30_000, "order-0003", who="")
    bank_cash(desk.central, desk.station, Rupiah(40_000), "slip 1")
    found = cash_desk(desk.central, desk.station)
    assert (found.expected, found.taken_today) == (Rupiah(60_000), Rupiah(100_000))
    assert [(one.person, one.count, one.total) for one in found.taken_in] == [
        ("", 1, Rupiah(30_000)),
        ("Ani", 2, Rupiah(70_000)),
    ]
    counted = count_cash(desk.central, Actor("Ani", desk.station), Rupiah(59_500), "kurang 500")
    assert (counted.expected, counted.difference) == (Rupiah(60_000), Rupiah(-500))
    assert cash_desk(desk.central, desk.station).counts == (counted,)
    assert circulation(desk.central).difference == ZERO
    assert list_acts(desk.central.database, act=Act.CASH_COUNTED.value)[0].person == "Ani"
