"""New generations of card keys at a till: they come with the feed, go on cards, and old ones end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dobmi.cardlib.custody import KeyRing, load_key_file
from dobmi.cardlib.errors import NotSealedForUs, OtherKeySet
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.readers.base import CardConnection
from dobmi.central.cards import statement_of
from dobmi.central.key_generations import key_report, put_on_cards
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.money import Rupiah
from dobmi.sync.errors import RelayInterrupted, ServerRefused, ServerUnreachable
from dobmi.sync.feed import SealedKeys, feed_keys_info
from dobmi.sync.relay import RekeyResult
from dobmi.terminal import card_keys
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import AskSale, Phase
from dobmi.terminal.errors import CardKeysPast
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.till import Till
from support.counters import Watched, ask_balance, new_id
from support.purses import InProcess
from support.rolling import OFFICE, PASSPHRASE, Fleet, PairedTill, key_versions
from support.servers import issued, serving

TIMES = CounterTimes(card_wait_seconds=60, sync_interval_seconds=0)
ROLL_FRAMES_MAX = 60


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def till(fleet: Fleet) -> PairedTill:
    return fleet.pair()


def rolling(fleet: Fleet, till: PairedTill, accept_older_days: int = 90) -> SimulatedCard:
    """A card with old keys and 50,000 on it, and a till that may give it the new ones."""
    card = issued(fleet.central, 50_000)
    fleet.renew(accept_older_days)
    till.sync(3)
    return card


def lay(till: PairedTill, card: SimulatedCard) -> None:
    till.reader.remove()
    card.power_off()
    till.reader.insert(card)


class TestTheyComeDown:
    def test_a_paired_till_has_them_with_its_next_feed(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        before = load_key_file(till.files.card_keys, PASSPHRASE)
        till.sync()
        assert till.generation == 1
        fleet.renew()
        with till.online() as opened:
            result = opened.sync()
        assert (result.new_keys_generation, result.keys_problem) == (2, None)
        after = load_key_file(till.files.card_keys, PASSPHRASE)
        for key in (CardKey.DEBIT, CardKey.PIN):
            assert after.masters[key][1] == before.masters[key][1]
            assert set(after.masters[key]) == {1, 2}
        assert set(after.masters) == {CardKey.DEBIT, CardKey.PIN}

    def test_a_till_that_runs_opens_cards_with_them_at_once(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        fleet.renew()
        put_on_cards(fleet.central, 2, actor=OFFICE)
        card = issued(fleet.central, 50_000)
        assert set(key_versions(card).values()) == {2}
        with till.online() as opened:
            lay(till, card)
            with pytest.raises(OtherKeySet):
                opened.balance()
            opened.sync()
            lay(till, card)
            assert opened.balance().balance == Rupiah(50_000)

    def test_a_disk_that_fails_leaves_the_old_ones_and_they_come_again(
        self, fleet: Fleet, till: PairedTill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet.renew()
        with till.online() as opened:
            with monkeypatch.context() as patch:
                patch.setattr(card_keys, "replace_key_file", _raise_not_sealed)
                failed = opened.sync()
                assert (failed.new_keys_generation, type(failed.keys_problem)) == (
                    0,
                    NotSealedForUs,
                )
                assert till.generation == 1
            assert opened.sync().new_keys_generation == 2
        assert till.generation == 2

    def test_what_is_sealed_to_another_till_or_holds_other_keys_is_not_taken(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        fleet.renew()
        ring = fleet.central.keys
        keys = till.keys()
        ours = keys.identity.sealing_public_key("terminal")
        other = KeyRing.generate(sealing=["terminal"]).sealing_public_key("terminal")
        info = feed_keys_info(till.id)
        masters = (CardKey.DEBIT, CardKey.PIN)
        for sealed in (
            ring.sealed_masters(masters, other, info),
            ring.sealed_masters(masters, ours, feed_keys_info(till.id + 1)),
            ring.sealed_masters((*masters, CardKey.CREDIT), ours, info),
            b"\0" * 100,
        ):
            with pytest.raises(NotSealedForUs):
                keys.take(SealedKeys(till.id, 2, sealed))
            assert till.generation == 1
        good = ring.sealed_masters(masters, ours, info)
        with pytest.raises(NotSealedForUs):
            keys.take(SealedKeys(till.id, 3, good))
        assert not keys.take(SealedKeys(till.id, 1, good))
        assert keys.take(SealedKeys(till.id, 2, good))


def _raise_not_sealed(*_: object) -> None:
    raise NotSealedForUs


class TestTheyGoOnCards:
    def test_after_a_sale_while_the_card_lies_there(self, fleet: Fleet, till: PairedTill) -> None:
        card = rolling(fleet, till)
        with serving(fleet.central) as url, Counter(lambda: till.open(url), TIMES) as counter:
            watched = Watched(counter)
            asked = AskSale(request=new_id(), purchase=Purchase(Rupiah(7_500)))
            watched.do(asked)
            lay(till, card)
            assert watched.ends(asked).phase is Phase.PAID
            _until(lambda: statement_of(fleet.central, card.uid).key_version == 2)
        assert set(key_versions(card).values()) == {2}
        with till.online() as opened:
            opened.sync()
            lay(till, card)
            assert opened.balance().balance == Rupiah(42_500)
        assert statement_of(fleet.central, card.uid).balance == Rupiah(42_500)

    def test_after_a_look_at_the_balance(self, fleet: Fleet, till: PairedTill) -> None:
        card = rolling(fleet, till)
        with serving(fleet.central) as url, Counter(lambda: till.open(url), TIMES) as counter:
            watched = Watched(counter)
            asked = ask_balance()
            watched.do(asked)
            lay(till, card)
            assert watched.ends(asked).phase is Phase.BALANCE
            _until(lambda: statement_of(fleet.central, card.uid).key_version == 2)
        assert set(key_versions(card).values()) == {2}

    def test_the_sale_is_shown_before_anything_else_is_asked_of_the_card(
        self, fleet: Fleet, till: PairedTill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = rolling(fleet, till)
        shown: list[Phase] = []
        with serving(fleet.central) as url, Counter(lambda: till.open(url), TIMES) as counter:
            watched = Watched(counter)
            roll = Till.roll_keys

            def look(self: Till, connection: CardConnection) -> RekeyResult:
                shown.append(watched.state.phase)
                return roll(self, connection)

            monkeypatch.setattr(Till, "roll_keys", look)
            asked = AskSale(request=new_id(), purchase=Purchase(Rupiah(7_500)))
            watched.do(asked)
            lay(till, card)
            watched.ends(asked)
            _until(lambda: bool(shown))
        assert shown == [Phase.PAID]

    @pytest.mark.parametrize("moment", Moment)
    def test_pulled_away_at_any_frame_it_pays_as_before_and_goes_on_the_next_time(
        self, fleet: Fleet, till: PairedTill, moment: Moment
    ) -> None:
        card = rolling(fleet, till)
        balance, torn = 50_000, 0
        with till.online() as opened:
            for frame in (*range(5 + (moment is Moment.AFTER), 26, 2), ROLL_FRAMES_MAX):
                card.power_off()
                try:
                    opened.roll_keys(InProcess(FaultyCard(card, [at_frame(frame, moment)])))
                except RelayInterrupted:
                    torn += 1
                lay(till, card)
                assert opened.sell(Rupiah(100)).balance_after == Rupiah(balance - 100)
                balance -= 100
            opened.sync()
        assert torn
        assert set(key_versions(card).values()) == {2}
        assert statement_of(fleet.central, card.uid).balance == Rupiah(balance)
        with till.online() as opened:  # what the server did not hear of is said with the next one
            card.power_off()
            assert opened.roll_keys(InProcess(card)).changed_count == 0
        assert statement_of(fleet.central, card.uid).key_version == 2

    def test_without_a_network_the_sale_is_as_ever_and_the_roll_rests(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        card = rolling(fleet, till)
        with till.open("http://127.0.0.1:1") as opened:
            lay(till, card)
            assert opened.sell(Rupiah(1_000)).balance_after == Rupiah(49_000)
            assert opened.may_roll_keys(1)
            card.power_off()
            with pytest.raises(ServerUnreachable):
                opened.roll_keys(InProcess(card))
            assert not opened.may_roll_keys(1)
        assert set(key_versions(card).values()) == {1}

    def test_not_before_every_till_that_sells_holds_them(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        other = fleet.pair("Kasir 2")
        other.sync()
        card = issued(fleet.central, 50_000)
        fleet.renew()
        till.sync(3)
        report = key_report(fleet.central)
        assert (report.newest, report.on_cards) == (2, 1)
        assert [one.terminal_id for one in report.tills if one.is_waited_for] == [other.id]
        with till.online() as opened:
            assert not opened.may_roll_keys(1)
            card.power_off()
            # Whoever asks all the same is given nothing new, and new cards have the old keys.
            assert opened.roll_keys(InProcess(card)).changed_count == 0
        assert set(key_versions(issued(fleet.central, 0, member=4712)).values()) == {1}
        other.sync(2)
        assert key_report(fleet.central).on_cards == 2
        till.sync()
        with till.online() as opened:
            card.power_off()
            assert opened.roll_keys(InProcess(card)).changed_count == 4
        with other.online() as opened:
            lay(other, card)
            assert opened.balance().balance == Rupiah(50_000)

    def test_a_till_that_may_sell_no_more_without_a_feed_is_not_waited_for(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        other = fleet.pair("Kasir 2")
        other.sync()
        fleet.ahead += (fleet.central.settings.sync_age_hours_max + 1) * 3600
        fleet.renew()
        till.sync(2)
        report = key_report(fleet.central)
        assert (report.on_cards, [one for one in report.tills if one.is_waited_for]) == (2, [])


class TestOldOnesEnd:
    def test_a_card_with_old_keys_is_taken_until_then_and_refused_afterwards(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        card = rolling(fleet, till, accept_older_days=2)
        with till.open("http://127.0.0.1:1") as opened:
            lay(till, card)
            opened.sell(Rupiah(1_000))
            fleet.ahead += 3 * 24 * 3600
            lay(till, card)
            with pytest.raises(CardKeysPast):
                opened.sell(Rupiah(1_000))
            lay(till, card)
            looked = opened.balance()
            assert (looked.balance, looked.keys_are_past) == (Rupiah(49_000), True)
            assert not opened.may_roll_keys(1)

    def test_the_server_gives_it_no_new_keys_at_a_till(
        self, fleet: Fleet, till: PairedTill
    ) -> None:
        """What knows keys that may have leaked may be no card at all: nobody looks at it here."""
        card = rolling(fleet, till, accept_older_days=0)
        with till.online() as opened:
            card.power_off()
            with pytest.raises(ServerRefused) as refused:
                opened.roll_keys(InProcess(card))
            assert refused.value.facts["problem"] == "CENTRAL-CARD-KEYS-PAST"
        assert set(key_versions(card).values()) == {1}

    def test_a_card_with_the_new_keys_is_taken(self, fleet: Fleet, till: PairedTill) -> None:
        rolling(fleet, till, accept_older_days=0)
        card = issued(fleet.central, 20_000, member=4712)
        with till.online() as opened:
            lay(till, card)
            assert opened.sell(Rupiah(1_000)).balance_after == Rupiah(19_000)


def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
