"""Files and applications as data: access rights, what a file is created from, what it reports.

Layouts are those of the create commands and of GetFileSettings (MF3ICD81 section 9, AN12343
section 6). Sizes and offsets are bytes; numbers on the wire are least significant byte first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from dobmi.cardlib.errors import MalformedResponse, ResponseTooShort
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.secure_messaging import CommMode

FREE = 0xE
"""The access right that asks for no key."""

NEVER = 0xF
"""The access right that no key gives."""

SIZE_MAX = 0xFFFFFF
VALUE_MIN, VALUE_MAX = -0x80000000, 0x7FFFFFFF


class FileType(IntEnum):
    STANDARD = 0x00
    BACKUP = 0x01
    VALUE = 0x02
    LINEAR_RECORD = 0x03
    CYCLIC_RECORD = 0x04
    TRANSACTION_MAC = 0x05


@dataclass(frozen=True, slots=True)
class AccessRights:
    """One key number (0 to D), FREE or NEVER for each right (AN12343 table 10)."""

    read: int
    write: int
    read_write: int
    change: int

    def __post_init__(self) -> None:
        for name in ("read", "write", "read_write", "change"):
            require_range(f"access right {name}", getattr(self, name), 0, 0xF)

    def __bytes__(self) -> bytes:
        """Two bytes: ReadWrite | Change, then Read | Write."""
        return bytes([self.read_write << 4 | self.change, self.read << 4 | self.write])

    @classmethod
    def from_bytes(cls, data: bytes) -> AccessRights:
        return cls(data[1] >> 4, data[1] & 0xF, data[0] >> 4, data[0] & 0xF)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A standard or backup data file to create; `iso_file_id` where the application has them.

    `sdm_allowed`: secure dynamic messaging may be switched on later (EV3, standard files).
    """

    comm_mode: CommMode
    access: AccessRights
    size: int
    iso_file_id: int | None = None
    sdm_allowed: bool = False

    def __post_init__(self) -> None:
        require_range("file size", self.size, 1, SIZE_MAX)
        _require_iso_file_id(self.iso_file_id)

    def __bytes__(self) -> bytes:
        """What follows the file number in CreateStdDataFile and CreateBackupDataFile."""
        options = self.comm_mode | self.sdm_allowed << 6
        return _head(self.iso_file_id, options, self.access) + u24(self.size)


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A value file to create: signed 32-bit limits and start value."""

    comm_mode: CommMode
    access: AccessRights
    lower_limit: int
    upper_limit: int
    value: int = 0
    limited_credit_enabled: bool = False
    free_get_value: bool = False

    def __post_init__(self) -> None:
        require_range("lower limit", self.lower_limit, VALUE_MIN, VALUE_MAX)
        require_range("upper limit", self.upper_limit, self.lower_limit, VALUE_MAX)
        require_range("value", self.value, self.lower_limit, self.upper_limit)

    def __bytes__(self) -> bytes:
        """What follows the file number in CreateValueFile."""
        options = self.limited_credit_enabled | self.free_get_value << 1
        numbers = i32(self.lower_limit) + i32(self.upper_limit) + i32(self.value)
        return _head(None, self.comm_mode, self.access) + numbers + bytes([options])


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A linear or cyclic record file to create; a cyclic one keeps `records_max` - 1 readable."""

    comm_mode: CommMode
    access: AccessRights
    record_length: int
    records_max: int
    iso_file_id: int | None = None

    def __post_init__(self) -> None:
        require_range("record length", self.record_length, 1, SIZE_MAX)
        require_range("number of records", self.records_max, 1, SIZE_MAX)
        _require_iso_file_id(self.iso_file_id)

    def __bytes__(self) -> bytes:
        """What follows the file number in CreateLinearRecordFile and CreateCyclicRecordFile."""
        head = _head(self.iso_file_id, self.comm_mode, self.access)
        return head + u24(self.record_length) + u24(self.records_max)


@dataclass(frozen=True, slots=True)
class TransactionMacFile:
    """A transaction MAC file to create. `access.write` is NEVER; `access.read_write` names the
    key for CommitReaderID, NEVER switches that off (MF2DLHX0 section 10.3).
    """

    comm_mode: CommMode
    access: AccessRights
    key: DesfireKey = field(repr=False)

    def __post_init__(self) -> None:
        if self.key.type is not KeyType.AES:
            msg = f"a transaction MAC key is an AES key, not {self.key.type.value}"
            raise ValueError(msg)
        if self.access.write != NEVER:
            msg = "nobody may write a transaction MAC file"
            raise ValueError(msg)

    @property
    def header(self) -> bytes:
        """What follows the file number in clear: mode, rights, key option 02 (AES)."""
        return _head(None, self.comm_mode, self.access) + b"\x02"

    @property
    def data(self) -> bytes:
        """What is sent enciphered: key, 16 bytes, and its version."""
        return self.key.value + bytes([self.key.version])


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What every file reports. `options` is the communication byte whole: bits beyond the mode
    say what `extra`, the bytes after the known ones, holds (SDM, further access rights).
    """

    comm_mode: CommMode
    access: AccessRights
    options: int
    extra: bytes


@dataclass(frozen=True, slots=True)
class DataFileSettings(FileSettings):
    """Of a standard or backup data file."""

    type: FileType
    size: int


@dataclass(frozen=True, slots=True)
class ValueFileSettings(FileSettings):
    """`limited_credit_value` is what LimitedCredit may still give back."""

    lower_limit: int
    upper_limit: int
    limited_credit_value: int
    limited_credit_enabled: bool
    free_get_value: bool


@dataclass(frozen=True, slots=True)
class RecordFileSettings(FileSettings):
    """`records_current` counts committed records."""

    type: FileType
    record_length: int
    records_max: int
    records_current: int


@dataclass(frozen=True, slots=True)
class TransactionMacFileSettings(FileSettings):
    key_option: int
    key_version: int


AnyFileSettings = (
    DataFileSettings | ValueFileSettings | RecordFileSettings | TransactionMacFileSettings
)


def parse_file_settings(data: bytes) -> AnyFileSettings:
    """GetFileSettings' answer; ResponseTooShort, MalformedResponse for an unknown file type."""
    command = "GetFileSettings"
    if len(data) < 4:
        raise ResponseTooShort(command=command, length=len(data))
    try:
        kind = FileType(data[0])
    except ValueError:
        raise MalformedResponse(command=command, length=len(data)) from None
    options, access, rest = data[1], AccessRights.from_bytes(data[2:4]), data[4:]
    # 10 in the two lowest bits means plain, as 00 does.
    mode = CommMode.PLAIN if options & 3 == 2 else CommMode(options & 3)
    needed = {FileType.VALUE: 13, FileType.TRANSACTION_MAC: 2}.get(
        kind, 3 if kind in {FileType.STANDARD, FileType.BACKUP} else 9
    )
    if len(rest) < needed:
        raise ResponseTooShort(command=command, length=len(data))
    common = (mode, access, options, rest[needed:])
    match kind:
        case FileType.STANDARD | FileType.BACKUP:
            return DataFileSettings(*common, kind, from_little(rest[:3]))
        case FileType.VALUE:
            return ValueFileSettings(
                *common,
                from_i32(rest[:4]),
                from_i32(rest[4:8]),
                from_i32(rest[8:12]),
                bool(rest[12] & 1),
                bool(rest[12] & 2),
            )
        case FileType.LINEAR_RECORD | FileType.CYCLIC_RECORD:
            numbers = (from_little(rest[i : i + 3]) for i in (0, 3, 6))
            return RecordFileSettings(*common, kind, *numbers)
        case FileType.TRANSACTION_MAC:
            return TransactionMacFileSettings(*common, rest[0], rest[1])


@dataclass(frozen=True, slots=True)
class KeySettings:
    """KeySettings1 of an application or of the PICC (MF3ICD81 section 9.3.2).

    `change_key`: 0 the master key changes any key, 1 to D that key does, E each key changes
    itself, F all but the master key are frozen.
    """

    change_key: int = 0
    configuration_changeable: bool = True
    free_create_delete: bool = True
    free_listing: bool = True
    master_key_changeable: bool = True

    def __post_init__(self) -> None:
        require_range("change key", self.change_key, 0, 0xF)

    def __int__(self) -> int:
        return (
            self.change_key << 4
            | self.configuration_changeable << 3
            | self.free_create_delete << 2
            | self.free_listing << 1
            | self.master_key_changeable
        )

    @classmethod
    def from_int(cls, byte: int) -> KeySettings:
        return cls(byte >> 4, bool(byte & 8), bool(byte & 4), bool(byte & 2), bool(byte & 1))


@dataclass(frozen=True, slots=True)
class ApplicationKeySettings:
    """GetKeySettings' answer. DES and 2K3DES share a code: `key_type` says TDES_2K for both."""

    settings: KeySettings
    key_count: int
    key_type: KeyType
    iso_file_ids: bool

    @classmethod
    def from_bytes(cls, data: bytes) -> ApplicationKeySettings:
        if len(data) < 2:
            raise ResponseTooShort(command="GetKeySettings", length=len(data))
        kinds = {0x00: KeyType.TDES_2K, 0x40: KeyType.TDES_3K, 0x80: KeyType.AES}
        kind = kinds.get(data[1] & 0xC0)
        if kind is None:
            raise MalformedResponse(command="GetKeySettings", length=len(data))
        return cls(KeySettings.from_int(data[0]), data[1] & 0xF, kind, bool(data[1] & 0x20))


@dataclass(frozen=True, slots=True)
class DedicatedFile:
    """An application with its ISO names, as GetDFNames lists it."""

    aid: int
    iso_file_id: int
    name: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> DedicatedFile:
        """One frame of GetDFNames: AID (3), ISO file id (2), name (0 to 16)."""
        if len(data) < 5:
            raise ResponseTooShort(command="GetDFNames", length=len(data))
        return cls(from_little(data[:3]), from_little(data[3:5]), data[5:])


def require_range(what: str, number: int, low: int, high: int) -> None:
    if not low <= number <= high:
        msg = f"{what} must be {low} to {high}, not {number}"
        raise ValueError(msg)


def u24(number: int) -> bytes:
    return number.to_bytes(3, "little")


def i32(number: int) -> bytes:
    return number.to_bytes(4, "little", signed=True)


def from_little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def from_i32(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _head(iso_file_id: int | None, options: int, access: AccessRights) -> bytes:
    iso = b"" if iso_file_id is None else iso_file_id.to_bytes(2, "little")
    return iso + bytes([options]) + bytes(access)


def _require_iso_file_id(iso_file_id: int | None) -> None:
    if iso_file_id is not None:
        require_range("ISO file id", iso_file_id, 0, 0xFFFF)
