"""click's own texts, for the catalogue: it asks gettext for them under these message ids."""

from __future__ import annotations

import gettext
import os

from dobmi.i18n import LOCALE_FOLDER, N_

_TEXTS = (
    N_("Usage:"),
    N_("Options"),
    N_("Show this message and exit."),
    N_("Show the version and exit."),
    N_("default: {default}"),
    N_("No such command {name!r}."),
    N_("No such option {name!r}."),
    N_("Option {name!r} does not take a value."),
    N_("Missing command."),
    N_("Missing argument"),
    N_("Missing option"),
    N_("Choose from:\n\t{choices}"),
    N_("Invalid value: {message}"),
    N_("Invalid value for {param_hint}: {message}"),
    N_("{value!r} is not a valid {number_type}."),
    N_("{value} is not in the range {range}."),
    N_("{name} {filename!r} does not exist."),
    N_("{name} {filename!r} is a directory."),
)


def speak(language: str) -> None:
    """Have click speak `id` or `en` from now on: it asks gettext's default domain."""
    os.environ["LANGUAGE"] = language
    gettext.bindtextdomain("dobmi", LOCALE_FOLDER)
    gettext.textdomain("dobmi")
