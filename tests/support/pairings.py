"""One pairing, fixed: of the messages' golden files and of the code that belongs to it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dobmi.sync.pairing import (
    PairingAnswer,
    PairingOffer,
    PairingOpening,
    PairingRequest,
    PairingState,
    commit,
    encode_pairing_answer,
    encode_pairing_offer,
    encode_pairing_opening,
    encode_pairing_request,
    request_id,
)

TILL = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TILL_PUBLIC = TILL.public_key().public_bytes_raw()
SERVER = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
SERVER_PUBLIC = SERVER.public_key().public_bytes_raw()
SEALING_KEY = bytes(range(0x60, 0x80))
NONCE = bytes(range(0x80, 0xA0))
SERVER_NONCE = bytes(range(0xA0, 0xC0))

REQUEST = PairingRequest(
    public_key=TILL_PUBLIC,
    sealing_key=X25519PrivateKey.from_private_bytes(SEALING_KEY).public_key().public_bytes_raw(),
    name="Kasir 1",
    commitment=commit(NONCE),
)
REQUEST_BYTES = encode_pairing_request(REQUEST, TILL.sign)
OFFER = PairingOffer(
    request_id=request_id(REQUEST_BYTES),
    server_public_key=SERVER_PUBLIC,
    nonce=SERVER_NONCE,
    valid_seconds=900,
)
OPENING = PairingOpening(request_id=OFFER.request_id, nonce=NONCE)
SEALED = bytes.fromhex(
    "b187132372efeb4700549dfd146e72d5ec67a44d50483bcaad3a1cc5a9162a5fa63bea7a85253e046f8ee251"
    "3077e65cecb38f5c2b28bbea3d6cbbb5a773f520bcaef22a06545d6f0e17979cd7f3f5cf01bd2ab2d9892d8b"
    "9544bbec2192a947b879bc8f31163cf33cd0cd9193281d886daf44394390127493c1654f72d2149dfa01bc06"
    "1e2523a35fc512dbfb2488f5b86535b3de9d7a06743775df10312921095cca"
)
"""Debit master 00…00 and PIN master 00 01 … 0F, once sealed to SEALING_KEY for this request."""


def answer(state: PairingState, enrolment: bytes = b"") -> PairingAnswer:
    return PairingAnswer(
        request_id=OFFER.request_id,
        state=state,
        valid_seconds=840,
        enrolment=enrolment,
        sealed_keys=SEALED if state is PairingState.APPROVED else b"",
    )


def pairing_samples(enrolment: bytes) -> dict[str, bytes]:
    """Name of the golden file to its bytes; `enrolment` is that format's own sample."""
    approved = answer(PairingState.APPROVED, enrolment)
    waiting = answer(PairingState.WAITING)
    return {
        "pairing_request": REQUEST_BYTES,
        "pairing_offer": encode_pairing_offer(OFFER, SERVER.sign),
        "pairing_opening": encode_pairing_opening(OPENING, TILL_PUBLIC, TILL.sign),
        "pairing_answer_waiting": encode_pairing_answer(waiting, SERVER_PUBLIC, SERVER.sign),
        "pairing_answer_approved": encode_pairing_answer(approved, SERVER_PUBLIC, SERVER.sign),
    }
