"""The simulated PN532: frames byte by byte, its commands, and nfcpy's real driver on top."""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Iterator

import nfc.clf
import nfc.clf.pn532
import nfc.clf.transport
import nfc.tag
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import Field
from dobmi.firmware_sim.pn532 import (
    ACK,
    NACK,
    PN532,
    SYNTAX_ERROR,
    BadSyntax,
    Chip,
    HostEvent,
    HostFrames,
    frame,
)
from support.radio_cards import OTHER_UID, UID, RadioCard

WAKE_UP = bytes.fromhex("55 55 00 00 00 00 00 00 00 00 00 00 00 00 00 00")
GET_FIRMWARE_VERSION = bytes.fromhex("00 00 FF 02 FE D4 02 2A 00")
FIRMWARE_VERSION = bytes.fromhex("00 00 FF 06 FA D5 03 32 01 06 07 E8 00")
FOUND = bytes.fromhex("01 01 03 44 20 07") + UID
ATS = bytes.fromhex("06 75 77 81 02 80")


def awake() -> HostFrames:
    frames = HostFrames()
    frames.asleep = False
    return frames


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4), st.data())
def test_frames_are_found_however_their_bytes_are_cut(
    commands: list[bytes], data: st.DataObject
) -> None:
    line = b"".join(frame(command) for command in commands)
    frames, found = awake(), []
    while line:
        size = data.draw(st.integers(1, len(line)))
        found += frames.feed(line[:size])
        line = line[size:]
    assert found == commands


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_frame_with_a_changed_bit_is_never_taken_for_another_command(
    command: bytes, data: st.DataObject
) -> None:
    line = bytearray(frame(command))
    position = data.draw(st.integers(3, len(line) - 2))
    line[position] ^= 1 << data.draw(st.integers(0, 7))
    assert command not in awake().feed(bytes(line))


def test_ack_and_nack_are_told_from_commands() -> None:
    line = ACK + GET_FIRMWARE_VERSION + NACK
    assert awake().feed(line) == [HostEvent.ACK, b"\xd4\x02", HostEvent.NACK]


def test_a_sleeping_chip_hears_nothing_before_the_wake_up_preamble() -> None:
    frames = HostFrames()
    assert frames.feed(GET_FIRMWARE_VERSION) == []
    assert HostFrames().feed(WAKE_UP + GET_FIRMWARE_VERSION) == [b"\xd4\x02"]
    assert HostFrames().feed(bytes(10) + GET_FIRMWARE_VERSION) == [b"\xd4\x02"]


def chip_with(card: RadioCard | SimulatedCard | None = None) -> Chip:
    return Chip(Field(card), waits=False)


def test_a_type_a_card_is_listed_with_uid_and_answer_to_select() -> None:
    chip = chip_with(RadioCard())
    assert chip.execute(0x4A, b"\x01\x00") == FOUND + ATS


def test_without_automatic_rats_only_the_uid_is_told() -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x12, b"\x00")
    assert chip.execute(0x4A, b"\x01\x00") == FOUND


def test_a_card_of_another_uid_is_not_selected() -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x32, b"\x05\x00\x01\x00")
    assert chip.execute(0x4A, b"\x01\x00\x88" + OTHER_UID) == b"\x00"
    assert chip.execute(0x4A, b"\x01\x00\x88" + UID) == FOUND + ATS


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_nothing_but_type_a_is_ever_found(kind: int) -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x32, b"\x05\x00\x01\x00")
    assert chip.execute(0x4A, bytes([1, kind])) == b"\x00"


def test_a_search_without_end_goes_on_until_a_card_comes_or_the_host_aborts() -> None:
    chip = chip_with()
    assert chip.execute(0x4A, b"\x01\x00") is None
    assert chip.resume() is None
    chip.field.insert(RadioCard())
    assert chip.resume() == FOUND + ATS
    chip.execute(0x44, b"\x00")
    chip.field.remove()
    assert chip.execute(0x4A, b"\x01\x00") is None
    chip.abort()
    chip.field.insert(RadioCard())
    assert chip.resume() is None


@given(st.binary(min_size=1, max_size=700), st.binary(max_size=900))
def test_data_exchange_chains_by_itself_and_tells_the_host_of_more(
    command: bytes, answer: bytes
) -> None:
    card = RadioCard(lambda _: answer)
    chip = chip_with(card)
    chip.execute(0x4A, b"\x01\x00")
    chunks = [command[i : i + 262] for i in range(0, len(command), 262)]
    for chunk in chunks[:-1]:
        assert chip.execute(0x40, b"\x41" + chunk) == b"\x00"
    reply = chip.execute(0x40, b"\x01" + chunks[-1])
    assert reply is not None
    got = reply[1:]
    while reply[0] == 0x40:
        reply = chip.execute(0x40, b"\x01")
        assert reply is not None
        got += reply[1:]
    assert reply[0] == 0
    assert got == answer
    assert card.received == [command]


def test_a_removed_card_is_a_timeout_also_when_another_lies_there() -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x4A, b"\x01\x00")
    chip.field.remove()
    assert chip.execute(0x40, b"\x01\x60") == b"\x01"
    assert chip.execute(0x42, b"\x02\x60") == b"\x01"
    chip.field.insert(RadioCard(uid=OTHER_UID))
    assert chip.execute(0x40, b"\x01\x60") == b"\x01"
    assert chip.execute(0x42, b"\x02\x60") == b"\x01"


def test_raw_frames_carry_activation_and_blocks() -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x12, b"\x00")
    chip.execute(0x4A, b"\x01\x00")
    assert chip.execute(0x42, b"\xe0\x80") == b"\x00" + ATS
    assert chip.execute(0x42, b"\x02\x60") == b"\x00\x02\x60\x90\x00"
    assert chip.execute(0x42, b"\xc2") == b"\x00\xc2"
    assert chip.execute(0x42, b"\x03\x60") == b"\x01"


def test_raw_frames_of_another_modulation_reach_no_card() -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x4A, b"\x01\x00")
    chip.execute(0x08, b"\x63\x02\x83")
    assert chip.execute(0x06, b"\x63\x02\x63\x03") == b"\x83\x80"
    assert chip.execute(0x42, b"\xb2") == b"\x01"


def test_the_field_going_off_takes_the_cards_power() -> None:
    card = RadioCard()
    chip = chip_with(card)
    chip.execute(0x4A, b"\x01\x00")
    chip.execute(0x32, b"\x01\x02")
    assert card.power_losses == 1
    assert chip.execute(0x40, b"\x01\x60") == b"\x27"


def test_deselect_select_and_release() -> None:
    chip = chip_with(RadioCard())
    assert chip.execute(0x54, b"\x01") == b"\x27"
    chip.execute(0x4A, b"\x01\x00")
    assert chip.execute(0x44, b"\x01") == b"\x00"
    assert chip.execute(0x40, b"\x01\x60") == b"\x27"
    assert chip.execute(0x54, b"\x01") == b"\x00"
    assert chip.execute(0x40, b"\x01\x60") == b"\x00\x60\x90\x00"
    assert chip.execute(0x4E, b"\x01\x02\x02") == b"\x01"  # too late for a PPS
    assert chip.execute(0x52, b"\x00") == b"\x00"
    assert chip.execute(0x54, b"\x01") == b"\x27"


def test_a_found_card_takes_a_higher_rate() -> None:
    chip = chip_with(RadioCard())
    chip.execute(0x4A, b"\x01\x00")
    assert chip.execute(0x4E, b"\x01\x02\x02") == b"\x00"
    assert chip.execute(0x40, b"\x01\x60") == b"\x00\x60\x90\x00"


def test_automatic_polling_finds_the_card_and_ends_without_one() -> None:
    chip = chip_with(RadioCard())
    assert chip.execute(0x60, b"\x01\x01\x20") == b"\x01\x20\x12\x01" + FOUND[2:] + ATS
    chip.field.remove()
    assert chip.execute(0x60, b"\x01\x01\x20") == b"\x00"


@pytest.mark.parametrize(
    ("command", "data", "reply"),
    [
        (0x00, "00 01 02", "00 01 02"),
        (0x00, "01", "00"),
        (0x00, "02", "00"),
        (0x00, "06", "01"),
        (0x04, "", "00 00 00 00"),
        (0x0C, "", "3f 06 00"),
        (0x10, "08", ""),
        (0x14, "01", ""),
        (0x32, "02 00 0b 0a", ""),
        (0x40, "01 60", "27"),
        (0x46, "01 00 00", "01"),
        (0x50, "01 00", "27"),
        (0x56, "01 00 00", "01"),
        (0x86, "", "27"),
        (0x8A, "", "00 00"),
    ],
)
def test_commands_without_a_card(command: int, data: str, reply: str) -> None:
    assert chip_with().execute(command, bytes.fromhex(data)) == bytes.fromhex(reply)


@pytest.mark.parametrize(
    ("command", "data"),
    [
        (0x00, ""),
        (0x00, "03"),
        (0x02, "00"),
        (0x06, "63"),
        (0x08, "63 02"),
        (0x10, "09"),
        (0x14, "05"),
        (0x16, ""),
        (0x32, "02 00"),
        (0x32, "03 00"),
        (0x40, ""),
        (0x4A, "03 00"),
        (0x4A, "01 05"),
        (0x4E, "01 03 00"),
        (0x58, "00"),
        (0x60, "00 01 00"),
        (0x8C, "00"),
        (0xFE, ""),
    ],
)
def test_commands_with_wrong_syntax_are_refused(command: int, data: str) -> None:
    with pytest.raises(BadSyntax):
        chip_with().execute(command, bytes.fromhex(data))


class Line:
    """The host's end of the serial line, without any driver."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)

    def send(self, data: bytes) -> None:
        os.write(self.descriptor, data)

    def read(self, size: int, timeout_seconds: float = 2) -> bytes:
        data = b""
        while len(data) < size:
            if not select.select([self.descriptor], [], [], timeout_seconds)[0]:
                break
            data += os.read(self.descriptor, size - len(data))
        return data


@pytest.fixture
def pn532() -> Iterator[PN532]:
    with PN532() as simulated:
        yield simulated


@pytest.fixture
def line(pn532: PN532) -> Iterator[Line]:
    opened = Line(pn532.path)
    opened.send(WAKE_UP)
    yield opened
    os.close(opened.descriptor)


def test_a_command_is_acknowledged_and_answered_on_the_line(line: Line) -> None:
    line.send(GET_FIRMWARE_VERSION)
    assert line.read(19) == ACK + FIRMWARE_VERSION


def test_nack_has_the_last_response_sent_again(line: Line) -> None:
    line.send(GET_FIRMWARE_VERSION)
    line.read(19)
    line.send(NACK)
    assert line.read(13) == FIRMWARE_VERSION


def test_an_unknown_command_is_answered_by_the_error_frame(line: Line) -> None:
    line.send(frame(b"\xd4\xfe"))
    assert line.read(14) == ACK + SYNTAX_ERROR


def test_a_damaged_command_is_not_acknowledged(line: Line) -> None:
    line.send(GET_FIRMWARE_VERSION[:-2] + b"\x2b\x00")
    assert line.read(1, timeout_seconds=0.1) == b""
    line.send(GET_FIRMWARE_VERSION)
    assert line.read(19) == ACK + FIRMWARE_VERSION


def test_a_search_is_ended_by_the_hosts_ack_or_by_a_card(pn532: PN532, line: Line) -> None:
    search = frame(b"\xd4\x4a\x01\x00")
    line.send(search)
    assert line.read(6) == ACK
    line.send(ACK)
    line.send(GET_FIRMWARE_VERSION)
    assert line.read(19) == ACK + FIRMWARE_VERSION
    line.send(search)
    assert line.read(6) == ACK
    pn532.insert(RadioCard())
    found = frame(b"\xd5\x4b" + FOUND + ATS)
    assert line.read(len(found)) == found


def test_after_power_down_the_chip_must_be_woken(line: Line) -> None:
    line.send(frame(b"\xd4\x16\xf0"))
    down = ACK + frame(b"\xd5\x17\x00")
    assert line.read(len(down)) == down
    line.send(GET_FIRMWARE_VERSION)
    assert line.read(1, timeout_seconds=0.1) == b""
    line.send(WAKE_UP + GET_FIRMWARE_VERSION)
    assert line.read(19) == ACK + FIRMWARE_VERSION


@pytest.fixture
def frontend(pn532: PN532) -> Iterator[nfc.clf.ContactlessFrontend]:
    opened = nfc.clf.ContactlessFrontend()
    opened.device = nfc.clf.pn532.init(nfc.clf.transport.TTY(pn532.path))
    yield opened
    opened.close()


def test_nfcpys_own_driver_reads_the_version_of_a_desfire(
    pn532: PN532, frontend: nfc.clf.ContactlessFrontend
) -> None:
    assert frontend.device.chipset_name == "PN532v1.6"
    pn532.insert(SimulatedCard(UID))
    tag = frontend.connect(rdwr={"on-connect": lambda _tag: False})
    assert tag.type == "Type4Tag"
    assert bytes(tag.identifier) == UID
    version = tag.send_apdu(0x90, 0x60, 0, 0, mrl=256, check_status=False)
    assert bytes(version) == bytes.fromhex("04 01 01 12 00 18 05 91 AF")


def test_nfcpy_sees_a_removed_card_as_a_timeout(
    pn532: PN532, frontend: nfc.clf.ContactlessFrontend
) -> None:
    pn532.insert(RadioCard())
    tag = frontend.connect(rdwr={"on-connect": lambda _tag: False})
    pn532.remove()
    with pytest.raises(nfc.tag.TagCommandError) as caught:
        tag.transceive(b"\x60", timeout=0.005)
    assert caught.value.errno == nfc.tag.TIMEOUT_ERROR


def test_nfcpy_chains_what_exceeds_a_frame(
    pn532: PN532, frontend: nfc.clf.ContactlessFrontend
) -> None:
    pn532.insert(RadioCard())
    tag = frontend.connect(rdwr={"on-connect": lambda _tag: False})
    command = bytes(range(256)) + bytes(300)
    assert bytes(tag.transceive(command)) == command + b"\x90\x00"


def test_a_round_trip_through_nfcpys_driver_is_short(
    pn532: PN532, frontend: nfc.clf.ContactlessFrontend
) -> None:
    pn532.insert(RadioCard())
    tag = frontend.connect(rdwr={"on-connect": lambda _tag: False})
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        tag.transceive(b"\x60")
        seconds.append(time.perf_counter() - started)
    # 0.5 ms on an idle machine; a chip that polled would take several.
    assert statistics.median(seconds) < 0.005
