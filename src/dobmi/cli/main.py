"""`dobmi`: one program, a subcommand for each role; a role's parts are loaded only when called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import click

from dobmi.cli.context import DomainGroup, early_translation, make_context, show_error
from dobmi.cli.usage_texts import speak
from dobmi.errors import DoBMIError
from dobmi.i18n import LANGUAGES, N_

_ROLES = {
    "terminal": (
        "dobmi.cli.terminal",
        N_("Sell at a till: sell, balance, status, sync, shift."),
        "terminal,pcsc",
    ),
    "card": (
        "dobmi.cli.card",
        N_("At a station: issue, top up, inspect and block cards."),
        "provisioning,pcsc",
    ),
    "central": (
        "dobmi.cli.central",
        N_("The central server: keys, invitations, serving, reports."),
        "central",
    ),
    "ceremony": (
        "dobmi.cli.ceremony",
        N_("Several custodians make the master keys, or bring them back from their shares."),
        "central,provisioning,ceremony",
    ),
    "audit": (
        "dobmi.cli.audit",
        N_("Audit a ledger from the vouchers up, apart from the server."),
        "central",
    ),
    "sim": (
        "dobmi.cli.sim",
        N_("Simulated cards and readers, for trying things without an antenna."),
        "sim",
    ),
    "demo": (
        "dobmi.cli.demo",
        N_("The whole system in one run: issue, top up, sell, sync, compare."),
        "pcsc,terminal,provisioning,central,sim",
    ),
}


class CalledWrongly(DoBMIError):
    """A command with an argument or option that it does not know or cannot use."""

    code = "USAGE"
    message = N_("{detail}")
    next_step = N_("Read how it is used: {command} --help")


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

    def get_help(self, ctx: click.Context) -> str:
        translate_help(self, early_translation(ctx))
        return super().get_help(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        translate = early_translation(ctx)
        with formatter.section(translate(N_("Commands"))):
            formatter.write_dl([(name, translate(text)) for name, (_, text, _) in _ROLES.items()])


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
    speak(ctx.obj.language)
    role = root.get_command(ctx, ctx.invoked_subcommand or "")
    if role is not None:
        translate_help(role, ctx.obj.translate)


def main() -> None:
    """The program. Exit codes: 0 done, 1 refused, 2 called wrongly, others by the command."""
    try:
        sys.exit(root.main(prog_name="dobmi", standalone_mode=False))
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        ctx = ctx if isinstance(ctx, click.Context) else click.Context(root)
        wrong = CalledWrongly(detail=error.format_message(), command=ctx.command_path)
        show_error(wrong, early_translation(ctx))
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except ModuleNotFoundError as error:
        role = next((argument for argument in sys.argv[1:] if argument in _ROLES), "demo")
        click.secho(f"[NOT-INSTALLED] {error.name}", fg="red", err=True)
        click.echo(f"→ pip install 'dobmi[{_ROLES[role][2]}]'", err=True)
        sys.exit(1)
