"""A card and its life: what it is, blocking, replacing, and what is done with it on the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.cardlib.readers import CardConnection
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.provisioning import cards, pins
from dobmi.provisioning.bench import Task
from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.errors import NotAUid
from dobmi.provisioning.look import report_of
from dobmi.provisioning.page.errors import PinsDiffer
from dobmi.provisioning.page.results import CardDone
from dobmi.provisioning.page.visit import Visit, Visited, new_number
from dobmi.provisioning.page.words import ledger_words
from dobmi.provisioning.retiring import retire
from dobmi.sync.card_report import CardReport
from dobmi.sync.relay import RekeyResult
from dobmi.sync.retirement import Purpose, RetireResult

router = APIRouter()
WORKS_WITH_CARDS: Final = ("issuer", "approver", "clerk")
EXPIRING_DAYS: Final = 60
REASON: Final = N_("Reason")
IDENTIFIED: Final = N_("How the member was identified")
CARD_WORKS: Final = (("rekey", N_("New keys")),)
"""What is done at once with the card on the reader, and its button."""
CARD_ASKS: Final = (("pin", N_("PIN")), ("retire", N_("Renew or retire")))
"""What asks for something more first, in a page of its own."""


@router.get("/card")
def card(visit: Visited) -> Response:
    """The one on the reader, or one that is looked up."""
    visit.require(*WORKS_WITH_CARDS)
    return visit.show("card.html", "card")


@router.get("/card/find")
def find(visit: Visited) -> Response:
    visit.require(*WORKS_WITH_CARDS)
    text = visit.request.query_params.get("card", "").replace(" ", "").replace(":", "")
    if not (text.isascii() and text.isalnum() and len(text) <= 20):
        raise NotAUid(text=text[:40])
    ledger = visit.station.client.get_json(f"/v1/cards/{text.upper()}")
    return visit.redirect(f"/cards/{ledger['card_uid']}")


@router.get("/card/expiring")
def expiring(visit: Visited) -> Response:
    """Cards that expire soon, or have: their members are told before a till refuses them."""
    visit.require(*WORKS_WITH_CARDS)
    found = cards.expiring_cards(visit.station, EXPIRING_DAYS)
    for one in found:
        one["expires"] = date.fromisoformat(one["expires"])
    return visit.show("expiring.html", "card", found=found, days=EXPIRING_DAYS, rupiah=Rupiah)


@router.get("/cards/{uid}")
def one_card(uid: str, visit: Visited) -> Response:
    visit.require(*WORKS_WITH_CARDS)
    ledger = cards.ledger_card(visit.station, uid_of(uid))
    return visit.show(
        "one_card.html",
        "card",
        found=ledger_words(ledger, visit.voice),
        ledger=ledger,
        rupiah=Rupiah,
        replacement=ledger.get("replacement"),
        card_works=CARD_WORKS,
        card_asks=CARD_ASKS,
    )


def uid_of(text: str) -> bytes:
    """Raises NotAUid."""
    try:
        uid = bytes.fromhex(text)
    except ValueError:
        uid = b""
    if len(uid) != 7:
        raise NotAUid(text=text[:40])
    return uid


_CHANGES: Final[Mapping[str, Callable[[Station, bytes, str], dict[str, Any]]]] = {
    "block": cards.block,
    "unblock": cards.unblock,
    "replace": cards.replace,
}
_CHANGED: Final = {
    "block": N_("The card is blocked. Tills refuse it from their next sync on."),
    "unblock": N_("The card is no longer blocked."),
    "replace": N_("The card is blocked for good. Issue the member another one."),
}


@router.get("/cards/{uid}/pin")
def ask_pin(uid: str, visit: Visited) -> Response:
    visit.require("issuer")
    ledger = cards.ledger_card(visit.station, uid_of(uid))
    return visit.show("pin.html", "card", found=ledger_words(ledger, visit.voice))


@router.post("/cards/{uid}/pin")
def work_on_pin(uid: str, visit: Visited) -> Response:
    """What is typed goes to the server sealed for it alone, with the member's card on the reader."""
    visit.require("issuer")
    known, station, fields = uid_of(uid), visit.station, visit.fields
    old, new = fields.pop("old", ""), fields.pop("new", "")
    way = fields.get("way", "set")
    if way != "prove":
        if new != fields.pop("again", ""):
            raise PinsDiffer
        pins.check_new_pin(new)
    who = visit.field("identified", IDENTIFIED) if way == "reset" else ""
    acts: dict[str, Callable[[CardConnection], object]] = {
        "set": lambda connection: pins.set_pin(station, connection, new),
        "change": lambda connection: pins.change_pin(station, connection, old, new),
        "reset": lambda connection: pins.reset_pin(station, connection, new, who[:80]),
        "prove": lambda connection: pins.prove_pin(station, connection, old),
    }
    act = acts.get(way, acts["set"])
    visit.ask(
        Task(
            request=visit.field("request", N_("Number")),
            owner=visit.session.key,
            kind="pin",
            act=act,
            uid=known,
            facts={"name": fields.get("name", "")[:80]},
        )
    )
    return visit.redirect(f"/cards/{known.hex().upper()}")


@router.post("/cards/{uid}/inspect")
def inspect_card(uid: str, visit: Visited) -> Response:
    """All that the card tells with its keys, beside what the ledger knows."""
    visit.require("issuer")
    known, station, session, page = uid_of(uid), visit.station, visit.session, visit.page
    number = visit.field("request", N_("Number"))

    def act(connection: CardConnection) -> CardDone:
        report = report_of(station, connection)
        page.keep(session, number, report)
        balance = {"balance": report.balance}
        return CardDone(lines=((N_("Balance on the card: {balance}"), balance),))

    path = f"/cards/{known.hex().upper()}/report/{number}"
    facts = {"name": visit.fields.get("name", "")[:80], "path": path}
    visit.ask(
        Task(request=number, owner=session.key, kind="inspect", act=act, uid=known, facts=facts)
    )
    return visit.redirect(f"/cards/{known.hex().upper()}")


@router.get("/cards/{uid}/report/{number}")
def card_report(uid: str, number: str, visit: Visited) -> Response:
    visit.require(*WORKS_WITH_CARDS)
    task = visit.page.bench.state.task
    if task is not None and task.request == number:
        visit.page.bench.cancel(visit.session.key)  # what was shown has been seen
    report = visit.page.found(visit.session, number)
    path = f"/cards/{uid_of(uid).hex().upper()}"
    if not isinstance(report, CardReport):
        return visit.redirect(path)
    expires = date(1970, 1, 1) + timedelta(days=report.expires_days)
    return visit.show("report.html", "card", report=report, expires=expires, back=path)


@router.get("/cards/{uid}/retire")
def ask_retire(uid: str, visit: Visited) -> Response:
    visit.require("issuer")
    ledger = cards.ledger_card(visit.station, uid_of(uid))
    return visit.show("retire.html", "card", found=ledger_words(ledger, visit.voice))


@router.post("/cards/{uid}/retire")
def retire_card(uid: str, visit: Visited) -> Response:
    """The card on the reader ends: its money goes to the member's wallet, or next card."""
    visit.require("issuer")
    known, station = uid_of(uid), visit.station
    reason = visit.field("reason", REASON)
    is_renewed = visit.fields.get("way") == "renewed"
    purpose = Purpose.RENEWED if is_renewed else Purpose.GIVEN_BACK
    wipe = visit.fields.get("wipe") == "yes"

    def act(connection: CardConnection) -> CardDone:
        return retired(retire(station, connection, purpose, reason[:200], wipe=wipe))

    visit.ask(
        Task(
            request=visit.field("request", N_("Number")),
            owner=visit.session.key,
            kind="renew" if is_renewed else "retire",
            act=act,
            uid=known,
            facts={"name": visit.fields.get("name", "")[:80]},
        )
    )
    return visit.redirect(f"/cards/{known.hex().upper()}")


def retired(result: RetireResult) -> CardDone:
    lines: list[tuple[str, Mapping[str, object]]] = [
        (N_("In the member's wallet now: {wallet}"), {"wallet": result.wallet})
    ]
    if result.loaded.amount:
        loaded = N_("{amount} of it waits for the member's next card.")
        lines.append((loaded, {"amount": result.loaded}))
    if result.wiped:
        lines.append(
            (
                N_(
                    "The chip is blank. It becomes no card of ours again: its number stays the old card's."
                ),
                {},
            )
        )
    return CardDone(lines=tuple(lines), amount=result.emptied)


@router.get("/cards/{uid}/{change}")
def ask_change(uid: str, change: str, visit: Visited) -> Response:
    """The question with its reason, in a page of its own."""
    visit.require("issuer")
    if change not in _CHANGES:
        return visit.redirect(f"/cards/{uid_of(uid).hex().upper()}")
    ledger = cards.ledger_card(visit.station, uid_of(uid))
    return visit.show("change.html", "card", found=ledger_words(ledger, visit.voice), change=change)


@router.post("/cards/{uid}/{change}")
def change_card(uid: str, change: str, visit: Visited) -> Response:
    visit.require("issuer")
    known = uid_of(uid)
    path = f"/cards/{known.hex().upper()}"
    if change in _CHANGES:
        _CHANGES[change](visit.station, known, visit.field("reason", REASON))
        return visit.redirect(path, done=visit.say(_CHANGED[change]))
    ask_on_card(visit, change, known)
    return visit.redirect(path)


def ask_on_card(visit: Visit, kind: str, uid: bytes) -> None:
    """What needs the card itself on the reader. Raises BenchBusy."""
    station = visit.station
    acts: dict[str, Callable[[CardConnection], CardDone]] = {
        "rekey": lambda connection: rekeyed(cards.rekey(station, connection)),
        "deliver": lambda connection: delivered(station, connection),
    }
    act = acts.get(kind)
    if act is None:
        return
    task = Task(
        request=visit.fields.get("request", "") or new_number(),
        owner=visit.session.key,
        kind=kind,
        act=act,
        uid=uid,
        facts={"name": visit.fields.get("name", "")[:80]},
    )
    visit.ask(task)


def rekeyed(result: RekeyResult) -> CardDone:
    if result.changed_count:
        said = N_("Card keys are at generation {generation} now: {count} changed.")
    else:
        said = N_("Card keys were at generation {generation} already.")
    facts = {"generation": result.generation, "count": result.changed_count}
    return CardDone(lines=((said, facts),))


def delivered(station: Station, connection: CardConnection) -> CardDone:
    result = cards.deliver_credits(station, connection)
    total = Rupiah(sum(amount.amount for _, amount in result.delivered))
    lines: list[tuple[str, Mapping[str, object]]] = []
    if not result.delivered:
        lines.append((N_("Nothing was owed to this card."), {}))
    lines.append((N_("Balance on the card: {balance}"), {"balance": result.balance}))
    return CardDone(lines=tuple(lines), amount=total if result.delivered else None)
