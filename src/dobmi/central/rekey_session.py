"""Changing a card's keys for the newest generation, over any connection to it."""

from __future__ import annotations

from sqlalchemy import update

from dobmi.cardlib.purse import Purse
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.rekey import Rekeyed, rekey
from dobmi.central.cards import card_row, require_usable
from dobmi.central.schema import cards
from dobmi.central.server import Central


def rekey_card(central: Central, connection: CardConnection) -> Rekeyed:
    """Bring the card in the field to the newest keys and read it with them. No money moves.

    Interrupted anywhere the card works on, and this goes on with it. Raises UnknownCard,
    CardIsBlocked, CardWasReplaced, CardNotActive, CardHasExpired, NotOurCard and its kinds,
    CardError.
    """
    uid = connection.uid
    with central.database.read() as look:
        require_usable(card_row(look, uid), central.unix_seconds())
    done = rekey(connection, central.keys)
    Purse(connection, central.keys, central.card_issuer_public_key).read()
    with central.database.write() as database:
        database.execute(
            update(cards).where(cards.c.uid == uid).values(key_version=done.generation)
        )
    return done
