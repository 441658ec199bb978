"""What any phone reads off a card, and that a card torn while it is given that is finished later."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import AlreadyIssued, CardRemoved, NotOurCard, UnfinishedCard
from dobmi.cardlib.ndef import (
    MESSAGE_LENGTH_MAX,
    capabilities_file,
    dynamic_content,
    static_content,
    url_of,
)
from dobmi.cardlib.personalise import NdefKind, Personalisation, personalise
from dobmi.cardlib.purse_layout import CardKey, Holder
from dobmi.cardlib.sdm import PiccData, decrypt_picc_data, mac_fits
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.firmware_sim.personality import Personality
from dobmi.money import Rupiah
from support.phones import read_as_a_phone
from support.purses import BALANCE_MAX, ORIGINALITY_KEYS, SITI, InProcess, new_ring, purse_of

RING = new_ring()
WITHOUT_SDM = RING.only([key for key in CardKey if not key.value.startswith("sdm")], RING.signing)
URL = "https://koperasi.example/k/"
FRAMES = 44


def make(card: ContactlessCard, ring: KeyRing = RING, holder: Holder = SITI) -> Personalisation:
    return personalise(
        InProcess(card),
        ring,
        holder,
        lambda message: ring.sign("card-issuer", message),
        balance_max=BALANCE_MAX,
        member_url=URL,
        originality_keys=ORIGINALITY_KEYS,
    )


def tap(card: SimulatedCard) -> PiccData:
    """As a phone reads it, and the server opens it."""
    url = urlsplit(read_as_a_phone(card))
    fields = parse_qs(url.query)
    read = decrypt_picc_data(
        RING.card_key(CardKey.SDM_META, bytes(7)).value, bytes.fromhex(fields["p"][0])
    )
    assert read is not None
    file_key = RING.card_key(CardKey.SDM_FILE, read.uid).value
    assert mac_fits(file_key, read, bytes.fromhex(fields["m"][0]))
    return read


def test_an_ev3_card_proves_itself_anew_at_each_tap() -> None:
    card = SimulatedCard(personality=Personality.EV3)
    done = make(card)
    assert (done.ndef, done.exchanges.count) == (NdefKind.DYNAMIC, FRAMES)
    assert [tap(card) for _ in range(3)] == [PiccData(card.uid, count) for count in (1, 2, 3)]
    assert purse_of(card, RING).read().holder == SITI


@pytest.mark.parametrize(
    ("personality", "ring"), [(Personality.EV2, RING), (Personality.EV3, WITHOUT_SDM)]
)
def test_without_sdm_or_its_keys_a_card_names_its_serial_number_alone(
    personality: Personality, ring: KeyRing
) -> None:
    card = SimulatedCard(personality=personality)
    assert make(card, ring).ndef is NdefKind.STATIC
    assert read_as_a_phone(card) == f"{URL}{SITI.card_serial}"


def test_no_two_cards_share_a_file_key_and_all_share_the_meta_key() -> None:
    one, other = bytes.fromhex("04112233445566"), bytes.fromhex("04112233445567")
    assert RING.card_key(CardKey.SDM_FILE, one) != RING.card_key(CardKey.SDM_FILE, other)
    assert RING.card_key(CardKey.SDM_META, one) == RING.card_key(CardKey.SDM_META, other)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("frame", range(9, FRAMES))
def test_issuing_torn_at_any_frame_is_finished_by_a_second_tap(frame: int, moment: Moment) -> None:
    card = SimulatedCard(personality=Personality.EV3)
    with pytest.raises(CardRemoved):
        make(FaultyCard(card, [at_frame(frame, moment)]))
    card.power_off()
    make(card)
    assert tap(card).uid == card.uid
    assert purse_of(card, RING).read().holder == SITI


@pytest.mark.parametrize("frame", range(12, FRAMES - 1))
def test_no_till_can_use_the_card_before_its_last_key(frame: int) -> None:
    card = SimulatedCard(personality=Personality.EV3)
    with pytest.raises(CardRemoved):
        make(FaultyCard(card, [at_frame(frame)]))
    with pytest.raises(UnfinishedCard):
        purse_of(card, RING).read()


@pytest.mark.parametrize("frame", range(9, 39))
def test_begun_without_the_sdm_keys_and_finished_with_them(frame: int) -> None:
    card = SimulatedCard(personality=Personality.EV3)
    with pytest.raises(CardRemoved):
        make(FaultyCard(card, [at_frame(frame)]), WITHOUT_SDM)
    card.power_off()
    done = make(card)
    if frame < 24:
        assert (done.ndef, tap(card).read_counter) == (NdefKind.DYNAMIC, 1)
    else:  # the address was finished before, and stays
        assert done.ndef is NdefKind.STATIC
        assert read_as_a_phone(card) == f"{URL}{SITI.card_serial}"


def test_a_purse_from_before_is_given_what_it_lacks_and_keeps_its_money() -> None:
    card = SimulatedCard(personality=Personality.EV3)
    personalise(
        InProcess(card),
        RING,
        SITI,
        lambda message: RING.sign("card-issuer", message),
        balance_max=BALANCE_MAX,
        originality_keys=ORIGINALITY_KEYS,
    )
    purse = purse_of(card, RING)
    purse.begin_credit(1)
    purse.stage(purse.prepare_credit(Rupiah(5_000), 1_790_000_000, balance_max=BALANCE_MAX))
    purse.commit()
    card.power_off()
    assert make(card).resumed
    assert tap(card).uid == card.uid
    assert purse_of(card, RING).read().balance == Rupiah(5_000)


def test_a_card_of_another_member_gets_no_other_address() -> None:
    card = SimulatedCard(personality=Personality.EV3)
    make(card)
    card.power_off()
    with pytest.raises(AlreadyIssued):
        make(card, RING, replace(SITI, member_number=4712, card_serial=2))


def test_a_card_with_somebody_elses_ndef_application_alone_is_refused() -> None:
    card = SimulatedCard(personality=Personality.EV3)
    create = "90CA00000E10EEEE0F2110E1D276000085010100"
    assert card.process(bytes.fromhex(create))[-1] == 0
    card.power_off()
    with pytest.raises(NotOurCard):
        make(card)


def test_the_capability_container_is_an11004s() -> None:
    assert capabilities_file() == bytes.fromhex("000F20003A00340406E104010000FF")


def test_an_address_that_has_no_room_is_refused() -> None:
    long = "https://" + "k" * MESSAGE_LENGTH_MAX + "/"
    with pytest.raises(ValueError, match="the address needs"):
        static_content(long, 1)
    with pytest.raises(ValueError, match="the address needs"):
        dynamic_content(long)


def test_zeros_in_the_address_are_not_taken_for_the_cards_places() -> None:
    zeros = "https://h/" + "0" * 40 + "/"
    content = dynamic_content(zeros)
    assert content.sdm is not None
    filled = bytearray(content.message)
    filled[content.sdm.picc_data_offset : content.sdm.picc_data_offset + 32] = b"A" * 32
    filled[content.sdm.mac_offset : content.sdm.mac_offset + 16] = b"B" * 16
    assert url_of(bytes(filled)) == f"{zeros}?p={'A' * 32}&m={'B' * 16}"
