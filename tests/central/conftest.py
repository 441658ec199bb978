"""A central server of its own for each test, in process, spoken to over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dobmi.central.app import create_app
from dobmi.fleet.postgres import Postgres, running
from support.central_client import RING, SETTINGS, Office
from support.traffic import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.create(tmp_path, keys=RING, settings=SETTINGS)
    yield world
    world.central.database.close()


@pytest.fixture
def office(world: World) -> Iterator[Office]:
    with TestClient(create_app(world.central)) as client:
        yield Office(world, client)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own."""
    with running() as server:
        yield server
