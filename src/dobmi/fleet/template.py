"""The fleet before its first day, made once per process by the real code: enrolled, issued, topped up."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import deliver_credits
from dobmi.central.issue_session import issue_card
from dobmi.central.schema import CreditSource, Role
from dobmi.central.server import Central
from dobmi.central.terminals import enrol, invite
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.state import CardState
from dobmi.fleet.disk import forget
from dobmi.fleet.events import BLANK_CARDS, CARDS, SPARE_CARDS, TILLS
from dobmi.fleet.office import Office
from dobmi.fleet.oracles import Order
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.enrolment import Enrolment, encode_enrol_request, verify_enrolment
from dobmi.terminal.ledger import Ledger

START_UNIX_SECONDS = 1_790_000_000
START_BALANCE = Rupiah(200_000)
NAMES = ("Siti", "Budi", "Ujang", "Dewi", "Agus")


@cache
def fleet_keys() -> KeyRing:
    """The keys of every fleet: fixed, because what they are decides nothing."""
    chance = random.Random("keys of the simulated fleet")  # noqa: S311 - they guard nothing
    return KeyRing(
        masters={key: {1: chance.randbytes(16)} for key in CardKey},
        signing={
            name: chance.randbytes(32)
            for name in ("server", "card-issuer", "station", *map(_till_key, range(TILLS)))
        },
    )


@cache
def keys_of_generation(generation: int) -> KeyRing:
    """`fleet_keys`, renewed so often that the newest master keys are of this generation."""
    if generation == 1:
        return fleet_keys()
    before = keys_of_generation(generation - 1)
    chance = random.Random(f"keys of generation {generation}")  # noqa: S311 - they guard nothing
    masters = {
        key: {**held, generation: chance.randbytes(16)} for key, held in before.masters.items()
    }
    return KeyRing(masters=masters, signing=before.signing)


def _till_key(number: int) -> str:
    return f"till {number}"


def till_signing(number: int) -> KeyRing:
    return KeyRing(signing={"terminal": fleet_keys().signing[_till_key(number)]})


SETTINGS = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})


@dataclass(frozen=True, slots=True)
class Template:
    """A fleet before its first day: files by name, cards (the spare ones last), who everybody is."""

    files: dict[str, bytes]
    cards: tuple[CardState, ...]
    orders: tuple[Order, ...]
    station: Enrolment
    tills: tuple[Enrolment, ...]


def _before() -> int:
    return START_UNIX_SECONDS - 3600


class _Straight:
    """A connection to a card, with nothing between."""

    def __init__(self, card: SimulatedCard) -> None:
        card.power_off()
        self._card = card
        self.uid = card.uid

    def transmit(self, command: bytes) -> bytes:
        return self._card.process(command)

    def disconnect(self) -> None:
        self._card.power_off()


@cache
def template() -> Template:
    keys = fleet_keys()
    chance = random.Random("cards of the simulated fleet")  # noqa: S311 - a simulation
    with private_folder() as folder:
        office = Office(folder, keys, SETTINGS, _before, lambda *_: None, lambda: None)
        central = office.central
        central.database.create_tables()
        station = _enrolled(
            central, Role.STATION, "Kantor", KeyRing(signing={"terminal": keys.signing["station"]})
        )
        tills = []
        for number in range(TILLS):
            signing = till_signing(number)
            tills.append(_enrolled(central, Role.TILL, f"Kasir {number + 1}", signing))
            ledger = Ledger(folder / f"till-{tills[-1].terminal_id}.db")
            ledger.store_identity(tills[-1], _before())
            ledger.close()
        cards, orders = [], []
        for number in range(CARDS + BLANK_CARDS + SPARE_CARDS):
            uid = b"\x04" + chance.randbytes(6)
            card = SimulatedCard(uid, random_bytes=chance.randbytes)
            if number < CARDS:
                issue_card(central, _Straight(card), 1001 + number, NAMES[number])
                order = Order(f"first-{NAMES[number]}-order", uid, START_BALANCE, accepted=True)
                order_credit(
                    central,
                    uid,
                    order.amount,
                    CreditSource.CASH,
                    idempotency_key=order.reference,
                    station=station.terminal_id,
                )
                deliver_credits(central, _Straight(card))
                orders.append(order)
            cards.append(card.state)
        office.close()
        forget([office.disk])
        names = ["central.db", *(f"till-{till.terminal_id}.db" for till in tills)]
        files = {name: (folder / name).read_bytes() for name in names}
    return Template(files, tuple(cards), tuple(orders), station, tuple(tills))


def _enrolled(central: Central, role: Role, name: str, signing: KeyRing) -> Enrolment:
    invitation = invite(central, role, name, "Toko Ciledug")
    public_key = signing.public_key("terminal")
    request = encode_enrol_request(
        invitation.code, public_key, lambda message: signing.sign("terminal", message)
    )
    return verify_enrolment(enrol(central, request), invitation, public_key)


@contextmanager
def private_folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    folder = Path(tempfile.mkdtemp(prefix="dobmi-fleet-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
