"""A station with a batch to issue, a reader, and a clerk who does what the queue asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from dobmi.central.schema import CardState, cards
from dobmi.central.server import Central
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import Fault
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.provisioning import issuing
from dobmi.provisioning.enrolment import Station, enrol_station, open_station
from dobmi.provisioning.issuing import Batch, GivenLine, Line
from dobmi.provisioning.queue import (
    QueueControls,
    QueuePhase,
    QueueState,
    StationDesk,
    issue_queue,
)
from dobmi.sync.client import HttpClient, Patience, SyncClient
from support.servers import new_central, serving, station_invitation

IMPATIENT = Patience(attempts=1, connect_timeout_seconds=1)
STATES_MAX = 5_000


@dataclass
class IssuingOffice:
    central: Central
    url: str
    folder: Path
    station: Station

    def another_station(self, name: str) -> Station:
        return new_station(self.central, self.url, self.folder, name)

    def batch(self, count: int, *, first: int = 1) -> Batch:
        lines = [
            GivenLine(member_number=number, name=f"Anggota {number}")
            for number in range(first, first + count)
        ]
        return issuing.make_batch(self.station, f"Rembug {first}", lines, f"reference-{first}")

    def lines(self, number: int = 1) -> list[Line]:
        return list(issuing.lines_of(self.station, number))

    def active_cards(self) -> dict[int, bytes]:
        """By member."""
        with self.central.database.read() as connection:
            rows = connection.execute(
                select(cards.c.member_number, cards.c.uid).where(
                    cards.c.state == CardState.ACTIVE.value
                )
            )
            return {row.member_number: bytes(row.uid) for row in rows}

    def known_cards(self) -> set[bytes]:
        with self.central.database.read() as connection:
            return {bytes(uid) for uid in connection.execute(select(cards.c.uid)).scalars()}


def new_station(central: Central, url: str, folder: Path, name: str) -> Station:
    """Enrolled, and told at once when the server does not answer."""
    identity, enrolment = folder / f"{name}.keys", folder / f"{name}.json"
    enrol_station(url, str(station_invitation(central)), identity, enrolment, "sandi")
    opened = open_station(url, identity, enrolment, "sandi", language="en")
    http = HttpClient(url, IMPATIENT, language="en")
    client = SyncClient(http, opened.requester, opened.enrolment.server_public_key)
    return Station(url, opened.enrolment, opened.requester, client, "en", opened.staff_file)


@contextmanager
def issuing_office(folder: Path, central: Central | None = None) -> Iterator[IssuingOffice]:
    central = central or new_central(folder)
    with serving(central) as url:
        yield IssuingOffice(central, url, folder, new_station(central, url, folder, "station"))


@dataclass
class Clerk:
    """Lays blank cards down and takes cards away, as the queue says; `box` holds cards to come first.

    `at` is told each state before the clerk does anything about it; if it says True, it has done it.
    """

    box: list[tuple[ContactlessCard, list[Fault]]] = field(default_factory=list)
    at: Callable[[QueueState], bool | None] = lambda _state: None
    reader: SimulatedReader = field(default_factory=SimulatedReader)
    seen: list[QueueState] = field(default_factory=list)
    cards: list[ContactlessCard] = field(default_factory=list)
    controls: QueueControls = field(default_factory=QueueControls)

    @property
    def phases(self) -> list[QueuePhase]:
        """Without what was shown twice."""
        found: list[QueuePhase] = []
        for state in self.seen:
            if not found or found[-1] is not state.phase:
                found.append(state.phase)
        return found

    def work(self, station: Station, batch: int = 1) -> QueueState:
        """Until the queue is over; its last state."""
        for state in issue_queue(StationDesk(station, batch), lambda: self.reader, self.controls):
            self.seen.append(state)
            assert len(self.seen) < STATES_MAX
            if not self.at(state):
                self.act(state)
        return self.seen[-1]

    def act(self, state: QueueState) -> None:
        match state.phase:
            case QueuePhase.LAY if self.reader.field.card is None:
                card, faults = self.box.pop(0) if self.box else (SimulatedCard(), [])
                self.cards.append(card)
                self.reader.insert(card, faults)
            case QueuePhase.SAME_AGAIN if self.reader.field.card is None:
                self.reader.insert(next(c for c in self.cards if c.uid == state.card))
            case QueuePhase.ISSUED | QueuePhase.REFUSED | QueuePhase.OTHER_CARD:
                self.reader.remove()


def side_by_side(works: list[Callable[[], object]]) -> list[object]:
    """The results of all of them, done at once; what one raises is raised."""
    results: list[object] = [None] * len(works)
    errors: list[BaseException] = []

    def do(place: int) -> None:
        try:
            results[place] = works[place]()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=do, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
