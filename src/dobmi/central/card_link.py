"""What a phone gets to see that read a card: proved by the card itself, each reading once.

The address holds the card's UID and its read counter, enciphered, and the card's MAC over them. A wrong
one costs two derivations and no look into the database; what is wrong with it is not said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from typing import Final

from sqlalchemy import Connection, select, update

from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.sdm import MAC_LENGTH, PICC_DATA_LENGTH, PiccData, decrypt_picc_data, mac_fits
from dobmi.central.cards import card_row, waiting_credits
from dobmi.central.database import insert_unless_there
from dobmi.central.errors import UnknownCard
from dobmi.central.orders import balance_on_card
from dobmi.central.schema import CardState, card_taps, card_transactions, cards, sellers, terminals
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_number

LINES_MAX: Final = 10
SERIAL_MAX: Final = 0xFFFFFFFF


class TapState(StrEnum):
    """What an address turns out to be."""

    GENUINE = "genuine"
    SEEN_BEFORE = "seen-before"
    """It was shown already, or one that the card made later: perhaps a copy."""
    STATIC = "static"
    """Of a card of ours; it proves nothing, so nothing of the card is shown."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class TapLine:
    """A transaction as verified. `seller` is empty for a credit."""

    at: int
    seller: str
    amount: Rupiah
    is_credit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TappedCard:
    """By the ledger at `as_of` (Unix seconds), which tills may be behind of. No name: the phone is
    whose it may be.
    """

    serial: int
    state: CardState
    expires: date
    balance: Rupiah
    waiting: Rupiah
    lines: tuple[TapLine, ...]
    as_of: int


@dataclass(frozen=True, slots=True)
class Tap:
    """`card` is there for a GENUINE one alone."""

    state: TapState
    card: TappedCard | None = None


def read_tap(central: Central, picc_data: str, mac: str) -> Tap:
    """What the two fields of a dynamic address say; the reading is taken, and not a second time."""
    read = _verified(central, picc_data, mac)
    if read is None:
        return Tap(TapState.UNKNOWN)
    return central.database.write_again(partial(_show_once, central=central, read=read))


def read_static(central: Central, card: str) -> Tap:
    """What the serial number of a static address says: whether it is a card of ours."""
    if not (card.isascii() and card.isdecimal() and len(card) <= 10 and int(card) <= SERIAL_MAX):
        return Tap(TapState.UNKNOWN)
    with central.database.read() as connection:
        known = connection.execute(
            select(cards.c.uid).where(cards.c.serial == int(card), cards.c.issued_at.is_not(None))
        ).first()
    return Tap(TapState.UNKNOWN if known is None else TapState.STATIC)


def _verified(central: Central, picc_data: str, mac: str) -> PiccData | None:
    """Which card was read and for the how-manieth time, if the card's own MAC says so."""
    try:
        enciphered, given = bytes.fromhex(picc_data), bytes.fromhex(mac)
    except ValueError:
        return None
    if len(enciphered) != PICC_DATA_LENGTH or len(given) != MAC_LENGTH:
        return None
    for meta in central.keys.generations(CardKey.SDM_META):
        read = decrypt_picc_data(_key(central, CardKey.SDM_META, bytes(7), meta), enciphered)
        if read is None:
            continue
        for version in central.keys.generations(CardKey.SDM_FILE):
            if mac_fits(_key(central, CardKey.SDM_FILE, read.uid, version), read, given):
                return read
    return None


def _key(central: Central, key: CardKey, uid: bytes, version: int) -> bytes:
    return central.keys.card_key(key, uid, version).value


def _show_once(connection: Connection, central: Central, read: PiccData) -> Tap:
    try:
        row = card_row(connection, read.uid, lock=True)
    except UnknownCard:  # made with our keys, and not on record: of a restored database
        return Tap(TapState.UNKNOWN)
    now = central.unix_seconds()
    seen = {"card_uid": read.uid, "read_counter": -1, "at": now}
    insert_unless_there(connection, card_taps, [seen])
    taken = connection.execute(
        update(card_taps)
        .where(card_taps.c.card_uid == read.uid, card_taps.c.read_counter < read.read_counter)
        .values(read_counter=read.read_counter, at=now)
    )
    if not taken.rowcount:
        return Tap(TapState.SEEN_BEFORE)
    waiting = ZERO
    for credit in waiting_credits(connection, read.uid):
        waiting += credit.amount
    card = TappedCard(
        serial=row.serial,
        state=CardState(row.state),
        expires=day_number(row.expires_on_day),
        balance=balance_on_card(connection, read.uid),
        waiting=waiting,
        lines=_lines(connection, read.uid),
        as_of=now,
    )
    return Tap(TapState.GENUINE, card)


def _lines(connection: Connection, uid: bytes) -> tuple[TapLine, ...]:
    rows = connection.execute(
        select(card_transactions, sellers.c.name)
        .outerjoin(terminals, terminals.c.id == card_transactions.c.terminal_id)
        .outerjoin(sellers, sellers.c.id == terminals.c.seller_id)
        .where(card_transactions.c.card_uid == uid)
        .order_by(card_transactions.c.counter.desc())
        .limit(LINES_MAX)
    )
    return tuple(
        TapLine(
            at=row.at,
            seller=row.name or "",
            amount=Rupiah(row.amount_rupiah),
            is_credit=row.balance_after_rupiah > row.balance_before_rupiah,
        )
        for row in rows
    )
