"""Which generation of keys a custody begins with, where it holds several."""

from __future__ import annotations

from dataclasses import dataclass, field

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.errors import KeyNotHeld
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.purse_layout import CardKey


@dataclass(frozen=True, slots=True)
class BeginningWith:
    """A custody whose keys are of `generation` where none is named: the one that cards are given.

    A newer one that is held is for later: what it would be written to could not be opened at a till
    that does not hold it yet. Where `generation` is not held it is the newest, as without this.
    """

    custody: KeyCustody = field(repr=False)
    generation: int

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        """Raises KeyNotHeld."""
        if version is not None:
            return self.custody.card_key(key, uid, version)
        try:
            return self.custody.card_key(key, uid, self.generation)
        except KeyNotHeld:
            return self.custody.card_key(key, uid)
