"""The staff's page as a web application: its guard, its routes, and what it tells the browser by events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dobmi.errors import DoBMIError
from dobmi.provisioning.page import (
    routes_approvals,
    routes_batches,
    routes_cards,
    routes_people,
    routes_reports,
    routes_work,
)
from dobmi.provisioning.page.errors import LoggedOut
from dobmi.provisioning.page.rendering import LOOK, render
from dobmi.provisioning.page.visit import Page, Visit, Visited, live_facts
from dobmi.sync.errors import ServerRefused
from dobmi.web.errors import ForeignRequest
from dobmi.web.events import OVER, Hub, event_stream
from dobmi.web.forms import own_path
from dobmi.web.security import Guard, loopback_origins

SESSION_PROBLEMS = frozenset({"CENTRAL-STAFF-NEEDED", "CENTRAL-STAFF-SESSION"})
"""By which the server says that somebody has to log in again."""


def make_app(page: Page, port: int) -> FastAPI:
    """The page for a station, answering to this machine's own names with `port` only."""
    hub = Hub()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        page.on_change = hub.changed
        page.bench.watch(hub.changed)
        try:
            yield
        finally:
            hub.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.page = page
    app.state.hub = hub
    LOOK.mount_files(app)
    app.add_exception_handler(DoBMIError, _say_error)
    app.add_api_route("/events", _events, methods=["GET"])
    for routes in (
        routes_people,
        routes_cards,
        routes_work,
        routes_batches,
        routes_approvals,
        routes_reports,
    ):
        app.include_router(routes.router)
    app.add_middleware(Guard, origins=loopback_origins(port))
    return app


def _say_error(request: Request, error: Exception) -> Response:
    """A refusal, where the person can see it: in the part that asked, or on the page it came from."""
    assert isinstance(error, DoBMIError)
    visit: Visit | None = getattr(request.state, "visit", None)
    if isinstance(error, ForeignRequest) or visit is None:
        return PlainTextResponse(str(error), status_code=403)
    if isinstance(error, ServerRefused) and error.facts.get("problem") in SESSION_PROBLEMS:
        visit.page.sessions.end(visit.session.key)
        visit.session = visit.page.sessions.start()
        visit.sets_cookie = True
        return visit.redirect("/login", failure=error)
    if isinstance(error, LoggedOut):
        return visit.redirect("/login")
    if visit.is_partial:
        said = render("_said.html", visit.language, failure=error)
        target = visit.fields.get("said", "said")
        return visit.html(said, HX_Retarget=f"#{target}", HX_Reswap="innerHTML")
    if request.method == "GET":
        return visit.show("failed.html", "", failure=error)
    return visit.redirect(own_path(visit.fields.get("to", "/")), failure=error)


async def _events(request: Request, visit: Visited, here: str = "") -> Response:
    """What changes, as it changes: each event is a part of the page, ready to be put in."""
    hub: Hub = request.app.state.hub
    return event_stream(hub, partial(_parts, visit, here))


def _parts(visit: Visit, here: str) -> dict[str, str]:
    if here != "login" and visit.page.sessions.of(visit.session.key) is None:
        return {OVER: ""}
    facts = {**live_facts(visit.page, visit.session, visit.language), "here": here}
    names = {"stage": "_stage.html", "ribbon": "_ribbon.html", "strip": "_strip.html"}
    if here == "card":
        names["card"] = "_card.html"
        facts["person"] = visit.session.person
    if here == "batch":
        names["run"] = "_run.html"
    return {
        name: render(template, visit.language, **facts).strip() for name, template in names.items()
    }
