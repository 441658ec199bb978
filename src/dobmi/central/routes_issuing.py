"""Issuing batches over HTTP: lists of members who are to get cards, and who is at which line."""

from __future__ import annotations

import functools
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from dobmi.central.acts import Actor
from dobmi.central.asking import (
    JSON_SIZE_MAX,
    SIGNED,
    STATION,
    Body,
    Plain,
    binary_body,
    body_of,
    in_thread,
    json_body,
    parse,
    who_acts,
    who_signed,
)
from dobmi.central.issuing import (
    BATCH_LINES_MAX,
    LINES_A_PAGE_MAX,
    Batch,
    GivenLine,
    Line,
    check_lines,
    claim_line,
    give_photo,
    known_classes,
    lines_of,
    list_batches,
    make_batch,
    put_back,
    release_claim,
    skip_line,
)
from dobmi.central.issuing import batch_of as find_batch
from dobmi.central.problems import problems, translate_for
from dobmi.central.schema import LineState, StaffRole
from dobmi.central.server import Central
from dobmi.sync import http
from dobmi.sync.outlet import CLASS_LENGTH_MAX, PHOTO_SIZE_MAX
from dobmi.sync.relay import CLAIM_LENGTH_MAX

ISSUING_SIZE_MAX = 2 * 1024 * 1024
_Claim = Annotated[Plain, Field(min_length=8, max_length=CLAIM_LENGTH_MAX)]


class MemberLine(Body):
    number: int = Field(gt=0, lt=1 << 32, description="The member's.")
    name: str = Field(max_length=400)
    member_class: str | None = Field(
        default=None,
        alias="class",
        max_length=CLASS_LENGTH_MAX,
        description="Left out: the member keeps the class they have.",
    )


class MemberList(Body):
    lines: list[MemberLine] = Field(min_length=1, max_length=BATCH_LINES_MAX)
    new_classes: list[Plain] = Field(
        default=[], max_length=50, description="Classes that nobody has yet, and that are meant."
    )


class NewBatch(MemberList):
    name: Plain = Field(min_length=1, max_length=80)
    idempotency_key: Plain = Field(min_length=8, max_length=80)


class LineClaim(Body):
    claim: _Claim = Field(description="The run's own name: nobody else has it.")


class Skip(Body):
    reason: Plain = Field(min_length=1, max_length=200)
    claim: Plain = Field(default="", max_length=CLAIM_LENGTH_MAX)


class Nothing(Body):
    pass


class WrongRow(BaseModel):
    row: int = Field(description="From 1, as given.")
    column: str = Field(description="`number`, `name` or `class`.")
    code: str
    detail: str
    advice: str


class Checked(BaseModel):
    problems: list[WrongRow]
    classes: list[str] = Field(description="Those known, but for the ordinary one.")


class IssuingBatch(BaseModel):
    number: int
    name: str
    made_at: int = Field(description="Unix seconds.")
    station: int
    person: str
    lines: int
    issued: int
    skipped: int
    waiting: int


class IssuingBatches(BaseModel):
    batches: list[IssuingBatch] = Field(description="Newest first.")


class CardOfLine(BaseModel):
    """As the card was when it was read back."""

    card_uid: str
    card_serial: int
    expires_days: int = Field(description="The last valid day, days since 1970-01-01.")
    generation: str
    originality: str = Field(description="The name of the key that signed the chip's UID.")
    resumed: bool = Field(description="An interrupted attempt was taken up.")
    issued_at: int
    station: int
    person: str


class IssuingLine(BaseModel):
    batch: int
    line: int
    member_number: int
    name: str
    member_class: str
    photo: str | None = Field(description="SHA-256 of the member's photo.")
    state: LineState
    reason: str
    issued: CardOfLine | None


class IssuingLines(BaseModel):
    lines: list[IssuingLine]
    more: bool


class ClaimedLine(BaseModel):
    batch: IssuingBatch
    line: IssuingLine | None = Field(description="Null: nothing waits that nobody else is at.")
    upcoming: IssuingLine | None


class Released(BaseModel):
    released: bool = True


BODIES: tuple[type[BaseModel], ...] = (MemberList, NewBatch, LineClaim, Skip, Nothing)
"""Read raw, so that OpenAPI is told of them by hand."""

_BatchNumber = Annotated[int, Path(gt=0, lt=1 << 53)]
_LineNumber = Annotated[int, Path(gt=0, lt=1 << 31)]
_BATCH = http.ISSUING_BATCHES_PATH + "/{number}"
_LINE = _BATCH + "/lines/{line}"
_REFUSALS = problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503)


def add_issuing_endpoints(app: FastAPI, central: Central) -> None:
    _add_lists(app, central)
    _add_looks(app, central)
    _add_claims(app, central)
    _add_changes(app, central)


async def _asks(central: Central, request: Request, body: bytes) -> Actor:
    """Whoever may issue cards."""
    station = await who_signed(central, request, body, STATION)
    return await who_acts(central, request, station, StaffRole.ISSUER)


def _add_lists(app: FastAPI, central: Central) -> None:
    @app.post(
        http.ISSUING_BATCHES_PATH,
        summary="Take a list of members who are to get cards, all of it or nothing",
        status_code=201,
        response_model=IssuingBatch,
        responses={
            200: {"model": IssuingBatch, "description": "This list was given before."},
            **_REFUSALS,
        },
        openapi_extra={**SIGNED, **json_body("NewBatch")},
    )
    async def post_batch(request: Request) -> JSONResponse:
        body = await body_of(request, http.JSON, ISSUING_SIZE_MAX)
        actor = await _asks(central, request, body)
        asked = parse(NewBatch, body)
        made, is_new = await in_thread(
            functools.partial(
                make_batch,
                central,
                asked.name,
                _given(asked),
                actor,
                idempotency_key=asked.idempotency_key,
                new_classes=asked.new_classes,
            )
        )
        return JSONResponse(_batch(made).model_dump(mode="json"), 201 if is_new else 200)

    @app.post(
        http.ISSUING_BATCHES_PATH + "/check",
        summary="What keeps rows of a list from being taken; nothing is",
        response_model=Checked,
        responses=_REFUSALS,
        openapi_extra={**SIGNED, **json_body("MemberList")},
    )
    async def check(request: Request) -> Checked:
        body = await body_of(request, http.JSON, ISSUING_SIZE_MAX)
        await _asks(central, request, body)
        asked = parse(MemberList, body)
        translate = translate_for(request.headers.get("accept-language", ""))
        found = await in_thread(check_lines, central, _given(asked), asked.new_classes)
        return Checked(
            problems=[
                WrongRow(
                    row=one.row,
                    column=one.column,
                    code=one.error.code,
                    detail=one.error.explain(translate),
                    advice=one.error.advise(translate),
                )
                for one in found
            ],
            classes=await in_thread(known_classes, central),
        )


def _add_looks(app: FastAPI, central: Central) -> None:
    @app.get(
        http.ISSUING_BATCHES_PATH,
        summary="The batches there are, at most 100",
        responses=problems(400, 401, 403, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_batches(
        request: Request, before: Annotated[int | None, Query(gt=0, lt=1 << 53)] = None
    ) -> IssuingBatches:
        await _asks(central, request, b"")
        found = await in_thread(functools.partial(list_batches, central, before=before))
        return IssuingBatches(batches=[_batch(one) for one in found])

    @app.get(
        _BATCH,
        summary="How far a batch is",
        responses=problems(400, 401, 403, 404, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_batch(request: Request, number: _BatchNumber) -> IssuingBatch:
        await _asks(central, request, b"")
        return _batch(await in_thread(find_batch, central, number))

    @app.get(
        _BATCH + "/lines",
        summary="A page of a batch's lines, with the cards that were issued",
        responses=problems(400, 401, 403, 404, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_lines(
        request: Request,
        number: _BatchNumber,
        after: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
        most: Annotated[int, Query(ge=1, le=LINES_A_PAGE_MAX)] = LINES_A_PAGE_MAX,
    ) -> IssuingLines:
        await _asks(central, request, b"")
        found = await in_thread(
            functools.partial(lines_of, central, number, after=after, most=most)
        )
        return IssuingLines(lines=[_line(one) for one in found], more=len(found) == most)


def _add_claims(app: FastAPI, central: Central) -> None:
    @app.post(
        _BATCH + "/claim",
        summary="The next line that waits, the run's own for 120 seconds",
        responses=_REFUSALS,
        openapi_extra={**SIGNED, **json_body("LineClaim")},
    )
    async def claim(request: Request, number: _BatchNumber) -> ClaimedLine:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        actor = await _asks(central, request, body)
        asked = parse(LineClaim, body)
        assert actor.station is not None
        found = await in_thread(claim_line, central, number, asked.claim, actor.station)
        return ClaimedLine(
            batch=_batch(found.batch),
            line=None if found.line is None else _line(found.line),
            upcoming=None if found.upcoming is None else _line(found.upcoming),
        )

    @app.post(
        _BATCH + "/release",
        summary="Give the run's line up: others may have it at once",
        responses=_REFUSALS,
        openapi_extra={**SIGNED, **json_body("LineClaim")},
    )
    async def release(request: Request, number: _BatchNumber) -> Released:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        await who_signed(central, request, body, STATION)  # also when the log-in is over
        asked = parse(LineClaim, body)
        await in_thread(release_claim, central, number, asked.claim)
        return Released()


def _add_changes(app: FastAPI, central: Central) -> None:
    @app.post(
        _LINE + "/skip",
        summary="Leave a line out until it is put back",
        responses=_REFUSALS,
        openapi_extra={**SIGNED, **json_body("Skip")},
    )
    async def skip(request: Request, number: _BatchNumber, line: _LineNumber) -> IssuingLine:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        await _asks(central, request, body)
        asked = parse(Skip, body)
        return _line(await in_thread(skip_line, central, number, line, asked.reason, asked.claim))

    @app.post(
        _LINE + "/put-back",
        summary="Have a line that was skipped wait again",
        responses=_REFUSALS,
        openapi_extra={**SIGNED, **json_body("Nothing")},
    )
    async def back(request: Request, number: _BatchNumber, line: _LineNumber) -> IssuingLine:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        await _asks(central, request, body)
        parse(Nothing, body)
        return _line(await in_thread(put_back, central, number, line))

    @app.post(
        _LINE + "/photo",
        summary="The photo of a line's member",
        responses=_REFUSALS,
        openapi_extra={**SIGNED, **binary_body(http.JPEG, "At most 60 kB")},
    )
    async def photo(request: Request, number: _BatchNumber, line: _LineNumber) -> IssuingLine:
        body = await body_of(request, http.JPEG, PHOTO_SIZE_MAX)
        await _asks(central, request, body)
        return _line(await in_thread(give_photo, central, number, line, body))


def _given(asked: MemberList) -> list[GivenLine]:
    return [
        GivenLine(member_number=one.number, name=one.name, member_class=one.member_class)
        for one in asked.lines
    ]


def _batch(of: Batch) -> IssuingBatch:
    return IssuingBatch(
        number=of.number,
        name=of.name,
        made_at=of.made_at,
        station=of.station,
        person=of.person,
        lines=of.lines,
        issued=of.issued,
        skipped=of.skipped,
        waiting=of.waiting,
    )


def _line(of: Line) -> IssuingLine:
    return IssuingLine(
        batch=of.batch,
        line=of.line,
        member_number=of.member_number,
        name=of.name,
        member_class=of.member_class,
        photo=None if of.photo is None else of.photo.hex(),
        state=of.state,
        reason=of.reason,
        issued=_card(of),
    )


def _card(of: Line) -> CardOfLine | None:
    if of.card_uid is None or of.card_serial is None or of.expires_on_day is None:
        return None
    assert of.issued_at is not None
    assert of.station is not None
    return CardOfLine(
        card_uid=of.card_uid.hex().upper(),
        card_serial=of.card_serial,
        expires_days=of.expires_on_day,
        generation=of.generation,
        originality=of.originality,
        resumed=of.resumed,
        issued_at=of.issued_at,
        station=of.station,
        person=of.person,
    )
