"""Staff log in by name and password, at a station or at the office's own page.

While nobody has a password, a station acts under its own name. From the first password on somebody
must be logged in for what changes something. Of a password there is only its scrypt, of what a
logged-in person holds only its SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, delete, func, or_, select, update

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import (
    NotOfStaff,
    PasswordLocked,
    PasswordNotAllowed,
    RoleLacking,
    StaffNeeded,
    StaffSessionOver,
    WrongPassword,
)
from dobmi.central.schema import (
    StaffRole,
    staff_failures,
    staff_passwords,
    staff_sessions,
)
from dobmi.central.server import Central
from dobmi.central.staff import Person, find_person, folded
from dobmi.wib import local_time

PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_LENGTH_MAX: Final = 200
SESSION_SECONDS: Final = 8 * 3600
IDLE_SECONDS: Final = 30 * 60
TRIES: Final = 5
LOCK_MINUTES: Final = (5, 15, 60)
"""After so many wrong passwords in a row; the last one from then on."""
_SEEN_EACH_SECONDS: Final = 60
_FORGET_SECONDS: Final = 24 * 3600
_FAILURES_KEPT_MAX: Final = 1000
"""Under names that strangers make up."""
_OFFICE: Final = 0
_TOKEN_LENGTH_MAX: Final = 64
_SALT_LENGTH: Final = 16
_N, _R, _P = 1 << 15, 8, 3
_two_at_once = threading.BoundedSemaphore(2)
"""Each takes 32 MB: whoever floods the log-in fills no memory."""
_NOBODYS_SALT: Final = bytes(_SALT_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffSession:
    """`token` is shown once, to whoever logged in."""

    token: str = field(repr=False)
    name: str
    roles: frozenset[StaffRole]
    expires_at: int


def set_password(
    database: Database, name: str, password: str, now: int, *, by: Actor | None = None
) -> None:
    """Of a person who has any role; whoever was logged in under that name no longer is.

    Raises NotOfStaff, PasswordNotAllowed.
    """
    known = _plain(password)
    too_simple = folded(name) in folded(known) or len(set(known)) < 4
    if not PASSWORD_LENGTH_MIN <= len(known) <= PASSWORD_LENGTH_MAX or too_simple:
        raise PasswordNotAllowed(minimum=PASSWORD_LENGTH_MIN, maximum=PASSWORD_LENGTH_MAX)
    salt = secrets.token_bytes(_SALT_LENGTH)
    verifier = {"salt": salt, "hash": _scrypt(known, salt), "set_at": now}

    def change(connection: Connection) -> None:
        person = find_person(connection, name)
        if person is None or not person.roles:
            raise NotOfStaff(name=name, role=", ".join(role.value for role in StaffRole))
        mine = staff_passwords.c.name == person.name
        changed = connection.execute(update(staff_passwords).where(mine).values(**verifier))
        if not changed.rowcount:
            insert_rows(connection, staff_passwords, [{"name": person.name, **verifier}])
        connection.execute(delete(staff_sessions).where(staff_sessions.c.name == person.name))
        connection.execute(
            delete(staff_failures).where(staff_failures.c.folded == folded(person.name))
        )
        note_act(
            connection, by or Actor("", None), Act.PASSWORD, subject=f"staff {person.name}", now=now
        )

    database.write_again(change)


def log_in(central: Central, name: str, password: str, station: int | None) -> StaffSession:
    """A new session at `station`, or (None) at the office's page.

    The try is counted, for good, before the password is looked at. Raises WrongPassword (also for a
    name that nobody has), PasswordLocked.
    """
    person = _proved(central, name, password, station)
    return _open(central, person, station, central.unix_seconds())


def prove_password(central: Central, name: str, password: str) -> None:
    """As `log_in` at the office, but for one command: no session is left. Raises as it does."""
    person = _proved(central, name, password, None)
    with central.database.write() as connection:
        _forget_failures(connection, person, None)


def has_password(database: Database, name: str) -> bool:
    """Whether a person of that name, however it is written, has a password."""
    with database.read() as connection:
        person = find_person(connection, name)
        mine = staff_passwords.c.name == ("" if person is None else person.name)
        return connection.execute(select(staff_passwords.c.name).where(mine)).first() is not None


def log_out(central: Central, token: str | None) -> None:
    """Harmless again."""

    def close(connection: Connection) -> None:
        mine = staff_sessions.c.token_hash == _hash(token or "")
        row = connection.execute(select(staff_sessions).where(mine)).one_or_none()
        if row is None:
            return
        connection.execute(delete(staff_sessions).where(mine))
        who = Actor(row.name, row.station)
        now = central.unix_seconds()
        note_act(connection, who, Act.LOG_OUT, subject=f"staff {row.name}", now=now)

    central.database.write_again(close)


def staff_of(
    connection: Connection, token: str | None, station: int | None, *roles: StaffRole, now: int
) -> Actor:
    """Who acts at `station`, if they have one of the roles (any, if none is named).

    In a transaction that writes: the session is used. Raises StaffNeeded, StaffSessionOver,
    RoleLacking.
    """
    if not passwords_are_set(connection):
        return Actor("", station)
    person = person_of(connection, token, station, now)
    require_one_of(person, roles)
    return Actor(person.name, station)


def acting(
    central: Central, token: str | None, station: int | None, roles: Sequence[StaffRole] = ()
) -> Actor:
    """`staff_of` in a transaction of its own."""
    return central.database.write_again(
        lambda connection: staff_of(connection, token, station, *roles, now=central.unix_seconds())
    )


def person_of(connection: Connection, token: str | None, station: int | None, now: int) -> Person:
    """Who holds `token`, which is good at `station` alone. Raises StaffNeeded, StaffSessionOver."""
    if not token:
        raise StaffNeeded
    if len(token) > _TOKEN_LENGTH_MAX:
        raise StaffSessionOver
    mine = staff_sessions.c.token_hash == _hash(token)
    row = connection.execute(select(staff_sessions).where(mine)).one_or_none()
    if (
        row is None
        or row.station != station
        or now >= row.expires_at
        or now >= row.seen_at + IDLE_SECONDS
    ):
        raise StaffSessionOver
    person = find_person(connection, row.name)
    if person is None or not person.roles:
        raise StaffSessionOver
    if now >= row.seen_at + _SEEN_EACH_SECONDS:
        connection.execute(update(staff_sessions).where(mine).values(seen_at=now))
    return person


def require_one_of(person: Person, roles: Sequence[StaffRole]) -> None:
    """Raises RoleLacking unless the person has one of the roles; of none, any will do."""
    if roles and person.roles.isdisjoint(roles):
        raise RoleLacking(name=person.name, role=", ".join(role.value for role in roles))


def passwords_are_set(connection: Connection) -> bool:
    """Whether anybody ever got one: from then on somebody must be logged in."""
    return connection.execute(select(staff_passwords.c.name).limit(1)).first() is not None


def people_with_password(database: Database) -> frozenset[str]:
    """By their registered names."""
    with database.read() as connection:
        return frozenset(connection.execute(select(staff_passwords.c.name)).scalars())


def _proved(central: Central, name: str, password: str, station: int | None) -> Person:
    now = central.unix_seconds()
    left, until = _count_try(central.database, name, station, now)
    with central.database.read() as connection:
        person = find_person(connection, name)
        row = connection.execute(
            select(staff_passwords).where(
                staff_passwords.c.name == ("" if person is None else person.name)
            )
        ).one_or_none()
    salt = _NOBODYS_SALT if row is None else bytes(row.salt)
    given = _scrypt(_plain(password)[:PASSWORD_LENGTH_MAX], salt)
    is_right = row is not None and hmac.compare_digest(given, bytes(row.hash))
    if person is not None and person.roles and is_right:
        return person
    if left == 0:
        locked = Actor("" if person is None else person.name, station)
        with central.database.write() as connection:
            note_act(connection, locked, Act.LOCKED_OUT, subject=f"staff {name}", now=now)
        raise PasswordLocked(until=local_time(until))
    raise WrongPassword(left=left)


def _forget_failures(connection: Connection, person: Person, station: int | None) -> None:
    connection.execute(
        delete(staff_failures).where(
            staff_failures.c.station == (station or _OFFICE),
            staff_failures.c.folded == folded(person.name),
        )
    )


def _open(central: Central, person: Person, station: int | None, now: int) -> StaffSession:
    token = secrets.token_urlsafe(32)
    expires_at = now + SESSION_SECONDS

    def opened(connection: Connection) -> None:
        _forget_failures(connection, person, station)
        connection.execute(
            delete(staff_sessions).where(
                or_(
                    staff_sessions.c.expires_at <= now,
                    staff_sessions.c.seen_at <= now - IDLE_SECONDS,
                )
            )
        )
        row = {
            "token_hash": _hash(token),
            "name": person.name,
            "station": station,
            "started_at": now,
            "seen_at": now,
            "expires_at": expires_at,
        }
        insert_rows(connection, staff_sessions, [row])
        who = Actor(person.name, station)
        note_act(connection, who, Act.LOG_IN, subject=f"staff {person.name}", now=now)

    central.database.write_again(opened)
    return StaffSession(token=token, name=person.name, roles=person.roles, expires_at=expires_at)


def _count_try(database: Database, name: str, station: int | None, now: int) -> tuple[int, int]:
    """How many more wrong passwords there may be after this one, and until when it then locks.

    Raises PasswordLocked.
    """
    place, person = station or _OFFICE, folded(name)

    def count(connection: Connection) -> tuple[int, int]:
        of = staff_failures.c
        mine = (of.station == place) & (of.folded == person)
        connection.execute(
            delete(staff_failures).where(of.at < now - _FORGET_SECONDS, of.locked_until < now)
        )
        row = connection.execute(select(staff_failures).where(mine).with_for_update()).one_or_none()
        if row is not None and now < row.locked_until:
            raise PasswordLocked(until=local_time(row.locked_until))
        failures = 1 if row is None else row.failures + 1
        left, locks = -failures % TRIES, failures // TRIES
        until = 0
        if left == 0:
            until = now + 60 * LOCK_MINUTES[min(locks, len(LOCK_MINUTES)) - 1]
        values = {"failures": failures, "locked_until": until, "at": now}
        if row is not None:
            connection.execute(update(staff_failures).where(mine).values(**values))
        elif _has_room(connection, name):
            first = {"station": place, "folded": person, **values}
            insert_rows(connection, staff_failures, [first])
        return left, until

    return database.write_again(count)


def _has_room(connection: Connection, name: str) -> bool:
    if find_person(connection, name) is not None:
        return True
    count = connection.execute(select(func.count()).select_from(staff_failures)).scalar_one()
    return int(count) < _FAILURES_KEPT_MAX


def _plain(password: str) -> str:
    """As it is typed on any keyboard."""
    return unicodedata.normalize("NFKC", password)


def _scrypt(password: str, salt: bytes) -> bytes:
    with _two_at_once:
        return hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"),
            salt=salt,
            n=_N,
            r=_R,
            p=_P,
            maxmem=64 * 1024 * 1024,
            dklen=32,
        )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
