"""The counter: what is shown while cards come and go, and that nothing is charged that is not shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dobmi.cardlib.errors import (
    BlankCard,
    CardRemoved,
    GarbledResponse,
    InsufficientBalance,
    ReaderUnavailable,
)
from dobmi.cardlib.purse_layout import RecordKind
from dobmi.cardlib.readers.base import Signal
from dobmi.errors import MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault, Moment, at_command, at_frame
from dobmi.firmware_sim.reader import SimulatedConnection, SimulatedReader
from dobmi.money import Rupiah
from dobmi.sync.outlet import MemberNote
from dobmi.sync.voucher import (
    GoodsLine,
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidVoucher,
    Voucher,
)
from dobmi.terminal.chain import Chain
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import (
    Acknowledge,
    AcknowledgeNotShown,
    AskRefund,
    Cancel,
    CounterState,
    GiveUpDoubt,
    Phase,
)
from dobmi.terminal.errors import (
    AnotherCard,
    BadRequestId,
    CardBlocked,
    CardExpired,
    CounterBusy,
    CounterClosed,
    CounterFault,
    LedgerFull,
    NoCardCame,
    NoShift,
    OrderOfAnother,
    PaidNotRecorded,
    PriceClassDiffers,
    RequestDiffers,
    SaleInDoubt,
    StillInDoubt,
    TillInUse,
    TooManyUnsent,
    TooMuchUnsent,
)
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.till import Till
from support.counters import (
    AMOUNT,
    SOON_SECONDS,
    Watched,
    a_sale,
    ask_balance,
    ask_login,
    counter_of,
    new_id,
)
from support.outlets import ORDER, noted, ordered
from support.tills import Bench, another_holder, balance_of, card_with, expired

COMMIT = 0xC7
SALE_FRAMES = 9
FIRST_FRAMES = 8
"""Those before the commit."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


@pytest.fixture
def watched(bench: Bench) -> Iterator[Watched]:
    with counter_of(bench) as counter:
        watched = Watched(counter)
        watched.shows(Phase.IDLE)
        yield watched


def kinds(bench: Bench) -> list[type[Voucher]]:
    return [type(voucher) for voucher in bench.chain()]


def lift(bench: Bench, watched: Watched) -> None:
    """Take the card away, and have the counter notice."""
    bench.reader.remove()
    watched.sees(lambda state: not state.lift_card and state.phase is not Phase.CARD_HERE)


class TestSale:
    def test_the_card_that_comes_pays_what_was_asked(self, bench: Bench, watched: Watched) -> None:
        card = card_with(100_000)
        goods = (GoodsLine("Beras 5 kg", 1, AMOUNT),)
        asked = a_sale(purchase=Purchase(AMOUNT, goods))
        watched.do(asked)
        waiting = watched.state
        assert (waiting.phase, waiting.request) == (Phase.WAITING, asked.request)
        assert (waiting.total, waiting.lines) == (AMOUNT, goods)
        assert waiting.wait_ends_unix_seconds == int(bench.time) + 60
        bench.tap(card)
        paid = watched.ends(asked)
        assert paid.phase is Phase.PAID
        assert paid.sale is not None
        assert paid.sale.exchanges == SALE_FRAMES
        assert paid.sale.balance_after == Rupiah(87_500)
        assert paid.card is not None
        assert paid.card.holder == "Siti Aminah"
        assert balance_of(card) == 87_500
        assert watched.phases() == [Phase.IDLE, Phase.WAITING, Phase.WORKING, Phase.PAID]

    def test_an_order_is_paid_with_the_card_of_who_ordered_and_no_other(
        self, bench: Bench, watched: Watched
    ) -> None:
        bench.feed(outlet=ordered(ORDER))
        others, own = card_with(100_000, another_holder(99)), card_with(100_000)
        first, second = (a_sale(order=ORDER.number) for _ in range(2))
        watched.do(first)
        bench.tap(others)
        refused = watched.ends(first)
        assert isinstance(refused.error, OrderOfAnother)
        assert (refused.error.facts["member"], refused.error.facts["holder"]) == (
            ORDER.holder,
            "Anggota 99",
        )
        watched.do(second)
        bench.tap(own)
        assert watched.ends(second).phase is Phase.PAID
        assert (balance_of(others), balance_of(own)) == (100_000, 87_500)

    def test_the_holder_and_the_balance_are_shown_while_the_card_still_works(
        self, bench: Bench, watched: Watched
    ) -> None:
        asked = a_sale()
        watched.do(asked)
        bench.tap(card_with(100_000))
        watched.ends(asked)
        working = [state for state in watched.states if state.phase is Phase.WORKING]
        assert [state.card and (state.card.holder, state.card.balance) for state in working] == [
            None,
            ("Siti Aminah", Rupiah(100_000)),
        ]

    def test_paid_is_shown_and_the_light_goes_green_only_once_it_is_on_disk(
        self, bench: Bench, watched: Watched
    ) -> None:
        heads: list[tuple[str, int]] = []

        def look(what: str) -> None:
            ledger = Ledger(bench.database)
            heads.append((what, ledger.head().sequence))
            ledger.close()

        signal = bench.reader.signal

        def seen(given: Signal) -> None:
            look(given.value)
            signal(given)

        bench.reader.signal = seen  # type: ignore[assignment,method-assign] # a spy
        watched.counter.watch(lambda state: look(state.phase.value))
        asked = a_sale()
        watched.do(asked)
        bench.tap(card_with())
        watched.ends(asked)
        watched.settles()
        told = dict(heads)
        assert told["working"] == 0
        assert (told["paid"], told["success"]) == (1, 1)
        assert [what for what, _ in heads].index("paid") < [w for w, _ in heads].index("success")

    def test_a_card_that_comes_before_the_total_waits_and_pays_without_being_lifted(
        self, bench: Bench, watched: Watched
    ) -> None:
        bench.feed(
            outlet=noted(MemberNote(member_number=4711, member_class="karyawan", photo=None))
        )
        card = card_with(100_000)
        bench.tap(card)
        here = watched.shows(Phase.CARD_HERE)
        assert here.card is not None
        assert (here.card.holder, here.card.balance) == ("Siti Aminah", Rupiah(100_000))
        assert here.card.member_class == "karyawan"
        assert not here.lift_card
        asked = a_sale(member_class="karyawan")
        watched.do(asked)
        assert watched.ends(asked).phase is Phase.PAID
        assert balance_of(card) == 87_500

    def test_one_that_is_taken_away_again_leaves_no_trace(
        self, bench: Bench, watched: Watched
    ) -> None:
        bench.tap(card_with())
        watched.shows(Phase.CARD_HERE)
        bench.reader.remove()
        assert watched.shows(Phase.IDLE).card is None
        asked = a_sale()
        watched.do(asked)
        assert watched.settles().phase is Phase.WAITING
        assert kinds(bench) == []

    def test_a_card_that_has_paid_pays_nothing_more_until_it_was_lifted(
        self, bench: Bench, watched: Watched
    ) -> None:
        card = card_with(100_000)
        first, second = a_sale(), a_sale(Rupiah(1_000))
        watched.do(first)
        bench.tap(card)
        assert watched.ends(first).lift_card
        watched.do(second)
        waiting = watched.settles()
        assert (waiting.phase, waiting.lift_card) == (Phase.WAITING, True)
        assert waiting.last_sale is not None
        assert waiting.last_sale.amount == AMOUNT
        lift(bench, watched)
        bench.tap(card)
        assert watched.ends(second).phase is Phase.PAID
        assert balance_of(card) == 86_500

    def test_paid_stays_until_somebody_has_seen_it_or_the_next_card_comes(
        self, bench: Bench, watched: Watched
    ) -> None:
        first = a_sale()
        watched.do(first)
        bench.tap(card_with())
        watched.ends(first)
        lift(bench, watched)
        assert watched.settles().phase is Phase.PAID
        bench.tap(card_with(holder=another_holder(4712)))
        here = watched.shows(Phase.CARD_HERE)
        assert here.card is not None
        assert here.card.member_number == 4712
        assert here.last_sale is not None
        watched.do(Acknowledge())
        assert watched.state.phase is Phase.CARD_HERE

    def test_acknowledged_it_is_idle(self, bench: Bench, watched: Watched) -> None:
        asked = a_sale()
        watched.do(asked)
        bench.tap(card_with())
        watched.ends(asked)
        watched.do(Acknowledge(request="another"))
        assert watched.settles().phase is Phase.PAID
        watched.do(Acknowledge(request=asked.request))
        assert watched.settles().phase is Phase.IDLE
        assert watched.settles().sale is None

    def test_nobody_taps(self, bench: Bench) -> None:
        times = CounterTimes(card_wait_seconds=0.05, sync_interval_seconds=0)
        with Counter(bench.open, times) as counter:
            asked = a_sale()
            watched = Watched(counter)
            watched.shows(Phase.IDLE)
            watched.do(asked)
            ended = watched.ends(asked)
        assert ended.phase is Phase.REFUSED
        assert isinstance(ended.error, NoCardCame)


class TestCharging:
    """One request is one sale, however often it is asked."""

    def test_a_second_click_is_the_same_sale(self, bench: Bench, watched: Watched) -> None:
        card = card_with(100_000)
        asked = a_sale()
        for _ in range(3):
            watched.do(asked)
        bench.tap(card)
        watched.ends(asked)
        lift(bench, watched)
        watched.do(asked)
        bench.tap(card)
        watched.settles()
        assert balance_of(card) == 87_500
        assert kinds(bench) == [SaleVoucher]

    def test_asked_again_later_it_shows_how_it_ended(self, bench: Bench, watched: Watched) -> None:
        asked = a_sale()
        watched.do(asked)
        bench.tap(card_with())
        paid = watched.ends(asked)
        lift(bench, watched)
        watched.do(Acknowledge())
        watched.do(asked)
        again = watched.state
        assert (again.phase, again.sale, again.request) == (Phase.PAID, paid.sale, asked.request)

    def test_also_after_the_program_was_started_again(self, bench: Bench) -> None:
        card = card_with(100_000)
        asked = a_sale()
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.shows(Phase.IDLE)
            watched.do(asked)
            bench.tap(card)
            watched.ends(asked)
        bench.reader.remove()
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.shows(Phase.IDLE)
            watched.do(asked)
            again = watched.ends(asked)
        assert again.phase is Phase.PAID
        assert again.sale is not None
        assert again.sale.already_paid
        assert balance_of(card) == 87_500

    def test_the_same_number_for_something_else_is_refused(
        self, bench: Bench, watched: Watched
    ) -> None:
        asked = a_sale()
        other = replace(asked, purchase=Purchase(Rupiah(1)))
        watched.do(asked)
        with pytest.raises(RequestDiffers):
            watched.do(other)
        bench.tap(card_with())
        watched.ends(asked)
        with pytest.raises(RequestDiffers):
            watched.do(other)

    def test_while_one_is_under_way_there_is_no_other(self, watched: Watched) -> None:
        asked = a_sale()
        watched.do(asked)
        for other in (a_sale(), ask_balance(), ask_login()):
            with pytest.raises(CounterBusy):
                watched.do(other)
        assert watched.state.request == asked.request

    @pytest.mark.parametrize("id_", ["", "x" * 65, "Rp\n"])
    def test_a_number_that_cannot_be_kept_is_refused(self, watched: Watched, id_: str) -> None:
        with pytest.raises(BadRequestId):
            watched.do(a_sale(request=id_))
        assert watched.state.phase is Phase.IDLE


class TestCancel:
    def test_while_a_card_is_waited_for(self, bench: Bench, watched: Watched) -> None:
        asked = a_sale()
        watched.do(asked)
        watched.do(Cancel(request="another"))
        assert watched.settles().phase is Phase.WAITING
        watched.do(Cancel(request=asked.request))
        assert watched.settles().phase is Phase.IDLE
        bench.tap(card_with())
        watched.shows(Phase.CARD_HERE)
        watched.do(asked)  # a click that comes late
        assert watched.settles().phase is Phase.CARD_HERE
        assert kinds(bench) == []

    def test_what_is_paid_stays_paid(self, bench: Bench, watched: Watched) -> None:
        asked = a_sale()
        watched.do(asked)
        bench.tap(card_with())
        watched.ends(asked)
        watched.do(Cancel())
        assert watched.state.phase is Phase.PAID

    def test_a_new_total_takes_the_place_of_one_that_still_waits(
        self, bench: Bench, watched: Watched
    ) -> None:
        card = card_with(100_000)
        first = a_sale()
        watched.do(first)
        second = a_sale(Rupiah(10_000), instead_of=first.request)
        watched.do(second)
        watched.do(second)
        bench.tap(card)
        watched.ends(second)
        assert balance_of(card) == 90_000
        with pytest.raises(CounterBusy):
            watched.do(a_sale(Rupiah(5_000), instead_of=second.request))
        assert watched.state.phase is Phase.PAID


class TestPulledAway:
    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(FIRST_FRAMES))
    def test_before_the_commit_no_money_moves_and_the_next_tap_pays(
        self, bench: Bench, watched: Watched, frame: int, moment: Moment
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, at_frame(frame, moment))
        waiting = watched.sees(lambda state: state.error is not None)
        assert waiting.phase is Phase.WAITING
        assert isinstance(waiting.error, CardRemoved)
        assert waiting.error.money_moved is MoneyMoved.NO
        bench.tap(card)
        assert watched.ends(asked).phase is Phase.PAID
        assert balance_of(card) == 87_500
        assert kinds(bench)[-1] is SaleVoucher
        assert set(kinds(bench)[:-1]) <= {VoidVoucher}

    @pytest.mark.parametrize("moment", Moment)
    def test_at_the_commit_it_is_in_doubt_and_the_same_card_tells(
        self, bench: Bench, watched: Watched, moment: Moment
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, at_frame(FIRST_FRAMES, moment))
        doubt = watched.shows(Phase.IN_DOUBT)
        assert isinstance(doubt.error, SaleInDoubt)
        assert doubt.doubt is not None
        assert (doubt.doubt.uid, doubt.doubt.holder) == (card.uid, "Siti Aminah")
        assert (doubt.doubt.amount, doubt.request) == (AMOUNT, asked.request)
        assert Signal.SUCCESS not in bench.reader.signals
        bench.tap(card)
        paid = watched.ends(asked)
        assert paid.phase is Phase.PAID
        assert paid.sale is not None
        assert paid.sale.already_paid is (moment is Moment.AFTER)
        assert paid.settled == ()
        assert balance_of(card) == 87_500

    def test_another_card_is_told_so_and_not_touched(self, bench: Bench, watched: Watched) -> None:
        card, other = card_with(100_000), card_with(50_000, another_holder(4712))
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, at_command(COMMIT))
        watched.shows(Phase.IN_DOUBT)
        bench.tap(other)
        told = watched.sees(lambda state: isinstance(state.error, AnotherCard))
        assert (told.phase, told.lift_card) == (Phase.IN_DOUBT, True)
        assert told.doubt is not None
        assert told.doubt.uid == card.uid
        lift(bench, watched)
        bench.tap(card)
        assert watched.ends(asked).phase is Phase.PAID
        assert (balance_of(card), balance_of(other)) == (87_500, 50_000)

    @pytest.mark.parametrize("frame", range(5))
    def test_the_card_in_doubt_is_pulled_away_again(
        self, bench: Bench, watched: Watched, frame: int
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, at_command(COMMIT))
        before = watched.shows(Phase.IN_DOUBT)
        bench.tap(card, at_frame(frame))
        watched.sees(lambda s: s.phase is Phase.IN_DOUBT and s.version > before.version + 1)
        bench.tap(card)
        assert watched.ends(asked).phase is Phase.PAID
        assert balance_of(card) == 87_500

    def test_nothing_else_goes_on_while_it_is_not_known(
        self, bench: Bench, watched: Watched
    ) -> None:
        watched.do(a_sale())
        bench.tap(card_with(), at_command(COMMIT))
        watched.shows(Phase.IN_DOUBT)
        for command in (Cancel(), Acknowledge()):
            watched.do(command)
        for request in (a_sale(), ask_balance()):
            with pytest.raises(CounterBusy):
                watched.do(request)
        assert watched.state.phase is Phase.IN_DOUBT

    @pytest.mark.parametrize("moment", Moment)
    def test_given_up_it_stays_in_doubt_until_the_card_comes_again(
        self, bench: Bench, watched: Watched, moment: Moment
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, at_command(COMMIT, moment))
        watched.shows(Phase.IN_DOUBT)
        watched.do(GiveUpDoubt())
        left = watched.ends(asked)
        assert left.phase is Phase.DOUBT_LEFT
        assert left.error is not None
        assert left.error.money_moved is MoneyMoved.UNKNOWN
        assert kinds(bench) == [InDoubtVoucher]
        bench.tap(card)
        here = watched.shows(Phase.CARD_HERE)
        (settled,) = here.settled
        expected = Outcome.PAID if moment is Moment.AFTER else Outcome.NOT_PAID
        assert (settled.sequence, settled.outcome, settled.amount) == (1, expected, AMOUNT)
        assert kinds(bench) == [InDoubtVoucher, ResolutionVoucher]
        watched.do(Acknowledge())
        assert watched.state.settled == ()

    def test_what_the_card_told_before_the_total_is_not_charged_again(
        self, bench: Bench, watched: Watched
    ) -> None:
        card = card_with(100_000)
        watched.do(a_sale())
        bench.tap(card, at_command(COMMIT))
        watched.shows(Phase.IN_DOUBT)
        watched.do(GiveUpDoubt())
        bench.tap(card)
        watched.shows(Phase.CARD_HERE)
        same = a_sale()
        watched.do(same)
        paid = watched.ends(same)
        assert paid.sale is not None
        assert paid.sale.already_paid
        assert balance_of(card) == 87_500

    def test_asked_again_under_its_number_a_doubt_that_was_left_is_taken_up(
        self, bench: Bench
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.do(asked)
            bench.tap(card, at_command(COMMIT))
            watched.shows(Phase.IN_DOUBT)
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.do(asked)
            doubt = watched.shows(Phase.IN_DOUBT)
            assert doubt.doubt is not None
            assert doubt.doubt.uid == card.uid
            bench.tap(card)
            assert watched.ends(asked).phase is Phase.PAID
        assert balance_of(card) == 87_500

    def test_a_card_whose_log_has_gone_on_cannot_tell(
        self, bench: Bench, watched: Watched, tmp_path: Path
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, at_command(COMMIT, Moment.BEFORE))
        watched.shows(Phase.IN_DOUBT)
        bench.reader.remove()
        (tmp_path / "other").mkdir()
        other = Bench(tmp_path / "other", terminal_id=8).enrol()
        with other.open() as till:
            for _ in range(11):
                other.tap(card)
                till.sell(Rupiah(1_000))
        other.reader.remove()
        bench.tap(card)
        left = watched.ends(asked)
        assert left.phase is Phase.DOUBT_LEFT
        assert isinstance(left.error, StillInDoubt)
        assert balance_of(card) == 89_000

    def test_the_disk_fills_up_after_the_card_has_paid(
        self, bench: Bench, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "append_voucher", full)
            bench.tap(card)
            doubt = watched.shows(Phase.IN_DOUBT)
        assert isinstance(doubt.error, PaidNotRecorded)
        assert doubt.error.money_moved is MoneyMoved.YES
        assert doubt.lift_card
        lift(bench, watched)
        bench.tap(card)
        paid = watched.ends(asked)
        assert paid.phase is Phase.PAID
        assert (balance_of(card), kinds(bench)) == (87_500, [SaleVoucher])


class TestRefused:
    def refused(self, bench: Bench, watched: Watched, card: SimulatedCard) -> CounterState:
        asked = a_sale()
        watched.do(asked)
        bench.tap(card)
        ended = watched.ends(asked)
        assert ended.phase is Phase.REFUSED
        assert ended.error is not None
        assert ended.error.money_moved is MoneyMoved.NO
        watched.settles()
        assert bench.reader.signals[-1] is Signal.FAILURE
        assert kinds(bench) == []
        return ended

    def test_too_little_money_and_with_less_in_the_cart_the_same_card_pays(
        self, bench: Bench, watched: Watched
    ) -> None:
        card = card_with(10_000)
        ended = self.refused(bench, watched, card)
        assert isinstance(ended.error, InsufficientBalance)
        assert ended.card is not None
        assert ended.card.balance == Rupiah(10_000)
        less = a_sale(Rupiah(9_000))
        watched.do(less)
        assert watched.ends(less).phase is Phase.PAID
        assert balance_of(card) == 1_000

    def test_blocked(self, bench: Bench, watched: Watched) -> None:
        card = card_with()
        bench.feed(blocked=(card.uid,))
        assert isinstance(self.refused(bench, watched, card).error, CardBlocked)

    def test_expired(self, bench: Bench, watched: Watched) -> None:
        card = card_with(holder=expired(date(2020, 1, 1)))
        ended = self.refused(bench, watched, card)
        assert isinstance(ended.error, CardExpired)
        assert ended.card is not None
        assert ended.card.is_expired

    def test_not_ours(self, bench: Bench, watched: Watched) -> None:
        ended = self.refused(bench, watched, SimulatedCard())
        assert isinstance(ended.error, BlankCard)
        assert ended.card is None

    def test_a_card_that_is_no_use_is_told_before_the_total(
        self, bench: Bench, watched: Watched
    ) -> None:
        blocked = card_with()
        bench.feed(blocked=(blocked.uid,))
        bench.tap(blocked)
        here = watched.shows(Phase.CARD_HERE)
        assert here.card is not None
        assert here.card.is_blocked
        bench.reader.remove()
        watched.shows(Phase.IDLE)
        bench.tap(SimulatedCard())
        assert isinstance(watched.shows(Phase.CARD_HERE).error, BlankCard)

    def test_past_the_risk_limits_no_card_is_asked(self, bench: Bench, watched: Watched) -> None:
        first = a_sale()
        watched.do(first)
        bench.tap(card_with())
        watched.ends(first)
        lift(bench, watched)
        bench.limit(unsent_vouchers_max=1)
        asked = a_sale()
        watched.do(asked)
        ended = watched.ends(asked)
        assert isinstance(ended.error, TooManyUnsent)
        assert Phase.WAITING not in [s.phase for s in watched.states if s.request == asked.request]

    def test_that_nothing_can_be_sold_is_known_before_the_queue_finds_out(
        self, bench: Bench, watched: Watched
    ) -> None:
        assert watched.state.stopped is None
        watched.run(lambda till: till.close_shift(Rupiah(0)))
        assert isinstance(watched.sees(lambda s: s.stopped is not None).stopped, NoShift)
        asked = a_sale()
        watched.do(asked)
        assert isinstance(watched.ends(asked).error, NoShift)
        watched.run(lambda till: till.open_shift())
        watched.sees(lambda state: state.stopped is None)
        bench.limit(unsent_total_max=Rupiah(0))
        watched.run(lambda _: None)
        assert isinstance(watched.sees(lambda s: s.stopped is not None).stopped, TooMuchUnsent)

    def test_a_price_for_another_class_is_not_charged_and_the_next_tap_pays_the_right_one(
        self, bench: Bench, watched: Watched
    ) -> None:
        bench.feed(
            outlet=noted(MemberNote(member_number=4711, member_class="karyawan", photo=None))
        )
        card = card_with(100_000)
        asked = a_sale(member_class="")
        watched.do(asked)
        bench.tap(card)
        refused = watched.ends(asked)
        assert isinstance(refused.error, PriceClassDiffers)
        assert refused.error.card_class == "karyawan"
        assert refused.lift_card
        assert kinds(bench) == []
        right = a_sale(Rupiah(10_000), member_class="karyawan")
        watched.do(right)
        # The member sees the new total, and taps for it.
        assert watched.settles().phase is Phase.WAITING
        lift(bench, watched)
        bench.tap(card)
        assert watched.ends(right).phase is Phase.PAID
        assert balance_of(card) == 90_000


class TestBalanceAndLogin:
    def test_the_card_tells_its_last_ten_movements(self, bench: Bench, watched: Watched) -> None:
        card = card_with(100_000)
        for amount in range(1, 13):
            asked = a_sale(Rupiah(amount))
            watched.do(asked)
            bench.tap(card)
            watched.ends(asked)
            lift(bench, watched)
        balance = ask_balance()
        watched.do(balance)
        bench.tap(card)
        shown = watched.ends(balance)
        assert shown.phase is Phase.BALANCE
        assert shown.card is not None
        assert shown.card.balance == Rupiah(100_000 - 78)
        assert shown.card.movements is not None
        assert [one.amount.amount for one in shown.card.movements] == list(range(12, 2, -1))
        newest = shown.card.movements[0]
        assert (newest.kind, newest.sequence, newest.here) == (RecordKind.SALE, 12, True)
        assert newest.balance_after == shown.card.balance

    def test_a_credit_is_not_of_here(self, bench: Bench, watched: Watched) -> None:
        balance = ask_balance()
        bench.tap(card_with(100_000))
        watched.shows(Phase.CARD_HERE)
        watched.do(balance)
        card = watched.ends(balance).card
        assert card is not None
        assert card.movements is not None
        (credit,) = card.movements
        assert (credit.kind, credit.here) == (RecordKind.CREDIT, False)

    def test_a_staff_card_says_who_it_is_and_then_pays_for_nobody(
        self, bench: Bench, watched: Watched
    ) -> None:
        login = ask_login()
        watched.do(login)
        card = card_with()
        bench.tap(card)
        ended = watched.ends(login)
        assert ended.phase is Phase.LOGIN
        assert ended.card is not None
        assert ended.card.member_number == 4711
        watched.do(a_sale())
        assert watched.settles().phase is Phase.WAITING
        assert balance_of(card) == 100_000

    def test_a_card_out_of_force_logs_nobody_in(self, bench: Bench, watched: Watched) -> None:
        card = card_with()
        bench.feed(blocked=(card.uid,))
        for tapped, kind in (
            (card, CardBlocked),
            (card_with(holder=expired(date(2020, 1, 1))), CardExpired),
        ):
            login = ask_login()
            watched.do(login)
            bench.tap(tapped)
            ended = watched.ends(login)
            assert ended.phase is Phase.REFUSED
            assert isinstance(ended.error, kind)
            lift(bench, watched)

    def test_pulled_away_it_is_asked_again(self, bench: Bench, watched: Watched) -> None:
        card = card_with()
        for request in (ask_balance(), ask_login()):
            watched.do(request)
            bench.tap(card, at_frame(2))
            assert watched.sees(lambda s: s.error is not None).phase is Phase.WAITING
            bench.tap(card)
            assert watched.ends(request).phase in {Phase.BALANCE, Phase.LOGIN}
            lift(bench, watched)


class TestRefund:
    def test_needs_no_card_and_is_one_however_often_it_is_asked(
        self, bench: Bench, watched: Watched
    ) -> None:
        sale = a_sale()
        watched.do(sale)
        bench.tap(card_with())
        watched.ends(sale)
        refund = AskRefund(request=new_id(), sale=1, reason="rusak", amount=Rupiah(2_500))
        for _ in range(3):
            watched.do(refund)
        ended = watched.ends(refund)
        assert ended.phase is Phase.REFUNDED
        assert ended.refund is not None
        assert (ended.refund.refunds, ended.refund.amount) == (1, Rupiah(2_500))
        assert kinds(bench) == [SaleVoucher, RefundVoucher]

    def test_its_number_is_durable(self, bench: Bench) -> None:
        sale = a_sale()
        refund = AskRefund(request=new_id(), sale=1, reason="rusak", amount=Rupiah(2_500))
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.do(sale)
            bench.tap(card_with())
            watched.ends(sale)
            watched.do(refund)
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.do(refund)
            again = watched.ends(refund)
            with pytest.raises(RequestDiffers):
                watched.do(replace(refund, amount=Rupiah(3_000)))
        assert again.refund is not None
        assert again.refund.already_written
        assert kinds(bench) == [SaleVoucher, RefundVoucher]

    def test_a_number_of_another_one_is_refused_and_the_counter_is_free(self, bench: Bench) -> None:
        """The board forgets it with the program, the ledger does not."""
        sale = a_sale()
        refund = AskRefund(request=new_id(), sale=1, reason="rusak", amount=Rupiah(2_500))
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.do(sale)
            bench.tap(card_with())
            watched.ends(sale)
            watched.do(refund)
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.shows(Phase.IDLE, Phase.CARD_HERE)
            with pytest.raises(RequestDiffers):
                watched.do(replace(refund, amount=Rupiah(3_000)))
            assert not watched.state.phase.is_busy
        assert kinds(bench) == [SaleVoucher, RefundVoucher]

    def test_one_that_is_refused(self, watched: Watched) -> None:
        refund = AskRefund(request=new_id(), sale=9, reason="rusak")
        watched.do(refund)
        assert watched.ends(refund).phase is Phase.REFUSED


class TestAfterACrash:
    def test_what_may_not_have_been_shown_is_shown_until_it_is_acknowledged(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = card_with(100_000)
        bench.tap(card)
        with monkeypatch.context() as patch:
            patch.setattr(Till, "mark_shown", lambda _: None)
            with bench.open() as till:
                till.sell(AMOUNT)
                till.refund(1, Rupiah(500), reason="rusak")
        bench.reader.remove()
        for _ in range(2):
            with counter_of(bench) as counter:
                watched = Watched(counter)
                shown = watched.sees(lambda state: bool(state.not_shown))
                assert [one.sequence for one in shown.not_shown] == [1]
                assert [one.refunds for one in shown.refunds_not_shown] == [1]
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.sees(lambda state: bool(state.not_shown))
            watched.do(AcknowledgeNotShown())
            assert (watched.state.not_shown, watched.state.refunds_not_shown) == ((), ())
            same = a_sale()
            watched.do(same)
            bench.tap(card)
            assert watched.ends(same).phase is Phase.PAID
        assert balance_of(card) == 75_000
        with counter_of(bench) as counter:
            assert Watched(counter).shows(Phase.IDLE).not_shown == ()

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_fault_in_the_program_is_as_a_crash_and_the_sale_is_found_again(
        self, bench: Bench, watched: Watched, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:
        card = card_with(100_000)
        asked = a_sale()
        write_sale = Chain.write_sale
        faults = [RuntimeError("a fault")]

        def faulty(chain: Chain, *arguments: object) -> bytes:
            if after:
                write_sale(chain, *arguments)  # type: ignore[arg-type] # passed on
            if faults:
                raise faults.pop()
            return write_sale(chain, *arguments)  # type: ignore[arg-type] # passed on

        watched.do(asked)
        with monkeypatch.context() as patch:
            patch.setattr(Chain, "write_sale", faulty)
            bench.tap(card)
            assert isinstance(watched.shows(Phase.STARTING).error, CounterFault)
        # The card lies there still, and tells.
        paid = watched.ends(asked)
        assert paid.phase is Phase.PAID
        assert paid.not_shown == ()
        assert balance_of(card) == 87_500

    def test_a_fault_before_the_sale_refuses_it(
        self, bench: Bench, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def faulty(*_: object) -> None:
            raise RuntimeError

        for request in (a_sale(), ask_balance()):
            watched.do(request)
            with monkeypatch.context() as patch:
                patch.setattr(Till, "_purse", faulty)
                bench.tap(card_with())
                watched.shows(Phase.STARTING)
                bench.reader.remove()
            ended = watched.ends(request)
            assert ended.phase is Phase.REFUSED
            assert isinstance(ended.error, CounterFault)

    def test_while_the_till_cannot_be_opened_it_says_why(self, bench: Bench) -> None:
        with bench.open(), counter_of(bench) as counter:
            watched = Watched(counter)
            starting = watched.sees(lambda state: state.error is not None)
            assert starting.phase is Phase.STARTING
            with pytest.raises(TillInUse):
                watched.do(a_sale())

    def test_once_it_ends_nothing_is_taken(self, bench: Bench) -> None:
        with counter_of(bench) as counter:
            watched = Watched(counter)
            watched.shows(Phase.IDLE)
        with pytest.raises(CounterClosed):
            watched.do(a_sale())
        bench.open().__enter__().__exit__(None, None, None)


class UnpluggableReader(SimulatedReader):
    """`fault`, while set, is what comes of using it."""

    fault: ReaderUnavailable | None = None

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        self._check()
        return super().wait_for_card(timeout_seconds)

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        self._check()
        return super().wait_for_removal(timeout_seconds)

    def connect(self) -> SimulatedConnection:
        self._check()
        connection = super().connect()
        connection.check_reader = self._check
        return connection


class TestReader:
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        return Bench(tmp_path, reader=UnpluggableReader()).enrol()

    def unplug(self, bench: Bench) -> None:
        assert isinstance(bench.reader, UnpluggableReader)
        bench.reader.fault = ReaderUnavailable(detail="unplugged")

    def plug(self, bench: Bench) -> None:
        assert isinstance(bench.reader, UnpluggableReader)
        bench.reader.fault = None

    def test_unplugged_it_says_so_and_comes_back_by_itself(
        self, bench: Bench, watched: Watched
    ) -> None:
        assert watched.sees(lambda s: s.reader.is_there).reader.name == "simulated"
        asked = a_sale()
        watched.do(asked)
        self.unplug(bench)
        gone = watched.sees(lambda state: not state.reader.is_there)
        assert isinstance(gone.reader.error, ReaderUnavailable)
        assert gone.phase is Phase.WAITING
        self.plug(bench)
        bench.tap(card_with())
        assert watched.ends(asked).phase is Phase.PAID
        assert watched.state.reader.is_there

    @pytest.mark.parametrize("frame", [3, 7, 8])
    def test_unplugged_amid_a_sale(self, bench: Bench, watched: Watched, frame: int) -> None:
        def unplug(number: int, _: bytes) -> bool:
            if number == frame:
                self.unplug(bench)
            return False

        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card, Fault(unplug))
        watched.sees(lambda state: not state.reader.is_there)
        in_doubt = frame == FIRST_FRAMES - 1
        if frame < FIRST_FRAMES:
            assert watched.state.phase is (Phase.IN_DOUBT if in_doubt else Phase.WAITING)
        self.plug(bench)
        if watched.state.phase is not Phase.PAID:
            bench.tap(card)
        assert watched.ends(asked).phase is Phase.PAID
        assert balance_of(card) == 87_500

    def test_a_reader_named_by_its_url_is_opened_anew(self, tmp_path: Path) -> None:
        folder = tmp_path / "tray"
        folder.mkdir()
        bench = Bench(tmp_path).enrol()
        (folder / "unplugged").touch()
        with counter_of(bench, reader=f"sim:{folder}") as counter:
            watched = Watched(counter)
            watched.sees(lambda state: state.reader.error is not None)
            (folder / "unplugged").unlink()
            watched.sees(lambda state: state.reader.is_there)
            (folder / "unplugged").touch()
            watched.sees(lambda state: not state.reader.is_there)

    def test_garbled_answers_are_tried_again_but_not_for_ever(
        self, bench: Bench, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries = 0

        def garbled(*_: object) -> bytes:
            nonlocal tries
            tries += 1
            raise GarbledResponse(length=1)

        card = card_with(100_000)
        asked = a_sale()
        watched.do(asked)
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedConnection, "transmit", garbled)
            bench.tap(card)
            waiting = watched.sees(lambda state: state.lift_card)
            watched.settles()
        assert waiting.phase is Phase.WAITING
        assert isinstance(waiting.error, GarbledResponse)
        assert tries == 3
        lift(bench, watched)
        bench.tap(card)
        assert watched.ends(asked).phase is Phase.PAID


class TestThreads:
    def test_work_with_the_till_is_done_while_a_card_is_waited_for(self, watched: Watched) -> None:
        watched.do(a_sale())
        begun = time.monotonic()
        names = watched.counter.run(lambda till: (till.identity.seller, threading.current_thread()))
        seller, thread = names.result(SOON_SECONDS)
        assert time.monotonic() - begun < 1
        assert (seller, thread.name) == ("Toko Ciledug", "counter")

    def test_who_watches_hears_of_every_state_until_it_ends_that(self, watched: Watched) -> None:
        heard: list[CounterState] = []
        watched.settles()
        end = watched.counter.watch(heard.append)
        watched.do(a_sale())
        end()
        end()
        watched.do(Cancel())
        assert [state.phase for state in heard] == [Phase.WAITING]

    def test_changes_come_when_there_are_any(self, watched: Watched) -> None:
        state = watched.settles()
        assert watched.counter.changes(state.version, 0.01).version == state.version
        watched.do(a_sale())
        assert watched.counter.changes(state.version, SOON_SECONDS).phase is Phase.WAITING

    def test_a_fault_of_whoever_watches_is_theirs_alone(
        self, bench: Bench, watched: Watched
    ) -> None:
        def fail(_state: CounterState) -> None:
            raise RuntimeError

        watched.counter.watch(fail)
        asked = a_sale()
        watched.do(asked)
        bench.tap(card_with(100_000))
        assert watched.ends(asked).phase is Phase.PAID
        assert Phase.STARTING not in watched.phases()

    def test_a_fault_of_whoever_asks_for_work_is_theirs_alone(
        self, bench: Bench, watched: Watched
    ) -> None:
        asked = a_sale()
        watched.do(asked)
        with pytest.raises(ZeroDivisionError):
            watched.run(lambda _: 1 // 0)
        bench.tap(card_with())
        assert watched.ends(asked).phase is Phase.PAID
        assert Phase.STARTING not in watched.phases()

    def test_a_fault_in_a_command_is_as_a_crash(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Till, "bind_sale", lambda *_, **__: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                watched.do(a_sale())
        assert isinstance(watched.shows(Phase.REFUSED).error, CounterFault)
