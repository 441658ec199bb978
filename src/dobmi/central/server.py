"""What every part of the central server works with: database, keys, settings, clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from dobmi.cardlib.custody import ServerCustody
from dobmi.cardlib.errors import KeyNotHeld
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.transaction_mac import UID_LENGTH
from dobmi.central.database import Database
from dobmi.central.verification import CardFacts
from dobmi.settings import CentralSettings

SERVER_KEY: Final = "server"
"""Signs acknowledgements, feeds and enrolments."""
CARD_ISSUER_KEY: Final = "card-issuer"
"""Signs the holder file of cards."""


_KEYS_KEPT_MAX = 4096


def now_unix_seconds() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Central:
    """One central server. Stateless but for the database: many may share one."""

    database: Database
    keys: ServerCustody = field(repr=False)
    settings: CentralSettings
    unix_seconds: Callable[[], int] = now_unix_seconds
    reports: Database | None = None
    """A replica of the database, for what only looks; it may be behind."""

    @property
    def keeps_real_time(self) -> bool:
        """Whether its clock is the machine's, and not one that is moved by hand."""
        return self.unix_seconds is now_unix_seconds

    def for_reports(self) -> Central:
        """The same with the replica, if there is one, in the database's place."""
        return self if self.reports is None else replace(self, database=self.reports)

    @property
    def public_key(self) -> bytes:
        return self.keys.public_key(SERVER_KEY)

    @property
    def card_issuer_public_key(self) -> bytes:
        return self.keys.public_key(CARD_ISSUER_KEY)

    def sign(self, message: bytes) -> bytes:
        return self.keys.sign(SERVER_KEY, message)

    def sign_holder(self, message: bytes) -> bytes:
        return self.keys.sign(CARD_ISSUER_KEY, message)

    def mac_keys(self) -> MacKeys:
        return MacKeys(self.keys)


@dataclass(slots=True)
class MacKeys:
    """Derives cards' transaction MAC keys, each once for as long as the answer is held."""

    _keys: ServerCustody = field(repr=False)
    _known: dict[tuple[bytes, int], bytes] = field(default_factory=dict, repr=False)

    def __call__(self, uid: bytes, version: int) -> bytes:
        """16 bytes. Raises KeyNotHeld."""
        found = self._known.get((uid, version))
        if found is None:
            self._make_room(1)
            found = self._keys.card_key(CardKey.TRANSACTION_MAC, uid, version).value
            self._known[uid, version] = found
        return found

    def derive(self, cards: Iterable[CardFacts]) -> None:
        """Those of a batch's cards, at once. A version that is not held is left to be asked for."""
        by_version: dict[int, list[bytes]] = {}
        for card in cards:
            if len(card.uid) == UID_LENGTH:
                by_version.setdefault(card.mac_key_version, []).append(card.uid)
        for version, uids in by_version.items():
            self._make_room(len(uids))
            with contextlib.suppress(KeyNotHeld):
                values = self._keys.card_key_values(CardKey.TRANSACTION_MAC, uids, version)
                self._known.update(
                    ((uid, version), value) for uid, value in zip(uids, values, strict=True)
                )

    def _make_room(self, count: int) -> None:
        if len(self._known) + count > _KEYS_KEPT_MAX:
            self._known.clear()
