"""How a printer is, and when it has taken a paper: at a port, at the end of a line, and gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import usb.core

from dobmi.terminal.errors import (
    BadPrinter,
    NoPrinter,
    PaperOut,
    PrinterCoverOpen,
    PrinterFault,
    PrinterGone,
    PrintFailed,
)
from dobmi.terminal.escpos_bytes import load_escpos, to_escpos
from dobmi.terminal.printer import (
    PrinterKind,
    PrinterState,
    Waits,
    deliver,
    kick_drawer,
    parse_printer,
    printer_status,
    shown_after,
    usb_printers,
)
from dobmi.terminal.receipt import sale_paper
from support.fake_printer import FakePrinter, NetworkPrinter, network_printer, serial_printer
from support.papers import SALE

RECEIPT = to_escpos(sale_paper(SALE, str), 32)
QUICK = Waits(
    connect_seconds=1,
    answer_seconds=0.3,
    send_seconds=0.5,
    printing_seconds=0.6,
    poll_seconds=0.05,
)


@pytest.fixture
def printer() -> Iterator[NetworkPrinter]:
    with network_printer() as plugged_in:
        yield plugged_in


class TestSetting:
    @pytest.mark.parametrize(
        ("setting", "kind"),
        [
            ("none", PrinterKind.NONE),
            ("usb:04b8:0e15", PrinterKind.USB),
            ("serial:/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0", PrinterKind.SERIAL),
            ("network:192.168.1.50:9100", PrinterKind.NETWORK),
            ("network:printer.local", PrinterKind.NETWORK),
            ("file:/dev/usb/lp0", PrinterKind.FILE),
        ],
    )
    def test_every_kind_is_understood(self, setting: str, kind: PrinterKind) -> None:
        address = parse_printer(setting)
        assert (address.kind, address.setting) == (kind, setting)

    def test_its_parts_are_what_is_opened(self) -> None:
        usb = parse_printer("usb:04b8:0e15?qr=native")
        assert (usb.vendor, usb.product, usb.native_qr) == (0x04B8, 0x0E15, True)
        serial = parse_printer("serial:/dev/ttyUSB0?baud=19200&answers=no")
        assert (serial.path, serial.baud, serial.answers) == (Path("/dev/ttyUSB0"), 19200, False)
        network = parse_printer("network:printer.local")
        assert (network.host, network.port) == ("printer.local", 9100)

    @pytest.mark.parametrize(
        "setting",
        [
            "", "usb", "usb:", "usb:04b8", "usb:04b8:xyz", "serial:", "network:", "network:a:0",
            "network:a:70000", "network:a b", "file:", "none:1", "lp:0", "network:a?baud=x",
            "network:a?colour=red", "serial:/dev/x?answers=maybe",
        ],
    )  # fmt: skip
    def test_anything_else_is_refused_with_the_ways_to_write_it(self, setting: str) -> None:
        with pytest.raises(BadPrinter) as caught:
            parse_printer(setting)
        assert "usb:04b8:0e15" in caught.value.advise()


class TestStatus:
    def status(self, printer: NetworkPrinter) -> PrinterState:
        return printer_status(parse_printer(printer.setting), QUICK).state

    def test_a_printer_says_how_it_is(self, printer: NetworkPrinter) -> None:
        assert self.status(printer) is PrinterState.READY
        printer.paper_low = True
        assert self.status(printer) is PrinterState.PAPER_LOW
        printer.cutter_jammed = True
        assert self.status(printer) is PrinterState.FAULT
        printer.cover_open = True
        assert self.status(printer) is PrinterState.COVER_OPEN
        printer.lines_left = 0
        assert self.status(printer) is PrinterState.PAPER_OUT

    def test_one_that_says_nothing_is_mute_and_can_print(self, printer: NetworkPrinter) -> None:
        printer.answers = False
        assert self.status(printer) is PrinterState.MUTE
        assert PrinterState.MUTE.can_print

    def test_one_that_is_away_is_gone_and_says_what_to_do(self, printer: NetworkPrinter) -> None:
        printer.unplug()
        shown = printer_status(parse_printer(printer.setting), QUICK)
        assert shown.state is PrinterState.GONE
        assert isinstance(shown.error, PrinterGone)
        assert "cable" in shown.error.advise()
        assert printer.setting in shown.error.explain()

    def test_none_is_none(self) -> None:
        shown = printer_status(parse_printer("none"))
        assert (shown.state, shown.error) == (PrinterState.NONE, None)

    @pytest.mark.parametrize(
        ("error", "state"),
        [
            (PaperOut(printer=""), PrinterState.PAPER_OUT),
            (PrinterCoverOpen(printer=""), PrinterState.COVER_OPEN),
            (PrinterFault(printer=""), PrinterState.FAULT),
            (PrinterGone(printer="", detail=""), PrinterState.GONE),
        ],
    )
    def test_what_it_failed_with_says_how_it_is(
        self, error: PrintFailed, state: PrinterState
    ) -> None:
        assert shown_after(parse_printer("none"), error).state is state


class TestDelivery:
    def send(self, printer: NetworkPrinter, waits: Waits = QUICK) -> tuple[PrinterState, int]:
        """Its state after that, and how often it began."""
        begun: list[None] = []
        address = parse_printer(printer.setting)
        state = deliver(RECEIPT, address, on_begin=lambda: begun.append(None), waits=waits)
        return state, len(begun)

    def test_a_paper_comes_out_whole(self, printer: NetworkPrinter) -> None:
        assert self.send(printer) == (PrinterState.READY, 1)
        (paper,) = printer.papers
        assert "Toko BMI Tigaraksa" in paper.texts
        assert paper.cuts == 1

    def test_it_has_been_printed_when_that_is_said(self, printer: NetworkPrinter) -> None:
        """Not only sent: the answer in turn comes after what came before it."""
        for count in range(1, 6):
            self.send(printer)
            assert len(printer.papers) == count

    @pytest.mark.parametrize(
        ("trouble", "error"),
        [
            ({"lines_left": 0}, PaperOut),
            ({"cover_open": True}, PrinterCoverOpen),
            ({"cutter_jammed": True}, PrinterFault),
        ],
    )
    def test_one_that_cannot_print_is_sent_nothing(
        self, printer: NetworkPrinter, trouble: dict[str, object], error: type[PrintFailed]
    ) -> None:
        for name, value in trouble.items():
            setattr(printer, name, value)
        begun: list[None] = []
        with pytest.raises(error):
            deliver(
                RECEIPT,
                parse_printer(printer.setting),
                on_begin=lambda: begun.append(None),
                waits=QUICK,
            )
        assert not begun
        assert printer.bytes_taken < 20

    def test_paper_that_ends_in_the_middle_is_noticed(self, printer: NetworkPrinter) -> None:
        printer.lines_left = 5
        with pytest.raises(PaperOut):
            self.send(printer)
        assert not printer.papers

    def test_low_paper_prints_and_says_so(self, printer: NetworkPrinter) -> None:
        printer.paper_low = True
        assert self.send(printer)[0].can_print
        assert len(printer.papers) == 1

    def test_one_that_does_not_know_the_answer_in_turn_has_it_when_it_stays_ready(
        self, printer: NetworkPrinter
    ) -> None:
        printer.answers_in_turn = False
        assert self.send(printer) == (PrinterState.READY, 1)

    @pytest.mark.parametrize("trouble", [{}, {"lines_left": 5}])
    def test_what_it_says_unasked_is_not_taken_for_an_answer(
        self, printer: NetworkPrinter, trouble: dict[str, object]
    ) -> None:
        printer.says_unasked = True
        printer.answers_in_turn = False
        for name, value in trouble.items():
            setattr(printer, name, value)
        if trouble:
            with pytest.raises(PaperOut):
                self.send(printer)
        else:
            assert self.send(printer) == (PrinterState.READY, 1)

    def test_one_that_says_nothing_has_it_when_it_took_every_byte(
        self, printer: NetworkPrinter
    ) -> None:
        printer.answers = False
        assert self.send(printer) == (PrinterState.MUTE, 1)
        assert len(printer.papers) == 1

    def test_one_that_goes_away_in_the_middle_is_gone(self, printer: NetworkPrinter) -> None:
        printer.dies_after = 500
        with pytest.raises(PrinterGone):
            self.send(printer)
        assert not printer.papers

    def test_one_that_takes_no_more_does_not_keep_the_till_waiting(
        self, printer: NetworkPrinter
    ) -> None:
        printer.answers = False
        printer.is_deaf = True
        address = parse_printer(printer.setting)
        with pytest.raises(PrinterGone):
            deliver(bytes(4_000_000), address, waits=QUICK)

    def test_where_none_is_set_nothing_is_printed(self) -> None:
        with pytest.raises(NoPrinter):
            deliver(RECEIPT, parse_printer("none"))
        with pytest.raises(NoPrinter):
            kick_drawer(parse_printer("none"))

    def test_the_drawer_opens(self, printer: NetworkPrinter) -> None:
        kick_drawer(parse_printer(printer.setting), QUICK)
        deadline = threading.Event()
        while not printer.drawer_kicks and not deadline.wait(0.01):
            assert printer.connections
        assert printer.drawer_kicks == 1

    def test_a_drawer_behind_a_printer_that_is_gone_is_not_opened(
        self, printer: NetworkPrinter
    ) -> None:
        printer.unplug()
        with pytest.raises(PrinterGone):
            kick_drawer(parse_printer(printer.setting), QUICK)


class TestLine:
    """A serial line, which is a pseudo-terminal here."""

    def test_a_paper_comes_out_whole(self) -> None:
        printer = FakePrinter()
        with serial_printer(printer) as device:
            address = parse_printer(f"serial:{device}?baud=115200")
            assert deliver(RECEIPT, address, waits=QUICK) is PrinterState.READY
        (paper,) = printer.papers
        assert "Toko BMI Tigaraksa" in paper.texts

    def test_a_line_with_nothing_at_its_end_is_a_printer_that_is_gone(self) -> None:
        printer = FakePrinter()
        printer.answers = False
        with serial_printer(printer) as device:
            with pytest.raises(PrinterGone):
                deliver(RECEIPT, parse_printer(f"serial:{device}"), waits=QUICK)
            assert not printer.papers

    def test_unless_the_settings_say_that_it_has_no_line_back(self) -> None:
        printer = FakePrinter()
        printer.answers = False
        with serial_printer(printer) as device:
            address = parse_printer(f"serial:{device}?baud=115200&answers=no")
            assert deliver(RECEIPT, address, waits=QUICK) is PrinterState.MUTE
        assert len(printer.papers) == 1

    def test_a_device_that_is_not_there_is_a_printer_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(PrinterGone):
            deliver(RECEIPT, parse_printer(f"serial:{tmp_path / 'ttyUSB0'}"), waits=QUICK)


class TestFile:
    def test_papers_are_written_one_after_the_other(self, tmp_path: Path) -> None:
        path = tmp_path / "papers"
        for _ in range(2):
            assert deliver(RECEIPT, parse_printer(f"file:{path}")) is PrinterState.MUTE
        assert path.read_bytes() == RECEIPT * 2

    def test_a_folder_that_is_not_there_is_a_printer_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(PrinterGone):
            deliver(RECEIPT, parse_printer(f"file:{tmp_path / 'no' / 'lp0'}"))


class FakeUsb:
    """A USB device of two interfaces, of which the second is a printer's."""

    class _Interface(list[SimpleNamespace]):
        def __init__(self, number: int, kind: int, *ends: int) -> None:
            super().__init__(SimpleNamespace(bEndpointAddress=end) for end in ends)
            self.bInterfaceNumber, self.bInterfaceClass = number, kind

    manufacturer, product = "EPSON", "TM-T20"
    idVendor, idProduct = 0x04B8, 0x0E15  # noqa: N815 - as the library names them

    def __init__(self, printer: FakePrinter, *, back: bool = True, unplugged: bool = False) -> None:
        ends = (0x03, 0x85) if back else (0x03,)
        self._configuration = [self._Interface(0, 3, 0x81), self._Interface(1, 7, *ends)]
        self._printer = printer
        self._unplugged = unplugged
        self._answers = b""
        self.detached: list[int] = []
        self.claimed: list[int] = []
        self._ctx = SimpleNamespace(
            managed_claim_interface=lambda _device, number: self.claimed.append(number),
            dispose=lambda _device: None,
        )

    def __iter__(self) -> Iterator[list[_Interface]]:
        yield self._configuration

    def is_kernel_driver_active(self, interface: int) -> bool:
        return interface not in self.detached

    def detach_kernel_driver(self, interface: int) -> None:
        self.detached.append(interface)

    def write(self, endpoint: int, data: bytes, timeout: int) -> int:
        assert endpoint == 0x03
        assert timeout > 0
        if self._unplugged:
            raise usb.core.USBError("No such device", errno=19)
        self._answers += self._printer.feed(data)
        return len(data)

    def read(self, endpoint: int, size: int, timeout: int) -> bytes:
        assert endpoint == 0x85
        assert timeout > 0
        if not self._answers:
            raise usb.core.USBTimeoutError("Operation timed out")
        found, self._answers = self._answers[:size], self._answers[size:]
        return found


class TestUsb:
    ADDRESS = parse_printer("usb:04b8:0e15")

    def plug_in(self, monkeypatch: pytest.MonkeyPatch, device: FakeUsb) -> None:
        def find(*, find_all: bool = False, **ids: int) -> object:
            if find_all:
                return iter([device])
            is_it = ids == {"idVendor": device.idVendor, "idProduct": device.idProduct}
            return device if is_it else None

        monkeypatch.setattr(usb.core, "find", find)

    @pytest.mark.parametrize("back", [True, False])
    def test_its_printer_interface_is_found_and_takes_the_paper(
        self, monkeypatch: pytest.MonkeyPatch, back: bool
    ) -> None:
        printer = FakePrinter()
        device = FakeUsb(printer, back=back)
        self.plug_in(monkeypatch, device)
        state = deliver(RECEIPT, self.ADDRESS, waits=QUICK)
        assert state is (PrinterState.READY if back else PrinterState.MUTE)
        assert len(printer.papers) == 1
        assert device.detached == device.claimed == [1]

    def test_without_paper_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        printer = FakePrinter()
        printer.lines_left = 0
        self.plug_in(monkeypatch, FakeUsb(printer))
        with pytest.raises(PaperOut):
            deliver(RECEIPT, self.ADDRESS, waits=QUICK)

    def test_unplugged_it_is_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plug_in(monkeypatch, FakeUsb(FakePrinter(), unplugged=True))
        with pytest.raises(PrinterGone):
            deliver(RECEIPT, self.ADDRESS, waits=QUICK)

    def test_it_is_listed_by_the_setting_that_names_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.plug_in(monkeypatch, FakeUsb(FakePrinter()))
        assert usb_printers() == (("usb:04b8:0e15", "EPSON TM-T20"),)


def test_a_usb_printer_that_is_not_plugged_in_is_gone() -> None:
    assert printer_status(parse_printer("usb:ffff:fffe"), QUICK).state is PrinterState.GONE


def test_python_escpos_leaves_no_folder_behind() -> None:
    assert not Path(load_escpos().capabilities.pickle_dir).exists()
