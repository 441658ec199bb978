"""What every part of the central server works with: database, keys, settings, clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.database import Database
from dobmi.central.verification import MacKeyOf
from dobmi.settings import CentralSettings

SERVER_KEY: Final = "server"
"""Signs acknowledgements, feeds and enrolments."""
CARD_ISSUER_KEY: Final = "card-issuer"
"""Signs the holder file of cards."""


def now_unix_seconds() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Central:
    """One central server. Stateless but for the database: many may share one."""

    database: Database
    keys: KeyRing = field(repr=False)
    settings: CentralSettings
    unix_seconds: Callable[[], int] = now_unix_seconds
    reports: Database | None = None
    """A replica of the database, for what only looks; it may be behind."""

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

    def mac_keys(self) -> MacKeyOf:
        """Derives cards' transaction MAC keys, each once for as long as the answer is held."""

        @lru_cache(maxsize=4096)
        def mac_key_of(uid: bytes, version: int) -> bytes:
            return self.keys.card_key(CardKey.TRANSACTION_MAC, uid, version).value

        return mac_key_of
