"""A station at work, for tests in a browser: a central server, the station's program and its reader.

The station is `dobmi card page` as a process of its own; cards are files that a hand lays on its reader.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from playwright.sync_api import Locator, Page, expect

from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.tray import TrayHands
from dobmi.provisioning.enrolment import enrol_station
from dobmi.web.rendering import Voice
from support.cashier import SMALL_TARGETS, violations
from support.outlet_shop import Office
from support.servers import station_invitation
from support.station_desk import PASSWORDS, staff_of

PASSPHRASE = "kunci loket"
START_SECONDS_MAX = 60


@dataclass
class StationShop:
    """One station of an office whose staff has passwords."""

    office: Office
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    hands: TrayHands = field(init=False)
    cards: int = 0

    def __post_init__(self) -> None:
        (self.folder / "tray").mkdir()
        self.hands = TrayHands(self.folder / "tray", wait_seconds=START_SECONDS_MAX)
        enrol_station(
            self.office.url,
            str(station_invitation(self.office.central)),
            self.folder / "station-identity.keys",
            self.folder / "station.json",
            PASSPHRASE,
        )
        told = {
            "server": self.office.url,
            "reader": f"sim:{self.folder / 'tray'}",
            "page_port": self.port,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
        keys = f'[central.originality_keys]\nsimulation = "{SIMULATION_PUBLIC_KEY.hex()}"\n'
        text = "\n".join((f"passphrase = {json.dumps(PASSPHRASE)}", "[provisioning]", *lines, keys))
        (self.folder / "dobmi.toml").write_text(text, encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "page.log"

    def new_card(self, card: SimulatedCard | None = None) -> Path:
        """A blank card out of the box, as a file."""
        self.cards += 1
        path = self.folder / f"card-{self.cards}.json"
        (card or SimulatedCard()).save(path)
        return path

    def lay(self, card: Path, *, pull_at: int | None = None) -> None:
        self.hands.lift()
        self.hands.tap(card, pull_at=pull_at, moment=Moment.AFTER)

    def lift(self) -> None:
        self.hands.lift()

    def start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DOBMI_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dobmi", "--config", "dobmi.toml", "card", "page"],
                cwd=self.folder,
                env=clean,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{self.url}/login", timeout=5).raise_for_status()
                return
            time.sleep(0.05)

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            process.wait(20)


@contextmanager
def station_at_work(office: Office, folder: Path, port: int) -> Iterator[StationShop]:
    staff_of(office.central)
    shop = StationShop(office, folder, port)
    shop.start()
    try:
        yield shop
    finally:
        shop.stop()


@dataclass
class Clerk:
    """One browser of the staff's: what is pressed, and what is seen there."""

    page: Page
    shop: StationShop
    language: str = "id"
    press: Callable[[Locator], None] = Locator.click
    looked_at: set[str] = field(default_factory=set)

    def t(self, message: str, **facts: object) -> str:
        return Voice(self.language).say(message, **facts)

    def id(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def button(self, message: str) -> Locator:
        name = re.compile(rf"^{re.escape(self.t(message))}(\s|$)")
        return self.page.get_by_role("button", name=name)

    def beside(self, page: Page) -> Clerk:
        """Another browser, of somebody else."""
        return Clerk(page, self.shop, self.language, looked_at=self.looked_at)

    def look(self, screen: str) -> None:
        """Have axe-core look at a screen, and measure it, the first time that it is seen."""
        if screen not in self.looked_at:
            self.looked_at.add(screen)
            assert (screen, violations(self.page)) == (screen, [])
            assert (screen, self.page.evaluate(SMALL_TARGETS)) == (screen, [])

    def go(self, place: str) -> None:
        self.press(self.id(f"nav-{place}"))
        self.ready()

    def ready(self) -> None:
        expect(self.page.locator("body[data-ready=yes]")).to_be_attached()

    def fill(self, name: str, text: str) -> None:
        self.id(name).fill(text)

    def log_in(self, name: str) -> None:
        self.fill("name", name)
        self.fill("password", PASSWORDS[name])
        self.press(self.id("login"))
        expect(self.id("who")).to_contain_text(name)

    def log_out(self) -> None:
        self.press(self.id("who"))
        self.look("leave")
        self.press(self.id("leave"))
        expect(self.id("login")).to_be_visible()

    def phase(self, phase: str) -> Locator:
        act = self.page.locator(f"[data-testid=act][data-phase={phase}]")
        expect(act).to_be_visible(timeout=15_000)
        return act

    def run_phase(self, phase: str) -> Locator:
        run = self.page.locator(f"[data-testid=run][data-phase={phase}]")
        expect(run).to_be_visible(timeout=15_000)
        return run

    def close_act(self) -> None:
        self.press(self.id("act-close"))
        expect(self.id("act")).to_have_count(0)

    def lies(self, state: str) -> Locator:
        strip = self.page.locator(f"[data-testid=strip][data-state={state}]")
        expect(strip).to_be_visible(timeout=15_000)
        return strip
