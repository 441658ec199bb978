"""One card's key for a till that holds no masters: asked for per tap, sealed to that one request.

    POST /v1/card-keys, signed as every request; the body is deterministic CBOR:
        {1: 1, 2: card UID (7 bytes), 3: the key's name, 4: its generation or null, 5: X25519 public
         key (32 bytes) made for this request alone}
    the answer is a COSE_Sign1 `dobmi/card-key/1` by the server:
        {1: 1, 2: SHA-256 of the body, 3: generation, 4: the key, sealed (HPKE, 16 + 48 bytes)}

`info` of the sealing is the content type and the body's hash: an answer opens nothing but what it
was given for, and who records it and later takes the till finds no key in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from dobmi.sync.cbor import Fields, decode, encode
from dobmi.sync.cose import Sign, parse_sign1, sign1
from dobmi.sync.errors import MalformedMessage, WrongSignature

ANSWER_TYPE: Final = "dobmi/card-key/1"
REQUEST_SIZE_MAX: Final = 256
ANSWER_SIZE_MAX: Final = 512
UID_LENGTH: Final = 7
_NAME_LENGTH_MAX = 40
_SEALED_LENGTH = 16 + 48


@dataclass(frozen=True, slots=True, kw_only=True)
class CardKeyRequest:
    """`generation` None: the one that the server thinks the card has."""

    card_uid: bytes
    key: str
    generation: int | None
    sealing_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CardKeyAnswer:
    generation: int
    sealed: bytes


def encode_card_key_request(request: CardKeyRequest) -> bytes:
    return encode(
        {1: 1, 2: request.card_uid, 3: request.key, 4: request.generation, 5: request.sealing_key}
    )


def decode_card_key_request(body: bytes) -> CardKeyRequest:
    """Raises MalformedMessage."""
    fields = Fields(decode(body, size_max=REQUEST_SIZE_MAX), "card key request")
    fields.exactly(1, 1)
    request = CardKeyRequest(
        card_uid=fields.octets(2, UID_LENGTH),
        key=fields.text(3, _NAME_LENGTH_MAX),
        generation=fields.uint_or_none(4, 8),
        sealing_key=fields.octets(5, 32),
    )
    fields.finish()
    return request


def card_key_info(body: bytes) -> bytes:
    """What the sealing of the answer to this request is bound to."""
    return ANSWER_TYPE.encode() + hashlib.sha256(body).digest()


def encode_card_key_answer(
    answer: CardKeyAnswer, body: bytes, public_key: bytes, sign: Sign
) -> bytes:
    payload = encode(
        {1: 1, 2: hashlib.sha256(body).digest(), 3: answer.generation, 4: answer.sealed}
    )
    return sign1(payload, ANSWER_TYPE, public_key, sign)


def verify_card_key_answer(data: bytes, body: bytes, server_public_key: bytes) -> CardKeyAnswer:
    """The server's answer to the request `body`. Raises MalformedMessage, WrongSignature."""
    message = parse_sign1(data, size_max=ANSWER_SIZE_MAX)
    message.verify(server_public_key, ANSWER_TYPE)
    fields = Fields(decode(message.payload, size_max=ANSWER_SIZE_MAX), "card key answer")
    fields.exactly(1, 1)
    of = fields.octets(2, 32)
    answer = CardKeyAnswer(generation=fields.uint(3, 8), sealed=fields.octets(4, _SEALED_LENGTH))
    fields.finish()
    if of != hashlib.sha256(body).digest():
        raise WrongSignature(what=ANSWER_TYPE)
    if not answer.generation:
        raise MalformedMessage(detail="a card key of generation 0, the factory's")
    return answer
