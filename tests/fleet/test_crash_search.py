"""A process is really killed at each crash point, started again, and no rupiah is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

from dobmi.cli import sim_crashes
from dobmi.cli.main import root

SAMPLE = 12
POSTGRES_SAMPLE = 3


def crashes(*options: str) -> dict[str, Any]:
    """What `dobmi sim crashes` found; 1 is its exit when something is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "dobmi", "--lang", "en", "sim", "crashes", "--json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def offset() -> str:
    """Another part of all cases each day, the same for the whole of it."""
    return str(datetime.now(UTC).toordinal() * 7)


def test_a_name_that_no_crash_has_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    played = [{"cases": ["sell/till.card.commit.before#1"], "chosen": 0}]
    monkeypatch.setattr(sim_crashes, "_outcomes", lambda *_: iter(played))
    for more in ([], ["--json"], ["--list"]):
        result = CliRunner().invoke(root, ["sim", "crashes", "--only", "sell/till.nowhere", *more])
        assert result.exit_code == 1, result.output
        assert "SIM-CRASH-NONE" in result.stderr


@pytest.mark.parametrize("only", ["nowhere", "nowhere/till.card.commit.before#1"])
def test_a_step_that_the_day_has_not_is_refused_before_it_is_played(
    monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    monkeypatch.setattr(sim_crashes, "_outcomes", lambda *_: pytest.fail("the day was played"))
    result = CliRunner().invoke(root, ["--lang", "en", "sim", "crashes", "--only", only])
    assert result.exit_code == 1, result.output
    assert "SIM-CRASH-STEP" in result.stderr
    assert "sell-torn-paid" in result.stderr


@pytest.mark.parametrize("command", ["crashes", "power-cuts"])
def test_a_day_that_fails_with_nothing_killed_says_which_step_and_why(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The worker that plays it is real; its day has one step, which goes nowhere."""
    worker = (
        "import sys\n"
        "from dobmi.fleet import crash_search, power_cut\n"
        "from dobmi.fleet.crash_world import Stuck\n"
        "def stuck(world):\n"
        "    raise Stuck('station deliver: SYNC-REFUSED CENTRAL-ROLE')\n"
        "crash_search.DAY = crash_search.FIRST_PART = (('sell', stuck),)\n"
        "module = power_cut if sys.argv[1].endswith('power_cut') else crash_search\n"
        "module.main(sys.argv[2:])\n"
    )
    real = subprocess.Popen

    def started(command: list[str], **options: Any) -> subprocess.Popen[str]:
        return real([sys.executable, "-c", worker, *command[2:]], **options)

    monkeypatch.setattr(subprocess, "Popen", started)
    result = CliRunner().invoke(root, ["--lang", "en", "sim", command])
    assert result.exit_code == 1, result.output
    assert "SIM-CRASH-DAY" in result.stderr
    assert "sell: station deliver: SYNC-REFUSED CENTRAL-ROLE" in result.stderr
    assert "compiler" not in result.stderr


def test_a_worker_that_breaks_down_is_not_taken_for_a_missing_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = subprocess.Popen

    def broken(_command: list[str], **options: Any) -> subprocess.Popen[str]:
        return real([sys.executable, "-c", "raise SystemExit(3)"], **options)

    monkeypatch.setattr(subprocess, "Popen", broken)
    result = CliRunner().invoke(root, ["--lang", "en", "sim", "crashes"])
    assert result.exit_code == 1, result.output
    assert "SIM-CRASH-WORKER" in result.stderr
    assert "ended with 3" in result.stderr


def test_the_points_are_listed_with_how_often_each_is_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = [f"{step}/till.card.commit.before#{number}" for step in ("a", "b") for number in (1, 2)]
    played = [{"cases": [*cases, "b/server.relay.before-send#1"], "chosen": 0}]
    monkeypatch.setattr(sim_crashes, "_outcomes", lambda *_: iter(played))
    result = CliRunner().invoke(root, ["sim", "crashes", "--list", "--json"])
    assert json.loads(result.stdout) == {
        "till.card.commit.before": 4,
        "server.relay.before-send": 1,
    }


@pytest.mark.parametrize(
    "only", ["", "sell", "torn-paid/till", "/till.card", "till.card.commit", "!postgres"]
)
def test_what_names_a_step_or_may_name_a_point_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    played = [{"cases": ["sell/till.card.commit.before#1"], "chosen": 0}]
    monkeypatch.setattr(sim_crashes, "_outcomes", lambda *_: iter(played))
    result = CliRunner().invoke(root, ["sim", "crashes", "--only", only])
    assert "SIM-CRASH-NONE" in result.stderr


@pytest.mark.search
def test_a_sample_of_the_crashes_leaves_nothing_wrong() -> None:
    outcome = crashes("--sample", str(SAMPLE), "--offset", offset(), "--jobs", "1")
    assert outcome["wrong"] == []
    assert outcome["cases_run"] == SAMPLE


@pytest.mark.search
def test_on_postgresql_the_database_server_may_die_in_the_middle_of_a_commit() -> None:
    outcome = crashes(
        *("--database", "postgresql", "--only", "!postgres", "--jobs", "1"),
        *("--sample", str(POSTGRES_SAMPLE), "--offset", offset()),
    )
    assert outcome["wrong"] == []
    assert outcome["cases_run"] == POSTGRES_SAMPLE


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_crash_leaves_anything_wrong(database: str) -> None:
    outcome = crashes("--database", database)
    assert outcome["wrong"] == []
    assert outcome["cases_run"] == outcome["cases"] > 1_000
