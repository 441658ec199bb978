"""Who may talk to a page: a browser, about this page, for who is logged in.

Listening on loopback keeps other machines out, not other pages in the same browser. So each
request must name this page as its host (DNS rebinding), no request may come from another site, and
what changes anything carries the session's own token.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dobmi.web.errors import FileTooLarge, ForeignRequest, NotLoopback

PersonT = TypeVar("PersonT")

TOKEN_FIELD: Final = "token"  # noqa: S105 - a name
TOKEN_HEADER: Final = "x-csrf-token"  # noqa: S105 - likewise
SESSION_SECONDS_MAX: Final = 14 * 3600
"""Longer than any shift; who comes the next morning logs in again."""
SESSIONS_MAX: Final = 64
BODY_BYTES_MAX: Final = 64 * 1024
_FIELDS_MAX: Final = 500
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OUR_SITES: Final = frozenset({"same-origin", "none"})

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # `no-referrer` would have the browser send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def check_loopback(host: str) -> str:
    """`host` where only this machine can reach it. Raises NotLoopback."""
    if host == "localhost":
        return host
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass  # a name: it is refused like an address of the network
    raise NotLoopback(host=host)


def loopback_origins(port: int) -> frozenset[str]:
    """What a browser on this machine writes into Origin; after `//`, into Host."""
    return frozenset(f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))


class Guard:
    """Refuses what did not come from this page, and tells the browser what the page may do.

    `origins` (`https://kantor.example`) are the addresses under which the page may be opened.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._hosts = frozenset(origin.partition("//")[2] for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if self._is_ours(scope["method"], headers):
            await self._app(scope, receive, send_with_headers)
        else:
            refusal = PlainTextResponse(str(ForeignRequest()), status_code=403)
            await refusal(scope, receive, send_with_headers)

    def _is_ours(self, method: str, headers: Headers) -> bool:
        host = headers.get("host", "")
        if host not in self._hosts:
            return False
        if headers.get("sec-fetch-site", "none") not in _OUR_SITES:
            return False
        if method in _SAFE_METHODS:
            return True
        origin = headers.get("origin", "")
        return origin in self._origins and origin.partition("//")[2] == host


@dataclass(frozen=True, slots=True)
class Session(Generic[PersonT]):
    """One browser's. `person` is None before a login; `token` goes with each change."""

    key: str
    token: str
    started: float
    person: PersonT | None = None


class Sessions(Generic[PersonT]):
    """All in memory: a program that starts again has everybody log in again. Any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sessions: dict[str, Session[PersonT]] = {}

    def of(self, key: str | None) -> Session[PersonT] | None:
        with self._lock:
            found = self._sessions.get(key or "")
            if found is None:
                return None
            if self._monotonic() - found.started > SESSION_SECONDS_MAX:
                del self._sessions[found.key]
                return None
            return found

    def start(
        self, person: PersonT | None = None, instead_of: str | None = None
    ) -> Session[PersonT]:
        """A new key and token at each login, so that one known before it is of no use after it."""
        session = Session(
            key=secrets.token_urlsafe(32),
            token=secrets.token_urlsafe(32),
            started=self._monotonic(),
            person=person,
        )
        with self._lock:
            self._sessions.pop(instead_of or "", None)
            while len(self._sessions) >= SESSIONS_MAX:
                # Whoever asks without a cookie gets a session: that must not end one with a person.
                nobodys = (key for key, one in self._sessions.items() if one.person is None)
                del self._sessions[next(nobodys, next(iter(self._sessions)))]
            self._sessions[session.key] = session
        return session

    def end(self, key: str) -> None:
        with self._lock:
            self._sessions.pop(key, None)


async def read_form(request: Request, session: Session[PersonT]) -> dict[str, str]:
    """The fields of a POST, once its token is the session's. Raises ForeignRequest."""
    body = await _body(request, BODY_BYTES_MAX)
    if body is None:
        raise ForeignRequest
    try:
        fields = dict(
            parse_qsl(
                body.decode("utf-8"),
                keep_blank_values=True,
                max_num_fields=_FIELDS_MAX,
                errors="strict",
            )
        )
    except ValueError:
        raise ForeignRequest from None
    token = request.headers.get(TOKEN_HEADER) or fields.pop(TOKEN_FIELD, "")
    _check_token(token, session)
    fields.pop(TOKEN_FIELD, None)
    return fields


async def read_file(request: Request, session: Session[PersonT], bytes_max: int) -> bytes:
    """The body of a POST that is a file, its token in the header. Raises ForeignRequest, FileTooLarge."""
    _check_token(request.headers.get(TOKEN_HEADER, ""), session)
    body = await _body(request, bytes_max)
    if body is None:
        raise FileTooLarge(megabytes=bytes_max >> 20)
    return body


async def _body(request: Request, bytes_max: int) -> bytes | None:
    """None if it is longer; the rest is not read then."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


def _check_token(token: str, session: Session[PersonT]) -> None:
    if not hmac.compare_digest(token.encode(), session.token.encode()):
        raise ForeignRequest
