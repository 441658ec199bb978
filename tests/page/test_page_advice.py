"""What the page advises can be done at the page: no command, no option, no setting's name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dobmi import settings
from dobmi.cardlib import errors as card_errors
from dobmi.errors import DoBMIError
from dobmi.i18n import LANGUAGES
from dobmi.sync import errors as sync_errors
from dobmi.sync.errors import ServerUnreachable
from dobmi.terminal import errors as till_errors
from dobmi.terminal.errors import NoShift, PaperDone
from dobmi.terminal.page import errors as page_errors
from dobmi.terminal.page.advice import ON_THE_PAGE
from dobmi.terminal.page.errors import FormIncomplete
from dobmi.terminal.page.rendering import voice_of
from dobmi.web import errors as web_errors

MODULES = (settings, card_errors, sync_errors, till_errors, page_errors, web_errors)
OF_A_SHELL = re.compile(r"dobmi [a-z]|--[a-z]|`|\bcommand\b|pcscd|\.toml|DOBMI_", re.IGNORECASE)
NEVER_AT_A_PAGE = {
    "TILL-PASSPHRASE",  # two passphrases are typed by a command alone
    "SYNC-SERVER-URL",  # made of the settings before a page is served
    "KEY-DIFFERS",  # keys of an office, by its commands
}


def every_error() -> Iterator[type[DoBMIError]]:
    for module in MODULES:
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, DoBMIError):
                yield found


def advice_of(error: type[DoBMIError], language: str) -> str:
    voice = voice_of(language)
    return voice.translate(ON_THE_PAGE.get(error.code, error.next_step))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_advice_at_the_page_names_a_command(language: str) -> None:
    said = {
        error.code: advice_of(error, language)
        for error in every_error()
        if error.code not in NEVER_AT_A_PAGE
    }
    assert len(said) > 150
    assert not {code: text for code, text in said.items() if OF_A_SHELL.search(text)}


def test_each_advice_of_the_page_is_of_an_error_that_there_is() -> None:
    assert ON_THE_PAGE.keys() <= {error.code for error in every_error()}


def test_a_cashier_without_a_shift_is_told_what_can_be_done_there() -> None:
    assert voice_of("id").advise(NoShift()) == "Buka shift dulu."
    assert voice_of("en").advise(NoShift()) == "Open a shift first."


def test_facts_fill_the_page_s_own_words_too() -> None:
    assert "{" not in voice_of("id").advise(PaperDone(number=3))


def test_a_missing_field_is_called_what_the_page_calls_it() -> None:
    assert "Diskon persen" in voice_of("id").explain(FormIncomplete(field="percent"))


def test_an_error_and_what_to_do_are_two_sentences() -> None:
    gone = ServerUnreachable(detail="no route")
    said = voice_of("en").tell(gone)
    assert said == f"{voice_of('en').explain(gone)}. {voice_of('en').advise(gone)}"
    assert voice_of("en").tell(NoShift()) == "No shift is open. Open a shift first."
