"""What the central server signs when it has taken a batch: the chain's head is durable with it.

COSE_Sign1, content type `dobmi/ack/1`. A replayed batch gets the original bytes again.
"""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.sync.cbor import CborValue, Fields, decode, encode
from dobmi.sync.cose import Sign, parse_sign1, sign1
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.voucher import HASH_LENGTH

CONTENT_TYPE = "dobmi/ack/1"
ACKNOWLEDGEMENT_SIZE_MAX = 128 * 1024
_REASON_LENGTH_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """All vouchers up to `head_sequence`, whose hash is `head_hash`, are kept for good.

    `quarantined` names those of this batch that were kept but not posted, with the reason's code.
    """

    terminal_id: int
    batch_hash: bytes
    head_sequence: int
    head_hash: bytes
    unix_seconds: int
    quarantined: tuple[tuple[int, str], ...] = ()


def encode_acknowledgement(ack: Acknowledgement, public_key: bytes, sign: Sign) -> bytes:
    quarantined: list[CborValue] = [[sequence, code] for sequence, code in ack.quarantined]
    payload = encode(
        {
            1: 1,
            2: ack.terminal_id,
            3: ack.batch_hash,
            4: ack.head_sequence,
            5: ack.head_hash,
            6: ack.unix_seconds,
            7: quarantined,
        }
    )
    return sign1(payload, CONTENT_TYPE, public_key, sign)


def verify_acknowledgement(data: bytes, server_public_key: bytes) -> Acknowledgement:
    """Raises MalformedMessage, WrongSignature."""
    message = parse_sign1(data, size_max=ACKNOWLEDGEMENT_SIZE_MAX)
    payload = message.verify(server_public_key, CONTENT_TYPE)
    fields = Fields(decode(payload, size_max=ACKNOWLEDGEMENT_SIZE_MAX), "acknowledgement")
    fields.exactly(1, 1)
    ack = Acknowledgement(
        terminal_id=fields.uint(2, 32),
        batch_hash=fields.octets(3, HASH_LENGTH),
        head_sequence=fields.uint(4),
        head_hash=fields.octets(5, HASH_LENGTH),
        unix_seconds=fields.uint(6),
        quarantined=tuple(_quarantined(item) for item in fields.items(7, 500)),
    )
    fields.finish()
    return ack


def _quarantined(item: CborValue) -> tuple[int, str]:
    match item:
        case [int(sequence), str(code)] if len(code) <= _REASON_LENGTH_MAX:
            return sequence, code
    raise MalformedMessage(detail="not a quarantined voucher")
