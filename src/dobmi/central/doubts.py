"""What becomes of a sale in doubt: the one place that changes its state, and says by which rule.

Each change is a row of `doubt_settlements`, which stays. Money held in suspense for a claim goes
back by a counter-entry when the state changes again: nothing that was posted is edited. Runs inside
the transaction that brought the new facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from dobmi.central.database import insert_rows
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.journal import post
from dobmi.central.posting_rules import Kind
from dobmi.central.schema import (
    DoubtState,
    SettledBy,
    doubt_decisions,
    doubt_settlements,
    in_doubt,
)
from dobmi.money import Rupiah
from dobmi.sync.voucher import DecisionVoucher, Outcome

_EXPLANATION_LENGTH_MAX = 200


class Rule(StrEnum):
    """By what a doubt got its state; docs/formats/feed.md and decision 11 say more."""

    CARD = "card"
    """The card's later transactions, whose MACs were verified."""
    CARD_MAC = "card-mac"
    """The card's MAC over the sale itself."""
    TILL = "till"
    """The till found on the card that it was not paid: its word, against its own interest."""
    DECIDED = "decided"
    """A supervisor decided that it was not paid: likewise."""
    NO_WORD = "no-word"
    """No word of the card in the set number of days, and nobody says PAID: not paid."""
    CLAIMED_PAID = "claimed-paid"
    """Likewise, but till or supervisor says PAID: in suspense until the card speaks."""
    UNEXPLAINED = "unexplained"
    """The card was debited there, but not as the till says."""
    CLAIM = "claim"
    """Somebody at the till now says PAID of what was settled NOT PAID without the card: open again."""


_SETTLED_BY = {
    Rule.CARD: SettledBy.CARD,
    Rule.CARD_MAC: SettledBy.RESOLUTION,
    Rule.TILL: SettledBy.RESOLUTION,
    Rule.DECIDED: SettledBy.DECISION,
    Rule.NO_WORD: SettledBy.RULE,
    Rule.CLAIMED_PAID: SettledBy.RULE,
    Rule.UNEXPLAINED: SettledBy.CARD,
    Rule.CLAIM: SettledBy.NOBODY,
}
_BY_THE_CARD = frozenset({Rule.CARD, Rule.CARD_MAC, Rule.TILL})
WITHOUT_THE_CARD = (SettledBy.RESOLUTION, SettledBy.DECISION, SettledBy.RULE)
"""Who may have settled a doubt as NOT PAID while the card can still tell otherwise."""


def the_card_can_tell() -> ColumnElement[bool]:
    """Of `in_doubt`: those that the card has not spoken for, whatever was said of them without it.

    Their evidence still says who used the card before.
    """
    return in_doubt.c.state.in_((DoubtState.OPEN, DoubtState.SUSPENDED)) | (
        (in_doubt.c.state == DoubtState.NOT_PAID) & in_doubt.c.settled_by.in_(WITHOUT_THE_CARD)
    )


def is_settled_for_good(doubt: Row[Any]) -> bool:
    """Whether only the card can have said so: no word of the till's changes it any more."""
    if doubt.state in (DoubtState.OPEN, DoubtState.SUSPENDED):
        return False
    return not (doubt.state == DoubtState.NOT_PAID and doubt.settled_by in WITHOUT_THE_CARD)


def conclude(
    connection: Connection,
    terminal_id: int,
    sequence: int,
    state: DoubtState,
    rule: Rule,
    *,
    explanation: str,
    now: int,
) -> None:
    """Give the doubt this state, with all that follows. Doing it again changes nothing."""
    doubt = _doubt(connection, terminal_id, sequence)
    settled_by = _SETTLED_BY[rule]
    if (doubt.state, doubt.settled_by) == (state, settled_by):
        return
    if doubt.state != DoubtState.OPEN:
        explanation = f"{explanation}; before that {doubt.state} by {doubt.settled_by}"
    explanation = explanation[:_EXPLANATION_LENGTH_MAX]
    connection.execute(
        update(in_doubt)
        .where(in_doubt.c.terminal_id == terminal_id, in_doubt.c.sequence == sequence)
        .values(state=state, settled_by=settled_by, explanation=explanation)
    )
    row = {
        "terminal_id": terminal_id,
        "sequence": sequence,
        "state": state.value,
        "rule": rule.value,
        "explanation": explanation,
        "at": now,
    }
    insert_rows(connection, doubt_settlements, [row])
    if DoubtState.SUSPENDED in (doubt.state, state):
        post(
            connection,
            Kind.CLAIM_HELD if state == DoubtState.SUSPENDED else Kind.CLAIM_RELEASED,
            Rupiah(doubt.amount_rupiah),
            card_uid=bytes(doubt.card_uid),
            terminal_id=terminal_id,
            sequence=sequence,
            at=now,
            explanation=f"rule {rule.value}: {explanation}"[:_EXPLANATION_LENGTH_MAX],
        )
    if rule in _BY_THE_CARD:
        _compare_with_decision(connection, doubt, state, explanation, now)


def note_claim(
    connection: Connection, terminal_id: int, sequence: int, explanation: str, now: int
) -> None:
    """Somebody at the till says PAID, without the card's MAC: open until the card says so."""
    where, state = (terminal_id, sequence), DoubtState.OPEN
    conclude(connection, *where, state, Rule.CLAIM, explanation=explanation, now=now)
    connection.execute(
        update(in_doubt)
        .where(in_doubt.c.terminal_id == terminal_id, in_doubt.c.sequence == sequence)
        .values(claimed_paid=True, explanation=explanation[:_EXPLANATION_LENGTH_MAX])
    )


def note_decisions(connection: Connection, vouchers: Sequence[DecisionVoucher]) -> None:
    """Keep supervisors' words for good, to be weighed by `weigh_decision`."""
    rows = [
        {
            "terminal_id": voucher.link.terminal_id,
            "sequence": voucher.resolves,
            "voucher_sequence": voucher.link.sequence,
            "paid": voucher.outcome is Outcome.PAID,
            "decided_by": voucher.decided_by,
            "reason": voucher.reason,
            "at": voucher.link.unix_seconds,
        }
        for voucher in vouchers
    ]
    insert_rows(connection, doubt_decisions, rows)


def weigh_decision(connection: Connection, voucher: DecisionVoucher, now: int) -> None:
    """A supervisor's word on a doubt of that till, weighed as a claim."""
    terminal_id, sequence = voucher.link.terminal_id, voucher.resolves
    doubt = _doubt(connection, terminal_id, sequence)
    said = f"says supervisor {voucher.decided_by} in voucher {voucher.link.sequence}"
    told = doubt.state == DoubtState.NOT_PAID and doubt.settled_by == SettledBy.RESOLUTION
    if told or is_settled_for_good(doubt):
        state = DoubtState(doubt.state)
        _compare_with_decision(connection, doubt, state, doubt.explanation, now)
    elif voucher.outcome is Outcome.NOT_PAID:
        explanation = f"NOT PAID, {said}"
        where, state = (terminal_id, sequence), DoubtState.NOT_PAID
        conclude(connection, *where, state, Rule.DECIDED, explanation=explanation, now=now)
    elif doubt.state != DoubtState.SUSPENDED:
        explanation = f"PAID, {said}; the card has yet to vouch for it"
        note_claim(connection, terminal_id, sequence, explanation, now)


def _doubt(connection: Connection, terminal_id: int, sequence: int) -> Row[Any]:
    return connection.execute(
        select(in_doubt).where(
            in_doubt.c.terminal_id == terminal_id, in_doubt.c.sequence == sequence
        )
    ).one()


def _compare_with_decision(
    connection: Connection, doubt: Row[Any], state: DoubtState, explanation: str, now: int
) -> None:
    """The card goes before a person: report a decision that it contradicts."""
    decision = connection.execute(
        select(doubt_decisions).where(
            doubt_decisions.c.terminal_id == doubt.terminal_id,
            doubt_decisions.c.sequence == doubt.sequence,
        )
    ).one_or_none()
    if decision is None or state not in (DoubtState.PAID, DoubtState.NOT_PAID):
        return
    if decision.paid == (state is DoubtState.PAID):
        return
    decided = "PAID" if decision.paid else "NOT PAID"
    row = anomaly_row(
        "decision-contradicted",
        f"{doubt.terminal_id}/{doubt.sequence}",
        at=now,
        detail=(
            f"supervisor {decision.decided_by} decided {decided} in voucher "
            f"{decision.voucher_sequence} ({decision.reason}); {explanation}"
        ),
        card_uid=bytes(doubt.card_uid),
        terminal_id=doubt.terminal_id,
        amount=Rupiah(doubt.amount_rupiah),
    )
    note_findings(connection, [row])
