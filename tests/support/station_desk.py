"""A station with its staff's page, for tests without a browser: a real central server, simulated cards."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi.testclient import TestClient
from httpx2 import Response

from dobmi.central.schema import StaffRole
from dobmi.central.server import Central
from dobmi.central.staff import add_staff
from dobmi.central.staff_login import set_password
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.provisioning import cards
from dobmi.provisioning.bench import Bench, BenchState, Phase
from dobmi.provisioning.enrolment import Station, enrol_station, open_station
from dobmi.provisioning.look import look_at
from dobmi.provisioning.page.app import make_app
from dobmi.provisioning.page.desk import Stations
from dobmi.provisioning.page.visit import SESSION_COOKIE, Page, StaffPerson
from support.servers import new_central, serving, station_invitation

PORT = 8442
ORIGIN = f"http://127.0.0.1:{PORT}"
RINA, RINA_PASSWORD = "Rina Marlina", "kebun teh pagi"
JOKO, JOKO_PASSWORD = "Joko Susilo", "sungai besar 77"
DEWI, DEWI_PASSWORD = "Dewi Anggraini", "buku catatan 9"
PASSWORDS = {RINA: RINA_PASSWORD, JOKO: JOKO_PASSWORD, DEWI: DEWI_PASSWORD}
ROLES = {RINA: StaffRole.ISSUER, JOKO: StaffRole.APPROVER, DEWI: StaffRole.AUDITOR}


def staff_of(central: Central) -> None:
    """Rina issues, Joko approves, Dewi reads what was done."""
    now = int(time.time())
    for name, role in ROLES.items():
        add_staff(central.database, name, [role], now)
        set_password(central.database, name, PASSWORDS[name], now)


@dataclass
class Desk:
    """The station, its reader and its page."""

    central: Central
    station: Station
    page: Page
    reader: SimulatedReader
    app: object
    browsers: list[TestClient] = field(default_factory=list)

    @property
    def bench(self) -> Bench:
        return self.page.bench

    def lay(self, card: SimulatedCard, *faults: Fault) -> None:
        self.reader.remove()
        card.power_off()
        self.reader.insert(card, faults)

    def lift(self) -> None:
        self.reader.remove()
        self.until(lambda state: state.card is None)

    def until(self, wanted: Callable[[BenchState], bool], seconds: float = 15) -> BenchState:
        """The bench's state once it is as wanted."""
        deadline = time.monotonic() + seconds
        state = self.bench.state
        while not wanted(state):
            assert time.monotonic() < deadline, state
            state = self.bench.changes(state.version, 1)
        return state

    def done(self) -> BenchState:
        state = self.until(lambda state: state.phase in {Phase.DONE, Phase.REFUSED})
        assert state.phase is Phase.DONE, (state.error, state)
        return state

    def refused(self) -> BenchState:
        return self.until(lambda state: state.phase is Phase.REFUSED)

    def seen(self) -> BenchState:
        """Once the card that lies there has been looked at."""
        return self.until(
            lambda state: (
                state.card is not None and (state.card.what or state.card.error) is not None
            )
        )


@dataclass
class Browser:
    """One browser with its cookies, that sends what the page's own forms and htmx would."""

    client: TestClient
    desk: Desk

    @property
    def session(self) -> str:
        return self.client.cookies.get(SESSION_COOKIE) or ""

    @property
    def token(self) -> str:
        found = self.desk.page.sessions.of(self.session)
        assert found is not None
        return found.token

    @property
    def person(self) -> StaffPerson | None:
        found = self.desk.page.sessions.of(self.session)
        return None if found is None else found.person

    def get(self, path: str) -> Response:
        return self.client.get(path)

    def post(self, path: str, **fields: str) -> Response:
        """As a form, by the browser itself: the page that it leads to comes back."""
        data = {"token": self.token, **fields}
        return self.client.post(path, data=data, headers={"origin": ORIGIN})

    def tap(self, path: str, **fields: str) -> Response:
        """As htmx sends it: a part of the page comes back."""
        headers = {"origin": ORIGIN, "hx-request": "true", "x-csrf-token": self.token}
        return self.client.post(path, data=fields, headers=headers)

    def send_file(self, name: str, content: bytes) -> Response:
        headers = {
            "origin": ORIGIN,
            "hx-request": "true",
            "x-csrf-token": self.token,
            "x-file-name": name,
            "content-type": "application/octet-stream",
        }
        return self.client.post("/batches/file", content=content, headers=headers)

    def log_in(self, name: str = RINA, password: str = "") -> Response:
        self.get("/login")
        return self.post("/login", name=name, password=password or PASSWORDS[name])

    def issue(self, card: SimulatedCard, member: int = 4711, name: str = "Siti Aminah") -> None:
        """The card lies there afterwards."""
        self.desk.lift()
        self.post("/issue", request=f"issue-{member}", member=str(member), name=name)
        self.desk.lay(card)
        self.desk.done()
        self.tap("/bench/cancel")

    def top_up(self, amount: int, received: int | None = None, request: str = "r1") -> Response:
        cash = str(received if received is not None else amount)
        return self.post("/topup", request=request, amount=str(amount), received=cash)


def code_of(answer: Response) -> str:
    """Of the error that the page shows: the server's where it refused."""
    found = re.search(
        r'data-testid="failure" data-code="([^"]*)" data-problem="([^"]*)"', answer.text
    )
    return "" if found is None else found[2] or found[1]


@contextmanager
def desk_at_work(folder: Path) -> Iterator[Desk]:
    central = new_central(folder)
    staff_of(central)
    with serving(central) as url:
        identity, enrolment = folder / "station.keys", folder / "station.json"
        enrol_station(url, str(station_invitation(central)), identity, enrolment, "sandi")
        station = open_station(url, identity, enrolment, "sandi")
        stations = Stations(station)
        reader = SimulatedReader()
        page: Page

        def ledger(uid: bytes) -> dict[str, object]:
            return cards.ledger_card(stations(page.looking_for, "id"), uid)

        trusted = {"simulation": SIMULATION_PUBLIC_KEY}
        bench = Bench(
            lambda: reader, lambda card: look_at(card, trusted, ledger), card_wait_seconds=20
        )
        page = Page(
            bench=bench,
            station_for=stations,
            station_name="Kantor pusat",
            server=url,
            reader="sim:",
        )
        desk = Desk(central, station, page, reader, make_app(page, PORT))
        with bench, TestClient(desk.app, base_url=ORIGIN):  # type: ignore[arg-type] # an app
            yield desk


def new_browser(desk: Desk) -> Browser:
    return Browser(TestClient(desk.app, base_url=ORIGIN), desk)  # type: ignore[arg-type] # an app
