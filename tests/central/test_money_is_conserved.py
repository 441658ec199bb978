"""P1 and P2 against a model: whatever is lost, repeated or reordered, the ledger ends as the cards."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select

from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_session import note_attempt
from dobmi.central.ingest import take_batch
from dobmi.central.schema import anomalies
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import Outcome
from support.central_client import RING
from support.databases import Kind
from support.traffic import ModelCard, ModelTill, Staged, World

CARDS = st.integers(0, 2)
TILLS = st.integers(0, 1)
AMOUNTS = st.integers(1, 5_000).map(Rupiah)


@dataclass
class Doubt:
    till: ModelTill
    card: ModelCard
    sequence: int
    counter: int
    mac: bytes


class Trade(RuleBasedStateMachine):
    """Three cards, two tills that report when they like, one station."""

    kind = Kind.SQLITE

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="dobmi-trade-")
        self.world = World.create(Path(self.folder.name), keys=RING, kind=self.kind)
        self.tills = [self.world.till("Toko Satu"), self.world.till("Toko Dua")]
        self.station = self.world.station()
        self.cards = self.world.make_cards(100, 3)
        for card in self.cards:
            self.world.top_up(self.station, card, Rupiah(200_000))
        self.issued = 600_000
        self.sold = 0
        self.doubts: list[Doubt] = []
        self.batches: list[tuple[bytes, bytes]] = []
        self.lost_credits: dict[bytes, Staged] = {}

    @rule(till=TILLS, card=CARDS, amount=AMOUNTS)
    def sell(self, till: int, card: int, amount: Rupiah) -> None:
        self.tills[till].sell(self.cards[card], amount)
        self.sold += amount.amount

    @rule(till=TILLS, card=CARDS, amount=AMOUNTS, committed=st.booleans())
    def lose_the_answer(self, till: int, card: int, amount: Rupiah, committed: bool) -> None:
        sender, holder = self.tills[till], self.cards[card]
        counter, mac = sender.doubt(holder, amount, committed=committed)
        self.doubts.append(Doubt(sender, holder, len(sender.vouchers), counter, mac))
        self.sold += amount.amount if committed else 0

    @rule(till=TILLS, card=CARDS, amount=AMOUNTS)
    def void(self, till: int, card: int, amount: Rupiah) -> None:
        self.tills[till].void(self.cards[card], amount)

    @precondition(lambda self: self.doubts)
    @rule(data=st.data())
    def tap_again(self, data: st.DataObject) -> None:
        """The till tells what the card's log and last MAC say."""
        doubt = self.doubts.pop(data.draw(st.integers(0, len(self.doubts) - 1)))
        if not doubt.counter:
            doubt.till.resolve(doubt.card, doubt.sequence, Outcome.NOT_PAID)
        elif doubt.card.counter == doubt.counter:
            doubt.till.resolve(doubt.card, doubt.sequence, Outcome.PAID, doubt.counter, doubt.mac)
        else:
            doubt.till.resolve(doubt.card, doubt.sequence, Outcome.PAID)

    @rule(card=CARDS, amount=AMOUNTS)
    def top_up(self, card: int, amount: Rupiah) -> None:
        holder = self.cards[card]
        if not statement_of(self.world.central, holder.uid).credits_waiting:
            self.world.top_up(self.station, holder, amount)
            self.issued += amount.amount

    @rule(card=CARDS, amount=AMOUNTS, committed=st.booleans())
    def lose_a_credits_answer(self, card: int, amount: Rupiah, committed: bool) -> None:
        holder = self.cards[card]
        if statement_of(self.world.central, holder.uid).credits_waiting:
            return
        staged = self.world.top_up_in_doubt(self.station, holder, amount)
        self.issued += amount.amount
        if committed:
            holder.commit(staged)
        else:
            self.lost_credits[holder.uid] = staged

    @precondition(lambda self: self.lost_credits)
    @rule(data=st.data())
    def deliver_a_credit_again(self, data: st.DataObject) -> None:
        """The card says that it has not got it."""
        uid = data.draw(st.sampled_from(sorted(self.lost_credits)))
        lost = self.lost_credits.pop(uid)
        holder = next(card for card in self.cards if card.uid == uid)
        (credit,) = statement_of(self.world.central, uid).credits_waiting
        staged = holder.stage_credit(lost.reader_id.sequence, lost.amount)
        note_attempt(self.world.central, credit, staged.evidence)
        self.world.deliver(holder, staged, *holder.commit(staged))

    @rule(till=TILLS, data=st.data())
    def report(self, till: int, data: st.DataObject) -> None:
        """A batch of what is new and of some that was sent before."""
        sender = self.tills[till]
        if not sender.vouchers:
            return
        first = data.draw(st.integers(1, min(sender.send_from, len(sender.vouchers))))
        last = data.draw(st.integers(first, len(sender.vouchers)))
        batch = sender.batch(first, last)
        self.batches.append((batch, take_batch(self.world.central, batch)))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        batch, answer = data.draw(st.sampled_from(self.batches))
        assert take_batch(self.world.central, batch) == answer

    @invariant()
    def the_ledger_adds_up(self) -> None:
        if not hasattr(self, "world"):
            return
        now = circulation(self.world.central)
        assert now.difference == ZERO
        assert now.issued == Rupiah(self.issued)
        assert now.suspense == ZERO
        assert now.quarantined == 0
        assert now.owed_to_outlets <= Rupiah(self.sold)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.settle_everything()
        finally:
            self.world.close()
            self.folder.cleanup()

    def settle_everything(self) -> None:
        """Each card is tapped once more and every till reports."""
        for card in self.cards:
            self.tills[0].sell(card, Rupiah(1))
            self.sold += 1
        for till in self.tills:
            while till.send_from <= len(till.vouchers):
                take_batch(self.world.central, till.batch())
        now = circulation(self.world.central)
        assert now.owed_to_outlets == Rupiah(self.sold)
        assert now.doubts_open == 0
        assert now.not_yet_reported == ZERO
        waiting = sum(staged.amount.amount for staged in self.lost_credits.values())
        assert now.in_flight == Rupiah(waiting)
        for card in self.cards:
            assert statement_of(self.world.central, card.uid).balance == card.balance
        with self.world.central.database.read() as connection:
            assert connection.execute(select(func.count()).select_from(anomalies)).scalar_one() == 0


class TradeOnPostgresql(Trade):
    kind = Kind.POSTGRESQL


TestMoneyIsConserved = Trade.TestCase
TestMoneyIsConservedOnPostgresql = TradeOnPostgresql.TestCase
TestMoneyIsConserved.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMoneyIsConservedOnPostgresql.settings = settings(TestMoneyIsConserved.settings, max_examples=12)
