"""Errors as RFC 9457 problem details: which HTTP status each has, and what the body says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from dobmi.cardlib.errors import CustodyUnavailable
from dobmi.central import errors
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import LANGUAGES, translation
from dobmi.sync import errors as sync_errors
from dobmi.sync.http import PROBLEM

RETRY_AFTER_SECONDS = 5

_STATUS: tuple[tuple[type[DoBMIError], int], ...] = (
    # The first that fits: kinds before what they are kinds of.
    (errors.UnknownTerminal, 401),
    (errors.RequestReplayed, 401),
    (errors.PasswordLocked, 403),
    (errors.StaffNotBelieved, 401),
    (errors.StaffMayNot, 403),
    (errors.UnknownApproval, 404),
    (errors.BadProposal, 422),
    (errors.ApprovalProblem, 409),
    (errors.PasswordNotAllowed, 422),
    (errors.WhoAsks, 403),
    (errors.KeyAlreadyEnrolled, 409),
    (errors.InvitationRefused, 403),
    (errors.UnknownPairing, 404),
    (errors.PairingOpeningWrong, 401),
    (errors.PairingFailed, 403),
    (errors.PairingNotDecided, 409),
    (errors.ChainRefused, 409),
    (errors.RecordsRefused, 409),
    (errors.UnknownPhoto, 404),
    (errors.UnknownCard, 404),
    (errors.UnknownMember, 404),
    (errors.CardProblem, 409),
    (errors.UnknownIssuingBatch, 404),
    (errors.UnknownIssuingLine, 404),
    (errors.IssuingLinesRefused, 422),
    (errors.IssuingProblem, 409),
    (errors.AmountNotAllowed, 422),
    (errors.CashTooLittle, 422),
    (errors.UnknownOrder, 404),
    (errors.CashNotThere, 409),
    (errors.CreditRefused, 409),
    (errors.DisputeImpossible, 404),
    (errors.BodyTooLarge, 413),
    (errors.WrongMediaType, 415),
    (errors.BodyCompressed, 415),
    (errors.BodyTooSlow, 408),
    (errors.NoSuchPage, 404),
    (errors.BadParameters, 422),
    (errors.BadRequest, 400),
    (errors.TooManyCardKeys, 429),
    (errors.ServerBusy, 503),
    (CustodyUnavailable, 503),
    (errors.DatabaseAway, 503),
    (errors.ShuttingDown, 503),
    (sync_errors.MalformedMessage, 400),
    (sync_errors.WrongSignature, 401),
    (sync_errors.ClockOutOfStep, 401),
    (sync_errors.BrokenChain, 422),
)


class Problem(BaseModel):
    """What went wrong, RFC 9457, and what it means for the money."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str = Field(description="The kind of error, in English.")
    status: int
    code: str = Field(description="The error's stable code, for logs and programs.")
    detail: str = Field(description="What happened this time, in the language asked for.")
    advice: str = Field(
        description="The next step for the person at the till or station, likewise."
    )
    money_moved: MoneyMoved
    send_from: int | None = Field(
        default=None,
        description="With CENTRAL-GAP and CENTRAL-RECORDS-MISSING: the first that is missing.",
    )


def status_of(error: DoBMIError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def translate_for(accept_language: str) -> Callable[[str], str]:
    """By an Accept-Language header: the first of Indonesian and English in it, else English."""
    asked = (part.partition(";")[0].strip()[:2].lower() for part in accept_language.split(","))
    return translation(next((one for one in asked if one in LANGUAGES), "en")).gettext


def problem_of(error: DoBMIError, translate: Callable[[str], str] = str) -> Problem:
    status = status_of(error)
    send_from = error.facts.get("send_from")
    return Problem(
        title=_title(type(error).__name__),
        status=status,
        code=error.code,
        detail=error.explain(translate),
        advice=error.advise(translate),
        money_moved=error.money_moved,
        send_from=send_from if isinstance(send_from, int) else None,
    )


def problem_response(error: DoBMIError, request: HTTPConnection) -> JSONResponse:
    problem = problem_of(error, translate_for(request.headers.get("accept-language", "")))
    content: dict[str, Any] = problem.model_dump(mode="json", exclude_none=True)
    headers: dict[str, str] | None = None
    if problem.status == 503:
        headers = {"retry-after": str(RETRY_AFTER_SECONDS)}
    elif problem.status in _BODY_NOT_READ:
        headers = {"connection": "close"}
    return JSONResponse(content, problem.status, headers, PROBLEM)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the statuses at which an endpoint answers with a problem."""
    return {
        status: {"description": _MEANING[status], "content": {PROBLEM: {"schema": _SCHEMA}}}
        for status in statuses
    }


_BODY_NOT_READ = (408, 413, 415)
_SCHEMA = {"$ref": "#/components/schemas/Problem"}
_MEANING = {
    400: "Not a message of the format.",
    401: "Not signed by a terminal that is known, or nobody of its staff is logged in.",
    403: "Known, but not allowed to do this.",
    404: "Nothing of that name.",
    408: "The body did not come in time.",
    409: "It contradicts what is kept.",
    413: "The body is too long.",
    415: "Another media type is expected, not compressed.",
    422: "Well-formed, but not acceptable.",
    429: "Too often; wait a minute.",
    503: "Try again later; nothing was taken.",
}


def _title(name: str) -> str:
    """`VouchersMissing` as `Vouchers missing`."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.strip().capitalize()
