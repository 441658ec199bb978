"""Settlement runs: what sellers are owed up to a day, paid once (docs/settlement.md).

A run is proposed by one person, approved by another, written as files for the bank, and marked as
paid, which posts it. Its items' periods are chained for each seller (`settlement_claims`), its steps
follow one another: that nothing is paid twice is the database's word, whatever this code does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, delete, func, or_, select

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID
from dobmi.central.booking import booking_time, last_sealed_day, start_of_day
from dobmi.central.database import (
    Database,
    add_to_counter,
    insert_rows,
    next_number,
)
from dobmi.central.errors import (
    BankNotCompared,
    CutOffNotOver,
    CutOffSettled,
    LaterRunFirst,
    NothingToPay,
    PaymentFileDiffers,
    RunNotAsInJournal,
    SecondPersonNeeded,
    UnknownRun,
    WrongRunState,
)
from dobmi.central.journal import NO_CARD, Event, post_many, seller_account
from dobmi.central.owed import Due, day_sums, dues_until
from dobmi.central.payment_file import Payment, PaymentOrder, to_pain_001
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.schema import (
    LeftOut,
    RunState,
    SellerKind,
    StaffRole,
    postings,
    restorations,
    seller_accounts,
    sellers,
    settlement_claims,
    settlement_items,
    settlement_left_out,
    settlement_runs,
    settlement_steps,
)
from dobmi.central.seller_accounts import (
    BankAccount,
    accounts_in_force,
    seller_number,
)
from dobmi.central.settled import RUNS, one_after_the_other, withdrawn_runs
from dobmi.central.staff import require_role
from dobmi.central.texts import require_text
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_number, day_of, days_since_1970

_ITEMS: Final = "settlement-item"
_NOTE_LENGTH_MAX: Final = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a run pays a seller, and to which account."""

    seller_id: int
    seller: str
    kind: SellerKind
    number: int
    to: BankAccount
    from_at: int
    to_at: int
    sales: int
    sold: Rupiah
    refunded: Rupiah
    fee: Rupiah
    net: Rupiah


@dataclass(frozen=True, slots=True)
class Step:
    state: RunState
    by: str
    at: int
    note: str


@dataclass(frozen=True, slots=True)
class NotInRun:
    """A seller that comes into a later run. `due` is below nought if it owes."""

    seller: str
    reason: LeftOut
    due: Rupiah


@dataclass(frozen=True, slots=True)
class Run:
    number: int
    cut_off: date
    steps: tuple[Step, ...]
    """In their order; the last is how far the run is."""
    items: tuple[Item, ...]
    left_out: tuple[NotInRun, ...]

    @property
    def state(self) -> RunState:
        return self.steps[-1].state

    @property
    def net(self) -> Rupiah:
        return sum((item.net for item in self.items), ZERO)

    @property
    def fees(self) -> Rupiah:
        return sum((item.fee for item in self.items), ZERO)


@dataclass(frozen=True, slots=True)
class Movement:
    """A sale of an item's period, or a refund (below nought)."""

    at: int
    kind: Kind
    terminal_id: int
    sequence: int
    card_uid: bytes
    amount: Rupiah


def propose_run(
    database: Database, cut_off: date, by: str, now: int, *, compared_with_bank: bool = False
) -> Run:
    """A run of all that is owed and in no other, booked up to the end of `cut_off`.

    If there is one for that day that is not withdrawn, it is that one, as it is. The first one after
    a backup was restored needs somebody's word that it was `compared_with_bank`: runs may be paid
    that are not known any more. Raises NotOfStaff, CutOffNotOver, CutOffSettled, NothingToPay,
    BankNotCompared.
    """
    day = days_since_1970(cut_off)

    def propose(connection: Connection) -> Run:
        name = require_role(connection, by, StaffRole.PROPOSER)
        closed = last_sealed_day(connection)
        if closed is None or closed < day:  # more may still be booked on it
            raise CutOffNotOver(day=f"{cut_off:%d-%m-%Y}")
        one_after_the_other(connection)
        newest = connection.execute(
            select(settlement_runs.c.number, settlement_runs.c.cut_off_day)
            .where(settlement_runs.c.number.not_in(withdrawn_runs()))
            .order_by(settlement_runs.c.cut_off_day.desc())
            .limit(1)
        ).one_or_none()
        there = connection.execute(
            select(settlement_runs.c.number)
            .where(settlement_runs.c.cut_off_day == day)
            .where(settlement_runs.c.number.not_in(withdrawn_runs()))
        ).scalar()
        if there is not None:
            return _run(connection, there)
        if newest is not None and newest.cut_off_day > day:
            raise CutOffSettled(
                day=f"{cut_off:%d-%m-%Y}",
                run=newest.number,
                settled=f"{day_number(newest.cut_off_day):%d-%m-%Y}",
            )
        restored = _restored_since_last_step(connection)
        if restored is None:
            return _make_run(connection, day, name, now)
        if not compared_with_bank:
            raise BankNotCompared(day=f"{day_of(restored):%d-%m-%Y}")
        note = f"compared with the bank after the backup restored on {day_of(restored):%d-%m-%Y}"
        return _make_run(connection, day, name, now, note=note)

    return database.write_again(propose)


def approve_run(database: Database, number: int, by: str, now: int) -> Run:
    """A second person's yes. Harmless when that person has said so already.

    Raises NotOfStaff, UnknownRun, SecondPersonNeeded, WrongRunState, RunNotAsInJournal.
    """

    def approve(connection: Connection) -> Run:
        name = require_role(connection, by, StaffRole.APPROVER)
        run = _locked(connection, number)
        if run.state is RunState.APPROVED and run.steps[-1].by == name:
            return run
        _require_state(run, RunState.PROPOSED)
        if run.steps[0].by == name:
            raise SecondPersonNeeded(name=name)
        _compare(connection, run)
        return _step(connection, run, RunState.APPROVED, name, now)

    return database.write_again(approve)


def export_run(
    database: Database, number: int, by: str, now: int, payer: BankAccount
) -> PaymentOrder:
    """The payments, to be written as files; the same bytes however often.

    Raises NotOfStaff, UnknownRun, WrongRunState (not approved, or withdrawn), RunNotAsInJournal,
    PaymentFileDiffers.
    """

    def export(connection: Connection) -> PaymentOrder:
        name = require_role(connection, by, StaffRole.PROPOSER, StaffRole.APPROVER)
        run = _locked(connection, number)
        done = next((step for step in run.steps if step.state is RunState.EXPORTED), None)
        if done is None or run.state is RunState.WITHDRAWN:
            _require_state(run, RunState.APPROVED)
            _compare(connection, run)
        order = _order(run, payer, now if done is None else done.at)
        digest = hashlib.sha256(to_pain_001(order)).hexdigest()
        if done is None:
            _step(connection, run, RunState.EXPORTED, name, now, note=digest)
        elif done.note != digest:
            raise PaymentFileDiffers(run=number)
        return order

    return database.write_again(export)


def mark_paid(database: Database, number: int, by: str, reference: str, now: int) -> Run:
    """The bank has paid, by its `reference`: posts each seller's net and fee.

    Harmless when it was said with the same reference already. Raises NotOfStaff, BadParameters,
    UnknownRun, WrongRunState.
    """
    require_text("reference", reference, _NOTE_LENGTH_MAX)

    def pay(connection: Connection) -> Run:
        at = booking_time(connection, now)
        name = require_role(connection, by, StaffRole.PROPOSER, StaffRole.APPROVER)
        run = _locked(connection, number)
        if run.state is RunState.PAID and run.steps[-1].note == reference:
            return run
        _require_state(run, RunState.EXPORTED)
        paid = _step(connection, run, RunState.PAID, name, now, note=reference)
        explanation = f"settlement run {number}, {reference}"
        events = [event for item in run.items for event in _events(item, explanation)]
        post_many(connection, events, at)
        return paid

    return database.write_again(pay)


def withdraw_run(database: Database, number: int, by: str, reason: str, now: int) -> Run:
    """Never to be paid; what was in it is owed again. Once approved it takes an approver.

    Raises NotOfStaff, BadParameters, UnknownRun, WrongRunState, LaterRunFirst.
    """
    require_text("reason", reason, _NOTE_LENGTH_MAX)

    def withdraw(connection: Connection) -> Run:
        one_after_the_other(connection)
        run = _locked(connection, number)
        open_to = [StaffRole.APPROVER]
        if run.state is RunState.PROPOSED:
            open_to.append(StaffRole.PROPOSER)
        name = require_role(connection, by, *open_to)
        if run.state is RunState.WITHDRAWN and run.steps[-1].note == reason:
            return run
        _require_state(run, RunState.PROPOSED, RunState.APPROVED, RunState.EXPORTED)
        later, mine = settlement_claims.alias("later"), settlement_claims
        follower = connection.execute(
            select(func.max(later.c.run))
            .join_from(
                mine,
                later,
                and_(later.c.seller_id == mine.c.seller_id, later.c.after == mine.c.to_at),
            )
            .where(mine.c.run == number)
        ).scalar()
        if follower is not None:
            raise LaterRunFirst(run=number, later=follower)
        withdrawn = _step(connection, run, RunState.WITHDRAWN, name, now, note=reason)
        # The database lets a claim go only once its run is withdrawn.
        connection.execute(delete(settlement_claims).where(settlement_claims.c.run == number))
        return withdrawn

    return database.write_again(withdraw)


def run_of(database: Database, number: int) -> Run:
    """Raises UnknownRun."""
    with database.read() as connection:
        return _run(connection, number)


def run_list(database: Database) -> list[Run]:
    """All runs, oldest first."""
    with database.read() as connection:
        numbers = connection.execute(
            select(settlement_runs.c.number).order_by(settlement_runs.c.number)
        ).scalars()
        return [_run(connection, number) for number in numbers.all()]


def movements(database: Database, number: int, seller: str) -> list[Movement]:
    """The sales and refunds that a run's item is made of, oldest first.

    Raises UnknownRun, UnknownSeller.
    """
    with database.read() as connection:
        seller_id = seller_number(connection, seller)
        item = next(
            (item for item in _run(connection, number).items if item.seller_id == seller_id), None
        )
        if item is None:
            return []
        mine = _accounts(seller_id)
        rows = connection.execute(
            select(postings)
            .where(postings.c.at >= item.from_at, postings.c.at < item.to_at)
            .where(
                or_(
                    and_(postings.c.kind == Kind.SALE, postings.c.credit_account.in_(mine)),
                    and_(postings.c.kind == Kind.REFUND, postings.c.debit_account.in_(mine)),
                )
            )
            .order_by(postings.c.at, postings.c.id)
        )
        return [
            Movement(
                row.at,
                Kind(row.kind),
                row.terminal_id,
                row.sequence,
                bytes(row.card_uid),
                Rupiah(row.amount_rupiah if row.kind == Kind.SALE else -row.amount_rupiah),
            )
            for row in rows
        ]


def _restored_since_last_step(connection: Connection) -> int | None:
    """When a backup was restored, if no step of any run was taken since."""
    restored = connection.execute(select(func.max(restorations.c.at))).scalar()
    last = connection.execute(select(func.max(settlement_steps.c.at))).scalar()
    return restored if restored is not None and (last is None or last < restored) else None


def _make_run(connection: Connection, day: int, name: str, now: int, *, note: str = "") -> Run:
    accounts = accounts_in_force(connection)
    pays: list[Due] = []
    left_out: list[tuple[Due, LeftOut]] = []
    for due in dues_until(connection, day):
        if due.net <= ZERO:
            left_out.append((due, LeftOut.NOTHING_DUE))
        elif due.seller_id not in accounts:
            left_out.append((due, LeftOut.NO_ACCOUNT))
        else:
            pays.append(due)
    if not pays:
        raise NothingToPay(day=f"{day_number(day):%d-%m-%Y}", left_out=len(left_out))
    number = next_number(connection, RUNS)
    run = {
        "number": number,
        "cut_off_day": day,
        "payments": len(pays),
        "net_rupiah": sum(due.net.amount for due in pays),
        "proposed_by": name,
        "proposed_at": now,
    }
    insert_rows(connection, settlement_runs, [run])
    last = add_to_counter(connection, _ITEMS, len(pays))
    items = [
        {
            "run": number,
            "seller_id": due.seller_id,
            "number": item_number,
            "account_number": accounts[due.seller_id],
            "from_at": due.from_at,
            "to_at": due.to_at,
            "sales": due.sales,
            "sales_rupiah": due.sold.amount,
            "refunds_rupiah": due.refunded.amount,
            "fee_rupiah": due.fee.amount,
            "net_rupiah": due.net.amount,
        }
        for item_number, due in enumerate(pays, start=last - len(pays) + 1)
    ]
    insert_rows(connection, settlement_items, items)
    claims = [
        {
            "seller_id": due.seller_id,
            "from_at": due.from_at,
            "after": due.from_at or None,
            "to_at": due.to_at,
            "run": number,
        }
        for due in pays
    ]
    insert_rows(connection, settlement_claims, claims)
    skipped = [
        {
            "run": number,
            "seller_id": due.seller_id,
            "reason": reason.value,
            "due_rupiah": due.net.amount,
        }
        for due, reason in left_out
    ]
    insert_rows(connection, settlement_left_out, skipped)
    step = {
        "run": number,
        "state": RunState.PROPOSED.value,
        "previous": None,
        "proposed_by": name,
        "done_by": name,
        "note": note,
        "at": now,
    }
    insert_rows(connection, settlement_steps, [step])
    return _run(connection, number)


def _locked(connection: Connection, number: int) -> Run:
    """Nobody else takes a step with it until the transaction ends. Raises UnknownRun."""
    connection.execute(
        select(settlement_runs.c.number).where(settlement_runs.c.number == number).with_for_update()
    )
    return _run(connection, number)


def _run(connection: Connection, number: int) -> Run:
    row = connection.execute(
        select(settlement_runs).where(settlement_runs.c.number == number)
    ).one_or_none()
    if row is None:
        raise UnknownRun(run=number)
    steps = connection.execute(
        select(settlement_steps).where(settlement_steps.c.run == number)
    ).all()
    items = connection.execute(
        select(settlement_items, seller_accounts, sellers.c.name, sellers.c.kind)
        .join_from(
            settlement_items,
            seller_accounts,
            and_(
                seller_accounts.c.seller_id == settlement_items.c.seller_id,
                seller_accounts.c.number == settlement_items.c.account_number,
            ),
        )
        .join(sellers, sellers.c.id == settlement_items.c.seller_id)
        .where(settlement_items.c.run == number)
        .order_by(settlement_items.c.number)
    ).mappings()
    left_out = connection.execute(
        select(settlement_left_out, sellers.c.name)
        .join(sellers, sellers.c.id == settlement_left_out.c.seller_id)
        .where(settlement_left_out.c.run == number)
        .order_by(sellers.c.name)
    )
    return Run(
        number,
        day_number(row.cut_off_day),
        tuple(_in_order(steps)),
        tuple(_item(one) for one in items),
        tuple(NotInRun(one.name, LeftOut(one.reason), Rupiah(one.due_rupiah)) for one in left_out),
    )


def _in_order(rows: Sequence[Row[Any]]) -> Iterable[Step]:
    """From the first on, each after its previous."""
    after = {row.previous: row for row in rows}
    state = None
    while (row := after.get(state)) is not None:
        state = row.state
        yield Step(RunState(state), row.done_by, row.at, row.note)


def _item(row: Mapping[Any, Any]) -> Item:
    items = settlement_items.c
    return Item(
        seller_id=row[items.seller_id],
        seller=row[sellers.c.name],
        kind=SellerKind(row[sellers.c.kind]),
        number=row[items.number],
        to=BankAccount(
            bank=row[seller_accounts.c.bank],
            bank_code=row[seller_accounts.c.bank_code],
            account=row[seller_accounts.c.account],
            holder=row[seller_accounts.c.holder],
        ),
        from_at=row[items.from_at],
        to_at=row[items.to_at],
        sales=row[items.sales],
        sold=Rupiah(row[items.sales_rupiah]),
        refunded=Rupiah(row[items.refunds_rupiah]),
        fee=Rupiah(row[items.fee_rupiah]),
        net=Rupiah(row[items.net_rupiah]),
    )


def _step(
    connection: Connection, run: Run, state: RunState, name: str, now: int, *, note: str = ""
) -> Run:
    row = {
        "run": run.number,
        "state": state.value,
        "previous": run.state.value,
        "proposed_by": run.steps[0].by,
        "done_by": name,
        "note": note,
        "at": now,
    }
    insert_rows(connection, settlement_steps, [row])
    return _run(connection, run.number)


def _require_state(run: Run, *states: RunState) -> None:
    if run.state not in states:
        last = run.steps[-1]
        raise WrongRunState(run=run.number, state=last.state.value, by=last.by)


def _compare(connection: Connection, run: Run) -> None:
    """What the run says was booked is what the journal says still. Raises RunNotAsInJournal."""
    sums = day_sums(
        connection,
        min(item.from_at for item in run.items),
        max(item.to_at for item in run.items),
    )
    stated = connection.execute(
        select(settlement_runs.c.payments, settlement_runs.c.net_rupiah).where(
            settlement_runs.c.number == run.number
        )
    ).one()
    if tuple(stated) != (len(run.items), run.net.amount):
        raise RunNotAsInJournal(run=run.number, seller="-")
    for item in run.items:
        days = [
            one
            for one in sums.get(item.seller_id, ())
            if item.from_at < start_of_day(one.day + 1) <= item.to_at
        ]
        found = (
            sum(one.sales for one in days),
            sum((one.sold for one in days), ZERO),
            sum((one.refunded for one in days), ZERO),
        )
        if found != (item.sales, item.sold, item.refunded):
            raise RunNotAsInJournal(run=run.number, seller=item.seller)


def _order(run: Run, payer: BankAccount, at: int) -> PaymentOrder:
    return PaymentOrder(
        run=run.number,
        cut_off=run.cut_off,
        payer=payer,
        at=at,
        payments=[
            Payment(
                seller_id=item.seller_id,
                seller=item.seller,
                to=item.to,
                sold=item.sold,
                refunded=item.refunded,
                fee=item.fee,
                net=item.net,
            )
            for item in run.items
        ],
    )


def _accounts(seller_id: int) -> tuple[int, int]:
    return account_number(Group.OUTLET, seller_id), account_number(Group.MERCHANT, seller_id)


def _events(item: Item, explanation: str) -> Iterable[Event]:
    for kind, amount, to in (
        (Kind.PAID_OUT, item.net, Group.BANK),
        (Kind.FEE, item.fee, Group.FEES),
    ):
        if amount > ZERO:
            yield Event(
                kind=kind,
                amount=amount,
                debit=seller_account(item.kind, item.seller_id),
                credit=account_number(to),
                card_uid=NO_CARD,
                terminal_id=CENTRAL_TERMINAL_ID,
                sequence=item.number,
                explanation=explanation,
            )
