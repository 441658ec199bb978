"""How many cards' keys are derived in a second: out of a file, in a token, and over the network.

    python benchmarks/keys.py [--json] [--cards 500] [--rounds 5] [--remote 200]

All in one run, so that the ratios hold where the figures do not. The file: key by key as a tap wants
them, and 500 at once as the ingest of a batch does. The token: SoftHSM2, initialised in a folder of its
own, by one process and by two at once. Remote: a till without masters, `POST /v1/card-keys` to a
server process on loopback, one request after another: signed, sealed, counted in its database. Also
what a signature costs in either place. The best of several rounds counts, by the clock.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dobmi.cardlib.custody import KeyRing, ServerCustody
from dobmi.cardlib.custody_place import TokenPlace, open_custody, store_masters
from dobmi.cardlib.purse_layout import CardKey
from support.servers import issued, new_central, serving
from support.softhsm import OPENS, forget, make_token
from support.tills import RING, Bench

UIDS_OF_A_BATCH = 500


def rate(work: Callable[[], int], rounds: int) -> float:
    """Keys a second, of the best round."""
    best = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        count = work()
        best = max(best, count / (time.perf_counter() - began))
    return best


def uids(count: int) -> list[bytes]:
    return [b"\x04" + secrets.token_bytes(6) for _ in range(count)]


def singly(custody: ServerCustody, count: int) -> Callable[[], int]:
    def work() -> int:
        for uid in uids(count):
            custody.card_key(CardKey.TRANSACTION_MAC, uid, 1)
        return count

    return work


def batched(custody: ServerCustody, count: int) -> Callable[[], int]:
    def work() -> int:
        return len(custody.card_key_values(CardKey.TRANSACTION_MAC, uids(count), 1))

    return work


def signing(custody: ServerCustody, count: int) -> Callable[[], int]:
    def work() -> int:
        for _ in range(count):
            custody.sign("server", bytes(100))
        return count

    return work


def in_processes(custody: ServerCustody, count: int, processes: int, rounds: int) -> float:
    """Keys a second of so many processes together, each with a session of its own."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(processes + 1)

    def work() -> None:
        custody.card_key_values(CardKey.TRANSACTION_MAC, uids(1), 1)
        for _ in range(rounds):
            gate.wait()
            custody.card_key_values(CardKey.TRANSACTION_MAC, uids(count), 1)
            gate.wait()

    workers = [context.Process(target=work) for _ in range(processes)]
    for worker in workers:
        worker.start()
    best = 0.0
    for _ in range(rounds):
        gate.wait()
        began = time.perf_counter()
        gate.wait()
        best = max(best, processes * count / (time.perf_counter() - began))
    for worker in workers:
        worker.join()
    return best


@contextmanager
def token_with_keys(folder: Path) -> Iterator[TokenPlace]:
    token = make_token(folder / "token", "benchmark")
    os.environ["SOFTHSM2_CONF"] = str(token.config)
    masters = {key: RING.masters[key][1] for key in CardKey}
    store_masters(token.place, OPENS, masters, 1, RING.signing)
    yield token.place
    forget(token)


def remote(folder: Path, count: int, rounds: int) -> float:
    """Keys a second over HTTP, one till, one question after another."""
    from dobmi.terminal.remote_keys import KeysFromServer  # noqa: PLC0415 - of this measurement

    central = new_central(folder)
    object.__setattr__(central.settings, "card_keys_per_minute", 1_000_000)
    card = issued(central, 0)
    with serving(central) as url:
        bench = _enrolled(central, url, folder)
        ask = KeysFromServer(database=bench.database, signing=bench.signing, server=url)

        def work() -> int:
            for _ in range(count):
                ask.custody().card_key(CardKey.DEBIT, card.uid)  # a new one each: nothing is kept
            return count

        return rate(work, rounds)


def _enrolled(central: object, url: str, folder: Path) -> Bench:
    from dobmi.central.server import Central  # noqa: PLC0415 - likewise
    from dobmi.sync.client import HttpClient, enrol  # noqa: PLC0415 - likewise
    from support.servers import till_invitation  # noqa: PLC0415 - likewise

    assert isinstance(central, Central)
    signing = KeyRing.generate(signing=["terminal"])
    with HttpClient(url) as client:
        enrolment = enrol(
            client,
            till_invitation(central),
            signing.public_key("terminal"),
            lambda message: signing.sign("terminal", message),
        )
    return Bench(folder, enrolment.terminal_id, url, signing=signing, time=time.time()).enrol()


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    count, rounds = arguments.cards, arguments.rounds
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, token_with_keys(Path(name)) as place:
        token = open_custody(place, OPENS)
        found["file, key by key"] = rate(singly(RING, 20 * count), rounds)
        found["file, 500 at once"] = rate(
            lambda: sum(batched(RING, UIDS_OF_A_BATCH)() for _ in range(20)), rounds
        )
        found["token, key by key"] = rate(singly(token, count), rounds)
        found["token, 500 at once"] = rate(batched(token, UIDS_OF_A_BATCH), rounds)
        for processes in (1, 2):
            found[f"token, {processes} process{'es' if processes > 1 else ''}"] = in_processes(
                token, 4 * count, processes, rounds
            )
        found["remote, one till"] = remote(Path(name), arguments.remote, max(rounds // 2, 1))
        found["signatures, file"] = rate(signing(RING, count), rounds)
        found["signatures, token"] = rate(signing(token, count), rounds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cards", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--remote", type=int, default=100)
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(json.dumps({name: round(value) for name, value in found.items()}))
        return
    base = found["file, key by key"]
    table = Table()
    for heading in ("", "a second", "times the file, key by key"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in found.items():
        ratio = "" if name.startswith("signatures") else f"{value / base:.3f}"
        table.add_row(name, f"{value:,.0f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
