"""A till's ledger as a file: opened as it must be, brought up to this version, its errors as ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from dobmi.terminal import schema
from dobmi.terminal.errors import LedgerFull, LedgerTooNew, LedgerTooOld, LedgerUnusable

WRITES = "dobmi_writes"
"""The execution option of a connection that is going to write."""
_BUSY_TIMEOUT_SECONDS = 5
_making = threading.Lock()
"""Nobody here opens a file that is just being made."""


def make_engine(path: Path) -> sa.Engine:
    with durably():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=3, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # What reads first and writes then would fail at once if another thread wrote in between, and
        # not wait: so whoever writes says so from the start. A sync writes beside the sales.
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_private(path: Path) -> None:
    """Made here and not by SQLite, so that others on the machine cannot read members' names.

    A file that is there is left alone: POSIX drops all locks of a process on a file when it closes
    any descriptor of it, SQLite's of the ledgers that are open already among them.
    """
    with _making, contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def durably() -> Iterator[None]:
    """Say what SQLite or the disk could not do as an error of ours."""
    try:
        yield
    except DatabaseError as error:
        text = str(error.orig)
        if "full" in text:
            raise LedgerFull from error
        raise LedgerUnusable(detail=text) from error
    except OSError as error:
        raise LedgerUnusable(detail=error.strerror or str(error)) from error


def bring_up(connection: sa.Connection, version: int) -> None:
    """Make the tables of an older version those of this one. Raises LedgerTooNew, LedgerTooOld."""
    if version > schema.SCHEMA_VERSION or version not in schema.CHANGES:
        kind = LedgerTooNew if version > schema.SCHEMA_VERSION else LedgerTooOld
        raise kind(found=version, known=schema.SCHEMA_VERSION)
    for before in range(version, schema.SCHEMA_VERSION):
        for change in schema.CHANGES[before]:
            connection.execute(sa.text(change))
    connection.execute(sa.text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
