"""A member's waiting money comes on the card at an online till, when its balance is looked at."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dobmi.cardlib.custody import load_key_file
from dobmi.cardlib.errors import CardError, InsufficientBalance
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import at_frame
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.money import Rupiah
from dobmi.sync.errors import RelayInterrupted
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import CounterState, CreditPhase, CreditShown, Phase
from dobmi.terminal.errors import SaleInDoubt
from dobmi.terminal.ledger import TapCredit
from dobmi.terminal.paper import Pair
from dobmi.terminal.papers import paper_of_sale
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.till import Till
from support.counters import Watched, a_sale, ask_balance
from support.outlet_shop import PASSPHRASE, MemberCard, Office, office_at_work
from support.servers import order
from support.tills import QUICK

HAS, WAITS = 50_000, 20_000


@dataclass
class Desk:
    office: Office
    folder: Path
    member: MemberCard

    @property
    def card(self) -> SimulatedCard:
        return SimulatedCard.load(self.member.path)

    def open(self, reader: SimulatedReader | str) -> Till:
        return Till(
            database=self.folder / "terminal.db",
            signing=load_key_file(self.folder / "terminal-identity.keys", PASSPHRASE),
            custody=load_key_file(self.folder / "till.keys", PASSPHRASE),
            reader=reader,
            server=self.office.url,
            patience=QUICK,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A till that has heard that money waits for a card."""
    with office_at_work(tmp_path) as office:
        office.enrol(tmp_path, "Toko 1")
        member = office.card(tmp_path, 4711, HAS)
        order(office.central, SimulatedCard.load(member.path), WAITS)
        desk = Desk(office, tmp_path, member)
        with desk.open("sim:" + str(member.path)) as till:
            till.sync()
            till.open_shift()
        yield desk


def test_it_is_on_the_card_that_is_looked_at_and_comes_once(desk: Desk) -> None:
    with desk.open("sim:" + str(desk.member.path)) as till:
        for _ in range(2):
            found = till.balance()
            assert found.balance == Rupiah(HAS + WAITS)
            assert not found.has_credit_waiting
            assert found.records is not None
            assert found.records[0].balance_after == Rupiah(HAS + WAITS)
    assert desk.member.balance == HAS + WAITS
    assert desk.office.waiting_for(desk.member) == []


def test_without_a_network_the_balance_is_shown_and_the_money_waits_on(desk: Desk) -> None:
    desk.office.close()
    with desk.open("sim:" + str(desk.member.path)) as till:
        found = till.balance()
        assert (found.balance, found.has_credit_waiting) == (Rupiah(HAS), True)
    desk.office.open()
    with desk.open("sim:" + str(desk.member.path)) as till:
        assert till.balance().balance == Rupiah(HAS + WAITS)


def test_the_counter_shows_the_balance_with_the_money_on_it(desk: Desk) -> None:
    reader = "sim:" + str(desk.member.path)
    times = CounterTimes(card_wait_seconds=60, sync_interval_seconds=0)
    with Counter(lambda: desk.open(reader), times) as counter:
        watched = Watched(counter)
        asked = ask_balance()
        watched.shows(Phase.CARD_HERE, Phase.IDLE)
        watched.do(asked)
        shown = watched.ends(asked)
    assert shown.phase is Phase.BALANCE
    assert shown.card is not None
    assert (shown.card.balance, shown.card.credit_waiting) == (Rupiah(HAS + WAITS), False)


def test_a_card_that_is_pulled_away_in_the_middle_is_tapped_again_and_has_it_once(
    desk: Desk,
) -> None:
    torn = 0
    for exchange in range(9, 27, 2):
        card, reader = desk.card, SimulatedReader()
        reader.insert(card, [at_frame(exchange)])
        with desk.open(reader) as till:
            try:
                till.balance()
            except RelayInterrupted:
                torn += 1
        card.save(desk.member.path)
    assert torn
    with desk.open("sim:" + str(desk.member.path)) as till:
        assert till.balance().balance == Rupiah(HAS + WAITS)
    assert desk.office.balance_of(desk.member) == HAS + WAITS
    assert desk.office.waiting_for(desk.member) == []


# In the tap of a sale


def test_a_card_that_has_too_little_is_given_what_waits_for_it_and_pays(desk: Desk) -> None:
    with desk.open("sim:" + str(desk.member.path)) as till:
        sold = till.sell(Rupiah(HAS + 5_000))
        assert (sold.credited, sold.balance_before) == (Rupiah(WAITS), Rupiah(HAS + WAITS))
        assert sold.balance_after == Rupiah(WAITS - 5_000)
        credit = till.ledger.tap_credit(sold.sequence)
        assert credit == TapCredit(
            amount=Rupiah(WAITS), balance_after=Rupiah(HAS + WAITS), before_sale=True
        )
        till.sync()
    assert desk.member.balance == WAITS - 5_000
    assert desk.office.balance_of(desk.member) == WAITS - 5_000
    assert desk.office.waiting_for(desk.member) == []


def test_it_is_asked_for_when_the_card_is_there_though_no_feed_has_said_that_money_waits(
    desk: Desk,
) -> None:
    with desk.open("sim:" + str(desk.member.path)) as till:
        assert till.balance().balance == Rupiah(HAS + WAITS)
        order(desk.office.central, desk.card, 30_000)
        sold = till.sell(Rupiah(HAS + WAITS + 30_000))
        assert (sold.credited, sold.balance_after) == (Rupiah(30_000), Rupiah(0))


def test_a_card_that_has_too_little_with_all_that_waits_is_refused(desk: Desk) -> None:
    with desk.open("sim:" + str(desk.member.path)) as till:
        with pytest.raises(InsufficientBalance) as refused:
            till.sell(Rupiah(HAS + WAITS + 1))
        assert f"{HAS + WAITS:,}".replace(",", ".") in refused.value.explain()
    assert desk.member.balance == HAS + WAITS


def test_a_slow_network_does_not_keep_a_sale_waiting_and_is_not_asked_again_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and says nothing."""
    monkeypatch.setattr("dobmi.terminal.till.TAP_SECONDS_MAX", 0.5)
    monkeypatch.setattr("dobmi.terminal.till.TAP_CONNECT_SECONDS_MAX", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        desk.office.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with desk.open("sim:" + str(desk.member.path)) as till:
            for seconds_max in (2.0, 0.5):
                began = time.monotonic()
                with pytest.raises(InsufficientBalance):
                    till.sell(Rupiah(HAS + 1))
                assert time.monotonic() - began < seconds_max
            assert till.sell(Rupiah(HAS)).balance_after == Rupiah(0)


def test_a_card_that_leaves_in_the_middle_is_tapped_again_and_pays_once(desk: Desk) -> None:
    """At every exchange of the tap, and the money that waits comes once."""
    torn = 0
    for exchange in range(4, 24, 3):
        card, reader = desk.card, SimulatedReader()
        reader.insert(card, [at_frame(exchange)])
        waits = sum(desk.office.waiting_for(desk.member))
        before = card_balance(desk, card)
        with desk.open(reader) as till:
            price = before + waits - 1_000
            try:
                till.sell(Rupiah(price))
            except (RelayInterrupted, CardError, SaleInDoubt):
                torn += 1
                card.power_off()
                reader.remove()
                reader.insert(card)
                till.sell(Rupiah(price), only_card=card.uid if till.interrupted() else None)
            till.sync()
        card.save(desk.member.path)
        assert desk.member.balance == 1_000, exchange
        assert desk.office.balance_of(desk.member) == 1_000
        order(desk.office.central, card, WAITS + exchange)
    assert torn


def card_balance(desk: Desk, card: SimulatedCard) -> int:
    card.save(desk.member.path)
    return desk.member.balance


def watched_sale(desk: Desk, reader: SimulatedReader | str, amount: int) -> list[CounterState]:
    times = CounterTimes(card_wait_seconds=60, sync_interval_seconds=0)
    with Counter(lambda: desk.open(reader), times) as counter:
        watched = Watched(counter)
        asked = a_sale(purchase=Purchase(Rupiah(amount)))
        watched.shows(Phase.CARD_HERE, Phase.IDLE)
        watched.do(asked)
        assert watched.ends(asked).phase is Phase.PAID
        watched.sees(
            lambda state: state.credit is None or state.credit.phase is not CreditPhase.COMING
        )
        return list(watched.states)


def test_after_its_sale_a_card_that_lies_there_is_given_what_waits_for_it(desk: Desk) -> None:
    states = watched_sale(desk, "sim:" + str(desk.member.path), 10_000)
    paid = next(state for state in states if state.phase is Phase.PAID)
    assert paid.credit == CreditShown(phase=CreditPhase.COMING), "paid before the money comes"
    assert paid.sale is not None
    assert (paid.sale.balance_after, paid.sale.credited) == (Rupiah(HAS - 10_000), Rupiah(0))
    last = states[-1]
    balance = Rupiah(HAS - 10_000 + WAITS)
    assert last.credit == CreditShown(
        phase=CreditPhase.ARRIVED, amount=Rupiah(WAITS), balance=balance
    )
    assert last.card is not None
    assert (last.card.balance, last.card.credit_waiting) == (balance, False)
    assert desk.member.balance == balance.amount
    with desk.open("sim:" + str(desk.member.path)) as till:
        assert till.ledger.tap_credit(paid.sale.sequence) is not None


def test_a_card_lifted_after_its_sale_is_paid_and_the_money_waits_on(desk: Desk) -> None:
    card, reader = desk.card, SimulatedReader()
    # The sale's nine exchanges, and the five that look at the card before it; then it has gone.
    reader.insert(card, [at_frame(16)])
    states = watched_sale(desk, reader, 10_000)
    assert states[-1].phase is Phase.PAID
    assert states[-1].credit == CreditShown(phase=CreditPhase.WAITS_ON)
    card.save(desk.member.path)
    assert desk.member.balance == HAS - 10_000
    assert len(desk.office.waiting_for(desk.member)) == 1


def test_without_a_network_the_sale_is_paid_and_the_money_waits_on(desk: Desk) -> None:
    desk.office.close()
    states = watched_sale(desk, "sim:" + str(desk.member.path), 10_000)
    assert states[-1].phase is Phase.PAID
    assert states[-1].credit == CreditShown(phase=CreditPhase.WAITS_ON)
    assert desk.member.balance == HAS - 10_000


@pytest.mark.parametrize("before_sale", [True, False])
def test_the_receipt_says_what_came_in_the_tap_and_ends_with_what_is_on_the_card(
    desk: Desk, before_sale: bool
) -> None:
    amount = HAS + 5_000 if before_sale else 10_000
    states = watched_sale(desk, "sim:" + str(desk.member.path), amount)
    sale = states[-1].sale
    assert sale is not None
    with desk.open("sim:" + str(desk.member.path)) as till:
        paper = paper_of_sale(till.ledger, "", sale.sequence, str)
    rows = [(one.left, one.right) for one in paper.elements if isinstance(one, Pair)]
    assert ("Credited in this tap", f"+{Rupiah(WAITS)}") in rows
    assert ("Balance before", str(Rupiah(HAS))) in rows
    assert ("Balance after", str(Rupiah(HAS + WAITS - amount))) in rows
