"""The station's end of a relayed card session: bytes between the central server and a card.

It understands none of the commands. docs/formats/relay.md has the messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import DEFAULT_LANGUAGE, N_
from dobmi.sync import http
from dobmi.sync.cbor import CborValue
from dobmi.sync.client import Requester, money_moved_of, refusal_of
from dobmi.sync.errors import (
    MalformedMessage,
    RelayInterrupted,
    ServerFails,
    ServerRefused,
    ServerUnreachable,
)
from dobmi.sync.relay import (
    MESSAGE_SIZE_MAX,
    Answer,
    CardGone,
    Commands,
    Done,
    Failed,
    Question,
    RelayMessage,
    Responses,
    Start,
    decode_relay,
    encode_relay,
)

Transmit = Callable[[bytes], bytes]
"""One exchange with the card: a command APDU in, its response APDU out. A card that is gone is a DoBMIError."""


class Channel(Protocol):
    """An open connection of whole messages; websockets' own, or a simulated one."""

    def send(self, message: bytes) -> None:
        """Raises ConnectionClosed, OSError."""

    def recv(self, timeout: float | None = None) -> bytes | str:
        """The next message. Raises TimeoutError, ConnectionClosed, OSError."""


OpenChannel = Callable[..., AbstractContextManager[Channel]]
"""As `websockets.sync.client.connect`, with the keywords that are used here."""

# A connection that breaks is raised here in our words; without a handler of anybody's, the library would
# print its own, a traceback, between what a clerk is told.
logging.getLogger("websockets.client").addHandler(logging.NullHandler())

_COMMANDS_MAX = 2_000
_LAST_WORD_SECONDS = 3.0
_GOES_ON = (b"\x91\x00", b"\x91\xaf")


def relay_card_session(
    server_url: str,
    requester: Requester,
    start: Start,
    transmit: Transmit,
    *,
    language: str = DEFAULT_LANGUAGE,
    connect_timeout_seconds: float = 5,
    silence_timeout_seconds: float = 20,
    whole_timeout_seconds: float | None = None,
    open_channel: OpenChannel = connect,
    answer: Callable[[Question], bytes] | None = None,
) -> dict[int, CborValue]:
    """Let the central server work with the card behind `transmit`; its result, durable there.

    Raises ServerUnreachable and ServerRefused (nothing reached the card, or as the server says),
    RelayInterrupted: the card left or the connection broke, and what the server knows of it is
    in `money_moved`. The card's own error is its cause. A session that takes longer than
    `whole_timeout_seconds` with all there is to it is broken off: what waits, waits on.

    `answer`: what to seal for the server's question, sealed; it raises if that is not the server's.
    """
    deadline = None if whole_timeout_seconds is None else monotonic() + whole_timeout_seconds
    path = http.card_session_path(start.action, start.card_uid)
    headers = {**requester.headers("GET", path), "Accept-Language": language}
    try:
        with open_channel(
            _websocket_url(server_url, path),
            additional_headers=headers,
            open_timeout=connect_timeout_seconds,
            close_timeout=0,  # the last word has been said: nobody waits for a farewell
            max_size=MESSAGE_SIZE_MAX,
        ) as connection:
            session = _Session(connection, silence_timeout_seconds, deadline, answer)
            return session.run(start, transmit)
    except InvalidStatus as error:
        response = error.response
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status_code >= 500:
            detail = f"it answers with status {response.status_code}"
            raise ServerFails(detail=detail) from error
        raise refusal_of(response.status_code, media_type, bytes(response.body or b"")) from error
    except (OSError, TimeoutError, WebSocketException) as error:
        raise ServerUnreachable(detail=N_("no connection for a card session")) from error


class _Session:
    def __init__(
        self,
        connection: Channel,
        silence_timeout_seconds: float,
        deadline: float | None,
        answer: Callable[[Question], bytes] | None,
    ) -> None:
        self._deadline = deadline
        self._connection = connection
        self._answer = answer
        self._silence_timeout_seconds = silence_timeout_seconds

    def run(self, start: Start, transmit: Transmit) -> dict[int, CborValue]:
        self._send(start)
        for _ in range(_COMMANDS_MAX):
            match self._receive(self._silence_timeout_seconds):
                case Commands(commands):
                    self._send(self._work(commands, transmit))
                case Question() as question if self._answer is not None:
                    self._send(Answer(self._answer(question)))
                case Done(result):
                    return result
                case Failed() as failed:
                    raise ServerRefused(
                        problem=failed.code,
                        detail=failed.text,
                        advice=failed.advice,
                        money_moved=_moved(failed),
                    )
                case _:
                    raise RelayInterrupted(detail=N_("the server sent what only a station sends"))
        raise RelayInterrupted(detail=N_("the session does not end"))

    def _work(self, commands: tuple[bytes, ...], transmit: Transmit) -> Responses:
        """Answers in order, up to the first that ends the sequence. Raises RelayInterrupted."""
        responses: list[bytes] = []
        for command in commands:
            try:
                response = transmit(command)
            except DoBMIError as error:
                raise RelayInterrupted(
                    detail=error.explain(), money_moved=self._after_card_gone(error, responses)
                ) from error
            responses.append(response)
            if response[-2:] not in _GOES_ON:
                break
        return Responses(tuple(responses))

    def _after_card_gone(self, error: DoBMIError, responses: list[bytes]) -> MoneyMoved:
        """Tell the server; it may know, and say, whether money had moved before."""
        try:
            self._send(CardGone(error.code, tuple(responses)))
            last = self._receive(_LAST_WORD_SECONDS)
        except RelayInterrupted:
            return MoneyMoved.UNKNOWN
        return _moved(last) if isinstance(last, Failed) else MoneyMoved.UNKNOWN

    def _send(self, message: RelayMessage) -> None:
        try:
            self._connection.send(encode_relay(message))
        except (ConnectionClosed, OSError) as error:
            raise RelayInterrupted(detail=N_("the connection closed")) from error

    def _receive(self, timeout_seconds: float) -> RelayMessage:
        if self._deadline is not None:
            timeout_seconds = min(timeout_seconds, max(0.0, self._deadline - monotonic()))
        try:
            data = self._connection.recv(timeout=timeout_seconds)
        except TimeoutError as error:
            raise RelayInterrupted(detail=N_("the server fell silent")) from error
        except (ConnectionClosed, OSError) as error:
            raise RelayInterrupted(detail=N_("the connection closed")) from error
        if isinstance(data, str):
            raise RelayInterrupted(detail=N_("the server sent text"))
        try:
            return decode_relay(data)
        except MalformedMessage as error:
            raise RelayInterrupted(detail=error.explain()) from error


def _moved(failed: Failed) -> MoneyMoved:
    return money_moved_of(failed.money_moved) if failed.money_moved else MoneyMoved.UNKNOWN


def _websocket_url(server_url: str, path: str) -> str:
    """`https://host/base` to `wss://host/base/v1/card-sessions?…`."""
    parts = urlsplit(server_url.rstrip("/"))
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise ServerUnreachable(detail=f"{server_url!r} is no http or https address")
    return urlunsplit((scheme, parts.netloc, parts.path, "", "")) + path
