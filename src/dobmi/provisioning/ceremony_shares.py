"""A custodian's share of a ceremony's root: made, written for paper, sealed into a file, put together.

Shamir's scheme over GF(2^128), from pycryptodome. On paper a share is 12 groups of five hex digits:

    bytes   kind (01; 81 in a rehearsal) 1, ceremony 3, threshold 1, number 1, share 16, check 2
    group   two of those bytes as four digits, and a check digit

The check digit is linear over GF(16) with a weight of its own for each place and a constant for each
group: one wrong digit, two that changed places, and two groups that did are always found, and the
group is named. The last two bytes are of SHA-256 over those before, for whatever else goes wrong.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from dobmi.provisioning.ceremony import CUSTODIANS_MAX, ROOT_LENGTH
from dobmi.provisioning.errors import (
    SameShareTwice,
    ShareFileDamaged,
    ShareFileLocked,
    ShareGroupWrong,
    ShareOfAnotherCeremony,
    ShareWrong,
    TooFewShares,
)

GROUPS: Final = 12
THRESHOLD_MIN: Final = 2
TAG_LENGTH: Final = 3
_REAL, _REHEARSAL = 0x01, 0x81
_WEIGHTS = (2, 4, 8, 3)  # x, x^2, x^3, x^4: different, and none of them 1, the check digit's own
_CHECK_LENGTH = 2
SHARE_FORMAT: Final = "dobmi share file 1"
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
_SCRYPT_N_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One of the shares of the ceremony whose id begins with `tag`; `number` counts from 1."""

    tag: bytes
    threshold: int
    number: int
    value: bytes = field(repr=False)
    rehearsal: bool = False

    @property
    def fingerprint(self) -> str:
        """Eight hex digits for the minutes: enough to know a share, nothing to guess it by."""
        return hashlib.sha256(b"dobmi/share/1" + self._content()).hexdigest()[:8].upper()

    def _content(self) -> bytes:
        kind = _REHEARSAL if self.rehearsal else _REAL
        return bytes((kind,)) + self.tag + bytes((self.threshold, self.number)) + self.value

    def on_paper(self) -> str:
        """The twelve groups, with a space between."""
        content = self._content()
        digits = (content + hashlib.sha256(content).digest()[:_CHECK_LENGTH]).hex().upper()
        groups = [digits[at : at + 4] for at in range(0, len(digits), 4)]
        return " ".join(group + _check_digit(at, group) for at, group in enumerate(groups))


def split_root(
    root: bytes, ceremony: bytes, threshold: int, count: int, *, rehearsal: bool = False
) -> list[Share]:
    """`count` shares of which any `threshold` restore the root.

    Raises ValueError for numbers that cannot be.
    """
    if len(root) != ROOT_LENGTH or not THRESHOLD_MIN <= threshold <= count <= CUSTODIANS_MAX:
        msg = f"{threshold} of {count} shares are none"
        raise ValueError(msg)
    return [
        Share(
            tag=ceremony[:TAG_LENGTH],
            threshold=threshold,
            number=number,
            value=value,
            rehearsal=rehearsal,
        )
        for number, value in Shamir.split(threshold, count, root)
    ]


def read_share(text: str) -> Share:
    """A share as it stands on paper; spaces, line ends and small letters do not matter.

    Raises ShareGroupWrong, which names the first group that is wrong, and ShareWrong.
    """
    digits = "".join(text.split()).replace("-", "").upper()
    groups = [digits[at : at + 5] for at in range(0, len(digits), 5)]
    for at, group in enumerate(groups[:GROUPS]):
        is_whole = len(group) == 5 and set(group) <= set("0123456789ABCDEF")
        if not is_whole or _check_digit(at, group[:4]) != group[4]:
            raise ShareGroupWrong(group=at + 1, groups=GROUPS)
    if len(groups) != GROUPS:
        raise ShareWrong(groups=GROUPS)
    content = bytes.fromhex("".join(group[:4] for group in groups))
    content, check = content[:-_CHECK_LENGTH], content[-_CHECK_LENGTH:]
    threshold, number = content[4], content[5]
    if (
        hashlib.sha256(content).digest()[:_CHECK_LENGTH] != check
        or content[0] not in {_REAL, _REHEARSAL}
        or not THRESHOLD_MIN <= threshold <= CUSTODIANS_MAX
        or not 1 <= number <= CUSTODIANS_MAX
    ):
        raise ShareWrong(groups=GROUPS)
    return Share(
        tag=content[1:4],
        threshold=threshold,
        number=number,
        value=content[6:],
        rehearsal=content[0] == _REHEARSAL,
    )


def check_share(share: Share, ceremony: bytes, known: Iterable[Share], *, rehearsal: bool) -> None:
    """Whether `share` goes with the ceremony and with those that are `known`.

    Raises ShareOfAnotherCeremony, SameShareTwice.
    """
    if share.tag != ceremony[:TAG_LENGTH] or share.rehearsal is not rehearsal:
        raise ShareOfAnotherCeremony(
            given=share.tag.hex().upper(), wanted=ceremony[:TAG_LENGTH].hex().upper()
        )
    if any(one.number == share.number for one in known):
        raise SameShareTwice(number=share.number)


def restore_root(shares: Sequence[Share], ceremony: bytes, *, rehearsal: bool = False) -> bytes:
    """The root, from as many shares as the threshold says. Whether it is right the check values tell.

    Raises ShareOfAnotherCeremony, SameShareTwice, TooFewShares.
    """
    for at, share in enumerate(shares):
        check_share(share, ceremony, shares[:at], rehearsal=rehearsal)
    needed = max((share.threshold for share in shares), default=THRESHOLD_MIN)
    if len(shares) < needed:
        raise TooFewShares(given=len(shares), needed=needed)
    return bytes(Shamir.combine([(share.number, share.value) for share in shares[:needed]]))


def seal_share(share: Share, passphrase: str) -> str:
    """The text of a file that opens with the custodian's own passphrase alone (scrypt, AES-256-GCM)."""
    return seal_text(SHARE_FORMAT, share.on_paper(), passphrase)


def open_share(text: str, passphrase: str) -> Share:
    """Raises ShareFileDamaged, ShareFileLocked (a wrong passphrase, or a changed file)."""
    return read_share(open_text(SHARE_FORMAT, text, passphrase))


def seal_text(format_: str, content: str, passphrase: str) -> str:
    """A small JSON file with `content` sealed in it; everything in the clear is authenticated."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header: dict[str, object] = {
        "format": format_,
        "scrypt": {**_SCRYPT, "salt": salt.hex()},
        "nonce": nonce.hex(),
    }
    sealed = AESGCM(_stretched(passphrase, salt, **_SCRYPT)).encrypt(
        nonce, content.encode(), _bound(header)
    )
    return json.dumps({**header, "sealed": sealed.hex()}, indent=1) + "\n"


def open_text(format_: str, text: str, passphrase: str) -> str:
    """What `seal_text` sealed. Raises ShareFileDamaged, ShareFileLocked."""
    try:
        file = json.loads(text)
        header = {name: file[name] for name in ("format", "scrypt", "nonce")}
        costs: dict[str, Any] = header["scrypt"]
        salt, n, r, p = bytes.fromhex(costs["salt"]), costs["n"], costs["r"], costs["p"]
        nonce, sealed = bytes.fromhex(header["nonce"]), bytes.fromhex(file["sealed"])
        if header["format"] != format_ or not (n <= _SCRYPT_N_MAX and r <= 32 and p <= 16):
            raise ShareFileDamaged
        key = _stretched(passphrase, salt, n=n, r=r, p=p)
    except (ValueError, KeyError, TypeError) as error:
        raise ShareFileDamaged from error
    try:
        return AESGCM(key).decrypt(nonce, sealed, _bound(header)).decode()
    except (InvalidTag, ValueError) as error:
        raise ShareFileLocked from error


def _stretched(passphrase: str, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def _bound(header: Mapping[str, object]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _check_digit(at: int, group: str) -> str:
    """Of the group number `at` (from 0)."""
    total = (at + 1) % 16
    for weight, digit in zip(_WEIGHTS, group, strict=True):
        total ^= _times(weight, int(digit, 16))
    return f"{total:X}"


def _times(left: int, right: int) -> int:
    """In GF(16), modulo x^4 + x + 1."""
    product = 0
    for bit in range(4):
        if right >> bit & 1:
            product ^= left << bit
    for bit in (6, 5, 4):
        if product >> bit & 1:
            product ^= 0b10011 << (bit - 4)
    return product
