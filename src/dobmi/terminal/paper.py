"""A paper as data: what a printer, the page and the command line show alike.

    Paper -> lay_out(columns) -> rows of text, and QR codes    (pure)

Texts are in the reader's language already. Nothing here knows a printer.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from dobmi.i18n import N_

Translate = Callable[[str], str]

COLUMNS = (32, 48)
"""Of 58 mm and of 80 mm paper, in the printer's font A (12 dots a character)."""


class PaperKind(StrEnum):
    SALE = "sale"
    REFUND = "refund"
    BALANCE = "balance"
    X_REPORT = "x-report"
    Z_REPORT = "z-report"
    ORDER = "order"
    TOP_UP = "top-up"
    TEST = "test"


KIND_NAMES: Mapping[PaperKind, str] = {
    PaperKind.SALE: N_("receipt"),
    PaperKind.REFUND: N_("refund slip"),
    PaperKind.BALANCE: N_("balance slip"),
    PaperKind.X_REPORT: N_("X report"),
    PaperKind.Z_REPORT: N_("Z report"),
    PaperKind.ORDER: N_("order slip"),
    PaperKind.TOP_UP: N_("top-up receipt"),
    PaperKind.TEST: N_("test page"),
}


class Align(StrEnum):
    LEFT = "left"
    CENTRE = "centre"


class Size(StrEnum):
    """TALL is of double height, LARGE of double width too: half as many characters to a row."""

    NORMAL = "normal"
    TALL = "tall"
    LARGE = "large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Running text, wrapped; the rows after the first stand `hanging` characters to the right."""

    text: str
    hanging: int = 0
    align: Align = Align.LEFT
    bold: bool = False
    size: Size = Size.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What it is on the left, how much on the right; a long left side is wrapped."""

    left: str
    right: str
    bold: bool = False
    size: Size = Size.NORMAL


@dataclass(frozen=True, slots=True)
class Line:
    """A line across the paper."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An empty row."""


@dataclass(frozen=True, slots=True)
class Qr:
    text: str


Element = Words | Pair | Line | Gap | Qr


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """`reference` is the number that a person looks for it by: of the sale, the report, the order.

    `unix_seconds`: when what it tells of happened. `copy_mark` stands on it, large, when the same
    paper may be out already.
    """

    kind: PaperKind
    reference: int
    unix_seconds: int
    title: str
    copy_mark: str
    elements: tuple[Element, ...]


def as_copy(paper: Paper) -> Paper:
    """The same paper, saying first that it is a copy."""
    mark = Words(text=paper.copy_mark, align=Align.CENTRE, bold=True, size=Size.LARGE)
    if paper.elements[:1] == (mark,):
        return paper
    return replace(paper, elements=(mark, *paper.elements))


# Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of characters, padded where that is needed: `align` is for the short ones."""

    text: str
    align: Align = Align.LEFT
    bold: bool = False
    size: Size = Size.NORMAL


def lay_out(paper: Paper, columns: int) -> tuple[Row | Qr, ...]:
    """Rows of at most `columns` characters (half of that where LARGE)."""
    rows: list[Row | Qr] = []
    for element in paper.elements:
        match element:
            case Words(text=text, hanging=hanging, align=align, bold=bold, size=size):
                parts = _wrap(text, _characters(columns, size), " " * hanging)
                rows += [Row(text=part, align=align, bold=bold, size=size) for part in parts]
            case Pair(left=left, right=right, bold=bold, size=size):
                width = _characters(columns, size)
                rows += [Row(text=part, bold=bold, size=size) for part in _pair(left, right, width)]
            case Line():
                rows.append(Row(text="-" * columns))
            case Gap():
                rows.append(Row(text=""))
            case Qr():
                rows.append(element)
    return tuple(rows)


def to_text(paper: Paper, columns: int = 48) -> list[str]:
    """The paper as rows of plain text. A QR code is its text, which is never broken."""
    rows: list[str] = []
    for row in lay_out(paper, columns):
        if isinstance(row, Qr):
            rows.append(row.text)
        elif row.align is Align.CENTRE:
            rows.append(row.text.center(columns).rstrip())
        else:
            rows.append(row.text.rstrip())
    return rows


def _characters(columns: int, size: Size) -> int:
    return columns // 2 if size is Size.LARGE else columns


def _wrap(text: str, width: int, hanging: str = "", lead: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=lead,
        subsequent_indent=lead + hanging,
        break_on_hyphens=False,
    ) or [""]


def _pair(left: str, right: str, width: int) -> list[str]:
    """The right side stands at the end of the last row, at least one space from the left one."""
    right = " ".join(right.split())
    if len(right) >= width:
        return [*_wrap(left, width), *_wrap(right, width)]
    lead = left[: len(left) - len(left.lstrip())]
    rows = _wrap(left.lstrip(), width, lead=lead)
    if len(rows[-1]) + 1 + len(right) > width:
        rows.append("")
    return [*rows[:-1], rows[-1] + right.rjust(width - len(rows[-1]))]


# QR codes

QR_QUIET_MODULES = 4
"""The empty margin on each side (ISO/IEC 18004 section 6.3.8)."""


@lru_cache(maxsize=64)
def qr_modules(text: str) -> tuple[tuple[bool, ...], ...]:
    """Rows of modules, True for black, without the quiet margin; error correction M."""
    import qrcode  # noqa: PLC0415 - a command that shows no code need not load it
    from qrcode.constants import ERROR_CORRECT_M  # noqa: PLC0415

    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=0)
    code.add_data(text)
    code.make(fit=True)
    return tuple(tuple(bool(module) for module in row) for row in code.get_matrix())


def qr_svg_path(text: str) -> tuple[int, str]:
    """(side, path): an SVG `viewBox="0 0 side side"` and its `d`, the quiet margin included.

    The path is of digits and the letters M, h, v, z alone.
    """
    modules = qr_modules(text)
    parts = [
        f"M{x + QR_QUIET_MODULES} {y + QR_QUIET_MODULES}h1v1h-1z"
        for y, row in enumerate(modules)
        for x, black in enumerate(row)
        if black
    ]
    return len(modules) + 2 * QR_QUIET_MODULES, "".join(parts)


# On screen


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenRow:
    """One row of the copy on screen, for a template that escapes what it puts in.

    `kind` is words, pair, line, gap or qr. Of `words`, `left` is the text; of `qr`, `left` is the
    text in it, `qr_side` and `qr_path` are those of `qr_svg_path`. `style` is the names of CSS
    classes: centre, bold, tall, large.
    """

    kind: str
    left: str = ""
    right: str = ""
    style: str = ""
    qr_side: int = 0
    qr_path: str = ""


def to_screen(paper: Paper) -> tuple[ScreenRow, ...]:
    """The same elements for the page, which wraps them as it likes."""
    rows: list[ScreenRow] = []
    for element in paper.elements:
        match element:
            case Words(text=text):
                rows.append(ScreenRow(kind="words", left=text, style=_style(element)))
            case Pair(left=left, right=right):
                rows.append(ScreenRow(kind="pair", left=left, right=right, style=_style(element)))
            case Line():
                rows.append(ScreenRow(kind="line"))
            case Gap():
                rows.append(ScreenRow(kind="gap"))
            case Qr(text=text):
                side, path = qr_svg_path(text)
                rows.append(ScreenRow(kind="qr", left=text, qr_side=side, qr_path=path))
    return tuple(rows)


def _style(element: Words | Pair) -> str:
    names = []
    if isinstance(element, Words) and element.align is Align.CENTRE:
        names.append("centre")
    if element.bold:
        names.append("bold")
    if element.size is not Size.NORMAL:
        names.append(element.size.value)
    return " ".join(names)


# In the queue

_ELEMENTS: Mapping[str, type[Element]] = {
    "words": Words,
    "pair": Pair,
    "line": Line,
    "gap": Gap,
    "qr": Qr,
}
_NAMES = {kind: name for name, kind in _ELEMENTS.items()}


def paper_to_json(paper: Paper) -> str:
    return json.dumps(
        {
            "kind": paper.kind,
            "reference": paper.reference,
            "unix_seconds": paper.unix_seconds,
            "title": paper.title,
            "copy_mark": paper.copy_mark,
            "elements": [
                [_NAMES[type(one)], {name: getattr(one, name) for name in type(one).__slots__}]
                for one in paper.elements
            ],
        },
        ensure_ascii=False,
    )


def paper_from_json(text: str) -> Paper:
    """Of what `paper_to_json` wrote; raises ValueError, KeyError, TypeError for anything else."""
    value = json.loads(text)
    return Paper(
        kind=PaperKind(value["kind"]),
        reference=value["reference"],
        unix_seconds=value["unix_seconds"],
        title=value["title"],
        copy_mark=value["copy_mark"],
        elements=tuple(_element(name, facts) for name, facts in value["elements"]),
    )


def _element(name: str, facts: Mapping[str, Any]) -> Element:
    kinds: Mapping[str, Callable[[str], Any]] = {"align": Align, "size": Size}
    typed: dict[str, Any] = {
        key: kinds[key](value) if key in kinds else value for key, value in facts.items()
    }
    return _ELEMENTS[name](**typed)
