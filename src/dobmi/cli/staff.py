"""`dobmi central staff`, `approvals` and `acts`: who may what, two people's proposals, the audit trail."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from dobmi.central.acts import Actor, NotedAct, list_acts
from dobmi.central.approvals import (
    Approval,
    approval_of,
    decide,
    list_approvals,
    propose_at,
)
from dobmi.central.errors import BadParameters
from dobmi.central.schema import ApprovalKind, StaffRole
from dobmi.central.server import Central, now_unix_seconds
from dobmi.central.staff import add_staff, remove_staff, staff_list
from dobmi.central.staff_login import has_password, prove_password, set_password
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import (
    bare_database,
    database_to_look_at,
    open_central,
    parse_time,
    print_table,
)
from dobmi.i18n import N_
from dobmi.money import ZERO
from dobmi.web.trail import detail_in_words
from dobmi.wib import local_time

_ACTS = (
    N_("no."), N_("at"), N_("by"), N_("station"), N_("act"), N_("subject"), N_("amount"),
    N_("detail"),
)  # fmt: skip
_APPROVALS = (
    N_("no."), N_("kind"), N_("detail"), N_("by"), N_("at"), N_("state"),
)  # fmt: skip
_BY = click.option("--by", required=True, metavar="NAME", help="Who says so, of the staff.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_NUMBER = click.argument("number", type=click.IntRange(1))


@click.group(cls=DomainGroup)
def staff() -> None:
    """Who issues, who proposes, who approves, who has the keys, who works on findings."""


@staff.command("add")
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice([role.value for role in StaffRole]),
    help="May be given twice: nobody approves what they proposed themselves.",
)
@click.option("--by", default="", metavar="NAME", help="Who says so, of the staff.")
@click.pass_obj
def staff_add(context: Context, name: str, roles: tuple[str, ...], by: str) -> None:
    """Register NAME, or give further roles."""
    with bare_database(context) as database:
        database.require_tables()
        given = map(StaffRole, roles)
        person = add_staff(database, name, given, now_unix_seconds(), by=Actor(by, None))
    context.say(
        N_("{name} may: {roles}"),
        name=person.name,
        roles=", ".join(sorted(role.value for role in person.roles)),
    )


@staff.command("remove")
@click.argument("name")
@click.option("--by", default="", metavar="NAME", help="Who says so, of the staff.")
@click.pass_obj
def staff_remove(context: Context, name: str, by: str) -> None:
    """Take all roles from NAME. What they proposed and approved stays as it is."""
    with bare_database(context) as database:
        database.require_tables()
        person = remove_staff(database, name, now_unix_seconds(), by=Actor(by, None))
    context.say(N_("{name} may do nothing here any more."), name=person.name)


@staff.command("list")
@click.pass_obj
def staff_show(context: Context) -> None:
    """List who is registered, with their roles."""
    with bare_database(context) as database:
        database.require_tables()
        rows = [
            (person.name, ", ".join(sorted(role.value for role in person.roles)) or "-")
            for person in staff_list(database)
        ]
    print_table(context, ("name", "role"), rows)


@staff.command("password")
@click.argument("name")
@click.option("--by", default="", metavar="NAME", help="Who says so, of the staff.")
@click.pass_obj
def staff_password(context: Context, name: str, by: str) -> None:
    """Give NAME a password, or another one; it is asked for, or is the first line of standard input.

    From the first one on somebody must be logged in at a station for what changes something there.
    """
    if sys.stdin.isatty():
        prompt = context.translate(N_("New password of {name}")).format(name=name)
        again = context.translate(N_("Once more"))
        given = str(click.prompt(prompt, hide_input=True, confirmation_prompt=again))
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    with bare_database(context) as database:
        database.require_tables()
        set_password(database, name, given, now_unix_seconds(), by=Actor(by, None))
    context.say(N_("{name} has a new password, and is logged out everywhere."), name=name)


@click.group(cls=DomainGroup)
def approvals() -> None:
    """What one person proposes and another one decides: large credits, restitution, limits.

    Whoever has a password is asked for it; without a terminal it is the first line of standard input.
    """


@approvals.command("list")
@click.option("--all", "show_all", is_flag=True, help="Also what was decided.")
@_JSON
@click.pass_obj
def approvals_list(context: Context, show_all: bool, as_json: bool) -> None:
    """List what waits for a second person, newest first."""
    with database_to_look_at(context) as database:
        found = list_approvals(database, waiting=None if show_all else True)
    if as_json:
        click.echo(json.dumps({"proposals": [_approval_json(one) for one in found]}))
        return
    print_table(context, _APPROVALS, [_approval_row(context, one) for one in found])


@approvals.command("show")
@_NUMBER
@_JSON
@click.pass_obj
def approvals_show(context: Context, number: int, as_json: bool) -> None:
    """All about proposal NUMBER."""
    with database_to_look_at(context) as database:
        one = approval_of(database, number)
    if as_json:
        click.echo(json.dumps(_approval_json(one)))
        return
    rows = [(name, str(value)) for name, value in _approval_json(one).items() if name != "facts"]
    rows += [(f"· {name}", str(value)) for name, value in one.facts.items()]
    print_table(context, ("", ""), rows)


@approvals.command("propose")
@click.argument("kind", type=click.Choice([kind.value for kind in ApprovalKind]))
@click.argument("facts", nargs=-1, required=True, metavar="NAME=VALUE…")
@_BY
@click.pass_obj
def approvals_propose(context: Context, kind: str, facts: tuple[str, ...], by: str) -> None:
    """Propose a KIND with its facts, such as `limits name=sale_max_rupiah value=500000`."""
    given: dict[str, str | int | bool] = {}
    for fact in facts:
        name, equals, value = fact.partition("=")
        if not equals:
            raise BadParameters(detail=N_("a fact is NAME=VALUE"))
        is_number = value.isascii() and value.isdecimal() and name.endswith(_NUMBERS)
        given[name] = int(value) if is_number and len(value) <= 18 else value
    with open_central(context) as central:
        _prove(context, central, by)
        made = propose_at(central, ApprovalKind(kind), given, Actor(by, None))
    context.say(
        N_("Proposal {number} waits for a second person: {text}"),
        number=made.number,
        text=made.facts_text,
    )


@approvals.command("accept")
@_NUMBER
@_BY
@click.pass_obj
def approvals_accept(context: Context, number: int, by: str) -> None:
    """Accept proposal NUMBER, which does what it asks for, once."""
    with open_central(context) as central:
        _prove(context, central, by)
        done = decide(central, number, True, Actor(by, None), central.unix_seconds())
    context.say(
        N_("Proposal {number} is carried out: {outcome}"),
        number=number,
        outcome=detail_in_words(done.outcome, context.translate),
    )


@approvals.command("refuse")
@_NUMBER
@_BY
@click.pass_obj
def approvals_refuse(context: Context, number: int, by: str) -> None:
    """Refuse proposal NUMBER; nothing is done."""
    with open_central(context) as central:
        _prove(context, central, by)
        decide(central, number, False, Actor(by, None), central.unix_seconds())
    context.say(N_("Proposal {number} is refused."), number=number)


@click.command("acts")
@click.option("--person", help="Of this person alone.")
@click.option("--act", help="Of this kind alone, such as credit or pairing-approved.")
@click.option(
    "--about", "subject", metavar="TEXT", help="With this in what it was done to: card 1001."
)
@click.option("--station", type=int, metavar="NUMBER", help="At this station alone.")
@click.option("--since", metavar="TIME", help="From then on: 2026-11-24, or with a time.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--newest", type=click.IntRange(1, 100_000), default=100, show_default=True)
@_JSON
@click.pass_obj
def acts(
    context: Context, /, since: str | None, until: str | None, as_json: bool, **asked: Any
) -> None:
    """What staff did, and who: the audit trail, newest first."""
    with database_to_look_at(context) as database:
        found = list_acts(
            database,
            since=None if since is None else parse_time(since),
            until=None if until is None else parse_time(until),
            **asked,
        )
    if as_json:
        click.echo(json.dumps({"acts": [_act_json(one) for one in found]}))
        return
    print_table(context, _ACTS, [_act_row(context, one) for one in found])


def _prove(context: Context, central: Central, name: str) -> None:
    """Whoever has a password gives it; two people's names are not one person's to type."""
    if not has_password(central.database, name):
        return
    if sys.stdin.isatty():
        prompt = context.translate(N_("Password of {name}")).format(name=name)
        given = str(click.prompt(prompt, hide_input=True))
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    prove_password(central, name, given)


_NUMBERS = ("_rupiah", "value", "_serial", "_number", "_days")


def _approval_row(context: Context, one: Approval) -> tuple[str, ...]:
    state = {None: N_("waits"), True: N_("carried out"), False: N_("refused")}[one.accepted]
    told = context.translate(state)
    return (
        str(one.number),
        one.kind.value,
        detail_in_words(one.facts_text, context.translate),
        one.proposed_by,
        local_time(one.proposed_at),
        f"{told} ({one.decided_by})" if one.decided_by else told,
    )


def _approval_json(one: Approval) -> dict[str, object]:
    return {
        "number": one.number,
        "kind": one.kind.value,
        "facts": dict(one.facts),
        "proposed_by": one.proposed_by,
        "station": one.station,
        "proposed_unix_seconds": one.proposed_at,
        "accepted": one.accepted,
        "decided_by": one.decided_by,
        "decided_unix_seconds": one.decided_at,
        "outcome": one.outcome,
    }


def _act_row(context: Context, one: NotedAct) -> tuple[str, ...]:
    return (
        str(one.id),
        local_time(one.at),
        one.person or "-",
        "-" if one.station is None else str(one.station),
        one.act,
        one.subject,
        "-" if one.amount == ZERO else str(one.amount),
        detail_in_words(one.detail, context.translate),
    )


def _act_json(one: NotedAct) -> dict[str, object]:
    return {
        "id": one.id,
        "at_unix_seconds": one.at,
        "station": one.station,
        "person": one.person,
        "act": one.act,
        "subject": one.subject,
        "amount_rupiah": one.amount.amount,
        "detail": one.detail,
    }
