"""Closed days: nothing comes into them any more, and their heads commit to all that is in them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from dobmi.central.booking import booking_day, booking_time, start_of_day
from dobmi.central.credit_orders import order_credit
from dobmi.central.daily_head import NO_HEAD, JournalLine, TillHead, journal_hash, tills_hash
from dobmi.central.database import insert_rows, open_database
from dobmi.central.days import GRACE_SECONDS, close_days, heads, newest_head
from dobmi.central.errors import ClocksDiffer, LostRace
from dobmi.central.ingest import take_batch
from dobmi.central.posting_rules import GROUP_NUMBERS, OWNERS
from dobmi.central.schema import (
    BOOKING_LOCK,
    CreditSource,
    account_days,
    kind_days,
    posting_keys,
    postings,
    sealed_days,
    till_heads,
)
from dobmi.central.server import Central, now_unix_seconds
from dobmi.money import Rupiah
from support.central_client import RING
from support.databases import Kind
from support.traffic import START, ModelCard, ModelTill, World

DAY = 86400
MIDNIGHT = start_of_day(booking_day(START)) + DAY
"""The end of the day in which the tests begin."""


@dataclass
class Office:
    world: World
    clock: list[int]
    station: ModelTill
    till: ModelTill
    card: ModelCard

    @property
    def central(self) -> Central:
        return self.world.central

    def at(self, now: int) -> None:
        self.clock[0] = now

    def sell(self, amount: int) -> None:
        self.till.sell(self.card, Rupiah(amount))
        take_batch(self.central, self.till.batch())

    def top_up(self, amount: int) -> None:
        self.world.top_up(self.station, self.card, Rupiah(amount))

    def journal(self, day: int | None = None) -> list[JournalLine]:
        with self.central.database.read() as connection:
            rows = connection.execute(select(postings)).all()
        lines = [
            JournalLine(
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
            for row in rows
        ]
        lines.sort(key=lambda one: (one.at, one.terminal_id, one.sequence, one.card_uid, one.kind))
        return [line for line in lines if day is None or booking_day(line.at) == day]


@pytest.fixture
def office(tmp_path: Path, database_kind: Kind) -> Iterator[Office]:
    clock = [START]
    world = World.create(tmp_path, keys=RING, kind=database_kind)
    world.central = dataclasses.replace(world.central, unix_seconds=lambda: clock[0])
    made = Office(world, clock, world.station(), world.till(), world.card(4711))
    made.top_up(500_000)
    made.sell(1_000)
    yield made
    world.close()


def test_a_day_is_closed_two_hours_after_its_end_and_once(office: Office) -> None:
    assert close_days(office.central, MIDNIGHT + GRACE_SECONDS - 1) == []
    (head,) = close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    assert head.day == booking_day(START)
    assert close_days(office.central, MIDNIGHT + GRACE_SECONDS) == []
    assert newest_head(office.central) == heads(office.central, head.day)[0]


def test_the_head_commits_to_the_journal_the_tills_and_the_day_before(office: Office) -> None:
    office.at(START + DAY)
    office.sell(2_000)
    first, second, third = close_days(office.central, MIDNIGHT + 2 * DAY + GRACE_SECONDS)
    for head in (first, second, third):
        of_day = journal_hash(office.journal(head.day))
        assert (head.journal_hash, head.postings, head.amount) == (
            of_day.digest,
            of_day.postings,
            of_day.amount,
        )
    assert (first.postings, second.postings, third.postings) == (3, 1, 0)
    assert first.previous_hash == NO_HEAD
    assert [second.previous_hash, third.previous_hash] == [first.hash, second.hash]
    with office.central.database.read() as connection:
        noted = [
            TillHead(row.terminal_id, row.head_sequence, bytes(row.head_hash))
            for row in connection.execute(select(till_heads).where(till_heads.c.day == third.day))
        ]
    assert [(head.terminal_id, head.sequence) for head in noted] == [(office.till.terminal_id, 2)]
    assert third.tills_hash == tills_hash(noted)
    for head, signature in heads(office.central):
        head.verify(office.central.public_key, signature)


def test_sums_of_a_closed_day_are_those_of_its_postings(office: Office) -> None:
    close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    lines = office.journal()
    with office.central.database.read() as connection:
        for row in connection.execute(select(account_days)).all():
            debits = sum(line.amount_rupiah for line in lines if line.debit_account == row.account)
            credits_ = sum(
                line.amount_rupiah for line in lines if line.credit_account == row.account
            )
            assert (row.debits_rupiah, row.credits_rupiah) == (debits, credits_)
        accounts = set(connection.execute(select(account_days.c.account)).scalars())
        kinds = connection.execute(select(kind_days)).all()
    assert accounts == {a for line in lines for a in (line.debit_account, line.credit_account)}
    assert sorted((row.kind, row.postings, row.amount_rupiah) for row in kinds) == [
        ("delivered", 1, 500_000),
        ("sale", 1, 1_000),
        ("top-up", 1, 500_000),
    ]
    assert {row.debit_group for row in kinds} <= set(GROUP_NUMBERS.values())


def test_what_comes_late_is_booked_on_the_first_open_day(office: Office) -> None:
    office.at(MIDNIGHT - 1)
    (closed,) = close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    office.sell(3_000)  # its server's clock is behind: it is still the closed day there
    office.top_up(10_000)
    late = [line for line in office.journal() if line.at >= MIDNIGHT]
    assert sorted(line.kind for line in late) == ["delivered", "sale", "top-up"]
    assert {line.at for line in late} == {MIDNIGHT}
    assert journal_hash(office.journal(closed.day)).digest == closed.journal_hash


def test_the_database_itself_refuses_a_posting_into_a_closed_day(office: Office) -> None:
    close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    line = dataclasses.asdict(office.journal()[-1])
    database = office.central.database
    for at in (MIDNIGHT - 1, START, 0, -(2**40)):
        with (
            pytest.raises(DBAPIError, match="day is closed"),
            database.engine.begin() as connection,
        ):
            connection.execute(postings.insert(), {**line, "at": at, "sequence": 99})
    with database.engine.begin() as connection:
        connection.execute(postings.insert(), {**line, "at": MIDNIGHT, "sequence": 99})


def test_a_partition_is_no_way_around_it(office: Office) -> None:
    if office.central.database.engine.dialect.name != "postgresql":
        return  # there are none
    close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    copy = (
        "INSERT INTO postings_other (at, kind, debit_account, credit_account, amount_rupiah, "
        "card_uid, terminal_id, sequence, explanation) SELECT at, kind, debit_account, "
        "credit_account, amount_rupiah, card_uid, terminal_id, 77, explanation "
        "FROM postings LIMIT 1"
    )
    with (
        pytest.raises(DBAPIError),
        office.central.database.engine.begin() as connection,
    ):
        connection.execute(text(copy))


def test_postings_are_written_where_a_close_is_seen(office: Office) -> None:
    """At a higher isolation level the snapshot may be older than the close."""
    engine = office.central.database.engine
    if engine.dialect.name != "postgresql":
        return  # one writer
    line = dataclasses.asdict(office.journal()[-1])
    with (
        pytest.raises(DBAPIError, match="read committed"),
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
    ):
        connection.execute(postings.insert(), {**line, "sequence": 99})


@pytest.mark.parametrize("columns", [("debit_account", 5), ("credit_account", 6), ("kind", "gift")])
def test_a_posting_between_other_accounts_than_its_kinds_is_refused(
    office: Office, columns: tuple[str, int | str]
) -> None:
    name, value = columns
    line = dataclasses.asdict(office.journal()[-1])
    assert line["kind"] == "sale"
    wrong = value * OWNERS + 7 if isinstance(value, int) else value
    with (
        pytest.raises(DBAPIError, match="accounts_of_the_kind"),
        office.central.database.engine.begin() as connection,
    ):
        connection.execute(postings.insert(), {**line, "sequence": 99, name: wrong})


def test_closing_waits_for_whoever_posts_and_he_is_in_the_day(tmp_path: Path) -> None:
    """PostgreSQL: a writer that began in the day, and commits after its end."""
    world = World.create(tmp_path, keys=RING, kind=Kind.POSTGRESQL)
    try:
        station, card = world.station(), world.card(4711)
        world.top_up(station, card, Rupiah(100_000))
        central = world.central
        closed: list[int] = []
        thread = threading.Thread(
            target=lambda: closed.extend(
                head.postings for head in close_days(central, MIDNIGHT + GRACE_SECONDS)
            )
        )
        with central.database.write() as connection:
            at = booking_time(connection, START)
            before = connection.execute(select(postings).limit(1)).one()._asdict()
            event = {**before, "sequence": 99, "at": at}
            event.pop("id")
            insert_rows(connection, postings, [event])
            thread.start()
            thread.join(0.5)
            assert thread.is_alive(), "it waits"
        thread.join(10)
        assert closed == [3]
    finally:
        world.close()


def test_a_writer_that_does_not_end_holds_up_neither_the_others_nor_the_close_for_long(
    tmp_path: Path,
) -> None:
    world = World.create(tmp_path, keys=RING, kind=Kind.POSTGRESQL)
    try:
        world.top_up(world.station(), world.card(4711), Rupiah(100_000))
        with world.central.database.write() as stuck:
            booking_time(stuck, START)
            with pytest.raises(LostRace):
                close_days(world.central, MIDNIGHT + GRACE_SECONDS)
            world.top_up(world.station(), world.card(4712), Rupiah(1_000))
        assert len(close_days(world.central, MIDNIGHT + GRACE_SECONDS)) == 1
    finally:
        world.close()


def test_servers_that_close_at_once_close_each_day_once(office: Office) -> None:
    office.at(START + 3 * DAY)
    office.sell(500)
    url = office.central.database.engine.url
    servers = [open_database(url.render_as_string(hide_password=False)) for _ in range(3)]
    done: list[int] = []

    def close(server: Central) -> None:
        done.extend(head.day for head in close_days(server, START + 6 * DAY))

    threads = [
        threading.Thread(target=close, args=[dataclasses.replace(office.central, database=one)])
        for one in servers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for server in servers:
        server.close()
    first = booking_day(START)
    assert sorted(done) == list(range(first, booking_day(START + 6 * DAY - GRACE_SECONDS)))


def test_a_crash_after_sealing_is_made_good_by_the_next_run(office: Office) -> None:
    day = booking_day(START)
    with office.central.database.write() as connection:
        insert_rows(connection, sealed_days, [{"day": day, "sealed_at": START}])
    (head,) = close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    assert (head.day, head.postings) == (day, 3)


def test_an_edit_behind_the_programs_back_shows_in_the_head(office: Office) -> None:
    (head,) = close_days(office.central, MIDNIGHT + GRACE_SECONDS)
    with office.central.database.engine.begin() as connection:
        for trigger in ("no_update", "append_only"):
            on = " ON postings" if connection.dialect.name == "postgresql" else ""
            connection.execute(text(f"DROP TRIGGER IF EXISTS postings_{trigger}{on}"))
        connection.execute(
            update(postings).where(postings.c.kind == "sale").values(amount_rupiah=999)
        )
    assert journal_hash(office.journal(head.day)).digest != head.journal_hash


def test_a_server_whose_clock_is_ahead_of_the_databases_closes_nothing(
    tmp_path: Path, database_kind: Kind
) -> None:
    """SQLite has no other clock to ask."""
    world = World.create(tmp_path, keys=RING, kind=database_kind)
    central = dataclasses.replace(world.central, unix_seconds=now_unix_seconds)
    try:
        today = int(time.time())
        assert close_days(central, today) == []
        if database_kind is Kind.POSTGRESQL:
            with pytest.raises(ClocksDiffer):
                close_days(central, today + 3600)
        else:
            assert close_days(central, today + 3600) == []
    finally:
        world.close()


def test_nothing_is_closed_before_anything_was_posted(tmp_path: Path, database_kind: Kind) -> None:
    world = World.create(tmp_path, keys=RING, kind=database_kind)
    assert close_days(world.central, START + 10 * DAY) == []
    assert newest_head(world.central) is None
    world.close()


def test_the_lock_that_keeps_days_is_the_one_in_the_database(office: Office) -> None:
    engine = office.central.database.engine
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        body = connection.execute(
            text("SELECT prosrc FROM pg_proc WHERE proname = 'dobmi_open_day'")
        ).scalar_one()
    assert str(BOOKING_LOCK) in body


def test_every_posting_but_sales_has_its_key(office: Office) -> None:
    order_credit(
        office.central,
        office.card.uid,
        Rupiah(100),
        CreditSource.SALARY,
        idempotency_key="gaji-0001",
        station=office.station.terminal_id,
    )
    with office.central.database.read() as connection:
        keys = connection.execute(select(func.count()).select_from(posting_keys)).scalar_one()
    assert keys == len([line for line in office.journal() if line.kind != "sale"]) == 3
