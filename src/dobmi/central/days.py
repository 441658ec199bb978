"""Closing booking days: sealing them, then making each one's signed head and its sums."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    cast,
    collate,
    func,
    insert,
    literal,
    select,
    text,
    union_all,
)

from dobmi.central.booking import (
    booking_day,
    last_sealed_day,
    nobody_posts,
    start_of_day,
)
from dobmi.central.daily_head import (
    NO_HEAD,
    DailyHead,
    JournalHash,
    JournalLine,
    TillHead,
    journal_hash,
    tills_hash,
)
from dobmi.central.database import insert_rows, whole_sum
from dobmi.central.errors import ClocksDiffer
from dobmi.central.posting_rules import OWNERS
from dobmi.central.schema import (
    account_days,
    daily_heads,
    kind_days,
    postings,
    sealed_days,
    terminals,
    till_heads,
)
from dobmi.central.server import Central
from dobmi.money import Rupiah

GRACE_SECONDS = 2 * 3600
"""A day is closed so long after its end: clocks differ, and a transaction may have begun before."""
CLOCK_AHEAD_SECONDS_MAX = 15 * 60
"""By how much a server's clock may be ahead of the database's for it to close days."""
_CLOSING_LOCK = 0x646F_636C_6F73
_ROWS_AT_A_TIME = 5_000


def close_days(central: Central, now: int) -> list[DailyHead]:
    """Close every day that ended `GRACE_SECONDS` ago; those closed now, oldest first.

    It may stop anywhere and be run again, also by two servers at once. Raises LostRace, ClocksDiffer.
    """
    _require_clock(central, now)
    last = booking_day(now - GRACE_SECONDS) - 1
    _seal(central, last, now)
    closed = []
    while (day := _next_to_close(central)) is not None:
        head = _close(central, day, now)
        if head is not None:
            closed.append(head)
    return closed


def heads(central: Central, day: int | None = None) -> list[tuple[DailyHead, bytes]]:
    """The heads of all closed days, or of one, with their signatures; oldest first."""
    statement = select(daily_heads).order_by(daily_heads.c.day)
    if day is not None:
        statement = statement.where(daily_heads.c.day == day)
    with central.database.read() as connection:
        rows = connection.execute(statement).all()
    return [(_head(row), bytes(row.signature)) for row in rows]


def newest_head(central: Central) -> tuple[DailyHead, bytes] | None:
    with central.database.read() as connection:
        day = last_closed_day(connection)
    return None if day is None else heads(central, day)[0]


def last_closed_day(connection: Connection) -> int | None:
    """The newest day whose head and sums are there, and so are those of all days before it."""
    return connection.execute(select(func.max(daily_heads.c.day))).scalar()


def group_number(account: ColumnElement[int]) -> ColumnElement[int]:
    """The number of an account's group."""
    return cast(account // OWNERS, Integer)


def within(first_second: int, end: int) -> ColumnElement[bool]:
    """Postings from that second on and before `end`."""
    return (postings.c.at >= first_second) & (postings.c.at < end)


def _require_clock(central: Central, now: int) -> None:
    """A day that is sealed stays so, and all is booked after it: not on one machine's word alone.

    SQLite has no clock of its own. Raises ClocksDiffer.
    """
    if not central.keeps_real_time:
        return
    with central.database.read() as connection:
        if connection.dialect.name != "postgresql":
            return
        asked = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS bigint)")
        ahead = now - connection.execute(asked).scalar_one()
    if ahead > CLOCK_AHEAD_SECONDS_MAX:
        raise ClocksDiffer(seconds=ahead)


def _seal(central: Central, last: int, now: int) -> None:
    """Every day up to `last`, from that of the oldest posting on."""
    with central.database.write() as connection:
        sealed = last_sealed_day(connection)
        if sealed is not None and sealed >= last:
            return
        nobody_posts(connection)
        sealed = last_sealed_day(connection)  # as it is now that nobody else seals
        if sealed is None:
            oldest = connection.execute(select(func.min(postings.c.at))).scalar()
            if oldest is None:
                return
            sealed = booking_day(oldest) - 1
        rows = [{"day": day, "sealed_at": now} for day in range(sealed + 1, last + 1)]
        insert_rows(connection, sealed_days, rows)


def _next_to_close(central: Central) -> int | None:
    with central.database.read() as connection:
        closed = last_closed_day(connection)
        waiting = select(func.min(sealed_days.c.day))
        if closed is not None:
            waiting = waiting.where(sealed_days.c.day > closed)
        return connection.execute(waiting).scalar()


def _close(central: Central, day: int, now: int) -> DailyHead | None:
    """Make the day's head and sums; None if another server has done it."""
    journal = _hash_journal(central, day)
    with central.database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLOSING_LOCK})
        before = connection.execute(
            select(daily_heads.c.day, daily_heads.c.hash)
            .order_by(daily_heads.c.day.desc())
            .limit(1)
        ).one_or_none()
        if before is not None and before.day >= day:
            return None
        _sum_up(connection, day)
        head = DailyHead(
            day=day,
            postings=journal.postings,
            amount=journal.amount,
            journal_hash=journal.digest,
            tills_hash=tills_hash(_note_tills(connection, day)),
            previous_hash=NO_HEAD if before is None else bytes(before.hash),
            closed_at=now,
        )
        row = {
            "day": day,
            "postings": head.postings,
            "amount_rupiah": head.amount.amount,
            "journal_hash": head.journal_hash,
            "tills_hash": head.tills_hash,
            "previous_hash": head.previous_hash,
            "hash": head.hash,
            "signature": head.sign(central.public_key, central.sign),
            "closed_at": now,
        }
        insert_rows(connection, daily_heads, [row])
    return head


def _hash_journal(central: Central, day: int) -> JournalHash:
    with central.database.read() as connection:
        return journal_hash(_lines(connection, day))


def _lines(connection: Connection, day: int) -> Iterator[JournalLine]:
    kind: ColumnElement[str] = postings.c.kind
    if connection.dialect.name == "postgresql":  # by its bytes, whatever the database's language
        kind = collate(kind, "C")
    statement = (
        select(postings)
        .where(within(start_of_day(day), start_of_day(day + 1)))
        .order_by(
            postings.c.at, postings.c.terminal_id, postings.c.sequence, postings.c.card_uid, kind
        )
        .execution_options(yield_per=_ROWS_AT_A_TIME)
    )
    for row in connection.execute(statement):
        yield JournalLine(
            at=row.at,
            kind=row.kind,
            debit_account=row.debit_account,
            credit_account=row.credit_account,
            amount_rupiah=row.amount_rupiah,
            card_uid=bytes(row.card_uid),
            terminal_id=row.terminal_id,
            sequence=row.sequence,
            explanation=row.explanation,
        )


def _sum_up(connection: Connection, day: int) -> None:
    """The day's sums by account, and by kind and groups."""
    of_day = within(start_of_day(day), start_of_day(day + 1))
    amount = postings.c.amount_rupiah
    sides = union_all(
        select(
            postings.c.debit_account.label("account"),
            amount.label("debit"),
            literal(0).label("credit"),
        ).where(of_day),
        select(postings.c.credit_account, literal(0), amount).where(of_day),
    ).subquery()
    by_account = select(
        sides.c.account, literal(day), whole_sum(sides.c.debit), whole_sum(sides.c.credit)
    ).group_by(sides.c.account)
    connection.execute(
        insert(account_days).from_select(
            ["account", "day", "debits_rupiah", "credits_rupiah"], by_account
        )
    )
    debit, credit = (
        group_number(postings.c.debit_account).label("debit_group"),
        group_number(postings.c.credit_account).label("credit_group"),
    )
    by_kind = (
        select(literal(day), postings.c.kind, debit, credit, func.count(), whole_sum(amount))
        .where(of_day)
        .group_by(postings.c.kind, debit, credit)
    )
    connection.execute(
        insert(kind_days).from_select(
            ["day", "kind", "debit_group", "credit_group", "postings", "amount_rupiah"], by_kind
        )
    )


def _note_tills(connection: Connection, day: int) -> list[TillHead]:
    rows = connection.execute(
        select(terminals.c.id, terminals.c.head_sequence, terminals.c.head_hash)
        .where(terminals.c.head_sequence > 0)
        .order_by(terminals.c.id)
    ).all()
    found = [TillHead(row.id, row.head_sequence, bytes(row.head_hash)) for row in rows]
    noted = [
        {
            "day": day,
            "terminal_id": head.terminal_id,
            "head_sequence": head.sequence,
            "head_hash": head.hash,
        }
        for head in found
    ]
    insert_rows(connection, till_heads, noted)
    return found


def _head(row: Row[tuple[object, ...]]) -> DailyHead:
    return DailyHead(
        day=row.day,
        postings=row.postings,
        amount=Rupiah(row.amount_rupiah),
        journal_hash=bytes(row.journal_hash),
        tills_hash=bytes(row.tills_hash),
        previous_hash=bytes(row.previous_hash),
        closed_at=row.closed_at,
    )
