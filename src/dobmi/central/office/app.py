"""The office's page as a web application of its own, mounted at /office of the central server.

It answers only under the addresses of the settings (`office_origins`), or of this machine alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from dobmi.central.errors import (
    NoSuchPage,
    PairingNotDecided,
    StaffNotBelieved,
    UnknownPairingCode,
    UnknownTerminal,
)
from dobmi.central.office import routes_approvals, routes_look, routes_people, routes_tills
from dobmi.central.office.rendering import LOOK
from dobmi.central.office.visit import Visit
from dobmi.central.problems import status_of
from dobmi.central.server import Central
from dobmi.errors import DoBMIError
from dobmi.web.errors import ForeignRequest, PageError
from dobmi.web.security import Guard

_STATUS: Final = (
    (PageError, 422),
    (UnknownTerminal, 404),  # asked about, and not who asks
    (UnknownPairingCode, 404),
    (PairingNotDecided, 409),
)


def create_office(central: Central, origins: Collection[str]) -> FastAPI:
    """`origins`: under which addresses browsers may open it, such as `https://kantor.example`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.central = central
    app.state.origins = frozenset(origins)
    LOOK.mount_files(app)
    app.add_exception_handler(DoBMIError, _say_error)
    app.add_exception_handler(HTTPException, _say_http_error)
    for routes in (routes_people, routes_tills, routes_approvals, routes_look):
        app.include_router(routes.router)
    app.add_middleware(Guard, origins=origins)
    return app


def _say_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DoBMIError)
    visit: Visit | None = getattr(request.state, "visit", None)
    if visit is None or isinstance(error, ForeignRequest):
        status = 403 if isinstance(error, ForeignRequest) else status_of(error)
        return PlainTextResponse(str(error), status_code=status)
    if isinstance(error, StaffNotBelieved):
        return visit.go("/login")
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), status_of(error))
    try:
        return visit.show("failed.html", "", status=status, failure=error)
    except DoBMIError:  # not even who is logged in can be read
        return PlainTextResponse(str(error), status_code=status)


def _say_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in {404, 405}:
        said = NoSuchPage(path=request.url.path[:80], method=request.method)
        return PlainTextResponse(str(said), status_code=error.status_code)
    return HTMLResponse("", status_code=error.status_code)
