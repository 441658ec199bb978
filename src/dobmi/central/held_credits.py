"""Ordered credits: made at once, or held until a second person accepts them.

This makes the pending credit, in either case; `credit_orders` takes the orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.cards import PendingCredit, card_row, require_usable, waiting_credits
from dobmi.central.carrying import Accepted, Carrier, Facts
from dobmi.central.credit_limits import limits_of
from dobmi.central.database import insert_rows
from dobmi.central.errors import BadProposal, BalanceWouldPassLimit
from dobmi.central.journal import post
from dobmi.central.orders import append_credit, balance_on_card
from dobmi.central.posting_rules import Kind
from dobmi.central.schema import (
    CreditDelivery,
    CreditSource,
    StaffRole,
    cash_received,
    held_credits,
)
from dobmi.central.server import Central
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings

_KINDS_OF_SOURCE = {CreditSource.CASH: Kind.TOP_UP, CreditSource.SALARY: Kind.SALARY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Money for a card. `received`: the cash handed over; None: just the amount."""

    amount: Rupiah
    source: CreditSource
    idempotency_key: str
    station: int
    person: str
    received: Rupiah | None = None


def place(
    connection: Connection, card: Row[Any], order: Order, now: int, *, detail: str = ""
) -> PendingCredit:
    """The pending credit that was ordered for the card in this row, locked; with its posting."""
    uid = bytes(card.uid)
    sequence = append_credit(
        connection,
        uid,
        order.amount,
        order.source,
        idempotency_key=order.idempotency_key,
        ordered_by=order.station,
        now=now,
    )
    post(
        connection,
        _KINDS_OF_SOURCE[order.source],
        order.amount,
        card_uid=uid,
        terminal_id=CENTRAL_TERMINAL_ID,
        sequence=sequence,
        at=now,
        station=order.station,
    )
    if order.source is CreditSource.CASH:
        row = {
            "card_uid": uid,
            "sequence": sequence,
            "received_rupiah": (order.received or order.amount).amount,
            "station": order.station,
            "person": order.person,
            "at": now,
        }
        insert_rows(connection, cash_received, [row])
    note_act(
        connection,
        Actor(order.person, order.station),
        Act.CREDIT,
        subject=f"card {card.serial}",
        amount=order.amount,
        detail=f"{order.source.value}, credit {sequence}{detail}",
        now=now,
    )
    return PendingCredit(
        card_uid=uid,
        sequence=sequence,
        amount=order.amount,
        source=order.source,
        state=CreditDelivery.PENDING,
        ordered_at=now,
    )


def require_room(
    connection: Connection, settings: CentralSettings, card: Row[Any], amount: Rupiah
) -> None:
    """Raises BalanceWouldPassLimit; what waits for the card counts as on it."""
    limit = limits_of(connection, settings, card).balance_max
    total = balance_on_card(connection, card.uid) + amount
    for credit in waiting_credits(connection, card.uid):
        total += credit.amount
    if total > limit:
        raise BalanceWouldPassLimit(amount=amount, total=total, limit=limit)


def facts_of(uid: bytes, order: Order) -> Facts:
    """What is proposed of an order that is held."""
    return {
        "card_uid": uid.hex().upper(),
        "amount_rupiah": order.amount.amount,
        "source": order.source.value,
        "order": order.idempotency_key,
        "station": order.station,
    }


def _check(_connection: Connection, facts: Facts) -> None:
    """That it is an order, `_carry_out` finds: the order is written with its proposal."""
    if set(facts) != {"card_uid", "amount_rupiah", "source", "order", "station"}:
        raise BadProposal(detail=N_("a large credit is ordered at a station"))


def _carry_out(central: Central, connection: Connection, facts: Facts, of: Accepted) -> str:
    held = connection.execute(
        select(held_credits).where(held_credits.c.approval == of.number)
    ).one_or_none()
    if held is None or held.idempotency_key != facts["order"]:
        raise BadProposal(detail=N_("a large credit is ordered at a station"))
    card = card_row(connection, bytes(held.card_uid), lock=True)
    require_usable(card, of.now)
    order = Order(
        amount=Rupiah(held.amount_rupiah),
        source=CreditSource(held.source),
        idempotency_key=held.idempotency_key,
        station=held.ordered_by,
        person=held.person,
        received=None if held.received_rupiah is None else Rupiah(held.received_rupiah),
    )
    require_room(connection, central.settings, card, order.amount)
    credit = place(connection, card, order, of.now, detail=f", approval {of.number}")
    return f"card {card.serial}, credit {credit.sequence}, {order.amount}"


CARRIER: Final = Carrier(
    proposers=(StaffRole.ISSUER, StaffRole.PROPOSER), check=_check, carry_out=_carry_out
)
