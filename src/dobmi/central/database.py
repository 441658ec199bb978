"""The database behind one pair of functions: `read` for looking, `write` for one transaction.

SQLite: write-ahead log, synchronous FULL, foreign keys on, and a writer takes the lock when it
begins (BEGIN IMMEDIATE), so that what it read stays true until it commits. PostgreSQL: the rows
that must stay true are locked by the statements that read them (`FOR UPDATE`, no words on SQLite).
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Table,
    cast,
    create_engine,
    event,
    func,
    insert,
    make_url,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import ConnectionPoolEntry

from dobmi.central import migrations
from dobmi.central.errors import (
    DatabaseAway,
    DatabaseFailed,
    DatabaseNeverVersioned,
    DatabaseTooNew,
    DatabaseTooOld,
    KeyTaken,
    LostRace,
    NotInitialised,
    ServerBusy,
)
from dobmi.central.metrics import RETRIES
from dobmi.central.schema import counters

_log = logging.getLogger(__name__)

_BUSY_TIMEOUT_MS = 20_000
CONNECTION_WAIT_SECONDS = 10
"""For one of the pool's connections, when all are in use."""
_WRITES = "dobmi_writes"
_making = threading.Lock()
"""Nobody in this process opens a file that is just being made."""
_Result = TypeVar("_Result")
_WAIT_SECONDS = (0.01, 0.04, 0.16, 0.64)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Database:
    engine: Engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look. Nothing is written. Raises DatabaseAway, DatabaseFailed, ServerBusy."""
        try:
            with self.engine.connect() as connection:
                if connection.dialect.name == "postgresql":  # else each statement sees its own
                    connection.execution_options(isolation_level="REPEATABLE READ")
                with connection.begin():
                    yield connection
        except NoConnectionFree as error:
            raise ServerBusy from error
        except DBAPIError as error:
            if _sqlstate(error) in _LOST_RACES:  # on a replica: what was looked at has gone
                raise _LOST_RACES[_sqlstate(error)] from error
            if _is_away(error):
                raise DatabaseAway from error
            if type(error) in _FAILURES:
                raise _failed(error) from error
            raise

    @contextmanager
    def write(self, *, rebuilds: bool = False) -> Iterator[Connection]:
        """One transaction: all of it is durable when the block ends, or none.

        `rebuilds`: it makes tables anew; SQLite looks after no foreign keys meanwhile.
        Raises ServerBusy: none (LostRace of it: at once, so that it is worth another try).
        DatabaseAway, DatabaseFailed: nobody knows.
        """
        try:
            with (
                self.engine.connect().execution_options(**{_WRITES: True}) as connection,
                _without_foreign_keys(connection) if rebuilds else contextlib.nullcontext(),
                connection.begin(),
            ):
                yield connection
        except NoConnectionFree as error:
            raise ServerBusy from error
        except DBAPIError as error:
            if _sqlstate(error) in _LOST_RACES:
                raise _LOST_RACES[_sqlstate(error)] from error
            if "database is locked" in str(error.orig):
                raise ServerBusy from error
            if _is_away(error):
                raise DatabaseAway from error
            if type(error) in _FAILURES:
                raise _failed(error) from error
            raise

    def write_again(self, work: Callable[[Connection], _Result]) -> _Result:
        """One transaction, tried again a few times when it loses a race (PostgreSQL).

        `work` starts anew each time. Raises as `write`.
        """
        for wait_seconds in _WAIT_SECONDS:
            with contextlib.suppress(LostRace), self.write() as connection:
                return work(connection)
            RETRIES.inc()
            time.sleep(random.uniform(0, wait_seconds))  # noqa: S311 - so that two part
        with self.write() as connection:
            return work(connection)

    def create_tables(self) -> int | None:
        """Make the tables, or bring older ones to this version with their data; harmless else.

        The version found, None of an empty database. Raises DatabaseTooNew, DatabaseTooOld (of
        before there were versions), DatabaseFailed; then nothing was changed.
        """
        with self.write(rebuilds=True) as connection:
            migrations.lock_tables(connection)
            found = migrations.version_of(connection)
            if found == 0:
                raise DatabaseNeverVersioned(**self._versions(found))
            if found is not None and found > migrations.head():
                raise DatabaseTooNew(**self._versions(found))
            if found != migrations.head():
                migrations.upgrade(connection)
                if (
                    connection.dialect.name == "sqlite"
                    and connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                ):
                    raise DatabaseFailed(kind="foreign_key_check")
        return found

    def require_tables(self) -> None:
        """Raises NotInitialised, DatabaseTooOld, DatabaseTooNew, DatabaseFailed."""
        with self.read() as connection:
            found = migrations.version_of(connection)
        if found is None:
            raise NotInitialised(database=self.name)
        if found < migrations.head():
            raise DatabaseTooOld(**self._versions(found))
        if found > migrations.head():
            raise DatabaseTooNew(**self._versions(found))

    def _versions(self, found: int) -> dict[str, Any]:
        return {"database": self.name, "found": found, "expected": migrations.head()}

    @property
    def name(self) -> str:
        """For people: its URL without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str, folder: Path = Path()) -> Database:
    """`url` is SQLAlchemy's; a relative SQLite file lies in `folder`."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return Database(_postgresql(parsed))
    if parsed.database and parsed.database != ":memory:":
        path = folder / parsed.database
        # Members' names and purchases: for its owner alone. -wal and -shm take the file's mode.
        # A file that is there is left alone: POSIX drops all locks of a process on a file when it
        # closes any descriptor of it, those of another database object on the same file, too.
        with _making, contextlib.suppress(OSError):  # the engine says it better
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        parsed = parsed.set(database=str(path))
    engine = create_engine(parsed, pool_timeout=CONNECTION_WAIT_SECONDS, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # Python's own transaction control is switched off: it would begin deferred.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        _write_ahead(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Database(engine)


def _write_ahead(cursor: DBAPICursor) -> None:
    """Of those who turn a new file to its write-ahead log at once, SQLite lets no loser wait."""
    until = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """SQLite, which cannot do it within a transaction; PostgreSQL changes tables in place."""
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys = ON")


_LIVELINESS = {
    # A machine that is gone answers nothing: seconds, where the system's own wait is hours.
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def _postgresql(url: URL) -> Engine:
    """`prepare_threshold=none` in the URL prepares no statements, as PgBouncer by transactions needs.

    After a failover the pool's connections lead to a server that is gone or, worse, to one that
    serves on as a standby and writes nothing: all of them are dropped at the first such answer.
    """
    given: dict[str, Any] = dict(url.query)
    options: dict[str, Any] = {key: _LIVELINESS[key] for key in _LIVELINESS.keys() - given.keys()}
    if "prepare_threshold" in given:
        asked = given["prepare_threshold"]
        options["prepare_threshold"] = None if asked == "none" else int(asked)
        url = url.difference_update_query(["prepare_threshold"])
    # A connection that a restart of the database broke is found out before it is used.
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=CONNECTION_WAIT_SECONDS,
        hide_parameters=True,
        connect_args=options,
    )

    @event.listens_for(engine, "handle_error")
    def _notice_standby(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True

    return engine


_READ_ONLY = "25006"
"""PostgreSQL's word for a write on a standby."""


def _sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code of an error, "" where there is none."""
    return getattr(error.orig, "sqlstate", None) or ""


_LOST_RACES: Mapping[str, type[LostRace]] = {
    "23505": KeyTaken,
    "40001": LostRace,
    "40P01": LostRace,
    "55P03": LostRace,
}
"""Unique violation, serialisation failure, deadlock, a lock not had in time: the same request again
finds what the other writer wrote. On SQLite writers wait for each other."""


_FAILURES = (DatabaseError, OperationalError, ProgrammingError)
"""A disk that is full, a file that is no database, a table or column that is not there."""


def _failed(error: DBAPIError) -> DatabaseFailed:
    _log.error("the database failed", exc_info=error)
    return DatabaseFailed(kind=type(error.orig).__name__)


def _is_away(error: DBAPIError) -> bool:
    """PostgreSQL: no connection, or the server ended one (class 08, and 57P01 to 57P03)."""
    if error.connection_invalidated:
        return True
    state = _sqlstate(error)
    no_connection = isinstance(error, OperationalError) and not state
    is_sqlite = isinstance(error.orig, sqlite3.Error)
    return not is_sqlite and (no_connection or state.startswith(("08", "57P")))


def wait_no_longer(connection: Connection, seconds: int) -> None:
    """From here on in this transaction a lock that is not had in time is a LostRace (PostgreSQL).

    For locks before which everybody else has to queue: waiting long for one stops them all.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{int(seconds)}s'"))


def next_number(connection: Connection, name: str) -> int:
    """The next number of the counter `name`, from 1: numbers become visible in their order."""
    return add_to_counter(connection, name, 1)


def add_to_counter(connection: Connection, name: str, amount: int) -> int:
    """The counter's value with `amount` more; it stays locked until the transaction ends."""
    statement = (
        update(counters)
        .where(counters.c.name == name)
        .values(value=counters.c.value + amount)
        .returning(counters.c.value)
    )
    value = connection.execute(statement).scalar_one_or_none()
    if value is None:
        insert_unless_there(connection, counters, [{"name": name, "value": 0}])
        value = connection.execute(statement).scalar_one()
    return int(value)


def count_up(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """The next number of each of these counters (some hundreds), as `next_number`."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(counters).values([{"name": name, "value": 1} for name in names])
    counted = statement.on_conflict_do_update(
        index_elements=[counters.c.name], set_={"value": counters.c.value + 1}
    ).returning(counters.c.name, counters.c.value)
    return {row.name: row.value for row in connection.execute(counted)}


def whole_sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """The sum as a whole number, 0 of nothing: PostgreSQL's own sums are decimals."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert all rows; a broken constraint is an error."""
    if rows:
        connection.execute(insert(table), list(rows))


def insert_unless_there(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows that break no unique constraint; what is there stays as it is.

    Only for rows whose key says all there is to say: a *different* row under the same key would
    be hidden.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(postgresql.insert(table).on_conflict_do_nothing(), list(rows))
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), list(rows))
