"""A till is set up by commands: the office's in one folder, the till's in another."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dobmi.cardlib.custody import load_key_file
from dobmi.central.database import open_database
from dobmi.central.server import Central
from dobmi.cli.main import root
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.settings import load_settings
from support.servers import serving

PASSPHRASE = "kopi tubruk"


def run(folder: Path, *arguments: str, expect: int = 0, typed: str = "") -> str:
    result = CliRunner().invoke(
        root,
        ["--config", str(folder / "dobmi.toml"), "--lang", "en", *arguments],
        env={"DOBMI_PASSPHRASE": PASSPHRASE, "COLUMNS": "200"},
        input=typed,
    )
    assert result.exit_code == expect, (arguments, result.output, result.exception)
    return result.output


@pytest.fixture
def office(tmp_path: Path) -> Path:
    folder = tmp_path / "office"
    folder.mkdir()
    (folder / "dobmi.toml").touch()
    run(folder, "central", "keys", "init")
    run(folder, "central", "init")
    return folder


@pytest.fixture
def server(office: Path) -> Iterator[str]:
    settings = load_settings(office / "dobmi.toml").central
    ring = load_key_file(office / "central.keys", PASSPHRASE)
    with serving(Central(open_database(settings.database, office), ring, settings)) as url:
        yield url


@pytest.fixture
def till(tmp_path: Path, server: str) -> Path:
    folder = tmp_path / "till"
    folder.mkdir()
    (folder / "dobmi.toml").write_text("# Kasir depan\n")
    card = folder / "card.json"
    SimulatedCard().keep_in(card)
    run(folder, "terminal", "setup", "set", "--server", server, "--reader", f"sim:{card}")
    return folder


def code_in(printed: str) -> str:
    found = re.search(r"[2-9A-Y]{4}-[2-9A-Y]{4}", printed)
    assert found, printed
    return found[0]


def digits_in(printed: str) -> str:
    found = re.search(r"till: (\d{4})$", printed, re.MULTILINE)
    assert found, printed
    return found[1]


def test_a_new_till_is_set_up_and_paired_by_commands(office: Path, till: Path) -> None:
    assert "# Kasir depan" in (till / "dobmi.toml").read_text()
    assert "a blank card: the office can issue it" in run(till, "terminal", "setup", "reader")
    assert "Not paired yet" in run(till, "terminal", "setup")
    code = code_in(run(till, "terminal", "setup", "pair", "--name", "Kasir depan", "--no-wait"))
    assert code in run(till, "terminal", "setup")
    assert code in run(office, "central", "pairing", "list")
    waiting = json.loads(run(office, "central", "pairing", "list", "--json"))["waiting"]
    assert [one["name"] for one in waiting] == ["Kasir depan"]
    said = run(office, "central", "pairing", "approve", code, "--seller", "Toko Cikupa")
    assert "Check the spelling" in said
    done = run(till, "terminal", "setup", "pair", typed=f"9\n{digits_in(said)}\n")
    assert "Tries left: 4" in done
    assert "This is now till 1 of Toko Cikupa." in done
    assert "Outlet: Toko Cikupa, till 1" in run(till, "terminal", "setup")
    assert "No till waits." in run(office, "central", "pairing", "list")
    assert "Kasir depan" in run(office, "central", "terminals")
    assert (till / "till.keys").exists()
    run(till, "terminal", "sync")


def test_digits_can_be_given_later_and_wrong_ones_are_refused(office: Path, till: Path) -> None:
    assert "PAIRING-NONE" in run(till, "terminal", "setup", "pair", "--reply", "1", expect=1)
    code = code_in(run(till, "terminal", "setup", "pair", "--no-wait"))
    said = run(office, "central", "pairing", "approve", code, "--seller", "Toko Cikupa")
    assert "PAIRING-REPLY" in run(till, "terminal", "setup", "pair", "--reply", "1", expect=1)
    run(till, "terminal", "setup", "pair", "--reply", digits_in(said))


def test_a_refused_till_says_so_and_can_begin_anew(office: Path, till: Path) -> None:
    code = code_in(run(till, "terminal", "setup", "pair", "--no-wait"))
    run(office, "central", "pairing", "refuse", code)
    assert "PAIRING-REFUSED" in run(till, "terminal", "setup", "pair", expect=1)
    other = code_in(run(till, "terminal", "setup", "pair", "--no-wait"))
    anew = code_in(run(till, "terminal", "setup", "pair", "--no-wait", "--anew"))
    assert len({code, other, anew}) == 3


def test_a_wrong_code_takes_nobody_in(office: Path, till: Path) -> None:
    run(till, "terminal", "setup", "pair", "--no-wait")
    printed = run(
        office, "central", "pairing", "approve", "ACDE-FGHJ", "--seller", "Toko", expect=1
    )
    assert "CENTRAL-PAIRING-CODE" in printed
    assert "Toko" not in run(office, "central", "terminals")


def test_readers_and_printers_are_listed_or_said_to_be_missing(till: Path) -> None:
    assert run(till, "terminal", "setup", "readers")
    assert run(till, "terminal", "setup", "printers")
    assert "PRINTER" in run(till, "terminal", "setup", "printer", expect=1)
    paper = till / "paper"
    paper.touch()
    run(till, "terminal", "setup", "set", "--printer", f"file:{paper}", "--columns", "48")
    run(till, "terminal", "setup", "printer")
    assert paper.stat().st_size > 100


def test_waiting_for_the_office_ends_when_it_approves(office: Path, till: Path) -> None:
    """As two programs: the till's asks again by itself."""
    waiting = subprocess.Popen(
        [sys.executable, "-m", "dobmi", "--lang", "en", "terminal", "setup", "pair"],
        cwd=till,
        env={"DOBMI_PASSPHRASE": PASSPHRASE, "PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdin is not None
    assert waiting.stdout is not None
    read = ""
    while "good for" not in read:
        line = waiting.stdout.readline()
        assert line, read
        read += line
    said = run(office, "central", "pairing", "approve", code_in(read), "--seller", "Toko Cikupa")
    printed, _ = waiting.communicate(digits_in(said) + "\n", timeout=30)
    assert waiting.returncode == 0, printed
    assert "This is now till 1 of Toko Cikupa." in printed
