"""Every command of DesfireCard with a simulated card, which keeps its own side of the protocol.

Each file type, in each communication mode, under each kind of session: what goes in comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import (
    ApplicationNotFound,
    AuthenticationError,
    BoundaryError,
    DuplicateError,
    FileNotFound,
    NoChanges,
    PermissionDenied,
)
from dobmi.cardlib.files import (
    FREE,
    NEVER,
    AccessRights,
    DataFile,
    DataFileSettings,
    KeySettings,
    RecordFile,
    RecordFileSettings,
    TransactionMacFile,
    TransactionMacFileSettings,
    ValueFile,
    ValueFileSettings,
)
from dobmi.cardlib.keys import FACTORY_PICC_KEY, ZERO_AES_KEY, DesfireKey, KeyType
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.transaction_mac import (
    TransactionMac,
    decrypt_previous_reader_id,
    verify_transaction_mac,
)
from dobmi.cardlib.version import Generation
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.personality import Personality

UID = bytes.fromhex("04782E21801D80")
AID = 0xD0B310
BY_KEY_0 = AccessRights(read=0, write=0, read_write=0, change=0)
MASTER_KEY = DesfireKey.aes(bytes(range(16)), 1)
TMAC_KEY = DesfireKey.aes(bytes(range(100, 116)), 3)


class Straight:
    """A connection straight to the simulated card."""

    def __init__(self, card: SimulatedCard) -> None:
        self.card = card
        self.uid = card.uid

    def transmit(self, command: bytes) -> bytes:
        return self.card.process(command)

    def disconnect(self) -> None:
        self.card.power_off()


@dataclass(frozen=True)
class Scheme:
    """A kind of session: how one gets it, on which generation, with which application keys."""

    name: str
    personality: Personality
    key_type: KeyType
    authenticate: Callable[[DesfireCard, int, DesfireKey], None]
    iso_chaining: bool = False

    @property
    def key(self) -> DesfireKey:
        return DesfireKey(self.key_type, bytes(self.key_type.length))


SCHEMES = [
    Scheme("D40 DES", Personality.EV1, KeyType.DES, DesfireCard.authenticate_legacy),
    Scheme("D40 2K3DES", Personality.EV2, KeyType.TDES_2K, DesfireCard.authenticate_legacy),
    Scheme("EV1 DES", Personality.EV2, KeyType.DES, DesfireCard.authenticate_iso),
    Scheme("EV1 3K3DES", Personality.EV1, KeyType.TDES_3K, DesfireCard.authenticate_iso),
    Scheme("EV1 AES", Personality.EV1, KeyType.AES, DesfireCard.authenticate_aes),
    Scheme("EV2", Personality.EV2, KeyType.AES, DesfireCard.authenticate_ev2_first),
    Scheme("EV2 one APDU", Personality.EV3, KeyType.AES, DesfireCard.authenticate_ev2_first, True),
]


def fresh(personality: Personality, *, iso_chaining: bool = False) -> DesfireCard:
    return DesfireCard(Straight(SimulatedCard(UID, personality)), iso_chaining=iso_chaining)


def with_application(scheme: Scheme) -> DesfireCard:
    """A card with one application, selected and authenticated with its key 0."""
    card = fresh(scheme.personality, iso_chaining=scheme.iso_chaining)
    card.authenticate_legacy(0, FACTORY_PICC_KEY)
    card.create_application(AID, KeySettings(), key_count=3, key_type=scheme.key_type)
    card.select_application(AID)
    scheme.authenticate(card, 0, scheme.key)
    return card


every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
every_mode = pytest.mark.parametrize("mode", CommMode, ids=lambda mode: mode.name)


@every_scheme
@every_mode
def test_data_files_give_back_what_was_written(scheme: Scheme, mode: CommMode) -> None:
    card = with_application(scheme)
    file = DataFile(mode, BY_KEY_0, 200)
    card.create_standard_file(1, file)
    card.create_backup_file(2, file)
    assert card.get_file_ids() == [1, 2]
    content = bytes(range(200))
    for file_no in (1, 2):
        card.write_data(file_no, 0, content, mode)
        card.write_data(file_no, 5, b"within", mode)
    card.commit_transaction()
    content = content[:5] + b"within" + content[11:]
    for file_no in (1, 2):
        assert card.read_data(file_no, 0, 200, mode) == content
        assert card.read_data(file_no, 3, 16, mode) == content[3:19]
        assert card.read_data(file_no, 190, 0, mode) == content[190:]
        settings = card.get_file_settings(file_no)
        assert isinstance(settings, DataFileSettings)
        assert (settings.size, settings.comm_mode, settings.access) == (200, mode, BY_KEY_0)
    with pytest.raises(BoundaryError):
        card.read_data(1, 190, 11, mode)
    assert card.authenticated_key_no is None


@every_scheme
@every_mode
def test_value_file_counts_what_was_committed(scheme: Scheme, mode: CommMode) -> None:
    card = with_application(scheme)
    card.create_value_file(
        3, ValueFile(mode, BY_KEY_0, -10, 1_000_000, 500, limited_credit_enabled=True)
    )
    assert card.get_value(3, mode) == 500
    card.credit(3, 100, mode)
    card.debit(3, 610, mode)
    assert card.get_value(3, mode) == 500
    card.commit_transaction()
    assert card.get_value(3, mode) == -10
    card.limited_credit(3, 10, mode)
    card.abort_transaction()
    card.limited_credit(3, 5, mode)
    card.commit_transaction()
    assert card.get_value(3, mode) == -5
    settings = card.get_file_settings(3)
    assert isinstance(settings, ValueFileSettings)
    assert settings.limited_credit_enabled
    with pytest.raises(BoundaryError):
        card.debit(3, 6, mode)
    assert card.authenticated_key_no is None


@every_scheme
@every_mode
def test_record_files_keep_what_was_committed(scheme: Scheme, mode: CommMode) -> None:
    card = with_application(scheme)
    file = RecordFile(mode, BY_KEY_0, 20, 4)
    card.create_linear_record_file(4, file)
    card.create_cyclic_record_file(5, file)
    for file_no in (4, 5):
        for letter in b"abc":
            card.write_record(file_no, 0, bytes([letter]) * 20, mode)
            card.commit_transaction()
        assert card.read_records(file_no, 0, 1, record_length=20, mode=mode) == [b"c" * 20]
        assert card.read_records(file_no, 0, 0, record_length=20, mode=mode) == [
            b"a" * 20,
            b"b" * 20,
            b"c" * 20,
        ]
    card.write_record(5, 3, b"part", mode)
    card.commit_transaction()
    newest = bytes(3) + b"part" + bytes(13)
    assert card.read_records(5, 0, 3, record_length=20, mode=mode)[-1] == newest
    card.clear_record_file(5, mode)
    card.commit_transaction()
    settings = card.get_file_settings(5)
    assert isinstance(settings, RecordFileSettings)
    assert (settings.record_length, settings.records_max, settings.records_current) == (20, 4, 0)


@pytest.mark.parametrize("scheme", SCHEMES[-2:], ids=lambda scheme: scheme.name)
@every_mode
def test_record_is_updated_in_place(scheme: Scheme, mode: CommMode) -> None:
    card = with_application(scheme)
    card.create_cyclic_record_file(5, RecordFile(mode, BY_KEY_0, 20, 4))
    card.write_record(5, 0, b"a" * 20, mode)
    card.commit_transaction()
    card.update_record(5, 0, 2, b"bb", mode)
    card.commit_transaction()
    newest = card.read_records(5, 0, 1, record_length=20, mode=mode)
    assert newest == [b"aabb" + b"a" * 16]


@every_scheme
def test_keys_and_settings_are_changed(scheme: Scheme) -> None:
    card = with_application(scheme)
    length = scheme.key_type.length
    new_own = DesfireKey(scheme.key_type, bytes(range(2, length + 2)), 5)
    new_other = DesfireKey(scheme.key_type, bytes(range(40, 40 + length)), 6)
    card.change_key(1, new_other, scheme.key)
    assert card.get_key_version(1) == 6
    # What came before is gone from the key, not added to it.
    card.change_key(1, new_own, new_other)
    card.change_key(1, new_other, new_own)
    settings = KeySettings(free_listing=False)
    card.change_key_settings(settings)
    found = card.get_key_settings()
    assert (found.settings, found.key_count) == (settings, 3)
    card.change_key(0, new_own)
    assert card.authenticated_key_no is None
    with pytest.raises(AuthenticationError):
        scheme.authenticate(card, 0, scheme.key)
    scheme.authenticate(card, 0, new_own)
    scheme.authenticate(card, 1, new_other)
    assert card.authenticated_key_no == 1


@every_scheme
@every_mode
def test_file_settings_are_changed(scheme: Scheme, mode: CommMode) -> None:
    card = with_application(scheme)
    card.create_standard_file(1, DataFile(CommMode.PLAIN, BY_KEY_0, 16))
    rights = AccessRights(read=FREE, write=1, read_write=2, change=NEVER)
    card.change_file_settings(1, mode, rights)
    settings = card.get_file_settings(1)
    assert (settings.comm_mode, settings.access) == (mode, rights)
    card.delete_file(1)
    assert card.get_file_ids() == []
    with pytest.raises(FileNotFound):
        card.get_file_settings(1)


@pytest.mark.parametrize("personality", Personality)
def test_fresh_card_of_any_generation_gets_an_aes_master_key(personality: Personality) -> None:
    card = fresh(personality)
    version = card.get_version()
    assert version.generation is Generation(f"DESFire {personality.name}")
    assert version.uid == UID
    card.authenticate_iso(0, FACTORY_PICC_KEY)
    assert card.get_card_uid() == UID
    card.change_key(0, MASTER_KEY)
    card.authenticate_aes(0, MASTER_KEY)
    assert card.get_card_uid() == UID
    found = card.get_key_settings()
    assert (found.key_type, found.key_count) == (KeyType.AES, 1)
    assert card.get_key_version(0) == 1
    card.change_key(0, FACTORY_PICC_KEY)
    card.authenticate_legacy(0, FACTORY_PICC_KEY)
    assert card.get_card_uid() == UID


def test_applications_are_made_listed_and_deleted() -> None:
    card = fresh(Personality.EV2)
    empty = card.get_free_memory()
    card.authenticate_iso(0, FACTORY_PICC_KEY)
    card.create_application(
        AID,
        KeySettings(),
        key_count=1,
        iso_file_ids=True,
        iso_file_id=0xE110,
        df_name=b"\xd2\x76\0\0\x85\1\1",
    )
    card.create_application(2, KeySettings(), key_count=14)
    assert sorted(card.get_application_ids()) == [2, AID]
    with pytest.raises(DuplicateError):
        card.create_application(AID, KeySettings(), key_count=1)
    card.select_application(0)
    [named] = card.get_df_names()
    assert (named.aid, named.iso_file_id, named.name) == (AID, 0xE110, b"\xd2\x76\0\0\x85\1\1")
    card.select_application_by_name(b"\xd2\x76\0\0\x85\1\1")
    card.authenticate_ev2_first(0, ZERO_AES_KEY)
    card.create_standard_file(
        2, DataFile(CommMode.PLAIN, AccessRights(FREE, FREE, FREE, 0), 32, iso_file_id=0xE104)
    )
    assert card.get_iso_file_ids() == [0xE104]
    card.select_application(0)
    card.authenticate_iso(0, FACTORY_PICC_KEY)
    card.delete_application(2)
    assert card.get_application_ids() == [AID]
    card.format_picc()
    card.select_application(0)
    assert card.get_application_ids() == []
    assert card.get_free_memory() == empty
    with pytest.raises(ApplicationNotFound):
        card.select_application(AID)


@every_mode
def test_transaction_mac_is_the_one_computed_from_our_input(mode: CommMode) -> None:
    """P3: what the server will compute from the evidence is what the card answered."""
    card = with_application(SCHEMES[-1])
    rights = AccessRights(read=0, write=NEVER, read_write=0, change=0)
    card.create_standard_file(1, DataFile(mode, BY_KEY_0, 112))
    card.create_value_file(2, ValueFile(mode, BY_KEY_0, 0, 1_000_000, 50_000))
    card.create_cyclic_record_file(3, RecordFile(mode, BY_KEY_0, 32, 11))
    card.create_backup_file(4, DataFile(mode, BY_KEY_0, 32))
    card.create_transaction_mac_file(5, TransactionMacFile(mode, rights, TMAC_KEY))
    settings = card.get_file_settings(5)
    assert isinstance(settings, TransactionMacFileSettings)
    assert settings.key_version == 3
    previous = bytes(16)
    for counter in range(1, 4):
        card.authenticate_ev2_first(0, ZERO_AES_KEY)
        before = card.exchanges
        reader_id = bytes([counter]) * 16
        encrypted = card.commit_reader_id(reader_id)
        card.read_data(1, 0, 112, mode)
        card.get_value(2, mode)
        card.authenticate_ev2_non_first(0, ZERO_AES_KEY)
        card.debit(2, 12_500, mode)
        card.write_record(3, 0, bytes(32), mode)
        card.write_data(4, 3, b"state", mode)
        card.read_data(1, 100, 0, mode)
        tmi = card.transaction_mac_input
        made = card.commit_transaction(return_tmac=True)
        assert (card.exchanges - before).count == 10
        assert made is not None
        assert made.counter == counter
        assert verify_transaction_mac(TMAC_KEY.value, UID, made, tmi)
        assert not verify_transaction_mac(TMAC_KEY.value, UID, made, tmi + bytes(16))
        assert decrypt_previous_reader_id(TMAC_KEY.value, UID, counter, encrypted) == previous
        assert card.read_transaction_mac(5, mode) == TransactionMac(counter, made.mac)
        previous = reader_id


def test_whole_record_file_read_is_accounted_as_the_card_does() -> None:
    card = with_application(SCHEMES[-1])
    rights = AccessRights(read=0, write=NEVER, read_write=NEVER, change=0)
    card.create_cyclic_record_file(3, RecordFile(CommMode.FULL, BY_KEY_0, 8, 5))
    card.create_transaction_mac_file(5, TransactionMacFile(CommMode.MAC, rights, TMAC_KEY))
    for letter in (b"a", b"b"):
        card.authenticate_ev2_first(0, ZERO_AES_KEY)
        card.write_record(3, 0, letter * 8, CommMode.FULL)
        card.commit_transaction()
    card.authenticate_ev2_first(0, ZERO_AES_KEY)
    card.read_records(3, 0, 0, record_length=8, mode=CommMode.FULL)
    card.update_record(3, 0, 1, b"xy", CommMode.FULL)
    tmi = card.transaction_mac_input
    made = card.commit_transaction(return_tmac=True)
    assert made is not None
    assert verify_transaction_mac(TMAC_KEY.value, UID, made, tmi)
    card.authenticate_ev2_first(0, ZERO_AES_KEY)
    card.clear_record_file(3)
    tmi = card.transaction_mac_input
    made = card.commit_transaction(return_tmac=True)
    assert made is not None
    assert verify_transaction_mac(TMAC_KEY.value, UID, made, tmi)


def test_the_wrong_right_ends_the_session_on_both_sides() -> None:
    card = with_application(SCHEMES[-1])
    rights = AccessRights(read=0, write=1, read_write=1, change=0)
    card.create_standard_file(1, DataFile(CommMode.MAC, rights, 16))
    with pytest.raises(PermissionDenied):
        card.write_data(1, 0, b"x", CommMode.MAC)
    with pytest.raises(AuthenticationError):
        card.read_data(1, 0, 16, CommMode.MAC)
    card.authenticate_ev2_first(0, ZERO_AES_KEY)
    assert card.read_data(1, 0, 16, CommMode.MAC) == bytes(16)


def test_nothing_pending_is_no_change() -> None:
    card = with_application(SCHEMES[-1])
    with pytest.raises(NoChanges):
        card.commit_transaction()


def test_random_id_hides_the_uid_but_not_from_a_session() -> None:
    simulated = SimulatedCard(UID, Personality.EV2)
    card = DesfireCard(Straight(simulated))
    card.authenticate_iso(0, FACTORY_PICC_KEY)
    card.set_configuration(0x00, b"\x02")
    simulated.power_off()
    card = DesfireCard(Straight(simulated))
    assert len(card.uid) == 4
    card.authenticate_iso(0, FACTORY_PICC_KEY)
    assert card.get_card_uid() == UID
