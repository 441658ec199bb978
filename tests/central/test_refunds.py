"""Refunds at the central server: of own paid sales, within them, to the member's card, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_session import note_attempt
from dobmi.central.ingest import take_batch
from dobmi.central.journal import account_of_seller, serial_of
from dobmi.central.posting_rules import Group, account_number
from dobmi.central.schema import CreditSource, postings, refunds
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import Outcome
from support.central_client import RING, Office
from support.databases import Kind
from support.traffic import ModelCard, ModelTill, World


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


@pytest.fixture
def station(office: Office) -> ModelTill:
    return office.world.station()


@pytest.fixture
def card(office: Office, station: ModelTill) -> ModelCard:
    card = office.world.card(4711)
    office.world.top_up(station, card, Rupiah(100_000))
    return card


def waiting(office: Office, card: ModelCard) -> list[tuple[int, CreditSource]]:
    return [
        (credit.amount.amount, credit.source)
        for credit in statement_of(office.world.central, card.uid).credits_waiting
    ]


def refund_of(office: Office, till: ModelTill, sequence: int) -> tuple[str, str]:
    """State and explanation."""
    with office.world.central.database.read() as connection:
        row = connection.execute(
            select(refunds.c.state, refunds.c.explanation).where(
                refunds.c.terminal_id == till.terminal_id, refunds.c.sequence == sequence
            )
        ).one()
    return row.state, row.explanation


@pytest.mark.parametrize("batches", [1, 2])
def test_a_refund_goes_from_the_outlet_to_a_credit_that_waits_for_the_card(
    office: Office, till: ModelTill, card: ModelCard, batches: int
) -> None:
    till.sell(card, Rupiah(5_000))
    if batches == 2:
        office.acknowledged(till.batch())
    till.refund(card, 1, Rupiah(2_000))
    assert office.acknowledged(till.batch()).quarantined == ()
    assert office.owed_to_outlets() == Rupiah(3_000)
    assert circulation(office.world.central).in_flight == Rupiah(2_000)
    assert waiting(office, card) == [(2_000, CreditSource.REFUND)]
    with office.world.central.database.read() as connection:
        row = connection.execute(select(postings).where(postings.c.kind == "refund")).one()
        serial = serial_of(connection, card.uid)
        seller = account_of_seller(connection, till.terminal_id)
    assert (row.debit_account, row.credit_account) == (
        seller,
        account_number(Group.IN_FLIGHT, serial),
    )
    assert row.explanation == f"refund of sale {till.terminal_id}/1"
    assert office.anomalies() == set()


def test_the_same_batch_again_refunds_once(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(5_000))
    till.refund(card, 1, Rupiah(5_000))
    batch = till.batch()
    for again in (batch, batch, till.batch(2, 2)):
        office.acknowledged(again)
    assert waiting(office, card) == [(5_000, CreditSource.REFUND)]


def test_parts_of_a_sale_are_refunded_up_to_it_and_not_beyond(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(5_000))
    till.refund(card, 1, Rupiah(3_000))
    office.acknowledged(till.batch())
    till.refund(card, 1, Rupiah(2_001))
    till.refund(card, 1, Rupiah(2_000))
    till.refund(card, 1, Rupiah(1))
    assert office.acknowledged(till.batch()).quarantined == (
        (3, "refund-too-much"),
        (5, "refund-too-much"),
    )
    assert office.owed_to_outlets() == ZERO
    assert office.anomalies() == {"refund-too-much"}


def void(till: ModelTill, card: ModelCard) -> None:
    till.void(card, Rupiah(5_000))


def wrong_mac(till: ModelTill, card: ModelCard) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(5_000))
    till.append_sale(card, staged, 9, bytes(8))


def refunded(till: ModelTill, card: ModelCard) -> None:
    till.sell(card, Rupiah(5_000))
    till.refund(card, 1, Rupiah(5_000))


@pytest.mark.parametrize(("make", "number"), [(void, 1), (wrong_mac, 1), (refunded, 2)])
def test_a_refund_of_what_is_no_believed_sale_is_kept_and_not_posted(
    office: Office,
    till: ModelTill,
    card: ModelCard,
    make: Callable[[ModelTill, ModelCard], None],
    number: int,
) -> None:
    make(till, card)
    sequence = till.refund(card, number, Rupiah(5_000))
    office.acknowledged(till.batch())
    assert office.quarantined()[sequence] == "refunds-nothing"
    assert "refunds-nothing" in office.anomalies()


def test_a_refund_of_another_tills_sale_finds_none(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    other = office.world.till("Toko Lain")
    till.sell(card, Rupiah(5_000))
    office.acknowledged(till.batch())
    other.void(card, Rupiah(1))
    other.refund(card, 1, Rupiah(5_000))
    office.acknowledged(other.batch())
    assert office.quarantined() == {2: "refunds-nothing"}
    assert office.owed_to_outlets() == Rupiah(5_000)


def test_a_refund_to_another_members_card_is_not_believed(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    accomplice = office.world.card(4712)
    till.sell(card, Rupiah(5_000))
    till.refund(accomplice, 1, Rupiah(5_000))
    office.acknowledged(till.batch())
    assert office.quarantined() == {2: "claim-differs"}
    assert waiting(office, accomplice) == []


def test_a_refund_with_an_unknown_card_is_kept(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(5_000))
    till.refund(ModelCard(b"\x04unknown"[:7], b"", bytes(16)), 1, Rupiah(5_000))
    office.acknowledged(till.batch())
    assert office.quarantined() == {2: "unknown-card"}


class TestSaleInDoubt:
    def test_the_refund_waits_until_the_card_says_that_it_paid(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, Rupiah(5_000), committed=True)
        till.resolve(card, 1, Outcome.PAID)
        number = till.refund(card, 1, Rupiah(5_000))
        assert office.acknowledged(till.batch()).quarantined == ()
        assert refund_of(office, till, number)[0] == "waiting"
        assert waiting(office, card) == []
        other = office.world.till("Toko Lain")
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert refund_of(office, till, number)[0] == "ordered"
        assert waiting(office, card) == [(5_000, CreditSource.REFUND)]
        assert office.owed_to_outlets() == Rupiah(1_000)

    def test_a_resolution_with_the_cards_mac_releases_it(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        counter, mac = till.doubt(card, Rupiah(5_000), committed=True)
        number = till.refund(card, 1, Rupiah(1_000))
        office.acknowledged(till.batch())
        till.resolve(card, 1, Outcome.PAID, counter, mac)
        office.acknowledged(till.batch())
        assert refund_of(office, till, number)[0] == "ordered"

    def test_a_refund_of_a_sale_that_was_not_paid_is_refused_and_reported(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, Rupiah(5_000), committed=False)
        number = till.refund(card, 1, Rupiah(5_000))
        office.acknowledged(till.batch())
        other = office.world.till("Toko Lain")
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert refund_of(office, till, number) == ("refused", "its sale was not paid")
        assert office.anomalies() == {"refund-of-unpaid-sale"}
        assert waiting(office, card) == []

    def test_a_refused_refund_is_ordered_when_the_card_contradicts_its_till(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, Rupiah(5_000), committed=True)
        till.resolve(card, 1, Outcome.NOT_PAID)
        number = till.refund(card, 1, Rupiah(5_000))
        office.acknowledged(till.batch())
        assert refund_of(office, till, number)[0] == "refused"
        till.sell(card, Rupiah(1_000))
        office.acknowledged(till.batch())
        assert refund_of(office, till, number)[0] == "ordered"


def test_a_blocked_cards_refund_waits_and_comes_when_it_is_unblocked(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    central = office.world.central
    till.sell(card, Rupiah(5_000))
    set_blocked(central, card.uid, "hilang", blocked=True, by_terminal=None)
    number = till.refund(card, 1, Rupiah(5_000))
    office.acknowledged(till.batch())
    assert refund_of(office, till, number) == ("waiting", "the member has no card in force")
    assert office.owed_to_outlets() == Rupiah(5_000)
    set_blocked(central, card.uid, "ketemu", blocked=False, by_terminal=None)
    assert refund_of(office, till, number)[0] == "ordered"
    assert waiting(office, card) == [(5_000, CreditSource.REFUND)]


def test_no_station_can_take_the_key_of_a_refund_to_come(
    office: Office, station: ModelTill, till: ModelTill, card: ModelCard
) -> None:
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 1,
        "source": "cash",
        "idempotency_key": f"dobmi:refund:{till.terminal_id}/2",
    }
    answer = office.signed(station, "POST", "/v1/credits", order)
    assert (answer.status_code, answer.json()["code"]) == (422, "CENTRAL-PARAMETERS")


@pytest.mark.parametrize("kind", Kind)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    amounts=st.lists(st.integers(1, 4_000), min_size=1, max_size=4),
    refunds_=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 4_000)), max_size=8),
    cuts=st.sets(st.integers(1, 12), max_size=3),
)
def test_whatever_a_till_says_refunds_never_come_to_more_than_the_sales(
    tmp_path_factory: pytest.TempPathFactory,
    kind: Kind,
    amounts: list[int],
    refunds_: list[tuple[int, int]],
    cuts: set[int],
) -> None:
    world = World.create(tmp_path_factory.mktemp("central"), keys=RING, kind=kind)
    till, station = world.till(), world.station()
    card = world.card(4711)
    world.top_up(station, card, Rupiah(100_000))
    for amount in amounts:
        till.sell(card, Rupiah(amount))
    left = dict(enumerate(amounts, start=1))
    accepted = 0
    for number, amount in refunds_:
        if number > len(till.vouchers):
            continue
        till.refund(card, number, Rupiah(amount))
        if left.get(number, 0) >= amount:
            left[number] -= amount
            accepted += amount
    for cut in sorted(cuts):
        if till.send_from <= cut <= len(till.vouchers):
            take_batch(world.central, till.batch(till.send_from, cut))
    while till.send_from <= len(till.vouchers):
        take_batch(world.central, till.batch())
    now = circulation(world.central)
    assert now.difference == ZERO
    assert now.in_flight == Rupiah(accepted)
    assert now.owed_to_outlets == Rupiah(sum(amounts) - accepted)
    assert statement_of(world.central, card.uid).balance == card.balance
    world.close()


def test_a_refund_arrives_on_the_card(office: Office, till: ModelTill, card: ModelCard) -> None:
    till.sell(card, Rupiah(5_000))
    till.refund(card, 1, Rupiah(5_000))
    office.acknowledged(till.batch())
    (credit,) = statement_of(office.world.central, card.uid).credits_waiting
    staged = card.stage_credit(credit.sequence, credit.amount)
    note_attempt(office.world.central, credit, staged.evidence)
    counter, mac = card.commit(staged)
    office.world.deliver(card, staged, counter, mac)
    assert card.balance == Rupiah(100_000)
    assert statement_of(office.world.central, card.uid).balance == card.balance
