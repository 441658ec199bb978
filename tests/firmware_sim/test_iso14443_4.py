"""ISO/IEC 14443-4: chaining, waiting, lost blocks and activation, both ends against each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.firmware_sim.iso14443_4 import (
    FRAME_SIZES,
    AnswerToSelect,
    CardMute,
    Pcd,
    Picc,
    PiccState,
    ProtocolBroken,
)

ATS = bytes.fromhex("06 75 77 81 02 80")


def ats_with(frame_size_index: int) -> bytes:
    return bytes([0x06, 0x70 | frame_size_index]) + ATS[2:]


def activated(
    answer: Callable[[bytes], bytes],
    card_index: int = 5,
    reader_index: int = 8,
    extensions: int = 0,
) -> Picc:
    picc = Picc(answer, ats_with(card_index), waiting_extensions=lambda _: extensions)
    assert picc.request(wake_up=False)
    assert picc.receive(bytes([0xE0, reader_index << 4])) == ats_with(card_index)
    return picc


frame_size_indexes = st.integers(0, len(FRAME_SIZES) - 1)


@given(st.binary(max_size=600), st.binary(max_size=600), frame_size_indexes, frame_size_indexes)
def test_commands_and_answers_of_any_length_pass_frames_of_any_size(
    command: bytes, answer: bytes, card_index: int, reader_index: int
) -> None:
    heard: list[bytes] = []

    def card(frame: bytes) -> bytes:
        heard.append(frame)
        return answer

    picc = activated(card, card_index, reader_index)

    def air(frame: bytes) -> bytes | None:
        assert len(frame) + 2 <= FRAME_SIZES[card_index]
        reply = picc.receive(frame)
        assert reply is not None
        assert len(reply) + 2 <= FRAME_SIZES[reader_index]
        return reply

    pcd = Pcd(air, FRAME_SIZES[card_index])
    assert [pcd.exchange(command), pcd.exchange(command)] == [answer, answer]
    assert heard == [command, command]


@given(
    st.binary(min_size=1, max_size=300),
    st.binary(max_size=300),
    st.integers(0, 40),
    st.booleans(),
)
def test_a_lost_block_is_recovered_and_the_command_runs_once(
    command: bytes, answer: bytes, lost: int, to_card: bool
) -> None:
    heard: list[bytes] = []

    def card(frame: bytes) -> bytes:
        heard.append(frame)
        return answer

    picc = activated(card, card_index=2, reader_index=2)
    numbers = count()

    def air(frame: bytes) -> bytes | None:
        strikes = next(numbers) == lost
        if strikes and to_card:
            return None
        reply = picc.receive(frame)
        return None if strikes else reply

    assert Pcd(air, FRAME_SIZES[2]).exchange(command) == answer
    assert heard == [command]


@given(st.integers(1, 5), st.integers(0, 8), st.booleans())
def test_waiting_time_is_granted_also_when_a_block_about_it_is_lost(
    extensions: int, lost: int, to_card: bool
) -> None:
    picc = activated(lambda frame: frame[::-1], extensions=extensions)
    numbers = count()

    def air(frame: bytes) -> bytes | None:
        strikes = next(numbers) == lost
        if strikes and to_card:
            return None
        reply = picc.receive(frame)
        return None if strikes else reply

    pcd = Pcd(air, 64)
    assert pcd.exchange(b"abc") == b"cba"
    assert pcd.exchange(b"defg") == b"gfed"


def test_the_blocks_of_a_chained_exchange_are_those_of_the_standard() -> None:
    picc = activated(lambda frame: bytes(14) + frame, card_index=0, reader_index=0)
    assert picc.receive(b"\x12" + bytes(13)) == b"\xa2"
    assert picc.receive(b"\x03\x01") == b"\x13" + bytes(13)
    assert picc.receive(b"\xa2") == b"\x12" + bytes(13)
    assert picc.receive(b"\xa3") == b"\x03" + bytes(1) + b"\x01"


def test_presence_is_told_after_activation_and_after_an_exchange() -> None:
    picc = activated(bytes)
    pcd = Pcd(picc.receive, 64)
    assert pcd.is_present()
    assert pcd.exchange(b"\x01") == b"\x01"
    assert pcd.is_present()
    assert pcd.exchange(b"\x02") == b"\x02"


def test_a_card_that_is_gone_is_mute_after_the_retries() -> None:
    sent: list[bytes] = []
    pcd = Pcd(sent.append, 64, retries=2)
    with pytest.raises(CardMute):
        pcd.exchange(b"\x60")
    assert sent == [b"\x02\x60", b"\xb2", b"\xb2"]


@pytest.mark.parametrize("reply", ["c2", "03", "a3 00", "f2", "12"])
def test_a_block_out_of_place_breaks_the_exchange(reply: str) -> None:
    pcd = Pcd(lambda _: bytes.fromhex(reply), 64, retries=0)
    with pytest.raises(ProtocolBroken):
        pcd.exchange(b"\x60")


def test_a_deselected_card_answers_only_a_wake_up() -> None:
    heard: list[str] = []
    picc = Picc(bytes, ATS, on_deselect=lambda: heard.append("deselect"))
    picc.request(wake_up=False)
    picc.receive(b"\xe0\x80")
    assert Pcd(picc.receive, 64).deselect()
    assert heard == ["deselect"]
    assert picc.receive(b"\x02\x60") is None
    assert not picc.request(wake_up=False)
    assert picc.request(wake_up=True)
    assert picc.receive(b"\xe0\x80") == ATS


def test_the_field_going_off_brings_the_card_back_to_idle() -> None:
    picc = activated(bytes)
    picc.reset()
    assert picc.state is PiccState.IDLE
    assert picc.receive(b"\x02\x60") is None
    assert picc.request(wake_up=False)


def test_rates_are_chosen_once_right_after_activation() -> None:
    picc = activated(bytes)
    assert picc.receive(b"\xd0\x11\x0a") == b"\xd0"
    assert picc.receive(b"\xd0\x11\x00") is None
    assert picc.receive(b"\x02\x60") == b"\x02\x60"


def test_a_rate_that_the_card_does_not_offer_is_not_answered() -> None:
    picc = Picc(bytes, bytes.fromhex("06 75 00 81 02 80"))
    picc.request(wake_up=False)
    picc.receive(b"\xe0\x80")
    assert picc.receive(b"\xd0\x11\x01") is None


def test_blocks_with_the_cards_number_are_answered_with_it() -> None:
    picc = Picc(bytes, ATS)
    picc.request(wake_up=False)
    assert picc.receive(b"\xe0\x83") == ATS
    assert picc.receive(b"\x0a\x03\x60") == b"\x0a\x03\x60"
    assert picc.receive(b"\x0b\x04\x60") is None
    assert picc.receive(b"\x03\x60") is None


@pytest.mark.parametrize(
    "frame", ["", "06 00", "02" + "00" * 62, "e0 80", "7f", "a2 00", "f2 01", "c2 00"]
)
def test_what_the_card_does_not_understand_it_leaves_unanswered(frame: str) -> None:
    picc = activated(bytes)
    picc.receive(b"\x02\x60")
    assert picc.receive(bytes.fromhex(frame)) is None


def test_an_answer_to_select_is_read_with_its_defaults() -> None:
    full = AnswerToSelect.parse(ATS)
    assert (full.frame_size_card, full.cid_supported, full.historical) == (64, True, b"\x80")
    assert full.frame_waiting_seconds == pytest.approx(0.0773, abs=1e-4)
    bare = AnswerToSelect.parse(b"\x01")
    assert (bare.frame_size_card, bare.rates, bare.historical) == (32, 0, b"")
    assert bare.frame_waiting_seconds == pytest.approx(0.00483, abs=1e-5)


@pytest.mark.parametrize("ats", ["", "02", "05 75 77 81 02 80", "03 75 77", "02 10"])
def test_a_cut_answer_to_select_is_refused(ats: str) -> None:
    with pytest.raises(ValueError, match="answer to select"):
        AnswerToSelect.parse(bytes.fromhex(ats))
