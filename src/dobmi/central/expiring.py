"""Cards that expire soon, or have: so that their members are told before a till refuses them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import select

from dobmi.central.balances import balances_of
from dobmi.central.posting_rules import Group
from dobmi.central.schema import CardState, cards, members
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_number, day_of, days_since_1970

LIST_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiringCard:
    """`days_left` below nought: it has expired, and tills refuse it."""

    uid: bytes
    serial: int
    member_number: int
    member_name: str
    expires: date
    days_left: int
    balance: Rupiah


def expiring_cards(central: Central, within_days: int) -> list[ExpiringCard]:
    """Cards in force whose last valid day is at most `within_days` away, the earliest first.

    At most 1,000 of them.
    """
    today = days_since_1970(day_of(central.unix_seconds()))
    with central.database.read() as connection:
        rows = connection.execute(
            select(
                cards.c.uid,
                cards.c.serial,
                cards.c.member_number,
                cards.c.expires_on_day,
                members.c.name,
            )
            .join(members, members.c.member_number == cards.c.member_number)
            .where(cards.c.state == CardState.ACTIVE, cards.c.expires_on_day <= today + within_days)
            .order_by(cards.c.expires_on_day, cards.c.serial)
            .limit(LIST_MAX)
        ).all()
        balances = balances_of(connection, Group.CARD, [row.serial for row in rows])
    return [
        ExpiringCard(
            uid=bytes(row.uid),
            serial=row.serial,
            member_number=row.member_number,
            member_name=row.name,
            expires=day_number(row.expires_on_day),
            days_left=row.expires_on_day - today,
            balance=balances.get(row.serial, ZERO),
        )
        for row in rows
    ]
