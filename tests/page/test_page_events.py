"""What the page is told while it is open: by a real server, over a real connection."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from dobmi.sync.feed import Feed
from dobmi.terminal.counter_state import Phase, SyncShown
from dobmi.terminal.page.app import make_app
from dobmi.web.serving import loopback_server
from support import outlets
from support.page_browser import CARD, Browser, paid, with_pin


@pytest.fixture
def address(
    make_browser: Callable[..., Browser], unused_port: int
) -> Iterator[tuple[str, Browser]]:
    """A served page of a till without a staff list."""
    browser = make_browser(staff=False)
    server = loopback_server(make_app(browser.page, unused_port), "127.0.0.1", unused_port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    yield f"http://127.0.0.1:{unused_port}", browser
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def next_of(stream: Iterator[tuple[str, str]], wanted: str) -> str:
    return next(text for name, text in stream if name == wanted)


def test_the_page_is_told_at_once_what_the_card_is_doing(address: tuple[str, Browser]) -> None:
    url, browser = address
    with httpx2.Client(base_url=url, timeout=10) as client:
        client.get("/")
        with client.stream("GET", "/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            stream = events(answer.iter_lines())
            assert next_of(stream, "stage") == ""
            request = browser.page.desk.state.request
            browser.counter.show(phase=Phase.WORKING, request=request, card=CARD)
            assert "Siti Aminah" in next_of(stream, "stage")
            browser.counter.show(phase=Phase.PAID, sale=paid())
            assert 'data-phase="paid"' in next_of(stream, "stage")


def test_the_member_is_told_too_and_needs_no_session(address: tuple[str, Browser]) -> None:
    url, browser = address
    with (
        httpx2.Client(base_url=url, timeout=10) as client,
        client.stream("GET", "/events?view=display") as answer,
    ):
        stream = events(answer.iter_lines())
        assert 'data-testid="hello"' in next_of(stream, "display")
        browser.page.desk.change(lambda cart: cart.add_amount(paid().amount))
        assert "Rp 5.000" in next_of(stream, "display")


def test_an_ended_session_is_told_no_more(address: tuple[str, Browser]) -> None:
    url, browser = address
    with httpx2.Client(base_url=url, timeout=10) as client:
        client.get("/")
        key = client.cookies.get("dobmi_till")
        with client.stream("GET", "/events") as answer:
            stream = events(answer.iter_lines())
            next_of(stream, "stage")
            browser.page.sessions.end(key or "")
            browser.counter.show(phase=Phase.CARD_HERE, card=CARD)
            assert next(text for name, text in stream if name == "gone") == ""


def bring_staff(browser: Browser) -> None:
    """A feed with a staff list comes."""
    state = browser.ledger.sync_state()
    feed = Feed(
        version=state.feed_version + 1,
        since=state.feed_version,
        unix_seconds=state.server_unix_seconds,
        limits=state.limits,
        outlet=outlets.staffed(with_pin(outlets.SITI)),
    )
    browser.ledger.apply_feed(feed, state.synced_unix_seconds)


def test_a_page_that_listens_after_its_session_ended_is_told_so(
    address: tuple[str, Browser],
) -> None:
    url, browser = address
    with httpx2.Client(base_url=url, timeout=10) as client:
        client.get("/")
        bring_staff(browser)
        with client.stream("GET", "/events?here=status") as answer:
            assert list(events(answer.iter_lines())) == [("gone", "")]


def test_a_sync_is_shown_on_the_status_page_and_its_staff_list_ends_the_session(
    address: tuple[str, Browser],
) -> None:
    url, browser = address
    with httpx2.Client(base_url=url, timeout=10) as client:
        client.get("/")
        with client.stream("GET", "/events?here=status") as answer:
            stream = events(answer.iter_lines())
            next_of(stream, "lights")
            browser.counter.show(sync=SyncShown(is_running=True))
            assert "Sedang sinkron" in next_of(stream, "lights")
            bring_staff(browser)
            browser.counter.show(phase=Phase.WAITING, sync=SyncShown())
            assert "Sedang sinkron" not in next_of(stream, "lights")
            browser.counter.show(phase=Phase.IDLE)
            assert next_of(stream, "gone") == ""
