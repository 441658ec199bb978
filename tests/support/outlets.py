"""What a feed says of an outlet, for tests: staff with PINs that take no time to check."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from dobmi.money import Rupiah
from dobmi.sync.feed import Outlet
from dobmi.sync.outlet import (
    Catalogue,
    CatalogueItem,
    Duty,
    MemberNote,
    MemberNotes,
    MemberOrder,
    OrderLine,
    OutletOrders,
    OutletStaff,
    StaffMember,
)
from dobmi.sync.records import ShiftRecord
from support.traffic import START

TERMINAL = 7
SITI = StaffMember(number=11, name="Siti Aminah", duty=Duty.CASHIER, member_number=4711)
BUDI = StaffMember(number=12, name="Budi", duty=Duty.CASHIER)
ANI = StaffMember(number=20, name="Ani Kepala", duty=Duty.SUPERVISOR, member_number=4720)

RICE = CatalogueItem(
    code="BRS5",
    name="Beras 5 kg",
    category="Sembako",
    price=Rupiah(75_000),
    barcodes=("8991234567890", "8991234567891"),
    class_prices=(("karyawan", Rupiah(70_000)), ("pengurus", Rupiah(72_500))),
)
EGGS = CatalogueItem(code="TLR", name="Telur", category="Sembako", price=Rupiah(2_500))
SOAP = CatalogueItem(
    code="SBN",
    name="Sabun 100% Alami",
    category="Rumah tangga",
    price=Rupiah(4_000),
    barcodes=("8990000000017",),
)

ORDER = MemberOrder(
    number=501,
    member_number=4711,
    holder="Anggota 4711",
    placed_unix_seconds=1_789_990_000,
    pick_up_on=date(2026, 9, 23),
    lines=(
        OrderLine(item="BRS5", name="Beras 5 kg", quantity=2, unit_price=Rupiah(10_000)),
        OrderLine(item="TLR", name="Telur", quantity=10, unit_price=Rupiah(2_500)),
    ),
    note="tanpa kantong",
)


def staffed(*people: StaffMember, version: int = 1) -> Outlet:
    listed = tuple(sorted(people, key=lambda person: person.number))
    return Outlet(terminal_id=TERMINAL, staff=OutletStaff(version=version, people=listed))


def stocked(*items: CatalogueItem, version: int = 1) -> Outlet:
    listed = tuple(sorted(items, key=lambda item: item.code))
    return Outlet(terminal_id=TERMINAL, catalogue=Catalogue(version=version, items=listed))


def ordered(*orders: MemberOrder, version: int = 1) -> Outlet:
    listed = tuple(sorted(orders, key=lambda order: order.number))
    return Outlet(terminal_id=TERMINAL, orders=OutletOrders(version=version, orders=listed))


def another_order(number: int, **changes: object) -> MemberOrder:
    return replace(ORDER, number=number, **changes)  # type: ignore[arg-type] # tests change what they like


def noted(*notes: MemberNote, version: int = 1, since: int = 0, more: bool = False) -> Outlet:
    listed = tuple(sorted(notes, key=lambda note: note.member_number))
    members = MemberNotes(version=version, since=since, more=more, notes=listed)
    return Outlet(terminal_id=TERMINAL, members=members)


CLOSED_SHIFT = ShiftRecord(
    number=1,
    cashier="Siti",
    opened_unix_seconds=START,
    closed_unix_seconds=START + 30_000,
    float_cash=Rupiah(200_000),
    cash_in=Rupiah(50_000),
    cash_out=Rupiah(20_000),
    counted=Rupiah(229_500),
    takeovers=((START + 9_000, "Budi"),),
    sales_count=31,
    sales_total=Rupiah(1_250_000),
    refunds_count=1,
    refunds_total=Rupiah(75_000),
)
"""As its till reports it."""
