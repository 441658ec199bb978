"""The cash at a station: what the books say is there, who took it in today, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, and_, func, select

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.balances import balance_of
from dobmi.central.database import insert_rows, next_number, whole_sum
from dobmi.central.errors import BadParameters
from dobmi.central.posting_rules import Group, account_number
from dobmi.central.schema import cash_counts, cash_received, pending_credits
from dobmi.central.server import Central
from dobmi.central.texts import REASON_LENGTH_MAX
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_of, midnight


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenIn:
    """By one person; "": nobody had to log in."""

    person: str
    count: int
    total: Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class CashCount:
    number: int
    person: str
    counted: Rupiah
    expected: Rupiah
    note: str
    at: int

    @property
    def difference(self) -> Rupiah:
        """Above nought: more was there than the books said."""
        return self.counted - self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class CashDesk:
    """`expected`: by the books, of all days; what was brought to the bank is not here any more."""

    day: date
    expected: Rupiah
    taken_in: tuple[TakenIn, ...]
    counts: tuple[CashCount, ...]

    @property
    def taken_today(self) -> Rupiah:
        total = ZERO
        for one in self.taken_in:
            total += one.total
        return total


def cash_desk(central: Central, station: int) -> CashDesk:
    """The station's cash today."""
    now = central.unix_seconds()
    since = midnight(day_of(now))
    with central.database.read() as connection:
        paid = cash_received.c
        rows = connection.execute(
            select(paid.person, func.count(), whole_sum(pending_credits.c.amount_rupiah))
            .join(
                pending_credits,
                and_(
                    pending_credits.c.card_uid == paid.card_uid,
                    pending_credits.c.sequence == paid.sequence,
                ),
            )
            .where(paid.station == station, paid.at >= since)
            .group_by(paid.person)
            .order_by(paid.person)
        )
        taken_in = tuple(
            TakenIn(person=person, count=count, total=Rupiah(int(total)))
            for person, count, total in rows
        )
        counts = connection.execute(
            select(cash_counts)
            .where(cash_counts.c.station == station, cash_counts.c.at >= since)
            .order_by(cash_counts.c.number)
        )
        return CashDesk(
            day=day_of(now),
            expected=_expected(connection, station),
            taken_in=taken_in,
            counts=tuple(
                CashCount(
                    number=row.number,
                    person=row.person,
                    counted=Rupiah(row.counted_rupiah),
                    expected=Rupiah(row.expected_rupiah),
                    note=row.note,
                    at=row.at,
                )
                for row in counts
            ),
        )


def count_cash(central: Central, actor: Actor, counted: Rupiah, note: str = "") -> CashCount:
    """Write down what was counted at the actor's station, and what the books say at this moment.

    A difference is for people to clear up: nothing is posted. Raises BadParameters.
    """
    station = actor.station
    assert station is not None
    if len(note) > REASON_LENGTH_MAX:
        raise BadParameters(detail=f"note: at most {REASON_LENGTH_MAX} characters")
    now = central.unix_seconds()
    with central.database.write() as connection:
        number = next_number(connection, "cash-count")
        expected = _expected(connection, station)
        row = {
            "number": number,
            "station": station,
            "person": actor.name,
            "counted_rupiah": counted.amount,
            "expected_rupiah": expected.amount,
            "note": note,
            "at": now,
        }
        insert_rows(connection, cash_counts, [row])
        note_act(
            connection,
            actor,
            Act.CASH_COUNTED,
            subject=f"station {station}",
            amount=counted,
            detail=f"{counted - expected} {note}".strip(),
            now=now,
        )
    return CashCount(
        number=number, person=actor.name, counted=counted, expected=expected, note=note, at=now
    )


def _expected(connection: Connection, station: int) -> Rupiah:
    return -balance_of(connection, account_number(Group.CASH, station))
