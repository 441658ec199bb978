"""What outlets' tills are told, by version: one counter for all of it, so that versions only grow."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, func, select, update

from dobmi.central.database import add_to_counter, insert_unless_there
from dobmi.central.schema import OutletPart, counters, member_notes, outlet_versions

COUNTER: Final = "outlet"
_FLOOR: Final = "outlet-floor"
"""Versions below were given out before the database came back from a backup, or by another since."""
FOR_ALL: Final = 0
"""The seller whose catalogue is all sellers'."""


def note_change(connection: Connection, seller_id: int, part: OutletPart) -> None:
    """From now on the outlet's tills are told this part anew (seller 0: those of all).

    Whoever changes it calls this first: it makes all that change something one after the other.
    """
    version = add_to_counter(connection, COUNTER, 1)
    row = {"seller_id": seller_id, "part": part.value, "version": version}
    insert_unless_there(connection, outlet_versions, [row])
    connection.execute(
        update(outlet_versions)
        .where(outlet_versions.c.seller_id == seller_id, outlet_versions.c.part == part.value)
        .values(version=version)
    )


def version_of(connection: Connection, seller_id: int, part: OutletPart) -> int:
    """Of the part as this outlet has it; 0 if there never was any."""
    newest = connection.execute(
        select(func.max(outlet_versions.c.version)).where(
            outlet_versions.c.seller_id.in_([FOR_ALL, seller_id]),
            outlet_versions.c.part == part.value,
        )
    ).scalar_one()
    return int(newest or floor(connection))


def floor(connection: Connection) -> int:
    """Versions below this one are not known here, but for 0."""
    value = connection.execute(
        select(counters.c.value).where(counters.c.name == _FLOOR)
    ).scalar_one_or_none()
    return int(value or 0)


def raise_versions(connection: Connection, to: int) -> None:
    """After a backup was restored: put all versions beyond those given out since it was made."""
    last = add_to_counter(connection, COUNTER, 0)
    raised = max(last + 1, to)
    more = raised - floor(connection)
    for table in (outlet_versions, member_notes):
        connection.execute(update(table).values(version=table.c.version + more))
    insert_unless_there(connection, counters, [{"name": _FLOOR, "value": 0}])
    for name, value in ((COUNTER, last + more), (_FLOOR, raised)):
        connection.execute(update(counters).where(counters.c.name == name).values(value=value))
