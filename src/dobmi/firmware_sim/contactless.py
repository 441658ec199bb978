"""A card in a reader's field: what a reader's firmware asks of a card, and what removal does.

Every simulated reader holds one `Field`. A test, the demo or a command inserts and removes cards
from one thread while the reader's firmware exchanges frames with them from another.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, RLock
from typing import Protocol, runtime_checkable

DEFAULT_ATS = bytes.fromhex("06 75 77 81 02 80")
"""The answer to select of a DESFire as delivered: FSC 64, 106-848 kbit/s, FWI 8, SFGI 1, CID."""


class FieldLost(Exception):
    """The card lost the field: it was pulled away, before or while it worked on a frame."""


@runtime_checkable
class ContactlessCard(Protocol):
    """A card as its antenna sees it: ISO/IEC 14443-4 payloads in, payloads out."""

    @property
    def uid(self) -> bytes:
        """4, 7 or 10 bytes, as anticollision gives it."""

    def process(self, frame: bytes) -> bytes:
        """One command (APDU or native frame, unchained) and its answer. Raises FieldLost."""

    def power_off(self) -> None:
        """The field is gone: everything volatile is lost."""


def ats_of(card: ContactlessCard) -> bytes:
    """The card's own answer to select (TL first), or a DESFire's default."""
    ats = getattr(card, "ats", None)
    return bytes(ats) if ats else DEFAULT_ATS


class Field:
    """The place on a reader where at most one card lies.

    A removal while the card works on a frame lets the card finish (a real one that has begun to
    commit finishes or rolls back just so) and loses the answer.
    """

    def __init__(self, card: ContactlessCard | None = None) -> None:
        self._card = card
        self._generation = 0
        self._working = RLock()
        self._change = Condition()
        self._watchers: list[Callable[[], None]] = []

    @property
    def card(self) -> ContactlessCard | None:
        return self._card

    @property
    def generation(self) -> int:
        """Changes with every insertion and removal: the same card put back is another stay."""
        return self._generation

    def watch(self, on_change: Callable[[], None]) -> None:
        """Have `on_change` called, in the thread that moves the card, after every change."""
        self._watchers.append(on_change)

    def insert(self, card: ContactlessCard) -> None:
        """Lay `card` on the reader. Raises ValueError when another one lies there."""
        with self._change:
            if self._card is not None:
                raise ValueError("a card is already in the field")
            self._card = card
            self._count_change()
        self._tell()

    def remove(self) -> ContactlessCard | None:
        """Take the card away, also in the middle of an exchange; None when there was none."""
        with self._change:
            card, self._card = self._card, None
            if card is None:
                return None
            self._count_change()
        self._tell()
        with self._working:
            card.power_off()
        return card

    def exchange(self, frame: bytes) -> bytes:
        """One frame to the card and its answer.

        Raises FieldLost when there is no card, when it left meanwhile, and when the card itself
        says so; the field is empty afterwards.
        """
        with self._working:
            with self._change:
                card, generation = self._card, self._generation
            if card is None:
                raise FieldLost
            try:
                answer = card.process(frame)
            except FieldLost:
                if self._generation == generation:
                    self.remove()
                raise
            if self._generation != generation:
                raise FieldLost
            return answer

    def power_cycle(self) -> None:
        """Switch the field off and on: the card, where there is one, starts anew."""
        with self._working:
            card = self._card
            if card is not None:
                card.power_off()

    def _count_change(self) -> None:
        self._generation += 1
        self._change.notify_all()

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()
