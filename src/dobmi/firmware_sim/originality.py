"""The originality signature of simulated cards: by a key of the simulation, not NXP's.

A verifier that is given `SIMULATION_PUBLIC_KEY` accepts simulated cards; one that has NXP's keys
alone refuses them, as it should.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_COORDINATE_BYTES = 28

# No secret: anyone may make simulated cards.
_SIMULATION_KEY = ec.derive_private_key(
    int.from_bytes(b"Do BMI simulated DESFire card", "big") >> 8, ec.SECP224R1()
)

SIMULATION_PUBLIC_KEY: bytes = _SIMULATION_KEY.public_key().public_bytes(
    Encoding.X962, PublicFormat.UncompressedPoint
)
"""04 || x || y on secp224r1, 57 bytes, in the form in which NXP publishes its keys."""


def sign_serial(serial: bytes) -> bytes:
    """Sign the serial number itself, unhashed: r || s, 28 bytes each, most significant first."""
    # ECDSA takes the digest as a number: leading zeros stretch 7 bytes to a digest's length.
    digest = serial.rjust(_COORDINATE_BYTES, b"\0")
    signature = _SIMULATION_KEY.sign(digest, ec.ECDSA(Prehashed(hashes.SHA224())))
    r, s = decode_dss_signature(signature)
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
