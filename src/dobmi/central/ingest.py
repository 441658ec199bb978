"""Taking a batch: believe it or not, post it, and answer with the signed acknowledgement.

Signatures, chain and card MACs are checked before any transaction. The first one posts: it locks the
till's row, and nothing else, and writes all rows of a kind at once; the acknowledgement is stored by
it and leaves only when that is durable. The second one (`beside`) looks at the batch beside what
other batches brought. On SQLite, where there is one writer, both are one. Decision 16 says why.
"""

from __future__ import annotations

import hashlib
import logging
import random
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.exc import DataError, IntegrityError

from dobmi.cardlib.errors import CustodyUnavailable
from dobmi.cardlib.purse_layout import RecordKind
from dobmi.central.beside import (
    NO_RACE,
    Word,
    look_at_all_posted,
    look_at_posted,
    settle_beside,
    words_of,
)
from dobmi.central.booking import booking_time
from dobmi.central.bulk import BOOL, INT4, INT8, Layout, copy_rows, rows_among
from dobmi.central.conclusions import NAMES_BEFORE_BATCH, PROGRAM_ERRORS
from dobmi.central.database import insert_rows
from dobmi.central.doubts import note_decisions
from dobmi.central.errors import (
    ForkedChain,
    KeyTaken,
    LostRace,
    OnlyTillsSell,
    RoleNotAllowed,
    ServerBusy,
    TerminalBlocked,
    UnknownTerminal,
    VouchersMissing,
)
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.journal import seller_account
from dobmi.central.metrics import RETRIES, count_vouchers
from dobmi.central.pin_limits import PinLimits
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.refunds import note_refunds
from dobmi.central.rejected import keep_rejected
from dobmi.central.schema import (
    CardState,
    DoubtState,
    Role,
    TerminalStatus,
    batches,
    batches_to_look_at,
    card_transactions,
    cards,
    in_doubt,
    postings,
    quarantine,
    sellers,
    terminals,
    vouchers,
)
from dobmi.central.second_look import SecondLook
from dobmi.central.server import Central, MacKeys
from dobmi.central.verification import (
    CardFacts,
    JudgedBatch,
    MacKeyOf,
    Noted,
    PlausibleDoubt,
    Reason,
    Refused,
    Sale,
    amount_of,
    cards_of,
    judge_batch,
    uid_of,
)
from dobmi.money import Rupiah
from dobmi.sync.acknowledgement import Acknowledgement, encode_acknowledgement
from dobmi.sync.batch import UncheckedBatch, parse_batch
from dobmi.sync.errors import SyncError
from dobmi.sync.voucher import (
    DecisionVoucher,
    RefundVoucher,
    SaleFields,
    Voucher,
    decode_voucher,
    genesis_hash,
)

_log = logging.getLogger(__name__)

_WAIT_SECONDS = (0.01, 0.02, 0.04, 0.16, 0.64)
"""At most, before each further try at posting."""
_CANNOT_BE_POSTED = (IntegrityError, DataError, struct.error, OverflowError)
"""What one voucher's rows may do to the whole batch's statement."""
VOUCHERS = Layout(
    vouchers,
    {"terminal_id": INT8, "sequence": INT8, "received_at": INT8},
    last="encoded",
)
TRANSACTIONS = Layout(
    card_transactions,
    {
        "card_uid": "7s",
        "counter": INT8,
        "kind": INT4,
        "terminal_id": INT8,
        "sequence": INT8,
        "previous_terminal_id": INT8,
        "previous_sequence": INT8,
        "amount_rupiah": INT8,
        "balance_before_rupiah": INT8,
        "balance_after_rupiah": INT8,
        "card_mac_verified": BOOL,
        "at": INT8,
    },
)
SALES = Layout(
    postings,
    {
        "at": INT8,
        "debit_account": INT8,
        "credit_account": INT8,
        "amount_rupiah": INT8,
        "card_uid": "7s",
        "terminal_id": INT8,
        "sequence": INT8,
    },
    constants={"kind": Kind.SALE.value, "explanation": ""},
)


class Care(Enum):
    """How much is looked at before the rows are written, each after the one before has failed."""

    NONE = auto()
    NUMBERS = auto()
    """Whether sales' transaction numbers are on record."""
    ROWS = auto()
    """Each sale is written by itself, and one that the database refuses is put in quarantine."""


@dataclass(frozen=True, slots=True)
class Posted:
    acknowledgement: bytes
    words: list[Word]
    first_new: int | None
    """Of the vouchers that were not on record; None if all were."""
    refused: int = 0
    """How many of those are in quarantine."""


def take_batch(central: Central, data: bytes) -> bytes:
    """The encoded acknowledgement of the batch `data`, which is durable by then.

    The same bytes again get the same acknowledgement again. Raises MalformedMessage,
    WrongSignature, BrokenChain, UnknownTerminal, TerminalBlocked, OnlyTillsSell, VouchersMissing,
    ForkedChain: then nothing of it was taken, and the bytes are kept with the reason. ServerBusy: try again.
    """
    batch_hash = hashlib.sha256(data).digest()
    now = central.unix_seconds()
    try:
        batch = parse_batch(data)
        terminal_id = batch.head.terminal_id
        with central.database.read() as connection:
            stored = _find_acknowledgement(connection, terminal_id, batch_hash)
            public_key = None if stored else key_of_till(connection, terminal_id)
            left = connection.execute(
                select(batches_to_look_at.c.first_sequence).where(
                    batches_to_look_at.c.terminal_id == terminal_id
                )
            ).first()
        if left is not None:  # of a batch before, or of this one when it came first
            look_at_all_posted(central, terminal_id)
        if stored is not None:
            _make_sure(central, terminal_id)
            return stored
        assert public_key is not None
        mac_key_of = central.mac_keys()
        judged, facts = check_batch(central, batch, public_key, mac_key_of)
        posted = Posting(central, batch, batch_hash, judged, facts, mac_key_of, now).post()
    except (
        SyncError,
        UnknownTerminal,
        TerminalBlocked,
        RoleNotAllowed,
        VouchersMissing,
        ForkedChain,
    ) as error:
        keep_rejected(central, batch_hash, data, error, now)
        raise
    if posted.first_new is not None:
        count_vouchers(batch.head.last_sequence - posted.first_new + 1, posted.refused)
    if posted.first_new is not None and not _is_sqlite(central):
        # It is posted and durable: whoever comes next, or the periodic work, looks at it else.
        try:
            look_at_posted(central, terminal_id, posted.first_new, mac_key_of, posted.words)
        except (ServerBusy, CustodyUnavailable):
            _log.warning("batch of terminal %d is still to be looked at", terminal_id)
    return posted.acknowledgement


def _make_sure(central: Central, terminal_id: int) -> None:
    """That what was read is on the standbys, too, if commits wait for those.

    A server that starts again after a crash shows commits that waited for a standby when it fell
    and whose answer never left. Reading waits for nothing; a lock is written to the log, and its
    commit waits until the log up to there is safe.
    """
    if not _is_sqlite(central):
        with central.database.write() as connection:
            connection.execute(
                select(terminals.c.id).where(terminals.c.id == terminal_id).with_for_update()
            )


def check_batch(
    central: Central, batch: UncheckedBatch, public_key: bytes, mac_keys: MacKeys
) -> tuple[JudgedBatch, dict[bytes, CardFacts]]:
    """Signature, chain and each voucher's verdict, with the cards' facts. Nothing is written."""
    read = batch.read(public_key)
    facts = _card_facts(central, cards_of(read))
    mac_keys.derive(facts.values())
    try:
        return judge_batch(batch, read, facts, mac_keys), facts
    except PROGRAM_ERRORS:
        _log.exception("a voucher of terminal %d cannot be judged", batch.head.terminal_id)
        return _judge_one_by_one(batch, read, facts, mac_keys), facts


def _judge_one_by_one(
    batch: UncheckedBatch,
    read: Sequence[SaleFields | Voucher],
    facts: Mapping[bytes, CardFacts],
    mac_key_of: MacKeyOf,
) -> JudgedBatch:
    """One that breaks the program goes into quarantine, and does not take the others with it."""
    judged = JudgedBatch([], [])
    first = batch.head.first_sequence
    for sequence, (item, encoded) in enumerate(zip(read, batch.vouchers, strict=True), first):
        head = replace(batch.head, first_sequence=sequence, count=1)
        alone = replace(batch, head=head, vouchers=[encoded])
        try:
            one = judge_batch(alone, [item], facts, mac_key_of)
        except PROGRAM_ERRORS as error:
            detail = f"{type(error).__name__} when it was judged"
            refused = Refused(decode_voucher(encoded), Reason.CANNOT_BE_POSTED, detail)
            judged.others.append((sequence, refused))
        else:
            judged.sales.extend(one.sales)
            judged.others.extend(one.others)
    return judged


def key_of_till(connection: Connection, terminal_id: int) -> bytes:
    """Its public key. Raises UnknownTerminal, TerminalBlocked, OnlyTillsSell."""
    terminal = connection.execute(
        select(terminals).where(terminals.c.id == terminal_id)
    ).one_or_none()
    if terminal is None:
        raise UnknownTerminal(terminal_id=terminal_id)
    if terminal.status != TerminalStatus.ACTIVE:
        raise TerminalBlocked(terminal_id=terminal_id)
    if terminal.role != Role.TILL:
        raise OnlyTillsSell(terminal_id=terminal_id, role=terminal.role)
    return bytes(terminal.public_key)


def _find_acknowledgement(
    connection: Connection, terminal_id: int, batch_hash: bytes
) -> bytes | None:
    stored = connection.execute(
        select(batches.c.acknowledgement).where(
            batches.c.terminal_id == terminal_id, batches.c.batch_hash == batch_hash
        )
    ).scalar_one_or_none()
    return None if stored is None else bytes(stored)


_FACTS = (
    cards.c.uid,
    cards.c.serial,
    cards.c.member_number,
    cards.c.mac_key_version,
    cards.c.state,
)
_NOT_TO_SELL = frozenset({CardState.BLOCKED.value, CardState.REPLACED.value})


def _card_facts(central: Central, uids: Iterable[bytes]) -> dict[bytes, CardFacts]:
    with central.database.read() as connection:
        rows = rows_among(connection, _FACTS, sorted(uids))
    return {
        uid: CardFacts(
            uid, serial, member, version, state in _NOT_TO_SELL, state == CardState.REPLACED
        )
        for uid, serial, member, version, state in rows
    }


def _is_sqlite(central: Central) -> bool:
    return central.database.engine.dialect.name == "sqlite"


@dataclass(slots=True)
class Posting:
    """The first transaction of a batch."""

    central: Central
    batch: UncheckedBatch
    batch_hash: bytes
    judged: JudgedBatch
    facts: dict[bytes, CardFacts]
    mac_key_of: MacKeyOf
    now: int
    _anomalies: list[dict[str, object]] = field(default_factory=list)

    def post(self) -> Posted:
        """Raises ForkedChain, VouchersMissing; ServerBusy: nothing was taken."""
        care = iter(Care)
        level = next(care)
        for wait_seconds in _WAIT_SECONDS:
            self._anomalies = []
            try:
                with self.central.database.write() as connection:
                    return self.run(connection, level)
            except KeyTaken:
                RETRIES.inc()
                level = next(care, level)
            except LostRace:
                RETRIES.inc()
            except _CANNOT_BE_POSTED:
                if level is Care.ROWS:
                    raise
                level = next(care)
            time.sleep(random.uniform(0, wait_seconds))  # noqa: S311 - so that two part
        raise ServerBusy

    def run(self, connection: Connection, care: Care) -> Posted:
        head = self.batch.head
        booked_at = booking_time(connection, self.now)
        # One batch of a till at a time: its head stands still until this transaction ends.
        terminal = connection.execute(
            select(
                terminals,
                sellers.c.name.label("seller"),
                sellers.c.kind.label("seller_kind"),
            )
            .join(sellers)
            .where(terminals.c.id == head.terminal_id)
            .with_for_update(of=terminals)
        ).one()
        if terminal.status != TerminalStatus.ACTIVE:  # since its key was looked up
            raise TerminalBlocked(terminal_id=head.terminal_id)
        if terminal.head_sequence >= head.last_sequence:
            stored = _find_acknowledgement(connection, head.terminal_id, self.batch_hash)
            if stored is not None:  # the same batch came twice at once
                return Posted(stored, [], None)
        known = self._known_already(connection, terminal)
        first_new = terminal.head_sequence + 1
        judged = self.judged
        if first_new > head.first_sequence:
            judged = JudgedBatch(
                [sale for sale in judged.sales if sale.sequence >= first_new],
                [other for other in judged.others if other[0] >= first_new],
            )
        second_look = SecondLook(connection, self.batch, self.facts, self.mac_key_of)
        judged = second_look.look(judged, at_numbers=care is not Care.NONE)
        if care is Care.ROWS:
            judged = self._post_one_by_one(connection, judged, terminal, booked_at, second_look)
        else:
            self._post_sales(connection, judged.sales, terminal, booked_at)
        refused = {
            sequence: verdict for sequence, verdict in judged.others if isinstance(verdict, Refused)
        }
        acknowledgement = self._acknowledge([*known, *_reasons(refused)])
        if first_new > head.last_sequence:
            self._store(connection, acknowledgement)
            return Posted(acknowledgement, [], None)
        self._insert_vouchers(connection, first_new)
        self._insert_quarantine(connection, refused)
        words = self._insert_others(connection, judged)
        span = (head.terminal_id, first_new, head.last_sequence)
        where = {"terminal_id": span[0], "first": span[1], "last": span[2]}
        connection.execute(
            update(terminals)
            .where(terminals.c.id == head.terminal_id)
            .values(head_sequence=head.last_sequence, head_hash=head.head_hash)
        )
        connection.execute(NAMES_BEFORE_BATCH, where)
        self._find_anomalies(judged, terminal)
        self._find_sales_without_pin(connection, judged.sales)
        note_findings(connection, self._anomalies)
        if connection.dialect.name == "sqlite":
            settle_beside(connection, span, words, self.mac_key_of, self.now, failures=NO_RACE)
        else:
            to_look_at = {
                "terminal_id": span[0],
                "first_sequence": span[1],
                "last_sequence": span[2],
                "posted_at": self.now,
            }
            insert_rows(connection, batches_to_look_at, [to_look_at])
        self._store(connection, acknowledgement)
        return Posted(acknowledgement, words, first_new, len(refused))

    def _acknowledge(self, quarantined: Sequence[tuple[int, str]]) -> bytes:
        acknowledgement = Acknowledgement(
            terminal_id=self.batch.head.terminal_id,
            batch_hash=self.batch_hash,
            head_sequence=self.batch.head.last_sequence,
            head_hash=self.batch.head.head_hash,
            unix_seconds=self.now,
            quarantined=tuple(quarantined),
        )
        return encode_acknowledgement(acknowledgement, self.central.public_key, self.central.sign)

    def _store(self, connection: Connection, acknowledgement: bytes) -> None:
        row = {
            "terminal_id": self.batch.head.terminal_id,
            "batch_hash": self.batch_hash,
            "acknowledgement": acknowledgement,
            "received_at": self.now,
        }
        insert_rows(connection, batches, [row])

    def _known_already(self, connection: Connection, terminal: Row[Any]) -> list[tuple[int, str]]:
        """The quarantined among the batch's vouchers that are on record already, with reasons.

        Raises VouchersMissing for a gap before the batch, ForkedChain if a voucher on record, or
        the one before the batch, is another.
        """
        head = self.batch.head
        if head.first_sequence > terminal.head_sequence + 1:
            raise VouchersMissing(
                first_sequence=head.first_sequence, send_from=terminal.head_sequence + 1
            )
        if head.first_sequence == terminal.head_sequence + 1:
            if head.previous_hash != terminal.head_hash:
                raise ForkedChain(sequence=head.first_sequence - 1, terminal_id=head.terminal_id)
            return []
        span = (head.first_sequence - 1, min(head.last_sequence, terminal.head_sequence))
        kept = {
            sequence: hashlib.sha256(encoded).digest()
            for sequence, encoded in connection.execute(
                select(vouchers.c.sequence, vouchers.c.encoded).where(
                    vouchers.c.terminal_id == head.terminal_id, vouchers.c.sequence.between(*span)
                )
            )
        }
        if head.first_sequence == 1:
            kept[0] = genesis_hash(head.terminal_id, terminal.public_key)
        sent = [head.previous_hash]
        sent += [hashlib.sha256(encoded).digest() for encoded in self.batch.vouchers]
        for sequence, hash_ in zip(range(span[0], span[1] + 1), sent, strict=False):
            if kept.get(sequence) != hash_:
                raise ForkedChain(sequence=sequence, terminal_id=head.terminal_id)
        rows = connection.execute(
            select(quarantine.c.sequence, quarantine.c.reason)
            .where(
                quarantine.c.terminal_id == head.terminal_id,
                quarantine.c.sequence.between(head.first_sequence, span[1]),
            )
            .order_by(quarantine.c.sequence)
        )
        return [(sequence, reason) for sequence, reason in rows]

    def _post_sales(
        self, connection: Connection, sales: Sequence[Sale], terminal: Row[Any], booked_at: int
    ) -> None:
        seller = seller_account(terminal.seller_kind, terminal.seller_id)
        transactions, journal = self.rows_of_sales(sales, seller, booked_at)
        copy_rows(connection, TRANSACTIONS, transactions)
        copy_rows(connection, SALES, journal)

    def rows_of_sales(
        self, sales: Sequence[Sale], seller: int, booked_at: int
    ) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """The cards' transactions, and the postings from the cards to the till's registered seller.

        Transactions in the order of the cards: two writers of the same numbers, which only a copied
        card makes, wait for each other and not in a circle.
        """
        facts, till = self.facts, self.batch.head.terminal_id
        of_cards = account_number(Group.CARD)
        kind = RecordKind.SALE.value
        transactions, journal = [], []
        for number, at, _, uid, counter, amount, before, maker, made, _ in sales:
            after = before - amount
            transactions.append(
                (uid, counter, kind, till, number, maker, made, amount, before, after, True, at)
            )
            card = of_cards + facts[uid].serial
            journal.append((booked_at, card, seller, amount, uid, till, number))
        transactions.sort()
        return transactions, journal

    def _post_one_by_one(
        self,
        connection: Connection,
        judged: JudgedBatch,
        terminal: Row[Any],
        booked_at: int,
        second_look: SecondLook,
    ) -> JudgedBatch:
        posted = JudgedBatch([], list(judged.others))
        for sale in judged.sales:
            try:
                with connection.begin_nested():
                    self._post_sales(connection, [sale], terminal, booked_at)
            except _CANNOT_BE_POSTED as error:
                refused = second_look.duplicate(sale, None)
                if not isinstance(error, IntegrityError):
                    detail = f"{type(error).__name__} when it was posted"
                    refused = Refused(refused.voucher, Reason.CANNOT_BE_POSTED, detail)
                posted.others.append((sale.sequence, refused))
            else:
                posted.sales.append(sale)
        return posted

    def _insert_vouchers(self, connection: Connection, first_new: int) -> None:
        copy_rows(connection, VOUCHERS, self.rows_of_vouchers(first_new))

    def rows_of_vouchers(self, first_new: int) -> list[tuple[Any, ...]]:
        head, now = self.batch.head, self.now
        new = self.batch.vouchers[first_new - head.first_sequence :]
        return [
            (head.terminal_id, sequence, now, encoded)
            for sequence, encoded in enumerate(new, start=first_new)
        ]

    def _insert_quarantine(self, connection: Connection, refused: Mapping[int, Refused]) -> None:
        rows = []
        for sequence, verdict in refused.items():
            rows.append(
                {
                    "terminal_id": self.batch.head.terminal_id,
                    "sequence": sequence,
                    "reason": verdict.reason.value,
                    "detail": verdict.detail[:200],
                    "received_at": self.now,
                }
            )
            if verdict.reason in _SUSPICIOUS:
                self._note(
                    verdict.reason.value,
                    sequence,
                    verdict.detail,
                    uid_of(verdict.voucher),
                    amount_of(verdict.voucher),
                )
        insert_rows(connection, quarantine, rows)

    def _insert_others(self, connection: Connection, judged: JudgedBatch) -> list[Word]:
        """Doubts, refunds and words, to be followed by the second transaction; the words."""
        doubts = [one for _, one in judged.others if isinstance(one, PlausibleDoubt)]
        noted = [one.voucher for _, one in judged.others if isinstance(one, Noted)]
        rows = [
            {
                "terminal_id": doubt.voucher.link.terminal_id,
                "sequence": doubt.voucher.link.sequence,
                "card_uid": doubt.voucher.intent.card_uid,
                "amount_rupiah": doubt.voucher.intent.amount.amount,
                "evidence": doubt.voucher.intent.evidence,
                "at": doubt.voucher.link.unix_seconds,
                "state": DoubtState.OPEN.value,
                "settled_by": "",
                "explanation": "",
                "counter": None,
                "searched_to": 0,
                "claimed_paid": False,
            }
            for doubt in doubts
        ]
        insert_rows(connection, in_doubt, rows)
        note_refunds(connection, [one for one in noted if isinstance(one, RefundVoucher)])
        note_decisions(connection, [one for one in noted if isinstance(one, DecisionVoucher)])
        return words_of(noted)

    def _find_anomalies(self, judged: JudgedBatch, terminal: Row[Any]) -> None:
        claimed = {sale.seller for sale in judged.sales}
        claimed |= {
            verdict.voucher.intent.seller
            for _, verdict in judged.others
            if isinstance(verdict, PlausibleDoubt)
        }
        for seller in sorted(claimed - {terminal.seller}):
            self._anomalies.append(
                anomaly_row(
                    "other-seller",
                    f"{terminal.id}/{seller}",
                    at=self.now,
                    detail=f"sales for {seller!r}, registered for {terminal.seller!r}",
                    terminal_id=terminal.id,
                )
            )
        blocked = {uid for uid, card in self.facts.items() if card.blocked}
        if blocked:
            for sale in judged.sales:
                if sale.card_uid in blocked:
                    amount = Rupiah(sale.amount_rupiah)
                    self._note(
                        "sale-with-blocked-card", sale.sequence, f"{amount}", sale.card_uid, amount
                    )

    def _find_sales_without_pin(self, connection: Connection, sales: Sequence[Sale]) -> None:
        """The till says so itself: no card's evidence shows whether a PIN was proved."""
        limits = PinLimits.known(connection, self.central.settings)
        for sale in sales if limits.are_any else ():
            amount = Rupiah(sale.amount_rupiah)
            if not sale.with_pin and limits.needed(amount, sale.unix_seconds):
                self._note("sale-without-pin", sale.sequence, f"{amount}", sale.card_uid, amount)

    def _note(
        self, kind: str, sequence: int, detail: str, uid: bytes, amount: Rupiah | None
    ) -> None:
        terminal_id = self.batch.head.terminal_id
        self._anomalies.append(
            anomaly_row(
                kind,
                f"{terminal_id}/{sequence}",
                at=self.now,
                detail=detail,
                card_uid=uid,
                terminal_id=terminal_id,
                amount=amount,
            )
        )


def _reasons(refused: Mapping[int, Refused]) -> list[tuple[int, str]]:
    return [(sequence, refused[sequence].reason.value) for sequence in sorted(refused)]


_SUSPICIOUS = frozenset(
    {
        Reason.CANNOT_BE_POSTED,
        Reason.CLAIM_DIFFERS,
        Reason.WRONG_CARD_MAC,
        Reason.DUPLICATE_COUNTER,
        Reason.IMPLAUSIBLE_EVIDENCE,
        Reason.REFUND_TOO_MUCH,
        Reason.REFUNDS_NOTHING,
        Reason.TOO_MANY_DOUBTS,
    }
)
