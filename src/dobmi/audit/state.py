"""What an audit saw, for the next one to go on from. JSON; docs/audit.md says what is in it.

It spares signatures, not looking: a till's piece or a card is passed over only if every row that was
read for it is what it was when it was found clean.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dobmi.audit.cards import Known
from dobmi.audit.errors import NotAStateFile
from dobmi.audit.tills import Keys, Seen, Word

_FORMAT = "dobmi audit state 2"
RULES_VERSION = 2
"""Raised whenever a rule is added or made stricter: what older rules passed is looked at again."""


@dataclass(frozen=True, slots=True)
class State:
    """`public_keys` and `tills` by terminal, `cards` by UID, `days`: hashes of closed days' heads."""

    public_keys: Mapping[int, bytes] = field(default_factory=dict)
    tills: Mapping[int, Seen] = field(default_factory=dict)
    cards: Mapping[bytes, Known] = field(default_factory=dict)
    days: Mapping[int, bytes] = field(default_factory=dict)
    checked_with: str = ""
    papers: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what nothing else vouches for and no row of which changes, by name."""

    def usable_with(self, keys: Keys) -> State:
        """Without the digests if they were made by other rules or with other keys."""
        if self.checked_with == fingerprint(keys):
            return self
        return State(
            self.public_keys,
            {
                till: Seen(seen.head_sequence, seen.head_hash, {}, signatures_hold=False)
                for till, seen in self.tills.items()
            },
            {uid: replace(known, digest="") for uid, known in self.cards.items()},
            self.days,
            papers=self.papers,
        )


def fingerprint(keys: Keys) -> str:
    """Which rules and keys an audit had; nothing of a key can be told from it."""
    known = [str(RULES_VERSION)]
    known += [
        f"{version}:{hashlib.sha256(b'dobmi audit' + master).hexdigest()[:16]}"
        for version, master in sorted(keys.mac.masters.items())
    ]
    known += [key.hex() if key is not None else "-" for key in (keys.server, keys.issuer)]
    return hashlib.sha256("/".join(known).encode()).hexdigest()


def load_state(path: Path) -> State:
    """Raises NotAStateFile."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise NotAStateFile(path=path.name, detail="another format")
        return State(
            {int(till): bytes.fromhex(row["public_key"]) for till, row in content["tills"].items()},
            {int(till): _seen(int(till), row) for till, row in content["tills"].items()},
            {
                bytes.fromhex(uid): Known(counter, balance, credits_, digest, tuple(identity))
                for uid, (counter, balance, credits_, digest, identity) in content["cards"].items()
            },
            {int(day): bytes.fromhex(hash_) for day, hash_ in content["days"].items()},
            content["checked_with"],
            {str(name): str(hash_) for name, hash_ in content["papers"].items()},
        )
    except OSError as error:
        raise NotAStateFile(path=path.name, detail=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAStateFile(path=path.name, detail="damaged") from error


def save_state(path: Path, state: State) -> None:
    """All of it or none. Raises OSError."""
    content = {
        "format": _FORMAT,
        "checked_with": state.checked_with,
        "tills": {
            str(till): _as_json(state.public_keys[till], seen) for till, seen in state.tills.items()
        },
        "cards": {
            uid.hex(): [
                known.counter,
                known.balance,
                known.credits,
                known.digest,
                list(known.identity),
            ]
            for uid, known in state.cards.items()
        },
        "days": {str(day): hash_.hex() for day, hash_ in state.days.items()},
        "papers": dict(state.papers),
    }
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _as_json(public_key: bytes, seen: Seen) -> dict[str, Any]:
    return {
        "public_key": public_key.hex(),
        "head": seen.head_sequence,
        "hash": seen.head_hash.hex(),
        "pieces": {
            str(first): [digest, [[w.uid.hex(), w.doubt, w.sequence] for w in words]]
            for first, (digest, words) in seen.pieces.items()
        },
    }


def _seen(till: int, row: Mapping[str, Any]) -> Seen:
    pieces = {
        int(first): (
            str(digest),
            tuple(Word(bytes.fromhex(uid), till, doubt, number) for uid, doubt, number in words),
        )
        for first, (digest, words) in row["pieces"].items()
    }
    return Seen(row["head"], bytes.fromhex(row["hash"]), pieces)
