"""Shifts: a float, takeovers, cash in and out, a count; X reports, and Z reports that are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from dobmi.money import ZERO, Rupiah
from dobmi.sync.records import ShiftRecord, decode_record
from dobmi.sync.voucher import SaleVoucher
from dobmi.terminal.errors import (
    BadCash,
    BadCashier,
    LedgerUnusable,
    LoginNeeded,
    NoShift,
    NoSuchReport,
    ShiftOpen,
    TooManyTakeovers,
)
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.outbox import records_from
from dobmi.terminal.shift import (
    CASH_MAX,
    ReportKind,
    close_shift,
    current_shift,
    move_cash,
    open_shift,
    take_over,
    x_report,
    z_report,
    z_report_numbers,
)
from dobmi.terminal.staff import Cashier
from support.outlets import ANI, staffed
from support.tills import NOW, Bench, card_with

SITI, BUDI = Cashier("Siti", 11), Cashier("Budi", 12)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    """Its first shift is closed."""
    opened = Ledger(bench.database)
    close_shift(opened, ZERO, NOW)
    yield opened
    opened.close()


def test_nothing_is_sold_without_a_shift(bench: Bench, ledger: Ledger) -> None:
    bench.tap(card_with())
    with bench.open() as till:
        with pytest.raises(NoShift):
            till.sell(Rupiah(500))
        till.open_shift(SITI, Rupiah(200_000))
        assert till.sell(Rupiah(500)).amount == Rupiah(500)
    assert ledger.last_shift() is not None


def test_where_the_staff_is_listed_a_shift_is_somebodys_who_logged_in(bench: Bench) -> None:
    bench.feed(outlet=staffed(ANI))
    with bench.open() as till:
        till.close_shift(ZERO)
        with pytest.raises(LoginNeeded):
            till.open_shift()
        till.open_shift(Cashier(ANI.name, ANI.number))


def test_a_shift_from_float_to_count(bench: Bench, ledger: Ledger) -> None:
    opened = open_shift(ledger, SITI, Rupiah(200_000), NOW + 1)
    assert (opened.number, opened.on_duty, opened.on_duty_number) == (2, "Siti", 11)
    move_cash(ledger, Rupiah(50_000), reason="uang kecil", by=SITI, now=NOW + 2)
    bench.time = NOW + 3
    bench.tap(card_with())
    with bench.open() as till:
        till.sell(Rupiah(7_000))
        take_over(ledger, BUDI, NOW + 4)
        bench.tap(card_with())
        sale = till.sell(Rupiah(3_000))
        till.refund(sale.sequence, Rupiah(500), reason="x")
        move_cash(till.ledger, Rupiah(-120_000), reason="setor ke kantor", by=BUDI, now=NOW + 5)
        x = x_report(ledger, NOW + 6)
        z = close_shift(ledger, Rupiah(129_500), NOW + 7)
    assert (x.kind, x.counted, x.difference) == (ReportKind.X, None, None)
    assert replace(z, kind=x.kind, counted=None, made_unix_seconds=NOW + 6, shift=x.shift) == x
    assert (z.paid_count, z.paid_total) == (2, Rupiah(10_000))
    assert (z.refunds_count, z.refunds_total) == (1, Rupiah(500))
    assert (z.cash_in, z.cash_out) == (Rupiah(50_000), Rupiah(120_000))
    assert (z.expected_cash, z.difference) == (Rupiah(130_000), Rupiah(-500))
    assert [one.cashier for one in z.takeovers] == ["Budi"]
    assert [(one.cashier, one.sales_total) for one in z.totals] == [
        ("Budi", Rupiah(3_000)),
        ("Siti", Rupiah(7_000)),
    ]
    assert [v.link.cashier for v in bench.chain() if isinstance(v, SaleVoucher)] == ["Siti", "Budi"]
    assert decode_record(records_from(ledger, 2, 9)[0]) == ShiftRecord(
        number=2,
        cashier="Siti",
        opened_unix_seconds=NOW + 1,
        closed_unix_seconds=NOW + 7,
        float_cash=Rupiah(200_000),
        cash_in=Rupiah(50_000),
        cash_out=Rupiah(120_000),
        counted=Rupiah(129_500),
        takeovers=((NOW + 4, "Budi"),),
        sales_count=2,
        sales_total=Rupiah(10_000),
        refunds_count=1,
        refunds_total=Rupiah(500),
    )


def test_a_z_report_stays_what_it_was(bench: Bench, ledger: Ledger) -> None:
    open_shift(ledger, SITI, Rupiah(1_000), NOW)
    bench.tap(card_with())
    with bench.open() as till:
        till.sell(Rupiah(7_000))
    closed = close_shift(ledger, Rupiah(1_000), NOW + 1)
    open_shift(ledger, BUDI, ZERO, NOW + 2)
    again = Ledger(bench.database)
    assert z_report(again, 2) == z_report(again) == closed
    assert z_report_numbers(again) == (2, 1)
    for number in (3, 0, 9):
        with pytest.raises(NoSuchReport):
            z_report(again, number)
    again.close()


def test_a_z_report_that_cannot_be_read_is_told(ledger: Ledger) -> None:
    with ledger.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER z_reports_no_update")
        connection.exec_driver_sql("UPDATE z_reports SET encoded = X'A0'")
    with pytest.raises(LedgerUnusable, match="report"):
        z_report(ledger)


def test_one_shift_at_a_time(ledger: Ledger) -> None:
    for wrong in (
        lambda: take_over(ledger, BUDI, NOW),
        lambda: move_cash(ledger, Rupiah(1), reason="x", by=SITI, now=NOW),
        lambda: close_shift(ledger, ZERO, NOW),
        lambda: x_report(ledger, NOW),
        lambda: current_shift(ledger),
    ):
        with pytest.raises(NoShift):
            wrong()
    open_shift(ledger, SITI, ZERO, NOW)
    with pytest.raises(ShiftOpen, match="2"):
        open_shift(ledger, BUDI, ZERO, NOW)


@pytest.mark.parametrize("amount", [-1, CASH_MAX.amount + 1])
def test_cash_that_cannot_be_is_refused(ledger: Ledger, amount: int) -> None:
    with pytest.raises(BadCash):
        open_shift(ledger, SITI, Rupiah(amount), NOW)
    open_shift(ledger, SITI, ZERO, NOW)
    with pytest.raises(BadCash):
        close_shift(ledger, Rupiah(amount), NOW)
    assert current_shift(ledger).number == 2


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0, "x"), (-1_001, "x"), (500, " "), (500, "x" * 201), (500, "a\nb"), (1 << 31, "x")],
)
def test_a_movement_has_an_amount_that_can_be_and_a_reason(
    ledger: Ledger, amount: int, reason: str
) -> None:
    open_shift(ledger, SITI, Rupiah(1_000), NOW)
    with pytest.raises(BadCash):
        move_cash(ledger, Rupiah(amount), reason=reason, by=SITI, now=NOW)
    assert x_report(ledger, NOW).movements == ()


@pytest.mark.parametrize("name", ["", "x" * 81, "a\nb"])
def test_a_cashier_has_a_name_that_vouchers_can_hold(ledger: Ledger, name: str) -> None:
    with pytest.raises(BadCashier):
        open_shift(ledger, Cashier(name), ZERO, NOW)


def test_taking_over_from_oneself_changes_nothing(ledger: Ledger) -> None:
    open_shift(ledger, SITI, ZERO, NOW)
    take_over(ledger, SITI, NOW)
    assert x_report(ledger, NOW).takeovers == ()


def test_a_shift_changes_hands_only_so_often(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent of it has its limits."""
    monkeypatch.setattr("dobmi.terminal.shift.TAKEOVERS_MAX", 2)
    open_shift(ledger, SITI, ZERO, NOW)
    take_over(ledger, BUDI, NOW)
    take_over(ledger, SITI, NOW)
    with pytest.raises(TooManyTakeovers):
        take_over(ledger, BUDI, NOW)


class ShiftMachine(RuleBasedStateMachine):
    """Whatever is done in whatever order, the drawer is what a child would count, and every closed
    shift is one report and one record.
    """

    @initialize()
    def begin(self) -> None:
        self.bench = Bench(Path(tempfile.mkdtemp())).enrol()
        self.ledger = Ledger(self.bench.database)
        self.drawer: int | None = 0
        self.on_duty = "Siti"
        self.closed = 0

    @rule(float_cash=st.integers(0, 500_000), cashier=st.sampled_from([SITI, BUDI]))
    def open(self, float_cash: int, cashier: Cashier) -> None:
        try:
            open_shift(self.ledger, cashier, Rupiah(float_cash), NOW)
        except ShiftOpen:
            assert self.drawer is not None
        else:
            assert self.drawer is None
            self.drawer, self.on_duty = float_cash, cashier.name

    @rule(amount=st.integers(-300_000, 300_000))
    def move(self, amount: int) -> None:
        try:
            move_cash(self.ledger, Rupiah(amount), reason="x", by=SITI, now=NOW)
        except NoShift:
            assert self.drawer is None
        except BadCash:
            assert amount == 0 or self.drawer is None or self.drawer + amount < 0
        else:
            assert self.drawer is not None
            self.drawer += amount

    @rule(cashier=st.sampled_from([SITI, BUDI]))
    def hand_over(self, cashier: Cashier) -> None:
        try:
            take_over(self.ledger, cashier, NOW)
        except NoShift:
            assert self.drawer is None
        else:
            self.on_duty = cashier.name

    @rule(difference=st.integers(-50, 50))
    def close(self, difference: int) -> None:
        counted = max(0, (self.drawer or 0) + difference)
        try:
            report = close_shift(self.ledger, Rupiah(counted), NOW)
        except NoShift:
            assert self.drawer is None
            return
        assert report.expected_cash == Rupiah(self.drawer or 0)
        assert report.shift.on_duty == self.on_duty
        self.closed += 1
        self.drawer = None
        assert z_report(self.ledger) == report
        assert len(records_from(self.ledger, 1, 1_000)) == self.closed

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.bench.database)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()


TestShiftMachine = ShiftMachine.TestCase
TestShiftMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
