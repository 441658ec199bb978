"""Booking days: days of western Indonesian time, closed one after the other (docs/formats/daily-head.md).

A day is sealed first, in a moment in which nobody posts; from then on the database refuses postings
into it. Its head is made at leisure after that, from rows that do not change any more.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from dobmi.central.database import wait_no_longer
from dobmi.central.schema import BOOKING_LOCK, sealed_days

_SECONDS_PER_DAY = 86400
_AHEAD_OF_UTC_SECONDS = 7 * 3600
_WAIT_SECONDS = 2


def booking_day(at: int) -> int:
    """The day in which a posting of that time is."""
    return (at + _AHEAD_OF_UTC_SECONDS) // _SECONDS_PER_DAY


def start_of_day(day: int) -> int:
    """Its first second."""
    return day * _SECONDS_PER_DAY - _AHEAD_OF_UTC_SECONDS


def booking_time(connection: Connection, now: int) -> int:
    """When to book what is posted now, in this transaction: never on a closed day.

    No day is sealed before the transaction ends (PostgreSQL by a shared lock: take it before any
    row's).
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": BOOKING_LOCK})
    sealed = last_sealed_day(connection)
    return now if sealed is None else max(now, start_of_day(sealed + 1))


def last_sealed_day(connection: Connection) -> int | None:
    return connection.execute(select(func.max(sealed_days.c.day))).scalar()


def nobody_posts(connection: Connection) -> None:
    """Until the transaction ends; raises LostRace if others do not come to an end in time."""
    if connection.dialect.name == "postgresql":
        wait_no_longer(connection, _WAIT_SECONDS)  # those who come to post wait behind this
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": BOOKING_LOCK})
