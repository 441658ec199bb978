"""Where a server's keys are: named by one setting, opened, and filled by a key ceremony.

    central.keys                                             an encrypted file
    pkcs11:token=NAME;module=/usr/lib/softhsm/libsofthsm2.so  a token; an encrypted file beside it

The file beside a token holds the masters that the design hands out to tills (docs/keys.md), so that
a till can be paired; whatever else is in the token stays there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dobmi.cardlib.custody import (
    ROLE_KEYS,
    VERSION_MAX,
    KeyRing,
    KeyRole,
    ServerCustody,
    load_key_file,
    replace_key_file,
    save_key_file,
)
from dobmi.cardlib.errors import MasterDiffers
from dobmi.cardlib.purse_layout import CardKey

_SCHEME = "pkcs11:"


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Everything in one encrypted file."""

    file: Path

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """The token of that label, through that PKCS#11 module; `distribution`: the file beside it."""

    token: str
    module: Path
    distribution: Path

    def __str__(self) -> str:
        return f"{_SCHEME}token={self.token};module={self.module}"


KeyPlace = FilePlace | TokenPlace


@dataclass(frozen=True, slots=True)
class Unlocking:
    """What opens a place: the file's passphrase and the token's PIN (unused for a file)."""

    passphrase: str = field(repr=False)
    pin: str = field(default="", repr=False)


def parse_place(text: str, folder: Path, distribution: Path) -> KeyPlace:
    """A setting as in the module's head; files are relative to `folder`. Raises ValueError."""
    if not text.startswith(_SCHEME):
        return FilePlace(folder / Path(text).expanduser())
    fields: dict[str, str] = {}
    for part in text[len(_SCHEME) :].split(";"):
        name, is_set, value = part.partition("=")
        if not is_set or not value or name in fields or name not in {"token", "module"}:
            msg = "a token is named as pkcs11:token=NAME;module=PATH"
            raise ValueError(msg)
        fields[name] = value
    if fields.keys() != {"token", "module"}:
        msg = "a token is named as pkcs11:token=NAME;module=PATH"
        raise ValueError(msg)
    return TokenPlace(fields["token"], Path(fields["module"]), folder / distribution.expanduser())


def open_custody(place: KeyPlace, unlocking: Unlocking) -> ServerCustody:
    """Raises KeyFileUnusable, DamagedKeyFile, WrongPassphrase, EmptyPassphrase, CustodyUnavailable
    and its kinds.
    """
    if isinstance(place, FilePlace):
        return load_key_file(place.file, unlocking.passphrase)
    from dobmi.cardlib.custody_pkcs11 import Pkcs11Custody  # noqa: PLC0415 - an extra's library

    return Pkcs11Custody.open(place, unlocking)


def store_masters(
    place: KeyPlace,
    unlocking: Unlocking,
    masters: Mapping[CardKey, bytes],
    generation: int,
    signing: Mapping[str, bytes] | None = None,
) -> None:
    """Put these masters (16 bytes each) of one generation, and Ed25519 signing keys (32 raw bytes
    by name), where the server's keys are: all of them or none. The file is made if there is none.

    What is there already and the same is left as it is, so that an interrupted call is repeated;
    nothing that is there is ever overwritten. Raises MasterDiffers, KeyFileUnusable,
    WrongPassphrase, DamagedKeyFile, EmptyPassphrase, CustodyUnavailable and its kinds; ValueError
    for a generation or a length that no key has.
    """
    signing = signing or {}
    if not 1 <= generation <= VERSION_MAX or any(len(value) != 16 for value in masters.values()):
        msg = f"a master has 16 bytes and a generation of 1 to {VERSION_MAX}"
        raise ValueError(msg)
    if any(len(value) != 32 for value in signing.values()):
        msg = "an Ed25519 signing key has 32 bytes"
        raise ValueError(msg)
    if isinstance(place, FilePlace):
        _add_to_file(place.file, unlocking.passphrase, masters, generation, signing)
        return
    from dobmi.cardlib.custody_pkcs11 import store_in_token  # noqa: PLC0415 - an extra's library

    handed_out = ROLE_KEYS[KeyRole.TILL]
    for_tills = {key: value for key, value in masters.items() if key in handed_out}
    # The file first: a master that tills cannot be given must not be used for cards.
    if for_tills:
        _add_to_file(place.distribution, unlocking.passphrase, for_tills, generation, {})
    store_in_token(place, unlocking.pin, masters, generation, signing)


def make_masters(
    place: KeyPlace,
    unlocking: Unlocking,
    masters: Iterable[CardKey],
    generation: int,
    signing: Iterable[str] = (),
) -> None:
    """As `store_masters`, of new random keys; a key that is there already stays as it is.

    With a token, all but those that tills are given are made inside it, and were never elsewhere.
    """
    masters, signing = list(masters), list(signing)
    if isinstance(place, FilePlace):
        held = KeyRing()
        if place.file.exists():
            held = load_key_file(place.file, unlocking.passphrase)
        new = KeyRing.generate(
            masters=[key for key in masters if generation not in held.generations(key)],
            signing=[name for name in signing if name not in held.signing],
        )
        ours = {key: versions[1] for key, versions in new.masters.items()}
        store_masters(place, unlocking, ours, generation, new.signing)
        return
    from dobmi.cardlib.custody_pkcs11 import generate_in_token  # noqa: PLC0415 - an extra's library

    handed_out = ROLE_KEYS[KeyRole.TILL]
    held = KeyRing()
    if place.distribution.exists():
        held = load_key_file(place.distribution, unlocking.passphrase)
    ours = {
        key: held.masters.get(key, {}).get(generation) or secrets.token_bytes(16)
        for key in masters
        if key in handed_out
    }
    store_masters(place, unlocking, ours, generation)
    inside = [key for key in masters if key not in handed_out]
    generate_in_token(place, unlocking.pin, inside, generation, signing)


def forget_masters(
    place: KeyPlace, unlocking: Unlocking, masters: Iterable[CardKey], generation: int
) -> None:
    """Delete these masters of one generation where the server's keys are; copies elsewhere stay.

    Whether anything still needs them its caller knows. Done again it changes nothing. Raises
    KeyFileUnusable, WrongPassphrase, DamagedKeyFile, CustodyUnavailable and its kinds.
    """
    masters = list(masters)
    if isinstance(place, FilePlace):
        _take_from_file(place.file, unlocking.passphrase, masters, generation)
        return
    from dobmi.cardlib.custody_pkcs11 import forget_in_token  # noqa: PLC0415 - an extra's library

    forget_in_token(place, unlocking.pin, masters, generation)
    if place.distribution.exists():
        _take_from_file(place.distribution, unlocking.passphrase, masters, generation)


def _take_from_file(
    path: Path, passphrase: str, masters: Iterable[CardKey], generation: int
) -> None:
    ring = load_key_file(path, passphrase)
    gone = set(masters)
    after = {
        key: {version: value for version, value in held.items() if version != generation}
        if key in gone
        else held
        for key, held in ring.masters.items()
    }
    if after != ring.masters:
        left = KeyRing(masters=after, signing=ring.signing, sealing=ring.sealing)
        replace_key_file(path, left, passphrase)


def _add_to_file(
    path: Path,
    passphrase: str,
    masters: Mapping[CardKey, bytes],
    generation: int,
    signing: Mapping[str, bytes],
) -> None:
    exists = path.exists()
    ring = load_key_file(path, passphrase) if exists else KeyRing()
    for key, value in masters.items():
        if ring.masters.get(key, {}).get(generation, value) != value:
            raise MasterDiffers(key=key.value, version=generation, place=path.name)
    for name, value in signing.items():
        if ring.signing.get(name, value) != value:
            raise MasterDiffers(key=name, version=1, place=path.name)
    added = {
        key: {**ring.masters.get(key, {}), **({generation: masters[key]} if key in masters else {})}
        for key in CardKey
        if key in masters or key in ring.masters
    }
    after = KeyRing(masters=added, signing={**ring.signing, **signing}, sealing=ring.sealing)
    if not exists:
        save_key_file(path, after, passphrase)
    elif after != ring:
        replace_key_file(path, after, passphrase)
