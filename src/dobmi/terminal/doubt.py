"""Whether a card committed a sale whose answer never came: what its log can tell, and what not.

Pure. The log keeps 10 records, so the absence of a sale proves something only where the log reaches
back to before it.
"""

from __future__ import annotations

from enum import Enum, auto

from dobmi.cardlib.purse import CardTrail
from dobmi.cardlib.purse_layout import RECORDS_READABLE, ReaderId, RecordKind
from dobmi.terminal.ledger import IntentRow

RETAP_SECONDS_MAX = 600.0


class Verdict(Enum):
    PAID_LAST = auto()
    """Paid, and the card's newest transaction: its MAC file is this sale's."""
    PAID_EARLIER = auto()
    """Paid, and the card was used again since."""
    NOT_PAID = auto()
    UNKNOWN = auto()


def judge(
    intent: IntentRow, terminal_id: int, trail: CardTrail, retap_seconds: float | None
) -> Verdict:
    """What `trail` tells of `intent`.

    `retap_seconds`: how long after the commit was sent the card came back, by this process's own
    monotonic clock; None if it has been restarted since.
    """
    reader_id = ReaderId(terminal_id=terminal_id, sequence=intent.sequence)
    record = trail.record_of(reader_id)
    if record is not None:
        ours = (RecordKind.SALE, intent.amount, intent.balance_after)
        if (record.kind, record.amount, record.balance_after) != ours:
            return Verdict.UNKNOWN
        return Verdict.PAID_LAST if trail.ends_with(reader_id) else Verdict.PAID_EARLIER
    if _reaches_back(intent, terminal_id, trail, retap_seconds):
        return Verdict.NOT_PAID
    return Verdict.UNKNOWN


def _reaches_back(
    intent: IntentRow, terminal_id: int, trail: CardTrail, retap_seconds: float | None
) -> bool:
    """Whether the log, which has no record of the sale, has one from before it (or lost none)."""
    if trail.is_whole or len(trail.records) < RECORDS_READABLE:
        return True
    if any(
        record.terminal_id == terminal_id and record.sequence < intent.sequence
        for record in trail.records
    ):
        return True
    # Other tills' clocks may be wrong, so time alone proves little: the record must also leave the
    # balance that the card vouched for in the evidence.
    if any(
        record.unix_seconds <= intent.unix_seconds and record.balance_after == intent.balance_before
        for record in trail.records
    ):
        return True
    # Minutes after the tear, the balance unchanged: no ten transactions elsewhere came between.
    return (
        retap_seconds is not None
        and retap_seconds <= RETAP_SECONDS_MAX
        and trail.view.balance == trail.records[0].balance_after == intent.balance_before
    )
