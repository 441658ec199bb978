"""What the project asks of a reader and of a card in its field, whatever carries the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from dobmi.cardlib.errors import CardError, UnknownReaderScheme

ENTRY_POINT_GROUP = "dobmi.readers"
_GOES_ON = (b"\x91\x00", b"\x91\xaf")


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


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of a group of commands.

    `responses` are those of the first commands, in order. Fewer than there were commands: the last
    one refused, or `error` is what kept the next one's from coming. `sent_count` of the commands
    may have reached the card.
    """

    responses: tuple[bytes, ...]
    sent_count: int
    error: CardError | None = None


@runtime_checkable
class GroupConnection(CardConnection, Protocol):
    """A connection to a card far away, for which a group of commands is one round trip."""

    def transmit_group(self, commands: Sequence[bytes]) -> Answers:
        """As the function `transmit_group`."""


def transmit_group(connection: CardConnection, commands: Sequence[bytes]) -> Answers:
    """The commands one after the other, up to the first that is not answered `91 00` or `91 AF`.

    Raises nothing for what `transmit` raises: that is the answers' `error`.
    """
    if isinstance(connection, GroupConnection):
        return connection.transmit_group(commands)
    responses: list[bytes] = []
    for command in commands:
        try:
            response = connection.transmit(command)
        except CardError as error:
            return Answers(tuple(responses), len(responses) + 1, error)
        responses.append(response)
        if not goes_on(response):
            break
    return Answers(tuple(responses), len(responses))


def goes_on(response: bytes) -> bool:
    """Whether a group of commands goes on after this response: `91 00` and `91 AF`."""
    return response[-2:] in _GOES_ON


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
