"""A card's PIN at a station: chosen, changed, forgotten and chosen anew, proved and free again.

What the member types leaves this program only sealed to the central server's key of that session,
which the server signs. Torn anywhere the card has the old PIN or the new one, and the same again
goes on.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dobmi.cardlib.errors import WeakPin
from dobmi.cardlib.pin import PIN_DIGITS_MAX, PIN_DIGITS_MIN, Pin, is_trivial
from dobmi.cardlib.readers import CardConnection
from dobmi.cardlib.sealing import seal
from dobmi.i18n import N_
from dobmi.provisioning.cards import relay
from dobmi.provisioning.enrolment import Station
from dobmi.sync.errors import WrongSignature
from dobmi.sync.relay import (
    Action,
    PinAct,
    PinParameters,
    PinResult,
    Question,
    SecretPins,
    answer_info,
    question_message,
)


def check_new_pin(text: str) -> None:
    """Before a card is asked for; how many digits there must be the server says. Raises NotAPin, WeakPin."""
    if is_trivial(Pin(text).digits):
        raise WeakPin(digits_count=f"{PIN_DIGITS_MIN}-{PIN_DIGITS_MAX}")


def set_pin(station: Station, connection: CardConnection, new: str) -> PinResult:
    """The first one of a card that has none.

    Raises NotAPin, WeakPin; RelayInterrupted (tap the same card again), ServerRefused (with the
    server's reason), ServerUnreachable, WrongSignature (not our server).
    """
    check_new_pin(new)
    return _pin(station, connection, PinParameters(act=PinAct.SET), SecretPins(new=new))


def change_pin(station: Station, connection: CardConnection, old: str, new: str) -> PinResult:
    """By who knows the old one, which the card proves. Raises as `set_pin`."""
    check_new_pin(new)
    pins = SecretPins(old=Pin(old).digits, new=new)
    return _pin(station, connection, PinParameters(act=PinAct.CHANGE), pins)


def reset_pin(
    station: Station, connection: CardConnection, new: str, identified_by: str
) -> PinResult:
    """The old one is forgotten; `identified_by` says how the member was identified (1 to 80
    characters) and is kept with who did it. Raises as `set_pin`.
    """
    check_new_pin(new)
    parameters = PinParameters(act=PinAct.RESET, identified_by=identified_by)
    return _pin(station, connection, parameters, SecretPins(new=new))


def prove_pin(station: Station, connection: CardConnection, old: str) -> PinResult:
    """The member knows it: what tills have locked is free again, from their next sync on.

    Raises as `set_pin`.
    """
    pins = SecretPins(old=Pin(old).digits)
    return _pin(station, connection, PinParameters(act=PinAct.PROVE), pins)


def _pin(
    station: Station, connection: CardConnection, parameters: PinParameters, pins: SecretPins
) -> PinResult:
    uid, number = connection.uid, station.enrolment.terminal_id

    def answer(question: Question) -> bytes:
        server_key = Ed25519PublicKey.from_public_bytes(station.enrolment.server_public_key)
        try:
            server_key.verify(
                question.signature, question_message(uid, number, question.public_key)
            )
        except InvalidSignature as error:
            raise WrongSignature(what=N_("question for the PIN")) from error
        return seal(question.public_key, pins.encode(), answer_info(uid, number))

    return PinResult.from_cbor(
        relay(station, connection, Action.PIN, parameters.to_cbor(), answer=answer)
    )
