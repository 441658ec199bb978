"""The evidence of a purse transaction: the transaction MAC input, whole, in the purse's fixed order.

What a voucher says is believed only as far as the card's MAC covers it, so everything that the
central server posts is taken from here. docs/card-layout.md lists the parts byte by byte.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from dobmi.cardlib.errors import DamagedCardData, ImplausibleEvidence, WrongTransactionMac
from dobmi.cardlib.purse_layout import (
    CREDIT_STATE_LENGTH,
    HOLDER_LENGTH,
    READER_ID_LENGTH,
    RECORD_LENGTH,
    CreditState,
    FileNo,
    Holder,
    LogRecord,
    ReaderId,
    RecordKind,
    parse_holder,
)
from dobmi.cardlib.transaction_mac import (
    TransactionMac,
    decrypt_previous_reader_id,
    verify_transaction_mac,
)
from dobmi.money import Rupiah

_COMMIT_READER_ID = 0xC8
_READ_DATA = 0xAD
_WRITE_DATA = 0x8D
_WRITE_RECORD = 0x8B
_GET_VALUE = 0x6C
_DEBIT = 0xDC
_CREDIT = 0x0C


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleEvidence:
    """What the card vouches for in a sale: reader id, holder, balance before, debit, record."""

    reader_id: ReaderId
    encrypted_previous_reader_id: bytes
    holder: Holder
    balance_before: Rupiah
    amount: Rupiah
    record: LogRecord

    @property
    def balance_after(self) -> Rupiah:
        return self.balance_before - self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditEvidence:
    """What the card vouches for in a credit: reader id, credit state, balance, credit, record."""

    reader_id: ReaderId
    encrypted_previous_reader_id: bytes
    state_before: CreditState
    balance_before: Rupiah
    amount: Rupiah
    record: LogRecord
    state_after: CreditState

    @property
    def balance_after(self) -> Rupiah:
        return self.balance_before + self.amount


def parse_sale_evidence(evidence: bytes, kind: RecordKind = RecordKind.SALE) -> SaleEvidence:
    """Take a debit's evidence apart, a sale's or of `kind`. Raises ImplausibleEvidence for all else.

    CommitReaderID 48 | ReadData holder 128 | GetValue 16 | Debit 16 | WriteRecord 48 bytes.
    """
    parts = _Parts(evidence)
    reader_id, encrypted = parts.reader_id()
    holder = parts.file_data(_READ_DATA, FileNo.HOLDER, HOLDER_LENGTH)
    balance = parts.value(_GET_VALUE)
    amount = parts.value(_DEBIT)
    record = parts.file_data(_WRITE_RECORD, FileNo.LOG, RECORD_LENGTH)
    parts.finish()
    try:
        sale = SaleEvidence(
            reader_id=reader_id,
            encrypted_previous_reader_id=encrypted,
            holder=parse_holder(holder),
            balance_before=balance,
            amount=amount,
            record=LogRecord.decode(record),
        )
    except DamagedCardData as error:
        raise ImplausibleEvidence(detail=error.explain()) from error
    _check_record(sale, kind)
    return sale


class SaleParts(NamedTuple):
    """Of `SaleEvidence`, as plain numbers, what a receiver of many needs."""

    terminal_id: int
    sequence: int
    encrypted_previous_reader_id: bytes
    member_number: int
    card_serial: int
    balance_before_rupiah: int
    amount_rupiah: int


# What `parse_sale_evidence` walks through, at one look: reader id and the encrypted one before, holder
# of version 1, balance, debit; the record, which repeats terminal and sequence of the reader id.
_SALE = re.compile(
    rb"\xc8DBMI(.{4})(.{8}).{16}\0{15}"
    rb"\xad\x01\0\0\0\x70\0\0\0{8}\x01.{111}"
    rb"\x6c\x02.{4}\0{10}"
    rb"\xdc\x02.{4}\0{10}"
    rb"\x8b\x03\0\0\0\x20\0\0\0{8}"
    rb"\x01\1\2.{4}.{4}.{4}\0{7}",
    re.DOTALL,
)
# Terminal, sequence, encrypted reader id; member number, card serial; amount and balance after.
_SALE_NUMBERS = struct.Struct(">5x IQ16s 33x II 163x II 11x")
_SALE_VALUES = struct.Struct("<178x i 12x i 58x")
"""Of the purse: balance before, debit."""
_HOLDERS_NAME = slice(76, 112)


def read_sale_evidence(evidence: bytes) -> SaleParts | None:
    """Parts of a sale's evidence; None if `parse_sale_evidence` must say what is wrong with it."""
    if _SALE.fullmatch(evidence) is None:
        return None
    numbers = _SALE_NUMBERS.unpack(evidence)
    terminal, sequence, encrypted, member_number, card_serial, amount, after = numbers
    balance_before_rupiah, amount_rupiah = _SALE_VALUES.unpack(evidence)
    if amount_rupiah != amount or balance_before_rupiah - amount_rupiah != after:
        return None
    try:
        evidence[_HOLDERS_NAME].decode()
    except UnicodeDecodeError:
        return None
    return SaleParts(
        terminal,
        sequence,
        encrypted,
        member_number,
        card_serial,
        balance_before_rupiah,
        amount_rupiah,
    )


def parse_credit_evidence(evidence: bytes) -> CreditEvidence:
    """Take a credit's evidence apart. Raises ImplausibleEvidence for anything else.

    CommitReaderID 48 | ReadData credit state 32 | GetValue 16 | Credit 16 | WriteRecord 48 |
    WriteData credit state 32 bytes.
    """
    parts = _Parts(evidence)
    reader_id, encrypted = parts.reader_id()
    before = parts.file_data(_READ_DATA, FileNo.CREDIT_STATE, CREDIT_STATE_LENGTH)
    balance = parts.value(_GET_VALUE)
    amount = parts.value(_CREDIT)
    record = parts.file_data(_WRITE_RECORD, FileNo.LOG, RECORD_LENGTH)
    after = parts.file_data(_WRITE_DATA, FileNo.CREDIT_STATE, CREDIT_STATE_LENGTH)
    parts.finish()
    try:
        credit = CreditEvidence(
            reader_id=reader_id,
            encrypted_previous_reader_id=encrypted,
            state_before=CreditState.decode(before),
            balance_before=balance,
            amount=amount,
            record=LogRecord.decode(record),
            state_after=CreditState.decode(after),
        )
    except DamagedCardData as error:
        raise ImplausibleEvidence(detail=error.explain()) from error
    _check_record(credit, RecordKind.CREDIT)
    return credit


def verify_evidence(mac_key: bytes, uid: bytes, counter: int, mac: bytes, evidence: bytes) -> None:
    """Check the card's MAC (8 bytes) over `evidence` for the transaction number `counter`.

    `mac_key` is the card's own transaction MAC key. Raises WrongTransactionMac.
    """
    try:
        genuine = verify_transaction_mac(mac_key, uid, TransactionMac(counter, mac), evidence)
    except ValueError as error:  # a counter or UID that no card has
        raise WrongTransactionMac from error
    if not genuine:
        raise WrongTransactionMac


def previous_reader_id(
    mac_key: bytes, uid: bytes, counter: int, encrypted: bytes
) -> ReaderId | None:
    """Who made the card's transaction before number `counter`; None if that was its first.

    Raises DamagedCardData when it decrypts to no reader id of ours, which is also how one tells
    that an in-doubt intent was not made for this counter.
    """
    try:
        previous = decrypt_previous_reader_id(mac_key, uid, counter, encrypted)
    except ValueError as error:  # a counter or UID that no card has
        raise DamagedCardData(what="reader id") from error
    return ReaderId.decode(previous)


def _check_record(transaction: SaleEvidence | CreditEvidence, kind: RecordKind) -> None:
    record = transaction.record
    written = (record.kind, record.reader_id, record.amount, record.balance_after)
    if written != (kind, transaction.reader_id, transaction.amount, transaction.balance_after):
        raise ImplausibleEvidence(detail="the log record tells another transaction")


class _Parts:
    """Walks a transaction MAC input command by command, each zero-padded to 16 bytes."""

    def __init__(self, evidence: bytes) -> None:
        self._left = evidence

    def _take(self, length: int, start: bytes, what: str) -> bytes:
        padded = -(-length // 16) * 16
        part, self._left = self._left[:padded], self._left[padded:]
        if len(part) != padded or not part.startswith(start) or any(part[length:]):
            raise ImplausibleEvidence(detail=what)
        return part[:length]

    def reader_id(self) -> tuple[ReaderId, bytes]:
        part = self._take(1 + 2 * READER_ID_LENGTH, bytes((_COMMIT_READER_ID,)), "no reader id")
        try:
            reader_id = ReaderId.decode(part[1:17])
        except DamagedCardData as error:
            raise ImplausibleEvidence(detail="not a reader id of ours") from error
        if reader_id is None:
            raise ImplausibleEvidence(detail="an empty reader id")
        return reader_id, part[17:]

    def file_data(self, command: int, file: FileNo, length: int) -> bytes:
        header = bytes((command, file)) + bytes(3) + length.to_bytes(3, "little") + bytes(8)
        return self._take(16 + length, header, f"no {file.name.lower()} data")[16:]

    def value(self, command: int) -> Rupiah:
        start = bytes((command, FileNo.PURSE))
        amount = self._take(6, start, f"no purse command {command:02X}")[2:]
        return Rupiah(int.from_bytes(amount, "little", signed=True))

    def finish(self) -> None:
        if self._left:
            raise ImplausibleEvidence(detail=f"{len(self._left)} bytes too many")
