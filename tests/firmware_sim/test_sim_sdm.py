"""The simulated EV3 card's secure dynamic messaging, as phones and other people's programs meet it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import nfc.clf
import nfc.clf.pn532
import nfc.clf.transport
import pytest

from dobmi.cardlib.crypto import aes_cbc_decrypt
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import CardRefused
from dobmi.cardlib.files import FREE, NEVER, AccessRights, DataFile, DataFileSettings, KeySettings
from dobmi.cardlib.keys import FACTORY_PICC_KEY, ZERO_AES_KEY
from dobmi.cardlib.ndef import dynamic_content
from dobmi.cardlib.purse_layout import NDEF_AID, NDEF_DF_NAME
from dobmi.cardlib.sdm import SDM_BIT, SdmSettings
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.pn532 import PN532
from support.phones import read_as_a_phone
from support.purses import InProcess

UID = bytes.fromhex("04996C6A926980")
OPEN = AccessRights(read=FREE, write=0, read_write=0, change=0)
CONTENT = dynamic_content("https://h.example/k/")
CAPABILITIES = bytes.fromhex("000F20003A00340406E104010000FF")


@dataclass
class Tag:
    """A card with an NDEF application whose keys are the factory's, and our side of it."""

    card: SimulatedCard
    ours: DesfireCard

    def settings(self) -> DataFileSettings:
        found = self.ours.get_file_settings(2)
        assert isinstance(found, DataFileSettings)
        return found

    def turn_on(self, extra: bytes) -> None:
        self.ours.authenticate_ev2_first(0, ZERO_AES_KEY)
        self.ours.change_file_settings(2, CommMode.PLAIN, OPEN, options=SDM_BIT, extra=extra)


def make(personality: Personality, *, sdm_allowed: bool = True) -> Tag:
    card = SimulatedCard(UID, personality)
    ours = DesfireCard(InProcess(card), iso_chaining=True)
    ours.select_application(0)
    ours.authenticate_iso(0, FACTORY_PICC_KEY)
    ours.create_application(
        NDEF_AID,
        KeySettings(),
        key_count=3,
        iso_file_ids=True,
        iso_file_id=0xE110,
        df_name=NDEF_DF_NAME,
    )
    ours.select_application(NDEF_AID)
    ours.authenticate_ev2_first(0, ZERO_AES_KEY)
    ours.create_standard_file(1, DataFile(CommMode.PLAIN, OPEN, 15, 0xE103))
    ours.write_data(1, 0, CAPABILITIES)
    ours.create_standard_file(
        2, DataFile(CommMode.PLAIN, OPEN, 256, 0xE104, sdm_allowed=sdm_allowed)
    )
    ours.write_data(2, 0, CONTENT.message)
    return Tag(card, ours)


@pytest.fixture
def tag() -> Tag:
    assert CONTENT.sdm is not None
    made = make(Personality.EV3)
    made.turn_on(bytes(CONTENT.sdm))
    return made


def test_settings_are_reported_as_they_were_given(tag: Tag) -> None:
    settings = tag.settings()
    assert settings.options == SDM_BIT
    assert SdmSettings.from_bytes(settings.extra) == CONTENT.sdm


def test_all_parts_of_one_reading_belong_together_and_the_next_is_another(tag: Tag) -> None:
    tag.ours.select_application(NDEF_AID)
    first = tag.ours.read_data(2, 0, 60) + tag.ours.read_data(2, 60, 50)
    tag.ours.select_application(NDEF_AID)
    second = tag.ours.read_data(2, 0, 110)
    assert first[: CONTENT.message.index(b"?p=")] == second[: CONTENT.message.index(b"?p=")]
    assert first != second
    assert [_counter(part) for part in (first, second)] == [1, 2]


def test_the_card_itself_reads_what_was_written_and_does_not_count(tag: Tag) -> None:
    tag.ours.authenticate_ev2_first(0, ZERO_AES_KEY)
    assert tag.ours.read_data(2, 0, len(CONTENT.message)) == CONTENT.message
    assert _counter(_message(read_as_a_phone(tag.card))) == 1


def test_the_counter_outlives_the_field_and_begins_anew_with_new_settings(tag: Tag) -> None:
    for expected in (1, 2, 3):
        assert _counter(_message(read_as_a_phone(tag.card))) == expected
    assert CONTENT.sdm is not None
    tag.card.power_off()
    tag.ours.select_application(NDEF_AID)
    tag.turn_on(bytes(CONTENT.sdm))
    assert _counter(_message(read_as_a_phone(tag.card))) == 1


def test_uid_and_counter_are_shown_in_clear_where_that_is_asked_for() -> None:
    made = make(Personality.EV3)
    start = CONTENT.message.index(b"?p=") + 3
    offsets = start.to_bytes(3, "little") + (start + 14).to_bytes(3, "little")
    made.turn_on(bytes.fromhex("C1FFEF") + offsets)
    shown = read_as_a_phone(made.card)
    assert shown.partition("?p=")[2].startswith(f"{UID.hex().upper()}000001")


@pytest.mark.parametrize(
    "extra",
    [
        "",  # no options
        "C1FF12",  # no offsets
        "C1FF12110000340000",  # one is missing
        "C1FF12110000340000340000000000",  # one too many
        "C1FF12F00000340000340000",  # the places pass the file's end
        "C1FF12110000350000340000",  # the MAC's input ends before it begins
        "C1FF52110000340000340000",  # a key that is not there
        "D1FF12110000340000340000",  # enciphered file data, which is not modelled
        "C11F12110000340000340000",  # bits that must be F
    ],
)
def test_settings_that_make_no_sense_are_refused(extra: str) -> None:
    made = make(Personality.EV3)
    with pytest.raises(CardRefused):
        made.turn_on(bytes.fromhex(extra))


def test_a_file_made_without_the_bit_never_gets_it() -> None:
    assert CONTENT.sdm is not None
    made = make(Personality.EV3, sdm_allowed=False)
    with pytest.raises(CardRefused):
        made.turn_on(bytes(CONTENT.sdm))


def test_an_ev2_card_knows_nothing_of_it() -> None:
    with pytest.raises(CardRefused):
        make(Personality.EV2)


def test_the_counter_is_told_to_whom_the_settings_say() -> None:
    made = make(Personality.EV3)
    assert CONTENT.sdm is not None
    open_to_all = bytearray(bytes(CONTENT.sdm))
    open_to_all[1] = 0xF0 | FREE
    made.turn_on(bytes(open_to_all))
    read_as_a_phone(made.card)
    made.card.power_off()
    made.card.process(bytes.fromhex("905A00000310EEEE00"))
    assert made.card.process(bytes.fromhex("90F60000010200")) == bytes.fromhex("01000000009100")
    open_to_all[1] = 0xF0 | NEVER
    made.ours.select_application(NDEF_AID)
    made.turn_on(bytes(open_to_all))
    made.card.power_off()
    made.card.process(bytes.fromhex("905A00000310EEEE00"))
    assert made.card.process(bytes.fromhex("90F60000010200")) == bytes.fromhex("919D")


@pytest.fixture
def frontend() -> Iterator[tuple[PN532, nfc.clf.ContactlessFrontend]]:
    with PN532() as pn532:
        opened = nfc.clf.ContactlessFrontend()
        opened.device = nfc.clf.pn532.init(nfc.clf.transport.TTY(pn532.path))
        yield pn532, opened
        opened.close()


def test_nfcpys_type_4_tag_reads_the_address_through_its_own_driver(
    tag: Tag, frontend: tuple[PN532, nfc.clf.ContactlessFrontend]
) -> None:
    pn532, reader = frontend
    tag.card.power_off()
    pn532.insert(tag.card)
    found = reader.connect(rdwr={"on-connect": lambda _tag: False})
    assert found.type == "Type4Tag"
    (record,) = found.ndef.records
    assert record.iri.startswith("https://h.example/k/?p=")
    assert _counter(_message(record.iri)) >= 1


def _message(url: str) -> bytes:
    return url.encode()


def _counter(shown: bytes) -> int:
    """Out of the enciphered data, under the factory's key."""
    start = shown.index(b"?p=") + 3
    plain = aes_cbc_decrypt(bytes(16), bytes(16), bytes.fromhex(shown[start : start + 32].decode()))
    assert plain[:8] == b"\xc7" + UID
    return int.from_bytes(plain[8:11], "little")
