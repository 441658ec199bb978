"""Tills that are given no masters: they ask for each card's key (card_keys.py)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dobmi.central.database import insert_unless_there
from dobmi.central.schema import online_tills


def make_online(connection: Connection, terminal_id: int, now: int) -> None:
    """From now on the terminal is given no masters; what it has been given it has."""
    insert_unless_there(connection, online_tills, [{"terminal_id": terminal_id, "since": now}])


def is_online(connection: Connection, terminal_id: int) -> bool:
    row = select(online_tills.c.since).where(online_tills.c.terminal_id == terminal_id)
    return connection.execute(row).first() is not None
