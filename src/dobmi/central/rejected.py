"""What was refused whole is kept all the same, with the reason, as far as there is room (P6)."""

from __future__ import annotations

from sqlalchemy import select

from dobmi.central.database import add_to_counter, insert_unless_there
from dobmi.central.errors import ForkedChain
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.schema import rejected_batches, terminals
from dobmi.central.server import Central
from dobmi.errors import DoBMIError
from dobmi.sync.batch import parse_batch
from dobmi.sync.errors import SyncError, WrongSignature

SIGNED_BYTES_MAX = 64 * 1024 * 1024
SIGNED_ROWS_MAX = 100_000
"""Of refused batches that a terminal known here signed as they are: P6."""
OTHER_BYTES_MAX = 8 * 1024 * 1024
OTHER_ROWS_MAX = 1_000
"""Of those that anybody can make: from strangers together, and under each terminal's signed head."""


def keep_rejected(
    central: Central, batch_hash: bytes, data: bytes, error: DoBMIError, now: int
) -> None:
    """P6: kept with the reason, whoever sent it; the content only while its keep has room.

    What strangers send has a small keep of its own, so that they cannot take the room of what a
    till sends. A fork, which only the till's own key can make, is reported in any case.
    """
    keep = keep_of(central, data)
    signed = keep == _SIGNED
    rows_max, bytes_max = (
        (SIGNED_ROWS_MAX, SIGNED_BYTES_MAX) if signed else (OTHER_ROWS_MAX, OTHER_BYTES_MAX)
    )
    with central.database.write() as connection:
        if isinstance(error, ForkedChain):
            fork = anomaly_row(
                "forked-chain",
                batch_hash.hex(),
                at=now,
                detail=error.explain(),
                terminal_id=_int(error.facts.get("terminal_id")),
            )
            note_findings(connection, [fork])
        rows = add_to_counter(connection, f"rejected-rows:{keep}", 0)  # locked from here on
        same = select(rejected_batches.c.code).where(rejected_batches.c.batch_hash == batch_hash)
        if rows >= rows_max or connection.execute(same).first() is not None:
            return
        kept_bytes = add_to_counter(connection, f"rejected-bytes:{keep}", 0)
        has_room = kept_bytes + len(data) <= bytes_max
        add_to_counter(connection, f"rejected-rows:{keep}", 1)
        add_to_counter(connection, f"rejected-bytes:{keep}", len(data) if has_room else 0)
        row = {
            "batch_hash": batch_hash,
            "code": error.code,
            "detail": error.explain()[:400],
            "size_bytes": len(data),
            "content": data if has_room else None,
            "received_at": now,
        }
        insert_unless_there(connection, rejected_batches, [row])


_SIGNED = "signed"
_STRANGERS = "strangers"


def keep_of(central: Central, data: bytes) -> str:
    """Whose the refused bytes are: a known terminal's to the last byte, under its head, anybody's.

    A head is good for one batch alone, but who has seen it can send other vouchers under it.
    """
    try:
        batch = parse_batch(data)
    except SyncError:
        return _STRANGERS
    with central.database.read() as connection:
        public_key = connection.execute(
            select(terminals.c.public_key).where(terminals.c.id == batch.head.terminal_id)
        ).scalar_one_or_none()
    if public_key is None:
        return _STRANGERS
    try:
        batch.verify(public_key)
    except WrongSignature:
        return _STRANGERS
    except SyncError:
        return f"terminal:{batch.head.terminal_id}"
    return _SIGNED


def _int(fact: object) -> int | None:
    return fact if isinstance(fact, int) else None
