"""What the staff's page says can be done there: no command, no option, nothing of a till's sales."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dobmi.cardlib import errors as card_errors
from dobmi.errors import DoBMIError
from dobmi.i18n import LANGUAGES
from dobmi.provisioning import errors as station_errors
from dobmi.provisioning.page import errors as page_errors
from dobmi.provisioning.page.advice import AT_THE_STATION
from dobmi.provisioning.page.rendering import voice_of
from dobmi.settings import BadSettings
from dobmi.sync import errors as sync_errors
from dobmi.web import errors as web_errors

MODULES = (card_errors, sync_errors, station_errors, page_errors, web_errors)
OF_A_SHELL = re.compile(r"dobmi [a-z]|--[a-z]|`|\bcommand\b|pcscd|\.toml|DOBMI_", re.IGNORECASE)
NEVER_AT_THE_PAGE = {
    "KEY-DIFFERS",  # keys of an office, by its commands
    "SYNC-SERVER-URL",  # made of the settings before a page is served
    "STATION-NOTHING-TO-PRINT",  # of the command; the page has its own
}


def every_error() -> Iterator[type[DoBMIError]]:
    yield BadSettings
    for module in MODULES:
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, DoBMIError):
                yield found


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_advice_at_the_page_names_a_command(language: str) -> None:
    translate = voice_of(language).translate
    said = {
        error.code: translate(AT_THE_STATION.get(error.code, error.next_step))
        for error in every_error()
        if error.code not in NEVER_AT_THE_PAGE and not error.code.startswith("CEREMONY")
    }
    assert len(said) > 80
    assert not {code: text for code, text in said.items() if OF_A_SHELL.search(text)}


def test_each_advice_of_the_page_is_of_an_error_that_there_is() -> None:
    assert AT_THE_STATION.keys() <= {error.code for error in every_error()}
