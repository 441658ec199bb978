"""Lists of members who are to get cards, and who is at which line of them.

A list is taken once, by a key that its sender made. A line is claimed by a station's run for a short
time, so that two stations work at one list; that it is issued is written in the transaction in which
its card becomes active (issue_session.py).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, case, func, or_, select, update

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.database import insert_rows, insert_unless_there, next_number
from dobmi.central.errors import (
    BadParameters,
    CentralError,
    IdempotencyConflict,
    IssuingLinesRefused,
    LineIssued,
    LineOfAnother,
    LineSkipped,
    LineTaken,
    MemberHasAnotherCard,
    MemberNameDiffers,
    MemberTwice,
    MemberWaitsElsewhere,
    NameDoesNotFit,
    UnknownIssuingBatch,
    UnknownIssuingLine,
    UnknownMemberClass,
)
from dobmi.central.member_notes import Told, is_jpeg, take_notes
from dobmi.central.schema import (
    CardState,
    LineState,
    cards,
    catalogue_prices,
    issuing_batches,
    issuing_lines,
    member_notes,
    members,
)
from dobmi.central.server import Central
from dobmi.central.texts import NAME_LENGTH_MAX, REASON_LENGTH_MAX, require_text
from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.sync.cbor import CborValue, encode, is_plain
from dobmi.sync.relay import NAME_BYTES_MAX, BatchLine

BATCH_LINES_MAX: Final = 5_000
LINES_A_PAGE_MAX: Final = 500
CLAIM_SECONDS: Final = 120
"""How long a station has a line before it, once it has asked; asking again it has it anew."""
SESSION_CLAIM_SECONDS: Final = 360
"""How long with a card in work: longer than any card session may take (relay_session.py)."""
_AT_A_TIME: Final = 500
_BATCHES: Final = "issuing-batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLine:
    """A row of a member list; `member_class` None leaves the member's class as it is."""

    member_number: int
    name: str
    member_class: str | None = None


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with a row (from 1), in `column` number, name or class."""

    row: int
    column: str
    error: CentralError


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    number: int
    name: str
    made_at: int
    station: int
    person: str
    lines: int
    issued: int
    skipped: int

    @property
    def waiting(self) -> int:
        return self.lines - self.issued - self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a batch, and of what is issued the card as it was when it was read back.

    `generation` is the chip's, `originality` the name of the key that signed its UID; `photo` the
    SHA-256 of the member's photo, if there is one.
    """

    batch: int
    line: int
    member_number: int
    name: str
    member_class: str
    photo: bytes | None
    state: LineState
    reason: str
    card_uid: bytes | None
    card_serial: int | None
    expires_on_day: int | None
    generation: str
    originality: str
    resumed: bool
    issued_at: int | None
    station: int | None
    person: str


@dataclass(frozen=True, slots=True)
class Chip:
    """What a card said when it was issued. `resumed`: an earlier attempt with it was taken up."""

    generation: str
    originality: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """The line that a run has before it now, if there is one that nobody else has.

    `upcoming`: whose line would come next.
    """

    batch: Batch
    line: Line | None
    upcoming: Line | None


def check_lines(
    central: Central, lines: Sequence[GivenLine], new_classes: Collection[str] = ()
) -> list[RowProblem]:
    """What keeps rows from being taken, in their order; a row may have several problems."""
    with central.database.read() as connection:
        return list(_problems(connection, lines, new_classes))


def known_classes(central: Central) -> list[str]:
    """Classes of members that prices or members have, but for the ordinary one."""
    with central.database.read() as connection:
        return _known_classes(connection)


def make_batch(
    central: Central,
    name: str,
    lines: Sequence[GivenLine],
    actor: Actor,
    *,
    idempotency_key: str,
    new_classes: Collection[str] = (),
) -> tuple[Batch, bool]:
    """Take a list, all of it or nothing: its members with their classes, and a line for each.

    Given again under the same key it is the same batch, and nothing is done; the second value says
    whether it is new. Raises BadParameters, IssuingLinesRefused, IdempotencyConflict.
    """
    require_text("name", name, NAME_LENGTH_MAX)
    if not 0 < len(lines) <= BATCH_LINES_MAX:
        raise BadParameters(detail=f"a batch has 1 to {BATCH_LINES_MAX} lines")
    assert actor.station is not None
    station = actor.station
    digest = _digest(name, lines)
    now = central.unix_seconds()

    def take(connection: Connection) -> tuple[Batch, bool]:
        known = connection.execute(
            select(issuing_batches.c.number, issuing_batches.c.content_hash).where(
                issuing_batches.c.idempotency_key == idempotency_key
            )
        ).one_or_none()
        if known is not None:
            if bytes(known.content_hash) != digest:
                raise IdempotencyConflict
            return _batch(connection, known.number), False
        number = next_number(connection, _BATCHES)  # so lists are taken one after the other
        wrong = list(_problems(connection, lines, new_classes))
        if wrong:
            raise IssuingLinesRefused(
                count=len({one.row for one in wrong}),
                line=wrong[0].row,
                column=wrong[0].column,
                problem=Phrase(wrong[0].error.message, **wrong[0].error.facts),
            )
        _register(connection, lines, now)
        row = {
            "number": number,
            "name": name,
            "idempotency_key": idempotency_key,
            "content_hash": digest,
            "lines_count": len(lines),
            "made_at": now,
            "station": station,
            "person": actor.name,
        }
        insert_rows(connection, issuing_batches, [row])
        insert_rows(
            connection,
            issuing_lines,
            [_new_line(number, line, given) for line, given in enumerate(lines, 1)],
        )
        note_act(
            connection,
            actor,
            Act.IMPORT,
            subject=f"issuing batch {number}",
            detail=f"{len(lines)} members: {name}",
            now=now,
        )
        return _batch(connection, number), True

    return central.database.write_again(take)


def list_batches(central: Central, *, before: int | None = None, newest: int = 100) -> list[Batch]:
    """The newest first; `before`: older than that number."""
    query = select(issuing_batches.c.number).order_by(issuing_batches.c.number.desc()).limit(newest)
    if before is not None:
        query = query.where(issuing_batches.c.number < before)
    with central.database.read() as connection:
        numbers = connection.execute(query).scalars().all()
        return [_batch(connection, number) for number in numbers]


def batch_of(central: Central, number: int) -> Batch:
    """Raises UnknownIssuingBatch."""
    with central.database.read() as connection:
        return _batch(connection, number)


def lines_of(
    central: Central, number: int, *, after: int = 0, most: int = LINES_A_PAGE_MAX
) -> list[Line]:
    """The batch's lines behind `after`, in their order. Raises UnknownIssuingBatch."""
    with central.database.read() as connection:
        _batch(connection, number)
        query = _lines().where(issuing_lines.c.batch == number, issuing_lines.c.line > after)
        rows = connection.execute(query.order_by(issuing_lines.c.line).limit(most))
        return [_line(row) for row in rows]


def claim_line(central: Central, number: int, claim: str, station: int) -> Claimed:
    """The line that the run `claim` has, or the next that waits and that nobody has now.

    Raises UnknownIssuingBatch.
    """
    now = central.unix_seconds()

    def take(connection: Connection) -> Claimed:
        mine = issuing_lines.c.claim == claim
        found = connection.execute(
            select(issuing_lines.c.line)
            .where(_free(number, claim, now))
            .order_by(case((mine, 0), else_=1), issuing_lines.c.line)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).scalar_one_or_none()
        if found is None:
            return Claimed(_batch(connection, number), None, None)
        connection.execute(
            update(issuing_lines)
            .where(issuing_lines.c.batch == number, issuing_lines.c.line == found)
            .values(claim=claim, claimed_by=station, claimed_until=now + CLAIM_SECONDS)
        )
        here = (issuing_lines.c.batch == number) & (issuing_lines.c.line == found)
        line = connection.execute(_lines().where(here)).one()
        upcoming = connection.execute(
            _lines()
            .where(_free(number, claim, now), issuing_lines.c.line != found)
            .order_by(issuing_lines.c.line)
            .limit(1)
        ).one_or_none()
        return Claimed(
            _batch(connection, number),
            _line(line),
            None if upcoming is None else _line(upcoming),
        )

    return central.database.write_again(take)


def release_claim(central: Central, number: int, claim: str) -> None:
    """The run gives up what it has before it: other stations may have it at once."""
    with central.database.write() as connection:
        connection.execute(
            update(issuing_lines)
            .where(issuing_lines.c.batch == number, issuing_lines.c.claim == claim)
            .values(claim="", claimed_by=None, claimed_until=0)
        )


def skip_line(central: Central, number: int, line: int, reason: str, claim: str = "") -> Line:
    """Leave the line out, until `put_back`. Done again it is harmless.

    `claim`: the run that asks; another's line is left to it. Raises BadParameters,
    UnknownIssuingLine, LineIssued, LineTaken.
    """
    require_text("reason", reason, REASON_LENGTH_MAX)
    return _set_state(central, number, line, state=LineState.SKIPPED, reason=reason, claim=claim)


def put_back(central: Central, number: int, line: int) -> Line:
    """Have a line that was skipped wait again. Raises UnknownIssuingLine, LineIssued, LineTaken."""
    return _set_state(central, number, line, state=LineState.WAITING, reason="", claim="")


def give_photo(central: Central, number: int, line: int, jpeg: bytes) -> Line:
    """The photo of the line's member, for tills and for the card's face.

    Raises BadParameters (no JPEG of at most 60 kB), UnknownIssuingLine.
    """
    if not is_jpeg(jpeg):
        raise BadParameters(detail="a photo is a JPEG of at most 60 kB")

    def take(connection: Connection) -> Line:
        row = _locked(connection, number, line)
        told = Told(line, row.member_number, jpeg=jpeg)
        take_notes(connection, [told], central.unix_seconds())
        here = (issuing_lines.c.batch == number) & (issuing_lines.c.line == line)
        return _line(connection.execute(_lines().where(here)).one())

    return central.database.write_again(take)


def begin_line(
    connection: Connection,
    of: BatchLine,
    member_number: int,
    uid: bytes,
    *,
    station: int | None,
    now: int,
) -> None:
    """The card is being made for the line; the run has it until the session must be over.

    Raises UnknownIssuingLine, LineOfAnother, LineIssued (with another card), LineSkipped,
    LineTaken.
    """
    row = _locked(connection, of.batch, of.line)
    if row.member_number != member_number:
        raise LineOfAnother(batch=of.batch, line=of.line, member=row.member_number, name=row.name)
    if row.state == LineState.ISSUED:
        if bytes(row.card_uid) == uid:
            return
        raise _issued(connection, row)
    if row.state == LineState.SKIPPED:
        raise LineSkipped(batch=of.batch, line=of.line, reason=row.reason)
    _refuse_taken(row, of.claim, now)
    connection.execute(
        update(issuing_lines)
        .where(issuing_lines.c.batch == of.batch, issuing_lines.c.line == of.line)
        .values(claim=of.claim, claimed_by=station, claimed_until=now + SESSION_CLAIM_SECONDS)
    )


def note_card(connection: Connection, of: BatchLine, uid: bytes) -> None:
    """Which card is being made for the line."""
    connection.execute(
        update(issuing_lines)
        .where(
            issuing_lines.c.batch == of.batch,
            issuing_lines.c.line == of.line,
            issuing_lines.c.state == LineState.WAITING.value,
        )
        .values(card_uid=uid)
    )


def hold_line(connection: Connection, of: BatchLine) -> None:
    """Whoever needs the line and its card takes the line first. Raises UnknownIssuingLine."""
    _locked(connection, of.batch, of.line)


def end_line(
    connection: Connection, of: BatchLine, uid: bytes, actor: Actor, *, chip: Chip, now: int
) -> None:
    """The line is issued, in the transaction in which its card becomes active; again, it stays so.

    Raises UnknownIssuingLine, LineIssued (with another card), LineTaken.
    """
    row = _locked(connection, of.batch, of.line)
    if row.state == LineState.ISSUED:
        if bytes(row.card_uid) != uid:
            raise _issued(connection, row)
        return
    _refuse_taken(row, of.claim, now)
    connection.execute(
        update(issuing_lines)
        .where(issuing_lines.c.batch == of.batch, issuing_lines.c.line == of.line)
        .values(
            state=LineState.ISSUED.value,
            reason="",
            claim="",
            claimed_by=None,
            claimed_until=0,
            card_uid=uid,
            generation=chip.generation[:40],
            originality=chip.originality[:80],
            resumed=chip.resumed,
            issued_at=now,
            station=actor.station,
            person=actor.name,
        )
    )


def _problems(
    connection: Connection, lines: Sequence[GivenLine], new_classes: Collection[str]
) -> Iterator[RowProblem]:
    seen: dict[int, int] = {}
    names = _by_member(connection, lines, members.c.name, members)
    in_force = _cards_in_force(connection, lines)
    waiting = _waiting(connection, lines)
    classes = {*_known_classes(connection), *new_classes, ""}
    for row, given in enumerate(lines, 1):
        member = given.member_number
        if member in seen:
            yield RowProblem(row, "number", MemberTwice(member=member, line=seen[member]))
            continue
        seen[member] = row
        length = len(given.name.encode())
        if not 0 < length <= NAME_BYTES_MAX or not is_plain(given.name) or not given.name.strip():
            error: CentralError = NameDoesNotFit(found=length, most=NAME_BYTES_MAX)
            yield RowProblem(row, "name", error)
        if names.get(member, given.name) != given.name:
            yield RowProblem(row, "name", MemberNameDiffers(member=member, name=names[member]))
        if given.member_class is not None and given.member_class not in classes:
            known = ", ".join(sorted(classes - {""})) or N_("none")
            error = UnknownMemberClass(name=given.member_class[:40], known=known)
            yield RowProblem(row, "class", error)
        if member in in_force:
            serial, uid = in_force[member]
            error = MemberHasAnotherCard(member=member, serial=serial, card=uid.hex())
            yield RowProblem(row, "number", error)
        elif member in waiting:
            batch, line = waiting[member]
            error = MemberWaitsElsewhere(member=member, batch=batch, line=line)
            yield RowProblem(row, "number", error)


def _pieces(lines: Sequence[GivenLine]) -> Iterator[list[int]]:
    """Their members' numbers, some hundreds at a time: databases limit what a statement holds."""
    numbers = [given.member_number for given in lines]
    for start in range(0, len(numbers), _AT_A_TIME):
        yield numbers[start : start + _AT_A_TIME]


def _by_member(
    connection: Connection, lines: Sequence[GivenLine], column: Any, table: Any
) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for piece in _pieces(lines):
        rows = connection.execute(
            select(table.c.member_number, column).where(table.c.member_number.in_(piece))
        )
        found.update((row[0], row[1]) for row in rows)
    return found


def _cards_in_force(
    connection: Connection, lines: Sequence[GivenLine]
) -> dict[int, tuple[int, bytes]]:
    found: dict[int, tuple[int, bytes]] = {}
    for piece in _pieces(lines):
        rows = connection.execute(
            select(cards.c.member_number, cards.c.serial, cards.c.uid).where(
                cards.c.member_number.in_(piece), cards.c.state == CardState.ACTIVE.value
            )
        )
        found.update((row.member_number, (row.serial, bytes(row.uid))) for row in rows)
    return found


def _waiting(connection: Connection, lines: Sequence[GivenLine]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for piece in _pieces(lines):
        of = issuing_lines.c
        rows = connection.execute(
            select(of.member_number, of.batch, of.line).where(
                of.member_number.in_(piece), of.state == LineState.WAITING.value
            )
        )
        found.update((row.member_number, (row.batch, row.line)) for row in rows)
    return found


def _known_classes(connection: Connection) -> list[str]:
    found: set[str] = set()
    for column in (catalogue_prices.c.member_class, member_notes.c.member_class):
        found.update(connection.execute(select(column).distinct()).scalars())
    return sorted(found - {""})


def _digest(name: str, lines: Sequence[GivenLine]) -> bytes:
    rows: list[CborValue] = [[one.member_number, one.name, one.member_class] for one in lines]
    return hashlib.sha256(encode([name, rows])).digest()


def _register(connection: Connection, lines: Sequence[GivenLine], now: int) -> None:
    rows = [{"member_number": one.member_number, "name": one.name} for one in lines]
    insert_unless_there(connection, members, rows)
    told = [
        Told(row, one.member_number, member_class=one.member_class)
        for row, one in enumerate(lines, 1)
        if one.member_class is not None
    ]
    if told:
        take_notes(connection, told, now)


def _new_line(batch: int, line: int, given: GivenLine) -> dict[str, Any]:
    return {
        "batch": batch,
        "line": line,
        "member_number": given.member_number,
        "name": given.name,
        "state": LineState.WAITING.value,
        "reason": "",
        "claim": "",
        "claimed_by": None,
        "claimed_until": 0,
        "card_uid": None,
        "generation": "",
        "originality": "",
        "resumed": False,
        "issued_at": None,
        "station": None,
        "person": "",
    }


def _batch(connection: Connection, number: int) -> Batch:
    row = connection.execute(
        select(issuing_batches).where(issuing_batches.c.number == number)
    ).one_or_none()
    if row is None:
        raise UnknownIssuingBatch(batch=number)
    states = connection.execute(
        select(issuing_lines.c.state, func.count().label("lines"))
        .where(issuing_lines.c.batch == number)
        .group_by(issuing_lines.c.state)
    )
    counted: Counter[str] = Counter({row.state: row.lines for row in states})
    return Batch(
        number=row.number,
        name=row.name,
        made_at=row.made_at,
        station=row.station,
        person=row.person,
        lines=row.lines_count,
        issued=counted[LineState.ISSUED.value],
        skipped=counted[LineState.SKIPPED.value],
    )


def _lines() -> Any:
    return (
        select(
            issuing_lines,
            member_notes.c.member_class,
            member_notes.c.photo,
            cards.c.serial,
            cards.c.expires_on_day,
        )
        .outerjoin(member_notes, member_notes.c.member_number == issuing_lines.c.member_number)
        .outerjoin(cards, cards.c.uid == issuing_lines.c.card_uid)
    )


def _line(row: Row[Any]) -> Line:
    is_issued = row.state == LineState.ISSUED
    return Line(
        batch=row.batch,
        line=row.line,
        member_number=row.member_number,
        name=row.name,
        member_class=row.member_class or "",
        photo=None if row.photo is None else bytes(row.photo),
        state=LineState(row.state),
        reason=row.reason,
        card_uid=bytes(row.card_uid) if is_issued else None,
        card_serial=row.serial if is_issued else None,
        expires_on_day=row.expires_on_day if is_issued else None,
        generation=row.generation,
        originality=row.originality,
        resumed=row.resumed,
        issued_at=row.issued_at,
        station=row.station,
        person=row.person,
    )


def _free(number: int, claim: str, now: int) -> ColumnElement[bool]:
    """Lines that wait and that no other run has."""
    of = issuing_lines.c
    nobody = or_(of.claim == claim, of.claim == "", of.claimed_until < now)
    return (of.batch == number) & (of.state == LineState.WAITING.value) & nobody


def _locked(connection: Connection, batch: int, line: int) -> Row[Any]:
    row = connection.execute(
        select(issuing_lines)
        .where(issuing_lines.c.batch == batch, issuing_lines.c.line == line)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownIssuingLine(batch=batch, line=line)
    return row


def _refuse_taken(row: Row[Any], claim: str, now: int) -> None:
    if row.claim not in {"", claim} and row.claimed_until >= now:
        raise LineTaken(batch=row.batch, line=row.line, station=row.claimed_by)


def _issued(connection: Connection, row: Row[Any]) -> LineIssued:
    serial = connection.execute(
        select(cards.c.serial).where(cards.c.uid == row.card_uid)
    ).scalar_one()
    return LineIssued(batch=row.batch, line=row.line, serial=serial)


def _set_state(
    central: Central, number: int, line: int, *, state: LineState, reason: str, claim: str
) -> Line:
    now = central.unix_seconds()
    with central.database.write() as connection:
        row = _locked(connection, number, line)
        if row.state == LineState.ISSUED:
            raise _issued(connection, row)
        _refuse_taken(row, claim, now)
        here = (issuing_lines.c.batch == number) & (issuing_lines.c.line == line)
        connection.execute(
            update(issuing_lines)
            .where(here)
            .values(state=state.value, reason=reason, claim="", claimed_by=None, claimed_until=0)
        )
        return _line(connection.execute(_lines().where(here)).one())
