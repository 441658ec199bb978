"""Setting a till up: which readers are there and do they see a card, and what the settings say.

The set-up page and `dobmi terminal setup` are thin skins over this and over `pairing.py`. Nothing
here needs a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from dobmi.cardlib.errors import CardError, ReaderUnavailable
from dobmi.cardlib.inspection import Inspection, inspect
from dobmi.cardlib.readers import nfc, pcsc
from dobmi.cardlib.readers.base import Reader, Signal, open_reader
from dobmi.errors import DoBMIError
from dobmi.settings import BadSettings, FileUnusable, load_settings
from dobmi.terminal.errors import NoCardCame
from dobmi.terminal.escpos_bytes import to_escpos
from dobmi.terminal.printer import PrinterState, deliver, parse_printer, usb_printers
from dobmi.terminal.receipt import Outlet, TestFacts, test_paper
from dobmi.terminal.whole_file import replace_file

SettingValue = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReader:
    """`url` is what `reader` in the settings would be; `name` is for people."""

    url: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadersFound:
    """`problems`: why a way to readers could not be searched (no pcscd, no library)."""

    readers: tuple[FoundReader, ...]
    problems: tuple[DoBMIError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderTest:
    """`card` is what the card tells without a key; None: `problem` says what is wrong with it."""

    reader: str
    uid: bytes
    card: Inspection | None
    problem: CardError | None


def find_readers() -> ReadersFound:
    """The readers of PC/SC, then those on USB that need none. Nothing is opened; never raises.

    One that pcscd drives (an ACR122U) shows in both: PC/SC is the better choice then.
    """
    readers: list[FoundReader] = []
    problems: list[DoBMIError] = []
    try:
        readers += [FoundReader(url=f"pcsc:{name}", name=name) for name in pcsc.list_readers()]
    except ReaderUnavailable as problem:
        problems.append(problem)
    try:
        readers += [
            FoundReader(url=f"nfc:{path}", name=f"USB {path.removeprefix('usb:')}")
            for path in nfc.list_readers()
        ]
    except ReaderUnavailable as problem:
        problems.append(problem)
    return ReadersFound(readers=tuple(readers), problems=tuple(problems))


def try_reader(
    url: str,
    timeout_seconds: float,
    open_at: Callable[[str], Reader] = open_reader,
) -> ReaderTest:
    """Wait for a card on the reader `url` and say what it is; its light and sound tell that, too.

    Raises UnknownReaderScheme, ReaderUnavailable, NoCardCame.
    """
    reader = open_at(url)
    try:
        reader.signal(Signal.READY)
        if not reader.wait_for_card(timeout_seconds):
            raise NoCardCame(seconds=round(timeout_seconds))
        connection = reader.connect()
        card, problem = None, None
        try:
            card = inspect(connection)
        except ReaderUnavailable:
            raise
        except CardError as error:
            problem = error
        finally:
            connection.disconnect()
        reader.signal(Signal.FAILURE if card is None else Signal.SUCCESS)
        return ReaderTest(reader=reader.name, uid=connection.uid, card=card, problem=problem)
    finally:
        reader.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPrinter:
    """`setting` is what `printer` in the settings would be; `name` is for people."""

    setting: str
    name: str


def find_printers(devices: Path = Path("/dev")) -> tuple[FoundPrinter, ...]:
    """Printers on USB, then what the system has under /dev that may be one. Never raises.

    A serial port does not tell what is at its other end: the test page does. Network printers
    cannot be looked for.
    """
    found = [FoundPrinter(setting=setting, name=name) for setting, name in usb_printers()]
    for pattern, scheme in (("usb/lp*", "file"), ("serial/by-id/*", "serial")):
        found += [
            FoundPrinter(setting=f"{scheme}:{path}", name=path.name)
            for path in sorted(devices.glob(pattern))
        ]
    return tuple(found)


def try_printer(
    setting: str,
    columns: int,
    unix_seconds: int,
    translate: Callable[[str], str],
    outlet: Outlet | None = None,
) -> PrinterState:
    """Print the test page, and say how the printer is then.

    Raises BadPrinter, NoPrinter, PrinterGone, PaperOut, PrinterCoverOpen, PrinterFault.
    """
    address = parse_printer(setting)
    facts = TestFacts(outlet=outlet, printer=setting, columns=columns, unix_seconds=unix_seconds)
    return deliver(
        to_escpos(test_paper(facts, translate), columns, native_qr=address.native_qr), address
    )


def change_settings(path: Path, changes: Mapping[str, SettingValue | None]) -> None:
    """Put `changes` into the settings file: `terminal.reader` is `reader` in `[terminal]`.

    None takes an entry out. Comments, order and other entries stay. The file is replaced as a whole,
    once it is on the disk, and only by one that this program can use; it keeps its owner's mode.
    Raises BadSettings (also PlainHttp), FileUnusable; then nothing was changed.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusable(path=path, detail=str(error)) from error
    except TOMLKitError as error:
        raise BadSettings(detail=f"{path}: {error}") from error
    for name, value in changes.items():
        section, _, entry = name.rpartition(".")
        place: tomlkit.TOMLDocument | Table = document
        if section:
            found = document.setdefault(section, tomlkit.table())
            if not isinstance(found, Table):
                raise BadSettings(detail=f"{section} is no table")
            place = found
        if value is None:
            place.pop(entry, None)
        else:
            place[entry] = value
    replace_file(path, tomlkit.dumps(document).encode(), check=load_settings)
