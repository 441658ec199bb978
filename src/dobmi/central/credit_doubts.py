"""Credits of which it is not known whether their card has them: the list for people.

The commit was sent to the card and no answer came. Nothing settles them but the card itself, at
its next session or its next sale anywhere: docs/decisions/0014-a-credit-in-doubt-waits.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select

from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    CreditSource,
    cards,
    credit_attempts,
    members,
    pending_credits,
)
from dobmi.central.server import Central
from dobmi.money import Rupiah
from dobmi.wib import day_of, days_since_1970


class NextStep(StrEnum):
    """What ends the doubt."""

    TAP = "tap"
    """The card at a till or station with a network; if it has it, its next sale anywhere, too."""
    SETTLE = "settle"
    """`dobmi central credit settle`: the card said that it has it, and nothing else proves it."""
    UNBLOCK_OR_REPLACE = "unblock-or-replace"
    REPLACE = "replace"
    """The card has expired: no session with it is served any more."""
    WAIT = "wait"
    """The card was replaced: the credit comes to the new one when that has become safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditInDoubt:
    """For whom, how much, since when (Unix seconds): `since` is when a commit was first sent."""

    card_uid: bytes
    card_serial: int
    member_number: int
    member_name: str
    sequence: int
    amount: Rupiah
    source: CreditSource
    ordered_at: int
    since: int
    attempts: int
    next_step: NextStep


def credits_in_doubt(central: Central) -> list[CreditInDoubt]:
    """The longest in doubt first."""
    attempts = (
        select(
            credit_attempts.c.card_uid,
            credit_attempts.c.sequence,
            func.min(credit_attempts.c.at).label("since"),
            func.count().label("attempts"),
        )
        .group_by(credit_attempts.c.card_uid, credit_attempts.c.sequence)
        .subquery()
    )
    statement = (
        select(
            pending_credits,
            cards.c.serial,
            cards.c.member_number,
            cards.c.state.label("card_state"),
            cards.c.expires_on_day,
            members.c.name.label("member_name"),
            attempts.c.since,
            attempts.c.attempts,
        )
        .join(cards, cards.c.uid == pending_credits.c.card_uid)
        .join(members, members.c.member_number == cards.c.member_number)
        .join(
            attempts,
            (attempts.c.card_uid == pending_credits.c.card_uid)
            & (attempts.c.sequence == pending_credits.c.sequence),
        )
        .where(pending_credits.c.state == CreditDelivery.IN_DOUBT)
        .order_by(attempts.c.since, pending_credits.c.card_uid)
    )
    today = days_since_1970(day_of(central.unix_seconds()))
    with central.database.read() as connection:
        rows = connection.execute(statement).all()
    return [
        CreditInDoubt(
            card_uid=bytes(row.card_uid),
            card_serial=row.serial,
            member_number=row.member_number,
            member_name=row.member_name,
            sequence=row.sequence,
            amount=Rupiah(row.amount_rupiah),
            source=CreditSource(row.source),
            ordered_at=row.ordered_at,
            since=row.since,
            attempts=row.attempts,
            next_step=_next_step(
                CardState(row.card_state),
                is_seen=row.seen_at is not None,
                has_expired=row.expires_on_day < today,
            ),
        )
        for row in rows
    ]


def _next_step(state: CardState, *, is_seen: bool, has_expired: bool) -> NextStep:
    if state is CardState.REPLACED:
        return NextStep.WAIT
    if is_seen:
        return NextStep.SETTLE
    if has_expired:
        return NextStep.REPLACE
    if state is CardState.BLOCKED:
        return NextStep.UNBLOCK_OR_REPLACE
    return NextStep.TAP
