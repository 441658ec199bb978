"""Cards for the tests of readers: they say what a test wants, whatever they are sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

UID = bytes.fromhex("04112233445566")
OTHER_UID = bytes.fromhex("04AABBCCDDEEFF")
COMMAND = bytes.fromhex("90 60 00 00 00")


def echo(frame: bytes) -> bytes:
    return frame + b"\x90\x00"


@dataclass
class RadioCard:
    """Answers by `answer` and keeps what it was sent and how often it lost power."""

    answer: Callable[[bytes], bytes] = echo
    uid: bytes = UID
    ats: bytes = bytes.fromhex("06 75 77 81 02 80")
    received: list[bytes] = field(default_factory=list)
    power_losses: int = 0

    def process(self, frame: bytes) -> bytes:
        self.received.append(frame)
        return self.answer(frame)

    def power_off(self) -> None:
        self.power_losses += 1
