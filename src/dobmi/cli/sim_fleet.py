"""`dobmi sim fleet`: the whole system on virtual time, with everything that can fail failing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dobmi.cli.context import Context
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.fleet.events import plan
from dobmi.fleet.run import HOURS, Figures, Shrunk, run_seed, shrink
from dobmi.fleet.story import tell, tell_events
from dobmi.i18n import N_

_FAILURES_MAX = 5
"""After so many failing seeds there is enough to look at."""


class OracleFound(DoBMIError):
    code = "SIM-FLEET"
    message = N_(
        "{count} of {seeds} seeds break a promise, the first: seed {seed}, {oracle}: {detail}"
    )
    next_step = N_("See it again with: dobmi sim fleet --seed {seed} --hours {hours:g}")
    money_moved = MoneyMoved.UNKNOWN


@click.command()
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many seeds to run; 0: until stopped.",
)
@click.option("--first", type=click.IntRange(min=0), default=0, help="The seed to begin with.")
@click.option("--seed", type=click.IntRange(min=0), help="Run this one alone, and tell its story.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=HOURS,
    show_default=True,
    help="Virtual hours of each seed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
@click.pass_obj
def fleet(  # noqa: PLR0917 - click gives them by name
    context: Context, seeds: int, first: int, seed: int | None, hours: float, as_json: bool
) -> None:
    """Run tills, cards, station and central server in one process on virtual time, losing frames,
    requests, power and clocks as each seed decides; after every step check that no rupiah is lost
    or made.

    A seed is repeated exactly by --seed. One that breaks a promise is shrunk to its shortest story.
    Exits with 1 if there is any.
    """
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
        _run(context, console, figures, numbers, seeds, hours)
    if as_json:
        click.echo(json.dumps(figures.as_json()))
    else:
        _show(context, console, figures)
    if figures.failures:
        failed, outcome = next(iter(figures.failures.items()))
        shrunk = shrink(plan(failed, hours), outcome)
        _show_shrunk(context, console, failed, shrunk)
        found = outcome.findings[0]
        raise OracleFound(
            count=len(figures.failures),
            seeds=figures.seeds,
            seed=failed,
            hours=hours,
            oracle=found.oracle,
            detail=found.text,
        )


def _run(  # noqa: PLR0917 - one caller
    context: Context,
    console: Console,
    figures: Figures,
    numbers: Iterable[int],
    total: int,
    hours: float,
) -> None:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(context.translate(N_("seeds")), total=total or None)
        try:
            for number in numbers:
                figures.add(number, run_seed(number, hours))
                progress.advance(task)
                if len(figures.failures) >= _FAILURES_MAX:
                    break
        except KeyboardInterrupt:
            console.print(context.translate(N_("Stopped.")))


def _show(context: Context, console: Console, figures: Figures) -> None:
    translate = context.translate
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


def _show_shrunk(context: Context, console: Console, seed: int, shrunk: Shrunk) -> None:
    heading = context.translate(N_("Seed {seed}, shrunk to {count} events in {runs} runs:"))
    console.print(heading.format(seed=seed, count=len(shrunk.events), runs=shrunk.runs))
    for line in (*tell_events(shrunk.events), "", *tell(shrunk.outcome.story)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
