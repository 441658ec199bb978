"""What concerns no single till or card: rows of nobody, the block list, and the whole sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from dobmi.audit.findings import Finding, card_name, finding
from dobmi.audit.formats import Malformed, parse_voucher
from dobmi.audit.offices import NO_CARD
from dobmi.audit.source import Source
from dobmi.central.posting_rules import GROUP_NUMBERS, Group
from dobmi.i18n import N_

_OF_TILLS: Final = ("vouchers", "quarantine", "batches", "in_doubt", "refunds", "doubt_decisions")
_OF_CARDS: Final = (
    "card_transactions", "postings", "in_doubt", "refunds", "pending_credits", "credit_attempts",
    "hotlist_changes", "replacements", "posting_keys", "named_before",
)  # fmt: skip


_GROUPS: Final = {number: group for group, number in GROUP_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Totals:
    """The stocks, in rupiah, by group of accounts: credits less debits of the whole journal."""

    by_group: Mapping[Group, int]
    by_kind: Mapping[str, tuple[int, int]]


def totals_of(source: Source) -> Totals:
    by_kind: dict[str, tuple[int, int]] = {}
    by_group: dict[Group, int] = dict.fromkeys(Group, 0)
    for kind, debit, credit, count, amount in source.rows(
        "SELECT kind, debit_account / 1000000000000, credit_account / 1000000000000, count(*),"
        " sum(amount_rupiah) FROM postings GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    ):
        before = by_kind.get(kind, (0, 0))
        by_kind[kind] = before[0] + int(count), before[1] + int(amount)
        by_group[_GROUPS[debit]] -= int(amount)
        by_group[_GROUPS[credit]] += int(amount)
    return Totals(by_group, by_kind)


def check_totals(totals: Totals, seen: Iterable[Mapping[str, tuple[int, int]]]) -> list[Finding]:
    """Every posting was looked at with its card; the journal has no others."""
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for of_card in seen:
        for kind, (count, amount) in of_card.items():
            counted[kind][0] += count
            counted[kind][1] += amount
    found = []
    for kind in sorted(totals.by_kind.keys() | counted.keys()):
        count, amount = totals.by_kind.get(kind, (0, 0))
        if [count, amount] != counted[kind]:
            found.append(
                finding(
                    "SUM",
                    f"journal {kind}",
                    N_(
                        "The journal has {count} of it, {amount}; of cards on record are {counted}, {total}."
                    ),
                    abs(amount - counted[kind][1]),
                    count=count,
                    amount=amount,
                    counted=counted[kind][0],
                    total=counted[kind][1],
                )
            )
    return found


def check_orphans(source: Source) -> list[Finding]:
    """Rows of tills and cards that are not on record."""
    found = []
    for table in _OF_TILLS:
        for terminal_id, count in source.rows(
            f"SELECT terminal_id, count(*) FROM {table}"  # noqa: S608 - our own names
            " WHERE terminal_id NOT IN (SELECT id FROM terminals) GROUP BY terminal_id"
        ):
            found.append(
                finding(
                    "ORPHAN",
                    f"{table} till {terminal_id}",
                    N_("{count} rows of a till that is not on record."),
                    count=count,
                )
            )
    cards: dict[bytes, set[str]] = defaultdict(set)
    for table in _OF_CARDS:
        for (uid,) in source.rows(
            f"SELECT DISTINCT card_uid FROM {table}"  # noqa: S608 - our own names
            " WHERE card_uid NOT IN (SELECT uid FROM cards) AND card_uid <> :none",
            none=NO_CARD,
        ):
            cards[uid].add(table)
    found += [
        finding(
            "CARD-MISSING",
            card_name(uid),
            N_("It is not on record; there are rows of it in {tables}."),
            tables=", ".join(sorted(tables)),
        )
        for uid, tables in sorted(cards.items())
    ]
    found += [
        finding(
            "ORPHAN",
            card_name(uid),
            N_("Its member {member} is not on record."),
            member=member,
        )
        for uid, member in source.rows(
            "SELECT uid, member_number FROM cards"
            " WHERE member_number NOT IN (SELECT member_number FROM members)"
        )
    ]
    return found


def check_block_list(source: Source) -> list[Finding]:
    """Changes 1, 2, 3 … but where a restored backup went on with later numbers; none lost at the end."""
    restored = {
        after: before
        for before, after in source.rows("SELECT version_before, version_after FROM restorations")
    }
    versions = [
        row[0] for row in source.rows("SELECT version FROM hotlist_changes ORDER BY version")
    ]
    in_force = source.one("SELECT value FROM counters WHERE name = 'hotlist'")
    newest = 0 if in_force is None else int(in_force[0])
    expected: set[int] = set()
    first = 1
    for after in sorted(restored):
        expected |= set(range(first, restored[after] + 1))
        first = after + 1
    expected |= set(range(first, newest + 1))
    found = [
        finding(
            "BLOCK-LIST", f"block list {version}", N_("The change of that number is not there.")
        )
        for version in sorted(expected - set(versions))
    ]
    found += [
        finding(
            "BLOCK-LIST",
            f"block list {version}",
            N_("The block list in force is {newest}; there is a change of another number."),
            newest=newest,
        )
        for version in sorted(set(versions) - expected)
    ]
    return found


def unsettled_cards(source: Source) -> frozenset[bytes]:
    """Cards of vouchers that were taken, and not yet looked at beside what else is known."""
    uids: set[bytes] = set()
    for terminal_id, first, last in source.rows(
        "SELECT terminal_id, first_sequence, last_sequence FROM batches_to_look_at"
    ):
        for (encoded,) in source.rows(
            "SELECT encoded FROM vouchers WHERE terminal_id = :till"
            " AND sequence BETWEEN :first AND :last",
            till=terminal_id,
            first=first,
            last=last,
        ):
            try:
                uids.add(parse_voucher(encoded).uid)
            except Malformed:
                continue  # said of the voucher
    return frozenset(uids)
