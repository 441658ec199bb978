"""HTTP for tills that hold no masters: one card's key per tap."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from dobmi.central.asking import BOTH, SIGNED, answer, binary_body, body_of, in_thread, who_signed
from dobmi.central.card_keys import give_card_key
from dobmi.central.metrics import CARD_KEYS
from dobmi.central.problems import problems
from dobmi.central.server import Central
from dobmi.errors import DoBMIError
from dobmi.sync import http
from dobmi.sync.card_keys import REQUEST_SIZE_MAX


def add_card_key_endpoint(app: FastAPI, central: Central) -> None:
    @app.post(
        http.CARD_KEYS_PATH,
        summary="One card's key, for a till that holds no masters",
        response_class=Response,
        responses={
            **answer(200, http.COSE, "COSE_Sign1 `dobmi/card-key/1` by the server"),
            **problems(400, 401, 403, 404, 408, 409, 413, 415, 429, 503),
        },
        openapi_extra={
            **SIGNED,
            **binary_body(http.CBOR, "Which key of which card, and a key to seal it to"),
        },
    )
    async def post_card_key(request: Request) -> Response:
        try:
            body = await body_of(request, http.CBOR, REQUEST_SIZE_MAX)
            terminal_id = await who_signed(central, request, body, BOTH)
            given = await in_thread(give_card_key, central, terminal_id, body)
        except DoBMIError as error:
            CARD_KEYS.labels(error.code).inc()
            raise
        CARD_KEYS.labels("given").inc()
        return Response(given, media_type=http.COSE)
