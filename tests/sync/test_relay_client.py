"""A relayed card session: the central server works with a card that lies at the station."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import CardRemoved
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.server import Central
from dobmi.errors import MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command
from dobmi.money import Rupiah
from dobmi.sync.client import HttpClient, Requester, enrol
from dobmi.sync.errors import RelayInterrupted, ServerRefused, ServerUnreachable
from dobmi.sync.relay import (
    Action,
    CardGone,
    Commands,
    CreditResult,
    Done,
    Failed,
    IssueResult,
    RelayMessage,
    Responses,
    Start,
    decode_relay,
    encode_relay,
)
from dobmi.sync.relay_client import relay_card_session
from support.messages import NOW, TERMINAL_ID, TERMINAL_KEY, TERMINAL_PUBLIC, UID
from support.purses import InProcess
from support.servers import issued, new_central, order, serving, station_invitation
from support.tills import balance_of

COMMIT = 0xC7
REQUESTER = Requester(
    terminal_id=TERMINAL_ID, public_key=TERMINAL_PUBLIC, sign=TERMINAL_KEY.sign, now=lambda: NOW
)
START = Start(Action.CREDIT, UID)


@pytest.fixture
def central(tmp_path: Path) -> Central:
    return new_central(tmp_path, lambda: NOW)


@pytest.fixture
def station(central: Central) -> Iterator[tuple[str, Requester]]:
    """A running server's URL, and an issuing station that it knows."""
    with serving(central) as url:
        signing = KeyRing.generate(signing=["terminal"])
        public_key = signing.public_key("terminal")

        def sign(message: bytes) -> bytes:
            return signing.sign("terminal", message)

        with HttpClient(url) as client:
            enrolment = enrol(client, station_invitation(central), public_key, sign)
        yield (
            url,
            Requester(
                terminal_id=enrolment.terminal_id,
                public_key=public_key,
                sign=sign,
                now=lambda: NOW,
            ),
        )


class TestWithTheCentralServer:
    def test_a_blank_card_becomes_a_purse_and_gets_its_credit(
        self, central: Central, station: tuple[str, Requester]
    ) -> None:
        url, requester = station
        card = SimulatedCard()
        start = Start(Action.ISSUE, card.uid, {1: 4711, 2: "Siti Aminah"})
        issue = IssueResult.from_cbor(
            relay_card_session(url, requester, start, InProcess(card).transmit)
        )
        assert issue.card_serial == statement_of(central, card.uid).serial
        order(central, card, 50_000)
        card.power_off()
        credit = CreditResult.from_cbor(
            relay_card_session(
                url, requester, Start(Action.CREDIT, card.uid), InProcess(card).transmit
            )
        )
        assert credit.balance == Rupiah(50_000)
        assert balance_of(card) == 50_000

    @pytest.mark.parametrize("moment", Moment)
    def test_p1_a_credit_torn_at_its_commit_arrives_exactly_once(
        self, central: Central, station: tuple[str, Requester], moment: Moment
    ) -> None:
        url, requester = station
        card = issued(central, 10_000)
        order(central, card, 5_000)
        start = Start(Action.CREDIT, card.uid)
        torn = InProcess(FaultyCard(card, [at_command(COMMIT, moment)]))
        with pytest.raises(RelayInterrupted) as interrupted:
            relay_card_session(url, requester, start, torn.transmit)
        assert isinstance(interrupted.value.__cause__, CardRemoved)
        assert interrupted.value.money_moved is MoneyMoved.UNKNOWN
        card.power_off()
        relay_card_session(url, requester, start, InProcess(card).transmit)
        assert balance_of(card) == 15_000
        assert circulation(central).difference.amount == 0

    def test_pulled_away_before_the_commit_the_server_says_that_nothing_moved(
        self, central: Central, station: tuple[str, Requester]
    ) -> None:
        url, requester = station
        card = issued(central, 10_000)
        order(central, card, 5_000)
        torn = InProcess(FaultyCard(card, [at_command(0x0C)]))
        with pytest.raises(RelayInterrupted) as interrupted:
            relay_card_session(url, requester, Start(Action.CREDIT, card.uid), torn.transmit)
        assert interrupted.value.money_moved is MoneyMoved.NO
        assert balance_of(card) == 10_000

    def test_a_card_the_server_does_not_know_is_refused_in_its_words(
        self, station: tuple[str, Requester]
    ) -> None:
        url, requester = station
        card = SimulatedCard()
        with pytest.raises(ServerRefused) as refusal:
            relay_card_session(
                url, requester, Start(Action.CREDIT, card.uid), InProcess(card).transmit
            )
        assert refusal.value.facts["problem"] == "CENTRAL-CARD-UNKNOWN"
        assert refusal.value.money_moved is MoneyMoved.NO

    def test_a_stranger_gets_no_session(self, station: tuple[str, Requester]) -> None:
        url, _ = station
        with pytest.raises(ServerRefused) as refusal:
            relay_card_session(url, REQUESTER, START, _no_card)
        assert "401" in str(refusal.value) or "CENTRAL" in str(refusal.value)


@contextmanager
def odd_server(behave: Callable[[ServerConnection], None]) -> Iterator[str]:
    with serve(behave, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def _no_card(_command: bytes) -> bytes:
    raise CardRemoved


def session(behave: Callable[[ServerConnection], None]) -> object:
    with odd_server(behave) as url:
        return relay_card_session(
            url,
            REQUESTER,
            START,
            lambda command: command[1:2] + b"\x91\x00",
            silence_timeout_seconds=0.3,
        )


def read(connection: ServerConnection) -> RelayMessage:
    data = connection.recv()
    assert isinstance(data, bytes)
    return decode_relay(data)


class TestOddServer:
    def test_commands_in_one_message_are_answered_in_one(self) -> None:
        seen: list[RelayMessage] = []

        def behave(connection: ServerConnection) -> None:
            seen.append(read(connection))
            connection.send(encode_relay(Commands((b"\x90\x5a", b"\x90\x71"))))
            seen.append(read(connection))
            connection.send(encode_relay(Done({1: 5})))

        assert session(behave) == {1: 5}
        assert seen == [START, Responses((b"\x5a\x91\x00", b"\x71\x91\x00"))]

    def test_after_a_response_that_is_an_error_the_rest_is_not_sent_to_the_card(self) -> None:
        sent: list[bytes] = []
        answers: list[RelayMessage] = []

        def behave(connection: ServerConnection) -> None:
            read(connection)
            connection.send(encode_relay(Commands((b"\x90\x01", b"\x90\x02", b"\x90\x03"))))
            answers.append(read(connection))
            connection.send(encode_relay(Done({})))

        def transmit(command: bytes) -> bytes:
            sent.append(command)
            return b"\x91\xae" if command == b"\x90\x02" else b"\x91\xaf"

        with odd_server(behave) as url:
            relay_card_session(url, REQUESTER, START, transmit)
        assert sent == [b"\x90\x01", b"\x90\x02"]
        assert answers == [Responses((b"\x91\xaf", b"\x91\xae"))]

    @pytest.mark.parametrize("said", list(MoneyMoved))
    def test_a_card_that_is_gone_is_told_and_the_last_word_is_listened_to(
        self, said: MoneyMoved
    ) -> None:
        told: list[RelayMessage] = []

        def behave(connection: ServerConnection) -> None:
            read(connection)
            connection.send(encode_relay(Commands((b"\x90\x5a",))))
            told.append(read(connection))
            connection.send(encode_relay(Failed("X", "x", "x", said.value)))

        with odd_server(behave) as url, pytest.raises(RelayInterrupted) as interrupted:
            relay_card_session(url, REQUESTER, START, _no_card)
        assert told == [CardGone("CARD-REMOVED", ())]
        assert interrupted.value.money_moved is said

    @pytest.mark.parametrize(
        "message",
        [
            "text",
            b"",
            b"\xff" * 50,
            encode_relay(START),
            encode_relay(Responses((b"\x91\x00",))),
            encode_relay(CardGone("X")),
        ],
    )
    def test_what_no_server_says_ends_the_session(self, message: bytes | str) -> None:
        def behave(connection: ServerConnection) -> None:
            read(connection)
            connection.send(message)

        with pytest.raises(RelayInterrupted) as interrupted:
            session(behave)
        assert interrupted.value.money_moved is MoneyMoved.UNKNOWN

    def test_a_message_too_long_ends_the_session(self) -> None:
        def behave(connection: ServerConnection) -> None:
            read(connection)
            connection.send(bytes(100_000))

        with pytest.raises(RelayInterrupted):
            session(behave)

    def test_silence_ends_the_session(self) -> None:
        def behave(connection: ServerConnection) -> None:
            read(connection)
            with suppress(ConnectionClosed):
                connection.recv()  # until the client has had enough

        with pytest.raises(RelayInterrupted, match="silent"):
            session(behave)

    def test_a_server_that_hangs_up_ends_the_session(self) -> None:
        def behave(connection: ServerConnection) -> None:
            read(connection)
            connection.close()

        with pytest.raises(RelayInterrupted, match="closed"):
            session(behave)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "ftp://x", ""])
    def test_nobody_there_is_unreachable(self, url: str) -> None:
        with pytest.raises(ServerUnreachable):
            relay_card_session(url, REQUESTER, START, _no_card)
