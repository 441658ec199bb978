"""What was sold: the shift's list, a sale with its refund, its receipt; and what is on a card."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.sync.outlet import StaffMember
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal.counter_state import AskBalance, AskRefund, Phase
from dobmi.terminal.ledger import SaleState
from dobmi.terminal.page.desk import new_request
from dobmi.terminal.page.errors import FormIncomplete
from dobmi.terminal.page.rendering import render
from dobmi.terminal.page.routes_people import ask_who, who_tapped
from dobmi.terminal.page.visit import Visit, Visited, number_of
from dobmi.terminal.paper import PaperKind, to_screen
from dobmi.terminal.purchase import parse_amount
from dobmi.terminal.refund import goods_of_lines, refundable
from dobmi.terminal.sales import find_sale, sales_of_shift
from dobmi.terminal.staff import has_staff, log_in_by_pin, staff_members

router: Final = APIRouter()


@router.get("/balance")
def balance(visit: Visited) -> Response:
    visit.require_person()
    return visit.show("balance.html", "balance", ask=new_request())


@router.post("/balance")
def ask_balance(visit: Visited) -> Response:
    visit.require_person()
    request = visit.field("request")
    if visit.page.counter.state.request != request:
        visit.page.do(visit.page.counter.do(AskBalance(request=request)))
    # The same number would show the same card again: the button's next press has another.
    return visit.html(render("_ask.html", visit.language, ask=new_request(), is_next=True))


@router.post("/balance/print")
def print_balance(visit: Visited) -> Response:
    state = visit.page.counter.state
    cashier = visit.cashier.name
    if state.phase is Phase.BALANCE and state.card is not None:
        now = visit.page.run(lambda till: till.clock.now())
        papers = visit.page.papers
        papers.print(papers.of_card(state.card, cashier, now))
    return visit.html("")


@router.get("/sales")
def sales(visit: Visited) -> Response:
    visit.require_person()
    ledger = visit.page.ledger
    wanted = visit.request.query_params.get("number", "").strip()
    if wanted:
        sequence = number_of(wanted, "number")
        find_sale(ledger, sequence)
        return visit.redirect(f"/sales/{sequence}")
    shift = ledger.last_shift()
    found = () if shift is None else sales_of_shift(ledger, shift.number)
    return visit.show("sales.html", "sales", shift=shift, sales=found)


@router.get("/sales/{sequence}")
def one_sale(visit: Visited, sequence: int) -> Response:
    visit.require_person()
    ledger = visit.page.ledger
    sale = find_sale(ledger, sequence)
    shift = ledger.last_shift()
    is_of_open_shift = shift is not None and shift.is_open and shift.number == sale.intent.shift
    return visit.show(
        "sale.html",
        "sales",
        sale=sale,
        is_paid=sale.state is SaleState.PAID,
        lines=refundable(ledger, sequence),
        refunds=ledger.refunds_of(sequence),
        needs_supervisor=not is_of_open_shift,
        has_staff=has_staff(ledger),
        request_id=new_request(),
    )


@router.post("/sales/{sequence}/refund")
def refund(visit: Visited, sequence: int) -> Response:
    """By the cashier; of an older sale with a supervisor's number and PIN, or the supervisor's own log-in."""
    visit.require_on_duty()
    visit.fields["to"] = f"/sales/{sequence}"
    return _ask_refund(visit, _refund(visit, sequence, _supervisor(visit)))


@router.post("/sales/{sequence}/refund/card")
def refund_by_card(visit: Visited, sequence: int) -> Response:
    """With a supervisor's card: first to have it asked for, then, with its request, when it came."""
    visit.require_on_duty()
    path = f"/sales/{sequence}"
    visit.fields["to"] = path
    tapped = visit.fields.get("request", "")
    pending = visit.page.pending
    if (tapped, sequence) not in pending:
        wanted = _refund(visit, sequence, "")  # what is wrong with the form is said at once
        if wanted.amount is None:  # what they are shown is what is given back
            wanted = replace(wanted, amount=find_sale(visit.page.ledger, sequence).left)
        pending.clear()
        pending[ask_who(visit, f"{path}/refund/card"), sequence] = wanted
        return visit.redirect(path)
    agreed = pending.pop((tapped, sequence))
    return _ask_refund(visit, replace(agreed, supervisor=who_tapped(visit, tapped)))


def _supervisor(visit: Visit) -> StaffMember | str:
    number, pin = visit.fields.get("supervisor", "").strip(), visit.fields.get("pin", "").strip()
    if number and pin:
        staff_number = number_of(number, "supervisor")
        return visit.page.run(
            lambda till: log_in_by_pin(till.ledger, staff_number, pin, till.clock.now())
        )
    if visit.person.is_supervisor and visit.fields.get("older"):
        return next(
            member
            for member in staff_members(visit.page.ledger)
            if member.number == visit.cashier.number
        )
    return visit.fields.get("supervisor_name", "").strip()


def _refund(visit: Visit, sequence: int, supervisor: StaffMember | str) -> AskRefund:
    """What is given back: all that is left, an amount, or goods lines. Raises FormIncomplete."""
    fields = visit.fields
    reason = fields.get("reason", "").strip()
    if not reason:
        raise FormIncomplete(field="reason")
    amount: Rupiah | None = None
    goods: tuple[GoodsLine, ...] = ()
    match fields.get("what", "all"):
        case "amount":
            amount = parse_amount(fields.get("amount", ""))
        case "goods":
            quantities = {
                number_of(name.removeprefix("line-"), "quantity"): number_of(value, "quantity")
                for name, value in fields.items()
                if name.startswith("line-") and value.strip() not in {"", "0"}
            }
            goods = goods_of_lines(visit.page.ledger, sequence, quantities)
            amount = sum((line.amount for line in goods), Rupiah(0))
        case _:
            pass
    return AskRefund(
        request=fields.get("request_id", "") or new_request(),
        sale=sequence,
        reason=reason,
        amount=amount,
        supervisor=supervisor,
        goods=goods,
    )


def _ask_refund(visit: Visit, command: AskRefund) -> Response:
    visit.page.do(visit.page.counter.do(command))
    return visit.redirect(f"/sales/{command.sale}")


@router.get("/receipt/{sequence}")
def receipt(visit: Visited, sequence: int) -> Response:
    """Of a sale; `/slip/...` is that of a refund."""
    return _show_paper(visit, PaperKind.SALE, sequence)


@router.post("/receipt/{sequence}/print")
def print_receipt(visit: Visited, sequence: int) -> Response:
    return _print(visit, PaperKind.SALE, sequence)


@router.get("/slip/{sequence}")
def slip(visit: Visited, sequence: int) -> Response:
    return _show_paper(visit, PaperKind.REFUND, sequence)


@router.post("/slip/{sequence}/print")
def print_slip(visit: Visited, sequence: int) -> Response:
    return _print(visit, PaperKind.REFUND, sequence)


def _show_paper(visit: Visit, kind: PaperKind, sequence: int) -> Response:
    visit.require_person()
    paper = visit.page.papers.of_sequence(kind, sequence)
    return visit.show(
        "paper.html",
        "sales",
        title=paper.title,
        rows=to_screen(paper),
        print_path=f"{visit.request.url.path}/print",
        back="/",
    )


def _print(visit: Visit, kind: PaperKind, sequence: int) -> Response:
    visit.require_person()
    shown = visit.request.url.path.removesuffix("/print")
    visit.fields["to"] = shown
    visit.page.papers.print(visit.page.papers.of_sequence(kind, sequence))
    return visit.redirect(shown, done=visit.say(N_("It is being printed.")))
