"""The PIN at the two command lines: asked hidden, or a line of standard input; never in what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from dobmi.firmware_sim.card import SimulatedCard
from support.one_machine import Machine, invitation, new_machine

FIRST, SECOND, WRONG = "739164", "208517", "555012"


@pytest.fixture
def machine(tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("dobmi.cardlib.custody._SCRYPT_N", 16)
    machine = new_machine(tmp_path, unused_port)
    text = (tmp_path / "dobmi.toml").read_text()
    settings = text.replace("[central]\n", "[central]\npin_above_rupiah = 10000\n", 1)
    (tmp_path / "dobmi.toml").write_text(settings)
    SimulatedCard().save(tmp_path / "siti.json")
    return machine


def test_from_issuing_to_a_sale(machine: Machine) -> None:
    said: list[str] = []

    def do(*arguments: str, say: str = "", expect: int = 0) -> str:
        output = machine(*arguments, say=say, expect=expect)
        said.append(output)
        return output

    station = ("--role", "station", "--name", "Kantor", "--seller", "BMI")
    till = ("--role", "till", "--name", "Toko", "--seller", "Toko")
    with machine.serving():
        do("card", "enrol", invitation(do("central", "invite", *station)))
        do("terminal", "enrol", invitation(do("central", "invite", *till)))
        do("terminal", "shift", "open")
        do("card", "issue", "4711", "Siti Aminah", "--pin", say=f"{FIRST}\n")
        do("card", "topup", "100000")
        assert "CARD-PIN-WRONG" in do("terminal", "sell", "12500", say=f"{WRONG}\n{FIRST}\n")
        do("terminal", "sell", "10000")
        do("terminal", "sell", "12500", say="\n", expect=1)

        do("card", "pin", "change", say=f"{WRONG}\n{SECOND}\n", expect=1)
        do("card", "pin", "change", say=f"{FIRST}\n{SECOND}\n")
        do("card", "pin", "prove", say=f"{SECOND}\n")
        do("card", "pin", "set", say=f"{FIRST}\n", expect=1)
        do("card", "pin", "reset", "--identified-by", "KTP", say=f"{FIRST}\n")
        do("card", "pin", "reset", "--identified-by", "KTP", say="123456\n", expect=1)
        do("terminal", "sell", "12500", say=f"{FIRST}\n")
        do("terminal", "sync")
    acts = do("central", "acts")
    assert "reset: KTP" in acts
    for pin in (FIRST, SECOND, WRONG):
        assert pin not in "".join(said)
        for file in machine.folder.rglob("*"):
            if file.is_file():
                assert pin.encode() not in file.read_bytes(), file.name
