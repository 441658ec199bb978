"""`dobmi sim crashes`: kill a process at every crash point there is, and look at the money."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dobmi.cli.context import Context
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.fleet.disk_watch import preload_library
from dobmi.i18n import N_

_CRASHES = "dobmi.fleet.crash_search"
_POWER_CUTS = "dobmi.fleet.power_cut"
_FAILURES_SHOWN = 20


class CrashFound(DoBMIError):
    code = "SIM-CRASH"
    message = N_("{count} of {cases} crashes leave something wrong, the first: {case}: {detail}")
    next_step = N_("See it again with: dobmi sim crashes --only '{case}'")
    money_moved = MoneyMoved.UNKNOWN


class NoSuchCrash(DoBMIError):
    code = "SIM-CRASH-NONE"
    message = N_("No case's name contains {only!r}.")
    next_step = N_("See the names with: dobmi sim crashes --list")


class NoSuchStep(DoBMIError):
    code = "SIM-CRASH-STEP"
    message = N_("No step of the day is called {only!r}. The steps: {steps}")
    next_step = N_("Name a step, or a point with its process: --only sell, --only till.card.commit")


class PowerCutFound(DoBMIError):
    code = "SIM-POWER-CUT"
    message = N_("{count} of {disks} disks lack something that was told, the first: {detail}")
    next_step = N_("Tell the developers; with --json it is all listed.")
    money_moved = MoneyMoved.UNKNOWN


class CannotCrash(DoBMIError):
    code = "SIM-CRASH-SETUP"
    message = N_("The crashes cannot be run: {detail}")
    next_step = N_(
        "Run scripts/setup; it installs a C compiler. PostgreSQL comes with the extra dev."
    )


class DayFails(DoBMIError):
    code = "SIM-CRASH-DAY"
    message = N_("The day goes wrong although nothing was killed: {detail}")
    next_step = N_("Run scripts/test: what fails there fails here too.")


class WorkerFailed(DoBMIError):
    code = "SIM-CRASH-WORKER"
    message = N_("A worker of the search ended with {status}.")
    next_step = N_("What it said stands above. Tell the developers.")


@dataclass(slots=True)
class _Tally:
    """What came in from the workers."""

    cases: list[str] = field(default_factory=list)
    ran: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, outcome: dict[str, Any]) -> None:
        self.ran[point_of(outcome["case"])] += 1
        if outcome["wrong"]:
            self.failures.append(outcome)
        elif not outcome["died"]:
            self.failures.append({**outcome, "wrong": ["the point was not reached"]})


def point_of(case: str) -> str:
    """`sell/till.card.commit.before#1` to `till.card.commit.before`."""
    point, _, number = case.partition("/")[2].rpartition("#")
    return point + number.lstrip("0123456789")


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Print the crash points' names, run none.")
@click.option("--only", default="", metavar="TEXT", help="Only cases whose name contains TEXT.")
@click.option("--sample", type=click.IntRange(min=1), help="At most so many cases, spread evenly.")
@click.option("--offset", default=0, help="Begin the sample's spread here: another sample.")
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgresql"]),
    default="sqlite",
    show_default=True,
    help="The central server's. With PostgreSQL that server itself is killed too.",
)
@click.option("--jobs", type=click.IntRange(1, 64), help="Cases at a time; two a core if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def crashes(
    context: Context,
    *,
    only_list: bool,
    only: str,
    sample: int | None,
    offset: int,
    database: str,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Play a day of a till, an issuing station and the central server, once for each point at which
    one of them can be killed: there it gets SIGKILL, is started again, and people go on. Then every
    card, the till and the ledger must agree.

    A point is a commit, a sync to disk, a network message or an exchange with a card, before and
    after it. A case is one passing of it: sell/till.card.commit.before#1. Exits with 1 if one of
    them leaves anything wrong.
    """
    _require_step(only)
    console = Console(stderr=as_json)
    started = time.monotonic()
    jobs = jobs or 2 * (os.cpu_count() or 1)
    tally = _Tally()
    with ExitStack() as stack:
        options = ["--only", only, "--offset", str(offset)]
        options += [] if sample is None else ["--sample", str(sample)]
        if database == "postgresql":
            options.append("--postgres")
        if only_list:
            listed = next(_outcomes(_CRASHES, [[*options, "--list"]]))
            found = [case for case in listed["cases"] if only in case]
            if not found:
                raise NoSuchCrash(only=only)
            _print_list(found, as_json=as_json)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        progress = stack.enter_context(
            Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        )
        task = progress.add_task(context.translate(N_("Crashing")), total=None)
        total = 0
        shares = [[*options, "--share", f"{index}/{jobs}"] for index in range(jobs)]
        for message in _outcomes(_CRASHES, shares):
            if "cases" in message:
                tally.cases = message["cases"]
                total += message["chosen"]
                progress.update(task, total=total)
            elif "case" in message:
                tally.add(message)
                progress.advance(task)
    if not total:
        raise NoSuchCrash(only=only)
    seconds = time.monotonic() - started
    _report(context, console, tally, database=database, seconds=seconds, as_json=as_json)


def _require_step(only: str) -> None:
    """What names no step is refused before the day is played, unless it may name a point.

    Raises NoSuchStep. Points, which only the played day tells, have a dot in their names.
    """
    from dobmi.fleet.crash_day import DAY  # noqa: PLC0415 - a second of every start of `dobmi`

    steps = [name for name, _ in DAY]
    text, slash, _ = only.partition("/")
    if {".", "!"} & set(text):
        return
    if not any(step.endswith(text) if slash else text in step for step in steps):
        raise NoSuchStep(only=only, steps=", ".join(steps))


@click.command("power-cuts")
@click.option(
    "--every", default=1, type=click.IntRange(min=1), help="Look at one disk in so many only."
)
@click.option(
    "--synchronous",
    type=click.Choice(["FULL", "NORMAL", "OFF"]),
    default="FULL",
    show_default=True,
    help="Weaken SQLite to this, to see what it would lose.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def power_cuts(context: Context, *, every: int, synchronous: str, as_json: bool) -> None:
    """Record what a till, the central server and a station write to disk in a day, and open every
    disk that a power cut at any moment of it may have left.

    What was synced is there; of the rest any part may be, torn between sectors. Whatever somebody
    had been told by then (paid, acknowledged, ordered, delivered) must be found. Exits with 1 if
    something is missing.
    """
    translate = context.translate
    table = Table(title=translate(N_("Power cuts")))
    table.add_column(translate(N_("machine")))
    for heading in (N_("writes"), N_("syncs"), N_("told"), N_("disks"), N_("wrong")):
        table.add_column(translate(heading), justify="right")
    found = []
    for line in _outcomes(_POWER_CUTS, [["--every", str(every), "--synchronous", synchronous]]):
        found.append(line)
        numbers = (line[name] for name in ("events", "syncs", "told", "disks", "bad_disks"))
        table.add_row(line["machine"], *map(str, numbers))
    Console(stderr=as_json).print(table)
    if as_json:
        click.echo(json.dumps({"synchronous": synchronous, "machines": found}))
    wrong = [text for line in found for text in line["wrong"]]
    if wrong:
        raise PowerCutFound(
            count=sum(line["bad_disks"] for line in found),
            disks=sum(line["disks"] for line in found),
            detail=wrong[0],
        )


def _outcomes(module: str, shares: list[list[str]]) -> Iterator[dict[str, Any]]:
    """Messages of the workers, as they come. Raises CannotCrash, DayFails, WorkerFailed."""
    try:
        library = preload_library()
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotCrash(detail=str(error)) from error
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONUNBUFFERED": "1"}
    workers = [
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", module, *share],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    try:
        with selectors.DefaultSelector() as selector:
            for number, worker in enumerate(workers):
                assert worker.stdout is not None
                selector.register(worker.stdout, selectors.EVENT_READ, number)
            while selector.get_map():
                for key, _ in selector.select():
                    stream = workers[key.data].stdout
                    assert stream is not None
                    line = stream.readline()
                    if line:
                        yield _message(line)
                    else:
                        selector.unregister(stream)
        for worker in workers:
            if worker.wait() != 0:
                raise WorkerFailed(status=worker.returncode)
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()


def _message(line: str) -> dict[str, Any]:
    """One of a worker's. Raises DayFails."""
    message: dict[str, Any] = json.loads(line)
    if "day_fails" in message:
        raise DayFails(detail=message["day_fails"])
    return message


def _print_list(cases: list[str], *, as_json: bool) -> None:
    points = Counter(point_of(case) for case in cases)
    if as_json:
        click.echo(json.dumps(points, indent=1, sort_keys=True))
        return
    for point, count in sorted(points.items()):
        click.echo(f"{count:5} {point}")


def _report(
    context: Context,
    console: Console,
    tally: _Tally,
    *,
    database: str,
    seconds: float,
    as_json: bool,
) -> None:
    translate = context.translate
    table = Table(title=translate(N_("Crashes, by what the process was doing")))
    table.add_column(translate(N_("process")))
    table.add_column(translate(N_("at")))
    for heading in (N_("points"), N_("cases"), N_("wrong")):
        table.add_column(translate(heading), justify="right")
    wrong = Counter(_kind(point_of(failure["case"])) for failure in tally.failures)
    points = Counter(_kind(point) for point in tally.ran)
    cases: Counter[tuple[str, str]] = Counter()
    for point, count in tally.ran.items():
        cases[_kind(point)] += count
    for kind in sorted(points):
        table.add_row(*kind, str(points[kind]), str(cases[kind]), str(wrong[kind]))
    table.add_section()
    total = sum(cases.values())
    table.add_row(
        translate(N_("together")), "", str(len(tally.ran)), str(total), str(len(tally.failures))
    )
    console.print(table)
    if as_json:
        outcome = {
            "database": database,
            "points": len({point_of(case) for case in tally.cases}),
            "points_run": len(tally.ran),
            "cases": len(tally.cases),
            "cases_run": total,
            "seconds": round(seconds, 1),
            "wrong": tally.failures,
        }
        click.echo(json.dumps(outcome))
    else:
        context.say(
            N_("{cases} crashes at {points} points in {seconds} s."),
            cases=total,
            points=len(tally.ran),
            seconds=f"{seconds:.0f}",
        )
        for failure in tally.failures[:_FAILURES_SHOWN]:
            click.echo(f"{failure['case']}: {'; '.join(failure['wrong'])}")
    if tally.failures:
        first = tally.failures[0]
        raise CrashFound(
            count=len(tally.failures),
            cases=total,
            case=first["case"],
            detail="; ".join(first["wrong"]),
        )


def _kind(point: str) -> tuple[str, str]:
    """(process, kind of point) for the table."""
    actor, _, rest = point.partition(".")
    if rest.startswith("card."):
        return actor, "card"
    if rest.startswith(("http.", "relay.")):
        return actor, "network"
    if rest.endswith("!postgres"):
        return "postgresql", "commit"
    if rest.endswith("-commit"):
        return actor, "commit"
    return actor, "disk"
