"""A server that is told to stop, as a process of its own: no batch is lost, none is half taken."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import requests

from dobmi.central.circulation import circulation
from dobmi.money import Rupiah
from dobmi.sync.acknowledgement import verify_acknowledgement
from support.central_client import RING
from support.databases import Kind
from support.served_process import serving
from support.traffic import World


def test_at_sigterm_it_says_not_ready_finishes_what_it_began_and_refuses_what_is_new(
    world: World, tmp_path: Path, unused_port: int
) -> None:
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    for _ in range(20):
        till.sell(card, Rupiah(1_000))
    begun, late = till.batch(1, 10), till.batch(11, 20)
    with serving(world, tmp_path, unused_port, drain_seconds=3) as served:
        # A batch that is under way: half of its body has arrived.
        slow = socket.create_connection(("127.0.0.1", unused_port))
        head = (
            f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\n"
            f"Content-Length: {len(begun)}\r\n\r\n"
        )
        slow.sendall(head.encode() + begun[:100])
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        _until(lambda: served.get("/readyz").status_code == 503)
        assert served.get("/healthz").status_code == 200
        refused = requests.post(
            f"{served.url}/v1/batches",
            data=late,
            headers={"content-type": "application/cbor"},
            timeout=10,
        )
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["code"] == "CENTRAL-STOPPING"
        slow.sendall(begun[100:])
        answer = _answer(slow)
        assert answer.startswith(b"HTTP/1.1 200")
        ack = verify_acknowledgement(answer.partition(b"\r\n\r\n")[2], world.central.public_key)
        assert ack.head_sequence == 10
        slow.close()
        assert served.process.wait(30) == -signal.SIGTERM
    assert circulation(world.central).owed_to_outlets == Rupiah(10_000)
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    requests_noted = [line for line in lines if line["message"] == "request"]
    assert {line["status"] for line in requests_noted} >= {200, 503}
    assert "CENTRAL-STOPPING" in {line.get("problem") for line in requests_noted}
    assert any("periodic work done" in line["message"] for line in lines)


def test_with_nothing_to_wait_for_it_ends_at_once(tmp_path: Path, unused_port: int) -> None:
    world = World.create(tmp_path, keys=RING, kind=Kind.SQLITE)
    with serving(world, tmp_path, unused_port, drain_seconds=0, log="text") as served:
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(30)
        assert time.monotonic() - began < 10


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _answer(connection: socket.socket) -> bytes:
    """To the end of the connection, which the stopping server closes."""
    connection.settimeout(20)
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received
