"""`dobmi`: one program, a subcommand for each role; a role's parts are loaded only when called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from dobmi.cli.context import Context, DomainGroup, make_context, show_error
from dobmi.errors import DoBMIError
from dobmi.i18n import DEFAULT_LANGUAGE, LANGUAGES, N_, translation

_ROLES = {
    "terminal": ("dobmi.cli.terminal", N_("Sell at a till: sell, balance, status, sync, shift.")),
    "card": ("dobmi.cli.card", N_("At a station: issue, top up, inspect and block cards.")),
    "central": (
        "dobmi.cli.central",
        N_("The central server: keys, invitations, serving, reports."),
    ),
    "sim": (
        "dobmi.cli.sim",
        N_("Simulated cards and readers, for trying things without an antenna."),
    ),
    "demo": (
        "dobmi.cli.demo",
        N_("The whole system in one run: issue, top up, sell, sync, compare."),
    ),
}


def translate_help(command: click.Command, translate: Callable[[str], str]) -> None:
    """Put the help of a command, its options and its subcommands into the user's language.

    The message ids are the docstrings, as click cleans them; scripts/help_texts lists them.
    """
    if command.help:
        command.help = translate(command.help)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = translate(parameter.help)
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            translate_help(subcommand, translate)


def _early_translation(ctx: click.Context) -> Callable[[str], str]:
    """Before any settings are read: `--lang`, DOBMI_LANGUAGE, else Indonesian."""
    language = ctx.params.get("lang") or os.environ.get("DOBMI_LANGUAGE")
    return translation(language if language in LANGUAGES else DEFAULT_LANGUAGE).gettext


class RoleGroup(DomainGroup):
    """Imports a role's commands when they are called, so that a till needs no server parts."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_ROLES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ROLES:
            return None
        module = importlib.import_module(_ROLES[cmd_name][0])
        command: click.Command = module.command
        if isinstance(ctx.obj, Context):
            translate_help(command, ctx.obj.translate)
        return command

    def get_help(self, ctx: click.Context) -> str:
        translate_help(self, _early_translation(ctx))
        return super().get_help(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            translate = _early_translation(ctx)
            formatter.write_dl([(name, translate(text)) for name, (_, text) in _ROLES.items()])


@click.group(cls=RoleGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file; default: DOBMI_CONFIG, ./dobmi.toml, ~/.config/dobmi/dobmi.toml, /etc/dobmi/dobmi.toml.",
)
@click.option(
    "--lang", is_eager=True, type=click.Choice(LANGUAGES), help="Language of what is printed."
)
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
