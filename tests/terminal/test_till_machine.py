"""P1, P2: whatever is sold, torn, crashed, given up and synced, in any order, no rupiah is lost.

Two tills, three cards, and the central server's own ingest. After every step the chains hold; at
the end every card is tapped once more, everything is synced, and three books must agree: the
cards', the tills' and the central server's.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from dobmi.cardlib.errors import CardError
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.feeds import make_feed
from dobmi.central.ingest import take_batch
from dobmi.central.overdue import settle_overdue
from dobmi.central.terminals import enrol as enrol_at
from dobmi.central.till_records import take_records
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.money import ZERO, Rupiah
from dobmi.sync.acknowledgement import verify_acknowledgement
from dobmi.sync.client import SyncClient, check_acknowledgement
from dobmi.sync.enrolment import encode_enrol_request, verify_enrolment
from dobmi.sync.feed import Feed, Held, verify_feed
from dobmi.sync.records import RecordsTaken, check_records_taken, verify_records_taken
from dobmi.sync.voucher import (
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
)
from dobmi.terminal.chain import Chain
from dobmi.terminal.errors import RefundRefused, SaleInDoubt, SaleRefused, StillInDoubt
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.synchronise import synchronise
from dobmi.terminal.till import Till
from support.servers import issued, new_central, till_invitation
from support.tills import RING, Bench, Crash, balance_of

START_BALANCE = 200_000
CARDS = 3
STEPS = [(Ledger, "record_intent"), (Ledger, "append_voucher"), (Chain, "write_in_doubt")]

tills = st.integers(0, 1)
which_card = st.integers(0, CARDS - 1)
amounts = st.sampled_from([500, 1_000, 7_500])


class DirectClient(SyncClient):
    """The client's checks without the HTTP between: what arrives is the server's own bytes."""

    def __init__(self, machine: TillMachine, terminal_id: int) -> None:
        self._machine = machine
        self._terminal_id = terminal_id

    def upload(self, batch: bytes, hash_at: object = None) -> object:  # type: ignore[override] # same checks
        ack = verify_acknowledgement(
            take_batch(self._machine.central, batch), RING.public_key("server")
        )
        assert callable(hash_at)
        check_acknowledgement(ack, batch, hash_at)
        return ack

    def fetch_feed(
        self,
        version_in_force: int,
        settled_since: int | None = None,
        acknowledged: int | None = None,
        held: Held | None = None,
    ) -> Feed:
        assert settled_since is not None
        assert acknowledged is not None
        assert held is not None
        asks = (self._terminal_id, settled_since)
        feed = make_feed(self._machine.central, version_in_force, asks, self._terminal_id)
        return verify_feed(feed, RING.public_key("server"), version_in_force, self._terminal_id)

    def send_records(self, message: bytes) -> RecordsTaken:
        answer = take_records(self._machine.central, message)
        taken = verify_records_taken(answer, RING.public_key("server"))
        check_records_taken(taken, message)
        return taken


class TillMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.time = 1_790_000_000
        self.central = new_central(self.folder, lambda: self.time)
        self.cards = [issued(self.central, START_BALANCE, number + 1) for number in range(CARDS)]
        self.benches = [self._enrolled(number) for number in (0, 1)]
        self.open: list[Till | None] = [None, None]

    def _enrolled(self, number: int) -> Bench:
        bench = Bench(self.folder, terminal_id=1000 + number, time=self.time)
        invitation = till_invitation(self.central, f"Kasir {number}")
        request = encode_enrol_request(
            invitation.code,
            bench.public_key,
            lambda message: bench.signing.sign("terminal", message),
        )
        enrolment = verify_enrolment(enrol_at(self.central, request), invitation, bench.public_key)
        ledger = Ledger(bench.database)
        ledger.store_identity(enrolment, self.time)
        ledger.close()
        return bench.start_shift()

    def _till(self, number: int) -> Till:
        till = self.open[number]
        if till is None:
            till = self.benches[number].open().__enter__()
            self.open[number] = till
        return till

    def _tick(self) -> None:
        self.time += 7
        for bench in self.benches:
            bench.time = self.time

    def _sell(self, number: int, card: SimulatedCard, amount: int) -> None:
        """As a cashier does who is told to tap again: paid at last, or refused with no doubt."""
        try:
            result = self._till(number).sell(Rupiah(amount))
        except (CardError, SaleRefused):
            return
        except StillInDoubt:
            return
        assert result.card_uid == card.uid
        assert result.amount == Rupiah(amount)

    @rule(number=tills, card=which_card, amount=amounts)
    def sell(self, number: int, card: int, amount: int) -> None:
        self._tick()
        self.benches[number].tap(self.cards[card])
        before = balance_of(self.cards[card])
        self._sell(number, self.cards[card], amount)
        assert before - balance_of(self.cards[card]) in {0, amount}

    @rule(
        number=tills,
        card=which_card,
        amount=amounts,
        frame=st.one_of(st.integers(0, 8), st.just(8)),
        moment=st.sampled_from(Moment),
        again=st.booleans(),
    )
    def torn_sale(  # noqa: PLR0917 - hypothesis gives them by name
        self, number: int, card: int, amount: int, frame: int, moment: Moment, again: bool
    ) -> None:
        self._tick()
        bench, tapped = self.benches[number], self.cards[card]
        before = balance_of(tapped)
        bench.tap(tapped, at_frame(frame, moment))
        doubt: SaleInDoubt | None = None
        try:
            self._till(number).sell(Rupiah(amount))
        except SaleInDoubt as error:
            doubt = error
        except CardError:
            doubt = None
        if again and doubt is not None and not isinstance(doubt, StillInDoubt):
            bench.tap(tapped)
            result = self._till(number).sell(Rupiah(amount), only_card=tapped.uid)
            assert result.amount == Rupiah(amount)
            assert before - balance_of(tapped) in {0, amount}

    @rule(number=tills, card=which_card)
    def read_balance(self, number: int, card: int) -> None:
        self._tick()
        self.benches[number].tap(self.cards[card])
        result = self._till(number).balance()
        assert result.balance.amount == balance_of(self.cards[card])

    @rule(number=tills)
    def restart(self, number: int) -> None:
        till, self.open[number] = self.open[number], None
        if till is not None:
            till.__exit__(None, None, None)

    @rule(
        number=tills,
        card=which_card,
        amount=amounts,
        step=st.sampled_from(STEPS),
        after=st.booleans(),
    )
    def power_cut(
        self, number: int, card: int, amount: int, step: tuple[type, str], after: bool
    ) -> None:
        self._tick()
        owner, name = step
        tapped = self.cards[card]
        self.benches[number].tap(tapped)
        till = self._till(number)
        with pytest.MonkeyPatch.context() as patch:
            original = getattr(owner, name)

            def dying(*args: object, **kwargs: object) -> object:
                if after:
                    original(*args, **kwargs)
                raise Crash

            patch.setattr(owner, name, dying)
            try:
                till.sell(Rupiah(amount))
            except Crash as crash:
                self.open[number] = None
                till.__exit__(Crash, crash, None)
            except (CardError, SaleRefused, StillInDoubt):
                return

    @rule(number=tills)
    def sync(self, number: int) -> None:
        self._tick()
        till = self._till(number)
        till.give_up()
        client = DirectClient(self, till.identity.terminal_id)
        synchronise(till.ledger, client, till._sign, till.clock)
        assert till.ledger.unsent().count == 0

    @rule(number=tills, back=st.integers(0, 3), part=st.sampled_from([None, 250, 600]))
    def refund(self, number: int, back: int, part: int | None) -> None:
        """Of one of the newest sales; refused if it was not paid, or nothing is left of it."""
        self._tick()
        till = self._till(number)
        sale = max(1, till.ledger.head().sequence - back)
        amount = None if part is None else Rupiah(part)
        left = till.ledger.intent(sale)
        try:
            result = till.refund(sale, amount, reason="kembali", supervisor="Ani")
        except RefundRefused:
            return
        assert left is not None
        assert result.refunded_total <= left.amount

    @rule(number=tills, outcome=st.sampled_from(Outcome))
    def decide(self, number: int, outcome: Outcome) -> None:
        """A supervisor closes the oldest sale in doubt, rightly or wrongly."""
        self._tick()
        till = self._till(number)
        till.give_up()
        for intent in till.ledger.doubts()[:1]:
            till.close_doubt(intent.sequence, outcome, supervisor="Ani", reason="dilihat sendiri")
            assert intent not in till.ledger.doubts()

    @rule()
    def settle_by_rule(self) -> None:
        """The office's nightly run, as if the configured days had passed."""
        later = int(self.time) + self.central.settings.settle_after_days * 24 * 3600
        settle_overdue(self.central, later)
        now = circulation(self.central)
        assert (now.doubts_open, now.difference.amount) == (0, 0)

    @rule(number=tills)
    def change_shift(self, number: int) -> None:
        """It is closed, and the next one opened at once, so that there is always one."""
        till = self._till(number)
        report = till.close_shift(ZERO)
        assert report.difference == ZERO
        till.open_shift()

    @invariant()
    def chains_hold_and_tills_account_for_what_the_cards_lost(self) -> None:
        if not hasattr(self, "benches"):
            return
        lost = CARDS * START_BALANCE - sum(balance_of(card) for card in self.cards)
        paid = doubtful = 0
        for bench in self.benches:
            sure, unsure = self._books(bench)
            paid += sure
            doubtful += unsure
        assert paid <= lost <= paid + doubtful

    def _books(self, bench: Bench) -> tuple[int, int]:
        """(paid, in doubt) by the till's chain, with the intent that has no voucher yet."""
        chain = bench.chain()
        doubts = {
            voucher.link.sequence: voucher.intent.amount.amount
            for voucher in chain
            if isinstance(voucher, InDoubtVoucher)
        }
        paid = sum(one.intent.amount.amount for one in chain if isinstance(one, SaleVoucher))
        for voucher in chain:
            if isinstance(voucher, ResolutionVoucher):
                amount = doubts.pop(voucher.resolves)
                paid += amount if voucher.outcome is Outcome.PAID else 0
        ledger = Ledger(bench.database)
        open_intent = ledger.open_intent()
        ledger.close()
        return paid, sum(doubts.values()) + (open_intent.amount.amount if open_intent else 0)

    def teardown(self) -> None:
        if not hasattr(self, "benches"):
            return
        try:
            self._settle_everything()
        finally:
            for number in (0, 1):
                self.restart(number)
            self.central.database.close()
            shutil.rmtree(self.folder)

    def _settle_everything(self) -> None:
        for number in (0, 1):
            for index in range(CARDS):
                self.read_balance(number, index)
            self.sync(number)
        now = circulation(self.central)
        assert now.difference.amount == 0
        assert (now.quarantined, now.doubts_open, now.suspense.amount) == (0, 0, 0)
        refunded = sum(
            voucher.amount.amount
            for bench in self.benches
            for voucher in bench.chain()
            if isinstance(voucher, RefundVoucher)
        )
        assert now.in_flight.amount == refunded
        for card in self.cards:
            statement = statement_of(self.central, card.uid)
            assert statement.balance.amount == balance_of(card)


TestTillMachine = TillMachine.TestCase
TestTillMachine.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
