"""Members' orders: the pick list, one of them, opened as a cart, handed over or cancelled."""

from __future__ import annotations

from datetime import date
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.i18n import N_
from dobmi.terminal import picking
from dobmi.terminal.cart import Cart
from dobmi.terminal.page.routes_sell import put_aside
from dobmi.terminal.page.visit import Visit, Visited
from dobmi.terminal.papers import paper_of_order
from dobmi.terminal.picking import PickOrder
from dobmi.wib import day_of

router: Final = APIRouter()


@router.get("/orders")
def orders(visit: Visited) -> Response:
    visit.require_person()
    text = visit.request.query_params.get("text", "").strip()[:80]
    found = picking.open_orders(visit.page.ledger)
    if text:
        found = tuple(one for one in found if _is_asked_for(one, text.casefold()))
    return visit.show("orders.html", "orders", orders=found, text=text, today=_today(visit))


def _is_asked_for(one: PickOrder, text: str) -> bool:
    numbers = {str(one.order.number), str(one.order.member_number)}
    return text in one.order.holder.casefold() or text in numbers


def _today(visit: Visit) -> date:
    return day_of(visit.page.run(lambda till: till.clock.now()))


@router.get("/orders/{number}")
def order(visit: Visited, number: int) -> Response:
    visit.require_person()
    found = picking.find_order(visit.page.ledger, number)
    return visit.show(
        "order.html", "orders", one=found, short=dict(found.short), today=_today(visit)
    )


@router.post("/orders/{number}/open")
def open_order(visit: Visited, number: int) -> Response:
    """As the cart; the one that lies on the counter is put aside."""
    visit.require_on_duty()
    visit.fields["to"] = f"/orders/{number}"
    cart = picking.open_as_cart(visit.page.ledger, number)

    def keep(old: Cart) -> None:
        if old.order is None:
            put_aside(visit, old)

    visit.page.desk.take(keep)
    visit.page.desk.change(lambda _empty: cart)
    return visit.redirect("/")


@router.post("/orders/{number}/hand-over")
def hand_over(visit: Visited, number: int) -> Response:
    visit.require_person()
    visit.fields["to"] = f"/orders/{number}"
    by = visit.cashier.name
    done = visit.page.run(
        lambda till: picking.hand_over(till.ledger, number, by=by, now=till.clock.now())
    )
    papers = visit.page.papers
    if papers.prints:
        now = visit.page.run(lambda till: till.clock.now())
        papers.print(paper_of_order(visit.page.ledger, done, by, now, papers.translate))
    text = visit.say(N_("Order {number} is handed over."), number=number)
    return visit.redirect("/orders", done=text)


@router.post("/orders/{number}/cancel")
def cancel(visit: Visited, number: int) -> Response:
    visit.require_person()
    visit.fields["to"] = f"/orders/{number}"
    by = visit.cashier.name
    visit.page.run(lambda till: picking.cancel(till.ledger, number, by=by, now=till.clock.now()))
    text = visit.say(N_("Order {number} is cancelled."), number=number)
    return visit.redirect("/orders", done=text)
