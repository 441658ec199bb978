"""Whatever fails in the simulated fleet, the auditor finds nothing wrong in its server's books."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dobmi.audit.run import audit, shares
from dobmi.fleet.acts import play
from dobmi.fleet.events import plan
from dobmi.fleet.template import keys_of_generation
from dobmi.fleet.world import new_world
from support.audited import auditor_keys, found_in

SEEDS = (1, 7, 11, 27)
"""11 has a wrong server clock and a copied card, 27 a server restored from a backup."""


@pytest.mark.parametrize("count", [1, 5, 6, 40, 41, 999])
def test_a_tills_pieces_are_in_few_tasks_however_old_it_is(count: int) -> None:
    parts = shares(range(count))
    assert [piece for part in parts for piece in part] == list(range(count))
    assert len(parts) <= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fleets_books_are_good(seed: int, tmp_path: Path) -> None:
    with new_world() as world:
        play(world, plan(seed, 2.0))
        with (
            closing(sqlite3.connect(world.witness.server_database)) as source,
            closing(sqlite3.connect(tmp_path / "central.db")) as target,
        ):
            source.backup(target)
        keys = auditor_keys(keys_of_generation(world.key_generation))
    done = audit(f"sqlite:///{tmp_path / 'central.db'}", keys)
    assert done.vouchers > 0
    assert found_in(done) == set()
