"""The transaction MAC of EV2 cards: its session keys, its input, its value.

The card MACs everything that an authenticated transaction read and wrote (MF2DLHX0 section
10.3). The input is rebuilt here exactly as the card builds it: each operation one part, in clear
whatever the communication mode, zero-padded to 16 bytes; the parts simply follow each other.
The opcode is the one sent (AD or BD). Operations outside a session and reads of the
transaction MAC file itself are not part of it.

Numbers are least significant byte first, as on the wire. `counter` is always the TMC that the
commit answered, which is the one before plus one.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from dobmi.cardlib.crypto import (
    aes_cmac,
    aes_cmac_of_two,
    aes_decrypt_block,
    pad_zero,
    truncate_mac,
)

READER_ID_LENGTH = 16
TRANSACTION_MAC_LENGTH = 8
UID_LENGTH = 7
COUNTER_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class TransactionMac:
    """What CommitTransaction returns and the transaction MAC file holds: TMC and TMV."""

    counter: int
    mac: bytes

    def __bytes__(self) -> bytes:
        """TMC (4 bytes, least significant first) || TMV (8 bytes)."""
        return self.counter.to_bytes(4, "little") + self.mac

    @classmethod
    def from_bytes(cls, data: bytes) -> TransactionMac:
        """From 12 bytes TMC || TMV; ValueError for any other length."""
        if len(data) != 4 + TRANSACTION_MAC_LENGTH:
            msg = f"TMC and TMV are 12 bytes, not {len(data)}"
            raise ValueError(msg)
        return cls(int.from_bytes(data[:4], "little"), data[4:])


@dataclass(frozen=True, slots=True)
class TransactionKeys:
    """SesTMMACKey and SesTMENCKey of one transaction."""

    mac_key: bytes = field(repr=False)
    encryption_key: bytes = field(repr=False)


def _session_keys(key: bytes, uid: bytes, counter: int) -> tuple[bytes, bytes]:
    """CMAC(AppTransactionMACKey, label || 0001 0080 || TMC || UID), label 5A and then A5."""
    if len(uid) != UID_LENGTH:
        msg = f"a transaction MAC needs the 7-byte UID, not {len(uid)} bytes"
        raise ValueError(msg)
    if not 1 <= counter <= COUNTER_MAX:
        msg = f"a transaction counter is 1 to {COUNTER_MAX}, not {counter}"
        raise ValueError(msg)
    vector = b"\0\1\0\x80" + counter.to_bytes(4, "little") + uid
    return aes_cmac_of_two(key, b"\x5a" + vector, b"\xa5" + vector)


def _decrypted(encryption_key: bytes, encrypted_reader_id: bytes) -> bytes:
    if len(encrypted_reader_id) != READER_ID_LENGTH:
        msg = f"an encrypted reader id has 16 bytes, not {len(encrypted_reader_id)}"
        raise ValueError(msg)
    return aes_decrypt_block(encryption_key, encrypted_reader_id)


def transaction_keys(key: bytes, uid: bytes, counter: int) -> TransactionKeys:
    """SesTMMACKey (label 5A) and SesTMENCKey (label A5).

    `key` is the card's AppTransactionMACKey, 16 bytes, `uid` 7 bytes, here and below. Raises
    ValueError for others, and for a `counter` that is not 1 to FFFFFFFF.
    """
    return TransactionKeys(*_session_keys(key, uid, counter))


def transaction_mac(key: bytes, uid: bytes, counter: int, tmi: bytes) -> bytes:
    """TMV, 8 bytes: the odd bytes of CMAC(SesTMMACKey, TMI). Raises as `transaction_keys`."""
    mac_key, _ = _session_keys(key, uid, counter)
    return truncate_mac(aes_cmac(mac_key, tmi))


def verify_transaction_mac(key: bytes, uid: bytes, transaction: TransactionMac, tmi: bytes) -> bool:
    """Whether the card that holds `key` and `uid` made this MAC over this input."""
    expected = transaction_mac(key, uid, transaction.counter, tmi)
    return hmac.compare_digest(expected, transaction.mac)


def decrypt_previous_reader_id(
    key: bytes, uid: bytes, counter: int, encrypted_reader_id: bytes
) -> bytes:
    """TMRIPrev, 16 bytes, from what CommitReaderID answered (EncTMRI).

    `counter` is the TMC that this transaction's commit answers. Zeros: no reader id was ever
    committed before. Raises as `transaction_keys`, and ValueError for another length.
    """
    _, encryption_key = _session_keys(key, uid, counter)
    return _decrypted(encryption_key, encrypted_reader_id)


def mac_and_previous_reader_id(
    key: bytes, uid: bytes, counter: int, tmi: bytes, encrypted_reader_id: bytes
) -> tuple[bytes, bytes]:
    """`transaction_mac` and `decrypt_previous_reader_id`, the session keys derived once for both."""
    mac_key, encryption_key = _session_keys(key, uid, counter)
    return truncate_mac(aes_cmac(mac_key, tmi)), _decrypted(encryption_key, encrypted_reader_id)


def tmi_data(opcode: int, file_no: int, offset: int, data: bytes) -> bytes:
    """ReadData (AD, BD) or WriteData (8D, 3D): the length is always that of the data."""
    head = bytes([opcode, file_no]) + _u24(offset) + _u24(len(data)) + bytes(8)
    return pad_zero(head + data, 16)


def tmi_read_data(opcode: int, file_no: int, offset: int, length: int, data: bytes) -> bytes:
    """ReadData. `length` as sent: 0 (the whole file) is replaced by what was read."""
    if length not in {0, len(data)}:
        msg = f"{len(data)} bytes cannot have been read by a length of {length}"
        raise ValueError(msg)
    return tmi_data(opcode, file_no, offset, data)


def tmi_write_data(opcode: int, file_no: int, offset: int, data: bytes) -> bytes:
    """WriteData."""
    return tmi_data(opcode, file_no, offset, data)


def tmi_value(opcode: int, file_no: int, value: int) -> bytes:
    """GetValue (6C, the value read), Credit (0C), Debit (DC), LimitedCredit (1C)."""
    return pad_zero(bytes([opcode, file_no]) + value.to_bytes(4, "little", signed=True), 16)


def tmi_write_record(opcode: int, file_no: int, offset: int, data: bytes) -> bytes:
    """WriteRecord (8B, 3B): offset within the record, length and data."""
    return tmi_data(opcode, file_no, offset, data)


def tmi_read_records(opcode: int, file_no: int, first: int, count: int, data: bytes) -> bytes:
    """ReadRecords (AB, BB): number of the newest record read, how many, their bytes."""
    head = bytes([opcode, file_no]) + _u24(first) + _u24(count) + bytes(8)
    return pad_zero(head + data, 16)


def tmi_update_record(opcode: int, file_no: int, record_no: int, offset: int, data: bytes) -> bytes:
    """UpdateRecord (BA, DB)."""
    head = bytes([opcode, file_no]) + _u24(record_no) + _u24(offset) + _u24(len(data)) + bytes(5)
    return pad_zero(head + data, 16)


def tmi_clear_record_file(file_no: int) -> bytes:
    """ClearRecordFile (EB)."""
    return pad_zero(bytes([0xEB, file_no]), 16)


def tmi_commit_reader_id(reader_id: bytes, encrypted_reader_id: bytes) -> bytes:
    """CommitReaderID (C8): our id, and the card's answer (EncTMRI), 16 bytes each."""
    if len(reader_id) != READER_ID_LENGTH or len(encrypted_reader_id) != READER_ID_LENGTH:
        msg = "a reader id and its encrypted predecessor have 16 bytes each"
        raise ValueError(msg)
    return pad_zero(b"\xc8" + reader_id + encrypted_reader_id, 16)


@dataclass(frozen=True, slots=True)
class TransactionMacInput:
    """The input as it grows; each method returns a new one. `bytes(it)` is the TMI."""

    data: bytes = b""

    def __bytes__(self) -> bytes:
        return self.data

    def append(self, part: bytes) -> TransactionMacInput:
        return TransactionMacInput(self.data + part)

    def read_data(
        self, opcode: int, file_no: int, offset: int, length: int, data: bytes
    ) -> TransactionMacInput:
        return self.append(tmi_read_data(opcode, file_no, offset, length, data))

    def write_data(
        self, opcode: int, file_no: int, offset: int, data: bytes
    ) -> TransactionMacInput:
        return self.append(tmi_write_data(opcode, file_no, offset, data))

    def value(self, opcode: int, file_no: int, value: int) -> TransactionMacInput:
        return self.append(tmi_value(opcode, file_no, value))

    def write_record(
        self, opcode: int, file_no: int, offset: int, data: bytes
    ) -> TransactionMacInput:
        return self.append(tmi_write_record(opcode, file_no, offset, data))

    def read_records(
        self, opcode: int, file_no: int, first: int, count: int, data: bytes
    ) -> TransactionMacInput:
        return self.append(tmi_read_records(opcode, file_no, first, count, data))

    def update_record(
        self, opcode: int, file_no: int, record_no: int, offset: int, data: bytes
    ) -> TransactionMacInput:
        return self.append(tmi_update_record(opcode, file_no, record_no, offset, data))

    def clear_record_file(self, file_no: int) -> TransactionMacInput:
        return self.append(tmi_clear_record_file(file_no))

    def commit_reader_id(self, reader_id: bytes, encrypted_reader_id: bytes) -> TransactionMacInput:
        return self.append(tmi_commit_reader_id(reader_id, encrypted_reader_id))


def _u24(number: int) -> bytes:
    return number.to_bytes(3, "little")
