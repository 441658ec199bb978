"""Commands on the contents of files, and those that end a transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dobmi.firmware_sim import sdm
from dobmi.firmware_sim.core import Answer, Core, Request
from dobmi.firmware_sim.files import signed
from dobmi.firmware_sim.session import Mode
from dobmi.firmware_sim.state import (
    FREE,
    NEVER,
    DataFile,
    File,
    RecordFile,
    TransactionMacFile,
    ValueFile,
)
from dobmi.firmware_sim.status import Refusal, Status, require
from dobmi.firmware_sim.transaction import Transaction, encrypted_previous_reader_id

READ_DATA, READ_DATA_ISO = 0xBD, 0xAD
WRITE_DATA, WRITE_DATA_ISO = 0x3D, 0x8D
READ_RECORDS, READ_RECORDS_ISO = 0xBB, 0xAB
WRITE_RECORD, WRITE_RECORD_ISO = 0x3B, 0x8B
UPDATE_RECORD, UPDATE_RECORD_ISO = 0xDB, 0xBA
GET_VALUE, CREDIT, DEBIT, LIMITED_CREDIT = 0x6C, 0x0C, 0xDC, 0x1C
CLEAR_RECORDS = 0xEB

ISO_CHAINING = {
    READ_DATA_ISO,
    WRITE_DATA_ISO,
    READ_RECORDS_ISO,
    WRITE_RECORD_ISO,
    UPDATE_RECORD_ISO,
}

LIMITED_CREDIT_ENABLED = 0x01
GET_VALUE_FREE = 0x02


def three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def number3(wire: bytes) -> int:
    return int.from_bytes(wire, "little")


def _note(core: Core, *parts: bytes) -> None:
    """Into the transaction MAC input, where the application has a transaction MAC file."""
    if core.application().transaction_mac is not None:
        core.transaction.note(*parts)


def _require_transaction_mac_left(core: Core) -> None:
    """A spent counter stops every operation but reading the transaction MAC file."""
    found = core.application().transaction_mac
    require(found is None or not found[1].exhausted, Status.PERMISSION_DENIED)


def _file_number(request: Request, header_length: int) -> int:
    require(len(request.payload) >= header_length, Status.LENGTH_ERROR)
    return request.payload[0]


def _read_mode(core: Core, file: File) -> Mode:
    return core.mode_for(file, (file.rights.read, file.rights.read_write))


# Reading


def read_data(core: Core, request: Request) -> Answer:
    """BD, AD: number, offset, length (0: to the end)."""
    number = _file_number(request, 7)
    file = core.file(number)
    if not isinstance(file, DataFile | TransactionMacFile):
        raise Refusal(Status.PERMISSION_DENIED)
    mode = _read_mode(core, file)
    header = core.open(request, [7], mode)
    offset, length = number3(header[1:4]), number3(header[4:7])
    whole = request.ins == READ_DATA_ISO
    if isinstance(file, DataFile):
        _require_transaction_mac_left(core)
    content = file.content
    if isinstance(file, DataFile):
        _slice(content, offset, length)  # a read that is refused is not counted
        content = sdm.content_to_read(core, number, file)
    data = _slice(content, offset, length)
    if isinstance(file, DataFile):
        _note(core, bytes([request.ins]) + header[:4] + three(len(data)) + bytes(8), data)
    return Answer(data, mode, open_ended=length == 0, whole=whole)


def _slice(content: bytes, offset: int, length: int) -> bytes:
    end = offset + length if length else len(content)
    require(offset < len(content) and end <= len(content), Status.BOUNDARY_ERROR)
    return content[offset:end]


def read_records(core: Core, request: Request) -> Answer:
    """BB, AB: number, newest record wanted (0 is the newest), count (0: all older ones too).

    The oldest of them comes first. Only committed records are seen.
    """
    number = _file_number(request, 7)
    file = core.file(number)
    if not isinstance(file, RecordFile):
        raise Refusal(Status.PERMISSION_DENIED)
    mode = _read_mode(core, file)
    header = core.open(request, [7], mode)
    _require_transaction_mac_left(core)
    newest, count = number3(header[1:4]), number3(header[4:7])
    end = len(file.records) - newest
    start = end - count if count else 0
    require(end > 0 and start >= 0, Status.BOUNDARY_ERROR)
    data = b"".join(file.records[start:end])
    _note(core, bytes([request.ins]) + header[:4] + three(end - start) + bytes(8), data)
    whole = request.ins == READ_RECORDS_ISO
    return Answer(data, mode, open_ended=count == 0, whole=whole)


def get_value(core: Core, request: Request) -> Answer:
    """6C: the committed value, 4 bytes, signed."""
    number = _file_number(request, 1)
    file = _value_file(core, number)
    rights = file.rights
    allowed = [rights.read, rights.write, rights.read_write]
    if file.options & GET_VALUE_FREE:
        allowed.append(FREE)
    mode = core.mode_for(file, allowed)
    core.open(request, [1], mode)
    _require_transaction_mac_left(core)
    value = file.value.to_bytes(4, "little", signed=True)
    _note(core, bytes([request.ins, number]) + value)
    return Answer(value, mode)


def _value_file(core: Core, number: int) -> ValueFile:
    file = core.file(number)
    if not isinstance(file, ValueFile):
        raise Refusal(Status.PERMISSION_DENIED)
    return file


# Writing


@dataclass(frozen=True)
class Write:
    """A write whose header is known: what its frames must add up to, and where it goes.

    `place`: record number of UpdateRecord, else 0.
    """

    number: int
    file: DataFile | RecordFile
    mode: Mode
    header_length: int
    place: int
    offset: int
    length: int


def check_write(core: Core, request: Request) -> Write:
    """Check a write by its header alone, as the card does with the first frame. Raises Refusal."""
    record_length = 3 if request.ins in {UPDATE_RECORD, UPDATE_RECORD_ISO} else 0
    header_length = 7 + record_length
    number = _file_number(request, header_length)
    file = core.file(number)
    wanted = DataFile if request.ins in {WRITE_DATA, WRITE_DATA_ISO} else RecordFile
    if not isinstance(file, DataFile | RecordFile) or not isinstance(file, wanted):
        raise Refusal(Status.PERMISSION_DENIED)
    rights = file.rights
    allowed = (rights.read_write,) if record_length else (rights.write, rights.read_write)
    mode = core.mode_for(file, allowed)
    _require_transaction_mac_left(core)
    numbers = request.payload[1:header_length]
    place = number3(numbers[:record_length])
    offset, length = number3(numbers[-6:-3]), number3(numbers[-3:])
    require(length > 0, Status.PARAMETER_ERROR)
    size = len(file.content) if isinstance(file, DataFile) else file.record_size
    require(offset + length <= size, Status.BOUNDARY_ERROR)
    return Write(number, file, mode, header_length, place, offset, length)


def payload_length(core: Core, write: Write) -> int:
    """Bytes of the whole command after its instruction, security included."""
    if core.session is None:
        return write.header_length + write.length
    return write.header_length + core.session.body_length(write.length, write.mode)


def write(core: Core, request: Request) -> Answer:
    """3D, 8D, 3B, 8B, DB, BA: into a standard file at once, else into the transaction."""
    write = check_write(core, request)
    header, data = core.open_data(request, write.header_length, [write.length], write.mode)
    file, transaction = write.file, core.transaction
    if isinstance(file, RecordFile):
        if request.ins in {UPDATE_RECORD, UPDATE_RECORD_ISO}:
            transaction.update_record(write.number, file, write.place, write.offset, data)
            padding = 5
        else:
            transaction.write_record(write.number, file, write.offset, data)
            padding = 8
    else:
        padding = 8
        if file.backup:
            transaction.write(write.number, file, write.offset, data)
        else:
            _write_now(core, write, file, data)
    _note(core, bytes([request.ins]) + header + bytes(padding), data)
    return Answer(b"", write.mode)


def _write_now(core: Core, write: Write, file: DataFile, data: bytes) -> None:
    end = write.offset + len(data)
    content = file.content[: write.offset] + data + file.content[end:]
    application = core.application().with_file(write.number, replace(file, content=content))
    core.store(application, written_bytes=len(data))


def change_value(core: Core, request: Request) -> Answer:
    """0C Credit, DC Debit, 1C LimitedCredit: number, then 4 bytes, not negative."""
    number = _file_number(request, 1)
    file = _value_file(core, number)
    rights = file.rights
    allowed = {
        CREDIT: (rights.read_write,),
        DEBIT: (rights.read, rights.write, rights.read_write),
        LIMITED_CREDIT: (rights.write, rights.read_write),
    }[request.ins]
    mode = core.mode_for(file, allowed)
    header, data = core.open_data(request, 1, [4], mode)
    _require_transaction_mac_left(core)
    amount = signed(data)
    require(amount >= 0, Status.PARAMETER_ERROR)
    if request.ins == LIMITED_CREDIT:
        require(bool(file.options & LIMITED_CREDIT_ENABLED), Status.PERMISSION_DENIED)
        pending = core.transaction.values.get(number)
        given = amount + (pending.limited_credited if pending else 0)
        require(given <= file.limited_credit, Status.BOUNDARY_ERROR)
        core.transaction.change_value(number, file, amount).limited_credited += amount
    elif request.ins == DEBIT:
        core.transaction.change_value(number, file, -amount).debited += amount
    else:
        core.transaction.change_value(number, file, amount)
    _note(core, bytes([request.ins]) + header + data)
    return Answer(b"", mode)


def clear_records(core: Core, request: Request) -> Answer:
    """EB: at the commit; until then the old records are read and none can be written."""
    number = _file_number(request, 1)
    file = core.file(number)
    if not isinstance(file, RecordFile):
        raise Refusal(Status.PERMISSION_DENIED)
    mode = core.mode_for(file, (file.rights.write, file.rights.read_write))
    # The command has no data: its mode shows in EV2's MAC alone.
    core.open(request, [1], Mode.MAC if mode is not Mode.PLAIN else Mode.PLAIN)
    _require_transaction_mac_left(core)
    core.transaction.clear_records(number)
    _note(core, bytes([request.ins, number]))
    return Answer(b"", mode)


# Ending the transaction


def commit_reader_id(core: Core, request: Request) -> Answer:
    """C8: 16 bytes in MAC mode; the answer is the previous reader id, under SesTMENCKey."""
    found = core.application().transaction_mac
    if found is None:
        raise Refusal(Status.PERMISSION_DENIED)
    file = found[1]
    require(file.rights.read_write != NEVER, Status.PERMISSION_DENIED)
    _require_transaction_mac_left(core)
    core.mode_for(file, (file.rights.read_write,))
    _, reader_id = core.open_data(request, 0, [16], Mode.MAC)
    require(core.transaction.reader_id is None, Status.PERMISSION_DENIED)
    previous = encrypted_previous_reader_id(file, core.state.serial)
    core.transaction.reader_id = reader_id
    core.transaction.note(bytes([request.ins]) + reader_id + previous)
    return Answer(previous, unpadded_block=True)


def commit_transaction(core: Core, request: Request) -> Answer:
    """C7, with option 01 answered by TMC || TMV: all pending changes in one switch of state."""
    require(not core.at_picc, Status.NO_CHANGES)
    application = core.application()
    has_option = core.state.personality.has_ev2_commands
    data = core.open(request, [0, 1] if has_option else [0])
    option = data[0] if data else 0
    require(option in {0, 1}, Status.PARAMETER_ERROR)
    transaction = core.transaction
    found = application.transaction_mac
    require(option == 0 or found is not None, Status.PERMISSION_DENIED)
    require(transaction.pending or bool(transaction.mac_input), Status.NO_CHANGES)
    if found is not None:
        reader_id_missing = found[1].rights.read_write != NEVER and transaction.reader_id is None
        require(not reader_id_missing, Status.PERMISSION_DENIED)
        require(not found[1].exhausted, Status.PERMISSION_DENIED)
    committed = transaction.apply(application, core.state.serial)
    core.store(committed, written_bytes=_written_bytes(transaction, found is not None))
    core.transaction = Transaction()
    after = committed.transaction_mac
    return Answer(after[1].content if option == 1 and after is not None else b"")


def _written_bytes(transaction: Transaction, with_mac: bool) -> int:
    records = transaction.records.values()
    return (
        sum(len(content) for content in transaction.contents.values())
        + 4 * len(transaction.values)
        + sum(len(pending.new or b"") for pending in records)
        + (32 if with_mac else 0)
    )


def abort_transaction(core: Core, request: Request) -> Answer:
    """A7: the files are as they were; the transaction MAC counter does not move."""
    require(not core.at_picc, Status.NO_CHANGES)
    core.open(request, [0])
    transaction = core.transaction
    require(transaction.pending or bool(transaction.mac_input), Status.NO_CHANGES)
    core.transaction = Transaction()
    return Answer()
