"""The sale against simulated cards: what is paid, what is refused, and every place it can tear."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import (
    BlankCard,
    CardError,
    CardRemoved,
    GarbledResponse,
    InsufficientBalance,
    NotOurCard,
    OtherKeySet,
    UnfinishedCard,
    UnsupportedCard,
    WrongIssuerSignature,
    WrongResponseMac,
)
from dobmi.cardlib.evidence import parse_sale_evidence, verify_evidence
from dobmi.cardlib.purse_layout import CardKey, ReaderId
from dobmi.cardlib.readers.base import Signal
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault, Moment, at_command, at_frame
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.reader import SimulatedConnection, SimulatedReader
from dobmi.money import Rupiah
from dobmi.sync.feed import SettledAs, Settlement, Settlements
from dobmi.sync.voucher import (
    GoodsLine,
    InDoubtVoucher,
    Outcome,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
)
from dobmi.terminal.chain import Chain
from dobmi.terminal.errors import (
    AmountNotPositive,
    AmountOverLimit,
    AnotherCard,
    BadCart,
    CardBlocked,
    CardExpired,
    LedgerFull,
    NoCardCame,
    NoCardKeys,
    NotAnAmount,
    PaidNotRecorded,
    SaleInDoubt,
    StillInDoubt,
    SyncTooOld,
    TooManyUnsent,
    TooMuchUnsent,
)
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.purchase import parse_amount, parse_goods_line
from dobmi.terminal.till import Till
from support.purses import new_ring
from support.tills import (
    NOW,
    RING,
    Bench,
    Crash,
    another_holder,
    balance_of,
    card_with,
    crash_around,
    expired,
)

AMOUNT = Rupiah(12_500)
SALE_FRAMES = 9
COMMIT = 0xC7


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


def paid_total(bench: Bench) -> int:
    """What the chain says was paid: sales, and doubts that were resolved as paid."""
    chain = bench.chain()
    doubts = {
        voucher.link.sequence: voucher.intent.amount.amount
        for voucher in chain
        if isinstance(voucher, InDoubtVoucher)
    }
    return sum(
        voucher.intent.amount.amount for voucher in chain if isinstance(voucher, SaleVoucher)
    ) + sum(
        doubts[voucher.resolves]
        for voucher in chain
        if isinstance(voucher, ResolutionVoucher) and voucher.outcome is Outcome.PAID
    )


class TestPaid:
    def test_a_sale_takes_nine_exchanges_and_moves_the_amount_once(self, bench: Bench) -> None:
        card = card_with(100_000)
        bench.tap(card)
        with bench.open() as till:
            result = till.sell(AMOUNT)
        assert result.exchanges == SALE_FRAMES
        assert (result.balance_before, result.balance_after) == (Rupiah(100_000), Rupiah(87_500))
        assert balance_of(card) == 87_500
        assert not result.already_paid
        assert bench.reader.signals == [Signal.READY, Signal.SUCCESS]

    def test_the_voucher_holds_what_the_card_itself_vouches_for(self, bench: Bench) -> None:
        card = card_with()
        goods = (GoodsLine("Beras 5 kg", 1, Rupiah(12_500)),)
        bench.tap(card)
        with bench.open() as till:
            result = till.sell(AMOUNT, goods)
        (voucher,) = bench.chain()
        assert isinstance(voucher, SaleVoucher)
        assert (voucher.intent.goods, voucher.link.cashier) == (goods, "Siti")
        key = RING.card_key(CardKey.TRANSACTION_MAC, card.uid).value
        verify_evidence(
            key, card.uid, voucher.card_counter, voucher.card_mac, voucher.intent.evidence
        )
        evidence = parse_sale_evidence(voucher.intent.evidence)
        assert evidence.amount == AMOUNT
        assert evidence.reader_id == ReaderId(terminal_id=7, sequence=result.sequence)

    def test_p2_the_intent_is_on_disk_when_the_commit_reaches_the_card(self, bench: Bench) -> None:
        found: list[int] = []

        def look(_number: int, frame: bytes) -> bool:
            if frame[1] == COMMIT:
                intent = Ledger(bench.database).open_intent()
                found.append(intent.sequence if intent is not None else 0)
            return False

        bench.tap(card_with(), Fault(look))
        with bench.open() as till:
            till.sell(AMOUNT)
        assert found == [1]

    def test_p2_the_voucher_is_on_disk_before_the_light_goes_green(self, bench: Bench) -> None:
        heads: dict[Signal, int] = {}

        class Watched(SimulatedReader):
            def signal(self, signal: Signal) -> None:
                heads[signal] = Ledger(bench.database).head().sequence

        bench.reader = Watched()
        bench.tap(card_with())
        with bench.open() as till:
            till.sell(AMOUNT)
        assert heads == {Signal.READY: 0, Signal.SUCCESS: 1}

    def test_a_lamp_that_fails_does_not_undo_a_paid_sale(self, bench: Bench) -> None:
        class Dark(SimulatedReader):
            def signal(self, signal: Signal) -> None:
                raise GarbledResponse(length=len(signal))

        bench.reader = Dark()
        bench.tap(card_with())
        with bench.open() as till:
            assert till.sell(AMOUNT).sequence == 1

    def test_a_card_whose_log_has_wrapped_many_times_pays_and_settles_as_any(
        self, bench: Bench
    ) -> None:
        card = card_with(1_000_000)
        with bench.open() as till:
            for _ in range(25):
                bench.tap(card)
                till.sell(Rupiah(1_000))
            for moment in Moment:
                bench.tap(card, at_command(COMMIT, moment))
                with pytest.raises(SaleInDoubt):
                    till.sell(AMOUNT)
                bench.tap(card)
                till.sell(AMOUNT)
        assert balance_of(card) == 1_000_000 - 25_000 - 2 * 12_500
        assert paid_total(bench) == 50_000


class TestRefused:
    """Each with its own code; no money moves, and the chain has no trace or a void."""

    @pytest.mark.parametrize(
        "text", ["", "abc", "12,5", "12.50", "1e3", "Rp", "१२", "12 500", "0x10", "--5", "nan"]
    )
    def test_what_is_no_number_is_no_amount(self, text: str) -> None:
        with pytest.raises(NotAnAmount) as refusal:
            parse_amount(text)
        assert refusal.value.money_moved is MoneyMoved.NO

    @pytest.mark.parametrize("amount", [0, -1, -12_500])
    def test_nought_and_less_is_no_sale(self, bench: Bench, amount: int) -> None:
        self._refuses(bench, AmountNotPositive, amount)

    @pytest.mark.parametrize("amount", [2_000_001, 2**31, 2**70])
    def test_more_than_one_sale_may_be(self, bench: Bench, amount: int) -> None:
        self._refuses(bench, AmountOverLimit, amount)

    def test_the_limit_is_the_feeds(self, bench: Bench) -> None:
        bench.limit(sale_max=Rupiah(12_499))
        self._refuses(bench, AmountOverLimit)

    def test_too_little_money(self, bench: Bench) -> None:
        self._refuses(bench, InsufficientBalance, card=card_with(12_499))

    def test_a_blocked_card(self, bench: Bench) -> None:
        card = card_with()
        bench.feed(blocked=(card.uid,))
        self._refuses(bench, CardBlocked, card=card)
        bench.feed(unblocked=(card.uid,))
        with bench.open() as till:
            assert till.sell(AMOUNT).sequence == 1

    def test_a_card_after_its_last_valid_day(self, bench: Bench) -> None:
        today = date(2026, 9, 21)  # NOW, in Jakarta
        card = card_with(holder=expired(date(2026, 9, 20)))
        self._refuses(bench, CardExpired, card=card)
        bench.tap(card_with(holder=expired(today)))
        with bench.open() as till:
            assert till.sell(AMOUNT).amount == AMOUNT

    def test_a_till_too_long_without_sync(self, bench: Bench) -> None:
        bench.limit(sync_age_seconds_max=3600)
        bench.time += 3601
        self._refuses(bench, SyncTooOld)

    def test_too_many_vouchers_unsent(self, bench: Bench) -> None:
        bench.limit(unsent_vouchers_max=1)
        bench.tap(card_with())
        with bench.open() as till:
            till.sell(AMOUNT)
            with pytest.raises(TooManyUnsent):
                till.sell(AMOUNT)
        assert len(bench.chain()) == 1

    def test_too_much_money_unsent(self, bench: Bench) -> None:
        bench.limit(unsent_total_max=Rupiah(20_000))
        bench.tap(card_with())
        with bench.open() as till:
            till.sell(AMOUNT)
            with pytest.raises(TooMuchUnsent, match=r"25\.000"):
                till.sell(AMOUNT)
            assert till.sell(Rupiah(7_500)).sequence == 2

    def test_a_full_disk(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        monkeypatch.setattr(Ledger, "check_room", full)
        self._refuses(bench, LedgerFull)

    def test_an_intent_that_cannot_be_written_stops_the_commit(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        card = card_with()
        bench.tap(card)
        with bench.open() as till:
            monkeypatch.setattr(Ledger, "record_intent", full)
            with pytest.raises(LedgerFull) as refusal:
                till.sell(AMOUNT)
            assert refusal.value.money_moved is MoneyMoved.NO
            monkeypatch.undo()
            assert balance_of(card) == 100_000
            assert till.sell(AMOUNT).sequence == 1

    @pytest.mark.parametrize(
        ("goods", "detail"),
        [
            ((GoodsLine("Beras", 1, Rupiah(12_499)),), "come to"),
            ((GoodsLine("x" * 81, 1, AMOUNT),), "does not fit"),
            ((GoodsLine("Beras", 0, AMOUNT), GoodsLine("y", 1, AMOUNT)), "does not fit"),
            ((GoodsLine("\ud800", 1, AMOUNT),), "does not fit"),
            (tuple(GoodsLine("é" * 80, 1, Rupiah(125)) for _ in range(100)), "does not fit"),
            (tuple(GoodsLine("x", 1, Rupiah(0)) for _ in range(201)), "come to"),
        ],
    )
    def test_a_cart_that_no_voucher_can_hold(
        self, bench: Bench, goods: tuple[GoodsLine, ...], detail: str
    ) -> None:
        bench.tap(card_with())
        with bench.open() as till, pytest.raises(BadCart, match=detail):
            till.sell(AMOUNT, goods)
        assert bench.chain() == []

    def test_no_card_at_all(self, bench: Bench) -> None:
        with bench.open() as till, pytest.raises(NoCardCame):
            till.sell(AMOUNT)

    def test_a_till_without_card_keys(self, bench: Bench) -> None:
        with bench.open(custody=None) as till, pytest.raises(NoCardKeys):
            till.sell(AMOUNT)

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (lambda: SimulatedCard(), BlankCard),  # noqa: PLW0108 - a class is no case by itself
            (lambda: SimulatedCard(personality=Personality.EV1), UnsupportedCard),
            (lambda: card_with(ring=new_ring()), OtherKeySet),
            (lambda: card_with(ring=_with_another_issuer()), WrongIssuerSignature),
        ],
        ids=["blank", "EV1", "other keys", "other issuer"],
    )
    def test_a_card_that_is_not_ours(
        self, bench: Bench, make: Callable[[], SimulatedCard], error: type[NotOurCard]
    ) -> None:
        self._refuses(bench, error, card=make())

    def test_an_unfinished_card_is_told_from_a_foreign_one(self) -> None:
        assert issubclass(UnfinishedCard, NotOurCard)
        assert UnfinishedCard.code != OtherKeySet.code

    def _refuses(
        self,
        bench: Bench,
        error: type[Exception],
        amount: int = 12_500,
        card: SimulatedCard | None = None,
    ) -> None:
        card = card if card is not None else card_with()
        state = card.state
        bench.tap(card)
        with bench.open() as till, pytest.raises(error) as refusal:
            till.sell(Rupiah(amount))
        assert type(refusal.value) is error
        assert getattr(refusal.value, "money_moved") is MoneyMoved.NO  # noqa: B009 - of any error
        assert card.state == state
        assert bench.chain() == []


def _with_another_issuer() -> KeyRing:
    """Our card keys, and somebody else's signature on the holder."""
    return KeyRing(masters=RING.masters, signing=KeyRing.generate(signing=["card-issuer"]).signing)


TEARS = [(frame, moment) for frame in range(SALE_FRAMES) for moment in Moment]


def tear(bench: Bench, till: Till, card: SimulatedCard, frame: int, moment: Moment) -> DoBMIError:
    bench.tap(card, at_frame(frame, moment))
    with pytest.raises((CardRemoved, SaleInDoubt)) as torn:
        till.sell(AMOUNT)
    error = torn.value
    assert isinstance(error, SaleInDoubt) == (frame == SALE_FRAMES - 1)
    expected = MoneyMoved.UNKNOWN if isinstance(error, SaleInDoubt) else MoneyMoved.NO
    assert error.money_moved is expected
    assert bench.reader.signals[-1] is Signal.FAILURE
    return error


@pytest.mark.parametrize(("frame", "moment"), TEARS)
class TestTorn:
    """P1, P2: the card is pulled away before or after any frame of the sale."""

    def test_the_same_card_again_is_charged_once(
        self, bench: Bench, frame: int, moment: Moment
    ) -> None:
        card = card_with()
        with bench.open() as till:
            tear(bench, till, card, frame, moment)
            bench.tap(card)
            result = till.sell(AMOUNT)
            assert till.ledger.doubts() == ()
        committed = (frame, moment) == (SALE_FRAMES - 1, Moment.AFTER)
        assert result.already_paid == committed
        assert result.balance_after == Rupiah(87_500)
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500

    def test_given_up_it_is_settled_when_the_card_comes_back(
        self, bench: Bench, frame: int, moment: Moment
    ) -> None:
        card, other = card_with(), card_with(50_000, another_holder(2))
        with bench.open() as till:
            tear(bench, till, card, frame, moment)
            bench.tap(other)
            till.sell(Rupiah(1_000))
            assert len(till.ledger.doubts()) == (frame == SALE_FRAMES - 1)
            bench.tap(card)
            assert till.balance().balance.amount == balance_of(card)
            assert till.ledger.doubts() == ()
        assert paid_total(bench) == 1_000 + 100_000 - balance_of(card)

    def test_after_a_restart_the_same_sale_is_charged_once(
        self, bench: Bench, frame: int, moment: Moment
    ) -> None:
        card = card_with()
        with bench.open() as till:
            tear(bench, till, card, frame, moment)
        bench.tap(card)
        with bench.open() as till:
            till.sell(AMOUNT)
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500


class TestInDoubt:
    def _in_doubt(
        self, bench: Bench, till: Till, card: SimulatedCard, moment: Moment
    ) -> SaleInDoubt:
        bench.tap(card, at_command(COMMIT, moment))
        with pytest.raises(SaleInDoubt) as doubt:
            till.sell(AMOUNT)
        return doubt.value

    def test_found_paid_it_is_a_sale_with_counter_and_mac(self, bench: Bench) -> None:
        card = card_with()
        with bench.open() as till:
            self._in_doubt(bench, till, card, Moment.AFTER)
            bench.tap(card)
            till.sell(AMOUNT)
        (voucher,) = bench.chain()
        assert isinstance(voucher, SaleVoucher)
        key = RING.card_key(CardKey.TRANSACTION_MAC, card.uid).value
        verify_evidence(
            key, card.uid, voucher.card_counter, voucher.card_mac, voucher.intent.evidence
        )

    def test_found_not_paid_it_is_sold_anew_in_the_same_tap(self, bench: Bench) -> None:
        card = card_with()
        with bench.open() as till:
            doubt = self._in_doubt(bench, till, card, Moment.BEFORE)
            bench.tap(card)
            result = till.sell(AMOUNT, only_card=doubt.uid)
        kinds = [type(voucher) for voucher in bench.chain()]
        assert kinds == [InDoubtVoucher, ResolutionVoucher, SaleVoucher]
        assert result.sequence == 3
        resolution = bench.chain()[1]
        assert isinstance(resolution, ResolutionVoucher)
        assert (resolution.resolves, resolution.outcome) == (1, Outcome.NOT_PAID)

    def test_used_at_another_till_in_between_it_is_paid_without_a_mac(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        card = card_with()
        other = Bench(tmp_path, terminal_id=8).enrol()
        with bench.open() as till, other.open() as elsewhere:
            self._in_doubt(bench, till, card, Moment.AFTER)
            other.tap(card)
            elsewhere.sell(Rupiah(1_000))
            bench.tap(card)
            result = till.sell(AMOUNT)
        assert result.already_paid
        assert balance_of(card) == 100_000 - 12_500 - 1_000
        doubt, resolution = bench.chain()
        assert isinstance(doubt, InDoubtVoucher)
        assert isinstance(resolution, ResolutionVoucher)
        assert (resolution.outcome, resolution.card_mac) == (Outcome.PAID, None)

    def test_used_ten_times_elsewhere_the_card_cannot_tell_and_is_not_charged_again(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        card = card_with()
        other = Bench(tmp_path, terminal_id=8, time=NOW + 5).enrol()
        with bench.open() as till, other.open() as elsewhere:
            self._in_doubt(bench, till, card, Moment.AFTER)
            other.tap(card)
            for _ in range(10):
                elsewhere.sell(Rupiah(1_000))
            bench.tap(card)
            with pytest.raises(StillInDoubt) as doubt:
                till.sell(AMOUNT)
            assert doubt.value.money_moved is MoneyMoved.UNKNOWN
            assert [one.sequence for one in till.ledger.doubts()] == [1]
            assert till.sell(Rupiah(500)).sequence == 2
        assert balance_of(card) == 100_000 - 12_500 - 10_000 - 500

    @pytest.mark.parametrize(
        ("settled", "rule", "charged"),
        [
            (SettledAs.PAID, "card", 0),
            (SettledAs.NOT_PAID, "card", 12_500),
            (SettledAs.NOT_PAID, "no-word", 12_500),
            (SettledAs.HELD, "claimed-paid", 12_500),
        ],
    )
    def test_used_ten_times_elsewhere_the_server_knows_and_its_word_is_used_once(
        self, bench: Bench, tmp_path: Path, settled: SettledAs, rule: str, charged: int
    ) -> None:
        card = card_with()
        other = Bench(tmp_path, terminal_id=8, time=NOW + 5).enrol()
        moment = Moment.AFTER if settled is SettledAs.PAID else Moment.BEFORE
        with bench.open() as till, other.open() as elsewhere:
            self._in_doubt(bench, till, card, moment)
            till.give_up()
            other.tap(card)
            for _ in range(10):
                elsewhere.sell(Rupiah(1_000))
            told = (Settlement(1, settled, NOW + 60, rule),)
            bench.feed(settlements=Settlements(terminal_id=7, since=0, settled=told))
            assert till.ledger.doubts() == ()
            before = balance_of(card)
            bench.tap(card)
            assert till.sell(AMOUNT).already_paid is (settled is SettledAs.PAID)
            assert balance_of(card) == before - charged
            bench.tap(card)
            assert not till.sell(AMOUNT).already_paid
            assert balance_of(card) == before - charged - 12_500

    def test_minutes_after_the_tear_a_long_log_of_a_till_with_a_fast_clock_still_tells(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        card = card_with()
        fast = Bench(tmp_path, terminal_id=8, time=NOW + 86_400).enrol()
        with bench.open() as till, fast.open() as elsewhere:
            fast.tap(card)
            for _ in range(12):
                elsewhere.sell(Rupiah(1_000))
            doubt = self._in_doubt(bench, till, card, Moment.BEFORE)
            bench.tap(card)
            assert not till.sell(AMOUNT, only_card=doubt.uid).already_paid
        assert balance_of(card) == 100_000 - 12_000 - 12_500

    def test_another_amount_is_another_sale_and_the_first_is_reported(self, bench: Bench) -> None:
        card = card_with()
        with bench.open() as till:
            self._in_doubt(bench, till, card, Moment.AFTER)
            bench.tap(card)
            result = till.sell(Rupiah(3_000))
            assert [one.outcome for one in till.settled] == [Outcome.PAID]
        assert not result.already_paid
        assert balance_of(card) == 100_000 - 12_500 - 3_000
        assert paid_total(bench) == 15_500

    def test_while_asking_for_the_same_card_another_one_is_not_charged(self, bench: Bench) -> None:
        card, other = card_with(), card_with(50_000, another_holder(2))
        with bench.open() as till:
            doubt = self._in_doubt(bench, till, card, Moment.AFTER)
            bench.tap(other)
            with pytest.raises(AnotherCard) as wrong:
                till.sell(AMOUNT, only_card=doubt.uid)
            assert wrong.value.money_moved is MoneyMoved.UNKNOWN
            bench.tap(card)
            assert till.sell(AMOUNT, only_card=doubt.uid).already_paid
        assert balance_of(other) == 50_000

    @pytest.mark.parametrize("frame", range(9))
    def test_torn_again_while_it_tells_it_stays_in_doubt(self, bench: Bench, frame: int) -> None:
        card = card_with()
        with bench.open() as till:
            self._in_doubt(bench, till, card, Moment.AFTER)
            bench.tap(card, at_frame(frame, Moment.BEFORE))
            if frame < 8:
                with pytest.raises(SaleInDoubt):
                    till.sell(AMOUNT)
                bench.tap(card)
            assert till.sell(AMOUNT).already_paid
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500

    def test_whatever_keeps_the_card_from_telling_is_still_a_doubt(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        card = card_with()
        with bench.open() as till:
            doubt = self._in_doubt(bench, till, card, Moment.AFTER)
            causes: list[type] = []
            another = card_with(50_000, another_holder(2))
            bench.reader.remove()
            for trouble in ("no card", "disk full", "another card"):
                if trouble != "no card":
                    bench.tap(another if trouble == "another card" else card)
                with monkeypatch.context() as patch:
                    if trouble == "disk full":
                        patch.setattr(Ledger, "append_voucher", full)
                    with pytest.raises(SaleInDoubt) as again:
                        till.sell(AMOUNT, only_card=doubt.uid)
                assert again.value.money_moved is MoneyMoved.UNKNOWN
                causes.append(type(again.value.__cause__))
            assert causes[:2] == [NoCardCame, LedgerFull]
            bench.tap(card)
            assert till.sell(AMOUNT, only_card=doubt.uid).already_paid
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500

    def test_a_blocked_card_still_tells_of_its_doubt_and_is_then_refused(
        self, bench: Bench
    ) -> None:
        card = card_with()
        with bench.open() as till:
            self._in_doubt(bench, till, card, Moment.BEFORE)
            bench.feed(blocked=(card.uid,))
            bench.tap(card)
            with pytest.raises(CardBlocked):
                till.sell(AMOUNT)
            assert till.ledger.doubts() == ()

    @pytest.mark.parametrize("error", [GarbledResponse(length=1), WrongResponseMac()])
    def test_any_failure_of_the_commit_is_a_doubt(self, bench: Bench, error: CardError) -> None:
        """Also when the card did commit and only its answer was spoilt on the way."""
        bench.reader = SpoilingReader(COMMIT, error)
        card = card_with()
        bench.tap(card)
        with bench.open() as till:
            with pytest.raises(SaleInDoubt) as doubt:
                till.sell(AMOUNT)
            assert doubt.value.__cause__ is error or isinstance(doubt.value.__cause__, CardError)
            assert till.sell(AMOUNT).already_paid
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500

    @pytest.mark.parametrize("instruction", [0xDC, 0x8B])
    def test_a_garbled_answer_before_the_commit_voids_the_number(
        self, bench: Bench, instruction: int
    ) -> None:
        bench.reader = SpoilingReader(instruction, WrongResponseMac())
        card = card_with()
        bench.tap(card)
        with bench.open() as till:
            with pytest.raises(WrongResponseMac) as refusal:
                till.sell(AMOUNT)
            assert refusal.value.money_moved is MoneyMoved.NO
            till.sell(AMOUNT)
        void, sale = bench.chain()
        assert isinstance(void, VoidVoucher)
        assert void.reason is VoidReason.READER_FAILED
        assert isinstance(sale, SaleVoucher)
        assert balance_of(card) == 87_500


class SpoilingReader(SimulatedReader):
    """The first answer to one instruction has a byte changed on the way, or never makes sense."""

    def __init__(self, instruction: int, error: CardError) -> None:
        super().__init__()
        self._instruction = instruction
        self._error = error
        self._spoilt = False

    def connect(self) -> SimulatedConnection:
        connection = super().connect()
        transmit = connection.transmit

        def spoiling(command: bytes) -> bytes:
            answer = transmit(command)
            if command[1] != self._instruction or self._spoilt:
                return answer
            self._spoilt = True
            if isinstance(self._error, WrongResponseMac):
                return bytes((answer[0] ^ 1,)) + answer[1:]
            raise self._error

        connection.transmit = spoiling  # type: ignore[method-assign] # this one object only
        return connection


class TestRecordedLater:
    """The card paid and the disk is full: known to be paid, and said so, but not shown as paid."""

    def test_it_is_written_when_there_is_room_and_never_charged_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        card = card_with()
        bench.tap(card)
        with bench.open() as till:
            monkeypatch.setattr(Ledger, "append_voucher", full)
            with pytest.raises(PaidNotRecorded) as error:
                till.sell(AMOUNT)
            assert error.value.money_moved is MoneyMoved.YES
            assert Signal.SUCCESS not in bench.reader.signals
            monkeypatch.undo()
            bench.tap(card)
            assert till.sell(AMOUNT).already_paid
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500

    def test_another_card_next_finds_it_written_as_paid(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        with bench.open() as till:
            bench.tap(card_with())
            with monkeypatch.context() as patch:
                patch.setattr(Ledger, "append_voucher", full)
                with pytest.raises(PaidNotRecorded):
                    till.sell(AMOUNT)
            bench.tap(card_with(50_000, another_holder(2)))
            till.sell(Rupiah(1_000))
        assert [type(voucher) for voucher in bench.chain()] == [SaleVoucher, SaleVoucher]

    def test_a_void_that_cannot_be_written_is_written_before_the_next_voucher(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise LedgerFull

        card = card_with()
        with bench.open() as till:
            monkeypatch.setattr(Ledger, "append_voucher", full)
            bench.tap(card, at_command(0x8B))
            with pytest.raises(CardRemoved):
                till.sell(AMOUNT)
            monkeypatch.undo()
            bench.tap(card)
            till.sell(AMOUNT)
        assert [type(voucher) for voucher in bench.chain()] == [VoidVoucher, SaleVoucher]


STEPS = [
    (Ledger, "record_intent"),
    (Ledger, "append_voucher"),
    (Chain, "write_sale"),
    (Ledger, "mark_shown"),
]


class TestCrash:
    """The power goes at a durable step; the till is started again and the sale repeated."""

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
    def test_the_repeated_sale_is_charged_once(
        self,
        bench: Bench,
        monkeypatch: pytest.MonkeyPatch,
        owner: type,
        step: str,
        after: bool,
    ) -> None:
        card = card_with()
        bench.tap(card)
        with monkeypatch.context() as patch:
            crash_around(patch.setattr, owner, step, after=after)
            with pytest.raises(Crash), bench.open() as till:
                till.sell(AMOUNT)
        bench.tap(card)
        shown = step == "mark_shown"
        with bench.open() as till:
            told = bool(till.not_shown)
            result = till.sell(AMOUNT)
        # Marked as shown and then stopped: the cashier had seen it, so this is a second sale.
        sales = 2 if shown and after else 1
        assert balance_of(card) == 100_000 - sales * 12_500
        assert paid_total(bench) == sales * 12_500
        if step in {"append_voucher", "write_sale"} and after:
            assert told
            assert result.already_paid

    @pytest.mark.parametrize("acknowledged", [False, True], ids=["untold", "told"])
    def test_the_next_sale_hides_none_that_the_caller_has_not_told(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, acknowledged: bool
    ) -> None:
        card = card_with()
        bench.tap(card)
        with monkeypatch.context() as patch:
            crash_around(patch.setattr, Chain, "write_sale", after=True)
            with pytest.raises(Crash), bench.open() as till:
                till.sell(AMOUNT)
        with bench.open() as till:
            bench.tap(card_with(holder=another_holder(4712)))
            till.sell(AMOUNT)
            if acknowledged:
                till.acknowledge_not_shown()
        bench.tap(card)
        with bench.open() as till:
            untold = [intent.sequence for intent, _ in till.not_shown]
            assert untold == ([] if acknowledged else [1, 2])
            assert till.sell(AMOUNT).already_paid is not acknowledged

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("step", ["write_in_doubt", "write_resolution", "write_sale"])
    @pytest.mark.parametrize("moment", Moment)
    def test_while_a_doubt_is_settled(
        self,
        bench: Bench,
        monkeypatch: pytest.MonkeyPatch,
        moment: Moment,
        step: str,
        after: bool,
    ) -> None:
        card = card_with()
        with bench.open() as till:
            bench.tap(card, at_command(COMMIT, moment))
            with pytest.raises(SaleInDoubt):
                till.sell(AMOUNT)
            bench.tap(card)
            with monkeypatch.context() as patch:
                crash_around(patch.setattr, Chain, step, after=after)
                try:
                    till.sell(AMOUNT)
                except Crash:
                    crashed = True
                else:
                    crashed = False
        if not crashed:
            assert (moment, step) in {
                (Moment.AFTER, "write_in_doubt"),
                (Moment.AFTER, "write_resolution"),
            }
            return
        bench.tap(card)
        with bench.open() as till:
            till.sell(AMOUNT)
            assert till.ledger.doubts() == ()
        assert balance_of(card) == 87_500
        assert paid_total(bench) == 12_500

    def test_a_crash_between_intent_and_commit_costs_nobody_anything(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = card_with()
        bench.tap(card)
        with monkeypatch.context() as patch:
            crash_around(patch.setattr, Ledger, "record_intent", after=True)
            with pytest.raises(Crash), bench.open() as till:
                till.sell(AMOUNT)
        with bench.open() as till:
            assert [intent.sequence for intent in till.ledger.doubts()] == [1]
            bench.tap(card)
            assert till.balance().balance == Rupiah(100_000)
            assert till.ledger.doubts() == ()


class TestBalance:
    def test_it_tells_what_the_till_knows_of_the_card(self, bench: Bench) -> None:
        card = card_with(75_000)
        bench.feed(blocked=(card.uid,), credits_waiting=(card.uid,))
        bench.tap(card)
        with bench.open() as till:
            result = till.balance()
        assert (result.balance, result.holder.name) == (Rupiah(75_000), "Siti Aminah")
        assert (result.is_blocked, result.is_expired, result.has_credit_waiting) == (
            True,
            False,
            True,
        )

    def test_it_changes_nothing_on_the_card(self, bench: Bench) -> None:
        card = card_with()
        before = card.state
        bench.tap(card)
        with bench.open() as till:
            till.balance()
        assert card.state == before


def test_goods_lines_are_typed_as_name_and_price() -> None:
    assert parse_goods_line("Beras 5 kg=75.000") == GoodsLine("Beras 5 kg", 1, Rupiah(75_000))
    assert parse_goods_line("3 x Telur=2500") == GoodsLine("Telur", 3, Rupiah(2_500))
    assert parse_goods_line("Kopi x 3=500") == GoodsLine("Kopi x 3", 1, Rupiah(500))
    for text in ("Beras", "=500", " =500"):
        with pytest.raises(BadCart):
            parse_goods_line(text)
    with pytest.raises(NotAnAmount):
        parse_goods_line("Beras=murah")


def test_a_number_of_thousands_of_digits_is_refused_like_any_other() -> None:
    digits = "9" * 5_000
    with pytest.raises(BadCart):
        parse_goods_line(f"{digits} x Telur=2500")
    for parse in (parse_amount, lambda text: parse_goods_line(f"Telur={text}")):
        with pytest.raises(NotAnAmount):
            parse(digits)
