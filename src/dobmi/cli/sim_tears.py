"""`dobmi sim tears`: a card pulled away at every frame of every flow, and all that people do then."""

from __future__ import annotations

import click

from dobmi.cli.context import Context


@click.command()
@click.option("--only", default="", metavar="TEXT", help="Only cases whose name contains TEXT.")
@click.option("--list", "only_list", is_flag=True, help="Print the cases' names, run none.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Cases at a time; one a core if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def tears(context: Context, *, only: str, only_list: bool, jobs: int | None, as_json: bool) -> None:
    """Pull the card away at every frame of sale, refund, delivery of credits, issue, change of keys
    and replacement: before the card has the command and after it, then tapped at the same till, at
    another or never again, with machines that go on or are killed. Whatever comes of it must agree
    with card and ledger, and the message must be one that a cashier can act on.

    A case is named like this: sale/frame-8/answer-lost/same/restarts/again. Exits with 1 and tells
    the story of the first that goes wrong.
    """
    # What it simulates is all of the project: loaded when it is called.
    from dobmi.fleet.tear_report import report  # noqa: PLC0415

    report(context.translate, only=only, only_list=only_list, jobs=jobs, as_json=as_json)
