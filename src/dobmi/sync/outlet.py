"""What an outlet's tills work with: catalogue, staff, members' orders, and notes about members.

Parts of the feed (fields 11 to 14, docs/formats/feed.md). Each has a version of its own, which only
grows. What breaks a rule of the format is never made: the dataclasses raise ValueError, the readers
MalformedMessage.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import IntEnum
from itertools import pairwise
from typing import TypeVar

from dobmi.money import Rupiah
from dobmi.sync.cbor import CborValue, Fields, is_plain
from dobmi.sync.errors import MalformedMessage

TEXT_LENGTH_MAX = 80
CLASS_LENGTH_MAX = 40
NOTE_LENGTH_MAX = 200
ITEMS_MAX = 20_000
PEOPLE_MAX = 1_000
ORDERS_MAX = 5_000
NOTES_MAX = 20_000
BARCODES_MAX = 10
CLASSES_MAX = 10
LINES_MAX = 100
QUANTITY_MAX = 10_000
PRICE_MAX = Rupiah(1_000_000_000)
PHOTO_HASH_LENGTH = 32
PHOTO_SIZE_MAX = 60_000
"""Of a member's photo, a JPEG."""
STAFF_NUMBER_MAX = 999_999
PIN_DIGITS_MIN, PIN_DIGITS_MAX = 6, 12

_SALT_LENGTH, _HASH_LENGTH = 16, 32
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 15, 8, 1
_SCRYPT_MEMORY_MAX = 64 * 1024 * 1024
_PIN = re.compile(rf"[0-9]{{{PIN_DIGITS_MIN},{PIN_DIGITS_MAX}}}", re.ASCII)
_EPOCH = date(1970, 1, 1)
_Key = TypeVar("_Key", str, int)
_DAYS_MAX = (date(9999, 12, 31) - _EPOCH).days


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueItem:
    """What is sold by itself: `class_prices` are those of member classes, `price` everybody's.

    `barcodes` in any order, none twice; `class_prices` in the order of the classes' names.
    """

    code: str
    name: str
    category: str
    price: Rupiah
    barcodes: tuple[str, ...] = ()
    class_prices: tuple[tuple[str, Rupiah], ...] = ()

    def __post_init__(self) -> None:
        for what in (self.code, self.name, self.category, *self.barcodes):
            _require_text(what)
        for member_class, price in self.class_prices:
            _require_text(member_class, CLASS_LENGTH_MAX)
            _require_price(price)
        _require_price(self.price)
        _require(len(self.barcodes) <= BARCODES_MAX, "at most 10 barcodes")
        _require(len(set(self.barcodes)) == len(self.barcodes), "no barcode twice")
        _require(len(self.class_prices) <= CLASSES_MAX, "at most 10 classes")
        _require_ascending(name for name, _ in self.class_prices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All that an outlet sells, in the order of the codes; no barcode is two items'."""

    version: int
    items: tuple[CatalogueItem, ...]

    def __post_init__(self) -> None:
        _require_version(self.version)
        _require(len(self.items) <= ITEMS_MAX, "at most 20,000 items")
        _require_ascending(item.code for item in self.items)
        barcodes = [barcode for item in self.items for barcode in item.barcodes]
        _require(len(set(barcodes)) == len(barcodes), "a barcode is one item's")


class Duty(IntEnum):
    """What somebody does at the till. A supervisor is a cashier too."""

    CASHIER = 1
    SUPERVISOR = 2


@dataclass(frozen=True, slots=True)
class PinVerifier:
    """scrypt (RFC 7914) of a PIN: N 2^15, r 8, p 1; `salt` 16 bytes, `hash` 32."""

    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _require(len(self.salt) == _SALT_LENGTH, "a salt of 16 bytes")
        _require(len(self.hash) == _HASH_LENGTH, "a hash of 32 bytes")


def is_pin(text: str) -> bool:
    """Whether it is 6 to 12 digits, as a PIN of the staff is."""
    return _PIN.fullmatch(text) is not None


def make_pin_verifier(pin: str) -> PinVerifier:
    """With a salt of its own; takes about 0.1 s. Raises ValueError for what is no PIN."""
    _require(is_pin(pin), "a PIN of 6 to 12 digits")
    salt = secrets.token_bytes(_SALT_LENGTH)
    return PinVerifier(salt, _scrypt(pin, salt))


def pin_matches(pin: str, verifier: PinVerifier) -> bool:
    """Takes about 0.1 s, whatever the answer, for anything that is a PIN."""
    return is_pin(pin) and hmac.compare_digest(_scrypt(pin, verifier.salt), verifier.hash)


def _scrypt(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        pin.encode("ascii"),
        salt=salt,
        n=_SCRYPT_N,
        r=_SCRYPT_R,
        p=_SCRYPT_P,
        maxmem=_SCRYPT_MEMORY_MAX,
        dklen=_HASH_LENGTH,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffMember:
    """One who works at the outlet's tills, by PIN, or by their own Do BMI card (`member_number`)."""

    number: int
    name: str
    duty: Duty
    pin: PinVerifier | None = None
    member_number: int | None = None

    def __post_init__(self) -> None:
        _require(0 < self.number <= STAFF_NUMBER_MAX, "a staff number of 1 to 999999")
        _require_text(self.name)
        _require(self.member_number is None or _is_id(self.member_number), "a member's number")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletStaff:
    """Everybody who works at the outlet's tills, by number."""

    version: int
    people: tuple[StaffMember, ...]

    def __post_init__(self) -> None:
        _require_version(self.version)
        _require(len(self.people) <= PEOPLE_MAX, "at most 1,000 people")
        _require_ascending(person.number for person in self.people)
        cards = [person.member_number for person in self.people if person.member_number is not None]
        _require(len(set(cards)) == len(cards), "a card is one person's")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """So many of an item, named and priced as when it was ordered. `item`: its code."""

    item: str
    name: str
    quantity: int
    unit_price: Rupiah

    def __post_init__(self) -> None:
        _require_text(self.item)
        _require_text(self.name)
        _require(0 < self.quantity <= QUANTITY_MAX, "a quantity of 1 to 10,000")
        _require_price(self.unit_price)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberOrder:
    """What a member ordered and fetches on `pick_up_on` (in WIB). An item stands in one line.

    `paid`: at this till or another, by what the server was told: to be handed over, not paid again.
    """

    number: int
    member_number: int
    holder: str
    placed_unix_seconds: int
    pick_up_on: date
    lines: tuple[OrderLine, ...]
    note: str = ""
    paid: bool = False

    def __post_init__(self) -> None:
        _require(_is_id(self.number), "an order's number")
        _require(_is_id(self.member_number), "a member's number")
        _require_text(self.holder)
        _require_time(self.placed_unix_seconds)
        _require(self.pick_up_on >= _EPOCH, "a day since 1970")
        _require(0 < len(self.lines) <= LINES_MAX, "1 to 100 lines")
        codes = [line.item for line in self.lines]
        _require(len(set(codes)) == len(codes), "an item stands in one line")
        _require(len(self.note) <= NOTE_LENGTH_MAX and is_plain(self.note), "a plain note")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletOrders:
    """The outlet's pick list: orders neither handed over nor cancelled, by number."""

    version: int
    orders: tuple[MemberOrder, ...]

    def __post_init__(self) -> None:
        _require_version(self.version)
        _require(len(self.orders) <= ORDERS_MAX, "at most 5,000 orders")
        _require_ascending(order.number for order in self.orders)


@dataclass(frozen=True, slots=True)
class MemberNote:
    """A member's class, "" for the ordinary one, and the SHA-256 of their photo, if there is one."""

    member_number: int
    member_class: str
    photo: bytes | None

    def __post_init__(self) -> None:
        _require(_is_id(self.member_number), "a member's number")
        if self.member_class:
            _require_text(self.member_class, CLASS_LENGTH_MAX)
        _require(self.photo is None or len(self.photo) == PHOTO_HASH_LENGTH, "a photo's SHA-256")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberNotes:
    """What changed since version `since` (0: all of it, instead of what the till has) to `version`.

    By member number. `more`: this is not all; the till asks again, from `version` on.
    """

    version: int
    since: int
    more: bool
    notes: tuple[MemberNote, ...]

    def __post_init__(self) -> None:
        _require_version(self.version)
        _require(0 <= self.since <= self.version, "a version that it goes on from")
        _require(not self.more or self.since < self.version, "a step on if there is more")
        _require(len(self.notes) <= NOTES_MAX, "at most 20,000 notes")
        _require_ascending(note.member_number for note in self.notes)


def catalogue_to_cbor(catalogue: Catalogue) -> dict[int, CborValue]:
    items: list[CborValue] = [
        [
            item.code,
            item.name,
            item.category,
            item.price.amount,
            list(item.barcodes),
            [[name, price.amount] for name, price in item.class_prices],
        ]
        for item in catalogue.items
    ]
    return {1: catalogue.version, 2: items}


def catalogue_from_cbor(fields: Fields) -> Catalogue:
    """Raises MalformedMessage."""
    with _reading("catalogue"):
        found = Catalogue(
            version=fields.uint(1), items=tuple(map(_item, fields.items(2, ITEMS_MAX)))
        )
    fields.finish()
    return found


def _item(value: CborValue) -> CatalogueItem:
    match value:
        case [str(code), str(name), str(category), int(price), list(barcodes), list(prices)]:
            return CatalogueItem(
                code=code,
                name=name,
                category=category,
                price=Rupiah(price),
                barcodes=tuple(map(_text, barcodes)),
                class_prices=tuple(map(_class_price, prices)),
            )
    raise MalformedMessage(detail="not an item of a catalogue")


def _text(value: CborValue) -> str:
    if not isinstance(value, str):
        raise MalformedMessage(detail="not a text")
    return value


def _class_price(value: CborValue) -> tuple[str, Rupiah]:
    match value:
        case [str(name), int(price)]:
            return name, Rupiah(price)
    raise MalformedMessage(detail="not a price of a class")


def staff_to_cbor(staff: OutletStaff) -> dict[int, CborValue]:
    people: list[CborValue] = [
        [
            person.number,
            person.name,
            person.duty.value,
            None if person.pin is None else [person.pin.salt, person.pin.hash],
            person.member_number,
        ]
        for person in staff.people
    ]
    return {1: staff.version, 2: people}


def staff_from_cbor(fields: Fields) -> OutletStaff:
    """Raises MalformedMessage."""
    with _reading("staff"):
        found = OutletStaff(
            version=fields.uint(1), people=tuple(map(_person, fields.items(2, PEOPLE_MAX)))
        )
    fields.finish()
    return found


def _person(value: CborValue) -> StaffMember:
    match value:
        case [int(number), str(name), int(duty), pin, (int() | None) as member_number]:
            return StaffMember(
                number=_whole(number),
                name=name,
                duty=Duty(_whole(duty)),
                pin=_pin_verifier(pin),
                member_number=None if member_number is None else _whole(member_number),
            )
    raise MalformedMessage(detail="not one of the staff")


def _pin_verifier(value: CborValue) -> PinVerifier | None:
    match value:
        case None:
            return None
        case [bytes(salt), bytes(hashed)]:
            return PinVerifier(salt, hashed)
    raise MalformedMessage(detail="not a PIN's verifier")


def orders_to_cbor(orders: OutletOrders) -> dict[int, CborValue]:
    listed: list[CborValue] = [
        [
            order.number,
            order.member_number,
            order.holder,
            order.placed_unix_seconds,
            (order.pick_up_on - _EPOCH).days,
            [[line.item, line.name, line.quantity, line.unit_price.amount] for line in order.lines],
            order.note,
            order.paid,
        ]
        for order in orders.orders
    ]
    return {1: orders.version, 2: listed}


def orders_from_cbor(fields: Fields) -> OutletOrders:
    """Raises MalformedMessage."""
    with _reading("orders"):
        found = OutletOrders(
            version=fields.uint(1), orders=tuple(map(_order, fields.items(2, ORDERS_MAX)))
        )
    fields.finish()
    return found


def _order(value: CborValue) -> MemberOrder:
    match value:
        case [
            int(number),
            int(member_number),
            str(holder),
            int(placed),
            int(day),
            list(lines),
            str(note),
            bool(paid),
        ] if 0 <= day <= _DAYS_MAX:
            return MemberOrder(
                number=_whole(number),
                member_number=_whole(member_number),
                holder=holder,
                placed_unix_seconds=_whole(placed),
                pick_up_on=_EPOCH + timedelta(days=_whole(day)),
                lines=tuple(map(_line, lines)),
                note=note,
                paid=paid,
            )
    raise MalformedMessage(detail="not an order")


def _line(value: CborValue) -> OrderLine:
    match value:
        case [str(item), str(name), int(quantity), int(unit_price)]:
            return OrderLine(
                item=item, name=name, quantity=_whole(quantity), unit_price=Rupiah(unit_price)
            )
    raise MalformedMessage(detail="not a line of an order")


def notes_to_cbor(notes: MemberNotes) -> dict[int, CborValue]:
    listed: list[CborValue] = [
        [note.member_number, note.member_class, note.photo] for note in notes.notes
    ]
    return {1: notes.version, 2: notes.since, 3: notes.more, 4: listed}


def notes_from_cbor(fields: Fields) -> MemberNotes:
    """Raises MalformedMessage."""
    with _reading("members"):
        found = MemberNotes(
            version=fields.uint(1),
            since=fields.uint(2),
            more=fields.boolean(3),
            notes=tuple(map(_note, fields.items(4, NOTES_MAX))),
        )
    fields.finish()
    return found


def _note(value: CborValue) -> MemberNote:
    match value:
        case [int(member_number), str(member_class), (bytes() | None) as photo]:
            return MemberNote(_whole(member_number), member_class, photo)
    raise MalformedMessage(detail="not a note about a member")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Says of a value that breaks the format's rules that the message does."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise MalformedMessage(detail=f"{what}: {error}") from error


def _whole(value: int) -> int:
    """Not a bool, which Python takes for a number."""
    _require(type(value) is int, "a whole number")
    return value


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _lacks(what)


def _lacks(what: str) -> ValueError:
    return ValueError(f"it needs {what}")


def _require_text(text: str, length_max: int = TEXT_LENGTH_MAX) -> None:
    if not 0 < len(text) <= length_max:
        raise _lacks(f"a text of 1 to {length_max} characters")
    _require(is_plain(text), "a text without control characters")


def _require_price(price: Rupiah) -> None:
    if not 0 <= price.amount <= PRICE_MAX.amount:
        raise _lacks(f"a price of 0 to {PRICE_MAX}")


def _require_version(version: int) -> None:
    _require(0 <= version < 1 << 63, "a version of 63 bits")


def _require_time(unix_seconds: int) -> None:
    _require(0 <= unix_seconds < 1 << 40, "a time")


def _is_id(number: int) -> bool:
    return 0 < number < 1 << 63


def _require_ascending(keys: Iterable[_Key]) -> None:
    _require(all(one < other for one, other in pairwise(keys)), "an order, and none twice")
