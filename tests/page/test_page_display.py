"""The screen towards the member says what concerns who stands there, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dobmi.cardlib.errors import BlankCard
from dobmi.money import Rupiah
from dobmi.terminal.counter_state import Asked, Phase
from support.page_browser import Browser


def display(browser: Browser) -> str:
    browser.language("en")
    return browser.get("/display").text


def test_a_refund_is_shown_with_when_it_will_be_on_the_card(cashier: Browser) -> None:
    refund = SimpleNamespace(amount=Rupiah(2_500), holder="Siti Aminah", sequence=2)
    cashier.counter.show(phase=Phase.REFUNDED, asked=Asked.REFUND, request="r-1", refund=refund)
    shown = display(cashier)
    assert "Refunded" in shown
    assert "2.500" in shown
    assert "The money is not on the card yet." in shown
    assert "Siti Aminah" not in shown  # who may be elsewhere: a refund needs no card


@pytest.mark.parametrize("asked", [Asked.BALANCE, Asked.LOGIN, Asked.REFUND])
def test_what_is_refused_and_is_no_sale_is_not_called_unpaid(
    cashier: Browser, asked: Asked
) -> None:
    cashier.counter.show(phase=Phase.REFUSED, asked=asked, request="r-1", error=BlankCard())
    assert "Not paid" not in display(cashier)


def test_a_sale_that_is_refused_is(cashier: Browser) -> None:
    cashier.counter.show(phase=Phase.REFUSED, asked=Asked.SALE, request="r-1", error=BlankCard())
    assert "Not paid" in display(cashier)
