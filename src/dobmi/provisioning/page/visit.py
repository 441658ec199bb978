"""What the routes of the staff's page work with: the bench, the central server, sessions."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dobmi.i18n import DEFAULT_LANGUAGE, N_
from dobmi.money import Rupiah
from dobmi.provisioning.amounts import parse_amount
from dobmi.provisioning.bench import Bench, BenchState, Task
from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.page.errors import LoggedOut, NotYourWork
from dobmi.provisioning.page.rendering import render, voice_of
from dobmi.provisioning.page.words import CardWords, act_of, card_words, run_words
from dobmi.web import security
from dobmi.web.answering import SessionVisit
from dobmi.web.errors import FormIncomplete
from dobmi.web.forms import Flash, as_number
from dobmi.web.rendering import LANGUAGE_COOKIE, Voice, known_language
from dobmi.web.security import read_form

SESSION_COOKIE: Final = "dobmi_station"
_KEPT_MAX: Final = 200
FILE_PATHS: Final = frozenset({"/batches/file"})
"""Whose body is a file and no form."""


@dataclass(frozen=True, slots=True)
class StaffPerson:
    """Who is logged in. `token` is the central server's word for it, and stays in this program."""

    name: str
    roles: frozenset[str]
    token: str = field(repr=False)

    def has(self, *roles: str) -> bool:
        return not self.roles.isdisjoint(roles)


Session = security.Session[StaffPerson]
Sessions = security.Sessions[StaffPerson]


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the main menu, for whoever has one of the roles; without roles, for everybody."""

    name: str
    path: str
    label: str
    key: str
    roles: frozenset[str] = frozenset()


_ISSUER: Final = frozenset({"issuer"})
PLACES: Final = (
    Place("card", "/card", N_("Card"), "F1", frozenset({"issuer", "approver", "clerk"})),
    Place("issue", "/issue", N_("Issue"), "F2", _ISSUER),
    Place("topup", "/topup", N_("Top up"), "F3", _ISSUER),
    Place(
        "approvals",
        "/approvals",
        N_("Approvals"),
        "F4",
        frozenset({"issuer", "approver", "proposer", "auditor"}),
    ),
    Place("cash", "/cash", N_("Cash"), "F6", frozenset({"issuer", "auditor"})),
    Place("acts", "/acts", N_("Record"), "F7", frozenset({"auditor", "approver"})),
    Place("status", "/status", N_("Status"), "F10"),
)


@dataclass(frozen=True, slots=True)
class Lamp:
    level: str
    words: str


@dataclass(slots=True, kw_only=True)
class Page:
    """One station's page. `station_for` gives the station as seen by the server for a logged-in person
    (None: nobody) in a language.
    """

    bench: Bench
    station_for: Callable[[StaffPerson | None, str], Station]
    station_name: str
    server: str
    reader: str
    language: str = DEFAULT_LANGUAGE
    sessions: Sessions = field(default_factory=Sessions)
    flashes: dict[str, Flash] = field(default_factory=dict)
    kept: OrderedDict[tuple[str, str], Any] = field(default_factory=OrderedDict)
    """(Session, number): what a session will come back for: a receipt, a list that was looked at."""
    on_change: Callable[[], None] = lambda: None
    looking_for: StaffPerson | None = None
    """Whoever did something last: in their name a card that is laid down is looked up."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, session: Session, number: str, what: object) -> None:
        with self._lock:
            self.kept[session.key, number] = what
            while len(self.kept) > _KEPT_MAX:
                self.kept.popitem(last=False)

    def found(self, session: Session, number: str) -> Any | None:
        with self._lock:
            return self.kept.get((session.key, number))


@dataclass(slots=True, kw_only=True)
class Visit(SessionVisit[StaffPerson]):
    """One request of this page."""

    page: Page

    @property
    def voice(self) -> Voice:
        return voice_of(self.language)

    def say(self, message: str, **facts: object) -> str:
        return self.voice.say(message, **facts)

    @property
    def person(self) -> StaffPerson:
        """Raises LoggedOut."""
        if self.session.person is None:
            raise LoggedOut
        return self.session.person

    def require(self, *roles: str) -> StaffPerson:
        """Raises LoggedOut, NotYourWork. The server looks again, whatever is asked of it."""
        person = self.person
        if roles and not person.has(*roles):
            raise NotYourWork
        return person

    @property
    def station(self) -> Station:
        """For whoever is logged in. Raises LoggedOut."""
        return self.page.station_for(self.person, self.language)

    def field(self, name: str, label: str) -> str:
        """Raises FormIncomplete, of what the page calls the field (a message id)."""
        value = self.fields.get(name, "").strip()
        if not value:
            raise FormIncomplete(field=label)
        return value

    def number(self, name: str, label: str) -> int:
        """Raises FormIncomplete."""
        return as_number(self.field(name, label).replace(".", ""), label)

    def amount(self, name: str, label: str) -> Rupiah:
        """Above nought. Raises FormIncomplete, NotAnAmount."""
        return parse_amount(self.field(name, label))

    def frame(self, here: str) -> dict[str, object]:
        """What every template needs."""
        flash = self.take_flash()
        person = self.session.person
        places = [
            place
            for place in PLACES
            if person is not None and (not place.roles or person.has(*place.roles))
        ]
        return {
            **live_facts(self.page, self.session, self.language),
            "person": person,
            "places": places,
            "here": here,
            "here_path": self.request.url.path,
            "failure": flash.failure,
            "done": flash.done,
            "new_number": new_number(),
        }

    def show(self, template: str, here: str, **facts: object) -> Response:
        return self.html(render(template, self.language, **{**self.frame(here), **facts}))

    def ask(self, task: Task) -> None:
        """Raises BenchBusy."""
        self.page.bench.ask(task)


def new_number() -> str:
    return secrets.token_hex(8)


def live_facts(page: Page, session: Session, language: str) -> dict[str, object]:
    """What the parts that come with the bench's events need. Who has not logged in sees no card."""
    state, voice = page.bench.state, voice_of(language)
    if session.person is None:
        state = BenchState(version=state.version, phase=state.phase, reader=state.reader)
    is_mine = state.task is not None and state.task.owner == session.key
    card: CardWords | None = None if state.card is None else card_words(state.card, voice)
    return {
        "session": session,
        "state": state,
        "act": act_of(state, voice) if is_mine else None,
        "run_words": None if state.run is None else run_words(state.run, state.queue, voice),
        "run_mine": state.run is not None and state.run.owner == session.key,
        "card": card,
        "lamp": lamp_of(state, voice),
        "here": "",
    }


def lamp_of(state: BenchState, voice: Voice) -> Lamp:
    if state.reader_error is not None:
        return Lamp("bad", voice.say(N_("The card reader is gone.")))
    return Lamp("ok", voice.say(N_("All is well.")))


def session_for(page: Page, request: Request) -> tuple[Session, bool]:
    """The request's session, and whether it has just been started."""
    found = page.sessions.of(request.cookies.get(SESSION_COOKIE))
    if found is None:
        return page.sessions.start(), True
    return found, False


def language_of(page: Page, request: Request) -> str:
    return known_language(request.cookies.get(LANGUAGE_COOKIE), page.language)


async def visit(request: Request) -> Visit:
    """The visit of a request, its form read and its token checked. Raises ForeignRequest."""
    page: Page = request.app.state.page
    session, is_new = session_for(page, request)
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
    if session.person is not None:
        page.looking_for = session.person
    if request.method == "POST" and request.url.path not in FILE_PATHS:
        found.fields = await read_form(request, session)
    return found


Visited = Annotated[Visit, Depends(visit)]
