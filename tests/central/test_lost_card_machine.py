"""P1 with lost cards: whatever finder, member and tills do, nobody's money is made or lost.

A member's cards are lost and replaced while tills sell on with the old ones until they have the
block. As long as no till is given up on by rule, the cooperative loses nothing by a replacement.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_session import note_attempt
from dobmi.central.ingest import take_batch
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.terminals import note_feed
from dobmi.money import ZERO, Rupiah
from support.central_client import RING
from support.databases import Kind
from support.traffic import START, ModelCard, ModelTill, World

TILLS = st.integers(0, 1)
AMOUNTS = st.integers(1, 5_000).map(Rupiah)
MEMBER = 4711
DAY = 24 * 3600


@dataclass
class Place:
    """A till and the version of the block list it has in force."""

    till: ModelTill
    version: int = 0
    sales: list[tuple[int, ModelCard, Rupiah]] = field(default_factory=list)


class Losing(RuleBasedStateMachine):
    kind = Kind.SQLITE

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="dobmi-lost-")
        self.clock = [START]
        world = World.create(Path(self.folder.name), keys=RING, kind=self.kind)
        world.central = replace(world.central, unix_seconds=lambda: self.clock[0])
        self.world = world
        self.places = [Place(world.till("Toko Satu")), Place(world.till("Toko Dua"))]
        self.station = world.station()
        self.cards = [world.card(MEMBER)]
        self.blocked_at: list[int] = []
        self.issued = 0
        self.sold = 0
        self.refunded = 0
        self.by_rule = False
        self.top_up(Rupiah(200_000))

    @property
    def version(self) -> int:
        return len(self.blocked_at)

    def _takes(self, place: Place, which: int) -> ModelCard | None:
        """The member's card `which`, if that till still takes it and there is money on it."""
        card = self.cards[which % len(self.cards)]
        number = which % len(self.cards)
        if number < len(self.blocked_at) and place.version >= self.blocked_at[number]:
            return None
        return card if card.balance > Rupiah(10_000) else None

    @rule(number=TILLS, which=st.integers(0, 3), amount=AMOUNTS)
    def sell(self, number: int, which: int, amount: Rupiah) -> None:
        place = self.places[number]
        card = self._takes(place, which)
        if card is not None:
            sale = place.till.sell(card, amount)
            place.sales.append((sale.link.sequence, card, amount))
            self.sold += amount.amount

    @rule(number=TILLS, which=st.integers(0, 3), amount=AMOUNTS, committed=st.booleans())
    def lose_the_answer(self, number: int, which: int, amount: Rupiah, committed: bool) -> None:
        place = self.places[number]
        card = self._takes(place, which)
        if card is not None:
            place.till.doubt(card, amount, committed=committed)
            self.sold += amount.amount if committed else 0

    @rule(number=TILLS, data=st.data())
    def refund(self, number: int, data: st.DataObject) -> None:
        place = self.places[number]
        if place.sales:
            index = data.draw(st.integers(0, len(place.sales) - 1))
            sequence, card, amount = place.sales.pop(index)
            place.till.refund(card, sequence, amount)
            self.refunded += amount.amount

    @rule(amount=AMOUNTS)
    def top_up(self, amount: Rupiah) -> None:
        card = self.cards[-1]
        if not statement_of(self.world.central, card.uid).credits_waiting:
            self.world.top_up(self.station, card, amount)
            self.issued += amount.amount

    @rule(amount=AMOUNTS, committed=st.booleans())
    def lose_a_credits_answer(self, amount: Rupiah, committed: bool) -> None:
        card = self.cards[-1]
        if not statement_of(self.world.central, card.uid).credits_waiting:
            staged = self.world.top_up_in_doubt(self.station, card, amount)
            self.issued += amount.amount
            if committed:
                card.commit(staged)

    @rule()
    def deliver(self) -> None:
        """What the member's newest card is owed, as far as nothing of it is in doubt."""
        card = self.cards[-1]
        for credit in statement_of(self.world.central, card.uid).credits_waiting:
            if credit.state != "pending":
                return
            staged = card.stage_credit(credit.sequence, credit.amount)
            assert note_attempt(self.world.central, credit, staged.evidence)
            self.world.deliver_credit(credit, staged, *card.commit(staged))

    @precondition(lambda self: len(self.cards) < 4)
    @rule()
    def lose_the_card(self) -> None:
        self.blocked_at.append(self.version + 1)
        replace_card(self.world.central, self.cards[-1].uid, "hilang", by_terminal=None)
        self.cards.append(self.world.another_card(MEMBER, edition=len(self.cards)))

    @rule(number=TILLS)
    def sync(self, number: int) -> None:
        place = self.places[number]
        self._report(place)
        note_feed(self.world.central, place.till.terminal_id, place.version)
        restore_due(self.world.central)
        place.version = self.version

    def _report(self, place: Place) -> None:
        while place.till.send_from <= len(place.till.vouchers):
            take_batch(self.world.central, place.till.batch())

    @invariant()
    def the_ledger_adds_up(self) -> None:
        if not hasattr(self, "world"):
            return
        now = circulation(self.world.central)
        assert now.difference == ZERO
        assert now.issued == Rupiah(self.issued)
        assert now.quarantined == 0
        if not self.by_rule:
            assert now.suspense >= ZERO

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.settle_everything()
        finally:
            self.world.close()
            self.folder.cleanup()

    def settle_everything(self) -> None:
        """Every card is tapped once more, at a till that knows no block; everything is reported."""
        for card in self.cards:
            if card.balance > ZERO:
                self.places[0].till.sell(card, Rupiah(1))
                self.sold += 1
        for _ in range(3):
            for number in range(2):
                self.sync(number)
        central = self.world.central
        now = circulation(central)
        assert now.owed_to_outlets == Rupiah(self.sold - self.refunded)
        assert now.doubts_open == 0
        shortfall = ZERO
        for card in self.cards[:-1]:
            statement = statement_of(central, card.uid)
            assert statement.balance == ZERO
            assert statement.replacement is not None
            shortfall += statement.replacement.shortfall
        newest = self.cards[-1]
        assert statement_of(central, newest.uid).balance == newest.balance
        assert now.suspense == -shortfall
        waiting = statement_of(central, newest.uid).credits_waiting
        assert now.in_flight == sum((credit.amount for credit in waiting), ZERO)


class GivingUpOnTills(Losing):
    """Now and then a month passes, and the money is restored by rule."""

    @precondition(lambda self: self.blocked_at)
    @rule()
    def wait_for_a_month(self) -> None:
        self.clock[0] += 31 * DAY
        self.by_rule = bool(restore_due(self.world.central)) or self.by_rule


_BOUNDED = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class LosingOnPostgresql(Losing):
    kind = Kind.POSTGRESQL


class GivingUpOnTillsOnPostgresql(GivingUpOnTills):
    kind = Kind.POSTGRESQL


TestLostCards = Losing.TestCase
TestLostCardsAndTillsThatStayAway = GivingUpOnTills.TestCase
TestLostCardsOnPostgresql = LosingOnPostgresql.TestCase
TestLostCardsAndTillsThatStayAwayOnPostgresql = GivingUpOnTillsOnPostgresql.TestCase
TestLostCards.settings = TestLostCardsAndTillsThatStayAway.settings = _BOUNDED
for _case in (TestLostCardsOnPostgresql, TestLostCardsAndTillsThatStayAwayOnPostgresql):
    _case.settings = settings(_BOUNDED, max_examples=10)
