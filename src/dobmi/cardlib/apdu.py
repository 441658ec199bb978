"""Native DESFire commands wrapped in ISO 7816-4 APDUs, and the 0xAF chaining of both directions.

A command is INS and data, an answer is data and a status byte; wrapped (CLA 90) they read
`90 INS 00 00 [Lc data] 00` and `data 91 status` (MF3ICD81 section 3.3, AN12343 section 7).
"""

from __future__ import annotations

from collections.abc import Iterator

from dobmi.cardlib.errors import GarbledResponse, refusal_by_iso_status

ADDITIONAL_FRAME = 0xAF
OPERATION_OK = 0x00

COMMAND_FRAME_DATA_MAX = 59
"""Bytes after INS in one frame of native chaining: the card's 60-byte buffer less INS."""

SHORT_APDU_DATA_MAX = 255
"""Bytes after INS in one APDU when ISO 14443-4 does the chaining."""

SHORT_APDU_ANSWER_MAX = 256
"""Bytes before SW1 SW2 in one answer (Le = 00)."""

RESPONSE_FRAMES_MAX = 1024
"""A chained answer is cut off here: no file is as long as that, so the reader babbles."""


def wrap_apdu(ins: int, data: bytes = b"") -> bytes:
    """`90 INS 00 00 [Lc data] 00`; ValueError for more than 255 bytes of data."""
    if len(data) > SHORT_APDU_DATA_MAX:
        msg = f"a short APDU carries at most {SHORT_APDU_DATA_MAX} bytes, not {len(data)}"
        raise ValueError(msg)
    body = bytes([len(data)]) + data if data else b""
    return bytes([0x90, ins, 0x00, 0x00]) + body + b"\0"


def parse_response(response: bytes) -> tuple[bytes, int]:
    """Data and native status of `data 91 status`.

    Raises GarbledResponse for what is no response APDU, and the CardRefused subclass of an ISO
    status word that the card gave instead of a native one.
    """
    data, sw = split_status_word(response)
    if sw >> 8 != 0x91:
        refusal = refusal_by_iso_status(sw)
        if refusal is None:
            raise GarbledResponse(length=len(response))
        raise refusal
    return data, sw & 0xFF


def split_status_word(response: bytes) -> tuple[bytes, int]:
    """Data and SW1 SW2 as one number; GarbledResponse for fewer than two bytes."""
    if len(response) < 2:
        raise GarbledResponse(length=len(response))
    return response[:-2], int.from_bytes(response[-2:], "big")


def command_frames(
    ins: int, payload: bytes, frame_data_max: int = COMMAND_FRAME_DATA_MAX
) -> Iterator[tuple[int, bytes]]:
    """(INS, data) of each frame: the command itself, then as many `AF` as its length needs."""
    if frame_data_max < 1:
        msg = f"a frame carries at least one byte, not {frame_data_max}"
        raise ValueError(msg)
    yield ins, payload[:frame_data_max]
    for start in range(frame_data_max, len(payload), frame_data_max):
        yield ADDITIONAL_FRAME, payload[start : start + frame_data_max]
