"""HTTP of the page that cards open on phones."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from dobmi.central.card_link import Tap, read_static, read_tap
from dobmi.central.card_page import card_page
from dobmi.central.problems import problems
from dobmi.central.proof_page import page_language
from dobmi.central.server import Central

CARD_PATH = "/k/"
_HTML = {"content": {"text/html": {"schema": {"type": "string"}}}}


def add_card_page(app: FastAPI, central: Central) -> None:
    def answer(request: Request, tap: Tap, lang: str) -> HTMLResponse:
        language = page_language(lang, request.headers.get("accept-language", ""))
        return card_page(tap, central.settings.issuer, language)

    @app.get(
        CARD_PATH,
        summary="For people: what a card shows on a phone that it was held to",
        response_class=HTMLResponse,
        responses={404: {"description": "Not made by a card of ours.", **_HTML}, **problems(503)},
    )
    def get_card(request: Request, p: str = "", m: str = "", lang: str = "") -> Response:
        return answer(request, read_tap(central, p, m), lang)

    @app.get(
        CARD_PATH + "{card}",
        summary="For people: whether this is a card of ours, of one that cannot prove it",
        response_class=HTMLResponse,
        responses={404: {"description": "No card of ours.", **_HTML}, **problems(503)},
    )
    def get_static_card(request: Request, card: str, lang: str = "") -> Response:
        return answer(request, read_static(central, card), lang)
