"""Who is logged in at this station: one small file beside its enrolment, for its owner alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from dobmi.cardlib.custody import sync_folder
from dobmi.provisioning.errors import StationFileUnusable

_NAME = "staff-session.json"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """`expires_at` Unix seconds; the server may end it before."""

    token: str = field(repr=False)
    name: str
    roles: tuple[str, ...]
    expires_at: int


def staff_file_of(enrolment_file: Path) -> Path:
    return enrolment_file.with_name(_NAME)


def logged_in(file: Path) -> LoggedIn | None:
    """Nobody if the file is not there, or is not one that this program wrote."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return LoggedIn(
            token=str(content["token"]),
            name=str(content["name"]),
            roles=tuple(map(str, content["roles"])),
            expires_at=int(content["expires_at"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def token_in(file: Path) -> str:
    """What goes with each request, "" if nobody is logged in."""
    found = logged_in(file)
    return found.token if found is not None and found.token.isascii() else ""


def keep(file: Path, session: LoggedIn) -> None:
    """Mode 600 from the first byte on, and never half. Raises StationFileUnusable."""
    content = {
        "token": session.token,
        "name": session.name,
        "roles": list(session.roles),
        "expires_at": session.expires_at,
    }
    temporary = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        temporary.unlink(missing_ok=True)
        with open(
            temporary,
            "w",
            encoding="utf-8",
            opener=lambda path, flags: os.open(path, flags | os.O_EXCL, 0o600),
        ) as written:
            json.dump(content, written)
            written.flush()
            os.fsync(written.fileno())
        temporary.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        raise StationFileUnusable(file=file.name, detail=error.strerror) from error


def forget(file: Path) -> None:
    """Harmless again. Raises StationFileUnusable."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise StationFileUnusable(file=file.name, detail=error.strerror) from error
