"""What the office's commands share: keys and database opened, times read, tables printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

import click
from rich.console import Console
from rich.table import Table

from dobmi.cardlib.custody import ServerCustody
from dobmi.cardlib.custody_place import (
    FilePlace,
    KeyPlace,
    Unlocking,
    open_custody,
    parse_place,
)
from dobmi.central.database import Database, open_database
from dobmi.central.errors import BadParameters, KeysMissing
from dobmi.central.replica import seconds_behind
from dobmi.central.server import Central
from dobmi.cli.context import Context
from dobmi.i18n import N_
from dobmi.settings import BadSettings
from dobmi.wib import WIB

_HEADINGS = (
    N_("account"), N_("debits"), N_("credits"), N_("other account"), N_("kept"),
    N_("no."), N_("name"), N_("role"), N_("seller"), N_("vouchers"), N_("last heard of"),
    N_("stock"), N_("amount"), N_("voucher"), N_("kind"), N_("card"), N_("received"),
    N_("reason"), N_("detail"), N_("sale"), N_("at"), N_("state"), N_("explanation"),
    N_("found"), N_("terminal"), N_("by"), N_("card key"), N_("generation"), N_("check value"),
    N_("place"), N_("for"), N_("balance"), N_("known since"), N_("not before"),
)  # fmt: skip


_NUMBERS = {"amount", "balance", "vouchers", "debits", "credits"}
_NUMBERS |= {"price", "total", "expected", "counted", "difference"}


def print_table(
    context: Context, headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    table = Table(show_header=any(headings))
    for heading in headings:
        right = heading in _NUMBERS
        table.add_column(
            context.translate(heading) if heading else "", justify="right" if right else "left"
        )
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def parse_time(text: str) -> int:
    """Unix seconds. Raises BadParameters."""
    try:
        if text.isdecimal():
            return int(text)
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=WIB)).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadParameters(detail=N_("that is no time")) from error


@contextmanager
def open_central(context: Context) -> Iterator[Central]:
    """The server's parts, its tables there. Raises KeysMissing, WrongPassphrase, NotInitialised."""
    ring = open_keys(context)
    database, reports = _database(context), _reports_database(context)
    try:
        database.require_tables()
        yield Central(database, ring, context.settings.central, reports=reports)
    finally:
        database.close()
        if reports is not None:
            reports.close()


@contextmanager
def looking(context: Context) -> Iterator[Central]:
    """For what only looks: as `open_central`, with the replica where the settings name one."""
    ring = open_keys(context)
    with database_to_look_at(context) as database:
        yield Central(database, ring, context.settings.central)


@contextmanager
def database_to_look_at(context: Context) -> Iterator[Database]:
    """The replica where there is one, having said (on standard error) how far it is behind."""
    reports = _reports_database(context)
    database = _database(context) if reports is None else reports
    try:
        database.require_tables()
        if reports is not None:
            behind = seconds_behind(reports)
            if behind is None:
                told = context.translate(N_("From the replica; it does not know how far behind."))
            else:
                told = context.translate(N_("From the replica, {seconds} s behind."))
            click.echo(told.format(seconds=behind), err=True)
        yield database
    finally:
        database.close()


def key_place(context: Context) -> KeyPlace:
    """Where the central server's keys are, by the settings. Raises BadSettings."""
    settings = context.settings
    try:
        return parse_place(
            settings.central.keys, settings.folder, settings.central.distribution_keys
        )
    except ValueError as error:
        raise BadSettings(detail=f"[central] keys: {error}") from error


def unlocking(context: Context, place: KeyPlace, *, is_new: bool = False) -> Unlocking:
    """What opens it: the file's passphrase, the token's PIN. Raises FileUnusable."""
    purpose = N_("New passphrase of the keys") if is_new else N_("Passphrase of the central keys")
    passphrase = context.passphrase(context.translate(purpose))
    if isinstance(place, FilePlace):
        return Unlocking(passphrase)
    return Unlocking(passphrase, context.hsm_pin(place.token))


def open_keys(context: Context) -> ServerCustody:
    """Raises KeysMissing, and what open_custody raises."""
    place = key_place(context)
    if isinstance(place, FilePlace) and not place.file.is_file():
        raise KeysMissing(path=place.file)
    return open_custody(place, unlocking(context, place))


@contextmanager
def bare_database(context: Context) -> Iterator[Database]:
    """Whatever is in it."""
    database = _database(context)
    try:
        yield database
    finally:
        database.close()


def _database(context: Context) -> Database:
    return open_database(context.settings.central.database, context.settings.folder)


def _reports_database(context: Context) -> Database | None:
    url = context.settings.central.reports_database_url
    return open_database(url, context.settings.folder) if url else None
