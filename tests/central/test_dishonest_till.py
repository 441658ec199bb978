"""P3: a till that relays a card session, holds the debit key and lies about what the card says."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from dobmi.cardlib.purse_layout import CardKey, ReaderId
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_settlement import settle_credit
from dobmi.central.errors import CreditNotInDoubt, CreditNotPlaced, CreditNotSeen, UnknownCredit
from dobmi.central.schema import CreditSource, credit_settlements, postings
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command
from dobmi.money import ZERO, Rupiah
from dobmi.sync.relay import Done, Failed
from support.card_sessions import deliver, issue
from support.central_client import Office
from support.lying_till import GarblingTill, LyingTill, RenamingTill
from support.purses import purse_of
from support.traffic import ModelTill


def order(office: Office, card: SimulatedCard, station: ModelTill, key: str = "order-0001") -> None:
    order_credit(
        office.world.central,
        card.uid,
        Rupiah(7_000),
        CreditSource.CASH,
        idempotency_key=key,
        station=station.terminal_id,
    )


def test_a_till_cannot_have_a_credit_delivered_twice(office: Office) -> None:
    central = office.world.central
    office.world.clerks("Ani")
    station, till = office.world.station(), office.world.till()
    card = SimulatedCard()
    issue(office.client, station, card)
    order(office, card, station)
    lying = LyingTill(card, central.keys.card_key(CardKey.DEBIT, card.uid).value)
    assert isinstance(deliver(office.client, till, lying), Failed)
    deliver(office.client, till, lying)
    assert purse_of(card, central.keys).read().balance == Rupiah(7_000)
    assert statement_of(central, card.uid).balance == Rupiah(7_000)


def test_a_till_cannot_have_the_server_search_without_end(office: Office) -> None:
    """The number of the card's newest transaction passes the till, and the server holds its
    ledger's lock while it looks for the credit among the numbers up to there.
    """
    central = office.world.central
    office.world.clerks("Ani")
    station, till = office.world.station(), office.world.till()
    card = SimulatedCard()
    issue(office.client, station, card)
    order(office, card, station)
    lying = LyingTill(card, central.keys.card_key(CardKey.DEBIT, card.uid).value)
    lying.exaggerates = True
    assert isinstance(deliver(office.client, till, lying), Failed)
    purse = purse_of(card, central.keys)  # a sale, so that the credit is not the newest
    purse.begin_sale(till.next_reader_id)
    purse.stage(purse.prepare_debit(Rupiah(2_000), 1_800_000_000))
    purse.commit()
    last = deliver(office.client, till, lying)
    assert lying.lies
    assert isinstance(last, Failed)
    assert last.money_moved == "unknown"
    assert isinstance(deliver(office.client, station, card), Done)
    assert statement_of(central, card.uid).balance == Rupiah(7_000)


def sell(
    office: Office,
    card: SimulatedCard,
    till: ModelTill,
    amount: Rupiah,
    *,
    is_reported: bool = True,
) -> None:
    """A sale at an honest till."""
    purse = purse_of(card, office.world.central.keys)
    purse.begin_sale(till.next_reader_id)
    prepared = purse.prepare_debit(amount, 1_800_000_000)
    purse.stage(prepared)
    last = purse.commit()
    till.append_evidence(card.uid, prepared.evidence, amount, last.counter, last.mac)
    if is_reported:
        assert office.acknowledged(till.batch()).quarantined == ()


@pytest.mark.parametrize("renames", [True, False], ids=["command", "answer"])
@pytest.mark.parametrize("sales", [0, 1, 2], ids=["last", "one sale later", "two sales later"])
def test_a_credit_that_a_till_made_unprovable_is_settled_on_the_cards_word(
    office: Office, *, renames: bool, sales: int
) -> None:
    """The card has the money, no evidence fits its MAC: all later credits wait until a person says."""
    central = office.world.central
    office.world.clerks("Ani")
    station, till, honest = office.world.station(), office.world.till(), office.world.till()
    card = SimulatedCard()
    issue(office.client, station, card)
    order(office, card, station)
    assert isinstance(deliver(office.client, station, card), Done)
    order(office, card, station, "order-0002")
    key = central.keys.card_key(CardKey.DEBIT, card.uid).value
    name = ReaderId(terminal_id=honest.terminal_id, sequence=9).encode()
    lying = RenamingTill(card, key, name) if renames else GarblingTill(card, key)
    assert isinstance(deliver(office.client, till, lying), Failed)
    on_card = purse_of(card, central.keys).read().balance
    assert on_card == Rupiah(14_000)
    with pytest.raises(CreditNotSeen):
        settle_credit(central, card.uid, 2, reason="diubah", settled_by="Ani")
    for _ in range(sales):
        sell(office, card, honest, Rupiah(2_000))
    order(office, card, station, "order-0003")
    last = deliver(office.client, station, card)
    if isinstance(last, Failed):
        assert last.code == "CARD-TMAC"
        assert last.money_moved == "unknown"
        assert "credit-without-proof" in office.anomalies()
        settled = settle_credit(central, card.uid, 2, reason="diubah", settled_by="Ani")
        assert (settled.amount, settled.counter) == (Rupiah(7_000), 2)
        with central.database.read() as connection:
            kept = connection.execute(select(credit_settlements)).one()
            said = connection.execute(
                select(postings.c.explanation).where(
                    postings.c.kind == "delivered", postings.c.sequence == 2
                )
            ).scalar_one()
        assert (kept.settled_by, kept.reason, kept.counter) == ("Ani", "diubah", 2)
        assert "Ani: diubah" in said
        with pytest.raises(CreditNotInDoubt):
            settle_credit(central, card.uid, 2, reason="lagi", settled_by="Ani")
        assert isinstance(deliver(office.client, station, card), Done)
    else:  # found by the number it was made for: the command alone was changed
        assert renames
        assert sales
    sell(office, card, honest, Rupiah(1_000))
    on_card = purse_of(card, central.keys).read().balance
    assert on_card == Rupiah(21_000 - 2_000 * sales - 1_000)
    assert statement_of(central, card.uid).balance == on_card
    now = circulation(central)
    assert (now.difference, now.suspense, now.in_flight) == (ZERO, ZERO, ZERO)
    assert now.on_cards_by_their_own_word == on_card


@pytest.mark.parametrize("is_reported", [True, False])
def test_an_older_attempt_does_not_prove_a_credit_at_the_number_of_a_sale(
    office: Office, *, is_reported: bool
) -> None:
    """The first attempt never reached the card, which then bought; a till made the second unprovable."""
    central = office.world.central
    office.world.clerks("Ani")
    station, till, honest = office.world.station(), office.world.till(), office.world.till()
    card = SimulatedCard()
    issue(office.client, station, card)
    order(office, card, station)
    assert isinstance(deliver(office.client, station, card), Done)
    order(office, card, station, "order-0002")
    torn = FaultyCard(card, [at_command(0xC7, Moment.BEFORE)])
    assert isinstance(deliver(office.client, station, torn), Failed)
    torn.power_off()
    sell(office, card, honest, Rupiah(2_000), is_reported=is_reported)
    key = central.keys.card_key(CardKey.DEBIT, card.uid).value
    assert isinstance(deliver(office.client, till, GarblingTill(card, key)), Failed)
    sell(office, card, honest, Rupiah(1_000), is_reported=is_reported)
    last = deliver(office.client, station, card)
    assert isinstance(last, Failed)
    assert last.code == "CARD-TMAC"
    assert "credit-without-proof" in office.anomalies()
    if not is_reported:
        assert office.acknowledged(honest.batch()).quarantined == ()
    assert settle_credit(central, card.uid, 2, reason="diubah", settled_by="Ani").counter == 3
    assert statement_of(central, card.uid).balance == Rupiah(11_000)
    assert circulation(central).suspense == ZERO


def test_an_unprovable_credit_is_not_put_where_another_transaction_is(office: Office) -> None:
    """A relay that hides how often the card was used cannot have the credit explain anything."""
    central = office.world.central
    office.world.clerks("Ani")
    station, till = office.world.station(), office.world.till()
    card = SimulatedCard()
    issue(office.client, station, card)
    order(office, card, station)
    key = central.keys.card_key(CardKey.DEBIT, card.uid).value
    assert isinstance(deliver(office.client, till, GarblingTill(card, key)), Failed)
    exaggerating = LyingTill(card, key)
    exaggerating.swallow_commit, exaggerating.exaggerates = False, True
    assert isinstance(deliver(office.client, till, exaggerating), Failed)
    with pytest.raises(CreditNotPlaced):
        settle_credit(central, card.uid, 1, reason="diubah", settled_by="Ani")
    assert statement_of(central, card.uid).balance == ZERO
    assert isinstance(deliver(office.client, station, card), Failed)
    assert settle_credit(central, card.uid, 1, reason="diubah", settled_by="Ani").counter == 1
    with pytest.raises(UnknownCredit):
        settle_credit(central, card.uid, 2, reason="diubah", settled_by="Ani")
    assert statement_of(central, card.uid).balance == Rupiah(7_000)
