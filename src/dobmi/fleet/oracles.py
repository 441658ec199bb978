"""What must hold after every step, judged from outside: cards' memories, files on disk, what people saw.

`check` reads the tills' and the server's databases with its own SQL and compares them with the
truth of the cards and with what cashier and clerk were told. The real code is asked nothing.

Two things break a promise lawfully, and then must be *named*:

* **A till's database restored from an older backup** has forgotten its newest vouchers. Promised
  then: cards and server lose nothing; what the till no longer says is found at each card's next
  use elsewhere: listed as not sent while the till may still send it, and in suspense, to the rupiah,
  with an anomaly naming the till, once it has sent something else. No rupiah is made. The till's
  new vouchers under old numbers are refused (`CENTRAL-FORK`) and kept where the server had others.
  Not promised for that till: that a sale shown before the restore is in it, that its own words fit
  the cards, that a sale it forgot is not charged again.
* **The server's database restored from an older backup** has forgotten vouchers, credits, cards.
  Promised then: its journal balances; the tills still have what it lost and send it again; what it
  cannot get back (a credit on a card that it does not know of, a card issued since) shows as an
  anomaly or in quarantine and in suspense, to the rupiah. Not promised: that it still has every
  order and batch from after the backup.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dobmi.cardlib.purse_layout import ReaderId, RecordKind
from dobmi.central.posting_rules import RULES, Group, Kind
from dobmi.fleet.truth import TrueTransaction, Truth, memory_of
from dobmi.money import Rupiah
from dobmi.sync.voucher import (
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidVoucher,
    Voucher,
    genesis_hash,
    verify_voucher,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """An oracle's name and what it saw."""

    oracle: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A cashier's screen said "paid"."""

    terminal_id: int
    sequence: int
    uid: bytes
    amount: Rupiah
    voucher_hash: bytes
    already_paid: bool


@dataclass(slots=True)
class Order:
    """Cash that a clerk took for a card. `accepted`: the server said so; None: not known."""

    reference: str
    uid: bytes
    amount: Rupiah
    accepted: bool | None = None


@dataclass(slots=True)
class TillRecord:
    """`restored_to`: the head of the oldest backup that was put back; None: never."""

    name: str
    terminal_id: int
    public_key: bytes
    database: Path
    restored_to: int | None = None


@dataclass(slots=True)
class Witness:
    """What people and wires saw; the world writes it down as it happens."""

    truth: Truth
    tills: list[TillRecord]
    server_database: Path
    shown: list[Shown] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    batches: dict[bytes, str] = field(default_factory=dict)
    """Batches that the server answered, by hash: by whom."""
    acknowledged: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Heads that an acknowledgement spoke of, (terminal, sequence) to hash."""
    charges: list[str] = field(default_factory=list)
    """Commits that the world saw and that should not have been; see `charged-once`."""
    server_restored: bool = False
    till_restored: bool = False


@dataclass(frozen=True, slots=True)
class TillBook:
    """A till's database as it stands on disk."""

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


@dataclass(frozen=True, slots=True)
class Posted:
    id: int
    kind: Kind
    debit: str
    credit: str
    amount: int
    uid: bytes
    terminal_id: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ServerBook:
    """The central database as it stands on disk."""

    postings: tuple[Posted, ...]
    voucher_hashes: dict[tuple[int, int], bytes]
    batches: frozenset[bytes]
    credits: dict[tuple[bytes, int], tuple[int, str, str]]
    """(card, sequence) to amount, state, reference."""
    ordered: frozenset[str]
    """The references of those that a clerk took money for; a refund's was paid before."""
    attempts: frozenset[tuple[bytes, int]]
    anomalies: tuple[tuple[str, str], ...]
    quarantined: int
    doubts_open: int

    awaited: frozenset[bytes]
    """Cards that name a sale which its till has not sent, or have one in doubt: both are listed for
    people (`dobmi central unreported`, `in-doubt`)."""

    def suspense(self, uid: bytes) -> int:
        """What is in suspense for this card."""
        signs = {Kind.UNEXPLAINED_LOSS: 1, Kind.UNEXPLAINED_GAIN: -1}
        return sum(signs.get(row.kind, 0) * row.amount for row in self.postings if row.uid == uid)

    def balance(self, group: Group, owner: str | None = None) -> int:
        """Credits less debits; of one account, or of the whole group."""
        name = group.value if owner is None else f"{group.value}:{owner}"
        total = 0
        for row in self.postings:
            total += row.amount * (_is(row.credit, name) - _is(row.debit, name))
        return total


def _is(account: str, name: str) -> bool:
    return account == name or account.startswith(f"{name}:")


class Oracles:
    """Keeps what was seen before, so that a later step cannot unsay it."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._parsed: dict[bytes, Voucher] = {}
        self._seen: dict[tuple[int, int], bytes] = {}
        self._old_postings: dict[int, Posted] = {}
        self.tills: dict[int, TillBook] = {}
        self.server: ServerBook = read_server(witness.server_database)

    def check(
        self, changed: Collection[int] | None = None, *, server_changed: bool = True
    ) -> list[Finding]:
        """All that is wrong now. `changed`: the tills whose files may differ; None: all."""
        for till in self._witness.tills:
            if changed is None or till.terminal_id in changed or till.terminal_id not in self.tills:
                self.tills[till.terminal_id] = self._read_till(till)
        if server_changed:
            self.server = read_server(self._witness.server_database)
        found = []
        for name, oracle in self._all().items():
            found += [Finding(name, text) for text in oracle()]
        return found

    def forget_till(self, terminal_id: int, head: int) -> None:
        """It was restored to this head: what it says from here on is new."""
        for key in [key for key in self._seen if key[0] == terminal_id and key[1] > head]:
            del self._seen[key]

    def forget_server(self) -> None:
        """It was restored: its journal is an older one."""
        self._old_postings.clear()

    def _all(self) -> dict[str, Callable[[], Iterator[str]]]:
        return {
            "money-conserved": self._money_conserved,
            "shown-paid-is-kept": self._shown_paid_is_kept,
            "charged-once": self._charged_once,
            "card-follows-vouchers": self._card_follows_vouchers,
            "credit-once": self._credit_once,
            "chain-unbroken": self._chain_unbroken,
            "ledger-true": self._ledger_true,
            "nothing-dropped": self._nothing_dropped,
            "no-false-alarm": self._no_false_alarm,
        }

    def _money_conserved(self) -> Iterator[str]:
        """Cards hold what they were credited less what they spent; issued is what was ordered."""
        truth = self._witness.truth
        sums: Counter[bytes] = Counter()
        for one in truth.transactions:
            sums[one.uid] += one.change.amount
        for uid, card in truth.cards.items():
            balance = memory_of(card.state).balance.amount
            if balance != sums[uid]:
                yield f"card {uid.hex()} holds {balance}, its transactions come to {sums[uid]}"
        by_reference = {
            reference: amount
            for amount, _, reference in self.server.credits.values()
            if reference in self.server.ordered
        }
        issued = -sum(self.server.balance(group) for group in (Group.CASH, Group.SALARY))
        if issued != sum(by_reference.values()):
            yield f"issued are {issued}, the credits on record come to {sum(by_reference.values())}"
        for order in self._witness.orders.values():
            amount = by_reference.pop(order.reference, None)
            if amount is None and order.accepted and not self._witness.server_restored:
                yield f"order {order.reference} was accepted and is gone"
            if amount is not None and amount != order.amount.amount:
                yield f"order {order.reference} over {order.amount} became {amount}"
        for reference in by_reference:
            yield f"nobody gave the order {reference}"

    def _shown_paid_is_kept(self) -> Iterator[str]:
        for shown in self._witness.shown:
            till, book = self._till(shown.terminal_id), self.tills[shown.terminal_id]
            where = f"{till.name}'s sale {shown.sequence} over {shown.amount}, shown as paid,"
            true = self._witness.truth.of(
                ReaderId(terminal_id=shown.terminal_id, sequence=shown.sequence), shown.uid
            )
            if not any(one.amount == shown.amount for one in true):
                yield f"{where} was not paid by the card"
            if _was_lost(till, shown.sequence):
                continue
            if till.restored_to is not None and _is_in_doubt(book, shown.sequence):
                continue  # what answered for it is lost; the card still does
            if shown.voucher_hash not in {hash_ for hash_, _ in book.vouchers.values()}:
                yield f"{where} is not in the till"

    def _charged_once(self) -> Iterator[str]:
        yield from self._witness.charges
        counts = Counter(
            (one.uid, one.reader_id)
            for one in self._witness.truth.transactions
            if one.kind is RecordKind.SALE
        )
        for (uid, reader), count in counts.items():
            till = self._till(reader.terminal_id)
            if count > 1 and till.restored_to is None:
                yield f"card {uid.hex()} paid sale {reader} {count} times"

    def _card_follows_vouchers(self) -> Iterator[str]:
        """Each true sale has its intent, and nothing the till says contradicts a card."""
        yield from self._witness.truth.oddities
        for till in self._witness.tills:
            book = self.tills[till.terminal_id]
            true = {
                one.reader_id.sequence: one
                for one in self._witness.truth.transactions
                if one.reader_id.terminal_id == till.terminal_id
                and one.kind is RecordKind.SALE
                and not _was_lost(till, one.reader_id.sequence)
            }
            for sequence, one in true.items():
                if book.intents.get(sequence) != (one.uid, one.amount.amount):
                    yield f"{till.name} has no intent for sale {sequence}, which the card paid"
            for sequence, (_, voucher) in book.vouchers.items():
                yield from self._contradictions(till, book, sequence, voucher, true)

    def _contradictions(
        self,
        till: TillRecord,
        book: TillBook,
        sequence: int,
        voucher: Voucher,
        true: dict[int, TrueTransaction],
    ) -> Iterator[str]:
        match voucher:
            case SaleVoucher():
                number, says_paid = sequence, True
            case VoidVoucher():
                number, says_paid = sequence, False
            case ResolutionVoucher():
                number, says_paid = voucher.resolves, voucher.outcome is Outcome.PAID
            case _:
                return
        if _was_lost(till, number) or number not in book.intents:
            return
        if says_paid != (number in true):
            word = "paid" if says_paid else "not paid"
            yield f"{till.name} says of sale {number}: {word}, the card knows otherwise"

    def _credit_once(self) -> Iterator[str]:
        applied: dict[tuple[bytes, int], int] = {}
        for one in self._witness.truth.transactions:
            if one.kind is not RecordKind.CREDIT:
                continue
            key = (one.uid, one.reader_id.sequence)
            if key in applied:
                yield f"credit {key[1]} is on card {key[0].hex()} twice"
            applied[key] = one.amount.amount
            known = self.server.credits.get(key)
            if known is None:
                if not self._witness.server_restored:
                    yield f"card {key[0].hex()} has credit {key[1]} that nobody ordered"
            elif known[0] != one.amount.amount and not self._witness.server_restored:
                yield f"credit {key[1]} on card {key[0].hex()} is {one.amount}, not {known[0]}"
            elif key not in self.server.attempts and not self._witness.server_restored:
                yield f"credit {key[1]} reached card {key[0].hex()} before its evidence was kept"
        for key, (_, state, _) in self.server.credits.items():
            if state == "delivered" and key not in applied:
                yield f"credit {key[1]} of card {key[0].hex()} is called delivered and is not on it"

    def _chain_unbroken(self) -> Iterator[str]:
        for till in self._witness.tills:
            book = self.tills[till.terminal_id]
            for text in book.broken:
                yield f"{till.name}: {text}"
            for sequence, (hash_, _) in book.vouchers.items():
                if self._seen.setdefault((till.terminal_id, sequence), hash_) != hash_:
                    yield f"{till.name}: voucher {sequence} is another one than before"

    def _ledger_true(self) -> Iterator[str]:
        """Debits equal credits, nothing once posted changes, and each posting really happened."""
        yield from self._journal_stands()
        true_sales = Counter(
            (one.uid, one.reader_id.terminal_id, one.reader_id.sequence, one.amount.amount)
            for one in self._witness.truth.transactions
            if one.kind is RecordKind.SALE
        )
        true_credits = Counter(
            (one.uid, one.reader_id.sequence, one.amount.amount)
            for one in self._witness.truth.transactions
            if one.kind is RecordKind.CREDIT
        )
        for row in self.server.postings:
            rule = RULES[row.kind]
            if not (_is(row.debit, rule.debit.value) and _is(row.credit, rule.credit.value)):
                yield f"posting {row.id}, {row.kind}, is between {row.debit} and {row.credit}"
            if row.kind is Kind.SALE:
                key = (row.uid, row.terminal_id, row.sequence, row.amount)
                true_sales[key] -= 1
                if true_sales[key] < 0:
                    yield (
                        f"posting {row.id}: sale {row.terminal_id}/{row.sequence} over "
                        f"{row.amount} was not paid by card {row.uid.hex()}, or is posted twice"
                    )
            if row.kind is Kind.REFUND:
                yield from self._refund_is_true(row)
            if row.kind is Kind.DELIVERED:
                true_credits[row.uid, row.sequence, row.amount] -= 1
                if true_credits[row.uid, row.sequence, row.amount] < 0:
                    yield f"posting {row.id}: credit {row.sequence} is not on card {row.uid.hex()}"

    def _journal_stands(self) -> Iterator[str]:
        groups = {group: self.server.balance(group) for group in Group}
        if sum(groups.values()) != 0:
            yield f"debits and credits differ by {sum(groups.values())}"
        rows = {row.id: row for row in self.server.postings}
        for id_, row in self._old_postings.items():
            if rows.get(id_) != row:
                yield f"posting {id_} is not what it was"
        self._old_postings = rows

    def _refund_is_true(self, row: Posted) -> Iterator[str]:
        """Its till gave so much back, of a sale that the card paid, and not more than was paid."""
        till, book = self._till(row.terminal_id), self.tills[row.terminal_id]
        if _was_lost(till, row.sequence):
            return
        given = book.refunds()
        voucher = given.get(row.sequence)
        if voucher is None or (voucher.amount.amount, voucher.card_uid) != (row.amount, row.uid):
            yield f"posting {row.id}: {till.name} gave no {row.amount} back in {row.sequence}"
            return
        reader = ReaderId(terminal_id=row.terminal_id, sequence=voucher.refunds)
        paid = sum(one.amount.amount for one in self._witness.truth.of(reader, row.uid))
        back = sum(one.amount.amount for one in given.values() if one.refunds == voucher.refunds)
        if back > paid:
            yield f"posting {row.id}: of sale {reader} over {paid}, {back} were given back"

    def _nothing_dropped(self) -> Iterator[str]:
        if self._witness.server_restored:
            return
        for hash_, sender in self._witness.batches.items():
            if hash_ not in self.server.batches:
                yield f"a batch of {sender} was answered and is neither taken nor kept"
        for (terminal_id, sequence), hash_ in self._witness.acknowledged.items():
            if self.server.voucher_hashes.get((terminal_id, sequence)) != hash_:
                yield f"voucher {terminal_id}/{sequence} was acknowledged and is not there"

    def _no_false_alarm(self) -> Iterator[str]:
        """Without clones and old backups everybody is honest: nothing may look as if not."""
        if self._witness.server_restored or self._witness.till_restored:
            return
        if suspense := self.server.balance(Group.SUSPENSE):
            yield f"{suspense} are in suspense"
        if self.server.quarantined:
            yield f"{self.server.quarantined} vouchers of honest tills are in quarantine"
        for kind, subject in self.server.anomalies:
            if kind not in _LAWFUL_ANOMALIES:
                yield f"anomaly {kind} for {subject}"

    def settled(self) -> Iterator[Finding]:
        """When every card was used once more, and every till has reported: the books agree."""
        if all(till.restored_to is not None for till in self._witness.tills):
            return  # nobody is left whose word on the cards' last sales the server takes
        for text in (
            *self._accounts_as_cards(),
            *self._suspense_is_named(),
            *self._refunds_are_posted(),
        ):
            yield Finding("books-agree", text)

    def _accounts_as_cards(self) -> Iterator[str]:
        """A difference is on the list of sales that a till has not sent, and comes from nothing else."""
        witness, server = self._witness, self.server
        lost = self._not_posted()
        for uid, card in witness.truth.cards.items():
            balance = memory_of(card.state).balance.amount
            booked = server.balance(Group.CARD, uid.hex())
            awaited, suspense = booked - balance, server.suspense(uid)
            if awaited and not (witness.till_restored and uid in server.awaited):
                if not (witness.server_restored and self._is_unknown(uid)):
                    yield f"card {uid.hex()} holds {balance}, its account {booked}"
            elif lost[uid] != awaited + suspense and not witness.server_restored:
                yield (
                    f"card {uid.hex()}: {lost[uid]} are sold and not posted; {awaited} are awaited "
                    f"and {suspense} in suspense"
                )

    def _not_posted(self) -> Counter[bytes]:
        """Rupiah by card that cards paid and no posting knows as a sale."""
        lost: Counter[bytes] = Counter()
        for one in self._witness.truth.transactions:
            if one.kind is RecordKind.SALE:
                lost[one.uid] += one.amount.amount
        for row in self.server.postings:
            if row.kind is Kind.SALE:
                lost[row.uid] -= row.amount
        return lost

    def _refunds_are_posted(self) -> Iterator[str]:
        if self._witness.till_restored or self._witness.server_restored:
            return
        posted = {
            (row.terminal_id, row.sequence)
            for row in self.server.postings
            if row.kind is Kind.REFUND
        }
        for terminal_id, book in self.tills.items():
            for sequence in book.refunds():
                if (terminal_id, sequence) not in posted:
                    yield f"refund {terminal_id}/{sequence} never became a credit"

    def _suspense_is_named(self) -> Iterator[str]:
        server, witness = self.server, self._witness
        if server.balance(Group.SUSPENSE) and not server.anomalies:
            yield "money is in suspense and no anomaly says why"
        if server.doubts_open and not (witness.server_restored or witness.till_restored):
            yield f"{server.doubts_open} sales are still in doubt"

    def _is_unknown(self, uid: bytes) -> bool:
        return not any(row.uid == uid for row in self.server.postings)

    def _till(self, terminal_id: int) -> TillRecord:
        return next(till for till in self._witness.tills if till.terminal_id == terminal_id)

    def _read_till(self, till: TillRecord) -> TillBook:
        with closing(sqlite3.connect(till.database)) as database:
            rows = database.execute(
                "SELECT sequence, hash, encoded FROM vouchers ORDER BY sequence"
            ).fetchall()
            intents = database.execute(
                "SELECT sequence, card_uid, amount_rupiah FROM intents"
            ).fetchall()
        vouchers: dict[int, tuple[bytes, Voucher]] = {}
        broken = []
        previous = genesis_hash(till.terminal_id, till.public_key)
        for number, (sequence, hash_, encoded) in enumerate(rows, start=1):
            voucher = self._parsed.get(encoded)
            if voucher is None:
                voucher = self._parsed[encoded] = verify_voucher(encoded, till.public_key)
            link = voucher.link
            if (link.sequence, link.terminal_id) != (
                number,
                till.terminal_id,
            ) or sequence != number:
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


_LAWFUL_ANOMALIES = frozenset({"sale-with-blocked-card"})
"""A till that has not heard of a block sells; that is said, not prevented."""


def _was_lost(till: TillRecord, sequence: int) -> bool:
    return till.restored_to is not None and sequence > till.restored_to


def _is_in_doubt(book: TillBook, sequence: int) -> bool:
    _, voucher = book.vouchers.get(sequence, (b"", None))
    return isinstance(voucher, InDoubtVoucher)


def read_server(path: Path) -> ServerBook:
    with closing(sqlite3.connect(path)) as database:
        ask = database.execute
        postings = ask(
            "SELECT id, kind, debit_account, credit_account, amount_rupiah, card_uid, terminal_id, "
            "sequence FROM postings ORDER BY id"
        ).fetchall()
        vouchers = ask("SELECT terminal_id, sequence, hash, status FROM vouchers").fetchall()
        taken = ask("SELECT batch_hash FROM batches UNION SELECT batch_hash FROM rejected_batches")
        batches = frozenset(row[0] for row in taken)
        credit_rows = ask(
            "SELECT card_uid, sequence, amount_rupiah, state, idempotency_key, source "
            "FROM pending_credits"
        ).fetchall()
        attempts = frozenset(ask("SELECT card_uid, sequence FROM credit_attempts"))
        anomalies = tuple(ask("SELECT kind, subject FROM anomalies ORDER BY id"))
        (doubts_open,) = ask("SELECT count(*) FROM in_doubt WHERE state = 'open'").fetchone()
        awaited = ask(
            "SELECT card_uid FROM card_transactions JOIN terminals ON id = previous_terminal_id "
            "WHERE previous_sequence > head_sequence "
            "UNION SELECT card_uid FROM in_doubt WHERE state = 'open'"
        ).fetchall()
    return ServerBook(
        postings=tuple(Posted(row[0], Kind(row[1]), *row[2:]) for row in postings),
        voucher_hashes={(row[0], row[1]): row[2] for row in vouchers},
        batches=batches,
        credits={(row[0], row[1]): (row[2], row[3], row[4]) for row in credit_rows},
        ordered=frozenset(row[4] for row in credit_rows if row[5] in {"cash", "salary"}),
        attempts=attempts,
        anomalies=anomalies,
        quarantined=sum(row[3] == "quarantined" for row in vouchers),
        doubts_open=doubts_open,
        awaited=frozenset(row[0] for row in awaited),
    )
