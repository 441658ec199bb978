"""P1, P2 at the counter: whatever is asked, tapped, torn, given up and crashed, in any order.

One thread drives the counter's steps. After every step: what is shown as paid is in the ledger, a
request is charged once at most, and no card has paid more than the ledger knows of. At the end every
card is tapped once more, and what was spent is what was paid, to the rupiah.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dobmi.firmware_sim.faults import Fault, Moment, at_frame
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.money import Rupiah
from dobmi.terminal.chain import Chain
from dobmi.terminal.counter_board import Board
from dobmi.terminal.counter_state import (
    Acknowledge,
    AcknowledgeNotShown,
    AskBalance,
    AskLogin,
    AskRefund,
    AskSale,
    Cancel,
    CounterState,
    GiveUpDoubt,
    Phase,
)
from dobmi.terminal.counter_steps import CounterSteps, StepCommand
from dobmi.terminal.errors import CounterBusy, CounterFault
from dobmi.terminal.ledger import Ledger, SaleState
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.till import Till
from support.counters import new_id
from support.tills import Bench, Crash, another_holder, balance_of, card_with, crash_around

CARDS = 2
START = 50_000
STEPS_TO_REST = 12
CRASHES = [
    (Ledger, "record_intent"),
    (Ledger, "append_voucher"),
    (Chain, "write_sale"),
    (Ledger, "mark_shown"),
]

which_card = st.integers(0, CARDS - 1)
amounts = st.sampled_from([1_000, 7_500, 60_000])
tears = st.none() | st.tuples(st.integers(0, 10), st.sampled_from(Moment))


class QuickReader(SimulatedReader):
    """Nobody else moves its cards, so waiting is of no use."""

    def wait_for_card(self, _: float | None = None) -> bool:
        return super().wait_for_card(0)

    def wait_for_removal(self, _: float | None = None) -> bool:
        return super().wait_for_removal(0)


class CounterMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder, reader=QuickReader()).enrol()
        self.cards = [card_with(START, another_holder(4711 + number)) for number in range(CARDS)]
        self.asked: list[AskSale] = []
        self.paid: set[int] = set()
        """The sequences of the sales shown as paid."""
        self.sale_of: dict[str, int] = {}
        self.till: Till
        self._start()

    def _start(self) -> None:
        self.board = Board()
        self.board.watch(self._shown)
        self.steps = CounterSteps(self.board)
        self.till = self.bench.open().__enter__()
        self.steps.open(self.till)

    def _shown(self, state: CounterState) -> None:
        if state.phase is Phase.PAID:
            assert state.sale is not None
            assert self.till.ledger.sale_state(state.sale.sequence) is SaleState.PAID
            (asked,) = [one for one in self.asked if one.request == state.request]
            assert state.sale.amount == asked.purchase.amount
            assert self.sale_of.setdefault(asked.request, state.sale.sequence) == (
                state.sale.sequence
            )
            self.paid.add(state.sale.sequence)
        self.paid |= {one.sequence for one in state.not_shown}
        self.paid |= {one.sequence for one in state.settled if one.outcome is not None}

    def _rest(self) -> None:
        """Until nothing changes any more."""
        for _ in range(STEPS_TO_REST):
            self.steps.step(self.till)

    def _take(self, command: StepCommand) -> None:
        try:
            self.steps.take(self.till, command)
        except CounterBusy:
            assert self.board.state.phase.is_busy
        self._rest()

    @rule(amount=amounts)
    def ask_sale(self, amount: int) -> None:
        self.asked.append(AskSale(request=new_id(), purchase=Purchase(Rupiah(amount))))
        self._take(self.asked[-1])

    @rule(amount=amounts, number=which_card, tear=tears)
    def sell(self, amount: int, number: int, tear: tuple[int, Moment] | None) -> None:
        """As most sales go, so that the rest has something to go wrong with."""
        self._take(Acknowledge())
        self.ask_sale(amount)
        self.lift()
        self.tap(number, tear)

    @rule(back=st.integers(1, 3))
    def click_again(self, back: int) -> None:
        if len(self.asked) >= back:
            self._take(self.asked[-back])

    @rule(number=which_card, tear=tears)
    def tap(self, number: int, tear: tuple[int, Moment] | None) -> None:
        faults: list[Fault] = [] if tear is None else [at_frame(*tear)]
        self.bench.tap(self.cards[number], *faults)
        self._rest()

    @rule()
    def lift(self) -> None:
        self.bench.reader.remove()
        self._rest()

    @rule(command=st.sampled_from([Cancel(), GiveUpDoubt(), Acknowledge(), AcknowledgeNotShown()]))
    def press(self, command: StepCommand) -> None:
        self._take(command)

    @rule(login=st.booleans())
    def read(self, login: bool) -> None:
        self._take(AskLogin(request=new_id()) if login else AskBalance(request=new_id()))

    @rule(sequence=st.integers(1, 4))
    def refund(self, sequence: int) -> None:
        self._take(AskRefund(request=new_id(), sale=sequence, reason="rusak"))

    @rule(
        number=which_card,
        amount=amounts,
        where=st.sampled_from(CRASHES),
        after=st.booleans(),
        by_fault=st.booleans(),
    )
    def crash(
        self, number: int, amount: int, where: tuple[type, str], after: bool, by_fault: bool
    ) -> None:
        """In a sale; the program is started again, or only the till is opened anew."""
        owner, step = where
        original = getattr(owner, step)
        self.asked.append(AskSale(request=new_id(), purchase=Purchase(Rupiah(amount))))
        self.bench.reader.remove()
        try:
            crash_around(setattr, owner, step, after=after)
            self._take(self.asked[-1])
            self.bench.tap(self.cards[number])
            self._rest()
        except Crash:
            crashed = True
        else:
            crashed = False
        finally:
            setattr(owner, step, original)
        if crashed:
            self.bench.reader.remove()
            self._end_till(Crash())
            if by_fault:
                self.steps.let_go()
                self.steps.show_closed(CounterFault())
                self.till = self.bench.open().__enter__()
                self.steps.open(self.till)
            else:
                self._start()
            self._rest()

    @rule(number=which_card, asks_again=st.booleans())
    def restart(self, number: int, asks_again: bool) -> None:
        """The page that comes back asks again what it had asked, and somebody taps."""
        self._end_till(None)
        self.bench.reader.remove()
        self._start()
        self._rest()
        if asks_again and self.asked:
            self._take(self.asked[-1])
            self.bench.tap(self.cards[number])
            self._rest()

    def _end_till(self, error: BaseException | None) -> None:
        self.till.__exit__(None if error is None else type(error), error, None)

    @invariant()
    def what_was_spent_is_known(self) -> None:
        if not hasattr(self, "till"):
            return
        spent = CARDS * START - sum(map(balance_of, self.cards))
        paid, open_ = self._books()
        assert paid <= spent <= paid + open_

    @invariant()
    def a_request_is_charged_once(self) -> None:
        if not hasattr(self, "till"):
            return
        with self.till.ledger.connect() as connection:
            rows = connection.exec_driver_sql("SELECT request, sequence FROM sale_attempts").all()
        charged = [
            request
            for request, sequence in rows
            if self.till.ledger.sale_state(sequence) is SaleState.PAID
        ]
        assert len(charged) == len(set(charged))

    def _books(self) -> tuple[int, int]:
        """Paid, and not known yet, by the ledger."""
        totals = dict.fromkeys(SaleState, 0)
        ledger = self.till.ledger
        for sequence in range(1, ledger.head().sequence + 2):
            intent = ledger.intent(sequence)
            if intent is not None:
                totals[ledger.sale_state(sequence)] += intent.amount.amount
        return totals[SaleState.PAID], totals[SaleState.IN_DOUBT]

    def teardown(self) -> None:
        if not hasattr(self, "till"):
            return
        try:
            self._take(Cancel())
            self._take(GiveUpDoubt())
            self.lift()
            for card in self.cards:
                self.bench.tap(card)
                self._rest()
                self.lift()
            spent = CARDS * START - sum(map(balance_of, self.cards))
            assert self._books() == (spent, 0)
            ledger = self.till.ledger
            sequences = range(1, ledger.head().sequence + 1)
            known = {
                one
                for one in sequences
                if ledger.intent(one) is not None and ledger.sale_state(one) is SaleState.PAID
            }
            assert known <= self.paid
        finally:
            self._end_till(None)
            shutil.rmtree(self.folder)


TestCounterMachine = CounterMachine.TestCase
TestCounterMachine.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
