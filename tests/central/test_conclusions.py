"""A sale in doubt is settled by the card's own later transactions, wherever they are made."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from sqlalchemy import select, update

from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.conclusions import reconcile
from dobmi.central.schema import in_doubt, terminals
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import Outcome
from support.central_client import Office
from support.traffic import START, ModelCard, ModelTill


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


@pytest.fixture
def other(office: Office) -> ModelTill:
    return office.world.till("Toko Lain")


@pytest.fixture
def station(office: Office) -> ModelTill:
    return office.world.station()


@pytest.fixture
def card(office: Office, station: ModelTill) -> ModelCard:
    card = office.world.card(4711)
    office.world.top_up(station, card, Rupiah(100_000))
    return card


def doubt_of(office: Office, till: ModelTill, sequence: int = 1) -> tuple[str, str]:
    """State, and who settled it."""
    with office.world.central.database.read() as connection:
        row = connection.execute(
            select(in_doubt.c.state, in_doubt.c.settled_by).where(
                in_doubt.c.terminal_id == till.terminal_id, in_doubt.c.sequence == sequence
            )
        ).one()
    return row.state, row.settled_by


def assert_ledger_is_card(office: Office, card: ModelCard) -> None:
    assert statement_of(office.world.central, card.uid).balance == card.balance


def test_a_doubt_waits_until_the_card_is_seen_again(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    office.acknowledged(till.batch())
    assert doubt_of(office, till) == ("open", "")
    assert office.owed_to_outlets() == ZERO
    assert circulation(office.world.central).doubts_open_sum == Rupiah(5_000)


def test_paid_by_the_cards_next_sale_at_another_till(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    office.acknowledged(till.batch())
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    assert doubt_of(office, till) == ("paid", "card")
    assert office.owed_to_outlets() == Rupiah(6_000)
    assert_ledger_is_card(office, card)
    assert office.anomalies() == set()


def test_paid_when_the_next_sale_is_reported_before_the_doubt(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    assert office.anomalies() == set(), "the till may still report"
    office.acknowledged(till.batch())
    assert doubt_of(office, till) == ("paid", "card")
    assert office.owed_to_outlets() == Rupiah(6_000)
    assert_ledger_is_card(office, card)


def test_paid_by_the_cards_next_credit(
    office: Office, till: ModelTill, station: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    office.acknowledged(till.batch())
    office.world.top_up(station, card, Rupiah(20_000))
    assert doubt_of(office, till) == ("paid", "card")
    assert_ledger_is_card(office, card)


def test_not_paid_by_the_cards_next_sale(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=False)
    office.acknowledged(till.batch())
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    assert doubt_of(office, till) == ("not_paid", "card")
    assert office.owed_to_outlets() == Rupiah(1_000)
    assert_ledger_is_card(office, card)


def test_two_doubts_in_a_row_are_both_settled(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    other.doubt(card, Rupiah(3_000), committed=False)
    other.doubt(card, Rupiah(2_000), committed=True)
    till.sell(card, Rupiah(1_000))
    for sender in (other, till):
        office.acknowledged(sender.batch())
    assert doubt_of(office, till) == ("paid", "card")
    assert doubt_of(office, other, 1) == ("not_paid", "card")
    assert doubt_of(office, other, 2) == ("paid", "card")
    assert office.owed_to_outlets() == Rupiah(8_000)
    assert_ledger_is_card(office, card)


def test_paid_by_a_resolution_with_the_cards_mac(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    counter, mac = till.doubt(card, Rupiah(5_000), committed=True)
    office.acknowledged(till.batch())
    till.resolve(card, 1, Outcome.PAID, counter, mac)
    assert office.acknowledged(till.batch()).quarantined == ()
    assert doubt_of(office, till) == ("paid", "resolution")
    assert office.owed_to_outlets() == Rupiah(5_000)
    assert_ledger_is_card(office, card)


def test_a_resolution_with_a_wrong_mac_is_quarantined_and_settles_nothing(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=False)
    till.resolve(card, 1, Outcome.PAID, 2, bytes(8))
    assert office.acknowledged(till.batch()).quarantined == ((2, "wrong-card-mac"),)
    assert doubt_of(office, till) == ("open", "")
    assert office.owed_to_outlets() == ZERO


def test_a_tills_bare_word_that_it_was_paid_posts_nothing(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    till.resolve(card, 1, Outcome.PAID)
    office.acknowledged(till.batch())
    assert doubt_of(office, till) == ("open", "")
    assert office.owed_to_outlets() == ZERO
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    assert doubt_of(office, till) == ("paid", "card")


def test_a_tills_word_that_it_was_not_paid_is_taken(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=False)
    till.resolve(card, 1, Outcome.NOT_PAID)
    office.acknowledged(till.batch())
    assert doubt_of(office, till) == ("not_paid", "resolution")
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    assert doubt_of(office, till) == ("not_paid", "card")
    assert office.anomalies() == set()


@pytest.mark.parametrize("late", [False, True])
def test_a_denied_sale_that_the_card_made_is_posted_and_reported(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard, *, late: bool
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    till.resolve(card, 1, Outcome.NOT_PAID)
    other.sell(card, Rupiah(1_000))
    for sender in (other, till) if late else (till, other):
        office.acknowledged(sender.batch())
    assert doubt_of(office, till) == ("paid", "card")
    assert office.anomalies() == {"denied-sale-was-paid"}
    assert office.owed_to_outlets() == Rupiah(6_000)
    assert_ledger_is_card(office, card)


@pytest.mark.parametrize("late", [False, True])
def test_a_voided_sale_that_the_card_made_goes_to_suspense(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard, *, late: bool
) -> None:
    card.commit(card.stage_sale(till.next_reader_id, Rupiah(5_000)))
    till.void(card, Rupiah(5_000))
    other.sell(card, Rupiah(1_000))
    for sender in (other, till) if late else (till, other):
        office.acknowledged(sender.batch())
    now = circulation(office.world.central)
    assert (now.suspense, now.owed_to_outlets) == (Rupiah(5_000), Rupiah(1_000))
    assert office.anomalies() == {"transaction-without-voucher"}
    assert_ledger_is_card(office, card)


def test_a_sale_hidden_behind_another_voucher_is_found(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    """The till put a sale with another card under the number it gave this card."""
    card.commit(card.stage_sale(till.next_reader_id, Rupiah(5_000)))
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    second = office.world.card(4712)
    till.void(second, Rupiah(1))
    office.acknowledged(till.batch())
    assert office.anomalies() == {"transaction-without-voucher"}
    assert circulation(office.world.central).suspense == Rupiah(5_000)


def test_a_doubt_with_a_false_amount_is_disputed_and_pays_nobody(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    """The card lost Rp 1.000; the till's evidence, which no MAC covers, says Rp 9.000."""
    false = card.stage_sale(till.next_reader_id, Rupiah(9_000))
    card.commit(card.stage_sale(till.next_reader_id, Rupiah(1_000)))
    till.append_doubt(card, false)
    other.sell(card, Rupiah(500))
    for sender in (till, other):
        office.acknowledged(sender.batch())
    assert doubt_of(office, till) == ("disputed", "card")
    now = circulation(office.world.central)
    assert (now.suspense, now.owed_to_outlets) == (Rupiah(1_000), Rupiah(500))
    assert_ledger_is_card(office, card)


def test_what_is_proved_later_goes_out_of_suspense_again(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    """Two sales between two known ones: one hidden, one in doubt, whose MAC comes afterwards."""
    card.commit(card.stage_sale(other.next_reader_id, Rupiah(3_000)))
    other.void(card, Rupiah(3_000))
    counter, mac = till.doubt(card, Rupiah(5_000), committed=True)
    other.sell(card, Rupiah(1_000))
    for sender in (till, other):
        office.acknowledged(sender.batch())
    assert circulation(office.world.central).suspense == Rupiah(8_000)
    assert doubt_of(office, till) == ("disputed", "card")
    till.resolve(card, 1, Outcome.PAID, counter, mac)
    office.acknowledged(till.batch())
    now = circulation(office.world.central)
    assert doubt_of(office, till) == ("paid", "resolution")
    assert (now.suspense, now.owed_to_outlets) == (Rupiah(3_000), Rupiah(6_000))
    assert_ledger_is_card(office, card)


def test_reconciling_finds_what_ingest_had_no_occasion_to_look_at(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard
) -> None:
    """As when two batches were taken at one moment: the head of `till` moved unseen."""
    card.commit(card.stage_sale(till.next_reader_id, Rupiah(5_000)))
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    central = office.world.central
    assert reconcile(central.database, central.mac_keys(), START) == 1
    assert office.anomalies() == set(), "the till may still report"
    with central.database.write() as connection:
        connection.execute(
            update(terminals).where(terminals.c.id == till.terminal_id).values(head_sequence=1)
        )
    for _ in range(2):
        assert reconcile(central.database, central.mac_keys(), START) == 1
        assert office.anomalies() == {"transaction-without-voucher"}
        assert circulation(central).suspense == Rupiah(5_000)


def test_a_resolution_of_nothing_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(1_000))
    till.resolve(card, 1, Outcome.NOT_PAID)
    assert office.acknowledged(till.batch()).quarantined == ((2, "resolves-nothing"),)


def test_a_doubt_in_the_same_batch_as_its_resolution_is_settled(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    counter, mac = till.doubt(card, Rupiah(5_000), committed=True)
    till.resolve(card, 1, Outcome.PAID, counter, mac)
    office.acknowledged(till.batch())
    assert doubt_of(office, till) == ("paid", "resolution")


def test_a_resolution_whose_number_is_taken_by_another_sale_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    clone = dataclasses.replace(card)
    counter, mac = till.doubt(clone, Rupiah(5_000), committed=True)
    till.sell(card, Rupiah(1_000))
    till.resolve(card, 1, Outcome.PAID, counter, mac)
    assert office.acknowledged(till.batch()).quarantined == ((3, "duplicate-counter"),)


def test_a_credit_in_doubt_is_delivered_by_the_cards_next_sale(
    office: Office, till: ModelTill, station: ModelTill, card: ModelCard
) -> None:
    card.commit(office.world.top_up_in_doubt(station, card, Rupiah(30_000)))
    assert circulation(office.world.central).in_flight == Rupiah(30_000)
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    assert circulation(office.world.central).in_flight == ZERO
    assert_ledger_is_card(office, card)
    assert office.anomalies() == set()


def test_a_credit_in_doubt_that_did_not_arrive_stays_in_flight(
    office: Office, till: ModelTill, station: ModelTill, card: ModelCard
) -> None:
    office.world.top_up_in_doubt(station, card, Rupiah(30_000))
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    assert circulation(office.world.central).in_flight == Rupiah(30_000)
    assert_ledger_is_card(office, card)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_reports_does_not_matter(
    office: Office, till: ModelTill, other: ModelTill, card: ModelCard, order: tuple[int, ...]
) -> None:
    third = office.world.till("Toko Tiga")
    till.sell(card, Rupiah(1_000))
    other.doubt(card, Rupiah(2_000), committed=True)
    third.doubt(card, Rupiah(4_000), committed=False)
    till.doubt(card, Rupiah(8_000), committed=True)
    third.sell(card, Rupiah(16_000))
    senders = (till, other, third)
    for index in order:
        office.acknowledged(senders[index].batch())
    assert office.owed_to_outlets() == Rupiah(27_000)
    assert_ledger_is_card(office, card)
    assert office.anomalies() == set()
    assert circulation(office.world.central).doubts_open == 0


def test_a_till_has_a_card_in_doubt_only_so_often(
    office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each open doubt is searched for at every word of the card: a till must not pile them up."""
    monkeypatch.setattr("dobmi.central.second_look.OPEN_DOUBTS_MAX", 3)
    for _ in range(4):  # each settled by the next tap, as an honest till does: never too many
        till.doubt(card, Rupiah(1_000), committed=False)
        till.resolve(card, len(till.vouchers), Outcome.NOT_PAID)
    assert office.acknowledged(till.batch()).quarantined == ()
    for _ in range(2):
        till.doubt(card, Rupiah(1_000), committed=False)
    assert office.acknowledged(till.batch()).quarantined == ()
    for _ in range(3):
        till.doubt(card, Rupiah(1_000), committed=False)
    till.resolve(card, 13, Outcome.NOT_PAID)
    assert office.acknowledged(till.batch()).quarantined == (
        (12, "too-many-doubts"),
        (13, "too-many-doubts"),
        (14, "resolves-nothing"),
    )
    assert office.anomalies() == {"too-many-doubts"}
    assert circulation(office.world.central).doubts_open == 3
    till.resolve(card, 9, Outcome.NOT_PAID)
    till.doubt(card, Rupiah(1_000), committed=False)
    assert office.acknowledged(till.batch()).quarantined == ()
