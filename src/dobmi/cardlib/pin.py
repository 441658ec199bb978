"""The member's PIN, and what it makes of a card's key 3. docs/pin.md; decision 24.

Key 3 of a card is diversified from the PIN master as every key is (AN10922). A card without a PIN
has that key itself. A card with one has

    CMAC(diversified key, "dobmi/pin/1" || number of digits, one byte || digits, ASCII)

(AES-CMAC, SP 800-38B), and the highest bit of the key's version set: version 1 to 127 is the
generation of a card without a PIN, 129 to 255 that of one with a PIN, more 128. Whoever asks the
card for the key's version knows so much before any PIN is tried.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dobmi.cardlib.crypto import aes_cmac
from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import (
    ApplicationNotFound,
    AuthenticationError,
    KeyNotHeld,
    NotAPin,
    NotOurCard,
    OtherKeySet,
    PinNotSet,
    UnfinishedCard,
    WeakPin,
    WrongPin,
)
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.purse_layout import PURSE_AID, CardKey
from dobmi.cardlib.readers.base import CardConnection

PIN_DIGITS_MIN, PIN_DIGITS_MAX = 4, 8
PIN_DIGITS = 6
"""What a new PIN has unless the settings say otherwise."""
GENERATION_MAX = 127
_WITH_PIN = 0x80
_DOMAIN = b"dobmi/pin/1"
_DIGITS = re.compile(rf"[0-9]{{{PIN_DIGITS_MIN},{PIN_DIGITS_MAX}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pin:
    """4 to 8 digits that nothing shows: not a repr, not an error. Raises NotAPin."""

    digits: str = field(repr=False)

    def __post_init__(self) -> None:
        if _DIGITS.fullmatch(self.digits) is None:
            raise NotAPin(digits_min=PIN_DIGITS_MIN, digits_max=PIN_DIGITS_MAX)


def new_pin(text: str, digits_count: int = PIN_DIGITS) -> Pin:
    """A PIN that may be given to a card from now on. Raises NotAPin, WeakPin."""
    pin = Pin(text)
    if len(text) != digits_count or is_trivial(text):
        raise WeakPin(digits_count=digits_count)
    return pin


def is_trivial(digits: str) -> bool:
    """What everybody tries first: 000000, 123456, 890123, 121212, 123123, 112233, 123321, 000001."""
    if len(set(digits)) * 2 < len(digits):
        return True
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(digits)}
    if len(steps) == 1:  # all alike, or counted up or down by the same step
        return True
    length = len(digits)
    repeated = any(
        length % part == 0 and digits == digits[:part] * (length // part)
        for part in range(1, length // 2 + 1)
    )
    in_pairs = length % 2 == 0 and length > 4 and digits[::2] == digits[1::2]
    return repeated or (in_pairs and is_trivial(digits[::2])) or digits == digits[::-1]


def has_pin(version: int) -> bool:
    """Whether the card whose key 3 has this version has a PIN."""
    return version > _WITH_PIN


def generation_of(version: int) -> int:
    """The generation of the PIN master that made a key 3 of this version; 0 for the factory's."""
    return version & ~_WITH_PIN


def pin_key(
    custody: KeyCustody, uid: bytes, pin: Pin | None, generation: int | None = None
) -> DesfireKey:
    """Key 3 of the card `uid` with this PIN (None: with none), of a generation or the newest held.

    Raises KeyNotHeld; OtherKeySet for a generation above 127.
    """
    base = custody.card_key(CardKey.PIN, uid, generation)
    if pin is None:
        return base
    if base.version > GENERATION_MAX:
        raise OtherKeySet
    digits = pin.digits.encode("ascii")
    value = aes_cmac(base.value, _DOMAIN + bytes((len(digits),)) + digits)
    return DesfireKey.aes(value, version=base.version | _WITH_PIN)


@dataclass(frozen=True, slots=True)
class PinTry:
    """A PIN as it is typed at a reader. `before` is called just before the card is asked: it has
    the try counted, durably, and says how many are left after it; what it raises ends the try.
    `proved` is called as soon as the card has said that it is its PIN.
    """

    pin: Pin
    before: Callable[[], int]
    proved: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class CardsCustody:
    """The custody as it is for one card with a PIN: its key 3 is the one that the PIN makes.

    So `rekey` and `personalise` keep the PIN, whatever generation they go to. `pin` None: the
    custody as it is.
    """

    custody: KeyCustody
    pin: Pin | None

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        if key is not CardKey.PIN or self.pin is None:
            return self.custody.card_key(key, uid, version)
        if version is None:
            return pin_key(self.custody, uid, self.pin)
        return pin_key(
            self.custody, uid, self.pin if has_pin(version) else None, generation_of(version)
        )


def authenticate_pin(card: DesfireCard, custody: KeyCustody, attempt: PinTry) -> DesfireKey:
    """A session with key 3 of the selected application, the PIN proved; that key.

    2 exchanges; a card of an older generation takes 4 more. One try is one authentication at most
    that the card can refuse for the PIN. Raises WrongPin, PinNotSet, UnfinishedCard, OtherKeySet,
    what `before` raises, CardError.
    """
    key = pin_key(custody, card.uid, attempt.pin)
    tries_left = attempt.before()
    try:
        card.authenticate_ev2_first(CardKey.PIN.number, key)
    except AuthenticationError as refusal:
        card.select_application(PURSE_AID)
        version = card.get_key_version(CardKey.PIN.number)
        if version == 0:
            raise UnfinishedCard from refusal
        if not has_pin(version):
            raise PinNotSet from refusal
        if version == key.version:
            raise WrongPin(tries_left=tries_left) from refusal
        try:
            key = pin_key(custody, card.uid, attempt.pin, generation_of(version))
            card.authenticate_ev2_first(CardKey.PIN.number, key)
        except KeyNotHeld as error:
            raise OtherKeySet from error
        except AuthenticationError as error:
            raise WrongPin(tries_left=tries_left) from error
    attempt.proved()
    return key


@dataclass(frozen=True, slots=True)
class PinOnCard:
    """What key 3 of a card was found to be; the session is with it, if it has a PIN."""

    pin: Pin | None
    key: DesfireKey


def find_pin(card: DesfireCard, custody: KeyCustody, candidates: Sequence[Pin]) -> PinOnCard:
    """Which of these PINs the card has, or that it has none: 2 exchanges, 3 for each candidate,
    3 more for each that it refuses. Ends without a session where it has none.

    Raises NotOurCard, UnfinishedCard, OtherKeySet, WrongPin (none of them), CardError.
    """
    version = _version_of_key_3(card)
    try:
        if not has_pin(version):
            return PinOnCard(None, custody.card_key(CardKey.PIN, card.uid, version))
        for pin in candidates:
            key = pin_key(custody, card.uid, pin, generation_of(version))
            try:
                card.authenticate_ev2_first(CardKey.PIN.number, key)
            except AuthenticationError:
                card.select_application(PURSE_AID)
                continue
            return PinOnCard(pin, key)
    except KeyNotHeld as error:
        raise OtherKeySet from error
    raise WrongPin(tries_left=0)


def change_pin(
    card: DesfireCard, custody: KeyCustody, found: PinOnCard, pin: Pin | None
) -> DesfireKey:
    """Give the card this PIN, of the newest generation, in the place of what `find_pin` found.

    5 exchanges: select, the application key's version, authentication 2, ChangeKey, one write on
    the card: torn anywhere it has the old PIN or the new one. None: no PIN any more.
    Raises OtherKeySet, CardError.
    """
    new = pin_key(custody, card.uid, pin)
    card.select_application(PURSE_AID)
    version = card.get_key_version(CardKey.APPLICATION.number)
    if version == 0:
        raise UnfinishedCard
    try:
        application_key = custody.card_key(CardKey.APPLICATION, card.uid, version)
        card.authenticate_ev2_first(CardKey.APPLICATION.number, application_key)
    except (KeyNotHeld, AuthenticationError) as error:
        raise OtherKeySet from error
    if new != found.key:
        card.change_key(CardKey.PIN.number, new, found.key)
    return new


def purse_card(
    connection: CardConnection, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> DesfireCard:
    """The card's commands, for the functions of this module."""
    return DesfireCard(connection, random_bytes=random_bytes, iso_chaining=True)


def _version_of_key_3(card: DesfireCard) -> int:
    """2 exchanges: select, version. Raises NotOurCard, UnfinishedCard."""
    try:
        card.select_application(PURSE_AID)
    except ApplicationNotFound as error:
        raise NotOurCard from error
    version = card.get_key_version(CardKey.PIN.number)
    if version == 0:
        raise UnfinishedCard
    return version
