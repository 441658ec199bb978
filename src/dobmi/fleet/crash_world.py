"""The people around the processes, and what must be true when they have finished.

A `World` keeps the processes running: whichever dies is started again at once, as systemd does it.
A clerk or cashier who gets no answer does the natural next thing: the same again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, func, select, text

from dobmi.cardlib.purse import Purse
from dobmi.central.cards import statement_of
from dobmi.central.circulation import anomaly_list, circulation
from dobmi.central.schema import card_transactions, cards, invitations, pending_credits, terminals
from dobmi.central.schema import vouchers as central_vouchers
from dobmi.central.server import Central
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.fleet.crash_actors import Actor, Died, Orders, Refused, Site
from dobmi.sync.voucher import (
    Outcome,
    ResolutionVoucher,
    SaleVoucher,
    follow_chain,
    genesis_hash,
    verify_voucher,
)
from dobmi.terminal.ledger import Ledger

_ANSWER_SECONDS = 30.0
_ATTEMPTS = 6
_PAUSE_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0


class Stuck(Exception):
    """Doing the natural next thing again and again leads nowhere; the text says where."""


@dataclass(slots=True)
class Books:
    """What people know: what they asked for and what they were told. Amounts in rupiah."""

    members: dict[str, int] = field(default_factory=dict)
    uids: dict[str, bytes] = field(default_factory=dict)
    ordered: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Reference: card and amount."""
    paid: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    """Shown as paid: card, amount, sequence, voucher hash."""
    given_up: list[tuple[str, int]] = field(default_factory=list)
    """Card and amount of sales that nobody was told the end of: paid or not, but the same everywhere."""
    acknowledged: tuple[int, bytes] = (0, b"")
    blocked: dict[str, bool] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    """What people saw go wrong on the way, by code."""

    def copy(self) -> Books:
        return Books(
            dict(self.members),
            dict(self.uids),
            dict(self.ordered),
            list(self.paid),
            list(self.given_up),
            self.acknowledged,
            dict(self.blocked),
            [],
        )


@dataclass(slots=True)
class World:
    """The processes on one site, and the books."""

    site: Site
    books: Books
    orders: dict[str, Orders] = field(default_factory=dict)
    actors: dict[str, Actor] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """With the server up; other processes start when they are first asked something."""
        try:
            self.actor("server")
            yield
        finally:
            for actor in self.actors.values():
                actor.kill()

    def actor(self, name: str) -> Actor:
        found = self.actors.get(name)
        if found is None:
            found = Actor(name, self.site, self.orders.get(name, Orders()))
            self.actors[name] = found
            found.start()
        return found

    def stop(self, name: str) -> None:
        """In order. Should it die of that, it is as well."""
        actor = self.actors.pop(name, None)
        if actor is None:
            return
        try:
            self.stopped[name] = actor.stop()
        except Died:
            actor.buried()
        if actor.deaths:
            self.died.add(name)

    stopped: dict[str, Any] = field(default_factory=dict)
    """By name: the points passed and the recording, of those that were stopped in order."""
    died: set[str] = field(default_factory=set)
    """Who had died before it was stopped, or died of that."""

    def has_died(self, name: str) -> bool:
        actor = self.actors.get(name)
        return name in self.died or (actor is not None and actor.deaths > 0)

    def stop_all(self) -> None:
        for name in sorted(self.actors, key=lambda name: name == "server"):
            self.stop(name)

    def ask(self, name: str, command: str, *arguments: Any) -> Any:
        """The answer, perhaps Refused. Raises Died. Others that die meanwhile are started again."""
        actor = self.actor(name)
        try:
            actor.send(command, *arguments)
            while True:
                others = [other for other in self.actors.values() if other is not actor]
                ready = wait([actor.pipe, *(other.sentinel for other in others)], _ANSWER_SECONDS)
                if not ready:
                    msg = f"{name} {command}: no answer"
                    raise Stuck(msg)
                for other in others:
                    if other.sentinel in ready:
                        other.buried()
                        other.start()
                if actor.pipe in ready:
                    return actor.receive(0)
        except Died:
            actor.buried()
            actor.start()
            raise

    def insist(self, name: str, command: str, *arguments: Any) -> Any:
        """Again and again until it is done. Raises Stuck."""
        attempts = 0
        patient_until = time.monotonic() + _PATIENCE_SECONDS
        while attempts < _ATTEMPTS:
            attempts += 1
            try:
                answer = self.ask(name, command, *arguments)
            except Died:
                self.books.errors.append("died")
                continue
            if not isinstance(answer, Refused):
                return answer
            self.books.errors.append(answer.code)
            if answer.code == "SYNC-UNREACHABLE" and time.monotonic() < patient_until:
                attempts -= 1
                time.sleep(_PAUSE_SECONDS)
        msg = f"{name} {command}: {self.books.errors[-_ATTEMPTS:]}"
        raise Stuck(msg)

    # What people do

    def enrol(self, role: str, name: str) -> None:
        invitation = self.insist("office", "invite", role, f"Toko {name}")
        self.insist(name, "enrol", invitation)
        self.stop(name)

    def issue(self, card: str, member: int, fault: tuple[int, str] | None = None) -> None:
        self.books.members[card] = member
        holder = f"Anggota {member}"
        if fault is not None:
            with contextlib.suppress(Died):
                self.ask("station", "issue", card, member, holder, fault)
        self.books.uids[card] = self.insist("station", "issue", card, member, holder, None)

    def top_up(self, card: str, amount: int, fault: tuple[int, str] | None = None) -> None:
        reference = f"kwitansi-{len(self.books.ordered) + 1:04}"
        self.books.ordered[reference] = (card, amount)
        self.insist("station", "order", self.books.uids[card], amount, reference)
        if fault is not None:
            with contextlib.suppress(Died):
                self.ask("station", "deliver", card, fault)
        self.insist("station", "deliver", card)

    def sell(self, card: str, amount: int, fault: tuple[int, str] | None = None) -> None:
        """The cashier taps the same card again until it is paid."""
        only_card: bytes | None = None
        for _ in range(_ATTEMPTS):
            try:
                answer = self.ask("till", "sell", card, amount, fault, only_card)
            except Died:
                self.books.errors.append("died")
                only_card = fault = None
                continue
            fault = None
            if not isinstance(answer, Refused):
                sequence, hash_, sold = answer
                if sold != amount:
                    msg = f"sold {sold} instead of {amount}"
                    raise Stuck(msg)
                self.books.paid.append((card, amount, sequence, hash_))
                return
            self.books.errors.append(answer.code)
            only_card = answer.in_doubt_uid
        msg = f"no sale to {card}: {self.books.errors[-_ATTEMPTS:]}"
        raise Stuck(msg)

    def sell_and_walk_away(self, card: str, amount: int, fault: tuple[int, str]) -> None:
        """The member leaves with the card while nobody knows whether it paid."""
        self.books.given_up.append((card, amount))
        try:
            answer = self.ask("till", "sell", card, amount, fault, None)
        except Died:
            self.books.errors.append("died")
            return
        if not isinstance(answer, Refused):
            msg = f"the torn sale went through: {answer}"
            raise Stuck(msg)
        self.insist("till", "give_up")

    def sync(self) -> None:
        sequence, hash_, _version, quarantined = self.insist("till", "sync")
        if quarantined:
            msg = f"{quarantined} vouchers in quarantine"
            raise Stuck(msg)
        self.books.acknowledged = (sequence, hash_)

    def block(self, card: str, *, blocked: bool) -> None:
        self.insist("station", "block" if blocked else "unblock", self.books.uids[card])
        self.books.blocked[card] = blocked

    def close_shift(self) -> None:
        """Close the open shift, unless that has been done by an attempt that died."""
        number, _ = self.insist("till", "shift")
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(Died):
                self.ask("till", "close_shift")
            if self.insist("till", "shift") == (number, False):
                return
        msg = "the shift does not close"
        raise Stuck(msg)

    def refuse_blocked(self, card: str) -> None:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(Died):
                answer = self.ask("till", "sell", card, 1_000, None, None)
                if isinstance(answer, Refused) and answer.code == "SALE-CARD-BLOCKED":
                    return
                msg = f"a blocked card was not refused: {answer}"
                raise Stuck(msg)
        msg = "the till keeps dying"
        raise Stuck(msg)

    def finish(self) -> None:
        """Every card is shown to the till, what is owed is delivered, everything is sent."""
        if not (self.site.data / "till.db").exists() or "till" not in self.enrolled():
            return
        self.actor("server")
        self.sync()
        for card in self.books.uids:
            self.insist("till", "balance", card)
            if not self.books.blocked.get(card):
                self.insist("station", "deliver", card)
        self.sync()

    def enrolled(self) -> set[str]:
        with contextlib.closing(Ledger(self.site.data / "till.db")) as ledger:
            return {"till"} if _has_identity(ledger) else set()


def _has_identity(ledger: Ledger) -> bool:
    engine = create_engine(f"sqlite:///{ledger.path}")
    with engine.connect() as connection:
        count: int = connection.execute(text("SELECT count(*) FROM identity")).scalar_one()
    engine.dispose()
    return bool(count)


# The oracles


def violations(site: Site, books: Books) -> list[str]:
    """Everything that is not as it must be once `World.finish` is through."""
    found: list[str] = []
    central = site.central()
    try:
        found += _central_violations(central, books)
        if books.uids:
            found += _money_violations(site, central, books)
        if books.paid or books.given_up:
            found += _chain_violations(site, central, books)
    finally:
        central.database.close()
    for database in sorted(site.data.glob("*.db")):
        found += _integrity(database)
    return found


def _central_violations(central: Central, books: Books) -> list[str]:
    found = []
    now = circulation(central)
    if now.difference.amount or now.suspense.amount:
        found.append(f"the ledger's sum is {now.difference}, in suspense {now.suspense}")
    if now.doubts_open or now.quarantined or now.rejected_batches:
        found.append(
            f"{now.doubts_open} doubts open, {now.quarantined} quarantined, "
            f"{now.rejected_batches} batches rejected"
        )
    found += [f"anomaly {row.kind}: {row.detail}" for row in anomaly_list(central)]
    with central.database.read() as connection:
        rows = connection.execute(
            select(pending_credits.c.idempotency_key, pending_credits).order_by(
                pending_credits.c.sequence
            )
        ).all()
        orders = {row.idempotency_key: row for row in rows}
        for reference, (card, amount) in books.ordered.items():
            row = orders.pop(reference, None)
            if row is None or row.card_uid != books.uids[card] or row.amount_rupiah != amount:
                found.append(f"the order {reference} is not kept as it was given: {row}")
            elif row.state != "delivered":
                found.append(f"the credit {reference} is {row.state}")
        found += [f"a credit that nobody ordered: {reference}" for reference in orders]
        registered = connection.execute(select(cards)).all()
        wanted = {(books.uids[card], member) for card, member in books.members.items()}
        got = {(bytes(row.uid), row.member_number) for row in registered}
        if got != wanted:
            found.append(f"cards registered: {got}, issued: {wanted}")
        for row in registered:
            name = next(card for card, uid in books.uids.items() if uid == row.uid)
            state = "blocked" if books.blocked.get(name) else "active"
            if row.state != state:
                found.append(f"card {name} is {row.state}, not {state}")
        used = connection.execute(
            select(func.count()).select_from(invitations).where(invitations.c.used_by.is_not(None))
        ).scalar_one()
        count = connection.execute(select(func.count()).select_from(terminals)).scalar_one()
        if used != count:
            found.append(f"{count} terminals of {used} invitations")
    return found


def _money_violations(site: Site, central: Central, books: Books) -> list[str]:
    """Each card: what it says, what the ledger says, what people were told, all alike."""
    found = []
    unsure_total = 0
    for card, uid in books.uids.items():
        on_card = card_balance(site, card)
        in_ledger = statement_of(central, uid).balance.amount
        ordered = sum(amount for name, amount in books.ordered.values() if name == card)
        shown = sum(amount for name, amount, *_ in books.paid if name == card)
        unsure = [amount for name, amount in books.given_up if name == card]
        possible = {ordered - shown}
        for amount in unsure:
            possible |= {balance - amount for balance in possible}
        unsure_total += ordered - shown - on_card
        if on_card != in_ledger or on_card not in possible:
            found.append(
                f"{card}: {on_card} on the card, {in_ledger} in the ledger, "
                f"topped up {ordered}, shown as paid {shown}, never shown {unsure}"
            )
    now = circulation(central)
    paid = sum(amount for _, amount, *_ in books.paid) + unsure_total
    if now.paid_to_outlets.amount != paid:
        found.append(f"the outlets have {now.paid_to_outlets}, paid was {paid}")
    with central.database.read() as connection:
        gaps = connection.execute(
            select(card_transactions.c.card_uid)
            .group_by(card_transactions.c.card_uid)
            .having(func.count() != func.max(card_transactions.c.counter))
        ).all()
    found += [f"transactions of {bytes(row.card_uid).hex()} are missing" for row in gaps]
    return found


def _chain_violations(site: Site, central: Central, books: Books) -> list[str]:
    found = []
    with contextlib.closing(Ledger(site.data / "till.db")) as ledger:
        who = ledger.identity()
        encoded = ledger.vouchers_from(1, 100_000)
        state = ledger.sync_state()
        doubts = ledger.doubts()
        open_intent = ledger.open_intent()
    for one in encoded:
        verify_voucher(one, who.public_key)
    genesis = genesis_hash(who.terminal_id, who.public_key)
    chain = list(follow_chain(encoded, who.terminal_id, 1, genesis))
    hashes = {voucher.link.sequence: hash_ for voucher, hash_ in chain}
    with central.database.read() as connection:
        kept = {
            row.sequence: bytes(row.hash)
            for row in connection.execute(
                select(central_vouchers).where(central_vouchers.c.terminal_id == who.terminal_id)
            )
        }
    if kept != hashes:
        found.append(f"the server has vouchers {sorted(kept)}, the till {sorted(hashes)}")
    if doubts or open_intent is not None:
        found.append(f"still in doubt at the till: {len(doubts)}, open: {open_intent is not None}")
    sequence, hash_ = books.acknowledged
    if state.acknowledged_sequence < sequence or (sequence and hashes.get(sequence) != hash_):
        found.append(f"{sequence} was acknowledged, and is not any more")
    sales = {v.link.sequence for v, _ in chain if isinstance(v, SaleVoucher)}
    sales |= {
        v.resolves
        for v, _ in chain
        if isinstance(v, ResolutionVoucher) and v.outcome is Outcome.PAID
    }
    shown = [sequence for _, _, sequence, _ in books.paid]
    if len(set(shown)) != len(shown):
        found.append(f"one sale was shown as paid for two: {shown}")
    if not set(shown) <= sales:
        found.append(f"shown as paid and missing: {sorted(set(shown) - sales)}")
    if not {hash_ for *_, hash_ in books.paid} <= set(hashes.values()):
        found.append("a receipt names a voucher that is not there")
    return found


def card_balance(site: Site, card: str) -> int:
    """As the card says it."""
    reader = SimulatedReader(SimulatedCard.load(site.card_file(card)))
    keys = site.keys
    issuer = keys.central.public_key("card-issuer")
    return Purse(reader.connect(), keys.central, issuer).read().balance.amount


def _integrity(database: Path) -> list[str]:
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        answers = list(connection.execute(text("PRAGMA integrity_check")).scalars())
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
    engine.dispose()
    return [] if answers == ["ok"] and not broken else [f"{database.name}: {answers} {broken}"]


Step = Callable[[World], None]
