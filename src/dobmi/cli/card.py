"""`dobmi card`: what staff at an issuing station do."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dobmi.cardlib.errors import CardRemoved
from dobmi.cardlib.inspection import CardState, inspect
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.readers import CardConnection, Reader
from dobmi.cli import cash_desk
from dobmi.cli.amounts import AmountType
from dobmi.cli.at_reader import connect_card, open_the_reader, with_card
from dobmi.cli.card_life import COMMANDS as LIFE
from dobmi.cli.card_page import page
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.issuing import COMMANDS as ISSUING
from dobmi.cli.pins import ask_new_pin, ask_pin
from dobmi.cli.station import station_of as _station
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.provisioning import cards, pins, staff
from dobmi.provisioning.enrolment import Station, enrol_station
from dobmi.provisioning.errors import NoCardCame, NotAUid
from dobmi.provisioning.staff_file import logged_in, staff_file_of
from dobmi.sync.errors import ServerRefused, SyncError
from dobmi.wib import local_time

_STATES = {
    CardState.BLANK: N_("blank, can be issued"),
    CardState.LOCKED: N_("empty, but its master key is not the factory's"),
    CardState.UNSUPPORTED: N_("too old to be a Do BMI card: take a DESFire EV2 or EV3"),
    CardState.FOREIGN: N_("holds other applications, not ours"),
    CardState.UNFINISHED: N_("issuing was not finished: issue it again to the same member"),
    CardState.PURSE: N_("a Do BMI card"),
}

_KEYS = {
    CardKey.APPLICATION: N_("application key"),
    CardKey.DEBIT: N_("debit key"),
    CardKey.CREDIT: N_("credit key"),
    CardKey.PIN: N_("PIN key"),
}

_LEDGER_CARD = {
    "card_uid": N_("UID"),
    "card_serial": N_("card number"),
    "member_number": N_("member number"),
    "member_name": N_("member name"),
    "state": N_("state"),
    "block_reason": N_("why it is blocked"),
    "expires": N_("valid until"),
    "balance_rupiah": N_("balance"),
    "key_generation": N_("generation of its keys"),
}

_ORDER_NOT_KNOWN = N_(
    "It is not known whether the order {reference} was taken. Give it once more with --reference "
    "{reference}: it is one order, however often."
)
_ORDER_STANDS = N_(
    "The order {reference} stands, and the money comes onto the card once: lay it on again, and run "
    "`dobmi card deliver`."
)

_LEDGER_STATES = {
    "issuing": N_("issuing not finished"),
    "active": N_("active"),
    "blocked": N_("blocked"),
    "replaced": N_("replaced for good"),
}


class CountedType(AmountType):
    """Likewise, or nought."""

    name = "cash"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rupiah:
        return ZERO if value in {"0", ZERO} else super().convert(value, param, ctx)


class UidType(click.ParamType[bytes]):
    """A card's UID: seven bytes in hex."""

    name = "uid"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - likewise
    ) -> bytes:
        try:
            uid = bytes.fromhex(str(value))
        except ValueError:
            uid = b""
        if len(uid) != 7:
            raise NotAUid(text=str(value)[:40])
        return uid


@click.group(cls=DomainGroup)
def command() -> None:
    """At a station: issue cards, top them up, look at them, block them.

    Issuing and topping up go through the central server, which alone holds the keys.
    """


command.add_command(page)


for _command in (*ISSUING, *LIFE):
    command.add_command(_command)


@command.command()
@click.argument("invitation")
@click.pass_obj
def enrol(context: Context, invitation: str) -> None:
    """Make this station known to the central server, by an INVITATION from `dobmi central invite`."""
    settings = context.settings.provisioning
    enrolment = enrol_station(
        settings.server,
        invitation,
        context.settings.at(settings.identity),
        context.settings.at(settings.enrolment),
        context.passphrase(context.translate(N_("Passphrase of this station's key"))),
        language=context.language,
    )
    context.say(
        N_("This is station {number} of {issuer} now."),
        number=enrolment.terminal_id,
        issuer=enrolment.issuer,
    )


@command.command()
@click.argument("member_number", type=click.IntRange(1, 2**32 - 1))
@click.argument("name")
@click.option("--pin", "with_pin", is_flag=True, help="The member chooses a PIN as well.")
@click.pass_obj
def issue(context: Context, member_number: int, name: str, *, with_pin: bool) -> None:
    """Make the card on the reader the purse of member MEMBER_NUMBER, called NAME.

    A card pulled away half-way is finished when it is laid on again.
    """
    station = _station(context)
    new = _new_pin(context) if with_pin else None
    with open_the_reader(context) as reader:

        def act(connection: CardConnection) -> cards.IssuedCard:
            done = cards.issue(station, connection, member_number, name)
            if new is not None:
                pins.set_pin(station, connection, new)
            return done

        issued = with_card(context, reader, act)
    context.say(
        N_("Card {serial} ({uid}) is issued to {name}, member {member}, valid until {expires}."),
        serial=issued.card_serial,
        uid=issued.uid.hex().upper(),
        name=issued.name,
        member=issued.member_number,
        expires=issued.expires.strftime("%d-%m-%Y"),
    )


# So that `topup -500` is an amount, refused as one, and not an option that nobody knows.
@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("amount", type=AmountType())
@click.option(
    "--source", type=click.Choice(["cash", "salary"]), default="cash", show_default=True,
    help="Where the money comes from.",
)  # fmt: skip
@click.option(
    "--received", type=AmountType(), metavar="CASH",
    help="What was handed over for it: the change is said, and stands on the receipt.",
)  # fmt: skip
@click.option(
    "--reference",
    help="The order's own key: given again, it is the same order. Random when left out.",
)
@click.pass_obj
def topup(
    context: Context, amount: Rupiah, source: str, received: Rupiah | None, reference: str | None
) -> None:
    """Put AMOUNT on the card on the reader, and print a receipt.

    The money is owed to the card from the moment the server has the order: if the card is pulled
    away, lay it on again, here or later with `dobmi card deliver`.
    """
    reference = reference or secrets.token_hex(8)
    station = _station(context)
    with open_the_reader(context) as reader:
        connection = connect_card(context, reader)
        uid = connection.uid
        with _said_after(context, _ORDER_NOT_KNOWN, reference):
            try:
                ordered = cards.order_credit(
                    station, uid, amount, source, reference, received=received
                )
            finally:
                connection.disconnect()
        if received is not None:
            context.say(N_("Change: {change}"), change=received - amount)
        if ordered["state"] == "refused":
            context.say(N_("A second person refused this order: give the cash back."))
        elif ordered["state"] == "held":
            context.say(
                N_("{amount} waits until a second person accepts it (proposal {approval})."),
                amount=amount,
                approval=ordered["approval"],
            )
        else:
            context.say(
                N_("{amount} is owed to card {uid} (order {reference})."),
                amount=amount,
                uid=uid.hex().upper(),
                reference=reference,
            )
            with _said_after(context, _ORDER_STANDS, reference):
                _deliver(context, station, reader)
    cash_desk.put_out(context, cards.ordered_credit(station, reference), copy=False)


@command.command()
@click.argument("reference")
@click.pass_obj
def receipt(context: Context, reference: str) -> None:
    """Print the receipt of the order REFERENCE once more, as a copy; it says how far the order is."""
    order = cards.ordered_credit(_station(context), reference)
    cash_desk.put_out(context, order, copy=True)


@command.command()
@click.option("--counted", type=CountedType(), metavar="CASH", help="What was counted just now.")
@click.option("--note", default="", help="With --counted: who counted along, why it differs.")
@click.pass_obj
def cash(context: Context, counted: Rupiah | None, note: str) -> None:
    """The cash at this station: by the books, by person today, and as it was counted."""
    station = _station(context)
    if counted is not None:
        cash_desk.show_count(context, cards.count_cash(station, counted, note))
    cash_desk.show_cash(context, cards.station_cash(station))


@command.command()
@click.pass_obj
def deliver(context: Context) -> None:
    """Put on the card on the reader what the central server owes it."""
    station = _station(context)
    with open_the_reader(context) as reader:
        _deliver(context, station, reader)


@command.command()
@click.pass_obj
def rekey(context: Context) -> None:
    """Bring the keys of the card on the reader to the newest generation.

    A card pulled away half-way works on, and is finished when it is laid on again.
    """
    station = _station(context)
    with open_the_reader(context) as reader:
        done = with_card(context, reader, lambda connection: cards.rekey(station, connection))
    if done.changed_count:
        context.say(
            N_("Card keys are at generation {generation} now: {count} changed."),
            generation=done.generation,
            count=done.changed_count,
        )
    else:
        context.say(
            N_("Card keys were at generation {generation} already."), generation=done.generation
        )


@command.group()
def pin() -> None:
    """The PIN of the card on the reader: chosen, changed, forgotten, or proved and free again.

    It is asked for and not shown; without a terminal it is read from standard input, a line each.
    """


@pin.command(name="set")
@click.pass_obj
def set_pin(context: Context) -> None:
    """The member chooses the first one."""
    station, new = _station(context), _new_pin(context)
    with open_the_reader(context) as reader:
        with_card(context, reader, lambda connection: pins.set_pin(station, connection, new))
    context.say(N_("The card has its PIN."))


@pin.command(name="change")
@click.pass_obj
def change_pin(context: Context) -> None:
    """The member knows the old one, which the card proves, and chooses another."""
    station = _station(context)
    old, new = ask_pin(context, _OLD_PIN), _new_pin(context)
    with open_the_reader(context) as reader:
        with_card(
            context, reader, lambda connection: pins.change_pin(station, connection, old, new)
        )
    context.say(N_("The card has its new PIN."))


@pin.command(name="reset")
@click.option(
    "--identified-by",
    required=True,
    metavar="HOW",
    help="Identity card, two members who know them, … : kept with who did it.",
)
@click.pass_obj
def reset_pin(context: Context, identified_by: str) -> None:
    """The member has forgotten it, was identified, and chooses another."""
    station, new = _station(context), _new_pin(context)
    with open_the_reader(context) as reader:
        with_card(
            context,
            reader,
            lambda connection: pins.reset_pin(station, connection, new, identified_by),
        )
    context.say(N_("The card has its new PIN."))


@pin.command(name="prove")
@click.pass_obj
def prove_pin(context: Context) -> None:
    """The member knows it: what tills have locked is free again, from their next sync on."""
    station = _station(context)
    old = ask_pin(context, _OLD_PIN)
    with open_the_reader(context) as reader:
        with_card(context, reader, lambda connection: pins.prove_pin(station, connection, old))
    context.say(N_("The PIN is right. Tills take it again from their next sync on."))


@command.command(name="inspect")
@click.pass_obj
def inspect_card(context: Context) -> None:
    """Look at the card on the reader: which chip, genuine or not, what is on it."""
    trusted = {
        **NXP_PUBLIC_KEYS,
        **{
            name: bytes.fromhex(key)
            for name, key in context.settings.central.originality_keys.items()
        },
    }
    with open_the_reader(context) as reader:
        found = with_card(context, reader, lambda connection: inspect(connection, trusted))
    table = Table(show_header=False)
    translate = context.translate
    version = found.version
    rows = [
        ("UID", found.uid.hex().upper()),
        (N_("Chip"), f"{version.generation.value}, {version.hardware.storage_bytes} B"),
        (N_("Made in"), f"{version.production_year}-W{version.production_week:02}"),
        (N_("Originality"), found.originality or translate(N_("no signature that is trusted"))),
        (N_("State"), translate(_STATES[found.state])),
        (N_("Applications"), _list(found.applications)),
        (
            N_("Free memory"),
            "-" if found.free_memory_bytes is None else f"{found.free_memory_bytes} B",
        ),
    ]
    rows += [
        (_KEYS[key], translate(N_("version {number}")).format(number=number))
        for key, number in found.key_versions.items()
    ]
    for label, value in rows:
        table.add_row(translate(label), value)
    Console().print(table)


@command.command()
@click.argument("uid", type=UidType())
@click.pass_obj
def show(context: Context, uid: bytes) -> None:
    """What the central ledger says of the card UID."""
    card = cards.ledger_card(_station(context), uid)
    _show_ledger_card(context, card)
    if card.get("replacement"):
        _say_replacement(context, card["replacement"])


@command.command()
@click.argument("uid", type=UidType())
@click.option("--reason", required=True, help="Lost, stolen, … : kept with the block.")
@click.pass_obj
def block(context: Context, uid: bytes, reason: str) -> None:
    """Have every till refuse the card UID, each from its next sync on."""
    cards.block(_station(context), uid, reason)
    context.say(
        N_("Card {uid} is blocked. Tills refuse it from their next sync on."), uid=uid.hex().upper()
    )


@command.command()
@click.argument("old", type=UidType())
@click.option("--reason", required=True, help="Lost, stolen, broken, … : kept with the card.")
@click.pass_obj
def replace(context: Context, old: bytes, reason: str) -> None:
    """Block the lost card OLD for good; its money comes to the card that is issued instead.

    Issue the member another card: at once, or later. Run again, it says how far it has come.
    """
    found = cards.replace(_station(context), old, reason)
    context.say(N_("Card {uid} is blocked for good."), uid=found["card_uid"])
    _say_replacement(context, found)


@command.command()
@click.argument("uid", type=UidType())
@click.option("--reason", required=True, help="Why the block is taken back.")
@click.pass_obj
def unblock(context: Context, uid: bytes, reason: str) -> None:
    """Take the block of the card UID back."""
    cards.unblock(_station(context), uid, reason)
    context.say(N_("Card {uid} is no longer blocked."), uid=uid.hex().upper())


@command.command()
@click.argument("name")
@click.pass_obj
def login(context: Context, name: str) -> None:
    """Log NAME of the staff in at this station; the password is asked for, or is the first line of standard input."""
    station = _station(context)
    if sys.stdin.isatty():
        prompt = context.translate(N_("Password of {name}")).format(name=name)
        password = str(click.prompt(prompt, hide_input=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    session = staff.log_in(station, name, password)
    context.say(
        N_("{name} is logged in here until {time}: {roles}"),
        name=session.name,
        time=local_time(session.expires_at),
        roles=", ".join(session.roles),
    )


@command.command()
@click.pass_obj
def logout(context: Context) -> None:
    """Log out whoever is logged in at this station."""
    staff.log_out(_station(context))
    context.say(N_("Nobody is logged in at this station."))


@command.command()
@click.pass_obj
def whoami(context: Context) -> None:
    """Who is logged in at this station."""
    settings = context.settings
    session = logged_in(staff_file_of(settings.at(settings.provisioning.enrolment)))
    if session is None:
        context.say(N_("Nobody is logged in at this station."))
        return
    context.say(
        N_("{name} is logged in here until {time}: {roles}"),
        name=session.name,
        time=local_time(session.expires_at),
        roles=", ".join(session.roles),
    )


_OLD_PIN = N_("The card's PIN")


def _new_pin(context: Context) -> str:
    """Raises NotAPin, WeakPin before a card is asked for."""
    new = ask_new_pin(context, N_("New PIN"), N_("The same again"))
    pins.check_new_pin(new)
    return new


@contextlib.contextmanager
def _said_after(context: Context, text: str, reference: str) -> Iterator[None]:
    """When the network or the card ends it, what that means for the order comes first."""
    try:
        yield
    except (SyncError, CardRemoved, NoCardCame) as error:
        if not isinstance(error, ServerRefused):
            context.say(text, reference=reference)
        raise


def _deliver(context: Context, station: Station, reader: Reader) -> None:
    result = with_card(
        context, reader, lambda connection: cards.deliver_credits(station, connection)
    )
    for sequence, amount in result.delivered:
        context.say(
            N_("Credit {sequence}: {amount} is on the card."), sequence=sequence, amount=amount
        )
    if not result.delivered:
        context.say(N_("Nothing was owed to this card."))
    context.say(N_("Balance on the card: {balance}"), balance=result.balance)


def _say_replacement(context: Context, found: dict[str, Any]) -> None:
    """When the old card's money comes to the new one, and what of it has come."""
    restored, left = Rupiah(found["restored_rupiah"]), Rupiah(found["left_rupiah"])
    if found["new_card_uid"] is None:
        context.say(N_("The member has no other card yet: issue one."))
    elif restored:
        context.say(
            N_(
                "{amount} of it was restored to card {uid}: lay that card on, `dobmi card deliver`."
            ),
            amount=restored,
            uid=found["new_card_uid"],
        )
    if found["safe_at"] is None:
        context.say(
            N_("{amount} waits until tills {tills} have synced, or until {time} at the latest."),
            amount=left,
            tills=", ".join(map(str, found["waits_for_tills"])),
            time=local_time(found["restored_by_rule_at"]),
        )
    elif found["held_rupiah"]:
        context.say(
            N_("{amount} waits for sales in doubt to be settled."),
            amount=Rupiah(found["held_rupiah"]),
        )
    if found["shortfall_rupiah"]:
        context.say(
            N_("{amount} was spent with the old card all the same, at the cooperative's expense."),
            amount=Rupiah(found["shortfall_rupiah"]),
        )


def _show_ledger_card(context: Context, card: dict[str, Any]) -> None:
    table = Table(show_header=False)
    for name, label in _LEDGER_CARD.items():
        value = card.get(name)
        if value is None or value == "":
            continue
        if name == "state":
            value = context.translate(_LEDGER_STATES.get(value, value))
        elif name == "balance_rupiah":
            value = Rupiah(value)
        table.add_row(context.translate(label), str(value))
    Console().print(table)


def _list(applications: tuple[int, ...] | None) -> str:
    if applications is None:
        return "-"
    return ", ".join(f"{aid:06X}" for aid in applications) or "0"
