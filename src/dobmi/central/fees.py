"""What a seller pays of its sales: pure arithmetic over whole rupiah. docs/settlement.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dobmi.money import ZERO, Rupiah

_PARTS: Final = 10_000
"""Basis points of a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRule:
    """In force from `from_day` (days since 1970-01-01 in WIB) until the next. `maximum` None: none."""

    from_day: int
    basis_points: int = 0
    per_sale: Rupiah = ZERO
    per_run: Rupiah = ZERO
    minimum: Rupiah = ZERO
    maximum: Rupiah | None = None


NO_FEE: Final = FeeRule(from_day=0)


@dataclass(frozen=True, slots=True)
class DaySum:
    """What was booked of a seller on a day: how many sales, and what was sold and given back."""

    day: int
    sales: int
    sold: Rupiah
    refunded: Rupiah


def rules_of(seller_id: int, rules: Mapping[int, Sequence[FeeRule]]) -> Sequence[FeeRule]:
    """The rules for all (0) up to the day of the seller's first own rule, then its own.

    So a rule of its own changes nothing for days before it that are still to be settled.
    """
    own = rules.get(seller_id, ())
    first = min((rule.from_day for rule in own), default=None)
    return [rule for rule in rules.get(0, ()) if first is None or rule.from_day < first] + [*own]


def rule_on(day: int, rules: Iterable[FeeRule]) -> FeeRule:
    """The rule in force on the day; no fee before the first."""
    begun = [rule for rule in rules if rule.from_day <= day]
    return max(begun, key=lambda rule: rule.from_day, default=NO_FEE)


def fee(days: Sequence[DaySum], rules: Sequence[FeeRule], cut_off_day: int) -> Rupiah:
    """The fee of all these days together.

    Each day's part and price of a sale are by the rule in force on it: of what was sold less what was
    given back. The parts are rounded once, over all days, half a rupiah up. The price of a run,
    minimum and maximum are by the rule in force on the cut-off day. A fee takes no more than there is.
    """
    parts, priced = 0, ZERO
    turnover = ZERO
    for one in days:
        rule = rule_on(one.day, rules)
        parts += rule.basis_points * (one.sold - one.refunded).amount
        priced += rule.per_sale * one.sales
        turnover += one.sold - one.refunded
    last = rule_on(cut_off_day, rules)
    total = Rupiah(max(0, (2 * parts + _PARTS) // (2 * _PARTS))) + priced + last.per_run
    total = max(total, last.minimum)
    if last.maximum is not None:
        total = min(total, last.maximum)
    return min(total, max(turnover, ZERO))
