"""A card's PIN at a service point: set, changed, forgotten and set anew, or proved and free again.

The server works with the card over the relay. What it is about to put on the card is kept before
that is done, and what was found there after it: torn anywhere, the card has the old PIN or the new
one, and the same again goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import PinNotSet, WrongPin
from dobmi.cardlib.pin import (
    CardsCustody,
    Pin,
    PinOnCard,
    change_pin,
    find_pin,
    generation_of,
    new_pin,
    purse_card,
)
from dobmi.cardlib.readers.base import CardConnection
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.cards import card_row, require_usable
from dobmi.central.errors import CardHasPin, CardPinLocked, CardPinUnknown
from dobmi.central.key_generations import card_custody
from dobmi.central.pins import (
    KeptPin,
    keep_pin,
    kept_pin,
    lock,
    locked_row,
    note_pin_event,
    too_many,
    was_changed_since,
)
from dobmi.central.schema import PinEvent
from dobmi.central.server import Central
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.records import PIN_TRIES_MAX
from dobmi.sync.relay import PinAct, PinParameters, SecretPins

_GOES_ON_SECONDS: Final = 600
"""So long after a change the same again, whose answer may have been lost, is that change."""
_EVENTS: Final = {
    PinAct.SET: PinEvent.SET,
    PinAct.CHANGE: PinEvent.CHANGED,
    PinAct.RESET: PinEvent.RESET,
    PinAct.PROVE: PinEvent.PROVED,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    act: PinAct
    old: Pin | None = field(repr=False)
    new: Pin | None = field(repr=False)
    identified_by: str


def change_card_pin(
    central: Central,
    connection: CardConnection,
    parameters: PinParameters,
    pins: SecretPins,
    actor: Actor,
) -> int:
    """Do it; the generation of key 3 now. No money moves.

    Raises NotAPin, WeakPin, WrongPin, PinNotSet, CardPinLocked, CardHasPin, CardPinUnknown,
    MalformedMessage, UnknownCard, CardIsBlocked and its kinds, NotOurCard and its kinds, CardError.
    """
    asked = _read(central, parameters, pins)
    uid, now = connection.uid, central.unix_seconds()
    with central.database.read() as look:
        require_usable(card_row(look, uid), now)
    custody = card_custody(central)
    tries_left = _count_try(central, uid, actor, now) if asked.old is not None else 0
    with central.database.read() as look:
        kept = kept_pin(central, look, uid)
        goes_on = was_changed_since(look, uid, now - _GOES_ON_SECONDS)
    card = purse_card(connection)
    found = _find(card, custody, asked, kept, goes_on=goes_on, tries_left=tries_left)
    if found.pin is None and asked.old is not None:
        _take_try_back(central, uid)
        raise PinNotSet
    on_card = found.key
    if asked.new is not None:
        with central.database.write() as database:
            known = locked_row(central, database, uid)
            keep_pin(central, database, uid, replace(known, current=found.pin, pending=asked.new))
        on_card = change_pin(card, custody, found, asked.new)
    with central.database.write() as database:
        locked_row(central, database, uid)
        now = central.unix_seconds()
        clear = KeptPin(current=asked.new or found.pin, clear_since=now)
        keep_pin(central, database, uid, clear)
        note_pin_event(database, uid, _EVENTS[asked.act], now=now, terminal_id=actor.station)
        detail = asked.act.value
        if asked.identified_by:
            detail = f"{detail}: {asked.identified_by}"
        note_act(database, actor, Act.PIN, subject=uid.hex().upper(), detail=detail, now=now)
    return generation_of(on_card.version)


def custody_with_pin(
    central: Central, connection: CardConnection, custody: KeyCustody
) -> KeyCustody:
    """The custody as it is for the card in the field: whoever changes all its keys keeps its PIN.

    No exchange, unless a change of the PIN was interrupted: then the card is asked which it has.
    Raises CardPinUnknown, CardError.
    """
    uid = connection.uid
    with central.database.read() as look:
        kept = kept_pin(central, look, uid)
    pin = kept.current
    if kept.pending is not None:
        found = find_pin(purse_card(connection), custody, _known(kept))
        pin = found.pin
        with central.database.write() as database:
            known = locked_row(central, database, uid)
            keep_pin(central, database, uid, replace(known, current=pin, pending=None))
    return CardsCustody(custody, pin)


def _read(central: Central, parameters: PinParameters, pins: SecretPins) -> _Asked:
    act = parameters.act
    if (act in {PinAct.CHANGE, PinAct.PROVE}) != bool(pins.old) or (
        act is not PinAct.PROVE
    ) != bool(pins.new):
        raise MalformedMessage(detail="not the PINs that were asked for")
    return _Asked(
        act=act,
        old=Pin(pins.old) if pins.old else None,
        new=new_pin(pins.new, central.settings.pin_digits) if pins.new else None,
        identified_by=parameters.identified_by,
    )


def _count_try(central: Central, uid: bytes, actor: Actor, now: int) -> int:
    """The try is durable before the card is asked; how many are left after it."""
    with central.database.write() as database:
        kept = locked_row(central, database, uid)
        if kept.tries >= PIN_TRIES_MAX:
            raise CardPinLocked(card=uid.hex())
        kept = replace(kept, tries=kept.tries + 1)
        note_pin_event(database, uid, PinEvent.TRIED, now=now, terminal_id=actor.station)
        if kept.tries >= PIN_TRIES_MAX or too_many(database, uid, kept.clear_since, now):
            # Should it be the right one, it is free again with that.
            kept = lock(kept, database, uid, actor.station, now)
        keep_pin(central, database, uid, kept)
    return PIN_TRIES_MAX - kept.tries


def _take_try_back(central: Central, uid: bytes) -> None:
    """There was no PIN to be tried."""
    with central.database.write() as database:
        kept = locked_row(central, database, uid)
        keep_pin(central, database, uid, replace(kept, tries=max(0, kept.tries - 1)))


def _find(
    card: DesfireCard,
    custody: KeyCustody,
    asked: _Asked,
    kept: KeptPin,
    *,
    goes_on: bool,
    tries_left: int,
) -> PinOnCard:
    """What the card has, proved by it, if it is what it may be for what is asked."""
    candidates = [] if asked.old is None else [asked.old]
    if asked.act is PinAct.RESET:
        candidates = _known(kept)
    elif asked.new is not None and (
        kept.pending == asked.new or (goes_on and kept.current == asked.new)
    ):
        candidates.append(asked.new)  # the same again
    try:
        return find_pin(card, custody, candidates)
    except WrongPin as error:
        if asked.act is PinAct.SET:
            raise CardHasPin(card=card.uid.hex()) from error
        if asked.act is PinAct.RESET:
            raise CardPinUnknown(card=card.uid.hex()) from error
        raise WrongPin(tries_left=tries_left) from error


def _known(kept: KeptPin) -> list[Pin]:
    return [pin for pin in (kept.current, kept.pending) if pin is not None]
