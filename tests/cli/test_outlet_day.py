"""A day of an outlet by the commands of office and till: catalogue, staff, an order, a count, a receipt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from dobmi.settings import load_settings
from dobmi.sync.proof_code import encode_proof
from dobmi.terminal.ledger import Ledger
from support.one_machine import Machine, invitation, new_machine

TOKO = ("--seller", "Toko")
PIN = "274951"


@pytest.fixture
def machine(tmp_path: Path, unused_port: int) -> Machine:
    return new_machine(tmp_path, unused_port)


def test_what_the_office_says_is_sold_by_whom_it_says_and_comes_back_as_counted(
    machine: Machine,
) -> None:
    machine("sim", "new", str(machine.folder / "siti.json"))
    with machine.serving() as url:
        for role, enrol in (("station", "card"), ("till", "terminal")):
            printed = machine("central", "invite", "--role", role, "--name", role, *TOKO)
            machine(enrol, "enrol", invitation(printed))
        machine("card", "issue", "4711", "Siti Aminah")
        machine("card", "topup", "200.000")
        tell(machine)
        machine("terminal", "sync")
        nobody_sells_without_a_login(machine)
        sold = sell(machine)
        assert "Not known yet" in page(machine, url, sold)
        machine("terminal", "sync")
        shown = page(machine, url, sold)
        assert "Paid" in shown
        assert "Rp 142.500" in shown
        for nobody in ("Siti", "Rina", "4711"):
            assert nobody not in shown
        assert "No receipt of ours" in page(machine, url, sold, changed=True)
        done = machine("central", "orders", "list", "--all")
        assert f"paid: Rina, 2/{sold}" in done
        assert "handed over: Rina" in done
        assert "501" not in machine("central", "orders", "list")
        shifts = machine("central", "shifts", *TOKO)
        for said in ("Rina", "1: Rp 142.500", "Rp 250.000", "Rp 249.000", "-Rp 1.000"):
            assert said in shifts


def tell(machine: Machine) -> None:
    """What the outlet sells, to whom at which price, who works there, and what was ordered."""
    files = {
        "catalogue": "kode;nama;kategori;harga;barcode;harga:karyawan\n"
        "BRS5;Beras 5 kg;Sembako;75.000;8991;71.250\nTLR;Telur;Sembako;2.500;;\n",
        "classes": "anggota;golongan\n4711;karyawan\n",
        "orders": "pesanan;anggota;ambil;kode;nama;jumlah;harga\n"
        "501;4711;2026-11-30;BRS5;Beras 5 kg;2;71.250\n",
    }
    for name, text in files.items():
        (machine.folder / f"{name}.csv").write_text(text, encoding="utf-8")
    machine("central", "catalogue", "import", str(machine.folder / "catalogue.csv"), *TOKO)
    machine("central", "members", "class", str(machine.folder / "classes.csv"))
    machine("central", "orders", "import", str(machine.folder / "orders.csv"), *TOKO)
    machine("central", "till-staff", "add", "11", "Rina", *TOKO)
    machine("central", "till-staff", "pin", "11", *TOKO, say=f"{PIN}\n{PIN}\n")


def nobody_sells_without_a_login(machine: Machine) -> None:
    assert "Rp 75.000" in machine("terminal", "catalogue", "scan", "8991")
    machine("terminal", "shift", "open", expect=1)
    refused = machine("terminal", "shift", "open", "--cashier", "11", say="111112\n", expect=1)
    assert "111112" not in refused


def sell(machine: Machine) -> int:
    """A shift with the order paid and handed over; the sale's number."""
    till = ("terminal", "shift")
    machine(*till, "open", "--float", "200.000", "--cashier", "11", say=f"{PIN}\n")
    machine(*till, "cash", "50.000", "--reason", "uang kecil")
    sold = json.loads(machine("terminal", "sell", "--order", "501", "--json"))
    machine("terminal", "orders", "hand-over", "501")
    machine(*till, "close", "--counted", "249.000")
    return int(sold["sequence"])


def page(machine: Machine, url: str, sequence: int, *, changed: bool = False) -> str:
    """What a phone shows that reads the receipt's code, or one with another hash in it."""
    settings = load_settings(machine.folder / "dobmi.toml")
    ledger = Ledger(machine.folder / settings.terminal.database)
    try:
        terminal, found = ledger.identity().terminal_id, ledger.hash_at(sequence)
    finally:
        ledger.close()
    assert found is not None
    address = encode_proof(url, terminal, sequence, bytes(32) if changed else found)
    answer = requests.get(address, params={"lang": "en"}, timeout=10)
    assert answer.status_code == 200
    return answer.text
