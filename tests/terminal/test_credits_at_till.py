"""A member's waiting money comes on the card at an online till, when its balance is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dobmi.cardlib.custody import load_key_file
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import at_frame
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.money import Rupiah
from dobmi.sync.errors import RelayInterrupted
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import Phase
from dobmi.terminal.till import Till
from support.counters import Watched, ask_balance
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
