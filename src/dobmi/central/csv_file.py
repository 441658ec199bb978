"""Files that the office gives: CSV, checked whole, with every bad line named, before any is taken."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dobmi.central.errors import FileRefused
from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.sync.cbor import is_plain

_MARK = "\N{BYTE ORDER MARK}"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With which a cell begins that a spreadsheet calculates."""


def safe_cell(text: str) -> str:
    """A cell of a file of ours that no spreadsheet calculates."""
    return f"'{text}" if text.startswith(_FORMULA) else text


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, `number` counted from 1; its cells by column, without space around them."""

    number: int
    cells: Mapping[str, str]

    def wrong(self, message: str, **facts: object) -> Phrase:
        return wrong_line(self.number, message, **facts)

    def text(self, column: str, length_max: int, problems: list[Phrase]) -> str:
        """The cell, if it is a plain text of 1 to `length_max`; else it is one more of the problems."""
        found = self.cells[column]
        if not found:
            problems.append(self.wrong(N_("there is no {column}"), column=column))
        elif len(found) > length_max or not is_plain(found):
            problems.append(
                self.wrong(
                    N_("{column}: at most {most} characters, and no control characters"),
                    column=column,
                    most=length_max,
                )
            )
        return found

    def number_in(self, column: str, most: int, problems: list[Phrase], *, least: int = 1) -> int:
        """The cell as a number of `least` to `most`; else one more of the problems, and `least`."""
        found = self.cells[column]
        if found.isascii() and found.isdecimal() and len(found) <= 19:
            number = int(found)
            if least <= number <= most:
                return number
        text = N_("{column}: {text!r} is no number of {least} to {most}")
        problems.append(self.wrong(text, column=column, text=found[:40], least=least, most=most))
        return least


def wrong_line(number: int, message: str, **facts: object) -> Phrase:
    return Phrase(N_("line {line}: {problem}"), line=number, problem=Phrase(message, **facts))


def read_csv(
    text: str,
    headings: Mapping[str, str],
    needed: Collection[str],
    *,
    example: str,
    lines_max: int,
    prefixes: Mapping[str, str] | None = None,
    refused: type[FileRefused] = FileRefused,
) -> tuple[list[Line], list[Phrase]]:
    """The lines below the headings, and what is wrong with those that are left out.

    `headings` says which column a heading, in small letters, is for; `prefixes` does for headings
    that begin so, whose rest is kept as it is. Columns are separated by commas or semicolons.
    Raises `refused` if it is no such file at all.
    """
    text = text.removeprefix(_MARK)
    first, _, _ = text.partition("\n")
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error:
        raise refused([wrong_line(reader.line_num, N_("it is not CSV"))]) from None
    rows = [(number, row) for number, row in rows if any(row)]
    if not rows:
        raise refused([wrong_line(1, N_("there is nothing in it"))])
    if len(rows) > lines_max + 1:
        raise refused([wrong_line(lines_max, N_("more than {most} lines"), most=lines_max)])
    columns = [_column(cell, headings, prefixes or {}) for cell in rows[0][1]]
    if not set(needed) <= set(columns) or len(set(columns)) < len(columns):
        shown = N_("the first line must be: {example}")
        raise refused([wrong_line(rows[0][0], shown, example=example)])
    lines: list[Line] = []
    problems: list[Phrase] = []
    for number, row in rows[1:]:
        if len(row) == len(columns):
            lines.append(Line(number, dict(zip(columns, row, strict=True))))
        else:
            text = N_("{found} columns instead of {expected}")
            problems.append(wrong_line(number, text, found=len(row), expected=len(columns)))
    return lines, problems


def _column(heading: str, headings: Mapping[str, str], prefixes: Mapping[str, str]) -> str:
    small = heading.casefold()
    for prefix, column in prefixes.items():
        if small.startswith(prefix) and len(small) > len(prefix):
            return column + heading[len(prefix) :].strip()
    return headings.get(small, "")
