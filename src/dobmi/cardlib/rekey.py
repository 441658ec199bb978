"""Bring a purse's keys to the newest generation that the custody holds, interrupted or not.

The order is PIN, credit, application, debit, each only if it is older. Whoever opens a card does so
with the debit key, which comes last: a card half-way through still opens with the old generation,
and one whose debit key is new has no old key left. A custody that holds both generations opens it
at every moment (`Purse`), and this goes on where it stopped: each key's version is on the card.

The transaction MAC key cannot be changed in place (a DESFire card takes it when the file is made,
and a new file would count from nought again), so each card keeps its own for life. The PICC key
only guards the making and deleting of applications; it stays as it was issued, too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard, Exchanges
from dobmi.cardlib.errors import (
    ApplicationNotFound,
    AuthenticationError,
    KeyNotHeld,
    NotOurCard,
    OtherKeySet,
    UnfinishedCard,
)
from dobmi.cardlib.keys import ZERO_AES_KEY, DesfireKey
from dobmi.cardlib.purse_layout import PURSE_AID, CardKey
from dobmi.cardlib.readers.base import CardConnection

ORDER = (CardKey.PIN, CardKey.CREDIT, CardKey.APPLICATION, CardKey.DEBIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """`generation` is the debit key's version now; `changed` are the keys that were older."""

    generation: int
    changed: tuple[CardKey, ...]
    exchanges: Exchanges


def rekey(
    connection: CardConnection,
    custody: KeyCustody,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Rekeyed:
    """Change what is older than the generation that `custody` gives where none is named (the newest,
    or `BeginningWith` another); run again after an interruption, it goes on.

    5 exchanges for a card that is new already, 13 for one with four old keys. No money moves.
    Raises NotOurCard, UnfinishedCard (issue it first), OtherKeySet, KeyNotHeld, CardError.
    """
    card = DesfireCard(connection, random_bytes=random_bytes, iso_chaining=True)
    try:
        card.select_application(PURSE_AID)
    except ApplicationNotFound as error:
        raise NotOurCard from error
    versions = {key: card.get_key_version(key.number) for key in ORDER}
    if 0 in versions.values():
        raise UnfinishedCard
    for key in ORDER:
        present_key(custody, card.uid, key, versions)
    changed = older_keys(custody, card.uid, versions)
    if changed:
        authenticate_application(
            card, present_key(custody, card.uid, CardKey.APPLICATION, versions)
        )
        change_keys(card, custody, versions)
    return Rekeyed(
        generation=max(versions[CardKey.DEBIT], custody.card_key(CardKey.DEBIT, card.uid).version),
        changed=changed,
        exchanges=card.exchanges,
    )


def older_keys(
    custody: KeyCustody, uid: bytes, versions: Mapping[CardKey, int]
) -> tuple[CardKey, ...]:
    """Which of these keys, by their versions on the card (0: factory), are to be changed."""
    return tuple(key for key in ORDER if versions[key] < custody.card_key(key, uid).version)


def present_key(
    custody: KeyCustody, uid: bytes, key: CardKey, versions: Mapping[CardKey, int]
) -> DesfireKey:
    """The key as it is on the card now. Raises OtherKeySet for a generation that is not held."""
    if versions[key] == 0:
        return ZERO_AES_KEY
    try:
        return custody.card_key(key, uid, versions[key])
    except KeyNotHeld as error:
        raise OtherKeySet from error


def change_keys(card: DesfireCard, custody: KeyCustody, versions: Mapping[CardKey, int]) -> None:
    """The changes in their order, in a session with the application key as it is now.

    1 exchange each, 2 more after the application key's own, which ends the session.
    """
    # All of them first: none is changed on a card that has one of a generation not held.
    present = {key: present_key(custody, card.uid, key, versions) for key in ORDER}
    for key in older_keys(custody, card.uid, versions):
        new = custody.card_key(key, card.uid)
        if key is CardKey.APPLICATION:
            card.change_key(key.number, new)
            authenticate_application(card, new)
        else:
            card.change_key(key.number, new, present[key])


def authenticate_application(card: DesfireCard, key: DesfireKey) -> None:
    """A session with the application key. Raises OtherKeySet."""
    try:
        card.authenticate_ev2_first(CardKey.APPLICATION.number, key)
    except AuthenticationError as error:
        raise OtherKeySet from error
