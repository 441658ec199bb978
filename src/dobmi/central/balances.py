"""Balances as of any moment: the sums of the closed days, and the postings after them.

An account's balance is what was credited to it less what was debited: above nought for what is owed
(cards, wallets, outlets), below for what is there or due (cash, bank, salaries). As of a moment
means with all that was booked up to and in that second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    literal,
    or_,
    select,
    true,
    union_all,
)

from dobmi.central.booking import booking_day, start_of_day
from dobmi.central.database import whole_sum
from dobmi.central.days import group_number, last_closed_day
from dobmi.central.errors import UnknownAccount
from dobmi.central.posting_rules import (
    GROUP_NUMBERS,
    SELLERS,
    Group,
    Kind,
    account_name,
    account_number,
    account_range,
    group_of,
    owner_of,
)
from dobmi.central.schema import account_days, cards, kind_days, postings, sellers
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah

_GROUPS = {number: group for group, number in GROUP_NUMBERS.items()}
_LINES_MAX = 500


@dataclass(frozen=True, slots=True)
class Sums:
    debits: Rupiah = ZERO
    credits: Rupiah = ZERO

    @property
    def balance(self) -> Rupiah:
        return self.credits - self.debits

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.debits + other.debits, self.credits + other.credits)


@dataclass(frozen=True, slots=True)
class Flow:
    """What a kind of posting takes from one group of accounts to another."""

    kind: Kind
    debit: Group
    credit: Group


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """`lines`: what was posted to each group, or to each account, by name."""

    lines: tuple[tuple[str, Sums], ...]
    total: Sums
    posted: Rupiah
    """The sum of all postings, counted apart from the lines, by kind."""

    @property
    def is_balanced(self) -> bool:
        return self.total.debits == self.total.credits == self.posted


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLine:
    """One posting as the account sees it: `amount` above nought was credited to it."""

    at: int
    kind: Kind
    amount: Rupiah
    other: str
    """The account at the other end, for people."""
    reference: str
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatement:
    """`before` and `after`: the balances around the lines, oldest first."""

    name: str
    before: Rupiah
    lines: tuple[AccountLine, ...]
    after: Rupiah


@dataclass(frozen=True, slots=True)
class _Span:
    """Closed days up to `day`, and the postings after those that `tail` lets through."""

    day: int
    tail: ColumnElement[bool]


def _span(connection: Connection, at: int | None) -> _Span:
    closed = last_closed_day(connection)
    up_to = true() if at is None else postings.c.at <= at
    if closed is None:
        return _Span(-1, up_to)
    if at is not None:
        closed = min(closed, booking_day(at + 1) - 1)
    return _Span(closed, (postings.c.at >= start_of_day(closed + 1)) & up_to)


def balance_of(connection: Connection, account: int, at: int | None = None) -> Rupiah:
    """As of `at` (Unix seconds), or of now."""
    return sums_of(connection, account, at).balance


def sums_of(connection: Connection, account: int, at: int | None = None) -> Sums:
    """What was debited and credited to the account."""
    span = _span(connection, at)
    closed = connection.execute(
        select(whole_sum(account_days.c.debits_rupiah), whole_sum(account_days.c.credits_rupiah))
        .where(account_days.c.account == account)
        .where(account_days.c.day <= span.day)
    ).one()
    after = connection.execute(
        select(
            whole_sum(
                case((postings.c.debit_account == account, postings.c.amount_rupiah), else_=0)
            ),
            whole_sum(
                case((postings.c.credit_account == account, postings.c.amount_rupiah), else_=0)
            ),
        ).where(span.tail, _touches(connection, account))
    ).one()
    return Sums(*map(Rupiah, closed)) + Sums(*map(Rupiah, after))


def balances_of(
    connection: Connection,
    group: Group,
    owners: Iterable[int] | None = None,
    at: int | None = None,
) -> dict[int, Rupiah]:
    """The balances of a group's accounts by owner, of all or of some hundreds; noughts left out."""
    wanted = None if owners is None else {account_number(group, owner) for owner in owners}
    if wanted is not None and not wanted:
        return {}
    found = _sums_by_account(connection, _span(connection, at), group, wanted)
    return {owner_of(account): sums.balance for account, sums in found.items() if sums.balance}


def flows(connection: Connection, at: int | None = None) -> dict[Flow, Rupiah]:
    """How much was posted of each kind, from which group to which."""
    span = _span(connection, at)
    debit, credit = (
        group_number(postings.c.debit_account),
        group_number(postings.c.credit_account),
    )
    both = union_all(
        select(
            kind_days.c.kind, kind_days.c.debit_group, kind_days.c.credit_group,
            kind_days.c.amount_rupiah,
        ).where(kind_days.c.day <= span.day),
        select(postings.c.kind, debit, credit, postings.c.amount_rupiah).where(span.tail),
    ).subquery()  # fmt: skip
    parts = (both.c.kind, both.c.debit_group, both.c.credit_group)
    rows = connection.execute(select(*parts, whole_sum(both.c.amount_rupiah)).group_by(*parts))
    return {
        Flow(Kind(kind), _GROUPS[debited], _GROUPS[credited]): Rupiah(amount)
        for kind, debited, credited, amount in rows
    }


def group_balances(totals: Mapping[Flow, Rupiah]) -> dict[Group, Rupiah]:
    """The balance of all accounts of each group together."""
    balances = dict.fromkeys(Group, ZERO)
    for flow, total in totals.items():
        balances[flow.debit] -= total
        balances[flow.credit] += total
    return balances


def trial_balance(
    central: Central, at: int | None = None, *, accounts: bool = False, group: Group | None = None
) -> TrialBalance:
    """By group, or with `accounts` by account, perhaps of one `group` alone; the totals are of all."""
    with central.database.read() as connection:
        posted = sum((total.amount for total in flows(connection, at).values()), 0)
        span = _span(connection, at)
        by_group = _sums_by_group(connection, span)
        lines = [(found.value, by_group[found]) for found in Group if found in by_group]
        if accounts or group is not None:
            sums = _sums_by_account(connection, span, group, None)
            names = account_names(connection)
            lines = [(account_name(account, names), sums[account]) for account in sorted(sums)]
    total = Sums()
    for sums_ in by_group.values():
        total += sums_
    return TrialBalance(tuple(lines), total, Rupiah(posted))


def account_statement(
    central: Central, account: int, since: int, until: int, *, lines_max: int = _LINES_MAX
) -> AccountStatement:
    """The account's postings from `since` up to `until`, the newest `lines_max` of them."""
    with central.database.read() as connection:
        names = account_names(connection)
        rows = connection.execute(
            select(postings)
            .where(postings.c.at >= since, postings.c.at <= until)
            .where(_touches(connection, account))
            .order_by(postings.c.at.desc(), postings.c.id.desc())
            .limit(lines_max)
        ).all()
        after = balance_of(connection, account, until)
    lines = [_line(row, account, names) for row in reversed(rows)]
    before = after
    for line in lines:
        before -= line.amount
    return AccountStatement(
        name=account_name(account, names), before=before, lines=tuple(lines), after=after
    )


def account_names(connection: Connection) -> dict[int, str]:
    """The sellers' names, by number, as `account_name` needs them."""
    return {row.id: row.name for row in connection.execute(select(sellers))}


def parse_account(connection: Connection, text: str) -> int:
    """An account as `account_name` says it (`card 1001`, `outlet Toko Maju`), or its number.

    Raises UnknownAccount.
    """
    name = " ".join(text.split())
    if name.isascii() and name.isdigit() and len(name) <= 14:
        number = int(name)
        if number // account_number(Group.CASH) in _GROUPS:
            return number
        raise UnknownAccount(account=name)
    group_text, _, owner = name.partition(" ")
    try:
        group = Group(group_text.casefold())
    except ValueError as error:
        raise UnknownAccount(account=name) from error
    if group in SELLERS:
        found = connection.execute(select(sellers.c.id).where(sellers.c.name == owner)).scalar()
        if found is not None:
            return account_number(group, found)
    if not owner:
        return account_number(group)
    if not (owner.isascii() and owner.isdigit() and len(owner) <= 12):
        raise UnknownAccount(account=name)
    return account_number(group, int(owner))


def _touches(connection: Connection, account: int) -> ColumnElement[bool]:
    """The account's postings; a card's are found by its UID, for which there is an index."""
    on_either_side = or_(postings.c.debit_account == account, postings.c.credit_account == account)
    if group_of(account) is not Group.CARD:
        return on_either_side
    uid = connection.execute(
        select(cards.c.uid).where(cards.c.serial == owner_of(account))
    ).scalar()
    return and_(on_either_side, postings.c.card_uid == (uid or b""))


def _sides(span: _Span, *only: ColumnElement[bool] | None) -> Select[tuple[int, int, int]]:
    """(account, debits, credits) of the closed days and of each posting after them."""
    debit_only, credit_only, day_only = only or (None, None, None)
    amount, nought = postings.c.amount_rupiah, literal(0)
    parts = union_all(
        select(
            account_days.c.account,
            account_days.c.debits_rupiah.label("debits"),
            account_days.c.credits_rupiah.label("credits"),
        ).where(account_days.c.day <= span.day, true() if day_only is None else day_only),
        select(postings.c.debit_account, amount, nought).where(
            span.tail, true() if debit_only is None else debit_only
        ),
        select(postings.c.credit_account, nought, amount).where(
            span.tail, true() if credit_only is None else credit_only
        ),
    ).subquery()
    return select(parts.c.account, parts.c.debits, parts.c.credits)


def _sums_by_group(connection: Connection, span: _Span) -> dict[Group, Sums]:
    sides = _sides(span).subquery()
    group = group_number(sides.c.account)
    rows = connection.execute(
        select(group, whole_sum(sides.c.debits), whole_sum(sides.c.credits)).group_by(group)
    )
    return {_GROUPS[number]: Sums(Rupiah(d), Rupiah(c)) for number, d, c in rows}


def _sums_by_account(
    connection: Connection, span: _Span, group: Group | None, wanted: set[int] | None
) -> dict[int, Sums]:
    columns = (postings.c.debit_account, postings.c.credit_account, account_days.c.account)
    only: list[ColumnElement[bool] | None] = [None, None, None]
    if wanted is not None:
        only = [column.in_(sorted(wanted)) for column in columns]
    elif group is not None:
        only = [column.between(*account_range(group)) for column in columns]
    sides = _sides(span, *only).subquery()
    rows = connection.execute(
        select(sides.c.account, whole_sum(sides.c.debits), whole_sum(sides.c.credits)).group_by(
            sides.c.account
        )
    )
    return {account: Sums(Rupiah(d), Rupiah(c)) for account, d, c in rows}


def _line(row: Row[Any], account: int, names: Mapping[int, str]) -> AccountLine:
    credited = row.credit_account == account
    return AccountLine(
        at=row.at,
        kind=Kind(row.kind),
        amount=Rupiah(row.amount_rupiah if credited else -row.amount_rupiah),
        other=account_name(row.debit_account if credited else row.credit_account, names),
        reference=f"{row.terminal_id}/{row.sequence}",
        explanation=row.explanation,
    )
