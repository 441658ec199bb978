"""Whatever fails in the simulated fleet, the auditor finds nothing wrong in its server's books."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dobmi.audit.run import audit
from dobmi.fleet.acts import play
from dobmi.fleet.events import plan
from dobmi.fleet.template import keys_of_generation
from dobmi.fleet.world import new_world
from support.audited import auditor_keys, found_in

SEEDS = (1, 7, 11, 27)
"""11 has a wrong server clock and a copied card, 27 a server restored from a backup."""


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
