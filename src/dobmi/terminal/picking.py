"""Members' orders at the outlet: the pick list, what is short, paid, handed over or cancelled.

The list is the feed's. An order is paid by a sale that names it (sale_request): that is written down
together with the sale's own voucher. The central server hears of all of it by records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from dobmi.money import ZERO, Rupiah
from dobmi.sync.outlet import MemberOrder
from dobmi.sync.records import OrderRecord, OrderState
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal import outlet, schema
from dobmi.terminal.cart import Cart, cart_of_order
from dobmi.terminal.errors import (
    NoSuchOrder,
    OrderEnded,
    OrderInDoubt,
    OrderNotPaid,
    OrderOfAnother,
    OrderPaid,
)
from dobmi.terminal.ledger import Ledger, SaleState
from dobmi.terminal.members import member_note


@dataclass(frozen=True, slots=True, kw_only=True)
class PickOrder:
    """A member's order and what was done with it here: `state` is None while nothing was.

    `short` is what was missing when it was paid: (item code, how many).
    """

    order: MemberOrder
    state: OrderState | None = None
    sale: int | None = None
    short: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> Rupiah:
        """As it was ordered."""
        return sum((line.unit_price * line.quantity for line in self.order.lines), ZERO)

    @property
    def is_open(self) -> bool:
        """Neither handed over nor cancelled."""
        return self.state in {None, OrderState.PAID}


def open_orders(ledger: Ledger) -> tuple[PickOrder, ...]:
    """The pick list: the day that comes first, first; what is handed over or cancelled is not in it."""
    table = schema.member_orders
    with ledger.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.pick_up_on, table.c.number))
        found = [_pick_order(connection, row) for row in rows.all()]
    return tuple(one for one in found if one.is_open)


def find_order(ledger: Ledger, number: int) -> PickOrder:
    """Raises NoSuchOrder."""
    with ledger.connect() as connection:
        return _found(connection, number)


def orders_of_member(ledger: Ledger, member_number: int) -> tuple[PickOrder, ...]:
    """The open ones: for the card that is tapped."""
    return tuple(one for one in open_orders(ledger) if one.order.member_number == member_number)


def open_as_cart(ledger: Ledger, number: int) -> Cart:
    """The order as a cart to be paid; there, quantities are lowered for what is short.

    Raises NoSuchOrder, OrderPaid, OrderEnded, OrderInDoubt.
    """
    found = find_order(ledger, number)
    check_payable(ledger, number)
    member = member_note(ledger, found.order.member_number)
    return cart_of_order(found.order, member.member_class)


def check_payable(ledger: Ledger, number: int, *, besides: str | None = None) -> None:
    """Whether nothing has paid it, or may have. `besides`: the sale request that asks.

    Raises NoSuchOrder, OrderPaid, OrderEnded, OrderInDoubt.
    """
    found = find_order(ledger, number)
    if found.state is OrderState.PAID:
        raise OrderPaid(order=number, sale=found.sale)
    if found.state is not None:
        raise OrderEnded(order=number)
    attempts, requests = schema.sale_attempts, schema.sale_requests
    query = (
        sa.select(attempts.c.sequence)
        .join(requests, requests.c.id == attempts.c.request)
        .where(requests.c.order_number == number)
    )
    if besides is not None:
        query = query.where(requests.c.id != besides)
    with ledger.connect() as connection:
        sequences = [row.sequence for row in connection.execute(query)]
    for sequence in sequences:
        if ledger.sale_state(sequence) is not SaleState.NOT_PAID:
            raise OrderInDoubt(order=number, sequence=sequence)


def check_holder(ledger: Ledger, number: int, member_number: int, holder: str) -> None:
    """Whether it is the order of the member whose card was tapped: goods and contribution are theirs.

    Raises OrderOfAnother, NoSuchOrder.
    """
    order = find_order(ledger, number).order
    if order.member_number != member_number:
        raise OrderOfAnother(order=number, member=order.holder, holder=holder)


def shortage(order: MemberOrder, goods: Iterable[GoodsLine]) -> tuple[tuple[str, int], ...]:
    """What of the order is not in `goods`: (item code, how many). Lines are told by name and price."""
    there: dict[tuple[str, Rupiah], int] = {}
    for line in goods:
        key = (line.name, line.unit_price)
        there[key] = there.get(key, 0) + line.quantity
    missing = []
    for ordered in order.lines:
        key = (ordered.name, ordered.unit_price)
        taken = min(ordered.quantity, there.get(key, 0))
        there[key] = there.get(key, 0) - taken
        if taken < ordered.quantity:
            missing.append((ordered.item, ordered.quantity - taken))
    return tuple(missing)


def hand_over(ledger: Ledger, number: int, *, by: str, now: int) -> PickOrder:
    """The member has the goods. Raises NoSuchOrder, OrderNotPaid, OrderEnded."""
    with ledger.begin() as connection:
        found = _found(connection, number)
        if found.state is None:
            raise OrderNotPaid(order=number)
        if not found.is_open:
            raise OrderEnded(order=number)
        _act(connection, number, OrderState.HANDED_OVER, by, now)
        return _found(connection, number)


def cancel(ledger: Ledger, number: int, *, by: str, now: int) -> PickOrder:
    """It will not be fetched. What was paid for it has been given back before, all of it.

    Raises NoSuchOrder, OrderEnded, OrderInDoubt, OrderPaid: refund it first.
    """
    found = find_order(ledger, number)
    if found.sale is None:
        check_payable(ledger, number)
    else:
        intent = ledger.intent(found.sale)
        if found.is_open and intent is not None and ledger.refunded(found.sale) < intent.amount:
            raise OrderPaid(order=number, sale=found.sale)
    with ledger.begin() as connection:
        if not _found(connection, number).is_open:
            raise OrderEnded(order=number)
        _act(connection, number, OrderState.CANCELLED, by, now)
        return _found(connection, number)


def _act(connection: sa.Connection, number: int, state: OrderState, by: str, now: int) -> None:
    outlet.add_order_act(
        connection,
        OrderRecord(order=number, state=state, sale=None, short=(), by=by, unix_seconds=now),
    )


def _found(connection: sa.Connection, number: int) -> PickOrder:
    table = schema.member_orders
    row = connection.execute(sa.select(table).where(table.c.number == number)).one_or_none()
    if row is None:
        raise NoSuchOrder(order=number)
    return _pick_order(connection, row)


def _pick_order(connection: sa.Connection, row: sa.Row[Any]) -> PickOrder:
    acts = schema.order_acts
    state, sale, short = None, None, b""
    for act in connection.execute(
        sa.select(acts).where(acts.c.order_number == row.number).order_by(acts.c.record)
    ):
        state = OrderState(act.state)
        if state is OrderState.PAID:
            sale, short = act.sale, act.short
    return PickOrder(
        order=MemberOrder(
            number=row.number,
            member_number=row.member_number,
            holder=row.holder,
            placed_unix_seconds=row.placed_unix_seconds,
            pick_up_on=date.fromisoformat(row.pick_up_on),
            lines=outlet.order_lines_from_bytes(row.lines),
            note=row.note,
        ),
        state=state,
        sale=sale,
        short=outlet.short_from_bytes(short) if short else (),
    )
