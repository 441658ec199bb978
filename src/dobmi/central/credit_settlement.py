"""A credit that the card says it has and no kept evidence proves, settled by a person at the office.

Whoever relays a session can change the reader id on its way to the card, or the card's answer to
it: the card takes the money, and its MAC is over something else than the evidence that is kept.
What nobody can change is the number of the last credit the card took, read with the credit key.
On that word, and with a name and a reason, the credit is posted as delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from dobmi.cardlib.evidence import parse_credit_evidence
from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID, CardKey, ReaderId, RecordKind
from dobmi.central.cards import card_row
from dobmi.central.conclusions import (
    deliver_credit,
    record_transaction,
    settle_again,
    settle_cards,
    transaction_row,
)
from dobmi.central.database import insert_rows
from dobmi.central.errors import (
    CreditNotInDoubt,
    CreditNotPlaced,
    CreditNotSeen,
    UnknownCredit,
)
from dobmi.central.schema import (
    CreditDelivery,
    card_transactions,
    credit_attempts,
    credit_settlements,
    pending_credits,
)
from dobmi.central.server import Central
from dobmi.central.staff import require_anybody
from dobmi.central.texts import NAME_LENGTH_MAX, REASON_LENGTH_MAX, require_text
from dobmi.central.verification import find_counter
from dobmi.money import ZERO, Rupiah

_SEARCH_BACK = 4096
_SEARCH_AHEAD = 64
"""How many transactions the card may have made that no till has reported yet."""


@dataclass(frozen=True, slots=True)
class SettledCredit:
    """`counter`: the card's transaction that the credit is taken to be from now on."""

    card_uid: bytes
    sequence: int
    amount: Rupiah
    counter: int


def settle_credit(
    central: Central, card: bytes | int, sequence: int, *, reason: str, settled_by: str
) -> SettledCredit:
    """Post the credit as delivered: the card said so, under the credit key, in a session.

    One transaction: the posting, the card's transaction it explains, and who said so. Raises
    UnknownCard, UnknownCredit, CreditNotInDoubt, CreditNotSeen, CreditNotPlaced, NotOfStaff,
    BadParameters.
    """
    require_text("reason", reason, REASON_LENGTH_MAX)
    require_text("by", settled_by, NAME_LENGTH_MAX)
    now = central.unix_seconds()
    with central.database.write() as connection:
        name_of_staff = require_anybody(connection, settled_by)
        row = card_row(connection, card, lock=True)
        uid = bytes(row.uid)
        name = uid.hex().upper()
        credit = connection.execute(
            select(pending_credits).where(
                pending_credits.c.card_uid == uid, pending_credits.c.sequence == sequence
            )
        ).one_or_none()
        if credit is None:
            raise UnknownCredit(card=name, sequence=sequence)
        if credit.state != CreditDelivery.IN_DOUBT:
            raise CreditNotInDoubt(card=name, sequence=sequence, state=credit.state)
        if credit.seen_at is None:
            raise CreditNotSeen(card=name, sequence=sequence)
        # The card took no later attempt: each began with its word that none had arrived.
        evidence = (
            connection.execute(
                select(credit_attempts.c.evidence)
                .where(credit_attempts.c.card_uid == uid, credit_attempts.c.sequence == sequence)
                .order_by(credit_attempts.c.id.desc())
            )
            .scalars()
            .first()
        )
        assert evidence is not None, "nothing is in doubt that was not attempted"
        known = _on_record(connection, uid)
        mac_key = central.keys.card_key(CardKey.TRANSACTION_MAC, uid, row.mac_key_version).value
        counter = _place(known, credit, bytes(evidence), mac_key)
        if counter is None:
            raise CreditNotPlaced(card=name, sequence=sequence)
        parsed = parse_credit_evidence(bytes(evidence))
        before = known.get(counter - 1)
        transaction = transaction_row(
            uid,
            counter,
            RecordKind.CREDIT,
            reader_id=ReaderId(terminal_id=CENTRAL_TERMINAL_ID, sequence=sequence),
            previous=None if before is None else _reader(before),
            balance_before=parsed.balance_before,
            balance_after=parsed.balance_after,
            at=now,
            card_mac_verified=False,
        )
        record_transaction(connection, transaction)
        settlement = {
            "card_uid": uid,
            "sequence": sequence,
            "counter": counter,
            "settled_by": name_of_staff,
            "reason": reason,
            "at": now,
        }
        insert_rows(connection, credit_settlements, [settlement])
        explanation = f"the card's word, settled by {name_of_staff}: {reason}"[:200]
        deliver_credit(connection, uid, sequence, now, counter=counter, explanation=explanation)
        settle_cards(connection, [uid], central.mac_keys(), now)
    settle_again(central.database, uid, central.mac_keys(), now)
    return SettledCredit(uid, sequence, Rupiah(credit.amount_rupiah), counter)


def _on_record(connection: Connection, uid: bytes) -> dict[int, Row[Any]]:
    rows = connection.execute(select(card_transactions).where(card_transactions.c.card_uid == uid))
    return {row.counter: row for row in rows}


def _place(
    known: Mapping[int, Row[Any]], credit: Row[Any], evidence: bytes, mac_key: bytes
) -> int | None:
    """Which transaction it was, by the best word there is, and none that is another's.

    The number its evidence was made for, by decryption; the one number that is missing with just
    its amount, by the balances on both sides; the number that the relay of its session told.
    """
    newest = max(known, default=0)
    encrypted = parse_credit_evidence(evidence).encrypted_previous_reader_id
    uid = bytes(credit.card_uid)
    first, last = newest - _SEARCH_BACK, newest + _SEARCH_AHEAD
    placed = find_counter(mac_key, uid, encrypted, first, last)
    if placed is not None and placed[0] not in known:
        return placed[0]
    fitting = [
        number
        for number in range(max(1, first), newest)
        if number not in known
        and number + 1 in known
        and (number == 1 or number - 1 in known)
        and _gained(known, number) == Rupiah(credit.amount_rupiah)
    ]
    if len(fitting) == 1:
        return fitting[0]
    told: int | None = credit.seen_counter
    return told if told is not None and 0 < told <= last and told not in known else None


def _gained(known: Mapping[int, Row[Any]], number: int) -> Rupiah:
    before = known.get(number - 1)
    start = ZERO if before is None else Rupiah(before.balance_after_rupiah)
    return Rupiah(known[number + 1].balance_before_rupiah) - start


def _reader(row: Row[Any]) -> ReaderId:
    return ReaderId(terminal_id=row.terminal_id, sequence=row.sequence)
