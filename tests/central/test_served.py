"""The application as it is served: by uvicorn, to the stations' own client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from dobmi.central.app import create_app
from dobmi.central.cards import statement_of
from dobmi.central.credit_orders import order_credit
from dobmi.central.schema import CreditSource
from dobmi.central.serving import server_config
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.money import Rupiah
from dobmi.sync.client import HttpClient, Requester, SyncClient
from dobmi.sync.errors import ServerRefused
from dobmi.sync.relay import Action, CreditResult, IssueResult, Start
from dobmi.sync.relay_client import relay_card_session
from support.purses import InProcess, purse_of
from support.traffic import START, ModelTill, World


@contextmanager
def served(world: World) -> Iterator[str]:
    config = server_config(create_app(world.central), host="127.0.0.1", port=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def requester(sender: ModelTill) -> Requester:
    return Requester(
        terminal_id=sender.terminal_id,
        public_key=sender.public_key,
        sign=sender.key.sign,
        now=lambda: START,
    )


def test_a_card_is_issued_credited_and_its_sale_uploaded(world: World) -> None:
    station, till = world.station(), world.till()
    card = SimulatedCard()
    connection = InProcess(card)
    with served(world) as url:
        start = Start(Action.ISSUE, card.uid, {1: 4711, 2: "Siti Aminah"})
        issued = relay_card_session(url, requester(station), start, connection.transmit)
        assert IssueResult.from_cbor(issued).card_serial == 1
        order_credit(
            world.central,
            card.uid,
            Rupiah(9_000),
            CreditSource.SALARY,
            idempotency_key="gaji-0001",
            station=station.terminal_id,
        )
        card.power_off()
        start = Start(Action.CREDIT, card.uid)
        credited = relay_card_session(url, requester(till), start, connection.transmit)
        assert CreditResult.from_cbor(credited).balance == Rupiah(9_000)
        purse = purse_of(card, world.central.keys)
        purse.begin_sale(till.next_reader_id)
        prepared = purse.prepare_debit(Rupiah(2_500), START)
        purse.stage(prepared)
        last = purse.commit()
        till.append_evidence(card.uid, prepared.evidence, Rupiah(2_500), last.counter, last.mac)
        client = SyncClient(HttpClient(url), requester(till), world.central.public_key)
        assert client.upload(till.batch()).quarantined == ()
        assert client.fetch_feed(0).credits_waiting == ()
    assert statement_of(world.central, card.uid).balance == Rupiah(6_500)


def test_a_session_that_is_refused_gets_the_reason(world: World) -> None:
    till = world.till()
    till.terminal_id = 99
    card = SimulatedCard()
    with served(world) as url, pytest.raises(ServerRefused) as refused:
        relay_card_session(
            url, requester(till), Start(Action.CREDIT, card.uid), InProcess(card).transmit
        )
    assert refused.value.facts["problem"] == "CENTRAL-UNKNOWN-TERMINAL"
