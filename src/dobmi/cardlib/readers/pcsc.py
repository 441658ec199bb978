"""Readers of the system's PC/SC service, by pyscard: `pcsc:` and `pcsc:PART OF A NAME`.

Uses the functions of PC/SC themselves rather than pyscard's connection objects, which reset the next
card when they are collected and hide which error the service gave.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NoReturn

from dobmi.cardlib.errors import CardRemoved, GarbledResponse, NoCard, ReaderUnavailable
from dobmi.cardlib.readers.base import Signal
from dobmi.i18n import N_

GET_UID = bytes.fromhex("FF CA 00 00 00")
"""PC/SC part 3, 3.2.2.1.3: answered by the reader, not by the card."""

SCOPE_USER = 0
SHARE_EXCLUSIVE = 1
SHARE_DIRECT = 3
PROTOCOL_T0_OR_T1 = 3
LEAVE_CARD = 0
STATE_UNAWARE = 0x0000
STATE_CHANGED = 0x0002
STATE_UNKNOWN = 0x0004
STATE_UNAVAILABLE = 0x0008
STATE_PRESENT = 0x0020
STATE_MUTE = 0x0200

SUCCESS = 0
INVALID_HANDLE = 0x80100003
UNKNOWN_READER = 0x80100009
TIMEOUT = 0x8010000A
SHARING_VIOLATION = 0x8010000B
NO_SMARTCARD = 0x8010000C
PROTO_MISMATCH = 0x8010000F
NOT_TRANSACTED = 0x80100016
NO_SERVICE = 0x8010001D
SERVICE_STOPPED = 0x8010001E
NO_READERS = 0x8010002E
UNRESPONSIVE_CARD = 0x80100066
UNPOWERED_CARD = 0x80100067
RESET_CARD = 0x80100068
REMOVED_CARD = 0x80100069

CARD_GONE = frozenset(
    {NO_SMARTCARD, NOT_TRANSACTED, UNRESPONSIVE_CARD, UNPOWERED_CARD, RESET_CARD, REMOVED_CARD}
)
"""A card that left shows as any of these, by how far pcscd had noticed it."""

SERVICE_GONE = frozenset({INVALID_HANDLE, NO_SERVICE, SERVICE_STOPPED})
"""A context that any of these was said of is of no use, also once a new pcscd runs."""

SLICE_SECONDS = 0.5
"""Waits are cut into slices of this length, so that an interrupt from the keyboard is heard."""

SETTLE_SECONDS = 1.0
"""pcscd looks at its readers every 0.4 s; until it has looked it takes a card that left for there."""

ESCAPE = 0x42000001
"""SCARD_CTL_CODE(1): a command for the reader itself, where its driver lets it pass."""


def _import_scard() -> Any:
    """The PC/SC functions of pyscard, untyped. Raises ReaderUnavailable when pyscard is missing."""
    try:
        from smartcard import scard  # noqa: PLC0415 - only who opens such a reader needs pyscard
    except ImportError as error:
        raise ReaderUnavailable(
            detail=N_("pyscard is not installed; install the extra: pip install dobmi[pcsc]")
        ) from error
    return scard


class Service:
    """The few PC/SC functions that a reader needs, with types, and its context.

    Each gives the service's return code, unsigned, first. A context of a pcscd that has gone is
    dropped, and the next call makes a new one.
    """

    def __init__(self, scard: Any) -> None:
        self._scard = scard
        self._context: int | None = None

    def _use_context(self) -> int:
        """Raises ReaderUnavailable when there is no service."""
        if self._context is None:
            code, context = self._scard.SCardEstablishContext(SCOPE_USER)
            if code != SUCCESS:
                raise ReaderUnavailable(detail=self.explain(code))
            self._context = int(context)
        return self._context

    def _seen(self, code: int) -> int:
        code &= 0xFFFFFFFF
        if code in SERVICE_GONE:
            self.release()
        return code

    def explain(self, code: int) -> str:
        return f"{self._scard.SCardGetErrorMessage(code)} (0x{code & 0xFFFFFFFF:08X})"

    def readers(self) -> tuple[int, list[str]]:
        code, names = self._scard.SCardListReaders(self._use_context(), [])
        return self._seen(code), [str(name) for name in names]

    def state(self, reader: str, known: int, timeout_seconds: float) -> tuple[int, int]:
        """The reader's state once it differs from `known`, or when the time is up."""
        code, states = self._scard.SCardGetStatusChange(
            self._use_context(), int(timeout_seconds * 1000), [(reader, known)]
        )
        return self._seen(code), int(states[0][1]) if states else known

    def connect(self, reader: str, share: int, protocols: int) -> tuple[int, int, int]:
        code, card, protocol = self._scard.SCardConnect(
            self._use_context(), reader, share, protocols
        )
        return self._seen(code), int(card), int(protocol)

    def transmit(self, card: int, protocol: int, command: bytes) -> tuple[int, bytes]:
        scard = self._scard
        header = scard.SCARD_PCI_T0 if protocol == scard.SCARD_PROTOCOL_T0 else scard.SCARD_PCI_T1
        code, response = scard.SCardTransmit(card, header, list(command))
        return self._seen(code), bytes(octet & 0xFF for octet in response)

    def control(self, card: int, command: bytes) -> int:
        return self._seen(self._scard.SCardControl(card, ESCAPE, list(command))[0])

    def disconnect(self, card: int) -> int:
        return self._seen(self._scard.SCardDisconnect(card, LEAVE_CARD))

    def release(self) -> None:
        if self._context is not None:
            context, self._context = self._context, None
            self._scard.SCardReleaseContext(context)


class PcscConnection:
    """A card that this program alone talks to, until `disconnect` or the first failure."""

    def __init__(self, service: Service, card: int, protocol: int) -> None:
        self._service = service
        self._card: int | None = card
        self._protocol = protocol
        self._uid = b""
        self.was_lost = False

    @property
    def uid(self) -> bytes:
        return self._uid

    @property
    def handle(self) -> int | None:
        """What PC/SC calls the connection; None once it has ended."""
        return self._card

    def read_uid(self) -> None:
        """Ask the reader whose card this is, as whatever may have changed since it was seen."""
        response = self._exchange(GET_UID)
        if response[-2:] != b"\x90\x00" or len(response) - 2 not in {4, 7, 10}:
            self.disconnect()
            raise ReaderUnavailable(
                detail=N_("it does not tell the card's UID: no contactless reader")
            )
        self._uid = response[:-2]

    def transmit(self, command: bytes) -> bytes:
        """See CardConnection. After CardRemoved this connection only says so again."""
        response = self._exchange(command)
        if len(response) < 2:
            # A card torn away within its answer may leave a byte of it. Ask whether it is there.
            if self._exchange(GET_UID)[:-2] != self._uid:
                self._lost()
            raise GarbledResponse(length=len(response))
        return response

    def _exchange(self, command: bytes) -> bytes:
        if self._card is None:
            raise CardRemoved
        code, response = self._service.transmit(self._card, self._protocol, command)
        if code == SUCCESS and response:
            return response
        if code == SUCCESS or code in CARD_GONE:
            self._lost()
        self.disconnect()
        raise ReaderUnavailable(detail=self._service.explain(code))

    def _lost(self) -> NoReturn:
        self.was_lost = True
        self.disconnect()
        raise CardRemoved

    def disconnect(self) -> None:
        if self._card is not None:
            card, self._card = self._card, None
            self._service.disconnect(card)


@dataclass(frozen=True)
class Feedback:
    """A command for LED and buzzer, and how it reaches the reader: as an APDU where `by_apdu`."""

    command: bytes
    by_apdu: bool


def feedback_of(reader: str, signal: Signal) -> tuple[Feedback, ...]:
    """What makes the reader of this name give the signal; nothing for one that is not known to.

    ACR122U API 2.04, 6.2: FF 00 40 P2 04 T1 T2 n B; P2 sets (low bits) and masks red and green, T in
    100 ms on and off, n blinks, B = 1 sounds the buzzer during T1. ACR1252U API 1.15, 5.8: E0 00 00
    29 01 LED (1 red, 2 green) and E0 00 00 28 01 T, T in 10 ms.
    """
    if "ACR122" in reader:
        red, green, both_masked = 0x01, 0x02, 0x0C
        lights, blink = {
            Signal.READY: (green, bytes([0, 0, 0, 0])),
            Signal.BUSY: (red | green, bytes([0, 0, 0, 0])),
            Signal.SUCCESS: (green, bytes([1, 0, 1, 1])),
            Signal.FAILURE: (red, bytes([2, 1, 3, 1])),
        }[signal]
        head = bytes([0xFF, 0x00, 0x40, lights | both_masked, 4])
        return (Feedback(head + blink, by_apdu=True),)
    if "ACR1252" in reader:
        lights, hundredths = {
            Signal.READY: (0x02, 0),
            Signal.BUSY: (0x03, 0),
            Signal.SUCCESS: (0x02, 10),
            Signal.FAILURE: (0x01, 60),
        }[signal]
        light = Feedback(bytes([0xE0, 0, 0, 0x29, 1, lights]), by_apdu=False)
        sound = Feedback(bytes([0xE0, 0, 0, 0x28, 1, hundredths]), by_apdu=False)
        return (light, sound) if hundredths else (light,)
    return ()


class PcscReader:
    """A reader of the PC/SC service. When pcscd is restarted the next call finds it again."""

    def __init__(self, service: Service, wanted: str) -> None:
        self._service = service
        self._wanted = wanted
        self._name = choose_reader(_list(service), wanted)
        self._connection: PcscConnection | None = None
        self._stay = 0

    @property
    def name(self) -> str:
        return self._name

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        if self._connection is not None and self._connection.was_lost:
            self._end_connection()
            self._let_settle(timeout_seconds)
        return self._wait(timeout_seconds, present=True)

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        return self._wait(timeout_seconds, present=False)

    def _wait(self, timeout_seconds: float | None, *, present: bool) -> bool:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        known, slice_seconds = STATE_UNAWARE, 0.0
        while True:
            state = self._state(known, slice_seconds)
            if bool(state & STATE_PRESENT and not state & STATE_MUTE) is present:
                return True
            known = state & ~STATE_CHANGED
            slice_seconds = SLICE_SECONDS
            if deadline is not None:
                slice_seconds = min(slice_seconds, deadline - time.monotonic())
                if slice_seconds <= 0:
                    return False

    def _let_settle(self, timeout_seconds: float | None) -> None:
        """After a loss, wait until pcscd has noticed it, or is sure that the card is there."""
        seconds = (
            SETTLE_SECONDS if timeout_seconds is None else min(SETTLE_SECONDS, timeout_seconds)
        )
        deadline = time.monotonic() + seconds
        state = self._state(STATE_UNAWARE, 0)
        while state & STATE_PRESENT and _stay_of(state) == self._stay:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            state = self._state(state & ~STATE_CHANGED, left)

    def _state(self, known: int, timeout_seconds: float) -> int:
        code, state = self._service.state(self._name, known, timeout_seconds)
        if code in SERVICE_GONE:
            self._find_again()
            code, state = self._service.state(self._name, STATE_UNAWARE, 0)
        if code == TIMEOUT:
            return state
        if code != SUCCESS:
            self._fail(code)
        if state & (STATE_UNKNOWN | STATE_UNAVAILABLE):
            raise ReaderUnavailable(detail=f"{self._name} is not connected any more")
        return state

    def connect(self) -> PcscConnection:
        """See Reader. A connection of this reader that is still open ends."""
        self._end_connection()
        self._stay = _stay_of(self._state(STATE_UNAWARE, 0))
        code, card, protocol = self._connect_exclusively()
        if code in SERVICE_GONE:
            self._find_again()
            code, card, protocol = self._connect_exclusively()
        if code in {NO_SMARTCARD, REMOVED_CARD}:
            raise NoCard
        if code in CARD_GONE or code == PROTO_MISMATCH:
            raise CardRemoved  # it left while pcscd powered it up
        if code != SUCCESS:
            self._fail(code)
        self._connection = PcscConnection(self._service, card, protocol)
        self._connection.read_uid()
        return self._connection

    def _connect_exclusively(self) -> tuple[int, int, int]:
        return self._service.connect(self._name, SHARE_EXCLUSIVE, PROTOCOL_T0_OR_T1)

    def signal(self, signal: Signal) -> None:
        for feedback in feedback_of(self._name, signal):
            self._give(feedback)

    def _give(self, feedback: Feedback) -> None:
        """What the reader or its driver refuses goes unheard: nothing depends on a signal."""
        try:
            held = self._connection.handle if self._connection else None
            if held is not None and feedback.by_apdu:
                self._service.transmit(held, PROTOCOL_T0_OR_T1, feedback.command)
            elif held is not None:
                self._service.control(held, feedback.command)
            else:
                code, handle, _ = self._service.connect(self._name, SHARE_DIRECT, 0)
                if code == SUCCESS:
                    self._service.control(handle, feedback.command)
                    self._service.disconnect(handle)
        except ReaderUnavailable:
            return

    def close(self) -> None:
        self._end_connection()
        self._service.release()

    def _end_connection(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _find_again(self) -> None:
        """After a restart of pcscd: its readers may be numbered anew."""
        self._name = choose_reader(_list(self._service), self._wanted)

    def _fail(self, code: int) -> NoReturn:
        if code == SHARING_VIOLATION:
            raise ReaderUnavailable(detail=N_("another program is using the card"))
        raise ReaderUnavailable(detail=f"{self._name}: {self._service.explain(code)}")


def _stay_of(state: int) -> int:
    """The number of insertions and removals so far, which pcscd keeps in the upper half."""
    return state >> 16


def _list(service: Service) -> list[str]:
    code, names = service.readers()
    if code in SERVICE_GONE:
        code, names = service.readers()
    if code not in {SUCCESS, NO_READERS}:
        raise ReaderUnavailable(detail=service.explain(code))
    return names


def choose_reader(names: list[str], wanted: str) -> str:
    """The first reader whose name contains `wanted`, in any case of letters.

    With nothing wanted, the first that a card can be laid on: slots for security modules (SAM) are
    passed over. Raises ReaderUnavailable, naming the readers there are.
    """
    if not names:
        raise ReaderUnavailable(detail=N_("no reader is connected"))
    if wanted:
        fitting = [name for name in names if wanted.casefold() in name.casefold()]
    else:
        fitting = [name for name in names if "SAM" not in name] or names
    if not fitting:
        raise ReaderUnavailable(
            detail=f"no reader's name contains {wanted!r}; there are: {', '.join(names)}"
        )
    return fitting[0]


def open_reader(rest: str) -> PcscReader:
    """The reader `pcsc:REST`. Raises ReaderUnavailable."""
    return PcscReader(Service(_import_scard()), rest)


def list_readers() -> list[str]:
    """The names of the readers that the service has now. Raises ReaderUnavailable."""
    service = Service(_import_scard())
    try:
        return _list(service)
    finally:
        service.release()
