"""What the QR code on a receipt says: an address that proves that the sale's voucher exists.

    https://<server>/r/<token>

The token is Base32 (RFC 4648 section 6, without padding, upper case, so that a QR code holds it in
its alphanumeric mode) of the till's number (4 bytes, most significant first), the voucher's sequence
(8 bytes) and the first 16 bytes of the voucher's hash (SHA-256 of its bytes): 45 characters. There is
nothing about the member in it.
"""

from __future__ import annotations

import base64
import re

from dobmi.sync.errors import MalformedMessage

PROOF_PATH = "/r/"
HASH_PREFIX_LENGTH = 16
TOKEN_LENGTH = 45
_TERMINAL_LENGTH, _SEQUENCE_LENGTH = 4, 8
_HEAD_LENGTH = _TERMINAL_LENGTH + _SEQUENCE_LENGTH
_BYTES = _HEAD_LENGTH + HASH_PREFIX_LENGTH
_TOKEN = re.compile(rf"[A-Z2-7]{{{TOKEN_LENGTH}}}", re.ASCII)


def encode_proof(server_url: str, terminal_id: int, sequence: int, voucher_hash: bytes) -> str:
    """The address on the server at `server_url`; `voucher_hash` is the 32 bytes of SHA-256."""
    if len(voucher_hash) != 32:
        msg = "a voucher's hash has 32 bytes"
        raise ValueError(msg)
    raw = (
        terminal_id.to_bytes(_TERMINAL_LENGTH, "big")
        + sequence.to_bytes(_SEQUENCE_LENGTH, "big")
        + voucher_hash[:HASH_PREFIX_LENGTH]
    )
    token = base64.b32encode(raw).decode("ascii").rstrip("=")
    return f"{server_url.rstrip('/')}{PROOF_PATH}{token}"


def decode_proof(token: str) -> tuple[int, int, bytes]:
    """(till, sequence, first 16 bytes of the voucher's hash). Raises MalformedMessage.

    Small letters are taken as well. The one token of these bytes is read, and no other.
    """
    upper = token.upper() if token.isascii() else ""
    if not _TOKEN.fullmatch(upper):
        raise MalformedMessage(detail="not the code of a receipt")
    raw = base64.b32decode(upper + "=" * (-len(upper) % 8))
    if base64.b32encode(raw).decode("ascii").rstrip("=") != upper:
        raise MalformedMessage(detail="not the code of a receipt")
    return (
        int.from_bytes(raw[:_TERMINAL_LENGTH], "big"),
        int.from_bytes(raw[_TERMINAL_LENGTH:_HEAD_LENGTH], "big"),
        raw[_HEAD_LENGTH:_BYTES],
    )
