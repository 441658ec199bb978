"""A whole day at a till in a real Chromium, at both sizes of screen and in both languages.

The till's program, its reader, its printer and the central server run beside it; what is asserted on
is what a cashier sees, and at the end the books of till and server, to the rupiah.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from dobmi.central.circulation import circulation
from dobmi.central.member_orders import order_list
from dobmi.central.schema import card_transactions
from dobmi.central.till_records import shift_list
from dobmi.sync.records import OrderState
from dobmi.terminal import print_queue, schema
from dobmi.terminal.ledger import SaleState
from dobmi.terminal.sales import find_sale, sales_of_shift
from dobmi.wib import WIB
from support.cashier import TWICE_MS, Cashier, rupiah, violations
from support.chromium import open_page
from support.outlet_shop import (
    ANI,
    ANI_PIN,
    BUDI,
    BUDI_PIN,
    SITI,
    SITI_PIN,
    MemberCard,
    Office,
    Shop,
    office_at_work,
    shop_at_work,
)

SMALL, LARGE = ViewportSize(width=800, height=480), ViewportSize(width=1024, height=600)
FLOAT = 200_000
COMMIT = 8
"""The exchange of a sale, counted from 0, that commits it."""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_at_work(tmp_path_factory.mktemp("office")) as office:
        yield office


@pytest.fixture
def shop(office: Office, tmp_path: Path, unused_port: int) -> Iterator[Shop]:
    """An outlet with its staff, and a till whose program has just been started for the first time."""
    with shop_at_work(office, tmp_path, unused_port) as shop:
        office.staff(shop.seller, shop.new_card(0))
        shop.start()
        yield shop


@dataclass
class Day:
    """What has happened, as the test itself has counted it."""

    cashier: Cashier
    display: Page
    siti: MemberCard
    budi: MemberCard
    """Of the class karyawan."""
    ujang: MemberCard
    """Has ordered."""
    asep: MemberCard
    """Has little."""
    tati: MemberCard
    """Has lost it, and somebody found it."""
    refunds: dict[int, int] = field(default_factory=dict)
    """Sale: what was given back."""
    older_sale: int = 0

    @property
    def shop(self) -> Shop:
        return self.cashier.shop

    @property
    def page(self) -> Page:
        return self.cashier.page

    def orders(self) -> None:
        """Two of Ujang's, as the office has them."""
        number, soon = self.ujang.member, datetime.now(WIB).date() + timedelta(days=1)
        self.shop.office.orders(
            self.shop.seller,
            f"{number}1,{number},{soon},BRS5,Beras 5 kg,2,75000",
            f"{number}1,{number},{soon},TLR,Telur,10,2500",
            f"{number}2,{number},{soon},GLA1,Gula pasir 1 kg,3,17500",
        )


@pytest.mark.parametrize(
    ("size", "language"), [(SMALL, "id"), (LARGE, "en")], ids=["800x480-id", "1024x600-en"]
)
def test_a_day_is_sold_and_every_rupiah_is_where_it_was_shown(
    shop: Shop, chromium: Browser, size: ViewportSize, language: str
) -> None:
    display = open_page(chromium, f"{shop.url}/display", LARGE, language)
    page = open_page(chromium, shop.url, size, language)
    day = Day(
        Cashier(page, shop, language),
        display,
        siti=shop.new_card(400_000),
        budi=shop.new_card(400_000),
        ujang=shop.new_card(500_000),
        asep=shop.new_card(20_000),
        tati=shop.new_card(100_000),
    )
    shop.office.classify(day.budi, "karyawan")
    day.orders()

    the_first_sync_brings_the_staff(day)
    a_short_shift_before(day)
    plain_amounts(day)
    goods_from_the_catalogue(day)
    barcodes(day)
    prices_of_a_class(day)
    held_carts(day)
    orders(day)
    a_card_that_comes_first(day)
    taps_that_bounce(day)
    cards_that_are_refused(day)
    torn_cards(day)
    a_printer_without_paper(day)
    a_reader_that_is_pulled_out(day)
    a_network_that_goes_and_comes(day)
    refunds(day)
    what_is_on_a_card(day)
    another_cashier(day)
    the_shift_is_closed(day)
    sync(day.cashier)

    sales = day.cashier.sales
    assert len(sales) >= 30
    till_agrees(day)
    server_agrees(day)
    receipts_agree(day)


def the_first_sync_brings_the_staff(day: Day) -> None:
    c = day.cashier
    c.go("Status")
    c.look("status")
    c.press(c.link("Set-up"))
    c.look("set-up")
    c.press(c.link("Back"))
    c.press(c.button("Sync now"))
    expect(c.heading(c.t("Log in"))).to_be_visible()
    c.look("login")
    expect(day.display.get_by_role("heading")).to_have_text(c.t("Welcome"))
    assert not violations(day.display)
    c.type_into(day.page.get_by_label(c.t("Staff number")), str(SITI[0]))
    c.type_into(day.page.get_by_label(c.t("PIN")), "111222")
    c.press(c.button("Log in"))
    expect(day.page.get_by_role("alert").filter(has_text="4")).to_be_visible()
    c.look("wrong PIN")
    c.log_in(SITI, SITI_PIN)


def sync(c: Cashier) -> None:
    """With the office, until nothing waits any more."""
    c.go("Status")
    c.press(c.button("Sync now"))
    expect(c.page.get_by_test_id("light-unsent")).to_contain_text(c.t("All have been sent."))
    running = c.t("Syncing …")
    expect(c.page.get_by_test_id("light-network")).not_to_contain_text(running)


def open_shift(c: Cashier) -> None:
    expect(c.heading(c.t("Open the shift"))).to_be_visible()
    c.look("opening a shift")
    c.type_into(c.page.get_by_label(c.t("Float in the drawer")), str(FLOAT))
    c.press(c.button("Open the shift"))
    expect(c.page.get_by_role("tab", name=c.t("Amount"))).to_be_visible()


def close_shift(c: Cashier, counted: int) -> None:
    """As far as the Z report."""
    c.go("Shift")
    c.look("shift")
    c.press(c.link("Close the shift"))
    c.look("closing a shift")
    c.type_into(c.page.get_by_label(c.t("Counted in the drawer")), str(counted))
    c.press(c.button("Close the shift"))
    expect(c.page.get_by_test_id("paper")).to_contain_text(rupiah(counted))


def a_short_shift_before(day: Day) -> None:
    """Its one sale is an old one later."""
    c = day.cashier
    open_shift(c)
    c.look("sell")
    day.older_sale = c.sell_amount(day.siti, 15_000)
    close_shift(c, FLOAT)
    c.look("Z report")
    c.go("Sell")
    open_shift(c)


def plain_amounts(day: Day) -> None:
    c = day.cashier
    c.type_amount(12_500)
    expect(day.display.get_by_test_id("hello")).to_be_visible()
    c.pay(12_500)
    c.look("waiting")
    expect(day.display.get_by_role("heading")).to_have_text(c.t("Please tap your card"))
    expect(day.display.get_by_test_id("total")).to_have_text(rupiah(12_500))
    day.shop.tap(day.siti)
    c.paid(day.siti, 12_500)
    expect(
        day.display.get_by_text(c.t("Thank you, {holder}", holder=day.siti.holder))
    ).to_be_visible()
    expect(day.display.get_by_test_id("balance-after")).to_have_text(rupiah(day.siti.left))
    assert not violations(day.display)
    c.next()
    for amount in (5_000, 7_500, 20_000, 1_000):
        c.sell_amount(day.siti, amount)
    c.press(c.page.get_by_role("main").get_by_role("link", name=c.t("Receipt")))
    expect(c.page.get_by_test_id("paper")).to_contain_text(rupiah(1_000))
    c.look("receipt")
    c.press(c.link("Back"))
    c.into_cart(3_000)
    c.total(3_000)
    c.into_cart(4_500)
    c.total(7_500)
    expect(day.display.get_by_test_id("total")).to_have_text(rupiah(7_500))
    c.look("a cart")
    c.sell(day.siti, 7_500)
    c.type_amount(9_000)
    c.pay(9_000)
    c.press(c.button("Cancel"))
    expect(c.page.get_by_test_id("stage")).to_be_empty()
    c.total(9_000)
    c.sell(day.siti, 9_000)


def goods_from_the_catalogue(day: Day) -> None:
    c = day.cashier
    c.goods()
    c.look("goods")
    search = day.page.get_by_label(c.t("Search by name, code or barcode"))
    c.type_into(search, "gor")
    expect(day.page.get_by_role("button", name="Beras 5 kg")).to_have_count(0)
    c.item("Minyak goreng 1 l")
    c.type_into(search, "tel")
    c.item("Telur")
    c.total(21_500)
    c.line("Telur")
    c.look("a line of the cart")
    c.type_into(day.page.get_by_label(c.t("Quantity")), "10")
    c.press(c.button("Apply"))
    c.total(44_000)
    c.press(c.button("Discount"))
    c.look("discount")
    c.press(c.page.get_by_role("button", name="10 %"))
    c.press(c.button("Apply"))
    c.total(39_600)
    expect(day.display.get_by_test_id("total")).to_have_text(rupiah(39_600))
    assert not violations(day.display)
    c.sell(day.siti, 39_600)
    c.press(c.page.get_by_role("group", name=c.t("Categories")).get_by_text("Minuman"))
    c.item("Kopi bubuk")
    c.total(12_500)
    c.line("Kopi bubuk")
    c.type_into(day.page.get_by_label(c.t("Discount in rupiah")), "500")
    c.press(c.button("One more"))
    c.press(c.button("Apply"))
    c.total(24_500)
    c.sell(day.siti, 24_500)


def barcodes(day: Day) -> None:
    c = day.cashier
    c.scan("8990000000031")
    c.total(19_000)
    day.page.wait_for_timeout(TWICE_MS)
    c.scan("8990000000031")
    c.total(38_000)
    c.scan("4711471147114")
    expect(day.page.get_by_test_id("said")).to_contain_text("4711471147114")
    c.look("an unknown barcode")
    c.total(38_000)
    c.sell(day.siti, 38_000)
    c.amounts()
    c.scan("8990000000017")
    c.total(4_000)
    expect(day.page.get_by_test_id("typed")).to_have_text(rupiah(0))
    c.pay(4_000)
    day.shop.tap(day.siti)
    c.paid(day.siti, 4_000)
    c.scan("8990000000048")  # the next sale has begun
    c.total(12_500)
    day.shop.lift()
    c.sell(day.siti, 12_500)


def prices_of_a_class(day: Day) -> None:
    c = day.cashier
    c.press(c.button("Class"))
    c.look("classes")
    c.press(c.page.get_by_role("button", name="karyawan"))
    expect(c.page.get_by_role("dialog")).to_be_hidden()
    c.scan("8991234567890")
    c.total(70_000)
    c.sell(day.budi, 70_000)
    c.scan("8990000000031")
    c.total(19_000)
    c.pay(19_000)
    day.shop.tap(day.budi)
    stage = c.page.get_by_test_id("stage")
    expect(stage.get_by_test_id("stage-total")).to_have_text(rupiah(18_000))
    expect(stage).to_contain_text(day.budi.holder)
    expect(stage).to_contain_text("karyawan")
    c.look("another price")
    day.shop.lift()
    expect(stage.get_by_role("heading", name=c.t("Tap the card"))).to_be_visible()
    day.shop.tap(day.budi)
    c.paid(day.budi, 18_000)
    c.next()


def held_carts(day: Day) -> None:
    c = day.cashier
    c.scan("8990000000024")
    c.total(17_500)
    c.press(c.button("Hold"))
    expect(c.button("Recall")).to_be_visible()
    c.sell_amount(day.siti, 2_000)
    c.press(c.button("Recall"))
    held = c.page.get_by_role("dialog").get_by_role("button", name=rupiah(17_500))
    expect(held).to_be_visible()
    c.look("carts on hold")
    c.press(held)
    c.total(17_500)
    c.sell(day.siti, 17_500)


def orders(day: Day) -> None:
    c = day.cashier
    first, second = f"{day.ujang.member}1", f"{day.ujang.member}2"
    c.go("Orders")
    row = c.page.get_by_role("row", name=first)
    expect(row).to_contain_text(day.ujang.holder)
    expect(row).to_contain_text(rupiah(175_000))
    c.look("orders")
    c.press(row.get_by_role("link"))
    c.look("an order")
    c.press(c.button("Open as a cart"))
    c.total(175_000)
    c.line("Telur")
    c.press(c.button("One less"))
    day.page.wait_for_timeout(TWICE_MS)
    c.press(c.button("One less"))
    c.press(c.button("Apply"))
    expect(c.page.get_by_test_id("lines")).to_contain_text(c.t("short: {number}", number=2))
    c.total(170_000)
    c.look("an order as a cart")
    c.sell(day.ujang, 170_000)
    c.go("Orders")
    expect(c.page.get_by_role("row", name=first)).to_contain_text(c.t("Paid"))
    c.press(c.page.get_by_role("row", name=first).get_by_role("link"))
    expect(c.page.get_by_role("row", name="Telur")).to_contain_text(
        c.t("short: {number}", number=2)
    )
    c.look("a paid order")
    c.press(c.button("Handed over"))
    expect(c.page.get_by_role("row", name=first)).to_have_count(0)
    c.press(c.page.get_by_role("row", name=second).get_by_role("link"))
    c.press(c.button("Open as a cart"))
    c.sell(day.ujang, 52_500)


def a_card_that_comes_first(day: Day) -> None:
    """It waits for the total, and pays without being lifted."""
    c = day.cashier
    c.go("Sell")
    for amount in (6_000, 8_500):
        day.shop.tap(day.siti)
        here = c.page.get_by_test_id("card-here")
        expect(here).to_contain_text(day.siti.holder)
        expect(here).to_contain_text(rupiah(day.siti.left))
        c.look("a card is here")
        c.type_amount(amount)
        c.press(c.page.get_by_test_id("pay"))
        c.paid(day.siti, amount)
        c.next()


def taps_that_bounce(day: Day) -> None:
    c = day.cashier
    c.type_amount(10_500)
    c.page.get_by_test_id("pay").dblclick()
    expect(c.heading(c.t("Tap the card"))).to_be_visible()
    day.shop.tap(day.siti)
    c.paid(day.siti, 10_500)
    c.page.get_by_role("button", name=c.t("Next sale")).dblclick()
    day.shop.lift()
    expect(c.page.get_by_test_id("stage")).to_be_empty()
    # The form sent twice, as by a page that did not hear the first answer.
    day.shop.tap(day.siti)
    expect(c.page.get_by_test_id("card-here")).to_be_visible()
    c.type_amount(11_000)
    c.page.evaluate(
        """() => {
            const form = document.querySelector("#pay").form;
            const sent = new URLSearchParams(new FormData(form));
            const headers = {"X-CSRF-Token": document.body.dataset.token};
            return Promise.all([1, 2, 3].map(() =>
                fetch("/sell/pay", {method: "POST", body: sent, headers})));
        }"""
    )
    c.paid(day.siti, 11_000)
    c.next()
    c.page.reload()


def cards_that_are_refused(day: Day) -> None:
    c = day.cashier
    c.type_amount(50_500)
    c.pay(50_500)
    day.shop.tap(day.asep)
    refused = c.page.locator("[data-phase=refused]")
    expect(refused).to_contain_text(rupiah(20_000))
    expect(refused).to_contain_text(f"{c.t('Short of it')} {rupiah(30_500)}")
    expect(refused).to_contain_text(c.t("No money moved."))
    expect(refused.get_by_role("button")).to_have_count(2)
    expect(day.display.get_by_role("heading")).to_have_text(c.t("There is not enough on your card"))
    c.look("too little money")
    assert not violations(day.display)
    c.press(c.button("Back to the cart"))
    day.shop.lift()
    c.total(50_500)
    c.press(c.button("More …"))
    c.look("more")
    c.press(c.button("Empty the cart"))
    c.total(0)
    c.type_amount(20_500)
    c.pay(20_500)
    day.shop.tap(day.asep)
    c.press(c.button("Empty the cart"))
    day.shop.lift()
    expect(refused).to_have_count(0)
    c.total(0)
    c.sell_amount(day.asep, 19_500)

    day.shop.office.block(day.tati)
    sync(c)
    c.go("Sell")
    c.type_amount(30_000)
    c.pay(30_000)
    day.shop.tap(day.tati)
    expect(c.heading(c.t("This card is blocked."))).to_be_visible()
    expect(c.page.get_by_test_id("stage")).to_contain_text(c.t("No money moved."))
    c.look("a blocked card")
    c.press(c.button("Back to the cart"))
    day.shop.lift()
    c.sell(day.siti, 30_000)


def torn_cards(day: Day) -> None:
    c = day.cashier
    stage = c.page.get_by_test_id("stage")
    # Before the card could pay: it is waited for as before.
    c.type_amount(13_000)
    c.pay(13_000)
    day.shop.tap(day.siti, pull_at=4)
    expect(stage.get_by_test_id("stage-error")).to_be_visible()
    c.look("gone too soon")
    day.shop.tap(day.siti)
    c.paid(day.siti, 13_000)
    c.next()
    # In the commit: whether the card has paid or not, it tells when it is tapped again.
    for amount, card_has_paid in ((14_000, True), (16_000, False)):
        c.type_amount(amount)
        c.pay(amount)
        day.shop.tap(day.siti, pull_at=COMMIT, before=not card_has_paid)
        expect(c.heading(c.t("Tap the same card again"))).to_be_visible()
        expect(stage).to_contain_text(day.siti.holder)
        expect(stage.get_by_role("button")).to_have_count(1)
        c.look("in doubt")
        day.shop.tap(day.ujang)
        expect(stage.get_by_test_id("stage-error")).to_be_visible()
        expect(c.heading(c.t("Tap the same card again"))).to_be_visible()
        day.shop.tap(day.siti)
        c.paid(day.siti, amount)
        assert day.siti.balance == day.siti.left
        c.next()


def a_printer_without_paper(day: Day) -> None:
    c = day.cashier
    day.shop.printer.lines_left = 0
    c.sell_amount(day.siti, 6_500)
    trouble = c.page.get_by_test_id("paper-trouble")
    expect(trouble).to_contain_text(c.t("The printer has no paper."), timeout=15_000)
    c.look("no paper")
    c.sell_amount(day.siti, 3_500)
    c.go("Status")
    expect(c.page.get_by_test_id("light-printer")).to_contain_text(c.t("The printer has no paper."))
    day.shop.printer.put_in_paper()
    c.press(c.button("Print now"))
    expect(c.page.get_by_test_id("paper-trouble")).to_have_count(0, timeout=15_000)
    expect(c.page.get_by_test_id("light-printer")).to_contain_text(c.t("in order"))
    c.go("Sell")


def a_reader_that_is_pulled_out(day: Day) -> None:
    c = day.cashier
    day.shop.hands.unplug()
    gone = c.page.get_by_test_id("reader-gone")
    expect(gone).to_be_visible()
    expect(c.page.get_by_test_id("lamp")).to_have_attribute("data-level", "bad")
    c.look("no reader")
    day.shop.hands.plug()
    expect(gone).to_have_count(0)
    c.sell_amount(day.siti, 2_500)


def a_network_that_goes_and_comes(day: Day) -> None:
    c = day.cashier
    sync(c)
    lamp = c.page.get_by_test_id("lamp")
    expect(lamp).to_have_attribute("data-level", "ok")
    day.shop.office.close()
    c.press(c.button("Sync now"))
    expect(lamp).to_have_attribute("data-level", "warn", timeout=60_000)
    away = c.t("The till sells; the network is away.")
    expect(c.page.get_by_role("link", name=away)).to_be_visible()
    c.look("no network")
    c.go("Sell")
    for amount in (4_000, 5_500, 8_000):
        c.sell_amount(day.siti, amount)
    c.go("Status")
    expect(c.page.get_by_test_id("light-unsent")).to_contain_text(rupiah(17_500))
    day.shop.office.open()
    sync(c)
    expect(lamp).to_have_attribute("data-level", "ok")


def open_sale(c: Cashier, sequence: int) -> None:
    c.go("Sales")
    number = c.t("Sale {sequence}", sequence=sequence)
    c.press(c.page.get_by_role("link", name=number, exact=True))
    expect(c.page.get_by_role("heading", name=number)).to_be_visible()


def give_back(day: Day, sequence: int, amount: int) -> None:
    """What the form says by now."""
    c = day.cashier
    c.press(c.button("Give the money back"))
    refunded = c.page.locator("[data-phase=refunded]")
    expect(refunded.get_by_role("heading")).to_have_text(f"{c.t('Refunded')} {rupiah(amount)}")
    expect(refunded).to_contain_text(c.t("Give no cash."))
    c.look("refunded")
    c.press(c.button("Done"))
    expect(c.page.get_by_test_id("stage")).to_be_empty()
    day.refunds[sequence] = day.refunds.get(sequence, 0) + amount


def refunds(day: Day) -> None:
    c = day.cashier
    by_amount = {amount: number for number, (_, amount) in c.sales.items()}
    c.go("Sales")
    c.look("sales")
    # A part, by amount.
    open_sale(c, by_amount[20_000])
    c.look("a sale")
    c.press(c.page.get_by_label(c.t("An amount")))
    c.type_into(c.page.get_by_label(c.t("Amount to give back")), "5000")
    c.press(c.button("Give the money back"))
    expect(c.page.get_by_label(c.t("Reason"), exact=True)).to_be_focused()  # it is missing
    c.page.wait_for_timeout(TWICE_MS)
    c.press(c.button("Wrong amount"))
    give_back(day, by_amount[20_000], 5_000)
    # A part, by goods.
    open_sale(c, by_amount[38_000])
    c.type_into(c.page.get_by_label("Minyak goreng 1 l"), "1")
    c.press(c.button("Goods damaged"))
    give_back(day, by_amount[38_000], 19_000)
    # The whole.
    open_sale(c, by_amount[8_500])
    c.type_into(c.page.get_by_label(c.t("Reason"), exact=True), "salah orang")
    give_back(day, by_amount[8_500], 8_500)
    expect(c.page.get_by_role("button", name=c.t("Give the money back"))).to_have_count(0)
    c.go("Sales")
    row = c.page.get_by_role("row", name=c.t("Sale {sequence}", sequence=by_amount[8_500]))
    expect(row).to_contain_text(c.t("Refunded"))
    # One of an earlier shift: a supervisor must agree, first with a PIN, then by card.
    c.type_into(c.page.get_by_label(c.t("Sale no.")), str(day.older_sale))
    c.press(c.button("Find"))
    c.look("an older sale")
    for number, pin in ((SITI[0], SITI_PIN), (ANI[0], ANI_PIN)):
        c.press(c.page.get_by_label(c.t("An amount")))
        c.type_into(c.page.get_by_label(c.t("Amount to give back")), "6000")
        c.press(c.button("Goods brought back"))
        c.type_into(c.page.get_by_label(c.t("Staff number")), str(number))
        c.type_into(c.page.get_by_label(c.t("PIN")), pin)
        if number == ANI[0]:
            give_back(day, day.older_sale, 6_000)
        else:
            c.press(c.button("Give the money back"))
            expect(c.page.locator("[data-phase=refused]")).to_be_visible()
            c.look("no supervisor")
            c.press(c.button("Back"))
    c.press(c.button("Goods brought back"))
    c.press(c.button("With the supervisor's card instead"))
    expect(c.heading(c.t("Tap the supervisor's card"))).to_be_visible()
    c.look("a supervisor's card")
    day.shop.tap(day.shop.cards[0])
    refunded = c.page.locator("[data-phase=refunded]")
    expect(refunded.get_by_role("heading")).to_have_text(f"{c.t('Refunded')} {rupiah(9_000)}")
    expect(refunded).to_contain_text(ANI[1])
    day.shop.lift()
    day.refunds[day.older_sale] += 9_000
    c.press(c.button("Done"))
    expect(c.page.get_by_test_id("stage")).to_be_empty()


def what_is_on_a_card(day: Day) -> None:
    c = day.cashier
    c.go("Balance")
    expect(c.heading(c.t("Tap the card"))).to_be_visible()
    day.shop.tap(day.siti)
    shown = c.page.locator("[data-phase=balance]")
    expect(shown).to_contain_text(day.siti.holder)
    expect(shown.get_by_test_id("balance")).to_have_text(rupiah(day.siti.left))
    rows = shown.get_by_role("row")
    expect(rows).to_have_count(11)
    newest = [amount for card, amount in c.sales.values() if card is day.siti][-10:]
    for row, amount in zip(range(1, 11), reversed(newest), strict=True):
        expect(rows.nth(row)).to_contain_text(f"\N{MINUS SIGN}{rupiah(amount)}")
    expect(day.display.get_by_test_id("balance")).to_have_text(rupiah(day.siti.left))
    c.look("a balance")
    assert not violations(day.display)
    c.press(c.button("Print"))
    c.press(c.button("Done"))
    day.shop.lift()


def another_cashier(day: Day) -> None:
    c = day.cashier
    c.log_out()
    c.log_in(BUDI, BUDI_PIN)
    expect(c.page.get_by_role("heading", name=SITI[1])).to_be_visible()
    c.look("taking over")
    c.press(c.button("Take over"))
    c.sell_amount(day.budi, 21_000)
    c.go("Shift")
    c.press(c.link("X report"))
    paper = c.page.get_by_test_id("paper")
    expect(paper).to_contain_text(SITI[1])
    expect(paper).to_contain_text(BUDI[1])
    c.look("X report")


def the_shift_is_closed(day: Day) -> None:
    c = day.cashier
    c.go("Shift")
    c.type_into(c.page.get_by_label(c.t("Amount"), exact=True), "50000")
    c.type_into(c.page.get_by_label(c.t("Reason"), exact=True), "setor bank")
    c.press(c.button("Take out"))
    expect(c.page.get_by_test_id("expected")).to_have_text(rupiah(FLOAT - 50_000))
    close_shift(c, FLOAT - 51_000)
    paper = c.page.get_by_test_id("paper")
    expect(paper).to_contain_text(rupiah(1_000))
    c.go("Sell")
    expect(c.heading(c.t("Open the shift"))).to_be_visible()


def till_agrees(day: Day) -> None:
    """Every sale that was shown as paid is in the till's ledger once, and no other."""
    sales, shop = day.cashier.sales, day.shop
    with shop.ledger() as ledger:
        with ledger.connect() as connection:
            sequences = connection.execute(sa.select(schema.intents.c.sequence)).scalars().all()
        paid = {}
        for sequence in sequences:
            found = find_sale(ledger, sequence)
            assert found.state is not SaleState.IN_DOUBT
            if found.state is SaleState.PAID:
                paid[sequence] = (found.intent.card_uid, found.intent.amount.amount)
            assert found.refunded.amount == day.refunds.get(sequence, 0)
        assert paid == {number: (card.uid, amount) for number, (card, amount) in sales.items()}
        assert len(sales_of_shift(ledger, 1)) == 1
    for card in shop.cards:
        assert card.balance == card.left


def server_agrees(day: Day) -> None:
    sales, shop, central = day.cashier.sales, day.shop, day.shop.office.central
    table = card_transactions.c
    with central.database.read() as connection:
        rows = connection.execute(
            sa.select(table.sequence, table.card_uid, table.amount_rupiah).where(
                table.terminal_id == shop.terminal_id
            )
        ).all()
    posted = [(row.sequence, bytes(row.card_uid), row.amount_rupiah) for row in rows]
    shown = [(number, card.uid, amount) for number, (card, amount) in sales.items()]
    assert sorted(posted) == sorted(shown)
    for card in shop.cards:
        assert shop.office.balance_of(card) == card.left
    given_back: dict[bytes, list[int]] = {}
    for sequence, amount in day.refunds.items():
        given_back.setdefault(sales[sequence][0].uid, []).append(amount)
    for card in shop.cards:
        assert sum(shop.office.waiting_for(card)) == sum(given_back.get(card.uid, []))
    now = circulation(central)
    assert (now.difference.amount, now.not_yet_reported.amount) == (0, 0)
    assert (now.doubts_open, now.quarantined, now.anomalies, now.rejected_batches) == (0, 0, 0, 0)
    newest, first = shift_list(central.database, terminal_id=shop.terminal_id)
    total = sum(amount for _, amount in sales.values())
    assert first.record.sales_total.amount + newest.record.sales_total.amount == total
    assert first.record.sales_count + newest.record.sales_count == len(sales)
    assert newest.record.refunds_total.amount == sum(day.refunds.values())
    assert newest.record.counted.amount == FLOAT - 51_000
    assert [name for _, name in newest.record.takeovers] == [BUDI[1]]
    steps = {
        listed.order.number % 10: [step.state for step in listed.steps]
        for listed in order_list(central.database, shop.seller)
    }
    assert steps == {1: [OrderState.PAID, OrderState.HANDED_OVER], 2: [OrderState.PAID]}


def receipts_agree(day: Day) -> None:
    """Each sale has been printed, whatever the roll did meanwhile, and at most once as an original:
    what the printer may have had already when it failed comes again as a copy.
    """
    day.shop.stop()  # what is being printed is finished
    with day.shop.ledger() as ledger:
        assert print_queue.waiting(ledger) == ()
    printed = [
        (int(found[1]), "SALINAN" in paper.text)
        for paper in day.shop.printer.papers
        if (found := re.search(r"No\. penjualan +(\d+)", paper.text))
    ]
    originals = [number for number, is_copy in printed if not is_copy]
    assert {number for number, _ in printed} == set(day.cashier.sales)
    assert len(originals) == len(set(originals))


# A keyboard is enough


@dataclass
class Keyboard:
    """No mouse, no finger. What is seen is given as it stands there, in Indonesian."""

    page: Page
    shop: Shop

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        """As people do, slower than a scanner."""
        self.page.keyboard.type(text, delay=50)

    def sees(self, heading: str) -> None:
        expect(self.page.get_by_role("heading", name=heading)).to_be_visible()

    def tab_to(self, wanted: Locator) -> None:
        """With the key Tab alone; and where the focus is can be seen."""
        expect(wanted).to_be_visible()
        for _ in range(60):
            if wanted.evaluate("element => element === document.activeElement"):
                outline = wanted.evaluate("element => getComputedStyle(element).outlineStyle")
                assert outline != "none"
                return
            self.press("Tab")
        pytest.fail(f"{wanted} is out of the keyboard's reach")

    def total(self, amount: int) -> None:
        expect(self.page.locator("#cart").get_by_test_id("total")).to_have_text(rupiah(amount))

    def pay(self, card: MemberCard, amount: int) -> None:
        """By Enter, and a tap of the card."""
        self.press("Enter")
        self.tap(card, amount)
        self.press("Enter")
        self.idle()
        self.shop.lift()

    def tap(self, card: MemberCard, amount: int) -> None:
        self.sees("Tempelkan kartu")
        self.shop.tap(card)
        card.spent += amount
        self.sees(f"Lunas {rupiah(amount)}")
        self.idle(of=card)

    def idle(self, of: MemberCard | None = None) -> None:
        stage = self.page.get_by_test_id("stage")
        if of is None:
            expect(stage).to_be_empty()
        else:
            expect(stage.get_by_test_id("balance-after")).to_have_text(rupiah(of.left))


def test_the_keyboard_alone_suffices(shop: Shop, chromium: Browser) -> None:
    card = shop.new_card(400_000)
    soon = datetime.now(WIB).date()
    shop.office.orders(shop.seller, f"77,{card.member},{soon},GLA1,Gula pasir 1 kg,3,17500")
    page = open_page(chromium, shop.url, SMALL, "id")
    k = Keyboard(page, shop)

    k.sees("Buka shift")
    k.press("F10")
    k.sees("Status")
    k.press("Enter")
    k.sees("Masuk")
    k.type(str(SITI[0]))
    k.press("Tab")
    k.type(SITI_PIN)
    k.press("Enter")
    k.sees("Buka shift")
    k.type(str(FLOAT))
    k.press("Enter")

    # Amounts: one; several; cancelled; and one that is typed while the last is shown still.
    expect(page.get_by_test_id("typed")).to_have_text("Rp 0")
    k.type("12500")
    k.pay(card, 12_500)
    k.type("3000+")
    k.total(3_000)
    k.type("4500")
    k.press("Enter")
    k.sees("Tempelkan kartu")
    k.press("Escape")
    k.idle()
    k.press("Enter")
    k.tap(card, 7_500)
    k.type("2000")
    k.idle()
    expect(page.get_by_test_id("typed")).to_have_text("Rp 2.000")
    shop.lift()
    k.pay(card, 2_000)

    # Goods, quantity, discount, hold and recall.
    k.press("F6")
    k.type("kopi")
    item = page.get_by_role("button", name="Kopi bubuk")
    expect(page.get_by_test_id("item")).to_have_count(1)
    k.tab_to(item)
    k.press("Enter")
    k.total(12_500)
    k.tab_to(page.get_by_test_id("lines").get_by_role("button", name="Kopi bubuk"))
    k.press("Enter")
    expect(page.get_by_label("Banyaknya")).to_be_focused()
    k.type("3")
    k.press("Enter")
    k.total(37_500)
    k.press("F7")
    expect(page.get_by_role("dialog")).to_be_visible()
    k.type("10")
    k.press("Enter")
    k.total(33_750)
    k.press("F8")
    k.total(0)
    k.press("F8")
    expect(page.get_by_role("dialog").get_by_role("button", name="Rp 33.750")).to_be_focused()
    k.press("Enter")
    k.total(33_750)
    k.tab_to(page.get_by_role("button", name="Bayar"))
    k.pay(card, 33_750)

    # A member's order, from the list to the hand.
    k.press("F4")
    order = page.get_by_role("link", name="Pesanan 77", exact=True)
    k.tab_to(order)
    k.press("Enter")
    k.sees("Pesanan 77")
    k.press("Enter")
    k.total(52_500)
    k.pay(card, 52_500)
    k.press("F4")
    k.tab_to(order)
    k.press("Enter")
    expect(page.get_by_role("button", name="Sudah diserahkan")).to_be_focused()
    k.press("Enter")
    expect(order).to_have_count(0)

    # The card does not come back, and tells a while later that it had paid.
    k.press("F1")
    expect(page.get_by_label("Cari nama, kode, atau barcode")).to_be_focused()
    k.press("F5")
    expect(page.get_by_test_id("typed")).to_have_text("Rp 0")
    k.type("9000")
    k.press("Enter")
    k.sees("Tempelkan kartu")
    shop.tap(card, pull_at=COMMIT)
    k.sees("Tempelkan lagi kartu yang sama")
    k.tab_to(page.get_by_role("button", name="Kartu tidak kembali"))
    k.press("Enter")
    k.sees("Barang jangan diserahkan")
    k.press("Enter")
    k.idle()
    k.press("F2")
    k.sees("Tempelkan kartu")
    shop.tap(card)
    card.spent += 9_000
    expect(page.get_by_test_id("balance")).to_have_text(rupiah(card.left))
    expect(page.get_by_test_id("settled")).to_contain_text("Rp 9.000")
    k.press("Enter")
    k.idle()
    shop.lift()

    # A refund, and the end of the shift.
    k.press("F3")
    k.tab_to(page.get_by_role("link", name="Penjualan 1", exact=True))
    k.press("Enter")
    k.tab_to(page.get_by_role("button", name="Barang rusak"))
    k.press("Enter")
    k.tab_to(page.get_by_role("button", name="Kembalikan uangnya"))
    k.press("Enter")
    k.sees("Uang dikembalikan Rp 12.500")
    k.press("Enter")
    k.idle()
    k.press("F9")
    expect(page.get_by_test_id("paid-total")).to_have_text(rupiah(card.spent))
    k.press("Enter")
    expect(page.get_by_label("Hasil hitungan di laci")).to_be_focused()
    k.type(str(FLOAT))
    k.press("Enter")
    expect(page.get_by_test_id("paper")).to_contain_text(rupiah(card.spent))
    k.press("F10")
    k.sees("Status")
    k.press("Enter")
    expect(page.get_by_test_id("light-unsent")).to_contain_text("Semua sudah terkirim.")
    expect(page.get_by_test_id("light-network")).not_to_contain_text("Sedang sinkron")
    k.tab_to(page.get_by_test_id("who"))
    k.press("Enter")
    k.sees("Keluar")
    k.press("Enter")
    k.sees("Masuk")
    assert card.balance == shop.office.balance_of(card) == card.left
    assert shop.office.waiting_for(card) == [12_500]


# A finger is enough


def test_touch_alone_suffices(shop: Shop, chromium: Browser) -> None:
    display = open_page(chromium, f"{shop.url}/display", LARGE, "id")
    page = open_page(chromium, shop.url, SMALL, "id", has_touch=True)
    cashier = Cashier(page, shop, press=Locator.tap, looks=False)
    day = Day(
        cashier,
        display,
        siti=shop.new_card(400_000),
        budi=shop.new_card(0),
        ujang=shop.new_card(300_000),
        asep=shop.new_card(0),
        tati=shop.new_card(0),
    )
    day.orders()

    the_first_sync_brings_the_staff(day)
    a_short_shift_before(day)
    plain_amounts(day)
    goods_from_the_catalogue(day)
    cashier.amounts()
    held_carts(day)
    orders(day)
    torn_cards(day)
    what_is_on_a_card(day)
    close_shift(cashier, FLOAT)
    sync(cashier)
    till_agrees(day)
    for card in shop.cards:
        assert shop.office.balance_of(card) == card.left
