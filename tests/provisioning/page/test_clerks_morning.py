"""A clerk's morning at the station in a real Chromium, at both sizes and in both languages.

The station's program, its reader and the central server run beside it; what is asserted on is what
people see, and at the end what is on the cards and in the books.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ViewportSize

from dobmi.central.cards import statement_of
from dobmi.central.schema import CardState
from dobmi.firmware_sim.card import SimulatedCard
from support.chromium import LARGE_DESK, SMALL_DESK, open_page
from support.clerks_morning import whole_morning
from support.outlet_shop import Office, office_at_work
from support.station_shop import Clerk, StationShop, station_at_work
from support.tills import balance_of


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    folder = tmp_path / "office"
    folder.mkdir()
    with office_at_work(folder) as office:
        yield office


@pytest.fixture
def shop(office: Office, tmp_path: Path, unused_port: int) -> Iterator[StationShop]:
    folder = tmp_path / "station"
    folder.mkdir()
    with station_at_work(office, folder, unused_port) as shop:
        yield shop


@pytest.mark.parametrize(
    ("size", "language"),
    [(LARGE_DESK, "id"), (SMALL_DESK, "en")],
    ids=["1280x800-id", "1024x600-en"],
)
def test_a_morning_at_the_station(
    shop: StationShop, chromium: Browser, size: ViewportSize, language: str
) -> None:
    page = open_page(chromium, shop.url, size, language)
    clerk = Clerk(page, shop, language)
    cards = whole_morning(clerk, chromium)
    central = shop.office.central
    assert balance_of(SimulatedCard.load(cards[0])) == 75_000
    assert balance_of(SimulatedCard.load(cards[1])) == 1_500_000
    uid = SimulatedCard.load(cards[2]).uid
    assert statement_of(central, uid).state is CardState.BLOCKED
    assert not re.search("kebun teh|password|token", shop.log.read_text())
