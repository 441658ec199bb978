"""A fee is proposed by one person, and in force when another has accepted it."""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from dobmi.central.errors import (
    FeeAwaitsNobody,
    FeeRuleTooLate,
    NotOfStaff,
    SecondPersonNeeded,
    UnknownSeller,
)
from dobmi.central.fee_rules import (
    decide_fee_rule,
    fee_rule_list,
    propose_fee_rule,
    waiting_fee_rules,
)
from dobmi.central.fees import FeeRule
from dobmi.central.schema import StaffRole, fee_decisions, fee_rules
from dobmi.central.staff import add_staff
from dobmi.money import Rupiah
from dobmi.wib import days_since_1970
from support.settling import APPROVER, BOTH, PROPOSER, Payday
from support.traffic import World

TOKO = "Toko Satu"


@pytest.fixture
def payday(world: World) -> Payday:
    payday = Payday(world)
    payday.seller(TOKO)
    return payday


def rule(payday: Payday, basis_points: int = 100) -> FeeRule:
    return FeeRule(
        from_day=days_since_1970(payday.today), basis_points=basis_points, maximum=Rupiah(9_000)
    )


def accept(payday: Payday, number: int, by: str = APPROVER, seller: str | None = None) -> None:
    decide_fee_rule(payday.database, seller, number, by, payday.now, accepted=True)


def test_it_takes_nothing_until_a_second_person_has_accepted_it(payday: Payday) -> None:
    for seller in (None, TOKO):
        made = propose_fee_rule(payday.database, seller, rule(payday), BOTH, payday.now)
        assert (made.number, made.accepted, made.seller) == (1, None, seller)
        with pytest.raises(SecondPersonNeeded):
            accept(payday, 1, BOTH.upper(), seller)
        with pytest.raises(NotOfStaff):
            accept(payday, 1, PROPOSER, seller)
    assert fee_rule_list(payday.database) == []
    assert [one.seller for one in waiting_fee_rules(payday.database)] == [None, TOKO]
    payday.sell(TOKO, 10_000)
    payday.next_day()
    run = payday.propose()
    assert run.fees == Rupiah(0)
    payday.withdraw(run.number)
    accept(payday, 1, seller=TOKO)
    assert [one.seller for one in waiting_fee_rules(payday.database)] == [None]
    assert payday.propose().fees == Rupiah(100)


def test_only_the_newest_waits_and_is_decided_once(payday: Payday) -> None:
    for points in (100, 200):
        propose_fee_rule(payday.database, None, rule(payday, points), PROPOSER, payday.now)
    with pytest.raises(FeeAwaitsNobody):
        accept(payday, 1)
    accept(payday, 2)
    with pytest.raises(FeeAwaitsNobody):
        accept(payday, 2)
    assert fee_rule_list(payday.database) == [(None, rule(payday, 200))]
    made = propose_fee_rule(payday.database, TOKO, rule(payday), PROPOSER, payday.now)
    refused = decide_fee_rule(
        payday.database, TOKO, made.number, APPROVER, payday.now, accepted=False
    )
    assert (refused.accepted, refused.decided_by) == (False, APPROVER)
    assert fee_rule_list(payday.database) == [(None, rule(payday, 200))]
    with pytest.raises(UnknownSeller):
        propose_fee_rule(payday.database, "Toko Siapa", rule(payday), PROPOSER, payday.now)


def test_a_run_made_meanwhile_keeps_its_days(payday: Payday) -> None:
    payday.sell(TOKO, 10_000)
    made = propose_fee_rule(payday.database, None, rule(payday), PROPOSER, payday.now)
    payday.next_day()
    assert payday.propose().fees == Rupiah(0)
    with pytest.raises(FeeRuleTooLate):
        accept(payday, made.number)
    assert waiting_fee_rules(payday.database)[0].number == made.number


def test_a_clerk_proposes_and_approves_nothing(payday: Payday) -> None:
    add_staff(payday.database, "Dewi", [StaffRole.CLERK], payday.now)
    with pytest.raises(NotOfStaff):
        propose_fee_rule(payday.database, None, rule(payday), "Dewi", payday.now)
    payday.sell(TOKO, 1_000)
    payday.next_day()
    with pytest.raises(NotOfStaff):
        payday.propose(by="Dewi")


def test_the_database_itself_takes_no_fee_of_one_person(payday: Payday) -> None:
    made = propose_fee_rule(payday.database, None, rule(payday), PROPOSER, payday.now)
    decision = {"seller_id": 0, "number": made.number, "accepted": True, "at": 1}
    for proposed_by in (PROPOSER, APPROVER):  # as it was, and with the proposer lied about
        row = {**decision, "proposed_by": proposed_by, "decided_by": PROPOSER}
        with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
            connection.execute(insert(fee_decisions), row)
    accept(payday, made.number)
    in_force = {
        "seller_id": 0,
        "from_day": days_since_1970(payday.today) + 1,
        "basis_points": 0,
        "per_sale_rupiah": 0,
        "per_run_rupiah": 0,
        "minimum_rupiah": 0,
        "set_by": APPROVER,
        "set_at": 1,
    }
    with (
        pytest.raises(DBAPIError, match="nobody else accepted it"),
        payday.database.engine.begin() as connection,
    ):
        connection.execute(insert(fee_rules), in_force)
