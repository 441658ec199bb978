"""A key ceremony: a root secret from several people's randomness, and all keys from the root.

    component   SHA-256 over what a custodian gave and 32 random bytes of the machine
    root        HKDF-SHA256 over all components: 16 bytes that none of the custodians knows alone
    keys        HKDF-SHA256 from the root, each for its name, kind and generation alone
    shares      the root by Shamir's scheme: as many as the threshold says restore it, fewer say nothing

Bytes in, bytes out: who is asked what, and where it is kept, is the command's matter (cli/ceremony.py;
docs/keys.md has the course). Keys are derived, and not made at random and backed up, so that one short
secret brings all of them back (docs/decisions/0021).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dobmi.cardlib.custody import VERSION_MAX, check_value
from dobmi.cardlib.purse_layout import CardKey
from dobmi.provisioning.errors import TooFewCustodians, WeakRandomness

ROOT_LENGTH: Final = 16
"""128 bits, as AES-128 masters have, and as Ed25519 is worth."""
CEREMONY_ID_LENGTH: Final = 16
MACHINE_LENGTH: Final = 32
CUSTODIANS_MIN: Final = 2
CUSTODIANS_MAX: Final = 16
DICE_ROLLS_MIN: Final = 50
"""Of a die with six faces: 129 bits."""
TYPED_LENGTH_MIN: Final = 32
_DICE_FACES_MIN = 4
_TYPED_DIFFERENT_MIN = 8
_DOMAIN = b"dobmi/ceremony/1"


@dataclass(frozen=True, slots=True)
class Component:
    """What one custodian puts in: 32 bytes, of which only the check value is ever shown."""

    custodian: str
    value: bytes = field(repr=False)

    @property
    def check_value(self) -> str:
        """Six hex digits for the minutes, which say nothing of the value."""
        return _hashed(b"component check", self.value)[:3].hex().upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyKeys:
    """`masters` have 16 bytes each, `signing` are Ed25519 private keys of 32 raw bytes, by name."""

    masters: Mapping[CardKey, bytes] = field(repr=False)
    signing: Mapping[str, bytes] = field(repr=False)

    def check_values(self) -> dict[str, str]:
        """Of each master by its name, six hex digits (`cardlib.custody.check_value`)."""
        return {key.value: check_value(self.masters[key]).hex().upper() for key in self.masters}

    def public_keys(self) -> dict[str, str]:
        """Of each signing key by its name, 64 hex digits."""
        return {
            name: Ed25519PrivateKey.from_private_bytes(value).public_key().public_bytes_raw().hex()
            for name, value in self.signing.items()
        }


def component_of(custodian: str, given: str, machine: bytes) -> Component:
    """What `custodian` gave, dice rolls (digits 1 to 6, 50 or more) or 32 characters or more typed
    at random, together with `machine`: 32 random bytes made for this component.

    Raises WeakRandomness for what is too short or too even; that it is random nobody can see.
    """
    if len(machine) != MACHINE_LENGTH:
        msg = f"the machine gives {MACHINE_LENGTH} bytes"
        raise ValueError(msg)
    text = "".join(given.split())
    if text and set(text) <= set("123456"):
        if len(text) < DICE_ROLLS_MIN or len(set(text)) < _DICE_FACES_MIN:
            raise WeakRandomness(rolls=DICE_ROLLS_MIN, characters=TYPED_LENGTH_MIN)
    elif len(text) < TYPED_LENGTH_MIN or len(set(text)) < _TYPED_DIFFERENT_MIN:
        raise WeakRandomness(rolls=DICE_ROLLS_MIN, characters=TYPED_LENGTH_MIN)
    return Component(custodian, _hashed(b"component", machine, text.encode()))


def root_of(ceremony: bytes, components: Sequence[Component]) -> bytes:
    """The 16 bytes from which all keys of the ceremony `ceremony` (its 16-byte id) come.

    Raises TooFewCustodians.
    """
    if not CUSTODIANS_MIN <= len(components) <= CUSTODIANS_MAX:
        raise TooFewCustodians(least=CUSTODIANS_MIN, most=CUSTODIANS_MAX)
    together = b"".join(component.value for component in components)
    return HKDF(SHA256(), ROOT_LENGTH, salt=ceremony, info=_DOMAIN + b"/root").derive(together)


def derive_keys(
    root: bytes,
    generation: int,
    masters: Iterable[CardKey],
    signing: Iterable[str] = (),
    *,
    rehearsal: bool = False,
) -> CeremonyKeys:
    """These masters of `generation` and these signing keys, always the same from the same root.

    A rehearsal's are others, from whatever root. Raises ValueError for a generation no key has.
    """
    if not 1 <= generation <= VERSION_MAX or len(root) != ROOT_LENGTH:
        msg = f"a root has {ROOT_LENGTH} bytes and a generation is 1 to {VERSION_MAX}"
        raise ValueError(msg)

    def derived(kind: str, name: str, length: int) -> bytes:
        course = "rehearsal" if rehearsal else "ceremony"
        info = "\0".join((course, kind, name, str(generation))).encode()
        return HKDF(SHA256(), length, salt=None, info=_DOMAIN + b"/key\0" + info).derive(root)

    return CeremonyKeys(
        masters={key: derived("master", key.value, 16) for key in masters},
        signing={name: derived("signing", name, 32) for name in signing},
    )


def _hashed(purpose: bytes, *parts: bytes) -> bytes:
    """SHA-256 over domain, purpose, and each part with its length before it."""
    hashed = hashlib.sha256(_DOMAIN + b"/" + purpose)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()
