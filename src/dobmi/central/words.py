"""Accounts and kinds of postings as people say them: message ids, for the screen to translate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dobmi.central.posting_rules import Group, Kind
from dobmi.i18n import N_

Translate = Callable[[str], str]

ACCOUNT_NAMES: Final[Mapping[Group, str]] = {
    Group.CASH: N_("cash"),
    Group.SALARY: N_("salary"),
    Group.IN_FLIGHT: N_("in-flight"),
    Group.CARD: N_("card"),
    Group.OUTLET: N_("outlet"),
    Group.SUSPENSE: N_("suspense"),
    Group.BANK: N_("bank"),
    Group.MERCHANT: N_("merchant"),
    Group.WALLET: N_("wallet"),
    Group.FEES: N_("fees"),
}
"""Of one account, before its owner: `card 1001`."""
GROUP_NAMES: Final[Mapping[Group, str]] = {
    Group.CASH: N_("cash taken in"),
    Group.SALARY: N_("out of salaries"),
    Group.IN_FLIGHT: N_("in flight to cards"),
    Group.CARD: N_("on cards"),
    Group.OUTLET: N_("owed to outlets"),
    Group.SUSPENSE: N_("in suspense"),
    Group.BANK: N_("bank"),
    Group.MERCHANT: N_("owed to merchants"),
    Group.WALLET: N_("in wallets"),
    Group.FEES: N_("fees"),
}
KIND_NAMES: Final[Mapping[Kind, str]] = {
    Kind.TOP_UP: N_("top-up in cash"),
    Kind.SALARY: N_("salary for the card"),
    Kind.DELIVERED: N_("credit came onto the card"),
    Kind.MOVED: N_("credit goes to the new card"),
    Kind.RESTORED: N_("restored from a lost card"),
    Kind.SHORTFALL: N_("spent with a lost card, at our expense"),
    Kind.SHORTFALL_BACK: N_("spent with a lost card, explained since"),
    Kind.SALE: N_("sale"),
    Kind.REFUND: N_("refund"),
    Kind.UNEXPLAINED_LOSS: N_("the card lost it, unexplained"),
    Kind.UNEXPLAINED_GAIN: N_("the card gained it, or it is explained since"),
    Kind.CLAIM_HELD: N_("held: said to be paid"),
    Kind.CLAIM_RELEASED: N_("held no more"),
    Kind.EARNED: N_("salary into the wallet"),
    Kind.LOADED: N_("from the wallet to the card"),
    Kind.BANKED: N_("cash brought to the bank"),
    Kind.FEE: N_("fee"),
    Kind.PAID_OUT: N_("paid to the seller"),
    Kind.RESTITUTION: N_("restitution to the card"),
    Kind.EMPTIED: N_("from an ended card into the wallet"),
    Kind.RETURNED: N_("credit that waited, into the wallet"),
    Kind.CASHED: N_("from the wallet in cash"),
}


def account_in_words(name: str, tr: Translate) -> str:
    """What `account_name` says (`card 1001`) in the user's language (`kartu 1001`)."""
    group, space, owner = name.partition(" ")
    return tr(ACCOUNT_NAMES[Group(group)]) + space + owner


def account_in_english(name: str, tr: Translate) -> str:
    """As `account_name` says it, of a name in the user's language, or in English."""
    group, space, owner = name.partition(" ")
    for english, word in ACCOUNT_NAMES.items():
        if group.casefold() == tr(word).casefold():
            return f"{english.value}{space}{owner}"
    return name
