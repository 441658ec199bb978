"""Readers that nfcpy drives without PC/SC.

`nfc:usb`, `nfc:usb:072f:2200`, `nfc:tty:USB0:pn532`: as nfcpy writes them. `nfc:tty:/dev/NAME:DRIVER`
and `nfc:DRIVER:/dev/NAME` also name devices that nfcpy's own paths cannot, such as a pseudo-terminal.

nfcpy finds the card, and its ISO-DEP carries our APDUs unchanged.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dobmi.cardlib.errors import (
    CardRemoved,
    GarbledResponse,
    NoCard,
    NotOurCard,
    ReaderUnavailable,
)
from dobmi.cardlib.readers.base import Signal
from dobmi.i18n import N_

POLL_SECONDS = 0.05
PRESENCE_SECONDS = 0.01
"""How long a card has for its answer to R(NAK), which it gives without any work."""

BLOCK_RETRIES = 2
"""Times that a block without answer is asked for again before the card counts as gone."""

RATS_SECONDS = 0.03
FRAME_SIZES = (16, 24, 32, 40, 48, 64, 96, 128, 256)
"""By FSCI (ISO/IEC 14443-4, 5.2.3), with PCB and CRC."""

CARRIER_HZ = 13.56e6
ISO_14443_4 = 0x20
"""The bit of SEL_RES that promises ISO-DEP."""

_TIMEOUT_ERROR = 0
_RECEIVE_ERROR = -1
"""TagCommandError.errno as nfcpy numbers them."""

_R_NAK = 0xB2

T = TypeVar("T")


@dataclass(frozen=True)
class Library:
    """What we take from nfcpy, untyped."""

    frontend: Any
    serial_port: Any
    remote_target: Any
    iso_dep: Any
    communication_error: type[Exception]
    tag_command_error: type[Exception]


def _import_nfcpy() -> Library:
    """Raises ReaderUnavailable when nfcpy is missing."""
    try:
        clf, transport, tag, tt4 = (
            importlib.import_module(name)
            for name in ("nfc.clf", "nfc.clf.transport", "nfc.tag", "nfc.tag.tt4")
        )
    except ImportError as error:
        raise ReaderUnavailable(
            detail=N_("nfcpy is not installed; install the extra: pip install dobmi[nfc]")
        ) from error
    # It logs every pulled card as an error, which would else reach the cashier's screen.
    logging.getLogger("nfc").addHandler(logging.NullHandler())
    return Library(
        frontend=clf.ContactlessFrontend,
        serial_port=transport.TTY,
        remote_target=clf.RemoteTarget,
        iso_dep=tt4.IsoDepInitiator,
        communication_error=clf.CommunicationError,
        tag_command_error=tag.TagCommandError,
    )


def _of_driver(call: Callable[[], T], *passed_on: type[Exception]) -> T:
    """Call into nfcpy; what it raises other than `passed_on` means that the reader is gone.

    Its drivers raise OSError, termios.error, USB errors, IndexError on a cut frame, and a class of
    their own each.
    """
    try:
        return call()
    except passed_on:
        raise
    except Exception as error:
        detail = str(error) or type(error).__name__
        raise ReaderUnavailable(detail=detail) from error


class Air:
    """What nfcpy's ISO-DEP sends its blocks by.

    A command has the whole frame waiting time. When no answer came by then the card is asked with
    R(NAK), and only its short answer is awaited: a card that left is known after little more than one
    waiting time, and one that works long is not taken for gone.
    """

    def __init__(self, library: Library, frontend: Any) -> None:
        self._library = library
        self._frontend = frontend

    def exchange(self, block: bytearray, timeout_seconds: float) -> bytearray:
        if block[0] & 0xFE == _R_NAK:
            timeout_seconds = PRESENCE_SECONDS
        answer: bytearray = _of_driver(
            lambda: self._frontend.exchange(bytearray(block), timeout_seconds),
            self._library.communication_error,
        )
        return answer


class NfcConnection:
    """An activated card. After CardRemoved it only says so again."""

    def __init__(self, library: Library, air: Air, iso_dep: Any, uid: bytes) -> None:
        self._library = library
        self._air = air
        self._iso_dep = iso_dep
        self._uid = uid
        self._open = True
        self._lost = False

    @property
    def uid(self) -> bytes:
        return self._uid

    def transmit(self, command: bytes) -> bytes:
        """See CardConnection."""
        if not self._open:
            raise CardRemoved
        try:
            response = bytes(self._iso_dep.exchange(bytearray(command)))
        except self._library.communication_error:
            raise self._gone() from None
        except self._library.tag_command_error as error:
            if getattr(error, "errno", None) in {_TIMEOUT_ERROR, _RECEIVE_ERROR}:
                raise self._gone() from None
            raise self._after_nonsense() from None
        except IndexError:  # nfcpy reads the second byte of a block that has one
            raise self._after_nonsense() from None
        except ReaderUnavailable:
            self._open = False
            self._lost = True
            raise
        if len(response) < 2:
            raise GarbledResponse(length=len(response))
        return response

    def _gone(self) -> CardRemoved:
        self._open = False
        self._lost = True
        return CardRemoved()

    def _after_nonsense(self) -> CardRemoved | GarbledResponse:
        """Blocks out of step: whoever answers so is a card still, and must be activated anew."""
        if not self.is_present():
            return self._gone()
        self._open = False
        return GarbledResponse(length=0)

    def is_present(self) -> bool:
        """Whether the activated card is in the field still; also asked after `disconnect`."""
        if self._lost:
            return False
        try:
            self._air.exchange(bytearray([_R_NAK | self._iso_dep.pni]), PRESENCE_SECONDS)
        except self._library.communication_error:
            self._open = False
            self._lost = True
        return not self._lost

    def disconnect(self) -> None:
        self._open = False


class NfcReader:
    """A reader behind one of nfcpy's drivers. One that was unplugged is opened again when it is next
    needed.
    """

    def __init__(self, library: Library, open_frontend: Callable[[], Any]) -> None:
        self._library = library
        self._open_frontend = open_frontend
        self._frontend: Any = open_frontend()
        self._name = str(self._frontend.device)
        self._connection: NfcConnection | None = None
        self._found: Any = None

    @property
    def name(self) -> str:
        return self._name

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        return _poll(self._sees_card, timeout_seconds)

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        return _poll(lambda: not self._sees_card(), timeout_seconds)

    def _sees_card(self) -> bool:
        """Ask the activated card, so as not to reset it; search when there is none."""
        if self._connection is not None and self._connection.is_present():
            return True
        self._connection = None
        self._found = self._search()
        return self._found is not None

    def _search(self) -> Any:
        """Switches the field off and on; nfcpy's target, or None."""
        if self._frontend is None:
            self._frontend = self._open_frontend()
        target = self._library.remote_target("106A")
        try:
            return _of_driver(lambda: self._frontend.sense(target, iterations=1))
        except ReaderUnavailable:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Close what no longer answers, which may fail as well."""
        frontend, self._frontend = self._frontend, None
        if frontend is not None:
            _quietly(frontend.close)

    def connect(self) -> NfcConnection:
        """See Reader. Raises NotOurCard for a card without ISO-DEP, such as a MIFARE Classic."""
        self._release_card()
        found, self._found = self._found, None
        connection = self._activate(found) if found is not None else None
        if connection is None:
            found = self._search()
            if found is None:
                raise NoCard
            connection = self._activate(found)
        if connection is None:
            raise CardRemoved
        self._connection = connection
        return connection

    def _activate(self, target: Any) -> NfcConnection | None:
        """RATS (ISO/IEC 14443-4, 5.1) with the largest frames that the reader takes.

        None when the card does not answer: it has left, or another has taken its place.
        """
        if not target.sel_res or not target.sel_res[0] & ISO_14443_4:
            raise NotOurCard
        try:
            return self._activate_iso_dep(target)
        except self._library.communication_error:
            return None
        except ReaderUnavailable:
            self._give_up()
            raise

    def _activate_iso_dep(self, target: Any) -> NfcConnection:
        air = Air(self._library, self._frontend)
        size_max = _of_driver(lambda: self._frontend.max_recv_data_size)
        size_index = 8 if size_max >= FRAME_SIZES[8] else 7
        ats = bytes(air.exchange(bytearray([0xE0, size_index << 4]), RATS_SECONDS))
        frame_size, waiting_seconds = parse_ats(ats)
        frame_size = min(frame_size, _of_driver(lambda: self._frontend.max_send_data_size))
        iso_dep = self._library.iso_dep(air, frame_size, waiting_seconds)
        iso_dep.n_retry_nak = iso_dep.n_retry_ack = BLOCK_RETRIES
        return NfcConnection(self._library, air, iso_dep, bytes(target.sdd_res))

    def _release_card(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def signal(self, signal: Signal) -> None:
        """One light and tone, on the readers that nfcpy knows to have any (ACR122U)."""
        if self._frontend is None:
            return
        device = self._frontend.device
        if signal is Signal.READY:
            _quietly(device.turn_off_led_and_buzzer)
        elif signal is not Signal.BUSY:
            for _ in range(2 if signal is Signal.FAILURE else 1):
                _quietly(device.turn_on_led_and_buzzer)
                _quietly(device.turn_off_led_and_buzzer)

    def close(self) -> None:
        self._release_card()
        self._give_up()


def _quietly(call: Callable[[], object]) -> None:
    """Where nothing depends on whether the reader still hears."""
    try:
        _of_driver(call)
    except ReaderUnavailable:
        return


def _poll(seen: Callable[[], bool], timeout_seconds: float | None) -> bool:
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while not seen():
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def parse_ats(ats: bytes) -> tuple[int, float]:
    """FSC in bytes and the frame waiting time in seconds (ISO/IEC 14443-4, 5.2).

    Absent bytes mean FSCI 2 and FWI 4; FWI 15 is read as 4, FSCI above 8 as 8. Raises GarbledResponse.
    """
    if not ats or ats[0] != len(ats):
        raise GarbledResponse(length=len(ats))
    if len(ats) == 1:
        return FRAME_SIZES[2], 4096 / CARRIER_HZ * 2**4
    index = min(ats[1] & 0x0F, len(FRAME_SIZES) - 1)
    position = 3 if ats[1] & 0x10 else 2
    waiting = 4
    if ats[1] & 0x20:
        if len(ats) <= position:
            raise GarbledResponse(length=len(ats))
        waiting = ats[position] >> 4
    return FRAME_SIZES[index], 4096 / CARRIER_HZ * 2 ** (waiting if waiting < 15 else 4)


def _device_path(rest: str) -> tuple[str, str] | None:
    """(device file, driver) where `rest` names a file; None where it is a path of nfcpy's."""
    first, _, second = rest.partition(":")
    if second.startswith("/") and first != "tty":
        return second, first
    if first == "tty" and second.startswith("/"):
        device, _, driver = second.rpartition(":")
        return (device, driver) if device else (second, "pn532")
    return None


def open_reader(rest: str) -> NfcReader:
    """The reader `nfc:REST`. Raises ReaderUnavailable."""
    library = _import_nfcpy()
    return NfcReader(library, lambda: _open_frontend(library, rest))


def _open_frontend(library: Library, rest: str) -> Any:
    named = _device_path(rest)
    frontend = library.frontend()
    if named is not None:
        frontend.device = _open_device(library, *named)
    elif not _of_driver(lambda: frontend.open(rest or "usb")):
        raise ReaderUnavailable(detail=f"nfcpy finds no reader at {rest or 'usb'!r}")
    return frontend


def _open_device(library: Library, device: str, driver_name: str) -> Any:
    if driver_name not in {"pn532", "arygon"}:
        raise ReaderUnavailable(
            detail=f"no driver {driver_name!r} for a serial port; there are: arygon, pn532"
        )
    driver = importlib.import_module(f"nfc.clf.{driver_name}")
    port = _of_driver(lambda: library.serial_port(device))
    try:
        opened = _of_driver(lambda: driver.init(port))
    except ReaderUnavailable as error:
        port.close()
        raise ReaderUnavailable(detail=f"no {driver_name} answers at {device}") from error
    # The name of the device in nfcpy's own searches; its property has no setter.
    opened._path = device  # noqa: SLF001 - as nfcpy's own search does
    return opened


def list_readers() -> list[str]:
    """The USB readers that nfcpy has a driver for, as `usb:VVVV:PPPP`; none is opened.

    Raises ReaderUnavailable.
    """
    _import_nfcpy()
    try:
        known = importlib.import_module("nfc.clf.device").usb_device_map
        found = importlib.import_module("nfc.clf.transport").USB.find("usb")
    except Exception as error:  # libusb has errors of its own kinds, and loads when it is imported
        raise ReaderUnavailable(detail=str(error)) from error
    return [
        f"usb:{vendor:04x}:{product:04x}"
        for vendor, product, *_ in found
        if (vendor, product) in known
    ]
