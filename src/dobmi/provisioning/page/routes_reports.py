"""What was done, the cash of the day, and how the station is."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.provisioning import cards, staff
from dobmi.provisioning.page.visit import Visit, Visited
from dobmi.sync import http
from dobmi.sync.errors import ServerRefused, SyncError
from dobmi.web.forms import as_number
from dobmi.web.trail import detail_in_words, subject_in_words

router = APIRouter()
ACTS: Final = {
    "log-in": N_("logged in"),
    "log-out": N_("logged out"),
    "locked-out": N_("locked out after wrong passwords"),
    "password": N_("password set"),
    "staff-added": N_("role given"),
    "staff-removed": N_("roles taken away"),
    "proposed": N_("proposed"),
    "accepted": N_("accepted"),
    "refused": N_("refused"),
    "credit": N_("topped up"),
    "cash-counted": N_("counted the cash"),
    "restitution": N_("restitution"),
    "limits": N_("limit set"),
    "issue": N_("issued a card"),
    "rekey": N_("renewed a card's keys"),
    "pin": N_("PIN of a card"),
    "renew": N_("renewed a card"),
    "retire": N_("retired a card"),
    "block": N_("blocked a card"),
    "unblock": N_("unblocked a card"),
    "replace": N_("replaced a card"),
    "import": N_("took a list of members"),
    "pairing-approved": N_("took in a till"),
    "pairing-refused": N_("turned a till away"),
    "terminal-blocked": N_("shut out a till or station"),
    "terminal-unblocked": N_("let a till or station in again"),
    "keys": N_("keys"),
    "ceremony": N_("key ceremony"),
}


@router.get("/acts")
def acts(visit: Visited) -> Response:
    """The audit trail, newest first."""
    visit.require("auditor", "approver")
    asked = visit.request.query_params.get("before", "")
    before = as_number(asked, N_("Number")) if asked else None
    found = [_act(one, visit) for one in staff.acts(visit.station, before=before)]
    return visit.show("acts.html", "acts", acts=found, before=before)


def _act(one: dict[str, Any], visit: Visit) -> dict[str, Any]:
    name = str(one["act"])
    return {
        **one,
        "act_said": visit.say(ACTS.get(name, name)),
        "subject": subject_in_words(str(one["subject"]), visit.say),
        "detail": detail_in_words(str(one["detail"]), visit.say),
        "amount": Rupiah(one["amount_rupiah"]),
    }


@router.get("/cash")
def cash(visit: Visited) -> Response:
    visit.require("issuer", "auditor")
    found = cards.station_cash(visit.station)
    return visit.show("cash.html", "cash", cash=found, rupiah=Rupiah)


@router.post("/cash")
def count(visit: Visited) -> Response:
    visit.require("issuer")
    counted = visit.number("counted", N_("Counted"))
    note = visit.fields.get("note", "").strip()
    cards.count_cash(visit.station, Rupiah(counted), note)
    return visit.redirect("/cash", done=visit.say(N_("Written down.")))


@router.get("/payout")
def ask_payout(visit: Visited) -> Response:
    visit.require("issuer")
    asked = visit.request.query_params
    again = {name: asked.get(name, "")[:40] for name in ("request", "member", "amount")}
    return visit.show("payout.html", "cash", paid=None, again=again, rupiah=Rupiah)


@router.post("/payout")
def pay_out(visit: Visited) -> Response:
    """Cash for a member who gave their card back; by the form's number it is one payout."""
    visit.require("issuer")
    member = visit.number("member", N_("Member number"))
    amount = visit.amount("amount", N_("Amount"))
    request = visit.field("request", N_("Number"))
    number = f"payout-{request}"[:80]
    try:
        paid = cards.pay_out(visit.station, member, amount, number)
    except SyncError as error:
        if isinstance(error, ServerRefused):
            raise
        # It may have been paid: what is sent again must be this one.
        same = urlencode({"request": request, "member": member, "amount": amount.amount})
        return visit.redirect(f"/payout?{same}", failure=error)
    visit.page.keep(visit.session, number, paid)
    return visit.redirect(f"/payout/{number}")


@router.get("/payout/{number}")
def paid_out(number: str, visit: Visited) -> Response:
    visit.require("issuer")
    paid = visit.page.found(visit.session, number)
    if not isinstance(paid, dict):
        return visit.redirect("/payout")
    return visit.show("payout.html", "cash", paid=paid, rupiah=Rupiah)


@dataclass(frozen=True, slots=True)
class Light:
    name: str
    label: str
    level: str
    said: str
    text: str
    todo: str = ""


@router.get("/status")
def status(visit: Visited) -> Response:
    visit.require()
    return visit.show(
        "status.html",
        "status",
        lights=_lights(visit),
        program=version("dobmi"),
        python=platform.python_version(),
        station=visit.page.station_name,
        number=visit.station.enrolment.terminal_id,
        issuer=visit.station.enrolment.issuer,
        server=visit.page.server,
        reader_setting=visit.page.reader,
    )


def _lights(visit: Visit) -> list[Light]:
    voice = visit.voice
    words = {
        "ok": voice.say(N_("in order")),
        "warn": voice.say(N_("look")),
        "bad": voice.say(N_("act")),
    }
    state = visit.page.bench.state
    found = []
    try:
        visit.station.client.get_json(http.READY_PATH)
    except DoBMIError as error:
        text, todo = voice.explain(error), voice.advise(error)
        found.append(
            Light("server", voice.say(N_("Central server")), "bad", words["bad"], text, todo)
        )
    else:
        text = voice.say(N_("It answers."))
        found.append(Light("server", voice.say(N_("Central server")), "ok", words["ok"], text))
    label = voice.say(N_("Card reader"))
    if state.reader_error is not None:
        text, todo = voice.explain(state.reader_error), voice.advise(state.reader_error)
        found.append(Light("reader", label, "bad", words["bad"], text, todo))
    elif not state.reader:
        found.append(
            Light("reader", label, "warn", words["warn"], voice.say(N_("It is being opened …")))
        )
    else:
        found.append(Light("reader", label, "ok", words["ok"], state.reader))
    found.append(
        Light(
            "printer",
            voice.say(N_("Printer")),
            "ok",
            words["ok"],
            voice.say(N_("The browser's: receipts and reports open as pages and PDF.")),
        )
    )
    return found
