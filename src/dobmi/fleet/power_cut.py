"""What a power cut may leave on the disk, and whether everything that was told is still there.

A day is played by real processes on real files; every call that changes a file is recorded, and so
is every moment at which somebody was told something: "paid" shown, an acknowledgement sent or
received, a commit sent to a card. Then the disk is rebuilt as it may be after a cut at any of those
moments: what was synced is there for certain; of what was not, any part may be, in any order, a
write torn between sectors. The program's own code opens each such disk. It must open, and nothing
told before the cut may be missing.

The model is stricter than ext4: a file's name is on disk only once its folder was synced.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from dobmi.cardlib.custody import load_key_file
from dobmi.central.database import open_database
from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    batches,
    cards,
    credit_attempts,
    hotlist_changes,
    pending_credits,
    postings,
    terminals,
)
from dobmi.central.schema import vouchers as central_vouchers
from dobmi.errors import DoBMIError
from dobmi.fleet.crash_actors import COMMIT, STATION_PASSPHRASE, Site, Told
from dobmi.fleet.crash_search import DayFails, Search
from dobmi.fleet.disk_watch import DiskCall, Operation
from dobmi.sync.acknowledgement import verify_acknowledgement
from dobmi.sync.cbor import CborValue
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.relay import Commands, CreditResult, Done, IssueResult, decode_relay
from dobmi.sync.voucher import follow_chain, genesis_hash, verify_voucher
from dobmi.terminal.ledger import Ledger

SECTOR_BYTES = 512
"""A disk writes so much or nothing of it."""
SUBSETS_PER_MOMENT = 2
PREFIXES_MAX = 500
"""More than the program ever leaves pending; bounds the search of a database that never syncs."""

# The disk


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes written, or (`data` None) the length set to `offset`."""

    inode: int
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that now means `inode`, or (None) nothing."""

    path: str
    inode: int | None


Change = Data | Entry
Contents = dict[str, bytes]
"""By path: what a disk holds."""


@dataclass(slots=True)
class Disk:
    """What is surely on the disk, and in order what is not yet."""

    _contents: dict[int, bytes] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _seen_names: dict[str, int] = field(default_factory=dict)
    """As running programs see them."""
    pending: list[Change] = field(default_factory=list)

    def do(self, call: DiskCall) -> None:
        match call.operation:
            case Operation.CREATE:
                inode = len(self._contents)
                self._contents[inode] = b""
                self._seen_names[call.path] = inode
                self.pending.append(Entry(call.path, inode))
            case Operation.WRITE | Operation.TRUNCATE:
                inode_ = self._seen_names.get(call.path)
                if inode_ is not None:
                    data = call.data if call.operation is Operation.WRITE else None
                    self.pending.append(Data(inode_, call.offset, data))
            case Operation.RENAME:
                inode = self._seen_names.pop(call.path)
                self._seen_names[call.to] = inode
                self.pending += [Entry(call.to, inode), Entry(call.path, None)]
            case Operation.LINK:
                inode = self._seen_names[call.path]
                self._seen_names[call.to] = inode
                self.pending.append(Entry(call.to, inode))
            case Operation.UNLINK:
                if self._seen_names.pop(call.path, None) is not None:
                    self.pending.append(Entry(call.path, None))
            case Operation.SYNC:
                self._sync(call.path)

    def _sync(self, path: str) -> None:
        inode = self._seen_names.get(path)
        done: list[Change] = []
        left: list[Change] = []
        for change in self.pending:
            if isinstance(change, Data):
                is_done = change.inode == inode
            else:
                is_done = str(Path(change.path).parent) == path
            (done if is_done else left).append(change)
        _apply(done, self._contents, self._names)
        self.pending = left

    def after_cut(self, kept: Sequence[Change]) -> Contents:
        """The disk when of what is pending `kept` got there."""
        contents, names = dict(self._contents), dict(self._names)
        _apply(kept, contents, names)
        return {path: contents[inode] for path, inode in names.items()}


def _apply(changes: Sequence[Change], contents: dict[int, bytes], names: dict[str, int]) -> None:
    for change in changes:
        if isinstance(change, Entry):
            if change.inode is None:
                names.pop(change.path, None)
            else:
                names[change.path] = change.inode
        elif change.data is None:
            contents[change.inode] = contents[change.inode][: change.offset].ljust(
                change.offset, b"\0"
            )
        else:
            old = contents[change.inode].ljust(change.offset, b"\0")
            end = change.offset + len(change.data)
            contents[change.inode] = old[: change.offset] + change.data + old[end:]


def torn(change: Change, chance: random.Random) -> Change:
    """The write as far as whole sectors of it got to the disk."""
    if not isinstance(change, Data) or not change.data:
        return change
    first = SECTOR_BYTES - change.offset % SECTOR_BYTES
    cuts = list(range(first, len(change.data), SECTOR_BYTES))
    if not cuts:
        return change
    return Data(change.inode, change.offset, change.data[: chance.choice(cuts)])


@dataclass(frozen=True, slots=True)
class Cut:
    """The power goes after event `index` of the recording; `told` of it had been told by then."""

    index: int
    how: str
    contents: Contents = field(repr=False)
    told: int


def cuts(events: Sequence[DiskCall | Told], prefixes_max: int = PREFIXES_MAX) -> Iterator[Cut]:
    """Every disk that a cut may leave: all prefixes of what is pending, and some other parts of it.

    Each is given once for what had been told; chance is the same in each run.
    """
    disk = Disk()
    told = 0
    seen: set[tuple[bytes, int]] = set()

    def fresh(index: int, how: str, kept: Sequence[Change]) -> Iterator[Cut]:
        contents = disk.after_cut(kept)
        digest = sha256()
        for path in sorted(contents):
            digest.update(f"{path}\0{len(contents[path])}\0".encode())
            digest.update(contents[path])
        key = (digest.digest(), told)
        if key not in seen:
            seen.add(key)
            yield Cut(index, how, contents, told)

    for index, event in enumerate(events):
        chance = random.Random(index)  # noqa: S311 - no secret: the same cuts in each run
        if isinstance(event, Told):
            told += 1
            lengths = len(disk.pending) + 1
            prefixes = range(0, lengths, 1 + lengths // prefixes_max)
        else:
            disk.do(event)
            prefixes = range(len(disk.pending), len(disk.pending) + 1)
        pending = disk.pending
        for length in prefixes:
            yield from fresh(index, f"the first {length} of {len(pending)}", pending[:length])
        if pending:
            half = [*pending[:-1], torn(pending[-1], chance)]
            yield from fresh(index, f"all {len(pending)}, the last torn", half)
        if len(pending) > 1:
            for number in range(SUBSETS_PER_MOMENT):
                part = [
                    torn(change, chance) if chance.random() < 0.3 else change
                    for change in pending
                    if chance.random() < 0.5
                ]
                yield from fresh(index, f"part {number} of {len(pending)}", part)


# What must be there


def check_till(folder: Path, _site: Site, told: Sequence[Told]) -> list[str]:
    """What is missing at the till, of what was told at it."""
    wrong: list[str] = []
    with contextlib.closing(Ledger(folder / "till.db")) as ledger:
        shown = [one for one in told if one.kind in _AT_THE_TILL]
        if not shown:
            return wrong
        who = ledger.identity()
        encoded = ledger.vouchers_from(1, 100_000)
        for voucher in encoded:
            verify_voucher(voucher, who.public_key)
        list(
            follow_chain(encoded, who.terminal_id, 1, genesis_hash(who.terminal_id, who.public_key))
        )
        state = ledger.sync_state()
        shift = ledger.last_shift()
        for one in shown:
            match one.kind, one.fact:
                case "sell", (sequence, hash_, _amount):
                    is_there = hash_ in {ledger.hash_at(sequence), _resolution(ledger, sequence)}
                case "commit", sequence:
                    is_there = ledger.intent(sequence) is not None
                case "sync", (sequence, hash_, feed_version, _quarantined):
                    is_there = (
                        state.acknowledged_sequence >= sequence
                        and ledger.hash_at(sequence) == hash_
                        and state.feed_version >= feed_version
                    )
                case "close_shift", number:
                    is_there = shift is not None and (
                        shift.number > number or shift.closed_unix_seconds is not None
                    )
                case _:
                    is_there = True
            if not is_there:
                wrong.append(f"till: {one.kind} {one.fact} was told and is missing")
    return wrong


_AT_THE_TILL = frozenset({"sell", "commit", "sync", "close_shift"})


def _resolution(ledger: Ledger, sequence: int) -> bytes | None:
    """The hash of the voucher that says of a sale in doubt that it was paid."""
    for intent, hash_ in ledger.paid_and_not_shown():
        if intent.sequence == sequence:
            return hash_
    return None


def check_server(folder: Path, site: Site, told: Sequence[Told]) -> list[str]:
    """What is missing at the server, of what it told others."""
    wrong: list[str] = []
    database = open_database("sqlite:///central.db", folder)
    try:
        database.create_tables()
        with database.read() as connection:
            if list(connection.execute(text("PRAGMA integrity_check")).scalars()) != ["ok"]:
                wrong.append("server: the database is damaged")
            for one in told:
                statements = _promises(one, site.keys.central.public_key("server"))
                if any(connection.execute(each).first() is None for each in statements):
                    wrong.append(f"server: {one.kind} was answered and is missing")
            enrolled = sum(one.kind.endswith("/terminals") for one in told)
            attempts = sum(_sends_commit(one) for one in told)
            for table, count in ((terminals, enrolled), (credit_attempts, attempts)):
                kept = connection.execute(select(func.count()).select_from(table)).scalar_one()
                if kept < count:
                    wrong.append(f"server: {kept} {table.name}, {count} were told")
    finally:
        database.close()
    return wrong


def _promises(one: Told, server_key: bytes) -> list[Select[Any]]:
    """Queries that must find something once `one` was told."""
    data = one.fact
    match one.kind.split("/")[-1]:
        case "batches":
            ack = verify_acknowledgement(data, server_key)
            return [
                select(central_vouchers.c.sequence)
                .join(terminals, terminals.c.id == central_vouchers.c.terminal_id)
                .where(
                    terminals.c.id == ack.terminal_id,
                    (terminals.c.head_sequence > ack.head_sequence)
                    | (terminals.c.head_hash == ack.head_hash),
                    central_vouchers.c.sequence == ack.head_sequence,
                ),
                select(batches.c.batch_hash).where(batches.c.acknowledgement == data),
            ]
        case "credits":
            order = json.loads(data)
            same = (
                pending_credits.c.card_uid == bytes.fromhex(order["card_uid"]),
                pending_credits.c.sequence == order["sequence"],
                pending_credits.c.amount_rupiah == order["amount_rupiah"],
            )
            return [select(pending_credits.c.sequence).where(*same), select(postings.c.id)]
        case "block" | "unblock":
            version = json.loads(data)["feed_version"]
            return [select(hotlist_changes.c.version).where(hotlist_changes.c.version == version)]
        case "relay":
            message = decode_relay(data)
            return _promised(message.result) if isinstance(message, Done) else []
        case _:
            return []


def _sends_commit(one: Told) -> bool:
    """Whether a commit left for a card: only the delivery of a credit sends one."""
    if one.kind != "relay":
        return False
    message = decode_relay(one.fact)
    return isinstance(message, Commands) and any(each[1] == COMMIT for each in message.commands)


def _promised(result: dict[int, CborValue]) -> list[Select[Any]]:
    """What a card session's result says to be in the ledger."""
    try:
        issued = IssueResult.from_cbor(result)
    except MalformedMessage:
        delivered = CreditResult.from_cbor(result).delivered
        return [
            select(pending_credits.c.sequence).where(
                pending_credits.c.sequence == sequence,
                pending_credits.c.amount_rupiah == amount.amount,
                pending_credits.c.state == CreditDelivery.DELIVERED.value,
            )
            for sequence, amount in delivered
        ]
    ready = cards.c.state != CardState.ISSUING.value
    return [select(cards.c.uid).where(cards.c.serial == issued.card_serial, ready)]


def check_station(folder: Path, _site: Site, told: Sequence[Told]) -> list[str]:
    """Whether the station still is who it was enrolled as."""
    if not any(one.kind == "station-enrol" for one in told):
        return []
    content = json.loads((folder / "station.json").read_text())
    ring = load_key_file(folder / "station.keys", STATION_PASSPHRASE)
    same = ring.public_key("station").hex() == content["terminal_public_key"]
    return [] if same else ["station: the key is not the enrolled one"]


# The search


Check = Callable[[Path, Site, Sequence[Told]], list[str]]

MACHINES: dict[str, tuple[tuple[str, ...], tuple[str, ...], Check]] = {
    "till": (("till.db",), ("sell", "commit", "sync", "close_shift"), check_till),
    "server": (("central.db",), ("POST", "relay"), check_server),
    "station": (("station.",), ("station-enrol",), check_station),
}
"""Machine: how its files' names begin, how the kinds of what it tells begin, and its check."""


@dataclass(slots=True)
class Found:
    """`wrong` has the first few of what is missing after a cut, with when and how it was cut."""

    events: int = 0
    syncs: int = 0
    told: int = 0
    disks: int = 0
    bad_disks: int = 0
    wrong: list[str] = field(default_factory=list)


def search(
    site: Site,
    events: Sequence[DiskCall | Told],
    machine: str,
    every: int = 1,
    prefixes_max: int = PREFIXES_MAX,
) -> Found:
    """Open every `every`-th disk that a cut may leave at `machine`."""
    beginnings, kinds, check = MACHINES[machine]
    own = [
        event
        for event in events
        if (
            event.kind.startswith(kinds)
            if isinstance(event, Told)
            else Path(event.to or event.path).name.startswith(beginnings)
            or event.path == str(site.data.resolve())
        )
    ]
    told = [event for event in own if isinstance(event, Told)]
    found = Found(
        events=len(own) - len(told),
        syncs=sum(
            isinstance(event, DiskCall) and event.operation is Operation.SYNC for event in own
        ),
        told=len(told),
    )
    with tempfile.TemporaryDirectory(prefix="dobmi-power-") as name:
        for number, cut in enumerate(cuts(own, prefixes_max)):
            if number % every:
                continue
            found.disks += 1
            folder = Path(name) / "disk"
            folder.mkdir()
            for path, content in cut.contents.items():
                (folder / Path(path).name).write_bytes(content)
            try:
                wrong = check(folder, site, told[: cut.told])
            except (DoBMIError, SQLAlchemyError, OSError, ValueError) as error:
                wrong = [f"{machine}: {type(error).__name__}: {error}".partition("\n")[0]]
            if wrong:
                found.bad_disks += 1
                found.wrong += [f"cut {cut.index}, {cut.how}: {one}" for one in wrong[:2]][:10]
            shutil.rmtree(folder)
    return found


def main(arguments: list[str]) -> None:
    """A worker of `dobmi sim power-cuts`: one JSON line for each machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--synchronous", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--prefixes-max", type=int, default=PREFIXES_MAX)
    parser.add_argument("--machine", action="append", choices=sorted(MACHINES))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dobmi-power-") as name:
        try:
            site, timed = Search(Path(name) / "day", synchronous=given.synchronous).record()
        except DayFails as failure:
            _print({"day_fails": ": ".join(failure.args)})
            return
        events = [event for _, event in timed]
        for machine in given.machine or MACHINES:
            every = 1 if machine == "station" else given.every  # it has few
            found = search(site, events, machine, every, given.prefixes_max)
            _print(
                {
                    "machine": machine,
                    "events": found.events,
                    "syncs": found.syncs,
                    "told": found.told,
                    "disks": found.disks,
                    "bad_disks": found.bad_disks,
                    "wrong": found.wrong[:10],
                }
            )


def _print(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
