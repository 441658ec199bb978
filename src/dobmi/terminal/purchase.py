"""What the cashier asks for: an amount, with or without goods lines. Checked before any card comes."""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import Limits
from dobmi.sync.voucher import (
    EVIDENCE_SIZE_MAX,
    HASH_LENGTH,
    TEXT_LENGTH_MAX,
    GoodsLine,
    Intent,
    Link,
    SaleVoucher,
    encode_voucher,
)
from dobmi.terminal.errors import AmountNotPositive, AmountOverLimit, BadCart, NotAnAmount

AMOUNT_MAX = Rupiah((1 << 31) - 1)  # what a value file holds
# More digits than any sale has; thousands of them are more than Python turns into a number.
_DIGITS_MAX = 20
_TEXT_OF_AN_AMOUNT_MAX = 2 * _DIGITS_MAX


@dataclass(frozen=True, slots=True)
class Purchase:
    amount: Rupiah
    goods: tuple[GoodsLine, ...] = ()


def parse_amount(text: str) -> Rupiah:
    """`12500`, `12.500` or `Rp 12.500`. Raises NotAnAmount."""
    if len(text) > _TEXT_OF_AN_AMOUNT_MAX:
        raise NotAnAmount(text=text[:40])
    try:
        return Rupiah.parse(text)
    except ValueError as error:
        raise NotAnAmount(text=text[:40]) from error


def parse_goods_line(text: str) -> GoodsLine:
    """`Beras 5 kg=75000` or, three pieces of it, `3 x Beras 5 kg=75000`. Raises BadCart, NotAnAmount."""
    name, equals, price = text.rpartition("=")
    count, x, rest = name.partition(" x ")
    quantity = 1
    if x and count.strip().isdecimal():
        if len(count) > _DIGITS_MAX:
            raise BadCart(detail=N_("a name, a quantity or a price in it does not fit a voucher"))
        quantity, name = int(count), rest
    if not equals or not name.strip():
        raise BadCart(detail=Phrase(N_("{text!r} is not NAME=PRICE"), text=text[:40]))
    return GoodsLine(name.strip(), quantity, parse_amount(price))


def check_purchase(
    purchase: Purchase, limits: Limits, issuer: str, seller: str, cashier: str
) -> None:
    """Raises AmountNotPositive, AmountOverLimit, BadCart."""
    if purchase.amount <= ZERO:
        raise AmountNotPositive(amount=purchase.amount)
    limit = min(limits.sale_max, AMOUNT_MAX)
    if purchase.amount > limit:
        raise AmountOverLimit(amount=purchase.amount, limit=limit)
    total = sum((line.amount for line in purchase.goods), ZERO)
    if purchase.goods and total != purchase.amount:
        text = N_("the goods come to {total}, not {amount}")
        raise BadCart(detail=Phrase(text, total=total, amount=purchase.amount))
    if len(cashier) > TEXT_LENGTH_MAX:
        text = N_("a cashier's name has at most {length} characters")
        raise BadCart(detail=Phrase(text, length=TEXT_LENGTH_MAX))
    # The longest voucher that this purchase can become: what cannot be written must not be debited.
    longest = SaleVoucher(
        link=Link(
            terminal_id=(1 << 32) - 1,
            sequence=(1 << 63) - 1,
            previous_hash=bytes(HASH_LENGTH),
            unix_seconds=(1 << 63) - 1,
            shift=(1 << 32) - 1,
            cashier=cashier,
        ),
        intent=Intent(
            card_uid=bytes(10),
            amount=purchase.amount,
            evidence=bytes(EVIDENCE_SIZE_MAX),
            issuer=issuer,
            seller=seller,
            goods=purchase.goods,
        ),
        card_counter=(1 << 32) - 1,
        card_mac=bytes(8),
    )
    try:
        encode_voucher(longest, bytes(32), lambda _: bytes(64))
    except (ValueError, TypeError) as error:
        raise BadCart(
            detail=N_("a name, a quantity or a price in it does not fit a voucher")
        ) from error
