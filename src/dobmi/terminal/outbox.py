"""What crosses to and from the server beside vouchers: records that wait, photos that are wanted."""

from __future__ import annotations

import sqlalchemy as sa

from dobmi.terminal import schema
from dobmi.terminal.ledger import Ledger


def acknowledged_record(ledger: Ledger) -> int:
    """The last record that the server has said it keeps; 0 for none."""
    with ledger.connect() as connection:
        found = connection.execute(sa.select(schema.outlet_state.c.records_acknowledged)).scalar()
    return found or 0


def records_from(ledger: Ledger, number: int, count_max: int) -> list[bytes]:
    """As they are sent, from record `number` on, in order."""
    table = schema.records
    with ledger.connect() as connection:
        rows = connection.execute(
            sa.select(table.c.encoded)
            .where(table.c.number >= number)
            .order_by(table.c.number)
            .limit(count_max)
        )
        return [row.encoded for row in rows]


def unsent_records_count(ledger: Ledger) -> int:
    acknowledged = sa.select(schema.outlet_state.c.records_acknowledged).scalar_subquery()
    query = sa.select(sa.func.count()).where(schema.records.c.number > acknowledged)
    with ledger.connect() as connection:
        count: int = connection.execute(query).scalar_one()
    return count


def record_taken(ledger: Ledger, up_to: int) -> None:
    """The server keeps records up to this one; fewer than before if it came back from a backup."""
    with ledger.begin() as connection:
        connection.execute(schema.outlet_state.update().values(records_acknowledged=up_to))


def photos_wanted(ledger: Ledger, count_max: int) -> tuple[bytes, ...]:
    """Photos that are not here of members who were here, or have an order here: their SHA-256."""
    notes, intents, orders = schema.member_notes, schema.intents, schema.member_orders
    known = sa.union(sa.select(intents.c.member_number), sa.select(orders.c.member_number))
    query = (
        sa.select(notes.c.photo)
        .where(
            notes.c.member_number.in_(known),
            notes.c.photo.is_not(None),
            notes.c.photo.not_in(sa.select(schema.photos.c.hash)),
        )
        .distinct()
        .limit(count_max)
    )
    with ledger.connect() as connection:
        return tuple(row.photo for row in connection.execute(query))


def keep_photo(ledger: Ledger, sha256: bytes, jpeg: bytes) -> None:
    with ledger.begin() as connection:
        connection.execute(
            schema.photos.insert().prefix_with("OR IGNORE").values(hash=sha256, jpeg=jpeg)
        )
