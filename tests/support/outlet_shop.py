"""An outlet at work, for tests in a browser: a central server, the till's program, reader and printer.

The till is `dobmi terminal page` as a process of its own; the central server serves on loopback from
a thread; cards are files that a hand lays on the till's reader.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from dobmi.cardlib.custody import KeyRing, save_key_file
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.catalogue import import_catalogue, parse_catalogue
from dobmi.central.member_notes import import_notes, parse_classes
from dobmi.central.member_orders import import_orders, parse_orders
from dobmi.central.schema import Role
from dobmi.central.server import Central
from dobmi.central.terminals import invite
from dobmi.central.till_staff import add_till_staff, set_card, set_pin
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment
from dobmi.firmware_sim.tray import TrayHands
from dobmi.sync.outlet import Duty
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.till import SIGNING_KEY, enrol_till
from support.fake_printer import NetworkPrinter, network_printer
from support.servers import issued, new_central, serving
from support.tills import QUICK, TILL_KEYS, balance_of

PASSPHRASE = "kunci kasir"
START_SECONDS_MAX = 60

SITI, SITI_PIN = (11, "Siti Aminah"), "274951"
BUDI, BUDI_PIN = (12, "Budi Santoso"), "508264"
ANI, ANI_PIN = (20, "Ani Kepala"), "731846"

CATALOGUE = """\
kode;nama;kategori;harga;barcode;harga:karyawan
BRS5;Beras 5 kg;Sembako;75.000;8991234567890;70.000
GLA1;Gula pasir 1 kg;Sembako;17.500;8990000000024;
MYK1;Minyak goreng 1 l;Sembako;19.000;8990000000031;18.000
TLR;Telur;Sembako;2.500;;
KPI;Kopi bubuk;Minuman;12.500;8990000000048;
SBN;Sabun mandi;Rumah tangga;4.000;8990000000017;
"""
"""Of all outlets."""


@dataclass
class MemberCard:
    """A member's card as a file. `spent` is what the test itself has counted."""

    path: Path
    uid: bytes
    member: int
    topped_up: int
    spent: int = 0

    @property
    def holder(self) -> str:
        return f"Anggota {self.member}"

    @property
    def left(self) -> int:
        return self.topped_up - self.spent

    @property
    def balance(self) -> int:
        """As the card says it."""
        return balance_of(SimulatedCard.load(self.path))


@dataclass
class Office:
    """The central server. It serves between `open` and `close`, always at the same address."""

    folder: Path
    central: Central = field(init=False)
    url: str = field(init=False, default="")
    outlets: int = 0
    _open: ExitStack = field(init=False, default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.central = new_central(self.folder)
        import_catalogue(self.central.database, parse_catalogue(CATALOGUE), None)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2]) if self.url else 0

    def open(self) -> None:
        self.url = self._open.enter_context(serving(self.central, self.port))

    def close(self) -> None:
        """As when the network is lost."""
        self._open.close()

    def enrol(self, folder: Path, seller: str) -> int:
        """A till of the outlet in this folder; the outlet is new."""
        signing = KeyRing.generate(signing=[SIGNING_KEY])
        save_key_file(folder / "terminal-identity.keys", signing, PASSPHRASE)
        save_key_file(folder / "till.keys", TILL_KEYS, PASSPHRASE)
        identity = enrol_till(
            database=folder / "terminal.db",
            signing=signing,
            server=self.url,
            invitation=invite(self.central, Role.TILL, "Kasir 1", seller),
            patience=QUICK,
        )
        return identity.terminal_id

    def staff(self, seller: str, supervisors_card: MemberCard) -> None:
        now = int(time.time())
        people = (
            (*SITI, Duty.CASHIER, SITI_PIN),
            (*BUDI, Duty.CASHIER, BUDI_PIN),
            (*ANI, Duty.SUPERVISOR, ANI_PIN),
        )
        for number, name, duty, pin in people:
            add_till_staff(self.central.database, seller, number, name, duty, now=now)
            set_pin(self.central.database, seller, number, pin, now)
        set_card(self.central.database, seller, ANI[0], supervisors_card.member, now)

    def orders(self, seller: str, *lines: str) -> None:
        text = "\n".join(("order,member,pick_up_on,item,name,quantity,price", *lines))
        import_orders(self.central.database, parse_orders(text), seller, int(time.time()))

    def classify(self, card: MemberCard, member_class: str) -> None:
        told = parse_classes(f"member,class\n{card.member},{member_class}\n")
        import_notes(self.central.database, told, int(time.time()))

    def block(self, card: MemberCard) -> None:
        set_blocked(self.central, card.uid, "hilang", blocked=True, by_terminal=None)

    def card(self, folder: Path, member: int, balance: int) -> MemberCard:
        made = issued(self.central, balance, member)
        path = folder / f"card-{member}.json"
        made.save(path)
        return MemberCard(path, made.uid, member, balance)

    def balance_of(self, card: MemberCard) -> int:
        """What the ledger knows to be on the card."""
        return statement_of(self.central, card.uid).balance.amount

    def waiting_for(self, card: MemberCard) -> list[int]:
        """Pending credits."""
        statement = statement_of(self.central, card.uid)
        return [credit.amount.amount for credit in statement.credits_waiting]


@dataclass
class Shop:
    """An outlet with one till."""

    office: Office
    seller: str
    folder: Path
    terminal_id: int
    printer: NetworkPrinter
    port: int
    first_member: int
    hands: TrayHands = field(init=False)
    process: subprocess.Popen[bytes] | None = None
    cards: list[MemberCard] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "tray").mkdir()
        self.hands = TrayHands(self.folder / "tray", wait_seconds=START_SECONDS_MAX)
        told = {
            "server": self.office.url,
            "reader": f"sim:{self.folder / 'tray'}",
            "printer": self.printer.setting,
            "drawer": True,
            "page_port": self.port,
            "sync_interval_seconds": 0,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
        text = "\n".join((f"passphrase = {json.dumps(PASSPHRASE)}", "[terminal]", *lines))
        (self.folder / "dobmi.toml").write_text(text, encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "page.log"

    def new_card(self, balance: int) -> MemberCard:
        card = self.office.card(self.folder, self.first_member + len(self.cards), balance)
        self.cards.append(card)
        return card

    def tap(self, card: MemberCard, *, pull_at: int | None = None, before: bool = False) -> None:
        """Lay it down; it stays. `pull_at` and `before` as TrayHands.tap has them."""
        moment = Moment.BEFORE if before else Moment.AFTER
        self.hands.lift()
        self.hands.tap(card.path, pull_at=pull_at, moment=moment)

    def lift(self) -> None:
        self.hands.lift()

    def ledger(self) -> contextlib.closing[Ledger]:
        """The till's own, to read beside its program."""
        return contextlib.closing(Ledger(self.folder / "terminal.db"))

    def start(self) -> None:
        """The till's program, until its page answers."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DOBMI_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dobmi", "--config", "dobmi.toml", "terminal", "page"],
                cwd=self.folder,
                env=clean,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{self.url}/display", timeout=5).raise_for_status()
                return
            time.sleep(0.05)

    def stop(self) -> None:
        """As a service is stopped."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def office_at_work(folder: Path) -> Iterator[Office]:
    office = Office(folder)
    office.open()
    try:
        yield office
    finally:
        office.close()


@contextmanager
def shop_at_work(office: Office, folder: Path, port: int) -> Iterator[Shop]:
    """A new outlet with a printer that has paper; its till's program has never been started."""
    office.outlets += 1
    seller = f"Toko {office.outlets}"
    terminal_id = office.enrol(folder, seller)
    with network_printer() as printer:
        shop = Shop(
            office=office,
            seller=seller,
            folder=folder,
            terminal_id=terminal_id,
            printer=printer,
            port=port,
            first_member=1000 * office.outlets + 1,
        )
        try:
            yield shop
        finally:
            shop.stop()
