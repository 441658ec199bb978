"""The firmware of an NXP PN532 on its high-speed UART, over a pseudo-terminal.

nfcpy's pn532 driver and libnfc's pn532_uart cannot tell it from the chip. Numbers in parentheses are
sections of the PN532 user manual, UM0701-02. The radio knows type A at 106 kbit/s; nothing else is
ever found.

`HostFrames` takes bytes apart, `Chip` answers commands, `PN532` joins them on a pseudo-terminal.
"""

from __future__ import annotations

import os
import select
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from threading import Thread
from types import TracebackType
from typing import Self

from dobmi.firmware_sim.contactless import ContactlessCard, Field, FieldLost, ats_of
from dobmi.firmware_sim.iso14443_4 import AnswerToSelect, CardMute, Pcd, Picc, ProtocolBroken

ACK = bytes.fromhex("00 00 FF 00 FF 00")
NACK = bytes.fromhex("00 00 FF FF 00 00")
SYNTAX_ERROR = bytes.fromhex("00 00 FF 01 FF 7F 81 00")
"""The application level error frame (6.2.1.5): command unknown or its parameters are not allowed."""

FIRMWARE_VERSION = bytes.fromhex("32 01 06 07")
"""PN532, firmware 1.6, ISO/IEC 14443 type A and B and ISO 18092 (7.2.2)."""

DATA_SIZE = 262
"""Most data bytes of InDataExchange and InCommunicateThru, either way (7.3.8)."""

_START = b"\x00\xff"
_WAKE_UP_BYTES = 5
"""Bytes that the sleeping chip loses while it wakes up; drivers send 10 to 16 before a frame."""


class HostEvent(Enum):
    ACK = auto()
    NACK = auto()


_SHORT_FRAMES = {b"\x00\xff": HostEvent.ACK, b"\xff\x00": HostEvent.NACK}
_EXTENDED = b"\xff\xff"


class HostFrames:
    """Takes the host's bytes apart into commands, ACK and NACK (6.2.1).

    What is no frame is skipped byte by byte, as is a frame with a wrong checksum: the host misses the
    ACK and sends it again.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._skipped = 0
        self.asleep = True

    def feed(self, data: bytes) -> list[bytes | HostEvent]:
        """Commands are given as TFI and what follows it, without the checksums."""
        self._bytes += data
        found: list[bytes | HostEvent] = []
        while (step := self._step()) is not None:
            used, event = step
            self._bytes = self._bytes[used:]
            if event is None:
                self._skipped += used
            else:
                self._skipped = 0
                found.append(event)
        return found

    def _step(self) -> tuple[int, bytes | HostEvent | None] | None:
        """Bytes used up and what they were (None: nothing); None while more bytes are needed."""
        start = self._bytes.find(_START)
        if start:  # no start code yet, or bytes before it; a last 00 may begin one
            begun = start < 0 and self._bytes.endswith(_START[:1])
            useless = start if start > 0 else len(self._bytes) - begun
            return (useless, None) if useless else None
        if self.asleep and self._skipped < _WAKE_UP_BYTES:
            return 2, None
        code = self._bytes[2:4]
        if len(code) < 2:
            return None
        if code in _SHORT_FRAMES:
            return 4, _SHORT_FRAMES[code]
        return self._information(extended=code == _EXTENDED)

    def _information(self, *, extended: bool) -> tuple[int, bytes | None] | None:
        """A normal (LEN LCS) or an extended (FF FF LENM LENL LCS) frame, as `_step` gives it."""
        length_at, begin = (4, 7) if extended else (2, 4)
        head = self._bytes[length_at:begin]
        if len(head) < begin - length_at:
            return None
        size = int.from_bytes(head[:-1], "big")
        if sum(head) & 0xFF or not size:
            return 2, None
        end = begin + size + 1
        if len(self._bytes) < end:
            return None
        if sum(self._bytes[begin:end]) & 0xFF:
            return end, None
        self.asleep = False
        return end, self._bytes[begin : end - 1]


def frame(data: bytes) -> bytes:
    """An information frame around TFI and data; an extended one where these exceed 255 bytes."""
    if len(data) <= 0xFF:
        head = bytes([len(data), -len(data) & 0xFF])
    else:
        size = len(data).to_bytes(2, "big")
        head = b"\xff\xff" + size + bytes([-sum(size) & 0xFF])
    return b"\x00\x00\xff" + head + data + bytes([-sum(data) & 0xFF, 0x00])


class BadSyntax(Exception):
    """The command or its parameters are not allowed: the chip sends the syntax error frame."""


OK = 0x00
TIMEOUT = 0x01
RF_PROTOCOL_ERROR = 0x0B
BUFFER_TOO_SMALL = 0x07
WRONG_CONTEXT = 0x27

_MORE_INFORMATION = 0x40
_AUTO_RATS = 0x10

CIU_TX_MODE, CIU_RX_MODE, CIU_TX_AUTO = 0x6302, 0x6303, 0x6305
CIU_MANUAL_RCV, CIU_FIFO_DATA, CIU_BIT_FRAMING = 0x630D, 0x6339, 0x633D

_TYPE_A_REGISTERS = {
    CIU_TX_MODE: 0x80,
    CIU_RX_MODE: 0x80,
    CIU_TX_AUTO: 0x40,
    CIU_MANUAL_RCV: 0x00,
    CIU_BIT_FRAMING: 0x00,
}
"""106 kbit/s with CRC and parity by the chip: what the firmware sets before it polls for type A."""


@dataclass
class Target:
    """A card that InListPassiveTarget has numbered; the chip knows one at a time."""

    picc: Picc
    generation: int
    uid: bytes
    parameters: AnswerToSelect | None = None
    pcd: Pcd | None = None
    chained: bytes = b""
    unread: bytes = b""


class Chip:
    """The commands of the PN532, apart from how their bytes travel.

    `execute` takes a command code with its parameters and gives the response data after the response
    code, or None while the command goes on (a search without end): then `resume` is called until it
    gives data, or `abort`. Raises BadSyntax. With `waits` off the chip does not spend the time that a
    card has for its answer when no card answers.
    """

    def __init__(self, field: Field, *, waits: bool = True) -> None:
        self.field = field
        self.baud_rate_code = 4
        self.asleep = False
        self._waits = waits
        self._picc: Picc | None = None
        self._picc_generation = -1
        self._target: Target | None = None
        self._field_on = False
        self._pending: Callable[[], bytes | None] | None = None
        self._auto_rats = True
        self._passive_retries = 0xFF
        self._exchange_retries = 0
        self._timeout_code = 0x0A
        self._last_error = OK
        self._sam_mode = 1
        self._registers = dict(_TYPE_A_REGISTERS)
        self._gpio = [0x3F, 0x06]
        self._commands: dict[int, Callable[[bytes], bytes | None]] = {
            0x00: self._diagnose,
            0x02: self._get_firmware_version,
            0x04: self._get_general_status,
            0x06: self._read_register,
            0x08: self._write_register,
            0x0C: self._read_gpio,
            0x0E: self._write_gpio,
            0x10: self._set_serial_baud_rate,
            0x12: self._set_parameters,
            0x14: self._sam_configuration,
            0x16: self._power_down,
            0x32: self._rf_configuration,
            0x40: self._in_data_exchange,
            0x42: self._in_communicate_thru,
            0x44: self._in_deselect,
            0x46: self._no_dep_target,
            0x4A: self._in_list_passive_target,
            0x4E: self._in_psl,
            0x50: self._in_atr,
            0x52: self._in_release,
            0x54: self._in_select,
            0x56: self._no_dep_target,
            0x60: self._in_auto_poll,
            0x86: self._no_initiator,
            0x88: self._no_initiator,
            0x8A: self._get_target_status,
            0x8C: self._init_as_target,
            0x8E: self._no_initiator,
            0x90: self._no_initiator,
            0x92: self._no_initiator,
            0x94: self._no_initiator,
        }

    def execute(self, command: int, data: bytes) -> bytes | None:
        self._pending = None
        handler = self._commands.get(command)
        if handler is None:
            raise BadSyntax
        return handler(data)

    def resume(self) -> bytes | None:
        return self._pending() if self._pending else None

    def abort(self) -> None:
        self._pending = None

    # The radio

    def _card(self) -> Picc | None:
        """The ISO 14443 end of the card in the field; a card just laid there starts anew."""
        card, generation = self.field.card, self.field.generation
        if card is None or not self._field_on:
            return None
        if self._picc is None or self._picc_generation != generation:
            self._picc = Picc(self.field.exchange, ats_of(card), on_deselect=self.field.power_cycle)
            self._picc_generation = generation
        return self._picc

    def _switch_field(self, on: bool) -> None:
        if self._field_on and not on:
            self.field.power_cycle()
            self._picc = None
            self._target = None
        self._field_on = on

    def _radio(self, data: bytes) -> bytes | None:
        """One frame on air; None when nobody answers."""
        picc = self._card()
        if picc is None:
            return None
        try:
            return picc.receive(data)
        except FieldLost:
            return None

    def _wait(self, seconds: float) -> None:
        if self._waits:
            time.sleep(seconds)

    def _radio_until_answered(self, data: bytes) -> bytes | None:
        """One frame of a card that the chip has activated; None after its frame waiting time."""
        answer = self._radio(data)
        target = self._target
        if answer is None and target is not None and target.parameters is not None:
            self._wait(target.parameters.frame_waiting_seconds)
        return answer

    def _activate(self, target: Target) -> bytes | None:
        """RATS with FSD 64, which is what the chip's firmware asks for; the ATS."""
        ats = self._radio(b"\xe0\x50")
        if ats is None:
            return None
        target.parameters = AnswerToSelect.parse(ats)
        target.pcd = Pcd(
            self._radio_until_answered,
            target.parameters.frame_size_card,
            retries=self._exchange_retries,
        )
        target.chained = target.unread = b""
        return ats

    def _find(self, uid: bytes) -> tuple[Target, bytes] | None:
        """Select the card in the field; with it, SENS_RES SEL_RES length NFCID1 [ATS] (7.3.5)."""
        self._field_on = True
        held = self._target
        if held is not None:
            if held.pcd is not None:
                held.pcd.deselect()
            self._target = None
        self._registers |= _TYPE_A_REGISTERS
        # The last byte sent stays in the FIFO when nobody answers: REQA.
        self._registers[CIU_FIFO_DATA] = 0x26
        picc, card = self._card(), self.field.card
        if picc is None or card is None:
            return None
        if uid and uid != card.uid:
            return None
        if not picc.request(wake_up=bool(uid) or held is not None):
            return None
        self._registers[CIU_FIFO_DATA] = 0x00
        target = Target(picc, self.field.generation, card.uid)
        # DESFire: SENS_RES 0344 (7 byte UID, as the chip gives it), SEL_RES 20 (ISO 14443-4).
        sizes = {4: 0x03_04, 7: 0x03_44, 10: 0x03_84}
        found = sizes[len(card.uid)].to_bytes(2, "big") + b"\x20"
        found += bytes([len(card.uid)]) + card.uid
        if self._auto_rats:
            ats = self._activate(target)
            if ats is None:
                return None
            found += ats
        self._target = target
        return target, found

    def _selected(self, number: int) -> Target | None:
        return self._target if number == 1 else None

    # Miscellaneous commands (7.2)

    def _diagnose(self, data: bytes) -> bytes:
        if not data:
            raise BadSyntax
        test = data[0]
        if test == 0x00:  # communication line: echo
            return data
        if test in (0x01, 0x02, 0x07):  # ROM, RAM, antenna
            return bytes([OK])
        if test == 0x04:  # polling for FeliCa: 128 polls failed
            return b"\x80"
        if test == 0x06:  # card presence
            target = self._target
            there = target is not None and target.pcd is not None and target.pcd.is_present()
            return bytes([OK if there else TIMEOUT])
        raise BadSyntax

    def _get_firmware_version(self, data: bytes) -> bytes:
        _only(data, 0)
        return FIRMWARE_VERSION

    def _get_general_status(self, data: bytes) -> bytes:
        _only(data, 0)
        targets = b"\x01\x01\x00\x00\x00" if self._target else b"\x00"
        # No external field; SAM: not connected.
        return bytes([self._last_error, 0]) + targets + b"\x00"

    def _read_register(self, data: bytes) -> bytes:
        if not data or len(data) % 2:
            raise BadSyntax
        addresses = (int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
        return bytes(self._registers.get(address, 0) for address in addresses)

    def _write_register(self, data: bytes) -> bytes:
        if not data or len(data) % 3:
            raise BadSyntax
        for i in range(0, len(data), 3):
            self._registers[int.from_bytes(data[i : i + 2], "big")] = data[i + 2]
        return b""

    def _read_gpio(self, data: bytes) -> bytes:
        _only(data, 0)
        return bytes([*self._gpio, 0x00])

    def _write_gpio(self, data: bytes) -> bytes:
        _only(data, 2)
        for port, value in enumerate(data):
            if value & 0x80:
                self._gpio[port] = value & 0x7F
        return b""

    def _set_serial_baud_rate(self, data: bytes) -> bytes:
        _only(data, 1)
        if data[0] > 8:
            raise BadSyntax
        self.baud_rate_code = data[0]  # a pseudo-terminal has no speed to change
        return b""

    def _set_parameters(self, data: bytes) -> bytes:
        _only(data, 1)
        self._auto_rats = bool(data[0] & _AUTO_RATS)
        return b""

    def _sam_configuration(self, data: bytes) -> bytes:
        if not 1 <= len(data) <= 3 or not 1 <= data[0] <= 4:
            raise BadSyntax
        self._sam_mode = data[0]
        return b""

    def _power_down(self, data: bytes) -> bytes:
        if not 1 <= len(data) <= 2:
            raise BadSyntax
        self._switch_field(on=False)
        self.asleep = True
        return bytes([OK])

    # RF commands (7.3)

    def _rf_configuration(self, data: bytes) -> bytes:
        sizes = {0x01: 1, 0x02: 3, 0x04: 1, 0x05: 3, 0x0A: 11, 0x0B: 8, 0x0C: 3, 0x0D: 9}
        if not data or sizes.get(data[0]) != len(data) - 1:
            raise BadSyntax
        item, values = data[0], data[1:]
        if item == 0x01:
            self._switch_field(on=bool(values[0] & 0x01))
        elif item == 0x02:
            self._timeout_code = values[2]
        elif item == 0x04:
            self._exchange_retries = values[0]
        elif item == 0x05:
            self._passive_retries = values[2]
        return b""

    def _in_list_passive_target(self, data: bytes) -> bytes | None:
        if len(data) < 2 or not 1 <= data[0] <= 2 or data[1] > 4:
            raise BadSyntax
        is_type_a = data[1] == 0x00
        uid = _without_cascade_tags(data[2:]) if is_type_a else b""

        def search() -> bytes | None:
            found = self._find(uid) if is_type_a else None
            if found is None:
                return None
            return b"\x01\x01" + found[1]

        return self._search(search, b"\x00", for_ever=self._passive_retries == 0xFF)

    def _search(
        self, search: Callable[[], bytes | None], nothing: bytes, *, for_ever: bool
    ) -> bytes | None:
        self._field_on = True
        found = search()
        if found is None and for_ever:
            self._pending = search
            return None
        if found is None:
            self._wait(0.005 * (1 + self._passive_retries))
            return nothing
        return found

    def _in_auto_poll(self, data: bytes) -> bytes | None:
        """7.3.13; types 00, 10 and 20 are type A: generic, MIFARE, ISO 14443-4."""
        if len(data) < 3 or not data[0] or not 1 <= data[1] <= 0x0F:
            raise BadSyntax
        wants_type_a = any(kind in (0x00, 0x10, 0x20) for kind in data[2:])
        ends = None if data[0] == 0xFF else time.monotonic() + 0.15 * data[0] * data[1]

        def search() -> bytes | None:
            found = self._find(b"") if wants_type_a else None
            if found is not None:
                target = b"\x01" + found[1]
                return b"\x01\x20" + bytes([len(target)]) + target
            over = ends is not None and (not self._waits or time.monotonic() >= ends)
            return b"\x00" if over else None

        return self._search(search, b"\x00", for_ever=True)

    def _in_data_exchange(self, data: bytes) -> bytes:
        """7.3.8: Tg with MI, data; the chip does chaining and waiting by itself."""
        if not data or len(data) - 1 > DATA_SIZE:
            raise BadSyntax
        target = self._selected(data[0] & 0x3F)
        if target is None or target.pcd is None:
            return self._status(WRONG_CONTEXT)
        if target.unread and len(data) == 1:
            return self._deliver(target)
        target.unread = b""
        target.chained += data[1:]
        if data[0] & _MORE_INFORMATION:
            return self._status(OK)
        command, target.chained = target.chained, b""
        try:
            target.unread = target.pcd.exchange(command)
        except CardMute:
            return self._status(TIMEOUT)
        except ProtocolBroken:
            return self._status(RF_PROTOCOL_ERROR)
        return self._deliver(target)

    def _deliver(self, target: Target) -> bytes:
        part, target.unread = target.unread[:DATA_SIZE], target.unread[DATA_SIZE:]
        return self._status(_MORE_INFORMATION if target.unread else OK) + part

    def _in_communicate_thru(self, data: bytes) -> bytes:
        """7.3.9: one raw frame; the chip adds and checks the CRC, nothing more."""
        if len(data) > DATA_SIZE:
            raise BadSyntax
        is_type_a = self._registers[CIU_TX_MODE] & 0x83 == 0x80
        is_whole = not self._registers.get(CIU_BIT_FRAMING, 0) & 0x07
        has_parity = not self._registers.get(CIU_MANUAL_RCV, 0) & 0x10
        answer = self._radio(data) if is_type_a and is_whole and has_parity else None
        if answer is None:
            # Time-out: 100 us times two to the power of the code less one; 0 is none at all.
            self._wait(100e-6 * 2 ** (self._timeout_code - 1) if self._timeout_code else 0)
            return self._status(TIMEOUT)
        if len(answer) > DATA_SIZE:
            return self._status(BUFFER_TOO_SMALL)
        return self._status(OK) + answer

    def _in_deselect(self, data: bytes) -> bytes:
        return self._leave(data, forget=False)

    def _in_release(self, data: bytes) -> bytes:
        return self._leave(data, forget=True)

    def _leave(self, data: bytes, *, forget: bool) -> bytes:
        _only(data, 1)
        number = data[0]
        if number > 1 or (number == 1 and self._target is None):
            return self._status(WRONG_CONTEXT)
        if self._target is not None:
            if self._target.pcd is not None:
                self._target.pcd.deselect()
            self._target.pcd = None
            if forget:
                self._target = None
        return self._status(OK)

    def _in_select(self, data: bytes) -> bytes:
        _only(data, 1)
        target = self._selected(data[0])
        if target is None:
            return self._status(WRONG_CONTEXT)
        if target.pcd is not None:
            return self._status(OK)
        picc = self._card()
        same = picc is not None and self.field.generation == target.generation
        if not same or picc is None or not picc.request(wake_up=True):
            return self._status(TIMEOUT)
        return self._status(OK if self._activate(target) else TIMEOUT)

    def _in_psl(self, data: bytes) -> bytes:
        """7.3.7: PPS with the rates 0 to 2 (106 to 424 kbit/s) to and from the card."""
        _only(data, 3)
        if data[1] > 2 or data[2] > 2:
            raise BadSyntax
        target = self._selected(data[0])
        if target is None or target.pcd is None:
            return self._status(WRONG_CONTEXT)
        answer = self._radio(bytes([0xD0, 0x11, data[2] << 2 | data[1]]))
        return self._status(TIMEOUT if answer is None else OK)

    def _in_atr(self, data: bytes) -> bytes:
        if len(data) < 2:
            raise BadSyntax
        return self._status(TIMEOUT if self._selected(data[0]) else WRONG_CONTEXT)

    def _no_dep_target(self, data: bytes) -> bytes:
        """InJumpForDEP and InJumpForPSL: no peer is ever there."""
        if len(data) < 3:
            raise BadSyntax
        self._field_on = True
        return self._status(TIMEOUT)

    # Target commands (7.3.14 and after): no other reader is ever near

    def _init_as_target(self, data: bytes) -> None:
        if len(data) < 37:
            raise BadSyntax
        self._switch_field(on=False)
        self._pending = lambda: None

    def _get_target_status(self, data: bytes) -> bytes:
        _only(data, 0)
        return b"\x00\x00"

    def _no_initiator(self, _data: bytes) -> bytes:
        return self._status(WRONG_CONTEXT)

    def _status(self, status: int) -> bytes:
        self._last_error = status & 0x3F
        return bytes([status])


def _only(data: bytes, size: int) -> None:
    if len(data) != size:
        raise BadSyntax


def _without_cascade_tags(uid: bytes) -> bytes:
    """InListPassiveTarget takes UIDs of 7 and 10 bytes with 88 before each level but the last."""
    if len(uid) == 8 and uid[0] == 0x88:
        return uid[1:]
    if len(uid) == 12 and uid[0] == uid[4] == 0x88:
        return uid[1:4] + uid[5:]
    return uid


class PN532:
    """A PN532 on a pseudo-terminal, from `start` to `close`; also a context manager.

    `path` is what a driver opens: nfcpy as `dobmi` names it, `nfc:pn532:<path>`; libnfc with
    LIBNFC_DEVICE=pn532_uart:<path>. Cards come and go by `insert` and `remove`, from any thread.
    """

    def __init__(self, card: ContactlessCard | None = None, *, waits: bool = True) -> None:
        self.field = Field(card)
        self.chip = Chip(self.field, waits=waits)
        self._frames = HostFrames()
        self._last_response = b""
        self._running: int | None = None
        self._chip_end, self._host_end = os.openpty()
        # The host's end is held open too, or the chip's end fails whenever no driver is there.
        tty.setraw(self._host_end)
        self.path = os.ttyname(self._host_end)
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._closing = self._closed = False
        self._thread = Thread(target=self._run, name=f"pn532 {self.path}", daemon=True)
        self.field.watch(self._nudge)

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        """Unplug the reader: its pseudo-terminal goes away. The card, if any, loses power."""
        if self._closing:
            return
        self._closing = True
        self._nudge()
        if self._thread.ident is not None:
            self._thread.join()
        self._closed = True
        self.field.power_cycle()
        for descriptor in (self._chip_end, self._host_end, self._woken, self._wake):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def insert(self, card: ContactlessCard) -> None:
        """Lay a card on the reader. Raises ValueError when one lies there."""
        self.field.insert(card)

    def remove(self) -> ContactlessCard | None:
        """Take the card away, also in the middle of an exchange."""
        return self.field.remove()

    def _nudge(self) -> None:
        if self._closed:
            return
        try:
            os.write(self._wake, b"\0")
        except BlockingIOError:
            return  # it has been woken already

    def _run(self) -> None:
        while not self._closing:
            # A search that goes on is repeated when a card moves; a timed one also has an end.
            seconds = 0.05 if self._running is not None else None
            ready, _, _ = select.select([self._chip_end, self._woken], [], [], seconds)
            if self._woken in ready:
                os.read(self._woken, 4096)
            if self._running is not None and not self._closing:
                self._respond(self._running, self.chip.resume())
            if self._chip_end in ready:
                for event in self._frames.feed(os.read(self._chip_end, 4096)):
                    self._handle(event)

    def _handle(self, event: bytes | HostEvent) -> None:
        if event is HostEvent.ACK:
            self.chip.abort()
            self._running = None
        elif event is HostEvent.NACK:
            self._write(self._last_response)
        elif isinstance(event, bytes):
            self._write(ACK)
            if len(event) < 2 or event[0] != 0xD4:
                self._write(SYNTAX_ERROR)
                return
            self._running = event[1]
            try:
                self._respond(event[1], self.chip.execute(event[1], event[2:]))
            except BadSyntax:
                self._running = None
                self._last_response = SYNTAX_ERROR
                self._write(SYNTAX_ERROR)

    def _respond(self, command: int, data: bytes | None) -> None:
        if data is None:
            return
        self._running = None
        self._last_response = frame(bytes([0xD5, command + 1]) + data)
        self._write(self._last_response)
        if self.chip.asleep:
            self.chip.asleep = False
            self._frames.asleep = True

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._chip_end, data) :]
