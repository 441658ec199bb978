"""What members ordered of an outlet: taken from a file, told to its tills until they are done with it.

What a till does with an order comes as a record (`till_records`) and stays as it came, also if two
tills did the same: the second sale of one order is a finding.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from dobmi.central.csv_file import Line, read_csv, wrong_line
from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import FileRefused
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.outlets import note_change, version_of
from dobmi.central.posting_rules import OWNERS
from dobmi.central.schema import (
    OutletPart,
    member_order_lines,
    member_order_states,
    member_orders,
    members,
    sellers,
)
from dobmi.central.seller_accounts import seller_number
from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import encode, is_plain
from dobmi.sync.outlet import (
    LINES_MAX,
    NOTE_LENGTH_MAX,
    ORDERS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    TEXT_LENGTH_MAX,
    MemberOrder,
    OrderLine,
    OutletOrders,
    orders_to_cbor,
)
from dobmi.sync.records import OrderRecord, OrderState
from dobmi.wib import day_number, days_since_1970

PAID_TWICE: Final = "order-paid-twice"
BYTES_MAX: Final = 3 * 1024 * 1024
"""Of an outlet's open orders as the feed has them."""
FILE_LINES_MAX: Final = 200_000
_AT_A_TIME: Final = 500
_HEADINGS: Final = {
    "order": "order", "pesanan": "order",
    "member": "member", "anggota": "member", "nomor_anggota": "member",
    "pick_up_on": "day", "ambil": "day",
    "item": "item", "kode": "item",
    "name": "name", "nama": "name",
    "quantity": "quantity", "jumlah": "quantity",
    "price": "price", "harga": "price",
    "note": "note", "catatan": "note",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order as the file has it, from its first line on."""

    line: int
    number: int
    member: int
    pick_up_on: date
    lines: tuple[OrderLine, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Taken:
    """How many orders are new, and how many an earlier run had taken already."""

    taken: int
    already: int


@dataclass(frozen=True, slots=True)
class OrderStep:
    """What a till says that it did with an order. `sale`: the till's voucher, if it was paid."""

    state: OrderState
    terminal_id: int
    sale: int | None
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class Listed:
    """An order with what became of it, oldest step first."""

    seller: str
    order: MemberOrder
    is_open: bool
    steps: tuple[OrderStep, ...]

    @property
    def total(self) -> Rupiah:
        return sum((line.unit_price * line.quantity for line in self.order.lines), ZERO)


def parse_orders(text: str) -> list[Ordered]:
    """A CSV file of order lines: `order,member,pick_up_on,item,name,quantity,price`.

    Or `pesanan;anggota;ambil;kode;nama;jumlah;harga`; a column `note` (`catatan`) may be there. A
    day is 2026-11-30; all lines of an order have the same member, day and note. Raises FileRefused
    with every bad line.
    """
    lines, problems = read_csv(
        text,
        _HEADINGS,
        {"order", "member", "day", "item", "name", "quantity", "price"},
        example="order,member,pick_up_on,item,name,quantity,price,note",
        lines_max=FILE_LINES_MAX,
    )
    heads: dict[int, tuple[int, int, date, str]] = {}
    wanted: dict[int, list[OrderLine]] = defaultdict(list)
    for line in lines:
        found = len(problems)
        number = line.number_in("order", (1 << 63) - 1, problems)
        head = (line.number, *_head(line, problems))
        ordered = _order_line(line, problems)
        if len(problems) > found or ordered is None:
            continue
        first = heads.setdefault(number, head)
        if first[1:] != head[1:]:
            text = N_("order {order} has another member, day or note in line {before}")
            problems.append(line.wrong(text, order=number, before=first[0]))
        if any(one.item == ordered.item for one in wanted[number]):
            problems.append(line.wrong(N_("order {order} has this item already"), order=number))
        elif len(wanted[number]) >= LINES_MAX:
            text = N_("order {order} has more than {most} lines")
            problems.append(line.wrong(text, order=number, most=LINES_MAX))
        else:
            wanted[number].append(ordered)
    if problems:
        raise FileRefused(problems)
    return [
        Ordered(
            line=line,
            number=number,
            member=member,
            pick_up_on=day,
            lines=tuple(wanted[number]),
            note=note,
        )
        for number, (line, member, day, note) in heads.items()
    ]


def import_orders(database: Database, orders: Sequence[Ordered], seller: str, now: int) -> Taken:
    """Take the orders for the seller's tills to hand out, all or none; those known stay as they are.

    Raises FileRefused: a member is not known, an order is known otherwise, or there are too many
    open ones. UnknownSeller.
    """

    def take(connection: Connection) -> Taken:
        seller_id = seller_number(connection, seller)
        note_change(connection, seller_id, OutletPart.ORDERS)
        known = {
            found.order.number: found.order
            for found in _listed(connection, seller_id, [one.number for one in orders])
        }
        names = _names(connection, [one.member for one in orders])
        problems: list[Phrase] = []
        new: list[Ordered] = []
        for one in orders:
            before = known.get(one.number)
            if before is None:
                new.append(one)
                if one.member not in names:
                    text = N_("member {member} is not known")
                    problems.append(wrong_line(one.line, text, member=one.member))
            elif (before.member_number, before.pick_up_on, before.note, set(before.lines)) != (
                one.member,
                one.pick_up_on,
                one.note,
                set(one.lines),
            ):
                text = N_("order {order} was taken before, and otherwise")
                problems.append(wrong_line(one.line, text, order=one.number))
        if problems:
            raise FileRefused(problems)
        _insert(connection, seller_id, new, now)
        _refuse_too_many(connection, seller_id, orders[-1].line if orders else 1)
        return Taken(len(new), len(orders) - len(new))

    return database.write_again(take)


def orders_of(connection: Connection, seller_id: int) -> OutletOrders:
    """What this seller's tills are told."""
    found = _listed(connection, seller_id, None)
    return OutletOrders(
        version=version_of(connection, seller_id, OutletPart.ORDERS),
        orders=tuple(one.order for one in found),
    )


def order_list(
    database: Database, seller: str | None, *, is_open: bool | None = None
) -> list[Listed]:
    """Orders with what became of them, by seller and number. Raises UnknownSeller."""
    with database.read() as connection:
        wanted = select(sellers.c.id).order_by(sellers.c.name)
        if seller is not None:
            wanted = wanted.where(sellers.c.id == seller_number(connection, seller))
        return [
            one
            for seller_id in connection.execute(wanted).scalars().all()
            for one in _listed(connection, seller_id, None, only_open=is_open is True)
            if is_open in {None, one.is_open}
        ]


def note_order_records(
    connection: Connection,
    terminal_id: int,
    seller_id: int,
    records: Sequence[tuple[int, OrderRecord]],
    now: int,
) -> None:
    """What a till says, by the records' numbers, that it did with orders of its seller's."""
    if not records:
        return
    note_change(connection, seller_id, OutletPart.ORDERS)
    rows = [
        {
            "seller_id": seller_id,
            "number": record.order,
            "terminal_id": terminal_id,
            "record_number": number,
            "state": record.state.value,
            "sale_sequence": record.sale,
            "done_by": record.by,
            "at": record.unix_seconds,
        }
        for number, record in records
    ]
    insert_rows(connection, member_order_states, rows)
    done = {record.order for _, record in records if record.state is not OrderState.PAID}
    for some in _parts(sorted(done)):
        connection.execute(
            update(member_orders)
            .where(member_orders.c.seller_id == seller_id, member_orders.c.number.in_(some))
            .values(is_open=False)
        )
    paid = {record.order for _, record in records if record.state is OrderState.PAID}
    note_findings(connection, _paid_twice(connection, seller_id, sorted(paid), now))


def _paid_twice(
    connection: Connection, seller_id: int, numbers: Sequence[int], now: int
) -> list[dict[str, object]]:
    found = []
    for number, steps in _steps(connection, seller_id, numbers).items():
        sales = {(step.terminal_id, step.sale) for step in steps if step.sale is not None}
        if len(sales) > 1:
            named = ", ".join(f"{terminal}/{sale}" for terminal, sale in sorted(sales))
            found.append(
                anomaly_row(
                    PAID_TWICE,
                    f"order {seller_id}/{number}",
                    at=now,
                    detail=f"order {number} was paid by sales {named}",
                    terminal_id=steps[-1].terminal_id,
                )
            )
    return found


def _head(line: Line, problems: list[Phrase]) -> tuple[int, date, str]:
    member = line.number_in("member", OWNERS - 1, problems)
    day = date(1970, 1, 1)
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(line.cells["day"])
    if day.year < 2000:
        text = N_("{text!r} is no day, as 2026-11-30")
        problems.append(line.wrong(text, text=line.cells["day"][:40]))
    note = line.cells.get("note", "")
    if len(note) > NOTE_LENGTH_MAX or not is_plain(note):
        text = N_("the note: at most {most} characters, and no control characters")
        problems.append(line.wrong(text, most=NOTE_LENGTH_MAX))
    return member, day, note


def _order_line(line: Line, problems: list[Phrase]) -> OrderLine | None:
    found = len(problems)
    item = line.text("item", TEXT_LENGTH_MAX, problems)
    name = line.text("name", TEXT_LENGTH_MAX, problems)
    quantity = line.number_in("quantity", QUANTITY_MAX, problems)
    price = Rupiah(-1)
    with contextlib.suppress(ValueError):
        price = Rupiah.parse(line.cells["price"][:40])
    if not ZERO <= price <= PRICE_MAX:
        text = N_("{text!r} is no price in whole rupiah")
        problems.append(line.wrong(text, text=line.cells["price"][:40]))
    if len(problems) > found:
        return None
    return OrderLine(item=item, name=name, quantity=quantity, unit_price=price)


def _insert(connection: Connection, seller_id: int, new: Sequence[Ordered], now: int) -> None:
    orders, lines = [], []
    for one in new:
        key = {"seller_id": seller_id, "number": one.number}
        orders.append(
            {
                **key,
                "member_number": one.member,
                "placed_at": now,
                "pick_up_day": days_since_1970(one.pick_up_on),
                "note": one.note,
                "taken_at": now,
                "is_open": True,
            }
        )
        lines += [
            {
                **key,
                "line": place,
                "item": line.item,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price_rupiah": line.unit_price.amount,
            }
            for place, line in enumerate(one.lines, 1)
        ]
    insert_rows(connection, member_orders, orders)
    insert_rows(connection, member_order_lines, lines)
    # A till that was faster than the file: a record of an order that was not known then.
    done = [
        number
        for number, steps in _steps(connection, seller_id, [one.number for one in new]).items()
        if any(step.state is not OrderState.PAID for step in steps)
    ]
    for some in _parts(done):
        connection.execute(
            update(member_orders)
            .where(member_orders.c.seller_id == seller_id, member_orders.c.number.in_(some))
            .values(is_open=False)
        )


def _refuse_too_many(connection: Connection, seller_id: int, line: int) -> None:
    """Raises FileRefused."""
    still = [one.order for one in _listed(connection, seller_id, None)]
    size = 0
    if len(still) <= ORDERS_MAX:
        size = len(encode(orders_to_cbor(OutletOrders(version=0, orders=tuple(still)))))
    if len(still) > ORDERS_MAX or size > BYTES_MAX:
        text = N_("the outlet would have {count} open orders, more than a till can take")
        raise FileRefused([wrong_line(line, text, count=len(still))])


def _listed(
    connection: Connection,
    seller_id: int,
    numbers: Sequence[int] | None,
    *,
    only_open: bool = True,
) -> list[Listed]:
    """The seller's orders of these numbers, or (None) the open ones, or all; by number."""
    of = member_orders.c
    query = (
        select(member_orders, members.c.name.label("holder"), sellers.c.name.label("seller"))
        .join(members, members.c.member_number == of.member_number)
        .join(sellers, sellers.c.id == of.seller_id)
        .where(of.seller_id == seller_id)
        .order_by(of.number)
    )
    rows: list[Row[Any]] = []
    if numbers is None:
        rows += connection.execute(query.where(of.is_open) if only_open else query)
    else:
        for some in _parts(sorted(numbers)):
            rows += connection.execute(query.where(of.number.in_(some)))
    found = [row.number for row in rows]
    lines = _lines(connection, seller_id, found)
    steps = _steps(connection, seller_id, found)
    return [
        Listed(
            seller=row.seller,
            order=MemberOrder(
                number=row.number,
                member_number=row.member_number,
                holder=row.holder,
                placed_unix_seconds=row.placed_at,
                pick_up_on=day_number(row.pick_up_day),
                lines=tuple(lines[row.number]),
                note=row.note,
                paid=any(step.state is OrderState.PAID for step in steps.get(row.number, ())),
            ),
            is_open=row.is_open,
            steps=tuple(steps.get(row.number, ())),
        )
        for row in rows
    ]


def _lines(
    connection: Connection, seller_id: int, numbers: Sequence[int]
) -> Mapping[int, list[OrderLine]]:
    found: dict[int, list[OrderLine]] = defaultdict(list)
    of = member_order_lines.c
    for some in _parts(numbers):
        for row in connection.execute(
            select(member_order_lines)
            .where(of.seller_id == seller_id, of.number.in_(some))
            .order_by(of.number, of.line)
        ):
            line = OrderLine(
                item=row.item,
                name=row.name,
                quantity=row.quantity,
                unit_price=Rupiah(row.unit_price_rupiah),
            )
            found[row.number].append(line)
    return found


def _steps(
    connection: Connection, seller_id: int, numbers: Sequence[int]
) -> dict[int, list[OrderStep]]:
    found: dict[int, list[OrderStep]] = {}
    of = member_order_states.c
    for some in _parts(numbers):
        for row in connection.execute(
            select(member_order_states)
            .where(of.seller_id == seller_id, of.number.in_(some))
            .order_by(of.number, of.at, of.terminal_id, of.record_number)
        ):
            step = OrderStep(
                state=OrderState(row.state),
                terminal_id=row.terminal_id,
                sale=row.sale_sequence,
                by=row.done_by,
                at=row.at,
            )
            found.setdefault(row.number, []).append(step)
    return found


def _names(connection: Connection, numbers: Iterable[int]) -> Mapping[int, str]:
    found: dict[int, str] = {}
    for some in _parts(sorted(set(numbers))):
        for row in connection.execute(select(members).where(members.c.member_number.in_(some))):
            found[row.member_number] = row.name
    return found


def _parts(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[start : start + _AT_A_TIME] for start in range(0, len(numbers), _AT_A_TIME))
