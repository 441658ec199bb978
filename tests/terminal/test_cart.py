"""What is shown is what is charged: the cart's arithmetic, and its way through a hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import Limits
from dobmi.terminal.cart import (
    PLAIN_NAME,
    Cart,
    CartLine,
    Discount,
    cart_from_bytes,
    cart_of_order,
    cart_to_bytes,
    spread,
)
from dobmi.terminal.errors import BadCart, LedgerUnusable, NoSuchHeldCart, TooManyHeldCarts
from dobmi.terminal.held_carts import HELD_MAX, held_carts, hold_cart, recall_cart
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.purchase import Purchase, check_purchase
from support.outlets import EGGS, ORDER, RICE, SOAP
from support.tills import NOW, Bench

amounts = st.integers(0, 2_000_000).map(Rupiah)
discounts = st.builds(Discount, percent=st.integers(0, 100), amount=amounts)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


@st.composite
def lines(draw: st.DrawFn) -> CartLine:
    code = draw(st.sampled_from(["", "A", "B"]))
    ordered = draw(st.none() | st.integers(1, 30)) if code else None
    return CartLine(
        name=draw(texts),
        price=Rupiah(draw(st.integers(0 if code else 1, 50_000))),
        quantity=draw(st.integers(1 if ordered is None else 0, 30)),
        code=code,
        class_prices=(("karyawan", Rupiah(draw(st.integers(0, 50_000)))),) if code else (),
        discount=draw(discounts),
        ordered=ordered,
    )


carts = st.builds(
    Cart,
    lines=st.lists(lines(), max_size=6).map(tuple),
    member_class=st.sampled_from(["", "karyawan", "lain"]),
    discount=discounts,
    order=st.none() | st.integers(1, 1 << 40),
)


@given(over=st.lists(amounts, min_size=1, max_size=12), data=st.data())
def test_a_discount_is_spread_to_the_rupiah_and_never_beyond_a_line(
    over: list[Rupiah], data: st.DataObject
) -> None:
    whole = sum(one.amount for one in over)
    total = Rupiah(data.draw(st.integers(0, whole)))
    parts = spread(total, over)
    assert sum(part.amount for part in parts) == total.amount
    for part, one in zip(parts, over, strict=True):
        assert ZERO <= part <= one
        assert whole == 0 or abs(part.amount - total.amount * one.amount / whole) <= 1


@given(cart=carts)
def test_the_goods_come_to_the_total_that_is_shown(cart: Cart) -> None:
    assert sum((line.amount for line in cart.goods), ZERO) == cart.total
    assert ZERO <= cart.total <= cart.subtotal
    assert len(cart.goods) == sum(line.quantity > 0 for line in cart.lines)


@given(cart=carts)
def test_whatever_a_cart_sells_a_voucher_holds(cart: Cart) -> None:
    try:
        purchase = cart.purchase()
    except BadCart:
        assert cart.total == ZERO
        return
    assert purchase.amount == cart.total
    check_purchase(purchase, Limits(sale_max=Rupiah(1 << 31)), "BMI", "Toko", "Siti")


@given(cart=carts)
def test_a_cart_put_aside_comes_back_as_it_was(cart: Cart) -> None:
    assert cart_from_bytes(cart_to_bytes(cart)) == cart


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x85\x01\x80\x60\x80\xf6", b"\x81\x01"])
def test_bytes_that_are_no_cart_are_told(data: bytes) -> None:
    with pytest.raises(LedgerUnusable):
        cart_from_bytes(data)


@given(percent=st.integers(0, 100), total=amounts, more=amounts)
def test_a_discount_is_half_a_rupiah_from_exact_and_at_most_the_whole(
    percent: int, total: Rupiah, more: Rupiah
) -> None:
    part = Discount(percent=percent).of(total)
    assert abs(part.amount * 100 - total.amount * percent) <= 50
    assert Discount(percent=percent, amount=more).of(total) == min(part + more, total)


def test_a_barcode_that_was_taken_for_an_amount_is_said_to_be_too_much() -> None:
    with pytest.raises(BadCart, match="more than a card can hold"):
        Cart().add_amount(Rupiah(8_991_111_111))


def test_scanning_the_same_item_again_counts_it_up() -> None:
    cart = Cart().add_item(RICE).add_item(EGGS, 10).add_item(RICE)
    assert [(line.code, line.quantity) for line in cart.lines] == [("BRS5", 2), ("TLR", 10)]
    assert (cart.total, cart.count) == (Rupiah(175_000), 12)


def test_a_member_class_pays_its_own_price_where_there_is_one() -> None:
    cart = Cart().add_item(RICE).add_item(EGGS)
    assert cart.has_class_prices
    assert cart.for_class("karyawan").total == Rupiah(72_500)
    assert cart.for_class("tamu").total == cart.total == Rupiah(77_500)


def test_plain_amounts_alone_are_one_amount_without_goods() -> None:
    assert Cart().add_amount(Rupiah(5_000)).add_amount(Rupiah(2_500)).purchase() == Purchase(
        Rupiah(7_500)
    )
    goods = Cart().add_amount(Rupiah(5_000)).add_item(SOAP).purchase().goods
    assert [line.name for line in goods] == [PLAIN_NAME, "Sabun 100% Alami"]
    off = Cart().add_amount(Rupiah(5_000)).discount_all(Discount(percent=10)).purchase()
    assert (off.amount, off.goods[0].discount) == (Rupiah(4_500), Rupiah(500))


def test_a_line_has_its_own_discount_before_that_of_the_cart() -> None:
    cart = Cart().add_item(RICE).add_item(EGGS, 2)
    cart = cart.discount_line(0, Discount(amount=Rupiah(5_000))).discount_all(Discount(percent=20))
    assert cart.line_amount(0) == Rupiah(70_000)
    assert (cart.subtotal, cart.total) == (Rupiah(75_000), Rupiah(60_000))
    assert [line.discount for line in cart.goods] == [Rupiah(19_000), Rupiah(1_000)]


def test_quantities_are_changed_and_lines_taken_out() -> None:
    cart = Cart().add_item(RICE).add_item(EGGS).set_quantity(1, 6)
    assert cart.set_quantity(0, 0).lines == cart.remove(0).lines == cart.lines[1:]
    for change in (
        lambda: cart.set_quantity(0, -1),
        lambda: cart.set_quantity(0, 10_001),
        lambda: cart.remove(2),
        lambda: cart.remove(-1),
        lambda: cart.discount_line(5, Discount(percent=1)),
        lambda: cart.add_amount(ZERO),
        lambda: cart.add_amount(Rupiah(-5)),
        lambda: cart.add_amount(Rupiah(5), "x" * 81),
        lambda: cart.add_amount(Rupiah(5), "a\nb"),
        lambda: Discount(percent=101),
        lambda: Discount(amount=Rupiah(-1)),
        lambda: Cart().purchase(),
        lambda: cart.discount_all(Discount(percent=100)).purchase(),
    ):
        with pytest.raises(BadCart):
            change()


def test_a_cart_has_no_more_lines_than_a_voucher() -> None:
    cart = Cart()
    for _ in range(200):
        cart = cart.add_amount(Rupiah(1))
    with pytest.raises(BadCart, match="200"):
        cart.add_amount(Rupiah(1))


class TestOrder:
    def test_it_is_a_cart_at_the_prices_at_which_it_was_ordered(self) -> None:
        cart = cart_of_order(ORDER, "karyawan")
        assert (cart.order, cart.total, cart.short) == (501, Rupiah(45_000), ())

    def test_what_is_short_is_not_paid(self) -> None:
        cart = cart_of_order(ORDER).set_quantity(0, 0).set_quantity(1, 7)
        assert cart.short == (("BRS5", 2), ("TLR", 3))
        assert cart.total == Rupiah(17_500)
        assert [line.name for line in cart.purchase().goods] == ["Telur"]
        with pytest.raises(BadCart, match="short"):
            cart.remove(0)

    def test_more_may_be_bought_with_it(self) -> None:
        cart = cart_of_order(ORDER).add_item(SOAP).add_item(EGGS)
        assert cart.short == ()
        assert cart.total == Rupiah(51_500)


class TestHeld:
    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Ledger:
        return Ledger(Bench(tmp_path).enrol().database)

    def test_it_outlives_the_program_and_is_fetched_once(self, ledger: Ledger) -> None:
        cart = Cart().add_item(RICE).discount_all(Discount(percent=5))
        held = hold_cart(ledger, cart, label=" Bu Rini\n", by="Siti", now=NOW)
        again = Ledger(ledger.path)
        assert [(one.number, one.label, one.cart) for one in held_carts(again)] == [
            (held.number, "Bu Rini", cart)
        ]
        assert recall_cart(again, held.number) == cart
        with pytest.raises(NoSuchHeldCart):
            recall_cart(ledger, held.number)
        again.close()
        ledger.close()

    def test_there_are_only_so_many(self, ledger: Ledger) -> None:
        for _ in range(HELD_MAX):
            hold_cart(ledger, Cart().add_item(RICE), label="x", by="Siti", now=NOW)
        with pytest.raises(TooManyHeldCarts):
            hold_cart(ledger, Cart(), label="x", by="Siti", now=NOW)
        ledger.close()
