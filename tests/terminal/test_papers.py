"""Papers of what stands in the ledger, however it came to stand there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import Rupiah
from dobmi.sync.feed import SettledAs, Settlement, Settlements
from dobmi.sync.outlet import MemberOrder, OrderLine
from dobmi.sync.proof_code import decode_proof
from dobmi.sync.records import OrderState
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal.errors import NoSuchSale, SaleInDoubt, SaleNotPaid
from dobmi.terminal.paper import Paper, Qr, to_text
from dobmi.terminal.papers import (
    paper_of_balance,
    paper_of_order,
    paper_of_refund,
    paper_of_sale,
    paper_of_shift,
)
from dobmi.terminal.picking import PickOrder
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.till import Till
from support.tills import Bench, card_with

COMMIT = 0xC7
SERVER = "https://pusat.example"


@pytest.fixture
def card() -> SimulatedCard:
    return card_with(100_000)


@pytest.fixture
def bench(tmp_path: Path, card: SimulatedCard) -> Bench:
    made = Bench(tmp_path).enrol()
    made.tap(card)
    return made


@pytest.fixture
def till(bench: Bench) -> Iterator[Till]:
    with bench.open() as opened:
        yield opened


def code_of(paper: Paper) -> tuple[int, int, bytes]:
    (text,) = [element.text for element in paper.elements if isinstance(element, Qr)]
    assert text.startswith(f"{SERVER}/r/")
    return decode_proof(text.rpartition("/")[2])


def rows(paper: Paper) -> str:
    return "\n".join(" ".join(row.split()) for row in to_text(paper, 48))


class TestSale:
    def test_it_says_what_the_voucher_says(self, till: Till) -> None:
        goods = (GoodsLine("Beras", 2, Rupiah(6_000)), GoodsLine("Telur", 1, Rupiah(500)))
        result = till.sell(Rupiah(12_500), goods)
        paper = paper_of_sale(till.ledger, SERVER, result.sequence, str)
        assert code_of(paper) == (7, 1, result.voucher_hash[:16])
        text = rows(paper)
        for row in (
            "Toko Ciledug",
            "Cashier Siti Till 7",
            "2 x Rp 6.000 Rp 12.000",
            "Telur Rp 500",
            "TOTAL Rp 12.500",
            "Balance after Rp 87.500",
            "Sale no. 1",
        ):
            assert row in text.splitlines()

    def test_a_sale_that_is_not_there_has_none(self, till: Till) -> None:
        with pytest.raises(NoSuchSale):
            paper_of_sale(till.ledger, SERVER, 1, str)

    def test_one_in_doubt_has_none_until_the_card_has_answered_and_then_names_its_own_voucher(
        self, bench: Bench, till: Till, card: SimulatedCard
    ) -> None:
        """The server looks the code up by the sale's number: there is the voucher of the doubt."""
        bench.tap(card, at_command(COMMIT, Moment.AFTER))
        with pytest.raises(SaleInDoubt):
            till.sell(Rupiah(12_500))
        till.give_up()
        with pytest.raises(SaleNotPaid):
            paper_of_sale(till.ledger, SERVER, 1, str)
        bench.tap(card)
        till.balance()
        doubt = till.ledger.hash_at(1)
        assert doubt is not None
        assert doubt != till.ledger.hash_of_payment(1)
        assert code_of(paper_of_sale(till.ledger, SERVER, 1, str)) == (7, 1, doubt[:16])

    def test_one_that_the_server_found_paid_has_one_too(
        self, bench: Bench, till: Till, card: SimulatedCard
    ) -> None:
        """The card never came back to tell: the page shows it as paid, and so must its receipt."""
        assert till.bind_sale("one", Purchase(Rupiah(12_500))) is None
        bench.tap(card, at_command(COMMIT, Moment.AFTER))
        with pytest.raises(SaleInDoubt):
            till.sell(Rupiah(12_500), request="one")
        till.give_up()
        settled = Settlement(1, SettledAs.PAID, bench.chain()[0].link.unix_seconds, "card")
        bench.feed(settlements=Settlements(terminal_id=7, since=0, settled=(settled,)))
        doubt = till.ledger.hash_at(1)
        assert doubt is not None
        found = till.bind_sale("one", Purchase(Rupiah(12_500)))
        assert found is not None
        assert found.voucher_hash == doubt
        assert code_of(paper_of_sale(till.ledger, SERVER, 1, str)) == (7, 1, doubt[:16])


class TestRefund:
    def test_it_says_what_is_refunded_of_what(self, till: Till) -> None:
        till.sell(Rupiah(12_500))
        result = till.refund(1, Rupiah(2_500), reason="rusak")
        paper = paper_of_refund(till.ledger, SERVER, result.sequence, str)
        assert code_of(paper) == (7, 2, result.voucher_hash[:16])
        text = rows(paper)
        assert "TO BE CREDITED Rp 2.500" in text
        assert "Of sale 1 Rp 12.500" in text
        assert "Reason: rusak" in text

    @pytest.mark.parametrize("sequence", [1, 2])
    def test_what_is_no_refund_has_no_slip(self, till: Till, sequence: int) -> None:
        till.sell(Rupiah(12_500))
        with pytest.raises(NoSuchSale):
            paper_of_refund(till.ledger, SERVER, sequence, str)


def test_a_balance_slip_shows_the_cards_own_log(till: Till) -> None:
    till.sell(Rupiah(12_500))
    found = till.balance()
    text = rows(paper_of_balance(till.ledger, found, till.clock.now(), str, cashier="Siti"))
    assert "BALANCE Rp 87.500" in text
    assert "-Rp 12.500" in text
    assert "this till balance Rp 87.500" in text.splitlines()


def test_an_order_slip_says_what_is_short(till: Till) -> None:
    order = MemberOrder(
        number=5,
        member_number=4711,
        holder="Anggota 4711",
        placed_unix_seconds=1,
        pick_up_on=date(2026, 11, 24),
        lines=(
            OrderLine(item="B5", name="Beras 5 kg", quantity=2, unit_price=Rupiah(75_000)),
            OrderLine(item="T1", name="Telur", quantity=10, unit_price=Rupiah(2_000)),
        ),
        note="sore",
    )
    picked = PickOrder(order=order, state=OrderState.PAID, sale=3, short=(("T1", 4),))
    text = rows(paper_of_order(till.ledger, picked, "Siti", till.clock.now(), str))
    for row in ("ORDER 5", "2 x Beras 5 kg", "6 x Telur", "short: 4 of 10", "Paid by sale 3"):
        assert row in text.splitlines()


def test_the_z_report_is_of_the_shift_that_was_closed(till: Till) -> None:
    till.sell(Rupiah(12_500))
    text = rows(paper_of_shift(till.ledger, till.close_shift(Rupiah(0)), str))
    assert "Z REPORT 1" in text
    assert "PAID BY CARD (1) Rp 12.500" in text
