"""The in-process reader, its card files, and the timing model."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dobmi.cardlib.errors import CardRemoved, GarbledResponse, NoCard, ReaderUnavailable
from dobmi.cardlib.readers import base
from dobmi.cardlib.readers.base import Signal
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.core import Work
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.firmware_sim.reader import CardFileReader, SimulatedReader
from dobmi.firmware_sim.timing import RadioTiming, TimedCard, frame_size_of

GET_FREE_MEMORY = bytes.fromhex("906E000000")
CREATE_APPLICATION = bytes.fromhex("90CA0000050100000F8100")


def test_reader_reports_arrival_and_removal_to_another_thread() -> None:
    reader = SimulatedReader()
    assert not reader.wait_for_card(0.01)
    with pytest.raises(NoCard):
        reader.connect()
    mover = threading.Timer(0.05, lambda: reader.insert(SimulatedCard()))
    mover.start()
    assert reader.wait_for_card(5)
    mover.join()
    assert not reader.wait_for_removal(0.01)
    mover = threading.Timer(0.05, reader.remove)
    mover.start()
    assert reader.wait_for_removal(5)
    mover.join()


def test_removed_card_is_card_removed_for_ever_on_its_connection() -> None:
    card = SimulatedCard()
    reader = SimulatedReader(card)
    connection = reader.connect()
    assert connection.uid == card.uid
    assert connection.transmit(GET_FREE_MEMORY) == bytes.fromhex("0014009100")
    assert reader.remove() is card
    reader.insert(card)
    for _ in range(2):
        with pytest.raises(CardRemoved):
            connection.transmit(GET_FREE_MEMORY)
    connection.disconnect()
    assert reader.connect().transmit(GET_FREE_MEMORY)[-2:] == b"\x91\x00"


@pytest.mark.parametrize(("moment", "made"), [(Moment.BEFORE, False), (Moment.AFTER, True)])
def test_fault_takes_the_card_away_before_or_after_it_acted(moment: Moment, made: bool) -> None:
    card = SimulatedCard()
    reader = SimulatedReader()
    reader.insert(card, [at_frame(1, moment)])
    connection = reader.connect()
    connection.transmit(GET_FREE_MEMORY)
    with pytest.raises(CardRemoved):
        connection.transmit(CREATE_APPLICATION)
    assert bool(card.state.applications) == made
    with pytest.raises(NoCard):
        reader.connect()


def test_answer_that_is_no_response_is_garbled() -> None:
    class Mumbling(SimulatedCard):
        def process(self, frame: bytes) -> bytes:
            return super().process(frame)[:1]

    with pytest.raises(GarbledResponse):
        SimulatedReader(Mumbling()).connect().transmit(b"\x90\x6e\x00\x00\x00")


def test_signals_are_kept() -> None:
    reader = SimulatedReader()
    reader.signal(Signal.SUCCESS)
    assert reader.signals == [Signal.SUCCESS]
    reader.close()


def test_sim_url_opens_a_card_file_and_keeps_what_happens_to_it(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    card = SimulatedCard()
    card.save(path)
    reader = base.open_reader(f"sim:{path}")
    assert str(path) in reader.name
    assert reader.wait_for_card(0)
    connection = reader.connect()
    assert connection.uid == card.uid
    assert connection.transmit(CREATE_APPLICATION) == b"\x91\x00"
    assert len(SimulatedCard.load(path).state.applications) == 1
    assert reader.wait_for_removal(0)
    with pytest.raises(CardRemoved):
        connection.transmit(GET_FREE_MEMORY)
    card.save(path)
    assert reader.wait_for_card(0)
    assert reader.connect().transmit(bytes.fromhex("906A000000")) == b"\x91\x00"


def test_sim_url_without_a_card_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(ReaderUnavailable) as caught:
        base.open_reader(f"sim:{path}")
    assert f"dobmi sim new {path}" in str(caught.value)
    assert not path.exists()
    with pytest.raises(ReaderUnavailable):
        base.open_reader("sim:")
    path.write_text("{}")
    with pytest.raises(ReaderUnavailable, match="no simulated card"):
        CardFileReader(path)


def test_bits_take_their_time_at_each_rate() -> None:
    slow = RadioTiming(106)
    assert slow.bit_seconds == pytest.approx(9.44e-6, rel=1e-3)
    assert RadioTiming(848).bit_seconds == pytest.approx(slow.bit_seconds / 8)
    with pytest.raises(ValueError, match="bit rate"):
        RadioTiming(100)


def test_payload_longer_than_a_frame_is_chained_and_acknowledged() -> None:
    timing = RadioTiming()
    whole = timing.transfer_seconds(61, 64)
    assert whole == pytest.approx(timing.frame_seconds(61))
    chained = timing.transfer_seconds(62, 64)
    assert chained == pytest.approx(
        timing.frame_seconds(61) + timing.frame_seconds(0) + timing.frame_seconds(1)
    )
    assert timing.transfer_seconds(0, 64) == pytest.approx(timing.frame_seconds(0))


def test_frame_size_is_read_from_the_answer_to_select() -> None:
    assert frame_size_of(bytes.fromhex("067577810280")) == 64
    assert frame_size_of(bytes.fromhex("067777710280")) == 128
    assert frame_size_of(bytes.fromhex("067877910280")) == 256
    assert frame_size_of(b"\x01") == 32


@pytest.mark.parametrize(
    ("rate", "published_seconds"), [(106, 0.130), (212, 0.080), (424, 0.052), (848, 0.043)]
)
def test_reading_a_kilobyte_takes_about_as_long_as_nxp_says(
    rate: int, published_seconds: float
) -> None:
    """Published with activation (about 13 ms); plain, 64-byte frames."""
    card = SimulatedCard()
    for frame in ("CA0100000F01", "5A010000", "CD0100EEEE000400"):
        assert card.process(bytes.fromhex(frame)) == b"\0"
    timed = TimedCard(card, RadioTiming(rate, reader_frame_size_bytes=64))
    answer = timed.process(bytes.fromhex("BD01000000000400"))
    while answer[0] == 0xAF:
        answer = timed.process(b"\xaf")
    assert timed.elapsed_seconds + 0.013 == pytest.approx(published_seconds, rel=0.25)
    assert (timed.exchanges, timed.bytes_sent) == (18, 8 + 17)
    assert timed.bytes_received == 1024 + 18


def test_work_is_priced_by_commands_authentication_and_pages() -> None:
    timing = RadioTiming()
    work = Work(commands=3, authentication_passes=2, eeprom_pages=4)
    assert timing.work_seconds(work) == pytest.approx(0.001 + 0.005 + 0.004)


def test_timed_card_really_waits_when_told_to() -> None:
    naps: list[float] = []
    timed = TimedCard(SimulatedCard(), sleep=naps.append)
    timed.process(GET_FREE_MEMORY)
    assert len(naps) == 1
    assert 0 < naps[0] <= timed.elapsed_seconds
    begun = time.perf_counter()
    timed = TimedCard(SimulatedCard(), sleep=time.sleep)
    timed.process(GET_FREE_MEMORY)
    assert time.perf_counter() - begun >= timed.elapsed_seconds
    timed.power_off()
    assert timed.ats == bytes.fromhex("067577810280")
    assert len(timed.uid) == 7
