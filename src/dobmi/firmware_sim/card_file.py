"""A card kept in a file between runs: JSON that people can read, replaced whole or not at all.

It holds the card's keys in clear: it *is* the card.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dobmi.firmware_sim.state import CardState

FORMAT = "dobmi simulated card"
VERSION = 1

_STATE = TypeAdapter(CardState)


class CardFileError(Exception):
    """The file is no card of this program, or cannot be read; the text says which."""


def write_state(path: Path, state: CardState) -> None:
    """Durable when it returns: a new file, synced, takes the old one's place. Raises OSError."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "card": _STATE.dump_python(state, mode="json"),
    }
    text = json.dumps(document, indent=2) + "\n"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_state(path: Path) -> CardState:
    """Raises CardFileError: missing, unreadable, of another format or version, or damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise CardFileError(msg) from error
    except ValueError as error:
        msg = f"{path} is no JSON: {error}"
        raise CardFileError(msg) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        msg = f"{path} is no simulated card"
        raise CardFileError(msg)
    if document.get("version") != VERSION:
        msg = f"{path} is of version {document.get('version')}, this program reads {VERSION}"
        raise CardFileError(msg)
    try:
        return _STATE.validate_python(document.get("card"))
    except ValidationError as error:
        # Not the error's own text: it would quote keys.
        places = ", ".join(".".join(str(part) for part in e["loc"]) for e in error.errors())
        msg = f"{path} is a damaged card: {places}"
        raise CardFileError(msg) from None
