"""`dobmi central pairing`: what the office decides of tills that show a code."""

from __future__ import annotations

import getpass
import json

import click

from dobmi.central.pairing import approve_pairing, refuse_pairing, waiting_pairings
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import open_central, print_table
from dobmi.i18n import N_
from dobmi.wib import local_time

_HEADINGS = (N_("code"), N_("name"), N_("asked"), N_("until"))


def user_name() -> str:
    """Who is logged in at this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


_by = click.option(
    "--by", default=user_name, help="Who decides; whoever is logged in when left out."
)


@click.group(cls=DomainGroup)
def pairing() -> None:
    """Take in tills that show a code, or refuse them.

    Whoever stands at the till reads its code out; type it here, and read the four digits back.
    """


@pairing.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def list_waiting(context: Context, as_json: bool) -> None:
    """List the tills that wait. Approve a code only if somebody at the till reads it to you."""
    with open_central(context) as central:
        waiting = waiting_pairings(central)
    if as_json:
        rows = [
            {
                "code": one.code,
                "name": one.name,
                "asked_unix_seconds": one.asked_at,
                "until_unix_seconds": one.expires_at,
            }
            for one in waiting
        ]
        click.echo(json.dumps({"waiting": rows}))
        return
    if not waiting:
        context.say(N_("No till waits."))
        return
    print_table(
        context,
        _HEADINGS,
        [
            (
                f"{one.code[:4]}-{one.code[4:]}",
                one.name,
                local_time(one.asked_at),
                local_time(one.expires_at),
            )
            for one in waiting
        ],
    )


@pairing.command("approve")
@click.argument("code")
@click.option("--seller", required=True, help="To whom its sales are credited.")
@click.option("--name", default="", help="What people call this till; its own name when left out.")
@click.option(
    "--online-only", is_flag=True, help="Give it no keys: it asks for each card's, or cannot sell."
)
@_by
@click.pass_obj
def approve(
    context: Context, code: str, seller: str, name: str, by: str, *, online_only: bool
) -> None:
    """Take in the till that shows CODE; it gets the debit keys, sealed to it alone.

    With --online-only, as for a partner merchant's till, it gets none, and sells with a network only.
    Say the four digits that are printed to whoever stands at the till: it takes nothing without.
    """
    with open_central(context) as central:
        done = approve_pairing(
            central, code, seller=seller, name=name, approved_by=by, online_only=online_only
        )
    if done.seller_is_new:
        context.say(
            N_("{seller} is a seller who was not known yet. Check the spelling."),
            seller=done.seller,
        )
    context.say(
        N_("{name} is till {terminal_id} of {seller} now."),
        name=done.name,
        terminal_id=done.terminal_id,
        seller=done.seller,
    )
    context.say(N_("Digits to say to whoever stands at the till: {reply}"), reply=done.reply)


@pairing.command("refuse")
@click.argument("code")
@_by
@click.pass_obj
def refuse(context: Context, code: str, by: str) -> None:
    """Turn away the till that shows CODE."""
    with open_central(context) as central:
        refuse_pairing(central, code, refused_by=by)
    context.say(N_("Refused. The till says so, and nothing was sent to it."))
