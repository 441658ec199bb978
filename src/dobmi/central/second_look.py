"""The verdicts that other vouchers change: a number that is taken, a doubt that is not there.

Runs inside the transaction that takes the batch. All of it but the cards' numbers is about the
till's own vouchers, which stand still while its row is locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from sqlalchemy import Connection, select, tuple_

from dobmi.cardlib.purse_layout import ReaderId
from dobmi.central.refunds import Sold, may_refund, sales_to_refund
from dobmi.central.schema import DoubtState, card_transactions, doubt_decisions, in_doubt
from dobmi.central.verification import (
    CardFacts,
    JudgedBatch,
    MacKeyOf,
    Noted,
    PlausibleDoubt,
    Reason,
    Refused,
    Sale,
    card_vouches,
)
from dobmi.money import Rupiah
from dobmi.sync.batch import UncheckedBatch
from dobmi.sync.voucher import (
    DecisionVoucher,
    RefundVoucher,
    ResolutionVoucher,
    Voucher,
    decode_voucher,
)

OPEN_DOUBTS_MAX = 20
"""Of one card at one till. An honest till settles one when the card comes again."""

CardAndNumber = tuple[bytes, int]
"""A card and the number of a transaction of its."""


Verdict = Sale | PlausibleDoubt | Noted | Refused


@dataclass(slots=True)
class SecondLook:
    """What the vouchers before, on record and in the batch, make of the next one."""

    connection: Connection
    batch: UncheckedBatch
    facts: Mapping[bytes, CardFacts]
    mac_key_of: MacKeyOf
    _readers: dict[CardAndNumber, ReaderId] = field(default_factory=dict)
    _doubts: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Cards and evidence, by sequence."""
    _open_doubts: dict[bytes, set[int]] = field(default_factory=dict)
    _decided: set[int] = field(default_factory=set)
    _sales: dict[int, Sold] = field(default_factory=dict)
    """What was given back of them, by sequence."""

    def look(self, judged: JudgedBatch, *, at_numbers: bool) -> JudgedBatch:
        """The last verdicts.

        `at_numbers`: look also whether sales' numbers are on record, where the database would
        refuse the whole batch for one that is.
        """
        numbers = {(sale.card_uid, sale.card_counter) for sale in judged.sales}
        plain = len(numbers) == len(judged.sales) and all(
            isinstance(verdict, Refused) for _, verdict in judged.others
        )
        if plain and not at_numbers:
            return judged
        others = [verdict for _, verdict in judged.others]
        self._find_readers(numbers if at_numbers else set(), others)
        self._find_doubts(others)
        self._find_decided(others)
        looked = JudgedBatch([], [])
        in_order: list[tuple[int, Verdict]] = [(sale.sequence, sale) for sale in judged.sales]
        in_order += judged.others
        for sequence, verdict in sorted(in_order, key=itemgetter(0)):
            last = self._look(sequence, verdict)
            if isinstance(last, Sale):
                looked.sales.append(last)
            else:
                looked.others.append((sequence, last))
        return looked

    def _look(self, sequence: int, verdict: Verdict) -> Verdict:
        match verdict:
            case Sale():
                key = (verdict.card_uid, verdict.card_counter)
                reader = ReaderId(terminal_id=self._terminal_id, sequence=sequence)
                if self._readers.setdefault(key, reader) != reader:
                    return self.duplicate(verdict, self._readers[key])
                self._sales[sequence] = Sold(verdict.card_uid, Rupiah(verdict.amount_rupiah))
            case PlausibleDoubt():
                intent = verdict.voucher.intent
                of_card = self._open_doubts.setdefault(intent.card_uid, set())
                if len(of_card) >= OPEN_DOUBTS_MAX:
                    self._doubts.pop(sequence, None)
                    return Refused(verdict.voucher, Reason.TOO_MANY_DOUBTS)
                of_card.add(sequence)
                self._sales[sequence] = Sold(intent.card_uid, intent.amount)
            case Noted():
                return self._word(verdict.voucher, verdict)
            case Refused():
                pass
        return verdict

    @property
    def _terminal_id(self) -> int:
        return self.batch.head.terminal_id

    def duplicate(self, sale: Sale, other: ReaderId | None) -> Refused:
        """The sale's number is `other`'s (None: that of one posted just now)."""
        encoded = self.batch.vouchers[sale.sequence - self.batch.head.first_sequence]
        return _duplicate(decode_voucher(encoded), sale.card_counter, other)

    def _word(self, voucher: Voucher, noted: Noted) -> Noted | Refused:
        match voucher:
            case ResolutionVoucher():
                verdict = self._resolution(voucher)
                if isinstance(verdict, Noted):
                    self._open_doubts.get(voucher.card_uid, set()).discard(voucher.resolves)
                return verdict
            case RefundVoucher():
                refund = may_refund(voucher, self._sales.get(voucher.refunds))
                if isinstance(refund, Noted):
                    self._sales[voucher.refunds].refunded += voucher.amount
                return refund
            case DecisionVoucher():
                return self._decision(voucher)
            case _:
                return noted

    def _resolution(self, voucher: ResolutionVoucher) -> Noted | Refused:
        uid, evidence = self._doubts.get(voucher.resolves, (b"", b""))
        if uid != voucher.card_uid:
            return Refused(voucher, Reason.RESOLVES_NOTHING)
        counter, mac = voucher.card_counter, voucher.card_mac
        if counter is None or mac is None:
            return Noted(voucher)
        mac_key = self.mac_key_of(uid, self.facts[uid].mac_key_version)
        if not card_vouches(mac_key, uid, counter, mac, evidence):
            return Refused(voucher, Reason.WRONG_CARD_MAC)
        reader = ReaderId(terminal_id=voucher.link.terminal_id, sequence=voucher.resolves)
        if self._readers.setdefault((uid, counter), reader) != reader:
            return _duplicate(voucher, counter, self._readers[uid, counter])
        return Noted(voucher)

    def _decision(self, voucher: DecisionVoucher) -> Noted | Refused:
        """A decision is of a doubt of that till and card, and there is one for a sale."""
        uid, _ = self._doubts.get(voucher.resolves, (b"", b""))
        if uid != voucher.card_uid:
            return Refused(voucher, Reason.RESOLVES_NOTHING)
        if voucher.resolves in self._decided:
            return Refused(voucher, Reason.DECIDED_ALREADY)
        self._decided.add(voucher.resolves)
        return Noted(voucher)

    def _find_readers(
        self, numbers: set[CardAndNumber], others: Sequence[PlausibleDoubt | Noted | Refused]
    ) -> None:
        """Whose the numbers are that are on record."""
        wanted = set(numbers)
        for verdict in others:
            voucher = verdict.voucher
            if isinstance(voucher, ResolutionVoucher) and voucher.card_counter is not None:
                wanted.add((voucher.card_uid, voucher.card_counter))
        if not wanted:
            return
        columns = card_transactions.c
        rows = self.connection.execute(
            select(columns.card_uid, columns.counter, columns.terminal_id, columns.sequence).where(
                tuple_(columns.card_uid, columns.counter).in_(sorted(wanted))
            )
        )
        for row in rows:
            self._readers[bytes(row.card_uid), row.counter] = ReaderId(
                terminal_id=row.terminal_id, sequence=row.sequence
            )

    def _find_doubts(self, others: Sequence[PlausibleDoubt | Noted | Refused]) -> None:
        """The doubts that words are of; the till's open ones of the cards it brings more of."""
        mine = in_doubt.c.terminal_id == self._terminal_id
        of_words = [
            verdict.voucher.resolves
            for verdict in others
            if isinstance(verdict.voucher, ResolutionVoucher | DecisionVoucher)
        ]
        new = [verdict.voucher for verdict in others if isinstance(verdict, PlausibleDoubt)]
        if of_words:
            columns = (in_doubt.c.sequence, in_doubt.c.card_uid, in_doubt.c.evidence)
            for sequence, uid, evidence in self.connection.execute(
                select(*columns).where(mine, in_doubt.c.sequence.in_(of_words))
            ):
                self._doubts[sequence] = (bytes(uid), bytes(evidence))
        for voucher in new:
            intent = voucher.intent
            self._doubts[voucher.link.sequence] = (intent.card_uid, intent.evidence)
        uids = sorted({voucher.intent.card_uid for voucher in new})
        if uids:
            for uid, sequence in self.connection.execute(
                select(in_doubt.c.card_uid, in_doubt.c.sequence).where(
                    mine, in_doubt.c.card_uid.in_(uids), in_doubt.c.state == DoubtState.OPEN
                )
            ):
                self._open_doubts.setdefault(bytes(uid), set()).add(sequence)

    def _find_decided(self, others: Sequence[PlausibleDoubt | Noted | Refused]) -> None:
        """Which of the sales that new decisions are of have one; what was given back of sales."""
        words = [verdict.voucher for verdict in others]
        decided = [one.resolves for one in words if isinstance(one, DecisionVoucher)]
        if decided:
            self._decided = set(
                self.connection.execute(
                    select(doubt_decisions.c.sequence).where(
                        doubt_decisions.c.terminal_id == self._terminal_id,
                        doubt_decisions.c.sequence.in_(decided),
                    )
                ).scalars()
            )
        refunded = [one.refunds for one in words if isinstance(one, RefundVoucher)]
        if refunded:
            self._sales = sales_to_refund(self.connection, self._terminal_id, refunded)


def _duplicate(voucher: Voucher, counter: int, other: ReaderId | None) -> Refused:
    whose = "another" if other is None else f"{other.terminal_id}/{other.sequence}"
    detail = (
        f"the card's transaction {counter} is already on record as {whose}: "
        "a copy of the card or of its keys"
    )
    return Refused(voucher, Reason.DUPLICATE_COUNTER, detail)
