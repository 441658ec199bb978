"""Members' PINs at this till: which sales need one, how often one was wrong, and when none is tried.

A try is on disk before the card hears of it: ending the program, or its power, gives none for free.
What came of a try that was not right is a record for the central server, which counts all tills'.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field

import sqlalchemy as sa

from dobmi.cardlib.errors import OtherKeySet, PinNotSet, UnfinishedCard, WrongPin
from dobmi.cardlib.pin import Pin, PinTry
from dobmi.money import ZERO, Rupiah
from dobmi.sync.records import PIN_TRIES_MAX, PinOutcome, PinRecord
from dobmi.terminal import schema
from dobmi.terminal.errors import CardPinLocked
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.outlet import add_record

_NOT_TRIED = (PinNotSet, OtherKeySet, UnfinishedCard)
"""The card said this, and nothing of the PIN."""


def pin_limit(ledger: Ledger) -> Rupiah:
    """A sale of more needs a PIN; nought: none does."""
    return ledger.sync_state().limits.pin_above


def needs_pin(ledger: Ledger, amount: Rupiah) -> bool:
    return ZERO < pin_limit(ledger) < amount


def require_pin_free(ledger: Ledger, card_uid: bytes) -> None:
    """Raises CardPinLocked."""
    tries, locked = schema.card_pin_tries, schema.pins_locked
    of_till = sa.select(tries.c.card_uid).where(
        tries.c.card_uid == card_uid, tries.c.tries >= PIN_TRIES_MAX
    )
    of_all = sa.select(locked.c.card_uid).where(locked.c.card_uid == card_uid)
    with ledger.connect() as connection:
        if connection.execute(of_till.union(of_all)).first() is not None:
            raise CardPinLocked(limit=pin_limit(ledger))


@dataclass(slots=True)
class Attempt:
    """One PIN typed for one card. `forgets` runs beside the card what a right PIN makes undone."""

    ledger: Ledger
    card_uid: bytes
    unix_seconds: int
    forgets: Executor
    is_counted: bool = field(default=False, init=False)
    is_proved: bool = field(default=False, init=False)

    def of(self, pin: Pin) -> PinTry:
        return PinTry(pin, before=self._count, proved=self._proved)

    def failed(self, error: Exception) -> None:
        """The sale went no further. Raises CardPinLocked in the place of the last WrongPin."""
        if not self.is_counted or self.is_proved:
            return
        if isinstance(error, _NOT_TRIED):
            _take_back(self.ledger, self.card_uid)
            return
        outcome = PinOutcome.WRONG if isinstance(error, WrongPin) else PinOutcome.NOT_KNOWN
        with self.ledger.begin() as connection:
            _report(connection, self.card_uid, outcome, self.unix_seconds)
        if isinstance(error, WrongPin) and error.tries_left == 0:
            raise CardPinLocked(limit=pin_limit(self.ledger)) from error

    def _count(self) -> int:
        """Durable when it returns: how many tries are left after this one. Raises CardPinLocked."""
        require_pin_free(self.ledger, self.card_uid)
        table = schema.card_pin_tries
        with self.ledger.begin() as connection:
            before = connection.execute(
                sa.select(table.c.tries).where(table.c.card_uid == self.card_uid)
            ).scalar_one_or_none()
            tries = (before or 0) + 1
            row = {"card_uid": self.card_uid, "tries": tries, "is_open": True}
            connection.execute(table.insert().prefix_with("OR REPLACE").values(row))
        self.is_counted = True
        return PIN_TRIES_MAX - tries

    def _proved(self) -> None:
        self.is_proved = True
        self.forgets.submit(forget_tries, self.ledger, self.card_uid)


def forget_tries(ledger: Ledger, card_uid: bytes) -> None:
    """The PIN was right. Should that not be written, the tries stay counted."""
    table = schema.card_pin_tries
    with ledger.begin() as connection:
        connection.execute(table.delete().where(table.c.card_uid == card_uid))


def end_open_tries(ledger: Ledger, unix_seconds: int) -> None:
    """What an earlier process did not hear the end of, whoever ended it."""
    table = schema.card_pin_tries
    with ledger.connect() as look:
        open_tries = look.execute(sa.select(table.c.card_uid).where(table.c.is_open)).all()
    if open_tries:
        with ledger.begin() as connection:
            for row in open_tries:
                _report(connection, row.card_uid, PinOutcome.NOT_KNOWN, unix_seconds)


def _take_back(ledger: Ledger, card_uid: bytes) -> None:
    """The PIN was not tried after all."""
    table = schema.card_pin_tries
    with ledger.begin() as connection:
        connection.execute(table.delete().where(table.c.card_uid == card_uid, table.c.tries == 1))
        connection.execute(
            table.update()
            .where(table.c.card_uid == card_uid, table.c.tries > 1)
            .values(tries=table.c.tries - 1, is_open=False)
        )


def _report(
    connection: sa.Connection, card_uid: bytes, outcome: PinOutcome, unix_seconds: int
) -> None:
    table = schema.card_pin_tries
    tries = connection.execute(
        sa.select(table.c.tries).where(table.c.card_uid == card_uid)
    ).scalar_one()
    record = add_record(
        connection,
        PinRecord(card_uid=card_uid, outcome=outcome, in_a_row=tries, unix_seconds=unix_seconds),
    )
    connection.execute(
        table.update()
        .where(table.c.card_uid == card_uid)
        .values(is_open=False, lock_record=record if tries >= PIN_TRIES_MAX else None)
    )
