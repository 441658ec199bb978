"""The people around the processes, and what must be true when they have finished.

A `World` keeps the processes running: whichever dies is started again at once, as systemd does it.
A clerk or cashier who gets no answer does the natural next thing: the same again.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from dobmi.cardlib.purse import Purse
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.fleet.crash_actors import COMMIT, Actor, Died, Orders, Refused, Site, Stopped
from dobmi.terminal.ledger import Ledger

_ANSWER_SECONDS = 30.0
_ATTEMPTS = 6
_PAUSE_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0
_COMMAND_SECONDS = 2
"""How long each thing that people do takes, by the site's clock."""
_MONTH_SECONDS = 31 * 24 * 3600
_TILL_IS_SHUT_OUT = "CENTRAL-TERMINAL-BLOCKED"


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
    refunded: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    """Promised back: card, amount, sequence, voucher hash."""
    salaries: list[tuple[str, int]] = field(default_factory=list)
    """Card and amount of what came out of a salary."""
    paired: int | None = None
    """The number of the machine that was paired, as it was told."""
    acknowledged: tuple[int, bytes] = (0, b"")
    blocked: dict[str, bool] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """Card: the one that its member is to have instead."""
    anomalies: set[str] = field(default_factory=set)
    """The kinds that there may be: somebody did what no honest card or till does."""
    rejected: int = 0
    """Batches that the server refused and must have kept."""
    errors: list[str] = field(default_factory=list)
    """What people saw go wrong on the way, by code."""

    def copy(self) -> Books:
        copied = copy.deepcopy(self)
        copied.errors = []
        return copied

    def in_use(self) -> list[str]:
        """Cards that somebody has in the hand."""
        return [card for card in self.uids if card not in self.lost]

    def cards_of(self, card: str) -> set[str]:
        """It, and the lost cards that it is there instead of."""
        return {card} | {lost for lost, new in self.lost.items() if new == card}

    def told_sales(self) -> set[int]:
        return {sequence for _, _, sequence, _ in self.paid}

    def told_refunds(self) -> set[int]:
        return {sequence for _, _, sequence, _ in self.refunded}


@dataclass(slots=True)
class World:
    """The processes on one site, and the books."""

    site: Site
    books: Books
    orders: dict[str, Orders] = field(default_factory=dict)
    actors: dict[str, Actor] = field(default_factory=dict)
    cashier_taps_again: bool = False
    """Also when the till, started again, has just said that the sale was paid."""

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
            found = Actor(name, self.site, self.orders.setdefault(name, Orders()))
            self.actors[name] = found
            found.start()
            self._look_at(name)
        return found

    def _look_at(self, name: str) -> None:
        """The cashier reads what a till says that has just started."""
        if name != "till":
            return
        sales, refunds = self.ask("till", "not_shown")
        self.untold_sales = [one for one in sales if one[2] not in self.books.told_sales()]
        self.untold_refunds = [one for one in refunds if one[2] not in self.books.told_refunds()]

    untold_sales: list[tuple[bytes, int, int, bytes]] = field(default_factory=list)
    """UID, amount, sequence and hash of sales that were paid, as the till said when it started."""
    untold_refunds: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Likewise: sale, amount, sequence and hash."""

    def stop(self, name: str) -> None:
        """In order. Should it die of that, it is as well."""
        actor = self.actors.pop(name, None)
        if actor is None:
            return
        try:
            self.stopped.setdefault(name, Stopped()).add(actor.stop())
        except Died:
            actor.buried()
        if actor.deaths:
            self.died.add(name)

    stopped: dict[str, Stopped] = field(default_factory=dict)
    """By name: of those that were stopped in order."""
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
        self.site.pass_time(_COMMAND_SECONDS)
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
            self._look_at(name)
            raise

    def insist(self, name: str, command: str, *arguments: Any, until: str = "") -> Any:
        """Again and again until it is done, or refused with the code `until`. Raises Stuck."""
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
            self.books.errors.append(answer.said)
            if until in {answer.code, answer.problem} and until:
                return answer
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

    def pair(self) -> None:
        """A machine is refused, asks again, and is taken in by its code."""
        self.insist("office", "refuse_pairing", self.insist("kiosk", "pair"))
        self.insist("kiosk", "ask", until="PAIRING-REFUSED")
        code = self.insist("kiosk", "pair")
        self.insist("kiosk", "ask")
        reply = self.insist("office", "approve_pairing", code)
        self.books.paired = self.insist("kiosk", "finish", reply)

    def issue(self, card: str, member: int, fault: tuple[int, str] | None = None) -> None:
        self.books.members[card] = member
        holder = f"Anggota {member}"
        if fault is not None:
            with contextlib.suppress(Died):
                self.ask("station", "issue", card, member, holder, fault)
        self.books.uids[card] = self.insist("station", "issue", card, member, holder, None)

    def top_up(self, card: str, amount: int, fault: tuple[int, str] | None = None) -> None:
        self._order(card, amount)
        self.deliver(card, fault)

    def sell(self, card: str, amount: int, fault: tuple[int, str] | None = None) -> None:
        """The cashier taps the same card again until it is paid."""
        only_card: bytes | None = None
        for _ in range(_ATTEMPTS):
            try:
                answer = self.ask("till", "sell", card, amount, fault, only_card)
            except Died:
                self.books.errors.append("died")
                only_card = fault = None
                told = self._told_of(card, amount)
                if told is not None:
                    self.books.paid.append((card, amount, *told))
                    return
                continue
            fault = None
            if not isinstance(answer, Refused):
                sequence, hash_, sold = answer
                if sold != amount:
                    msg = f"sold {sold} instead of {amount}"
                    raise Stuck(msg)
                self.books.paid.append((card, amount, sequence, hash_))
                return
            self.books.errors.append(answer.said)
            only_card = answer.in_doubt_uid
        msg = f"no sale to {card}: {self.books.errors[-_ATTEMPTS:]}"
        raise Stuck(msg)

    def _told_of(self, card: str, amount: int) -> tuple[int, bytes] | None:
        """Sequence and hash, if the till says that this sale was paid and the cashier heeds it."""
        for uid, paid, sequence, hash_ in self.untold_sales:
            if (uid, paid) == (self.books.uids[card], amount) and not self.cashier_taps_again:
                return sequence, hash_
        return None

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

    def refund(self, amount: int, *, of: int = -1) -> None:
        """Promise `amount` of a sale back; `of` is its place in the books."""
        card, _, sale, _ = self.books.paid[of]
        for _ in range(_ATTEMPTS):
            try:
                answer = self.ask("till", "refund", sale, amount)
            except Died:
                self.books.errors.append("died")
                told = [one for one in self.untold_refunds if one[:2] == (sale, amount)]
                if told and not self.cashier_taps_again:
                    self.books.refunded.append((card, amount, *told[0][2:]))
                    return
                continue
            if not isinstance(answer, Refused):
                sequence, hash_, given = answer
                self.books.refunded.append((card, given, sequence, hash_))
                return
            self.books.errors.append(answer.said)
        msg = f"no refund of sale {sale}: {self.books.errors[-_ATTEMPTS:]}"
        raise Stuck(msg)

    def walk_away_and_decide(self, card: str, amount: int, fault: tuple[int, str]) -> None:
        """The same, and a supervisor says of it what a camera shows."""
        before = card_balance(self.site, card)
        self.sell_and_walk_away(card, amount, fault)
        outcome = "NOT_PAID" if card_balance(self.site, card) == before else "PAID"
        for sequence in self.insist("till", "doubts", self.books.uids[card]):
            self.insist("till", "decide", sequence, outcome, until="DECISION-NOT-IN-DOUBT")

    def deliver(self, card: str, fault: tuple[int, str] | None = None) -> None:
        if fault is not None:
            with contextlib.suppress(Died):
                self.ask("station", "deliver", card, fault)
        self.insist("station", "deliver", card)

    def rekey(self, card: str, fault: tuple[int, str] | None = None) -> None:
        if fault is not None:
            with contextlib.suppress(Died):
                self.ask("station", "rekey", card, fault)
        self.insist("station", "rekey", card)

    def renew_keys(self) -> None:
        """A new generation at the office; everybody is started again with it."""
        self.insist("office", "renew_keys")
        self.stop_all()
        self.site.ring()  # opened here, so that it is open in whatever is forked later
        self.actor("server")

    def shut_out_and_let_in(self) -> None:
        """The till is blocked with a sale unsent: what it sends is refused and kept."""
        till = self.insist("till", "terminal_id")
        self.insist("office", "shut_out", till)
        self.books.rejected += 1
        self.books.anomalies.add("rejected-batch")
        answer = self.insist("till", "sync", until=_TILL_IS_SHUT_OUT)
        if not isinstance(answer, Refused):
            msg = "a till that is shut out was let in"
            raise Stuck(msg)
        self.insist("office", "let_in", till)
        self.sync()

    def deliver_garbled(self, card: str, amount: int) -> None:
        """A relay changes what the card answers; the office settles the credit on the card's word."""
        self.books.anomalies |= {"wrong-card-mac", "credit-without-proof"}
        sequence = self._order(card, amount)
        with contextlib.suppress(Died):
            self.ask("station", "deliver_garbled", card)
        for _ in range(_ATTEMPTS):
            answer = self.insist("station", "deliver", card, until="CARD-TMAC")
            if not isinstance(answer, Refused):
                return
            self.insist(
                *("office", "settle_credit", self.books.uids[card], sequence),
                until="CENTRAL-CREDIT-NOT-IN-DOUBT",
            )
        msg = "the credit stays without proof"
        raise Stuck(msg)

    def deliver_to_old_copy(self, card: str, amount: int) -> None:
        """The card as it was when `copy_card` copied it, before its last credit."""
        self.books.anomalies.add("wrong-credit-state")
        self._order(card, amount)
        old = self._old_copy(card).stem
        answer = self.insist("station", "deliver", old, until="CENTRAL-CREDIT-STATE")
        if not isinstance(answer, Refused):
            msg = "the old copy got a credit"
            raise Stuck(msg)
        self.insist("station", "deliver", card)

    def copy_card(self, card: str) -> None:
        """Somebody who can clone a chip, some day: for `deliver_to_old_copy`."""
        shutil.copy(self.site.card_file(card), self._old_copy(card))

    def _old_copy(self, card: str) -> Path:
        return self.site.card_file(f"{card}-lama")

    def _order(self, card: str, amount: int) -> int:
        reference = f"kwitansi-{len(self.books.ordered) + 1:04}"
        self.books.ordered[reference] = (card, amount)
        sequence: int = self.insist("station", "order", self.books.uids[card], amount, reference)
        return sequence

    def lose(self, card: str, new: str) -> None:
        """With a credit of which nobody knows whether it arrived, and one that never went out."""
        self._order(card, 15_000)
        with contextlib.suppress(Died):
            self.ask("station", "deliver", card, (COMMIT, "after"))
        self._order(card, 5_000)
        self.books.lost[card] = new
        self.insist("station", "replace", self.books.uids[card])
        self.sync()
        self.sync()

    def replace(self, card: str, fault: tuple[int, str]) -> None:
        """Another card for the member, torn as it is issued, and the lost one's money on it."""
        new = self.books.lost[card]
        self.issue(new, self.books.members[card], fault)
        self.deliver(new)

    def month_passes(self, *, by: str = "settle") -> None:
        """And the office settles by rule what is still in doubt."""
        self.stop_all()
        self.site.pass_time(_MONTH_SECONDS)
        self.actor("server")
        self.sync()
        self.insist("office", by)
        self.insist("office", "reconcile")

    def payday(self, card: str, amount: int) -> None:
        """Salaries, cash to the bank, and the seller paid by the second run, the first withdrawn."""
        self.insist("office", "periodic")
        for command in ("staff", "partner", "fee_rule", "bank_all_cash", "take_finding"):
            self.insist("office", command)
        self.books.salaries.append((card, amount))
        self.insist("office", "salary", self.books.members[card], amount)
        self.deliver(card)
        self.insist("office", "seller_account", "Toko till")
        self.insist("office", "withdraw", self.insist("office", "propose"))
        self.insist("office", "pay", self.insist("office", "propose"))

    def outlet(self, card: str) -> None:
        """The outlet's catalogue, staff, orders and members, told to the till and asked for again."""
        member = self.books.members[card]
        self.insist("office", "stock")
        self.insist("office", "hire", member)
        self.insist("office", "order", 501, member)
        self.insist("office", "note", member)
        self.sync()
        self.insist("office", "dismiss")
        self.sync()
        items, staff, orders, faces, shifts = self.insist("office", "look_at_outlet")
        if (items, staff, orders, faces) != (["BRS5"], [], [501], 1):
            msg = f"the outlet has items {items}, staff {staff}, orders {orders}, {faces} photos"
            raise Stuck(msg)
        if not shifts or shifts != list(range(1, len(shifts) + 1)):
            msg = f"shifts {shifts} were reported"
            raise Stuck(msg)

    def work_a_shift(self, card: str) -> None:
        """A log-in, cash in, takeovers, a count, all under the names of a list; then another shift."""
        self.insist("office", "hire", self.books.members[card])
        self.sync()
        self.close_shift()
        self.insist("till", "new_shift")
        self.insist("till", "cash", 50_000, "uang kecil")
        self.insist("till", "take_turns", card)
        self.close_shift()
        self.insist("till", "new_shift")
        self.insist("office", "dismiss")
        self.sync()

    def serve_orders(self, card: str) -> None:
        """A cart put aside; one order paid and handed over, another cancelled; papers."""
        self.insist("office", "order", 502, self.books.members[card])
        self.sync()
        self.insist("till", "hold", "Rini")
        self.insist("till", "recall", "Rini")
        sale = self._pay_order(card, "halaman-1")
        for command in ("hand_over", "cancel_order"):
            self.insist("till", command, until="ORDER-ENDED")
        self.insist("till", "print_paper", sale)
        self.sync()

    def _pay_order(self, card: str, request: str) -> int:
        """Asked again under the same number, whoever died, until it is known to be paid."""
        for _ in range(_ATTEMPTS):
            try:
                answer = self.ask("till", "pay_order", card, request)
            except Died:
                self.books.errors.append("died")
                continue
            if not isinstance(answer, Refused):
                sequence, hash_, amount = answer
                self.books.paid.append((card, amount, sequence, hash_))
                return int(sequence)
            self.books.errors.append(answer.said)
            if answer.in_doubt_uid is not None:
                self.insist("till", "balance", card)
        msg = f"the order is not paid: {self.books.errors[-_ATTEMPTS:]}"
        raise Stuck(msg)

    def sell_by_wrong_clock(self, card: str, amount: int) -> None:
        """An hour ahead; then the machine's clock is put right, and the till's."""
        self.stop("till")
        self.site.put_ahead("till", 3600)
        self.sell(card, amount)
        self.stop("till")
        self.site.put_ahead("till", 0)
        self.insist("till", "reset_clock")

    def restore_backup(self, card: str, amount: int) -> None:
        """The server loses what was sent to it since last night; the till has it still."""
        self.sync()
        self.stop_all()
        _back_up(self.site)
        self.actor("server")
        self.sell(card, amount)
        self.sync()
        self.stop_all()
        _put_back(self.site)
        self.insist("office", "mark_restored")
        self.actor("server")
        self.sync()

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
        for lost, new in self.books.lost.items():
            if new not in self.books.uids:
                self.issue(new, self.books.members[lost])
        if self.books.lost:
            self.month_passes()
        for card in self.books.in_use():
            self.insist("till", "balance", card)
            if not self.books.blocked.get(card):
                self.insist("station", "deliver", card)
        self.sync()

    def enrolled(self) -> set[str]:
        with contextlib.closing(Ledger(self.site.data / "till.db")) as ledger:
            return {"till"} if _has_identity(ledger) else set()


def _back_up(site: Site) -> None:
    """A copy of the central database, which nobody has open."""
    if site.database_url:
        name = make_url(site.database_url).database
        _as_administrator(site, f'CREATE DATABASE "{name}_backup" TEMPLATE "{name}"')
        return
    backup = site.folder / "backup"
    backup.mkdir()
    for file in site.data.glob("central.db*"):
        shutil.copy(file, backup)


def _put_back(site: Site) -> None:
    if site.database_url:
        name = make_url(site.database_url).database
        _as_administrator(site, f'DROP DATABASE "{name}" WITH (FORCE)')
        _as_administrator(site, f'ALTER DATABASE "{name}_backup" RENAME TO "{name}"')
        return
    for file in site.data.glob("central.db*"):
        file.unlink()
    backup = site.folder / "backup"
    for file in backup.iterdir():
        shutil.copy(file, site.data)
    shutil.rmtree(backup)


def _as_administrator(site: Site, statement: str) -> None:
    url = make_url(site.database_url).set(database="postgres")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _has_identity(ledger: Ledger) -> bool:
    engine = create_engine(f"sqlite:///{ledger.path}")
    with engine.connect() as connection:
        count: int = connection.execute(text("SELECT count(*) FROM identity")).scalar_one()
    engine.dispose()
    return bool(count)


def card_balance(site: Site, card: str) -> int:
    """As the card says it."""
    reader = SimulatedReader(SimulatedCard.load(site.card_file(card)))
    ring = site.ring()
    issuer = ring.public_key("card-issuer")
    return Purse(reader.connect(), ring, issuer).read().balance.amount
