"""The simulated card: frames in, frames out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from dobmi.firmware_sim import authentication, data, files, iso7816, keys, picc, sdm
from dobmi.firmware_sim.authentication import Challenge
from dobmi.firmware_sim.card_file import read_state, write_state
from dobmi.firmware_sim.core import Answer, Core, RandomBytes, Request, Work
from dobmi.firmware_sim.iso7816 import Apdu
from dobmi.firmware_sim.originality import sign_serial
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.session import FRAME_DATA_BYTES
from dobmi.firmware_sim.state import CardState
from dobmi.firmware_sim.status import IsoRefusal, Refusal, Status, require

WRAPPED = 0x90
ADDITIONAL_FRAME = 0xAF
SERIAL_BYTES = 7

Handler = Callable[[Core, Request], Answer]

COMMANDS: Mapping[int, Handler] = MappingProxyType(
    {
        0x60: picc.get_version,
        0x51: picc.get_card_uid,
        0x3C: picc.read_signature,
        0x6E: picc.free_memory,
        0xFC: picc.format_picc,
        0x5A: picc.select_application,
        0x6A: picc.get_application_ids,
        0x6D: picc.get_df_names,
        0xCA: picc.create_application,
        0xDA: picc.delete_application,
        0x5C: picc.set_configuration,
        0x64: keys.get_key_version,
        0x45: keys.get_key_settings,
        0x54: keys.change_key_settings,
        0xC4: keys.change_key,
        0xCD: files.create_data_file,
        0xCB: files.create_data_file,
        0xCC: files.create_value_file,
        0xC1: files.create_record_file,
        0xC0: files.create_record_file,
        0xCE: files.create_transaction_mac_file,
        0xDF: files.delete_file,
        0x6F: files.get_file_ids,
        0x61: files.get_iso_file_ids,
        0xF5: files.get_file_settings,
        0x5F: files.change_file_settings,
        0xF6: sdm.get_file_counters,
        0xBD: data.read_data,
        0xAD: data.read_data,
        0xBB: data.read_records,
        0xAB: data.read_records,
        0x6C: data.get_value,
        0x0C: data.change_value,
        0xDC: data.change_value,
        0x1C: data.change_value,
        0xEB: data.clear_records,
        0xC8: data.commit_reader_id,
        0xC7: data.commit_transaction,
        0xA7: data.abort_transaction,
    }
)
WRITES = frozenset({0x3D, 0x8D, 0x3B, 0x8B, 0xDB, 0xBA})
EV2_ONLY = frozenset({0x71, 0x77, 0x3C, 0xCE, 0xC8, 0xDB} | data.ISO_CHAINING)


class Framing(Enum):
    """Fixed by the first frame after activation."""

    NATIVE = "native"
    ISO = "iso"


@dataclass(frozen=True)
class Collecting:
    """A write whose frames are still coming, until it has `total` bytes of payload."""

    request: Request
    total: int


@dataclass(frozen=True)
class Delivering:
    """An answer whose frames are still being fetched."""

    frames: tuple[bytes, ...]


Chain = Challenge | Collecting | Delivering


class SimulatedCard:
    """A DESFire card, factory-fresh unless made from a kept state.

    `serial` is the chip's UID (random, beginning with 04, when None). `random_bytes(n)` gives the
    challenges and transaction identifiers. `signature` is r || s of a real card where a test
    wants one; by default it is made with the simulation's own key (originality.py). Raises
    ValueError for a UID that is not 7 bytes or a signature that is not 56.

    Non-volatile state is one immutable value, replaced in one step; when `on_change` is set it is
    called with the new value first, and what it raises leaves the card as it was.
    """

    def __init__(
        self,
        uid: bytes | None = None,
        personality: Personality = Personality.EV2,
        random_bytes: RandomBytes = secrets.token_bytes,
        *,
        signature: bytes | None = None,
        state: CardState | None = None,
    ) -> None:
        if state is None:
            serial = uid if uid is not None else b"\x04" + secrets.token_bytes(SERIAL_BYTES - 1)
            state = CardState(serial, personality, signature or sign_serial(serial))
        self._core = Core(state, random_bytes)
        self._framing: Framing | None = None
        self._chain: Chain | None = None
        self._shown_uid = self._draw_uid()

    @classmethod
    def load(cls, path: Path, random_bytes: RandomBytes = secrets.token_bytes) -> SimulatedCard:
        """The card kept in `path`, freshly activated. Raises CardFileError."""
        return cls(random_bytes=random_bytes, state=read_state(path))

    def save(self, path: Path) -> None:
        """Keep the non-volatile state in `path`, whole or not at all."""
        write_state(path, self.state)

    def keep_in(self, path: Path) -> None:
        """Save now, and from now on before every answer to a command that changed the state."""
        self.save(path)
        self._core.on_change = lambda state: write_state(path, state)

    def watch(self, on_change: Callable[[CardState], None]) -> None:
        """Have `on_change` called with the new non-volatile state, just before it is the state.

        Instead of keeping the card in a file.
        """
        self._core.on_change = on_change

    @property
    def state(self) -> CardState:
        return self._core.state

    @property
    def serial(self) -> bytes:
        """The 7-byte UID of the chip, whatever anticollision shows."""
        return self.state.serial

    @property
    def uid(self) -> bytes:
        """What anticollision shows: the serial, or 4 random bytes (08 first) where so set."""
        return self._shown_uid

    @property
    def ats(self) -> bytes:
        """Answer to select, its length byte first, without CRC."""
        return self.state.ats

    def take_work(self) -> Work:
        """What the card did since this was last asked, for the timing model."""
        work, self._core.work = self._core.work, Work()
        return work

    def power_off(self) -> None:
        """The field is gone: session, transaction, selection and framing are lost."""
        self._core.reset()
        self._framing = None
        self._chain = None
        self._shown_uid = self._draw_uid()

    def process(self, frame: bytes) -> bytes:
        """One ISO 14443-4 payload in (native frame or APDU), one out. Never raises for a frame."""
        if self._framing is None:
            iso = frame[:1] in {b"\x00", b"\x90"}
            self._framing = Framing.ISO if iso else Framing.NATIVE
        if self._framing is Framing.ISO:
            return self._process_apdu(frame)
        if not frame:
            return bytes([self._refuse(Status.LENGTH_ERROR)])
        status, answer = self._run(frame[0], frame[1:], None)
        return bytes([status]) + answer

    def _draw_uid(self) -> bytes:
        state = self._core.state
        return b"\x08" + secrets.token_bytes(3) if state.random_uid else state.serial

    def _process_apdu(self, frame: bytes) -> bytes:
        try:
            apdu = Apdu.parse(frame)
            if apdu.cla == WRAPPED:
                iso7816.require(not apdu.p1 and not apdu.p2, iso7816.WRONG_P1_P2)
                status, answer = self._run(apdu.ins, apdu.data, apdu.expected or 256)
                return answer + bytes([0x91, status])
            iso7816.require(apdu.cla == 0x00, iso7816.WRONG_CLASS)
            self._chain = None
            answer, word = iso7816.execute(self._core, apdu)
        except IsoRefusal as refusal:
            self._chain = None
            return refusal.status_word.to_bytes(2, "big")
        return answer + word.to_bytes(2, "big")

    def _run(self, ins: int, payload: bytes, expected: int | None) -> tuple[Status, bytes]:
        self._core.work.commands += 1
        chain, self._chain = self._chain, None
        try:
            require(
                len(payload) <= FRAME_DATA_BYTES or ins in data.ISO_CHAINING, Status.LENGTH_ERROR
            )
            if ins == ADDITIONAL_FRAME:
                return self._continue(chain, payload, expected)
            require(chain is None, Status.COMMAND_ABORTED)
            return self._begin(ins, payload, expected)
        except Refusal as refusal:
            return self._refuse(refusal.status), b""

    def _refuse(self, status: Status) -> Status:
        self._chain = None
        self._core.drop_session()
        return status

    def _begin(self, ins: int, payload: bytes, expected: int | None) -> tuple[Status, bytes]:
        known = self.state.personality.has_ev2_commands or ins not in EV2_ONLY
        require(known, Status.ILLEGAL_COMMAND)
        if ins in authentication.KEY_TYPES:
            self._chain, sent = authentication.begin(self._core, ins, payload)
            return Status.ADDITIONAL_FRAME, sent
        request = Request(ins, payload)
        if ins not in sdm.READS:
            self._core.mirrored = None
        if ins in WRITES:
            return self._collect(request, expected)
        handler = COMMANDS.get(ins)
        if handler is None:
            raise Refusal(Status.ILLEGAL_COMMAND)
        return self._answer(handler(self._core, request), expected)

    def _continue(
        self, chain: Chain | None, payload: bytes, expected: int | None
    ) -> tuple[Status, bytes]:
        match chain:
            case None:
                raise Refusal(Status.ILLEGAL_COMMAND)
            case Challenge():
                return Status.OK, authentication.finish(self._core, chain, payload)
            case Collecting(request):
                require(len(payload) > 0, Status.LENGTH_ERROR)
                return self._collect(Request(request.ins, request.payload + payload), expected)
            case Delivering(frames):
                require(not payload, Status.LENGTH_ERROR)
                return self._deliver(frames)

    def _collect(self, request: Request, expected: int | None) -> tuple[Status, bytes]:
        """Run a write once all its frames are there; only native opcodes may come in several."""
        total = data.payload_length(self._core, data.check_write(self._core, request))
        if len(request.payload) < total and request.ins not in data.ISO_CHAINING:
            self._chain = Collecting(request, total)
            return Status.ADDITIONAL_FRAME, b""
        require(len(request.payload) == total, Status.LENGTH_ERROR)
        return self._answer(data.write(self._core, request), expected)

    def _answer(self, answer: Answer, expected: int | None) -> tuple[Status, bytes]:
        sealed = self._core.seal(answer)
        if answer.whole:
            # One frame, which the transmission protocol divides; a short APDU takes 256 bytes.
            require(expected is None or len(sealed) <= expected, Status.LENGTH_ERROR)
            return Status.OK, sealed
        return self._deliver(_divide(sealed, answer.parts, self._core.frame_data_bytes(answer)))

    def _deliver(self, frames: tuple[bytes, ...]) -> tuple[Status, bytes]:
        if len(frames) == 1:
            return Status.OK, frames[0]
        self._chain = Delivering(frames[1:])
        return Status.ADDITIONAL_FRAME, frames[0]


def _divide(answer: bytes, parts: tuple[int, ...], size: int) -> tuple[bytes, ...]:
    frames = []
    for part in parts:
        frames.append(answer[:part])
        answer = answer[part:]
    # A rest that fits a frame goes out whole: 48 + 8 bytes in an AES session (recorded EV1).
    while len(answer) > FRAME_DATA_BYTES:
        frames.append(answer[:size])
        answer = answer[size:]
    return (*frames, answer)
