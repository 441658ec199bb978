"""NXP's originality signature: ECDSA on secp224r1 over the raw UID (AN12343 section 12, AN12196
section 8). It proves that the chip carries a signature of NXP for its UID; the signature can be
copied with the UID, so it keeps out cheap imitations, not a copied card: that is what the keys
are for.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from dobmi.cardlib.errors import NotOriginal

SIGNATURE_LENGTH = 56

NXP_PUBLIC_KEYS: Mapping[str, bytes] = {
    "DESFire EV1": bytes.fromhex(
        "04BB5D514F7050025C7D0F397310360EEC91EAF792E96FC7E0F496CB4E669D414F"
        "877B7B27901FE67C2E3B33CD39D1C797715189AC951C2ADD"
    ),
    "DESFire EV2": bytes.fromhex(
        "04B304DC4C615F5326FE9383DDEC9AA892DF3A57FA7FFB3276192BC0EAA252ED45"
        "A865E3B093A3D0DCE5BE29E92F1392CE7DE321E3E5C52B3A"
    ),
    "DESFire EV2 XL": bytes.fromhex(
        "04CD5D45E50B1502F0BA4656FF37669597E7E183251150F9574CC8DA56BF01C7AB"
        "E019E29FEA48F9CE22C3EA4029A765E1BC95A89543BAD1BC"
    ),
    "DESFire EV3": bytes.fromhex(
        "041DB46C145D0A36539C6544BD6D9B0AA62FF91EC48CBC6ABAE36E0089A46F0D08"
        "C8A715EA40A63313B92E90DDC1730230E0458A33276FB743"
    ),
    "DESFire Light": bytes.fromhex(
        "040E98E117AAA36457F43173DC920A8757267F44CE4EC5ADD3C54075571AEBBF7B"
        "942A9774A1D94AD02572427E5AE0A2DD36591B1FB34FCF3D"
    ),
    "NTAG 424 DNA": bytes.fromhex(
        "048A9B380AF2EE1B98DC417FECC263F8449C7625CECE82D9B916C992DA209D6842"
        "2B81EC20B65A66B5102A61596AF3379200599316A00A1410"
    ),
}
"""Uncompressed points, as published in AN12343, AN12196 and proxmark3's originality.c."""


def verify_originality(
    uid: bytes, signature: bytes, trusted: Mapping[str, bytes] = NXP_PUBLIC_KEYS
) -> str:
    """The name of the trusted key that made `signature` (56 bytes, r || s) over the 7-byte UID.

    `trusted` maps names to uncompressed points (57 bytes, 04 || x || y). Raises NotOriginal
    when none fits, ValueError for a trusted key that is no point of the curve.
    """
    if len(signature) != SIGNATURE_LENGTH:
        raise NotOriginal
    half = SIGNATURE_LENGTH // 2
    der = utils.encode_dss_signature(
        int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    )
    # The UID itself stands where a digest would: as a number, so that leading zeros are harmless.
    digest = uid.rjust(hashes.SHA224.digest_size, b"\0")
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA224()))
    for name, point in trusted.items():
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP224R1(), point)
        try:
            key.verify(der, digest, algorithm)
        except InvalidSignature:
            continue
        return name
    raise NotOriginal
