"""`dobmi central` as the office uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from dobmi.cardlib.custody import load_key_file
from dobmi.cardlib.errors import KeyNotHeld
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.ingest import take_batch
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from dobmi.sync.enrolment import Invitation
from dobmi.sync.voucher import Outcome
from support.databases import Kind, bare_database
from support.traffic import START, World


class Desk:
    """A folder with settings, and the command run in it."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        settings = Settings(
            folder=folder,
            central=CentralSettings(database=database),
            passphrase=SecretStr("kunci kantor"),
            language="en",
        )
        self.context = Context(settings, "en", str)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, obj=self.context)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def refused(self, code: str, *arguments: str) -> None:
        done = self.run(*arguments)
        assert done.exit_code == 1
        assert f"[{code}]" in done.output


@pytest.fixture
def desk(tmp_path: Path, database_kind: Kind) -> Desk:
    return Desk(tmp_path, bare_database(tmp_path, database_kind))


@pytest.fixture
def ready(desk: Desk) -> Desk:
    desk.ok("keys", "init")
    desk.ok("init")
    return desk


def test_nothing_is_served_without_keys_or_tables(desk: Desk) -> None:
    desk.refused("CENTRAL-KEYS-MISSING", "serve")
    desk.ok("keys", "init")
    desk.refused("CENTRAL-NOT-INITIALISED", "serve")
    desk.refused("CENTRAL-NOT-INITIALISED", "report")


def test_keys_are_never_overwritten(ready: Desk) -> None:
    before = (ready.folder / "central.keys").read_bytes()
    ready.refused("CENTRAL-KEYS-EXIST", "keys", "init")
    assert (ready.folder / "central.keys").read_bytes() == before


def test_a_tills_keys_cannot_make_money(ready: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ready.folder / "till.keys"
    monkeypatch.setenv("DOBMI_TILL_PASSPHRASE", "kunci kasir")
    ready.ok("keys", "till", str(file))
    ring = load_key_file(file, "kunci kasir")
    uid = bytes.fromhex("04A1B2C3D4E5F6")
    central = load_key_file(ready.folder / "central.keys", "kunci kantor")
    for key in (CardKey.DEBIT, CardKey.PIN):
        assert ring.card_key(key, uid) == central.card_key(key, uid)
    for key in set(CardKey) - {CardKey.DEBIT, CardKey.PIN}:
        with pytest.raises(KeyNotHeld):
            ring.card_key(key, uid)
    for name in ("server", "card-issuer"):
        with pytest.raises(KeyNotHeld):
            ring.sign(name, b"")


def test_an_invitation_is_printed_and_bound_to_the_servers_key(ready: Desk) -> None:
    printed = ready.ok("invite", "--role", "till", "--name", "Kasir 1", "--seller", "Toko BMI")
    invitation = Invitation.parse(printed.splitlines()[-1])
    ring = load_key_file(ready.folder / "central.keys", "kunci kantor")
    assert invitation == Invitation.make(invitation.code, ring.public_key("server"))


def test_the_report_of_an_empty_ledger_adds_up(ready: Desk) -> None:
    assert "nought" in ready.ok("report")
    assert "WARNING: periodic work settle-doubts was never done." in ready.ok("report")
    done = ready.ok("periodic")
    assert "Periodic work settle-doubts was done at " in done
    assert "WARNING" not in done + ready.ok("report")
    for listing in ("terminals", "quarantine", "in-doubt", "anomalies"):
        ready.ok(listing)
    ready.refused("CENTRAL-CARD-UNKNOWN", "card", "1")
    ready.refused("CENTRAL-PARAMETERS", "card", "whose")
    ready.refused("CENTRAL-UNKNOWN-TERMINAL", "terminals", "--block", "5")


def test_a_sale_in_doubt_from_list_to_settlement(ready: Desk) -> None:
    """P6: the office sees who, how much, since when, what is known, and what the rule will do."""
    settings = CentralSettings()
    ring = load_key_file(ready.folder / "central.keys", "kunci kantor")
    world = World.create(ready.folder, keys=ring, url=ready.database, settings=settings)
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till.doubt(card, Rupiah(5_000), committed=True)
    till.doubt(card, Rupiah(3_000), committed=False)
    till.decide(card, 1, Outcome.PAID)
    take_batch(world.central, till.batch())
    world.central.database.close()
    listed = ready.ok("in-doubt")
    for part in (
        f"Sale {till.terminal_id}/1 at Kasir 1, ",
        "WIB, known for 0 days: Rp 5.000, Anggota 4711 (member 4711), card "
        + card.uid.hex().upper(),
        "Supervisor Ani says that it was paid: barang dibawa",
        "held in suspense by rule from 14-02-2027 15:00 WIB",
        "not paid by rule from 14-02-2027 15:00 WIB",
    ):
        assert part in listed
    found = json.loads(ready.ok("in-doubt", "--json"))["in_doubt"]
    assert [(one["sequence"], one["amount_rupiah"]) for one in found] == [(1, 5_000), (2, 3_000)]
    ready.ok("settle", "--now", "2027-02-14T14:59")
    assert ready.ok("in-doubt") == listed
    done = ready.ok("settle", "--now", "2027-02-14T15:00")
    assert "not paid: 1 (Rp 3.000)" in done
    assert "said to be paid: 1 (Rp 5.000)" in done
    again = ready.ok("settle", "--now", str(START + 60 * 24 * 3600))
    assert "not paid: 0 (Rp 0)" in again
    assert "said to be paid: 0 (Rp 0)" in again
    assert "No sale is in doubt." in ready.ok("in-doubt")
    settled = ready.ok("in-doubt", "--all")
    assert "HELD in suspense: no word of the card for 30 days" in settled
    assert "NOT PAID: no word of the card for 30 days" in settled
    ready.ok("report")
    ready.refused("CENTRAL-PARAMETERS", "settle", "--now", "kemarin")


def test_a_credit_in_doubt_is_listed_with_what_to_do(ready: Desk) -> None:
    ring = load_key_file(ready.folder / "central.keys", "kunci kantor")
    world = World.create(ready.folder, keys=ring, url=ready.database)
    assert "No credit is in doubt." in ready.ok("in-doubt")
    card = world.card(4711)
    world.top_up_in_doubt(world.station(), card, Rupiah(100_000))
    world.central.database.close()
    uid = card.uid.hex().upper()
    listed = ready.ok("in-doubt")
    assert (
        f"Credit 1 of Rp 100.000 (cash) for Anggota 4711 (member 4711), card {uid}: "
        "in doubt since 15-01-2027 15:00 WIB" in listed
    )
    assert "Have the member lay the card on a till or station" in listed
    (found,) = json.loads(ready.ok("in-doubt", "--json"))["credits_in_doubt"]
    assert (found["card_uid"], found["amount_rupiah"]) == (uid, 100_000)
    assert (found["since_unix_seconds"], found["next_step"]) == (START, "tap")


def test_init_on_a_database_in_use_changes_nothing(ready: Desk) -> None:
    ready.ok("init")
    ready.ok("reconcile")
    ready.ok("report")


@pytest.mark.parametrize("name", ["", "  ", "Kasir\n1", "Kasir \x1b[2J", "x" * 81])
def test_a_name_that_no_list_can_show_is_refused(ready: Desk, name: str) -> None:
    ready.refused(
        "CENTRAL-PARAMETERS", "invite", "--role", "till", "--name", name, "--seller", "BMI"
    )
    ready.refused(
        "CENTRAL-PARAMETERS", "invite", "--role", "till", "--name", "Kasir", "--seller", name
    )


def test_a_restored_database_goes_on_with_numbers_never_used(ready: Desk) -> None:
    assert "After restoring: block list 17" in ready.ok("init", "--restored")
    ready.ok("report")


@pytest.mark.parametrize(
    ("version", "code"), [("0000", "CENTRAL-SCHEMA-OLD"), ("9999", "CENTRAL-SCHEMA-NEW")]
)
def test_a_database_of_another_version_is_refused_at_the_start(
    ready: Desk, version: str, code: str
) -> None:
    engine = create_engine(ready.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    engine.dispose()
    for arguments in (
        ["serve"],
        ["report"],
        ["init"],
        ["init", "--restored"],
        ["upgrade", "--yes"],
    ):
        ready.refused(code, *arguments)


def test_there_is_no_restored_database_where_there_is_none(desk: Desk) -> None:
    desk.ok("keys", "init")
    desk.refused("CENTRAL-NOT-INITIALISED", "init", "--restored")
