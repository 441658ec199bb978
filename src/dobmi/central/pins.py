"""What the server keeps of cards' PINs: the PIN sealed, what was tried where, and the lock for tills.

A PIN is kept so that a forgotten one can be taken off its card: a DESFire key is changed only by who
knows what it was. It is sealed under the card's own application key, which no till has.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Row, func, select, update

from dobmi.cardlib.crypto import aes_cmac
from dobmi.cardlib.errors import NotAPin
from dobmi.cardlib.pin import PIN_DIGITS_MAX, Pin
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.database import insert_rows, insert_unless_there
from dobmi.central.errors import CardPinUnknown
from dobmi.central.schema import PinEvent, card_pins, cards, pin_events
from dobmi.central.server import Central
from dobmi.sync.records import PIN_TRIES_MAX, PinOutcome, PinRecord

WRONG_A_DAY_MAX: Final = 6
"""So many PINs that were not right, at all tills and service points within 24 hours, lock a card's."""
_DAY_SECONDS: Final = 24 * 3600
_NONCE_LENGTH: Final = 12
_SEALS: Final = b"dobmi/pin-at-rest/1"
_TRIES: Final = (PinEvent.WRONG, PinEvent.NOT_KNOWN, PinEvent.TRIED)
_EVENTS: Final = {PinOutcome.WRONG: PinEvent.WRONG, PinOutcome.NOT_KNOWN: PinEvent.NOT_KNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPin:
    """`current` was on the card last, `pending` may be by now; None for no PIN. `tries` are those at
    service points since the last right one.
    """

    current: Pin | None = None
    pending: Pin | None = None
    tries: int = 0
    clear_since: int = 0
    locked_at: int | None = None


def kept_pin(central: Central, connection: Connection, uid: bytes) -> KeptPin:
    """Raises CardPinUnknown (what is kept cannot be opened any more), KeyNotHeld."""
    row = connection.execute(select(card_pins).where(card_pins.c.card_uid == uid)).one_or_none()
    if row is None:
        return KeptPin()
    return KeptPin(
        current=_unsealed(central, row, row.sealed),
        pending=_unsealed(central, row, row.pending),
        tries=row.tries,
        clear_since=row.clear_since,
        locked_at=row.locked_at,
    )


def is_pin_locked(connection: Connection, uid: bytes) -> bool:
    """Whether tills take no PIN for this card."""
    query = select(card_pins.c.locked_at).where(card_pins.c.card_uid == uid)
    return connection.execute(query).scalar_one_or_none() is not None


def locked_cards(connection: Connection) -> tuple[bytes, ...]:
    """What the feed tells tills: the UIDs, in their order."""
    query = select(card_pins.c.card_uid).where(card_pins.c.locked_at.is_not(None))
    return tuple(sorted(map(bytes, connection.execute(query).scalars())))


def keep_pin(central: Central, connection: Connection, uid: bytes, kept: KeptPin) -> None:
    """In the place of what was kept, sealed anew."""
    key = central.keys.card_key(CardKey.APPLICATION, uid)
    values = {
        "key_version": key.version,
        "sealed": _sealed(key.value, uid, kept.current),
        "pending": _sealed(key.value, uid, kept.pending),
        "clear_since": kept.clear_since,
        "tries": kept.tries,
        "locked_at": kept.locked_at,
    }
    _make_sure_of_row(connection, uid)
    connection.execute(update(card_pins).where(card_pins.c.card_uid == uid).values(values))


def locked_row(central: Central, connection: Connection, uid: bytes) -> KeptPin:
    """As `kept_pin`, and nobody else changes it until the transaction ends."""
    _make_sure_of_row(connection, uid)
    connection.execute(
        select(card_pins.c.card_uid).where(card_pins.c.card_uid == uid).with_for_update()
    )
    return kept_pin(central, connection, uid)


def seal_anew(central: Central, connection: Connection, uid: bytes) -> None:
    """Under the card's newest application key, before an older one is deleted. Raises as `kept_pin`."""
    row = connection.execute(select(card_pins).where(card_pins.c.card_uid == uid)).one_or_none()
    if row is not None and (row.sealed is not None or row.pending is not None):
        keep_pin(central, connection, uid, locked_row(central, connection, uid))


def note_pin_event(
    connection: Connection,
    uid: bytes,
    event: PinEvent,
    *,
    now: int,
    at: int | None = None,
    terminal_id: int | None = None,
    record_number: int | None = None,
) -> None:
    """`at`: when it happened by the till that says so."""
    row = {
        "card_uid": uid,
        "event": event.value,
        "terminal_id": terminal_id,
        "record_number": record_number,
        "at": now if at is None else at,
        "noted_at": now,
    }
    insert_rows(connection, pin_events, [row])


def was_changed_since(connection: Connection, uid: bytes, unix_seconds: int) -> bool:
    """Whether the card was given its PIN since then."""
    given = (PinEvent.SET.value, PinEvent.CHANGED.value, PinEvent.RESET.value)
    query = (
        select(pin_events.c.id)
        .where(pin_events.c.card_uid == uid, pin_events.c.event.in_(given))
        .where(pin_events.c.noted_at >= unix_seconds)
        .limit(1)
    )
    return connection.execute(query).first() is not None


def note_till_tries(
    connection: Connection, terminal_id: int, records: Sequence[tuple[int, PinRecord]], now: int
) -> None:
    """What a till reports, by its records' numbers: counted with what others do, and locked if it is
    three in a row at one till, or six within a day anywhere.
    """
    for number, record in records:
        uid = record.card_uid
        note_pin_event(
            connection,
            uid,
            _EVENTS[record.outcome],
            now=now,
            at=record.unix_seconds,
            terminal_id=terminal_id,
            record_number=number,
        )
        if connection.execute(select(cards.c.uid).where(cards.c.uid == uid)).first() is None:
            continue  # not one of ours: kept as it came
        _make_sure_of_row(connection, uid)
        row = connection.execute(
            select(card_pins).where(card_pins.c.card_uid == uid).with_for_update()
        ).one()
        if row.locked_at is not None or record.unix_seconds <= row.clear_since:
            continue
        if record.in_a_row >= PIN_TRIES_MAX or too_many(
            connection, uid, row.clear_since, record.unix_seconds
        ):
            _lock(connection, uid, terminal_id, now)


def too_many(connection: Connection, uid: bytes, clear_since: int, at: int) -> bool:
    """Whether the tries within a day up to that time, and since the last right one, are too many."""
    query = select(func.count()).where(
        pin_events.c.card_uid == uid,
        pin_events.c.event.in_([event.value for event in _TRIES]),
        pin_events.c.at > max(clear_since, at - _DAY_SECONDS),
        pin_events.c.at <= at,
    )
    return int(connection.execute(query).scalar_one()) >= WRONG_A_DAY_MAX


def lock(
    kept: KeptPin, connection: Connection, uid: bytes, terminal_id: int | None, now: int
) -> KeptPin:
    """The PIN is locked for all tills, if it is not already."""
    if kept.locked_at is not None:
        return kept
    _lock(connection, uid, terminal_id, now)
    return replace(kept, locked_at=now)


def _lock(connection: Connection, uid: bytes, terminal_id: int | None, now: int) -> None:
    connection.execute(update(card_pins).where(card_pins.c.card_uid == uid).values(locked_at=now))
    note_pin_event(connection, uid, PinEvent.LOCKED, now=now, terminal_id=terminal_id)


def _make_sure_of_row(connection: Connection, uid: bytes) -> None:
    row = {"card_uid": uid, "key_version": 0, "clear_since": 0, "tries": 0}
    insert_unless_there(connection, card_pins, [row])


def _sealed(key: bytes, uid: bytes, pin: Pin | None) -> bytes | None:
    """Nonce and ciphertext, as long for every PIN; bound to the card."""
    if pin is None:
        return None
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    plain = pin.digits.encode("ascii").ljust(PIN_DIGITS_MAX, b"\0")
    return nonce + AESGCM(aes_cmac(key, _SEALS)).encrypt(nonce, plain, uid)


def _unsealed(central: Central, row: Row[Any], sealed: bytes | None) -> Pin | None:
    if sealed is None:
        return None
    uid = bytes(row.card_uid)
    key = central.keys.card_key(CardKey.APPLICATION, uid, row.key_version)
    nonce, rest = sealed[:_NONCE_LENGTH], sealed[_NONCE_LENGTH:]
    try:
        plain = AESGCM(aes_cmac(key.value, _SEALS)).decrypt(nonce, rest, uid)
        return Pin(plain.rstrip(b"\0").decode("ascii"))
    except (InvalidTag, ValueError, NotAPin) as error:
        raise CardPinUnknown(card=uid.hex()) from error
