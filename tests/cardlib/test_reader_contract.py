"""What cardlib.readers.base promises, on every reader: in process, by nfcpy, by PC/SC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread, Timer

import pytest

from dobmi.cardlib.errors import CardRemoved, GarbledResponse, NoCard
from dobmi.cardlib.readers import CardConnection, Reader, Signal
from dobmi.cardlib.readers.nfc import open_reader as open_nfc
from dobmi.cardlib.readers.pcsc import open_reader as open_pcsc
from dobmi.firmware_sim.contactless import ContactlessCard, FieldLost
from dobmi.firmware_sim.pn532 import PN532
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.firmware_sim.vpcd import VirtualSlot
from support.pcscd import SLOT_READER
from support.radio_cards import COMMAND, OTHER_UID, UID, RadioCard

NOTICED_SECONDS = 3.0
"""pcscd looks at its readers every 0.4 s."""


@dataclass
class Rig:
    reader: Reader
    insert: Callable[[ContactlessCard], None]
    remove: Callable[[], object]

    def connect(self, card: ContactlessCard) -> CardConnection:
        self.insert(card)
        assert self.reader.wait_for_card(NOTICED_SECONDS)
        return self.reader.connect()

    def connect_again(self) -> CardConnection:
        """As a till does: wait for a card, connect, and begin again when it is gone already."""
        deadline = time.monotonic() + NOTICED_SECONDS
        while True:
            assert self.reader.wait_for_card(NOTICED_SECONDS)
            try:
                return self.reader.connect()
            except (CardRemoved, NoCard):
                assert time.monotonic() < deadline


@contextmanager
def nfc_rig() -> Iterator[Rig]:
    with PN532() as pn532:
        reader = open_nfc(f"pn532:{pn532.path}")
        yield Rig(reader, pn532.insert, pn532.remove)
        reader.close()


@pytest.fixture(
    params=[
        "sim",
        "nfc",
        pytest.param("pcsc", marks=[pytest.mark.pcscd, pytest.mark.xdist_group("pcscd")]),
    ]
)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "sim":
        simulated = SimulatedReader()
        yield Rig(simulated, simulated.insert, simulated.remove)
    elif request.param == "nfc":
        with nfc_rig() as found:
            yield found
    else:
        slot: VirtualSlot = request.getfixturevalue("virtual_slot")
        reader = open_pcsc(SLOT_READER.lower())
        yield Rig(reader, slot.insert, slot.remove)
        reader.close()


def test_connect_without_a_card_says_so(rig: Rig) -> None:
    with pytest.raises(NoCard):
        rig.reader.connect()


def test_waiting_for_a_card_ends_when_the_time_is_up(rig: Rig) -> None:
    started = time.monotonic()
    assert not rig.reader.wait_for_card(0.1)
    assert 0.09 < time.monotonic() - started < 1.0


def test_a_card_that_arrives_is_seen_and_knows_its_uid(rig: Rig) -> None:
    hand = Timer(0.1, rig.insert, [RadioCard()])
    hand.start()
    assert rig.reader.wait_for_card(NOTICED_SECONDS)
    hand.join()
    assert rig.reader.connect().uid == UID


def test_commands_and_responses_pass_unchanged(rig: Rig) -> None:
    card = RadioCard()
    connection = rig.connect(card)
    for size in (0, 1, 50, 61, 62, 255):
        command = bytes([0x90, 0x60, 0, 0, size]) + bytes(range(size))
        card.answer = lambda frame: frame[5:] + b"\x91\xaf"
        assert connection.transmit(command) == bytes(range(size)) + b"\x91\xaf"
        assert card.received[-1] == command


def test_waiting_for_removal_does_not_disturb_the_session(rig: Rig) -> None:
    card = RadioCard()
    connection = rig.connect(card)
    connection.transmit(COMMAND)
    losses = card.power_losses
    assert not rig.reader.wait_for_removal(0.15)
    connection.transmit(COMMAND)
    assert card.power_losses == losses


def test_a_removal_is_seen(rig: Rig) -> None:
    rig.connect(RadioCard()).disconnect()
    rig.remove()
    assert rig.reader.wait_for_removal(NOTICED_SECONDS)
    with pytest.raises(NoCard):
        rig.reader.connect()


def test_transmit_after_removal_says_removed_every_time_and_at_once(rig: Rig) -> None:
    connection = rig.connect(RadioCard())
    rig.remove()
    started = time.monotonic()
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)
    assert time.monotonic() - started < 0.5
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)


def test_a_card_pulled_within_an_exchange_is_removed(rig: Rig) -> None:
    working = Event()

    def slowly(_frame: bytes) -> bytes:
        working.set()
        time.sleep(0.03)
        return b"\x91\x00"

    connection = rig.connect(RadioCard(slowly))

    def pull() -> None:
        working.wait()
        rig.remove()

    puller = Thread(target=pull)
    puller.start()
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)
    puller.join()


def test_a_card_that_loses_the_field_by_itself_is_removed(rig: Rig) -> None:
    def lose(_frame: bytes) -> bytes:
        raise FieldLost

    connection = rig.connect(RadioCard(lose))
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)


def test_a_card_put_back_does_not_revive_the_old_connection(rig: Rig) -> None:
    card = RadioCard()
    connection = rig.connect(card)
    rig.remove()
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)
    rig.insert(card)
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)
    again = rig.connect_again()
    assert again.uid == UID
    assert again.transmit(COMMAND) == COMMAND + b"\x90\x00"


def test_after_an_error_another_card_is_known_as_another(rig: Rig) -> None:
    connection = rig.connect(RadioCard())
    rig.remove()
    rig.insert(RadioCard(uid=OTHER_UID))
    with pytest.raises(CardRemoved):
        connection.transmit(COMMAND)
    assert rig.connect_again().uid == OTHER_UID


def test_disconnect_may_be_called_twice_and_after_removal(rig: Rig) -> None:
    connection = rig.connect(RadioCard())
    connection.disconnect()
    connection.disconnect()
    again = rig.reader.connect()
    rig.remove()
    again.disconnect()
    again.disconnect()


def test_disconnect_leaves_a_card_that_can_be_connected_again(rig: Rig) -> None:
    rig.connect(RadioCard()).disconnect()
    assert rig.reader.connect().transmit(COMMAND) == COMMAND + b"\x90\x00"


def test_a_response_too_short_for_a_status_is_garbled(rig: Rig) -> None:
    connection = rig.connect(RadioCard(lambda _: b"\x91"))
    with pytest.raises(GarbledResponse) as caught:
        connection.transmit(COMMAND)
    assert caught.value.facts == {"length": 1}


@pytest.mark.parametrize("signal", Signal)
def test_a_signal_is_silent_where_there_is_nothing_to_signal_with(rig: Rig, signal: Signal) -> None:
    connection = rig.connect(RadioCard())
    rig.reader.signal(signal)
    assert connection.transmit(COMMAND) == COMMAND + b"\x90\x00"
