"""Pending credits as rows: the one place where a card's next one is appended."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dobmi.central.database import insert_rows, next_number
from dobmi.central.schema import CardState, CreditDelivery, CreditSource, cards, pending_credits
from dobmi.money import Rupiah


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
