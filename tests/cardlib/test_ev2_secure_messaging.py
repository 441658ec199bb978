"""EV2 secure messaging against a card's side written apart from it, and against tampering."""

from __future__ import annotations

import pytest
from ev2_reference_card import Ev2Peer
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.crypto import aes_cbc_encrypt
from dobmi.cardlib.errors import (
    CardNotAuthentic,
    ResponseTooShort,
    SessionExhausted,
    WrongResponseMac,
)
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.secure_messaging_ev2 import Ev2Handshake, Ev2Session

KEY = st.binary(min_size=16, max_size=16)
NAMES = {CommMode.PLAIN: "plain", CommMode.MAC: "mac", CommMode.FULL: "full"}


@given(
    KEY,
    KEY,
    st.binary(min_size=4, max_size=4),
    st.integers(0, 0xFF00),
    st.lists(
        st.tuples(
            st.integers(0, 255),
            st.binary(max_size=8),
            st.binary(max_size=70),
            st.sampled_from(CommMode),
            st.binary(max_size=70),
            st.sampled_from(CommMode),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_ev2_session_agrees_with_the_cards_side(
    encryption_key: bytes,
    mac_key: bytes,
    ti: bytes,
    counter: int,
    exchanges: list[tuple[int, bytes, bytes, CommMode, bytes, CommMode]],
) -> None:
    session = Ev2Session(1, encryption_key, mac_key, ti, counter)
    card = Ev2Peer(encryption_key, mac_key, ti, counter)
    for ins, header, data, mode, answer, answer_mode in exchanges:
        sent = session.wrap_command(ins, header, data, mode)
        assert card.open(ins, sent, len(header), NAMES[mode]) == (header, data)
        back = card.close(answer, NAMES[answer_mode])
        assert session.unwrap_response(0, back, answer_mode) == answer
    assert session.command_counter == card.counter == counter + len(exchanges)


@pytest.mark.parametrize("mode", [CommMode.MAC, CommMode.FULL])
def test_any_changed_bit_of_an_answer_is_noticed(mode: CommMode) -> None:
    payload = Ev2Peer(bytes(16), bytes(16), b"TI__").close(b"seventeen bytes..", NAMES[mode])
    session = Ev2Session(1, bytes(16), bytes(16), b"TI__")
    for bit in range(8 * len(payload)):
        changed = (int.from_bytes(payload, "big") ^ 1 << bit).to_bytes(len(payload), "big")
        with pytest.raises(WrongResponseMac):
            session.unwrap_response(0, changed, mode)
    with pytest.raises(WrongResponseMac):
        session.unwrap_response(0x0C, payload, mode)
    assert session.unwrap_response(0, payload, mode) == b"seventeen bytes.."


def test_an_answer_to_an_earlier_command_is_not_taken() -> None:
    session = Ev2Session(1, bytes(16), bytes(16), b"TI__")
    card = Ev2Peer(bytes(16), bytes(16), b"TI__")
    card.open(0x6C, session.wrap_command(0x6C, b"\2", b"", CommMode.MAC), 1, "mac")
    replayed = card.close(b"1000", "mac")
    assert session.unwrap_response(0, replayed, CommMode.MAC) == b"1000"
    session.wrap_command(0x6C, b"\2", b"", CommMode.MAC)
    with pytest.raises(WrongResponseMac):
        session.unwrap_response(0, replayed, CommMode.MAC)


@pytest.mark.parametrize("plain", [bytes(16), b"\x01" * 16])
def test_wrong_padding_under_a_right_mac_is_refused(plain: bytes) -> None:
    card = Ev2Peer(bytes(16), bytes(16), b"TI__")
    session = Ev2Session(1, bytes(16), bytes(16), b"TI__")
    payload = card.close(plain, "full", padded=False)
    with pytest.raises(WrongResponseMac):
        session.unwrap_response(0, payload, CommMode.FULL)
    assert session.unwrap_response(0, payload, CommMode.FULL, padded=False) == plain


def test_half_a_cipher_block_under_a_right_mac_is_refused() -> None:
    card = Ev2Peer(bytes(16), bytes(16), b"TI__")
    payload = card.close(bytes(15), "mac")
    with pytest.raises(WrongResponseMac):
        Ev2Session(1, bytes(16), bytes(16), b"TI__").unwrap_response(0, payload, CommMode.FULL)


@pytest.mark.parametrize("length", range(8))
def test_an_answer_without_room_for_its_mac_is_too_short(length: int) -> None:
    with pytest.raises(ResponseTooShort):
        Ev2Session(1, bytes(16), bytes(16), b"TI__").unwrap_response(0, bytes(length), CommMode.MAC)


@pytest.mark.parametrize("mode", CommMode)
def test_the_command_counter_never_wraps(mode: CommMode) -> None:
    session = Ev2Session(1, bytes(16), bytes(16), b"TI__", 0xFFFE)
    session.wrap_command(0x6C, b"\2", b"", mode)
    with pytest.raises(SessionExhausted):
        session.wrap_command(0x6C, b"\2", b"", mode)


def test_keys_and_random_numbers_do_not_show() -> None:
    secret = bytes(range(16))
    session = Ev2Session(1, secret, secret, b"TI__")
    handshake = Ev2Handshake(DesfireKey.aes(secret), 1)
    handshake.answer_challenge(bytes(16), secret)
    for thing in (session, handshake):
        assert secret.hex() not in repr(thing)
        assert repr(secret) not in repr(thing)


def test_first_authentication_refuses_a_wrong_answer() -> None:
    key = bytes(range(16))
    handshake = Ev2Handshake(DesfireKey.aes(key), 1)
    with pytest.raises(ResponseTooShort):
        handshake.answer_challenge(bytes(15), bytes(16))
    handshake.answer_challenge(bytes(16), bytes(range(16)))
    unrotated = aes_cbc_encrypt(key, bytes(16), b"TI__" + bytes(range(16)) + bytes(12))
    with pytest.raises(CardNotAuthentic):
        handshake.finish(unrotated)
    with pytest.raises(ResponseTooShort):
        handshake.finish(unrotated[:16])


def test_ev2_authentication_takes_aes_keys_only() -> None:
    with pytest.raises(ValueError, match="AES key"):
        Ev2Handshake(DesfireKey.des(bytes(8)), 0)
