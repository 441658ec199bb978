"""Who works at this till: logging in by PIN or by one's own Do BMI card, and asking a supervisor.

The people are those of the feed. While it lists nobody (a stall with one person), the cashier of the
settings works without logging in, and a supervisor is named, not proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dobmi.sync.outlet import Duty, PinVerifier, StaffMember, pin_matches
from dobmi.terminal import schema
from dobmi.terminal.errors import (
    LoginNeeded,
    NoPin,
    NoSuchStaff,
    NotASupervisor,
    NotOfStaff,
    PinLocked,
    WrongPin,
)
from dobmi.terminal.ledger import Ledger

WRONG_PINS_MAX = 5
LOCK_MINUTES = (5, 15, 60)
"""After so many wrong PINs in a row; the last one from then on."""


@dataclass(frozen=True, slots=True)
class Cashier:
    """Who sells: `number` is None for the cashier of the settings, where nobody is listed."""

    name: str
    number: int | None = None


def has_staff(ledger: Ledger) -> bool:
    """Whether the feed lists anybody, so that people have to log in."""
    with ledger.connect() as connection:
        return connection.execute(sa.select(schema.staff.c.number).limit(1)).first() is not None


def staff_members(ledger: Ledger) -> tuple[StaffMember, ...]:
    """By number."""
    with ledger.connect() as connection:
        rows = connection.execute(sa.select(schema.staff).order_by(schema.staff.c.number))
        return tuple(map(_member, rows))


def cashier_of(member: StaffMember) -> Cashier:
    return Cashier(member.name, member.number)


def unlisted_cashier(ledger: Ledger, name: str) -> Cashier:
    """The cashier of the settings. Raises LoginNeeded where the feed lists the staff."""
    if has_staff(ledger):
        raise LoginNeeded
    return Cashier(name)


def log_in_by_pin(ledger: Ledger, number: int, pin: str, now: int) -> StaffMember:
    """Whoever has this number, if it is their PIN. `now` in the till's Unix seconds.

    The attempt is on disk before the PIN is looked at: ending the program does not give it back.
    Raises NoSuchStaff, NoPin, PinLocked, WrongPin, LedgerError.
    """
    member = _find(ledger, schema.staff.c.number == number)
    if member is None:
        raise NoSuchStaff(number=number)
    if member.pin is None:
        raise NoPin(name=member.name)
    left, locked_until = _count_attempt(ledger, member, now)
    if pin_matches(pin, member.pin):
        _forget_attempts(ledger, number)
        return member
    if left == 0:
        raise PinLocked(name=member.name, until_unix_seconds=locked_until)
    raise WrongPin(left=left)


def log_in_by_card(ledger: Ledger, member_number: int) -> StaffMember:
    """Whose Do BMI card this is; the caller has authenticated it, and it is neither blocked nor
    expired. Raises NotOfStaff, LedgerError.
    """
    member = _find(ledger, schema.staff.c.member_number == member_number)
    if member is None:
        raise NotOfStaff
    return member


def require_supervisor(member: StaffMember) -> StaffMember:
    """Raises NotASupervisor."""
    if member.duty is not Duty.SUPERVISOR:
        raise NotASupervisor(name=member.name)
    return member


def supervisor_named(ledger: Ledger, supervisor: StaffMember | str) -> str:
    """The name of who decides: of one who has logged in, or, where nobody is listed, as it is given.

    A name that nobody has proved to be theirs is never written where the staff is listed. Raises
    NotASupervisor, LoginNeeded.
    """
    if isinstance(supervisor, StaffMember):
        return require_supervisor(supervisor).name
    if has_staff(ledger):
        raise LoginNeeded
    return supervisor


def _find(ledger: Ledger, condition: sa.ColumnElement[bool]) -> StaffMember | None:
    with ledger.connect() as connection:
        row = connection.execute(sa.select(schema.staff).where(condition)).one_or_none()
    return None if row is None else _member(row)


def _member(row: sa.Row[Any]) -> StaffMember:
    return StaffMember(
        number=row.number,
        name=row.name,
        duty=Duty(row.duty),
        pin=None if row.pin_salt is None else PinVerifier(row.pin_salt, row.pin_hash),
        member_number=row.member_number,
    )


def _count_attempt(ledger: Ledger, member: StaffMember, now: int) -> tuple[int, int]:
    """How many more wrong PINs there may be after this one, and until when it then locks.

    Raises PinLocked while a lock holds.
    """
    table = schema.pin_attempts
    with ledger.begin() as connection:
        row = connection.execute(
            sa.select(table).where(table.c.number == member.number)
        ).one_or_none()
        wrong, locks, until = (0, 0, 0) if row is None else row[1:]
        if now < until:
            raise PinLocked(name=member.name, until_unix_seconds=until)
        wrong += 1
        if wrong == WRONG_PINS_MAX:
            until = now + 60 * LOCK_MINUTES[min(locks, len(LOCK_MINUTES) - 1)]
            wrong, locks = 0, locks + 1
        values = {
            "wrong_count": wrong,
            "locks_count": locks,
            "locked_until_unix_seconds": until,
        }
        connection.execute(
            table.insert().prefix_with("OR REPLACE").values(number=member.number, **values)
        )
    return (0 if wrong == 0 else WRONG_PINS_MAX - wrong), until


def _forget_attempts(ledger: Ledger, number: int) -> None:
    with ledger.begin() as connection:
        connection.execute(
            schema.pin_attempts.delete().where(schema.pin_attempts.c.number == number)
        )
