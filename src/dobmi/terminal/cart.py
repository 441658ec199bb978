"""The cart: items and plain amounts, quantities, prices by member class, discounts. Pure.

    cart = Cart().add_item(rice, 2).add_amount(Rupiah(5_000)).discount_all(Discount(percent=10))
    cart.total, cart.goods, cart.purchase()

What is shown is what is charged: `goods` are the lines of the voucher, with the discount on the
whole cart spread over them to the rupiah, and add up to `total`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue, decode, encode, is_plain
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.outlet import CatalogueItem, MemberOrder
from dobmi.sync.voucher import GOODS_LINES_MAX, TEXT_LENGTH_MAX, GoodsLine
from dobmi.terminal.errors import BadCart, LedgerUnusable
from dobmi.terminal.purchase import AMOUNT_MAX, Purchase

QUANTITY_MAX = 10_000
PLAIN_NAME = "Lain-lain"
"""What a plain amount is called in a voucher that has other goods too: it is in Indonesian."""
_PERCENT = 100
_CART_SIZE_MAX = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """A part in percent, and an amount on top of it; of less than that, all of it."""

    percent: int = 0
    amount: Rupiah = ZERO

    def __post_init__(self) -> None:
        if not (0 <= self.percent <= _PERCENT and ZERO <= self.amount <= AMOUNT_MAX):
            raise BadCart(detail=N_("a discount is 0 to 100 percent, or an amount above nought"))

    def of(self, total: Rupiah) -> Rupiah:
        """Whole rupiah, half of one and more counted as one; at most `total`."""
        part = (total.amount * self.percent * 2 + _PERCENT) // (2 * _PERCENT)
        return min(Rupiah(part) + self.amount, total)


NO_DISCOUNT = Discount()


@dataclass(frozen=True, slots=True, kw_only=True)
class CartLine:
    """`code` is empty for a plain amount, `name` too if it was not given one.

    `ordered`: how many the member ordered, in a line of an order; what is less is short.
    """

    name: str
    price: Rupiah
    quantity: int = 1
    code: str = ""
    class_prices: tuple[tuple[str, Rupiah], ...] = ()
    discount: Discount = NO_DISCOUNT
    ordered: int | None = None

    def __post_init__(self) -> None:
        lowest = 1 if self.ordered is None else 0
        if not lowest <= self.quantity <= QUANTITY_MAX:
            raise BadCart(detail=N_("a quantity is 1 to 10,000"))
        if self.price > AMOUNT_MAX:
            raise BadCart(detail=N_("it comes to more than a card can hold"))
        if self.price < ZERO or (not self.code and not self.price):
            raise BadCart(detail=N_("a price is above nought"))
        if len(self.name) > TEXT_LENGTH_MAX or not is_plain(self.name):
            raise BadCart(detail=N_("a name has at most 80 characters"))

    def unit_price(self, member_class: str) -> Rupiah:
        return dict(self.class_prices).get(member_class, self.price)

    @property
    def short(self) -> int:
        return 0 if self.ordered is None else max(0, self.ordered - self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """`member_class` is the one whose prices are shown; `order`: the order that it was opened from.

    Whatever changes it gives a new cart, or raises BadCart.
    """

    lines: tuple[CartLine, ...] = ()
    member_class: str = ""
    discount: Discount = NO_DISCOUNT
    order: int | None = None

    # What it comes to

    @property
    def goods(self) -> tuple[GoodsLine, ...]:
        """The voucher's lines: each with its own discount and its part of the cart's."""
        shown = [(line, self._line(line)) for line in self.lines if line.quantity]
        off = self.discount.of(_sum(goods.amount for _, goods in shown))
        parts = spread(off, [goods.amount for _, goods in shown])
        return tuple(
            replace(goods, discount=goods.discount + part)
            for (_, goods), part in zip(shown, parts, strict=True)
        )

    def line_amount(self, index: int) -> Rupiah:
        """Of a line with its own discount, before that on the whole cart."""
        return self._line(self.lines[index]).amount

    @property
    def subtotal(self) -> Rupiah:
        """Before that discount that is on the whole cart."""
        return _sum(self._line(line).amount for line in self.lines if line.quantity)

    @property
    def total(self) -> Rupiah:
        return self.subtotal - self.discount.of(self.subtotal)

    @property
    def count(self) -> int:
        """Pieces."""
        return sum(line.quantity for line in self.lines)

    @property
    def has_class_prices(self) -> bool:
        """Whether another member class would pay another price for anything in it."""
        return any(line.class_prices for line in self.lines)

    @property
    def short(self) -> tuple[tuple[str, int], ...]:
        """What is missing of the order: (item code, how many)."""
        return tuple((line.code, line.short) for line in self.lines if line.short)

    def purchase(self) -> Purchase:
        """What a card is asked to pay. Plain amounts without any names are one amount, no goods.

        Raises BadCart for one that is empty, or comes to nothing.
        """
        goods = self.goods
        total = _sum(line.amount for line in goods)
        if total <= ZERO:
            raise BadCart(detail=N_("neither an amount nor goods"))
        if total > AMOUNT_MAX:
            raise BadCart(detail=N_("it comes to more than a card can hold"))
        named = any(line.name or line.code for line in self.lines)
        if not named and not any(line.discount for line in goods):
            return Purchase(total)
        return Purchase(total, goods)

    # What changes it

    def add_item(self, item: CatalogueItem, quantity: int = 1) -> Cart:
        """One more line, or more of the line that has it already."""
        for index, line in enumerate(self.lines):
            if line.code == item.code:
                return self.set_quantity(index, line.quantity + quantity)
        return self._with(
            CartLine(
                name=item.name,
                price=item.price,
                quantity=quantity,
                code=item.code,
                class_prices=item.class_prices,
            )
        )

    def add_amount(self, amount: Rupiah, name: str = "", quantity: int = 1) -> Cart:
        return self._with(CartLine(name=name.strip(), price=amount, quantity=quantity))

    def set_quantity(self, index: int, quantity: int) -> Cart:
        """Nought takes the line out; a line of an order stays, all of it short."""
        line = self._at(index)
        if quantity == 0 and line.ordered is None:
            return self.remove(index)
        return self._put(index, replace(line, quantity=quantity))

    def remove(self, index: int) -> Cart:
        """A line of an order cannot be taken out: mark it short."""
        if self._at(index).ordered is not None:
            raise BadCart(detail=N_("what was ordered is marked short, not taken out"))
        return replace(self, lines=self.lines[:index] + self.lines[index + 1 :])

    def discount_line(self, index: int, discount: Discount) -> Cart:
        return self._put(index, replace(self._at(index), discount=discount))

    def discount_all(self, discount: Discount) -> Cart:
        return replace(self, discount=discount)

    def for_class(self, member_class: str) -> Cart:
        """The same at another class's prices."""
        return replace(self, member_class=member_class)

    def _with(self, line: CartLine) -> Cart:
        if len(self.lines) >= GOODS_LINES_MAX:
            raise BadCart(detail=N_("it has 200 lines already"))
        return replace(self, lines=(*self.lines, line))

    def _put(self, index: int, line: CartLine) -> Cart:
        return replace(self, lines=(*self.lines[:index], line, *self.lines[index + 1 :]))

    def _at(self, index: int) -> CartLine:
        if not 0 <= index < len(self.lines):
            raise BadCart(detail=N_("it has no such line"))
        return self.lines[index]

    def _line(self, line: CartLine) -> GoodsLine:
        unit_price = line.unit_price(self.member_class)
        return GoodsLine(
            line.name or PLAIN_NAME,
            line.quantity,
            unit_price,
            line.discount.of(unit_price * line.quantity),
        )


def cart_of_order(order: MemberOrder, member_class: str = "") -> Cart:
    """At the prices at which it was ordered."""
    return Cart(
        lines=tuple(
            CartLine(
                name=line.name,
                price=line.unit_price,
                quantity=line.quantity,
                code=line.item,
                ordered=line.quantity,
            )
            for line in order.lines
        ),
        member_class=member_class,
        order=order.number,
    )


def spread(total: Rupiah, over: Sequence[Rupiah]) -> tuple[Rupiah, ...]:
    """`total` in parts as `over` has them, exactly: each at most its own of `over`, none negative.

    `total` is at most what `over` comes to. The rupiah left by rounding down go to those that lost
    the most by it, the first of equal ones first.
    """
    whole = _sum(over).amount
    if not total:
        return tuple(ZERO for _ in over)
    assert ZERO < total <= Rupiah(whole)
    parts = [divmod(total.amount * one.amount, whole) for one in over]
    left = total.amount - sum(part for part, _ in parts)
    first = sorted(range(len(parts)), key=lambda index: -parts[index][1])[:left]
    return tuple(Rupiah(part + (index in first)) for index, (part, _) in enumerate(parts))


def cart_to_bytes(cart: Cart) -> bytes:
    lines: list[CborValue] = [
        [
            line.name,
            line.price.amount,
            line.quantity,
            line.code,
            [[name, price.amount] for name, price in line.class_prices],
            _discount_to_cbor(line.discount),
            line.ordered,
        ]
        for line in cart.lines
    ]
    return encode([1, lines, cart.member_class, _discount_to_cbor(cart.discount), cart.order])


def cart_from_bytes(data: bytes) -> Cart:
    """Raises LedgerUnusable."""
    try:
        match decode(data, size_max=_CART_SIZE_MAX):
            case [1, list(lines), str(member_class), discount, (int() | None) as order]:
                return Cart(
                    lines=tuple(map(_line_from_cbor, lines)),
                    member_class=member_class,
                    discount=_discount_from_cbor(discount),
                    order=order,
                )
    except (MalformedMessage, BadCart) as error:
        raise LedgerUnusable(detail=N_("a held cart cannot be read")) from error
    raise LedgerUnusable(detail=N_("a held cart cannot be read"))


def _line_from_cbor(value: CborValue) -> CartLine:
    match value:
        case [
            str(name),
            int(price),
            int(quantity),
            str(code),
            list(prices),
            discount,
            (int() | None) as ordered,
        ]:
            return CartLine(
                name=name,
                price=Rupiah(price),
                quantity=quantity,
                code=code,
                class_prices=tuple(map(_class_price, prices)),
                discount=_discount_from_cbor(discount),
                ordered=ordered,
            )
    raise MalformedMessage(detail="not a line of a cart")


def _class_price(value: CborValue) -> tuple[str, Rupiah]:
    match value:
        case [str(name), int(price)]:
            return name, Rupiah(price)
    raise MalformedMessage(detail="not a price of a class")


def _discount_to_cbor(discount: Discount) -> list[CborValue]:
    return [discount.percent, discount.amount.amount]


def _discount_from_cbor(value: CborValue) -> Discount:
    match value:
        case [int(percent), int(amount)]:
            return Discount(percent=percent, amount=Rupiah(amount))
    raise MalformedMessage(detail="not a discount")


def _sum(amounts: Iterable[Rupiah]) -> Rupiah:
    return sum(amounts, ZERO)
