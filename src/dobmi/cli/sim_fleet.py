"""`dobmi sim fleet`: the whole system on virtual time, with everything that can fail failing."""

from __future__ import annotations

import click

from dobmi.cli.context import Context

_HOURS = 4.0


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
    default=_HOURS,
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
    # What it simulates is all of the project: loaded when it is called.
    from dobmi.fleet.report import report  # noqa: PLC0415

    report(context.translate, seeds=seeds, first=first, seed=seed, hours=hours, as_json=as_json)
