"""What every subcommand needs: settings, the user's language, and errors said as a person needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
from pydantic import SecretStr

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import DEFAULT_LANGUAGE, LANGUAGES, N_, translation
from dobmi.settings import FileUnusable, Settings, load_settings

_MONEY = {
    MoneyMoved.NO: N_("No money moved."),
    MoneyMoved.YES: N_("The money moved."),
    MoneyMoved.UNKNOWN: N_("It is not known whether the money moved."),
}


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    language: str
    translate: Callable[[str], str]

    def say(self, message: str, **facts: object) -> None:
        """Print a translated line; `message` is an English message id with `{name}` places."""
        click.echo(self.translate(message).format(**facts))

    def passphrase(self, purpose: str) -> str:
        """From DOBMI_PASSPHRASE or the settings' passphrase file, else asked for, unseen.

        Raises FileUnusable.
        """
        return self._secret(self.settings.passphrase, self.settings.passphrase_file, purpose)

    def hsm_pin(self, token: str) -> str:
        """The token's, from DOBMI_HSM_PIN or the settings' `hsm_pin_file`, else asked for, unseen.

        Raises FileUnusable.
        """
        purpose = self.translate(N_("PIN of the token {token}")).format(token=token)
        return self._secret(self.settings.hsm_pin, self.settings.hsm_pin_file, purpose)

    def _secret(self, given: SecretStr | None, file: Path | None, purpose: str) -> str:
        if given is not None:
            return given.get_secret_value()
        if file is not None:
            path = self.settings.at(file)
            try:
                return path.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise FileUnusable(path=path, detail=error.strerror) from error
            except UnicodeDecodeError as error:
                raise FileUnusable(path=path, detail=N_("it is no text")) from error
        return str(click.prompt(purpose, hide_input=True))


def make_context(config: Path | None, language: str | None) -> Context:
    """Raises BadSettings."""
    settings = load_settings(config)
    language = language or settings.language
    return Context(settings, language, translation(language).gettext)


def early_translation(ctx: click.Context) -> Callable[[str], str]:
    """Before any settings are read: by `--lang`, DOBMI_LANGUAGE, else into Indonesian."""
    language = ctx.find_root().params.get("lang") or os.environ.get("DOBMI_LANGUAGE")
    return translation(language if language in LANGUAGES else DEFAULT_LANGUAGE).gettext


class DomainGroup(click.Group):
    """A group that says domain errors in the user's language and exits with 1.

    So it says of a file that cannot be used, wherever that comes up.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DoBMIError as error:
            self._fail(ctx, error)
        except OSError as error:
            if error.filename is None:
                raise
            self._fail(ctx, FileUnusable(path=error.filename, detail=error.strerror))

    def _fail(self, ctx: click.Context, error: DoBMIError) -> NoReturn:
        known = isinstance(ctx.obj, Context)
        show_error(error, ctx.obj.translate if known else early_translation(ctx))
        sys.exit(1)


def show_error(error: DoBMIError, translate: Callable[[str], str]) -> None:
    """Code and what happened, whether money moved, what to do: three lines on standard error."""
    click.secho(f"[{error.code}] {error.explain(translate)}", fg="red", err=True)
    click.echo(translate(_MONEY[error.money_moved]), err=True)
    click.echo(f"→ {error.advise(translate)}", err=True)
