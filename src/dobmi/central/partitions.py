"""Months of the journal and of the vouchers: PostgreSQL partitions of their own, by WIB months.

Rows of a month without a partition are in `<table>_other`, and stay there: what is there is not
moved. A month is `<table>_2026_11`. On SQLite there are no partitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from sqlalchemy import Connection, text

from dobmi.central.database import wait_no_longer
from dobmi.central.schema import metadata, no_truncate
from dobmi.wib import midnight

_WAIT_SECONDS = 2


def ensure_partitions(connection: Connection, from_day: date, months_ahead: int) -> list[str]:
    """Make what partitions are missing of `from_day`'s month and those after it; their names.

    Raises LostRace (as the transaction's end) if whoever reads or writes the tables does not come to
    an end soon. A backup reads them for hours, and ingest would wait behind this for as long.
    """
    if connection.dialect.name != "postgresql":
        return []
    wait_no_longer(connection, _WAIT_SECONDS)
    made = []
    for table in metadata.sorted_tables:
        column = table.info.get("partitioned_by")
        if column is None:
            continue
        for first, end in _months(from_day, months_ahead + 1):
            name = f"{table.name}_{first:%Y_%m}"
            if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar():
                continue
            start, stop = midnight(first), midnight(end)
            in_other = text(
                f"SELECT 1 FROM {table.name}_other "  # noqa: S608 - names of ours
                f"WHERE {column} >= {start} AND {column} < {stop} LIMIT 1"
            )
            if connection.execute(in_other).first():
                continue
            connection.execute(
                text(
                    f"CREATE TABLE {name} PARTITION OF {table.name} "
                    f"FOR VALUES FROM ({start}) TO ({stop})"
                )
            )
            connection.execute(text(no_truncate(name)[1]))
            made.append(name)
    return made


def _months(from_day: date, count: int) -> Iterator[tuple[date, date]]:
    """The first days of `count` months and of the months after each."""
    first = from_day.replace(day=1)
    for _ in range(count):
        end = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        yield first, end
        first = end
