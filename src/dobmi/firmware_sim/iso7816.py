"""The ISO 7816-4 commands of the card: SELECT, READ BINARY, UPDATE BINARY.

File identifiers are most significant byte first here, least significant first in native commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dobmi.firmware_sim import sdm
from dobmi.firmware_sim.core import Core
from dobmi.firmware_sim.picc import PICC_DF_NAME
from dobmi.firmware_sim.session import Mode
from dobmi.firmware_sim.state import PICC_AID, Application, DataFile
from dobmi.firmware_sim.status import IsoRefusal, Refusal

SELECT, READ_BINARY, UPDATE_BINARY = 0xA4, 0xB0, 0xD6
MASTER_FILE = b"\x3f\x00"

OK = 0x9000
LIMIT_REACHED = 0x6283
END_OF_FILE = 0x6282
WRONG_LENGTH = 0x6700
SECURITY_NOT_SATISFIED = 0x6982
NO_CURRENT_FILE = 0x6986
FILE_NOT_FOUND = 0x6A82
WRONG_P1_P2 = 0x6A86
WRONG_OFFSET = 0x6B00
UNKNOWN_INSTRUCTION = 0x6D00
WRONG_CLASS = 0x6E00


@dataclass(frozen=True)
class Apdu:
    """`expected`: how many bytes the reader takes at most; None when it gave no Le."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    expected: int | None

    @classmethod
    def parse(cls, raw: bytes) -> Apdu:
        """Short and extended forms (ISO 7816-4 5.1); IsoRefusal 6700 when lengths disagree."""
        if len(raw) < 4:
            raise IsoRefusal(WRONG_LENGTH)
        cla, ins, p1, p2 = raw[:4]
        data, expected = _body(raw[4:])
        return cls(cla, ins, p1, p2, data, expected)


def _body(body: bytes) -> tuple[bytes, int | None]:
    if not body:
        return b"", None
    if len(body) == 1:
        return b"", body[0] or 256
    if body[0] == 0 and len(body) >= 3:
        width, full, body = 2, 65536, body[1:]
    else:
        width, full = 1, 256
    length = int.from_bytes(body[:width], "big")
    rest = body[width:]
    if not rest:
        return b"", length or full
    data, tail = rest[:length], rest[length:]
    if length == 0 or len(data) != length or len(tail) not in {0, width}:
        raise IsoRefusal(WRONG_LENGTH)
    return data, (int.from_bytes(tail, "big") or full) if tail else None


def require(condition: bool, status_word: int) -> None:
    if not condition:
        raise IsoRefusal(status_word)


def execute(core: Core, apdu: Apdu) -> tuple[bytes, int]:
    """Data and status word; raises IsoRefusal. The session survives all but selecting a DF."""
    if apdu.ins != READ_BINARY:
        core.mirrored = None
    match apdu.ins:
        case 0xA4:
            return b"", _select(core, apdu)
        case 0xB0:
            return _read_binary(core, apdu)
        case 0xD6:
            _update_binary(core, apdu)
            return b"", OK
    raise IsoRefusal(UNKNOWN_INSTRUCTION)


def _select(core: Core, apdu: Apdu) -> int:
    require(apdu.p2 in {0x00, 0x0C}, WRONG_P1_P2)
    if apdu.p1 == 0x04:
        return _select_name(core, apdu.data)
    require(apdu.p1 in {0x00, 0x01, 0x02}, WRONG_P1_P2)
    require(len(apdu.data) in {0, 2}, WRONG_LENGTH)
    if apdu.p1 == 0x00 and apdu.data in {b"", MASTER_FILE}:
        core.select(PICC_AID)
        return OK
    iso_fid = apdu.data[::-1]
    application = core.state.application_named(iso_fid=iso_fid) if apdu.p1 != 0x02 else None
    if application is not None:
        return _enter(core, application)
    require(apdu.p1 != 0x01 and not core.at_picc, FILE_NOT_FOUND)
    numbers = [number for number, file in core.application().files if file.iso_fid == iso_fid]
    require(bool(numbers), FILE_NOT_FOUND)
    core.selected_file = numbers[0]
    return OK


def _select_name(core: Core, name: bytes) -> int:
    require(1 <= len(name) <= 16, WRONG_LENGTH)
    if name == PICC_DF_NAME:
        core.select(PICC_AID)
        return OK
    application = core.state.application_named(df_name=name)
    if application is None:
        raise IsoRefusal(FILE_NOT_FOUND)
    return _enter(core, application)


def _enter(core: Core, application: Application) -> int:
    core.select(application.aid)
    found = application.transaction_mac
    return LIMIT_REACHED if found is not None and found[1].exhausted else OK


def _read_binary(core: Core, apdu: Apdu) -> tuple[bytes, int]:
    if apdu.data or apdu.expected is None:
        raise IsoRefusal(WRONG_LENGTH)
    number, file, offset = _current_file(core, apdu)
    _require_plain(core, file, (file.rights.read, file.rights.read_write))
    if offset >= len(file.content):
        raise IsoRefusal(WRONG_OFFSET)
    data = sdm.content_to_read(core, number, file)[offset : offset + apdu.expected]
    short = len(data) < apdu.expected and apdu.expected not in {256, 65536}
    return data, END_OF_FILE if short else OK


def _update_binary(core: Core, apdu: Apdu) -> None:
    if not apdu.data:
        raise IsoRefusal(WRONG_LENGTH)
    number, file, offset = _current_file(core, apdu)
    _require_plain(core, file, (file.rights.write, file.rights.read_write))
    end = offset + len(apdu.data)
    if end > len(file.content):
        raise IsoRefusal(WRONG_OFFSET)
    if file.backup:
        core.transaction.write(number, file, offset, apdu.data)
        return
    content = file.content[:offset] + apdu.data + file.content[end:]
    application = core.application().with_file(number, replace(file, content=content))
    core.store(application, written_bytes=len(apdu.data))


def _current_file(core: Core, apdu: Apdu) -> tuple[int, DataFile, int]:
    """P1 with bit 7 names the file by its number, else P1 and P2 are the offset."""
    if apdu.p1 & 0x80:
        core.selected_file, offset = apdu.p1 & 0x1F, apdu.p2
    else:
        offset = apdu.p1 << 8 | apdu.p2
    number = core.selected_file
    if core.at_picc or number is None:
        raise IsoRefusal(NO_CURRENT_FILE)
    file = core.application().file(number)
    if not isinstance(file, DataFile):
        raise IsoRefusal(FILE_NOT_FOUND)
    return number, file, offset


def _require_plain(core: Core, file: DataFile, rights: Sequence[int]) -> None:
    try:
        mode = core.mode_for(file, rights)
    except Refusal:
        raise IsoRefusal(SECURITY_NOT_SATISFIED) from None
    if mode is not Mode.PLAIN:
        raise IsoRefusal(SECURITY_NOT_SATISFIED)
