"""The card's insides that commands work on: state, session, transaction and the rules of access."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dobmi.firmware_sim.session import FRAME_DATA_BYTES, Mode, Session
from dobmi.firmware_sim.state import (
    FREE,
    MEMORY_UNIT_BYTES,
    NEVER,
    PICC_AID,
    Application,
    CardState,
    File,
    Key,
    whole_units,
)
from dobmi.firmware_sim.status import Refusal, Status, require
from dobmi.firmware_sim.transaction import Transaction

RandomBytes = Callable[[int], bytes]

# KeySettings1 bits (MF3ICD40 section 4.3.2).
MASTER_KEY_CHANGEABLE = 0x01
FREE_DIRECTORY = 0x02
FREE_CREATE_DELETE = 0x04
SETTINGS_CHANGEABLE = 0x08


@dataclass(frozen=True)
class Request:
    """A whole command: chained frames joined, security still on."""

    ins: int
    payload: bytes


@dataclass(frozen=True)
class Answer:
    """What a command gives back before it is sealed.

    `mode` is None where it is the session's own: MAC, but plain in D40, which protects files only.
    `parts` are the frames where the command itself divides its answer (GetVersion, GetDFNames);
    empty: divided by size. `unpadded_block`: CommitReaderID's answer. `unit`: frames hold a whole
    number of so many bytes (application ids). `whole`: one frame, however long (AD, AB).
    """

    data: bytes = b""
    mode: Mode | None = None
    open_ended: bool = False
    parts: tuple[int, ...] = ()
    unpadded_block: bool = False
    unit: int = 1
    whole: bool = False


@dataclass
class Work:
    """What the card's time has gone into since it was last asked; pages have 32 bytes."""

    commands: int = 0
    authentication_passes: int = 0
    eeprom_pages: int = 0


class Core:
    """One card. `state` is replaced, never changed; all else is lost with the field."""

    def __init__(self, state: CardState, random_bytes: RandomBytes) -> None:
        self._state = state
        self.random_bytes = random_bytes
        self.on_change: Callable[[CardState], None] | None = None
        self.work = Work()
        self.selected = PICC_AID
        self.selected_file: int | None = None
        self.mirrored: tuple[int, bytes] | None = None
        """What the free reads of a file with SDM show, as long as they follow each other."""
        self.session: Session | None = None
        self.transaction = Transaction()

    @property
    def state(self) -> CardState:
        return self._state

    def switch_to(self, state: CardState, *, written_bytes: int = 0) -> None:
        """The one place where non-volatile state changes: kept first, then valid."""
        self.work.eeprom_pages += max(1, whole_units(written_bytes) // MEMORY_UNIT_BYTES)
        if self.on_change is not None:
            self.on_change(state)
        self._state = state

    def reset(self) -> None:
        self.selected = PICC_AID
        self.selected_file = None
        self.mirrored = None
        self.drop_session()

    def drop_session(self) -> None:
        """Authentication and transaction go together."""
        self.session = None
        self.transaction = Transaction()

    def select(self, aid: bytes) -> None:
        self.selected = aid
        self.selected_file = None
        self.mirrored = None
        self.drop_session()

    # Where the command is

    @property
    def at_picc(self) -> bool:
        return self.selected == PICC_AID

    def application(self) -> Application:
        """The selected application; PERMISSION_DENIED at PICC level."""
        application = self.state.application(self.selected)
        if application is None:
            raise Refusal(Status.PERMISSION_DENIED)
        return application

    def store(self, application: Application, *, written_bytes: int = 0) -> None:
        self.switch_to(self.state.with_application(application), written_bytes=written_bytes)

    def file(self, number: int) -> File:
        file = self.application().file(number)
        if file is None:
            raise Refusal(Status.FILE_NOT_FOUND)
        return file

    def key(self, number: int) -> Key:
        """Key `number` of the level selected; NO_SUCH_KEY."""
        keys = (self.state.master_key,) if self.at_picc else self.application().keys
        require(number < len(keys), Status.NO_SUCH_KEY)
        return keys[number]

    @property
    def key_settings(self) -> int:
        return self.state.key_settings if self.at_picc else self.application().key_settings

    # Who may

    def require_master_key(self) -> None:
        authenticated = self.session is not None and self.session.key_no == 0
        require(authenticated, Status.AUTHENTICATION_ERROR)

    def require_master_key_unless(self, free_bit: int) -> None:
        if not self.key_settings & free_bit:
            self.require_master_key()

    def mode_for(self, file: File, rights: Sequence[int]) -> Mode:
        """The mode of an operation that any of these rights allows.

        The file's own mode when the session's key has one of them, plain when one is free.
        Otherwise PERMISSION_DENIED, or AUTHENTICATION_ERROR when a session would have helped.
        """
        if self.session is not None and self.session.key_no in rights:
            return Mode.of_file(file.comm)
        if FREE in rights:
            return Mode.PLAIN
        hopeless = self.session is not None or all(right == NEVER for right in rights)
        raise Refusal(Status.PERMISSION_DENIED if hopeless else Status.AUTHENTICATION_ERROR)

    # What goes over the air

    def open(self, request: Request, lengths: Iterable[int], mode: Mode = Mode.MAC) -> bytes:
        """The payload of a command that has nothing but a header, of one of these lengths.

        In EV2 it carries a MAC unless `mode` is PLAIN; in EV1 it runs through the CMAC.
        """
        lengths = list(lengths)
        if self.session is None:
            require(len(request.payload) in lengths, Status.LENGTH_ERROR)
            return request.payload
        return self.session.open_header(request.ins, request.payload, mode, lengths)

    def open_data(
        self, request: Request, header_length: int, lengths: Iterable[int], mode: Mode
    ) -> tuple[bytes, bytes]:
        """Header and plain data of a command whose data is protected as `mode` says."""
        require(len(request.payload) >= header_length, Status.LENGTH_ERROR)
        header, body = request.payload[:header_length], request.payload[header_length:]
        if self.session is None:
            require(len(body) in set(lengths), Status.LENGTH_ERROR)
            return header, body
        return header, self.session.open(request.ins, header, body, mode, lengths)

    def seal(self, answer: Answer) -> bytes:
        if self.session is None:
            return answer.data
        if answer.unpadded_block:
            return self.session.seal_block(answer.data)
        mode = self._mode_of(answer, self.session)
        return self.session.seal(answer.data, mode, open_ended=answer.open_ended)

    def frame_data_bytes(self, answer: Answer) -> int:
        size = FRAME_DATA_BYTES
        if self.session is not None:
            size = self.session.frame_data_bytes(self._mode_of(answer, self.session))
        return size // answer.unit * answer.unit

    @staticmethod
    def _mode_of(answer: Answer, session: Session) -> Mode:
        return session.default_mode if answer.mode is None else answer.mode
