"""What `dobmi card page` runs: a bench that owns the reader, and the page that shows it."""

from __future__ import annotations

import click

from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.readers import CardConnection, open_reader
from dobmi.cli.context import Context
from dobmi.i18n import N_
from dobmi.provisioning import cards
from dobmi.provisioning.bench import Bench
from dobmi.provisioning.enrolment import open_station
from dobmi.provisioning.look import FoundCard, LedgerCard, look_at
from dobmi.provisioning.page.app import make_app
from dobmi.provisioning.page.desk import Stations
from dobmi.provisioning.page.visit import Page
from dobmi.web.security import check_loopback
from dobmi.web.serving import loopback_server


def run(click_context: click.Context, port: int | None) -> None:
    """Until it is told to end. Raises NotLoopback, NotEnrolled, StationFileUnusable, CardError."""
    context = click_context.ensure_object(Context)
    settings = context.settings.provisioning
    check_loopback(settings.page_host)
    port = settings.page_port if port is None else port
    station = open_station(
        settings.server,
        context.settings.at(settings.identity),
        context.settings.at(settings.enrolment),
        context.passphrase(context.translate(N_("Passphrase of this station's key"))),
        language=context.language,
    )
    stations = Stations(station)
    trusted = {
        **NXP_PUBLIC_KEYS,
        **{
            name: bytes.fromhex(key)
            for name, key in context.settings.central.originality_keys.items()
        },
    }

    def ledger(uid: bytes) -> LedgerCard:
        return cards.ledger_card(stations(shown.looking_for, context.language), uid)

    def look(connection: CardConnection) -> FoundCard:
        return look_at(connection, trusted, ledger)

    bench = Bench(
        lambda: open_reader(settings.reader), look, card_wait_seconds=settings.card_wait_seconds
    )
    shown = Page(
        bench=bench,
        station_for=stations,
        station_name=station.enrolment.seller,
        server=settings.server,
        reader=settings.reader,
        language=context.language,
    )
    with bench:
        server = loopback_server(make_app(shown, port), settings.page_host, port)
        context.say(
            N_("The station's page: http://{host}:{port}"), host=settings.page_host, port=port
        )
        server.run()
