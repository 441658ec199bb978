"""`dobmi audit` and `dobmi central export` as an auditor and the office use them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from dobmi.audit.findings import finding
from dobmi.audit.report import at_stake
from dobmi.audit.rules import RULES
from dobmi.audit.source import Replica, Source
from dobmi.cardlib.custody import save_key_file
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cli.audit import command
from dobmi.cli.central import command as central_command
from dobmi.cli.context import Context
from dobmi.i18n import translation
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from support.audited import Ledger, first_part, new_ledger
from support.central_client import RING
from support.databases import Kind

PASSPHRASE = "rahasia"


class Desk:
    """A ledger, and the commands run beside it."""

    def __init__(self, folder: Path, language: str) -> None:
        self.folder = folder
        settings = Settings(
            folder=folder,
            central=CentralSettings(database="sqlite:///central.db"),
            passphrase=SecretStr(PASSPHRASE),
            language="en",
        )
        self.context = Context(settings, language, translation(language).gettext)
        self.file = folder / "ledger.db"

    def audit(self, *arguments: object) -> Result:
        return CliRunner().invoke(command, [str(a) for a in arguments], obj=self.context)

    def central(self, *arguments: object) -> Result:
        return CliRunner().invoke(central_command, [str(a) for a in arguments], obj=self.context)

    def spoil(self) -> None:
        with closing(sqlite3.connect(self.file)) as database, database:
            database.execute("UPDATE postings SET amount_rupiah = 5000 WHERE amount_rupiah = 4400")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = new_ledger(tmp_path_factory.mktemp("ledger"), Kind.SQLITE)
    first_part(ledger)
    return ledger


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    with (
        closing(sqlite3.connect(ledger.world.url.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(tmp_path / "central.db")) as target,
    ):
        source.backup(target)
    save_key_file(tmp_path / "central.keys", RING, PASSPHRASE)
    save_key_file(
        tmp_path / "auditor.json", RING.only(masters=[CardKey.TRANSACTION_MAC]), PASSPHRASE
    )
    desk = Desk(tmp_path, getattr(request, "param", "en"))
    done = desk.central("export", desk.file)
    assert done.exit_code == 0, done.output
    return desk


def test_an_export_is_whole_and_its_manifest_says_so(desk: Desk) -> None:
    manifest = json.loads(desk.file.with_name("ledger.db.json").read_text(encoding="utf-8"))
    assert manifest["sha256"] == hashlib.sha256(desk.file.read_bytes()).hexdigest()
    with (
        closing(sqlite3.connect(desk.folder / "central.db")) as source,
        closing(sqlite3.connect(desk.file)) as target,
    ):
        for table, count in manifest["rows"].items():
            columns = ", ".join(row[1] for row in target.execute(f"PRAGMA table_info({table})"))
            statement = f'SELECT {columns} FROM "{table}"'  # noqa: S608 - the manifest's own names
            rows = sorted(source.execute(statement).fetchall(), key=repr)
            assert rows == sorted(target.execute(statement).fetchall(), key=repr)
            assert len(rows) == count
        assert "request_nonces" not in manifest["rows"]
    assert desk.file.stat().st_mode & 0o077 == 0


def test_what_is_not_written_to_its_end_leaves_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    there = set(desk.folder.iterdir())
    monkeypatch.setattr("os.fsync", full)
    done = desk.central("export", desk.folder / "other.db")
    assert done.exit_code != 0
    assert set(desk.folder.iterdir()) == there


def test_an_export_is_never_overwritten(desk: Desk) -> None:
    before = desk.file.read_bytes()
    done = desk.central("export", desk.file)
    assert done.exit_code == 1
    assert "[CENTRAL-EXPORT-EXISTS]" in done.output
    assert desk.file.read_bytes() == before


def test_a_good_ledger_exits_with_0_and_leaves_a_state_to_go_on_from(desk: Desk) -> None:
    state, keys = desk.folder / "state.json", desk.folder / "auditor.json"
    server, issuer = RING.public_key("server").hex(), RING.public_key("card-issuer").hex()
    given = ("--keys", keys, "--server-key", server, "--issuer-key", issuer)
    done = desk.audit(desk.file, *given, "--state", state)
    assert done.exit_code == 0, done.output
    assert "Nothing is wrong" in done.output
    assert "Not checked" not in done.output
    again = desk.audit(desk.file, *given, "--since", state, "--state", state)
    assert again.exit_code == 0, again.output
    assert "Signatures checked now: 0" in again.output


def test_findings_exit_with_1_and_are_written_for_programs_and_for_people(desk: Desk) -> None:
    desk.spoil()
    found, page = desk.folder / "found.json", desk.folder / "found.html"
    done = desk.audit(
        desk.file, "--keys", desk.folder / "central.keys", "--json", found, "--report", page
    )
    assert done.exit_code == 1, done.output
    content = json.loads(found.read_text(encoding="utf-8"))
    assert not content["clean"]
    one = next(one for one in content["findings"] if one["rule"] == "POSTING-AMOUNT")
    assert (one["amount_rupiah"], one["severity"]) == (600, "money")
    assert "posting sale" in one["row"]
    html = page.read_text(encoding="utf-8")
    assert "Rp 600" in html
    assert one["row"] in html
    assert "http" not in html.replace("https://", ""), "it needs nothing beside it"


@pytest.mark.parametrize("desk", ["id"], indirect=True)
def test_the_page_is_in_the_language_of_whoever_reads_it(desk: Desk) -> None:
    page = desk.folder / "found.html"
    done = desk.audit(desk.file, "--keys", desk.folder / "central.keys", "--report", page)
    assert done.exit_code == 0, done.output
    html = page.read_text(encoding="utf-8")
    assert '<html lang="id">' in html
    assert "Nothing is wrong" not in html


def test_without_keys_it_says_what_it_could_not_check(desk: Desk) -> None:
    done = desk.audit(desk.file)
    assert done.exit_code == 0, done.output
    for rule in ("CARD-MAC", "ACK"):
        assert f"Not checked for want of its key: {rule}" in done.output


def test_without_a_database_it_is_the_replica_of_the_settings(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        "Missing argument 'DATABASE'" in desk.audit("--keys", desk.folder / "auditor.json").output
    )
    central = CentralSettings(
        database="postgresql+psycopg://nobody@127.0.0.1:1/gone",
        reports_database_url=f"sqlite:///{desk.file}",
    )
    settings = desk.context.settings.model_copy(update={"central": central})
    desk.context = dataclasses.replace(desk.context, settings=settings)
    report = desk.folder / "report.html"
    told = ("--json", desk.folder / "found.json", "--report", report)
    done = desk.audit("--keys", desk.folder / "auditor.json", *told)
    assert (done.exit_code, "behind" in done.stderr) == (0, False)
    assert json.loads((desk.folder / "found.json").read_text())["replica"] is None
    monkeypatch.setattr(Source, "replica", lambda _: Replica(7))
    done = desk.audit("--keys", desk.folder / "auditor.json", *told)
    assert "From the replica, 7 s behind." in done.stderr
    assert "From the replica, 7 s behind." in report.read_text(encoding="utf-8")
    assert json.loads((desk.folder / "found.json").read_text())["replica"] == {"seconds_behind": 7}


@pytest.mark.parametrize("database", ["nothing-here.db", "sqlite:///nothing-here.db", "oracle://x"])
def test_what_cannot_be_audited_exits_with_2(desk: Desk, database: str) -> None:
    done = desk.audit(database)
    assert done.exit_code == 2
    assert "[AUDIT-DATABASE]" in done.output


def test_a_state_that_is_none_exits_with_2(desk: Desk) -> None:
    state = desk.folder / "state.json"
    state.write_text("{}", encoding="utf-8")
    done = desk.audit(desk.file, "--since", state)
    assert done.exit_code == 2
    assert "[AUDIT-STATE]" in done.output


def test_a_wrong_passphrase_exits_with_2(desk: Desk) -> None:
    save_key_file(desk.folder / "other.json", RING, "lain")
    done = desk.audit(desk.file, "--keys", desk.folder / "other.json")
    assert done.exit_code == 2
    assert "[KEY-PASSPHRASE]" in done.output


def test_the_rules_are_listed(desk: Desk) -> None:
    done = desk.audit("--rules")
    assert done.exit_code == 0
    for rule in RULES:
        assert rule.id in done.output


def test_the_rules_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"| `{rule.id}` | {rule.severity.value} | {rule.checks} |" in page


def test_the_office_gives_the_auditor_a_key_that_opens_no_card(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOBMI_AUDITOR_PASSPHRASE", "x")
    done = desk.central("keys", "auditor", desk.folder / "given.json")
    assert done.exit_code == 0, done.output
    assert RING.public_key("server").hex() in done.output
    audited = Desk(desk.folder, "en")
    audited.context = Context(
        audited.context.settings.model_copy(update={"passphrase": SecretStr("x")}), "en", str
    )
    again = audited.audit(desk.file, "--keys", desk.folder / "given.json")
    assert again.exit_code == 0, again.output
    assert "CARD-MAC" not in again.output


def test_one_rupiah_counts_once_however_many_sums_it_is_in() -> None:
    itself = finding("POSTING-AMOUNT", "card 04 posting sale 2/5", "", 50)
    sums = [
        finding("DAY-JOURNAL", "day 2026-11-21", "", 50),
        finding("DAY-ACCOUNTS", "day 2026-11-21 card 5", "", 50),
        finding("DAY-ACCOUNTS", "day 2026-11-21 outlet 2", "", 50),
    ]
    assert at_stake([*sums, itself]) == at_stake([itself]) == at_stake(sums) == Rupiah(50)
    assert at_stake([]) == Rupiah(0)
