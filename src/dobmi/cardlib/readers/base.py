"""What the project asks of a reader and of a card in its field, whatever carries the bytes."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import entry_points
from typing import Protocol

from dobmi.cardlib.errors import UnknownReaderScheme

ENTRY_POINT_GROUP = "dobmi.readers"


class Signal(StrEnum):
    """What a reader's LED and buzzer tell the people at the till, where it has them."""

    READY = "ready"
    BUSY = "busy"
    SUCCESS = "success"
    FAILURE = "failure"


class CardConnection(Protocol):
    """A card in the field, from connect to disconnect."""

    @property
    def uid(self) -> bytes:
        """4, 7 or 10 bytes, as anticollision gave it. No secret and no proof of anything."""

    def transmit(self, command: bytes) -> bytes:
        """One exchange: a command APDU to the card, its response APDU back (data || SW1 SW2).

        Raises CardRemoved when the card has left the field, at once and never as another type;
        ReaderUnavailable when the reader itself is gone; GarbledResponse when what came back is
        no response APDU.
        """

    def disconnect(self) -> None:
        """Release the card without resetting it; never raises for a card that already left."""


class Reader(Protocol):
    """A contactless reader. One thread at a time uses it."""

    @property
    def name(self) -> str:
        """For people: as the system calls the reader."""

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        """True once a card is in the field, False when the time is up (None waits for ever)."""

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        """True once the field is empty, False when the time is up (None waits for ever)."""

    def connect(self) -> CardConnection:
        """Connect exclusively to the card in the field.

        Raises NoCard when there is none, CardRemoved when it left meanwhile, ReaderUnavailable.
        """

    def signal(self, signal: Signal) -> None:
        """LED and buzzer where the reader has them; nothing, silently, where it has none."""

    def close(self) -> None:
        """Release the reader."""


def open_reader(url: str) -> Reader:
    """Open the reader that `url` names, by the plug-in registered for its scheme.

    A plug-in is an entry point of the group `dobmi.readers` named as the scheme: a callable that
    takes what follows the colon and returns a Reader. Raises UnknownReaderScheme,
    ReaderUnavailable.
    """
    scheme, _, rest = url.partition(":")
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if scheme not in found:
        raise UnknownReaderScheme(url=url, schemes=", ".join(sorted(found)))
    reader: Reader = found[scheme].load()(rest)
    return reader
