"""A lost card: its money comes to the new one, when no till can still bring a sale of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Connection, select
from starlette.testclient import TestClient

from dobmi.cardlib.evidence import parse_credit_evidence
from dobmi.central import replacement
from dobmi.central.app import create_app
from dobmi.central.cards import PendingCredit, set_blocked, statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import note_attempt
from dobmi.central.errors import CardNotActive, CardWasReplaced
from dobmi.central.overdue import settle_overdue
from dobmi.central.replacement import Replacement, replace_card, restore_due
from dobmi.central.schema import CardState, CreditSource, TerminalStatus, cards, postings
from dobmi.central.server import Central
from dobmi.central.terminals import set_terminal_status
from dobmi.money import ZERO, Rupiah
from support.central_client import Office
from support.traffic import START, ModelCard, ModelTill, World

DAY = 24 * 3600


@dataclass
class Loss:
    """Member 4711 with a card that holds 100,000; two tills, a station, a clock to move."""

    office: Office
    till: ModelTill
    other: ModelTill
    station: ModelTill
    old: ModelCard
    clock: list[int] = field(default_factory=lambda: [START])

    @property
    def central(self) -> Central:
        return self.office.world.central

    def replace(self, card: ModelCard | None = None) -> dict[str, Any]:
        uid = (card or self.old).uid.hex().upper()
        answer = self.office.signed(
            self.station, "POST", f"/v1/cards/{uid}/replace", {"reason": "hilang"}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def sync(self, till: ModelTill, feed_version: int) -> None:
        """What the till has, then a feed that goes on from this version."""
        if till.send_from <= len(till.vouchers):
            self.office.acknowledged(till.batch())
        authorization = till.authorization(
            "GET", path := f"/v1/feed?since={feed_version}", at=self.clock[0]
        )
        answer = self.office.client.get(path, headers={"authorization": authorization})
        assert answer.status_code == 200

    def all_sync(self) -> None:
        for till in (self.till, self.other):
            self.sync(till, self.status().feed_version)

    def status(self) -> Replacement:
        found = statement_of(self.central, self.old.uid).replacement
        assert found is not None
        return found

    def owed(self, card: ModelCard) -> list[tuple[int, CreditSource]]:
        found = statement_of(self.central, card.uid).credits_waiting
        return [(credit.amount.amount, credit.source) for credit in found]

    def explanations(self, kind: str) -> list[str]:
        with self.central.database.read() as connection:
            statement = select(postings.c.explanation).where(postings.c.kind == kind)
            return list(connection.execute(statement).scalars())

    def ledger_of_old(self) -> Rupiah:
        assert circulation(self.central).difference == ZERO
        return statement_of(self.central, self.old.uid).balance


@pytest.fixture
def loss(world: World) -> Iterator[Loss]:
    clock = [START]
    world.central = dataclasses.replace(world.central, unix_seconds=lambda: clock[0])
    with TestClient(create_app(world.central)) as client:
        office = Office(world, client)
        station, card = world.station(), world.card(4711)
        world.top_up(station, card, Rupiah(100_000))
        yield Loss(office, world.till(), world.till("Toko Lain"), station, card, clock)


def test_the_old_card_is_blocked_at_once_and_for_good(loss: Loss) -> None:
    found = loss.replace()
    assert statement_of(loss.central, loss.old.uid).state is CardState.REPLACED
    assert found["waits_for_tills"] == [loss.till.terminal_id, loss.other.terminal_id]
    assert found["left_rupiah"] == 100_000
    for blocked in (True, False):
        with pytest.raises(CardWasReplaced):
            set_blocked(loss.central, loss.old.uid, "x", blocked=blocked, by_terminal=None)
    order = {
        "card_uid": loss.old.uid.hex(),
        "amount_rupiah": 1,
        "source": "cash",
        "idempotency_key": "order-0001",
    }
    answer = loss.office.signed(loss.station, "POST", "/v1/credits", order)
    assert (answer.status_code, answer.json()["code"]) == (409, "CENTRAL-CARD-REPLACED")


def test_only_a_station_replaces_and_only_what_was_issued(loss: Loss) -> None:
    path = f"/v1/cards/{loss.old.uid.hex()}/replace"
    answer = loss.office.signed(loss.till, "POST", path, {"reason": "x"})
    assert answer.status_code == 403
    assert statement_of(loss.central, loss.old.uid).state is CardState.ACTIVE
    answer = loss.office.signed(
        loss.station, "POST", "/v1/cards/04000000000000/replace", {"reason": "x"}
    )
    assert answer.status_code == 404
    with loss.central.database.write() as connection:
        connection.execute(cards.update().values(state=CardState.ISSUING.value, issued_at=None))
    with pytest.raises(CardNotActive):
        replace_card(loss.central, loss.old.uid, "x", by_terminal=None)


def test_the_money_waits_until_every_till_has_synced_past_the_block(loss: Loss) -> None:
    loss.replace()
    new = loss.office.world.another_card(4711)
    loss.sync(loss.till, 1)
    loss.sync(loss.other, 0)  # it fetches the block now; it has said nothing of having it
    assert loss.owed(new) == []
    loss.other.sell(loss.old, Rupiah(7_000))  # before it had the block
    loss.sync(loss.other, 1)
    assert loss.owed(new) == [(93_000, CreditSource.RESTORED)]
    assert loss.ledger_of_old() == ZERO
    assert circulation(loss.central).suspense == ZERO
    assert loss.status().waits_for == ()
    assert "every till has synced" in loss.explanations("restored")[0]
    loss.all_sync()
    loss.replace()
    assert loss.owed(new) == [(93_000, CreditSource.RESTORED)], "once"


def test_a_new_card_that_comes_later_gets_it_then(loss: Loss) -> None:
    loss.replace()
    loss.all_sync()
    assert loss.status().safe_at == START
    assert loss.ledger_of_old() == Rupiah(100_000)
    new = loss.office.world.another_card(4711)
    assert loss.owed(new) == [(100_000, CreditSource.RESTORED)]


def test_a_till_that_is_blocked_or_a_station_is_not_waited_for(loss: Loss) -> None:
    set_terminal_status(loss.central, loss.other.terminal_id, TerminalStatus.BLOCKED)
    assert loss.replace()["waits_for_tills"] == [loss.till.terminal_id]


def test_a_till_that_goes_back_behind_the_block_is_waited_for_again(loss: Loss) -> None:
    loss.replace()
    loss.office.world.another_card(4711)
    loss.sync(loss.till, 1)
    loss.sync(loss.till, 0)
    assert loss.status().waits_for == (loss.till.terminal_id, loss.other.terminal_id)
    loss.sync(loss.till, 99)  # a version that never was says nothing
    assert loss.till.terminal_id in loss.status().waits_for


def test_a_card_blocked_before_it_was_replaced_counts_from_that_block(loss: Loss) -> None:
    set_blocked(loss.central, loss.old.uid, "hilang", blocked=True, by_terminal=None)
    for till in (loss.till, loss.other):
        loss.sync(till, 1)
    assert loss.replace()["safe_at"] == START


def test_a_block_that_was_taken_back_does_not_count(loss: Loss) -> None:
    for blocked in (True, False):
        set_blocked(loss.central, loss.old.uid, "x", blocked=blocked, by_terminal=None)
    for till in (loss.till, loss.other):
        loss.sync(till, 2)
    assert loss.replace()["safe_at"] is None


def test_what_is_not_safe_yet_costs_a_feed_no_writing(
    loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss.replace()
    loss.sync(loss.till, loss.status().feed_version)
    asked: list[bytes] = []
    follow_up = replacement.follow_up

    def counted(connection: Connection, uid: bytes, *rest: Any, **options: Any) -> bool:
        asked.append(uid)
        return follow_up(connection, uid, *rest, **options)

    monkeypatch.setattr(replacement, "follow_up", counted)
    for _ in range(3):
        loss.sync(loss.till, loss.status().feed_version)
    assert asked == []
    loss.sync(loss.other, loss.status().feed_version)
    assert asked == [loss.old.uid]
    assert loss.status().safe_at is not None


def test_by_rule_after_the_set_days_and_the_posting_says_so(loss: Loss) -> None:
    loss.replace()
    new = loss.office.world.another_card(4711)
    loss.clock[0] += 30 * DAY - 1
    assert restore_due(loss.central) == 0
    loss.clock[0] += 1
    assert restore_due(loss.central) == 1
    assert restore_due(loss.central) == 0
    assert loss.owed(new) == [(100_000, CreditSource.RESTORED)]
    assert "by rule, 30 days" in loss.explanations("restored")[0]


class TestLateSales:
    """A till that had not synced brings sales of the old card, its money restored already."""

    @pytest.fixture
    def restored(self, loss: Loss) -> ModelCard:
        loss.replace()
        new = loss.office.world.another_card(4711)
        loss.clock[0] += 31 * DAY
        restore_due(loss.central)
        return new

    def test_the_sale_is_posted_and_what_lacks_is_the_cooperatives(
        self, loss: Loss, restored: ModelCard
    ) -> None:
        loss.other.sell(loss.old, Rupiah(7_000))
        loss.sync(loss.other, 1)
        assert loss.office.owed_to_outlets() == Rupiah(7_000)
        assert loss.ledger_of_old() == ZERO
        assert circulation(loss.central).suspense == Rupiah(-7_000)
        assert loss.status().shortfall == Rupiah(7_000)
        assert {"spent-after-restoring", "sale-with-blocked-card"} <= loss.office.anomalies()
        assert loss.owed(restored) == [(100_000, CreditSource.RESTORED)], "the member has it all"

    def test_a_late_doubt_that_was_not_paid_costs_nothing(
        self, loss: Loss, restored: ModelCard
    ) -> None:
        loss.other.doubt(loss.old, Rupiah(7_000), committed=False)
        loss.other.sell(loss.old, Rupiah(1_000))
        loss.sync(loss.other, 1)
        assert loss.status().shortfall == Rupiah(1_000)
        assert loss.owed(restored) == [(100_000, CreditSource.RESTORED)]

    def test_what_is_explained_later_goes_back_to_suspense(
        self, loss: Loss, restored: ModelCard
    ) -> None:
        """The other till's sale is known by its successor first, then by its own voucher."""
        loss.other.sell(loss.old, Rupiah(3_000))
        loss.till.sell(loss.old, Rupiah(2_000))
        loss.sync(loss.till, 0)
        loss.sync(loss.other, 0)
        assert loss.ledger_of_old() == ZERO
        assert circulation(loss.central).suspense == Rupiah(-5_000)
        assert loss.office.owed_to_outlets() == Rupiah(5_000)
        assert loss.owed(restored) == [(100_000, CreditSource.RESTORED)]


class TestDoubts:
    def test_what_a_sale_in_doubt_may_have_taken_waits_for_it(self, loss: Loss) -> None:
        loss.till.doubt(loss.old, Rupiah(30_000), committed=False)
        loss.replace()
        new = loss.office.world.another_card(4711)
        loss.all_sync()
        assert loss.owed(new) == [(70_000, CreditSource.RESTORED)]
        assert loss.status().held == Rupiah(30_000)
        loss.other.sell(loss.old, Rupiah(1_000))  # settles the doubt: it was not paid
        loss.sync(loss.other, 1)
        assert loss.owed(new) == [
            (70_000, CreditSource.RESTORED),
            (29_000, CreditSource.RESTORED),
        ]
        assert loss.ledger_of_old() == ZERO
        assert circulation(loss.central).suspense == ZERO

    def test_the_rule_for_doubts_releases_it_too(self, loss: Loss) -> None:
        loss.till.doubt(loss.old, Rupiah(30_000), committed=False)
        loss.replace()
        new = loss.office.world.another_card(4711)
        loss.all_sync()
        loss.clock[0] += 30 * DAY
        settle_overdue(loss.central, loss.clock[0])
        assert [amount for amount, _ in loss.owed(new)] == [70_000, 30_000]


class TestCreditsOfTheOldCard:
    def test_one_that_was_never_sent_moves_to_the_new_card(self, loss: Loss) -> None:
        order = {
            "card_uid": loss.old.uid.hex(),
            "amount_rupiah": 25_000,
            "source": "salary",
            "idempotency_key": "order-salary",
        }
        assert loss.office.signed(loss.station, "POST", "/v1/credits", order).status_code == 201
        loss.replace()
        new = loss.office.world.another_card(4711)
        loss.all_sync()
        assert loss.owed(loss.old) == []
        assert loss.owed(new) == [(25_000, CreditSource.SALARY), (100_000, CreditSource.RESTORED)]
        assert circulation(loss.central).in_flight == Rupiah(125_000)

    @pytest.mark.parametrize("arrived", [False, True])
    @pytest.mark.parametrize("spent", [False, True])
    def test_one_in_doubt_is_restored_once_whatever_became_of_it(
        self, loss: Loss, *, arrived: bool, spent: bool
    ) -> None:
        staged = loss.office.world.top_up_in_doubt(loss.station, loss.old, Rupiah(40_000))
        if arrived:
            loss.old.commit(staged)
        loss.replace()
        new = loss.office.world.another_card(4711)
        loss.clock[0] += 31 * DAY
        restore_due(loss.central)
        if spent:
            loss.till.sell(loss.old, Rupiah(6_000))
            loss.sync(loss.till, 0)
        assert loss.owed(new) == [(140_000, CreditSource.RESTORED)]
        assert loss.ledger_of_old() == ZERO
        assert circulation(loss.central).suspense == Rupiah(-6_000 if spent else 0)
        assert circulation(loss.central).in_flight == Rupiah(140_000)

    def test_an_answer_that_comes_after_the_replacement_posts_nothing_more(
        self, loss: Loss
    ) -> None:
        staged = loss.office.world.top_up_in_doubt(loss.station, loss.old, Rupiah(40_000))
        (credit,) = statement_of(loss.central, loss.old.uid).credits_waiting
        counter, mac = loss.old.commit(staged)
        loss.replace()
        new = loss.office.world.another_card(4711)
        loss.all_sync()
        loss.office.world.deliver_credit(credit, staged, counter, mac)
        assert loss.owed(new) == [(140_000, CreditSource.RESTORED)]
        assert loss.ledger_of_old() == ZERO


def test_a_refund_of_a_sale_with_the_old_card_comes_to_the_new_one(loss: Loss) -> None:
    loss.till.sell(loss.old, Rupiah(5_000))
    loss.replace()
    new = loss.office.world.another_card(4711)
    loss.till.refund(loss.old, 1, Rupiah(5_000))
    loss.sync(loss.till, 1)
    assert loss.owed(new) == [(5_000, CreditSource.REFUND)]


def test_the_restored_money_is_spent_with_the_new_card(loss: Loss) -> None:
    loss.replace()
    new = loss.office.world.another_card(4711)
    loss.all_sync()
    (credit,) = statement_of(loss.central, new.uid).credits_waiting
    staged = new.stage_credit(credit.sequence, credit.amount)
    assert note_attempt(loss.central, credit, staged.evidence)
    loss.office.world.deliver(new, staged, *new.commit(staged))
    loss.till.sell(new, Rupiah(60_000))
    loss.sync(loss.till, 1)
    assert statement_of(loss.central, new.uid).balance == new.balance == Rupiah(40_000)
    now = circulation(loss.central)
    assert (now.difference, now.suspense, now.not_yet_reported) == (ZERO, ZERO, ZERO)


def test_a_new_card_lost_in_its_turn_passes_everything_on(loss: Loss) -> None:
    loss.replace()
    second = loss.office.world.another_card(4711)
    loss.all_sync()
    loss.replace(second)
    third = loss.office.world.another_card(4711, edition=2)
    for till in (loss.till, loss.other):
        loss.sync(till, 2)
    assert loss.owed(third) == [(100_000, CreditSource.RESTORED)]
    assert loss.owed(second) == []


@pytest.mark.parametrize("sells_first", [True, False])
def test_a_credit_that_a_till_made_unprovable_is_not_restored_twice(
    loss: Loss, *, sells_first: bool
) -> None:
    """It is assumed to be on the lost card, whose own balances show that there is so much more."""
    staged = loss.old.stage_credit(2, Rupiah(50_000))
    told = parse_credit_evidence(staged.evidence).encrypted_previous_reader_id
    garbled = staged.evidence.replace(told, b"\x5a" * 16)
    credit, _ = order_credit(
        loss.central,
        loss.old.uid,
        Rupiah(50_000),
        CreditSource.CASH,
        idempotency_key="order-garbled",
        station=loss.station.terminal_id,
    )
    assert isinstance(credit, PendingCredit)
    assert note_attempt(loss.central, credit, garbled)
    loss.old.commit(staged)
    loss.till.sell(loss.old, Rupiah(20_000))
    if sells_first:
        loss.office.acknowledged(loss.till.batch())
        assert circulation(loss.central).suspense == -Rupiah(50_000)
    loss.replace()
    new = loss.office.world.another_card(4711)
    loss.all_sync()
    loss.all_sync()
    assert loss.owed(new) == [(130_000, CreditSource.RESTORED)]
    assert loss.ledger_of_old() == ZERO
    assert circulation(loss.central).suspense == ZERO
