"""The shift: opened with a float, taken over, cash in and out, X and Z reports, closed with a count."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.i18n import N_
from dobmi.terminal import shift as shifts
from dobmi.terminal.page.visit import Visited
from dobmi.terminal.paper import to_screen
from dobmi.terminal.papers import paper_of_shift
from dobmi.terminal.purchase import parse_amount

router: Final = APIRouter()


@router.get("/shift")
def shift(visit: Visited) -> Response:
    cashier = visit.cashier
    ledger = visit.page.ledger
    last = ledger.last_shift()
    is_open = last is not None and last.is_open
    report = (
        visit.page.run(lambda till: shifts.x_report(till.ledger, till.clock.now()))
        if is_open
        else None
    )
    is_mine = (
        last is not None
        and is_open
        and (last.on_duty, last.on_duty_number) == (cashier.name, cashier.number)
    )
    return visit.show(
        "shift.html",
        "shift",
        shift=last if is_open else None,
        report=report,
        is_mine=is_mine,
        reports=shifts.z_report_numbers(ledger)[:20],
    )


@router.post("/shift/open")
def open_shift(visit: Visited) -> Response:
    visit.fields["to"] = "/shift"
    cashier, float_cash = visit.cashier, parse_amount(visit.fields.get("float", "").strip() or "0")
    opened = visit.page.run(
        lambda till: shifts.open_shift(till.ledger, cashier, float_cash, till.clock.now())
    )
    visit.page.papers.open_drawer()
    text = visit.say(N_("Shift {number} is open."), number=opened.number)
    return visit.redirect("/", done=text)


@router.post("/shift/take-over")
def take_over(visit: Visited) -> Response:
    visit.fields["to"] = "/shift"
    cashier = visit.cashier
    visit.page.run(lambda till: shifts.take_over(till.ledger, cashier, till.clock.now()))
    return visit.redirect("/", done=visit.say(N_("You sell in this shift now.")))


@router.post("/shift/cash")
def move_cash(visit: Visited) -> Response:
    visit.fields["to"] = "/shift"
    visit.require_on_duty()
    amount, reason, cashier = (
        parse_amount(visit.field("amount")),
        visit.fields.get("reason", "").strip(),
        visit.cashier,
    )
    signed = -amount if visit.fields.get("way") == "out" else amount
    visit.page.run(
        lambda till: shifts.move_cash(
            till.ledger, signed, reason=reason, by=cashier, now=till.clock.now()
        )
    )
    visit.page.papers.open_drawer()
    return visit.redirect("/shift", done=visit.say(N_("It is written down.")))


@router.get("/shift/close")
def closing(visit: Visited) -> Response:
    visit.require_on_duty()
    report = visit.page.run(lambda till: shifts.x_report(till.ledger, till.clock.now()))
    return visit.show("shift_close.html", "shift", report=report)


@router.post("/shift/close")
def close_shift(visit: Visited) -> Response:
    visit.fields["to"] = "/shift/close"
    visit.require_on_duty()
    counted = parse_amount(visit.field("counted"))
    report = visit.page.run(lambda till: till.close_shift(counted))
    papers = visit.page.papers
    papers.open_drawer()
    if papers.prints:
        papers.print(paper_of_shift(visit.page.ledger, report, papers.translate))
    text = visit.say(N_("Shift {number} is closed."), number=report.shift.number)
    return visit.redirect(f"/shift/z/{report.shift.number}", done=text)


@router.get("/shift/x")
def show_x(visit: Visited) -> Response:
    visit.require_person()
    report = visit.page.run(lambda till: shifts.x_report(till.ledger, till.clock.now()))
    paper = paper_of_shift(visit.page.ledger, report, visit.page.papers.translate)
    return visit.show(
        "paper.html",
        "shift",
        title=paper.title,
        rows=to_screen(paper),
        print_path="/shift/x/print",
        back="/shift",
    )


@router.post("/shift/x/print")
def print_x(visit: Visited) -> Response:
    visit.require_person()
    visit.fields["to"] = "/shift"
    report = visit.page.run(lambda till: shifts.x_report(till.ledger, till.clock.now()))
    papers = visit.page.papers
    papers.print(paper_of_shift(visit.page.ledger, report, papers.translate))
    return visit.redirect("/shift", done=visit.say(N_("It is being printed.")))


@router.get("/shift/z/{number}")
def show_z(visit: Visited, number: int) -> Response:
    visit.require_person()
    report = shifts.z_report(visit.page.ledger, number)
    paper = paper_of_shift(visit.page.ledger, report, visit.page.papers.translate)
    return visit.show(
        "paper.html",
        "shift",
        title=paper.title,
        rows=to_screen(paper),
        print_path=f"/shift/z/{number}/print",
        back="/shift",
    )


@router.post("/shift/z/{number}/print")
def print_z(visit: Visited, number: int) -> Response:
    visit.require_person()
    visit.fields["to"] = f"/shift/z/{number}"
    papers = visit.page.papers
    report = shifts.z_report(visit.page.ledger, number)
    papers.print(paper_of_shift(visit.page.ledger, report, papers.translate))
    return visit.redirect(f"/shift/z/{number}", done=visit.say(N_("It is being printed.")))
