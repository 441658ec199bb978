"""The outlet's part of a till's ledger: what the feed puts in force, and records of what was done.

Each function is a part of somebody's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.sync.cbor import CborValue, decode, encode
from dobmi.sync.errors import MalformedMessage, StaleFeed
from dobmi.sync.feed import Outlet
from dobmi.sync.outlet import (
    Catalogue,
    CatalogueItem,
    MemberNotes,
    MemberOrder,
    OrderLine,
    OutletOrders,
    OutletStaff,
)
from dobmi.sync.records import OrderRecord, OrderState, TillRecord, encode_record
from dobmi.sync.voucher import VOUCHER_SIZE_MAX, GoodsLine, goods_from_cbor
from dobmi.terminal import schema
from dobmi.terminal.errors import LedgerUnusable

_LINES_SIZE_MAX = 64 * 1024
_BAD_GOODS = N_("goods of an intent cannot be read")
_BAD_ORDER = N_("an order's lines cannot be read")
_ENDS = (OrderState.HANDED_OVER, OrderState.CANCELLED)


# What the feed says


def put(connection: sa.Connection, part: Outlet) -> None:
    """Put in force what a verified feed has of it. Raises StaleFeed."""
    if part.catalogue is not None:
        put_catalogue(connection, part.catalogue)
    if part.staff is not None:
        put_staff(connection, part.staff)
    if part.orders is not None:
        put_orders(connection, part.orders)
    if part.members is not None:
        put_member_notes(connection, part.members)


def put_catalogue(connection: sa.Connection, catalogue: Catalogue) -> None:
    """In force, instead of the one before."""
    for table in (
        schema.catalogue_class_prices,
        schema.catalogue_barcodes,
        schema.catalogue_items,
    ):
        connection.execute(table.delete())
    _insert_all(connection, schema.catalogue_items, map(_item_row, catalogue.items))
    _insert_all(
        connection,
        schema.catalogue_barcodes,
        (
            {"barcode": barcode, "code": item.code}
            for item in catalogue.items
            for barcode in item.barcodes
        ),
    )
    _insert_all(
        connection,
        schema.catalogue_class_prices,
        (
            {"code": item.code, "member_class": name, "price_rupiah": price.amount}
            for item in catalogue.items
            for name, price in item.class_prices
        ),
    )
    connection.execute(schema.outlet_state.update().values(catalogue_version=catalogue.version))


def put_staff(connection: sa.Connection, staff: OutletStaff) -> None:
    """In force, instead of the list before. Who is locked out for wrong PINs stays so."""
    connection.execute(schema.staff.delete())
    _insert_all(
        connection,
        schema.staff,
        (
            {
                "number": person.number,
                "name": person.name,
                "duty": person.duty.value,
                "pin_salt": None if person.pin is None else person.pin.salt,
                "pin_hash": None if person.pin is None else person.pin.hash,
                "member_number": person.member_number,
            }
            for person in staff.people
        ),
    )
    connection.execute(schema.outlet_state.update().values(staff_version=staff.version))


def put_orders(connection: sa.Connection, orders: OutletOrders) -> None:
    """In force, instead of the list before; what is paid here and not handed over stays kept."""
    table, acts = schema.member_orders, schema.order_acts
    connection.execute(table.update().values(is_listed=False))
    ended = sa.select(acts.c.order_number).where(acts.c.state.in_(_ENDS))
    paid = sa.select(acts.c.order_number).where(acts.c.state == OrderState.PAID)
    connection.execute(
        table.delete().where(sa.or_(table.c.number.not_in(paid), table.c.number.in_(ended)))
    )
    listed = [order.number for order in orders.orders]
    for number in listed:
        connection.execute(table.delete().where(table.c.number == number))
    _insert_all(connection, table, map(_order_row, orders.orders))
    connection.execute(schema.outlet_state.update().values(orders_version=orders.version))


def put_member_notes(connection: sa.Connection, notes: MemberNotes) -> None:
    """What changed about members, or all of it. Raises StaleFeed for a change of what is not here."""
    table = schema.member_notes
    state = schema.outlet_state
    here = connection.execute(sa.select(state.c.members_version)).scalar_one()
    if notes.since not in (0, here):
        raise StaleFeed(detail=N_("its notes about members go on from others than those here"))
    if notes.since == 0:
        connection.execute(table.delete())
    rows = (
        {
            "member_number": note.member_number,
            "member_class": note.member_class,
            "photo": note.photo,
        }
        for note in notes.notes
    )
    _insert_all(connection, table, rows, or_replace=True)
    named = sa.select(table.c.photo).where(table.c.photo.is_not(None))
    connection.execute(schema.photos.delete().where(schema.photos.c.hash.not_in(named)))
    connection.execute(state.update().values(members_version=notes.version))


def put_pins(connection: sa.Connection, locked: Iterable[bytes], pin_above: Rupiah) -> None:
    """Above which amount a sale needs a PIN, and the cards of which none is tried.

    A lock of this till's own ends if the server, which has heard of it, does not list the card.
    """
    tries, table = schema.card_pin_tries, schema.pins_locked
    connection.execute(table.delete())
    rows = [{"card_uid": uid} for uid in locked]
    if rows:
        connection.execute(table.insert().prefix_with("OR IGNORE"), rows)
    heard = sa.select(schema.outlet_state.c.records_acknowledged).scalar_subquery()
    connection.execute(
        tries.delete().where(
            tries.c.lock_record <= heard, tries.c.card_uid.not_in(sa.select(table.c.card_uid))
        )
    )
    connection.execute(schema.outlet_state.update().values(pin_above_rupiah=pin_above.amount))


# What was done


def add_record(connection: sa.Connection, record: TillRecord) -> int:
    """Have the central server hear of it; the record's number."""
    table = schema.records
    last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0)))
    number: int = last.scalar_one() + 1
    connection.execute(table.insert().values(number=number, encoded=encode_record(record)))
    return number


def add_order_act(connection: sa.Connection, act: OrderRecord) -> None:
    connection.execute(
        schema.order_acts.insert().values(
            record=add_record(connection, act),
            order_number=act.order,
            state=act.state,
            sale=act.sale,
            short=encode([[item, quantity] for item, quantity in act.short]),
            by=act.by,
            unix_seconds=act.unix_seconds,
        )
    )


def mark_paid(connection: sa.Connection, sale: int, by: str, unix_seconds: int) -> None:
    """The order that sale number `sale` was asked for, if any: it is paid, whatever else is known."""
    attempts, requests, acts = schema.sale_attempts, schema.sale_requests, schema.order_acts
    row = connection.execute(
        sa.select(requests.c.order_number, requests.c.short)
        .join(attempts, attempts.c.request == requests.c.id)
        .where(attempts.c.sequence == sale, requests.c.order_number.is_not(None))
    ).one_or_none()
    if row is None:
        return
    paid_before = sa.select(acts.c.record).where(
        acts.c.order_number == row.order_number, acts.c.state == OrderState.PAID
    )
    if connection.execute(paid_before).first() is None:
        add_order_act(
            connection,
            OrderRecord(
                order=row.order_number,
                state=OrderState.PAID,
                sale=sale,
                short=short_from_bytes(row.short),
                by=by,
                unix_seconds=unix_seconds,
            ),
        )


# Rows and what they stand for


def _item_row(item: CatalogueItem) -> dict[str, object]:
    return {
        "code": item.code,
        "name": item.name,
        "folded": f"{item.code}\n{item.name}\n{item.category}".casefold(),
        "category": item.category,
        "price_rupiah": item.price.amount,
    }


def _order_row(order: MemberOrder) -> dict[str, object]:
    lines: list[CborValue] = [
        [line.item, line.name, line.quantity, line.unit_price.amount] for line in order.lines
    ]
    return {
        "number": order.number,
        "member_number": order.member_number,
        "holder": order.holder,
        "placed_unix_seconds": order.placed_unix_seconds,
        "pick_up_on": order.pick_up_on.isoformat(),
        "lines": encode(lines),
        "note": order.note,
        "is_listed": True,
    }


def order_lines_from_bytes(data: bytes) -> tuple[OrderLine, ...]:
    """Raises LedgerUnusable."""
    return tuple(
        OrderLine(item=item, name=name, quantity=quantity, unit_price=Rupiah(price))
        for item, name, quantity, price in _rows(data, _BAD_ORDER)
    )


def short_from_bytes(data: bytes) -> tuple[tuple[str, int], ...]:
    """(item code, how many were missing). Raises LedgerUnusable."""
    return tuple((item, quantity) for item, quantity in _rows(data, _BAD_ORDER))


def goods_from_bytes(data: bytes) -> tuple[GoodsLine, ...]:
    """Raises LedgerUnusable."""
    try:
        return goods_from_cbor(_rows(data, _BAD_GOODS))
    except MalformedMessage as error:
        raise LedgerUnusable(detail=_BAD_GOODS) from error


def _rows(data: bytes, what: str) -> list[Any]:
    """A list that this ledger wrote itself."""
    try:
        rows = decode(data, size_max=max(VOUCHER_SIZE_MAX, _LINES_SIZE_MAX))
    except MalformedMessage as error:
        raise LedgerUnusable(detail=what) from error
    if not isinstance(rows, list):
        raise LedgerUnusable(detail=what)
    return rows


def _insert_all(
    connection: sa.Connection,
    table: sa.Table,
    rows: Iterable[Mapping[str, object]],
    *,
    or_replace: bool = False,
) -> None:
    """By the driver itself: twenty thousand rows at a time, while a sale may wait to write its own."""
    every = [dict(row) for row in rows]
    if every:
        names = list(every[0])
        verb = "INSERT OR REPLACE" if or_replace else "INSERT"
        places = ", ".join(f":{name}" for name in names)
        connection.exec_driver_sql(
            f"{verb} INTO {table.name} ({', '.join(names)}) VALUES ({places})", every
        )
