# ruff: noqa: ARG002 - every handler takes the step and its payload, as `play` gives them
"""Plays a recorded session through DesfireCard: every step becomes the method it was made by."""

from __future__ import annotations

from dataclasses import dataclass, field

from card_vectors import (
    ScriptedConnection,
    Vector,
    fixed_random,
    key_as_on_card,
    step_frames,
    unhex,
)

from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.files import (
    AccessRights,
    AnyFileSettings,
    DataFile,
    KeySettings,
    RecordFile,
    RecordFileSettings,
    ValueFile,
)
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.secure_messaging import CommMode


@dataclass
class Replay:
    """One recorded session. `modes` holds what file settings were seen: file to mode."""

    steps: list[Vector]
    reassemble: bool = False
    modes: dict[int, CommMode] = field(default_factory=dict)
    record_lengths: dict[int, int] = field(default_factory=dict)
    keys: dict[tuple[str, int], DesfireKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection = ScriptedConnection(
            [frame for step in self.steps for frame in step_frames(step)], self.reassemble
        )
        randoms = [unhex(step["rnda"]) for step in self.steps if step.get("kind") == "auth"]
        self.card = DesfireCard(self.connection, random_bytes=fixed_random(randoms))

    def run(self) -> None:
        for step in self.steps:
            self.play(step)
        self.connection.assert_finished()

    def play(self, step: Vector) -> None:
        command = unhex(step["frames"][0][0])
        getattr(self, f"_play_{command[0]:02x}")(step, self._joined_command(step))

    def _joined_command(self, step: Vector) -> bytes:
        """The command with its continuation frames, without INS."""
        whole = b""
        for command, answer in step_frames(step):
            whole += command[1:]
            if answer != b"\xaf":
                break
        return whole

    def _answer(self, step: Vector) -> bytes:
        return b"".join(answer[1:] for _, answer in step_frames(step))

    # Authentication

    def _authentication_key(self, step: Vector) -> DesfireKey:
        value = unhex(step["key"])
        if step["mode"] == "AES":
            kind = KeyType.AES
        else:
            kind = {8: KeyType.DES, 16: KeyType.TDES_2K, 24: KeyType.TDES_3K}[len(value)]
        key = key_as_on_card(value, kind)
        self.keys[step["aid"], step["keyno"]] = key
        return key

    def _check_session_key(self, step: Vector) -> None:
        session = self.card._session
        assert session is not None
        # Version bits do not matter to a DES cipher: traces print them as they please.
        assert getattr(session, "key").hex() == unhex(step["session_key"]).hex()  # noqa: B009

    def _play_0a(self, step: Vector, payload: bytes) -> None:
        self.card.authenticate_legacy(payload[0], self._authentication_key(step))
        self._check_session_key(step)

    def _play_1a(self, step: Vector, payload: bytes) -> None:
        self.card.authenticate_iso(payload[0], self._authentication_key(step))
        self._check_session_key(step)

    def _play_aa(self, step: Vector, payload: bytes) -> None:
        self.card.authenticate_aes(payload[0], self._authentication_key(step))
        self._check_session_key(step)

    def _play_c4(self, step: Vector, payload: bytes) -> None:
        value = unhex(step["new_key"])
        key_no = payload[0] & 0x3F
        wire = unhex(step["tx_plain"])
        current = self.keys[step["aid"], self.card.authenticated_key_no or 0]
        at_picc_level = step["aid"] == "000000"
        is_aes = bool(payload[0] & 0x80) if at_picc_level else current.type is KeyType.AES
        if is_aes:
            new_key = DesfireKey.aes(value, step["ver"])
        elif len(value) == 16 and value[:8] == value[8:]:
            new_key = key_as_on_card(value[:8], KeyType.DES)
        else:
            new_key = key_as_on_card(
                value, KeyType.TDES_3K if len(value) == 24 else KeyType.TDES_2K
            )
        assert wire.startswith(new_key.wire_value)
        if step["same_key"]:
            self.card.change_key(key_no, new_key)
            assert self.card.authenticated_key_no is None
        else:
            old_key = DesfireKey(new_key.type, bytes(new_key.type.length))
            self.card.change_key(key_no, new_key, old_key)
            assert self.card.authenticated_key_no is not None
        self.keys[step["aid"], key_no] = new_key

    # Card and applications

    def _play_5a(self, step: Vector, payload: bytes) -> None:
        self.card.select_application(int.from_bytes(payload, "little"))

    def _play_60(self, step: Vector, payload: bytes) -> None:
        version = self.card.get_version()
        assert version.uid == self._answer(step)[14:21]

    def _play_51(self, step: Vector, payload: bytes) -> None:
        assert self.card.get_card_uid() == unhex(step["rx_plain"])[:7]

    def _play_6e(self, step: Vector, payload: bytes) -> None:
        assert self.card.get_free_memory() == int.from_bytes(self._answer(step)[:3], "little")

    def _play_fc(self, step: Vector, payload: bytes) -> None:
        self.card.format_picc()

    def _play_6a(self, step: Vector, payload: bytes) -> None:
        aids = self.card.get_application_ids()
        answer = self._answer(step)
        assert b"".join(aid.to_bytes(3, "little") for aid in aids) == answer[: 3 * len(aids)]
        assert len(answer) - 3 * len(aids) in {0, 8}

    def _play_ca(self, step: Vector, payload: bytes) -> None:
        assert len(payload) == 5
        kinds = {0x00: KeyType.TDES_2K, 0x40: KeyType.TDES_3K, 0x80: KeyType.AES}
        self.card.create_application(
            int.from_bytes(payload[:3], "little"),
            KeySettings.from_int(payload[3]),
            key_count=payload[4] & 0xF,
            key_type=kinds[payload[4] & 0xC0],
            iso_file_ids=bool(payload[4] & 0x20),
        )

    def _play_da(self, step: Vector, payload: bytes) -> None:
        self.card.delete_application(int.from_bytes(payload, "little"))

    def _play_45(self, step: Vector, payload: bytes) -> None:
        settings = self.card.get_key_settings()
        answer = self._answer(step)
        assert int(settings.settings) == answer[0]
        assert settings.key_count == answer[1] & 0xF

    def _play_54(self, step: Vector, payload: bytes) -> None:
        self.card.change_key_settings(KeySettings.from_int(unhex(step["tx_plain"])[0]))

    def _play_64(self, step: Vector, payload: bytes) -> None:
        assert self.card.get_key_version(payload[0]) == self._answer(step)[0]

    # Files

    def _play_6f(self, step: Vector, payload: bytes) -> None:
        file_ids = bytes(self.card.get_file_ids())
        assert self._answer(step).startswith(file_ids)

    def _play_f5(self, step: Vector, payload: bytes) -> None:
        settings = self.card.get_file_settings(payload[0])
        self._remember(payload[0], settings)

    def _remember(self, file_no: int, settings: AnyFileSettings) -> None:
        assert settings.extra == b""
        self.modes[file_no] = settings.comm_mode
        if isinstance(settings, RecordFileSettings):
            self.record_lengths[file_no] = settings.record_length

    def _play_df(self, step: Vector, payload: bytes) -> None:
        self.card.delete_file(payload[0])

    @staticmethod
    def _data_file(payload: bytes) -> DataFile:
        return DataFile(
            CommMode(payload[1]),
            AccessRights.from_bytes(payload[2:4]),
            int.from_bytes(payload[4:7], "little"),
        )

    def _play_cd(self, step: Vector, payload: bytes) -> None:
        self.card.create_standard_file(payload[0], self._data_file(payload))

    def _play_cb(self, step: Vector, payload: bytes) -> None:
        self.card.create_backup_file(payload[0], self._data_file(payload))

    def _play_cc(self, step: Vector, payload: bytes) -> None:
        lower, upper, value = (
            int.from_bytes(payload[i : i + 4], "little", signed=True) for i in (4, 8, 12)
        )
        rights = AccessRights.from_bytes(payload[2:4])
        options = payload[16]
        self.card.create_value_file(
            payload[0],
            ValueFile(
                CommMode(payload[1]),
                rights,
                lower,
                upper,
                value,
                limited_credit_enabled=bool(options & 1),
                free_get_value=bool(options & 2),
            ),
        )

    @staticmethod
    def _record_file(payload: bytes) -> RecordFile:
        return RecordFile(
            CommMode(payload[1]),
            AccessRights.from_bytes(payload[2:4]),
            int.from_bytes(payload[4:7], "little"),
            int.from_bytes(payload[7:10], "little"),
        )

    def _play_c1(self, step: Vector, payload: bytes) -> None:
        self.card.create_linear_record_file(payload[0], self._record_file(payload))

    def _play_c0(self, step: Vector, payload: bytes) -> None:
        self.card.create_cyclic_record_file(payload[0], self._record_file(payload))

    # Data

    def _mode(self, step: Vector, file_no: int) -> CommMode:
        """What the file's settings said; where they were not read, what the recording did."""
        if file_no in self.modes:
            return self.modes[file_no]
        comm = step["comm"]
        return CommMode.FULL if "ciphered" in {comm["tx"], comm["rx"]} else CommMode.PLAIN

    @staticmethod
    def _written(step: Vector, payload: bytes, header_length: int) -> bytes:
        length = int.from_bytes(payload[4:7], "little")
        plain = unhex(step["tx_plain"]) if "tx_plain" in step else payload[header_length:]
        return plain[:length]

    def _play_3d(self, step: Vector, payload: bytes) -> None:
        mode = self._mode(step, payload[0])
        data = self._written(step, payload, 7)
        self.card.write_data(payload[0], int.from_bytes(payload[1:4], "little"), data, mode)

    def _play_bd(self, step: Vector, payload: bytes) -> None:
        offset, length = (int.from_bytes(payload[i : i + 3], "little") for i in (1, 4))
        data = self.card.read_data(payload[0], offset, length, self._mode(step, payload[0]))
        self._check_read(step, data)

    def _check_read(self, step: Vector, data: bytes) -> None:
        recorded = step.get("rx_data", step.get("rx_plain"))
        plain = self._answer(step) if recorded is None else unhex(recorded)
        assert plain.startswith(data)
        # What the recording has beyond the data is MAC, CRC or padding.
        assert len(plain) - len(data) <= 16
        assert data

    def _play_6c(self, step: Vector, payload: bytes) -> None:
        value = self.card.get_value(payload[0], self._mode(step, payload[0]))
        self._check_read(step, value.to_bytes(4, "little", signed=True))

    def _amount(self, step: Vector, payload: bytes) -> int:
        plain = unhex(step["tx_plain"]) if "tx_plain" in step else payload[1:]
        return int.from_bytes(plain[:4], "little")

    def _play_0c(self, step: Vector, payload: bytes) -> None:
        self.card.credit(payload[0], self._amount(step, payload), self._mode(step, payload[0]))

    def _play_dc(self, step: Vector, payload: bytes) -> None:
        self.card.debit(payload[0], self._amount(step, payload), self._mode(step, payload[0]))

    def _play_1c(self, step: Vector, payload: bytes) -> None:
        self.card.limited_credit(
            payload[0], self._amount(step, payload), self._mode(step, payload[0])
        )

    def _play_3b(self, step: Vector, payload: bytes) -> None:
        data = self._written(step, payload, 7)
        offset = int.from_bytes(payload[1:4], "little")
        self.card.write_record(payload[0], offset, data, self._mode(step, payload[0]))

    def _play_bb(self, step: Vector, payload: bytes) -> None:
        first, count = (int.from_bytes(payload[i : i + 3], "little") for i in (1, 4))
        records = self.card.read_records(
            payload[0],
            first,
            count,
            record_length=self.record_lengths[payload[0]],
            mode=self._mode(step, payload[0]),
        )
        self._check_read(step, b"".join(records))

    def _play_eb(self, step: Vector, payload: bytes) -> None:
        self.card.clear_record_file(payload[0])

    def _play_c7(self, step: Vector, payload: bytes) -> None:
        assert self.card.commit_transaction() is None

    def _play_a7(self, step: Vector, payload: bytes) -> None:
        self.card.abort_transaction()
