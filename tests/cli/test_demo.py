"""The main job, run as a user runs it, through pcscd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner

from dobmi.cli import demo
from dobmi.cli.main import root
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.vpcd import VirtualSlot
from support.pcscd import PcscService


@pytest.mark.pcscd
@pytest.mark.xdist_group("pcscd")
@pytest.mark.usefixtures("pcsc_service")
def test_the_demo_issues_sells_tears_syncs_and_not_a_rupiah_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dobmi", "demo", "--sales", "38", "--seed", "7", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["difference_rupiah"] == 0
    assert len(outcome["cards"]) == 3
    assert sum(card["spent"] for card in outcome["cards"]) >= 38 * 2_500
    assert outcome["circulation"]["quarantined"] == 0


class Nothing:
    """Stands for the parts that a test does not use."""

    port = 0
    name = ""
    card_there = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def wait_for_card(self, _: float) -> bool:
        return self.card_there

    def close(self) -> None: ...


def test_a_reader_that_is_taken_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ensure_pcscd", Nothing)
    monkeypatch.setattr(demo, "VirtualSlot", lambda port: Nothing())  # noqa: ARG005 - as it is called
    monkeypatch.setattr(
        demo, "open_reader", lambda _: type("Taken", (Nothing,), {"card_there": True})()
    )
    result = CliRunner().invoke(root, ["demo"])
    assert result.exit_code == 1
    assert "[DEMO-READER]" in result.output
    assert "dobmi sim pcsc" in result.output


@pytest.mark.parametrize("wrong", ["on_card", "in_ledger"])
def test_a_missing_rupiah_makes_the_demo_fail(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {"topped_up": 100, "spent": 40, "on_card": 60, "in_ledger": 60}
    line = demo.Line(name="Siti", uid="04", **{**right, wrong: 59})

    monkeypatch.setattr(demo, "ensure_pcscd", Nothing)
    monkeypatch.setattr(demo, "VirtualSlot", lambda port: Nothing())  # noqa: ARG005 - as it is called
    monkeypatch.setattr(demo, "open_reader", lambda _: Nothing())
    monkeypatch.setattr(demo, "_play", lambda *_: ([line], {"sum_rupiah": 0}))
    result = CliRunner().invoke(root, ["--lang", "en", "demo"])
    assert result.exit_code == 1
    assert "Rp 1 " in result.output


@pytest.mark.pcscd
@pytest.mark.xdist_group("pcscd")
def test_a_simulated_card_says_when_another_lies_in_the_reader(
    pcsc_service: PcscService, tmp_path: Path
) -> None:
    card = tmp_path / "card.json"
    SimulatedCard().save(card)
    with VirtualSlot(port=pcsc_service.current.port) as slot:
        slot.insert(SimulatedCard())
        assert slot.wait_until_noticed(3)
        program = [sys.executable, "-m", "dobmi", "sim", "pcsc", str(card)]
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "[SIM-READER]" in done.stderr
