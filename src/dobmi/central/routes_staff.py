"""Staff over HTTP: logging in at a station, proposing and deciding, reading what was done."""

from __future__ import annotations

import functools
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request
from pydantic import BaseModel, Field

from dobmi.central.acts import NotedAct, list_acts
from dobmi.central.approvals import Approval, approval_of, decide, list_approvals, propose_at
from dobmi.central.asking import (
    JSON_SIZE_MAX,
    SIGNED,
    STATION,
    Body,
    Plain,
    body_of,
    in_thread,
    json_body,
    parse,
    who_acts,
    who_signed,
)
from dobmi.central.problems import problems
from dobmi.central.schema import ApprovalKind, StaffRole
from dobmi.central.server import Central
from dobmi.central.staff_login import log_in, log_out
from dobmi.sync import http

LOOKERS = (StaffRole.PROPOSER, StaffRole.APPROVER, StaffRole.ISSUER, StaffRole.AUDITOR)
"""Who sees proposals."""
READERS_OF_ACTS = (StaffRole.AUDITOR, StaffRole.APPROVER)
NUMBERS_END = 1 << 53


class LogIn(Body):
    name: Plain = Field(min_length=1, max_length=80)
    password: str = Field(min_length=1, max_length=400)


class Session(BaseModel):
    token: str = Field(description="For the header `Dobmi-Staff`, at this station alone.")
    name: str
    roles: list[StaffRole]
    expires_unix_seconds: int


class LoggedOut(BaseModel):
    logged_out: bool = True


class Proposal(Body):
    kind: ApprovalKind = Field(strict=False)
    facts: dict[str, str | int | bool] = Field(max_length=20)


class Decision(Body):
    accept: bool


class Proposed(BaseModel):
    """`accepted` null: nobody decided yet."""

    number: int
    kind: ApprovalKind
    facts: dict[str, str | int | bool]
    proposed_by: str
    station: int | None
    proposed_at: int = Field(description="Unix seconds.")
    accepted: bool | None
    decided_by: str
    decided_at: int | None
    outcome: str


class Proposals(BaseModel):
    proposals: list[Proposed] = Field(description="Newest first, at most 100.")


class StaffAct(BaseModel):
    id: int
    at: int = Field(description="Unix seconds.")
    station: int | None
    person: str = Field(description="Empty: nobody had to log in, or a program did it.")
    act: str
    subject: str
    amount_rupiah: int
    detail: str


class Acts(BaseModel):
    acts: list[StaffAct] = Field(description="Newest first.")


BODIES: tuple[type[BaseModel], ...] = (LogIn, Proposal, Decision)
"""Read raw, so that OpenAPI is told of them by hand."""

_Number = Annotated[int, Path(gt=0, lt=NUMBERS_END)]


def add_staff_endpoints(app: FastAPI, central: Central) -> None:
    _add_sessions(app, central)
    _add_approvals(app, central)
    _add_acts(app, central)


def _add_sessions(app: FastAPI, central: Central) -> None:
    @app.post(
        http.STAFF_SESSIONS_PATH,
        summary="Log a person of the staff in at the station",
        status_code=201,
        response_model=Session,
        responses=problems(400, 401, 403, 408, 409, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("LogIn")},
    )
    async def post_session(request: Request) -> Session:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        asked = parse(LogIn, body)
        opened = await in_thread(log_in, central, asked.name, asked.password, station)
        return Session(
            token=opened.token,
            name=opened.name,
            roles=sorted(opened.roles),
            expires_unix_seconds=opened.expires_at,
        )

    @app.delete(
        http.STAFF_SESSIONS_PATH,
        summary="Log out whoever the header `Dobmi-Staff` names",
        responses=problems(400, 401, 403, 503),
        openapi_extra=SIGNED,
    )
    async def delete_session(request: Request) -> LoggedOut:
        await who_signed(central, request, b"", STATION)
        await in_thread(log_out, central, request.headers.get(http.STAFF_HEADER))
        return LoggedOut()


def _add_approvals(app: FastAPI, central: Central) -> None:
    @app.get(
        http.APPROVALS_PATH,
        summary="What was proposed, and what became of it",
        responses=problems(400, 401, 403, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_approvals(request: Request, *, waiting: bool | None = None) -> Proposals:
        station = await who_signed(central, request, b"", STATION)
        await who_acts(central, request, station, *LOOKERS)
        found = await in_thread(
            functools.partial(list_approvals, central.database, waiting=waiting)
        )
        return Proposals(proposals=[_proposed(one) for one in found])

    @app.post(
        http.APPROVALS_PATH,
        summary="Propose what somebody else must accept",
        status_code=201,
        response_model=Proposed,
        responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("Proposal")},
    )
    async def post_approval(request: Request) -> Proposed:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        asked = parse(Proposal, body)
        actor = await who_acts(central, request, station)
        made = await in_thread(propose_at, central, asked.kind, asked.facts, actor)
        return _proposed(made)

    @app.get(
        http.APPROVALS_PATH + "/{number}",
        summary="One proposal",
        responses=problems(400, 401, 403, 404, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_approval(request: Request, number: _Number) -> Proposed:
        station = await who_signed(central, request, b"", STATION)
        await who_acts(central, request, station, *LOOKERS)
        return _proposed(await in_thread(approval_of, central.database, number))

    @app.post(
        http.APPROVALS_PATH + "/{number}/decision",
        summary="Accept and thereby have it done, or refuse",
        responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("Decision")},
    )
    async def post_decision(request: Request, number: _Number) -> Proposed:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        accept = parse(Decision, body).accept
        actor = await who_acts(central, request, station, StaffRole.APPROVER)
        now = central.unix_seconds()
        return _proposed(await in_thread(decide, central, number, accept, actor, now))


def _add_acts(app: FastAPI, central: Central) -> None:
    @app.get(
        http.ACTS_PATH,
        summary="What staff did, and who",
        responses=problems(400, 401, 403, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_acts(
        request: Request,
        person: Annotated[str | None, Query(max_length=80)] = None,
        act: Annotated[str | None, Query(max_length=30)] = None,
        before: Annotated[int | None, Query(gt=0, lt=NUMBERS_END)] = None,
        newest: Annotated[int, Query(gt=0, le=500)] = 100,
    ) -> Acts:
        station = await who_signed(central, request, b"", STATION)
        await who_acts(central, request, station, *READERS_OF_ACTS)
        found = await in_thread(
            functools.partial(
                list_acts,
                central.for_reports().database,
                person=person,
                act=act,
                before=before,
                newest=newest,
            )
        )
        return Acts(acts=[_act(one) for one in found])


def _proposed(one: Approval) -> Proposed:
    return Proposed(
        number=one.number,
        kind=one.kind,
        facts=dict(one.facts),
        proposed_by=one.proposed_by,
        station=one.station,
        proposed_at=one.proposed_at,
        accepted=one.accepted,
        decided_by=one.decided_by,
        decided_at=one.decided_at,
        outcome=one.outcome,
    )


def _act(one: NotedAct) -> StaffAct:
    return StaffAct(
        id=one.id,
        at=one.at,
        station=one.station,
        person=one.person,
        act=one.act,
        subject=one.subject,
        amount_rupiah=one.amount.amount,
        detail=one.detail,
    )
