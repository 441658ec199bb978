"""What a receipt's code proves: that its voucher is on record, and what became of the sale since.

For whoever holds the receipt: the code has 128 bits of the voucher's hash, so nobody finds another's
by trying. What is said has no card, no member, no cashier and no goods in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select

from dobmi.central.schema import (
    DoubtState,
    RefundState,
    in_doubt,
    quarantine,
    refunds,
    sellers,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.sync.proof_code import HASH_PREFIX_LENGTH, decode_proof
from dobmi.sync.voucher import (
    InDoubtVoucher,
    RefundVoucher,
    SaleVoucher,
    Voucher,
    decode_voucher,
    voucher_hash,
)


class ProofState(StrEnum):
    PAID = "paid"
    PARTLY_REFUNDED = "partly-refunded"
    REFUNDED = "refunded"
    CHECKED = "checked"
    """On record, and being looked into: in doubt, or not believed."""
    NOT_PAID = "not-paid"
    REFUND_WAITS = "refund-waits"
    REFUND_ORDERED = "refund-ordered"
    REFUND_REFUSED = "refund-refused"
    UNKNOWN_YET = "unknown-yet"
    """The till has not sent that number."""
    NOT_KNOWN = "not-known"
    """No such till, or another voucher under that number, or one that is no sale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """`seller`, `at` (Unix seconds) and `amount` are there for what is on record."""

    state: ProofState
    seller: str = ""
    terminal_id: int = 0
    sequence: int = 0
    at: int = 0
    amount: Rupiah = ZERO
    refunded: Rupiah = ZERO


_NOT_KNOWN = Proof(state=ProofState.NOT_KNOWN)
_OF_DOUBT = {
    DoubtState.PAID: ProofState.PAID,
    DoubtState.NOT_PAID: ProofState.NOT_PAID,
    DoubtState.OPEN: ProofState.CHECKED,
    DoubtState.DISPUTED: ProofState.CHECKED,
    DoubtState.SUSPENDED: ProofState.CHECKED,
}
_OF_REFUND = {
    RefundState.WAITING: ProofState.REFUND_WAITS,
    RefundState.ORDERED: ProofState.REFUND_ORDERED,
    RefundState.REFUSED: ProofState.REFUND_REFUSED,
}


def proof_of(central: Central, token: str) -> Proof:
    """What the server knows of the receipt with this code. Raises MalformedMessage."""
    terminal_id, sequence, prefix = decode_proof(token)
    if not 0 < sequence < 1 << 63:
        return _NOT_KNOWN
    with central.database.read() as connection:
        row = connection.execute(
            select(sellers.c.name, vouchers.c.encoded)
            .select_from(terminals)
            .join(sellers, sellers.c.id == terminals.c.seller_id)
            .outerjoin(
                vouchers,
                (vouchers.c.terminal_id == terminals.c.id) & (vouchers.c.sequence == sequence),
            )
            .where(terminals.c.id == terminal_id)
        ).one_or_none()
        if row is None:
            return _NOT_KNOWN
        if row.encoded is None:
            return Proof(
                state=ProofState.UNKNOWN_YET,
                seller=row.name,
                terminal_id=terminal_id,
                sequence=sequence,
            )
        encoded = bytes(row.encoded)
        if voucher_hash(encoded)[:HASH_PREFIX_LENGTH] != prefix:
            return _NOT_KNOWN
        return _on_record(connection, decode_voucher(encoded), row.name)


def _on_record(connection: Connection, voucher: Voucher, seller: str) -> Proof:
    link = voucher.link
    refunded = ZERO
    match voucher:
        case SaleVoucher(intent=intent) | InDoubtVoucher(intent=intent):
            amount, seller = intent.amount, intent.seller
            refunded = _refunded(connection, link.terminal_id, link.sequence)
            state = _state_of_sale(connection, voucher, refunded)
        case RefundVoucher(amount=amount):
            state = _state_of_refund(connection, link.terminal_id, link.sequence)
        case _:
            return _NOT_KNOWN
    return Proof(
        state=state,
        seller=seller,
        terminal_id=link.terminal_id,
        sequence=link.sequence,
        at=link.unix_seconds,
        amount=amount,
        refunded=refunded,
    )


def _state_of_sale(
    connection: Connection, voucher: SaleVoucher | InDoubtVoucher, refunded: Rupiah
) -> ProofState:
    terminal_id, sequence = voucher.link.terminal_id, voucher.link.sequence
    of = in_doubt.c
    doubt = connection.execute(
        select(of.state).where(of.terminal_id == terminal_id, of.sequence == sequence)
    ).scalar_one_or_none()
    if doubt is not None:
        state = _OF_DOUBT[DoubtState(doubt)]
    elif isinstance(voucher, InDoubtVoucher) or _is_quarantined(connection, terminal_id, sequence):
        state = ProofState.CHECKED
    else:
        state = ProofState.PAID
    if state is not ProofState.PAID or not refunded:
        return state
    whole = refunded >= voucher.intent.amount
    return ProofState.REFUNDED if whole else ProofState.PARTLY_REFUNDED


def _is_quarantined(connection: Connection, terminal_id: int, sequence: int) -> bool:
    of = quarantine.c
    found = connection.execute(
        select(of.sequence).where(of.terminal_id == terminal_id, of.sequence == sequence)
    ).first()
    return found is not None


def _refunded(connection: Connection, terminal_id: int, sale: int) -> Rupiah:
    of = refunds.c
    amounts = connection.execute(
        select(of.amount_rupiah).where(
            of.terminal_id == terminal_id,
            of.sale_sequence == sale,
            of.state != RefundState.REFUSED.value,
        )
    ).scalars()
    return Rupiah(sum(map(int, amounts)))


def _state_of_refund(connection: Connection, terminal_id: int, sequence: int) -> ProofState:
    of = refunds.c
    state = connection.execute(
        select(of.state).where(of.terminal_id == terminal_id, of.sequence == sequence)
    ).scalar_one_or_none()
    return ProofState.CHECKED if state is None else _OF_REFUND[RefundState(state)]
