"""Pairing a till by a short code: four messages, and the code that both ends show.

    till   → server   request   its two public keys, a name, a commitment to a secret nonce
    server → till     offer     the server's key and a nonce of its own
    till   → server   opening   the nonce that it had committed to
    server → till     answer    waiting, refused, or approved with enrolment and sealed card keys

The code is a hash over all of it (a short authentication string with commitment). Nobody in between
can choose keys so that the codes at both ends agree: the till's nonce is fixed before it knows
the server's, and told only after. Each attempt succeeds with a chance of one in 25^8 (37 bits), however
much one can compute; without the commitment 2^19 tries would do. The office types the code that the
till shows; the till is told the office's reply, four more digits of the same hash, by a person.
docs/formats/pairing.md has the bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum

from dobmi.sync.cbor import CborValue, Fields, decode, encode
from dobmi.sync.cose import Sign, Sign1, parse_sign1, sign1
from dobmi.sync.errors import MalformedMessage, WrongSignature

REQUEST_TYPE = "dobmi/pairing-request/1"
OFFER_TYPE = "dobmi/pairing-offer/1"
OPENING_TYPE = "dobmi/pairing-opening/1"
ANSWER_TYPE = "dobmi/pairing-answer/1"
PAIRING_SIZE_MAX = 4096
ANSWER_SIZE_MAX = 64 * 1024
"""Card keys of 255 generations and more than one kind."""
NONCE_LENGTH = 32
NAME_LENGTH_MAX = 80

ALPHABET = "234679ACDEFGHJKMNPQRTVWXY"
"""25 letters and digits of which none is taken for another: no 0 O, 1 I L, 2 Z, 5 S, 8 B, U V."""
CODE_LENGTH = 8
REPLY_LENGTH = 4
_COMMITMENT_DOMAIN = b"dobmi/pairing-commitment/1"
_CODE_DOMAIN = "dobmi/pairing-code/1"
_KEYS_DOMAIN = b"dobmi/pairing-keys/1"
_SEALED_LENGTH_MAX = ANSWER_SIZE_MAX - 2048


class PairingState(IntEnum):
    WAITING = 1
    APPROVED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingRequest:
    """Who asks to be a till. `commitment` is `commit(nonce)` of a nonce that is still secret."""

    public_key: bytes
    sealing_key: bytes
    name: str
    commitment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingOffer:
    """Who the server says it is, for one request; `request_id` is `request_id()` of its bytes."""

    request_id: bytes
    server_public_key: bytes
    nonce: bytes
    valid_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingOpening:
    request_id: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingAnswer:
    """`enrolment` (docs/formats/enrolment.md) and `sealed_keys` are empty unless it is APPROVED."""

    request_id: bytes
    state: PairingState
    valid_seconds: int
    enrolment: bytes = b""
    sealed_keys: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PairingCode:
    """What people compare: `code` goes from the till to the office, `reply` comes back."""

    code: str
    reply: str

    def __str__(self) -> str:
        return f"{self.code[:4]}-{self.code[4:]}"


def commit(nonce: bytes) -> bytes:
    """32 bytes that bind to the 32 random bytes of `nonce` and say nothing of them."""
    return hashlib.sha256(_COMMITMENT_DOMAIN + nonce).digest()


def request_id(request: bytes) -> bytes:
    """32 bytes: SHA-256 over the encoded request."""
    return hashlib.sha256(request).digest()


def pairing_code(
    request: PairingRequest, server_public_key: bytes, server_nonce: bytes, nonce: bytes
) -> PairingCode:
    """The code of one exchange, the same at both ends if both saw the same messages.

    SHA-256 over the CBOR of all that was said, as a number: its remainder by 25^8 is the code, the
    next four decimal digits are the reply.
    """
    said: list[CborValue] = [
        _CODE_DOMAIN,
        request.public_key,
        request.sealing_key,
        request.name,
        request.commitment,
        server_public_key,
        server_nonce,
        nonce,
    ]
    number = int.from_bytes(hashlib.sha256(encode(said)).digest(), "big")
    letters = ""
    for _ in range(CODE_LENGTH):
        number, letter = divmod(number, len(ALPHABET))
        letters += ALPHABET[letter]
    return PairingCode(letters, f"{number % 10**REPLY_LENGTH:0{REPLY_LENGTH}d}")


def parse_code(text: str) -> str:
    """The eight letters of a typed code: dashes, blanks and case do not matter.

    Raises MalformedMessage.
    """
    bare = "".join(text.split()).replace("-", "").upper()
    if len(bare) != CODE_LENGTH or not set(bare) <= set(ALPHABET):
        raise MalformedMessage(detail="not a pairing code")
    return bare


def sealing_info(request_id_: bytes) -> bytes:
    """What binds sealed card keys to one pairing: the `info` of HPKE."""
    return _KEYS_DOMAIN + request_id_


def encode_pairing_request(request: PairingRequest, sign: Sign) -> bytes:
    payload = encode(
        {
            1: 1,
            2: request.public_key,
            3: request.sealing_key,
            4: request.name,
            5: request.commitment,
        }
    )
    return sign1(payload, REQUEST_TYPE, request.public_key, sign)


def verify_pairing_request(data: bytes) -> PairingRequest:
    """The request, its signing key proved. Raises MalformedMessage, WrongSignature."""
    message = parse_sign1(data, size_max=PAIRING_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=PAIRING_SIZE_MAX), "pairing request")
    fields.exactly(1, 1)
    request = PairingRequest(
        public_key=fields.octets(2, 32),
        sealing_key=fields.octets(3, 32),
        name=fields.text(4, NAME_LENGTH_MAX),
        commitment=fields.octets(5, 32),
    )
    fields.finish()
    message.verify(request.public_key, REQUEST_TYPE)
    return request


def encode_pairing_offer(offer: PairingOffer, sign: Sign) -> bytes:
    payload = encode(
        {
            1: 1,
            2: offer.request_id,
            3: offer.server_public_key,
            4: offer.nonce,
            5: offer.valid_seconds,
        }
    )
    return sign1(payload, OFFER_TYPE, offer.server_public_key, sign)


def verify_pairing_offer(data: bytes, request: bytes) -> PairingOffer:
    """The offer for `request`, by the key it names: whose that is, the code will show.

    Raises MalformedMessage, WrongSignature.
    """
    message = parse_sign1(data, size_max=PAIRING_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=PAIRING_SIZE_MAX), "pairing offer")
    fields.exactly(1, 1)
    offer = PairingOffer(
        request_id=fields.octets(2, 32),
        server_public_key=fields.octets(3, 32),
        nonce=fields.octets(4, NONCE_LENGTH),
        valid_seconds=fields.uint(5, 32),
    )
    fields.finish()
    message.verify(offer.server_public_key, OFFER_TYPE)
    if offer.request_id != request_id(request):
        raise WrongSignature(what=OFFER_TYPE)
    return offer


def encode_pairing_opening(opening: PairingOpening, public_key: bytes, sign: Sign) -> bytes:
    payload = encode({1: 1, 2: opening.request_id, 3: opening.nonce})
    return sign1(payload, OPENING_TYPE, public_key, sign)


def parse_pairing_opening(data: bytes) -> tuple[PairingOpening, Sign1]:
    """The opening and its unchecked signature. Raises MalformedMessage."""
    message = parse_sign1(data, size_max=PAIRING_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=PAIRING_SIZE_MAX), "pairing opening")
    fields.exactly(1, 1)
    opening = PairingOpening(request_id=fields.octets(2, 32), nonce=fields.octets(3, NONCE_LENGTH))
    fields.finish()
    return opening, message


def encode_pairing_answer(answer: PairingAnswer, public_key: bytes, sign: Sign) -> bytes:
    payload = encode(
        {
            1: 1,
            2: answer.request_id,
            3: int(answer.state),
            4: answer.valid_seconds,
            5: answer.enrolment,
            6: answer.sealed_keys,
        }
    )
    return sign1(payload, ANSWER_TYPE, public_key, sign)


def verify_pairing_answer(data: bytes, offer: PairingOffer) -> PairingAnswer:
    """The answer to the pairing of `offer`, by the server of `offer`.

    Raises MalformedMessage, WrongSignature.
    """
    message = parse_sign1(data, size_max=ANSWER_SIZE_MAX)
    message.verify(offer.server_public_key, ANSWER_TYPE)
    fields = Fields(decode(message.payload, size_max=ANSWER_SIZE_MAX), "pairing answer")
    fields.exactly(1, 1)
    id_ = fields.octets(2, 32)
    try:
        state = PairingState(fields.uint(3, 8))
    except ValueError as error:
        raise MalformedMessage(detail="pairing answer field 3 is not a known state") from error
    answer = PairingAnswer(
        request_id=id_,
        state=state,
        valid_seconds=fields.uint(4, 32),
        enrolment=fields.octets(5, 0, PAIRING_SIZE_MAX),
        sealed_keys=fields.octets(6, 0, _SEALED_LENGTH_MAX),
    )
    fields.finish()
    if bool(answer.enrolment and answer.sealed_keys) != (state is PairingState.APPROVED):
        raise MalformedMessage(detail="pairing answer whose state does not fit what it brings")
    if answer.request_id != offer.request_id:
        raise WrongSignature(what=ANSWER_TYPE)
    return answer
