"""A till's folder worked by `dobmi terminal`, for tests: enrolled, with an open shift and a card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dobmi.cardlib.custody import save_key_file
from dobmi.central.server import Central
from dobmi.cli.main import root
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.sync.feed import Feed, Outlet
from dobmi.terminal.ledger import Ledger
from support.servers import issued, new_central, serving, till_invitation
from support.tills import TILL_KEYS, balance_of

PASSPHRASE = "a passphrase for tests"


def row(output: str, left: str, number: int = 0) -> str:
    """What stands to the right of `left` on a paper, where that stands for the number-th time."""
    found = [line.strip() for line in output.splitlines() if line.strip().startswith(left)]
    return found[number].removeprefix(left).strip()


@dataclass
class Counter:
    """A till's folder with its settings file, and a card lying on its reader."""

    folder: Path
    central: Central
    url: str

    @property
    def card_path(self) -> Path:
        return self.folder / "card.json"

    @property
    def balance(self) -> int:
        return balance_of(SimulatedCard.load(self.card_path))

    def lay(self, card: SimulatedCard) -> None:
        card.save(self.card_path)

    def settings(self, server: str | None = None, card: Path | None = None) -> None:
        (self.folder / "dobmi.toml").write_text(
            f'language = "en"\npassphrase = "{PASSPHRASE}"\n[terminal]\n'
            f'reader = "sim:{card or self.card_path}"\nserver = "{server or self.url}"\n'
            'cashier = "Siti"\ncard_wait_seconds = 0.2\n',
            encoding="utf-8",
        )

    def run(self, *arguments: str, code: int = 0, typed: str | None = None) -> str:
        """`typed` is what is answered to questions."""
        result: Result = CliRunner().invoke(
            root,
            ["--config", str(self.folder / "dobmi.toml"), "terminal", *arguments],
            input=None if typed is None else f"{typed}\n",
        )
        if isinstance(result.exception, DoBMIError):
            raise result.exception
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json", code=code))
        return found

    def feed(self, outlet: Outlet) -> None:
        """Put it in force, as a sync would."""
        with closing(Ledger(self.folder / "terminal.db")) as ledger:
            state = ledger.sync_state()
            feed = Feed(
                version=state.feed_version,
                since=state.feed_version,
                unix_seconds=state.server_unix_seconds,
                limits=state.limits,
                outlet=outlet,
            )
            ledger.apply_feed(feed, state.synced_unix_seconds)


@contextmanager
def till_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    """Enrolled through the command itself; the card holds 100,000, the drawer 200,000."""
    # Each command opens two key files: stretch their test passphrase less.
    monkeypatch.setattr("dobmi.cardlib.custody._SCRYPT_N", 16)
    central = new_central(tmp_path)
    with serving(central) as url:
        made = Counter(tmp_path, central, url)
        made.settings()
        save_key_file(tmp_path / "till.keys", TILL_KEYS, PASSPHRASE)
        made.lay(issued(central, 100_000))
        output = made.run("enrol", str(till_invitation(central)))
        assert "This is now till" in output
        assert "Block list version" in output
        made.run("shift", "open", "--float", "200.000")
        yield made
