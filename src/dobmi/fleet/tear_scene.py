"""The stage of a torn card: a world prepared once, one tear in it, and who does what after it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import RecordKind
from dobmi.central.cards import statement_of
from dobmi.central.conclusions import reconcile
from dobmi.central.overdue import SECONDS_PER_DAY, doubt_list, settle_overdue
from dobmi.central.posting_rules import Kind
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.schema import CreditDelivery, DoubtState, Role
from dobmi.central.terminals import enrol, invite
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault, FaultyCard, Moment
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.fleet.disk import Effect
from dobmi.fleet.events import STATION
from dobmi.fleet.network import SERVER_URL
from dobmi.fleet.oracles import Finding, Order, Shown
from dobmi.fleet.template import NAMES, Template, private_folder, template
from dobmi.fleet.till_process import TillProcess, ready
from dobmi.fleet.truth import TrueTransaction, memory_of
from dobmi.fleet.world import World
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue
from dobmi.sync.client import Requester
from dobmi.sync.enrolment import encode_enrol_request, verify_enrolment
from dobmi.sync.relay import Action, Start
from dobmi.sync.relay_client import relay_card_session
from dobmi.terminal.sale import SaleResult

SECOND_STATION = -3
TAP_SECONDS = 2

Relayed = dict[int, CborValue] | DoBMIError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A world before its tear, to begin from any number of times."""

    made: Template
    time: float
    transactions: tuple[TrueTransaction, ...]
    shown: tuple[Shown, ...]
    lost: frozenset[bytes]
    second_station: int
    keys: KeyRing | None = field(repr=False)


@dataclass(slots=True)
class Scene:
    """A world in which the card is torn at one frame. `frame` None: it is not, and frames count."""

    world: World
    second_station: int
    frame: int | None = None
    moment: Moment = Moment.BEFORE
    keys: KeyRing | None = field(default=None, repr=False)
    is_torn: bool = False
    frames: int = 0
    """Of the flow's taps that are over."""
    commits: list[int] = field(default_factory=list)
    """The frames at which the card moved money."""
    _before: int = 0

    def __post_init__(self) -> None:
        self._before = len(self.world.witness.truth.transactions)

    # What happened

    @property
    def moves(self) -> int:
        return len(self.world.witness.truth.transactions)

    @property
    def has_moved(self) -> bool:
        """Since the flow began."""
        return self.moves > self._before

    def sold(self, card: SimulatedCard) -> list[Rupiah]:
        """What the card paid since the flow began."""
        new = self.world.witness.truth.transactions[self._before :]
        return [one.amount for one in new if one.kind is RecordKind.SALE and one.uid == card.serial]

    def must(self, holds: bool, text: str) -> None:
        """Raises OracleFailed with `text` unless it holds."""
        if not holds:
            self.world.fail(0, [Finding("what-people-expect", text)])

    # Taps

    def lay(self, reader: SimulatedReader, card: SimulatedCard) -> FaultyCard:
        """Tap the card; it is pulled away where this scene has it."""
        reader.remove()
        card.power_off()
        before = self.frames

        def strikes(index: int, _frame: bytes) -> bool:
            if self.frame is None or self.is_torn or before + index != self.frame:
                return False
            self.is_torn = True
            return True

        faulty = FaultyCard(card, [Fault(strikes, self.moment)])
        if self.frame is None:
            faulty.add(Fault(lambda index, _frame: self._watch(before + index)))
        reader.insert(faulty)
        self.world.pass_time(TAP_SECONDS)
        return faulty

    def _watch(self, frame: int) -> bool:
        """Which frame moved money is seen at the next one; see `lift`."""
        if self._before + len(self.commits) < self.moves:
            self.commits.append(frame - 1)
        return False

    def lift(self, reader: SimulatedReader, faulty: FaultyCard) -> None:
        reader.remove()
        self.frames += faulty.frames_seen
        self._watch(self.frames)

    def sell(
        self,
        process: TillProcess,
        card: SimulatedCard,
        amount: Rupiah,
        *,
        only_card: bytes | None = None,
    ) -> SaleResult | DoBMIError:
        faulty = self.lay(process.reader, card)
        what = f"{self.world.member(card)} buys for {amount}"
        outcome = self.world.at_till(
            process, what, lambda till: ready(till).sell(amount, only_card=only_card)
        )
        self.lift(process.reader, faulty)
        assert isinstance(outcome, SaleResult | DoBMIError)
        if isinstance(outcome, SaleResult):
            self.world.show(process, outcome)
        return outcome

    def relay(
        self,
        at: int,
        card: SimulatedCard,
        action: Action,
        parameters: dict[int, CborValue] | None = None,
    ) -> Relayed:
        """A card session with the central server over this till's or station's reader."""
        world = self.world
        is_till = at not in {STATION, SECOND_STATION}
        reader = world.tills[at].reader if is_till else world.station_reader
        where = "the second station" if at == SECOND_STATION else world.name(at)
        what = f"{where}: {action.value} for {world.member(card)}'s card"
        faulty = self.lay(reader, card)
        outcome: Relayed
        try:
            outcome = relay_card_session(
                SERVER_URL,
                self._requester(at),
                Start(action, card.serial, parameters or {}),
                reader.connect().transmit,
                open_channel=world.network.channel_opener(where),
            )
            world.note(f"{what}: done")
        except DoBMIError as error:
            outcome = error
            problem = f" {error.facts['problem']}" if "problem" in error.facts else ""
            world.note(f"{what}: {error.code}{problem}, money moved: {error.money_moved}")
        self.lift(reader, faulty)
        return outcome

    def issue(self, at: int, card: SimulatedCard, member: int) -> Relayed:
        """To the member of that place in the fleet."""
        return self.relay(at, card, Action.ISSUE, {1: 1001 + member, 2: NAMES[member]})

    def _requester(self, at: int) -> Requester:
        if at != SECOND_STATION:
            return self.world.requester(at)
        signing = _second_station_key()
        return Requester(
            terminal_id=self.second_station,
            public_key=signing.public_key("terminal"),
            sign=lambda message: signing.sign("terminal", message),
            now=self.world.seconds,
        )

    # People and machines

    def order(self, card: SimulatedCard, amount: Rupiah) -> None:
        world = self.world
        reference = f"tears-order-{len(world.witness.orders) + 1:04}"
        order = Order(reference, card.serial, amount)
        world.witness.orders[reference] = order
        content = {
            "card_uid": order.uid.hex().upper(),
            "amount_rupiah": amount.amount,
            "source": "cash",
            "idempotency_key": reference,
        }
        what = f"a credit of {amount} is ordered"
        answer = world.ask_server(what, lambda client: client.post_json("/v1/credits", content))
        self.must(not isinstance(answer, DoBMIError), f"the order was refused: {answer}")
        order.accepted = True

    def lose(self, card: SimulatedCard, reason: str) -> None:
        """The office is told, and is to give its money to the member's next card."""
        self.world.witness.reported.add(card.serial)
        replace_card(self.world.office.central, card.serial, reason, by_terminal=None)

    def give_up(self, process: TillProcess) -> None:
        if process.till is not None:
            self.world.at_till(process, "the next customer comes", lambda till: till.give_up())

    def restart_machines(self, process: TillProcess | None) -> None:
        """Till or station and the central server die and start again, on the files they left."""
        world = self.world
        if process is not None and process.till is not None:
            process.kill(Effect.KILL)
        world.station_reader = SimulatedReader()
        world.office.restart(world.office.disk.image())
        if self.keys is not None:
            self.use_keys(self.keys)
        world.note("the machines that took part are killed and start again")

    def use_keys(self, keys: KeyRing) -> None:
        """The server is restarted with this key file."""
        self.keys = keys
        self.world.office.keys = keys
        self.world.office.restart()

    def sync(self, *numbers: int) -> None:
        for number in numbers:
            answer = self.world.at_till(self.world.tills[number], "sync", lambda till: till.sync())
            self.must(not isinstance(answer, DoBMIError), f"the till could not sync: {answer}")

    def reconcile(self) -> None:
        central = self.world.office.central
        reconcile(central.database, central.mac_keys(), self.world.seconds())

    def days_pass(self) -> None:
        """As long as the rules wait; then the office's daily run."""
        world, central = self.world, self.world.office.central
        days = max(central.settings.settle_after_days, central.settings.restore_after_days) + 1
        world.pass_time(days * SECONDS_PER_DAY)
        world.note(f"{days} days pass; the rules are applied")
        settle_overdue(central, world.seconds())
        restore_due(central)

    # Judgements

    def explained(self, *, by_rule: bool) -> int:
        """Where a card and its account differ, people see why in a list; how many entries that are.

        Before the rule each sale in it is open, after it none is.
        """
        world, central = self.world, self.world.office.central
        world.check(0)
        doubts = {
            (one.terminal_id, one.sequence): one for one in doubt_list(central, settled_too=True)
        }
        listed = 0
        for one in doubts.values():
            is_open = one.state is DoubtState.OPEN
            listed += is_open or by_rule
            self.must(not (by_rule and is_open), f"sale {one.sequence} is open after the rule")
        server = world.oracles.server
        posted = {
            (row.uid, row.terminal_id, row.sequence)
            for row in server.postings
            if row.kind in {Kind.SALE, Kind.DELIVERED}
        }
        known = {uid for uid, _ in server.credits}
        lost = world.witness.reported
        differences: dict[bytes, Rupiah] = {}
        for true in world.witness.truth.transactions:
            reader = true.reader_id
            if (true.uid, reader.terminal_id, reader.sequence) in posted or true.uid in lost:
                continue
            differences[true.uid] = differences.get(true.uid, ZERO) + true.change
            if true.kind is RecordKind.SALE:
                in_list = (reader.terminal_id, reader.sequence) in doubts
                self.must(in_list, f"sale {reader.sequence} is neither posted nor in the list")
        for uid, card in world.witness.truth.cards.items():
            if uid in lost:
                continue
            if uid in known:
                waiting = statement_of(central, uid).credits_waiting
                listed += sum(one.state is CreditDelivery.IN_DOUBT for one in waiting)
            booked = Rupiah(server.on_card(uid))
            difference = memory_of(card.state).balance - booked
            self.must(
                difference == differences.get(uid, ZERO),
                f"card {uid.hex()} and its account differ by {difference}, and no list says why",
            )
        return listed

    def books_agree(self) -> None:
        self.reconcile()
        self.world.check(0, at_the_end=True)


def _second_station_key() -> KeyRing:
    return KeyRing(signing={"terminal": hashlib.sha256(b"a second station").digest()})


@contextmanager
def _scene(made: Template, second_station: int) -> Iterator[Scene]:
    with private_folder() as folder:
        world = World(folder, made)
        try:
            yield Scene(world, second_station)
        finally:
            world.close()


def prepare(act: Callable[[Scene], None]) -> Prepared:
    """The fleet with a second station, after `act`, which may use any of it."""
    with _scene(template(), 0) as scene:
        world = scene.world
        signing = _second_station_key()
        public_key = signing.public_key("terminal")
        central = world.office.central
        invitation = invite(central, Role.STATION, "Kantor 2", "Toko Ciledug")
        request = encode_enrol_request(
            invitation.code, public_key, lambda message: signing.sign("terminal", message)
        )
        enrolment = verify_enrolment(enrol(central, request), invitation, public_key)
        scene.second_station = enrolment.terminal_id
        act(scene)
        world.check(0)
        for process in world.tills:
            process.stop()
        world.office.close()
        files = {name: (world.folder / name).read_bytes() for name in template().files}
        made = replace(
            template(),
            files=files,
            cards=tuple(card.state for card in world.cards),
            orders=tuple(world.witness.orders.values()),
        )
        return Prepared(
            made=made,
            time=world.time,
            transactions=tuple(world.witness.truth.transactions),
            shown=tuple(world.witness.shown),
            lost=frozenset(world.witness.reported),
            second_station=enrolment.terminal_id,
            keys=scene.keys,
        )


@contextmanager
def begun(prepared: Prepared) -> Iterator[Scene]:
    """A scene that begins as it was prepared."""
    with _scene(prepared.made, prepared.second_station) as scene:
        world = scene.world
        world.time = prepared.time
        truth = world.witness.truth
        truth.transactions[:] = prepared.transactions
        truth.oddities.clear()
        world.witness.shown += map(copy, prepared.shown)
        world.witness.reported |= prepared.lost
        if prepared.keys is not None:
            scene.use_keys(prepared.keys)
        scene.__post_init__()
        yield scene
