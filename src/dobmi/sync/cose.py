"""COSE_Sign1 (RFC 9052 section 4.2) with Ed25519 (RFC 9053 section 2.2), and nothing else of COSE.

Every signed message of the system is one tagged COSE_Sign1:

    18([ << {1: -8, 3: content type, 4: key id} >>, {}, payload, signature ])

The content type is in the protected header, so that a signature over one kind of message is never
one over another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dobmi.sync.cbor import Fields, decode, encode
from dobmi.sync.errors import MalformedMessage, WrongSignature

_TAG = b"\xd2"  # tag 18, one byte
_ARRAY_OF_4 = b"\x84"
_EMPTY_MAP = b"\xa0"
_EDDSA = -8
_ALGORITHM, _CONTENT_TYPE, _KEY_ID = 1, 3, 4

KEY_ID_LENGTH = 8
SIGNATURE_LENGTH = 64

Sign = Callable[[bytes], bytes]
"""Signs a message with Ed25519: bytes in, 64 bytes out. A software key's `.sign`, or an HSM's."""


@dataclass(frozen=True, slots=True)
class Sign1:
    """A parsed COSE_Sign1 whose signature has not been checked."""

    content_type: str
    key_id: bytes
    payload: bytes
    signature: bytes
    protected: bytes

    def verify(self, public_key: bytes, content_type: str) -> bytes:
        """The payload, if it is of `content_type` and signed by `public_key` (32 raw bytes).

        Raises WrongSignature.
        """
        if self.content_type != content_type or self.key_id != key_id(public_key):
            raise WrongSignature(what=content_type)
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(
                self.signature, _to_be_signed(self.protected, self.payload)
            )
        except (InvalidSignature, ValueError) as error:
            raise WrongSignature(what=content_type) from error
        return self.payload


def key_id(public_key: bytes) -> bytes:
    """8 bytes: the start of SHA-256 over the 32 raw bytes of an Ed25519 public key."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_LENGTH]


def sign1(payload: bytes, content_type: str, public_key: bytes, sign: Sign) -> bytes:
    """The encoded COSE_Sign1 of `payload`, signed by `sign`, whose public half is `public_key`."""
    signature = sign(_to_be_signed(_protected(content_type, public_key), payload))
    return start_of_sign1(content_type, public_key) + encode(payload) + encode(signature)


def start_of_sign1(content_type: str, public_key: bytes) -> bytes:
    """What stands before the payload in every COSE_Sign1 of this content type by this key."""
    return _TAG + _ARRAY_OF_4 + encode(_protected(content_type, public_key)) + _EMPTY_MAP


def _protected(content_type: str, public_key: bytes) -> bytes:
    return encode({_ALGORITHM: _EDDSA, _CONTENT_TYPE: content_type, _KEY_ID: key_id(public_key)})


def parse_sign1(data: bytes, *, size_max: int) -> Sign1:
    """Take apart an encoded COSE_Sign1. Raises MalformedMessage; checks no signature."""
    if not data.startswith(_TAG):
        raise MalformedMessage(detail="not a COSE_Sign1")
    value = decode(data[1:], size_max=size_max)
    match value:
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            if unprotected or len(signature) != SIGNATURE_LENGTH:
                raise MalformedMessage(detail="not a COSE_Sign1 of this system")
        case _:
            raise MalformedMessage(detail="not a COSE_Sign1")
    content_type, key_id_ = _read_header(protected)
    return Sign1(content_type, key_id_, payload, signature, protected)


@lru_cache(maxsize=1024)  # one signer's messages of one kind have the same header
def _read_header(protected: bytes) -> tuple[str, bytes]:
    """Content type and key id. Raises MalformedMessage."""
    header = Fields(decode(protected, size_max=256), "COSE header")
    header.exactly(_ALGORITHM, _EDDSA)
    found = header.text(_CONTENT_TYPE, 64), header.octets(_KEY_ID, KEY_ID_LENGTH)
    header.finish()
    return found


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure, RFC 9052 section 4.4, with no external data."""
    return cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)
