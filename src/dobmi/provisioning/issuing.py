"""Issuing batches as a station sees them: the central server's lists, and its line of one.

Everything here asks the server; docs/formats/http.md has the requests. All of them may be sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Final

from dobmi.cardlib.readers import CardConnection
from dobmi.i18n import N_
from dobmi.provisioning import cards
from dobmi.provisioning.enrolment import Station
from dobmi.sync import http
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.relay import BatchLine

_EPOCH: Final = date(1970, 1, 1)
BATCH_LINES_MAX: Final = 5_000
"""What the server takes in one batch."""


class LineState(StrEnum):
    WAITING = "waiting"
    ISSUED = "issued"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A list of members who are to get cards, and how far it is."""

    number: int
    name: str
    made_at: int
    lines: int
    issued: int
    skipped: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedLine:
    """The card of a line as it was read back: what the batch's report says of it.

    `originality` names the key that signed the chip's UID, `generation` is the chip's.
    """

    card_uid: bytes
    card_serial: int
    expires: date
    generation: str
    originality: str
    resumed: bool
    issued_at: int
    station: int
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A member who is to get a card, or has it. `photo` is the SHA-256 of the member's, if any."""

    batch: int
    line: int
    member_number: int
    name: str
    member_class: str
    photo: bytes | None
    state: LineState
    reason: str
    issued: IssuedLine | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The line that is ours now, if nobody else has all there are; `upcoming` would come next."""

    batch: Batch
    line: Line | None
    upcoming: Line | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLine:
    """A row of a list; `member_class` None leaves the member's class as it is."""

    member_number: int
    name: str
    member_class: str | None = None

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {"number": self.member_number, "name": self.name}
        if self.member_class is not None:
            found["class"] = self.member_class
        return found


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What the server has against a row (from 1): in its words, with what to do."""

    row: int
    column: str
    code: str
    text: str
    advice: str


def new_claim() -> str:
    """A name for one run of a queue, which nobody else has."""
    return secrets.token_hex(8)


def check_lines(
    station: Station, lines: Sequence[GivenLine], new_classes: Sequence[str] = ()
) -> list[RowProblem]:
    """What keeps rows from being taken. Raises ServerRefused, ServerUnreachable, MalformedMessage."""
    asked = {"lines": [line.to_json() for line in lines], "new_classes": list(new_classes)}
    answer = station.client.post_json(f"{http.ISSUING_BATCHES_PATH}/check", asked)
    return [
        RowProblem(
            row=_whole(one, "row"),
            column=_text(one, "column"),
            code=_text(one, "code"),
            text=_text(one, "detail"),
            advice=_text(one, "advice"),
        )
        for one in _list(answer, "problems")
    ]


def make_batch(
    station: Station,
    name: str,
    lines: Sequence[GivenLine],
    reference: str,
    new_classes: Sequence[str] = (),
) -> Batch:
    """Have the server take the list, all of it or nothing; by the same `reference` once only.

    Raises as `check_lines`.
    """
    asked = {
        "name": name,
        "idempotency_key": reference,
        "lines": [line.to_json() for line in lines],
        "new_classes": list(new_classes),
    }
    return _batch(station.client.post_json(http.ISSUING_BATCHES_PATH, asked))


def list_batches(station: Station) -> list[Batch]:
    """The newest hundred, newest first. Raises as `check_lines`."""
    answer = station.client.get_json(http.ISSUING_BATCHES_PATH)
    return [_batch(one) for one in _list(answer, "batches")]


def batch_of(station: Station, number: int) -> Batch:
    """Raises as `check_lines`."""
    return _batch(station.client.get_json(_path(number)))


def lines_of(station: Station, number: int) -> Iterator[Line]:
    """All lines of the batch, in their order, asked for by pages. Raises as `check_lines`."""
    after = 0
    while True:
        answer = station.client.get_json(f"{_path(number)}/lines?after={after}")
        found = [_line(one) for one in _list(answer, "lines")]
        yield from found
        if not found or not answer.get("more"):
            return
        after = found[-1].line


def claim_line(station: Station, number: int, claim: str) -> Claimed:
    """The next line that is to be issued, ours for two minutes; asked again it is the same.

    Raises as `check_lines`.
    """
    answer = station.client.post_json(f"{_path(number)}/claim", {"claim": claim})
    return Claimed(
        _batch(_map(answer, "batch")),
        *(
            None if answer.get(which) is None else _line(_map(answer, which))
            for which in ("line", "upcoming")
        ),
    )


def release_claim(station: Station, number: int, claim: str) -> None:
    """Others may have our line at once. Raises as `check_lines`."""
    station.client.post_json(f"{_path(number)}/release", {"claim": claim})


def skip_line(station: Station, number: int, line: int, reason: str, claim: str = "") -> None:
    """Leave a line out until it is put back. Raises as `check_lines`."""
    path = f"{_path(number)}/lines/{line}/skip"
    station.client.post_json(path, {"reason": reason, "claim": claim})


def put_back(station: Station, number: int, line: int) -> None:
    """Have a line that was skipped wait again. Raises as `check_lines`."""
    station.client.post_json(f"{_path(number)}/lines/{line}/put-back", {})


def give_photo(station: Station, number: int, line: int, jpeg: bytes) -> None:
    """The photo of a line's member: a JPEG of at most 60 kB. Raises as `check_lines`."""
    station.client.post_jpeg(f"{_path(number)}/lines/{line}/photo", jpeg)


def issue_line(
    station: Station, connection: CardConnection, line: Line, claim: str
) -> cards.IssuedCard:
    """Make the card on the reader the purse of the line's member. Raises as `cards.issue`."""
    of = BatchLine(line.batch, line.line, claim)
    return cards.issue(station, connection, line.member_number, line.name, of)


def _path(number: int) -> str:
    return f"{http.ISSUING_BATCHES_PATH}/{number}"


def _batch(answer: Mapping[str, Any]) -> Batch:
    return Batch(
        number=_whole(answer, "number"),
        name=_text(answer, "name"),
        **{
            name: _whole(answer, name)
            for name in ("made_at", "lines", "issued", "skipped", "waiting")
        },
    )


def _line(answer: Mapping[str, Any]) -> Line:
    try:
        state = LineState(_text(answer, "state"))
        photo = answer.get("photo")
        return Line(
            batch=_whole(answer, "batch"),
            line=_whole(answer, "line"),
            member_number=_whole(answer, "member_number"),
            name=_text(answer, "name"),
            member_class=_text(answer, "member_class"),
            photo=None if photo is None else bytes.fromhex(_text(answer, "photo")),
            state=state,
            reason=_text(answer, "reason"),
            issued=_issued(_map(answer, "issued")) if state is LineState.ISSUED else None,
        )
    except ValueError as error:
        raise MalformedMessage(detail=N_("the answer is no line of a batch")) from error


def _issued(answer: Mapping[str, Any]) -> IssuedLine:
    """Raises ValueError, MalformedMessage."""
    resumed = answer.get("resumed")
    if not isinstance(resumed, bool):
        raise MalformedMessage(detail=N_("the answer is no line of a batch"))
    return IssuedLine(
        card_uid=bytes.fromhex(_text(answer, "card_uid")),
        card_serial=_whole(answer, "card_serial"),
        expires=_EPOCH + timedelta(days=min(_whole(answer, "expires_days"), 65_535)),
        generation=_text(answer, "generation"),
        originality=_text(answer, "originality"),
        resumed=resumed,
        issued_at=_whole(answer, "issued_at"),
        station=_whole(answer, "station"),
        person=_text(answer, "person"),
    )


def _text(answer: Mapping[str, Any], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, str):
        raise MalformedMessage(detail=f"the answer lacks the text {name}")
    return found


def _whole(answer: Mapping[str, Any], name: str) -> int:
    found = answer.get(name)
    if type(found) is not int:
        raise MalformedMessage(detail=f"the answer lacks the number {name}")
    return found


def _map(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise MalformedMessage(detail=f"the answer lacks {name}")
    return found


def _list(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = answer.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise MalformedMessage(detail=f"the answer lacks the list {name}")
    return found
