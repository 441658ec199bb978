"""The audit trail: what staff did, by whom and where, written in the transaction that does it.

Rows neither change nor go, are numbered without a gap, and each holds the hash over the one before
and itself: an act that was edited or taken out is found by `verify_acts` and by the auditor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from dobmi.central.database import Database, insert_rows, next_number
from dobmi.central.schema import staff_acts
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue, encode

BEFORE_THE_FIRST: Final = bytes(32)
ACTS_COUNTER: Final = "staff-act"
SUBJECT_LENGTH_MAX: Final = 120
DETAIL_LENGTH_MAX: Final = 400


class Act(StrEnum):
    """What was done. Stored as its value, of at most 30 characters; never renamed."""

    LOG_IN = "log-in"
    LOG_OUT = "log-out"
    LOCKED_OUT = "locked-out"
    PASSWORD = "password"  # noqa: S105 - the name of an act
    STAFF_ADDED = "staff-added"
    STAFF_REMOVED = "staff-removed"
    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CREDIT = "credit"
    CASH_COUNTED = "cash-counted"
    RESTITUTION = "restitution"
    LIMITS = "limits"
    ISSUE = "issue"
    REKEY = "rekey"
    PIN = "pin"
    RENEW = "renew"
    RETIRE = "retire"
    BLOCK = "block"
    UNBLOCK = "unblock"
    REPLACE = "replace"
    IMPORT = "import"
    PAIRING_APPROVED = "pairing-approved"
    PAIRING_REFUSED = "pairing-refused"
    TERMINAL_BLOCKED = "terminal-blocked"
    TERMINAL_UNBLOCKED = "terminal-unblocked"
    KEYS = "keys"
    CEREMONY = "ceremony"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `name` "": nobody of the staff has a password yet, or a program acts by itself.

    `station` is the terminal at which they do, None at the office.
    """

    name: str
    station: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedAct:
    """`act` is text: a database of a newer program may have acts that this one does not know."""

    id: int
    at: int
    station: int | None
    person: str
    act: str
    subject: str
    amount: Rupiah
    detail: str


def note_act(
    connection: Connection,
    actor: Actor,
    act: Act,
    *,
    subject: str,
    amount: Rupiah = ZERO,
    detail: str = "",
    now: int,
) -> None:
    """Write it down in the transaction that does it, as that one's last step.

    The trail's number is locked until the transaction ends. No secret belongs in any text; what is
    too long is cut.
    """
    number = next_number(connection, ACTS_COUNTER)
    before = connection.execute(
        select(staff_acts.c.hash).where(staff_acts.c.id == number - 1)
    ).scalar_one_or_none()
    noted = NotedAct(
        id=number,
        at=now,
        station=actor.station,
        person=actor.name,
        act=act.value,
        subject=subject[:SUBJECT_LENGTH_MAX],
        amount=amount,
        detail=detail[:DETAIL_LENGTH_MAX],
    )
    row = {
        "id": noted.id,
        "at": noted.at,
        "station": noted.station,
        "person": noted.person,
        "act": noted.act,
        "subject": noted.subject,
        "amount_rupiah": noted.amount.amount,
        "detail": noted.detail,
        "hash": hash_of(noted, BEFORE_THE_FIRST if before is None else bytes(before)),
    }
    insert_rows(connection, staff_acts, [row])


def hash_of(act: NotedAct, before: bytes) -> bytes:
    """32 bytes: SHA-256 over the hash of the act before and this one in deterministic CBOR."""
    fields: list[CborValue] = [
        act.id,
        act.at,
        -1 if act.station is None else act.station,
        act.person,
        act.act,
        act.subject,
        act.amount.amount,
        act.detail,
    ]
    return hashlib.sha256(before + encode(fields)).digest()


def list_acts(
    database: Database,
    *,
    person: str | None = None,
    act: str | None = None,
    subject: str | None = None,
    station: int | None = None,
    since: int | None = None,
    until: int | None = None,
    before: int | None = None,
    newest: int = 100,
) -> list[NotedAct]:
    """The newest acts that fit, newest first. `subject`: a part of it; `before`: older than that id."""
    of = staff_acts.c
    query = select(staff_acts).order_by(of.id.desc()).limit(newest)
    if person is not None:
        query = query.where(of.person == person)
    if act is not None:
        query = query.where(of.act == act)
    if subject is not None:
        query = query.where(of.subject.contains(subject, autoescape=True))
    if station is not None:
        query = query.where(of.station == station)
    if since is not None:
        query = query.where(of.at >= since)
    if until is not None:
        query = query.where(of.at < until)
    if before is not None:
        query = query.where(of.id < before)
    with database.read() as connection:
        return [_noted(row) for row in connection.execute(query)]


def acts_broken_at(rows: Iterable[Row[Any]], count: int) -> Iterator[tuple[int, str]]:
    """Of the acts in their order: where one is missing or not as it was written, and what is wrong.

    `count` is how many were ever numbered.
    """
    before, expected = BEFORE_THE_FIRST, 1
    for row in rows:
        if row.id != expected:
            yield expected, f"acts {expected} to {row.id - 1} are missing"
        elif hash_of(_noted(row), before) != bytes(row.hash):
            yield row.id, f"act {row.id} is not as it was written"
        before, expected = bytes(row.hash), row.id + 1
    if expected != count + 1:
        yield expected, f"{count} acts were numbered, and the last one there is {expected - 1}"


def _noted(row: Row[Any]) -> NotedAct:
    return NotedAct(
        id=row.id,
        at=row.at,
        station=row.station,
        person=row.person,
        act=row.act,
        subject=row.subject,
        amount=Rupiah(row.amount_rupiah),
        detail=row.detail,
    )
