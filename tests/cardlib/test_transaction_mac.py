"""The transaction MAC: session keys and reader id by published answers, the input by its rules."""

from __future__ import annotations

import pytest
from card_vectors import Vector, load_vectors, unhex
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.crypto import aes_cbc_decrypt, aes_cbc_encrypt
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.secure_messaging_ev2 import Ev2Session
from dobmi.cardlib.transaction_mac import (
    TransactionMac,
    TransactionMacInput,
    decrypt_previous_reader_id,
    tmi_clear_record_file,
    tmi_commit_reader_id,
    tmi_read_data,
    tmi_read_records,
    tmi_update_record,
    tmi_value,
    tmi_write_data,
    tmi_write_record,
    transaction_keys,
    transaction_mac,
    verify_transaction_mac,
)

TMAC = load_vectors("tmac")
KEY = unhex("00112233445566778899AABBCCDDEEFF")
UID = unhex("04782E21801D80")


def name_of(vector: Vector) -> str:
    return str(vector["name"])


def select(output: str) -> list[Vector]:
    return [v for v in TMAC if output in v["outputs"]]


def test_every_transaction_mac_vector_is_used() -> None:
    """Those with an APDU are exchanged in test_ev2_vectors.py."""
    used = [*select("ses_tm_mac_key"), *select("tmri"), *select("enc_tmri"), *select("capdu")]
    assert sorted(map(name_of, used)) == sorted(map(name_of, TMAC))


@pytest.mark.parametrize("vector", select("ses_tm_mac_key"), ids=name_of)
def test_transaction_session_keys_are_the_published_ones(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    counter = int(inputs["counter_in_sv"].split()[0], 16)
    keys = transaction_keys(unhex(inputs["app_transaction_mac_key"]), unhex(inputs["uid"]), counter)
    assert keys.mac_key.hex().upper() == outputs["ses_tm_mac_key"]
    assert keys.encryption_key.hex().upper() == outputs["ses_tm_enc_key"]


@pytest.mark.parametrize("vector", select("tmri"), ids=name_of)
def test_previous_reader_id_is_deciphered(vector: Vector) -> None:
    encrypted = unhex(vector["inputs"]["enc_tmri"])
    keys = transaction_keys(KEY, UID, 1)
    assert keys.encryption_key.hex().upper() == vector["inputs"]["ses_tm_enc_key"]
    made = decrypt_previous_reader_id(KEY, UID, 1, encrypted)
    assert made.hex().upper() == vector["outputs"]["tmri"]


@pytest.mark.parametrize("vector", select("enc_tmri"), ids=name_of)
def test_answer_to_commit_reader_id_is_enciphered_without_padding(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    key, ciphered = unhex(inputs["ses_enc"]), unhex(inputs["enc_response"])
    assert aes_cbc_decrypt(key, unhex(outputs["iv"]), ciphered).hex().upper() == outputs["enc_tmri"]
    session = Ev2Session(1, key, bytes(16), unhex(inputs["ti"]), inputs["cmd_ctr_rsp"])
    payload = ciphered + session._mac(0, ciphered)
    plain = session.unwrap_response(0, payload, CommMode.FULL, padded=False)
    assert plain.hex().upper() == outputs["enc_tmri"]


# No complete known answer has been published: the parts are written out here by the rules of
# MF2DLHX0 section 10.3, as hexadecimal.


def test_each_operation_is_its_part_of_the_input() -> None:
    assert tmi_read_data(0xAD, 1, 2, 0, b"\xaa" * 3) == unhex(
        "AD01 020000 030000 0000000000000000 AAAAAA 00000000000000000000000000"
    )
    assert tmi_read_data(0xBD, 1, 2, 16, b"\xaa" * 16) == unhex(
        "BD01 020000 100000 0000000000000000" + "AA" * 16
    )
    assert tmi_write_data(0x8D, 4, 0, b"\x01") == unhex(
        "8D04 000000 010000 0000000000000000 01" + "00" * 15
    )
    assert tmi_value(0xDC, 2, 12500) == unhex("DC02 D4300000" + "00" * 10)
    assert tmi_value(0x6C, 2, -1) == unhex("6C02 FFFFFFFF" + "00" * 10)
    assert tmi_write_record(0x8B, 3, 0, bytes(range(32))) == unhex(
        "8B03 000000 200000 0000000000000000"
    ) + bytes(range(32))
    assert tmi_read_records(0xAB, 3, 0, 2, b"\xbb" * 8) == unhex(
        "AB03 000000 020000 0000000000000000" + "BB" * 8 + "00" * 8
    )
    assert tmi_update_record(0xBA, 3, 1, 2, b"\xcc") == unhex(
        "BA03 010000 020000 010000 0000000000 CC" + "00" * 15
    )
    assert tmi_clear_record_file(3) == unhex("EB03" + "00" * 14)
    assert tmi_commit_reader_id(b"\x11" * 16, b"\x22" * 16) == unhex(
        "C8" + "11" * 16 + "22" * 16 + "00" * 15
    )


def test_the_input_grows_by_its_parts_in_order() -> None:
    whole = (
        TransactionMacInput()
        .commit_reader_id(b"\x11" * 16, b"\x22" * 16)
        .read_data(0xAD, 1, 0, 4, b"data")
        .value(0x6C, 2, 5000)
        .value(0xDC, 2, 1000)
        .write_record(0x8B, 3, 0, b"record")
        .write_data(0x8D, 4, 0, b"state")
        .read_records(0xAB, 3, 0, 1, b"record")
        .update_record(0xBA, 3, 0, 0, b"r")
        .clear_record_file(3)
    )
    assert bytes(whole) == (
        tmi_commit_reader_id(b"\x11" * 16, b"\x22" * 16)
        + tmi_read_data(0xAD, 1, 0, 4, b"data")
        + tmi_value(0x6C, 2, 5000)
        + tmi_value(0xDC, 2, 1000)
        + tmi_write_record(0x8B, 3, 0, b"record")
        + tmi_write_data(0x8D, 4, 0, b"state")
        + tmi_read_records(0xAB, 3, 0, 1, b"record")
        + tmi_update_record(0xBA, 3, 0, 0, b"r")
        + tmi_clear_record_file(3)
    )


def test_a_read_that_does_not_match_its_length_has_no_part() -> None:
    with pytest.raises(ValueError, match="cannot have been read"):
        tmi_read_data(0xAD, 1, 0, 5, b"data")


@given(st.binary(min_size=16, max_size=16), st.integers(1, 0xFFFFFFFF), st.binary(max_size=320))
def test_transaction_mac_is_the_truncated_cmac_under_the_session_key(
    key: bytes, counter: int, tmi: bytes
) -> None:
    outer = CMAC(AES(key))
    outer.update(b"\x5a\x00\x01\x00\x80" + counter.to_bytes(4, "little") + UID)
    inner = CMAC(AES(outer.finalize()))
    inner.update(tmi)
    made = transaction_mac(key, UID, counter, tmi)
    assert made == inner.finalize()[1::2]
    assert verify_transaction_mac(key, UID, TransactionMac(counter, made), tmi)


def test_a_changed_input_counter_card_or_key_does_not_verify() -> None:
    tmi = tmi_value(0xDC, 2, 12500)
    good = TransactionMac(7, transaction_mac(KEY, UID, 7, tmi))
    assert verify_transaction_mac(KEY, UID, good, tmi)
    assert not verify_transaction_mac(KEY, UID, good, tmi_value(0xDC, 2, 12501))
    assert not verify_transaction_mac(KEY, UID, TransactionMac(8, good.mac), tmi)
    assert not verify_transaction_mac(KEY, UID[::-1], good, tmi)
    assert not verify_transaction_mac(KEY[::-1], UID, good, tmi)
    assert not verify_transaction_mac(KEY, UID, TransactionMac(7, good.mac[:7]), tmi)


@given(st.binary(min_size=16, max_size=16), st.integers(1, 0xFFFFFFFF))
def test_reader_id_enciphered_by_the_card_is_read_back(reader_id: bytes, counter: int) -> None:
    key = transaction_keys(KEY, UID, counter).encryption_key
    encrypted = aes_cbc_encrypt(key, bytes(16), reader_id)
    assert decrypt_previous_reader_id(KEY, UID, counter, encrypted) == reader_id


@pytest.mark.parametrize("counter", [0, -1, 0x100000000])
def test_a_counter_that_no_commit_answers_is_refused(counter: int) -> None:
    with pytest.raises(ValueError, match="transaction counter"):
        transaction_keys(KEY, UID, counter)


def test_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="7-byte UID"):
        transaction_keys(KEY, UID[:4], 1)
    with pytest.raises(ValueError, match="16 bytes"):
        decrypt_previous_reader_id(KEY, UID, 1, bytes(15))
    with pytest.raises(ValueError, match="16 bytes"):
        tmi_commit_reader_id(bytes(16), bytes(8))
    with pytest.raises(ValueError, match="12 bytes"):
        TransactionMac.from_bytes(bytes(11))


@given(st.integers(0, 0xFFFFFFFF), st.binary(min_size=8, max_size=8))
def test_counter_and_mac_come_back_from_their_bytes(counter: int, mac: bytes) -> None:
    made = TransactionMac(counter, mac)
    assert TransactionMac.from_bytes(bytes(made)) == made
