"""One machine's database file and what can happen to it: kill, power cut, full disk, old backup.

The real code opens its SQLite file as always. Every engine on a path that has a `Disk` runs its
statements and commits past it, so that a fault strikes at an exact statement or commit. At a kill
the files are photographed as the dead process leaves them; what its Python code still does while
the stack unwinds is undone by putting the photograph back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine

_FILES = ("", "-wal")
_CHANGES = ("INSERT", "UPDATE", "DELETE")
_FULL_TEXT = "database or disk is full"
_SYNCHRONOUS_FULL = 2


class Effect(StrEnum):
    KILL = "kill"
    """The process is gone; what the system has of the file stays."""
    POWER_CUT = "power cut"
    """The machine is gone; what was not flushed is lost."""
    DISK_FULL = "disk full"
    """From here on nothing more can be written, until somebody makes room."""


class Place(StrEnum):
    BEFORE_STATEMENT = "before statement"
    BEFORE_COMMIT = "before commit"
    AFTER_COMMIT = "after commit"


@dataclass(frozen=True, slots=True)
class Strike:
    """`effect` at the `index`-th (from 0) statement or commit from when it is armed."""

    effect: Effect
    place: Place
    index: int


class Killed(BaseException):
    """The process died here. Nothing of the project catches it."""


Image = dict[str, bytes]
"""The content of a database's files, by what is added to the path."""


@dataclass(slots=True)
class Disk:
    """`flushes_less` opens the database with synchronous NORMAL, against what the project does:
    to show that the oracles see what a power cut then takes.
    """

    path: Path
    flushes_less: bool = False
    changes: int = 0
    """Counts what may have changed the files."""
    left_behind: Image = field(default_factory=dict)
    """The files as the last kill or power cut left them."""
    _armed: Strike | None = None
    _statements_seen: int = 0
    _commits_seen: int = 0
    _is_full: bool = False
    _changed: bool = False
    _struck: Strike | None = None
    _flushed: Image | None = None
    """Older than the files, while a commit on them has not been flushed."""

    def __post_init__(self) -> None:
        _DISKS[str(self.path)] = self

    def arm(self, strike: Strike) -> None:
        self._armed, self._struck = strike, None
        self._statements_seen = self._commits_seen = 0

    def disarm(self) -> Strike | None:
        """The strike that was armed, if it happened. There is room on the disk again."""
        self._armed, self._is_full = None, False
        struck, self._struck = self._struck, None
        return struck

    def image(self) -> Image:
        """The files as they are now."""
        return {end: file.read_bytes() for end in _FILES if (file := self._file(end)).exists()}

    def put_back(self, image: Image) -> None:
        """No connection may be open."""
        for end in (*_FILES, "-shm"):
            self._file(end).unlink(missing_ok=True)
        for end, content in image.items():
            self._file(end).write_bytes(content)
        self._flushed = None
        self.changes += 1

    def backup(self) -> Image:
        """A consistent copy by SQLite's own backup, while the process runs."""
        copy = self._file("-copy")
        source, target = sqlite3.connect(self.path), sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        content = copy.read_bytes()
        copy.unlink()
        return {"": content}

    def cut_power(self) -> Image:
        """What a power cut now leaves."""
        return self.image() if self._flushed is None else self._flushed

    def attach(self, dialect: Any) -> None:
        """Have this dialect's statements and commits pass here."""
        execute, execute_many, commit = (
            dialect.do_execute,
            dialect.do_executemany,
            dialect.do_commit,
        )

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            self._before_statement(cursor, statement)
            execute(cursor, statement, parameters, context)

        def do_executemany(
            cursor: Any, statement: str, parameters: Any, context: Any = None
        ) -> None:
            self._before_statement(cursor, statement)
            execute_many(cursor, statement, parameters, context)

        def do_commit(connection: Any) -> None:
            self._at_commit(Place.BEFORE_COMMIT)
            if self._is_full and self._changed:
                raise sqlite3.OperationalError(_FULL_TEXT)
            self._note_flushing(connection)
            commit(connection)
            self.changes += 1
            self._at_commit(Place.AFTER_COMMIT)
            self._commits_seen += 1

        dialect.do_execute, dialect.do_executemany = do_execute, do_executemany
        dialect.do_commit = do_commit

    def _file(self, end: str) -> Path:
        return self.path.with_name(self.path.name + end)

    def _before_statement(self, cursor: Any, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self._changed = False
            if self.flushes_less:
                cursor.execute("PRAGMA synchronous = NORMAL")
        armed = self._armed
        if armed is not None and armed.place is Place.BEFORE_STATEMENT:
            self._statements_seen += 1
            if self._statements_seen > armed.index:
                self._strike(armed)
        if statement.lstrip().startswith(_CHANGES):
            self._changed = True
            if self._is_full:
                raise sqlite3.OperationalError(_FULL_TEXT)

    def _note_flushing(self, connection: Any) -> None:
        if self._flushed is None:
            level = connection.execute("PRAGMA synchronous").fetchone()[0]
            if level < _SYNCHRONOUS_FULL:
                self._flushed = self.image()

    def _at_commit(self, place: Place) -> None:
        armed = self._armed
        if armed is not None and armed.place is place and self._commits_seen == armed.index:
            self._strike(armed)

    def _strike(self, strike: Strike) -> None:
        self._armed, self._struck = None, strike
        if strike.effect is Effect.DISK_FULL:
            self._is_full = True
            return
        power = strike.effect is Effect.POWER_CUT
        self.left_behind = self.cut_power() if power else self.image()
        raise Killed


_DISKS: dict[str, Disk] = {}


def forget(disks: Iterable[Disk]) -> None:
    """Their world has ended."""
    for disk in disks:
        _DISKS.pop(str(disk.path), None)


@event.listens_for(Engine, "do_connect")
def _on_connect(dialect: Dialect, _record: Any, arguments: Any, _named: Any) -> None:
    disk = _DISKS.get(str(arguments[0])) if arguments else None
    if disk is not None and "do_commit" not in vars(dialect):
        disk.attach(dialect)
