"""Members' wallets: money that is a member's and on no card, and its way onto the card in force.

A wallet's money becomes a pending credit of the member's card as soon as there is one in force, up to
the card's limit; what the card has no room for waits in the wallet for the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, select

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID
from dobmi.central.balances import balances_of
from dobmi.central.booking import booking_time
from dobmi.central.credit_limits import balance_limits
from dobmi.central.database import count_up, insert_rows, whole_sum
from dobmi.central.journal import Event, post_many
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.schema import (
    WAITING,
    CardState,
    CreditDelivery,
    CreditSource,
    cards,
    pending_credits,
)
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.settings import CentralSettings
from dobmi.wib import day_of, days_since_1970

MEMBERS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Loaded:
    """How many wallets gave how much to cards."""

    count: int = 0
    total: Rupiah = ZERO

    def __add__(self, other: Loaded) -> Loaded:
        return Loaded(self.count + other.count, self.total + other.total)


def load_all_wallets(central: Central, now: int) -> Loaded:
    """For every member whose wallet has money and who has a card in force. To be run now and then."""
    with central.database.read() as connection:
        full = sorted(balances_of(connection, Group.WALLET))
    return load_wallets(central, full, now)


def load_wallets(central: Central, members: Sequence[int], now: int) -> Loaded:
    """Likewise for these members, some hundreds in each transaction. Doing it again is harmless."""
    done = Loaded()
    for start in range(0, len(members), MEMBERS_AT_A_TIME):
        some = members[start : start + MEMBERS_AT_A_TIME]
        done += central.database.write_again(
            partial(load_cards, members=some, settings=central.settings, now=now)
        )
    return done


def load_cards(
    connection: Connection, members: Sequence[int], settings: CentralSettings, now: int
) -> Loaded:
    """Order credits from the wallets of these members (some hundreds) for their cards in force."""
    at = booking_time(connection, now)
    rows = connection.execute(
        select(cards.c.uid, cards.c.serial, cards.c.member_number, cards.c.value_limit_rupiah)
        .where(cards.c.member_number.in_(members), cards.c.state == CardState.ACTIVE)
        .where(cards.c.expires_on_day >= days_since_1970(day_of(now)))
        .order_by(cards.c.uid)
        .with_for_update(key_share=True)
    ).all()
    # With the card locked nobody else loads it: a member has one card in force.
    wallets = balances_of(connection, Group.WALLET, [row.member_number for row in rows])
    rows = [row for row in rows if wallets.get(row.member_number, ZERO) > ZERO]
    room = _room(connection, rows, settings)
    amounts = {row.uid: min(wallets[row.member_number], room[row.uid]) for row in rows}
    rows = [row for row in rows if amounts[row.uid] > ZERO]
    if not rows:
        return Loaded()
    names = {row.uid: f"credit:{bytes(row.uid).hex()}" for row in rows}
    numbers = count_up(connection, list(names.values()))
    credits_, events = [], []
    for row in rows:
        uid, sequence = bytes(row.uid), numbers[names[row.uid]]
        credits_.append(
            {
                "card_uid": uid,
                "sequence": sequence,
                "amount_rupiah": amounts[row.uid].amount,
                "source": CreditSource.SALARY.value,
                "ordered_by": None,
                "idempotency_key": f"dobmi:wallet:{uid.hex()}:{sequence}",
                "ordered_at": now,
                "state": CreditDelivery.PENDING.value,
            }
        )
        events.append(
            Event(
                kind=Kind.LOADED,
                amount=amounts[row.uid],
                debit=account_number(Group.WALLET, row.member_number),
                credit=account_number(Group.IN_FLIGHT, row.serial),
                card_uid=uid,
                terminal_id=CENTRAL_TERMINAL_ID,
                sequence=sequence,
            )
        )
    insert_rows(connection, pending_credits, credits_)
    post_many(connection, events, at)
    return Loaded(len(events), Rupiah(sum(event.amount.amount for event in events)))


def _room(
    connection: Connection, rows: Sequence[Row[*tuple[Any, ...]]], settings: CentralSettings
) -> dict[bytes, Rupiah]:
    """What each card may still be credited with, counting what waits for it."""
    limits = balance_limits(connection, settings, rows)
    on_cards = balances_of(connection, Group.CARD, [row.serial for row in rows])
    waiting = {
        uid: Rupiah(total)
        for uid, total in connection.execute(
            select(pending_credits.c.card_uid, whole_sum(pending_credits.c.amount_rupiah))
            .where(pending_credits.c.card_uid.in_([row.uid for row in rows]))
            .where(pending_credits.c.state.in_(WAITING))
            .group_by(pending_credits.c.card_uid)
        )
    }
    return {
        row.uid: limits[row.uid] - on_cards.get(row.serial, ZERO) - waiting.get(row.uid, ZERO)
        for row in rows
    }
