"""A cooperative with staff, sellers and their accounts, in which settlement runs can be made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import event

from dobmi.central.database import Database
from dobmi.central.days import close_days
from dobmi.central.fee_rules import decide_fee_rule, propose_fee_rule
from dobmi.central.fees import FeeRule
from dobmi.central.ingest import take_batch
from dobmi.central.owed import Position, positions
from dobmi.central.payment_file import PaymentOrder
from dobmi.central.schema import StaffRole
from dobmi.central.seller_accounts import BankAccount, decide_account, propose_account
from dobmi.central.settlement_run import (
    Run,
    approve_run,
    export_run,
    mark_paid,
    propose_run,
    withdraw_run,
)
from dobmi.central.staff import add_staff
from dobmi.money import Rupiah
from dobmi.wib import day_of
from support.traffic import START, ModelCard, ModelTill, World

DAY = 24 * 3600
PROPOSER, APPROVER, BOTH = "Ani", "Budi", "Citra Dewi"
PAYER = BankAccount(
    bank="Bank BMI", bank_code="BMRIIDJA", account="1230004567890", holder="Koperasi BMI"
)


class Crashed(Exception):
    """The process ends in the middle of a transaction."""


@dataclass
class Payday:
    """A world whose clock is moved by hand, with one card that has money enough."""

    world: World
    clock: list[int] = field(default_factory=lambda: [START])
    tills: dict[str, ModelTill] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clock = self.clock
        self.world.central = dataclasses.replace(self.world.central, unix_seconds=lambda: clock[0])
        for name, roles in (
            (PROPOSER, [StaffRole.PROPOSER]),
            (APPROVER, [StaffRole.APPROVER]),
            (BOTH, list(StaffRole)),
        ):
            add_staff(self.database, name, roles, self.now)
        self.cards: list[ModelCard] = self.world.make_cards(100, 2)
        station = self.world.till("Kantor", name="Loket")
        for card in self.cards:
            self.world.top_up(station, card, Rupiah(2_000_000))

    @property
    def database(self) -> Database:
        return self.world.central.database

    @property
    def now(self) -> int:
        return self.clock[0]

    @property
    def today(self) -> date:
        return day_of(self.now)

    @property
    def yesterday(self) -> date:
        return self.today - timedelta(days=1)

    def next_day(self) -> None:
        """The one before is closed."""
        self.clock[0] += DAY
        close_days(self.world.central, self.now)

    def seller(self, name: str, *, account: bool = True) -> None:
        self.tills[name] = self.world.till(name)
        if account:
            self.give_account(name)

    def give_account(self, name: str, number: str = "0012345678") -> None:
        account = BankAccount(
            bank="Bank Jateng", bank_code="113", account=number, holder=f"PT {name}"
        )
        made = propose_account(self.database, name, account, PROPOSER, self.now)
        decide_account(self.database, name, made.number, APPROVER, self.now, accepted=True)

    def set_fee(self, seller: str | None, rule: FeeRule) -> None:
        """Proposed by one, accepted by another."""
        made = propose_fee_rule(self.database, seller, rule, PROPOSER, self.now)
        decide_fee_rule(self.database, seller, made.number, APPROVER, self.now, accepted=True)

    def sell(self, name: str, rupiah: int, *, send: bool = True) -> int:
        """The sale's number at its till."""
        till = self.tills[name]
        till.sell(self.cards[0], Rupiah(rupiah))
        if send:
            self.send(name)
        return len(till.vouchers)

    def refund(self, name: str, sale: int, rupiah: int) -> None:
        self.tills[name].refund(self.cards[0], sale, Rupiah(rupiah))
        self.send(name)

    def send(self, name: str) -> None:
        till = self.tills[name]
        if till.send_from <= len(till.vouchers):
            take_batch(self.world.central, till.batch())

    def propose(self, cut_off: date | None = None, by: str = PROPOSER) -> Run:
        return propose_run(self.database, cut_off or self.yesterday, by, self.now)

    def approve(self, run: int, by: str = APPROVER) -> Run:
        return approve_run(self.database, run, by, self.now)

    def export(self, run: int, payer: BankAccount = PAYER) -> PaymentOrder:
        return export_run(self.database, run, PROPOSER, self.now, payer)

    def paid(self, run: int, reference: str = "TRF-1") -> Run:
        return mark_paid(self.database, run, PROPOSER, reference, self.now)

    def withdraw(self, run: int, by: str = APPROVER, reason: str = "salah") -> Run:
        return withdraw_run(self.database, run, by, reason, self.now)

    def pay(self, cut_off: date | None = None) -> Run:
        """All steps of a run."""
        number = self.propose(cut_off).number
        self.approve(number)
        self.export(number)
        return self.paid(number)

    def position(self, name: str) -> Position:
        return next(one for one in positions(self.database) if one.seller == name)

    @contextmanager
    def crash_at(self, statement: int) -> Iterator[None]:
        """The process ends before it sends that statement (from 0), or never if there are fewer."""
        left = [statement]

        def count(*_: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crashed

        event.listen(self.database.engine, "before_cursor_execute", count)
        try:
            yield
        finally:
            event.remove(self.database.engine, "before_cursor_execute", count)
