"""What an ESC/POS printer makes of the bytes it gets: text as it stands on the paper, and a picture.

Only the commands that a plain receipt printer knows are taken; anything else, also a byte that is no
ASCII text, is an error here, as a printer would print rubbish. Epson, ESC/POS Command Reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import qrcode
import zxingcpp
from PIL import Image, ImageDraw, ImageFont
from qrcode.constants import (
    ERROR_CORRECT_H,
    ERROR_CORRECT_L,
    ERROR_CORRECT_M,
    ERROR_CORRECT_Q,
)

CELL_WIDTH, CELL_HEIGHT, LINE_FEED = 12, 24, 30
_MARGIN = 24
_LEVELS = [ERROR_CORRECT_L, ERROR_CORRECT_M, ERROR_CORRECT_Q, ERROR_CORRECT_H]


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or one character (`name` is then "text"); `arguments` without its opcode."""

    name: str
    arguments: bytes
    size: int


_FIXED = {
    b"\x1b@": ("reset", 0),
    b"\x1ba": ("align", 1),
    b"\x1bE": ("bold", 1),
    b"\x1bd": ("feed", 1),
    b"\x1bp": ("drawer", 3),
    b"\x1d!": ("size", 1),
    b"\x1dr": ("status in turn", 1),
    b"\x1dV": ("cut", 1),
    b"\x10\x04": ("status", 1),
}


def next_command(data: bytes) -> Command | None:
    """The first one in `data`; None while it is not whole."""
    if data[0] == 0x0A:
        return Command("line feed", b"", 1)
    if 0x20 <= data[0] <= 0x7E:
        return Command("text", data[:1], 1)
    opcode = data[:2]
    if len(opcode) < 2:
        return None
    if opcode in _FIXED:
        name, length = _FIXED[opcode]
        return Command(name, data[2 : 2 + length], 2 + length) if len(data) >= 2 + length else None
    if opcode in _COUNTED:
        name, head = _COUNTED[opcode]
        if len(data) < head:
            return None
        whole = head + _counted_length(opcode, data)
        return Command(name, data[2:whole], whole) if len(data) >= whole else None
    msg = f"a printer does not know {data[:8]!r}"
    raise ValueError(msg)


_COUNTED = {b"\x1dv": ("raster", 8), b"\x1d(": ("symbol", 5)}


def _counted_length(opcode: bytes, data: bytes) -> int:
    if opcode == b"\x1dv":
        return int.from_bytes(data[4:6], "little") * int.from_bytes(data[6:8], "little")
    return int.from_bytes(data[3:5], "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedLine:
    text: str
    bold: bool
    width: int
    height: int
    align: int


@dataclass(frozen=True, slots=True)
class PrintedPicture:
    image: Image.Image
    align: int


@dataclass(slots=True)
class Printout:
    """Everything that came out. `texts` are the lines' texts."""

    columns: int
    parts: list[PrintedLine | PrintedPicture] = field(default_factory=list)
    cuts: int = 0
    drawer_kicks: int = 0
    ran_over: list[str] = field(default_factory=list)
    """Lines that are longer than the paper is wide."""

    @property
    def texts(self) -> list[str]:
        return [part.text for part in self.parts if isinstance(part, PrintedLine)]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def pictures(self) -> list[Image.Image]:
        return [part.image for part in self.parts if isinstance(part, PrintedPicture)]

    def line(self, start: str) -> PrintedLine:
        return next(
            part
            for part in self.parts
            if isinstance(part, PrintedLine) and part.text.strip().startswith(start)
        )

    def picture(self) -> Image.Image:
        """The whole paper, black on white, a dot to a pixel."""
        width = self.columns * CELL_WIDTH
        height = sum(_height(part) for part in self.parts) + 2 * _MARGIN
        paper = Image.new("L", (width + 2 * _MARGIN, height), 255)
        y = _MARGIN
        for part in self.parts:
            image = part.image if isinstance(part, PrintedPicture) else _drawn(part)
            free = width - image.width
            left = (0, free // 2, free)[part.align]
            paper.paste(image, (_MARGIN + left, y))
            y += _height(part)
        return paper


def _height(part: PrintedLine | PrintedPicture) -> int:
    if isinstance(part, PrintedPicture):
        return part.image.height
    return LINE_FEED + (part.height - 1) * CELL_HEIGHT


def _drawn(line: PrintedLine) -> Image.Image:
    font = ImageFont.load_default(size=19)
    image = Image.new("L", (max(1, len(line.text)) * CELL_WIDTH, CELL_HEIGHT), 255)
    draw = ImageDraw.Draw(image)
    for place, character in enumerate(line.text):
        centre = (place * CELL_WIDTH + CELL_WIDTH / 2, CELL_HEIGHT - 6)
        draw.text(
            centre, character, font=font, fill=0, anchor="ms", stroke_width=0.6 if line.bold else 0
        )
    size = (image.width * line.width, image.height * line.height)
    return image.resize(size, Image.Resampling.NEAREST)


class Interpreter:
    """A printer's head: takes commands one by one."""

    def __init__(self, columns: int) -> None:
        self.printout = Printout(columns)
        self._symbol = b""
        self._symbol_dots, self._symbol_level = 3, 0
        self._reset()

    def _reset(self) -> None:
        self._row = ""
        self._bold, self._width, self._height, self._align = False, 1, 1, 0

    def take(self, command: Command) -> None:
        arguments = command.arguments
        match command.name:
            case "text":
                self._row += arguments.decode("ascii")
            case "line feed" | "feed":
                for _ in range(arguments[0] if arguments else 1):
                    self._end_row()
            case "cut":
                self.printout.cuts += 1
            case "drawer":
                self.printout.drawer_kicks += 1
            case "raster":
                self._picture(_raster(arguments))
            case "symbol":
                self._take_symbol(arguments)
            case _:
                self._set(command)

    def _set(self, command: Command) -> None:
        value = command.arguments[0] if command.arguments else 0
        match command.name:
            case "reset":
                self._reset()
            case "align":
                self._align = value
            case "bold":
                self._bold = bool(value & 1)
            case "size":
                self._width, self._height = (value >> 4) + 1, (value & 0x0F) + 1
            case _:
                assert command.name in {"status", "status in turn"}, command

    def _end_row(self) -> None:
        if len(self._row) * self._width > self.printout.columns:
            self.printout.ran_over.append(self._row)
        self.printout.parts.append(
            PrintedLine(
                text=self._row,
                bold=self._bold,
                width=self._width,
                height=self._height,
                align=self._align,
            )
        )
        self._row = ""

    def _picture(self, image: Image.Image) -> None:
        assert not self._row, "a picture within a row"
        assert image.width <= self.printout.columns * CELL_WIDTH, "wider than the paper"
        self.printout.parts.append(PrintedPicture(image, self._align))

    def _take_symbol(self, arguments: bytes) -> None:
        """GS ( k, of which cn 49 is the QR code."""
        assert arguments[:1] == b"k"
        assert arguments[3] == 49
        function, rest = arguments[4], arguments[5:]
        match function:
            case 65:
                assert rest[0] == 50, "model 2"
            case 67:
                self._symbol_dots = rest[0]
            case 69:
                self._symbol_level = rest[0] - 48
            case 80:
                self._symbol = rest[1:]
            case 81:
                code = qrcode.QRCode(
                    error_correction=_LEVELS[self._symbol_level],
                    box_size=self._symbol_dots,
                    border=0,
                )
                code.add_data(self._symbol)
                self._picture(code.make_image().get_image().convert("L"))
            case _:
                raise AssertionError(function)


def _raster(arguments: bytes) -> Image.Image:
    """GS v 0: m, xL xH in bytes, yL yH in dots; bit 0 of m doubles the width, bit 1 the height."""
    assert arguments[0] == 0x30
    mode = arguments[1]
    assert mode <= 3
    width = int.from_bytes(arguments[2:4], "little") * 8
    height = int.from_bytes(arguments[4:6], "little")
    image = Image.frombytes("1", (width, height), bytes(byte ^ 0xFF for byte in arguments[6:]))
    size = (width * (2 if mode & 1 else 1), height * (2 if mode & 2 else 1))
    return image.convert("L").resize(size, Image.Resampling.NEAREST)


def commands(data: bytes) -> Iterator[Command]:
    """Raises ValueError for what no printer knows, and for a command that is cut off."""
    while data:
        command = next_command(data)
        if command is None:
            msg = f"cut off: {data[:8]!r}"
            raise ValueError(msg)
        yield command
        data = data[command.size :]


def print_out(data: bytes, columns: int) -> Printout:
    interpreter = Interpreter(columns)
    for command in commands(data):
        interpreter.take(command)
    return interpreter.printout


def read_codes(picture: Image.Image) -> list[str]:
    """The texts of the QR codes in a picture, as a phone reads them."""
    return [found.text for found in zxingcpp.read_barcodes(picture)]
