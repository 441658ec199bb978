"""Issuing one card and topping one up: what is asked, and what becomes of it on the reader."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.cardlib.readers import CardConnection
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.provisioning import cards
from dobmi.provisioning.bench import Task
from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.page.errors import CashTooLittle
from dobmi.provisioning.page.results import CardDone
from dobmi.provisioning.page.routes_batches import batch_list
from dobmi.provisioning.page.visit import Visited
from dobmi.sync.relay import NAME_BYTES_MAX
from dobmi.web.errors import FormIncomplete

router = APIRouter()
ISSUER: Final = "issuer"
_QUICK_AMOUNTS: Final = tuple(map(Rupiah, (20_000, 50_000, 100_000, 200_000, 500_000)))


@router.get("/issue")
def issue(visit: Visited) -> Response:
    visit.require(ISSUER)
    batches, trouble = batch_list(visit)
    return visit.show("issue.html", "issue", batches=batches, trouble=trouble)


@router.post("/issue")
def issue_one(visit: Visited) -> Response:
    visit.require(ISSUER)
    member = visit.number("member", N_("Member number"))
    name = " ".join(visit.field("name", N_("Name")).split())
    if not 0 < member < 1 << 32:
        raise FormIncomplete(field=visit.say(N_("Member number")))
    if len(name.encode()) > NAME_BYTES_MAX:
        raise FormIncomplete(
            field=visit.say(
                N_("Name (the card has room for {number} characters)"), number=NAME_BYTES_MAX
            )
        )
    station = visit.station

    def act(connection: CardConnection) -> cards.IssuedCard:
        return cards.issue(station, connection, member, name)

    visit.ask(
        Task(
            request=visit.field("request", N_("Number")),
            owner=visit.session.key,
            kind="issue",
            act=act,
            facts={"name": name},
        )
    )
    return visit.redirect("/issue")


@router.get("/topup")
def topup(visit: Visited) -> Response:
    visit.require(ISSUER)
    return visit.show("topup.html", "topup", quick=_QUICK_AMOUNTS)


@router.post("/topup")
def top_up(visit: Visited) -> Response:
    """The money is owed to the card once the server has the order; the same card gets it now."""
    visit.require(ISSUER)
    amount = visit.amount("amount", N_("Amount"))
    received = visit.amount("received", N_("Cash received"))
    if received.amount < amount.amount:
        raise CashTooLittle
    order = f"cash-{visit.field('request', N_('Number'))}"[:80]
    station = visit.station

    def act(connection: CardConnection) -> CardDone:
        return _top_up(station, connection, amount, received, order)

    visit.ask(
        Task(
            request=order,
            owner=visit.session.key,
            kind="topup",
            act=act,
            facts={"amount": amount, "path": f"/topup/{order}"},
        )
    )
    return visit.redirect("/topup")


def _top_up(
    station: Station, connection: CardConnection, amount: Rupiah, received: Rupiah, order: str
) -> CardDone:
    """Under its number it is one order, however often it is sent; the delivery goes on where it was."""
    ordered = cards.order_credit(station, connection.uid, amount, "cash", order, received=received)
    change = Rupiah(received.amount - amount.amount)
    back = [(N_("Give back {change}."), {"change": change})] if change.amount else []
    if ordered.get("approval") is not None and "sequence" not in ordered:
        waits = N_("It waits for a second person (approval {number}): the card gets it after that.")
        return CardDone(
            lines=((waits, {"number": ordered["approval"]}), *back), amount=amount, is_held=True
        )
    result = cards.deliver_credits(station, connection)
    return CardDone(
        lines=((N_("Balance on the card: {balance}"), {"balance": result.balance}), *back),
        amount=amount,
        balance=result.balance,
    )


@router.get("/topup/{order}")
def receipt(order: str, visit: Visited) -> Response:
    """As the server has it: it can be printed again at any time."""
    visit.require(ISSUER)
    if not (order.isascii() and order.replace("-", "").isalnum()):
        raise FormIncomplete(field=visit.say(N_("Number")))
    task = visit.page.bench.state.task
    if task is not None and task.request == order:
        visit.page.bench.cancel(visit.session.key)  # what was shown has been seen
    found = cards.ordered_credit(visit.station, order)
    ledger = cards.ledger_card(visit.station, bytes.fromhex(found["card_uid"]))
    waits = any(one["sequence"] == found["sequence"] for one in ledger["credits_waiting"])
    return visit.show(
        "receipt.html",
        "topup",
        order=found,
        balance=Rupiah(ledger["balance_rupiah"]),
        is_on_card=found["sequence"] is not None and not waits,
        rupiah=Rupiah,
        issuer=visit.station.enrolment.issuer,
        station=visit.page.station_name,
    )


@router.post("/bench/cancel")
def cancel(visit: Visited) -> Response:
    """Give up waiting for the card, or put away what was shown."""
    visit.require()
    visit.page.bench.cancel(visit.session.key)
    return visit.html("") if visit.is_partial else visit.redirect("/")


@router.post("/bench/again")
def again(visit: Visited) -> Response:
    """What was refused, once more, under its number: nothing is done twice."""
    visit.require()
    state = visit.page.bench.state
    task = state.task
    if task is not None and task.owner == visit.session.key and not state.is_running:
        visit.page.bench.cancel(visit.session.key)
        visit.page.bench.ask(task)
    return visit.html("")
