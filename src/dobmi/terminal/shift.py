"""A cashier's shift: opened with a float, closed with a count; the X report at any time, the Z at the end.

Nothing is sold without an open shift. The cards bring no cash, so the drawer should hold the float
and what was put in or taken out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue, decode, encode, is_plain
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.records import TAKEOVERS_MAX, ShiftRecord
from dobmi.sync.voucher import REASON_LENGTH_MAX, TEXT_LENGTH_MAX
from dobmi.terminal import outlet, schema
from dobmi.terminal.errors import (
    BadCash,
    BadCashier,
    LedgerUnusable,
    NoShift,
    NoSuchReport,
    ShiftOpen,
    TooManyTakeovers,
)
from dobmi.terminal.ledger import Ledger, Shift, ShiftTotals, last_shift, shift_totals
from dobmi.terminal.staff import Cashier

CASH_MAX = Rupiah((1 << 31) - 1)
_REPORT_SIZE_MAX = 16 * 1024 * 1024


class ReportKind(StrEnum):
    X = "X"
    """As it stands now; the shift goes on."""
    Z = "Z"
    """As it was when the shift was closed; kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    unix_seconds: int
    cashier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CashMovement:
    """Cash put into the drawer, or, negative, taken out of it."""

    unix_seconds: int
    amount: Rupiah
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftReport:
    """`counted` is None in an X report, and in those of shifts from before there were counts.

    `paid_*` are all payments that became known in the shift: its sales, and earlier doubts that a
    card answered in it. The report's number is the shift's.
    """

    kind: ReportKind
    shift: Shift
    made_unix_seconds: int
    totals: tuple[ShiftTotals, ...]
    takeovers: tuple[Takeover, ...] = ()
    movements: tuple[CashMovement, ...] = ()
    counted: Rupiah | None = None

    @property
    def paid_count(self) -> int:
        return sum(one.sales_count + one.settled_count for one in self.totals)

    @property
    def paid_total(self) -> Rupiah:
        return sum((one.sales_total + one.settled_total for one in self.totals), ZERO)

    @property
    def refunds_count(self) -> int:
        return sum(one.refunds_count for one in self.totals)

    @property
    def refunds_total(self) -> Rupiah:
        return sum((one.refunds_total for one in self.totals), ZERO)

    @property
    def in_doubt_count(self) -> int:
        return sum(one.in_doubt_count for one in self.totals)

    @property
    def in_doubt_total(self) -> Rupiah:
        return sum((one.in_doubt_total for one in self.totals), ZERO)

    @property
    def cash_in(self) -> Rupiah:
        return sum((one.amount for one in self.movements if one.amount > ZERO), ZERO)

    @property
    def cash_out(self) -> Rupiah:
        return sum((-one.amount for one in self.movements if one.amount < ZERO), ZERO)

    @property
    def expected_cash(self) -> Rupiah:
        return self.shift.float_cash + self.cash_in - self.cash_out

    @property
    def difference(self) -> Rupiah | None:
        """What was counted less what should have been there."""
        return None if self.counted is None else self.counted - self.expected_cash


def current_shift(ledger: Ledger) -> Shift:
    """The open one. Raises NoShift."""
    shift = ledger.last_shift()
    if shift is None or not shift.is_open:
        raise NoShift
    return shift


def on_duty(shift: Shift) -> Cashier:
    """Who sells in it now."""
    return Cashier(shift.on_duty, shift.on_duty_number)


def open_shift(ledger: Ledger, cashier: Cashier, float_cash: Rupiah, now: int) -> Shift:
    """Raises ShiftOpen, BadCash, BadCashier."""
    _check_cash(float_cash)
    _check_cashier(cashier)
    with ledger.begin() as connection:
        last = last_shift(connection)
        if last is not None and last.is_open:
            raise ShiftOpen(shift=last.number)
        number = 1 if last is None else last.number + 1
        connection.execute(
            schema.shifts.insert().values(
                number=number, cashier=cashier.name, opened_unix_seconds=now
            )
        )
        connection.execute(
            schema.shift_openings.insert().values(
                shift=number, cashier_number=cashier.number, float_rupiah=float_cash.amount
            )
        )
        opened = last_shift(connection)
    assert opened is not None
    return opened


def take_over(ledger: Ledger, cashier: Cashier, now: int) -> Shift:
    """From now on this cashier sells in the open shift; who does already, goes on.

    Raises NoShift, TooManyTakeovers, BadCashier.
    """
    _check_cashier(cashier)
    with ledger.begin() as connection:
        shift = _open(connection)
        if (shift.on_duty, shift.on_duty_number) == (cashier.name, cashier.number):
            return shift
        if len(_takeovers(connection, shift.number)) >= TAKEOVERS_MAX:
            raise TooManyTakeovers(count=TAKEOVERS_MAX)
        connection.execute(
            schema.takeovers.insert().values(
                shift=shift.number,
                cashier=cashier.name,
                cashier_number=cashier.number,
                unix_seconds=now,
            )
        )
        taken = last_shift(connection)
    assert taken is not None
    return taken


def move_cash(ledger: Ledger, amount: Rupiah, *, reason: str, by: Cashier, now: int) -> Shift:
    """Cash put into the drawer, or, where `amount` is negative, taken out. Raises NoShift, BadCash."""
    reason = reason.strip()
    is_text = 0 < len(reason) <= REASON_LENGTH_MAX and is_plain(reason)
    if not amount or not is_text:
        raise BadCash
    _check_cash(amount if amount > ZERO else -amount)
    _check_cashier(by)
    with ledger.begin() as connection:
        shift = _open(connection)
        connection.execute(
            schema.cash_movements.insert().values(
                shift=shift.number,
                amount_rupiah=amount.amount,
                reason=reason,
                by=by.name,
                unix_seconds=now,
            )
        )
        if _report(connection, shift, ReportKind.X, now).expected_cash < ZERO:
            raise BadCash
    return shift


def close_shift(ledger: Ledger, counted: Rupiah, now: int) -> ShiftReport:
    """The Z report, which is kept, and of which the central server hears.

    Raises NoShift, BadCash.
    """
    _check_cash(counted)
    with ledger.begin() as connection:
        shift = _open(connection)
        connection.execute(
            schema.shifts.update()
            .where(schema.shifts.c.number == shift.number)
            .values(closed_unix_seconds=now)
        )
        closed = last_shift(connection)
        assert closed is not None
        report = _report(connection, closed, ReportKind.Z, now, counted)
        connection.execute(
            schema.z_reports.insert().values(
                shift=closed.number, counted_rupiah=counted.amount, encoded=_to_bytes(report)
            )
        )
        outlet.add_record(connection, _record(report, counted))
    return report


def x_report(ledger: Ledger, now: int) -> ShiftReport:
    """The open shift as it stands. Raises NoShift."""
    with ledger.connect() as connection:
        return _report(connection, _open(connection), ReportKind.X, now)


def z_report(ledger: Ledger, number: int | None = None) -> ShiftReport:
    """That of shift `number`, or the newest, as it was then. Raises NoSuchReport."""
    table = schema.z_reports
    query = sa.select(table.c.encoded).order_by(table.c.shift.desc()).limit(1)
    if number is not None:
        query = query.where(table.c.shift == number)
    with ledger.connect() as connection:
        encoded = connection.execute(query).scalar()
    if encoded is None:
        raise NoSuchReport(shift=number or 0)
    return _from_bytes(encoded)


def z_report_numbers(ledger: Ledger) -> tuple[int, ...]:
    """Of those that are kept, newest first."""
    table = schema.z_reports
    with ledger.connect() as connection:
        rows = connection.execute(sa.select(table.c.shift).order_by(table.c.shift.desc()))
        return tuple(row.shift for row in rows)


def _open(connection: sa.Connection) -> Shift:
    shift = last_shift(connection)
    if shift is None or not shift.is_open:
        raise NoShift
    return shift


def _report(
    connection: sa.Connection,
    shift: Shift,
    kind: ReportKind,
    now: int,
    counted: Rupiah | None = None,
) -> ShiftReport:
    table = schema.cash_movements
    movements = connection.execute(
        sa.select(table).where(table.c.shift == shift.number).order_by(table.c.id)
    )
    return ShiftReport(
        kind=kind,
        shift=shift,
        made_unix_seconds=now,
        totals=shift_totals(connection, shift.number),
        takeovers=_takeovers(connection, shift.number),
        movements=tuple(
            CashMovement(
                unix_seconds=row.unix_seconds,
                amount=Rupiah(row.amount_rupiah),
                reason=row.reason,
                by=row.by,
            )
            for row in movements
        ),
        counted=counted,
    )


def _takeovers(connection: sa.Connection, shift: int) -> tuple[Takeover, ...]:
    table = schema.takeovers
    rows = connection.execute(sa.select(table).where(table.c.shift == shift).order_by(table.c.id))
    return tuple(Takeover(unix_seconds=row.unix_seconds, cashier=row.cashier) for row in rows)


def _record(report: ShiftReport, counted: Rupiah) -> ShiftRecord:
    return ShiftRecord(
        number=report.shift.number,
        cashier=report.shift.cashier,
        opened_unix_seconds=report.shift.opened_unix_seconds,
        closed_unix_seconds=report.made_unix_seconds,
        float_cash=report.shift.float_cash,
        cash_in=report.cash_in,
        cash_out=report.cash_out,
        counted=counted,
        takeovers=tuple((one.unix_seconds, one.cashier) for one in report.takeovers),
        sales_count=report.paid_count,
        sales_total=report.paid_total,
        refunds_count=report.refunds_count,
        refunds_total=report.refunds_total,
    )


def _check_cash(amount: Rupiah) -> None:
    if not ZERO <= amount <= CASH_MAX:
        raise BadCash


def _check_cashier(cashier: Cashier) -> None:
    """As vouchers and records can hold it."""
    name = cashier.name
    if not (0 < len(name) <= TEXT_LENGTH_MAX and is_plain(name)):
        raise BadCashier


# A kept report: what it says is written out, so that it stays what it was.


def _to_bytes(report: ShiftReport) -> bytes:
    return encode(
        {
            1: 1,
            2: _values(report.shift),
            3: report.made_unix_seconds,
            4: [_values(one) for one in report.totals],
            5: [_values(one) for one in report.takeovers],
            6: [_values(one) for one in report.movements],
            7: None if report.counted is None else report.counted.amount,
        }
    )


def _from_bytes(data: bytes) -> ShiftReport:
    try:
        values: Any = decode(data, size_max=_REPORT_SIZE_MAX)
        return ShiftReport(
            kind=ReportKind.Z,
            shift=_object(Shift, values[2]),
            made_unix_seconds=values[3],
            totals=tuple(_object(ShiftTotals, each) for each in values[4]),
            takeovers=tuple(_object(Takeover, each) for each in values[5]),
            movements=tuple(_object(CashMovement, each) for each in values[6]),
            counted=None if values[7] is None else Rupiah(values[7]),
        )
    except (MalformedMessage, KeyError, TypeError) as error:
        raise LedgerUnusable(detail=N_("a shift report cannot be read")) from error


def _values(thing: Any) -> list[CborValue]:
    """Of a dataclass of texts, numbers and amounts: [name, value] by field."""
    found: list[CborValue] = []
    for one in fields(thing):
        value = getattr(thing, one.name)
        found.append([one.name, value.amount if isinstance(value, Rupiah) else value])
    return found


def _object(kind: Callable[..., Any], values: list[Any]) -> Any:
    """Fields that are not in it were not there yet when it was written: they have their default."""
    amounts = {one.name for one in fields(kind) if one.type == Rupiah.__name__}  # type: ignore[arg-type] # a dataclass
    return kind(**{name: Rupiah(v) if name in amounts else v for name, v in values})
