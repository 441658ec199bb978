"""Kill a process at every crash point of a day's work, one run for each, and look at the money.

The day is cut into steps. It is played once; the folder is kept as it was before each step, and
the points that each process passes in each step are counted. Then, for each passing of each point:
the kept folder again, that step with the process killed exactly there, whatever died started again,
the people doing the natural next thing, everything synced, and the oracles of crash_world.

Run as a program it is one worker of `dobmi sim crashes`: JSON lines on standard output.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zlib import crc32

from dobmi.firmware_sim.card import SimulatedCard
from dobmi.fleet.crash_actors import Event, Keys, Orders, Site, open_station_keys
from dobmi.fleet.crash_day import CARDS, DAY, FIRST_PART, NOT_SEARCHED, Step
from dobmi.fleet.crash_oracles import violations
from dobmi.fleet.crash_points import Place
from dobmi.fleet.crash_world import Books, Stuck, World
from dobmi.fleet.postgres import (
    Postgres,
    checkpoint,
    copy_database,
    drop_database,
    kill_and_restart,
    running,
)


class DayFails(Exception):
    """The day cannot be played even with nothing killed: its step, and what does not go on."""


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """Die at `place` in the day's step of this name."""

    step: str
    place: Place
    postgres: bool = False
    """Not the process dies but the database server under it."""

    def __str__(self) -> str:
        return f"{self.step}/{self.place}{'!postgres' if self.postgres else ''}"

    @property
    def is_odd(self) -> bool:
        """Half of the cases, in each run the same."""
        return bool(crc32(str(self).encode()) & 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case: nothing in `wrong`, and the point was indeed reached."""

    case: str
    died: bool
    wrong: tuple[str, ...]
    errors: tuple[str, ...]
    seconds: float


@dataclass(slots=True)
class Search:
    """One worker's folder, keys and kept states."""

    folder: Path
    postgres: Postgres | None = None
    synchronous: str = ""
    keys: Keys = field(default_factory=Keys.generate)
    writers: set[str] = field(default_factory=set)
    """Who began a transaction to write in at the central database, in the day."""
    _kept: dict[str, tuple[Path, Books]] = field(default_factory=dict)
    _runs: int = 0
    _worker: str = ""

    def __post_init__(self) -> None:
        self._worker = self.folder.name.replace("-", "_").replace(".", "_").lower()

    # The day as it should be

    def play(self) -> list[Case]:
        """Play the day undisturbed, keep the state before each step; every case there is."""
        cases = []
        site = self._new_site()
        books = Books()
        for name, step in DAY:
            self._keep(name, site, books)
            world = World(site, books)
            _played(world, name, step)
            if name not in NOT_SEARCHED:
                for stopped in world.stopped.values():
                    cases += [Case(name, place) for place in stopped.places]
                    self.writers |= stopped.writers
        if self.postgres is not None:
            checkpoint(self.postgres)
        return cases

    def record(self) -> tuple[Site, list[Event]]:
        """Play the day's first part, each process writing down what it does to the disk and tells."""
        site = self._new_site()
        books = Books()
        events: list[Event] = []
        for name, step in FIRST_PART:
            names = ("server", "till", "station", "office", "kiosk")
            world = World(site, books, {name: Orders(records=True) for name in names})
            _played(world, name, step)
            for stopped in world.stopped.values():
                events += stopped.events
        return site, sorted(events, key=lambda event: event[0])

    # One case

    def run(self, case: Case) -> Outcome:
        started = time.monotonic()
        kept, books = self._kept[case.step]
        site = self._copy_of(kept, case.step)
        books = books.copy()
        actor = case.place.name.partition(".")[0]
        orders = Orders(deadly=case.place)
        marker = site.folder / "struck"
        if case.postgres:
            assert self.postgres is not None
            orders.ending = _Striking(self.postgres, marker)
        world = World(site, books, {actor: orders}, cashier_taps_again=case.is_odd)
        wrong: list[str] = []
        died = False
        try:
            with world.running():
                dict(DAY)[case.step](world)
                if not world.has_died(actor):
                    world.stop_all()
                died = world.has_died(actor)
                world.orders = {}
                world.finish()
            wrong += _in_another_process(site, books)
        except (Stuck, RuntimeError, TimeoutError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
        if case.postgres:
            died = marker.exists()
        if not wrong:
            self._forget(site)
        return Outcome(
            str(case), died, tuple(wrong), tuple(books.errors), time.monotonic() - started
        )

    # Folders and databases

    def _new_site(self) -> Site:
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        (folder / "data").mkdir(parents=True)
        (folder / "cards").mkdir()
        url = "" if self.postgres is None else self.postgres.create(self._database())
        site = Site(folder, _free_port(), self.keys, url, self.synchronous)
        site.pass_time(0)
        for number, card in enumerate(CARDS):
            SimulatedCard(bytes.fromhex(f"04a1b2c3d4e5f{number}")).save(site.card_file(card))
        return site

    def _database(self) -> str:
        return f"crash_{self._worker}_{self._runs}"

    def _keep(self, step: str, site: Site, books: Books) -> None:
        kept = self.folder / f"before-{step}"
        shutil.copytree(site.folder, kept)
        if self.postgres is not None:
            copy_database(self.postgres, site.database_url, self._kept_database(step))
        self._kept[step] = (kept, books.copy())

    def _kept_database(self, step: str) -> str:
        return f"kept_{self._worker}_{step.replace('-', '_')}"

    def _copy_of(self, kept: Path, step: str) -> Site:
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        shutil.copytree(kept, folder)
        url = ""
        if self.postgres is not None:
            url = copy_database(
                self.postgres, self.postgres.url(self._kept_database(step)), self._database()
            )
        return Site(folder, _free_port(), self.keys, url, self.synchronous)

    def _forget(self, site: Site) -> None:
        shutil.rmtree(site.folder)
        if self.postgres is not None:
            drop_database(self.postgres, site.database_url)


@dataclass(frozen=True, slots=True)
class _Striking:
    """Kill the database server, start it again, and let the process find out."""

    postgres: Postgres
    marker: Path

    def __call__(self) -> None:
        kill_and_restart(self.postgres)
        self.marker.touch()


def _played(world: World, name: str, step: Step) -> None:
    """This step of the day, with nothing killed. Raises DayFails."""
    try:
        with world.running():
            step(world)
            world.stop_all()
    except Stuck as error:
        raise DayFails(name, str(error)) from error
    if name == "enrol-station":
        open_station_keys(world.site)


def _in_another_process(site: Site, books: Books) -> list[str]:
    """The oracles; databases are opened only in processes that were forked before they were."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def look(pipe: Connection) -> None:
        try:
            pipe.send(violations(site, books))
        except Exception:  # noqa: BLE001 - whatever the oracles trip over is a finding
            pipe.send([traceback.format_exc()])

    process = context.Process(target=look, args=(theirs,))
    process.start()
    theirs.close()
    try:
        found: list[str] = ours.recv()
    except EOFError:
        found = ["the oracles ended without an answer"]
    process.join()
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def choose(
    cases: list[Case], *, only: str, share: tuple[int, int], sample: int | None
) -> list[Case]:
    """Of the cases whose name contains `only`: an even sample of them, and of that this share."""
    chosen = [case for case in cases if only in str(case)]
    if sample is not None and sample < len(chosen):
        chosen = [chosen[index * len(chosen) // sample] for index in range(sample)]
    index, count = share
    # By name, for the workers' days may differ by what a slow machine does once more.
    return [case for case in chosen if crc32(str(case).encode()) % count == index]


def with_postgres_struck(cases: list[Case]) -> list[Case]:
    """The server's commits again, the database server dying there instead of the process.

    Not those of its start: it ends then, and is started again until there is a database.
    """
    return [
        Case(case.step, case.place, postgres=True)
        for case in cases
        if case.place.name.startswith("server.")
        and case.place.name.endswith("-commit")
        and not case.place.name.startswith("server.start.")
    ]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--share", default="0/1")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    index, _, count = given.share.partition("/")
    with ExitStack() as stack:
        folder = given.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="dobmi-crashes-"))
        )
        # A server of this worker's own: it is killed.
        postgres = stack.enter_context(running()) if given.postgres else None
        search = Search(folder / f"worker-{index}", postgres)
        started = time.monotonic()
        try:
            cases = search.play()
        except DayFails as failure:
            _print({"day_fails": ": ".join(failure.args)})
            return
        if postgres is not None:
            cases += with_postgres_struck(cases)
        if given.offset:
            cases = cases[given.offset % len(cases) :] + cases[: given.offset % len(cases)]
        chosen = choose(cases, only=given.only, share=(int(index), int(count)), sample=given.sample)
        names = [str(case) for case in cases]
        _print({"cases": names, "chosen": len(chosen), "writers": sorted(search.writers)})
        if given.list:
            return
        gc.freeze()
        for case in chosen:
            outcome = search.run(case)
            if not outcome.died and not outcome.wrong:
                # A message that came late was sent again in the one, and not in the other.
                outcome = search.run(case)
            _print(
                {
                    "case": outcome.case,
                    "died": outcome.died,
                    "wrong": list(outcome.wrong),
                    "errors": list(outcome.errors),
                    "seconds": round(outcome.seconds, 3),
                }
            )
        _print({"seconds": round(time.monotonic() - started, 1)})


def _print(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
