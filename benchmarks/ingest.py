"""How fast the central server takes vouchers, per second and core, and where the time goes.

    python benchmarks/ingest.py [--json] [--vouchers 10000] [--batch 500] [--cards 1000] [--database URL]

Valid vouchers are made first (not timed). Then each stage is timed on all of them, and at last the
whole of `take_batch`: parsing to acknowledgement, durable on the disk of the folder it is run in.
`per voucher` and `share` are of the whole. The load runs on one core; the rest of the machine is
whatever it is, so compare ratios within a table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dobmi.cardlib.evidence import parse_sale_evidence, previous_reader_id, verify_evidence
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.circulation import circulation
from dobmi.central.ingest import take_batch
from dobmi.money import ZERO, Rupiah
from dobmi.sync.batch import CONTENT_TYPE, parse_batch
from dobmi.sync.voucher import SaleVoucher, Voucher, follow_chain
from support.traffic import ModelCard, World

TILLS = 4
BALANCE = Rupiah(2_000_000)

# docs/limits: what the same machine allows, measured before the first line with less per voucher.
LIMITS = {
    "verification: chain, one signature a batch, 3 CMACs": (108_000, 162_000),
    "posting, SQLite, one writer, full schema": (10_600, 10_600),
    "posting, SQLAlchemy insertmanyvalues, PostgreSQL": (5_800, 6_800),
}


def make_batches(world: World, vouchers: int, batch: int, cards: int) -> list[bytes]:
    """Batches of sales in the order in which tills would report them."""
    chance = random.Random(1)  # noqa: S311 - not for secrets
    station = world.station()
    holders: list[ModelCard] = world.make_cards(1, cards)
    for holder in holders:
        world.top_up(station, holder, BALANCE)
    tills = [world.till(f"Toko {number}") for number in range(TILLS)]
    batches = []
    for number in range(-(-vouchers // batch)):
        till = tills[number % TILLS]
        for _ in range(batch):
            till.sell(chance.choice(holders), Rupiah(chance.randrange(1, 40) * 500))
        batches.append(till.batch())
    return batches


def timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure_stages(world: World, batches: list[bytes]) -> dict[str, float]:
    """Processor seconds of each stage of verification, over all batches."""
    keys = world.central.keys
    chains: list[list[tuple[Voucher, bytes]]] = []
    parsed = [parse_batch(data) for data in batches]
    public_keys = {till: _public_key(world, till) for till in range(1, TILLS + 2)}
    stages = {
        "decode and chain": timed(
            lambda: chains.extend(
                follow_chain(
                    batch.vouchers,
                    batch.head.terminal_id,
                    batch.head.first_sequence,
                    batch.head.previous_hash,
                )
                for batch in (parse_batch(data) for data in batches)
            )
        ),
        "signature of the head": timed(
            lambda: [
                batch.signed_head.verify(public_keys[batch.head.terminal_id], CONTENT_TYPE)
                for batch in parsed
            ]
        ),
    }
    sales = [voucher for chain in chains for voucher, _ in chain]
    assert all(isinstance(sale, SaleVoucher) for sale in sales)
    card_keys: dict[bytes, bytes] = {}

    def derive() -> None:
        # As take_batch does: once a card and batch.
        for chain in chains:
            for uid in {sale.intent.card_uid for sale, _ in chain if isinstance(sale, SaleVoucher)}:
                card_keys[uid] = keys.card_key(CardKey.TRANSACTION_MAC, uid).value

    def verify(sales: Iterable[Voucher]) -> None:
        for sale in sales:
            assert isinstance(sale, SaleVoucher)
            uid, counter = sale.intent.card_uid, sale.card_counter
            evidence = parse_sale_evidence(sale.intent.evidence)
            verify_evidence(card_keys[uid], uid, counter, sale.card_mac, sale.intent.evidence)
            encrypted = evidence.encrypted_previous_reader_id
            previous_reader_id(card_keys[uid], uid, counter, encrypted)

    stages["card keys (AN10922)"] = timed(derive)
    stages["evidence, MAC, previous reader id"] = timed(lambda: verify(sales))
    return stages


def _public_key(world: World, terminal_id: int) -> bytes:
    from sqlalchemy import select  # noqa: PLC0415 - only here

    from dobmi.central.schema import terminals  # noqa: PLC0415 - only here

    with world.central.database.read() as connection:
        return bytes(
            connection.execute(
                select(terminals.c.public_key).where(terminals.c.id == terminal_id)
            ).scalar_one()
        )


def measure(vouchers: int, batch: int, cards: int, url: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="dobmi-ingest-", dir=Path.cwd()) as folder:
        world = World.create(Path(folder), url=url)
        batches = make_batches(world, vouchers, batch, cards)
        count = len(batches) * batch
        stages = measure_stages(world, batches)
        wall, cpu = time.perf_counter(), time.process_time()
        for data in batches:
            take_batch(world.central, data)
        cpu_seconds = time.process_time() - cpu
        wall_seconds = time.perf_counter() - wall
        now = circulation(world.central)
        assert now.difference == ZERO
        assert (now.quarantined, now.anomalies) == (0, 0)
        size_bytes = sum(map(len, batches)) / count
        world.central.database.close()
    verification = sum(stages.values())
    stages["posting and the rest, processor"] = cpu_seconds - verification
    stages["posting, waiting for disk or database"] = max(wall_seconds - cpu_seconds, 0.0)
    return {
        "vouchers": count,
        "batch": batch,
        "cards": cards,
        "database": url.partition(":")[0],
        "cores": os.cpu_count(),
        "bytes_per_voucher": round(size_bytes),
        "vouchers_per_second": round(count / wall_seconds),
        "verified_per_second_per_core": round(count / verification),
        "stages": {
            name: {
                "microseconds_per_voucher": round(seconds / count * 1e6, 1),
                "share": round(seconds / wall_seconds, 3),
            }
            for name, seconds in stages.items()
        },
        "limits_vouchers_per_second": LIMITS,
    }


def show(result: dict[str, object]) -> None:
    console = Console()
    stages = result["stages"]
    assert isinstance(stages, dict)
    table = Table(title="Taking vouchers, one core")
    for heading in ("stage", "µs a voucher", "share"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in stages.items():
        microseconds, share = stage["microseconds_per_voucher"], stage["share"]
        table.add_row(name, f"{microseconds:.1f}", f"{share:.0%}")
    console.print(table)
    console.print(
        f"{result['vouchers_per_second']:,} vouchers a second, verified and posted "
        f"({result['database']}, {result['vouchers']:,} vouchers of "
        f"{result['bytes_per_voucher']} bytes, batches of {result['batch']})"
    )
    console.print(
        f"{result['verified_per_second_per_core']:,} a second and core by verification alone"
    )
    limits = Table(title="For comparison, measured before (vouchers of 200 bytes)")
    limits.add_column("what")
    limits.add_column("a second", justify="right")
    for what, (low, high) in LIMITS.items():
        limits.add_row(what, f"{low:,}" if low == high else f"{low:,} to {high:,}")
    console.print(limits)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the central server takes vouchers.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--vouchers", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--cards", type=int, default=1_000)
    parser.add_argument(
        "--database", default="sqlite:///central.db", help="SQLAlchemy URL of an empty one"
    )
    arguments = parser.parse_args()
    result = measure(arguments.vouchers, arguments.batch, arguments.cards, arguments.database)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
