"""What any card tells without a key: which chip it is, whether it is genuine, what is on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import AuthenticationError, CardRefused, NotOriginal, NotOurCard
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS, verify_originality
from dobmi.cardlib.purse_layout import PURSE_AID, CardKey
from dobmi.cardlib.readers import CardConnection
from dobmi.cardlib.version import CardVersion


class CardState(StrEnum):
    """How far a card is on its way to being a purse.

    LOCKED: empty, but its master key is not the factory's. UNSUPPORTED: too old to be a purse.
    """

    BLANK = "blank"
    LOCKED = "locked"
    UNSUPPORTED = "unsupported"
    FOREIGN = "foreign"
    UNFINISHED = "unfinished"
    PURSE = "purse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """`originality` names the key that signed the UID; None: none that is trusted, or no
    signature on the card. `applications` is None where the card does not list them freely, and
    `key_versions` is there for a purse: by key, 0 for one still from the factory.
    """

    uid: bytes
    version: CardVersion
    originality: str | None
    state: CardState
    applications: tuple[int, ...] | None
    free_memory_bytes: int | None
    key_versions: Mapping[CardKey, int]


def inspect(
    connection: CardConnection, originality_keys: Mapping[str, bytes] = NXP_PUBLIC_KEYS
) -> Inspection:
    """Look at a card; nothing on it changes. Raises NotOurCard for what is no DESFire, CardError."""
    card = DesfireCard(connection)
    try:
        card.select_application(0)
        version = card.get_version()
    except CardRefused as error:
        raise NotOurCard from error
    originality = _originality(card, connection.uid, originality_keys)
    free_memory = _free_memory(card)
    applications = _applications(card)
    fresh = card.get_key_version(0) == 0
    key_versions = _key_versions(card)
    if key_versions:
        finished = key_versions[CardKey.DEBIT] != 0
        state = CardState.PURSE if finished else CardState.UNFINISHED
    elif not version.generation.has_transaction_mac:
        state = CardState.UNSUPPORTED
    elif applications == ():
        state = CardState.BLANK if fresh else CardState.LOCKED
    else:
        state = CardState.FOREIGN
    return Inspection(
        uid=connection.uid,
        version=version,
        originality=originality,
        state=state,
        applications=applications,
        free_memory_bytes=free_memory,
        key_versions=key_versions,
    )


def _originality(
    card: DesfireCard, uid: bytes, originality_keys: Mapping[str, bytes]
) -> str | None:
    try:
        return verify_originality(uid, card.read_signature(), originality_keys)
    except (NotOriginal, CardRefused):
        return None


def _free_memory(card: DesfireCard) -> int | None:
    try:
        return card.get_free_memory()
    except CardRefused:  # a D40 does not know the command
        return None


def _applications(card: DesfireCard) -> tuple[int, ...] | None:
    try:
        return tuple(card.get_application_ids())
    except AuthenticationError:
        return None


def _key_versions(card: DesfireCard) -> dict[CardKey, int]:
    """Of the purse application's keys; empty where there is no such application."""
    numbered = (CardKey.APPLICATION, CardKey.DEBIT, CardKey.CREDIT, CardKey.PIN)
    try:
        card.select_application(PURSE_AID)
        return {key: card.get_key_version(key.number) for key in numbered}
    except CardRefused:
        return {}
