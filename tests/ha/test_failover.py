"""The primary is lost during ingest, with what it had not sent to its standbys.

A plain kill proves little: what is committed has usually left already. So the processes that send
the log are frozen a second before. With strict synchronous replication nothing that a till was told
is lost; the same story with asynchronous replication must lose some of it, or it proves nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ha_cluster import PACKAGES, Cluster, Node, bring_up, missing_programs
from sqlalchemy import func, select, text

from dobmi.cardlib.custody import save_key_file
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.database import open_database
from dobmi.central.posting_rules import Kind
from dobmi.central.replica import seconds_behind
from dobmi.central.schema import postings, vouchers
from dobmi.central.server import Central
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.client import HttpClient, Patience, Requester, SyncClient
from dobmi.sync.errors import ServerFails, ServerRefused, ServerUnreachable
from dobmi.sync.voucher import voucher_hash
from support.central_client import RING
from support.traffic import ModelCard, ModelTill, World

pytestmark = [
    pytest.mark.ha,
    pytest.mark.skipif(
        bool(missing_programs()),
        reason=f"{', '.join(missing_programs())} missing: scripts/setup-ha (apt-get install {PACKAGES})",
    ),
]

OUTLETS = 4
CARDS = 5
"""Of each outlet."""
BATCH = 20
PASSPHRASE = "a cluster of tests"
INGEST_SECONDS = 3
FROZEN_SECONDS = 1
FAILOVER_SECONDS_MAX = 75
IMPATIENT = Patience(attempts=1, connect_timeout_seconds=2, silence_timeout_seconds=8)


@dataclass
class Outlet:
    """A till that sells and uploads as long as it may; each acknowledgement is on disk at once."""

    till: ModelTill
    cards: list[ModelCard]
    client: SyncClient
    record: Path
    acknowledged: list[tuple[float, int, bytes]] = field(default_factory=list)
    """When (monotonic), and the chain's head: sequence and hash."""
    batches: list[bytes] = field(default_factory=list)
    failures: int = 0
    refusal: str = ""

    def run(self, stop: threading.Event) -> None:
        with self.record.open("ab") as record:
            while not stop.is_set() and not self.refusal:
                for number in range(BATCH):
                    self.till.sell(self.cards[number % len(self.cards)], Rupiah(500))
                batch = self.till.batch()
                self.batches.append(batch)
                while not self.upload(batch) and not self.refusal:
                    time.sleep(0.2)
                if self.acknowledged:
                    _, sequence, head = self.acknowledged[-1]
                    record.write(f"{sequence} {head.hex()}\n".encode())
                    record.flush()
                    os.fsync(record.fileno())

    def upload(self, batch: bytes) -> bool:
        try:
            told = self.client.upload(batch)
        except (ServerUnreachable, ServerFails):
            self.failures += 1
            return False
        except ServerRefused as refused:
            self.refusal = str(refused.facts["problem"])
            return False
        assert told.quarantined == ()
        self.acknowledged.append((time.monotonic(), told.head_sequence, told.head_hash))
        return True

    def recorded(self) -> list[tuple[int, bytes]]:
        """What the till was told, from its disk."""
        pairs = (line.split() for line in self.record.read_text("ascii").splitlines())
        return [(int(sequence), bytes.fromhex(head)) for sequence, head in pairs]


@dataclass
class Story:
    """What happened: the cluster after its primary was killed, and who was told what."""

    cluster: Cluster
    killed: Node
    world: World
    outlets: list[Outlet]
    server_url: str
    frozen_at: float
    killed_at: float

    @property
    def told_while_frozen(self) -> int:
        """Acknowledgements between the freezing and the kill."""
        return sum(
            self.frozen_at < at < self.killed_at
            for outlet in self.outlets
            for at, _, _ in outlet.acknowledged
        )

    def kept(self, outlet: Outlet) -> dict[int, bytes]:
        """Hash by sequence of the outlet's vouchers that the new primary has."""
        with self.world.central.database.read() as connection:
            rows = connection.execute(
                select(vouchers.c.sequence, vouchers.c.encoded).where(
                    vouchers.c.terminal_id == outlet.till.terminal_id
                )
            ).all()
        kept = {row.sequence: voucher_hash(bytes(row.encoded)) for row in rows}
        assert len(kept) == len(rows)
        return kept

    def lost(self) -> list[tuple[int, int]]:
        """Till and voucher of every acknowledged head that is not there any more."""
        lost = []
        for outlet in self.outlets:
            kept = self.kept(outlet)
            lost += [
                (outlet.till.terminal_id, sequence)
                for sequence, head in outlet.recorded()
                if kept.get(sequence) != head
            ]
        return lost


@contextmanager
def folder_for_postgres() -> Iterator[Path]:
    """Not pytest's: that is closed to the account which runs PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="dobmi-ha-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def serving(folder: Path, url: str, port: int) -> Iterator[str]:
    """`dobmi central serve` as a process of its own."""
    save_key_file(folder / "central.keys", RING, PASSPHRASE)
    settings = f'[central]\ndatabase = "{url}"\nport = {port}\n'
    (folder / "dobmi.toml").write_text(settings, "utf-8")
    command = [sys.executable, "-m", "dobmi", "--config", str(folder / "dobmi.toml")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "central", "serve"],
            env={**os.environ, "DOBMI_PASSPHRASE": PASSPHRASE},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, (folder / "server.log").read_text("utf-8")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def make_outlet(world: World, station: ModelTill, number: int, url: str, folder: Path) -> Outlet:
    till = world.till(f"Toko {number}")
    cards = world.make_cards(1 + number * CARDS, CARDS)
    for card in cards:
        world.top_up(station, card, Rupiah(2_000_000))
    requester = Requester(
        terminal_id=till.terminal_id,
        public_key=till.public_key,
        sign=till.key.sign,
        now=lambda: int(time.time()),
    )
    client = SyncClient(HttpClient(url, IMPATIENT), requester, world.central.public_key)
    return Outlet(till, cards, client, folder / f"outlet-{number}.acknowledged")


@contextmanager
def primary_lost(port: int, *, strict: bool) -> Iterator[Story]:
    """Tills upload; the primary's sending freezes; a second later the primary is gone."""
    with folder_for_postgres() as folder:
        cluster = bring_up(folder / "cluster", strict=strict)
        stop = threading.Event()
        threads: list[threading.Thread] = []
        try:
            database = open_database(cluster.url())
            database.create_tables()
            world = World(Central(database, RING, CentralSettings()))
            station = world.station()
            with serving(folder, cluster.url(), port) as url:
                outlets = [
                    make_outlet(world, station, number, url, folder) for number in range(OUTLETS)
                ]
                threads += [
                    threading.Thread(target=outlet.run, args=(stop,), daemon=True)
                    for outlet in outlets
                ]
                for thread in threads:
                    thread.start()
                time.sleep(INGEST_SECONDS)
                assert all(outlet.acknowledged for outlet in outlets)
                primary = cluster.primary()
                assert len(cluster.freeze(primary)) == 2
                frozen_at = time.monotonic()
                time.sleep(FROZEN_SECONDS)
                cluster.kill(primary)
                story = Story(cluster, primary, world, outlets, url, frozen_at, time.monotonic())
                wait_until_all_heard(story)
                stop.set()
                for thread in threads:
                    thread.join(30)
                    assert not thread.is_alive()
                yield story
        finally:
            stop.set()
            cluster.stop()
            for thread in threads:
                thread.join(30)
            database.close()


def wait_until_all_heard(story: Story) -> None:
    """Each till was told something after the kill, taken or refused, without anybody's help."""
    deadline = story.killed_at + FAILOVER_SECONDS_MAX
    for outlet in story.outlets:
        while not outlet.refusal and outlet.acknowledged[-1][0] < story.killed_at:
            assert time.monotonic() < deadline, "no till was served after the failover"
            time.sleep(0.1)


def send_and_hang_up(url: str, batch: bytes) -> None:
    """A till whose network fails after its last byte: it never learns of the commit."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), 5) as connection:
        head = (
            f"POST /v1/batches HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/cbor\r\nContent-Length: {len(batch)}\r\n\r\n"
        )
        connection.sendall(head.encode("ascii") + batch)


def test_strict_synchronous_replication_loses_nothing_that_was_acknowledged(
    unused_port: int, record_property: Callable[[str, object], None]
) -> None:
    with primary_lost(unused_port, strict=True) as story:
        story.cluster.start_node(story.killed)  # its power is back
        assert not any(outlet.refusal for outlet in story.outlets)
        assert story.lost() == []
        first_heard = min(
            at for one in story.outlets for at, _, _ in one.acknowledged if at > story.killed_at
        )
        record_property("failover_seconds", round(first_heard - story.killed_at, 1))
        assert sum(outlet.failures for outlet in story.outlets) > 0  # it was felt
        everything_sent_again_posts_nothing_twice(story)
        story.cluster.wait_until_ready(60)
        assert story.cluster.primary() != story.killed
        a_standby_reports_the_same(story)


def everything_sent_again_posts_nothing_twice(story: Story) -> None:
    central = story.world.central
    (in_doubt, *_) = story.outlets
    in_doubt.till.sell(in_doubt.cards[0], Rupiah(500))
    in_doubt.batches.append(in_doubt.till.batch())
    send_and_hang_up(story.server_url, in_doubt.batches[-1])
    for outlet in story.outlets:
        for batch in outlet.batches:
            assert outlet.upload(batch), outlet.refusal
        kept = story.kept(outlet)
        assert kept == dict(enumerate(map(voucher_hash, outlet.till.vouchers), 1))
        for card in outlet.cards:
            assert statement_of(central, card.uid).balance == card.balance
    with central.database.read() as connection:
        sales = connection.execute(
            select(func.count()).select_from(postings).where(postings.c.kind == Kind.SALE.value)
        ).scalar_one()
    assert sales == sum(len(outlet.till.vouchers) for outlet in story.outlets)
    now = circulation(central)
    assert now.difference == Rupiah(0)
    assert (now.quarantined, now.anomalies) == (0, 0)


def a_standby_reports_the_same(story: Story) -> None:
    replica = open_database(story.cluster.replica_url())
    with replica.read() as connection:
        assert connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one() is True
    deadline = time.monotonic() + 20
    reports = replace(story.world.central, reports=replica).for_reports()
    while circulation(reports) != circulation(story.world.central):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert seconds_behind(replica) in range(5)
    replica.close()


def test_the_same_story_catches_what_asynchronous_replication_loses(unused_port: int) -> None:
    with primary_lost(unused_port, strict=False) as story:
        assert story.told_while_frozen > 0
        lost = story.lost()
        assert lost
        # Each such till is told from where on the server has nothing, rather than nothing at all.
        losers = {till for till, _ in lost}
        for outlet in story.outlets:
            if outlet.till.terminal_id in losers:
                assert outlet.refusal == "CENTRAL-GAP"
