"""`dobmi central`, the books: as the office uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from sqlalchemy import insert

from dobmi.central import words
from dobmi.central.daily_head import CONTENT_TYPE
from dobmi.central.ingest import take_batch
from dobmi.central.schema import account_days
from dobmi.central.server import now_unix_seconds
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.i18n import translation
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from dobmi.sync.cose import parse_sign1
from support.traffic import START, World


class Desk:
    """An office whose books have a sale and a top-up in 2027, and a clock of now."""

    def __init__(self, folder: Path, language: Literal["en", "id"] = "en") -> None:
        self.folder = folder
        settings = Settings(
            folder=folder,
            central=CentralSettings(),
            passphrase=SecretStr("kunci kantor"),
            language=language,
        )
        self.context = Context(settings, language, translation(language).gettext)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, obj=self.context)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.ok("keys", "init")
    return made


@pytest.fixture
def world(desk: Desk) -> Iterator[World]:
    made = World.create(desk.folder, url="sqlite:///central.db")
    station, card, till = made.station(), made.card(4711), made.till("Toko Maju")
    made.top_up(station, card, Rupiah(100_000))
    till.sell(card, Rupiah(12_500))
    take_batch(made.central, till.batch())
    yield made
    made.central.database.close()


@pytest.mark.usefixtures("world")
def test_days_are_closed_and_their_heads_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No day is to be closed" in desk.ok("close-days")  # 2027 is to come
    done = desk.run("head")
    assert (done.exit_code, "CENTRAL-DAY-NOT-CLOSED" in done.output) == (1, True)
    monkeypatch.setattr("time.time", lambda: START + 2 * 86400)
    closed = desk.ok("close-days")
    assert "15-01-2027: 3 postings, Rp 212.500" in closed
    shown = json.loads(desk.ok("head", "2027-01-15", "--json"))
    assert shown["postings"] == 3
    spaced = " ".join(shown["hash"][start : start + 4] for start in range(0, 64, 4))
    assert spaced in desk.ok("head", "2027-01-15")
    assert spaced in desk.ok("head", "2027-01-16")  # as the day before it
    message = parse_sign1(bytes.fromhex(shown["signed"]), size_max=1024)
    message.verify(bytes.fromhex(shown["public_key"]), CONTENT_TYPE)
    assert "No day is to be closed" in desk.ok("close-days")
    assert desk.run("head", "2027-01-17").exit_code == 1


@pytest.mark.usefixtures("world")
def test_balances_are_shown_as_of_any_moment_and_in_the_users_language(desk: Desk) -> None:
    assert "card 1: Rp 87.500" in desk.ok("balance", "card", "1")
    assert "outlet Toko Maju: Rp 12.500" in desk.ok("balance", "outlet Toko Maju")
    assert "cash 1: -Rp 100.000" in desk.ok("balance", "cash", "1", "--at", "2027-01-16T00:00")
    assert "card 1: Rp 0" in desk.ok("balance", "card", "1", "--at", "2027-01-01T00:00")
    indonesian = Desk(desk.folder, "id")
    assert "kartu 1: Rp 87.500" in indonesian.ok("balance", "kartu", "1")
    done = desk.run("balance", "purse", "1")
    assert (done.exit_code, "CENTRAL-ACCOUNT-UNKNOWN" in done.output) == (1, True)
    assert desk.run("balance", "card", "1", "--at", "noon").exit_code == 1


@pytest.mark.usefixtures("world")
def test_a_statement_shows_the_balance_line_by_line(desk: Desk) -> None:
    shown = desk.ok("statement", "card", "1", "--since", "2027-01-15", "--until", "2027-01-15")
    assert "card 1: Rp 0 before" in shown
    assert "Rp 100.000" in shown
    assert "Rp 87.500" in shown
    assert "Rp 87.500 before" in desk.ok(
        "statement", "card 1", "--since", "2027-01-16", "--until", "2027-01-17"
    )


def test_the_trial_balance_balances_and_exits_with_1_if_it_does_not(
    desk: Desk, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = desk.ok("trial-balance")
    assert shown.count("Rp 212.500") >= 2
    assert "outlet Toko Maju" in desk.ok("trial-balance", "--accounts")
    assert "outlet" not in desk.ok("trial-balance", "--group", "card")
    monkeypatch.setattr("time.time", lambda: START + 2 * 86400)
    desk.ok("close-days")
    desk.ok("trial-balance")
    with world.central.database.write() as connection:
        row = {"account": 4 * 10**12 + 1, "day": 3, "debits_rupiah": 0, "credits_rupiah": 1}
        connection.execute(insert(account_days).values(row))
    done = desk.run("trial-balance")
    assert (done.exit_code, "CENTRAL-NOT-BALANCED" in done.output) == (1, True)


@pytest.mark.usefixtures("world")
def test_a_salary_file_is_taken_and_the_report_draws_where_it_is(desk: Desk) -> None:
    file = desk.folder / "gaji.csv"
    file.write_text("period,member,amount,name\n2027-01,4711,50000,\n2027-01,5000,9000,Ani\n")
    told = desk.ok("salary", str(file))
    assert "Converted: 2 salaries, Rp 59.000." in told
    assert "On the way to cards: 1 credits, Rp 50.000." in told
    assert "Kept in these members' wallets: Rp 9.000." in told
    assert "Converted before, and left as they are: 2." in desk.ok("salary", str(file))
    report = desk.ok("report")
    assert "Issued Rp 159.000, redeemed Rp 0" in report
    bars = {line.count("\N{FULL BLOCK}"): line for line in report.splitlines()}
    assert "on cards, by the ledger" in bars[max(bars)]
    file.write_text("period,member,amount\n2027-01,4711,60000\n2027-01,77,1\n")
    refused = desk.run("salary", str(file))
    assert refused.exit_code == 1
    for word in ("line 2: member 4711", "line 3: member 77", "CENTRAL-SALARY-FILE"):
        assert word in refused.output
    file.write_bytes(b"\xff\xfe")
    assert desk.run("salary", str(file)).exit_code == 1


@pytest.mark.usefixtures("world")
def test_cash_is_brought_to_the_bank(desk: Desk) -> None:
    assert "Rp 60.000 is in the bank; station 1 has Rp 40.000 left." in desk.ok(
        "bank-cash", "1", "60.000", "--note", "BCA 17"
    )
    for arguments in (["1", "60000"], ["2", "1"], ["1", "much"]):
        assert desk.run("bank-cash", *arguments, "--note", "x").exit_code == 1
    assert now_unix_seconds() < START  # the desk's clock is of now: it is booked then
    assert "Rp 60.000" in desk.ok("statement", "bank")


@pytest.mark.parametrize("language", ["en", "id"])
def test_groups_of_accounts_are_one_word_and_each_its_own(language: str) -> None:
    """A name is taken apart at its first space."""
    said = [translation(language).gettext(name) for name in words.ACCOUNT_NAMES.values()]
    assert all(" " not in name for name in said)
    assert len(set(said)) == len(words.ACCOUNT_NAMES)
