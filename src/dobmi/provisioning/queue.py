"""Issuing card after card with nothing to press between them.

    for state in issue_queue(desk, open_reader, controls):
        show(state)

The generator does the work: between two states it waits for cards, asks the server, moves lights. Whoever
runs it shows what it yields, and says by `QueueControls` (from any thread) to stop, to leave a member
out, or to take another card in the place of one that does not come back.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Event
from typing import Any, Final, Protocol, TypeVar

from dobmi.cardlib.errors import CardError, CardRemoved, NoCard, ReaderUnavailable
from dobmi.cardlib.readers import CardConnection, Reader, Signal
from dobmi.errors import DoBMIError
from dobmi.provisioning import issuing
from dobmi.provisioning.cards import IssuedCard
from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.issuing import Batch, Claimed, Line
from dobmi.sync.errors import RelayInterrupted, ServerRefused, ServerUnreachable

_T = TypeVar("_T")

_LOOK_SECONDS: Final = 0.25
"""How long a stop may go unnoticed while a card is waited for."""
_RENEW_SECONDS: Final = 45.0
"""How often a line that waits for its card is claimed anew; the server keeps it 120 seconds."""
_AWAY_SECONDS: Final = 2.0
_OTHERS_SECONDS: Final = 3.0
_READER_SECONDS: Final = 1.0
_TRIES_MAX: Final = 3
"""How often one card may fail for no known reason before it is put aside."""
_CARDS_OF_RATE: Final = 20


class QueuePhase(StrEnum):
    """What is to be done now; `STOPPED` and `FINISHED` are the last."""

    LAY = "lay"
    """Lay a blank card down, for `line`."""
    WORKING = "working"
    """Leave the card where it is."""
    ISSUED = "issued"
    """`last` is issued: take it away. `line` is who comes next."""
    SAME_AGAIN = "same-again"
    """The card was away too early: lay the same one down again. It is finished then."""
    OTHER_CARD = "other-card"
    """That is another card than the one that is not finished: take it away, lay that one down."""
    REFUSED = "refused"
    """This card cannot be issued, as `trouble` says: put it aside, take another. The line stays."""
    SKIPPED = "skipped"
    """The member cannot get a card, as `trouble` says: the line was left out."""
    SERVER_AWAY = "server-away"
    """The central server does not answer; it goes on by itself when it does."""
    READER_AWAY = "reader-away"
    OTHERS_AT_REST = "others-at-rest"
    """Other stations are at all the lines that are left."""
    FINISHED = "finished"
    STOPPED = "stopped"
    """Somebody stopped it, or (`trouble`) it cannot go on. Begun again, it goes on where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How far it is, for people to see. `line` is whose card is to be laid down now or next.

    `card` is the UID that lies there, or that is to come back. Rate and time left are None until
    there is something to reckon with; `issued_here` counts this run.
    """

    phase: QueuePhase
    batch: Batch | None = None
    line: Line | None = None
    upcoming: Line | None = None
    last: IssuedCard | None = None
    card: bytes | None = None
    trouble: DoBMIError | None = None
    issued_here: int = 0
    cards_per_hour: int | None = None
    seconds_left: int | None = None

    @property
    def done(self) -> int:
        """Lines of the batch that are issued."""
        return 0 if self.batch is None else self.batch.issued

    @property
    def is_over(self) -> bool:
        return self.phase in {QueuePhase.FINISHED, QueuePhase.STOPPED}


_States = Generator[QueueState, None, None]


class QueueControls:
    """What people tell a running queue, from any thread."""

    def __init__(self) -> None:
        self._stop, self._skip, self._other = Event(), Event(), Event()
        self.reason = ""

    def stop(self) -> None:
        """After the card that is in work, if one is. The batch can be gone on with anywhere."""
        self._stop.set()

    def skip_member(self, reason: str) -> None:
        """Leave the member who is up out, when no card is in work."""
        self.reason = reason
        self._skip.set()

    def take_other_card(self) -> None:
        """The card that is not finished will not come back: let another be laid down instead."""
        self._other.set()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Whether it was stopped before the time was up."""
        return self._stop.wait(seconds)

    @property
    def has_wish(self) -> bool:
        """Somebody wants another member or another card."""
        return self._skip.is_set() or self._other.is_set()

    def take_skip(self) -> bool:
        return _taken(self._skip)

    def take_other(self) -> bool:
        return _taken(self._other)


def _taken(event: Event) -> bool:
    was_set = event.is_set()
    event.clear()
    return was_set


class IssuingDesk(Protocol):
    """A batch at the central server. Every method raises ServerRefused, ServerUnreachable,
    MalformedMessage.
    """

    def claim(self) -> Claimed: ...

    def issue(self, connection: CardConnection, line: Line) -> IssuedCard:
        """Also raises RelayInterrupted."""

    def skip(self, line: Line, reason: str) -> None: ...

    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StationDesk:
    """One run at an enrolled station."""

    station: Station
    batch: int
    run: str = field(default_factory=issuing.new_claim)

    def claim(self) -> Claimed:
        return issuing.claim_line(self.station, self.batch, self.run)

    def issue(self, connection: CardConnection, line: Line) -> IssuedCard:
        return issuing.issue_line(self.station, connection, line, self.run)

    def skip(self, line: Line, reason: str) -> None:
        issuing.skip_line(self.station, self.batch, line.line, reason, self.run)

    def release(self) -> None:
        issuing.release_claim(self.station, self.batch, self.run)


def issue_queue(
    desk: IssuingDesk,
    open_reader: Callable[[], Reader],
    controls: QueueControls,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> _States:
    """Issue the batch's lines, one card after the other, until it is finished or stopped.

    `open_reader` is called when the reader is needed first, and again after it went away. The reader
    is closed and the line given back at the end, also when the generator itself is closed.
    """
    queue = _Queue(desk, open_reader, controls, monotonic)
    try:
        yield from queue.run()
    finally:
        queue.close()


class _Stop(Exception):
    """Leave the loops; `trouble` says why, if nobody asked for it."""

    def __init__(self, trouble: DoBMIError | None = None) -> None:
        super().__init__()
        self.trouble = trouble


_SERVER_LATER = frozenset(
    {"CENTRAL-BUSY", "CENTRAL-STOPPING", "CENTRAL-DATABASE", "SYNC-RELAY", "READER-UNAVAILABLE"}
)
"""The server's codes after which the same again may go well."""
_NEXT_LINE = frozenset({"CENTRAL-LINE-ISSUED", "CENTRAL-LINE-SKIPPED", "CENTRAL-LINE-TAKEN"})
"""The line is not ours any more; with the card nothing is wrong."""
_MEMBER = frozenset({"CENTRAL-MEMBER-HAS-CARD", "CENTRAL-MEMBER-NAME", "CENTRAL-LINE-OTHER"})
"""This member cannot get a card by this line."""
_CARD_ITSELF = frozenset(
    {
        "CARD-NOT-OURS",
        "CARD-NOT-DESFIRE",
        "CARD-UNSUPPORTED",
        "CARD-NOT-ORIGINAL",
        "CARD-KEYS",
        "CARD-ISSUED",
        "CARD-OUT-OF-MEMORY",
        "CARD-COUNT",
        "CENTRAL-CARD-OTHER-MEMBER",
        "CENTRAL-CARD-BEGUN",
        "CENTRAL-CARD-BLOCKED",
        "CENTRAL-CARD-ENDED",
        "CENTRAL-CARD-REPLACED",
    }
)
"""Nothing can be done with this card now."""


class _NextLine(Exception):
    """The line before us is done with, or not ours any more."""


class _Queue:
    def __init__(
        self,
        desk: IssuingDesk,
        open_reader: Callable[[], Reader],
        controls: QueueControls,
        monotonic: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._open_reader = open_reader
        self._controls = controls
        self._monotonic = monotonic
        self._reader: Reader | None = None
        self._state = QueueState(phase=QueuePhase.LAY)
        self._claimed_at = 0.0
        self._is_claimed = False
        self._finished_at: deque[float] = deque(maxlen=_CARDS_OF_RATE)
        self._begun: bytes | None = None
        """The card that may have something of the line's member on it, and is not finished."""
        self._failures = 0
        self._lies_there = False
        """The card that was issued last has not been taken away yet."""

    def run(self) -> _States:
        try:
            while (yield from self._claim()):
                try:
                    yield from self._serve()
                except _NextLine:
                    continue
        except _Stop as stop:
            self._release()
            yield self._show(QueuePhase.STOPPED, trouble=stop.trouble)
            return
        yield self._show(QueuePhase.FINISHED, line=None, upcoming=None, card=None)

    def close(self) -> None:
        self._release()
        self._close_reader()

    # The server

    def _claim(self) -> Generator[QueueState, None, bool]:
        """Whether there is a line for us now."""
        while True:
            claimed = yield from self._asked(self._desk.claim)
            self._take(claimed)
            if claimed.line is not None:
                self._begun, self._failures = None, 0
                return True
            if not claimed.batch.waiting:
                return False
            yield self._show(QueuePhase.OTHERS_AT_REST, card=None)
            self._pause(_OTHERS_SECONDS)

    def _take(self, claimed: Claimed) -> None:
        self._is_claimed = claimed.line is not None
        self._claimed_at = self._monotonic()
        self._state = replace(
            self._state, batch=claimed.batch, line=claimed.line, upcoming=claimed.upcoming
        )

    def _renew(self) -> _States:
        """Keep the line while people take their time. Raises _NextLine if it is lost."""
        if self._monotonic() - self._claimed_at < _RENEW_SECONDS:
            return
        before, line = self._state, self._line
        claimed = yield from self._asked(self._desk.claim)
        self._take(claimed)
        if claimed.line is None or claimed.line.line != line.line:
            raise _NextLine
        if self._state.phase is not before.phase:
            yield self._show(before.phase, card=before.card, trouble=before.trouble)

    def _asked(self, ask: Callable[[], _T]) -> Generator[QueueState, None, _T]:
        """What the server answers, as long as it takes. Raises _Stop for what waiting mends not."""
        while True:
            try:
                return ask()
            except DoBMIError as error:
                if not _mends_itself(error):
                    raise _Stop(error) from error
                yield from self._away(error)

    def _away(self, error: DoBMIError) -> _States:
        yield self._show(QueuePhase.SERVER_AWAY, card=self._begun, trouble=error)
        self._pause(_AWAY_SECONDS)

    def _release(self) -> None:
        if self._is_claimed:
            self._is_claimed = False
            with contextlib.suppress(DoBMIError):  # it lapses by itself
                self._desk.release()

    # One member

    def _serve(self) -> _States:
        """Until the line is issued. Raises _NextLine, _Stop."""
        if self._lies_there:
            yield self._show(QueuePhase.ISSUED, card=self._state.card)
            yield from self._lifted()
            self._lies_there = False
        while True:
            if self._controls.take_skip():
                yield from self._skip(self._controls.reason)
            if self._controls.take_other():
                self._begun, self._failures = None, 0
            connection = yield from self._card()
            if connection is None:
                continue
            if self._begun not in {None, connection.uid}:
                connection.disconnect()
                self._signal(Signal.FAILURE)
                yield self._show(QueuePhase.OTHER_CARD, card=self._begun)
                yield from self._lifted()
                continue
            self._signal(Signal.BUSY)
            yield self._show(QueuePhase.WORKING, card=connection.uid)
            match self._issue(connection):
                case IssuedCard() as issued:
                    yield self._issued(issued)
                    return
                case DoBMIError() as error:
                    yield from self._failed(connection.uid, error)

    def _issue(self, connection: CardConnection) -> IssuedCard | DoBMIError:
        try:
            return self._desk.issue(connection, self._line)
        except DoBMIError as error:
            return error
        finally:
            connection.disconnect()

    def _issued(self, issued: IssuedCard) -> QueueState:
        self._signal(Signal.SUCCESS)
        self._finished_at.append(self._monotonic())
        self._lies_there = True
        self._is_claimed = False
        batch, upcoming = self._state.batch, self._state.upcoming
        assert batch is not None
        self._state = replace(
            self._state,
            batch=replace(batch, issued=batch.issued + 1, waiting=batch.waiting - 1),
            last=issued,
            issued_here=self._state.issued_here + 1,
        )
        return self._show(QueuePhase.ISSUED, line=upcoming, upcoming=None, card=issued.uid)

    def _failed(self, uid: bytes, error: DoBMIError) -> _States:
        """Say it, and have whatever helps be done. Raises _NextLine, _Stop."""
        code = str(error.facts.get("problem", "")) if isinstance(error, ServerRefused) else ""
        if code in _NEXT_LINE:
            raise _NextLine
        if code in _MEMBER:
            yield from self._skip(error.explain()[:200], error)
        elif code in _CARD_ITSELF:
            yield from self._put_aside(uid, error)
        elif isinstance(error, ServerUnreachable):
            yield from self._away(error)  # nothing has reached the card
        elif isinstance(error.__cause__, ReaderUnavailable):
            self._begun = uid
            yield from self._reader_gone(error)
        elif isinstance(error.__cause__, CardRemoved):
            self._begun = uid
            self._signal(Signal.FAILURE)
            yield self._show(QueuePhase.SAME_AGAIN, card=uid, trouble=error)
        elif _mends_itself(error) and not isinstance(error.__cause__, CardError):
            self._begun = uid
            yield from self._away(error)
        elif code.startswith("CARD-") or isinstance(error.__cause__, CardError):
            self._begun = uid
            self._failures += 1
            if self._failures < _TRIES_MAX:
                yield from self._again(uid, error)
            else:
                yield from self._put_aside(uid, error)
        else:
            raise _Stop(error)

    def _again(self, uid: bytes, error: DoBMIError) -> _States:
        self._signal(Signal.FAILURE)
        yield self._show(QueuePhase.SAME_AGAIN, card=uid, trouble=error)
        yield from self._lifted()

    def _put_aside(self, uid: bytes, error: DoBMIError) -> _States:
        self._begun, self._failures = None, 0
        self._signal(Signal.FAILURE)
        yield self._show(QueuePhase.REFUSED, card=uid, trouble=error)
        yield from self._lifted()

    def _skip(self, reason: str, error: DoBMIError | None = None) -> _States:
        line = self._line
        yield from self._asked(lambda: self._desk.skip(line, reason))
        self._is_claimed = False
        if error is not None:
            self._signal(Signal.FAILURE)
        yield self._show(QueuePhase.SKIPPED, trouble=error)
        raise _NextLine

    # The reader

    def _card(self) -> Generator[QueueState, None, CardConnection | None]:
        """The card that was laid down; None: somebody wants something else first."""
        is_again = self._begun is not None
        phase = QueuePhase.SAME_AGAIN if is_again else QueuePhase.LAY
        trouble = self._state.trouble if is_again else None
        yield self._show(phase, card=self._begun, trouble=trouble)
        is_lit = False
        while True:
            if self._controls.is_stopped:
                raise _Stop
            if self._controls.has_wish:
                return None
            yield from self._renew()
            try:
                reader = self._opened()
                if not is_lit:
                    self._signal(Signal.READY)
                    is_lit = True
                if reader.wait_for_card(_LOOK_SECONDS):
                    return reader.connect()
            except (NoCard, CardRemoved):
                continue
            except ReaderUnavailable as error:
                yield from self._reader_gone(error)
                return None

    def _lifted(self) -> _States:
        """Until no card lies there."""
        while True:
            if self._controls.is_stopped:
                raise _Stop
            yield from self._renew()
            try:
                if self._opened().wait_for_removal(_LOOK_SECONDS):
                    return
            except ReaderUnavailable as error:
                yield from self._reader_gone(error)
                return

    def _opened(self) -> Reader:
        if self._reader is None:
            try:
                self._reader = self._open_reader()
            except ReaderUnavailable:
                raise
            except DoBMIError as error:  # the settings name no reader there is
                raise _Stop(error) from error
        return self._reader

    def _reader_gone(self, error: DoBMIError) -> _States:
        self._close_reader()
        yield self._show(QueuePhase.READER_AWAY, card=self._begun, trouble=error)
        self._pause(_READER_SECONDS)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _signal(self, signal: Signal) -> None:
        if self._reader is not None:
            with contextlib.suppress(CardError):  # the light alone: what the card did stands
                self._reader.signal(signal)

    # What is seen

    def _show(self, phase: QueuePhase, **changes: Any) -> QueueState:
        changes.setdefault("trouble", None)
        rate = self._rate()
        batch = self._state.batch
        left = None if rate is None or batch is None else round(batch.waiting * 3600 / rate)
        self._state = replace(
            self._state,
            phase=phase,
            cards_per_hour=None if rate is None else round(rate),
            seconds_left=left,
            **changes,
        )
        return self._state

    def _rate(self) -> float | None:
        """Cards an hour, of the last ones."""
        if len(self._finished_at) < 2:
            return None
        seconds = self._finished_at[-1] - self._finished_at[0]
        return (len(self._finished_at) - 1) * 3600 / max(seconds, 0.001)

    def _pause(self, seconds: float) -> None:
        if self._controls.wait(seconds):
            raise _Stop

    @property
    def _line(self) -> Line:
        assert self._state.line is not None
        return self._state.line


def _mends_itself(error: DoBMIError) -> bool:
    """Whether the same again may go well, with no one doing anything."""
    if isinstance(error, ServerRefused):
        return error.facts.get("problem") in _SERVER_LATER
    return isinstance(error, ServerUnreachable | RelayInterrupted)
