"""The verification of vouchers as it was before it was made fast: each check written out, one by one.

The oracle of tests/central/test_fast_verification.py and the yardstick of benchmarks/verify.py. It
shares the types with the program, and the errors, and none of the reading and deciding.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TypeVar, assert_never

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from dobmi.cardlib.crypto import BlockCipher, cmac, truncate_mac
from dobmi.cardlib.errors import DamagedCardData, ImplausibleEvidence, WrongTransactionMac
from dobmi.cardlib.evidence import SaleEvidence
from dobmi.cardlib.purse_layout import (
    HOLDER_LENGTH,
    READER_ID_LENGTH,
    RECORD_LENGTH,
    FileNo,
    LogRecord,
    ReaderId,
    RecordKind,
    parse_holder,
)
from dobmi.cardlib.transaction_mac import (
    COUNTER_MAX,
    UID_LENGTH,
    TransactionKeys,
    TransactionMac,
)
from dobmi.central.verification import (
    FOREIGN_READER,
    CardFacts,
    Noted,
    PlausibleDoubt,
    Reason,
    Refused,
    Verdict,
    VerifiedSale,
)
from dobmi.money import ZERO, Rupiah
from dobmi.sync.batch import BATCH_SIZE_MAX, VOUCHERS_MAX, BatchHead, UncheckedBatch
from dobmi.sync.batch import CONTENT_TYPE as HEAD_CONTENT_TYPE
from dobmi.sync.cbor import DEPTH_MAX, CborValue
from dobmi.sync.cose import KEY_ID_LENGTH, SIGNATURE_LENGTH, Sign1
from dobmi.sync.errors import BrokenChain, MalformedMessage, WrongSignature
from dobmi.sync.voucher import (
    CONTENT_TYPE,
    EVIDENCE_SIZE_MAX,
    GOODS_LINES_MAX,
    HASH_LENGTH,
    REASON_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    VOUCHER_SIZE_MAX,
    DecisionVoucher,
    GoodsLine,
    InDoubtVoucher,
    Intent,
    Link,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
    Voucher,
    VoucherKind,
)

MacKeyOf = Callable[[bytes, int], bytes]
_HEAD_SIZE_MAX = 512

_ALLOWED = "int, bytes, str, list, dict with int keys, bool, None"
_STRINGS = (2, 3)
_TAGS = 6
_SIMPLE = 7
_FALSE_TRUE_NULL = (20, 21, 22)
_IN_THE_HEAD_MAX = 23
_IN_8_BYTES = 27


def encode(value: CborValue) -> bytes:
    """The one encoding of `value`; raises TypeError for what the formats do not use."""
    _check(value, 0)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, size_max: int) -> CborValue:
    """The value of `data`, if `data` is its one encoding and at most `size_max` bytes.

    Raises MalformedMessage otherwise: too long, truncated, trailing bytes, other types, nested
    deeper than 8, or another encoding of the same value.
    """
    if len(data) > size_max:
        raise MalformedMessage(detail=f"{len(data)} bytes, at most {size_max} allowed")
    try:
        _check_heads(data)
        value: CborValue = cbor2.loads(data)
        again = encode(value)
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MalformedMessage(detail="not CBOR of the allowed types") from error
    if again != data:
        raise MalformedMessage(detail="not deterministic CBOR")
    return value


def _check_heads(data: bytes) -> None:
    """Raise ValueError for a tag, float, simple value or indefinite length, before any is decoded.

    The decoder makes objects of tags, and for some of them works for as long as a stranger likes:
    four megabytes that claim to be one decimal fraction kept it busy for half an hour.
    """
    at = 0
    while at < len(data):
        major, info = data[at] >> 5, data[at] & 0x1F
        at += 1
        if major == _TAGS or (major == _SIMPLE and info not in _FALSE_TRUE_NULL):
            msg = f"not one of {_ALLOWED}"
            raise ValueError(msg)
        argument = info
        if major != _SIMPLE and info > _IN_THE_HEAD_MAX:
            if info > _IN_8_BYTES:
                msg = "a length that is not told"
                raise ValueError(msg)
            width = 1 << info - _IN_THE_HEAD_MAX - 1
            argument = int.from_bytes(data[at : at + width], "big")
            at += width
        if major in _STRINGS:
            at += argument


def _check(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        msg = f"nested deeper than {DEPTH_MAX}"
        raise TypeError(msg)
    if value is None or isinstance(value, bool | bytes | str):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            msg = "integer too large"
            raise TypeError(msg)
        return
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not int:
                msg = "map keys are integers"
                raise TypeError(msg)
            _check(item, depth + 1)
        return
    msg = f"not one of {_ALLOWED}: {type(value).__name__}"
    raise TypeError(msg)


def is_plain(text: str) -> bool:
    """Whether the text has no control characters, which no database and no printer wants.

    Nor halves of surrogate pairs, which are no characters.
    """
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


class Fields:
    """Reads a decoded map field by field; what is missing, of another type or left over is named.

    Every getter raises MalformedMessage.
    """

    def __init__(self, value: CborValue, what: str) -> None:
        if not isinstance(value, dict):
            raise MalformedMessage(detail=f"{what} is not a map")
        self._left = dict(value)
        self._what = what

    def _take(self, key: int) -> CborValue:
        if key not in self._left:
            raise MalformedMessage(detail=f"{self._what} lacks field {key}")
        return self._left.pop(key)

    def has(self, key: int) -> bool:
        return key in self._left

    def uint(self, key: int, bits: int = 63) -> int:
        value = self._take(key)
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise MalformedMessage(detail=f"{self._what} field {key} is not a {bits}-bit number")
        return value

    def octets(self, key: int, length_min: int, length_max: int | None = None) -> bytes:
        value = self._take(key)
        length_max = length_min if length_max is None else length_max
        if not isinstance(value, bytes) or not length_min <= len(value) <= length_max:
            raise MalformedMessage(
                detail=f"{self._what} field {key} is not {length_min} to {length_max} bytes"
            )
        return value

    def text(self, key: int, length_max: int) -> str:
        value = self._take(key)
        if not isinstance(value, str) or len(value) > length_max:
            raise MalformedMessage(
                detail=f"{self._what} field {key} is not a text of at most {length_max} characters"
            )
        if not is_plain(value):
            raise MalformedMessage(detail=f"{self._what} field {key} has control characters")
        return value

    def items(self, key: int, count_max: int) -> list[CborValue]:
        value = self._take(key)
        if not isinstance(value, list) or len(value) > count_max:
            raise MalformedMessage(
                detail=f"{self._what} field {key} is not a list of at most {count_max}"
            )
        return value

    def exactly(self, key: int, expected: int) -> None:
        value = self._take(key)
        if type(value) is not int or value != expected:
            raise MalformedMessage(detail=f"{self._what} field {key} is not {expected}")

    def map(self, key: int) -> dict[int, CborValue]:
        value = self._take(key)
        if not isinstance(value, dict):
            raise MalformedMessage(detail=f"{self._what} field {key} is not a map")
        return value

    def nested(self, key: int) -> Fields:
        return Fields(self._take(key), f"{self._what} field {key}")

    def finish(self) -> None:
        if self._left:
            unknown = ", ".join(str(key) for key in sorted(self._left))
            raise MalformedMessage(detail=f"{self._what} has unknown fields {unknown}")


_ALGORITHM, _CONTENT_TYPE, _KEY_ID = 1, 3, 4
_TAG = b"\xd2"  # tag 18, one byte
_EDDSA = -8


def parse_sign1(data: bytes, *, size_max: int) -> Sign1:
    """Take apart an encoded COSE_Sign1. Raises MalformedMessage; checks no signature."""
    if not data.startswith(_TAG):
        raise MalformedMessage(detail="not a COSE_Sign1")
    value = decode(data[1:], size_max=size_max)
    match value:
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            if unprotected or len(signature) != SIGNATURE_LENGTH:
                raise MalformedMessage(detail="not a COSE_Sign1 of this system")
        case _:
            raise MalformedMessage(detail="not a COSE_Sign1")
    header = Fields(decode(protected, size_max=256), "COSE header")
    header.exactly(_ALGORITHM, _EDDSA)
    parsed = Sign1(
        content_type=header.text(_CONTENT_TYPE, 64),
        key_id=header.octets(_KEY_ID, KEY_ID_LENGTH),
        payload=payload,
        signature=signature,
        protected=protected,
    )
    header.finish()
    return parsed


_E = TypeVar("_E", bound=IntEnum)


def decode_voucher(encoded: bytes) -> Voucher:
    """Read a voucher strictly, without checking its signature. Raises MalformedMessage."""
    message = parse_sign1(encoded, size_max=VOUCHER_SIZE_MAX)
    if message.content_type != CONTENT_TYPE:
        raise MalformedMessage(detail="not a voucher")
    return _from_cbor(decode(message.payload, size_max=VOUCHER_SIZE_MAX))


def follow_chain(
    vouchers: list[bytes], terminal_id: int, first_sequence: int, previous_hash: bytes
) -> list[tuple[Voucher, bytes]]:
    """Each voucher with its hash, if they follow each other from `previous_hash` on.

    Raises MalformedMessage, BrokenChain.
    """
    followed = []
    for sequence, encoded in enumerate(vouchers, start=first_sequence):
        voucher = decode_voucher(encoded)
        link = voucher.link
        if link.terminal_id != terminal_id:
            raise BrokenChain(sequence=sequence, detail="it is of another till")
        if link.sequence != sequence:
            raise BrokenChain(sequence=sequence, detail=f"number {link.sequence} stands there")
        if link.previous_hash != previous_hash:
            raise BrokenChain(sequence=sequence, detail="it does not follow the one before")
        previous_hash = voucher_hash(encoded)
        followed.append((voucher, previous_hash))
    return followed


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
    return Intent(
        card_uid=fields.octets(11, 4, 10),
        amount=amount,
        evidence=fields.octets(13, 1, EVIDENCE_SIZE_MAX),
        issuer=fields.text(9, TEXT_LENGTH_MAX),
        seller=fields.text(10, TEXT_LENGTH_MAX),
        goods=goods,
    )


def _amount_and_goods(fields: Fields) -> tuple[Rupiah, tuple[GoodsLine, ...]]:
    amount = Rupiah(fields.uint(12))
    goods = tuple(_goods_line(line) for line in fields.items(16, GOODS_LINES_MAX))
    if goods and sum(line.amount.amount for line in goods) != amount.amount:
        raise MalformedMessage(detail="the goods do not add up to the amount")
    return amount, goods


def _goods_line(item: CborValue) -> GoodsLine:
    match item:
        case [str(name), int(quantity), int(unit_price), int(discount)]:
            if (
                bool not in map(type, item)
                and len(name) <= TEXT_LENGTH_MAX
                and is_plain(name)
                and 0 < quantity < 1 << 31
                and 0 <= unit_price < 1 << 31
                and 0 <= discount <= unit_price * quantity
            ):
                return GoodsLine(name, quantity, Rupiah(unit_price), Rupiah(discount))
    raise MalformedMessage(detail="not a goods line")


def _member(of: type[_E], value: int, what: str) -> _E:
    try:
        return of(value)
    except ValueError as error:
        raise MalformedMessage(detail=f"unknown {what} {value}") from error


def transaction_keys(key: bytes, uid: bytes, counter: int) -> TransactionKeys:
    """CMAC(AppTransactionMACKey, label || 0001 0080 || TMC || UID), label 5A (MAC) or A5 (ENC).

    `key` 16 bytes, `uid` 7 bytes, `counter` 1 to FFFFFFFF; ValueError otherwise.
    """
    if len(uid) != UID_LENGTH:
        msg = f"a transaction MAC needs the 7-byte UID, not {len(uid)} bytes"
        raise ValueError(msg)
    if not 1 <= counter <= COUNTER_MAX:
        msg = f"a transaction counter is 1 to {COUNTER_MAX}, not {counter}"
        raise ValueError(msg)
    context = b"\x00\x01\x00\x80" + counter.to_bytes(4, "little") + uid
    return TransactionKeys(aes_cmac(key, b"\x5a" + context), aes_cmac(key, b"\xa5" + context))


def transaction_mac(key: bytes, uid: bytes, counter: int, tmi: bytes) -> bytes:
    """TMV, 8 bytes: the odd bytes of CMAC(SesTMMACKey, TMI)."""
    return truncate_mac(aes_cmac(transaction_keys(key, uid, counter).mac_key, tmi))


def verify_transaction_mac(key: bytes, uid: bytes, transaction: TransactionMac, tmi: bytes) -> bool:
    """Whether the card that holds `key` and `uid` made this MAC over this input."""
    expected = transaction_mac(key, uid, transaction.counter, tmi)
    return hmac.compare_digest(expected, transaction.mac)


def decrypt_previous_reader_id(
    key: bytes, uid: bytes, counter: int, encrypted_reader_id: bytes
) -> bytes:
    """TMRIPrev, 16 bytes, from what CommitReaderID answered (EncTMRI).

    `counter` is the TMC that this transaction's commit answers. Zeros: no reader id was ever
    committed before.
    """
    if len(encrypted_reader_id) != READER_ID_LENGTH:
        msg = f"an encrypted reader id has 16 bytes, not {len(encrypted_reader_id)}"
        raise ValueError(msg)
    encryption_key = transaction_keys(key, uid, counter).encryption_key
    return aes_cbc_decrypt(encryption_key, bytes(16), encrypted_reader_id)


_COMMIT_READER_ID = 0xC8
_READ_DATA = 0xAD
_WRITE_RECORD = 0x8B
_GET_VALUE = 0x6C
_DEBIT = 0xDC


def parse_sale_evidence(evidence: bytes) -> SaleEvidence:
    """Take a sale's evidence apart. Raises ImplausibleEvidence for anything else.

    CommitReaderID 48 | ReadData holder 128 | GetValue 16 | Debit 16 | WriteRecord 48 bytes.
    """
    parts = _Parts(evidence)
    reader_id, encrypted = parts.reader_id()
    holder = parts.file_data(_READ_DATA, FileNo.HOLDER, HOLDER_LENGTH)
    balance = parts.value(_GET_VALUE)
    amount = parts.value(_DEBIT)
    record = parts.file_data(_WRITE_RECORD, FileNo.LOG, RECORD_LENGTH)
    parts.finish()
    try:
        sale = SaleEvidence(
            reader_id=reader_id,
            encrypted_previous_reader_id=encrypted,
            holder=parse_holder(holder),
            balance_before=balance,
            amount=amount,
            record=LogRecord.decode(record),
        )
    except DamagedCardData as error:
        raise ImplausibleEvidence(detail=error.explain()) from error
    _check_record(sale, RecordKind.SALE)
    return sale


def verify_evidence(mac_key: bytes, uid: bytes, counter: int, mac: bytes, evidence: bytes) -> None:
    """Check the card's MAC (8 bytes) over `evidence` for the transaction number `counter`.

    `mac_key` is the card's own transaction MAC key. Raises WrongTransactionMac.
    """
    try:
        genuine = verify_transaction_mac(mac_key, uid, TransactionMac(counter, mac), evidence)
    except ValueError as error:  # a counter or UID that no card has
        raise WrongTransactionMac from error
    if not genuine:
        raise WrongTransactionMac


def previous_reader_id(
    mac_key: bytes, uid: bytes, counter: int, encrypted: bytes
) -> ReaderId | None:
    """Who made the card's transaction before number `counter`; None if that was its first.

    Raises DamagedCardData when it decrypts to no reader id of ours, which is also how one tells
    that an in-doubt intent was not made for this counter.
    """
    try:
        previous = decrypt_previous_reader_id(mac_key, uid, counter, encrypted)
    except ValueError as error:  # a counter or UID that no card has
        raise DamagedCardData(what="reader id") from error
    return ReaderId.decode(previous)


def _check_record(transaction: SaleEvidence, kind: RecordKind) -> None:
    record = transaction.record
    written = (record.kind, record.reader_id, record.amount, record.balance_after)
    if written != (kind, transaction.reader_id, transaction.amount, transaction.balance_after):
        raise ImplausibleEvidence(detail="the log record tells another transaction")


class _Parts:
    """Walks a transaction MAC input command by command, each zero-padded to 16 bytes."""

    def __init__(self, evidence: bytes) -> None:
        self._left = evidence

    def _take(self, length: int, start: bytes, what: str) -> bytes:
        padded = -(-length // 16) * 16
        part, self._left = self._left[:padded], self._left[padded:]
        if len(part) != padded or not part.startswith(start) or any(part[length:]):
            raise ImplausibleEvidence(detail=what)
        return part[:length]

    def reader_id(self) -> tuple[ReaderId, bytes]:
        part = self._take(1 + 2 * READER_ID_LENGTH, bytes((_COMMIT_READER_ID,)), "no reader id")
        try:
            reader_id = ReaderId.decode(part[1:17])
        except DamagedCardData as error:
            raise ImplausibleEvidence(detail="not a reader id of ours") from error
        if reader_id is None:
            raise ImplausibleEvidence(detail="an empty reader id")
        return reader_id, part[17:]

    def file_data(self, command: int, file: FileNo, length: int) -> bytes:
        header = bytes((command, file)) + bytes(3) + length.to_bytes(3, "little") + bytes(8)
        return self._take(16 + length, header, f"no {file.name.lower()} data")[16:]

    def value(self, command: int) -> Rupiah:
        start = bytes((command, FileNo.PURSE))
        amount = self._take(6, start, f"no purse command {command:02X}")[2:]
        return Rupiah(int.from_bytes(amount, "little", signed=True))

    def finish(self) -> None:
        if self._left:
            raise ImplausibleEvidence(detail=f"{len(self._left)} bytes too many")


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """AES-CMAC (RFC 4493, NIST SP 800-38B), 16 bytes."""
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def diversify_aes128(master: bytes, diversification_input: bytes) -> bytes:
    """AN10922 section 2.2, as the general CMAC with two blocks at least."""
    return cmac(BlockCipher.AES, master, b"\x01" + diversification_input, blocks_min=2)


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


def parse_batch(data: bytes) -> UncheckedBatch:
    """Take a batch apart, checking form only. Raises MalformedMessage."""
    match decode(data, size_max=BATCH_SIZE_MAX):
        case [bytes(head), list(vouchers)] if 1 <= len(vouchers) <= VOUCHERS_MAX:
            pass
        case _:
            raise MalformedMessage(detail=f"not a batch of 1 to {VOUCHERS_MAX} vouchers")
    encoded = [voucher for voucher in vouchers if isinstance(voucher, bytes)]
    if len(encoded) != len(vouchers):
        raise MalformedMessage(detail="a voucher in the batch is not a byte string")
    signed_head = parse_sign1(head, size_max=_HEAD_SIZE_MAX)
    fields = Fields(decode(signed_head.payload, size_max=_HEAD_SIZE_MAX), "batch head")
    fields.exactly(1, 1)
    parsed = BatchHead(
        terminal_id=fields.uint(2, 32),
        first_sequence=fields.uint(3),
        count=fields.uint(4, 16),
        previous_hash=fields.octets(5, HASH_LENGTH),
        head_hash=fields.octets(6, HASH_LENGTH),
    )
    fields.finish()
    if parsed.count < 1 or parsed.first_sequence < 1:
        raise MalformedMessage(detail="a batch head without vouchers")
    return UncheckedBatch(head=parsed, signed_head=signed_head, vouchers=encoded)


def verify_batch(
    data: bytes, public_key: bytes, cards: Mapping[bytes, CardFacts], mac_key_of: MacKeyOf
) -> list[Verdict]:
    """The verdict on each voucher of the batch `data`. Raises as `UncheckedBatch.verify`."""
    batch = parse_batch(data)
    _verify_sign1(batch.signed_head, public_key, HEAD_CONTENT_TYPE)
    head = batch.head
    if len(batch.vouchers) != head.count:
        raise BrokenChain(
            sequence=head.first_sequence,
            detail=f"{head.count} vouchers announced, {len(batch.vouchers)} came",
        )
    chain = follow_chain(batch.vouchers, head.terminal_id, head.first_sequence, head.previous_hash)
    if chain[-1][1] != head.head_hash:
        raise BrokenChain(sequence=head.last_sequence, detail="its hash is not the signed one")
    return [judge(voucher, cards, mac_key_of) for voucher, _ in chain]


def _verify_sign1(message: Sign1, public_key: bytes, content_type: str) -> None:
    key_id = hashlib.sha256(public_key).digest()[:KEY_ID_LENGTH]
    if message.content_type != content_type or message.key_id != key_id:
        raise WrongSignature(what=content_type)
    signed = cbor2.dumps(["Signature1", message.protected, b"", message.payload], canonical=True)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(message.signature, signed)
    except (InvalidSignature, ValueError) as error:
        raise WrongSignature(what=content_type) from error


def voucher_hash(encoded: bytes) -> bytes:
    return hashlib.sha256(encoded).digest()


def uid_of(voucher: Voucher) -> bytes:
    if isinstance(voucher, SaleVoucher | InDoubtVoucher):
        return voucher.intent.card_uid
    return voucher.card_uid


def aes_cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()
