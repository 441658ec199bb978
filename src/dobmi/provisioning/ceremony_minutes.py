"""The minutes of key ceremonies: what happened, signed by the server's key, chained by their hashes.

A file is JSON: `minutes`, the `public_key` that signed them and the `signature`, Ed25519 over
`dobmi/ceremony-minutes/1`, a line end, and the canonical JSON of `minutes` (sorted keys, no spaces,
UTF-8). The hash of minutes is SHA-256 over the canonical JSON of the whole file's content. They hold
check values and fingerprints, and nothing that is secret.

A folder holds ceremony-0001.json and so on; beside each a page to print, with lines to sign by hand.
Minutes are written as `.pending` before the keys are stored and named afterwards (`finish` or
`give_up` what a crash left). Rehearsals have a folder of their own and a chain of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dobmi.cardlib.custody import sync_folder
from dobmi.provisioning.errors import (
    ClockBehindCeremony,
    MinutesBroken,
    MinutesForged,
    MinutesUnusable,
)
from dobmi.wib import local_time

FORMAT: Final = "dobmi ceremony minutes 1"
_DOMAIN = b"dobmi/ceremony-minutes/1\n"
_FILE_SIZE_MAX = 1 << 20
Translate = Callable[[str], str]


class CeremonyKind(StrEnum):
    FIRST = "first"
    """Generation 1 of the card keys, and the server's signing keys."""
    RENEW = "renew"
    """A further generation of the card keys."""
    RECOVER = "recover"
    """The keys of an earlier ceremony, from its shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodianEntry:
    """`component` is the check value of what the person put in (none when keys are recovered),
    `share` the number of their share, `fingerprint` and `form` (`paper` or `file`) are its.
    """

    name: str
    component: str
    share: int
    fingerprint: str
    form: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """What there is to know of a ceremony, and may be known by anybody.

    `keys` are the check values by master, `public_keys` the signing keys' by name. `restores` is the
    id of the ceremony whose keys were recovered. `older_until_unix_seconds`: until when cards with
    older keys are taken; 0 in a first ceremony. `staff_checked`: the custodians were looked up in
    the central database.
    """

    number: int
    kind: CeremonyKind
    rehearsal: bool
    ceremony: str
    unix_seconds: int
    time: str
    place: str
    machine: str
    software: str
    custodians: tuple[CustodianEntry, ...]
    witnesses: tuple[str, ...]
    staff_checked: bool
    threshold: int
    shares: int
    generation: int
    keys: Mapping[str, str]
    public_keys: Mapping[str, str]
    destination: str
    older_until_unix_seconds: int
    restores: str
    previous: str

    @property
    def ceremony_id(self) -> bytes:
        return bytes.fromhex(self.ceremony)


@dataclass(frozen=True, slots=True)
class SignedMinutes:
    """`public_key` 32 bytes, `signature` 64."""

    minutes: Minutes
    public_key: bytes
    signature: bytes

    @property
    def hash(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(_canonical(self._content())).hexdigest()

    def to_text(self) -> str:
        return json.dumps(self._content(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    def _content(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "minutes": asdict(self.minutes),
            "public_key": self.public_key.hex(),
            "signature": self.signature.hex(),
        }


def sign_minutes(
    minutes: Minutes, public_key: bytes, sign: Callable[[bytes], bytes]
) -> SignedMinutes:
    return SignedMinutes(minutes, public_key, sign(_signed(minutes)))


def parse_minutes(text: str, name: str) -> SignedMinutes:
    """The minutes in a file named `name`, their signature verified with the key in them.

    Whose key that is, `require_signer` says. Raises MinutesUnusable, MinutesForged.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT or set(content) != {
            "format",
            "minutes",
            "public_key",
            "signature",
        }:
            raise MinutesUnusable(file=name, detail="another format")
        minutes = _minutes(content["minutes"])
        public_key = bytes.fromhex(content["public_key"])
        signature = bytes.fromhex(content["signature"])
        verifier = Ed25519PublicKey.from_public_bytes(public_key)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MinutesUnusable(file=name, detail=type(error).__name__) from error
    try:
        verifier.verify(signature, _signed(minutes))
    except InvalidSignature as error:
        raise MinutesForged(file=name, detail="the signature is over something else") from error
    return SignedMinutes(minutes, public_key, signature)


def require_signer(signed: SignedMinutes, public_key: bytes, name: str) -> None:
    """Raises MinutesForged if another key than `public_key` signed them."""
    if signed.public_key != public_key:
        raise MinutesForged(file=name, detail="another key signed them")


def read_minutes(path: Path) -> SignedMinutes:
    """Raises MinutesUnusable, MinutesForged."""
    try:
        data = path.read_bytes()[: _FILE_SIZE_MAX + 1]
        text = data.decode()
    except OSError as error:
        raise MinutesUnusable(file=path.name, detail=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise MinutesUnusable(file=path.name, detail="it is no text") from error
    return parse_minutes(text, path.name)


def minutes_path(folder: Path, number: int) -> Path:
    return folder / f"ceremony-{number:04}.json"


def pending_path(folder: Path) -> Path:
    return folder / "ceremony.pending"


def read_chain(folder: Path) -> list[SignedMinutes]:
    """All minutes of the folder, oldest first; each must follow the one before, by the same signer.

    Raises MinutesBroken, MinutesUnusable, MinutesForged.
    """
    chain: list[SignedMinutes] = []
    numbered = sorted(folder.glob("ceremony-[0-9][0-9][0-9][0-9].json"))
    for at, path in enumerate(numbered):
        found = read_minutes(path)
        if path != minutes_path(folder, at + 1) or not follows(found, chain):
            raise MinutesBroken(file=path.name)
        chain.append(found)
    return chain


def follows(signed: SignedMinutes, chain: Sequence[SignedMinutes]) -> bool:
    """Whether these minutes are the next of the chain."""
    minutes = signed.minutes
    if not chain:
        return minutes.number == 1 and not minutes.previous
    last = chain[-1]
    return (
        minutes.number == last.minutes.number + 1
        and minutes.previous == last.hash
        and minutes.unix_seconds >= last.minutes.unix_seconds
        and minutes.rehearsal == last.minutes.rehearsal
        and (signed.public_key == last.public_key or minutes.rehearsal)
    )


def require_later(chain: Sequence[SignedMinutes], now: int) -> None:
    """Raises ClockBehindCeremony if the last ceremony was after `now` (Unix seconds)."""
    if chain and now < chain[-1].minutes.unix_seconds:
        raise ClockBehindCeremony(
            now=local_time(now), last=local_time(chain[-1].minutes.unix_seconds)
        )


def write_pending(folder: Path, signed: SignedMinutes) -> None:
    """Before the keys are stored: on disk when this returns. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(pending_path(folder), signed.to_text())


def pending_minutes(folder: Path) -> SignedMinutes | None:
    """What a ceremony left that was interrupted. Raises MinutesUnusable, MinutesForged."""
    return read_minutes(pending_path(folder)) if pending_path(folder).exists() else None


def finish(folder: Path, signed: SignedMinutes, page: str) -> Path:
    """The keys are stored: give the minutes their name, and put the page to print beside them."""
    path = minutes_path(folder, signed.minutes.number)
    write_whole(path.with_suffix(".txt"), page)
    pending_path(folder).replace(path)
    sync_folder(folder)
    return path


def give_up(folder: Path) -> None:
    """The keys were not stored: there was no such ceremony."""
    pending_path(folder).unlink(missing_ok=True)


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """All of it or nothing, on the disk when this returns. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def _minutes(content: Mapping[str, Any]) -> Minutes:
    """Raises ValueError, KeyError, TypeError for what is not what `asdict` made."""
    types = {field.name: field.type for field in fields(Minutes)}
    if set(content) != set(types):
        msg = "other fields"
        raise ValueError(msg)
    for name, value in content.items():
        wanted = {"int": int, "bool": bool, "str": str}.get(str(types[name]))
        if wanted is not None and type(value) is not wanted:
            msg = f"{name} is of another type"
            raise TypeError(msg)
    for name in ("keys", "public_keys"):
        if not all(isinstance(part, str) for pair in content[name].items() for part in pair):
            msg = f"{name} is of another type"
            raise TypeError(msg)
    minutes = Minutes(
        **{
            **content,
            "kind": CeremonyKind(content["kind"]),
            "custodians": tuple(CustodianEntry(**one) for one in content["custodians"]),
            "witnesses": tuple(map(str, content["witnesses"])),
        }
    )
    bytes.fromhex(minutes.ceremony)
    return minutes


def _signed(minutes: Minutes) -> bytes:
    return _DOMAIN + _canonical(asdict(minutes))


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
