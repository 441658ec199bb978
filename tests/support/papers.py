"""Papers of every kind, for tests: as long and as awkward as they come."""

from __future__ import annotations

import hashlib
from datetime import date

from dobmi.cardlib.purse_layout import RecordKind
from dobmi.money import Rupiah
from dobmi.sync.proof_code import encode_proof
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal.counter_state import Movement
from dobmi.terminal.ledger import Shift, ShiftTotals
from dobmi.terminal.paper import Paper, Translate
from dobmi.terminal.receipt import (
    BalanceFacts,
    OrderedLine,
    OrderFacts,
    Outlet,
    RefundFacts,
    SaleFacts,
    TestFacts,
    balance_paper,
    order_paper,
    refund_paper,
    sale_paper,
    test_paper,
)
from dobmi.terminal.shift import CashMovement, ReportKind, ShiftReport, Takeover
from dobmi.terminal.shift_paper import shift_paper

AT = 1_795_500_000
"""24-11-2026 13:00 WIB."""
SERVER = "https://pusat.koperasibmi.example"
HASH = hashlib.sha256(b"a voucher").digest()
OUTLET = Outlet(
    issuer="Koperasi BMI", seller="Toko BMI Tigaraksa", terminal_id=12, cashier="Rina Marlina"
)
GOODS = (
    GoodsLine("Beras Ramos 5 kg", 2, Rupiah(75_000)),
    GoodsLine("Minyak goreng Bimoli 2 liter kemasan isi ulang", 1, Rupiah(38_500)),
    GoodsLine("Telur ayam negeri", 30, Rupiah(2_100), Rupiah(3_000)),
)
SALE = SaleFacts(
    outlet=OUTLET,
    sequence=1234,
    voucher_hash=HASH,
    unix_seconds=AT,
    holder="Siti Nurhaliza Aminah",
    member_number=104711,
    amount=Rupiah(248_500),
    balance_before=Rupiah(400_000),
    balance_after=Rupiah(151_500),
    goods=GOODS,
    proof=encode_proof(SERVER, 12, 1234, HASH),
)
REFUND = RefundFacts(
    outlet=OUTLET,
    sequence=1240,
    voucher_hash=HASH,
    unix_seconds=AT,
    sale=1234,
    sale_amount=Rupiah(248_500),
    amount=Rupiah(75_000),
    refunded_total=Rupiah(75_000),
    holder="Siti Nurhaliza Aminah",
    member_number=104711,
    reason="Beras berkutu, dikembalikan satu karung",
    supervisor="Dedi",
    synced_unix_seconds=AT - 3600,
    goods=(GoodsLine("Beras Ramos 5 kg", 1, Rupiah(75_000)),),
    proof=encode_proof(SERVER, 12, 1240, HASH),
)
BALANCE = BalanceFacts(
    outlet=OUTLET,
    unix_seconds=AT,
    holder="Siti Nurhaliza Aminah",
    member_number=104711,
    balance=Rupiah(151_500),
    expires=date(2030, 12, 31),
    credit_waiting=True,
    movements=(
        Movement(
            kind=RecordKind.SALE,
            amount=Rupiah(248_500),
            balance_after=Rupiah(151_500),
            unix_seconds=AT,
            terminal_id=12,
            sequence=1234,
            here=True,
        ),
        Movement(
            kind=RecordKind.CREDIT,
            amount=Rupiah(300_000),
            balance_after=Rupiah(400_000),
            unix_seconds=AT - 86_400,
            terminal_id=0,
            sequence=4,
            here=False,
        ),
        Movement(
            kind=RecordKind.SALE,
            amount=Rupiah(5_000),
            balance_after=Rupiah(100_000),
            unix_seconds=AT - 2 * 86_400,
            terminal_id=31,
            sequence=99,
            here=False,
        ),
    ),
)
ORDER = OrderFacts(
    outlet=OUTLET,
    order=5512,
    holder="Siti Nurhaliza Aminah",
    member_number=104711,
    lines=(
        OrderedLine(name="Beras Ramos 5 kg", quantity=2),
        OrderedLine(name="Minyak goreng Bimoli 2 liter kemasan isi ulang", quantity=3, short=1),
    ),
    sale=1234,
    by="Rina Marlina",
    unix_seconds=AT,
    note="diambil suami",
)
Z_REPORT = ShiftReport(
    kind=ReportKind.Z,
    shift=Shift(
        number=12,
        cashier="Rina Marlina",
        opened_unix_seconds=AT - 30_000,
        closed_unix_seconds=AT,
        float_cash=Rupiah(200_000),
    ),
    made_unix_seconds=AT,
    totals=(
        ShiftTotals(
            cashier="Dewi",
            sales_count=12,
            sales_total=Rupiah(512_000),
            in_doubt_count=1,
            in_doubt_total=Rupiah(12_500),
        ),
        ShiftTotals(
            cashier="Rina Marlina",
            sales_count=1034,
            sales_total=Rupiah(12_500_000),
            settled_count=1,
            settled_total=Rupiah(5_000),
            void_count=3,
            refunds_count=2,
            refunds_total=Rupiah(30_000),
            server_paid_count=1,
            server_paid_total=Rupiah(7_000),
            claimed_count=1,
            claimed_total=Rupiah(9_000),
        ),
    ),
    takeovers=(Takeover(unix_seconds=AT - 9_000, cashier="Dewi"),),
    movements=(
        CashMovement(
            unix_seconds=AT - 2, amount=Rupiah(-150_000), reason="setor ke bank", by="Dewi"
        ),
        CashMovement(unix_seconds=AT - 1, amount=Rupiah(50_000), reason="uang receh", by="Dewi"),
    ),
    counted=Rupiah(99_500),
)


def every_paper(translate: Translate, columns: int) -> list[Paper]:
    facts = TestFacts(
        outlet=OUTLET,
        printer="network:192.168.1.50:9100",
        columns=columns,
        unix_seconds=AT,
        proof=SERVER,
    )
    return [
        sale_paper(SALE, translate),
        refund_paper(REFUND, translate),
        balance_paper(BALANCE, translate),
        order_paper(ORDER, translate),
        shift_paper(Z_REPORT, OUTLET, translate),
        test_paper(facts, translate),
    ]
