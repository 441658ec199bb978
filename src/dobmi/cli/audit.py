"""`dobmi audit`: re-verify a ledger from the vouchers up, apart from the server's own code."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from dobmi.audit.card_proof import MacKeys
from dobmi.audit.report import as_html, as_json, balances, counts, verdict, where
from dobmi.audit.rules import ISSUER_KEY, MAC_KEY, RULES, SERVER_KEY
from dobmi.audit.run import Audit, audit
from dobmi.audit.state import load_state, save_state
from dobmi.audit.tills import Keys
from dobmi.cardlib.custody import load_key_file
from dobmi.cli.context import Context, show_error
from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.settings import FileUnusable

_SHOWN_MAX = 50
COULD_NOT_RUN = 2


class _PublicKey(click.ParamType[bytes]):
    name = "hex"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            key = bytes.fromhex(str(value))
        except ValueError:
            key = b""
        if len(key) != 32:
            self.fail("a public key is 64 hex digits", param, ctx)
        return key


@click.command()
@click.argument("database", required=False)
@click.option(
    "--keys",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Key file with the transaction MAC master (dobmi central keys auditor).",
)
@click.option("--server-key", type=_PublicKey(), help="The server's public key, 64 hex digits.")
@click.option("--issuer-key", type=_PublicKey(), help="The card issuer's public key, likewise.")
@click.option(
    "--since",
    type=click.Path(dir_okay=False, path_type=Path),
    help="State of an earlier audit: go on from it.",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the state for the next audit here; may be the file of --since.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the findings here, for programs.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the findings here as a page (HTML), for people.",
)
@click.option("--processes", type=click.IntRange(1, 256), help="Default: one for each core.")
@click.option("--rules", is_flag=True, help="List the rules, and audit nothing.")
@click.pass_obj
def command(
    context: Context,
    *,
    database: str | None,
    key_file: Path | None,
    server_key: bytes | None,
    issuer_key: bytes | None,
    since: Path | None,
    state: Path | None,
    json_file: Path | None,
    report: Path | None,
    processes: int | None,
    rules: bool,
) -> None:
    """Audit DATABASE: a file made by `dobmi central export`, or the URL of a replica. It only reads.

    Left out, it is the replica of the settings (`reports_database_url`), if they name one.
    Every signature, chain, card MAC, counter, posting, balance and closed day is worked out again
    from the vouchers up. Exit code 0: nothing is wrong; 1: findings; 2: the audit could not run.
    """
    if rules:
        _list_rules(context)
        return
    database = database or context.settings.central.reports_database_url
    if not database:
        raise click.UsageError("Missing argument 'DATABASE'.")
    try:
        keys = _keys(context, key_file, server_key, issuer_key)
        earlier = None if since is None else load_state(since)
        with _Bars(context.translate) as bars:
            done = audit(
                _url(database), keys, since=earlier, processes=processes, progress=bars.show
            )
        if json_file is not None:
            json_file.write_text(as_json(done) + "\n", encoding="utf-8")
        if report is not None:
            page = as_html(
                done,
                subject=Path(database).name if "://" not in database else _bare(database),
                at=int(time.time()),
                language=context.language,
                translate=context.translate,
            )
            report.write_text(page, encoding="utf-8")
        if state is not None:
            save_state(state, done.state)
    except DoBMIError as error:
        show_error(error, context.translate)
        sys.exit(COULD_NOT_RUN)
    except OSError as error:
        failed = FileUnusable(path=error.filename or "", detail=error.strerror or str(error))
        show_error(failed, context.translate)
        sys.exit(COULD_NOT_RUN)
    _show(context, done)
    sys.exit(1 if done.findings else 0)


def _keys(
    context: Context, key_file: Path | None, server: bytes | None, issuer: bytes | None
) -> Keys:
    if key_file is None:
        return Keys(MacKeys({}), server, issuer)
    passphrase = context.passphrase(context.translate(N_("Passphrase of the auditor's keys")))
    ring = load_key_file(key_file, passphrase)
    masters = {
        version: master
        for key, versions in ring.masters.items()
        if key.value == MAC_KEY
        for version, master in versions.items()
    }
    held = {name: ring.public_key(name) for name in ring.signing}
    return Keys(MacKeys(masters), server or held.get(SERVER_KEY), issuer or held.get(ISSUER_KEY))


def _url(database: str) -> str:
    return database if "://" in database else f"sqlite:///{Path(database).absolute()}"


def _bare(url: str) -> str:
    """Without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _list_rules(context: Context) -> None:
    table = Table("", context.translate(N_("Severity")), context.translate(N_("What is checked")))
    for rule in RULES:
        table.add_row(rule.id, rule.severity.value, context.translate(rule.checks))
    Console().print(table)


def _show(context: Context, done: Audit) -> None:
    translate = context.translate
    console = Console(highlight=False)
    if done.replica is not None:
        click.echo(where(done, translate), err=True)
    for one in done.findings[:_SHOWN_MAX]:
        console.print(f"[{one.rule}] {one.row}: {one.explain(translate)}", markup=False)
    if len(done.findings) > _SHOWN_MAX:
        context.say(N_("{count} more; --json and --report have them all."),
                    count=len(done.findings) - _SHOWN_MAX)  # fmt: skip
    for _, name, count in counts(done):
        console.print(f"{translate(name)}: {count}", markup=False)
    for name, amount in balances(done):
        console.print(f"{translate(name)}: {amount}", markup=False)
    for rule in done.unchecked:
        context.say(N_("Not checked for want of its key: {rule}"), rule=rule)
    click.secho(verdict(done, translate), fg="red" if done.findings else "green", bold=True)


@dataclass(slots=True)
class _Bars:
    """Progress bars on standard error, one for each step."""

    translate: Callable[[str], str]
    progress: Progress = field(
        default_factory=lambda: Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
    )
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, step: str, done: int, total: int) -> None:
        if step not in self.tasks:
            self.tasks[step] = self.progress.add_task(self.translate(step), total=total)
        self.progress.update(self.tasks[step], completed=done, total=total)
