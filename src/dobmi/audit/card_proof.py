"""What a card vouches for: its transaction MAC over the evidence, and who came before.

docs/card-layout.md; MF2DLHX0 section 10.3; AN10922 for the card's own key.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from dobmi.audit.formats import Malformed

UID_BYTES = 7
CENTRAL = 0
Reader = tuple[int, int]
"""Who made a transaction: terminal (0: the server) and its sequence."""
FOREIGN: Reader = (0xFFFFFFFF, 0)
"""A reader id that is none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A transaction as the card's MAC covers it. `member`, `serial`, `holder`: of a sale's card."""

    reader: Reader
    encrypted: bytes
    amount: int
    before: int
    after: int
    member: int = 0
    serial: int = 0
    holder: bytes = b""
    expires: int = 0
    credit_before: int = 0

    @property
    def is_credit(self) -> bool:
        return self.after > self.before


@dataclass(frozen=True, slots=True)
class MacKeys:
    """The transaction MAC masters by version (16 bytes each); cards' own keys come from them."""

    masters: Mapping[int, bytes] = field(repr=False)
    _cards: dict[tuple[bytes, int], CMAC] = field(default_factory=dict, repr=False)

    def of_card(self, uid: bytes, version: int) -> CMAC | None:
        """A CMAC of the card's key, to be copied; None if that version is not held."""
        known = self._cards.get((uid, version))
        if known is None:
            master = self.masters.get(version)
            if master is None or len(uid) != UID_BYTES:
                return None
            known = CMAC(AES(_cmac(CMAC(AES(master)), b"\x01" + uid + b"\xd0\xb3\x10Do BMI")))
            if len(self._cards) > 10_000:
                self._cards.clear()
            self._cards[uid, version] = known
        return known


def vouches(card: CMAC, uid: bytes, counter: int, mac: bytes, evidence: bytes) -> bool:
    """Whether the card made this MAC over this evidence as its transaction `counter`."""
    if not 1 <= counter <= 0xFFFFFFFF:
        return False
    key = _cmac(card, b"\x5a" + _context(uid, counter))
    return hmac.compare_digest(_cmac(CMAC(AES(key)), evidence)[1::2], mac)


def previous(card: CMAC, uid: bytes, counter: int, encrypted: bytes) -> Reader | None:
    """Who made the card's transaction before number `counter`: None for none, FOREIGN for no one."""
    if not 1 <= counter <= 0xFFFFFFFF:
        return FOREIGN
    key = _cmac(card, b"\xa5" + _context(uid, counter))
    # One block of CBC with an IV of zeros is that block of ECB.
    plain = Cipher(AES(key), ECB()).decryptor().update(encrypted)  # noqa: S305 - see above
    if plain == bytes(16):
        return None
    if plain[:4] != b"DBMI":
        return FOREIGN
    return int.from_bytes(plain[4:8], "big"), int.from_bytes(plain[8:], "big")


def place(card: CMAC, uid: bytes, encrypted: bytes, last: int) -> tuple[int, Reader | None] | None:
    """Which transaction up to `last` the encrypted reader id was made for, and who came before.

    At a wrong number it decrypts to no reader id, but once in 2^32.
    """
    for counter in range(last, 0, -1):
        before = previous(card, uid, counter, encrypted)
        if before != FOREIGN and (before is None) == (counter == 1):
            return counter, before
    return None


EMPTYING: Reader = (CENTRAL, (1 << 32) + 1)
"""The server's transaction that takes the last off a card which ends."""


def parse_sale(evidence: bytes, kind: int = 1) -> Evidence:
    """The 256 bytes of a debit's transaction MAC input: a sale's, or of `kind`. Raises Malformed."""
    if len(evidence) != 256:
        raise Malformed("not as long as a sale's evidence")
    reader = _reader_part(evidence[:48])
    _same(evidence[48:64], b"\xad\x01\0\0\0\x70\0\0" + bytes(8), "holder")
    holder = evidence[64:176]
    if holder[0] != 1:
        raise Malformed("holder")
    try:
        holder[12:48].rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise Malformed("holder") from error
    before = _value(evidence[176:192], 0x6C)
    amount = _value(evidence[192:208], 0xDC)
    _record(evidence[208:256], kind, reader, amount, before - amount)
    return Evidence(
        reader=reader,
        encrypted=evidence[17:33],
        amount=amount,
        before=before,
        after=before - amount,
        member=int.from_bytes(holder[2:6], "big"),
        serial=int.from_bytes(holder[6:10], "big"),
        expires=int.from_bytes(holder[10:12], "big"),
        holder=holder,
    )


def parse_credit(evidence: bytes) -> Evidence:
    """The 192 bytes of a credit's transaction MAC input. Raises Malformed."""
    if len(evidence) != 192:
        raise Malformed("not as long as a credit's evidence")
    reader = _reader_part(evidence[:48])
    _same(evidence[48:64], b"\xad\x04\0\0\0\x10\0\0" + bytes(8), "credit state")
    before = _value(evidence[80:96], 0x6C)
    amount = _value(evidence[96:112], 0x0C)
    _record(evidence[112:160], 2, reader, amount, before + amount)
    _same(evidence[160:176], b"\x8d\x04\0\0\0\x10\0\0" + bytes(8), "credit state")
    if evidence[176] != 1 or int.from_bytes(evidence[180:184], "big") != reader[1]:
        raise Malformed("credit state after")
    return Evidence(
        reader=reader,
        encrypted=evidence[17:33],
        amount=amount,
        before=before,
        after=before + amount,
        credit_before=int.from_bytes(evidence[68:72], "big"),
    )


def issuer_signed(holder: bytes, uid: bytes, issuer_public_key: bytes) -> bool:
    """Whether the card issuer signed these 112 bytes for this card."""
    try:
        Ed25519PublicKey.from_public_bytes(issuer_public_key).verify(
            holder[48:], b"dobmi/holder/1" + uid + holder[:48]
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def _cmac(keyed: CMAC, message: bytes) -> bytes:
    """Of a copy, so that the key's schedule is made once."""
    mac = keyed.copy()
    mac.update(message)
    return mac.finalize()


def _context(uid: bytes, counter: int) -> bytes:
    return b"\x00\x01\x00\x80" + counter.to_bytes(4, "little") + uid


def _same(found: bytes, expected: bytes, what: str) -> None:
    if found != expected:
        raise Malformed(what)


def _reader_part(part: bytes) -> Reader:
    if part[0] != 0xC8 or part[1:5] != b"DBMI" or any(part[33:]):
        raise Malformed("reader id")
    return int.from_bytes(part[5:9], "big"), int.from_bytes(part[9:17], "big")


def _value(part: bytes, command: int) -> int:
    if part[:2] != bytes((command, 2)) or any(part[6:]):
        raise Malformed("purse command")
    return int.from_bytes(part[2:6], "little", signed=True)


def _record(part: bytes, kind: int, reader: Reader, amount: int, after: int) -> None:
    _same(part[:16], b"\x8b\x03\0\0\0\x20\0\0" + bytes(8), "log record")
    record = part[16:]
    told = (
        record[0],
        (int.from_bytes(record[1:5], "big"), int.from_bytes(record[5:13], "big")),
        int.from_bytes(record[13:17], "big"),
        int.from_bytes(record[17:21], "big"),
    )
    if told != (kind, reader, amount, after) or any(record[25:]):
        raise Malformed("the log record tells another transaction")
