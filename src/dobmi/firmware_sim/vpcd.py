"""A contactless card in pcscd's virtual reader, as a client of vsmartcard's vpcd driver.

Any PC/SC program sees the card. The driver listens on TCP ports 35963 and 35964 (one a slot; Debian
binds them to all interfaces, so a machine that runs them belongs behind a firewall) and takes a
connection for a card in the slot, its end for the card's removal. Messages either way are a 2-byte
big-endian length and that many bytes; from the driver, one byte is a control code.
"""

from __future__ import annotations

import socket
from enum import IntEnum
from threading import Event, Lock, Thread, current_thread
from types import TracebackType
from typing import Self

from dobmi.firmware_sim.contactless import ContactlessCard, Field, FieldLost, ats_of
from dobmi.firmware_sim.iso14443_4 import AnswerToSelect

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 35963

ATR = bytes.fromhex("3B 81 80 01 80 80")
"""What a PC/SC reader makes of a contactless card with one historical byte, 80 (PC/SC part 3,
3.1.3.2.3.1)."""

GET_UID = bytes.fromhex("FF CA 00 00")
GET_HISTORICAL_BYTES = bytes.fromhex("FF CA 01 00")


class Control(IntEnum):
    POWER_OFF = 0
    POWER_ON = 1
    RESET = 2
    GET_ATR = 4


class VirtualSlot:
    """One slot of the virtual reader. `insert` and `remove` from any thread; also a context manager,
    which leaves with the slot empty.

    A card that raises FieldLost is seen by pcscd as pulled away.
    """

    def __init__(self, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> None:
        self._address = (host, port)
        self.field = Field()
        self._connection: socket.socket | None = None
        self._thread: Thread | None = None
        self._moving = Lock()
        self._powered = False
        self._noticed = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    @property
    def is_connected(self) -> bool:
        """Whether pcscd's driver still holds the card; not after FieldLost or when pcscd ended."""
        return self._thread is not None and self._thread.is_alive()

    def insert(self, card: ContactlessCard) -> None:
        """Put a card in. Raises ValueError when one is there, OSError when no driver listens."""
        with self._moving:
            self._clear_away()
            if self.field.card is not None:
                raise ValueError("a card is already in the slot")
            connection = socket.create_connection(self._address, timeout=5)
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._noticed.clear()
            self.field.insert(card)
            self._connection = connection
            self._thread = Thread(
                target=self._serve, args=(connection,), name=f"vpcd {self._address}", daemon=True
            )
            self._thread.start()

    def wait_until_noticed(self, timeout_seconds: float) -> bool:
        """Whether the driver asks the card anything in that time (it looks every 0.4 s).

        It does not while a card of another program is in the slot: that one's connection comes first.
        """
        return self._noticed.wait(timeout_seconds)

    def remove(self) -> ContactlessCard | None:
        """Pull the card out, also in the middle of an exchange; None when the slot is empty."""
        with self._moving:
            _hang_up(self._connection)
            card = self.field.remove()
            self._join()
            return card

    def swap(self, card: ContactlessCard) -> ContactlessCard | None:
        """Exchange the card faster than pcscd looks: it takes the new one for the old one."""
        with self._moving:
            old = self.field.remove()
            self.field.insert(card)
            return old

    def wait_until_gone(self, timeout_seconds: float | None = None) -> bool:
        """True once the card has left or pcscd has gone, False when the time is up."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)
        return not self.is_connected

    def _clear_away(self) -> None:
        """After FieldLost or the end of pcscd the slot is free for the next card."""
        if self._thread is not None and not self._thread.is_alive():
            self.field.remove()
            self._join()

    def _join(self) -> None:
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()
        self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (message := _receive(connection)) is not None:
                self._noticed.set()
                answer = self._answer(message)
                if answer is not None:
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
        except (OSError, FieldLost):
            # pcscd is gone, or the card is: either way this stay of the card has ended.
            pass
        finally:
            _hang_up(connection)

    def _answer(self, message: bytes) -> bytes | None:
        """Raises FieldLost when the card is gone, or is mute."""
        if len(message) == 1:
            return self._control(message[0])
        card = self.field.card
        if card is None:
            raise FieldLost
        if message[:1] == b"\xff":
            return _reader_command(message, card)
        answer = self.field.exchange(message)
        if not answer:
            # pcscd would wait for ever for what follows a length of 0.
            raise FieldLost
        return answer

    def _control(self, code: int) -> bytes | None:
        if code == Control.GET_ATR:
            return ATR
        if code in (Control.POWER_OFF, Control.RESET):
            self.field.power_cycle()
        return None


def _reader_command(command: bytes, card: ContactlessCard) -> bytes:
    """What a contactless reader answers itself (PC/SC part 3, 3.2.2.1.3): UID, historical bytes."""
    head, wanted = command[:4], command[4:]
    if head == GET_UID:
        data = card.uid
    elif head == GET_HISTORICAL_BYTES:
        data = AnswerToSelect.parse(ats_of(card)).historical
    else:
        return b"\x6a\x81"  # function not supported
    if len(wanted) > 1:
        return b"\x67\x00"
    size = wanted[0] if wanted else 0
    if size == 0 or size == len(data):
        return data + b"\x90\x00"
    if size < len(data):
        return b"\x6c" + bytes([len(data)])
    return data + b"\x62\x82"  # end of data before Le bytes


def _receive(connection: socket.socket) -> bytes | None:
    """One message; None at the connection's end."""
    head = _receive_exactly(connection, 2)
    return _receive_exactly(connection, int.from_bytes(head, "big")) if head else None


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        # The driver sends length and payload apart; its kernel holds the second back until the first
        # is acknowledged, which without this takes 40 ms. Linux forgets the option by itself.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = connection.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


def _hang_up(connection: socket.socket | None) -> None:
    if connection is not None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already
