"""P3: a till that relays a card session, holds the debit key and lies about what the card says."""

from __future__ import annotations

from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.cards import order_credit, statement_of
from dobmi.central.schema import CreditSource
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.money import Rupiah
from dobmi.sync.relay import Done, Failed
from support.card_sessions import deliver, issue
from support.central_client import Office
from support.lying_till import LyingTill
from support.purses import purse_of
from support.traffic import ModelTill


def order(office: Office, card: SimulatedCard, station: ModelTill) -> None:
    order_credit(
        office.world.central,
        card.uid,
        Rupiah(7_000),
        CreditSource.CASH,
        idempotency_key="order-0001",
        station=station.terminal_id,
    )


def test_a_till_cannot_have_a_credit_delivered_twice(office: Office) -> None:
    central = office.world.central
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
