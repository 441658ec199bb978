"""The Chromium that Debian ships, for tests of pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
LARGE_DESK, SMALL_DESK = (
    ViewportSize(width=1280, height=800),
    ViewportSize(width=1024, height=600),
)
"""Screens of a station."""


def launched() -> Iterator[Browser]:
    """Installed by scripts/setup. Without it the tests fail."""
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: run scripts/setup, or apt install chromium"
    flags = ["--disable-gpu", "--disable-dev-shm-usage"]
    if os.getuid() == 0:
        flags.append("--no-sandbox")
    expect.set_options(timeout=15_000)  # on a machine that has much else to do
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def open_page(
    chromium: Browser, url: str, size: ViewportSize, language: str, *, has_touch: bool = False
) -> Page:
    """In a window of its own: pages that lie behind another are slowed down by the browser."""
    context = chromium.new_context(viewport=size, reduced_motion="reduce", has_touch=has_touch)
    cookie = {"name": "dobmi_language", "value": language, "url": url}
    context.add_cookies([cookie])  # type: ignore[list-item] # a TypedDict, by its fields
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.goto(url)
    return page
