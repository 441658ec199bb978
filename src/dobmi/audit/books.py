"""All rows about one card, as they are on record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cbor2

from dobmi.audit.card_proof import Reader
from dobmi.audit.source import Source, Values
from dobmi.central.posting_rules import Group

WAITING = frozenset(("pending", "in_doubt"))
"""States of a credit that is still to be brought onto the card, or perhaps there."""


FROM_WALLET = "dobmi:wallet:"
"""What the keys of credits begin with that come from the member's wallet."""


class Transaction(NamedTuple):
    """A card's transaction, as on record or as the card vouches for it."""

    counter: int
    kind: int
    reader: Reader
    previous: Reader | None
    amount: int
    before: int
    after: int
    verified: bool
    at: int | None = None


class Posting(NamedTuple):
    id: int
    at: int
    kind: str
    debit: int
    credit: int
    amount: int
    reader: Reader


class Doubt(NamedTuple):
    reader: Reader
    amount: int
    evidence: bytes
    at: int
    state: str
    settled_by: str
    counter: int | None
    claimed: bool


class Credit(NamedTuple):
    sequence: int
    amount: int
    source: str
    ordered_by: int | None
    key: str
    state: str
    counter: int | None
    mac: bytes | None


class Refund(NamedTuple):
    reader: Reader
    sale: int
    amount: int
    state: str
    credit_uid: bytes | None
    credit_sequence: int | None


class Seller(NamedTuple):
    """Of a terminal: its head, and the account its sales go to."""

    head: int
    account_group: Group
    account_owner: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all cards."""

    terminals: Mapping[int, Seller]
    closed_days: frozenset[int]
    unsettled: frozenset[bytes]
    """Cards of batches that were taken and not yet looked at: nothing is concluded of them."""


@dataclass(slots=True)
class Book:
    """All rows about one card."""

    uid: bytes
    row: Values
    transactions: list[Transaction] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    keys: set[tuple[str, Reader]] = field(default_factory=set)
    doubts: list[Doubt] = field(default_factory=list)
    history: dict[Reader, list[Values]] = field(default_factory=dict)
    decided: dict[Reader, bool] = field(default_factory=dict)
    credits: list[Credit] = field(default_factory=list)
    attempts: dict[int, list[bytes]] = field(default_factory=dict)
    by_hand: dict[int, Values] = field(default_factory=dict)
    refunds: list[Refund] = field(default_factory=list)
    blocks: list[tuple[int, bool]] = field(default_factory=list)
    replacement: Values | None = None
    retirement: Values | None = None
    """Block's version, state, amount, transaction and MAC, of a card that was ended while it was there."""
    emptying: list[bytes] = field(default_factory=list)
    """What may have been sent to take the last off it."""
    named: set[tuple[Reader, int]] = field(default_factory=set)
    anomalies: set[tuple[str, str]] = field(default_factory=set)
    credits_given: int | None = None
    """The number of the last credit, as the counter of the card's credits has it."""

    @property
    def serial(self) -> int:
        return int(self.row[1])

    @property
    def state(self) -> str:
        return str(self.row[3])

    @property
    def mac_version(self) -> int:
        return int(self.row[4])

    def is_plain(self) -> bool:
        """Whether nothing about it depends on what other cards and later vouchers say."""
        numbers = [transaction.counter for transaction in self.transactions]
        return not (
            self.doubts
            or self.refunds
            or self.replacement
            or self.retirement
            or self.blocks
            or self.by_hand
            or self.anomalies
            or numbers != list(range(1, len(numbers) + 1))
            or any(
                credit.key.startswith("dobmi:") and not credit.key.startswith(FROM_WALLET)
                for credit in self.credits
            )
            or any(credit.state in WAITING for credit in self.credits)
        )

    def digest(self, around: Surroundings) -> str:
        sellers = sorted({p.reader[0] for p in self.postings})
        read = [
            list(self.row),
            [list(one) for one in self.transactions],
            [list(one) for one in self.postings],
            sorted([kind, list(reader)] for kind, reader in self.keys),
            [list(one) for one in self.credits],
            sorted(self.attempts.items()),
            sorted([list(reader), counter] for reader, counter in self.named),
            self.credits_given,
            [[t, *_accounts_of(around, t)] for t in sellers],
        ]
        return hashlib.sha256(cbor2.dumps(read)).hexdigest()

    def totals(self) -> dict[str, tuple[int, int]]:
        totals: dict[str, tuple[int, int]] = {}
        for one in self.postings:
            count, total = totals.get(one.kind, (0, 0))
            totals[one.kind] = count + 1, total + one.amount
        return totals


def _accounts_of(around: Surroundings, terminal_id: int) -> tuple[str, int]:
    seller = around.terminals.get(terminal_id)
    return ("", 0) if seller is None else (seller.account_group.value, seller.account_owner)


def read_books(source: Source, uids: Sequence[bytes]) -> dict[bytes, Book]:
    """The books of these cards: a query for each table."""
    books = {
        row[0]: Book(row[0], row)
        for row in source.of(
            "SELECT uid, serial, member_number, state, mac_key_version, registered_at, issued_at"
            " FROM cards WHERE uid IN :keys",
            uids,
        )
    }
    for uid, counter, kind, t, s, pt, ps, amount, before, after, verified, at in source.of(
        "SELECT card_uid, counter, kind, terminal_id, sequence, previous_terminal_id,"
        " previous_sequence, amount_rupiah, balance_before_rupiah, balance_after_rupiah,"
        " card_mac_verified, at FROM card_transactions WHERE card_uid IN :keys"
        " ORDER BY card_uid, counter",
        uids,
    ):
        named = None if pt is None else (pt, ps)
        books[uid].transactions.append(
            Transaction(counter, kind, (t, s), named, amount, before, after, bool(verified), at)
        )
    for uid, id_, at, kind, debit, credit, amount, t, s in source.of(
        "SELECT card_uid, id, at, kind, debit_account, credit_account, amount_rupiah,"
        " terminal_id, sequence FROM postings WHERE card_uid IN :keys ORDER BY card_uid, id",
        uids,
    ):
        books[uid].postings.append(Posting(id_, at, kind, debit, credit, amount, (t, s)))
    for uid, kind, t, s in source.of(
        "SELECT card_uid, kind, terminal_id, sequence FROM posting_keys WHERE card_uid IN :keys",
        uids,
    ):
        books[uid].keys.add((kind, (t, s)))
    _read_doubts(source, uids, books)
    _read_credits(source, uids, books)
    for uid, t, s, sale, amount, state, credit_uid, credit_sequence in source.of(
        "SELECT card_uid, terminal_id, sequence, sale_sequence, amount_rupiah, state,"
        " credit_card_uid, credit_sequence FROM refunds WHERE card_uid IN :keys"
        " ORDER BY terminal_id, sequence",
        uids,
    ):
        books[uid].refunds.append(Refund((t, s), sale, amount, state, credit_uid, credit_sequence))
    for uid, version, blocked in source.of(
        "SELECT card_uid, version, blocked FROM hotlist_changes WHERE card_uid IN :keys"
        " ORDER BY version",
        uids,
    ):
        books[uid].blocks.append((version, bool(blocked)))
    for row in source.of(
        "SELECT card_uid, block_version, safe_at FROM replacements WHERE card_uid IN :keys", uids
    ):
        books[row[0]].replacement = row
    _read_retirements(source, uids, books)
    for uid, t, s, counter in source.of(
        "SELECT card_uid, terminal_id, sequence, counter FROM named_before WHERE card_uid IN :keys",
        uids,
    ):
        books[uid].named.add(((t, s), counter))
    for uid, kind, subject in source.of(
        "SELECT card_uid, kind, subject FROM anomalies WHERE card_uid IN :keys", uids
    ):
        books[uid].anomalies.add((kind, subject))
    return books


def _read_retirements(source: Source, uids: Sequence[bytes], books: Mapping[bytes, Book]) -> None:
    for uid, *rest in source.of(
        "SELECT card_uid, block_version, state, amount_rupiah, counter, mac FROM retirements"
        " WHERE card_uid IN :keys",
        uids,
    ):
        books[uid].retirement = tuple(rest)
    for uid, evidence in source.of(
        "SELECT card_uid, evidence FROM retirement_attempts WHERE card_uid IN :keys"
        " ORDER BY id DESC",
        uids,
    ):
        books[uid].emptying.append(evidence)


def _read_doubts(source: Source, uids: Sequence[bytes], books: Mapping[bytes, Book]) -> None:
    for uid, t, s, amount, evidence, at, state, by, counter, claimed in source.of(
        "SELECT card_uid, terminal_id, sequence, amount_rupiah, evidence, at, state, settled_by,"
        " counter, claimed_paid FROM in_doubt WHERE card_uid IN :keys"
        " ORDER BY terminal_id, sequence",
        uids,
    ):
        books[uid].doubts.append(
            Doubt((t, s), amount, evidence, at, state, by, counter, bool(claimed))
        )
    for uid, t, s, state, rule, at in source.of(
        "SELECT d.card_uid, h.terminal_id, h.sequence, h.state, h.rule, h.at"
        " FROM doubt_settlements h JOIN in_doubt d"
        " ON d.terminal_id = h.terminal_id AND d.sequence = h.sequence"
        " WHERE d.card_uid IN :keys ORDER BY h.id",
        uids,
    ):
        books[uid].history.setdefault((t, s), []).append((state, rule, at))
    for uid, t, s, paid in source.of(
        "SELECT d.card_uid, h.terminal_id, h.sequence, h.paid FROM doubt_decisions h"
        " JOIN in_doubt d ON d.terminal_id = h.terminal_id AND d.sequence = h.sequence"
        " WHERE d.card_uid IN :keys",
        uids,
    ):
        books[uid].decided[t, s] = bool(paid)


def _read_credits(source: Source, uids: Sequence[bytes], books: Mapping[bytes, Book]) -> None:
    for uid, *rest in source.of(
        "SELECT card_uid, sequence, amount_rupiah, source, ordered_by, idempotency_key, state,"
        " counter, mac FROM pending_credits WHERE card_uid IN :keys ORDER BY card_uid, sequence",
        uids,
    ):
        books[uid].credits.append(Credit(*rest))
    for uid, sequence, evidence in source.of(
        "SELECT card_uid, sequence, evidence FROM credit_attempts WHERE card_uid IN :keys"
        " ORDER BY id DESC",
        uids,
    ):
        books[uid].attempts.setdefault(sequence, []).append(evidence)
    for row in source.of(
        "SELECT card_uid, sequence, counter, settled_by, reason FROM credit_settlements"
        " WHERE card_uid IN :keys",
        uids,
    ):
        books[row[0]].by_hand[row[1]] = row
    named = {f"credit:{uid.hex()}": uid for uid in uids}
    for name, value in source.of(
        "SELECT name, value FROM counters WHERE name IN :keys", list(named)
    ):
        books[named[name]].credits_given = value
