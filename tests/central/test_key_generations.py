"""Generations of card keys at the central server: begun, reported, put on cards, past, deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from dobmi.cardlib.custody import KeyRing, load_key_file
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Act
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.database import open_database
from dobmi.central.errors import (
    CardKeysPast,
    GenerationInUse,
    GenerationNotNewer,
    UnknownGeneration,
)
from dobmi.central.feeds import OutletAsked, make_feed
from dobmi.central.key_generations import (
    begin_generation,
    key_report,
    note_till_keys,
    put_on_cards,
    require_card_keys,
    require_deletable,
)
from dobmi.central.rekey_session import rekey_card
from dobmi.central.schema import TerminalStatus, staff_acts
from dobmi.central.server import Central
from dobmi.central.terminals import note_feed, set_terminal_status
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from dobmi.sync.feed import Feed, KeysMin, verify_feed
from support.purses import InProcess
from support.rolling import DAY, OFFICE, key_versions
from support.servers import issued, new_central
from support.traffic import START, World


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def central(tmp_path: Path, clock: Clock) -> Central:
    return new_central(tmp_path, clock)


def renewed(central: Central, days: int = 90) -> Central:
    """The server started again with one generation more."""
    assert isinstance(central.keys, KeyRing)
    again = replace(central, keys=central.keys.renewed())
    newest = max(again.keys.generations(CardKey.DEBIT))
    older_until = again.unix_seconds() + days * DAY
    begin_generation(again, newest, older_until=older_until, actor=OFFICE)
    return again


def rolled(central: Central, card: SimulatedCard, *, at_a_till: bool = False) -> int:
    card.power_off()
    return rekey_card(central, InProcess(card), at_a_till=at_a_till).generation


def feed_of(central: Central, terminal_id: int, keys: int | None = None) -> Feed:
    asked = None if keys is None else OutletAsked(terminal_id=terminal_id, keys=keys)
    return verify_feed(make_feed(central, 0, outlet=asked), central.public_key, 0, terminal_id)


def says(central: Central, terminal_id: int, generation: int) -> None:
    note_feed(central, terminal_id, 0, None, generation)


class TestBegun:
    def test_the_feed_says_until_when_older_ones_are_taken(self, central: Central) -> None:
        assert feed_of(central, 1).limits.keys_min == ()
        later = renewed(central, days=30)
        limits = feed_of(later, 1).limits
        assert limits.keys_min == (KeysMin(2, START + 30 * DAY),)
        assert limits.keys_min_generation(START) == 0
        assert limits.keys_min_generation(START + 30 * DAY) == 2

    def test_two_may_overlap_each_with_its_own_day(self, central: Central, clock: Clock) -> None:
        later = renewed(central, days=30)
        clock.now += 10 * DAY
        latest = renewed(later, days=60)
        limits = feed_of(latest, 1).limits
        assert limits.keys_min == (KeysMin(2, START + 30 * DAY), KeysMin(3, START + 70 * DAY))
        for day, needed in ((29, 0), (30, 2), (69, 2), (70, 3)):
            assert limits.keys_min_generation(START + day * DAY) == needed

    def test_again_it_is_the_same_and_older_ones_cannot_begin(
        self, central: Central, clock: Clock, tmp_path: Path
    ) -> None:
        later = renewed(renewed(central))
        clock.now += DAY
        before = key_report(later)
        begin_generation(later, 3, older_until=clock.now, actor=OFFICE)
        assert replace(key_report(later), at=before.at) == before
        other = with_generation_3_alone(later, tmp_path / "other")
        with pytest.raises(GenerationNotNewer):
            begin_generation(other, 2, older_until=clock.now, actor=OFFICE)

    def test_it_is_in_the_audit_trail(self, central: Central) -> None:
        renewed(central)
        with central.database.read() as connection:
            acts = connection.execute(staff_acts.select()).all()
        assert [(act.act, act.person, act.subject) for act in acts if act.act == Act.KEYS] == [
            ("keys", "Ani", "generation 2")
        ]


def with_generation_3_alone(central: Central, folder: Path) -> Central:
    """As where the first roll was never noted."""
    folder.mkdir()
    database = open_database("sqlite:///central.db", folder)
    database.create_tables()
    other = replace(central, database=database)
    begin_generation(other, 3, older_until=START, actor=OFFICE)
    return other


class TestOnCards:
    def test_where_no_till_sells_they_are_at_once(self, central: Central) -> None:
        old = issued(central, 10_000)
        later = renewed(central)
        assert feed_of(later, 1).limits.cards_generation == 2
        assert rolled(later, old) == 2
        assert set(key_versions(issued(later, 0, member=4712)).values()) == {2}

    def test_every_active_till_is_waited_for(self, central: Central) -> None:
        world = World(central)
        tills = [world.till().terminal_id for _ in range(3)]
        card = issued(central, 10_000)
        later = renewed(central)
        assert feed_of(later, tills[0]).limits.cards_generation == 1
        says(later, tills[0], 2)
        says(later, tills[1], 0)  # holds no masters: it asks for each card's key
        assert key_report(later).on_cards == 1
        assert rolled(later, card) == 1
        set_terminal_status(later, tills[2], TerminalStatus.BLOCKED)
        says(later, tills[0], 2)
        assert key_report(later).on_cards == 2
        assert rolled(later, card) == 2

    def test_the_office_may_say_not_to_wait(self, central: Central) -> None:
        World(central).till()
        later = renewed(central)
        with pytest.raises(UnknownGeneration):
            put_on_cards(later, 3, actor=OFFICE)
        put_on_cards(later, 2, actor=OFFICE)
        assert feed_of(later, 1).limits.cards_generation == 2

    def test_a_card_that_has_newer_keys_is_never_taken_back(self, central: Central) -> None:
        """As when the database is one of before the roll."""
        card = issued(central, 10_000)
        later = renewed(central)
        assert rolled(later, card) == 2
        with later.database.write() as connection:
            connection.exec_driver_sql("UPDATE key_generations SET cards_from = NULL")
        assert rolled(later, card) == 2
        assert set(key_versions(card).values()) == {2}

    def test_an_invited_till_is_sent_no_keys(self, central: Central) -> None:
        till = World(central).till().terminal_id
        later = renewed(central)
        assert feed_of(later, till, keys=1).sealed_keys is None


class TestPast:
    def test_a_station_gives_an_old_card_new_keys_and_a_till_does_not(
        self, central: Central, clock: Clock
    ) -> None:
        card = issued(central, 10_000)
        later = renewed(central, days=1)
        clock.now += DAY
        with pytest.raises(CardKeysPast):
            rolled(later, card, at_a_till=True)
        assert set(key_versions(card).values()) == {1}
        assert rolled(later, card) == 2
        assert rolled(later, card, at_a_till=True) == 2

    def test_which_are_past_goes_by_the_newest_whose_time_has_come(
        self, central: Central, clock: Clock
    ) -> None:
        latest = renewed(renewed(central, days=1), days=9)
        clock.now += DAY
        with latest.database.read() as connection:
            with pytest.raises(CardKeysPast):
                require_card_keys(latest, connection, 1)
            require_card_keys(latest, connection, 2)
            clock.now += 8 * DAY
            with pytest.raises(CardKeysPast) as past:
                require_card_keys(latest, connection, 2)
            assert past.value.facts == {"generation": 2, "needed": 3}
            require_card_keys(latest, connection, 3)


class TestReport:
    def test_cards_money_and_taps_by_generation(self, central: Central, clock: Clock) -> None:
        lost = issued(central, 30_000, member=1)
        idle = issued(central, 20_000, member=2)
        clock.now += 40 * DAY
        used = issued(central, 5_000, member=3)
        later = renewed(central, days=10)
        issued(later, 7_000, member=4)
        set_blocked(later, lost.uid, "hilang", blocked=True, by_terminal=None)
        first, second = key_report(later).generations
        assert (first.cards, first.on_them, first.tapped) == (3, Rupiah(55_000), 1)
        assert (second.cards, second.on_them, second.tapped) == (1, Rupiah(7_000), 1)
        assert (first.days_left(clock.now), second.days_left(clock.now)) == (10, None)
        assert rolled(later, used) == 2
        assert rolled(later, idle) == 2
        first, second = key_report(later).generations
        assert (first.cards, first.on_them) == (1, Rupiah(30_000))
        assert (second.cards, second.on_them) == (3, Rupiah(32_000))
        assert statement_of(later, lost.uid).key_version == 1

    @pytest.mark.parametrize(("ahead", "left"), [(0, 10), (1, 10), (DAY, 9), (10 * DAY, 0)])
    def test_days_left_are_whole_ones_rounded_up(
        self, central: Central, clock: Clock, ahead: int, left: int
    ) -> None:
        later = renewed(central, days=10)
        first = key_report(later).generations[0]
        assert first.days_left(clock.now + ahead) == left
        assert first.days_left(clock.now + 99 * DAY) == 0

    def test_what_each_till_holds(self, central: Central) -> None:
        world = World(central)
        told, silent = world.till().terminal_id, world.till().terminal_id
        later = renewed(central)
        with later.database.write() as connection:
            note_till_keys(later, connection, told, 2)
        tills = {one.terminal_id: one for one in key_report(later).tills}
        assert (tills[told].generation, tills[told].is_waited_for) == (2, False)
        assert (tills[silent].generation, tills[silent].is_waited_for) == (None, True)


class TestDeleted:
    def test_refused_while_a_card_in_use_has_it(self, central: Central) -> None:
        card = issued(central, 10_000)
        later = renewed(central)
        with pytest.raises(GenerationInUse) as refused:
            require_deletable(later, 1)
        assert refused.value.facts == {"generation": 1, "count": 1}
        rolled(later, card)
        require_deletable(later, 1)

    def test_the_one_that_cards_have_now_is_never(self, central: Central) -> None:
        World(central).till()
        later = renewed(central)
        for generation in (1, 2, 3):  # 2 is not on cards yet, so 1 is
            with pytest.raises(UnknownGeneration):
                require_deletable(later, generation)


class Desk:
    """A folder with settings, and `dobmi central` run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = Settings(
            folder=folder,
            central=CentralSettings(database="sqlite:///central.db"),
            passphrase=SecretStr("kunci kantor"),
            language="en",
        )
        self.context = Context(settings, "en", str)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, obj=self.context)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    @property
    def keys(self) -> KeyRing:
        return load_key_file(self.folder / "central.keys", "kunci kantor")


class TestCommands:
    @pytest.fixture
    def desk(self, tmp_path: Path) -> Desk:
        desk = Desk(tmp_path)
        desk.ok("keys", "init")
        return desk

    def test_renew_report_roll_and_delete(self, desk: Desk) -> None:
        desk.ok("init")
        before = desk.keys
        assert "WIB" in desk.ok("keys", "renew", "--accept-old-days", "30")
        report = json.loads(desk.ok("keys", "report", "--json"))
        assert (report["newest"], report["on_cards"]) == (2, 2)
        assert report["generations"][0]["days_left"] == 30
        assert "generation" in desk.ok("keys", "report")
        desk.ok("keys", "roll", "2", "--by", "Ani")
        assert desk.run("keys", "delete", "2", "--yes").exit_code == 1
        desk.ok("keys", "delete", "1", "--yes", "--by", "Ani")
        after = desk.keys
        for key in (CardKey.APPLICATION, CardKey.DEBIT, CardKey.CREDIT, CardKey.PIN):
            assert set(after.masters[key]) == {2}
        for key in (CardKey.TRANSACTION_MAC, CardKey.PICC):
            assert after.masters[key][1] == before.masters[key][1]
        assert after.signing == before.signing

    def test_keys_may_be_renewed_before_there_is_a_database(self, desk: Desk) -> None:
        desk.ok("keys", "renew")
        assert desk.keys.generations(CardKey.DEBIT) == (1, 2)

    def test_nothing_is_deleted_without_a_yes(self, desk: Desk) -> None:
        desk.ok("init")
        desk.ok("keys", "renew")
        assert desk.run("keys", "delete", "1").exit_code == 1
        assert desk.keys.generations(CardKey.DEBIT) == (1, 2)
