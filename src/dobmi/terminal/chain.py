"""The chain's one writer: each method makes, signs and appends one voucher, durably.

An intent ends in exactly one voucher of its own sequence. What this process knows of an intent that
could not be ended at once (its commit's answer, or that none was sent) is kept until it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.money import Rupiah
from dobmi.sync.cose import Sign
from dobmi.sync.voucher import (
    DecisionVoucher,
    GoodsLine,
    InDoubtVoucher,
    Intent,
    Link,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
    Voucher,
    encode_voucher,
)
from dobmi.terminal.ledger import ChainHead, IntentRow, Ledger, TillIdentity

OUTSIDE_SHIFTS = 0


@dataclass(slots=True, kw_only=True)
class Chain:
    """`ending` is the answer to a commit, or why none was sent, of the open intent `sequence`."""

    ledger: Ledger
    identity: TillIdentity
    sign: Sign = field(repr=False)
    now: Callable[[], int]
    cashier: str
    _endings: dict[int, TransactionMac | VoidReason] = field(default_factory=dict)
    _head: ChainHead | None = None

    def head(self) -> ChainHead:
        """The newest voucher; the ledger is asked once, since nobody else writes."""
        if self._head is None:
            self._head = self.ledger.head()
        return self._head

    def next_sequence(self) -> int:
        return self.head().sequence + 1

    def write_sale(self, intent: IntentRow, transaction: TransactionMac) -> bytes:
        """Paid; the voucher's hash."""
        self._endings[intent.sequence] = transaction
        hash_ = self._append(
            SaleVoucher(
                link=self._link_of(intent),
                intent=self._signed_intent(intent),
                card_counter=transaction.counter,
                card_mac=transaction.mac,
            )
        )
        self._endings.clear()
        return hash_

    def write_void(self, intent: IntentRow, reason: VoidReason) -> bytes:
        """No commit was sent: no money moved."""
        self._endings[intent.sequence] = reason
        hash_ = self._append(
            VoidVoucher(
                link=self._link_of(intent),
                card_uid=intent.card_uid,
                amount=intent.amount,
                reason=reason,
            )
        )
        self._endings.clear()
        return hash_

    def write_in_doubt(self, intent: IntentRow) -> bytes:
        """The commit may have been sent and its answer is not known."""
        return self._append(
            InDoubtVoucher(link=self._link_of(intent), intent=self._signed_intent(intent))
        )

    def write_resolution(
        self, intent: IntentRow, outcome: Outcome, transaction: TransactionMac | None = None
    ) -> bytes:
        """What the card told later of an intent that has its in-doubt voucher."""
        return self._append(
            ResolutionVoucher(
                link=self._next_link(),
                resolves=intent.sequence,
                card_uid=intent.card_uid,
                outcome=outcome,
                card_counter=None if transaction is None else transaction.counter,
                card_mac=None if transaction is None else transaction.mac,
            )
        )

    def write_refund(
        self,
        intent: IntentRow,
        amount: Rupiah,
        shift: int,
        *,
        reason: str,
        supervisor: str,
        goods: tuple[GoodsLine, ...],
        request: str | None = None,
    ) -> RefundVoucher:
        """Money of the paid sale `intent` given back, as `request` asked. No intent is open."""
        head = self.head()
        voucher = RefundVoucher(
            link=Link(
                terminal_id=self.identity.terminal_id,
                sequence=head.sequence + 1,
                previous_hash=head.hash,
                unix_seconds=self.now(),
                shift=shift,
                cashier=self.cashier,
            ),
            refunds=intent.sequence,
            card_uid=intent.card_uid,
            amount=amount,
            reason=reason,
            supervisor=supervisor,
            goods=goods,
        )
        self._append(voucher, request)
        return voucher

    def write_decision(
        self, intent: IntentRow, outcome: Outcome, *, decided_by: str, reason: str
    ) -> bytes:
        """What a supervisor decided of an intent that has its in-doubt voucher."""
        return self._append(
            DecisionVoucher(
                link=self._next_link(),
                resolves=intent.sequence,
                card_uid=intent.card_uid,
                outcome=outcome,
                decided_by=decided_by,
                reason=reason,
            )
        )

    def end_open_intent(self) -> None:
        """Give the open intent, if there is one, the voucher that what is known of it asks for."""
        intent = self.ledger.open_intent()
        if intent is None:
            return
        match self._endings.get(intent.sequence):
            case TransactionMac() as transaction:
                self.write_sale(intent, transaction)
            case VoidReason() as reason:
                self.write_void(intent, reason)
            case None:
                self.write_in_doubt(intent)

    def knows_ending_of(self, intent: IntentRow) -> bool:
        return intent.sequence in self._endings

    def _append(self, voucher: Voucher, refund_request: str | None = None) -> bytes:
        encoded = encode_voucher(voucher, self.identity.public_key, self.sign)
        self._head = None  # asked for again should the write fail half-way
        hash_ = self.ledger.append_voucher(voucher, encoded, refund_request)
        self._head = ChainHead(voucher.link.sequence, hash_)
        return hash_

    def _next_link(self) -> Link:
        """For a voucher that is no sale: in the open shift, or outside any."""
        head = self.head()
        shift = self.ledger.last_shift()
        is_open = shift is not None and shift.is_open
        return Link(
            terminal_id=self.identity.terminal_id,
            sequence=head.sequence + 1,
            previous_hash=head.hash,
            unix_seconds=self.now(),
            shift=shift.number if shift is not None and is_open else OUTSIDE_SHIFTS,
            cashier=shift.on_duty if shift is not None and is_open else self.cashier,
        )

    def _link_of(self, intent: IntentRow) -> Link:
        head = self.head()
        assert intent.sequence == head.sequence + 1
        return Link(
            terminal_id=self.identity.terminal_id,
            sequence=intent.sequence,
            previous_hash=head.hash,
            unix_seconds=self.now(),
            shift=intent.shift,
            cashier=intent.cashier,
        )

    def _signed_intent(self, intent: IntentRow) -> Intent:
        return Intent(
            card_uid=intent.card_uid,
            amount=intent.amount,
            evidence=intent.evidence,
            issuer=self.identity.issuer,
            seller=self.identity.seller,
            goods=intent.goods,
            with_pin=intent.with_pin,
        )
