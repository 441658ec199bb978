"""Looking at a posted batch beside what others brought, and settling what that decides.

A batch is posted by one transaction without any card's lock, and looked at by a second one, which
begins when the first is durable. Of two batches that bring facts about one card the later to be
posted is looked at when both are on record: so none misses the other's (decision 16). One statement
finds the cards with something to conclude, which are few; only they are locked, in one order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, select, text, update
from sqlalchemy.exc import IntegrityError

from dobmi.cardlib.evidence import parse_sale_evidence
from dobmi.cardlib.purse_layout import RecordKind
from dobmi.central.conclusions import (
    FAILS_ALONE,
    by_itself,
    carry_out_refunds,
    heads_of_terminals,
    lock_cards,
    post_sale,
    record_transaction,
    settle_cards,
    transaction_row,
)
from dobmi.central.doubts import (
    WITHOUT_THE_CARD,
    Rule,
    conclude,
    is_settled_for_good,
    note_claim,
    weigh_decision,
)
from dobmi.central.errors import KeyTaken
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.posting_rules import Kind
from dobmi.central.replacement import follow_up
from dobmi.central.schema import (
    MAY_BE_ON_CARD,
    DoubtState,
    batches_to_look_at,
    card_transactions,
    cards,
    in_doubt,
    quarantine,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.verification import MacKeyOf, previous_of
from dobmi.money import Rupiah
from dobmi.sync.voucher import (
    DecisionVoucher,
    Outcome,
    ResolutionVoucher,
    Voucher,
    decode_voucher,
)

_log = logging.getLogger(__name__)

NO_RACE = (*FAILS_ALONE, IntegrityError)
"""Failures where no other writer can be the cause of a number that is taken."""

Word = ResolutionVoucher | DecisionVoucher
"""What a till says of its own sale in doubt."""

_MINE = """
    mine AS MATERIALIZED (
        SELECT card_uid, counter, terminal_id, sequence, balance_before_rupiah,
            balance_after_rupiah, coalesce(previous_terminal_id, -1) AS previous_terminal_id,
            coalesce(previous_sequence, -1) AS previous_sequence
        FROM card_transactions
        WHERE terminal_id = :terminal_id AND sequence BETWEEN :first AND :last
    ),
    touched AS MATERIALIZED (
        SELECT card_uid FROM mine UNION SELECT card_uid FROM in_doubt
        WHERE terminal_id = :terminal_id AND sequence BETWEEN :first AND :last
    )
"""
_UNDECIDED = text(f"""
    WITH {_MINE}
    SELECT mine.card_uid, 1 AS undecided FROM mine
    LEFT JOIN card_transactions AS before
        ON before.card_uid = mine.card_uid AND before.counter = mine.counter - 1
    LEFT JOIN card_transactions AS after
        ON after.card_uid = mine.card_uid AND after.counter = (
            SELECT min(later.counter) FROM card_transactions AS later
            WHERE later.card_uid = mine.card_uid AND later.counter > mine.counter)
    LEFT JOIN terminals AS maker ON maker.id = mine.previous_terminal_id
    WHERE CASE
            WHEN before.counter IS NOT NULL THEN
                before.balance_after_rupiah <> mine.balance_before_rupiah
                OR before.terminal_id <> mine.previous_terminal_id
                OR before.sequence <> mine.previous_sequence
            WHEN mine.counter = 1 THEN
                mine.balance_before_rupiah <> 0 OR mine.previous_terminal_id <> -1
            ELSE maker.id IS NULL OR maker.head_sequence >= mine.previous_sequence
        END
        OR after.counter IS NOT NULL AND (
            after.counter > mine.counter + 1
            OR after.balance_before_rupiah <> mine.balance_after_rupiah
            OR coalesce(after.previous_terminal_id, -1) <> mine.terminal_id
            OR coalesce(after.previous_sequence, -1) <> mine.sequence)
    UNION SELECT card_uid, 1 FROM in_doubt
    WHERE card_uid IN (SELECT card_uid FROM touched) AND (state IN ('open', 'suspended')
        OR state = 'not_paid' AND settled_by IN :without_the_card)
    UNION SELECT card_uid, 1 FROM pending_credits
    WHERE state IN :may_be_on_card AND card_uid IN (SELECT card_uid FROM touched)
    UNION SELECT card_uid, 1 FROM posting_keys
    WHERE kind IN ('{Kind.UNEXPLAINED_LOSS}', '{Kind.UNEXPLAINED_GAIN}')
        AND card_uid IN (SELECT card_uid FROM touched)
    UNION SELECT card_uid, 1 FROM named_before AS named
    WHERE terminal_id = :terminal_id AND sequence BETWEEN :first AND :last AND (
        SELECT 1 FROM card_transactions AS sold
        WHERE sold.terminal_id = named.terminal_id AND sold.sequence = named.sequence
            AND sold.card_uid = named.card_uid LIMIT 1) IS NULL
    UNION SELECT card_uid, 0 FROM replacements WHERE card_uid IN (SELECT card_uid FROM touched)
    UNION SELECT card_uid, 0 FROM refunds
    WHERE terminal_id = :terminal_id AND sequence BETWEEN :first AND :last
""").bindparams(  # noqa: S608 - our own kinds
    *(
        # Written into the statement: with parameters there, a plan that is kept for all of them
        # cannot use the indexes of just these states, and reads whole tables.
        bindparam(name, values, expanding=True, literal_execute=True)
        for name, values in (
            ("without_the_card", sorted(by.value for by in WITHOUT_THE_CARD)),
            ("may_be_on_card", sorted(state.value for state in MAY_BE_ON_CARD)),
        )
    ),
)
"""Cards whose transactions do not simply go on, or have a doubt, a credit in doubt, or something in
suspense, or named a sale that its till has now reported to be none.

`(SELECT 1 … LIMIT 1) IS NULL` is NOT EXISTS by one look into an index for each row. As a join it was planned by the
statistics of the minute before, in which a till that has begun to send has no sales, and read all it had sent.

Where the card names a sale that its till may yet send, nothing follows but from attempts. Not
`undecided`: lost cards, and those whose sales were given back, which are to be followed up."""


def look_at_posted(
    central: Central,
    terminal_id: int,
    first_sequence: int,
    mac_key_of: MacKeyOf,
    words: Sequence[Word] | None = None,
) -> bool:
    """The second transaction of the batch with these new vouchers; False: somebody has done it.

    `words`: those among its vouchers that were believed, if they are at hand. Raises ServerBusy.
    """
    mine = and_(
        batches_to_look_at.c.terminal_id == terminal_id,
        batches_to_look_at.c.first_sequence == first_sequence,
    )

    def look(connection: Connection, failures: tuple[type[Exception], ...] = FAILS_ALONE) -> bool:
        waiting = connection.execute(
            delete(batches_to_look_at).where(mine).returning(batches_to_look_at.c.last_sequence)
        ).scalar_one_or_none()
        if waiting is None:
            return False
        known = words
        if known is None:
            known = _words_on_record(connection, terminal_id, first_sequence, waiting)
        span = (terminal_id, first_sequence, waiting)
        now = central.unix_seconds()
        if not settle_beside(connection, span, known, mac_key_of, now, failures=failures):
            # Should a crash lose this commit, the batch is looked at once more.
            connection.execute(text("SET LOCAL synchronous_commit TO off"))
        return True

    try:
        return central.database.write_again(look)
    except KeyTaken:
        # Time and again: that is no race. Nobody is helped by a till that is refused for ever.
        with central.database.write() as connection:
            return look(connection, NO_RACE)


def look_at_all_posted(central: Central, terminal_id: int | None = None) -> int:
    """Look at what a crash, or a database too busy, left; how many batches that were."""
    statement = select(batches_to_look_at.c.terminal_id, batches_to_look_at.c.first_sequence)
    if terminal_id is not None:
        statement = statement.where(batches_to_look_at.c.terminal_id == terminal_id)
    with central.database.read() as connection:
        left = connection.execute(statement.order_by(*statement.selected_columns)).all()
    if not left:
        return 0
    mac_key_of = central.mac_keys()
    return sum(look_at_posted(central, *row, mac_key_of) for row in left)


def settle_beside(
    connection: Connection,
    span: tuple[int, int, int],
    words: Sequence[Word],
    mac_key_of: MacKeyOf,
    now: int,
    *,
    failures: tuple[type[Exception], ...] = FAILS_ALONE,
) -> bool:
    """Settle what the till's vouchers of `span` (terminal, first, last) decide; whether anything.

    Runs when they are on record, and all that others brought before. What raises `failures` is left
    as it is, and is a finding.
    """
    terminal_id, first, last = span
    where: Mapping[str, object] = {"terminal_id": terminal_id, "first": first, "last": last}
    to_settle = {word.card_uid for word in words}
    to_follow_up: set[bytes] = set()
    for uid, undecided in connection.execute(_UNDECIDED, where):
        (to_settle if undecided else to_follow_up).add(bytes(uid))
    if not to_settle and not to_follow_up:
        return False
    lock_cards(connection, to_settle | to_follow_up)
    for word in words:
        with by_itself(connection, word.card_uid, now, failures):
            _take_word(connection, word, mac_key_of, now)
    heads = heads_of_terminals(connection)
    for uid in sorted(to_settle | to_follow_up):
        with by_itself(connection, uid, now, failures):
            if uid in to_settle:
                settle_cards(connection, [uid], mac_key_of, now, heads=heads)
            else:
                carry_out_refunds(connection, uid, now)
                follow_up(connection, uid, now)
    return True


def _words_on_record(connection: Connection, terminal_id: int, first: int, last: int) -> list[Word]:
    """The believed words among the till's vouchers, read again."""
    refused = select(quarantine.c.sequence).where(
        quarantine.c.terminal_id == terminal_id, quarantine.c.sequence.between(first, last)
    )
    encoded = connection.execute(
        select(vouchers.c.encoded)
        .where(
            vouchers.c.terminal_id == terminal_id,
            vouchers.c.sequence.between(first, last),
            vouchers.c.sequence.not_in(refused),
        )
        .order_by(vouchers.c.sequence)
    ).scalars()
    return words_of(decode_voucher(bytes(one)) for one in encoded)


def words_of(believed: Iterable[Voucher]) -> list[Word]:
    """The words among vouchers, in their order."""
    return [one for one in believed if isinstance(one, ResolutionVoucher | DecisionVoucher)]


def _take_word(connection: Connection, voucher: Word, mac_key_of: MacKeyOf, now: int) -> None:
    """What the till says of its own doubts."""
    if isinstance(voucher, DecisionVoucher):
        weigh_decision(connection, voucher, now)
        return
    terminal_id = voucher.link.terminal_id
    where = (terminal_id, voucher.resolves)
    doubt = connection.execute(
        select(in_doubt).where(
            in_doubt.c.terminal_id == terminal_id, in_doubt.c.sequence == voucher.resolves
        )
    ).one()
    if voucher.card_counter is not None:
        _paid_with_mac(connection, voucher, doubt, mac_key_of, now)
    elif not is_settled_for_good(doubt):
        if voucher.outcome is Outcome.NOT_PAID:
            explanation = f"the till's word, voucher {voucher.link.sequence}"
            state = DoubtState.NOT_PAID
            conclude(connection, *where, state, Rule.TILL, explanation=explanation, now=now)
        elif doubt.state != DoubtState.SUSPENDED:
            explanation = (
                f"PAID, says the till in voucher {voucher.link.sequence}; "
                "the card has yet to vouch for it"
            )
            note_claim(connection, *where, explanation, now)
    elif (voucher.outcome is Outcome.PAID) != (doubt.state == DoubtState.PAID):
        finding = anomaly_row(
            "resolution-contradicts-card",
            f"{terminal_id}/{voucher.link.sequence}",
            at=now,
            detail=f"{voucher.outcome.name} said of {voucher.resolves}, {doubt.state} known",
            card_uid=voucher.card_uid,
            terminal_id=terminal_id,
        )
        note_findings(connection, [finding])


def _paid_with_mac(
    connection: Connection,
    voucher: ResolutionVoucher,
    doubt: Row[Any],
    mac_key_of: MacKeyOf,
    now: int,
) -> None:
    """The card's MAC covers the intent's evidence: as good as the sale's own voucher."""
    uid, counter = voucher.card_uid, voucher.card_counter
    assert counter is not None
    where = (doubt.terminal_id, doubt.sequence)
    same = and_(in_doubt.c.terminal_id == where[0], in_doubt.c.sequence == where[1])
    connection.execute(
        update(in_doubt).where(same).values(resolved_in=voucher.link.sequence, counter=counter)
    )
    number = and_(card_transactions.c.card_uid == uid, card_transactions.c.counter == counter)
    on_record = connection.execute(
        select(card_transactions.c.terminal_id, card_transactions.c.sequence).where(number)
    ).one_or_none()
    if on_record is not None:
        if tuple(on_record) == where:  # settled meanwhile, by the transactions beside it
            connection.execute(
                update(card_transactions).where(number).values(card_mac_verified=True)
            )
            return
        # Taken after this voucher had been believed: two MACs of the card for one number.
        finding = anomaly_row(
            "duplicate-counter",
            f"{where[0]}/{voucher.link.sequence}",
            at=now,
            detail=f"transaction {counter} is on record as {on_record[0]}/{on_record[1]}",
            card_uid=uid,
            terminal_id=where[0],
            amount=Rupiah(doubt.amount_rupiah),
        )
        note_findings(connection, [finding])
        return
    evidence = parse_sale_evidence(bytes(doubt.evidence))
    version = connection.execute(
        select(cards.c.mac_key_version).where(cards.c.uid == uid)
    ).scalar_one()
    encrypted = evidence.encrypted_previous_reader_id
    row = transaction_row(
        uid,
        counter,
        RecordKind.SALE,
        reader_id=evidence.reader_id,
        previous=previous_of(mac_key_of(uid, version), uid, counter, encrypted),
        balance_before=evidence.balance_before,
        balance_after=evidence.balance_after,
        at=doubt.at,
        card_mac_verified=True,
    )
    record_transaction(connection, row)
    explanation = f"the card's MAC, in voucher {voucher.link.sequence}"
    amount = Rupiah(doubt.amount_rupiah)
    post_sale(connection, uid, evidence.reader_id, amount, at=now, explanation=explanation)
    rule = Rule.CARD_MAC
    conclude(connection, *where, DoubtState.PAID, rule, explanation=explanation, now=now)
