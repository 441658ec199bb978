"""What a till reports beside its vouchers: closed shifts, members' orders, wrong PINs of cards.

A till numbers its records 1, 2, 3 … without a gap and sends them in order, in a COSE_Sign1 of
content type `dobmi/till-records/1`. The server answers with one of `dobmi/records-taken/1`. A record
is kept as the bytes it was made of: the same number with other bytes is refused
(docs/formats/records.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from dobmi.money import Rupiah
from dobmi.sync.cbor import CborValue, Fields, decode, encode, is_plain
from dobmi.sync.cose import Sign, Sign1, parse_sign1, sign1
from dobmi.sync.errors import ForgedAcknowledgement, MalformedMessage

CONTENT_TYPE = "dobmi/till-records/1"
TAKEN_CONTENT_TYPE = "dobmi/records-taken/1"
RECORDS_MAX = 500
RECORD_SIZE_MAX = 64 * 1024
RECORDS_SIZE_MAX = 1024 * 1024
"""Of a whole message of records."""
TAKEN_SIZE_MAX = 4096
TAKEOVERS_MAX = 200
SHORT_MAX = 100
PIN_TRIES_MAX = 3
"""Wrong PINs of a card in a row at a till, after which it is locked."""
_TEXT_LENGTH_MAX = 80
_QUANTITY_MAX = 10_000
UID_LENGTH = 7
_NUMBER_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftRecord:
    """A closed shift. `number` is the shift's at its till; `takeovers` are (Unix seconds, cashier).

    What is expected in the drawer is `float_cash` + `cash_in` - `cash_out`; `counted` is what was
    there. Sales and refunds are those of the shift's vouchers.
    """

    number: int
    cashier: str
    opened_unix_seconds: int
    closed_unix_seconds: int
    float_cash: Rupiah
    cash_in: Rupiah
    cash_out: Rupiah
    counted: Rupiah
    takeovers: tuple[tuple[int, str], ...]
    sales_count: int
    sales_total: Rupiah
    refunds_count: int
    refunds_total: Rupiah

    def __post_init__(self) -> None:
        _require(0 < self.number < 1 << 32, "a shift's number")
        _require_text(self.cashier)
        amounts = (
            self.float_cash,
            self.cash_in,
            self.cash_out,
            self.counted,
            self.sales_total,
            self.refunds_total,
        )
        _require(all(0 <= each.amount <= _NUMBER_MAX for each in amounts), "amounts of 0 or more")
        _require(0 <= self.sales_count < 1 << 32, "a number of sales")
        _require(0 <= self.refunds_count < 1 << 32, "a number of refunds")
        _require_time(self.opened_unix_seconds)
        _require_time(self.closed_unix_seconds)
        _require(len(self.takeovers) <= TAKEOVERS_MAX, "at most 200 takeovers")
        for unix_seconds, cashier in self.takeovers:
            _require_time(unix_seconds)
            _require_text(cashier)


class OrderState(IntEnum):
    """What the outlet did with an order, each at most once. Handed over and cancelled are ends."""

    PAID = 1
    HANDED_OVER = 2
    CANCELLED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """`sale`: the voucher that paid it, if it was paid. `short`: (item code, how many were missing)."""

    order: int
    state: OrderState
    sale: int | None
    short: tuple[tuple[str, int], ...]
    by: str
    unix_seconds: int

    def __post_init__(self) -> None:
        _require(0 < self.order <= _NUMBER_MAX, "an order's number")
        _require((self.sale is not None) == (self.state is OrderState.PAID), "a sale if it is paid")
        _require(self.sale is None or 0 < self.sale <= _NUMBER_MAX, "a sale's number")
        _require(len(self.short) <= SHORT_MAX, "at most 100 short items")
        for item, quantity in self.short:
            _require_text(item)
            _require(0 < quantity <= _QUANTITY_MAX, "a quantity of 1 to 10,000")
        items = [item for item, _ in self.short]
        _require(len(set(items)) == len(items), "no item short twice")
        _require_text(self.by)
        _require_time(self.unix_seconds)


class PinOutcome(IntEnum):
    """What came of a card's PIN that was not right."""

    WRONG = 1
    NOT_KNOWN = 2
    """The till never heard the answer: the card was taken away, or the till stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """A card's PIN was tried and not proved; `in_a_row`: which such try at this till it is, 1 to 3.

    After the third the till asks that card for no PIN any more. Nothing of the PIN is in it.
    """

    card_uid: bytes
    outcome: PinOutcome
    in_a_row: int
    unix_seconds: int

    def __post_init__(self) -> None:
        _require(len(self.card_uid) == UID_LENGTH, "a UID of 7 bytes")
        _require(0 < self.in_a_row <= PIN_TRIES_MAX, "a number of tries")
        _require_time(self.unix_seconds)


TillRecord = ShiftRecord | OrderRecord | PinRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsHead:
    """Records `first_number` and on of till `terminal_id`, as encoded; believed after `verify`."""

    terminal_id: int
    first_number: int
    encoded: tuple[bytes, ...]
    message: Sign1

    def verify(self, public_key: bytes) -> tuple[TillRecord, ...]:
        """The records, if the till of this key signed them.

        Raises WrongSignature, MalformedMessage.
        """
        self.message.verify(public_key, CONTENT_TYPE)
        return tuple(decode_record(each) for each in self.encoded)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsTaken:
    """The server keeps this till's records up to `up_to`; `batch_hash`: SHA-256 of the message."""

    terminal_id: int
    batch_hash: bytes
    up_to: int
    unix_seconds: int


def encode_record(record: TillRecord) -> bytes:
    """What a till keeps and sends under a number: deterministic CBOR."""
    fields: dict[int, CborValue]
    if isinstance(record, ShiftRecord):
        fields = {
            1: 1,
            2: record.number,
            3: record.cashier,
            4: record.opened_unix_seconds,
            5: record.closed_unix_seconds,
            6: record.float_cash.amount,
            7: record.cash_in.amount,
            8: record.cash_out.amount,
            9: record.counted.amount,
            10: [[unix_seconds, cashier] for unix_seconds, cashier in record.takeovers],
            11: record.sales_count,
            12: record.sales_total.amount,
            13: record.refunds_count,
            14: record.refunds_total.amount,
        }
    elif isinstance(record, PinRecord):
        fields = {
            1: 3,
            2: record.card_uid,
            3: record.outcome.value,
            4: record.in_a_row,
            5: record.unix_seconds,
        }
    else:
        fields = {
            1: 2,
            2: record.order,
            3: record.state.value,
            4: record.sale,
            5: [[item, quantity] for item, quantity in record.short],
            6: record.by,
            7: record.unix_seconds,
        }
    return encode(fields)


def decode_record(data: bytes) -> TillRecord:
    """Raises MalformedMessage."""
    fields = Fields(decode(data, size_max=RECORD_SIZE_MAX), "till record")
    kind = fields.uint(1)
    try:
        if kind == 1:
            record: TillRecord = _shift(fields)
        elif kind == 2:
            record = _order(fields)
        elif kind == 3:
            record = _pin(fields)
        else:
            raise MalformedMessage(detail=f"a till record of the unknown kind {kind}")
    except ValueError as error:
        raise MalformedMessage(detail=f"till record: {error}") from error
    fields.finish()
    return record


def _shift(fields: Fields) -> ShiftRecord:
    return ShiftRecord(
        number=fields.uint(2),
        cashier=fields.text(3, _TEXT_LENGTH_MAX),
        opened_unix_seconds=fields.uint(4),
        closed_unix_seconds=fields.uint(5),
        float_cash=Rupiah(fields.uint(6)),
        cash_in=Rupiah(fields.uint(7)),
        cash_out=Rupiah(fields.uint(8)),
        counted=Rupiah(fields.uint(9)),
        takeovers=tuple(map(_takeover, fields.items(10, TAKEOVERS_MAX))),
        sales_count=fields.uint(11),
        sales_total=Rupiah(fields.uint(12)),
        refunds_count=fields.uint(13),
        refunds_total=Rupiah(fields.uint(14)),
    )


def _takeover(value: CborValue) -> tuple[int, str]:
    match value:
        case [int(unix_seconds), str(cashier)] if type(unix_seconds) is int:
            return unix_seconds, cashier
    raise MalformedMessage(detail="not a takeover")


def _order(fields: Fields) -> OrderRecord:
    order, state = fields.uint(2), OrderState(fields.uint(3))
    return OrderRecord(
        order=order,
        state=state,
        sale=fields.uint_or_none(4),
        short=tuple(map(_short, fields.items(5, SHORT_MAX))),
        by=fields.text(6, _TEXT_LENGTH_MAX),
        unix_seconds=fields.uint(7),
    )


def _pin(fields: Fields) -> PinRecord:
    return PinRecord(
        card_uid=fields.octets(2, UID_LENGTH),
        outcome=PinOutcome(fields.uint(3)),
        in_a_row=fields.uint(4, 8),
        unix_seconds=fields.uint(5),
    )


def _short(value: CborValue) -> tuple[str, int]:
    match value:
        case [str(item), int(quantity)] if type(quantity) is int:
            return item, quantity
    raise MalformedMessage(detail="not a short item")


def encode_records(
    terminal_id: int,
    first_number: int,
    encoded: Sequence[bytes],
    public_key: bytes,
    sign: Sign,
) -> bytes:
    """The signed message of 1 to 500 records, each by `encode_record`, numbered on from the first.

    Raises ValueError for another count, or more than 1 MiB.
    """
    _require(0 < len(encoded) <= RECORDS_MAX, "1 to 500 records")
    payload = encode({1: 1, 2: terminal_id, 3: first_number, 4: list(encoded)})
    message = sign1(payload, CONTENT_TYPE, public_key, sign)
    _require(len(message) <= RECORDS_SIZE_MAX, "at most 1 MiB")
    return message


def parse_records(data: bytes) -> RecordsHead:
    """Whose records they claim to be; `verify` says whether. Raises MalformedMessage."""
    message = parse_sign1(data, size_max=RECORDS_SIZE_MAX)
    fields = Fields(decode(message.payload, size_max=RECORDS_SIZE_MAX), "till records")
    fields.exactly(1, 1)
    terminal_id, first_number = fields.uint(2, 32), fields.uint(3)
    items = fields.items(4, RECORDS_MAX)
    fields.finish()
    encoded = tuple(item for item in items if isinstance(item, bytes))
    if not items or len(encoded) != len(items) or not 0 < first_number <= _NUMBER_MAX - len(items):
        raise MalformedMessage(detail="not 1 to 500 records")
    return RecordsHead(
        terminal_id=terminal_id, first_number=first_number, encoded=encoded, message=message
    )


def encode_records_taken(taken: RecordsTaken, public_key: bytes, sign: Sign) -> bytes:
    payload = encode(
        {1: 1, 2: taken.terminal_id, 3: taken.batch_hash, 4: taken.up_to, 5: taken.unix_seconds}
    )
    return sign1(payload, TAKEN_CONTENT_TYPE, public_key, sign)


def verify_records_taken(data: bytes, server_public_key: bytes) -> RecordsTaken:
    """Raises MalformedMessage, WrongSignature."""
    message = parse_sign1(data, size_max=TAKEN_SIZE_MAX)
    fields = Fields(
        decode(message.verify(server_public_key, TAKEN_CONTENT_TYPE), size_max=TAKEN_SIZE_MAX),
        "records taken",
    )
    fields.exactly(1, 1)
    taken = RecordsTaken(
        terminal_id=fields.uint(2, 32),
        batch_hash=fields.octets(3, hashlib.sha256().digest_size),
        up_to=fields.uint(4),
        unix_seconds=fields.uint(5),
    )
    fields.finish()
    return taken


def check_records_taken(taken: RecordsTaken, sent: bytes) -> None:
    """Raises ForgedAcknowledgement unless `taken` is for the message `sent`, and for all of it."""
    head = parse_records(sent)
    if (taken.terminal_id, taken.batch_hash) != (head.terminal_id, hashlib.sha256(sent).digest()):
        raise ForgedAcknowledgement(detail="it is for other records")
    if taken.up_to < head.first_number + len(head.encoded) - 1:
        raise ForgedAcknowledgement(detail=f"it ends at record {taken.up_to}")


def _require(holds: bool, what: str) -> None:
    if not holds:
        msg = f"it needs {what}"
        raise ValueError(msg)


def _require_text(text: str) -> None:
    _require(0 < len(text) <= _TEXT_LENGTH_MAX and is_plain(text), "a plain text of 1 to 80")


def _require_time(unix_seconds: int) -> None:
    _require(0 <= unix_seconds < 1 << 40, "a time")
