"""Ending a card that is there itself: blocked, emptied into the member's wallet, and maybe wiped.

The steps, each durable before the next, so that the card is laid on again and it goes on:

1. The card is read with its own keys; then it is blocked for good, and credits that never reached it
   go back to the wallet. The card's credit state, under the credit key, says which those are.
2. All that it has is debited by one transaction of the server's. Its evidence is kept before the
   commit is sent; the card's MAC over it says what the card really had, whatever tills still keep.
3. That amount goes from the card's account to the wallet, in the transaction that records it.
4. Wiped, the chip may serve elsewhere; the ledger never makes a purse of it again (decision 23).

The wallet's money goes onto the member's next card by itself (`wallets`), or is paid out (`payouts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dobmi.cardlib.errors import CardError, WrongTransactionMac
from dobmi.cardlib.evidence import parse_sale_evidence
from dobmi.cardlib.purse import CardTrail, Prepared, Purse
from dobmi.cardlib.purse_layout import (
    CENTRAL_TERMINAL_ID,
    EMPTYING_SEQUENCE,
    CardKey,
    ReaderId,
    RecordKind,
)
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.cardlib.wiping import is_blank, wipe_card
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.balances import balance_of
from dobmi.central.cards import PendingCredit, card_row, waiting_credits
from dobmi.central.conclusions import (
    lock_cards,
    record_transaction,
    serve_member,
    settle_again,
    settle_cards,
    transaction_row,
)
from dobmi.central.credit_session import settle_by_card
from dobmi.central.database import insert_rows, next_number, whole_sum
from dobmi.central.errors import (
    CardIsBlocked,
    CardNotActive,
    CardStillInDoubt,
    CardWasReplaced,
    UnknownCard,
)
from dobmi.central.journal import post
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    DoubtState,
    Retirement,
    RetirementState,
    cards,
    hotlist_changes,
    in_doubt,
    pending_credits,
    postings,
    retirement_attempts,
    retirements,
)
from dobmi.central.server import Central
from dobmi.central.texts import REASON_LENGTH_MAX, require_text
from dobmi.central.verification import card_vouches, find_counter, previous_of
from dobmi.errors import MoneyMoved
from dobmi.money import ZERO, Rupiah
from dobmi.sync.retirement import Purpose, RetireParameters, RetireResult

_ACTS = {Purpose.RENEWED: Act.RENEW, Purpose.GIVEN_BACK: Act.RETIRE}
_READER = ReaderId(terminal_id=CENTRAL_TERMINAL_ID, sequence=EMPTYING_SEQUENCE)
_SEARCH_BACK = 64


@dataclass(frozen=True, slots=True)
class _Begun:
    """The card is blocked; `state` says how far its emptying is."""

    state: RetirementState
    waiting: tuple[PendingCredit, ...]


def retire_card(
    central: Central, connection: CardConnection, asked: RetireParameters, actor: Actor
) -> RetireResult:
    """End the card in the field, or go on with it. Its member's money is in their wallet then.

    An expired card is ended like another. Raises BadParameters, UnknownCard, CardNotActive,
    CardIsBlocked, CardWasReplaced, CardStillInDoubt, NotOurCard and its kinds, CardError, which
    says in `money_moved` whether the card may have been emptied.
    """
    require_text("reason", asked.reason, REASON_LENGTH_MAX)
    uid = connection.uid
    if not _is_wiped_or_half(central, connection):
        purse = Purse(connection, central.keys, central.card_issuer_public_key)
        trail = purse.read_trail()  # with its own keys: it is the card itself
        begun = _begin(central, uid, asked, actor)
        if begun.state is not RetirementState.EMPTIED:
            _return_credits(central, purse, begun, trail)
            _empty(central, purse, trail, begun)
        settle_again(central.database, uid, central.mac_keys(), central.unix_seconds())
    if asked.wipe:
        _wipe(central, connection)
    return _result(central, uid)


def _is_wiped_or_half(central: Central, connection: CardConnection) -> bool:
    """Whether the card has been emptied and its purse is gone: only wiping may be left to do."""
    with central.database.read() as look:
        row = _retirement(look, connection.uid)
    return row is not None and row.state == RetirementState.EMPTIED and is_blank(connection)


def _begin(central: Central, uid: bytes, asked: RetireParameters, actor: Actor) -> _Begun:
    now = central.unix_seconds()
    with central.database.write() as database:
        lock_cards(database, [uid])
        card = card_row(database, uid, lock=True)
        row = _retirement(database, uid)
        if card.state == CardState.BLOCKED:
            raise CardIsBlocked(card=uid.hex(), reason=card.block_reason)
        if card.state == CardState.REPLACED:
            raise CardWasReplaced(card=uid.hex(), reason=card.block_reason)
        if card.state == CardState.ISSUING:
            raise CardNotActive(card=uid.hex())
        if row is None:
            _block(database, card, asked, actor, now)
            state = RetirementState.OPEN
        else:
            state = RetirementState(row.state)
        return _Begun(state, tuple(waiting_credits(database, uid)))


def _block(
    database: Connection, card: Row[Any], asked: RetireParameters, actor: Actor, now: int
) -> None:
    version = next_number(database, "hotlist")
    change = {
        "version": version,
        "card_uid": card.uid,
        "blocked": True,
        "reason": asked.reason,
        "by_terminal": actor.station,
        "at": now,
    }
    insert_rows(database, hotlist_changes, [change])
    database.execute(
        update(cards)
        .where(cards.c.uid == card.uid)
        .values(state=CardState.RETIRED.value, block_reason=asked.reason)
    )
    row = {
        "card_uid": card.uid,
        "purpose": Retirement(asked.purpose.value).value,
        "reason": asked.reason,
        "station": actor.station,
        "person": actor.name,
        "block_version": version,
        "at": now,
        "state": RetirementState.OPEN.value,
    }
    insert_rows(database, retirements, [row])
    note_act(
        database,
        actor,
        _ACTS[asked.purpose],
        subject=f"card {card.uid.hex().upper()}",
        detail=f"card {card.serial} of member {card.member_number}: {asked.reason}",
        now=now,
    )


def _return_credits(central: Central, purse: Purse, begun: _Begun, trail: CardTrail) -> None:
    """What is not on the card, by the card's own word, goes to the wallet; what is, is settled."""
    if not begun.waiting:
        return
    first = begun.waiting[0]
    if first.state is CreditDelivery.IN_DOUBT:
        view = purse.begin_credit(first.sequence)
        if view.state.last_credit_sequence >= first.sequence:
            settle_by_card(central, first, trail, None)
    now = central.unix_seconds()
    with central.database.write() as database:
        lock_cards(database, [purse.uid])
        for credit in waiting_credits(database, purse.uid):
            post(
                database,
                Kind.RETURNED,
                credit.amount,
                card_uid=purse.uid,
                terminal_id=CENTRAL_TERMINAL_ID,
                sequence=credit.sequence,
                at=now,
                explanation="never on the card, which has ended",
            )
            same = (pending_credits.c.card_uid == purse.uid) & (
                pending_credits.c.sequence == credit.sequence
            )
            database.execute(
                update(pending_credits).where(same).values(state=CreditDelivery.RETURNED.value)
            )


def _empty(central: Central, purse: Purse, trail: CardTrail, begun: _Begun) -> None:
    told = begun.state is RetirementState.IN_DOUBT and trail.record_of(_READER) is not None
    if told and _settle_by_trail(central, purse.uid, trail):
        return
    if told and trail.view.balance == ZERO:
        raise WrongTransactionMac(money_moved=MoneyMoved.UNKNOWN)
    balance = purse.begin_sale(_READER).balance
    if balance == ZERO:
        with central.database.write() as database:
            lock_cards(database, [purse.uid])
            _note_emptied(database, purse.uid, ZERO, central.unix_seconds())
        return
    prepared = purse.prepare_debit(balance, central.unix_seconds(), kind=RecordKind.EMPTIED)
    purse.stage(prepared)
    _note_attempt(central, purse.uid, prepared)
    try:
        transaction = purse.commit()
    except CardError as error:
        error.money_moved = MoneyMoved.UNKNOWN
        raise
    if not _record(central, purse.uid, prepared.evidence, transaction.counter, transaction):
        raise WrongTransactionMac(money_moved=MoneyMoved.UNKNOWN)


def _note_attempt(central: Central, uid: bytes, prepared: Prepared) -> None:
    """Durable before the commit is sent: from now on the card may be empty."""
    attempt = {
        "card_uid": uid,
        "evidence": prepared.evidence,
        "at": central.unix_seconds(),
        "counter": None,
        "searched_to": 0,
    }
    with central.database.write() as database:
        taken = database.execute(
            update(retirements)
            .where(
                retirements.c.card_uid == uid,
                retirements.c.state.in_((RetirementState.OPEN, RetirementState.IN_DOUBT)),
            )
            .values(state=RetirementState.IN_DOUBT.value)
        )
        if not taken.rowcount:  # replaced as lost, or emptied by another session since
            raise CardWasReplaced(card=uid.hex(), reason="")
        insert_rows(database, retirement_attempts, [attempt])


def _settle_by_trail(central: Central, uid: bytes, trail: CardTrail) -> bool:
    """The card's log has the emptying: which attempt it was, its MAC or its place says.

    False, and it stays in doubt, if nothing that is kept fits.
    """
    last = trail.last
    assert last is not None, "a card with a log has made a transaction"
    with central.database.read() as look:
        attempts = look.execute(
            select(retirement_attempts.c.evidence)
            .where(retirement_attempts.c.card_uid == uid)
            .order_by(retirement_attempts.c.id.desc())
        ).scalars()
        kept = [bytes(evidence) for evidence in attempts]
        version = card_row(look, uid).mac_key_version
    mac_key = central.keys.card_key(CardKey.TRANSACTION_MAC, uid, version).value
    for evidence in kept:
        if trail.ends_with(_READER):
            if _record(central, uid, evidence, last.counter, last):
                return True
            continue
        encrypted = parse_sale_evidence(evidence, RecordKind.EMPTIED).encrypted_previous_reader_id
        placed = find_counter(
            mac_key, uid, encrypted, last.counter - _SEARCH_BACK, last.counter - 1
        )
        if placed is not None and _record(central, uid, evidence, placed[0], None):
            return True
    return False


def _record(
    central: Central,
    uid: bytes,
    evidence: bytes,
    counter: int,
    transaction: TransactionMac | None,
) -> bool:
    """Put it on record and its money into the wallet, if the card's MAC vouches for it.

    Without a `transaction` its place among the card's was found by the reader id before it.
    """
    now = central.unix_seconds()
    parsed = parse_sale_evidence(evidence, RecordKind.EMPTIED)
    with central.database.write() as database:
        lock_cards(database, [uid])
        card = card_row(database, uid, lock=True)
        mac_key = central.keys.card_key(CardKey.TRANSACTION_MAC, uid, card.mac_key_version).value
        if transaction is not None and not card_vouches(
            mac_key, uid, counter, transaction.mac, evidence
        ):
            return False
        encrypted = parsed.encrypted_previous_reader_id
        row = transaction_row(
            uid,
            counter,
            RecordKind.EMPTIED,
            reader_id=parsed.reader_id,
            previous=previous_of(mac_key, uid, counter, encrypted),
            balance_before=parsed.balance_before,
            balance_after=parsed.balance_after,
            at=now,
            card_mac_verified=transaction is not None,
        )
        if not _note_emptied(
            database,
            uid,
            parsed.amount,
            now,
            counter=counter,
            mac=None if transaction is None else transaction.mac,
        ):
            return True
        record_transaction(database, row)
        post(
            database,
            Kind.EMPTIED,
            parsed.amount,
            card_uid=uid,
            terminal_id=CENTRAL_TERMINAL_ID,
            sequence=EMPTYING_SEQUENCE,
            at=now,
            explanation=f"taken off card {card.serial}, which has ended",
        )
        settle_cards(database, [uid], central.mac_keys(), now)
        serve_member(database, card.member_number, now, central.settings)
    return True


def _note_emptied(
    database: Connection,
    uid: bytes,
    amount: Rupiah,
    now: int,
    *,
    counter: int | None = None,
    mac: bytes | None = None,
) -> bool:
    """Whether it was not noted before."""
    taken = database.execute(
        update(retirements)
        .where(
            retirements.c.card_uid == uid,
            retirements.c.state.in_((RetirementState.OPEN, RetirementState.IN_DOUBT)),
        )
        .values(
            state=RetirementState.EMPTIED.value,
            amount_rupiah=amount.amount,
            counter=counter,
            mac=mac,
            emptied_at=now,
        )
    )
    return bool(taken.rowcount)


def _wipe(central: Central, connection: CardConnection) -> None:
    """Make the chip blank. Raises CardStillInDoubt while its log may settle a sale."""
    uid = connection.uid
    with central.database.read() as look:
        row = _retirement(look, uid)
        doubts = look.execute(
            select(in_doubt.c.terminal_id).where(
                in_doubt.c.card_uid == uid, in_doubt.c.state == DoubtState.OPEN
            )
        ).first()
    if row is None or row.state != RetirementState.EMPTIED or doubts is not None:
        raise CardStillInDoubt(card=uid.hex())
    wipe_card(connection, central.keys)
    with central.database.write() as database:
        database.execute(
            update(retirements)
            .where(retirements.c.card_uid == uid, retirements.c.wiped_at.is_(None))
            .values(wiped_at=central.unix_seconds())
        )


def _result(central: Central, uid: bytes) -> RetireResult:
    with central.database.read() as database:
        card = card_row(database, uid)
        row = _retirement(database, uid)
        if row is None:
            raise UnknownCard(card=uid.hex())
        returned = database.execute(
            select(whole_sum(postings.c.amount_rupiah)).where(
                postings.c.card_uid == uid, postings.c.kind == Kind.RETURNED.value
            )
        ).scalar_one()
        others = select(cards.c.uid).where(
            cards.c.member_number == card.member_number, cards.c.state == CardState.ACTIVE
        )
        loaded = database.execute(
            select(whole_sum(pending_credits.c.amount_rupiah)).where(
                pending_credits.c.card_uid.in_(others),
                pending_credits.c.state == CreditDelivery.PENDING,
            )
        ).scalar_one()
        wallet = balance_of(database, account_number(Group.WALLET, card.member_number))
    return RetireResult(
        member_number=card.member_number,
        emptied=Rupiah(row.amount_rupiah or 0),
        returned=Rupiah(returned),
        wallet=wallet,
        loaded=Rupiah(loaded),
        wiped=row.wiped_at is not None,
    )


def _retirement(connection: Connection, uid: bytes) -> Row[Any] | None:
    return connection.execute(
        select(retirements).where(retirements.c.card_uid == uid)
    ).one_or_none()
