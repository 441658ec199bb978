"""A till's clock never goes back behind what the till has seen, whatever the machine says.

A Raspberry Pi without a battery clock starts in the past when it has no network. The till then goes
on from the newest time it knows: its own newest voucher's, or the server's last signed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dobmi.terminal.ledger import Ledger

WARN_BEHIND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Unix seconds to work with, and by how many the machine's clock is behind them."""

    unix_seconds: int
    behind_seconds: int

    @property
    def is_wrong(self) -> bool:
        return self.behind_seconds > WARN_BEHIND_SECONDS


class TillClock:
    def __init__(self, ledger: Ledger, system: Callable[[], float] = time.time) -> None:
        """`system` gives the machine's Unix seconds."""
        self._system = system
        self._latest = ledger.latest_unix_seconds()

    def read(self) -> ClockReading:
        system = int(self._system())
        self._latest = max(self._latest, system)
        return ClockReading(self._latest, self._latest - system)

    def now(self) -> int:
        """Unix seconds, never less than before."""
        return self.read().unix_seconds

    def learn(self, unix_seconds: int) -> None:
        """The central server's signed time: it was at least that late then."""
        self._latest = max(self._latest, unix_seconds)
