"""A booking day drawn: what was issued and not redeemed, where it is, and down to the voucher."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import cbor2
from sqlalchemy import Connection, func, literal, or_, select, union_all

from dobmi.cardlib.errors import ImplausibleEvidence
from dobmi.cardlib.evidence import SaleEvidence, parse_sale_evidence
from dobmi.central.balances import account_names, flows, group_balances
from dobmi.central.booking import start_of_day
from dobmi.central.daily_head import DailyHead
from dobmi.central.database import whole_sum
from dobmi.central.days import group_number, heads, within
from dobmi.central.errors import UnknownVoucher
from dobmi.central.posting_rules import (
    GROUP_NUMBERS,
    ISSUES,
    REDEEMS,
    Group,
    Kind,
    account_name,
    account_range,
)
from dobmi.central.schema import postings, quarantine, terminals, vouchers
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import Voucher, decode_voucher, voucher_hash

STOCKS = (
    Group.CARD,
    Group.WALLET,
    Group.IN_FLIGHT,
    Group.OUTLET,
    Group.MERCHANT,
    Group.SUSPENSE,
)
"""Where what was issued and not redeemed is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDay:
    """A group of accounts over the day; above nought is owed, below is there or due."""

    group: Group
    before: Rupiah
    debits: Rupiah
    credits: Rupiah

    @property
    def after(self) -> Rupiah:
        return self.before - self.debits + self.credits


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAccount:
    """`issued`, `redeemed`: from the first day to the end of this one. `head`: None while it is open.

    `kinds`: how much was posted that day of each kind. `postings`, `posted`: their number and sum.
    """

    day: int
    issued_before: Rupiah
    redeemed_before: Rupiah
    issued: Rupiah
    redeemed: Rupiah
    groups: tuple[GroupDay, ...]
    kinds: Mapping[Kind, Rupiah]
    postings: int
    posted: Rupiah
    head: DailyHead | None

    @property
    def stocks(self) -> dict[Group, Rupiah]:
        return {one.group: one.after for one in self.groups if one.group in STOCKS}

    @property
    def difference(self) -> Rupiah:
        """Nought, or money was made or lost."""
        return self.issued - self.redeemed - Rupiah(sum(s.amount for s in self.stocks.values()))

    @property
    def agrees_with_head(self) -> bool:
        """Whether the journal still says what was signed when the day was closed."""
        if self.head is None:
            return True
        return (self.head.postings, self.head.amount) == (self.postings, self.posted)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDay:
    account: int
    name: str
    postings: int
    debits: Rupiah
    credits: Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingLine:
    """`has_voucher`: its reference is a till's voucher, which `voucher_in_words` explains."""

    at: int
    kind: Kind
    debit: str
    credit: str
    amount: Rupiah
    card_uid: bytes
    terminal_id: int
    sequence: int
    explanation: str

    @property
    def has_voucher(self) -> bool:
        return self.terminal_id > 0 and self.kind in _BY_TILLS


_BY_TILLS = frozenset({Kind.SALE, Kind.REFUND, Kind.CLAIM_HELD, Kind.CLAIM_RELEASED})


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherInWords:
    """A voucher as it is kept. `diagnostic`: its decoded content, a line a field."""

    terminal_id: int
    terminal_name: str
    sequence: int
    received_at: int
    voucher: Voucher
    evidence: SaleEvidence | None
    hash: bytes
    encoded: bytes
    diagnostic: tuple[tuple[int, str, str], ...]
    refused: str
    """Why it is in quarantine."""


def reconcile_day(central: Central, day: int) -> DayAccount:
    """`day`: days since 1970-01-01 in WIB; for the sums of closed days those kept with their heads."""
    start, end = start_of_day(day), start_of_day(day + 1)
    with central.database.read() as connection:
        before, after = flows(connection, start - 1), flows(connection, end - 1)
        count, posted = connection.execute(
            select(func.count(), whole_sum(postings.c.amount_rupiah)).where(within(start, end))
        ).one()
        sums = _moved_by_group(connection, start, end)
    balances = group_balances(before)
    kinds: dict[Kind, Rupiah] = {}
    for flow, total in after.items():
        more = total - before.get(flow, ZERO)
        if more:
            kinds[flow.kind] = kinds.get(flow.kind, ZERO) + more
    found = heads(central, day)

    def of(totals: Mapping[Kind, Rupiah], wanted: frozenset[Kind]) -> Rupiah:
        return Rupiah(sum(amount.amount for kind, amount in totals.items() if kind in wanted))

    totals: dict[Kind, Rupiah] = {}
    for flow, total in before.items():
        totals[flow.kind] = totals.get(flow.kind, ZERO) + total
    issued, redeemed = of(totals, ISSUES), of(totals, REDEEMS)
    return DayAccount(
        day=day,
        issued_before=issued,
        redeemed_before=redeemed,
        issued=issued + of(kinds, ISSUES),
        redeemed=redeemed + of(kinds, REDEEMS),
        groups=tuple(
            GroupDay(
                group=group,
                before=balances[group],
                debits=sums.get(GROUP_NUMBERS[group], (ZERO, ZERO))[0],
                credits=sums.get(GROUP_NUMBERS[group], (ZERO, ZERO))[1],
            )
            for group in Group
        ),
        kinds=kinds,
        postings=count,
        posted=Rupiah(posted),
        head=found[0][0] if found else None,
    )


def _moved_by_group(
    connection: Connection, start: int, end: int
) -> dict[int, tuple[Rupiah, Rupiah]]:
    """(debits, credits) by the number of the group."""
    pairs = (
        select(
            group_number(postings.c.debit_account).label("debit"),
            group_number(postings.c.credit_account).label("credit"),
            postings.c.amount_rupiah,
        )
        .where(within(start, end))
        .subquery()
    )
    rows = connection.execute(
        select(pairs.c.debit, pairs.c.credit, whole_sum(pairs.c.amount_rupiah)).group_by(
            pairs.c.debit, pairs.c.credit
        )
    )
    sums: dict[int, tuple[Rupiah, Rupiah]] = {}
    for debit, credit, amount in rows:
        debited, credited = sums.get(debit, (ZERO, ZERO))
        sums[debit] = debited + Rupiah(amount), credited
        debited, credited = sums.get(credit, (ZERO, ZERO))
        sums[credit] = debited, credited + Rupiah(amount)
    return sums


def group_of_day(central: Central, day: int, group: Group, limit: int = 200) -> list[AccountDay]:
    """The accounts of the group to which something was posted that day, those with most of it first."""
    inside = within(start_of_day(day), start_of_day(day + 1))
    low, high = account_range(group)
    amount = postings.c.amount_rupiah
    nought = literal(0)
    sides = union_all(
        select(
            postings.c.debit_account.label("account"),
            amount.label("debits"),
            nought.label("credits"),
        ).where(inside, postings.c.debit_account.between(low, high)),
        select(postings.c.credit_account, nought, amount).where(
            inside, postings.c.credit_account.between(low, high)
        ),
    ).subquery()
    moved = whole_sum(sides.c.debits + sides.c.credits)
    with central.database.read() as connection:
        names = account_names(connection)
        rows = connection.execute(
            select(
                sides.c.account,
                func.count().label("postings"),
                whole_sum(sides.c.debits).label("debits"),
                whole_sum(sides.c.credits).label("credits"),
            )
            .group_by(sides.c.account)
            .order_by(moved.desc(), sides.c.account)
            .limit(limit)
        ).all()
    return [
        AccountDay(
            account=row.account,
            name=account_name(row.account, names),
            postings=row.postings,
            debits=Rupiah(row.debits),
            credits=Rupiah(row.credits),
        )
        for row in rows
    ]


def account_of_day(central: Central, day: int, account: int, limit: int = 200) -> list[PostingLine]:
    """What was posted to the account that day, oldest first."""
    with central.database.read() as connection:
        names = account_names(connection)
        rows = connection.execute(
            select(postings)
            .where(within(start_of_day(day), start_of_day(day + 1)))
            .where(or_(postings.c.debit_account == account, postings.c.credit_account == account))
            .order_by(postings.c.at, postings.c.id)
            .limit(limit)
        ).all()
    return [
        PostingLine(
            at=row.at,
            kind=Kind(row.kind),
            debit=account_name(row.debit_account, names),
            credit=account_name(row.credit_account, names),
            amount=Rupiah(row.amount_rupiah),
            card_uid=bytes(row.card_uid),
            terminal_id=row.terminal_id,
            sequence=row.sequence,
            explanation=row.explanation,
        )
        for row in rows
    ]


def voucher_in_words(central: Central, terminal_id: int, sequence: int) -> VoucherInWords:
    """Raises UnknownVoucher."""
    with central.database.read() as connection:
        kept = connection.execute(
            select(vouchers).where(
                vouchers.c.terminal_id == terminal_id, vouchers.c.sequence == sequence
            )
        ).first()
        if kept is None:
            raise UnknownVoucher(terminal_id=terminal_id, sequence=sequence)
        name = connection.execute(
            select(terminals.c.name).where(terminals.c.id == terminal_id)
        ).scalar_one()
        refused = connection.execute(
            select(quarantine.c.reason).where(
                quarantine.c.terminal_id == terminal_id, quarantine.c.sequence == sequence
            )
        ).scalar()
    encoded = bytes(kept.encoded)
    voucher = decode_voucher(encoded)
    intent = getattr(voucher, "intent", None)
    evidence = None
    if intent is not None:
        try:
            evidence = parse_sale_evidence(intent.evidence)
        except ImplausibleEvidence:
            evidence = None
    return VoucherInWords(
        terminal_id=terminal_id,
        terminal_name=name,
        sequence=sequence,
        received_at=kept.received_at,
        voucher=voucher,
        evidence=evidence,
        hash=voucher_hash(encoded),
        encoded=encoded,
        diagnostic=_diagnostic(encoded),
        refused=refused or "",
    )


class _Field(enum.IntEnum):
    """docs/formats/voucher.md."""

    version = 1
    kind = 2
    terminal = 3
    sequence = 4
    previous_hash = 5
    unix_seconds = 6
    shift = 7
    cashier = 8
    issuer = 9
    seller = 10
    card_uid = 11
    amount_rupiah = 12
    evidence = 13
    card_counter = 14
    card_mac = 15
    goods = 16
    resolves = 17
    outcome = 18
    void_reason = 19
    supervisor = 20
    reason = 21
    refunds = 22


def _diagnostic(encoded: bytes) -> tuple[tuple[int, str, str], ...]:
    """(key, name, value) of each field of the COSE_Sign1's payload, bytes in hex."""
    sign1 = cbor2.loads(encoded)
    payload = cbor2.loads((sign1.value if isinstance(sign1, cbor2.CBORTag) else sign1)[2])
    return tuple(
        (key, _Field(key).name, value.hex() if isinstance(value, bytes) else repr(value))
        for key, value in sorted(payload.items())
    )
