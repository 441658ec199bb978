"""Up to which day sellers are settled, and the lock of whoever changes that. A leaf of the settlement."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Select, func, select

from dobmi.central.database import add_to_counter
from dobmi.central.schema import RunState, settlement_runs, settlement_steps

RUNS: Final = "settlement-run"
"""The counter of runs; its lock makes proposing, withdrawing and setting fees one after the other."""


def one_after_the_other(connection: Connection) -> None:
    """Nobody else proposes, withdraws or sets a fee until the transaction ends."""
    add_to_counter(connection, RUNS, 0)


def withdrawn_runs() -> Select[int]:
    """The numbers of the runs that are withdrawn, for a statement."""
    return select(settlement_steps.c.run).where(
        settlement_steps.c.state == RunState.WITHDRAWN.value
    )


def last_settled_day(connection: Connection) -> int | None:
    """The last day that a run holds which is not withdrawn (days since 1970-01-01 in WIB)."""
    return connection.execute(
        select(func.max(settlement_runs.c.cut_off_day)).where(
            settlement_runs.c.number.not_in(withdrawn_runs())
        )
    ).scalar()
