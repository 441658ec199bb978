"""Asked twice, charged once: a number made by who asks (a page) is bound to what it asks for.

It is on disk before a card is asked, and the intent that comes of it is tied to it in the intent's
own transaction. Asked again, after a lost answer or a second click, it gives what the first came to;
only if that is known not to have been paid may the same number be tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dobmi.money import Rupiah
from dobmi.sync.cbor import encode
from dobmi.sync.voucher import RefundVoucher, decode_voucher, goods_to_cbor
from dobmi.terminal import outlet, picking, schema
from dobmi.terminal.errors import BadRequestId, RequestDiffers
from dobmi.terminal.ledger import Ledger, SaleState
from dobmi.terminal.purchase import Purchase

ID_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleRequest:
    """`sequence` is the newest sale that came of it, None while there is none."""

    id: str
    purchase: Purchase
    member_class: str
    order: int | None
    unix_seconds: int
    sequence: int | None


def bind(
    ledger: Ledger,
    id_: str,
    purchase: Purchase,
    *,
    member_class: str = "",
    order: int | None = None,
    now: int,
) -> SaleRequest:
    """Bind it, or find it as it was bound before.

    Raises RequestDiffers if that was to something else, BadRequestId, and for an order that cannot
    be paid now NoSuchOrder, OrderPaid, OrderEnded, OrderInDoubt.
    """
    check_id(id_)
    found = find(ledger, id_)
    if found is not None:
        asked = (purchase, member_class, order)
        if (found.purchase, found.member_class, found.order) != asked:
            raise RequestDiffers
        return found
    short: tuple[tuple[str, int], ...] = ()
    if order is not None:
        picking.check_payable(ledger, order)
        short = picking.shortage(picking.find_order(ledger, order).order, purchase.goods)
    with ledger.begin() as connection:
        connection.execute(
            schema.sale_requests.insert().values(
                id=id_,
                amount_rupiah=purchase.amount.amount,
                goods=encode(goods_to_cbor(purchase.goods)),
                member_class=member_class,
                order_number=order,
                short=encode([[item, quantity] for item, quantity in short]),
                unix_seconds=now,
            )
        )
    return SaleRequest(
        id=id_,
        purchase=purchase,
        member_class=member_class,
        order=order,
        unix_seconds=now,
        sequence=None,
    )


def find(ledger: Ledger, id_: str) -> SaleRequest | None:
    requests, attempts = schema.sale_requests, schema.sale_attempts
    newest = sa.select(sa.func.max(attempts.c.sequence)).where(attempts.c.request == id_)
    query = sa.select(requests, newest.scalar_subquery().label("sequence"))
    with ledger.connect() as connection:
        row = connection.execute(query.where(requests.c.id == id_)).one_or_none()
    return None if row is None else _request(row)


def state(ledger: Ledger, request: SaleRequest) -> SaleState | None:
    """What its sale came to: None while there is none. Only then, and after NOT_PAID, may a card be
    asked for it.
    """
    return None if request.sequence is None else ledger.sale_state(request.sequence)


def refund_of(ledger: Ledger, id_: str) -> RefundVoucher | None:
    """The refund that was asked for under this number before."""
    requests, vouchers = schema.refund_requests, schema.vouchers
    query = (
        sa.select(vouchers.c.encoded)
        .join(requests, requests.c.sequence == vouchers.c.sequence)
        .where(requests.c.id == id_)
    )
    with ledger.connect() as connection:
        encoded = connection.execute(query).scalar()
    voucher = None if encoded is None else decode_voucher(encoded)
    return voucher if isinstance(voucher, RefundVoucher) else None


def check_id(id_: str) -> None:
    """Raises BadRequestId."""
    if not (0 < len(id_) <= ID_LENGTH_MAX and id_.isascii() and id_.isprintable()):
        raise BadRequestId


def _request(row: sa.Row[Any]) -> SaleRequest:
    return SaleRequest(
        id=row.id,
        purchase=Purchase(Rupiah(row.amount_rupiah), outlet.goods_from_bytes(row.goods)),
        member_class=row.member_class,
        order=row.order_number,
        unix_seconds=row.unix_seconds,
        sequence=row.sequence,
    )
