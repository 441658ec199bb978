"""Indonesian first, English second, by gettext. Message ids are the English texts."""

from __future__ import annotations

import gettext
from pathlib import Path

LOCALE_FOLDER = Path(__file__).parent / "locale"
DEFAULT_LANGUAGE = "id"
LANGUAGES = ("id", "en")


def N_(text: str) -> str:  # noqa: N802 - gettext's customary name
    """Mark a text for the catalogue; it is translated where it is shown."""
    return text


def translation(language: str = DEFAULT_LANGUAGE) -> gettext.NullTranslations:
    """The catalogue of `id` or `en`; English is the message ids themselves."""
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation("dobmi", LOCALE_FOLDER, languages=[language])
