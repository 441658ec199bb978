"""Writing to the journal. Ingest copies its sales into it by the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from dobmi.central.booking import booking_time
from dobmi.central.database import insert_rows
from dobmi.central.posting_rules import RULES, Group, Kind, account_number, group_of
from dobmi.central.schema import SellerKind, cards, posting_keys, postings, sellers, terminals
from dobmi.money import ZERO, Rupiah

NO_CARD: Final = b""
"""In place of the card's UID where an event is about none."""
_SELLERS = {SellerKind.OUTLET: Group.OUTLET, SellerKind.MERCHANT: Group.MERCHANT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A business event as a double entry between two accounts, by their numbers.

    `(card, kind, terminal, sequence)` names it: the database takes it once.
    """

    kind: Kind
    amount: Rupiah
    debit: int
    credit: int
    card_uid: bytes
    terminal_id: int
    sequence: int
    explanation: str = ""

    @property
    def name(self) -> dict[str, object]:
        return {
            "card_uid": self.card_uid,
            "kind": self.kind.value,
            "terminal_id": self.terminal_id,
            "sequence": self.sequence,
        }


def post_many(connection: Connection, events: Sequence[Event], at: int) -> None:
    """Write the events to the journal, at a time that `booking_time` gave in this transaction.

    A sale is written together with its row of `card_transactions`, which keeps it from being posted
    twice; all others get a row of `posting_keys` here.
    """
    for event in events:
        assert event.amount > ZERO, "a posting moves something"
        assert RULES[event.kind].allows(group_of(event.debit), group_of(event.credit)), event
    keys = [event.name for event in events if event.kind is not Kind.SALE]
    insert_rows(connection, posting_keys, keys)
    rows = [
        {
            **event.name,
            "debit_account": event.debit,
            "credit_account": event.credit,
            "amount_rupiah": event.amount.amount,
            "at": at,
            "explanation": event.explanation,
        }
        for event in events
    ]
    insert_rows(connection, postings, rows)


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
    """Write one event about a card to the journal, at `at` or on the first open day.

    A sale, and its refund, are those of the seller of terminal `terminal_id`. `station` is needed by
    a top-up. `to_card`: the card for which the money is now, where that is another than `card_uid`,
    which the event is about.
    """
    rule = RULES[kind]
    at = booking_time(connection, at)

    def account(group: Group, uid: bytes) -> int:
        if group is Group.CASH:
            assert station is not None, "cash is taken in somewhere"
            return account_number(group, station)
        if group in {Group.CARD, Group.IN_FLIGHT}:
            return account_number(group, serial_of(connection, uid))
        if group is Group.WALLET:
            return account_number(group, member_of(connection, uid))
        if group is Group.OUTLET:
            return account_of_seller(connection, terminal_id)
        assert group in {Group.SALARY, Group.SUSPENSE}, f"{group} is no account of a card's event"
        return account_number(group)

    receiver = card_uid if to_card is None or rule.credit is not Group.IN_FLIGHT else to_card
    event = Event(
        kind=kind,
        amount=amount,
        debit=account(rule.debit, card_uid),
        credit=account(rule.credit, receiver),
        card_uid=card_uid,
        terminal_id=terminal_id,
        sequence=sequence,
        explanation=explanation,
    )
    post_many(connection, [event], at)


def serial_of(connection: Connection, uid: bytes) -> int:
    """The owner of the card's accounts."""
    serial: int = connection.execute(select(cards.c.serial).where(cards.c.uid == uid)).scalar_one()
    return serial


def member_of(connection: Connection, uid: bytes) -> int:
    """The owner of the wallet that is the card's member's."""
    member: int = connection.execute(
        select(cards.c.member_number).where(cards.c.uid == uid)
    ).scalar_one()
    return member


def seller_account(kind: str, seller_id: int) -> int:
    """The account to which the sales of a seller of that kind are credited."""
    return account_number(_SELLERS[SellerKind(kind)], seller_id)


def account_of_seller(connection: Connection, terminal_id: int) -> int:
    """The account to which the till's sales are credited."""
    seller = connection.execute(
        select(sellers.c.kind, sellers.c.id).join(terminals).where(terminals.c.id == terminal_id)
    ).one()
    return seller_account(seller.kind, seller.id)
