"""What needs two people: what waits, what was decided, and deciding it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.provisioning import staff
from dobmi.provisioning.page.visit import Visit, Visited
from dobmi.web.rendering import Voice
from dobmi.web.trail import detail_in_words

router = APIRouter()
LOOKERS: Final = ("issuer", "approver", "proposer", "auditor")
KINDS: Final = {
    "credit": N_("Large top-up"),
    "restitution": N_("Restitution"),
    "limits": N_("Limit"),
    "retirement": N_("Large payout of a wallet"),
}
FACTS: Final = {
    "amount_rupiah": N_("Amount"),
    "received_rupiah": N_("Cash received"),
    "card_uid": N_("Card"),
    "card_serial": N_("Card number"),
    "member_number": N_("Member number"),
    "member_name": N_("Member"),
    "member_class": N_("Class"),
    "source": N_("Where the money comes from"),
    "name": N_("Name"),
    "value": N_("New value"),
    "reason": N_("Reason"),
    "why": N_("Reason"),
    "station": N_("Station"),
    "person": N_("Received by"),
}
SOURCES: Final = {"cash": N_("money in cash"), "salary": N_("wages")}
_HIDDEN: Final = frozenset({"idempotency_key"})


def in_words(approval: Mapping[str, Any], voice: Voice) -> dict[str, Any]:
    """A proposal as the page shows it."""
    rows = []
    for name, value in approval["facts"].items():
        if name in _HIDDEN or value in {"", None}:
            continue
        of = str(approval["facts"].get("name", "")) if name == "value" else name
        is_money = of.endswith("_rupiah") and type(value) is int
        shown = str(Rupiah(value)) if is_money else str(value)
        shown = voice.say(SOURCES.get(shown, shown)) if name == "source" else shown
        rows.append((voice.say(FACTS.get(name, name)), shown))
    return {
        **approval,
        "kind_said": voice.say(KINDS.get(approval["kind"], approval["kind"])),
        "rows": rows,
        "outcome": detail_in_words(str(approval["outcome"]), voice.say),
    }


def proposals(visit: Visit) -> list[dict[str, Any]]:
    """Newest first."""
    return [in_words(one, visit.voice) for one in staff.proposals(visit.station, waiting=False)]


@router.get("/approvals")
def approvals(visit: Visited) -> Response:
    person = visit.require(*LOOKERS)
    found = proposals(visit)
    return visit.show(
        "approvals.html",
        "approvals",
        waiting=[one for one in found if one["accepted"] is None],
        decided=[one for one in found if one["accepted"] is not None],
        can_decide=person.has("approver"),
    )


@router.post("/approvals/{number}")
def decide(number: int, visit: Visited) -> Response:
    """By another person than the one who proposed it: the server and its database see to that."""
    visit.require("approver")
    accept = visit.fields.get("decision") == "accept"
    staff.decide(visit.station, number, accept=accept)
    said = N_("Accepted, and done.") if accept else N_("Refused.")
    return visit.redirect("/approvals", done=visit.say(said))
