"""Issuing card after card, against the real central server on loopback, with simulated cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import ReaderUnavailable
from dobmi.cardlib.files import KeySettings
from dobmi.cardlib.readers.base import Reader, Signal
from dobmi.central.acts import list_acts
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.firmware_sim.personality import Personality
from dobmi.provisioning import cards, issuing, queue
from dobmi.provisioning.issuing import LineState
from dobmi.provisioning.queue import QueuePhase, QueueState, StationDesk, issue_queue
from dobmi.provisioning.retiring import retire
from dobmi.sync.errors import ServerRefused
from dobmi.sync.retirement import Purpose
from support.issuing_office import Clerk, IssuingOffice, issuing_office, side_by_side
from support.purses import InProcess, issued_card, new_ring, purse_of
from support.servers import serving
from support.tills import RING

FRAMES = 33
"""Of a fresh card, from the first select to the last that reads it back, and one more."""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[IssuingOffice]:
    with issuing_office(tmp_path) as made:
        yield made


def everybody_has_one_card(office: IssuingOffice, members: int, batch: int = 1) -> None:
    """In the ledger, in the batch, and on the cards' own holder files: the same."""
    lines = office.lines(batch)
    issued = {line.member_number: line.issued for line in lines}
    active = office.active_cards()
    assert len(lines) == members
    assert all(line.state is LineState.ISSUED for line in lines)
    assert {n: of.card_uid for n, of in issued.items() if of is not None} == active
    assert len(set(active.values())) == members


class TestWholeBatch:
    def test_card_after_card_is_issued_with_nothing_pressed(self, office: IssuingOffice) -> None:
        office.batch(4)
        clerk = Clerk()
        last = clerk.work(office.station)
        assert last.phase is QueuePhase.FINISHED
        everybody_has_one_card(office, 4)
        one = [QueuePhase.LAY, QueuePhase.WORKING, QueuePhase.ISSUED]
        assert clerk.phases == [*one * 4, QueuePhase.FINISHED]
        for card, line in zip(clerk.cards, office.lines(), strict=True):
            assert isinstance(card, SimulatedCard)
            holder = purse_of(card, RING).read().holder
            assert (holder.member_number, holder.name) == (line.member_number, line.name)

    def test_who_is_next_is_shown_before_the_card_is_taken_off(self, office: IssuingOffice) -> None:
        office.batch(3)
        clerk = Clerk()
        clerk.work(office.station)
        shown = [state.line for state in clerk.seen if state.phase is QueuePhase.ISSUED]
        names = [line.name for line in shown if line is not None]
        assert names == ["Anggota 2", "Anggota 2", "Anggota 3", "Anggota 3"]

    def test_progress_rate_and_time_left_are_reckoned(self, office: IssuingOffice) -> None:
        office.batch(4)
        clock = [0.0]

        def tick() -> float:
            clock[0] += 1.0
            return clock[0]

        clerk = Clerk()
        for state in issue_queue(
            StationDesk(office.station, 1), lambda: clerk.reader, clerk.controls, monotonic=tick
        ):
            clerk.seen.append(state)
            clerk.act(state)
            if state.phase is QueuePhase.WORKING:
                clock[0] += 20
        finished = [s for s in clerk.seen if s.phase is QueuePhase.ISSUED and s.line is not None]
        first, second = finished[0], finished[2]
        assert (first.cards_per_hour, first.seconds_left) == (None, None)
        assert second.cards_per_hour is not None
        assert 90 < second.cards_per_hour < 180
        assert second.seconds_left == pytest.approx(2 * 3600 / second.cards_per_hour, abs=1)
        assert [state.done for state in finished[::2]] == [1, 2, 3]

    def test_lights_and_sounds_go_with_it(self, office: IssuingOffice) -> None:
        office.batch(2)
        clerk = Clerk([(SimulatedCard(), []), (SimulatedCard(), [at_frame(12)])])
        clerk.work(office.station)
        once = [Signal.READY, Signal.BUSY, Signal.SUCCESS]
        torn = [Signal.READY, Signal.BUSY, Signal.FAILURE, Signal.READY, Signal.BUSY]
        assert clerk.reader.signals == [*once, *torn, Signal.SUCCESS]

    def test_the_report_says_of_each_card_what_was_checked(self, office: IssuingOffice) -> None:
        office.batch(2)
        ev3 = SimulatedCard(personality=Personality.EV3)
        clerk = Clerk([(SimulatedCard(), []), (ev3, [at_frame(25)])])
        clerk.work(office.station)
        first, second = (line.issued for line in office.lines())
        assert first is not None
        assert second is not None
        assert (first.card_uid, second.card_uid) == tuple(card.uid for card in clerk.cards)
        assert (first.generation, second.generation) == ("DESFire EV2", "DESFire EV3")
        assert first.originality == second.originality == "simulation"
        assert (first.card_serial, second.card_serial) == (1, 2)
        assert (first.resumed, second.resumed) == (False, True)
        assert first.station == office.station.enrolment.terminal_id
        noted = [act for act in list_acts(office.central.database) if act.act == "issue"]
        assert [act.subject for act in noted] == ["card 2", "card 1"]


class TestCardsPulledAway:
    def tear(self, office: IssuingOffice, frame: int, moment: Moment) -> Clerk:
        office.batch(1)
        clerk = Clerk([(SimulatedCard(), [at_frame(frame, moment)])])
        assert clerk.work(office.station).phase is QueuePhase.FINISHED
        everybody_has_one_card(office, 1)
        (card,) = clerk.cards
        assert isinstance(card, SimulatedCard)
        assert purse_of(card, RING).read().holder.member_number == 1
        return clerk

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", [0, 8, 9, 12, 20, 27, FRAMES - 2])
    def test_the_same_card_is_asked_for_again_and_finished(
        self, office: IssuingOffice, frame: int, moment: Moment
    ) -> None:
        assert QueuePhase.SAME_AGAIN in self.tear(office, frame, moment).phases

    @pytest.mark.search
    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(FRAMES))
    def test_at_every_frame(self, office: IssuingOffice, frame: int, moment: Moment) -> None:
        torn = QueuePhase.SAME_AGAIN in self.tear(office, frame, moment).phases
        assert torn == (frame < FRAMES - 1)

    def test_another_card_instead_is_said_and_left_as_it_is(self, office: IssuingOffice) -> None:
        office.batch(1)
        torn, other = SimulatedCard(), SimulatedCard()
        before = other.state
        clerk = Clerk([(torn, [at_frame(20)])])

        def lay_another(state: QueueState) -> bool:
            first = QueuePhase.OTHER_CARD not in clerk.phases
            if state.phase is QueuePhase.SAME_AGAIN and first and not clerk.reader.field.card:
                clerk.reader.insert(other)
                return True
            return False

        clerk.at = lay_another
        clerk.work(office.station)
        (said,) = [state for state in clerk.seen if state.phase is QueuePhase.OTHER_CARD]
        assert said.card == torn.uid
        assert other.state == before
        assert office.active_cards() == {1: torn.uid}
        assert other.uid not in office.known_cards()

    def test_a_card_that_does_not_come_back_gives_way_to_another(
        self, office: IssuingOffice
    ) -> None:
        office.batch(2)
        lost, new = SimulatedCard(), SimulatedCard()
        clerk = Clerk([(lost, [at_frame(20)]), (new, [])])

        def give_up(state: QueueState) -> bool:
            if state.phase is QueuePhase.SAME_AGAIN:
                clerk.controls.take_other_card()
                return True
            return False

        clerk.at = give_up
        clerk.work(office.station)
        everybody_has_one_card(office, 2)
        assert office.active_cards()[1] == new.uid

    def test_a_card_begun_for_another_member_says_for_whom(self, office: IssuingOffice) -> None:
        office.batch(2)
        half = SimulatedCard()
        noisy = _Noisy(InProcess(half), 22)
        with pytest.raises(ServerRefused):  # something of member 77 is on it
            cards.issue(office.station, noisy, 77, "Anggota 77")
        half.power_off()
        clerk = Clerk([(half, [])])
        clerk.work(office.station)
        (refused,) = [state for state in clerk.seen if state.phase is QueuePhase.REFUSED]
        assert refused.trouble is not None
        assert "Anggota 77" in refused.trouble.explain()
        everybody_has_one_card(office, 2)

    def test_a_card_that_was_begun_and_is_blank_yet_is_anybodys(
        self, office: IssuingOffice
    ) -> None:
        office.batch(1)
        blank = SimulatedCard()
        with pytest.raises(ServerRefused):
            cards.issue(office.station, _Noisy(InProcess(blank), 10), 77, "Anggota 77")
        blank.power_off()
        clerk = Clerk([(blank, [])])
        clerk.work(office.station)
        assert office.active_cards() == {1: blank.uid}


class _Noisy:
    """A connection on which the answer to one exchange is spoilt."""

    def __init__(self, inner: InProcess, index: int) -> None:
        self._inner, self._left, self.uid = inner, index, inner.uid

    def transmit(self, command: bytes) -> bytes:
        self._left -= 1
        answer = self._inner.transmit(command)
        return b"\x91\x1e" if self._left == 0 else answer

    def disconnect(self) -> None:
        self._inner.disconnect()


def _foreign() -> SimulatedCard:
    card = SimulatedCard()
    DesfireCard(InProcess(card)).create_application(0x123456, KeySettings(), key_count=1)
    card.power_off()
    return card


class TestCardsThatCannotBeIssued:
    @pytest.mark.parametrize(
        ("card", "code"),
        [
            pytest.param(SimulatedCard(personality=Personality.EV1), "CARD-UNSUPPORTED", id="old"),
            pytest.param(_foreign(), "CARD-NOT-OURS", id="foreign"),
            pytest.param(
                SimulatedCard(state=replace(issued_card(new_ring()).state, applications=())),
                "CARD-KEYS",
                id="locked",
            ),
        ],
    )
    def test_it_is_said_and_skipped_and_nothing_is_known_of_it(
        self, office: IssuingOffice, card: SimulatedCard, code: str
    ) -> None:
        office.batch(1)
        before = card.state
        clerk = Clerk([(card, [])])
        assert clerk.work(office.station).phase is QueuePhase.FINISHED
        (refused,) = [state for state in clerk.seen if state.phase is QueuePhase.REFUSED]
        assert refused.trouble is not None
        assert refused.trouble.facts["problem"] == code
        assert refused.trouble.advise()
        assert card.state == before
        assert card.uid not in office.known_cards()
        everybody_has_one_card(office, 1)

    def test_a_card_that_somebody_has_is_left_theirs(self, office: IssuingOffice) -> None:
        office.batch(2)
        clerk = Clerk()
        again = [False]

        def lay_the_first_again(state: QueueState) -> bool:
            if state.phase is QueuePhase.LAY and len(clerk.cards) == 1 and not again[0]:
                again[0] = True
                clerk.reader.insert(clerk.cards[0])
                return True
            return False

        clerk.at = lay_the_first_again
        clerk.work(office.station)
        (refused,) = [state for state in clerk.seen if state.phase is QueuePhase.REFUSED]
        assert refused.trouble is not None
        assert "Anggota 1" in refused.trouble.explain()
        everybody_has_one_card(office, 2)

    def test_the_members_own_card_that_has_ended_is_put_aside(self, office: IssuingOffice) -> None:
        ended = SimulatedCard()
        cards.issue(office.station, InProcess(ended), 1, "Anggota 1")
        retire(office.station, InProcess(ended), Purpose.RENEWED, "aus", wipe=True)
        office.batch(1)
        clerk = Clerk([(ended, [])])
        assert clerk.work(office.station).phase is QueuePhase.FINISHED
        (refused,) = [state for state in clerk.seen if state.phase is QueuePhase.REFUSED]
        assert refused.trouble is not None
        assert refused.trouble.facts["problem"] == "CENTRAL-CARD-ENDED"
        everybody_has_one_card(office, 1)

    def test_a_card_that_fails_again_and_again_is_put_aside(
        self, office: IssuingOffice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        office.batch(1)
        broken = SimulatedCard()
        real = StationDesk.issue

        def issue(desk: StationDesk, connection: object, line: object) -> object:
            inner = connection
            if inner.uid == broken.uid:  # type: ignore[attr-defined] # a CardConnection
                return real(desk, _Noisy(inner, 5), line)  # type: ignore[arg-type] # as before
            return real(desk, inner, line)  # type: ignore[arg-type] # as before

        monkeypatch.setattr(StationDesk, "issue", issue)
        clerk = Clerk([(broken, [])])

        def lift(state: QueueState) -> bool:
            if state.phase is QueuePhase.SAME_AGAIN and clerk.reader.field.card is not None:
                clerk.reader.remove()
                return True
            return False

        clerk.at = lift
        clerk.work(office.station)
        assert clerk.phases.count(QueuePhase.REFUSED) == 1
        assert clerk.phases.count(QueuePhase.WORKING) == queue._TRIES_MAX + 1
        everybody_has_one_card(office, 1)


class TestMembers:
    def test_one_who_has_got_a_card_meanwhile_is_left_out(self, office: IssuingOffice) -> None:
        office.batch(2)
        elsewhere = SimulatedCard()
        cards.issue(office.station, InProcess(elsewhere), 1, "Anggota 1")
        clerk = Clerk()
        last = clerk.work(office.station)
        assert last.phase is QueuePhase.FINISHED
        first, second = office.lines()
        assert (first.state, second.state) == (LineState.SKIPPED, LineState.ISSUED)
        assert "already has card" in first.reason
        assert len(clerk.cards) == 1  # the blank one went to the next member

    def test_one_who_is_left_out_can_be_put_back(self, office: IssuingOffice) -> None:
        office.batch(2)
        clerk = Clerk()
        skipped = [False]

        def skip(state: QueueState) -> bool:
            if state.phase is QueuePhase.LAY and not skipped[0]:
                skipped[0] = True
                clerk.controls.skip_member("not here today")
                return True
            return False

        clerk.at = skip
        clerk.work(office.station)
        first, second = office.lines()
        assert (first.state, first.reason) == (LineState.SKIPPED, "not here today")
        assert second.state is LineState.ISSUED
        issuing.put_back(office.station, 1, 1)
        Clerk().work(office.station)
        everybody_has_one_card(office, 2)


class TestStopping:
    def test_it_stops_at_any_time_and_goes_on_at_another_station(
        self, office: IssuingOffice
    ) -> None:
        office.batch(4)
        other = office.another_station("other")
        clerk = Clerk()

        def stop(state: QueueState) -> None:
            if state.done == 2:
                clerk.controls.stop()

        clerk.at = stop
        last = clerk.work(office.station)
        assert (last.phase, last.done, last.trouble) == (QueuePhase.STOPPED, 2, None)
        second = Clerk()
        assert second.work(other).phase is QueuePhase.FINISHED
        assert second.seen[0].line is not None
        assert second.seen[0].line.line == 3  # given back at once, not after two minutes
        everybody_has_one_card(office, 4)
        assert len({line.issued.station for line in office.lines() if line.issued}) == 2

    def test_a_card_pulled_away_is_finished_at_another_station(self, office: IssuingOffice) -> None:
        office.batch(1)
        other = office.another_station("other")
        card = SimulatedCard()
        clerk = Clerk([(card, [at_frame(23)])])

        def stop(state: QueueState) -> None:
            if state.phase is QueuePhase.SAME_AGAIN:
                clerk.controls.stop()

        clerk.at = stop
        assert clerk.work(office.station).phase is QueuePhase.STOPPED
        assert Clerk([(card, [])]).work(other).phase is QueuePhase.FINISHED
        assert office.active_cards() == {1: card.uid}

    def test_what_nobody_can_mend_stops_it_with_the_reason(self, office: IssuingOffice) -> None:
        last = Clerk().work(office.station, batch=9)
        assert last.phase is QueuePhase.STOPPED
        assert last.trouble is not None
        assert last.trouble.facts["problem"] == "CENTRAL-ISSUING-UNKNOWN"


class TestWhatGoesAway:
    def test_the_server_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It goes while a card is in work, and comes back at the same port."""
        monkeypatch.setattr(queue, "_AWAY_SECONDS", 0.05)
        with issuing_office(tmp_path) as office:
            office.batch(2)
            port = int(office.url.rpartition(":")[2])
            station, central = office.station, office.central
        clerk = Clerk()
        back = serving(central, port)
        entered: list[str] = []

        def come_back(state: QueueState) -> None:
            if state.phase is QueuePhase.SERVER_AWAY and not entered:
                entered.append(back.__enter__())

        clerk.at = come_back
        try:
            assert clerk.work(station).phase is QueuePhase.FINISHED
            assert entered
            everybody_has_one_card(office, 2)
        finally:
            if entered:
                back.__exit__(None, None, None)

    def test_the_connection_breaks_in_the_middle_of_a_card(
        self, office: IssuingOffice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "_AWAY_SECONDS", 0.02)
        monkeypatch.setattr("dobmi.central.relay_session.SESSION_SECONDS_MAX", 0.0)
        office.batch(1)
        clerk = Clerk()

        def mend(state: QueueState) -> None:
            if state.phase is QueuePhase.SERVER_AWAY:
                monkeypatch.undo()

        clerk.at = mend
        clerk.work(office.station)
        assert QueuePhase.SERVER_AWAY in clerk.phases
        assert len(clerk.cards) == 1  # it lay there all the time
        everybody_has_one_card(office, 1)

    def test_the_reader_is_plugged_in_again(
        self, office: IssuingOffice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "_READER_SECONDS", 0.01)
        office.batch(1)
        clerk = Clerk()
        tries = [0]

        def open_reader() -> Reader:
            tries[0] += 1
            if tries[0] < 3:
                raise ReaderUnavailable(detail="unplugged")
            return clerk.reader

        states = []
        for state in issue_queue(StationDesk(office.station, 1), open_reader, clerk.controls):
            states.append(state.phase)
            clerk.act(state)
        assert states.count(QueuePhase.READER_AWAY) == 2
        everybody_has_one_card(office, 1)


class TestTwoStations:
    def test_they_share_a_batch_and_no_line_twice(self, office: IssuingOffice) -> None:
        office.batch(10)
        other = office.another_station("other")
        clerks = [Clerk(), Clerk()]
        done = side_by_side(
            [
                lambda: clerks[0].work(office.station),
                lambda: clerks[1].work(other),
            ]
        )
        assert {state.phase for state in done if isinstance(state, QueueState)} == {
            QueuePhase.FINISHED
        }
        everybody_has_one_card(office, 10)
        assert sum(len(clerk.cards) for clerk in clerks) == 10

    def test_who_has_nothing_left_waits_for_what_the_other_gives_back(
        self, office: IssuingOffice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "_OTHERS_SECONDS", 0.02)
        office.batch(1)
        other = office.another_station("other")
        desk = StationDesk(other, 1)
        assert desk.claim().line is not None
        clerk = Clerk()

        def give_back(state: QueueState) -> None:
            if state.phase is QueuePhase.OTHERS_AT_REST:
                desk.release()

        clerk.at = give_back
        clerk.work(office.station)
        assert clerk.phases[0] is QueuePhase.OTHERS_AT_REST
        everybody_has_one_card(office, 1)
