"""`dobmi terminal print`, and the papers of the commands that sell and give back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.cardlib.readers.base import open_reader
from dobmi.central.proofs import ProofState, proof_of
from dobmi.terminal.lock import TillLock
from dobmi.terminal.print_queue import PrintLock
from support.escpos_picture import print_out, read_codes
from support.fake_printer import NetworkPrinter, network_printer
from support.till_commands import Counter, row, till_at_work


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """Made once: each test sells at a copy of this till. Only one of them may sync."""
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        till_at_work(tmp_path_factory.mktemp("till"), monkeypatch) as made,
    ):
        yield made


@pytest.fixture
def counter(tmp_path: Path, enrolled: Counter) -> Counter:
    folder = tmp_path / "till"
    shutil.copytree(enrolled.folder, folder)
    copy = replace(enrolled, folder=folder)
    copy.settings()
    return copy


@pytest.fixture
def printer(monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkPrinter]:
    """Set in the till's settings."""
    with network_printer() as plugged_in:
        monkeypatch.setenv("DOBMI_TERMINAL__PRINTER", plugged_in.setting)
        yield plugged_in


class TestPapers:
    def test_a_sale_prints_the_receipt_that_the_screen_shows(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        output = counter.run("sell", "--item", "Beras 5 kg=20.000", "--qty", "2")
        (paper,) = printer.papers
        assert paper.cuts == 1
        assert row(output, "TOTAL") == row(paper.text, "TOTAL") == "Rp 40.000"
        assert row(output, "Balance after") == row(paper.text, "Balance after") == "Rp 60.000"

    def test_the_code_on_it_opens_the_servers_page_of_that_sale(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        output = counter.run("sell", "12500")
        counter.run("sync")
        (code,) = read_codes(printer.papers[0].picture())
        assert code in output
        proof = proof_of(counter.central, code.rpartition("/")[2])
        assert (proof.state, proof.sequence, proof.amount.amount) == (ProofState.PAID, 1, 12_500)

    def test_a_sale_in_json_is_printed_too_and_the_object_stays_one(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        assert counter.json("sell", "12500")["paid"] is True
        assert len(printer.papers) == 1

    def test_no_card_number_stands_on_the_paper(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        uid = counter.json("sell", "12500")["card_uid"]
        assert len(uid) == 14
        assert uid not in printer.papers[0].text.upper()

    def test_a_refund_is_printed_with_when_the_money_comes(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        counter.run("sell", "12500")
        counter.run("refund", "1", "--reason", "rusak")
        paper = printer.papers[1]
        assert row(paper.text, "TO BE CREDITED") == "Rp 12.500"
        assert "NOT ON THE CARD YET" in " ".join(paper.text.split())

    def test_a_printer_that_is_away_costs_the_sale_nothing(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        printer.unplug()
        output = counter.run("sell", "12500")
        assert "PAID\n" in output
        assert "[PRINT-GONE]" in output
        assert "money" not in output.partition("[PRINT-GONE]")[2]
        assert counter.balance == 87_500

    def test_a_till_without_a_printer_keeps_no_list_of_papers(self, counter: Counter) -> None:
        counter.run("sell", "12500")
        assert counter.run("print", "list") == "No paper yet.\n"
        assert counter.json("print", "list") == {"papers": []}


class TestList:
    def test_what_waits_is_printed_on_demand(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        printer.unplug()
        counter.run("sell", "500")
        listed = counter.run("print", "list")
        assert "waits  receipt 1" in listed
        assert "the last try: PRINT-GONE" in listed
        assert "[PRINT-GONE]" in counter.run("print", "retry", code=1)
        printer.plug_in()
        assert counter.run("print", "retry") == "Papers printed: 1\n"
        assert len(printer.papers) == 1
        (paper,) = counter.json("print", "list")["papers"]
        assert (paper["kind"], paper["reference"], paper["state"]) == ("sale", 1, "printed")

    def test_one_is_dismissed_and_one_is_printed_again_as_a_copy(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        counter.run("sell", "500")
        printer.lines_left = 0
        assert "[PRINT-PAPER-OUT]" in counter.run("sell", "500")
        counter.run("print", "dismiss", "2")
        assert "[PRINT-DONE]" in counter.run("print", "dismiss", "2", code=1)
        printer.put_in_paper()
        counter.run("print", "again", "1")
        assert ["COPY" in paper.texts for paper in printer.papers] == [False, True]
        assert "[PRINT-NO-PAPER]" in counter.run("print", "again", "9", code=1)

    def test_the_receipt_of_any_paid_sale_can_be_had_once_more(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        counter.run("sell", "12500")
        counter.run("refund", "1", "--reason", "rusak")
        first = printer.papers[0]
        output = counter.run("print", "sale", "1")
        assert row(output, "TOTAL") == "Rp 12.500"
        again = printer.papers[2]
        assert "COPY" in again.texts
        assert again.texts[1:] == first.texts
        assert "TO BE CREDITED" in counter.run("print", "refund", "2")
        assert "[REFUND-NO-SALE]" in counter.run("print", "sale", "9", code=1)
        assert "[REFUND-NO-SALE]" in counter.run("print", "refund", "1", code=1)

    def test_without_a_printer_it_is_shown(self, counter: Counter) -> None:
        counter.run("sell", "12500")
        assert row(counter.run("print", "sale", "1"), "TOTAL") == "Rp 12.500"
        assert "[PRINT-NO-PRINTER]" in counter.run("print", "again", "1", code=1)


class TestReports:
    def test_the_x_report_while_the_shift_is_open_and_the_z_report_afterwards(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        counter.run("sell", "12500")
        assert "X REPORT, shift 1" in counter.run("print", "report")
        counter.run("shift", "close", "--counted", "200000")
        assert "Z REPORT 1" in counter.run("print", "report")
        assert "Z REPORT 1" in counter.run("print", "report", "1")
        assert row(printer.papers[1].text, "PAID BY CARD (1)") == "Rp 12.500"


class TestTrying:
    def test_the_test_page_comes_out(self, counter: Counter, printer: NetworkPrinter) -> None:
        assert counter.run("print", "test") == "The test page is printed.\n"
        (paper,) = printer.papers
        assert "12345678901234567890123456789012" in paper.texts
        assert read_codes(paper.picture()) == [counter.url]

    def test_the_drawer_opens(self, counter: Counter, printer: NetworkPrinter) -> None:
        counter.run("print", "drawer")
        counter.run("print", "test")
        assert printer.drawer_kicks == 1

    def test_a_file_takes_the_papers_for_who_wants_to_look(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DOBMI_TERMINAL__PRINTER", f"file:{tmp_path / 'papers.bin'}")
        monkeypatch.setenv("DOBMI_TERMINAL__PRINTER_COLUMNS", "48")
        counter.run("sell", "12500")
        paper = print_out((tmp_path / "papers.bin").read_bytes(), 48)
        assert paper.line("TOTAL").text.rstrip().endswith("Rp 12.500")

    def test_a_setting_that_names_no_printer_is_said_so(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOBMI_TERMINAL__PRINTER", "paper")
        output = counter.run("print", "test", code=1)
        assert "[PRINT-SETTING]" in output
        assert "network:192.168.1.50:9100" in output


class TestStatus:
    def test_it_says_how_the_printer_is(self, counter: Counter, printer: NetworkPrinter) -> None:
        assert row(counter.run("status"), "Printer") == "ready"
        printer.lines_left = 0
        assert row(counter.run("status"), "Printer") == "The printer has no paper."
        found = counter.json("status")
        assert (found["printer"], found["printer_problem"]) == (
            "paper-out",
            "The printer has no paper.",
        )

    def test_without_one_it_says_so(self, counter: Counter) -> None:
        assert row(counter.run("status"), "Printer").startswith("none")

    def test_while_another_program_prints_it_does_not_break_in(
        self, counter: Counter, printer: NetworkPrinter
    ) -> None:
        with PrintLock(counter.folder / "terminal.db"):
            assert "prints for this till" in row(counter.run("status"), "Printer")
        assert not printer.connections

    def test_a_setting_that_names_none_is_said_so(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOBMI_TERMINAL__PRINTER", "paper")
        assert "names no printer" in row(counter.run("status"), "Printer")

    def test_while_another_program_has_the_reader_it_says_who(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOBMI_TERMINAL__READER", "sim:tray/")
        (counter.folder / "tray").mkdir()
        with closing(open_reader(f"sim:{counter.folder / 'tray'}/")):
            assert "cannot be used" in row(counter.run("status"), "Reader")
            with TillLock(counter.folder / "terminal.db"):
                assert "is using this till" in row(counter.run("status"), "Reader")
