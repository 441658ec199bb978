"""`dobmi card page`: the staff's page, for the browser on this machine."""

from __future__ import annotations

import importlib

import click


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Instead of the settings' page_port.")
@click.pass_context
def page(click_context: click.Context, port: int | None) -> None:
    """Serve the staff's page to the browser on this machine, with the station behind it.

    It listens on this machine alone. The reader is its own meanwhile.
    """
    # A web server takes long to load, which no other command of a station should wait for.
    importlib.import_module("dobmi.cli.card_page_server").run(click_context, port)
