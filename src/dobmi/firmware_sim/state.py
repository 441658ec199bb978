"""The non-volatile state of a card: immutable values, so that a commit is one switch.

Multi-byte numbers that go over the air (AID, ISO file id, access rights) are kept as integers or
as the bytes of the wire, least significant first; each field says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer

from dobmi.cardlib.crypto import BlockCipher
from dobmi.firmware_sim.contactless import DEFAULT_ATS
from dobmi.firmware_sim.personality import Personality

MEMORY_UNIT_BYTES = 32
PICC_AID = bytes(3)
FREE = 0xE
NEVER = 0xF


def _from_hex(value: object) -> object:
    return bytes.fromhex(value) if isinstance(value, str) else value


Hex = Annotated[
    bytes, BeforeValidator(_from_hex), PlainSerializer(bytes.hex, return_type=str, when_used="json")
]


class KeyType(Enum):
    """The value is bits 7-6 of KeySettings2 and of ChangeKey's key number for the PICC key."""

    DES = 0x00
    TDES_3K = 0x40
    AES = 0x80

    @property
    def length(self) -> int:
        """Bytes of key material on the wire; a single DES key comes as two equal halves."""
        return 24 if self is KeyType.TDES_3K else 16

    @property
    def cipher(self) -> BlockCipher:
        return BlockCipher.AES if self is KeyType.AES else BlockCipher.DES


@dataclass(frozen=True)
class Key:
    """A key as it was sent, version bits of DES keys included; `aes_version` for AES alone."""

    type: KeyType
    value: Hex = field(repr=False)
    aes_version: int = 0

    def __post_init__(self) -> None:
        if len(self.value) != self.type.length:
            msg = f"a {self.type.name} key has {self.type.length} bytes, not {len(self.value)}"
            raise ValueError(msg)

    @property
    def version(self) -> int:
        """AES: the explicit byte. DES: the lowest bits of bytes 0..7, first byte's bit first."""
        if self.type is KeyType.AES:
            return self.aes_version
        bits = 0
        for byte in self.value[:8]:
            bits = bits << 1 | byte & 1
        return bits

    @property
    def cipher_key(self) -> bytes:
        """What the cipher uses: version bits cleared, equal halves of a 2K3DES key made one."""
        if self.type is KeyType.AES:
            return self.value
        bare = without_version_bits(self.value)
        return bare[:8] if len(bare) == 16 and bare[:8] == bare[8:] else bare


def without_version_bits(value: bytes) -> bytes:
    return bytes(byte & 0xFE for byte in value)


@dataclass(frozen=True)
class AccessRights:
    """Four nibbles: 0..D a key, E free, F never."""

    read: int
    write: int
    read_write: int
    change: int

    @classmethod
    def from_wire(cls, wire: bytes) -> AccessRights:
        """Byte 0 is ReadWrite and Change, byte 1 Read and Write (high nibble first)."""
        return cls(
            read=wire[1] >> 4,
            write=wire[1] & 0xF,
            read_write=wire[0] >> 4,
            change=wire[0] & 0xF,
        )

    def to_wire(self) -> bytes:
        return bytes([self.read_write << 4 | self.change, self.read << 4 | self.write])

    @property
    def nibbles(self) -> tuple[int, int, int, int]:
        return self.read, self.write, self.read_write, self.change


@dataclass(frozen=True)
class Sdm:
    """Secure dynamic messaging as switched on, and how often the file has been read since.

    Offsets are None for what is not mirrored; `counter_key` opens GetFileCounters.
    """

    options: int
    meta_read: int
    file_read: int
    counter_key: int
    uid_offset: int | None = None
    counter_offset: int | None = None
    picc_data_offset: int | None = None
    mac_input_offset: int | None = None
    mac_offset: int | None = None
    read_counter: int = 0


@dataclass(frozen=True)
class DataFile:
    """`sdm_allowed`: bit 6 was set when the file was made, so that `sdm` may be switched on."""

    comm: int
    rights: AccessRights
    content: Hex
    backup: bool
    iso_fid: Hex | None = None
    sdm_allowed: bool = False
    sdm: Sdm | None = None
    kind: Literal["data"] = "data"

    @property
    def memory_bytes(self) -> int:
        return whole_units(len(self.content)) * (2 if self.backup else 1)


@dataclass(frozen=True)
class ValueFile:
    """`limited_credit` is what LimitedCredit may still give back; `options` bit 0 allows it."""

    comm: int
    rights: AccessRights
    lower: int
    upper: int
    value: int
    options: int
    limited_credit: int = 0
    iso_fid: None = None
    kind: Literal["value"] = "value"

    @property
    def memory_bytes(self) -> int:
        return MEMORY_UNIT_BYTES


@dataclass(frozen=True)
class RecordFile:
    """`records`: oldest first."""

    comm: int
    rights: AccessRights
    record_size: int
    max_records: int
    cyclic: bool
    records: tuple[Hex, ...] = ()
    iso_fid: Hex | None = None
    kind: Literal["record"] = "record"

    @property
    def memory_bytes(self) -> int:
        """One unit of bookkeeping: 2 records of 8 bytes cost 64 on silicon."""
        return whole_units(self.record_size * self.max_records) + MEMORY_UNIT_BYTES


@dataclass(frozen=True)
class TransactionMacFile:
    """Counter, MAC and previous reader id; `limit` is the highest counter (None: no limit)."""

    comm: int
    rights: AccessRights
    key_option: int
    key: Key
    counter: int = 0
    mac: Hex = bytes(8)
    previous_reader_id: Hex = bytes(16)
    limit: int | None = None
    iso_fid: None = None
    kind: Literal["transaction_mac"] = "transaction_mac"

    @property
    def content(self) -> bytes:
        """TMC (4 bytes, least significant first) || TMV (8)."""
        return self.counter.to_bytes(4, "little") + self.mac

    @property
    def exhausted(self) -> bool:
        limit = 0xFFFFFFFF if self.limit is None else self.limit
        return self.counter >= limit

    @property
    def memory_bytes(self) -> int:
        return 2 * MEMORY_UNIT_BYTES


File = DataFile | ValueFile | RecordFile | TransactionMacFile


@dataclass(frozen=True)
class Application:
    """`aid`: 3 bytes as on the wire. `files`: (number, file) in the order of creation."""

    aid: Hex
    key_settings: int
    keys: tuple[Key, ...]
    iso_file_ids: bool = False
    iso_fid: Hex | None = None
    df_name: Hex | None = None
    files: tuple[tuple[int, File], ...] = ()

    @property
    def key_type(self) -> KeyType:
        return self.keys[0].type

    @property
    def memory_bytes(self) -> int:
        """384 with 14 keys of 16 bytes and 512 with 14 of 24, as silicon has it."""
        return whole_units(48 + len(self.keys) * (self.key_type.length + 8))

    def file(self, number: int) -> File | None:
        return dict(self.files).get(number)

    def with_file(self, number: int, file: File) -> Application:
        if self.file(number) is None:
            return replace(self, files=(*self.files, (number, file)))
        return replace(
            self, files=tuple((n, file if n == number else old) for n, old in self.files)
        )

    def without_file(self, number: int) -> Application:
        return replace(self, files=tuple(pair for pair in self.files if pair[0] != number))

    def with_key(self, number: int, key: Key) -> Application:
        return replace(self, keys=(*self.keys[:number], key, *self.keys[number + 1 :]))

    @property
    def transaction_mac(self) -> tuple[int, TransactionMacFile] | None:
        for number, file in self.files:
            if isinstance(file, TransactionMacFile):
                return number, file
        return None


FACTORY_KEY = Key(KeyType.DES, bytes(16))
FACTORY_KEY_SETTINGS = 0x0F


@dataclass(frozen=True)
class CardState:
    """Everything that outlives the field.

    `hardware_version`, `software_version`: 7 bytes each, None for the personality's own.
    `serial`: the 7-byte UID of the chip; `batch` and `production`: the rest of GetVersion's third
    part (5 and 2 bytes). `memory_used_bytes` includes what was deleted: only FormatPICC frees it.
    """

    serial: Hex
    personality: Personality
    signature: Hex
    hardware_version: Hex | None = None
    software_version: Hex | None = None
    batch: Hex = b"\xce\x3e\x52\x65\x50"
    production: Hex = b"\x20\x17"
    key_settings: int = FACTORY_KEY_SETTINGS
    master_key: Key = FACTORY_KEY
    default_key: Hex = field(default=bytes(24), repr=False)
    default_key_version: int = 0
    format_disabled: bool = False
    random_uid: bool = False
    ats: Hex = DEFAULT_ATS
    pd_capabilities: Hex = bytes(6)
    memory_used_bytes: int = 0
    applications: tuple[Application, ...] = ()

    def __post_init__(self) -> None:
        if len(self.serial) != 7 or len(self.signature) != 56 or len(self.default_key) != 24:
            raise ValueError("a card has a 7-byte UID, a 56-byte signature, a 24-byte default key")

    @property
    def memory_free_bytes(self) -> int:
        return self.personality.memory_bytes - self.memory_used_bytes

    def application(self, aid: bytes) -> Application | None:
        return next((app for app in self.applications if app.aid == aid), None)

    def application_named(
        self, *, iso_fid: bytes | None = None, df_name: bytes | None = None
    ) -> Application | None:
        """By ISO file id (least significant first) or by DF name."""
        for app in self.applications:
            if iso_fid is not None and app.iso_fid == iso_fid:
                return app
            if df_name is not None and app.df_name == df_name:
                return app
        return None

    def with_application(self, application: Application) -> CardState:
        if self.application(application.aid) is None:
            return replace(self, applications=(*self.applications, application))
        return replace(
            self,
            applications=tuple(
                application if app.aid == application.aid else app for app in self.applications
            ),
        )

    def without_application(self, aid: bytes) -> CardState:
        return replace(self, applications=tuple(app for app in self.applications if app.aid != aid))

    def application_key(self, key_type: KeyType) -> Key:
        """The key that a new application's keys start as (SetConfiguration option 01)."""
        value = self.default_key[: key_type.length]
        return Key(key_type, value, self.default_key_version if key_type is KeyType.AES else 0)


def whole_units(size_bytes: int) -> int:
    return -(-size_bytes // MEMORY_UNIT_BYTES) * MEMORY_UNIT_BYTES
