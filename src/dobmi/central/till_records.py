"""What tills report beside their vouchers: kept as it came, each number once, without a gap."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import RecordDiffers, RecordsMissing, TerminalBlocked
from dobmi.central.ingest import key_of_till
from dobmi.central.member_orders import note_order_records
from dobmi.central.pins import note_till_tries
from dobmi.central.schema import RecordKind, TerminalStatus, sellers, terminals, till_records
from dobmi.central.seller_accounts import seller_number
from dobmi.central.server import Central
from dobmi.sync.records import (
    OrderRecord,
    PinRecord,
    RecordsHead,
    RecordsTaken,
    ShiftRecord,
    TillRecord,
    decode_record,
    encode_records_taken,
    parse_records,
)

_KINDS: Final[Mapping[type[TillRecord], RecordKind]] = {
    ShiftRecord: RecordKind.SHIFT,
    OrderRecord: RecordKind.ORDER,
    PinRecord: RecordKind.PIN,
}


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift as its till reported it."""

    terminal_id: int
    terminal: str
    seller: str
    received_at: int
    record: ShiftRecord


def take_records(central: Central, data: bytes) -> bytes:
    """The signed answer that these records are kept, and durable by then.

    Records that are kept already may come again, and must be the same. Raises MalformedMessage,
    WrongSignature, UnknownTerminal, TerminalBlocked, OnlyTillsSell, RecordsMissing, RecordDiffers:
    then nothing of it was taken.
    """
    head = parse_records(data)
    with central.database.read() as connection:
        public_key = key_of_till(connection, head.terminal_id)
    records = head.verify(public_key)
    now = central.unix_seconds()
    up_to = central.database.write_again(lambda connection: _take(connection, head, records, now))
    taken = RecordsTaken(
        terminal_id=head.terminal_id,
        batch_hash=hashlib.sha256(data).digest(),
        up_to=up_to,
        unix_seconds=now,
    )
    return encode_records_taken(taken, central.public_key, central.sign)


def _take(
    connection: Connection, head: RecordsHead, records: Sequence[TillRecord], now: int
) -> int:
    """The number of the till's newest record that is kept."""
    # Locked also if all is kept already: what was read is then on the standbys, too.
    terminal = connection.execute(
        select(terminals.c.seller_id, terminals.c.status)
        .where(terminals.c.id == head.terminal_id)
        .with_for_update()
    ).one()
    if terminal.status != TerminalStatus.ACTIVE:  # since its key was looked up
        raise TerminalBlocked(terminal_id=head.terminal_id)
    seller_id = terminal.seller_id
    of = till_records.c
    newest = connection.execute(
        select(func.max(of.number)).where(of.terminal_id == head.terminal_id)
    ).scalar_one()
    last = int(newest or 0)
    if head.first_number > last + 1:
        raise RecordsMissing(first_number=head.first_number, send_from=last + 1)
    numbered = list(enumerate(head.encoded, head.first_number))
    kept = {
        row.number: bytes(row.encoded)
        for row in connection.execute(
            select(of.number, of.encoded).where(
                of.terminal_id == head.terminal_id,
                of.number.between(head.first_number, numbered[-1][0]),
            )
        )
    }
    for number, encoded in numbered:
        if kept.get(number, encoded) != encoded:
            raise RecordDiffers(number=number)
    new = [
        (number, encoded, record)
        for (number, encoded), record in zip(numbered, records, strict=True)
        if number > last
    ]
    rows = [
        {
            "terminal_id": head.terminal_id,
            "number": number,
            "kind": _KINDS[type(record)].value,
            "encoded": encoded,
            "received_at": now,
        }
        for number, encoded, record in new
    ]
    insert_rows(connection, till_records, rows)
    orders = [(number, record) for number, _, record in new if isinstance(record, OrderRecord)]
    note_order_records(connection, head.terminal_id, seller_id, orders, now)
    tries = [(number, record) for number, _, record in new if isinstance(record, PinRecord)]
    note_till_tries(connection, head.terminal_id, tries, now)
    return max(last, numbered[-1][0])


def shift_list(
    database: Database,
    *,
    seller: str | None = None,
    terminal_id: int | None = None,
    newest: int = 100,
) -> list[Shift]:
    """The newest shifts that tills reported, newest first. Raises UnknownSeller."""
    of = till_records.c
    query = (
        select(
            till_records,
            terminals.c.name.label("terminal"),
            sellers.c.name.label("seller"),
        )
        .join(terminals, terminals.c.id == of.terminal_id)
        .join(sellers, sellers.c.id == terminals.c.seller_id)
        .where(of.kind == RecordKind.SHIFT.value)
        .order_by(of.received_at.desc(), of.terminal_id, of.number.desc())
        .limit(newest)
    )
    found = []
    with database.read() as connection:
        if seller is not None:
            query = query.where(terminals.c.seller_id == seller_number(connection, seller))
        if terminal_id is not None:
            query = query.where(of.terminal_id == terminal_id)
        for row in connection.execute(query):
            record = decode_record(bytes(row.encoded))
            assert isinstance(record, ShiftRecord)
            found.append(Shift(row.terminal_id, row.terminal, row.seller, row.received_at, record))
    return found
