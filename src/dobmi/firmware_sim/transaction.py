"""What a transaction holds until it is committed, and the transaction MAC.

Volatile: a transaction dies with the session, the field, a Select or an Abort. `apply` makes the
application as it is after the commit; the card then switches to it in one step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dobmi.cardlib.crypto import aes_cbc_encrypt, aes_cmac, pad_zero, truncate_mac
from dobmi.firmware_sim.state import (
    Application,
    DataFile,
    File,
    RecordFile,
    TransactionMacFile,
    ValueFile,
)
from dobmi.firmware_sim.status import Status, require


@dataclass
class PendingValue:
    """Sums of one transaction's value operations on one file."""

    change: int = 0
    debited: int = 0
    limited_credited: int = 0


@dataclass
class PendingRecords:
    """`new`: the record this transaction adds; `updated`: the old ones, where they changed."""

    new: bytes | None = None
    updated: tuple[bytes, ...] | None = None
    cleared: bool = False


@dataclass
class Transaction:
    contents: dict[int, bytes] = field(default_factory=dict)
    values: dict[int, PendingValue] = field(default_factory=dict)
    records: dict[int, PendingRecords] = field(default_factory=dict)
    mac_input: bytes = b""
    reader_id: bytes | None = None

    @property
    def pending(self) -> bool:
        return bool(self.contents or self.values or self.records)

    def note(self, *parts: bytes) -> None:
        """Append to the transaction MAC input: each part zero-padded to 16 (MF2DL 10.3)."""
        self.mac_input += b"".join(pad_zero(part, 16) for part in parts)

    # Data

    def write(self, number: int, file: DataFile, offset: int, data: bytes) -> None:
        old = self.contents.get(number, file.content)
        self.contents[number] = old[:offset] + data + old[offset + len(data) :]

    # Values

    def change_value(self, number: int, file: ValueFile, amount: int) -> PendingValue:
        """Add `amount` (negative: debit); BOUNDARY_ERROR if the sum would pass a limit."""
        pending = self.values.get(number, PendingValue())
        after = file.value + pending.change + amount
        require(file.lower <= after <= file.upper, Status.BOUNDARY_ERROR)
        pending.change += amount
        self.values[number] = pending
        return pending

    # Records

    def write_record(self, number: int, file: RecordFile, offset: int, data: bytes) -> None:
        """Into this transaction's one new record, which starts as zeros."""
        pending = self.records.get(number, PendingRecords())
        require(not pending.cleared, Status.PERMISSION_DENIED)
        full = not file.cyclic and len(file.records) >= file.max_records
        require(not full, Status.BOUNDARY_ERROR)
        old = pending.new or bytes(file.record_size)
        pending.new = old[:offset] + data + old[offset + len(data) :]
        self.records[number] = pending

    def update_record(
        self, number: int, file: RecordFile, record: int, offset: int, data: bytes
    ) -> None:
        """Change the record that is `record` places behind the newest committed one."""
        pending = self.records.get(number, PendingRecords())
        require(not pending.cleared, Status.PERMISSION_DENIED)
        records = pending.updated or file.records
        require(record < len(records), Status.BOUNDARY_ERROR)
        place = len(records) - 1 - record
        old = records[place]
        new = old[:offset] + data + old[offset + len(data) :]
        pending.updated = (*records[:place], new, *records[place + 1 :])
        self.records[number] = pending

    def clear_records(self, number: int) -> None:
        self.records[number] = PendingRecords(cleared=True)

    # Commit

    def apply(self, application: Application, serial: bytes) -> Application:
        """The application after this transaction, transaction MAC file included."""
        for number, file in application.files:
            changed = self._file_after(number, file, serial)
            if changed is not file:
                application = application.with_file(number, changed)
        return application

    def _file_after(self, number: int, file: File, serial: bytes) -> File:
        if isinstance(file, DataFile) and number in self.contents:
            return replace(file, content=self.contents[number])
        if isinstance(file, ValueFile) and number in self.values:
            return _value_after(file, self.values[number])
        if isinstance(file, RecordFile) and number in self.records:
            return _records_after(file, self.records[number])
        if isinstance(file, TransactionMacFile):
            return replace(
                file,
                counter=file.counter + 1,
                mac=truncate_mac(aes_cmac(transaction_mac_key(file, serial), self.mac_input)),
                previous_reader_id=self.reader_id or file.previous_reader_id,
            )
        return file


def _value_after(file: ValueFile, pending: PendingValue) -> ValueFile:
    if pending.debited:
        limited_credit = pending.debited
    elif pending.limited_credited:
        # Giving back uses the limit up, whatever was given back.
        limited_credit = 0
    else:
        limited_credit = file.limited_credit
    return replace(file, value=file.value + pending.change, limited_credit=limited_credit)


def _records_after(file: RecordFile, pending: PendingRecords) -> RecordFile:
    if pending.cleared:
        return replace(file, records=())
    records = pending.updated or file.records
    if pending.new is not None:
        # A cyclic file keeps one place spare for the record to come.
        kept = file.max_records - 1 if file.cyclic else file.max_records
        records = (*records, pending.new)[-kept:]
    return replace(file, records=records)


def transaction_mac_key(file: TransactionMacFile, serial: bytes) -> bytes:
    """SesTMMACKey of the transaction under way (its counter is one above the file's)."""
    return _transaction_key(file, serial, 0x5A)


def encrypted_previous_reader_id(file: TransactionMacFile, serial: bytes) -> bytes:
    """EncTMRI: the previous reader id under SesTMENCKey, zero IV."""
    key = _transaction_key(file, serial, 0xA5)
    return aes_cbc_encrypt(key, bytes(16), file.previous_reader_id)


def _transaction_key(file: TransactionMacFile, serial: bytes, label: int) -> bytes:
    vector = bytes([label, 0x00, 0x01, 0x00, 0x80])
    counter = (file.counter + 1).to_bytes(4, "little")
    return aes_cmac(file.key.value, vector + counter + serial)
