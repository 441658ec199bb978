"""The station's connection drops at any message of a card session, on its way down or up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum

import pytest
from starlette.testclient import TestClient

from dobmi.cardlib.readers.base import transmit_group
from dobmi.central.app import create_app
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue
from dobmi.sync.http import card_session_path
from dobmi.sync.relay import (
    Action,
    Commands,
    CreditResult,
    Done,
    Responses,
    Start,
    decode_relay,
    encode_relay,
)
from support.card_sessions import deliver, issue, relay
from support.central_client import Office
from support.purses import InProcess, purse_of, ring_in
from support.traffic import ModelTill, World

ISSUE_FEW, REKEY_FEW = (3, 8, 12), (2, 4)


class Way(Enum):
    """DOWN: to the station, which has not read it. UP: to the server; the card has done its part."""

    DOWN = "down"
    UP = "up"


def messages(
    client: TestClient,
    sender: ModelTill,
    card: SimulatedCard,
    action: Action,
    parameters: dict[int, CborValue] | None = None,
    *,
    drop: tuple[Way, int] | None = None,
) -> tuple[int, Done | None]:
    """How many messages came down before the connection dropped, or the session's result."""
    card.power_off()
    connection = InProcess(card)
    path = card_session_path(action, card.uid)
    header = sender.authorization("GET", path)
    with client.websocket_connect(path, headers={"authorization": header}) as socket:
        if drop == (Way.UP, 0):
            return 0, None
        socket.send_bytes(encode_relay(Start(action, card.uid, parameters or {})))
        for number in range(1000):
            received = socket.receive_bytes()
            if drop == (Way.DOWN, number):
                return number, None
            message = decode_relay(received)
            if isinstance(message, Done):
                return number + 1, message
            assert isinstance(message, Commands), message
            answers = transmit_group(connection, message.commands)
            if drop == (Way.UP, number + 1):
                return number, None
            socket.send_bytes(encode_relay(Responses(answers.responses)))
    raise AssertionError("a session without end")


@pytest.fixture
def station(office: Office) -> ModelTill:
    return office.world.station()


@pytest.fixture
def card(office: Office, station: ModelTill) -> SimulatedCard:
    card = SimulatedCard()
    assert isinstance(issue(office.client, station, card), Done)
    return card


def order(office: Office, station: ModelTill, card: SimulatedCard, amount: int) -> None:
    answer = office.signed(
        station,
        "POST",
        "/v1/credits",
        {
            "card_uid": card.uid.hex().upper(),
            "amount_rupiah": amount,
            "source": "cash",
            "idempotency_key": f"order-{amount:06}",
        },
    )
    assert answer.status_code == 201


def balance(office: Office, card: SimulatedCard) -> Rupiah:
    """As the card says it, which must be what the ledger says."""
    on_card = purse_of(card, office.world.central.keys).read().balance
    assert statement_of(office.world.central, card.uid).balance == on_card
    assert circulation(office.world.central).difference == ZERO
    return on_card


@pytest.mark.parametrize("way", Way)
def test_a_credit_whose_connection_drops_at_any_message_arrives_exactly_once(
    office: Office, station: ModelTill, card: SimulatedCard, way: Way
) -> None:
    order(office, station, card, 1_000)
    count, done = messages(office.client, station, card, Action.CREDIT)
    assert done is not None
    assert count == 6, "five groups and the result: no fewer can do it"
    expected = 1_000
    for number in range(count):
        amount = 500 + number
        order(office, station, card, amount)
        _, done = messages(office.client, station, card, Action.CREDIT, drop=(way, number))
        assert done is None
        again = deliver(office.client, station, card)
        assert isinstance(again, Done), (number, again)
        # All but the last message down: there it was delivered, and only the word of it was lost.
        lost_result = way is Way.DOWN and number == count - 1
        amounts = [one.amount for _, one in CreditResult.from_cbor(again.result).delivered]
        assert amounts == ([] if lost_result else [amount]), number
        expected += amount
        assert balance(office, card) == Rupiah(expected)
    assert circulation(office.world.central).in_flight == ZERO
    assert office.anomalies() == set()


def issue_dropped(office: Office, station: ModelTill, numbers: Callable[[int], list[int]]) -> None:
    parameters: dict[int, CborValue] = {1: 5000, 2: "Budi"}
    count, _ = messages(office.client, station, SimulatedCard(), Action.ISSUE, parameters)
    for way in Way:
        for number in numbers(count):
            card = SimulatedCard()
            member = 6000 + number * 2 + (way is Way.UP)
            parameters = {1: member, 2: "Budi"}
            drop = (way, number)
            messages(office.client, station, card, Action.ISSUE, parameters, drop=drop)
            assert isinstance(issue(office.client, station, card, member, "Budi"), Done), drop
            view = purse_of(card, office.world.central.keys).read()
            assert view.holder.member_number == member


def test_issuing_goes_on_where_the_connection_dropped(office: Office, station: ModelTill) -> None:
    issue_dropped(office, station, lambda count: [n for n in ISSUE_FEW if n < count])


@pytest.mark.search
def test_issuing_goes_on_wherever_the_connection_dropped(
    office: Office, station: ModelTill
) -> None:
    issue_dropped(office, station, lambda count: list(range(count)))


@pytest.fixture
def renewed(office: Office) -> Iterator[Office]:
    """The same books, with a new generation of keys."""
    central = replace(office.world.central, keys=ring_in(office.world.central.keys).renewed())
    with TestClient(create_app(central)) as client:
        yield Office(World(central), client)


def rekey_dropped(
    office: Office, renewed: Office, station: ModelTill, numbers: Callable[[int], list[int]]
) -> None:
    first = SimulatedCard()
    assert isinstance(issue(office.client, station, first, 5000, "Budi"), Done)
    count, _ = messages(renewed.client, station, first, Action.REKEY)
    for way in Way:
        for number in numbers(count):
            card = SimulatedCard()
            member = 6000 + number * 2 + (way is Way.UP)
            assert isinstance(issue(office.client, station, card, member, "Budi"), Done)
            messages(renewed.client, station, card, Action.REKEY, drop=(way, number))
            order(renewed, station, card, 700 + member)
            assert isinstance(deliver(renewed.client, station, card), Done), (way, number)
            assert isinstance(relay(renewed.client, station, card, Action.REKEY), Done)
            assert balance(renewed, card) == Rupiah(700 + member)


def test_a_card_whose_new_keys_were_interrupted_works_on(
    office: Office, renewed: Office, station: ModelTill
) -> None:
    rekey_dropped(office, renewed, station, lambda count: [n for n in REKEY_FEW if n < count])


@pytest.mark.search
def test_a_card_whose_new_keys_were_interrupted_anywhere_works_on(
    office: Office, renewed: Office, station: ModelTill
) -> None:
    rekey_dropped(office, renewed, station, lambda count: list(range(count)))
