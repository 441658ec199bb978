"""The head of a closed booking day: one signed hash over its journal, the tills and the day before.

docs/formats/daily-head.md. Pure: rows in, bytes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import cbor2

from dobmi.money import Rupiah
from dobmi.sync.cbor import encode
from dobmi.sync.cose import SIGNATURE_LENGTH, Sign, parse_sign1, sign1, start_of_sign1
from dobmi.wib import day_number

CONTENT_TYPE = "dobmi/day/1"
NO_HEAD = bytes(32)
"""In place of the hash of a day before the first."""
_SIZE_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One posting, without the number the database gave it."""

    at: int
    kind: str
    debit_account: int
    credit_account: int
    amount_rupiah: int
    card_uid: bytes
    terminal_id: int
    sequence: int
    explanation: str


@dataclass(frozen=True, slots=True)
class JournalHash:
    """SHA-256 over a day's lines, their number and their sum."""

    digest: bytes
    postings: int
    amount: Rupiah


@dataclass(frozen=True, slots=True)
class TillHead:
    """How far a till's chain was kept when the day was closed."""

    terminal_id: int
    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyHead:
    """`day`: days since 1970-01-01 in WIB. `closed_at`: Unix seconds."""

    day: int
    postings: int
    amount: Rupiah
    journal_hash: bytes
    tills_hash: bytes
    previous_hash: bytes
    closed_at: int

    @property
    def date(self) -> date:
        return day_number(self.day)

    @property
    def payload(self) -> bytes:
        return encode(
            {
                1: 1,
                2: self.day,
                3: self.postings,
                4: self.amount.amount,
                5: self.journal_hash,
                6: self.tills_hash,
                7: self.previous_hash,
                8: self.closed_at,
            }
        )

    @property
    def hash(self) -> bytes:
        """What the next day's head holds, and what people note down."""
        return hashlib.sha256(self.payload).digest()

    def sign(self, public_key: bytes, sign: Sign) -> bytes:
        """The signature (64 bytes) of the COSE_Sign1 that `message` returns."""
        return sign1(self.payload, CONTENT_TYPE, public_key, sign)[-SIGNATURE_LENGTH:]

    def message(self, public_key: bytes, signature: bytes) -> bytes:
        """The COSE_Sign1, for whoever wants to check it elsewhere."""
        start = start_of_sign1(CONTENT_TYPE, public_key)
        return start + encode(self.payload) + encode(signature)

    def verify(self, public_key: bytes, signature: bytes) -> None:
        """Raises WrongSignature."""
        message = parse_sign1(self.message(public_key, signature), size_max=_SIZE_MAX)
        message.verify(public_key, CONTENT_TYPE)


def journal_hash(lines: Iterable[JournalLine]) -> JournalHash:
    """`lines` in the order of (at, terminal, sequence, card, kind); one at a time is in memory."""
    digest, count, total = hashlib.sha256(), 0, 0
    for line in lines:
        digest.update(
            cbor2.dumps(
                [
                    line.at,
                    line.kind,
                    line.debit_account,
                    line.credit_account,
                    line.amount_rupiah,
                    line.card_uid,
                    line.terminal_id,
                    line.sequence,
                    line.explanation,
                ]
            )
        )
        count += 1
        total += line.amount_rupiah
    return JournalHash(digest.digest(), count, Rupiah(total))


def tills_hash(heads: Iterable[TillHead]) -> bytes:
    """`heads` in the order of terminals."""
    digest = hashlib.sha256()
    for head in heads:
        digest.update(encode([head.terminal_id, head.sequence, head.hash]))
    return digest.digest()
