"""Tills for tests: enrolled by hand, with a simulated reader and cards of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import ModuleType

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey, Holder
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.firmware_sim.state import CardState
from dobmi.money import ZERO, Rupiah
from dobmi.sync.client import Patience
from dobmi.sync.enrolment import Enrolment
from dobmi.sync.feed import Feed
from dobmi.sync.voucher import Voucher, follow_chain, genesis_hash, verify_voucher
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.shift import open_shift
from dobmi.terminal.staff import Cashier
from dobmi.terminal.till import Till
from support.purses import SITI, issued_card, new_ring, purse_of

NOW = 1_790_000_000
QUICK = Patience(
    attempts=3,
    first_wait_seconds=0.001,
    wait_seconds_max=0.01,
    connect_timeout_seconds=2,
    silence_timeout_seconds=2,
    answer_timeout_seconds=3,
)
RING = new_ring()
TILL_KEYS = RING.only([CardKey.DEBIT, CardKey.PIN])
_PURSES: dict[tuple[int, Holder], CardState] = {}


def card_with(balance: int = 100_000, holder: Holder = SITI, ring: KeyRing = RING) -> SimulatedCard:
    """A fresh card of `ring` with this balance; personalised once, then copied with its UID."""
    if ring is not RING:
        return issued_card(ring, Rupiah(balance), holder)
    if (balance, holder) not in _PURSES:
        _PURSES[balance, holder] = issued_card(ring, Rupiah(balance), holder).state
    return SimulatedCard(state=_PURSES[balance, holder])


def another_holder(number: int) -> Holder:
    return replace(SITI, member_number=number, name=f"Anggota {number}", card_serial=number)


def expired(day: date) -> Holder:
    return replace(SITI, expires=day)


def balance_of(card: SimulatedCard) -> int:
    """As the card says it."""
    return purse_of(card, RING).read().balance.amount


@dataclass
class Bench:
    """A till's files and reader; `open` starts the till as a process would."""

    folder: Path
    terminal_id: int = 7
    server: str = "http://127.0.0.1:1"
    server_keys: KeyRing = RING
    signing: KeyRing = field(default_factory=lambda: KeyRing.generate(signing=["terminal"]))
    reader: SimulatedReader = field(default_factory=SimulatedReader)
    time: float = NOW

    @property
    def database(self) -> Path:
        return self.folder / f"till-{self.terminal_id}.db"

    @property
    def public_key(self) -> bytes:
        return self.signing.public_key("terminal")

    def enrol(self) -> Bench:
        """With a shift that Siti has opened."""
        ledger = Ledger(self.database)
        ledger.store_identity(
            Enrolment(
                terminal_id=self.terminal_id,
                terminal_public_key=self.public_key,
                server_public_key=self.server_keys.public_key("server"),
                card_issuer_public_key=RING.public_key("card-issuer"),
                issuer="Koperasi BMI",
                seller="Toko Ciledug",
            ),
            int(self.time),
        )
        ledger.close()
        return self.start_shift()

    def start_shift(self, cashier: str = "Siti") -> Bench:
        with contextlib.closing(Ledger(self.database)) as ledger:
            open_shift(ledger, Cashier(cashier), ZERO, int(self.time))
        return self

    def open(self, **changes: object) -> Till:
        values: dict[str, object] = {
            "database": self.database,
            "signing": self.signing,
            "custody": TILL_KEYS,
            "reader": self.reader,
            "cashier": "Siti",
            "server": self.server,
            "card_wait_seconds": 0.01,
            "patience": QUICK,
            "system_time": lambda: self.time,
        }
        return Till(**{**values, **changes})  # type: ignore[arg-type] # tests change what they like

    def tap(self, card: SimulatedCard, *faults: Fault) -> None:
        """Take away what lies on the reader and lay `card` down as it is after a power-up."""
        self.reader.remove()
        card.power_off()
        self.reader.insert(card, faults)

    def feed(self, **changes: object) -> None:
        """Put a feed in force, as a sync would."""
        ledger = Ledger(self.database)
        state = ledger.sync_state()
        values: dict[str, object] = {
            "version": state.feed_version + 1,
            "since": state.feed_version,
            "unix_seconds": int(self.time),
            "limits": state.limits,
        }
        ledger.apply_feed(
            Feed(**{**values, **changes}),  # type: ignore[arg-type] # tests change what they like
            int(self.time),
        )
        ledger.close()

    def limit(self, **changes: object) -> None:
        ledger = Ledger(self.database)
        limits = ledger.sync_state().limits
        ledger.close()
        self.feed(limits=replace(limits, **changes))  # type: ignore[arg-type] # likewise

    def chain(self) -> list[Voucher]:
        """Every voucher, each signature and the whole chain checked."""
        ledger = Ledger(self.database)
        encoded = ledger.vouchers_from(1, 100_000)
        terminal_id = ledger.identity().terminal_id
        ledger.close()
        for voucher in encoded:
            verify_voucher(voucher, self.public_key)
        start = genesis_hash(terminal_id, self.public_key)
        return [voucher for voucher, _ in follow_chain(encoded, terminal_id, 1, start)]


class Crash(BaseException):
    """The process dies here: nothing of ours catches it."""


def crash_around(
    monkeypatch_setattr: Callable[[object, str, object], None],
    owner: type | ModuleType,
    step: str,
    *,
    after: bool,
) -> None:
    """Make the durable step `owner.step` die before it does anything, or after it is done."""
    original = getattr(owner, step)

    def dying(*args: object, **kwargs: object) -> object:
        if after:
            original(*args, **kwargs)
        raise Crash

    monkeypatch_setattr(owner, step, dying)
