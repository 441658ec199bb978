"""`dobmi central catalogue`, `till-staff`, `orders`, `members` and `shifts`: what outlets' tills work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dobmi.central.catalogue import import_catalogue, parse_catalogue, seller_catalogue
from dobmi.central.database import Database, open_database
from dobmi.central.errors import FileRefused
from dobmi.central.member_notes import import_notes, parse_classes, parse_photos
from dobmi.central.member_orders import Listed, import_orders, order_list, parse_orders
from dobmi.central.server import now_unix_seconds
from dobmi.central.till_records import Shift, shift_list
from dobmi.central.till_staff import (
    add_till_staff,
    remove_till_staff,
    seller_staff,
    set_card,
    set_pin,
)
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import print_table
from dobmi.i18n import N_
from dobmi.settings import FileUnusable
from dobmi.sync.outlet import PIN_DIGITS_MAX, PIN_DIGITS_MIN, STAFF_NUMBER_MAX, Duty
from dobmi.sync.records import OrderState
from dobmi.wib import local_time

_FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_SELLER = click.option("--seller", required=True, metavar="NAME", help="The outlet.")
_NUMBER = click.argument("number", type=click.IntRange(1, STAFF_NUMBER_MAX))
_DUTIES = {Duty.CASHIER: N_("cashier"), Duty.SUPERVISOR: N_("supervisor")}
_STATES = {
    OrderState.PAID: N_("paid"),
    OrderState.HANDED_OVER: N_("handed over"),
    OrderState.CANCELLED: N_("cancelled"),
}
_HEADINGS = (
    N_("code"), N_("category"), N_("price"), N_("barcodes"), N_("prices of classes"), N_("duty"),
    N_("PIN"), N_("card of member"), N_("order"), N_("member"), N_("fetched on"), N_("total"),
    N_("shift"), N_("opened"), N_("closed"), N_("cashier"), N_("expected"), N_("counted"),
    N_("difference"), N_("sales"), N_("refunds"),
)  # fmt: skip


@click.group(cls=DomainGroup)
def catalogue() -> None:
    """What outlets sell, at which prices."""


@catalogue.command("import")
@_FILE
@click.option("--seller", metavar="NAME", help="Only this outlet's; left out: all outlets'.")
@click.pass_obj
def catalogue_import(context: Context, file: Path, seller: str | None) -> None:
    """Put FILE in the place of the catalogue: CSV with the columns code, name, category, price.

    Further columns: barcodes (several with spaces between), price:CLASS for each class of members,
    and, in the catalogue of all outlets, outlets (several with | between) for what only they have.
    An outlet's own item goes before all outlets' of the same code. If a line cannot be taken,
    nothing is.
    """
    with _checking(context), _database(context) as database:
        done = import_catalogue(database, parse_catalogue(_read(file)), seller)
    context.say(
        N_("The catalogue has {count} items now; it had {before}."),
        count=done.items,
        before=done.before,
    )


@catalogue.command("show")
@click.option("--seller", metavar="NAME", help="As this outlet's tills have it.")
@click.pass_obj
def catalogue_show(context: Context, seller: str | None) -> None:
    """List the catalogue of all outlets, or as an outlet has it."""
    with _database(context) as database:
        found = seller_catalogue(database, seller)
    rows = [
        (
            item.code,
            item.name,
            item.category,
            str(item.price),
            " ".join(item.barcodes),
            ", ".join(f"{name} {price}" for name, price in item.class_prices),
        )
        for item in found.items
    ]
    headings = ("code", "name", "category", "price", "barcodes", "prices of classes")
    print_table(context, headings, rows)


@click.group("till-staff", cls=DomainGroup)
def till_staff() -> None:
    """Who works at an outlet's tills: number, duty, and a PIN or their own Do BMI card.

    Until an outlet has anybody, its tills ask nobody to log in.
    """


@till_staff.command("add")
@_NUMBER
@click.argument("name")
@_SELLER
@click.option(
    "--duty",
    type=click.Choice([duty.name.lower() for duty in Duty]),
    default=Duty.CASHIER.name.lower(),
    show_default=True,
    help="A supervisor also allows what a cashier may not.",
)
@click.pass_obj
def staff_add(context: Context, number: int, name: str, seller: str, duty: str) -> None:
    """Take in NAME under NUMBER, which is typed at the till; or change the duty."""
    now = now_unix_seconds()
    with _database(context) as database:
        person = add_till_staff(database, seller, number, name, Duty[duty.upper()], now=now)
    context.say(
        N_("{number} {name}, {duty} at {seller}. Next: a PIN (till-staff pin) or a card."),
        number=person.number,
        name=person.name,
        duty=context.translate(_DUTIES[person.duty]),
        seller=seller,
    )


@till_staff.command("pin")
@_NUMBER
@_SELLER
@click.pass_obj
def staff_pin(context: Context, number: int, seller: str) -> None:
    """Set the PIN of NUMBER. It is asked for, unseen, and best typed by the person themselves."""
    digits = {"least": PIN_DIGITS_MIN, "most": PIN_DIGITS_MAX}
    asked = context.translate(N_("New PIN ({least} to {most} digits)")).format(**digits)
    again = context.translate(N_("Once more"))
    pin = str(click.prompt(asked, hide_input=True, confirmation_prompt=again))
    with _database(context) as database:
        set_pin(database, seller, number, pin, now_unix_seconds())
    context.say(N_("The PIN of number {number} is set."), number=number)


@till_staff.command("card")
@_NUMBER
@_SELLER
@click.option("--member", type=click.IntRange(1), help="Whose Do BMI card it is.")
@click.option("--none", "no_card", is_flag=True, help="No card logs them in any more.")
@click.pass_obj
def staff_card(
    context: Context, number: int, seller: str, member: int | None, no_card: bool
) -> None:
    """Have the Do BMI card of a member log NUMBER in: their own, as a member."""
    if (member is None) != no_card:
        raise click.UsageError(context.translate(N_("Give either --member or --none.")))
    with _database(context) as database:
        set_card(database, seller, number, member, now_unix_seconds())
    if member is None:
        context.say(N_("No card logs number {number} in."), number=number)
    else:
        context.say(
            N_("The card of member {member} logs number {number} in."),
            number=number,
            member=member,
        )


@till_staff.command("remove")
@_NUMBER
@_SELLER
@click.option(
    "--last", is_flag=True, help="Also the last of them: then nobody has to log in there any more."
)
@click.pass_obj
def staff_remove(context: Context, number: int, seller: str, last: bool) -> None:
    """Let NUMBER in no more; tills know it at their next sync. What they sold stays."""
    with _database(context) as database:
        remove_till_staff(database, seller, number, last=last)
    context.say(N_("Number {number} is removed."), number=number)


@till_staff.command("list")
@_SELLER
@click.pass_obj
def staff_list(context: Context, seller: str) -> None:
    """List who works at the outlet's tills."""
    with _database(context) as database:
        found = seller_staff(database, seller)
    rows = [
        (
            str(person.number),
            person.name,
            context.translate(_DUTIES[person.duty]),
            context.translate(N_("set")) if person.pin is not None else "-",
            "-" if person.member_number is None else str(person.member_number),
        )
        for person in found.people
    ]
    print_table(context, ("no.", "name", "duty", "PIN", "card of member"), rows)


@click.group(cls=DomainGroup)
def orders() -> None:
    """What members ordered, for the outlets to hand out."""


@orders.command("import")
@_FILE
@_SELLER
@click.pass_obj
def orders_import(context: Context, file: Path, seller: str) -> None:
    """Take orders: FILE is CSV with order, member, pick_up_on, item, name, quantity, price.

    A line for each item, a column note may be there. Taking a file again changes nothing. If a
    line cannot be taken, nothing is.
    """
    with _checking(context), _database(context) as database:
        done = import_orders(database, parse_orders(_read(file)), seller, now_unix_seconds())
    context.say(N_("Taken: {count} orders."), count=done.taken)
    if done.already:
        context.say(N_("Taken before, and left as they are: {count}."), count=done.already)


@orders.command("list")
@click.option("--seller", metavar="NAME", help="Only this outlet's.")
@click.option("--all", "show_all", is_flag=True, help="Also those handed over or cancelled.")
@click.pass_obj
def orders_list(context: Context, seller: str | None, show_all: bool) -> None:
    """List the orders that are still to be handed out, with what the tills did with them."""
    with _database(context) as database:
        found = order_list(database, seller, is_open=None if show_all else True)
    rows = [
        (
            str(one.order.number),
            one.seller,
            f"{one.order.member_number} {one.order.holder}",
            f"{one.order.pick_up_on:%d-%m-%Y}",
            str(one.total),
            _steps(context, one),
        )
        for one in found
    ]
    print_table(context, ("order", "seller", "member", "fetched on", "total", "state"), rows)


def _steps(context: Context, one: Listed) -> str:
    return "\n".join(
        f"{local_time(step.at)} {context.translate(_STATES[step.state])}: {step.by}"
        + ("" if step.sale is None else f", {step.terminal_id}/{step.sale}")
        for step in one.steps
    ) or context.translate(N_("open"))


@click.group("members", cls=DomainGroup)
def members() -> None:
    """What tills are told about members: class and photo."""


@members.command("class")
@_FILE
@click.pass_obj
def members_class(context: Context, file: Path) -> None:
    """Set members' classes, by which prices go: FILE is CSV with the columns member, class.

    An empty class is the ordinary one; members who are not in FILE stay as they are. If a line
    cannot be taken, nothing is.
    """
    with _checking(context), _database(context) as database:
        done = import_notes(database, parse_classes(_read(file)), now_unix_seconds())
    context.say(N_("Changed: {count} members."), count=done)


@members.command("photo")
@_FILE
@click.pass_obj
def members_photo(context: Context, file: Path) -> None:
    """Set members' photos: FILE is CSV with the columns member, file.

    Each is a JPEG of at most 60 kB beside FILE; with no name the member's photo goes. Cashiers see
    it when the card is tapped. If a line cannot be taken, nothing is.
    """
    with _checking(context), _database(context) as database:
        told = parse_photos(_read(file), file.parent)
        done = import_notes(database, told, now_unix_seconds())
    context.say(N_("Changed: {count} members."), count=done)


@click.command("shifts")
@click.option("--seller", metavar="NAME", help="Only this outlet's.")
@click.option("--terminal", type=int, metavar="NUMBER", help="Only this till's.")
@click.option("--newest", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.pass_obj
def shifts(context: Context, seller: str | None, terminal: int | None, newest: int) -> None:
    """List the shifts that tills reported closed, newest first, with what was counted."""
    with _database(context) as database:
        found = shift_list(database, seller=seller, terminal_id=terminal, newest=newest)
    headings = (
        "terminal", "shift", "opened", "closed", "cashier", "sales", "refunds", "expected",
        "counted", "difference",
    )  # fmt: skip
    print_table(context, headings, map(_shift_row, found))


def _shift_row(of: Shift) -> tuple[str, ...]:
    record = of.record
    people = dict.fromkeys([record.cashier, *(name for _, name in record.takeovers)])
    expected = record.float_cash + record.cash_in - record.cash_out
    return (
        f"{of.terminal_id} {of.terminal}",
        str(record.number),
        local_time(record.opened_unix_seconds),
        local_time(record.closed_unix_seconds),
        ", ".join(people),
        f"{record.sales_count}: {record.sales_total}",
        f"{record.refunds_count}: {record.refunds_total}",
        str(expected),
        str(record.counted),
        str(record.counted - expected),
    )


COMMANDS: tuple[click.Command, ...] = (catalogue, till_staff, orders, members, shifts)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileUnusable(path=file, detail=N_("it is no text")) from error


@contextmanager
def _checking(context: Context) -> Iterator[None]:
    """Every bad line is said before the refusal."""
    try:
        yield
    except FileRefused as error:
        for problem in error.problems:
            click.echo(problem.explain(context.translate), err=True)
        raise


@contextmanager
def _database(context: Context) -> Iterator[Database]:
    """Its tables are there. Raises NotInitialised."""
    settings = context.settings
    database = open_database(settings.central.database, settings.folder)
    try:
        database.require_tables()
        yield database
    finally:
        database.close()
