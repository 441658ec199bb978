"""Reports from a replica, and answers that wait until a standby has what they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from dobmi.cardlib.custody import save_key_file
from dobmi.central.app import create_app
from dobmi.central.database import Database, open_database
from dobmi.central.ingest import take_batch
from dobmi.central.replica import seconds_behind
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from support.central_client import RING, SETTINGS, Office
from support.databases import Kind, copied, using
from support.traffic import World


def issued_by_report(world: World, reports: Database | None) -> tuple[int, int | None]:
    central = dataclasses.replace(world.central, reports=reports)
    with TestClient(create_app(central)) as client:
        answer = Office(world, client).signed(world.station(), "GET", "/v1/circulation").json()
    return answer["issued_rupiah"], answer["seconds_behind"]


def test_circulation_is_the_replicas_and_says_how_far_it_is_behind(
    world: World, tmp_path: Path
) -> None:
    card, station = world.card(1), world.station()
    world.top_up(station, card, Rupiah(10_000))
    world.central.database.close()
    replica = open_database(copied(world.url, tmp_path))
    world.top_up(station, card, Rupiah(5_000))
    assert issued_by_report(world, replica) == (10_000, 0)
    assert issued_by_report(world, None) == (15_000, 0)
    replica.close()


def test_reports_and_lists_need_nothing_but_the_replica(world: World, tmp_path: Path) -> None:
    save_key_file(tmp_path / "central.keys", RING, "kunci kantor")
    central = CentralSettings(
        database="postgresql+psycopg://nobody@127.0.0.1:1/gone", reports_database_url=world.url
    )
    settings = Settings(
        folder=tmp_path, central=central, passphrase=SecretStr("kunci kantor"), language="en"
    )
    context = Context(settings, "en", str)
    for listing in ("report", "quarantine", "in-doubt", "refunds", "anomalies", "unreported"):
        done = CliRunner().invoke(command, [listing], obj=context)
        assert done.exit_code == 0, done.output
        assert done.stderr == "From the replica, 0 s behind.\n"
    as_json = CliRunner().invoke(command, ["in-doubt", "--json"], obj=context)
    assert "replica" not in as_json.stdout
    exported = CliRunner().invoke(command, ["export", str(tmp_path / "ledger.db")], obj=context)
    assert exported.exit_code == 0, exported.output
    refused = CliRunner().invoke(command, ["terminals"], obj=context)
    assert "[CENTRAL-DATABASE]" in refused.output


def test_what_is_no_replica_is_not_behind(world: World) -> None:
    assert seconds_behind(world.central.database) == 0


@pytest.fixture
def on_postgresql(tmp_path: Path) -> Iterator[World]:
    with using(Kind.POSTGRESQL):
        world = World.create(tmp_path, keys=RING, settings=SETTINGS, kind=Kind.POSTGRESQL)
        yield world
        world.close()


def test_a_repeated_answer_waits_for_the_log(on_postgresql: World) -> None:
    """Its lock is in the log, whose standbys a commit waits for; a mere look waits for nothing."""
    world = on_postgresql
    till, station = world.till(), world.station()
    card = world.card(1)
    world.top_up(station, card, Rupiah(10_000))
    till.sell(card, Rupiah(1_000))
    batch = till.batch()
    first = take_batch(world.central, batch)

    def locked_by() -> int:
        with world.central.database.read() as connection:
            return int(
                connection.execute(
                    text("SELECT xmax::text::bigint FROM terminals WHERE id = :id"),
                    {"id": till.terminal_id},
                ).scalar_one()
            )

    before = locked_by()
    assert take_batch(world.central, batch) == first
    assert locked_by() > before


def test_a_pool_without_prepared_statements_is_said_in_the_url(on_postgresql: World) -> None:
    database = open_database(f"{on_postgresql.url}?prepare_threshold=none")
    with database.read() as connection:
        raw = connection.connection.dbapi_connection
        assert getattr(raw, "prepare_threshold", 5) is None
    database.close()
