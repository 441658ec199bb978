"""Logging in and out, the language, one's own password, and who is of the staff."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from dobmi.central.errors import PasswordNotAllowed, StaffNotBelieved
from dobmi.central.office.rendering import PREFIX, ROLE_WORDS
from dobmi.central.office.visit import EVERYBODY, Visited
from dobmi.central.problems import status_of
from dobmi.central.staff import staff_list
from dobmi.central.staff_login import log_in, log_out, people_with_password, set_password
from dobmi.i18n import LANGUAGES, N_
from dobmi.web.errors import FormIncomplete
from dobmi.web.forms import own_path
from dobmi.web.rendering import LANGUAGE_COOKIE

router = APIRouter()


@router.get("/")
def home(visit: Visited) -> Response:
    visit.require()
    return visit.go(visit.places()[0].path.removeprefix(PREFIX))


@router.get("/login")
def login_page(visit: Visited) -> Response:
    if visit.person is not None:
        return visit.go("/")
    return visit.show("login.html", "login", name="")


@router.post("/login")
def login(visit: Visited) -> Response:
    name, password = visit.fields.get("name", ""), visit.fields.get("password", "")
    try:
        session = log_in(visit.central, name[:80], password[:400], None)
    except StaffNotBelieved as error:
        return visit.show(
            "login.html", "login", status=status_of(error), failure=error, name=name[:80]
        )
    visit.cookie = session.token
    return visit.go("/")


@router.post("/logout")
def logout(visit: Visited) -> Response:
    log_out(visit.central, visit.cookie)
    return visit.go("/login")


@router.post("/language")
def language(visit: Visited) -> Response:
    chosen = visit.fields.get("language", "")
    to = own_path(visit.fields.get("to", "/"))
    to = to if to.startswith(PREFIX) else f"{PREFIX}/"
    answer = RedirectResponse(to, status_code=303)
    if chosen in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, chosen, max_age=365 * 86400, samesite="lax", path=PREFIX)
    return answer


@router.get("/staff")
def staff(visit: Visited, done: str = "") -> Response:
    visit.require(*EVERYBODY)
    people = staff_list(visit.central.database)
    said = visit.voice.say(N_("Your password is changed.")) if done == "password" else ""
    return visit.show(
        "staff.html",
        "staff",
        done=said,
        people=[
            (person, sorted(visit.voice.say(ROLE_WORDS[role]) for role in person.roles))
            for person in people
        ],
        with_password=people_with_password(visit.central.database),
    )


@router.post("/password")
def password(visit: Visited) -> Response:
    """Whoever knows the old one; afterwards they are logged in anew, here alone."""
    person = visit.require(*EVERYBODY)
    new = visit.fields.get("new", "")
    if new != visit.fields.get("again", ""):
        raise FormIncomplete(field=N_("the new password, twice the same"))
    central = visit.central
    # Counted and locked as any log-in.
    session = log_in(central, person.name, visit.fields.get("old", "")[:400], None)
    try:
        set_password(central.database, person.name, new, central.unix_seconds(), by=visit.actor)
    except PasswordNotAllowed:
        log_out(central, session.token)
        raise
    visit.cookie = log_in(central, person.name, new, None).token
    return visit.go("/staff?done=password")
