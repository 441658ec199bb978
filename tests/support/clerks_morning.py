"""A clerk's morning at the station, step by step: what the test asserts on, and the pictures show."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from dobmi.firmware_sim.card import SimulatedCard
from support.chromium import LARGE_DESK, open_page
from support.station_desk import JOKO, RINA
from support.station_shop import Clerk

MEMBERS = ("Ujang Hermawan", "Siti Nurhaliza", "", "Asep Sunandar", "Dewi Lestari")
"""As the list has them, numbered from 8001; the third has no name."""


def whole_morning(clerk: Clerk, chromium: Browser) -> list[Path]:
    """The cards that were issued."""
    logging_in(clerk)
    cards = a_list_is_issued(clerk)
    a_top_up(clerk, cards[0])
    held_for_a_second_person(clerk, chromium, cards[1])
    a_card_is_blocked(clerk, cards[2])
    the_end_of_the_morning(clerk)
    return cards


def logging_in(clerk: Clerk) -> None:
    clerk.look("login")
    clerk.fill("name", RINA)
    clerk.fill("password", "bukan kata sandinya")
    clerk.press(clerk.id("login"))
    expect(clerk.id("failure")).to_contain_text("4")
    clerk.look("wrong password")
    clerk.log_in(RINA)
    clerk.look("card, none there")


def a_list_is_issued(clerk: Clerk) -> list[Path]:
    """With one bad row, one card pulled away, and nothing pressed between cards."""
    shop = clerk.shop
    rows = [f"{number},{name}" for number, name in enumerate(MEMBERS, 8001)]
    path = shop.folder / "rembug.csv"
    path.write_text("\n".join(("number,name", *rows)), encoding="utf-8")
    clerk.go("issue")
    clerk.look("issue")
    clerk.id("file").set_input_files(path)
    clerk.press(clerk.id("read-file"))
    bad = clerk.id("bad-rows").get_by_role("row")
    expect(bad).to_have_count(2)
    expect(bad.nth(1)).to_contain_text("4")
    clerk.look("preview")
    clerk.press(clerk.id("take-list"))
    expect(clerk.id("lines").get_by_role("row")).to_have_count(5)
    clerk.look("list")
    clerk.press(clerk.id("begin-run"))
    cards = []
    for count, name in enumerate((name for name in MEMBERS if name), 1):
        clerk.run_phase("lay")
        expect(clerk.id("run-holder")).to_have_text(name)
        clerk.look("run: lay")
        card = shop.new_card()
        cards.append(card)
        if count == 2:
            shop.lay(card, pull_at=15)
            clerk.run_phase("same-again")
            clerk.look("run: same again")
            shop.lift()
        shop.lay(card)
        if count < 4:
            clerk.run_phase("issued")
            clerk.look("run: issued")
        else:
            clerk.run_phase("finished")
        assert clerk.page.evaluate("document.body.dataset.lastSound") == "paid"
        shop.lift()
    expect(clerk.id("run-count")).to_contain_text("4")
    clerk.look("run: finished")
    clerk.press(clerk.id("run-close"))
    expect(clerk.id("batch-issued")).to_have_text("4")
    clerk.look("list, issued")
    for paper in ("report", "labels", "cards", "faces"):
        address = clerk.id(f"paper-{paper}").get_attribute("href")
        printed = clerk.page.request.get(f"{shop.url}{address}")
        assert printed.ok, paper
        assert printed.body().startswith(b"%PDF"), paper
    return cards


def a_top_up(clerk: Clerk, card: Path) -> None:
    shop = clerk.shop
    clerk.go("topup")
    clerk.look("top up")
    clerk.fill("amount", "75000")
    expect(clerk.id("amount")).to_have_value("75.000")
    clerk.fill("received", "100000")
    expect(clerk.id("change")).to_have_text("Rp 25.000")
    clerk.press(clerk.id("topup"))
    clerk.phase("waiting")
    clerk.look("waiting")
    shop.lay(card, pull_at=5)
    clerk.phase("again")
    clerk.look("again")
    shop.lift()
    shop.lay(card)
    done = clerk.phase("done")
    expect(done).to_contain_text("Rp 75.000")
    expect(done).to_contain_text("Rp 25.000")
    clerk.look("topped up")
    clerk.press(clerk.id("act-path"))
    expect(clerk.id("receipt")).to_contain_text("Ujang Hermawan")
    expect(clerk.id("receipt-balance")).to_have_text("Rp 75.000")
    clerk.look("receipt")
    clerk.lies("active")
    clerk.go("card")
    expect(clerk.id("card-balance")).to_have_text("Rp 75.000")
    clerk.look("card")
    shop.lift()
    clerk.lies("none")


def held_for_a_second_person(clerk: Clerk, chromium: Browser, card: Path) -> None:
    shop = clerk.shop
    clerk.go("topup")
    clerk.fill("amount", "1500000")
    clerk.fill("received", "1500000")
    clerk.press(clerk.id("topup"))
    clerk.phase("waiting")
    shop.lay(card)
    clerk.phase("done")
    clerk.look("held")
    clerk.press(clerk.id("act-path"))
    expect(clerk.id("receipt-held")).to_be_visible()
    clerk.go("approvals")
    expect(clerk.id("approval")).to_contain_text("Rp 1.500.000")
    expect(clerk.id("accept")).to_have_count(0)
    joko = clerk.beside(open_page(chromium, shop.url, LARGE_DESK, clerk.language))
    joko.log_in(JOKO)
    joko.go("approvals")
    joko.look("approvals")
    joko.press(joko.id("accept"))
    expect(joko.id("decided")).to_contain_text(JOKO)
    joko.look("decided")
    joko.go("acts")
    expect(joko.id("acts")).to_contain_text(RINA)
    joko.look("acts")
    joko.log_out()
    clerk.go("card")
    clerk.press(clerk.id("open-card"))
    clerk.look("one card")
    clerk.press(clerk.id("deliver"))
    done = clerk.phase("done")
    expect(done).to_contain_text("Rp 1.500.000")
    clerk.close_act()
    clerk.press(clerk.id("inspect"))
    clerk.phase("done")
    clerk.press(clerk.id("act-path"))
    expect(clerk.id("report-balance")).to_have_text("Rp 1.500.000")
    clerk.look("report of a card")
    shop.lift()


def a_card_is_blocked(clerk: Clerk, card: Path) -> None:
    shop = clerk.shop
    clerk.go("card")
    uid = SimulatedCard.load(card).uid.hex().upper()
    clerk.fill("find", uid)
    clerk.press(clerk.id("find-go"))
    expect(clerk.id("card-state")).to_have_attribute("data-state", "active")
    for question in ("pin", "retire", "replace"):
        clerk.press(clerk.id(question))
        clerk.ready()
        clerk.look(question)
        clerk.press(clerk.id("back"))
    clerk.press(clerk.id("block"))
    clerk.look("block")
    clerk.press(clerk.page.get_by_role("button", name=clerk.t("Lost")))
    clerk.press(clerk.id("confirm"))
    expect(clerk.id("card-state")).to_have_attribute("data-state", "blocked")
    expect(clerk.id("card-state")).to_contain_text(clerk.t("Lost"))
    shop.lay(card)
    clerk.lies("blocked")
    shop.lift()


def the_end_of_the_morning(clerk: Clerk) -> None:
    clerk.go("cash")
    expect(clerk.id("expected")).to_have_text("Rp 1.575.000")
    clerk.look("cash")
    clerk.fill("counted", "1575000")
    clerk.press(clerk.id("count"))
    expect(clerk.id("counts")).to_contain_text("Rp 1.575.000")
    clerk.look("counted")
    clerk.go("status")
    expect(clerk.id("light-server")).to_have_attribute("data-level", "ok")
    clerk.look("status")
    clerk.log_out()
