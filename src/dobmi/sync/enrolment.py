"""How a till or a station becomes known: an invitation from the central office, used once.

An invitation is a text that a person can type: `XXXXXX-XXXXXX-XXXXXX-XXXXXX`, base32 of 6 random
bytes (the code) and the first 9 bytes of SHA-256 over the server's public key, so that a till knows the
right server when it meets it. Whoever sees an invitation before it is used can use it instead:
it is short-lived, and the central office sees which key used it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from dobmi.sync.cbor import Fields, decode, encode
from dobmi.sync.cose import Sign, parse_sign1, sign1
from dobmi.sync.errors import MalformedMessage, WrongSignature

REQUEST_TYPE = "dobmi/enrol/1"
REPLY_TYPE = "dobmi/enrolled/1"
CODE_LENGTH = 6
FINGERPRINT_LENGTH = 9
"""72 bits: nobody makes a key of the same fingerprint while the invitation is good."""
_SIZE_MAX = 4096


@dataclass(frozen=True, slots=True)
class Invitation:
    code: bytes
    server_fingerprint: bytes

    @classmethod
    def make(cls, code: bytes, server_public_key: bytes) -> Invitation:
        return cls(code, _fingerprint(server_public_key))

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Dashes, blanks and case do not matter. Raises MalformedMessage."""
        bare = "".join(text.split()).replace("-", "").upper()
        try:
            data = base64.b32decode(bare + "=" * (-len(bare) % 8))
        except ValueError as error:
            raise MalformedMessage(detail="not an invitation code") from error
        if len(data) != CODE_LENGTH + FINGERPRINT_LENGTH:
            raise MalformedMessage(detail="not an invitation code: letters are missing")
        return cls(data[:CODE_LENGTH], data[CODE_LENGTH:])

    def __str__(self) -> str:
        text = base64.b32encode(self.code + self.server_fingerprint).decode("ascii").rstrip("=")
        return "-".join(text[start : start + 6] for start in range(0, len(text), 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a till is told when it is taken in."""

    terminal_id: int
    terminal_public_key: bytes
    server_public_key: bytes
    card_issuer_public_key: bytes
    issuer: str
    seller: str


def encode_enrol_request(code: bytes, public_key: bytes, sign: Sign) -> bytes:
    """The till's request, signed with the key it asks to be known by."""
    return sign1(encode({1: 1, 2: code, 3: public_key}), REQUEST_TYPE, public_key, sign)


def verify_enrol_request(data: bytes) -> tuple[bytes, bytes]:
    """(invitation code, public key), the key proved. Raises MalformedMessage, WrongSignature."""
    message = parse_sign1(data, size_max=_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=_SIZE_MAX), "enrolment request")
    fields.exactly(1, 1)
    code = fields.octets(2, CODE_LENGTH)
    public_key = fields.octets(3, 32)
    fields.finish()
    message.verify(public_key, REQUEST_TYPE)
    return code, public_key


def encode_enrolment(enrolment: Enrolment, sign: Sign) -> bytes:
    """The server's reply, signed with the key whose fingerprint is in the invitation."""
    payload = encode(
        {
            1: 1,
            2: enrolment.terminal_id,
            3: enrolment.terminal_public_key,
            4: enrolment.server_public_key,
            5: enrolment.card_issuer_public_key,
            6: enrolment.issuer,
            7: enrolment.seller,
        }
    )
    return sign1(payload, REPLY_TYPE, enrolment.server_public_key, sign)


def verify_enrolment(data: bytes, invitation: Invitation, public_key: bytes) -> Enrolment:
    """The enrolment, if it is from the invited server and for the key `public_key`.

    Raises MalformedMessage, WrongSignature.
    """
    enrolment = _enrolment_of(data, public_key)
    if _fingerprint(enrolment.server_public_key) != invitation.server_fingerprint:
        raise WrongSignature(what=REPLY_TYPE)
    return enrolment


def verify_enrolment_by(data: bytes, server_public_key: bytes, public_key: bytes) -> Enrolment:
    """The enrolment, if it is from that server and for the key `public_key`.

    Raises MalformedMessage, WrongSignature.
    """
    enrolment = _enrolment_of(data, public_key)
    if enrolment.server_public_key != server_public_key:
        raise WrongSignature(what=REPLY_TYPE)
    return enrolment


def _enrolment_of(data: bytes, public_key: bytes) -> Enrolment:
    message = parse_sign1(data, size_max=_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=_SIZE_MAX), "enrolment")
    fields.exactly(1, 1)
    enrolment = Enrolment(
        terminal_id=fields.uint(2, 32),
        terminal_public_key=fields.octets(3, 32),
        server_public_key=fields.octets(4, 32),
        card_issuer_public_key=fields.octets(5, 32),
        issuer=fields.text(6, 80),
        seller=fields.text(7, 80),
    )
    fields.finish()
    message.verify(enrolment.server_public_key, REPLY_TYPE)
    if enrolment.terminal_public_key != public_key:
        raise WrongSignature(what=REPLY_TYPE)
    return enrolment


def _fingerprint(server_public_key: bytes) -> bytes:
    return hashlib.sha256(server_public_key).digest()[:FINGERPRINT_LENGTH]
