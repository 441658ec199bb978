"""What each kind of transaction debits and credits: the one table that posts and that audits.

One row of the journal is a whole double entry: one amount, one account debited, one credited. An
account is a whole number, its group's number times 10^12 and its owner's number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OWNERS: Final = 10**12
"""How many owners a group has room for: what its number is multiplied by."""


class Group(StrEnum):
    """The accounts by what they are."""

    CASH = "cash"
    """Taken in at a station; its owner is the station."""
    SALARY = "salary"
    """Converted from salaries."""
    IN_FLIGHT = "in-flight"
    """Ordered for a card, not yet known to be on it; its owner is the card, by its serial number."""
    CARD = "card"
    """What a card has; its owner is the card, by its serial number."""
    OUTLET = "outlet"
    """What an outlet sold; its owner is the seller."""
    SUSPENSE = "suspense"
    """What cards show and no voucher explains, or a till says and no card; a person must look."""
    BANK = "bank"
    """The cooperative's money in the bank."""
    MERCHANT = "merchant"
    """What a partner merchant sold; its owner is the seller."""
    WALLET = "wallet"
    """A member's, not on a card; its owner is the member."""
    FEES = "fees"
    """What sellers pay the cooperative for being paid."""


GROUP_NUMBERS: Mapping[Group, int] = {
    Group.CASH: 1,
    Group.SALARY: 2,
    Group.IN_FLIGHT: 3,
    Group.CARD: 4,
    Group.OUTLET: 5,
    Group.SUSPENSE: 6,
    Group.BANK: 7,
    Group.MERCHANT: 8,
    Group.WALLET: 9,
    Group.FEES: 10,
}
"""For good: they are in every journal."""
_GROUPS = {number: group for group, number in GROUP_NUMBERS.items()}


SELLERS: Final = (Group.OUTLET, Group.MERCHANT)
"""Whose sales they are: what a rule says of an outlet holds for a partner merchant alike."""


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
    EARNED = "earned"
    """A member's salary of a period, or a part of it, becomes credit in the wallet."""
    LOADED = "loaded"
    """From the wallet to a credit of the member's card."""
    BANKED = "banked"
    """A station's cash is brought to the bank."""
    FEE = "fee"
    PAID_OUT = "paid-out"
    """To a seller, from the bank."""
    EMPTIED = "emptied"
    """What was on a card that is renewed or given back, taken off it into the member's wallet."""
    RETURNED = "returned"
    """A credit that was never sent to such a card goes into the wallet, too."""
    CASHED = "cashed"
    """Paid to a member from the wallet, in cash at a station."""
    RESTITUTION = "restitution"
    """What two people at the office owe a member becomes a credit: the cooperative's expense."""


@dataclass(frozen=True, slots=True)
class Rule:
    """OUTLET stands for any seller: `SELLERS`."""

    debit: Group
    credit: Group

    def allows(self, debit: Group, credit: Group) -> bool:
        """Whether a posting of this kind may be between accounts of these groups."""
        return debit in sides(self.debit) and credit in sides(self.credit)


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
    Kind.EARNED: Rule(Group.SALARY, Group.WALLET),
    Kind.LOADED: Rule(Group.WALLET, Group.IN_FLIGHT),
    Kind.BANKED: Rule(Group.BANK, Group.CASH),
    Kind.FEE: Rule(Group.OUTLET, Group.FEES),
    Kind.PAID_OUT: Rule(Group.OUTLET, Group.BANK),
    Kind.EMPTIED: Rule(Group.CARD, Group.WALLET),
    Kind.RETURNED: Rule(Group.IN_FLIGHT, Group.WALLET),
    Kind.CASHED: Rule(Group.WALLET, Group.CASH),
    Kind.RESTITUTION: Rule(Group.SUSPENSE, Group.IN_FLIGHT),
}

ISSUES: Final = frozenset({Kind.TOP_UP, Kind.SALARY, Kind.EARNED})
"""Kinds that issue credit: against cash, or a part of a salary."""
REDEEMS: Final = frozenset({Kind.FEE, Kind.PAID_OUT, Kind.CASHED})
"""Kinds by which credit ends: its seller or its member has the money, or the cooperative its fee."""


def sides(group: Group) -> tuple[Group, ...]:
    """The groups that a rule means by `group`."""
    return SELLERS if group is Group.OUTLET else (group,)


def account_number(group: Group, owner: int = 0) -> int:
    """The account of `owner`: a station, card serial, seller or member; 0 where there is but one."""
    assert 0 <= owner < OWNERS, "an owner has twelve digits"
    return GROUP_NUMBERS[group] * OWNERS + owner


def group_of(account: int) -> Group:
    """Raises KeyError for a number that is no account of ours."""
    return _GROUPS[account // OWNERS]


def owner_of(account: int) -> int:
    return account % OWNERS


def account_range(group: Group) -> tuple[int, int]:
    """The lowest and the highest account of the group."""
    first = account_number(group)
    return first, first + OWNERS - 1


def account_name(account: int, sellers: Mapping[int, str]) -> str:
    """For people: `card 1001`, `outlet Toko Maju`, `suspense`. `sellers`: names by number."""
    group, owner = group_of(account), owner_of(account)
    if group in {Group.OUTLET, Group.MERCHANT}:
        return f"{group.value} {sellers.get(owner, owner)}"
    return f"{group.value} {owner}" if owner else group.value
