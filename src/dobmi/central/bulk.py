"""Many rows of one table at once, past SQLAlchemy, which takes longer over a row than the database.

To write: binary COPY on PostgreSQL, one prepared statement on SQLite. To read: binary, too.

Every field but the last has one width, so that a row in COPY's binary format (PostgreSQL manual,
"COPY": a 16-bit count, then for each field its 32-bit length and its bytes, all big-endian) is one
call of `struct`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Column, Connection, Table
from sqlalchemy.exc import DBAPIError

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NULL: Final = struct.pack(">i", -1)

INT4: Final = "i"
INT8: Final = "q"
BOOL: Final = "?"

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    """Which columns rows are given for, in their order, with `struct`'s code (`7s`: 7 bytes).

    `constants` are the same in all rows. `last` is a column of bytes of any length, the last of a
    row. A column whose value is None in a row is NULL.
    """

    table: Table
    columns: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    last: str | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        last = () if self.last is None else (self.last,)
        return (*self.columns, *self.constants, *last)

    @cached_property
    def _constants(self) -> tuple[bytes, ...]:
        return tuple(value.encode() for value in self.constants.values())

    @cached_property
    def _struct(self) -> struct.Struct:
        codes = [*self.columns.values(), *(f"{len(value)}s" for value in self._constants)]
        return struct.Struct(">h" + "".join(f"i{code}" for code in codes))

    @cached_property
    def _template(self) -> list[Any]:
        """Arguments of `_struct`: the count, then length and value of each; columns are put in."""
        widths = [struct.calcsize(f">{code}") for code in self.columns.values()]
        made: list[Any] = [len(self.names)]
        for width in widths:
            made += [width, None]
        for value in self._constants:
            made += [len(value), value]
        return made

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The rows in COPY's binary format. Raises struct.error for a value that does not fit."""
        parts = [_HEADER]
        pack, fields = self._struct.pack, list(self._template)
        end = 1 + 2 * len(self.columns)
        if self.last is None:
            for row in rows:
                fields[2:end:2] = row
                parts.append(self._with_null(row) if None in row else pack(*fields))
        else:
            for row in rows:
                *fields[2:end:2], content = row
                parts += (pack(*fields), len(content).to_bytes(4, "big"), content)
        parts.append(_TRAILER)
        return b"".join(parts)

    def _with_null(self, row: Row) -> bytes:
        parts = [len(self.names).to_bytes(2, "big")]
        for code, value in zip(self.columns.values(), row, strict=True):
            packed = _NULL
            if value is not None:
                content = struct.pack(f">{code}", value)
                packed = len(content).to_bytes(4, "big") + content
            parts.append(packed)
        for content in self._constants:
            parts += (len(content).to_bytes(4, "big"), content)
        return b"".join(parts)


def copy_rows(connection: Connection, layout: Layout, rows: Sequence[Row]) -> None:
    """Insert all rows, within the connection's transaction.

    Raises what SQLAlchemy raises for the database's errors, struct.error or OverflowError for a
    number that has more than its bits.
    """
    if not rows:
        return
    columns = ", ".join(layout.names)
    raw = connection.connection.driver_connection
    assert raw is not None, "the connection is open"
    if connection.dialect.name == "postgresql":
        statement = f"COPY {layout.table.name} ({columns}) FROM STDIN (FORMAT BINARY)"
        data = layout.encode(rows)
        with (
            _as_sqlalchemys(connection, statement),
            raw.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            copy.write(data)
        return
    places = ", ".join("?" * len(layout.names))
    statement = f"INSERT INTO {layout.table.name} ({columns}) VALUES ({places})"  # noqa: S608 - names of ours
    constants = tuple(layout.constants.values())
    if constants and layout.last is None:
        rows = [row + constants for row in rows]
    elif constants:
        rows = [row[:-1] + constants + row[-1:] for row in rows]
    with _as_sqlalchemys(connection, statement):
        raw.executemany(statement, rows)


def rows_among(
    connection: Connection, columns: Sequence[Column[Any]], values: Sequence[bytes]
) -> list[Row]:
    """These columns of a table, of the rows in which the first of them is one of `values`.

    Raises what SQLAlchemy raises for the database's errors.
    """
    raw = connection.connection.driver_connection
    assert raw is not None, "the connection is open"
    is_postgresql = connection.dialect.name == "postgresql"
    names = [column.name for column in columns]
    place = "= ANY(%b)" if is_postgresql else f"IN ({', '.join('?' * len(values))})"
    statement = f"SELECT {', '.join(names)} FROM {columns[0].table.name} WHERE {names[0]} {place}"  # noqa: S608 - names of ours
    with _as_sqlalchemys(connection, statement):
        if is_postgresql:
            with raw.cursor(binary=True) as cursor:
                rows: list[Row] = cursor.execute(statement, [list(values)]).fetchall()
                return rows
        return list(raw.execute(statement, list(values)))


@contextmanager
def _as_sqlalchemys(connection: Connection, statement: str) -> Iterator[None]:
    """What the driver raises becomes what SQLAlchemy would have raised."""
    dialect = connection.dialect
    driver_error = dialect.loaded_dbapi.Error
    try:
        yield
    except driver_error as error:
        lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
        raise DBAPIError.instance(
            statement,
            None,
            error,
            driver_error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error
