"""Cards with a PIN, for tests that do not care how it came."""

from __future__ import annotations

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.pin import Pin, change_pin, find_pin, purse_card
from dobmi.cardlib.purse_layout import CardKey
from dobmi.firmware_sim.contactless import ContactlessCard
from support.purses import InProcess

PIN = Pin("739164")
OTHER = Pin("208517")
WRONG = Pin("555012")


def give_pin(card: ContactlessCard, ring: KeyRing, pin: Pin | None = PIN, *had: Pin) -> None:
    """As the central server does, whatever of `had` the card has."""
    card.power_off()
    commands = purse_card(InProcess(card))
    change_pin(commands, ring, find_pin(commands, ring, list(had)), pin)
    card.power_off()


def pin_of(card: ContactlessCard, ring: KeyRing, *candidates: Pin) -> Pin | None:
    """Which of them the card has; raises WrongPin for none of them."""
    card.power_off()
    found = find_pin(purse_card(InProcess(card)), ring, candidates)
    card.power_off()
    return found.pin


def key_3_version(card: ContactlessCard) -> int:
    card.power_off()
    commands = purse_card(InProcess(card))
    commands.select_application(0xD0B310)
    version = commands.get_key_version(CardKey.PIN.number)
    card.power_off()
    return version
