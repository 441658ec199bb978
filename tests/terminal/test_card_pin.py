"""Members' PINs at the till: needed above an amount, proved by the card, and never tried for free."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.cardlib.errors import CardError, CardRemoved, PinNotSet, WrongPin
from dobmi.cardlib.pin import Pin
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.money import Rupiah
from dobmi.sync.feed import Limits
from dobmi.sync.records import PinOutcome, PinRecord, decode_record
from dobmi.sync.voucher import InDoubtVoucher, SaleVoucher
from dobmi.terminal import card_pin, outbox
from dobmi.terminal.errors import CardPinLocked, PinNeeded, SaleInDoubt
from dobmi.terminal.ledger import Ledger
from support.pins import PIN, WRONG, give_pin
from support.tills import NOW, RING, Bench, Crash, balance_of, card_with, crash_around

LIMIT, ABOVE, BELOW = Rupiah(10_000), Rupiah(10_001), Rupiah(10_000)
FRAMES_WITH_PIN = 11
PIN_FRAMES = (1, 2)
"""Both halves of the authentication with key 3."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path).enrol()
    bench.feed(pins_locked=(), limits=limits_of(bench))
    return bench


def limits_of(bench: Bench) -> Limits:
    with contextlib.closing(Ledger(bench.database)) as ledger:
        return replace(ledger.sync_state().limits, pin_above=LIMIT)


@pytest.fixture
def card() -> SimulatedCard:
    card = card_with(100_000)
    give_pin(card, RING)
    return card


def records(bench: Bench) -> list[PinRecord]:
    with contextlib.closing(Ledger(bench.database)) as ledger:
        found = [decode_record(each) for each in outbox.records_from(ledger, 1, 100)]
    assert all(isinstance(each, PinRecord) for each in found)
    return [each for each in found if isinstance(each, PinRecord)]


def tries(bench: Bench) -> int:
    with contextlib.closing(sqlite3.connect(bench.database)) as connection:
        found = connection.execute("SELECT tries FROM card_pin_tries").fetchone()
    return 0 if found is None else int(found[0])


class TestAboveTheAmount:
    def test_a_sale_needs_the_pin_and_says_that_it_was_proved(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        bench.tap(card)
        with bench.open() as till:
            sold = till.sell(ABOVE, pin=PIN)
        assert sold.exchanges == FRAMES_WITH_PIN
        (voucher,) = bench.chain()
        assert isinstance(voucher, SaleVoucher)
        assert voucher.intent.with_pin
        assert balance_of(card) == 100_000 - ABOVE.amount
        assert tries(bench) == 0
        assert records(bench) == []

    def test_without_one_nothing_is_asked_of_the_card(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        bench.tap(card)
        with bench.open() as till, pytest.raises(PinNeeded):
            till.sell(ABOVE)
        assert bench.chain() == []

    def test_up_to_it_a_card_pays_without_also_if_a_pin_was_typed(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        with bench.open() as till:
            for pin in (None, WRONG):
                bench.tap(card)
                sold = till.sell(BELOW, pin=pin)
                assert sold.exchanges == 9
        assert [voucher.intent.with_pin for voucher in bench.chain()] == [False, False]  # type: ignore[union-attr] # both are sales

    def test_no_amount_needs_one_as_long_as_the_feed_sets_no_limit(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path).enrol()
        bench.tap(card_with(100_000))
        with bench.open() as till:
            assert not till.needs_pin(Rupiah(2_000_000))
            till.sell(Rupiah(90_000))

    def test_a_card_without_a_pin_says_so_and_no_try_is_counted(self, bench: Bench) -> None:
        bench.tap(card_with(100_000))
        with bench.open() as till, pytest.raises(PinNotSet):
            till.sell(ABOVE, pin=PIN)
        assert (tries(bench), records(bench)) == (0, [])

    def test_a_sale_in_doubt_says_it_too(self, bench: Bench, card: SimulatedCard) -> None:
        bench.tap(card, at_frame(FRAMES_WITH_PIN - 1, Moment.AFTER))
        with bench.open() as till:
            with pytest.raises(SaleInDoubt):
                till.sell(ABOVE, pin=PIN)
            till.give_up()
        (doubt,) = bench.chain()
        assert isinstance(doubt, InDoubtVoucher)
        assert doubt.intent.with_pin


class TestWrongPins:
    def test_three_in_a_row_lock_the_card_here_and_the_right_one_comes_too_late(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        with bench.open() as till:
            for left in (2, 1):
                bench.tap(card)
                with pytest.raises(WrongPin) as wrong:
                    till.sell(ABOVE, pin=WRONG)
                assert wrong.value.tries_left == left
            bench.tap(card)
            with pytest.raises(CardPinLocked):
                till.sell(ABOVE, pin=WRONG)
            bench.tap(card)
            with pytest.raises(CardPinLocked):
                till.sell(ABOVE, pin=PIN)
            bench.tap(card)
            till.sell(BELOW)
        assert [(each.outcome, each.in_a_row) for each in records(bench)] == [
            (PinOutcome.WRONG, number) for number in (1, 2, 3)
        ]
        assert balance_of(card) == 100_000 - BELOW.amount

    def test_the_right_one_has_the_wrong_ones_forgotten(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        with bench.open() as till:
            for _ in range(3):
                bench.tap(card)
                with pytest.raises(WrongPin) as wrong:
                    till.sell(ABOVE, pin=WRONG)
                assert wrong.value.tries_left == 2
                bench.tap(card)
                till.sell(ABOVE, pin=PIN)

    def test_other_cards_are_not_locked_with_it(self, bench: Bench, card: SimulatedCard) -> None:
        other = card_with(50_000)
        give_pin(other, RING)
        with bench.open() as till:
            for _ in range(3):
                bench.tap(card)
                with pytest.raises((WrongPin, CardPinLocked)):
                    till.sell(ABOVE, pin=WRONG)
            bench.tap(other)
            assert till.sell(ABOVE, pin=PIN).card_uid == other.uid

    def test_another_till_s_lock_comes_with_the_feed_and_goes_with_it(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        bench.feed(pins_locked=(card.uid,), limits=limits_of(bench))
        bench.tap(card)
        with bench.open() as till, pytest.raises(CardPinLocked):
            till.sell(ABOVE, pin=PIN)
        bench.feed(pins_locked=(), limits=limits_of(bench))
        bench.tap(card)
        with bench.open() as till:
            till.sell(ABOVE, pin=PIN)

    def test_this_till_s_own_lock_ends_only_when_the_server_has_heard_of_it(
        self, bench: Bench, card: SimulatedCard
    ) -> None:
        with bench.open() as till:
            for _ in range(3):
                bench.tap(card)
                with pytest.raises((WrongPin, CardPinLocked)):
                    till.sell(ABOVE, pin=WRONG)
        bench.feed(pins_locked=(), limits=limits_of(bench))
        bench.tap(card)
        with bench.open() as till, pytest.raises(CardPinLocked):
            till.sell(ABOVE, pin=PIN)
        with contextlib.closing(Ledger(bench.database)) as ledger:
            outbox.record_taken(ledger, 3)
        bench.feed(pins_locked=(), limits=limits_of(bench))
        bench.tap(card)
        with bench.open() as till:
            till.sell(ABOVE, pin=PIN)

    def test_the_server_s_list_keeps_it_locked(self, bench: Bench, card: SimulatedCard) -> None:
        with bench.open() as till:
            for _ in range(3):
                bench.tap(card)
                with pytest.raises((WrongPin, CardPinLocked)):
                    till.sell(ABOVE, pin=WRONG)
        with contextlib.closing(Ledger(bench.database)) as ledger:
            outbox.record_taken(ledger, 3)
        bench.feed(pins_locked=(card.uid,), limits=limits_of(bench))
        bench.tap(card)
        with bench.open() as till, pytest.raises(CardPinLocked):
            till.sell(ABOVE, pin=PIN)


class TestNoFreeTry:
    """Whoever ends the program, or the card, at any moment has used a try up."""

    @pytest.mark.parametrize("after", [False, True])
    def test_a_power_cut_while_the_card_has_the_pin(
        self,
        bench: Bench,
        card: SimulatedCard,
        monkeypatch: pytest.MonkeyPatch,
        *,
        after: bool,
    ) -> None:
        """The moment when the answer is known and nothing of it is written yet."""
        for number in (1, 2, 3):
            bench.tap(card)
            with monkeypatch.context() as patch:
                crash_around(patch.setattr, card_pin.Attempt, "failed", after=False)
                till = bench.open()
                with pytest.raises(Crash), till:
                    till.sell(ABOVE, pin=WRONG)
            if after:  # it comes up again, and hears of what it was at
                with bench.open():
                    pass
            assert tries(bench) == number
        bench.tap(card)
        with bench.open() as till, pytest.raises(CardPinLocked):
            till.sell(ABOVE, pin=PIN)
        assert {each.outcome for each in records(bench)} == {PinOutcome.NOT_KNOWN}
        assert records(bench)[-1].in_a_row == 3

    def test_the_try_is_on_disk_before_the_card_hears_of_it(
        self, bench: Bench, card: SimulatedCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        connect = bench.reader.connect

        def watching() -> object:
            connection = connect()
            transmit = connection.transmit

            def counted(command: bytes) -> bytes:
                if command[1] == 0x71:
                    seen.append(tries(bench))
                return transmit(command)

            monkeypatch.setattr(connection, "transmit", counted)
            return connection

        monkeypatch.setattr(bench.reader, "connect", watching)
        bench.tap(card)
        with bench.open() as till:
            till.sell(ABOVE, pin=PIN)
        assert seen == [1]

    @pytest.mark.parametrize("frame", PIN_FRAMES)
    @pytest.mark.parametrize("moment", list(Moment))
    def test_a_card_that_leaves_before_it_has_answered_has_used_a_try(
        self, bench: Bench, card: SimulatedCard, frame: int, moment: Moment
    ) -> None:
        bench.tap(card, at_frame(frame, moment))
        with bench.open() as till, pytest.raises(CardError):
            till.sell(ABOVE, pin=PIN)
        assert tries(bench) == 1
        assert [each.outcome for each in records(bench)] == [PinOutcome.NOT_KNOWN]
        bench.tap(card)
        with bench.open() as till:
            till.sell(ABOVE, pin=PIN)
        assert tries(bench) == 0

    @pytest.mark.parametrize("frame", [0, *range(3, FRAMES_WITH_PIN)])
    def test_one_that_leaves_at_another_moment_has_used_none(
        self, bench: Bench, card: SimulatedCard, frame: int
    ) -> None:
        bench.tap(card, at_frame(frame, Moment.BEFORE))
        with bench.open() as till, pytest.raises((CardRemoved, SaleInDoubt)):
            till.sell(ABOVE, pin=PIN)
        assert tries(bench) == 0
        assert records(bench) == []


def test_records_tell_the_till_s_time(bench: Bench, card: SimulatedCard) -> None:
    bench.tap(card)
    with bench.open() as till, pytest.raises(WrongPin):
        till.sell(ABOVE, pin=WRONG)
    (record,) = records(bench)
    assert (record.card_uid, record.unix_seconds) == (card.uid, NOW)


def test_the_pin_is_in_no_file_of_the_till_and_in_no_repr(
    bench: Bench, card: SimulatedCard, caplog: pytest.LogCaptureFixture
) -> None:
    pin = Pin("864203")
    give_pin(card, RING, pin, PIN)
    with bench.open() as till:
        bench.tap(card)
        with pytest.raises(WrongPin) as wrong:
            till.sell(ABOVE, pin=WRONG)
        bench.tap(card)
        till.sell(ABOVE, pin=pin)
    said = f"{wrong.value!r} {wrong.value} {wrong.value.facts} {pin!r} {pin} {caplog.text}"
    key = RING.card_key("pin", card.uid)  # type: ignore[arg-type] # a CardKey's own text
    for secret in (pin.digits, WRONG.digits, key.value.hex()):
        assert secret not in said
        for file in bench.folder.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert secret.encode() not in content, file.name
                assert bytes.fromhex(secret) not in content or len(secret) < 16, file.name
