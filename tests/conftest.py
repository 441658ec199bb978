"""What several packages' tests share."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dobmi.cardlib.readers.pcsc import open_reader
from dobmi.firmware_sim.pcscd import SOCKET, Pcscd, ensure_pcscd
from dobmi.firmware_sim.vpcd import VirtualSlot

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


@pytest.fixture(scope="session")
def pcsc_service() -> Iterator[PcscService]:
    """A pcscd with the virtual reader, started here when none runs.

    There is one a machine: whoever else tests on it (another worker of xdist, another checkout)
    waits at the lock.
    """
    with (Path(tempfile.gettempdir()) / "dobmi-tests-pcscd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        service = PcscService(ensure_pcscd())
        try:
            yield service
        finally:
            service.current.stop()


@pytest.fixture
def virtual_slot(pcsc_service: PcscService) -> Iterator[VirtualSlot]:
    """A slot of the virtual reader, and pcscd has noticed that it is empty."""
    reader = open_reader(SLOT_READER)
    assert reader.wait_for_removal(5)
    reader.close()
    with VirtualSlot(port=pcsc_service.slot_port) as slot:
        yield slot


@pytest.fixture
def unused_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
