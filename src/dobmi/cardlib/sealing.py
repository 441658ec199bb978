"""Sealing to one receiver's X25519 key: HPKE (RFC 9180), base mode, single shot.

Suite: DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, ChaCha20Poly1305 0x0003. A sealed
message is `enc` (32 bytes) and the ciphertext with its 16-byte tag, one after the other. Base mode
proves no sender: who needs that signs what is sealed.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from dobmi.cardlib.errors import NotSealedForUs

SEALING_KEY_LENGTH = 32
SEALED_OVERHEAD = 32 + 16
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def seal(public_key: bytes, plain: bytes, info: bytes) -> bytes:
    """`plain` for the holder of `public_key` (32 raw bytes) alone, who must know `info`, too.

    Raises ValueError for what is no X25519 key.
    """
    return _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public_key), info)


def unseal(private_key: bytes, sealed: bytes, info: bytes) -> bytes:
    """What was sealed to the public half of `private_key` (32 raw bytes) with the same `info`.

    Raises NotSealedForUs.
    """
    try:
        return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private_key), info)
    except (InvalidTag, ValueError) as error:
        raise NotSealedForUs from error
