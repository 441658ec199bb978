"""What tills are told about members: their class, by which prices go, and their photo."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, delete, func, or_, select, update

from dobmi.central.csv_file import read_csv, wrong_line
from dobmi.central.database import Database, add_to_counter, insert_rows, insert_unless_there
from dobmi.central.errors import FileRefused, UnknownPhoto
from dobmi.central.outlets import COUNTER, floor
from dobmi.central.posting_rules import OWNERS
from dobmi.central.schema import member_notes, members, photos
from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.sync.cbor import is_plain
from dobmi.sync.outlet import (
    CLASS_LENGTH_MAX,
    NOTES_MAX,
    PHOTO_SIZE_MAX,
    MemberNote,
    MemberNotes,
)

FILE_LINES_MAX: Final = 500_000
_AT_A_TIME: Final = 500
_MEMBER: Final = {"member": "member", "anggota": "member", "nomor_anggota": "member"}
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Told:
    """What a line of a file says of a member: the class, or the photo; None says nothing of it.

    `jpeg` of no bytes: no photo any more.
    """

    line: int
    member: int
    member_class: str | None = None
    jpeg: bytes | None = None


def parse_classes(text: str) -> list[Told]:
    """A CSV file of `member,class` (`anggota;golongan`); an empty class is the ordinary one.

    Raises FileRefused with every bad line.
    """
    lines, problems = read_csv(
        text,
        {**_MEMBER, "class": "class", "golongan": "class"},
        {"member", "class"},
        example="member,class",
        lines_max=FILE_LINES_MAX,
    )
    found: list[Told] = []
    for line in lines:
        member = line.number_in("member", OWNERS - 1, problems)
        name = line.cells["class"]
        if len(name) > CLASS_LENGTH_MAX or not is_plain(name):
            text = N_("{column}: at most {most} characters, and no control characters")
            problems.append(line.wrong(text, column="class", most=CLASS_LENGTH_MAX))
        found.append(Told(line.number, member, member_class=name))
    return _each_once(found, problems)


def parse_photos(text: str, folder: Path) -> list[Told]:
    """A CSV file of `member,file` (`anggota;berkas`); files are JPEGs of at most 60 kB in `folder`.

    No file: the member's photo goes. Raises FileRefused with every bad line.
    """
    lines, problems = read_csv(
        text,
        {**_MEMBER, "file": "file", "berkas": "file"},
        {"member", "file"},
        example="member,file",
        lines_max=FILE_LINES_MAX,
    )
    found: list[Told] = []
    for line in lines:
        member = line.number_in("member", OWNERS - 1, problems)
        jpeg = _jpeg(folder / line.cells["file"]) if line.cells["file"] else b""
        if jpeg is None:
            text = N_("{file} is no JPEG of at most {most} bytes")
            problems.append(line.wrong(text, file=line.cells["file"][:80], most=PHOTO_SIZE_MAX))
        found.append(Told(line.number, member, jpeg=jpeg))
    return _each_once(found, problems)


def import_notes(database: Database, told: Sequence[Told], now: int) -> int:
    """Take what the lines say, all or none; how many members it changed something of.

    Raises FileRefused: a member is not known.
    """
    return database.write_again(lambda connection: take_notes(connection, told, now))


def take_notes(connection: Connection, told: Sequence[Told], now: int) -> int:
    """As `import_notes`, within the caller's transaction."""
    add_to_counter(connection, COUNTER, 0)  # held to the end: changes come one after the other
    known = _known(connection, [one.member for one in told])
    problems = [
        wrong_line(one.line, N_("member {member} is not known"), member=one.member)
        for one in told
        if one.member not in known
    ]
    if problems:
        raise FileRefused(problems)
    changed = []
    for one in told:
        before = known[one.member]
        name = before.member_class or "" if one.member_class is None else one.member_class
        photo = before.photo if one.jpeg is None else _hash_of(one.jpeg)
        if (name, photo) != (before.member_class or "", before.photo):
            changed.append((one, name, photo))
    last = add_to_counter(connection, COUNTER, len(changed))
    for version, (one, name, photo) in enumerate(changed, last - len(changed) + 1):
        if one.jpeg:
            row = {"hash": photo, "jpeg": one.jpeg, "added_at": now}
            insert_unless_there(connection, photos, [row])
        values = {"member_class": name, "photo": photo, "version": version}
        if known[one.member].version is None:
            row = {"member_number": one.member, **values}
            insert_rows(connection, member_notes, [row])
        else:
            connection.execute(
                update(member_notes)
                .where(member_notes.c.member_number == one.member)
                .values(**values)
            )
    _drop_photos(connection, {known[one.member].photo for one, _, _ in changed} - {None})
    return len(changed)


def notes_since(connection: Connection, since: int) -> MemberNotes:
    """What changed since that version, or everything if it is not known here: at most 20,000."""
    current = connection.execute(select(func.max(member_notes.c.version))).scalar_one()
    current = max(int(current or 0), floor(connection))
    if not floor(connection) <= since <= current:
        since = 0
    query = (
        select(member_notes)
        .where(member_notes.c.version > since)
        .order_by(member_notes.c.version)
        .limit(NOTES_MAX + 1)
    )
    if since == 0:  # whole: who has nothing to be told of is left out
        query = query.where(
            or_(member_notes.c.member_class != "", member_notes.c.photo.is_not(None))
        )
    rows = connection.execute(query).all()
    more = len(rows) > NOTES_MAX
    rows = rows[:NOTES_MAX]
    return MemberNotes(
        version=rows[-1].version if more else current,
        since=since,
        more=more,
        notes=tuple(
            MemberNote(
                row.member_number,
                row.member_class,
                None if row.photo is None else bytes(row.photo),
            )
            for row in sorted(rows, key=lambda row: row.member_number)
        ),
    )


def photo_of(database: Database, photo: bytes) -> bytes:
    """The JPEG of that SHA-256. Raises UnknownPhoto."""
    with database.read() as connection:
        found = connection.execute(
            select(photos.c.jpeg).where(photos.c.hash == photo)
        ).scalar_one_or_none()
    if found is None:
        raise UnknownPhoto
    return bytes(found)


def _hash_of(jpeg: bytes) -> bytes | None:
    """None of no photo."""
    return hashlib.sha256(jpeg).digest() if jpeg else None


def _drop_photos(connection: Connection, hashes: Iterable[bytes]) -> None:
    """Those of these that no member has any more."""
    named = select(member_notes.c.photo).where(member_notes.c.photo == photos.c.hash).exists()
    for one in sorted(map(bytes, hashes)):
        connection.execute(delete(photos).where(photos.c.hash == one, ~named))


def _jpeg(path: Path) -> bytes | None:
    """The file's bytes, if they are a JPEG that is small enough (JFIF and EXIF begin alike)."""
    try:
        with path.open("rb") as file:
            found = file.read(PHOTO_SIZE_MAX + 1)
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return None
    return found if is_jpeg(found) else None


def is_jpeg(content: bytes) -> bool:
    """Whether it is a JPEG that is small enough for a member's photo."""
    fits = len(content) <= PHOTO_SIZE_MAX
    return fits and content.startswith(_JPEG_START) and content.endswith(_JPEG_END)


def _each_once(found: Sequence[Told], problems: list[Phrase]) -> list[Told]:
    """Raises FileRefused."""
    seen: dict[int, int] = {}
    for one in found:
        before = seen.setdefault(one.member, one.line)
        if before != one.line:
            text = N_("member {member} is in line {before} too")
            problems.append(wrong_line(one.line, text, member=one.member, before=before))
    if problems:
        raise FileRefused(problems)
    return list(found)


def _known(connection: Connection, numbers: Iterable[int]) -> Mapping[int, Any]:
    """Rows of members with what is told of them so far, by number."""
    wanted = sorted(set(numbers))
    found: dict[int, Any] = {}
    for start in range(0, len(wanted), _AT_A_TIME):
        rows = connection.execute(
            select(
                members.c.member_number,
                member_notes.c.member_class,
                member_notes.c.photo,
                member_notes.c.version,
            )
            .outerjoin(member_notes, member_notes.c.member_number == members.c.member_number)
            .where(members.c.member_number.in_(wanted[start : start + _AT_A_TIME]))
        )
        for row in rows:
            found[row.member_number] = row
    return found
