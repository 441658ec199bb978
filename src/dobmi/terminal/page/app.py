"""The page as a web application: its guard, its routes, and what it tells the browser by events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dobmi.errors import DoBMIError
from dobmi.terminal import members
from dobmi.terminal.counter_state import CounterState, Phase
from dobmi.terminal.errors import NotEnrolled
from dobmi.terminal.page import (
    routes_orders,
    routes_people,
    routes_sales,
    routes_sell,
    routes_setup,
    routes_shift,
    routes_status,
)
from dobmi.terminal.page.errors import NotOnDuty, SessionOver
from dobmi.terminal.page.rendering import LOOK, render
from dobmi.terminal.page.visit import (
    Page,
    Visit,
    Visited,
    display_facts,
    is_in_force,
    stage_facts,
    unlisted_person,
)
from dobmi.terminal.status import till_status
from dobmi.web.errors import ForeignRequest
from dobmi.web.events import OVER, Hub, event_stream
from dobmi.web.forms import own_path
from dobmi.web.security import Guard, loopback_origins


def make_app(page: Page, port: int) -> FastAPI:
    """The page for a counter, answering to this machine's own names with `port` only."""
    hub = Hub()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        page.on_change = hub.changed

        def on_state(state: CounterState) -> None:
            page.desk.on_counter(state)
            page.papers.on_counter(state)
            hub.changed()

        unwatch = page.counter.watch(on_state)
        try:
            yield
        finally:
            unwatch()
            hub.stop()
            page.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.page = page
    app.state.hub = hub
    LOOK.mount_files(app)
    app.add_exception_handler(DoBMIError, _say_error)
    app.add_api_route("/events", _events, methods=["GET"])
    app.add_api_route("/photos/{sha256}", _photo, methods=["GET"])
    for routes in (
        routes_sell,
        routes_people,
        routes_sales,
        routes_orders,
        routes_shift,
        routes_status,
        routes_setup,
    ):
        app.include_router(routes.router)
    app.add_middleware(Guard, origins=loopback_origins(port))
    return app


def _say_error(request: Request, error: Exception) -> Response:
    """A refusal, where the person can see it: in the part that asked, or on the page it came from."""
    assert isinstance(error, DoBMIError)
    visit: Visit | None = getattr(request.state, "visit", None)
    is_foreign = isinstance(error, ForeignRequest)
    if is_foreign or visit is None:  # without a visit: the ledger could not even be looked at
        return PlainTextResponse(str(error), status_code=403 if is_foreign else 503)
    if isinstance(error, SessionOver):
        return visit.redirect("/login")
    if isinstance(error, NotOnDuty):
        return visit.redirect("/shift", failure=error)
    if visit.is_partial:
        said = render("_said.html", visit.language, failure=error)
        target = visit.fields.get("said", "said")
        return visit.html(said, HX_Retarget=f"#{target}", HX_Reswap="innerHTML")
    if request.method == "GET":
        return visit.show("failed.html", "", failure=error)
    return visit.redirect(own_path(visit.fields.get("to", "/")), failure=error)


def _photo(sha256: str, visit: Visited) -> Response:
    """The face of the member whose card is being dealt with, and nobody else's."""
    card = visit.page.counter.state.card
    jpeg = None
    if card is not None and card.photo is not None and card.photo.hex() == sha256:
        jpeg = members.photo(visit.page.ledger, card.photo)
    if jpeg is None:
        return PlainTextResponse("", status_code=404)
    return Response(jpeg, media_type="image/jpeg")


async def _events(request: Request, visit: Visited, view: str = "till", here: str = "") -> Response:
    """What changes, as it changes: each event is a part of the page, ready to be put in."""
    hub: Hub = request.app.state.hub
    parts: Callable[[Visit, str], dict[str, str]] = (
        _display_parts if view == "display" else _till_parts
    )
    if view == "till" and here != "setup" and visit.session.person is None:
        parts = _no_parts  # the page is of a session that ended while nobody listened
    return event_stream(hub, partial(parts, visit, here))


def _no_parts(_visit: Visit, _here: str) -> dict[str, str]:
    return {OVER: ""}


def _till_parts(visit: Visit, here: str) -> dict[str, str]:
    if _is_over(visit):
        return {OVER: ""}
    facts = {**stage_facts(visit.page, visit.session, visit.language), "here": here}
    more = {}
    if here == "status":
        with contextlib.suppress(NotEnrolled):  # then the stage says so
            lights = routes_status.lights_of(
                visit.page, till_status(visit.page.ledger), visit.voice
            )
            more["lights"] = render("_lights.html", visit.language, lights=lights).strip()
    if visit.session.person is not None:
        more["cart"] = render("_cart.html", visit.language, **facts).strip()
    return {
        **more,
        "stage": render("_stage.html", visit.language, **facts).strip(),
        "ribbon": render("_ribbon.html", visit.language, **facts).strip(),
        "status": render("_lamp.html", visit.language, **facts).strip(),
    }


def _is_over(visit: Visit) -> bool:
    """Also where a sync brought another staff list; but not under a sale, or before its end is seen."""
    if visit.page.sessions.of(visit.session.key) is None:
        return True
    if visit.page.counter.state.phase not in {Phase.IDLE, Phase.CARD_HERE}:
        return False
    return not is_in_force(visit.page, visit.session, unlisted_person(visit.page))


def _display_parts(visit: Visit, _here: str) -> dict[str, str]:
    facts = display_facts(visit.page, visit.session, visit.language)
    return {"display": render("_display.html", visit.language, **facts).strip()}
