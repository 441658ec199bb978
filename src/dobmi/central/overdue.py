"""Sales in doubt that no card has answered for: the list of them, and the rule that settles them.

Their age counts from when the server took the voucher, by its own clock: no till can make a doubt
older than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from dobmi.central.conclusions import (
    by_itself,
    carry_out_refunds,
    last_counters,
    lock_cards,
    settle_cards,
)
from dobmi.central.doubts import Rule, conclude
from dobmi.central.posting_rules import Kind
from dobmi.central.replacement import follow_up
from dobmi.central.schema import (
    DoubtState,
    SettledBy,
    cards,
    doubt_decisions,
    in_doubt,
    members,
    posting_keys,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.verification import MacKeyOf
from dobmi.money import ZERO, Rupiah

SECONDS_PER_DAY = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A sale that is or was in doubt, and all that is known of it. Times in Unix seconds.

    `at` is the till's word, `received_at` the server's. `counter` is the card's transaction that
    it would be, None while that has not been found; `newest_counter` the newest one on record.
    """

    terminal_id: int
    terminal_name: str
    sequence: int
    card_uid: bytes
    member_number: int
    member_name: str
    amount: Rupiah
    at: int
    received_at: int
    state: DoubtState
    settled_by: SettledBy
    explanation: str
    claimed_paid: bool
    decided_by: str
    decided_paid: bool
    decision_reason: str
    counter: int | None
    newest_counter: int
    rule_at: int
    """When the rule settles it, if it is open then."""
    will_be_held: bool
    """Whether the rule will hold it in suspense then, rather than call it not paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledByRule:
    """What one run of the rule did. `held` is in suspense, for somebody's claim that it was paid."""

    not_paid_count: int = 0
    not_paid_total: Rupiah = ZERO
    held_count: int = 0
    held_total: Rupiah = ZERO


def doubt_list(central: Central, *, settled_too: bool = False) -> list[Doubt]:
    """Open doubts, the longest waiting first; with `settled_too` every one there ever was."""
    statement = (
        select(
            in_doubt,
            vouchers.c.received_at,
            terminals.c.name.label("terminal_name"),
            cards.c.member_number,
            members.c.name.label("member_name"),
            doubt_decisions.c.decided_by,
            doubt_decisions.c.paid.label("decided_paid"),
            doubt_decisions.c.reason.label("decision_reason"),
        )
        .join(terminals, terminals.c.id == in_doubt.c.terminal_id)
        .join(
            vouchers,
            (vouchers.c.terminal_id == in_doubt.c.terminal_id)
            & (vouchers.c.sequence == in_doubt.c.sequence),
        )
        .join(cards, cards.c.uid == in_doubt.c.card_uid)
        .join(members, members.c.member_number == cards.c.member_number)
        .outerjoin(
            doubt_decisions,
            (doubt_decisions.c.terminal_id == in_doubt.c.terminal_id)
            & (doubt_decisions.c.sequence == in_doubt.c.sequence),
        )
        .order_by(vouchers.c.received_at, in_doubt.c.terminal_id, in_doubt.c.sequence)
    )
    if not settled_too:
        statement = statement.where(in_doubt.c.state == DoubtState.OPEN)
    wait_seconds = central.settings.settle_after_days * SECONDS_PER_DAY
    with central.database.read() as connection:
        rows = connection.execute(statement).all()
        uids = sorted({bytes(row.card_uid) for row in rows})
        newest = last_counters(connection, uids)
        # Apart from the vouchers, which are distributed by till.
        of_cards = posting_keys.c.card_uid.in_(uids)
        held = {
            (row.terminal_id, row.sequence)
            for row in connection.execute(
                select(posting_keys.c.terminal_id, posting_keys.c.sequence).where(
                    posting_keys.c.kind == Kind.CLAIM_HELD, of_cards
                )
            )
        }
    return [
        Doubt(
            terminal_id=row.terminal_id,
            terminal_name=row.terminal_name,
            sequence=row.sequence,
            card_uid=bytes(row.card_uid),
            member_number=row.member_number,
            member_name=row.member_name,
            amount=Rupiah(row.amount_rupiah),
            at=row.at,
            received_at=row.received_at,
            state=DoubtState(row.state),
            settled_by=SettledBy(row.settled_by),
            explanation=row.explanation,
            claimed_paid=row.claimed_paid,
            decided_by=row.decided_by or "",
            decided_paid=bool(row.decided_paid),
            decision_reason=row.decision_reason or "",
            counter=row.counter,
            newest_counter=newest.get(bytes(row.card_uid), 0),
            rule_at=row.received_at + wait_seconds,
            will_be_held=_may_be_held(row) and (row.terminal_id, row.sequence) not in held,
        )
        for row in rows
    ]


def settle_overdue(central: Central, now: int) -> SettledByRule:
    """Settle by rule what has been open for `settle_after_days`, after asking the cards' own word.

    Each in a transaction of its own: it can stop anywhere and be run again. A card on which the program
    fails is a finding, and its doubts stay open. Raises ServerBusy.
    """
    overdue = _open(now - central.settings.settle_after_days * SECONDS_PER_DAY)
    with central.database.read() as connection:
        found = connection.execute(overdue).all()
    mac_key_of = central.mac_keys()
    not_paid: list[Rupiah] = []
    held: list[Rupiah] = []
    for row in found:
        settle = partial(_settle_one, central, row=row, mac_key_of=mac_key_of, now=now)
        state = central.database.write_again(settle)
        if state is DoubtState.SUSPENDED:
            held.append(Rupiah(row.amount_rupiah))
        elif state is DoubtState.NOT_PAID:
            not_paid.append(Rupiah(row.amount_rupiah))
    return SettledByRule(
        not_paid_count=len(not_paid),
        not_paid_total=sum(not_paid, ZERO),
        held_count=len(held),
        held_total=sum(held, ZERO),
    )


def _settle_one(
    central: Central, connection: Connection, *, row: Row[Any], mac_key_of: MacKeyOf, now: int
) -> DoubtState | None:
    """As what the rule settled it; None if it needs no rule any more."""
    uid = bytes(row.card_uid)
    lock_cards(connection, [uid])
    state = None
    with by_itself(connection, uid, now):
        settle_cards(connection, [uid], mac_key_of, now)
        state = _apply_rule(central, connection, row, now)
    return state  # noqa: RET504 - None where it failed


def _apply_rule(
    central: Central, connection: Connection, row: Row[Any], now: int
) -> DoubtState | None:
    uid, where = bytes(row.card_uid), (row.terminal_id, row.sequence)
    days = central.settings.settle_after_days
    still = connection.execute(
        _open(now - days * SECONDS_PER_DAY).where(
            in_doubt.c.terminal_id == row.terminal_id, in_doubt.c.sequence == row.sequence
        )
    ).one_or_none()
    if still is None:
        return None
    word = f"no word of the card for {days} days"
    if _may_be_held(still) and not _was_held(connection, uid, *where):
        explanation = f"{word}; {still.explanation}"
        state, rule = DoubtState.SUSPENDED, Rule.CLAIMED_PAID
    else:
        explanation = f"{word} and none that counts of its till: at the outlet's expense"
        state, rule = DoubtState.NOT_PAID, Rule.NO_WORD
    conclude(connection, *where, state, rule, explanation=explanation, now=now)
    carry_out_refunds(connection, uid, now)
    follow_up(connection, uid, now)
    return state


def _open(received_until: int) -> Select[tuple[object, ...]]:
    return (
        select(in_doubt)
        .join(
            vouchers,
            (vouchers.c.terminal_id == in_doubt.c.terminal_id)
            & (vouchers.c.sequence == in_doubt.c.sequence),
        )
        .where(in_doubt.c.state == DoubtState.OPEN, vouchers.c.received_at <= received_until)
        .order_by(vouchers.c.received_at, in_doubt.c.terminal_id, in_doubt.c.sequence)
    )


def _may_be_held(doubt: Row[Any]) -> bool:
    """Somebody says PAID, and the card gave the evidence its reader id: else it was made up."""
    return doubt.claimed_paid and doubt.counter is not None


def _was_held(connection: Connection, uid: bytes, terminal_id: int, sequence: int) -> bool:
    """A claim is held once: what was let go is not taken from the card again."""
    return (
        connection.execute(
            select(posting_keys.c.kind).where(
                posting_keys.c.card_uid == uid,
                posting_keys.c.kind == Kind.CLAIM_HELD,
                posting_keys.c.terminal_id == terminal_id,
                posting_keys.c.sequence == sequence,
            )
        ).first()
        is not None
    )
