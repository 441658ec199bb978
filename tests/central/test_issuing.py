"""Lists of members who are to get cards: taken once, a line before one station at a time, issued once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DBAPIError

from dobmi.cardlib.errors import CardRemoved
from dobmi.central.acts import Actor, list_acts
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.database import Database, open_database
from dobmi.central.errors import (
    BadParameters,
    CardIsBlocked,
    IdempotencyConflict,
    IssuingLinesRefused,
    LineIssued,
    LineOfAnother,
    LineSkipped,
    LineTaken,
    MemberHasAnotherCard,
    UnknownIssuingBatch,
    UnknownIssuingLine,
)
from dobmi.central.issue_session import Issued, issue_card
from dobmi.central.issuing import (
    CLAIM_SECONDS,
    GivenLine,
    batch_of,
    check_lines,
    claim_line,
    lines_of,
    list_batches,
    make_batch,
    put_back,
    release_claim,
    skip_line,
)
from dobmi.central.member_notes import photo_of
from dobmi.central.schema import (
    CardState,
    LineState,
    cards,
    issuing_batches,
    issuing_lines,
    members,
)
from dobmi.central.server import Central
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.provisioning.queue import QueuePhase, QueueState
from dobmi.settings import CentralSettings
from dobmi.sync.relay import BatchLine
from support.central_client import Office
from support.databases import Kind, new_database, using
from support.issuing_office import Clerk, issuing_office, side_by_side
from support.purses import InProcess, purse_of
from support.tills import RING
from support.traffic import START, World

RUN, OTHER = "run-aaaaaaaa", "run-bbbbbbbb"


def given(count: int, first: int = 1) -> list[GivenLine]:
    return [
        GivenLine(member_number=number, name=f"Anggota {number}")
        for number in range(first, first + count)
    ]


@dataclass
class Desk:
    """A central server with two stations, its clock in our hand."""

    central: Central
    here: Actor
    there: Actor
    clock: list[int] = field(default_factory=list)

    def batch(self, count: int = 3, first: int = 1) -> int:
        made, _ = make_batch(
            self.central,
            "Rembug",
            given(count, first),
            self.here,
            idempotency_key=f"ref-{first:06}",
        )
        return made.number

    def issue(self, card: Any, line: int, run: str = RUN, actor: Actor | None = None) -> Issued:
        connection = card if hasattr(card, "transmit") else InProcess(card)
        return issue_card(
            self.central,
            connection,
            line,
            f"Anggota {line}",
            line=BatchLine(1, line, run),
            actor=actor or self.here,
        )

    def claim(self, run: str, actor: Actor | None = None) -> int | None:
        station = (actor or self.here).station
        assert station is not None
        found = claim_line(self.central, 1, run, station).line
        return None if found is None else found.line


@pytest.fixture
def desk(world: World) -> Desk:
    clock = [START]
    settings = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})
    central = replace(world.central, keys=RING, settings=settings, unix_seconds=lambda: clock[0])
    stations = [world.station().terminal_id for _ in range(2)]
    return Desk(central, Actor("Rina", stations[0]), Actor("Budi", stations[1]), clock)


class TestLists:
    def test_a_list_is_taken_once_by_its_key(self, desk: Desk) -> None:
        for is_first in (True, False):
            made, is_new = make_batch(
                desk.central, "Rembug 1", given(3), desk.here, idempotency_key="key-00000001"
            )
            assert (made.number, made.lines, made.waiting, is_new) == (1, 3, 3, is_first)
        assert [act.act for act in list_acts(desk.central.database)] == ["import"]
        with pytest.raises(IdempotencyConflict):
            make_batch(
                desk.central, "Rembug 1", given(2), desk.here, idempotency_key="key-00000001"
            )
        assert [batch.number for batch in list_batches(desk.central)] == [1]

    def test_members_are_registered_with_their_classes(self, desk: Desk) -> None:
        lines = [
            GivenLine(member_number=1, name="Siti", member_class="karyawan"),
            GivenLine(member_number=2, name="Budi"),
        ]
        make_batch(
            desk.central,
            "Rembug",
            lines,
            desk.here,
            idempotency_key="key-00000001",
            new_classes=["karyawan"],
        )
        found = lines_of(desk.central, 1)
        assert [(line.name, line.member_class) for line in found] == [
            ("Siti", "karyawan"),
            ("Budi", ""),
        ]

    def test_each_problem_is_named_and_nothing_is_taken(self, desk: Desk) -> None:
        desk.batch(2)
        desk.issue(SimulatedCard(), 1)
        wrong = [
            GivenLine(member_number=1, name="Anggota 1"),
            GivenLine(member_number=2, name="Anggota 2"),
            GivenLine(member_number=10, name="A" * 37),
            GivenLine(member_number=11, name="Tuti", member_class="emas"),
            GivenLine(member_number=11, name="Tuti"),
            GivenLine(member_number=12, name="good"),
        ]
        found = [(one.row, one.column, one.error.code) for one in check_lines(desk.central, wrong)]
        assert found == [
            (1, "number", "CENTRAL-MEMBER-HAS-CARD"),
            (2, "number", "CENTRAL-MEMBER-WAITS"),
            (3, "name", "CENTRAL-NAME"),
            (4, "class", "CENTRAL-CLASS-UNKNOWN"),
            (5, "number", "CENTRAL-MEMBER-TWICE"),
        ]
        with pytest.raises(IssuingLinesRefused) as refusal:
            make_batch(desk.central, "x", wrong, desk.here, idempotency_key="key-00000009")
        assert refusal.value.facts["count"] == 5
        assert len(list_batches(desk.central)) == 1
        with desk.central.database.read() as connection:
            assert (
                connection.execute(
                    select(members.c.name).where(members.c.member_number == 12)
                ).first()
                is None
            )

    def test_a_member_known_by_another_name_is_named(self, desk: Desk) -> None:
        desk.batch(1)
        skip_line(desk.central, 1, 1, "moved away")
        (problem,) = check_lines(desk.central, [GivenLine(member_number=1, name="Anggota I")])
        assert (problem.column, problem.error.code) == ("name", "CENTRAL-MEMBER-NAME")
        assert "Anggota 1" in problem.error.explain()

    @pytest.mark.parametrize("lines", [[], given(5_001)], ids=["none", "too-many"])
    def test_a_list_has_its_bounds(self, desk: Desk, lines: list[GivenLine]) -> None:
        with pytest.raises(BadParameters):
            make_batch(desk.central, "x", lines, desk.here, idempotency_key="key-00000001")

    def test_many_members_are_taken_at_once(self, desk: Desk) -> None:
        made, _ = make_batch(
            desk.central, "All", given(1_200), desk.here, idempotency_key="key-00000001"
        )
        assert made.waiting == 1_200
        first = lines_of(desk.central, 1)
        assert [line.line for line in first] == list(range(1, 501))
        assert lines_of(desk.central, 1, after=1_190)[0].line == 1_191

    def test_a_batch_that_is_not_there(self, desk: Desk) -> None:
        for ask in (
            lambda: batch_of(desk.central, 7),
            lambda: lines_of(desk.central, 7),
            lambda: claim_line(desk.central, 7, RUN, 1),
        ):
            with pytest.raises(UnknownIssuingBatch):
                ask()

    def test_the_database_keeps_lists_as_they_were_given(self, desk: Desk) -> None:
        desk.batch(1)
        for change in (
            update(issuing_batches).values(name="another"),
            issuing_batches.delete(),
            issuing_lines.delete(),
        ):
            with (
                pytest.raises(DBAPIError, match="append only"),
                desk.central.database.engine.begin() as connection,
            ):
                connection.execute(change)


class TestClaims:
    def test_a_run_has_its_line_until_it_is_done_with(self, desk: Desk) -> None:
        desk.batch(2)
        assert [desk.claim(RUN), desk.claim(RUN), desk.claim(OTHER, desk.there)] == [1, 1, 2]
        assert desk.claim("run-cccccccc") is None
        release_claim(desk.central, 1, RUN)
        assert desk.claim("run-cccccccc") == 1

    def test_a_claim_lapses(self, desk: Desk) -> None:
        desk.batch(1)
        assert desk.claim(RUN) == 1
        desk.clock[0] += CLAIM_SECONDS
        assert desk.claim(OTHER, desk.there) is None
        desk.clock[0] += 1
        assert desk.claim(OTHER, desk.there) == 1
        assert desk.claim(RUN) is None

    def test_a_line_before_another_station_is_refused(self, desk: Desk) -> None:
        desk.batch(1)
        desk.claim(RUN)
        card = SimulatedCard()
        before = card.state
        with pytest.raises(LineTaken) as refusal:
            desk.issue(card, 1, OTHER, desk.there)
        assert refusal.value.facts["station"] == desk.here.station
        assert card.state == before
        with pytest.raises(LineTaken):
            skip_line(desk.central, 1, 1, "no", OTHER)

    def test_a_card_in_work_holds_its_line_longer_than_a_session_lasts(self, desk: Desk) -> None:
        desk.batch(1)

        class Slow(InProcess):
            def transmit(self, command: bytes) -> bytes:
                desk.clock[0] += 10  # 32 exchanges: more than five minutes
                assert desk.claim(OTHER, desk.there) in {None, 1}
                return super().transmit(command)

        # The line is the other's before the card's first answers, so this one is refused.
        with pytest.raises(LineTaken):
            desk.issue(Slow(SimulatedCard()), 1)
        desk.clock[0] += CLAIM_SECONDS + 1

        class Slower(InProcess):
            def transmit(self, command: bytes) -> bytes:
                desk.clock[0] += 9
                if command[1] == 0xCA:  # registered: now it is held
                    self.registered = True
                if getattr(self, "registered", False):
                    assert desk.claim(OTHER, desk.there) is None
                return super().transmit(command)

        assert desk.issue(Slower(SimulatedCard()), 1).holder.card_serial == 1

    def test_what_the_line_says_must_fit(self, desk: Desk) -> None:
        desk.batch(2)
        with pytest.raises(LineOfAnother):
            issue_card(
                desk.central,
                InProcess(SimulatedCard()),
                1,
                "Anggota 1",
                line=BatchLine(1, 2, RUN),
                actor=desk.here,
            )
        with pytest.raises(UnknownIssuingLine):
            desk.issue(SimulatedCard(), 3)
        skip_line(desk.central, 1, 1, "ill")
        with pytest.raises(LineSkipped, match="ill"):
            desk.issue(SimulatedCard(), 1)
        put_back(desk.central, 1, 1)
        desk.issue(SimulatedCard(), 1)
        with pytest.raises(LineIssued):
            skip_line(desk.central, 1, 1, "no")
        with pytest.raises(LineIssued):
            put_back(desk.central, 1, 1)
        with pytest.raises(LineIssued):
            desk.issue(SimulatedCard(), 1)


class TestExactlyOnce:
    def test_the_answer_that_was_lost_is_asked_for_again(self, desk: Desk) -> None:
        desk.batch(1)
        card = SimulatedCard()
        first = desk.issue(card, 1)
        card.power_off()
        assert desk.issue(card, 1).holder == first.holder
        assert [act.act for act in list_acts(desk.central.database)] == ["issue", "import"]
        assert list_acts(desk.central.database)[0].person == "Rina"

    def test_a_member_who_got_a_card_elsewhere_gets_no_second(self, desk: Desk) -> None:
        desk.batch(1)
        issue_card(desk.central, InProcess(SimulatedCard()), 1, "Anggota 1", actor=desk.there)
        card = SimulatedCard()
        before = card.state
        with pytest.raises(MemberHasAnotherCard):
            desk.issue(card, 1)
        assert card.state == before
        assert lines_of(desk.central, 1)[0].state is LineState.WAITING

    def test_two_cards_for_one_line_are_one_card(self, desk: Desk) -> None:
        """The first was begun and given up; it comes back after the second was issued."""
        desk.batch(1)
        first, second = SimulatedCard(), SimulatedCard()
        with pytest.raises(CardRemoved):
            desk.issue(_Breaks(first, 22), 1)
        first.power_off()
        desk.issue(second, 1)
        with pytest.raises(LineIssued):
            desk.issue(first, 1)
        assert _active(desk) == {1: second.uid}

    def test_a_card_blocked_while_it_is_made_leaves_its_line(self, desk: Desk) -> None:
        desk.batch(1)
        card = SimulatedCard()

        class Blocking(InProcess):
            def transmit(self, command: bytes) -> bytes:
                if command[1] == 0xCA:
                    set_blocked(desk.central, card.uid, "stolen", blocked=True, by_terminal=None)
                return super().transmit(command)

        with pytest.raises(CardIsBlocked):
            desk.issue(Blocking(card), 1)
        (line,) = lines_of(desk.central, 1)
        assert line.state is LineState.WAITING
        assert statement_of(desk.central, card.uid).state is CardState.BLOCKED

    @pytest.mark.parametrize("step", range(0, 36, 5))
    def test_the_server_dies_at_any_step_and_the_card_is_issued_once(
        self, desk: Desk, step: int
    ) -> None:
        _die_and_go_on(desk, step)

    @pytest.mark.search
    @pytest.mark.parametrize("step", range(40))
    def test_at_every_step(self, desk: Desk, step: int) -> None:
        _die_and_go_on(desk, step)


class _Died(BaseException):
    """The process is gone: nothing after it is done."""


class _Breaks(InProcess):
    """The card leaves at the exchange of that index."""

    def __init__(self, card: SimulatedCard, index: int) -> None:
        super().__init__(card)
        self._left = index

    def transmit(self, command: bytes) -> bytes:
        if not self._left:
            raise CardRemoved
        self._left -= 1
        return super().transmit(command)


@dataclass(frozen=True)
class _DyingDatabase(Database):
    """Each transaction is two steps: before it is committed, and after."""

    step: Callable[[], None] = lambda: None

    @contextmanager
    def write(self, *, rebuilds: bool = False) -> Iterator[Connection]:
        with super().write(rebuilds=rebuilds) as connection:
            yield connection
            self.step()
        self.step()


def _die_and_go_on(desk: Desk, step: int) -> None:
    """The server dies at that step: an exchange with the card, or a commit, before it or after."""
    desk.batch(1)
    left = [step]

    def count() -> None:
        if not left[0]:
            left[0] = -1
            raise _Died
        left[0] -= 1

    class Dying(InProcess):
        def transmit(self, command: bytes) -> bytes:
            count()
            return super().transmit(command)

    card = SimulatedCard()
    dying = replace(
        desk,
        central=replace(desk.central, database=_DyingDatabase(desk.central.database.engine, count)),
    )
    with_death = step < 38
    try:
        dying.issue(Dying(card), 1)
    except _Died:
        assert with_death
    card.power_off()
    desk.clock[0] += 1
    assert desk.claim(RUN) in {1, None}  # None: it was done, and only the answer was lost
    done = desk.issue(card, 1)
    (line,) = lines_of(desk.central, 1)
    assert (line.state, line.card_uid, line.card_serial) == (LineState.ISSUED, card.uid, 1)
    assert done.holder.card_serial == 1
    assert _active(desk) == {1: card.uid}
    assert [act.act for act in list_acts(desk.central.database)] == ["issue", "import"]
    assert purse_of(card, RING).read().holder == done.holder


def _active(desk: Desk) -> dict[int, bytes]:
    with desk.central.database.read() as connection:
        rows = connection.execute(
            select(cards.c.member_number, cards.c.uid).where(
                cards.c.state == CardState.ACTIVE.value
            )
        )
        return {row.member_number: bytes(row.uid) for row in rows}


class TestOverHttp:
    def test_a_station_makes_a_batch_and_sees_it(self, office: Office, world: World) -> None:
        station = world.station()
        asked = {
            "name": "Rembug 7",
            "idempotency_key": "key-00000001",
            "lines": [
                {"number": 1, "name": "Siti", "class": "karyawan"},
                {"number": 2, "name": "Budi"},
            ],
            "new_classes": ["karyawan"],
        }
        path = "/v1/issuing-batches"
        made = [office.signed(station, "POST", path, asked) for _ in range(2)]
        assert [answer.status_code for answer in made] == [201, 200]
        assert office.signed(station, "GET", path).json()["batches"] == [made[0].json()]
        page = office.signed(station, "GET", f"{path}/1/lines?most=1").json()
        assert (page["more"], page["lines"][0]["member_class"]) == (True, "karyawan")
        claimed = office.signed(station, "POST", f"{path}/1/claim", {"claim": RUN}).json()
        assert (claimed["line"]["name"], claimed["upcoming"]["name"]) == ("Siti", "Budi")
        other = world.station()
        taken = office.signed(other, "POST", f"{path}/1/lines/1/skip", {"reason": "ill"})
        assert (taken.status_code, taken.json()["code"]) == (409, "CENTRAL-LINE-TAKEN")
        assert office.signed(station, "POST", f"{path}/1/release", {"claim": RUN}).json() == {
            "released": True
        }
        skipped = office.signed(other, "POST", f"{path}/1/lines/1/skip", {"reason": "ill"}).json()
        assert (skipped["state"], skipped["reason"]) == ("skipped", "ill")
        back = office.signed(other, "POST", f"{path}/1/lines/1/put-back", {}).json()
        assert back["state"] == "waiting"

    def test_a_check_takes_nothing(self, office: Office, world: World) -> None:
        station = world.station()
        lines = [{"number": 1, "name": "Siti"}, {"number": 1, "name": "Siti"}]
        answer = office.signed(station, "POST", "/v1/issuing-batches/check", {"lines": lines})
        (problem,) = answer.json()["problems"]
        assert (problem["row"], problem["code"]) == (2, "CENTRAL-MEMBER-TWICE")
        assert office.signed(station, "GET", "/v1/issuing-batches").json() == {"batches": []}

    def test_a_photo_is_the_members(self, office: Office, world: World) -> None:
        station = world.station()
        asked = {
            "name": "Rembug", "idempotency_key": "key-00000001",
            "lines": [{"number": 1, "name": "Siti"}],
        }  # fmt: skip
        office.signed(station, "POST", "/v1/issuing-batches", asked)
        jpeg = b"\xff\xd8\xff" + bytes(500) + b"\xff\xd9"
        path = "/v1/issuing-batches/1/lines/1/photo"
        headers = {
            "authorization": station.authorization("POST", path, jpeg),
            "content-type": "image/jpeg",
        }
        line = office.client.post(path, content=jpeg, headers=headers).json()
        assert photo_of(world.central.database, bytes.fromhex(line["photo"])) == jpeg
        headers["authorization"] = station.authorization("POST", path, b"no picture")
        refused = office.client.post(path, content=b"no picture", headers=headers)
        assert refused.status_code == 422

    def test_a_till_may_not(self, office: Office, world: World) -> None:
        answer = office.signed(world.till(), "GET", "/v1/issuing-batches")
        assert (answer.status_code, answer.json()["code"]) == (403, "CENTRAL-ROLE")


def test_two_stations_side_by_side_on_postgresql(tmp_path: Path) -> None:
    """Two runs at one batch, and the single issuing of one of its members at the same time."""
    with using(Kind.POSTGRESQL):
        database = open_database(new_database(tmp_path))
        settings = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})
        with issuing_office(tmp_path, Central(database, RING, settings)) as office:
            office.batch(12)
            other = office.another_station("other")
            clerks = [Clerk(), Clerk()]
            done = side_by_side(
                [lambda: clerks[0].work(office.station), lambda: clerks[1].work(other)]
            )
            assert all(
                isinstance(state, QueueState) and state.phase is QueuePhase.FINISHED
                for state in done
            )
            active = office.active_cards()
            assert sorted(active) == list(range(1, 13))
            lines = office.lines()
            assert {line.issued.card_uid for line in lines if line.issued} == set(active.values())
            assert sum(len(clerk.cards) for clerk in clerks) == 12
            serials = sorted(line.issued.card_serial for line in lines if line.issued)
            assert serials == list(range(1, 13))
        database.close()
