"""What several packages' tests share."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dobmi.cardlib.readers.pcsc import open_reader
from dobmi.firmware_sim.pcscd import ensure_pcscd
from dobmi.firmware_sim.vpcd import VirtualSlot
from support.pcscd import SLOT_READER, PcscService


@pytest.fixture(scope="module")
def pcsc_service() -> Iterator[PcscService]:
    """A pcscd with the virtual reader, started here when none runs.

    There is one a machine: whoever else tests on it (another worker of xdist, another checkout)
    waits at the lock, which is why it is held for a module and not for a session.
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
