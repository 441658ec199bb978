"""The auditor's own reading of what tills and server signed: docs/formats, docs/card-layout.md.

Written from those pages with cbor2 and cryptography alone, so that a mistake in the server's
reading is not repeated here. Bytes in, plain values out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VOUCHER_BYTES_MAX = 16_384
ACKNOWLEDGEMENT_BYTES_MAX = 128 * 1024
VOUCHER = "dobmi/voucher/1"
ACKNOWLEDGEMENT = "dobmi/ack/1"

SALE, IN_DOUBT, RESOLUTION, VOID, REFUND, DECISION = range(1, 7)
PAID, NOT_PAID = 1, 2

_TAG = 18
_START = b"\xd2\x84"
"""Tag 18, an array of four."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Malformed(Exception):
    """Bytes that are not of the format; `args[0]` says where."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A COSE_Sign1, its signature not checked yet."""

    protected: bytes
    payload: bytes
    signature: bytes
    key_id: bytes

    def is_by(self, public_key: bytes) -> bool:
        """Whether the holder of this Ed25519 key (32 bytes) signed it."""
        key = _key(public_key)
        if key is None or self.key_id != key[1]:
            return False
        # The CBOR array ["Signature1", protected, h'', payload].
        message = b"\x84\x6aSignature1" + _bytes(self.protected) + b"\x40" + _bytes(self.payload)
        try:
            key[0].verify(self.signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """What a till did. Fields that its kind has not are None or empty; `refers`: fields 17, 22."""

    signed: Signed
    hash: bytes
    kind: int
    terminal_id: int
    sequence: int
    previous_hash: bytes
    at: int
    uid: bytes
    amount: int | None
    evidence: bytes
    counter: int | None
    mac: bytes
    refers: int
    outcome: int
    supervisor: str
    reason: str
    seller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    signed: Signed
    terminal_id: int
    batch_hash: bytes
    head_sequence: int
    head_hash: bytes
    at: int
    quarantined: tuple[tuple[int, str], ...]


def parse_signed(data: bytes, content_type: str, bytes_max: int) -> Signed:
    """Raises Malformed."""
    if len(data) > bytes_max:
        raise Malformed("too long")
    message = _load(data)
    if not isinstance(message, cbor2.CBORTag) or message.tag != _TAG:
        raise Malformed("not tagged as COSE_Sign1")
    parts = message.value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise Malformed("not four parts")
    protected, unprotected, payload, signature = parts
    if not (
        isinstance(protected, bytes)
        and unprotected == {}
        and isinstance(payload, bytes)
        and isinstance(signature, bytes)
        and len(signature) == 64
    ):
        raise Malformed("not the parts of a COSE_Sign1")
    again = _START + _bytes(protected) + b"\xa0" + _bytes(payload) + _bytes(signature)
    if again != data:
        raise Malformed("not the one encoding of its content")
    # {1: -8 (EdDSA), 3: content type, 4: key id}: there is but one encoding of it.
    header = b"\xa3\x01\x27\x03" + bytes((0x60 + len(content_type),)) + content_type.encode()
    if len(protected) != len(header) + 10 or not protected.startswith(header + b"\x04\x48"):
        raise Malformed("another header")
    return Signed(protected, payload, signature, protected[-8:])


def parse_voucher(encoded: bytes, *, was_read: bool = False) -> Voucher:
    """A voucher as docs/formats/voucher.md has it. Raises Malformed.

    `was_read`: its payload was found to be the one encoding of its content already.
    """
    signed = parse_signed(encoded, VOUCHER, VOUCHER_BYTES_MAX)
    fields = _fields(signed.payload, was_read=was_read)
    kind = fields.get(2)
    expected = _FIELDS.get(kind) if isinstance(kind, int) else None
    if expected is None or not isinstance(kind, int) or isinstance(kind, bool):
        raise Malformed("an unknown kind")
    always, together = expected
    if set(fields) - set(together) != always or len(set(together) & set(fields)) not in {
        0,
        len(together),
    }:
        raise Malformed("other fields than its kind has")
    for number, value in fields.items():
        if not _CHECKS[number](value):
            raise Malformed(f"field {number}")
    voucher = Voucher(
        signed=signed,
        hash=hashlib.sha256(encoded).digest(),
        kind=kind,
        terminal_id=fields[3],
        sequence=fields[4],
        previous_hash=fields[5],
        at=fields[6],
        uid=fields[11],
        amount=fields.get(12),
        evidence=fields.get(13, b""),
        counter=fields.get(14),
        mac=fields.get(15, b""),
        refers=fields.get(17, fields.get(22, 0)),
        outcome=fields.get(18, 0),
        supervisor=fields.get(20, ""),
        reason=fields.get(21, ""),
        seller=fields.get(10, ""),
    )
    _check_whole(voucher, fields.get(16, ()))
    return voucher


def parse_acknowledgement(encoded: bytes) -> Acknowledgement:
    """docs/formats/acknowledgement.md. Raises Malformed."""
    signed = parse_signed(encoded, ACKNOWLEDGEMENT, ACKNOWLEDGEMENT_BYTES_MAX)
    fields = _fields(signed.payload)
    if set(fields) != set(range(1, 8)):
        raise Malformed("other fields than an acknowledgement has")
    checks: dict[int, _Check] = {
        2: _uint(32), 3: _bstr(32), 4: _uint(63), 5: _bstr(32), 6: _uint(63), 7: _is_list
    }  # fmt: skip
    for number, check in checks.items():
        if not check(fields[number]):
            raise Malformed(f"field {number}")
    listed = []
    for entry in fields[7]:
        if not (_is_list(entry) and len(entry) == 2):
            raise Malformed("field 7")
        if not (_uint(63)(entry[0]) and _text(80)(entry[1])):
            raise Malformed("field 7")
        listed.append((entry[0], entry[1]))
    return Acknowledgement(
        signed=signed,
        terminal_id=fields[2],
        batch_hash=fields[3],
        head_sequence=fields[4],
        head_hash=fields[5],
        at=fields[6],
        quarantined=tuple(listed),
    )


def genesis_hash(terminal_id: int, public_key: bytes) -> bytes:
    """What voucher 1 of a till holds in the place of the hash of one before it."""
    return hashlib.sha256(b"dobmi/chain/1" + terminal_id.to_bytes(4, "big") + public_key).digest()


def _load(data: bytes) -> Any:
    try:
        return cbor2.loads(data)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed("not CBOR") from error


def _fields(payload: bytes, *, was_read: bool = False) -> dict[int, Any]:
    """The map of a payload, in its one encoding."""
    fields = _load(payload)
    if type(fields) is not dict or not all(type(key) is int for key in fields):
        raise Malformed("not a map of numbered fields")
    if type(fields.get(1)) is not int or fields[1] != 1:
        raise Malformed("another version")
    try:
        again = payload if was_read else cbor2.dumps(fields, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed("not CBOR") from error
    if again != payload:
        raise Malformed("not the one encoding of its content")
    return fields


def _bytes(value: bytes) -> bytes:
    """A CBOR byte string with the shortest length."""
    length = len(value)
    if length < 24:
        return bytes((0x40 + length,)) + value
    if length < 1 << 8:
        return bytes((0x58, length)) + value
    return b"\x59" + length.to_bytes(2, "big") + value if length < 1 << 16 else _long(value)


def _long(value: bytes) -> bytes:
    return b"\x5a" + len(value).to_bytes(4, "big") + value


@lru_cache(maxsize=4_096)
def _key(public_key: bytes) -> tuple[Ed25519PublicKey, bytes] | None:
    """The key and its id; None if it is none."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
    except ValueError:
        return None
    return key, hashlib.sha256(public_key).digest()[:8]


_Check = Callable[[Any], bool]


def _uint(bits: int) -> _Check:
    return lambda value: type(value) is int and 0 <= value < 1 << bits


def _bstr(least: int, most: int | None = None) -> _Check:
    last = least if most is None else most
    return lambda value: isinstance(value, bytes) and least <= len(value) <= last


def _text(most: int) -> _Check:
    return lambda value: (
        isinstance(value, str) and len(value) <= most and _CONTROL.search(value) is None
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_goods(value: Any) -> bool:
    return _is_list(value) and len(value) <= 200 and all(_is_line(line) for line in value)


def _is_line(line: Any) -> bool:
    if not (_is_list(line) and len(line) == 4):
        return False
    name, quantity, price, discount = line
    return (
        _text(80)(name)
        and _uint(31)(quantity)
        and quantity > 0
        and _uint(31)(price)
        and _uint(63)(discount)
        and discount <= quantity * price
    )


_CHECKS: Mapping[int, _Check] = {
    1: _uint(8), 2: _uint(8), 3: _uint(32), 4: _uint(63), 5: _bstr(32), 6: _uint(63), 7: _uint(32),
    8: _text(80), 9: _text(80), 10: _text(80), 11: _bstr(4, 10), 12: _uint(63), 13: _bstr(1, 1024),
    14: _uint(32), 15: _bstr(8), 16: _is_goods, 17: _uint(63),
    18: lambda value: type(value) is int and value in (PAID, NOT_PAID),
    19: lambda value: type(value) is int and value in (1, 2, 3, 4),
    20: _text(80), 21: _text(200), 22: _uint(63),
}  # fmt: skip
_ALL = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 11))
_INTENT = _ALL | {9, 10, 12, 13, 16}
_FIELDS: Mapping[int, tuple[frozenset[int], tuple[int, ...]]] = {
    SALE: (_INTENT | {14, 15}, ()),
    IN_DOUBT: (_INTENT, ()),
    RESOLUTION: (_ALL | {17, 18}, (14, 15)),
    VOID: (_ALL | {12, 19}, ()),
    REFUND: (_ALL | {12, 16, 20, 21, 22}, ()),
    DECISION: (_ALL | {17, 18, 20, 21}, ()),
}
"""By kind: the fields it always has, and those that come together or not at all."""


def _check_whole(voucher: Voucher, goods: Any) -> None:
    """What fields say of each other."""
    if voucher.sequence < 1:
        raise Malformed("sequences begin at 1")
    if voucher.refers >= voucher.sequence or (
        voucher.kind in (RESOLUTION, REFUND, DECISION) and voucher.refers < 1
    ):
        raise Malformed("it speaks of a voucher that is not before it")
    if voucher.kind == RESOLUTION and voucher.counter is not None and voucher.outcome != PAID:
        raise Malformed("a card's MAC for a sale that was not paid")
    if voucher.kind in (REFUND, DECISION) and not voucher.reason:
        raise Malformed("no reason")
    if voucher.kind == REFUND and not voucher.amount:
        raise Malformed("a refund of nothing")
    if voucher.kind == DECISION and not voucher.supervisor:
        raise Malformed("a decision of nobody")
    if goods and sum(count * price - off for _, count, price, off in goods) != voucher.amount:
        raise Malformed("the goods do not come to the amount")
