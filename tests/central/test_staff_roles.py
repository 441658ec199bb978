"""Every endpoint of a station's staff, and every part of the office's page, for every role and for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from dobmi.central.app import create_app
from dobmi.central.office import routes_approvals, routes_look, routes_people, routes_tills
from dobmi.central.schema import StaffRole
from dobmi.money import Rupiah
from dobmi.sync.http import STAFF_HEADER, card_session_path
from dobmi.sync.relay import Action
from support.central_client import RING, SETTINGS, Office
from support.databases import Kind, using
from support.staffed import (
    ORIGIN,
    OfficeBrowser,
    asked,
    code_of,
    employ,
    failure,
    session_of,
)
from support.traffic import ModelCard, ModelTill, World

R = StaffRole
EVERYBODY = frozenset(StaffRole)
NO_STAFF = None
"""What a station asks for itself: it changes nothing, or is how people log in and out."""

API: dict[str, frozenset[StaffRole] | None] = {
    "GET /v1/feed": NO_STAFF,
    "GET /v1/photos/{photo}": NO_STAFF,
    "POST /v1/card-keys": NO_STAFF,
    "GET /v1/cards/{card}": NO_STAFF,
    "GET /v1/circulation": NO_STAFF,
    "POST /v1/staff/sessions": NO_STAFF,
    "DELETE /v1/staff/sessions": NO_STAFF,
    "POST /v1/credits": frozenset({R.ISSUER}),
    "POST /v1/cards/{card}/block": frozenset({R.ISSUER}),
    "POST /v1/cards/{card}/unblock": frozenset({R.ISSUER}),
    "POST /v1/cards/{card}/replace": frozenset({R.ISSUER}),
    "GET /v1/approvals": frozenset({R.PROPOSER, R.APPROVER, R.ISSUER, R.AUDITOR}),
    "GET /v1/approvals/{number}": frozenset({R.PROPOSER, R.APPROVER, R.ISSUER, R.AUDITOR}),
    "POST /v1/approvals": frozenset({R.PROPOSER, R.APPROVER}),
    "POST /v1/approvals/{number}/decision": frozenset({R.APPROVER}),
    "GET /v1/acts": frozenset({R.AUDITOR, R.APPROVER}),
}
OTHERS = (
    "/v1/issuing-batches",
    "/v1/cash",
    "/v1/credits/",
    "/v1/payouts",
    "/v1/expiring-cards",
)
"""Have tests of their own beside what they do."""

_TILLS = frozenset({R.CUSTODIAN, R.APPROVER, R.AUDITOR})
_DECIDE = frozenset({R.CUSTODIAN, R.APPROVER})
_PROPOSE = frozenset({R.PROPOSER, R.APPROVER})
_LOOK = frozenset({R.PROPOSER, R.APPROVER, R.ISSUER, R.AUDITOR})
OFFICE: dict[str, frozenset[StaffRole] | None] = {
    "GET /": EVERYBODY,
    "GET /login": NO_STAFF,
    "POST /login": NO_STAFF,
    "POST /logout": NO_STAFF,
    "POST /language": NO_STAFF,
    "GET /staff": EVERYBODY,
    "POST /password": EVERYBODY,
    "GET /tills": _TILLS,
    "POST /pairings/approve": _DECIDE,
    "POST /pairings/refuse": _DECIDE,
    "GET /terminals/{number}": _TILLS,
    "GET /terminals/{number}/cards.csv": _TILLS,
    "POST /terminals/{number}/revoke": _DECIDE,
    "POST /terminals/{number}/readmit": _DECIDE,
    "GET /cards/{card}": frozenset({R.CUSTODIAN, R.APPROVER, R.AUDITOR, R.ISSUER}),
    "POST /cards/{card}/block": frozenset({R.CUSTODIAN, R.APPROVER, R.ISSUER}),
    "GET /approvals": _LOOK,
    "GET /approvals/{number}": _LOOK,
    "POST /approvals/{number}/decide": frozenset({R.APPROVER}),
    "POST /approvals/restitution": _PROPOSE,
    "POST /approvals/limits": _PROPOSE,
    "GET /acts": frozenset({R.AUDITOR, R.APPROVER}),
    "GET /keys": _TILLS,
}
FIELDS = {"reason": "uji", "decision": "accept", "code": "AAAA-AAAA", "seller": "Toko"}


@dataclass
class Scene:
    office: Office
    station: ModelTill
    card: ModelCard
    tokens: dict[StaffRole, str]
    """At the station."""
    cookies: dict[StaffRole, str]
    """At the office's page."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with using(Kind.SQLITE):
        folder: Path = tmp_path_factory.mktemp("roles")
        world = World.create(folder, keys=RING, settings=SETTINGS)
        station, card = world.station(), world.card(4711)
        world.top_up(station, card, Rupiah(50_000))
        for number, role in enumerate(StaffRole):
            employ(world.central, f"Orang {role.value}", role, password=not number)
        at_station = {
            role: session_of(world.central, f"Orang {role.value}", station.terminal_id)
            for role in StaffRole
        }
        at_office = {
            role: session_of(world.central, f"Orang {role.value}", None) for role in StaffRole
        }
        with TestClient(create_app(world.central), base_url=ORIGIN) as client:
            yield Scene(Office(world, client), station, card, at_station, at_office)
        world.close()


def path_of(scene: Scene, route: str) -> str:
    uid = scene.card.uid.hex().upper()
    return route.format(card=uid, number=scene.station.terminal_id, photo="0" * 64)


def body_of(scene: Scene, route: str) -> object:
    if route.startswith(("GET", "DELETE")):
        return None
    contents: dict[str, Any] = {
        "POST /v1/credits": {
            "card_uid": scene.card.uid.hex(), "amount_rupiah": 1_000, "source": "cash",
            "idempotency_key": "matriks-0001",
        },
        "POST /v1/approvals": {
            "kind": "limits", "facts": {"name": "sale_max_rupiah", "value": 500_000},
        },
        "POST /v1/approvals/{number}/decision": {"accept": True},
    }  # fmt: skip
    return contents.get(route, {"reason": "uji"})


def test_every_signed_endpoint_is_in_the_table(scene: Scene) -> None:
    described = scene.office.client.get("/openapi.json").json()["paths"]
    signed = {
        f"{method.upper()} {path}"
        for path, operations in described.items()
        for method, operation in operations.items()
        if "security" in operation and not path.startswith(OTHERS)
    }
    assert signed == set(API)


def test_every_part_of_the_page_is_in_the_table() -> None:
    there = {
        f"{method} {route.path}"
        for routes in (routes_people, routes_tills, routes_approvals, routes_look)
        for route in routes.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert there == set(OFFICE)


@pytest.mark.parametrize("route", [route for route, roles in API.items() if roles is not None])
def test_a_station_is_served_what_the_role_of_who_is_logged_in_may(
    scene: Scene, route: str
) -> None:
    method, path = route.split(" ")
    content, may = body_of(scene, route), API[route]
    assert may is not None
    for role, token in scene.tokens.items():
        answer = asked(
            scene.office, scene.station, method, path_of(scene, path), content, token=token
        )
        if role in may:
            assert answer.status_code < 300 or answer.status_code in {404, 409}, answer.text
        else:
            assert code_of(answer) == (403, "CENTRAL-STAFF-ROLE"), role
    nobody = asked(scene.office, scene.station, method, path_of(scene, path), content)
    assert code_of(nobody) == (401, "CENTRAL-STAFF-NEEDED")
    over = asked(scene.office, scene.station, method, path_of(scene, path), content, token="x" * 43)
    assert code_of(over) == (401, "CENTRAL-STAFF-SESSION")
    elsewhere = scene.cookies[next(iter(may))]
    of_the_office = asked(
        scene.office, scene.station, method, path_of(scene, path), content, token=elsewhere
    )
    assert code_of(of_the_office) == (401, "CENTRAL-STAFF-SESSION")


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.CREDIT])
def test_a_card_session_of_a_station_is_for_issuers(scene: Scene, action: Action) -> None:
    path = card_session_path(action.value, scene.card.uid)

    def denied(token: str) -> tuple[int, str] | None:
        headers = {"authorization": scene.station.authorization("GET", path)}
        if token:
            headers[STAFF_HEADER] = token
        try:
            with scene.office.client.websocket_connect(path, headers=headers):
                return None
        except WebSocketDenialResponse as answer:
            return code_of(answer)

    for role, token in scene.tokens.items():
        if role is R.ISSUER:
            assert denied(token) is None
        else:
            assert denied(token) == (403, "CENTRAL-STAFF-ROLE"), role
    assert denied("") == (401, "CENTRAL-STAFF-NEEDED")


def test_bringing_what_is_owed_onto_a_card_needs_nobody(scene: Scene) -> None:
    path = card_session_path("credit", scene.card.uid)
    headers = {"authorization": scene.station.authorization("GET", path)}
    with scene.office.client.websocket_connect(path, headers=headers) as session:
        assert session is not None


@pytest.mark.parametrize("route", [route for route, roles in OFFICE.items() if roles is not None])
def test_the_page_serves_what_the_role_of_who_is_logged_in_may(scene: Scene, route: str) -> None:
    method, path = route.split(" ")
    may = OFFICE[route]
    assert may is not None
    for role in (None, *StaffRole):
        scene.office.client.cookies.clear()
        browser = OfficeBrowser(scene.office.client)
        if role is None:
            browser.get("/login")
        else:
            browser.be(scene.cookies[role])
        where = path_of(scene, path)
        answer = browser.get(where) if method == "GET" else browser.post(where, **FIELDS)
        code = failure(answer)
        if role is None:
            assert answer.url.path == "/office/login"
        elif role in may:
            assert code != "CENTRAL-STAFF-ROLE", role
            assert answer.url.path != "/office/login"
        else:
            assert (answer.status_code, code) == (403, "CENTRAL-STAFF-ROLE"), role


def test_the_bar_shows_what_the_person_may_see(scene: Scene) -> None:
    seen = {}
    for role in StaffRole:
        scene.office.client.cookies.clear()
        browser = OfficeBrowser(scene.office.client)
        browser.be(scene.cookies[role])
        seen[role] = [
            name
            for name in ("tills", "approvals", "acts", "keys", "staff")
            if f'data-testid="nav-{name}"' in browser.page
        ]
    assert seen == {
        R.PROPOSER: ["approvals", "staff"],
        R.APPROVER: ["tills", "approvals", "acts", "keys", "staff"],
        R.CLERK: ["staff"],
        R.ISSUER: ["approvals", "staff"],
        R.CUSTODIAN: ["tills", "keys", "staff"],
        R.AUDITOR: ["tills", "approvals", "acts", "keys", "staff"],
    }
