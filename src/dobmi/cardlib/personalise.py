"""Make a factory-fresh card a Do BMI purse, or finish one whose making was interrupted.

The steps are in an order in which each leaves a card that the next attempt recognises: the PICC
master key is changed last at the card level, and in the application the debit key last of all. No
till can use a card before that change, so none meets one whose other keys are still the factory's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard, Exchanges
from dobmi.cardlib.errors import (
    AlreadyIssued,
    ApplicationNotFound,
    AuthenticationError,
    CardRefused,
    DuplicateError,
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


def personalise(
    connection: CardConnection,
    custody: KeyCustody,
    holder: Holder,
    sign: Callable[[bytes], bytes],
    *,
    balance_max: Rupiah,
    originality_keys: Mapping[str, bytes] = NXP_PUBLIC_KEYS,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Personalisation:
    """Make the card the purse of `holder`; run again after an interruption, it goes on.

    `sign` is the card issuer's Ed25519 signature. 26 exchanges for a fresh card; a finished card
    of the same holder is only checked. Needs the PICC, application, debit, credit, PIN and
    transaction MAC keys. What was written is to be read back by `Purse.read`.

    Raises UnsupportedCard, NotOriginal, OtherKeySet (keys are not the factory's nor ours),
    AlreadyIssued (a purse of another holder), KeyNotHeld, CardError, ValueError (a holder that
    does not fit).
    """
    uid = connection.uid
    content = holder.sign(uid, sign)
    card = DesfireCard(connection, random_bytes=random_bytes, iso_chaining=True)
    try:
        card.select_application(PICC_AID)  # also ends a session that an earlier program left
        generation = card.get_version().generation
    except CardRefused as error:
        raise NotOurCard from error
    if not generation.has_transaction_mac:
        raise UnsupportedCard(generation=generation.value)
    originality = verify_originality(uid, card.read_signature(), originality_keys)
    created = _take_the_card(card, custody)
    finished = not created and _is_finished(card, custody, content)
    if not finished:
        _fill_the_application(card, custody, content, balance_max, created=created)
    return Personalisation(
        generation=generation,
        originality=originality,
        resumed=not created,
        exchanges=card.exchanges,
    )


def _take_the_card(card: DesfireCard, custody: KeyCustody) -> bool:
    """Application and PICC master key of ours, the application selected; whether it is new.

    7 exchanges on a fresh card.
    """
    created = False
    if card.get_key_version(CardKey.PICC.number) == 0:
        _authenticate_factory_card(card)
        try:
            card.create_application(PURSE_AID, APPLICATION_SETTINGS, key_count=_KEY_COUNT)
            created = True
        except DuplicateError:  # an earlier attempt ended here
            _authenticate_factory_card(card)
        card.change_key_settings(PICC_SETTINGS)
        card.change_key(CardKey.PICC.number, custody.card_key(CardKey.PICC, card.uid))
    try:
        card.select_application(PURSE_AID)
    except ApplicationNotFound as error:  # neither a factory card nor one of ours
        raise OtherKeySet from error
    return created


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
