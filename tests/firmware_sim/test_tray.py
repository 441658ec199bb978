"""The reader whose cards another program lays down and lifts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dobmi.cardlib.errors import CardRemoved, ReaderUnavailable
from dobmi.cardlib.readers.base import Reader, Signal, open_reader
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment
from dobmi.firmware_sim.tray import TrayError, TrayHands

GET_FREE_MEMORY = bytes.fromhex("906E000000")
CREATE_APPLICATION = bytes.fromhex("90CA0000050100000F8100")
APPLICATION_IDS = bytes.fromhex("906A000000")
SOON_SECONDS = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # Longer than the path of a socket may be.
    made = tmp_path / ("reader" * 20)
    made.mkdir()
    return made


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card.json"
    SimulatedCard().save(path)
    return path


@pytest.fixture
def reader(folder: Path) -> Iterator[Reader]:
    opened = open_reader(f"sim:{folder}/")
    yield opened
    opened.close()


def test_a_card_is_laid_down_and_lifted_by_another_program(
    reader: Reader, folder: Path, card: Path
) -> None:
    hands = TrayHands(folder)
    assert hands.look().card is None
    assert not reader.wait_for_card(0.01)
    assert hands.tap(card).card == card
    assert reader.wait_for_card(SOON_SECONDS)
    connection = reader.connect()
    assert connection.transmit(GET_FREE_MEMORY)[-2:] == b"\x91\x00"
    hands.lift()
    assert reader.wait_for_removal(SOON_SECONDS)
    with pytest.raises(CardRemoved):
        connection.transmit(GET_FREE_MEMORY)


def test_what_the_card_has_written_is_in_its_file_when_it_is_tapped_again(
    reader: Reader, folder: Path, card: Path
) -> None:
    hands = TrayHands(folder)
    for expected in (b"", bytes.fromhex("010000")):
        hands.tap(card)
        reader.wait_for_card(SOON_SECONDS)
        connection = reader.connect()
        assert connection.transmit(APPLICATION_IDS) == expected + b"\x91\x00"
        connection.transmit(CREATE_APPLICATION)
        hands.lift()


@pytest.mark.parametrize(("moment", "made"), [(Moment.BEFORE, False), (Moment.AFTER, True)])
def test_a_card_can_be_pulled_away_at_an_exchange(
    reader: Reader, folder: Path, card: Path, moment: Moment, made: bool
) -> None:
    hands = TrayHands(folder)
    hands.tap(card, pull_at=1, moment=moment)
    reader.wait_for_card(SOON_SECONDS)
    connection = reader.connect()
    connection.transmit(GET_FREE_MEMORY)
    with pytest.raises(CardRemoved):
        connection.transmit(CREATE_APPLICATION)
    assert hands.look().card is None
    assert bool(SimulatedCard.load(card).state.applications) is made


def test_a_card_is_lifted_by_itself_after_its_time(
    reader: Reader, folder: Path, card: Path
) -> None:
    TrayHands(folder).tap(card, hold_seconds=0.05)
    assert reader.wait_for_card(SOON_SECONDS)
    assert reader.wait_for_removal(SOON_SECONDS)


def test_the_hand_sees_the_light_and_the_tone(reader: Reader, folder: Path) -> None:
    reader.signal(Signal.READY)
    reader.signal(Signal.SUCCESS)
    assert TrayHands(folder).look().signals == (Signal.READY, Signal.SUCCESS)


def test_an_unplugged_reader_is_gone_also_amid_exchanges_and_comes_back_empty(
    folder: Path, card: Path
) -> None:
    hands = TrayHands(folder)
    reader = open_reader(f"sim:{folder}")
    hands.tap(card)
    connection = reader.connect()
    hands.unplug()
    for used in (
        lambda: connection.transmit(GET_FREE_MEMORY),
        lambda: reader.wait_for_card(0),
        lambda: reader.wait_for_removal(0),
        lambda: reader.signal(Signal.READY),
        reader.connect,
        lambda: open_reader(f"sim:{folder}"),
    ):
        with pytest.raises(ReaderUnavailable):
            used()
    reader.close()
    reader.close()
    hands.plug()
    again = open_reader(f"sim:{folder}")
    assert not again.wait_for_card(0)
    again.close()


def test_one_program_has_the_reader_and_another_may_have_it_after(
    reader: Reader, folder: Path
) -> None:
    with pytest.raises(ReaderUnavailable):
        open_reader(f"sim:{folder}")
    reader.close()
    open_reader(f"sim:{folder}").close()


def test_the_hand_waits_for_a_reader_and_says_so_when_none_comes(
    folder: Path, card: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrayError, match="no program has the reader"):
        TrayHands(folder).look()
    with pytest.raises(TrayError):
        TrayHands(tmp_path / "nothing").unplug()
    opened: list[Reader] = []
    opener = threading.Timer(0.1, lambda: opened.append(open_reader(f"sim:{folder}")))
    opener.start()
    assert TrayHands(folder, wait_seconds=SOON_SECONDS).tap(card).card == card
    opener.join()
    opened[0].close()


def test_what_cannot_be_laid_down_is_said(reader: Reader, folder: Path, card: Path) -> None:
    hands = TrayHands(folder)
    with pytest.raises(TrayError, match=r"nothing\.json"):
        hands.tap(folder / "nothing.json")
    hands.tap(card)
    with pytest.raises(TrayError, match="already"):
        hands.tap(card)
    assert reader.wait_for_card(0)
