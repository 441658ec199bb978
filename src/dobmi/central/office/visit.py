"""One request of a browser at the office's page: who is logged in, what the form says, how to answer.

Sessions are those of `staff_login.py`, without a station: any server behind the same address knows
them. The form's token is derived from the cookie, which no other site can read or send.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dobmi.central.acts import Actor
from dobmi.central.errors import StaffNeeded, StaffNotBelieved
from dobmi.central.office.rendering import LOOK, PREFIX
from dobmi.central.schema import StaffRole
from dobmi.central.server import Central
from dobmi.central.staff import Person
from dobmi.central.staff_login import SESSION_SECONDS, person_of, require_one_of
from dobmi.i18n import N_
from dobmi.web.forms import own_path
from dobmi.web.rendering import LANGUAGE_COOKIE, Voice, known_language
from dobmi.web.security import Session, read_form

COOKIE: Final = "dobmi_office"
_COOKIE_LENGTH_MAX: Final = 64

TILLS = (StaffRole.CUSTODIAN, StaffRole.APPROVER, StaffRole.AUDITOR)
DECIDE_TILLS = (StaffRole.CUSTODIAN, StaffRole.APPROVER)
APPROVALS = (StaffRole.PROPOSER, StaffRole.APPROVER, StaffRole.ISSUER, StaffRole.AUDITOR)
ACTS = (StaffRole.AUDITOR, StaffRole.APPROVER)
KEYS = (StaffRole.CUSTODIAN, StaffRole.APPROVER, StaffRole.AUDITOR)
CARDS = (StaffRole.CUSTODIAN, StaffRole.APPROVER, StaffRole.AUDITOR, StaffRole.ISSUER)
BLOCK_CARDS = (StaffRole.CUSTODIAN, StaffRole.APPROVER, StaffRole.ISSUER)
EVERYBODY = tuple(StaffRole)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the page, in the bar. `roles`: who sees it."""

    name: str
    path: str
    label: str
    roles: tuple[StaffRole, ...]


PLACES: Final = (
    Place("tills", f"{PREFIX}/tills", N_("Tills"), TILLS),
    Place("approvals", f"{PREFIX}/approvals", N_("Approvals"), APPROVALS),
    Place("acts", f"{PREFIX}/acts", N_("Audit trail"), ACTS),
    Place("keys", f"{PREFIX}/keys", N_("Keys"), KEYS),
    Place("staff", f"{PREFIX}/staff", N_("Staff"), EVERYBODY),
)


@dataclass(slots=True)
class Visit:
    request: Request
    central: Central
    cookie: str
    person: Person | None
    language: str
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def voice(self) -> Voice:
        return LOOK.voice(self.language)

    @property
    def actor(self) -> Actor:
        return Actor(self.require().name, None)

    @property
    def session(self) -> Session[Person]:
        return _session(self.cookie)

    def require(self, *roles: StaffRole) -> Person:
        """Who is logged in, if they may. Raises StaffNeeded, RoleLacking."""
        if self.person is None:
            raise StaffNeeded
        require_one_of(self.person, roles)
        return self.person

    def may(self, *roles: StaffRole) -> bool:
        return self.person is not None and not self.person.roles.isdisjoint(roles)

    def places(self) -> list[Place]:
        return [place for place in PLACES if self.may(*place.roles)]

    def show(self, template: str, here: str, *, status: int = 200, **facts: Any) -> Response:
        page = LOOK.render(
            template,
            self.language,
            **{"failure": None, "done": "", **facts},
            session=self.session,
            person=self.person,
            places=self.places(),
            here=here,
            here_path=own_path(self.request.url.path),
            may=self.may,
            now=self.central.unix_seconds(),
        )
        return self.with_cookie(HTMLResponse(page, status))

    def go(self, path: str) -> Response:
        """After a form, so that loading again sends nothing again."""
        return self.with_cookie(RedirectResponse(f"{PREFIX}{path}", status_code=303))

    def with_cookie(self, response: Response) -> Response:
        response.set_cookie(
            COOKIE,
            self.cookie,
            max_age=SESSION_SECONDS,
            path=PREFIX,
            httponly=True,
            samesite="strict",
            secure=is_secure(self.request),
        )
        return response


def is_secure(request: Request) -> bool:
    """Whether the address that the browser has is https: TLS ends before this program."""
    origins: frozenset[str] = request.app.state.origins
    return f"https://{request.headers.get('host', '')}" in origins


async def visit_of(request: Request) -> Visit:
    """Raises ForeignRequest for a form that this page did not make for this browser."""
    central: Central = request.app.state.central
    cookie = request.cookies.get(COOKIE, "")
    if not 20 <= len(cookie) <= _COOKIE_LENGTH_MAX or not cookie.isascii():
        cookie = secrets.token_urlsafe(32)
    language = known_language(request.cookies.get(LANGUAGE_COOKIE))
    visit = Visit(request, central, cookie, None, language)
    request.state.visit = visit
    if request.method == "POST":
        visit.fields = await read_form(request, visit.session)
    visit.person = await run_in_threadpool(_person, central, cookie)
    return visit


def _person(central: Central, cookie: str) -> Person | None:
    now = central.unix_seconds()
    try:
        return central.database.write_again(
            lambda connection: person_of(connection, cookie, None, now)
        )
    except StaffNotBelieved:
        return None


def _session(cookie: str) -> Session[Person]:
    token = hmac.new(cookie.encode(), b"dobmi office form", hashlib.sha256).hexdigest()
    return Session(key="", token=token, started=0)


def hidden_name(visit: Visit, text: str) -> str:
    """A name for something in this browser's forms that does not show it."""
    return hmac.new(visit.cookie.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


Visited = Annotated[Visit, Depends(visit_of)]
