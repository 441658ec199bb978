"""One machine with office, station and till on it, worked by the program's commands."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from dobmi.cardlib.custody import load_key_file
from dobmi.central.database import open_database
from dobmi.central.server import Central
from dobmi.cli.main import root
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.settings import load_settings
from support.servers import serving

PASSPHRASE = "kopi tubruk"


@dataclass
class Machine:
    """One machine with every role on it, in a folder of its own."""

    folder: Path

    def __call__(
        self,
        *arguments: str,
        expect: int = 0,
        language: str = "en",
        passphrase: str | None = PASSPHRASE,
        say: str = "",
    ) -> str:
        result: Result = CliRunner().invoke(
            root,
            ["--config", str(self.folder / "dobmi.toml"), "--lang", language, *arguments],
            env={"DOBMI_PASSPHRASE": passphrase, "COLUMNS": "200"},
            input=say,
        )
        assert result.exit_code == expect, (arguments, result.output, result.exception)
        return result.output

    def use_card(self, name: str) -> None:
        """Lay another card on both readers."""
        settings = (self.folder / "dobmi.toml").read_text()
        reader = f'reader = "sim:{self.folder / name}"'
        (self.folder / "dobmi.toml").write_text(re.sub(r"reader = .*", reader, settings))

    def serving(self) -> AbstractContextManager[str]:
        settings = load_settings(self.folder / "dobmi.toml").central
        database = open_database(settings.database, self.folder)
        ring = load_key_file(self.folder / "central.keys", PASSPHRASE)
        return serving(Central(database, ring, settings), settings.port)


def invitation(printed: str) -> str:
    found = re.search(r"[A-Z2-7]{6}(-[A-Z2-7]{6}){3}", printed)
    assert found
    return found[0]


def new_machine(folder: Path, port: int) -> Machine:
    """With the central server's keys and tables, which serves at `port`, and the tills' keys."""
    (folder / "dobmi.toml").write_text(f"""
[terminal]
reader = "sim:{folder / "siti.json"}"
server = "http://127.0.0.1:{port}"
cashier = "Rina"
card_wait_seconds = 5

[provisioning]
reader = "sim:{folder / "siti.json"}"
server = "http://127.0.0.1:{port}"
card_wait_seconds = 5

[central]
port = {port}

[central.originality_keys]
simulation = "{SIMULATION_PUBLIC_KEY.hex()}"
""")
    machine = Machine(folder)
    machine("central", "keys", "init")
    machine("central", "init")
    machine("central", "keys", "till", str(folder / "till.keys"))
    return machine
