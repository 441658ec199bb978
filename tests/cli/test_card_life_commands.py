"""The end of a card at a station's command line: renewed, given back, its wallet paid out."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.one_machine import Machine, invitation, new_machine


@pytest.fixture
def machine(tmp_path: Path, unused_port: int) -> Machine:
    return new_machine(tmp_path, unused_port)


def station(machine: Machine) -> None:
    """Enrolled, with a card issued to Siti and 75,000 on it."""
    machine("sim", "new", str(machine.folder / "siti.json"))
    invited = machine("central", "invite", "--role", "station", "--name", "K", "--seller", "BMI")
    machine("card", "enrol", invitation(invited))
    machine("card", "issue", "4711", "Siti Aminah")
    machine("card", "topup", "75.000")


def test_a_card_given_back_is_emptied_and_its_wallet_paid_once(machine: Machine) -> None:
    with machine.serving():
        station(machine)
        ended = machine("card", "retire", "--reason", "pindah", "--wipe")
        assert "Rp 75.000 was taken from the card" in ended
        assert "chip is blank" in ended
        pay = ("card", "payout", "4711", "70.000", "--reference", "payout-0001")
        first = machine(*pay)
        assert "Hand out Rp 70.000 to Siti Aminah, member 4711. Receipt 1." in first
        assert "Rp 5.000" in first
        assert machine(*pay) == first
        assert "CENTRAL-AMOUNT" in machine("card", "payout", "4711", "6.000", expect=1)
        assert "Rp 5.000" in machine("card", "cash")  # 75,000 in, 70,000 out


def test_a_renewed_cards_money_comes_to_the_next_one(machine: Machine) -> None:
    with machine.serving():
        station(machine)
        ended = machine("card", "renew", "--reason", "aus", "--wipe")
        assert "Rp 75.000 of it waits" not in ended  # there is no next card yet
        assert "wallet now: Rp 75.000" in ended
        refused = machine("card", "issue", "4711", "Siti Aminah", expect=1)
        assert "CENTRAL-CARD-ENDED" in refused  # late sales find the old card by this chip's number


def test_cards_that_expire_are_listed(machine: Machine) -> None:
    with machine.serving():
        station(machine)
        assert "Siti" not in machine("card", "expiring")
        found = machine("card", "expiring", "--days", "3650")
        assert "Siti" in found
        assert "Rp 75.000" in found
