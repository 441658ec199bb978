"""Secure dynamic messaging: the card puts an enciphered UID and read counter, and a MAC, into a URL.

The card fills places in a file that is read freely: `PICCENCData` (UID and read counter under the
SDMMetaRead key, 32 hexadecimal digits) and `SDMMAC` (16 digits, under a key derived from the
SDMFileRead key, UID and counter). NT4H2421Gx section 9.3, AN12196 section 3; DESFire EV3 has the same,
for files that were created with bit 6 of the communication byte. No input or output here.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Self

from dobmi.cardlib.crypto import aes_cbc_decrypt, aes_cmac, truncate_mac
from dobmi.cardlib.errors import ResponseTooShort
from dobmi.cardlib.files import NEVER, from_little, require_range, u24

SDM_BIT = 0x40
"""Of the communication byte: secure dynamic messaging is allowed (creating) or on (settings)."""
PICC_DATA_LENGTH = 16
MAC_LENGTH = 8
PICC_DATA_DIGITS = 2 * PICC_DATA_LENGTH
MAC_DIGITS = 2 * MAC_LENGTH
COUNTER_MAX = 0xFFFFFF

_UID_AND_COUNTER_ASCII = 0xC1  # UID mirror, counter mirror, ASCII
_PICC_DATA_TAG = 0xC7  # UID and counter are there, the UID has 7 bytes
_UID_LENGTH = 7
_MAC_LABEL = bytes.fromhex("3CC300010080")


@dataclass(frozen=True, slots=True, kw_only=True)
class SdmSettings:
    """What ChangeFileSettings carries after the access rights (AN12196 table 18).

    Offsets are bytes from the file's start. The MAC covers the file from `mac_input_offset` up to
    `mac_offset`: nothing, where they are the same. Keys are numbers of the application's.
    """

    meta_read_key: int
    file_read_key: int
    picc_data_offset: int
    mac_input_offset: int
    mac_offset: int
    counter_key: int = NEVER

    def __post_init__(self) -> None:
        for name in ("meta_read_key", "file_read_key"):
            require_range(name, getattr(self, name), 0, 0xD)
        require_range("counter_key", self.counter_key, 0, 0xF)
        for name in ("picc_data_offset", "mac_input_offset", "mac_offset"):
            require_range(name, getattr(self, name), 0, 0xFFFFFF)
        require_range("mac_offset", self.mac_offset, self.mac_input_offset, 0xFFFFFF)

    def __bytes__(self) -> bytes:
        """SDMOptions, SDMAccessRights, PICCDataOffset, SDMMACInputOffset, SDMMACOffset; 12 bytes."""
        rights = self.meta_read_key << 12 | self.file_read_key << 8 | 0xF0 | self.counter_key
        offsets = (self.picc_data_offset, self.mac_input_offset, self.mac_offset)
        return (
            bytes([_UID_AND_COUNTER_ASCII])
            + rights.to_bytes(2, "little")
            + b"".join(map(u24, offsets))
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """As GetFileSettings reports it; None for other options than ours. ResponseTooShort."""
        if len(data) < 3:
            raise ResponseTooShort(command="GetFileSettings", length=len(data))
        rights = from_little(data[1:3])
        meta_read, file_read = rights >> 12, rights >> 8 & 0xF
        if data[0] != _UID_AND_COUNTER_ASCII or max(meta_read, file_read) > 0xD:
            return None
        if len(data) < 12:
            raise ResponseTooShort(command="GetFileSettings", length=len(data))
        picc_data, mac_input, mac = (from_little(data[i : i + 3]) for i in (3, 6, 9))
        if mac_input > mac:
            return None
        return cls(
            meta_read_key=meta_read,
            file_read_key=file_read,
            picc_data_offset=picc_data,
            mac_input_offset=mac_input,
            mac_offset=mac,
            counter_key=rights & 0xF,
        )


@dataclass(frozen=True, slots=True)
class PiccData:
    """Which card was read, for the how-manieth time (1 and up)."""

    uid: bytes
    read_counter: int


def decrypt_picc_data(meta_key: bytes, enciphered: bytes) -> PiccData | None:
    """16 bytes of the URL, opened with the SDMMetaRead key (AES-CBC, zero IV).

    None for what is no UID and counter under this key; that it is one proves nothing: 1 of 256
    is. Raises ValueError for another length.
    """
    if len(enciphered) != PICC_DATA_LENGTH:
        msg = f"PICC data has {PICC_DATA_LENGTH} bytes, not {len(enciphered)}"
        raise ValueError(msg)
    plain = aes_cbc_decrypt(meta_key, bytes(16), enciphered)
    if plain[0] != _PICC_DATA_TAG:
        return None
    return PiccData(plain[1:8], from_little(plain[8:11]))


def session_mac_key(file_key: bytes, picc_data: PiccData) -> bytes:
    """SesSDMFileReadMACKey: CMAC over SV2 = 3C C3 00 01 00 80 || UID || counter (3, LSB first)."""
    uid, counter = picc_data.uid, picc_data.read_counter
    require_range("UID length", len(uid), _UID_LENGTH, _UID_LENGTH)
    require_range("read counter", counter, 0, COUNTER_MAX)
    return aes_cmac(file_key, _MAC_LABEL + uid + u24(counter))


def sdm_mac(file_key: bytes, picc_data: PiccData, message: bytes = b"") -> bytes:
    """SDMMAC: 8 bytes, the odd ones of the CMAC over `message`, the part of the file it covers."""
    return truncate_mac(aes_cmac(session_mac_key(file_key, picc_data), message))


def mac_fits(file_key: bytes, picc_data: PiccData, mac: bytes, message: bytes = b"") -> bool:
    """Whether `mac` is the card's own over `message`, compared in constant time."""
    return hmac.compare_digest(sdm_mac(file_key, picc_data, message), mac)
