"""Topping up at a station's command line: change, receipt, copy, the cash of the day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.one_machine import Machine, invitation, new_machine


@pytest.fixture
def machine(tmp_path: Path, unused_port: int) -> Machine:
    return new_machine(tmp_path, unused_port)


def station(machine: Machine, printer: str = "none") -> None:
    """Enrolled, with a card issued to Siti."""
    machine("sim", "new", str(machine.folder / "siti.json"))
    settings = machine.folder / "dobmi.toml"
    text = settings.read_text()
    assert "[provisioning]\n" in text
    settings.write_text(
        text.replace("[provisioning]\n", f'[provisioning]\nprinter = "{printer}"\n')
    )
    invited = machine("central", "invite", "--role", "station", "--name", "K", "--seller", "BMI")
    machine("card", "enrol", invitation(invited))
    machine("card", "issue", "4711", "Siti Aminah")


def test_cash_in_change_and_receipt_out_and_a_copy_says_that_it_is_one(machine: Machine) -> None:
    with machine.serving():
        station(machine)
        said = machine(
            "card", "topup", "75.000", "--received", "100.000", "--reference", "order-0001"
        )
        for part in ("Change: Rp 25.000", "TOP-UP", "Siti Aminah", "1-1", "It is on the card."):
            assert part in said, part
        assert "COPY" not in said
        again = machine("card", "receipt", "order-0001")
        assert "COPY" in again
        assert "Rp 25.000" in again
        refused = machine("card", "topup", "75.000", "--received", "70.000", expect=1)
        assert "CENTRAL-CASH-RECEIVED" in refused
        assert "CENTRAL-NO-ORDER" in machine("card", "receipt", "order-0002", expect=1)


def test_the_same_reference_is_one_top_up(machine: Machine) -> None:
    with machine.serving():
        station(machine)
        for _ in range(2):
            said = machine("card", "topup", "50.000", "--reference", "order-0001")
            assert "From wages" not in said  # cash, though nobody said how much was handed over
        cash = machine("card", "cash")
        assert "Rp 50.000" in cash
        assert "Rp 100.000" not in cash


def test_the_receipt_comes_out_of_the_stations_printer(machine: Machine) -> None:
    paper = machine.folder / "paper"
    paper.touch()
    with machine.serving():
        station(machine, f"file:{paper}")
        said = machine("card", "topup", "75.000")
        assert "TOP-UP" not in said
    assert b"Siti Aminah" in paper.read_bytes()


def test_what_is_counted_stands_beside_the_books(machine: Machine) -> None:
    with machine.serving():
        station(machine)
        machine("card", "topup", "75.000")
        counted = machine("card", "cash", "--counted", "74.000", "--note", "kurang")
        assert "Rp 74.000" in counted
        assert "-Rp 1.000" in counted
        assert "kurang" in machine("card", "cash")


def test_the_limits_of_each_class_are_listed(machine: Machine) -> None:
    found = json.loads(machine("central", "class-limits", "--json"))["limits"]
    assert found[""] == {
        "balance_max_rupiah": 2_000_000,
        "credit_max_rupiah": 2_000_000,
        "credit_day_max_rupiah": 0,
    }
    assert "Rp 2.000.000" in machine("central", "class-limits")
