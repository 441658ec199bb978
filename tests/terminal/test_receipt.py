"""What stands on each paper, as it comes out of the printer."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from dobmi.i18n import translation
from dobmi.money import Rupiah
from dobmi.terminal.escpos_bytes import to_escpos
from dobmi.terminal.paper import Paper, Qr
from dobmi.terminal.receipt import (
    balance_paper,
    order_paper,
    refund_paper,
    sale_paper,
)
from dobmi.terminal.shift import ReportKind
from dobmi.terminal.shift_paper import shift_paper
from support.escpos_picture import Printout, print_out
from support.papers import (
    BALANCE,
    ORDER,
    OUTLET,
    REFUND,
    SALE,
    Z_REPORT,
)

INDONESIAN = translation("id").gettext


def printed(paper: Paper, columns: int = 32) -> Printout:
    return print_out(to_escpos(paper, columns), columns)


class TestSale:
    def test_it_says_who_sold_what_to_whom_for_how_much_and_what_is_left(self) -> None:
        assert printed(sale_paper(SALE, INDONESIAN), 48).texts[:24] == [
            "Toko BMI Tigaraksa",
            "Koperasi BMI",
            "Kasir Rina Marlina                      Mesin 12",
            "24-11-2026 13:00 WIB",
            "-" * 48,
            "Beras Ramos 5 kg",
            "  2 x Rp 75.000                       Rp 150.000",
            "Minyak goreng Bimoli 2 liter kemasan isi ulang",
            "                                       Rp 38.500",
            "Telur ayam negeri",
            "  30 x Rp 2.100                        Rp 63.000",
            "  potongan harga                       -Rp 3.000",
            "-" * 48,
            "Seluruh potongan                        Rp 3.000",
            "TOTAL                                 Rp 248.500",
            "-" * 48,
            "LUNAS",
            "Siti Nurhaliza Aminah             anggota 104711",
            "Saldo sebelum                         Rp 400.000",
            "Saldo sesudah                         Rp 151.500",
            "-" * 48,
            "No. penjualan                               1234",
            "Voucher                             " + SALE.voucher_hash.hex()[:12].upper(),
            "Pindai untuk periksa struk",
        ]

    def test_total_and_paid_are_large(self) -> None:
        printout = printed(sale_paper(SALE, INDONESIAN))
        assert printout.line("TOTAL").height == 2
        assert printout.line("LUNAS").width == 2

    def test_a_plain_amount_has_no_goods(self) -> None:
        texts = printed(sale_paper(replace(SALE, goods=()), INDONESIAN)).texts
        assert texts[4:6] == ["-" * 32, "TOTAL                 Rp 248.500"]

    def test_paid_before_it_says_that_nothing_was_charged_now(self) -> None:
        text = printed(sale_paper(replace(SALE, earlier=True), INDONESIAN)).text
        assert "SUDAH LUNAS" in text
        assert "Kali ini saldo tidak dipotong." in text

    def test_without_a_server_there_is_no_code_and_no_invitation_to_scan_it(self) -> None:
        paper = sale_paper(replace(SALE, proof=""), INDONESIAN)
        assert not any(isinstance(element, Qr) for element in paper.elements)
        assert "Pindai" not in printed(paper).text

    def test_a_seller_that_is_the_issuer_is_named_once(self) -> None:
        outlet = replace(OUTLET, seller=OUTLET.issuer)
        texts = printed(sale_paper(replace(SALE, outlet=outlet), INDONESIAN)).texts
        assert texts.count("Koperasi BMI") == 1

    def test_of_an_order_it_names_the_order(self) -> None:
        assert "Pesanan 5512" in printed(sale_paper(replace(SALE, order=5512), INDONESIAN)).text


class TestRefund:
    def test_it_says_that_the_money_is_not_on_the_card_and_when_it_will_be(self) -> None:
        text = " ".join(printed(refund_paper(REFUND, INDONESIAN)).text.split())
        for part in (
            "PENGEMBALIAN UANG",
            "DIKEMBALIKAN Rp 75.000",
            "Dari penjualan 1234 Rp 248.500",
            "Seluruh pengembalian Rp 75.000",
            "Alasan: Beras berkutu, dikembalikan satu karung",
            "Atasan: Dedi",
            "Uang BELUM ADA DI KARTU.",
            "(terakhir: 24-11-2026 12:00 WIB)",
            "Simpan kertas ini sampai saat itu.",
        ):
            assert part in text

    def test_without_a_supervisor_none_is_named(self) -> None:
        assert (
            "Atasan" not in printed(refund_paper(replace(REFUND, supervisor=""), INDONESIAN)).text
        )

    def test_written_before_it_says_that_nothing_was_added(self) -> None:
        paper = refund_paper(replace(REFUND, already_written=True), str)
        assert "Nothing was added now." in " ".join(printed(paper).text.split())


class TestBalance:
    def test_the_newest_movements_and_what_was_left_after_each(self) -> None:
        texts = printed(balance_paper(BALANCE, INDONESIAN)).texts
        start = texts.index("Terakhir di kartu ini")
        assert texts[start + 1 : start + 7] == [
            "24-11-2026 13:00     -Rp 248.500",
            "  mesin ini     saldo Rp 151.500",
            "23-11-2026 13:00     +Rp 300.000",
            "  pengisian     saldo Rp 400.000",
            "22-11-2026 13:00       -Rp 5.000",
            "  mesin 31      saldo Rp 100.000",
        ]

    def test_a_card_that_is_no_good_is_said_so(self) -> None:
        facts = replace(
            BALANCE, is_blocked=True, is_expired=True, expires=date(2025, 1, 31), movements=None
        )
        text = " ".join(printed(balance_paper(facts, str)).text.split())
        assert "This card is blocked." in text
        assert "This card was valid until 31-01-2025." in text
        assert "Last on this card" not in text

    def test_a_card_without_movements_says_so(self) -> None:
        assert (
            "Belum ada." in printed(balance_paper(replace(BALANCE, movements=()), INDONESIAN)).text
        )


class TestOrder:
    def test_what_is_handed_over_and_what_is_short(self) -> None:
        texts = printed(order_paper(ORDER, INDONESIAN), 48).texts
        assert "  2 x Minyak goreng Bimoli 2 liter kemasan isi" in texts
        assert "      kurang: 1 dari 3" in texts
        assert "Catatan: diambil suami" in texts


class TestShift:
    def test_the_z_report_adds_up(self) -> None:
        text = printed(shift_paper(Z_REPORT, OUTLET, str), 48).text
        # Sales, doubts that a card answered, and doubts that the server found paid.
        assert Z_REPORT.paid_total + Rupiah(7_000) == Rupiah(13_024_000)
        for row in (
            "PAID BY CARD (1.048)               Rp 13.024.000",
            "Refunds (2)                            Rp 30.000",
            "In doubt (1)                           Rp 12.500",
            "  float                               Rp 200.000",
            "  setor ke bank (Dewi)               -Rp 150.000",
            "  uang receh (Dewi)                   +Rp 50.000",
            "  should be there                     Rp 100.000",
            "  counted                              Rp 99.500",
            "  difference                             -Rp 500",
        ):
            assert row in text.splitlines()
        assert "Z REPORT 12" in text
        assert "Checked:" in text

    def test_an_x_report_has_no_count_and_nothing_to_sign(self) -> None:
        shift = replace(Z_REPORT.shift, closed_unix_seconds=None)
        x_report = replace(Z_REPORT, kind=ReportKind.X, shift=shift, counted=None)
        text = printed(shift_paper(x_report, OUTLET, str)).text
        assert "X REPORT, shift 12" in text
        assert "The shift is still open." in text
        assert "counted" not in text
        assert "Checked" not in text
