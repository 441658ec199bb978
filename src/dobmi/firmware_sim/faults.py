"""Losing the field or the power, before or after any frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from dobmi.firmware_sim.contactless import ContactlessCard, FieldLost, ats_of


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
    """The frame of this index, counted from 0 since the wrapper was made."""
    return Fault(lambda number, _frame: number == index, moment)


def at_command(instruction: int, moment: Moment = Moment.AFTER, *, occurrence: int = 1) -> Fault:
    """The `occurrence`-th frame of this DESFire instruction, native or wrapped."""
    seen = 0

    def strikes(_number: int, frame: bytes) -> bool:
        nonlocal seen
        here = instruction_of(frame) == instruction
        seen += here
        return here and seen == occurrence

    return Fault(strikes, moment)


def instruction_of(frame: bytes) -> int | None:
    """The instruction byte of a native or wrapped frame, None for an empty one."""
    if len(frame) >= 4 and frame[0] in {0x00, 0x90}:
        return frame[1]
    return frame[0] if frame else None


class FaultyCard:
    """A card that loses the field as its faults say, for any reader that takes a card.

    At a fault the card is powered off and FieldLost raised; the next frame finds it reset, as
    after it was put back. A `contactless.Field` holding it is empty then, until it is inserted
    again.
    """

    def __init__(self, card: ContactlessCard, faults: Iterable[Fault] = ()) -> None:
        self.card = card
        self._faults = list(faults)
        self._frames = 0

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    @property
    def uid(self) -> bytes:
        return self.card.uid

    @property
    def ats(self) -> bytes:
        return ats_of(self.card)

    @property
    def frames_seen(self) -> int:
        """Frames given to `process` so far; the index of the next one."""
        return self._frames

    def power_off(self) -> None:
        self.card.power_off()

    def process(self, frame: bytes) -> bytes:
        index = self._frames
        self._frames += 1
        # Every fault sees every frame: some of them count.
        striking = [fault for fault in self._faults if fault.strikes(index, frame)]
        if not striking:
            return self.card.process(frame)
        struck = striking[0]
        self._faults.remove(struck)
        if struck.moment is Moment.AFTER:
            self.card.process(frame)
        self.card.power_off()
        raise FieldLost
