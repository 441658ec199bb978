"""Giving money of an own paid sale back: a voucher, and no card.

A till holds no key that credits a card, so the money comes to it later, from the central server.
"""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import is_plain
from dobmi.sync.voucher import REASON_LENGTH_MAX, TEXT_LENGTH_MAX, GoodsLine
from dobmi.terminal.errors import (
    BadRefund,
    NoSuchSale,
    RefundAmount,
    RefundOfDoubt,
    SaleNotPaid,
    SupervisorNeeded,
)
from dobmi.terminal.ledger import IntentRow, Ledger, SaleState


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundResult:
    """A refund that is written down. `sequence` is the refund's own, `refunds` the sale's.

    `refunded_total` is what of the sale has been given back by now. `already_written`: it was
    written before, and the till stopped before that was shown; nothing was added now.
    """

    sequence: int
    voucher_hash: bytes
    refunds: int
    card_uid: bytes
    member_number: int
    holder: str
    amount: Rupiah
    sale_amount: Rupiah
    refunded_total: Rupiah
    reason: str
    supervisor: str
    unix_seconds: int
    already_written: bool = False


def check_refund(
    ledger: Ledger,
    sale: int,
    amount: Rupiah | None,
    *,
    reason: str,
    supervisor: str,
    goods: tuple[GoodsLine, ...],
) -> tuple[IntentRow, Rupiah]:
    """The sale, and the amount to give back: all that is left of it where `amount` is None.

    Raises BadRefund, NoSuchSale, SaleNotPaid, RefundOfDoubt, RefundAmount, SupervisorNeeded.
    """
    plain = is_plain(reason + supervisor)
    if (
        not 0 < len(reason.strip()) <= REASON_LENGTH_MAX
        or len(supervisor) > TEXT_LENGTH_MAX
        or not plain
    ):
        raise BadRefund
    intent = ledger.intent(sale)
    if intent is None:
        raise NoSuchSale(sequence=sale)
    match ledger.sale_state(sale):
        case SaleState.IN_DOUBT:
            raise RefundOfDoubt(sequence=sale, holder=intent.holder)
        case SaleState.NOT_PAID:
            raise SaleNotPaid(sequence=sale)
        case SaleState.PAID:
            left = intent.amount - ledger.refunded(sale)
    given_back = left if amount is None else amount
    if not ZERO < given_back <= left:
        raise RefundAmount(amount=given_back, sequence=sale, sale=intent.amount, left=left)
    if goods and sum((line.amount for line in goods), ZERO) != given_back:
        raise BadRefund
    shift = ledger.last_shift()
    is_of_open_shift = (
        shift is not None and shift.closed_unix_seconds is None and shift.number == intent.shift
    )
    if not is_of_open_shift and not supervisor.strip():
        raise SupervisorNeeded(sequence=sale, shift=intent.shift)
    return intent, given_back
