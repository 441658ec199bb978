"""Commands that make, list, change and delete files."""

from __future__ import annotations

from dataclasses import replace

from dobmi.firmware_sim import sdm
from dobmi.firmware_sim.core import (
    FREE_CREATE_DELETE,
    FREE_DIRECTORY,
    Answer,
    Core,
    Request,
)
from dobmi.firmware_sim.session import Mode
from dobmi.firmware_sim.state import (
    FREE,
    NEVER,
    AccessRights,
    Application,
    DataFile,
    File,
    Key,
    KeyType,
    RecordFile,
    TransactionMacFile,
    ValueFile,
)
from dobmi.firmware_sim.status import Refusal, Status, require

FILE_NUMBER_MAX = 0x1F
COMM_MODES = {0, 1, 2, 3}
CREATE_STANDARD = 0xCD
TYPE_STANDARD, TYPE_BACKUP, TYPE_VALUE, TYPE_LINEAR, TYPE_CYCLIC, TYPE_TMAC = range(6)


def create_data_file(core: Core, request: Request) -> Answer:
    """CD (standard) and CB (backup): number, [ISO id], mode, rights, size."""
    number, iso_fid, comm, rights, tail = _open_creation(core, request, 3, with_iso_fid=True)
    size = int.from_bytes(tail, "little")
    require(size > 0, Status.PARAMETER_ERROR)
    require(size <= core.state.personality.memory_bytes, Status.OUT_OF_EEPROM)
    backup, sdm_allowed = request.ins == 0xCB, bool(comm & sdm.ENABLED)
    file = DataFile(comm & 3, rights, bytes(size), backup, iso_fid, sdm_allowed)
    return _add(core, number, file)


def create_value_file(core: Core, request: Request) -> Answer:
    """CC: number, mode, rights, lower, upper and initial value, options."""
    number, _, comm, rights, tail = _open_creation(core, request, 13, with_iso_fid=False)
    lower, upper, value = (signed(tail[i : i + 4]) for i in (0, 4, 8))
    require(lower <= value <= upper, Status.PARAMETER_ERROR)
    options = tail[12]
    require(options <= 3, Status.PARAMETER_ERROR)
    return _add(core, number, ValueFile(comm, rights, lower, upper, value, options))


def create_record_file(core: Core, request: Request) -> Answer:
    """C1 (linear) and C0 (cyclic): number, [ISO id], mode, rights, record size, records."""
    number, iso_fid, comm, rights, tail = _open_creation(core, request, 6, with_iso_fid=True)
    size, count = int.from_bytes(tail[:3], "little"), int.from_bytes(tail[3:], "little")
    cyclic = request.ins == 0xC0
    require(size > 0 and count >= (2 if cyclic else 1), Status.PARAMETER_ERROR)
    return _add(core, number, RecordFile(comm, rights, size, count, cyclic, iso_fid=iso_fid))


def create_transaction_mac_file(core: Core, request: Request) -> Answer:
    """CE: number, mode, rights, key option in clear; key and version (and limit) enciphered."""
    application = core.application()
    core.require_master_key_unless(FREE_CREATE_DELETE)
    header, data = core.open_data(request, 5, [17, 21], Mode.FULL)
    number, comm, option = header[0], header[1], header[4]
    rights = AccessRights.from_wire(header[2:4])
    _check_common(application, number, comm, rights)
    require(option == 0x02, Status.PARAMETER_ERROR)
    require(rights.write == NEVER, Status.PARAMETER_ERROR)
    require(application.transaction_mac is None, Status.DUPLICATE)
    limit = int.from_bytes(data[17:], "little") if len(data) == 21 else None
    key = Key(KeyType.AES, data[:16], data[16])
    return _add(core, number, TransactionMacFile(comm, rights, option, key, limit=limit))


def _open_creation(
    core: Core, request: Request, tail_length: int, *, with_iso_fid: bool
) -> tuple[int, bytes | None, int, AccessRights, bytes]:
    application = core.application()
    core.require_master_key_unless(FREE_CREATE_DELETE)
    # In an application with ISO file ids every file that can have one must have one.
    iso_length = 2 if with_iso_fid and application.iso_file_ids else 0
    data = core.open(request, [4 + iso_length + tail_length])
    number, rest = data[0], data[1:]
    iso_fid, rest = (rest[:iso_length] or None), rest[iso_length:]
    comm, rights = rest[0], AccessRights.from_wire(rest[1:3])
    sdm_bit = sdm.ENABLED if with_iso_fid and core.state.personality.has_sdm else 0
    _check_common(application, number, comm & ~sdm_bit, rights)
    require(not comm & sdm_bit or request.ins == CREATE_STANDARD, Status.PARAMETER_ERROR)
    taken = iso_fid is not None and any(file.iso_fid == iso_fid for _, file in application.files)
    require(not taken, Status.DUPLICATE)
    return number, iso_fid, comm, rights, rest[3:]


def _check_common(application: Application, number: int, comm: int, rights: AccessRights) -> None:
    require(number <= FILE_NUMBER_MAX, Status.PARAMETER_ERROR)
    require(comm in COMM_MODES, Status.PARAMETER_ERROR)
    _check_rights(application, rights)
    require(application.file(number) is None, Status.DUPLICATE)


def _check_rights(application: Application, rights: AccessRights) -> None:
    keys = len(application.keys)
    known = all(right >= FREE or right < keys for right in rights.nibbles)
    require(known, Status.PARAMETER_ERROR)


def _add(core: Core, number: int, file: File) -> Answer:
    size = file.memory_bytes
    require(size <= core.state.memory_free_bytes, Status.OUT_OF_EEPROM)
    state = core.state.with_application(core.application().with_file(number, file))
    core.switch_to(
        replace(state, memory_used_bytes=state.memory_used_bytes + size), written_bytes=size
    )
    return Answer()


def delete_file(core: Core, request: Request) -> Answer:
    """DF: at once, not part of a transaction; the memory is not given back."""
    application = core.application()
    core.require_master_key_unless(FREE_CREATE_DELETE)
    (number,) = core.open(request, [1])
    core.file(number)
    core.store(application.without_file(number))
    transaction = core.transaction
    transaction.contents.pop(number, None)
    transaction.values.pop(number, None)
    transaction.records.pop(number, None)
    return Answer()


def get_file_ids(core: Core, request: Request) -> Answer:
    application = core.application()
    core.require_master_key_unless(FREE_DIRECTORY)
    core.open(request, [0])
    return Answer(bytes(number for number, _ in application.files))


def get_iso_file_ids(core: Core, request: Request) -> Answer:
    """61: 2 bytes each, least significant first, of the files that have one."""
    application = core.application()
    core.require_master_key_unless(FREE_DIRECTORY)
    core.open(request, [0])
    ids = [file.iso_fid for _, file in application.files if file.iso_fid is not None]
    return Answer(b"".join(ids), unit=2)


def get_file_settings(core: Core, request: Request) -> Answer:
    """F5: type, mode, rights, then what the type has; committed values only."""
    core.application()
    core.require_master_key_unless(FREE_DIRECTORY)
    (number,) = core.open(request, [1])
    file = core.file(number)
    show_always = core.state.personality.shows_limited_credit_when_disabled
    file_type, tail = _type_and_settings(file, show_always=show_always)
    comm = file.comm
    if isinstance(file, DataFile) and file.sdm is not None:
        comm, tail = comm | sdm.ENABLED, tail + sdm.to_wire(file.sdm)
    return Answer(bytes([file_type, comm]) + file.rights.to_wire() + tail)


def _type_and_settings(file: File, *, show_always: bool) -> tuple[int, bytes]:
    match file:
        case DataFile():
            kind = TYPE_BACKUP if file.backup else TYPE_STANDARD
            return kind, len(file.content).to_bytes(3, "little")
        case ValueFile():
            shown = file.limited_credit if show_always or file.options & 1 else 0
            numbers = (file.lower, file.upper, shown)
            packed = b"".join(n.to_bytes(4, "little", signed=True) for n in numbers)
            return TYPE_VALUE, packed + bytes([file.options])
        case RecordFile():
            counts = (file.record_size, file.max_records, len(file.records))
            kind = TYPE_CYCLIC if file.cyclic else TYPE_LINEAR
            return kind, b"".join(n.to_bytes(3, "little") for n in counts)
        case TransactionMacFile():
            limit = b"" if file.limit is None else file.limit.to_bytes(4, "little")
            return TYPE_TMAC, bytes([file.key_option, file.key.version]) + limit


def change_file_settings(core: Core, request: Request) -> Answer:
    """5F: number in clear, then mode and rights, enciphered unless the change right is free.

    A file that allows it takes SDM settings after them, or loses those it had.
    """
    application = core.application()
    require(len(request.payload) >= 1, Status.LENGTH_ERROR)
    number = request.payload[0]
    file = core.file(number)
    change = file.rights.change
    require(change != NEVER, Status.PERMISSION_DENIED)
    if core.session is not None and core.session.key_no == change:
        mode = Mode.FULL
    elif change == FREE:
        mode = Mode.PLAIN
    elif core.session is None:
        raise Refusal(Status.AUTHENTICATION_ERROR)
    else:
        raise Refusal(Status.PERMISSION_DENIED)
    allows_sdm = isinstance(file, DataFile) and file.sdm_allowed
    lengths = range(3, 3 + sdm.SETTINGS_MAX + 1) if allows_sdm else [3]
    _, data = core.open_data(request, 1, lengths, mode)
    comm, rights = data[0], AccessRights.from_wire(data[1:3])
    if isinstance(file, DataFile) and file.sdm_allowed:
        wanted = bool(comm & sdm.ENABLED)
        require(wanted or len(data) == 3, Status.LENGTH_ERROR)
        of_file = sdm.from_wire(data[3:], application, len(file.content)) if wanted else None
        file, comm = replace(file, sdm=of_file), comm & ~sdm.ENABLED
    require(comm in COMM_MODES, Status.PARAMETER_ERROR)
    _check_rights(application, rights)
    if isinstance(file, TransactionMacFile):
        require(rights.write == NEVER, Status.PARAMETER_ERROR)
    core.store(application.with_file(number, replace(file, comm=comm, rights=rights)))
    return Answer()


def signed(wire: bytes) -> int:
    return int.from_bytes(wire, "little", signed=True)
