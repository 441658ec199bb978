"""Above which amount a sale needed the member's PIN, at a time: what every till must have known by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, select

from dobmi.central.schema import limit_changes
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings

PIN_LIMIT = "pin_above_rupiah"


@dataclass(frozen=True, slots=True)
class PinLimits:
    """`changes` are (since when, limit), the oldest first; the first has always been. 0: no PIN."""

    changes: tuple[tuple[int, int], ...]
    sync_age_seconds_max: int

    @classmethod
    def known(cls, connection: Connection, settings: CentralSettings) -> Self:
        """As the settings say and two people have set it since."""
        of = limit_changes.c
        rows = connection.execute(
            select(of.at, of.value)
            .where(of.name == PIN_LIMIT, of.member_class == "")
            .order_by(of.number)
        )
        changes = ((0, settings.pin_above_rupiah), *((row.at, row.value) for row in rows))
        return cls(changes, settings.sync_age_hours_max * 3600)

    @property
    def are_any(self) -> bool:
        return any(limit for _, limit in self.changes)

    def needed(self, amount: Rupiah, unix_seconds: int) -> bool:
        """Whether a sale of `amount` at that time needed a PIN whichever limit the till then had.

        A till sells on for the longest time without sync with the limit that it has.
        """
        known_since = unix_seconds - self.sync_age_seconds_max
        begun = [index for index, (since, _) in enumerate(self.changes) if since <= known_since]
        possible = [limit for since, limit in self.changes[begun[-1] :] if since <= unix_seconds]
        return all(0 < limit < amount.amount for limit in possible)
