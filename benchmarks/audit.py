"""How fast a ledger is audited: vouchers per second, afresh and going on from an earlier audit.

    python benchmarks/audit.py [--json] [--vouchers 20000] [--cards 1000] [--tills 8] [--processes 2]

A ledger of valid sales is made first by the server itself (not timed) and exported. Then it is audited:
afresh by one process and by several, and once more from the state that the first left. Beside it the bare
cost of the signatures, one Ed25519 verification for each voucher, which is what a fresh audit cannot
do without. "One core": per second of the processor, whatever else the machine does; with several processes
it is the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dobmi.audit.formats import parse_voucher
from dobmi.audit.run import Audit, audit
from dobmi.central.export import export
from dobmi.central.ingest import take_batch
from dobmi.money import Rupiah
from support.audited import auditor_keys
from support.central_client import RING
from support.traffic import START, World

BALANCE = Rupiah(2_000_000)
BATCH = 500


def make_ledger(folder: Path, vouchers: int, cards: int, tills: int) -> Path:
    """An export of a ledger with so many sales."""
    world = World.create(folder, keys=RING)
    chance = random.Random(1)  # noqa: S311 - not for secrets
    station = world.station()
    holders = world.make_cards(1, cards)
    for holder in holders:
        world.top_up(station, holder, BALANCE)
    shops = [world.till(f"Toko {number}", name=f"Kasir {number}") for number in range(tills)]
    for number in range(-(-vouchers // BATCH)):
        till = shops[number % tills]
        for _ in range(BATCH):
            till.sell(chance.choice(holders), Rupiah(chance.randrange(1, 40) * 500))
        take_batch(world.central, till.batch())
    file = folder / "ledger.db"
    export(world.central.database, file, START)
    world.central.database.close()
    return file


def signatures_per_second(file: Path) -> float:
    """Of one core, doing nothing else."""
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        keys = {
            row.id: row.public_key
            for row in connection.execute(text("SELECT id, public_key FROM terminals"))
        }
        rows = connection.execute(
            text("SELECT terminal_id, encoded FROM vouchers LIMIT 2000")
        ).all()
    engine.dispose()
    read = [(parse_voucher(encoded), keys[terminal_id]) for terminal_id, encoded in rows]
    begun = time.process_time()
    assert all(voucher.signed.is_by(key) for voucher, key in read)
    return len(read) / (time.process_time() - begun)


def timed(file: Path, processes: int, earlier: Audit | None = None) -> tuple[float, float, Audit]:
    """Seconds, and those of this process on the processor."""
    begun, used = time.perf_counter(), time.process_time()
    since = None if earlier is None else earlier.state
    done = audit(f"sqlite:///{file}", auditor_keys(), since=since, processes=processes)
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    assert not done.findings, done.findings[:3]
    return seconds, used, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vouchers", type=int, default=20_000)
    parser.add_argument("--cards", type=int, default=1_000)
    parser.add_argument("--tills", type=int, default=8)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        file = make_ledger(Path(folder).resolve(), asked.vouchers, asked.cards, asked.tills)
        bare = signatures_per_second(file)
        _, one, fresh = timed(file, 1)
        many, _, _ = timed(file, asked.processes)
        _, again, _ = timed(file, 1, fresh)
    count = fresh.vouchers
    figures = {
        "vouchers": count,
        "processes": asked.processes,
        "signatures_per_second_per_core": round(bare),
        "vouchers_per_second_per_core": round(count / one),
        "vouchers_per_second": round(count / many),
        "vouchers_per_second_per_core_since": round(count / again),
        "share_of_bare_signatures": round(count / one / bare, 3),
    }
    if asked.json:
        print(json.dumps(figures, indent=1))
        return
    table = Table("", "per second")
    table.add_row("bare signatures, one core", f"{bare:,.0f}")
    table.add_row("vouchers audited afresh, one core", f"{count / one:,.0f}")
    table.add_row(f"vouchers audited afresh, {asked.processes} processes", f"{count / many:,.0f}")
    table.add_row("vouchers looked at again, from a state, one core", f"{count / again:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
