"""A central server with a paired till beside it, whose card keys are renewed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.purse_layout import PURSE_AID, CardKey
from dobmi.cardlib.rekey import ORDER
from dobmi.central.acts import Actor
from dobmi.central.key_generations import begin_generation
from dobmi.central.pairing import approve_pairing
from dobmi.central.server import Central
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.money import ZERO
from dobmi.terminal.card_keys import StoredKeys
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.pairing import TillFiles, begin_pairing, finish_pairing, open_identity
from dobmi.terminal.shift import open_shift
from dobmi.terminal.staff import Cashier
from dobmi.terminal.till import Till
from support.purses import InProcess
from support.servers import new_central, serving
from support.tills import QUICK

PASSPHRASE = "kunci toko"
OFFICE = Actor("Ani", None)
DAY = 24 * 3600


@dataclass
class Fleet:
    """`central` is the server as it was started last; its clock and the tills' run with `ahead`."""

    folder: Path
    ahead: int = 0
    central: Central = field(init=False)

    def __post_init__(self) -> None:
        self.central = new_central(self.folder, lambda: int(self.now()))

    def now(self) -> float:
        return time.time() + self.ahead

    def renew(self, accept_older_days: int = 90) -> int:
        """A further generation, and the server restarted with it."""
        self.central = replace(self.central, keys=self.central.keys.renewed())  # type: ignore[attr-defined] # a KeyRing here
        generation = max(self.central.keys.generations(CardKey.DEBIT))
        older_until = self.central.unix_seconds() + accept_older_days * DAY
        begin_generation(self.central, generation, older_until=older_until, actor=OFFICE)
        return generation

    def pair(self, name: str = "Kasir 1") -> PairedTill:
        """Taken in by a short code, with a shift open."""
        files = TillFiles(
            database=self.folder / name / "till.db",
            identity=self.folder / name / "identity.keys",
            card_keys=self.folder / name / "till.keys",
        )
        files.database.parent.mkdir()
        keys = open_identity(files, PASSPHRASE)
        with serving(self.central) as url:
            pairing = begin_pairing(files, keys, url, name, patience=QUICK)
            reply = approve_pairing(self.central, pairing.shown, seller="Toko Cikupa").reply
            identity = finish_pairing(files, keys, pairing, reply, PASSPHRASE, patience=QUICK)
        with contextlib.closing(Ledger(files.database)) as ledger:
            open_shift(ledger, Cashier("Siti"), ZERO, int(self.now()))
        return PairedTill(self, files, identity.terminal_id)


@dataclass
class PairedTill:
    fleet: Fleet
    files: TillFiles
    id: int
    reader: SimulatedReader = field(default_factory=SimulatedReader)

    @property
    def generation(self) -> int:
        """The newest in its file."""
        return self.keys().newest

    def keys(self) -> StoredKeys:
        identity = open_identity(self.files, PASSPHRASE)
        return StoredKeys.load(self.files.card_keys, identity, PASSPHRASE)

    def open(self, url: str) -> Till:
        return Till(
            database=self.files.database,
            signing=open_identity(self.files, PASSPHRASE),
            custody=self.keys(),
            reader=self.reader,
            server=url,
            card_wait_seconds=0.05,
            patience=QUICK,
            system_time=self.fleet.now,
        )

    @contextmanager
    def online(self) -> Iterator[Till]:
        """With the central server as it is now."""
        with serving(self.fleet.central) as url, self.open(url) as till:
            yield till

    def sync(self, times: int = 1) -> None:
        """A server that has to wait for this till hears of its new keys at the second sync."""
        with self.online() as till:
            for _ in range(times):
                till.sync()


def key_versions(card: SimulatedCard) -> dict[CardKey, int]:
    card.power_off()
    desfire = DesfireCard(InProcess(card))
    desfire.select_application(PURSE_AID)
    return {key: desfire.get_key_version(key.number) for key in ORDER}
