"""What the HTTP endpoints share: the body within its limit, who signed, who acts, OpenAPI's parts."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import Request, WebSocket
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from dobmi.central.acts import Actor
from dobmi.central.errors import (
    BadParameters,
    BodyCompressed,
    BodyCutOff,
    BodyTooLarge,
    BodyTooSlow,
    WrongMediaType,
)
from dobmi.central.schema import Role, StaffRole
from dobmi.central.server import Central
from dobmi.central.serving import note_for_log
from dobmi.central.staff_login import acting
from dobmi.central.terminals import authorise
from dobmi.sync import http
from dobmi.sync.cbor import is_plain

_T = TypeVar("_T")
_Model = TypeVar("_Model", bound=BaseModel)

JSON_SIZE_MAX = 16 * 1024
BODY_SECONDS_MAX = 120
"""For a whole body: 4 MB at 35 kB a second."""
BODY_SILENCE_SECONDS_MAX = 20
BOTH = (Role.TILL, Role.STATION)
STATION = (Role.STATION,)
BYTES = {"type": "string", "format": "binary"}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def plain(text: str) -> str:
    if not is_plain(text):
        msg = "it has control characters"
        raise ValueError(msg)
    return text


Plain = Annotated[str, AfterValidator(plain)]


async def in_thread(
    function: Callable[..., _T], *arguments: Any, limiter: anyio.CapacityLimiter | None = None
) -> _T:
    """`limiter`: of the threads that it is one of, where they are not everybody's."""
    work = functools.partial(function, *arguments)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


async def body_of(request: Request, media_type: str, size_max: int) -> bytes:
    """The body, refused as soon as it is too long or does not come.

    It is waited for on the event loop, where it keeps nobody else from being served. Raises
    WrongMediaType, BodyCompressed, BodyTooLarge, BodyTooSlow, BodyCutOff.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise WrongMediaType(expected=media_type)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise BodyCompressed
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 15 or int(announced) > size_max):
        raise BodyTooLarge(size_max=size_max)
    body = bytearray()
    pieces = request.stream()
    try:
        with anyio.fail_after(BODY_SECONDS_MAX):
            while (piece := await _next_piece(pieces)) is not None:
                body += piece
                if len(body) > size_max:
                    raise BodyTooLarge(size_max=size_max)
    except TimeoutError as error:
        raise BodyTooSlow from error
    except ClientDisconnect as error:
        raise BodyCutOff from error
    return bytes(body)


async def _next_piece(pieces: AsyncIterator[bytes]) -> bytes | None:
    with anyio.fail_after(BODY_SILENCE_SECONDS_MAX):
        return await anext(pieces, None)


async def who_signed(
    central: Central,
    request: Request | WebSocket,
    body: bytes,
    roles: Sequence[Role],
    *,
    method: str | None = None,
    once: bool | None = None,
) -> int:
    """Who signed this request. See `authorise`; what changes something is served once."""
    method = method or str(request.scope["method"])
    query = request.scope["query_string"].decode("ascii", "replace")
    path = request.scope.get("raw_path", b"").decode("ascii", "replace").partition("?")[0]
    who = await in_thread(
        functools.partial(
            authorise,
            central,
            request.headers.get("authorization", ""),
            method,
            f"{path}?{query}" if query else path,
            body,
            roles=roles,
            once=method != "GET" if once is None else once,
        )
    )
    note_for_log(request, terminal=who)
    return who


async def who_acts(
    central: Central, request: Request | WebSocket, station: int, *roles: StaffRole
) -> Actor:
    """Who of the staff is logged in at the station that signed this. See `staff_login.staff_of`."""
    token = request.headers.get(http.STAFF_HEADER)
    return await in_thread(acting, central, token, station, roles)


def parse(model: type[_Model], body: bytes) -> _Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise BadParameters(detail=wrong_fields(error.errors(include_url=False))) from None


def wrong_fields(found: Sequence[Any]) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in found
    )[:300]


def answer(status: int, media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": description, "content": {media_type: {"schema": BYTES}}}}


def binary_body(media_type: str, description: str) -> dict[str, Any]:
    content = {media_type: {"schema": BYTES}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def json_body(schema: str) -> dict[str, Any]:
    content = {http.JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"required": True, "content": content}}


SIGNED: dict[str, Any] = {"security": [{"signedRequest": []}]}
