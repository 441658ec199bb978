"""A card that lies on the reader before the total is ready: it is shown what it will pay."""

from __future__ import annotations

from dataclasses import replace

from dobmi.money import Rupiah
from dobmi.terminal.counter_state import AskSale, Phase
from dobmi.terminal.errors import PriceClassDiffers
from support.page_browser import CARD, Browser, paid, request_of

STAFF_CARD = replace(CARD, member_class="karyawan")
RICE, RICE_FOR_STAFF = Rupiah(75_000), Rupiah(70_000)


def total(browser: Browser) -> Rupiah:
    return browser.page.desk.state.cart.total


def test_a_cart_has_the_prices_of_the_card_that_lies_there(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.counter.show(phase=Phase.CARD_HERE, card=STAFF_CARD)
    assert total(cashier) == RICE_FOR_STAFF
    cashier.tap("/sell/pay", request=request_of(cashier))
    asked = cashier.counter.asked[-1]
    assert isinstance(asked, AskSale)
    assert (asked.purchase.amount, asked.member_class) == (RICE_FOR_STAFF, "karyawan")


def test_what_is_put_into_the_cart_after_the_card_has_its_prices_too(cashier: Browser) -> None:
    cashier.counter.show(phase=Phase.CARD_HERE, card=STAFF_CARD)
    cashier.tap("/sell/item", item="BRS5")
    assert total(cashier) == RICE_FOR_STAFF


def test_a_press_on_the_price_from_before_the_card_pays_nothing(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    seen = request_of(cashier)
    cashier.counter.show(phase=Phase.CARD_HERE, card=STAFF_CARD)
    answer = cashier.tap("/sell/pay", request=seen)
    assert 'data-code="PAGE-CART-CHANGED"' in answer.text
    assert not any(isinstance(command, AskSale) for command in cashier.counter.asked)


def test_the_number_stays_where_the_card_changes_no_price(cashier: Browser) -> None:
    cashier.tap("/sell/amount", amount="5000")
    seen = request_of(cashier)
    cashier.counter.show(phase=Phase.CARD_HERE, card=STAFF_CARD)
    assert request_of(cashier) == seen


def test_a_card_that_is_lifted_again_takes_its_prices_along(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.counter.show(phase=Phase.CARD_HERE, card=STAFF_CARD)
    cashier.counter.show(phase=Phase.IDLE, card=None)
    assert total(cashier) == RICE


def test_a_class_that_was_chosen_by_hand_is_back_when_the_card_is_lifted(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/class", member_class="karyawan")
    cashier.counter.show(phase=Phase.CARD_HERE, card=CARD)
    assert total(cashier) == RICE
    cashier.counter.show(phase=Phase.IDLE, card=None)
    assert total(cashier) == RICE_FOR_STAFF


def test_the_next_cart_has_no_prices_of_the_last_card(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/class", member_class="karyawan")
    cashier.counter.show(phase=Phase.CARD_HERE, card=CARD)
    cashier.tap("/sell/pay", request=request_of(cashier))
    cashier.counter.show(phase=Phase.PAID, card=CARD, sale=paid(75_000))
    cashier.counter.show(phase=Phase.IDLE, card=None, request=None, sale=None)
    assert cashier.page.desk.state.cart.member_class == ""


def test_a_card_that_cannot_be_read_changes_no_price(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    refusal = PriceClassDiffers(holder="-", card_class="karyawan", cart_class="")
    cashier.counter.show(phase=Phase.CARD_HERE, card=None, error=refusal)
    assert total(cashier) == RICE
