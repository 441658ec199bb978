"""Whether statements join distributed tables by their distribution keys, as Citus needs it.

A table says in `info` by which column it is distributed, or that every node has all of it; the
latter may be joined with anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Alias,
    BindParameter,
    BooleanClauseList,
    ClauseElement,
    ColumnElement,
    Engine,
    FromClause,
    Join,
    Select,
    Subquery,
    Table,
    event,
)
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression


def loose_joins(statement: ClauseElement) -> list[str]:
    """The SELECTs in it that join two distributed tables otherwise than by both their keys."""
    loose = {
        str(element): None
        for element in visitors.iterate(statement)
        if isinstance(element, Select) and not _is_by_keys(element)
    }
    return list(loose)


@contextmanager
def every_statement_looked_at() -> Iterator[list[str]]:
    """SELECTs of loose joins, in any statement that is made of SQLAlchemy's parts and executed."""
    seen: set[str] = set()
    found: list[str] = []

    def look(
        _connection: Any, _cursor: Any, sql: str, _values: Any, context: Any, _many: Any
    ) -> None:
        compiled = getattr(context, "compiled", None)
        if sql not in seen and compiled is not None:
            seen.add(sql)
            found.extend(loose_joins(compiled.statement))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def _is_by_keys(select: Select[Any]) -> bool:
    leaves: list[FromClause] = []
    conditions: list[ColumnElement[Any]] = []
    for part in select.get_final_froms():
        _take_apart(part, leaves, conditions)
    if select.whereclause is not None:
        conditions.append(select.whereclause)
    keys = [key for leaf in leaves if (key := _key_of(leaf)) is not None]
    if len(keys) < 2:
        return True
    same: dict[Any, set[Any]] = {}
    for left, right in _equalities(conditions):
        joined = same.get(left, {left}) | same.get(right, {right})
        for node in joined:
            same[node] = joined
    return all(key in same.get(keys[0], {keys[0]}) for key in keys)


def _take_apart(
    part: FromClause, leaves: list[FromClause], conditions: list[ColumnElement[Any]]
) -> None:
    if isinstance(part, Join):
        _take_apart(part.left, leaves, conditions)
        _take_apart(part.right, leaves, conditions)
        if part.onclause is not None:
            conditions.append(part.onclause)
        return
    leaves.append(part)


def _key_of(leaf: FromClause) -> Any:
    """The column by which it is distributed; None: every node has it, or it is brought to all."""
    table = leaf.element if isinstance(leaf, Alias) else leaf
    if isinstance(table, Table):
        key = table.info.get("distribution_key")
        return None if key is None else leaf.c[key]
    if isinstance(leaf, Subquery):
        for column in leaf.c:
            for base in column.base_columns:
                of = getattr(base, "table", None)
                if isinstance(of, Table) and of.info.get("distribution_key") == base.key:
                    return column
    return None


def _equalities(conditions: list[ColumnElement[Any]]) -> Iterator[tuple[Any, Any]]:
    for condition in conditions:
        if isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
            yield from _equalities(list(condition.clauses))
        elif isinstance(condition, BinaryExpression) and condition.operator is operators.eq:
            yield _node(condition.left), _node(condition.right)


def _node(side: ColumnElement[Any]) -> Any:
    """Two columns that are to be the same value are one shard; so are two that are the same word."""
    return ("value", side.value) if isinstance(side, BindParameter) else side
