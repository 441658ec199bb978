"""`dobmi terminal shift`, `catalogue`, `orders`, and what they do to `sell` and `refund`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.sync.outlet import Duty, MemberNote, PinVerifier, StaffMember
from dobmi.terminal import staff
from support.outlets import ANI, EGGS, ORDER, RICE, SITI, SOAP, noted, ordered, staffed, stocked
from support.till_commands import Counter, row, till_at_work

PIN = "246810"
VERIFIER = PinVerifier(bytes(16), PIN.encode().ljust(32))


def quick_match(pin: str, verifier: PinVerifier) -> bool:
    return PinVerifier(bytes(16), pin.encode().ljust(32)) == verifier


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    monkeypatch.setattr(staff, "pin_matches", quick_match)
    with till_at_work(tmp_path, monkeypatch) as made:
        yield made


class TestLogin:
    @pytest.fixture(autouse=True)
    def listed(self, counter: Counter) -> None:
        counter.run("shift", "close", "--counted", "200000")
        ani = replace(ANI, pin=VERIFIER, member_number=None)
        counter.feed(staffed(replace(SITI, pin=VERIFIER), ani))

    def test_a_shift_is_opened_and_taken_over_with_number_and_pin(self, counter: Counter) -> None:
        assert "LOGIN-NEEDED" in counter.run("shift", "open", code=1)
        opened = counter.run("shift", "open", "--cashier", "11", typed=PIN)
        assert "Shift 2 of Siti Aminah is open" in opened
        assert PIN not in opened
        counter.run("sell", "500")
        taken = counter.run("shift", "takeover", "--cashier", "20", typed=PIN)
        assert "Shift 2 is Ani Kepala's now." in taken
        counter.run("sell", "700")
        shown = counter.run("shift", "x")
        assert row(shown, "sales (1)", 0) == "Rp 700"
        assert row(shown, "sales (1)", 1) == "Rp 500"

    def test_a_wrong_pin_opens_nothing(self, counter: Counter) -> None:
        refused = counter.run("shift", "open", "--cashier", "11", typed="111111", code=1)
        assert "Tries left: 4" in refused
        assert "LOGIN-NUMBER" in counter.run("shift", "open", "--cashier", "7", typed=PIN, code=1)
        assert "SHIFT-NONE" in counter.run("sell", "500", code=1)

    def test_by_card(self, counter: Counter) -> None:
        """The card on the reader is member 4711's, who is Siti here."""
        assert "Siti Aminah" in counter.run("shift", "open", "--card")
        counter.feed(staffed(ANI, version=2))
        assert "LOGIN-CARD" in counter.run("shift", "takeover", "--card", code=1)

    def test_a_supervisor_agrees_to_the_refund_of_an_older_sale(self, counter: Counter) -> None:
        counter.run("shift", "open", "--cashier", "11", typed=PIN)
        counter.run("sell", "500")
        counter.run("shift", "close", "--counted", "0")
        counter.run("shift", "open", "--cashier", "11", typed=PIN)
        refund = ["refund", "1", "--reason", "x"]
        assert "REFUND-SUPERVISOR" in counter.run(*refund, code=1)
        assert "REFUND-SUPERVISOR" in counter.run(*refund, "--supervisor", "Ani", code=1)
        siti = counter.run(*refund, "--supervisor", "11", typed=PIN, code=1)
        assert "LOGIN-SUPERVISOR" in siti
        done = counter.run(*refund, "--supervisor", "20", typed=PIN)
        assert "Ani Kepala" in done

    def test_a_supervisor_decides_with_number_and_pin(self, counter: Counter) -> None:
        reset = ["clock", "reset", "--reason", "jam salah", "--supervisor"]
        assert "LOGIN-NEEDED" in counter.run(*reset, "Ani", code=1)
        assert "LOGIN-SUPERVISOR" in counter.run(*reset, "11", typed=PIN, code=1)
        # Past the log-in it syncs, with a server that knows nothing of this test's list.
        assert "SYNC-FEED" in counter.run(*reset, "20", typed=PIN, code=1)
        close = ["in-doubt", "close", "1", "--paid", "--reason", "x", "--supervisor"]
        assert "DECISION-NOT-IN-DOUBT" in counter.run(*close, "20", typed=PIN, code=1)
        assert "LOGIN-NEEDED" in counter.run(*close, "Ani", code=1)

    def test_a_supervisor_agrees_by_card(self, counter: Counter) -> None:
        supervisor = StaffMember(
            number=20, name="Ani Kepala", duty=Duty.SUPERVISOR, member_number=4711
        )
        counter.feed(staffed(supervisor, version=2))
        counter.run("shift", "open", "--card")
        counter.run("sell", "500")
        counter.run("shift", "close", "--counted", "0")
        counter.run("shift", "open", "--card")
        done = counter.run("refund", "1", "--reason", "x", "--supervisor-card")
        assert "Ani Kepala" in done


class TestCatalogue:
    @pytest.fixture(autouse=True)
    def in_stock(self, counter: Counter) -> None:
        cheap = replace(
            RICE,
            price=RICE.price.parse("20000"),
            class_prices=(("karyawan", RICE.price.parse("15000")),),
        )
        counter.feed(stocked(cheap, EGGS, SOAP))

    def test_it_is_searched_and_scanned(self, counter: Counter) -> None:
        assert "BRS5  Beras 5 kg  Rp 20.000" in counter.run("catalogue", "search", "beras", "5")
        (found,) = counter.json("catalogue", "search", "telur")["items"]
        assert (found["code"], found["price_rupiah"]) == ("TLR", 2_500)
        assert "Nothing" in counter.run("catalogue", "search", "bensin")
        employee = counter.run("catalogue", "scan", RICE.barcodes[1], "--class", "karyawan")
        assert "Rp 15.000" in employee
        assert "CATALOGUE-NO-ITEM" in counter.run("catalogue", "scan", "1", code=1)
        assert "2  Sembako" in counter.run("catalogue", "categories")

    def test_it_is_sold_from(self, counter: Counter) -> None:
        sold = counter.run("sell", "--code", "BRS5", "--code", "TLR=4", "--discount", "10%")
        assert "Rp 27.000" in sold
        assert counter.balance == 73_000
        for wrong in (
            ["--code", "TLR=x"],
            ["500", "--code", "TLR"],
            ["--discount", "x%", "--code", "TLR"],
        ):
            assert "SALE-CART" in counter.run("sell", *wrong, code=1)

    def test_a_card_of_another_class_is_not_charged(self, counter: Counter) -> None:
        counter.feed(noted(MemberNote(4711, "karyawan", None)))
        assert "SALE-PRICE-CLASS" in counter.run("sell", "--code", "BRS5", code=1)
        assert counter.balance == 100_000
        counter.run("sell", "--code", "BRS5", "--class", "karyawan")
        assert counter.balance == 85_000

    def test_goods_are_given_back_by_the_receipts_lines(self, counter: Counter) -> None:
        counter.run("sell", "--code", "BRS5", "--code", "TLR=4")
        assert "Rp 5.000" in counter.run("refund", "1", "--reason", "pecah", "--line", "2=2")
        refused = counter.run("refund", "1", "--reason", "pecah", "--line", "2=3", code=1)
        assert "REFUND-GOODS" in refused
        assert "REFUND-GOODS" in counter.run("refund", "1", "--reason", "x", "--line", "x", code=1)


class TestOrders:
    @pytest.fixture(autouse=True)
    def listed(self, counter: Counter) -> None:
        counter.feed(ordered(ORDER))

    def test_from_the_list_to_the_members_hands(self, counter: Counter) -> None:
        listed = counter.run("orders", "list")
        assert "Order 501" in listed
        assert "Rp 45.000, to be picked" in listed
        assert "tanpa kantong" in listed
        opened = counter.run("orders", "open", "501", "--short", "TLR=4")
        assert "missing: 4" in opened
        assert "To pay: Rp 35.000" in opened
        assert "ORDER-NOT-PAID" in counter.run("orders", "hand-over", "501", code=1)
        counter.run("sell", "--order", "501", "--short", "TLR=4")
        assert counter.balance == 65_000
        (order,) = counter.json("orders", "list")["orders"]
        assert (order["state"], order["sale"]) == ("paid", 1)
        assert "ORDER-PAID" in counter.run("sell", "--order", "501", code=1)
        assert "501" in counter.run("orders", "hand-over", "501")
        assert "No order is open." in counter.run("orders", "list")
        assert "ORDER-ENDED" in counter.run("orders", "cancel", "501", code=1)

    def test_the_status_counts_them_and_what_waits_to_be_reported(self, counter: Counter) -> None:
        output = counter.run("status")
        assert "Orders    1 to be handed over" in output
        assert "nobody is listed" in output
        counter.run("orders", "cancel", "501")
        status = counter.json("status")
        assert (status["orders_count"], status["unsent_records_count"]) == (0, 1)
        assert "Reports   1 of shifts and orders" in counter.run("status")

    def test_one_is_cancelled(self, counter: Counter) -> None:
        assert "cancelled" in counter.run("orders", "cancel", "501")
        assert "ORDER-ENDED" in counter.run("orders", "open", "501", code=1)
        assert "ORDER-NONE" in counter.run("orders", "open", "502", code=1)

    @pytest.mark.parametrize("short", ["TLR", "TLR=x", "SBN=1", "=1"])
    def test_what_is_missing_is_of_what_was_ordered(self, counter: Counter, short: str) -> None:
        refused = counter.run("orders", "open", "501", "--short", short, code=1)
        assert "SALE-CART" in refused
