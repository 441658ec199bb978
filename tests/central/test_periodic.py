"""What the server does by itself: by one server at a time, never silently failing, never for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from starlette.testclient import TestClient

from dobmi.central.app import create_app
from dobmi.central.database import Database
from dobmi.central.errors import DatabaseAway, ServerBusy
from dobmi.central.ingest import take_batch
from dobmi.central.overdue import doubt_list
from dobmi.central.periodic import (
    CLAIM_SECONDS,
    JOBS,
    OVERDUE_SECONDS,
    RETRY_SECONDS,
    Job,
    PeriodicWork,
    periodic_status,
    run_due,
)
from dobmi.central.replacement import replace_card
from dobmi.central.server import Central
from dobmi.money import Rupiah
from support.databases import Kind
from support.traffic import START, World

HOUR = 3600


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Counted:
    """A job that counts its runs, and does what it is told."""

    act: Callable[[], None] = lambda: None
    runs: list[int] = field(default_factory=list)

    def run(self, _central: Central, now: int) -> Mapping[str, int]:
        self.runs.append(now)
        self.act()
        return {"runs": len(self.runs)}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def central(world: World, clock: Clock) -> Central:
    return replace(world.central, unix_seconds=clock)


def test_old_doubts_are_settled_and_lost_cards_restored_without_anybodys_doing(
    central: Central, clock: Clock
) -> None:
    world = World(central)
    till, card, other = world.till(), world.card(4711), world.card(4712)
    world.top_up(world.station(), card, Rupiah(100_000))
    world.top_up(world.station(), other, Rupiah(50_000))
    till.doubt(card, Rupiah(5_000), committed=False)
    take_batch(central, till.batch())
    replace_card(central, other.uid, "hilang", by_terminal=None)
    assert run_due(central, interval_seconds=HOUR) == {job.name: True for job in JOBS}
    assert len(doubt_list(central)) == 1
    clock.now += 30 * 24 * HOUR
    assert run_due(central, interval_seconds=HOUR) == {job.name: True for job in JOBS}
    (doubt,) = doubt_list(central, settled_too=True)
    assert doubt.settled_by.value == "rule"
    outcomes = {status.name: status.outcome for status in periodic_status(central)}
    assert outcomes["settle-doubts"] == "not_paid 1, held 0"
    assert outcomes["restore-lost-cards"] == "restored 1"


def test_a_batch_that_a_crash_left_is_looked_at(
    central: Central, monkeypatch: pytest.MonkeyPatch, database_kind: Kind
) -> None:
    """Between a batch's two transactions, of which SQLite needs but one."""

    def busy(*_: object) -> None:
        raise ServerBusy

    world = World(central)
    till, other, card = world.till(), world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till.doubt(card, Rupiah(5_000), committed=True)
    take_batch(central, till.batch())
    other.sell(card, Rupiah(1_000))
    with monkeypatch.context() as patch:
        patch.setattr("dobmi.central.ingest.look_at_posted", busy)
        take_batch(central, other.batch())
    two_transactions = database_kind is Kind.POSTGRESQL
    assert len(doubt_list(central)) == two_transactions
    job = next(job for job in JOBS if job.name == "look-at-batches")
    run_due(central, interval_seconds=HOUR, jobs=[job])
    assert periodic_status(central, [job])[0].outcome == f"batches {int(two_transactions)}"
    assert doubt_list(central) == []


def test_a_job_is_done_once_an_interval_by_however_many_servers(
    central: Central, clock: Clock
) -> None:
    job = Counted()
    jobs = [Job("count", job.run)]
    for _ in range(3):
        run_due(central, interval_seconds=HOUR, jobs=jobs)
    clock.now += HOUR - 1
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {}
    clock.now += 1
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {"count": True}
    assert job.runs == [START, START + HOUR]


def test_while_one_server_is_at_a_job_another_leaves_it(central: Central) -> None:
    inner = Counted()
    seen: list[dict[str, bool]] = []

    def meanwhile() -> None:
        other = [Job("count", inner.run)]
        seen.append(run_due(central, interval_seconds=HOUR, jobs=other, at_once=True))

    outer = Counted(meanwhile)
    run_due(central, interval_seconds=HOUR, jobs=[Job("count", outer.run)])
    assert (seen, inner.runs) == ([{}], [])


def test_servers_that_come_at_the_same_moment_do_it_once(central: Central) -> None:
    job = Counted(lambda: time.sleep(0.05))
    jobs = [Job("count", job.run)]
    barrier = threading.Barrier(4)

    def serve() -> None:
        barrier.wait()
        run_due(central, interval_seconds=HOUR, jobs=jobs, at_once=True)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(job.runs) == 1


def test_a_server_that_died_in_the_middle_holds_a_job_for_a_while_only(
    central: Central, clock: Clock
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        run_due(central, interval_seconds=HOUR, jobs=[Job("count", Counted(die).run)])
    job = Counted()
    jobs = [Job("count", job.run)]
    clock.now += CLAIM_SECONDS - 1
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {}
    clock.now += 1
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {"count": True}


def test_a_failure_is_logged_noted_and_tried_again_and_stops_no_other_job(
    central: Central, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("Siti Aminah")

    wrong, right = Counted(fail), Counted()
    jobs = [Job("wrong", wrong.run), Job("right", right.run)]
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {"wrong": False, "right": True}
    assert any(
        record.levelno == logging.ERROR and record.exc_info and "wrong" in record.getMessage()
        for record in caplog.records
    )
    status, fine = periodic_status(central, jobs)
    assert (status.failures, status.failed_at, status.finished_at) == (1, START, None)
    assert status.outcome == "ValueError"  # what it said may be somebody's name
    assert status.is_overdue(START)
    assert not fine.is_overdue(START)
    clock.now += RETRY_SECONDS
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {"wrong": False}
    assert periodic_status(central, jobs)[0].failures == 2
    wrong.act = lambda: None
    clock.now += RETRY_SECONDS
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {"wrong": True}
    status = periodic_status(central, jobs)[0]
    assert (status.failures, status.finished_at) == (0, clock.now)


def test_a_clock_that_was_wrong_once_keeps_nothing_from_being_done(
    central: Central, clock: Clock
) -> None:
    job = Counted()
    jobs = [Job("count", job.run)]
    clock.now = START + 10 * 365 * 24 * HOUR
    run_due(central, interval_seconds=HOUR, jobs=jobs)
    clock.now = START
    assert run_due(central, interval_seconds=HOUR, jobs=jobs) == {"count": True}


def test_a_job_is_overdue_after_a_day(central: Central) -> None:
    jobs = [Job("count", Counted().run)]
    run_due(central, interval_seconds=HOUR, jobs=jobs)
    (status,) = periodic_status(central, jobs)
    assert not status.is_overdue(START + OVERDUE_SECONDS)
    assert status.is_overdue(START + OVERDUE_SECONDS + 1)


def test_the_served_application_works_from_its_start_until_it_is_stopped(
    central: Central, clock: Clock
) -> None:
    began, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert may_end.wait(10)

    job = Counted(wait)
    periodic = PeriodicWork(
        central, interval_seconds=HOUR, jobs=[Job("count", job.run)], tick_seconds=0.005
    )
    with TestClient(create_app(central, periodic=periodic)) as client:
        assert began.wait(10)
        assert client.get("/healthz").status_code == 200  # the event loop is free meanwhile
        may_end.set()
        _until(lambda: periodic_status(central, [Job("count", job.run)])[0].finished_at == START)
        clock.now += HOUR
        _until(lambda: len(job.runs) == 2)
    clock.now += HOUR
    time.sleep(0.05)
    assert len(job.runs) == 2


def test_a_database_that_is_away_does_not_end_the_work(
    central: Central, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = Counted()
    periodic = PeriodicWork(
        central, interval_seconds=HOUR, jobs=[Job("count", job.run)], tick_seconds=0.005
    )

    def away(_: Database) -> None:
        raise DatabaseAway

    with monkeypatch.context() as patch:
        patch.setattr(Database, "read", away)
        periodic.start()
        _until(lambda: "could not be looked at" in caplog.text)
        assert job.runs == []
    _until(lambda: job.runs == [START])
    periodic.stop()


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)
