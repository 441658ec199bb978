"""Secure dynamic messaging: the published taps are understood, all else is not."""

from __future__ import annotations

import pytest
from card_vectors import Vector, load_vectors, unhex
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.crypto import aes_cbc_encrypt
from dobmi.cardlib.sdm import (
    PiccData,
    SdmSettings,
    decrypt_picc_data,
    mac_fits,
    sdm_mac,
    session_mac_key,
)

VECTORS = load_vectors("sdm")


def name_of(vector: Vector) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_published_tap_tells_its_card_and_counter_and_proves_them(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    meta_key, file_key = unhex(inputs["sdm_meta_read_key"]), unhex(inputs["sdm_file_read_key"])
    read = decrypt_picc_data(meta_key, unhex(inputs["picc_data"]))
    assert read == PiccData(unhex(outputs["uid"]), outputs["read_ctr"])
    assert (
        session_mac_key(file_key, read).hex().upper()
        == (vector["intermediate"]["ses_sdm_file_read_mac_key"])
    )
    assert mac_fits(file_key, read, unhex(inputs["sdmmac"]))


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_mac_of_another_card_counter_key_or_message_does_not_fit(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    file_key, mac = unhex(inputs["sdm_file_read_key"]), unhex(inputs["sdmmac"])
    uid, counter = unhex(outputs["uid"]), outputs["read_ctr"]
    assert not mac_fits(file_key, PiccData(uid, counter + 1), mac)
    assert not mac_fits(file_key, PiccData(uid[:-1] + b"\xff", counter), mac)
    assert not mac_fits(bytes([file_key[0] ^ 1]) + file_key[1:], PiccData(uid, counter), mac)
    assert not mac_fits(file_key, PiccData(uid, counter), mac, b"0")
    assert not mac_fits(file_key, PiccData(uid, counter), mac[:-1])


def test_settings_are_the_bytes_of_an12196_table_18() -> None:
    published = bytes.fromhex("C1F121200000430000430000")
    settings = SdmSettings(
        meta_read_key=2,
        file_read_key=1,
        counter_key=1,
        picc_data_offset=0x20,
        mac_input_offset=0x43,
        mac_offset=0x43,
    )
    assert bytes(settings) == published
    assert SdmSettings.from_bytes(published) == settings


def test_settings_of_another_kind_are_not_read_as_ours() -> None:
    assert SdmSettings.from_bytes(bytes.fromhex("C1F1E1200000430000430000")) is None
    assert SdmSettings.from_bytes(bytes.fromhex("41F121200000430000430000")) is None
    assert SdmSettings.from_bytes(bytes.fromhex("C1F121200000430000420000")) is None


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_what_is_no_tap_under_a_key_is_none_or_has_its_tag(key: bytes, block: bytes) -> None:
    read = decrypt_picc_data(key, block)
    if read is not None:
        plain = b"\xc7" + read.uid + read.read_counter.to_bytes(3, "little")
        assert len(plain) == 11
        assert mac_fits(key, read, sdm_mac(key, read))


def test_a_tap_without_its_tag_is_none() -> None:
    key = bytes(range(16))
    assert decrypt_picc_data(key, aes_cbc_encrypt(key, bytes(16), b"\xc0" + bytes(15))) is None
    with pytest.raises(ValueError, match="16 bytes"):
        decrypt_picc_data(key, bytes(15))
