"""Secure dynamic messaging, the card's side: what a phone reads is made at each tap.

NT4H2421Gx section 9.3 and AN12196 section 3, as DESFire EV3 has it. Enciphering a part of the file
(SDMENCFileData) and the counter's limit are not modelled: settings that ask for them are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dobmi.cardlib.crypto import aes_cbc_encrypt, aes_cmac, truncate_mac
from dobmi.firmware_sim.core import Answer, Core, Request
from dobmi.firmware_sim.state import FREE, NEVER, Application, DataFile, Sdm
from dobmi.firmware_sim.status import Refusal, Status, require

ENABLED = 0x40
READS = frozenset({0xBD, 0xAD})
SETTINGS_MAX = 18
_UID_MIRROR, _COUNTER_MIRROR, _ASCII = 0x80, 0x40, 0x01
_COUNTER_MAX = 0xFFFFFF
_UID_DIGITS, _COUNTER_DIGITS, _PICC_DATA_DIGITS, _MAC_DIGITS = 14, 6, 32, 16


def from_wire(data: bytes, application: Application, file_size: int) -> Sdm:
    """SDMOptions, SDMAccessRights and the offsets they ask for; the counter begins anew."""
    require(len(data) >= 3, Status.LENGTH_ERROR)
    options = data[0]
    known = options | _UID_MIRROR | _COUNTER_MIRROR == _UID_MIRROR | _COUNTER_MIRROR | _ASCII
    require(known, Status.PARAMETER_ERROR)
    counter_key, meta_read, file_read = data[1] & 0xF, data[2] >> 4, data[2] & 0xF
    keys = len(application.keys)
    require(data[1] >> 4 == 0xF, Status.PARAMETER_ERROR)
    for right, also in (
        (counter_key, (FREE, NEVER)),
        (meta_read, (FREE, NEVER)),
        (file_read, (NEVER,)),
    ):
        require(right < keys or right in also, Status.PARAMETER_ERROR)
    take = _offsets(data[3:], file_size)
    mirrors_uid, mirrors_counter = bool(options & _UID_MIRROR), bool(options & _COUNTER_MIRROR)
    sdm = Sdm(
        options,
        meta_read,
        file_read,
        counter_key,
        uid_offset=take(_UID_DIGITS) if meta_read == FREE and mirrors_uid else None,
        counter_offset=take(_COUNTER_DIGITS) if meta_read == FREE and mirrors_counter else None,
        picc_data_offset=take(_PICC_DATA_DIGITS) if meta_read < FREE else None,
        mac_input_offset=take(0) if file_read != NEVER else None,
        mac_offset=take(_MAC_DIGITS) if file_read != NEVER else None,
    )
    require(len(to_wire(sdm)) == len(data), Status.LENGTH_ERROR)
    if sdm.mac_input_offset is not None and sdm.mac_offset is not None:
        require(sdm.mac_input_offset <= sdm.mac_offset, Status.PARAMETER_ERROR)
    return sdm


def _offsets(wire: bytes, file_size: int) -> Callable[[int], int]:
    """Takes the next offset, behind which so many digits must have room in the file."""
    left = wire

    def take(digits: int) -> int:
        nonlocal left
        require(len(left) >= 3, Status.LENGTH_ERROR)
        offset, left = int.from_bytes(left[:3], "little"), left[3:]
        require(offset + digits <= file_size, Status.PARAMETER_ERROR)
        return offset

    return take


def to_wire(sdm: Sdm) -> bytes:
    offsets = (
        sdm.uid_offset,
        sdm.counter_offset,
        sdm.picc_data_offset,
        sdm.mac_input_offset,
        sdm.mac_offset,
    )
    rights = bytes([0xF0 | sdm.counter_key, sdm.meta_read << 4 | sdm.file_read])
    given = (offset.to_bytes(3, "little") for offset in offsets if offset is not None)
    return bytes([sdm.options]) + rights + b"".join(given)


def content_to_read(core: Core, number: int, file: DataFile) -> bytes:
    """The file as a read shows it: read freely with SDM on, the card fills its places.

    The first of reads that follow each other counts; all of them show the same.
    """
    if file.sdm is None or core.session is not None:
        return file.content
    if core.mirrored is None or core.mirrored[0] != number:
        require(file.sdm.read_counter < _COUNTER_MAX, Status.PERMISSION_DENIED)
        sdm = replace(file.sdm, read_counter=file.sdm.read_counter + 1)
        core.store(core.application().with_file(number, replace(file, sdm=sdm)), written_bytes=3)
        core.mirrored = number, _mirror(core, file.content, sdm)
    return core.mirrored[1]


def get_file_counters(core: Core, request: Request) -> Answer:
    """F6: SDMReadCtr, 3 bytes least significant first, and two zeros."""
    require(core.state.personality.has_sdm, Status.ILLEGAL_COMMAND)
    (number,) = core.open(request, [1])
    file = core.file(number)
    if not isinstance(file, DataFile) or file.sdm is None:
        raise Refusal(Status.PERMISSION_DENIED)
    may = file.sdm.counter_key
    key_no = core.session.key_no if core.session is not None else None
    require(may == FREE or (key_no is not None and key_no == may), Status.PERMISSION_DENIED)
    return Answer(file.sdm.read_counter.to_bytes(3, "little") + bytes(2))


def _mirror(core: Core, content: bytes, sdm: Sdm) -> bytes:
    uid, counter = core.state.serial, sdm.read_counter.to_bytes(3, "little")
    shown = bytearray(content)

    def fill(offset: int | None, value: bytes) -> None:
        if offset is not None:
            digits = value.hex().upper().encode()
            shown[offset : offset + len(digits)] = digits

    fill(sdm.uid_offset, uid)
    fill(sdm.counter_offset, counter[::-1])
    uid_part = uid if sdm.options & _UID_MIRROR else b""
    counter_part = counter if sdm.options & _COUNTER_MIRROR else b""
    if sdm.picc_data_offset is not None:
        tag = (sdm.options & 0xC0) | (len(uid_part) & 0xF)
        plain = bytes([tag]) + uid_part + counter_part
        plain += core.random_bytes(16 - len(plain))
        meta_key = core.key(sdm.meta_read).value
        fill(sdm.picc_data_offset, aes_cbc_encrypt(meta_key, bytes(16), plain))
    if sdm.mac_offset is not None and sdm.mac_input_offset is not None:
        vector = bytes.fromhex("3cc300010080") + uid_part + counter_part
        vector = vector.ljust(-(-len(vector) // 16) * 16, b"\0")
        session_key = aes_cmac(core.key(sdm.file_read).value, vector)
        covered = bytes(shown[sdm.mac_input_offset : sdm.mac_offset])
        fill(sdm.mac_offset, truncate_mac(aes_cmac(session_key, covered)))
    return bytes(shown)
