"""The network between tills, station and central server: whole requests and answers, in bytes.

A request reaches the server, or not; its answer comes back, or not, or cut in the middle; either may
come twice, late, or after later ones. Nothing is carried by sockets, everything by real clients.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ProtocolError
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Response as HandshakeAnswer

from dobmi.sync.errors import RelayInterrupted

SERVER_URL = "http://central.simulated"
SLOW_SECONDS = 45


class NetFault(StrEnum):
    LOST_REQUEST = "request lost"
    LOST_ANSWER = "answer lost"
    CUT_ANSWER = "answer cut in the middle"
    DUPLICATED = "request duplicated"
    LATE = "request delivered late, after others"
    SLOW = "slow"


class RelayFault(StrEnum):
    COMMAND_LOST = "connection lost before the command came"
    ANSWER_LOST = "connection lost after the card had answered"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """`path` includes the query; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class WireAnswer:
    status: int
    media_type: str
    body: bytes


class NoAnswer(Exception):
    """The server died, or the connection did."""


Exchange = Callable[[bytes], bytes]


class Server(Protocol):
    def handle(self, request: WireRequest) -> WireAnswer:
        """Raises NoAnswer when the server dies while it works on it."""

    def open_session(self, path: str, headers: Mapping[str, str]) -> WireAnswer | int:
        """The terminal's id, or the refusal. `path` with its query. Raises NoAnswer."""

    def run_session(self, terminal_id: int, path: str, start: bytes, exchange: Exchange) -> bytes:
        """A relayed session; the last message. Raises NoAnswer."""


@dataclass(slots=True)
class Network:
    """`faults` strike the next requests, one each; `relay_fault` the next session, at a message."""

    server: Server
    pass_time: Callable[[float], None]
    count: Callable[[str], None]
    faults: list[NetFault] = field(default_factory=list)
    relay_fault: tuple[RelayFault, int] | None = None
    down: set[str] = field(default_factory=set)
    """Who has no network now."""
    held: list[WireRequest] = field(default_factory=list)
    """Sent, given up by the sender, and still under way."""

    def request(self, sender: str, request: WireRequest) -> tuple[WireAnswer, bool]:
        """The answer, and whether it comes whole. Raises requests' own errors."""
        if sender in self.down:
            raise requests.ConnectionError
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            self.count(f"network: {fault.value}")
        match fault:
            case NetFault.LOST_REQUEST:
                raise requests.ConnectTimeout
            case NetFault.LATE:
                self.held.append(request)
                raise requests.ReadTimeout
            case NetFault.SLOW:
                self.pass_time(SLOW_SECONDS)
            case NetFault.DUPLICATED:
                self._served(request)
        answer = self._served(request)
        if fault is NetFault.LOST_ANSWER:
            raise requests.ReadTimeout
        return answer, fault is not NetFault.CUT_ANSWER

    def deliver_held(self) -> list[tuple[WireRequest, WireAnswer | None]]:
        """What was under way arrives now, the newest first; nobody waits for the answers."""
        late, self.held = self.held[::-1], []
        arrived: list[tuple[WireRequest, WireAnswer | None]] = []
        for request in late:
            try:
                arrived.append((request, self.server.handle(request)))
            except NoAnswer:
                arrived.append((request, None))
        return arrived

    def adapter(self, sender: str) -> BaseAdapter:
        return _Adapter(self, sender)

    def channel_opener(self, sender: str) -> Callable[..., RelayChannel]:
        """What stands in for `websockets.sync.client.connect`."""

        def opened(url: str, *, additional_headers: Mapping[str, str], **_: Any) -> RelayChannel:
            if sender in self.down:
                raise OSError
            path = url[url.index("/", len("ws://")) :]
            headers = {name.lower(): value for name, value in additional_headers.items()}
            try:
                who = self.server.open_session(path, headers)
            except NoAnswer:
                raise OSError from None
            if isinstance(who, WireAnswer):
                kind = Headers({"Content-Type": who.media_type})
                raise InvalidStatus(HandshakeAnswer(who.status, "", kind, who.body))
            fault, self.relay_fault = self.relay_fault, None
            return RelayChannel(self, who, path, fault)

        return opened

    def _served(self, request: WireRequest) -> WireAnswer:
        try:
            return self.server.handle(request)
        except NoAnswer:
            raise requests.ConnectionError from None


class RelayChannel:
    """One card session. The server's end has a thread of its own; only one end runs at a time."""

    def __init__(
        self,
        network: Network,
        terminal_id: int,
        path: str,
        fault: tuple[RelayFault, int] | None,
    ) -> None:
        self._network = network
        self._terminal_id = terminal_id
        self._path = path
        self._fault = fault
        self._to_server: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._to_station: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._commands = 0
        self._broken = False
        self._surprise: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._break()
        self._thread.join()
        if self._surprise is not None:
            raise self._surprise

    def send(self, message: bytes) -> None:
        if self._strikes(RelayFault.ANSWER_LOST):
            self._break()
        if self._broken:
            raise ConnectionClosedError(None, None)
        self._to_server.put(message)

    def recv(self, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the other end always speaks or ends
        message = None if self._broken else self._to_station.get()
        if message is not None and self._strikes(RelayFault.COMMAND_LOST):
            self._break()
            message = None
        if message is None:
            self._broken = True
            raise ConnectionClosedError(None, None)
        self._commands += 1
        return message

    def _strikes(self, kind: RelayFault) -> bool:
        if self._fault != (kind, self._commands):
            return False
        self._fault = None
        self._network.count(f"relay: {kind.value}")
        return True

    def _break(self) -> None:
        self._broken = True
        self._to_server.put(None)

    def _serve(self) -> None:
        start = self._to_server.get()
        try:
            if start is not None:
                self._to_station.put(
                    self._network.server.run_session(
                        self._terminal_id, self._path, start, self._exchange
                    )
                )
        except NoAnswer:
            self._broken = True
        except Exception as error:  # noqa: BLE001 - raised again where the run sees it
            self._surprise = error
        finally:
            self._to_station.put(None)

    def _exchange(self, message: bytes) -> bytes:
        self._to_station.put(message)
        answer = self._to_server.get()
        if answer is None:
            self._to_server.put(None)
            raise RelayInterrupted(detail="the station's connection closed")
        return answer


class _Adapter(BaseAdapter):
    """Carries what `requests` has prepared."""

    def __init__(self, network: Network, sender: str) -> None:
        super().__init__()
        self._network = network
        self._sender = sender

    def send(
        self, request: requests.PreparedRequest, *_: Any, **__: Any
    ) -> requests.Response:  # timeouts and TLS have no meaning here
        body = request.body or b""
        assert isinstance(body, bytes)
        headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
        wire = WireRequest(request.method or "", request.path_url, headers, body)
        answer, is_whole = self._network.request(self._sender, wire)
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict({"Content-Type": answer.media_type})
        response.raw = _Body(answer.body, is_whole)
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        """There is nothing to release."""


class _Body:
    """A response's body as urllib3 gives it out; a cut one breaks off half-way."""

    def __init__(self, content: bytes, is_whole: bool) -> None:
        self._pieces = [content] if is_whole else [content[: len(content) // 2]]
        self._is_whole = is_whole

    def read1(self, _size: int, **_: Any) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        if not self._is_whole:
            raise ProtocolError("Connection broken")
        return b""

    def close(self) -> None:
        """There is nothing to release."""

    release_conn = close
