"""The central server as a process that can die: the real functions behind app.py, on bytes.

Where HTTP would carry a request, `handle` does what app.py's handlers do, in the same order: find
out who asks, call, turn a refusal into its problem. docs/formats/http.md says what is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from dobmi.cardlib.custody import KeyRing
from dobmi.central.app import Reason
from dobmi.central.cards import PendingCredit, parse_card, set_blocked, statement_of
from dobmi.central.credit_orders import order_credit
from dobmi.central.database import open_database
from dobmi.central.errors import BadParameters, CentralError, NoSuchPage, RoleNotAllowed
from dobmi.central.feeds import make_feed
from dobmi.central.ingest import take_batch
from dobmi.central.problems import problem_of
from dobmi.central.relay_session import failed, parse_start, run_session
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.restoring import mark_restored
from dobmi.central.routes_credits import CreditOrder
from dobmi.central.schema import CreditSource, Role
from dobmi.central.server import Central
from dobmi.central.terminals import authorise, enrol, note_feed, role_of
from dobmi.errors import DoBMIError
from dobmi.fleet.disk import Disk, Image, Killed
from dobmi.fleet.network import Exchange, NoAnswer, WireAnswer, WireRequest
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync import http
from dobmi.sync.errors import MalformedMessage, RelayInterrupted
from dobmi.sync.relay import Action, encode_relay

_BOTH = (Role.TILL, Role.STATION)
_STATION = (Role.STATION,)
_INTERNAL_ERROR = WireAnswer(500, "text/plain", b"Internal Server Error")

Arrived = Callable[[WireRequest, WireAnswer], None]

_T = TypeVar("_T")


@dataclass(slots=True)
class Office:
    """`arrived` is told of every request that was answered: what arrived must not be dropped."""

    folder: Path
    keys: KeyRing = field(repr=False)
    settings: CentralSettings
    unix_seconds: Callable[[], int]
    arrived: Arrived
    died: Callable[[], None]
    disk: Disk = field(init=False)
    central: Central = field(init=False)

    def __post_init__(self) -> None:
        self.disk = Disk(self.folder / "central.db")
        self._open()

    def _open(self) -> None:
        database = open_database("sqlite:///central.db", self.folder)
        self.central = Central(database, self.keys, self.settings, self.unix_seconds)

    def close(self) -> None:
        self.central.database.close()

    def restart(self, image: Image | None = None) -> None:
        """A new process, on these files or on those that are there."""
        self.close()
        if image is not None:
            self.disk.put_back(image)
        self._open()

    def restore(self, image: Image) -> None:
        """An older backup takes the files' place, as docs/operations.md has it."""
        self.restart(image)
        mark_restored(self.central)

    def use_keys(self, keys: KeyRing) -> None:
        """Other card keys; a server takes them at its start."""
        self.keys = keys
        self.restart()

    def work(self, do: Callable[[Central], _T]) -> _T:
        """What somebody does at the server itself. Raises NoAnswer when it dies, or its disk is full."""
        try:
            return do(self.central)
        except OperationalError:
            raise NoAnswer from None
        except Killed:
            self._after_death()

    def handle(self, request: WireRequest) -> WireAnswer:
        try:
            answer = self._answer(request)
        except Killed:
            self._after_death()
        self.arrived(request, answer)
        return answer

    def open_session(self, path: str, headers: Mapping[str, str]) -> WireAnswer | int:
        try:
            header = headers.get("authorization", "")
            return authorise(self.central, header, "GET", path, b"", roles=_BOTH, once=True)
        except DoBMIError as error:
            return _problem(error)
        except OperationalError:
            return _INTERNAL_ERROR
        except Killed:
            self._after_death()

    def run_session(self, terminal_id: int, path: str, start: bytes, exchange: Exchange) -> bytes:
        try:
            try:
                asked = parse_start(start, urlsplit(path).query)
                if asked.action is not Action.CREDIT:
                    role = role_of(self.central, terminal_id)
                    if role is not Role.STATION:
                        raise RoleNotAllowed(terminal_id=terminal_id, role=role.value)
                done = run_session(self.central, asked, exchange, relayed_by=terminal_id)
                return encode_relay(done)
            except (CentralError, MalformedMessage, RelayInterrupted) as error:
                return encode_relay(failed(error))
        except OperationalError:
            raise NoAnswer from None  # app.py's connection ends with an internal error
        except Killed:
            self._after_death()

    def _after_death(self) -> NoReturn:
        self.restart(self.disk.left_behind)
        self.died()
        raise NoAnswer from None

    def _answer(self, request: WireRequest) -> WireAnswer:
        try:
            return self._route(request)
        except DoBMIError as error:
            return _problem(error)
        except OperationalError:
            return _INTERNAL_ERROR

    def _route(self, request: WireRequest) -> WireAnswer:
        path = urlsplit(request.path).path
        match request.method, path.strip("/").split("/"):
            case "POST", ["v1", "terminals"]:
                return WireAnswer(201, http.COSE, enrol(self.central, request.body))
            case "POST", ["v1", "batches"]:
                return WireAnswer(200, http.COSE, take_batch(self.central, request.body))
            case "GET", ["v1", "feed"]:
                return self._feed(request)
            case "POST", ["v1", "credits"]:
                return self._order(request)
            case "POST", ["v1", "cards", card, "block" | "unblock" as verb]:
                return self._block(request, card, blocked=verb == "block")
            case "POST", ["v1", "cards", card, "replace"]:
                return self._replace(request, card)
        raise NoSuchPage(path=path[:80], method=request.method)

    def _feed(self, request: WireRequest) -> WireAnswer:
        terminal_id = self._who(request, _BOTH)
        asked = parse_qs(urlsplit(request.path).query)
        since = int(asked["since"][0])
        taken = asked.get("acknowledged")
        note_feed(self.central, terminal_id, since, None if taken is None else int(taken[0]))
        restore_due(self.central)
        settled = asked.get("settled_since")
        asks = None if settled is None else (terminal_id, int(settled[0]))
        head_of = None if taken is None else terminal_id
        feed = make_feed(self.central, since, asks, head_of=head_of)
        return WireAnswer(200, http.COSE, feed)

    def _order(self, request: WireRequest) -> WireAnswer:
        station = self._who(request, _STATION)
        try:
            order = CreditOrder.model_validate_json(request.body)
        except ValidationError as error:
            raise BadParameters(detail=str(error)) from None
        assert order.card_uid is not None, "this station names cards by UID"
        credit, is_new = order_credit(
            self.central,
            bytes.fromhex(order.card_uid),
            Rupiah(order.amount_rupiah),
            CreditSource(order.source),
            idempotency_key=order.idempotency_key,
            station=station,
        )
        assert isinstance(credit, PendingCredit), "nobody logs in here, so nothing is held"
        return WireAnswer(201 if is_new else 200, http.JSON, b'{"sequence": %d}' % credit.sequence)

    def _block(self, request: WireRequest, card: str, *, blocked: bool) -> WireAnswer:
        station = self._who(request, _STATION)
        reason = Reason.model_validate_json(request.body).reason
        uid = statement_of(self.central, parse_card(card)).uid
        version = set_blocked(self.central, uid, reason, blocked=blocked, by_terminal=station)
        return WireAnswer(200, http.JSON, b'{"feed_version": %d}' % version)

    def _replace(self, request: WireRequest, card: str) -> WireAnswer:
        station = self._who(request, _STATION)
        reason = Reason.model_validate_json(request.body).reason
        uid = statement_of(self.central, parse_card(card)).uid
        replace_card(self.central, uid, reason, by_terminal=station)
        replaced = statement_of(self.central, uid).replacement
        assert replaced is not None
        return WireAnswer(200, http.JSON, b'{"feed_version": %d}' % replaced.feed_version)

    def _who(self, request: WireRequest, roles: tuple[Role, ...]) -> int:
        header = request.headers.get("authorization", "")
        once = request.method != "GET"
        return authorise(
            self.central, header, request.method, request.path, request.body, roles=roles, once=once
        )


def _problem(error: DoBMIError) -> WireAnswer:
    problem = problem_of(error)
    body = problem.model_dump_json(exclude_none=True).encode()
    return WireAnswer(problem.status, http.PROBLEM, body)
