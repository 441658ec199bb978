"""The office's page in a real Chromium, at two sizes of screen and in both languages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from starlette.testclient import TestClient

from dobmi.central.acts import Act, Actor, list_acts
from dobmi.central.app import create_app
from dobmi.central.approvals import approval_of, propose_at
from dobmi.central.restitution import Restitution
from dobmi.central.schema import ApprovalKind, StaffRole
from dobmi.central.terminals import list_terminals
from dobmi.money import Rupiah
from dobmi.sync.pairing import PairingState
from support.asking_till import Till
from support.cashier import SMALL_TARGETS, violations
from support.central_client import RING, SETTINGS, Office
from support.chromium import LARGE_DESK, SMALL_DESK, launched, open_page
from support.databases import Kind, using
from support.servers import serving
from support.staffed import PASSWORD, employ
from support.traffic import ModelCard, ModelTill, World


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    yield from launched()


@dataclasses.dataclass
class Scene:
    world: World
    url: str
    till: ModelTill
    card: ModelCard
    asking: Till


@pytest.fixture
def scene(tmp_path: Path, unused_port: int) -> Iterator[Scene]:
    """A till that sold and is to be revoked, another that asks to be taken in, a proposal."""
    with using(Kind.SQLITE):
        url = f"http://127.0.0.1:{unused_port}"
        settings = SETTINGS.model_copy(update={"office_origins": (url,)})
        world = World.create(tmp_path, keys=RING, settings=settings)
        employ(world.central, "Ani Kusumaningrum", *StaffRole)
        employ(world.central, "Budi", StaffRole.PROPOSER, password=False)
        till, station = world.till("Toko Cikupa"), world.station()
        cards = world.make_cards(4711, 12)
        for card in cards:
            world.top_up(station, card, Rupiah(50_000))
            till.sell(card, Rupiah(7_000))
        office = Office(world, TestClient(create_app(world.central)))
        office.acknowledged(till.batch())
        asking = Till(office).waiting()
        owed = Restitution(cards[0].uid, Rupiah(15_000), "struk salah, dibayar dua kali").facts()
        propose_at(world.central, ApprovalKind.RESTITUTION, owed, Actor("Budi", None))
        with serving(world.central, unused_port):
            yield Scene(world, url, till, cards[0], asking)
        world.close()


def look(page: Page, screen: str, folder: Path) -> None:
    """Have axe-core look at it, measure it, and take its picture."""
    assert (screen, violations(page)) == (screen, [])
    assert (screen, page.evaluate(SMALL_TARGETS)) == (screen, [])
    picture = folder / f"{screen}.png"
    page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 5_000


def there(page: Page, name: str) -> None:
    expect(page.get_by_test_id(name)).to_be_visible()


@pytest.mark.parametrize(
    ("size", "language"),
    [(LARGE_DESK, "id"), (SMALL_DESK, "en")],
    ids=["1280x800-id", "1024x600-en"],
)
def test_an_office_takes_a_till_in_revokes_another_and_decides(
    scene: Scene, chromium: Browser, tmp_path: Path, size: ViewportSize, language: str
) -> None:
    page = open_page(chromium, f"{scene.url}/office/", size, language)
    expect(page.locator("html")).to_have_attribute("lang", language)
    look(page, "login", tmp_path)
    page.get_by_test_id("name").fill("Ani Kusumaningrum")
    page.get_by_test_id("password").fill("bukan ini")
    page.get_by_test_id("login").click()
    there(page, "failure")
    look(page, "wrong-password", tmp_path)
    page.get_by_test_id("password").fill(PASSWORD)
    page.get_by_test_id("login").click()

    there(page, "waiting")
    look(page, "tills", tmp_path)
    page.get_by_test_id("code").fill(scene.asking.code.code.lower())
    page.get_by_test_id("seller").fill("Toko Balaraja")
    page.get_by_test_id("approve").click()
    expect(page.get_by_test_id("reply")).to_have_text(scene.asking.code.reply)
    look(page, "taken-in", tmp_path)
    assert scene.asking.told().state is PairingState.APPROVED

    page.goto(f"{scene.url}/office/terminals/{scene.till.terminal_id}")
    there(page, "cards")
    look(page, "terminal", tmp_path)
    with page.expect_download() as download:
        page.get_by_test_id("csv").click()
    assert scene.card.uid.hex().upper() in Path(download.value.path()).read_text(encoding="utf-8")
    page.get_by_test_id("reason").fill("dicuri semalam")
    page.get_by_test_id("revoke").click()
    there(page, "readmit")
    look(page, "revoked", tmp_path)
    statuses = {one.id: one.status.value for one in list_terminals(scene.world.central)}
    assert statuses[scene.till.terminal_id] == "blocked"
    page.get_by_test_id("cards").get_by_role("link").first.click()
    there(page, "block")
    look(page, "card", tmp_path)

    page.get_by_test_id("nav-approvals").click()
    there(page, "approval-1")
    look(page, "approvals", tmp_path)
    page.get_by_test_id("accept").dblclick()
    there(page, "done")
    assert approval_of(scene.world.central.database, 1).decided_by == "Ani Kusumaningrum"
    assert len(list_acts(scene.world.central.database, act=Act.ACCEPTED)) == 1
    page.get_by_test_id("limit").select_option("sale_max_rupiah")
    page.get_by_test_id("value").fill("1.500.000")
    page.get_by_test_id("propose-limit").click()
    there(page, "approval-2")
    look(page, "decided", tmp_path)
    page.goto(f"{scene.url}/office/approvals/1")
    look(page, "approval", tmp_path)

    for place in ("acts", "keys", "staff"):
        page.get_by_test_id(f"nav-{place}").click()
        expect(page.get_by_test_id(f"nav-{place}")).to_have_attribute("aria-current", "page")
        look(page, place, tmp_path)
    page.get_by_test_id("language").click()
    expect(page.locator("html")).to_have_attribute("lang", "en" if language == "id" else "id")
    page.get_by_test_id("logout").click()
    there(page, "login")
    page.goto(f"{scene.url}/office/tills")
    there(page, "login")
