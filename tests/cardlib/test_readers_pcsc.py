"""What is particular to the PC/SC reader; what it shares is in test_reader_contract.py."""

from __future__ import annotations

import builtins
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from dobmi.cardlib.errors import CardRemoved, GarbledResponse, NoCard, ReaderUnavailable
from dobmi.cardlib.readers import Signal
from dobmi.cardlib.readers.base import open_reader as open_url
from dobmi.cardlib.readers.pcsc import (
    CARD_GONE,
    PcscConnection,
    Service,
    choose_reader,
    feedback_of,
    open_reader,
)
from dobmi.firmware_sim.vpcd import VirtualSlot
from support.pcscd import SLOT_READER, PcscService
from support.radio_cards import COMMAND, OTHER_UID, UID, RadioCard

NAMES = [
    "ACS ACR1252 Dual Reader [SAM] 01 00",
    "ACS ACR1252 Dual Reader [PICC] 00 00",
    "Virtual PCD",
]
in_pcscd = [pytest.mark.pcscd, pytest.mark.xdist_group("pcscd")]


def test_a_part_of_the_name_in_any_case_chooses_the_reader() -> None:
    assert choose_reader(NAMES, "virtual") == NAMES[2]
    assert choose_reader(NAMES, "picc") == NAMES[1]


def test_without_a_name_the_first_reader_for_cards_is_chosen() -> None:
    assert choose_reader(NAMES, "") == NAMES[1]
    assert choose_reader(NAMES[:1], "") == NAMES[0]


def test_a_name_that_no_reader_has_lists_the_readers() -> None:
    with pytest.raises(ReaderUnavailable) as caught:
        choose_reader(NAMES, "omnikey")
    assert all(name in str(caught.value) for name in [*NAMES, "omnikey"])


def test_no_reader_at_all_is_said() -> None:
    with pytest.raises(ReaderUnavailable, match="no reader is connected"):
        choose_reader([], "")


class FakeScard(ModuleType):
    """pyscard's functions as far as a connection calls them, with set answers."""

    SCARD_PCI_T0, SCARD_PCI_T1, SCARD_PROTOCOL_T0 = 1, 2, 1

    def __init__(self, *answers: tuple[int, list[int]]) -> None:
        super().__init__("scard")
        self.answers = list(answers)
        self.disconnected: list[tuple[int, int]] = []

    def SCardTransmit(self, *_: object) -> tuple[int, list[int]]:  # noqa: N802 - PC/SC's name
        return self.answers.pop(0)

    def SCardDisconnect(self, card: int, disposition: int) -> int:  # noqa: N802 - likewise
        self.disconnected.append((card, disposition))
        return 0

    def SCardGetErrorMessage(self, _: int) -> str:  # noqa: N802 - likewise
        return "as PC/SC explains it"

    def SCardReleaseContext(self, _: int) -> int:  # noqa: N802 - likewise
        return 0


def connection_on(scard: FakeScard) -> PcscConnection:
    scard.answers.insert(0, (0, [*UID, 0x90, 0x00]))
    connection = PcscConnection(Service(scard), 77, 2)
    connection.read_uid()
    return connection


def signed(code: int) -> int:
    """As pyscard gives codes: negative from 0x80000000."""
    return code - (1 << 32)


@pytest.mark.parametrize("code", sorted(CARD_GONE))
def test_every_code_of_a_card_that_left_is_card_removed(code: int) -> None:
    scard = FakeScard((signed(code), []))
    connection = connection_on(scard)
    for _ in range(2):
        with pytest.raises(CardRemoved):
            connection.transmit(COMMAND)
    assert scard.disconnected == [(77, 0)]


def test_success_without_any_byte_is_card_removed() -> None:
    with pytest.raises(CardRemoved):
        connection_on(FakeScard((0, []))).transmit(COMMAND)


@pytest.mark.parametrize(
    ("uid_answer", "error"),
    [
        ((0, [*UID, 0x90, 0x00]), GarbledResponse),
        ((0, [*OTHER_UID, 0x90, 0x00]), CardRemoved),
        ((signed(0x80100016), []), CardRemoved),
        ((0, []), CardRemoved),
    ],
)
def test_one_byte_is_garbled_from_a_card_that_is_there_and_else_card_removed(
    uid_answer: tuple[int, list[int]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        connection_on(FakeScard((0, [0x91]), uid_answer)).transmit(COMMAND)


@pytest.mark.parametrize("code", [0x8010001D, 0x8010001E, 0x80100003, 0x80100017, 0x80100013])
def test_a_service_or_reader_that_is_gone_is_reader_unavailable(code: int) -> None:
    with pytest.raises(ReaderUnavailable, match="as PC/SC explains it"):
        connection_on(FakeScard((signed(code), []))).transmit(COMMAND)


def test_a_reader_that_tells_no_uid_is_refused() -> None:
    connection = PcscConnection(Service(FakeScard((0, [0x6A, 0x81]))), 77, 2)
    with pytest.raises(ReaderUnavailable, match="no contactless reader"):
        connection.read_uid()


def test_only_readers_with_lights_get_commands_for_them() -> None:
    assert feedback_of("Virtual PCD 00 00", Signal.SUCCESS) == ()
    (success,) = feedback_of("ACS ACR122U PICC Interface 00 00", Signal.SUCCESS)
    assert success.command == bytes.fromhex("FF 00 40 0E 04 01 00 01 01")
    assert success.by_apdu
    light, sound = feedback_of("ACS ACR1252 Dual Reader [PICC] 00 00", Signal.FAILURE)
    assert light.command == bytes.fromhex("E0 00 00 29 01 01")
    assert sound.command == bytes.fromhex("E0 00 00 28 01 3C")


def test_without_pyscard_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def without_pyscard(name: str, *rest: Any, **named: Any) -> ModuleType:
        if name.startswith("smartcard"):
            raise ImportError(name)
        return genuine(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_pyscard)
    with pytest.raises(ReaderUnavailable, match=r"dobmi\[pcsc\]"):
        open_reader("")


def test_a_pcsc_reader_loads_nothing_of_nfcpy() -> None:
    code = "import sys, dobmi.cardlib.readers.pcsc, smartcard.scard; sys.exit('nfc' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestInPcscd:
    pytestmark = in_pcscd

    def test_the_url_opens_the_virtual_reader(self, virtual_slot: VirtualSlot) -> None:
        reader = open_url("pcsc:virtual pcd 00 01")
        assert reader.name == SLOT_READER
        assert virtual_slot.field.card is None
        reader.close()

    def test_another_program_on_the_card_is_said(self, virtual_slot: VirtualSlot) -> None:
        virtual_slot.insert(RadioCard())
        one, other = open_reader(SLOT_READER), open_reader(SLOT_READER)
        assert one.wait_for_card(3)
        held = one.connect()
        with pytest.raises(ReaderUnavailable, match="another program"):
            other.connect()
        held.disconnect()
        assert other.connect().uid == UID
        one.close()
        other.close()

    def test_a_card_that_pcscd_did_not_see_change_shows_its_own_uid_on_connect(
        self, virtual_slot: VirtualSlot
    ) -> None:
        virtual_slot.insert(RadioCard())
        reader = open_reader(SLOT_READER)
        assert reader.wait_for_card(3)
        assert reader.connect().uid == UID
        virtual_slot.swap(RadioCard(uid=OTHER_UID))
        assert reader.connect().uid == OTHER_UID
        reader.close()

    def test_disconnect_does_not_reset_the_card(self, virtual_slot: VirtualSlot) -> None:
        card = RadioCard()
        virtual_slot.insert(card)
        reader = open_reader(SLOT_READER)
        assert reader.wait_for_card(3)
        reader.connect()
        losses = card.power_losses
        reader.connect().disconnect()
        reader.connect().transmit(COMMAND)
        assert card.power_losses == losses
        reader.close()

    def test_a_restart_of_pcscd_is_survived(
        self, pcsc_service: PcscService, virtual_slot: VirtualSlot
    ) -> None:
        if not pcsc_service.is_ours_alone():
            pytest.skip("others use this pcscd: it is not ours to stop")
        virtual_slot.insert(RadioCard())
        reader = open_reader(SLOT_READER)
        assert reader.wait_for_card(3)
        connection = reader.connect()
        pcsc_service.current.stop()
        with pytest.raises(ReaderUnavailable):
            connection.transmit(COMMAND)
        with pytest.raises(ReaderUnavailable):
            reader.wait_for_card(1)
        with pytest.raises(ReaderUnavailable):
            reader.connect()
        pcsc_service.restart()
        with pytest.raises(NoCard):
            reader.connect()
        assert virtual_slot.wait_until_gone(2)
        virtual_slot.insert(RadioCard(uid=OTHER_UID))
        assert reader.wait_for_card(3)
        again = reader.connect()
        assert again.uid == OTHER_UID
        assert again.transmit(COMMAND) == COMMAND + b"\x90\x00"
        reader.close()

    def test_a_restart_between_two_calls_goes_unnoticed(
        self, pcsc_service: PcscService, virtual_slot: VirtualSlot
    ) -> None:
        if not pcsc_service.is_ours_alone():
            pytest.skip("others use this pcscd: it is not ours to stop")
        reader = open_reader(SLOT_READER)
        pcsc_service.current.stop()
        pcsc_service.restart()
        virtual_slot.insert(RadioCard())
        assert reader.wait_for_card(3)
        assert reader.connect().uid == UID
        reader.close()
