"""On PostgreSQL writers meet at the cards' rows: those with something to conclude are locked first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from sqlalchemy import Connection

from dobmi.central import beside
from dobmi.central.cards import statement_of
from dobmi.central.conclusions import cards_with_them, settle_cards
from dobmi.central.replacement import replace_card
from dobmi.central.verification import MacKeyOf
from dobmi.money import Rupiah
from support.central_client import Office


class Locks:
    """What was locked, once a batch, and what was settled after it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.locked: set[bytes] = set()
        self.settled: set[bytes] = set()
        patch.setattr(beside, "lock_cards", self.lock)
        patch.setattr(beside, "settle_cards", self.settle)

    def lock(self, connection: Connection, uids: Iterable[bytes]) -> None:
        assert not self.settled, "locked before anything is settled"
        self.locked |= set(cards_with_them(connection, uids))

    def settle(
        self,
        connection: Connection,
        uids: Iterable[bytes],
        mac_key_of: MacKeyOf,
        now: int,
        *,
        heads: Mapping[int, int],
    ) -> None:
        self.settled |= set(uids)
        settle_cards(connection, uids, mac_key_of, now, heads=heads)


def test_a_card_that_no_voucher_of_the_batch_names_is_locked_before_it_is_settled(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = office.world
    till, other = world.till(), world.till()
    card, another = world.card(4711), world.card(4712)
    world.top_up(world.station(), card, Rupiah(100_000))
    card.commit(card.stage_sale(till.next_reader_id, Rupiah(5_000)))
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    till.void(another, Rupiah(5_000))
    locks = Locks(monkeypatch)
    office.acknowledged(till.batch())
    assert locks.settled == {card.uid}
    assert locks.locked == {card.uid}


def test_the_card_that_a_refund_goes_to_is_locked(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = office.world
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    sale = till.sell(card, Rupiah(5_000)).link.sequence
    office.acknowledged(till.batch())
    replace_card(world.central, card.uid, "hilang", by_terminal=None)
    new = world.another_card(4711)
    till.refund(card, sale, Rupiah(5_000))
    locks = Locks(monkeypatch)
    office.acknowledged(till.batch())
    assert statement_of(world.central, new.uid).credits_waiting
    assert locks.locked == {card.uid, new.uid}
