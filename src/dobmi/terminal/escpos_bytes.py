"""A paper as the bytes that an ESC/POS printer takes, by python-escpos. Pure."""

from __future__ import annotations

import logging
import shutil
import unicodedata
from dataclasses import replace
from functools import cache
from typing import Any

from dobmi.terminal.paper import (
    QR_QUIET_MODULES,
    Align,
    Element,
    Pair,
    Paper,
    Qr,
    Row,
    Size,
    Words,
    lay_out,
    qr_modules,
)

DOTS_PER_CHARACTER = 12
"""Font A. 32 columns are 384 dots (58 mm paper), 48 are 576 (80 mm)."""
DRAWER_PIN = 2
_QR_MODULE_DOTS_MAX = 6
"""Three quarters of a millimetre at 203 dots to the inch."""

_TYPED_AS = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{MODIFIER LETTER APOSTROPHE}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{HYPHEN}": "-",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{VULGAR FRACTION ONE HALF}": " 1/2",
        "\N{VULGAR FRACTION ONE QUARTER}": " 1/4",
        "\N{VULGAR FRACTION THREE QUARTERS}": " 3/4",
        "\N{LATIN SMALL LETTER O WITH STROKE}": "o",
        "\N{LATIN CAPITAL LETTER O WITH STROKE}": "O",
        "\N{LATIN SMALL LETTER L WITH STROKE}": "l",
        "\N{LATIN CAPITAL LETTER L WITH STROKE}": "L",
        "\N{LATIN SMALL LETTER D WITH STROKE}": "d",
        "\N{LATIN CAPITAL LETTER D WITH STROKE}": "D",
        "\N{LATIN SMALL LETTER SHARP S}": "ss",
        "\N{LATIN SMALL LETTER AE}": "ae",
        "\N{LATIN CAPITAL LETTER AE}": "AE",
        "\N{BULLET}": "*",
        "\N{EURO SIGN}": "EUR",
    }
)


def printable(text: str) -> str:
    """The text in the characters that every printer has in every code page: ASCII.

    Letters lose their accents (é: e), signs become what people type for them (…: ...), and anything
    else, control characters too, a question mark.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_TYPED_AS))
    kept = (one for one in plain if not unicodedata.combining(one))
    return "".join(one if " " <= one <= "~" else "?" for one in kept)


def to_escpos(paper: Paper, columns: int, *, native_qr: bool = False) -> bytes:
    """Reset, rows, codes, feed and cut.

    QR codes are pictures (GS v 0), or, with `native_qr`, the printer's own (GS ( k).
    """
    driver = _driver(columns)
    driver.hw("INIT")
    plain = replace(paper, elements=tuple(_in_ascii(one) for one in paper.elements))
    before: Row | None = None
    for row in lay_out(plain, columns):
        if isinstance(row, Qr):
            _set(driver, Row(text="", align=Align.CENTRE))
            before = None
            if native_qr:
                driver.qr(row.text, ec=1, size=_QR_MODULE_DOTS_MAX, native=True)
            else:
                _qr_picture(driver, row.text, columns)
            continue
        if before is None or replace(before, text=row.text) != row:
            _set(driver, row)
        before = row
        driver.text(row.text + "\n")
    _set(driver, Row(text=""))
    driver.cut(mode="PART")
    return bytes(driver.output)


def drawer_kick() -> bytes:
    """ESC p: a pulse on the drawer's socket of the printer."""
    driver = _driver(columns=32)
    driver.cashdraw(DRAWER_PIN)
    return bytes(driver.output)


def _in_ascii(element: Element) -> Element:
    match element:
        case Words(text=text):
            return replace(element, text=printable(text))
        case Pair(left=left, right=right):
            return replace(element, left=printable(left), right=printable(right))
        case _:
            return element


def _set(driver: Any, row: Row) -> None:
    driver.set(
        align="center" if row.align is Align.CENTRE else "left",
        bold=row.bold,
        custom_size=True,
        width=2 if row.size is Size.LARGE else 1,
        height=1 if row.size is Size.NORMAL else 2,
    )


def _qr_picture(driver: Any, text: str, columns: int) -> None:
    """As wide as the paper, since not every printer centres a picture.

    It is sent in half the dots, which the printer doubles (GS v 0, m = 3): a quarter of the bytes,
    and a slow serial line feels each.
    """
    from PIL import Image  # noqa: PLC0415 - only a till with a printer loads it

    modules = qr_modules(text)
    side = len(modules) + 2 * QR_QUIET_MODULES
    width = columns * DOTS_PER_CHARACTER // 2
    scale = max(1, min(_QR_MODULE_DOTS_MAX // 2, width // side))
    picture = Image.new("1", (width, side * scale), 1)
    left = (width - side * scale) // 2 + QR_QUIET_MODULES * scale
    for y, row in enumerate(modules):
        for x, black in enumerate(row):
            if black:
                corner = (left + x * scale, (y + QR_QUIET_MODULES) * scale)
                picture.paste(0, (*corner, corner[0] + scale, corner[1] + scale))
    driver.image(picture, high_density_vertical=False, high_density_horizontal=False)


def _driver(columns: int) -> Any:
    """A driver that keeps what it would send. It chooses no code page: the text is ASCII."""
    escpos = load_escpos()
    profile = escpos.capabilities.Profile(
        columns=columns, features={"paperPartCut": True, "paperFullCut": True}
    )
    pixels = columns * DOTS_PER_CHARACTER
    profile.profile_data = {**profile.profile_data, "media": {"width": {"pixels": pixels}}}
    return escpos.printer.Dummy(
        profile=profile, magic_encode_args={"encoding": "CP437", "disabled": True}
    )


@cache
def load_escpos() -> Any:
    """python-escpos, when it is first needed.

    On import it makes a folder for a cache, which nobody clears, and sets up the program's logging:
    both are put back.
    """
    root = logging.getLogger()
    handlers = list(root.handlers)
    import escpos.capabilities  # noqa: PLC0415 - see above
    import escpos.printer  # noqa: PLC0415

    root.handlers = handlers
    shutil.rmtree(escpos.capabilities.pickle_dir, ignore_errors=True)
    return escpos
