"""Commands of the card as a whole: versions, applications, configuration, originality."""

from __future__ import annotations

from dataclasses import replace

from dobmi.firmware_sim.core import (
    FREE_CREATE_DELETE,
    FREE_DIRECTORY,
    Answer,
    Core,
    Request,
)
from dobmi.firmware_sim.session import Mode
from dobmi.firmware_sim.state import PICC_AID, Application, KeyType
from dobmi.firmware_sim.status import Status, require

PICC_DF_NAME = bytes.fromhex("D2760000850100")
KEYS_MAX = 14


def require_picc(core: Core) -> None:
    require(core.at_picc, Status.PERMISSION_DENIED)


def get_version(core: Core, request: Request) -> Answer:
    """60: hardware, software, production, in three frames of 7, 7 and 14 bytes."""
    core.open(request, [0])
    state, personality = core.state, core.state.personality
    hidden = state.random_uid and core.session is None
    serial = bytes(7) if hidden else state.serial
    return Answer(
        (state.hardware_version or personality.hardware_version)
        + (state.software_version or personality.software_version)
        + serial
        + state.batch
        + state.production,
        parts=(7, 7),
    )


def get_card_uid(core: Core, request: Request) -> Answer:
    """51: only in a session, enciphered."""
    require(core.session is not None, Status.AUTHENTICATION_ERROR)
    core.open(request, [0])
    return Answer(core.state.serial, Mode.FULL)


def read_signature(core: Core, request: Request) -> Answer:
    """3C 00: r || s, 28 bytes each, over the serial number."""
    (address,) = core.open(request, [1])
    require(address == 0, Status.PARAMETER_ERROR)
    return Answer(core.state.signature, Mode.FULL)


def free_memory(core: Core, request: Request) -> Answer:
    """6E: 3 bytes, least significant first."""
    core.open(request, [0])
    return Answer(core.state.memory_free_bytes.to_bytes(3, "little"))


def format_picc(core: Core, request: Request) -> Answer:
    """FC: everything but the card's own key and settings; the session goes on."""
    require_picc(core)
    core.require_master_key()
    core.open(request, [0])
    require(not core.state.format_disabled, Status.PERMISSION_DENIED)
    freed = core.state.memory_used_bytes
    core.switch_to(replace(core.state, applications=(), memory_used_bytes=0), written_bytes=freed)
    return Answer()


def select_application(core: Core, request: Request) -> Answer:
    """5A: always in clear, always ends the session (a second AID is EV2's shared application)."""
    aid = request.payload
    require(len(aid) == 3, Status.LENGTH_ERROR)
    core.drop_session()
    known = aid == PICC_AID or core.state.application(aid) is not None
    require(known, Status.APPLICATION_NOT_FOUND)
    core.select(aid)
    return Answer()


def get_application_ids(core: Core, request: Request) -> Answer:
    require_picc(core)
    core.require_master_key_unless(FREE_DIRECTORY)
    core.open(request, [0])
    return Answer(b"".join(app.aid for app in core.state.applications), unit=3)


def get_df_names(core: Core, request: Request) -> Answer:
    """6D: AID || ISO file id (least significant first) || DF name, an application a frame."""
    require_picc(core)
    core.require_master_key_unless(FREE_DIRECTORY)
    core.open(request, [0])
    entries = [
        app.aid + (app.iso_fid or bytes(2)) + (app.df_name or b"")
        for app in core.state.applications
        if app.iso_fid is not None or app.df_name is not None
    ]
    return Answer(b"".join(entries), parts=tuple(len(entry) for entry in entries[:-1]))


def create_application(core: Core, request: Request) -> Answer:
    """CA: AID, KeySettings1, KeySettings2, then ISO file id and DF name where given.

    Key sets (KeySettings3) are refused.
    """
    require_picc(core)
    core.require_master_key_unless(FREE_CREATE_DELETE)
    data = core.open(request, [5, 7, *range(8, 24)])
    aid, settings, settings2 = data[:3], data[3], data[4]
    iso_fid, df_name = data[5:7] or None, data[7:] or None
    key_count = settings2 & 0xF
    require(1 <= key_count <= KEYS_MAX, Status.PARAMETER_ERROR)
    require(not settings2 & 0x10, Status.PARAMETER_ERROR)
    type_bits = settings2 & 0xC0
    require(type_bits in {kind.value for kind in KeyType}, Status.PARAMETER_ERROR)
    _require_new(core, aid, iso_fid, df_name)
    limit = core.state.personality.applications_max
    require(limit is None or len(core.state.applications) < limit, Status.COUNT_ERROR)
    application = Application(
        aid=aid,
        key_settings=settings,
        keys=(core.state.application_key(KeyType(type_bits)),) * key_count,
        iso_file_ids=bool(settings2 & 0x20),
        iso_fid=iso_fid,
        df_name=df_name,
    )
    size = application.memory_bytes
    require(size <= core.state.memory_free_bytes, Status.OUT_OF_EEPROM)
    state = core.state.with_application(application)
    core.switch_to(
        replace(state, memory_used_bytes=state.memory_used_bytes + size), written_bytes=size
    )
    return Answer()


def _require_new(core: Core, aid: bytes, iso_fid: bytes | None, df_name: bytes | None) -> None:
    state = core.state
    taken = (
        aid == PICC_AID
        or df_name == PICC_DF_NAME
        or state.application(aid) is not None
        or state.application_named(iso_fid=iso_fid, df_name=df_name) is not None
    )
    require(not taken, Status.DUPLICATE)


def delete_application(core: Core, request: Request) -> Answer:
    """DA: by the card's master key, or by the selected application's own where bit 2 allows it.

    The memory is not given back.
    """
    if core.at_picc:
        core.require_master_key()
        aid = core.open(request, [3])
    else:
        require(bool(core.state.key_settings & FREE_CREATE_DELETE), Status.PERMISSION_DENIED)
        core.require_master_key()
        aid = core.open(request, [3])
        require(aid == core.selected, Status.PERMISSION_DENIED)
    require(core.state.application(aid) is not None, Status.APPLICATION_NOT_FOUND)
    core.switch_to(core.state.without_application(aid))
    if aid == core.selected:
        core.select(PICC_AID)
    return Answer()


def set_configuration(core: Core, request: Request) -> Answer:
    """5C: option 00 (format disabled, random UID), 01 (default key), 02 (answer to select)."""
    require_picc(core)
    core.require_master_key()
    require(len(request.payload) >= 1, Status.LENGTH_ERROR)
    option = request.payload[0]
    lengths = {0: [1], 1: [25], 2: range(1, 21)}
    require(option in lengths, Status.PARAMETER_ERROR)
    _, data = core.open_data(request, 1, lengths[option], Mode.FULL)
    state = core.state
    if option == 0:
        # Both bits can be set and never cleared.
        state = replace(
            state,
            format_disabled=state.format_disabled or bool(data[0] & 1),
            random_uid=state.random_uid or bool(data[0] & 2),
        )
    elif option == 1:
        state = replace(state, default_key=data[:24], default_key_version=data[24])
    else:
        require(data[0] == len(data), Status.PARAMETER_ERROR)
        state = replace(state, ats=data)
    core.switch_to(state, written_bytes=len(data))
    return Answer()
