"""`dobmi central terminals`: tills and stations, taking their right away, and the cards they saw."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dobmi.central.acts import Actor
from dobmi.central.revocation import SeenCard, cards_seen, cards_seen_csv, readmit, revoke
from dobmi.central.server import Central
from dobmi.central.terminals import list_terminals
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import database_to_look_at, open_central, print_table
from dobmi.i18n import N_
from dobmi.wib import local_time

_HEADINGS = (
    N_("card"), N_("UID"), N_("name"), N_("state"), N_("sales"), N_("total"), N_("last seen"),
    N_("known by"),
)  # fmt: skip


@click.group(cls=DomainGroup, invoke_without_command=True)
@click.option("--block", type=int, metavar="NUMBER", help="Take nothing more from this terminal.")
@click.option("--unblock", type=int, metavar="NUMBER", help="Let it in again.")
@click.option("--reason", default="-", help="Why; it stands in the audit trail.")
@click.option("--by", default="", metavar="NAME", help="Who says so, of the staff.")
@click.pass_context
def terminals(
    ctx: click.Context, block: int | None, unblock: int | None, reason: str, by: str
) -> None:
    """List tills and stations, with when each was last heard of.

    One that is blocked is refused everything from then on; `terminals cards NUMBER` lists the cards
    it saw.
    """
    if ctx.invoked_subcommand is not None:
        return
    context: Context = ctx.obj
    with open_central(context) as central:
        now, actor = central.unix_seconds(), Actor(by, None)
        if block is not None:
            revoke(central.database, block, reason, actor, now)
        if unblock is not None:
            readmit(central.database, unblock, reason, actor, now)
        rows = _rows(central)
    headings = ("no.", "name", "role", "seller", "status", "vouchers", "last heard of")
    print_table(context, headings, rows)


@terminals.command("cards")
@click.argument("number", type=click.IntRange(1))
@click.option(
    "--csv", "file", type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to a file, to block them or change their keys.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def seen_cards(context: Context, number: int, file: Path | None, as_json: bool) -> None:
    """List the cards that terminal NUMBER had before it, latest first.

    Whoever took the terminal may have what its keys open on them: change their keys, or block them.
    """
    with database_to_look_at(context) as database:
        seen = cards_seen(database, number)
    if file is not None:
        file.write_text(cards_seen_csv(seen), encoding="utf-8", newline="")
        context.say(N_("{path}: {count} cards"), path=file, count=len(seen))
    elif as_json:
        click.echo(json.dumps({"terminal": number, "cards": [_json(card) for card in seen]}))
    else:
        print_table(context, _HEADINGS, [_row(context, card) for card in seen])


def _rows(central: Central) -> list[tuple[str, ...]]:
    return [
        (
            str(terminal.id),
            terminal.name,
            terminal.role.value,
            terminal.seller,
            terminal.status.value,
            str(terminal.head_sequence),
            "-" if terminal.last_received_at is None else local_time(terminal.last_received_at),
        )
        for terminal in list_terminals(central)
    ]


def _row(context: Context, card: SeenCard) -> tuple[str, ...]:
    return (
        "-" if card.serial is None else str(card.serial),
        card.uid.hex().upper(),
        card.member_name,
        card.state,
        str(card.sales),
        str(card.total),
        "-" if card.last_at is None else local_time(card.last_at),
        ", ".join(sorted(map(context.translate, card.how))),
    )


def _json(card: SeenCard) -> dict[str, object]:
    return {
        "card_uid": card.uid.hex().upper(),
        "card_serial": card.serial,
        "member_number": card.member_number,
        "state": card.state,
        "sales": card.sales,
        "total_rupiah": card.total.amount,
        "first_at_unix_seconds": card.first_at,
        "last_at_unix_seconds": card.last_at,
        "known_by": sorted(card.how),
    }
