"""The databases of tills and server as they stand on disk, read from outside: by their own SQL.

What the oracles judge. Of the server's tables no more is used than what docs/formats and the journal's
rules promise; vouchers are told by their bytes.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dobmi.central.posting_rules import RULES, Group, Kind, account_range
from dobmi.sync.voucher import (
    DecisionVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    Voucher,
    genesis_hash,
    verify_voucher,
)


@dataclass(frozen=True, slots=True)
class TillBook:
    """A till's database."""

    vouchers: dict[int, tuple[bytes, Voucher]]
    intents: dict[int, tuple[bytes, int]]
    broken: tuple[str, ...]

    def refunds(self) -> dict[int, RefundVoucher]:
        """By their own sequence."""
        return {
            sequence: voucher
            for sequence, (_, voucher) in self.vouchers.items()
            if isinstance(voucher, RefundVoucher)
        }

    def decision(self, sale: int) -> Outcome | None:
        """What a supervisor decided of the sale."""
        for _, voucher in self.vouchers.values():
            if isinstance(voucher, DecisionVoucher) and voucher.resolves == sale:
                return voucher.outcome
        return None

    def claims_paid(self, sale: int) -> bool:
        """Whether till or supervisor says so of a sale in doubt."""
        return any(
            isinstance(voucher, DecisionVoucher | ResolutionVoucher)
            and voucher.resolves == sale
            and voucher.outcome is Outcome.PAID
            for _, voucher in self.vouchers.values()
        )


@dataclass(frozen=True, slots=True)
class Posted:
    id: int
    kind: Kind
    debit: int
    credit: int
    amount: int
    uid: bytes
    terminal_id: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    kind: str
    subject: str
    uid: bytes | None
    terminal_id: int | None
    amount: int | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A sale in doubt as the server has it."""

    uid: bytes
    amount: int
    state: str


@dataclass(frozen=True, slots=True)
class ServerBook:
    """The central database."""

    postings: tuple[Posted, ...]
    voucher_hashes: dict[tuple[int, int], bytes]
    batches: frozenset[bytes]
    credits: dict[tuple[bytes, int], tuple[int, str, str]]
    """(card, sequence) to amount, state, reference."""
    ordered: frozenset[str]
    """The references of those that a clerk took money for; the server's own were paid before."""
    attempts: frozenset[tuple[bytes, int]]
    anomalies: tuple[Anomaly, ...]
    quarantine: dict[tuple[int, int], str]
    """(terminal, sequence) of vouchers that are kept and not believed, to the reason."""
    doubts: dict[tuple[int, int], Doubt]
    active: frozenset[bytes]
    """Cards in force."""
    safe: frozenset[bytes]
    """Lost cards whose money may be restored."""
    members: dict[bytes, int]

    awaited: frozenset[bytes]
    """Cards that name a sale which its till has not sent, or have one in doubt: both are listed for
    people (`dobmi central unreported`, `in-doubt`)."""

    def sum_of(self, uid: bytes, plus: Kind, minus: Kind | None = None) -> int:
        """What was posted of the card's of one kind, less that of another."""
        signs = {plus: 1} if minus is None else {plus: 1, minus: -1}
        return sum(signs.get(row.kind, 0) * row.amount for row in self.postings if row.uid == uid)

    def own_credits(self) -> list[int]:
        """Those that the server ordered by itself."""
        return [
            amount
            for amount, _, reference in self.credits.values()
            if reference.startswith(_OWN_REFERENCES)
        ]

    def unexplained(self, uid: bytes) -> int:
        """What is in suspense because the card's own transactions show it and no voucher does."""
        return self.sum_of(uid, Kind.UNEXPLAINED_LOSS, Kind.UNEXPLAINED_GAIN)

    def shortfall(self, uid: bytes) -> int:
        """What suspense gave the lost card, at the cooperative's expense."""
        return self.sum_of(uid, Kind.SHORTFALL, Kind.SHORTFALL_BACK)

    def held(self) -> dict[tuple[int, int], int]:
        """What is in suspense for a claim, by sale."""
        signs = {Kind.CLAIM_HELD: 1, Kind.CLAIM_RELEASED: -1}
        sums: dict[tuple[int, int], int] = {}
        for row in self.postings:
            if row.kind in signs:
                key = (row.terminal_id, row.sequence)
                sums[key] = sums.get(key, 0) + signs[row.kind] * row.amount
        return sums

    def on_card(self, uid: bytes) -> int:
        """The balance of the card's account."""
        return sum(
            row.amount
            * ((RULES[row.kind].credit is Group.CARD) - (RULES[row.kind].debit is Group.CARD))
            for row in self.postings
            if row.uid == uid
        )

    def balance(self, group: Group) -> int:
        """Credits less debits of the whole group."""
        return sum(
            row.amount * (is_of(row.credit, group) - is_of(row.debit, group))
            for row in self.postings
        )


def is_of(account: int, group: Group) -> bool:
    first, last = account_range(group)
    return first <= account <= last


def read_till(
    path: Path, terminal_id: int, public_key: bytes, parsed: dict[bytes, Voucher]
) -> TillBook:
    """`parsed`: vouchers that were verified before, by their bytes; new ones are added."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            "SELECT sequence, hash, encoded FROM vouchers ORDER BY sequence"
        ).fetchall()
        intents = database.execute(
            "SELECT sequence, card_uid, amount_rupiah FROM intents"
        ).fetchall()
    vouchers: dict[int, tuple[bytes, Voucher]] = {}
    broken = []
    previous = genesis_hash(terminal_id, public_key)
    for number, (sequence, hash_, encoded) in enumerate(rows, start=1):
        voucher = parsed.get(encoded)
        if voucher is None:
            voucher = parsed[encoded] = verify_voucher(encoded, public_key)
        link = voucher.link
        if (link.sequence, link.terminal_id) != (number, terminal_id) or sequence != number:
            broken.append(f"voucher {number} is numbered {link.sequence}")
        if link.previous_hash != previous or hashlib.sha256(encoded).digest() != hash_:
            broken.append(f"voucher {number} does not follow the one before it")
        previous = hash_
        vouchers[sequence] = (hash_, voucher)
    return TillBook(
        vouchers=vouchers,
        intents={sequence: (uid, amount) for sequence, uid, amount in intents},
        broken=tuple(broken),
    )


def read_server(path: Path) -> ServerBook:
    with closing(sqlite3.connect(path)) as database:
        ask = database.execute
        postings = ask(
            "SELECT id, kind, debit_account, credit_account, amount_rupiah, card_uid, terminal_id, "
            "sequence FROM postings ORDER BY id"
        ).fetchall()
        vouchers = ask("SELECT terminal_id, sequence, encoded FROM vouchers").fetchall()
        taken = ask("SELECT batch_hash FROM batches UNION SELECT batch_hash FROM rejected_batches")
        batches = frozenset(row[0] for row in taken)
        credit_rows = ask(
            "SELECT card_uid, sequence, amount_rupiah, state, idempotency_key, source "
            "FROM pending_credits"
        ).fetchall()
        attempts = frozenset(ask("SELECT card_uid, sequence FROM credit_attempts"))
        anomalies = ask(
            "SELECT kind, subject, card_uid, terminal_id, amount_rupiah FROM anomalies ORDER BY id"
        ).fetchall()
        doubts = ask(
            "SELECT terminal_id, sequence, card_uid, amount_rupiah, state FROM in_doubt"
        ).fetchall()
        cards = ask("SELECT uid, state, member_number FROM cards").fetchall()
        safe = ask("SELECT card_uid FROM replacements WHERE safe_at IS NOT NULL").fetchall()
        awaited = ask(
            "SELECT card_uid FROM card_transactions JOIN terminals ON id = previous_terminal_id "
            "WHERE previous_sequence > head_sequence "
            "UNION SELECT card_uid FROM in_doubt WHERE state IN ('open', 'suspended') OR "
            "(state = 'not_paid' AND settled_by IN ('resolution', 'decision', 'rule'))"
        ).fetchall()
        quarantine = dict(_quarantined(database))
    return ServerBook(
        postings=tuple(Posted(row[0], Kind(row[1]), *row[2:]) for row in postings),
        voucher_hashes={(row[0], row[1]): _hash(row[2]) for row in vouchers},
        batches=batches,
        credits={(row[0], row[1]): (row[2], row[3], row[4]) for row in credit_rows},
        ordered=frozenset(
            row[4]
            for row in credit_rows
            if row[5] in {"cash", "salary"} and not row[4].startswith(_OWN_REFERENCES)
        ),
        attempts=attempts,
        anomalies=tuple(Anomaly(*row) for row in anomalies),
        quarantine=quarantine,
        doubts={(row[0], row[1]): Doubt(*row[2:]) for row in doubts},
        active=frozenset(row[0] for row in cards if row[1] == "active"),
        safe=frozenset(row[0] for row in safe),
        members={row[0]: row[2] for row in cards},
        awaited=frozenset(row[0] for row in awaited),
    )


_OWN_REFERENCES = "dobmi:"


def _quarantined(database: sqlite3.Connection) -> Iterator[tuple[tuple[int, int], str]]:
    rows: list[Any] = database.execute(
        "SELECT terminal_id, sequence, reason FROM quarantine"
    ).fetchall()
    for terminal_id, sequence, reason in rows:
        yield (terminal_id, sequence), reason


_hashes: dict[bytes, bytes] = {}


def _hash(encoded: bytes) -> bytes:
    """SHA-256, kept: each voucher is read again at every step."""
    found = _hashes.get(encoded)
    if found is None:
        if len(_hashes) > _HASHES_MAX:
            _hashes.clear()
        found = _hashes[encoded] = hashlib.sha256(encoded).digest()
    return found


_HASHES_MAX = 10_000
