"""The central server as a process of its own, its keys in a token of SoftHSM2, worked by commands."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from dobmi.cardlib.custody import KeyRing, load_key_file, save_key_file
from dobmi.cardlib.custody_pkcs11 import Pkcs11Custody
from dobmi.cardlib.custody_place import store_masters
from dobmi.cardlib.errors import HsmGone
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_session import deliver_credits
from dobmi.central.database import open_database
from dobmi.central.issue_session import issue_card
from dobmi.central.readiness import readiness
from dobmi.central.schema import CardState, CreditDelivery
from dobmi.central.server import Central
from dobmi.central.serving import ServerState
from dobmi.cli.main import root
from dobmi.errors import MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.settings import CentralSettings
from support.one_machine import PASSPHRASE, invitation
from support.purses import InProcess, purse_of
from support.servers import new_central, order
from support.softhsm import OPENS, PIN, SoftToken, in_use, make_token
from support.tills import RING

DAY = """
[terminal]
reader = "sim:{folder}/siti.json"
server = "http://127.0.0.1:{port}"
cashier = "Rina"
card_wait_seconds = 5

[provisioning]
reader = "sim:{folder}/siti.json"
server = "http://127.0.0.1:{port}"
card_wait_seconds = 5

[central]
keys = "{keys}"
port = {port}
workers = {workers}
database = "{database}"
drain_seconds = 0
periodic_minutes = 0

[central.originality_keys]
simulation = "{simulation}"
"""


@dataclass
class Machine:
    folder: Path
    token: SoftToken
    port: int

    def __call__(self, *arguments: str, expect: int = 0, **changed: str) -> str:
        """One command, as a process would do it: nothing of the module is left over."""
        with in_use(self.token):
            done = CliRunner().invoke(
                root,
                ["--config", str(self.folder / "dobmi.toml"), "--lang", "en", *arguments],
                env={
                    "DOBMI_PASSPHRASE": PASSPHRASE,
                    "DOBMI_HSM_PIN": PIN,
                    "COLUMNS": "200",
                    **changed,
                },
            )
        assert done.exit_code == expect, (arguments, done.output, done.exception)
        return done.output

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        log = self.folder / "central.log"
        command = [sys.executable, "-m", "dobmi", "central", "serve"]
        with log.open("a") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.token.environment, stderr=output, stdout=output
            )
            try:
                deadline = time.monotonic() + 60
                while True:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    with contextlib.suppress(requests.ConnectionError):
                        if requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=10).ok:
                            break
                    time.sleep(0.05)
                yield
            finally:
                process.terminate()
                assert process.wait(30) == 0, log.read_text()


@pytest.fixture
def machine(tmp_path: Path, unused_port: int) -> Machine:
    token = make_token(tmp_path / "token")
    token = replace(token, place=replace(token.place, distribution=tmp_path / "distribution.keys"))
    (tmp_path / "dobmi.toml").write_text(
        DAY.format(
            folder=tmp_path,
            port=unused_port,
            keys=token.setting,
            workers=2,
            database="sqlite:///central.db",
            simulation=SIMULATION_PUBLIC_KEY.hex(),
        )
    )
    return Machine(tmp_path, token, unused_port)


def test_a_day_on_a_token_issued_credited_sold_synced_and_given_new_keys(machine: Machine) -> None:
    made = machine("central", "keys", "init")
    assert "token Do BMI" in made
    assert not (machine.folder / "central.keys").exists()
    machine("central", "init")
    machine("central", "keys", "till", str(machine.folder / "till.keys"))
    machine("sim", "new", str(machine.folder / "siti.json"))
    with machine.serving():
        for role, enrol in (("station", "card"), ("till", "terminal")):
            printed = machine(
                "central", "invite", "--role", role, "--name", role, "--seller", "Toko"
            )
            machine(enrol, "enrol", invitation(printed))
        assert "Siti Aminah" in machine("card", "issue", "4711", "Siti Aminah")
        assert "Rp 100.000" in machine("card", "topup", "100.000")
        machine("terminal", "sync")
        machine("terminal", "shift", "open")
        assert "Rp 87.500" in machine("terminal", "sell", "12.500")
        machine("terminal", "sync")
        assert json.loads(machine("terminal", "status", "--json"))["unsent_count"] == 0
        card = json.loads((machine.folder / "siti.json").read_text())["card"]["serial"]
        assert "Rp 87.500" in machine("card", "show", card)
    with contextlib.closing(open_database("sqlite:///central.db", machine.folder)) as database:
        assert circulation(Central(database, RING, CentralSettings())).difference.amount == 0

    machine("central", "keys", "renew")
    (machine.folder / "till.keys").unlink()
    machine("central", "keys", "till", str(machine.folder / "till.keys"))
    with machine.serving():
        machine("terminal", "sync")
        assert "2" in machine("card", "rekey")
        machine("terminal", "sync")
        assert "Rp 77.500" in machine("terminal", "sell", "10.000")
        machine("terminal", "sync")
        assert "Rp 77.500" in machine("card", "show", card)


def test_a_key_file_is_moved_into_a_token_and_not_needed_any_more(machine: Machine) -> None:
    ring = KeyRing.generate(list(CardKey), ["server", "card-issuer"]).renewed()
    save_key_file(machine.folder / "old.keys", ring, PASSPHRASE)
    shown = machine("central", "keys", "show", "--file", str(machine.folder / "old.keys"))
    machine("central", "keys", "import", str(machine.folder / "old.keys"))
    (machine.folder / "old.keys").unlink()
    moved = machine("central", "keys", "show")
    for held in ring.held():
        value = held.check_value.hex().upper()
        assert value in shown
        assert value in moved
    with in_use(machine.token):
        custody = Pkcs11Custody.open(machine.token.place, OPENS)
        uid = bytes.fromhex("04782E21801D80")
        for key in CardKey:
            for version in (1, 2):
                assert custody.card_key(key, uid, version) == ring.card_key(key, uid, version)
        for name in ("server", "card-issuer"):
            assert custody.public_key(name) == ring.public_key(name)
    beside = load_key_file(machine.folder / "distribution.keys", PASSPHRASE)
    assert beside.masters == ring.only(masters=beside.masters).masters


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"DOBMI_HSM_PIN": "999999"}, "HSM-PIN"),
        ({"DOBMI_PASSPHRASE": "another"}, "KEY-PASSPHRASE"),
        ({"DOBMI_CENTRAL__KEYS": "pkcs11:token=none;module=/usr/lib/softhsm/libsofthsm2.so"}, "HSM-TOKEN"),
        ({"DOBMI_CENTRAL__KEYS": "pkcs11:token=none;module=/nowhere.so"}, "HSM-MODULE"),
        ({"DOBMI_CENTRAL__KEYS": "pkcs11:token=none"}, "SETTINGS"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_token_is_said(
    machine: Machine, changed: dict[str, str], code: str
) -> None:
    machine("central", "keys", "init")
    refused = machine("central", "keys", "show", expect=1, **changed)
    assert f"[{code}]" in refused
    assert "Traceback" not in refused
    for secret in (PIN, "999999", PASSPHRASE, "another"):
        assert secret not in refused


def test_a_file_is_no_place_to_import_to(machine: Machine) -> None:
    machine("central", "keys", "init", DOBMI_CENTRAL__KEYS="central.keys")
    path = str(machine.folder / "central.keys")
    refused = machine(
        "central", "keys", "import", path, expect=1, DOBMI_CENTRAL__KEYS="central.keys"
    )
    assert "[SETTINGS]" in refused


def test_an_auditors_file_cannot_come_out_of_a_token(machine: Machine) -> None:
    machine("central", "keys", "init")
    path = machine.folder / "auditor.keys"
    assert "[KEY-IN-TOKEN]" in machine("central", "keys", "auditor", str(path), expect=1)
    assert not path.exists()


class TestGoneHalfWay:
    """The token is pulled out in the middle of a session with a card."""

    @pytest.fixture
    def token(self, tmp_path: Path) -> Iterator[SoftToken]:
        with in_use(make_token(tmp_path / "token")) as token:
            masters = {key: RING.masters[key][1] for key in CardKey}
            store_masters(token.place, OPENS, masters, 1, RING.signing)
            yield token

    @pytest.fixture
    def central(self, tmp_path: Path, token: SoftToken) -> Central:
        central = new_central(tmp_path)
        return replace(central, keys=Pkcs11Custody.open(token.place, OPENS))

    @pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.search)])
    def test_a_card_half_issued_is_finished_by_a_second_tap(
        self, central: Central, token: SoftToken, every: int
    ) -> None:
        """Whenever it goes: the card stays one that the same session goes on with."""
        exchanges = _Counted(SimulatedCard())
        issue_card(central, exchanges, 1, "Anggota 1")
        assert exchanges.count > 20
        gone = 0
        for at in range(0, exchanges.count, every):
            card = SimulatedCard()
            try:
                issue_card(central, _Counted(card, at, token.pull_out), 100 + at, f"Anggota {at}")
            except HsmGone:
                gone += 1
            token.put_in()
            card.power_off()
            issued = issue_card(central, InProcess(card), 100 + at, f"Anggota {at}")
            known = statement_of(central, card.uid)
            assert known.state is CardState.ACTIVE
            assert purse_of(card, RING).read().holder == issued.holder
        assert gone > exchanges.count // every // 2

    def test_a_credit_under_way_stays_in_doubt_until_the_next_tap(
        self, central: Central, token: SoftToken
    ) -> None:
        counted = _Counted(SimulatedCard())
        issue_card(central, counted, 1, "Anggota 1")
        card = counted.card
        order(central, card, 50_000)
        card.power_off()
        whole = _Counted(card)
        deliver_credits(central, whole)
        outcomes: set[MoneyMoved | None] = set()
        for at in range(whole.count):
            order(central, card, 1_000, key=f"credit-number-{at}")
            card.power_off()
            try:
                deliver_credits(central, _Counted(card, at, token.pull_out))
            except HsmGone as gone:
                outcomes.add(gone.money_moved)
            else:
                outcomes.add(None)
            token.put_in()
            card.power_off()
            deliver_credits(central, InProcess(card))
            on_card = purse_of(card, RING).read().balance.amount
            assert on_card == 51_000 + 1_000 * at
            assert statement_of(central, card.uid).balance.amount == on_card
            assert all(
                credit.state is CreditDelivery.DELIVERED
                for credit in statement_of(central, card.uid).credits_waiting
            )
        assert MoneyMoved.NO in outcomes
        assert MoneyMoved.UNKNOWN in outcomes
        assert circulation(central).difference.amount == 0

    def test_the_server_says_that_it_is_not_ready_and_then_that_it_is(
        self, central: Central, token: SoftToken
    ) -> None:
        assert readiness(central, ServerState()).checks["keys"] == "ok"
        token.pull_out()
        assert readiness(central, ServerState()).checks["keys"] == "HSM-GONE"
        token.put_in()
        assert readiness(central, ServerState()).is_ready


class _Counted:
    """A connection to a card that has something happen before exchange number `at`."""

    def __init__(self, card: SimulatedCard, at: int = -1, happen: object = None) -> None:
        self.card = card
        self.uid = card.uid
        self.count = 0
        self._at = at
        self._happen = happen

    def transmit(self, command: bytes) -> bytes:
        if self.count == self._at:
            assert callable(self._happen)
            self._happen()
        self.count += 1
        return self.card.process(command)

    def disconnect(self) -> None:
        self.card.power_off()
