"""Two people for what makes money: proposed by one, accepted by another, done once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError

from dobmi.central import carriers, restitution
from dobmi.central.acts import Act, Actor, list_acts
from dobmi.central.approvals import (
    Approval,
    approval_of,
    decide,
    list_approvals,
    propose_at,
)
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.carrying import Facts
from dobmi.central.circulation import circulation
from dobmi.central.credit_session import note_attempt
from dobmi.central.database import open_database
from dobmi.central.errors import (
    ApprovalDecided,
    BadProposal,
    BalanceWouldPassLimit,
    CardIsBlocked,
    ProposerDecides,
    RoleLacking,
    StaffNeeded,
    UnknownApproval,
    UnknownCard,
)
from dobmi.central.feeds import make_feed
from dobmi.central.replacement import replace_card
from dobmi.central.restitution import Restitution
from dobmi.central.schema import (
    ApprovalKind,
    StaffRole,
    approval_decisions,
    limit_changes,
    pending_credits,
    postings,
)
from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import verify_feed
from support.staffed import employ
from support.traffic import START, ModelCard, World

ANI, BUDI, CITRA, DEWI = (Actor(name, None) for name in ("Ani", "Budi", "Citra", "Dewi"))
LIMIT: Facts = {"name": "sale_max_rupiah", "value": 750_000}


@pytest.fixture
def staffed(world: World) -> World:
    employ(world.central, "Ani", StaffRole.PROPOSER, password=False)
    for name in ("Budi", "Citra"):
        employ(world.central, name, StaffRole.APPROVER, password=False)
    employ(world.central, "Dewi", StaffRole.CLERK, StaffRole.ISSUER, password=False)
    return world


@pytest.fixture
def card(staffed: World) -> ModelCard:
    return staffed.card(4711)


def owed(card: ModelCard, rupiah: int = 5_000) -> Facts:
    return Restitution(card.uid, Rupiah(rupiah), "struk salah").facts()


def propose(world: World, kind: ApprovalKind, facts: Facts, actor: Actor = ANI) -> int:
    return propose_at(world.central, kind, facts, actor).number


def accept(world: World, number: int, actor: Actor = BUDI) -> Approval:
    return decide(world.central, number, True, actor, START)


def credits_of(world: World) -> list[tuple[str, int]]:
    with world.central.database.read() as connection:
        rows = connection.execute(select(pending_credits.c.source, pending_credits.c.amount_rupiah))
        return [(row.source, row.amount_rupiah) for row in rows]


def test_a_restitution_that_another_person_accepts_is_a_credit_of_the_card(
    staffed: World, card: ModelCard
) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    assert credits_of(staffed) == []
    done = accept(staffed, number)
    assert (done.accepted, done.decided_by, done.amount) == (True, "Budi", Rupiah(5_000))
    assert credits_of(staffed) == [("restitution", 5_000)]
    assert "card 1, credit 1, Rp 5.000" in done.outcome
    now = circulation(staffed.central)
    assert (now.in_flight, now.suspense, now.issued) == (Rupiah(5_000), Rupiah(-5_000), ZERO)
    assert now.difference == ZERO
    (credit,) = statement_of(staffed.central, card.uid).credits_waiting
    staged = card.stage_credit(credit.sequence, credit.amount)
    note_attempt(staffed.central, credit, staged.evidence)
    staffed.deliver(card, staged, *card.commit(staged))
    assert statement_of(staffed.central, card.uid).balance == Rupiah(5_000)
    assert circulation(staffed.central).difference == ZERO


def test_a_refused_proposal_does_nothing(staffed: World, card: ModelCard) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    assert decide(staffed.central, number, False, BUDI, START).accepted is False
    assert credits_of(staffed) == []
    with pytest.raises(ApprovalDecided):
        accept(staffed, number)
    with pytest.raises(ApprovalDecided):
        accept(staffed, number, CITRA)


def test_who_proposed_cannot_decide_whoever_says_it(staffed: World, card: ModelCard) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card), BUDI)
    for accepted in (True, False):
        with pytest.raises(ProposerDecides):
            decide(staffed.central, number, accepted, Actor("bUDI", None), START)
    row = {
        "number": number, "proposed_by": "Budi", "accepted": True, "decided_by": "Budi",
        "outcome": "", "at": START,
    }  # fmt: skip
    for wrong in (row, {**row, "proposed_by": "Ani"}):  # itself, or another's proposal
        with (
            pytest.raises(DatabaseError),
            staffed.central.database.engine.begin() as connection,
        ):
            connection.execute(approval_decisions.insert(), wrong)
    assert approval_of(staffed.central.database, number).accepted is None


def test_only_who_may_proposes_and_decides(staffed: World, card: ModelCard) -> None:
    with pytest.raises(StaffNeeded):
        propose(staffed, ApprovalKind.LIMITS, LIMIT, Actor("", 3))
    for nobody in (DEWI, Actor("Nobody", None)):
        with pytest.raises(RoleLacking):
            propose(staffed, ApprovalKind.LIMITS, LIMIT, nobody)
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    for nobody in (DEWI, ANI, Actor("Nobody", None)):
        with pytest.raises(RoleLacking):
            accept(staffed, number, nobody)
    with pytest.raises(StaffNeeded):
        accept(staffed, number, Actor("", None))
    with pytest.raises(UnknownApproval):
        accept(staffed, 99)


def test_accepted_twice_it_is_done_once(staffed: World, card: ModelCard) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    first = accept(staffed, number)
    assert accept(staffed, number) == first
    assert credits_of(staffed) == [("restitution", 5_000)]
    assert len(list_acts(staffed.central.database, act=Act.ACCEPTED)) == 1


def test_two_servers_and_many_clicks_at_once_do_it_once(staffed: World, card: ModelCard) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    other_database = open_database(staffed.url)
    other = dataclasses.replace(staffed.central, database=other_database)

    def click(place: int) -> bool:
        central, actor = (staffed.central, BUDI) if place % 2 else (other, CITRA)
        try:
            return decide(central, number, True, actor, START).accepted is True
        except ApprovalDecided:
            return False

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(click, range(6)))
    other_database.close()
    assert 1 <= sum(done) <= 3
    assert credits_of(staffed) == [("restitution", 5_000)]
    with staffed.central.database.read() as connection:
        count = select(func.count()).where(postings.c.kind == "restitution")
        assert connection.execute(count).scalar_one() == 1


def test_a_crash_anywhere_leaves_it_undecided_and_undone(
    staffed: World, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place in (
        "dobmi.central.restitution.append_credit",
        "dobmi.central.restitution.post",
        "dobmi.central.approvals.insert_rows",
        "dobmi.central.approvals.note_act",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, crash)
            with pytest.raises(KeyboardInterrupt):
                accept(staffed, number)
        assert approval_of(staffed.central.database, number).accepted is None
        assert credits_of(staffed) == []
    assert accept(staffed, number).accepted
    assert credits_of(staffed) == [("restitution", 5_000)]


def test_the_same_proposal_while_it_waits_is_one(staffed: World, card: ModelCard) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(
            pool.map(lambda _: propose(staffed, ApprovalKind.RESTITUTION, owed(card)), range(4))
        )
    assert set(numbers) == {1}
    accept(staffed, 1)
    assert propose(staffed, ApprovalKind.RESTITUTION, owed(card)) == 2
    assert [one.number for one in list_approvals(staffed.central.database, waiting=True)] == [2]
    assert [one.number for one in list_approvals(staffed.central.database)] == [2, 1]


def test_a_restitution_goes_to_the_card_that_the_member_has_by_now(
    staffed: World, card: ModelCard
) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    replace_card(staffed.central, card.uid, "hilang", by_terminal=None)
    newer = staffed.another_card(4711, edition=2)
    accept(staffed, number)
    with staffed.central.database.read() as connection:
        uid = connection.execute(select(pending_credits.c.card_uid)).scalar_one()
    assert bytes(uid) == newer.uid


def test_what_cannot_be_done_now_stays_undecided(staffed: World, card: ModelCard) -> None:
    number = propose(staffed, ApprovalKind.RESTITUTION, owed(card))
    set_blocked(staffed.central, card.uid, "dicurigai", blocked=True, by_terminal=None)
    with pytest.raises(CardIsBlocked):
        accept(staffed, number)
    assert approval_of(staffed.central.database, number).accepted is None
    set_blocked(staffed.central, card.uid, "ditemukan", blocked=False, by_terminal=None)
    limit = staffed.central.settings.balance_max_rupiah
    much = propose(staffed, ApprovalKind.RESTITUTION, owed(card, limit))
    accept(staffed, number)
    with pytest.raises(BalanceWouldPassLimit):
        accept(staffed, much)
    assert credits_of(staffed) == [("restitution", 5_000)]


@pytest.mark.parametrize(
    "change",
    [
        {"card_uid": "xyz"},
        {"card_uid": 7},
        {"amount_rupiah": 0},
        {"amount_rupiah": -1},
        {"amount_rupiah": True},
        {"amount_rupiah": "5000"},
        {"amount_rupiah": 20_000_001},
        {"reason": " "},
        {"reason": "x" * 201},
        {"reason": "a\nb"},
        {"more": 1},
    ],
)
def test_a_restitution_that_makes_no_sense_is_not_proposed(
    staffed: World, card: ModelCard, change: dict[str, str | int | bool]
) -> None:
    with pytest.raises(BadProposal):
        propose(staffed, ApprovalKind.RESTITUTION, {**owed(card), **change})
    assert list_approvals(staffed.central.database) == []


def test_a_restitution_is_for_a_card_that_is_known(staffed: World, card: ModelCard) -> None:
    with pytest.raises(UnknownCard):
        propose(staffed, ApprovalKind.RESTITUTION, {**owed(card), "card_uid": "04" * 7})


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "other", "value": 1},
        {"name": "sale_max_rupiah"},
        {"name": "sale_max_rupiah", "value": 0},
        {"name": "sale_max_rupiah", "value": 20_000_001},
        {"name": "sale_max_rupiah", "value": True},
        {"name": "sale_max_rupiah", "value": "9"},
        {"name": "sale_max_rupiah", "value": 9, "member_class": "karyawan"},
        {"name": "sale_max_rupiah", "value": 9, "more": 1},
        {"name": 7, "value": 9},
    ],
)
def test_a_limit_that_makes_no_sense_is_not_proposed(
    staffed: World, facts: dict[str, str | int | bool]
) -> None:
    with pytest.raises(BadProposal):
        propose(staffed, ApprovalKind.LIMITS, facts)


PAYOUT: Facts = {"member_number": 4711, "amount_rupiah": 1, "order": "payout-0001", "station": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"station": 999},
        {"station": 1 << 70},
        {"station": -1},
        {"member_number": 1 << 45},
        {"member_number": -1},
        {"amount_rupiah": 1 << 70},
        {"amount_rupiah": -1},
        {"order": "payout\x00001"},
        {"order": "payout\ud800001"},
        {"order": 12345678},
    ],
)
def test_a_payout_that_makes_no_sense_is_not_proposed(
    staffed: World, wrong: dict[str, str | int | bool]
) -> None:
    with pytest.raises(BadProposal):
        propose(staffed, ApprovalKind.RETIREMENT, {**PAYOUT, **wrong}, DEWI)
    assert list_approvals(staffed.central.database) == []


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_what_no_database_keeps_is_not_proposed(staffed: World, text: str) -> None:
    order: Facts = {
        "card_uid": "04", "amount_rupiah": 1, "source": "cash", "order": text, "station": 1
    }  # fmt: skip
    with pytest.raises(BadProposal):
        propose(staffed, ApprovalKind.CREDIT, order, DEWI)
    with pytest.raises(BadProposal):
        propose(
            staffed, ApprovalKind.CREDIT, {**order, "order": "order-01", "station": 1 << 70}, DEWI
        )
    limit: Facts = {"name": "credit_max_rupiah", "value": 9, "member_class": text}
    with pytest.raises(BadProposal):
        propose(staffed, ApprovalKind.LIMITS, limit)


def test_tills_are_told_a_limit_once_another_person_has_accepted_it(staffed: World) -> None:
    def told() -> tuple[Rupiah, int]:
        feed = verify_feed(make_feed(staffed.central, 0), staffed.central.public_key, 0)
        return feed.limits.sale_max, feed.limits.unsent_vouchers_max

    settings = staffed.central.settings
    before = (Rupiah(settings.sale_max_rupiah), settings.unsent_vouchers_max)
    number = propose(staffed, ApprovalKind.LIMITS, LIMIT)
    assert told() == before
    accept(staffed, number)
    assert told() == (Rupiah(750_000), before[1])
    again = propose(staffed, ApprovalKind.LIMITS, {**LIMIT, "value": 800_000})
    accept(staffed, again, CITRA)
    assert told() == (Rupiah(800_000), before[1])
    with staffed.central.database.read() as connection:
        rows = connection.execute(select(limit_changes.c.approval, limit_changes.c.value))
        assert rows.all() == [(1, 750_000), (2, 800_000)]


def test_a_kind_that_nobody_carries_out_cannot_be_proposed(
    staffed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobmi.central.approvals.CARRIERS", {})
    with pytest.raises(BadProposal):
        propose(staffed, ApprovalKind.LIMITS, LIMIT)


def test_each_carrier_is_registered_once() -> None:
    found: list[Callable[..., str]] = [one.carry_out for one in carriers.CARRIERS.values()]
    assert len(set(found)) == len(found)
    assert carriers.CARRIERS[ApprovalKind.RESTITUTION] is restitution.CARRIER
