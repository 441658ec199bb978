"""Credits over HTTP: ordering them, how far an order is, and the cash at a station."""

from __future__ import annotations

import functools
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

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
from dobmi.central.cards import PendingCredit
from dobmi.central.cash_desk import CashCount, cash_desk, count_cash
from dobmi.central.credit_orders import HeldCredit, OrderState, order_credit, order_report
from dobmi.central.errors import BadParameters
from dobmi.central.problems import problems
from dobmi.central.schema import CreditDelivery, CreditSource, StaffRole
from dobmi.central.server import Central
from dobmi.money import Rupiah
from dobmi.sync import http

_ORDERERS = (StaffRole.ISSUER, StaffRole.PROPOSER)
"""The second for wages alone (`credit_orders`)."""


class CreditOrder(Body):
    """Money for a card: exactly one of `card_uid` and `card_serial` names it."""

    card_uid: str | None = Field(default=None, pattern="^[0-9A-Fa-f]{14}$")
    card_serial: int | None = Field(default=None, gt=0, lt=1 << 32)
    amount_rupiah: int = Field(gt=0, lt=1 << 53)
    source: Literal["cash", "salary"]
    received_rupiah: int | None = Field(
        default=None, gt=0, lt=1 << 53, description="The cash handed over; the rest is change."
    )
    idempotency_key: Plain = Field(min_length=8, max_length=80)


class Credit(BaseModel):
    card_uid: str
    sequence: int = Field(description="The card's credits are numbered from 1 and delivered so.")
    amount_rupiah: int
    source: CreditSource
    state: CreditDelivery
    ordered_at: int = Field(description="Unix seconds.")


class HeldOrder(BaseModel):
    """So large that a second person decides; it becomes a credit of the same key, or never."""

    card_uid: str
    amount_rupiah: int
    source: CreditSource
    state: Literal["held", "refused"]
    approval: int = Field(description="The number of the proposal.")
    ordered_at: int = Field(description="Unix seconds.")


class OrderedCredit(BaseModel):
    """An order as its receipt has it."""

    idempotency_key: str
    state: OrderState
    card_uid: str
    card_serial: int
    member_number: int
    member_name: str
    amount_rupiah: int
    source: CreditSource
    received_rupiah: int | None
    change_rupiah: int
    sequence: int | None = Field(description="Which of the card's credits it is; null if none.")
    approval: int | None
    person: str = Field(description="Who ordered it; empty where nobody logs in.")
    ordered_at: int


class PersonsCash(BaseModel):
    person: str
    count: int
    total_rupiah: int


class CountedCash(BaseModel):
    number: int
    person: str
    counted_rupiah: int
    expected_rupiah: int
    difference_rupiah: int
    note: str
    at: int


class StationCash(BaseModel):
    day: str = Field(description="WIB, as 2026-11-24.")
    expected_rupiah: int = Field(description="By the books, of all days, less what was banked.")
    taken_today_rupiah: int
    taken_in: list[PersonsCash]
    counts: list[CountedCash]


class Counted(Body):
    counted_rupiah: int = Field(ge=0, lt=1 << 53)
    note: Plain = Field(default="", max_length=200)


BODIES: Final = (CreditOrder, Counted)


def add_credit_endpoints(app: FastAPI, central: Central) -> None:
    _add_orders(app, central)
    _add_cash(app, central)


def _add_orders(app: FastAPI, central: Central) -> None:
    @app.post(
        "/v1/credits",
        summary="Order a credit for a card; a card session delivers it",
        status_code=201,
        response_model=Credit,
        responses={
            200: {"model": Credit | HeldOrder, "description": "This order was given before."},
            202: {"model": HeldOrder, "description": "Held: a second person decides."},
            **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra={**SIGNED, **json_body("CreditOrder")},
    )
    async def post_credit(request: Request) -> Response:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        order = parse(CreditOrder, body)
        source = CreditSource(order.source)
        roles = (StaffRole.ISSUER,) if source is CreditSource.CASH else _ORDERERS
        actor = await who_acts(central, request, station, *roles)
        if (order.card_uid is None) == (order.card_serial is None):
            raise BadParameters(detail="exactly one of card_uid and card_serial is needed")
        card = order.card_serial if order.card_uid is None else bytes.fromhex(order.card_uid)
        assert card is not None
        received = order.received_rupiah
        credit, is_new = await in_thread(
            functools.partial(
                order_credit,
                central,
                card,
                Rupiah(order.amount_rupiah),
                source,
                idempotency_key=order.idempotency_key,
                station=station,
                actor=actor,
                received=None if received is None else Rupiah(received),
            )
        )
        if isinstance(credit, HeldCredit):
            return JSONResponse(_held(credit).model_dump(mode="json"), 202 if is_new else 200)
        return JSONResponse(credit_model(credit).model_dump(mode="json"), 201 if is_new else 200)

    @app.get(
        "/v1/credits/{key}",
        summary="How far an order of this station's is, as its receipt has it",
        responses=problems(400, 401, 403, 404, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_order(
        request: Request, key: Annotated[str, Path(min_length=8, max_length=80)]
    ) -> OrderedCredit:
        station = await who_signed(central, request, b"", STATION)
        one = await in_thread(order_report, central, key, station)
        return OrderedCredit(
            idempotency_key=one.idempotency_key,
            state=one.state,
            card_uid=one.card_uid.hex().upper(),
            card_serial=one.card_serial,
            member_number=one.member_number,
            member_name=one.member_name,
            amount_rupiah=one.amount.amount,
            source=one.source,
            received_rupiah=None if one.received is None else one.received.amount,
            change_rupiah=one.change.amount,
            sequence=one.sequence,
            approval=one.approval,
            person=one.person,
            ordered_at=one.ordered_at,
        )


def _add_cash(app: FastAPI, central: Central) -> None:
    @app.get(
        "/v1/cash",
        summary="The cash at this station: what the books say, who took it in today, what was counted",
        responses=problems(400, 401, 403, 503),
        openapi_extra=SIGNED,
    )
    async def get_cash(request: Request) -> StationCash:
        station = await who_signed(central, request, b"", STATION)
        await who_acts(central, request, station, StaffRole.ISSUER, StaffRole.AUDITOR)
        desk = await in_thread(cash_desk, central, station)
        return StationCash(
            day=desk.day.isoformat(),
            expected_rupiah=desk.expected.amount,
            taken_today_rupiah=desk.taken_today.amount,
            taken_in=[
                PersonsCash(person=one.person, count=one.count, total_rupiah=one.total.amount)
                for one in desk.taken_in
            ],
            counts=[_counted(one) for one in desk.counts],
        )

    @app.post(
        "/v1/cash-counts",
        summary="Write down what cash was counted at this station",
        status_code=201,
        responses=problems(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra={**SIGNED, **json_body("Counted")},
    )
    async def post_count(request: Request) -> CountedCash:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        counted = parse(Counted, body)
        actor = await who_acts(central, request, station, StaffRole.ISSUER)
        amount = Rupiah(counted.counted_rupiah)
        return _counted(await in_thread(count_cash, central, actor, amount, counted.note))


def credit_model(credit: PendingCredit) -> Credit:
    return Credit(
        card_uid=credit.card_uid.hex().upper(),
        sequence=credit.sequence,
        amount_rupiah=credit.amount.amount,
        source=credit.source,
        state=credit.state,
        ordered_at=credit.ordered_at,
    )


def _held(credit: HeldCredit) -> HeldOrder:
    return HeldOrder(
        card_uid=credit.card_uid.hex().upper(),
        amount_rupiah=credit.amount.amount,
        source=credit.source,
        state="held" if credit.state is OrderState.HELD else "refused",
        approval=credit.approval,
        ordered_at=credit.ordered_at,
    )


def _counted(one: CashCount) -> CountedCash:
    return CountedCash(
        number=one.number,
        person=one.person,
        counted_rupiah=one.counted.amount,
        expected_rupiah=one.expected.amount,
        difference_rupiah=one.difference.amount,
        note=one.note,
        at=one.at,
    )
