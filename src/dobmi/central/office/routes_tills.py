"""Tills that ask to be taken in, all terminals, and what is to be done when one is gone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from dobmi.central.cards import parse_card, set_blocked, statement_of
from dobmi.central.errors import UnknownPairingCode, UnknownTerminal
from dobmi.central.key_generations import key_report
from dobmi.central.office.rendering import CARD_STATE_WORDS
from dobmi.central.office.visit import (
    BLOCK_CARDS,
    CARDS,
    DECIDE_TILLS,
    TILLS,
    Visited,
    hidden_name,
)
from dobmi.central.pairing import approve_pairing, refuse_pairing, waiting_pairings
from dobmi.central.revocation import cards_seen, cards_seen_csv, readmit, revoke
from dobmi.central.sellers import seller_list
from dobmi.central.terminals import list_terminals
from dobmi.i18n import N_
from dobmi.web.errors import FormIncomplete

router = APIRouter()
_Number = Annotated[int, Path(gt=0, lt=1 << 53)]
_SHOWN_MAX = 500
_DONE = {
    "refused": N_("Refused. The till says so, and nothing was sent to it."),
    "revoked": N_("Revoked: nothing is taken from it or told to it from now on."),
    "readmitted": N_("It is let in again, with the keys that it had."),
    "blocked": N_("The card is blocked. Tills refuse it from their next sync on."),
}


@router.get("/tills")
def tills(visit: Visited, done: str = "") -> Response:
    visit.require(*TILLS)
    central = visit.central
    held = {till.terminal_id: till.generation for till in key_report(central).tills}
    waiting = waiting_pairings(central)
    return visit.show(
        "tills.html",
        "tills",
        done=visit.voice.say(_DONE[done]) if done in _DONE else "",
        waiting=[(one, hidden_name(visit, one.code)) for one in waiting],
        terminals=list_terminals(central),
        held=held,
        sellers=[one.name for one in seller_list(central.database)],
        may_decide=visit.may(*DECIDE_TILLS),
    )


@router.post("/pairings/approve")
def approve(visit: Visited) -> Response:
    visit.require(*DECIDE_TILLS)
    seller = visit.fields.get("seller", "").strip()
    if not seller:
        raise FormIncomplete(field=N_("seller"))
    done = approve_pairing(
        visit.central,
        visit.fields.get("code", ""),
        seller=seller,
        name=visit.fields.get("name", "").strip(),
        actor=visit.actor,
    )
    return visit.show("paired.html", "tills", till=done)


@router.post("/pairings/refuse")
def refuse(visit: Visited) -> Response:
    visit.require(*DECIDE_TILLS)
    asked = visit.fields.get("pairing", "")
    for one in waiting_pairings(visit.central):
        if hidden_name(visit, one.code) == asked:
            refuse_pairing(visit.central, one.code, actor=visit.actor)
            return visit.go("/tills?done=refused")
    raise UnknownPairingCode(code="-")


@router.get("/terminals/{number}")
def terminal(visit: Visited, number: _Number, done: str = "") -> Response:
    visit.require(*TILLS)
    central = visit.central
    found = next((one for one in list_terminals(central) if one.id == number), None)
    if found is None:
        raise UnknownTerminal(terminal_id=number)
    held = {till.terminal_id: till.generation for till in key_report(central).tills}
    seen = cards_seen(central.for_reports().database, number)
    return visit.show(
        "terminal.html",
        "tills",
        done=visit.voice.say(_DONE[done]) if done in _DONE else "",
        terminal=found,
        generation=held.get(number),
        seen=seen[:_SHOWN_MAX],
        count=len(seen),
        states=CARD_STATE_WORDS,
        may_decide=visit.may(*DECIDE_TILLS),
    )


@router.get("/terminals/{number}/cards.csv")
def terminal_cards(visit: Visited, number: _Number) -> Response:
    visit.require(*TILLS)
    text = cards_seen_csv(cards_seen(visit.central.for_reports().database, number))
    name = f"terminal-{number}-cards.csv"
    return Response(
        "\N{BYTE ORDER MARK}" + text,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@router.post("/terminals/{number}/revoke")
def revoke_one(visit: Visited, number: _Number) -> Response:
    visit.require(*DECIDE_TILLS)
    reason = visit.fields.get("reason", "").strip()
    now = visit.central.unix_seconds()
    revoke(visit.central.database, number, reason, visit.actor, now)
    return visit.go(f"/terminals/{number}?done=revoked")


@router.post("/terminals/{number}/readmit")
def readmit_one(visit: Visited, number: _Number) -> Response:
    visit.require(*DECIDE_TILLS)
    reason = visit.fields.get("reason", "").strip()
    now = visit.central.unix_seconds()
    readmit(visit.central.database, number, reason, visit.actor, now)
    return visit.go(f"/terminals/{number}?done=readmitted")


@router.get("/cards/{card}")
def card_page(visit: Visited, card: str, done: str = "") -> Response:
    visit.require(*CARDS)
    found = statement_of(visit.central.for_reports(), parse_card(card))
    return visit.show(
        "card.html",
        "tills",
        done=visit.voice.say(_DONE[done]) if done in _DONE else "",
        card=found,
        states=CARD_STATE_WORDS,
        may_block=visit.may(*BLOCK_CARDS),
    )


@router.post("/cards/{card}/block")
def block_card(visit: Visited, card: str) -> Response:
    visit.require(*BLOCK_CARDS)
    reason = visit.fields.get("reason", "").strip()
    uid = statement_of(visit.central, parse_card(card)).uid
    set_blocked(visit.central, uid, reason, blocked=True, by_terminal=None, actor=visit.actor)
    return visit.go(f"/cards/{uid.hex().upper()}?done=blocked")
