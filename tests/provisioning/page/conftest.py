"""One station for all tests of a module: each test's cards are its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser as RealBrowser

from support.chromium import launched
from support.station_desk import Browser, Desk, desk_at_work, new_browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[RealBrowser]:
    yield from launched()


@pytest.fixture(scope="module")
def station_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk_at_work(tmp_path_factory.mktemp("station")) as desk:
        yield desk


@pytest.fixture
def desk(station_desk: Desk) -> Iterator[Desk]:
    yield station_desk
    run = station_desk.bench.state.run
    if run is not None:
        run.controls.stop()
        station_desk.until(lambda state: not state.is_running)
        station_desk.bench.end_run()
    task = station_desk.bench.state.task
    if task is not None:
        station_desk.bench.cancel(task.owner)
    station_desk.lift()


@pytest.fixture
def browser(desk: Desk) -> Browser:
    """Nobody has logged in."""
    return new_browser(desk)


@pytest.fixture
def issuer(desk: Desk) -> Browser:
    """Rina, who issues."""
    browser = new_browser(desk)
    browser.log_in()
    return browser
