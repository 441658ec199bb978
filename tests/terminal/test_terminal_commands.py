"""`dobmi terminal` as a cashier uses it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from dobmi.cardlib.custody import save_key_file
from dobmi.cardlib.readers.base import Reader
from dobmi.central.circulation import anomaly_list
from dobmi.central.overdue import doubt_list, settle_overdue
from dobmi.central.schema import DoubtState, SettledBy
from dobmi.cli import terminal as commands
from dobmi.cli import till as till_commands
from dobmi.cli.main import root
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command
from dobmi.firmware_sim.reader import CardFileReader
from dobmi.terminal import till as till_module
from dobmi.terminal.till import Till
from support.servers import issued, new_central, till_invitation
from support.till_commands import PASSPHRASE, Counter, row, till_at_work
from support.tills import RING, TILL_KEYS, Crash, crash_around

COMMIT = 0xC7


class TornOnce(CardFileReader):
    """A patient cardholder who takes the card away once, at the commit."""

    moment = Moment.AFTER
    taps_left = 99
    impatient = False
    torn = False

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        if type(self).taps_left == 0:
            if self.impatient:
                raise KeyboardInterrupt
            return False
        type(self).taps_left -= 1
        if self.field.card is None or self.torn:
            return super().wait_for_card(timeout_seconds)
        type(self).torn = True
        card = self.remove()
        assert isinstance(card, SimulatedCard)
        self.insert(FaultyCard(card, [at_command(COMMIT, self.moment)]))
        return True


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    with till_at_work(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch, counter: Counter) -> type[TornOnce]:
    """The till's reader tears the next sale at its commit."""

    class Reading(TornOnce):
        pass

    def open_torn(_url: str) -> Reader:
        return Reading(counter.card_path)

    monkeypatch.setattr(till_module, "open_reader", open_torn)
    return Reading


class TestSell:
    @pytest.mark.parametrize("amount", ["12500", "12.500", "Rp 12.500"])
    def test_it_prints_what_was_paid(self, counter: Counter, amount: str) -> None:
        output = counter.run("sell", amount)
        for part in ("PAID", "Rp 12.500", "Anggota 4711", "Rp 100.000", "Rp 87.500", "Voucher"):
            assert part in output
        assert counter.balance == 87_500

    def test_goods_lines_make_the_amount(self, counter: Counter) -> None:
        output = counter.run(
            "sell", "--item", "Beras 5 kg=20.000", "--qty", "2", "--item", "Telur=2500"
        )
        assert row(output, "2 x Rp 20.000") == "Rp 40.000"
        assert counter.balance == 57_500

    def test_as_json_for_scripts(self, counter: Counter) -> None:
        result = counter.json("sell", "12500")
        assert (result["paid"], result["amount_rupiah"], result["balance_after_rupiah"]) == (
            True,
            12_500,
            87_500,
        )
        assert len(result["voucher_hash"]) == 64

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["0"], "SALE-AMOUNT"),
            (["-5"], "SALE-AMOUNT"),
            (["--", "-12.500"], "SALE-AMOUNT"),
            (["--amount"], "SALE-NOT-AN-AMOUNT"),
            (["abc"], "SALE-NOT-AN-AMOUNT"),
            (["3.000.000"], "SALE-LIMIT"),
            (["100.001"], "CARD-BALANCE"),
            ([], "SALE-CART"),
            (["500", "--item", "x=400"], "SALE-CART"),
            (["500", "--qty", "2"], "SALE-CART"),
        ],
    )
    def test_a_refusal_exits_with_1_and_says_that_no_money_moved(
        self, counter: Counter, arguments: list[str], code: str
    ) -> None:
        output = counter.run("sell", *arguments, code=1)
        assert f"[{code}]" in output
        assert "No money moved." in output
        assert "→" in output
        assert counter.balance == 100_000

    def test_a_refusal_as_json(self, counter: Counter) -> None:
        error = counter.json("sell", "0", code=1)
        assert (error["error"], error["money_moved"]) == ("SALE-AMOUNT", "no")
        assert error["next_step"]

    @pytest.mark.parametrize("moment", Moment)
    def test_after_a_tear_it_asks_for_the_same_card_and_charges_once(
        self, counter: Counter, torn: type[TornOnce], moment: Moment
    ) -> None:
        torn.moment = moment
        output = counter.run("sell", "12500")
        assert "SALE-IN-DOUBT" in output
        assert "Tap the same card again" in output
        assert "PAID\n" in output
        assert "ALREADY" not in output
        assert counter.balance == 87_500

    def test_given_up_it_exits_with_3_and_a_later_tap_settles_it(
        self, counter: Counter, torn: type[TornOnce]
    ) -> None:
        torn.taps_left = 1
        assert "SALE-IN-DOUBT" in counter.run("sell", "12500", code=3)
        assert "Rp 12.500, Anggota 4711" in counter.run("in-doubt")
        torn.taps_left = 99
        assert "ALREADY PAID" in counter.run("sell", "12500")
        assert counter.balance == 87_500
        assert "No sale is in doubt." in counter.run("in-doubt")

    def test_broken_off_by_the_cashier_it_is_in_doubt_and_not_refused(
        self, counter: Counter, torn: type[TornOnce]
    ) -> None:
        torn.taps_left, torn.impatient = 1, True
        assert "SALE-IN-DOUBT" in counter.run("sell", "12500", code=3)
        torn.taps_left = 99
        assert "ALREADY PAID" in counter.run("sell", "12500")
        assert counter.balance == 87_500

    def test_broken_off_before_any_card_came_nothing_is_in_doubt(
        self, counter: Counter, torn: type[TornOnce]
    ) -> None:
        torn.taps_left, torn.impatient = 0, True
        assert "Aborted" in counter.run("sell", "12500", code=1)
        assert "No sale is in doubt." in counter.run("in-doubt")
        assert counter.balance == 100_000

    def test_a_balance_inquiry_settles_it_too(self, counter: Counter, torn: type[TornOnce]) -> None:
        torn.taps_left = 1
        counter.run("sell", "12500", code=3)
        torn.taps_left = 99
        output = counter.run("balance")
        assert "over Rp 12.500 WAS PAID by this card" in output
        assert "Rp 87.500" in output

    def test_in_indonesian_where_that_is_asked_for(self, counter: Counter) -> None:
        result = CliRunner().invoke(
            root,
            ["--config", str(counter.folder / "dobmi.toml"), "--lang", "id", "terminal", "sell"],
        )
        assert result.exit_code == 1
        assert "SALE-CART" in result.output


class TestNotShown:
    """A sale is paid and the program dies before it says so: somebody is told, and nobody pays twice."""

    @pytest.fixture(params=[["--json"], []], ids=["json", "text"])
    def first(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> SimulatedCard:
        """The card that paid 12,500 in sale 1, and nobody saw it."""
        with monkeypatch.context() as patch:
            for name in ("_print_json", "_receipt"):
                crash_around(patch.setattr, commands, name, after=False)
            with pytest.raises(Crash):
                counter.run("sell", "12500", *request.param)
        assert counter.balance == 87_500
        return SimulatedCard.load(counter.card_path)

    def test_a_refused_sale_of_another_card_tells_it_and_does_not_settle_it(
        self, counter: Counter, first: SimulatedCard
    ) -> None:
        counter.lay(issued(counter.central, 500, 4712))
        told = {"sequence": 1, "card_uid": first.uid.hex().upper(), "amount_rupiah": 12_500}
        for _ in range(2):
            (sale,) = counter.json("sell", "12500", code=1)["not_shown"]
            assert {name: sale[name] for name in told} == told
        (sale,) = counter.json("status")["not_shown"]
        assert sale["sequence"] == 1
        counter.lay(first)
        again = counter.json("sell", "12500")
        assert again["already_paid"] is True
        assert counter.balance == 87_500

    @pytest.mark.parametrize(
        "arguments",
        [["sell", "500"], ["balance"], ["refund", "1", "--amount", "500", "--reason", "x"]],
        ids=["sell", "balance", "refund"],
    )
    @pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
    @pytest.mark.usefixtures("first")
    def test_whatever_marks_it_as_shown_has_shown_it_once(
        self, counter: Counter, arguments: list[str], as_json: bool
    ) -> None:
        counter.lay(issued(counter.central, 5_000, 4712))
        if as_json:
            assert [one["sequence"] for one in counter.json(*arguments)["not_shown"]] == [1]
        else:
            assert "Anggota 4711 PAID Rp 12.500" in counter.run(*arguments)
        assert counter.json("balance")["not_shown"] == []
        assert counter.json("status")["not_shown"] == []

    @pytest.mark.usefixtures("first")
    def test_output_that_fails_shows_nothing(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counter.lay(issued(counter.central, 5_000, 4712))
        with monkeypatch.context() as patch:
            crash_around(patch.setattr, commands, "_print_json", after=False)
            with pytest.raises(Crash):
                counter.json("balance")
        assert [one["sequence"] for one in counter.json("balance")["not_shown"]] == [1]

    def test_a_refund_too(self, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
        counter.run("sell", "12500")
        refund = ["refund", "1", "--amount", "500", "--reason", "x"]
        with monkeypatch.context() as patch:
            crash_around(patch.setattr, commands, "_print_json", after=False)
            with pytest.raises(Crash):
                counter.json(*refund)
        (told,) = counter.json("sell", "999999", code=1)["refunds_not_shown"]
        assert (told["sequence"], told["refunds"], told["amount_rupiah"]) == (2, 1, 500)
        assert counter.json(*refund)["already_written"] is True
        assert "a refund of Rp 500" not in counter.run("balance")

    def test_what_a_refused_sale_settled_stands_in_its_json(
        self, counter: Counter, torn: type[TornOnce]
    ) -> None:
        torn.taps_left = 1
        counter.run("sell", "12500", code=3)
        torn.taps_left = 99
        refused = counter.json("sell", "100000", code=1)
        assert refused["settled"] == [{"sequence": 1, "amount_rupiah": 12_500, "paid": True}]


class TestAroundTheSale:
    def test_status_tells_what_a_cashier_asks(self, counter: Counter) -> None:
        counter.run("sell", "12500")
        output = counter.run("status")
        for part in (
            "Toko Ciledug",
            "the central server answers",
            "Unsent    1 of at most 5000, Rp 12.500",
            "In doubt  0",
            "simulated card",
            "a sale at most Rp 2.000.000",
            "Shift     1, Siti since",
        ):
            assert part in output

    def test_status_without_network_or_reader_says_so_and_works(self, counter: Counter) -> None:
        counter.settings(server="http://127.0.0.1:1")
        counter.card_path.unlink()
        status = counter.json("status")
        assert status["online"] is False
        assert status["reader"] is None
        assert status["reader_problem"]

    def test_selling_without_network_then_sync(self, counter: Counter) -> None:
        counter.settings(server="http://127.0.0.1:1")
        counter.run("sell", "12500")
        assert "SYNC-UNREACHABLE" in counter.run("sync", code=1)
        counter.settings()
        assert "Sent 1 of 1 vouchers." in counter.run("sync")
        assert "nothing to send" in counter.run("sync")
        assert counter.json("status")["unsent_count"] == 0

    def test_a_shift_from_open_to_close(self, counter: Counter) -> None:
        assert "SHIFT-OPEN" in counter.run("shift", "open", code=1)
        counter.run("sell", "12500")
        counter.run("sell", "500")
        assert "Rp 250.000" in counter.run("shift", "cash", "50000", "--reason", "uang kecil")
        assert "SHIFT-CASH" in counter.run("shift", "cash", "-300000", "--reason", "x", code=1)
        counter.run("shift", "cash", "-20000", "--reason", "setor")
        shown, x = counter.run("shift", "show"), counter.run("shift", "x")
        assert shown.splitlines()[4:] == x.splitlines()[4:]
        closed = counter.run("shift", "close", "--counted", "229.000")
        for output in (shown, closed):
            assert "Cashier Siti" in output
            assert row(output, "PAID BY CARD (2)") == "Rp 13.000"
            assert row(output, "should be there") == "Rp 230.000"
        assert row(closed, "difference") == "-Rp 1.000"
        assert counter.run("shift", "z") == counter.run("shift", "z", "1") == closed
        assert row(counter.run("shift", "show"), "counted") == "Rp 229.000"
        for refused in (["close", "--counted", "0"], ["x"], ["takeover"]):
            assert "SHIFT-NONE" in counter.run("shift", *refused, code=1)
        assert "SHIFT-NONE" in counter.run("sell", "500", code=1)
        assert "SHIFT-NO-REPORT" in counter.run("shift", "z", "2", code=1)

    def test_a_clock_reset_says_from_when_to_when_and_needs_a_name_and_a_reason(
        self, counter: Counter
    ) -> None:
        output = counter.run("clock", "reset", "--supervisor", "Ani", "--reason", "jam salah")
        assert re.search(r"from \d\d-\d\d-\d{4} .* WIB; it goes on from \d\d-\d\d-\d{4}", output)
        refused = counter.run("clock", "reset", "--supervisor", "Ani", "--reason", " ", code=1)
        assert "DECISION-TEXT" in refused
        counter.run("clock", "reset", "--reason", "jam salah", code=2)

    def test_a_clock_far_ahead_is_told_and_nothing_is_sold(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        far_ahead = time.time() + 100 * 24 * 3600
        monkeypatch.setattr(till_commands, "Till", partial(Till, system_time=lambda: far_ahead))
        output = counter.run("sell", "500", code=1)
        assert "too far ahead" in output
        assert "SALE-CLOCK" in output
        assert "100 days after" in output
        assert counter.json("sell", "500", code=1)["error"] == "SALE-CLOCK"

    def test_balance_as_json(self, counter: Counter) -> None:
        result = counter.json("balance")
        assert (result["balance_rupiah"], result["member_number"]) == (100_000, 4711)

    def test_a_balance_lists_the_cards_last_transactions(self, counter: Counter) -> None:
        counter.run("sell", "12500")
        newest, first = counter.json("balance")["movements"]
        assert (newest["kind"], newest["amount_rupiah"]) == ("sale", 12_500)
        assert (first["kind"], first["balance_after_rupiah"]) == ("credit", 100_000)
        output = counter.run("balance")
        assert "paid Rp 12.500, left Rp 87.500" in output
        assert "got Rp 100.000, then Rp 100.000" in output

    def test_a_folder_that_is_no_till_says_what_to_do(self, counter: Counter) -> None:
        for name in ("terminal.db", "terminal-identity.keys"):
            (counter.folder / name).unlink()
        for arguments in (["sell", "500"], ["status"], ["sync"], ["in-doubt"], ["shift", "show"]):
            output = counter.run(*arguments, code=1)
            assert "TILL-NOT-ENROLLED" in output
            assert "dobmi terminal enrol" in output

    def test_without_the_card_keys_it_says_so(self, counter: Counter) -> None:
        (counter.folder / "till.keys").unlink()
        assert "TILL-NO-CARD-KEYS" in counter.run("sell", "500", code=1)

    def test_a_key_file_that_cannot_be_read_is_told(self, counter: Counter) -> None:
        (counter.folder / "till.keys").unlink()
        (counter.folder / "till.keys").mkdir()
        assert "KEY-FILE-ACCESS" in counter.run("sell", "500", code=1)

    def test_a_mistyped_invitation_leaves_nothing_behind(self, tmp_path: Path) -> None:
        folder = tmp_path / "new"
        folder.mkdir()
        counter = Counter(folder, new_central(folder), "http://127.0.0.1:1")
        counter.settings()
        assert "SYNC-MALFORMED" in counter.run("enrol", "AAAAA-BBBBB", code=1)
        assert not (folder / "terminal-identity.keys").exists()


class TestInDoubt:
    """What a cashier and a supervisor see of a sale in doubt, and what becomes of it."""

    @pytest.fixture
    def doubt(self, counter: Counter, torn: type[TornOnce]) -> type[TornOnce]:
        """Sale 1 over 12,500 is in doubt; the card paid."""
        torn.taps_left = 1
        counter.run("sell", "12500", code=3)
        torn.taps_left = 99
        return torn

    @staticmethod
    def other_till(counter: Counter, folder: Path) -> Counter:
        """A second till of the same server, which reads the same card."""
        folder.mkdir()
        other = Counter(folder, counter.central, counter.url)
        other.settings(card=counter.card_path)
        save_key_file(folder / "till.keys", TILL_KEYS, PASSPHRASE)
        other.run("enrol", str(till_invitation(counter.central, "Kasir 2")))
        other.run("shift", "open")
        return other

    @pytest.mark.usefixtures("doubt")
    def test_list_and_status_name_whom_how_much_how_old_and_what_to_do(
        self, counter: Counter
    ) -> None:
        for output in (counter.run("in-doubt"), counter.run("status")):
            line = next(line for line in output.splitlines() if line.startswith("Sale 1, "))
            assert re.fullmatch(
                r"Sale 1, \d\d-\d\d-\d{4} \d\d:\d\d WIB \(0 minutes ago\): Rp 12\.500, "
                r"Anggota 4711 \(member 4711\), cashier Siti",
                line,
            )
            assert "Tap the same card again" in output
            assert "dobmi terminal in-doubt close 1" in output
        (doubt,) = counter.json("in-doubt")["in_doubt"]
        assert (doubt["sequence"], doubt["amount_rupiah"], doubt["member_number"]) == (
            1,
            12_500,
            4711,
        )
        assert 0 <= doubt["age_seconds"] < 60

    @pytest.mark.usefixtures("doubt")
    @pytest.mark.parametrize(("option", "word"), [("--paid", "PAID"), ("--not-paid", "NOT PAID")])
    def test_a_supervisor_closes_it_with_a_name_and_a_reason(
        self, counter: Counter, option: str, word: str
    ) -> None:
        output = counter.run(
            "in-doubt", "close", "1", option, "--supervisor", "Ani", "--reason", "nota ada"
        )
        assert f"is closed as {word} by Ani" in output
        assert counter.json("status")["in_doubt"] == []
        listed = counter.run("in-doubt")
        assert "No sale is in doubt." in listed
        assert f"closed by supervisor Ani: {word}. nota ada" in listed
        (closed,) = counter.json("in-doubt")["closed"]
        assert closed["decision"]["supervisor"] == "Ani"
        assert closed["decision"]["paid"] is (word == "PAID")
        counter.run("sync")
        doubts = doubt_list(counter.central, settled_too=True)
        assert [(one.decided_by, one.decision_reason) for one in doubts] == [("Ani", "nota ada")]
        assert doubts[0].state == (DoubtState.OPEN if word == "PAID" else DoubtState.NOT_PAID)
        shown = counter.run("shift", "show")
        assert ("said to be paid, not confirmed (1)" in shown) is (word == "PAID")
        assert row(shown, "PAID BY CARD (0)") == "Rp 0"

    @pytest.mark.usefixtures("doubt")
    def test_it_is_not_closed_without_a_word_why_nor_twice(self, counter: Counter) -> None:
        close = ["in-doubt", "close", "1", "--not-paid", "--supervisor"]
        assert "DECISION-TEXT" in counter.run(*close, "Ani", "--reason", " ", code=1)
        assert "DECISION-TEXT" in counter.run(*close, "x" * 81, "--reason", "nota", code=1)
        counter.run(*close, "Ani", "--reason", "nota", code=0)
        assert "DECISION-NOT-IN-DOUBT" in counter.run(*close, "Ani", "--reason", "nota", code=1)
        close[2] = "77"
        assert "DECISION-NOT-IN-DOUBT" in counter.run(*close, "Ani", "--reason", "nota", code=1)
        counter.run("in-doubt", "close", "1", "--supervisor", "Ani", "--reason", "x", code=2)

    @pytest.mark.usefixtures("doubt")
    def test_used_at_another_till_it_is_settled_and_leaves_the_list(
        self, counter: Counter, tmp_path: Path
    ) -> None:
        counter.run("sync")
        assert row(counter.run("shift", "show"), "In doubt (1)") == "Rp 12.500"
        other = self.other_till(counter, tmp_path / "other")
        other.run("sell", "500")
        other.run("sync")
        assert "settled by the central server: PAID" in counter.run("sync")
        listed = counter.run("in-doubt")
        assert "No sale is in doubt." in listed
        assert "settled by the central server: PAID" in listed
        assert "The card was used since, and shows it." in listed
        assert counter.json("status")["in_doubt"] == []
        (closed,) = counter.json("in-doubt")["closed"]
        assert closed["settlement"]["outcome"] == "paid"
        shown = counter.run("shift", "show")
        assert row(shown, "settled by the server (1)") == "Rp 12.500"
        assert "In doubt" not in shown
        assert row(shown, "PAID BY CARD (1)") == "Rp 12.500"
        assert "settled by the central server" not in counter.run("sync"), "it is told once"
        # The goods are still here: the same sale to the same card charges nothing.
        assert "ALREADY PAID" in counter.run("sell", "12500")
        assert row(counter.run("shift", "show"), "PAID BY CARD (1)") == "Rp 12.500"

    @pytest.mark.usefixtures("doubt")
    def test_settled_by_rule_it_says_why_and_the_card_still_goes_before_the_rule(
        self, counter: Counter
    ) -> None:
        counter.run("sync")
        later = counter.central.unix_seconds() + 30 * 24 * 3600
        assert settle_overdue(counter.central, later).not_paid_count == 1
        output = counter.run("sync")
        assert "settled by the central server: NOT PAID" in output
        assert "The card was not seen for as long as the office waits" in output
        assert counter.json("status")["in_doubt"] == []
        assert "WAS PAID by this card" in counter.run("balance")
        counter.run("sync")
        (doubt,) = doubt_list(counter.central, settled_too=True)
        assert (doubt.state, doubt.settled_by) == (DoubtState.PAID, SettledBy.RESOLUTION)

    @pytest.mark.usefixtures("doubt")
    def test_a_card_that_contradicts_the_supervisor_is_said_so_and_a_new_sale_is_a_new_one(
        self, counter: Counter
    ) -> None:
        counter.run("in-doubt", "close", "1", "--not-paid", "--supervisor", "Ani", "--reason", "x")
        output = counter.run("sell", "12500")
        assert "PAID\n" in output
        assert "ALREADY" not in output
        assert "Sale 1 of" in output
        assert "WAS PAID by this card" in output
        assert "Supervisor Ani had closed it otherwise" in output
        assert counter.balance == 75_000
        counter.run("sync")
        assert {row.kind for row in anomaly_list(counter.central)} == {"decision-contradicted"}


def test_the_program_itself_sells_and_loads_no_server_parts(counter: Counter) -> None:
    code = (
        "import sys; from dobmi.cli.main import root\n"
        "try: root(prog_name='dobmi')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "loaded = {'fastapi', 'uvicorn', 'dobmi.central'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, "terminal", "sell", "12500", "--json"],
        env={**os.environ, "DOBMI_CONFIG": str(counter.folder / "dobmi.toml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["paid"] is True
    assert counter.balance == 87_500


def test_keys_are_in_no_message(counter: Counter) -> None:
    output = counter.run("status") + counter.run("sell", "500") + repr(commands)
    for master in RING.masters.values():
        for key in master.values():
            assert key.hex() not in output.lower()
