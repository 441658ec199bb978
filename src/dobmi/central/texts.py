"""Texts that people at the office give, checked before the database refuses them."""

from __future__ import annotations

from dobmi.central.errors import BadParameters
from dobmi.sync.cbor import is_plain

NAME_LENGTH_MAX = 80
REASON_LENGTH_MAX = 200


def require_text(what: str, text: str, length_max: int) -> None:
    """Raises BadParameters unless it says something, is not too long and has no control character."""
    if not text.strip() or len(text) > length_max or not is_plain(text):
        raise BadParameters(
            detail=f"{what}: 1 to {length_max} characters, no control characters among them"
        )
