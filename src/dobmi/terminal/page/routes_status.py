"""How the till is, at a glance, and what waits for the printer."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.sync.feed import Limits
from dobmi.terminal import print_queue
from dobmi.terminal.counter_state import CounterState
from dobmi.terminal.ledger import FREE_BYTES_MIN
from dobmi.terminal.page.visit import Page, Visited
from dobmi.terminal.paper import KIND_NAMES
from dobmi.terminal.printer import PrinterState
from dobmi.terminal.staff import has_staff
from dobmi.terminal.status import TillStatus, till_status
from dobmi.web.rendering import Voice
from dobmi.wib import local_time

router: Final = APIRouter()
_SOON: Final = 0.7
"""From so much of a risk limit on, the light is yellow: before the queue finds out."""
_GIGABYTE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """`level`: ok, warn, bad, or off where there is nothing to look at."""

    name: str
    label: str
    level: str
    text: str
    todo: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPaper:
    number: int
    name: str
    reference: int
    created: int


@router.get("/status")
def status(visit: Visited) -> Response:
    visit.require_person()
    page, voice = visit.page, visit.voice
    now = till_status(page.ledger)
    jobs = [
        WaitingPaper(
            number=job.number,
            name=voice.say(KIND_NAMES[job.kind]) if job.kind is not None else "?",
            reference=job.reference,
            created=job.created_unix_seconds,
        )
        for job in print_queue.waiting(page.ledger)
    ]
    identity = now.identity
    words = voice.say(
        N_("Till {terminal_id} of {seller}, {issuer}."),
        terminal_id=identity.terminal_id,
        seller=identity.seller,
        issuer=identity.issuer,
    )
    if not has_staff(page.ledger):
        words += " " + voice.say(
            N_("The feed lists no staff: {name} of the settings sells without logging in."),
            name=page.cashier,
        )
    return visit.show(
        "status.html",
        "status",
        lights=lights_of(page, now, voice),
        jobs=jobs if page.papers.prints else [],
        doubts=now.doubts,
        identity_words=words,
    )


def lights_of(page: Page, now: TillStatus, voice: Voice) -> list[Light]:
    state = page.counter.state
    limits = now.sync.limits
    words = {
        "ok": voice.say(N_("in order")),
        "warn": voice.say(N_("look")),
        "bad": voice.say(N_("act")),
        "off": voice.say(N_("none")),
    }
    found = [
        _network(state, now, limits, voice),
        _unsent(now, limits, voice),
        _doubts(now, voice),
        _reader(state, voice),
        _printer(page, voice),
        _clock(now, voice),
        _disk(page, voice),
    ]
    return [
        Light(
            name=one.name,
            label=one.label,
            level=one.level,
            text=one.text,
            todo=one.todo,
            word=words[one.level],
        )
        for one in found
    ]


def _network(state: CounterState, now: TillStatus, limits: Limits, voice: Voice) -> Light:
    label = voice.say(N_("Network"))
    age = now.sync_age_seconds
    text = voice.say(N_("Last sync {span} ago."), span=voice.span(age))
    if state.sync.is_running:
        text = voice.say(N_("Syncing …"))
    todo = ""
    level = "ok"
    if state.sync.error is not None:
        level = "warn"
        todo = voice.tell(state.sync.error)
    if age > limits.sync_age_seconds_max * _SOON:
        left = limits.sync_age_seconds_max - age
        level = "bad" if left <= 0 else "warn"
        todo = (
            voice.say(
                N_("The till sells for {span} more without a sync: bring it to a network."),
                span=voice.span(left),
            )
            if left > 0
            else voice.say(N_("The till sells no more until a sync: bring it to a network."))
        )
    return Light(name="network", label=label, level=level, text=text, todo=todo)


def _unsent(now: TillStatus, limits: Limits, voice: Voice) -> Light:
    label = voice.say(N_("To be sent"))
    unsent, age = now.unsent, now.oldest_unsent_age_seconds
    if not unsent.count:
        return Light(
            name="unsent", label=label, level="ok", text=voice.say(N_("All have been sent."))
        )
    text = voice.plural(
        "{number} waits, {total} in all; the oldest for {span}.",
        "{number} wait, {total} in all; the oldest for {span}.",
        unsent.count,
        total=unsent.total,
        span=voice.span(age or 0),
    )
    part = max(
        unsent.count / limits.unsent_vouchers_max,
        unsent.total.amount / limits.unsent_total_max.amount,
    )
    level = "bad" if part >= 1 else "warn" if part >= _SOON else "ok"
    todo = (
        voice.say(
            N_("At most {count} and {total} may wait; then the till sells no more until a sync."),
            count=limits.unsent_vouchers_max,
            total=limits.unsent_total_max,
        )
        if level != "ok"
        else ""
    )
    return Light(name="unsent", label=label, level=level, text=text, todo=todo)


def _doubts(now: TillStatus, voice: Voice) -> Light:
    label = voice.say(N_("In doubt"))
    if not now.doubts:
        return Light(name="doubts", label=label, level="ok", text=voice.say(N_("None.")))
    return Light(
        name="doubts",
        label=label,
        level="warn",
        text=voice.plural(
            "{number} sale is in doubt.", "{number} sales are in doubt.", len(now.doubts)
        ),
        todo=voice.say(N_("They are settled when the card is tapped again, or by the office.")),
    )


def _reader(state: CounterState, voice: Voice) -> Light:
    label, error = voice.say(N_("Card reader")), state.reader.error
    if error is not None:
        return Light(
            name="reader",
            label=label,
            level="bad",
            text=voice.explain(error),
            todo=voice.advise(error),
        )
    if not state.reader.is_there:
        return Light(
            name="reader",
            label=label,
            level="bad",
            text=voice.say(N_("It has not been found yet.")),
        )
    return Light(name="reader", label=label, level="ok", text=state.reader.name)


def _printer(page: Page, voice: Voice) -> Light:
    label, worker = voice.say(N_("Printer")), page.papers.worker
    if worker is None or not worker.prints:
        return Light(
            name="printer",
            label=label,
            level="off",
            text=voice.say(N_("None: receipts are shown on the screen.")),
        )
    shown = worker.shown
    error: DoBMIError | None = shown.error or shown.printer.error
    if error is not None:
        level = "warn" if shown.printer.state is PrinterState.PAPER_LOW else "bad"
        return Light(
            name="printer",
            label=label,
            level=level,
            text=voice.explain(error),
            todo=voice.advise(error),
        )
    return Light(name="printer", label=label, level="ok", text=shown.printer.setting)


def _clock(now: TillStatus, voice: Voice) -> Light:
    label = voice.say(N_("Clock"))
    text = local_time(now.clock.unix_seconds)
    if now.clock.is_wrong:
        return Light(
            name="clock",
            label=label,
            level="bad",
            text=voice.say(
                N_("This machine's clock is wrong: {time}"), time=local_time(int(time.time()))
            ),
            todo=voice.say(N_("Set date and time of this machine, then sync.")),
        )
    return Light(
        name="clock", label=label, level="ok", text=f"{text} · {voice.date(now.clock.unix_seconds)}"
    )


def _disk(page: Page, voice: Voice) -> Light:
    label = voice.say(N_("Disk"))
    free = shutil.disk_usage(page.database.parent).free
    text = voice.say(
        N_("{size} GB free"),
        size=f"{free / _GIGABYTE:.1f}".replace(".", "," if voice.language == "id" else "."),
    )
    if free < FREE_BYTES_MIN * 10:
        return Light(
            name="disk",
            label=label,
            level="bad" if free < FREE_BYTES_MIN else "warn",
            text=text,
            todo=voice.say(N_("Make room on the disk. Do not delete the till's database.")),
        )
    return Light(name="disk", label=label, level="ok", text=text)


@router.post("/status/print")
def print_now(visit: Visited) -> Response:
    visit.require_person()
    if visit.page.papers.worker is not None:
        visit.page.papers.worker.wake()
    return visit.redirect("/status", done=visit.say(N_("It is being printed.")))


@router.post("/status/dismiss")
def dismiss(visit: Visited) -> Response:
    visit.require_person()
    visit.fields["to"] = "/status"
    number = visit.number("number")
    visit.page.run(lambda till: print_queue.dismiss(till.ledger, number, till.clock.now()))
    return visit.redirect("/status")
