"""`dobmi card renew`, `retire`, `payout` and `expiring`: how a card's life ends, and its money after."""

from __future__ import annotations

import secrets
from datetime import date

import click

from dobmi.cli.amounts import AmountType
from dobmi.cli.at_reader import open_the_reader, with_card
from dobmi.cli.context import Context
from dobmi.cli.opening import print_table
from dobmi.cli.station import station_of
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.provisioning import cards
from dobmi.provisioning.retiring import retire as end_card
from dobmi.sync.errors import ServerRefused, SyncError
from dobmi.sync.retirement import Purpose

_reason = click.option("--reason", required=True, help="Why it ends: kept with the card.")
_wipe = click.option(
    "--wipe", is_flag=True, help="Make the chip blank again; it becomes no card of ours again."
)
_NOT_KNOWN = N_(
    "It is not known whether the payout {reference} was taken. Before any cash is handed out, give "
    "it once more with --reference {reference}: it is one payout, however often."
)


@click.command()
@_reason
@_wipe
@click.pass_obj
def renew(context: Context, reason: str, *, wipe: bool) -> None:
    """End the card on the reader, expired or worn, because its member gets another.

    Its money waits for the new card: issue it to the same member, then `dobmi card deliver`.
    """
    _end(context, Purpose.RENEWED, reason, wipe=wipe)


@click.command()
@_reason
@_wipe
@click.pass_obj
def retire(context: Context, reason: str, *, wipe: bool) -> None:
    """End the card on the reader, which its member gives back; its money goes into their wallet.

    From there it is paid out in cash with `dobmi card payout`.
    """
    _end(context, Purpose.GIVEN_BACK, reason, wipe=wipe)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("member_number", type=click.IntRange(1, 2**32 - 1))
@click.argument("amount", type=AmountType())
@click.option(
    "--reference",
    help="The payout's own key: given again, it is the same payout. Random when left out.",
)
@click.pass_obj
def payout(context: Context, member_number: int, amount: Rupiah, reference: str | None) -> None:
    """Pay member MEMBER_NUMBER, who gave their card back, AMOUNT of their wallet in cash.

    A large one waits until a second person accepts it: hand out no cash before.
    """
    reference = reference or secrets.token_hex(8)
    try:
        paid = cards.pay_out(station_of(context), member_number, amount, reference)
    except SyncError as error:
        if not isinstance(error, ServerRefused):
            context.say(_NOT_KNOWN, reference=reference)
        raise
    if paid["receipt"] is None:
        context.say(
            N_(
                "{amount} waits until a second person accepts it (proposal {approval}). Hand out no "
                "cash yet; afterwards: the same with --reference {reference}."
            ),
            amount=amount,
            approval=paid["approval"],
            reference=reference,
        )
    else:
        context.say(
            N_("Hand out {amount} to {name}, member {member}. Receipt {receipt}."),
            amount=amount,
            name=paid["member_name"],
            member=member_number,
            receipt=paid["receipt"],
        )
    context.say(N_("In the member's wallet now: {wallet}"), wallet=Rupiah(paid["left_rupiah"]))


@click.command()
@click.option(
    "--days", type=click.IntRange(0, 3650), default=60, show_default=True,
    help="How many days ahead.",
)  # fmt: skip
@click.pass_obj
def expiring(context: Context, days: int) -> None:
    """List the cards that expire soon, or have, the earliest first."""
    found = cards.expiring_cards(station_of(context), days)
    headings = (N_("card"), "UID", N_("member"), N_("name"), N_("valid until"), N_("balance"))
    rows = [
        (
            str(one["card_serial"]),
            one["card_uid"],
            str(one["member_number"]),
            one["member_name"],
            date.fromisoformat(one["expires"]).strftime("%d-%m-%Y"),
            str(Rupiah(one["balance_rupiah"])),
        )
        for one in found
    ]
    print_table(context, headings, rows)


def _end(context: Context, purpose: Purpose, reason: str, *, wipe: bool) -> None:
    station = station_of(context)
    with open_the_reader(context) as reader:
        done = with_card(
            context,
            reader,
            lambda connection: end_card(station, connection, purpose, reason[:200], wipe=wipe),
        )
    context.say(N_("{amount} was taken from the card. The card is ended."), amount=done.emptied)
    context.say(N_("In the member's wallet now: {wallet}"), wallet=done.wallet)
    if done.loaded.amount:
        context.say(N_("{amount} of it waits for the member's next card."), amount=done.loaded)
    if done.wiped:
        context.say(
            N_(
                "The chip is blank. It becomes no card of ours again: its number stays the old card's."
            )
        )


COMMANDS = (renew, retire, payout, expiring)
