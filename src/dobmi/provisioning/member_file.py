"""Lists of members as clerks have them: CSV or XLSX, read with a preview that names each bad row.

The file comes from anywhere, so everything about it is bounded: its size, its rows and columns, and of
an XLSX, which is a ZIP archive, what comes out of it. Formulas are not computed, and refused.
"""

from __future__ import annotations

import csv
import io
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.provisioning.errors import MemberFileUnusable
from dobmi.provisioning.issuing import BATCH_LINES_MAX, GivenLine, RowProblem
from dobmi.sync.cbor import is_plain
from dobmi.sync.outlet import CLASS_LENGTH_MAX
from dobmi.sync.relay import NAME_BYTES_MAX

FILE_SIZE_MAX: Final = 10 * 1024 * 1024
ROWS_MAX: Final = 20_000
"""Of the sheet, empty ones and headings among them; members are at most BATCH_LINES_MAX."""
COLUMNS_MAX: Final = 50
_UNPACKED_SIZE_MAX: Final = 80 * 1024 * 1024
_PARTS_MAX: Final = 300
_RATIO_MAX: Final = 150
"""Of a part of the archive that is larger than a megabyte when unpacked; a plain sheet has 10 to 30."""
_RATIO_FROM: Final = 1024 * 1024
_HEADING_ROWS_MAX: Final = 20
_NUMBER_END: Final = 1 << 32
_OLE: Final = bytes.fromhex("D0CF11E0A1B11AE1")
_FORMULA_STARTS: Final = ("=", "+", "-", "@")
_SHOWN: Final = 40


class Column(StrEnum):
    NUMBER = "number"
    NAME = "name"
    CLASS = "class"
    PHOTO = "photo"


_HEADINGS: Final[Mapping[str, Column]] = {
    **dict.fromkeys(
        (
            "number", "nomor", "member number", "member no", "member", "nomor anggota",
            "no anggota", "anggota", "id anggota",
        ),
        Column.NUMBER,
    ),
    **dict.fromkeys(("name", "nama", "member name", "nama anggota", "nama lengkap"), Column.NAME),
    **dict.fromkeys(("class", "golongan", "kelas", "member class"), Column.CLASS),
    **dict.fromkeys(
        ("photo", "foto", "photo file", "file foto", "berkas foto", "berkas"), Column.PHOTO
    ),
}  # fmt: skip
"""By the heading in small letters, without dots and underscores. A lone `no` counts rows, not members."""


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A row that can be taken, `row` counted from 1 as a spreadsheet shows it."""

    row: int
    number: int
    name: str
    member_class: str | None = None
    photo: Path | None = None

    @property
    def given(self) -> GivenLine:
        return GivenLine(member_number=self.number, name=self.name, member_class=self.member_class)


@dataclass(frozen=True, slots=True)
class BadCell:
    """What is wrong with a row, in which column of the file, and what to do about it.

    `column` is the heading as the file has it.
    """

    row: int
    column: str
    problem: Phrase
    advice: Phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be taken of a file; nothing is yet. `rows` are the good ones, in their order."""

    file: str
    sheet: str
    columns: tuple[tuple[Column, str], ...]
    """Those that are read, with their headings."""
    ignored: tuple[str, ...]
    """Headings of columns that are not."""
    rows: tuple[MemberRow, ...]
    bad: tuple[BadCell, ...]
    new_classes: tuple[str, ...] = ()
    """Named as new to the server."""
    unknown_classes: tuple[str, ...] = ()
    """Of rows that the server would take if they were named as new."""

    @property
    def bad_rows(self) -> int:
        return len({cell.row for cell in self.bad})

    def heading(self, column: str) -> str:
        return next((heading for known, heading in self.columns if known.value == column), column)

    def with_server(
        self, problems: Iterable[RowProblem], new_classes: tuple[str, ...] = ()
    ) -> Preview:
        """The same with what the server has against rows (its `row` counts the good ones from 1).

        `new_classes` were named to it as new.
        """
        bad = list(self.bad)
        wrong: set[int] = set()
        unknown: dict[str, None] = {}
        for one in problems:
            if not 0 < one.row <= len(self.rows):
                continue
            wrong.add(one.row)
            if one.code == "CENTRAL-CLASS-UNKNOWN":
                unknown[self.rows[one.row - 1].given.member_class or ""] = None
            bad.append(
                BadCell(
                    self.rows[one.row - 1].row,
                    self.heading(one.column),
                    Phrase("{text}", text=one.text),
                    Phrase("{text}", text=one.advice),
                )
            )
        rows = tuple(row for place, row in enumerate(self.rows, 1) if place not in wrong)
        return replace(
            self,
            rows=rows,
            bad=tuple(sorted(bad, key=lambda cell: cell.row)),
            new_classes=new_classes,
            unknown_classes=tuple(unknown),
        )


def read_member_file(path: Path, photos: Path | None = None) -> Preview:
    """What is in the file, before the server is asked. Photos are files in the folder `photos`.

    Raises MemberFileUnusable if it is no list of members at all.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise _unusable(path.name, N_("it cannot be read"), N_("Name a file that is there.")) from (
            error
        )
    return read_members(content, path.name, photos if photos is not None else path.parent)


def read_members(content: bytes, name: str, photos: Path | None = None) -> Preview:
    """As `read_member_file`, of a file's bytes. Without `photos` a photo column names nothing."""
    if len(content) > FILE_SIZE_MAX:
        raise _unusable(
            name,
            Phrase(N_("it is larger than {most} MB"), most=FILE_SIZE_MAX >> 20),
            N_("Split the list, and leave pictures out of it."),
        )
    if content.startswith(_OLE):
        raise _unusable(
            name,
            N_("it is an old Excel file, or one with a password"),
            N_("Save it as an Excel workbook (.xlsx) without a password, or as CSV."),
        )
    if content.startswith(b"PK"):
        sheet, rows = _xlsx_rows(content, name)
    else:
        sheet, rows = "", _csv_rows(content, name)
    return _preview(name, sheet, rows, photos)


# The cells of a file: (row number, cells). A cell is text, or what a spreadsheet holds; _Formula marks one.


class _Formula(str):
    """A cell that would be computed."""

    __slots__ = ()


_Row = tuple[int, Sequence[Any]]


def _csv_rows(content: bytes, name: str) -> Iterator[_Row]:
    text = _decoded(content, name)
    if "\0" in text:
        raise _no_list(name)
    start = 0
    first, _, rest = text.partition("\n")
    if first.strip().lower() in {"sep=;", "sep=,", "sep=\t"}:  # Excel's own hint
        text, start = rest, 1
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    count = 0
    while True:
        number = reader.line_num + 1 + start
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unusable(
                name,
                Phrase(N_("line {line} is not CSV"), line=number),
                N_("Look at the quotation marks in that line, or save the list as .xlsx."),
            ) from error
        count += 1
        if count > ROWS_MAX:
            raise _too_many(name)
        yield number, cells[:COLUMNS_MAX]


def _decoded(content: bytes, name: str) -> str:
    """By its mark, else UTF-8, else what Windows in Indonesia writes."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _no_list(name)


def _separator(text: str) -> str:
    """What the first lines are separated by most often."""
    lines = list(islice((line for line in text.splitlines() if line.strip()), 5))
    counted = {mark: max((line.count(mark) for line in lines), default=0) for mark in ";\t,"}
    return max(counted, key=lambda mark: counted[mark])


def _xlsx_rows(content: bytes, name: str) -> tuple[str, Iterator[_Row]]:
    import openpyxl  # noqa: PLC0415 - 0.2 s, for whoever imports a list
    from openpyxl.utils.exceptions import InvalidFileException  # noqa: PLC0415

    _require_harmless(content, name)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, keep_links=False)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    except (*_BROKEN, InvalidFileException) as error:
        raise _no_list(name) from error
    if not sheets:
        raise _no_list(name)
    return sheets[0].title, _sheet_rows(sheets[0], name)


_BROKEN = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    ParseError,
    EOFError,
    NotImplementedError,  # zipfile's own, of a compression that it does not know
)
"""What openpyxl raises for a file that was made by no spreadsheet."""


def _require_harmless(content: bytes, name: str) -> None:
    """What is in the archive is no larger than a list may be, and its XML defines no entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            if len(parts) > _PARTS_MAX or sum(part.file_size for part in parts) > (
                _UNPACKED_SIZE_MAX
            ):
                raise _bomb(name)
            for part in parts:
                packed = max(part.compress_size, 1)
                if part.file_size > _RATIO_FROM and part.file_size / packed > _RATIO_MAX:
                    raise _bomb(name)
                if part.flag_bits & 1:  # encrypted
                    raise _no_list(name)
                if part.filename.endswith((".xml", ".rels")):
                    _require_plain_xml(archive.read(part), name)
    except (zipfile.BadZipFile, zipfile.zlib.error, *_BROKEN) as error:  # type: ignore[attr-defined] # zipfile's own zlib
        raise _no_list(name) from error


def _require_plain_xml(part: bytes, name: str) -> None:
    """A document type is needed for entities that grow; spreadsheets write none, and UTF-8."""
    if b"<!DOCTYPE" in part or b"<!ENTITY" in part or part.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _bomb(name)


def _sheet_rows(sheet: Any, name: str) -> Iterator[_Row]:
    sheet.reset_dimensions()  # what the file says of its own size need not be so
    rows = iter(sheet.iter_rows(max_col=COLUMNS_MAX))
    for number in range(1, ROWS_MAX + 2):
        try:
            row = next(rows)
        except StopIteration:
            return
        except _BROKEN as error:
            raise _no_list(name) from error
        if number > ROWS_MAX:
            raise _too_many(name)
        yield (
            number,
            [_Formula(cell.value) if cell.data_type == "f" else cell.value for cell in row],
        )


# From cells to members


def _preview(name: str, sheet: str, rows: Iterator[_Row], photos: Path | None) -> Preview:
    columns, ignored = _find_headings(name, rows)
    found: list[MemberRow] = []
    bad: list[BadCell] = []
    seen: dict[int, int] = {}
    for number, cells in rows:
        if not any(str(cell).strip() for cell in cells if cell is not None):
            continue
        reading = _Reading(number, cells, columns)
        row = reading.member(photos)
        bad += reading.bad
        if reading.number is not None:
            before = seen.setdefault(reading.number, number)
            if before != number:
                reading.wrong(
                    Column.NUMBER,
                    Phrase(
                        N_("member {member} is in row {row} already"),
                        member=reading.number,
                        row=before,
                    ),
                    N_("Leave one of the two out; correct the number if they are two people."),
                )
                bad.append(reading.bad[-1])
                continue
        if row is not None:
            found.append(row)
        if len(found) > BATCH_LINES_MAX:
            raise _too_many(name)
    if not found and not bad:
        raise _unusable(
            name, N_("there is no member in it"), N_("Fill in the rows below the headings.")
        )
    return Preview(
        file=name,
        sheet=sheet,
        columns=tuple((column, heading) for column, (_, heading) in columns.items()),
        ignored=tuple(ignored),
        rows=tuple(found),
        bad=tuple(bad),
    )


_Columns = dict[Column, tuple[int, str]]
"""Where a column is, and its heading as the file has it."""


def _find_headings(name: str, rows: Iterator[_Row]) -> tuple[_Columns, list[str]]:
    """The first row that names number and name; above it there may be a title."""
    for _, cells in islice(rows, _HEADING_ROWS_MAX):
        texts = ["" if cell is None else " ".join(str(cell).split()) for cell in cells]
        columns: _Columns = {}
        ignored: list[str] = []
        for place, text in enumerate(texts):
            known = _HEADINGS.get(
                " ".join(text.casefold().replace("_", " ").replace(".", " ").split())
            )
            if known is None:
                ignored += [text[:_SHOWN]] if text else []
            elif known in columns:
                raise _unusable(
                    name,
                    Phrase(
                        N_("two columns are for the same: {one} and {other}"),
                        one=columns[known][1],
                        other=text[:_SHOWN],
                    ),
                    N_("Leave one of them out or give it another heading."),
                )
            else:
                columns[known] = place, text[:_SHOWN]
        if {Column.NUMBER, Column.NAME} <= columns.keys():
            return columns, ignored
    raise _unusable(
        name,
        N_("no row at its beginning has the headings for number and name"),
        N_("Write above the columns: nomor anggota, nama; and golongan, foto if they are there."),
    )


class _Reading:
    """One row being read."""

    def __init__(self, row: int, cells: Sequence[Any], columns: _Columns) -> None:
        self.row = row
        self.bad: list[BadCell] = []
        self.number: int | None = None
        self._cells = cells
        self._columns = columns

    def member(self, photos: Path | None) -> MemberRow | None:
        """None if something is wrong with it; then `bad` says what."""
        self.number = self._number()
        known = len(self.bad)
        name = self._text(Column.NAME)
        if name is not None:
            self._check_name(name)
        elif len(self.bad) == known:
            self.wrong(Column.NAME, N_("there is none"), N_("Write the member's name."))
        member_class = self._text(Column.CLASS)
        if member_class is not None and len(member_class) > CLASS_LENGTH_MAX:
            self.wrong(
                Column.CLASS,
                Phrase(N_("longer than {most} characters"), most=CLASS_LENGTH_MAX),
                N_("Write the class as the office's price list has it."),
            )
        photo = self._photo(photos)
        if self.bad or self.number is None or name is None:
            return None
        return MemberRow(self.row, self.number, name, member_class or None, photo)

    def wrong(self, column: Column, problem: str | Phrase, advice: str) -> None:
        said = problem if isinstance(problem, Phrase) else Phrase(problem)
        self.bad.append(BadCell(self.row, self._columns[column][1], said, Phrase(advice)))

    def _cell(self, column: Column) -> Any:
        place = self._columns[column][0]
        return self._cells[place] if place < len(self._cells) else None

    def _number(self) -> int | None:
        cell = self._cell(Column.NUMBER)
        if isinstance(cell, _Formula) or (
            isinstance(cell, str) and cell.strip().startswith(_FORMULA_STARTS)
        ):
            self._formula(Column.NUMBER)
            return None
        text = "" if cell is None else str(cell).strip()
        if isinstance(cell, float) and cell.is_integer():
            text = str(int(cell))
        if not text:
            self.wrong(Column.NUMBER, N_("there is none"), N_("Write the member's number."))
            return None
        is_number = text.isascii() and text.isdecimal() and not isinstance(cell, bool)
        if is_number and len(text) <= 20 and 0 < int(text) < _NUMBER_END:
            return int(text)
        self.wrong(
            Column.NUMBER,
            Phrase(N_("{text!r} is no member number"), text=text[:_SHOWN]),
            N_("Write digits alone, without dots or spaces, 1 to 4294967295."),
        )
        return None

    def _text(self, column: Column) -> str | None:
        """The cell as a text in one line; None of an empty one, or one that is wrong."""
        if column not in self._columns:
            return None
        cell = self._cell(column)
        if isinstance(cell, _Formula):
            self._formula(column)
            return None
        text = "" if cell is None else str(cell).strip(" \t\N{NO-BREAK SPACE}")
        if text.startswith(_FORMULA_STARTS):
            self._formula(column)
            return None
        if not is_plain(text) or any(unicodedata.category(letter) == "Cf" for letter in text):
            self.wrong(
                column,
                N_(
                    "there are characters in it that cannot be seen (line breaks, control characters)"
                ),
                N_("Type the cell anew, in one line."),
            )
            return None
        if column is not Column.PHOTO and cell is not None and not isinstance(cell, str | int):
            self.wrong(
                column,
                Phrase(N_("{text!r} is no text"), text=text[:_SHOWN]),
                N_("Give the cell the format Text and type it anew."),
            )
            return None
        return unicodedata.normalize("NFC", " ".join(text.split())) or None

    def _check_name(self, name: str) -> None:
        length = len(name.encode())
        if length > NAME_BYTES_MAX:
            self.wrong(
                Column.NAME,
                Phrase(
                    N_("{name!r} takes {found} bytes; the card has room for {most}"),
                    name=name[:80],
                    found=length,
                    most=NAME_BYTES_MAX,
                ),
                N_("Shorten it as the member writes it: the first name whole, others by initial."),
            )

    def _photo(self, folder: Path | None) -> Path | None:
        name = self._text(Column.PHOTO)
        if name is None:
            return None
        if folder is None or Path(name).name != name or name in {".", ".."} or "\\" in name:
            self.wrong(
                Column.PHOTO,
                Phrase(N_("{name!r} names no file beside the list"), name=name[:_SHOWN]),
                N_("Write the file's name alone and put the file into the photos' folder."),
            )
            return None
        path = folder / name
        if not path.is_file():
            self.wrong(
                Column.PHOTO,
                Phrase(N_("there is no file {name!r} in the photos' folder"), name=name[:_SHOWN]),
                N_("Put the file there, or leave the cell empty: the photo can come later."),
            )
            return None
        return path

    def _formula(self, column: Column) -> None:
        self.wrong(
            column,
            N_("it is a formula, or begins like one"),
            N_("Copy the column and paste it as values, then save the list anew."),
        )


def _unusable(name: str, why: str | Phrase, advice: str) -> MemberFileUnusable:
    return MemberFileUnusable(file=name[:80], why=why, advice=advice)


def _no_list(name: str) -> MemberFileUnusable:
    return _unusable(
        name,
        N_("it is neither CSV nor an Excel workbook (.xlsx) that can be read"),
        N_("Open it in a spreadsheet program and save it as .xlsx or CSV (UTF-8)."),
    )


def _bomb(name: str) -> MemberFileUnusable:
    return _unusable(
        name,
        N_("there is far more packed into it than a list of members has"),
        N_("Copy the rows into a new workbook and save that."),
    )


def _too_many(name: str) -> MemberFileUnusable:
    return _unusable(
        name,
        Phrase(
            N_("it has more than {members} members or {rows} rows"),
            members=BATCH_LINES_MAX,
            rows=ROWS_MAX,
        ),
        N_("Split the list into several."),
    )
