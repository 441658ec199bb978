"""Orders of credits, taken by their own keys: one key is one credit, made now, held, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select

from dobmi.central.acts import Actor
from dobmi.central.approvals import propose
from dobmi.central.cards import OWN_KEYS, PendingCredit, card_row, pending_credit, require_usable
from dobmi.central.credit_limits import limits_of, ordered_today
from dobmi.central.database import insert_rows
from dobmi.central.errors import (
    AmountNotAllowed,
    BadParameters,
    CashTooLittle,
    DayLimitPassed,
    IdempotencyConflict,
    RoleLacking,
    UnknownOrder,
)
from dobmi.central.held_credits import Order, facts_of, place, require_room
from dobmi.central.schema import (
    ApprovalKind,
    CreditSource,
    StaffRole,
    approval_decisions,
    cards,
    cash_received,
    held_credits,
    members,
    pending_credits,
)
from dobmi.central.server import Central
from dobmi.central.staff import find_person
from dobmi.money import ZERO, Rupiah

CREDIT_MIN = Rupiah(1)


class OrderState(StrEnum):
    """How far an order is. From `pending` on the states of a pending credit."""

    HELD = "held"
    """A second person decides."""
    REFUSED = "refused"
    """They did: money that was handed over for it is to be given back."""
    PENDING = "pending"
    IN_DOUBT = "in_doubt"
    DELIVERED = "delivered"
    ASSUMED = "assumed"
    MOVED = "moved"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCredit:
    """An order that waits for a second person, or was refused by one."""

    card_uid: bytes
    amount: Rupiah
    source: CreditSource
    approval: int
    state: OrderState
    ordered_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """An order as a receipt has it. `sequence`: which of the card's credits it became, if it did."""

    idempotency_key: str
    state: OrderState
    card_uid: bytes
    card_serial: int
    member_number: int
    member_name: str
    amount: Rupiah
    source: CreditSource
    received: Rupiah | None
    sequence: int | None
    approval: int | None
    station: int
    person: str
    ordered_at: int

    @property
    def change(self) -> Rupiah:
        return ZERO if self.received is None else self.received - self.amount


def order_credit(
    central: Central,
    card: bytes | int,
    amount: Rupiah,
    source: CreditSource,
    *,
    idempotency_key: str,
    station: int,
    actor: Actor | None = None,
    received: Rupiah | None = None,
) -> tuple[PendingCredit | HeldCredit, bool]:
    """A credit for the card, and whether it is new: one key makes one credit.

    Ordered by somebody who has logged in, one above the limit in force is held until another person
    accepts it. `received`: the cash handed over.

    Raises UnknownCard, CardIsBlocked, CardNotActive, CardHasExpired, AmountNotAllowed,
    CashTooLittle, BalanceWouldPassLimit, DayLimitPassed, RoleLacking, IdempotencyConflict.
    """
    if idempotency_key.startswith(OWN_KEYS):
        raise BadParameters(detail=f"idempotency keys that begin with {OWN_KEYS} are the server's")
    if received is not None and (source is not CreditSource.CASH or received < amount):
        raise CashTooLittle(amount=amount, received=received)
    actor = actor or Actor("", station)
    order = Order(
        amount=amount,
        source=source,
        idempotency_key=idempotency_key,
        station=station,
        person=actor.name,
        received=received,
    )
    now = central.unix_seconds()
    with central.database.write() as connection:
        row = card_row(connection, card, lock=True)
        before = _before(connection, row, order)
        if before is not None:
            return before, False
        require_usable(row, now)
        limits = limits_of(connection, central.settings, row)
        most = min(limits.credit_max, limits.balance_max)
        if not CREDIT_MIN <= amount <= most:
            raise AmountNotAllowed(amount=amount, minimum=CREDIT_MIN, maximum=most)
        if source is CreditSource.SALARY:
            _require_salary_role(connection, actor)
        require_room(connection, central.settings, row, amount)
        total = ordered_today(connection, row.member_number, now) + amount
        if limits.day_max and total > limits.day_max:
            raise DayLimitPassed(amount=amount, total=total, limit=limits.day_max)
        if actor.name and amount > limits.approve_above:
            return _hold(connection, bytes(row.uid), order, actor, now), True
        return place(connection, row, order, now), True


def order_report(central: Central, idempotency_key: str, station: int) -> OrderReport:
    """The order of this key that `station` gave. Raises UnknownOrder."""
    with central.database.read() as connection:
        credit = connection.execute(
            select(pending_credits).where(
                pending_credits.c.idempotency_key == idempotency_key,
                pending_credits.c.ordered_by == station,
            )
        ).one_or_none()
        held = connection.execute(
            select(held_credits).where(
                held_credits.c.idempotency_key == idempotency_key,
                held_credits.c.ordered_by == station,
            )
        ).one_or_none()
        found = held if credit is None else credit
        if found is None:
            raise UnknownOrder(order=idempotency_key)
        paid = None
        if credit is not None:
            paid = connection.execute(
                select(cash_received).where(
                    cash_received.c.card_uid == credit.card_uid,
                    cash_received.c.sequence == credit.sequence,
                )
            ).one_or_none()
        received = held.received_rupiah if paid is None and held is not None else None
        received = received if paid is None else paid.received_rupiah
        who = connection.execute(
            select(cards.c.serial, cards.c.member_number, members.c.name)
            .join(members, members.c.member_number == cards.c.member_number)
            .where(cards.c.uid == found.card_uid)
        ).one()
        if credit is None:
            assert held is not None
            state = _state_of_held(connection, held.approval)
        else:
            state = OrderState(credit.state)
        return OrderReport(
            idempotency_key=idempotency_key,
            state=state,
            card_uid=bytes(found.card_uid),
            card_serial=who.serial,
            member_number=who.member_number,
            member_name=who.name,
            amount=Rupiah(found.amount_rupiah),
            source=CreditSource(found.source),
            received=None if received is None else Rupiah(received),
            sequence=None if credit is None else credit.sequence,
            approval=None if held is None else held.approval,
            station=station,
            person=_person(held, paid),
            ordered_at=found.ordered_at,
        )


def _person(held: Row[Any] | None, paid: Row[Any] | None) -> str:
    of = held if held is not None else paid
    return "" if of is None else str(of.person)


def _before(
    connection: Connection, card: Row[Any], order: Order
) -> PendingCredit | HeldCredit | None:
    """What the same order came to before. Raises IdempotencyConflict."""
    key = order.idempotency_key
    asked = (card.uid, order.amount.amount, order.source.value, order.station)
    credit = connection.execute(
        select(pending_credits).where(pending_credits.c.idempotency_key == key)
    ).one_or_none()
    if credit is not None:
        if asked != (credit.card_uid, credit.amount_rupiah, credit.source, credit.ordered_by):
            raise IdempotencyConflict
        return pending_credit(credit)
    held = connection.execute(
        select(held_credits).where(held_credits.c.idempotency_key == key)
    ).one_or_none()
    if held is None:
        return None
    if asked != (held.card_uid, held.amount_rupiah, held.source, held.ordered_by):
        raise IdempotencyConflict
    return HeldCredit(
        card_uid=bytes(held.card_uid),
        amount=order.amount,
        source=order.source,
        approval=held.approval,
        state=_state_of_held(connection, held.approval),
        ordered_at=held.ordered_at,
    )


def _state_of_held(connection: Connection, approval: int) -> OrderState:
    """Of one that is no pending credit."""
    decided = connection.execute(
        select(approval_decisions.c.number).where(approval_decisions.c.number == approval)
    ).first()
    return OrderState.HELD if decided is None else OrderState.REFUSED


def _hold(connection: Connection, uid: bytes, order: Order, actor: Actor, now: int) -> HeldCredit:
    number = propose(connection, ApprovalKind.CREDIT, facts_of(uid, order), actor, now)
    row = {
        "idempotency_key": order.idempotency_key,
        "card_uid": uid,
        "amount_rupiah": order.amount.amount,
        "source": order.source.value,
        "received_rupiah": None if order.received is None else order.received.amount,
        "ordered_by": order.station,
        "person": actor.name,
        "approval": number,
        "ordered_at": now,
    }
    insert_rows(connection, held_credits, [row])
    return HeldCredit(
        card_uid=uid,
        amount=order.amount,
        source=order.source,
        approval=number,
        state=OrderState.HELD,
        ordered_at=now,
    )


def _require_salary_role(connection: Connection, actor: Actor) -> None:
    """Wages are no issuer's to give: nobody hands anything over for them. Raises RoleLacking."""
    if not actor.name:
        return
    person = find_person(connection, actor.name)
    if person is None or StaffRole.PROPOSER not in person.roles:
        raise RoleLacking(name=actor.name, role=StaffRole.PROPOSER.value)
