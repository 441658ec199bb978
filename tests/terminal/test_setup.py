"""Set-up: readers and printers found and tried, and a settings file that is never half or wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dobmi.cardlib.errors import CardRemoved, NotOurCard, ReaderUnavailable
from dobmi.cardlib.inspection import CardState
from dobmi.cardlib.readers import nfc, pcsc
from dobmi.cardlib.readers.base import Signal
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.i18n import translation
from dobmi.settings import BadSettings, FileUnusable, PlainHttp, load_settings
from dobmi.terminal.errors import BadPrinter, NoCardCame, NoPrinter, PrinterGone
from dobmi.terminal.printer import PrinterState
from dobmi.terminal.setup import (
    FoundPrinter,
    change_settings,
    find_printers,
    find_readers,
    try_printer,
    try_reader,
)
from support.tills import card_with

WRITTEN = """\
# Kasir depan, toko Cikupa
language = "id"

[terminal]
reader = "pcsc:"   # the grey one
cashier = "Rina"

[central]
port = 8440
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dobmi.toml"
    path.write_text(WRITTEN)
    return path


class TestReaders:
    def test_both_ways_are_searched_and_what_stops_one_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_service() -> list[str]:
            raise ReaderUnavailable(detail="no pcscd")

        monkeypatch.setattr(pcsc, "list_readers", no_service)
        monkeypatch.setattr(nfc, "list_readers", lambda: ["usb:072f:2200"])
        found = find_readers()
        assert [(one.url, one.name) for one in found.readers] == [
            ("nfc:usb:072f:2200", "USB 072f:2200")
        ]
        assert [problem.code for problem in found.problems] == ["READER-UNAVAILABLE"]

    def test_pcsc_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pcsc, "list_readers", lambda: ["ACS ACR122U 00 00"])
        monkeypatch.setattr(nfc, "list_readers", lambda: ["usb:072f:2200"])
        assert [one.url for one in find_readers().readers] == [
            "pcsc:ACS ACR122U 00 00",
            "nfc:usb:072f:2200",
        ]

    def test_searching_never_raises_on_this_machine(self) -> None:
        found = find_readers()
        assert len(found.problems) <= 2

    @pytest.mark.parametrize(
        ("card", "state"), [(SimulatedCard, CardState.BLANK), (card_with, CardState.PURSE)]
    )
    def test_a_card_is_told_without_any_key(
        self, card: Callable[[], SimulatedCard], state: CardState
    ) -> None:
        reader = HeardReader()
        laid = card()
        reader.insert(laid)
        found = try_reader("sim:", 0.01, lambda _: reader)
        assert found.uid == laid.uid
        assert found.card is not None
        assert found.card.state is state
        assert reader.heard == [Signal.READY, Signal.SUCCESS]
        assert reader.is_closed

    def test_no_card_is_said_so(self) -> None:
        reader = HeardReader()
        with pytest.raises(NoCardCame):
            try_reader("sim:", 0.01, lambda _: reader)
        assert reader.is_closed

    def test_a_card_pulled_away_or_no_desfire_shows_that_the_reader_works(self) -> None:
        reader = HeardReader()
        reader.insert(SimulatedCard(), [at_command(0x60, Moment.BEFORE)])
        found = try_reader("sim:", 0.01, lambda _: reader)
        assert found.card is None
        assert isinstance(found.problem, CardRemoved | NotOurCard)
        assert reader.heard[-1] is Signal.FAILURE


class HeardReader(SimulatedReader):
    """Keeps what its light and buzzer said."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Signal] = []
        self.is_closed = False

    def signal(self, signal: Signal) -> None:
        self.heard.append(signal)

    def close(self) -> None:
        self.is_closed = True
        super().close()


class TestPrinters:
    def test_what_the_system_has_is_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "dobmi.terminal.setup.usb_printers", lambda: (("usb:04b8:0e15", "EPSON TM-T20"),)
        )
        (tmp_path / "usb").mkdir()
        (tmp_path / "usb" / "lp0").touch()
        (tmp_path / "serial" / "by-id").mkdir(parents=True)
        (tmp_path / "serial" / "by-id" / "usb-Prolific-port0").touch()
        assert find_printers(tmp_path) == (
            FoundPrinter(setting="usb:04b8:0e15", name="EPSON TM-T20"),
            FoundPrinter(setting=f"file:{tmp_path}/usb/lp0", name="lp0"),
            FoundPrinter(
                setting=f"serial:{tmp_path}/serial/by-id/usb-Prolific-port0",
                name="usb-Prolific-port0",
            ),
        )

    def test_a_test_page_is_printed(self, tmp_path: Path) -> None:
        paper = tmp_path / "paper"
        paper.touch()
        state = try_printer(f"file:{paper}", 32, 1_790_000_000, translation("en").gettext)
        assert state is PrinterState.MUTE
        assert b"TEST PAGE" in paper.read_bytes()
        assert b"12345678901234567890123456789012" in paper.read_bytes()

    def test_no_printer_a_wrong_one_and_one_that_is_gone_are_told_apart(
        self, tmp_path: Path
    ) -> None:
        for setting, error in (
            ("none", NoPrinter),
            ("usb:", BadPrinter),
            (f"file:{tmp_path}/no/such", PrinterGone),
        ):
            with pytest.raises(error):
                try_printer(setting, 32, 0, str)


class TestSettings:
    def test_what_is_changed_changes_and_all_else_stays(self, file: Path) -> None:
        change_settings(
            file,
            {
                "terminal.reader": "nfc:usb",
                "language": "en",
                "terminal.printer": "none",
                "central.port": None,
            },
        )
        assert file.read_text() == WRITTEN.replace('"pcsc:"   #', '"nfc:usb"   #').replace(
            'language = "id"', 'language = "en"'
        ).replace('cashier = "Rina"\n', 'cashier = "Rina"\nprinter = "none"\n').replace(
            "port = 8440\n", ""
        )
        read = load_settings(file)
        assert (read.language, read.terminal.reader) == ("en", "nfc:usb")
        assert read.file == file

    def test_a_file_that_is_not_there_is_made_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "dobmi.toml"
        change_settings(path, {"terminal.server": "https://pusat.example"})
        assert load_settings(path).terminal.server == "https://pusat.example"
        assert path.stat().st_mode & 0o777 == 0o600

    def test_the_mode_of_a_file_that_is_there_stays(self, file: Path) -> None:
        file.chmod(0o640)
        change_settings(file, {"language": "en"})
        assert file.stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"terminal.server": "http://pusat.example"}, PlainHttp),
            ({"language": "fr"}, BadSettings),
            ({"terminal.unknown": 1}, BadSettings),
            ({"terminal.cashier": ""}, BadSettings),
            ({"language.id": "en"}, BadSettings),
        ],
    )
    def test_what_the_program_could_not_read_is_not_written(
        self, file: Path, changes: dict[str, str | int], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            change_settings(file, changes)
        assert file.read_text() == WRITTEN
        assert [path.name for path in file.parent.iterdir()] == ["dobmi.toml"]

    def test_a_file_that_is_no_toml_is_left_alone(self, file: Path) -> None:
        file.write_text("language = ")
        with pytest.raises(BadSettings):
            change_settings(file, {"language": "en"})
        assert file.read_text() == "language = "

    def test_a_folder_that_cannot_be_written_is_said_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(FileUnusable):
            change_settings(tmp_path / "file" / "dobmi.toml", {"language": "en"})

    def test_a_power_cut_leaves_the_old_file_or_the_new_one(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new one is on the disk before it takes the old one's place."""
        synced: list[bytes] = []
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name.encode())
            assert file.read_text() == (WRITTEN if len(synced) == 1 else file.read_text())
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", watched)
        change_settings(file, {"language": "en"})
        assert synced == [b"dobmi.toml.new", file.parent.name.encode()]

    @settings(max_examples=30)
    @given(
        st.text(
            st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Cf"]),
            min_size=1,
            max_size=80,
        )
    )
    def test_any_name_comes_back_as_it_was_typed(self, name: str) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "dobmi.toml"
            path.write_text(WRITTEN)
            change_settings(path, {"terminal.cashier": name})
            assert load_settings(path).terminal.cashier == name
