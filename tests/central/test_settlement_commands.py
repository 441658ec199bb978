"""`dobmi central settlement`, `seller` and `staff` as the treasurer uses them; two at once, too."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from dobmi.central.owed import positions
from dobmi.central.payment_file import NAMESPACE
from dobmi.central.schema import RunState
from dobmi.central.settlement_run import run_list
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from support.settling import APPROVER, BOTH, PROPOSER, Payday
from support.traffic import World

TOKO = "Toko Satu"
PAYER = {
    "payer_bank_code": "BMRIIDJA",
    "payer_account": "1230004567890",
    "payer_holder": "Koperasi BMI",
}


@pytest.fixture
def payday(world: World) -> Payday:
    payday = Payday(world)
    payday.seller(TOKO)
    payday.sell(TOKO, 10_000)
    payday.next_day()
    return payday


class Treasurer:
    def __init__(self, payday: Payday, folder: Path, **payer: str) -> None:
        central = CentralSettings(database=payday.world.url, **payer)  # type: ignore[arg-type] # all strings
        self.context = Context(Settings(folder=folder, central=central), "en", str)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, obj=self.context)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def refused(self, code: str, *arguments: str) -> None:
        done = self.run(*arguments)
        assert (done.exit_code, f"[{code}]" in done.output) == (1, True), done.output


def test_a_month_end_by_the_commands(payday: Payday, tmp_path: Path) -> None:
    desk = Treasurer(payday, tmp_path, **PAYER)
    day = payday.yesterday.isoformat()
    desk.ok("staff", "add", "Eka", "--role", "proposer")
    assert "Eka" in desk.ok("staff", "list")
    assert "merchant, 0 tills" in desk.ok("seller", "add", "Warung Ibu", "--kind", "merchant")
    assert "Warung Ibu" in desk.ok("seller", "list")
    desk.refused("CENTRAL-SELLER-SOLD", "seller", "add", TOKO, "--kind", "merchant")
    account = (
        "--bank",
        "BCA",
        "--bank-code",
        "CENAIDJA",
        "--account",
        "77 88-99",
        "--holder",
        "Ali",
    )
    assert "seller approve" in desk.ok("seller", "set", TOKO, *account, "--by", BOTH)
    desk.refused("CENTRAL-SECOND-PERSON", "seller", "approve", TOKO, "2", "--by", BOTH)
    assert "approved by Budi" in desk.ok("seller", "approve", TOKO, "2", "--by", APPROVER)
    assert "778899" in desk.ok("seller", "accounts", TOKO)
    late = ("seller", "fee", TOKO, "--basis-points", "150", "--from", payday.today.isoformat())
    assert "approve-fee 1" in desk.ok(*late, "--by", PROPOSER)
    assert "approve-fee 1" in desk.ok("seller", "fees")
    assert "approved by Budi" in desk.ok("seller", "approve-fee", "1", TOKO, "--by", APPROVER)
    assert TOKO in desk.ok("seller", "fees")
    assert "Rp 10.000" in desk.ok("settlement", "owed")
    assert "Rp 10.000" in desk.ok("settlement", "owed", "--cut-off", day)
    propose = ("settlement", "propose", "--cut-off", day)
    desk.refused("CENTRAL-STAFF", *propose, "--by", "Siapa")
    assert "proposed: Eka" in desk.ok(*propose, "--by", "Eka")
    assert "proposed: Eka" in desk.ok(*propose, "--by", PROPOSER)
    assert "sale" in desk.ok("settlement", "show", "1", "--seller", TOKO)
    desk.refused("CENTRAL-RUN-STATE", "settlement", "export", "1", str(tmp_path), "--by", "Eka")
    desk.refused("CENTRAL-STAFF", "settlement", "approve", "1", "--by", "Eka")
    desk.ok("settlement", "approve", "1", "--by", APPROVER)
    desk.ok("settlement", "export", "1", str(tmp_path), "--by", "Eka")
    files = [tmp_path / f"settlement-1.{kind}" for kind in ("csv", "xml")]
    first = [file.read_bytes() for file in files]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    root = ET.fromstring(first[1])  # noqa: S314 - our own
    assert root.findtext(f".//{{{NAMESPACE}}}InstdAmt") == "10000.00"
    desk.ok("settlement", "export", "1", str(tmp_path), "--by", APPROVER)
    assert [file.read_bytes() for file in files] == first
    desk.ok("settlement", "paid", "1", "--reference", "TRF-9", "--by", "Eka")
    assert "paid" in desk.ok("settlement", "list")
    withdraw = ("settlement", "withdraw", "1", "--reason", "x", "--by", APPROVER)
    desk.refused("CENTRAL-RUN-STATE", *withdraw)
    desk.ok("staff", "remove", "Eka")
    desk.refused("CENTRAL-STAFF", *propose, "--by", "Eka")


def test_without_the_payers_account_nothing_is_written(payday: Payday, tmp_path: Path) -> None:
    number = payday.propose().number
    payday.approve(number)
    desk = Treasurer(payday, tmp_path)
    desk.refused("CENTRAL-PAYER", "settlement", "export", "1", str(tmp_path), "--by", BOTH)
    assert not list(tmp_path.glob("settlement-*"))
    assert run_list(payday.database)[0].state is RunState.APPROVED


def test_processes_at_once_make_one_run_and_pay_it_once(payday: Payday, tmp_path: Path) -> None:
    config = tmp_path / "dobmi.toml"
    config.write_text(f'language = "en"\n[central]\ndatabase = "{payday.world.url}"\n')

    def at_once(*arguments: str) -> list[int]:
        line = [sys.executable, "-m", "dobmi", "--config", str(config), "central", "settlement"]
        running = [
            subprocess.Popen([*line, *arguments], stdout=subprocess.DEVNULL) for _ in range(3)
        ]
        return [process.wait(60) for process in running]

    day = payday.yesterday.isoformat()
    assert at_once("propose", "--cut-off", day, "--by", PROPOSER) == [0, 0, 0]
    (run,) = run_list(payday.database)
    payday.approve(run.number)
    payday.export(run.number)
    assert at_once("paid", "1", "--reference", "TRF-1", "--by", PROPOSER) == [0, 0, 0]
    paid = {one.seller: one.paid for one in positions(payday.database)}
    assert paid[TOKO] == Rupiah(10_000)
