"""Months of the journal and of the vouchers on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select, text

from dobmi.central.errors import LostRace
from dobmi.central.partitions import ensure_partitions
from dobmi.central.schema import vouchers
from support.central_client import RING, SETTINGS
from support.databases import Kind, using
from support.traffic import World

# The database serves one test after the other, and keeps its partitions: each has a year of its own.


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with using(Kind.POSTGRESQL):
        world = World.create(tmp_path, keys=RING, settings=SETTINGS, kind=Kind.POSTGRESQL)
        yield world
        world.close()


def test_months_are_made_once_across_the_year(world: World) -> None:
    with world.central.database.write() as connection:
        made = ensure_partitions(connection, date(2051, 12, 5), 1)
    assert sorted(made) == [
        "postings_2051_12",
        "postings_2052_01",
        "vouchers_2051_12",
        "vouchers_2052_01",
    ]
    with world.central.database.write() as connection:
        assert ensure_partitions(connection, date(2051, 12, 31), 1) == []


def test_a_month_that_has_rows_elsewhere_is_left_there(world: World) -> None:
    row = {"terminal_id": 1, "sequence": 1, "received_at": 1_954_000_000, "encoded": b"x"}
    with world.central.database.write() as connection:
        connection.execute(vouchers.insert(), row)  # in December 2031
    with world.central.database.write() as connection:
        made = ensure_partitions(connection, date(2031, 12, 5), 1)
    assert sorted(made) == ["postings_2031_12", "postings_2032_01", "vouchers_2032_01"]


def test_a_long_reader_keeps_nobody_waiting_behind_a_new_month(world: World) -> None:
    database = world.central.database
    with database.read() as backup:
        backup.execute(select(vouchers).limit(1))
        began = time.monotonic()
        with pytest.raises(LostRace), database.write() as connection:
            ensure_partitions(connection, date(2061, 12, 5), 1)
        assert time.monotonic() - began < 10
    with database.write() as connection:
        assert len(ensure_partitions(connection, date(2061, 12, 5), 1)) == 4
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "2s"
    with database.write() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "0"
