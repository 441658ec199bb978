"""Bringing a database from the tables of an older version to those of schema.py, with its data.

`versions/` holds one revision for each version of the tables, in one line. A revision is frozen
once it is on main: it names its tables itself and never imports schema.py.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from sqlalchemy import Connection, inspect, text

_LOCK = 0x646F626D69
"""PostgreSQL's advisory lock of whoever changes the tables: two servers may start at once."""


@cache
def head() -> int:
    """The version of the tables that this program works with."""
    names = [entry.name for entry in files(__name__).joinpath("versions").iterdir()]
    return max(int(name[1:5]) for name in names if name.startswith("r") and name.endswith(".py"))


def version_of(connection: Connection) -> int | None:
    """The version of the tables there; None: no tables of ours; 0: they are older than versions."""
    tables = inspect(connection)
    if not tables.has_table("postings"):
        return None
    if tables.has_table("alembic_version"):
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return int(revision or 0)
    if tables.has_table("schema_version"):  # of before Alembic
        return connection.execute(text("SELECT max(version) FROM schema_version")).scalar() or 0
    return 0


def upgrade(connection: Connection) -> None:
    """Bring the tables to `head`, within the connection's transaction.

    A database of version 1, made before Alembic came, is taken over as it is. The caller holds
    `lock_tables` and has seen to it that the version there is none, or one from 1 to `head`.
    """
    from alembic import command  # noqa: PLC0415 - 0.1 s of every start, for what is done once
    from alembic.config import Config  # noqa: PLC0415

    configuration = Config()
    configuration.set_main_option("script_location", str(files(__name__)))
    configuration.attributes["connection"] = connection
    if version_of(connection) == 1:
        command.stamp(configuration, "0001")
    command.upgrade(configuration, "head")
    # Programs of before Alembic look here, and refuse what is newer than they are.
    connection.execute(text("UPDATE schema_version SET version = :head"), {"head": head()})


def lock_tables(connection: Connection) -> None:
    """Until the transaction ends nobody else changes the tables; on SQLite, nobody writes anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
