"""Refunds at the till: of own paid sales, never above them, written down once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dobmi.cardlib.errors import CardRemoved
from dobmi.errors import MoneyMoved
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import SettledAs, Settlement, Settlements
from dobmi.sync.voucher import GoodsLine, RefundVoucher
from dobmi.terminal.errors import (
    BadRefund,
    BadRefundGoods,
    LedgerUnusable,
    NoSuchSale,
    NotASupervisor,
    RefundAmount,
    RefundOfDoubt,
    RefundRefused,
    RequestDiffers,
    SaleInDoubt,
    SaleNotPaid,
    SupervisorNeeded,
)
from dobmi.terminal.ledger import Ledger, SaleState
from dobmi.terminal.refund import RefundableLine, goods_of_lines, refundable
from dobmi.terminal.sales import find_sale, sales_of_shift
from dobmi.terminal.till import Till
from support.outlets import ANI, SITI, staffed
from support.tills import NOW, Bench, Crash, balance_of, card_with, crash_around

AMOUNT = Rupiah(12_500)
COMMIT = 0xC7
WRITE_RECORD = 0x8B


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


def sold(bench: Bench, till: Till, amount: Rupiah = AMOUNT) -> int:
    """The sequence of a new sale."""
    bench.tap(card_with())
    return till.sell(amount).sequence


def in_doubt(bench: Bench, till: Till, moment: Moment = Moment.AFTER) -> int:
    """The sequence of a sale whose card left at the commit and did not come back."""
    bench.tap(card_with(), at_command(COMMIT, moment))
    with pytest.raises(SaleInDoubt) as raised:
        till.sell(AMOUNT)
    return raised.value.sequence


def test_the_whole_sale_is_given_back_without_a_card(bench: Bench) -> None:
    card = card_with()
    bench.tap(card)
    with bench.open() as till:
        sale = till.sell(AMOUNT)
        bench.reader.remove()
        result = till.refund(sale.sequence, reason="beras basah")
    assert (result.amount, result.refunded_total, result.sale_amount) == (AMOUNT, AMOUNT, AMOUNT)
    assert (result.holder, result.member_number) == (sale.holder, sale.member_number)
    refund = bench.chain()[-1]
    assert isinstance(refund, RefundVoucher)
    assert (refund.refunds, refund.amount, refund.card_uid) == (1, AMOUNT, card.uid)
    assert (refund.reason, refund.supervisor, refund.link.shift) == ("beras basah", "", 1)
    assert balance_of(card) == 87_500, "nothing comes to the card at the till"


def test_any_sale_of_the_open_shift_not_only_the_last(bench: Bench) -> None:
    with bench.open() as till:
        first = sold(bench, till)
        sold(bench, till)
        assert till.refund(first, reason="salah barang").refunds == first


def sold_goods(bench: Bench, till: Till, *goods: GoodsLine) -> int:
    bench.tap(card_with())
    return till.sell(sum((line.amount for line in goods), ZERO), goods).sequence


def test_goods_given_back_are_in_the_voucher(bench: Bench) -> None:
    goods = (GoodsLine("Telur", 2, Rupiah(2_500)),)
    with bench.open() as till:
        sale = sold_goods(bench, till, GoodsLine("Telur", 3, Rupiah(2_500)))
        with pytest.raises(BadRefund):
            till.refund(sale, Rupiah(4_999), reason="pecah", goods=goods)
        till.refund(sale, Rupiah(5_000), reason="pecah", goods=goods)
    refund = bench.chain()[-1]
    assert isinstance(refund, RefundVoucher)
    assert refund.goods == goods


class TestByGoodsLines:
    def test_it_comes_to_what_they_cost_and_no_more_than_there_were(self, bench: Bench) -> None:
        with bench.open() as till:
            rice, eggs = GoodsLine("Beras", 2, Rupiah(7_000)), GoodsLine("Telur", 3, Rupiah(2_500))
            sale = sold_goods(bench, till, rice, eggs)
            goods = goods_of_lines(till.ledger, sale, {1: 2, 0: 1})
            assert [(line.name, line.quantity) for line in goods] == [("Beras", 1), ("Telur", 2)]
            till.refund(sale, Rupiah(12_000), reason="pecah", goods=goods)
            assert [one.left for one in refundable(till.ledger, sale)] == [1, 1]
            for quantities in ({1: 2}, {0: 0}, {2: 1}, {-1: 1}, {}):
                with pytest.raises(BadRefundGoods):
                    goods_of_lines(till.ledger, sale, quantities)
            with pytest.raises(BadRefundGoods):
                till.refund(sale, Rupiah(5_000), reason="pecah", goods=goods[1:])

    def test_what_was_not_sold_cannot_be_given_back(self, bench: Bench) -> None:
        with bench.open() as till:
            sale = sold_goods(bench, till, GoodsLine("Telur", 3, Rupiah(2_500)))
            for other in (GoodsLine("Telor", 1, Rupiah(2_500)), GoodsLine("Telur", 1, Rupiah(100))):
                with pytest.raises(BadRefundGoods):
                    till.refund(sale, other.amount, reason="x", goods=(other,))

    @given(
        quantity=st.integers(1, 40),
        price=st.integers(1, 5_000),
        part=st.integers(0, 100),
        data=st.data(),
    )
    def test_the_parts_of_a_discount_come_to_all_of_it(
        self, quantity: int, price: int, part: int, data: st.DataObject
    ) -> None:
        discount = price * quantity * part // 100
        line = GoodsLine("Telur", quantity, Rupiah(price), Rupiah(discount))
        left, total = quantity, ZERO
        while left:
            taken = data.draw(st.integers(1, left))
            refunded = RefundableLine(index=0, line=line, left=left).part(taken)
            assert ZERO <= refunded.discount <= refunded.unit_price * refunded.quantity
            total += refunded.amount
            left -= taken
        assert total == line.amount

    def test_two_lines_of_the_same_goods_are_one_after_the_other(self, bench: Bench) -> None:
        with bench.open() as till:
            line = GoodsLine("Telur", 2, Rupiah(2_500))
            sale = sold_goods(bench, till, line, line)
            goods = goods_of_lines(till.ledger, sale, {0: 2})
            till.refund(sale, Rupiah(5_000), reason="x", goods=goods)
            assert [one.left for one in refundable(till.ledger, sale)] == [0, 2]


@settings(max_examples=15, deadline=None)
@given(parts=st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_parts_come_to_no_more_than_the_sale(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("till")).enrol()
    left = AMOUNT.amount
    with bench.open() as till:
        sale = sold(bench, till)
        for part in parts:
            if part <= left:
                till.refund(sale, Rupiah(part), reason="sebagian")
                left -= part
            else:
                with pytest.raises(RefundAmount):
                    till.refund(sale, Rupiah(part), reason="sebagian")
        assert till.ledger.refunded(sale) == AMOUNT - Rupiah(left)
        if left:
            assert till.refund(sale, reason="sisanya").amount == Rupiah(left)
        with pytest.raises(RefundAmount):
            till.refund(sale, reason="lagi")
    given_back = [one.amount for one in bench.chain() if isinstance(one, RefundVoucher)]
    assert sum(given_back, ZERO) == AMOUNT


@pytest.mark.parametrize("amount", [0, -1, 12_501])
def test_nothing_less_than_nothing_and_more_than_the_sale_are_refused(
    bench: Bench, amount: int
) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        with pytest.raises(RefundAmount) as raised:
            till.refund(sale, Rupiah(amount), reason="x")
    assert raised.value.money_moved is MoneyMoved.NO
    assert len(bench.chain()) == 1


@pytest.mark.parametrize("sequence", [2, 99])
def test_a_number_without_a_sale_is_refused(bench: Bench, sequence: int) -> None:
    with bench.open() as till:
        till.refund(sold(bench, till), Rupiah(1), reason="x")  # number 2 is this refund
        with pytest.raises(NoSuchSale):
            till.refund(sequence, reason="x")


@pytest.mark.parametrize(
    ("reason", "supervisor"),
    [("", ""), ("  ", ""), ("x" * 201, ""), ("x", "y" * 81), ("a\0b", ""), ("x", "A\nni")],
)
def test_a_refund_has_a_reason_that_a_voucher_can_hold(
    bench: Bench, reason: str, supervisor: str
) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        with pytest.raises(BadRefund):
            till.refund(sale, reason=reason, supervisor=supervisor)


def test_a_sale_of_an_earlier_shift_needs_a_supervisor(bench: Bench) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        till.close_shift(ZERO)
        till.open_shift()
        with pytest.raises(SupervisorNeeded):
            till.refund(sale, reason="x")
        sold(bench, till)
        with pytest.raises(SupervisorNeeded):
            till.refund(sale, reason="x", supervisor=" ")
        till.refund(sale, reason="x", supervisor="Ani")
    refund = bench.chain()[-1]
    assert isinstance(refund, RefundVoucher)
    assert (refund.supervisor, refund.link.shift) == ("Ani", 2)


class TestSupervisors:
    """Where the feed lists the staff."""

    @pytest.fixture
    def old_sale(self, bench: Bench) -> int:
        with bench.open() as till:
            sale = sold(bench, till)
            till.close_shift(ZERO)
            till.open_shift()
        bench.feed(outlet=staffed(SITI, ANI))
        return sale

    def test_the_voucher_names_the_one_who_logged_in(self, bench: Bench, old_sale: int) -> None:
        with bench.open() as till:
            till.refund(old_sale, reason="x", supervisor=ANI)
        refund = bench.chain()[-1]
        assert isinstance(refund, RefundVoucher)
        assert refund.supervisor == ANI.name

    @pytest.mark.parametrize("supervisor", ["", "Ani"])
    def test_a_name_alone_is_not_enough(self, bench: Bench, old_sale: int, supervisor: str) -> None:
        with bench.open() as till, pytest.raises(SupervisorNeeded):
            till.refund(old_sale, reason="x", supervisor=supervisor)

    def test_nor_is_a_cashier(self, bench: Bench, old_sale: int) -> None:
        with bench.open() as till, pytest.raises(NotASupervisor, match="Siti"):
            till.refund(old_sale, reason="x", supervisor=SITI)

    def test_a_name_that_nobody_proved_is_never_written(self, bench: Bench, old_sale: int) -> None:
        with bench.open() as till:
            with pytest.raises(SupervisorNeeded):
                till.refund(sold(bench, till), reason="x", supervisor="Ani")
            assert till.ledger.refunded(old_sale) == ZERO


def test_asked_again_under_the_same_number_it_is_the_same_refund(bench: Bench) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        first = till.refund(sale, Rupiah(500), reason="x", request="one")
        again = till.refund(sale, Rupiah(500), reason="x", request="one")
        assert (first.sequence, first.already_written) == (again.sequence, False)
        assert again.already_written
        with pytest.raises(RequestDiffers):
            till.refund(sale, Rupiah(600), reason="x", request="one")
        other = till.refund(sale, Rupiah(500), reason="x", request="two")
        assert other.refunded_total == Rupiah(1_000)


def test_a_voided_sale_has_nothing_to_give_back(bench: Bench) -> None:
    with bench.open() as till:
        bench.tap(card_with(), at_command(WRITE_RECORD, Moment.BEFORE))
        with pytest.raises(CardRemoved):
            till.sell(AMOUNT)
        with pytest.raises(SaleNotPaid):
            till.refund(1, reason="x")


def test_a_doubt_is_refunded_only_after_its_card_said_that_it_paid(bench: Bench) -> None:
    card = card_with()
    with bench.open() as till:
        bench.tap(card, at_command(COMMIT, Moment.AFTER))
        with pytest.raises(SaleInDoubt):
            till.sell(AMOUNT)
        with pytest.raises(RefundOfDoubt):
            till.refund(1, reason="x")
        bench.tap(card)
        till.balance()
        assert till.refund(1, reason="x").amount == AMOUNT


def test_a_doubt_that_was_not_paid_is_never_refunded(bench: Bench) -> None:
    card = card_with()
    with bench.open() as till:
        bench.tap(card, at_command(COMMIT, Moment.BEFORE))
        with pytest.raises(SaleInDoubt):
            till.sell(AMOUNT)
        bench.tap(card)
        till.balance()
        with pytest.raises(SaleNotPaid):
            till.refund(1, reason="x")


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        (SettledAs.PAID, None),
        (SettledAs.NOT_PAID, SaleNotPaid),
        (SettledAs.HELD, RefundOfDoubt),
    ],
)
def test_the_servers_word_on_a_doubt_counts(
    bench: Bench, word: SettledAs, refusal: type[RefundRefused] | None
) -> None:
    with bench.open() as till:
        doubt = in_doubt(bench, till)
        till.give_up()
    settled = Settlements(terminal_id=7, since=0, settled=(Settlement(doubt, word, NOW, "card"),))
    bench.feed(settlements=settled)
    with bench.open() as till:
        if refusal is None:
            assert till.refund(doubt, reason="x", supervisor="Ani").amount == AMOUNT
        else:
            with pytest.raises(refusal):
                till.refund(doubt, reason="x", supervisor="Ani")


def test_a_doubt_that_was_given_back_is_not_the_next_sale(bench: Bench) -> None:
    """Its card answers here only now, that it paid: but the money of that went back to it."""
    card = card_with()
    with bench.open() as till:
        bench.tap(card, at_command(COMMIT, Moment.AFTER))
        with pytest.raises(SaleInDoubt):
            till.sell(AMOUNT)
        till.give_up()
    paid = Settlement(1, SettledAs.PAID, NOW, "card")
    bench.feed(settlements=Settlements(terminal_id=7, since=0, settled=(paid,)))
    with bench.open() as till:
        till.refund(1, reason="x", supervisor="Ani")
        bench.tap(card)
        sold_now = till.sell(AMOUNT)
        assert not sold_now.already_paid
        assert sold_now.sequence > 1


def test_a_sale_that_was_given_back_before_it_was_shown_is_not_the_next_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_with()
    with monkeypatch.context() as patch:
        crash_around(patch.setattr, Ledger, "append_voucher", after=True)
        bench.tap(card)
        with pytest.raises(Crash), bench.open() as till:
            till.sell(AMOUNT)
    with bench.open() as till:
        assert [intent.sequence for intent, _ in till.not_shown] == [1]
        till.refund(1, reason="x")
        bench.tap(card)
        sold_now = till.sell(AMOUNT)
        assert not sold_now.already_paid
        assert sold_now.sequence > 1


def test_the_database_itself_refuses_what_is_beyond_the_sale(bench: Bench) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        doubt = in_doubt(bench, till)
        till.give_up()
        for sequence, amount in ((sale, Rupiah(12_501)), (doubt, Rupiah(1))):
            intent = till.ledger.intent(sequence)
            assert intent is not None
            with pytest.raises(LedgerUnusable, match="beyond its sale"):
                till._desk.chain.write_refund(
                    intent, amount, 1, reason="x", supervisor="", goods=()
                )


def test_the_shift_counts_what_was_given_back(bench: Bench) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        till.refund(sale, Rupiah(500), reason="x")
        till.refund(sale, Rupiah(1_000), reason="x")
        (totals,) = till.close_shift(ZERO).totals
    assert (totals.sales_count, totals.sales_total) == (1, AMOUNT)
    assert (totals.refunds_count, totals.refunds_total) == (2, Rupiah(1_500))


@pytest.mark.parametrize("after", [False, True])
def test_p2_a_till_that_dies_over_a_refund_writes_it_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
    with monkeypatch.context() as patch:
        crash_around(patch.setattr, Ledger, "append_voucher", after=after)
        with pytest.raises(Crash), bench.open() as till:
            till.refund(sale, Rupiah(5_000), reason="x")
    with bench.open() as till:
        again = till.refund(sale, Rupiah(5_000), reason="x")
        assert again.already_written is after
        assert again.refunded_total == Rupiah(5_000)
        # Shown now, so the next one is another.
        assert till.refund(sale, Rupiah(5_000), reason="x").refunded_total == Rupiah(10_000)


def test_a_refund_that_was_shown_before_a_restart_is_not_taken_for_the_next(bench: Bench) -> None:
    with bench.open() as till:
        sale = sold(bench, till)
        till.refund(sale, Rupiah(5_000), reason="x")
    with bench.open() as till:
        assert not till.refund(sale, Rupiah(5_000), reason="x").already_written


def test_every_refusal_says_what_to_do() -> None:
    for kind in RefundRefused.__subclasses__():
        assert kind.next_step
        assert kind.money_moved is MoneyMoved.NO


def test_the_list_of_a_shift_says_of_each_sale_what_is_said_of_it_alone(bench: Bench) -> None:
    with bench.open() as till:
        whole, part = sold(bench, till), sold(bench, till, Rupiah(30_000))
        till.refund(whole, reason="batal")
        for amount in (1_000, 2_500):
            till.refund(part, Rupiah(amount), reason="satu dus basah")
        bench.tap(card_with(), at_command(WRITE_RECORD, Moment.AFTER))
        with pytest.raises(CardRemoved):
            till.sell(AMOUNT)
        in_doubt(bench, till)
        till.give_up()
        listed = sales_of_shift(till.ledger, 1)
        assert listed == tuple(find_sale(till.ledger, one.intent.sequence) for one in listed)
        found = [(one.state, one.refunded) for one in reversed(listed)]
        assert found == [
            (SaleState.PAID, AMOUNT),
            (SaleState.PAID, Rupiah(3_500)),
            (SaleState.NOT_PAID, ZERO),
            (SaleState.IN_DOUBT, ZERO),
        ]
        assert sales_of_shift(till.ledger, 1, 2) == listed[:2]
