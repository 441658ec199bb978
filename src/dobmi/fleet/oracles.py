"""What must hold after every step, judged from outside: cards' memories, files on disk, what people saw.

`check` reads the tills' and the server's databases with its own SQL and compares them with the
truth of the cards and with what cashier and clerk were told. The real code is asked nothing.

Some things break a promise lawfully, and then must be *named*:

* **A till's database restored from an older backup** has forgotten its newest vouchers. Promised
  then: cards and server lose nothing; what the till no longer says is found at each card's next
  use elsewhere: listed as not sent while the till may still send it, and in suspense, to the rupiah,
  with an anomaly naming the till, once it has sent something else. No rupiah is made. The till's
  new vouchers under old numbers are refused (`CENTRAL-FORK`) and kept where the server had others.
  What it forgot of a card that is lost, and so is used no more, nobody can know: that is the
  cooperative's.
  Not promised for that till: that a sale shown before the restore is in it, that its own words fit
  the cards, that a sale it forgot is not charged again.
* **The server's database restored from an older backup** has forgotten vouchers, credits, cards.
  Promised then: its journal balances; the tills still have what it lost and send it again; what it
  cannot get back (a credit on a card that it does not know of, a card issued since) shows as an
  anomaly or in quarantine and in suspense, to the rupiah. Not promised: that it still has every
  order and batch from after the backup.
* **Several cards of one UID** (a copy, an older state) pay with the same numbers. Promised then:
  nothing of any other card changes; each of their sales is posted once at most, and otherwise is in
  quarantine with an anomaly that names till and amount, or in doubt: the second outlet's expense.
  Not promised for that UID: that a credit reached one of them only, and what a till that took them
  for one card concludes of its sales in doubt.
* **A till changes what passes in a credit's session.** Nobody gains. Promised then: an anomaly for
  that card, and that the office can post the credit on the card's word. The sale before it may stay
  in doubt: then it is listed, and held.
* **A lost card's** money is its member's next card's. What was spent with it and not known when it
  was restored is the cooperative's: exactly that is a shortfall.
* **A supervisor's decision** is a claim. Said PAID and never spoken for by the card, it is held in
  suspense; contradicted by the card, that is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dobmi.cardlib.purse_layout import ReaderId, RecordKind
from dobmi.central.posting_rules import RULES, Group, Kind
from dobmi.fleet.books import (
    Anomaly,
    Posted,
    ServerBook,
    TillBook,
    is_of,
    read_server,
    read_till,
)
from dobmi.fleet.truth import TrueTransaction, Truth, memory_of
from dobmi.money import Rupiah
from dobmi.sync.voucher import (
    InDoubtVoucher,
    Outcome,
    ResolutionVoucher,
    SaleVoucher,
    VoidVoucher,
    Voucher,
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
    useless: list[str] = field(default_factory=list)
    """What a card in force, or a till that was put right, should have been able to do at the end."""
    reported: set[bytes] = field(default_factory=set)
    """Lost cards of which the station has heard that the server knows it."""
    lied_to: set[bytes] = field(default_factory=set)
    """Cards whose credit session a till has changed."""
    server_restored: bool = False
    till_restored: bool = False

    def suspects(self) -> frozenset[bytes]:
        """Cards of which anomalies, quarantine and suspense are lawful."""
        return self.truth.copied() | self.lied_to


NAMES = (
    "money-conserved",
    "shown-paid-is-kept",
    "charged-once",
    "card-follows-vouchers",
    "credit-once",
    "chain-unbroken",
    "ledger-true",
    "nothing-dropped",
    "no-false-alarm",
    "no-surprise",
    "books-agree",
    "copies-found",
    "all-work",
)
"""Of all oracles; the last three are asked at the end of the day, `no-surprise` by `acts`."""


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
        sums: Counter[tuple[bytes, int]] = Counter()
        for one in truth.transactions:
            sums[one.uid, one.copy] += one.change.amount
        for number, copy in truth.copies.items():
            sums[copy.card.serial, number] += copy.before.balance.amount
        cards = [(card, 0) for card in truth.cards.values()]
        cards += [(copy.card, number) for number, copy in truth.copies.items()]
        for card, number in cards:
            uid, balance = card.serial, memory_of(card.state).balance.amount
            if balance != sums[uid, number]:
                yield (
                    f"card {uid.hex()} holds {balance}, "
                    f"its transactions come to {sums[uid, number]}"
                )
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
        yield from self._own_credits_are_posted()

    def _own_credits_are_posted(self) -> Iterator[str]:
        """What the server ordered by itself is what it posted for it."""
        server = self.server
        own = sum(server.own_credits())
        posted = sum(
            row.amount
            for row in server.postings
            if row.kind in {Kind.REFUND, Kind.RESTORED, Kind.MOVED}
        )
        if own != posted:
            yield f"{own} were ordered to give back or restore, {posted} are posted"

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
        if _was_lost(till, number):
            return
        if number not in book.intents:
            if till.restored_to is None:
                yield f"{till.name} speaks of sale {number}, of which it has no intent"
            return
        if book.intents[number][0] in self._witness.truth.copied():
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
            if key in applied and one.uid not in self._witness.truth.copied():
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
            if not (is_of(row.debit, rule.debit) and is_of(row.credit, rule.credit)):
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
                is_assumed = self._state_of(row.uid, row.sequence) == "assumed"
                if true_credits[row.uid, row.sequence, row.amount] < 0 and not is_assumed:
                    yield f"posting {row.id}: credit {row.sequence} is not on card {row.uid.hex()}"
        yield from self._claims_are_true()
        yield from self._lost_cards_are_true()

    def _state_of(self, uid: bytes, sequence: int) -> str:
        return self.server.credits.get((uid, sequence), (0, "", ""))[1]

    def _claims_are_true(self) -> Iterator[str]:
        """Held is what a doubt that is suspended is over, for somebody who says that it was paid."""
        held, doubts = self.server.held(), self.server.doubts
        for key in sorted(
            {*held, *(key for key, one in doubts.items() if one.state == "suspended")}
        ):
            terminal_id, sequence = key
            doubt = doubts.get(key)
            is_suspended = doubt is not None and doubt.state == "suspended"
            over = doubt.amount if doubt is not None and is_suspended else 0
            if held.get(key, 0) != over:
                yield f"for sale {terminal_id}/{sequence} {held.get(key, 0)} are held, not {over}"
            till = self._till(terminal_id)
            is_claimed = self.tills[terminal_id].claims_paid(sequence)
            if is_suspended and not is_claimed and till.restored_to is None:
                yield f"sale {terminal_id}/{sequence} is held for nobody's claim"

    def _lost_cards_are_true(self) -> Iterator[str]:
        """Money moves to one card of the same member, once, and what it takes from suspense it must."""
        server = self.server
        for row in server.postings:
            if row.kind not in {Kind.MOVED, Kind.RESTORED}:
                continue
            word = row.kind.value
            reference = f"dobmi:{word}:{row.uid.hex()}/{row.sequence}"
            to = {
                uid: amount
                for (uid, _), (amount, _, own) in server.credits.items()
                if own == reference
            }
            if list(to.values()) != [row.amount]:
                yield f"posting {row.id}: {row.amount} {word}, credits {reference} are {to}"
            if any(server.members[uid] != server.members[row.uid] for uid in to):
                yield f"posting {row.id}: {word} to another member's card"
            if row.kind is Kind.MOVED and self._state_of(row.uid, row.sequence) != "moved":
                yield f"posting {row.id}: credit {row.sequence} is moved and waits all the same"
        for uid in server.members:
            covered = server.shortfall(uid)
            lacking = max(0, covered - server.on_card(uid)) if uid in server.safe else 0
            if covered != lacking:
                yield f"card {uid.hex()} lacks {lacking}, suspense gave {covered}"

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
        """Without copies and old backups everybody is honest: nothing may look as if not."""
        witness, server = self._witness, self.server
        if witness.server_restored or witness.till_restored:
            return
        suspects = witness.suspects()
        for uid in server.members:
            if uid not in suspects and (suspense := server.unexplained(uid)):
                yield f"{suspense} are in suspense for card {uid.hex()}"
        for (terminal_id, sequence), reason in server.quarantine.items():
            if self._card_of(terminal_id, sequence) not in suspects:
                yield f"voucher {terminal_id}/{sequence} of an honest till is refused: {reason}"
        for anomaly in server.anomalies:
            if anomaly.uid not in suspects and not self._is_lawful(anomaly):
                yield f"anomaly {anomaly.kind} for {anomaly.subject}"

    def _card_of(self, terminal_id: int, sequence: int) -> bytes | None:
        """The card that the till's voucher is about."""
        book = self.tills[terminal_id]
        _, voucher = book.vouchers.get(sequence, (b"", None))
        if isinstance(voucher, SaleVoucher | InDoubtVoucher):
            return voucher.intent.card_uid
        return None if voucher is None else voucher.card_uid

    def _is_lawful(self, anomaly: Anomaly) -> bool:
        """Whether what it says of honest people happened."""
        match anomaly.kind:
            case "sale-with-blocked-card":
                return True  # a till that has not heard of a block sells: said, not prevented
            case "decision-contradicted":
                decided, is_paid = self._decided(anomaly.subject)
                return decided is not None and (decided is Outcome.PAID) != is_paid
            case "refund-of-unpaid-sale":
                terminal_id, refund = map(int, anomaly.subject.split("/"))
                voucher = self.tills[terminal_id].refunds()[refund]
                _, is_paid = self._decided(f"{terminal_id}/{voucher.refunds}")
                return not is_paid
            case "spent-after-restoring":
                return anomaly.uid is not None and any(
                    row.kind is Kind.SHORTFALL and row.uid == anomaly.uid
                    for row in self.server.postings
                )
        return False

    def _decided(self, subject: str) -> tuple[Outcome | None, bool]:
        """What was decided of `terminal/sale`, and whether the card paid it."""
        terminal_id, sale = map(int, subject.split("/"))
        reader = ReaderId(terminal_id=terminal_id, sequence=sale)
        is_paid = any(one.reader_id == reader for one in self._witness.truth.transactions)
        return self.tills[terminal_id].decision(sale), is_paid

    def settled(self) -> Iterator[Finding]:
        """When every card was used once more, and every till has reported: the books agree."""
        if not self._witness.server_restored:
            for text in self._witness.useless:
                yield Finding("all-work", text)
        if all(till.restored_to is not None for till in self._witness.tills):
            return  # nobody is left whose word on the cards' last sales the server takes
        for text in (
            *self._accounts_as_cards(),
            *self._lost_cards_are_empty(),
            *self._suspense_is_named(),
            *self._refunds_are_posted(),
        ):
            yield Finding("books-agree", text)
        for text in self._copies_are_found():
            yield Finding("copies-found", text)

    def _accounts_as_cards(self) -> Iterator[str]:
        """A difference is on the list of sales that a till has not sent, and comes from nothing else."""
        witness, server = self._witness, self.server
        lost = self._not_posted()
        copied = witness.truth.copied()
        for uid, card in witness.truth.cards.items():
            if uid in copied:
                continue
            balance = memory_of(card.state).balance.amount
            booked = self._booked(uid)
            awaited, suspense = booked - balance, server.unexplained(uid)
            is_named = uid in server.awaited or uid in witness.reported
            is_lawful = witness.till_restored and is_named
            # The name of the sale before a credit that was garbled is lost with its evidence.
            is_lawful |= uid in witness.lied_to and uid in server.awaited
            if awaited and not is_lawful:
                if not (witness.server_restored and self._is_unknown(uid)):
                    yield f"card {uid.hex()} holds {balance}, its account {booked}"
            elif lost[uid] != awaited + suspense and not witness.server_restored:
                yield (
                    f"card {uid.hex()}: {lost[uid]} are sold and not posted; {awaited} are awaited "
                    f"and {suspense} in suspense"
                )

    def _booked(self, uid: bytes) -> int:
        """The card's account, had the card not been lost and no claim been held."""
        server = self.server
        on_card = {
            (one.uid, one.reader_id.sequence)
            for one in self._witness.truth.transactions
            if one.kind is RecordKind.CREDIT
        }
        assumed = sum(
            amount
            for key, (amount, state, _) in server.credits.items()
            if key[0] == uid and state == "assumed" and key not in on_card
        )
        restored = server.sum_of(uid, Kind.RESTORED)
        held = server.sum_of(uid, Kind.CLAIM_HELD, Kind.CLAIM_RELEASED)
        return server.on_card(uid) + restored + held - server.shortfall(uid) - assumed

    def _lost_cards_are_empty(self) -> Iterator[str]:
        """Once it is safe, all that was on a lost card is its member's next card's."""
        server = self.server
        if self._witness.server_restored:
            return
        for uid in sorted(server.safe):
            has_card = any(server.members[other] == server.members[uid] for other in server.active)
            left = server.on_card(uid)
            if has_card and left:
                yield f"lost card {uid.hex()} keeps {left} that its member has not got"
        for uid in sorted(self._witness.reported - server.safe):
            if uid in server.members and not self._was_never_issued(uid):
                yield f"lost card {uid.hex()} is not safe to restore after everybody reported"

    def _was_never_issued(self, uid: bytes) -> bool:
        return not any(one.uid == uid for one in self._witness.truth.transactions)

    def _copies_are_found(self) -> Iterator[str]:
        """P5: of the cards of one UID each sale is posted, or kept with its till's name and amount."""
        witness, server = self._witness, self.server
        if witness.server_restored:
            return
        copied = witness.truth.copied()
        named = {(found.uid, found.terminal_id, found.amount) for found in server.anomalies}
        posted = {
            (row.uid, row.terminal_id, row.sequence)
            for row in server.postings
            if row.kind is Kind.SALE
        }
        for one in witness.truth.transactions:
            key = (one.reader_id.terminal_id, one.reader_id.sequence)
            if one.uid not in copied or one.kind is not RecordKind.SALE:
                continue
            if (one.uid, *key) in posted or key in server.doubts:
                continue
            if self._till(key[0]).restored_to is not None:
                continue
            where = f"sale {key[0]}/{key[1]} of a copied card over {one.amount}"
            if key not in server.quarantine:
                yield f"{where} is neither posted nor kept"
            elif (one.uid, key[0], one.amount.amount) not in named:
                yield f"{where} is in quarantine and no anomaly names it"
        if not witness.till_restored:
            for uid in self._numbered_twice() - {uid for uid, _, _ in named}:
                yield f"two cards of UID {uid.hex()} have paid and nobody knows"

    def _numbered_twice(self) -> set[bytes]:
        """UIDs of which two cards have used one number."""
        makers: dict[tuple[bytes, int], set[int]] = {}
        for one in self._witness.truth.transactions:
            makers.setdefault((one.uid, one.counter), set()).add(one.copy)
        return {uid for (uid, _), made_by in makers.items() if len(made_by) > 1}

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
        suspects = self._witness.suspects()
        for terminal_id, book in self.tills.items():
            for sequence, voucher in book.refunds().items():
                _, is_paid = self._decided(f"{terminal_id}/{voucher.refunds}")
                if voucher.card_uid in suspects or not is_paid:
                    continue
                if (terminal_id, sequence) not in posted:
                    yield f"refund {terminal_id}/{sequence} never became a credit"

    def _suspense_is_named(self) -> Iterator[str]:
        server, witness = self.server, self._witness
        named = {anomaly.uid for anomaly in server.anomalies}
        for uid in server.members:
            if server.unexplained(uid) and uid not in named:
                yield f"money of card {uid.hex()} is in suspense and no anomaly says why"
        for (terminal_id, sequence), doubt in server.doubts.items():
            if doubt.state == "open":
                yield f"sale {terminal_id}/{sequence} is still in doubt"
        if not (witness.server_restored or witness.till_restored):
            in_doubt = [key for key, (_, state, _) in server.credits.items() if state == "in_doubt"]
            for uid, sequence in in_doubt:
                if uid in server.active and uid not in witness.truth.copied():
                    yield f"credit {sequence} of card {uid.hex()} is still in doubt"

    def _is_unknown(self, uid: bytes) -> bool:
        return not any(row.uid == uid for row in self.server.postings)

    def _till(self, terminal_id: int) -> TillRecord:
        return next(till for till in self._witness.tills if till.terminal_id == terminal_id)

    def _read_till(self, till: TillRecord) -> TillBook:
        return read_till(till.database, till.terminal_id, till.public_key, self._parsed)


def _was_lost(till: TillRecord, sequence: int) -> bool:
    return till.restored_to is not None and sequence > till.restored_to


def _is_in_doubt(book: TillBook, sequence: int) -> bool:
    _, voucher = book.vouchers.get(sequence, (b"", None))
    return isinstance(voucher, InDoubtVoucher)
