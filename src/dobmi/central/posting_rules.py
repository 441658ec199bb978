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
    """What cards show and no voucher explains; a person must look."""


ISSUED = (Group.CASH, Group.SALARY)
"""Where money comes from; its debits are what was ever issued."""


class Kind(StrEnum):
    TOP_UP = "top-up"
    SALARY = "salary"
    DELIVERED = "delivered"
    SALE = "sale"
    UNEXPLAINED_LOSS = "unexplained-loss"
    UNEXPLAINED_GAIN = "unexplained-gain"


@dataclass(frozen=True, slots=True)
class Rule:
    debit: Group
    credit: Group


RULES: Mapping[Kind, Rule] = {
    Kind.TOP_UP: Rule(Group.CASH, Group.IN_FLIGHT),
    Kind.SALARY: Rule(Group.SALARY, Group.IN_FLIGHT),
    Kind.DELIVERED: Rule(Group.IN_FLIGHT, Group.CARD),
    Kind.SALE: Rule(Group.CARD, Group.OUTLET),
    Kind.UNEXPLAINED_LOSS: Rule(Group.CARD, Group.SUSPENSE),
    Kind.UNEXPLAINED_GAIN: Rule(Group.SUSPENSE, Group.CARD),
}


def posting(
    kind: Kind,
    amount: Rupiah,
    *,
    card_uid: bytes,
    terminal_id: int,
    sequence: int,
    at: int,
    station: int | None = None,
    seller: str = "",
    explanation: str = "",
) -> dict[str, object]:
    """The row of the journal for one business event, as the rule of its kind has it.

    `station` is needed by a top-up, `seller` by a sale. `(kind, card, terminal, sequence)` names
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
    rule = RULES[kind]
    assert amount > ZERO, "a posting moves something"
    assert kind is not Kind.TOP_UP or station is not None, "cash is taken in somewhere"
    assert kind is not Kind.SALE or seller, "a sale is somebody's"
    return {
        "kind": kind.value,
        "debit_account": account(rule.debit, owners[rule.debit]),
        "credit_account": account(rule.credit, owners[rule.credit]),
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
