"""HPKE: the published vector, and what must not open."""

from __future__ import annotations

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib import sealing
from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import KeyNotHeld, NotSealedForUs
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.sealing import SEALED_OVERHEAD, seal, unseal

# RFC 9180, appendix A.2.1 (base mode, X25519, HKDF-SHA256, ChaCha20Poly1305), first encryption.
SK_R = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
PK_R = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
ENC = bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
AAD = bytes.fromhex("436f756e742d30")
CIPHERTEXT = bytes.fromhex(
    "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
)
PLAIN = b"Beauty is truth, truth beauty"

OURS = KeyRing.generate(sealing=["till"])
OTHERS = KeyRing.generate(sealing=["till"])


def test_the_suite_opens_the_vector_of_rfc_9180() -> None:
    """With the additional data that the vector has and that we leave empty."""
    opened = openssl.hpke._decrypt_with_aad(
        sealing._SUITE, ENC + CIPHERTEXT, X25519PrivateKey.from_private_bytes(SK_R), INFO, AAD
    )
    assert opened == PLAIN
    assert KeyRing(sealing={"till": SK_R}).sealing_public_key("till") == PK_R


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_is_sealed_opens_with_the_key_and_the_information_it_was_sealed_for(
    plain: bytes, info: bytes
) -> None:
    sealed = seal(OURS.sealing_public_key("till"), plain, info)
    assert len(sealed) == len(plain) + SEALED_OVERHEAD
    assert unseal(OURS.sealing["till"], sealed, info) == plain
    with pytest.raises(NotSealedForUs):
        unseal(OURS.sealing["till"], sealed, info + b"!")
    with pytest.raises(NotSealedForUs):
        unseal(OTHERS.sealing["till"], sealed, info)


@given(st.integers(0, 79), st.integers(1, 255))
def test_a_changed_byte_is_seen(place: int, change: int) -> None:
    sealed = bytearray(seal(OURS.sealing_public_key("till"), bytes(32), b""))
    sealed[place] ^= change
    if place == 31 and change == 0x80:
        return  # X25519 ignores the highest bit; the KEM's context does not, but a library may
    with pytest.raises(NotSealedForUs):
        unseal(OURS.sealing["till"], bytes(sealed), b"")


@pytest.mark.parametrize("length", [0, 31, 32, 47])
def test_what_is_too_short_is_nothing_sealed(length: int) -> None:
    with pytest.raises(NotSealedForUs):
        unseal(OURS.sealing["till"], bytes(length), b"")


def test_masters_come_out_as_they_went_in_and_only_those_asked_for() -> None:
    central = KeyRing.generate(masters=CardKey, signing=["server"]).renewed()
    public_key = OURS.sealing_public_key("till")
    sealed = central.sealed_masters([CardKey.DEBIT, CardKey.PIN], public_key, b"1")
    opened = OURS.unseal_masters("till", sealed, b"1")
    assert opened.masters == {key: central.masters[key] for key in (CardKey.DEBIT, CardKey.PIN)}
    assert not opened.signing
    assert sorted(opened.masters[CardKey.DEBIT]) == [1, 2]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"masters": {"debit": []}}', b'{"masters": {"no": {}}}']
)
def test_what_is_sealed_but_no_masters_is_refused(content: bytes) -> None:
    sealed = seal(OURS.sealing_public_key("till"), content, b"")
    with pytest.raises(NotSealedForUs):
        OURS.unseal_masters("till", sealed, b"")


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyNotHeld):
        OURS.sealing_public_key("station")


def test_a_sealing_key_is_never_shown() -> None:
    assert OURS.sealing["till"].hex() not in repr(OURS)
    assert repr(OURS.sealing["till"]) not in repr(OURS)
