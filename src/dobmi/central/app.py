"""The central server over HTTP. docs/formats/http.md describes it for whoever writes the other end.

The web part is thin: read the body within its limit, find out who asks, call, answer. Work with
the database and the cryptography runs in worker threads.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import FastAPI, Path, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dobmi import __doc__ as _about
from dobmi.central.acts import Actor
from dobmi.central.asking import (
    BOTH,
    JSON_SIZE_MAX,
    SIGNED,
    STATION,
    Body,
    Plain,
    answer,
    binary_body,
    body_of,
    in_thread,
    json_body,
    parse,
    who_acts,
    who_signed,
    wrong_fields,
)
from dobmi.central.cards import CardStatement, parse_card, set_blocked, statement_of
from dobmi.central.circulation import circulation
from dobmi.central.errors import (
    BadParameters,
    BadRequest,
    CentralError,
    NoSuchPage,
    ProgramFailed,
    RoleNotAllowed,
)
from dobmi.central.feeds import OutletAsked, make_feed
from dobmi.central.ingest import take_batch
from dobmi.central.member_notes import photo_of
from dobmi.central.metrics import BATCHES
from dobmi.central.office.app import create_office
from dobmi.central.office.rendering import PREFIX as OFFICE
from dobmi.central.pairing import answer_pairing, offer_pairing
from dobmi.central.periodic import PeriodicWork
from dobmi.central.problems import (
    RETRY_AFTER_SECONDS,
    Problem,
    problem_response,
    problems,
    translate_for,
)
from dobmi.central.proof_page import page_language, proof_response
from dobmi.central.readiness import Readiness, readiness
from dobmi.central.relay_session import (
    ANSWER_TIMEOUT_SECONDS,
    failed,
    foreseen_start,
    parse_start,
    run_session,
)
from dobmi.central.replacement import Replacement, replace_card, restore_due
from dobmi.central.replica import seconds_behind
from dobmi.central.routes_card_life import BODIES as CARD_LIFE_BODIES
from dobmi.central.routes_card_life import add_card_life_endpoints
from dobmi.central.routes_card_page import add_card_page
from dobmi.central.routes_credits import BODIES as CREDIT_BODIES
from dobmi.central.routes_credits import Credit, add_credit_endpoints, credit_model
from dobmi.central.routes_issuing import BODIES as ISSUING_BODIES
from dobmi.central.routes_issuing import add_issuing_endpoints
from dobmi.central.routes_keys import add_card_key_endpoint
from dobmi.central.routes_staff import BODIES, add_staff_endpoints
from dobmi.central.schema import CardState, Role, StaffRole
from dobmi.central.scrape import CONTENT_TYPE, Metrics
from dobmi.central.server import Central
from dobmi.central.serving import Around, ServerState, note_for_log
from dobmi.central.terminals import enrol, note_feed, role_of
from dobmi.central.till_records import take_records
from dobmi.errors import DoBMIError
from dobmi.sync import http
from dobmi.sync.batch import BATCH_SIZE_MAX
from dobmi.sync.errors import MalformedMessage, RelayInterrupted
from dobmi.sync.pairing import PAIRING_SIZE_MAX
from dobmi.sync.proof_code import PROOF_PATH
from dobmi.sync.records import RECORDS_SIZE_MAX
from dobmi.sync.relay import MESSAGE_SIZE_MAX, Action, Done, Failed, Start, encode_relay
from dobmi.web.security import loopback_origins

CARD_SESSIONS_MAX = 40
_NEEDS_STAFF = frozenset(action.value for action in Action) - {Action.CREDIT.value}
_card_sessions = anyio.CapacityLimiter(CARD_SESSIONS_MAX)
"""Threads of their own: a session waits for its station most of the time, and nobody else does."""

BATCHES_AT_ONCE = 2
_batches = anyio.CapacityLimiter(BATCHES_AT_ONCE)
"""In one process. A batch is processor work under one interpreter lock: of more at once each only waits
for the others, some of them while they hold rows that other processes wait for. Two, so that one
that waits for the database keeps nobody from working.
"""

ENROL_SIZE_MAX = 4096
_HTML = {"content": {"text/html": {"schema": {"type": "string"}}}}
_Held = Annotated[int | None, Query(ge=0, lt=1 << 63)]
"""The version of a part of the outlet's that a till holds; without it, it does not ask."""
_HeldKeys = Annotated[int | None, Query(ge=0, le=255)]
"""The newest generation of card keys that a till holds, 0 for none; without it, it does not say."""


class Reason(Body):
    reason: Plain = Field(min_length=1, max_length=200)


class BlockListChange(BaseModel):
    card_uid: str
    blocked: bool
    feed_version: int = Field(description="From this version on, the feed says so.")


class CardTransaction(BaseModel):
    counter: int = Field(description="The card's own number of the transaction.")
    kind: Literal["sale", "credit"]
    terminal_id: int = Field(description="0: the central server.")
    sequence: int
    amount_rupiah: int
    balance_after_rupiah: int
    card_mac_verified: bool = Field(
        description="False: proved by the card's transactions before and after."
    )
    at: int = Field(description="Unix seconds.")


class CardReplacement(BaseModel):
    """A lost card: when its money comes to the member's new one, and what of it has come."""

    card_uid: str
    reason: str
    replaced_at: int = Field(description="Unix seconds.")
    feed_version: int = Field(description="From this version on, the feed says so.")
    waits_for_tills: list[int] = Field(description="Tills that have not said they have the block.")
    restored_by_rule_at: int = Field(description="Then it waits for no till any more.")
    safe_at: int | None
    safe_by: str
    new_card_uid: str | None
    restored_rupiah: int
    held_rupiah: int = Field(description="Sales in doubt: what they turn out not to be follows.")
    left_rupiah: int = Field(description="Still on the old card's account.")
    shortfall_rupiah: int = Field(description="Spent with the old card and restored all the same.")


class Card(BaseModel):
    """What the ledger says. The card may have sales that no till has reported yet."""

    card_uid: str
    card_serial: int
    member_number: int
    member_name: str
    state: CardState
    block_reason: str
    expires: str = Field(description="The last valid day, ISO 8601.")
    balance_rupiah: int
    credits_waiting: list[Credit]
    transactions: list[CardTransaction] = Field(description="Newest first, at most 20.")
    key_generation: int = Field(description="Of the card's keys, when they were last changed.")
    replacement: CardReplacement | None = Field(description="Of a card that was lost.")


class PeriodicJob(BaseModel):
    """What the server does by itself; `overdue` after a day without success. Times Unix seconds."""

    name: str
    finished_at: int | None
    failures: int = Field(description="In a row.")
    overdue: bool


class ReadinessReport(BaseModel):
    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(description="`ok`, or what is wrong.")
    periodic: list[PeriodicJob]


class CirculationReport(BaseModel):
    """In rupiah. `issued` and `redeemed` are flows since the beginning; `in_wallets` to `suspense` are
    stocks. `sum_rupiah`, issued less redeemed less all stocks, is nought, or money was made or lost.
    """

    issued_rupiah: int
    redeemed_rupiah: int
    in_wallets_rupiah: int
    in_flight_rupiah: int
    on_cards_rupiah: int
    owed_to_outlets_rupiah: int
    owed_to_merchants_rupiah: int
    suspense_rupiah: int
    sum_rupiah: int
    on_cards_by_their_own_word_rupiah: int
    not_yet_reported_rupiah: int
    doubts_open: int
    doubts_open_rupiah: int
    quarantined: int
    anomalies: int
    rejected_batches: int
    seconds_behind: int | None = Field(
        description="Of the replica that the report is from; null if it does not know."
    )


def create_app(
    central: Central,
    *,
    periodic: PeriodicWork | None = None,
    state: ServerState | None = None,
    port: int | None = None,
) -> FastAPI:
    """The application for one central server whose tables exist (`Database.require_tables`).

    While it runs it does the `periodic` work, if it is given some. `state` tells it that it stops;
    `port` is the one it listens at, the settings' if none is given.
    """
    state = state or ServerState()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if periodic is not None:
            periodic.start()
        yield
        if periodic is not None:
            await in_thread(periodic.stop)
        central.database.close()

    app = FastAPI(
        title="Do BMI central server",
        version="1",
        summary=_about,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Around, state=state)
    _add_error_handlers(app)
    _add_operations(app, central, state)
    _add_terminal_endpoints(app, central)
    _add_pairing_endpoints(app, central)
    add_card_key_endpoint(app, central)
    _add_station_endpoints(app, central)
    add_credit_endpoints(app, central)
    add_card_life_endpoints(app, central)
    add_staff_endpoints(app, central)
    add_issuing_endpoints(app, central)
    _add_pages(app, central)
    _add_card_sessions(app, central)
    origins = central.settings.office_origins or loopback_origins(port or central.settings.port)
    app.mount(OFFICE, create_office(central, origins))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's documented way
    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(DoBMIError)
    async def _domain(request: Request, error: Exception) -> Response:
        assert isinstance(error, DoBMIError)
        note_for_log(request, problem=error.code)
        return problem_response(error, request)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        note_for_log(request, problem=BadParameters.code)
        return problem_response(BadParameters(detail=wrong_fields(error.errors())), request)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code in {404, 405}:
            path = request.url.path[:80]
            note_for_log(request, problem=NoSuchPage.code)
            return problem_response(NoSuchPage(path=path, method=request.method), request)
        note_for_log(request, problem=BadRequest.code)
        return problem_response(BadRequest(detail=str(error.detail)), request)

    @app.exception_handler(Exception)  # `Around` has it in the log
    async def _program(request: Request, _error: Exception) -> Response:
        return problem_response(ProgramFailed(), request)


def _add_operations(app: FastAPI, central: Central, state: ServerState) -> None:
    metrics = Metrics(central)

    @app.get(http.HEALTH_PATH, summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        http.READY_PATH,
        summary="Whether the server should be given work",
        response_model=ReadinessReport,
        responses={503: {"model": ReadinessReport, "description": "Not now."}},
    )
    def readyz() -> JSONResponse:
        found = readiness(central, state)
        report = _readiness(found, central.unix_seconds())
        headers = None if found.is_ready else {"retry-after": str(RETRY_AFTER_SECONDS)}
        status = 200 if found.is_ready else 503
        return JSONResponse(report.model_dump(mode="json"), status, headers)

    @app.get("/metrics", include_in_schema=False)
    def prometheus(request: Request) -> Response:
        if central.settings.metrics_port or not _is_of_this_machine(request):
            raise NoSuchPage(path="/metrics", method=request.method)
        return Response(metrics.text(), media_type=CONTENT_TYPE)


_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def _is_of_this_machine(request: Request) -> bool:
    """Not what a proxy on this machine brings from elsewhere."""
    host = "" if request.client is None else request.client.host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    return is_loopback and not any(name in request.headers for name in _FORWARDED)


def _readiness(found: Readiness, now: int) -> ReadinessReport:
    return ReadinessReport(
        status="ready" if found.is_ready else "not ready",
        checks=found.checks,
        periodic=[
            PeriodicJob(
                name=job.name,
                finished_at=job.finished_at,
                failures=job.failures,
                overdue=job.is_overdue(now),
            )
            for job in found.periodic
        ],
    )


def _add_terminal_endpoints(app: FastAPI, central: Central) -> None:
    @app.post(
        http.ENROL_PATH,
        summary="Enrol a till or a station with an invitation",
        status_code=201,
        response_class=Response,
        responses={
            **answer(201, http.COSE, "COSE_Sign1 `dobmi/enrolled/1` by the server"),
            **problems(400, 401, 403, 408, 409, 413, 415, 503),
        },
        openapi_extra=binary_body(http.COSE, "COSE_Sign1 `dobmi/enrol/1` by the new key"),
    )
    async def post_terminal(request: Request) -> Response:
        body = await body_of(request, http.COSE, ENROL_SIZE_MAX)
        answer = await in_thread(enrol, central, body)
        return Response(answer, status_code=201, media_type=http.COSE)

    @app.post(
        http.BATCHES_PATH,
        summary="Upload a batch of vouchers",
        response_class=Response,
        responses={
            **answer(200, http.COSE, "COSE_Sign1 `dobmi/ack/1`: the batch is durable"),
            **problems(400, 401, 403, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra=binary_body(http.CBOR, "A batch; its signature is inside it"),
    )
    async def post_batch(request: Request) -> Response:
        body = await body_of(request, http.CBOR, BATCH_SIZE_MAX)
        try:
            answer = await in_thread(take_batch, central, body, limiter=_batches)
        except DoBMIError as error:
            BATCHES.labels(error.code).inc()
            raise
        BATCHES.labels("acknowledged").inc()
        return Response(answer, media_type=http.COSE)

    @app.get(
        http.FEED_PATH,
        summary="The block list's changes since a version, limits, waiting credits",
        response_class=Response,
        responses={
            **answer(200, http.COSE, "COSE_Sign1 `dobmi/feed/1` by the server"),
            **problems(400, 401, 403, 422, 503),
        },
        openapi_extra=SIGNED,
    )
    async def get_feed(
        request: Request,
        since: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
        settled_since: Annotated[int | None, Query(ge=0, lt=1 << 63)] = None,
        acknowledged: Annotated[int | None, Query(ge=0, lt=1 << 63)] = None,
        *,
        catalogue: _Held = None,
        staff: _Held = None,
        orders: _Held = None,
        members: _Held = None,
        keys: _HeldKeys = None,
        pin: Annotated[int, Query(ge=0, le=1)] = 0,
    ) -> Response:
        terminal_id = await who_signed(central, request, b"", BOTH)
        await in_thread(note_feed, central, terminal_id, since, acknowledged, keys)
        await in_thread(restore_due, central)
        asks = None if settled_since is None else (terminal_id, settled_since)
        head_of = None if acknowledged is None else terminal_id
        asked = None
        if any(held is not None for held in (catalogue, staff, orders, members, keys)):
            asked = OutletAsked(
                terminal_id=terminal_id,
                catalogue=catalogue,
                staff=staff,
                orders=orders,
                members=members,
                keys=keys,
                pin=bool(pin),
            )
        feed = await in_thread(make_feed, central, since, asks, head_of, asked)
        return Response(feed, media_type=http.COSE)

    @app.post(
        http.RECORDS_PATH,
        summary="Report closed shifts, and what was done with members' orders",
        response_class=Response,
        responses={
            **answer(200, http.COSE, "COSE_Sign1 `dobmi/records-taken/1`: they are durable"),
            **problems(400, 401, 403, 408, 409, 413, 415, 503),
        },
        openapi_extra=binary_body(http.COSE, "COSE_Sign1 `dobmi/till-records/1` by the till"),
    )
    async def post_records(request: Request) -> Response:
        body = await body_of(request, http.COSE, RECORDS_SIZE_MAX)
        answer = await in_thread(take_records, central, body)
        return Response(answer, media_type=http.COSE)

    @app.get(
        http.PHOTOS_PATH + "/{photo}",
        summary="A member's photo, by its SHA-256",
        response_class=Response,
        responses={
            **answer(200, http.JPEG, "At most 60 kB"),
            **problems(400, 401, 403, 404, 422, 503),
        },
        openapi_extra=SIGNED,
    )
    async def get_photo(
        request: Request, photo: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
    ) -> Response:
        await who_signed(central, request, b"", BOTH)
        jpeg = await in_thread(photo_of, central.database, bytes.fromhex(photo))
        return Response(jpeg, media_type=http.JPEG)


def _add_pages(app: FastAPI, central: Central) -> None:
    add_card_page(app, central)

    @app.get(
        PROOF_PATH + "{token}",
        summary="For people: whether a receipt's sale is on record, and what became of it",
        response_class=HTMLResponse,
        responses={404: {"description": "Not the code of a receipt.", **_HTML}, **problems(503)},
    )
    def get_proof(request: Request, token: str, lang: str = "") -> Response:
        language = page_language(lang, request.headers.get("accept-language", ""))
        return proof_response(central, token, language)


def _add_pairing_endpoints(app: FastAPI, central: Central) -> None:
    @app.post(
        http.PAIRINGS_PATH,
        summary="Ask to be taken in as a till, by a code that the office will approve",
        status_code=201,
        response_class=Response,
        responses={
            **answer(201, http.COSE, "COSE_Sign1 `dobmi/pairing-offer/1` by the server"),
            **problems(400, 401, 403, 408, 413, 415, 422, 503),
        },
        openapi_extra=binary_body(http.COSE, "COSE_Sign1 `dobmi/pairing-request/1`, new key"),
    )
    async def post_pairing(request: Request) -> Response:
        body = await body_of(request, http.COSE, PAIRING_SIZE_MAX)
        answer = await in_thread(offer_pairing, central, body)
        return Response(answer, status_code=201, media_type=http.COSE)

    @app.post(
        http.PAIRING_ANSWER_PATH,
        summary="Open the commitment; ask what the office decided",
        response_class=Response,
        responses={
            **answer(200, http.COSE, "COSE_Sign1 `dobmi/pairing-answer/1` by the server"),
            **problems(400, 401, 403, 404, 408, 413, 415, 503),
        },
        openapi_extra=binary_body(http.COSE, "COSE_Sign1 `dobmi/pairing-opening/1`, same key"),
    )
    async def post_pairing_answer(request: Request) -> Response:
        body = await body_of(request, http.COSE, PAIRING_SIZE_MAX)
        answer = await in_thread(answer_pairing, central, body)
        return Response(answer, media_type=http.COSE)


def _add_station_endpoints(app: FastAPI, central: Central) -> None:
    @app.get(
        "/v1/cards/{card}",
        summary="What the ledger says of a card, by UID or serial number",
        response_model=Card,
        responses=problems(400, 401, 403, 404, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_card(request: Request, card: _CardName) -> Card:
        await who_signed(central, request, b"", STATION)
        return _card(await in_thread(statement_of, central, parse_card(card)))

    async def change_block_list(request: Request, card: str, *, blocked: bool) -> BlockListChange:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        reason = parse(Reason, body).reason
        actor = await who_acts(central, request, station, StaffRole.ISSUER)
        uid = (await in_thread(statement_of, central, parse_card(card))).uid
        version = await in_thread(
            functools.partial(
                set_blocked,
                central,
                uid,
                reason,
                blocked=blocked,
                by_terminal=station,
                actor=actor,
            )
        )
        return BlockListChange(card_uid=uid.hex().upper(), blocked=blocked, feed_version=version)

    @app.post(
        "/v1/cards/{card}/block",
        summary="Have every till refuse a card from its next sync on",
        responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("Reason")},
    )
    async def block_card(request: Request, card: _CardName) -> BlockListChange:
        return await change_block_list(request, card, blocked=True)

    @app.post(
        "/v1/cards/{card}/unblock",
        summary="Take a block back",
        responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("Reason")},
    )
    async def unblock_card(request: Request, card: _CardName) -> BlockListChange:
        return await change_block_list(request, card, blocked=False)

    @app.post(
        "/v1/cards/{card}/replace",
        summary="Block a lost card for good; its money comes to the member's next card",
        responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("Reason")},
    )
    async def replace(request: Request, card: _CardName) -> CardReplacement:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        reason = parse(Reason, body).reason
        actor = await who_acts(central, request, station, StaffRole.ISSUER)
        uid = (await in_thread(statement_of, central, parse_card(card))).uid
        await in_thread(
            functools.partial(replace_card, central, uid, reason, by_terminal=station, actor=actor)
        )
        replaced = (await in_thread(statement_of, central, uid)).replacement
        assert replaced is not None
        return _replacement(replaced)

    @app.get(
        "/v1/circulation",
        summary="Where every rupiah is",
        responses=problems(400, 401, 403, 503),
        openapi_extra=SIGNED,
    )
    async def get_circulation(request: Request) -> CirculationReport:
        await who_signed(central, request, b"", STATION)
        reports = central.for_reports()
        now = await in_thread(circulation, reports)
        behind = await in_thread(seconds_behind, reports.database)
        return CirculationReport(
            issued_rupiah=now.issued.amount,
            redeemed_rupiah=now.redeemed.amount,
            in_wallets_rupiah=now.in_wallets.amount,
            in_flight_rupiah=now.in_flight.amount,
            on_cards_rupiah=now.on_cards.amount,
            owed_to_outlets_rupiah=now.owed_to_outlets.amount,
            owed_to_merchants_rupiah=now.owed_to_merchants.amount,
            suspense_rupiah=now.suspense.amount,
            sum_rupiah=now.difference.amount,
            on_cards_by_their_own_word_rupiah=now.on_cards_by_their_own_word.amount,
            not_yet_reported_rupiah=now.not_yet_reported.amount,
            doubts_open=now.doubts_open,
            doubts_open_rupiah=now.doubts_open_sum.amount,
            quarantined=now.quarantined,
            anomalies=now.anomalies,
            rejected_batches=now.rejected_batches,
            seconds_behind=behind,
        )


def _add_card_sessions(app: FastAPI, central: Central) -> None:
    @app.websocket(http.CARD_SESSIONS_PATH)
    async def card_session(websocket: WebSocket) -> None:
        """One relayed session with one card; the messages are docs/formats/relay.md's."""
        try:
            terminal_id = await who_signed(central, websocket, b"", BOTH, method="GET", once=True)
            actor = await _actor_of_session(central, websocket, terminal_id)
        except DoBMIError as error:
            await websocket.send_denial_response(problem_response(error, websocket))
            return
        await websocket.accept()
        try:
            await _run_card_session(central, websocket, actor)
        except WebSocketDisconnect:
            return  # the station is gone; what the session did is in the database
        await websocket.close()


async def _actor_of_session(central: Central, websocket: WebSocket, terminal_id: int) -> Actor:
    """A session that only delivers credits needs nobody; of a station's others, somebody who may.

    The handshake's query, which is signed, says which it is. Raises StaffNotBelieved, RoleLacking.
    """
    role = await in_thread(role_of, central, terminal_id)
    action = websocket.query_params.get("action", "")
    if role is not Role.STATION or action not in _NEEDS_STAFF:
        return Actor("", terminal_id)
    return await who_acts(central, websocket, terminal_id, StaffRole.ISSUER)


async def _run_card_session(central: Central, websocket: WebSocket, actor: Actor) -> None:
    def exchange(message: bytes) -> bytes:
        return anyio.from_thread.run(line.exchange, message)

    terminal_id = actor.station
    assert terminal_id is not None
    translate = translate_for(websocket.headers.get("accept-language", ""))
    last: Done | Failed
    try:
        line = _Line(websocket)
        start = line.foreseen or await line.greeted()
        if start.action not in {Action.CREDIT, Action.REKEY}:  # what tills relay, too
            role = await in_thread(role_of, central, terminal_id)
            if role is not Role.STATION:
                raise RoleNotAllowed(terminal_id=terminal_id, role=role.value)
        work = functools.partial(
            run_session, central, start, exchange, translate, relayed_by=terminal_id, actor=actor
        )
        last = await in_thread(work, limiter=_card_sessions)
        await line.greeted()
    except (CentralError, MalformedMessage, RelayInterrupted) as error:
        last = failed(error, translate)
    await websocket.send_bytes(encode_relay(last))


class _Line:
    """The messages of one session. What the handshake says in full (`foreseen`) is begun with before
    the station's own first message is here: that saves a round trip.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._query = websocket.scope["query_string"].decode("ascii", "replace")
        self._start: Start | None = None
        self._error: DoBMIError | WebSocketDisconnect | None = None
        self.foreseen = foreseen_start(self._query)

    async def greeted(self) -> Start:
        """The station's first message. Raises MalformedMessage, OtherSession, RelayInterrupted."""
        if self._error is not None:
            raise self._error
        if self._start is None:
            try:
                self._start = parse_start(await _receive(self._websocket), self._query)
            except (DoBMIError, WebSocketDisconnect) as error:
                self._error = error
                raise
        return self._start

    async def exchange(self, message: bytes) -> bytes:
        try:
            await self._websocket.send_bytes(message)
            await self.greeted()
            return await _receive(self._websocket)
        except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError: closed before sending
            raise RelayInterrupted(detail="the station's connection closed") from error


async def _receive(websocket: WebSocket) -> bytes:
    """The station's next message. Raises RelayInterrupted, WebSocketDisconnect, MalformedMessage."""
    try:
        with anyio.fail_after(ANSWER_TIMEOUT_SECONDS):
            message = await websocket.receive()
    except TimeoutError as error:
        raise RelayInterrupted(detail="the station fell silent") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    data = message.get("bytes")
    if not isinstance(data, bytes) or len(data) > MESSAGE_SIZE_MAX:
        raise MalformedMessage(detail=f"not a binary message of at most {MESSAGE_SIZE_MAX} bytes")
    return data


_CardName = Annotated[str, Path(description="UID (14 hex digits) or serial number", max_length=20)]


def _replacement(of: Replacement) -> CardReplacement:
    return CardReplacement(
        card_uid=of.card_uid.hex().upper(),
        reason=of.reason,
        replaced_at=of.at,
        feed_version=of.feed_version,
        waits_for_tills=list(of.waits_for),
        restored_by_rule_at=of.by_rule_at,
        safe_at=of.safe_at,
        safe_by=of.safe_by,
        new_card_uid=None if of.new_card is None else of.new_card.hex().upper(),
        restored_rupiah=of.restored.amount,
        held_rupiah=of.held.amount,
        left_rupiah=of.left.amount,
        shortfall_rupiah=of.shortfall.amount,
    )


def _card(card: CardStatement) -> Card:
    return Card(
        card_uid=card.uid.hex().upper(),
        card_serial=card.serial,
        member_number=card.member_number,
        member_name=card.member_name,
        state=card.state,
        block_reason=card.block_reason,
        expires=card.expires.isoformat(),
        balance_rupiah=card.balance.amount,
        credits_waiting=[credit_model(credit) for credit in card.credits_waiting],
        key_generation=card.key_version,
        replacement=None if card.replacement is None else _replacement(card.replacement),
        transactions=[
            CardTransaction(
                counter=line.counter,
                kind="credit" if line.is_credit else "sale",
                terminal_id=line.terminal_id,
                sequence=line.sequence,
                amount_rupiah=line.amount.amount,
                balance_after_rupiah=line.balance_after.amount,
                card_mac_verified=line.card_mac_verified,
                at=line.at,
            )
            for line in card.transactions
        ],
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description with what it cannot see: bodies read raw, the problem, the signature."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        models: list[type[BaseModel]] = [Problem, Reason, *CREDIT_BODIES, *BODIES]
        models += [*ISSUING_BODIES, *CARD_LIFE_BODIES]
        for model in models:
            schemas[model.__name__] = model.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
        for model in models:
            schemas.update(schemas[model.__name__].pop("$defs", {}))
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in schema["paths"].values():
            for operation in path.values():
                if _is_default_422(operation):
                    del operation["responses"]["422"]
        components["securitySchemes"] = {
            "signedRequest": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "`DoBMI ` and the base64url of a COSE_Sign1 `dobmi/request/1` "
                "over terminal, method, path, time, nonce and SHA-256 of the body.",
            }
        }
        app.openapi_schema = schema
    return app.openapi_schema


def _is_default_422(operation: dict[str, Any]) -> bool:
    content = operation["responses"].get("422", {}).get("content", {})
    return "HTTPValidationError" in str(content)
