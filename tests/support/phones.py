"""A phone that reads the address off a card, as the NFC Forum's Type 4 Tag has it."""

from __future__ import annotations

from dobmi.cardlib.ndef import url_of
from dobmi.firmware_sim.contactless import ContactlessCard

_SELECT_APPLICATION = bytes.fromhex("00A4040007D276000085010100")
_SELECT_CAPABILITIES = bytes.fromhex("00A4000C02E103")
_SELECT_MESSAGE = bytes.fromhex("00A4000C02E104")


def read_as_a_phone(card: ContactlessCard) -> str:
    """Select, capability container, length, message in as many reads as that allows."""
    card.power_off()
    _send(card, _SELECT_APPLICATION)
    _send(card, _SELECT_CAPABILITIES)
    container = _read(card, 0, 15)
    read_max = int.from_bytes(container[3:5], "big")
    assert container[7:9] + container[9:11] == b"\x04\x06\xe1\x04"
    _send(card, _SELECT_MESSAGE)
    length = int.from_bytes(_read(card, 0, 2), "big")
    message = b""
    while len(message) < length:
        message += _read(card, 2 + len(message), min(read_max, length - len(message)))
    url = url_of(length.to_bytes(2, "big") + message)
    assert url is not None
    return url


def _read(card: ContactlessCard, offset: int, length: int) -> bytes:
    return _send(card, b"\x00\xb0" + offset.to_bytes(2, "big") + bytes([length]))


def _send(card: ContactlessCard, apdu: bytes) -> bytes:
    answer = card.process(apdu)
    assert answer[-2:] == b"\x90\x00", answer.hex()
    return answer[:-2]
