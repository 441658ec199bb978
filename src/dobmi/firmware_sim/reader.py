"""The in-process reader: `sim:card.json`, and the one that tests lay cards on.

`sim:FOLDER/` is that of tray.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Condition

from dobmi.cardlib.errors import CardRemoved, GarbledResponse, NoCard, ReaderUnavailable
from dobmi.cardlib.readers.base import Signal
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.card_file import CardFileError
from dobmi.firmware_sim.contactless import ContactlessCard, Field, FieldLost
from dobmi.firmware_sim.faults import Fault, FaultyCard


class SimulatedConnection:
    """A card in a SimulatedReader's field, until it leaves it."""

    def __init__(self, field: Field, card: ContactlessCard, generation: int) -> None:
        self._field = field
        self._generation = generation
        self._uid = card.uid
        self.check_reader: Callable[[], None] = lambda: None
        """Called before every exchange; it may raise ReaderUnavailable."""

    @property
    def uid(self) -> bytes:
        return self._uid

    def transmit(self, command: bytes) -> bytes:
        """See CardConnection. Once the card left, every call raises CardRemoved."""
        self.check_reader()
        if self._field.generation != self._generation:
            raise CardRemoved
        try:
            response = self._field.exchange(command)
        except FieldLost:
            raise CardRemoved from None
        if len(response) < 2:
            raise GarbledResponse(length=len(response))
        return response

    def disconnect(self) -> None:
        """Nothing to release: the card stays as it is."""


class SimulatedReader:
    """A reader with a field that cards are laid on and taken from, by any thread.

    `signals` keeps what its LED and buzzer were told, for tests to look at.
    """

    def __init__(self, card: ContactlessCard | None = None, *, name: str = "simulated") -> None:
        self.field = Field(card)
        self.signals: list[Signal] = []
        self._name = name
        self._moved = Condition()
        self.field.watch(self._on_move)

    @property
    def name(self) -> str:
        return self._name

    def insert(self, card: ContactlessCard, faults: Iterable[Fault] = ()) -> None:
        """Lay a card down. Raises ValueError when one lies there."""
        faults = list(faults)
        self.field.insert(FaultyCard(card, faults) if faults else card)

    def remove(self) -> ContactlessCard | None:
        """Take the card away, also in the middle of an exchange; None when there is none."""
        return self.field.remove()

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        with self._moved:
            return self._moved.wait_for(lambda: self.field.card is not None, timeout_seconds)

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        with self._moved:
            return self._moved.wait_for(lambda: self.field.card is None, timeout_seconds)

    def connect(self) -> SimulatedConnection:
        generation = self.field.generation
        card = self.field.card
        if card is None:
            raise NoCard
        return SimulatedConnection(self.field, card, generation)

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)

    def close(self) -> None:
        """Nothing to release: the field stays as it is."""

    def _on_move(self) -> None:
        with self._moved:
            self._moved.notify_all()


class CardFileReader(SimulatedReader):
    """A reader that one card file is tapped on, as a patient cardholder would.

    The card lies there from the start. Waiting for its removal lifts it, waiting for a card
    lays it down again, with what the file then says: several programs in turn may use
    one file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name=f"simulated card {path}")
        self._path = path
        self._lay_down()

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        self._lay_down()
        return super().wait_for_card(timeout_seconds)

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        self.remove()
        return super().wait_for_removal(timeout_seconds)

    def _lay_down(self) -> None:
        if self.field.card is not None:
            return
        try:
            card = SimulatedCard.load(self._path)
            card.keep_in(self._path)
        except (CardFileError, OSError) as error:
            raise ReaderUnavailable(detail=str(error)) from error
        self.insert(card)


def open_reader(rest: str) -> SimulatedReader:
    """The reader `sim:PATH`: a card file that lies there, or a folder that cards are tapped on by hand.

    Raises ReaderUnavailable when PATH is neither; never makes one.
    """
    path = Path(rest)
    if rest and path.is_dir():
        from dobmi.firmware_sim.tray import TrayReader  # noqa: PLC0415 - it is made of this module

        return TrayReader(path)
    if not rest or not path.exists():
        raise ReaderUnavailable(
            detail=f"there is no card file {rest!r}; make one: dobmi sim new {rest or 'card.json'}"
        )
    return CardFileReader(path)
