"""A till's clock never goes back behind what the till has seen, whatever the machine says.

A Raspberry Pi without a battery clock starts in the past when it has no network. The till then goes
on from the newest time it knows: its own newest voucher's, or the server's last signed one.

Nor does it follow a machine that is ahead of any time at which the till may still sell: since it
never goes back, one day in 2099 would stop it for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dobmi.terminal.ledger import Ledger

WARN_BEHIND_SECONDS = 60
AHEAD_SECONDS_MAX = 24 * 3600
"""How far past the last day of selling without sync the machine's clock is still believed."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Unix seconds to work with, and by how many the machine's clock is behind or ahead of them.

    It is ahead only when it is not believed.
    """

    unix_seconds: int
    behind_seconds: int
    ahead_seconds: int = 0

    @property
    def is_wrong(self) -> bool:
        return self.behind_seconds > WARN_BEHIND_SECONDS or self.ahead_seconds > 0


class TillClock:
    def __init__(self, ledger: Ledger, system: Callable[[], float] = time.time) -> None:
        """`system` gives the machine's Unix seconds."""
        self._ledger = ledger
        self._system = system
        self._latest = ledger.latest_unix_seconds()
        self._believed_until = 0

    def read(self) -> ClockReading:
        """Raises LedgerError."""
        system = int(self._system())
        if system > self._believed_until:
            self._believed_until = _believed_until(self._ledger)
        if system > max(self._believed_until, self._latest):
            return ClockReading(self._latest, 0, system - self._latest)
        self._latest = max(self._latest, system)
        return ClockReading(self._latest, self._latest - system)

    def now(self) -> int:
        """Unix seconds, never less than before."""
        return self.read().unix_seconds

    def learn(self, unix_seconds: int) -> None:
        """The central server's signed time: it was at least that late then."""
        self._latest = max(self._latest, unix_seconds)

    def start_again(self) -> None:
        """After the ledger's clock was reset: go on from what it holds now."""
        self._latest = self._ledger.latest_unix_seconds()
        self._believed_until = 0


def _believed_until(ledger: Ledger) -> int:
    """Counted from the server's last signed word; from the till's enrolment before there is one."""
    state = ledger.sync_state()
    last_word = state.server_unix_seconds or state.synced_unix_seconds
    return last_word + state.limits.sync_age_seconds_max + AHEAD_SECONDS_MAX
