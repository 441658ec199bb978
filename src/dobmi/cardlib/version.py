"""GetVersion's answer: what chip this is (AN10833, MF3ICD81 section 9.4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dobmi.cardlib.errors import ResponseTooShort

_VERSION_LENGTH = 28


class Generation(Enum):
    """The family member, from the hardware's type and major version."""

    D40 = "MF3ICD40"
    EV1 = "DESFire EV1"
    EV2 = "DESFire EV2"
    EV3 = "DESFire EV3"
    LIGHT = "DESFire Light"
    UNKNOWN = "unknown"

    @property
    def has_transaction_mac(self) -> bool:
        """Whether value, records and a transaction MAC file can be had together: EV2 and EV3."""
        return self in {Generation.EV2, Generation.EV3}

    @property
    def has_sdm(self) -> bool:
        """Whether a file can put UID, counter and MAC into what is read of it: EV3."""
        return self is Generation.EV3


@dataclass(frozen=True, slots=True)
class ChipPart:
    """One of the two halves of the version: hardware or software."""

    vendor: int
    type: int
    subtype: int
    major: int
    minor: int
    storage: int
    protocol: int

    @property
    def storage_bytes(self) -> int:
        """The storage's lower bound: 2 ** (code / 2), more than that where the code is odd."""
        return 1 << (self.storage >> 1)


@dataclass(frozen=True, slots=True)
class CardVersion:
    """`uid` is 7 zeros where the card is set to random ids."""

    hardware: ChipPart
    software: ChipPart
    uid: bytes
    batch: bytes
    production_week: int
    production_year: int

    @classmethod
    def from_bytes(cls, data: bytes) -> CardVersion:
        """From the three frames' 28 bytes (EV3 may add one); ResponseTooShort for fewer."""
        if len(data) < _VERSION_LENGTH:
            raise ResponseTooShort(command="GetVersion", length=len(data))
        return cls(
            ChipPart(*data[:7]),
            ChipPart(*data[7:14]),
            data[14:21],
            data[21:26],
            _from_bcd(data[26]),
            2000 + _from_bcd(data[27]),
        )

    @property
    def generation(self) -> Generation:
        kind = self.hardware.type & 0xF
        if kind == 0x8:
            return Generation.LIGHT
        if kind != 0x1:
            return Generation.UNKNOWN
        # 00 and 01; then 12 (EV2), 22 (EV2 XL), 33 (EV3): the low digit is the generation.
        generations = {0: Generation.D40, 1: Generation.EV1, 2: Generation.EV2, 3: Generation.EV3}
        return generations.get(self.hardware.major & 0xF, Generation.UNKNOWN)


def _from_bcd(byte: int) -> int:
    return (byte >> 4) * 10 + (byte & 0xF)
