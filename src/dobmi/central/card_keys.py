"""Keys of single cards for tills that hold no masters, such as a partner merchant's.

Whoever steals such a till has no key of any card. What it may ask for is what its role may hold
(ROLE_KEYS), of a card that may be used, so many times a minute, and all of it is counted.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, select, update

from dobmi.cardlib.custody import ROLE_KEYS, KeyRole
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.sealing import seal
from dobmi.central.cards import card_row, require_usable
from dobmi.central.database import insert_unless_there
from dobmi.central.errors import KeyNotForRole, TooManyCardKeys
from dobmi.central.schema import Role, card_key_counts
from dobmi.central.server import Central
from dobmi.central.terminals import role_of
from dobmi.sync.card_keys import (
    CardKeyAnswer,
    card_key_info,
    decode_card_key_request,
    encode_card_key_answer,
)
from dobmi.sync.errors import MalformedMessage

KEY_ROLES: Final = {Role.TILL: KeyRole.TILL, Role.STATION: KeyRole.STATION}
_KEEP_MINUTES: Final = 31 * 24 * 60


def give_card_key(central: Central, terminal_id: int, body: bytes) -> bytes:
    """The encoded answer to a terminal's request (sync/card_keys.py).

    Raises MalformedMessage, KeyNotForRole, UnknownCard, CardIsBlocked and the other CardProblems,
    TooManyCardKeys, KeyNotHeld, CustodyUnavailable.
    """
    request = decode_card_key_request(body)
    role = role_of(central, terminal_id)
    if request.key not in set(CardKey):
        raise MalformedMessage(detail="card key request field 3 is not a known key")
    key = CardKey(request.key)
    if key not in ROLE_KEYS[KEY_ROLES[role]]:
        raise KeyNotForRole(terminal_id=terminal_id, role=role.value, key=key.value)
    now = central.unix_seconds()
    with central.database.write() as connection:
        _count(central, connection, terminal_id, now // 60)
    with central.database.read() as connection:
        row = card_row(connection, request.card_uid)
        require_usable(row, now)
    generation = row.key_version if request.generation is None else request.generation
    found = central.keys.card_key(key, request.card_uid, generation)
    try:
        sealed = seal(request.sealing_key, found.value, card_key_info(body))
    except ValueError as error:  # a point of small order, say
        raise MalformedMessage(detail="card key request field 5 is no X25519 key") from error
    answer = CardKeyAnswer(generation=found.version, sealed=sealed)
    return encode_card_key_answer(answer, body, central.public_key, central.sign)


def _count(central: Central, connection: Connection, terminal_id: int, minute: int) -> None:
    """Raises TooManyCardKeys."""
    limit = central.settings.card_keys_per_minute
    row = {"terminal_id": terminal_id, "minute": minute, "count": 0}
    insert_unless_there(connection, card_key_counts, [row])
    counts = card_key_counts.c
    one_more = connection.execute(
        update(card_key_counts)
        .where(counts.terminal_id == terminal_id, counts.minute == minute, counts["count"] < limit)
        .values(count=counts["count"] + 1)
    )
    if not one_more.rowcount:
        raise TooManyCardKeys(terminal_id=terminal_id, limit=limit)
    connection.execute(
        delete(card_key_counts).where(
            counts.terminal_id == terminal_id, counts.minute < minute - _KEEP_MINUTES
        )
    )


def keys_given(connection: Connection, terminal_id: int) -> int:
    """How many cards' keys a terminal was given in the last month."""
    counts = card_key_counts.c
    found = connection.execute(select(counts["count"]).where(counts.terminal_id == terminal_id))
    return sum(row[0] for row in found)
