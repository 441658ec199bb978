"""A day with the program as people use it: the commands of office, station and till, one after another."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from dobmi.cardlib.custody import load_key_file
from dobmi.cli.main import root
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from support.one_machine import PASSPHRASE, Machine, invitation, new_machine


@pytest.fixture
def machine(tmp_path: Path, unused_port: int) -> Machine:
    return new_machine(tmp_path, unused_port)


@pytest.mark.parametrize(
    ("passphrase_file", "code"),
    [("folder", "FILE"), ("nowhere", "FILE"), ("noise", "FILE"), ("empty", "KEY-PASSPHRASE-EMPTY")],
)
def test_every_role_says_what_is_wrong_with_the_passphrase(
    machine: Machine, passphrase_file: str, code: str
) -> None:
    (machine.folder / "folder").mkdir()
    (machine.folder / "noise").write_bytes(b"\xff\xfe")
    (machine.folder / "empty").write_text("\n")
    (machine.folder / "terminal-identity.keys").write_bytes(
        (machine.folder / "central.keys").read_bytes()
    )
    (machine.folder / "station-identity.keys").write_bytes(
        (machine.folder / "central.keys").read_bytes()
    )
    (machine.folder / "station.json").write_text(
        '{"terminal_id": 1, "terminal_public_key": "", "server_public_key": "", '
        '"card_issuer_public_key": "", "issuer": "", "seller": ""}'
    )
    settings = machine.folder / "dobmi.toml"
    settings.write_text(f'passphrase_file = "{passphrase_file}"\n' + settings.read_text())
    for command in (
        ["terminal", "sync"],
        ["card", "deliver"],
        ["central", "keys", "till", "other.keys"],
        ["central", "keys", "renew"],
    ):
        assert f"[{code}]" in machine(*command, expect=1, passphrase=None)


def test_an_empty_passphrase_makes_no_keys(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = str(machine.folder / "other.keys")
    monkeypatch.setenv("DOBMI_TILL_PASSPHRASE", "")
    refused = machine("central", "keys", "till", made, expect=1)
    assert "[KEY-PASSPHRASE-EMPTY]" in refused
    assert not Path(made).exists()
    (machine.folder / "central.keys").rename(machine.folder / "kept.keys")
    assert "[KEY-PASSPHRASE-EMPTY]" in machine("central", "keys", "init", expect=1, passphrase="")
    assert not (machine.folder / "central.keys").exists()


def test_a_place_that_cannot_be_written_is_no_traceback(machine: Machine) -> None:
    inside_a_file = str(machine.folder / "dobmi.toml" / "till.keys")
    assert "[KEY-FILE-ACCESS]" in machine("central", "keys", "till", inside_a_file, expect=1)


def test_a_day_from_blank_card_to_blocked_card(machine: Machine) -> None:
    siti = str(machine.folder / "siti.json")
    machine("sim", "new", siti)
    with machine.serving():
        station = invitation(
            machine("central", "invite", "--role", "station", "--name", "Kantor", "--seller", "BMI")
        )
        till = invitation(
            machine("central", "invite", "--role", "till", "--name", "Toko", "--seller", "Toko")
        )
        machine("card", "enrol", station)
        machine("terminal", "enrol", till)
        assert "Siti Aminah" in machine("card", "issue", "4711", "Siti Aminah")
        assert "Rp 100.000" in machine("card", "topup", "100.000")
        assert "a Do BMI card" in machine("card", "inspect")
        machine("terminal", "sync")

    machine("terminal", "shift", "open")
    sold = machine("terminal", "sell", "12.500")
    assert "Rp 12.500" in sold
    assert "Rp 87.500" in sold
    assert json.loads(machine("terminal", "balance", "--json"))["balance_rupiah"] == 87_500
    assert json.loads(machine("terminal", "status", "--json"))["unsent_count"] == 1

    with machine.serving():
        machine("terminal", "sync")
        assert json.loads(machine("terminal", "status", "--json"))["unsent_count"] == 0
        uid = json.loads((machine.folder / "siti.json").read_text())["card"]["serial"]
        assert "Rp 87.500" in machine("card", "show", uid)
        machine("card", "block", uid, "--reason", "lost")
        machine("terminal", "sync")
    refused = machine("terminal", "sell", "1000", expect=1)
    assert "No money moved." in refused
    assert "Rp 12.500" in machine("terminal", "shift", "close", "--counted", "0")


def test_a_refund_and_a_lost_card_from_the_desk(machine: Machine) -> None:
    """Sold, given back, the card lost, another one issued: all of the money is on it."""
    siti = str(machine.folder / "siti.json")
    machine("sim", "new", siti)
    machine("sim", "new", str(machine.folder / "new.json"))
    with machine.serving():
        for role, enrol in (("station", "card"), ("till", "terminal")):
            printed = machine(
                "central", "invite", "--role", role, "--name", role, "--seller", "Toko"
            )
            machine(enrol, "enrol", invitation(printed))
        machine("card", "issue", "4711", "Siti Aminah")
        machine("card", "topup", "100.000")
    machine("terminal", "shift", "open")
    machine("terminal", "sell", "12.500")
    paper = machine("terminal", "refund", "1", "--amount", "2.500", "--reason", "basah")
    assert "Rp 2.500" in paper
    assert "NOT ON THE CARD YET" in paper
    machine("terminal", "refund", "1", "--amount", "10.001", "--reason", "basah", expect=1)
    again = json.loads(machine("terminal", "refund", "1", "--reason", "semua", "--json"))
    assert (again["amount_rupiah"], again["refunded_total_rupiah"]) == (10_000, 12_500)
    refunds = re.search(r"Refunds \(2\) +(.*)", machine("terminal", "shift", "show"))
    assert refunds is not None
    assert refunds[1] == "Rp 12.500"
    machine("terminal", "refund", "9", "--reason", "x", expect=1)

    with machine.serving():
        machine("terminal", "sync")
        assert "basah" not in machine("central", "refunds")
        assert "ordered" in machine("central", "refunds", "--all")
        uid = json.loads((machine.folder / "siti.json").read_text())["card"]["serial"]
        replaced = machine("card", "replace", uid, "--reason", "hilang")
        assert "until tills" in replaced
        assert "issue one" in replaced
        machine.use_card("new.json")
        machine("card", "issue", "4711", "Siti Aminah")
        machine("terminal", "sync")
        machine("terminal", "sync")
        shown = machine("card", "show", uid)
        assert "replaced for good" in shown
        assert "Rp 100.000 of it was restored" in shown
        assert "Rp 100.000" in machine("card", "deliver")
    balance = json.loads(machine("terminal", "balance", "--json"))["balance_rupiah"]
    assert balance == 100_000


def test_keys_are_renewed_while_cards_and_tills_are_in_use(machine: Machine) -> None:
    machine("sim", "new", str(machine.folder / "siti.json"))
    with machine.serving():
        for role, enrol in (("station", "card"), ("till", "terminal")):
            printed = machine(
                "central", "invite", "--role", role, "--name", role, "--seller", "Toko"
            )
            machine(enrol, "enrol", invitation(printed))
        machine("card", "issue", "4711", "Siti Aminah")
        machine("card", "topup", "100.000")
    assert "Generation 2" in machine("central", "keys", "renew")
    (machine.folder / "till.keys").unlink()
    machine("central", "keys", "till", str(machine.folder / "till.keys"))
    machine("terminal", "shift", "open")
    machine("terminal", "sell", "1.000")
    with machine.serving():
        machine("terminal", "sync")  # says that the till holds them
        assert "4 changed" in machine("card", "rekey")
        assert "generation 2 already" in machine("card", "rekey")
        machine("card", "topup", "500")
    machine("terminal", "sell", "1.000")
    assert json.loads(machine("terminal", "balance", "--json"))["balance_rupiah"] == 98_500
    ring = load_key_file(machine.folder / "central.keys", PASSPHRASE)
    assert all(set(versions) == {1, 2} for versions in ring.masters.values())


@pytest.mark.parametrize("amount", ["0", "-5", "12,5", "abc", "1e3", "99999999"])
def test_a_till_refuses_what_is_no_amount_and_says_so(machine: Machine, amount: str) -> None:
    with machine.serving():
        till = invitation(
            machine("central", "invite", "--role", "till", "--name", "Toko", "--seller", "Toko")
        )
        machine("terminal", "enrol", till)
    machine("terminal", "shift", "open")
    printed = machine("terminal", "sell", "--", amount, expect=1)
    assert "Tap the card" not in printed
    assert "No money moved." in printed
    assert "→" in printed


@pytest.mark.parametrize("amount", ["0", "-5", "12,5", "abc", "1e3"])
def test_a_station_refuses_what_is_no_amount_as_a_till_does(machine: Machine, amount: str) -> None:
    printed = machine("card", "topup", amount, expect=1, language="id")
    assert "[STATION-AMOUNT]" in printed
    assert "Tidak ada uang yang berpindah." in printed
    assert "→ Ketik" in printed


def test_a_simulated_card_comes_with_the_setting_that_lets_it_be_issued(machine: Machine) -> None:
    printed = machine("sim", "new", str(machine.folder / "siti.json"))
    setting = printed[printed.index("[central.originality_keys]") :]
    assert tomllib.loads(setting)["central"]["originality_keys"] == {
        "simulation": SIMULATION_PUBLIC_KEY.hex()
    }


def test_others_on_the_machine_cannot_read_the_ledger(machine: Machine) -> None:
    assert (machine.folder / "central.db").stat().st_mode & 0o077 == 0


def test_a_station_refuses_what_is_no_uid(machine: Machine) -> None:
    printed = machine("card", "show", "4711", expect=1, language="id")
    assert "[STATION-UID]" in printed
    assert "→ " in printed


def test_a_card_is_described_in_the_users_language(machine: Machine) -> None:
    machine("sim", "new", str(machine.folder / "siti.json"))
    with machine.serving():
        invited = ("--role", "station", "--name", "Kantor", "--seller", "BMI")
        machine("card", "enrol", invitation(machine("central", "invite", *invited)))
        machine("card", "issue", "4711", "Siti")
        uid = json.loads((machine.folder / "siti.json").read_text())["card"]["serial"]
        shown = machine("card", "show", uid, language="id")
    looked = machine("card", "inspect", language="id")
    assert "nomor anggota" in shown
    assert "aktif" in shown
    assert "kunci debit" in looked
    for english in ("member", "active", " key", "bytes"):
        assert english not in shown + looked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["5000", "--item", "Gula=4000"], "bukan 5.000"),
        (["--item", "Gula"], "NAMA=HARGA"),
        ([], "jumlah uang"),
        (["--item", "Gula=4000", "--qty", "2", "--qty", "3"], "barang"),
    ],
)
def test_a_wrong_cart_is_explained_in_indonesian(
    machine: Machine, arguments: list[str], said: str
) -> None:
    with machine.serving():
        printed = machine("central", "invite", "--role", "till", "--name", "Toko", "--seller", "T")
        machine("terminal", "enrol", invitation(printed))
    machine("terminal", "shift", "open")
    refused = machine("terminal", "sell", *arguments, expect=1, language="id")
    assert said in refused.replace("Rp ", "")
    assert " is " not in refused


def test_errors_are_in_indonesian_unless_english_is_asked_for(machine: Machine) -> None:
    assert "Tidak ada uang yang berpindah." in machine(
        "card", "issue", "4711", "Siti", expect=1, language="id"
    )


@pytest.mark.parametrize(
    "setting",
    [
        "[terminal]\nreadr = 1",
        "[central]\nport = 99999",
        "not toml",
        "[terminal]\ncard_wait_seconds = -1",
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_started(tmp_path: Path, setting: str) -> None:
    (tmp_path / "dobmi.toml").write_text(setting)
    machine = Machine(tmp_path)
    result = CliRunner().invoke(
        root, ["--config", str(tmp_path / "dobmi.toml"), "terminal", "status"]
    )
    assert result.exit_code == 1
    assert "[SETTINGS]" in result.output
    assert not list(machine.folder.glob("*.db"))


@pytest.mark.parametrize("role", ["terminal", "card", "central", "sim", "demo"])
def test_every_role_explains_itself(role: str) -> None:
    result = CliRunner().invoke(root, ["--lang", "en", role, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_a_command_called_wrongly_says_so_in_indonesian(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dobmi", "card", "block", "04AABBCCDDEEFF"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "[USAGE]" in done.stderr
    assert "--reason" in done.stderr
    assert "Tidak ada uang yang berpindah." in done.stderr
    assert "dobmi card block --help" in done.stderr
