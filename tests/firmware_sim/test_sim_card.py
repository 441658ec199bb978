"""What the simulated card allows, refuses, keeps and forgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from dobmi.cardlib.crypto import (
    aes_cbc_encrypt,
    aes_cmac,
    crc16,
    crc32,
    des_cbc_decrypt,
    pad_zero,
    truncate_mac,
    xor,
)
from dobmi.firmware_sim.card import COMMANDS, WRITES, Framing, SimulatedCard
from dobmi.firmware_sim.card_file import CardFileError
from dobmi.firmware_sim.contactless import FieldLost
from dobmi.firmware_sim.faults import Fault, FaultyCard, Moment, at_command, at_frame
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.session import D40Session
from dobmi.firmware_sim.state import (
    AccessRights,
    Application,
    CardState,
    DataFile,
    File,
    Key,
    KeyType,
    RecordFile,
    TransactionMacFile,
    ValueFile,
)
from dobmi.firmware_sim.status import Status
from support.sim_terminal import FULL, MAC, OK, PLAIN, Terminal

AID = bytes.fromhex("10B3D0")
UID = bytes.fromhex("04DE5F1EACC040")
KEYS = tuple(bytes([number]) * 16 for number in range(4))
TMAC_KEY = bytes(range(16))

STANDARD, VALUE, LOG, BACKUP, TMAC, LINEAR = 1, 2, 3, 4, 5, 6


def rights(read: int, write: int, read_write: int, change: int = 0) -> AccessRights:
    return AccessRights(read=read, write=write, read_write=read_write, change=change)


FILES: dict[int, File] = {
    STANDARD: DataFile(FULL, rights(1, 2, 0), bytes(range(100)), backup=False),
    VALUE: ValueFile(FULL, rights(1, 0xF, 2), 0, 1000, 500, 0),
    LOG: RecordFile(FULL, rights(1, 1, 2), 8, 4, cyclic=True),
    BACKUP: DataFile(MAC, rights(1, 1, 2), bytes(40), backup=True),
    LINEAR: RecordFile(PLAIN, rights(0xE, 1, 2), 4, 3, cyclic=False),
}


def application(*, tmac_rights: int | None = None) -> Application:
    """Four AES keys; `tmac_rights`: who may commit a reader id (None: no such file)."""
    files = dict(FILES)
    if tmac_rights is not None:
        key = Key(KeyType.AES, TMAC_KEY)
        files[TMAC] = TransactionMacFile(MAC, rights(1, 0xF, tmac_rights), 2, key)
    return Application(
        AID, 0x0F, tuple(Key(KeyType.AES, key) for key in KEYS), files=tuple(files.items())
    )


def card_with(
    app: Application | None = None, personality: Personality = Personality.EV2
) -> SimulatedCard:
    state = CardState(UID, personality, bytes(56))
    return SimulatedCard(state=state.with_application(app or application()))


def session(card: SimulatedCard, number: int = 1) -> Terminal:
    terminal = Terminal(card)
    assert terminal.select(AID) == OK
    assert terminal.authenticate_ev2(number, KEYS[number]) == OK
    return terminal


def n3(number: int) -> bytes:
    return number.to_bytes(3, "little")


def n4(number: int) -> bytes:
    return number.to_bytes(4, "little", signed=True)


def files_of(card: SimulatedCard) -> dict[int, File]:
    app = card.state.application(AID)
    assert app is not None
    return dict(app.files)


# A card as delivered


@pytest.mark.parametrize("personality", Personality)
def test_factory_card_has_a_zero_des_key_and_free_settings(personality: Personality) -> None:
    card = SimulatedCard(personality=personality)
    assert len(card.uid) == 7
    assert card.uid[0] == 0x04
    assert card.ats == bytes.fromhex("067577810280")
    terminal = Terminal(card)
    version = terminal.ok(0x60)
    assert version[:7] == personality.hardware_version
    assert version[7:14] == personality.software_version
    assert version[14:21] == card.uid
    assert terminal.ok(0x45) == bytes.fromhex("0F01")
    assert terminal.ok(0x64, b"\0") == b"\0"
    assert terminal.ok(0x6A) == b""


def test_random_uids_differ() -> None:
    assert len({SimulatedCard().uid for _ in range(20)}) == 20


def test_originality_signature_is_of_the_simulation_key() -> None:
    card = SimulatedCard(UID)
    signature = Terminal(card).ok(0x3C, b"\0")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP224R1(), SIMULATION_PUBLIC_KEY)
    r, s = (int.from_bytes(part, "big") for part in (signature[:28], signature[28:]))
    key.verify(
        encode_dss_signature(r, s), UID.rjust(28, b"\0"), ec.ECDSA(Prehashed(hashes.SHA224()))
    )


@pytest.mark.parametrize("ins", [0x71, 0x77, 0x3C, 0xCE, 0xC8, 0xAD, 0x8D, 0xAB, 0x8B, 0xBA, 0xDB])
def test_ev1_knows_no_ev2_command(ins: int) -> None:
    card = card_with(personality=Personality.EV1)
    assert Terminal(card).select(AID) == OK
    assert card.process(bytes([ins, 1, 0])) == bytes([Status.ILLEGAL_COMMAND])


# Framing


def test_wrapped_and_native_commands_are_answered_alike() -> None:
    card = SimulatedCard(UID)
    assert card.process(bytes.fromhex("9060000000")) == bytes.fromhex("0401011200180591AF")
    assert card.process(bytes.fromhex("90AF000000")) == bytes.fromhex("0401010200180591AF")
    card.power_off()
    assert card.process(bytes.fromhex("60")) == bytes.fromhex("AF04010112001805")


def test_first_command_fixes_the_framing_until_the_field_is_off() -> None:
    card = SimulatedCard()
    assert card.process(b"\x6e")[0] == OK
    assert card.process(bytes.fromhex("906E000000")) == bytes([Status.ILLEGAL_COMMAND])
    card.power_off()
    assert card.process(bytes.fromhex("906E000000"))[-2:] == b"\x91\x00"
    assert card.process(b"\x6e\x00\x00\x00") == bytes.fromhex("6E00")


def test_another_command_in_an_open_chain_is_aborted_and_not_run() -> None:
    card = SimulatedCard()
    card.process(b"\x60")
    assert card.process(bytes.fromhex("CA0000010F01")) == bytes([Status.COMMAND_ABORTED])
    assert not card.state.applications
    assert card.process(b"\xaf") == bytes([Status.ILLEGAL_COMMAND])


def test_native_frames_hold_60_bytes_and_iso_chaining_more() -> None:
    card = card_with()
    terminal = session(card, 2)
    data = bytes(70)
    header = bytes([STANDARD]) + n3(0) + n3(70)
    sealed = terminal._seal_ev2(0x3D, header, data, FULL)
    assert card.process(b"\x3d" + sealed) == bytes([Status.LENGTH_ERROR])
    terminal = session(card, 2)
    terminal.ok(0x8D, header, data, mode=FULL)
    terminal.ok(0x3D, header, bytes(range(70)), mode=FULL)
    file = files_of(card)[STANDARD]
    assert isinstance(file, DataFile)
    assert file.content == bytes(range(100))


@settings(deadline=None)
@given(cut=st.lists(st.integers(1, 59), min_size=1, max_size=30))
def test_a_write_may_come_in_pieces_of_any_size(cut: list[int]) -> None:
    card = card_with()
    app = card.state.application(AID)
    assert app is not None
    open_file = DataFile(PLAIN, rights(0xE, 0xE, 0xE), bytes(100), backup=False)
    card = card_with(app.with_file(STANDARD, open_file))
    Terminal(card).select(AID)
    rest = bytes([STANDARD]) + n3(0) + n3(100) + bytes(range(100))
    first = max(cut[0], 7)
    answer = card.process(b"\x3d" + rest[:first])
    rest = rest[first:]
    sizes = iter(cut[1:])
    while rest:
        assert answer == b"\xaf"
        size = next(sizes, 59)
        answer, rest = card.process(b"\xaf" + rest[:size]), rest[size:]
    assert answer == b"\0"
    file = files_of(card)[STANDARD]
    assert isinstance(file, DataFile)
    assert file.content == bytes(range(100))


def test_answers_are_divided_by_59_and_48_bytes() -> None:
    app = application().with_file(
        STANDARD, DataFile(PLAIN, rights(0xE, 0xE, 0xE), bytes(200), backup=False)
    )
    card = card_with(app)
    Terminal(card).select(AID)
    read = b"\xbd" + bytes([STANDARD]) + n3(0) + n3(0)
    sizes = [len(card.process(read))] + [len(card.process(b"\xaf")) for _ in range(3)]
    assert sizes == [60, 60, 60, 1 + 200 - 177]
    session(card)
    sizes = [len(card.process(read))] + [len(card.process(b"\xaf")) for _ in range(3)]
    assert sizes == [49, 49, 49, 1 + 200 - 144]
    assert len(card.process(b"\xad" + read[1:])) == 201


# ISO 7816


def test_iso_select_by_name_and_by_file_id_and_read_binary() -> None:
    card = SimulatedCard()
    terminal = Terminal(card)
    assert card.process(bytes.fromhex("00A4040007D276000085010000")) == b"\x90\x00"
    card.power_off()
    name = bytes.fromhex("D2760000850101")
    terminal.ok(0xCA, bytes.fromhex("0100000F2105E1") + name)
    terminal.select(bytes.fromhex("010000"))
    terminal.ok(0xCD, bytes.fromhex("0203E100EEEE200000"))
    terminal.ok(0x3D, b"\x02" + n3(0) + n3(4) + b"NDEF")
    assert terminal.ok(0x61) == bytes.fromhex("03E1")
    terminal.select(bytes(3))
    assert terminal.ok(0x6D) == bytes.fromhex("01000005E1") + name
    card.power_off()
    assert card.process(bytes.fromhex("00A4040C07") + name) == b"\x90\x00"
    assert card.process(bytes.fromhex("00A4000C02E103")) == b"\x90\x00"
    assert card.process(bytes.fromhex("00B0000004")) == b"NDEF\x90\x00"
    assert card.process(bytes.fromhex("00D60001024142")) == b"\x90\x00"
    assert card.process(bytes.fromhex("00B0000004")) == b"NABF\x90\x00"
    assert card.process(bytes.fromhex("00A4000C02E104")) == bytes.fromhex("6A82")
    assert card.process(bytes.fromhex("00B0002001")) == bytes.fromhex("6B00")
    assert card.process(bytes.fromhex("0088000000")) == bytes.fromhex("6D00")
    assert card.process(bytes.fromhex("80A4000000")) == bytes.fromhex("6E00")
    assert card.process(bytes.fromhex("00A4040C09") + name) == bytes.fromhex("6700")


def test_iso_application_needs_file_ids() -> None:
    card = SimulatedCard()
    terminal = Terminal(card)
    terminal.ok(0xCA, bytes.fromhex("0100000F21"))
    terminal.select(bytes.fromhex("010000"))
    assert terminal.call(0xCD, bytes.fromhex("0200EEEE200000"))[0] == Status.LENGTH_ERROR


# Refusals


def test_key_gated_file_without_session_is_ae_and_with_the_wrong_key_9d() -> None:
    card = card_with()
    terminal = Terminal(card)
    terminal.select(AID)
    read = bytes([STANDARD]) + n3(0) + n3(1)
    assert terminal.call(0xBD, read)[0] == Status.AUTHENTICATION_ERROR
    terminal = session(card, 3)
    assert terminal.call(0xBD, read)[0] == Status.PERMISSION_DENIED
    assert card._core.session is None


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        ("6C63", Status.FILE_NOT_FOUND),
        ("6C01", Status.PERMISSION_DENIED),
        ("6402FF", Status.LENGTH_ERROR),
        ("640E", Status.NO_SUCH_KEY),
        ("7104", Status.LENGTH_ERROR),
        ("710500", Status.NO_SUCH_KEY),
        ("0A00", Status.AUTHENTICATION_ERROR),
        ("7700", Status.AUTHENTICATION_ERROR),
        ("5A123456", Status.APPLICATION_NOT_FOUND),
        ("CA0000010F01", Status.PERMISSION_DENIED),
        ("FC", Status.PERMISSION_DENIED),
        ("99", Status.ILLEGAL_COMMAND),
        ("AF", Status.ILLEGAL_COMMAND),
        ("C7", Status.NO_CHANGES),
        ("A7", Status.NO_CHANGES),
        ("51", Status.AUTHENTICATION_ERROR),
        ("BB0600000000000000", Status.LENGTH_ERROR),
        ("BB06000000000000", Status.BOUNDARY_ERROR),
        ("CD0100EEEE200000", Status.DUPLICATE),
        ("CD2000EEEE200000", Status.PARAMETER_ERROR),
        ("CD0800EEEEFFFF00", Status.OUT_OF_EEPROM),
        ("CD0800E4EE200000", Status.PARAMETER_ERROR),
        ("DF0A", Status.FILE_NOT_FOUND),
        ("C401", Status.AUTHENTICATION_ERROR),
    ],
)
def test_refusals_without_a_session(frame: str, status: Status) -> None:
    card = card_with()
    Terminal(card).select(AID)
    before = card.state
    assert card.process(bytes.fromhex(frame)) == bytes([status])
    assert card.state is before


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        ("CA00000A0F0F", Status.PARAMETER_ERROR),
        ("CA00000A0F00", Status.PARAMETER_ERROR),
        ("CA00000A0FC1", Status.PARAMETER_ERROR),
        ("CA10B3D00F81", Status.DUPLICATE),
        ("CA0000000F81", Status.DUPLICATE),
        ("CA00000A0F", Status.LENGTH_ERROR),
        ("DA00000A", Status.AUTHENTICATION_ERROR),
        ("FC", Status.AUTHENTICATION_ERROR),
        ("5C0000", Status.AUTHENTICATION_ERROR),
        ("AA00", Status.AUTHENTICATION_ERROR),
        ("6F", Status.PERMISSION_DENIED),
    ],
)
def test_refusals_at_card_level(frame: str, status: Status) -> None:
    card = card_with()
    assert card.process(bytes.fromhex(frame)) == bytes([status])


def test_ev1_holds_28_applications() -> None:
    card = SimulatedCard(personality=Personality.EV1)
    terminal = Terminal(card)
    for number in range(28):
        terminal.ok(0xCA, bytes([number, 0, 1, 0x0F, 0x01]))
    assert terminal.call(0xCA, bytes.fromhex("1C00010F01"))[0] == Status.COUNT_ERROR
    assert len(terminal.ok(0x6A)) == 84


def test_wrong_proof_of_the_key_is_ae() -> None:
    card = card_with()
    Terminal(card).select(AID)
    assert card.process(b"\x71\x01\x00")[0] == Status.ADDITIONAL_FRAME
    assert card.process(b"\xaf" + bytes(32)) == bytes([Status.AUTHENTICATION_ERROR])


def test_missing_mac_is_7e_and_a_wrong_one_1e() -> None:
    card = card_with()
    session(card)
    assert card.process(b"\xc7") == bytes([Status.LENGTH_ERROR])
    session(card)
    assert card.process(b"\xc7" + bytes(8)) == bytes([Status.INTEGRITY_ERROR])
    assert card._core.session is None


@settings(deadline=None)
@given(position=st.integers(0, 24), bit=st.integers(0, 7))
def test_any_changed_bit_of_a_full_command_is_refused(position: int, bit: int) -> None:
    card = card_with()
    terminal = session(card, 2)
    sealed = bytearray(terminal._seal_ev2(0x0C, bytes([VALUE]), n4(1), FULL))
    sealed[position] ^= 1 << bit
    answer = card.process(b"\x0c" + bytes(sealed))
    assert answer[0] != OK
    assert len(answer) == 1
    assert card._core.session is None
    assert not card._core.transaction.pending


def test_command_counter_does_not_run_over() -> None:
    card = card_with()
    terminal = session(card)
    inner = card._core.session
    assert inner is not None
    inner.counter = terminal.counter = 0xFFFE  # type: ignore[attr-defined] # an Ev2Session has one
    assert terminal.call(0x64, b"\0") == (OK, b"\0")
    assert terminal.call(0x64, b"\0")[0] == Status.INTEGRITY_ERROR


# Sessions


def test_non_first_authentication_keeps_identifier_counter_and_transaction() -> None:
    card = card_with()
    terminal = session(card, 1)
    terminal.ok(0x3D, bytes([BACKUP]) + n3(0) + n3(2), b"ab")
    assert terminal.authenticate_ev2(2, KEYS[2], first=False) == OK
    terminal.ok(0x0C, bytes([VALUE]), n4(7), mode=FULL)
    terminal.ok(0xC7)
    value, backup = files_of(card)[VALUE], files_of(card)[BACKUP]
    assert isinstance(value, ValueFile)
    assert isinstance(backup, DataFile)
    assert (value.value, backup.content[:3]) == (507, b"ab\0")


def test_first_authentication_aborts_the_transaction() -> None:
    card = card_with()
    terminal = session(card, 2)
    terminal.ok(0x0C, bytes([VALUE]), n4(7), mode=FULL)
    assert terminal.authenticate_ev2(2, KEYS[2]) == OK
    assert terminal.call(0xC7)[0] == Status.NO_CHANGES


def test_free_access_is_plain_but_in_ev1_with_a_mac() -> None:
    app = application().with_file(
        STANDARD, DataFile(FULL, rights(0xE, 2, 2), bytes(range(16)), backup=False)
    )
    read = bytes([STANDARD]) + n3(0) + n3(16)
    terminal = session(card_with(app))
    assert terminal.ok(0xBD, read, mode=PLAIN) == bytes(range(16))
    terminal = Terminal(card_with(app))
    terminal.select(AID)
    assert terminal.authenticate_aes(1, KEYS[1]) == OK
    assert terminal.ok(0xBD, read, mode=PLAIN) == bytes(range(16))


def test_ev1_session_writes_and_reads_in_all_modes() -> None:
    for mode in (PLAIN, MAC, FULL):
        app = application().with_file(
            STANDARD, DataFile(mode, rights(1, 1, 1), bytes(50), backup=False)
        )
        terminal = Terminal(card_with(app))
        terminal.select(AID)
        terminal.authenticate_aes(1, KEYS[1])
        data = bytes(range(30))
        terminal.ok(0x3D, bytes([STANDARD]) + n3(5) + n3(30), data, mode=mode, answer_mode=MAC)
        answer = terminal.ok(0xBD, bytes([STANDARD]) + n3(5) + n3(30), mode=mode, length=30)
        assert answer == data


# Keys


def test_change_key_of_another_key_and_of_the_own_one() -> None:
    card = card_with()
    new = bytes(range(0x40, 0x50))
    terminal = session(card, 0)
    masked = xor(new, KEYS[1]) + b"\x07" + crc32(new)
    terminal.ok(0xC4, b"\x01", masked, mode=FULL, answer_mode=MAC)
    assert terminal.ok(0x64, b"\x01") == b"\x07"
    sealed = terminal._seal_ev2(0xC4, b"\x00", new + b"\x08", FULL)
    assert card.process(b"\xc4" + sealed) == b"\0"
    assert card._core.session is None
    assert terminal.authenticate_ev2(0, new) == OK
    assert terminal.select(AID) == OK
    assert terminal.authenticate_ev2(1, new) == OK


def test_change_key_with_the_wrong_old_key_is_refused() -> None:
    terminal = session(card_with(), 0)
    new = bytes(16)
    masked = xor(new, KEYS[2]) + b"\x07" + crc32(new)
    assert terminal.call(0xC4, b"\x01", masked, mode=FULL)[0] == Status.INTEGRITY_ERROR


@pytest.mark.parametrize(
    ("settings", "by", "number", "allowed"),
    [
        (0x0F, 0, 1, True),
        (0x0F, 1, 1, False),
        (0xEF, 1, 1, True),
        (0xEF, 0, 1, False),
        (0x2F, 2, 1, True),
        (0x2F, 2, 2, False),
        (0x2F, 0, 2, True),
        (0xFF, 0, 1, False),
        (0xFF, 0, 0, True),
        (0x0E, 0, 0, False),
    ],
)
def test_who_may_change_which_key(settings: int, by: int, number: int, allowed: bool) -> None:
    card = card_with(replace(application(), key_settings=settings))
    terminal = session(card, by)
    new = bytes(range(16))
    data = new + b"\0" if by == number else xor(new, KEYS[number]) + b"\0" + crc32(new)
    answer = card.process(b"\xc4" + terminal._seal_ev2(0xC4, bytes([number]), data, FULL))
    assert (answer[0] == OK) == allowed
    app = card.state.application(AID)
    assert app is not None
    assert (app.keys[number].value == new) == allowed


def d40_send(key: bytes, plain: bytes) -> bytes:
    """As a D40 reader enciphers: each block XORed with the one sent before, then deciphered."""
    sent = [bytes(8)]
    for i in range(0, len(plain), 8):
        sent.append(des_cbc_decrypt(key, bytes(8), xor(plain[i : i + 8], sent[-1])))
    return b"".join(sent[1:])


@pytest.mark.parametrize("with_version_bits", [True, False])
def test_other_des_key_is_unmasked_with_or_without_version_bits(with_version_bits: bool) -> None:
    old = bytes.fromhex("01020304050607080910111213141516")
    new = bytes.fromhex("10203040506070809000A0B0C0D0E0F1")
    app = Application(AID, 0x0F, (Key(KeyType.DES, bytes(16)), Key(KeyType.DES, old)))
    card = card_with(app)
    card._core.select(AID)
    session_key = bytes(range(8))
    card._core.session = D40Session(0, session_key)
    mask = old if with_version_bits else bytes(byte & 0xFE for byte in old)
    masked = xor(new, mask)
    plain = (masked + crc16(masked) + crc16(new)).ljust(24, b"\0")
    assert card.process(b"\xc4\x01" + d40_send(session_key, plain)) == b"\0"
    changed = card.state.application(AID)
    assert changed is not None
    assert changed.keys[1] == Key(KeyType.DES, new)


def test_df_names_come_an_application_a_frame() -> None:
    card = SimulatedCard()
    terminal = Terminal(card)
    terminal.ok(0xCA, bytes.fromhex("0100000F2105E1") + b"first")
    terminal.ok(0xCA, bytes.fromhex("0200000F01"))
    terminal.ok(0xCA, bytes.fromhex("0300000F2106E1") + b"the third")
    assert card.process(b"\x6d") == b"\xaf" + bytes.fromhex("01000005E1") + b"first"
    assert card.process(b"\xaf") == b"\x00" + bytes.fromhex("03000006E1") + b"the third"
    for taken in ("0400000F2105E1", "0400000F2107E1" + b"first".hex(), "0400000F01" + "05E1"):
        status = terminal.call(0xCA, bytes.fromhex(taken))[0]
        assert status == Status.DUPLICATE


def test_new_applications_start_with_the_configured_key_and_ats_is_configured() -> None:
    master = Key(KeyType.AES, KEYS[0])
    card = SimulatedCard(state=CardState(UID, Personality.EV2, bytes(56), master_key=master))
    terminal = Terminal(card)
    assert terminal.authenticate_ev2(0, KEYS[0]) == OK
    terminal.ok(0x5C, b"\x01", bytes([9]) * 24 + b"\x33", mode=FULL, answer_mode=MAC)
    ats = bytes.fromhex("067777710280")
    terminal.ok(0x5C, b"\x02", ats, mode=FULL, answer_mode=MAC)
    terminal.ok(0xCA, bytes.fromhex("0100000F82"))
    assert card.ats == ats
    terminal.select(bytes.fromhex("010000"))
    assert terminal.ok(0x64, b"\x01") == b"\x33"
    assert terminal.authenticate_ev2(1, bytes([9]) * 16) == OK


def test_random_uid_hides_the_serial_until_a_session() -> None:
    master = Key(KeyType.AES, KEYS[0])
    card = SimulatedCard(state=CardState(UID, Personality.EV2, bytes(56), master_key=master))
    terminal = Terminal(card)
    terminal.authenticate_ev2(0, KEYS[0])
    terminal.ok(0x5C, b"\x00", b"\x02", mode=FULL, answer_mode=MAC)
    card.power_off()
    assert len(card.uid) == 4
    assert card.uid[0] == 0x08
    terminal.forget()
    assert terminal.ok(0x60)[14:21] == bytes(7)
    terminal.authenticate_ev2(0, KEYS[0])
    assert terminal.ok(0x51, mode=MAC, answer_mode=FULL) == UID


# Memory


def test_memory_is_counted_as_measured_and_freed_by_format_alone() -> None:
    card = SimulatedCard()
    terminal = Terminal(card)

    def free() -> int:
        return int.from_bytes(terminal.ok(0x6E), "little")

    assert free() == 5120
    sizes = []
    for settings2 in ("0E", "4E", "8E"):
        before = free()
        terminal.ok(0xCA, bytes.fromhex(f"{settings2}00000F{settings2}"))
        sizes.append(before - free())
    assert sizes == [384, 512, 384]
    terminal.select(bytes.fromhex("0E0000"))
    sizes = []
    for create in (
        "CD 01 00 EEEE 000100",
        "CB 02 00 EEEE 000100",
        "CC 03 00 EEEE 00000000 0A000000 00000000 00",
        "C1 04 00 EEEE 080000 020000",
        "C0 05 00 EEEE 080000 020000",
    ):
        before = free()
        frame = bytes.fromhex(create)
        terminal.ok(frame[0], frame[1:])
        sizes.append(before - free())
    assert sizes == [256, 512, 32, 64, 64]
    before = free()
    terminal.ok(0xDF, b"\x02")
    assert free() == before


# Values


def test_value_is_committed_together_and_within_limits() -> None:
    card = card_with()
    terminal = session(card, 2)

    def value() -> int:
        return int.from_bytes(terminal.ok(0x6C, bytes([VALUE]), mode=FULL), "little", signed=True)

    terminal.ok(0x0C, bytes([VALUE]), n4(300), mode=FULL)
    terminal.ok(0x0C, bytes([VALUE]), n4(200), mode=FULL)
    assert value() == 500
    terminal.ok(0xC7)
    assert value() == 1000
    assert terminal.call(0x0C, bytes([VALUE]), n4(1), mode=FULL)[0] == Status.BOUNDARY_ERROR
    terminal = session(card, 2)
    terminal.ok(0xDC, bytes([VALUE]), n4(600), mode=FULL)
    assert terminal.call(0xDC, bytes([VALUE]), n4(401), mode=FULL)[0] == Status.BOUNDARY_ERROR
    terminal = session(card, 2)
    assert value() == 1000
    assert terminal.call(0x0C, bytes([VALUE]), n4(-1), mode=FULL)[0] == Status.PARAMETER_ERROR


def test_debit_key_cannot_credit() -> None:
    terminal = session(card_with(), 1)
    terminal.ok(0xDC, bytes([VALUE]), n4(1), mode=FULL)
    assert terminal.call(0x0C, bytes([VALUE]), n4(1), mode=FULL)[0] == Status.PERMISSION_DENIED


def test_limited_credit_gives_back_the_last_debits_once() -> None:
    app = application().with_file(VALUE, ValueFile(PLAIN, rights(1, 1, 2), 0, 1000, 500, 1))
    card = card_with(app)
    terminal = session(card, 1)
    limited = 0x1C
    assert terminal.call(limited, bytes([VALUE]), n4(1), mode=PLAIN)[0] == Status.BOUNDARY_ERROR
    terminal = session(card, 1)
    terminal.ok(0xDC, bytes([VALUE]), n4(20), mode=PLAIN)
    terminal.ok(0xDC, bytes([VALUE]), n4(10), mode=PLAIN)
    terminal.ok(0xC7)
    assert terminal.ok(0xF5, bytes([VALUE]))[12:16] == n4(30)
    terminal.ok(limited, bytes([VALUE]), n4(5), mode=PLAIN)
    terminal.ok(0xC7)
    assert terminal.ok(0xF5, bytes([VALUE]))[12:16] == n4(0)
    assert terminal.call(limited, bytes([VALUE]), n4(1), mode=PLAIN)[0] == Status.BOUNDARY_ERROR


@pytest.mark.parametrize(("personality", "shown"), [(Personality.EV1, 97), (Personality.EV2, 0)])
def test_disabled_limited_credit_is_refused_and_shown_by_ev1_alone(
    personality: Personality, shown: int
) -> None:
    app = application().with_file(VALUE, ValueFile(PLAIN, rights(1, 1, 2), 0, 1000, 500, 0))
    terminal = Terminal(card_with(app, personality))
    terminal.select(AID)
    terminal.authenticate_aes(1, KEYS[1])
    terminal.ok(0xDC, bytes([VALUE]), n4(97), mode=PLAIN)
    terminal.ok(0xC7)
    assert terminal.ok(0xF5, bytes([VALUE]))[12:16] == n4(shown)
    assert terminal.call(0x1C, bytes([VALUE]), n4(1), mode=PLAIN)[0] == Status.PERMISSION_DENIED


def test_value_may_be_read_freely_where_its_options_say_so() -> None:
    app = application().with_file(VALUE, ValueFile(FULL, rights(1, 1, 2), 0, 1000, 500, 2))
    terminal = Terminal(card_with(app))
    terminal.select(AID)
    assert terminal.ok(0x6C, bytes([VALUE])) == n4(500)


# Records


def test_cyclic_file_keeps_the_newest_and_gives_the_oldest_first() -> None:
    card = card_with()
    terminal = session(card, 1)
    for number in range(5):
        record = bytes([number]) * 8
        terminal.ok(0x3B, bytes([LOG]) + n3(0) + n3(8), record, mode=FULL)
        terminal.ok(0xC7)
    everything = terminal.ok(0xBB, bytes([LOG]) + n3(0) + n3(0), mode=FULL)
    assert everything == b"".join(bytes([n]) * 8 for n in (2, 3, 4))
    assert terminal.ok(0xBB, bytes([LOG]) + n3(1) + n3(1), mode=FULL) == bytes([3]) * 8
    read = bytes([LOG]) + n3(2) + n3(2)
    assert terminal.call(0xBB, read, mode=FULL)[0] == Status.BOUNDARY_ERROR


def test_one_new_record_a_transaction_starting_as_zeros() -> None:
    card = card_with()
    terminal = session(card, 1)
    terminal.ok(0x3B, bytes([LOG]) + n3(4) + n3(2), b"ab", mode=FULL)
    terminal.ok(0x3B, bytes([LOG]) + n3(6) + n3(2), b"cd", mode=FULL)
    assert terminal.ok(0xF5, bytes([LOG]))[-3:] == n3(0)
    terminal.ok(0xC7)
    assert terminal.ok(0xF5, bytes([LOG]))[-3:] == n3(1)
    assert terminal.ok(0xBB, bytes([LOG]) + n3(0) + n3(0), mode=FULL) == b"\0\0\0\0abcd"


def test_linear_file_fills_up_and_is_cleared_by_a_commit() -> None:
    card = card_with()
    terminal = session(card, 1)
    write = bytes([LINEAR]) + n3(0) + n3(4)
    for number in range(3):
        terminal.ok(0x3B, write, bytes([number]) * 4, mode=PLAIN)
        terminal.ok(0xC7)
    assert terminal.call(0x3B, write, b"full", mode=PLAIN)[0] == Status.BOUNDARY_ERROR
    terminal = session(card, 1)
    terminal.ok(0xEB, bytes([LINEAR]), mode=PLAIN)
    assert len(terminal.ok(0xBB, bytes([LINEAR]) + n3(0) + n3(0), mode=PLAIN)) == 12
    assert terminal.call(0x3B, write, b"next", mode=PLAIN)[0] != OK
    terminal = session(card, 1)
    terminal.ok(0xEB, bytes([LINEAR]), mode=PLAIN)
    terminal.ok(0xC7)
    terminal.ok(0x3B, write, b"next", mode=PLAIN)
    terminal.ok(0xC7)
    assert terminal.ok(0xBB, bytes([LINEAR]) + n3(0) + n3(0), mode=PLAIN) == b"next"


def test_update_record_changes_a_committed_record() -> None:
    card = card_with()
    terminal = session(card, 2)
    write = bytes([LOG]) + n3(0) + n3(8)
    for record in (b"record 1", b"record 2"):
        terminal.ok(0x3B, write, record, mode=FULL)
        terminal.ok(0xC7)
    terminal.ok(0xDB, bytes([LOG]) + n3(1) + n3(7) + n3(1), b"!", mode=FULL)
    terminal.ok(0xC7)
    read = bytes([LOG]) + n3(0) + n3(0)
    assert terminal.ok(0xBB, read, mode=FULL) == b"record !record 2"


# Transaction MAC


def tmac_of(card: SimulatedCard) -> TransactionMacFile:
    file = files_of(card)[TMAC]
    assert isinstance(file, TransactionMacFile)
    return file


def key_of(label: int, counter: int) -> bytes:
    vector = bytes([label, 0, 1, 0, 0x80]) + counter.to_bytes(4, "little") + UID
    return aes_cmac(TMAC_KEY, vector)


def padded(*parts: bytes) -> bytes:
    return pad_zero(b"".join(parts), 16)


def test_transaction_mac_covers_what_was_read_and_written() -> None:
    card = card_with(application(tmac_rights=1))
    reader_id = b"reader no. one.."
    previous = bytes(16)
    for counter in (1, 2):
        terminal = session(card, 1)
        block = terminal.call(0xC8, b"", reader_id, mode=MAC)[1]
        enciphered = terminal.open_block_ev2(block)
        assert enciphered == aes_cbc_encrypt(key_of(0xA5, counter), bytes(16), previous)
        holder = terminal.ok(0xAD, bytes([STANDARD]) + n3(0) + n3(0), mode=FULL)
        value = terminal.ok(0x6C, bytes([VALUE]), mode=FULL)
        terminal.ok(0xDC, bytes([VALUE]), n4(40), mode=FULL)
        record = b"sale " + bytes([counter]) * 3
        terminal.ok(0x3B, bytes([LOG]) + n3(0) + n3(8), record, mode=FULL)
        status, answer = terminal.call(0xC7, b"\x01")
        expected_input = b"".join(
            (
                padded(b"\xc8", reader_id, enciphered),
                padded(b"\xad", bytes([STANDARD]), n3(0), n3(100), bytes(8)),
                padded(holder),
                padded(b"\x6c", bytes([VALUE]), value),
                padded(b"\xdc", bytes([VALUE]), n4(40)),
                padded(b"\x3b", bytes([LOG]), n3(0), n3(8), bytes(8)),
                padded(record),
            )
        )
        mac = truncate_mac(aes_cmac(key_of(0x5A, counter), expected_input))
        assert (status, answer) == (OK, counter.to_bytes(4, "little") + mac)
        assert terminal.ok(0xBD, bytes([TMAC]) + n3(0) + n3(0)) == answer
        previous = reader_id
    assert tmac_of(card).previous_reader_id == reader_id


def test_commit_without_the_reader_id_is_refused_where_it_is_required() -> None:
    card = card_with(application(tmac_rights=1))
    terminal = session(card, 1)
    terminal.ok(0xDC, bytes([VALUE]), n4(40), mode=FULL)
    before = card.state
    assert terminal.call(0xC7)[0] == Status.PERMISSION_DENIED
    assert card.state is before
    card = card_with(application(tmac_rights=0xF))
    terminal = session(card, 1)
    terminal.ok(0xDC, bytes([VALUE]), n4(40), mode=FULL)
    terminal.ok(0xC7)
    assert tmac_of(card).counter == 1


def test_reader_id_is_committed_once_and_only_where_enabled() -> None:
    card = card_with(application(tmac_rights=1))
    terminal = session(card, 1)
    terminal.ok(0xC8, b"", bytes(16), mode=MAC)
    assert terminal.call(0xC8, b"", bytes(16), mode=MAC)[0] == Status.PERMISSION_DENIED
    terminal = session(card, 2)
    assert terminal.call(0xC8, b"", bytes(16), mode=MAC)[0] == Status.PERMISSION_DENIED
    terminal = session(card_with(application(tmac_rights=0xF)), 1)
    assert terminal.call(0xC8, b"", bytes(16), mode=MAC)[0] == Status.PERMISSION_DENIED


def test_reads_alone_make_a_transaction_that_counts() -> None:
    card = card_with(application(tmac_rights=0xF))
    terminal = session(card, 1)
    terminal.ok(0xBD, bytes([TMAC]) + n3(0) + n3(0))
    assert terminal.call(0xC7)[0] == Status.NO_CHANGES
    terminal = session(card, 1)
    terminal.ok(0x6C, bytes([VALUE]), mode=FULL)
    terminal.ok(0xC7, b"\x00")
    assert tmac_of(card).counter == 1


def test_abort_leaves_counter_and_reader_id() -> None:
    card = card_with(application(tmac_rights=1))
    terminal = session(card, 1)
    terminal.ok(0xC8, b"", b"reader no. one..", mode=MAC)
    terminal.ok(0xDC, bytes([VALUE]), n4(40), mode=FULL)
    before = card.state
    terminal.ok(0xA7)
    assert terminal.call(0xC7)[0] == Status.NO_CHANGES
    assert card.state is before


def test_counter_at_its_limit_stops_all_but_the_mac_file() -> None:
    app = application(tmac_rights=0xF)
    spent = app.file(TMAC)
    assert isinstance(spent, TransactionMacFile)
    named = replace(app, df_name=b"purse").with_file(TMAC, replace(spent, counter=9, limit=9))
    card = card_with(named)
    terminal = session(card, 1)
    assert terminal.ok(0xBD, bytes([TMAC]) + n3(0) + n3(0)) == n4(9) + bytes(8)
    assert terminal.call(0x6C, bytes([VALUE]), mode=FULL)[0] == Status.PERMISSION_DENIED
    card.power_off()
    assert card.process(bytes.fromhex("00A4040005") + b"purse") == bytes.fromhex("6283")


def test_create_transaction_mac_file_enciphered_once() -> None:
    card = card_with()
    terminal = session(card, 0)
    header = bytes([TMAC, MAC]) + rights(1, 0xF, 1).to_wire() + b"\x02"
    terminal.ok(0xCE, header, TMAC_KEY + b"\x21", mode=FULL, answer_mode=MAC)
    assert terminal.ok(0xF5, bytes([TMAC])) == b"\x05\x01\x10\x1f\x02\x21"
    header = bytes([7, MAC]) + rights(1, 0xF, 1).to_wire() + b"\x02"
    assert terminal.call(0xCE, header, TMAC_KEY + b"\0", mode=FULL)[0] == Status.DUPLICATE
    writable = bytes([7, MAC]) + rights(1, 1, 1).to_wire() + b"\x02"
    terminal = session(card, 0)
    status = terminal.call(0xCE, writable, TMAC_KEY + b"\0", mode=FULL)[0]
    assert status == Status.PARAMETER_ERROR


# Settings


def test_change_file_settings_needs_its_key_and_is_enciphered() -> None:
    card = card_with()
    terminal = session(card, 1)
    assert terminal.call(0x5F, bytes([STANDARD]), b"\0\xee\xee", mode=FULL)[0] != OK
    terminal = session(card, 0)
    terminal.ok(0x5F, bytes([STANDARD]), b"\0\xee\xee", mode=FULL, answer_mode=MAC)
    assert terminal.ok(0xF5, bytes([STANDARD])) == b"\0\0\xee\xee" + n3(100)
    terminal.forget()
    terminal.select(AID)
    terminal.ok(0x5F, bytes([STANDARD]), b"\x01\x00\xe0")
    assert terminal.ok(0xF5, bytes([STANDARD]))[1:4] == b"\x01\x00\xe0"


def test_key_settings_can_freeze_themselves() -> None:
    card = card_with()
    terminal = session(card, 0)
    terminal.ok(0x54, b"", b"\x07", mode=FULL, answer_mode=MAC)
    assert terminal.ok(0x45) == bytes.fromhex("0784")
    assert terminal.call(0x54, b"", b"\x0f", mode=FULL)[0] == Status.PERMISSION_DENIED


def test_directory_needs_the_master_key_where_it_is_not_free() -> None:
    card = card_with(replace(application(), key_settings=0x09))
    terminal = Terminal(card)
    terminal.select(AID)
    for frame in (b"\x6f", b"\xf5\x01", b"\x45", b"\x61", b"\xdf\x01"):
        assert card.process(frame) == bytes([Status.AUTHENTICATION_ERROR])
    terminal = session(card, 0)
    assert len(terminal.ok(0x6F)) == len(FILES)


# Power and persistence


def sale(card: SimulatedCard | FaultyCard) -> None:
    """A whole debit, every frame of it."""
    terminal = Terminal(card)
    terminal.select(AID)
    terminal.authenticate_ev2(1, KEYS[1])
    terminal.ok(0xC8, b"", b"reader no. one..", mode=MAC)
    terminal.ok(0xDC, bytes([VALUE]), n4(40), mode=FULL)
    terminal.ok(0x3B, bytes([LOG]) + n3(0) + n3(8), b"sold 40.", mode=FULL)
    terminal.ok(0x3D, bytes([BACKUP]) + n3(0) + n3(40), bytes([7]) * 40)
    terminal.ok(0xC7, b"\x01")


SALE_FRAMES = 8


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("frame", range(SALE_FRAMES))
def test_power_lost_at_any_frame_leaves_the_old_or_the_new_state(
    frame: int, moment: Moment, tmp_path: Path
) -> None:
    path = tmp_path / "card.json"
    card = card_with(application(tmac_rights=1))
    card.keep_in(path)
    old = card.state
    faulty = FaultyCard(card, [at_frame(frame, moment)])
    with pytest.raises(FieldLost):
        sale(faulty)
    committed = (frame, moment) == (SALE_FRAMES - 1, Moment.AFTER)
    reloaded = SimulatedCard.load(path)
    assert reloaded.state == card.state
    assert (reloaded.state == old) == (not committed)
    # Whatever was lost, the card is whole and sells once more.
    sale(reloaded)
    value = files_of(reloaded)[VALUE]
    assert isinstance(value, ValueFile)
    assert value.value == (420 if committed else 460)
    assert tmac_of(reloaded).counter == (2 if committed else 1)


def test_the_sale_has_the_frames_that_are_cut() -> None:
    faulty = FaultyCard(card_with(application(tmac_rights=1)))
    sale(faulty)
    assert faulty.frames_seen == SALE_FRAMES


def test_faults_strike_once_by_command_and_by_any_predicate() -> None:
    card = card_with()
    faulty = FaultyCard(card, [at_command(0x6E, Moment.BEFORE, occurrence=2)])
    faulty.add(Fault(lambda _index, frame: frame == b"\x45", Moment.BEFORE))
    assert faulty.process(b"\x6e")[0] == OK
    with pytest.raises(FieldLost):
        faulty.process(b"\x6e")
    assert faulty.process(bytes.fromhex("906E000000"))[-1] == OK
    faulty.power_off()
    with pytest.raises(FieldLost):
        faulty.process(b"\x45")
    assert faulty.process(b"\x45")[0] == OK
    assert (faulty.uid, faulty.ats) == (card.uid, card.ats)


def test_a_change_that_could_not_be_kept_did_not_happen(tmp_path: Path) -> None:
    folder = tmp_path / "card"
    folder.mkdir()
    card = SimulatedCard()
    card.keep_in(folder / "card.json")
    (folder / "card.json").unlink()
    folder.rmdir()
    before = card.state
    with pytest.raises(OSError, match="card"):
        card.process(bytes.fromhex("CA0000010F01"))
    assert card.state is before


def test_saved_and_loaded_card_is_equal(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    card = card_with(application(tmac_rights=1))
    sale(card)
    card.save(path)
    assert SimulatedCard.load(path).state == card.state
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("[]", "no simulated card"),
        ('{"format": "dobmi simulated card", "version": 2}', "version 2"),
        ('{"format": "dobmi simulated card", "version": 1, "card": {"serial": "04"}}', "damaged"),
        (
            (
                '{"format": "dobmi simulated card", "version": 1, "card": {"serial": "04", '
                '"personality": "ev2", "signature": "00"}}'
            ),
            "damaged",
        ),
    ],
)
def test_a_file_that_is_no_card_is_refused_with_its_reason(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(CardFileError, match=says):
        SimulatedCard.load(path)
    with pytest.raises(CardFileError, match="No such file"):
        SimulatedCard.load(tmp_path / "none.json")


def test_keys_never_show_in_a_repr() -> None:
    assert KEYS[1].hex() not in repr(card_with().state)
    assert repr(KEYS[1]) not in repr(card_with().state)


# Anything at all


FRAMES = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda ins, payload: bytes([ins]) + payload,
        st.sampled_from([*COMMANDS, *WRITES, 0x0A, 0x1A, 0xAA, 0x71, 0x77, 0xAF]),
        st.one_of(
            st.binary(max_size=59),
            st.builds(
                lambda number, rest: bytes([number]) + rest,
                st.sampled_from([0, *FILES, TMAC]),
                st.sampled_from([0, 1, 4, 6, 7, 9, 16, 23]).flatmap(
                    lambda n: st.binary(min_size=n, max_size=n)
                ),
            ),
        ),
    ),
    st.just(b"\x5a" + AID),
    st.builds(lambda n, k: bytes([n, k, 0]), st.just(0x71), st.integers(0, 5)),
)


def wrap(frame: bytes) -> bytes:
    if len(frame) < 2:
        return b"\x90" + frame + bytes(4 - len(frame))
    return bytes([0x90, frame[0], 0, 0, len(frame) - 1]) + frame[1:] + b"\0"


@settings(deadline=None)
@given(
    frames=st.lists(FRAMES, max_size=25),
    wrapped=st.booleans(),
    personality=st.sampled_from(Personality),
)
def test_no_frame_breaks_the_card_or_changes_it_without_a_key(
    frames: list[bytes], wrapped: bool, personality: Personality
) -> None:
    locked = replace(application(tmac_rights=1), key_settings=0x00)
    state = CardState(UID, personality, bytes(56), key_settings=0x00).with_application(locked)
    card = SimulatedCard(state=state)
    for frame in frames:
        answer = card.process(wrap(frame) if wrapped else frame)
        if card._framing is Framing.ISO:
            refused = answer in {b"\x67\x00", b"\x6a\x82", b"\x6a\x86", b"\x6d\x00", b"\x6e\x00"}
            assert refused or (answer[-2] == 0x91 and answer[-1] in set(Status))
        else:
            assert answer[0] in set(Status)
    assert card.state == state


COMMAND_PARTS = st.tuples(
    st.sampled_from([*COMMANDS, *WRITES]),
    st.builds(
        lambda file, rest: bytes([file, *rest]),
        st.integers(0, 7),
        st.lists(st.sampled_from([0, 0, 0, 1, 2, 8, 0xEE, 0xFF]), max_size=24),
    ),
    st.binary(max_size=24),
)
"""Instruction, header, data."""


@settings(deadline=None)
@given(key_no=st.integers(0, 3), parts=COMMAND_PARTS, mode=st.sampled_from([PLAIN, MAC, FULL]))
def test_no_command_with_a_right_mac_breaks_the_card(
    key_no: int, parts: tuple[int, bytes, bytes], mode: int
) -> None:
    card = card_with(application(tmac_rights=1))
    terminal = session(card, key_no)
    answer = card.process(bytes([parts[0]]) + terminal._seal_ev2(*parts, mode))
    assert answer[0] in set(Status)
    # A refusal ends the session and carries nothing.
    if answer[0] not in {Status.OK, Status.ADDITIONAL_FRAME}:
        assert len(answer) == 1
        assert card._core.session is None


def test_uid_and_signature_have_their_lengths() -> None:
    for uid, signature in ((bytes(4), bytes(56)), (bytes(7), bytes(55))):
        with pytest.raises(ValueError, match="7-byte UID"):
            SimulatedCard(uid, signature=signature)


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["credit", "debit", "record", "write", "commit", "abort", "off"]),
            st.integers(0, 700),
        ),
        max_size=15,
    )
)
def test_only_a_commit_changes_anything_and_then_everything(
    steps: list[tuple[str, int]],
) -> None:
    """Against a model: what is pending comes true at a commit, or is lost."""
    card = card_with()
    committed = {"value": 500, "records": (), "content": bytes(40)}
    pending = dict(committed)
    terminal = session(card, 2)
    touched = False

    def lose() -> None:
        nonlocal terminal, pending, touched
        card.power_off()
        terminal, pending, touched = session(card, 2), dict(committed), False

    for what, amount in steps:
        if what in {"credit", "debit"}:
            change = amount if what == "credit" else -amount
            ins = 0x0C if what == "credit" else 0xDC
            after = pending["value"] + change  # type: ignore[operator] # the model's number
            status, _ = terminal.call(ins, bytes([VALUE]), n4(amount), mode=FULL)
            if 0 <= after <= 1000:
                assert status == OK
                pending["value"], touched = after, True
            else:
                assert status == Status.BOUNDARY_ERROR
                lose()
        elif what == "record":
            record = amount.to_bytes(8, "big")
            terminal.ok(0x3B, bytes([LOG]) + n3(0) + n3(8), record, mode=FULL)
            old = committed["records"]
            pending["records"] = (*old, record)[-3:]  # type: ignore[misc] # a tuple
            touched = True
        elif what == "write":
            content = amount.to_bytes(40, "big")
            terminal.ok(0x3D, bytes([BACKUP]) + n3(0) + n3(40), content)
            pending["content"], touched = content, True
        elif what == "off":
            lose()
        else:
            status, _ = terminal.call(0xC7 if what == "commit" else 0xA7)
            assert status == (OK if touched else Status.NO_CHANGES)
            if not touched:
                lose()
            elif what == "commit":
                committed = dict(pending)
            pending, touched = dict(committed), False
        files = files_of(card)
        value, log, backup = files[VALUE], files[LOG], files[BACKUP]
        assert isinstance(value, ValueFile)
        assert isinstance(log, RecordFile)
        assert isinstance(backup, DataFile)
        seen = {"value": value.value, "records": log.records, "content": backup.content}
        assert seen == committed
