"""The voucher: what a till did, as a link of its chain. docs/formats/voucher.md has the bytes.

A voucher is a COSE_Sign1 (content type `dobmi/voucher/1`) by the till's Ed25519 key over
deterministic CBOR. Its hash is SHA-256 over the whole encoded COSE_Sign1; voucher n holds the hash
of voucher n-1, so a signature over the newest hash commits to every voucher before it, signatures
included.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar, assert_never, cast

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import (
    CborValue,
    Fields,
    decode,
    encode,
    is_plain,
    uint_from_bytes,
    uint_to_bytes,
)
from dobmi.sync.cose import SIGNATURE_LENGTH, Sign, parse_sign1, sign1, start_of_sign1
from dobmi.sync.errors import BrokenChain, MalformedMessage

_E = TypeVar("_E", bound=IntEnum)

CONTENT_TYPE = "dobmi/voucher/1"
VOUCHER_SIZE_MAX = 16_384
HASH_LENGTH = 32
GOODS_LINES_MAX = 200
EVIDENCE_SIZE_MAX = 1024
TEXT_LENGTH_MAX = 80
REASON_LENGTH_MAX = 200


class VoucherKind(IntEnum):
    SALE = 1
    IN_DOUBT = 2
    RESOLUTION = 3
    VOID = 4
    REFUND = 5
    DECISION = 6


class Outcome(IntEnum):
    """What became of a sale in doubt: as the till found it on the card, or as a person decided."""

    PAID = 1
    NOT_PAID = 2


class VoidReason(IntEnum):
    """Why an intent ended with no money moved. The commit was never sent."""

    CARD_REMOVED = 1
    CARD_REFUSED = 2
    READER_FAILED = 3
    CANCELLED = 4


@dataclass(frozen=True, slots=True)
class GoodsLine:
    """One line of the cart: `quantity` pieces at `unit_price`, less `discount` on the line."""

    name: str
    quantity: int
    unit_price: Rupiah
    discount: Rupiah = ZERO

    @property
    def amount(self) -> Rupiah:
        return self.unit_price * self.quantity - self.discount


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What every voucher says: which till, where in its chain, when and by whom."""

    terminal_id: int
    sequence: int
    previous_hash: bytes
    unix_seconds: int
    shift: int
    cashier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A sale as it stood before the commit was sent.

    `with_pin`: the till says that the card had proved the member's PIN. Nothing on the card does.
    """

    card_uid: bytes
    amount: Rupiah
    evidence: bytes
    issuer: str
    seller: str
    goods: tuple[GoodsLine, ...] = ()
    with_pin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleVoucher:
    """A sale the card committed, with its counter and transaction MAC over the evidence."""

    link: Link
    intent: Intent
    card_counter: int
    card_mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubtVoucher:
    """A sale whose commit was sent and whose answer never came."""

    link: Link
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionVoucher:
    """What the card itself told later of the in-doubt sale number `resolves`.

    Counter and MAC are there if it was paid and no other transaction came after it on the card.
    """

    link: Link
    resolves: int
    card_uid: bytes
    outcome: Outcome
    card_counter: int | None = None
    card_mac: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidVoucher:
    """An intent that ended before its commit was sent: no money moved."""

    link: Link
    card_uid: bytes
    amount: Rupiah
    reason: VoidReason


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionVoucher:
    """What a person decided of the in-doubt sale number `resolves`: a claim, which proves nothing.

    The card was not asked. `decided_by` names the supervisor, `reason` says why, in words.
    """

    link: Link
    resolves: int
    card_uid: bytes
    outcome: Outcome
    decided_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundVoucher:
    """Money of the till's own paid sale number `refunds` given back: a credit for the card's member.

    Nothing is on the card by this. `amount` is above nought and at most the sale's; several refunds
    of a sale come to no more than it. `reason` is not empty. `supervisor` may be, for a sale of the
    shift that is still open.
    """

    link: Link
    refunds: int
    card_uid: bytes
    amount: Rupiah
    reason: str
    supervisor: str = ""
    goods: tuple[GoodsLine, ...] = ()


Voucher = (
    SaleVoucher | InDoubtVoucher | ResolutionVoucher | VoidVoucher | RefundVoucher | DecisionVoucher
)


def genesis_hash(terminal_id: int, public_key: bytes) -> bytes:
    """The `previous_hash` of a till's first voucher: 32 bytes, different for every till and key."""
    return hashlib.sha256(b"dobmi/chain/1" + terminal_id.to_bytes(4, "big") + public_key).digest()


def voucher_hash(encoded: bytes) -> bytes:
    """SHA-256 over the encoded COSE_Sign1."""
    return hashlib.sha256(encoded).digest()


def encode_voucher(voucher: Voucher, public_key: bytes, sign: Sign) -> bytes:
    """The signed bytes of `voucher`. Raises ValueError if it says what the format cannot hold."""
    encoded = sign1(encode(_to_cbor(voucher)), CONTENT_TYPE, public_key, sign)
    try:
        again = decode_voucher(encoded)
    except MalformedMessage as error:
        msg = f"a voucher that could not be read back: {error.explain()}"
        raise ValueError(msg) from error
    if again != voucher:
        msg = "a voucher that reads back as another"
        raise ValueError(msg)
    return encoded


def decode_voucher(encoded: bytes) -> Voucher:
    """Read a voucher strictly, without checking its signature. Raises MalformedMessage."""
    message = parse_sign1(encoded, size_max=VOUCHER_SIZE_MAX)
    if message.content_type != CONTENT_TYPE:
        raise MalformedMessage(detail="not a voucher")
    return _from_cbor(decode(message.payload, size_max=VOUCHER_SIZE_MAX))


def verify_voucher(encoded: bytes, public_key: bytes) -> Voucher:
    """Read a voucher and check its signature. Raises MalformedMessage, WrongSignature."""
    message = parse_sign1(encoded, size_max=VOUCHER_SIZE_MAX)
    payload = message.verify(public_key, CONTENT_TYPE)
    return _from_cbor(decode(payload, size_max=VOUCHER_SIZE_MAX))


def follow_chain(
    vouchers: list[bytes], terminal_id: int, first_sequence: int, previous_hash: bytes
) -> list[tuple[Voucher, bytes]]:
    """Each voucher with its hash, if they follow each other from `previous_hash` on.

    Raises MalformedMessage, BrokenChain.
    """
    followed = []
    for sequence, encoded in enumerate(vouchers, start=first_sequence):
        voucher = _decode_link(encoded, terminal_id, sequence, previous_hash)
        previous_hash = voucher_hash(encoded)
        followed.append((voucher, previous_hash))
    return followed


def _decode_link(encoded: bytes, terminal_id: int, sequence: int, previous_hash: bytes) -> Voucher:
    """Raises MalformedMessage, BrokenChain."""
    voucher = decode_voucher(encoded)
    link = voucher.link
    if link.terminal_id != terminal_id:
        raise BrokenChain(sequence=sequence, detail="it is of another till")
    if link.sequence != sequence:
        raise BrokenChain(sequence=sequence, detail=f"number {link.sequence} stands there")
    if link.previous_hash != previous_hash:
        raise BrokenChain(sequence=sequence, detail="it does not follow the one before")
    return voucher


class SaleFields(NamedTuple):
    """What a receiver needs of a sale whose place in the chain is checked; the goods add up."""

    unix_seconds: int
    seller: str
    card_uid: bytes
    amount_rupiah: int
    evidence: bytes
    card_counter: int
    card_mac: bytes


def read_chain(
    vouchers: list[bytes],
    terminal_id: int,
    first_sequence: int,
    previous_hash: bytes,
    public_key: bytes,
) -> tuple[list[SaleFields | Voucher], bytes]:
    """As `follow_chain`, ten times as fast for sales as most are; and the last one's hash.

    A sale's one encoding leaves so little open that the next one of a till is mostly known
    beforehand. What does not look so, sale or not, is read as `decode_voucher` reads it.
    Raises MalformedMessage, BrokenChain.
    """
    envelope = start_of_sign1(CONTENT_TYPE, public_key) + b"\x59"
    start = b"\xb0\x01\x01\x02\x01\x03" + encode(terminal_id) + b"\x04"
    read: list[SaleFields | Voucher] = []
    for sequence, encoded in enumerate(vouchers, start=first_sequence):
        expected = start + uint_to_bytes(sequence) + b"\x05\x58\x20" + previous_hash
        sale = _read_plain_sale(encoded, envelope, expected)
        read.append(sale or _decode_link(encoded, terminal_id, sequence, previous_hash))
        previous_hash = voucher_hash(encoded)
    return read, previous_hash


_UINT_32 = rb"([\0-\x17]|\x18[\x18-\xff]|\x19(?!\0)..|\x1a(?!\0\0)....)"  # each in its fewest bytes
_UINT_63 = _UINT_32[:-1] + rb"|\x1b(?!\0{4})[\0-\x7f].{7})"
_REST_OF_SALE = re.compile(
    rb"\x06" + _UINT_63 + rb"\x07" + _UINT_32 +  # time, shift
    rb"(\x08.{3,1000}?)"  # cashier, issuer, seller
    rb"\x0b\x47(.{7})"  # card UID
    rb"\x0c" + _UINT_63 +  # amount
    rb"\x0d\x59\x01\0(.{256})"  # evidence
    rb"\x0e" + _UINT_32 +  # counter
    rb"\x0f\x48(.{8})"  # MAC
    rb"\x10(.+)"  # goods
    rb"\x58\x40.{64}",  # signature
    re.DOTALL,
)  # fmt: skip
"""A sale's payload from field 6 on, of a 7-byte UID and 256 bytes of evidence."""


def _read_plain_sale(encoded: bytes, envelope: bytes, expected: bytes) -> SaleFields | None:
    """The sale, if it is in `envelope` and begins as `expected`; None if it must be looked at."""
    begin = len(envelope) + 2
    payload_length = len(encoded) - begin - 2 - SIGNATURE_LENGTH
    if not (
        payload_length >= 256
        and len(encoded) <= VOUCHER_SIZE_MAX
        and encoded.startswith(envelope)
        and encoded[begin - 2 : begin] == payload_length.to_bytes(2, "big")
        and encoded.startswith(expected, begin)
    ):
        return None
    found = _REST_OF_SALE.fullmatch(encoded, begin + len(expected))
    if found is None:
        return None
    time, _, names, card_uid, amount, evidence, counter, card_mac, goods = found.groups()
    seller, amount_rupiah = _read_seller(names), uint_from_bytes(amount)
    if seller is None or not (goods == _NO_GOODS or _add_up(goods, amount_rupiah)):
        return None
    return SaleFields(
        uint_from_bytes(time),
        seller,
        card_uid,
        amount_rupiah,
        evidence,
        uint_from_bytes(counter),
        card_mac,
    )


_NO_GOODS = encode([])


@lru_cache(maxsize=1024)  # a till's vouchers of one shift repeat it
def _read_seller(names: bytes) -> str | None:
    """The seller, if these bytes are the fields cashier, issuer and seller and nothing else."""
    try:
        fields = Fields(decode(b"\xa3" + names, size_max=VOUCHER_SIZE_MAX), "names")
        _, _, seller = (fields.text(key, TEXT_LENGTH_MAX) for key in (8, 9, 10))
    except MalformedMessage:
        return None
    return seller


def _add_up(goods: bytes, amount_rupiah: int) -> bool:
    """Whether these bytes are goods lines that come to the amount."""
    try:
        lines = decode(goods, size_max=VOUCHER_SIZE_MAX)
        if not isinstance(lines, list) or len(lines) > GOODS_LINES_MAX:
            return False
        total = 0
        for line in lines:
            _, quantity, unit_price, discount = _line_fields(line)
            total += unit_price * quantity - discount
    except MalformedMessage:
        return False
    return total == amount_rupiah


def goods_to_cbor(goods: tuple[GoodsLine, ...]) -> list[CborValue]:
    """Field 16: for each line name, quantity, unit price and discount."""
    return [
        [line.name, line.quantity, line.unit_price.amount, line.discount.amount] for line in goods
    ]


def goods_from_cbor(lines: Iterable[CborValue]) -> tuple[GoodsLine, ...]:
    """Raises MalformedMessage."""
    return tuple(_goods_line(line) for line in lines)


def _to_cbor(voucher: Voucher) -> CborValue:
    link = voucher.link
    fields: dict[int, CborValue] = {
        1: 1,
        3: link.terminal_id,
        4: link.sequence,
        5: link.previous_hash,
        6: link.unix_seconds,
        7: link.shift,
        8: link.cashier,
    }
    match voucher:
        case SaleVoucher():
            fields |= {2: VoucherKind.SALE.value, **_intent_to_cbor(voucher.intent)}
            fields |= {14: voucher.card_counter, 15: voucher.card_mac}
        case InDoubtVoucher():
            fields |= {2: VoucherKind.IN_DOUBT.value, **_intent_to_cbor(voucher.intent)}
        case ResolutionVoucher():
            fields |= {2: VoucherKind.RESOLUTION.value, 11: voucher.card_uid}
            fields |= {17: voucher.resolves, 18: voucher.outcome.value}
            if voucher.card_counter is not None and voucher.card_mac is not None:
                fields |= {14: voucher.card_counter, 15: voucher.card_mac}
        case VoidVoucher():
            fields |= {2: VoucherKind.VOID.value, 11: voucher.card_uid}
            fields |= {12: voucher.amount.amount, 19: voucher.reason.value}
        case RefundVoucher():
            fields |= {2: VoucherKind.REFUND.value, 11: voucher.card_uid}
            fields |= {12: voucher.amount.amount, 16: goods_to_cbor(voucher.goods)}
            fields |= {20: voucher.supervisor, 21: voucher.reason, 22: voucher.refunds}
        case DecisionVoucher():
            fields |= {2: VoucherKind.DECISION.value, 11: voucher.card_uid}
            fields |= {17: voucher.resolves, 18: voucher.outcome.value}
            fields |= {20: voucher.decided_by, 21: voucher.reason}
        case _:
            assert_never(voucher)
    return fields


def _intent_to_cbor(intent: Intent) -> dict[int, CborValue]:
    fields: dict[int, CborValue] = {
        9: intent.issuer,
        10: intent.seller,
        11: intent.card_uid,
        12: intent.amount.amount,
        13: intent.evidence,
        16: goods_to_cbor(intent.goods),
    }
    if intent.with_pin:
        fields[23] = 1
    return fields


def _from_cbor(value: CborValue) -> Voucher:
    fields = Fields(value, "voucher")
    fields.exactly(1, 1)
    kind = _member(VoucherKind, fields.uint(2, 8), "voucher kind")
    link = Link(
        terminal_id=fields.uint(3, 32),
        sequence=fields.uint(4),
        previous_hash=fields.octets(5, HASH_LENGTH),
        unix_seconds=fields.uint(6),
        shift=fields.uint(7, 32),
        cashier=fields.text(8, TEXT_LENGTH_MAX),
    )
    voucher: Voucher
    match kind:
        case VoucherKind.SALE:
            voucher = SaleVoucher(
                link=link,
                intent=_intent_from_cbor(fields),
                card_counter=fields.uint(14, 32),
                card_mac=fields.octets(15, 8),
            )
        case VoucherKind.IN_DOUBT:
            voucher = InDoubtVoucher(link=link, intent=_intent_from_cbor(fields))
        case VoucherKind.RESOLUTION:
            voucher = _resolution(fields, link)
        case VoucherKind.VOID:
            voucher = VoidVoucher(
                link=link,
                card_uid=fields.octets(11, 4, 10),
                amount=Rupiah(fields.uint(12)),
                reason=_member(VoidReason, fields.uint(19, 8), "void reason"),
            )
        case VoucherKind.REFUND:
            amount, goods = _amount_and_goods(fields)
            voucher = RefundVoucher(
                link=link,
                refunds=fields.uint(22),
                card_uid=fields.octets(11, 4, 10),
                amount=amount,
                reason=fields.text(21, REASON_LENGTH_MAX),
                supervisor=fields.text(20, TEXT_LENGTH_MAX),
                goods=goods,
            )
            if not 0 < voucher.refunds < link.sequence:
                raise MalformedMessage(detail="refunds a sale that does not come before it")
            if amount <= ZERO or not voucher.reason:
                raise MalformedMessage(detail="a refund of nothing, or for no reason")
        case VoucherKind.DECISION:
            voucher = _decision(fields, link)
        case _:
            assert_never(kind)
    fields.finish()
    return voucher


def _resolution(fields: Fields, link: Link) -> ResolutionVoucher:
    outcome = _member(Outcome, fields.uint(18, 8), "outcome")
    vouched = fields.has(14) or fields.has(15)
    if vouched and outcome is not Outcome.PAID:
        raise MalformedMessage(detail="a card MAC for a sale that was not paid")
    voucher = ResolutionVoucher(
        link=link,
        resolves=fields.uint(17),
        card_uid=fields.octets(11, 4, 10),
        outcome=outcome,
        card_counter=fields.uint(14, 32) if vouched else None,
        card_mac=fields.octets(15, 8) if vouched else None,
    )
    if not 0 < voucher.resolves < link.sequence:
        raise MalformedMessage(detail="resolves a voucher that does not come before it")
    return voucher


def _decision(fields: Fields, link: Link) -> DecisionVoucher:
    voucher = DecisionVoucher(
        link=link,
        resolves=fields.uint(17),
        card_uid=fields.octets(11, 4, 10),
        outcome=_member(Outcome, fields.uint(18, 8), "outcome"),
        decided_by=fields.text(20, TEXT_LENGTH_MAX),
        reason=fields.text(21, REASON_LENGTH_MAX),
    )
    if not 0 < voucher.resolves < link.sequence:
        raise MalformedMessage(detail="decides a voucher that does not come before it")
    if not (voucher.decided_by and voucher.reason):
        raise MalformedMessage(detail="a decision without a name or a reason")
    return voucher


def _intent_from_cbor(fields: Fields) -> Intent:
    amount, goods = _amount_and_goods(fields)
    with_pin = fields.has(23)
    if with_pin:
        fields.exactly(23, 1)
    return Intent(
        card_uid=fields.octets(11, 4, 10),
        amount=amount,
        evidence=fields.octets(13, 1, EVIDENCE_SIZE_MAX),
        issuer=fields.text(9, TEXT_LENGTH_MAX),
        seller=fields.text(10, TEXT_LENGTH_MAX),
        goods=goods,
        with_pin=with_pin,
    )


def _amount_and_goods(fields: Fields) -> tuple[Rupiah, tuple[GoodsLine, ...]]:
    amount = Rupiah(fields.uint(12))
    goods = goods_from_cbor(fields.items(16, GOODS_LINES_MAX))
    if goods and sum(line.amount.amount for line in goods) != amount.amount:
        raise MalformedMessage(detail="the goods do not add up to the amount")
    return amount, goods


def _goods_line(item: CborValue) -> GoodsLine:
    name, quantity, unit_price, discount = _line_fields(item)
    return GoodsLine(name, quantity, Rupiah(unit_price), Rupiah(discount))


def _line_fields(item: CborValue) -> tuple[str, int, int, int]:
    """Name, quantity, unit price and discount. Raises MalformedMessage."""
    if isinstance(item, list) and tuple(map(type, item)) == (str, int, int, int):
        name, quantity, unit_price, discount = cast(tuple[str, int, int, int], item)
        if (
            len(name) <= TEXT_LENGTH_MAX
            and is_plain(name)
            and 0 < quantity < 1 << 31
            and 0 <= unit_price < 1 << 31
            and 0 <= discount <= unit_price * quantity
        ):
            return name, quantity, unit_price, discount
    raise MalformedMessage(detail="not a goods line")


def _member(of: type[_E], value: int, what: str) -> _E:
    try:
        return of(value)
    except ValueError as error:
        raise MalformedMessage(detail=f"unknown {what} {value}") from error
