"""A PIN at a station, against the real central server: sealed on the way, and what staff are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest
from websockets.sync.client import connect

from dobmi.cardlib.errors import CardRemoved, NotAPin, WeakPin
from dobmi.cardlib.pin import Pin
from dobmi.central.server import Central
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.provisioning import cards, pins
from dobmi.provisioning.enrolment import Station, enrol_station, open_station
from dobmi.sync import relay_client
from dobmi.sync.errors import RelayInterrupted, ServerRefused, WrongSignature
from support.pins import OTHER, PIN, WRONG, pin_of
from support.purses import InProcess
from support.servers import new_central, serving, station_invitation
from support.tills import RING


@dataclass
class Desk:
    central: Central
    station: Station
    card: SimulatedCard

    @property
    def connection(self) -> InProcess:
        self.card.power_off()
        return InProcess(self.card)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    central = new_central(tmp_path)
    with serving(central) as url:
        identity, enrolment = tmp_path / "station.keys", tmp_path / "station.json"
        enrol_station(url, str(station_invitation(central)), identity, enrolment, "sandi")
        station = open_station(url, identity, enrolment, "sandi")
        card = SimulatedCard()
        cards.issue(station, InProcess(card), 4711, "Siti Aminah")
        yield Desk(central, station, card)


def test_set_changed_forgotten_and_proved(desk: Desk) -> None:
    assert pins.set_pin(desk.station, desk.connection, PIN.digits).generation == 1
    assert pin_of(desk.card, RING, PIN) == PIN
    pins.change_pin(desk.station, desk.connection, PIN.digits, OTHER.digits)
    assert pin_of(desk.card, RING, OTHER) == OTHER
    pins.reset_pin(desk.station, desk.connection, PIN.digits, "KTP")
    pins.prove_pin(desk.station, desk.connection, PIN.digits)
    assert pin_of(desk.card, RING, PIN) == PIN


def test_a_wrong_one_is_refused_with_the_tries_that_are_left(desk: Desk) -> None:
    pins.set_pin(desk.station, desk.connection, PIN.digits)
    with pytest.raises(ServerRefused) as refusal:
        pins.change_pin(desk.station, desk.connection, WRONG.digits, OTHER.digits)
    assert refusal.value.facts["problem"] == "CARD-PIN-WRONG"
    assert "2" in refusal.value.explain()
    assert WRONG.digits not in f"{refusal.value} {refusal.value.facts}"


def test_what_cannot_be_a_pin_is_refused_before_anything_is_sent(desk: Desk) -> None:
    for text, error in (("12x456", NotAPin), ("121212", WeakPin)):
        with pytest.raises(error):
            pins.set_pin(desk.station, desk.connection, text)


def test_how_many_digits_the_server_says(desk: Desk) -> None:
    with pytest.raises(ServerRefused) as refusal:
        pins.set_pin(desk.station, desk.connection, "7391")
    assert refusal.value.facts["problem"] == "CARD-PIN-WEAK"


@pytest.mark.parametrize("frame", range(0, 9, 2))
def test_a_card_pulled_away_is_finished_when_it_is_laid_on_again(desk: Desk, frame: int) -> None:
    pins.set_pin(desk.station, desk.connection, PIN.digits)
    desk.card.power_off()
    torn = FaultyCard(desk.card, [at_frame(frame, Moment.AFTER)])
    with pytest.raises(RelayInterrupted) as broken:
        pins.change_pin(desk.station, InProcess(torn), PIN.digits, OTHER.digits)
    assert isinstance(broken.value.__cause__, CardRemoved)
    pins.change_pin(desk.station, desk.connection, PIN.digits, OTHER.digits)
    assert pin_of(desk.card, RING, OTHER) == OTHER


def test_on_the_wire_there_is_no_pin_and_nothing_that_is_the_same_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    class Listening:
        def __init__(self, *args: object, **kwargs: object) -> None:
            self._inner = connect(*args, **kwargs)  # type: ignore[call-overload] # as it was called

        def __enter__(self) -> Self:
            self._channel = self._inner.__enter__()
            return self

        def __exit__(self, *args: object) -> None:
            self._inner.__exit__(*args)

        def send(self, message: bytes) -> None:
            sent.append(message)
            self._channel.send(message)

        def recv(self, timeout: float | None = None) -> bytes | str:
            message = self._channel.recv(timeout=timeout)
            assert isinstance(message, bytes)
            sent.append(message)
            return message

    original = relay_client.relay_card_session

    def listened(*args: object, **kwargs: object) -> object:
        return original(*args, **kwargs, open_channel=Listening)  # type: ignore[arg-type] # likewise

    monkeypatch.setattr(cards, "relay_card_session", listened)
    pin = Pin("864203")
    pins.set_pin(desk.station, desk.connection, pin.digits)
    pins.prove_pin(desk.station, desk.connection, pin.digits)
    assert len(sent) > 10
    assert not [message for message in sent if pin.digits.encode() in message]


def test_a_question_of_another_server_s_is_not_answered(desk: Desk) -> None:
    other = RING.generate(signing=["server"]).public_key("server")
    enrolment = replace(desk.station.enrolment, server_public_key=other)
    with pytest.raises(WrongSignature):
        pins.set_pin(replace(desk.station, enrolment=enrolment), desk.connection, PIN.digits)
    assert pin_of(desk.card, RING) is None
