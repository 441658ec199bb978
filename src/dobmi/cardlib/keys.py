"""DESFire keys with their type and version."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from dobmi.cardlib.crypto import BlockCipher


class KeyType(Enum):
    """Key types; `length` is the key as one holds it, `wire_length` as ChangeKey carries it."""

    DES = "DES"
    TDES_2K = "2K3DES"
    TDES_3K = "3K3DES"
    AES = "AES"

    @property
    def length(self) -> int:
        return _LENGTHS[self]

    @property
    def wire_length(self) -> int:
        return max(self.length, 16)

    @property
    def cipher(self) -> BlockCipher:
        return BlockCipher.AES if self is KeyType.AES else BlockCipher.DES

    @property
    def type_bits(self) -> int:
        """Bits 7-6 of KeySettings2, and of the key number when the PICC master key changes."""
        return {"DES": 0x00, "2K3DES": 0x00, "3K3DES": 0x40, "AES": 0x80}[self.value]


_LENGTHS = {KeyType.DES: 8, KeyType.TDES_2K: 16, KeyType.TDES_3K: 24, KeyType.AES: 16}


@dataclass(frozen=True, slots=True)
class DesfireKey:
    """A key as a card holds it. Never shown in a repr.

    DES ciphers ignore the lowest bit of each key byte; the card keeps the key version there, in
    the first eight bytes, most significant bit first. `value` is normalised to that: version bits
    in the first eight bytes, zeros in the lowest bits of the others, so that the XOR and CRC of
    ChangeKey are the card's own. An AES version is a byte of its own.
    """

    type: KeyType
    value: bytes = field(repr=False)
    version: int = 0

    def __post_init__(self) -> None:
        if len(self.value) != self.type.length:
            msg = f"a {self.type.value} key has {self.type.length} bytes, not {len(self.value)}"
            raise ValueError(msg)
        if not 0 <= self.version <= 0xFF:
            msg = f"a key version is 0 to 255, not {self.version}"
            raise ValueError(msg)
        if self.type is not KeyType.AES:
            object.__setattr__(self, "value", _with_version_bits(self.value, self.version))

    @classmethod
    def aes(cls, value: bytes, version: int = 0) -> DesfireKey:
        return cls(KeyType.AES, value, version)

    @classmethod
    def des(cls, value: bytes, version: int = 0) -> DesfireKey:
        return cls(KeyType.DES, value, version)

    @classmethod
    def tdes_2k(cls, value: bytes, version: int = 0) -> DesfireKey:
        return cls(KeyType.TDES_2K, value, version)

    @classmethod
    def tdes_3k(cls, value: bytes, version: int = 0) -> DesfireKey:
        return cls(KeyType.TDES_3K, value, version)

    @property
    def wire_value(self) -> bytes:
        """As ChangeKey carries it: a DES key twice (16 bytes), others as they are."""
        return self.value * 2 if self.type is KeyType.DES else self.value

    @property
    def is_single_des(self) -> bool:
        """True for DES, and for a 2K3DES key with equal halves, which is the same cipher."""
        if self.type is KeyType.TDES_2K:
            bare = _with_version_bits(self.value, 0)
            return bare[:8] == bare[8:]
        return self.type is KeyType.DES


def des_key_version(value: bytes) -> int:
    """The version in the lowest bits of a DES key's first eight bytes."""
    version = 0
    for byte in value[:8]:
        version = version << 1 | byte & 1
    return version


def _with_version_bits(value: bytes, version: int) -> bytes:
    first = bytes(byte & 0xFE | version >> (7 - i) & 1 for i, byte in enumerate(value[:8]))
    return first + bytes(byte & 0xFE for byte in value[8:])


FACTORY_PICC_KEY = DesfireKey.des(bytes(8))
"""The PICC master key of a card fresh from NXP."""

ZERO_AES_KEY = DesfireKey.aes(bytes(16))
"""What every key of a fresh AES application is."""
