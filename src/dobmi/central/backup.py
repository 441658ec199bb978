"""Backups that are known to restore: a copy of the database, and a manifest of what is in it.

A backup is a folder: the database (SQLite: a file made by its online backup, PostgreSQL: pg_dump's
custom format) and `manifest.json` with the file's SHA-256 and what the database held: rows of each
table, the trial balance, the head of each till's chain. The manifest is read from just what was
copied: from the copy itself, or in the snapshot that pg_dump uses. Restoring reads the same from
the restored database and compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, inspect, text

from dobmi.central import migrations
from dobmi.central.database import Database
from dobmi.central.errors import (
    BackupFailed,
    BackupUnusable,
    DatabaseNotEmpty,
    RestoredOtherwise,
)
from dobmi.central.server import Central
from dobmi.i18n import N_

_FORMAT = 1
_MANIFEST = "manifest.json"
_PIECE = 1 << 20
_OUR_QUERY = ("prepare_threshold",)
"""Of a database URL: what is not libpq's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a database holds, so that two are seen to be the same ledger.

    `journal`: of each kind of posting how many and how much. `trial_balance_sha256`: of each
    account's debits and credits. `chains`: of each terminal the newest voucher and its hash.
    """

    schema_version: int
    rows: dict[str, int]
    journal: dict[str, list[int]]
    accounts: int
    trial_balance_sha256: str
    chains: dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    format: int
    program: str
    made_at: str
    database: str
    server_public_key: str
    file: str
    size_bytes: int
    sha256: str
    facts: Facts


def back_up(central: Central, folder: Path) -> tuple[Path, Manifest]:
    """A new backup in `folder`, made while the server serves; where it is and what is in it.

    It has its name only when it is whole and on disk. Raises BackupFailed, DatabaseAway.
    """
    made_at = datetime.fromtimestamp(central.unix_seconds(), UTC)
    place = folder / f"dobmi-central-{made_at:%Y%m%dT%H%M%SZ}"
    partial = place.with_suffix(".partial")
    if place.exists():
        raise BackupFailed(detail=f"{place}")
    try:
        partial.mkdir(parents=True, mode=0o700)
        if _is_sqlite(central.database):
            copy = partial / "central.sqlite"
            facts = _copy_sqlite(central.database, copy)
        else:
            copy = partial / "central.pgdump"
            facts = _dump_postgresql(central, copy)
        copy.chmod(0o600)
        manifest = Manifest(
            format=_FORMAT,
            program=version("dobmi"),
            made_at=made_at.isoformat(),
            database=central.database.engine.url.get_backend_name(),
            server_public_key=central.public_key.hex(),
            file=copy.name,
            size_bytes=copy.stat().st_size,
            sha256=_sha256(copy),
            facts=facts,
        )
        written = partial / _MANIFEST
        written.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
        written.chmod(0o600)
        for path in (copy, written, partial):
            _sync(path)
        partial.rename(place)
        _sync(folder)
    except OSError as error:
        raise BackupFailed(detail=f"{error.filename or folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place, manifest


def read_manifest(place: Path) -> Manifest:
    """Of a backup whose file is whole. Raises BackupUnusable."""
    try:
        found = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**{**found, "facts": Facts(**found["facts"])})
        copy = place / Path(manifest.file).name
        is_whole = copy.stat().st_size == manifest.size_bytes and _sha256(copy) == manifest.sha256
    except OSError as error:
        raise BackupUnusable(path=place, detail=error.strerror) from error
    except (ValueError, TypeError, KeyError) as error:
        raise BackupUnusable(path=place, detail=N_("its manifest cannot be read")) from error
    if manifest.format != _FORMAT:
        raise BackupUnusable(path=place, detail=N_("a newer version of the program made it"))
    if not is_whole:
        raise BackupUnusable(path=place, detail=N_("its file is not what the manifest says"))
    return manifest


def restore(
    place: Path, database: Database, *, programs: Path | None, public_key: bytes
) -> Manifest:
    """Put the backup into the empty `database`, and see that it is the same ledger there.

    Nothing more is done to it: see `restoring.mark_restored`. Raises BackupUnusable,
    DatabaseNotEmpty, RestoredOtherwise.
    """
    manifest = read_manifest(place)
    kind = database.engine.url.get_backend_name()
    if manifest.database != kind:
        raise BackupUnusable(path=place, detail=f"{manifest.database}, {kind}")
    if manifest.facts.schema_version > migrations.head():
        raise BackupUnusable(path=place, detail=N_("a newer version of the program made it"))
    if manifest.server_public_key != public_key.hex():
        raise BackupUnusable(path=place, detail=N_("it belongs to another server's keys"))
    _require_empty(database)
    copy = place / Path(manifest.file).name
    if kind == "sqlite":
        _restore_sqlite(copy, database)
    else:
        _restore_postgresql(copy, database, programs)
    with database.read() as connection:
        if kind == "sqlite" and not _is_sound(connection):
            raise RestoredOtherwise(detail="integrity_check")
        found = facts_of(connection)
    for name, wanted in asdict(manifest.facts).items():
        if asdict(found)[name] != wanted:
            raise RestoredOtherwise(detail=name)
    return manifest


def facts_of(connection: Connection) -> Facts:
    """As the database has them in this transaction; of whatever version its tables are."""
    rows = {
        name: connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()  # noqa: S608 - the database's own names
        for name in _tables(connection)
    }
    journal = connection.execute(
        text("SELECT kind, count(*), sum(amount_rupiah) FROM postings GROUP BY kind ORDER BY kind")
    )
    balance = connection.execute(
        text(
            "SELECT account, sum(debit), sum(credit) FROM ("
            "SELECT debit_account AS account, amount_rupiah AS debit, 0 AS credit FROM postings "
            "UNION ALL SELECT credit_account, 0, amount_rupiah FROM postings"
            ") AS sides GROUP BY account"
        )
    )
    lines = sorted(f"{row[0]} {int(row[1])} {int(row[2])}" for row in balance)
    chains = connection.execute(
        text("SELECT id, head_sequence, head_hash FROM terminals ORDER BY id")
    )
    return Facts(
        schema_version=migrations.version_of(connection) or 0,
        rows=rows,
        journal={row[0]: [int(row[1]), int(row[2])] for row in journal},
        accounts=len(lines),
        trial_balance_sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        chains={str(row[0]): [int(row[1]), bytes(row[2]).hex()] for row in chains},
    )


def _tables(connection: Connection) -> list[str]:
    """Those that hold rows of their own; of a partitioned one the whole."""
    if connection.dialect.name == "sqlite":
        return sorted(inspect(connection).get_table_names())
    found = connection.execute(
        text(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
            "AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        )
    )
    return list(found.scalars())


def _is_sqlite(database: Database) -> bool:
    return database.engine.url.get_backend_name() == "sqlite"


def _copy_sqlite(database: Database, copy: Path) -> Facts:
    """In one step: a reader of the write-ahead log, which keeps no writer waiting."""
    source = database.engine.url.database
    try:
        with (
            closing(
                sqlite3.connect(f"{Path(str(source)).absolute().as_uri()}?mode=ro", uri=True)
            ) as db,
            closing(sqlite3.connect(copy)) as target,
        ):
            db.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        engine = create_engine(URL.create("sqlite", database=str(copy)))
        with engine.connect() as connection:
            is_sound = _is_sound(connection)
            facts = facts_of(connection)
        engine.dispose()
    except sqlite3.Error as error:
        raise BackupFailed(detail=type(error).__name__) from error
    if not is_sound:
        raise BackupFailed(detail="integrity_check")
    return facts


def _is_sound(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok")


def _restore_sqlite(copy: Path, database: Database) -> None:
    path = Path(str(database.engine.url.database))
    database.close()
    with (
        closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(path)) as target,
    ):
        source.backup(target)
    path.chmod(0o600)
    _sync(path)


def _dump_postgresql(central: Central, copy: Path) -> Facts:
    """Facts and copy of one snapshot, whatever is written meanwhile."""
    with central.database.read() as connection:
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        _run(
            "pg_dump",
            central.settings.postgresql_programs,
            central.database.engine.url,
            "--format=custom",
            "--no-password",
            f"--snapshot={snapshot}",
            f"--file={copy}",
        )
        return facts_of(connection)


def _restore_postgresql(copy: Path, database: Database, programs: Path | None) -> None:
    options = ("--no-owner", "--no-privileges", "--no-password", "--exit-on-error")
    _run("pg_restore", programs, database.engine.url, *options, "--single-transaction", str(copy))


def _run(program: str, programs: Path | None, url: URL, *arguments: str) -> None:
    """With the password in the environment, where no list of processes shows it."""
    found = shutil.which(program, path=None if programs is None else str(programs))
    if found is None:
        raise BackupFailed(detail=f"{program}?")
    plain = url.set(drivername="postgresql", password=None)
    place = plain.difference_update_query(_OUR_QUERY).render_as_string()
    environment = dict(os.environ)
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own program, by a setting or on PATH
        [found, f"--dbname={place}", *arguments],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise BackupFailed(detail=done.stderr.strip()[-300:] or program)


def _require_empty(database: Database) -> None:
    with database.read() as connection:
        if inspect(connection).get_table_names():
            raise DatabaseNotEmpty(database=database.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
