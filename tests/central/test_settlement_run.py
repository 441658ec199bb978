"""Sellers are paid what they are owed, once, after two people have agreed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from dobmi.audit.runs import check_runs
from dobmi.audit.source import open_snapshot
from dobmi.central.booking import start_of_day
from dobmi.central.circulation import circulation
from dobmi.central.days import GRACE_SECONDS, close_days
from dobmi.central.errors import (
    AccountAwaitsNobody,
    BadParameters,
    BankNotCompared,
    CutOffNotOver,
    CutOffSettled,
    FeeRuleTooLate,
    LaterRunFirst,
    NothingToPay,
    NotOfStaff,
    PaymentFileDiffers,
    RunNotAsInJournal,
    SecondPersonNeeded,
    SettlementProblem,
    UnknownRun,
    UnknownSeller,
    WrongRunState,
)
from dobmi.central.fee_rules import propose_fee_rule
from dobmi.central.fees import FeeRule
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.restoring import mark_restored
from dobmi.central.schema import (
    LeftOut,
    RunState,
    StaffRole,
    postings,
    seller_account_decisions,
    settlement_claims,
    settlement_items,
    settlement_runs,
    settlement_steps,
)
from dobmi.central.seller_accounts import (
    BankAccount,
    account_history,
    bank_account,
    decide_account,
    propose_account,
)
from dobmi.central.settlement_run import movements, propose_run, run_of
from dobmi.central.staff import add_staff, remove_staff, staff_list
from dobmi.money import ZERO, Rupiah
from dobmi.wib import days_since_1970
from support.settling import APPROVER, BOTH, PAYER, PROPOSER, Crashed, Payday
from support.traffic import World

TOKO, WARUNG = "Toko Satu", "Warung Dua"


@pytest.fixture
def payday(world: World) -> Payday:
    payday = Payday(world)
    for name in (TOKO, WARUNG):
        payday.seller(name)
    return payday


def fee_of(payday: Payday, **rule: int) -> None:
    amounts = {key: Rupiah(value) for key, value in rule.items() if key != "basis_points"}
    made = FeeRule(
        from_day=days_since_1970(payday.today), basis_points=rule.get("basis_points", 0), **amounts
    )
    payday.set_fee(None, made)


def test_a_run_pays_what_was_sold_less_refunds_and_fee_and_posts_it(payday: Payday) -> None:
    fee_of(payday, basis_points=100, per_sale=50)
    sale = payday.sell(TOKO, 10_000)
    payday.sell(TOKO, 5_000)
    payday.refund(TOKO, sale, 4_000)
    payday.sell(WARUNG, 7_000)
    payday.next_day()
    run = payday.propose()
    assert [(i.seller, i.sales, i.sold, i.refunded, i.fee, i.net) for i in run.items] == [
        (TOKO, 2, Rupiah(15_000), Rupiah(4_000), Rupiah(210), Rupiah(10_790)),
        (WARUNG, 1, Rupiah(7_000), ZERO, Rupiah(120), Rupiah(6_880)),
    ]
    payday.approve(run.number)
    payday.export(run.number)
    before = payday.position(TOKO)
    assert (before.owed, before.in_runs, before.paid) == (Rupiah(11_000), Rupiah(11_000), ZERO)
    done = payday.paid(run.number, "TRF-7")
    assert [(step.state, step.by) for step in done.steps] == [
        (RunState.PROPOSED, PROPOSER),
        (RunState.APPROVED, APPROVER),
        (RunState.EXPORTED, PROPOSER),
        (RunState.PAID, PROPOSER),
    ]
    after = payday.position(TOKO)
    assert (after.paid, after.fees) == (Rupiah(10_790), Rupiah(210))
    assert (after.owed, after.in_runs) == (ZERO, ZERO)
    with payday.database.read() as connection:
        posted = connection.execute(
            select(postings)
            .where(postings.c.kind.in_([Kind.PAID_OUT, Kind.FEE]))
            .order_by(postings.c.sequence, postings.c.kind)
        ).all()
    outlet = account_number(Group.OUTLET, run.items[0].seller_id)
    assert [(p.kind, p.debit_account, p.credit_account, p.amount_rupiah) for p in posted[:2]] == [
        ("fee", outlet, account_number(Group.FEES), 210),
        ("paid-out", outlet, account_number(Group.BANK), 10_790),
    ]
    assert "TRF-7" in posted[0].explanation
    assert circulation(payday.world.central).difference == ZERO
    assert circulation(payday.world.central).redeemed == Rupiah(18_000)


def test_who_proposed_does_not_approve_under_whatever_spelling(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    number = payday.propose(by=BOTH).number
    for spelling in (BOTH, BOTH.upper(), f"  {BOTH.replace(' ', '   ')}"):
        with pytest.raises(SecondPersonNeeded):
            payday.approve(number, by=spelling)
    assert run_of(payday.database, number).state is RunState.PROPOSED
    assert payday.approve(number).state is RunState.APPROVED
    assert add_staff(payday.database, "ANI", [], payday.now).name == PROPOSER
    assert len(staff_list(payday.database)) == 3


def test_the_database_itself_wants_two_people(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    number = payday.propose(by=BOTH).number
    step = {"run": number, "state": "approved", "previous": "proposed", "note": "", "at": 1}
    for proposed_by in (BOTH, PROPOSER):  # as it was, and with the proposer lied about
        row = {**step, "proposed_by": proposed_by, "done_by": BOTH}
        with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
            connection.execute(insert(settlement_steps).values(row))
    account = propose_account(payday.database, TOKO, PAYER, BOTH, payday.now)
    decision = {"seller_id": account.seller_id, "number": account.number, "accepted": True}
    for proposed_by in (BOTH, PROPOSER):
        row = {**decision, "proposed_by": proposed_by, "decided_by": BOTH, "at": 1}
        with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
            connection.execute(insert(seller_account_decisions).values(row))


def test_the_database_itself_pays_nothing_twice(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    run = payday.pay()
    item = run.items[0]
    claim = {"seller_id": item.seller_id, "run": run.number}
    for period in (
        {"from_at": item.from_at, "after": None, "to_at": item.to_at + 5},
        {"from_at": 5, "after": None, "to_at": item.to_at + 5},
        {"from_at": item.to_at - 5, "after": item.to_at - 5, "to_at": item.to_at + 5},
    ):
        with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
            connection.execute(insert(settlement_claims).values({**claim, **period}))
    step = {"run": run.number, "proposed_by": PROPOSER, "done_by": APPROVER, "note": "", "at": 1}
    for state, previous in (
        ("withdrawn", "exported"),
        ("withdrawn", "paid"),
        ("withdrawn", "proposed"),
        ("paid", "exported"),
        ("proposed", None),
    ):
        row = {**step, "state": state, "previous": previous}
        with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
            connection.execute(insert(settlement_steps).values(row))
    for change in (
        update(settlement_items).values(net_rupiah=1),
        delete(settlement_items),
        delete(settlement_steps),
        update(settlement_runs).values(cut_off_day=1),
        update(settlement_claims).values(to_at=settlement_claims.c.to_at + 1),
        delete(settlement_claims),
    ):
        with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
            connection.execute(change)


def test_people_need_the_role_for_what_they_do(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    for name in ("Orang Lain", APPROVER):
        with pytest.raises(NotOfStaff):
            payday.propose(by=name)
    number = payday.propose().number
    add_staff(payday.database, "Dodi", [StaffRole.PROPOSER], payday.now)
    for name in ("Orang Lain", "Dodi", PROPOSER):
        with pytest.raises(NotOfStaff):
            payday.approve(number, by=name)
    remove_staff(payday.database, APPROVER, payday.now)
    with pytest.raises(NotOfStaff):
        payday.approve(number)
    payday.approve(number, by=BOTH)
    with pytest.raises(NotOfStaff):  # once approved it takes an approver
        payday.withdraw(number, by=PROPOSER)


def test_proposing_again_gives_the_run_that_is_there(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    run = payday.propose()
    assert payday.propose(by=BOTH) == run
    cut_off = run.cut_off
    paid = payday.pay()
    assert payday.propose(cut_off, by=BOTH) == paid
    payday.next_day()
    with pytest.raises(NothingToPay):
        payday.propose()
    assert payday.position(TOKO).paid == Rupiah(1_000)


def test_what_is_booked_late_comes_into_the_next_run(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    late = payday.sell(TOKO, 2_000, send=False)
    payday.next_day()
    first = payday.pay()
    assert first.net == Rupiah(1_000)
    payday.send(TOKO)
    payday.next_day()
    second = payday.pay()
    assert second.net == Rupiah(2_000)
    assert [m.sequence for m in movements(payday.database, second.number, TOKO)] == [late]
    assert second.items[0].from_at == first.items[0].to_at


def test_a_day_is_settled_when_it_is_closed(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    with pytest.raises(CutOffNotOver):
        payday.propose(payday.today)
    payday.clock[0] = start_of_day(days_since_1970(payday.today) + 1) + GRACE_SECONDS - 1
    close_days(payday.world.central, payday.now)
    with pytest.raises(CutOffNotOver):
        payday.propose()
    payday.clock[0] += 1
    close_days(payday.world.central, payday.now)
    assert payday.propose().net == Rupiah(1_000)


def test_the_last_second_of_the_day_is_in_it_and_the_next_is_not(payday: Payday) -> None:
    midnight = start_of_day(days_since_1970(payday.today) + 1)
    payday.clock[0] = midnight - 1
    payday.sell(TOKO, 1_000)
    payday.clock[0] = midnight
    payday.sell(TOKO, 20_000)
    payday.clock[0] += GRACE_SECONDS
    close_days(payday.world.central, payday.now)
    assert payday.propose().net == Rupiah(1_000)


def test_more_refunded_than_sold_is_carried_over_and_never_paid(payday: Payday) -> None:
    sale = payday.sell(TOKO, 10_000)
    payday.sell(WARUNG, 500)
    payday.next_day()
    payday.pay()
    payday.refund(TOKO, sale, 6_000)
    payday.sell(TOKO, 1_000)
    payday.sell(WARUNG, 700)
    payday.next_day()
    second = payday.pay()
    assert [item.seller for item in second.items] == [WARUNG]
    assert [(one.seller, one.reason, one.due) for one in second.left_out] == [
        (TOKO, LeftOut.NOTHING_DUE, Rupiah(-5_000))
    ]
    payday.sell(TOKO, 8_000)
    payday.next_day()
    third = payday.pay()
    (item,) = third.items
    assert (item.sold, item.refunded, item.net) == (Rupiah(9_000), Rupiah(6_000), Rupiah(3_000))
    assert item.from_at < second.items[0].to_at
    assert payday.position(TOKO).owed == ZERO


def test_a_seller_without_an_account_is_named_and_the_others_go_on(payday: Payday) -> None:
    payday.seller("Kios Baru", account=False)
    payday.sell("Kios Baru", 3_000)
    payday.sell(TOKO, 1_000)
    payday.next_day()
    run = payday.pay()
    assert [item.seller for item in run.items] == [TOKO]
    assert [(one.seller, one.reason, one.due) for one in run.left_out] == [
        ("Kios Baru", LeftOut.NO_ACCOUNT, Rupiah(3_000))
    ]
    payday.give_account("Kios Baru")
    payday.next_day()
    assert [(item.seller, item.net) for item in payday.pay().items] == [
        ("Kios Baru", Rupiah(3_000))
    ]


def test_what_was_in_a_withdrawn_run_is_owed_again(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    cut_off = payday.yesterday
    first = payday.propose()
    payday.approve(first.number)
    payday.export(first.number)
    withdrawn = payday.withdraw(first.number)
    assert payday.withdraw(first.number) == withdrawn
    for refused in (payday.approve, payday.paid, payday.export):
        with pytest.raises(WrongRunState):
            refused(first.number)
    second = payday.propose(cut_off)
    assert second.number != first.number
    assert second.net == first.net
    payday.approve(second.number)
    payday.export(second.number)
    payday.paid(second.number)
    with pytest.raises(WrongRunState):
        payday.withdraw(second.number)
    assert payday.position(TOKO).paid == Rupiah(1_000)


def test_a_run_that_another_goes_on_from_is_not_withdrawn(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    first = payday.propose()
    payday.sell(TOKO, 2_000)
    payday.next_day()
    second = payday.propose()
    assert second.net == Rupiah(2_000)
    with pytest.raises(LaterRunFirst):
        payday.withdraw(first.number)
    with pytest.raises(DBAPIError), payday.database.engine.begin() as connection:
        connection.execute(delete(settlement_claims).where(settlement_claims.c.run == first.number))
    payday.withdraw(second.number)
    payday.withdraw(first.number)
    assert payday.propose().net == Rupiah(3_000)
    with pytest.raises(CutOffSettled):
        payday.propose(payday.yesterday - timedelta(days=1))


def test_each_step_is_taken_once_and_in_order(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    number = payday.propose().number
    for early in (payday.export, payday.paid):
        with pytest.raises(WrongRunState):
            early(number)
    approved = payday.approve(number)
    assert payday.approve(number) == approved
    with pytest.raises(WrongRunState):
        payday.paid(number)
    payday.export(number)
    with pytest.raises(WrongRunState):
        payday.approve(number)
    paid = payday.paid(number, "TRF-1")
    payday.next_day()
    assert payday.paid(number, "TRF-1") == paid
    with pytest.raises(WrongRunState):
        payday.paid(number, "TRF-2")
    assert payday.position(TOKO).paid == Rupiah(1_000)
    for unknown in (payday.approve, payday.export, payday.paid, payday.withdraw):
        with pytest.raises(UnknownRun):
            unknown(99)


def test_the_file_is_the_same_whenever_it_is_written(payday: Payday) -> None:
    payday.sell(TOKO, 1_000)
    payday.next_day()
    number = payday.propose().number
    payday.approve(number)
    first = payday.export(number)
    payday.give_account(TOKO, "999988887777")  # a new account is for the next run
    payday.next_day()
    assert payday.export(number) == first
    other = BankAccount(bank="", bank_code="BNINIDJA", account="5555", holder="Koperasi BMI")
    with pytest.raises(PaymentFileDiffers):
        payday.export(number, other)


def test_a_run_that_differs_from_the_journal_is_not_approved(payday: Payday) -> None:
    """Somebody has edited the journal behind the program's back."""
    payday.sell(TOKO, 1_000)
    payday.next_day()
    number = payday.propose().number
    with payday.database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            connection.execute(text("DROP TRIGGER postings_no_update"))
        connection.execute(
            update(postings).where(postings.c.kind == Kind.SALE).values(amount_rupiah=9)
        )
    with pytest.raises(RunNotAsInJournal):
        payday.approve(number)


def test_a_bank_account_is_used_when_another_person_has_accepted_it(payday: Payday) -> None:
    payday.seller("Kios Baru", account=False)
    account = bank_account("BCA", "cenaidja", "123-456 7890", "Siti")
    assert (account.bank_code, account.account) == ("CENAIDJA", "1234567890")

    def propose(by: str) -> int:
        return propose_account(payday.database, "Kios Baru", account, by, payday.now).number

    def decide(number: int, by: str, *, accepted: bool) -> None:
        decide_account(payday.database, "Kios Baru", number, by, payday.now, accepted=accepted)

    assert propose(BOTH) == 1
    with pytest.raises(SecondPersonNeeded):
        decide(1, BOTH, accepted=True)
    payday.sell("Kios Baru", 500)
    payday.next_day()
    with pytest.raises(NothingToPay):
        payday.propose()
    assert propose(PROPOSER) == 2
    with pytest.raises(AccountAwaitsNobody):  # a newer one waits
        decide(1, APPROVER, accepted=True)
    decide(2, APPROVER, accepted=False)
    with pytest.raises(AccountAwaitsNobody):
        decide(2, APPROVER, accepted=True)
    with pytest.raises(NothingToPay):
        payday.propose()
    propose(PROPOSER)
    decide(3, BOTH, accepted=True)
    propose(PROPOSER)  # the accepted one stays in force meanwhile
    assert payday.propose().items[0].to == account
    history = account_history(payday.database, "Kios Baru")
    assert [(one.accepted, one.decided_by) for one in history] == [
        (None, ""), (False, APPROVER), (True, BOTH), (None, ""),
    ]  # fmt: skip
    with pytest.raises(UnknownSeller):
        account_history(payday.database, "Nobody")


@pytest.mark.parametrize(
    ("code", "account"),
    [("BCA", "123456"), ("12", "123456"), ("CENAIDJA1", "123456"), ("014", "1"), ("014", "12_34")],
)
def test_bank_accounts_that_cannot_be(code: str, account: str) -> None:
    with pytest.raises(BadParameters):
        bank_account("BCA", code, account, "Siti")


def test_a_fee_is_set_for_days_that_no_run_holds(payday: Payday) -> None:
    fee_of(payday, basis_points=100)
    payday.sell(TOKO, 10_000)
    payday.next_day()
    day = days_since_1970(payday.today)
    payday.propose()
    for from_day in (day - 1, day - 30):
        with pytest.raises(FeeRuleTooLate):
            payday.set_fee(None, FeeRule(from_day=from_day))
        with pytest.raises(FeeRuleTooLate):
            payday.set_fee(TOKO, FeeRule(from_day=from_day))
    with pytest.raises(NotOfStaff):
        propose_fee_rule(payday.database, None, FeeRule(from_day=day), "Siapa", payday.now)
    own = FeeRule(from_day=day, basis_points=300)
    payday.set_fee(TOKO, own)
    payday.sell(TOKO, 10_000)
    payday.sell(WARUNG, 10_000)
    payday.next_day()
    assert [item.fee for item in payday.propose().items] == [Rupiah(300), Rupiah(100)]


def test_after_a_restored_backup_nothing_is_proposed_before_the_bank_was_asked(
    payday: Payday,
) -> None:
    payday.sell(TOKO, 10_000)
    payday.next_day()
    before = payday.propose()
    payday.clock[0] += 60
    mark_restored(payday.world.central)
    assert payday.propose().number == before.number, "what is there is shown"
    payday.withdraw(before.number)
    payday.clock[0] += 60
    mark_restored(payday.world.central)
    with pytest.raises(BankNotCompared):
        payday.propose()
    run = propose_run(
        payday.database, payday.yesterday, PROPOSER, payday.now, compared_with_bank=True
    )
    assert "backup restored" in run.steps[0].note
    payday.sell(TOKO, 1_000)
    payday.next_day()
    assert payday.propose().net == Rupiah(1_000)


def test_a_rule_of_its_own_leaves_the_days_before_it_to_the_rules_for_all(payday: Payday) -> None:
    fee_of(payday, basis_points=100)
    payday.sell(TOKO, 10_000)
    payday.next_day()
    own = FeeRule(from_day=days_since_1970(payday.today), basis_points=300)
    payday.set_fee(TOKO, own)
    payday.sell(TOKO, 1_000)
    payday.next_day()
    assert [item.fee for item in payday.propose().items] == [Rupiah(100 + 30)]
    with open_snapshot(payday.world.url) as (source, _):
        assert check_runs(source) == []


@pytest.mark.parametrize("step", ["propose", "approve", "export", "paid", "withdraw"])
def test_a_crash_in_any_step_leaves_all_of_it_or_nothing(payday: Payday, step: str) -> None:
    fee_of(payday, basis_points=100)
    payday.sell(TOKO, 1_000)
    payday.sell(WARUNG, 2_000)
    payday.next_day()
    made: dict[str, Callable[[], object]] = {
        "propose": payday.propose,
        "approve": lambda: payday.approve(1),
        "export": lambda: payday.export(1),
        "paid": lambda: payday.paid(1),
    }
    for name, take in made.items():
        if name == step or (step == "withdraw" and name == "paid"):
            break
        take()
    last = made.get(step, lambda: payday.withdraw(1))
    states: list[RunState | None] = []
    for statement in range(60):
        try:
            with payday.crash_at(statement):
                last()
            break
        except Crashed:
            try:
                states.append(run_of(payday.database, 1).state)
            except UnknownRun:
                states.append(None)
            if step == "paid":
                assert payday.position(TOKO).paid == ZERO
    else:
        pytest.fail("the step never ends")
    assert len(set(states)) == 1
    assert len(states) >= 3
    last()
    total = Rupiah(2_970) if step == "paid" else ZERO
    assert payday.position(TOKO).paid + payday.position(WARUNG).paid == total


def test_every_problem_says_what_to_do() -> None:
    for kind in SettlementProblem.__subclasses__():
        assert kind.next_step != SettlementProblem.next_step, kind
