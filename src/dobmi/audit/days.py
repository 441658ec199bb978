"""Closed booking days: docs/formats/daily-head.md, read on its own and worked out again."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import cbor2

from dobmi.audit.findings import Finding, account_words, finding, voucher_name
from dobmi.audit.formats import Signed
from dobmi.audit.source import Source, Values
from dobmi.i18n import N_

_CONTENT_TYPE: Final = "dobmi/day/1"
_SECONDS_PER_DAY: Final = 86_400
_WIB_SECONDS: Final = 7 * 3600
OWNERS: Final = 10**12
"""An account is its group's number times this, and its owner's number."""
NO_HEAD: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Head:
    """A row of `daily_heads`."""

    day: int
    postings: int
    amount: int
    journal_hash: bytes
    tills_hash: bytes
    previous_hash: bytes
    hash: bytes
    signature: bytes
    closed_at: int

    @property
    def payload(self) -> bytes:
        return cbor2.dumps(
            {
                1: 1,
                2: self.day,
                3: self.postings,
                4: self.amount,
                5: self.journal_hash,
                6: self.tills_hash,
                7: self.previous_hash,
                8: self.closed_at,
            },
            canonical=True,
        )

    @property
    def name(self) -> str:
        return day_name(self.day)

    def is_signed_by(self, public_key: bytes) -> bool:
        key_id = hashlib.sha256(public_key).digest()[:8]
        protected = cbor2.dumps({1: -8, 3: _CONTENT_TYPE, 4: key_id}, canonical=True)
        return Signed(protected, self.payload, self.signature, key_id).is_by(public_key)


@dataclass(slots=True)
class DayResult:
    day: int
    findings: list[Finding] = field(default_factory=list)
    postings: int = 0
    other_heads: list[tuple[int, int]] = field(default_factory=list)
    """Tills and sequences of noted heads that are other vouchers than those that are kept."""


def read_heads(source: Source) -> list[Head]:
    """None where the ledger's days are not closed at all: an older server's."""
    if not source.has_table("daily_heads"):
        return []
    return [
        Head(*row)
        for row in source.rows(
            "SELECT day, postings, amount_rupiah, journal_hash, tills_hash, previous_hash, hash,"
            " signature, closed_at FROM daily_heads ORDER BY day"
        )
    ]


def sealed_days(source: Source) -> frozenset[int]:
    """Days into which nothing is posted any more, by number."""
    if not source.has_table("sealed_days"):
        return frozenset()
    return frozenset(row[0] for row in source.rows("SELECT day FROM sealed_days"))


def check_chain(heads: Sequence[Head], server_public_key: bytes | None) -> list[Finding]:
    """Hashes and signatures of all heads, and that no day between them is left out."""
    found = []
    before: Head | None = None
    for head in heads:
        if before is not None and head.day != before.day + 1:
            found.append(
                finding(
                    "DAY-CHAIN",
                    head.name,
                    N_("The days after {before} are not closed, and it is."),
                    before=before.name,
                )
            )
        elif head.previous_hash != (NO_HEAD if before is None else before.hash):
            message = N_("It does not hold the hash of the day before.")
            found.append(finding("DAY-CHAIN", head.name, message))
        signed = server_public_key is None or head.is_signed_by(server_public_key)
        if not signed:
            message = N_("It is not signed by the server, or was changed since.")
            found.append(finding("DAY-SIGNATURE", head.name, message, head.amount))
        elif hashlib.sha256(head.payload).digest() != head.hash:
            message = N_("Its hash is not that of its fields.")
            found.append(finding("DAY-CHAIN", head.name, message))
        before = head
    return found


def audit_day(source: Source, head: Head) -> DayResult:
    """The journal, the tills and the accounts' sums of one closed day."""
    result = DayResult(head.day)
    first = head.day * _SECONDS_PER_DAY - _WIB_SECONDS
    lines = source.rows(
        "SELECT at, terminal_id, sequence, card_uid, kind, debit_account, credit_account,"
        " amount_rupiah, explanation FROM postings WHERE at >= :first AND at < :next",
        first=first,
        next=first + _SECONDS_PER_DAY,
    )
    lines.sort(key=lambda line: (*line[:4], line[4].encode()))
    result.postings = len(lines)
    digest = hashlib.sha256()
    for at, terminal_id, sequence, uid, kind, debit, credit, amount, explanation in lines:
        digest.update(
            cbor2.dumps([at, kind, debit, credit, amount, uid, terminal_id, sequence, explanation])
        )
    total = sum(line[7] for line in lines)
    told = (head.journal_hash, head.postings, head.amount)
    if told != (digest.digest(), len(lines), total):
        result.findings.append(
            finding(
                "DAY-JOURNAL",
                head.name,
                N_(
                    "Signed are {signed} postings of {signed_amount}; there are {count} of {amount}, or others."
                ),
                abs(total - head.amount) or None,
                signed=head.postings,
                signed_amount=head.amount,
                count=len(lines),
                amount=total,
            )
        )
    result.findings += _accounts(source, head, lines)
    _tills(source, head, result)
    return result


def _accounts(source: Source, head: Head, lines: Sequence[Values]) -> list[Finding]:
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    kinds: dict[tuple[str, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for line in lines:
        sums[line[5]][0] += line[7]
        sums[line[6]][1] += line[7]
        of_kind = kinds[line[4], line[5] // OWNERS, line[6] // OWNERS]
        of_kind[0] += 1
        of_kind[1] += line[7]
    kept = {
        account: [debits, credits_]
        for account, debits, credits_ in source.rows(
            "SELECT account, debits_rupiah, credits_rupiah FROM account_days WHERE day = :day",
            day=head.day,
        )
    }
    found = []
    for account in sorted(sums.keys() | kept.keys()):
        is_, ought = kept.get(account, [0, 0]), sums.get(account, [0, 0])
        if is_ != ought or (account in kept) != (account in sums):
            found.append(
                finding(
                    "DAY-ACCOUNTS",
                    f"{head.name} {account_words(account)}",
                    N_(
                        "Kept are debits {debits} and credits {credits}; its postings come to {debited} and {credited}."
                    ),
                    max(abs(is_[0] - ought[0]), abs(is_[1] - ought[1])),
                    debits=is_[0],
                    credits=is_[1],
                    debited=ought[0],
                    credited=ought[1],
                )
            )
    kept_kinds = {
        (kind, debit, credit): [count, amount]
        for kind, debit, credit, count, amount in source.rows(
            "SELECT kind, debit_group, credit_group, postings, amount_rupiah FROM kind_days"
            " WHERE day = :day",
            day=head.day,
        )
    }
    for kind in sorted(kinds.keys() | kept_kinds.keys()):
        is_, ought = kept_kinds.get(kind, [0, 0]), kinds.get(kind, [0, 0])
        if is_ != ought or (kind in kept_kinds) != (kind in kinds):
            found.append(
                finding(
                    "DAY-ACCOUNTS",
                    f"{head.name} kind {kind[0]}",
                    N_("Kept are {count} postings of {amount}; there are {counted} of {total}."),
                    abs(is_[1] - ought[1]),
                    count=is_[0],
                    amount=is_[1],
                    counted=ought[0],
                    total=ought[1],
                )
            )
    return found


def _tills(source: Source, head: Head, result: DayResult) -> None:
    digest = hashlib.sha256()
    for terminal_id, sequence, hash_, encoded in source.rows(
        "SELECT h.terminal_id, h.head_sequence, h.head_hash, v.encoded FROM till_heads h"
        " LEFT JOIN vouchers v ON v.terminal_id = h.terminal_id AND v.sequence = h.head_sequence"
        " WHERE h.day = :day ORDER BY h.terminal_id",
        day=head.day,
    ):
        digest.update(cbor2.dumps([terminal_id, sequence, hash_]))
        if encoded is not None and hashlib.sha256(encoded).digest() != hash_:
            result.other_heads.append((terminal_id, sequence))
    if digest.digest() != head.tills_hash:
        message = N_("The tills' newest vouchers of that day are not those that were signed.")
        result.findings.append(finding("DAY-TILLS", head.name, message))


def check_heads(results: Sequence[DayResult], found: Sequence[Finding]) -> list[Finding]:
    """Noted heads that are not the vouchers kept: each once, unless the voucher is wrong anyway."""
    wrong = {one.row for one in found}
    told: set[tuple[int, int]] = set()
    more = []
    for result in sorted(results, key=lambda one: one.day):
        for terminal_id, sequence in result.other_heads:
            name = voucher_name(terminal_id, sequence)
            if (terminal_id, sequence) in told or name in wrong:
                continue
            told.add((terminal_id, sequence))
            message = N_("On {day} another voucher was the till's newest under that number.")
            more.append(finding("DAY-TILLS", name, message, day=day_name(result.day)))
    return more


def day_name(day: int) -> str:
    """`day 2026-11-23`."""
    return f"day {date(1970, 1, 1) + timedelta(days=day)}"
