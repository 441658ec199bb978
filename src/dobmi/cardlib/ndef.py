"""The NDEF application's files: what any phone reads off a card that is laid to its back.

NFC Forum Type 4 Tag 2.0 as AN11004 has it on DESFire. The message is one URI record with the address
of the member's page. No input or output here.
"""

from __future__ import annotations

from dataclasses import dataclass

import ndef

from dobmi.cardlib.purse_layout import CardKey, NdefFileNo
from dobmi.cardlib.sdm import MAC_DIGITS, PICC_DATA_DIGITS, SdmSettings

MESSAGE_FILE_LENGTH = 256
MESSAGE_LENGTH_MAX = 200
"""Length and message: enciphered, they are written by one command."""
PICC_DATA_FIELD = "p"
MAC_FIELD = "m"
_MAPPING_VERSION = 0x20
# Data of one native frame: what every generation's reader and card manage (AN11004 Rev. 2.4).
_READ_LENGTH_MAX, _WRITE_LENGTH_MAX = 0x3A, 0x34


@dataclass(frozen=True, slots=True)
class NdefContent:
    """What is written: length and message, and what the card puts into it when it is read."""

    message: bytes
    sdm: SdmSettings | None


def capabilities_file() -> bytes:
    """File E103, 15 bytes: length, version, MLe, MLc, and the message file, read freely, not written."""
    control = (
        bytes((0x04, 0x06))
        + NdefFileNo.MESSAGE.iso_id.to_bytes(2, "big")
        + MESSAGE_FILE_LENGTH.to_bytes(2, "big")
        + bytes((0x00, 0xFF))
    )
    head = (
        bytes((_MAPPING_VERSION,))
        + _READ_LENGTH_MAX.to_bytes(2, "big")
        + _WRITE_LENGTH_MAX.to_bytes(2, "big")
    )
    return (2 + len(head) + len(control)).to_bytes(2, "big") + head + control


def static_content(member_url: str, card_serial: int) -> NdefContent:
    """`member_url` and the card's serial number: names the card and proves nothing.

    Raises ValueError for an address that is too long for the file.
    """
    return NdefContent(_message(f"{member_url}{card_serial}"), None)


def dynamic_content(member_url: str) -> NdefContent:
    """`member_url?p=…&m=…`, filled by the card at each tap. Raises as `static_content`."""
    picc_data, mac = "0" * PICC_DATA_DIGITS, "0" * MAC_DIGITS
    content = _message(f"{member_url}?{PICC_DATA_FIELD}={picc_data}&{MAC_FIELD}={mac}")
    mac_offset = content.rindex(mac.encode())
    picc_data_offset = content.rindex(picc_data.encode(), 0, mac_offset)
    sdm = SdmSettings(
        meta_read_key=CardKey.SDM_META.number,
        file_read_key=CardKey.SDM_FILE.number,
        picc_data_offset=picc_data_offset,
        mac_input_offset=mac_offset,
        mac_offset=mac_offset,
    )
    return NdefContent(content, sdm)


def url_of(message_file: bytes) -> str | None:
    """The address in a message file; None where there is no URI record, or no message at all."""
    message = message_file[2 : 2 + int.from_bytes(message_file[:2], "big")]
    try:
        records = list(ndef.message_decoder(message))
    except ndef.DecodeError:
        return None
    return next((str(one.iri) for one in records if isinstance(one, ndef.UriRecord)), None)


def _message(url: str) -> bytes:
    message = b"".join(ndef.message_encoder([ndef.UriRecord(url)]))
    if len(message) + 2 > MESSAGE_LENGTH_MAX:
        error = f"the address needs {len(message) + 2} bytes, there are {MESSAGE_LENGTH_MAX}"
        raise ValueError(error)
    return len(message).to_bytes(2, "big") + message
