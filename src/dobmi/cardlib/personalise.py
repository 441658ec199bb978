"""Make a factory-fresh card a Do BMI purse, or finish one whose making was interrupted.

The steps are in an order in which each leaves a card that the next attempt recognises: the PICC
master key is changed last at the card level, and in the application the debit key last of all. No
till can use a card before that change, so none meets one whose other keys are still the factory's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard, Exchanges
from dobmi.cardlib.errors import (
    AlreadyIssued,
    ApplicationNotFound,
    AuthenticationError,
    CardRefused,
    NotOurCard,
    OtherKeySet,
    UnsupportedCard,
)
from dobmi.cardlib.files import (
    NEVER,
    AccessRights,
    DataFile,
    KeySettings,
    RecordFile,
    TransactionMacFile,
    ValueFile,
)
from dobmi.cardlib.keys import FACTORY_PICC_KEY
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS, verify_originality
from dobmi.cardlib.purse_layout import (
    CREDIT_STATE_LENGTH,
    HOLDER_LENGTH,
    PICC_AID,
    PURSE_AID,
    RECORD_LENGTH,
    RECORDS_READABLE,
    CardKey,
    FileNo,
    Holder,
)
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.rekey import ORDER, authenticate_application, change_keys, present_key
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.version import Generation
from dobmi.money import Rupiah

_APPLICATION, _DEBIT, _CREDIT = 0, 1, 2
_KEY_COUNT = 4

OUR_APPLICATIONS = frozenset({PURSE_AID})
"""What may be on a card that is being issued: with another application it is somebody else's."""

PICC_SETTINGS = KeySettings(free_create_delete=False)
APPLICATION_SETTINGS = KeySettings(free_create_delete=False)

HOLDER_ACCESS = AccessRights(read=_DEBIT, write=NEVER, read_write=_APPLICATION, change=_APPLICATION)
PURSE_ACCESS = AccessRights(read=_DEBIT, write=NEVER, read_write=_CREDIT, change=_APPLICATION)
LOG_ACCESS = AccessRights(read=_DEBIT, write=_DEBIT, read_write=_CREDIT, change=_APPLICATION)
CREDIT_STATE_ACCESS = PURSE_ACCESS
TRANSACTION_MAC_ACCESS = AccessRights(
    read=_DEBIT, write=NEVER, read_write=_DEBIT, change=_APPLICATION
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Personalisation:
    """What was done: which chip, whose originality signature, whether an earlier attempt was
    taken up, and what it cost in exchanges.
    """

    generation: Generation
    originality: str
    resumed: bool
    exchanges: Exchanges


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedCard:
    """A card that can be made a purse, or is one of ours that was begun; nothing on it was changed.

    `is_fresh`: its master key is still the factory's, so that no file of ours can be on it.
    """

    card: DesfireCard = field(repr=False)
    generation: Generation
    originality: str
    is_fresh: bool
    is_begun: bool
    """Our application is there."""


def examine(
    connection: CardConnection,
    originality_keys: Mapping[str, bytes] = NXP_PUBLIC_KEYS,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> ExaminedCard:
    """See whether the card can be issued, before anything of it is registered; 9 exchanges if fresh.

    A fresh card's session with the factory's master key is open afterwards: give the result to
    `personalise` with no other exchange in between. Raises NotOurCard (no DESFire, or somebody
    else's applications are on it), UnsupportedCard, NotOriginal, OtherKeySet, CardError.
    """
    uid = connection.uid
    card = DesfireCard(connection, random_bytes=random_bytes, iso_chaining=True)
    try:
        card.select_application(PICC_AID)  # also ends a session that an earlier program left
        generation = card.get_version().generation
    except CardRefused as error:
        raise NotOurCard from error
    if not generation.has_transaction_mac:
        raise UnsupportedCard(generation=generation.value)
    originality = verify_originality(uid, card.read_signature(), originality_keys)
    is_fresh = card.get_key_version(CardKey.PICC.number) == 0
    is_begun = True
    if is_fresh:
        try:
            applications = set(card.get_application_ids())
        except AuthenticationError as error:  # its owner lets nobody see them
            raise OtherKeySet from error
        if not applications <= OUR_APPLICATIONS:
            raise NotOurCard
        is_begun = PURSE_AID in applications
        _authenticate_factory_card(card)
    else:
        _select_purse(card)
    return ExaminedCard(
        card=card,
        generation=generation,
        originality=originality,
        is_fresh=is_fresh,
        is_begun=is_begun,
    )


def personalise(
    connection: CardConnection,
    custody: KeyCustody,
    holder: Holder,
    sign: Callable[[bytes], bytes],
    *,
    balance_max: Rupiah,
    originality_keys: Mapping[str, bytes] = NXP_PUBLIC_KEYS,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    examined: ExaminedCard | None = None,
) -> Personalisation:
    """Make the card the purse of `holder`; run again after an interruption, it goes on.

    `sign` is the card issuer's Ed25519 signature; `examined`, what `examine` found a moment ago.
    27 exchanges for a fresh card; a finished card of the same holder is only checked. Needs the
    PICC, application, debit, credit, PIN and transaction MAC keys. What was written is to be read
    back by `Purse.read`.

    Raises UnsupportedCard, NotOriginal, OtherKeySet (keys are not the factory's nor ours),
    NotOurCard, AlreadyIssued (a purse of another holder), KeyNotHeld, CardError, ValueError (a
    holder that does not fit).
    """
    content = holder.sign(connection.uid, sign)
    if examined is None:
        examined = examine(connection, originality_keys, random_bytes=random_bytes)
    card = examined.card
    if examined.is_fresh:
        _take_the_card(card, custody, is_begun=examined.is_begun)
    created = not examined.is_begun
    finished = not created and _is_finished(card, custody, content)
    if not finished:
        _fill_the_application(card, custody, content, balance_max, created=created)
    return Personalisation(
        generation=examined.generation,
        originality=examined.originality,
        resumed=not created,
        exchanges=card.exchanges,
    )


def _take_the_card(card: DesfireCard, custody: KeyCustody, *, is_begun: bool) -> None:
    """Application and PICC master key of ours, the application selected. 4 exchanges.

    The card is authenticated with the factory's master key.
    """
    if not is_begun:
        card.create_application(PURSE_AID, APPLICATION_SETTINGS, key_count=_KEY_COUNT)
    card.change_key_settings(PICC_SETTINGS)
    card.change_key(CardKey.PICC.number, custody.card_key(CardKey.PICC, card.uid))
    _select_purse(card)


def _select_purse(card: DesfireCard) -> None:
    try:
        card.select_application(PURSE_AID)
    except ApplicationNotFound as error:  # neither a factory card nor one of ours
        raise OtherKeySet from error


def _authenticate_factory_card(card: DesfireCard) -> None:
    try:
        card.authenticate_iso(CardKey.PICC.number, FACTORY_PICC_KEY)
    except AuthenticationError as error:
        raise OtherKeySet from error


def _is_finished(card: DesfireCard, custody: KeyCustody, content: bytes) -> bool:
    """Whether the card is a purse already, and of this holder. Raises AlreadyIssued otherwise."""
    if card.get_key_version(CardKey.DEBIT.number) == 0:
        return False
    versions = {CardKey.APPLICATION: card.get_key_version(CardKey.APPLICATION.number)}
    authenticate_application(card, present_key(custody, card.uid, CardKey.APPLICATION, versions))
    _require_same_holder(card, content)
    return True


def _fill_the_application(
    card: DesfireCard, custody: KeyCustody, content: bytes, balance_max: Rupiah, *, created: bool
) -> None:
    """Files, holder and keys, as far as they are missing. 14 exchanges for a new application."""
    files: list[int] = []
    versions = dict.fromkeys(ORDER, 0)
    if not created:
        files = card.get_file_ids()
        for key in (CardKey.CREDIT, CardKey.PIN, CardKey.APPLICATION):
            versions[key] = card.get_key_version(key.number)
    authenticate_application(card, present_key(custody, card.uid, CardKey.APPLICATION, versions))
    _create_files(card, files, balance_max)
    if FileNo.TRANSACTION_MAC not in files:
        # A standard file is not tear-safe, so the holder is written anew until the next step,
        # after which a write would belong to a transaction, has been reached.
        card.write_data(FileNo.HOLDER, 0, content, CommMode.FULL)
        mac_key = custody.card_key(CardKey.TRANSACTION_MAC, card.uid)
        card.create_transaction_mac_file(
            FileNo.TRANSACTION_MAC,
            TransactionMacFile(CommMode.MAC, TRANSACTION_MAC_ACCESS, mac_key),
        )
    else:
        _require_same_holder(card, content)
    # Also those that an attempt under an earlier generation set: the debit key comes last.
    change_keys(card, custody, versions)


def _create_files(card: DesfireCard, files: list[int], balance_max: Rupiah) -> None:
    """The files that are not among `files`, but for the transaction MAC file, which comes last."""
    if FileNo.HOLDER not in files:
        card.create_standard_file(
            FileNo.HOLDER, DataFile(CommMode.FULL, HOLDER_ACCESS, HOLDER_LENGTH)
        )
    if FileNo.PURSE not in files:
        card.create_value_file(
            FileNo.PURSE, ValueFile(CommMode.FULL, PURSE_ACCESS, 0, balance_max.amount)
        )
    if FileNo.LOG not in files:
        card.create_cyclic_record_file(
            FileNo.LOG, RecordFile(CommMode.FULL, LOG_ACCESS, RECORD_LENGTH, RECORDS_READABLE + 1)
        )
    if FileNo.CREDIT_STATE not in files:
        card.create_backup_file(
            FileNo.CREDIT_STATE, DataFile(CommMode.FULL, CREDIT_STATE_ACCESS, CREDIT_STATE_LENGTH)
        )


def _require_same_holder(card: DesfireCard, content: bytes) -> None:
    if card.read_data(FileNo.HOLDER, 0, HOLDER_LENGTH, CommMode.FULL) != content:
        raise AlreadyIssued
