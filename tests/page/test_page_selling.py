"""The sell screen: what goes into the cart, to the card, and what is shown of it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from dobmi.cardlib.errors import InsufficientBalance
from dobmi.money import Rupiah
from dobmi.terminal.counter_state import (
    Acknowledge,
    AcknowledgeNotShown,
    AskSale,
    Cancel,
    DoubtShown,
    GiveUpDoubt,
    Phase,
)
from dobmi.terminal.errors import CounterBusy, NoShift, PriceClassDiffers
from dobmi.terminal.held_carts import held_carts
from dobmi.terminal.shift import close_shift
from support.page_browser import CARD, Browser, paid, request_of


def sales_asked(browser: Browser) -> list[AskSale]:
    return [command for command in browser.counter.asked if isinstance(command, AskSale)]


def stage(browser: Browser) -> str:
    text = browser.get("/sales").text
    return text.split(' id="stage"')[1].split("<dialog")[0]


def test_an_amount_that_was_typed_is_asked_of_a_card(cashier: Browser) -> None:
    cashier.tap("/sell/pay", request=request_of(cashier), typed="12500")
    [asked] = sales_asked(cashier)
    assert asked.purchase.amount == Rupiah(12_500)
    assert asked.purchase.goods == ()
    assert asked.member_class is None


def test_a_double_tap_is_one_sale(cashier: Browser) -> None:
    request = request_of(cashier)
    for _ in range(2):
        cashier.tap("/sell/pay", request=request, typed="12500")
    assert len(sales_asked(cashier)) == 1


def test_a_tap_after_it_was_paid_is_the_same_sale_still(cashier: Browser) -> None:
    request = request_of(cashier)
    cashier.tap("/sell/pay", request=request, typed="12500")
    cashier.counter.show(phase=Phase.PAID, sale=paid(12_500))
    cashier.tap("/sell/pay", request=request, typed="12500")
    assert len(sales_asked(cashier)) == 1


def test_a_form_of_an_older_cart_pays_nothing(cashier: Browser) -> None:
    request = request_of(cashier)
    cashier.tap("/sell/amount", amount="1000")
    answer = cashier.tap("/sell/pay", request=request)
    assert 'data-code="PAGE-CART-CHANGED"' in answer.text
    assert answer.headers["hx-retarget"] == "#said"
    assert not sales_asked(cashier)


def test_goods_amounts_and_discounts_come_to_what_is_charged(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/scan", code="8990000000017")
    cashier.tap("/sell/amount", amount="1.000")
    cashier.tap("/sell/line/0", quantity="2", percent="", off="")
    shown = cashier.tap("/sell/discount", percent="10", off="").text
    assert 'data-rupiah="139500"' in shown
    cashier.tap("/sell/pay", request=request_of(cashier))
    [asked] = sales_asked(cashier)
    assert asked.purchase.amount == Rupiah(139_500)
    assert sum(line.amount.amount for line in asked.purchase.goods) == 139_500


def test_a_scan_that_bounces_is_one(cashier: Browser) -> None:
    for _ in range(2):
        cashier.tap("/sell/scan", code="8990000000017")
    assert cashier.page.desk.state.cart.count == 1


def test_an_unknown_barcode_is_said(cashier: Browser) -> None:
    answer = cashier.tap("/sell/scan", code="0000000000000")
    assert 'data-code="CATALOGUE-NO-ITEM"' in answer.text


@pytest.mark.parametrize("amount", ["", "0", "-500", "12,5", "abc", "9" * 30])
def test_what_is_no_amount_is_said(cashier: Browser, amount: str) -> None:
    answer = cashier.tap("/sell/amount", amount=amount)
    assert 'data-testid="said"' in answer.text
    assert not cashier.page.desk.state.cart.lines


def test_goods_are_found_by_word_and_category(cashier: Browser) -> None:
    found = cashier.get("/sell/goods?text=sabun").text
    assert 'data-code="SBN"' in found
    assert 'data-code="BRS5"' not in found
    assert 'data-code="TLR"' in cashier.get("/sell/goods?category=Sembako").text


def test_a_cart_is_held_and_recalled(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/hold")
    assert not cashier.page.desk.state.cart.lines
    cashier.tap("/sell/amount", amount="9000")
    assert "Rp 75.000" in cashier.get("/sell/held").text
    cashier.tap("/sell/recall", number="1")
    assert cashier.page.desk.state.cart.total == Rupiah(75_000)
    assert "Rp 9.000" in cashier.get("/sell/held").text


def test_a_cart_that_cannot_be_recalled_now_is_on_hold_still(
    cashier: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/hold")

    def busy(*_: object) -> None:
        raise CounterBusy

    monkeypatch.setattr(cashier.page.desk, "change", busy)
    [before] = held_carts(cashier.ledger)
    answer = cashier.tap("/sell/recall", number=str(before.number))
    assert 'data-code="COUNTER-BUSY"' in answer.text
    [after] = held_carts(cashier.ledger)
    assert after.cart == before.cart


def test_the_cart_is_empty_once_it_is_paid(cashier: Browser) -> None:
    cashier.tap("/sell/pay", request=request_of(cashier), typed="5000")
    cashier.counter.show(phase=Phase.WORKING, card=CARD)
    cashier.counter.show(phase=Phase.PAID, sale=paid())
    assert not cashier.page.desk.state.cart.lines
    shown = stage(cashier)
    assert 'data-phase="paid"' in shown
    assert "Rp 55.000" in shown
    assert "Siti Aminah" in shown


def test_the_cart_stays_when_the_card_is_refused(cashier: Browser) -> None:
    request = request_of(cashier)
    cashier.tap("/sell/pay", request=request, typed="99000")
    cashier.counter.show(
        phase=Phase.REFUSED,
        card=CARD,
        error=InsufficientBalance(balance=Rupiah(60_000), amount=Rupiah(99_000)),
    )
    assert cashier.page.desk.state.cart.total == Rupiah(99_000)
    assert cashier.page.desk.state.request != request
    shown = stage(cashier)
    assert "Rp 39.000" in shown
    assert shown.count("data-main") == 1
    assert 'data-testid="back"' in shown
    cashier.tap("/counter/acknowledge", request=request)
    assert cashier.counter.asked[-1] == Acknowledge(request=request)


def test_who_has_too_little_leaves_nothing_to_the_next_in_the_queue(cashier: Browser) -> None:
    request = request_of(cashier)
    cashier.tap("/sell/pay", request=request, typed="99000")
    cashier.counter.show(
        phase=Phase.REFUSED,
        card=CARD,
        error=InsufficientBalance(balance=Rupiah(60_000), amount=Rupiah(99_000)),
    )
    assert 'data-testid="drop"' in stage(cashier)
    cashier.tap("/sell/drop", request=request)
    assert cashier.counter.asked[-1] == Acknowledge(request=request)
    assert not cashier.page.desk.state.cart.lines
    cashier.counter.show(phase=Phase.IDLE)
    cashier.tap("/sell/pay", request=request_of(cashier), typed="12500")
    assert sales_asked(cashier)[-1].purchase.amount == Rupiah(12_500)


def test_a_second_tap_on_emptying_leaves_the_next_cart_alone(cashier: Browser) -> None:
    request = request_of(cashier)
    cashier.tap("/sell/pay", request=request, typed="99000")
    cashier.counter.show(phase=Phase.REFUSED, card=CARD, error=NoShift())
    cashier.tap("/sell/drop", request=request)
    cashier.counter.show(phase=Phase.IDLE)
    cashier.tap("/sell/amount", amount="12500")
    cashier.tap("/sell/drop", request=request)
    assert cashier.page.desk.state.cart.total == Rupiah(12_500)


def test_a_refused_sale_is_asked_again_under_a_number_of_its_own(cashier: Browser) -> None:
    cashier.tap("/sell/pay", request=request_of(cashier), typed="5000")
    cashier.counter.show(phase=Phase.REFUSED, error=NoShift())
    cashier.tap("/sell/again")
    first, second = sales_asked(cashier)
    assert first.request != second.request
    assert first.purchase == second.purchase


def test_a_card_of_another_class_is_asked_the_new_total(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/pay", request=request_of(cashier))
    cashier.counter.show(
        phase=Phase.REFUSED,
        card=replace(CARD, member_class="karyawan"),
        error=PriceClassDiffers(holder="Siti Aminah", card_class="karyawan", cart_class=""),
        lift_card=True,
    )
    first, second = sales_asked(cashier)
    assert (first.member_class, first.purchase.amount) == ("", Rupiah(75_000))
    assert (second.member_class, second.purchase.amount) == ("karyawan", Rupiah(70_000))
    shown = stage(cashier)
    assert 'data-testid="new-price"' in shown
    assert "Rp\N{NO-BREAK SPACE}75.000" in shown
    assert "Rp\N{NO-BREAK SPACE}70.000" in shown


def test_nothing_is_put_into_a_cart_that_a_card_is_asked_for(cashier: Browser) -> None:
    cashier.tap("/sell/pay", request=request_of(cashier), typed="5000")
    answer = cashier.tap("/sell/item", item="BRS5")
    assert 'data-code="COUNTER-BUSY"' in answer.text
    assert cashier.page.desk.state.cart.total == Rupiah(5_000)


def test_a_sale_that_was_not_taken_can_be_asked_again(cashier: Browser) -> None:
    cashier.counter.refuses = CounterBusy()
    answer = cashier.tap("/sell/pay", request=request_of(cashier), typed="5000")
    assert 'data-code="COUNTER-BUSY"' in answer.text
    cashier.counter.refuses = None
    cashier.tap("/sell/pay", request=request_of(cashier))
    assert sales_asked(cashier)[-1].purchase.amount == Rupiah(5_000)


def test_waiting_can_be_cancelled_and_the_cart_is_there_still(cashier: Browser) -> None:
    request = request_of(cashier)
    cashier.tap("/sell/pay", request=request, typed="5000")
    cashier.tap("/counter/cancel", request=request)
    assert Cancel(request=request) in cashier.counter.asked
    assert cashier.page.desk.state.cart.total == Rupiah(5_000)
    assert cashier.page.desk.state.request != request


def test_a_sale_in_doubt_asks_for_the_same_card_and_has_no_other_main_way(cashier: Browser) -> None:
    cashier.tap("/sell/pay", request=request_of(cashier), typed="5000")
    cashier.counter.show(
        phase=Phase.IN_DOUBT,
        card=CARD,
        doubt=DoubtShown(sequence=1, uid=bytes(7), holder="Siti Aminah", amount=Rupiah(5_000)),
    )
    shown = stage(cashier)
    assert 'data-phase="in-doubt"' in shown
    assert "Tempelkan lagi kartu yang sama" in shown
    assert "Siti Aminah" in shown
    assert "data-main" not in shown
    cashier.tap("/counter/give-up")
    assert cashier.counter.asked[-1] == GiveUpDoubt()


def test_a_card_that_came_early_is_shown_in_the_cart(cashier: Browser) -> None:
    cashier.counter.show(phase=Phase.CARD_HERE, card=CARD)
    shown = cashier.get("/").text
    assert 'data-testid="card-here"' in shown
    assert "Rp 60.000" in shown


def test_no_shift_no_selling(cashier: Browser) -> None:
    close_shift(cashier.ledger, Rupiah(0), 1_790_000_100)
    assert cashier.get("/").url.path == "/shift"
    answer = cashier.tap("/sell/amount", amount="5000")
    assert 'data-code="SHIFT-NONE"' in answer.text


def test_why_the_till_would_refuse_is_said_before_the_queue_finds_out(cashier: Browser) -> None:
    cashier.counter.show(stopped=NoShift())
    shown = cashier.get("/").text
    assert 'data-testid="stopped" data-code="SHIFT-NONE"' in shown
    assert 'data-level="bad"' in shown


def test_the_member_sees_what_is_bought_and_what_is_left(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    shown = cashier.get("/display").text
    assert "Beras 5 kg" in shown
    assert "Rp 75.000" in shown
    cashier.tap("/sell/pay", request=request_of(cashier))
    cashier.counter.show(phase=Phase.PAID, sale=paid(75_000, balance_after=Rupiah(10_000)))
    shown = cashier.get("/display").text
    assert "Rp 10.000" in shown
    assert 'data-phase="paid"' in shown


def test_what_a_crash_kept_from_the_cashier_is_over_the_page_until_it_was_seen(
    cashier: Browser,
) -> None:
    """Else it is sold again: and the same amount to the same member is then found paid already."""
    cashier.counter.show(not_shown=(paid(12_500, holder="Ani", sequence=8),))
    shown = stage(cashier)
    assert 'data-phase="not-shown"' in shown
    assert "Ani" in shown
    assert "penjualan 8" in shown
    assert shown.count("data-main") == 1
    assert cashier.tap("/counter/seen").status_code == 200
    assert cashier.counter.asked[-1] == AcknowledgeNotShown()


def test_the_display_needs_no_log_in_and_shows_no_buttons(browser: Browser) -> None:
    answer = browser.get("/display")
    assert answer.url.path == "/display"
    assert "<button" not in answer.text


def test_a_cart_that_could_not_be_put_aside_is_there_still(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")

    def fail(_cart: object) -> None:
        raise CounterBusy

    with pytest.raises(CounterBusy):
        cashier.page.desk.take(fail)
    assert cashier.page.desk.state.cart.total == Rupiah(75_000)


def test_the_counter_is_never_kept_waiting_by_what_it_is_asked(cashier: Browser) -> None:
    """Its thread reads the desk with each state: while the desk waits for it, nothing may be locked."""
    seen: list[bool] = []

    def watched(_cart: object) -> None:
        other = threading.Thread(target=cashier.page.desk.on_counter, args=(cashier.counter.state,))
        other.start()
        other.join(5)
        seen.append(other.is_alive())

    cashier.tap("/sell/item", item="BRS5")
    cashier.page.desk.take(watched)
    assert seen == [False]
