"""Key custody: master keys behind one interface; the first implementation is an encrypted file.

Each role's file holds only the masters that the design gives that role (docs/card-layout.md), so a
till's file cannot make a credit. Masters never leave the custody: it answers with the key of one
card.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from dobmi.cardlib.crypto import Aes128Diversifier, aes_cmac
from dobmi.cardlib.errors import (
    DamagedKeyFile,
    EmptyPassphrase,
    KeyFileUnusable,
    KeyNotHeld,
    NotSealedForUs,
    OtherKeyFileFormat,
    RehearsalKeyFile,
    WrongPassphrase,
)
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.purse_layout import CardKey, diversification_input
from dobmi.cardlib.sealing import seal, unseal

_log = logging.getLogger(__name__)

VERSION_MAX = 255
_FORMATS = "dobmi key file "
_FORMAT = _FORMATS + "1"
REHEARSAL_FORMAT = "dobmi rehearsal keys 1"
"""Of a file as a ceremony's rehearsal leaves it: only another rehearsal reads it."""
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 15, 8, 1
_SCRYPT_N_MAX = 1 << 20


class KeyRole(StrEnum):
    """Whoever holds keys."""

    TILL = "till"
    STATION = "station"
    ISSUING_HSM = "issuing-hsm"
    SERVER = "server"
    AUDITOR = "auditor"


ROLE_KEYS: Final[Mapping[KeyRole, frozenset[CardKey]]] = MappingProxyType(
    {
        KeyRole.TILL: frozenset({CardKey.DEBIT, CardKey.PIN}),
        KeyRole.STATION: frozenset(),  # it relays what the server says to the card
        KeyRole.ISSUING_HSM: frozenset({CardKey.PICC, CardKey.APPLICATION}),
        KeyRole.SERVER: frozenset(CardKey),
        KeyRole.AUDITOR: frozenset({CardKey.TRANSACTION_MAC}),
    }
)
"""Which masters a role may hold, or may be given one card's key of: the one table of it.

A till's cannot credit a card nor make a transaction MAC. The server's HSM is the issuing one, too,
as long as issuing is relayed; an HSM that only makes blank cards ours needs no more than its row.
"""


def check_value(master: bytes) -> bytes:
    """Three bytes that tell masters apart and say nothing of them: AES-CMAC of 16 zero bytes.

    No card's key: a diversification input begins with 01.
    """
    return aes_cmac(master, bytes(16))[:3]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """One master where it is kept. `exportable`: its bytes can be had from there."""

    key: CardKey
    generation: int
    check_value: bytes
    place: str
    exportable: bool


class KeyCustody(Protocol):
    """Keeps master keys; derives the key of one card from them (AN10922, AES-128)."""

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        """The card `uid`'s own key, of `version` or the newest held. Raises KeyNotHeld."""


class SigningCustody(Protocol):
    """Keeps Ed25519 signing keys by name."""

    def public_key(self, name: str) -> bytes:
        """32 raw bytes. Raises KeyNotHeld."""

    def sign(self, name: str, message: bytes) -> bytes:
        """64 bytes. Raises KeyNotHeld."""


class ServerCustody(KeyCustody, SigningCustody, Protocol):
    """What the central server needs of the place where its keys are.

    Every method may raise CustodyUnavailable and its kinds. Threads may share one, and so may a
    forked process: it finds its own way to a token.
    """

    def card_key_values(self, key: CardKey, uids: Sequence[bytes], version: int) -> list[bytes]:
        """The 16 bytes of `card_key` of many cards, in their order. Raises KeyNotHeld."""

    def pinned(self, key: CardKey, version: int) -> KeyCustody:
        """The same with `key` of that generation alone. Raises KeyNotHeld."""

    def generations(self, key: CardKey) -> tuple[int, ...]:
        """Those held, the oldest first; none: an empty one."""

    def held(self) -> tuple[HeldKey, ...]:
        """Every master, by key and generation."""

    def masters_of(self, role: KeyRole) -> KeyRing:
        """The masters that ROLE_KEYS gives this role, to be given to it; no signing keys.

        Raises MasterLocked for one that cannot leave where it is, KeyNotHeld.
        """

    def sealed_masters(self, masters: Iterable[CardKey], public_key: bytes, info: bytes) -> bytes:
        """All generations of these masters, sealed to the holder of an X25519 key (sealing.py).

        Raises MasterLocked, KeyNotHeld.
        """

    def check(self) -> None:
        """Whether it can be used now. Raises CustodyUnavailable."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys in memory, as a file gave them: masters by role and version, other keys by name.

    Versions are 1 to 255; 0 is a factory-fresh key's version on a card. `signing` are Ed25519
    private keys, `sealing` X25519 private keys, to which others can seal something.
    """

    masters: Mapping[CardKey, Mapping[int, bytes]] = field(default_factory=dict, repr=False)
    signing: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    sealing: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    _diversifiers: dict[bytes, Aes128Diversifier] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Pickled as the keys alone: what is set up from them is set up again."""
        return type(self), (self.masters, self.signing, self.sealing)

    @classmethod
    def generate(
        cls,
        masters: Iterable[CardKey] = (),
        signing: Iterable[str] = (),
        sealing: Iterable[str] = (),
    ) -> Self:
        """New random keys, version 1."""
        return cls(
            masters={key: {1: secrets.token_bytes(16)} for key in masters},
            signing={name: Ed25519PrivateKey.generate().private_bytes_raw() for name in signing},
            sealing={name: X25519PrivateKey.generate().private_bytes_raw() for name in sealing},
        )

    def only(self, masters: Iterable[CardKey] = (), signing: Iterable[str] = ()) -> KeyRing:
        """A ring with just these keys of this one. Raises KeyNotHeld."""
        wanted = set(masters)
        for key in wanted - self.masters.keys():
            raise KeyNotHeld(key=key.value, version=1)
        return KeyRing(
            masters={key: self.masters[key] for key in CardKey if key in wanted},
            signing={name: self.signing[name] for name in signing},
        )

    def renewed(self) -> KeyRing:
        """This ring with a further generation, of new random keys, of every master it holds.

        Raises ValueError after generation 255.
        """
        renewed: dict[CardKey, Mapping[int, bytes]] = {}
        for key, versions in self.masters.items():
            newest = max(versions) + 1
            if newest > VERSION_MAX:
                msg = f"a key has at most {VERSION_MAX} generations"
                raise ValueError(msg)
            renewed[key] = {**versions, newest: secrets.token_bytes(16)}
        return replace(self, masters=renewed)

    def pinned(self, key: CardKey, version: int) -> KeyRing:
        """This ring with `key` of that generation alone. Raises KeyNotHeld."""
        held = self.masters.get(key, {})
        if version not in held:
            raise KeyNotHeld(key=key.value, version=version)
        return replace(self, masters={**self.masters, key: {version: held[version]}})

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        versions = self.masters.get(key, {})
        if version is None:
            version = max(versions, default=0)
        if version not in versions:
            raise KeyNotHeld(key=key.value, version=version)
        derived = self._diversifier(versions[version]).key(diversification_input(key, uid))
        return DesfireKey.aes(derived, version=version)

    def card_key_values(self, key: CardKey, uids: Sequence[bytes], version: int) -> list[bytes]:
        """The 16 bytes of `card_key` of many cards (UIDs of 7 bytes), in their order.

        Raises KeyNotHeld; ValueError for a UID of another length.
        """
        versions = self.masters.get(key, {})
        if version not in versions:
            raise KeyNotHeld(key=key.value, version=version)
        inputs = [diversification_input(key, uid) for uid in uids]
        return self._diversifier(versions[version]).keys(inputs)

    def generations(self, key: CardKey) -> tuple[int, ...]:
        return tuple(sorted(self.masters.get(key, {})))

    def held(self) -> tuple[HeldKey, ...]:
        return tuple(
            HeldKey(
                key=key,
                generation=version,
                check_value=check_value(self.masters[key][version]),
                place="file",
                exportable=True,
            )
            for key in CardKey
            for version in self.generations(key)
        )

    def masters_of(self, role: KeyRole) -> KeyRing:
        return self.only(masters=ROLE_KEYS[role])

    def check(self) -> None:
        """What is in memory is there."""

    def _diversifier(self, master: bytes) -> Aes128Diversifier:
        """One for each master of the ring, made when it is first needed."""
        found = self._diversifiers.get(master)
        if found is None:
            found = self._diversifiers[master] = Aes128Diversifier(master)
        return found

    def public_key(self, name: str) -> bytes:
        return self._signing_key(name).public_key().public_bytes_raw()

    def sign(self, name: str, message: bytes) -> bytes:
        return self._signing_key(name).sign(message)

    def sealing_public_key(self, name: str) -> bytes:
        """32 raw bytes (X25519). Raises KeyNotHeld."""
        return (
            X25519PrivateKey.from_private_bytes(self._sealing_key(name))
            .public_key()
            .public_bytes_raw()
        )

    def sealed_masters(self, masters: Iterable[CardKey], public_key: bytes, info: bytes) -> bytes:
        """All generations of these masters, sealed to the holder of an X25519 key (sealing.py)."""
        content = json.dumps({"masters": _masters_as_json(self.only(masters=masters))})
        return seal(public_key, content.encode(), info)

    def unseal_masters(self, name: str, sealed: bytes, info: bytes) -> KeyRing:
        """The masters that were sealed to our key `name`. Raises KeyNotHeld, NotSealedForUs."""
        content = unseal(self._sealing_key(name), sealed, info)
        try:
            return KeyRing(masters=_masters_from_json(json.loads(content)["masters"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotSealedForUs from error

    def _sealing_key(self, name: str) -> bytes:
        if name not in self.sealing:
            raise KeyNotHeld(key=name, version=1)
        return self.sealing[name]

    def _signing_key(self, name: str) -> Ed25519PrivateKey:
        if name not in self.signing:
            raise KeyNotHeld(key=name, version=1)
        return Ed25519PrivateKey.from_private_bytes(self.signing[name])


def save_key_file(path: Path, ring: KeyRing, passphrase: str) -> None:
    """Write `ring`, encrypted: scrypt from the passphrase, AES-256-GCM. Mode 600, never half.

    Raises FileExistsError when there is a file already: keys are never overwritten, so the written
    file is linked, not renamed. Raises KeyFileUnusable, EmptyPassphrase.
    """
    with _usable(path):
        if path.exists():
            raise FileExistsError(path)
        temporary = _write_beside(path, ring, passphrase)
        os.link(temporary, path)
        temporary.unlink()
        sync_folder(path.parent)


def replace_key_file(path: Path, ring: KeyRing, passphrase: str) -> None:
    """Write `ring` in the place of the file there is, all of it or none.

    For a ring that has the keys of the old one and more: nothing of the old file remains. Raises
    KeyFileUnusable, EmptyPassphrase.
    """
    with _usable(path):
        _write_beside(path, ring, passphrase).replace(path)
        sync_folder(path.parent)


def _write_beside(path: Path, ring: KeyRing, passphrase: str) -> Path:
    """The encrypted file under its temporary name, on disk."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = {
        "format": _FORMAT,
        "scrypt": {"n": _SCRYPT_N, "r": _SCRYPT_R, "p": _SCRYPT_P, "salt": salt.hex()},
        "nonce": nonce.hex(),
    }
    content = {
        "masters": _masters_as_json(ring),
        "signing": {name: value.hex() for name, value in ring.signing.items()},
    }
    if ring.sealing:  # so that files without one can be read by programs of before there were any
        content["sealing"] = {name: value.hex() for name, value in ring.sealing.items()}
    key = _stretch(passphrase, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    sealed = AESGCM(key).encrypt(nonce, json.dumps(content).encode(), _bound(header))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({**header, "sealed": sealed.hex()}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def sync_folder(folder: Path) -> None:
    """A new file's name survives a power cut only once its folder is synced. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_key_file(path: Path, passphrase: str) -> KeyRing:
    """Raises KeyFileUnusable, DamagedKeyFile and its kind OtherKeyFileFormat, WrongPassphrase,
    EmptyPassphrase, RehearsalKeyFile. A file that others may read is opened, and the log says so.
    """
    with _usable(path):
        text = path.read_bytes()
        mode = path.stat().st_mode
    if mode & 0o077:
        _log.warning("the key file %s is open to others: chmod 600 it", path.name)
    try:
        file = json.loads(text)
        header = {name: file[name] for name in ("format", "scrypt", "nonce")}
        sealed = bytes.fromhex(file["sealed"])
        nonce = bytes.fromhex(header["nonce"])
        scrypt = header["scrypt"]
        if header["format"] == REHEARSAL_FORMAT:
            raise RehearsalKeyFile(path=path.name)
        if header["format"] != _FORMAT and str(header["format"]).startswith(_FORMATS):
            raise OtherKeyFileFormat(path=path.name, format=header["format"])
        salt = bytes.fromhex(scrypt["salt"])
        n, r, p = int(scrypt["n"]), int(scrypt["r"]), int(scrypt["p"])
        if header["format"] != _FORMAT or not (n <= _SCRYPT_N_MAX and r <= 32 and p <= 16):
            raise DamagedKeyFile(path=path.name)
        key = _stretch(passphrase, salt, n, r, p)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedKeyFile(path=path.name) from error
    try:
        content = json.loads(AESGCM(key).decrypt(nonce, sealed, _bound(header)))
    except (InvalidTag, ValueError) as error:
        raise WrongPassphrase(path=path.name) from error
    try:
        sealing = content.get("sealing", {})
        return KeyRing(
            masters=_masters_from_json(content["masters"]),
            signing={name: bytes.fromhex(value) for name, value in content["signing"].items()},
            sealing={name: bytes.fromhex(value) for name, value in sealing.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # It was sealed whole, so a later program wrote it, with kinds of keys that this one has not.
        raise OtherKeyFileFormat(path=path.name, format=_FORMAT) from error


def _masters_as_json(ring: KeyRing) -> dict[str, dict[str, str]]:
    return {
        key.value: {str(version): value.hex() for version, value in versions.items()}
        for key, versions in ring.masters.items()
    }


def _masters_from_json(masters: Mapping[str, Mapping[str, str]]) -> dict[CardKey, dict[int, bytes]]:
    return {
        CardKey(key): {int(version): bytes.fromhex(value) for version, value in held.items()}
        for key, held in masters.items()
    }


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Say what the disk or its permissions forbid as an error of ours."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise
        raise KeyFileUnusable(path=path.name, detail=error.strerror or str(error)) from error


def _stretch(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    if not passphrase:
        raise EmptyPassphrase
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def _bound(header: Mapping[str, object]) -> bytes:
    """The header is authenticated with the content, so that no cost can be lowered unseen."""
    return json.dumps(header, sort_keys=True).encode()
