"""All of the ledger in one file, as it stood at one moment: what an auditor is given.

A fresh SQLite file with the same tables, filled from one consistent look at the database while it
goes on being used, and a manifest beside it: how many rows of each table, and the file's SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from dobmi.cardlib.custody import sync_folder
from dobmi.central import migrations
from dobmi.central.database import Database
from dobmi.central.errors import ExportExists
from dobmi.central.schema import metadata, photos, request_nonces, till_staff

_ROWS_A_STEP = 5_000
LEFT_OUT = (request_nonces, till_staff, photos)
"""Say nothing of the ledger: requests of the last minutes, PINs' hashes, members' faces."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written. `rows` by table; `sha256` of the file, in hex."""

    path: Path
    manifest: Path
    rows: dict[str, int]
    sha256: str


def export(database: Database, path: Path, now: int) -> Export:
    """Write the ledger to `path`, never half, and its manifest to `path`.json.

    Raises ExportExists, DatabaseAway, DatabaseFailed, OSError.
    """
    manifest = path.with_name(path.name + ".json")
    for there in (path, manifest):
        if there.exists():
            raise ExportExists(path=there)
    temporary = path.with_name(path.name + ".new")
    written = manifest.with_name(manifest.name + ".new")
    temporary.unlink(missing_ok=True)
    # Members' names and purchases: for its owner alone.
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    rows: dict[str, int] = {}
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as target:
            # Nobody reads it before it is whole, and it is renamed then.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            with database.read() as source:
                for table in metadata.sorted_tables:
                    if table not in LEFT_OUT:
                        rows[table.name] = _copy(source, target, table)
        digest = _synced_digest(temporary)
        content = {
            "format": "dobmi export 1",
            "file": path.name,
            "sha256": digest,
            "made_at": now,
            "schema_version": migrations.head(),
            "rows": rows,
        }
        with written.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        written.replace(manifest)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        written.unlink(missing_ok=True)
    return Export(path, manifest, rows, digest)


def _copy(source: Connection, target: sqlite3.Connection, table: Table) -> int:
    """Table, rows and indexes; how many rows."""
    dialect = sqlite.dialect()
    target.execute(str(CreateTable(table).compile(dialect=dialect)))
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    places = ", ".join("?" for _ in table.columns)
    insert = f'INSERT INTO "{table.name}" ({names}) VALUES ({places})'  # noqa: S608 - our own names
    count = 0
    result = source.execution_options(stream_results=True).execute(select(table))
    target.execute("BEGIN")
    for part in result.partitions(_ROWS_A_STEP):
        target.executemany(insert, map(tuple, part))
        count += len(part)
    target.execute("COMMIT")
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        target.execute(str(CreateIndex(index).compile(dialect=dialect)))
    return count


def _synced_digest(path: Path) -> str:
    """The file's SHA-256, once it is on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
