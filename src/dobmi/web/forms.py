"""What a page reads of its own forms, and what the next page says of the last one's."""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.errors import DoBMIError
from dobmi.web.errors import FormIncomplete

_DIGITS_MAX = 18


@dataclass(slots=True)
class Flash:
    """What the next page says of the last one's form."""

    failure: DoBMIError | None = None
    done: str = ""


def own_path(path: str) -> str:
    """A path of this page's, never another site's."""
    # Browsers read a backslash as a slash, and leave control characters out.
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"


def as_number(text: str, label: str) -> int:
    """Raises FormIncomplete (of `label`) for what is no whole number of at most 18 digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise FormIncomplete(field=label)
    return int(text)
