"""Cash that a station has taken in, brought to the bank."""

from __future__ import annotations

from sqlalchemy import select

from dobmi.central.balances import balance_of
from dobmi.central.booking import booking_time
from dobmi.central.database import insert_rows, next_number
from dobmi.central.errors import (
    AmountNotAllowed,
    CashNotThere,
    OnlyStationsTakeCash,
    UnknownTerminal,
)
from dobmi.central.journal import NO_CARD, Event, post_many
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.schema import Role, cash_banked, terminals
from dobmi.central.server import Central
from dobmi.central.texts import REASON_LENGTH_MAX, require_text
from dobmi.money import ZERO, Rupiah


def bank_cash(central: Central, station: int, amount: Rupiah, note: str) -> Rupiah:
    """The station's cash is in the bank; what is left at the station by the ledger.

    `note`: the number of the bank's slip, or who says so. Raises BadParameters, UnknownTerminal,
    OnlyStationsTakeCash, AmountNotAllowed, CashNotThere.
    """
    require_text("note", note, REASON_LENGTH_MAX)
    now = central.unix_seconds()
    with central.database.write() as connection:
        at = booking_time(connection, now)
        number = next_number(connection, "cash-banked")  # one after the other, also at one station
        row = connection.execute(
            select(terminals.c.role).where(terminals.c.id == station)
        ).one_or_none()
        if row is None:
            raise UnknownTerminal(terminal_id=station)
        if row.role != Role.STATION:
            raise OnlyStationsTakeCash(terminal_id=station, role=row.role)
        held = -balance_of(connection, account_number(Group.CASH, station))
        if amount <= ZERO:
            raise AmountNotAllowed(amount=amount, minimum=Rupiah(1), maximum=held)
        if amount > held:
            raise CashNotThere(amount=amount, held=held, terminal_id=station)
        banked = {
            "number": number,
            "terminal_id": station,
            "amount_rupiah": amount.amount,
            "note": note,
            "at": now,
        }
        insert_rows(connection, cash_banked, [banked])
        event = Event(
            kind=Kind.BANKED,
            amount=amount,
            debit=account_number(Group.BANK),
            credit=account_number(Group.CASH, station),
            card_uid=NO_CARD,
            terminal_id=station,
            sequence=number,
            explanation=note,
        )
        post_many(connection, [event], at)
    return held - amount
