"""Serving: what stands around every request, and how a server stops without losing one.

At SIGTERM the server says that it is not ready and refuses new work with 503 and Retry-After, while
its port stays open for `drain_seconds`: a load balancer sees it and sends people elsewhere. What
was begun is finished. Then the port closes and the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dobmi.central.errors import BadRequest, ShuttingDown
from dobmi.central.logs import REQUEST_ID
from dobmi.central.metrics import REQUEST_SECONDS, REQUESTS_RUNNING
from dobmi.central.problems import problem_of, problem_response
from dobmi.sync.http import PROBLEM

_log = logging.getLogger(__name__)

ALWAYS_SERVED = ("/healthz", "/readyz", "/metrics")
"""Also while the server stops."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)
_RESTART_SECONDS = 1
_BACKLOG = 2048
HEAD_SECONDS_MAX = 20
"""From a connection's beginning to the end of its first request's head; then likewise for each."""
HEAD_SIZE_MAX = 16 * 1024
FINISH_SECONDS_MAX = 60
"""How long a request may take to end once the port is closed."""


@dataclass(slots=True)
class ServerState:
    """Of one server process."""

    stopping: bool = False


class Around:
    """ASGI middleware: a request id, a line in the log, a measurement, and the end of new work."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                status = message["status"]
                name = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), name]}
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        began = time.perf_counter()
        REQUESTS_RUNNING.inc()
        try:
            if self._state.stopping and scope["path"] not in ALWAYS_SERVED:
                await _refuse(scope, receive, noting)
            else:
                await self._app(scope, receive, noting)
        except Exception:
            status = 500
            _log.exception("a request failed")
            raise
        finally:
            REQUESTS_RUNNING.dec()
            _note(scope, status, time.perf_counter() - began)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    connection = HTTPConnection(scope)
    note_for_log(connection, problem=ShuttingDown.code)
    response = problem_response(ShuttingDown(), connection)
    if scope["type"] == "websocket":
        websocket = WebSocket(scope, receive, send)
        await websocket.receive()  # that it wants to connect
        await websocket.send_denial_response(response)
        return
    response.headers["connection"] = "close"
    await response(scope, receive, send)


def _note(scope: Scope, status: int, seconds: float) -> None:
    """Of the path only its template: it names cards."""
    route = getattr(scope.get("route"), "path", "")
    method = scope.get("method", "WEBSOCKET")
    method = method if method in _METHODS else "OTHER"
    REQUEST_SECONDS.labels(method, route or "none", str(status)).observe(seconds)
    fields: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
        **scope.get("dobmi", {}),
    }
    quiet = route in ALWAYS_SERVED and status < 400
    _log.log(logging.DEBUG if quiet else logging.INFO, "request", extra={"fields": fields})


def note_for_log(connection: HTTPConnection, **fields: str | int) -> None:
    """Members of the request's line in the log. Never names, card UIDs or member numbers."""
    connection.scope.setdefault("dobmi", {}).update(fields)


class Http(HttpToolsProtocol):
    """HTTP/1.1 of which each head comes in time and is not endless, and what is no HTTP gets a problem.

    uvicorn waits for a head for ever: whoever opens connections and says nothing would have them all.
    """

    _late: asyncio.TimerHandle | None = None
    _head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as HttpToolsProtocol
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
            return
        self._wait_for_head()
        self._head_size += len(data)
        if self._head_size > HEAD_SIZE_MAX and not self.transport.is_closing():
            self.send_400_response("a head that does not end")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        problem = problem_of(BadRequest(detail=msg))
        body = problem.model_dump_json(exclude_none=True).encode()
        lines = (
            "HTTP/1.1 400 Bad Request",
            f"content-type: {PROBLEM}",
            f"content-length: {len(body)}",
            "connection: close",
        )
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._head_size = 0
            self._late = self.loop.call_later(HEAD_SECONDS_MAX, self._close_if_waiting)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_if_waiting(self) -> None:
        self._late = None
        is_websocket = self.transport.get_protocol() is not self
        if not is_websocket and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """Ends at the first SIGTERM after `drain_seconds`; at Ctrl-C, or a second SIGTERM, at once."""

    def __init__(self, config: uvicorn.Config, state: ServerState, drain_seconds: float) -> None:
        super().__init__(config)
        self._state = state
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM or self._state.stopping:
            super().handle_exit(sig, frame)
            return
        self._state.stopping = True
        timer = threading.Timer(self._drain_seconds, super().handle_exit, (sig, None))
        timer.daemon = True
        timer.start()


def listen(host: str, port: int) -> socket.socket:
    """A socket for processes to share. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def serve_in_workers(count: int, serve: Callable[[int], None]) -> None:
    """`serve(number)` in so many processes, from 0, until all were told to end.

    A process that dies is started again. SIGTERM and SIGINT are passed on to all of them. The
    caller has no threads and no database connections open: the processes are forked.
    """
    running: dict[int, int] = {}
    stopping = False

    def pass_on(sig: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for process in list(running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sig)

    before = {sig: signal.signal(sig, pass_on) for sig in _PASSED_ON}
    try:
        for number in range(count):
            running[_forked(serve, number)] = number
        while running:
            process, status = os.wait()
            number = running.pop(process)
            if not stopping:
                _log.error("worker %d ended with status %d and is started again", number, status)
                time.sleep(_RESTART_SECONDS)
                running[_forked(serve, number)] = number
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


def _forked(serve: Callable[[int], None], number: int) -> int:
    """The id of a new process that does this and nothing after it."""
    process = os.fork()
    if process:
        return process
    for sig in _PASSED_ON:
        signal.signal(sig, signal.SIG_DFL)
    try:
        serve(number)
    except BaseException as error:  # noqa: BLE001 - the process ends here, whatever it is
        _log.exception("worker %d failed", number)
        os._exit(0 if isinstance(error, KeyboardInterrupt) else 1)
    os._exit(0)  # what the parent would do at its end is not the child's to do


def server_config(app: FastAPI, *, host: str, port: int) -> uvicorn.Config:
    """How the application is served: short WebSocket messages, no word of what serves it.

    The log is the process's own (`configure_logging`); requests are noted by `Around`.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Http,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        server_header=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=FINISH_SECONDS_MAX,
    )
