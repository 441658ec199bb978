"""`dobmi`: one program, a subcommand for each role; a role's parts are loaded only when called."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from dobmi.cli.context import DomainGroup, make_context, show_error
from dobmi.errors import DoBMIError
from dobmi.i18n import LANGUAGES, translation

_ROLES = {
    "terminal": ("dobmi.cli.terminal", "Sell at a till: sell, balance, status, sync, shift."),
    "card": ("dobmi.cli.card", "At a station: issue, top up, inspect and block cards."),
    "central": ("dobmi.cli.central", "The central server: keys, invitations, serving, reports."),
    "sim": ("dobmi.cli.sim", "Simulated cards and readers, for trying things without an antenna."),
    "demo": ("dobmi.cli.demo", "The whole system in one run: issue, top up, sell, sync, compare."),
}


class RoleGroup(DomainGroup):
    """Imports a role's commands when they are called, so that a till needs no server parts."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_ROLES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _ROLES:
            return None
        module = importlib.import_module(_ROLES[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _ROLES.items()])


@click.group(cls=RoleGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file; default: DOBMI_CONFIG, ./dobmi.toml, ~/.config/dobmi/dobmi.toml, /etc/dobmi/dobmi.toml.",
)
@click.option("--lang", type=click.Choice(LANGUAGES), help="Language of what is printed.")
@click.version_option(package_name="dobmi")
@click.pass_context
def root(ctx: click.Context, config: Path | None, lang: str | None) -> None:
    """Do BMI, the payment system of Koperasi BMI.

    Every command reads one settings file; DOBMI_ variables go over it. `dobmi ROLE --help` lists a
    role's commands.
    """
    ctx.obj = make_context(config, lang)


def main() -> None:
    try:
        root(prog_name="dobmi")
    except DoBMIError as error:
        show_error(error, translation().gettext)
        sys.exit(1)
    except ModuleNotFoundError as error:
        role = sys.argv[1] if len(sys.argv) > 1 else "ROLE"
        click.secho(f"Part of dobmi is not installed: {error.name}", fg="red", err=True)
        click.echo(f"→ pip install 'dobmi[{role}]'", err=True)
        sys.exit(1)
