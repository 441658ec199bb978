"""A read replica for reports, and how far it is behind the database that is written to."""

from __future__ import annotations

import math

from sqlalchemy import text

from dobmi.central.database import Database

# Nothing to replay counts as up to date only while log is coming in: a replica that is cut off has
# replayed all it got. Then the time of the last transaction says it.
_BEHIND = text("""
    SELECT CASE
        WHEN NOT pg_is_in_recovery() THEN 0
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
    END
""")


def seconds_behind(database: Database) -> int | None:
    """Whole seconds, rounded up, that `database` lacks; 0 of one that is no replica.

    None: a replica that does not know, as it has replayed nothing since it started. Raises
    DatabaseAway, DatabaseFailed.
    """
    with database.read() as connection:
        if connection.dialect.name != "postgresql":
            return 0
        behind = connection.execute(_BEHIND).scalar_one()
    return None if behind is None else max(math.ceil(behind), 0)
