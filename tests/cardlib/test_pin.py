"""Key 3 and the member's PIN: derived, proved in the sale's own session, changed in one write."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import (
    CardRemoved,
    NotAPin,
    OtherKeySet,
    PinNotSet,
    UnfinishedCard,
    WeakPin,
    WrongPin,
)
from dobmi.cardlib.evidence import parse_sale_evidence, verify_evidence
from dobmi.cardlib.pin import (
    CardsCustody,
    Pin,
    PinTry,
    find_pin,
    is_trivial,
    new_pin,
    pin_key,
    purse_card,
)
from dobmi.cardlib.purse import Purse, PurseView
from dobmi.cardlib.purse_layout import CardKey, ReaderId
from dobmi.cardlib.rekey import rekey
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.money import Rupiah
from support.pins import OTHER, PIN, WRONG, give_pin, key_3_version, pin_of
from support.purses import InProcess, issued_card, make_purse, new_ring

RING = new_ring()
NEWER = RING.renewed()
TILL = [CardKey.DEBIT, CardKey.PIN]
FRAMES_OF_CHANGE = 5 + 4
READER = ReaderId(terminal_id=7, sequence=1)


@pytest.fixture
def card() -> SimulatedCard:
    card = issued_card(RING, Rupiah(50_000))
    give_pin(card, RING)
    return card


def opened(card: ContactlessCard, ring: KeyRing = RING) -> Purse:
    card.power_off()
    return Purse(InProcess(card), ring.only(TILL), RING.public_key("card-issuer"))


def begin(card: ContactlessCard, pin: Pin, ring: KeyRing = RING) -> PurseView:
    return opened(card, ring).begin_sale(READER, pin=PinTry(pin, lambda: 2))


class TestWhatAPinIs:
    @pytest.mark.parametrize(
        "text", ["", "123", "123456789", "12 45", "12345a", "١٢٣٤٥٦", "123456\n", "-12345"]
    )
    def test_four_to_eight_digits_and_nothing_else(self, text: str) -> None:
        with pytest.raises(NotAPin) as refused:
            Pin(text)
        assert not text or text not in str(refused.value)

    @pytest.mark.parametrize(
        "text",
        [
            "000000",
            "123456",
            "654321",
            "890123",
            "321098",
            "135791",
            "121212",
            "123123",
            "112233",
            "123321",
            "000001",
            "445566",
        ],
    )
    def test_what_everybody_tries_first_is_not_given_to_a_card(self, text: str) -> None:
        with pytest.raises(WeakPin):
            new_pin(text)

    @pytest.mark.parametrize("count", [4, 5, 6, 7, 8])
    def test_most_others_are(self, count: int) -> None:
        chosen = random.Random(count)  # noqa: S311 - the same ones every time
        drawn = [f"{chosen.randrange(10**count):0{count}}" for _ in range(2_000)]
        assert sum(map(is_trivial, drawn)) < 100

    def test_it_has_as_many_digits_as_the_settings_say(self) -> None:
        assert new_pin("7391", 4) == Pin("7391")
        with pytest.raises(WeakPin):
            new_pin("7391")

    def test_nothing_shows_it(self) -> None:
        for shown in (
            repr(PIN),
            str(PIN),
            f"{PIN}",
            repr(PinTry(PIN, lambda: 1)),
            repr(CardsCustody(RING, PIN)),
        ):
            assert PIN.digits not in shown
        assert pickle.loads(pickle.dumps(PIN)) == copy.copy(PIN) == PIN  # noqa: S301 - our own


class TestTheKey:
    UID = bytes.fromhex("04112233445566")

    def test_it_is_the_cmac_of_the_pin_under_the_card_s_diversified_key(self) -> None:
        base = RING.card_key(CardKey.PIN, self.UID)
        mac = CMAC(AES(base.value))
        mac.update(b"dobmi/pin/1" + bytes([6]) + b"739164")
        key = pin_key(RING, self.UID, PIN)
        assert key.value == mac.finalize()
        assert (base.version, key.version) == (1, 0x81)

    def test_without_a_pin_it_is_the_diversified_key_itself(self) -> None:
        assert pin_key(RING, self.UID, None) == RING.card_key(CardKey.PIN, self.UID)

    @given(
        st.from_regex(r"[0-9]{4,8}", fullmatch=True), st.from_regex(r"[0-9]{4,8}", fullmatch=True)
    )
    def test_another_pin_is_another_key(self, one: str, other: str) -> None:
        keys = [pin_key(RING, self.UID, Pin(digits)) for digits in (one, other)]
        assert (keys[0] == keys[1]) == (one == other)

    def test_the_custody_of_a_card_keeps_its_pin_in_every_generation(self) -> None:
        custody = CardsCustody(NEWER, PIN)
        assert custody.card_key(CardKey.PIN, self.UID) == pin_key(NEWER, self.UID, PIN, 2)
        assert custody.card_key(CardKey.PIN, self.UID, 0x81) == pin_key(NEWER, self.UID, PIN, 1)
        assert custody.card_key(CardKey.PIN, self.UID, 1) == NEWER.card_key(
            CardKey.PIN, self.UID, 1
        )
        assert custody.card_key(CardKey.DEBIT, self.UID) == NEWER.card_key(CardKey.DEBIT, self.UID)


class TestASale:
    def test_the_card_proves_it_and_its_evidence_is_that_of_any_sale(
        self, card: SimulatedCard
    ) -> None:
        told: list[str] = []

        def before() -> int:
            told.append("tried")
            return 2

        purse = opened(card)
        attempt = PinTry(PIN, before, lambda: told.append("proved"))
        view = purse.begin_sale(READER, pin=attempt)
        assert view.holder.member_number == 4711
        prepared = purse.prepare_debit(Rupiah(12_500), 1_790_000_000)
        purse.stage(prepared)
        done = purse.commit()
        assert purse.exchanges.count == 11
        assert told == ["tried", "proved"]
        key = RING.card_key(CardKey.TRANSACTION_MAC, card.uid).value
        verify_evidence(key, card.uid, done.counter, done.mac, prepared.evidence)
        assert len(prepared.evidence) == 256
        assert parse_sale_evidence(prepared.evidence).amount == Rupiah(12_500)

    def test_a_wrong_one_is_refused_by_the_card_and_says_how_many_are_left(
        self, card: SimulatedCard
    ) -> None:
        with pytest.raises(WrongPin) as wrong:
            begin(card, WRONG)
        assert wrong.value.tries_left == 2
        assert wrong.value.facts == {"tries_left": 2}
        assert begin(card, PIN).balance == Rupiah(50_000)

    def test_the_card_is_asked_once_for_each_try(self, card: SimulatedCard) -> None:
        seen: list[bytes] = []
        card.power_off()
        connection = InProcess(card)
        transmit = connection.transmit
        connection.transmit = lambda command: seen.append(command) or transmit(command)  # type: ignore[method-assign, func-returns-value] # watched
        purse = Purse(connection, RING.only(TILL), RING.public_key("card-issuer"))
        with pytest.raises(WrongPin):
            purse.begin_sale(READER, pin=PinTry(WRONG, lambda: 2))
        assert [command[1] for command in seen].count(0x71) == 1

    def test_a_card_without_one_says_so(self) -> None:
        with pytest.raises(PinNotSet):
            begin(issued_card(RING), PIN)

    def test_what_ends_the_try_before_the_card_is_asked_ends_it(self, card: SimulatedCard) -> None:
        def locked() -> int:
            raise CardRemoved

        with pytest.raises(CardRemoved):
            opened(card).begin_sale(READER, pin=PinTry(PIN, locked))

    def test_a_sale_without_a_pin_is_as_it_was(self, card: SimulatedCard) -> None:
        purse = opened(card)
        purse.begin_sale(READER)
        assert purse.exchanges.count == 6


class TestGenerations:
    """A card whose keys are older, newer, or half-way there."""

    def test_a_till_with_both_opens_a_card_of_the_old_one(self, card: SimulatedCard) -> None:
        assert begin(card, PIN, NEWER).key_generation == 1
        with pytest.raises(WrongPin):
            begin(card, WRONG, NEWER)

    def test_rolled_keys_keep_the_pin(self, card: SimulatedCard) -> None:
        card.power_off()
        done = rekey(InProcess(card), CardsCustody(NEWER, PIN))
        assert done.generation == 2
        assert key_3_version(card) == 0x82
        assert begin(card, PIN, NEWER).key_generation == 2
        with pytest.raises(WrongPin):
            begin(card, WRONG, NEWER)

    @pytest.mark.parametrize("frame", range(4, 14))
    def test_half_way_there_it_works_on(self, card: SimulatedCard, frame: int) -> None:
        card.power_off()
        torn = FaultyCard(card, [at_frame(frame, Moment.AFTER)])
        try:
            rekey(InProcess(torn), CardsCustody(NEWER, PIN))
        except CardRemoved:
            assert begin(card, PIN, NEWER).balance == Rupiah(50_000)

    def test_who_does_not_know_the_pin_changes_no_key(self, card: SimulatedCard) -> None:
        before = key_3_version(card)
        with pytest.raises(OtherKeySet):
            rekey(InProcess(card), NEWER)
        assert key_3_version(card) == before
        assert begin(card, PIN).key_generation == 1

    def test_a_till_without_the_card_s_generation_says_so(self, card: SimulatedCard) -> None:
        new_only = KeyRing(masters={key: {2: held[2]} for key, held in NEWER.masters.items()})
        with pytest.raises(OtherKeySet):
            begin(card, PIN, new_only)


class TestChanging:
    def test_set_changed_and_taken_away(self) -> None:
        card = issued_card(RING)
        assert key_3_version(card) == 1
        give_pin(card, RING, PIN)
        assert (key_3_version(card), pin_of(card, RING, PIN)) == (0x81, PIN)
        give_pin(card, RING, OTHER, PIN)
        assert pin_of(card, RING, PIN, OTHER) == OTHER
        give_pin(card, RING, None, OTHER)
        assert (key_3_version(card), pin_of(card, RING)) == (1, None)

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(FRAMES_OF_CHANGE))
    def test_torn_anywhere_the_card_has_the_old_one_or_the_new_one(
        self, card: SimulatedCard, frame: int, moment: Moment
    ) -> None:
        torn = FaultyCard(card, [at_frame(frame, moment)])
        try:
            give_pin(torn, RING, OTHER, PIN)
        except CardRemoved:
            assert pin_of(card, RING, PIN, OTHER) in {PIN, OTHER}
        give_pin(card, RING, OTHER, PIN, OTHER)
        assert pin_of(card, RING, OTHER) == OTHER
        assert begin(card, OTHER).balance == Rupiah(50_000)

    def test_none_of_those_it_may_be_is_told_from_the_right_one(self, card: SimulatedCard) -> None:
        with pytest.raises(WrongPin):
            pin_of(card, RING, OTHER, WRONG)

    def test_a_card_whose_issuing_was_interrupted_is_left_alone(self) -> None:
        card = SimulatedCard()
        torn = FaultyCard(card, [at_frame(20, Moment.BEFORE)])
        with pytest.raises(CardRemoved):
            make_purse(torn, RING)
        card.power_off()
        with pytest.raises(UnfinishedCard):
            find_pin(purse_card(InProcess(card)), RING, [])
