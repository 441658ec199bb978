"""Every text for people is in the Indonesian catalogue, whole and with the same places to fill."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from dobmi.i18n import LOCALE_FOLDER

PO = LOCALE_FOLDER / "id" / "LC_MESSAGES" / "dobmi.po"
SOURCE = Path(__file__).parent.parent / "src" / "dobmi"
HELP_TEXTS = Path(__file__).parent.parent / "scripts" / "help_texts"
KEYWORDS = {"N_": None, "say": None, "_": None, "plural": (1, 2), "ngettext": (1, 2)}
METHODS = [("**.py", "python"), ("**/templates/*.html", "jinja2")]

with PO.open("rb") as file:
    CATALOGUE = read_po(file)


def texts_in_the_code() -> set[str]:
    """The message ids; of one with a plural, the singular."""
    found = extract_from_dir(SOURCE, method_map=METHODS, keywords=KEYWORDS)
    return {singular(message) for _, _, message, _, _ in found}


def singular(message: str | tuple[str, ...] | list[str]) -> str:
    return message if isinstance(message, str) else message[0]


def forms(message: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (message,) if isinstance(message, str) else tuple(message)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_no_text_is_missing_from_the_catalogue() -> None:
    missing = texts_in_the_code() - {
        singular(message.id) for message in CATALOGUE if message.string
    }
    assert not missing, "run scripts/catalogue and translate what is new"


def test_no_help_text_is_missing_from_the_catalogue() -> None:
    # A program of its own: a command that ran in this process has its help translated in place.
    script = [sys.executable, str(HELP_TEXTS)]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    helps = {eval(line.removeprefix("N_")) for line in printed}  # noqa: S307 - our own script's literals
    assert helps
    assert not helps - {message.id for message in CATALOGUE if message.string}


def faults(message: Message) -> list[str]:
    """What is wrong with the translation of one text."""
    wanted = {frozenset(places(form)) for form in forms(message.id)}
    found = [] if message.string else ["there is none"]
    if message.fuzzy:
        found.append("nobody has looked at it")
    for form in forms(message.string or ""):
        if not form:
            found.append("a form of it is empty")
        elif frozenset(places(form)) not in wanted:
            found.append(f"it fills other places: {form}")
    return found


def test_a_translation_is_there_and_fills_the_same_places() -> None:
    # One test of some thousand texts: a test for each took longer to begin than to run.
    wrong = {
        singular(message.id): found
        for message in CATALOGUE
        if message.id and (found := faults(message))
    }
    assert not wrong


@pytest.mark.parametrize(
    ("original", "translated", "fault"),
    [
        ("Pay {amount}", "Bayar {amount}", None),
        ("Pay {amount}", "Bayar {jumlah}", "other places"),
        ("Pay {amount}", "", "there is none"),
        (("{n} card", "{n} cards"), ("{n} kartu",), None),
    ],
)
def test_a_wrong_translation_is_found(
    original: str | tuple[str, ...], translated: str | tuple[str, ...], fault: str | None
) -> None:
    found = faults(Message(original, translated))
    assert any(fault in one for one in found) if fault else not found


def test_the_compiled_catalogue_is_that_of_the_translations() -> None:
    compiled = io.BytesIO()
    write_mo(compiled, CATALOGUE)
    assert PO.with_suffix(".mo").read_bytes() == compiled.getvalue(), "run scripts/catalogue"
