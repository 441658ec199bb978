"""Commands on keys and key settings, of the card and of applications."""

from __future__ import annotations

from dataclasses import replace

from dobmi.cardlib.crypto import xor
from dobmi.firmware_sim.core import (
    FREE_DIRECTORY,
    MASTER_KEY_CHANGEABLE,
    SETTINGS_CHANGEABLE,
    Answer,
    Core,
    Request,
)
from dobmi.firmware_sim.session import Mode, Session
from dobmi.firmware_sim.state import Key, KeyType, without_version_bits
from dobmi.firmware_sim.status import Refusal, Status, require

OWN_KEY = 0xE
FROZEN = 0xF


def get_key_version(core: Core, request: Request) -> Answer:
    """64: one byte."""
    (number,) = core.open(request, [1])
    return Answer(bytes([core.key(number).version]))


def get_key_settings(core: Core, request: Request) -> Answer:
    """45: KeySettings1, then key type (bits 7-6) and number of keys."""
    core.require_master_key_unless(FREE_DIRECTORY)
    core.open(request, [0])
    if core.at_picc:
        return Answer(bytes([core.state.key_settings, core.state.master_key.type.value | 1]))
    application = core.application()
    iso = 0x20 if application.iso_file_ids else 0
    count = application.key_type.value | iso | len(application.keys)
    return Answer(bytes([application.key_settings, count]))


def change_key_settings(core: Core, request: Request) -> Answer:
    """54: one enciphered byte, by the master key, while bit 3 is set."""
    core.require_master_key()
    require(bool(core.key_settings & SETTINGS_CHANGEABLE), Status.PERMISSION_DENIED)
    _, (settings,) = core.open_data(request, 0, [1], Mode.FULL)
    if core.at_picc:
        core.switch_to(replace(core.state, key_settings=settings))
    else:
        core.store(replace(core.application(), key_settings=settings))
    return Answer()


def change_key(core: Core, request: Request) -> Answer:
    """C4: key number, then the cryptogram.

    The session's own key comes as it is, another one XORed with the old one. Changing the own
    key ends the session: the answer carries no MAC.
    """
    session = core.session
    if session is None:
        raise Refusal(Status.AUTHENTICATION_ERROR)
    require(len(request.payload) >= 1, Status.LENGTH_ERROR)
    number, key_type = _number_and_type(core, request.payload[0])
    old = core.key(number)
    _require_right_to_change(core, session, number)
    own = number == session.key_no
    key = _new_key(session, request, key_type, None if own else old)
    if core.at_picc:
        core.switch_to(replace(core.state, master_key=key), written_bytes=key_type.length)
    else:
        core.store(core.application().with_key(number, key), written_bytes=key_type.length)
    if own:
        core.drop_session()
    return Answer()


def _number_and_type(core: Core, number_byte: int) -> tuple[int, KeyType]:
    if not core.at_picc:
        return number_byte, core.application().key_type
    type_bits = number_byte & 0xC0
    require(type_bits in {kind.value for kind in KeyType}, Status.PARAMETER_ERROR)
    return number_byte & 0x3F, KeyType(type_bits)


def _require_right_to_change(core: Core, session: Session, number: int) -> None:
    """KeySettings1: bit 0 for the master key, the high nibble for the others."""
    if number == 0:
        require(session.key_no == 0, Status.AUTHENTICATION_ERROR)
        changeable = bool(core.key_settings & MASTER_KEY_CHANGEABLE)
        require(changeable, Status.PERMISSION_DENIED)
        return
    changer = core.key_settings >> 4
    require(changer != FROZEN, Status.PERMISSION_DENIED)
    # The key that changes others is itself changed by the master key.
    needed = {OWN_KEY: number, number: 0}.get(changer, changer)
    require(session.key_no == needed, Status.AUTHENTICATION_ERROR)


def _new_key(session: Session, request: Request, key_type: KeyType, old: Key | None) -> Key:
    """Take the cryptogram apart and check what it carries; `old` when it is XORed with that."""
    ins, header = request.ins, request.payload[:1]
    plain = session.open_cryptogram(ins, header, request.payload[1:])
    key_length = key_type.length
    data_length = key_length + (1 if key_type is KeyType.AES else 0)
    data, rest = plain[:data_length], plain[data_length:]
    require(len(data) == data_length, Status.LENGTH_ERROR)
    crc = session.cryptogram_crc(ins, header, data)
    require(rest.startswith(crc), Status.INTEGRITY_ERROR)
    rest = rest[len(crc) :]
    version = data[key_length] if key_type is KeyType.AES else 0
    value = data[:key_length]
    if old is not None:
        value, rest = _unmask(session, value, rest, old)
    require(not rest.strip(b"\0"), Status.INTEGRITY_ERROR)
    return Key(key_type, value, version)


def _unmask(session: Session, masked: bytes, rest: bytes, old: Key) -> tuple[bytes, bytes]:
    """XOR off the old key, whose version bits the reader may have cleared: the CRC tells."""
    for candidate in (old.value, without_version_bits(old.value)):
        value = xor(masked, candidate)
        crc = session.key_crc(value)
        if rest.startswith(crc):
            return value, rest[len(crc) :]
        if old.type is KeyType.AES:
            break
    raise Refusal(Status.INTEGRITY_ERROR)
