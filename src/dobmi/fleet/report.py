"""What `dobmi sim fleet` prints: a bar while it runs, figures, and the shortest story of a failure."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dobmi.central import database
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.fleet.events import Event, plan
from dobmi.fleet.run import SHRINK_RUNS_MAX, Figures, Outcome, Shrunk, run_seed, shrinking
from dobmi.fleet.story import tell, tell_events
from dobmi.i18n import N_

Translate = Callable[[str], str]

_FAILURES_MAX = 5
"""After so many failing seeds there is enough to look at."""


class OracleFound(DoBMIError):
    code = "SIM-FLEET"
    message = N_(
        "{count} of {seeds} seeds break a promise, the first: seed {seed}, {oracle}: {detail}"
    )
    next_step = N_("See it again with: dobmi sim fleet --seed {seed} --hours {hours:g}")
    money_moved = MoneyMoved.UNKNOWN


def report(
    translate: Translate,
    *,
    seeds: int,
    first: int,
    seed: int | None,
    hours: float,
    as_json: bool,
) -> None:
    """Run and print. `seeds` 0: until stopped; `seed`: that one alone. Raises OracleFound."""
    with _planned_failures_unlogged():
        _report(translate, seeds=seeds, first=first, seed=seed, hours=hours, as_json=as_json)


@contextmanager
def _planned_failures_unlogged() -> Iterator[None]:
    """The server logs a failing database with its traceback; here the seed has made it fail."""
    log = logging.getLogger(database.__name__)
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was_disabled


def _report(
    translate: Translate,
    *,
    seeds: int,
    first: int,
    seed: int | None,
    hours: float,
    as_json: bool,
) -> None:
    console = Console(stderr=as_json)
    figures = Figures()
    if seed is not None:
        outcome = run_seed(seed, hours)
        figures.add(seed, outcome)
        for line in tell(outcome.story):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    else:
        numbers: Iterable[int] = (
            itertools.count(first) if seeds == 0 else range(first, first + seeds)
        )
        _run(translate, console, figures, numbers, total=seeds, hours=hours)
    if as_json:
        click.echo(json.dumps(figures.as_json()))
    else:
        _show(translate, console, figures)
    if figures.failures:
        failed, outcome = next(iter(figures.failures.items()))
        _show_failures(translate, console, figures)
        _show_shrunk(
            translate, console, failed, _shrunk(translate, console, plan(failed, hours), outcome)
        )
        found = outcome.findings[0]
        raise OracleFound(
            count=len(figures.failures),
            seeds=figures.seeds,
            seed=failed,
            hours=hours,
            oracle=found.oracle,
            detail=found.text,
        )


def _run(
    translate: Translate,
    console: Console,
    figures: Figures,
    numbers: Iterable[int],
    *,
    total: int,
    hours: float,
) -> None:
    with _bar(console) as progress:
        task = progress.add_task(translate(N_("seeds")), total=total or None)
        try:
            for number in numbers:
                figures.add(number, run_seed(number, hours))
                progress.advance(task)
                if len(figures.failures) >= _FAILURES_MAX:
                    break
        except KeyboardInterrupt:
            console.print(translate(N_("Stopped.")))


def _show(translate: Translate, console: Console, figures: Figures) -> None:
    found = figures.as_json()
    table = Table(show_header=False)
    table.add_row(translate(N_("seeds")), str(figures.seeds))
    table.add_row(translate(N_("steps, each checked by every oracle")), str(figures.steps))
    table.add_row(translate(N_("simulated sales")), str(figures.sales))
    table.add_row(translate(N_("seeds per minute")), f"{found['seeds_per_minute']:g}")
    table.add_row(
        translate(N_("simulated sales per second")), f"{found['simulated_sales_per_second']:g}"
    )
    table.add_section()
    for kind, count in sorted(figures.faults.items()):
        table.add_row(kind, str(count))
    table.add_section()
    table.add_row(translate(N_("seeds that break a promise")), str(len(figures.failures)))
    console.print(table)


def _show_failures(translate: Translate, console: Console, figures: Figures) -> None:
    """Before the first is shrunk, which takes its time."""
    line = translate(N_("Seed {seed} breaks {oracle}: {detail}"))
    for seed, outcome in figures.failures.items():
        found = outcome.findings[0]
        text = line.format(seed=seed, oracle=found.oracle, detail=found.text)
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _shrunk(
    translate: Translate, console: Console, events: Sequence[Event], outcome: Outcome
) -> Shrunk:
    """The shortest, or what there is of it when somebody will not wait any longer."""
    steps = shrinking(events, outcome)
    shortest = next(steps)
    with _bar(console) as progress:
        task = progress.add_task("", total=SHRINK_RUNS_MAX)
        told = translate(N_("shrinking: {count} events"))
        try:
            for shortest in steps:
                told_now = told.format(count=len(shortest.events))
                progress.update(task, completed=shortest.runs, description=told_now)
        except KeyboardInterrupt:
            console.print(translate(N_("Stopped.")))
    return shortest


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _show_shrunk(translate: Translate, console: Console, seed: int, shrunk: Shrunk) -> None:
    heading = translate(N_("Seed {seed}, shrunk to {count} events in {runs} runs:"))
    console.print(heading.format(seed=seed, count=len(shrunk.events), runs=shrunk.runs))
    for line in (*tell_events(shrunk.events), "", *tell(shrunk.outcome.story)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
