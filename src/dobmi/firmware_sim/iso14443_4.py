"""The transmission protocol of ISO/IEC 14443-4, type A, both ends, as pure state machines.

Frames are without their two CRC bytes, which count in FSC and FSD all the same. `Picc` is the card's
end (RATS, PPS, blocks), `Pcd` the reader's, as a reader chip runs it in its firmware.

Block types, first byte (PCB): I-block 0b000M CN1n, R-block 0b101K C01n (K = 1 is NAK), S-block
0b11tt C010 (tt = 00 DESELECT, 11 WTX); M more follows, C a CID byte follows, N a NAD byte follows,
n the block number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

FRAME_SIZES = (16, 24, 32, 40, 48, 64, 96, 128, 256)
"""Bytes with PCB and CRC, by FSCI or FSDI; values above 8 are read as 8 (5.1, RFU)."""

CRC_SIZE = 2
CARRIER_HZ = 13_560_000
WTX_LIMIT = 1000
"""Extensions that a reader grants for one command before it gives the card up."""

_MORE = 0x10
_NAK = 0x10
_CID = 0x08
_NAD = 0x04
_I_BLOCK = 0x02
_R_ACK = 0xA2
_R_NAK = 0xB2
_S_DESELECT = 0xC2
_S_WTX = 0xF2


def is_i_block(pcb: int) -> bool:
    return pcb & 0xE2 == _I_BLOCK


def is_r_block(pcb: int) -> bool:
    return pcb & 0xE6 == _R_ACK


def is_s_block(pcb: int) -> bool:
    return pcb & 0xC7 == _S_DESELECT


def frame_size(index: int) -> int:
    """FSC or FSD in bytes from FSCI or FSDI."""
    return FRAME_SIZES[min(index, len(FRAME_SIZES) - 1)]


@dataclass(frozen=True)
class AnswerToSelect:
    """ISO/IEC 14443-4, 5.2: TL, T0 [TA] [TB] [TC], historical bytes."""

    frame_size_card: int
    frame_waiting_seconds: float
    cid_supported: bool
    rates: int
    historical: bytes

    @classmethod
    def parse(cls, ats: bytes) -> AnswerToSelect:
        """Raises ValueError for one whose length byte is not its length or whose fields are cut."""
        if not ats or ats[0] != len(ats):
            raise ValueError(f"answer to select of {len(ats)} bytes with a wrong length byte")
        # Defaults where a byte is absent: FSCI 2, 106 kbit/s, FWI 4, CID supported (5.2.2 to 5.2.6).
        format_byte = ats[1] if len(ats) > 1 else 0x02
        wanted = [bool(format_byte & flag) for flag in (0x10, 0x20, 0x40)]
        if len(ats) < min(len(ats), 2) + sum(wanted):
            raise ValueError("answer to select ends within its interface bytes")
        interface = iter(ats[2 : 2 + sum(wanted)])
        rates, timing, options = (
            next(interface) if there else default
            for there, default in zip(wanted, (0x00, 0x40, 0x02), strict=True)
        )
        waiting_index = timing >> 4
        if waiting_index > 14:
            waiting_index = 4
        return cls(
            frame_size_card=frame_size(format_byte & 0x0F),
            frame_waiting_seconds=4096 * 2**waiting_index / CARRIER_HZ,
            cid_supported=bool(options & 0x02),
            rates=rates,
            historical=ats[2 + sum(wanted) :],
        )


class PiccState(Enum):
    IDLE = auto()
    ACTIVE = auto()
    """Selected by its UID; RATS is awaited."""
    ACTIVATED = auto()
    """RATS answered; a PPS may still come."""
    PROTOCOL = auto()
    HALT = auto()


class Picc:
    """The card's end. `answer` gets each unchained command and gives its answer.

    `waiting_extensions` says how many times the card asks for more time before it answers a command
    (7.3); `on_deselect` hears of a DESELECT. What the card does not understand it leaves unanswered:
    `receive` then gives None (7.5.5: a PICC makes no attempt at error recovery).
    """

    def __init__(
        self,
        answer: Callable[[bytes], bytes],
        ats: bytes,
        *,
        waiting_extensions: Callable[[bytes], int] = lambda _: 0,
        on_deselect: Callable[[], None] = lambda: None,
    ) -> None:
        self._answer = answer
        self._ats = ats
        self._parameters = AnswerToSelect.parse(ats)
        self._waiting_extensions = waiting_extensions
        self._on_deselect = on_deselect
        self.reset()

    def reset(self) -> None:
        """The field went off and on."""
        self._enter(PiccState.IDLE)

    def _enter(self, state: PiccState) -> None:
        self.state = state
        self.frame_size_reader = frame_size(0)
        self._cid = 0
        self._number = 1
        self._received = b""
        self._waiting: bytes | None = None
        self._extensions = 0
        self._to_send: list[bytes] = []
        self._last: bytes | None = None

    def request(self, *, wake_up: bool) -> bool:
        """REQA or, with `wake_up`, WUPA, and on an answer the selection by UID (14443-3, 6.4)."""
        answers = self.state is PiccState.IDLE or (wake_up and self.state is PiccState.HALT)
        if answers:
            self._enter(PiccState.ACTIVE)
        return answers

    def receive(self, frame: bytes) -> bytes | None:
        """One frame from the reader; the card's answer, or None when it stays mute."""
        if not frame or len(frame) + CRC_SIZE > self._parameters.frame_size_card:
            return None
        if self.state is PiccState.ACTIVE:
            return self._activate(frame)
        if self.state is PiccState.ACTIVATED:
            self.state = PiccState.PROTOCOL
            if frame[0] & 0xF0 == 0xD0:
                return self._select_parameters(frame)
        if self.state is PiccState.PROTOCOL:
            return self._block(frame)
        return None

    def _activate(self, frame: bytes) -> bytes | None:
        if frame == b"\x50\x00":  # HLTA is never answered
            self._enter(PiccState.HALT)
            return None
        if len(frame) != 2 or frame[0] != 0xE0 or frame[1] & 0x0F == 0x0F:
            return None
        self._enter(PiccState.ACTIVATED)
        self.frame_size_reader = frame_size(frame[1] >> 4)
        self._cid = frame[1] & 0x0F
        return self._ats

    def _select_parameters(self, frame: bytes) -> bytes | None:
        """PPS (5.3): D0|CID, PPS0 = 11 with PPS1 or 01 without; the answer is its first byte."""
        if frame[0] & 0x0F != self._cid or len(frame) < 2:
            return None
        with_rates = frame[1] == 0x11 and len(frame) == 3
        if not with_rates and not (frame[1] == 0x01 and len(frame) == 2):
            return None
        if with_rates:
            # TA: b7..b5 divisors card to reader (DS), b3..b1 reader to card (DR).
            to_card, to_reader = frame[2] & 0x03, frame[2] >> 2 & 0x03
            if to_card and not self._parameters.rates >> (to_card - 1) & 1:
                return None
            if to_reader and not self._parameters.rates >> (to_reader + 3) & 1:
                return None
        return frame[:1]

    def _block(self, frame: bytes) -> bytes | None:
        pcb, rest = frame[0], frame[1:]
        cid = b""
        if pcb & _CID:
            if not self._parameters.cid_supported or not rest or rest[0] & 0x0F != self._cid:
                return None
            cid, rest = rest[:1], rest[1:]
        elif self._cid:
            return None
        if is_i_block(pcb):
            return None if pcb & _NAD else self._information(pcb, cid, rest)
        if is_r_block(pcb) and not rest:
            return self._receipt(pcb, cid)
        if is_s_block(pcb):
            return self._supervision(pcb, cid, rest)
        return None

    def _information(self, pcb: int, cid: bytes, information: bytes) -> bytes:
        self._number ^= 1  # rule D
        self._waiting, self._to_send = None, []
        self._received += information
        if pcb & _MORE:
            return self._send(_R_ACK | self._number, cid)  # rule 2
        command, self._received = self._received, b""
        self._extensions = self._waiting_extensions(command)
        self._waiting = command
        return self._work(cid)

    def _work(self, cid: bytes) -> bytes:
        if self._extensions:
            self._extensions -= 1
            return self._send(_S_WTX, cid, b"\x01")  # rule 9
        assert self._waiting is not None
        command, self._waiting = self._waiting, None
        answer = self._answer(command)
        size = self.frame_size_reader - CRC_SIZE - 1 - len(cid)
        self._to_send = [answer[i : i + size] for i in range(0, len(answer), size)] or [b""]
        return self._send_next(cid)

    def _send_next(self, cid: bytes) -> bytes:
        information = self._to_send.pop(0)
        more = _MORE if self._to_send else 0
        return self._send(_I_BLOCK | more | self._number, cid, information)

    def _send(self, pcb: int, cid: bytes, rest: bytes = b"") -> bytes:
        self._last = bytes([pcb | _CID]) + cid + rest if cid else bytes([pcb]) + rest
        return self._last

    def _receipt(self, pcb: int, cid: bytes) -> bytes | None:
        if pcb & 1 == self._number:
            return self._last  # rule 11: what was sent last got lost
        if pcb & _NAK:
            head = _R_ACK | self._number  # rule 12: the reader's block got lost
            return bytes([head | _CID]) + cid if cid else bytes([head])
        if not self._to_send:
            return None
        self._number ^= 1  # rule E
        return self._send_next(cid)  # rule 13

    def _supervision(self, pcb: int, cid: bytes, rest: bytes) -> bytes | None:
        kind = pcb & ~_CID
        if kind == _S_DESELECT and not rest:
            answer = bytes([pcb]) + cid
            self._enter(PiccState.HALT)
            self._on_deselect()
            return answer
        if kind == _S_WTX and len(rest) == 1 and self._waiting is not None:
            return self._work(cid)
        return None


class CardMute(Exception):
    """The card answered nothing, also when asked again."""


class ProtocolBroken(Exception):
    """The card answered with a block that the protocol does not allow there."""


class Pcd:
    """The reader's end after RATS, without CID.

    `send` carries one frame to the card and gives its answer, None after the time that ISO gives
    the card is up. `retries` is how often a lost block is asked for again (7.5.5.2 demands 2 and
    more of a reader; a PN532 is told by its host).
    """

    def __init__(
        self, send: Callable[[bytes], bytes | None], frame_size_card: int, *, retries: int = 2
    ) -> None:
        self._send_frame = send
        self._size = frame_size_card - CRC_SIZE - 1
        self._retries = retries
        self._number = 0

    def exchange(self, command: bytes) -> bytes:
        """A command of any length, chained as the card's FSC demands, and the whole answer.

        Raises CardMute, ProtocolBroken.
        """
        chunks = [command[i : i + self._size] for i in range(0, len(command), self._size)] or [b""]
        for chunk in chunks[:-1]:
            reply = self._send(bytes([_I_BLOCK | _MORE | self._number]) + chunk)
            if not is_r_block(reply[0]) or reply[0] & _NAK or reply[0] & 1 != self._number:
                raise ProtocolBroken
            self._number ^= 1
        reply = self._send(bytes([_I_BLOCK | self._number]) + chunks[-1])
        answer = b""
        while True:
            if not is_i_block(reply[0]) or reply[0] & 1 != self._number:
                raise ProtocolBroken
            self._number ^= 1
            answer += reply[1:]
            if not reply[0] & _MORE:
                return answer
            reply = self._send(bytes([_R_ACK | self._number]))

    def _send(self, block: bytes) -> bytes:
        for _ in range(WTX_LIMIT):
            reply = self._send_once(block)
            if reply[0] != _S_WTX:
                return reply
            block = reply[:1] + bytes([reply[1] & 0x3F]) if len(reply) == 2 else reply
        raise ProtocolBroken

    def _send_once(self, block: bytes) -> bytes:
        reply = self._send_frame(block)
        for _ in range(self._retries):
            if reply is not None and is_i_block(block[0]) and self._wants_again(reply[0]):
                reply = self._send_frame(block)  # rule 6
            elif not reply:
                # Rules 4 and 5: a lost answer is asked for by NAK, within a chained one by ACK.
                again = _R_NAK if is_i_block(block[0]) or block[0] == _S_WTX else _R_ACK
                reply = self._send_frame(bytes([again | self._number]))
            else:
                break
        if not reply:
            raise CardMute
        return reply

    def _wants_again(self, pcb: int) -> bool:
        return is_r_block(pcb) and not pcb & _NAK and pcb & 1 != self._number

    def deselect(self) -> bool:
        """S(DESELECT); whether the card answered."""
        return self._send_frame(bytes([_S_DESELECT])) == bytes([_S_DESELECT])

    def is_present(self) -> bool:
        """R(NAK), which a card in the protocol answers whatever came before."""
        return bool(self._send_frame(bytes([_R_NAK | self._number])))
