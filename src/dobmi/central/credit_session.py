"""Delivering a card's pending credits, each exactly once, over any connection to the card.

The card itself keeps the number of the last credit it took, written by the same commit as the
money, so that after a lost answer the next contact tells whether it arrived. The evidence of each
attempt is durable before its commit is sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from dobmi.cardlib.errors import CustodyUnavailable, WrongTransactionMac
from dobmi.cardlib.evidence import parse_credit_evidence
from dobmi.cardlib.purse import CardTrail, Purse
from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID, CardKey, ReaderId, RecordKind
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.central.cards import PendingCredit, card_row, require_usable, waiting_credits
from dobmi.central.conclusions import (
    deliver_credit,
    record_transaction,
    settle_again,
    settle_cards,
    transaction_row,
)
from dobmi.central.credit_limits import card_limit
from dobmi.central.database import insert_rows
from dobmi.central.errors import WrongCreditState
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.key_generations import card_custody, require_card_keys
from dobmi.central.schema import (
    CreditDelivery,
    card_transactions,
    credit_attempts,
    pending_credits,
)
from dobmi.central.server import Central
from dobmi.central.verification import card_vouches, find_counter, previous_of
from dobmi.errors import MoneyMoved
from dobmi.money import ZERO, Rupiah

_SEARCH_BACK = 4096
"""How many transactions a card may have made since a credit in doubt, for it to be found again.

The card's word of its newest one comes through a relay that can change it: without this bound, a
till could have the server search four thousand million numbers while it holds the ledger's lock.
"""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a session brought onto the card. `balance`: on the card, at its end."""

    credits: tuple[PendingCredit, ...]
    balance: Rupiah

    @property
    def total(self) -> Rupiah:
        total = ZERO
        for credit in self.credits:
            total += credit.amount
        return total


def deliver_credits(
    central: Central, connection: CardConnection, *, relayed_by: int | None = None
) -> Delivered:
    """Bring all of the card's pending credits onto it, oldest first.

    `relayed_by`: the terminal between server and card, named beside what no honest one would show.

    Raises UnknownCard, CardIsBlocked, CardNotActive, CardHasExpired, CardKeysPast,
    WrongCreditState, CardError. A CardError says in `money_moved` whether the credit then under way arrived; those before it
    did.
    """
    purse = Purse(connection, card_custody(central), central.card_issuer_public_key)
    uid = purse.uid
    with central.database.read() as look:
        row = card_row(look, uid)
        require_usable(row, central.unix_seconds())
        waiting = waiting_credits(look, uid)
    if not waiting:
        return Delivered((), purse.read().balance)
    balance = ZERO
    for credit in waiting:
        balance = _deliver(central, purse, credit, card_limit(central.settings, row), relayed_by)
    return Delivered(tuple(waiting), balance)


def _deliver(
    central: Central, purse: Purse, credit: PendingCredit, limit: Rupiah, relayed_by: int | None
) -> Rupiah:
    """The card's balance, the credit being on it. Five round trips to a card far away.

    `limit` is the card's own: the member's was held to when the credit was ordered.
    """
    view = purse.begin_credit(credit.sequence)
    with central.database.read() as look:
        require_card_keys(central, look, purse.key_generation)
    on_card = view.state.last_credit_sequence
    # All before it are delivered; it may have arrived itself only if it was ever sent.
    sent = credit.state is CreditDelivery.IN_DOUBT
    if on_card != credit.sequence - 1 and not (sent and on_card == credit.sequence):
        raise _wrong_state(central, credit, on_card, known=credit.sequence - 1)
    if on_card == credit.sequence:
        settle_by_card(central, credit, purse.read_trail(), relayed_by)
        return view.balance
    prepared = purse.prepare_credit(
        credit.amount,
        central.unix_seconds(),
        balance_max=limit,
    )
    if not note_attempt(central, credit, prepared.evidence):
        raise _wrong_state(central, credit, on_card, known=credit.sequence)
    transaction = purse.stage_and_commit(prepared)
    try:
        post_delivery(central, credit, prepared.evidence, transaction, relayed_by=relayed_by)
    except CustodyUnavailable as error:  # it is on the card; the next tap has it booked
        error.money_moved = MoneyMoved.UNKNOWN
        raise
    return prepared.balance_after


def note_attempt(central: Central, credit: PendingCredit, evidence: bytes) -> bool:
    """Durable before the commit is sent: from now on the credit may be on the card.

    False, and nothing is written, if it was delivered since the session began: then the card in
    the field is not the only one of its UID, and the commit must not be sent.
    """
    row = {
        "card_uid": credit.card_uid,
        "sequence": credit.sequence,
        "evidence": evidence,
        "at": central.unix_seconds(),
        "counter": None,
        "searched_to": 0,
    }
    with central.database.write() as connection:
        # Blocked since the session began? Then the commit must not be sent.
        require_usable(card_row(connection, credit.card_uid, lock=True), central.unix_seconds())
        sent = connection.execute(
            update(pending_credits)
            .where(
                pending_credits.c.card_uid == credit.card_uid,
                pending_credits.c.sequence == credit.sequence,
                pending_credits.c.state != CreditDelivery.DELIVERED,
            )
            .values(state=CreditDelivery.IN_DOUBT.value)
        )
        may_be_sent = bool(sent.rowcount)
        if may_be_sent:
            insert_rows(connection, credit_attempts, [row])
    return may_be_sent


def post_delivery(
    central: Central,
    credit: PendingCredit,
    evidence: bytes,
    transaction: TransactionMac,
    *,
    relayed_by: int | None = None,
) -> None:
    """Post what the card's MAC vouches for. Raises WrongTransactionMac; then it stays in doubt."""
    uid, now = credit.card_uid, central.unix_seconds()
    with central.database.write() as connection:
        row = card_row(connection, uid, lock=True)
        mac_key = central.keys.card_key(CardKey.TRANSACTION_MAC, uid, row.mac_key_version).value
        if card_vouches(mac_key, uid, transaction.counter, transaction.mac, evidence):
            _record(
                connection,
                credit,
                evidence,
                counter=transaction.counter,
                mac_key=mac_key,
                now=now,
                verified=True,
            )
            deliver_credit(
                connection,
                uid,
                credit.sequence,
                now,
                counter=transaction.counter,
                mac=transaction.mac,
            )
            settle_cards(connection, [uid], central.mac_keys(), now)
            wrong = None
        else:
            wrong = anomaly_row(
                "wrong-card-mac",
                f"0/{credit.sequence}/{uid.hex()}",
                at=now,
                detail=f"credit of {credit.amount}: the card's MAC does not fit the evidence",
                card_uid=uid,
                terminal_id=relayed_by,
                amount=credit.amount,
            )
            note_findings(connection, [wrong])
    if wrong is None:
        settle_again(central.database, uid, central.mac_keys(), now)
        return
    raise WrongTransactionMac(money_moved=MoneyMoved.UNKNOWN)


def settle_by_card(
    central: Central, credit: PendingCredit, trail: CardTrail, relayed_by: int | None
) -> None:
    """The card says that the credit arrived; its last MAC proves it if nothing came after.

    Raises WrongTransactionMac, the credit staying in doubt, if nothing that is kept proves it: it
    is noted that the card says so, for the office to settle (`credit_settlement`).
    """
    uid, now = credit.card_uid, central.unix_seconds()
    reader = ReaderId(terminal_id=CENTRAL_TERMINAL_ID, sequence=credit.sequence)
    is_last = trail.ends_with(reader)
    with central.database.write() as connection:
        row = card_row(connection, uid, lock=True)
        mac_key = central.keys.card_key(CardKey.TRANSACTION_MAC, uid, row.mac_key_version).value
        proved = _find_proof(connection, credit, trail, mac_key, is_last=is_last)
        if proved is None:
            _note_seen(connection, credit, trail, relayed_by=relayed_by, now=now)
        else:
            evidence, counter = proved
            _record(
                connection,
                credit,
                evidence,
                counter=counter,
                mac_key=mac_key,
                now=now,
                verified=is_last,
            )
            deliver_credit(
                connection,
                uid,
                credit.sequence,
                now,
                counter=counter,
                mac=trail.last.mac if trail.last is not None and is_last else None,
                explanation="" if is_last else "by the card's credit state",
            )
            settle_cards(connection, [uid], central.mac_keys(), now)
    if proved is None:
        raise WrongTransactionMac(money_moved=MoneyMoved.UNKNOWN)
    settle_again(central.database, uid, central.mac_keys(), now)


def _find_proof(
    connection: Connection,
    credit: PendingCredit,
    trail: CardTrail,
    mac_key: bytes,
    *,
    is_last: bool,
) -> tuple[bytes, int] | None:
    """The attempt that arrived, its evidence, and which of the card's transactions it was."""
    last = trail.last
    if last is None:
        return None
    uid = credit.card_uid
    attempts = connection.execute(
        select(credit_attempts.c.evidence)
        .where(
            credit_attempts.c.card_uid == uid,
            credit_attempts.c.sequence == credit.sequence,
        )
        .order_by(credit_attempts.c.id.desc())
    ).scalars()
    for evidence in attempts:
        if is_last:
            if card_vouches(mac_key, uid, last.counter, last.mac, evidence):
                return evidence, last.counter
            continue
        encrypted = parse_credit_evidence(evidence).encrypted_previous_reader_id
        first = last.counter - _SEARCH_BACK
        placed = find_counter(mac_key, uid, encrypted, first, last.counter)
        if placed is not None and _may_be(connection, credit, trail, placed[0]):
            return evidence, placed[0]
    return None


def _may_be(connection: Connection, credit: PendingCredit, trail: CardTrail, counter: int) -> bool:
    """Whether the card's transaction of this number can be the credit: not where its log has it
    elsewhere, nor where another is on record. An attempt that never arrived was made for a number, too.
    """
    in_log = _number_in_log(trail, credit)
    if in_log not in {None, counter}:
        return False
    other = connection.execute(
        select(card_transactions.c.terminal_id, card_transactions.c.sequence).where(
            card_transactions.c.card_uid == credit.card_uid,
            card_transactions.c.counter == counter,
        )
    ).one_or_none()
    return other is None or tuple(other) == (CENTRAL_TERMINAL_ID, credit.sequence)


def _number_in_log(trail: CardTrail, credit: PendingCredit) -> int | None:
    """Which transaction the credit was, by the card's log as it was relayed."""
    reader = ReaderId(terminal_id=CENTRAL_TERMINAL_ID, sequence=credit.sequence)
    back = next((i for i, one in enumerate(trail.records) if one.reader_id == reader), None)
    if back is None or trail.last is None or trail.last.counter <= back:
        return None
    return trail.last.counter - back


def _note_seen(
    connection: Connection,
    credit: PendingCredit,
    trail: CardTrail,
    *,
    relayed_by: int | None,
    now: int,
) -> None:
    """The card has the credit, and no evidence that is kept fits: somebody changed what passed.

    That it has it stands under the credit key, which no terminal holds; the log and the number of
    its newest transaction are the relay's word.
    """
    same = (pending_credits.c.card_uid == credit.card_uid) & (
        pending_credits.c.sequence == credit.sequence
    )
    counter = _number_in_log(trail, credit)
    connection.execute(
        update(pending_credits).where(same).values(seen_at=now, seen_counter=counter)
    )
    finding = anomaly_row(
        "credit-without-proof",
        f"{credit.card_uid.hex()}/{credit.sequence}",
        at=now,
        detail=f"the card says it has credit {credit.sequence}; no evidence kept fits its MAC",
        card_uid=credit.card_uid,
        terminal_id=relayed_by,
        amount=credit.amount,
    )
    note_findings(connection, [finding])


def _record(
    connection: Connection,
    credit: PendingCredit,
    evidence: bytes,
    *,
    counter: int,
    mac_key: bytes,
    now: int,
    verified: bool,
) -> None:
    parsed = parse_credit_evidence(evidence)
    encrypted = parsed.encrypted_previous_reader_id
    row = transaction_row(
        credit.card_uid,
        counter,
        RecordKind.CREDIT,
        reader_id=parsed.reader_id,
        previous=previous_of(mac_key, credit.card_uid, counter, encrypted),
        balance_before=parsed.balance_before,
        balance_after=parsed.balance_after,
        at=now,
        card_mac_verified=verified,
    )
    number = (card_transactions.c.card_uid == credit.card_uid) & (
        card_transactions.c.counter == counter
    )
    if connection.execute(select(card_transactions.c.counter).where(number)).first() is None:
        record_transaction(connection, row)


def _wrong_state(
    central: Central, credit: PendingCredit, on_card: int, *, known: int
) -> WrongCreditState:
    """The error to raise, noted for a person to look at."""
    row = anomaly_row(
        "wrong-credit-state",
        f"{credit.card_uid.hex()}/{on_card}",
        at=central.unix_seconds(),
        detail=f"the card says {on_card}; credit {credit.sequence} is {credit.state.value}",
        card_uid=credit.card_uid,
    )
    with central.database.write() as connection:
        note_findings(connection, [row])
    return WrongCreditState(card=credit.card_uid.hex(), on_card=on_card, known=known)
