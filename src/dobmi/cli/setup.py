"""`dobmi terminal setup`: what the set-up page does, by commands."""

from __future__ import annotations

import time
from pathlib import Path

import click

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.inspection import CardState
from dobmi.cli.context import Context, DomainGroup, show_error
from dobmi.i18n import LANGUAGES, N_
from dobmi.sync.errors import ServerUnreachable
from dobmi.sync.pairing import PairingState
from dobmi.terminal.errors import NoPairing, NotEnrolled, WrongReply
from dobmi.terminal.ledger import Ledger, TillIdentity
from dobmi.terminal.pairing import (
    Pairing,
    TillFiles,
    ask_pairing,
    begin_pairing,
    finish_pairing,
    open_identity,
    pairing_under_way,
)
from dobmi.terminal.printer import PrinterState
from dobmi.terminal.receipt import Outlet
from dobmi.terminal.setup import (
    SettingValue,
    change_settings,
    find_printers,
    find_readers,
    try_printer,
    try_reader,
)

_ASK_SECONDS = 3.0
_CARDS = {
    CardState.BLANK: N_("a blank card: the office can issue it"),
    CardState.LOCKED: N_("an empty card whose master key is not the factory's"),
    CardState.UNSUPPORTED: N_("a card too old to be a Do BMI card"),
    CardState.FOREIGN: N_("another system's card"),
    CardState.UNFINISHED: N_("a Do BMI card whose issuing was not finished"),
    CardState.PURSE: N_("a Do BMI card"),
}
_PRINTERS = {
    PrinterState.READY: N_("The test page is printed."),
    PrinterState.MUTE: N_("The test page was sent; this printer does not say how it is."),
    PrinterState.PAPER_LOW: N_("The test page is printed. The paper is nearly used up."),
}


def till_files(context: Context) -> TillFiles:
    settings = context.settings.terminal
    return TillFiles(
        database=context.settings.at(settings.database),
        identity=context.settings.at(settings.identity),
        card_keys=context.settings.at(settings.card_keys),
    )


def settings_file(context: Context) -> Path:
    """The one that was read, or the one that is made when something is set."""
    return context.settings.file or Path("dobmi.toml")


@click.group(cls=DomainGroup, invoke_without_command=True)
@click.pass_context
def setup(click_context: click.Context) -> None:
    """Set this till up: reader, printer, outlet. Alone: show how far it is.

    The order that saves steps: `set`, `reader`, `printer`, `pair`.
    """
    if click_context.invoked_subcommand is not None:
        return
    context = click_context.ensure_object(Context)
    settings = context.settings.terminal
    context.say(N_("Settings: {path}"), path=settings_file(context))
    context.say(N_("Language: {language}"), language=context.settings.language)
    context.say(N_("Reader: {reader}"), reader=settings.reader)
    context.say(N_("Printer: {printer}"), printer=settings.printer)
    context.say(N_("Central server: {server}"), server=settings.server)
    identity = _identity(till_files(context))
    pairing = pairing_under_way(till_files(context))
    if identity is not None:
        context.say(
            N_("Outlet: {seller}, till {terminal_id}"),
            seller=identity.seller,
            terminal_id=identity.terminal_id,
        )
        files = till_files(context)
        if not files.asks_for_keys and not files.card_keys.exists():
            context.say(N_("The card keys are missing: {path}"), path=settings.card_keys)
    elif pairing is not None:
        context.say(N_("A pairing is under way, with the code {code}."), code=pairing.shown)
    else:
        context.say(N_("Not paired yet: dobmi terminal setup pair"))


@setup.command("set")
@click.option("--server", help="The central server's address.")
@click.option("--reader", help="As `setup readers` lists it.")
@click.option("--printer", help="As `setup printers` lists it; `none` for no printer.")
@click.option("--columns", type=click.IntRange(24, 64), help="Characters to a row of paper.")
@click.option("--cashier", help="Who sells where there is no list of cashiers.")
@click.option("--language", type=click.Choice(LANGUAGES), help="Of page, paper and messages.")
@click.pass_obj
def set_(
    context: Context,
    *,
    server: str | None,
    reader: str | None,
    printer: str | None,
    columns: int | None,
    cashier: str | None,
    language: str | None,
) -> None:
    """Write entries into the settings file; everything else in it stays as it is."""
    given: dict[str, SettingValue | None] = {
        "terminal.server": server,
        "terminal.reader": reader,
        "terminal.printer": printer,
        "terminal.printer_columns": columns,
        "terminal.cashier": cashier,
        "language": language,
    }
    change_settings(
        settings_file(context), {name: value for name, value in given.items() if value is not None}
    )
    context.say(N_("Written: {path}"), path=settings_file(context))


@setup.command()
@click.pass_obj
def readers(context: Context) -> None:
    """List the readers there are, as `set --reader` takes them."""
    found = find_readers()
    for reader in found.readers:
        click.echo(f"{reader.url}  ({reader.name})")
    if not found.readers:
        context.say(N_("No reader is found."))
        for problem in found.problems:
            show_error(problem, context.translate)


@setup.command()
@click.argument("url", required=False)
@click.option("--seconds", type=click.IntRange(1, 600), default=30, show_default=True)
@click.pass_obj
def reader(context: Context, url: str | None, seconds: int) -> None:
    """Try a reader, the settings' if no URL is given: say what the card that is tapped is."""
    url = url or context.settings.terminal.reader
    context.say(N_("Tap any card on {reader}."), reader=url)
    found = try_reader(url, seconds)
    context.say(N_("{reader} reads: UID {uid}"), reader=found.reader, uid=found.uid.hex().upper())
    if found.card is not None:
        chip = found.card.version.generation.value
        kind = context.translate(_CARDS[found.card.state])
        context.say(N_("It is {kind} ({chip})."), kind=kind, chip=chip)
    if found.problem is not None:
        show_error(found.problem, context.translate)


@setup.command()
@click.pass_obj
def printers(context: Context) -> None:
    """List what may be a printer, as `set --printer` takes it."""
    found = find_printers()
    for printer in found:
        click.echo(f"{printer.setting}  ({printer.name})")
    if not found:
        context.say(N_("No printer is found. One on the network is set by its address."))


@setup.command()
@click.argument("setting", required=False)
@click.pass_obj
def printer(context: Context, setting: str | None) -> None:
    """Print a test page, on the settings' printer if none is given."""
    settings = context.settings.terminal
    identity = _identity(till_files(context))
    outlet = None
    if identity is not None:
        outlet = Outlet(
            issuer=identity.issuer, seller=identity.seller, terminal_id=identity.terminal_id
        )
    state = try_printer(
        setting or settings.printer,
        settings.printer_columns,
        int(time.time()),
        context.translate,
        outlet,
    )
    context.say(_PRINTERS[state])


@setup.command()
@click.option("--name", default="Kasir 1", show_default=True, help="What the office sees of it.")
@click.option("--reply", help="The four digits; then nothing is asked, and no code is made.")
@click.option("--no-wait", is_flag=True, help="Show the code and end; go on with --reply later.")
@click.option("--anew", is_flag=True, help="Give up the code that is shown, and make another.")
@click.pass_obj
def pair(context: Context, *, name: str, reply: str | None, no_wait: bool, anew: bool) -> None:
    """Make this machine a till: show a code, wait for the office, take its four digits.

    Stopped in between, it goes on with the same code when it is called again.
    """
    files = till_files(context)
    passphrase = context.passphrase(context.translate(N_("Passphrase for this till's keys")))
    keys = open_identity(files, passphrase)
    pairing = None if anew else pairing_under_way(files)
    if pairing is None:
        if reply is not None:
            raise NoPairing
        pairing = begin_pairing(
            files, keys, context.settings.terminal.server, name, language=context.language
        )
    if reply is None:
        context.say(N_("Tell the central office this code:"))
        click.echo(f"\n    {pairing.shown}\n")
        context.say(N_("It is good for a quarter of an hour."))
        if no_wait:
            return
        context.say(N_("Waiting for the office …"))
        while not _is_approved(context, files, keys, pairing):
            time.sleep(_ASK_SECONDS)
    while True:
        typed = reply or click.prompt(context.translate(N_("Digits that the office says")))
        try:
            identity = finish_pairing(
                files, keys, pairing, str(typed), passphrase, language=context.language
            )
            break
        except WrongReply as wrong:
            if reply is not None:
                raise
            show_error(wrong, context.translate)
    context.say(
        N_("This is now till {terminal_id} of {seller}."),
        terminal_id=identity.terminal_id,
        seller=identity.seller,
    )


def _is_approved(context: Context, files: TillFiles, keys: KeyRing, pairing: Pairing) -> bool:
    """Raises PairingRefused, ServerRefused; a network that is away for a while is waited for."""
    try:
        progress = ask_pairing(files, keys, pairing, language=context.language)
    except ServerUnreachable as error:
        show_error(error, context.translate)
        return False
    return progress.state is PairingState.APPROVED


def _identity(files: TillFiles) -> TillIdentity | None:
    if not files.database.exists():
        return None
    ledger = Ledger(files.database)
    try:
        return ledger.identity()
    except NotEnrolled:
        return None
    finally:
        ledger.close()
