"""The machine's pcscd, as the tests use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dobmi.firmware_sim.pcscd import SOCKET, Pcscd, ensure_pcscd

SLOT_READER = "Virtual PCD 00 01"
"""The second slot: a demo, or a card that somebody works with, may be in the first."""


@dataclass
class PcscService:
    """The machine's pcscd, which some tests stop and start where it is ours to stop."""

    current: Pcscd

    @property
    def slot_port(self) -> int:
        return self.current.port + 1

    def restart(self) -> None:
        self.current = ensure_pcscd()

    def is_ours_alone(self) -> bool:
        """Whether it was started here and no other program talks to it."""
        if not self.current.was_started_here:
            return False
        sockets = Path("/proc/net/unix").read_text().splitlines()
        connected = "03"  # SS_CONNECTED, the sixth column
        return not any(
            line.endswith(str(SOCKET)) and line.split()[5] == connected for line in sockets
        )
