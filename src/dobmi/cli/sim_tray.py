"""`dobmi sim tap` and its kind: the hand at a simulated reader that another program has open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dobmi.cli.context import Context
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.faults import Moment
from dobmi.firmware_sim.tray import TrayError, TrayHands, TrayView
from dobmi.i18n import N_

WAIT_SECONDS = 5.0


class TrayUnusable(DoBMIError):
    code = "SIM-TRAY"
    message = N_("The simulated reader did not do that: {detail}")
    next_step = N_('Start the till with reader = "sim:FOLDER/", the same folder as here.')


_folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command()
@_folder
@click.argument("card", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--for", "hold_seconds", type=click.FloatRange(min=0), help="Lift it again then.")
@click.option(
    "--pull-at",
    type=click.IntRange(min=1),
    help="Pull it away at this exchange: a sale has nine, the last is the commit.",
)
@click.option("--before", is_flag=True, help="... before the card hears it, not after it acted.")
@click.option(
    "--radio",
    type=click.Choice(["106", "212", "424", "848"]),
    help="Let each exchange last as long as a real card's at this bit rate (kbit/s).",
)
@click.pass_obj
def tap(
    context: Context,
    *,
    folder: Path,
    card: Path,
    hold_seconds: float | None,
    pull_at: int | None,
    before: bool,
    radio: str | None,
) -> None:
    """Lay CARD on the reader sim:FOLDER/ of a running till; what lay there is lifted first."""
    with _hands(folder) as hands:
        hands.lift()
        hands.tap(
            card,
            hold_seconds=hold_seconds,
            pull_at=None if pull_at is None else pull_at - 1,
            moment=Moment.BEFORE if before else Moment.AFTER,
            radio=None if radio is None else int(radio),
        )
    context.say(N_("{card} lies on the reader."), card=card)


@click.command()
@_folder
@click.pass_obj
def lift(context: Context, *, folder: Path) -> None:
    """Take the card away from the reader sim:FOLDER/, also in the middle of an exchange."""
    with _hands(folder) as hands:
        hands.lift()
    context.say(N_("The reader is empty."))


@click.command()
@_folder
@click.pass_obj
def look(context: Context, *, folder: Path) -> None:
    """What lies on the reader sim:FOLDER/, and what its light and tone were last."""
    with _hands(folder) as hands:
        found: TrayView = hands.look()
    if found.card is None:
        context.say(N_("The reader is empty."))
    else:
        context.say(N_("{card} lies on the reader."), card=found.card)
    click.echo(" ".join(found.signals))


@click.command()
@_folder
@click.pass_obj
def unplug(context: Context, *, folder: Path) -> None:
    """Pull the cable of the reader sim:FOLDER/."""
    with _hands(folder) as hands:
        hands.unplug()
    context.say(N_("The reader is unplugged."))


@click.command()
@_folder
@click.pass_obj
def plug(context: Context, *, folder: Path) -> None:
    """Plug the reader sim:FOLDER/ in again."""
    with _hands(folder) as hands:
        hands.plug()
    context.say(N_("The reader is plugged in."))


@contextmanager
def _hands(folder: Path) -> Iterator[TrayHands]:
    try:
        yield TrayHands(folder, wait_seconds=WAIT_SECONDS)
    except TrayError as error:
        raise TrayUnusable(detail=str(error)) from error
