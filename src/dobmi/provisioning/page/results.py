"""What a card's work came to, for the page to say in whatever language it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dobmi.money import Rupiah

Said = tuple[str, Mapping[str, object]]
"""A marked text and what fills its places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDone:
    """`amount`: what moved, shown large. `is_held`: nothing yet, a second person decides."""

    lines: tuple[Said, ...] = ()
    amount: Rupiah | None = None
    balance: Rupiah | None = None
    is_held: bool = False
