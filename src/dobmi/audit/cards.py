"""One card: its transactions by the evidence, its doubts and credits, and the postings that follow.

What ought to be is worked out from the vouchers and the credits sent; then the rows and the journal
are compared with that. A row that differs is reported once: what follows is worked out from what the
card vouches for, not from the row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.cmac import CMAC

from dobmi.audit import formats
from dobmi.audit.books import (
    FROM_WALLET,
    Book,
    Credit,
    Doubt,
    Posting,
    Surroundings,
    Transaction,
    read_books,
)
from dobmi.audit.card_proof import (
    CENTRAL,
    EMPTYING,
    FOREIGN,
    Evidence,
    Reader,
    parse_credit,
    parse_sale,
    place,
    previous,
    vouches,
)
from dobmi.audit.findings import (
    Finding,
    account_of,
    account_words,
    card_name,
    finding,
    voucher_name,
)
from dobmi.audit.formats import Malformed, Voucher, parse_voucher
from dobmi.audit.rules import Severity
from dobmi.audit.source import Source, Values
from dobmi.audit.staff import approved_restitution
from dobmi.audit.tills import Keys, Word
from dobmi.central.posting_rules import RULES, Group, Kind
from dobmi.i18n import N_

SALE, CREDIT, EMPTIED = 1, 2, 3
_AHEAD: Final = 64
"""How many transactions a card may be ahead of what is on record, for an intent to be placed."""
_WITHOUT_THE_CARD = frozenset(("resolution", "decision", "rule"))
_SETTLED_BY = {
    "card": "card", "card-mac": "resolution", "till": "resolution", "decided": "decision",
    "no-word": "rule", "claimed-paid": "rule", "unexplained": "card", "claim": "",
}  # fmt: skip
"""Rules of docs/formats/feed.md by who settled."""
_ORDERS = frozenset(
    (Kind.TOP_UP.value, Kind.SALARY.value, Kind.LOADED.value, Kind.RESTITUTION.value)
)
"""Kinds of postings that order a credit, and name it."""
RESTITUTION: Final = "dobmi:restitution:"
"""What the keys of credits begin with that two people agreed on."""
_SECONDS_PER_DAY: Final = 86_400
_WIB_SECONDS: Final = 7 * 3600


@dataclass(slots=True)
class CardResult:
    uid: bytes
    findings: list[Finding] = field(default_factory=list)
    counter: int = 0
    balance: int = 0
    credits: int = 0
    digest: str = ""
    transactions: int = 0
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Postings of the card by kind: how many, how much."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier audit saw of a card."""

    counter: int
    balance: int
    credits: int
    digest: str
    identity: tuple[int, ...] = ()
    """Serial, member and version of the transaction MAC key."""


def audit_cards(
    source: Source,
    uids: Sequence[bytes],
    around: Surroundings,
    keys: Keys,
    *,
    words: Mapping[bytes, Sequence[Word]],
    unrecorded: Mapping[bytes, Sequence[Reader]],
    known: Mapping[bytes, Known],
) -> list[CardResult]:
    """Audit these cards; `words` and `unrecorded` are what their tills' audit found of them."""
    books = read_books(source, uids)
    results = []
    changed = []
    for uid in uids:
        book = books[uid]
        seen = known.get(uid)
        digest = book.digest(around) if book.is_plain() else ""
        if seen is not None and digest and seen.digest == digest and uid not in unrecorded:
            results.append(_unchanged(book, seen, digest))
        else:
            changed.append((book, digest))
    vouchers = _vouchers(source, [book for book, _ in changed], words, unrecorded)
    for book, digest in changed:
        audit = _Card(
            source,
            book,
            around,
            keys,
            vouchers=vouchers,
            words=words.get(book.uid, ()),
            unrecorded=unrecorded.get(book.uid, ()),
        )
        result = audit.run()
        seen = known.get(book.uid)
        if seen is not None:
            audit.compare_with(seen)
        result.digest = digest if not result.findings else ""
        results.append(result)
    return results


def _unchanged(book: Book, seen: Known, digest: str) -> CardResult:
    return CardResult(
        book.uid,
        counter=seen.counter,
        balance=seen.balance,
        credits=seen.credits,
        digest=digest,
        transactions=len(book.transactions),
        totals=book.totals(),
    )


Vouchers = Mapping[Reader, tuple[Voucher, int, bool]]
"""By till and sequence: the voucher, when it was received, whether it is believed."""


def _vouchers(
    source: Source,
    books: Sequence[Book],
    words: Mapping[bytes, Sequence[Word]],
    unrecorded: Mapping[bytes, Sequence[Reader]],
) -> Vouchers:
    """The vouchers that these cards' rows rest on."""
    wanted: dict[int, set[int]] = defaultdict(set)
    for book in books:
        readers = {one.reader for one in book.transactions}
        readers |= {one.reader for one in book.postings if one.kind == Kind.SALE.value}
        readers |= {one.reader for one in book.doubts}
        readers |= {one.reader for one in book.refunds}
        readers |= set(unrecorded.get(book.uid, ()))
        readers |= {(word.terminal_id, word.sequence) for word in words.get(book.uid, ())}
        for terminal_id, sequence in readers:
            if terminal_id != CENTRAL:
                wanted[terminal_id].add(sequence)
    found: dict[Reader, tuple[Voucher, int, bool]] = {}
    for terminal_id, numbers in wanted.items():
        listed = sorted(numbers)
        withheld = {
            row[0]
            for row in source.of(
                "SELECT sequence FROM quarantine WHERE terminal_id = :till AND sequence IN :keys",
                listed,
                till=terminal_id,
            )
        }
        for sequence, received_at, encoded in source.of(
            "SELECT sequence, received_at, encoded FROM vouchers"
            " WHERE terminal_id = :till AND sequence IN :keys ORDER BY received_at DESC",
            listed,
            till=terminal_id,
        ):  # of two under one number the first that came
            try:
                voucher = parse_voucher(encoded, was_read=True)
            except Malformed:
                continue  # said of the voucher
            if (voucher.terminal_id, voucher.sequence) == (terminal_id, sequence):
                believed = sequence not in withheld
                found[terminal_id, sequence] = (voucher, received_at, believed)
    return found


@dataclass(slots=True)
class _Attempt:
    """A sale or credit that may be on the card."""

    reader: Reader
    counter: int | None
    previous: Reader | None
    before: int
    after: int


@dataclass(slots=True)
class _Gap:
    """A difference between what the card had and what it has: `lost`, before transaction `next`."""

    first: int
    next: int
    lost: int
    readers: tuple[Reader, ...]
    is_concluded: bool


class _Card:
    """One card, one look."""

    def __init__(
        self,
        source: Source,
        book: Book,
        around: Surroundings,
        keys: Keys,
        *,
        vouchers: Vouchers,
        words: Sequence[Word],
        unrecorded: Sequence[Reader],
    ) -> None:
        self.source, self.book, self.around, self.keys = source, book, around, keys
        self.vouchers, self.words, self.unrecorded = vouchers, words, unrecorded
        self.uid = book.uid
        self.name = card_name(book.uid)
        self.cmac: CMAC | None = keys.mac.of_card(book.uid, book.mac_version)
        self.result = CardResult(book.uid, transactions=len(book.transactions))
        self.true: dict[int, Transaction] = {}
        self.copied: dict[Reader, Transaction] = {}
        """Credits that the card vouches for, under a number that another transaction has: of a copy."""
        self.explained_rupiah = 0
        """By how much findings about postings say that the card's account is off."""

    def run(self) -> CardResult:
        self._transactions()
        self._credits()
        self._doubts()
        self._refunds()
        self._postings()
        self._lost_card()
        self._state()
        newest = max(self.true, default=0)
        self.result.counter = newest
        self.result.balance = self.true[newest].after if newest else 0
        self.result.credits = len(self.book.credits)
        self.result.totals = self.book.totals()
        self._balance()
        return self.result

    def compare_with(self, seen: Known) -> None:
        """What an earlier audit saw does not get less."""
        fewer = self.result.credits < seen.credits and not self.missing_credits
        if self.result.counter < seen.counter or fewer:
            self._say(
                "SINCE",
                self.name,
                N_("The last audit saw transaction {counter} and {credits} credits."),
                counter=seen.counter,
                credits=seen.credits,
            )

    def _say(
        self, rule: str, row: str, message: str, amount: int | None = None, /, **facts: str | int
    ) -> None:
        self.result.findings.append(finding(rule, row, message, amount, **facts))

    def _has(self, rule: str, row: str) -> bool:
        return any(one.rule == rule and one.row == row for one in self.result.findings)

    def _transaction_name(self, counter: int) -> str:
        return f"{self.name} transaction {counter}"

    def _credit_name(self, sequence: int) -> str:
        return f"{self.name} credit {sequence}"

    # Transactions

    def _transactions(self) -> None:
        on_record = set()
        for row in self.book.transactions:
            on_record.add(row.reader)
            true = self._truth_of(row.reader, row)
            if true is None:
                self._say(
                    "TRANSACTION-SOURCE",
                    self._transaction_name(row.counter),
                    N_("It is on record as {reader}, and nothing believed vouches for it."),
                    row.amount,
                    reader=_text(row.reader),
                )
                if (CENTRAL, row.reader[1]) == row.reader and self._is_delivered(row):
                    self.true[row.counter] = row  # what was sent is gone, not the credit
                continue
            self._compare(row, true)
            self.true[true.counter] = true
        sold = {one.reader for one in self.book.postings if one.kind == Kind.SALE.value}
        paid = {
            doubt.reader
            for doubt in self.book.doubts
            if doubt.state == "paid" and self._last_state(doubt) == "paid"
        }
        for reader in sorted((sold | paid | set(self.unrecorded)) - on_record):
            self._missing(reader, is_paid=reader in paid)
        for credit in self.book.credits:
            reader = (CENTRAL, credit.sequence)
            if (
                credit.counter is not None
                and credit.state == "delivered"
                and reader not in on_record
            ):
                self._missing(reader, is_paid=True)
        ended = self.book.retirement
        if ended is not None and ended[1] == "emptied" and EMPTYING not in on_record:
            self._missing(EMPTYING, is_paid=True)
        self._names()

    def _is_delivered(self, row: Transaction) -> bool:
        return any(
            (one.sequence, one.counter, one.state) == (row.reader[1], row.counter, "delivered")
            for one in self.book.credits
        )

    def _compare(self, row: Transaction, true: Transaction) -> None:
        at = row.at if true.at is None else true.at
        if row == true._replace(at=at):
            return
        differing = [
            name
            for name, kept, vouched in zip(row._fields, row, true._replace(at=at), strict=True)
            if kept != vouched
        ]
        self._say(
            "TRANSACTION",
            self._transaction_name(row.counter),
            N_("{fields}: on record otherwise than the card and the voucher {reader} say."),
            abs(row.amount - true.amount) or true.amount,
            fields=", ".join(differing),
            reader=_text(true.reader),
        )

    def _missing(self, reader: Reader, *, is_paid: bool) -> None:
        """A believed sale or credit that is not on record, if it is one."""
        true = self._truth_of(reader, None)
        if true is None:
            return
        kept = self.vouchers.get(reader)
        if kept is not None and kept[0].kind == formats.IN_DOUBT and not is_paid:
            return
        taken = {one.counter for one in self.book.transactions}
        if reader[0] == CENTRAL and true.counter in taken:
            self.copied[reader] = true
            return
        self._say(
            "TRANSACTION-MISSING",
            self._transaction_name(true.counter),
            N_("{reader} was believed, and the card's transaction is not on record."),
            true.amount,
            reader=_text(reader),
        )
        self.true.setdefault(true.counter, true)

    def _truth_of(self, reader: Reader, row: Transaction | None) -> Transaction | None:
        """What the card vouches for of this transaction; None if nothing believed says that it was.

        `row` where it is on record: it is believed if only its voucher cannot be read any more,
        which is said of the voucher.
        """
        if reader[0] == CENTRAL:
            is_end = reader == EMPTYING
            return self._emptied_truth(row) if is_end else self._credit_truth(reader[1], row)
        kept = self.vouchers.get(reader)
        if kept is None:
            terminal = self.around.terminals.get(reader[0])
            reported = terminal is not None and 0 < reader[1] <= terminal.head
            return row if reported else None
        voucher, _, believed = kept
        if not believed or voucher.uid != self.uid:
            return None
        if voucher.kind == formats.SALE:
            return self._sale_truth(voucher, voucher.counter, voucher.at, row, verified=True)
        if voucher.kind != formats.IN_DOUBT:
            return None
        return self._paid_doubt_truth(voucher, row)

    def _paid_doubt_truth(self, voucher: Voucher, row: Transaction | None) -> Transaction | None:
        for word in self.words:
            told = self.vouchers.get((word.terminal_id, word.sequence))
            if (word.terminal_id, word.doubt) != (
                voucher.terminal_id,
                voucher.sequence,
            ) or not told:
                continue
            if told[0].kind == formats.RESOLUTION and told[0].counter is not None:
                # Settled by its neighbours before the MAC came: then the time is of that.
                at = None
                return self._sale_truth(voucher, told[0].counter, at, row, verified=True)
        counter = None if row is None else row.counter
        try:
            encrypted = parse_sale(voucher.evidence).encrypted
        except Malformed:
            return None
        if self.cmac is not None:
            last = max([one.counter for one in self.book.transactions], default=0) + _AHEAD
            placed = place(self.cmac, self.uid, encrypted, last)
            counter = None if placed is None else placed[0]
        return self._sale_truth(voucher, counter, None, row, verified=False)

    def _sale_truth(
        self,
        voucher: Voucher,
        counter: int | None,
        at: int | None,
        row: Transaction | None,
        *,
        verified: bool,
    ) -> Transaction | None:
        try:
            evidence = parse_sale(voucher.evidence)
        except Malformed:
            return None
        if counter is None:
            return None
        before = self._previous(evidence, counter, row)
        return _transaction(SALE, counter, evidence, before, verified=verified, at=at)

    def _previous(self, evidence: Evidence, counter: int, row: Transaction | None) -> Reader | None:
        if self.cmac is None:
            return None if row is None else row.previous
        return previous(self.cmac, self.uid, counter, evidence.encrypted)

    def _emptied_truth(self, row: Transaction | None) -> Transaction | None:
        """What took the last off a card that ended, if what was sent for it is the card's."""
        ended = self.book.retirement
        if ended is None or ended[1] != "emptied" or ended[2] == 0:
            return None
        _, _, _, counter, mac = ended
        for encoded in self.book.emptying:
            try:
                evidence = parse_sale(encoded, EMPTIED)
            except Malformed:
                continue
            placed, verified = counter, mac is not None
            if self.cmac is not None and mac is not None and counter is not None:
                if not vouches(self.cmac, self.uid, counter, mac, encoded):
                    continue
            elif self.cmac is not None:
                last = max([one.counter for one in self.book.transactions], default=0) + _AHEAD
                found = place(self.cmac, self.uid, evidence.encrypted, last)
                placed = None if found is None else found[0]
            if placed is None or evidence.reader != EMPTYING:
                continue
            before = self._previous(evidence, placed, row)
            return _transaction(EMPTIED, placed, evidence, before, verified=verified)
        return None

    def _credit_truth(self, sequence: int, row: Transaction | None) -> Transaction | None:
        credit = next((one for one in self.book.credits if one.sequence == sequence), None)
        by_hand = self.book.by_hand.get(sequence)
        for evidence_bytes in self.book.attempts.get(sequence, ()):
            try:
                evidence = parse_credit(evidence_bytes)
            except Malformed:
                continue
            if evidence.reader != (CENTRAL, sequence):
                continue
            counter, verified = self._place_credit(credit, evidence_bytes, evidence, row)
            if counter is not None:
                before = self._previous(evidence, counter, row)
                return _transaction(CREDIT, counter, evidence, before, verified=verified)
            if by_hand is not None:
                before = row.previous if row is not None else None
                return _transaction(CREDIT, by_hand[2], evidence, before, verified=False)
        return None

    def _place_credit(
        self, credit: Credit | None, encoded: bytes, evidence: Evidence, row: Transaction | None
    ) -> tuple[int | None, bool]:
        """The number of the transaction that this attempt was, and whether its MAC is kept."""
        if self.cmac is None:
            counter = None if row is None else row.counter
            return counter, credit is not None and credit.mac is not None
        if (
            credit is not None
            and credit.mac is not None
            and credit.counter is not None
            and vouches(self.cmac, self.uid, credit.counter, credit.mac, encoded)
        ):
            return credit.counter, True
        last = max([one.counter for one in self.book.transactions], default=0) + _AHEAD
        placed = place(self.cmac, self.uid, evidence.encrypted, last)
        # A MAC that is wrong, or a credit that is gone, is said of the credit.
        told = credit is None or credit.mac is not None
        verified = told and row is not None and row.verified
        return (None if placed is None else placed[0]), verified

    # What is unexplained between them

    def _names(self) -> None:
        """Notes of names: what a card names and what is not on record right before it."""
        for reader, counter in sorted(self.book.named):
            true = self.true.get(counter)
            if true is not None and true.previous != reader:
                self._say(
                    "NAMED-BEFORE",
                    self._transaction_name(counter),
                    N_("{reader} is noted as named before it; the card names {named}."),
                    reader=_text(reader),
                    named=_text(true.previous),
                )
        on_record = {one.counter: one for one in self.book.transactions}
        for counter, true in self.true.items():
            if true.previous is None or counter - 1 in self.true or counter not in on_record:
                continue
            if true.previous[0] in (CENTRAL, FOREIGN[0]):
                continue
            if (true.previous, counter) not in self.book.named:
                self._say(
                    "NAMED-BEFORE",
                    self._transaction_name(counter),
                    N_("The card names {named} before it; that is not on record, and not noted."),
                    named=_text(true.previous),
                )

    def _attempts(self) -> list[_Attempt]:
        """Sales in doubt and credits in doubt that the card may still speak of."""
        attempts = []
        newest = max(self.true, default=0)
        for doubt in self.book.doubts:
            undecided = doubt.state in ("open", "suspended") or (
                doubt.state == "not_paid" and doubt.settled_by in _WITHOUT_THE_CARD
            )
            evidence = self._doubt_evidence(doubt)
            if undecided and evidence is not None:
                attempts.append(self._attempt(evidence, newest, doubt.counter))
        for credit in self.book.credits:
            if credit.state not in ("in_doubt", "assumed"):
                continue
            for encoded in self.book.attempts.get(credit.sequence, ()):
                try:
                    attempts.append(self._attempt(parse_credit(encoded), newest, None))
                except Malformed:
                    continue
        return attempts

    def _attempt(self, evidence: Evidence, newest: int, noted: int | None) -> _Attempt:
        placed = None
        if self.cmac is not None:
            placed = place(self.cmac, self.uid, evidence.encrypted, newest + _AHEAD)
        counter, before = placed if placed is not None else (noted, None)
        return _Attempt(evidence.reader, counter, before, evidence.before, evidence.after)

    def _doubt_evidence(self, doubt: Doubt) -> Evidence | None:
        kept = self.vouchers.get(doubt.reader)
        try:
            return parse_sale(kept[0].evidence if kept is not None else doubt.evidence)
        except Malformed:
            return None

    def _gaps(self, attempts: Sequence[_Attempt]) -> Iterator[_Gap]:
        """Decision 10: what the card lost between its transactions, and whether that is final."""
        names = self._card_names(attempts)
        doubtful = {attempt.reader for attempt in attempts}
        before, balance = 0, 0
        for counter in sorted(self.true):
            transaction = self.true[counter]
            lost = balance - transaction.before
            if counter == before + 1:
                if lost:
                    yield _Gap(counter, counter, lost, (transaction.reader,), is_concluded=True)
            else:
                numbers = range(before + 1, counter)
                named = tuple(names[number] for number in numbers if number in names)
                waits = any(self._may_come(reader, doubtful) for reader in named)
                hopeless = any(
                    reader not in doubtful and not self._may_come(reader, doubtful)
                    for reader in named
                )
                done = not waits and (len(named) == len(numbers) or hopeless)
                yield _Gap(before + 1, counter, lost, named, is_concluded=done)
            before, balance = counter, transaction.after

    def _card_names(self, attempts: Sequence[_Attempt]) -> dict[int, Reader]:
        names: dict[int, Reader] = {}
        told = [(one.counter, one.previous) for one in self.true.values()]
        told += [(one.counter, one.previous) for one in attempts if one.counter is not None]
        for counter, reader in told:
            if reader is not None:
                names[counter - 1] = reader
        names.update((one.counter, one.reader) for one in self.true.values())
        return names

    def _may_come(self, reader: Reader, doubtful: set[Reader]) -> bool:
        """Whether the till that made it has not reported that far."""
        if reader in doubtful or reader[0] == CENTRAL:
            return False
        terminal = self.around.terminals.get(reader[0])
        return terminal is not None and terminal.head < reader[1]

    # Sales in doubt

    def _doubts(self) -> None:
        attempts = self._attempts()
        self.gaps = list(self._gaps(attempts))
        names = self._card_names(attempts)
        by_reader = {one.reader: one for one in self.true.values()}
        told: dict[Reader, list[Voucher]] = defaultdict(list)
        for word in self.words:
            kept = self.vouchers.get((word.terminal_id, word.sequence))
            if kept is not None:
                told[word.terminal_id, word.doubt].append(kept[0])
        disputed = {reader for gap in self.gaps if gap.is_concluded for reader in gap.readers}
        placed = {attempt.reader: attempt for attempt in attempts}
        for doubt in self.book.doubts:
            row = voucher_name(*doubt.reader)
            wrong = self._wrong_state(
                doubt,
                told[doubt.reader],
                placed.get(doubt.reader),
                by_reader=by_reader,
                names=names,
                disputed=disputed,
            )
            if wrong:
                self._say(
                    "DOUBT-STATE",
                    row,
                    wrong,
                    doubt.amount,
                    state=doubt.state,
                    settled_by=doubt.settled_by or "nobody",
                )
                continue
            self._check_history(doubt, row)

    def _wrong_state(  # noqa: PLR0911 - a reason a line
        self,
        doubt: Doubt,
        told: Sequence[Voucher],
        attempt: _Attempt | None,
        *,
        by_reader: Mapping[Reader, Transaction],
        names: Mapping[int, Reader],
        disputed: set[Reader],
    ) -> str:
        """Why the doubt's state does not follow from anything; empty if it does."""
        paid = doubt.reader in by_reader
        if paid != (doubt.state == "paid"):
            if paid:
                return N_("The card's transactions show that it was paid; on record: {state}.")
            return N_("It is on record as paid, and the card has no such transaction.")
        claims = any(v.outcome == formats.PAID and v.counter is None for v in told)
        if doubt.claimed and not claims:
            return N_("It is noted that somebody said PAID, and no voucher says so.")
        if doubt.state == "not_paid":
            return self._wrong_not_paid(doubt, told)
        if doubt.state == "disputed" and doubt.reader not in disputed:
            return N_("It is noted as disputed, and nothing is unexplained there.")
        if doubt.state == "suspended" and not doubt.claimed:
            return N_("It is held in suspense, and nobody said PAID.")
        counter = None if attempt is None else attempt.counter
        concluded = self.uid not in self.around.unsettled
        if counter is not None and concluded and names.get(counter, doubt.reader) != doubt.reader:
            return N_("The card made another transaction in its place; on record: {state}.")
        return ""

    def _wrong_not_paid(self, doubt: Doubt, told: Sequence[Voucher]) -> str:
        said = [v for v in told if v.outcome == formats.NOT_PAID]
        match doubt.settled_by:
            case "resolution":
                good = any(v.kind == formats.RESOLUTION for v in said)
            case "decision":
                good = any(v.kind == formats.DECISION for v in said)
            case "rule":
                good = True  # its age is in its history; the number of days is a setting
            case "card":
                good = self._is_another(doubt)
            case _:
                good = False
        return "" if good else N_("It is settled as not paid by {settled_by}, which does not hold.")

    def _is_another(self, doubt: Doubt) -> bool:
        """Whether the card made another transaction under the number that the intent was for."""
        evidence = self._doubt_evidence(doubt)
        if self.cmac is None or evidence is None:
            return True
        last = max(self.true, default=0) + _AHEAD
        placed = place(self.cmac, self.uid, evidence.encrypted, last)
        if placed is None:
            return False
        counter = placed[0]
        other = self.true.get(counter)
        after = self.true.get(counter + 1)
        if other is not None:
            return other.reader != doubt.reader
        return after is not None and after.previous != doubt.reader

    def _last_state(self, doubt: Doubt) -> str:
        """By its history."""
        history = self.book.history.get(doubt.reader)
        return history[-1][0] if history else "open"

    def _check_history(self, doubt: Doubt, row: str) -> None:
        history = self.book.history.get(doubt.reader, [])
        last_state, last_rule, _ = history[-1] if history else ("open", "claim", 0)
        if last_state != doubt.state or _SETTLED_BY.get(last_rule, "?") != doubt.settled_by:
            self._say(
                "DOUBT-HISTORY",
                row,
                N_("Its state is {state}; its history ends with {last}."),
                doubt.amount,
                state=doubt.state,
                last=last_state,
            )

    # Credits

    def _credits(self) -> None:
        numbers = [one.sequence for one in self.book.credits]
        ordered = {one.reader[1] for one in self.book.postings if one.kind in _ORDERS}
        last = max([*numbers, self.book.credits_given or 0], default=0)
        self.missing_credits = (set(range(1, last + 1)) | ordered) - set(numbers)
        for missing in sorted(self.missing_credits):
            amount = next(
                (
                    one.amount
                    for one in self.book.postings
                    if one.reader == (CENTRAL, missing) and one.kind in _ORDERS
                ),
                None,
            )
            self._say(
                "CREDIT-NUMBERS",
                self._credit_name(missing),
                N_("It was ordered, and is not there."),
                amount,
            )
        self.credit_amounts: dict[int, int] = {}
        by_reader = {one.reader: one for one in self.true.values()} | self.copied
        for credit in self.book.credits:
            true = by_reader.get((CENTRAL, credit.sequence))
            self.credit_amounts[credit.sequence] = self._check_credit(credit, true)
        for sequence, row in self.book.by_hand.items():
            true = by_reader.get((CENTRAL, sequence))
            if true is None or true.counter != row[2] or not row[3] or not row[4]:
                self._say(
                    "CREDIT-BY-HAND",
                    self._credit_name(sequence),
                    N_("It was settled by hand as transaction {counter}, which it is not."),
                    None if true is None else true.amount,
                    counter=row[2],
                )

    def _check_credit(self, credit: Credit, true: Transaction | None) -> int:
        """Its true amount: what was sent to the card, else what was ordered."""
        name = self._credit_name(credit.sequence)
        sent = [
            self._sent_amount(encoded) for encoded in self.book.attempts.get(credit.sequence, ())
        ]
        amount = true.amount if true is not None else next((s for s in sent if s), credit.amount)
        if amount != credit.amount:
            self._say(
                "CREDIT",
                name,
                N_("Ordered are {ordered} on record; sent to the card were {sent}."),
                abs(amount - credit.amount),
                ordered=credit.amount,
                sent=amount,
            )
        wrong = self._wrong_credit_state(credit, true, is_sent=bool(sent))
        if wrong:
            self._say("CREDIT", name, wrong, amount, state=credit.state)
        elif credit.key.startswith("dobmi:"):
            self._check_cause(credit, name, amount)
        return amount

    def _sent_amount(self, encoded: bytes) -> int:
        try:
            return parse_credit(encoded).amount
        except Malformed:
            return 0

    def _wrong_credit_state(  # noqa: PLR0911 - a reason a line
        self, credit: Credit, true: Transaction | None, *, is_sent: bool
    ) -> str:
        if (credit.state == "delivered") != (true is not None):
            if true is None:
                return N_("It is noted as delivered, and the card has no such transaction.")
            return N_("It is on the card; noted is: {state}.")
        if credit.state == "pending" and is_sent:
            return N_("It was sent to the card, and is noted as never sent.")
        if credit.state == "in_doubt" and not is_sent:
            return N_("It is noted as sent, and nothing that was sent is kept.")
        lost = self.book.replacement is not None and self.book.replacement[2] is not None
        if credit.state == "returned" and self.book.retirement is None:
            return N_("It is noted as returned, and the card has not ended.")
        if credit.state in ("assumed", "moved") and not lost:
            return N_("It is noted as {state}, and the card was not lost.")
        if true is not None and credit.counter is not None and credit.counter != true.counter:
            return N_("It is noted as another of the card's transactions than it is.")
        if credit.mac is not None and self.cmac is not None and is_sent:
            proved = any(
                credit.counter is not None
                and vouches(self.cmac, self.uid, credit.counter, credit.mac, encoded)
                for encoded in self.book.attempts.get(credit.sequence, ())
            )
            if not proved:
                return N_("The card's MAC that is kept does not fit what was sent.")
        return ""

    def _check_cause(self, credit: Credit, name: str, amount: int) -> None:
        """A credit of the server's own: the event that its key names."""
        what, _, rest = credit.key.removeprefix("dobmi:").partition(":")
        left, _, right = rest.partition("/")
        event: Values | None = None
        if right.isdecimal() and what == "refund" and left.isdecimal():
            event = self.source.one(
                "SELECT p.amount_rupiah, r.credit_card_uid, r.credit_sequence FROM refunds r"
                " JOIN postings p ON p.card_uid = r.card_uid AND p.kind = 'refund'"
                " AND p.terminal_id = r.terminal_id AND p.sequence = r.sequence"
                " WHERE r.terminal_id = :t AND r.sequence = :s",
                t=int(left),
                s=int(right),
            )
            if event is not None and tuple(event[1:]) != (self.uid, credit.sequence):
                event = None
        elif right.isdecimal() and what in ("moved", "restored"):
            event = self.source.one(
                "SELECT amount_rupiah FROM postings WHERE card_uid = :uid AND kind = :kind"
                " AND terminal_id = 0 AND sequence = :s",
                uid=bytes.fromhex(left),
                kind=what,
                s=int(right),
            )
        elif what == "restitution" and left.isdecimal() and not right:
            agreed = approved_restitution(self.source, int(left))
            event = None if agreed is None else (agreed,)
        else:
            return
        if event is None:
            self._say(
                "CREDIT-CAUSE", name, N_("Its cause is not there: {key}."), amount, key=credit.key
            )
        elif event[0] != amount:
            self._say(
                "CREDIT-CAUSE",
                name,
                N_("It is not of the amount of its cause: {key}."),
                abs(event[0] - amount),
                key=credit.key,
            )

    # Refunds

    def _refunds(self) -> None:
        by_reader = {one.reader: one for one in self.true.values()}
        states = {doubt.reader: doubt.state for doubt in self.book.doubts}
        for refund in self.book.refunds:
            sale = (refund.reader[0], refund.sale)
            is_posted = sale in by_reader
            wrong = ""
            if refund.state == "ordered" and not is_posted:
                wrong = N_("It was ordered, and its sale is not posted.")
            elif refund.state == "refused" and (is_posted or states.get(sale) != "not_paid"):
                wrong = N_("It was refused, and its sale was not found unpaid.")
            elif refund.state == "waiting" and not is_posted and states.get(sale) == "not_paid":
                wrong = N_("It waits, and its sale was found unpaid.")
            elif refund.state == "waiting" and is_posted and self._in_force() is not None:
                wrong = N_("It waits, and its sale is posted and the member has a card.")
            if wrong and self.uid not in self.around.unsettled:
                self._say("REFUND-STATE", voucher_name(*refund.reader), wrong, refund.amount)

    def _in_force(self) -> bytes | None:
        """The card that the member uses now."""
        if self.book.state == "active":
            return self.uid
        row = self.source.one(
            "SELECT uid FROM cards WHERE member_number = :member AND state = 'active'",
            member=self.book.row[2],
        )
        return None if row is None else row[0]

    # Postings

    def _expected(self) -> Iterator[tuple[Kind, Reader, int, int, int]]:
        """Every posting that the card's events ask for: kind, reference, debit, credit, amount."""
        for one in self.true.values():
            if one.kind == SALE:
                yield self._rule(Kind.SALE, one.reader, one.amount)
            elif one.kind == EMPTIED:
                yield self._rule(Kind.EMPTIED, one.reader, one.amount)
        for credit in self.book.credits:
            yield from self._expected_of_credit(credit)
        for refund in self.book.refunds:
            if refund.state == "ordered":
                to = self._credit_of(f"dobmi:refund:{refund.reader[0]}/{refund.reader[1]}")
                kept = self.vouchers.get(refund.reader)
                amount = refund.amount if kept is None else kept[0].amount or 0
                yield self._rule(Kind.REFUND, refund.reader, amount, to_serial=to[0])
        for doubt in self.book.doubts:
            states = ["open", *(state for state, _, _ in self.book.history.get(doubt.reader, []))]
            evidence = self._doubt_evidence(doubt)
            amount = doubt.amount if evidence is None else evidence.amount
            if "suspended" in states:
                yield self._rule(Kind.CLAIM_HELD, doubt.reader, amount)
                if states[-1] != "suspended":
                    yield self._rule(Kind.CLAIM_RELEASED, doubt.reader, amount)

    def _expected_of_credit(self, credit: Credit) -> Iterator[tuple[Kind, Reader, int, int, int]]:
        reader, amount = (CENTRAL, credit.sequence), self.credit_amounts[credit.sequence]
        if credit.key.startswith(FROM_WALLET):
            yield self._rule(Kind.LOADED, reader, amount)
        elif credit.key.startswith(RESTITUTION):
            yield self._rule(Kind.RESTITUTION, reader, amount)
        elif not credit.key.startswith("dobmi:"):
            kind = Kind.TOP_UP if credit.source == "cash" else Kind.SALARY
            yield self._rule(kind, reader, amount, station=credit.ordered_by or 0)
        on_card = reader in self.copied or any(t.reader == reader for t in self.true.values())
        if credit.state == "assumed" or on_card:
            yield self._rule(Kind.DELIVERED, reader, amount)
        if credit.state == "returned":
            yield self._rule(Kind.RETURNED, reader, amount)
        if credit.state == "moved":
            to = self._credit_of(f"dobmi:moved:{self.uid.hex()}/{credit.sequence}")
            yield self._rule(Kind.MOVED, reader, amount, to_serial=to[0])

    def _rule(
        self, kind: Kind, reader: Reader, amount: int, *, station: int = 0, to_serial: int = 0
    ) -> tuple[Kind, Reader, int, int, int]:
        rule = RULES[kind]
        to = to_serial or self.book.serial
        return (
            kind,
            reader,
            self._account(rule.debit, reader, station, self.book.serial),
            self._account(rule.credit, reader, station, to),
            amount,
        )

    def _account(  # noqa: PLR0911 - a group a line
        self, group: Group, reader: Reader, station: int, in_flight: int
    ) -> int:
        match group:
            case Group.CASH:
                return account_of(group, station)
            case Group.IN_FLIGHT:
                return account_of(group, in_flight)
            case Group.CARD:
                return account_of(group, self.book.serial)
            case Group.WALLET:
                return account_of(group, self.book.row[2])
            case Group.OUTLET:
                seller = self.around.terminals.get(reader[0])
                if seller is None:
                    return 0
                return account_of(seller.account_group, seller.account_owner)
            case _:
                return account_of(group, 0)

    def _credit_of(self, key: str) -> tuple[int, int]:
        """Serial of the card and amount of the server's own credit of that key; (0, 0) for none."""
        row = self.source.one(
            "SELECT c.serial, p.amount_rupiah FROM pending_credits p JOIN cards c"
            " ON c.uid = p.card_uid WHERE p.idempotency_key = :key",
            key=key,
        )
        return (0, 0) if row is None else (row[0], row[1])

    def _postings(self) -> None:
        left: dict[tuple[str, Reader], Posting] = {}
        for posting in self.book.postings:
            key = (posting.kind, posting.reader)
            if key in left:
                self._stray(posting, N_("It is in the journal twice."))
            else:
                left[key] = posting
        seen = set(left)
        for kind, reader, debit, credit, amount in self._expected():
            posted = left.pop((kind.value, reader), None)
            name = self._posting_name(kind.value, reader)
            if posted is None:
                self._say("POSTING-MISSING", name, N_("It is not in the journal."), amount)
                self.explained_rupiah -= self._on_card(debit, credit, amount)
                continue
            self._check_posting(posted, name, debit, credit, amount)
        self._series(left)
        for posting in left.values():
            if posting.reader[0] == CENTRAL and posting.reader[1] in self.missing_credits:
                continue  # said of the credit
            self._stray(posting, N_("Nothing on record asks for it."))
        self._keys(seen)

    def _check_posting(
        self, posted: Posting, name: str, debit: int, credit: int, amount: int
    ) -> None:
        if posted.amount != amount:
            self._say(
                "POSTING-AMOUNT",
                name,
                N_("Posted are {posted}; it should be {amount}."),
                abs(posted.amount - amount),
                posted=posted.amount,
                amount=amount,
            )
        if (posted.debit, posted.credit) != (debit, credit):
            self._say(
                "POSTING-ACCOUNTS",
                name,
                N_(
                    "Posted from {posted_debit} to {posted_credit}; it should be {debit} to {credit}."
                ),
                posted.amount,
                posted_debit=account_words(posted.debit),
                posted_credit=account_words(posted.credit),
                debit=account_words(debit),
                credit=account_words(credit),
            )
        self.explained_rupiah += self._on_card(posted.debit, posted.credit, posted.amount)
        self.explained_rupiah -= self._on_card(debit, credit, amount)
        if posted.kind == Kind.SALE.value:
            self._check_time(posted, name)

    def _check_time(self, posted: Posting, name: str) -> None:
        kept = self.vouchers.get(posted.reader)
        if kept is None or kept[0].kind != formats.SALE:
            return
        received_at = kept[1]
        if posted.at == received_at:
            return
        day, received_day = _day(posted.at), _day(received_at)
        closed = all(between in self.around.closed_days for between in range(received_day, day))
        is_first_second = (posted.at + _WIB_SECONDS) % _SECONDS_PER_DAY == 0
        if not (day > received_day and closed and is_first_second):
            self._say(
                "POSTING-TIME",
                name,
                N_("It is booked at {at}; the voucher came at {received_at}."),
                posted.amount,
                at=posted.at,
                received_at=received_at,
            )

    def _on_card(self, debit: int, credit: int, amount: int) -> int:
        """What a posting adds to the card's account."""
        own = account_of(Group.CARD, self.book.serial)
        return amount * ((credit == own) - (debit == own))

    def _stray(self, posting: Posting, message: str) -> None:
        name = self._posting_name(posting.kind, posting.reader)
        self._say("POSTING-STRAY", f"{name} #{posting.id}", message, posting.amount)
        self.explained_rupiah += self._on_card(posting.debit, posting.credit, posting.amount)

    def _posting_name(self, kind: str, reader: Reader) -> str:
        return f"{self.name} posting {kind} {_text(reader)}"

    def _series(self, left: dict[tuple[str, Reader], Posting]) -> None:
        """Postings that are numbered by the card: unexplained differences, shortfalls, restored."""
        lost = sum(gap.lost for gap in self.gaps if gap.is_concluded)
        self._net(
            left,
            Kind.UNEXPLAINED_LOSS,
            Kind.UNEXPLAINED_GAIN,
            None if self.uid in self.around.unsettled else lost,
            "SUSPENSE",
        )
        self.restored = self._restored(left)
        self.covered = self._net(left, Kind.SHORTFALL, Kind.SHORTFALL_BACK, None, "LOST-CARD")

    def _net(
        self,
        left: dict[tuple[str, Reader], Posting],
        plus: Kind,
        minus: Kind,
        expected: int | None,
        rule: str,
    ) -> int:
        """What the series of these two kinds comes to; it must be whole and come to `expected`."""
        series = {
            key[1][1]: left.pop(key)
            for key in sorted(left)
            if key[0] in (plus.value, minus.value) and key[1][0] == CENTRAL
        }
        net = sum(p.amount if p.kind == plus.value else -p.amount for p in series.values())
        gaps = set(range(1, max(series, default=0) + 1)) - set(series)
        difference = None if expected is None else net - expected
        for number in sorted(gaps):
            name = self._posting_name(plus.value, (CENTRAL, number))
            amount = abs(difference) if difference else None
            self._say("POSTING-MISSING", name, N_("It is not in the journal."), amount)
            self.explained_rupiah -= difference or 0
        if difference and not gaps:
            self._say(
                rule,
                self.name,
                N_("In suspense for it are {net}; its transactions leave {expected} unexplained."),
                abs(difference),
                net=net,
                expected=expected or 0,
            )
            self.explained_rupiah -= difference
        for posting in series.values():
            kind, reader, debit, credit, _ = self._rule(
                Kind(posting.kind), posting.reader, posting.amount
            )
            name = self._posting_name(kind.value, reader)
            self._check_posting(posting, name, debit, credit, posting.amount)
        return net

    def _restored(self, left: dict[tuple[str, Reader], Posting]) -> int:
        """What was restored of this card: each part is a credit of the member's other card."""
        series = {
            key[1][1]: left.pop(key)
            for key in sorted(left)
            if key[0] == Kind.RESTORED.value and key[1][0] == CENTRAL
        }
        total = 0
        number = 0
        while True:
            number += 1
            serial, amount = self._credit_of(f"dobmi:restored:{self.uid.hex()}/{number}")
            posting = series.pop(number, None)
            if posting is None and not serial:
                break
            name = self._posting_name(Kind.RESTORED.value, (CENTRAL, number))
            if posting is None:
                self._say("POSTING-MISSING", name, N_("It is not in the journal."), amount)
                self.explained_rupiah += amount
                total += amount
                continue
            total += posting.amount
            if not serial:
                self._stray(posting, N_("No credit of another card comes of it."))
                total -= posting.amount
                continue
            _, _, debit, credit, _ = self._rule(
                Kind.RESTORED, (CENTRAL, number), amount, to_serial=serial
            )
            self._check_posting(posting, name, debit, credit, amount)
            total += amount - posting.amount
        for posting in series.values():
            self._stray(posting, N_("Nothing on record asks for it."))
        return total

    def _keys(self, posted: set[tuple[str, Reader]]) -> None:
        wanted = {key for key in posted if key[0] != Kind.SALE.value}
        for kind, reader in sorted(wanted - self.book.keys):
            name = self._posting_name(kind, reader)
            self._say("POSTING-KEY", name, N_("The key that keeps it from posting twice is gone."))
        for kind, reader in sorted(self.book.keys - wanted):
            name = self._posting_name(kind, reader)
            if not self._has("POSTING-MISSING", name):
                self._say("POSTING-KEY", name, N_("There is a key and no posting."))

    # The whole card

    def _account_by_events(self) -> int:
        """The card's account as its events make it, without what was restored or covered."""
        account = 0
        for one in (*self.true.values(), *self.copied.values()):
            account += one.after - one.before
        for credit in self.book.credits:
            if credit.state == "assumed":
                account += self.credit_amounts[credit.sequence]
        for doubt in self.book.doubts:
            if doubt.state == "suspended":
                account -= doubt.amount
        return account - sum(gap.lost for gap in self.gaps if gap.is_concluded)

    def _lost_card(self) -> None:
        """Decision 12: the account less open doubts is restored, what it lacks is covered."""
        row = self.book.replacement
        safe = row is not None and row[2] is not None
        bare = self._account_by_events() - self.restored
        if not safe:
            if self.restored or self.covered:
                self._say(
                    "LOST-CARD",
                    self.name,
                    N_("Its money was restored before that was safe."),
                    self.restored + self.covered,
                )
            return
        wrong = any(one.severity is Severity.MONEY for one in self.result.findings)
        if self.uid in self.around.unsettled or wrong:
            return  # what it should be follows from what is wrong already
        lacks = max(-bare, 0)
        if self.covered != lacks:
            self._say(
                "LOST-CARD",
                self.name,
                N_("{covered} were covered from suspense; the account lacks {lacks}."),
                abs(self.covered - lacks),
                covered=self.covered,
                lacks=lacks,
            )
        held = sum(doubt.amount for doubt in self.book.doubts if doubt.state == "open")
        other = self._in_force()
        if other is not None and other != self.uid and bare - held > 0:
            self._say(
                "LOST-CARD",
                self.name,
                N_("{free} of it are not restored, and the member has a card."),
                bare - held,
                free=bare - held,
            )

    def _balance(self) -> None:
        """The account by the journal against the card's own word: another way round."""
        account = sum(
            self._on_card(one.debit, one.credit, one.amount) for one in self.book.postings
        )
        waiting = sum(gap.lost for gap in self.gaps if not gap.is_concluded)
        expected = self.result.balance + waiting - self.restored + self.covered
        expected += sum(one.amount for one in self.copied.values())
        for credit in self.book.credits:
            if credit.state == "assumed":
                expected += self.credit_amounts[credit.sequence]
        for doubt in self.book.doubts:
            if doubt.state == "suspended":
                expected -= doubt.amount
        unexplained = account - expected - self.explained_rupiah
        if unexplained and not self.result.findings:
            self._say(
                "CARD-BALANCE",
                self.name,
                N_("Its account has {account}; by the card's own word it is {expected}."),
                abs(unexplained),
                account=account,
                expected=expected,
            )

    def _state(self) -> None:
        blocked = bool(self.book.blocks) and self.book.blocks[-1][1]
        state = self.book.state
        replaced = self.book.replacement is not None
        ended = self.book.retirement is not None and self.book.retirement[1] != "lost"
        off = blocked != (state in ("blocked", "replaced", "retired"))
        if off or replaced != (state == "replaced") or ended != (state == "retired"):
            self._say(
                "CARD-STATE",
                self.name,
                N_("It is noted as {state}; by the block list and the lost cards it is not."),
                state=state,
            )
        elif self.book.replacement is not None:
            version = self.book.replacement[1]
            if (version, True) not in self.book.blocks:
                self._say("CARD-STATE", self.name, N_("The block of the lost card is not there."))
        self._ended()
        if self.uid in self.around.unsettled:
            return
        for gap in self.gaps:
            if not gap.is_concluded:
                continue
            subject = f"{self.uid.hex()}/{gap.next}"
            kinds = ("transaction-without-voucher", "balance-does-not-follow")
            if not any((kind, subject) in self.book.anomalies for kind in kinds):
                if self._has("SUSPENSE", self.name) or self.result.findings:
                    continue
                self._say(
                    "ANOMALY",
                    self._transaction_name(gap.next),
                    N_("A difference before it is unexplained, and nobody is told."),
                    abs(gap.lost),
                )

    def _ended(self) -> None:
        """A card that ended: its block is there, and what it is noted to have had it had."""
        ended = self.book.retirement
        if ended is None:
            return
        version, state, noted, counter, _ = ended
        if (version, True) not in self.book.blocks:
            self._say("CARD-STATE", self.name, N_("The block of the ended card is not there."))
        true = next((one for one in self.true.values() if one.kind == EMPTIED), None)
        had = (0, None) if true is None else (true.amount, true.counter)
        told = (noted or 0, counter) if state == "emptied" else (0, None)
        if told != had and not self.result.findings:
            self._say(
                "CARD-STATE",
                self.name,
                N_("It is noted as emptied of {noted}; taken off it were {had}."),
                abs(told[0] - had[0]),
                noted=told[0],
                had=had[0],
            )


def _transaction(
    kind: int,
    counter: int,
    evidence: Evidence,
    before: Reader | None,
    *,
    verified: bool,
    at: int | None = None,
) -> Transaction:
    return Transaction(
        counter,
        kind,
        evidence.reader,
        before,
        evidence.amount,
        evidence.before,
        evidence.after,
        verified,
        at,
    )


def _text(reader: Reader | None) -> str:
    return "-" if reader is None else f"{reader[0]}/{reader[1]}"


def _day(at: int) -> int:
    """The day in WIB, days since 1970."""
    return (at + _WIB_SECONDS) // _SECONDS_PER_DAY
