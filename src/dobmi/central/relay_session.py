"""One relayed card session on the server's side: the card at the far end of a WebSocket.

The session runs in a thread of its own; `exchange` carries one message there and one back and is
given by the web application. Nothing here knows of HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dobmi.cardlib.errors import (
    CardError,
    CardRemoved,
    CustodyUnavailable,
    GarbledResponse,
    ReaderUnavailable,
)
from dobmi.cardlib.readers.base import Answers, goes_on
from dobmi.cardlib.sealing import unseal
from dobmi.central.acts import Actor
from dobmi.central.credit_session import deliver_credits
from dobmi.central.errors import CentralError, OtherSession
from dobmi.central.inspect_session import inspect_card
from dobmi.central.issue_session import issue_card
from dobmi.central.pin_session import change_card_pin
from dobmi.central.rekey_session import rekey_card
from dobmi.central.retire_session import retire_card
from dobmi.central.schema import Role
from dobmi.central.server import Central
from dobmi.central.terminals import role_of
from dobmi.errors import DoBMIError
from dobmi.sync.cbor import Fields, is_plain
from dobmi.sync.errors import MalformedMessage, RelayInterrupted
from dobmi.sync.http import card_session_query
from dobmi.sync.relay import (
    APDU_LENGTH_MAX,
    COMMANDS_MAX,
    Action,
    Answer,
    CardGone,
    Commands,
    CreditResult,
    Done,
    Failed,
    IssueParameters,
    IssueResult,
    PinParameters,
    PinResult,
    Question,
    RekeyResult,
    RelayMessage,
    Responses,
    SecretPins,
    Start,
    answer_info,
    decode_relay,
    encode_relay,
    question_message,
)
from dobmi.sync.retirement import RetireParameters
from dobmi.wib import days_since_1970

ANSWER_TIMEOUT_SECONDS: Final = 15.0
"""How long a station may take for one exchange with the card."""
SESSION_SECONDS_MAX: Final = 300.0
"""How long a whole session may take: a slow station must not keep a thread of the server for hours."""

Exchange = Callable[[bytes], bytes]
"""Send one encoded message, wait for the next. Raises RelayInterrupted."""


class RelayedCard:
    """A CardConnection over the relay."""

    def __init__(self, uid: bytes, exchange: Exchange) -> None:
        self._uid = uid
        self._exchange = exchange
        self._deadline = time.monotonic() + SESSION_SECONDS_MAX

    @property
    def uid(self) -> bytes:
        return self._uid

    def transmit(self, command: bytes) -> bytes:
        """Raises CardRemoved when the station says so, ReaderUnavailable when it is gone itself."""
        answers = self.transmit_group((command,))
        if answers.error is not None:
            raise answers.error
        return answers.responses[0]

    def transmit_group(self, commands: Sequence[bytes]) -> Answers:
        """One message there and one back. What is said of the card is the station's word."""
        if time.monotonic() > self._deadline:
            return Answers((), 0, ReaderUnavailable(detail="a card session without end"))
        assert len(commands) <= COMMANDS_MAX
        assert max(map(len, commands)) <= APDU_LENGTH_MAX
        error: CardError = CardRemoved()
        try:
            match decode_relay(self._exchange(encode_relay(Commands(tuple(commands))))):
                case Responses(responses):
                    if _fit(responses, commands):
                        return Answers(responses, len(responses))
                    error = GarbledResponse(length=sum(map(len, responses)))
                case CardGone(_, before):
                    if before is not None and _is_beginning(before, commands):
                        return Answers(before, len(before) + 1, error)
                case _:
                    error = ReaderUnavailable(detail="the station answered with another message")
        except (RelayInterrupted, MalformedMessage) as cause:
            error = ReaderUnavailable(detail=cause.explain())
        return Answers((), len(commands), error)  # anything may have reached the card

    def disconnect(self) -> None:
        """The station holds the card; the session's end releases it."""


def _fit(responses: Sequence[bytes], commands: Sequence[bytes]) -> bool:
    """Whether there is one each, or one each up to the first that refused."""
    if not _all_go_on(responses[:-1]):
        return False
    return len(responses) == len(commands) or (
        len(responses) < len(commands) and not goes_on(responses[-1])
    )


def _is_beginning(responses: Sequence[bytes], commands: Sequence[bytes]) -> bool:
    return len(responses) < len(commands) and _all_go_on(responses)


def _all_go_on(responses: Sequence[bytes]) -> bool:
    return all(map(goes_on, responses))


def run_session(
    central: Central,
    start: Start,
    exchange: Exchange,
    translate: Callable[[str], str] = str,
    *,
    relayed_by: int | None = None,
    actor: Actor | None = None,
) -> Done | Failed:
    """Do what the station asked for; its last message. Never raises for what a card can do.

    `relayed_by`: the terminal that relays, to be named beside what no honest relay would show.
    `actor`: who of the staff is logged in there.
    """
    by = actor or Actor("", relayed_by)
    card = RelayedCard(start.card_uid, exchange)
    try:
        if start.action is Action.CREDIT:
            return _credit(central, card, start, relayed_by)
        if start.action is Action.REKEY:
            return _rekey(central, card, start, relayed_by, by)
        if start.action is Action.PIN:
            return _pin(central, card, start, exchange, by)
        if start.action in _WITH_A_CARD:
            return _WITH_A_CARD[start.action](central, card, start, by)
        return _issue(central, card, start, by)
    except (CardError, CentralError, CustodyUnavailable, MalformedMessage) as error:
        return failed(error, translate)


def failed(error: DoBMIError, translate: Callable[[str], str] = str) -> Failed:
    """The station's last message for `error`, in its language, cut to what the format holds."""
    return Failed(
        error.code[:40],
        _one_line(error.explain(translate))[:500],
        _one_line(error.advise(translate))[:500],
        error.money_moved.value,
    )


def _one_line(text: str) -> str:
    """As a message can hold it: a fact in the text may be anything."""
    return "".join(character if is_plain(character) else " " for character in text)


def foreseen_start(query: str) -> Start | None:
    """What a station that asked for this will say first, where that has no parameters."""
    action, _, uid = query.removeprefix("action=").partition("&uid=")
    try:
        start = Start(Action(action), bytes.fromhex(uid))
    except ValueError:
        return None
    is_whole = start.action is Action.CREDIT and query == card_session_query(action, start.card_uid)
    return start if is_whole else None


def parse_start(data: bytes, query: str) -> Start:
    """The first message, which must be what the handshake's `query` says, since that is signed.

    Raises MalformedMessage, OtherSession.
    """
    message: RelayMessage = decode_relay(data)
    if not isinstance(message, Start):
        raise MalformedMessage(detail="a card session begins with what is asked for")
    if query != card_session_query(message.action, message.card_uid):
        raise OtherSession
    if foreseen_start(query) not in (None, message):
        raise MalformedMessage(detail="parameters that this action does not have")
    return message


def _credit(central: Central, card: RelayedCard, start: Start, relayed_by: int | None) -> Done:
    Fields(start.parameters, "credit parameters").finish()
    delivered = deliver_credits(central, card, relayed_by=relayed_by)
    each = tuple((credit.sequence, credit.amount) for credit in delivered.credits)
    return Done(CreditResult(delivered=each, balance=delivered.balance).to_cbor())


def _rekey(
    central: Central, card: RelayedCard, start: Start, relayed_by: int | None, actor: Actor
) -> Done:
    Fields(start.parameters, "rekey parameters").finish()
    at_a_till = relayed_by is not None and role_of(central, relayed_by) is Role.TILL
    done = rekey_card(central, card, at_a_till=at_a_till, actor=actor)
    result = RekeyResult(generation=done.generation, changed_count=len(done.changed))
    return Done(result.to_cbor())


def _pin(
    central: Central, card: RelayedCard, start: Start, exchange: Exchange, actor: Actor
) -> Done:
    """The PINs come sealed to a key of this session: nobody on the way can read them, or later."""
    asked = PinParameters.from_cbor(start.parameters)
    station = actor.station or 0
    private_key = X25519PrivateKey.generate()
    public_key = private_key.public_key().public_bytes_raw()
    signature = central.sign(question_message(start.card_uid, station, public_key))
    try:
        answer = decode_relay(exchange(encode_relay(Question(public_key, signature))))
    except RelayInterrupted as error:
        raise ReaderUnavailable(detail=error.explain()) from error
    if not isinstance(answer, Answer):
        raise MalformedMessage(detail="not the answer to what was asked")
    info = answer_info(start.card_uid, station)
    pins = SecretPins.decode(unseal(private_key.private_bytes_raw(), answer.sealed, info))
    generation = change_card_pin(central, card, asked, pins, actor)
    return Done(PinResult(generation=generation).to_cbor())


def _inspect(central: Central, card: RelayedCard, start: Start, actor: Actor) -> Done:
    del actor
    Fields(start.parameters, "inspect parameters").finish()
    return Done(inspect_card(central, card).to_cbor())


def _retire(central: Central, card: RelayedCard, start: Start, actor: Actor) -> Done:
    asked = RetireParameters.from_cbor(start.parameters)
    return Done(retire_card(central, card, asked, actor).to_cbor())


_WITH_A_CARD: Final = {Action.INSPECT: _inspect, Action.RETIRE: _retire}


def _issue(central: Central, card: RelayedCard, start: Start, actor: Actor) -> Done:
    asked = IssueParameters.from_cbor(start.parameters)
    issued = issue_card(
        central, card, asked.member_number, asked.name, line=asked.line, actor=actor
    )
    result = IssueResult(
        card_serial=issued.holder.card_serial,
        expires_days=days_since_1970(issued.holder.expires),
        generation=issued.generation,
        resumed=issued.resumed,
    )
    return Done(result.to_cbor())
