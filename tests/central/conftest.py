"""A central server of its own for each test, in process, spoken to over HTTP: on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dobmi.central import staff_login
from dobmi.central.app import create_app
from dobmi.fleet.postgres import Postgres
from support.central_client import RING, SETTINGS, Office
from support.databases import Kind, postgres_server, stop_servers, using
from support.distribution import every_statement_looked_at
from support.traffic import World


@pytest.fixture(params=list(Kind), ids=str)
def database_kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """New databases of this test are SQLite's, then once more PostgreSQL's."""
    kind: Kind = request.param
    with using(kind):
        yield kind


@pytest.fixture
def world(tmp_path: Path, database_kind: Kind) -> Iterator[World]:
    world = World.create(tmp_path, keys=RING, settings=SETTINGS, kind=database_kind)
    yield world
    world.close()


@pytest.fixture
def office(world: World) -> Iterator[Office]:
    with TestClient(create_app(world.central)) as client:
        yield Office(world, client)


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> Iterator[None]:
    """What makes a password slow to try makes a hundred tests slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staff_login, "_N", 16)
        yield


@pytest.fixture(scope="session")
def postgres(_servers: None) -> Postgres:
    """The PostgreSQL server of the tests' own."""
    return postgres_server()


@pytest.fixture(autouse=True, scope="session")
def _statements() -> Iterator[None]:
    """Whatever the tests here execute joins as a distributed engine can."""
    with every_statement_looked_at() as found:
        yield
    assert found == []


@pytest.fixture(scope="session", autouse=True)
def _servers() -> Iterator[None]:
    yield
    stop_servers()
