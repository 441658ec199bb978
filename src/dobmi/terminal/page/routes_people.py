"""Who is here: logging in and out, the language, and the display towards the member."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.errors import DoBMIError
from dobmi.sync.outlet import Duty, StaffMember
from dobmi.terminal.counter_state import Acknowledge, AskLogin, Cancel
from dobmi.terminal.page.desk import new_request
from dobmi.terminal.page.errors import SessionOver
from dobmi.terminal.page.security import Person
from dobmi.terminal.page.visit import Page, Visit, Visited
from dobmi.terminal.staff import cashier_of, log_in_by_card, log_in_by_pin

router: Final = APIRouter()


@router.get("/login")
def login(visit: Visited) -> Response:
    if visit.session.person is not None:
        return visit.redirect("/")
    if visit.page.setup is not None and not seller_of(visit.page):
        return visit.redirect("/setup")
    return visit.show("login.html", "login", seller=seller_of(visit.page))


@router.post("/login")
def log_in(visit: Visited) -> Response:
    number, pin = visit.number("number"), visit.field("pin")
    visit.fields["to"] = "/login"
    member = visit.page.run(lambda till: log_in_by_pin(till.ledger, number, pin, till.clock.now()))
    return _enter(visit, member)


@router.post("/login/card")
def log_in_by_tap(visit: Visited) -> Response:
    """First to have a card asked for; then, with its request, when the card has come."""
    visit.fields["to"] = "/login"
    request = visit.fields.get("request", "")
    if not request:
        ask_who(visit, "/login/card")
        return visit.redirect("/login")
    return _enter(visit, who_tapped(visit, request))


def ask_who(visit: Visit, answer_path: str) -> str:
    """Have the counter read a card that says who somebody is, for this session alone."""
    request = new_request()
    purposes = visit.page.card_purposes
    purposes.clear()  # one at a time, as the counter has it
    purposes[request] = (visit.session.key, answer_path)
    visit.page.do(visit.page.counter.do(AskLogin(request=request)))
    return request


def who_tapped(visit: Visit, request: str) -> StaffMember:
    """Raises SessionOver for a request that is not this session's, NotOfStaff."""
    session, _ = visit.page.card_purposes.get(request, ("", ""))
    ended = visit.page.counter.ended(request)
    if session != visit.session.key or ended is None or ended.card is None:
        raise SessionOver
    del visit.page.card_purposes[request]
    visit.page.do(visit.page.counter.do(Acknowledge(request=request)))
    if ended.error is not None:
        raise ended.error
    return log_in_by_card(visit.page.ledger, ended.card.member_number)


def _enter(visit: Visit, member: StaffMember) -> Response:
    person = Person(cashier=cashier_of(member), is_supervisor=member.duty is Duty.SUPERVISOR)
    visit.session = visit.page.sessions.start(person, instead_of=visit.session.key)
    visit.sets_cookie = True
    return visit.redirect("/")


@router.get("/leave")
def leave(visit: Visited) -> Response:
    visit.require_person()
    return visit.show("leave.html", "leave")


@router.post("/leave")
def log_out(visit: Visited) -> Response:
    visit.require_person()
    visit.page.sessions.end(visit.session.key)
    visit.session = visit.page.sessions.start()
    visit.sets_cookie = True
    return visit.redirect("/login")


@router.post("/login/cancel")
def cancel(visit: Visited) -> Response:
    """Only what this session asked for: nobody is logged in here yet."""
    for request, (session, _) in list(visit.page.card_purposes.items()):
        if session == visit.session.key:
            visit.page.do(visit.page.counter.do(Cancel(request=request)))
            visit.page.do(visit.page.counter.do(Acknowledge(request=request)))
    return visit.html("")


@router.post("/language")
def language(visit: Visited) -> Response:
    return visit.choose_language(visit.page.language)


@router.get("/display")
def display(visit: Visited) -> Response:
    state = visit.page.counter.state
    return visit.show("display.html", "display", seller=seller_of(visit.page), state=state)


def seller_of(page: Page) -> str:
    """Nothing for a till that has no identity yet."""
    try:
        return page.ledger.identity().seller
    except DoBMIError:
        return ""
