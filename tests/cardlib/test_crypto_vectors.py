"""CMAC, CRC and key diversification against their published answers (cmac_crc_kat, an10922)."""

from __future__ import annotations

import pytest
from card_vectors import Vector, load_vectors, unhex
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.crypto import (
    Aes128Diversifier,
    BlockCipher,
    aes_cmac,
    cmac,
    cmac_subkeys,
    crc16,
    crc32,
    des_cmac,
    diversify_2k3des,
    diversify_3k3des,
    diversify_aes128,
    diversify_aes192,
    pad_80,
    truncate_mac,
    unpad_80,
)
from dobmi.cardlib.keys import DesfireKey, KeyType, des_key_version
from dobmi.cardlib.secure_messaging_ev1 import d40_send, session_key

KAT = load_vectors("cmac_crc_kat")
AN10922 = load_vectors("an10922")

DIVERSIFY = {
    "AES-128": diversify_aes128,
    "AES-192": diversify_aes192,
    "2K3DES": diversify_2k3des,
    "3K3DES": diversify_3k3des,
}


def name_of(vector: Vector) -> str:
    return str(vector["name"])


def cipher_of(vector: Vector) -> BlockCipher:
    return BlockCipher.AES if "AES" in vector["name"] else BlockCipher.DES


def kat(*outputs: str) -> list[Vector]:
    return [v for v in KAT if any(output in v["outputs"] for output in outputs)]


def test_every_known_answer_is_used_by_exactly_one_test() -> None:
    groups = [
        kat("cmac"),
        kat("k1"),
        kat("crc32_le", "crc32_le_on_the_wire"),
        kat("crc16_le"),
        kat("tx_cmac"),
        kat("session_key"),
        kat("cipher"),
    ]
    used = [name_of(v) for group in groups for v in group]
    assert sorted(used) == sorted(name_of(v) for v in KAT)


@pytest.mark.parametrize("vector", kat("cmac"), ids=name_of)
def test_cmac_matches_the_published_value(vector: Vector) -> None:
    key, message = unhex(vector["inputs"]["key"]), unhex(vector["inputs"]["message"])
    expected = vector["outputs"]["cmac"]
    assert cmac(cipher_of(vector), key, message).hex().upper() == expected
    one = aes_cmac if cipher_of(vector) is BlockCipher.AES else des_cmac
    assert one(key, message).hex().upper() == expected


@pytest.mark.parametrize("vector", kat("k1"), ids=name_of)
def test_cmac_subkeys_match_the_published_values(vector: Vector) -> None:
    k1, k2 = cmac_subkeys(cipher_of(vector), unhex(vector["inputs"]["key"]))
    assert k1.hex().upper() == vector["outputs"]["k1"]
    assert k2.hex().upper() == vector["outputs"]["k2"]


@pytest.mark.parametrize("vector", kat("crc32_le", "crc32_le_on_the_wire"), ids=name_of)
def test_crc32_matches_the_published_value(vector: Vector) -> None:
    outputs = vector["outputs"]
    expected = outputs.get("crc32_le", outputs.get("crc32_le_on_the_wire"))
    assert crc32(unhex(vector["inputs"]["data"])).hex().upper() == expected


@pytest.mark.parametrize("vector", kat("crc16_le"), ids=name_of)
def test_crc16_matches_the_published_value(vector: Vector) -> None:
    assert crc16(unhex(vector["inputs"]["data"])).hex().upper() == vector["outputs"]["crc16_le"]


@pytest.mark.parametrize("vector", kat("tx_cmac"), ids=name_of)
def test_chained_cmac_of_a_command_and_its_answer(vector: Vector) -> None:
    inputs = vector["inputs"]
    key = unhex(inputs["session_key"])
    sent = cmac(BlockCipher.AES, key, unhex(inputs["command"]), iv=unhex(inputs["iv"]))
    assert sent.hex().upper() == vector["outputs"]["tx_cmac"]
    received = cmac(BlockCipher.AES, key, unhex(inputs["response_status"]), iv=sent)
    assert received[:8].hex().upper() == vector["outputs"]["rx_mac8"]


@pytest.mark.parametrize("vector", kat("session_key"), ids=name_of)
def test_ev1_session_key_is_put_together_as_published(vector: Vector) -> None:
    # Any key with different halves: only its type decides.
    key = DesfireKey.aes(bytes(16))
    if "2K3DES" in vector["name"]:
        key = DesfireKey.tdes_2k(bytes(8) + b"\x02" * 8)
    made = session_key(key, unhex(vector["inputs"]["rnda"]), unhex(vector["inputs"]["rndb"]))
    assert made.hex().upper() == vector["outputs"]["session_key"]


@pytest.mark.parametrize("vector", kat("cipher"), ids=name_of)
def test_d40_reader_sends_by_deciphering(vector: Vector) -> None:
    sent = d40_send(unhex(vector["inputs"]["session_key"]), unhex(vector["inputs"]["plain"]))
    assert sent.hex().upper() == vector["outputs"]["cipher"]


@pytest.mark.parametrize("vector", AN10922, ids=name_of)
def test_key_diversification_matches_an10922(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    diversify = DIVERSIFY[inputs["algorithm"]]
    made = diversify(unhex(inputs["master_key"]), unhex(inputs["div_input"]))
    if vector.get("negative"):
        assert made.hex().upper() != outputs["wrong_key"]
        return
    if "master_key_version" in inputs:
        # The version's bits are put back by the key that the diversified bytes become.
        version = int(inputs["master_key_version"], 16)
        assert des_key_version(unhex(inputs["master_key"])) == version
        restored = bytearray(DesfireKey(KeyType.TDES_2K, made, version).value)
        # The published key keeps the CMAC's own lowest bits in its second half.
        restored[8:] = made[8:]
        made = bytes(restored)
    expected = outputs.get("diversified_key", outputs.get("diversified_key_raw"))
    assert made.hex().upper() == expected


@given(st.binary(min_size=1, max_size=15))
def test_short_diversification_inputs_are_padded_to_two_blocks(data: bytes) -> None:
    assert diversify_aes128(bytes(16), data) == cmac(
        BlockCipher.AES, bytes(16), b"\x01" + data, blocks_min=2
    )
    assert diversify_aes128(bytes(16), data) != aes_cmac(bytes(16), b"\x01" + data)


@pytest.mark.parametrize("length", [0, 32])
def test_a_diversification_input_of_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 31 bytes"):
        diversify_aes128(bytes(16), bytes(length))


def test_a_des_diversification_input_has_at_most_fifteen_bytes() -> None:
    with pytest.raises(ValueError, match="1 to 15 bytes"):
        diversify_2k3des(bytes(16), bytes(16))
    with pytest.raises(ValueError, match="1 to 15 bytes"):
        diversify_3k3des(bytes(24), bytes(16))


def test_a_master_key_of_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        diversify_aes128(bytes(24), b"1")


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=100))
def test_our_cmac_is_the_librarys_cmac(key: bytes, message: bytes) -> None:
    theirs = CMAC(AES(key))
    theirs.update(message)
    assert cmac(BlockCipher.AES, key, message) == theirs.finalize()


@given(st.binary(max_size=64), st.sampled_from([8, 16]))
def test_padding_comes_off_again(data: bytes, block_length: int) -> None:
    padded = pad_80(data, block_length)
    assert len(padded) % block_length == 0
    assert 1 <= len(padded) - len(data) <= block_length
    assert unpad_80(padded) == data


@pytest.mark.parametrize("wrong", [b"", bytes(16), b"\x81" + bytes(15)])
def test_bytes_without_a_padding_marker_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="padding marker"):
        unpad_80(wrong)


def test_a_mac_is_truncated_to_its_odd_bytes() -> None:
    assert truncate_mac(bytes(range(16))) == bytes([1, 3, 5, 7, 9, 11, 13, 15])
    with pytest.raises(ValueError, match="16 bytes"):
        truncate_mac(bytes(8))


@given(
    st.binary(min_size=16, max_size=16),
    st.lists(st.binary(min_size=16, max_size=31), max_size=20),
)
def test_keys_of_many_cards_at_once_are_those_of_one_by_one(
    master: bytes, inputs: list[bytes]
) -> None:
    diversifier = Aes128Diversifier(master)
    assert diversifier.keys(inputs) == [diversify_aes128(master, one) for one in inputs]


@pytest.mark.parametrize("length", [0, 15, 32])
def test_keys_of_many_cards_at_once_are_of_inputs_of_two_blocks(length: int) -> None:
    with pytest.raises(ValueError, match="16 to 31 bytes"):
        Aes128Diversifier(bytes(16)).keys([bytes(16), bytes(length)])
