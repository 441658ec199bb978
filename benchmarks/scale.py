"""What a year of the cooperative takes, and of a hundred, from what one row of real traffic takes.

    python benchmarks/scale.py [--json] [--vouchers 40000] [--average-sale 40000] [--database URL]

Measured first, on PostgreSQL with the real tables and the real `take_batch`: bytes of table and index
a sale, a batch and a credit (what the second half of the run adds), write-ahead log, processor time of
server and database, and how long the circulation report looks at each posting. Then multiplied. The
assumptions are options; docs/scale.md says where they come from and what follows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, text

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dobmi.central.circulation import circulation
from dobmi.central.database import Database
from dobmi.central.days import close_days
from dobmi.central.ingest import take_batch
from dobmi.central.partitions import ensure_partitions
from dobmi.central.schema import metadata
from dobmi.fleet.postgres import running
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import GoodsLine, SaleVoucher
from dobmi.wib import WIB
from support.traffic import START, ModelCard, ModelTill, World

YEAR_SECONDS = 365 * 24 * 3600
PAGE_BYTES = 8192
GOODS = (
    GoodsLine(name="Beras ramos 5 kg", quantity=1, unit_price=Rupiah(0)),
    GoodsLine(name="Minyak goreng 1 l", quantity=2, unit_price=Rupiah(0)),
    GoodsLine(name="Gula pasir 1 kg", quantity=1, unit_price=Rupiah(0)),
)
"""The lines of an ordinary sale; prices are filled in."""
PER_SALE = ("vouchers", "card_transactions", "postings")
RANDOM_INDEXES = ("card_transactions_pkey",)
"""Index pages that a sale touches anywhere in the table, not at its end: they must stay in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Bytes and processor seconds of one of each."""

    vouchers: int
    table_bytes: dict[str, float]
    """Of each table that a sale writes to, a sale."""
    index_bytes: dict[str, float]
    random_index_bytes: float
    batch_bytes: float
    credit_bytes: float
    log_bytes: float
    server_seconds: float
    database_seconds: float
    vouchers_per_second: float
    """Of one server process and one connection, batches of 500."""
    small_batch_seconds: float
    """Processor time, server and database, of a batch of `small_batch`."""
    small_batch: int
    report_posting_seconds: float
    """Of the circulation report, a posting of a day that is not closed."""
    report_card_seconds: float
    """Likewise, a card: its newest transaction is looked up."""
    size_of_voucher: float

    @property
    def sale_bytes(self) -> float:
        return sum(self.table_bytes.values()) + sum(self.index_bytes.values())


LOOKUPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What the figures are multiplied with."""

    members: int = 250_000
    turnover_rupiah: int = 1_000_000_000_000
    average_sale_rupiah: int = 40_000
    credits_a_member: int = 12
    """A year: wages."""
    vouchers_a_batch: int = 5
    open_days: float = 6
    """Of which postings are not summed up yet, in ordinary days: a payday, and the night after it."""
    peak_of_mean: float = 30
    """The busiest hour, against the mean of all: a payday of five ordinary days, a quarter in an hour."""

    @property
    def sales(self) -> int:
        return self.turnover_rupiah // self.average_sale_rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One database server."""

    cores: int = 16
    memory_bytes: int = 128 * 10**9
    disk_bytes: int = 8 * 10**12
    report_seconds_max: float = 60
    restore_bytes_per_second: float = 300e6
    restore_seconds_max: float = 4 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """What so many cooperatives take."""

    cooperatives: int
    sales: int
    sales_per_second_mean: float
    sales_per_second_peak: float
    disk_bytes: float
    log_bytes_a_day: float
    cores_at_peak: float
    random_index_bytes: float
    report_seconds: float
    restore_seconds: float


def year(measured: Measured, assumed: Assumed, machine: Machine, cooperatives: int) -> Year:
    sales = assumed.sales * cooperatives
    credits_ = assumed.members * assumed.credits_a_member * cooperatives
    batches = sales / assumed.vouchers_a_batch
    disk = (
        sales * measured.sale_bytes
        + batches * measured.batch_bytes
        + credits_ * measured.credit_bytes
    )
    mean = sales / YEAR_SECONDS
    peak = mean * assumed.peak_of_mean
    # A card's newest transactions are together: no more than a page a card is in use at a time.
    hot = min(sales * measured.random_index_bytes, assumed.members * cooperatives * PAGE_BYTES)
    return Year(
        cooperatives=cooperatives,
        sales=sales,
        sales_per_second_mean=mean,
        sales_per_second_peak=peak,
        disk_bytes=disk,
        log_bytes_a_day=sales * measured.log_bytes / 365,
        cores_at_peak=peak / assumed.vouchers_a_batch * measured.small_batch_seconds,
        random_index_bytes=hot,
        report_seconds=(sales + 2 * credits_)
        / 365
        * assumed.open_days
        * measured.report_posting_seconds
        + assumed.members * cooperatives * measured.report_card_seconds,
        restore_seconds=disk / machine.restore_bytes_per_second,
    )


def limits(one: Year, machine: Machine) -> dict[str, float]:
    """How many cooperatives' first year one such machine carries, by what it runs out of."""
    return {
        "circulation report within a minute": machine.report_seconds_max / one.report_seconds,
        "restore within four hours": machine.restore_seconds_max / one.restore_seconds,
        "disk, two thirds full": machine.disk_bytes * 2 / 3 / one.disk_bytes,
        "random index pages in half the memory": machine.memory_bytes / 2 / one.random_index_bytes,
        "processor at the peak, half used": machine.cores / 2 / one.cores_at_peak,
    }


@contextmanager
def postgresql(url: str | None) -> Iterator[tuple[str, Path | None]]:
    """URL of an empty database, and the server's data folder if it is ours."""
    if url is not None:
        yield url, None
        return
    with running() as server:
        yield server.create("scale"), server.data


@dataclass(frozen=True, slots=True)
class Look:
    """Bytes at one moment: tables (with TOAST) and their indexes, partitions included; the log's end."""

    tables: dict[str, int]
    indexes: dict[str, int]
    log: int
    random_indexes: int

    @property
    def all(self) -> int:
        return sum(self.tables.values()) + sum(self.indexes.values())

    def of(self, table: str) -> int:
        return self.tables[table] + self.indexes[table]


def look_at(connection: Connection) -> Look:
    tables, indexes = {}, {}
    for table in metadata.tables:
        row = connection.execute(
            text(
                "SELECT sum(pg_table_size(part)), sum(pg_indexes_size(part)) FROM ("
                "SELECT inhrelid AS part FROM pg_inherits WHERE inhparent = to_regclass(:name) "
                "UNION ALL SELECT to_regclass(:name)) AS parts"
            ),
            {"name": table},
        ).one()
        tables[table], indexes[table] = int(row[0]), int(row[1])
    log = connection.execute(text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")).scalar_one()
    return Look(tables, indexes, int(log), index_bytes(connection, RANDOM_INDEXES))


def index_bytes(connection: Connection, names: tuple[str, ...]) -> int:
    return sum(
        int(
            connection.execute(
                text("SELECT pg_relation_size(to_regclass(:name))"), {"name": name}
            ).scalar_one()
        )
        for name in names
    )


def processor_seconds_of(data: Path | None) -> float:
    """Of all processes of the database server so far; 0 if it is not ours."""
    if data is None:
        return 0.0
    leader = int((data / "postmaster.pid").read_text("utf-8").split()[0])
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text("ascii").split()
    ticks = 0
    for pid in (leader, *map(int, children)):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # it has just ended; its time is in the leader's
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def sell(till: ModelTill, card: ModelCard, chance: random.Random) -> None:
    """A sale with goods."""
    prices = [Rupiah(chance.randrange(1, 20) * 500) for _ in GOODS]
    goods = tuple(
        replace(line, unit_price=price) for line, price in zip(GOODS, prices, strict=True)
    )
    amount = Rupiah(sum(line.unit_price.amount * line.quantity for line in goods))
    staged = card.stage_sale(till.next_reader_id, amount)
    counter, mac = card.commit(staged)
    till.append(
        SaleVoucher(
            link=till.link(),
            intent=replace(till.intent(card.uid, staged.evidence, amount), goods=goods),
            card_counter=counter,
            card_mac=mac,
        )
    )


def take(world: World, batches: list[bytes]) -> None:
    for batch in batches:
        take_batch(world.central, batch)


def measure(url: str, data: Path | None, vouchers: int, small_batch: int) -> Measured:
    chance = random.Random(1)  # noqa: S311 - not for secrets
    with tempfile.TemporaryDirectory(prefix="dobmi-scale-") as folder:
        world = World.create(Path(folder), url=url)
        database = world.central.database
        with database.write() as connection:
            ensure_partitions(connection, datetime.fromtimestamp(START, WIB).date(), 1)
        cards = world.make_cards(1, max(vouchers // 40, 50))
        station = world.station()

        def look() -> Look:
            with database.read() as connection:
                return look_at(connection)

        def checkpoint() -> None:
            with database.engine.connect() as connection:
                connection.execute(text("CHECKPOINT"))
                connection.commit()

        before = look()
        for card in cards:
            world.top_up(station, card, Rupiah(2_000_000))
        after = look()
        credit_bytes = (after.all - before.all) / len(cards)
        tills = [world.till(f"Toko {number}", name=f"Kasir {number}") for number in range(4)]

        def make(count: int, size: int) -> list[bytes]:
            made = []
            for number in range(count // size):
                till = tills[number % len(tills)]
                for _ in range(size):
                    sell(till, chance.choice(cards), chance)
                made.append(till.batch())
            return made

        take(world, make(vouchers // 2, 500))
        second = make(vouchers // 2, 500)
        checkpoint()
        before = look()
        server, in_database = time.process_time(), processor_seconds_of(data)
        began = time.perf_counter()
        take(world, second)
        wall = time.perf_counter() - began
        server, in_database = (
            time.process_time() - server,
            processor_seconds_of(data) - in_database,
        )
        after = look()
        count = len(second) * 500
        small = make(400 * small_batch, small_batch)
        small_before = look()
        small_server, small_database = time.process_time(), processor_seconds_of(data)
        take(world, small)
        small_seconds = (
            time.process_time() - small_server + processor_seconds_of(data) - small_database
        ) / len(small)
        small_after = look()
        open_report = min(timed_report(world) for _ in range(9))
        with database.read() as connection:
            rows = int(connection.execute(text("SELECT count(*) FROM postings")).scalar_one())
        assert close_days(world.central, START + 3 * 24 * 3600)
        closed_report = min(timed_report(world) for _ in range(9))
        looked_up = timed_lookups(database) / (LOOKUPS * len(cards))
        database.close()
    return Measured(
        vouchers=vouchers,
        table_bytes={name: (after.tables[name] - before.tables[name]) / count for name in PER_SALE},
        index_bytes={
            name: (after.indexes[name] - before.indexes[name]) / count for name in PER_SALE
        },
        random_index_bytes=(after.random_indexes - before.random_indexes) / count,
        batch_bytes=(small_after.of("batches") - small_before.of("batches")) / len(small),
        credit_bytes=credit_bytes,
        log_bytes=(after.log - before.log) / count,
        server_seconds=server / count,
        database_seconds=in_database / count,
        vouchers_per_second=count / wall,
        small_batch_seconds=small_seconds,
        small_batch=small_batch,
        report_posting_seconds=max(0, open_report - closed_report) / rows,
        report_card_seconds=looked_up,
        size_of_voucher=sum(map(len, second)) / count,
    )


def timed_lookups(database: Database) -> float:
    """Of every card's newest transaction, `LOOKUPS` times, as circulation has them."""
    newest = (
        "SELECT balance_after_rupiah FROM card_transactions AS newest "
        "WHERE newest.card_uid = cards.uid ORDER BY newest.counter DESC LIMIT 1"
    )
    statement = f"SELECT sum(({newest})) FROM cards, generate_series(1, {LOOKUPS})"  # noqa: S608 - ours
    with database.read() as connection:
        began = time.perf_counter()
        connection.execute(text(statement)).one()
        return time.perf_counter() - began


def timed_report(world: World) -> float:
    began = time.perf_counter()
    assert circulation(world.central).difference == ZERO
    return time.perf_counter() - began


def show(measured: Measured, assumed: Assumed, machine: Machine, years: list[Year]) -> None:
    console = Console()
    table = Table(title=f"Measured over {measured.vouchers:,} sales of three goods lines")
    table.add_column("")
    table.add_column("a sale", justify="right")
    for name in PER_SALE:
        table.add_row(f"{name}, table", f"{measured.table_bytes[name]:.0f} bytes")
        table.add_row(f"{name}, indexes", f"{measured.index_bytes[name]:.0f} bytes")
    table.add_row("together", f"{measured.sale_bytes:.0f} bytes")
    table.add_row(
        "of these index pages in random order", f"{measured.random_index_bytes:.0f} bytes"
    )
    table.add_row("the voucher itself", f"{measured.size_of_voucher:.0f} bytes")
    table.add_row("write-ahead log, from a checkpoint on", f"{measured.log_bytes:.0f} bytes")
    table.add_row("processor, server", f"{measured.server_seconds * 1e6:.0f} µs")
    table.add_row("processor, database", f"{measured.database_seconds * 1e6:.0f} µs")
    table.add_row("a batch's acknowledgement", f"{measured.batch_bytes:.0f} bytes a batch")
    table.add_row(
        f"processor of a batch of {measured.small_batch}",
        f"{measured.small_batch_seconds * 1e3:.1f} ms a batch",
    )
    table.add_row("a credit", f"{measured.credit_bytes:.0f} bytes a credit")
    table.add_row(
        "circulation report",
        f"{measured.report_posting_seconds * 1e6:.2f} µs an open posting, "
        f"{measured.report_card_seconds * 1e6:.2f} µs a card",
    )
    table.add_row("one process, batches of 500", f"{measured.vouchers_per_second:,.0f} sales/s")
    console.print(table)
    table = Table(
        title=f"A year: {assumed.members:,} members, Rp {assumed.turnover_rupiah:,}, "
        f"Rp {assumed.average_sale_rupiah:,} a sale"
    )
    table.add_column("cooperatives")
    for one in years:
        table.add_column(f"{one.cooperatives}", justify="right")
    for name, values in (
        ("sales", [f"{one.sales:,}" for one in years]),
        ("sales a second, mean", [f"{one.sales_per_second_mean:,.1f}" for one in years]),
        ("sales a second, busiest hour", [f"{one.sales_per_second_peak:,.0f}" for one in years]),
        ("disk, each copy", [f"{one.disk_bytes / 1e9:,.0f} GB" for one in years]),
        ("log to archive a day", [f"{one.log_bytes_a_day / 1e9:,.1f} GB" for one in years]),
        ("cores in the busiest hour", [f"{one.cores_at_peak:,.2f}" for one in years]),
        ("index pages to hold", [f"{one.random_index_bytes / 1e9:,.1f} GB" for one in years]),
        ("circulation report", [f"{one.report_seconds:,.0f} s" for one in years]),
        ("restore of a backup", [f"{one.restore_seconds / 60:,.0f} min" for one in years]),
    ):
        table.add_row(name, *values)
    console.print(table)
    table = Table(
        title=f"Where one server ({machine.cores} cores, {machine.memory_bytes / 1e9:.0f} GB, "
        f"{machine.disk_bytes / 1e12:.0f} TB) breaks, after a year of how many"
    )
    table.add_column("what gives out")
    table.add_column("cooperatives", justify="right")
    for name, cooperatives in sorted(limits(years[0], machine).items(), key=lambda pair: pair[1]):
        table.add_row(name, f"{cooperatives:,.1f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a year of the cooperative takes.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--vouchers", type=int, default=40_000)
    parser.add_argument("--average-sale", type=int, default=Assumed().average_sale_rupiah)
    parser.add_argument("--batch", type=int, default=Assumed().vouchers_a_batch)
    parser.add_argument("--database", help="SQLAlchemy URL of an empty PostgreSQL database")
    arguments = parser.parse_args()
    assumed = Assumed(average_sale_rupiah=arguments.average_sale, vouchers_a_batch=arguments.batch)
    machine = Machine()
    with postgresql(arguments.database) as (url, data):
        measured = measure(url, data, arguments.vouchers, assumed.vouchers_a_batch)
    years = [year(measured, assumed, machine, count) for count in (1, 10, 100)]
    if arguments.json:
        result = {
            "measured": asdict(measured),
            "assumed": asdict(assumed),
            "machine": asdict(machine),
            "years": [asdict(one) for one in years],
            "cooperatives_a_machine": limits(years[0], machine),
        }
        print(json.dumps(result))
    else:
        show(measured, assumed, machine, years)


if __name__ == "__main__":
    main()
