"""What must be done to a database that came back from a backup, before it serves again.

Tills, cards and people have seen numbers since the backup that the database does not know of. All
that only grow are put so far ahead that none is given out twice, not even after two restores from
the same backup: the new ones follow the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from dobmi.central.database import insert_rows, insert_unless_there
from dobmi.central.outlets import raise_versions
from dobmi.central.schema import counters, restorations
from dobmi.central.server import Central

FEED = "hotlist"
_TERMINALS = "terminal"
_SERIALS = "card-serial"
_FEEDS_A_SECOND = 1_000_000
_YEAR_2020 = 1_577_836_800
"""Unix seconds: numbers that people read, 32 bits wide, are counted from here."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The numbers from which the database goes on."""

    feed_version: int
    terminal: int
    card_serial: int


def mark_restored(central: Central) -> Ahead:
    """Put the block list's version, terminal and card numbers ahead of any that were given out."""
    now = central.unix_seconds()
    with central.database.write() as connection:
        before = feed_version(connection)
        version = _raise(connection, FEED, now * _FEEDS_A_SECOND)
        row = {"version_after": version, "version_before": before, "at": now}
        insert_rows(connection, restorations, [row])
        raise_versions(connection, now * _FEEDS_A_SECOND)
        age = max(0, now - _YEAR_2020)
        return Ahead(
            feed_version=version,
            terminal=_raise(connection, _TERMINALS, age // 3600),
            card_serial=_raise(connection, _SERIALS, age // 60),
        )


def feed_version(connection: Connection) -> int:
    """The version of the block list in force."""
    value: int | None = connection.execute(
        select(counters.c.value).where(counters.c.name == FEED)
    ).scalar_one_or_none()
    return value or 0


def known_feed_version(connection: Connection, version: int) -> int | None:
    """None if this database has seen block list `version`; else the newest of its own in that list.

    What a till took between a backup and its restoring holds all blocks up to the backup, and
    others that are forgotten here.
    """
    lost = connection.execute(
        select(func.min(restorations.c.version_before)).where(
            restorations.c.version_before < version, version < restorations.c.version_after
        )
    ).scalar_one()
    if lost is not None:
        return int(lost)
    return None if 0 <= version <= feed_version(connection) else 0


def _raise(connection: Connection, name: str, to: int) -> int:
    insert_unless_there(connection, counters, [{"name": name, "value": 0}])
    value = connection.execute(
        select(counters.c.value).where(counters.c.name == name).with_for_update()
    ).scalar_one()
    raised = max(value + 1, to)
    connection.execute(update(counters).where(counters.c.name == name).values(value=raised))
    return int(raised)
