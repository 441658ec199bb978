"""Writing to the journal: one event at a time. Ingest posts its sales by the batch (`posting`)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dobmi.central.database import insert_rows
from dobmi.central.posting_rules import RULES, Group, Kind, account_number
from dobmi.central.schema import cards, posting_keys, postings, terminals
from dobmi.money import ZERO, Rupiah

_SELLS = frozenset({Kind.SALE, Kind.REFUND})


def post(
    connection: Connection,
    kind: Kind,
    amount: Rupiah,
    *,
    card_uid: bytes,
    terminal_id: int,
    sequence: int,
    at: int,
    to_card: bytes | None = None,
    station: int | None = None,
    explanation: str = "",
) -> None:
    """Write one business event to the journal, as the rule of its kind has it.

    `(card, kind, terminal, sequence)` names the event: the database takes it once. A sale, and its
    refund, are those of the seller of terminal `terminal_id`. `station` is needed by a top-up.
    `to_card`: the card for which the money is now, where that is another than `card_uid`, which the
    event is about. A sale is written together with its row of `card_transactions`.
    """
    rule = RULES[kind]
    assert amount > ZERO, "a posting moves something"
    assert kind is not Kind.TOP_UP or station is not None, "cash is taken in somewhere"
    owners = {
        Group.CASH: station or 0,
        Group.IN_FLIGHT: serial_of(connection, card_uid),
        Group.OUTLET: seller_of(connection, terminal_id) if kind in _SELLS else 0,
    }
    owners[Group.CARD] = owners[Group.IN_FLIGHT]
    receivers = dict(owners)
    if to_card is not None:
        receivers[Group.IN_FLIGHT] = serial_of(connection, to_card)
    event = {
        "card_uid": card_uid,
        "kind": kind.value,
        "terminal_id": terminal_id,
        "sequence": sequence,
    }
    if kind is not Kind.SALE:
        insert_rows(connection, posting_keys, [event])
    row = {
        **event,
        "debit_account": account_number(rule.debit, owners.get(rule.debit, 0)),
        "credit_account": account_number(rule.credit, receivers.get(rule.credit, 0)),
        "amount_rupiah": amount.amount,
        "at": at,
        "explanation": explanation,
    }
    insert_rows(connection, postings, [row])


def serial_of(connection: Connection, uid: bytes) -> int:
    """The owner of the card's accounts."""
    serial: int = connection.execute(select(cards.c.serial).where(cards.c.uid == uid)).scalar_one()
    return serial


def seller_of(connection: Connection, terminal_id: int) -> int:
    """The owner of the account to which the till's sales are credited."""
    seller: int = connection.execute(
        select(terminals.c.seller_id).where(terminals.c.id == terminal_id)
    ).scalar_one()
    return seller
