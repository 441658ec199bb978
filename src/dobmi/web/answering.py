"""The half of a request that is the same on the page of every role: its session, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dobmi.errors import DoBMIError
from dobmi.web.forms import Flash, own_path
from dobmi.web.rendering import LANGUAGE_COOKIE, known_language
from dobmi.web.security import Session

PersonT = TypeVar("PersonT")
_YEAR_SECONDS = 365 * 24 * 3600


@dataclass(slots=True, kw_only=True)
class SessionVisit(Generic[PersonT]):
    """Who makes the request, in which language, with which form. `flashes` are by session key."""

    request: Request
    session: Session[PersonT]
    cookie: str
    flashes: dict[str, Flash]
    language: str
    fields: dict[str, str]
    sets_cookie: bool = False

    @property
    def is_partial(self) -> bool:
        return self.request.headers.get("hx-request") == "true"

    def take_flash(self) -> Flash:
        """What is to be said of the last form, once."""
        return self.flashes.pop(self.session.key, Flash())

    def html(self, text: str, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._with_cookie(HTMLResponse(text, headers=named))

    def redirect(self, path: str, *, done: str = "", failure: DoBMIError | None = None) -> Response:
        if done or failure is not None:
            self.flashes[self.session.key] = Flash(failure=failure, done=done)
        if self.is_partial:
            return self._with_cookie(Response(status_code=204, headers={"HX-Redirect": path}))
        return self._with_cookie(RedirectResponse(path, status_code=303))

    def choose_language(self, otherwise: str) -> Response:
        """Back to where the form was sent from, in the language that it names, for a year."""
        chosen = known_language(self.fields.get("language"), otherwise)
        answer = self.redirect(own_path(self.fields.get("to", "/")))
        answer.set_cookie(
            LANGUAGE_COOKIE, chosen, max_age=_YEAR_SECONDS, httponly=True, samesite="strict"
        )
        return answer

    def _with_cookie(self, response: Response) -> Response:
        if self.sets_cookie:
            response.set_cookie(
                self.cookie, self.session.key, httponly=True, samesite="strict", path="/"
            )
        return response
