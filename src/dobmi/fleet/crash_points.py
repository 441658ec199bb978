"""Named crash points: every commit, sync and rename of a file, network message, card exchange.

Nothing of the program knows of them. They are hooked in from outside, in a process made for it,
and named by the business step that the call serves, which the stack tells:

    till.ledger.record_intent.before-commit
    server.ingest.post.after-sync:central.db-wal
    server.http.POST /v1/batches.before-answer
    station.relay.after-receive
    till.card.commit.before

A name with the number of times it was passed is one place to die at.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, get_ident
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.default import DefaultDialect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.sync.connection import Connection as WebSocket

from dobmi.cardlib.readers.base import CardConnection
from dobmi.central.database import Database
from dobmi.fleet.disk_watch import DiskCall, Operation, watch

Die = Callable[[], None]

_NOT_STEPS = ("dobmi.fleet", "dobmi.central.database", "dobmi.sync.http")
_NOT_STEP_NAMES = {"durably", "__enter__", "__exit__", "<lambda>", "make_engine", "_configure"}
_NOT_STEP_NAMES |= {"begin", "connect"}
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|PRAGMA user_version =)", re.IGNORECASE)
_CARD_NAME = re.compile(r"/[0-9A-Fa-f]{14}(?=/|$)")

_INSTRUCTIONS = {
    0x5A: "select",
    0x71: "authenticate",
    0x77: "authenticate-again",
    0xAA: "authenticate-ev1",
    0x1A: "authenticate-ev1",
    0x0A: "authenticate-ev1",
    0xAF: "next-frame",
    0xC8: "commit-reader-id",
    0xC7: "commit",
    0xAD: "read",
    0xBD: "read",
    0xAB: "read-records",
    0xBB: "read-records",
    0x8D: "write",
    0x3D: "write",
    0x8B: "write-record",
    0x3B: "write-record",
    0x6C: "get-value",
    0xDC: "debit",
    0x0C: "credit",
    0xC4: "change-key",
    0xCA: "create-application",
    0x3C: "read-signature",
    0x54: "change-key-settings",
    0x60: "get-version",
    0x64: "get-key-version",
    0xC0: "create-record-file",
    0xC1: "create-record-file",
    0xCB: "create-backup-file",
    0xCC: "create-value-file",
    0xCD: "create-data-file",
    0xCE: "create-mac-file",
    0xF5: "get-file-settings",
}


_ENDS = (".after", ".after-receive")
_BEGINS = (".before", ".before-send")


def die() -> None:
    """As the kernel would end it: no handler, no buffer, no lock is given back."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The `number`-th passing (from 1) of the point `name` within one step of the scenario."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name}#{self.number}"


@dataclass(slots=True)
class CrashPoints:
    """Counts the points that one process passes, and ends it at `deadly`."""

    actor: str
    deadly: Place | None = None
    ending: Die = die
    passed: list[Place] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """By the point's whole name; those of earlier processes of this actor are counted on."""
    commands: list[int] = field(default_factory=list)
    """How many had been passed when each command came: in between, people get their answers."""
    writers: set[str] = field(default_factory=set)
    """The functions that asked the central database for a transaction to write in."""
    _threads: list[int] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def pass_by(self, name: str) -> None:
        with self._lock:
            full = f"{self.actor}.{name}"
            self.counts[full] += 1
            place = Place(full, self.counts[full])
            self.passed.append(place)
            self._threads.append(get_ident() if self.actor == "till" else 0)
        if place == self.deadly:
            self.ending()

    def begin(self) -> None:
        """Another command has come."""
        self.commands.append(len(self.passed))

    def distinct(self) -> list[Place]:
        """The places passed, one of each two between which nothing happens outside the process.

        That is the end of one exchange or message and the beginning of the next, without a command
        in between. Commits and syncs are all kept. A till's card and its ledger, which is written
        beside it, are looked at apart.
        """
        kept = []
        following: dict[int, tuple[int, Place]] = {}
        for number in reversed(range(len(self.passed))):
            place, thread = self.passed[number], self._threads[number]
            after = following.get(thread)
            if after is None or not self._is_one_moment(number, place, *after):
                kept.append(place)
            following[thread] = (number, place)
        return kept[::-1]

    def _is_one_moment(self, number: int, place: Place, next_number: int, after: Place) -> bool:
        if any(number < command <= next_number for command in self.commands):
            return False
        return place.name.endswith(_ENDS) and after.name.endswith(_BEGINS)

    @contextmanager
    def around(self, name: str, before: str = "before", after: str = "after") -> Iterator[None]:
        self.pass_by(f"{name}.{before}")
        yield
        self.pass_by(f"{name}.{after}")


def business_step() -> str:
    """`module.function` of the innermost function of the program that is being executed."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the stack
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        name = frame.f_code.co_name
        if (
            module.startswith("dobmi.")
            and not module.startswith(_NOT_STEPS)
            and name not in _NOT_STEP_NAMES
        ):
            return f"{module.rpartition('.')[2]}.{name}"
        frame = frame.f_back
    return "start"


def hook_commits(points: CrashPoints) -> None:
    """Each commit of a transaction that wrote something, before and after it."""
    wrote: set[int] = set()

    @event.listens_for(Engine, "before_cursor_execute")
    def _note(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if _WRITES.match(statement):
            wrote.add(id(connection.connection.dbapi_connection))

    @event.listens_for(Engine, "rollback")
    def _forget(connection: Connection) -> None:
        wrote.discard(id(connection.connection.dbapi_connection))

    # It has no types.
    original: Callable[[DefaultDialect, Any], None] = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, dbapi_connection: Any) -> None:
        driver = getattr(dbapi_connection, "dbapi_connection", dbapi_connection)
        if id(driver) not in wrote:
            original(self, dbapi_connection)
            return
        wrote.discard(id(driver))
        step = business_step()
        with points.around(step, "before-commit", "after-commit"):
            original(self, dbapi_connection)

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign] # the hook itself


def hook_writers(points: CrashPoints) -> None:
    """Who begins a transaction to write in, whether it then writes something or not."""
    original = Database.write

    def write(self: Database, **options: Any) -> AbstractContextManager[Connection]:
        points.writers.add(business_step())
        return original(self, **options)

    Database.write = write  # type: ignore[method-assign,assignment] # the hook itself


def hook_disk(
    points: CrashPoints, folder: Path, record: Callable[[DiskCall], None] | None = None
) -> None:
    """Syncs and renames of files below `folder`; `record` is told of everything that happened."""

    def watcher(call: DiskCall, done: bool) -> None:
        if call.path.endswith("-shm"):
            return  # SQLite's shared memory: made anew whenever nobody has it open
        if record is not None and done:
            record(call)
        if call.operation in {Operation.SYNC, Operation.RENAME, Operation.LINK}:
            what = _file_kind(Path(call.to or call.path), folder)
            verb = call.operation.name.lower()
            moment = "after" if done else "before"
            points.pass_by(f"{business_step()}.{moment}-{verb}:{what}")

    watch(folder, watcher)


def _file_kind(path: Path, folder: Path) -> str:
    return "folder" if path == folder else path.name


def hook_client(points: CrashPoints) -> None:
    """Each HTTP request and answer, each message of a relayed session, at the client's end."""
    send = HTTPAdapter.send

    def sending(self: HTTPAdapter, request: Any, *arguments: Any, **options: Any) -> Any:
        name = f"http.{request.method} {_path(request.url)}"
        with points.around(name, "before-request", "after-answer"):
            return send(self, request, *arguments, **options)

    HTTPAdapter.send = sending  # type: ignore[method-assign] # the hook itself

    send_message, receive_message = WebSocket.send, WebSocket.recv

    def sending_message(self: WebSocket, message: Any, *arguments: Any, **options: Any) -> None:
        with points.around("relay", "before-send", "after-send"):
            send_message(self, message, *arguments, **options)

    def receiving_message(self: WebSocket, *arguments: Any, **options: Any) -> Any:
        message = receive_message(self, *arguments, **options)
        points.pass_by("relay.after-receive")
        return message

    WebSocket.send = sending_message  # type: ignore[method-assign] # the hook itself
    WebSocket.recv = receiving_message  # type: ignore[method-assign] # likewise


def _path(url: str) -> str:
    return _CARD_NAME.sub("/{card}", urlsplit(url).path)


def at_the_server(
    app: ASGIApp,
    points: CrashPoints,
    sent: Callable[[Scope, Message], None] = lambda _scope, _message: None,
) -> ASGIApp:
    """`app` with a point at each request, answer and message; `sent` is told what has left."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await app(scope, receive, send)
            return
        is_http = scope["type"] == "http"
        name = f"http.{scope['method']} {_path(scope['path'])}" if is_http else "relay"
        if is_http:
            points.pass_by(f"{name}.after-request")

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                points.pass_by("relay.after-receive")
            return message

        async def sending(message: Message) -> None:
            first = message["type"] in {"http.response.start", "websocket.send"}
            last = message["type"] == "websocket.send" or (
                message["type"] == "http.response.body" and not message.get("more_body", False)
            )
            verb = "answer" if is_http else "send"
            if first:
                points.pass_by(f"{name}.before-{verb}")
            await send(message)
            sent(scope, message)
            if last:
                points.pass_by(f"{name}.after-{verb}")

        await app(scope, receiving, sending)

    return wrapped


@dataclass(slots=True)
class WatchedCard:
    """A CardConnection with a point before and after each exchange."""

    connection: CardConnection
    points: CrashPoints
    sending: Callable[[bytes], None] = lambda _command: None

    @property
    def uid(self) -> bytes:
        return self.connection.uid

    def transmit(self, command: bytes) -> bytes:
        self.sending(command)
        name = _INSTRUCTIONS.get(command[1], f"{command[1]:02x}")
        with self.points.around(f"card.{name}"):
            return self.connection.transmit(command)

    def disconnect(self) -> None:
        self.connection.disconnect()


def names_of(places: Mapping[Place, object] | set[Place]) -> list[str]:
    return sorted({place.name for place in places})
