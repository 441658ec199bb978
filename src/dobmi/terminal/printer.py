"""A receipt printer behind a setting: how it is, and when it has taken a paper.

    usb:04b8:0e15                       libusb; the printer's own endpoints are found
    serial:/dev/ttyUSB0?baud=19200      9600 when left out; answers=no for one with no return line
    network:192.168.1.50:9100           port 9100 when left out
    file:/dev/usb/lp0                   a device, or a file to look at; it says nothing
    none

`?qr=native` has the printer draw QR codes itself.

A printer that answers DLE EOT (its status, at once) has taken a paper when it also answers GS r (its
status, in its turn after what came before), or, where it does not know that one, stays on line and
has paper. Of one that answers nothing it is only known that USB or TCP handed it every byte. The
commands and their bits: Epson, ESC/POS Command Reference.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import socket
import struct
import termios
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dobmi.i18n import N_
from dobmi.terminal.errors import (
    BadPrinter,
    NoPrinter,
    PaperOut,
    PrinterCoverOpen,
    PrinterFault,
    PrinterGone,
    PrintFailed,
)
from dobmi.terminal.escpos_bytes import drawer_kick, load_escpos

NETWORK_PORT = 9100
_USB_PRINTER_CLASS = 7
_USB_IN = 0x80
_PRINTED_BYTES_PER_SECOND = 2_000
"""So slow at least: long papers are waited for longer."""

_ASK_PRINTER, _ASK_PAPER, _ASK_OFFLINE = b"\x10\x04\x01", b"\x10\x04\x04", b"\x10\x04\x02"
"""DLE EOT n."""
_ASK_IN_TURN = b"\x1dr\x01"
"""GS r 1."""


class PrinterKind(StrEnum):
    NONE = "none"
    USB = "usb"
    SERIAL = "serial"
    NETWORK = "network"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrinterAddress:
    """What the setting says: `host` and `port`, `path`, or `vendor` and `product`, by its kind."""

    kind: PrinterKind
    setting: str
    host: str = ""
    port: int = NETWORK_PORT
    path: Path = Path()
    vendor: int = 0
    product: int = 0
    baud: int = 9600
    answers: bool = True
    native_qr: bool = False


class PrinterState(StrEnum):
    NONE = "none"
    """No printer is set."""
    READY = "ready"
    MUTE = "mute"
    """It is there and says nothing of itself."""
    PAPER_LOW = "paper-low"
    PAPER_OUT = "paper-out"
    COVER_OPEN = "cover-open"
    FAULT = "fault"
    """It says that it cannot print: cutter, head, or off line for no reason that it gives."""
    GONE = "gone"

    @property
    def can_print(self) -> bool:
        return self in {PrinterState.READY, PrinterState.MUTE, PrinterState.PAPER_LOW}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long a printer is waited for.

    `answer`: for a status that it is asked for. `printing`: from the last byte sent until it has
    printed.
    """

    connect_seconds: float = 3
    answer_seconds: float = 1
    send_seconds: float = 15
    printing_seconds: float = 15
    poll_seconds: float = 0.5


WAITS = Waits()


def parse_printer(setting: str) -> PrinterAddress:
    """Raises BadPrinter, which shows the ways to write it."""
    bare, _, query = setting.strip().partition("?")
    scheme, _, rest = bare.partition(":")
    options = dict(parse_qsl(query, keep_blank_values=True))
    try:
        address = PrinterAddress(
            kind=PrinterKind(scheme),
            setting=setting,
            baud=int(options.pop("baud", "9600")),
            answers={"yes": True, "no": False}[options.pop("answers", "yes")],
            native_qr={"native": True, "picture": False}[options.pop("qr", "picture")],
        )
    except (ValueError, KeyError) as error:
        raise BadPrinter(setting=setting) from error
    placed = _placed(address, rest)
    if placed is None or options:
        raise BadPrinter(setting=setting)
    return placed


def _placed(address: PrinterAddress, rest: str) -> PrinterAddress | None:
    match address.kind:
        case PrinterKind.NONE if not rest:
            return address
        case PrinterKind.USB:
            ids = re.fullmatch(r"([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4})", rest)
            if ids:
                return replace(address, vendor=int(ids[1], 16), product=int(ids[2], 16))
        case PrinterKind.SERIAL | PrinterKind.FILE if rest:
            return replace(address, path=Path(rest))
        case PrinterKind.NETWORK:
            place = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9.-]*)(?::([0-9]{1,5}))?", rest)
            port = int(place[2] or NETWORK_PORT) if place else 0
            if place and 0 < port < 1 << 16:
                return replace(address, host=place[1], port=port)
        case _:
            pass
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrinterShown:
    """How the printer is. `error` says so to a person, and what to do; None where it can print."""

    setting: str
    state: PrinterState
    error: PrintFailed | None = None


def printer_status(address: PrinterAddress, waits: Waits = WAITS) -> PrinterShown:
    """Ask it. Raises nothing: what is wrong with it stands in the answer."""
    if address.kind is PrinterKind.NONE:
        return PrinterShown(setting=address.setting, state=PrinterState.NONE)
    try:
        with _connected(address, waits) as link:
            state = _state_of(link, waits)
    except PrintFailed as error:
        return PrinterShown(setting=address.setting, state=PrinterState.GONE, error=error)
    return PrinterShown(setting=address.setting, state=state, error=_trouble(state, address))


def shown_after(address: PrinterAddress, error: PrintFailed) -> PrinterShown:
    """How the printer is that failed so."""
    states: dict[type[PrintFailed], PrinterState] = {
        PaperOut: PrinterState.PAPER_OUT,
        PrinterCoverOpen: PrinterState.COVER_OPEN,
        PrinterFault: PrinterState.FAULT,
        NoPrinter: PrinterState.NONE,
    }
    state = states.get(type(error), PrinterState.GONE)
    return PrinterShown(setting=address.setting, state=state, error=error)


def deliver(
    data: bytes,
    address: PrinterAddress,
    *,
    on_begin: Callable[[], None] = lambda: None,
    waits: Waits = WAITS,
) -> PrinterState:
    """Have the printer print `data`; it has taken all of it when this returns how it is then.

    `on_begin` is called when the printer is ready and before the first byte: what goes wrong before
    it printed nothing, what goes wrong after it may have printed any part. Raises NoPrinter,
    PrinterGone, PaperOut, PrinterCoverOpen, PrinterFault.
    """
    if address.kind is PrinterKind.NONE:
        raise NoPrinter
    with _connected(address, waits) as link:
        state = _state_of(link, waits)
        _check(state, address)
        on_begin()
        try:
            link.send(data, waits.send_seconds)
        except TimeoutError:
            link.close()
            raise _why_it_took_no_more(address, waits) from None
        if state is PrinterState.MUTE:
            link.drain(waits.send_seconds)
            return state
        return _until_printed(link, waits, len(data) / _PRINTED_BYTES_PER_SECOND)


def kick_drawer(address: PrinterAddress, waits: Waits = WAITS) -> None:
    """Open the cash drawer now. Raises NoPrinter, PrinterGone.

    A printer without paper opens it too (ESC p is not printing), as long as it takes what is sent.
    """
    if address.kind is PrinterKind.NONE:
        raise NoPrinter
    with _connected(address, waits) as link:
        try:
            link.send(drawer_kick(), waits.answer_seconds)
        except TimeoutError:
            raise _gone(address, N_("it takes no data")) from None
        link.drain(waits.answer_seconds)


def usb_printers() -> tuple[tuple[str, str], ...]:
    """(setting, name) of the printers that are plugged in; empty where USB cannot be asked."""
    try:
        import usb.core  # noqa: PLC0415 - only where a printer is looked for
        import usb.util  # noqa: PLC0415
    except ImportError:
        return ()
    found = []
    with contextlib.suppress(usb.core.NoBackendError, usb.core.USBError):
        for device in usb.core.find(find_all=True):
            if _usb_place(device) is not None:
                setting = f"usb:{device.idVendor:04x}:{device.idProduct:04x}"
                found.append((setting, _usb_name(device)))
    return tuple(found)


def _usb_name(device: Any) -> str:
    try:
        return f"{device.manufacturer or ''} {device.product or ''}".strip()
    except ValueError:  # no right to read its texts
        return ""


@dataclass(frozen=True, slots=True)
class _UsbPlace:
    """Of a printer's interface: its number, and the endpoints to and from it."""

    interface: int
    out: int
    back: int | None


def _usb_place(device: Any) -> _UsbPlace | None:
    """None for a device that is no printer (USB printer class 1.1, section 5.1)."""
    for configuration in device:
        for interface in configuration:
            if interface.bInterfaceClass == _USB_PRINTER_CLASS:
                ends = [one.bEndpointAddress for one in interface]
                out = next((one for one in ends if not one & _USB_IN), None)
                back = next((one for one in ends if one & _USB_IN), None)
                if out is not None:
                    return _UsbPlace(interface.bInterfaceNumber, out, back)
    return None


# Asking


def _state_of(link: _Link, waits: Waits) -> PrinterState:
    """Ask it all, and note what it answers: not every printer knows every question."""
    if not link.answers:
        return PrinterState.MUTE
    told: dict[bytes, int] = {}
    for question in (_ASK_PRINTER, _ASK_PAPER, _ASK_OFFLINE):
        link.send(question, waits.answer_seconds)
        answer = _answer(link, waits.answer_seconds)
        if answer is None:
            break
        told[question] = answer
    link.questions = tuple(told)
    if told:
        return _judge(told)
    if link.address.kind is PrinterKind.SERIAL:  # a line with nothing at its end looks the same
        raise _gone(link.address, N_("it answers nothing"))
    return PrinterState.MUTE


def _judge(told: Mapping[bytes, int]) -> PrinterState:
    printer, paper, offline = (
        told.get(question, 0) for question in (_ASK_PRINTER, _ASK_PAPER, _ASK_OFFLINE)
    )
    if paper & 0x60 or offline & 0x20:
        return PrinterState.PAPER_OUT
    if offline & 0x04:
        return PrinterState.COVER_OPEN
    if printer & 0x08 or offline & 0x40:
        return PrinterState.FAULT
    return PrinterState.PAPER_LOW if paper & 0x0C else PrinterState.READY


def _is_answer(byte: int) -> bool:
    """To DLE EOT: bits 1 and 4 are set, 0 and 7 clear."""
    return byte & 0x93 == 0x12


def _is_answer_in_turn(byte: int) -> bool:
    """To GS r 1: bits 4 and 7 are clear."""
    return byte & 0x90 == 0


def _answer(link: _Link, timeout_seconds: float) -> int | None:
    ends = time.monotonic() + timeout_seconds
    while (left := ends - time.monotonic()) > 0:
        for byte in link.hear(left):
            if _is_answer(byte):
                return byte
    return None


@dataclass(slots=True)
class _Heard:
    """What a printer says while it prints. An answer does not say what it is to: they keep order."""

    asked: deque[bytes] = field(default_factory=deque)
    told: dict[bytes, int] = field(default_factory=dict)
    in_turn: bool = False

    def hear(self, link: _Link, seconds: float) -> None:
        """Until the answer in turn came, or the time is up."""
        ends = time.monotonic() + seconds
        while not self.in_turn and (left := ends - time.monotonic()) > 0:
            for byte in link.hear(left):
                if _is_answer(byte) and self.asked:
                    self.told[self.asked.popleft()] = byte
                elif _is_answer_in_turn(byte):
                    self.in_turn = True


def _until_printed(link: _Link, waits: Waits, longer_seconds: float) -> PrinterState:
    """After the last byte: wait for the answer in turn, and ask meanwhile how it is."""
    ends = time.monotonic() + waits.printing_seconds + longer_seconds
    link.send(_ASK_IN_TURN, waits.send_seconds)
    heard = _Heard()
    state = None
    while time.monotonic() < ends:
        if not heard.asked:
            for question in link.questions:
                link.send(question, waits.answer_seconds)
                heard.asked.append(question)
        heard.hear(link, waits.poll_seconds)
        if heard.in_turn:
            return state or PrinterState.READY
        if not heard.asked:
            state = _judge(heard.told)
            _check(state, link.address)
    if heard.asked or state is None:
        raise _gone(link.address, N_("it stopped answering"))
    return state


def _check(state: PrinterState, address: PrinterAddress) -> None:
    error = _trouble(state, address)
    if error is not None:
        raise error


def _trouble(state: PrinterState, address: PrinterAddress) -> PrintFailed | None:
    match state:
        case PrinterState.PAPER_OUT:
            return PaperOut(printer=address.setting)
        case PrinterState.COVER_OPEN:
            return PrinterCoverOpen(printer=address.setting)
        case PrinterState.FAULT:
            return PrinterFault(printer=address.setting)
        case _:
            return None


def _gone(address: PrinterAddress, detail: str) -> PrinterGone:
    return PrinterGone(printer=address.setting, detail=detail)


def _why_it_took_no_more(address: PrinterAddress, waits: Waits) -> PrintFailed:
    return printer_status(address, waits).error or _gone(address, N_("it takes no data"))


# Connections


@contextmanager
def _connected(address: PrinterAddress, waits: Waits) -> Iterator[_Link]:
    """Raises PrinterGone, also out of what is done within, where the connection fails."""
    link: _Link | None = None
    try:
        link = _open(address, waits)
        yield link
    except _connection_errors() as error:
        detail = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise _gone(address, detail.splitlines()[-1]) from error
    finally:
        if link is not None:
            with contextlib.suppress(*_connection_errors()):
                link.close()


@cache
def _connection_errors() -> tuple[type[Exception], ...]:
    """What python-escpos and what it rests on raise; TimeoutError is an OSError."""
    import serial  # noqa: PLC0415 - only a till with a printer loads them
    import usb.core  # noqa: PLC0415

    return (
        OSError,
        load_escpos().exceptions.Error,
        serial.SerialException,
        usb.core.USBError,
        usb.core.NoBackendError,
    )


def _open(address: PrinterAddress, waits: Waits) -> _Link:
    drivers = load_escpos().printer
    place = str(address.path)
    match address.kind:
        case PrinterKind.NETWORK:
            driver = drivers.Network(address.host, address.port)
            # Opened here: the driver forgets to close a socket that it could not connect.
            driver.device = socket.create_connection(
                (address.host, address.port), waits.connect_seconds
            )
            return _NetworkLink(address, driver)
        case PrinterKind.SERIAL:
            driver = drivers.Serial(place, baudrate=address.baud)
            driver.open()
            return _SerialLink(address, driver)
        case PrinterKind.USB:
            return _open_usb(address, drivers)
        case _:
            driver = drivers.File(place)
            driver.device = address.path.open("ab")  # the driver would empty a file first
            return _FileLink(address, driver)


def _open_usb(address: PrinterAddress, drivers: Any) -> _Link:
    """Opened here: the driver would reset the printer each time, and lose what it has not printed."""
    import usb.core  # noqa: PLC0415 - only a till with such a printer loads it
    import usb.util  # noqa: PLC0415

    device = usb.core.find(idVendor=address.vendor, idProduct=address.product)
    place = None if device is None else _usb_place(device)
    if place is None:
        raise _gone(address, N_("no such printer is plugged in"))
    with contextlib.suppress(NotImplementedError):  # no kernel driver can hold it
        if device.is_kernel_driver_active(place.interface):
            device.detach_kernel_driver(place.interface)
    usb.util.claim_interface(device, place.interface)
    driver = drivers.Usb(address.vendor, address.product, in_ep=place.back or 0, out_ep=place.out)
    driver.device = device
    return _UsbLink(address, driver, answers=place.back is not None)


class _Link(ABC):
    """A printer that is connected, through its python-escpos driver.

    `questions` are those that it has answered.
    """

    def __init__(self, address: PrinterAddress, driver: Any, *, answers: bool = True) -> None:
        self.address = address
        self.driver = driver
        self.answers = answers and address.answers
        self.questions: tuple[bytes, ...] = ()
        self._unasked = 0

    @abstractmethod
    def send(self, data: bytes, timeout_seconds: float) -> None:
        """Raises TimeoutError when it takes no more."""

    def receive(self, timeout_seconds: float) -> bytes:  # noqa: ARG002 - here is no way back
        """What it has said, at the latest after the time; b"" for nothing."""
        return b""

    def hear(self, timeout_seconds: float) -> bytes:
        """The same without what it says unasked: automatic status, if another program has switched
        that on (GS a), is four bytes of which the first alone can be told from answers.
        """
        answers = bytearray()
        for byte in self.receive(timeout_seconds):
            if self._unasked:
                self._unasked -= 1
            elif byte & 0x93 == 0x10:
                self._unasked = 3
            else:
                answers.append(byte)
        return bytes(answers)

    def drain(self, timeout_seconds: float) -> None:  # noqa: B027 - `send` of most comes back only then
        """Until it has been handed every byte that was sent."""

    def close(self) -> None:
        self.driver.close()


class _NetworkLink(_Link):
    def send(self, data: bytes, timeout_seconds: float) -> None:
        self.driver.device.settimeout(timeout_seconds)
        self.driver._raw(data)  # noqa: SLF001 - the driver's way to send bytes, made for its heirs

    def receive(self, timeout_seconds: float) -> bytes:
        self.driver.device.settimeout(timeout_seconds)
        try:
            data = bytes(self.driver.device.recv(64))
        except TimeoutError:
            return b""
        if not data:
            raise _gone(self.address, N_("it closed the connection"))
        return data

    def drain(self, timeout_seconds: float) -> None:
        ends = time.monotonic() + timeout_seconds
        while time.monotonic() < ends:
            waiting = fcntl.ioctl(self.driver.device, termios.TIOCOUTQ, bytes(4))
            if struct.unpack("i", waiting) == (0,):
                return
            time.sleep(0.02)
        raise _gone(self.address, N_("it takes no data"))


class _SerialLink(_Link):
    def send(self, data: bytes, timeout_seconds: float) -> None:
        import serial  # noqa: PLC0415 - only a till with such a printer loads it

        # Ten bits to a byte, and the line is as slow as it is.
        line_seconds = len(data) * 10 / self.address.baud
        self.driver.device.write_timeout = timeout_seconds + line_seconds
        try:
            self.driver._raw(data)  # noqa: SLF001 - the driver's way to send bytes, made for its heirs
        except serial.SerialTimeoutException as error:
            raise TimeoutError from error

    def receive(self, timeout_seconds: float) -> bytes:
        self.driver.device.timeout = timeout_seconds
        return bytes(self.driver.device.read(1))

    def drain(self, timeout_seconds: float) -> None:
        left = self.driver.device.out_waiting
        ends = time.monotonic() + timeout_seconds + left * 10 / self.address.baud
        while self.driver.device.out_waiting:
            if time.monotonic() > ends:
                raise _gone(self.address, N_("it takes no data"))
            time.sleep(0.02)

    def close(self) -> None:
        if self.driver.device.out_waiting:  # closing would wait for a line that stands still
            self.driver.device.reset_output_buffer()
        super().close()


class _UsbLink(_Link):
    def send(self, data: bytes, timeout_seconds: float) -> None:
        import usb.core  # noqa: PLC0415 - only a till with such a printer loads it

        try:
            for start in range(0, len(data), 4096):
                part = data[start : start + 4096]
                self.driver.device.write(self.driver.out_ep, part, int(timeout_seconds * 1000))
        except usb.core.USBTimeoutError as error:
            raise TimeoutError from error

    def receive(self, timeout_seconds: float) -> bytes:
        import usb.core  # noqa: PLC0415 - only a till with such a printer loads it

        milliseconds = max(1, int(timeout_seconds * 1000))
        try:
            return bytes(self.driver.device.read(self.driver.in_ep, 64, milliseconds))
        except usb.core.USBTimeoutError:
            return b""


class _FileLink(_Link):
    def __init__(self, address: PrinterAddress, driver: Any) -> None:
        super().__init__(address, driver, answers=False)

    def send(self, data: bytes, timeout_seconds: float) -> None:  # noqa: ARG002 - a file takes its time
        self.driver._raw(data)  # noqa: SLF001 - the driver's way to send bytes, made for its heirs
