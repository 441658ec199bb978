"""Papers on the screen of the command line and on the printer: `dobmi terminal print`."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import click

from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.till import opened_ledger
from dobmi.i18n import N_
from dobmi.terminal import print_queue
from dobmi.terminal.errors import (
    BadPrinter,
    LedgerError,
    NoPrinter,
    NoShift,
    NotEnrolled,
    PrinterInUse,
    PrintFailed,
)
from dobmi.terminal.escpos_bytes import to_escpos
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.paper import KIND_NAMES, Paper, to_text
from dobmi.terminal.papers import (
    outlet_of,
    paper_of_refund,
    paper_of_sale,
    paper_of_shift,
)
from dobmi.terminal.print_queue import JobState, PrintJob, PrintLock
from dobmi.terminal.printer import (
    PrinterKind,
    PrinterState,
    deliver,
    kick_drawer,
    parse_printer,
    printer_status,
)
from dobmi.terminal.receipt import TestFacts, test_paper
from dobmi.terminal.shift import x_report, z_report
from dobmi.wib import local_time

SCREEN_COLUMNS = 48


PRINTER_STATES = {
    PrinterState.NONE: N_("none: papers are shown on the screen"),
    PrinterState.READY: N_("ready"),
    PrinterState.MUTE: N_("there; it does not say how it is"),
    PrinterState.PAPER_LOW: N_("ready, but its paper runs low"),
    PrinterState.PAPER_OUT: N_("out of paper"),
    PrinterState.COVER_OPEN: N_("its cover is open"),
    PrinterState.FAULT: N_("it cannot print"),
    PrinterState.GONE: N_("it does not answer"),
}


def printer_now(context: Context) -> tuple[PrinterState, str | None]:
    """How the printer is, and, where it cannot be told or cannot print, why not."""
    settings = context.settings.terminal
    try:
        address = parse_printer(settings.printer)
        if address.kind is PrinterKind.NONE:
            return PrinterState.NONE, None
        with PrintLock(context.settings.at(settings.database)):
            shown = printer_status(address)
    except PrinterInUse as error:  # it may take one connection only
        return PrinterState.MUTE, error.explain(context.translate)
    except BadPrinter as error:
        return PrinterState.GONE, error.explain(context.translate)
    return shown.state, None if shown.error is None else shown.error.explain(context.translate)


def show_paper(paper: Paper) -> None:
    """Its rows on standard output."""
    for row in to_text(paper, SCREEN_COLUMNS):
        click.echo(row)


def put_on_paper(context: Context, ledger: Ledger, paper: Paper) -> dict[str, Any]:
    """Print it, where this till has a printer. What it is of stands, whatever becomes of the paper.

    The members of a JSON object that say so: `paper` (its number, or null) and `paper_problem` (a
    code, or null).
    """
    if parse_printer(context.settings.terminal.printer).kind is PrinterKind.NONE:
        return {"paper": None, "paper_problem": None}
    number = problem = None
    try:
        number = print_queue.add(ledger, paper, int(time.time()))
        with contextlib.suppress(PrinterInUse):  # that program prints it
            _print_waiting(context, ledger)
    except (PrintFailed, LedgerError) as error:
        # No word of money here, which moved or not before there was any paper.
        click.secho(f"[{error.code}] {error.explain(context.translate)}", fg="yellow", err=True)
        click.echo(f"→ {error.advise(context.translate)}", err=True)
        problem = error.code
    return {"paper": number, "paper_problem": problem}


def _print_waiting(context: Context, ledger: Ledger) -> int:
    """Raises PrintFailed."""
    settings = context.settings.terminal
    with PrintLock(ledger.path):
        printed = print_queue.print_waiting(
            ledger, parse_printer(settings.printer), settings.printer_columns
        )
    return printed.count


@click.group("print", cls=DomainGroup)
def command() -> None:
    """Papers that wait for the printer, and papers once more."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def list_papers(context: Context, as_json: bool) -> None:
    """List the newest papers, and what became of them."""
    with opened_ledger(context) as ledger:
        found = print_queue.jobs(ledger)
    if as_json:
        papers = [_job_json(one) for one in found]
        click.echo(json.dumps({"papers": papers}, ensure_ascii=False))
        return
    if not found:
        context.say("No paper yet.")
    for one in found:
        _say_job(context, one)


@command.command()
@click.pass_obj
def retry(context: Context) -> None:
    """Print what waits, now."""
    with opened_ledger(context) as ledger:
        count = _print_waiting(context, ledger)
    context.say("Papers printed: {count}", count=count)


@command.command()
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def dismiss(context: Context, number: int) -> None:
    """Have paper NUMBER of the list printed no more."""
    with opened_ledger(context) as ledger:
        print_queue.dismiss(ledger, number, int(time.time()))
    context.say("Paper {number} is not printed any more.", number=number)


@command.command()
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def again(context: Context, number: int) -> None:
    """Print paper NUMBER of the list once more, as a copy."""
    _needs_printer(context)
    with opened_ledger(context) as ledger:
        print_queue.print_again(ledger, number, int(time.time()))
        _print_waiting(context, ledger)


@command.command()
@click.argument("sequence", type=click.IntRange(min=1))
@click.pass_obj
def sale(context: Context, sequence: int) -> None:
    """Show and print the receipt of this till's sale number SEQUENCE."""
    server = context.settings.terminal.server
    with opened_ledger(context) as ledger:
        _show_and_print(context, ledger, paper_of_sale(ledger, server, sequence, context.translate))


@command.command()
@click.argument("sequence", type=click.IntRange(min=1))
@click.pass_obj
def refund(context: Context, sequence: int) -> None:
    """Show and print the slip of this till's refund number SEQUENCE."""
    server = context.settings.terminal.server
    with opened_ledger(context) as ledger:
        paper = paper_of_refund(ledger, server, sequence, context.translate)
        _show_and_print(context, ledger, paper)


@command.command()
@click.argument("shift", type=click.IntRange(min=1), required=False)
@click.pass_obj
def report(context: Context, shift: int | None) -> None:
    """Show and print the Z report of SHIFT; without it the X report, or the last Z report."""
    with opened_ledger(context) as ledger:
        if shift is not None:
            found = z_report(ledger, shift)
        else:
            try:
                found = x_report(ledger, int(time.time()))
            except NoShift:
                found = z_report(ledger)
        _show_and_print(context, ledger, paper_of_shift(ledger, found, context.translate))


@command.command()
@click.pass_obj
def test(context: Context) -> None:
    """Print a test page."""
    settings = context.settings.terminal
    address = parse_printer(settings.printer)
    outlet = None
    with contextlib.suppress(NotEnrolled), opened_ledger(context) as ledger:
        outlet = outlet_of(ledger)
    facts = TestFacts(
        outlet=outlet,
        printer=settings.printer,
        columns=settings.printer_columns,
        unix_seconds=int(time.time()),
        proof=settings.server,
    )
    paper = test_paper(facts, context.translate)
    data = to_escpos(paper, settings.printer_columns, native_qr=address.native_qr)
    with PrintLock(context.settings.at(settings.database)):
        deliver(data, address)
    context.say("The test page is printed.")


@command.command()
@click.pass_obj
def drawer(context: Context) -> None:
    """Open the cash drawer that hangs on the printer."""
    kick_drawer(parse_printer(context.settings.terminal.printer))


def _needs_printer(context: Context) -> None:
    """Raises NoPrinter, BadPrinter."""
    if parse_printer(context.settings.terminal.printer).kind is PrinterKind.NONE:
        raise NoPrinter


def _show_and_print(context: Context, ledger: Ledger, paper: Paper) -> None:
    show_paper(paper)
    put_on_paper(context, ledger, paper)


_STATES = {
    JobState.WAITING: N_("waits"),
    JobState.PRINTED: N_("printed"),
    JobState.DISMISSED: N_("dismissed"),
}


def _say_job(context: Context, one: PrintJob) -> None:
    translate = context.translate
    kind = translate(N_("paper of another version") if one.kind is None else KIND_NAMES[one.kind])
    context.say(
        "{number:>5}  {time}  {state}  {kind} {reference}",
        number=one.number,
        time=local_time(one.created_unix_seconds),
        state=translate(_STATES[one.state]),
        kind=kind,
        reference=one.reference or "",
    )
    if one.is_copy:
        context.say("       as a copy")
    elif one.begun_count and one.state is JobState.WAITING:
        context.say("       the printer had begun with it: it will say that it is a copy")
    if one.problem:
        context.say("       the last try: {problem}", problem=one.problem)


def _job_json(one: PrintJob) -> dict[str, Any]:
    return {
        "number": one.number,
        "kind": None if one.kind is None else one.kind.value,
        "reference": one.reference,
        "state": one.state.value,
        "copy": one.is_copy,
        "begun_count": one.begun_count,
        "problem": one.problem or None,
        "created_unix_seconds": one.created_unix_seconds,
        "done_unix_seconds": one.done_unix_seconds,
    }
