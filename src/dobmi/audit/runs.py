"""Settlement runs: what sellers were paid is what the journal owed them, once, by two people.

docs/settlement.md, worked out again: sums and fees are the auditor's own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

import cbor2

from dobmi.audit.days import day_name
from dobmi.audit.findings import Finding, finding
from dobmi.audit.source import Source, Values
from dobmi.central.posting_rules import Group, account_range
from dobmi.i18n import N_

_SECONDS_PER_DAY: Final = 86_400
_WIB_SECONDS: Final = 7 * 3600
_FOR_ALL: Final = 0
_WAY: Final[Mapping[str, frozenset[str | None]]] = {
    "proposed": frozenset((None,)),
    "approved": frozenset(("proposed",)),
    "exported": frozenset(("approved",)),
    "paid": frozenset(("exported",)),
    "withdrawn": frozenset(("proposed", "approved", "exported")),
}
"""Which step may follow which."""


class _Fee(NamedTuple):
    from_day: int
    basis_points: int
    per_sale: int
    per_run: int
    minimum: int
    maximum: int | None


class _Day(NamedTuple):
    day: int
    sales: int
    sold: int
    refunded: int


@dataclass(frozen=True, slots=True)
class _Item:
    run: int
    seller_id: int
    number: int
    account_number: int
    from_at: int
    to_at: int
    sales: int
    sold: int
    refunded: int
    fee: int
    net: int

    @property
    def name(self) -> str:
        return f"run {self.run} seller {self.seller_id}"


def check_runs(source: Source) -> list[Finding]:
    """All of them, also those that were paid long ago."""
    runs = {
        row[0]: row
        for row in source.rows(
            "SELECT number, cut_off_day, payments, net_rupiah, proposed_by FROM settlement_runs"
            " ORDER BY number"
        )
    }
    items = [
        _Item(*row)
        for row in source.rows(
            "SELECT run, seller_id, number, account_number, from_at, to_at, sales, sales_rupiah,"
            " refunds_rupiah, fee_rupiah, net_rupiah FROM settlement_items ORDER BY number"
        )
    ]
    steps = _steps(source)
    people = {row[0] for row in source.rows("SELECT name FROM staff")}
    found: list[Finding] = []
    for number, run in runs.items():
        found += _check_run(run, [item for item in items if item.run == number])
        found += _check_steps(number, run[4], steps.get(number, []), people)
    for number in sorted({*steps, *(item.run for item in items)} - runs.keys()):
        message = N_("It is not on record, and its payments or steps are.")
        net = sum(item.net for item in items if item.run == number)
        found.append(finding("SETTLEMENT", f"run {number}", message, net))
    in_force = [item for item in items if not _has(steps, item.run, "withdrawn")]
    found += _check_items(source, items, {number: run[1] for number, run in runs.items()})
    found += _check_periods(source, in_force)
    found += _check_fee_rules(source)
    return found + _check_accounts(source, items)


def papers(source: Source) -> dict[str, str]:
    """Sellers' bank accounts, who agreed to them, and rules of fees: a hash of each, by name."""
    if not source.has_table("seller_accounts"):
        return {}
    rows = [
        (f"seller {row[0]} account {row[1]}", row)
        for row in source.rows(
            "SELECT seller_id, number, bank, bank_code, account, holder, proposed_by, proposed_at"
            " FROM seller_accounts"
        )
    ]
    rows += [
        (f"seller {row[0]} account {row[1]} decision", (*row[:2], bool(row[2]), *row[3:]))
        for row in source.rows(
            "SELECT seller_id, number, accepted, proposed_by, decided_by, at"
            " FROM seller_account_decisions"
        )
    ]
    rows += [
        (f"seller {row[0]} fees from {date(1970, 1, 1) + timedelta(days=row[1])}", row)
        for row in source.rows(
            "SELECT seller_id, from_day, basis_points, per_sale_rupiah, per_run_rupiah,"
            " minimum_rupiah, maximum_rupiah, set_by, set_at FROM fee_rules"
        )
    ]
    return {name: hashlib.sha256(cbor2.dumps(row)).hexdigest() for name, row in rows}


def payments_of(source: Source) -> list[tuple[int, int, int, int]]:
    """Of each item of a paid run: its number, seller, net and fee."""
    return [
        (number, seller_id, net, fee)
        for number, seller_id, net, fee in source.rows(
            "SELECT i.number, i.seller_id, i.net_rupiah, i.fee_rupiah FROM settlement_items i"
            " JOIN settlement_steps s ON s.run = i.run AND s.state = 'paid' ORDER BY i.number"
        )
    ]


def _steps(source: Source) -> dict[int, list[Values]]:
    steps: dict[int, list[Values]] = defaultdict(list)
    for row in source.rows(
        "SELECT run, state, previous, done_by, at, proposed_by FROM settlement_steps ORDER BY run, at"
    ):
        steps[row[0]].append(row)
    return steps


def _has(steps: Mapping[int, Sequence[Values]], run: int, state: str) -> bool:
    return any(step[1] == state for step in steps.get(run, ()))


def _check_run(run: Values, items: Sequence[_Item]) -> list[Finding]:
    number, cut_off_day, payments, net, _ = run
    total = sum(item.net for item in items)
    found = []
    if any(item.to_at != _start(cut_off_day + 1) for item in items):
        message = N_("Its last day is not the end of what it pays.")
        found.append(finding("SETTLEMENT", f"run {number}", message, total))
    if (payments, net) == (len(items), total):
        return found
    return [
        *found,
        finding(
            "SETTLEMENT",
            f"run {number}",
            N_("It says {payments} payments of {net}; its items are {count} of {total}."),
            abs(net - total),
            payments=payments,
            net=net,
            count=len(items),
            total=total,
        ),
    ]


def _check_steps(
    number: int, proposer: str, steps: Sequence[Values], people: Container[str]
) -> list[Finding]:
    states = {step[1] for step in steps}
    found = []
    for name in sorted({step[3] for step in steps if step[3] not in people}):
        message = N_("{name}, who took a step of it, is not on record.")
        found.append(finding("SETTLEMENT", f"run {number}", message, name=name))
    if any(proposer != (step[3] if step[1] == "proposed" else step[5]) for step in steps):
        message = N_("Its steps name another proposer than it does.")
        found.append(finding("SETTLEMENT", f"run {number}", message))
    for _, state, previous, by, _, _ in steps:
        if previous not in _WAY.get(state, ()) or (previous is not None and previous not in states):
            message = N_("Its step {state} does not follow from the one before.")
            found.append(finding("SETTLEMENT", f"run {number}", message, state=state))
        elif state == "approved" and by == proposer:
            message = N_("{name} proposed and approved it.")
            found.append(finding("SETTLEMENT", f"run {number}", message, name=by))
    if "proposed" not in states:
        message = N_("Nobody proposed it.")
        found.append(finding("SETTLEMENT", f"run {number}", message))
    return found


def _check_items(
    source: Source, items: Sequence[_Item], cut_offs: Mapping[int, int]
) -> list[Finding]:
    sums = _day_sums(source) if items else {}
    fees = _fee_rules(source)
    found = []
    for item in items:
        days = [
            one
            for one in sums.get(item.seller_id, ())
            if item.from_at < _start(one.day + 1) <= item.to_at
        ]
        booked = (
            sum(one.sales for one in days),
            sum(one.sold for one in days),
            sum(one.refunded for one in days),
        )
        if booked != (item.sales, item.sold, item.refunded):
            found.append(
                finding(
                    "SETTLEMENT",
                    item.name,
                    N_(
                        "It says {sold} sold and {refunded} given back; the journal has {has_sold} and {has_refunded}."
                    ),
                    abs((item.sold - item.refunded) - (booked[1] - booked[2])),
                    sold=item.sold,
                    refunded=item.refunded,
                    has_sold=booked[1],
                    has_refunded=booked[2],
                )
            )
            continue
        fee = _fee(days, _rules_of(item.seller_id, fees), cut_offs.get(item.run, 0))
        if (item.fee, item.net) != (fee, item.sold - item.refunded - fee):
            found.append(
                finding(
                    "SETTLEMENT",
                    item.name,
                    N_(
                        "It pays {net} and takes {fee}; by the rules of fees it is {ought} and {ought_fee}."
                    ),
                    abs(item.net - (item.sold - item.refunded - fee)) or abs(item.fee - fee),
                    net=item.net,
                    fee=item.fee,
                    ought=item.sold - item.refunded - fee,
                    ought_fee=fee,
                )
            )
    return found


def _check_periods(source: Source, items: Iterable[_Item]) -> list[Finding]:
    """Of each seller the periods follow one another without gap or overlap, and are claimed."""
    claims = {
        (seller_id, from_at, to_at, run)
        for seller_id, from_at, to_at, run in source.rows(
            "SELECT seller_id, from_at, to_at, run FROM settlement_claims"
        )
    }
    found = []
    ends: dict[int, int] = {}
    for item in sorted(items, key=lambda one: (one.seller_id, one.from_at, one.to_at)):
        before = ends.get(item.seller_id, 0)
        if item.from_at != before:
            message = N_("Its period begins at {start}; the one before ends at {before}.")
            found.append(
                finding(
                    "SETTLEMENT", item.name, message, item.net, start=item.from_at, before=before
                )
            )
        ends[item.seller_id] = max(before, item.to_at)
        claim = (item.seller_id, item.from_at, item.to_at, item.run)
        if claim not in claims:
            message = N_("Its period is not kept from being paid again.")
            found.append(finding("SETTLEMENT", item.name, message, item.net))
        claims.discard(claim)
    for seller_id, start, _, run in sorted(claims):
        message = N_("A period from {start} is held by it, which does not pay it.")
        found.append(finding("SETTLEMENT", f"run {run} seller {seller_id}", message, start=start))
    return found


def _check_accounts(source: Source, items: Iterable[_Item]) -> list[Finding]:
    """The bank account that each item is paid to was agreed by two people."""
    people = {row[0] for row in source.rows("SELECT name FROM staff")}
    decided = {
        (seller_id, number): (proposed_by, accepted and told_by == proposed_by, decided_by)
        for seller_id, number, proposed_by, accepted, decided_by, told_by in source.rows(
            "SELECT a.seller_id, a.number, a.proposed_by, d.accepted, d.decided_by, d.proposed_by"
            " FROM seller_accounts a JOIN seller_account_decisions d"
            " ON d.seller_id = a.seller_id AND d.number = a.number"
        )
    }
    found = []
    for item in items:
        proposed_by, accepted, decided_by = decided.get(
            (item.seller_id, item.account_number), ("", False, "")
        )
        if not accepted or proposed_by == decided_by or not {proposed_by, decided_by} <= people:
            message = N_("It pays to a bank account that two people have not agreed to.")
            found.append(finding("SETTLEMENT", item.name, message, item.net))
    return found


def _check_fee_rules(source: Source) -> list[Finding]:
    """Each rule of fees is one that was proposed, and that another person accepted."""
    if not source.has_table("fee_proposals"):
        return []  # an older server's
    agreed = {
        (seller_id, *rule)
        for seller_id, proposed_by, decided_by, *rule in source.rows(
            "SELECT p.seller_id, p.proposed_by, d.decided_by, p.from_day, p.basis_points,"
            " p.per_sale_rupiah, p.per_run_rupiah, p.minimum_rupiah, p.maximum_rupiah"
            " FROM fee_proposals p JOIN fee_decisions d"
            " ON d.seller_id = p.seller_id AND d.number = p.number"
            " AND d.proposed_by = p.proposed_by WHERE d.accepted"
        )
        if proposed_by != decided_by
    }
    found = []
    for seller_id, rules in sorted(_fee_rules(source).items()):
        for rule in rules:
            if (seller_id, *rule) not in agreed:
                message = N_("Two people have not agreed to this fee.")
                row = f"fee of seller {seller_id} from {day_name(rule.from_day)}"
                found.append(finding("SETTLEMENT", row, message))
    return found


def _day_sums(source: Source) -> dict[int, list[_Day]]:
    """By seller and booking day, from the journal."""
    sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for kind, side in (("sale", "credit_account"), ("refund", "debit_account")):
        for group in (Group.OUTLET, Group.MERCHANT):
            first, last = account_range(group)
            for account, day, count, total in source.rows(
                f"SELECT {side}, (at + {_WIB_SECONDS}) / {_SECONDS_PER_DAY}, count(*),"  # noqa: S608 - our own words
                " sum(amount_rupiah) FROM postings"
                f" WHERE kind = :kind AND {side} BETWEEN :first AND :last GROUP BY 1, 2",
                kind=kind,
                first=first,
                last=last,
            ):
                one = sums[account - first, int(day)]
                if kind == "sale":
                    one[0] += int(count)
                    one[1] += int(total)
                else:
                    one[2] += int(total)
    days: dict[int, list[_Day]] = defaultdict(list)
    for (seller_id, day), (count, sold, refunded) in sorted(sums.items()):
        days[seller_id].append(_Day(day, count, sold, refunded))
    return days


def _fee_rules(source: Source) -> dict[int, list[_Fee]]:
    rules: dict[int, list[_Fee]] = defaultdict(list)
    for seller_id, *rest in source.rows(
        "SELECT seller_id, from_day, basis_points, per_sale_rupiah, per_run_rupiah, minimum_rupiah,"
        " maximum_rupiah FROM fee_rules ORDER BY seller_id, from_day"
    ):
        rules[seller_id].append(_Fee(*rest))
    return rules


def _rules_of(seller_id: int, rules: Mapping[int, Sequence[_Fee]]) -> list[_Fee]:
    """Those for all until the first of its own begins."""
    own = list(rules.get(seller_id, ()))
    return [
        rule for rule in rules.get(_FOR_ALL, ()) if not own or rule.from_day < own[0].from_day
    ] + own


def _fee(days: Sequence[_Day], rules: Sequence[_Fee], cut_off_day: int) -> int:
    """docs/settlement.md, Fees."""
    none = _Fee(0, 0, 0, 0, 0, None)

    def on(day: int) -> _Fee:
        return next((rule for rule in reversed(rules) if rule.from_day <= day), none)

    basis, priced, turnover = 0, 0, 0
    for one in days:
        rule = on(one.day)
        basis += rule.basis_points * (one.sold - one.refunded)
        priced += rule.per_sale * one.sales
        turnover += one.sold - one.refunded
    last = on(cut_off_day)
    total = max(0, (basis + 5_000) // 10_000) + priced + last.per_run
    total = max(total, last.minimum)
    if last.maximum is not None:
        total = min(total, last.maximum)
    return min(total, max(turnover, 0))


def _start(day: int) -> int:
    return day * _SECONDS_PER_DAY - _WIB_SECONDS
