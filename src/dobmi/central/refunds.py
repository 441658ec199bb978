"""Refunds: from the outlet to a credit that waits for the card the member uses now.

A refund voucher is believed if it is of an own sale and within it (`may_refund`, pure). It is
carried out when that sale is posted: at once, or when the doubt about it is settled as paid, and
when the member has a card that is in force. Doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, select, update

from dobmi.central.database import insert_rows, whole_sum
from dobmi.central.journal import post
from dobmi.central.orders import append_credit, card_in_force
from dobmi.central.posting_rules import Kind
from dobmi.central.schema import (
    CreditSource,
    DoubtState,
    RefundState,
    card_transactions,
    in_doubt,
    refunds,
)
from dobmi.central.server import Central
from dobmi.central.verification import Noted, Reason, Refused
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import RefundVoucher


@dataclass(slots=True)
class Sold:
    """A till's sale as it is known here, posted or in doubt, and what was given back of it."""

    card_uid: bytes
    amount: Rupiah
    refunded: Rupiah = ZERO


def may_refund(voucher: RefundVoucher, sold: Sold | None) -> Noted | Refused:
    """Whether the refund is of this sale and within it."""
    if sold is None:
        return Refused(voucher, Reason.REFUNDS_NOTHING)
    if sold.card_uid != voucher.card_uid:
        return Refused(
            voucher, Reason.CLAIM_DIFFERS, f"the sale is of card {sold.card_uid.hex().upper()}"
        )
    total = sold.refunded + voucher.amount
    if total > sold.amount:
        return Refused(voucher, Reason.REFUND_TOO_MUCH, f"{total} of a sale of {sold.amount}")
    return Noted(voucher)


def sales_to_refund(
    connection: Connection, terminal_id: int, sequences: Sequence[int]
) -> dict[int, Sold]:
    """The till's sales of these numbers that are on record, posted or in doubt."""
    found: dict[int, Sold] = {}
    for row in connection.execute(
        select(in_doubt.c.sequence, in_doubt.c.card_uid, in_doubt.c.amount_rupiah).where(
            in_doubt.c.terminal_id == terminal_id,
            in_doubt.c.sequence.in_(sequences),
        )
    ):
        found[row.sequence] = Sold(bytes(row.card_uid), Rupiah(row.amount_rupiah))
    for row in connection.execute(
        select(
            card_transactions.c.sequence,
            card_transactions.c.card_uid,
            card_transactions.c.amount_rupiah,
        ).where(
            card_transactions.c.terminal_id == terminal_id,
            card_transactions.c.sequence.in_(sequences),
        )
    ):
        found[row.sequence] = Sold(bytes(row.card_uid), Rupiah(row.amount_rupiah))
    for row in connection.execute(
        select(refunds.c.sale_sequence, whole_sum(refunds.c.amount_rupiah).label("total"))
        .where(refunds.c.terminal_id == terminal_id, refunds.c.sale_sequence.in_(sequences))
        .group_by(refunds.c.sale_sequence)
    ):
        found[row.sale_sequence].refunded = Rupiah(row.total)
    return found


def note_refunds(connection: Connection, vouchers: Sequence[RefundVoucher]) -> None:
    """Keep believed refunds, to be carried out by `order_refunds`."""
    rows = [
        {
            "terminal_id": voucher.link.terminal_id,
            "sequence": voucher.link.sequence,
            "sale_sequence": voucher.refunds,
            "card_uid": voucher.card_uid,
            "amount_rupiah": voucher.amount.amount,
            "reason": voucher.reason,
            "supervisor": voucher.supervisor,
            "at": voucher.link.unix_seconds,
            "state": RefundState.WAITING.value,
            "explanation": "",
            "credit_card_uid": None,
            "credit_sequence": None,
        }
        for voucher in vouchers
    ]
    insert_rows(connection, refunds, rows)


def order_refunds(connection: Connection, uid: bytes, now: int) -> list[Row[Any]]:
    """Carry out the refunds of the card's sales that can be; those newly found to be of none."""
    rows = connection.execute(
        select(refunds)
        .where(refunds.c.card_uid == uid, refunds.c.state != RefundState.ORDERED)
        .order_by(refunds.c.terminal_id, refunds.c.sequence)
        .with_for_update()
    ).all()
    refused = []
    for row in rows:
        state, explanation = _look_at_sale(connection, row)
        values: dict[str, object] = {"state": state.value, "explanation": explanation}
        if state is RefundState.ORDERED:
            target = card_in_force(connection, uid)
            if target is None:
                state = RefundState.WAITING
                values = {"state": state.value, "explanation": "the member has no card in force"}
            else:
                values |= _order(connection, row, target, now)
        if state is RefundState.REFUSED and row.state != RefundState.REFUSED:
            refused.append(row)
        if (state, values["explanation"]) != (row.state, row.explanation):
            connection.execute(update(refunds).where(_same(row)).values(values))
    return refused


def refund_list(central: Central) -> list[Row[Any]]:
    """All believed refunds, newest first, with what became of them."""
    with central.database.read() as connection:
        return list(connection.execute(select(refunds).order_by(refunds.c.at.desc())))


def _look_at_sale(connection: Connection, row: Row[Any]) -> tuple[RefundState, str]:
    """What the refund's sale allows: ORDERED if it is posted."""
    posted = connection.execute(
        select(card_transactions.c.counter).where(
            card_transactions.c.terminal_id == row.terminal_id,
            card_transactions.c.sequence == row.sale_sequence,
            card_transactions.c.card_uid == row.card_uid,
        )
    ).first()
    if posted is not None:
        return RefundState.ORDERED, ""
    doubt = connection.execute(
        select(in_doubt.c.state).where(
            in_doubt.c.terminal_id == row.terminal_id, in_doubt.c.sequence == row.sale_sequence
        )
    ).scalar_one()
    if doubt == DoubtState.NOT_PAID:
        return RefundState.REFUSED, "its sale was not paid"
    return RefundState.WAITING, f"its sale is {doubt}"


def _order(connection: Connection, row: Row[Any], target: bytes, now: int) -> dict[str, object]:
    """Outlet to in-flight, and the pending credit; what to keep of it."""
    amount = Rupiah(row.amount_rupiah)
    number = f"{row.terminal_id}/{row.sequence}"
    sequence = append_credit(
        connection,
        target,
        amount,
        CreditSource.REFUND,
        idempotency_key=f"dobmi:refund:{number}",
        ordered_by=row.terminal_id,
        now=now,
    )
    explanation = f"refund of sale {row.terminal_id}/{row.sale_sequence}"
    if target != row.card_uid:
        explanation += f", to the member's card {target.hex().upper()}"
    post(
        connection,
        Kind.REFUND,
        amount,
        card_uid=row.card_uid,
        to_card=target,
        terminal_id=row.terminal_id,
        sequence=row.sequence,
        at=now,
        explanation=explanation,
    )
    return {
        "explanation": explanation,
        "credit_card_uid": target,
        "credit_sequence": sequence,
    }


def _same(row: Row[Any]) -> Any:
    return and_(refunds.c.terminal_id == row.terminal_id, refunds.c.sequence == row.sequence)
