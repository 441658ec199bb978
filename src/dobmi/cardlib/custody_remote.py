"""A custody that holds no master: each card's key is asked for when the card is there.

How it is asked for is the caller's: nothing here knows a network. A key that came is kept for the
tap that needs it, and forgotten with the next card or after a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dobmi.cardlib.custody import ROLE_KEYS, KeyRole
from dobmi.cardlib.errors import KeyNotHeld, NotSealedForUs
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.sealing import unseal

KEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """One card's key of a generation, sealed (sealing.py) to the key of the question, with `info`."""

    generation: int
    sealed: bytes
    info: bytes


Fetch = Callable[[CardKey, bytes, int | None, bytes], SealedKey]
"""(key, card UID, generation or None, X25519 public key of this question) -> the answer.

Raises KeyNotHeld for what this role is not given, KeysOutOfReach when nobody answers.
"""


@dataclass(slots=True)
class RemoteCustody:
    """A KeyCustody of a till that is online or does not sell."""

    fetch: Fetch
    role: KeyRole = KeyRole.TILL
    monotonic: Callable[[], float] = time.monotonic
    _uid: bytes = field(default=b"", init=False)
    _until: float = field(default=0, init=False)
    _kept: dict[tuple[CardKey, int | None], DesfireKey] = field(
        default_factory=dict, init=False, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        """Raises KeyNotHeld, KeysOutOfReach, NotSealedForUs."""
        if key not in ROLE_KEYS[self.role]:  # the server would say so, too
            raise KeyNotHeld(key=key.value, version=version or 1)
        with self._lock:
            now = self.monotonic()
            if uid != self._uid or now >= self._until:
                self._kept.clear()
                self._uid, self._until = uid, now + KEPT_SECONDS
            found = self._kept.get((key, version))
            if found is None:
                found = self._ask(key, uid, version)
                self._kept[key, version] = self._kept[key, found.version] = found
            return found

    def _ask(self, key: CardKey, uid: bytes, version: int | None) -> DesfireKey:
        private = X25519PrivateKey.generate()
        answer = self.fetch(key, uid, version, private.public_key().public_bytes_raw())
        value = unseal(private.private_bytes_raw(), answer.sealed, answer.info)
        if len(value) != KeyType.AES.length or version not in {None, answer.generation}:
            raise NotSealedForUs
        return DesfireKey.aes(value, version=answer.generation)
