"""Losing the field or the power, before or after any frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class FieldCard(Protocol):
    """A card in a reader's field, as every simulated reader uses one.

    SimulatedCard is one; FaultyField and TimedField wrap one and are one.
    """

    @property
    def uid(self) -> bytes:
        """What anticollision gives: 7 bytes, or 4 beginning with 08 where random ID is set."""

    @property
    def ats(self) -> bytes:
        """The answer to RATS, its length byte first and without CRC."""

    def process(self, frame: bytes) -> bytes:
        """One ISO 14443-4 payload in, one out. Raises FieldLost when the card is gone."""

    def power_off(self) -> None:
        """The field is gone: volatile state is lost. The next frame finds the card reset."""


class FieldLost(Exception):  # noqa: N818 - an event of the air, seen by the reader's firmware
    """The card left the field: no answer comes, now or later, until it is put back."""


class Moment(Enum):
    """`BEFORE`: the card never saw the frame. `AFTER`: it acted, and its answer was lost."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class Fault:
    """Lose the card at the first frame that `strikes(index, frame)` says; index from 0.

    Each fault strikes once. `at_frame` and `at_command` make the usual ones.
    """

    strikes: Callable[[int, bytes], bool]
    moment: Moment = Moment.AFTER


def at_frame(index: int, moment: Moment = Moment.AFTER) -> Fault:
    """The frame of this index, counted from 0 since the field was made."""
    return Fault(lambda number, _frame: number == index, moment)


def at_command(instruction: int, moment: Moment = Moment.AFTER, *, occurrence: int = 1) -> Fault:
    """The `occurrence`-th frame of this DESFire instruction, native or wrapped."""
    seen = 0

    def strikes(_number: int, frame: bytes) -> bool:
        nonlocal seen
        seen += instruction_of(frame) == instruction
        return seen == occurrence

    return Fault(strikes, moment)


def instruction_of(frame: bytes) -> int | None:
    """The instruction byte of a native or wrapped frame, None for an empty one."""
    if len(frame) >= 2 and frame[0] in {0x00, 0x90} and len(frame) >= 4:
        return frame[1]
    return frame[0] if frame else None


class FaultyField:
    """A field that loses its card as its faults say. After a loss the card is gone until
    `put_back`."""

    def __init__(self, card: FieldCard, faults: Iterable[Fault] = ()) -> None:
        self.card = card
        self._faults = list(faults)
        self._frames = 0
        self._present = True

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    @property
    def uid(self) -> bytes:
        return self.card.uid

    @property
    def ats(self) -> bytes:
        return self.card.ats

    @property
    def present(self) -> bool:
        return self._present

    @property
    def frames_seen(self) -> int:
        return self._frames

    def lose(self) -> None:
        """Take the card out of the field now."""
        self._present = False
        self.card.power_off()

    def put_back(self) -> None:
        """Back in the field, as after a fresh activation."""
        self._present = True

    def power_off(self) -> None:
        self.card.power_off()

    def process(self, frame: bytes) -> bytes:
        if not self._present:
            raise FieldLost
        index = self._frames
        self._frames += 1
        struck = next((fault for fault in self._faults if fault.strikes(index, frame)), None)
        if struck is None:
            return self.card.process(frame)
        self._faults.remove(struck)
        if struck.moment is Moment.AFTER:
            self.card.process(frame)
        self.lose()
        raise FieldLost
