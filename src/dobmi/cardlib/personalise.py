"""Make a factory-fresh card a Do BMI purse, or finish one whose making was interrupted.

The steps are in an order in which each leaves a card that the next attempt recognises: the PICC
master key is changed last at the card level, and in the application the debit key last of all. No
till can use a card before that change, so none meets one whose other keys are still the factory's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard, Exchanges
from dobmi.cardlib.errors import (
    AlreadyIssued,
    ApplicationNotFound,
    AuthenticationError,
    CardRefused,
    KeyNotHeld,
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
from dobmi.cardlib.ndef import NdefContent, dynamic_content, static_content
from dobmi.cardlib.ndef_application import create_ndef_application, write_ndef
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS, verify_originality
from dobmi.cardlib.purse_layout import (
    CREDIT_STATE_LENGTH,
    HOLDER_LENGTH,
    NDEF_AID,
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

OUR_APPLICATIONS: tuple[frozenset[int], ...] = (
    frozenset(),
    frozenset({PURSE_AID}),
    frozenset({PURSE_AID, NDEF_AID}),
)
"""What may be on a card that is being issued: with others it is somebody else's.

The purse is made first: an NDEF application alone is another's.
"""

PICC_SETTINGS = KeySettings(free_create_delete=False)
APPLICATION_SETTINGS = KeySettings(free_create_delete=False)

HOLDER_ACCESS = AccessRights(read=_DEBIT, write=NEVER, read_write=_APPLICATION, change=_APPLICATION)
PURSE_ACCESS = AccessRights(read=_DEBIT, write=NEVER, read_write=_CREDIT, change=_APPLICATION)
LOG_ACCESS = AccessRights(read=_DEBIT, write=_DEBIT, read_write=_CREDIT, change=_APPLICATION)
CREDIT_STATE_ACCESS = PURSE_ACCESS
TRANSACTION_MAC_ACCESS = AccessRights(
    read=_DEBIT, write=NEVER, read_write=_DEBIT, change=_APPLICATION
)


class NdefKind(StrEnum):
    """What a phone reads off a card. STATIC: its serial number, for want of SDM or of its keys."""

    NONE = "none"
    STATIC = "static"
    DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Personalisation:
    """What was done: which chip, whose originality signature, whether an earlier attempt was
    taken up, what a phone reads off it now, and what it cost in exchanges.
    """

    generation: Generation
    originality: str
    resumed: bool
    ndef: NdefKind
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
    has_ndef: bool = False
    """So is the NDEF application; False where nobody looked."""


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
    is_begun, has_ndef = True, False
    if is_fresh:
        try:
            applications = frozenset(card.get_application_ids())
        except AuthenticationError as error:  # its owner lets nobody see them
            raise OtherKeySet from error
        if applications not in OUR_APPLICATIONS:
            raise NotOurCard
        is_begun, has_ndef = PURSE_AID in applications, NDEF_AID in applications
        _authenticate_factory_card(card)
    else:
        _select_purse(card)
    return ExaminedCard(
        card=card,
        generation=generation,
        originality=originality,
        is_fresh=is_fresh,
        is_begun=is_begun,
        has_ndef=has_ndef,
    )


def personalise(
    connection: CardConnection,
    custody: KeyCustody,
    holder: Holder,
    sign: Callable[[bytes], bytes],
    *,
    balance_max: Rupiah,
    member_url: str = "",
    originality_keys: Mapping[str, bytes] = NXP_PUBLIC_KEYS,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    examined: ExaminedCard | None = None,
) -> Personalisation:
    """Make the card the purse of `holder`; run again after an interruption, it goes on.

    `sign` is the card issuer's Ed25519 signature; `examined`, what `examine` found a moment ago;
    `member_url` of the member's page, for any phone to open ("": no NDEF application). 27 exchanges
    for a fresh card, 44 with a dynamic address; a finished card of the same holder is only checked,
    but given an NDEF application that it lacks. Needs the PICC, application, debit, credit, PIN and
    transaction MAC keys, and uses those of SDM if they are held. What was written is to be read back
    by `Purse.read`.

    Raises UnsupportedCard, NotOriginal, OtherKeySet (keys are not the factory's nor ours),
    NotOurCard, AlreadyIssued (a purse of another holder), KeyNotHeld, CardError, ValueError (a
    holder that does not fit).
    """
    content = holder.sign(connection.uid, sign)
    if examined is None:
        examined = examine(connection, originality_keys, random_bytes=random_bytes)
    card = examined.card
    ndef = _ndef_content(custody, examined.generation, holder, member_url)
    if examined.is_fresh:
        _take_the_card(card, custody, examined, with_ndef=ndef is not None)
    created = not examined.is_begun
    finished = not created and _is_finished(card, custody, content)
    kind = NdefKind.NONE
    if ndef is not None:
        is_dynamic = write_ndef(card, custody, ndef)
        kind = NdefKind.DYNAMIC if is_dynamic else NdefKind.STATIC
        if not finished:
            _select_purse(card)
    if not finished:
        _fill_the_application(card, custody, content, balance_max, created=created)
    return Personalisation(
        generation=examined.generation,
        originality=examined.originality,
        resumed=not created,
        ndef=kind,
        exchanges=card.exchanges,
    )


def _ndef_content(
    custody: KeyCustody, generation: Generation, holder: Holder, member_url: str
) -> NdefContent | None:
    if not member_url:
        return None
    if generation.has_sdm and _holds_sdm_keys(custody):
        return dynamic_content(member_url)
    return static_content(member_url, holder.card_serial)


def _holds_sdm_keys(custody: KeyCustody) -> bool:
    """Key files of before there were any have none."""
    try:
        for key in (CardKey.SDM_META, CardKey.SDM_FILE):
            custody.card_key(key, bytes(7))
    except KeyNotHeld:
        return False
    return True


def _take_the_card(
    card: DesfireCard, custody: KeyCustody, examined: ExaminedCard, *, with_ndef: bool
) -> None:
    """Applications and PICC master key of ours, the purse selected. 4 exchanges, 5 with NDEF.

    The card is authenticated with the factory's master key.
    """
    if not examined.is_begun:
        card.create_application(PURSE_AID, APPLICATION_SETTINGS, key_count=_KEY_COUNT)
    if with_ndef and not examined.has_ndef:
        create_ndef_application(card)
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
