"""What a database is made of, so that two can be compared: the order of columns is left out."""

# ruff: noqa: S608 - every name in these queries comes from here or from the catalogue

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, inspect, text

_OF_ALEMBIC = "alembic_version"


def shape(connection: Connection) -> dict[str, Any]:
    """By the kind of part and its name, its definition as the database has it."""
    if connection.dialect.name == "postgresql":
        return {kind: _rows(connection, query) for kind, query in _POSTGRESQL.items()}
    return _sqlite_shape(connection)


def _rows(connection: Connection, query: str) -> list[str]:
    found = (_plain(" | ".join(map(str, row))) for row in connection.execute(text(query)))
    return sorted(line for line in found if _OF_ALEMBIC not in line)


_MINE = "n.nspname = 'public'"
_POSTGRESQL = {
    "columns": f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, coalesce(pg_get_expr(d.adbin, d.adrelid), '')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {_MINE}
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind IN ('r', 'p', 'v')""",
    "tables": f"""
        SELECT c.relname, c.relkind, coalesce(pg_get_partkeydef(c.oid), ''),
               coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(c.reloptions::text, '')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {_MINE}
        WHERE c.relkind IN ('r', 'p', 'v', 'S')""",
    "constraints": f"""
        SELECT r.conrelid::regclass, r.conname, pg_get_constraintdef(r.oid)
        FROM pg_constraint r JOIN pg_namespace n ON n.oid = r.connamespace AND {_MINE}
        WHERE r.contype <> 'n'""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": f"""
        SELECT t.tgrelid::regclass, t.tgname, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace AND {_MINE} WHERE NOT t.tgisinternal""",
    "functions": f"""
        SELECT p.proname, pg_get_functiondef(p.oid)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {_MINE}""",
}


def _sqlite_shape(connection: Connection) -> dict[str, Any]:
    tables = inspect(connection)
    found: dict[str, Any] = {}
    for table in tables.get_table_names():
        if table == _OF_ALEMBIC:
            continue
        columns = _rows(
            connection,
            f"SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo('{table}')",
        )
        foreign = _rows(connection, f"SELECT * FROM pragma_foreign_key_list('{table}')")
        checks = sorted(
            (str(check["name"]), str(check["sqltext"]))
            for check in tables.get_check_constraints(table)
        )
        indexes = []
        for index in connection.execute(
            text(f"SELECT name, \"unique\", origin, partial FROM pragma_index_list('{table}')")
        ).all():
            parts = connection.execute(
                text(f"SELECT name, \"desc\" FROM pragma_index_xinfo('{index.name}') WHERE key = 1")
            ).all()
            written = connection.execute(
                text("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = :name"),
                {"name": index.name},
            ).scalar()
            name = "" if index.origin != "c" else index.name
            indexes.append(
                (name, index.unique, index.origin, tuple(map(tuple, parts)), _plain(written or ""))
            )
        found[f"table {table}"] = {
            "columns": columns,
            "foreign keys": [line.split("|", 1)[1] for line in foreign],
            "checks": checks,
            "indexes": sorted(indexes),
            "unique": sorted(
                (str(unique["name"]), tuple(unique["column_names"]))
                for unique in tables.get_unique_constraints(table)
            ),
        }
    for row in connection.execute(
        text("SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')")
    ):
        found[f"{row.type} {row.name}"] = _plain(row.sql)
    return found


def _plain(sql: str) -> str:
    """Without what PostgreSQL adds when it reads its own words again, and without layout."""
    without_casts = re.sub(r"::(character varying|text)(\[\])?", "", sql)
    return "".join(re.sub(r'[()"]', "", without_casts).split())
