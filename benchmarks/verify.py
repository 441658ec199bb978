"""How many vouchers a core of the central server verifies in a second, and beside what that stands.

    python benchmarks/verify.py [--json] [--vouchers 10000] [--batch 500] [--cards 1000] [--goods 0]

No database: valid batches of sales are made first (not timed), then read and judged. Beside it, in
the same run: the plain verification it replaced (tests/support/plain_verification.py, check by check),
and the bare cryptography: SHA-256, one Ed25519 signature a batch, AN10922 once a card and batch, and
the CMACs and the AES block of each sale. `--goods` puts that many lines on each sale. The best of
several rounds counts, in processor time, but for the two processes, which are timed by the clock:
there the other core must be idle.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey, Holder, diversification_input
from dobmi.central.verification import CardFacts, JudgedBatch, MacKeyOf, judge_batch
from dobmi.money import Rupiah
from dobmi.sync.batch import CONTENT_TYPE, encode_batch, parse_batch
from dobmi.sync.voucher import GoodsLine, SaleFields, SaleVoucher, voucher_hash
from support import plain_verification as plain
from support.traffic import ModelCard, ModelTill

TILLS = 4
ROUNDS = 5
LIMIT = (108_000, 162_000)
"""Measured on the machine before the first line: chain, one signature a batch, 3 CMACs a voucher."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Batches of valid sales, and what the issuer knows."""

    batches: list[bytes]
    public_keys: dict[int, bytes]
    cards: dict[bytes, CardFacts]
    keys: KeyRing

    def mac_keys(self) -> MacKeyOf:
        """As the server has it: each card's key derived once a batch."""

        @cache
        def mac_key_of(uid: bytes, version: int) -> bytes:
            return self.keys.card_key(CardKey.TRANSACTION_MAC, uid, version).value

        return mac_key_of

    def public_key(self, data: bytes) -> bytes:
        return self.public_keys[parse_batch(data).head.terminal_id]


def make_traffic(vouchers: int, batch: int, cards: int, goods: int = 0) -> Traffic:
    chance = random.Random(1)  # noqa: S311 - not for secrets
    keys = KeyRing.generate(masters=[CardKey.TRANSACTION_MAC])
    issuer = Ed25519PrivateKey.generate()
    holders, facts = [], {}
    for number in range(1, cards + 1):
        uid = b"\x04" + number.to_bytes(6, "big")
        holder = Holder(
            member_number=number,
            name=f"Anggota {number}",
            card_serial=number,
            expires=date(2031, 1, 1),
        )
        key = keys.card_key(CardKey.TRANSACTION_MAC, uid).value
        content = holder.sign(uid, issuer.sign)
        holders.append(ModelCard(uid, content, key, balance=Rupiah(2_000_000_000)))
        facts[uid] = CardFacts(uid, number, number, 1)
    tills = [
        ModelTill(number, Ed25519PrivateKey.generate(), f"Toko {number}")
        for number in range(1, TILLS + 1)
    ]
    batches = []
    for number in range(-(-vouchers // batch)):
        till = tills[number % TILLS]
        first = len(till.vouchers) + 1
        previous = till.link().previous_hash
        for _ in range(batch):
            _sell(till, chance.choice(holders), Rupiah(chance.randrange(1, 40) * 500), goods)
        new = till.vouchers[first - 1 :]
        batches.append(
            encode_batch(
                till.terminal_id,
                first,
                previous,
                new,
                public_key=till.public_key,
                sign=till.key.sign,
            )
        )
    return Traffic(batches, {till.terminal_id: till.public_key for till in tills}, facts, keys)


def _sell(till: ModelTill, card: ModelCard, amount: Rupiah, goods: int) -> None:
    lines = [GoodsLine("Beras 5 kg", 1, amount)] if goods else []
    lines += [GoodsLine("Contoh", 1, Rupiah(0))] * (goods - 1)
    staged = card.stage_sale(till.next_reader_id, amount)
    counter, mac = card.commit(staged)
    intent = replace(till.intent(card.uid, staged.evidence, amount), goods=tuple(lines))
    till.append(SaleVoucher(link=till.link(), intent=intent, card_counter=counter, card_mac=mac))


def verify(traffic: Traffic, data: bytes) -> JudgedBatch:
    """One batch, from its bytes to verdicts."""
    batch = parse_batch(data)
    read = batch.read(traffic.public_keys[batch.head.terminal_id])
    return judge_batch(batch, read, traffic.cards, traffic.mac_keys())


def verify_per_second_per_core(traffic: Traffic) -> float:
    """Vouchers a second of processor time, the best round."""
    count = sum(len(verify(traffic, data).sales) for data in traffic.batches)
    seconds = best_seconds(lambda: [verify(traffic, data) for data in traffic.batches])
    return count / seconds


def best_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor seconds of the fastest round."""
    spent = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return min(spent)


def bare_cryptography(traffic: Traffic) -> Callable[[], None]:
    """The work that no verification can leave out, with everything taken apart beforehand."""
    master = CMAC(algorithms.AES(traffic.keys.masters[CardKey.TRANSACTION_MAC][1]))
    work = []
    for data in traffic.batches:
        batch = parse_batch(data)
        public_key = traffic.public_keys[batch.head.terminal_id]
        sales = [voucher for voucher, _ in batch.verify(public_key)]
        work.append((batch, public_key, [s for s in sales if isinstance(s, SaleVoucher)]))
    ecb = modes.ECB()  # noqa: S305 - of single blocks

    def cmac(started: CMAC, message: bytes) -> bytes:
        mac = started.copy()
        mac.update(message)
        return mac.finalize()

    def run() -> None:
        for batch, public_key, sales in work:
            batch.signed_head.verify(public_key, CONTENT_TYPE)
            for encoded in batch.vouchers:
                hashlib.sha256(encoded).digest()
            keys: dict[bytes, CMAC] = {}
            for sale in sales:
                uid = sale.intent.card_uid
                if uid not in keys:
                    message = b"\x01" + diversification_input(CardKey.TRANSACTION_MAC, uid)
                    keys[uid] = CMAC(algorithms.AES(cmac(master, message)))
                context = b"\x00\x01\x00\x80" + sale.card_counter.to_bytes(4, "little") + uid
                mac = CMAC(algorithms.AES(cmac(keys[uid], b"\x5a" + context)))
                mac.update(sale.intent.evidence)
                assert mac.finalize()[1::2] == sale.card_mac
                cipher = Cipher(algorithms.AES(cmac(keys[uid], b"\xa5" + context)), ecb)
                cipher.decryptor().update(sale.intent.evidence[17:33])

    return run


_of_process: list[Traffic] = []


def _begin_process(traffic: Traffic) -> None:
    _of_process[:] = [traffic]


def _verify_in_process(data: bytes) -> JudgedBatch:
    return verify(_of_process[0], data)


def in_processes(traffic: Traffic, processes: int) -> float:
    """Vouchers a second of wall time, bytes sent and verdicts received, from that many processes."""
    with ProcessPoolExecutor(processes, initializer=_begin_process, initargs=(traffic,)) as pool:
        list(pool.map(_verify_in_process, traffic.batches))  # warmed up
        begun = time.perf_counter()
        judged = list(pool.map(_verify_in_process, traffic.batches * 3))
        seconds = time.perf_counter() - begun
    return sum(len(batch.sales) for batch in judged) / seconds


def stages(traffic: Traffic, count: int) -> dict[str, float]:
    """Microseconds a voucher of each stage."""
    parsed = [parse_batch(data) for data in traffic.batches]
    keys = [traffic.public_keys[batch.head.terminal_id] for batch in parsed]
    both = list(zip(parsed, keys, strict=True))
    read = [batch.read(key) for batch, key in both]

    def derive() -> None:
        for batch in read:
            mac_key_of = traffic.mac_keys()
            for sale in batch:
                assert isinstance(sale, SaleFields)
                mac_key_of(sale.card_uid, 1)

    known = traffic.mac_keys()
    for uid in traffic.cards:
        known(uid, 1)

    def judge_all() -> None:
        for batch, vouchers in zip(parsed, read, strict=True):
            judge_batch(batch, vouchers, traffic.cards, known)

    works: Sequence[tuple[str, Callable[[], object]]] = (
        ("batch taken apart", lambda: [parse_batch(data) for data in traffic.batches]),
        (
            "head's signature",
            lambda: [batch.signed_head.verify(key, CONTENT_TYPE) for batch, key in both],
        ),
        (
            "chain (SHA-256)",
            lambda: [[voucher_hash(encoded) for encoded in batch.vouchers] for batch in parsed],
        ),
        (
            "head's signature, chain and vouchers read",
            lambda: [batch.read(key) for batch, key in both],
        ),
        ("card keys (AN10922)", derive),
        ("evidence, card MAC, previous reader id", judge_all),
    )
    return {name: best_seconds(work) / count * 1e6 for name, work in works}


def measure(vouchers: int, batch: int, cards: int, goods: int) -> dict[str, object]:
    traffic = make_traffic(vouchers, batch, cards, goods)
    count = len(traffic.batches) * batch
    rate = verify_per_second_per_core(traffic)

    def plainly() -> None:
        for data in traffic.batches:
            verdicts = plain.verify_batch(
                data, traffic.public_key(data), traffic.cards, traffic.mac_keys()
            )
            assert len(verdicts) == batch

    plain_rate = count / best_seconds(plainly, 2)
    bare_rate = count / best_seconds(bare_cryptography(traffic))
    return {
        "vouchers": count,
        "batch": batch,
        "cards": cards,
        "goods_lines": goods,
        "bytes_per_voucher": round(sum(map(len, traffic.batches)) / count),
        "cores": os.cpu_count(),
        "verify_per_second_per_core": round(rate),
        "plain_per_second_per_core": round(plain_rate),
        "times_plain": round(rate / plain_rate, 2),
        "bare_cryptography_per_second_per_core": round(bare_rate),
        "share_of_bare_cryptography": round(rate / bare_rate, 3),
        "limit_per_second_per_core": LIMIT,
        "share_of_limit": round(rate / LIMIT[0], 3),
        "one_process_per_second": round(in_processes(traffic, 1)),
        "two_processes_per_second": round(in_processes(traffic, 2)),
        "stages_microseconds_per_voucher": {
            name: round(microseconds, 2) for name, microseconds in stages(traffic, count).items()
        },
    }


def show(result: dict[str, object]) -> None:
    console = Console()
    shown = result["stages_microseconds_per_voucher"]
    assert isinstance(shown, dict)
    table = Table(title="Verifying vouchers, one core")
    table.add_column("stage")
    table.add_column("µs a voucher", justify="right")
    for name, microseconds in shown.items():
        table.add_row(name, f"{microseconds:.2f}")
    console.print(table)
    rates = Table(
        title=f"Batches of {result['batch']}, {result['bytes_per_voucher']} bytes a voucher"
    )
    rates.add_column("what")
    rates.add_column("a second", justify="right")
    for what, key in (
        ("verified, a core", "verify_per_second_per_core"),
        ("verified check by check, a core", "plain_per_second_per_core"),
        ("the cryptography alone, a core", "bare_cryptography_per_second_per_core"),
        ("verified by a pool of one process", "one_process_per_second"),
        ("verified by a pool of two processes", "two_processes_per_second"),
    ):
        rates.add_row(what, f"{result[key]:,}")
    low, high = LIMIT
    rates.add_row("limit: chain, one signature a batch, 3 CMACs", f"{low:,} to {high:,}")
    console.print(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the central server verifies vouchers.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--vouchers", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--cards", type=int, default=1_000)
    parser.add_argument("--goods", type=int, default=0, help="goods lines of each sale")
    arguments = parser.parse_args()
    result = measure(arguments.vouchers, arguments.batch, arguments.cards, arguments.goods)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
