"""After a power cut at any moment, whatever was told is on the disk; a laxer SQLite is found out."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest

from dobmi.fleet.crash_actors import Told
from dobmi.fleet.disk_watch import DiskCall, Operation, preload_library
from dobmi.fleet.power_cut import Data, cuts, torn

EVERY = 40


def searched(*options: str) -> dict[str, dict[str, Any]]:
    """By machine, what the search of a recorded day found."""
    done = subprocess.run(
        [sys.executable, "-m", "dobmi.fleet.power_cut", *options],
        env=os.environ | {"LD_PRELOAD": str(preload_library())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["machine"]: one for one in found}


@pytest.mark.search
def test_nothing_that_was_told_is_missing_after_a_power_cut() -> None:
    found = searched("--every", str(EVERY))
    assert set(found) == {"till", "server", "station"}
    assert [one["wrong"] for one in found.values()] == [[], [], []]
    assert found["till"]["told"] > 20
    assert found["server"]["told"] > 100


@pytest.mark.search
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_same_search_finds_what_a_database_without_full_sync_loses(synchronous: str) -> None:
    found = searched("--synchronous", synchronous, "--every", "20", "--prefixes-max", "3")
    assert found["till"]["bad_disks"] > 0
    assert found["server"]["bad_disks"] > 0


@pytest.mark.long
def test_no_disk_that_a_power_cut_may_leave_lacks_anything() -> None:
    assert [one["wrong"] for one in searched().values()] == [[], [], []]


def written(path: str, data: bytes, offset: int = 0) -> DiskCall:
    return DiskCall(Operation.WRITE, path, offset, data)


def contents_after(*events: DiskCall | Told) -> list[dict[str, bytes]]:
    """Every disk that a cut after the last event may leave."""
    last = len(events) - 1
    return [cut.contents for cut in cuts([*events, Told("sell", 1)]) if cut.index > last]


def test_what_was_synced_with_its_folder_is_there_for_certain() -> None:
    disks = contents_after(
        DiskCall(Operation.CREATE, "/d/a"),
        written("/d/a", b"paid"),
        DiskCall(Operation.SYNC, "/d/a"),
        DiskCall(Operation.SYNC, "/d"),
    )
    assert disks == [{"/d/a": b"paid"}]


def test_a_name_whose_folder_was_not_synced_may_be_gone() -> None:
    disks = contents_after(
        DiskCall(Operation.CREATE, "/d/a"),
        written("/d/a", b"paid"),
        DiskCall(Operation.SYNC, "/d/a"),
    )
    assert {} in disks
    assert {"/d/a": b"paid"} in disks


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    calls = [DiskCall(Operation.CREATE, "/d/a"), DiskCall(Operation.SYNC, "/d")]
    calls += [written("/d/a", bytes([65 + number]), number) for number in range(12)]
    disks = contents_after(*calls)
    assert any(disk["/d/a"][-1:] > b"A" and b"\0" in disk["/d/a"] for disk in disks)


def test_a_write_is_torn_only_between_sectors() -> None:
    change = Data(0, 100, bytes(2000))
    for seed in range(50):
        part = torn(change, random.Random(seed))  # noqa: S311 - no secret
        assert isinstance(part, Data)
        assert part.data is not None
        assert (100 + len(part.data)) % 512 == 0
        assert 0 < len(part.data) < 2000
