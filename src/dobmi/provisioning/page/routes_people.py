"""Logging in and out, and the language."""

from __future__ import annotations

import contextlib
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.provisioning.page import desk
from dobmi.provisioning.page.visit import PLACES, Visit, Visited

router = APIRouter()
ROLES: Final = {
    "issuer": N_("issues and tops up cards"),
    "approver": N_("approves"),
    "proposer": N_("proposes"),
    "clerk": N_("works on findings"),
    "custodian": N_("keeps keys"),
    "auditor": N_("reads the record"),
}
_PASSWORD_CHARACTERS_MAX: Final = 200


@router.get("/")
def home(visit: Visited) -> Response:
    return visit.redirect(first_path(visit))


def first_path(visit: Visit) -> str:
    """The first page that whoever is logged in has."""
    person = visit.person
    return next(place.path for place in PLACES if not place.roles or person.has(*place.roles))


@router.get("/login")
def login(visit: Visited) -> Response:
    if visit.session.person is not None:
        return visit.redirect(first_path(visit))
    return visit.show("login.html", "login", station=visit.page.station_name)


@router.post("/login")
def log_in(visit: Visited) -> Response:
    name = visit.field("name", N_("Name"))
    password = visit.fields.get("password", "")[:_PASSWORD_CHARACTERS_MAX]
    visit.fields.pop("password", None)
    try:
        person = desk.log_in(visit.page.station_for(None, visit.language), name, password)
    except DoBMIError as error:
        return visit.redirect("/login", failure=error)
    visit.session = visit.page.sessions.start(person, visit.session.key)
    visit.sets_cookie = True
    visit.page.looking_for = person
    return visit.redirect(first_path(visit))


@router.get("/leave")
def leave(visit: Visited) -> Response:
    visit.require()
    roles = sorted(visit.say(ROLES.get(role, role)) for role in visit.person.roles)
    return visit.show("leave.html", "leave", roles_said=", ".join(roles))


@router.post("/leave")
def log_out(visit: Visited) -> Response:
    """Here at once; when the server cannot be told, its session ends by itself when it is left idle."""
    person = visit.require()
    with contextlib.suppress(DoBMIError):
        desk.log_out(visit.station)
    if visit.page.looking_for == person:
        visit.page.looking_for = None
    with contextlib.suppress(DoBMIError):
        visit.page.bench.cancel(visit.session.key)
    visit.page.sessions.end(visit.session.key)
    visit.session = visit.page.sessions.start()
    visit.sets_cookie = True
    visit.page.on_change()
    return visit.redirect("/login", done=visit.say(N_("Logged out.")))


@router.post("/language")
def language(visit: Visited) -> Response:
    return visit.choose_language(visit.page.language)
