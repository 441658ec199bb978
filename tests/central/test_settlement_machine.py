"""Whatever is sold, given back, settled, withdrawn and crashed: each rupiah is owed, paid or a fee."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from dobmi.central.circulation import circulation
from dobmi.central.database import whole_sum
from dobmi.central.errors import SettlementProblem
from dobmi.central.fees import FeeRule
from dobmi.central.owed import dues, positions
from dobmi.central.posting_rules import Group, account_number
from dobmi.central.schema import RunState, postings
from dobmi.central.settlement_run import run_list
from dobmi.money import ZERO, Rupiah
from dobmi.wib import days_since_1970
from support.central_client import RING
from support.databases import Kind
from support.settling import APPROVER, BOTH, PROPOSER, Crashed, Payday
from support.traffic import World

NAMES = ("Toko Satu", "Warung Dua", "Kios Tiga")
SELLERS = st.sampled_from(NAMES)
PEOPLE = st.sampled_from((PROPOSER, APPROVER, BOTH))
CRASH = st.none() | st.integers(0, 25)


class Settling(RuleBasedStateMachine):
    """Three sellers, of whom one has no bank account at first."""

    kind = Kind.SQLITE

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="dobmi-settling-")
        self.payday = Payday(World.create(Path(self.folder.name), keys=RING, kind=self.kind))
        for name in NAMES:
            self.payday.seller(name, account=name != NAMES[2])
        self.sold: dict[str, int] = defaultdict(int)
        self.refunded: dict[str, int] = defaultdict(int)
        self.left: dict[tuple[str, int], int] = {}
        """What of each sale was not given back."""

    @rule(name=SELLERS, rupiah=st.integers(1, 20_000))
    def sell(self, name: str, rupiah: int) -> None:
        self.left[name, self.payday.sell(name, rupiah)] = rupiah
        self.sold[name] += rupiah

    @precondition(lambda self: any(self.left.values()))
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        name, sale = data.draw(st.sampled_from(sorted(key for key in self.left if self.left[key])))
        rupiah = data.draw(st.integers(1, self.left[name, sale]))
        self.payday.refund(name, sale, rupiah)
        self.left[name, sale] -= rupiah
        self.refunded[name] += rupiah

    @rule()
    def go_on_to_the_next_day(self) -> None:
        self.payday.next_day()

    @rule()
    def open_an_account(self) -> None:
        self.payday.give_account(NAMES[2])

    @rule(
        points=st.integers(0, 10_000),
        per_sale=st.integers(0, 500),
        minimum=st.integers(0, 3_000),
    )
    def set_a_fee(self, points: int, per_sale: int, minimum: int) -> None:
        made = FeeRule(
            from_day=days_since_1970(self.payday.today),
            basis_points=points,
            per_sale=Rupiah(per_sale),
            minimum=Rupiah(minimum),
        )
        with contextlib.suppress(SettlementProblem):
            self.payday.set_fee(None, made)

    @rule(by=PEOPLE, crash=CRASH)
    def propose(self, by: str, crash: int | None) -> None:
        with self.perhaps(crash):
            self.payday.propose(by=by)

    @rule(run=st.integers(1, 6), by=PEOPLE, crash=CRASH)
    def approve(self, run: int, by: str, crash: int | None) -> None:
        with self.perhaps(crash):
            self.payday.approve(run, by=by)

    @rule(run=st.integers(1, 6), crash=CRASH)
    def export(self, run: int, crash: int | None) -> None:
        with self.perhaps(crash):
            self.payday.export(run)

    @rule(run=st.integers(1, 6), crash=CRASH)
    def pay(self, run: int, crash: int | None) -> None:
        with self.perhaps(crash):
            self.payday.paid(run, f"TRF-{run}")

    @rule(run=st.integers(1, 6), crash=CRASH)
    def withdraw(self, run: int, crash: int | None) -> None:
        with self.perhaps(crash):
            self.payday.withdraw(run)

    @rule()
    def settle(self) -> None:
        with self.perhaps(None):
            self.payday.pay()

    @contextlib.contextmanager
    def perhaps(self, crash: int | None) -> Iterator[None]:
        """A step that the rules refuse, or in which the process ends, has done nothing."""
        with (
            contextlib.suppress(SettlementProblem, Crashed),
            self.payday.crash_at(10**9 if crash is None else crash),
        ):
            yield

    @invariant()
    def every_rupiah_is_owed_paid_or_a_fee(self) -> None:
        if not hasattr(self, "payday"):
            return
        runs = run_list(self.payday.database)
        alive = [run for run in runs if run.state is not RunState.WITHDRAWN]
        unsettled = {due.seller: due for due in dues(self.payday.database, self.payday.today)}
        bank = 0
        for one in positions(self.payday.database):
            if one.seller not in NAMES:
                continue
            sold, refunded = self.sold[one.seller], self.refunded[one.seller]
            assert (one.sold.amount, one.refunded.amount) == (sold, refunded)
            assert (one.paid + one.fees + one.owed).amount == sold - refunded
            assert one.paid >= ZERO
            paid, fees, in_runs, held = ZERO, ZERO, ZERO, ZERO
            ends = [0]
            for item in (i for run in alive for i in run.items if i.seller == one.seller):
                assert item.from_at == ends[-1]
                ends.append(item.to_at)
                held += item.sold - item.refunded
            for run in alive:
                for item in (i for i in run.items if i.seller == one.seller):
                    if run.state is RunState.PAID:
                        paid, fees = paid + item.net, fees + item.fee
                    else:
                        in_runs += item.net + item.fee
            assert (paid, fees, in_runs) == (one.paid, one.fees, one.in_runs)
            due = unsettled.get(one.seller)
            open_yet = ZERO if due is None else due.sold - due.refunded
            assert (held + open_yet).amount == sold - refunded
            assert one.owed == in_runs + open_yet
            bank += one.paid.amount
        with self.payday.database.read() as connection:
            in_bank = connection.execute(
                select(whole_sum(postings.c.amount_rupiah)).where(
                    postings.c.credit_account == account_number(Group.BANK)
                )
            ).scalar_one()
        assert in_bank == bank

    @invariant()
    def nothing_is_paid_on_one_persons_word(self) -> None:
        if not hasattr(self, "payday"):
            return
        for run in run_list(self.payday.database):
            by = {step.state: step.by for step in run.steps}
            assert by.get(RunState.APPROVED) != by[RunState.PROPOSED]
            assert RunState.PAID not in by or RunState.APPROVED in by

    def teardown(self) -> None:
        if not hasattr(self, "payday"):
            return
        try:
            assert circulation(self.payday.world.central).difference == ZERO
        finally:
            self.payday.world.close()
            self.folder.cleanup()


class SettlingOnPostgresql(Settling):
    kind = Kind.POSTGRESQL


TestSettling = Settling.TestCase
TestSettlingOnPostgresql = SettlingOnPostgresql.TestCase
TestSettling.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSettlingOnPostgresql.settings = settings(TestSettling.settings, max_examples=5)
