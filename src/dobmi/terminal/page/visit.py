"""What the page's routes work with: the counter, the ledger to read from, sessions, the desk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, TypeVar

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from dobmi.cardlib.errors import CardError, InsufficientBalance, NotOurCard
from dobmi.errors import DoBMIError
from dobmi.i18n import DEFAULT_LANGUAGE, N_
from dobmi.sync.outlet import Duty
from dobmi.terminal.cart import Cart
from dobmi.terminal.counter_state import AskRefund, CounterLike, CounterState, Phase
from dobmi.terminal.errors import (
    NoCardCame,
    NoShift,
    OrderOfAnother,
    PinNeeded,
    PinNotGiven,
    SyncTooOld,
    TooManyUnsent,
    TooMuchUnsent,
)
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.page.cart_file import CartFile, cart_path, found_again
from dobmi.terminal.page.desk import Desk, answer_of
from dobmi.terminal.page.errors import FormIncomplete, NotOnDuty, SessionOver
from dobmi.terminal.page.papers import Papers
from dobmi.terminal.page.rendering import render, voice_of
from dobmi.terminal.page.security import SESSION_COOKIE, Person, Session, Sessions
from dobmi.terminal.page.set_up import SetUp
from dobmi.terminal.print_queue import PrintWorker
from dobmi.terminal.shift import current_shift
from dobmi.terminal.staff import Cashier, has_staff, staff_members
from dobmi.terminal.till import Till
from dobmi.web.answering import SessionVisit
from dobmi.web.forms import Flash, as_number
from dobmi.web.rendering import LANGUAGE_COOKIE, Voice, known_language
from dobmi.web.security import read_form

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the main menu."""

    name: str
    path: str
    label: str
    key: str


PLACES: Final = (
    Place("sell", "/", N_("Sell"), "F1"),
    Place("balance", "/balance", N_("Balance"), "F2"),
    Place("sales", "/sales", N_("Sales"), "F3"),
    Place("orders", "/orders", N_("Orders"), "F4"),
    Place("shift", "/shift", N_("Shift"), "F9"),
    Place("status", "/status", N_("Status"), "F10"),
)


@dataclass(frozen=True, slots=True)
class Way:
    """Where a ribbon's button leads."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class Lamp:
    level: str
    words: str


@dataclass(slots=True, kw_only=True)
class Page:
    """One till's page. `database` is read here, and papers are queued in it; all else that writes goes
    through the counter's thread.

    `cashier` is the one of the settings, for a till whose feed lists no staff.
    """

    counter: CounterLike
    database: Path
    cashier: str
    language: str = DEFAULT_LANGUAGE
    sessions: Sessions = field(default_factory=Sessions)
    desk: Desk = field(init=False)
    cart_file: CartFile = field(init=False)
    papers: Papers = field(init=False)
    server: str = ""
    """The central server's address, as it stands in the code of receipts."""
    worker: PrintWorker | None = None
    setup: SetUp | None = None
    """None: this page sets nothing up."""
    pending: dict[tuple[str, int], AskRefund] = field(default_factory=dict)
    """(Request of a supervisor's card, sale): what it agrees to."""
    flashes: dict[str, Flash] = field(default_factory=dict)
    card_purposes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Request of a card that says who somebody is: (session, where its answer goes)."""
    on_change: Callable[[], None] = lambda: None
    _ledger: Ledger | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.cart_file = CartFile(cart_path(self.database))
        self.desk = Desk(self.counter, on_change=self._desk_changed, found=self._found_cart())
        self.papers = Papers(
            ledger=lambda: self.ledger,
            worker=self.worker,
            server=self.server,
            language=self.language,
            on_change=self.changed,
        )

    def _found_cart(self) -> tuple[Cart, str] | None:
        path = cart_path(self.database)
        try:
            return found_again(path, self.ledger) if path.exists() else None
        except DoBMIError:  # the counter says what is wrong with the ledger
            return None

    def changed(self) -> None:
        self.on_change()

    def _desk_changed(self) -> None:
        state = self.desk.state
        self.cart_file.keep(state.cart, state.request)
        self.changed()

    @property
    def ledger(self) -> Ledger:
        """For reading. Raises LedgerError."""
        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self.database)
            return self._ledger

    def close(self) -> None:
        self.papers.close()
        self.cart_file.close()
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None

    def run(self, work: Callable[[Till], T]) -> T:
        """Have the till do it, in the counter's thread. Raises what `work` raises, CounterBusy."""
        return answer_of(self.counter.run(work))

    def do(self, command: Future[None]) -> None:
        """Wait until the counter has taken it. Raises what that raises, CounterBusy."""
        answer_of(command)


@dataclass(slots=True, kw_only=True)
class Visit(SessionVisit[Person]):
    """One request of this page."""

    page: Page

    @property
    def voice(self) -> Voice:
        return voice_of(self.language)

    def say(self, message: str, **facts: object) -> str:
        return self.voice.say(message, **facts)

    @property
    def person(self) -> Person:
        """Raises SessionOver."""
        if self.session.person is None:
            raise SessionOver
        return self.session.person

    @property
    def cashier(self) -> Cashier:
        """Raises SessionOver."""
        return self.person.cashier

    def require_person(self) -> None:
        """Raises SessionOver."""
        _ = self.person

    def require_on_duty(self) -> None:
        """Raises SessionOver, NoShift, NotOnDuty."""
        shift = current_shift(self.page.ledger)
        if (shift.on_duty, shift.on_duty_number) != (self.cashier.name, self.cashier.number):
            raise NotOnDuty(name=shift.on_duty)

    def field(self, name: str) -> str:
        """Raises FormIncomplete."""
        value = self.fields.get(name, "").strip()
        if not value:
            raise FormIncomplete(field=name)
        return value

    def number(self, name: str) -> int:
        """Raises FormIncomplete."""
        return number_of(self.field(name), name)

    def frame(self, here: str) -> dict[str, object]:
        """What every template of the cashier's needs."""
        flash = self.take_flash()
        return {
            **stage_facts(self.page, self.session, self.language),
            "person": self.session.person,
            "places": PLACES,
            "here": here,
            "here_path": self.request.url.path,
            "failure": flash.failure,
            "done": flash.done,
        }

    def show(self, template: str, here: str, **facts: object) -> Response:
        return self.html(render(template, self.language, **{**self.frame(here), **facts}))


def number_of(text: str, name: str) -> int:
    """Raises FormIncomplete for what is no whole number of at most 18 digits."""
    return as_number(text, FormIncomplete.label(name))


def seen_by(page: Page, session: Session) -> CounterState:
    """Who has not logged in sees nothing of members and their cards: only their own log-in by card."""
    state = page.counter.state
    asked_by, _ = page.card_purposes.get(state.request or "", ("", ""))
    if session.person is not None or state.phase is Phase.STARTING or asked_by == session.key:
        return state
    return CounterState(
        version=state.version, phase=Phase.IDLE, reader=state.reader, stopped=state.stopped
    )


def stage_facts(page: Page, session: Session, language: str) -> dict[str, object]:
    """What the partials that come with the counter's events need."""
    state, voice = seen_by(page, session), voice_of(language)
    session_key, purpose = page.card_purposes.get(state.request or "", ("", ""))
    is_known = session.person is not None
    return {
        "cancel_path": "/counter/cancel" if is_known else "/login/cancel",
        "acknowledge_path": "/counter/acknowledge" if is_known else "/login/cancel",
        "session": session,
        "state": state,
        "desk": page.desk.state,
        "notice": page.desk.state.notice,
        "lamp": lamp_of(page, state, voice),
        "stopped_way": way_out(state),
        "way_on": way_on(state),
        "paper": paper_words(page, voice),
        "paper_trouble": page.papers.trouble(voice),
        "can_print": page.papers.prints,
        "card_login": purpose if session_key == session.key else "",
        "to_agree": next(
            (asked for (request, _), asked in [*page.pending.items()] if request == state.request),
            None,
        ),
        "for_member": False,
        "here": "",
        "here_path": "/",
    }


def display_facts(page: Page, session: Session, language: str) -> dict[str, object]:
    """What the screen towards the member shows: of the one who stands there, whoever is logged in."""
    return {**stage_facts(page, session, language), "state": page.counter.state}


def paper_words(page: Page, voice: Voice) -> str:
    """What becomes of the receipt that has just been due; "" without a printer."""
    if not page.papers.prints:
        return ""
    if page.papers.trouble(voice):
        return voice.say(N_("The receipt waits for the printer; it can be printed later."))
    return voice.say(N_("The receipt is being printed."))


def lamp_of(page: Page, state: CounterState, voice: Voice) -> Lamp:
    """The till at a glance."""
    if state.stopped is not None or not state.reader.is_there:
        return Lamp("bad", voice.say(N_("The till cannot sell.")))
    if state.sync.error is not None:
        return Lamp("warn", voice.say(N_("The till sells; the network is away.")))
    if page.papers.trouble(voice):
        return Lamp("warn", voice.say(N_("The till sells; the printer does not print.")))
    return Lamp("ok", voice.say(N_("All is well.")))


def way_out(state: CounterState) -> Way | None:
    """What to do when the till would refuse every sale."""
    match state.stopped:
        case NoShift():
            return Way("/shift", N_("Open a shift"))
        case SyncTooOld() | TooManyUnsent() | TooMuchUnsent():
            return Way("/status", N_("Go to sync"))
        case None:
            return None
        case _:
            return Way("/status", N_("Look"))


def way_on(state: CounterState) -> str:
    """After a refusal: `again` with the card, or back to the cart."""
    error = state.error
    if isinstance(error, InsufficientBalance | NotOurCard):
        return "cart"
    again = CardError | NoCardCame | OrderOfAnother | PinNeeded | PinNotGiven
    return "again" if isinstance(error, again) else "cart"


def is_in_force(page: Page, session: Session, unlisted: Person | None) -> bool:
    """`unlisted`: who sells without logging in, None where people have to log in."""
    known = session.person
    if known is None:
        return unlisted is None
    if known.cashier.number is None:
        return unlisted == known
    return unlisted is None and is_still_staff(page, known)


def unlisted_person(page: Page) -> Person | None:
    """None where people have to log in, or the till is not set up yet."""
    try:
        page.ledger.identity()
        if has_staff(page.ledger):
            return None
    except DoBMIError:
        return None
    return Person(cashier=Cashier(page.cashier), is_supervisor=False)


def is_still_staff(page: Page, person: Person) -> bool:
    return any(
        (member.number, member.name) == (person.cashier.number, person.name)
        and (member.duty is Duty.SUPERVISOR) == person.is_supervisor
        for member in staff_members(page.ledger)
    )


def session_for(page: Page, request: Request) -> tuple[Session, bool]:
    """The request's session, and whether it has just been started.

    Without a staff list everybody is the settings' cashier. Who is not of the staff any more, or of
    another duty, has to log in again.
    """
    found = page.sessions.of(request.cookies.get(SESSION_COOKIE))
    person = unlisted_person(page)
    if found is None:
        return page.sessions.start(person), True
    if is_in_force(page, found, person):
        return found, False
    return page.sessions.start(person, found.key), True


def language_of(page: Page, request: Request) -> str:
    return known_language(request.cookies.get(LANGUAGE_COOKIE), page.language)


async def visit(request: Request) -> Visit:
    """The visit of a request, its form read and its token checked. Raises ForeignRequest."""
    page: Page = request.app.state.page
    session, is_new = await run_in_threadpool(session_for, page, request)
    found = Visit(
        page=page,
        request=request,
        session=session,
        cookie=SESSION_COOKIE,
        flashes=page.flashes,
        language=language_of(page, request),
        fields={},
        sets_cookie=is_new,
    )
    request.state.visit = found
    if request.method == "POST":
        found.fields = await read_form(request, session)
    return found


Visited = Annotated[Visit, Depends(visit)]
