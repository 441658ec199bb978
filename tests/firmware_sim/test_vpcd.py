"""The vpcd client against a driver made of a socket, and against the system's pcscd."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dobmi.cardlib.readers.pcsc import open_reader
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import FieldLost
from dobmi.firmware_sim.pcscd import is_running, virtual_port
from dobmi.firmware_sim.vpcd import ATR, VirtualSlot
from support.pcscd import SLOT_READER
from support.radio_cards import COMMAND, OTHER_UID, UID, RadioCard


@dataclass
class Driver:
    """The driver's end of the connection, as libifdvpcd.so speaks it."""

    server: socket.socket
    connection: socket.socket | None = None

    @property
    def port(self) -> int:
        port: int = self.server.getsockname()[1]
        return port

    def accept(self) -> None:
        self.close()
        self.connection = self.server.accept()[0]
        self.connection.settimeout(2)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def send(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(len(data).to_bytes(2, "big") + data)

    def receive(self) -> bytes | None:
        """A message; None when the card's end hangs up."""
        assert self.connection is not None
        head = self.connection.recv(2, socket.MSG_WAITALL)
        if not head:
            return None
        return self.connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)

    def ask(self, data: bytes) -> bytes | None:
        self.send(data)
        return self.receive()


@pytest.fixture
def driver() -> Iterator[Driver]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        driver = Driver(server)
        yield driver
        driver.close()


@pytest.fixture
def slot(driver: Driver) -> Iterator[VirtualSlot]:
    with VirtualSlot(port=driver.port) as made:
        yield made


def test_the_card_answers_the_driver(driver: Driver, slot: VirtualSlot) -> None:
    card = RadioCard()
    slot.insert(card)
    driver.accept()
    assert driver.ask(b"\x04") == ATR
    driver.send(b"\x01")
    assert driver.ask(COMMAND) == COMMAND + b"\x90\x00"
    assert card.received == [COMMAND]


def test_power_off_and_reset_reach_the_card_and_are_not_answered(
    driver: Driver, slot: VirtualSlot
) -> None:
    card = RadioCard()
    slot.insert(card)
    driver.accept()
    driver.send(b"\x00")
    driver.send(b"\x01")
    driver.send(b"\x02")
    assert driver.ask(b"\x04") == ATR
    assert card.power_losses == 2


def test_a_message_is_understood_however_it_is_cut(driver: Driver, slot: VirtualSlot) -> None:
    slot.insert(RadioCard())
    driver.accept()
    assert driver.connection is not None
    for octet in len(COMMAND).to_bytes(2, "big") + COMMAND:
        driver.connection.sendall(bytes([octet]))
        time.sleep(0.002)
    assert driver.receive() == COMMAND + b"\x90\x00"


@pytest.mark.parametrize(
    ("command", "response"),
    [
        ("FF CA 00 00 00", UID.hex() + "9000"),
        ("FF CA 00 00", UID.hex() + "9000"),
        ("FF CA 00 00 07", UID.hex() + "9000"),
        ("FF CA 00 00 04", "6c07"),
        ("FF CA 00 00 0A", UID.hex() + "6282"),
        ("FF CA 00 00 01 00", "6700"),
        ("FF CA 01 00 00", "809000"),
        ("FF 00 40 00 00", "6a81"),
    ],
)
def test_the_reader_answers_its_own_commands(
    driver: Driver, slot: VirtualSlot, command: str, response: str
) -> None:
    card = RadioCard()
    slot.insert(card)
    driver.accept()
    assert driver.ask(bytes.fromhex(command)) == bytes.fromhex(response)
    assert card.received == []


def test_removal_hangs_up_and_a_new_card_calls_again(driver: Driver, slot: VirtualSlot) -> None:
    card = RadioCard()
    slot.insert(card)
    driver.accept()
    assert slot.remove() is card
    assert card.power_losses == 1
    assert driver.receive() is None
    assert slot.remove() is None
    slot.insert(RadioCard(uid=OTHER_UID))
    driver.accept()
    assert driver.ask(bytes.fromhex("FF CA 00 00 00")) == OTHER_UID + b"\x90\x00"


def test_a_card_behind_another_programs_is_not_noticed(driver: Driver, slot: VirtualSlot) -> None:
    with VirtualSlot(port=driver.port) as behind:
        slot.insert(RadioCard())
        driver.accept()
        behind.insert(RadioCard())
        assert driver.ask(b"\x04") == ATR
        assert slot.wait_until_noticed(2)
        assert not behind.wait_until_noticed(0.05)
        slot.remove()
        driver.accept()
        assert driver.ask(b"\x04") == ATR
        assert behind.wait_until_noticed(2)


def test_a_second_card_has_no_room(slot: VirtualSlot) -> None:
    slot.insert(RadioCard())
    with pytest.raises(ValueError, match="already"):
        slot.insert(RadioCard())


def test_a_card_that_loses_the_field_hangs_up(driver: Driver, slot: VirtualSlot) -> None:
    def lose(_frame: bytes) -> bytes:
        raise FieldLost

    slot.insert(RadioCard(lose))
    driver.accept()
    assert driver.ask(COMMAND) is None
    assert slot.wait_until_gone(2)
    slot.insert(RadioCard())
    driver.accept()
    assert driver.ask(COMMAND) == COMMAND + b"\x90\x00"


def test_a_mute_card_hangs_up_rather_than_answer_nothing(driver: Driver, slot: VirtualSlot) -> None:
    slot.insert(RadioCard(lambda _: b""))
    driver.accept()
    assert driver.ask(COMMAND) is None


def test_when_pcscd_ends_the_slot_is_free_again(driver: Driver, slot: VirtualSlot) -> None:
    slot.insert(RadioCard())
    driver.accept()
    assert driver.connection is not None
    driver.connection.close()
    assert slot.wait_until_gone(2)
    slot.insert(RadioCard())
    driver.accept()
    assert driver.ask(b"\x04") == ATR


def test_without_a_driver_insertion_fails_and_leaves_the_slot_empty() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    slot = VirtualSlot(port=port)
    with pytest.raises(OSError, match="refused"):
        slot.insert(RadioCard())
    assert slot.field.card is None


@pytest.mark.pcscd
@pytest.mark.xdist_group("pcscd")
def test_any_pcsc_program_talks_to_the_simulated_card(virtual_slot: VirtualSlot) -> None:
    assert is_running()
    assert virtual_port() == 35963
    virtual_slot.insert(SimulatedCard(UID))
    reader = open_reader(SLOT_READER)
    assert reader.wait_for_card(3)
    connection = reader.connect()
    assert connection.uid == UID
    assert connection.transmit(COMMAND) == bytes.fromhex("04 01 01 12 00 18 05 91 AF")
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        connection.transmit(bytes.fromhex("90 5A 00 00 03 00 00 00 00"))
        seconds.append(time.perf_counter() - started)
    # 0.11 ms on an idle machine; with a delayed acknowledgement it would be 40.
    assert statistics.median(seconds) < 0.005
    connection.disconnect()
    reader.close()
