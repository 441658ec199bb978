"""HTTP of cards' lives: which expire soon, and cash for a member who gave theirs back."""

from __future__ import annotations

import functools
from typing import Annotated, Final

from fastapi import FastAPI, Query, Request, Response
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
from dobmi.central.expiring import expiring_cards
from dobmi.central.payouts import pay_out
from dobmi.central.problems import problems
from dobmi.central.schema import StaffRole
from dobmi.central.server import Central
from dobmi.money import Rupiah
from dobmi.sync import http


class PayoutOrder(Body):
    member_number: int = Field(gt=0, lt=1 << 32)
    amount_rupiah: int = Field(gt=0, lt=1 << 53)
    idempotency_key: Plain = Field(min_length=8, max_length=80)


class PaidOut(BaseModel):
    """Cash out of a member's wallet: paid, with a receipt, or waiting for a second person."""

    member_number: int
    member_name: str
    amount_rupiah: int
    receipt: int | None = Field(description="Its number; null while it waits.")
    approval: int | None = Field(description="The number of the proposal, of a large one.")
    left_rupiah: int = Field(description="In the wallet.")
    at: int = Field(description="Unix seconds.")


class Expiring(BaseModel):
    card_uid: str
    card_serial: int
    member_number: int
    member_name: str
    expires: str = Field(description="The last valid day, ISO 8601.")
    days_left: int = Field(description="Below nought: it has expired.")
    balance_rupiah: int


class ExpiringCards(BaseModel):
    cards: list[Expiring] = Field(description="The earliest first, at most 1,000.")


BODIES: Final = (PayoutOrder,)


def add_card_life_endpoints(app: FastAPI, central: Central) -> None:
    @app.post(
        "/v1/payouts",
        summary="Pay a member who gave their card back what is in their wallet, in cash",
        status_code=201,
        response_model=PaidOut,
        responses={
            202: {"model": PaidOut, "description": "Held: a second person decides."},
            **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra={**SIGNED, **json_body("PayoutOrder")},
    )
    async def post_payout(request: Request) -> Response:
        body = await body_of(request, http.JSON, JSON_SIZE_MAX)
        station = await who_signed(central, request, body, STATION)
        order = parse(PayoutOrder, body)
        actor = await who_acts(central, request, station, StaffRole.ISSUER)
        paid = await in_thread(
            functools.partial(
                pay_out,
                central,
                order.member_number,
                Rupiah(order.amount_rupiah),
                idempotency_key=order.idempotency_key,
                actor=actor,
            )
        )
        answer = PaidOut(
            member_number=paid.member_number,
            member_name=paid.member_name,
            amount_rupiah=paid.amount.amount,
            receipt=paid.receipt,
            approval=paid.approval,
            left_rupiah=paid.left.amount,
            at=paid.at,
        )
        return JSONResponse(answer.model_dump(), 202 if paid.receipt is None else 201)

    @app.get(
        "/v1/expiring-cards",
        summary="Cards in force that expire soon, or have",
        responses=problems(400, 401, 403, 422, 503),
        openapi_extra=SIGNED,
    )
    async def get_expiring(
        request: Request, within_days: Annotated[int, Query(ge=0, le=3650)] = 60
    ) -> ExpiringCards:
        await who_signed(central, request, b"", STATION)
        found = await in_thread(expiring_cards, central.for_reports(), within_days)
        return ExpiringCards(
            cards=[
                Expiring(
                    card_uid=card.uid.hex().upper(),
                    card_serial=card.serial,
                    member_number=card.member_number,
                    member_name=card.member_name,
                    expires=card.expires.isoformat(),
                    days_left=card.days_left,
                    balance_rupiah=card.balance.amount,
                )
                for card in found
            ]
        )
