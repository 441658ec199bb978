"""Making a card's NDEF application, interrupted or not: its own key is changed last.

Key 0 is the card's application key; the message is enciphered on its way there, so that nobody
between server and card can put another address into it.
"""

from __future__ import annotations

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import ApplicationNotFound, AuthenticationError, KeyNotHeld, OtherKeySet
from dobmi.cardlib.files import FREE, NEVER, AccessRights, DataFile, KeySettings
from dobmi.cardlib.keys import ZERO_AES_KEY, DesfireKey
from dobmi.cardlib.ndef import MESSAGE_FILE_LENGTH, NdefContent, capabilities_file
from dobmi.cardlib.purse_layout import (
    NDEF_AID,
    NDEF_APPLICATION_ISO_ID,
    NDEF_DF_NAME,
    PICC_AID,
    CardKey,
    NdefFileNo,
)
from dobmi.cardlib.sdm import SDM_BIT
from dobmi.cardlib.secure_messaging import CommMode

NDEF_SETTINGS = KeySettings(free_create_delete=False)
CAPABILITIES_ACCESS = AccessRights(read=FREE, write=NEVER, read_write=0, change=0)
MESSAGE_ACCESS = AccessRights(read=FREE, write=0, read_write=0, change=0)
_KEY_COUNT = 3


def create_ndef_application(card: DesfireCard) -> None:
    """At the PICC level, in a session with its master key. 1 exchange. Raises DuplicateError."""
    card.create_application(
        NDEF_AID,
        NDEF_SETTINGS,
        key_count=_KEY_COUNT,
        iso_file_ids=True,
        iso_file_id=NDEF_APPLICATION_ISO_ID,
        df_name=NDEF_DF_NAME,
    )


def write_ndef(card: DesfireCard, custody: KeyCustody, content: NdefContent) -> bool:
    """Files, message and keys, as far as they are missing; nothing, if it was finished before.

    Whether the card's address is a dynamic one now: one that was finished stays what it is. 15
    exchanges for a new dynamic one, 11 for a static one, 3 for a finished one. Raises
    OtherKeySet, KeyNotHeld, CardError.
    """
    try:
        card.select_application(NDEF_AID)
    except ApplicationNotFound:  # issued, or begun, by a program that made none
        _authenticate_picc(card, custody)
        create_ndef_application(card)
        card.select_application(NDEF_AID)
    if card.get_key_version(0) != 0:
        return bool(card.get_file_settings(NdefFileNo.MESSAGE).options & SDM_BIT)
    files = card.get_file_ids()
    card.authenticate_ev2_first(0, ZERO_AES_KEY)
    if NdefFileNo.CAPABILITIES not in files:
        card.create_standard_file(
            NdefFileNo.CAPABILITIES,
            DataFile(
                CommMode.PLAIN,
                CAPABILITIES_ACCESS,
                len(capabilities_file()),
                NdefFileNo.CAPABILITIES.iso_id,
            ),
        )
    # A standard file is not tear-safe: both are written anew until the last key is ours.
    card.write_data(NdefFileNo.CAPABILITIES, 0, capabilities_file())
    if NdefFileNo.MESSAGE in files:  # maybe plain by now, or made by an attempt without SDM
        card.delete_file(NdefFileNo.MESSAGE)
    has_sdm = content.sdm is not None
    card.create_standard_file(
        NdefFileNo.MESSAGE,
        DataFile(
            CommMode.FULL,
            MESSAGE_ACCESS,
            MESSAGE_FILE_LENGTH,
            NdefFileNo.MESSAGE.iso_id,
            sdm_allowed=has_sdm,
        ),
    )
    card.write_data(NdefFileNo.MESSAGE, 0, content.message, CommMode.FULL)
    card.change_file_settings(
        NdefFileNo.MESSAGE,
        CommMode.PLAIN,
        MESSAGE_ACCESS,
        options=SDM_BIT if has_sdm else 0,
        extra=b"" if content.sdm is None else bytes(content.sdm),
    )
    if has_sdm:  # without it keys 1 and 2 open nothing
        for key in (CardKey.SDM_META, CardKey.SDM_FILE):
            present = _present_key(card, custody, key)
            card.change_key(key.number, custody.card_key(key, card.uid), present)
    card.change_key(0, custody.card_key(CardKey.APPLICATION, card.uid))
    return has_sdm


def _present_key(card: DesfireCard, custody: KeyCustody, key: CardKey) -> DesfireKey:
    """As an earlier attempt left it, maybe under another generation."""
    version = card.get_key_version(key.number)
    return ZERO_AES_KEY if version == 0 else custody.card_key(key, card.uid, version)


def _authenticate_picc(card: DesfireCard, custody: KeyCustody) -> None:
    card.select_application(PICC_AID)
    version = card.get_key_version(CardKey.PICC.number)
    try:
        picc = custody.card_key(CardKey.PICC, card.uid, version)
        card.authenticate_ev2_first(CardKey.PICC.number, picc)
    except (KeyNotHeld, AuthenticationError) as error:
        raise OtherKeySet from error
