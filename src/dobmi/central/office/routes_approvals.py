"""What one person proposes and another decides."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from dobmi.central.approvals import approval_of, decide, list_approvals, propose_at
from dobmi.central.cards import parse_card, statement_of
from dobmi.central.carriers import CARRIERS
from dobmi.central.carrying import Facts
from dobmi.central.errors import BadProposal
from dobmi.central.limits import LIMITS
from dobmi.central.office.rendering import KIND_WORDS, facts_of
from dobmi.central.office.visit import APPROVALS, Visit, Visited
from dobmi.central.restitution import Restitution
from dobmi.central.schema import ApprovalKind, StaffRole
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.web.errors import FormIncomplete
from dobmi.web.forms import as_number
from dobmi.web.trail import detail_in_words

router = APIRouter()
_Number = Annotated[int, Path(gt=0, lt=1 << 53)]
_DONE = {
    "proposed": N_("Proposed: another person decides."),
    "accepted": N_("Accepted, and carried out."),
    "refused": N_("Refused: nothing was done."),
}
_FORMS = (ApprovalKind.RESTITUTION, ApprovalKind.LIMITS)


@router.get("/approvals")
def approvals(visit: Visited, done: str = "") -> Response:
    visit.require(*APPROVALS)
    proposable = [
        kind for kind in _FORMS if kind in CARRIERS and visit.may(*CARRIERS[kind].proposers)
    ]
    return visit.show(
        "approvals.html",
        "approvals",
        done=visit.voice.say(_DONE[done]) if done in _DONE else "",
        waiting=_listed(visit, waiting=True),
        decided=_listed(visit, waiting=False)[:30],
        proposable=[kind.value for kind in proposable],
        limits=LIMITS,
        may_decide=visit.may(StaffRole.APPROVER),
    )


@router.get("/approvals/{number}")
def approval(visit: Visited, number: _Number) -> Response:
    visit.require(*APPROVALS)
    one = approval_of(visit.central.database, number)
    return visit.show(
        "approval.html",
        "approvals",
        one=one,
        kind=KIND_WORDS[one.kind],
        facts=facts_of(one, visit.voice),
        outcome=detail_in_words(one.outcome, visit.voice.say),
        may_decide=visit.may(StaffRole.APPROVER),
    )


@router.post("/approvals/{number}/decide")
def decide_one(visit: Visited, number: _Number) -> Response:
    visit.require(StaffRole.APPROVER)
    decision = visit.fields.get("decision", "")
    if decision not in {"accept", "refuse"}:
        raise FormIncomplete(field=N_("accept or refuse"))
    accept = decision == "accept"
    decide(visit.central, number, accept, visit.actor, visit.central.unix_seconds())
    return visit.go(f"/approvals?done={'accepted' if accept else 'refused'}")


@router.post("/approvals/restitution")
def propose_restitution(visit: Visited) -> Response:
    visit.require(*CARRIERS[ApprovalKind.RESTITUTION].proposers)
    uid = statement_of(visit.central, parse_card(visit.fields.get("card", "").strip())).uid
    reason = visit.fields.get("reason", "").strip()
    asked = Restitution(uid, _amount(visit, "amount"), reason)
    return _propose(visit, ApprovalKind.RESTITUTION, asked.facts())


@router.post("/approvals/limits")
def propose_limit(visit: Visited) -> Response:
    visit.require(*CARRIERS[ApprovalKind.LIMITS].proposers)
    name = visit.fields.get("name", "")
    if name not in LIMITS:
        raise BadProposal(detail=N_("there is no limit of that name"))
    value = visit.fields.get("value", "").strip()
    number = (
        _amount(visit, "value").amount if LIMITS[name].is_money else as_number(value, N_("value"))
    )
    facts: dict[str, str | int | bool] = {"name": name, "value": number}
    member_class = visit.fields.get("member_class", "").strip()
    if member_class:
        facts["member_class"] = member_class
    return _propose(visit, ApprovalKind.LIMITS, facts)


def _propose(visit: Visit, kind: ApprovalKind, facts: Facts) -> Response:
    propose_at(visit.central, kind, facts, visit.actor)
    return visit.go("/approvals?done=proposed")


def _amount(visit: Visit, name: str) -> Rupiah:
    try:
        return Rupiah.parse(visit.fields.get(name, ""))
    except ValueError as error:
        raise FormIncomplete(field=N_("amount")) from error


def _listed(visit: Visit, *, waiting: bool) -> list[dict[str, object]]:
    return [
        {"one": one, "kind": KIND_WORDS[one.kind], "facts": facts_of(one, visit.voice)}
        for one in list_approvals(visit.central.database, waiting=waiting)
    ]
