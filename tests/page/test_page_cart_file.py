"""The open cart outlives the program, and what was paid never lies there again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import Rupiah
from dobmi.terminal.cart import Cart
from dobmi.terminal.errors import SaleInDoubt
from dobmi.terminal.page.cart_file import CartFile, cart_path, found_again
from dobmi.terminal.page.visit import Page
from support.page_browser import Browser
from support.tills import Bench, card_with

COMMIT = 0xC7
CART = Cart().add_amount(Rupiah(12_500))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).enrol()


def keep(bench: Bench, cart: Cart, request: str) -> Path:
    path = cart_path(bench.database)
    file = CartFile(path)
    file.keep(cart, request)
    file.close()
    return path


def opened_again(browser: Browser) -> Page:
    """As the next program would, after this one was killed."""
    page = browser.page
    page.cart_file.close()
    return Page(counter=page.counter, database=page.database, cashier=page.cashier)


def test_a_program_that_starts_again_has_the_cart_that_lay_there(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/amount", amount="2500")
    before = cashier.page.desk.state
    after = opened_again(cashier)
    assert (after.desk.state.cart, after.desk.state.request) == (before.cart, before.request)
    assert after.desk.state.cart.total == Rupiah(77_500)
    after.close()


def test_a_cart_that_was_cleared_is_not_there_again(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="BRS5")
    cashier.tap("/sell/clear")
    after = opened_again(cashier)
    assert after.desk.state.cart == Cart()
    after.close()


def test_one_that_no_card_was_asked_for_goes_on(bench: Bench) -> None:
    path = keep(bench, CART, "one")
    with bench.open() as till:
        assert found_again(path, till.ledger) == (CART, "one")
        till.bind_sale("one", CART.purchase())
        assert found_again(path, till.ledger) == (CART, "one")


def test_one_that_was_paid_before_the_power_went_is_dropped(bench: Bench) -> None:
    path = keep(bench, CART, "one")
    with bench.open() as till:
        till.bind_sale("one", CART.purchase())
        bench.tap(card_with(100_000))
        till.sell(CART.total, request="one")
        assert found_again(path, till.ledger) is None


def test_one_in_doubt_goes_on_under_its_number_so_that_the_card_is_asked_first(
    bench: Bench,
) -> None:
    path = keep(bench, CART, "one")
    with bench.open() as till:
        till.bind_sale("one", CART.purchase())
        bench.tap(card_with(100_000), at_command(COMMIT, Moment.AFTER))
        with pytest.raises(SaleInDoubt):
            till.sell(CART.total, request="one")
    with bench.open() as till:
        assert found_again(path, till.ledger) == (CART, "one")
        with pytest.raises(SaleInDoubt):
            till.bind_sale("one", CART.purchase())


def test_one_that_is_not_what_a_card_was_asked_for_is_dropped(bench: Bench) -> None:
    """The amount typed last, for instance, had not been written yet."""
    path = keep(bench, CART, "one")
    with bench.open() as till:
        till.bind_sale("one", replace(CART.purchase(), amount=Rupiah(13_000)))
        assert found_again(path, till.ledger) is None


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x83\x01\x61a\x40", b"\x83\x02\x61a\x40"])
def test_a_file_that_cannot_be_read_is_no_cart(bench: Bench, data: bytes) -> None:
    path = cart_path(bench.database)
    path.write_bytes(data)
    with bench.open() as till:
        assert found_again(path, till.ledger) is None


def test_a_disk_that_takes_no_file_does_not_keep_from_selling(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    file = CartFile(tmp_path / "file" / "till.cart")
    file.keep(CART, "one")
    file.close()
    assert not (tmp_path / "file" / "till.cart").exists()
