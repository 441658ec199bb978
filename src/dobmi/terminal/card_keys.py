"""The masters a till holds, in their file, to which the central server adds new generations.

They come sealed to this till with its feed (docs/formats/feed.md). The file is replaced whole before
a card is opened with them: after a power cut the till has the old ones or the new ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dobmi.cardlib.custody import (
    ROLE_KEYS,
    KeyCustody,
    KeyRing,
    KeyRole,
    load_key_file,
    replace_key_file,
)
from dobmi.cardlib.errors import NotSealedForUs
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.purse_layout import CardKey
from dobmi.sync.feed import SealedKeys, feed_keys_info

SEALING_KEY = "terminal"
"""The name of the X25519 key to which card keys are sealed for this till."""


@dataclass(slots=True)
class StoredKeys:
    """The custody of a till that holds masters. Threads may share it.

    `identity` has the X25519 key to which new ones come sealed; `passphrase` is the file's.
    """

    file: Path
    identity: KeyRing = field(repr=False)
    passphrase: str = field(repr=False)
    _ring: KeyRing = field(repr=False)

    @classmethod
    def load(cls, file: Path, identity: KeyRing, passphrase: str) -> StoredKeys:
        """Raises KeyFileUnusable, DamagedKeyFile, WrongPassphrase, EmptyPassphrase."""
        return cls(file, identity, passphrase, load_key_file(file, passphrase))

    @property
    def newest(self) -> int:
        """The newest generation of the debit key."""
        return max(self._ring.generations(CardKey.DEBIT), default=0)

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        """Raises KeyNotHeld."""
        return self._ring.card_key(key, uid, version)

    def take(self, sealed: SealedKeys) -> bool:
        """Put what came in the place of what there is; False if it is nothing newer.

        Raises NotSealedForUs, KeyNotHeld (this till has no key to seal to), KeyFileUnusable: what
        there is stays.
        """
        if sealed.generation <= self.newest:
            return False
        info = feed_keys_info(sealed.terminal_id)
        ring = self.identity.unseal_masters(SEALING_KEY, sealed.sealed, info)
        newest = max(ring.generations(CardKey.DEBIT), default=0)
        if newest != sealed.generation or not ring.masters.keys() <= ROLE_KEYS[KeyRole.TILL]:
            raise NotSealedForUs
        replace_key_file(self.file, ring, self.passphrase)
        self._ring = ring
        return True


def newest_generation(custody: KeyCustody | None) -> int | None:
    """What a till says it holds: 0 with a custody that holds no masters, None without any."""
    match custody:
        case None:
            return None
        case StoredKeys():
            return custody.newest
        case KeyRing():
            return max(custody.generations(CardKey.DEBIT), default=0)
        case _:
            return 0
