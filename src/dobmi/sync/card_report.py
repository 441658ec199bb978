"""What a card tells of itself, beside what the ledger knows of it: the result of an INSPECT session.

By field number; amounts in rupiah, times in Unix seconds. Nothing on the card changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue, Fields

_LINES_MAX = 10
_TEXT_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """A transaction in the card's log. `kind`: 1 sale, 2 credit, 3 emptied; terminal 0 is the server.

    `on_ledger`: verified there. Else no till has reported it yet.
    """

    kind: int
    terminal_id: int
    terminal_name: str
    sequence: int
    amount: Rupiah
    balance_after: Rupiah
    at: int
    on_ledger: bool

    @property
    def is_credit(self) -> bool:
        return self.kind == 2

    @property
    def change(self) -> Rupiah:
        """What it did to the balance, with its sign."""
        return self.amount if self.is_credit else -self.amount

    def to_cbor(self) -> dict[int, CborValue]:
        return {
            1: self.kind,
            2: self.terminal_id,
            3: self.terminal_name,
            4: self.sequence,
            5: self.amount.amount,
            6: self.balance_after.amount,
            7: self.at,
            8: self.on_ledger,
        }

    @classmethod
    def from_cbor(cls, value: CborValue) -> ReportLine:
        """Raises MalformedMessage."""
        fields = Fields(value, "line of a card report")
        line = cls(
            kind=fields.uint(1, 8),
            terminal_id=fields.uint(2, 32),
            terminal_name=fields.text(3, _TEXT_MAX),
            sequence=fields.uint(4),
            amount=Rupiah(fields.uint(5, 32)),
            balance_after=Rupiah(fields.uint(6, 32)),
            at=fields.uint(7),
            on_ledger=fields.boolean(8),
        )
        fields.finish()
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """The card by the ledger. `balance` counts what is known to be on it; `counter` is the newest of
    its transactions on record; `in_doubt`, what sales in doubt may have taken.
    """

    card_serial: int
    member_number: int
    member_name: str
    state: str
    block_reason: str
    balance: Rupiah
    counter: int
    key_generation: int
    waiting: Rupiah
    waiting_count: int
    in_doubt: Rupiah

    def to_cbor(self) -> dict[int, CborValue]:
        return {
            1: self.card_serial,
            2: self.member_number,
            3: self.member_name,
            4: self.state,
            5: self.block_reason,
            6: max(self.balance, ZERO).amount,
            7: max(-self.balance, ZERO).amount,
            8: self.counter,
            9: self.key_generation,
            10: self.waiting.amount,
            11: self.waiting_count,
            12: self.in_doubt.amount,
        }

    @classmethod
    def from_cbor(cls, value: CborValue) -> LedgerView:
        """Raises MalformedMessage."""
        fields = Fields(value, "ledger's part of a card report")
        view = cls(
            card_serial=fields.uint(1, 32),
            member_number=fields.uint(2, 32),
            member_name=fields.text(3, _TEXT_MAX),
            state=fields.text(4, 20),
            block_reason=fields.text(5, _TEXT_MAX),
            balance=Rupiah(fields.uint(6)) - Rupiah(fields.uint(7)),
            counter=fields.uint(8, 32),
            key_generation=fields.uint(9, 8),
            waiting=Rupiah(fields.uint(10)),
            waiting_count=fields.uint(11, 32),
            in_doubt=Rupiah(fields.uint(12)),
        )
        fields.finish()
        return view


@dataclass(frozen=True, slots=True, kw_only=True)
class CardReport:
    """The card by its own word, its issuer's signature checked, and `ledger` (None: not on record).

    `lines` newest first, at most 10. `expires_days` since 1970; `counter`: how many transactions the
    card has made; `generation` is the newest of keys that the server has.
    """

    member_number: int
    name: str
    card_serial: int
    expires_days: int
    balance: Rupiah
    counter: int
    last_credit_sequence: int
    is_marked_blocked: bool
    generation: int
    lines: tuple[ReportLine, ...]
    ledger: LedgerView | None
    at: int

    @property
    def difference(self) -> Rupiah:
        """What the card has more than the ledger says; nought where it is on no record."""
        return ZERO if self.ledger is None else self.balance - self.ledger.balance

    @property
    def unreported(self) -> tuple[ReportLine, ...]:
        """Transactions that the ledger has not heard of yet, as far as the card remembers them."""
        return tuple(line for line in self.lines if not line.on_ledger)

    @property
    def unreported_change(self) -> Rupiah:
        change = ZERO
        for line in self.unreported:
            change += line.change
        return change

    @property
    def unexplained(self) -> Rupiah:
        """What of the difference the card's own transactions do not explain."""
        return ZERO if self.ledger is None else self.difference - self.unreported_change

    def to_cbor(self) -> dict[int, CborValue]:
        return {
            1: self.member_number,
            2: self.name,
            3: self.card_serial,
            4: self.expires_days,
            5: self.balance.amount,
            6: self.counter,
            7: self.last_credit_sequence,
            8: self.is_marked_blocked,
            9: self.generation,
            10: [line.to_cbor() for line in self.lines],
            11: None if self.ledger is None else self.ledger.to_cbor(),
            12: self.at,
        }

    @classmethod
    def from_cbor(cls, value: dict[int, CborValue]) -> CardReport:
        """Raises MalformedMessage."""
        is_on_record = value.get(11) is not None
        fields = Fields({**value, 11: value[11] if is_on_record else {}}, "card report")
        report = cls(
            member_number=fields.uint(1, 32),
            name=fields.text(2, _TEXT_MAX),
            card_serial=fields.uint(3, 32),
            expires_days=fields.uint(4, 16),
            balance=Rupiah(fields.uint(5, 32)),
            counter=fields.uint(6, 32),
            last_credit_sequence=fields.uint(7, 32),
            is_marked_blocked=fields.boolean(8),
            generation=fields.uint(9, 8),
            lines=tuple(map(ReportLine.from_cbor, fields.items(10, _LINES_MAX))),
            ledger=LedgerView.from_cbor(fields.map(11)) if is_on_record else None,
            at=fields.uint(12),
        )
        if not is_on_record:
            fields.map(11)
        fields.finish()
        return report
