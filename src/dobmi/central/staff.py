"""Who proposes, approves, issues and works on findings: names, which must be registered, and roles.

`staff_login.py` lets them in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.database import Database, insert_unless_there
from dobmi.central.errors import NotOfStaff
from dobmi.central.schema import StaffRole, staff, staff_roles, staff_sessions
from dobmi.central.texts import NAME_LENGTH_MAX, require_text

_NOBODY = Actor("", None)


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    roles: frozenset[StaffRole]


def add_staff(
    database: Database,
    name: str,
    roles: Iterable[StaffRole],
    now: int,
    *,
    by: Actor = _NOBODY,
) -> Person:
    """Register a person, or give further roles. The same name in other letters is the same person.

    Raises BadParameters.
    """
    require_text("name", name, NAME_LENGTH_MAX)
    with database.write() as connection:
        person = {"name": " ".join(name.split()), "folded": folded(name), "added_at": now}
        insert_unless_there(connection, staff, [person])
        known = find_person(connection, name)
        assert known is not None
        rows = [{"name": known.name, "role": role.value, "since": now} for role in roles]
        insert_unless_there(connection, staff_roles, rows)
        found = find_person(connection, name)
        assert found is not None
        if found != known:
            listed = ", ".join(sorted(role.value for role in found.roles))
            subject = f"staff {found.name}"
            note_act(connection, by, Act.STAFF_ADDED, subject=subject, detail=listed, now=now)
    return found


def remove_staff(database: Database, name: str, now: int, *, by: Actor = _NOBODY) -> Person:
    """Take all roles from a person, who is logged out everywhere; what they did stays.

    Raises NotOfStaff.
    """
    with database.write() as connection:
        person = find_person(connection, name)
        if person is None:
            raise NotOfStaff(name=name, role="-")
        connection.execute(delete(staff_roles).where(staff_roles.c.name == person.name))
        connection.execute(delete(staff_sessions).where(staff_sessions.c.name == person.name))
        if person.roles:
            subject = f"staff {person.name}"
            note_act(connection, by, Act.STAFF_REMOVED, subject=subject, now=now)
    return Person(person.name, frozenset())


def staff_list(database: Database) -> list[Person]:
    with database.read() as connection:
        names = connection.execute(select(staff.c.folded).order_by(staff.c.name)).scalars().all()
        people = [find_person(connection, name) for name in names]
    return [person for person in people if person is not None]


def require_role(connection: Connection, name: str, *roles: StaffRole) -> str:
    """The registered name of a person who has one of these roles. Raises NotOfStaff."""
    person = find_person(connection, name)
    if person is None or person.roles.isdisjoint(roles):
        raise NotOfStaff(name=name, role=", ".join(role.value for role in roles))
    return person.name


def require_anybody(connection: Connection, name: str) -> str:
    """The registered name of a person who has any role. Raises NotOfStaff."""
    return require_role(connection, name, *StaffRole)


def anybody_has(connection: Connection, *roles: StaffRole) -> bool:
    """Whether anybody is registered with one of these roles."""
    listed = select(staff_roles.c.name).where(staff_roles.c.role.in_(roles)).limit(1)
    return connection.execute(listed).first() is not None


def find_person(connection: Connection, name: str) -> Person | None:
    """However the name is written; with no roles if they were all taken away."""
    known = connection.execute(
        select(staff.c.name).where(staff.c.folded == folded(name))
    ).scalar_one_or_none()
    if known is None:
        return None
    roles = connection.execute(select(staff_roles.c.role).where(staff_roles.c.name == known))
    return Person(known, frozenset(map(StaffRole, roles.scalars())))


def folded(name: str) -> str:
    """By which two ways of writing a name are the same."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()[:160]
