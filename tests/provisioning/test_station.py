"""A station against the real central server on loopback, with simulated cards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from dobmi.cardlib.custody import load_key_file
from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import CardRemoved, KeyFileUnusable, NotOurCard
from dobmi.cardlib.files import KeySettings
from dobmi.cardlib.inspection import CardState, inspect
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.server import Central
from dobmi.errors import MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command, at_frame
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.personality import Personality
from dobmi.money import Rupiah
from dobmi.provisioning import cards
from dobmi.provisioning.enrolment import Station, enrol_station, open_station
from dobmi.provisioning.errors import AlreadyEnrolled, NotEnrolled, StationFileUnusable
from dobmi.sync.errors import RelayInterrupted, ServerRefused, WrongSignature
from support.purses import InProcess, issued_card, make_purse, new_ring, purse_of
from support.servers import new_central, serving, station_invitation, till_invitation
from support.tills import RING

COMMIT = 0xC7


@dataclass
class Office:
    central: Central
    url: str
    station: Station
    folder: Path


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    central = new_central(tmp_path)
    with serving(central) as url:
        identity, enrolment = tmp_path / "station.keys", tmp_path / "station.json"
        enrol_station(url, str(station_invitation(central)), identity, enrolment, "sandi")
        yield Office(central, url, open_station(url, identity, enrolment, "sandi"), tmp_path)


def issue(office: Office, card: SimulatedCard, member: int = 4711) -> cards.IssuedCard:
    card.power_off()
    return cards.issue(office.station, InProcess(card), member, f"Anggota {member}")


def deliver(office: Office, card: SimulatedCard) -> int:
    card.power_off()
    return cards.deliver_credits(office.station, InProcess(card)).balance.amount


def on_card(card: SimulatedCard) -> int:
    return purse_of(card, RING).read().balance.amount


def in_ledger(office: Office, card: SimulatedCard) -> int:
    balance = cards.ledger_card(office.station, card.serial)["balance_rupiah"]
    assert isinstance(balance, int)
    return balance


class TestIssuing:
    def test_a_blank_card_is_a_members_purse_on_the_card_and_in_the_ledger(
        self, office: Office
    ) -> None:
        card = SimulatedCard()
        issued = issue(office, card)
        view = purse_of(card, RING).read()
        assert (view.holder.member_number, view.holder.name) == (4711, "Anggota 4711")
        assert view.holder.card_serial == issued.card_serial
        assert view.holder.expires == issued.expires
        ledger = cards.ledger_card(office.station, card.serial)
        assert (ledger["state"], ledger["balance_rupiah"]) == ("active", 0)

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(0, 32, 3))
    def test_a_card_pulled_away_is_finished_when_it_is_laid_on_again(
        self, office: Office, frame: int, moment: Moment
    ) -> None:
        card = SimulatedCard()
        torn = FaultyCard(card, [at_frame(frame, moment)])
        with pytest.raises(RelayInterrupted) as broken:
            cards.issue(office.station, InProcess(torn), 4711, "Anggota 4711")
        assert isinstance(broken.value.__cause__, CardRemoved)
        first = issue(office, card)
        assert issue(office, card).card_serial == first.card_serial
        assert purse_of(card, RING).read().holder.name == "Anggota 4711"

    def test_a_card_issued_to_one_member_is_refused_for_another(self, office: Office) -> None:
        card = SimulatedCard()
        issue(office, card)
        with pytest.raises(ServerRefused):
            issue(office, card, member=4712)
        assert purse_of(card, RING).read().holder.member_number == 4711

    def test_a_member_gets_no_second_card_while_the_first_is_good(self, office: Office) -> None:
        issue(office, SimulatedCard())
        with pytest.raises(ServerRefused) as refusal:
            issue(office, SimulatedCard())
        assert refusal.value.money_moved is MoneyMoved.NO

    @pytest.mark.parametrize(
        "card",
        [
            pytest.param(SimulatedCard(personality=Personality.EV1), id="EV1"),
            pytest.param(issued_card(new_ring()), id="of another key set"),
        ],
    )
    def test_a_card_that_cannot_be_a_purse_is_refused_and_left_as_it_was(
        self, office: Office, card: SimulatedCard
    ) -> None:
        before = card.state
        with pytest.raises(ServerRefused) as refusal:
            issue(office, card)
        assert refusal.value.advise()
        assert card.state == before


class TestTopUp:
    def test_a_top_up_is_on_the_card_and_in_the_ledger(self, office: Office) -> None:
        card = SimulatedCard()
        issue(office, card)
        cards.order_credit(office.station, card.serial, Rupiah(75_000), "cash", "order-0001")
        assert deliver(office, card) == on_card(card) == in_ledger(office, card) == 75_000

    def test_the_same_order_twice_is_one_credit(self, office: Office) -> None:
        card = SimulatedCard()
        issue(office, card)
        for _ in range(2):
            cards.order_credit(office.station, card.serial, Rupiah(75_000), "cash", "order-0001")
        assert deliver(office, card) == 75_000
        assert deliver(office, card) == 75_000

    def test_one_reference_for_two_different_orders_is_refused(self, office: Office) -> None:
        card = SimulatedCard()
        issue(office, card)
        cards.order_credit(office.station, card.serial, Rupiah(75_000), "cash", "order-0001")
        with pytest.raises(ServerRefused):
            cards.order_credit(office.station, card.serial, Rupiah(80_000), "cash", "order-0001")

    @pytest.mark.parametrize("moment", Moment)
    def test_a_credit_torn_at_its_commit_arrives_exactly_once(
        self, office: Office, moment: Moment
    ) -> None:
        card = SimulatedCard()
        issue(office, card)
        cards.order_credit(office.station, card.serial, Rupiah(75_000), "cash", "order-0001")
        card.power_off()
        torn = FaultyCard(card, [at_command(COMMIT, moment)])
        with pytest.raises(RelayInterrupted) as broken:
            cards.deliver_credits(office.station, InProcess(torn))
        assert broken.value.money_moved is MoneyMoved.UNKNOWN
        assert deliver(office, card) == on_card(card) == in_ledger(office, card) == 75_000

    @pytest.mark.parametrize("amount", [0, -1, 2_000_001])
    def test_an_amount_that_no_card_may_get_is_refused(self, office: Office, amount: int) -> None:
        card = SimulatedCard()
        issue(office, card)
        with pytest.raises(ServerRefused):
            cards.order_credit(office.station, card.serial, Rupiah(amount), "cash", "order-0001")

    def test_a_blocked_card_gets_no_credit_until_it_is_unblocked(self, office: Office) -> None:
        card = SimulatedCard()
        issue(office, card)
        cards.order_credit(office.station, card.serial, Rupiah(5_000), "cash", "order-0001")
        cards.block(office.station, card.serial, "hilang")
        with pytest.raises(ServerRefused):
            deliver(office, card)
        assert on_card(card) == 0
        cards.unblock(office.station, card.serial, "ketemu")
        assert deliver(office, card) == 5_000

    def test_every_rupiah_is_somewhere(self, office: Office) -> None:
        card = SimulatedCard()
        issue(office, card)
        cards.order_credit(office.station, card.serial, Rupiah(75_000), "cash", "order-0001")
        before = cards.circulation(office.station)
        assert (before["in_flight_rupiah"], before["sum_rupiah"]) == (75_000, 0)
        deliver(office, card)
        after = cards.circulation(office.station)
        assert (after["on_cards_rupiah"], after["sum_rupiah"]) == (75_000, 0)


class TestLanguage:
    @pytest.mark.parametrize(("language", "words"), [("id", "kartu"), ("en", "card")])
    def test_the_server_refuses_in_the_stations_language(
        self, office: Office, language: str, words: str
    ) -> None:
        station = open_station(
            office.url,
            office.folder / "station.keys",
            office.folder / "station.json",
            "sandi",
            language=language,
        )
        issue(office, SimulatedCard())
        refusals: list[ServerRefused] = []
        with pytest.raises(ServerRefused) as over_http:
            cards.block(station, bytes(7), "hilang")
        refusals.append(over_http.value)
        with pytest.raises(ServerRefused) as over_the_relay:
            cards.issue(station, InProcess(SimulatedCard()), 4711, "Anggota 4711")
        refusals.append(over_the_relay.value)
        for refusal in refusals:
            assert words in f"{refusal.facts['detail']} {refusal.facts['advice']}".casefold()


class TestEnrolment:
    def test_a_station_holds_no_key_of_any_card(self, office: Office) -> None:
        """P3: what an attacker finds at a station opens no card."""
        ring = load_key_file(office.folder / "station.keys", "sandi")
        assert ring.masters == {}

    def test_enrolling_twice_is_refused(self, office: Office) -> None:
        with pytest.raises(AlreadyEnrolled):
            enrol_station(
                office.url,
                str(station_invitation(office.central)),
                office.folder / "station.keys",
                office.folder / "station.json",
                "sandi",
            )

    def test_a_till_cannot_issue(self, office: Office) -> None:
        identity, enrolment = office.folder / "till.keys", office.folder / "till.json"
        invitation = str(till_invitation(office.central))
        enrol_station(office.url, invitation, identity, enrolment, "sandi")
        till = open_station(office.url, identity, enrolment, "sandi")
        card = SimulatedCard()
        before = card.state
        with pytest.raises(ServerRefused):
            cards.issue(till, InProcess(card), 4711, "Siti")
        assert card.state == before

    def test_an_invitation_of_another_server_is_not_followed(
        self, office: Office, tmp_path: Path
    ) -> None:
        invitation = station_invitation(office.central)
        other = str(type(invitation)(invitation.code, bytes(9)))
        with pytest.raises(WrongSignature):
            enrol_station(office.url, other, tmp_path / "x.keys", tmp_path / "x.json", "sandi")
        assert not (tmp_path / "x.json").exists()

    @pytest.mark.parametrize("content", ["", "[]", '{"terminal_id": "x"}', "null"])
    def test_a_damaged_enrolment_file_is_named(self, office: Office, content: str) -> None:
        path = office.folder / "station.json"
        path.write_text(content)
        with pytest.raises(NotEnrolled, match=r"station\.json"):
            open_station(office.url, office.folder / "station.keys", path, "sandi")

    def test_an_enrolment_or_key_file_that_cannot_be_read_is_named(self, office: Office) -> None:
        folder = office.folder / "folder"
        folder.mkdir()
        with pytest.raises(StationFileUnusable, match="folder"):
            open_station(office.url, office.folder / "station.keys", folder, "sandi")
        with pytest.raises(KeyFileUnusable, match="folder"):
            open_station(office.url, folder, office.folder / "station.json", "sandi")

    def test_an_enrolment_with_another_key_is_refused(self, office: Office) -> None:
        path = office.folder / "station.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "terminal_public_key": "00" * 32}))
        with pytest.raises(NotEnrolled):
            open_station(office.url, office.folder / "station.keys", path, "sandi")


class TestInspection:
    TRUSTED: ClassVar = {"simulation": SIMULATION_PUBLIC_KEY}

    def test_a_blank_card(self) -> None:
        found = inspect(InProcess(SimulatedCard()), self.TRUSTED)
        assert (found.state, found.originality) == (CardState.BLANK, "simulation")
        assert found.key_versions == {}

    def test_a_purse_even_right_after_another_program_used_it(self) -> None:
        card = issued_card(RING)
        assert inspect(InProcess(card), self.TRUSTED).state is CardState.PURSE
        found = inspect(InProcess(card), self.TRUSTED)
        assert found.key_versions[CardKey.CREDIT] == 1

    def test_a_half_issued_card(self) -> None:
        card = SimulatedCard()
        with pytest.raises(CardRemoved):
            make_purse(FaultyCard(card, [at_frame(20)]), RING)
        assert inspect(InProcess(card), self.TRUSTED).state is CardState.UNFINISHED

    def test_a_card_of_somebody_else(self) -> None:
        card = SimulatedCard()
        DesfireCard(InProcess(card)).create_application(0x123456, KeySettings(), key_count=1)
        card.power_off()
        found = inspect(InProcess(card), self.TRUSTED)
        assert (found.state, found.applications) == (CardState.FOREIGN, (0x123456,))

    def test_a_chip_whose_signature_is_not_trusted_is_told(self) -> None:
        assert inspect(InProcess(SimulatedCard())).originality is None

    def test_an_ev1_card_is_read_too(self) -> None:
        found = inspect(InProcess(SimulatedCard(personality=Personality.EV1)), self.TRUSTED)
        assert found.version.generation.value == "DESFire EV1"

    def test_an_empty_card_that_could_not_be_issued_is_not_called_blank(self) -> None:
        old = inspect(InProcess(SimulatedCard(personality=Personality.EV1)), self.TRUSTED)
        assert old.state is CardState.UNSUPPORTED
        # Formatted by its owner, whose master key it keeps.
        card = SimulatedCard(state=replace(issued_card(new_ring()).state, applications=()))
        assert inspect(InProcess(card), self.TRUSTED).state is CardState.LOCKED

    def test_inspecting_changes_nothing(self) -> None:
        card = issued_card(RING, Rupiah(5_000))
        before = card.state
        inspect(InProcess(card))
        assert card.state == before

    def test_what_is_no_desfire_is_not_ours(self) -> None:
        class Phone:
            uid = bytes.fromhex("04112233445566")

            def transmit(self, command: bytes) -> bytes:  # noqa: ARG002 - it knows none
                return bytes.fromhex("6D00")

            def disconnect(self) -> None: ...

        with pytest.raises(NotOurCard):
            inspect(Phone())
