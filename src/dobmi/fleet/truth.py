"""What really happened: the cards' own memory, watched at each switch of it, outside all protocols."""

from __future__ import annotations

from dataclasses import dataclass, field

from dobmi.cardlib.purse_layout import PURSE_AID, FileNo, LogRecord, ReaderId, RecordKind
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.state import CardState, RecordFile, TransactionMacFile, ValueFile
from dobmi.money import ZERO, Rupiah

_AID = PURSE_AID.to_bytes(3, "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The purse in a card's memory; nought of everything before it is issued."""

    counter: int
    balance: Rupiah
    newest: LogRecord | None


_EMPTY = Memory(counter=0, balance=ZERO, newest=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueTransaction:
    """A commit that a card made. `change` is below nought for a sale. `copy`: which of the card's
    copies made it; nought: itself.
    """

    uid: bytes
    counter: int
    reader_id: ReaderId
    kind: RecordKind
    amount: Rupiah
    change: Rupiah
    balance_after: Rupiah
    copy: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """A card made of another's memory: `before` is what it began with."""

    card: SimulatedCard
    before: Memory


@dataclass(slots=True)
class Truth:
    transactions: list[TrueTransaction] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    """Changes of a card's memory that no transaction of ours makes."""
    cards: dict[bytes, SimulatedCard] = field(default_factory=dict)
    copies: dict[int, Copy] = field(default_factory=dict)
    """From 1, in the order in which they were made."""

    def copied(self) -> frozenset[bytes]:
        """The UIDs that more than one card has, or had."""
        return frozenset(copy.card.serial for copy in self.copies.values())

    def watch_copy(self, card: SimulatedCard) -> None:
        number = len(self.copies) + 1
        self.copies[number] = Copy(card, memory_of(card.state))
        card.watch(
            lambda new: self._changed(card.serial, memory_of(card.state), memory_of(new), number)
        )

    def watch(self, card: SimulatedCard) -> None:
        """From now on, and the one transaction that it may have made before."""
        self.cards[card.serial] = card
        self._changed(card.serial, _EMPTY, memory_of(card.state))
        card.watch(lambda new: self._changed(card.serial, memory_of(card.state), memory_of(new)))

    def of(self, reader_id: ReaderId, uid: bytes) -> list[TrueTransaction]:
        return [one for one in self.transactions if (one.reader_id, one.uid) == (reader_id, uid)]

    def _changed(self, uid: bytes, old: Memory, new: Memory, copy: int = 0) -> None:
        if (old.counter, old.balance) == (new.counter, new.balance):
            return
        where = f"card {uid.hex()}, transaction {new.counter}"
        if new.counter != old.counter + 1 or new.newest is None:
            self.oddities.append(f"{where}: the counter went from {old.counter} to {new.counter}")
            return
        record, change = new.newest, new.balance - old.balance
        sign = -1 if record.kind is RecordKind.SALE else 1
        if change.amount != sign * record.amount.amount or record.balance_after != new.balance:
            self.oddities.append(f"{where}: the balance changed by {change}, its log says {record}")
        self.transactions.append(
            TrueTransaction(
                uid=uid,
                counter=new.counter,
                reader_id=record.reader_id,
                kind=record.kind,
                amount=record.amount,
                change=change,
                balance_after=new.balance,
                copy=copy,
            )
        )


def memory_of(state: CardState) -> Memory:
    application = state.application(_AID)
    files = {} if application is None else dict(application.files)
    mac, purse, log = (
        files.get(number) for number in (FileNo.TRANSACTION_MAC, FileNo.PURSE, FileNo.LOG)
    )
    records = log.records if isinstance(log, RecordFile) else ()
    return Memory(
        counter=mac.counter if isinstance(mac, TransactionMacFile) else 0,
        balance=Rupiah(purse.value) if isinstance(purse, ValueFile) else ZERO,
        newest=LogRecord.decode(records[-1]) if records else None,
    )
