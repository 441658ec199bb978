"""A session between the central server and a card, relayed by a till or a station.

One WebSocket connection is one session. Every message is deterministic CBOR:

    station -> server   {1: 1, 2: action, 3: card UID, 4: {parameters}}      once, first
    server -> station   {1: 2, 2: [command APDU, ...]}                       to the card, in order
    station -> server   {1: 3, 2: [response APDU, ...]}                      as many, or up to the
                                                                             first that is not 91 00
                                                                             or 91 AF
    station -> server   {1: 4, 2: code, 3: [response APDU, ...]}             the card is gone, after
                                                                             these responses
    server -> station   {1: 7, 2: public key, 3: signature}                  asks for what is secret
    station -> server   {1: 8, 2: sealed}                                    the answer to that
    server -> station   {1: 5, 2: {result}}                                  done: durable centrally
    server -> station   {1: 6, 2: code, 3: text, 4: advice, 5: money moved}  refused or failed

The station understands none of the commands and holds none of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue, Fields, decode, encode
from dobmi.sync.errors import MalformedMessage

MESSAGE_SIZE_MAX = 16_384
COMMANDS_MAX = 16
APDU_LENGTH_MAX = 512
ANSWER_LENGTH_MAX = 200
IDENTIFIED_BY_LENGTH_MAX = 80
NAME_BYTES_MAX = 36
"""Of a member's name in UTF-8: what the card's holder file has room for (docs/card-layout.md)."""
CLAIM_LENGTH_MAX = 40
_CREDITS_MAX = 1000


class Action(StrEnum):
    """What the station asks the server to do with the card. Parameters by field number."""

    CREDIT = "credit"
    """Deliver the card's pending credits: no parameters; the result is a CreditResult."""
    ISSUE = "issue"
    """Make a blank card a purse: 1 member number, 2 name, and if it is for a line of an issuing batch
    3 batch, 4 line, 5 claim; the result is an IssueResult."""
    REKEY = "rekey"
    """Bring a card's keys to the newest generation: no parameters; the result is a RekeyResult."""
    PIN = "pin"
    """Do with the card's PIN what PinParameters say; the PINs themselves are the Answer to the server's
    Question. The result is a PinResult."""
    INSPECT = "inspect"
    """Look at a purse and what the ledger knows of it: no parameters; the result is a CardReport
    (`card_report`)."""
    RETIRE = "retire"
    """End a card: take its money off it, and maybe wipe it; see `retirement`."""


@dataclass(frozen=True, slots=True)
class Start:
    action: Action
    card_uid: bytes
    parameters: dict[int, CborValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """The line of an issuing batch that a card is for, and the run that has claimed it."""

    batch: int
    line: int
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueParameters:
    """Whose purse the card becomes."""

    member_number: int
    name: str
    line: BatchLine | None = None

    def to_cbor(self) -> dict[int, CborValue]:
        value: dict[int, CborValue] = {1: self.member_number, 2: self.name}
        if self.line is not None:
            value |= {3: self.line.batch, 4: self.line.line, 5: self.line.claim}
        return value

    @classmethod
    def from_cbor(cls, value: CborValue) -> IssueParameters:
        """Raises MalformedMessage."""
        fields = Fields(value, "issue parameters")
        member_number, name = fields.uint(1, 32), fields.text(2, NAME_BYTES_MAX)
        line = None
        if fields.has(3):
            line = BatchLine(fields.uint(3), fields.uint(4, 31), fields.text(5, CLAIM_LENGTH_MAX))
            if not line.claim:
                raise MalformedMessage(detail="issue parameters: nobody has claimed the line")
        fields.finish()
        return cls(member_number=member_number, name=name, line=line)


class PinAct(StrEnum):
    """What is to be done with a card's PIN."""

    SET = "set"
    """It has none yet: the new one."""
    CHANGE = "change"
    """The member knows it: the old one and the new one."""
    RESET = "reset"
    """The member has forgotten it, and was identified: the new one."""
    PROVE = "prove"
    """The member knows it: the old one, and what was locked is free again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinParameters:
    """`identified_by`: how the member was identified for a reset; empty else."""

    act: PinAct
    identified_by: str = ""

    def to_cbor(self) -> dict[int, CborValue]:
        return {1: self.act.value, 2: self.identified_by}

    @classmethod
    def from_cbor(cls, value: CborValue) -> PinParameters:
        """Raises MalformedMessage."""
        fields = Fields(value, "PIN parameters")
        try:
            act = PinAct(fields.text(1, 20))
        except ValueError as error:
            raise MalformedMessage(detail="PIN parameters: an unknown act") from error
        identified_by = fields.text(2, IDENTIFIED_BY_LENGTH_MAX)
        fields.finish()
        if (act is PinAct.RESET) != bool(identified_by):
            raise MalformedMessage(detail="PIN parameters: a reset says who was identified how")
        return cls(act=act, identified_by=identified_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPins:
    """What is sealed for the server: as it was typed, and never shown. Empty where there is none."""

    old: str = field(default="", repr=False)
    new: str = field(default="", repr=False)

    def encode(self) -> bytes:
        return encode({1: self.old, 2: self.new})

    @classmethod
    def decode(cls, data: bytes) -> SecretPins:
        """Raises MalformedMessage, which shows nothing of it."""
        try:
            fields = Fields(decode(data, size_max=100), "PINs")
            pins = cls(old=fields.text(1, 20), new=fields.text(2, 20))
            fields.finish()
        except MalformedMessage:
            raise MalformedMessage(detail="not the PINs that were asked for") from None
        return pins


def question_message(card_uid: bytes, terminal_id: int, public_key: bytes) -> bytes:
    """What the server signs of a Question: for this card, this station and this session's key."""
    return b"dobmi/pin-question/1" + card_uid + terminal_id.to_bytes(4, "big") + public_key


def answer_info(card_uid: bytes, terminal_id: int) -> bytes:
    """What an Answer is sealed for (HPKE, cardlib's sealing)."""
    return b"dobmi/pin-answer/1" + card_uid + terminal_id.to_bytes(4, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class PinResult:
    """The card's PIN is as asked; `generation` is that of key 3."""

    generation: int

    def to_cbor(self) -> dict[int, CborValue]:
        return {1: self.generation}

    @classmethod
    def from_cbor(cls, value: CborValue) -> PinResult:
        """Raises MalformedMessage."""
        fields = Fields(value, "PIN result")
        result = cls(generation=fields.uint(1, 8))
        fields.finish()
        return result


@dataclass(frozen=True, slots=True)
class Question:
    """The server asks for something secret: an X25519 key of this session alone, and the server's
    signature over `question_message`.
    """

    public_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Commands:
    commands: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Responses:
    responses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CardGone:
    """`responses`: what the card answered of the group before it was gone. None from stations that
    do not say; then it is not known how far the group came.
    """

    code: str
    responses: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    result: dict[int, CborValue]


@dataclass(frozen=True, slots=True)
class Failed:
    code: str
    text: str
    advice: str
    money_moved: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditResult:
    """What a CREDIT session did: each credit delivered (sequence, amount), the balance after."""

    delivered: tuple[tuple[int, Rupiah], ...]
    balance: Rupiah

    @property
    def total(self) -> Rupiah:
        """Of what was delivered."""
        total = ZERO
        for _, amount in self.delivered:
            total += amount
        return total

    def to_cbor(self) -> dict[int, CborValue]:
        return {
            1: [[sequence, amount.amount] for sequence, amount in self.delivered],
            2: self.balance.amount,
        }

    @classmethod
    def from_cbor(cls, value: CborValue) -> CreditResult:
        """Raises MalformedMessage."""
        fields = Fields(value, "credit result")
        result = cls(
            delivered=tuple(_delivered(item) for item in fields.items(1, _CREDITS_MAX)),
            balance=Rupiah(fields.uint(2, 32)),
        )
        fields.finish()
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueResult:
    """What an ISSUE session did: the card's serial, last valid day (days since 1970), the chip's
    generation, and whether an earlier, interrupted attempt was taken up.
    """

    card_serial: int
    expires_days: int
    generation: str
    resumed: bool

    def to_cbor(self) -> dict[int, CborValue]:
        return {
            1: self.card_serial,
            2: self.expires_days,
            3: self.generation,
            4: int(self.resumed),
        }

    @classmethod
    def from_cbor(cls, value: CborValue) -> IssueResult:
        """Raises MalformedMessage."""
        fields = Fields(value, "issue result")
        result = cls(
            card_serial=fields.uint(1, 32),
            expires_days=fields.uint(2, 16),
            generation=fields.text(3, 40),
            resumed=bool(fields.uint(4, 1)),
        )
        fields.finish()
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeyResult:
    """What a REKEY session did: the generation of the card's keys now, how many were older."""

    generation: int
    changed_count: int

    def to_cbor(self) -> dict[int, CborValue]:
        return {1: self.generation, 2: self.changed_count}

    @classmethod
    def from_cbor(cls, value: CborValue) -> RekeyResult:
        """Raises MalformedMessage."""
        fields = Fields(value, "rekey result")
        result = cls(generation=fields.uint(1, 8), changed_count=fields.uint(2, 8))
        fields.finish()
        return result


RelayMessage = Start | Commands | Responses | CardGone | Done | Failed | Question | Answer


def encode_relay(message: RelayMessage) -> bytes:
    value: CborValue
    match message:
        case Start(action, uid, parameters):
            value = {1: 1, 2: action.value, 3: uid, 4: parameters}
        case Commands(commands):
            value = {1: 2, 2: list(commands)}
        case Responses(responses):
            value = {1: 3, 2: list(responses)}
        case CardGone(code, before):
            value = {1: 4, 2: code}
            if before is not None:
                value[3] = list(before)
        case Done(result):
            value = {1: 5, 2: result}
        case Failed(code, text, advice, money_moved):
            value = {1: 6, 2: code, 3: text, 4: advice, 5: money_moved}
        case Question(public_key, signature):
            value = {1: 7, 2: public_key, 3: signature}
        case Answer(sealed):
            value = {1: 8, 2: sealed}
        case _:
            assert_never(message)
    return encode(value)


def decode_relay(data: bytes) -> RelayMessage:
    """Raises MalformedMessage."""
    fields = Fields(decode(data, size_max=MESSAGE_SIZE_MAX), "relay message")
    message: RelayMessage
    match fields.uint(1, 8):
        case 1:
            message = Start(_action(fields.text(2, 20)), fields.octets(3, 4, 10), fields.map(4))
        case 2:
            message = Commands(_apdus(fields.items(2, COMMANDS_MAX)))
        case 3:
            message = Responses(_apdus(fields.items(2, COMMANDS_MAX)))
        case 4:
            code = fields.text(2, 40)
            before = _apdus(fields.items(3, COMMANDS_MAX), at_least=0) if fields.has(3) else None
            message = CardGone(code, before)
        case 5:
            message = Done(fields.map(2))
        case 6:
            message = Failed(
                fields.text(2, 40),
                fields.text(3, 500),
                fields.text(4, 500),
                fields.text(5, 10),
            )
        case 7:
            message = Question(fields.octets(2, 32), fields.octets(3, 64))
        case 8:
            message = Answer(fields.octets(2, 1, ANSWER_LENGTH_MAX))
        case kind:
            raise MalformedMessage(detail=f"unknown relay message {kind}")
    fields.finish()
    return message


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError as error:
        raise MalformedMessage(detail=f"unknown relay action {text!r}") from error


def _delivered(item: CborValue) -> tuple[int, Rupiah]:
    match item:
        case [int(sequence), int(amount)] if bool not in map(type, item):
            return sequence, Rupiah(amount)
    raise MalformedMessage(detail="not a delivered credit")


def _apdus(items: list[CborValue], at_least: int = 1) -> tuple[bytes, ...]:
    apdus = tuple(
        item for item in items if isinstance(item, bytes) and 2 <= len(item) <= APDU_LENGTH_MAX
    )
    if len(items) < at_least or len(apdus) != len(items):
        raise MalformedMessage(detail="not a list of APDUs")
    return apdus
