"""What a till's ledger says of itself, read without owning the till: also while it sells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dobmi.sync.voucher import RefundVoucher
from dobmi.terminal.clock import ClockReading, TillClock
from dobmi.terminal.ledger import (
    DoubtRow,
    IntentRow,
    Ledger,
    Shift,
    ShiftTotals,
    SyncState,
    TillIdentity,
    Unsent,
)
from dobmi.terminal.outbox import unsent_records_count
from dobmi.terminal.picking import open_orders
from dobmi.terminal.staff import staff_members


@dataclass(frozen=True, slots=True, kw_only=True)
class TillStatus:
    """`doubts` includes a sale whose commit may be under way right now.

    `closed_doubts` are those that the server or a supervisor closed, newest first. `not_shown` and
    `refunds_not_shown` are done, and a crash may have kept that from the cashier.
    """

    identity: TillIdentity
    clock: ClockReading
    sync: SyncState
    unsent: Unsent
    doubts: tuple[IntentRow, ...]
    closed_doubts: tuple[DoubtRow, ...]
    quarantined: tuple[tuple[int, str], ...]
    blocked_count: int
    shift: Shift | None
    shift_totals: tuple[ShiftTotals, ...]
    not_shown: tuple[tuple[IntentRow, bytes], ...]
    refunds_not_shown: tuple[RefundVoucher, ...]
    staff_count: int
    """0: nobody is listed, and the cashier of the settings works without logging in."""
    orders_count: int
    unsent_records_count: int

    @property
    def sync_age_seconds(self) -> int:
        return self.clock.unix_seconds - self.sync.synced_unix_seconds

    @property
    def oldest_unsent_age_seconds(self) -> int | None:
        oldest = self.unsent.oldest_unix_seconds
        return None if oldest is None else self.clock.unix_seconds - oldest


def till_status(ledger: Ledger, system_time: Callable[[], float] = time.time) -> TillStatus:
    """Raises NotEnrolled, LedgerError."""
    open_intent = ledger.open_intent()
    doubts = ledger.all_doubts()
    shift = ledger.last_shift()
    return TillStatus(
        identity=ledger.identity(),
        clock=TillClock(ledger, system_time).read(),
        sync=ledger.sync_state(),
        unsent=ledger.unsent(),
        closed_doubts=tuple(
            one
            for one in reversed(doubts)
            if one.decision is not None or one.settlement is not None
        ),
        doubts=tuple(one.intent for one in doubts if one.is_open)
        + (() if open_intent is None else (open_intent,)),
        quarantined=ledger.quarantined(),
        blocked_count=ledger.blocked_count(),
        shift=shift,
        shift_totals=() if shift is None else ledger.shift_totals(shift.number),
        not_shown=tuple(ledger.paid_and_not_shown()),
        refunds_not_shown=tuple(ledger.refunds_not_shown()),
        staff_count=len(staff_members(ledger)),
        orders_count=len(open_orders(ledger)),
        unsent_records_count=unsent_records_count(ledger),
    )
