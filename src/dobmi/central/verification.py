"""Believing a voucher or not: bytes in, verdicts out. No database, no clock.

What is posted is taken from inside the card's evidence, which the card's transaction MAC covers;
what the till claims beside it must be the same.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, assert_never

from dobmi.cardlib.errors import DamagedCardData, ImplausibleEvidence, WrongTransactionMac
from dobmi.cardlib.evidence import (
    SaleEvidence,
    parse_sale_evidence,
    previous_reader_id,
    read_sale_evidence,
    verify_evidence,
)
from dobmi.cardlib.purse_layout import ReaderId
from dobmi.cardlib.transaction_mac import mac_and_previous_reader_id
from dobmi.money import ZERO, Rupiah
from dobmi.sync.batch import UncheckedBatch
from dobmi.sync.voucher import (
    DecisionVoucher,
    InDoubtVoucher,
    Intent,
    Link,
    RefundVoucher,
    ResolutionVoucher,
    SaleFields,
    SaleVoucher,
    VoidVoucher,
    Voucher,
    VoucherKind,
    decode_voucher,
)

FOREIGN_READER = ReaderId(terminal_id=0xFFFFFFFF, sequence=0)
"""Stands for a previous reader id that is none of ours."""

MacKeyOf = Callable[[bytes, int], bytes]
"""The transaction MAC key of the card `uid`, of a key version: 16 bytes. Raises KeyNotHeld."""


class Reason(StrEnum):
    """Why a voucher is kept but not posted."""

    UNKNOWN_CARD = "unknown-card"
    IMPLAUSIBLE_EVIDENCE = "implausible-evidence"
    CLAIM_DIFFERS = "claim-differs"
    WRONG_CARD_MAC = "wrong-card-mac"
    DUPLICATE_COUNTER = "duplicate-counter"
    RESOLVES_NOTHING = "resolves-nothing"
    REFUNDS_NOTHING = "refunds-nothing"
    REFUND_TOO_MUCH = "refund-too-much"
    DECIDED_ALREADY = "decided-already"
    TOO_MANY_DOUBTS = "too-many-doubts"
    CANNOT_BE_POSTED = "cannot-be-posted"
    """The program or the database fails on it."""


class CardFacts(NamedTuple):
    """What the issuer knows of a card."""

    uid: bytes
    serial: int
    member_number: int
    mac_key_version: int
    blocked: bool = False
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class VerifiedSale:
    """The card vouches for all of it. `previous` is None for the card's first transaction."""

    voucher: SaleVoucher
    evidence: SaleEvidence
    previous: ReaderId | None


@dataclass(frozen=True, slots=True)
class PlausibleDoubt:
    """The intent's evidence is what the till says; no MAC vouches for it yet."""

    voucher: InDoubtVoucher
    evidence: SaleEvidence


@dataclass(frozen=True, slots=True)
class Noted:
    """A till's word without the card's, weighed when it is posted."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class Refused:
    voucher: Voucher
    reason: Reason
    detail: str = ""


Verdict = VerifiedSale | PlausibleDoubt | Noted | Refused


def judge(voucher: Voucher, cards: Mapping[bytes, CardFacts], mac_key_of: MacKeyOf) -> Verdict:
    """The verdict on one voucher whose chain and signature hold.

    `cards` has at least the card the voucher names, if it was ever registered.
    """
    card = cards.get(uid_of(voucher))
    if card is None:
        return Refused(voucher, Reason.UNKNOWN_CARD)
    if isinstance(voucher, SaleVoucher | InDoubtVoucher):
        return _judge_intent(voucher, card, mac_key_of)
    return Noted(voucher)


def _judge_intent(
    voucher: SaleVoucher | InDoubtVoucher, card: CardFacts, mac_key_of: MacKeyOf
) -> Verdict:
    try:
        evidence = parse_sale_evidence(voucher.intent.evidence)
    except ImplausibleEvidence as error:
        return Refused(voucher, Reason.IMPLAUSIBLE_EVIDENCE, error.explain())
    difference = _difference(voucher.link, voucher.intent, evidence, card)
    if difference:
        return Refused(voucher, Reason.CLAIM_DIFFERS, difference)
    if isinstance(voucher, InDoubtVoucher):
        return PlausibleDoubt(voucher, evidence)
    mac_key = mac_key_of(card.uid, card.mac_key_version)
    counter, mac = voucher.card_counter, voucher.card_mac
    if not card_vouches(mac_key, card.uid, counter, mac, voucher.intent.evidence):
        return Refused(voucher, Reason.WRONG_CARD_MAC)
    encrypted = evidence.encrypted_previous_reader_id
    return VerifiedSale(voucher, evidence, previous_of(mac_key, card.uid, counter, encrypted))


class Sale(NamedTuple):
    """A verified sale as the columns of a row. Amounts are whole rupiah, from the evidence.

    `previous_…` is who made the card's transaction before: None for its first, FOREIGN_READER's
    numbers for none of ours. `with_pin` is the till's word.
    """

    sequence: int
    unix_seconds: int
    seller: str
    card_uid: bytes
    card_counter: int
    amount_rupiah: int
    balance_before_rupiah: int
    previous_terminal_id: int | None
    previous_sequence: int | None
    with_pin: bool = False


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """The verdicts on a batch: its verified sales as rows, and by sequence all others.

    Plain enough to come out of another process.
    """

    sales: list[Sale]
    others: list[tuple[int, PlausibleDoubt | Noted | Refused]]


def cards_of(read: Iterable[SaleFields | Voucher]) -> set[bytes]:
    """The UIDs of the cards that they name."""
    return {item.card_uid if isinstance(item, SaleFields) else uid_of(item) for item in read}


def judge_batch(
    batch: UncheckedBatch,
    read: Sequence[SaleFields | Voucher],
    cards: Mapping[bytes, CardFacts],
    mac_key_of: MacKeyOf,
) -> JudgedBatch:
    """What `judge` says of each voucher of the batch, given as `UncheckedBatch.read` read it.

    Only a sale without fault is decided here. What is wrong with another, `judge` says.
    """
    judged = JudgedBatch([], [])
    head = batch.head
    for position, item in enumerate(read):
        sequence = head.first_sequence + position
        if isinstance(item, SaleFields):
            card = cards.get(item.card_uid)
            sale = _verify_sale(head.terminal_id, sequence, item, card, mac_key_of)
            if sale is not None:
                judged.sales.append(sale)
                continue
            voucher: Voucher = decode_voucher(batch.vouchers[position])
        else:
            voucher = item
        verdict = judge(voucher, cards, mac_key_of)
        if isinstance(verdict, VerifiedSale):
            judged.sales.append(_row_of(verdict))
        else:
            judged.others.append((sequence, verdict))
    return judged


def _verify_sale(
    terminal_id: int,
    sequence: int,
    sale: SaleFields,
    card: CardFacts | None,
    mac_key_of: MacKeyOf,
) -> Sale | None:
    """The row, if the card vouches for all that the till claims; None if `judge` must look."""
    parts = read_sale_evidence(sale.evidence)
    if card is None or parts is None:
        return None
    till, number, encrypted, member_number, serial, balance_before, amount = parts
    counter = sale.card_counter
    if not (
        till == terminal_id
        and number == sequence
        and amount == sale.amount_rupiah > 0
        and member_number == card.member_number
        and serial == card.serial
        and counter > 0
    ):
        return None
    key = mac_key_of(card.uid, card.mac_key_version)
    mac, reader_id = mac_and_previous_reader_id(key, card.uid, counter, sale.evidence, encrypted)
    if not hmac.compare_digest(mac, sale.card_mac):
        return None
    previous_terminal_id, previous_sequence = _numbers_of(reader_id)
    return Sale(
        sequence,
        sale.unix_seconds,
        sale.seller,
        sale.card_uid,
        counter,
        amount,
        balance_before,
        previous_terminal_id,
        previous_sequence,
    )


def _numbers_of(reader_id: bytes) -> tuple[int, int] | tuple[None, None]:
    """Terminal and sequence, as `previous_of` and `ReaderId.decode` have them."""
    if reader_id[:4] == b"DBMI":
        return int.from_bytes(reader_id[4:8], "big"), int.from_bytes(reader_id[8:], "big")
    if reader_id == bytes(16):
        return None, None
    return FOREIGN_READER.terminal_id, FOREIGN_READER.sequence


def _row_of(verified: VerifiedSale) -> Sale:
    voucher, evidence, previous = verified.voucher, verified.evidence, verified.previous
    return Sale(
        sequence=voucher.link.sequence,
        unix_seconds=voucher.link.unix_seconds,
        seller=voucher.intent.seller,
        card_uid=voucher.intent.card_uid,
        card_counter=voucher.card_counter,
        amount_rupiah=evidence.amount.amount,
        balance_before_rupiah=evidence.balance_before.amount,
        previous_terminal_id=None if previous is None else previous.terminal_id,
        previous_sequence=None if previous is None else previous.sequence,
        with_pin=voucher.intent.with_pin,
    )


def card_vouches(mac_key: bytes, uid: bytes, counter: int, mac: bytes, evidence: bytes) -> bool:
    """Whether the card made this MAC over this evidence as transaction number `counter`."""
    try:
        verify_evidence(mac_key, uid, counter, mac, evidence)
    except (WrongTransactionMac, ValueError):  # ValueError: counter 0, a UID of another length
        return False
    return True


def previous_of(mac_key: bytes, uid: bytes, counter: int, encrypted: bytes) -> ReaderId | None:
    """The reader id before transaction `counter`, FOREIGN_READER when it is none of ours."""
    try:
        return previous_reader_id(mac_key, uid, counter, encrypted)
    except DamagedCardData:
        return FOREIGN_READER


def find_counter(
    mac_key: bytes, uid: bytes, encrypted: bytes, first: int, last: int
) -> tuple[int, ReaderId | None] | None:
    """The transaction number, from `first` to `last`, that `encrypted` was made for, by trial.

    The previous reader id is encrypted under a key of the transaction's own number, so at any
    other number it decrypts to no reader id of ours (by chance once in 2^32 trials).
    """
    for counter in range(last, max(first, 1) - 1, -1):
        try:
            previous = previous_reader_id(mac_key, uid, counter, encrypted)
        except DamagedCardData:
            continue
        if (previous is None) == (counter == 1):
            return counter, previous
    return None


def uid_of(voucher: Voucher) -> bytes:
    if isinstance(voucher, SaleVoucher | InDoubtVoucher):
        return voucher.intent.card_uid
    return voucher.card_uid


def amount_of(voucher: Voucher) -> Rupiah | None:
    """What the till claims, where it claims an amount."""
    match voucher:
        case SaleVoucher() | InDoubtVoucher():
            return voucher.intent.amount
        case RefundVoucher():
            return voucher.amount
        case _:
            return None


def kind_of(voucher: Voucher) -> VoucherKind:
    match voucher:
        case SaleVoucher():
            return VoucherKind.SALE
        case InDoubtVoucher():
            return VoucherKind.IN_DOUBT
        case VoidVoucher():
            return VoucherKind.VOID
        case ResolutionVoucher():
            return VoucherKind.RESOLUTION
        case RefundVoucher():
            return VoucherKind.REFUND
        case DecisionVoucher():
            return VoucherKind.DECISION
        case _:
            assert_never(voucher)


def _difference(link: Link, intent: Intent, evidence: SaleEvidence, card: CardFacts) -> str:
    """What the till claims otherwise than the evidence; empty when all is the same."""
    reader_id = ReaderId(terminal_id=link.terminal_id, sequence=link.sequence)
    pairs = (
        ("reader id", reader_id, evidence.reader_id),
        ("amount", intent.amount, evidence.amount),
        ("member", card.member_number, evidence.holder.member_number),
        ("card serial", card.serial, evidence.holder.card_serial),
    )
    for what, claimed, vouched in pairs:
        if claimed != vouched:
            return f"{what}: {claimed} claimed, {vouched} in the evidence"
    if evidence.amount <= ZERO:
        return "an amount that is not above nought"
    return ""
