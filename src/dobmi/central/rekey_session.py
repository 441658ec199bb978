"""Bringing a card's keys to the generation that cards are given now, over any connection to it."""

from __future__ import annotations

from sqlalchemy import update

from dobmi.cardlib.purse import Purse
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.rekey import Rekeyed, rekey
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.cards import card_row, require_usable
from dobmi.central.key_generations import card_custody, require_card_keys
from dobmi.central.pin_session import custody_with_pin
from dobmi.central.pins import seal_anew
from dobmi.central.schema import cards
from dobmi.central.server import Central


def rekey_card(
    central: Central,
    connection: CardConnection,
    *,
    at_a_till: bool = False,
    actor: Actor = Actor("", None),  # noqa: B008 - frozen
) -> Rekeyed:
    """Bring the card in the field to the new keys and read it with them. No money moves.

    Interrupted anywhere the card works on, and this goes on with it. `at_a_till`: nobody looks at
    the card, so what knows only keys whose time is past, which may have leaked, is given no new
    ones. Raises UnknownCard, CardIsBlocked, CardWasReplaced, CardNotActive, CardHasExpired,
    CardKeysPast, NotOurCard and its kinds, CardError.
    """
    uid = connection.uid
    custody = card_custody(central)
    purse = Purse(connection, custody, central.card_issuer_public_key)
    with central.database.read() as look:
        require_usable(card_row(look, uid), central.unix_seconds())
    if at_a_till:
        purse.read()
        with central.database.read() as look:
            require_card_keys(central, look, purse.key_generation)
    done = rekey(connection, custody_with_pin(central, connection, custody))
    purse.read()
    with central.database.write() as database:
        seal_anew(central, database, uid)
        database.execute(
            update(cards).where(cards.c.uid == uid).values(key_version=done.generation)
        )
        if done.changed:
            note_act(
                database,
                actor,
                Act.REKEY,
                subject=f"card {card_row(database, uid).serial}",
                detail=f"generation {done.generation}",
                now=central.unix_seconds(),
            )
    return done
