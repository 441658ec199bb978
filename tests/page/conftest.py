"""A till's page for tests: a real ledger, a counter that shows what the test says, no browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser as RealBrowser

from dobmi.terminal.page.app import make_app
from dobmi.terminal.page.visit import Page
from dobmi.terminal.till import Till
from support import outlets
from support.chromium import launched
from support.page_browser import ORIGIN, PIN, PORT, Browser, with_pin
from support.page_counter import ShownCounter
from support.tills import Bench


@pytest.fixture(scope="module")
def chromium() -> Iterator[RealBrowser]:
    yield from launched()


@pytest.fixture
def quick_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrypt takes long by design; here everybody's PIN is the same."""
    monkeypatch.setattr("dobmi.terminal.staff.pin_matches", lambda pin, _: pin == PIN)


@pytest.fixture(scope="session")
def kept_tills(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Bench]:
    """A till with a feed, with and without a staff list: made once, and copied for each test."""
    people = tuple(with_pin(person) for person in (outlets.SITI, outlets.BUDI, outlets.ANI))
    stocked = replace(
        outlets.stocked(outlets.RICE, outlets.EGGS, outlets.SOAP),
        orders=outlets.ordered(outlets.ORDER).orders,
    )
    found = {}
    for staff in (True, False):
        bench = Bench(tmp_path_factory.mktemp("kept")).enrol()
        listed = outlets.staffed(*people).staff if staff else None
        bench.feed(outlet=replace(stocked, staff=listed))
        found[staff] = bench
    return found


@pytest.fixture
def make_browser(tmp_path: Path, kept_tills: dict[bool, Bench]) -> Iterator[Callable[..., Browser]]:
    """`staff=False`: a feed without a staff list."""
    opened: list[tuple[TestClient, Till]] = []

    def make(*, staff: bool = True) -> Browser:
        kept = kept_tills[staff]
        for file in kept.folder.iterdir():
            shutil.copy(file, tmp_path)
        bench = replace(kept, folder=tmp_path)
        till = bench.open()
        till.__enter__()
        counter = ShownCounter(till)
        page = Page(counter=counter, database=bench.database, cashier="Siti")
        client = TestClient(make_app(page, PORT), base_url=ORIGIN)
        client.__enter__()
        opened.append((client, till))
        return Browser(client, page, counter, till)

    yield make
    for client, till in opened:
        client.__exit__(None, None, None)
        till.__exit__(None, None, None)


@pytest.fixture
def browser(make_browser: Callable[..., Browser], quick_pins: None) -> Browser:  # noqa: ARG001 - it patches
    """Nobody has logged in; the shift is that of Siti, who is not of the staff list."""
    return make_browser()


@pytest.fixture
def cashier(browser: Browser) -> Browser:
    """Siti Aminah has logged in and taken the shift over."""
    browser.log_in()
    browser.post("/shift/take-over")
    return browser
