"""What a card has by the journal, and its next pending credit."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dobmi.central.database import insert_rows, next_number, whole_sum
from dobmi.central.posting_rules import RULES, Group, Kind
from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    CreditSource,
    cards,
    pending_credits,
    postings,
)
from dobmi.money import ZERO, Rupiah


def balance_on_card(connection: Connection, uid: bytes) -> Rupiah:
    """From the journal: all credits of the card's account less its debits."""
    rows = connection.execute(
        select(postings.c.kind, whole_sum(postings.c.amount_rupiah))
        .where(postings.c.card_uid == uid)
        .group_by(postings.c.kind)
    )
    balance = ZERO
    for kind, total in rows:
        rule = RULES[Kind(kind)]
        if rule.credit is Group.CARD:
            balance += Rupiah(total)
        if rule.debit is Group.CARD:
            balance -= Rupiah(total)
    return balance


def append_credit(
    connection: Connection,
    uid: bytes,
    amount: Rupiah,
    source: CreditSource,
    *,
    idempotency_key: str,
    ordered_by: int | None,
    now: int,
) -> int:
    """A pending credit of the card; its number. Whoever calls this posts where it comes from."""
    sequence = next_number(connection, f"credit:{uid.hex()}")
    row = {
        "card_uid": uid,
        "sequence": sequence,
        "amount_rupiah": amount.amount,
        "source": source.value,
        "ordered_by": ordered_by,
        "idempotency_key": idempotency_key,
        "ordered_at": now,
        "state": CreditDelivery.PENDING.value,
        "counter": None,
        "mac": None,
    }
    insert_rows(connection, pending_credits, [row])
    return sequence


def card_in_force(connection: Connection, uid: bytes) -> bytes | None:
    """The card itself if it is active, else its member's active one, if there is one."""
    card = connection.execute(
        select(cards.c.state, cards.c.member_number).where(cards.c.uid == uid)
    ).one()
    if card.state == CardState.ACTIVE:
        return uid
    other = connection.execute(
        select(cards.c.uid).where(
            cards.c.member_number == card.member_number, cards.c.state == CardState.ACTIVE
        )
    ).scalar_one_or_none()
    return None if other is None else bytes(other)
