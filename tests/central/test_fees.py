"""Fees in whole rupiah, by rules that change with the days."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dobmi.central.fees import DaySum, FeeRule, fee, rule_on, rules_of
from dobmi.money import ZERO, Rupiah


def day(number: int, sold: int, refunded: int = 0, sales: int = 1) -> DaySum:
    return DaySum(number, sales, Rupiah(sold), Rupiah(refunded))


def test_half_a_rupiah_is_rounded_up_and_less_than_that_is_not_taken() -> None:
    rule = FeeRule(from_day=0, basis_points=50)
    assert [fee([day(1, sold)], [rule], 1).amount for sold in (99, 100, 299, 300)] == [0, 1, 1, 2]


def test_it_is_rounded_once_for_all_days_together() -> None:
    rule = FeeRule(from_day=0, basis_points=1)
    days = [day(number, 4_000) for number in range(10)]
    assert fee(days, [rule], 9) == Rupiah(4)  # 0,4 a day


def test_each_day_has_the_rule_of_its_day() -> None:
    rules = [
        FeeRule(from_day=10, basis_points=100, per_sale=Rupiah(5), per_run=Rupiah(1_000)),
        FeeRule(from_day=20, basis_points=200, per_sale=Rupiah(7), per_run=Rupiah(2_000)),
    ]
    days = [day(9, 10_000), day(19, 10_000, sales=2), day(20, 10_000, sales=3)]
    assert fee(days, rules, 20) == Rupiah(100 + 2 * 5 + 200 + 3 * 7 + 2_000)
    assert fee(days[:2], rules, 19) == Rupiah(100 + 2 * 5 + 1_000)
    assert fee(days[:1], rules, 9) == ZERO
    assert rule_on(9, rules) == FeeRule(from_day=0)


def test_refunds_lessen_what_the_fee_is_of() -> None:
    rule = FeeRule(from_day=0, basis_points=1_000)
    assert fee([day(1, 10_000), day(2, 0, refunded=4_000)], [rule], 2) == Rupiah(600)


def test_minimum_and_maximum_and_never_more_than_there_is() -> None:
    rule = FeeRule(from_day=0, basis_points=100, minimum=Rupiah(500), maximum=Rupiah(2_000))
    assert fee([day(1, 10_000)], [rule], 1) == Rupiah(500)
    assert fee([day(1, 100_000)], [rule], 1) == Rupiah(1_000)
    assert fee([day(1, 1_000_000)], [rule], 1) == Rupiah(2_000)
    assert fee([day(1, 300)], [rule], 1) == Rupiah(300)
    assert fee([day(1, 300, refunded=400)], [rule], 1) == ZERO


def test_a_sellers_own_rules_take_the_place_of_those_for_all_from_their_first_day_on() -> None:
    common, own = FeeRule(from_day=0, basis_points=100), FeeRule(from_day=5, per_sale=Rupiah(3))
    later = FeeRule(from_day=7, basis_points=900)
    rules = {0: [common, later], 1: [own]}
    assert rules_of(1, rules) == [common, own]
    assert rules_of(2, rules) == [common, later]
    assert rules_of(2, {}) == []
    days = [day(4, 10_000), day(5, 10_000), day(8, 10_000)]
    assert fee(days, rules_of(1, rules), 8) == Rupiah(100 + 3 + 3)


amounts = st.integers(0, 10**12)


@given(st.lists(st.tuples(amounts, amounts), min_size=1), st.integers(0, 10_000))
def test_a_part_is_within_half_a_rupiah_of_the_exact_one(
    sums: list[tuple[int, int]], basis_points: int
) -> None:
    days = [day(number, sold, refunded) for number, (sold, refunded) in enumerate(sums)]
    turnover = sum(sold - refunded for sold, refunded in sums)
    found = fee(days, [FeeRule(from_day=0, basis_points=basis_points)], len(days)).amount
    exact_10000 = max(turnover, 0) * basis_points
    assert -5_000 < 10_000 * found - exact_10000 <= 5_000
    assert 0 <= found <= max(turnover, 0)
