"""Changing a card's keys: torn anywhere, it opens for every till and goes on where it stopped."""

from __future__ import annotations

import pytest

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import (
    CardRemoved,
    KeyNotHeld,
    NotOurCard,
    OtherKeySet,
    UnfinishedCard,
)
from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import CardKey, ReaderId
from dobmi.cardlib.rekey import ORDER, Rekeyed, rekey
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.money import Rupiah
from support.purses import BALANCE_MAX, SITI, InProcess, issued_card, make_purse, new_ring

OLD = new_ring()
BOTH = OLD.renewed()
TILL = [CardKey.DEBIT, CardKey.PIN]
NEW_ONLY = KeyRing(
    masters={key: {2: versions[2]} for key, versions in BOTH.masters.items()},
    signing=BOTH.signing,
)
FRAMES = 13
FRAMES_OF_A_NEW_CARD = 5


def opened(card: ContactlessCard, ring: KeyRing) -> Purse:
    card.power_off()
    return Purse(InProcess(card), ring, OLD.public_key("card-issuer"))


def renew(card: ContactlessCard, ring: KeyRing = BOTH) -> Rekeyed:
    card.power_off()
    return rekey(InProcess(card), ring)


def opens(card: ContactlessCard, ring: KeyRing) -> bool:
    try:
        opened(card, ring).read()
    except OtherKeySet:
        return False
    return True


def sell(card: ContactlessCard, ring: KeyRing, sequence: int) -> None:
    purse = opened(card, ring.only(TILL))
    purse.begin_sale(ReaderId(terminal_id=7, sequence=sequence))
    purse.stage(purse.prepare_debit(Rupiah(100), 1_790_000_000))
    purse.commit()


def credit(card: ContactlessCard, ring: KeyRing, sequence: int) -> None:
    purse = opened(card, ring)
    purse.begin_credit(sequence)
    purse.stage(purse.prepare_credit(Rupiah(100), 1_790_000_000, balance_max=BALANCE_MAX))
    purse.commit()


@pytest.fixture
def card() -> SimulatedCard:
    """With the first generation's keys, and 10,000 on it."""
    return issued_card(OLD, Rupiah(10_000))


def test_all_four_keys_come_to_the_newest_generation(card: SimulatedCard) -> None:
    done = renew(card)
    assert (done.generation, done.changed) == (2, ORDER)
    assert done.exchanges.count == FRAMES
    assert opened(card, NEW_ONLY).read().balance == Rupiah(10_000)
    assert not opens(card, OLD)
    sell(card, BOTH, 1)
    credit(card, BOTH, 2)


def test_doing_it_again_changes_nothing(card: SimulatedCard) -> None:
    renew(card)
    again = renew(card)
    assert (again.changed, again.exchanges.count) == ((), FRAMES_OF_A_NEW_CARD)


def test_several_generations_are_skipped_at_once(card: SimulatedCard) -> None:
    third = BOTH.renewed()
    assert renew(card, third).generation == 3
    assert opens(card, third)
    assert not opens(card, BOTH)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("frame", range(FRAMES))
def test_torn_at_any_frame_every_till_that_should_still_sells(
    card: SimulatedCard, frame: int, moment: Moment
) -> None:
    with pytest.raises(CardRemoved):
        renew(FaultyCard(card, [at_frame(frame, moment)]))
    changed = frame == FRAMES - 1 and moment is Moment.AFTER
    # Only when the last change has been made is the old generation of no use any more.
    assert opens(card, OLD.only(TILL)) is not changed
    assert opens(card, NEW_ONLY.only(TILL)) is changed
    sell(card, BOTH, 1)
    credit(card, BOTH, 2)
    if not changed:
        sell(card, OLD, 3)
    done = renew(card)
    assert done.generation == 2
    assert (CardKey.DEBIT in done.changed) is not changed
    assert opens(card, NEW_ONLY)
    credit(card, BOTH, 3)


@pytest.mark.parametrize("moment", Moment)
def test_torn_again_and_again_it_comes_to_its_end(card: SimulatedCard, moment: Moment) -> None:
    for frame in range(FRAMES):
        torn = FaultyCard(card, [at_frame(frame, moment)])
        try:
            renew(torn)
        except CardRemoved:
            assert opens(card, BOTH)
    renew(card)
    assert opens(card, NEW_ONLY)


class TestTillsWithBothGenerations:
    def test_an_older_card_costs_four_exchanges_more_a_new_one_none(
        self, card: SimulatedCard
    ) -> None:
        older = opened(card, BOTH)
        older.read()
        assert older.exchanges.count == 5 + 4
        renew(card)
        newer = opened(card, BOTH)
        newer.read()
        assert newer.exchanges.count == 5

    def test_a_card_of_another_key_set_is_refused_as_before(self) -> None:
        stranger = issued_card(new_ring(), Rupiah(1))
        assert not opens(stranger, BOTH)
        assert not opens(stranger, OLD)

    def test_a_generation_that_the_till_has_not_got_is_another_key_set(
        self, card: SimulatedCard
    ) -> None:
        assert not opens(card, NEW_ONLY)
        with pytest.raises(OtherKeySet):
            renew(card, NEW_ONLY)
        assert opens(card, OLD), "and nothing was changed"

    def test_keys_are_never_taken_back_to_an_older_generation(self, card: SimulatedCard) -> None:
        renew(card)
        with pytest.raises(OtherKeySet):
            renew(card, OLD)
        assert opens(card, NEW_ONLY)


class TestOtherCards:
    def test_a_blank_card_is_not_ours(self) -> None:
        with pytest.raises(NotOurCard):
            renew(SimulatedCard())

    @pytest.mark.parametrize("frame", [13, 20, 25])
    def test_a_half_issued_card_is_issued_first(self, frame: int) -> None:
        card = SimulatedCard()
        with pytest.raises(CardRemoved):
            make_purse(FaultyCard(card, [at_frame(frame, Moment.BEFORE)]), OLD)
        with pytest.raises(UnfinishedCard):
            renew(card)


def frames_of_issuing() -> int:
    counted = FaultyCard(SimulatedCard())
    make_purse(counted, OLD)
    return counted.frames_seen


@pytest.mark.parametrize("moment", Moment)
def test_issuing_torn_under_the_old_keys_is_finished_under_the_new(moment: Moment) -> None:
    """A generation is added between the two attempts; the card's MAC key stays its first."""
    for frame in range(frames_of_issuing()):
        card = SimulatedCard()
        with pytest.raises(CardRemoved):
            make_purse(FaultyCard(card, [at_frame(frame, moment)]), OLD)
        card.power_off()
        make_purse(card, BOTH.pinned(CardKey.TRANSACTION_MAC, 1), SITI)
        if frame < frames_of_issuing() - 1 or moment is Moment.BEFORE:
            assert opens(card, NEW_ONLY), frame
        credit(card, BOTH, 1)
        sell(card, BOTH, 2)


class TestTheRing:
    def test_a_renewed_ring_holds_both_generations_and_the_same_signing_keys(self) -> None:
        assert all(set(versions) == {1, 2} for versions in BOTH.masters.values())
        assert all(BOTH.masters[key][1] == OLD.masters[key][1] for key in CardKey)
        assert BOTH.public_key("server") == OLD.public_key("server")

    def test_the_256th_generation_is_refused(self) -> None:
        ring = KeyRing(masters={CardKey.DEBIT: {255: bytes(16)}})
        with pytest.raises(ValueError, match="255"):
            ring.renewed()

    def test_a_pinned_ring_has_that_generation_alone(self) -> None:
        pinned = BOTH.pinned(CardKey.CREDIT, 1)
        assert pinned.card_key(CardKey.CREDIT, bytes(7)).version == 1
        assert pinned.card_key(CardKey.DEBIT, bytes(7)).version == 2
        with pytest.raises(KeyNotHeld):
            BOTH.pinned(CardKey.CREDIT, 3)
