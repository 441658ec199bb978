"""The fleet: three tills, a station, a central server, their members' cards, on virtual time.

What people, radio, wires and disks do here is decided by events (`acts`); what comes of it, by the
real code of all parts. The world writes down what was seen and has the oracles judge it.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dobmi.cardlib.purse_layout import CardKey
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.fleet.disk import Disk, Image, Killed, Strike, forget
from dobmi.fleet.events import (
    BLANK_CARDS,
    CARDS,
    SERVER,
    STATION,
    Deliver,
    Issue,
    Rekey,
    Tear,
    Which,
)
from dobmi.fleet.garbling import GarblingRelay, debit_keys
from dobmi.fleet.network import (
    SERVER_URL,
    Network,
    WireAnswer,
    WireRequest,
)
from dobmi.fleet.office import Office
from dobmi.fleet.oracles import Finding, Oracles, Order, Shown, TillRecord, Witness
from dobmi.fleet.template import (
    NAMES,
    SETTINGS,
    START_UNIX_SECONDS,
    Template,
    fleet_keys,
    keys_of_generation,
    private_folder,
    template,
    till_signing,
)
from dobmi.fleet.till_process import TillProcess
from dobmi.fleet.truth import Truth
from dobmi.money import Rupiah
from dobmi.sync import http
from dobmi.sync.acknowledgement import verify_acknowledgement
from dobmi.sync.cbor import CborValue
from dobmi.sync.client import HttpClient, Patience, Requester, SyncClient
from dobmi.sync.relay import Start
from dobmi.sync.relay_client import relay_card_session
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.till import Till

_TAP_SECONDS = 2
STATION_NAME = "the station"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story."""

    unix_seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class OracleFailed(Exception):
    """At this step (from 0; after the last: the settling) these oracles failed."""

    step: int
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class World:
    """Made by `new_world`. `tamper` is called before each check: for sabotage by tests."""

    folder: Path
    made: Template
    tamper: Callable[[World], None] = lambda _: None
    time: float = START_UNIX_SECONDS
    story: list[Line] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    sales: int = 0
    last_sale: SaleResult | DoBMIError | None = None
    """What the last purchase came to; None: its till died."""
    days: int = 0
    """That have passed with nothing happening."""
    server_clock_offset_seconds: int = 0
    key_generation: int = 1
    cards: list[SimulatedCard] = field(default_factory=list)
    """What each member has now."""
    spares: list[SimulatedCard] = field(default_factory=list)
    lost: dict[int, list[SimulatedCard]] = field(default_factory=dict)
    """By their members' numbers, the last one last."""
    copies: dict[int, SimulatedCard] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    """Of all cards, by `id`: what the story calls who taps them."""
    tills: list[TillProcess] = field(default_factory=list)
    office: Office = field(init=False)
    network: Network = field(init=False)
    witness: Witness = field(init=False)
    oracles: Oracles = field(init=False)
    station_reader: SimulatedReader = field(default_factory=SimulatedReader)
    backups: dict[int, Image] = field(default_factory=dict)
    outages: dict[str, float] = field(default_factory=dict)
    unclaimed: dict[tuple[int, bytes, Rupiah], set[int]] = field(default_factory=dict)
    """Paid sales that no cashier has heard of yet, by till, card and amount: their sequences."""
    told: set[tuple[int, int]] = field(default_factory=set)
    """Sales, by terminal and sequence, of which a cashier has heard what became of them."""
    _settled_seen: dict[int, int] = field(default_factory=dict)
    _looked_at: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = fleet_keys()
        for name, content in self.made.files.items():
            (self.folder / name).write_bytes(content)
        self.office = Office(
            self.folder, keys, SETTINGS, self.server_seconds, self.arrived, self.server_died
        )
        self.network = Network(self.office, self.pass_time, self.count)
        truth = Truth()
        chance = random.Random("the cards' nonces")  # noqa: S311 - they decide nothing
        for number, state in enumerate(self.made.cards):
            card = SimulatedCard(state=state, random_bytes=chance.randbytes)
            truth.watch(card)
            is_spare = number >= CARDS + BLANK_CARDS
            (self.spares if is_spare else self.cards).append(card)
            self.names[id(card)] = "a spare card" if is_spare else NAMES[number]
        till_keys = keys.only([CardKey.DEBIT, CardKey.PIN])
        patience = Patience(attempts=3, sleep=lambda _: self.pass_time(1))
        records = []
        for number, enrolment in enumerate(self.made.tills):
            name = f"Till {number + 1}"
            process = TillProcess(
                name=name,
                folder=self.folder,
                terminal_id=enrolment.terminal_id,
                signing=till_signing(number),
                card_keys=till_keys,
                now=self.now,
                transport=self.network.adapter(name),
                server=SERVER_URL,
                patience=patience,
            )
            self.tills.append(process)
            records.append(
                TillRecord(
                    name, enrolment.terminal_id, enrolment.terminal_public_key, process.disk.path
                )
            )
        self.witness = Witness(truth, records, self.office.disk.path)
        self.witness.orders = {order.reference: order for order in map(_copy, self.made.orders)}
        self.oracles = Oracles(self.witness)

    # Time and faults

    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    def note(self, text: str) -> None:
        self.story.append(Line(self.seconds(), text))

    def close(self) -> None:
        for till in self.tills:
            till.stop()
        self.office.close()
        forget([self.office.disk, *(till.disk for till in self.tills)])

    # At a till

    def at_till(self, process: TillProcess, what: str, do: Callable[[Till], Any]) -> Any:
        """What `do` returned, the error it raised, or None if the till died."""
        outcome: Any
        try:
            outcome = do(self.started(process))
        except Killed:
            process.died()
            self.note(f"{process.name}: {what}: the till dies in the middle")
            return None
        except DoBMIError as error:
            outcome = error
            problem = f" {error.facts['problem']}" if "problem" in error.facts else ""
            moved = error.money_moved
            self.note(f"{process.name}: {what}: {error.code}{problem}, money moved: {moved}")
        else:
            self.note(f"{process.name}: {what}: {_told(outcome)}")
        if process.till is not None:
            self.hear_settled(process, process.till)
        return outcome

    def started(self, process: TillProcess) -> Till:
        was_down = process.till is None
        till = process.start()
        if was_down:
            self._settled_seen[process.terminal_id] = 0
            for intent, _ in till.not_shown:
                self.note(f"{process.name} starts and reports sale {intent.sequence} as paid")
                self.claim(process.terminal_id, intent.sequence)
            till.acknowledge_not_shown()
        return till

    def hear_settled(self, process: TillProcess, till: Till) -> None:
        seen = self._settled_seen.get(process.terminal_id, 0)
        for settled in till.settled[seen:]:
            outcome = "cannot be told" if settled.outcome is None else settled.outcome.name.lower()
            self.note(f"{process.name}: sale {settled.intent.sequence} in doubt: {outcome}")
            self.claim(process.terminal_id, settled.intent.sequence)
        self._settled_seen[process.terminal_id] = len(till.settled)

    def show(self, process: TillProcess, result: SaleResult) -> None:
        self.sales += not result.already_paid
        self.claim(process.terminal_id, result.sequence)
        self.witness.shown.append(
            Shown(
                process.terminal_id,
                result.sequence,
                result.card_uid,
                result.amount,
                result.voucher_hash,
                result.already_paid,
            )
        )

    def claim(self, terminal_id: int, sequence: int) -> None:
        """A cashier has heard that this sale is paid, or not: it is nobody's doubt any more."""
        self.told.add((terminal_id, sequence))
        for (terminal, _, _), sequences in self.unclaimed.items():
            if terminal == terminal_id:
                sequences.discard(sequence)

    # At the station and over relays

    def ask_server(self, what: str, ask: Callable[[SyncClient], Any]) -> Any:
        transport = self.network.adapter(STATION_NAME)
        patience = Patience(attempts=2, sleep=lambda _: self.pass_time(1))
        try:
            with HttpClient(SERVER_URL, patience, transport=transport) as client:
                enrolment = self.made.station
                answer = ask(
                    SyncClient(client, self.requester(STATION), enrolment.server_public_key)
                )
        except DoBMIError as error:
            self.note(f"{what}: {error.code} {error.facts.get('problem', '')}".rstrip())
            return error
        self.note(f"{what}: done")
        return answer

    def relayed(
        self,
        event: Deliver | Issue | Rekey,
        at: int,
        card: SimulatedCard,
        start: Start,
        what: str,
    ) -> dict[int, CborValue] | DoBMIError:
        """A card session with the central server, over a till's or the station's reader."""
        name = self.name(at)
        reader = self.station_reader if at == STATION else self.tills[at].reader
        self.tap(reader, card, event.tear)
        self.network.relay_fault = event.relay_fault
        self.arm(self.office.disk, event.server_strike)
        transmit, garbling = reader.connect().transmit, None
        if at != STATION and isinstance(event, Deliver) and event.is_garbled:
            garbling = GarblingRelay(transmit, debit_keys(self.tills[at].card_keys, card.serial))
            transmit = garbling
        outcome: dict[int, CborValue] | DoBMIError
        try:
            outcome = relay_card_session(
                SERVER_URL,
                self.requester(at),
                start,
                transmit,
                open_channel=self.network.channel_opener(name),
            )
            self.note(f"{name}: {what}: done")
        except DoBMIError as error:
            outcome = error
            problem = f" {error.facts['problem']}" if "problem" in error.facts else ""
            self.note(f"{name}: {what}: {error.code}{problem}, money moved: {error.money_moved}")
        if garbling is not None and garbling.lies:
            self.witness.lied_to.add(card.serial)
            self.count("relay: a till changes what passes")
            self.note(f"{name} has changed what passed between card and server")
        reader.remove()
        self.network.relay_fault = None
        self.disarm(self.office.disk)
        return outcome

    def requester(self, at: int) -> Requester:
        if at == STATION:
            enrolment, signing = self.made.station, fleet_keys().only(signing=["station"])
            name = "station"
        else:
            enrolment, signing = self.made.tills[at], till_signing(at)
            name = "terminal"
        return Requester(
            terminal_id=enrolment.terminal_id,
            public_key=enrolment.terminal_public_key,
            sign=lambda message: signing.sign(name, message),
            now=self.seconds,
        )

    # Machines

    def disk(self, who: int) -> Disk:
        return self.office.disk if who == SERVER else self.tills[who].disk

    def name(self, who: int) -> str:
        if who == STATION:
            return STATION_NAME
        return "the central server" if who == SERVER else self.tills[who].name

    def member(self, card: SimulatedCard) -> str:
        return self.names[id(card)]

    def owner(self, uid: bytes) -> str:
        return self.member(self.witness.truth.cards[uid])

    def tapped(self, number: int, which: Which) -> SimulatedCard | None:
        """The card of member `number`; None if there is no such."""
        if which is Which.OWN:
            return self.cards[number]
        if which is Which.COPY:
            return self.copies.get(number)
        return next(reversed(self.lost.get(number, [])), None)

    def lose(self, number: int) -> bool:
        """The member has another one from the drawer from now on; False if it is empty."""
        if not self.spares:
            return False
        name, card = NAMES[number], self.cards[number]
        lost = self.lost.setdefault(number, [])
        lost.append(card)
        self.names[id(card)] = f"whoever found {name}'s card"
        self.cards[number] = self.spares.pop(0)
        self.names[id(self.cards[number])] = f"{name} (card {len(lost) + 1})"
        return True

    def copy(self, card: SimulatedCard) -> SimulatedCard:
        """Another one with the same memory."""
        chance = random.Random("the copies' nonces")  # noqa: S311 - they decide nothing
        copy = SimulatedCard(state=card.state, random_bytes=chance.randbytes)
        self.witness.truth.watch_copy(copy)
        self.names[id(copy)] = f"whoever copied {self.member(card)}'s card"
        return copy

    def renew_keys(self, left_out: int | None = None) -> None:
        self.key_generation += 1
        for number in range(len(self.tills)):
            if number != left_out:
                self.give_keys(number)
        self.office.use_keys(keys_of_generation(self.key_generation))

    def give_keys(self, number: int) -> None:
        """A till takes the cards' keys at its start."""
        process = self.tills[number]
        keys = keys_of_generation(self.key_generation).only([CardKey.DEBIT, CardKey.PIN])
        if keys != process.card_keys:
            process.card_keys = keys
            if process.till is not None:
                self.at_till(process, "is stopped", lambda _: process.stop())

    # Radio, disks, network

    def tap(self, reader: SimulatedReader, card: SimulatedCard, tear: Tear | None) -> None:
        reader.remove()
        card.power_off()
        reader.insert(card, [] if tear is None else [self._fault(tear)])
        self.pass_time(_TAP_SECONDS)
        if tear is not None:
            self.note(
                f"{self.member(card)} will pull the card away at frame {tear.frame}, "
                f"{tear.moment.value} the card acts"
            )

    def _fault(self, tear: Tear) -> Fault:
        def strikes(number: int, _frame: bytes) -> bool:
            if number == tear.frame:
                self.count(f"radio: pulled away {tear.moment.value} the card acted")
            return number == tear.frame

        return Fault(strikes, tear.moment)

    def arm(self, disk: Disk, strike: Strike | None) -> None:
        if strike is not None:
            disk.arm(strike)

    def disarm(self, disk: Disk) -> None:
        struck = disk.disarm()
        if struck is not None:
            whose = "server" if disk is self.office.disk else "till"
            self.count(f"{whose}: {struck.effect.value}")
            self.note(
                f"({disk.path.stem}: {struck.effect.value} {struck.place.value} {struck.index})"
            )

    def arrived(self, request: WireRequest, answer: WireAnswer) -> None:
        if request.path != http.BATCHES_PATH or answer.status >= 500:
            return
        self.witness.batches[hashlib.sha256(request.body).digest()] = "a till"
        if answer.status == 200:
            ack = verify_acknowledgement(answer.body, fleet_keys().public_key("server"))
            self.witness.acknowledged[ack.terminal_id, ack.head_sequence] = ack.head_hash

    def server_died(self) -> None:
        self.note("the central server dies in the middle, and starts again")

    def end_outages(self) -> None:
        for who, until in list(self.outages.items()):
            if self.time >= until:
                del self.outages[who]
                self.network.down.discard(who)

    def deliver_held(self) -> None:
        for request, answer in self.network.deliver_held():
            status = "the server died" if answer is None else answer.status
            self.note(f"a late {request.method} {request.path} arrives: {status}")

    def count(self, what: str) -> None:
        self.faults[what] += 1

    def now(self) -> float:
        return self.time

    def seconds(self) -> int:
        return int(self.time)

    def server_seconds(self) -> int:
        return self.seconds() + self.server_clock_offset_seconds

    # Oracles

    def check(self, step: int, *, at_the_end: bool = False) -> None:
        """Raises OracleFailed."""
        self.tamper(self)
        disks = {process.terminal_id: process.disk for process in self.tills}
        disks[SERVER] = self.office.disk
        changed = {who for who, disk in disks.items() if self._looked_at.get(who) != disk.changes}
        self._looked_at = {who: disk.changes for who, disk in disks.items()}
        findings = self.oracles.check(changed, server_changed=SERVER in changed)
        if at_the_end and not findings:
            findings = list(self.oracles.settled())
        self.fail(step, findings)

    def fail(self, step: int, findings: Sequence[Finding]) -> None:
        """Raises OracleFailed if there are any."""
        for finding in findings:
            self.note(f"ORACLE {finding.oracle}: {finding.text}")
        if findings:
            raise OracleFailed(step, tuple(findings))


def _told(outcome: Any) -> str:
    match outcome:
        case SaleResult(already_paid=True):
            return f"sale {outcome.sequence} was paid already"
        case SaleResult():
            return f"paid, sale {outcome.sequence}, {outcome.balance_after} left"
    return "done"


def _copy(order: Order) -> Order:
    return Order(order.reference, order.uid, order.amount, order.accepted)


@contextmanager
def new_world(tamper: Callable[[World], None] = lambda _: None) -> Iterator[World]:
    with private_folder() as folder:
        world = World(folder, template(), tamper)
        try:
            yield world
        finally:
            world.close()
