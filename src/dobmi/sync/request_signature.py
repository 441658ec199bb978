"""How a till or a station says who it is to the central server: one signed header a request.

    Authorization: DoBMI <base64url of a COSE_Sign1, content type dobmi/request/1>

over the terminal, method, path with query, time, 16 random bytes and SHA-256 of the body. Batches
need none of it: they are signed themselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from dobmi.sync.cbor import Fields, decode, encode
from dobmi.sync.cose import Sign, Sign1, parse_sign1, sign1
from dobmi.sync.errors import ClockOutOfStep, MalformedMessage, WrongSignature

CONTENT_TYPE = "dobmi/request/1"
SCHEME = "DoBMI"
CLOCK_DIFFERENCE_SECONDS_MAX = 300
NONCE_LENGTH = 16
_SIZE_MAX = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClaim:
    """Who asks for what, not believed until `verify` has passed."""

    terminal_id: int
    method: str
    path: str
    unix_seconds: int
    nonce: bytes
    body_hash: bytes
    message: Sign1

    def verify(
        self, public_key: bytes, method: str, path: str, body: bytes, now_unix_seconds: int
    ) -> None:
        """Raises WrongSignature if this is not the signature of just this request, ClockOutOfStep."""
        self.message.verify(public_key, CONTENT_TYPE)
        of_this = (method, path, hashlib.sha256(body).digest())
        if (self.method, self.path, self.body_hash) != of_this:
            raise WrongSignature(what=CONTENT_TYPE)
        difference = abs(self.unix_seconds - now_unix_seconds)
        if difference > CLOCK_DIFFERENCE_SECONDS_MAX:
            raise ClockOutOfStep(seconds=difference)


def sign_request(
    terminal_id: int,
    method: str,
    path: str,
    body: bytes,
    *,
    unix_seconds: int,
    nonce: bytes,
    public_key: bytes,
    sign: Sign,
) -> str:
    """The value of the Authorization header. `path` includes the query."""
    payload = encode(
        {
            1: 1,
            2: terminal_id,
            3: method,
            4: path,
            5: unix_seconds,
            6: nonce,
            7: hashlib.sha256(body).digest(),
        }
    )
    token = sign1(payload, CONTENT_TYPE, public_key, sign)
    return f"{SCHEME} {base64.urlsafe_b64encode(token).decode('ascii')}"


def parse_request_signature(header: str) -> RequestClaim:
    """Raises MalformedMessage."""
    scheme, _, token = header.partition(" ")
    if scheme != SCHEME or len(token) > _SIZE_MAX:
        raise MalformedMessage(detail=f"no {SCHEME} authorization")
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessage(detail="the authorization is not base64url") from error
    if base64.urlsafe_b64encode(data).decode("ascii") != token:
        raise MalformedMessage(detail="the authorization is not canonical base64url")
    message = parse_sign1(data, size_max=_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=_SIZE_MAX), "request signature")
    fields.exactly(1, 1)
    claim = RequestClaim(
        terminal_id=fields.uint(2, 32),
        method=fields.text(3, 10),
        path=fields.text(4, 1024),
        unix_seconds=fields.uint(5),
        nonce=fields.octets(6, NONCE_LENGTH),
        body_hash=fields.octets(7, 32),
        message=message,
    )
    fields.finish()
    return claim
