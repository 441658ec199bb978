"""The X and the Z report of a shift, on paper. Pure: see receipt."""

from __future__ import annotations

from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.terminal.ledger import ShiftTotals
from dobmi.terminal.paper import (
    Align,
    Element,
    Gap,
    Line,
    Pair,
    Paper,
    PaperKind,
    Size,
    Translate,
    Words,
)
from dobmi.terminal.receipt import Outlet, count, heading, make_paper
from dobmi.terminal.shift import ReportKind, ShiftReport
from dobmi.wib import local_time


def shift_paper(report: ShiftReport, outlet: Outlet, translate: Translate) -> Paper:
    """`outlet.cashier` is not used: the report names its cashiers."""
    say = translate
    shift, is_z = report.shift, report.kind is ReportKind.Z
    title = say(N_("Z REPORT {number}") if is_z else N_("X REPORT, shift {number}"))
    title = title.format(number=shift.number)
    rows = heading(
        Outlet(issuer=outlet.issuer, seller=outlet.seller, terminal_id=outlet.terminal_id),
        report.made_unix_seconds,
        say,
    )
    rows += [
        Line(),
        Words(text=title, align=Align.CENTRE, bold=True, size=Size.LARGE if is_z else Size.TALL),
        _when(say(N_("Opened")), shift.opened_unix_seconds),
        Pair(left=say(N_("  by")), right=shift.cashier),
    ]
    for one in report.takeovers:
        rows.append(_when(say(N_("Taken over")), one.unix_seconds))
        rows.append(Pair(left=say(N_("  by")), right=one.cashier))
    if shift.closed_unix_seconds is not None:
        rows.append(_when(say(N_("Closed")), shift.closed_unix_seconds))
    elif not is_z:
        rows.append(Words(text=say(N_("The shift is still open."))))
    for totals in report.totals:
        rows += [Line(), *_totals(totals, say)]
    rows += [Line(), *_sums(report, say), Line(), *_cash(report, say)]
    if is_z:
        for who in (
            N_("Cashier: ....................."),
            N_("Checked: ....................."),
        ):
            rows += [Gap(), Gap(), Words(text=say(who))]
    kind = PaperKind.Z_REPORT if is_z else PaperKind.X_REPORT
    return make_paper(kind, shift.number, report.made_unix_seconds, rows, title=title, say=say)


def _when(name: str, unix_seconds: int) -> Element:
    return Pair(left=name, right=local_time(unix_seconds).removesuffix(" WIB"))


def _counted(name: str, number: int, total: Rupiah, *, bold: bool = False) -> Element:
    return Pair(left=f"{name} ({count(number)})", right=str(total), bold=bold)


def _totals(totals: ShiftTotals, say: Translate) -> list[Element]:
    """One cashier's part."""
    rows: list[Element] = [
        Words(text=say(N_("Cashier {cashier}")).format(cashier=totals.cashier), bold=True),
        _counted(say(N_("  sales")), totals.sales_count, totals.sales_total),
    ]
    for name, number, total in (
        (N_("  settled by the card"), totals.settled_count, totals.settled_total),
        (N_("  settled by the server"), totals.server_paid_count, totals.server_paid_total),
        (N_("  said to be paid, not confirmed"), totals.claimed_count, totals.claimed_total),
        (N_("  refunds"), totals.refunds_count, totals.refunds_total),
        (N_("  in doubt"), totals.in_doubt_count, totals.in_doubt_total),
    ):
        if number:
            rows.append(_counted(say(name), number, total))
    if totals.void_count:
        rows.append(Pair(left=say(N_("  broken off")), right=count(totals.void_count)))
    return rows


def _sums(report: ShiftReport, say: Translate) -> list[Element]:
    server_count = sum(one.server_paid_count for one in report.totals)
    server_total = sum((one.server_paid_total for one in report.totals), ZERO)
    rows = [
        Pair(
            left=say(N_("PAID BY CARD ({count})")).format(
                count=count(report.paid_count + server_count)
            ),
            right=str(report.paid_total + server_total),
            bold=True,
            size=Size.TALL,
        ),
        _counted(say(N_("Refunds")), report.refunds_count, report.refunds_total),
    ]
    if report.in_doubt_count:
        rows.append(
            _counted(say(N_("In doubt")), report.in_doubt_count, report.in_doubt_total, bold=True)
        )
    return list(rows)


def _cash(report: ShiftReport, say: Translate) -> list[Element]:
    """The drawer: cards bring no cash, so it holds the float and what was moved."""
    rows: list[Element] = [
        Words(text=say(N_("Cash in the drawer")), bold=True),
        Pair(left=say(N_("  float")), right=str(report.shift.float_cash)),
    ]
    for one in report.movements:
        sign = "+" if one.amount > ZERO else ""
        reason = say(N_("  {reason} ({who})")).format(reason=one.reason, who=one.by)
        rows.append(Pair(left=reason, right=f"{sign}{one.amount}"))
    rows.append(Pair(left=say(N_("  should be there")), right=str(report.expected_cash), bold=True))
    if report.counted is not None and report.difference is not None:
        sign = "+" if report.difference > ZERO else ""
        rows.append(Pair(left=say(N_("  counted")), right=str(report.counted), bold=True))
        rows.append(
            Pair(left=say(N_("  difference")), right=f"{sign}{report.difference}", bold=True)
        )
    return rows
