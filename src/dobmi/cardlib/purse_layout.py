"""What lies where on a Do BMI card: files, rights, keys, and the bytes in each file.

Bytes of ours are big-endian; docs/card-layout.md has the tables. No input or output here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum, StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dobmi.cardlib.errors import DamagedCardData, TimeBeyondCard, WrongIssuerSignature
from dobmi.i18n import N_
from dobmi.money import Rupiah

PURSE_AID = 0xD0B310
PICC_AID = 0x000000
NDEF_AID = 0xEEEE10
"""The NDEF application, as AN11004 numbers it."""
NDEF_DF_NAME = bytes.fromhex("D2760000850101")
NDEF_APPLICATION_ISO_ID = 0xE110
SYSTEM_ID = b"Do BMI"


class CardKey(StrEnum):
    """The keys of a card; the numbered ones open the purse application."""

    PICC = "picc"
    APPLICATION = "application"
    DEBIT = "debit"
    CREDIT = "credit"
    PIN = "pin"
    TRANSACTION_MAC = "transaction-mac"
    SDM_META = "sdm-meta"
    """Of the NDEF application: enciphers UID and counter in the URL. All cards have the same one."""
    SDM_FILE = "sdm-file"
    """Of the NDEF application: its MAC in the URL proves the card."""

    @property
    def number(self) -> int:
        """The key's number in its application; the transaction MAC key has none (KeyError)."""
        return _KEY_NUMBERS[self]


_KEY_NUMBERS = {
    CardKey.PICC: 0,
    CardKey.APPLICATION: 0,
    CardKey.DEBIT: 1,
    CardKey.CREDIT: 2,
    CardKey.PIN: 3,
    CardKey.SDM_META: 1,
    CardKey.SDM_FILE: 2,
}


class NdefFileNo(IntEnum):
    """Of the NDEF application, whose key 0 is the card's application key."""

    CAPABILITIES = 1
    MESSAGE = 2

    @property
    def iso_id(self) -> int:
        return {NdefFileNo.CAPABILITIES: 0xE103, NdefFileNo.MESSAGE: 0xE104}[self]


class FileNo(IntEnum):
    HOLDER = 1
    PURSE = 2
    LOG = 3
    CREDIT_STATE = 4
    TRANSACTION_MAC = 5


HOLDER_LENGTH = 112
RECORD_LENGTH = 32
RECORDS_READABLE = 10
CREDIT_STATE_LENGTH = 16
READER_ID_LENGTH = 16

_HOLDER_SIGNED_LENGTH = HOLDER_LENGTH - 64
_NAME_LENGTH = 36
_HOLDER_DOMAIN = b"dobmi/holder/1"
_EPOCH = date(1970, 1, 1)


def diversification_input(key: CardKey, uid: bytes) -> bytes:
    """UID || AID || system id, the input M of AN10922 without its leading constant; 16 bytes.

    SDM_META has zeros for the UID: it must open what tells the UID.
    """
    if key is CardKey.SDM_META:
        uid = bytes(len(uid))
    aid = _AIDS.get(key, PURSE_AID)
    return uid + aid.to_bytes(3, "big") + SYSTEM_ID


_AIDS = {CardKey.PICC: PICC_AID, CardKey.SDM_META: NDEF_AID, CardKey.SDM_FILE: NDEF_AID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """File 1: whose card this is.

    112 bytes: version 1, issuer key generation 1, member number 4, card serial 4, last valid day 2
    (days since 1970-01-01), name 36 (UTF-8, zero padded), the issuer's Ed25519 signature 64 over
    `dobmi/holder/1` || UID || the 48 bytes before it.
    """

    member_number: int
    name: str
    card_serial: int
    expires: date
    key_generation: int = 1

    def sign(self, uid: bytes, sign: Callable[[bytes], bytes]) -> bytes:
        """The file's content for the card `uid`. Raises ValueError for what does not fit."""
        name = self.name.encode()
        if not 0 < len(name) <= _NAME_LENGTH or "\0" in self.name:
            msg = f"a name has 1 to {_NAME_LENGTH} bytes in UTF-8, not {len(name)}"
            raise ValueError(msg)
        if not (0 < self.member_number < 1 << 32 and 0 < self.card_serial < 1 << 32):
            msg = "member number and card serial are 1 to 4,294,967,295"
            raise ValueError(msg)
        days = (self.expires - _EPOCH).days
        if not 0 < days < 1 << 16:
            msg = f"a card cannot expire on {self.expires}"
            raise ValueError(msg)
        body = (
            bytes((1, self.key_generation))
            + self.member_number.to_bytes(4, "big")
            + self.card_serial.to_bytes(4, "big")
            + days.to_bytes(2, "big")
            + name.ljust(_NAME_LENGTH, b"\0")
        )
        return body + sign(_HOLDER_DOMAIN + uid + body)


def read_holder(content: bytes, uid: bytes, issuer_public_key: bytes) -> Holder:
    """The holder, if the issuer signed it for the card `uid`.

    Raises WrongIssuerSignature, DamagedCardData.
    """
    body, signature = content[:_HOLDER_SIGNED_LENGTH], content[_HOLDER_SIGNED_LENGTH:]
    try:
        Ed25519PublicKey.from_public_bytes(issuer_public_key).verify(
            signature, _HOLDER_DOMAIN + uid + body
        )
    except InvalidSignature as error:
        raise WrongIssuerSignature from error
    return parse_holder(content)


def parse_holder(content: bytes) -> Holder:
    """The holder as written, the signature unchecked. Raises DamagedCardData."""
    if len(content) != HOLDER_LENGTH or content[0] != 1:
        raise DamagedCardData(what=N_("holder"))
    try:
        name = content[12:48].rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise DamagedCardData(what=N_("holder")) from error
    return Holder(
        key_generation=content[1],
        member_number=int.from_bytes(content[2:6], "big"),
        card_serial=int.from_bytes(content[6:10], "big"),
        expires=_EPOCH + timedelta(days=int.from_bytes(content[10:12], "big")),
        name=name,
    )


class RecordKind(IntEnum):
    SALE = 1
    CREDIT = 2
    EMPTIED = 3
    """All that was left, taken off by the central server: the card ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderId:
    """What CommitReaderID leaves on the card: who made the transaction and which one of theirs.

    16 bytes: `DBMI`, terminal 4, sequence 8. Terminal 0 is the central server, whose sequence is
    the card's credit sequence. Sixteen zero bytes: a card with no transaction yet.
    """

    terminal_id: int
    sequence: int

    def encode(self) -> bytes:
        return b"DBMI" + self.terminal_id.to_bytes(4, "big") + self.sequence.to_bytes(8, "big")

    @classmethod
    def decode(cls, data: bytes) -> ReaderId | None:
        """None for the sixteen zero bytes of a new card. Raises DamagedCardData for anything else."""
        if data == bytes(READER_ID_LENGTH):
            return None
        if len(data) != READER_ID_LENGTH or data[:4] != b"DBMI":
            raise DamagedCardData(what=N_("reader id"))
        return cls(
            terminal_id=int.from_bytes(data[4:8], "big"),
            sequence=int.from_bytes(data[8:], "big"),
        )


CENTRAL_TERMINAL_ID = 0
EMPTYING_SEQUENCE = (1 << 32) + 1
"""Of the central server's one transaction that empties a card: behind all numbers of credits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """File 3: one transaction.

    32 bytes: kind 1, terminal 4, sequence 8, amount 4, balance after 4, time 4 (Unix seconds),
    zeros 7.
    """

    kind: RecordKind
    terminal_id: int
    sequence: int
    amount: Rupiah
    balance_after: Rupiah
    unix_seconds: int

    def encode(self) -> bytes:
        """Raises TimeBeyondCard from the year 2106 on."""
        if not 0 <= self.unix_seconds < 1 << 32:
            raise TimeBeyondCard(unix_seconds=self.unix_seconds)
        return (
            bytes((self.kind,))
            + self.terminal_id.to_bytes(4, "big")
            + self.sequence.to_bytes(8, "big")
            + self.amount.amount.to_bytes(4, "big")
            + self.balance_after.amount.to_bytes(4, "big")
            + self.unix_seconds.to_bytes(4, "big")
            + bytes(7)
        )

    @classmethod
    def decode(cls, data: bytes) -> LogRecord:
        """Raises DamagedCardData."""
        if len(data) != RECORD_LENGTH or data[0] not in set(RecordKind) or any(data[25:]):
            raise DamagedCardData(what=N_("log record"))
        return cls(
            kind=RecordKind(data[0]),
            terminal_id=int.from_bytes(data[1:5], "big"),
            sequence=int.from_bytes(data[5:13], "big"),
            amount=Rupiah(int.from_bytes(data[13:17], "big")),
            balance_after=Rupiah(int.from_bytes(data[17:21], "big")),
            unix_seconds=int.from_bytes(data[21:25], "big"),
        )

    @property
    def reader_id(self) -> ReaderId:
        return ReaderId(terminal_id=self.terminal_id, sequence=self.sequence)


class CardStatus(IntEnum):
    ACTIVE = 0
    BLOCKED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditState:
    """File 4: how far the card's credits have been delivered.

    16 bytes: version 1 (0 on a new card), status 1, zeros 2, last credit sequence 4, zeros 8.
    """

    last_credit_sequence: int = 0
    status: CardStatus = CardStatus.ACTIVE

    def encode(self) -> bytes:
        return (
            bytes((1, self.status, 0, 0)) + self.last_credit_sequence.to_bytes(4, "big") + bytes(8)
        )

    @classmethod
    def decode(cls, data: bytes) -> CreditState:
        """Raises DamagedCardData."""
        if data == bytes(CREDIT_STATE_LENGTH):
            return cls()
        if len(data) != CREDIT_STATE_LENGTH or data[0] != 1 or data[1] not in set(CardStatus):
            raise DamagedCardData(what=N_("credit state"))
        return cls(
            status=CardStatus(data[1]), last_credit_sequence=int.from_bytes(data[4:8], "big")
        )
