"""`dobmi demo`: the whole system on one machine, from blank cards to a settled ledger."""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import requests
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from dobmi.cardlib.custody import load_key_file
from dobmi.cardlib.errors import CardRemoved
from dobmi.cardlib.readers import Reader, open_reader
from dobmi.cli.context import Context
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.pcscd import PcscdUnavailable, ensure_pcscd
from dobmi.firmware_sim.vpcd import VirtualSlot
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.provisioning import cards
from dobmi.provisioning.enrolment import Station, enrol_station, open_station
from dobmi.terminal.errors import SaleInDoubt
from dobmi.terminal.till import Till

DEBIT, COMMIT = 0xDC, 0xC7

MEMBERS = (
    (1001, "Siti Aminah", Rupiah(400_000)),
    (1002, "Budi Santoso", Rupiah(350_000)),
    (1003, "Ujang Suryana", Rupiah(300_000)),
)
PRICES = (2_500, 5_000, 7_500, 12_500, 15_000)
INVITATION = re.compile(r"\b[A-Z2-7]{6}(?:-[A-Z2-7]{6}){3}\b")

TEARS = {
    12: (DEBIT, Moment.AFTER, N_("before the commit was sent")),
    25: (COMMIT, Moment.BEFORE, N_("as the commit was sent, before the card saw it")),
    38: (COMMIT, Moment.AFTER, N_("after the card had paid, before the till knew")),
}
"""Sale number: where the card is pulled away in it."""


class DemoFailed(DoBMIError):
    code = "DEMO"
    message = N_("The demo cannot go on: {detail}")
    next_step = N_("Run scripts/setup, then scripts/demo again; its folder is {folder}.")


class ReaderTaken(DoBMIError):
    code = "DEMO-READER"
    message = N_("Another program keeps a card in the virtual reader.")
    next_step = N_(
        "End that program (`dobmi sim pcsc`, another demo), then run scripts/demo again."
    )


class MoneyMissing(DoBMIError):
    code = "DEMO-MONEY"
    message = N_("The books do not agree: {difference} too much or too little.")
    next_step = N_("Keep {folder} and tell the developers.")
    money_moved = MoneyMoved.UNKNOWN


@dataclass(frozen=True, slots=True)
class Line:
    """One card's balance: as it should be, as the card and as the ledger say."""

    name: str
    uid: str
    topped_up: int
    spent: int
    on_card: int
    in_ledger: int

    @property
    def difference(self) -> int:
        wanted = self.topped_up - self.spent
        return abs(self.on_card - wanted) + abs(self.in_ledger - wanted)


@dataclass(frozen=True, slots=True)
class Wallet:
    """A member's card and what was put on it."""

    card: SimulatedCard
    name: str
    topped_up: Rupiah


@dataclass
class Stage:
    """What the demo plays on."""

    context: Context
    folder: Path
    passphrase: str
    port: int
    slot: VirtualSlot
    reader: Reader
    console: Console

    def say(self, message: str, **facts: object) -> None:
        text = self.context.translate(message).format(**facts)
        self.console.print(text, highlight=False, soft_wrap=True)

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str) -> str:
        """Run `dobmi …` as a user would, and return what it printed. Raises DemoFailed."""
        done = subprocess.run(  # noqa: S603 - our own program, arguments from this file
            [sys.executable, "-m", "dobmi", *arguments],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            detail = f"dobmi {' '.join(arguments)}: {done.stderr.strip()}"
            raise DemoFailed(detail=detail, folder=self.folder)
        return done.stdout

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DOBMI_")}
        return clean | {
            "DOBMI_CONFIG": str(self.folder / "dobmi.toml"),
            "DOBMI_PASSPHRASE": self.passphrase,
        }

    @contextmanager
    def tapped(self, card: ContactlessCard) -> Iterator[None]:
        """`card` lies on the reader as long as this lasts, and the reader has noticed both ends."""
        self.slot.insert(card)
        try:
            if not self.reader.wait_for_card(10):
                raise DemoFailed(detail=N_("pcscd does not see the card"), folder=self.folder)
            yield
        finally:
            self.slot.remove()
            self.reader.wait_for_removal(10)


@click.command()
@click.option("--sales", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--seed", type=int, help="Which amounts are bought, by whom; random when left out.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep databases, cards and key files in this new folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def command(
    context: Context, sales: int, seed: int | None, keep: Path | None, as_json: bool
) -> None:
    """Issue three cards, top them up, sell fifty times with the server stopped, pull a card away in
    the middle of three of the sales, start the server, sync, and compare every balance.

    Cards are simulated; everything else is real: pcscd and its virtual reader, pyscard, the central
    server as a process of its own, HTTP, WebSocket, SQLite. Exits with 1 if a rupiah is missing.
    """
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    console = Console(stderr=as_json)
    try:
        with ensure_pcscd() as pcscd, VirtualSlot(port=pcscd.port) as slot, _folder(keep) as folder:
            stage = Stage(
                context=context,
                folder=folder,
                passphrase=secrets.token_urlsafe(12),
                port=_free_port(),
                slot=slot,
                reader=open_reader("pcsc:Virtual PCD 00 00"),
                console=console,
            )
            stage.say(
                N_("pcscd is ready with reader {name}; seed {seed}"),
                name=stage.reader.name,
                seed=seed,
            )
            if stage.reader.wait_for_card(0):
                raise ReaderTaken
            try:
                lines, circulation = _play(stage, random.Random(seed), sales)  # noqa: S311 - not for secrets
            finally:
                stage.reader.close()
    except (PcscdUnavailable, OSError) as error:
        raise DemoFailed(detail=str(error), folder=keep or "") from error
    difference = sum(line.difference for line in lines) + abs(circulation["sum_rupiah"])
    if as_json:
        outcome = {
            "seed": seed,
            "difference_rupiah": difference,
            "cards": [asdict(line) for line in lines],
            "circulation": circulation,
        }
        click.echo(json.dumps(outcome))
    else:
        _show(stage, lines, circulation, difference)
    if difference:
        raise MoneyMissing(difference=Rupiah(difference), folder=keep or "")


def _play(stage: Stage, chance: random.Random, sales: int) -> tuple[list[Line], dict[str, int]]:
    _write_settings(stage)
    stage.run("central", "keys", "init")
    stage.run("central", "init")
    stage.run("central", "keys", "till", "till.keys")
    with _server(stage):
        stage.say(N_("The central server runs on {url}"), url=stage.server)
        station = _enrol_station(stage)
        till_signing = _enrol_till(stage)
        wallets = [_issue_and_top_up(stage, station, *member) for member in MEMBERS]
        _sync(stage, till_signing)  # the till's first feed: block list and limits
    stage.say(N_("The central server is stopped. The till sells on its own now."))
    spent = _sell(stage, till_signing, wallets, chance, sales)
    with _server(stage):
        stage.say(N_("The central server runs again."))
        _sync(stage, till_signing)
        station = _open_station(stage)
        lines = [
            _compare(stage, station, till_signing, wallet, spent[wallet.card.serial])
            for wallet in wallets
        ]
        return lines, cards.circulation(station)


def _issue_and_top_up(
    stage: Stage, station: Station, number: int, name: str, amount: Rupiah
) -> Wallet:
    card = SimulatedCard()
    card.keep_in(stage.folder / f"card-{number}.json")
    with stage.tapped(card):
        connection = stage.reader.connect()
        try:
            issued = cards.issue(station, connection, number, name)
            cards.order_credit(station, connection.uid, amount, "cash", secrets.token_hex(8))
            cards.deliver_credits(station, connection)
        finally:
            connection.disconnect()
    stage.say(
        N_("  card {serial} issued to {name}, topped up with {amount}"),
        serial=issued.card_serial,
        name=name,
        amount=amount,
    )
    return Wallet(card, name, amount)


def _sell(
    stage: Stage, signing: Path, wallets: list[Wallet], chance: random.Random, sales: int
) -> dict[bytes, Rupiah]:
    """Every sale of the day; what each card spent, by the cashier's own count."""
    spent = {wallet.card.serial: ZERO for wallet in wallets}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with _till(stage, signing) as till, Progress(*columns, console=stage.console) as progress:
        till.open_shift()
        task = progress.add_task(stage.context.translate(N_("Selling")), total=sales)
        for number in range(1, sales + 1):
            wallet = chance.choice(wallets)
            left = wallet.topped_up - spent[wallet.card.serial]
            affordable = [price for price in PRICES if price <= left.amount]
            if not affordable:
                raise DemoFailed(detail=f"{wallet.name} has no money left", folder=stage.folder)
            amount = Rupiah(chance.choice(affordable))
            _sell_once(stage, till, wallet, amount, TEARS.get(number))
            spent[wallet.card.serial] += amount
            progress.advance(task)
    return spent


def _sell_once(
    stage: Stage,
    till: Till,
    wallet: Wallet,
    amount: Rupiah,
    tear: tuple[int, Moment, str] | None,
) -> None:
    only_card = None
    if tear is not None:
        instruction, moment, when = tear
        torn = FaultyCard(wallet.card, [at_command(instruction, moment)])
        try:
            with stage.tapped(torn):
                till.sell(amount)
            raise DemoFailed(detail=N_("the torn sale went through"), folder=stage.folder)
        except SaleInDoubt:
            only_card = wallet.card.serial
            moved = stage.context.translate(N_("in doubt: tap the same card again"))
        except CardRemoved:
            moved = stage.context.translate(N_("no money moved: tap again"))
        stage.say(
            N_("  {name}'s card is pulled away {when}: {moved}"),
            name=wallet.name,
            when=stage.context.translate(when),
            moved=moved,
        )
    with stage.tapped(wallet.card):
        sold = till.sell(amount, only_card=only_card)
    if tear is not None:
        found = (
            N_("the card had paid; it is not charged again")
            if sold.already_paid
            else N_("paid now")
        )
        stage.say(
            N_("  tapped again, {amount}: {found}"),
            amount=amount,
            found=stage.context.translate(found),
        )


def _compare(stage: Stage, station: Station, signing: Path, wallet: Wallet, spent: Rupiah) -> Line:
    with _till(stage, signing) as till, stage.tapped(wallet.card):
        on_card = till.balance().balance
    in_ledger = cards.ledger_card(station, wallet.card.serial)["balance_rupiah"]
    return Line(
        name=wallet.name,
        uid=wallet.card.serial.hex().upper(),
        topped_up=wallet.topped_up.amount,
        spent=spent.amount,
        on_card=on_card.amount,
        in_ledger=int(in_ledger),
    )


def _show(stage: Stage, lines: list[Line], circulation: dict[str, int], difference: int) -> None:
    translate = stage.context.translate
    table = Table(title=translate(N_("Each card's balance")), padding=(0, 0), box=SIMPLE)
    for heading in (
        N_("member"),
        N_("topped up"),
        N_("spent"),
        N_("on the card"),
        N_("in the ledger"),
        N_("difference"),
    ):
        table.add_column(
            translate(heading), no_wrap=True, justify="left" if heading == "member" else "right"
        )
    for line in lines:
        money = (line.topped_up, line.spent, line.on_card, line.in_ledger, line.difference)
        table.add_row(line.name, *(str(Rupiah(amount)) for amount in money))
    table.add_section()
    totals = [
        sum(getattr(line, part) for line in lines)
        for part in ("topped_up", "spent", "on_card", "in_ledger", "difference")
    ]
    table.add_row(translate(N_("together")), *(str(Rupiah(amount)) for amount in totals))
    stage.console.print(table)
    stage.say(
        N_("The ledger's own sum over all accounts: {sum}"), sum=Rupiah(circulation["sum_rupiah"])
    )
    if not difference:
        stage.say(N_("Not a rupiah is missing."))


@contextmanager
def _server(stage: Stage) -> Iterator[None]:
    """The central server as a process of its own; ended by SIGTERM."""
    log = stage.folder / "central.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dobmi", "central", "serve"],
            env=stage.environment(),
            cwd=stage.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_served(stage, process, log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_served(stage: Stage, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = log.read_text()[-400:]
            raise DemoFailed(detail=f"the central server ended: {last}", folder=stage.folder)
        try:
            if requests.get(f"{stage.server}/readyz", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise DemoFailed(detail=N_("the central server does not answer"), folder=stage.folder)


def _enrol_station(stage: Stage) -> Station:
    enrol_station(
        stage.server,
        _invite(stage, "station", "Kantor pusat"),
        stage.folder / "station-identity.keys",
        stage.folder / "station.json",
        stage.passphrase,
    )
    return _open_station(stage)


def _open_station(stage: Stage) -> Station:
    return open_station(
        stage.server,
        stage.folder / "station-identity.keys",
        stage.folder / "station.json",
        stage.passphrase,
    )


def _enrol_till(stage: Stage) -> Path:
    invitation = _invite(stage, "till", "Toko Cikupa")
    stage.run("terminal", "enrol", invitation)
    return stage.folder / "terminal-identity.keys"


def _invite(stage: Stage, role: str, name: str) -> str:
    printed = stage.run("central", "invite", "--role", role, "--name", name, "--seller", name)
    found = INVITATION.search(printed)
    if found is None:
        raise DemoFailed(detail=f"no invitation in {printed!r}", folder=stage.folder)
    return found[0]


@contextmanager
def _till(stage: Stage, signing: Path) -> Iterator[Till]:
    with Till(
        database=stage.folder / "terminal.db",
        signing=load_key_file(signing, stage.passphrase),
        custody=load_key_file(stage.folder / "till.keys", stage.passphrase),
        reader=stage.reader,
        cashier="Rina",
        server=stage.server,
        card_wait_seconds=10,
    ) as till:
        yield till


def _sync(stage: Stage, signing: Path) -> None:
    with _till(stage, signing) as till:
        result = till.sync()
    stage.say(
        N_("Synced: {sent} vouchers sent, {quarantined} in quarantine"),
        sent=result.sent_count,
        quarantined=len(result.quarantined),
    )


def _write_settings(stage: Stage) -> None:
    (stage.folder / "dobmi.toml").write_text(
        f"""\
language = "{stage.context.language}"

[terminal]
server = "{stage.server}"
cashier = "Rina"

[provisioning]
server = "{stage.server}"

[central]
port = {stage.port}
drain_seconds = 0

[central.originality_keys]
simulation = "{SIMULATION_PUBLIC_KEY.hex()}"
"""
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="dobmi-demo-") as folder:
            yield Path(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
