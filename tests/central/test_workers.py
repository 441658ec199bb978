"""Several processes that serve one port, as the command starts them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from dobmi.central.circulation import circulation
from dobmi.money import ZERO, Rupiah
from support.central_client import RING
from support.databases import Kind
from support.served_process import Served, serving
from support.traffic import ModelTill, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.create(tmp_path, keys=RING, kind=Kind.POSTGRESQL)
    yield world
    world.close()


def children(served: Served) -> set[int]:
    process = served.process.pid
    return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def upload_all(served: Served, till: ModelTill) -> None:
    for first in range(1, len(till.vouchers) + 1, 5):
        answer = requests.post(
            f"{served.url}/v1/batches",
            data=till.batch(first, min(first + 4, len(till.vouchers))),
            headers={"content-type": "application/cbor"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text


def test_tills_are_served_by_several_processes_and_all_end_together(
    world: World, tmp_path: Path, unused_port: int
) -> None:
    station, cards = world.station(), world.make_cards(1, 4)
    for card in cards:
        world.top_up(station, card, Rupiah(100_000))
    tills = [world.till(f"Toko {number}") for number in range(4)]
    for number in range(80):
        tills[number % 4].sell(cards[number * 3 % 4], Rupiah(100))
    with serving(world, tmp_path, unused_port, workers=2, drain_seconds=0) as served:
        processes = children(served)
        assert len(processes) == 2
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda till: upload_all(served, till), tills))
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(30) == 0
        assert not any(Path(f"/proc/{process}").exists() for process in processes)
    now = circulation(world.central)
    assert (now.owed_to_outlets, now.difference, now.anomalies) == (Rupiah(8_000), ZERO, 0)


def test_a_process_that_dies_is_started_again(
    world: World, tmp_path: Path, unused_port: int
) -> None:
    with serving(world, tmp_path, unused_port, workers=2) as served:
        before = children(served)
        os.kill(min(before), signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(children(served)) < 2 or children(served) == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert served.get("/healthz").ok
