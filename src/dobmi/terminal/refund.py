"""Giving money of an own paid sale back: a voucher, and no card.

A till holds no key that credits a card, so the money comes to it later, from the central server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import is_plain
from dobmi.sync.outlet import StaffMember
from dobmi.sync.voucher import REASON_LENGTH_MAX, TEXT_LENGTH_MAX, GoodsLine
from dobmi.terminal.errors import (
    BadRefund,
    BadRefundGoods,
    NoSuchSale,
    RefundAmount,
    RefundOfDoubt,
    SaleNotPaid,
    SupervisorNeeded,
)
from dobmi.terminal.ledger import IntentRow, Ledger, SaleState
from dobmi.terminal.staff import has_staff, require_supervisor


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundableLine:
    """Goods line number `index` (from 0) of a sale, and what of it has not been given back."""

    index: int
    line: GoodsLine
    left: int

    def part(self, quantity: int) -> GoodsLine:
        """So many of what is left. Parts of a discount add up to it, whatever the parts are.

        Raises BadRefundGoods for none, or for more than is left.
        """
        if not 0 < quantity <= self.left:
            raise BadRefundGoods(name=self.line.name)
        before = self.line.quantity - self.left
        discount = _discount_on(self.line, before + quantity) - _discount_on(self.line, before)
        return GoodsLine(self.line.name, quantity, self.line.unit_price, Rupiah(discount))


def _discount_on(line: GoodsLine, quantity: int) -> int:
    """The line's discount on the first so many of it, in whole rupiah."""
    return line.discount.amount * quantity // line.quantity


def refundable(ledger: Ledger, sale: int) -> tuple[RefundableLine, ...]:
    """The goods of a sale and what of each is left; refunds of amounts alone take none away.

    Raises NoSuchSale.
    """
    intent = ledger.intent(sale)
    if intent is None:
        raise NoSuchSale(sequence=sale)
    left = [line.quantity for line in intent.goods]
    for voucher in ledger.refunds_of(sale):
        for given_back in voucher.goods:
            _take_away(given_back, intent.goods, left)
    return tuple(
        RefundableLine(index=index, line=line, left=left[index])
        for index, line in enumerate(intent.goods)
    )


def goods_of_lines(
    ledger: Ledger, sale: int, quantities: Mapping[int, int]
) -> tuple[GoodsLine, ...]:
    """What to give back of goods lines of a sale, by index (from 0) and how many of it.

    The refund is what they come to. Raises NoSuchSale, BadRefundGoods.
    """
    lines = refundable(ledger, sale)
    if not quantities or any(not 0 <= index < len(lines) for index in quantities):
        raise BadRefundGoods(name="")
    return tuple(lines[index].part(quantities[index]) for index in sorted(quantities))


def _take_away(given_back: GoodsLine, goods: tuple[GoodsLine, ...], left: list[int]) -> int:
    """From the lines of that name and price, the first first; how many were not there."""
    missing = given_back.quantity
    for index, line in enumerate(goods):
        if (line.name, line.unit_price) == (given_back.name, given_back.unit_price):
            taken = min(missing, left[index])
            left[index] -= taken
            missing -= taken
    return missing


def check_refund(
    ledger: Ledger,
    sale: int,
    amount: Rupiah | None,
    *,
    reason: str,
    supervisor: StaffMember | str,
    goods: tuple[GoodsLine, ...],
) -> tuple[IntentRow, Rupiah]:
    """The sale, and the amount to give back: all that is left of it where `amount` is None.

    `supervisor`, for a sale that is not of the open shift, is who has logged in for it; a name alone
    does where nobody is listed. Raises BadRefund, NoSuchSale, SaleNotPaid, RefundOfDoubt,
    RefundAmount, BadRefundGoods, SupervisorNeeded, NotASupervisor.
    """
    name = supervisor_name(supervisor)
    plain = is_plain(reason + name)
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX or len(name) > TEXT_LENGTH_MAX or not plain:
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
    if goods:
        _check_goods(ledger, sale, goods, given_back)
    _check_supervisor(ledger, intent, supervisor)
    return intent, given_back


def _check_goods(
    ledger: Ledger, sale: int, goods: tuple[GoodsLine, ...], given_back: Rupiah
) -> None:
    if sum((line.amount for line in goods), ZERO) != given_back:
        raise BadRefund
    lines = refundable(ledger, sale)
    left = [one.left for one in lines]
    for each in goods:
        if _take_away(each, tuple(one.line for one in lines), left):
            raise BadRefundGoods(name=each.name)


def _check_supervisor(ledger: Ledger, intent: IntentRow, supervisor: StaffMember | str) -> None:
    """A name that nobody has proved to be theirs is never written where the staff is listed."""
    if isinstance(supervisor, StaffMember):
        require_supervisor(supervisor)
        return
    shift = ledger.last_shift()
    is_of_open_shift = shift is not None and shift.is_open and shift.number == intent.shift
    is_named = bool(supervisor.strip())
    if (is_named and has_staff(ledger)) or not (is_named or is_of_open_shift):
        raise SupervisorNeeded(sequence=intent.sequence, shift=intent.shift)


def supervisor_name(supervisor: StaffMember | str) -> str:
    """As the voucher says it."""
    return supervisor.name if isinstance(supervisor, StaffMember) else supervisor
