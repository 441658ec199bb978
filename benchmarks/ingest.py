"""How fast the central server takes vouchers, beside what the same machine can do without it.

    python benchmarks/ingest.py [--json] [--database postgresql|sqlite] [--sizes 100000,1000000]
        [--workers 2] [--vouchers 48000] [--batch 500] [--cards 250000] [--cache FOLDER] [--backlog]

It starts a PostgreSQL of its own (or takes a SQLite file), fills it with as many sales as `--sizes`
says, one size after the other, and sends batches to a real `dobmi central serve --workers N` over
HTTP, 1, 2, 4 and 8 tills at once: verified, posted, durable and looked at, or the till would not
have its answer. Beside it, in the same run and on the same server: pgbench's TPC-B; the same posting
with one sale in a transaction, as plain as it can be (lock the till, insert the three rows, move its
head, commit; one connection, nothing verified within the time); batches of one
through `take_batch` (no HTTP, a process for each worker); verification alone on one core; and a binary COPY of the same rows into tables of the same
columns with the same primary keys and nothing else (no other index, trigger, check or partition),
committed by batches as large, from a connection for each worker. The load generator, the server and
the database share the machine's cores, so compare ratios within one run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
from ingest_traffic import TILLS, Step, cached_steps, prefill, till_key
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url, text

from dobmi.cardlib.custody import KeyRing, load_key_file, save_key_file
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.bulk import Layout
from dobmi.central.database import Database, open_database
from dobmi.central.ingest import SALES, TRANSACTIONS, VOUCHERS, Posting, check_batch, take_batch
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY, Central
from dobmi.fleet.postgres import Postgres, running
from dobmi.settings import CentralSettings
from dobmi.sync.batch import UncheckedBatch, parse_batch

AT_ONCE = (1, 2, 4, 8)
BACKLOG = 200_000
PASSPHRASE = "benchmark"  # noqa: S105 - of keys that are made for it
PGBENCH_SCALE, PGBENCH_CLIENTS, PGBENCH_SECONDS = 20, 4, 10
SINGLES = 2_000
SETTINGS = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "maintenance_work_mem": "1GB",
    "max_connections": "200",
}
"""Of PostgreSQL, for a machine with some memory; fsync, synchronous_commit, full_page_writes on."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of sending a step's batches."""

    tills: int
    vouchers: int
    seconds: float
    latencies: list[float]

    @property
    def vouchers_per_second(self) -> float:
        return self.vouchers / self.seconds

    def as_json(self) -> dict[str, float]:
        ordered = sorted(self.latencies)
        return {
            "tills": self.tills,
            "vouchers": self.vouchers,
            "vouchers_per_second": round(self.vouchers_per_second),
            "p50_milliseconds": round(statistics.median(ordered) * 1000, 1),
            "p99_milliseconds": round(ordered[int(len(ordered) * 0.99)] * 1000, 1),
        }


def processor_seconds(leader: int) -> float:
    """Spent so far by the process and all under it, those that have ended among them."""
    ticks = 0
    waiting = [leader]
    while waiting:
        process = waiting.pop()
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        except FileNotFoundError:
            continue
        ticks += sum(map(int, fields[11:15]))
        waiting += map(int, children)
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(folder: Path, url: str, workers: int) -> Iterator[tuple[int, int]]:
    """`dobmi central serve` on this database; its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    told = {"database": url, "port": port, "workers": workers, "keys": "central.keys"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    (folder / "dobmi.toml").write_text("\n".join(["[central]", "periodic_minutes = 0", *lines]))
    with (folder / "central.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dobmi", "central", "serve"],
            cwd=folder,
            env={**os.environ, "DOBMI_PASSPHRASE": PASSPHRASE},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_it_serves(port, process, folder / "central.log")
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _wait_until_it_serves(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


def send(port: int, step: Step, at_once: int | None = None) -> Load:
    """Each till's batches in their order, the tills at once (or so many of them at a time)."""

    def till(batches: Sequence[bytes]) -> list[float]:
        spent = []
        for data in batches:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            begun = time.perf_counter()
            connection.request("POST", "/v1/batches", data, {"content-type": "application/cbor"})
            answer = connection.getresponse()
            content = answer.read()
            spent.append(time.perf_counter() - begun)
            connection.close()
            assert answer.status == 200, content
        return spent

    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once or len(step.batches)) as pool:
        latencies = [one for spent in pool.map(till, step.batches.values()) for one in spent]
    seconds = time.perf_counter() - begun
    return Load(at_once or len(step.batches), step.vouchers, seconds, latencies)


def one_by_one(url: str, keys: Path, step: Step, workers: int) -> float:
    """Sales a second, each a batch and so a transaction of its own, in `workers` processes."""
    shares = [list(step.batches.values())[number::workers] for number in range(workers)]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers) as pool:
        pool.map(_nothing, range(workers * 4))  # so that all have started
        begun = time.perf_counter()
        pool.starmap(_take_all, [(url, str(keys), share) for share in shares if share])
        seconds = time.perf_counter() - begun
    return step.vouchers / seconds


def posted_one_by_one(central: Central, step: Step) -> float:
    """Sales a second over one connection, each in a transaction of its own."""
    work = []
    for number, batches in step.batches.items():
        public_key = till_key(number).public_key().public_bytes_raw()
        for data in batches:
            batch = parse_batch(data)
            rows = _rows(central, batch, public_key)
            work += [(number, batch.head, one) for one in zip(*rows, strict=True)]
    is_sqlite = central.database.engine.dialect.name == "sqlite"
    place = "?" if is_sqlite else "%s"
    statements = [
        f"INSERT INTO {layout.table.name} ({', '.join(layout.names)}) "  # noqa: S608 - our own tables
        f"VALUES ({', '.join([place] * len(layout.names))})"
        for layout in (VOUCHERS, TRANSACTIONS, SALES)
    ]
    lock = f"SELECT 1 FROM terminals WHERE id = {place}" + ("" if is_sqlite else " FOR UPDATE")  # noqa: S608
    move = f"UPDATE terminals SET head_sequence = {place}, head_hash = {place} WHERE id = {place}"  # noqa: S608
    writing = central.database.engine.connect().execution_options(dobmi_writes=True)
    with writing as connection:
        begun = time.perf_counter()
        for number, head, (voucher, transaction, posting) in work:
            with connection.begin():
                connection.exec_driver_sql(lock, (number,))
                rows_of_one = (voucher, transaction, (*posting, *SALES.constants.values()))
                for statement, row in zip(statements, rows_of_one, strict=True):
                    connection.exec_driver_sql(statement, row)
                connection.exec_driver_sql(move, (voucher[1], head.head_hash, number))
        seconds = time.perf_counter() - begun
    return len(work) / seconds


def _nothing(_: int) -> None:
    time.sleep(0.05)


def _take_all(url: str, keys: str, tills: list[list[bytes]]) -> None:
    central = Central(open_database(url), load_key_file(Path(keys), PASSPHRASE), CentralSettings())
    for batches in zip(*tills, strict=True):
        for data in batches:
            take_batch(central, data)
    central.database.close()


def verified_per_second(central: Central, step: Step) -> float:
    """Vouchers a second of one core's time: taken apart, signature, chain, card MACs, verdicts."""
    spent = 0.0
    for number, batches in step.batches.items():
        public_key = till_key(number).public_key().public_bytes_raw()
        for data in batches:
            begun = time.process_time()
            check_batch(central, parse_batch(data), public_key, central.mac_keys())
            spent += time.process_time() - begun
    return step.vouchers / spent


_BARE = {
    VOUCHERS.table.name: "terminal_id, sequence, received_at",
    TRANSACTIONS.table.name: "card_uid, counter",
    SALES.table.name: "at, id, card_uid",
}


def copied_per_second(central: Central, step: Step, workers: int) -> float:
    """Vouchers a second whose three rows (voucher, card transaction, posting) are copied, durably."""
    url = make_url(str(central.database.engine.url)).render_as_string(hide_password=False)
    with central.database.engine.begin() as connection:
        for name, key in _BARE.items():
            connection.execute(text(f"DROP TABLE IF EXISTS bare_{name}"))
            identity = "INCLUDING IDENTITY" if name == SALES.table.name else ""
            connection.execute(text(f"CREATE TABLE bare_{name} (LIKE {name} {identity})"))
            connection.execute(text(f"ALTER TABLE bare_{name} ADD PRIMARY KEY ({key})"))
    work = [
        _encoded(central, data, till_key(number).public_key().public_bytes_raw())
        for number, batches in step.batches.items()
        for data in batches
    ]
    plain = url.replace("postgresql+psycopg", "postgresql")

    def copy(share: Sequence[list[tuple[str, bytes]]]) -> None:
        with psycopg.connect(plain) as connection:
            for statements in share:
                with connection.cursor() as cursor:
                    for statement, content in statements:
                        with cursor.copy(statement) as copying:
                            copying.write(content)
                connection.commit()

    begun = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(copy, [work[number::workers] for number in range(workers)]))
    seconds = time.perf_counter() - begun
    return step.vouchers / seconds


def _encoded(central: Central, data: bytes, public_key: bytes) -> list[tuple[str, bytes]]:
    """The very rows that ingest writes of this batch, as it encodes them."""
    rows = _rows(central, parse_batch(data), public_key)
    layouts: Sequence[Layout] = (VOUCHERS, TRANSACTIONS, SALES)
    return [
        (
            f"COPY bare_{layout.table.name} ({', '.join(layout.names)}) FROM STDIN (FORMAT BINARY)",
            layout.encode(values),
        )
        for layout, values in zip(layouts, rows, strict=True)
    ]


def _rows(
    central: Central, batch: UncheckedBatch, public_key: bytes
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Of vouchers, card transactions and postings, in the order of their sequences."""
    now = int(time.time())
    judged, facts = check_batch(central, batch, public_key, central.mac_keys())
    posting = Posting(central, batch, bytes(32), judged, facts, central.mac_keys(), now)
    transactions, journal = posting.rows_of_sales(judged.sales, 5 * 10**12, now)
    transactions.sort(key=itemgetter(4))
    return posting.rows_of_vouchers(batch.head.first_sequence), transactions, journal


def pgbench_tps(postgres: Postgres) -> float:
    """TPC-B as it is: plain statements, a few clients."""
    url = make_url(postgres.create("pgbench"))
    program = str(postgres.programs / "pgbench")
    where = ["-h", "127.0.0.1", "-p", str(url.port), "-U", str(url.username), str(url.database)]
    clients = ["-c", str(PGBENCH_CLIENTS), "-j", "2", "-T", str(PGBENCH_SECONDS)]
    for options in (["-i", "-q", "-s", str(PGBENCH_SCALE)], clients):
        done = subprocess.run(
            [program, *options, *where], check=True, capture_output=True, text=True
        )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def wanted(arguments: argparse.Namespace, *, backlog: bool) -> list[tuple[str, int, int, int]]:
    """The steps of traffic, in the order of their sending: name, tills, vouchers, vouchers a batch."""
    steps = [("warm-up", 8, 8 * arguments.batch, arguments.batch)]
    steps += [(f"{tills} at once", tills, arguments.vouchers, arguments.batch) for tills in AT_ONCE]
    if backlog:
        steps.append(("backlog", TILLS, BACKLOG, arguments.batch))
    return [*steps, ("one by one", 8, SINGLES, 1), ("posted one by one", 8, 2 * SINGLES, 250)]


def measure_size(
    folder: Path,
    url: str,
    keys: KeyRing,
    size: int,
    arguments: argparse.Namespace,
    *,
    beside: bool,
    postmaster: int = 0,
) -> dict[str, Any]:
    """All that is measured on a database with so many vouchers."""
    database = open_database(url)
    filled = prefill(database, arguments.cards, size)
    say(f"{size:,} vouchers are there after {filled:.0f} s; making traffic")
    backlog = arguments.backlog and beside
    steps = {
        step.name: step
        for step in cached_steps(
            arguments.cache, keys, arguments.cards, size, wanted(arguments, backlog=backlog)
        )
    }
    central = Central(database, keys, CentralSettings())
    found: dict[str, Any] = {"vouchers_there": size, "fill_seconds": round(filled, 1)}
    with served(folder, url, arguments.workers) as (port, process):
        send(port, steps["warm-up"])
        leaders = {"server": process}
        if postmaster:
            leaders["database"] = postmaster
        before = {name: processor_seconds(leader) for name, leader in leaders.items()}
        loads = []
        for tills in AT_ONCE:
            loads.append(send(port, steps[f"{tills} at once"]))
            say(f"  {loads[-1].as_json()}")
        sent = sum(load.vouchers for load in loads)
        found["processor_microseconds_per_voucher"] = {
            name: round((processor_seconds(leader) - before[name]) / sent * 1e6, 1)
            for name, leader in leaders.items()
        }
        say(f"  {found['processor_microseconds_per_voucher']}")
        found["tills_at_once"] = [load.as_json() for load in loads]
        found["vouchers_per_second"] = round(max(load.vouchers_per_second for load in loads))
        if backlog:
            load = send(port, steps["backlog"], 8)
            found["backlog_200k_seconds"] = round(load.seconds, 1)
            say(f"  a backlog of {load.vouchers:,} vouchers in {load.seconds:.1f} s")
    if beside:
        singles = one_by_one(url, folder / "central.keys", steps["one by one"], arguments.workers)
        found["batches_of_one_per_second"] = round(singles)
        step = steps[f"{AT_ONCE[-1]} at once"]
        found["verify_per_second_per_core"] = round(verified_per_second(central, step))
        found["one_transaction_per_sale_per_second"] = round(
            posted_one_by_one(central, steps["posted one by one"])
        )
        if arguments.database == "postgresql":
            found["copied"] = copied_per_second(central, step, arguments.workers)
    _check(database)
    database.close()
    return found


def _check(database: Database) -> None:
    """Nothing was dropped on the way to speed."""
    with database.read() as connection:
        for table in ("quarantine", "anomalies", "batches_to_look_at"):
            count = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - ours
            assert count == 0, f"{count} rows in {table}"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dobmi-ingest-", dir=arguments.folder) as name:
        folder = Path(name)
        keys = _keys(folder, arguments.cache)
        sizes = [int(size) for size in arguments.sizes.split(",")]
        found: dict[str, Any] = {
            "database": arguments.database,
            "cores": os.cpu_count(),
            "workers": arguments.workers,
            "batch": arguments.batch,
            "cards": arguments.cards,
        }
        by_size = []
        if arguments.database == "sqlite":
            for size in sizes:
                url = f"sqlite:///{folder}/central-{size}.db"
                beside = size == sizes[0]
                by_size.append(measure_size(folder, url, keys, size, arguments, beside=beside))
                (folder / f"central-{size}.db").unlink()
            return found | _summary(by_size, None)
        with running(settings=SETTINGS) as postgres:
            found["postgresql"] = {**_version(postgres), **SETTINGS}
            tps = pgbench_tps(postgres)
            for size in sizes:
                url = postgres.create(f"central_{size}")
                leader = int((postgres.data / "postmaster.pid").read_text().split()[0])
                by_size.append(
                    measure_size(
                        folder,
                        url,
                        keys,
                        size,
                        arguments,
                        beside=size == sizes[0],
                        postmaster=leader,
                    )
                )
                _drop(postgres, f"central_{size}")
            return found | _summary(by_size, tps)


def _keys(folder: Path, cache: Path | None) -> KeyRing:
    path = (cache or folder) / "benchmark.keys"
    if not path.exists():
        ring = KeyRing.generate(masters=CardKey, signing=[SERVER_KEY, CARD_ISSUER_KEY])
        save_key_file(path, ring, PASSPHRASE)
    if cache is not None:
        shutil.copyfile(path, folder / "central.keys")
    else:
        path.rename(folder / "central.keys")
    return load_key_file(folder / "central.keys", PASSPHRASE)


def _version(postgres: Postgres) -> dict[str, str]:
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")
    with psycopg.connect(postgres.url("postgres").replace("+psycopg", "")) as connection:
        return {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in names}  # type: ignore[index] # it has a row


def _drop(postgres: Postgres, name: str) -> None:
    with psycopg.connect(
        postgres.url("postgres").replace("+psycopg", ""), autocommit=True
    ) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _summary(by_size: list[dict[str, Any]], tps: float | None) -> dict[str, Any]:
    first = by_size[0]
    rate = first["vouchers_per_second"]
    singles = first["one_transaction_per_sale_per_second"]
    copied = first.pop("copied", None)
    rates: Mapping[int, float] = {
        one["vouchers_there"]: one["vouchers_per_second"] for one in by_size
    }
    slowdown = None
    if 100_000 in rates and 10_000_000 in rates:
        slowdown = round(rates[100_000] / rates[10_000_000], 2)
    return {
        "vouchers_per_second": rate,
        "one_transaction_per_sale_per_second": singles,
        "pgbench_tps": None if tps is None else round(tps),
        "copy_rows_per_second": None if copied is None else round(copied * len(_BARE)),
        "copy_vouchers_per_second": None if copied is None else round(copied),
        "verify_per_second_per_core": first["verify_per_second_per_core"],
        "slowdown_at_10m": slowdown,
        "backlog_200k_seconds": first.get("backlog_200k_seconds"),
        "batches_of_one_per_second": first["batches_of_one_per_second"],
        "times_one_transaction_per_sale": round(rate / singles, 1),
        "share_of_copy": None if copied is None else round(rate / copied, 2),
        "sizes": by_size,
    }


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"Taking vouchers, {result['database']}, {result['workers']} workers")
    for heading in ("vouchers there", "tills at once", "vouchers a second", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for size in result["sizes"]:
        for load in size["tills_at_once"]:
            table.add_row(
                f"{size['vouchers_there']:,}",
                str(load["tills"]),
                f"{load['vouchers_per_second']:,}",
                f"{load['p50_milliseconds']:,}",
                f"{load['p99_milliseconds']:,}",
            )
    console.print(table)
    beside = Table(title="Beside it, in the same run")
    beside.add_column("what")
    beside.add_column("figure", justify="right")
    for name, value in result.items():
        if isinstance(value, int | float) or value is None:
            beside.add_row(name, "not run" if value is None else f"{value:,}")
    console.print(beside)
    if "postgresql" in result:
        settings = ", ".join(f"{name} {value}" for name, value in result["postgresql"].items())
        console.print(f"PostgreSQL: {settings}")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the central server takes vouchers.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--sizes", default="100000", help="vouchers already there, by commas")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--vouchers", type=int, default=48_000, help="for each number of tills")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--cards", type=int, default=250_000)
    parser.add_argument(
        "--backlog", action="store_true", help=f"also {BACKLOG:,} from {TILLS} tills"
    )
    parser.add_argument("--cache", type=Path, help="keep traffic and keys in this folder")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="for SQLite and the log")
    result = measure(parser.parse_args())
    if result["database"] == "sqlite":
        result.pop("postgresql", None)
    print(json.dumps(result)) if parser.parse_args().json else show(result)


if __name__ == "__main__":
    main()
