from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.money import Rupiah


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12500", 12500),
        ("12.500", 12500),
        ("Rp 12.500", 12500),
        ("rp1.000.000", 1_000_000),
        ("0", 0),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, amount: int) -> None:
    assert Rupiah.parse(text) == Rupiah(amount)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Rp",
        "12,5",
        "12.5",
        "1.2500",
        "12.500,00",
        "1e3",
        "twelve",
        "0x10",
        "\uff11\uff12",
        "--5",
        "1 000",
    ],
)
def test_what_is_not_an_amount_in_whole_rupiah_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole rupiah"):
        Rupiah.parse(text)


@given(st.integers(-(10**15), 10**15))
def test_what_is_printed_reads_back_as_the_same_amount(amount: int) -> None:
    printed = str(Rupiah(amount))
    sign = "-" if printed.startswith("-") else ""
    assert Rupiah.parse(sign + printed.removeprefix("-").removeprefix("Rp ")) == Rupiah(amount)


@pytest.mark.parametrize("wrong", [1.0, True, "5", None])
def test_no_float_becomes_money(wrong: object) -> None:
    with pytest.raises(TypeError):
        Rupiah(wrong)  # type: ignore[arg-type]  # that is the point


def test_twelve_thousand_five_hundred_is_printed_as_in_indonesia() -> None:
    assert str(Rupiah(12500)) == "Rp 12.500"
    assert str(Rupiah(-500)) == "-Rp 500"
