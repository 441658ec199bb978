"""Looking at a card: what it says of itself, beside what the ledger knows. Nothing changes anywhere.

The station needs no key for it: the session with the card is the server's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select, tuple_

from dobmi.cardlib.purse import CardTrail, Purse
from dobmi.cardlib.purse_layout import (
    CENTRAL_TERMINAL_ID,
    CardKey,
    CardStatus,
    CreditState,
    LogRecord,
)
from dobmi.cardlib.readers.base import CardConnection
from dobmi.central.cards import card_row, waiting_credits
from dobmi.central.database import whole_sum
from dobmi.central.errors import UnknownCard
from dobmi.central.orders import balance_on_card
from dobmi.central.schema import DoubtState, card_transactions, in_doubt, members, terminals
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.sync.card_report import CardReport, LedgerView, ReportLine
from dobmi.wib import days_since_1970


def inspect_card(central: Central, connection: CardConnection) -> CardReport:
    """Also of a card that is blocked, ended, or on no record here.

    Raises NotOurCard and its kinds, WrongIssuerSignature, DamagedCardData, CardError.
    """
    purse = Purse(connection, central.keys, central.card_issuer_public_key)
    trail = purse.read_trail()
    state = purse.read_credit_state()
    with central.database.read() as database:
        return _report(central, database, trail, state)


def _report(
    central: Central, database: Connection, trail: CardTrail, state: CreditState
) -> CardReport:
    view = trail.view
    return CardReport(
        member_number=view.holder.member_number,
        name=view.holder.name,
        card_serial=view.holder.card_serial,
        expires_days=days_since_1970(view.holder.expires),
        balance=view.balance,
        counter=0 if trail.last is None else trail.last.counter,
        last_credit_sequence=state.last_credit_sequence,
        is_marked_blocked=state.status is CardStatus.BLOCKED,
        generation=central.keys.card_key(CardKey.DEBIT, view.uid).version,
        lines=_lines(database, view.uid, trail.records),
        ledger=_ledger(database, view.uid),
        at=central.unix_seconds(),
    )


def _lines(
    database: Connection, uid: bytes, records: Sequence[LogRecord]
) -> tuple[ReportLine, ...]:
    of = card_transactions.c
    readers = [(one.terminal_id, one.sequence) for one in records]
    known = {
        (row.terminal_id, row.sequence)
        for row in database.execute(
            select(of.terminal_id, of.sequence).where(
                of.card_uid == uid, tuple_(of.terminal_id, of.sequence).in_(readers)
            )
        )
    }
    makers = {one.terminal_id for one in records} - {CENTRAL_TERMINAL_ID}
    names: dict[int, str] = {
        row.id: row.name
        for row in database.execute(
            select(terminals.c.id, terminals.c.name).where(terminals.c.id.in_(makers))
        )
    }
    return tuple(
        ReportLine(
            kind=one.kind.value,
            terminal_id=one.terminal_id,
            terminal_name=names.get(one.terminal_id, ""),
            sequence=one.sequence,
            amount=one.amount,
            balance_after=one.balance_after,
            at=one.unix_seconds,
            on_ledger=(one.terminal_id, one.sequence) in known,
        )
        for one in records
    )


def _ledger(database: Connection, uid: bytes) -> LedgerView | None:
    try:
        row = card_row(database, uid)
    except UnknownCard:
        return None
    waiting = waiting_credits(database, uid)
    total = ZERO
    for credit in waiting:
        total += credit.amount
    counter = database.execute(
        select(func.coalesce(func.max(card_transactions.c.counter), 0)).where(
            card_transactions.c.card_uid == uid
        )
    ).scalar_one()
    doubtful = database.execute(
        select(whole_sum(in_doubt.c.amount_rupiah)).where(
            in_doubt.c.card_uid == uid, in_doubt.c.state == DoubtState.OPEN
        )
    ).scalar_one()
    name = database.execute(
        select(members.c.name).where(members.c.member_number == row.member_number)
    ).scalar_one()
    return LedgerView(
        card_serial=row.serial,
        member_number=row.member_number,
        member_name=name,
        state=row.state,
        block_reason=row.block_reason,
        balance=balance_on_card(database, uid),
        counter=counter,
        key_generation=row.key_version,
        waiting=total,
        waiting_count=len(waiting),
        in_doubt=Rupiah(doubtful),
    )
