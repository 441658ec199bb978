"""The server comes back from a backup: tills and cards have seen more than it knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.feeds import make_feed
from dobmi.central.ingest import take_batch
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.restoring import mark_restored
from dobmi.central.server import Central
from dobmi.central.terminals import list_terminals, note_feed
from dobmi.money import Rupiah
from dobmi.sync.errors import StaleFeed
from dobmi.sync.feed import ServersHead, verify_feed
from support.databases import Kind, copied
from support.traffic import START, World, make_keys

KEYS = make_keys()


@dataclass
class Listening:
    """A till's block list, kept by the rules of docs/formats/feed.md."""

    version: int = 0
    blocked: set[bytes] = field(default_factory=set)

    def sync(self, central: Central) -> None:
        feed = verify_feed(
            make_feed(central, self.version), central.public_key, version_in_force=self.version
        )
        if feed.since == 0:
            self.blocked.clear()
        self.blocked -= set(feed.unblocked)
        self.blocked |= set(feed.blocked)
        self.version = feed.version


@dataclass
class Backups:
    folder: Path

    def take(self, world: World) -> str:
        """The URL of a copy."""
        world.central.database.close()
        return copied(world.url, self.folder)

    def restore(self, kept: str, at: int) -> World:
        world = World.create(self.folder, keys=KEYS, url=copied(kept, self.folder))
        central = world.central
        return World(Central(central.database, central.keys, central.settings, lambda: at))


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(tmp_path)


@pytest.fixture
def world(tmp_path: Path, database_kind: Kind) -> World:
    return World.create(tmp_path, keys=KEYS, kind=database_kind)


def test_a_till_takes_the_feed_of_a_restored_server_and_has_just_its_block_list(
    world: World, backups: Backups
) -> None:
    cards = [world.card(number) for number in range(1, 6)]
    old, ahead, new = Listening(), Listening(), Listening()
    set_blocked(world.central, cards[0].uid, "hilang", blocked=True, by_terminal=None)
    old.sync(world.central)
    kept = backups.take(world)
    set_blocked(world.central, cards[1].uid, "hilang", blocked=True, by_terminal=None)
    set_blocked(world.central, cards[0].uid, "ketemu", blocked=False, by_terminal=None)
    ahead.sync(world.central)
    world.central.database.close()
    restored = backups.restore(kept, START + 100).central
    with pytest.raises(StaleFeed):
        ahead.sync(restored)
    mark_restored(restored)
    for till in (old, ahead, new):
        till.sync(restored)
        assert till.blocked == {cards[0].uid}
    set_blocked(restored, cards[2].uid, "hilang", blocked=True, by_terminal=None)
    for till in (old, ahead, new):
        till.sync(restored)
        assert till.blocked == {cards[0].uid, cards[2].uid}
    restored.database.close()
    # Once more from the same backup, which knows nothing of the first restoring.
    again = backups.restore(kept, START + 200).central
    mark_restored(again)
    for till in (old, ahead, new):
        till.sync(again)
        assert till.blocked == {cards[0].uid}
    again.database.close()


def test_terminals_and_cards_get_no_number_a_second_time(world: World, backups: Backups) -> None:
    world.till()
    kept = backups.take(world)
    seen = {world.till().terminal_id}
    world.central.database.close()
    for round_ in (1, 2):
        restored = backups.restore(kept, START + 7200 * round_)
        ahead = mark_restored(restored.central)
        number = restored.till().terminal_id
        assert number not in seen
        assert number < 1 << 32
        assert ahead.card_serial < 1 << 32
        seen.add(number)
        restored.central.database.close()


def test_a_till_whose_vouchers_were_lost_has_not_told_all_it_knows_of_a_lost_card(
    world: World, backups: Backups
) -> None:
    """The money of a lost card would be restored before the till's sales of it came in again."""
    till, card = world.till(), world.card(1)
    world.top_up(world.station(), card, Rupiah(50_000))
    kept = backups.take(world)
    till.sell(card, Rupiah(9_000))
    batch = till.batch()
    take_batch(world.central, batch)
    world.central.database.close()
    restored = backups.restore(kept, START + 100).central
    mark_restored(restored)
    replace_card(restored, card.uid, "hilang", by_terminal=None)
    listening = Listening()
    listening.sync(restored)
    note_feed(restored, till.terminal_id, listening.version, acknowledged=1)
    restore_due(restored)
    waiting = statement_of(restored, card.uid).replacement
    assert waiting is not None
    assert (waiting.safe_at, waiting.waits_for) == (None, (till.terminal_id,))
    feed = make_feed(restored, listening.version, head_of=till.terminal_id)
    head = verify_feed(feed, restored.public_key, listening.version).servers_head
    assert head == ServersHead(till.terminal_id, 0)
    take_batch(restored, batch)
    note_feed(restored, till.terminal_id, listening.version, acknowledged=1)
    restore_due(restored)
    safe = statement_of(restored, card.uid).replacement
    assert safe is not None
    assert safe.safe_at is not None
    assert (safe.left, safe.shortfall) == (Rupiah(41_000), Rupiah(0))
    restored.database.close()


def test_a_till_that_knows_a_block_of_before_the_backup_is_not_waited_for(
    world: World, backups: Backups
) -> None:
    """Of the list it took since then, the restored server knows what was in it at the backup."""
    till, card, other = world.till(), world.card(1), world.card(2)
    replace_card(world.central, card.uid, "hilang", by_terminal=None)
    kept = backups.take(world)
    set_blocked(world.central, other.uid, "hilang", blocked=True, by_terminal=None)
    listening = Listening()
    listening.sync(world.central)
    world.central.database.close()
    restored = backups.restore(kept, START + 100).central
    mark_restored(restored)
    note_feed(restored, till.terminal_id, listening.version)
    with restored.database.read() as connection:
        said = connection.exec_driver_sql("SELECT feed_version FROM terminals").scalar_one()
    assert said == 1
    assert len(list_terminals(restored)) == 1
    restored.database.close()
