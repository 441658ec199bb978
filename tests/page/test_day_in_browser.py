"""A whole day at a till in a real Chromium: the program, reader, printer and server beside it are real
programs or their simulations; what a cashier sees is asserted on, and at the end the books.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from support.cashier import Cashier, rupiah
from support.outlet_shop import (
    ANI,
    ANI_PIN,
    BUDI,
    BUDI_PIN,
    SITI,
    SITI_PIN,
    Office,
    Shop,
    office_at_work,
    shop_at_work,
)

SMALL, LARGE = ViewportSize(width=800, height=480), ViewportSize(width=1024, height=600)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_at_work(tmp_path_factory.mktemp("office")) as office:
        yield office


@pytest.fixture
def shop(
    office: Office, tmp_path: Path, unused_port: int, request: pytest.FixtureRequest
) -> Iterator[Shop]:
    """An outlet of its own for each test, with a till that has never been started."""
    number = len(request.session.items) and request.session.items.index(request.node)
    with shop_at_work(office, tmp_path, f"Toko {number}", unused_port, 1000 + 100 * number) as shop:
        yield shop


def test_x(shop: Shop, chromium: Browser) -> None:
    ani = shop.new_card(50_000)
    shop.office.staff(shop.seller, ani)
    siti = shop.new_card(400_000)
    shop.start()
    context = chromium.new_context(viewport=SMALL, reduced_motion="reduce")
    page = context.new_page()
    page.goto(shop.url)
    c = Cashier(page, shop)
    c.go("Status")
    c.press(c.button("Sync now"))
    expect(c.heading("Masuk")).to_be_visible()
    c.look("login")
    c.log_in(SITI, SITI_PIN)
    c.type_into(page.get_by_label(c.t("Float in the drawer")), "200000")
    c.press(c.button("Open the shift"))
    c.look("sell")
    import time
    for n in range(5):
        t=time.monotonic()
        c.sell_amount(siti, 12_500)
        print(n, time.monotonic()-t)
    context.close()
