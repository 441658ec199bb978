"""The audited database, read only: one snapshot, the same in every process of an audit.

Tables are read by the auditor's own SQL; nothing here knows the server's definitions of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from dobmi.audit.errors import DatabaseChanged, DatabaseNotReadable

Values = tuple[Any, ...]
_IN_SIZES = (1, 4, 16, 64, 256, 512)
"""Values of one IN list."""


_text = lru_cache(maxsize=512)(text)


@lru_cache(maxsize=512)
def _with_keys(statement: str, size: int) -> str:
    return statement.replace(":keys", "(" + ", ".join(f":key_{i}" for i in range(size)) + ")")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an audit reads: enough to open the same snapshot in another process."""

    url: str
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class Replica:
    """That it is one, and how many whole seconds it lacked; None: it does not know."""

    seconds_behind: int | None


# Nothing left to replay is up to date only while log is coming in.
_REPLICA = """
    SELECT pg_is_in_recovery(), CASE
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN 0
        ELSE ceil(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
    END
"""


@dataclass(frozen=True, slots=True)
class Source:
    """One connection to the snapshot."""

    connection: Connection

    def rows(self, statement: str, **values: Any) -> list[Values]:
        """All rows; bytes are bytes, whatever the driver calls them."""
        return list(self.stream(statement, **values))

    def stream(self, statement: str, **values: Any) -> Iterator[Values]:
        options = {"stream_results": True, "yield_per": 5_000}
        result = self.connection.execute(_text(statement), values, execution_options=options)
        if self.connection.dialect.name == "sqlite":
            yield from map(tuple, result)
            return
        for row in result:
            yield tuple(bytes(v) if type(v) is memoryview else v for v in row)

    def one(self, statement: str, **values: Any) -> Values | None:
        found = self.rows(statement, **values)
        return found[0] if found else None

    def of(self, statement: str, keys: Sequence[Any], **values: Any) -> list[Values]:
        """Rows of a statement with `IN :keys`, for any number of keys."""
        found: list[Values] = []
        for start in range(0, len(keys), _IN_SIZES[-1]):
            part = keys[start : start + _IN_SIZES[-1]]
            # Few lengths, so that few statements are made: the last value is said again.
            size = next(size for size in _IN_SIZES if size >= len(part))
            names = {f"key_{i}": part[min(i, len(part) - 1)] for i in range(size)}
            found += self.rows(_with_keys(statement, size), **names, **values)
        return found

    def replica(self) -> Replica | None:
        """None of what is no replica."""
        if self.connection.dialect.name != "postgresql":
            return None
        ((is_replica, behind),) = self.rows(_REPLICA)
        if not is_replica:
            return None
        return Replica(None if behind is None else max(0, int(behind)))

    def has_table(self, name: str) -> bool:
        sqlite = self.connection.dialect.name == "sqlite"
        asked = (
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"
            if sqlite
            else "SELECT 1 WHERE to_regclass(:name) IS NOT NULL"
        )
        return self.one(asked, name=name) is not None


@contextmanager
def open_snapshot(url: str) -> Iterator[tuple[Source, Place]]:
    """The database as it stands now, and how others open the same.

    Raises DatabaseNotReadable, and at the end DatabaseChanged for an SQLite file that was written to
    meanwhile.
    """
    with _connected(Place(url)) as source:
        connection = source.connection
        _check_counts(source, url)
        if connection.dialect.name == "postgresql":
            (snapshot,) = source.rows("SELECT pg_export_snapshot()")[0]
            yield source, Place(url, snapshot)
            return
        before = _version(source, url)
        _check_types(source, url)
        yield source, Place(url)
        if _version(source, url) != before:
            raise DatabaseChanged(database=_name(url))


@contextmanager
def open_place(place: Place) -> Iterator[Source]:
    """The same snapshot again, in another process."""
    with _connected(place) as source:
        yield source


@contextmanager
def _connected(place: Place) -> Iterator[Source]:
    try:
        engine = _engine(place.url)
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                if place.snapshot:
                    named = place.snapshot.replace("'", "")
                    connection.execute(text(f"SET TRANSACTION SNAPSHOT '{named}'"))
            yield Source(connection)
        engine.dispose()
    except (DBAPIError, ArgumentError, NoSuchModuleError, ImportError, sqlite3.Error) as error:
        detail = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DatabaseNotReadable(database=_name(place.url), detail=detail) from error


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # The server's word to PgBouncer, no parameter of a connection's.
        return create_engine(
            parsed.difference_update_query(["prepare_threshold"]), poolclass=NullPool
        )
    path = Path(parsed.database or "").resolve()
    if not path.is_file():
        raise DatabaseNotReadable(database=_name(url), detail=f"{path.name}: no such file")
    name = path.as_uri() + "?mode=ro"
    return create_engine(
        "sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(name, uri=True)
    )


_COUNTS = (
    ("terminals", "head_sequence", 10**8, ""),
    ("card_transactions", "counter", 10**6, ""),
    ("counters", "value", 10**6, "WHERE name LIKE 'credit:%'"),
    ("postings", "sequence", 10**6, "WHERE terminal_id = 0 AND kind LIKE 'unexplained-%'"),
)
"""Table, column, to what it cannot have counted: the gaps below such a number are looked for one by one."""


def _check_counts(source: Source, url: str) -> None:
    for table, column, most, where in _COUNTS:
        if not source.has_table(table):
            continue
        found = source.one(f"SELECT max({column}) FROM {table} {where}")  # noqa: S608 - the names above
        if found is not None and isinstance(found[0], int) and found[0] > most:
            detail = f"{table} has in {column} {found[0]}, to which nothing counts"
            raise DatabaseNotReadable(database=_name(url), detail=detail)


_TYPES = {"INTEGER": "integer", "BIGINT": "integer", "BOOLEAN": "integer", "BLOB": "blob"}
"""SQLite's storage classes by the types of columns; any other type is a text."""


def _check_types(source: Source, url: str) -> None:
    """SQLite keeps anything in any column: nothing else here expects a text where a number belongs."""
    for (table,) in source.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
        columns = source.rows(f"PRAGMA table_info('{table}')")
        wrong = {
            name: f"""typeof("{name}") NOT IN ('{_TYPES.get(type_, "text")}'{"" if strict else ", 'null'"})"""
            for _, name, type_, strict, *_ in columns
        }
        others = " OR ".join(wrong.values())
        statement = f'SELECT rowid, {", ".join(wrong.values())} FROM "{table}" WHERE {others}'  # noqa: S608 - names of the catalogue
        first = source.one(statement)
        if first is not None:
            name = next(name for name, is_wrong in zip(wrong, first[1:], strict=True) if is_wrong)
            detail = f"row {first[0]} of {table} has in {name} what cannot be there"
            raise DatabaseNotReadable(database=_name(url), detail=detail)


def _version(source: Source, url: str) -> tuple[Any, ...]:
    """What differs once somebody else has written to an SQLite database."""
    path = Path(make_url(url).database or "")
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size if log.exists() else 0
    return (*source.rows("PRAGMA data_version")[0], path.stat().st_mtime_ns, size)


def _name(url: str) -> str:
    """Without a password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the database"
