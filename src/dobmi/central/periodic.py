"""What the central server does by itself, at its start and every hour: one list of named jobs.

Of several servers on one database one does each job: it claims the job's row for a while, with an
UPDATE that only one of them wins (no lock is held, so that a pool like PgBouncer may stand
between). A server that dies in the middle loses the claim by time. Every job can stop anywhere and
be run again, also by two at once, so that a claim saves work and decides nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update

from dobmi.central.beside import look_at_all_posted
from dobmi.central.database import insert_unless_there
from dobmi.central.days import close_days
from dobmi.central.overdue import settle_overdue
from dobmi.central.partitions import ensure_partitions
from dobmi.central.pruning import prune
from dobmi.central.replacement import restore_due
from dobmi.central.schema import periodic_jobs
from dobmi.central.server import Central
from dobmi.central.wallets import load_all_wallets
from dobmi.central.work_list import find_work
from dobmi.errors import DoBMIError
from dobmi.wib import day_of

_log = logging.getLogger(__name__)

CLAIM_SECONDS = 15 * 60
"""How long a job is one server's. A longer run may be joined by another server's, harmlessly."""
RETRY_SECONDS = 5 * 60
"""After a failure, however long the interval is."""
OVERDUE_SECONDS = 24 * 3600
"""A job that was not done for so long is warned of."""
_TICK_SECONDS = 30
_MONTHS_AHEAD = 3
"""For which the journal and the vouchers have partitions, beside the present month's."""
_STOP_SECONDS = 10
_OUTCOME_LENGTH_MAX = 400


@dataclass(frozen=True, slots=True)
class Job:
    """`run` is given the server and the time (Unix seconds), and returns what it did, in numbers."""

    name: str
    run: Callable[[Central, int], Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job went last; times in Unix seconds, None: never. `failures` since `finished_at`."""

    name: str
    finished_at: int | None
    failed_at: int | None
    failures: int
    outcome: str

    def age_seconds(self, now: int) -> int | None:
        """Since the last success; None: there was none."""
        return None if self.finished_at is None else max(0, now - self.finished_at)

    def is_overdue(self, now: int) -> bool:
        age = self.age_seconds(now)
        return age is None or age > OVERDUE_SECONDS


def _settle_doubts(central: Central, now: int) -> Mapping[str, int]:
    done = settle_overdue(central, now)
    return {"not_paid": done.not_paid_count, "held": done.held_count}


def _restore_lost_cards(central: Central, _now: int) -> Mapping[str, int]:
    return {"restored": restore_due(central)}


def _close_days(central: Central, now: int) -> Mapping[str, int]:
    return {"closed": len(close_days(central, now))}


def _load_wallets(central: Central, now: int) -> Mapping[str, int]:
    return {"loaded": load_all_wallets(central, now).count}


def _prune(central: Central, now: int) -> Mapping[str, int]:
    done = prune(central, now)
    return {"requests": done.requests, "refused": done.rejected_contents}


def _look_at_batches(central: Central, _now: int) -> Mapping[str, int]:
    return {"batches": look_at_all_posted(central)}


def _find_work(central: Central, _now: int) -> Mapping[str, int]:
    return find_work(central)


def _make_months(central: Central, now: int) -> Mapping[str, int]:
    with central.database.write() as connection:
        made = ensure_partitions(connection, day_of(now), _MONTHS_AHEAD)
    return {"partitions": len(made)}


JOBS: tuple[Job, ...] = (
    Job("look-at-batches", _look_at_batches),
    Job("make-months", _make_months),
    Job("settle-doubts", _settle_doubts),
    Job("restore-lost-cards", _restore_lost_cards),
    Job("find-work", _find_work),
    Job("load-wallets", _load_wallets),
    Job("close-days", _close_days),
    Job("prune", _prune),
)
"""In their order. Each is safe to stop anywhere and to run again, by several servers at once."""


def run_due(
    central: Central,
    *,
    interval_seconds: int,
    jobs: Sequence[Job] = JOBS,
    at_once: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, bool]:
    """Do the jobs that are due and that no other server is at; whether each that was done succeeded.

    A job is due when its last success is an interval ago, or with `at_once` in any case. One that
    fails is logged, noted in its row, and does not keep the next from running. Raises DatabaseAway,
    ServerBusy and the like when not even the rows can be read or written.
    """
    done: dict[str, bool] = {}
    for job in jobs:
        if stopping():
            break
        if _claim(central, job.name, 0 if at_once else interval_seconds):
            done[job.name] = _run(central, job)
    return done


def periodic_status(central: Central, jobs: Sequence[Job] = JOBS) -> list[JobStatus]:
    """How each job went last, in the order of the list."""
    with central.database.read() as connection:
        rows = {row.name: row for row in connection.execute(select(periodic_jobs))}
    return [
        JobStatus(
            name=job.name,
            finished_at=row.finished_at if row else None,
            failed_at=row.failed_at if row else None,
            failures=row.failures if row else 0,
            outcome=row.outcome if row else "",
        )
        for job in jobs
        for row in (rows.get(job.name),)
    ]


class PeriodicWork:
    """The jobs of one server, in a thread of their own: at once, then when they are due."""

    def __init__(
        self,
        central: Central,
        *,
        interval_seconds: int,
        jobs: Sequence[Job] = JOBS,
        tick_seconds: float = _TICK_SECONDS,
    ) -> None:
        self._central = central
        self._interval_seconds = interval_seconds
        self._jobs = jobs
        self._tick_seconds = tick_seconds
        self._stop = threading.Event()
        # A daemon: a job that does not end in time dies with the process, and is done again.
        self._thread = threading.Thread(target=self._work, name="periodic work", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further job; wait a little for the one that runs."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _work(self) -> None:
        at_once = True
        while not self._stop.is_set():
            try:
                run_due(
                    self._central,
                    interval_seconds=self._interval_seconds,
                    jobs=self._jobs,
                    at_once=at_once,
                    stopping=self._stop.is_set,
                )
                at_once = False
            except Exception:  # noqa: BLE001 - a database that is away, say: tried at the next tick
                _log.exception("the periodic work could not be looked at")
            self._stop.wait(self._tick_seconds)


def _claim(central: Central, name: str, interval_seconds: int) -> bool:
    """Whether the job is due and now this server's."""
    now = central.unix_seconds()
    with central.database.read() as connection:
        row = connection.execute(
            select(periodic_jobs).where(periodic_jobs.c.name == name)
        ).one_or_none()
    if row is not None and not _is_due(row, now, interval_seconds):
        return False
    with central.database.write() as connection:
        if row is None:
            never = {"name": name, "started_at": 0, "running_until": 0, "failures": 0}
            insert_unless_there(connection, periodic_jobs, [{**never, "outcome": ""}])
        taken = connection.execute(
            update(periodic_jobs)
            .where(
                periodic_jobs.c.name == name,
                periodic_jobs.c.started_at == (row.started_at if row else 0),
                periodic_jobs.c.running_until == (row.running_until if row else 0),
            )
            .values(started_at=now, running_until=now + CLAIM_SECONDS)
        )
        return taken.rowcount == 1


def _is_due(row: Row[Any], now: int, interval_seconds: int) -> bool:
    """A time to come, which only a wrong clock can have written, keeps nothing from being done."""
    if now < row.running_until <= now + CLAIM_SECONDS:
        return False
    last, wait = row.finished_at, interval_seconds
    if row.failures:
        last, wait = row.failed_at, min(RETRY_SECONDS, interval_seconds)
    return last is None or not now - wait < last <= now


def _run(central: Central, job: Job) -> bool:
    try:
        counts = job.run(central, central.unix_seconds())
    except Exception as error:  # noqa: BLE001 - said, noted and tried again; the other jobs go on
        _log.exception("periodic work failed: %s", job.name)
        _note(central, job.name, failure=_words(error))
        return False
    outcome = ", ".join(f"{name} {count}" for name, count in counts.items())
    _log.info("periodic work done: %s: %s", job.name, outcome)
    _note(central, job.name, outcome=outcome)
    return True


def _note(central: Central, name: str, *, outcome: str = "", failure: str = "") -> None:
    now = central.unix_seconds()
    values: dict[str, object] = {"running_until": 0, "outcome": outcome[:_OUTCOME_LENGTH_MAX]}
    if failure:
        values |= {"failed_at": now, "failures": periodic_jobs.c.failures + 1}
        values |= {"outcome": failure[:_OUTCOME_LENGTH_MAX]}
    else:
        values |= {"finished_at": now, "failures": 0}
    with central.database.write() as connection:
        connection.execute(
            update(periodic_jobs).where(periodic_jobs.c.name == name).values(**values)
        )


def _words(error: Exception) -> str:
    """Of our own errors the code and the text; of others the kind alone, which says no names."""
    return str(error) if isinstance(error, DoBMIError) else type(error).__name__
