"""`dobmi card receipt` and `card cash`: the papers of a top-up, and the cash of a day at a station."""

from __future__ import annotations

from typing import Any

import click

from dobmi.cli.context import Context
from dobmi.cli.opening import print_table
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.terminal.escpos_bytes import to_escpos
from dobmi.terminal.paper import (
    Align,
    Element,
    Gap,
    Line,
    Pair,
    Paper,
    PaperKind,
    Size,
    Translate,
    Words,
    as_copy,
    to_text,
)
from dobmi.terminal.printer import PrinterKind, deliver, parse_printer
from dobmi.wib import local_time

_STATES = {
    "held": N_("It waits for a second person. Keep this paper."),
    "refused": N_("It was refused: the cash is given back."),
    "delivered": N_("It is on the card."),
}
_OWED = N_("It is owed to the card: lay the card on once more, here or at a till with a network.")


def receipt_paper(issuer: str, order: dict[str, Any], translate: Translate) -> Paper:
    """Of an order as the central server has it (`GET /v1/credits/{key}`). No UID is printed."""
    say = translate
    amount = Rupiah(order["amount_rupiah"])
    rows: list[Element] = [
        Words(text=issuer, align=Align.CENTRE, bold=True, size=Size.TALL),
        Words(text=local_time(order["ordered_at"]), align=Align.CENTRE),
        Line(),
        Words(text=say(N_("TOP-UP")), align=Align.CENTRE, bold=True, size=Size.LARGE),
        Pair(
            left=order["member_name"],
            right=say(N_("member {member}")).format(member=order["member_number"]),
            bold=True,
        ),
        Pair(left=say(N_("TOTAL")), right=str(amount), bold=True, size=Size.TALL),
    ]
    if order["received_rupiah"] is not None:
        rows += [
            Pair(left=say(N_("Cash received")), right=str(Rupiah(order["received_rupiah"]))),
            Pair(left=say(N_("Change")), right=str(Rupiah(order["change_rupiah"])), bold=True),
        ]
    elif order["source"] == "salary":
        rows.append(Words(text=say(N_("From wages"))))
    rows += [Line(), Pair(left=say(N_("Receipt no.")), right=receipt_number(order))]
    if order["person"]:
        rows.append(Words(text=say(N_("Served by {person}")).format(person=order["person"])))
    rows += [
        Words(text=say(N_("Order {reference}")).format(reference=order["idempotency_key"])),
        Words(text=say(_STATES.get(order["state"], _OWED)), bold=True),
        Gap(),
        Words(text=say(N_("Thank you")), align=Align.CENTRE),
    ]
    return Paper(
        kind=PaperKind.TOP_UP,
        reference=order["sequence"] or 0,
        unix_seconds=order["ordered_at"],
        title=say(N_("Top-up")),
        copy_mark=say(N_("COPY")),
        elements=tuple(rows),
    )


def receipt_number(order: dict[str, Any]) -> str:
    """The card's serial number and which of its credits it is; of one that is none, the proposal's."""
    if order["sequence"] is None:
        return f"{order['card_serial']}-P{order['approval']}"
    return f"{order['card_serial']}-{order['sequence']}"


def put_out(context: Context, order: dict[str, Any], *, copy: bool) -> None:
    """On the station's printer; on the screen where it has none. Raises PrintFailed, BadPrinter."""
    settings = context.settings.provisioning
    paper = receipt_paper(context.settings.central.issuer, order, context.translate)
    paper = as_copy(paper) if copy else paper
    address = parse_printer(settings.printer)
    if address.kind is PrinterKind.NONE:
        for row in to_text(paper, settings.printer_columns):
            click.echo(row)
        return
    deliver(to_escpos(paper, settings.printer_columns), address)


def show_cash(context: Context, found: dict[str, Any]) -> None:
    """What the books say, who took in what, what was counted."""
    context.say(
        N_("By the books there are {expected} in cash here; {today} of it came in today."),
        expected=Rupiah(found["expected_rupiah"]),
        today=Rupiah(found["taken_today_rupiah"]),
    )
    if found["taken_in"]:
        rows = [
            (one["person"] or "-", str(one["count"]), str(Rupiah(one["total_rupiah"])))
            for one in found["taken_in"]
        ]
        print_table(context, (N_("Person"), N_("Top-ups"), N_("Cash")), rows)
    for one in found["counts"]:
        show_count(context, one)


def show_count(context: Context, one: dict[str, Any]) -> None:
    context.say(
        N_("Count {number}, {time}: {counted}, that is {difference} against the books. {note}"),
        number=one["number"],
        time=local_time(one["at"]),
        counted=Rupiah(one["counted_rupiah"]),
        difference=Rupiah(one["difference_rupiah"]),
        note=one["note"],
    )
