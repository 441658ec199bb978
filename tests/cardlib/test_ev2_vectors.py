"""EV2 authentication, secure messaging and key changes against NXP's published sessions.

Each published APDU is what DesfireCard sends, byte for byte, and each published answer is
understood, where the vector has both; the session is put in place as the vector gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from card_vectors import Vector, fixed_random, load_vectors, unhex

from dobmi.cardlib.crypto import aes_cbc_decrypt
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.files import AccessRights, DataFileSettings, parse_file_settings
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.secure_messaging_ev2 import Ev2Session, session_keys
from dobmi.cardlib.transaction_mac import TransactionMac, tmi_commit_reader_id, tmi_write_record

AUTH = load_vectors("ev2_auth_session")
CHANGE_KEY = load_vectors("ev2_changekey")
MESSAGING = [
    *load_vectors("ev2_secure_messaging"),
    *[v for v in load_vectors("ev2_value_record") if "ses_mac" in v["inputs"]],
    *[v for v in load_vectors("tmac") if "ses_mac" in v["inputs"]],
]
PLAIN = [v for v in load_vectors("ev2_value_record") if "ses_mac" not in v["inputs"]]

MODES = {"plain": CommMode.PLAIN, "mac": CommMode.MAC, "full": CommMode.FULL}


def name_of(vector: Vector) -> str:
    return str(vector["name"])


@dataclass
class ApduScript:
    """Answers whole APDUs, each as the vector prints it."""

    exchanges: list[tuple[str, str]]
    uid: bytes = bytes(7)
    made: int = field(default=0)

    def transmit(self, command: bytes) -> bytes:
        expected, answer = self.exchanges[self.made]
        self.made += 1
        assert command.hex().upper() == expected
        return unhex(answer)

    def disconnect(self) -> None:
        raise AssertionError("no test disconnects")

    def assert_finished(self) -> None:
        assert self.made == len(self.exchanges)


def session_of(vector: Vector) -> Ev2Session:
    inputs = vector["inputs"]
    return Ev2Session(
        inputs.get("session_key_no", 0),
        unhex(inputs["ses_enc"]),
        unhex(inputs["ses_mac"]),
        unhex(inputs["ti"]),
        inputs["cmd_ctr"],
    )


def whole_handshakes() -> list[Vector]:
    return [v for v in AUTH if "capdu2" in v["outputs"]]


def test_every_authentication_vector_is_used() -> None:
    keys_alone = [v for v in AUTH if "capdu2" not in v["outputs"] and "iv" not in v["outputs"]]
    ivs = [v for v in AUTH if "iv" in v["outputs"]]
    used = [*whole_handshakes(), *keys_alone, *ivs]
    assert sorted(map(name_of, used)) == sorted(map(name_of, AUTH))


@pytest.mark.parametrize("vector", whole_handshakes(), ids=name_of)
def test_ev2_authentication_is_the_published_exchange(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    script = ApduScript(
        [(inputs["capdu1"], inputs["rapdu1"]), (outputs["capdu2"], outputs["rapdu2"])]
    )
    rnd_a = unhex(inputs.get("rnda", outputs.get("rnda")))
    card = DesfireCard(script, random_bytes=fixed_random([rnd_a]))
    key, key_no = DesfireKey.aes(unhex(inputs["key"])), inputs.get("key_no", 0)
    before = inputs.get("session_before")
    if before is None:
        card.authenticate_ev2_first(key_no, key)
    else:
        card._session = Ev2Session(3, bytes(16), bytes(16), unhex(before["ti"]), before["cmd_ctr"])
        card.authenticate_ev2_non_first(key_no, key)
    script.assert_finished()
    session = card._session
    assert isinstance(session, Ev2Session)
    assert session.encryption_key.hex().upper() == outputs["ses_auth_enc_key"]
    assert session.mac_key.hex().upper() == outputs["ses_auth_mac_key"]
    assert session.key_no == key_no
    if before is None:
        expected_ti, expected_counter = outputs.get("ti", inputs.get("ti")), 0
    else:
        after = outputs["session_after"]
        expected_ti, expected_counter = after["ti"], after["cmd_ctr"]
    assert session.transaction_id.hex().upper() == expected_ti
    assert session.command_counter == expected_counter


@pytest.mark.parametrize(
    "vector", [v for v in AUTH if "ses_auth_enc_key" in v["outputs"]], ids=name_of
)
def test_ev2_session_keys_are_the_published_ones(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    rnd_a = unhex(inputs.get("rnda", outputs.get("rnda")))
    rnd_b = unhex(inputs.get("rndb") or vector["intermediate"]["rndb"])
    encryption_key, mac_key = session_keys(unhex(inputs["key"]), rnd_a, rnd_b)
    assert encryption_key.hex().upper() == outputs["ses_auth_enc_key"]
    assert mac_key.hex().upper() == outputs["ses_auth_mac_key"]


@pytest.mark.parametrize("vector", [v for v in AUTH if "iv" in v["outputs"]], ids=name_of)
def test_ev2_command_iv_is_the_published_one(vector: Vector) -> None:
    inputs = vector["inputs"]
    key = unhex(inputs["ses_enc"])
    session = Ev2Session(0, key, bytes(16), unhex(inputs["ti"]), inputs["cmd_ctr"])
    sent = session.wrap_command(0x8D, b"", b"data", CommMode.FULL)
    # The first block deciphered with a zero IV is the padded data xored with the IV.
    mixed = aes_cbc_decrypt(key, bytes(16), sent[:16])
    iv = bytes(a ^ b for a, b in zip(mixed, b"data\x80".ljust(16, b"\0"), strict=True))
    assert iv.hex().upper() == vector["outputs"]["iv"]


@pytest.mark.parametrize("vector", MESSAGING, ids=name_of)
def test_ev2_command_and_answer_are_the_published_bytes(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    session = session_of(vector)
    ins = unhex(inputs["ins"])[0]
    payload = session.wrap_command(
        ins, unhex(inputs["cmd_header"]), unhex(inputs["cmd_data"]), MODES[inputs["comm_mode"]]
    )
    wrapped = bytes([0x90, ins, 0, 0, len(payload)]) + payload + b"\0"
    assert wrapped.hex().upper() == outputs["capdu"]
    if inputs["rapdu"] is not None:
        answer = unhex(inputs["rapdu"])
        plain = session.unwrap_response(answer[-1], answer[:-2], MODES[inputs["rsp_mode"]])
        assert plain.hex().upper() == outputs["response_data"]


def set_configuration_ats(card: DesfireCard) -> None:
    card.set_configuration(0x02, unhex("067777710280"))


def set_configuration_random_id(card: DesfireCard) -> None:
    card.set_configuration(0x00, b"\x02")


def get_card_uid(card: DesfireCard) -> None:
    uid = card.get_card_uid()
    assert uid.hex().upper() in {"04DE5F1EACC040", "04958CAA5C5E80"}


def change_tmac_file_settings(card: DesfireCard) -> None:
    card.change_file_settings(4, CommMode.PLAIN, AccessRights(0xE, 0xE, 0xE, 0xE))


def write_plain(card: DesfireCard) -> None:
    card.write_data(0, 0, b"\x22" * 25)


def write_mac(card: DesfireCard) -> None:
    card.write_data(0, 0, b"\x22" * 25, CommMode.MAC)


def read_mac(card: DesfireCard) -> None:
    assert card.read_data(0, 0, 0x30, CommMode.MAC) == b"\x22" * 25 + bytes(23)


def get_key_version(card: DesfireCard) -> None:
    assert card.get_key_version(0) == 0


def write_full(card: DesfireCard) -> None:
    vector = next(v for v in MESSAGING if "128 bytes" in v["name"])
    card.write_data(2, 0, unhex(vector["inputs"]["cmd_data"]), CommMode.FULL)


def get_value(card: DesfireCard) -> None:
    assert card.get_value(3, CommMode.FULL) == 0


def credit(card: DesfireCard) -> None:
    card.credit(3, 153, CommMode.FULL)


def write_record(card: DesfireCard) -> None:
    data = unhex("11223344556677889900112233445566")
    card.write_record(1, 0, data, CommMode.FULL)
    assert card.transaction_mac_input == tmi_write_record(0x8B, 1, 0, data)


def commit_reader_id(card: DesfireCard) -> None:
    reader_id = unhex("28BF1982BE086FBC60A22DAEB66613EE")
    encrypted = card.commit_reader_id(reader_id)
    assert encrypted.hex().upper() == "BDD40ED9F434F9DDCBF5821299CD2119"
    assert card.transaction_mac_input == tmi_commit_reader_id(reader_id, encrypted)


def commit_transaction(card: DesfireCard) -> None:
    made = card.commit_transaction(return_tmac=True)
    assert made == TransactionMac(4, unhex("94A3205E41588BA9"))
    assert card.transaction_mac_input == b""


METHODS: dict[str, Callable[[DesfireCard], None]] = {
    "AN12343 T6 ": set_configuration_ats,
    "AN12343 T7 ": get_card_uid,
    "AN12343 T11 ": change_tmac_file_settings,
    "AN12343 T21 ": write_plain,
    "AN12343 T23 ": write_mac,
    "AN12343 T24 ": read_mac,
    "AN12343 T38 ": get_key_version,
    "AN12196 §5.4 ": write_full,
    "AN12196 §7.3 ": get_card_uid,
    "AN12196 T28 ": set_configuration_random_id,
    "AN12343 T35 ": get_value,
    "AN12343 T36 ": credit,
    "AN12343 T32a ": write_record,
    "AN12343 T32b ": commit_reader_id,
    "AN12343 T32d ": commit_transaction,
}


@pytest.mark.parametrize("vector", MESSAGING, ids=name_of)
def test_desfire_card_makes_the_published_exchange(vector: Vector) -> None:
    [method] = [m for prefix, m in METHODS.items() if vector["name"].startswith(prefix)]
    inputs = vector["inputs"]
    answer = inputs["rapdu"]
    if answer is None:
        # The table of the plain write prints no answer; in plain mode it is the bare status.
        answer = "9100"
    script = ApduScript([(vector["outputs"]["capdu"], answer)])
    card = DesfireCard(script, iso_chaining=True)
    card._session = session_of(vector)
    method(card)
    script.assert_finished()
    assert card.exchanges.count == 1


@pytest.mark.parametrize("vector", CHANGE_KEY, ids=name_of)
def test_ev2_key_change_is_the_published_exchange(vector: Vector) -> None:
    inputs, outputs = vector["inputs"], vector["outputs"]
    script = ApduScript([(outputs["capdu"], outputs["rapdu"])])
    card = DesfireCard(script)
    card._session = session_of(vector)
    card._selected_aid = 1  # the traces are of an application: its key numbers have no type bits
    new_key = DesfireKey.aes(unhex(inputs["new_key"]), inputs["new_version"])
    if inputs["old_key"] is None:
        card.change_key(inputs["key_no"], new_key)
        assert card.authenticated_key_no is None
    else:
        card.change_key(inputs["key_no"], new_key, DesfireKey.aes(unhex(inputs["old_key"])))
        assert card.authenticated_key_no == 0
    script.assert_finished()


def test_plain_exchanges_of_an12343_are_understood() -> None:
    by_command = {v["inputs"]["capdu"]: v for v in PLAIN}
    assert len(by_command) == len(PLAIN) == 3
    script = ApduScript([(c, v["outputs"]["rapdu"]) for c, v in by_command.items()])
    card = DesfireCard(script)
    calls: dict[str, Callable[[], object]] = {
        "6F": card.get_file_ids,
        "F5": lambda: card.get_file_settings(0),
        "6C": lambda: card.get_value(3),
    }
    answers = {command[2:4]: calls[command[2:4]]() for command in by_command}
    assert answers["6F"] == [0x0F, 0x1F, 0x03, 0x00, 0x01, 0x04]
    assert answers["6C"] == 0
    settings = answers["F5"]
    assert settings == parse_file_settings(unhex("0003301F000100"))
    assert isinstance(settings, DataFileSettings)
    assert settings.comm_mode is CommMode.FULL
    assert settings.access == AccessRights(read=1, write=0xF, read_write=3, change=0)
    assert settings.size == 0x100
    script.assert_finished()
    assert card.transaction_mac_input == b"", "what is done without a session is not MACed"
