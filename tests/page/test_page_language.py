"""Both languages on every page, whole; and what a screen reader and a keyboard need to know."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dobmi.i18n import LANGUAGES
from dobmi.money import Rupiah
from dobmi.terminal.counter_state import Phase
from dobmi.terminal.page.rendering import LOOK, voice_of
from dobmi.web.rendering import SHARED_TEMPLATES, money
from support.page_browser import CARD, Browser, paid, request_of

PATHS = [
    "/",
    "/balance",
    "/sales",
    "/orders",
    "/orders/501",
    "/shift",
    "/shift/close",
    "/shift/x",
    "/status",
    "/leave",
    "/display",
    "/sell/line/0",
    "/sell/discount",
    "/sell/more",
    "/sell/class",
    "/sell/held",
]


class Reader(HTMLParser):
    """What a person reads, and how each control is named."""

    VOID = frozenset({"input", "meta", "link", "br", "hr", "img", "use", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.unnamed: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "label" and found.get("for"):
            self.labelled.add(str(found["for"]))
        for name in ("aria-label", "placeholder", "alt", "title"):
            if found.get(name):
                self.texts.append(str(found[name]))
        if tag in {"input", "select"} and found.get("type") != "hidden":
            inside = any(name == "label" for name, _, _ in self._open)
            if not (inside or found.get("aria-label") or found.get("id")):
                self.unnamed.append(self.get_starttag_text() or tag)
        if tag not in self.VOID:
            self._open.append((tag, found, []))

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, found, texts = self._open.pop()
            said = " ".join(texts).strip() or found.get("aria-label") or ""
            is_hidden = "hidden" in found or found.get("aria-hidden") == "true"
            if name in {"button", "a"} and not said and not is_hidden:
                self.unnamed.append(f"{name} {found}")
            if self._open:
                self._open[-1][2].extend(texts)
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        said = data.strip()
        if said and not any(name in {"script", "title"} for name, _, _ in self._open):
            self.texts.append(said)
            if self._open:
                self._open[-1][2].append(said)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def english_texts() -> set[str]:
    """The templates' message ids whose Indonesian is another."""
    indonesian = voice_of("id")
    found = set()
    folder = LOOK.folder / "templates"
    for path in (*folder.iterdir(), *SHARED_TEMPLATES.iterdir()):
        for message in re.findall(r'_\("((?:[^"\\]|\\.)+)"', path.read_text(encoding="utf-8")):
            if indonesian.translate(message) != message and "{" not in message:
                found.add(message)
    return found


@pytest.fixture(params=LANGUAGES)
def speaking(request: pytest.FixtureRequest, cashier: Browser) -> tuple[str, Browser]:
    cashier.language(request.param)
    cashier.tap("/sell/item", item="BRS5")
    return request.param, cashier


def test_each_page_is_in_the_language_that_was_chosen(speaking: tuple[str, Browser]) -> None:
    language, browser = speaking
    english = english_texts()
    assert len(english) > 150
    for path in PATHS:
        answer = browser.get(path)
        assert answer.status_code == 200
        said = set(read(answer.text).texts)
        if language == "id":
            assert not said & english, path
        if "<html" in answer.text:
            assert f'<html lang="{language}">' in answer.text


def test_each_control_has_a_name_and_each_id_is_one(speaking: tuple[str, Browser]) -> None:
    _, browser = speaking
    for path in PATHS:
        reader = read(browser.get(path).text)
        assert not reader.unnamed, path
        assert len(reader.ids) == len(set(reader.ids)), path


def test_each_field_has_a_label(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    for path in PATHS:
        text = cashier.get(path).text
        labelled = read(text).labelled
        for field in re.findall(r"<(?:input|select)[^>]*>", text):
            if 'type="hidden"' in field or 'type="radio"' in field or "aria-label" in field:
                continue
            identity = re.search(r' id="([^"]+)"', field)
            assert identity is not None, field
            assert identity[1] in labelled, field


def test_each_state_of_the_card_is_in_both_languages(speaking: tuple[str, Browser]) -> None:
    language, browser = speaking
    title = {"id": "Lunas", "en": "Paid"}[language]
    browser.tap("/sell/pay", request=request_of(browser))
    browser.counter.show(phase=Phase.PAID, card=CARD, sale=paid(75_000, already_paid=True))
    said = read(browser.get("/sales").text).texts
    assert title in said
    if language == "id":
        assert not set(said) & english_texts()


def test_the_language_is_switched_and_stays(cashier: Browser) -> None:
    assert '<html lang="id">' in cashier.get("/sales").text
    answer = cashier.post("/language", language="en", to="/sales")
    assert answer.url.path == "/sales"
    assert '<html lang="en">' in answer.text
    assert '<html lang="en">' in cashier.get("/orders").text


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "javascript:alert(1)"])
def test_the_switch_leads_to_no_other_site(cashier: Browser, path: str) -> None:
    assert cashier.post("/language", language="en", to=path).url.path == "/"


def test_keys_on_buttons_are_each_one_buttons(cashier: Browser) -> None:
    for path in ("/", "/sales", "/shift", "/status", "/orders"):
        keys = re.findall(r'data-key="(F\d+)"', cashier.get(path).text)
        assert keys
        assert len(keys) == len(set(keys)), path


def test_plurals_are_right_in_both_languages() -> None:
    english, indonesian = voice_of("en"), voice_of("id")
    assert english.span(60) == "1 minute"
    assert english.span(7_200) == "2 hours"
    assert indonesian.span(60) == "1 menit"
    assert indonesian.span(3 * 86_400) == "3 hari"
    assert indonesian.span(5) == "kurang dari semenit"


def test_dates_and_money_are_written_as_here() -> None:
    assert voice_of("id").date(1_790_000_000) == "Senin, 21 September 2026"
    assert voice_of("en").date(1_790_000_000) == "Monday, 21 September 2026"
    assert money(Rupiah(1_234_500)) == "<span class=money>Rp 1.234.500</span>"


def test_a_name_from_outside_is_text_and_nothing_else(cashier: Browser) -> None:
    cashier.counter.show(phase=Phase.CARD_HERE, card=replace(CARD, holder="<b>x</b>"))
    text = cashier.get("/").text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>x</b>" not in text
