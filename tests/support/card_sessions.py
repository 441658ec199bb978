"""A station's end of a relayed card session, over the test client's WebSocket."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient

from dobmi.cardlib.errors import CardError
from dobmi.cardlib.readers.base import goes_on
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.sync.cbor import CborValue
from dobmi.sync.http import card_session_path
from dobmi.sync.relay import (
    Action,
    CardGone,
    Commands,
    Done,
    Failed,
    RelayMessage,
    Responses,
    Start,
    decode_relay,
    encode_relay,
)
from support.purses import InProcess
from support.traffic import ModelTill

Spoil = Callable[[bytes, bytes], bytes | RelayMessage | None]
"""(command, response) to what the station sends instead: a response, a message, or no more."""


def relay(
    client: TestClient,
    sender: ModelTill,
    card: ContactlessCard,
    action: Action,
    parameters: dict[int, CborValue] | None = None,
    *,
    spoil: Spoil = lambda _command, response: response,
) -> Done | Failed | None:
    """The session's last message; None when the station itself broke off."""
    card.power_off()
    connection = InProcess(card)
    path = card_session_path(action, card.uid)
    header = sender.authorization("GET", path)
    with client.websocket_connect(path, headers={"authorization": header}) as socket:
        socket.send_bytes(encode_relay(Start(action, card.uid, parameters or {})))
        while True:
            message = decode_relay(socket.receive_bytes())
            match message:
                case Done() | Failed():
                    return message
                case Commands(commands):
                    answer = _work(connection, commands, spoil)
                    if answer is None:
                        return None
                    socket.send_bytes(encode_relay(answer))
                case _:
                    raise AssertionError(message)


def _work(connection: InProcess, commands: tuple[bytes, ...], spoil: Spoil) -> RelayMessage | None:
    """What the station sends after a group of commands."""
    responses: list[bytes] = []
    for command in commands:
        try:
            response = spoil(command, connection.transmit(command))
        except CardError as error:
            return CardGone(error.code, tuple(responses))
        if not isinstance(response, bytes):
            return response
        responses.append(response)
        if not goes_on(response):
            break
    return Responses(tuple(responses))


def issue(
    client: TestClient,
    station: ModelTill,
    card: ContactlessCard,
    member_number: int = 4711,
    name: str = "Siti Aminah",
) -> Done | Failed | None:
    return relay(client, station, card, Action.ISSUE, {1: member_number, 2: name})


def deliver(client: TestClient, sender: ModelTill, card: ContactlessCard) -> Done | Failed | None:
    return relay(client, sender, card, Action.CREDIT)
