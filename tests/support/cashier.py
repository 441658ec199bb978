"""A cashier before the till's page in a real browser: what is pressed, and what is seen there.

Texts are named by their English message ids and looked for in the language that the page is in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Locator, Page, expect

from dobmi.money import Rupiah
from dobmi.web.rendering import Voice
from support.outlet_shop import MemberCard, Shop

AXE_RUN = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
BOUNCE_MS = 70
"""The same key of a pad twice within 60 ms is a finger that bounced."""
TWICE_MS = 400
"""After so long a second tap, or the same barcode, is meant."""


def rupiah(amount: int) -> str:
    """`Rp 12.500`."""
    return str(Rupiah(amount))


def violations(page: Page) -> list[str]:
    """What axe-core finds on the page as it is now."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    return [
        f"{found['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for found in page.evaluate(AXE_RUN)
        for node in found["nodes"]
    ]


SMALL_TARGETS = """() => {
    const found = [];
    for (const one of document.querySelectorAll("button, a, input, select, [role=tab]")) {
        if (one.type === "hidden" || !one.checkVisibility({visibilityProperty: true})) continue;
        const label = one.closest("label"); // what is pressed for a choice
        const box = (label || one).getBoundingClientRect();
        if (box.width && (box.height < 47.5 || box.width < 47.5))
            found.push(`${one.outerHTML.slice(0, 120)}: ${box.width} x ${box.height}`);
    }
    const page = document.scrollingElement;
    if (page.scrollWidth > page.clientWidth) found.push(`${page.scrollWidth} px wide`);
    return found;
}"""
"""What a finger misses, of 48 px; and whether the page must be moved sideways."""


@dataclass
class Cashier:
    """One browser at the till. `press` is a click of the mouse, or a finger's tap."""

    page: Page
    shop: Shop
    language: str = "id"
    press: Callable[[Locator], None] = Locator.click
    looks: bool = True
    looked_at: set[str] = field(default_factory=set)
    sales: dict[int, tuple[MemberCard, int]] = field(default_factory=dict)
    """What has been seen to be paid: number of the sale to card and amount."""

    # Words

    def t(self, message: str, **facts: object) -> str:
        return Voice(self.language).say(message, **facts)

    def button(self, message: str, **facts: object) -> Locator:
        """By what it is called, keys and amounts behind it left aside."""
        name = re.compile(rf"^{re.escape(self.t(message, **facts))}(\s|$)")
        return self.page.get_by_role("button", name=name)

    def link(self, message: str) -> Locator:
        return self.page.get_by_role(
            "link", name=re.compile(rf"^{re.escape(self.t(message))}(\s|$)")
        )

    def heading(self, text: str) -> Locator:
        return self.page.get_by_role("heading", name=text)

    # Everywhere

    def look(self, screen: str) -> None:
        """Have axe-core look at a screen, and measure it, the first time that it is seen."""
        if self.looks and screen not in self.looked_at:
            self.looked_at.add(screen)
            assert (screen, violations(self.page)) == (screen, [])
            assert (screen, self.page.evaluate(SMALL_TARGETS)) == (screen, [])

    def go(self, place: str) -> None:
        """By the main menu, one entry of which begins with how the till is."""
        name = re.compile(rf"(^|\s){self.t(place)}$")
        self.press(self.page.get_by_role("navigation").get_by_role("link", name=name))

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    # People

    def log_in(self, person: tuple[int, str], pin: str) -> None:
        number, name = person
        self.type_into(self.page.get_by_label(self.t("Staff number")), str(number))
        self.type_into(self.page.get_by_label(self.t("PIN")), pin)
        self.press(self.button("Log in"))
        expect(self.page.get_by_test_id("who")).to_contain_text(name)

    def log_out(self) -> None:
        self.press(self.page.get_by_test_id("who"))
        self.look("leave")
        self.press(self.page.get_by_role("main").get_by_role("button", name=self.t("Log out")))
        expect(self.heading(self.t("Log in"))).to_be_visible()

    def type_into(self, field_: Locator, text: str) -> None:
        """Fingers type on what the page shows: pad, or the board that comes up."""
        if self.press is Locator.click:
            field_.fill(text)
            return
        self.press(field_)
        board = self.page.locator("#keys")
        pad = self.page.get_by_role("group", name=self.t("Digits"))
        keys = board if field_.get_attribute("data-keys") else pad
        if field_.input_value():
            self.press(keys.locator('[data-board="clear"], [data-press="clear"]'))
        for before, key in pairwise(f" {text}"):
            if key == before:
                self.page.wait_for_timeout(BOUNCE_MS)
            self.press(keys.locator(f'[data-board="{key}"], [data-press="{key}"]'))
        if keys is board:
            self.press(board.locator('[data-board="done"]'))
            expect(board).to_have_count(0)
        expect(field_).to_have_value(text)

    # Selling

    def type_amount(self, amount: int) -> None:
        """By the pad."""
        before = ""
        for key in re.findall(r"000|00|\d", str(amount)):
            if key == before:
                self.page.wait_for_timeout(BOUNCE_MS)
            self.press(self.page.get_by_role("button", name=key, exact=True))
            before = key
        expect(self.page.get_by_test_id("typed")).to_have_text(rupiah(amount))

    def pay(self, amount: int) -> None:
        """Have a card asked for this total."""
        pay = self.page.get_by_test_id("pay")
        expect(pay).to_contain_text(rupiah(amount))
        self.press(pay)
        expect(self.heading(self.t("Tap the card"))).to_be_visible()
        expect(self.page.get_by_test_id("stage-total")).to_have_text(rupiah(amount))

    def paid(self, card: MemberCard, amount: int) -> int:
        """It is seen to be paid, by whom and what is left; the number of the sale."""
        act = self.page.locator("[data-phase=paid]")
        expect(act.get_by_role("heading")).to_have_text(f"{self.t('Paid')} {rupiah(amount)}")
        sequence = int(act.get_attribute("data-sequence") or 0)
        assert sequence not in self.sales
        self.sales[sequence] = (card, amount)
        card.spent += amount
        expect(act).to_contain_text(card.holder)
        expect(act.get_by_test_id("balance-after")).to_have_text(rupiah(card.left))
        self.look("paid")
        return sequence

    def next(self) -> None:
        self.press(self.button("Next sale"))
        self.shop.lift()
        expect(self.page.get_by_test_id("stage")).to_be_empty()

    def sell(self, card: MemberCard, amount: int) -> int:
        """What lies in the cart, or was typed, to this card."""
        self.pay(amount)
        self.shop.tap(card)
        sequence = self.paid(card, amount)
        self.next()
        return sequence

    def sell_amount(self, card: MemberCard, amount: int) -> int:
        self.type_amount(amount)
        return self.sell(card, amount)

    def into_cart(self, amount: int) -> None:
        """An amount, as a line of its own. Two taps on one button within 350 ms are one."""
        self.type_amount(amount)
        self.press(self.button("Into the cart"))
        expect(self.page.get_by_test_id("typed")).to_have_text(rupiah(0))
        self.page.wait_for_timeout(TWICE_MS)

    def goods(self) -> None:
        """To the catalogue."""
        self.press(self.page.get_by_role("tab", name=self.t("Goods")))

    def amounts(self) -> None:
        """Back to the pad."""
        self.press(self.page.get_by_role("tab", name=self.t("Amount")))

    def item(self, name: str) -> None:
        """Touch a tile of the catalogue."""
        self.press(self.page.get_by_role("button", name=re.compile(f"^{re.escape(name)} ?Rp")))

    def total(self, amount: int) -> None:
        expect(self.page.locator("#cart").get_by_test_id("total")).to_have_text(rupiah(amount))

    def scan(self, code: str) -> None:
        """As a scanner does, which is a keyboard that presses a key each 4 ms."""
        devtools = self.page.context.new_cdp_session(self.page)
        pressed = time.time()
        for key in (*code, "Enter"):
            text = "\r" if key == "Enter" else key
            told = {"key": key, "windowsVirtualKeyCode": ord(text), "timestamp": pressed}
            devtools.send("Input.dispatchKeyEvent", {"type": "keyDown", "text": text, **told})
            devtools.send("Input.dispatchKeyEvent", {"type": "keyUp", **told})
            pressed += 0.004
        devtools.detach()

    def line(self, name: str) -> None:
        """Open a line of the cart."""
        self.press(self.page.get_by_test_id("lines").get_by_role("button", name=name))
        expect(self.page.get_by_role("dialog")).to_be_visible()
