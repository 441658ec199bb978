"""The sell screen: amounts, goods, the cart, paying; and the buttons of what the card is doing."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.cardlib.pin import Pin
from dobmi.money import ZERO
from dobmi.terminal import catalogue, held_carts
from dobmi.terminal.cart import Cart, Discount
from dobmi.terminal.counter_state import (
    Acknowledge,
    AcknowledgeNotShown,
    AskSync,
    Cancel,
    Command,
    GivePin,
    GiveUpDoubt,
    Phase,
)
from dobmi.terminal.errors import CounterBusy, NoShift
from dobmi.terminal.page.errors import NotOnDuty
from dobmi.terminal.page.rendering import render
from dobmi.terminal.page.visit import Visit, Visited, number_of, stage_facts
from dobmi.terminal.purchase import parse_amount

router: Final = APIRouter()
TILES: Final = 9


@router.get("/")
def sell(visit: Visited) -> Response:
    visit.require_person()
    try:
        visit.require_on_duty()
    except (NoShift, NotOnDuty):  # that page says so, and what to do
        return visit.redirect("/shift")
    return visit.show("sell.html", "sell", **_goods_facts(visit), **cart_facts(visit))


@router.get("/sell/goods")
def goods(visit: Visited) -> Response:
    visit.require_person()
    return visit.html(render("_goods.html", visit.language, **_goods_facts(visit)))


def _goods_facts(visit: Visit) -> dict[str, object]:
    query = visit.request.query_params
    ledger = visit.page.ledger
    text, category = query.get("text", "")[:80], query.get("category", "")[:80]
    first = number_of(query.get("first", "0"), "first")
    found = catalogue.search(ledger, text, category=category or None, count_max=first + TILES + 1)
    member_class = visit.page.desk.state.cart.member_class
    return {
        "categories": catalogue.categories(ledger),
        "category": category,
        "text": text,
        "first": first,
        "tiles": TILES,
        "more": len(found) > first + TILES,
        "items": [
            (item, catalogue.price_for(item, member_class)) for item in found[first : first + TILES]
        ],
    }


def cart_facts(visit: Visit, **more: object) -> dict[str, object]:
    return {"classes": catalogue.classes(visit.page.ledger), **more}


def _cart(visit: Visit, **more: object) -> Response:
    """The cart as it is now, in place of the one that is shown."""
    facts = stage_facts(visit.page, visit.session, visit.language)
    return visit.html(render("_cart.html", visit.language, **{**facts, **more}))


@router.post("/sell/scan")
def scan(visit: Visited) -> Response:
    visit.require_on_duty()
    item = catalogue.by_barcode(visit.page.ledger, visit.field("code"))
    visit.page.desk.add_item(item)
    return _cart(visit, sound="added")


@router.post("/sell/item")
def add_item(visit: Visited) -> Response:
    visit.require_on_duty()
    item = catalogue.by_code(visit.page.ledger, visit.field("item"))
    visit.page.desk.add_item(item)
    return _cart(visit, sound="added")


@router.post("/sell/amount")
def add_amount(visit: Visited) -> Response:
    visit.require_on_duty()
    amount = parse_amount(visit.field("amount"))
    visit.page.desk.change(lambda cart: cart.add_amount(amount), added=str(amount))
    return _cart(visit, sound="added", clears=True)


@router.get("/sell/line/{index}")
def line(visit: Visited, index: int) -> Response:
    visit.require_person()
    cart = visit.page.desk.state.cart
    if not 0 <= index < len(cart.lines):
        return visit.html("")
    return visit.html(
        render("_line.html", visit.language, cart=cart, line=cart.lines[index], index=index)
    )


@router.post("/sell/line/{index}")
def change_line(visit: Visited, index: int) -> Response:
    visit.require_on_duty()
    discount = _discount(visit)
    quantity = 0 if "remove" in visit.fields else visit.number("quantity")

    def change(cart: Cart) -> Cart:
        with_discount = cart.discount_line(index, discount)
        return with_discount.set_quantity(index, quantity)

    visit.page.desk.change(change)
    return _cart(visit)


@router.get("/sell/discount")
def discount(visit: Visited) -> Response:
    visit.require_person()
    return visit.html(render("_discount.html", visit.language, cart=visit.page.desk.state.cart))


@router.post("/sell/discount")
def change_discount(visit: Visited) -> Response:
    visit.require_on_duty()
    wanted = _discount(visit)
    visit.page.desk.change(lambda cart: cart.discount_all(wanted))
    return _cart(visit)


def _discount(visit: Visit) -> Discount:
    percent = visit.fields.get("percent", "").strip() or "0"
    amount = visit.fields.get("off", "").strip()
    return Discount(
        percent=number_of(percent, "percent"), amount=parse_amount(amount) if amount else ZERO
    )


@router.get("/sell/more")
def more(visit: Visited) -> Response:
    visit.require_person()
    return visit.html(render("_more.html", visit.language))


@router.get("/sell/class")
def member_class(visit: Visited) -> Response:
    visit.require_person()
    return visit.html(
        render(
            "_class.html",
            visit.language,
            cart=visit.page.desk.state.cart,
            classes=catalogue.classes(visit.page.ledger),
        )
    )


@router.post("/sell/class")
def change_class(visit: Visited) -> Response:
    visit.require_on_duty()
    wanted = visit.fields.get("member_class", "")
    visit.page.desk.change(lambda cart: cart.for_class(wanted))
    return _cart(visit)


@router.post("/sell/clear")
def clear(visit: Visited) -> Response:
    visit.require_on_duty()
    visit.page.desk.change(lambda _cart: Cart())
    return _cart(visit)


@router.post("/sell/drop")
def drop(visit: Visited) -> Response:
    """After a refusal: whose cart it is goes without it. A second tap finds the next one's cart, and
    leaves it.
    """
    visit.require_on_duty()
    request, state = visit.field("request"), visit.page.counter.state
    if state.phase is Phase.REFUSED and state.request == request:
        visit.page.desk.change(lambda _cart: Cart())
        visit.page.do(visit.page.counter.do(Acknowledge(request=request)))
    return visit.html("")


@router.post("/sell/hold")
def hold(visit: Visited) -> Response:
    visit.require_on_duty()
    label = visit.fields.get("label", "")
    visit.page.desk.take(lambda cart: put_aside(visit, cart, label))
    return _cart(visit)


def put_aside(visit: Visit, cart: Cart, label: str = "") -> None:
    """Into the list of carts on hold."""
    by = visit.cashier.name
    visit.page.run(
        lambda till: held_carts.hold_cart(
            till.ledger, cart, label=label, by=by, now=till.clock.now()
        )
    )


@router.get("/sell/held")
def held(visit: Visited) -> Response:
    visit.require_person()
    return visit.html(
        render("_held.html", visit.language, held=held_carts.held_carts(visit.page.ledger))
    )


@router.post("/sell/recall")
def recall(visit: Visited) -> Response:
    """The cart that lies on the counter is put aside in its place: nothing is lost."""
    visit.require_on_duty()
    number = visit.number("number")
    visit.page.desk.take(lambda cart: put_aside(visit, cart))
    cart = visit.page.run(lambda till: held_carts.recall_cart(till.ledger, number))
    try:
        visit.page.desk.change(lambda _empty: cart)
    except CounterBusy:  # something is being paid for meanwhile
        put_aside(visit, cart)
        raise
    return _cart(visit)


@router.post("/sell/pay")
def pay(visit: Visited) -> Response:
    visit.require_on_duty()
    typed = visit.fields.get("typed", "").strip()
    visit.page.desk.pay(visit.field("request"), parse_amount(typed) if typed else ZERO)
    return _cart(visit, clears=True)


@router.post("/sell/again")
def pay_again(visit: Visited) -> Response:
    """After a refusal that the same card may overcome."""
    visit.require_on_duty()
    visit.page.desk.pay_again()
    return visit.html("")


@router.post("/counter/pin")
def give_pin(visit: Visited) -> Response:
    """What the member has typed. It is kept nowhere but in the counter's memory, until the sale ends."""
    return _command(visit, GivePin(request=visit.field("request"), pin=Pin(visit.field("pin"))))


@router.post("/counter/cancel")
def cancel(visit: Visited) -> Response:
    return _command(visit, Cancel(request=visit.fields.get("request") or None))


@router.post("/counter/acknowledge")
def acknowledge(visit: Visited) -> Response:
    return _command(visit, Acknowledge(request=visit.fields.get("request") or None))


@router.post("/counter/paper")
def paper(visit: Visited) -> Response:
    """The paper of what has just been done, and the counter is free again."""
    visit.require_person()
    state = visit.page.counter.state
    path = "/"
    if state.phase is Phase.PAID and state.sale is not None:
        path = f"/receipt/{state.sale.sequence}"
    elif state.phase is Phase.REFUNDED and state.refund is not None:
        path = f"/slip/{state.refund.sequence}"
    visit.page.do(visit.page.counter.do(Acknowledge(request=state.request)))
    return visit.redirect(path)


@router.post("/counter/give-up")
def give_up(visit: Visited) -> Response:
    return _command(visit, GiveUpDoubt())


@router.post("/counter/seen")
def seen(visit: Visited) -> Response:
    return _command(visit, AcknowledgeNotShown())


@router.post("/counter/sync")
def sync(visit: Visited) -> Response:
    visit.require_person()
    visit.page.do(visit.page.counter.do(AskSync()))
    return visit.redirect("/status")


def _command(visit: Visit, command: Command) -> Response:
    visit.require_person()
    visit.page.do(visit.page.counter.do(command))
    return visit.html("")
