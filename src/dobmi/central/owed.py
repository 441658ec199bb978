"""What sellers are owed by the journal (docs/settlement.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, func, or_, select

from dobmi.central.booking import start_of_day
from dobmi.central.database import Database, whole_sum
from dobmi.central.fee_rules import rules_in_force
from dobmi.central.fees import DaySum, fee, rules_of
from dobmi.central.posting_rules import Group, Kind, account_range, owner_of
from dobmi.central.schema import (
    RunState,
    postings,
    sellers,
    settlement_claims,
    settlement_items,
    settlement_steps,
)
from dobmi.money import ZERO, Rupiah
from dobmi.wib import days_since_1970

_AHEAD_OF_UTC_SECONDS: Final = 7 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a seller is owed for what was booked from `from_at` on and before `to_at`, Unix seconds."""

    seller_id: int
    seller: str
    from_at: int
    to_at: int
    days: Sequence[DaySum]
    fee: Rupiah

    @property
    def sales(self) -> int:
        return sum(one.sales for one in self.days)

    @property
    def sold(self) -> Rupiah:
        return sum((one.sold for one in self.days), ZERO)

    @property
    def refunded(self) -> Rupiah:
        return sum((one.refunded for one in self.days), ZERO)

    @property
    def net(self) -> Rupiah:
        return self.sold - self.refunded - self.fee


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A seller by the journal: owed is what was sold less refunded, fees and paid.

    `in_runs`: how much of it is in runs that are neither paid nor withdrawn.
    """

    seller_id: int
    seller: str
    sold: Rupiah
    refunded: Rupiah
    fees: Rupiah
    paid: Rupiah
    in_runs: Rupiah

    @property
    def owed(self) -> Rupiah:
        return self.sold - self.refunded - self.fees - self.paid


def dues(database: Database, cut_off: date) -> list[Due]:
    """What a run up to the end of that day would hold now, also of those it would leave out."""
    with database.read() as connection:
        return dues_until(connection, days_since_1970(cut_off))


def positions(database: Database) -> list[Position]:
    """Every seller by the whole journal, in the order of names."""
    found: dict[tuple[int, Kind], int] = defaultdict(int)
    with database.read() as connection:
        for side in (postings.c.debit_account, postings.c.credit_account):
            rows = connection.execute(
                select(side, postings.c.kind, whole_sum(postings.c.amount_rupiah))
                .where(_of_sellers(side))
                .group_by(side, postings.c.kind)
            )
            for account, kind, total in rows:
                found[owner_of(account), Kind(kind)] += total
        closed = select(settlement_steps.c.run).where(
            settlement_steps.c.state.in_([RunState.PAID.value, RunState.WITHDRAWN.value])
        )
        in_runs = {
            row[0]: row[1]
            for row in connection.execute(
                select(
                    settlement_items.c.seller_id,
                    whole_sum(settlement_items.c.net_rupiah + settlement_items.c.fee_rupiah),
                )
                .where(settlement_items.c.run.not_in(closed))
                .group_by(settlement_items.c.seller_id)
            )
        }
        named = connection.execute(select(sellers.c.id, sellers.c.name).order_by(sellers.c.name))
        return [
            Position(
                seller_id=number,
                seller=name,
                sold=Rupiah(found[number, Kind.SALE]),
                refunded=Rupiah(found[number, Kind.REFUND]),
                fees=Rupiah(found[number, Kind.FEE]),
                paid=Rupiah(found[number, Kind.PAID_OUT]),
                in_runs=Rupiah(in_runs.get(number, 0)),
            )
            for number, name in named
        ]


def dues_until(connection: Connection, cut_off_day: int) -> list[Due]:
    """Of every seller of whom something was booked since its last period."""
    settled = {
        row[0]: row[1]
        for row in connection.execute(
            select(settlement_claims.c.seller_id, func.max(settlement_claims.c.to_at)).group_by(
                settlement_claims.c.seller_id
            )
        )
    }
    named = connection.execute(select(sellers.c.id, sellers.c.name).order_by(sellers.c.id)).all()
    to_at = start_of_day(cut_off_day + 1)
    sums = day_sums(connection, min((settled.get(row.id, 0) for row in named), default=0), to_at)
    rules = rules_in_force(connection)
    found = []
    for row in named:
        from_at = settled.get(row.id, 0)
        days = [one for one in sums.get(row.id, ()) if start_of_day(one.day + 1) > from_at]
        if days:
            due = fee(days, rules_of(row.id, rules), cut_off_day)
            found.append(
                Due(
                    seller_id=row.id,
                    seller=row.name,
                    from_at=from_at,
                    to_at=to_at,
                    days=days,
                    fee=due,
                )
            )
    return found


def day_sums(connection: Connection, from_at: int, to_at: int) -> dict[int, list[DaySum]]:
    """By seller, what was booked in these whole days; Unix seconds."""
    day = (postings.c.at + _AHEAD_OF_UTC_SECONDS) // 86_400
    amounts: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for kind, side in (
        (Kind.SALE, postings.c.credit_account),
        (Kind.REFUND, postings.c.debit_account),
    ):
        rows = connection.execute(
            select(side, day, func.count(), whole_sum(postings.c.amount_rupiah))
            .where(postings.c.kind == kind, postings.c.at >= from_at, postings.c.at < to_at)
            .where(_of_sellers(side))
            .group_by(side, day)
        )
        for account, booked_on, count, total in rows:
            one = amounts[owner_of(account), booked_on]
            if kind is Kind.SALE:
                one[0] += count
                one[1] += total
            else:
                one[2] += total
    found: dict[int, list[DaySum]] = defaultdict(list)
    for (seller_id, booked_on), (count, sold, refunded) in sorted(amounts.items()):
        found[seller_id].append(DaySum(booked_on, count, Rupiah(sold), Rupiah(refunded)))
    return found


def _of_sellers(side: Any) -> Any:
    return or_(*(side.between(*account_range(group)) for group in (Group.OUTLET, Group.MERCHANT)))
