"""A till that holds no masters: each card's key comes from the central server while the card is there.

Such a till has nothing that opens a card when it is stolen, and sells nothing without a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from requests.adapters import BaseAdapter

from dobmi.cardlib.custody import KeyCustody, KeyRing, SigningCustody
from dobmi.cardlib.custody_remote import RemoteCustody, SealedKey
from dobmi.cardlib.errors import KeysOutOfReach
from dobmi.cardlib.purse_layout import CardKey
from dobmi.i18n import DEFAULT_LANGUAGE
from dobmi.sync.card_keys import CardKeyRequest
from dobmi.sync.client import HttpClient, Patience, Requester, SyncClient
from dobmi.sync.errors import ServerRefused, ServerUnreachable, SyncError
from dobmi.terminal.card_keys import StoredKeys
from dobmi.terminal.errors import CardBlocked, NoCardKeys
from dobmi.terminal.ledger import Ledger

AT_A_CARD: Final = Patience(
    attempts=2,
    first_wait_seconds=0.2,
    wait_seconds_max=0.4,
    connect_timeout_seconds=2,
    silence_timeout_seconds=4,
    answer_timeout_seconds=5,
)
"""Somebody holds the card to the reader."""
REMOTE: Final = "remote:"
"""In the settings, in the place of a file of card keys."""
_SIGNING_KEY: Final = "terminal"
_BLOCKED: Final = ("CENTRAL-CARD-BLOCKED", "CENTRAL-CARD-REPLACED")


def card_custody(
    file: Path, identity: KeyRing, passphrase: Callable[[], str], ask: KeysFromServer
) -> KeyCustody:
    """The masters in `file`; without any there, or for the name `remote:`, the server is asked.

    So a till that was paired to be online only has a file that says it, with no key in it. Raises
    NoCardKeys, KeyFileUnusable, DamagedKeyFile, WrongPassphrase, EmptyPassphrase.
    """
    if file.name == REMOTE:
        return ask.custody()
    if not file.exists():
        raise NoCardKeys
    stored = StoredKeys.load(file, identity, passphrase())
    return stored if stored.newest else ask.custody()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFromServer:
    """Asks the central server as this till, whose identity is in its ledger `database`."""

    database: Path
    signing: SigningCustody = field(repr=False)
    server: str
    language: str = DEFAULT_LANGUAGE
    patience: Patience = AT_A_CARD
    transport: BaseAdapter | None = None
    system_time: Callable[[], float] = time.time

    def custody(self) -> RemoteCustody:
        return RemoteCustody(self.fetch)

    def fetch(
        self, key: CardKey, uid: bytes, generation: int | None, sealing_key: bytes
    ) -> SealedKey:
        """Raises CardBlocked, KeysOutOfReach."""
        request = CardKeyRequest(
            card_uid=uid, key=key.value, generation=generation, sealing_key=sealing_key
        )
        try:
            with HttpClient(
                self.server, self.patience, language=self.language, transport=self.transport
            ) as client:
                answer, info = self._client(client).card_key(request)
        except ServerRefused as error:
            if error.facts.get("problem") in _BLOCKED:
                raise CardBlocked from error
            raise KeysOutOfReach(detail=error.explain()) from error
        except ServerUnreachable as error:
            raise KeysOutOfReach(detail=error.facts["detail"]) from error
        except SyncError as error:
            raise KeysOutOfReach(detail=error.explain()) from error
        return SealedKey(generation=answer.generation, sealed=answer.sealed, info=info)

    def _client(self, client: HttpClient) -> SyncClient:
        ledger = Ledger(self.database)
        try:
            identity = ledger.identity()
            signed_time = ledger.sync_state().server_unix_seconds
        finally:
            ledger.close()
        requester = Requester(
            terminal_id=identity.terminal_id,
            public_key=identity.public_key,
            sign=lambda message: self.signing.sign(_SIGNING_KEY, message),
            now=lambda: max(int(self.system_time()), signed_time),
        )
        return SyncClient(client, requester, identity.server_public_key)
