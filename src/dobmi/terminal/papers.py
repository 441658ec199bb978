"""The papers of what stands in the till's ledger: now, or as long afterwards as it is kept.

A sale's paper is made of its number alone, so that it can be had again at any time.
"""

from __future__ import annotations

import sqlalchemy as sa

from dobmi.sync.proof_code import encode_proof
from dobmi.sync.voucher import RefundVoucher, decode_voucher
from dobmi.terminal import schema
from dobmi.terminal.counter_state import Movement
from dobmi.terminal.errors import NoSuchSale, SaleNotPaid
from dobmi.terminal.ledger import Ledger, SaleState
from dobmi.terminal.paper import Paper, Translate
from dobmi.terminal.picking import PickOrder
from dobmi.terminal.receipt import (
    BalanceFacts,
    OrderedLine,
    OrderFacts,
    Outlet,
    RefundFacts,
    SaleFacts,
    balance_paper,
    order_paper,
    refund_paper,
    sale_paper,
)
from dobmi.terminal.shift import ShiftReport
from dobmi.terminal.shift_paper import shift_paper
from dobmi.terminal.till import BalanceResult


def outlet_of(ledger: Ledger, cashier: str = "") -> Outlet:
    """Raises NotEnrolled."""
    who = ledger.identity()
    return Outlet(
        issuer=who.issuer, seller=who.seller, terminal_id=who.terminal_id, cashier=cashier
    )


def paper_of_sale(
    ledger: Ledger, server: str, sequence: int, translate: Translate, *, earlier: bool = False
) -> Paper:
    """The receipt of the paid sale number `sequence`. `server`: whose page the QR code names.

    `earlier`: it says that the sale was paid before, and nothing was charged now. Raises NoSuchSale,
    SaleNotPaid (also while that is in doubt).
    """
    intent = ledger.intent(sequence)
    if intent is None:
        raise NoSuchSale(sequence=sequence)
    # Of a doubt that was settled it is the doubt's voucher that the server knows by this number.
    hash_ = ledger.hash_at(sequence)
    if hash_ is None or ledger.sale_state(sequence) is not SaleState.PAID:
        raise SaleNotPaid(sequence=sequence)
    outlet = outlet_of(ledger, intent.cashier)
    facts = SaleFacts(
        outlet=outlet,
        sequence=sequence,
        voucher_hash=hash_,
        unix_seconds=intent.unix_seconds,
        holder=intent.holder,
        member_number=intent.member_number,
        amount=intent.amount,
        balance_before=intent.balance_before,
        balance_after=intent.balance_after,
        goods=intent.goods,
        proof=encode_proof(server, outlet.terminal_id, sequence, hash_),
        order=_order_of(ledger, sequence),
        earlier=earlier,
        credit=ledger.tap_credit(sequence),
    )
    return sale_paper(facts, translate)


def paper_of_refund(
    ledger: Ledger,
    server: str,
    sequence: int,
    translate: Translate,
    *,
    already_written: bool = False,
) -> Paper:
    """The slip of the refund whose own number is `sequence`. Raises NoSuchSale."""
    found = ledger.vouchers_from(sequence, 1)
    voucher = decode_voucher(found[0]) if found else None
    hash_ = ledger.hash_at(sequence)
    if not isinstance(voucher, RefundVoucher) or voucher.link.sequence != sequence:
        raise NoSuchSale(sequence=sequence)
    intent = ledger.intent(voucher.refunds)
    assert intent is not None
    assert hash_ is not None
    outlet = outlet_of(ledger, voucher.link.cashier)
    facts = RefundFacts(
        outlet=outlet,
        sequence=sequence,
        voucher_hash=hash_,
        unix_seconds=voucher.link.unix_seconds,
        sale=voucher.refunds,
        sale_amount=intent.amount,
        amount=voucher.amount,
        refunded_total=ledger.refunded(voucher.refunds),
        holder=intent.holder,
        member_number=intent.member_number,
        reason=voucher.reason,
        supervisor=voucher.supervisor,
        synced_unix_seconds=ledger.sync_state().synced_unix_seconds,
        goods=voucher.goods,
        proof=encode_proof(server, outlet.terminal_id, sequence, hash_),
        already_written=already_written,
    )
    return refund_paper(facts, translate)


def paper_of_balance(
    ledger: Ledger, result: BalanceResult, now: int, translate: Translate, *, cashier: str = ""
) -> Paper:
    here = ledger.identity().terminal_id
    movements = None
    if result.records is not None:
        movements = tuple(
            Movement(
                kind=one.kind,
                amount=one.amount,
                balance_after=one.balance_after,
                unix_seconds=one.unix_seconds,
                terminal_id=one.terminal_id,
                sequence=one.sequence,
                here=one.terminal_id == here,
            )
            for one in result.records
        )
    facts = BalanceFacts(
        outlet=outlet_of(ledger, cashier),
        unix_seconds=now,
        holder=result.holder.name,
        member_number=result.holder.member_number,
        balance=result.balance,
        expires=result.holder.expires,
        is_blocked=result.is_blocked,
        is_expired=result.is_expired,
        credit_waiting=result.has_credit_waiting,
        movements=movements,
    )
    return balance_paper(facts, translate)


def paper_of_order(
    ledger: Ledger, picked: PickOrder, by: str, now: int, translate: Translate
) -> Paper:
    """What goes along with an order that is handed over."""
    short, order = dict(picked.short), picked.order
    facts = OrderFacts(
        outlet=outlet_of(ledger, by),
        order=order.number,
        holder=order.holder,
        member_number=order.member_number,
        lines=tuple(
            OrderedLine(name=line.name, quantity=line.quantity, short=short.get(line.item, 0))
            for line in order.lines
        ),
        sale=picked.sale,
        by=by,
        unix_seconds=now,
        note=order.note,
    )
    return order_paper(facts, translate)


def paper_of_shift(ledger: Ledger, report: ShiftReport, translate: Translate) -> Paper:
    return shift_paper(report, outlet_of(ledger), translate)


def _order_of(ledger: Ledger, sequence: int) -> int | None:
    """The member's order that the sale was of."""
    requests, attempts = schema.sale_requests, schema.sale_attempts
    query = (
        sa.select(requests.c.order_number)
        .join(attempts, attempts.c.request == requests.c.id)
        .where(attempts.c.sequence == sequence)
    )
    with ledger.connect() as connection:
        found: int | None = connection.execute(query).scalar()
    return found
