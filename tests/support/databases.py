"""Databases for the central server's tests, on SQLite and on PostgreSQL, the tables made.

The tables are made once for each kind and process. A SQLite file is copied from there. The
databases of the one PostgreSQL server that this process starts, when the first is wanted, are
emptied and used again: that takes thousandths of a second, a new one more than a tenth.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text

from dobmi.central.database import open_database
from dobmi.fleet.postgres import Postgres, copy_database, drop_database, running


class Kind(StrEnum):
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass
class _InUse:
    kind: Kind = Kind.SQLITE
    given: dict[str, bool] = field(default_factory=dict)
    """PostgreSQL databases that tests have, and whether they change the tables."""
    free: list[str] = field(default_factory=list)
    """Those that are empty and wait for the next test."""


_in_use = _InUse()
_numbers = itertools.count(1)
_until_the_end = ExitStack()


@contextmanager
def using(kind: Kind) -> Iterator[None]:
    """New databases are of this kind; those that are made meanwhile are taken back at the end."""
    before, _in_use.kind = _in_use.kind, kind
    had = set(_in_use.given)
    try:
        yield
    finally:
        _in_use.kind = before
        for url in set(_in_use.given) - had:
            take_back(url)


def new_database(folder: Path, kind: Kind | None = None, *, to_spoil: bool = False) -> str:
    """The URL of a database with all tables and nothing in them; for SQLite a file in `folder`.

    `to_spoil`: for a test that changes the tables; nobody has it after that one.
    """
    if (kind or _in_use.kind) is Kind.SQLITE:
        path = folder / "central.db"
        if not path.exists():
            shutil.copyfile(_sqlite_template(), path)
        return f"sqlite:///{path}"
    if to_spoil or not _in_use.free:
        template = _postgres_template().url
        url = copy_database(postgres_server(), template, f"central_{next(_numbers)}")
    else:
        url = _in_use.free.pop()
    _in_use.given[url] = to_spoil
    return url


def bare_database(folder: Path, kind: Kind) -> str:
    """The URL of a database without tables."""
    if kind is Kind.SQLITE:
        return f"sqlite:///{folder}/central.db"
    return _given(postgres_server().create(f"bare_{next(_numbers)}"))


def copied(url: str, folder: Path) -> str:
    """The URL of a copy of the database at `url`, to which no test may be writing."""
    number = next(_numbers)
    if url.startswith("sqlite"):
        path = folder / f"copy-{number}.db"
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
        engine.dispose()
        return f"sqlite:///{path}"
    return _given(copy_database(postgres_server(), url, f"copy_{number}"))


def _given(url: str) -> str:
    """One that goes when its test is over."""
    _in_use.given[url] = True
    return url


def take_back(url: str) -> None:
    """The test is done with it. Nothing to do for a SQLite file, which goes with its folder."""
    is_spoilt = _in_use.given.pop(url, None)
    if is_spoilt is None:
        return
    if is_spoilt:
        drop_database(postgres_server(), url)
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        _postgres_template().empty(connection)
    engine.dispose()
    _in_use.free.append(url)


@cache
def postgres_server() -> Postgres:
    """The PostgreSQL server of this process's tests; nothing on it need survive a crash."""
    return _until_the_end.enter_context(running(durable=False))


@atexit.register
def stop_servers() -> None:
    """At the end of all tests, or of the program that used their databases."""
    _until_the_end.close()


@cache
def _sqlite_template() -> Path:
    folder = Path(_until_the_end.enter_context(tempfile.TemporaryDirectory()))
    database = open_database("sqlite:///template.db", folder)
    database.create_tables()
    database.close()  # the last connection brings the log into the file
    return folder / "template.db"


@dataclass(frozen=True)
class _Template:
    """A PostgreSQL database with its tables as they are made, and what is in them from then on."""

    url: str
    tables: tuple[str, ...]
    rows: dict[str, Sequence[Any]]

    def empty(self, connection: Connection) -> None:
        """Bring a copy back to what the template is, past the triggers that refuse it."""
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        emptied = [f'DELETE FROM "{name}"' for name in self.tables]  # noqa: S608 - our own names
        connection.exec_driver_sql("; ".join(emptied))
        for name, rows in self.rows.items():
            places = ", ".join("%s" for _ in rows[0])
            connection.exec_driver_sql(f'INSERT INTO "{name}" VALUES ({places})', list(rows))  # noqa: S608 - our own names
        connection.exec_driver_sql(
            "SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass, start_value, "
            "false) FROM pg_sequences"
        )


@cache
def _postgres_template() -> _Template:
    url = postgres_server().create("template")
    database = open_database(url)
    database.create_tables()
    with database.engine.begin() as connection:
        names = connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
                "AND relnamespace = 'public'::regnamespace ORDER BY relname"
            )
        ).scalars()
        tables = tuple(names)
        rows: dict[str, Sequence[Any]] = {
            name: [tuple(row) for row in found]
            for name in tables
            if (found := connection.exec_driver_sql(f'SELECT * FROM "{name}"').all())  # noqa: S608 - our own names
        }
    database.close()
    return _Template(url, tables, rows)
