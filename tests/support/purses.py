"""Cards with a purse on them, in process, for tests that need one and do not care how it came."""

from __future__ import annotations

from datetime import date

from dobmi.cardlib.custody import KeyRing, ServerCustody
from dobmi.cardlib.errors import CardRemoved
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.personalise import Personalisation, personalise
from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import CardKey, Holder
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard, FieldLost
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.money import ZERO, Rupiah

BALANCE_MAX = Rupiah(2_000_000)
ORIGINALITY_KEYS = {**NXP_PUBLIC_KEYS, "simulation": SIMULATION_PUBLIC_KEY}
SITI = Holder(member_number=4711, name="Siti Aminah", card_serial=1, expires=date(2031, 12, 31))


def new_ring() -> KeyRing:
    """Every master key and the issuer's and server's signing keys."""
    return KeyRing.generate(list(CardKey), ["card-issuer", "server"])


def ring_in(custody: ServerCustody) -> KeyRing:
    """The keys themselves, of a server whose custody is a file."""
    assert isinstance(custody, KeyRing)
    return custody


class InProcess:
    """A connection straight to a simulated card; a lost field is CardRemoved."""

    def __init__(self, card: ContactlessCard) -> None:
        self._card = card
        self.uid = card.uid

    def transmit(self, command: bytes) -> bytes:
        try:
            return self._card.process(command)
        except FieldLost as error:
            raise CardRemoved from error

    def disconnect(self) -> None:
        self._card.power_off()


def make_purse(card: ContactlessCard, ring: KeyRing, holder: Holder = SITI) -> Personalisation:
    """Personalise `card`, as the central server does."""
    return personalise(
        InProcess(card),
        ring,
        holder,
        lambda message: ring.sign("card-issuer", message),
        balance_max=BALANCE_MAX,
        originality_keys=ORIGINALITY_KEYS,
    )


def purse_of(card: ContactlessCard, ring: ServerCustody) -> Purse:
    """A fresh connection to the card's purse."""
    card.power_off()
    return Purse(InProcess(card), ring, ring.public_key("card-issuer"))


def credit(card: ContactlessCard, ring: KeyRing, amount: Rupiah, sequence: int = 1) -> None:
    """Put money on the card, as the central server does."""
    purse = purse_of(card, ring)
    purse.begin_credit(sequence)
    purse.stage(purse.prepare_credit(amount, 1_790_000_000, balance_max=BALANCE_MAX))
    purse.commit()


def issued_card(ring: KeyRing, balance: Rupiah = ZERO, holder: Holder = SITI) -> SimulatedCard:
    """A simulated EV2 card with a purse that holds `balance`."""
    card = SimulatedCard()
    make_purse(card, ring, holder)
    if balance:
        credit(card, ring, balance)
    return card
