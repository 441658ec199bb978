"""Pictures of every screen of the till's page: what `scripts/screenshots` runs.

In each language a day is walked through in a real Chromium, before the real program with its
simulated reader, a printer and a central server; each screen is taken at each size. A remark is made
of what a picture alone does not show: targets that are too small, texts that are cut off, covered or
in the other language, and what axe-core finds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from babel.messages.pofile import read_po
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from dobmi.central.acts import Actor
from dobmi.central.catalogue import import_catalogue, parse_catalogue
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import deliver_credits
from dobmi.central.issue_session import issue_card
from dobmi.central.member_notes import import_notes, parse_photos
from dobmi.central.pairing import approve_pairing, waiting_pairings
from dobmi.central.pin_session import change_card_pin
from dobmi.central.schema import CreditSource
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.i18n import LANGUAGES
from dobmi.money import Rupiah
from dobmi.sync.relay import PinAct, PinParameters, SecretPins
from dobmi.wib import WIB
from support.cashier import TWICE_MS, Cashier, violations
from support.fake_printer import network_printer
from support.outlet_shop import (
    ANI,
    ANI_PIN,
    BUDI,
    SITI,
    SITI_PIN,
    MemberCard,
    Office,
    Shop,
    office_at_work,
    shop_at_work,
)
from support.purses import InProcess, issued_card, new_ring
from support.servers import office as office_of
from support.tills import another_holder, card_with, expired

CHROMIUM = Path("/usr/bin/chromium")
CATALOGUE_FILE = Path(__file__).parents[2] / "src/dobmi/locale/id/LC_MESSAGES/dobmi.po"
SIZES = (ViewportSize(width=800, height=480), ViewportSize(width=1024, height=600))
TARGET_PIXELS = 48
COMMIT = 8
"""The exchange of a sale, counted from 0, that commits it."""
SELLER = "Toko Cikupa"
PIN = "739164"

NAMES = ("Ujang Hermawan", "Siti Nurhaliza Kusumaningrum", "Asep Sunandar", "Dewi Lestari", "Tati")

GOODS = """\
kode;nama;kategori;harga;barcode;harga:karyawan;harga:pengurus
BRS5;Beras pandan wangi super 5 kg;Sembako;75.000;8991234567890;70.000;68.000
BRS1;Beras ramos 1 kg;Sembako;15.500;8991234567891;;
GLA1;Gula pasir 1 kg;Sembako;17.500;8990000000024;;
MYK1;Minyak goreng kemasan bantal 1 l;Sembako;19.000;8990000000031;18.000;
MYK2;Minyak goreng 2 l;Sembako;36.500;;;
TLR;Telur ayam;Sembako;2.500;;;
TRG;Tepung terigu 1 kg;Sembako;12.000;;;
KCP;Kecap manis 550 ml;Bumbu;21.000;;;
GRM;Garam beryodium 250 g;Bumbu;3.000;;;
KPI;Kopi bubuk;Minuman;12.500;8990000000048;;
TEH;Teh celup isi 25;Minuman;7.500;;;
AQU;Air mineral 600 ml;Minuman;3.500;;;
SBN;Sabun mandi;Rumah tangga;4.000;8990000000017;;
DTR;Deterjen bubuk 800 g;Rumah tangga;19.500;;;
ROK;Buku tulis 38 lembar;Alat tulis;4.500;;;
"""

LOOK = """
() => {
  const found = [], texts = new Set();
  const dialog = document.querySelector("dialog[open]");
  const act = document.querySelector("#stage > *");
  const keys = document.querySelector("#keys");
  const layers = [keys, dialog, act].filter(Boolean);
  const isOver = (e) => layers.length === 0 || layers.some((layer) => layer.contains(e));
  const isSeen = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden"
    && !e.closest(".visually-hidden") && isOver(e);
  const name = (e) => (e.getAttribute("aria-label") || e.textContent || e.name || "")
    .replace(/\\s+/g, " ").trim().slice(0, 60);
  for (const e of document.querySelectorAll("button, a, input, select, textarea, summary")) {
    if (!isSeen(e) || e.type === "hidden") continue;
    const target = e.matches("label input[type=radio], label input[type=checkbox]") ? e.closest("label") : e;
    const box = target.getBoundingClientRect();
    if (box.width < TARGET || box.height < TARGET)
      found.push(`small, ${Math.round(box.width)} by ${Math.round(box.height)}: ${name(e)}`);
    for (const words of [e.getAttribute("aria-label"), e.placeholder]) if (words) texts.add(words);
  }
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const said = node.data.replace(/\\s+/g, " ").trim();
    const e = node.parentElement;
    if (!said || !isSeen(e) || e.closest(".toast")) continue;
    texts.add(said);
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.left < -1 || box.right > innerWidth + 1) found.push(`off the screen: ${said.slice(0, 60)}`);
    for (let outer = e; outer && outer !== document.body; outer = outer.parentElement) {
      const style = getComputedStyle(outer), edge = outer.getBoundingClientRect();
      const isWide = box.right > edge.right + 2 || box.left < edge.left - 2;
      const isTall = box.bottom > edge.bottom + 8 || box.top < edge.top - 8;
      const scrolls = (way) => way === "auto" || way === "scroll";
      if ((style.overflowX !== "visible" && isWide && !scrolls(style.overflowX))
          || (style.overflowY !== "visible" && isTall && !scrolls(style.overflowY))) {
        found.push(`cut off: ${said.slice(0, 60)}`); break;
      }
      if (isWide && outer.matches("button, .button")) { found.push(`wider than its button: ${said.slice(0, 60)}`); break; }
      if (style.overflowY !== "visible" && isTall) break;
    }
    const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    if (x > 0 && y > 0 && x < innerWidth && y < innerHeight) {
      const top = document.elementFromPoint(x, y);
      if (top && !e.contains(top) && !top.contains(e)) found.push(`covered: ${said.slice(0, 60)}`);
    }
  }
  const page = document.documentElement;
  if (document.body.classList.contains("fixed") && page.scrollHeight > innerHeight + 1)
    found.push(`scrolls by ${page.scrollHeight - innerHeight}`);
  if (page.scrollWidth > innerWidth + 1) found.push(`too wide by ${page.scrollWidth - innerWidth}`);
  for (const box of document.querySelectorAll(".said-big"))
    if (isSeen(box) && box.scrollHeight > box.clientHeight + 1) found.push(`the stage scrolls by ${box.scrollHeight - box.clientHeight}`);
  return {found, texts: [...texts], scrolls: page.scrollHeight - innerHeight};
}
""".replace("TARGET", str(TARGET_PIXELS))


@lru_cache(maxsize=1)
def messages() -> list[tuple[str, str]]:
    """Message ids with an Indonesian that is another text."""
    with CATALOGUE_FILE.open("rb") as file:
        found = read_po(file)
    pairs: list[tuple[str, str]] = []
    for message in found:
        said = _forms(message.string)[0]
        pairs += [(one, said) for one in _forms(message.id) if one and said and one != said]
    return pairs


def _forms(text: str | list[str] | tuple[str, ...] | None) -> list[str]:
    """Singular and plural."""
    return [text or ""] if text is None or isinstance(text, str) else list(text)


def pattern(message: str) -> str:
    """A message with anything in its places."""
    parts = re.split(r"\{[^}]*\}", message)
    return ".+".join(re.escape(part) for part in parts)


@lru_cache(maxsize=len(LANGUAGES))
def foreign_texts(language: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What must not be said in this language: whole, and within another text where it is long."""
    index = 0 if language == "id" else 1
    own = {pair[1 - index] for pair in messages()}
    wanted = [pair[index] for pair in messages() if pair[index] not in own]
    words = [one for one in wanted if len(re.sub(r"\{[^}]*\}|[\W\d]", "", one)) >= 3]
    long = [one for one in words if len(re.sub(r"\{[^}]*\}", "", one)) >= 16]
    return (
        re.compile("|".join(pattern(one) for one in words)),
        re.compile("|".join(pattern(one) for one in long)),
    )


@dataclass
class NamedCard(MemberCard):
    """A member with a name as people have."""

    name: str = ""

    @property
    def holder(self) -> str:
        return self.name


@dataclass
class Camera:
    """Takes each screen at each size, and makes remarks."""

    folder: Path
    language: str
    say: Callable[[str], None]
    sizes: tuple[ViewportSize, ...] = SIZES
    numbers: dict[str, int] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def take(self, page: Page, screen: str, *, axe: bool = True) -> None:
        if screen in self.numbers:
            return
        number = self.numbers[screen] = len(self.numbers) + 1
        name = f"{number:02}-{re.sub(r'[^a-z0-9]+', '-', screen.lower()).strip('-')}"
        kept = page.viewport_size
        for size in self.sizes:
            where = f"{size['width']}x{size['height']}"
            page.set_viewport_size(size)
            page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
            looked = page.evaluate(LOOK)
            path = self.folder / self.language / where / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=path)
            self.pictures.append(path)
            if looked["scrolls"] > 1:
                whole = path.with_name(f"{name}.full.png")
                page.screenshot(path=whole, full_page=True)
                self.pictures.append(whole)
            found = list(dict.fromkeys(looked["found"]))
            if size == self.sizes[0]:
                found += [f"in the other language: {one}" for one in self.foreign(looked["texts"])]
                found += violations(page) if axe else []
            self.remarks += [f"{self.language} {where} {name}: {one}" for one in found]
        if kept is not None:
            page.set_viewport_size(kept)
        self.say(f"  {self.language} {name}")

    def broken(self, page: Page, part: str, error: Exception) -> None:
        """The rest of a part of the walk is missing: that is a remark too."""
        self.remarks.append(f"{self.language} {part} broke: {str(error)[:600]}")
        self.say(self.remarks[-1])
        self.take(page, f"where {part} broke", axe=False)

    def foreign(self, texts: list[str]) -> list[str]:
        whole, within = foreign_texts(self.language)
        found = [one for one in texts if whole.fullmatch(one) or within.search(one)]
        return [one for one in found if one != "kasir"]  # the cashier of the settings is called so


@dataclass
class Walker(Cashier):
    """A cashier with a camera: what is looked at is taken."""

    camera: Camera = field(kw_only=True)
    display: Page = field(kw_only=True)

    def look(self, screen: str) -> None:
        self.camera.take(self.page, screen)

    def both(self, screen: str) -> None:
        """With what the member sees meanwhile."""
        self.look(screen)
        self.camera.take(self.display, f"display {screen}")

    @property
    def stage(self) -> Locator:
        return self.page.get_by_test_id("stage")

    def phase(self, phase: str) -> Locator:
        act = self.page.locator(f"[data-phase={phase}]")
        expect(act).to_be_visible(timeout=15_000)
        return act

    def open(self, path: str) -> None:
        self.page.goto(f"{self.shop.url}{path}")
        expect(self.page.locator("body[data-ready=yes], .display")).to_be_visible()

    def quickly_add(self, amount: int) -> None:
        self.type_amount(amount)
        self.page.wait_for_timeout(TWICE_MS)

    def back(self) -> None:
        """From whatever the card came to, with an empty reader."""
        self.page.keyboard.press("Escape")
        self.shop.lift()
        expect(self.stage).to_be_empty()

    def clear(self) -> None:
        if self.page.get_by_test_id("more").count():
            self.press(self.page.get_by_test_id("more"))
            self.press(self.page.get_by_test_id("clear"))
            self.total(0)


# --- what the walk needs --------------------------------------------------------------------------


def photo(path: Path) -> None:
    """Somebody's face, more or less."""
    image = Image.new("RGB", (240, 320), "#9fc3d8")
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 230, 220, 420), fill="#7d2e3b")
    draw.ellipse((60, 60, 180, 230), fill="#c58c5c")
    draw.pieslice((55, 45, 185, 190), 180, 360, fill="#2b1c14")
    draw.ellipse((90, 130, 104, 144), fill="#2b1c14")
    draw.ellipse((136, 130, 150, 144), fill="#2b1c14")
    draw.arc((95, 165, 145, 205), 20, 160, fill="#6b2c23", width=5)
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=80)
    path.write_bytes(kept.getvalue())


def named_card(office: Office, folder: Path, member: int, name: str, balance: int) -> NamedCard:
    made = SimulatedCard()
    issue_card(office.central, InProcess(made), member, name)
    if balance:
        credit(office, made, balance)
        made.power_off()
        deliver_credits(office.central, InProcess(made))
    made.power_off()
    path = folder / f"card-{member}.json"
    made.save(path)
    return NamedCard(path, made.uid, member, balance, name=name)


def credit(office: Office, card: SimulatedCard | MemberCard, amount: int) -> None:
    order_credit(
        office.central,
        card.uid,
        Rupiah(amount),
        CreditSource.CASH,
        idempotency_key=f"credit-{card.uid.hex()}-{amount}",
        station=office_of(office.central),
    )


def other_card(folder: Path, name: str, card: SimulatedCard) -> MemberCard:
    card.power_off()
    path = folder / f"card-{name}.json"
    card.save(path)
    return MemberCard(path, card.uid, 0, 0)


def speak(shop: Shop, language: str) -> None:
    """The till's papers are in the language of its settings."""
    path = shop.folder / "dobmi.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f'language = "{language}"\n{text}', encoding="utf-8")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def changed_ledger(shop: Shop) -> Iterator[sqlite3.Connection]:
    """The till's state while its program is stopped, which then starts again. It goes back too."""
    shop.stop()
    connection = sqlite3.connect(shop.folder / "terminal.db")
    found = "select name, sql from sqlite_master where type = 'trigger' and tbl_name = 'state'"
    with connection:
        guards = connection.execute(found).fetchall()
        for name, _ in guards:
            connection.execute(f'drop trigger "{name}"')
        yield connection
        for _, guard in guards:
            connection.execute(guard)
    connection.close()
    shop.start()


@contextmanager
def frozen(shop: Shop) -> Iterator[None]:
    """The program held still, so that a moment can be looked at."""
    assert shop.process is not None
    try:
        yield
    finally:
        shop.process.send_signal(signal.SIGCONT)


def open_pages(chromium: Browser, url: str, language: str) -> tuple[Page, Page]:
    """The cashier's and the member's."""
    context = chromium.new_context(viewport=SIZES[0], reduced_motion="reduce")
    cookie = {"name": "dobmi_language", "value": language, "url": url}
    context.add_cookies([cookie])  # type: ignore[list-item] # a TypedDict, by its fields
    context.set_default_timeout(15_000)
    return context.new_page(), context.new_page()


# --- the walk -------------------------------------------------------------------------------------


@dataclass
class Day:
    """One language's walk: who is there, and with which cards."""

    c: Walker
    ujang: NamedCard
    """Has a photo and an order."""
    siti: NamedCard
    """Of the class karyawan, with a long name."""
    asep: NamedCard
    """Has little."""
    dewi: NamedCard
    """Gets blocked."""
    tati: NamedCard
    """Has a credit waiting, and works nowhere."""
    ani: MemberCard
    """The supervisor's."""
    gone: MemberCard
    """Has expired."""
    foreign: MemberCard
    """Another system's."""
    blank: MemberCard

    @property
    def shop(self) -> Shop:
        return self.c.shop

    @property
    def page(self) -> Page:
        return self.c.page


def set_up(c: Walker, card: MemberCard) -> None:
    """A till that nobody knows yet."""
    page, shop = c.page, c.shop
    shop.start()
    c.open("/setup")
    c.look("set-up")
    c.press(page.get_by_test_id("try-reader"))
    shop.hands.tap(card.path)
    expect(page.locator("#reader-said [data-testid=tried]")).to_be_visible()
    c.press(page.get_by_test_id("try-printer"))
    expect(page.locator("#printer-said [data-testid=tried]")).to_be_visible()
    c.look("set-up reader and printer tried")
    c.press(page.get_by_test_id("other-printer"))
    c.look("set-up with keys")
    page.keyboard.press("Escape")
    c.press(page.get_by_test_id("pair"))
    expect(page.get_by_test_id("pairing-code")).to_be_visible()
    c.look("pairing code")
    central = shop.office.central
    code = waiting_pairings(central)[0].code
    approved = approve_pairing(central, code, seller=shop.seller, approved_by="Rina")
    expect(page.get_by_test_id("approved")).to_be_visible()
    c.look("pairing approved")
    wrong = f"{(int(approved.reply) + 1) % 10_000:04}"
    page.get_by_test_id("reply").fill(wrong)
    c.press(page.get_by_test_id("finish-pairing"))
    expect(page.get_by_test_id("failure")).to_be_visible()
    c.look("pairing wrong digits")
    page.get_by_test_id("reply").fill(approved.reply)
    c.press(page.get_by_test_id("finish-pairing"))
    expect(page.get_by_test_id("terminal-id")).to_be_visible()
    c.look("paired")
    shop.stop()


def people(day: Day) -> None:
    c, page = day.c, day.page
    c.open("/status")
    c.look("status before the first sync")
    c.press(c.button("Sync now"))
    expect(c.heading(c.t("Log in"))).to_be_visible()
    c.camera.take(c.display, "display hello")
    c.look("login")
    c.type_into(page.get_by_label(c.t("Staff number")), str(SITI[0]))
    c.type_into(page.get_by_label(c.t("PIN")), "111222")
    c.press(c.button("Log in"))
    expect(page.get_by_test_id("failure")).to_be_visible()
    c.look("login wrong PIN")
    c.press(page.get_by_test_id("login-card"))
    c.phase("waiting")
    c.look("login by card")
    day.shop.tap(day.tati)
    expect(page.get_by_test_id("failure")).to_be_visible()
    c.look("login card of no staff")
    day.shop.lift()
    for _ in range(5):
        c.type_into(page.get_by_label(c.t("Staff number")), str(BUDI[0]))
        c.type_into(page.get_by_label(c.t("PIN")), "111222")
        c.press(c.button("Log in"))
        expect(page.get_by_test_id("failure")).to_be_visible()
    c.look("login locked")
    c.log_in(SITI, SITI_PIN)


def shift_begins(day: Day) -> None:
    c, page = day.c, day.page
    expect(c.heading(c.t("Open the shift"))).to_be_visible()
    c.look("shift to open")
    c.open("/sales")
    c.look("no shift")
    c.open("/shift")
    c.type_into(page.get_by_label(c.t("Float in the drawer")), "200000")
    c.press(c.button("Open the shift"))
    expect(page.get_by_role("tab", name=c.t("Amount"))).to_be_visible()
    c.sell_amount(day.ujang, 15_000)
    c.go("Shift")
    c.press(c.link("Close the shift"))
    c.type_into(page.get_by_label(c.t("Counted in the drawer")), "200000")
    c.press(c.button("Close the shift"))
    expect(page.get_by_test_id("paper")).to_be_visible()
    c.look("Z report")
    c.open("/shift")
    c.type_into(page.get_by_label(c.t("Float in the drawer")), "200000")
    c.press(c.button("Open the shift"))
    expect(page.get_by_role("tab", name=c.t("Amount"))).to_be_visible()


def goods(day: Day) -> None:
    c, page = day.c, day.page
    c.look("sell")
    c.type_amount(12_500)
    c.look("sell amount typed")
    c.press(c.button("Class"))
    c.look("class")
    page.keyboard.press("Escape")
    c.press(c.button("Recall"))
    c.look("recall nothing")
    page.keyboard.press("Escape")
    c.goods()
    page.keyboard.press("Escape")
    c.look("goods")
    c.press(page.get_by_test_id("search"))
    c.look("goods with keys")
    search = page.get_by_test_id("search")
    search.fill("minyak")
    expect(page.get_by_test_id("item")).to_have_count(2)
    c.look("goods found")
    search.fill("xyz")
    expect(page.get_by_test_id("item")).to_have_count(0)
    c.look("goods not found")
    search.fill("")
    page.keyboard.press("Escape")
    c.amounts()
    for code in ("8991234567890", "8990000000031", "8990000000048", "8990000000017"):
        c.scan(code)
        page.wait_for_timeout(TWICE_MS)
    c.total(110_500)
    c.both("cart")
    c.scan("4711471147114")
    expect(page.get_by_test_id("said")).to_be_visible()
    c.look("barcode unknown")
    c.line("Minyak")
    c.look("line")
    c.press(page.get_by_test_id("quantity"))
    c.look("line with keys")
    c.press(page.locator('#keys [data-board="done"]'))
    page.get_by_test_id("quantity").fill("3")
    page.get_by_test_id("percent").fill("150")
    c.press(page.get_by_test_id("apply"))
    expect(page.locator("#window-said .said")).to_be_visible()
    c.look("line refused")
    page.get_by_test_id("percent").fill("")
    page.get_by_test_id("off").fill("2000")
    c.press(page.get_by_test_id("apply"))
    c.press(c.button("Discount"))
    c.look("discount")
    c.press(page.get_by_role("button", name="10 %"))
    c.press(page.get_by_test_id("apply"))
    c.both("cart with discounts")
    c.press(c.button("More …"))
    c.look("more")
    page.keyboard.press("Escape")
    c.press(c.button("Hold"))
    expect(page.get_by_test_id("recall")).to_be_visible()
    c.press(c.button("Recall"))
    c.look("recall")
    c.press(page.get_by_test_id("held").first)
    expect(page.get_by_test_id("line")).to_have_count(4)
    for _ in range(5):
        c.into_cart(7_000)
    c.both("cart long")
    c.clear()


def cards(day: Day) -> None:
    c, page, shop = day.c, day.page, day.shop
    # A card before the total
    shop.tap(day.ujang)
    expect(page.get_by_test_id("card-here")).to_contain_text(day.ujang.holder)
    c.look("card here")
    shop.tap(day.foreign)
    expect(page.locator("[data-testid=card-here].bad")).to_be_visible()
    c.look("card here of no use")
    shop.lift()
    # A sale, moment for moment
    c.type_amount(12_500)
    c.pay(12_500)
    c.both("waiting")
    shop.lift()
    shop.hands.tap(day.tati.path, radio=106)
    c.phase("working")
    assert shop.process is not None
    shop.process.send_signal(signal.SIGSTOP)
    with frozen(shop):
        c.both("working")
    c.paid(day.tati, 12_500)
    c.next()
    c.type_amount(12_500)
    c.pay(12_500)
    shop.tap(day.ujang)
    c.paid(day.ujang, 12_500)
    c.both("paid")
    c.press(c.button("Next sale"))
    expect(page.get_by_test_id("lift-card")).to_be_visible()
    c.look("card to be taken away")
    c.type_amount(5_000)
    c.press(page.get_by_test_id("pay"))
    expect(c.heading(c.t("Lift the card, then tap it again"))).to_be_visible()
    c.both("waiting for the card to be lifted")
    page.keyboard.press("Escape")
    shop.lift()
    expect(c.stage).to_be_empty()
    c.clear()
    # Another class's prices
    c.scan("8990000000031")
    c.total(19_000)
    c.pay(19_000)
    shop.tap(day.siti)
    expect(page.get_by_test_id("new-price")).to_be_visible()
    c.both("price of another class")
    shop.lift()
    c.page.wait_for_timeout(300)
    c.look("price of another class, card lifted")
    shop.tap(day.siti)
    c.paid(day.siti, 18_000)
    c.look("paid by a long name")
    c.next()
    for name, card, phase in (
        ("low balance", day.asep, "refused"),
        ("expired", day.gone, "refused"),
        ("foreign card", day.foreign, "refused"),
        ("blank card", day.blank, "refused"),
    ):
        c.type_amount(50_500)
        c.pay(50_500)
        shop.tap(card)
        c.phase(phase)
        c.both(f"refused {name}")
        c.back()
        c.clear()
    shop.office.block(day.dewi)
    c.go("Status")
    c.press(c.button("Sync now"))
    expect(page.get_by_test_id("done").or_(page.get_by_test_id("light-network"))).to_be_visible()
    page.wait_for_timeout(1500)
    c.look("status good")
    c.go("Sell")
    c.type_amount(30_000)
    c.pay(30_000)
    shop.tap(day.dewi)
    c.phase("refused")
    c.both("refused blocked")
    c.back()
    c.clear()


def pins(day: Day) -> None:
    """A sale that needs the member's PIN; it is typed, wrong, locked; and there is none."""
    c, shop, page = day.c, day.shop, day.page
    card = SimulatedCard.load(day.ujang.path)
    asked, typed = PinParameters(act=PinAct.SET), SecretPins(new=PIN)
    change_card_pin(shop.office.central, InProcess(card), asked, typed, Actor("", None))
    card.power_off()
    card.save(day.ujang.path)

    def limited(amount: int) -> None:
        """As the feed sets it."""
        with contextlib.closing(sqlite3.connect(shop.folder / "terminal.db")) as ledger, ledger:
            ledger.execute("UPDATE outlet_state SET pin_above_rupiah = ?", (amount,))

    def asks() -> None:
        c.type_amount(150_000)
        c.press(page.get_by_test_id("pay"))
        c.phase("pin")

    def types(pin: str) -> None:
        page.keyboard.type(pin)
        page.keyboard.press("Enter")

    limited(100_000)
    asks()
    c.both("PIN")
    page.keyboard.type(PIN)
    c.look("PIN typed")
    page.keyboard.press("Enter")
    shop.tap(day.siti)
    c.phase("refused")
    c.both("refused without PIN")
    c.back()
    c.clear()
    asks()
    shop.tap(day.ujang)
    types("555012")
    expect(page.get_by_test_id("stage-error")).to_be_visible()
    c.both("PIN wrong")
    for _ in range(2):
        expect(page.get_by_test_id("card-pin")).to_have_value("")
        page.wait_for_timeout(TWICE_MS)
        types("555012")
        page.wait_for_timeout(TWICE_MS)
    c.phase("refused")
    c.both("PIN locked")
    c.back()
    c.clear()
    limited(0)


def torn(day: Day) -> None:
    c, page, shop = day.c, day.page, day.shop
    c.type_amount(13_000)
    c.pay(13_000)
    shop.tap(day.ujang, pull_at=4)
    expect(page.get_by_test_id("stage-error")).to_be_visible()
    c.both("gone too soon")
    shop.tap(day.ujang)
    c.paid(day.ujang, 13_000)
    c.next()
    c.type_amount(14_000)
    c.pay(14_000)
    shop.tap(day.ujang, pull_at=COMMIT)
    c.phase("in-doubt")
    c.both("in doubt")
    shop.tap(day.siti)
    expect(page.get_by_test_id("stage-error")).to_be_visible()
    c.both("in doubt another card")
    shop.lift()
    c.press(page.get_by_test_id("give-up"))
    c.phase("doubt-left")
    c.both("doubt left")
    c.press(c.button("Understood"))
    expect(c.stage).to_be_empty()
    c.clear()
    c.go("Sales")
    c.look("sales with a doubt")
    c.press(page.locator("tr[data-state=in_doubt] a"))
    c.look("sale in doubt")
    c.go("Status")
    c.look("status with a doubt")
    c.go("Balance")
    c.phase("waiting")
    c.both("balance asked")
    shop.tap(day.ujang)
    c.phase("balance")
    c.both("balance with a doubt settled")
    day.ujang.spent += 14_000
    c.back()
    for amount in (1_000, 2_500, 11_000, 3_000, 4_000, 5_500, 8_000):
        c.go("Sell")
        c.sell_amount(day.ujang, amount)
    c.go("Balance")
    c.phase("waiting")
    shop.tap(day.ujang)
    c.phase("balance")
    c.look("balance with ten")
    c.back()
    c.look("balance page")
    shop.tap(day.tati)
    c.press(page.get_by_test_id("ask-balance"))
    c.phase("balance")
    c.look("balance with money waiting")
    c.back()
    shop.tap(day.dewi)
    c.press(page.get_by_test_id("ask-balance"))
    c.phase("balance")
    c.look("balance of a blocked card")
    c.back()


def refunds(day: Day) -> None:
    c, page, shop = day.c, day.page, day.shop
    c.go("Sell")
    for code in ("8991234567890", "8990000000048"):
        c.scan(code)
        page.wait_for_timeout(TWICE_MS)
    sequence = c.sell(day.ujang, 87_500)
    c.go("Sales")
    c.look("sales")
    c.open(f"/receipt/{sequence}")
    c.look("receipt")
    c.open(f"/sales/{sequence}")
    c.look("sale")
    c.type_into(page.get_by_test_id("line-0"), "1")
    c.press(page.get_by_test_id("reason-3"))
    c.look("sale goods back")
    c.press(page.get_by_test_id("reason"))
    c.look("sale with keys")
    page.keyboard.press("Escape")
    c.press(page.get_by_test_id("refund"))
    c.phase("refunded")
    c.both("refunded")
    c.back()
    c.open(f"/sales/{sequence}")
    c.look("sale refunded in part")
    c.press(page.get_by_role("link", name=c.t("Slip")))
    c.look("refund slip")
    c.open("/sales/1")
    c.look("sale of an earlier shift")
    page.get_by_test_id("reason").fill("salah")
    page.get_by_test_id("supervisor").fill(str(SITI[0]))
    page.get_by_test_id("pin").fill(SITI_PIN)
    c.press(page.get_by_test_id("refund"))
    c.phase("refused")
    c.look("refund without a supervisor")
    c.back()
    c.open("/sales/1")
    page.get_by_test_id("reason").fill("salah")
    c.press(page.get_by_test_id("supervisor-card"))
    c.phase("waiting")
    c.look("refund waits for the supervisor's card")
    shop.tap(day.ani)
    c.phase("refunded")
    c.look("refunded with a supervisor")
    c.back()
    c.open("/sales/1")
    c.look("sale refunded whole")
    c.open("/sales/999")
    c.look("sale not found")


def orders(day: Day) -> None:
    c, page = day.c, day.page
    number = f"{day.ujang.member}1"
    c.go("Orders")
    c.look("orders")
    c.press(page.get_by_role("row", name=number).get_by_role("link"))
    c.look("order")
    c.press(c.button("Open as a cart"))
    c.look("order as a cart")
    c.line("Telur")
    c.look("order line")
    page.get_by_test_id("quantity").fill("8")
    c.press(page.get_by_test_id("apply"))
    expect(page.get_by_test_id("lines")).to_contain_text(c.t("short: {number}", number=2))
    c.both("order short")
    c.sell(day.ujang, 170_000)
    c.go("Orders")
    c.look("orders with one paid")
    c.press(page.get_by_role("row", name=number).get_by_role("link"))
    c.look("order paid")
    c.open("/orders?text=xyz")
    c.look("orders not found")


def drawer(day: Day) -> None:
    c, page = day.c, day.page
    c.go("Shift")
    c.look("shift")
    c.press(page.get_by_test_id("cash-reason"))
    c.look("shift with keys")
    page.keyboard.press("Escape")
    c.type_into(page.get_by_test_id("cash-amount"), "50000")
    c.type_into(page.get_by_test_id("cash-reason"), "setor bank")
    c.press(c.button("Take out"))
    expect(page.get_by_test_id("expected")).to_be_visible()
    c.look("shift with cash out")
    c.press(c.link("X report"))
    c.look("X report")
    c.log_out()
    c.log_in(ANI, ANI_PIN)
    c.look("shift to take over")
    c.open("/setup")
    c.look("set-up of a till at work")
    c.go("Shift")
    c.press(c.button("Take over"))
    c.go("Shift")
    c.press(c.link("Close the shift"))
    c.look("shift to close")
    page.keyboard.press("Escape")


def troubles(day: Day) -> None:
    """What stops the till, or the paper."""
    c, page, shop = day.c, day.page, day.shop
    c.open("/")
    c.log_out()
    supervisor_sells(day)
    shop.printer.lines_left = 0
    c.sell_amount(day.ujang, 6_500)
    expect(page.get_by_test_id("paper-trouble")).to_be_visible()
    c.look("sell without paper")
    c.type_amount(3_500)
    c.pay(3_500)
    shop.tap(day.ujang)
    c.paid(day.ujang, 3_500)
    c.look("paid without paper")
    c.next()
    shop.office.close()
    c.go("Status")
    c.press(c.button("Sync now"))
    lamp = page.get_by_test_id("lamp")
    network = page.get_by_test_id("light-network")
    expect(network).to_have_attribute("data-level", "warn", timeout=60_000)
    c.open("/status")
    c.look("status bad")
    shop.printer.put_in_paper()
    shop.office.open()
    shop.hands.unplug()
    c.open("/")
    expect(page.get_by_test_id("reader-gone")).to_be_visible()
    c.look("reader gone")
    c.open("/status")
    c.look("status reader gone")
    c.open("/")
    c.type_amount(3_500)
    c.press(page.get_by_test_id("pay"))
    page.wait_for_timeout(700)
    c.both("pay without a reader")
    page.keyboard.press("Escape")
    shop.hands.plug()
    page.wait_for_timeout(1500)
    c.open("/status")
    c.press(c.button("Sync now"))
    expect(lamp).to_have_attribute("data-level", "ok", timeout=30_000)
    c.go("Sell")
    c.clear()
    for amount in (2_000, 2_500, 3_000):
        c.sell_amount(day.ujang, amount)
    for name, change in {
        "stopped sync too old": "synced_unix_seconds = synced_unix_seconds - 90000,"
        " server_unix_seconds = server_unix_seconds - 90000, sync_age_seconds_max = 86400",
        "stopped unsent": "unsent_vouchers_max = 3",
        "stopped clock": "synced_unix_seconds = synced_unix_seconds - 400 * 86400,"
        " server_unix_seconds = server_unix_seconds - 400 * 86400",
        "not shown": "shown_sequence = shown_sequence - 1",
    }.items():
        with changed_ledger(shop) as connection:
            kept = connection.execute("select * from state").fetchone()
            names = [column[1] for column in connection.execute("pragma table_info(state)")]
            connection.execute(f"update state set {change}")  # noqa: S608 - by this table alone
        c.open("/login")
        expect(c.heading(c.t("Log in"))).to_be_visible(timeout=20_000)
        c.log_in(ANI, ANI_PIN)
        page.wait_for_timeout(500)
        c.look(name)
        c.open("/status")
        c.look(f"status {name}")
        with changed_ledger(shop) as connection:
            marks = ", ".join(f"{column} = ?" for column in names)
            connection.execute(f"update state set {marks}", kept)  # noqa: S608 - likewise
    supervisor_sells(day)


def the_end(day: Day) -> None:
    c, page, shop = day.c, day.page, day.shop
    supervisor_sells(day)
    c.press(page.get_by_test_id("who"))
    c.look("log out")
    # Without a printer: the receipt on the screen; and a member who does not find the card.
    text = (shop.folder / "dobmi.toml").read_text(encoding="utf-8")
    text = re.sub(r'printer = ".*"', 'printer = "none"', text) + "\ncard_wait_seconds = 2\n"
    shop.stop()
    (shop.folder / "dobmi.toml").write_text(text, encoding="utf-8")
    shop.start()
    supervisor_sells(day)
    c.open("/receipt/1")
    c.look("receipt without a printer")
    c.open("/")
    c.type_amount(4_500)
    c.press(page.get_by_test_id("pay"))
    c.phase("refused")
    c.both("no card came")
    page.keyboard.press("Escape")
    c.open("/status")
    c.look("status without a printer")
    assert shop.process is not None
    shop.process.kill()
    shop.process.wait()
    expect(page.locator("#lost")).to_be_visible()
    c.both("program gone")
    (shop.folder / "till.keys").rename(shop.folder / "away.keys")
    shop.start()
    page.wait_for_timeout(3_000)  # it finds its session over, and loads itself again
    c.open("/login")
    expect(c.heading(c.t("The till is not ready"))).to_be_visible(timeout=20_000)
    c.look("till not ready")


def supervisor_sells(day: Day) -> None:
    """Logged in, and on duty."""
    day.c.open("/login")
    if day.page.get_by_test_id("pin").count():
        day.c.log_in(ANI, ANI_PIN)
    if day.page.get_by_test_id("take-over").count():
        day.c.press(day.page.get_by_test_id("take-over"))
    day.c.open("/")


def recover(day: Day) -> None:
    """To where the next part of the walk can begin."""
    if day.shop.process is None or day.shop.process.poll() is not None:
        day.shop.start()
    day.shop.lift()
    for _ in range(3):
        day.page.keyboard.press("Escape")
    supervisor_sells(day)
    if day.page.get_by_test_id("give-up").count():
        day.c.press(day.page.get_by_test_id("give-up"))
        day.page.keyboard.press("Escape")
    day.c.clear()


PARTS = (shift_begins, goods, cards, pins, torn, refunds, orders, drawer, troubles, the_end)
"""One after the other; each can be left out."""


def walk(chromium: Browser, folder: Path, camera: Camera, wanted: Collection[str]) -> None:
    """One language, from a till that nobody knows to a shift that is closed."""
    with office_at_work(folder) as office, network_printer() as printer:
        import_catalogue(office.central.database, parse_catalogue(GOODS), None)
        told = [
            named_card(office, folder, 1001 + index, name, balance)
            for index, (name, balance) in enumerate(
                zip(NAMES, (900_000, 400_000, 20_000, 100_000, 75_000), strict=True)
            )
        ]
        ani = named_card(office, folder, 1020, ANI[1], 0)
        new_till = folder / "new"
        new_till.mkdir()
        shop = Shop(
            office=office,
            seller=SELLER,
            folder=new_till,
            terminal_id=0,
            printer=printer,
            port=free_port(),
            first_member=1,
        )
        speak(shop, camera.language)
        page, display = open_pages(chromium, shop.url, camera.language)
        try:
            set_up(
                Walker(page, shop, camera.language, camera=camera, display=display),
                told[0],
            )
        finally:
            shop.stop()
        photo(folder / "photo.jpg")
        till = folder / "till"
        till.mkdir()
        with shop_at_work(office, till, free_port()) as shop:
            office.staff(shop.seller, ani)
            office.classify(told[1], "karyawan")
            lines = parse_photos(f"member,file\n{told[0].member},photo.jpg\n", folder)
            import_notes(office.central.database, lines, int(time.time()))
            day = datetime.now(WIB).date()
            first, second = told[0].member, told[1].member
            office.orders(
                shop.seller,
                f"{first}1,{first},{day},BRS5,Beras pandan wangi super 5 kg,2,75000",
                f"{first}1,{first},{day},TLR,Telur ayam,10,2500",
                f"{second}2,{second},{day + timedelta(days=1)},GLA1,Gula pasir 1 kg,3,17500",
            )
            credit(office, told[4], 50_000)
            page, display = open_pages(chromium, shop.url, camera.language)
            walker = Walker(page, shop, camera.language, camera=camera, display=display)
            speak(shop, camera.language)
            shop.start()
            display.goto(f"{shop.url}/display")
            ujang, siti, asep, dewi, tati = told
            whole = Day(
                c=walker,
                ujang=ujang,
                siti=siti,
                asep=asep,
                dewi=dewi,
                tati=tati,
                ani=ani,
                gone=other_card(folder, "expired", card_with(80_000, expired(date(2026, 1, 31)))),
                foreign=other_card(
                    folder, "foreign", issued_card(new_ring(), Rupiah(5_000), another_holder(9))
                ),
                blank=other_card(folder, "blank", SimulatedCard()),
            )
            for part in (people, *(part for part in PARTS if part.__name__ in wanted)):
                try:
                    part(whole)
                except Exception as error:  # noqa: BLE001 - one screen that fails hides no other
                    camera.broken(page, part.__name__, error)
                    recover(whole)


def contact_sheets(
    pictures: list[Path], folder: Path, across: int = 3, rows: int = 4
) -> list[Path]:
    """Many small ones on each, to look them through."""
    made: list[Path] = []
    for where in sorted({picture.parent for picture in pictures}):
        here = [one for one in pictures if one.parent == where and ".full" not in one.name]
        for number, start in enumerate(range(0, len(here), across * rows), 1):
            some = here[start : start + across * rows]
            with Image.open(some[0]) as first:
                size = first.size
            sheet = Image.new("RGB", (across * (size[0] + 8), rows * (size[1] + 24)), "#333333")
            draw = ImageDraw.Draw(sheet)
            for index, path in enumerate(some):
                x = index % across * (size[0] + 8)
                y = index // across * (size[1] + 24)
                draw.text((x + 4, y + 4), path.name, fill="white")
                with Image.open(path) as picture:
                    sheet.paste(picture.convert("RGB"), (x, y + 20))
            name = f"sheet-{where.parent.name}-{where.name}-{number:02}.png"
            sheet.save(folder / name)
            made.append(folder / name)
    return made


def take_all(
    folder: Path,
    languages: list[str],
    walked: Callable[[Browser, Path, Camera], None],
    say: Callable[[str], None],
    sizes: tuple[ViewportSize, ...] = SIZES,
) -> int:
    """How many remarks there are. Raises what breaks the walk."""
    flags = ["--disable-gpu", "--disable-dev-shm-usage"]
    if os.getuid() == 0:
        flags.append("--no-sandbox")
    for language in languages:
        shutil.rmtree(folder / language, ignore_errors=True)
    for old in folder.glob("sheet-*.png"):
        old.unlink()
    cameras = [Camera(folder, language, say, sizes) for language in languages]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        for camera in cameras:
            say(f"{camera.language}:")
            with tempfile.TemporaryDirectory() as temporary:
                walked(chromium, Path(temporary), camera)
        chromium.close()
    pictures = [picture for camera in cameras for picture in camera.pictures]
    sheets = contact_sheets(pictures, folder)
    remarks = [remark for camera in cameras for remark in camera.remarks]
    (folder / "remarks.txt").write_text("".join(f"{one}\n" for one in remarks), encoding="utf-8")
    screens = len(cameras[0].numbers)
    say(f"{len(pictures)} pictures of {screens} screens, {len(sheets)} contact sheets in {folder}")
    say(f"{len(remarks)} remarks" + (f": {folder / 'remarks.txt'}" if remarks else ""))
    return len(remarks)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("screenshots"))
    parser.add_argument("--language", choices=LANGUAGES, help="only this one")
    names = [part.__name__ for part in PARTS]
    parser.add_argument(
        "--part", choices=names, action="append", help="only these parts of the walk, and its start"
    )
    parser.add_argument("--strict", action="store_true", help="fail if there are remarks")
    arguments = parser.parse_args()
    languages = [arguments.language] if arguments.language else list(LANGUAGES)

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    wanted = arguments.part or names

    def walked(chromium: Browser, temporary: Path, camera: Camera) -> None:
        walk(chromium, temporary, camera, wanted)

    remarks = take_all(arguments.folder, languages, walked, say)
    if remarks and arguments.strict:
        sys.exit(1)


if __name__ == "__main__":
    main()
