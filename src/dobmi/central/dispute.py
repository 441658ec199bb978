"""What there is to show when somebody says that a sale was not so: the evidence, checked again.

Nothing here is taken from what ingest concluded: signature, chain and card MAC are computed anew
from the kept bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from dobmi.cardlib.errors import CardError, ImplausibleEvidence
from dobmi.cardlib.evidence import SaleEvidence, parse_sale_evidence
from dobmi.cardlib.purse_layout import CardKey, Holder, ReaderId, read_holder
from dobmi.central.errors import NotASale, UnknownVoucher
from dobmi.central.schema import (
    card_transactions,
    cards,
    in_doubt,
    quarantine,
    sellers,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.verification import card_vouches, previous_of
from dobmi.money import Rupiah
from dobmi.sync.errors import SyncError
from dobmi.sync.voucher import (
    GoodsLine,
    InDoubtVoucher,
    ResolutionVoucher,
    SaleVoucher,
    decode_voucher,
    genesis_hash,
    verify_voucher,
    voucher_hash,
)

_HOLDER_START, _HOLDER_END = 64, 176
"""Of the holder file's bytes in a sale's evidence (docs/card-layout.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """The card's transaction just before or after the disputed one."""

    counter: int
    terminal_id: int
    sequence: int
    at: int
    card_mac_verified: bool
    fits: bool
    """Its balance and its reader id go on from, or lead to, the disputed sale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A sale with all that speaks for it and against it.

    `counter` and the transaction MAC are None for a sale in doubt whose MAC never came; `holder`
    is None if the issuer's signature on it is wrong. `outcome`: posted, quarantined, or the
    doubt's state.
    """

    terminal_id: int
    terminal_name: str
    seller: str
    sequence: int
    in_doubt: bool
    outcome: str
    reason: str
    at: int
    received_at: int
    shift: int
    cashier: str
    goods: tuple[GoodsLine, ...]
    hash: bytes
    signature_verified: bool
    chain_verified: bool
    """It holds the hash of the voucher before it, and the one after it (if any) holds its hash."""
    card_uid: bytes
    holder: Holder | None
    amount: Rupiah
    """In the evidence; what is claimed beside it must be the same."""
    amount_claimed: Rupiah
    balance_before: Rupiah
    balance_after: Rupiah
    counter: int | None
    card_mac_verified: bool
    before: Neighbour | None
    after: Neighbour | None

    @property
    def is_proved(self) -> bool:
        """Whether the card, with a key that no till has, vouches for just this sale."""
        return (
            self.card_mac_verified
            and self.signature_verified
            and self.chain_verified
            and self.holder is not None
            and self.amount == self.amount_claimed
        )

    @property
    def is_named_by_next(self) -> bool:
        """Whether the card itself named this sale, later, to another transaction's MAC."""
        return self.after is not None and self.after.fits and self.after.card_mac_verified


def dispute(central: Central, terminal_id: int, sequence: int) -> Dispute:
    """The evidence of sale `terminal_id`/`sequence`. Raises UnknownVoucher, NotASale."""
    with central.database.read() as connection:
        kept = connection.execute(
            select(vouchers).where(
                vouchers.c.terminal_id == terminal_id, vouchers.c.sequence == sequence
            )
        ).one_or_none()
        if kept is None:
            raise UnknownVoucher(terminal_id=terminal_id, sequence=sequence)
        voucher = decode_voucher(kept.encoded)
        if not isinstance(voucher, SaleVoucher | InDoubtVoucher):
            raise NotASale(terminal_id=terminal_id, sequence=sequence)
        try:
            evidence = parse_sale_evidence(voucher.intent.evidence)
        except ImplausibleEvidence as error:
            raise NotASale(terminal_id=terminal_id, sequence=sequence) from error
        terminal = connection.execute(
            select(terminals, sellers.c.name.label("seller"))
            .join(sellers)
            .where(terminals.c.id == terminal_id)
        ).one()
        uid = voucher.intent.card_uid
        counter, mac = _counter_and_mac(connection, voucher)
        mac_key = _mac_key(central, connection, uid)
        reason = _why_quarantined(connection, kept)
        named_right = evidence.reader_id == ReaderId(terminal_id=terminal_id, sequence=sequence)
        vouched = (
            mac_key is not None
            and counter is not None
            and mac is not None
            and named_right
            and card_vouches(mac_key, uid, counter, mac, voucher.intent.evidence)
        )
        before, after = None, None
        if counter is not None and mac_key is not None:
            before, after = _neighbours(connection, uid, counter, evidence, mac_key)
        return Dispute(
            terminal_id=terminal_id,
            terminal_name=terminal.name,
            seller=terminal.seller,
            sequence=sequence,
            in_doubt=isinstance(voucher, InDoubtVoucher),
            outcome=_outcome(connection, kept, reason),
            reason=reason,
            at=voucher.link.unix_seconds,
            received_at=kept.received_at,
            shift=voucher.link.shift,
            cashier=voucher.link.cashier,
            goods=voucher.intent.goods,
            hash=voucher_hash(kept.encoded),
            signature_verified=_is_signed(kept.encoded, terminal.public_key),
            chain_verified=_is_in_chain(connection, kept, voucher.link.previous_hash, terminal),
            card_uid=uid,
            holder=_holder(voucher.intent.evidence, uid, central.card_issuer_public_key),
            amount=evidence.amount,
            amount_claimed=voucher.intent.amount,
            balance_before=evidence.balance_before,
            balance_after=evidence.balance_after,
            counter=counter,
            card_mac_verified=vouched,
            before=before,
            after=after,
        )


def _counter_and_mac(
    connection: Connection, voucher: SaleVoucher | InDoubtVoucher
) -> tuple[int | None, bytes | None]:
    """From the sale itself, from the resolution of a doubt; only the number if others proved it."""
    if isinstance(voucher, SaleVoucher):
        return voucher.card_counter, voucher.card_mac
    link = voucher.link
    encoded = connection.execute(
        select(vouchers.c.encoded)
        .join(
            in_doubt,
            (in_doubt.c.terminal_id == vouchers.c.terminal_id)
            & (in_doubt.c.resolved_in == vouchers.c.sequence),
        )
        .where(in_doubt.c.terminal_id == link.terminal_id, in_doubt.c.sequence == link.sequence)
    ).scalar_one_or_none()
    if encoded is not None:
        resolution = decode_voucher(bytes(encoded))
        assert isinstance(resolution, ResolutionVoucher), "ingest puts nothing else there"
        return resolution.card_counter, resolution.card_mac
    number = connection.execute(
        select(card_transactions.c.counter).where(
            card_transactions.c.card_uid == voucher.intent.card_uid,
            card_transactions.c.terminal_id == link.terminal_id,
            card_transactions.c.sequence == link.sequence,
        )
    ).scalar_one_or_none()
    return number, None


def _mac_key(central: Central, connection: Connection, uid: bytes) -> bytes | None:
    version = connection.execute(
        select(cards.c.mac_key_version).where(cards.c.uid == uid)
    ).scalar_one_or_none()
    if version is None:
        return None
    return central.keys.card_key(CardKey.TRANSACTION_MAC, uid, version).value


def _neighbours(
    connection: Connection, uid: bytes, counter: int, evidence: SaleEvidence, mac_key: bytes
) -> tuple[Neighbour | None, Neighbour | None]:
    rows = {
        row.counter: row
        for row in connection.execute(
            select(card_transactions).where(
                card_transactions.c.card_uid == uid,
                card_transactions.c.counter.in_((counter - 1, counter + 1)),
            )
        )
    }
    before, after = rows.get(counter - 1), rows.get(counter + 1)
    encrypted = evidence.encrypted_previous_reader_id
    goes_on = (
        before is not None
        and before.balance_after_rupiah == evidence.balance_before.amount
        and previous_of(mac_key, uid, counter, encrypted)
        == ReaderId(terminal_id=before.terminal_id, sequence=before.sequence)
    )
    reader = evidence.reader_id
    leads_to = (
        after is not None
        and after.balance_before_rupiah == evidence.balance_after.amount
        and (after.previous_terminal_id, after.previous_sequence)
        == (reader.terminal_id, reader.sequence)
    )
    return (
        None if before is None else _neighbour(before, fits=goes_on),
        None if after is None else _neighbour(after, fits=leads_to),
    )


def _neighbour(row: Row[Any], *, fits: bool) -> Neighbour:
    return Neighbour(
        counter=row.counter,
        terminal_id=row.terminal_id,
        sequence=row.sequence,
        at=row.at,
        card_mac_verified=row.card_mac_verified,
        fits=fits,
    )


def _why_quarantined(connection: Connection, kept: Row[Any]) -> str:
    reason = connection.execute(
        select(quarantine.c.reason).where(
            quarantine.c.terminal_id == kept.terminal_id, quarantine.c.sequence == kept.sequence
        )
    ).scalar_one_or_none()
    return reason or ""


def _outcome(connection: Connection, kept: Row[Any], reason: str) -> str:
    state = connection.execute(
        select(in_doubt.c.state).where(
            in_doubt.c.terminal_id == kept.terminal_id, in_doubt.c.sequence == kept.sequence
        )
    ).scalar_one_or_none()
    if state is not None:
        return str(state)
    return "quarantined" if reason else "posted"


def _is_signed(encoded: bytes, public_key: bytes) -> bool:
    try:
        verify_voucher(encoded, public_key)
    except SyncError:
        return False
    return True


def _is_in_chain(
    connection: Connection, kept: Row[Any], previous_hash: bytes, terminal: Row[Any]
) -> bool:
    beside: Sequence[Row[Any]] = connection.execute(
        select(vouchers).where(
            vouchers.c.terminal_id == kept.terminal_id,
            vouchers.c.sequence.in_((kept.sequence - 1, kept.sequence + 1)),
        )
    ).all()
    by_number = {row.sequence: row for row in beside}
    expected = genesis_hash(terminal.id, terminal.public_key)
    if kept.sequence > 1:
        expected = voucher_hash(by_number[kept.sequence - 1].encoded)
    own = voucher_hash(kept.encoded)
    after = by_number.get(kept.sequence + 1)
    goes_on = after is None or decode_voucher(after.encoded).link.previous_hash == own
    return previous_hash == expected and goes_on


def _holder(evidence: bytes, uid: bytes, issuer_public_key: bytes) -> Holder | None:
    try:
        return read_holder(evidence[_HOLDER_START:_HOLDER_END], uid, issuer_public_key)
    except CardError:
        return None
