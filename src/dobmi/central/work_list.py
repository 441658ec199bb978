"""The one list of what a person has to look at: findings, with state, owner and history.

`anomalies` has what was found, `anomaly_steps` what was done with it; both only grow. What is not
found by the work of posting itself (sales that tills have not sent, clocks, quarantine, batches that
were refused) is put there by `find_work`, which also closes what has gone away by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    Subquery,
    cast,
    exists,
    func,
    select,
    text,
    update,
)

from dobmi.central.circulation import CLOCK_BEHIND_SECONDS_MIN, unreported_sales
from dobmi.central.database import add_to_counter, insert_rows
from dobmi.central.errors import FindingClosed, FindingNotClosed, UnknownFinding
from dobmi.central.findings import SERVER, anomaly_row, last_steps, note_findings
from dobmi.central.schema import (
    WorkState,
    anomalies,
    anomaly_steps,
    counters,
    quarantine,
    rejected_batches,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.staff import require_anybody
from dobmi.central.texts import NAME_LENGTH_MAX, require_text
from dobmi.central.verification import amount_of, uid_of
from dobmi.central.work_kinds import (
    CLOCK_BEHIND,
    MISSING_VOUCHER,
    REJECTED_BATCH,
    UNREPORTED_SALE,
)
from dobmi.money import Rupiah
from dobmi.sync.voucher import decode_voucher
from dobmi.wib import local_time

NOTE_LENGTH_MAX = 400
_LOOK_BACK_SECONDS: Final = 6 * 3600
"""Before the last look: a transaction books at its beginning, and is seen when it ends."""
_LOOKED_AT = "work-looked-at"
_ROWS_MAX = 500
NOT_DONE = (WorkState.OPEN, WorkState.ASSIGNED, WorkState.EXPLAINED, WorkState.REOPENED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A line of the list. `amount`: what it is about by what was found last. Times: Unix seconds."""

    number: int
    kind: str
    subject: str
    state: WorkState
    owner: str
    card_uid: bytes | None
    terminal_id: int | None
    amount: Rupiah | None
    detail: str
    found_at: int
    changed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was done with a finding. `done_by` "": the server."""

    number: int
    state: WorkState
    owner: str
    note: str
    done_by: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which findings; without `states` all that are not closed. `older_than`: found before then."""

    states: Sequence[WorkState] = NOT_DONE
    owner: str | None = None
    kind: str | None = None
    terminal_id: int | None = None
    card_uid: bytes | None = None
    older_than: int | None = None


def work_list(central: Central, wanted: Wanted | None = None) -> list[Finding]:
    """The findings wanted: most money first, then the oldest."""
    with central.database.read() as connection:
        return _findings(connection, wanted or Wanted())


def finding(central: Central, number: int) -> tuple[Finding, list[Step]]:
    """A finding and all that was done with it. Raises UnknownFinding."""
    with central.database.read() as connection:
        found = _findings(connection, Wanted(states=tuple(WorkState)), number)
        if not found:
            raise UnknownFinding(number=number)
        rows = connection.execute(
            select(anomaly_steps)
            .where(anomaly_steps.c.anomaly_id == number)
            .order_by(anomaly_steps.c.number)
        ).all()
    steps = [
        Step(
            number=row.number,
            state=WorkState(row.state),
            owner=row.owner,
            note=row.note,
            done_by=row.done_by,
            at=row.at,
        )
        for row in rows
    ]
    return found[0], steps


def assign(central: Central, number: int, owner: str, *, by: str, note: str = "") -> Finding:
    """It is `owner`'s from now on. Raises UnknownFinding, FindingClosed, NotOfStaff, BadParameters."""
    require_text("owner", owner, NAME_LENGTH_MAX)
    return _step(central, number, WorkState.ASSIGNED, by=by, note=note, owner=owner)


def add_note(central: Central, number: int, *, by: str, note: str) -> Finding:
    """Raises UnknownFinding, NotOfStaff, BadParameters; to what is closed, too."""
    require_text("note", note, NOTE_LENGTH_MAX)
    return _step(central, number, None, by=by, note=note)


def explain(central: Central, number: int, *, by: str, note: str) -> Finding:
    """The cause is known, and something is still to come. Raises as `assign`."""
    require_text("note", note, NOTE_LENGTH_MAX)
    return _step(central, number, WorkState.EXPLAINED, by=by, note=note)


def close(central: Central, number: int, *, by: str, note: str) -> Finding:
    """Nothing more is to be done. Raises as `assign`."""
    require_text("note", note, NOTE_LENGTH_MAX)
    return _step(central, number, WorkState.CLOSED, by=by, note=note)


def reopen(central: Central, number: int, *, by: str, note: str) -> Finding:
    """Raises UnknownFinding, FindingNotClosed, NotOfStaff, BadParameters."""
    require_text("note", note, NOTE_LENGTH_MAX)
    return _step(central, number, WorkState.REOPENED, by=by, note=note)


def find_work(central: Central) -> Mapping[str, int]:
    """Look for what posting does not find itself. How many findings that were, and how many ended.

    Doing it again changes nothing. What can only be new since the last look is looked for from there
    on, so that its cost does not grow with the books.
    """
    now = central.unix_seconds()
    with central.database.read() as connection:
        last = connection.execute(
            select(counters.c.value).where(counters.c.name == _LOOKED_AT)
        ).scalar()
        since = max(0, (last or 0) - _LOOK_BACK_SECONDS)
        rows = [
            *_quarantined(connection, since),
            *_rejected(connection, since),
            *_clocks_behind(connection, since, now),
            *_missing(connection, since, now),
        ]
    unreported = _unreported(central, now)
    ended = _end_those_gone(central, {str(row["subject"]) for row in unreported}, now)
    rows += unreported
    rows.sort(key=lambda row: (str(row["kind"]), str(row["subject"])))
    for start in range(0, len(rows), _ROWS_MAX):
        note = partial(note_findings, rows=rows[start : start + _ROWS_MAX])
        central.database.write_again(note)

    def looked(connection: Connection) -> None:
        add_to_counter(connection, _LOOKED_AT, 0)
        connection.execute(update(counters).where(counters.c.name == _LOOKED_AT).values(value=now))

    central.database.write_again(looked)
    return {"found": len(rows), "ended": ended}


def _work() -> Subquery:
    """Every finding with its last step, and with what the server said when it found it again."""
    last = last_steps()
    step, again = anomaly_steps.alias("step"), anomaly_steps.alias("again")
    newest = (
        select(anomaly_steps.c.anomaly_id, func.max(anomaly_steps.c.number).label("number"))
        .where(anomaly_steps.c.done_by == SERVER, anomaly_steps.c.state == WorkState.REOPENED)
        .group_by(anomaly_steps.c.anomaly_id)
        .subquery("newest")
    )
    return (
        select(
            anomalies.c.id,
            anomalies.c.kind,
            anomalies.c.subject,
            anomalies.c.card_uid,
            anomalies.c.terminal_id,
            anomalies.c.at.label("found_at"),
            func.coalesce(step.c.state, WorkState.OPEN.value).label("state"),
            func.coalesce(step.c.owner, "").label("owner"),
            func.coalesce(step.c.at, anomalies.c.at).label("changed_at"),
            func.coalesce(again.c.amount_rupiah, anomalies.c.amount_rupiah).label("amount_rupiah"),
            func.coalesce(again.c.note, anomalies.c.detail).label("detail"),
        )
        .select_from(anomalies)
        .outerjoin(last, last.c.anomaly_id == anomalies.c.id)
        .outerjoin(
            step, (step.c.anomaly_id == last.c.anomaly_id) & (step.c.number == last.c.number)
        )
        .outerjoin(newest, newest.c.anomaly_id == anomalies.c.id)
        .outerjoin(
            again, (again.c.anomaly_id == newest.c.anomaly_id) & (again.c.number == newest.c.number)
        )
        .subquery("work")
    )


def _findings(connection: Connection, wanted: Wanted, number: int | None = None) -> list[Finding]:
    work = _work()
    conditions = {
        work.c.owner: wanted.owner,
        work.c.kind: wanted.kind,
        work.c.terminal_id: wanted.terminal_id,
        work.c.card_uid: wanted.card_uid,
        work.c.id: number,
    }
    statement = select(work).where(work.c.state.in_([state.value for state in wanted.states]))
    for column, value in conditions.items():
        if value is not None:
            statement = statement.where(column == value)
    if wanted.older_than is not None:
        statement = statement.where(work.c.found_at < wanted.older_than)
    by_money = func.abs(func.coalesce(work.c.amount_rupiah, 0)).desc()
    rows = connection.execute(statement.order_by(by_money, work.c.found_at, work.c.id))
    return [
        Finding(
            number=row.id,
            kind=row.kind,
            subject=row.subject,
            state=WorkState(row.state),
            owner=row.owner,
            card_uid=None if row.card_uid is None else bytes(row.card_uid),
            terminal_id=row.terminal_id,
            amount=None if row.amount_rupiah is None else Rupiah(row.amount_rupiah),
            detail=row.detail,
            found_at=row.found_at,
            changed_at=row.changed_at,
        )
        for row in rows
    ]


def _step(
    central: Central,
    number: int,
    state: WorkState | None,
    *,
    by: str,
    note: str,
    owner: str | None = None,
) -> Finding:
    """The next step; `state` None keeps the one it has. By whom, and whose, are people of the staff."""
    require_text("by", by, NAME_LENGTH_MAX)
    if note:
        require_text("note", note, NOTE_LENGTH_MAX)
    now = central.unix_seconds()

    def write(connection: Connection) -> Finding:
        name = require_anybody(connection, by)
        whose = None if owner is None else require_anybody(connection, owner)
        # The lock has the steps of one finding come one after the other (on SQLite they do).
        locked = select(anomalies.c.id).where(anomalies.c.id == number).with_for_update()
        if connection.execute(locked).one_or_none() is None:
            raise UnknownFinding(number=number)
        (before,) = _findings(connection, Wanted(states=tuple(WorkState)), number)
        if state is WorkState.REOPENED and before.state is not WorkState.CLOSED:
            raise FindingNotClosed(number=number)
        if state not in (None, WorkState.REOPENED) and before.state is WorkState.CLOSED:
            raise FindingClosed(number=number)
        last = connection.execute(
            select(func.max(anomaly_steps.c.number)).where(anomaly_steps.c.anomaly_id == number)
        ).scalar()
        step = {
            "anomaly_id": number,
            "number": (last or 0) + 1,
            "state": (state or before.state).value,
            "owner": before.owner if whose is None else whose,
            "note": note,
            "amount_rupiah": None,
            "done_by": name,
            "at": now,
        }
        insert_rows(connection, anomaly_steps, [step])
        (after,) = _findings(connection, Wanted(states=tuple(WorkState)), number)
        return after

    return central.database.write_again(write)


def _end_those_gone(central: Central, still: set[str], now: int) -> int:
    """Close what was to come and has come: sales that their tills have sent by now."""
    with central.database.read() as connection:
        listed = _findings(connection, Wanted(kind=UNREPORTED_SALE))
    gone = [one.number for one in listed if one.subject not in still]

    def end(connection: Connection, numbers: Sequence[int]) -> None:
        rows = connection.execute(
            select(anomalies.c.id)
            .where(anomalies.c.id.in_(numbers))
            .order_by(anomalies.c.id)
            .with_for_update()
        ).scalars()
        last = last_steps()
        found = connection.execute(
            select(anomaly_steps)
            .join(
                last,
                (last.c.anomaly_id == anomaly_steps.c.anomaly_id)
                & (last.c.number == anomaly_steps.c.number),
            )
            .where(anomaly_steps.c.anomaly_id.in_(rows.all()))
        )
        steps = {row.anomaly_id: row for row in found}
        ended = []
        for number in numbers:
            before = steps.get(number)
            if before is not None and before.state == WorkState.CLOSED:
                continue
            ended.append(
                {
                    "anomaly_id": number,
                    "number": 1 if before is None else before.number + 1,
                    "state": WorkState.CLOSED.value,
                    "owner": "" if before is None else before.owner,
                    "note": "no longer so: the till has sent it",
                    "amount_rupiah": None,
                    "done_by": SERVER,
                    "at": now,
                }
            )
        insert_rows(connection, anomaly_steps, ended)

    for start in range(0, len(gone), _ROWS_MAX):
        central.database.write_again(partial(end, numbers=gone[start : start + _ROWS_MAX]))
    return len(gone)


def _unreported(central: Central, now: int) -> list[dict[str, object]]:
    return [
        anomaly_row(
            UNREPORTED_SALE,
            f"{sale.terminal_id}/{sale.sequence}",
            at=now,
            detail=f"{sale.terminal_name}: named by the card at {local_time(sale.known_since)}",
            card_uid=sale.card_uid,
            terminal_id=sale.terminal_id,
            amount=sale.amount,
        )
        for sale in unreported_sales(central)
    ]


def _quarantined(connection: Connection, since: int) -> list[dict[str, object]]:
    """One finding a voucher: ingest writes those of the kinds that look like fraud itself."""
    rows = connection.execute(
        select(quarantine, vouchers.c.encoded)
        .join(
            vouchers,
            (vouchers.c.terminal_id == quarantine.c.terminal_id)
            & (vouchers.c.sequence == quarantine.c.sequence),
        )
        .where(quarantine.c.received_at >= since)
        .where(~_is_found(quarantine.c.reason, quarantine.c.terminal_id, quarantine.c.sequence))
    )
    found = []
    for row in rows:
        voucher = decode_voucher(bytes(row.encoded))
        found.append(
            anomaly_row(
                row.reason,
                f"{row.terminal_id}/{row.sequence}",
                at=row.received_at,
                detail=row.detail,
                card_uid=uid_of(voucher),
                terminal_id=row.terminal_id,
                amount=amount_of(voucher),
            )
        )
    return found


def _is_found(
    kind: ColumnElement[str], terminal_id: ColumnElement[int], sequence: ColumnElement[int]
) -> ColumnElement[bool]:
    subject = cast(terminal_id, String).concat("/").concat(cast(sequence, String))
    return exists().where(anomalies.c.kind == kind, anomalies.c.subject == subject)


def _rejected(connection: Connection, since: int) -> list[dict[str, object]]:
    rows = connection.execute(
        select(
            rejected_batches.c.batch_hash,
            rejected_batches.c.code,
            rejected_batches.c.detail,
            rejected_batches.c.received_at,
        ).where(rejected_batches.c.received_at >= since)
    )
    return [
        anomaly_row(
            REJECTED_BATCH,
            bytes(row.batch_hash).hex(),
            at=row.received_at,
            detail=f"{row.code}: {row.detail}",
        )
        for row in rows
    ]


_CLOCKS = """
    SELECT later.terminal_id, later.sequence, later.card_uid, later.amount_rupiah, later.at,
        earlier.terminal_id AS after_terminal_id, earlier.sequence AS after_sequence,
        earlier.at AS after
    FROM postings AS new
    JOIN card_transactions AS mine
        ON mine.card_uid = new.card_uid AND mine.terminal_id = new.terminal_id
        AND mine.sequence = new.sequence
    JOIN card_transactions AS {other}
        ON {other}.card_uid = mine.card_uid AND {other}.counter = mine.counter {step}
    JOIN card_transactions AS {same}
        ON {same}.card_uid = mine.card_uid AND {same}.counter = mine.counter
    JOIN terminals ON terminals.id = later.terminal_id
    WHERE new.at >= :since AND new.kind IN ('sale', 'delivered')
        AND later.at <= earlier.at - :behind
"""
_CLOCKS_BEHIND = text(
    f"{_CLOCKS.format(other='earlier', step='- 1', same='later')} UNION "
    f"{_CLOCKS.format(other='later', step='+ 1', same='earlier')}"
)
"""Either of the two may be the one that has come since: it is looked at from both."""


def _clocks_behind(connection: Connection, since: int, now: int) -> list[dict[str, object]]:
    rows = connection.execute(_CLOCKS_BEHIND, {"since": since, "behind": CLOCK_BEHIND_SECONDS_MIN})
    return [
        anomaly_row(
            CLOCK_BEHIND,
            f"{row.terminal_id}/{row.sequence}",
            at=now,
            detail=(
                f"{local_time(row.at)} by its clock, after {row.after_terminal_id}/"
                f"{row.after_sequence} of {local_time(row.after)}"
            ),
            card_uid=bytes(row.card_uid),
            terminal_id=row.terminal_id,
            amount=Rupiah(row.amount_rupiah),
        )
        for row in rows
    ]


def _missing(connection: Connection, since: int, now: int) -> list[dict[str, object]]:
    """What came since then of a till is one piece of its chain, up to its head."""
    first, last = func.min(vouchers.c.sequence), func.max(vouchers.c.sequence)
    rows = connection.execute(
        select(
            vouchers.c.terminal_id,
            first.label("first"),
            terminals.c.head_sequence,
            func.count().label("kept"),
        )
        .join(terminals, terminals.c.id == vouchers.c.terminal_id)
        .where(vouchers.c.received_at >= since)
        .group_by(vouchers.c.terminal_id, terminals.c.head_sequence)
        .having((func.count() != last - first + 1) | (last != terminals.c.head_sequence))
    )
    found = []
    for row in rows:
        missing = row.head_sequence - row.first + 1 - row.kept
        detail = f"{missing} of the vouchers {row.first} to {row.head_sequence} are not there"
        found.append(
            anomaly_row(
                MISSING_VOUCHER,
                f"{row.terminal_id}/{row.first}-{row.head_sequence}",
                at=now,
                detail=detail,
                terminal_id=row.terminal_id,
            )
        )
    return found
