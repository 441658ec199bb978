"""`dobmi terminal shift`, `catalogue` and `orders`: an outlet's work beside the sale itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.printing import put_on_paper, show_paper
from dobmi.cli.till import opened_ledger, opened_till, the_cashier
from dobmi.i18n import N_
from dobmi.money import ZERO
from dobmi.sync.outlet import CatalogueItem
from dobmi.sync.records import OrderState
from dobmi.terminal import catalogue as catalogue_rules
from dobmi.terminal import picking
from dobmi.terminal import shift as shift_rules
from dobmi.terminal.cart import Cart, Discount
from dobmi.terminal.errors import BadCart, NoShift
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.papers import paper_of_order, paper_of_shift
from dobmi.terminal.picking import PickOrder
from dobmi.terminal.purchase import parse_amount
from dobmi.terminal.shift import ShiftReport
from dobmi.wib import local_time

_F = TypeVar("_F", bound=Callable[..., Any])


def login_options(function: _F) -> _F:
    number = click.option(
        "--cashier",
        type=click.IntRange(min=1),
        metavar="NUMBER",
        help="Your staff number; the PIN is asked for, unseen.",
    )
    card = click.option("--card", "by_card", is_flag=True, help="Log in with your own card.")
    return number(card(function))


@click.group(cls=DomainGroup)
def shift() -> None:
    """Open, hand over, count and close a shift; nothing is sold without one."""


@shift.command("open")
@click.option("--float", "float_cash", default="0", help="The cash in the drawer, in rupiah.")
@login_options
@click.pass_obj
def shift_open(context: Context, float_cash: str, cashier: int | None, by_card: bool) -> None:
    """Open a shift with the float that is in the drawer."""
    amount = parse_amount(float_cash)
    with opened_till(context, cards=by_card) as till:
        opened = till.open_shift(the_cashier(context, till, cashier, by_card=by_card), amount)
        context.say(
            "Shift {shift} of {cashier} is open since {time}; in the drawer: {amount}.",
            shift=opened.number,
            cashier=opened.cashier,
            time=local_time(opened.opened_unix_seconds),
            amount=opened.float_cash,
        )


@shift.command("takeover")
@login_options
@click.pass_obj
def shift_takeover(context: Context, cashier: int | None, by_card: bool) -> None:
    """Take the open shift over: sales are yours from now on."""
    with opened_till(context, cards=by_card) as till:
        who = the_cashier(context, till, cashier, by_card=by_card)
        taken = shift_rules.take_over(till.ledger, who, till.clock.now())
        context.say("Shift {shift} is {cashier}'s now.", shift=taken.number, cashier=taken.on_duty)


# So that `cash -50000` is an amount, and not an option that nobody knows.
@shift.command("cash", context_settings={"ignore_unknown_options": True})
@click.argument("amount")
@click.option("--reason", required=True, help="Why: it stands in the report.")
@click.pass_obj
def shift_cash(context: Context, amount: str, reason: str) -> None:
    """Put AMOUNT of cash into the drawer, or, with a minus, take it out."""
    moved = parse_amount(amount)
    with opened_till(context, cards=False) as till:
        now = till.clock.now()
        open_shift = shift_rules.current_shift(till.ledger)
        by = shift_rules.on_duty(open_shift)
        shift_rules.move_cash(till.ledger, moved, reason=reason, by=by, now=now)
        report = shift_rules.x_report(till.ledger, now)
        context.say("In the drawer now: {amount}.", amount=report.expected_cash)


@shift.command("x")
@click.pass_obj
def shift_x(context: Context) -> None:
    """Print the X report: the open shift as it stands."""
    with opened_till(context, cards=False) as till:
        _put_out(context, till.ledger, shift_rules.x_report(till.ledger, till.clock.now()))


@shift.command("show")
@click.pass_obj
def shift_show(context: Context) -> None:
    """Show the open shift's report, or the last one's; nothing is printed."""
    with opened_ledger(context) as ledger:
        last = ledger.last_shift()
        if last is None:
            context.say("There has been no shift yet.")
            return
        try:
            report = shift_rules.x_report(ledger, ledger.latest_unix_seconds())
        except NoShift:
            report = shift_rules.z_report(ledger, last.number)
        show_paper(paper_of_shift(ledger, report, context.translate))


@shift.command("close")
@click.option("--counted", required=True, help="The cash that is in the drawer, counted.")
@click.pass_obj
def shift_close(context: Context, counted: str) -> None:
    """Close the shift with a count of the drawer, and print its Z report."""
    amount = parse_amount(counted)
    with opened_till(context, cards=False) as till:
        _put_out(context, till.ledger, till.close_shift(amount))


@shift.command("z")
@click.argument("number", type=click.IntRange(min=1), required=False)
@click.pass_obj
def shift_z(context: Context, number: int | None) -> None:
    """Print the Z report of shift NUMBER again, or of the last one."""
    with opened_ledger(context) as ledger:
        _put_out(context, ledger, shift_rules.z_report(ledger, number))


def _put_out(context: Context, ledger: Ledger, report: ShiftReport) -> None:
    paper = paper_of_shift(ledger, report, context.translate)
    show_paper(paper)
    put_on_paper(context, ledger, paper)


# The catalogue


@click.group(cls=DomainGroup)
def catalogue() -> None:
    """What this outlet sells."""


@catalogue.command("search")
@click.argument("words", nargs=-1)
@click.option("--category", help="Only of this category.")
@click.option("--class", "member_class", default="", help="At the prices of this member class.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def catalogue_search(
    context: Context,
    *,
    words: tuple[str, ...],
    category: str | None,
    member_class: str,
    as_json: bool,
) -> None:
    """Find items that have all WORDS in their name, code or category."""
    with opened_ledger(context) as ledger:
        found = catalogue_rules.search(ledger, " ".join(words), category=category)
    if as_json:
        click.echo(json.dumps({"items": list(map(_item_json, found))}, ensure_ascii=False))
        return
    if not found:
        context.say("Nothing in the catalogue has these words.")
    for item in found:
        _say_item(context, item, member_class)


@catalogue.command("scan")
@click.argument("barcode")
@click.option("--class", "member_class", default="", help="At the price of this member class.")
@click.pass_obj
def catalogue_scan(context: Context, barcode: str, member_class: str) -> None:
    """Show the item that has BARCODE."""
    with opened_ledger(context) as ledger:
        _say_item(context, catalogue_rules.by_barcode(ledger, barcode), member_class)


@catalogue.command("categories")
@click.pass_obj
def catalogue_categories(context: Context) -> None:
    """List the categories, and how many items each has."""
    with opened_ledger(context) as ledger:
        for category, count in catalogue_rules.categories(ledger):
            click.echo(f"{count:>6}  {category}")


def _say_item(context: Context, item: CatalogueItem, member_class: str) -> None:
    context.say(
        "{code}  {name}  {price}  ({category})",
        code=item.code,
        name=item.name,
        price=catalogue_rules.price_for(item, member_class),
        category=item.category,
    )


def _item_json(item: CatalogueItem) -> dict[str, Any]:
    return {
        "code": item.code,
        "name": item.name,
        "category": item.category,
        "price_rupiah": item.price.amount,
        "barcodes": list(item.barcodes),
        "class_prices_rupiah": {name: price.amount for name, price in item.class_prices},
    }


# Members' orders


@click.group(cls=DomainGroup)
def orders() -> None:
    """Members' orders at this outlet: pick, have them paid, hand them over.

    To have one paid: dobmi terminal sell --order NUMBER
    """


@orders.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def orders_list(context: Context, as_json: bool) -> None:
    """List what is neither handed over nor cancelled."""
    with opened_ledger(context) as ledger:
        found = picking.open_orders(ledger)
    if as_json:
        click.echo(json.dumps({"orders": list(map(_order_json, found))}, ensure_ascii=False))
        return
    if not found:
        context.say("No order is open.")
    for one in found:
        _say_order(context, one)


@orders.command("open")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--short", "shorts", multiple=True, metavar="CODE=PIECES", help="What is missing.")
@click.pass_obj
def orders_open(context: Context, number: int, shorts: tuple[str, ...]) -> None:
    """Show order NUMBER as it would be paid, less what is missing."""
    with opened_ledger(context) as ledger:
        found = picking.find_order(ledger, number)
        cart = with_short(picking.open_as_cart(ledger, number), shorts)
    _say_order(context, found)
    for index, line in enumerate(cart.lines):
        context.say(
            "  {quantity} x {name} ({code})  {amount}",
            quantity=line.quantity,
            name=line.name,
            code=line.code,
            amount=cart.line_amount(index),
        )
        if line.short:
            context.say("    missing: {count}", count=line.short)
    context.say("To pay: {total}", total=cart.total)


@orders.command("hand-over")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def orders_hand_over(context: Context, number: int) -> None:
    """The member of order NUMBER, which is paid, has the goods."""
    with opened_till(context, cards=False) as till:
        by = shift_rules.current_shift(till.ledger).on_duty
        now = till.clock.now()
        done = picking.hand_over(till.ledger, number, by=by, now=now)
        paper = paper_of_order(till.ledger, done, by, now, context.translate)
        show_paper(paper)
        put_on_paper(context, till.ledger, paper)


@orders.command("cancel")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def orders_cancel(context: Context, number: int) -> None:
    """Order NUMBER will not be fetched. If it was paid, refund the sale first."""
    with opened_till(context, cards=False) as till:
        by = shift_rules.current_shift(till.ledger).on_duty
        picking.cancel(till.ledger, number, by=by, now=till.clock.now())
        context.say("Order {order} is cancelled.", order=number)


def cart_of(
    ledger: Ledger,
    codes: tuple[str, ...],
    order: int | None,
    shorts: tuple[str, ...],
    *,
    discount: str | None,
    member_class: str,
) -> Cart:
    """What `sell` is asked for from catalogue and order. Raises BadCart, NoSuchItem, OrderRefused."""
    cart = Cart() if order is None else picking.open_as_cart(ledger, order)
    if member_class or order is None:
        cart = cart.for_class(member_class)
    cart = with_short(cart, shorts)
    for text in codes:
        code, equals, count = text.rpartition("=")
        if not equals:
            code, count = text, "1"
        if not count.isdecimal() or not count.isascii():
            raise BadCart(detail=N_("goods of the catalogue are CODE or CODE=PIECES"))
        cart = cart.add_item(catalogue_rules.by_barcode(ledger, code), int(count[:6]))
    return cart.discount_all(_discount(discount)) if discount is not None else cart


def _discount(text: str) -> Discount:
    """Raises BadCart, NotAnAmount."""
    percent = text.strip().removesuffix("%")
    if percent != text.strip():
        if not percent.isdecimal() or not percent.isascii():
            raise BadCart(detail=N_("a discount is 0 to 100 percent, or an amount above nought"))
        return Discount(percent=int(percent[:4]))
    return Discount(amount=parse_amount(text))


def with_short(cart: Cart, shorts: tuple[str, ...]) -> Cart:
    """Less what is missing, each as CODE=PIECES. Raises BadCart."""
    for short in shorts:
        code, equals, count = short.rpartition("=")
        places = [index for index, line in enumerate(cart.lines) if line.code == code]
        if not equals or not count.isdecimal() or not count.isascii() or not places:
            raise BadCart(detail=N_("what is missing is CODE=PIECES, of what was ordered"))
        missing = min(int(count[:6]), cart.lines[places[0]].quantity)
        cart = cart.set_quantity(places[0], cart.lines[places[0]].quantity - missing)
    return cart


_STATES = {
    None: N_("to be picked"),
    OrderState.PAID: N_("paid, not handed over"),
    OrderState.HANDED_OVER: N_("handed over"),
    OrderState.CANCELLED: N_("cancelled"),
}


def _say_order(context: Context, one: PickOrder) -> None:
    order = one.order
    context.say(
        "Order {order} for {day}: {holder} (member {member}), {total}, {state}",
        order=order.number,
        day=order.pick_up_on.strftime("%d-%m-%Y"),
        holder=order.holder,
        member=order.member_number,
        total=one.total,
        state=context.translate(_STATES[one.state]),
    )
    if order.note:
        click.echo(f"  {order.note}")


def _order_json(one: PickOrder) -> dict[str, Any]:
    order = one.order
    return {
        "order": order.number,
        "member_number": order.member_number,
        "holder": order.holder,
        "pick_up_on": order.pick_up_on.isoformat(),
        "note": order.note,
        "state": None if one.state is None else one.state.name.lower(),
        "sale": one.sale,
        "total_rupiah": sum((line.unit_price * line.quantity for line in order.lines), ZERO).amount,
        "lines": [
            {
                "code": line.item,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price_rupiah": line.unit_price.amount,
            }
            for line in order.lines
        ],
    }
