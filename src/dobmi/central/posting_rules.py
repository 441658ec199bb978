"""What each kind of transaction debits and credits: the one table that posts and that audits.

One row of the journal is a whole double entry: one amount, one account debited, one credited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dobmi.money import ZERO, Rupiah


class Group(StrEnum):
    """The accounts by what they are; an account is `group` or `group:whose`."""

    CASH = "cash"
    """Taken in at a station."""
    SALARY = "salary"
    """Converted from salaries."""
    IN_FLIGHT = "in-flight"
    """Ordered for a card, not yet known to be on it."""
    CARD = "card"
    OUTLET = "outlet"
    SUSPENSE = "suspense"
    """What cards show and no voucher explains, or a till says and no card; a person must look."""


ISSUED = (Group.CASH, Group.SALARY)
"""Where money comes from; its debits are what was ever issued."""


class Kind(StrEnum):
    TOP_UP = "top-up"
    SALARY = "salary"
    DELIVERED = "delivered"
    MOVED = "moved"
    """A credit of a lost card, never sent to it, becomes one of the member's new card."""
    RESTORED = "restored"
    """What was on a lost card becomes a credit of the member's new one."""
    SHORTFALL = "shortfall"
    """Spent with a lost card and restored all the same: the cooperative's expense."""
    SHORTFALL_BACK = "shortfall-back"
    SALE = "sale"
    REFUND = "refund"
    UNEXPLAINED_LOSS = "unexplained-loss"
    UNEXPLAINED_GAIN = "unexplained-gain"
    CLAIM_HELD = "claim-held"
    """A sale in doubt that is said to be paid, and whose card has not spoken for too long."""
    CLAIM_RELEASED = "claim-released"
    """Its counter-entry: the card has spoken, or the till takes it back."""


@dataclass(frozen=True, slots=True)
class Rule:
    debit: Group
    credit: Group


RULES: Mapping[Kind, Rule] = {
    Kind.TOP_UP: Rule(Group.CASH, Group.IN_FLIGHT),
    Kind.SALARY: Rule(Group.SALARY, Group.IN_FLIGHT),
    Kind.DELIVERED: Rule(Group.IN_FLIGHT, Group.CARD),
    Kind.MOVED: Rule(Group.IN_FLIGHT, Group.IN_FLIGHT),
    Kind.RESTORED: Rule(Group.CARD, Group.IN_FLIGHT),
    Kind.SHORTFALL: Rule(Group.SUSPENSE, Group.CARD),
    Kind.SHORTFALL_BACK: Rule(Group.CARD, Group.SUSPENSE),
    Kind.SALE: Rule(Group.CARD, Group.OUTLET),
    Kind.REFUND: Rule(Group.OUTLET, Group.IN_FLIGHT),
    Kind.UNEXPLAINED_LOSS: Rule(Group.CARD, Group.SUSPENSE),
    Kind.UNEXPLAINED_GAIN: Rule(Group.SUSPENSE, Group.CARD),
    Kind.CLAIM_HELD: Rule(Group.CARD, Group.SUSPENSE),
    Kind.CLAIM_RELEASED: Rule(Group.SUSPENSE, Group.CARD),
}


def posting(
    kind: Kind,
    amount: Rupiah,
    *,
    card_uid: bytes,
    terminal_id: int,
    sequence: int,
    at: int,
    to_card: bytes | None = None,
    station: int | None = None,
    seller: str = "",
    explanation: str = "",
) -> dict[str, object]:
    """The row of the journal for one business event, as the rule of its kind has it.

    `station` is needed by a top-up, `seller` by a sale and its refund. `to_card`: the card for which
    the money is now, where that is another than `card_uid`, which the event is about. `(kind, card, terminal, sequence)` names
    the event: the database takes it once.
    """
    owners = {
        Group.CASH: str(station),
        Group.SALARY: "",
        Group.IN_FLIGHT: card_uid.hex(),
        Group.CARD: card_uid.hex(),
        Group.OUTLET: seller,
        Group.SUSPENSE: "",
    }
    receivers = owners if to_card is None else {**owners, Group.IN_FLIGHT: to_card.hex()}
    rule = RULES[kind]
    assert amount > ZERO, "a posting moves something"
    assert kind is not Kind.TOP_UP or station is not None, "cash is taken in somewhere"
    assert kind not in {Kind.SALE, Kind.REFUND} or seller, "a sale is somebody's"
    return {
        "kind": kind.value,
        "debit_account": account(rule.debit, owners[rule.debit]),
        "credit_account": account(rule.credit, receivers[rule.credit]),
        "amount_rupiah": amount.amount,
        "at": at,
        "card_uid": card_uid,
        "terminal_id": terminal_id,
        "sequence": sequence,
        "explanation": explanation,
    }


def account(group: Group, owner: str = "") -> str:
    return f"{group.value}:{owner}" if owner else group.value


def group_balances(totals: Mapping[Kind, Rupiah]) -> dict[Group, Rupiah]:
    """Credits less debits of each group, from the sum posted of each kind."""
    balances = dict.fromkeys(Group, ZERO)
    for kind, total in totals.items():
        rule = RULES[kind]
        balances[rule.debit] -= total
        balances[rule.credit] += total
    return balances
