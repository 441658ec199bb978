"""Databases of older versions come to this one's tables with every rupiah they hold."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, delete, func, select, text
from sqlalchemy.exc import DBAPIError

from dobmi.central import migrations
from dobmi.central.catalogue import import_catalogue, parse_catalogue
from dobmi.central.circulation import circulation
from dobmi.central.database import Database, open_database
from dobmi.central.days import close_days
from dobmi.central.errors import DatabaseFailed, DatabaseTooOld
from dobmi.central.feeds import OutletAsked, make_feed
from dobmi.central.member_notes import Told, import_notes
from dobmi.central.member_orders import import_orders, parse_orders
from dobmi.central.owed import positions
from dobmi.central.schema import (
    APPEND_ONLY,
    StaffRole,
    WorkState,
    anomaly_steps,
    metadata,
    sellers,
    terminals,
)
from dobmi.central.seller_accounts import bank_account, decide_account, propose_account
from dobmi.central.server import Central
from dobmi.central.settlement_run import approve_run, export_run, mark_paid, propose_run
from dobmi.central.staff import add_staff
from dobmi.central.till_staff import add_till_staff
from dobmi.central.work_kinds import MEANINGS
from dobmi.central.work_list import assign, work_list
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.fleet.postgres import Postgres
from dobmi.money import ZERO
from dobmi.settings import CentralSettings, Settings
from dobmi.sync.feed import verify_feed
from dobmi.sync.outlet import Duty
from dobmi.wib import day_of
from support.database_shape import shape
from support.kept_central import KEPT, MEMBER, RING, reports
from support.traffic import START

KEPT_VERSIONS = sorted(int(path.stem.removeprefix("central_v")) for path in KEPT.glob("*.json"))
BACKENDS = ["sqlite", "postgresql"]


class Databases:
    """New databases of one kind."""

    def __init__(self, kind: str, folder: Path, postgres: Postgres) -> None:
        self.kind = kind
        self._folder, self._postgres = folder, postgres
        self._opened: list[Database] = []

    def url(self) -> str:
        number = len(self._opened)
        if self.kind == "sqlite":
            return f"sqlite:///{self._folder}/central{number}.db"
        return self._postgres.create(f"{self._folder.name}_{number}")

    def open(self, url: str) -> Database:
        database = open_database(url)
        self._opened.append(database)
        return database

    def kept(self, version: int) -> Database:
        """As the program of that version left it."""
        url = self.url()
        dump = (KEPT / f"central_v{version}.{self.kind}.sql").read_text(encoding="utf-8")
        if self.kind == "sqlite":
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                connection.executescript(dump)
        else:
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.exec_driver_sql(dump.replace("%", "%%"))
            engine.dispose()
        return self.open(url)

    def close(self) -> None:
        for database in self._opened:
            database.close()


@pytest.fixture(params=BACKENDS)
def databases(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres
) -> Iterator[Databases]:
    made = Databases(request.param, tmp_path, postgres)
    yield made
    made.close()


def test_the_revisions_are_one_line_that_ends_at_the_version_of_this_program() -> None:
    configuration = Config()
    configuration.set_main_option("script_location", "dobmi.central:migrations")
    script = ScriptDirectory.from_config(configuration)
    assert script.get_heads() == [f"{migrations.head():04}"]
    line = [revision.revision for revision in script.walk_revisions()]
    assert line == [f"{number:04}" for number in range(migrations.head(), 0, -1)]


def test_the_revisions_make_exactly_the_tables_of_the_code(databases: Databases) -> None:
    by_revisions, by_code = (databases.open(databases.url()) for _ in range(2))
    by_revisions.create_tables()
    with by_code.write() as connection:
        metadata.create_all(connection)
        expected = shape(connection)
    with by_revisions.read() as connection:
        found = shape(connection)
    for part in {*expected, *found}:
        assert found.get(part) == expected.get(part), part


@pytest.mark.parametrize("version", KEPT_VERSIONS)
def test_a_database_of_an_older_version_comes_with_all_it_holds(
    databases: Databases, version: int
) -> None:
    database = databases.kept(version)
    with pytest.raises(DatabaseTooOld):
        database.require_tables()
    assert database.create_tables() == version
    database.require_tables()
    expected = json.loads((KEPT / f"central_v{version}.json").read_text(encoding="utf-8"))
    found = reports(Central(database, RING, CentralSettings()))
    assert json.loads(json.dumps(found)) == expected
    fresh = databases.open(databases.url())
    fresh.create_tables()
    with database.read() as upgraded, fresh.read() as new:
        assert shape(upgraded) == shape(new)
    with database.engine.connect() as connection:
        for table in APPEND_ONLY:
            if connection.execute(select(func.count()).select_from(table)).scalar():
                with pytest.raises(DBAPIError, match="append only"):
                    connection.execute(delete(table))
                connection.rollback()


@pytest.mark.parametrize("version", KEPT_VERSIONS)
def test_sellers_are_paid_what_an_older_version_sold(databases: Databases, version: int) -> None:
    database = databases.kept(version)
    database.create_tables()
    now = START + 365 * 24 * 3600
    central = Central(database, RING, CentralSettings(), lambda: now)
    close_days(central, now)
    for name, role in (("Ani", StaffRole.PROPOSER), ("Budi", StaffRole.APPROVER)):
        add_staff(database, name, [role], now)
    owed = {one.seller: one.owed for one in positions(database) if one.owed > ZERO}
    assert owed
    account = bank_account("BCA", "014", "123456", "Toko")
    for seller in owed:
        propose_account(database, seller, account, "Ani", now)
        decide_account(database, seller, 1, "Budi", now, accepted=True)
    run = propose_run(database, day_of(now) - timedelta(days=2), "Ani", now)
    assert {item.seller: item.net for item in run.items} == owed
    approve_run(database, run.number, "Budi", now)
    export_run(database, run.number, "Ani", now, account)
    mark_paid(database, run.number, "Ani", "TRF-1", now)
    assert {one.owed for one in positions(database)} == {ZERO}
    assert circulation(central).difference == ZERO


@pytest.mark.parametrize("version", KEPT_VERSIONS)
def test_outlets_of_an_older_version_are_told_what_they_sell_by_whom_and_to_whom(
    databases: Databases, version: int
) -> None:
    database = databases.kept(version)
    database.create_tables()
    items = parse_catalogue("code,name,category,price,barcode\nA,Beras,Sembako,75000,8991\n")
    assert import_catalogue(database, items, "Toko Satu").items == 1
    add_till_staff(database, "Toko Satu", 11, "Siti", Duty.CASHIER, now=START)
    heads = "order,member,pick_up_on,item,name,quantity,price\n"
    wanted = parse_orders(f"{heads}501,{MEMBER},2027-03-01,A,Beras,2,75000\n")
    assert import_orders(database, wanted, "Toko Satu", START).taken == 1
    told = [Told(1, MEMBER, member_class="karyawan", jpeg=b"\xff\xd8\xff\xd9")]
    assert import_notes(database, told, START) == 1
    central = Central(database, RING, CentralSettings())
    with database.read() as connection:
        till = connection.execute(
            select(terminals.c.id)
            .join(sellers, sellers.c.id == terminals.c.seller_id)
            .where(sellers.c.name == "Toko Satu")
        ).scalar_one()
    asked = OutletAsked(terminal_id=till, catalogue=0, staff=0, orders=0, members=0)
    feed = make_feed(central, 0, outlet=asked)
    outlet = verify_feed(feed, central.public_key, 0, till).outlet
    assert outlet is not None
    assert None not in (outlet.catalogue, outlet.staff, outlet.orders, outlet.members)


@pytest.mark.parametrize("version", KEPT_VERSIONS)
def test_findings_of_an_older_version_are_open_on_the_work_list(
    databases: Databases, version: int
) -> None:
    database = databases.kept(version)
    with database.read() as connection:
        count = connection.execute(text("SELECT count(*) FROM anomalies")).scalar_one()
    database.create_tables()
    central = Central(database, RING, CentralSettings())
    listed = work_list(central)
    assert (len(listed), {found.state for found in listed}) == (count, {WorkState.OPEN})
    assert {found.kind for found in listed} <= set(MEANINGS)
    for name in ("Ani", "Budi"):
        add_staff(database, name, [StaffRole.CLERK], 1)
    taken = assign(central, listed[0].number, "Ani", by="Budi")
    assert (taken.state, taken.owner) == (WorkState.ASSIGNED, "Ani")
    with (
        pytest.raises(DBAPIError, match="append only"),
        database.engine.begin() as connection,
    ):
        connection.execute(delete(anomaly_steps))


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(databases: Databases) -> None:
    database = databases.kept(KEPT_VERSIONS[0])
    with database.engine.begin() as connection:
        before = shape(connection)
        connection.execute(text("CREATE TABLE periodic_jobs (mine INTEGER)"))
    with pytest.raises(DatabaseFailed):
        database.create_tables()
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE periodic_jobs"))
        assert shape(connection) == before
        assert migrations.version_of(connection) == KEPT_VERSIONS[0]
    assert database.create_tables() == KEPT_VERSIONS[0]


@pytest.mark.parametrize("kept", [True, False])
def test_servers_that_start_at_once_make_the_tables_one_after_the_other(
    databases: Databases, kept: bool
) -> None:
    if kept:
        url = databases.kept(KEPT_VERSIONS[0]).engine.url.render_as_string(hide_password=False)
    else:
        url = databases.url()
    servers = [databases.open(url) for _ in range(4)]
    found: list[int | None] = []
    together = threading.Barrier(len(servers))

    def start(server: Database) -> None:
        together.wait()
        found.append(server.create_tables())

    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str).count(migrations.head()) == len(servers) - 1
    assert len(found) == len(servers)
    servers[0].require_tables()


def test_the_command_says_what_it_will_do_and_does_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((KEPT / "central_v1.sqlite.sql").read_text(encoding="utf-8"))
    context = Context(Settings(folder=tmp_path, central=CentralSettings()), "en", str)

    def run(*arguments: str, say: str = "") -> Result:
        return CliRunner().invoke(command, arguments, obj=context, input=say)

    refused = run("init")
    assert (refused.exit_code, "dobmi central upgrade" in refused.output) == (1, True)
    asked = run("upgrade", say="n\n")
    assert asked.exit_code == 1
    assert f"from version 1 to version {migrations.head()}" in asked.output
    assert "backup" in asked.output
    # What a program of version 1 looks at, to refuse what is newer.
    look = "SELECT version FROM schema_version"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute(look).fetchall() == [(1,)]
    done = run("upgrade", say="y\n")
    assert (done.exit_code, "is ready" in done.output) == (0, True)
    again = run("upgrade")
    assert (again.exit_code, "already" in again.output) == (0, True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute(look).fetchall() == [(migrations.head(),)]
