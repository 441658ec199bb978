"""Staff by commands: registered and proposed at the office, logged in at a station beside its server."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dobmi.cardlib.custody import load_key_file
from dobmi.central import staff_login
from dobmi.central.database import open_database
from dobmi.central.server import Central
from dobmi.cli.main import root
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.provisioning import staff
from dobmi.provisioning.enrolment import open_station
from dobmi.settings import load_settings
from support.servers import issued, serving, station_invitation

PASSPHRASE = "kopi tubruk"
PASSWORD = "kuda hijau berlari"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staff_login, "_N", 16)


def run(folder: Path, *arguments: str, typed: str = "", refused: str = "") -> str:
    result = CliRunner().invoke(
        root,
        ["--config", str(folder / "dobmi.toml"), "--lang", "en", *arguments],
        env={"DOBMI_PASSPHRASE": PASSPHRASE, "COLUMNS": "240"},
        input=typed,
    )
    assert result.exit_code == bool(refused), (arguments, result.output, result.exception)
    if refused:
        assert any(said in result.output for said in (f"[{refused}]", f"({refused})"))
    return result.output


def central_json(folder: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(folder, "central", *arguments, "--json"))
    return found


@pytest.fixture
def office(tmp_path: Path) -> Path:
    folder = tmp_path / "office"
    folder.mkdir()
    trusted = f'[central.originality_keys]\nsimulation = "{SIMULATION_PUBLIC_KEY.hex()}"\n'
    (folder / "dobmi.toml").write_text(trusted)
    run(folder, "central", "keys", "init")
    run(folder, "central", "init")
    for name, role in (("Ani", "issuer"), ("Ani", "proposer"), ("Budi", "approver")):
        run(folder, "central", "staff", "add", name, "--role", role)
    return folder


@pytest.fixture
def central(office: Path) -> Iterator[Central]:
    settings = load_settings(office / "dobmi.toml").central
    ring = load_key_file(office / "central.keys", PASSPHRASE)
    central = Central(open_database(settings.database, office), ring, settings)
    yield central
    central.database.close()


@pytest.fixture
def card(central: Central) -> SimulatedCard:
    return issued(central, 20_000)


@pytest.fixture
def station(tmp_path: Path, central: Central) -> Iterator[Path]:
    folder = tmp_path / "station"
    folder.mkdir()
    with serving(central) as url:
        (folder / "dobmi.toml").write_text(f'[provisioning]\nserver = "{url}"\n')
        run(folder, "card", "enrol", str(station_invitation(central)))
        yield folder


def test_a_clerk_logs_in_acts_and_logs_out_at_a_station(
    office: Path, station: Path, card: SimulatedCard
) -> None:
    uid = card.uid.hex().upper()
    run(station, "card", "block", uid, "--reason", "coba")  # nobody has a password yet
    said = run(office, "central", "staff", "password", "ani", typed=f"{PASSWORD}\n")
    assert "logged out everywhere" in said
    run(station, "card", "unblock", uid, "--reason", "coba", refused="CENTRAL-STAFF-NEEDED")
    assert "Nobody" in run(station, "card", "whoami")
    run(station, "card", "login", "Ani", typed="bukan ini\n", refused="CENTRAL-PASSWORD")
    assert "Ani is logged in here until" in run(station, "card", "login", "Ani", typed=PASSWORD)
    kept = station / "staff-session.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert PASSWORD not in kept.read_text()
    assert "issuer, proposer" in run(station, "card", "whoami")
    run(station, "card", "unblock", uid, "--reason", "ditemukan")
    run(station, "card", "logout")
    assert not kept.exists()
    run(station, "card", "block", uid, "--reason", "coba", refused="CENTRAL-STAFF-NEEDED")
    run(station, "card", "logout")
    acts = central_json(office, "acts", "--about", "card 1")["acts"]
    done = [(act["act"], act["person"]) for act in acts if act["act"] in {"block", "unblock"}]
    assert done == [("unblock", "Ani"), ("block", "")]
    assert {act["station"] for act in acts} >= {1}
    assert PASSWORD not in json.dumps(central_json(office, "acts"))


def test_a_session_file_that_was_changed_is_nobodys(station: Path, office: Path) -> None:
    run(office, "central", "staff", "password", "Ani", typed=PASSWORD)
    for content in ("", "{", "[]", '{"token": 1}', '{"token": "x"}'):
        (station / "staff-session.json").write_text(content)
        assert "Nobody" in run(station, "card", "whoami")


def test_two_people_at_the_command_line(office: Path, card: SimulatedCard) -> None:
    facts = (f"card_uid={card.uid.hex()}", "amount_rupiah=5000", "reason=struk salah")
    propose = ("central", "approvals", "propose", "restitution", *facts)
    run(office, *propose, "--by", "Nobody", refused="CENTRAL-STAFF-ROLE")
    assert "Proposal 1 waits" in run(office, *propose, "--by", "ani")
    run(office, "central", "approvals", "accept", "1", "--by", "Ani", refused="CENTRAL-STAFF-ROLE")
    (waiting,) = central_json(office, "approvals", "list")["proposals"]
    assert (waiting["proposed_by"], waiting["accepted"]) == ("Ani", None)
    assert waiting["facts"]["amount_rupiah"] == 5_000
    assert "carried out" in run(office, "central", "approvals", "accept", "1", "--by", "Budi")
    assert central_json(office, "approvals", "list")["proposals"] == []
    shown = run(office, "central", "approvals", "show", "1")
    assert "Budi" in shown
    assert "struk salah" in shown
    limit = ("limits", "name=sale_max_rupiah", "value=400000")
    run(office, "central", "approvals", "propose", *limit, "--by", "Budi")
    run(
        office,
        "central",
        "approvals",
        "accept",
        "2",
        "--by",
        "budi",
        refused="CENTRAL-OWN-PROPOSAL",
    )
    run(office, "central", "staff", "add", "Citra", "--role", "approver", "--by", "Budi")
    run(office, "central", "approvals", "refuse", "2", "--by", "Citra")
    run(
        office,
        "central",
        "approvals",
        "accept",
        "2",
        "--by",
        "Citra",
        refused="CENTRAL-APPROVAL-DECIDED",
    )
    wrong = ("central", "approvals", "propose", "limits", "name", "--by", "Ani")
    run(office, *wrong, refused="CENTRAL-PARAMETERS")
    listed = run(office, "central", "approvals", "list", "--all")
    assert "refused" in listed
    acts = [act["act"] for act in central_json(office, "acts", "--person", "Citra")["acts"]]
    assert acts == ["refused"]


def test_a_terminal_is_revoked_with_its_reason_and_its_cards_are_a_file(
    office: Path, station: Path, card: SimulatedCard, tmp_path: Path
) -> None:
    assert station.exists()
    run(office, "central", "terminals", "--block", "1", "--reason", "dicuri", "--by", "Budi")
    assert "blocked" in run(office, "central", "terminals")
    (act,) = central_json(office, "acts", "--act", "terminal-blocked")["acts"]
    assert (act["person"], act["subject"], act["detail"]) == ("Budi", "terminal 1", "dicuri")
    run(station, "card", "show", card.uid.hex(), refused="CENTRAL-TERMINAL-BLOCKED")
    file = tmp_path / "cards.csv"
    assert "0 cards" in run(office, "central", "terminals", "cards", "1", "--csv", str(file))
    assert file.read_text().startswith("card_uid,card_serial,")
    assert central_json(office, "terminals", "cards", "1") == {"terminal": 1, "cards": []}
    run(office, "central", "terminals", "cards", "99", refused="CENTRAL-UNKNOWN-TERMINAL")


def test_once_staff_is_registered_a_pairing_is_decided_by_one_of_them(office: Path) -> None:
    for by in ("Ani", "orang lain"):
        run(
            office, "central", "pairing", "refuse", "AAAA-AAAA", "--by", by,
            refused="CENTRAL-STAFF-ROLE",
        )  # fmt: skip
    run(
        office, "central", "pairing", "refuse", "AAAA-AAAA", "--by", "budi",
        refused="CENTRAL-PAIRING-CODE",
    )  # fmt: skip


def test_a_station_proposes_decides_and_reads_for_who_is_logged_in(
    office: Path, station: Path
) -> None:
    for name in ("Ani", "Budi"):
        run(office, "central", "staff", "password", name, typed=PASSWORD)
    settings = load_settings(station / "dobmi.toml")
    here = open_station(
        settings.provisioning.server,
        station / "station-identity.keys",
        station / "station.json",
        PASSPHRASE,
        language="en",
    )
    staff.log_in(here, "Ani", PASSWORD)
    made = staff.propose(here, "limits", {"name": "sale_max_rupiah", "value": 400_000})
    session = staff.log_in(here, "Budi", PASSWORD)
    assert session.token not in repr(session)
    assert [one["number"] for one in staff.proposals(here)] == [made["number"]]
    assert staff.decide(here, made["number"], accept=True)["accepted"] is True
    assert staff.proposals(here) == []
    assert [act["act"] for act in staff.acts(here)][:3] == ["accepted", "log-in", "proposed"]
    assert [act["id"] for act in staff.acts(here, before=2)] == [1]
    who = staff.who(here)
    assert who is not None
    assert who.name == "Budi"
    staff.log_out(here)
    assert staff.who(here) is None


def test_one_person_cannot_give_two_names_of_whom_there_are_passwords(office: Path) -> None:
    limit = ("limits", "name=sale_max_rupiah", "value=400000", "--by", "Ani")
    run(office, "central", "approvals", "propose", *limit)
    run(office, "central", "staff", "password", "Budi", typed=PASSWORD)
    accept = ("central", "approvals", "accept", "1", "--by", "budi")
    run(office, *accept, refused="CENTRAL-PASSWORD")
    run(office, *accept, typed="bukan ini\n", refused="CENTRAL-PASSWORD")
    (waiting,) = central_json(office, "approvals", "list")["proposals"]
    assert waiting["accepted"] is None
    assert "carried out" in run(office, *accept, typed=PASSWORD)


def test_wrong_passwords_at_a_command_lock_as_at_the_page(office: Path) -> None:
    run(office, "central", "staff", "password", "Budi", typed=PASSWORD)
    refuse = ("central", "approvals", "refuse", "1", "--by", "Budi")
    for _ in range(staff_login.TRIES - 1):
        run(office, *refuse, refused="CENTRAL-PASSWORD")
    run(office, *refuse, refused="CENTRAL-PASSWORD-LOCKED")
    run(office, *refuse, typed=PASSWORD, refused="CENTRAL-PASSWORD-LOCKED")
