"""Carries out what `deduction` concludes for a card: postings, states, anomalies.

Runs inside the transaction that brought the new facts. Doing it again changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, select, text, update

from dobmi.cardlib.errors import CustodyUnavailable
from dobmi.cardlib.evidence import parse_credit_evidence, parse_sale_evidence
from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID, ReaderId, RecordKind
from dobmi.central.database import Database, insert_rows, whole_sum
from dobmi.central.deduction import (
    Attempt,
    Known,
    NotPaid,
    OtherPrevious,
    Paid,
    Report,
    Unexplained,
    deduce,
)
from dobmi.central.doubts import Rule, conclude, the_card_can_tell
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.journal import post
from dobmi.central.posting_rules import Kind
from dobmi.central.refunds import order_refunds
from dobmi.central.replacement import follow_up
from dobmi.central.schema import (
    MAY_BE_ON_CARD,
    WAITING,
    CreditDelivery,
    DoubtState,
    SettledBy,
    card_transactions,
    cards,
    credit_attempts,
    in_doubt,
    pending_credits,
    postings,
    terminals,
)
from dobmi.central.verification import FOREIGN_READER, MacKeyOf, find_counter
from dobmi.central.wallets import load_cards
from dobmi.errors import DoBMIError
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings

_log = logging.getLogger(__name__)

PROGRAM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What code raises that fails on something nobody thought of."""
FAILS_ALONE: tuple[type[Exception], ...] = (*PROGRAM_ERRORS, DoBMIError)
_SEARCH_AHEAD = 64
"""How many transactions a card may be ahead of what is on record, for an intent to be placed."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A row of `in_doubt`, or of `credit_attempts` for a credit in doubt, as an attempt."""

    attempt: Attempt
    amount: Rupiah
    table: Table
    key: Mapping[str, Any]
    denied: bool
    """The till said NOT PAID."""


def transaction_row(
    uid: bytes,
    counter: int,
    kind: RecordKind,
    *,
    reader_id: ReaderId,
    previous: ReaderId | None,
    balance_before: Rupiah,
    balance_after: Rupiah,
    at: int,
    card_mac_verified: bool,
) -> dict[str, object]:
    """A row of `card_transactions`."""
    return {
        "card_uid": uid,
        "counter": counter,
        "kind": kind.value,
        "terminal_id": reader_id.terminal_id,
        "sequence": reader_id.sequence,
        "previous_terminal_id": None if previous is None else previous.terminal_id,
        "previous_sequence": None if previous is None else previous.sequence,
        "amount_rupiah": abs((balance_after - balance_before).amount),
        "balance_before_rupiah": balance_before.amount,
        "balance_after_rupiah": balance_after.amount,
        "card_mac_verified": card_mac_verified,
        "at": at,
    }


def record_transaction(connection: Connection, row: Mapping[str, object]) -> None:
    """Put a transaction on record that is not; a broken constraint is an error."""
    insert_rows(connection, card_transactions, [row])
    connection.execute(_NAME_BEFORE, {"uid": row["card_uid"], "counter": row["counter"]})


_NAMES = """
    INSERT INTO named_before (terminal_id, sequence, card_uid, counter)
    SELECT mine.previous_terminal_id, mine.previous_sequence, mine.card_uid, mine.counter
    FROM card_transactions AS mine JOIN terminals AS maker ON maker.id = mine.previous_terminal_id
    WHERE (
        SELECT 1 FROM card_transactions AS before
        WHERE before.card_uid = mine.card_uid AND before.counter = mine.counter - 1
            AND before.terminal_id = mine.previous_terminal_id
            AND before.sequence = mine.previous_sequence LIMIT 1) IS NULL
"""
NAMES_BEFORE_BATCH = text(  # of the till's vouchers :first to :last
    f"{_NAMES} AND mine.terminal_id = :terminal_id AND mine.sequence BETWEEN :first AND :last"
)
_NAME_BEFORE = text(f"{_NAMES} AND mine.card_uid = :uid AND mine.counter = :counter")


def lock_cards(connection: Connection, uids: Iterable[bytes]) -> None:
    """Lock these cards and their members' other ones, which a refund or a replacement may credit.

    In one order everywhere, so that no two writers wait for each other (PostgreSQL; on SQLite
    there is one writer at a time).
    """
    if connection.dialect.name != "sqlite":
        wanted = select(cards.c.uid).where(cards.c.uid.in_(cards_with_them(connection, uids)))
        connection.execute(wanted.order_by(cards.c.uid).with_for_update(key_share=True)).all()


def cards_with_them(connection: Connection, uids: Iterable[bytes]) -> list[bytes]:
    """These cards and all others of their members, by UID."""
    members_of = select(cards.c.member_number).where(cards.c.uid.in_(sorted(set(uids))))
    found = connection.execute(
        select(cards.c.uid).where(cards.c.member_number.in_(members_of)).order_by(cards.c.uid)
    ).scalars()
    return [bytes(uid) for uid in found]


@contextmanager
def by_itself(
    connection: Connection,
    uid: bytes,
    now: int,
    failures: tuple[type[Exception], ...] = FAILS_ALONE,
) -> Iterator[None]:
    """What fails in this block is undone, and is a finding: one card must not hold up all others."""
    try:
        with connection.begin_nested():
            yield
    except CustodyUnavailable:  # no card's fault: all of them wait
        raise
    except failures as error:
        _log.exception("card %s cannot be settled", uid.hex())
        finding = anomaly_row(
            "card-not-settled",
            uid.hex(),
            at=now,
            detail=f"{type(error).__name__}: see the server's log",
            card_uid=uid,
        )
        note_findings(connection, [finding])


def heads_of_terminals(connection: Connection) -> dict[int, int]:
    """How far each has reported. To be read before what it reported, or that seems not to come."""
    heads = connection.execute(select(terminals.c.id, terminals.c.head_sequence))
    return {row.id: row.head_sequence for row in heads}


def settle_cards(
    connection: Connection,
    uids: Iterable[bytes],
    mac_key_of: MacKeyOf,
    now: int,
    *,
    heads: Mapping[int, int] | None = None,
) -> None:
    """Conclude all that the facts on record allow, for each of the cards.

    `heads`: as read in this transaction already, by whoever settles many cards.
    """
    if heads is None:
        heads = heads_of_terminals(connection)
    for uid in sorted(set(uids)):
        _Conclusion(connection, uid, mac_key_of, heads, now).run()
        carry_out_refunds(connection, uid, now)
        follow_up(connection, uid, now)


def carry_out_refunds(connection: Connection, uid: bytes, now: int) -> None:
    """The refunds of the card's sales, as far as those are posted and the member has a card."""
    for row in order_refunds(connection, uid, now):
        of_nothing = anomaly_row(
            "refund-of-unpaid-sale",
            f"{row.terminal_id}/{row.sequence}",
            at=now,
            detail=f"{Rupiah(row.amount_rupiah)} given back of sale {row.sale_sequence}",
            card_uid=uid,
            terminal_id=row.terminal_id,
            amount=Rupiah(row.amount_rupiah),
        )
        note_findings(connection, [of_nothing])


def serve_member(
    connection: Connection, member_number: int, now: int, settings: CentralSettings
) -> None:
    """The member has a card in force now: what waited for one is carried out.

    Of the wallet as much goes onto it as by `settings` the card may hold.
    """
    owned = select(cards.c.uid).where(cards.c.member_number == member_number)
    for uid in connection.execute(owned.order_by(cards.c.uid)).scalars().all():
        carry_out_refunds(connection, bytes(uid), now)
        follow_up(connection, bytes(uid), now)
    load_cards(connection, [member_number], settings, now)


def reconcile(database: Database, mac_key_of: MacKeyOf, now: int) -> int:
    """Conclude again for every card with a gap or something open; how many cards that were.

    Ingest does it for the cards a batch touches; this is for what a person wants looked at again.
    """
    gaps = (
        select(card_transactions.c.card_uid)
        .group_by(card_transactions.c.card_uid)
        .having(func.count() != func.max(card_transactions.c.counter))
    )
    open_doubts = select(in_doubt.c.card_uid).where(
        in_doubt.c.state.in_((DoubtState.OPEN, DoubtState.SUSPENDED))
    )
    open_credits = select(pending_credits.c.card_uid).where(
        pending_credits.c.state == CreditDelivery.IN_DOUBT
    )
    with database.read() as connection:
        uids = sorted(connection.execute(gaps.union(open_doubts, open_credits)).scalars())
    for uid in uids:
        settle_again(database, uid, mac_key_of, now)
    return len(uids)


def settle_again(database: Database, uid: bytes, mac_key_of: MacKeyOf, now: int) -> None:
    """Conclude for the card once more, in a transaction that begins now.

    Whoever writes a fact about a card does it when that is durable: of two writers who could not
    see each other's the later one now sees both.
    """

    def settle(connection: Connection) -> None:
        lock_cards(connection, [uid])
        settle_cards(connection, [uid], mac_key_of, now)

    database.write_again(settle)


class _Conclusion:
    """One card, one transaction."""

    def __init__(
        self,
        connection: Connection,
        uid: bytes,
        mac_key_of: MacKeyOf,
        heads: Mapping[int, int],
        now: int,
    ) -> None:
        self._connection = connection
        self._uid = uid
        self._heads = heads
        self._now = now
        version = connection.execute(
            select(cards.c.mac_key_version).where(cards.c.uid == uid)
        ).scalar_one()
        self._mac_key = mac_key_of(uid, version)

    def run(self) -> None:
        known = self._known()  # after the heads: a till that has reported has what it reported
        doubts = self._doubts(max(known, default=0))
        by_attempt = {id(doubt.attempt): doubt for doubt in doubts}
        in_doubt_readers = {doubt.attempt.reader_id for doubt in doubts}
        deductions = deduce(
            known,
            [doubt.attempt for doubt in doubts],
            lambda reader: self._report(reader, in_doubt_readers),
        )
        found: list[Unexplained] = []
        for deduction in deductions:
            match deduction:
                case Paid(attempt, counter):
                    self._paid(by_attempt[id(attempt)], counter, on_record=counter in known)
                case NotPaid(attempt):
                    self._not_paid(by_attempt[id(attempt)])
                case Unexplained():
                    self._unexplained(deduction)
                    found.append(deduction)
                case OtherPrevious():
                    self._other_previous(deduction)
        self._suspend(found)

    def _known(self) -> dict[int, Known]:
        rows = self._connection.execute(
            select(card_transactions).where(card_transactions.c.card_uid == self._uid)
        )
        return {
            row.counter: Known(
                reader_id=ReaderId(terminal_id=row.terminal_id, sequence=row.sequence),
                previous=(
                    None
                    if row.previous_terminal_id is None
                    else ReaderId(
                        terminal_id=row.previous_terminal_id, sequence=row.previous_sequence
                    )
                ),
                balance_before=Rupiah(row.balance_before_rupiah),
                balance_after=Rupiah(row.balance_after_rupiah),
            )
            for row in rows
        }

    def _doubts(self, newest: int) -> list[_Doubt]:
        sales = self._connection.execute(
            select(in_doubt).where(
                in_doubt.c.card_uid == self._uid,
                the_card_can_tell(),
            )
        ).all()
        doubts = []
        for row in sales:
            key = {"terminal_id": row.terminal_id, "sequence": row.sequence}
            doubts.append(self._doubt(row, in_doubt, key, newest))
        credits_in_doubt = self._connection.execute(
            select(credit_attempts)
            .join(
                pending_credits,
                (pending_credits.c.card_uid == credit_attempts.c.card_uid)
                & (pending_credits.c.sequence == credit_attempts.c.sequence),
            )
            .where(
                credit_attempts.c.card_uid == self._uid,
                pending_credits.c.state.in_(MAY_BE_ON_CARD),
            )
        ).all()
        doubts += [
            self._doubt(row, credit_attempts, {"id": row.id}, newest) for row in credits_in_doubt
        ]
        return doubts

    def _doubt(self, row: Any, table: Table, key: Mapping[str, Any], newest: int) -> _Doubt:
        parse = parse_sale_evidence if table is in_doubt else parse_credit_evidence
        evidence = parse(row.evidence)
        counter, previous = row.counter, None
        encrypted = evidence.encrypted_previous_reader_id
        first, last = row.searched_to + 1, newest + _SEARCH_AHEAD
        if counter is not None:
            first = last = counter
        found = find_counter(self._mac_key, self._uid, encrypted, first, last)
        if found is not None:
            counter, previous = found
        if row.counter is None and last > row.searched_to:
            same_row = [table.c[name] == value for name, value in key.items()]
            self._connection.execute(
                update(table).where(*same_row).values(counter=counter, searched_to=last)
            )
        if counter is None and table is in_doubt and newest:
            self._anomaly(
                "doubt-fits-no-transaction",
                f"{row.terminal_id}/{row.sequence}",
                f"made for none of the card's transactions up to {last}: no card told it so",
                terminal_id=row.terminal_id,
                amount=evidence.amount,
            )
        return _Doubt(
            attempt=Attempt(
                reader_id=evidence.reader_id,
                counter=counter,
                previous=previous,
                balance_before=evidence.balance_before,
                balance_after=evidence.balance_after,
            ),
            amount=evidence.amount,
            table=table,
            key=key,
            denied=(
                table is in_doubt
                and row.state == DoubtState.NOT_PAID
                and row.settled_by == SettledBy.RESOLUTION
            ),
        )

    def _report(self, reader: ReaderId, in_doubt_readers: set[ReaderId]) -> Report:
        if reader in in_doubt_readers:
            return Report.ATTEMPT
        if reader.terminal_id == CENTRAL_TERMINAL_ID or reader == FOREIGN_READER:
            return Report.WILL_NOT_COME
        head = self._heads.get(reader.terminal_id)
        if head is not None and head < reader.sequence:
            return Report.MAY_COME
        return Report.WILL_NOT_COME

    def _paid(self, doubt: _Doubt, counter: int, *, on_record: bool) -> None:
        attempt = doubt.attempt
        reader = attempt.reader_id
        is_sale = doubt.table is in_doubt
        if not on_record:
            kind = RecordKind.SALE if is_sale else RecordKind.CREDIT
            row = transaction_row(
                self._uid,
                counter,
                kind,
                reader_id=reader,
                previous=attempt.previous,
                balance_before=attempt.balance_before,
                balance_after=attempt.balance_after,
                at=self._now,
                card_mac_verified=False,
            )
            record_transaction(self._connection, row)
        if is_sale:
            explanation = f"the card's transaction {counter} was this sale"
            self._set_doubt(doubt, DoubtState.PAID, explanation)
            if doubt.denied:
                self._anomaly(
                    "denied-sale-was-paid",
                    f"{reader.terminal_id}/{reader.sequence}",
                    f"the till said NOT PAID; {explanation}, {doubt.amount}",
                    terminal_id=reader.terminal_id,
                    amount=doubt.amount,
                )
            if not on_record:
                post_sale(
                    self._connection,
                    self._uid,
                    reader,
                    doubt.amount,
                    at=self._now,
                    explanation=explanation,
                )
        else:
            deliver_credit(self._connection, self._uid, reader.sequence, self._now, counter=counter)

    def _not_paid(self, doubt: _Doubt) -> None:
        if doubt.table is in_doubt:
            explanation = f"the card's transaction {doubt.attempt.counter} was another"
            self._set_doubt(doubt, DoubtState.NOT_PAID, explanation)

    def _unexplained(self, found: Unexplained) -> None:
        counter = found.last + 1
        readers = ", ".join(f"{reader.terminal_id}/{reader.sequence}" for reader in found.readers)
        detail = f"transactions {found.first} to {found.last} by {readers}: {found.lost} missing"
        kind = "transaction-without-voucher"
        if found.first > found.last:
            kind = "balance-does-not-follow"
            detail = f"before transaction {counter} by {readers}: {found.lost} missing"
        made_by = {reader.terminal_id for reader in found.readers}
        self._anomaly(
            kind,
            f"{self._uid.hex()}/{counter}",
            detail,
            terminal_id=made_by.pop() if len(made_by) == 1 else None,
            amount=found.lost,
        )
        for reader in found.readers:
            disputed = self._connection.execute(
                select(in_doubt.c.terminal_id, in_doubt.c.sequence).where(
                    in_doubt.c.terminal_id == reader.terminal_id,
                    in_doubt.c.sequence == reader.sequence,
                    in_doubt.c.card_uid == self._uid,
                    in_doubt.c.state != DoubtState.PAID,
                )
            ).one_or_none()
            if disputed is not None:
                state = DoubtState.DISPUTED
                conclude(
                    self._connection,
                    *disputed,
                    state,
                    Rule.UNEXPLAINED,
                    explanation=detail,
                    now=self._now,
                )

    def _suspend(self, found: Sequence[Unexplained]) -> None:
        """Bring what is in suspense for this card to the sum of its unexplained differences.

        The difference is posted, so that one explained later goes out of suspense again.
        """
        rows = self._connection.execute(
            select(postings.c.kind, func.count(), whole_sum(postings.c.amount_rupiah))
            .where(
                postings.c.card_uid == self._uid,
                postings.c.kind.in_((Kind.UNEXPLAINED_LOSS, Kind.UNEXPLAINED_GAIN)),
            )
            .group_by(postings.c.kind)
        ).all()
        sums = {row[0]: row[2] for row in rows}
        suspended = sums.get(Kind.UNEXPLAINED_LOSS, 0) - sums.get(Kind.UNEXPLAINED_GAIN, 0)
        lost = sum(difference.lost.amount for difference in found)
        missing = lost + self._assumed_in(-lost) - suspended
        if missing == 0:
            return
        counters = ", ".join(str(difference.last + 1) for difference in found)
        post(
            self._connection,
            Kind.UNEXPLAINED_LOSS if missing > 0 else Kind.UNEXPLAINED_GAIN,
            Rupiah(abs(missing)),
            card_uid=self._uid,
            terminal_id=CENTRAL_TERMINAL_ID,
            sequence=sum(row[1] for row in rows) + 1,
            at=self._now,
            explanation=f"unexplained before the card's transactions: {counters or 'none any more'}",
        )

    def _assumed_in(self, gained: int) -> int:
        """How much of what the card gained is taken to be credits assumed on a lost card."""
        if gained <= 0:
            return 0
        assumed = self._connection.execute(
            select(whole_sum(pending_credits.c.amount_rupiah))
            .outerjoin(
                card_transactions,
                (card_transactions.c.card_uid == pending_credits.c.card_uid)
                & (card_transactions.c.terminal_id == CENTRAL_TERMINAL_ID)
                & (card_transactions.c.sequence == pending_credits.c.sequence),
            )
            .where(
                pending_credits.c.card_uid == self._uid,
                pending_credits.c.state == CreditDelivery.ASSUMED,
                card_transactions.c.counter.is_(None),
            )
        ).scalar_one()
        return min(gained, int(assumed))

    def _other_previous(self, found: OtherPrevious) -> None:
        self._anomaly(
            "other-transaction-before",
            f"{self._uid.hex()}/{found.counter}",
            f"transaction {found.counter} names {found.named} before it; on record {found.on_record}",
        )

    def _set_doubt(self, doubt: _Doubt, state: DoubtState, explanation: str) -> None:
        conclude(
            self._connection,
            doubt.key["terminal_id"],
            doubt.key["sequence"],
            state,
            Rule.CARD,
            explanation=explanation,
            now=self._now,
        )

    def _anomaly(
        self,
        kind: str,
        subject: str,
        detail: str,
        terminal_id: int | None = None,
        amount: Rupiah | None = None,
    ) -> None:
        row = anomaly_row(
            kind,
            subject,
            at=self._now,
            detail=detail,
            card_uid=self._uid,
            terminal_id=terminal_id,
            amount=amount,
        )
        note_findings(self._connection, [row])


def post_sale(
    connection: Connection,
    uid: bytes,
    reader: ReaderId,
    amount: Rupiah,
    *,
    at: int,
    explanation: str,
) -> None:
    """Card to outlet; the outlet is the till's seller as registered."""
    post(
        connection,
        Kind.SALE,
        amount,
        card_uid=uid,
        terminal_id=reader.terminal_id,
        sequence=reader.sequence,
        at=at,
        explanation=explanation,
    )


def deliver_credit(
    connection: Connection,
    uid: bytes,
    sequence: int,
    at: int,
    *,
    counter: int | None = None,
    mac: bytes | None = None,
    explanation: str = "",
) -> None:
    """The credit is on the card: in flight to card. Once; doing it again changes nothing."""
    same_credit = (pending_credits.c.card_uid == uid) & (pending_credits.c.sequence == sequence)
    amount = connection.execute(
        select(pending_credits.c.amount_rupiah).where(same_credit)
    ).scalar_one()
    taken = connection.execute(
        update(pending_credits)
        .where(same_credit, pending_credits.c.state.in_(WAITING))
        .values(state=CreditDelivery.DELIVERED, counter=counter, mac=mac)
    )
    if taken.rowcount:
        post(
            connection,
            Kind.DELIVERED,
            Rupiah(amount),
            card_uid=uid,
            terminal_id=CENTRAL_TERMINAL_ID,
            sequence=sequence,
            at=at,
            explanation=explanation,
        )
        return
    connection.execute(  # posted when its card was lost; now it is known
        update(pending_credits)
        .where(same_credit, pending_credits.c.state == CreditDelivery.ASSUMED)
        .values(state=CreditDelivery.DELIVERED, counter=counter, mac=mac)
    )


def last_counters(connection: Connection, uids: Sequence[bytes]) -> dict[bytes, int]:
    """The newest transaction number on record of each card that has any."""
    rows = connection.execute(
        select(card_transactions.c.card_uid, func.max(card_transactions.c.counter))
        .where(card_transactions.c.card_uid.in_(uids))
        .group_by(card_transactions.c.card_uid)
    )
    return {row[0]: row[1] for row in rows}
