"""P2: "paid, but it cannot be written down; tap the same card again" charges nobody twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dobmi.money import ZERO, Rupiah
from dobmi.terminal.errors import LedgerFull, PaidNotRecorded
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.till import Till
from support.tills import Bench, another_holder, balance_of, card_with

PRICE = Rupiah(2_500)


def sell_to_another(bench: Bench, till: Till) -> None:
    bench.tap(card_with(50_000, another_holder(2)))
    till.sell(Rupiah(1_000))


def look_at_another(bench: Bench, till: Till) -> None:
    bench.tap(card_with(50_000, another_holder(2)))
    till.balance()


def give_up(_: Bench, till: Till) -> None:
    till.give_up()


def close_the_shift(_: Bench, till: Till) -> None:
    till.close_shift(ZERO)
    till.open_shift()


@pytest.mark.parametrize("meanwhile", [sell_to_another, look_at_another, give_up, close_the_shift])
def test_the_card_that_paid_is_not_charged_again_after_something_else_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Bench, Till], None]
) -> None:
    bench, card = Bench(tmp_path).enrol(), card_with(100_000)
    with bench.open() as till:
        bench.tap(card)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "append_voucher", _full)
            with pytest.raises(PaidNotRecorded):
                till.sell(PRICE)
        meanwhile(bench, till)
        bench.tap(card)
        again = till.sell(PRICE)
        assert again.already_paid
        assert again.sequence == 1
        assert balance_of(card) == 97_500
        # That was the sale. The next one is another.
        bench.tap(card)
        assert not till.sell(PRICE).already_paid
    assert balance_of(card) == 95_000


@pytest.mark.parametrize("meanwhile", [sell_to_another, look_at_another])
def test_a_till_that_starts_again_says_so_though_other_things_were_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Bench, Till], None]
) -> None:
    bench, card = Bench(tmp_path).enrol(), card_with(100_000)
    with bench.open() as till:
        till.acknowledge_not_shown()  # as the cashier's program does when it has started
        bench.tap(card)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "append_voucher", _full)
            with pytest.raises(PaidNotRecorded):
                till.sell(PRICE)
        meanwhile(bench, till)
    with bench.open() as till:
        assert [intent.sequence for intent, _ in till.not_shown][:1] == [1]
        bench.tap(card)
        assert till.sell(PRICE).already_paid
    assert balance_of(card) == 97_500


def _full(*_: object, **__: object) -> bytes:
    raise LedgerFull
