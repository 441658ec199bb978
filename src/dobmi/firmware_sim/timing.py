"""How long an exchange takes on the air and in the card: a model, off unless a card is wrapped.

Figures by default: docs of the card's behaviour, measured on real cards: 1 ms for a plain command,
2.5 ms for each pass of an authentication, 1 ms for each 32-byte page of EEPROM written, 9 bits a
byte, 9.44 us a bit at 106 kbit/s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dobmi.firmware_sim.contactless import ContactlessCard, ats_of
from dobmi.firmware_sim.core import Work

CARRIER_HERTZ = 13.56e6
FRAME_SIZES = (16, 24, 32, 40, 48, 64, 96, 128, 256)
"""Bytes of the longest frame by FSCI or FSDI (ISO 14443-4 table 1)."""


@dataclass(frozen=True)
class RadioTiming:
    """`bit_rate_kbits`: 106, 212, 424 or 848 both ways. `reader_frame_size_bytes`: FSD.

    `block_overhead_bytes` are PCB and CRC; `frame_bits` start and end of a frame;
    `turnaround_seconds` the frame delay time before each frame (1172 cycles of the carrier).
    """

    bit_rate_kbits: int = 106
    reader_frame_size_bytes: int = 256
    block_overhead_bytes: int = 3
    bits_per_byte: int = 9
    frame_bits: int = 2
    turnaround_seconds: float = 1172 / CARRIER_HERTZ
    command_seconds: float = 1e-3
    authentication_pass_seconds: float = 2.5e-3
    eeprom_page_seconds: float = 1e-3

    def __post_init__(self) -> None:
        if self.bit_rate_kbits not in {106, 212, 424, 848}:
            msg = f"no bit rate of ISO 14443: {self.bit_rate_kbits} kbit/s"
            raise ValueError(msg)

    @property
    def bit_seconds(self) -> float:
        return 128 / CARRIER_HERTZ / (self.bit_rate_kbits // 106)

    def frame_seconds(self, payload_bytes: int) -> float:
        """One frame of the transmission protocol, with the pause before it."""
        bits = (payload_bytes + self.block_overhead_bytes) * self.bits_per_byte + self.frame_bits
        return self.turnaround_seconds + bits * self.bit_seconds

    def transfer_seconds(self, payload_bytes: int, frame_size_bytes: int) -> float:
        """A payload one way; what does not fit one frame is chained, each block acknowledged."""
        room = frame_size_bytes - self.block_overhead_bytes
        full, last = divmod(payload_bytes, room)
        if full and not last:
            full, last = full - 1, room
        chained = full * (self.frame_seconds(room) + self.frame_seconds(0))
        return chained + self.frame_seconds(last)

    def exchange_seconds(self, sent: int, received: int, card_frame_size_bytes: int) -> float:
        """Air time of a command of `sent` bytes and its answer of `received` bytes."""
        return self.transfer_seconds(sent, card_frame_size_bytes) + self.transfer_seconds(
            received, self.reader_frame_size_bytes
        )

    def work_seconds(self, work: Work) -> float:
        """The card's own time."""
        plain = work.commands - work.authentication_passes
        return (
            max(plain, 0) * self.command_seconds
            + work.authentication_passes * self.authentication_pass_seconds
            + work.eeprom_pages * self.eeprom_page_seconds
        )


def frame_size_of(ats: bytes) -> int:
    """FSC in bytes, by the FSCI in the answer to select (32 where there is none)."""
    if len(ats) < 2:
        return 32
    return FRAME_SIZES[min(ats[1] & 0xF, len(FRAME_SIZES) - 1)]


class WorkingCard(ContactlessCard, Protocol):
    """A card that tells what it has done."""

    def take_work(self) -> Work:
        """What it did since this was last asked."""


class TimedCard:
    """A card whose exchanges take their time: counted, and with `sleep` also really spent."""

    def __init__(
        self,
        card: WorkingCard,
        timing: RadioTiming | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Give `sleep=time.sleep` to have every exchange last as long as the model says."""
        self.card = card
        self.timing = timing or RadioTiming()
        self.elapsed_seconds = 0.0
        self.exchanges = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self._sleep = sleep
        card.take_work()

    @property
    def uid(self) -> bytes:
        return self.card.uid

    @property
    def ats(self) -> bytes:
        return ats_of(self.card)

    def power_off(self) -> None:
        self.card.power_off()

    def process(self, frame: bytes) -> bytes:
        begun = time.perf_counter()
        answer = self.card.process(frame)
        self.exchanges += 1
        self.bytes_sent += len(frame)
        self.bytes_received += len(answer)
        modelled = self.timing.exchange_seconds(
            len(frame), len(answer), frame_size_of(self.ats)
        ) + self.timing.work_seconds(self.card.take_work())
        self.elapsed_seconds += modelled
        if self._sleep is not None:
            self._sleep(max(0.0, modelled - (time.perf_counter() - begun)))
        return answer
