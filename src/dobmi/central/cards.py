"""Cards as the ledger knows them: statements, what waits for them, and blocking."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.conclusions import serve_member
from dobmi.central.database import insert_rows, next_number
from dobmi.central.errors import (
    BadParameters,
    CardHasEnded,
    CardHasExpired,
    CardIsBlocked,
    CardNotActive,
    CardWasReplaced,
    MemberHasAnotherCard,
    UnknownCard,
)
from dobmi.central.orders import balance_on_card
from dobmi.central.replacement import Replacement, replacement_of
from dobmi.central.schema import (
    WAITING,
    CardState,
    CreditDelivery,
    CreditSource,
    card_transactions,
    cards,
    hotlist_changes,
    members,
    pending_credits,
)
from dobmi.central.server import Central
from dobmi.central.texts import REASON_LENGTH_MAX, require_text
from dobmi.money import Rupiah
from dobmi.wib import day_number, day_of

OWN_KEYS = "dobmi:"
"""What the idempotency keys of the server's own orders begin with."""
_UID = re.compile(r"[0-9a-fA-F]{14}", re.ASCII)
_SERIAL = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLine:
    """One transaction of a card, as verified."""

    counter: int
    terminal_id: int
    sequence: int
    amount: Rupiah
    balance_after: Rupiah
    is_credit: bool
    card_mac_verified: bool
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCredit:
    card_uid: bytes
    sequence: int
    amount: Rupiah
    source: CreditSource
    state: CreditDelivery
    ordered_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CardStatement:
    """What the ledger says of a card. `balance` counts what is known to be on the card."""

    uid: bytes
    serial: int
    member_number: int
    member_name: str
    state: CardState
    block_reason: str
    expires: date
    balance: Rupiah
    credits_waiting: tuple[PendingCredit, ...]
    key_version: int
    replacement: Replacement | None
    transactions: tuple[CardLine, ...]


def parse_card(text: str) -> bytes | int:
    """A card as people name it: 14 hex digits are a UID, up to 10 digits a serial number.

    Raises BadParameters.
    """
    if _UID.fullmatch(text):
        return bytes.fromhex(text)
    if _SERIAL.fullmatch(text):
        return int(text)
    raise BadParameters(
        detail=f"{text[:40]!r} is neither a UID (14 hex digits) nor a serial number"
    )


def card_row(connection: Connection, card: bytes | int, *, lock: bool = False) -> Row[Any]:
    """The row of `cards` by UID or serial number. Raises UnknownCard."""
    same = cards.c.uid == card if isinstance(card, bytes) else cards.c.serial == card
    statement = select(cards).where(same)
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise UnknownCard(card=card.hex() if isinstance(card, bytes) else card)
    return row


def require_usable(row: Row[Any], now: int) -> None:
    """Raises CardIsBlocked, CardWasReplaced, CardHasEnded, CardNotActive, CardHasExpired."""
    card = row.uid.hex()
    if row.state == CardState.BLOCKED:
        raise CardIsBlocked(card=card, reason=row.block_reason)
    if row.state == CardState.REPLACED:
        raise CardWasReplaced(card=card, reason=row.block_reason)
    if row.state == CardState.RETIRED:
        raise CardHasEnded(card=card, reason=row.block_reason)
    if row.state != CardState.ACTIVE:
        raise CardNotActive(card=card)
    if day_number(row.expires_on_day) < day_of(now):
        raise CardHasExpired(card=card, expired=day_number(row.expires_on_day))


def refuse_second_card(connection: Connection, uid: bytes, member_number: int) -> None:
    """Raises MemberHasAnotherCard if the member has an active card other than `uid`."""
    other = connection.execute(
        select(cards.c.uid, cards.c.serial).where(
            cards.c.member_number == member_number,
            cards.c.state == CardState.ACTIVE,
            cards.c.uid != uid,
        )
    ).first()
    if other is not None:
        raise MemberHasAnotherCard(
            member=member_number, serial=other.serial, card=bytes(other.uid).hex()
        )


def waiting_credits(connection: Connection, uid: bytes) -> list[PendingCredit]:
    """Not yet known to be on the card, in the order in which they must be delivered."""
    rows = connection.execute(
        select(pending_credits)
        .where(
            pending_credits.c.card_uid == uid,
            pending_credits.c.state.in_(WAITING),
        )
        .order_by(pending_credits.c.sequence)
    )
    return [pending_credit(row) for row in rows]


def statement_of(central: Central, card: bytes | int, *, lines_max: int = 20) -> CardStatement:
    """Raises UnknownCard."""
    with central.database.read() as connection:
        row = card_row(connection, card)
        name = connection.execute(
            select(members.c.name).where(members.c.member_number == row.member_number)
        ).scalar_one()
        lines = connection.execute(
            select(card_transactions)
            .where(card_transactions.c.card_uid == row.uid)
            .order_by(card_transactions.c.counter.desc())
            .limit(lines_max)
        ).all()
        return CardStatement(
            uid=row.uid,
            serial=row.serial,
            member_number=row.member_number,
            member_name=name,
            state=CardState(row.state),
            block_reason=row.block_reason,
            expires=day_number(row.expires_on_day),
            balance=balance_on_card(connection, row.uid),
            credits_waiting=tuple(waiting_credits(connection, row.uid)),
            key_version=row.key_version,
            replacement=replacement_of(connection, row.uid, central.settings.restore_after_days),
            transactions=tuple(
                CardLine(
                    counter=line.counter,
                    terminal_id=line.terminal_id,
                    sequence=line.sequence,
                    amount=Rupiah(line.amount_rupiah),
                    balance_after=Rupiah(line.balance_after_rupiah),
                    is_credit=line.balance_after_rupiah > line.balance_before_rupiah,
                    card_mac_verified=line.card_mac_verified,
                    at=line.at,
                )
                for line in lines
            ),
        )


def set_blocked(
    central: Central,
    card: bytes | int,
    reason: str,
    *,
    blocked: bool,
    by_terminal: int | None,
    actor: Actor | None = None,
) -> int:
    """Block or unblock a card; the version of the block list that says so.

    Doing it again changes nothing but the reason. Raises BadParameters, UnknownCard,
    CardWasReplaced, CardHasEnded; when unblocking, CardNotActive (it is not blocked, and its issuing was never
    finished) and MemberHasAnotherCard (issued since it was blocked). A card that was blocked
    before its issuing was finished is one to be issued again, not one in use.
    """
    require_text("reason", reason, REASON_LENGTH_MAX)
    with central.database.write() as connection:
        row = card_row(connection, card, lock=True)
        if row.state == CardState.REPLACED:
            raise CardWasReplaced(card=row.uid.hex(), reason=row.block_reason)
        if row.state == CardState.RETIRED:
            raise CardHasEnded(card=row.uid.hex(), reason=row.block_reason)
        if not blocked:
            if row.state == CardState.ISSUING:
                raise CardNotActive(card=row.uid.hex())
            if row.issued_at is not None:
                refuse_second_card(connection, row.uid, row.member_number)
        version = next_number(connection, "hotlist")
        state = CardState.BLOCKED
        if not blocked:
            state = CardState.ISSUING if row.issued_at is None else CardState.ACTIVE
        connection.execute(
            update(cards)
            .where(cards.c.uid == row.uid)
            .values(state=state.value, block_reason=reason if blocked else "")
        )
        change = {
            "version": version,
            "card_uid": row.uid,
            "blocked": blocked,
            "reason": reason,
            "by_terminal": by_terminal,
            "at": central.unix_seconds(),
        }
        insert_rows(connection, hotlist_changes, [change])
        if state is CardState.ACTIVE:
            serve_member(connection, row.member_number, central.unix_seconds(), central.settings)
        note_act(
            connection,
            actor or Actor("", by_terminal),
            Act.BLOCK if blocked else Act.UNBLOCK,
            subject=f"card {row.serial}",
            detail=reason,
            now=central.unix_seconds(),
        )
    return version


def pending_credit(row: Row[Any]) -> PendingCredit:
    """As this row of `pending_credits` has it."""
    return PendingCredit(
        card_uid=row.card_uid,
        sequence=row.sequence,
        amount=Rupiah(row.amount_rupiah),
        source=CreditSource(row.source),
        state=CreditDelivery(row.state),
        ordered_at=row.ordered_at,
    )
