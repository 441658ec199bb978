"""What a card may hold and be credited with: by its member's class, and by the card itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from dobmi.central.limits import limit_in_force
from dobmi.central.schema import (
    CreditSource,
    approval_decisions,
    cards,
    held_credits,
    member_notes,
    pending_credits,
)
from dobmi.money import ZERO, Rupiah
from dobmi.settings import CentralSettings
from dobmi.wib import day_of, midnight


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditLimits:
    """`day_max` is for all that is ordered for a member within a day of Jakarta's; nought: no limit.

    Above `approve_above` a second person decides.
    """

    member_class: str
    balance_max: Rupiah
    credit_max: Rupiah
    day_max: Rupiah
    approve_above: Rupiah


def limits_of(connection: Connection, settings: CentralSettings, card: Row[Any]) -> CreditLimits:
    """Of the card in this row of `cards`."""
    member_class = _classes(connection, [card.member_number]).get(card.member_number, "")

    def limit(name: str) -> Rupiah:
        return Rupiah(limit_in_force(connection, settings, name, member_class))

    return CreditLimits(
        member_class=member_class,
        balance_max=min(limit("balance_max_rupiah"), card_limit(settings, card)),
        credit_max=limit("credit_max_rupiah"),
        day_max=limit("credit_day_max_rupiah"),
        approve_above=limit("approve_credit_above_rupiah"),
    )


def card_limit(settings: CentralSettings, card: Row[Any]) -> Rupiah:
    """The most that the card itself takes, as it was issued."""
    return Rupiah(card.value_limit_rupiah or settings.balance_max_rupiah)


def balance_limits(
    connection: Connection, settings: CentralSettings, rows: Sequence[Row[Any]]
) -> dict[bytes, Rupiah]:
    """What each card of these rows (uid, member_number, value_limit_rupiah) may hold."""
    classes = _classes(connection, [row.member_number for row in rows])
    in_force = {
        name: Rupiah(limit_in_force(connection, settings, "balance_max_rupiah", name))
        for name in {"", *classes.values()}
    }
    return {
        bytes(row.uid): min(in_force[classes.get(row.member_number, "")], card_limit(settings, row))
        for row in rows
    }


def ordered_today(connection: Connection, member_number: int, now: int) -> Rupiah:
    """What stations ordered for the member's cards since midnight; what waits for a decision, too."""
    ordered = (CreditSource.CASH.value, CreditSource.SALARY.value)
    mine = select(cards.c.uid).where(cards.c.member_number == member_number)
    since = midnight(day_of(now))
    pending, held = pending_credits.c, held_credits.c
    total = ZERO
    statement = select(func.coalesce(func.sum(pending.amount_rupiah), 0)).where(
        pending.card_uid.in_(mine),
        pending.ordered_at >= since,
        pending.ordered_by.is_not(None),
        pending.source.in_(ordered),
    )
    total += Rupiah(int(connection.execute(statement).scalar_one()))
    undecided = (
        select(func.coalesce(func.sum(held.amount_rupiah), 0))
        .outerjoin(approval_decisions, approval_decisions.c.number == held.approval)
        .where(
            and_(
                held.card_uid.in_(mine),
                held.ordered_at >= since,
                approval_decisions.c.number.is_(None),
            )
        )
    )
    return total + Rupiah(int(connection.execute(undecided).scalar_one()))


def _classes(connection: Connection, members: Sequence[int]) -> dict[int, str]:
    rows = connection.execute(
        select(member_notes.c.member_number, member_notes.c.member_class).where(
            member_notes.c.member_number.in_(members)
        )
    )
    return {row.member_number: row.member_class for row in rows}
