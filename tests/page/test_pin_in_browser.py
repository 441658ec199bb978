"""The member types the PIN at the till's page, in a real Chromium: with fingers, with keys, wrong, locked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from dobmi.central.acts import Actor
from dobmi.central.pin_session import change_card_pin
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.sync.relay import PinAct, PinParameters, SecretPins
from support.cashier import TWICE_MS, Cashier, violations
from support.chromium import open_page
from support.outlet_shop import MemberCard, Office, Shop, office_at_work, shop_at_work
from support.purses import InProcess

SMALL, LARGE = ViewportSize(width=800, height=480), ViewportSize(width=1024, height=600)
LIMIT, ABOVE, AGAIN = 100_000, 150_000, 120_000
PIN, WRONG = "864203", "197350"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_at_work(tmp_path_factory.mktemp("office")) as office:
        office.close()
        settings = office.central.settings.model_copy(update={"pin_above_rupiah": LIMIT})
        office.central = replace(office.central, settings=settings)
        office.open()
        yield office


@pytest.fixture
def shop(office: Office, tmp_path: Path, unused_port: int) -> Iterator[Shop]:
    with shop_at_work(office, tmp_path, unused_port) as shop:
        shop.start()
        yield shop


def with_pin(office: Office, card: MemberCard) -> MemberCard:
    simulated = SimulatedCard.load(card.path)
    asked, pins = PinParameters(act=PinAct.SET), SecretPins(new=PIN)
    change_card_pin(office.central, InProcess(simulated), asked, pins, Actor("", None))
    simulated.power_off()
    simulated.save(card.path)
    return card


def began(c: Cashier) -> None:
    """The limit has come, and a shift is open."""
    c.go("Status")
    c.press(c.button("Sync now"))
    for _ in range(100):
        with c.shop.ledger() as ledger:
            if ledger.sync_state().limits.pin_above.amount == LIMIT:
                break
        c.page.wait_for_timeout(100)
    c.go("Shift")
    c.type_into(c.page.get_by_label(c.t("Float in the drawer")), "0")
    c.press(c.button("Open the shift"))
    expect(c.page.get_by_role("tab", name=c.t("Amount"))).to_be_visible()


def ask(c: Cashier, amount: int) -> None:
    c.type_amount(amount)
    c.press(c.page.get_by_test_id("pay"))
    expect(c.page.get_by_test_id("stage-title")).to_have_text(c.t("Type your PIN"))


def pad(c: Cashier, digits: str) -> None:
    for digit in digits:
        c.press(c.page.get_by_test_id(f"pin-{digit}"))
    expect(c.page.get_by_test_id("card-pin")).to_have_value(digits)


@pytest.mark.parametrize(
    ("size", "language"), [(SMALL, "id"), (LARGE, "en")], ids=["800x480-id", "1024x600-en"]
)
def test_a_member_types_the_pin_and_taps_once(
    shop: Shop, chromium: Browser, size: ViewportSize, language: str
) -> None:
    display = open_page(chromium, f"{shop.url}/display", LARGE, language)
    page = open_page(chromium, shop.url, size, language, has_touch=True)
    card = with_pin(shop.office, shop.new_card(900_000))
    c = Cashier(page, shop, language, press=Locator.tap)
    began(c)

    # By fingers, then one tap of the card.
    ask(c, ABOVE)
    c.look("PIN")
    assert page.get_by_test_id("card-pin").get_attribute("type") == "password"
    expect(display.get_by_role("heading")).to_have_text(c.t("Please type your PIN"))
    assert not violations(display)
    pad(c, PIN)
    c.press(page.get_by_test_id("give-pin"))
    expect(c.heading(c.t("Tap the card"))).to_be_visible()
    shop.tap(card)
    c.paid(card, ABOVE)
    c.next()

    # By the keyboard, which needs no click; a card that lies there already pays at once.
    ask(c, AGAIN)
    shop.tap(card)
    page.keyboard.type(WRONG)
    page.keyboard.press("Enter")
    error = page.get_by_test_id("stage-error")
    expect(error).to_have_attribute("data-code", "CARD-PIN-WRONG")
    expect(error).to_contain_text("2")
    expect(display.get_by_test_id("stage-error")).to_contain_text("2")
    c.look("wrong PIN of a card")
    expect(page.get_by_test_id("card-pin")).to_have_value("")
    page.keyboard.type(PIN)
    page.keyboard.press("Enter")
    c.paid(card, AGAIN)
    c.next()

    # Cancelled.
    ask(c, AGAIN)
    page.keyboard.type("86")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("stage")).to_be_empty()

    # Wrong three times.
    c.press(page.get_by_test_id("pay"))
    shop.tap(card)
    for _ in range(3):
        expect(page.get_by_test_id("card-pin")).to_have_value("")
        expect(page.get_by_test_id("card-pin")).to_be_focused()
        page.keyboard.type(WRONG)
        page.keyboard.press("Enter")
        expect(page.locator("[data-phase=working], [data-phase=waiting]")).to_have_count(0)
    expect(page.locator("[data-phase=refused]")).to_have_attribute("data-code", "SALE-PIN-LOCKED")
    c.look("PIN locked")
    expect(display.locator("[data-phase=refused]")).to_contain_text(
        c.t("The PIN of this card is locked: it was wrong too often.")
    )
    shop.lift()
    assert card.balance == card.left
    shop.stop()
    for file in [*shop.folder.iterdir(), *shop.office.folder.iterdir()]:
        if file.is_file():
            content = file.read_bytes()
            assert PIN.encode() not in content, file.name
            assert WRONG.encode() not in content, file.name


def test_what_is_no_pin_is_not_sent(shop: Shop, chromium: Browser) -> None:
    page: Page = open_page(chromium, shop.url, SMALL, "en")
    c = Cashier(page, shop, "en")
    began(c)
    ask(c, ABOVE)
    page.keyboard.type("86")
    page.keyboard.press("Enter")
    expect(page.locator("[data-phase=pin]")).to_be_visible()
    page.wait_for_timeout(TWICE_MS)  # two presses of one button so soon are one
    page.keyboard.type("4203")
    page.keyboard.press("Enter")
    expect(c.heading(c.t("Tap the card"))).to_be_visible()
    shop.tap(shop.new_card(900_000))  # without a PIN
    expect(page.locator("[data-phase=refused]")).to_have_attribute("data-code", "CARD-PIN-NONE")
