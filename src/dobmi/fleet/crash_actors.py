"""The processes that are killed: the central server, its office, an issuing station and a till.

Each is forked from a process that has everything imported, opens its real files, and does what it
is told over a pipe until it is told to stop or dies.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from sqlalchemy import event
from sqlalchemy.pool import Pool
from starlette.types import Message, Scope

from dobmi.cardlib.custody import KeyRing, load_key_file, replace_key_file, save_key_file
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.app import create_app
from dobmi.central.conclusions import reconcile
from dobmi.central.credit_settlement import settle_credit
from dobmi.central.database import open_database
from dobmi.central.overdue import settle_overdue
from dobmi.central.periodic import run_due
from dobmi.central.replacement import restore_due
from dobmi.central.restoring import mark_restored
from dobmi.central.schema import Role, StaffRole, TerminalStatus
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY, Central
from dobmi.central.staff import add_staff
from dobmi.central.terminals import invite, set_terminal_status
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault, FaultyCard, Moment, at_command
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.reader import SimulatedConnection, SimulatedReader
from dobmi.fleet.crash_counter import counter_handlers
from dobmi.fleet.crash_kiosk import kiosk_handlers, pairing_handlers
from dobmi.fleet.crash_outlet import outlet_handlers
from dobmi.fleet.crash_payday import payday_handlers
from dobmi.fleet.crash_points import (
    CrashPoints,
    Die,
    Place,
    WatchedCard,
    at_the_server,
    die,
    hook_client,
    hook_commits,
    hook_disk,
    hook_writers,
)
from dobmi.fleet.disk_watch import DiskCall
from dobmi.fleet.garbling import GarblingRelay, debit_keys
from dobmi.fleet.till_process import ready
from dobmi.money import ZERO, Rupiah
from dobmi.provisioning import cards
from dobmi.provisioning.enrolment import Station, enrol_station
from dobmi.provisioning.errors import AlreadyEnrolled as StationAlreadyEnrolled
from dobmi.provisioning.staff_file import staff_file_of
from dobmi.settings import CentralSettings
from dobmi.sync.client import HttpClient, Patience, Requester, SyncClient
from dobmi.sync.enrolment import Enrolment, Invitation
from dobmi.sync.voucher import Outcome
from dobmi.terminal.errors import AlreadyEnrolled as TillAlreadyEnrolled
from dobmi.terminal.errors import NotEnrolled, SaleInDoubt
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.till import Till, enrol_till

COMMIT = 0xC7
QUICK = Patience(
    attempts=4,
    first_wait_seconds=0.05,
    wait_seconds_max=0.3,
    connect_timeout_seconds=2,
    silence_timeout_seconds=10,
    answer_timeout_seconds=10,
)
STATION_PASSPHRASE = "kunci toko"  # noqa: S105 - of the station's key file, in a folder that is thrown away
CENTRAL_PASSPHRASE = "kunci pusat"  # noqa: S105 - likewise
_START_SECONDS = 20.0

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Keys:
    """Made once for a whole search, and held in memory: key files cost a stretching each time."""

    central: KeyRing = field(repr=False)
    till_signing: KeyRing = field(repr=False)

    @classmethod
    def generate(cls) -> Keys:
        central = KeyRing.generate(masters=list(CardKey), signing=[SERVER_KEY, CARD_ISSUER_KEY])
        return cls(central, KeyRing.generate(signing=["terminal"]))


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is: a folder with databases and cards, the server's port and database."""

    folder: Path
    port: int
    keys: Keys
    database_url: str = ""
    synchronous: str = ""
    """Weaken SQLite to this, to see that the search notices."""

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """What the processes write durably; the simulated cards keep themselves elsewhere."""
        return self.folder / "data"

    def card_file(self, name: str) -> Path:
        return self.folder / "cards" / f"{name}.json"

    @property
    def central_keys(self) -> Path:
        """Not there before the first renewal: till then the keys are those in memory."""
        return self.data / "central.keys"

    def ring(self) -> KeyRing:
        """The central server's keys as they are by now."""
        if not self.central_keys.exists():
            return self.keys.central
        content = self.central_keys.read_bytes()
        if content not in _central_rings:
            _central_rings[content] = load_key_file(self.central_keys, CENTRAL_PASSPHRASE)
        return _central_rings[content]

    def central(self) -> Central:
        url = self.database_url or "sqlite:///central.db"
        settings = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})
        return Central(open_database(url, self.data), self.ring(), settings, self.now)

    def now(self, machine: str = "") -> int:
        """Unix seconds by all clocks, or by the clock of `machine` where it is put wrong.

        They stand still while a command is carried out: SQLite writes and syncs nothing where a
        row gets the values it has, so that what is passed would hang on the second's turn.
        """
        ahead = self.folder / f"ahead-{machine}"
        return int(self._clock.read_text()) + (int(ahead.read_text()) if ahead.exists() else 0)

    def pass_time(self, seconds: int) -> None:
        later = self.folder / "clock.later"
        later.write_text(str(self.now() + seconds if self._clock.exists() else int(time.time())))
        later.replace(self._clock)  # never half, for whoever reads it meanwhile

    def put_ahead(self, machine: str, seconds: int) -> None:
        """The machine's clock is wrong by so much from its next reading on."""
        (self.folder / f"ahead-{machine}").write_text(str(seconds))

    @property
    def _clock(self) -> Path:
        return self.folder / "clock"


_central_rings: dict[bytes, KeyRing] = {}
"""By the key file's content, so that it is stretched once in a search."""


@dataclass(slots=True)
class Orders:
    """What a process is told when it starts: where to die, and what to write down."""

    deadly: Place | None = None
    ending: Die = die
    records: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    """How often each point was passed by the processes of this name that ended in order."""


@dataclass(frozen=True, slots=True)
class Told:
    """A fact that somebody outside was told, after which it must never be missing."""

    kind: str
    fact: Any


Event = tuple[int, DiskCall | Told]
"""With when it happened: processes share the clock (CLOCK_MONOTONIC, nanoseconds)."""


@dataclass(slots=True)
class Recording:
    """Everything that was done to the disk, and told, with the machine's monotonic time."""

    prefix: str = ""
    """Of the kinds told, where two processes have a command of one name."""
    events: list[Event] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def disk(self, call: DiskCall) -> None:
        with self._lock:
            self.events.append((time.monotonic_ns(), call))

    def told(self, kind: str, fact: Any) -> None:
        with self._lock:
            self.events.append((time.monotonic_ns(), Told(self.prefix + kind, fact)))


@dataclass(slots=True)
class Stopped:
    """What a process that ended in order has to tell: where to die, a recording, who wrote."""

    places: list[Place] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """As `Orders.counts` of the next process."""
    events: list[Event] = field(default_factory=list)
    writers: set[str] = field(default_factory=set)

    def add(self, later: Stopped) -> None:
        self.places += later.places
        self.events += later.events
        self.writers |= later.writers


class Died(Exception):
    """The process ended while it was at work."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An error of ours, as it left the process."""

    code: str
    money_moved: str
    text: str
    in_doubt_uid: bytes | None = None
    problem: str = ""
    """The server's own code, where it was the server that refused."""

    @property
    def said(self) -> str:
        """Both codes."""
        return f"{self.code} {self.problem}".rstrip()


Handlers = Mapping[str, Callable[..., Any]]


@dataclass(slots=True)
class Actor:
    """One process that can be started, asked, killed and started again."""

    name: str
    site: Site
    orders: Orders = field(default_factory=Orders)
    deaths: int = 0
    _process: BaseProcess | None = None
    _pipe: Connection | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def sentinel(self) -> int:
        assert self._process is not None
        return self._process.sentinel

    @property
    def pipe(self) -> Connection:
        assert self._pipe is not None
        return self._pipe

    def start(self) -> None:
        """Start it, and again should it die while it starts."""
        while True:
            ours, theirs = _FORK.Pipe()
            self._pipe = ours
            self._process = _FORK.Process(
                target=_run, args=(self.name, self.site, self.orders, theirs), daemon=True
            )
            self._process.start()
            theirs.close()
            try:
                ready = self.receive(_START_SECONDS)
            except Died:
                self.buried()
                continue
            assert ready == "ready", ready
            return

    def send(self, command: str, *arguments: Any) -> None:
        try:
            self.pipe.send((command, arguments))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Died from error

    def receive(self, timeout_seconds: float) -> Any:
        """Raises Died."""
        try:
            if not self.pipe.poll(timeout_seconds):
                msg = f"{self.name} does not answer"
                raise TimeoutError(msg)
            return self.pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise Died from error

    def buried(self) -> None:
        """It has died: it will not die at the same place again."""
        assert self._process is not None
        self._process.join()
        assert self._process.exitcode is not None
        if self._process.exitcode != -9 or self.orders.deadly is None:
            msg = f"{self.name} ended by itself with {self._process.exitcode}"
            raise RuntimeError(msg)
        self.deaths += 1
        self.orders.deadly = None

    def stop(self) -> Stopped:
        """End it in order; the points it passed, and what it recorded. Raises Died."""
        self.send("stop")
        stopped, modules = self.receive(_START_SECONDS)
        self.orders.counts = stopped.counts
        for module in sorted(modules - set(sys.modules)):
            # So that those forked later find it loaded: a second saved in each case.
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        assert self._process is not None
        self._process.join()
        self.pipe.close()
        assert isinstance(stopped, Stopped)
        return stopped

    def kill(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join()


def _run(name: str, site: Site, orders: Orders, pipe: Connection) -> None:
    """The life of a process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    points = CrashPoints(name, orders.deadly, orders.ending, counts=Counter(orders.counts))
    recording = Recording(f"{name}-" if name in {"station", "kiosk"} else "")
    hook_commits(points)
    hook_writers(points)
    hook_client(points)
    hook_disk(points, site.data.resolve(), recording.disk if orders.records else None)
    if site.synchronous:
        _weaken(site.synchronous)
    _LIVES[name](site, points, recording, pipe)
    stopped = Stopped(points.distinct(), points.counts, recording.events, points.writers)
    pipe.send((stopped, set(sys.modules)))


def _weaken(synchronous: str) -> None:
    @event.listens_for(Pool, "checkout")
    def _set(connection: Any, *_: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.close()


def _obey(pipe: Connection, handlers: Handlers, recording: Recording, points: CrashPoints) -> None:
    """Answer commands until told to stop."""
    pipe.send("ready")
    while True:
        command, arguments = pipe.recv()
        points.begin()
        if command == "stop":
            return
        try:
            answer = handlers[command](*arguments)
        except DoBMIError as error:
            answer = Refused(
                error.code,
                error.money_moved.value,
                error.explain(),
                in_doubt_uid=error.uid if isinstance(error, SaleInDoubt) else None,
                problem=str(error.facts.get("problem", "")),
            )
        pipe.send(answer)
        if not isinstance(answer, Refused):
            recording.told(command, answer)


# The central server


def _server(site: Site, points: CrashPoints, recording: Recording, pipe: Connection) -> None:
    central = site.central()
    central.database.create_tables()

    def sent(scope: Scope, message: Message) -> None:
        if message["type"] == "http.response.body":
            recording.told(f"{scope['method']} {scope['path']}", bytes(message.get("body", b"")))
        elif message["type"] == "websocket.send":
            recording.told("relay", bytes(message.get("bytes") or b""))

    app = at_the_server(create_app(central), points, sent)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=site.port, ws="websockets-sansio", log_config=None
    )
    server = uvicorn.Server(config)

    def listen() -> None:
        while not server.started:
            time.sleep(0.002)
        pipe.send("ready")
        command, _ = pipe.recv()
        assert command == "stop", command
        server.should_exit = True

    threading.Thread(target=listen, daemon=True).start()
    server.run()
    central.database.close()


def _office(site: Site, points: CrashPoints, recording: Recording, pipe: Connection) -> None:
    central = site.central()
    central.database.create_tables()

    def invitation(role: str, name: str) -> str:
        return str(invite(central, Role(role), name, name))

    def renew_keys() -> int:
        """As `dobmi central keys init` and `keys renew`."""
        if not site.central_keys.exists():
            save_key_file(site.central_keys, site.keys.central, CENTRAL_PASSPHRASE)
        renewed = site.ring().renewed()
        replace_key_file(site.central_keys, renewed, CENTRAL_PASSPHRASE)
        return max(renewed.masters[CardKey.DEBIT])

    def let_in(terminal_id: int, *, let: bool) -> None:
        status = TerminalStatus.ACTIVE if let else TerminalStatus.BLOCKED
        set_terminal_status(central, terminal_id, status)

    def settle() -> tuple[int, int]:
        done = settle_overdue(central, central.unix_seconds())
        return done.not_paid_count, done.held_count

    def periodic() -> dict[str, bool]:
        """As `dobmi central periodic`."""
        return run_due(central, interval_seconds=3600, at_once=True)

    def look_again() -> tuple[int, int]:
        """As `dobmi central reconcile`."""
        looked_at = reconcile(central.database, central.mac_keys(), central.unix_seconds())
        return looked_at, restore_due(central)

    def settle_one_credit(uid: bytes, sequence: int) -> int:
        add_staff(central.database, "Ani", [StaffRole.CLERK], central.unix_seconds())
        return settle_credit(central, uid, sequence, reason="diubah", settled_by="Ani").counter

    handlers: Handlers = {
        "invite": invitation,
        "renew_keys": renew_keys,
        "shut_out": lambda terminal_id: let_in(terminal_id, let=False),
        "let_in": lambda terminal_id: let_in(terminal_id, let=True),
        "settle": settle,
        "periodic": periodic,
        "reconcile": look_again,
        "settle_credit": settle_one_credit,
        "mark_restored": lambda: mark_restored(central).feed_version,
        **payday_handlers(central),
        **outlet_handlers(central),
        **pairing_handlers(central),
    }
    _obey(pipe, handlers, recording, points)
    central.database.close()


# Whoever has a reader


class WatchedReader(SimulatedReader):
    """A reader with points around each exchange, on which cards kept in files are laid."""

    def __init__(self, site: Site, points: CrashPoints) -> None:
        super().__init__()
        self._site = site
        self._points = points
        self.sending: Callable[[bytes], None] = lambda _command: None

    def connect(self) -> SimulatedConnection:
        connection = super().connect()
        # What a Reader must return, and no more.
        watched: Any = WatchedCard(connection, self._points, self.sending)
        return cast("SimulatedConnection", watched)

    @contextmanager
    def tapped(self, name: str, fault: tuple[int, str] | None = None) -> Iterator[None]:
        file = self._site.card_file(name)
        card = SimulatedCard.load(file)
        card.keep_in(file)
        faults: list[Fault] = []
        if fault is not None:
            faults = [at_command(fault[0], Moment(fault[1]))]
        self.remove()
        self.field.insert(FaultyCard(card, faults))
        try:
            yield
        finally:
            self.remove()


# The issuing station


def _station(site: Site, points: CrashPoints, recording: Recording, pipe: Connection) -> None:
    reader = WatchedReader(site, points)
    identity, enrolment_file = site.data / "station.keys", site.data / "station.json"
    opened: list[Station] = []

    def enrol(invitation: str) -> int:
        with contextlib.suppress(StationAlreadyEnrolled):
            enrol_station(site.server, invitation, identity, enrolment_file, STATION_PASSPHRASE)
        return int(json.loads(enrolment_file.read_text())["terminal_id"])

    def station() -> Station:
        if not opened:
            opened.append(_open_station(site, identity, enrolment_file))
        return opened[0]

    handlers = {"enrol": enrol, **_station_handlers(site, reader, station)}
    _obey(pipe, handlers, recording, points)


def _station_handlers(
    site: Site, reader: WatchedReader, station: Callable[[], Station]
) -> Handlers:
    def issue(name: str, member: int, holder: str, fault: tuple[int, str] | None) -> bytes:
        with reader.tapped(name, fault):
            return cards.issue(station(), reader.connect(), member, holder).uid

    def order(uid: bytes, amount: int, reference: str) -> int:
        answer = cards.order_credit(station(), uid, Rupiah(amount), "cash", reference)
        return int(answer["sequence"])

    def deliver(name: str, fault: tuple[int, str] | None = None) -> int:
        with reader.tapped(name, fault):
            return cards.deliver_credits(station(), reader.connect()).balance.amount

    def deliver_garbled(name: str) -> int:
        """A dishonest station, which somebody gave a till's key."""
        with reader.tapped(name):
            connection = reader.connect()
            # A CardConnection without its disconnect, which the station never calls.
            card: Any = SimpleNamespace(uid=connection.uid)
            keys = debit_keys(site.ring(), connection.uid)
            card.transmit = GarblingRelay(connection.transmit, keys)
            return cards.deliver_credits(station(), card).balance.amount

    def rekey(name: str, fault: tuple[int, str] | None = None) -> int:
        with reader.tapped(name, fault):
            return cards.rekey(station(), reader.connect()).generation

    def replace(uid: bytes) -> int:
        return int(cards.replace(station(), uid, "hilang")["feed_version"])

    def block(uid: bytes) -> int:
        return int(cards.block(station(), uid, "hilang")["feed_version"])

    def unblock(uid: bytes) -> int:
        return int(cards.unblock(station(), uid, "ketemu")["feed_version"])

    return {
        "issue": issue,
        "order": order,
        "deliver": deliver,
        "deliver_garbled": deliver_garbled,
        "rekey": rekey,
        "replace": replace,
        "block": block,
        "unblock": unblock,
    }


def _open_station(site: Site, identity: Path, enrolment_file: Path) -> Station:
    """As provisioning.open_station, the key file opened once in a search and not in every case."""
    content = json.loads(enrolment_file.read_text())
    key = identity.read_bytes()
    if key not in station_rings:
        station_rings[key] = load_key_file(identity, STATION_PASSPHRASE)
    ring = station_rings[key]
    enrolment = Enrolment(
        terminal_id=content["terminal_id"],
        terminal_public_key=bytes.fromhex(content["terminal_public_key"]),
        server_public_key=bytes.fromhex(content["server_public_key"]),
        card_issuer_public_key=bytes.fromhex(content["card_issuer_public_key"]),
        issuer=content["issuer"],
        seller=content["seller"],
    )
    requester = Requester(
        terminal_id=enrolment.terminal_id,
        public_key=enrolment.terminal_public_key,
        sign=lambda data: ring.sign("station", data),
        now=site.now,
    )
    client = SyncClient(HttpClient(site.server, QUICK), requester, enrolment.server_public_key)
    staff_file = staff_file_of(enrolment_file)
    return Station(site.server, enrolment, requester, client, "en", staff_file)


station_rings: dict[bytes, KeyRing] = {}


def open_station_keys(site: Site) -> None:
    """Open the station's key file here, so that every process forked later has it open."""
    identity = site.data / "station.keys"
    station_rings[identity.read_bytes()] = load_key_file(identity, STATION_PASSPHRASE)


# The till


def _till(site: Site, points: CrashPoints, recording: Recording, pipe: Connection) -> None:
    database = site.data / "till.db"
    if not database.exists() or not _is_enrolled(site):
        handlers: Handlers = {
            "enrol": lambda text: _enrol_till(site, text),
            "not_shown": lambda: ([], []),
        }
        _obey(pipe, handlers, recording, points)
        return
    reader = WatchedReader(site, points)
    with Till(
        database=database,
        signing=site.keys.till_signing,
        custody=site.ring().only(masters=[CardKey.DEBIT, CardKey.PIN]),
        reader=reader,
        cashier="Siti",
        server=site.server,
        card_wait_seconds=0.01,
        patience=QUICK,
        system_time=lambda: site.now("till"),
    ) as till:

        def sending(command: bytes) -> None:
            # Without an open intent it is a credit's, which the till relays and knows nothing of.
            if command[1] == COMMIT and (intent := till.ledger.open_intent()) is not None:
                recording.told("commit", intent.sequence)

        reader.sending = sending
        work = counter_handlers(till, reader.tapped, site.folder)
        _obey(pipe, {**_till_handlers(till, reader), **work}, recording, points)


def _till_handlers(till: Till, reader: WatchedReader) -> Handlers:
    def sell(
        name: str, amount: int, fault: tuple[int, str] | None, only_card: bytes | None
    ) -> tuple[int, bytes, int]:
        with reader.tapped(name, fault):
            sold = ready(till).sell(Rupiah(amount), only_card=only_card)
        return sold.sequence, sold.voucher_hash, sold.amount.amount

    def balance(name: str) -> tuple[int, bool]:
        with reader.tapped(name):
            result = till.balance()
        return result.balance.amount, result.is_blocked

    def sync() -> tuple[int, bytes, int, int]:
        result = till.sync()
        head = till.ledger.sync_state().acknowledged_sequence
        hash_ = till.ledger.hash_at(head)
        assert hash_ is not None
        return head, hash_, result.feed_version, len(result.quarantined)

    def not_shown() -> tuple[
        list[tuple[bytes, int, int, bytes]], list[tuple[int, int, int, bytes]]
    ]:
        """Told to the cashier, as `dobmi till` does whenever it starts."""
        sales = [
            (intent.card_uid, intent.amount.amount, intent.sequence, hash_)
            for intent, hash_ in till.not_shown
        ]
        refunds = []
        for one in till.refunds_not_shown:
            hash_ = till.ledger.hash_at(one.link.sequence)
            assert hash_ is not None
            refunds.append((one.refunds, one.amount.amount, one.link.sequence, hash_))
        till.acknowledge_not_shown()
        return sales, refunds

    def refund(sale: int, amount: int) -> tuple[int, bytes, int]:
        done = ready(till).refund(sale, Rupiah(amount), reason="salah hitung", supervisor="Ani")
        return done.sequence, done.voucher_hash, done.amount.amount

    def decide(sequence: int, outcome: str) -> int:
        decided = till.close_doubt(
            sequence, Outcome[outcome], supervisor="Ani", reason="dilihat di kamera"
        )
        return decided.sequence

    def reset_clock() -> int:
        return till.reset_clock(supervisor="Ani", reason="jam salah").unix_seconds

    return {
        "enrol": lambda _text: till.identity.terminal_id,
        "terminal_id": lambda: till.identity.terminal_id,
        "not_shown": not_shown,
        "refund": refund,
        "decide": decide,
        "doubts": lambda uid: [intent.sequence for intent in till.ledger.doubts(uid)],
        "reset_clock": reset_clock,
        "sell": sell,
        "balance": balance,
        "give_up": till.give_up,
        "sync": sync,
        "open_shift": lambda: till.open_shift().number,
        "close_shift": lambda: till.close_shift(ZERO).shift.number,
        "shift": lambda: _shift(till),
        "settled": lambda: [(one.intent.sequence, one.outcome) for one in till.settled],
    }


def _shift(till: Till) -> tuple[int, bool]:
    shift = till.ledger.last_shift()
    return (0, False) if shift is None else (shift.number, shift.closed_unix_seconds is None)


def _enrol_till(site: Site, text: str) -> int:
    with contextlib.suppress(TillAlreadyEnrolled):
        enrol_till(
            database=site.data / "till.db",
            signing=site.keys.till_signing,
            server=site.server,
            invitation=Invitation.parse(text),
            patience=QUICK,
            system_time=site.now,
        )
    with contextlib.closing(Ledger(site.data / "till.db")) as ledger:
        return ledger.identity().terminal_id


def _is_enrolled(site: Site) -> bool:
    with contextlib.closing(Ledger(site.data / "till.db")) as ledger:
        try:
            ledger.identity()
        except NotEnrolled:
            return False
    return True


# A machine that is to become a till


def _kiosk(site: Site, points: CrashPoints, recording: Recording, pipe: Connection) -> None:
    handlers = kiosk_handlers(site.data, site.server, QUICK, site.now)
    _obey(pipe, handlers, recording, points)


_LIVES = {"server": _server, "office": _office, "station": _station, "till": _till, "kiosk": _kiosk}
