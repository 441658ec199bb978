"""What `dobmi sim tears` prints: a bar while it runs, a table by flow, the story of a failure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.fleet.story import tell
from dobmi.fleet.tears import Ending, Figures, Outcome, cases, length, run
from dobmi.i18n import N_

Translate = Callable[[str], str]

_FEW = 50
"""So many cases are run sooner than a second process is up."""


class TearFound(DoBMIError):
    code = "SIM-TEARS"
    message = N_("{count} of {cases} tears break a promise, the first: {case}, {oracle}: {detail}")
    next_step = N_("See it again with: dobmi sim tears --only {case}")
    money_moved = MoneyMoved.UNKNOWN


class NoSuchTear(DoBMIError):
    code = "SIM-TEARS-NONE"
    message = N_("No case's name contains {only!r}.")
    next_step = N_("See the names with: dobmi sim tears --list")


def report(
    translate: Translate, *, only: str, only_list: bool, jobs: int | None, as_json: bool
) -> None:
    """Run and print. `jobs` None: one a core, if there are many cases.

    Raises TearFound, NoSuchTear.
    """
    chosen = cases(only)
    if not chosen:
        raise NoSuchTear(only=only)
    if only_list:
        for case in chosen:
            click.echo(case.name)
        return
    if jobs is None:
        jobs = (os.cpu_count() or 1) if len(chosen) > _FEW else 1
    console = Console(stderr=as_json)
    figures = Figures()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(translate(N_("tears")), total=len(chosen))
        try:
            for _ in run(chosen, figures, jobs=jobs):
                progress.advance(task)
        except KeyboardInterrupt:
            console.print(translate(N_("Stopped.")))
    if as_json:
        click.echo(json.dumps(figures.as_json()))
    else:
        _show(translate, console, figures)
    if figures.failures:
        first = figures.failures[0]
        _tell(console, first)
        raise TearFound(
            count=len(figures.failures),
            cases=sum(figures.cases.values()),
            case=first.case.name,
            oracle=first.findings[0].oracle,
            detail=first.findings[0].text,
        )


def _show(translate: Translate, console: Console, figures: Figures) -> None:
    flows = Table()
    flows.add_column("")
    names = list(figures.cases)
    for flow in names:
        flows.add_column(translate(FLOW_NAMES[flow]), justify="right")
    flows.add_column(translate(N_("together")), justify="right")
    frames = [length(flow).frames for flow in names]
    flows.add_row(translate(N_("frames")), *map(str, frames), str(sum(frames)))
    counts = [figures.cases[flow] for flow in names]
    flows.add_row(translate(N_("cases")), *map(str, counts), str(sum(counts)))
    flows.add_section()
    for ending in Ending:
        each = [figures.endings[flow, ending] for flow in names]
        flows.add_row(translate(ending.value), *map(str, each), str(sum(each)))
    wrong = [sum(one.case.flow == flow for one in figures.failures) for flow in names]
    flows.add_section()
    flows.add_row(translate(N_("break a promise")), *map(str, wrong), str(sum(wrong)))
    console.print(flows)
    messages = Table()
    messages.add_column(translate(N_("message")))
    messages.add_column(translate(N_("money moved")))
    messages.add_column(translate(N_("cases")), justify="right")
    messages.add_column(translate(N_("next step")))
    for (code, step, moved), count in sorted(figures.messages.items()):
        messages.add_row(code, translate(MOVED[moved]), str(count), step)
    console.print(messages)
    console.print(
        translate(N_("{cases} tears in {seconds} s.")).format(
            cases=sum(counts), seconds=f"{figures.seconds:.0f}"
        )
    )


def _tell(console: Console, outcome: Outcome) -> None:
    for line in tell(outcome.story):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


FLOW_NAMES = {
    "sale": N_("sale"),
    "refund": N_("refund"),
    "credit": N_("credit"),
    "issue": N_("issue"),
    "rekey": N_("new keys"),
    "replacement": N_("replacement"),
}
MOVED = {
    MoneyMoved.NO: N_("no"),
    MoneyMoved.YES: N_("yes"),
    MoneyMoved.UNKNOWN: N_("not known"),
}
