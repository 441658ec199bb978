"""Setting a till up in the browser: reader, printer, pairing, outlet and language."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.cardlib.errors import CardError
from dobmi.cardlib.inspection import CardState
from dobmi.errors import DoBMIError
from dobmi.i18n import LANGUAGES, N_
from dobmi.sync.errors import SyncError
from dobmi.sync.pairing import PairingState
from dobmi.terminal.counter_state import Phase
from dobmi.terminal.errors import BadPrinter, NotASupervisor
from dobmi.terminal.ledger import TillIdentity
from dobmi.terminal.page.errors import NoSetUp
from dobmi.terminal.page.rendering import render
from dobmi.terminal.page.set_up import SetUp
from dobmi.terminal.page.visit import Page, Visit, Visited, number_of
from dobmi.terminal.pairing import (
    ask_pairing,
    begin_pairing,
    finish_pairing,
    give_up_pairing,
    open_identity,
    pairing_under_way,
)
from dobmi.terminal.papers import outlet_of
from dobmi.terminal.printer import PrinterKind, PrinterState, parse_printer
from dobmi.terminal.setup import (
    SettingValue,
    change_settings,
    find_printers,
    find_readers,
    try_printer,
    try_reader,
)
from dobmi.terminal.staff import has_staff

router: Final = APIRouter()
READER_SECONDS: Final = 15.0
_CARDS: Final = {
    CardState.BLANK: N_("a blank card: the office can issue it"),
    CardState.LOCKED: N_("an empty card whose master key is not the factory's"),
    CardState.UNSUPPORTED: N_("a card too old to be a Do BMI card"),
    CardState.FOREIGN: N_("another system's card"),
    CardState.UNFINISHED: N_("a Do BMI card whose issuing was not finished"),
    CardState.PURSE: N_("a Do BMI card"),
}
_PRINTERS: Final = {
    PrinterState.READY: N_("The test page is printed."),
    PrinterState.MUTE: N_("The test page was sent; this printer does not say how it is."),
    PrinterState.PAPER_LOW: N_("The test page is printed. The paper is nearly used up."),
}


@router.get("/setup")
def setup(visit: Visited) -> Response:
    known = _allowed(visit)
    identity = _identity(visit.page)
    found = find_readers()
    return visit.show(
        "setup.html",
        "setup",
        known=known,
        identity=identity,
        readers=found.readers,
        reader_problems=found.problems,
        printers=find_printers(),
        pairing=None if identity is not None else pairing_under_way(known.files),
        languages=LANGUAGES,
        counter_runs=visit.page.counter.state.phase is not Phase.STARTING,
    )


def _allowed(visit: Visit) -> SetUp:
    """A till that has nobody yet is set up by whoever stands there; later only by a supervisor.

    Raises SessionOver, NotASupervisor, NoSetUp.
    """
    if visit.page.setup is None:
        raise NoSetUp
    if _identity(visit.page) is not None:
        visit.require_person()
        if has_staff(visit.page.ledger) and not visit.person.is_supervisor:
            raise NotASupervisor(name=visit.person.name)
    return visit.page.setup


def _identity(page: Page) -> TillIdentity | None:
    try:
        return page.ledger.identity()
    except DoBMIError:
        return None


@router.post("/setup/settings")
def settings(visit: Visited) -> Response:
    known = _allowed(visit)
    visit.fields["to"] = "/setup"
    names: dict[str, Callable[[str], SettingValue]] = {
        "reader": str,
        "printer": str,
        "printer_columns": lambda text: number_of(text, "printer_columns"),
        "cashier": str,
        "server": str,
    }
    changes: dict[str, SettingValue | None] = {
        f"terminal.{name}": kind(visit.field(name))
        for name, kind in names.items()
        if name in visit.fields
    }
    if "other_printer" in visit.fields and visit.fields["other_printer"].strip():
        changes["terminal.printer"] = visit.field("other_printer")
    if visit.fields.get("language") in LANGUAGES:
        changes["language"] = visit.fields["language"]
    _check_printer(known, str(changes.get("terminal.printer", known.printer)))
    change_settings(known.settings_file, changes)
    known.restart()
    return visit.show("restart.html", "setup")


def _check_printer(known: SetUp, setting: str) -> None:
    """No file that is no device: printing would write into it, were it the till's own ledger.

    What the settings' file says already is its owner's affair. Raises BadPrinter.
    """
    address = parse_printer(setting)
    if address.kind is not PrinterKind.FILE or setting == known.printer:
        return
    if not Path(os.path.normpath(address.path)).is_relative_to("/dev"):
        raise BadPrinter(setting=setting)


@router.post("/setup/reader")
def reader(visit: Visited) -> Response:
    """Try a reader that the counter does not hold: on a till that is not open yet."""
    _allowed(visit)
    visit.fields["said"] = "reader-said"
    tried = try_reader(visit.field("reader"), READER_SECONDS)
    words = visit.say(
        N_("{reader} reads: UID {uid}"), reader=tried.reader, uid=tried.uid.hex().upper()
    )
    if tried.card is not None:
        words += " " + visit.say(
            N_("It is {kind} ({chip})."),
            kind=visit.say(_CARDS[tried.card.state]),
            chip=tried.card.version.generation.value,
        )
    problem: CardError | None = tried.problem
    return visit.html(render("_tried.html", visit.language, words=words, problem=problem))


@router.post("/setup/printer")
def printer(visit: Visited) -> Response:
    known = _allowed(visit)
    visit.fields["said"] = "printer-said"
    wanted = visit.fields.get("other_printer", "").strip() or visit.field("printer")
    columns = (
        visit.number("printer_columns") if "printer_columns" in visit.fields else known.columns
    )
    _check_printer(known, wanted)
    outlet = None if _identity(visit.page) is None else outlet_of(visit.page.ledger)
    state = try_printer(wanted, columns, int(time.time()), visit.voice.translate, outlet)
    words = visit.say(_PRINTERS[state])
    return visit.html(render("_tried.html", visit.language, words=words, problem=None))


@router.post("/setup/pairing")
def pair(visit: Visited) -> Response:
    known = _allowed(visit)
    visit.fields["to"] = "/setup"
    keys = open_identity(known.files, known.passphrase)
    begin_pairing(known.files, keys, known.server, visit.field("name"), language=visit.language)
    return visit.redirect("/setup")


@router.get("/setup/pairing")
def pairing_state(visit: Visited) -> Response:
    """How far the office is; asked by the page every few seconds."""
    known = _allowed(visit)
    under_way = pairing_under_way(known.files)
    if under_way is None:
        return visit.redirect("/setup")
    keys = open_identity(known.files, known.passphrase)
    problem: DoBMIError | None = None
    approved = False
    try:
        progress = ask_pairing(known.files, keys, under_way, language=visit.language)
        approved = progress.state is PairingState.APPROVED
    except SyncError as error:
        problem = error
    return visit.html(render("_pairing.html", visit.language, approved=approved, problem=problem))


@router.post("/setup/pairing/reply")
def reply(visit: Visited) -> Response:
    known = _allowed(visit)
    visit.fields["to"] = "/setup"
    under_way = pairing_under_way(known.files)
    if under_way is None:
        return visit.redirect("/setup")
    keys = open_identity(known.files, known.passphrase)
    identity = finish_pairing(
        known.files,
        keys,
        under_way,
        visit.field("reply"),
        known.passphrase,
        language=visit.language,
    )
    text = visit.say(
        N_("This is now till {terminal_id} of {seller}."),
        terminal_id=identity.terminal_id,
        seller=identity.seller,
    )
    return visit.redirect("/setup", done=text)


@router.post("/setup/pairing/give-up")
def give_up(visit: Visited) -> Response:
    give_up_pairing(_allowed(visit).files)
    return visit.redirect("/setup")


@router.get("/setup/restarted")
def restarted(visit: Visited) -> Response:
    return visit.redirect("/setup", done=visit.say(N_("The new settings hold.")))
