"""What is posted about no card: salaries, cash banked, sellers paid; and that no wallet is overdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dobmi.audit.findings import Finding, account_of, account_words, finding
from dobmi.audit.runs import payments_of
from dobmi.audit.source import Source, Values
from dobmi.central.posting_rules import RULES, Group, Kind, account_range
from dobmi.i18n import N_

NO_CARD: Final = b""
"""In place of a card in the journal."""


@dataclass(frozen=True, slots=True)
class _Event:
    """What asks for a posting: its reference, accounts and amount."""

    reference: tuple[int, int]
    debit: int
    credit: int
    amount: int
    explanation: str = ""
    """Of the posting, where it says what keeps the event from being taken twice."""


def check_offices(source: Source) -> tuple[list[Finding], dict[str, tuple[int, int]]]:
    """What is wrong with the postings about no card, and how many there are of each kind."""
    found: list[Finding] = []
    totals: dict[str, tuple[int, int]] = {}
    for kind, events in (
        (Kind.EARNED, _earned(source)),
        (Kind.BANKED, _banked(source)),
        (Kind.CASHED, _cashed(source)),
        (Kind.PAID_OUT, _paid(source, Kind.PAID_OUT)),
        (Kind.FEE, _paid(source, Kind.FEE)),
    ):
        found += _compare(source, kind, events, totals)
    for kind_name, terminal_id, sequence, id_, amount in source.stream(
        "SELECT kind, terminal_id, sequence, id, amount_rupiah FROM postings"
        " WHERE card_uid = :none AND kind NOT IN ('earned', 'banked', 'cashed', 'paid-out', 'fee') ORDER BY id",
        none=NO_CARD,
    ):
        name = f"posting {kind_name} {terminal_id}/{sequence} #{id_}"
        found.append(finding("POSTING-STRAY", name, N_("Nothing on record asks for it."), amount))
        _count(totals, kind_name, amount)
    return found + _keys(source) + _wallets(source), totals


def _earned(source: Source) -> Iterator[_Event]:
    rule = RULES[Kind.EARNED]
    for number, member, amount, period in source.stream(
        "SELECT number, member_number, amount_rupiah, period FROM salaries ORDER BY number"
    ):
        to = account_of(rule.credit, member)
        yield _Event((0, number), account_of(rule.debit), to, amount, f"salary {period}")


def _banked(source: Source) -> Iterator[_Event]:
    rule = RULES[Kind.BANKED]
    for station, number, amount in source.stream(
        "SELECT terminal_id, number, amount_rupiah FROM cash_banked ORDER BY terminal_id, number"
    ):
        to = account_of(rule.credit, station)
        yield _Event((station, number), account_of(rule.debit), to, amount)


def _cashed(source: Source) -> Iterator[_Event]:
    rule = RULES[Kind.CASHED]
    for station, number, member, amount in source.stream(
        "SELECT station, number, member_number, amount_rupiah FROM cash_payouts"
        " ORDER BY station, number"
    ):
        of, at = account_of(rule.debit, member), account_of(rule.credit, station)
        yield _Event((station, number), of, at, amount)


def _paid(source: Source, kind: Kind) -> Iterator[_Event]:
    """Of the items of runs that the bank has paid: net and fee."""
    merchants = {row[0] for row in source.rows("SELECT id FROM sellers WHERE kind = 'merchant'")}
    to = account_of(RULES[kind].credit)
    for number, seller_id, net, fee in payments_of(source):
        group = Group.MERCHANT if seller_id in merchants else Group.OUTLET
        amount = net if kind is Kind.PAID_OUT else fee
        if amount > 0:
            yield _Event((0, number), account_of(group, seller_id), to, amount)


def _compare(
    source: Source, kind: Kind, events: Iterator[_Event], totals: dict[str, tuple[int, int]]
) -> Iterator[Finding]:
    """Both in the order of their references, one beside the other."""
    postings = source.stream(
        "SELECT terminal_id, sequence, id, debit_account, credit_account, amount_rupiah, explanation"
        " FROM postings WHERE card_uid = :none AND kind = :kind ORDER BY terminal_id, sequence, id",
        none=NO_CARD,
        kind=kind.value,
    )
    event, posted = next(events, None), next(postings, None)
    while event is not None or posted is not None:
        if posted is None or (event is not None and event.reference < posted[:2]):
            assert event is not None, "one of the two is there"
            name = _name(kind, event.reference)
            message = N_("It is not in the journal.")
            yield finding("POSTING-MISSING", name, message, event.amount)
            event = next(events, None)
            continue
        _count(totals, kind.value, posted[5])
        if event is None or posted[:2] < event.reference:
            name = f"{_name(kind, posted[:2])} #{posted[2]}"
            message = N_("Nothing on record asks for it.")
            yield finding("POSTING-STRAY", name, message, posted[5])
        else:
            yield from _differences(kind, event, posted)
            event = next(events, None)
        posted = next(postings, None)


def _differences(kind: Kind, event: _Event, posted: Values) -> Iterator[Finding]:
    name = _name(kind, event.reference)
    _, _, _, debit, credit, amount, explanation = posted
    if event.explanation and explanation != event.explanation:
        yield finding(
            "POSTING-KEY",
            name,
            N_("It was posted as {posted}, and is on record as {kept}: it could be taken again."),
            posted=explanation,
            kept=event.explanation,
        )
    if amount != event.amount:
        yield finding(
            "POSTING-AMOUNT",
            name,
            N_("Posted are {posted}; it should be {amount}."),
            abs(amount - event.amount),
            posted=amount,
            amount=event.amount,
        )
    if (debit, credit) != (event.debit, event.credit):
        yield finding(
            "POSTING-ACCOUNTS",
            name,
            N_("Posted from {posted_debit} to {posted_credit}; it should be {debit} to {credit}."),
            amount,
            posted_debit=account_words(debit),
            posted_credit=account_words(credit),
            debit=account_words(event.debit),
            credit=account_words(event.credit),
        )


def _name(kind: Kind, reference: Values) -> str:
    return f"posting {kind.value} {reference[0]}/{reference[1]}"


def _count(totals: dict[str, tuple[int, int]], kind: str, amount: int) -> None:
    count, total = totals.get(kind, (0, 0))
    totals[kind] = count + 1, total + amount


def _keys(source: Source) -> list[Finding]:
    """Of postings about no card; those about cards are looked at with their card."""
    same = "k.card_uid = p.card_uid AND k.kind = p.kind AND k.terminal_id = p.terminal_id"
    same += " AND k.sequence = p.sequence"
    found = []
    for kind, terminal_id, sequence in source.rows(
        "SELECT p.kind, p.terminal_id, p.sequence FROM postings p"  # noqa: S608 - our own words
        f" LEFT JOIN posting_keys k ON {same} WHERE p.card_uid = :none AND k.kind IS NULL",
        none=NO_CARD,
    ):
        name = f"posting {kind} {terminal_id}/{sequence}"
        message = N_("The key that keeps it from posting twice is gone.")
        found.append(finding("POSTING-KEY", name, message))
    for kind, terminal_id, sequence in source.rows(
        "SELECT k.kind, k.terminal_id, k.sequence FROM posting_keys k"  # noqa: S608 - our own words
        f" LEFT JOIN postings p ON {same} WHERE k.card_uid = :none AND p.kind IS NULL",
        none=NO_CARD,
    ):
        name = f"posting {kind} {terminal_id}/{sequence}"
        found.append(finding("POSTING-KEY", name, N_("There is a key and no posting.")))
    return found


def _wallets(source: Source) -> list[Finding]:
    first, last = account_range(Group.WALLET)
    owner = account_of(Group.WALLET)
    return [
        finding(
            "WALLET",
            f"wallet of member {account - owner}",
            N_("It has given {lacks} more than it was given."),
            -int(balance),
            lacks=-int(balance),
        )
        for account, balance in source.rows(
            "SELECT account, sum(amount) FROM ("
            " SELECT credit_account AS account, amount_rupiah AS amount FROM postings"
            " WHERE credit_account BETWEEN :first AND :last"
            " UNION ALL SELECT debit_account, -amount_rupiah FROM postings"
            " WHERE debit_account BETWEEN :first AND :last) AS wallets"
            " GROUP BY account HAVING sum(amount) < 0 ORDER BY account",
            first=first,
            last=last,
        )
    ]
