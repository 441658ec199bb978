"""The maker's signature over the UID: published cards pass, all else is refused."""

from __future__ import annotations

import pytest
from card_vectors import Vector, load_vectors, unhex
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dobmi.cardlib.errors import NotOriginal
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS, verify_originality

ORIGINALITY = load_vectors("originality")


def name_of(vector: Vector) -> str:
    return str(vector["name"])


def select(*, valid: bool) -> list[Vector]:
    return [v for v in ORIGINALITY if v["outputs"]["valid"] is valid]


@pytest.mark.parametrize("vector", select(valid=True), ids=name_of)
def test_published_signature_is_of_the_published_key(vector: Vector) -> None:
    inputs = vector["inputs"]
    name = verify_originality(unhex(inputs["uid"]), unhex(inputs["signature"]))
    assert NXP_PUBLIC_KEYS[name].hex().upper() == inputs["public_key"]
    assert name.replace(" ", "") in vector["name"].replace(" ", "")


@pytest.mark.parametrize("vector", select(valid=False), ids=name_of)
def test_signature_of_another_card_is_refused(vector: Vector) -> None:
    inputs = vector["inputs"]
    with pytest.raises(NotOriginal):
        verify_originality(unhex(inputs["uid"]), unhex(inputs["signature"]))


def test_a_changed_signature_or_uid_is_refused() -> None:
    inputs = ORIGINALITY[0]["inputs"]
    uid, signature = unhex(inputs["uid"]), unhex(inputs["signature"])
    for changed in (signature[:-1] + b"\0", signature[:-1], signature + b"\0", bytes(56), b""):
        with pytest.raises(NotOriginal):
            verify_originality(uid, changed)
    with pytest.raises(NotOriginal):
        verify_originality(uid[:-1] + b"\x81", signature)


def test_a_key_of_the_callers_own_can_be_trusted() -> None:
    private = ec.generate_private_key(ec.SECP224R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    uid = unhex("04112233445566")
    r, s = utils.decode_dss_signature(
        private.sign(uid.rjust(28, b"\0"), ec.ECDSA(utils.Prehashed(hashes.SHA224())))
    )
    signature = r.to_bytes(28, "big") + s.to_bytes(28, "big")
    with pytest.raises(NotOriginal):
        verify_originality(uid, signature)
    assert verify_originality(uid, signature, {**NXP_PUBLIC_KEYS, "ours": point}) == "ours"
    with pytest.raises(ValueError, match=r"\w"):
        verify_originality(uid, signature, {"no point": bytes(57)})
