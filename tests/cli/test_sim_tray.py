"""`dobmi sim tap` and its kind, at a reader that another program has open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dobmi.cardlib.errors import CardRemoved, ReaderUnavailable
from dobmi.cardlib.readers.base import Reader, Signal, open_reader
from dobmi.cli import sim_tray
from dobmi.cli.main import root
from dobmi.firmware_sim.card import SimulatedCard

GET_FREE_MEMORY = bytes.fromhex("906E000000")
SOON_SECONDS = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tray"
    made.mkdir()
    SimulatedCard().save(tmp_path / "card.json")
    return made


@pytest.fixture
def reader(folder: Path) -> Iterator[Reader]:
    opened = open_reader(f"sim:{folder}/")
    yield opened
    opened.close()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(root, ["--lang", "en", "sim", *map(str, arguments)])


def test_a_card_is_tapped_and_lifted(reader: Reader, folder: Path) -> None:
    reader.signal(Signal.READY)
    assert "The reader is empty." in run("look", folder).output
    for _ in range(2):  # what lies there is lifted first
        assert run("tap", folder, folder.parent / "card.json").exit_code == 0
        assert reader.wait_for_card(SOON_SECONDS)
    looked = run("look", folder).output
    assert "card.json lies on the reader." in looked
    assert looked.endswith("ready\n")
    assert run("lift", folder).exit_code == 0
    assert reader.wait_for_removal(SOON_SECONDS)


def test_it_is_pulled_away_at_the_exchange_that_is_named(reader: Reader, folder: Path) -> None:
    tapped = run("tap", folder, folder.parent / "card.json", "--pull-at", 2, "--before")
    assert tapped.exit_code == 0
    assert reader.wait_for_card(SOON_SECONDS)
    connection = reader.connect()
    connection.transmit(GET_FREE_MEMORY)
    with pytest.raises(CardRemoved):
        connection.transmit(GET_FREE_MEMORY)


def test_it_is_lifted_by_itself_and_takes_its_time(reader: Reader, folder: Path) -> None:
    card = folder.parent / "card.json"
    assert run("tap", folder, card, "--for", 0.01, "--radio", "106").exit_code == 0
    assert reader.wait_for_removal(SOON_SECONDS)


def test_the_cable_is_pulled_and_put_back(reader: Reader, folder: Path) -> None:
    assert run("unplug", folder).exit_code == 0
    with pytest.raises(ReaderUnavailable):
        reader.wait_for_card(0)
    refused = run("tap", folder, folder.parent / "card.json")
    assert refused.exit_code == 1
    assert "SIM-TRAY" in refused.output
    assert run("plug", folder).exit_code == 0
    assert not reader.wait_for_card(0)


def test_without_a_till_it_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_tray, "WAIT_SECONDS", 0.01)
    refused = run("lift", folder)
    assert refused.exit_code == 1
    assert "no program has the reader" in refused.output
    assert 'reader = "sim:FOLDER/"' in refused.output
