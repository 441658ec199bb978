"""Making a card of ours blank again: no application, the factory's master key.

Torn anywhere it is done again: the applications go first, all at once, the master key last. No money may
be on the card: whoever calls this has seen to that.
"""

from __future__ import annotations

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import ApplicationNotFound, AuthenticationError, KeyNotHeld, OtherKeySet
from dobmi.cardlib.files import KeySettings
from dobmi.cardlib.keys import FACTORY_PICC_KEY
from dobmi.cardlib.purse_layout import PICC_AID, PURSE_AID, CardKey
from dobmi.cardlib.readers.base import CardConnection


def is_blank(connection: CardConnection) -> bool:
    """Whether there is no purse on the card. 1 exchange. Raises CardError."""
    card = DesfireCard(connection, iso_chaining=True)
    try:
        card.select_application(PURSE_AID)
    except ApplicationNotFound:
        return True
    return False


def wipe_card(connection: CardConnection, custody: KeyCustody) -> None:
    """Format it and give it the factory's key and settings. 7 exchanges; 2 if it was wiped before.

    Needs the PICC key. Raises OtherKeySet, CardError.
    """
    card = DesfireCard(connection, iso_chaining=True)
    card.select_application(PICC_AID)
    version = card.get_key_version(CardKey.PICC.number)
    if version == 0:
        return
    try:
        card.authenticate_ev2_first(
            CardKey.PICC.number, custody.card_key(CardKey.PICC, card.uid, version)
        )
    except (KeyNotHeld, AuthenticationError) as error:
        raise OtherKeySet from error
    card.format_picc()
    card.change_key_settings(KeySettings())
    card.change_key(CardKey.PICC.number, FACTORY_PICC_KEY)
