"""A DESFire card's commands, one method each: arguments in, typed answers out.

Every method is one command and, without chaining, one exchange with the card; authentication is
two, GetVersion three. Nothing is asked of the card behind the caller's back: communication modes
and lengths are parameters. `exchanges` counts what went to and fro.

Whatever goes wrong (an error status, a wrong MAC, a card that left) ends the session on our side,
as it does on the card's. Arguments that no card could accept raise ValueError before anything is
sent.

Commands that need no answer of one another go `together`, which saves round trips where the card is
far away.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, overload

from dobmi.cardlib.apdu import (
    ADDITIONAL_FRAME,
    COMMAND_FRAME_DATA_MAX,
    OPERATION_OK,
    RESPONSE_FRAMES_MAX,
    SHORT_APDU_ANSWER_MAX,
    SHORT_APDU_DATA_MAX,
    command_frames,
    parse_response,
    split_status_word,
    wrap_apdu,
)
from dobmi.cardlib.errors import (
    CardError,
    GarbledResponse,
    MalformedResponse,
    ResponseTooShort,
    refusal_by_iso_status,
    refusal_by_status,
)
from dobmi.cardlib.files import (
    AccessRights,
    AnyFileSettings,
    ApplicationKeySettings,
    DataFile,
    DedicatedFile,
    KeySettings,
    RecordFile,
    TransactionMacFile,
    ValueFile,
    from_i32,
    from_little,
    i32,
    parse_file_settings,
    require_range,
    u24,
)
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.readers.base import CardConnection, transmit_group
from dobmi.cardlib.secure_messaging import CommMode, Session
from dobmi.cardlib.secure_messaging_ev1 import D40Handshake, Ev1Handshake
from dobmi.cardlib.secure_messaging_ev2 import Ev2Handshake, Ev2Session, require_aes
from dobmi.cardlib.transaction_mac import READER_ID_LENGTH, TransactionMac, TransactionMacInput
from dobmi.cardlib.version import CardVersion

_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")
_D = TypeVar("_D")

PICC_AID = 0x000000
FILE_NO_MAX = 0x1F
KEY_NO_MAX = 0x0D
UID_LENGTH = 7
SIGNATURE_LENGTH = 56


@dataclass(frozen=True, slots=True)
class Opcodes:
    """The opcodes of the data commands, which exist once per kind of chaining (AN12343)."""

    read_data: int
    write_data: int
    read_records: int
    write_record: int
    update_record: int


NATIVE_CHAINING = Opcodes(0xBD, 0x3D, 0xBB, 0x3B, 0xDB)
"""Long commands and answers go in AF frames; every generation knows these."""

ISO_CHAINING = Opcodes(0xAD, 0x8D, 0xAB, 0x8B, 0xBA)
"""One APDU each way, ISO 14443-4 does the chaining; EV2 and later."""


@dataclass(frozen=True, slots=True)
class Exchanges:
    """How often and how much was exchanged with the card; bytes are those of the APDUs."""

    count: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    def __sub__(self, earlier: Exchanges) -> Exchanges:
        return Exchanges(
            self.count - earlier.count,
            self.bytes_sent - earlier.bytes_sent,
            self.bytes_received - earlier.bytes_received,
        )


class _Foreseen(Exception):
    """The command is known, and not sent yet."""


class DesfireCard:
    """A card in the field, seen through its commands.

    `random_bytes(n)` supplies RndA. `iso_chaining` sends data commands as one APDU each way
    (EV2 and later) instead of AF frames. `frame_data_max` is the most bytes after INS in one
    frame of native chaining.
    """

    def __init__(
        self,
        connection: CardConnection,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        iso_chaining: bool = False,
        frame_data_max: int = COMMAND_FRAME_DATA_MAX,
    ) -> None:
        require_range("frame_data_max", frame_data_max, 1, SHORT_APDU_DATA_MAX)
        self.connection = connection
        self.opcodes = ISO_CHAINING if iso_chaining else NATIVE_CHAINING
        self.exchanges = Exchanges()
        self._random_bytes = random_bytes
        self._frame_data_max = frame_data_max
        self._session: Session | None = None
        self._selected_aid: int | None = PICC_AID
        self._transaction_mac_input = TransactionMacInput()
        self._foreseen: list[bytes] | None = None
        self._answers: deque[tuple[bytes, bytes]] = deque()
        self._group_error: CardError | None = None
        self._group_sent_count = 0
        self._ti_unknown = False

    # State

    @property
    def uid(self) -> bytes:
        """As anticollision gave it; 4 random bytes where the card is set to random ids."""
        return self.connection.uid

    @property
    def iso_chaining(self) -> bool:
        return self.opcodes is ISO_CHAINING

    @property
    def selected_aid(self) -> int | None:
        """0 is the PICC level; None after a selection that failed or went by ISO name."""
        return self._selected_aid

    @property
    def authenticated_key_no(self) -> int | None:
        """The key of the running session, None without one."""
        return None if self._session is None else self._session.key_no

    @property
    def transaction_mac_input(self) -> bytes:
        """The running transaction's TMI so far, as the card builds it (MF2DLHX0 section 10.3).

        Empty again after select, a first authentication, commit, abort and any error.
        """
        return bytes(self._transaction_mac_input)

    @property
    def group_sent_count(self) -> int:
        """How many commands of the last group may have reached the card."""
        return self._group_sent_count

    # Groups

    @overload
    def together(self, a: Callable[[], _A], b: Callable[[], _B], /) -> tuple[_A, _B]: ...
    @overload
    def together(
        self, a: Callable[[], _A], b: Callable[[], _B], c: Callable[[], _C], /
    ) -> tuple[_A, _B, _C]: ...
    @overload
    def together(
        self, a: Callable[[], _A], b: Callable[[], _B], c: Callable[[], _C], d: Callable[[], _D], /
    ) -> tuple[_A, _B, _C, _D]: ...
    @overload
    def together(self, *commands: Callable[[], object]) -> tuple[object, ...]: ...
    def together(self, *commands: Callable[[], object]) -> tuple[object, ...]:
        """What the commands return, sent as one group: none waits for another's answer.

        Each is one call of a method of this class, one exchange long (the last may go on with
        further ones of its own). The card stops at the first that it refuses, whose error this
        raises. In a session only EV2 goes: its MACs and its encryption depend on TI and CmdCtr,
        and on no answer. After `finish_ev2` of a First authentication, whose answer brings TI,
        nothing that needs the session can follow in its group.

        Every command runs twice: first only to know what it sends, as if all before it went well,
        then, all being sent, with its answer; so each answer is checked as it is by itself.
        """
        if not (self._session is None or isinstance(self._session, Ev2Session)):
            msg = "only the commands of an EV2 session can be foreseen"
            raise ValueError(msg)
        self._group_sent_count = 0
        with self._session_ends_on_error():
            foreseen = self._foresee(commands)
            came = transmit_group(self.connection, foreseen)
            self._answers = deque(zip(foreseen, came.responses, strict=False))
            self._group_error, self._group_sent_count = came.error, came.sent_count
            try:
                return tuple(command() for command in commands)
            finally:
                self._answers.clear()
                self._group_error = None

    def _foresee(self, commands: tuple[Callable[[], object], ...]) -> list[bytes]:
        """The APDUs that the commands begin with; of all else this changes nothing."""
        session, aid = self._session, self._selected_aid
        tmi = self._transaction_mac_input
        self._session, self._ti_unknown = copy.copy(session), False
        foreseen: list[bytes] = []
        self._foreseen = foreseen
        try:
            for number, command in enumerate(commands, start=1):
                if self._ti_unknown:
                    msg = "nothing can be foreseen before the answer that brings TI"
                    raise ValueError(msg)
                with contextlib.suppress(_Foreseen):
                    command()
                if len(foreseen) != number:
                    msg = "a command of a group is one exchange with the card"
                    raise ValueError(msg)
        finally:
            self._foreseen = None
            self._session, self._selected_aid = session, aid
            self._transaction_mac_input = tmi
        return foreseen

    # Selection and authentication

    def select_application(self, aid: int) -> None:
        """SelectApplication (5A); ApplicationNotFound. Ends session and transaction.

        `aid` is 24 bits and goes out least significant byte first: 0xD0B310 as `10 B3 D0`.
        """
        _require_aid(aid)
        self._drop_session()
        self._selected_aid = None
        self._exchange(0x5A, u24(aid))
        self._selected_aid = aid

    def select_application_by_name(self, name: bytes) -> None:
        """ISO SELECT (00 A4 04) by DF name, 1 to 16 bytes; IsoFileNotFound.

        TransactionLimitReached says that the application is selected but spent.
        """
        require_range("DF name length", len(name), 1, 16)
        self._drop_session()
        self._selected_aid = None
        apdu = b"\x00\xa4\x04\x00" + bytes([len(name)]) + name + b"\0"
        with self._session_ends_on_error():
            _, status_word = split_status_word(self._transmit(apdu))
            if status_word != 0x9000:
                raise refusal_by_iso_status(status_word) or GarbledResponse(length=2)

    def authenticate_ev2_first(self, key_no: int, key: DesfireKey) -> None:
        """AuthenticateEV2First (71), AES keys: a new TI, CmdCtr 0, a new transaction.

        Raises AuthenticationError (wrong key), NoSuchKey, CardNotAuthentic.
        """
        require_aes(key)
        self.finish_ev2(self.answer_ev2(key_no, key, self.begin_ev2_first(key_no)))

    def authenticate_ev2_non_first(self, key_no: int, key: DesfireKey) -> None:
        """AuthenticateEV2NonFirst (77) within an EV2 session: TI, CmdCtr and the transaction go
        on under another key. ValueError without an EV2 session.
        """
        require_aes(key)
        self.finish_ev2(self.answer_ev2(key_no, key, self.begin_ev2_non_first(key_no)))

    def begin_ev2_first(self, key_no: int) -> bytes:
        """The first exchange of AuthenticateEV2First: the card's challenge. Raises NoSuchKey."""
        _require_key_no(key_no)
        self._drop_session()
        return self._challenge(0x71, bytes([key_no, 0]))  # LenCap 00

    def begin_ev2_non_first(self, key_no: int) -> bytes:
        """The first exchange of AuthenticateEV2NonFirst, likewise."""
        _require_key_no(key_no)
        self._require_ev2_session("AuthenticateEV2NonFirst")
        return self._challenge(0x77, bytes([key_no]))

    def answer_ev2(self, key_no: int, key: DesfireKey, challenge: bytes) -> Ev2Handshake:
        """What answers the challenge, for `finish_ev2`; no exchange. It goes on from the session
        that there is, if there is one. Raises ResponseTooShort.
        """
        previous = self._session if isinstance(self._session, Ev2Session) else None
        handshake = Ev2Handshake(key, key_no, previous)
        with self._session_ends_on_error():
            handshake.answer_challenge(challenge, self._random_bytes(16))
        return handshake

    def finish_ev2(self, handshake: Ev2Handshake) -> None:
        """The second exchange. Raises AuthenticationError (wrong key), CardNotAuthentic."""
        with self._session_ends_on_error():
            self._session = handshake.continued()
            self._ti_unknown = self._session is None
            self._session = handshake.finish(self._last_answer(handshake.token))

    def authenticate_iso(self, key_no: int, key: DesfireKey) -> None:
        """AuthenticateISO (1A), DES, 2K3DES and 3K3DES keys: an EV1 session."""
        if key.type is KeyType.AES:
            msg = "AuthenticateISO takes a DES key; AuthenticateAES is for AES"
            raise ValueError(msg)
        self._authenticate_older(0x1A, Ev1Handshake(key, key_no))

    def authenticate_aes(self, key_no: int, key: DesfireKey) -> None:
        """AuthenticateAES (AA), AES keys: an EV1 session."""
        if key.type is not KeyType.AES:
            msg = f"AuthenticateAES takes an AES key, not {key.type.value}"
            raise ValueError(msg)
        self._authenticate_older(0xAA, Ev1Handshake(key, key_no))

    def authenticate_legacy(self, key_no: int, key: DesfireKey) -> None:
        """Authenticate (0A), DES and 2K3DES keys: a D40 session."""
        self._authenticate_older(0x0A, D40Handshake(key, key_no))

    # The card

    def get_version(self) -> CardVersion:
        """GetVersion (60), three exchanges."""
        with self._session_ends_on_error():
            return CardVersion.from_bytes(self._admin_command(0x60))

    def get_card_uid(self) -> bytes:
        """GetCardUID (51): the real UID, 7 bytes, also of a card set to random ids.

        Needs a session: the answer is enciphered.
        """
        self._require_session("GetCardUID")
        return self._command(
            0x51, b"", send=CommMode.FULL, receive=CommMode.FULL, length=UID_LENGTH
        )

    def read_signature(self) -> bytes:
        """Read_Sig (3C 00): the maker's signature over the UID, 56 bytes r || s.

        Full mode in a session (NT4H2421Gx table 22), plain without one.
        """
        return self._command(
            0x3C, b"\0", send=CommMode.FULL, receive=CommMode.FULL, length=SIGNATURE_LENGTH
        )

    def get_free_memory(self) -> int:
        """GetFreeMemory (6E), bytes."""
        return from_little(self._admin_command(0x6E, length=3))

    def format_picc(self) -> None:
        """FormatPICC (FC): all applications are gone. Needs the PICC master key.

        Recorded EV1 sessions go on afterwards, other cards are said to end them: authenticate
        again. It may take the card more than half a second.
        """
        self._admin_command(0xFC)

    def set_configuration(self, option: int, data: bytes) -> None:
        """SetConfiguration (5C), e.g. 00: random id, no format; 02: the ATS (AN12343 table 6).

        What it sets cannot always be undone. Needs a session with the PICC master key; the ATS,
        whose length varies, an EV2 one.
        """
        require_range("option", option, 0, 0xFF)
        if option == _CONFIGURE_ATS:
            # The older schemes pad it in a way of its own, which no recording shows.
            self._require_ev2_session("SetConfiguration of the ATS")
        self._require_session("SetConfiguration")
        self._command(0x5C, bytes([option]), data, send=CommMode.FULL)

    # Applications

    def create_application(
        self,
        aid: int,
        settings: KeySettings,
        *,
        key_count: int,
        key_type: KeyType = KeyType.AES,
        iso_file_ids: bool = False,
        iso_file_id: int | None = None,
        df_name: bytes = b"",
    ) -> None:
        """CreateApplication (CA), at the PICC level; DuplicateError, CountError, OutOfMemory.

        `iso_file_ids`: its files have ISO ids too. `iso_file_id` and `df_name` (1 to 16 bytes)
        are the application's own.
        """
        _require_aid(aid)
        require_range("number of keys", key_count, 1, KEY_NO_MAX + 1)
        require_range("DF name length", len(df_name), 0, 16)
        if df_name and iso_file_id is None:
            msg = "a DF name comes with an ISO file id"
            raise ValueError(msg)
        settings2 = key_type.type_bits | iso_file_ids << 5 | key_count
        payload = u24(aid) + bytes([int(settings), settings2])
        if iso_file_id is not None:
            require_range("ISO file id", iso_file_id, 0, 0xFFFF)
            payload += iso_file_id.to_bytes(2, "little") + df_name
        self._admin_command(0xCA, payload)

    def delete_application(self, aid: int) -> None:
        """DeleteApplication (DA). Deleting the selected one selects the PICC level."""
        _require_aid(aid)
        self._admin_command(0xDA, u24(aid))
        if aid == self._selected_aid:
            self._drop_session()
            self._selected_aid = PICC_AID

    def get_application_ids(self) -> list[int]:
        """GetApplicationIDs (6A), at the PICC level."""
        return self._list_numbers(0x6A, 3)

    def get_df_names(self) -> list[DedicatedFile]:
        """GetDFNames (6D), at the PICC level, one exchange for each application that has names.

        Best without a session: some EV1 cards answer PiccIntegrityError inside one.
        """
        mode = self._administrative_mode
        found = []
        with self._session_ends_on_error():
            frames = self._exchange(0x6D, self._wrap(0x6D, b"", b"", mode))
            plain = self._unwrap(OPERATION_OK, b"".join(frames), mode)
            for frame in frames:
                entry, plain = plain[: len(frame)], plain[len(frame) :]
                if entry:
                    found.append(DedicatedFile.from_bytes(entry))
        return found

    # Keys

    def get_key_settings(self) -> ApplicationKeySettings:
        """GetKeySettings (45) of the selected application or of the PICC."""
        with self._session_ends_on_error():
            return ApplicationKeySettings.from_bytes(self._admin_command(0x45))

    def change_key_settings(self, settings: KeySettings) -> None:
        """ChangeKeySettings (54). Needs a session with the master key."""
        self._require_session("ChangeKeySettings")
        self._command(0x54, b"", bytes([int(settings)]), send=CommMode.FULL)

    def get_key_version(self, key_no: int) -> int:
        """GetKeyVersion (64)."""
        _require_key_no(key_no)
        return self._admin_command(0x64, bytes([key_no]), length=1)[0]

    def change_key(
        self, key_no: int, new_key: DesfireKey, old_key: DesfireKey | None = None
    ) -> None:
        """ChangeKey (C4).

        The session's own key needs no `old_key`, and its change ends the session. Another key
        needs the one it replaces. At the PICC level the new key's type becomes the master
        key's: the key number is sent with 80 for AES, 40 for 3K3DES.
        """
        _require_key_no(key_no)
        session = self._require_session("ChangeKey")
        own = key_no == session.key_no
        if not own and old_key is None:
            msg = f"key {key_no} is not the session's key: its old value is needed"
            raise ValueError(msg)
        if not own and old_key is not None and old_key.type.wire_length != new_key.type.wire_length:
            msg = f"a {old_key.type.value} key cannot be replaced by a {new_key.type.value} one"
            raise ValueError(msg)
        type_bits = new_key.type.type_bits if self._selected_aid == PICC_AID else 0
        header = bytes([key_no | type_bits])
        with self._session_ends_on_error():
            payload = session.wrap_change_key(0xC4, header, new_key, None if own else old_key)
            answer = b"".join(self._exchange(0xC4, payload))
            if own:
                # Answered without a MAC, and the session is over (AN12343 table 40).
                self._drop_session()
            else:
                self._unwrap(OPERATION_OK, answer, CommMode.MAC)

    # Files

    def create_standard_file(self, file_no: int, file: DataFile) -> None:
        """CreateStdDataFile (CD)."""
        self._create_file(0xCD, file_no, bytes(file))

    def create_backup_file(self, file_no: int, file: DataFile) -> None:
        """CreateBackupDataFile (CB); it takes twice its size."""
        self._create_file(0xCB, file_no, bytes(file))

    def create_value_file(self, file_no: int, file: ValueFile) -> None:
        """CreateValueFile (CC)."""
        self._create_file(0xCC, file_no, bytes(file))

    def create_linear_record_file(self, file_no: int, file: RecordFile) -> None:
        """CreateLinearRecordFile (C1)."""
        self._create_file(0xC1, file_no, bytes(file))

    def create_cyclic_record_file(self, file_no: int, file: RecordFile) -> None:
        """CreateCyclicRecordFile (C0)."""
        if file.records_max < 2:
            msg = "a cyclic record file has at least 2 records"
            raise ValueError(msg)
        self._create_file(0xC0, file_no, bytes(file))

    def create_transaction_mac_file(self, file_no: int, file: TransactionMacFile) -> None:
        """CreateTransactionMACFile (CE), EV2 and later; the key goes enciphered."""
        _require_file_no(file_no)
        self._require_session("CreateTransactionMACFile")
        self._command(0xCE, bytes([file_no]) + file.header, file.data, send=CommMode.FULL)

    def delete_file(self, file_no: int) -> None:
        """DeleteFile (DF)."""
        _require_file_no(file_no)
        self._admin_command(0xDF, bytes([file_no]))

    def get_file_ids(self) -> list[int]:
        """GetFileIDs (6F)."""
        return list(self._admin_command(0x6F))

    def get_iso_file_ids(self) -> list[int]:
        """GetISOFileIDs (61), 16-bit."""
        return self._list_numbers(0x61, 2)

    def get_file_settings(self, file_no: int) -> AnyFileSettings:
        """GetFileSettings (F5)."""
        _require_file_no(file_no)
        with self._session_ends_on_error():
            return parse_file_settings(self._admin_command(0xF5, bytes([file_no])))

    def change_file_settings(
        self,
        file_no: int,
        comm_mode: CommMode,
        access: AccessRights,
        *,
        options: int = 0,
        extra: bytes = b"",
        mode: CommMode = CommMode.FULL,
    ) -> None:
        """ChangeFileSettings (5F). `options` are the bits beside the mode in the first byte,
        `extra` what they ask for; `mode` is PLAIN where the change right is FREE.
        """
        _require_file_no(file_no)
        require_range("options", options, 0, 0xFF)
        data = bytes([comm_mode | options]) + bytes(access) + extra
        self._command(0x5F, bytes([file_no]), data, send=mode)

    # Data

    def read_data(
        self, file_no: int, offset: int, length: int, mode: CommMode = CommMode.PLAIN
    ) -> bytes:
        """ReadData; length 0 reads to the end. BoundaryError past the end."""
        data = self._read_data(file_no, offset, length, mode)
        self._account(
            lambda tmi: tmi.read_data(self.opcodes.read_data, file_no, offset, length, data)
        )
        return data

    def write_data(
        self, file_no: int, offset: int, data: bytes, mode: CommMode = CommMode.PLAIN
    ) -> None:
        """WriteData. A standard file is written at once, a backup file at the commit."""
        _require_file_no(file_no)
        header = bytes([file_no]) + _span(offset, len(data))
        self._command(self.opcodes.write_data, header, _some(data), send=mode)
        self._account(lambda tmi: tmi.write_data(self.opcodes.write_data, file_no, offset, data))

    def get_value(self, file_no: int, mode: CommMode = CommMode.PLAIN) -> int:
        """GetValue (6C): the committed value, whatever the running transaction did."""
        _require_file_no(file_no)
        data = self._command(0x6C, bytes([file_no]), send=mode, receive=mode, length=4)
        value = from_i32(data)
        self._account(lambda tmi: tmi.value(0x6C, file_no, value))
        return value

    def credit(self, file_no: int, amount: int, mode: CommMode = CommMode.PLAIN) -> None:
        """Credit (0C), effective with the commit; BoundaryError above the upper limit."""
        self._value_command(0x0C, file_no, amount, mode)

    def debit(self, file_no: int, amount: int, mode: CommMode = CommMode.PLAIN) -> None:
        """Debit (DC), effective with the commit; BoundaryError below the lower limit."""
        self._value_command(0xDC, file_no, amount, mode)

    def limited_credit(self, file_no: int, amount: int, mode: CommMode = CommMode.PLAIN) -> None:
        """LimitedCredit (1C), up to what the last debiting transaction took."""
        self._value_command(0x1C, file_no, amount, mode)

    def read_records(
        self,
        file_no: int,
        first: int,
        count: int,
        *,
        record_length: int,
        mode: CommMode = CommMode.PLAIN,
    ) -> list[bytes]:
        """ReadRecords: `count` records (0: all), from the `first` newest on (0 is the newest).

        They come oldest first, as the card sends them. `record_length` is not sent: it tells
        them apart.
        """
        _require_file_no(file_no)
        require_range("record length", record_length, 1, 0xFFFFFF)
        opcode = self.opcodes.read_records
        data = self._command(
            opcode,
            bytes([file_no]) + _span(first, count),
            send=mode,
            receive=mode,
            length=count * record_length or None,
        )
        with self._session_ends_on_error():
            if len(data) % record_length:
                raise MalformedResponse(command="ReadRecords", length=len(data))
        read = len(data) // record_length
        self._account(lambda tmi: tmi.read_records(opcode, file_no, first, read, data))
        return [data[i : i + record_length] for i in range(0, len(data), record_length)]

    def write_record(
        self, file_no: int, offset: int, data: bytes, mode: CommMode = CommMode.PLAIN
    ) -> None:
        """WriteRecord: into a new record, from `offset` on; visible after the commit."""
        _require_file_no(file_no)
        opcode = self.opcodes.write_record
        self._command(opcode, bytes([file_no]) + _span(offset, len(data)), _some(data), send=mode)
        self._account(lambda tmi: tmi.write_record(opcode, file_no, offset, data))

    def update_record(
        self,
        file_no: int,
        record_no: int,
        offset: int,
        data: bytes,
        mode: CommMode = CommMode.PLAIN,
    ) -> None:
        """UpdateRecord, EV2 and later: part of an existing record; 0 is the newest."""
        _require_file_no(file_no)
        require_range("record number", record_no, 0, 0xFFFFFF)
        opcode = self.opcodes.update_record
        header = bytes([file_no]) + u24(record_no) + _span(offset, len(data))
        self._command(opcode, header, _some(data), send=mode)
        self._account(lambda tmi: tmi.update_record(opcode, file_no, record_no, offset, data))

    def clear_record_file(self, file_no: int, mode: CommMode = CommMode.MAC) -> None:
        """ClearRecordFile (EB), effective with the commit.

        Only in an EV2 session does the file's `mode` matter, and only whether it is PLAIN:
        there is nothing to encipher.
        """
        _require_file_no(file_no)
        self._command(0xEB, bytes([file_no]), send=mode)
        self._account(lambda tmi: tmi.clear_record_file(file_no))

    # Transactions

    def read_transaction_mac(self, file_no: int, mode: CommMode = CommMode.PLAIN) -> TransactionMac:
        """ReadData of a transaction MAC file: counter and MAC of the last transaction.

        Such a read is not part of the transaction MAC input.
        """
        return TransactionMac.from_bytes(self._read_data(file_no, 0, 12, mode))

    def commit_reader_id(self, reader_id: bytes) -> bytes:
        """CommitReaderID (C8): `reader_id`, 16 bytes, becomes part of the transaction.

        Returns EncTMRI, 16 bytes: the previous reader id, for whoever holds the transaction MAC
        key. Once a transaction, with the key of the transaction MAC file's ReadWrite right.
        """
        require_range("reader id length", len(reader_id), READER_ID_LENGTH, READER_ID_LENGTH)
        self._require_ev2_session("CommitReaderID")
        encrypted = self._command(
            0xC8,
            b"",
            reader_id,
            send=CommMode.MAC,
            receive=CommMode.FULL,
            length=READER_ID_LENGTH,
            padded=False,
        )
        self._account(lambda tmi: tmi.commit_reader_id(reader_id, encrypted))
        return encrypted

    def commit_transaction(self, *, return_tmac: bool = False) -> TransactionMac | None:
        """CommitTransaction (C7): everything since the authentication takes effect, or nothing.

        With `return_tmac` the card answers with its counter and MAC; without, None. NoChanges
        when nothing was pending. When the answer is lost it is not known which it was.
        """
        if not return_tmac:
            self._admin_command(0xC7)
            self._reset_transaction()
            return None
        answer = self._admin_command(0xC7, b"\x01", length=12)
        self._reset_transaction()
        return TransactionMac.from_bytes(answer)

    def abort_transaction(self) -> None:
        """AbortTransaction (A7); NoChanges when nothing was pending."""
        self._admin_command(0xA7)
        self._reset_transaction()

    # Inside

    @property
    def _administrative_mode(self) -> CommMode:
        return CommMode.PLAIN if self._session is None else self._session.administrative_mode

    def _require_session(self, command: str) -> Session:
        if self._session is None:
            msg = f"{command} needs an authenticated session"
            raise ValueError(msg)
        return self._session

    def _require_ev2_session(self, command: str) -> Ev2Session:
        if isinstance(self._session, Ev2Session):
            return self._session
        msg = f"{command} needs an EV2 session"
        raise ValueError(msg)

    def _drop_session(self) -> None:
        self._session = None
        self._reset_transaction()

    def _reset_transaction(self) -> None:
        self._transaction_mac_input = TransactionMacInput()

    def _account(self, add: Callable[[TransactionMacInput], TransactionMacInput]) -> None:
        """What is done without a session is no part of the transaction MAC."""
        if self._session is not None:
            self._transaction_mac_input = add(self._transaction_mac_input)

    @contextlib.contextmanager
    def _session_ends_on_error(self) -> Iterator[None]:
        try:
            yield
        except CardError:
            self._drop_session()
            raise

    def _transmit(self, apdu: bytes) -> bytes:
        if self._foreseen is not None:
            self._foreseen.append(apdu)
            raise _Foreseen
        if self._answers:
            sent, response = self._answers.popleft()
            if sent != apdu:  # an answer that goes on where the command's should have ended
                raise MalformedResponse(command=f"{sent[1]:02X}", length=len(response))
        elif self._group_error is not None:
            raise self._group_error
        else:
            response = self.connection.transmit(apdu)
        done = self.exchanges
        self.exchanges = Exchanges(
            done.count + 1, done.bytes_sent + len(apdu), done.bytes_received + len(response)
        )
        return response

    def _send_frame(self, ins: int, data: bytes) -> tuple[bytes, int]:
        answer, status = parse_response(self._transmit(wrap_apdu(ins, data)))
        if status not in {OPERATION_OK, ADDITIONAL_FRAME}:
            raise refusal_by_status(status)
        return answer, status

    def _exchange(self, ins: int, payload: bytes, *, single: bool = False) -> list[bytes]:
        """One command with chaining in both directions; the data of each frame answered."""
        frame_data_max = SHORT_APDU_DATA_MAX if single else self._frame_data_max
        frames = list(command_frames(ins, payload, frame_data_max))
        answers: list[bytes] = []
        with self._session_ends_on_error():
            for frame_ins, data in frames[:-1]:
                answer, status = self._send_frame(frame_ins, data)
                if status != ADDITIONAL_FRAME or answer:
                    raise MalformedResponse(command=f"{ins:02X}", length=len(answer))
            answer, status = self._send_frame(*frames[-1])
            answers.append(answer)
            while status == ADDITIONAL_FRAME:
                if len(answers) >= RESPONSE_FRAMES_MAX:
                    raise GarbledResponse(length=sum(map(len, answers)))
                answer, status = self._send_frame(ADDITIONAL_FRAME, b"")
                answers.append(answer)
        return answers

    def _wrap(self, ins: int, header: bytes, data: bytes, mode: CommMode) -> bytes:
        if self._session is None:
            return header + data
        return self._session.wrap_command(ins, header, data, mode)

    def _unwrap(
        self,
        status: int,
        payload: bytes,
        mode: CommMode,
        *,
        length: int | None = None,
        padded: bool = True,
    ) -> bytes:
        if self._session is None:
            return payload
        return self._session.unwrap_response(status, payload, mode, length=length, padded=padded)

    def _command(
        self,
        ins: int,
        header: bytes,
        data: bytes = b"",
        *,
        send: CommMode,
        receive: CommMode | None = None,
        length: int | None = None,
        padded: bool = True,
    ) -> bytes:
        """One command: `data` secured by `send`; the answer by `receive`, `length` bytes if given.

        Where the answer carries no data, full mode leaves only the MAC, so that `receive` is
        then `send` brought down to that. A command that only reads has nothing to encipher:
        full mode leaves it its MAC.
        """
        if receive is None:
            receive = min(send, CommMode.MAC)
        single = self.iso_chaining and ins in _ISO_CHAINED
        if single:
            self._require_single_apdu(len(header), len(data), length or 0, send)
        with self._session_ends_on_error():
            payload = self._wrap(ins, header, data, send)
            answer = b"".join(self._exchange(ins, payload, single=single))
            plain = self._unwrap(OPERATION_OK, answer, receive, length=length, padded=padded)
            if length is not None and len(plain) != length:
                wrong = ResponseTooShort if len(plain) < length else MalformedResponse
                raise wrong(command=f"{ins:02X}", length=len(plain))
        return plain

    def _require_single_apdu(
        self, header_length: int, sent: int, received: int, mode: CommMode
    ) -> None:
        def secured(length: int) -> int:
            if self._session is None or mode is CommMode.PLAIN:
                return length
            enciphered = length + 16 - length % 16 if mode is CommMode.FULL and length else length
            return enciphered + _MAC_LENGTH

        if header_length + secured(sent) > SHORT_APDU_DATA_MAX:
            msg = f"{sent} bytes do not fit into one APDU; write them in pieces"
            raise ValueError(msg)
        if secured(received) > SHORT_APDU_ANSWER_MAX:
            msg = f"{received} bytes do not fit into one APDU; read them in pieces"
            raise ValueError(msg)

    def _admin_command(self, ins: int, header: bytes = b"", *, length: int | None = None) -> bytes:
        mode = self._administrative_mode
        return self._command(ins, header, send=mode, receive=mode, length=length)

    def _list_numbers(self, ins: int, width: int) -> list[int]:
        with self._session_ends_on_error():
            data = self._admin_command(ins)
            if len(data) % width:
                raise MalformedResponse(command=f"{ins:02X}", length=len(data))
        return [from_little(data[i : i + width]) for i in range(0, len(data), width)]

    def _create_file(self, ins: int, file_no: int, description: bytes) -> None:
        _require_file_no(file_no)
        self._admin_command(ins, bytes([file_no]) + description)

    def _read_data(self, file_no: int, offset: int, length: int, mode: CommMode) -> bytes:
        _require_file_no(file_no)
        return self._command(
            self.opcodes.read_data,
            bytes([file_no]) + _span(offset, length),
            send=mode,
            receive=mode,
            length=length or None,
        )

    def _value_command(self, ins: int, file_no: int, amount: int, mode: CommMode) -> None:
        _require_file_no(file_no)
        require_range("amount", amount, 0, 0x7FFFFFFF)
        self._command(ins, bytes([file_no]), i32(amount), send=mode)
        self._account(lambda tmi: tmi.value(ins, file_no, amount))

    def _authenticate_older(self, ins: int, handshake: Ev1Handshake | D40Handshake) -> None:
        _require_key_no(handshake.key_no)
        self._drop_session()
        challenge = self._challenge(ins, bytes([handshake.key_no]))
        token = handshake.answer_challenge(challenge, self._random_bytes(handshake.random_length))
        self._session = handshake.finish(self._last_answer(token))

    def _challenge(self, ins: int, payload: bytes) -> bytes:
        with self._session_ends_on_error():
            answer, status = self._send_frame(ins, payload)
            if status != ADDITIONAL_FRAME:
                raise MalformedResponse(command="Authenticate", length=len(answer))
        return answer

    def _last_answer(self, token: bytes) -> bytes:
        answer, status = self._send_frame(ADDITIONAL_FRAME, token)
        if status != OPERATION_OK:
            raise MalformedResponse(command="Authenticate", length=len(answer))
        return answer


_ISO_CHAINED = frozenset({0xAD, 0x8D, 0xAB, 0x8B, 0xBA})
_MAC_LENGTH = 8
_CONFIGURE_ATS = 0x02


def _span(offset: int, length: int) -> bytes:
    require_range("offset", offset, 0, 0xFFFFFF)
    require_range("length", length, 0, 0xFFFFFF)
    return u24(offset) + u24(length)


def _some(data: bytes) -> bytes:
    if not data:
        msg = "there is nothing to write"
        raise ValueError(msg)
    return data


def _require_aid(aid: int) -> None:
    require_range("application id", aid, 0, 0xFFFFFF)


def _require_file_no(file_no: int) -> None:
    require_range("file number", file_no, 0, FILE_NO_MAX)


def _require_key_no(key_no: int) -> None:
    require_range("key number", key_no, 0, KEY_NO_MAX)
