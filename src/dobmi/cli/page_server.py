"""What `dobmi terminal page` runs: a counter, a printer's worker and the page that shows them."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import click
from pydantic import SecretStr

from dobmi.cardlib.custody import load_key_file
from dobmi.cli.context import Context, make_context
from dobmi.cli.setup import settings_file, till_files
from dobmi.cli.till import card_keys
from dobmi.i18n import N_
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.errors import NotEnrolled
from dobmi.terminal.page.app import make_app
from dobmi.terminal.page.set_up import SetUp
from dobmi.terminal.page.visit import Page
from dobmi.terminal.print_queue import PrintWorker
from dobmi.terminal.till import Till
from dobmi.web.security import check_loopback
from dobmi.web.serving import loopback_server


def run(click_context: click.Context, port: int | None) -> None:
    """Until it is told to end. Raises NotLoopback, BadSettings, BadPrinter."""
    context = click_context.ensure_object(Context)
    check_loopback(context.settings.terminal.page_host)
    passphrase = context.passphrase(context.translate(N_("Passphrase of this till's keys")))
    asked = click_context.find_root().params
    while _serve(_with_passphrase(context, passphrase), port):
        context = make_context(asked.get("config"), asked.get("lang"))


def _with_passphrase(context: Context, passphrase: str) -> Context:
    """So that it is asked for once, however often the till is opened."""
    known = {"passphrase": SecretStr(passphrase)}
    return replace(context, settings=context.settings.model_copy(update=known))


def _serve(context: Context, port: int | None) -> bool:
    """Whether it ended to read its settings again."""
    settings = context.settings.terminal
    port = settings.page_port if port is None else port
    files = till_files(context)
    times = CounterTimes(
        card_wait_seconds=settings.card_wait_seconds,
        sync_interval_seconds=settings.sync_interval_seconds,
    )
    again = False

    def restart() -> None:
        nonlocal again
        again = True
        server.should_exit = True

    with contextlib.ExitStack() as stack:
        worker = PrintWorker(
            files.database,
            settings.printer,
            settings.printer_columns,
            drawer=settings.drawer,
            on_change=lambda _printing: shown.changed(),
        )
        counter = stack.enter_context(Counter(lambda: _till(context), times))
        shown = Page(
            counter=counter,
            database=files.database,
            cashier=settings.cashier,
            language=context.language,
            server=settings.server,
            worker=worker,
            setup=SetUp(
                files=files,
                settings_file=settings_file(context),
                reader=settings.reader,
                printer=settings.printer,
                columns=settings.printer_columns,
                cashier=settings.cashier,
                server=settings.server,
                language=context.settings.language,
                passphrase=context.passphrase(""),
                restart=restart,
            ),
        )
        stack.enter_context(worker)
        server = loopback_server(make_app(shown, port), settings.page_host, port)
        context.say(N_("The till's page: http://{host}:{port}"), host=settings.page_host, port=port)
        server.run()
    return again


def _till(context: Context) -> Till:
    """Raises NotEnrolled, NoCardKeys, and what a key file raises."""
    settings, files = context.settings.terminal, till_files(context)
    passphrase = context.passphrase("")
    if not files.identity.exists() or not files.database.exists():
        raise NotEnrolled
    identity = load_key_file(files.identity, passphrase)
    return Till(
        database=files.database,
        signing=identity,
        custody=card_keys(context, identity),
        reader=settings.reader,
        cashier=settings.cashier,
        server=settings.server,
        card_wait_seconds=settings.card_wait_seconds,
        language=context.language,
    )
