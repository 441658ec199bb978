"""What the set-up page works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dobmi.terminal.pairing import TillFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """What setting up works with. `restart` has the program read its settings again."""

    files: TillFiles
    settings_file: Path
    reader: str
    printer: str
    columns: int
    cashier: str
    server: str
    language: str
    passphrase: str = field(repr=False)
    restart: Callable[[], None]
