"""EV1 and D40 secure messaging apart from recordings: key changes, and the scheme restated."""

from __future__ import annotations

import zlib

import pytest
from card_vectors import Vector, key_as_on_card, load_vectors, unhex
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.crypto import BlockCipher, cbc_encrypt, crc16
from dobmi.cardlib.errors import CardNotAuthentic, ResponseTooShort, WrongResponseMac
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.secure_messaging_ev1 import D40Handshake, D40Session, Ev1Handshake, Ev1Session

CHANGE_KEY = load_vectors("ev1_changekey")
MODES = st.sampled_from(CommMode)


def name_of(vector: Vector) -> str:
    return str(vector["name"])


def select(**wanted: bool) -> list[Vector]:
    """The vectors that have, or have not, the named inputs; recordings are played elsewhere."""
    return [
        v
        for v in CHANGE_KEY
        if "steps" not in v["outputs"]
        and all((key in v["inputs"]) == present for key, present in wanted.items())
    ]


def test_every_key_change_vector_is_used() -> None:
    used = [
        *select(new_version=True),
        *select(session=True),
        *select(message=True),
        *select(new_version=False, session=False, message=False),
    ]
    recordings = [v for v in CHANGE_KEY if "steps" in v["outputs"]]
    assert sorted(map(name_of, used + recordings)) == sorted(map(name_of, CHANGE_KEY))


@pytest.mark.parametrize("vector", select(new_version=True), ids=name_of)
def test_ev1_key_change_cryptogram_is_the_published_one(vector: Vector) -> None:
    inputs = vector["inputs"]
    is_aes = vector["name"].startswith("AES")
    value = unhex(inputs["new_key"])
    if is_aes:
        new_key = DesfireKey.aes(value, inputs["new_version"])
    else:
        new_key = key_as_on_card(value, KeyType.TDES_3K)
    old_key = None if inputs["same_key"] else DesfireKey.aes(unhex(inputs["old_key"]))
    cipher = BlockCipher.AES if is_aes else BlockCipher.DES
    session = Ev1Session(0, cipher, unhex(inputs["session_key"]), unhex(inputs["iv"]))
    header = unhex(inputs["key_no"])
    sent = session.wrap_change_key(0xC4, header, new_key, old_key)
    assert sent == header + unhex(vector["outputs"]["cryptogram"])


@pytest.mark.parametrize(
    "vector", select(new_version=False, session=False, message=False), ids=name_of
)
def test_iso_key_change_cryptogram_is_the_published_one(vector: Vector) -> None:
    inputs = vector["inputs"]
    plain = unhex(vector["intermediate"]["plain"])
    session = Ev1Session(0, BlockCipher.DES, unhex(inputs["session_key"]), unhex(inputs["iv"]))
    new_key = key_as_on_card(plain[:16], KeyType.TDES_2K)
    sent = session.wrap_change_key(0xC4, unhex(inputs["key_no"]), new_key, None)
    assert sent[1:].hex().upper() == vector["outputs"]["cryptogram"]


@pytest.mark.parametrize("vector", select(message=True), ids=name_of)
def test_answer_to_a_key_change_is_checked_with_the_chain(vector: Vector) -> None:
    inputs, expected = vector["inputs"], unhex(vector["outputs"]["cmac"])
    session = Ev1Session(0, BlockCipher.AES, unhex(inputs["session_key"]), unhex(inputs["iv"]))
    status = unhex(inputs["message"])[0]
    assert session.unwrap_response(status, expected[:8], CommMode.MAC) == b""
    assert session.iv == expected


@pytest.mark.parametrize("vector", select(session=True), ids=name_of)
def test_d40_key_change_cryptogram_is_the_published_one(vector: Vector) -> None:
    value = unhex(vector["inputs"]["new_key"])
    kind = KeyType.DES if len(value) == 8 else KeyType.TDES_2K
    session = D40Session(0, unhex(vector["inputs"]["session_key"]))
    sent = session.wrap_change_key(0xC4, b"\0", key_as_on_card(value, kind), None)
    assert sent[1:].hex().upper() == vector["outputs"]["cryptogram"]


# The scheme once more, written apart from ours: a card's side for AES, in few lines.


class ReferenceEv1Card:
    """CMAC by its definition on single AES blocks, CRC32 from zlib."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.iv = bytes(16)

    def block(self, data: bytes, *, decrypt: bool = False) -> bytes:
        cipher = Cipher(algorithms.AES(self.key), modes.ECB())  # noqa: S305 - one block at a time
        turn = cipher.decryptor() if decrypt else cipher.encryptor()
        return turn.update(data)

    def cbc(self, data: bytes, *, decrypt: bool = False) -> bytes:
        out = b""
        for i in range(0, len(data), 16):
            block = data[i : i + 16]
            if decrypt:
                out += bytes(
                    a ^ b for a, b in zip(self.block(block, decrypt=True), self.iv, strict=True)
                )
                self.iv = block
            else:
                self.iv = self.block(bytes(a ^ b for a, b in zip(block, self.iv, strict=True)))
                out += self.iv
        return out

    def mac(self, message: bytes) -> bytes:
        k = int.from_bytes(self.block(bytes(16)), "big")
        complete = bool(message) and len(message) % 16 == 0
        for _ in range(1 if complete else 2):
            k = (k << 1) ^ (0x87 if k >> 127 else 0)
            k &= (1 << 128) - 1
        if not complete:
            message += b"\x80" + bytes(15 - len(message) % 16)
        last = int.from_bytes(message[-16:], "big") ^ k
        self.cbc(message[:-16] + last.to_bytes(16, "big"))
        return self.iv

    def crc(self, data: bytes) -> bytes:
        return ((~zlib.crc32(data)) & 0xFFFFFFFF).to_bytes(4, "little")


@given(
    st.binary(min_size=16, max_size=16),
    st.lists(
        st.tuples(
            st.integers(0, 255),
            st.binary(max_size=9),
            st.binary(max_size=40),
            MODES,
            st.binary(max_size=40),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_ev1_session_agrees_with_the_scheme_written_again(
    key: bytes, exchanges: list[tuple[int, bytes, bytes, CommMode, bytes]]
) -> None:
    session = Ev1Session(0, BlockCipher.AES, key, bytes(16))
    card = ReferenceEv1Card(key)
    for ins, header, data, mode, answer in exchanges:
        sent = session.wrap_command(ins, header, data, mode)
        if mode is CommMode.FULL and data:
            plain = card.cbc(sent[len(header) :], decrypt=True)
            checked = data + card.crc(bytes([ins]) + header + data)
            assert plain == checked.ljust(len(plain), b"\0")
            assert len(plain) - len(checked) < 16
        else:
            mac = card.mac(bytes([ins]) + header + data)
            with_mac = mode is CommMode.MAC and data
            assert sent == header + data + (mac[:8] if with_mac else b"")
        if mode is CommMode.FULL:
            plain = answer + card.crc(answer + b"\0")
            payload = card.cbc(plain + bytes(-len(plain) % 16))
        else:
            payload = answer + card.mac(answer + b"\0")[:8]
        assert session.unwrap_response(0, payload, mode, length=len(answer)) == answer


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=60), st.booleans())
def test_ev1_full_answer_of_unknown_length_is_found(key: bytes, data: bytes, marked: bool) -> None:
    session = Ev1Session(0, BlockCipher.AES, key, bytes(16))
    plain = data + ReferenceEv1Card(key).crc(data + b"\0")
    padded = plain + (
        b"\x80" + bytes(-(len(plain) + 1) % 16) if marked else bytes(-len(plain) % 16)
    )
    payload = ReferenceEv1Card(key).cbc(padded)
    assert session.unwrap_response(0, payload, CommMode.FULL) == data


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=40))
def test_d40_full_answer_comes_back_and_a_changed_one_does_not(key: bytes, data: bytes) -> None:
    session = D40Session(0, key)
    plain = data + crc16(data)
    payload = cbc_encrypt(BlockCipher.DES, key, bytes(8), plain + bytes(-len(plain) % 8))
    assert session.unwrap_response(0, payload, CommMode.FULL, length=len(data)) == data
    with pytest.raises(WrongResponseMac):
        session.unwrap_response(
            0, payload[:-1] + bytes([payload[-1] ^ 1]), CommMode.FULL, length=len(payload)
        )


@pytest.mark.parametrize("length", range(1, 25))
def test_d40_full_answer_of_unknown_length_ends_where_its_crc_begins(length: int) -> None:
    """The CRC of data with its CRC behind is zero, as the padding is: the shortest fit counts."""
    key, data = bytes(range(8)), bytes(range(1, length + 1))
    plain = data + crc16(data)
    payload = cbc_encrypt(BlockCipher.DES, key, bytes(8), plain + bytes(-len(plain) % 8))
    assert D40Session(0, key).unwrap_response(0, payload, CommMode.FULL) == data


@pytest.mark.parametrize("mode", CommMode)
def test_ev1_answer_with_a_changed_bit_is_refused(mode: CommMode) -> None:
    key = bytes(range(16))
    card = ReferenceEv1Card(key)
    if mode is CommMode.FULL:
        plain = b"data" + card.crc(b"data\0")
        payload = card.cbc(plain.ljust(16, b"\0"))
    else:
        payload = b"data" + card.mac(b"data\0")[:8]
    for bit in range(8 * len(payload)):
        changed = (int.from_bytes(payload, "big") ^ 1 << bit).to_bytes(len(payload), "big")
        session = Ev1Session(0, BlockCipher.AES, key, bytes(16))
        with pytest.raises(WrongResponseMac):
            session.unwrap_response(0, changed, mode, length=4)


@pytest.mark.parametrize(("mode", "length"), [(CommMode.MAC, 7), (CommMode.FULL, 15)])
def test_ev1_answer_without_room_for_its_protection_is_too_short(
    mode: CommMode, length: int
) -> None:
    session = Ev1Session(0, BlockCipher.AES, bytes(16), bytes(16))
    with pytest.raises(ResponseTooShort):
        session.unwrap_response(0, bytes(length), mode)


@pytest.mark.parametrize(
    "handshake",
    [
        Ev1Handshake(DesfireKey.aes(bytes(16)), 2),
        Ev1Handshake(DesfireKey.tdes_3k(bytes(24)), 2),
        Ev1Handshake(DesfireKey.des(bytes(8)), 2),
        D40Handshake(DesfireKey.tdes_2k(bytes(16)), 2),
    ],
)
def test_a_card_that_does_not_know_the_key_is_not_authentic(
    handshake: Ev1Handshake | D40Handshake,
) -> None:
    length = handshake.random_length
    handshake.answer_challenge(bytes(length), bytes(range(length)))
    with pytest.raises(CardNotAuthentic):
        handshake.finish(bytes(length))


@pytest.mark.parametrize("kind", [KeyType.AES, KeyType.TDES_3K])
def test_the_legacy_authentication_refuses_other_keys(kind: KeyType) -> None:
    with pytest.raises(ValueError, match="DES or 2K3DES"):
        D40Handshake(DesfireKey(kind, bytes(kind.length)), 0)


def test_ev1_get_key_version_chain_is_the_published_one() -> None:
    [vector] = [v for v in load_vectors("ev1_iso_aes_traces") if "steps" not in v["outputs"]]
    command, response = unhex(vector["inputs"]["command"]), unhex(vector["inputs"]["response"])
    session = Ev1Session(0, BlockCipher.AES, unhex(vector["inputs"]["session_key"]), bytes(16))
    session.wrap_command(command[0], command[1:], b"", CommMode.PLAIN)
    assert session.iv.hex().upper().startswith(vector["outputs"]["tx_cmac"])
    data = session.unwrap_response(response[0], response[1:], CommMode.PLAIN)
    assert data == response[1:-8]
    assert session.iv.hex().upper().startswith(vector["outputs"]["rx_cmac"])
