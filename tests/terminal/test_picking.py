"""Members' orders: the pick list, paid with the sale itself, handed over, cancelled; and asked twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import Rupiah
from dobmi.sync.feed import SettledAs, Settlement, Settlements
from dobmi.sync.records import OrderRecord, OrderState, decode_record
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal import sale_request
from dobmi.terminal.errors import (
    BadRequestId,
    LedgerUnusable,
    NoSuchOrder,
    OrderEnded,
    OrderInDoubt,
    OrderNotPaid,
    OrderPaid,
    RequestDiffers,
    SaleInDoubt,
)
from dobmi.terminal.ledger import SETTLED_BY, Ledger, SaleState
from dobmi.terminal.outbox import records_from
from dobmi.terminal.picking import (
    cancel,
    find_order,
    hand_over,
    open_as_cart,
    open_orders,
    orders_of_member,
    shortage,
)
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.till import Till
from support.outlets import ORDER, another_order, ordered
from support.tills import NOW, Bench, Crash, balance_of, card_with, crash_around

COMMIT = 0xC7
PURCHASE = Purchase(Rupiah(7_000))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path).enrol()
    made.feed(outlet=ordered(ORDER))
    return made


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    opened = Ledger(bench.database)
    yield opened
    opened.close()


def pay(till: Till, request: str, purchase: Purchase, order: int | None = None) -> SaleResult:
    """As a counter does: bind, then sell to the card that lies there."""
    paid_before = till.bind_sale(request, purchase, order=order)
    if paid_before is not None:
        return paid_before
    connection = till.opened_reader().connect()
    return till.sell_to(connection, purchase, request=request)


def order_records(ledger: Ledger) -> list[OrderRecord]:
    found = [decode_record(encoded) for encoded in records_from(ledger, 1, 100)]
    return [record for record in found if isinstance(record, OrderRecord)]


def test_the_pick_list_is_in_the_order_of_its_days(bench: Bench, ledger: Ledger) -> None:
    soon = another_order(502, pick_up_on=date(2026, 9, 1), member_number=9)
    bench.feed(outlet=ordered(ORDER, soon, version=2))
    assert [one.order for one in open_orders(ledger)] == [soon, ORDER]
    assert [one.order.number for one in orders_of_member(ledger, 9)] == [502]
    assert open_orders(ledger)[1].total == Rupiah(45_000)
    with pytest.raises(NoSuchOrder, match="503"):
        find_order(ledger, 503)


def test_an_order_is_paid_by_the_sales_own_voucher(bench: Bench, ledger: Ledger) -> None:
    bench.tap(card_with())
    cart = open_as_cart(ledger, 501).set_quantity(1, 6)
    with bench.open() as till:
        sale = pay(till, "a", cart.purchase(), order=501)
    assert sale.amount == Rupiah(35_000)
    found = find_order(ledger, 501)
    assert (found.state, found.sale, found.short) == (OrderState.PAID, 1, (("TLR", 4),))
    hand_over(ledger, 501, by="Siti", now=NOW)
    paid, handed_over = order_records(ledger)
    assert paid == OrderRecord(
        order=501,
        state=OrderState.PAID,
        sale=1,
        short=(("TLR", 4),),
        by="Siti",
        unix_seconds=NOW,
    )
    assert (handed_over.state, handed_over.sale) == (OrderState.HANDED_OVER, None)
    assert open_orders(ledger) == ()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_p2_a_till_that_dies_over_the_voucher_has_both_or_neither(
    bench: Bench, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    card = card_with()
    bench.tap(card)
    with monkeypatch.context() as patch:
        crash_around(patch.setattr, Ledger, "append_voucher", after=after)
        with pytest.raises(Crash), bench.open() as till:
            pay(till, "a", PURCHASE, order=501)
    assert (find_order(ledger, 501).state is OrderState.PAID) is after
    bench.tap(card)
    with bench.open() as till:
        if after:
            assert pay(till, "a", PURCHASE, order=501).already_paid
        else:
            with pytest.raises(SaleInDoubt):
                pay(till, "a", PURCHASE, order=501)
            till.balance()
    assert find_order(ledger, 501).sale == 1
    assert balance_of(card) == 93_000
    assert len(order_records(ledger)) == 1


class TestInDoubt:
    @pytest.fixture
    def doubt(self, bench: Bench) -> Bench:
        bench.tap(card_with(), at_command(COMMIT, Moment.AFTER))
        with bench.open() as till, pytest.raises(SaleInDoubt):
            pay(till, "a", PURCHASE, order=501)
        return bench

    @pytest.mark.usefixtures("doubt")
    def test_no_other_sale_pays_it_meanwhile(self, ledger: Ledger) -> None:
        for wrong in (
            lambda: open_as_cart(ledger, 501),
            lambda: sale_request.bind(ledger, "b", PURCHASE, order=501, now=NOW),
            lambda: cancel(ledger, 501, by="Siti", now=NOW),
        ):
            with pytest.raises(OrderInDoubt):
                wrong()
        with pytest.raises(OrderNotPaid):
            hand_over(ledger, 501, by="Siti", now=NOW)

    def test_it_is_paid_when_the_server_finds_so(self, doubt: Bench, ledger: Ledger) -> None:
        with doubt.open():
            pass
        for _ in range(2):
            settled = Settlement(1, SettledAs.PAID, NOW + 5, "card")
            doubt.feed(settlements=Settlements(terminal_id=7, since=0, settled=(settled,)))
        (record,) = order_records(ledger)
        assert (record.state, record.sale, record.by) == (OrderState.PAID, 1, SETTLED_BY)
        assert hand_over(ledger, 501, by="Siti", now=NOW).state is OrderState.HANDED_OVER

    def test_it_is_open_again_when_the_server_finds_that_it_was_not(
        self, doubt: Bench, ledger: Ledger
    ) -> None:
        with doubt.open():
            pass
        settled = Settlement(1, SettledAs.NOT_PAID, NOW + 5, "card")
        doubt.feed(settlements=Settlements(terminal_id=7, since=0, settled=(settled,)))
        assert open_as_cart(ledger, 501).order == 501
        assert order_records(ledger) == []


def test_an_order_is_paid_once_and_handed_over_once(bench: Bench, ledger: Ledger) -> None:
    bench.tap(card_with())
    with bench.open() as till:
        pay(till, "a", PURCHASE, order=501)
        for wrong in (
            lambda: pay(till, "b", PURCHASE, order=501),
            lambda: open_as_cart(ledger, 501),
            lambda: cancel(ledger, 501, by="Siti", now=NOW),
        ):
            with pytest.raises(OrderPaid):
                wrong()
    hand_over(ledger, 501, by="Siti", now=NOW)
    for wrong in (
        lambda: hand_over(ledger, 501, by="Siti", now=NOW),
        lambda: cancel(ledger, 501, by="Siti", now=NOW),
        lambda: open_as_cart(ledger, 501),
    ):
        with pytest.raises(OrderEnded):
            wrong()


def test_an_order_that_was_paid_is_cancelled_once_all_was_given_back(
    bench: Bench, ledger: Ledger
) -> None:
    bench.tap(card_with())
    with bench.open() as till:
        pay(till, "a", PURCHASE, order=501)
        till.refund(1, Rupiah(6_999), reason="x")
        with pytest.raises(OrderPaid):
            cancel(ledger, 501, by="Siti", now=NOW)
        till.refund(1, reason="x")
    assert cancel(ledger, 501, by="Siti", now=NOW).state is OrderState.CANCELLED


def test_an_order_that_nobody_fetched_is_cancelled(ledger: Ledger) -> None:
    assert cancel(ledger, 501, by="Siti", now=NOW).state is OrderState.CANCELLED
    assert open_orders(ledger) == ()
    assert [record.state for record in order_records(ledger)] == [OrderState.CANCELLED]


def test_what_is_paid_stays_until_it_is_handed_over_whatever_the_feed_lists(
    bench: Bench, ledger: Ledger
) -> None:
    bench.tap(card_with())
    bench.feed(outlet=ordered(ORDER, another_order(502), version=2))
    with bench.open() as till:
        pay(till, "a", PURCHASE, order=501)
    bench.feed(outlet=ordered(version=3))
    assert [one.order.number for one in open_orders(ledger)] == [501]
    hand_over(ledger, 501, by="Siti", now=NOW)
    bench.feed(outlet=ordered(ORDER, version=4))
    assert open_orders(ledger) == (), "the server has not heard of it yet"


def test_what_is_short_is_told_by_the_goods(ledger: Ledger) -> None:
    rice, eggs = open_as_cart(ledger, 501).goods
    more = GoodsLine("Sabun", 1, Rupiah(4_000))
    assert shortage(ORDER, (rice, eggs, more)) == ()
    assert shortage(ORDER, (replace(eggs, quantity=3),)) == (("BRS5", 2), ("TLR", 7))
    assert shortage(ORDER, (replace(rice, unit_price=Rupiah(1)), eggs)) == (("BRS5", 2),)
    assert shortage(ORDER, (replace(rice, quantity=5), eggs)) == ()


class TestAskedTwice:
    def test_a_second_click_charges_nothing(self, bench: Bench) -> None:
        card = card_with()
        bench.tap(card)
        with bench.open() as till:
            first = pay(till, "a", PURCHASE)
            again = pay(till, "a", PURCHASE)
        assert (again.sequence, again.already_paid) == (first.sequence, True)
        assert balance_of(card) == 93_000

    def test_nor_does_one_after_a_crash(self, bench: Bench) -> None:
        card = card_with()
        bench.tap(card)
        till = bench.open().__enter__()
        pay(till, "a", PURCHASE)
        till.__exit__(Crash, Crash(), None)
        with bench.open() as till:
            assert pay(till, "a", PURCHASE).already_paid
        assert balance_of(card) == 93_000

    def test_in_doubt_it_stays_in_doubt_until_the_card_tells(self, bench: Bench) -> None:
        card = card_with()
        bench.tap(card, at_command(COMMIT, Moment.AFTER))
        with bench.open() as till:
            for _ in range(2):
                with pytest.raises(SaleInDoubt):
                    pay(till, "a", PURCHASE)
            bench.tap(card)
            till.balance()
            assert pay(till, "a", PURCHASE).already_paid
        assert balance_of(card) == 93_000

    def test_known_not_to_be_paid_it_is_tried_again(self, bench: Bench, ledger: Ledger) -> None:
        card = card_with()
        bench.tap(card, at_command(COMMIT, Moment.BEFORE))
        with bench.open() as till:
            with pytest.raises(SaleInDoubt):
                pay(till, "a", PURCHASE)
            bench.tap(card)
            till.balance()
            bench.tap(card)
            assert pay(till, "a", PURCHASE).sequence == 3
        found = sale_request.find(ledger, "a")
        assert found is not None
        assert sale_request.state(ledger, found) is SaleState.PAID
        assert balance_of(card) == 93_000

    def test_the_database_itself_refuses_a_second_sale_of_it(
        self, bench: Bench, ledger: Ledger
    ) -> None:
        bench.tap(card_with())
        with bench.open() as till:
            sale = pay(till, "a", PURCHASE)
            intent = ledger.intent(sale.sequence)
            assert intent is not None
            with pytest.raises(LedgerUnusable, match="may be paid already"):
                ledger.record_intent(replace(intent, sequence=2), "a")
        assert ledger.open_intent() is None

    def test_the_same_number_for_something_else_is_refused(self, ledger: Ledger) -> None:
        bound = sale_request.bind(ledger, "a", PURCHASE, now=NOW)
        assert sale_request.bind(ledger, "a", PURCHASE, now=NOW + 9) == bound
        assert sale_request.state(ledger, bound) is None
        other = Purchase(Rupiah(7_001))
        wrongs: tuple[Callable[[], object], ...] = (
            lambda: sale_request.bind(ledger, "a", other, now=NOW),
            lambda: sale_request.bind(ledger, "a", PURCHASE, member_class="x", now=NOW),
            lambda: sale_request.bind(ledger, "a", PURCHASE, order=501, now=NOW),
        )
        for wrong in wrongs:
            with pytest.raises(RequestDiffers):
                wrong()

    @pytest.mark.parametrize("number", ["", "x" * 65, "a\nb", "é"])
    def test_a_number_is_short_and_plain(self, ledger: Ledger, number: str) -> None:
        with pytest.raises(BadRequestId):
            sale_request.bind(ledger, number, PURCHASE, now=NOW)
