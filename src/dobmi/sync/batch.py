"""A batch: consecutive vouchers of one till, and one signature over the newest hash.

    [ head: bstr, [ voucher: bstr, ... ] ]

The head is a COSE_Sign1 (content type `dobmi/batch-head/1`) by the till; the vouchers are as
`voucher.py` encodes them. The hash chain carries the head's signature to every voucher.
docs/formats/batch.md has the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.sync.cbor import Fields, decode, encode
from dobmi.sync.cose import Sign, Sign1, parse_sign1, sign1
from dobmi.sync.errors import BrokenChain, MalformedMessage
from dobmi.sync.voucher import (
    HASH_LENGTH,
    SaleFields,
    Voucher,
    follow_chain,
    read_chain,
    voucher_hash,
)

CONTENT_TYPE = "dobmi/batch-head/1"
VOUCHERS_MAX = 500
BATCH_SIZE_MAX = 4 * 1024 * 1024
_HEAD_SIZE_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHead:
    """Vouchers `first_sequence` to `first_sequence + count - 1`, from and to these hashes."""

    terminal_id: int
    first_sequence: int
    count: int
    previous_hash: bytes
    head_hash: bytes

    @property
    def last_sequence(self) -> int:
        return self.first_sequence + self.count - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedBatch:
    """A batch taken apart, nothing believed yet."""

    head: BatchHead
    signed_head: Sign1
    vouchers: list[bytes]

    def verify(self, public_key: bytes) -> list[tuple[Voucher, bytes]]:
        """Each voucher with its hash, in order, if the till with `public_key` vouches for all.

        Raises WrongSignature, BrokenChain, MalformedMessage.
        """
        self._check_head(public_key)
        head = self.head
        chain = follow_chain(
            self.vouchers, head.terminal_id, head.first_sequence, head.previous_hash
        )
        self._check_last(chain[-1][1])
        return chain

    def read(self, public_key: bytes) -> list[SaleFields | Voucher]:
        """As `verify`, for many at once: sales as `read_chain` reads them, no hashes."""
        self._check_head(public_key)
        head = self.head
        read, last_hash = read_chain(
            self.vouchers, head.terminal_id, head.first_sequence, head.previous_hash, public_key
        )
        self._check_last(last_hash)
        return read

    def _check_head(self, public_key: bytes) -> None:
        self.signed_head.verify(public_key, CONTENT_TYPE)
        if len(self.vouchers) != self.head.count:
            raise BrokenChain(
                sequence=self.head.first_sequence,
                detail=f"{self.head.count} vouchers announced, {len(self.vouchers)} came",
            )

    def _check_last(self, last_hash: bytes) -> None:
        if last_hash != self.head.head_hash:
            raise BrokenChain(
                sequence=self.head.last_sequence, detail="its hash is not the signed one"
            )


def encode_batch(
    terminal_id: int,
    first_sequence: int,
    previous_hash: bytes,
    vouchers: list[bytes],
    *,
    public_key: bytes,
    sign: Sign,
) -> bytes:
    """The bytes of a batch of 1 to 500 vouchers, as the till uploads them."""
    if not 1 <= len(vouchers) <= VOUCHERS_MAX:
        msg = f"a batch has 1 to {VOUCHERS_MAX} vouchers, not {len(vouchers)}"
        raise ValueError(msg)
    payload = encode(
        {
            1: 1,
            2: terminal_id,
            3: first_sequence,
            4: len(vouchers),
            5: previous_hash,
            6: voucher_hash(vouchers[-1]),
        }
    )
    return encode([sign1(payload, CONTENT_TYPE, public_key, sign), list(vouchers)])


def parse_batch(data: bytes) -> UncheckedBatch:
    """Take a batch apart, checking form only. Raises MalformedMessage."""
    match decode(data, size_max=BATCH_SIZE_MAX):
        case [bytes(head), list(vouchers)] if 1 <= len(vouchers) <= VOUCHERS_MAX:
            pass
        case _:
            raise MalformedMessage(detail=f"not a batch of 1 to {VOUCHERS_MAX} vouchers")
    encoded = [voucher for voucher in vouchers if isinstance(voucher, bytes)]
    if len(encoded) != len(vouchers):
        raise MalformedMessage(detail="a voucher in the batch is not a byte string")
    signed_head = parse_sign1(head, size_max=_HEAD_SIZE_MAX)
    fields = Fields(decode(signed_head.payload, size_max=_HEAD_SIZE_MAX), "batch head")
    fields.exactly(1, 1)
    parsed = BatchHead(
        terminal_id=fields.uint(2, 32),
        first_sequence=fields.uint(3),
        count=fields.uint(4, 16),
        previous_hash=fields.octets(5, HASH_LENGTH),
        head_hash=fields.octets(6, HASH_LENGTH),
    )
    fields.finish()
    if parsed.count < 1 or parsed.first_sequence < 1:
        raise MalformedMessage(detail="a batch head without vouchers")
    return UncheckedBatch(head=parsed, signed_head=signed_head, vouchers=encoded)
