"""Putting what is found on the work list: once each, and back on it when it comes again.

Leaf: what finds something imports this, and the work list reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Subquery, func, select, tuple_

from dobmi.central.database import insert_rows, insert_unless_there
from dobmi.central.schema import WorkState, anomalies, anomaly_steps
from dobmi.money import Rupiah

SERVER: Final = ""
"""By whom the server's own steps are."""
DONE_WITH = (WorkState.CLOSED, WorkState.EXPLAINED)
"""What was found again in one of these states comes back on the list."""
HAPPENS_AGAIN = frozenset(
    {
        "other-seller",
        "forked-chain",
        "wrong-credit-state",
        "wrong-card-mac",
        "credit-without-proof",
        "card-not-settled",
    }
)
"""Kinds of which each finding is something that happened: closed, they come back as they were. All
others are seen again whenever somebody looks, and come back only if they are not what they were."""


def anomaly_row(
    kind: str,
    subject: str,
    *,
    at: int,
    detail: str,
    card_uid: bytes | None = None,
    terminal_id: int | None = None,
    amount: Rupiah | None = None,
) -> dict[str, object]:
    """A row of `anomalies`; `(kind, subject)` is found once. `amount`: how much it is about."""
    return {
        "kind": kind,
        "subject": subject,
        "card_uid": card_uid,
        "terminal_id": terminal_id,
        "amount_rupiah": None if amount is None else amount.amount,
        "detail": detail[:400],
        "at": at,
    }


def note_findings(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of `anomalies` (`anomaly_row`). Doing it again changes nothing.

    One found before that was closed, or explained, is opened again: if it is something that happened
    once more, if it now is another amount or reads otherwise, or if it had gone away by itself.
    """
    if not rows:
        return
    subjects: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        subjects.setdefault((row["kind"], row["subject"]), row)
    done_with = _done_with(connection, list(subjects))
    there = _there(connection, list(subjects))
    insert_unless_there(
        connection, anomalies, [row for key, row in subjects.items() if key not in there]
    )
    for found in done_with:
        row = subjects[found.kind, found.subject]
        last = _last_step(connection, found.id)
        if last.state not in DONE_WITH or not _is_news(connection, found, last, row):
            continue
        step = {
            "anomaly_id": found.id,
            "number": last.number + 1,
            "state": WorkState.REOPENED.value,
            "owner": last.owner,
            "note": str(row["detail"])[:400],
            "amount_rupiah": row["amount_rupiah"],
            "done_by": SERVER,
            "at": row["at"],
        }
        insert_rows(connection, anomaly_steps, [step])


def last_steps() -> Subquery:
    """The number of each finding's last step."""
    return (
        select(anomaly_steps.c.anomaly_id, func.max(anomaly_steps.c.number).label("number"))
        .group_by(anomaly_steps.c.anomaly_id)
        .subquery("last_steps")
    )


def _there(connection: Connection, subjects: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those found before: SQLite refuses them again before it sees that they are to be left out."""
    key = (anomalies.c.kind, anomalies.c.subject)
    found: set[tuple[str, str]] = set()
    for start in range(0, len(subjects), 400):
        some = tuple_(*key).in_(subjects[start : start + 400])
        found |= {(row.kind, row.subject) for row in connection.execute(select(*key).where(some))}
    return found


def _done_with(connection: Connection, subjects: Sequence[tuple[str, str]]) -> list[Row[Any]]:
    """Those among the findings that were closed or explained; locked, so that nobody steps between."""
    last = last_steps()
    found: list[Row[Any]] = []
    for start in range(0, len(subjects), 400):
        some = subjects[start : start + 400]
        ids = (
            select(anomalies.c.id)
            .join(last, last.c.anomaly_id == anomalies.c.id)
            .join(
                anomaly_steps,
                (anomaly_steps.c.anomaly_id == last.c.anomaly_id)
                & (anomaly_steps.c.number == last.c.number),
            )
            .where(tuple_(anomalies.c.kind, anomalies.c.subject).in_(some))
            .where(anomaly_steps.c.state.in_(DONE_WITH))
        )
        found += connection.execute(
            select(anomalies)
            .where(anomalies.c.id.in_(connection.execute(ids).scalars().all()))
            .order_by(anomalies.c.id)
            .with_for_update()
        ).all()
    return found


def _last_step(connection: Connection, anomaly_id: int) -> Row[Any]:
    return connection.execute(
        select(anomaly_steps)
        .where(anomaly_steps.c.anomaly_id == anomaly_id)
        .order_by(anomaly_steps.c.number.desc())
        .limit(1)
    ).one()


def _is_news(
    connection: Connection, found: Row[Any], last: Row[Any], row: Mapping[str, Any]
) -> bool:
    if found.kind in HAPPENS_AGAIN or last.done_by == SERVER:
        return True
    known = connection.execute(
        select(anomaly_steps.c.note, anomaly_steps.c.amount_rupiah)
        .where(anomaly_steps.c.anomaly_id == found.id, anomaly_steps.c.done_by == SERVER)
        .where(anomaly_steps.c.state == WorkState.REOPENED)
    ).all()
    seen = {(found.detail, found.amount_rupiah), *((one.note, one.amount_rupiah) for one in known)}
    return (row["detail"], row["amount_rupiah"]) not in seen
