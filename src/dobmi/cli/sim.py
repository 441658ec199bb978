"""`dobmi sim`: cards and readers in software."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from threading import Event

import click

from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.sim_crashes import crashes, power_cuts
from dobmi.cli.sim_fleet import fleet
from dobmi.cli.sim_tears import tears
from dobmi.cli.sim_tray import lift, look, plug, tap, unplug
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.card_file import CardFileError
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.pcscd import PcscdUnavailable, ensure_pcscd
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.pn532 import PN532
from dobmi.firmware_sim.timing import RadioTiming, TimedCard
from dobmi.firmware_sim.vpcd import VirtualSlot
from dobmi.i18n import N_

_LOOK_SECONDS = 0.2
_NOTICED_SECONDS = 3.0
"""pcscd looks at its readers every 0.4 s."""

_card_file = click.argument("card", type=click.Path(dir_okay=False, path_type=Path))
_radio = click.option(
    "--radio",
    type=click.Choice(["106", "212", "424", "848"]),
    help="Let each exchange last as long as a real card's at this bit rate (kbit/s).",
)


class CardFileUnusable(DoBMIError):
    code = "SIM-CARD"
    message = N_("The card file cannot be used: {detail}")
    next_step = N_("Make a blank card with: dobmi sim new {path}")


class PcscdMissing(DoBMIError):
    code = "SIM-PCSCD"
    message = N_("There is no virtual PC/SC reader: {detail}")
    next_step = N_("Run scripts/setup, then try again.")


class SlotTaken(DoBMIError):
    code = "SIM-READER"
    message = N_("Another program keeps a card in the virtual reader.")
    next_step = N_("End that program (another `dobmi sim pcsc`, a demo), then try again.")


@click.group(cls=DomainGroup)
def command() -> None:
    """Simulated cards and readers, for trying things without an antenna.

    A card is kept in a JSON file; what is written to it stays, as on a real card.
    """


command.add_command(crashes)
command.add_command(power_cuts)
command.add_command(fleet)
command.add_command(tears)
command.add_command(tap)
command.add_command(lift)
command.add_command(look)
command.add_command(unplug)
command.add_command(plug)


@command.command()
@_card_file
@click.option(
    "--personality",
    type=click.Choice([personality.value for personality in Personality]),
    default=Personality.EV2.value,
    show_default=True,
    help="The DESFire generation.",
)
@click.option("--uid", help="Seven bytes in hex; random when left out.")
@click.pass_obj
def new(context: Context, card: Path, personality: str, uid: str | None) -> None:
    """Make CARD, a card as it leaves NXP's factory."""
    if card.exists():
        raise CardFileUnusable(detail=f"{card} exists already", path=f"{card.stem}-2.json")
    try:
        serial = None if uid is None else bytes.fromhex(uid)
        blank = SimulatedCard(serial, Personality(personality))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--uid") from error
    blank.save(card)
    context.say(
        N_("Blank card {uid} ({personality}) in {card}"),
        uid=blank.serial.hex().upper(),
        personality=personality,
        card=card,
    )
    context.say(
        N_("Its chip is signed by the simulation; a server issues it with this in its dobmi.toml:")
    )
    click.echo(f'[central.originality_keys]\nsimulation = "{SIMULATION_PUBLIC_KEY.hex()}"')


@command.command()
@_card_file
@_radio
@click.pass_obj
def pcsc(context: Context, card: Path, radio: str | None) -> None:
    """Keep CARD in pcscd's virtual reader until stopped, for any PC/SC program to use.

    Starts pcscd if none runs. Note that vsmartcard's driver listens on TCP ports 35963 and 35964
    of all interfaces: keep such a machine behind a firewall.
    """
    simulated = _load(card, radio)
    stopped = _stop_on_signals()
    try:
        with ensure_pcscd() as pcscd, VirtualSlot(port=pcscd.port) as slot:
            slot.insert(simulated)
            if not slot.wait_until_noticed(_NOTICED_SECONDS):
                raise SlotTaken
            context.say(
                N_("Card {uid} lies in the virtual reader. Ctrl-C takes it away."),
                uid=simulated.uid.hex().upper(),
            )
            while not stopped.wait(_LOOK_SECONDS):
                if not slot.is_connected:
                    raise PcscdMissing(detail=N_("pcscd ended"))
    except (PcscdUnavailable, OSError) as error:
        raise PcscdMissing(detail=str(error)) from error


@command.command()
@_card_file
@_radio
@click.pass_obj
def pn532(context: Context, card: Path, radio: str | None) -> None:
    """Lay CARD on a simulated PN532; print its pseudo-terminal and stay until stopped.

    Programs reach it as a PN532 on a serial port: LIBNFC_DEVICE=pn532_uart:PATH for libnfc,
    nfc:pn532:PATH for dobmi.
    """
    simulated = _load(card, radio)
    stopped = _stop_on_signals()
    with PN532(simulated) as reader:
        click.echo(reader.path)
        click.echo(
            context.translate(N_("Card {uid} lies on the PN532. Ctrl-C takes it away.")).format(
                uid=simulated.uid.hex().upper()
            ),
            err=True,
        )
        stopped.wait()


def _load(path: Path, radio: str | None) -> ContactlessCard:
    try:
        simulated = SimulatedCard.load(path)
        simulated.keep_in(path)
    except (CardFileError, OSError) as error:
        raise CardFileUnusable(detail=str(error), path=path) from error
    if radio is None:
        return simulated
    return TimedCard(simulated, RadioTiming(int(radio)), sleep=time.sleep)


def _stop_on_signals() -> Event:
    """Ctrl-C and `kill` end the stay of the card, not the program in the middle of something."""
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    return stopped
