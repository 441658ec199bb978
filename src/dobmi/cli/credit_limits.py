"""`dobmi central class-limits`: what members' cards may hold and be credited with."""

from __future__ import annotations

import json

import click
from sqlalchemy import select

from dobmi.central.limits import LIMITS, limit_in_force
from dobmi.central.schema import limit_changes, member_notes
from dobmi.cli.context import Context
from dobmi.cli.opening import database_to_look_at, print_table
from dobmi.i18n import N_
from dobmi.money import Rupiah


@click.command("class-limits")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def class_limits(context: Context, as_json: bool) -> None:
    """The limits of credits and balances, for all members and for each class.

    They are changed by two people: `dobmi central approvals propose limits name=NAME value=RUPIAH
    member_class=CLASS`. A card never takes more than what was written on it when it was issued.
    """
    names = [name for name, kind in LIMITS.items() if kind.by_class]
    settings = context.settings.central
    with database_to_look_at(context) as database, database.read() as connection:
        told = connection.execute(select(member_notes.c.member_class).distinct()).scalars()
        changed = connection.execute(select(limit_changes.c.member_class).distinct()).scalars()
        classes = sorted({"", *told, *changed})
        found = {
            one: {name: limit_in_force(connection, settings, name, one) for name in names}
            for one in classes
        }
    if as_json:
        click.echo(json.dumps({"limits": found}, ensure_ascii=False))
        return
    rows = [
        (one or context.translate(N_("all others")), *(str(Rupiah(of[name])) for name in names))
        for one, of in found.items()
    ]
    print_table(context, (N_("Class"), *(LIMITS[name].words for name in names)), rows)
