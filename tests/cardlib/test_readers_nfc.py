"""What is particular to nfcpy's readers; what they share is in test_reader_contract.py."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dobmi.cardlib.errors import CardRemoved, GarbledResponse, NotOurCard, ReaderUnavailable
from dobmi.cardlib.readers.base import open_reader as open_url
from dobmi.cardlib.readers.nfc import NfcReader, open_reader, parse_ats
from dobmi.firmware_sim.iso14443_4 import Picc
from dobmi.firmware_sim.pn532 import PN532
from support.radio_cards import COMMAND, UID, RadioCard


@pytest.fixture
def pn532() -> Iterator[PN532]:
    with PN532() as simulated:
        yield simulated


@pytest.fixture
def reader(pn532: PN532) -> Iterator[NfcReader]:
    opened = open_reader(f"pn532:{pn532.path}")
    yield opened
    opened.close()


@pytest.mark.parametrize("url", ["nfc:pn532:{path}", "nfc:tty:{path}:pn532", "nfc:tty:{path}"])
def test_a_pseudo_terminal_is_named_in_each_way(pn532: PN532, url: str) -> None:
    reader = open_url(url.format(path=pn532.path))
    assert reader.name == f"PN532v1.6 at {pn532.path}"
    reader.close()


def test_a_reader_is_opened_again_after_closing(pn532: PN532) -> None:
    pn532.insert(RadioCard())
    for _ in range(2):
        reader = open_reader(f"pn532:{pn532.path}")
        assert reader.connect().uid == UID
        reader.close()


@pytest.mark.parametrize(
    ("rest", "detail"),
    [
        ("pn532:/dev/null", "Could not configure port"),
        ("pn532:/dev/no-such-port", "no-such-port"),
        ("pn999:/dev/null", "no driver 'pn999'"),
        ("usb:ffff:ffff", "no reader at 'usb:ffff:ffff'"),
        ("nonsense", "no reader at 'nonsense'"),
    ],
)
def test_a_reader_that_is_not_there_is_unavailable(rest: str, detail: str) -> None:
    with pytest.raises(ReaderUnavailable) as caught:
        open_reader(rest)
    assert detail in str(caught.value)


def test_a_port_where_nobody_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with PN532() as mute:
        monkeypatch.setattr(mute, "_handle", lambda _: None)
        with pytest.raises(ReaderUnavailable, match=f"no pn532 answers at {mute.path}"):
            open_reader(f"pn532:{mute.path}")


def test_without_nfcpy_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = importlib.import_module

    def without_nfcpy(name: str) -> ModuleType:
        if name.startswith("nfc"):
            raise ImportError(name)
        return genuine(name)

    monkeypatch.setattr(importlib, "import_module", without_nfcpy)
    with pytest.raises(ReaderUnavailable, match=r"dobmi\[nfc\]"):
        open_reader("usb")


def test_an_nfc_reader_loads_nothing_of_pyscard() -> None:
    code = (
        "import sys, dobmi.cardlib.readers.nfc as r; r._import_nfcpy();"
        "sys.exit('smartcard' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_unplugged_is_unavailable_and_not_a_card_removed(pn532: PN532) -> None:
    pn532.insert(RadioCard())
    reader = open_reader(f"pn532:{pn532.path}")
    connection = reader.connect()
    pn532.close()
    with pytest.raises(ReaderUnavailable):
        connection.transmit(COMMAND)
    with pytest.raises(ReaderUnavailable):
        reader.wait_for_card(1)
    with pytest.raises(ReaderUnavailable):
        reader.connect()
    reader.close()


def test_a_reader_plugged_in_again_is_found_again(tmp_path: Path) -> None:
    port = tmp_path / "reader"
    first = PN532(RadioCard()).start()
    port.symlink_to(first.path)
    reader = open_reader(f"pn532:{port}")
    connection = reader.connect()
    first.close()
    with pytest.raises(ReaderUnavailable):
        reader.connect()
    with pytest.raises(ReaderUnavailable):
        reader.wait_for_card(1)
    port.unlink()
    with PN532(RadioCard()) as second:
        port.symlink_to(second.path)
        with pytest.raises(CardRemoved):
            connection.transmit(COMMAND)
        assert reader.connect().transmit(COMMAND) == COMMAND + b"\x90\x00"
        reader.close()


def test_a_card_that_works_longer_than_its_waiting_time_is_not_taken_for_gone(
    pn532: PN532, reader: NfcReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FormatPICC or ChangeKey on a real card asks for more time, block by block."""
    genuine = Picc.__init__

    def with_extensions(self: Picc, answer: object, ats: bytes, **named: object) -> None:
        genuine(self, answer, ats, waiting_extensions=lambda _: 3, **named)  # type: ignore[arg-type]  # passes on what it was given

    monkeypatch.setattr(Picc, "__init__", with_extensions)
    pn532.insert(RadioCard())
    assert reader.connect().transmit(COMMAND) == COMMAND + b"\x90\x00"


def test_a_pulled_card_is_known_after_little_more_than_one_waiting_time(
    pn532: PN532, reader: NfcReader
) -> None:
    seconds = []
    for _ in range(3):
        pn532.insert(RadioCard())
        connection = reader.connect()
        pn532.remove()
        started = time.monotonic()
        with pytest.raises(CardRemoved):
            connection.transmit(COMMAND)
        seconds.append(time.monotonic() - started)
    # FWI 8 is 77 ms, which the driver rounds up to 102; three of them would be 306.
    assert 0.1 < min(seconds) < 0.25


def test_the_card_found_while_waiting_is_the_one_connected_without_another_reset(
    pn532: PN532, reader: NfcReader
) -> None:
    card = RadioCard()
    pn532.insert(card)
    assert reader.wait_for_card(1)
    losses = card.power_losses
    reader.connect()
    assert card.power_losses == losses


def test_a_card_exchanged_between_waiting_and_connecting_is_found_as_itself(
    pn532: PN532, reader: NfcReader
) -> None:
    pn532.insert(RadioCard())
    assert reader.wait_for_card(1)
    pn532.remove()
    pn532.insert(RadioCard(uid=b"\x04" + bytes(6)))
    assert reader.connect().uid == b"\x04" + bytes(6)


def test_a_card_without_iso_dep_is_not_ours(
    pn532: PN532, reader: NfcReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = pn532.chip._find

    # SEL_RES 08, as a MIFARE Classic's.
    def find(uid: bytes) -> object:
        found = genuine(uid)
        return found and (found[0], found[1][:2] + b"\x08" + found[1][3:])

    monkeypatch.setattr(pn532.chip, "_find", find)
    pn532.insert(RadioCard())
    with pytest.raises(NotOurCard):
        reader.connect()


@pytest.mark.parametrize(
    ("ats", "size", "seconds"),
    [
        ("06 75 77 81 02 80", 64, 0.0773),
        ("05 78 80 70 02", 256, 0.0387),
        ("01", 32, 0.00483),
        ("02 05", 64, 0.00483),
        ("03 25 E0", 64, 4.949),
        ("03 2F F0", 256, 0.00483),
    ],
)
def test_an_answer_to_select_gives_frame_size_and_waiting_time(
    ats: str, size: int, seconds: float
) -> None:
    found = parse_ats(bytes.fromhex(ats))
    assert found[0] == size
    assert found[1] == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize("ats", ["", "06", "03 75", "03 75 77", "02 25"])
def test_a_cut_answer_to_select_is_garbled(ats: str) -> None:
    with pytest.raises(GarbledResponse):
        parse_ats(bytes.fromhex(ats))
