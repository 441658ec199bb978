"""What is not kept for ever. Vouchers, postings, acknowledgements and anomalies are: the auditor
reads them all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import delete, select, update

from dobmi.central.database import add_to_counter
from dobmi.central.rejected import keep_of
from dobmi.central.schema import invitations, rejected_batches, request_nonces
from dobmi.central.server import Central
from dobmi.sync.request_signature import CLOCK_DIFFERENCE_SECONDS_MAX

_SECONDS_PER_DAY = 24 * 3600
_BATCHES_A_STEP = 50


@dataclass(frozen=True, slots=True)
class Pruned:
    """Signed requests and invitations that nobody can use any more; contents of refused batches."""

    requests: int
    invitations: int
    rejected_contents: int


def prune(central: Central, now: int) -> Pruned:
    """Let go of what has had its time; it can stop anywhere and be run again. Raises ServerBusy."""
    with central.database.write() as connection:
        requests = connection.execute(
            delete(request_nonces).where(
                request_nonces.c.at < now - 2 * CLOCK_DIFFERENCE_SECONDS_MAX
            )
        ).rowcount
        unused = connection.execute(
            delete(invitations).where(
                invitations.c.used_by.is_(None),
                invitations.c.expires_at < now - 30 * _SECONDS_PER_DAY,
            )
        ).rowcount
    contents = 0
    while some := _drop_contents(central, now):
        contents += some
    return Pruned(requests, unused, contents)


def _drop_contents(central: Central, now: int) -> int:
    """Of some refused batches; that they came, their hash and the reason stay. Their keep has room.

    How many were looked at; 0: there are no more.
    """
    before = now - central.settings.keep_rejected_days * _SECONDS_PER_DAY
    old = (
        select(rejected_batches.c.batch_hash, rejected_batches.c.content)
        .where(rejected_batches.c.received_at < before, rejected_batches.c.content.is_not(None))
        .order_by(rejected_batches.c.received_at)
        .limit(_BATCHES_A_STEP)
    )
    with central.database.read() as connection:
        found = {
            bytes(row.batch_hash): (keep_of(central, bytes(row.content)), len(row.content))
            for row in connection.execute(old)
        }
    with central.database.write() as connection:
        # Of two that prune at once each frees what it still finds.
        left = connection.execute(
            select(rejected_batches.c.batch_hash)
            .where(rejected_batches.c.batch_hash.in_(found))
            .where(rejected_batches.c.content.is_not(None))
            .order_by(rejected_batches.c.batch_hash)
            .with_for_update()
        ).scalars()
        freed: Counter[str] = Counter()
        gone = [bytes(batch_hash) for batch_hash in left]
        for batch_hash in gone:
            keep, size_bytes = found[batch_hash]
            freed[keep] += size_bytes
        for keep in sorted(freed):
            name = f"rejected-bytes:{keep}"
            held = add_to_counter(connection, name, 0)
            # What was a stranger's when it came may be a known terminal's since.
            add_to_counter(connection, name, -min(held, freed[keep]))
        connection.execute(
            update(rejected_batches)
            .where(rejected_batches.c.batch_hash.in_(gone))
            .values(content=None)
        )
    return len(found)
