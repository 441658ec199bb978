"""What is printed of issued cards: their faces, sheets of labels, and a batch's report (PDF and CSV).

A face has the size of an ID-1 card (ISO/IEC 7810: 85.60 by 53.98 mm). Fonts are embedded. The code on a
card says its number alone (`DOBMI:C:` and ten digits): nothing about its member, and no secret.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from dobmi.i18n import N_
from dobmi.provisioning.issuing import Batch, Line, LineState
from dobmi.wib import local_time

MM: Final = 72 / 25.4
"""Points of a PDF in a millimetre."""
CARD_WIDTH: Final = 85.60
CARD_HEIGHT: Final = 53.98
A4_WIDTH: Final = 210.0
A4_HEIGHT: Final = 297.0
_FONTS: Final = Path(__file__).parent / "fonts"
_REGULAR, _BOLD = "DoBMI", "DoBMI-Bold"
_INK: Final = (0.09, 0.13, 0.11)
_FAINT: Final = (0.36, 0.41, 0.38)
_GREEN: Final = (0.05, 0.36, 0.24)
_LINE: Final = (0.78, 0.82, 0.79)
_MARK: Final = (0.4, 0.4, 0.4)


class LabelSheet(StrEnum):
    """What is on an A4 sheet: ten cards' faces with crop marks, or 24 labels of 63.5 by 33.9 mm."""

    CARDS_10 = "10"
    LABELS_24 = "24"


@dataclass(frozen=True, slots=True)
class Place:
    """A rectangle on a sheet, in millimetres from its left and upper edges."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedCard:
    """What stands on a card. `photo` is a JPEG, or None."""

    member_number: int
    name: str
    card_serial: int
    expires: date
    photo: bytes | None = None


def card_code(card_serial: int) -> str:
    """What a card's QR code says: 18 characters of its alphanumeric mode."""
    return f"DOBMI:C:{card_serial:010d}"


def printed(line: Line, photo: bytes | None = None) -> PrintedCard:
    """What stands on an issued line's card. Raises ValueError if it is not issued."""
    if line.issued is None:
        msg = f"line {line.line} is not issued"
        raise ValueError(msg)
    return PrintedCard(
        member_number=line.member_number,
        name=line.name,
        card_serial=line.issued.card_serial,
        expires=line.issued.expires,
        photo=photo,
    )


def places(sheet: LabelSheet) -> list[Place]:
    """Where a sheet's labels are, row by row."""
    if sheet is LabelSheet.CARDS_10:
        columns, rows, width, height = 2, 5, CARD_WIDTH, CARD_HEIGHT
        across, down = width + 6, height + 1.5
    else:
        columns, rows, width, height = 3, 8, 63.5, 33.9
        across, down = 66.04, 33.9
    left = (A4_WIDTH - (columns - 1) * across - width) / 2
    top = (A4_HEIGHT - (rows - 1) * down - height) / 2
    return [
        Place(left + column * across, top + row * down, width, height)
        for row in range(rows)
        for column in range(columns)
    ]


def card_faces(
    cards: Sequence[PrintedCard], issuer: str, translate: Callable[[str], str] = str
) -> bytes:
    """A PDF with a page of a card's size for each card, for a card printer."""
    paper = _Paper(CARD_WIDTH, CARD_HEIGHT, translate(N_("Do BMI cards")), translate)
    for card in cards:
        paper.face(Place(0, 0, CARD_WIDTH, CARD_HEIGHT), card, issuer)
        paper.next_page()
    return paper.finish()


def label_sheets(
    cards: Sequence[PrintedCard],
    issuer: str,
    sheet: LabelSheet,
    translate: Callable[[str], str] = str,
    *,
    first: int = 1,
) -> bytes:
    """A PDF of A4 sheets; the first card goes to place `first` of the first sheet (from 1).

    Print it at 100 %. Raises ValueError for a place that the sheet has not.
    """
    everywhere = places(sheet)
    if not 1 <= first <= len(everywhere):
        msg = f"a sheet has places 1 to {len(everywhere)}"
        raise ValueError(msg)
    paper = _Paper(A4_WIDTH, A4_HEIGHT, translate(N_("Do BMI cards")), translate)
    for number, card in enumerate(cards, first - 1):
        if number % len(everywhere) == 0 and number >= len(everywhere):
            paper.next_page()
        place = everywhere[number % len(everywhere)]
        if sheet is LabelSheet.CARDS_10:
            paper.face(place, card, issuer)
            paper.crop_marks(place)
        else:
            paper.label(place, card, issuer)
    paper.next_page()
    return paper.finish()


def batch_report(
    batch: Batch,
    lines: Sequence[Line],
    issuer: str,
    made_at: int,
    translate: Callable[[str], str] = str,
) -> bytes:
    """A PDF, A4 across: each line with its card as it was read back, and what was not issued."""
    paper = _Paper(A4_HEIGHT, A4_WIDTH, translate(N_("Issuing report")), translate)
    _Report(paper, batch, issuer, made_at, translate).draw(lines)
    return paper.finish()


def batch_csv(lines: Sequence[Line], translate: Callable[[str], str] = str) -> str:
    """The same as a table: semicolons, a mark for UTF-8, so that spreadsheets open it as it is."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, delimiter=";", lineterminator="\r\n")
    writer.writerow([translate(heading) for heading, _ in _COLUMNS])
    for line in lines:
        writer.writerow([_no_formula(text) for text in _cells(line, translate)])
    return "\N{BYTE ORDER MARK}" + table.getvalue()


def _no_formula(text: str) -> str:
    """Spreadsheets compute what begins so, in a file, too."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


_STATES: Final = {
    LineState.WAITING: N_("waiting"),
    LineState.ISSUED: N_("issued"),
    LineState.SKIPPED: N_("skipped"),
}
_COLUMNS: Final[tuple[tuple[str, float], ...]] = (
    (N_("Line"), 10), (N_("Member"), 19), (N_("Name"), 47), (N_("State"), 18),
    (N_("Card"), 15), (N_("UID"), 30), (N_("Chip"), 24), (N_("Originality"), 26),
    (N_("Issued"), 36), (N_("Station"), 14), (N_("Person"), 34),
)  # fmt: skip
"""Headings and widths in millimetres."""


def _cells(line: Line, translate: Callable[[str], str]) -> list[str]:
    state = translate(_STATES[line.state])
    cells = [str(line.line), str(line.member_number), line.name]
    if line.issued is None:
        return [*cells, f"{state}: {line.reason}" if line.reason else state, *[""] * 7]
    of = line.issued
    return [
        *cells,
        f"{state} *" if of.resumed else state,
        str(of.card_serial),
        of.card_uid.hex().upper(),
        of.generation,
        of.originality,
        local_time(of.issued_at),
        str(of.station),
        of.person,
    ]


class _Report:
    """Rows down the pages, with head and foot."""

    _ROW: Final = 5.4
    _LEFT: Final = 12.0
    _BOTTOM: Final = A4_WIDTH - 16

    def __init__(
        self,
        paper: _Paper,
        batch: Batch,
        issuer: str,
        made_at: int,
        translate: Callable[[str], str],
    ) -> None:
        self._paper, self._batch, self._issuer = paper, batch, issuer
        self._made_at, self._translate = made_at, translate

    def draw(self, lines: Sequence[Line]) -> None:
        pages = list(self._pages(lines))
        for number, page in enumerate(pages, 1):
            down = self._head(is_first=number == 1)
            for line in page:
                down = self._row(down, _cells(line, self._translate), bold=False)
            if number == len(pages):
                self._signatures(down + 8)
            self._foot(number, len(pages))
            self._paper.next_page()

    def _pages(self, lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
        """As many as fit; the first page has a larger head, the last one room for two names."""
        on_first = int((self._BOTTOM - 44) / self._ROW)
        on_others = int((self._BOTTOM - 24) / self._ROW)
        kept = 5
        start, room = 0, on_first
        while len(lines) - start > room - kept:
            count = min(room, len(lines) - start)
            yield lines[start : start + count]
            start, room = start + count, on_others
        yield lines[start:]

    def _head(self, *, is_first: bool) -> float:
        paper, batch, say = self._paper, self._batch, self._translate
        title = say(N_("Issuing report, batch {number}: {name}")).format(
            number=batch.number, name=batch.name
        )
        if not is_first:
            paper.text(self._LEFT, 12, title, 9, bold=True, width=200)
            return self._row(18, [say(heading) for heading, _ in _COLUMNS], bold=True)
        paper.text(self._LEFT, 14, self._issuer, 10, colour=_GREEN, bold=True, width=200)
        paper.text(self._LEFT, 22, title, 15, bold=True, width=270)
        counted = say(
            N_("{issued} of {lines} cards issued, {skipped} left out, {waiting} waiting.")
        ).format(
            issued=batch.issued, lines=batch.lines, skipped=batch.skipped, waiting=batch.waiting
        )
        paper.text(self._LEFT, 28.5, counted, 10, width=270)
        note = say(
            N_(
                "Each card was read back and its originality signature checked; *: finished at a second tap."
            )
        )
        paper.text(self._LEFT, 33.5, note, 8.5, colour=_FAINT, width=270)
        return self._row(40, [say(heading) for heading, _ in _COLUMNS], bold=True)

    def _row(self, down: float, cells: Sequence[str], *, bold: bool) -> float:
        left = self._LEFT
        for (_, width), cell in zip(_COLUMNS, cells, strict=True):
            self._paper.text(left, down, cell, 7.8, bold=bold, width=width - 1.5)
            left += width
        self._paper.rule(self._LEFT, down + 1.6, left - self._LEFT)
        return down + self._ROW

    def _signatures(self, down: float) -> None:
        for place, who in enumerate((N_("Issued by"), N_("Checked by"))):
            left = self._LEFT + place * 90
            self._paper.text(left, down, self._translate(who), 8.5, colour=_FAINT, width=80)
            self._paper.rule(left, down + 12, 75)

    def _foot(self, number: int, count: int) -> None:
        made = self._translate(N_("Made {time}. Page {number} of {count}.")).format(
            time=local_time(self._made_at), number=number, count=count
        )
        self._paper.text(self._LEFT, A4_WIDTH - 8, made, 8, colour=_FAINT, width=200)


class _Paper:
    """A PDF being drawn; places in millimetres from the page's left and upper edges."""

    def __init__(
        self, width: float, height: float, title: str, translate: Callable[[str], str]
    ) -> None:
        from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415 - 0.2 s, for whoever prints

        _register_fonts()
        self._height = height
        self._translate = translate
        self._content = io.BytesIO()
        self._canvas = Canvas(
            self._content,
            pagesize=(width * MM, height * MM),
            invariant=True,
            initialFontName=_REGULAR,  # type: ignore[arg-type] # typed as a number; else Helvetica, not embedded
        )
        self._canvas.setTitle(title)
        self._canvas.setCreator("Do BMI")

    def next_page(self) -> None:
        self._canvas.showPage()

    def finish(self) -> bytes:
        self._canvas.save()
        return self._content.getvalue()

    def face(self, at: Place, card: PrintedCard, issuer: str) -> None:
        """A card's front, in the place of one."""
        say = self._translate
        self._box(at.left, at.top, at.width, 10.2, _GREEN)
        self.text(at.left + 4, at.top + 6.8, issuer, 11, colour=(1, 1, 1), bold=True, width=52)
        self.text(
            at.left + at.width - 4, at.top + 6.8, "Do BMI", 11, colour=(1, 1, 1), bold=True,
            width=22, is_right=True,
        )  # fmt: skip
        photo = Place(at.left + 4, at.top + 13.5, 21, 28)
        self._photo(photo, card)
        left, width = at.left + 28.5, at.width - 32.5
        self._wrapped(left, at.top + 18, card.name, width)
        label = say(N_("Member number"))
        self.text(left, at.top + 28.6, label, 6.5, colour=_FAINT, width=width - 21)
        self.text(left, at.top + 33, str(card.member_number), 11, bold=True, width=width - 21)
        self.text(left, at.top + 37.4, say(N_("Card number")), 6.5, colour=_FAINT, width=30)
        self.text(left, at.top + 41.4, str(card.card_serial), 10, width=width - 21)
        self.code(at.left + at.width - 22.5, at.top + 25, 18.5, card_code(card.card_serial))
        until = say(N_("valid until {month}")).format(month=f"{card.expires:%m/%Y}")
        self.text(at.left + 4, at.top + 49, until, 7, colour=_FAINT, width=40)
        found = say(N_("If found, please give it to an office of the cooperative."))
        self.text(
            at.left + at.width - 4, at.top + 49, found, 5.6, colour=_FAINT, width=56, is_right=True
        )

    def label(self, at: Place, card: PrintedCard, issuer: str) -> None:
        """A label without a photo, within a border of two millimetres that printers may miss."""
        say = self._translate
        left, width = at.left + 3, at.width - 6
        self.text(left, at.top + 5.6, issuer, 6.5, colour=_GREEN, bold=True, width=width)
        self._wrapped(left, at.top + 11, card.name, width, size=10.5)
        self.text(left, at.top + 20.6, say(N_("Member number")), 6, colour=_FAINT, width=30)
        self.text(left, at.top + 24.2, str(card.member_number), 9.5, bold=True, width=34)
        self.text(left, at.top + 27.6, say(N_("Card number")), 6, colour=_FAINT, width=30)
        self.text(left, at.top + 31, str(card.card_serial), 8.5, width=34)
        self.code(at.left + at.width - 18, at.top + 17, 14.5, card_code(card.card_serial))

    def crop_marks(self, at: Place) -> None:
        """Where to cut: short lines outside the corners."""
        self._canvas.setStrokeColorRGB(*_MARK)
        self._canvas.setLineWidth(0.25)
        for x, outward in ((at.left, -1), (at.left + at.width, 1)):
            for y in (at.top, at.top + at.height):
                self._line(x + outward * 0.6, y, x + outward * 2.6, y)
        for y, outward in ((at.top, -1), (at.top + at.height, 1)):
            for x in (at.left, at.left + at.width):
                self._line(x, y + outward * 0.15, x, y + outward * 0.6)

    def code(self, left: float, top: float, size: float, content: str) -> None:
        """A QR code of that size in millimetres, its quiet zone of four modules within it."""
        modules = _modules(content)
        step = size / (len(modules) + 8)
        self._box(left, top, size, size, (1, 1, 1))
        self._canvas.setFillColorRGB(0, 0, 0)
        path = self._canvas.beginPath()
        for row, cells in enumerate(modules):
            for column, is_dark in enumerate(cells):
                if is_dark:
                    x, y = left + (column + 4) * step, top + (row + 5) * step
                    path.rect(x * MM, (self._height - y) * MM, step * MM, step * MM)
        self._canvas.drawPath(path, stroke=0, fill=1)

    def text(
        self,
        left: float,
        baseline: float,
        text: str,
        size: float,
        *,
        width: float,
        colour: tuple[float, float, float] = _INK,
        bold: bool = False,
        is_right: bool = False,
    ) -> None:
        """One line, made smaller, down to two thirds, and then cut to fit the width."""
        font = _BOLD if bold else _REGULAR
        shown = _printable(text)
        wide = self._canvas.stringWidth(shown, font, size) / MM
        if wide > width:
            size = max(size * width / wide, size * 2 / 3)
            while shown and self._canvas.stringWidth(shown + "…", font, size) / MM > width + 0.1:
                if self._canvas.stringWidth(shown, font, size) / MM <= width + 0.1:
                    break
                shown = shown[:-1]
            if shown != _printable(text):
                shown += "…"
        self._canvas.setFillColorRGB(*colour)
        self._canvas.setFont(font, size)
        x, y = left * MM, (self._height - baseline) * MM
        if is_right:
            self._canvas.drawRightString(x, y, shown)
        else:
            self._canvas.drawString(x, y, shown)

    def rule(self, left: float, down: float, width: float) -> None:
        self._canvas.setStrokeColorRGB(*_LINE)
        self._canvas.setLineWidth(0.4)
        self._line(left, down, left + width, down)

    def _wrapped(
        self, left: float, baseline: float, name: str, width: float, size: float = 13
    ) -> None:
        """A name in one line, or in two at a space."""
        words = name.split(" ")
        lines = [name]
        if self._canvas.stringWidth(_printable(name), _BOLD, size) / MM > width and len(words) > 1:
            halves = [
                (" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))
            ]
            lines = list(
                min(
                    halves,
                    key=lambda half: max(
                        self._canvas.stringWidth(_printable(part), _BOLD, size) for part in half
                    ),
                )
            )
        for number, line in enumerate(lines):
            down = baseline + number * size * 0.39
            self.text(left, down, line, size, bold=True, width=width)

    def _photo(self, at: Place, card: PrintedCard) -> None:
        """The photo, cut to the place's shape; without one, the first letters of the name."""
        if card.photo is None:
            self._box(at.left, at.top, at.width, at.height, (0.9, 0.93, 0.91))
            letters = "".join(word[0] for word in card.name.split()[:2]).upper()
            self._canvas.setFillColorRGB(*_GREEN)
            self._canvas.setFont(_BOLD, 22)
            self._canvas.drawCentredString(
                (at.left + at.width / 2) * MM,
                (self._height - at.top - at.height / 2 - 2.6) * MM,
                _printable(letters),
            )
            return
        from reportlab.lib.utils import ImageReader  # noqa: PLC0415

        picture = ImageReader(io.BytesIO(card.photo))
        wide, high = picture.getSize()
        scale = max(at.width / wide, at.height / high)
        width, height = wide * scale, high * scale
        self._canvas.saveState()
        path = self._canvas.beginPath()
        bottom = self._height - at.top - at.height
        path.rect(at.left * MM, bottom * MM, at.width * MM, at.height * MM)
        self._canvas.clipPath(path, stroke=0, fill=0)
        self._canvas.drawImage(
            picture,
            (at.left + (at.width - width) / 2) * MM,
            (bottom + (at.height - height) / 2) * MM,
            width * MM,
            height * MM,
        )
        self._canvas.restoreState()

    def _box(
        self,
        left: float,
        top: float,
        width: float,
        height: float,
        colour: tuple[float, float, float],
    ) -> None:
        self._canvas.setFillColorRGB(*colour)
        self._canvas.rect(
            left * MM, (self._height - top - height) * MM, width * MM, height * MM, stroke=0, fill=1
        )

    def _line(self, left: float, top: float, right: float, bottom: float) -> None:
        self._canvas.line(
            left * MM, (self._height - top) * MM, right * MM, (self._height - bottom) * MM
        )


@cache
def _register_fonts() -> Mapping[int, str]:
    """Both weights are known to the PDF library; the characters that they have."""
    from reportlab.pdfbase import pdfmetrics  # noqa: PLC0415
    from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415

    known: Mapping[int, Any] = {}
    for name, file in ((_REGULAR, "regular"), (_BOLD, "bold")):
        font = TTFont(name, str(_FONTS / f"source-sans-3-{file}.ttf"))
        pdfmetrics.registerFont(font)
        known = font.face.charToGlyph
    return known


def _printable(text: str) -> str:
    """With what the font has not: its letters without their marks, else a question mark."""
    known = _register_fonts()
    found = []
    for letter in unicodedata.normalize("NFC", text):
        if ord(letter) in known:
            found.append(letter)
            continue
        plain = unicodedata.normalize("NFKD", letter)[:1]
        found.append(plain if plain and ord(plain) in known else "?")
    return "".join(found)


def _modules(content: str) -> list[list[bool]]:
    import qrcode  # noqa: PLC0415
    from qrcode.constants import ERROR_CORRECT_M  # noqa: PLC0415

    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=0)
    code.add_data(content)
    code.make(fit=True)
    matrix: list[list[bool]] = code.get_matrix()
    return matrix
