"""Everything accounted for: each card's numbers, each till's chain, each rupiah in suspense.

Only looks. The lists of all cards and all tills are single statements over whole tables; what is said
of one card or one till reads its own rows. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, literal, select, union_all

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID, ReaderId
from dobmi.central.cards import card_row
from dobmi.central.database import whole_sum
from dobmi.central.errors import UnknownTerminal
from dobmi.central.findings import last_steps
from dobmi.central.posting_rules import RULES, Group, Kind, account_number
from dobmi.central.schema import (
    WAITING,
    DoubtState,
    WorkState,
    anomalies,
    anomaly_steps,
    batches,
    card_transactions,
    cards,
    doubt_settlements,
    in_doubt,
    members,
    named_before,
    pending_credits,
    posting_keys,
    postings,
    quarantine,
    sellers,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.verification import FOREIGN_READER
from dobmi.central.work_kinds import CLOCK_BEHIND
from dobmi.money import ZERO, Rupiah
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.voucher import decode_voucher, genesis_hash, voucher_hash

_UNDECIDED = (DoubtState.OPEN, DoubtState.SUSPENDED)
_SUSPENSE_KINDS = tuple(
    kind for kind, rule in RULES.items() if Group.SUSPENSE in (rule.debit, rule.credit)
)


class GapCause(StrEnum):
    """Why a transaction of a card is not on record."""

    AWAITED = "awaited"
    """The till has not sent so far: it is late, or keeps it to itself."""
    NOT_SENT = "not-sent"
    """The till has sent more than that, and this it did not send as a sale of the card."""
    IN_DOUBT = "in-doubt"
    """The till sent it as a sale in doubt, which waits for the card."""
    CENTRAL = "central"
    """A credit of ours whose proof did not come back."""
    STRANGER = "stranger"
    """A reader that is none of ours."""
    UNNAMED = "unnamed"
    """More than one in a row is missing: the card names only the last of them."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A transaction that the card made and that is not on record.

    `reader`: who made it, by the encrypted reader id of the transaction after it (or of a sale in
    doubt). `missing`: by how much the balance fell across the whole hole that it is in.
    """

    counter: int
    cause: GapCause
    reader: ReaderId | None
    missing: Rupiah | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEvent:
    """A transaction on record, with what its voucher is found under."""

    counter: int
    terminal_id: int
    sequence: int
    is_credit: bool
    amount: Rupiah
    balance_after: Rupiah
    card_mac_verified: bool
    at: int
    follows: bool
    """Its balance before is the one after the transaction before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDoubt:
    terminal_id: int
    sequence: int
    amount: Rupiah
    state: DoubtState
    settled_by: str
    explanation: str
    counter: int | None
    at: int
    settled_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardAccount:
    """A card's life, every number of it. `suspense`: what is in suspense because of it."""

    uid: bytes
    serial: int
    member_number: int
    member_name: str
    state: str
    newest: int
    events: tuple[CardEvent, ...]
    gaps: tuple[Gap, ...]
    doubts: tuple[CardDoubt, ...]
    credits_waiting: int
    credits_waiting_sum: Rupiah
    balance_by_ledger: Rupiah
    balance_by_card: Rupiah
    suspense: Rupiah
    findings: tuple[int, ...]
    """Numbers on the work list that are not closed."""

    @property
    def is_complete(self) -> bool:
        follow = all(event.follows for event in self.events)
        open_doubts = any(doubt.state in _UNDECIDED for doubt in self.doubts)
        return follow and not (self.gaps or open_doubts or self.suspense)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCard:
    """A card with something open; all counts may not be 0 at once."""

    uid: bytes
    serial: int
    member_number: int
    missing: int
    doubts: int
    doubts_sum: Rupiah
    credits_in_doubt: int
    suspense: Rupiah
    findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TillLine:
    """A till's books. `kept`: vouchers that are there; `named`: beyond its head, by cards."""

    terminal_id: int
    name: str
    seller: str
    role: str
    status: str
    head: int
    kept: int
    last_seen: int | None
    last_batch: int | None
    named: int
    named_sum: Rupiah
    quarantined: int
    doubts: int
    clock_behind: int
    findings: int

    @property
    def is_complete(self) -> bool:
        return self.kept == self.head


@dataclass(frozen=True, slots=True, kw_only=True)
class TillAccount:
    """One till looked through. `missing`: runs of numbers not there; `broken`: those whose voucher
    does not hold the hash of the one before it.
    """

    line: TillLine
    missing: tuple[tuple[int, int], ...]
    broken: tuple[int, ...]
    head_fits: bool
    named: tuple[tuple[int, bytes, int], ...]
    """Sequence, card and time of the sales that cards name and it has not sent."""
    quarantined: tuple[tuple[int, str, str], ...]
    findings: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.broken and self.head_fits


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspenseLine:
    """What is in suspense for one cause. Above nought: a card lost it and nobody got it.

    `terminal_id`, `sequence`: the sale that is said to be paid, where it is that. `findings`: of the
    card, with their numbers on the work list.
    """

    card_uid: bytes
    serial: int | None
    cause: Kind
    terminal_id: int | None
    sequence: int | None
    amount: Rupiah
    since: int
    explanation: str
    findings: tuple[int, ...]


def _not_closed() -> Select[Any]:
    """Findings that are not closed: id, card_uid, terminal_id, kind."""
    last = last_steps()
    return (
        select(anomalies.c.id, anomalies.c.card_uid, anomalies.c.terminal_id, anomalies.c.kind)
        .outerjoin(last, last.c.anomaly_id == anomalies.c.id)
        .outerjoin(
            anomaly_steps,
            (anomaly_steps.c.anomaly_id == last.c.anomaly_id)
            & (anomaly_steps.c.number == last.c.number),
        )
        .where(func.coalesce(anomaly_steps.c.state, "open") != WorkState.CLOSED.value)
    )


def reconcile_card(central: Central, card: bytes | int) -> CardAccount:
    """Raises UnknownCard."""
    with central.database.read() as connection:
        row = card_row(connection, card)
        uid = bytes(row.uid)
        name = connection.execute(
            select(members.c.name).where(members.c.member_number == row.member_number)
        ).scalar_one()
        transactions = connection.execute(
            select(card_transactions)
            .where(card_transactions.c.card_uid == uid)
            .order_by(card_transactions.c.counter)
        ).all()
        doubts = _doubts_of(connection, uid)
        waiting = connection.execute(
            select(func.count(), whole_sum(pending_credits.c.amount_rupiah)).where(
                pending_credits.c.card_uid == uid, pending_credits.c.state.in_(WAITING)
            )
        ).one()
        heads = {
            one.id: one.head_sequence
            for one in connection.execute(select(terminals.c.id, terminals.c.head_sequence))
        }
        mine, suspense = account_number(Group.CARD, row.serial), account_number(Group.SUSPENSE)
        moved = {
            account: connection.execute(
                select(
                    whole_sum(
                        case(
                            (postings.c.credit_account == account, postings.c.amount_rupiah),
                            (postings.c.debit_account == account, -postings.c.amount_rupiah),
                            else_=0,
                        )
                    )
                ).where(postings.c.card_uid == uid)
            ).scalar_one()
            for account in (mine, suspense)
        }
        listed = _not_closed().where(anomalies.c.card_uid == uid).order_by(anomalies.c.id)
        findings = tuple(one.id for one in connection.execute(listed))
    events = _events(transactions)
    return CardAccount(
        uid=uid,
        serial=row.serial,
        member_number=row.member_number,
        member_name=name,
        state=row.state,
        newest=transactions[-1].counter if transactions else 0,
        events=events,
        gaps=_gaps(transactions, doubts, heads),
        doubts=doubts,
        credits_waiting=waiting[0],
        credits_waiting_sum=Rupiah(waiting[1]),
        balance_by_ledger=Rupiah(moved[mine]),
        balance_by_card=events[-1].balance_after if events else ZERO,
        suspense=Rupiah(moved[suspense]),
        findings=findings,
    )


def _doubts_of(connection: Connection, uid: bytes) -> tuple[CardDoubt, ...]:
    settled = (
        select(
            doubt_settlements.c.terminal_id,
            doubt_settlements.c.sequence,
            func.max(doubt_settlements.c.at).label("settled_at"),
        )
        .group_by(doubt_settlements.c.terminal_id, doubt_settlements.c.sequence)
        .where(
            doubt_settlements.c.terminal_id.in_(
                select(in_doubt.c.terminal_id).where(in_doubt.c.card_uid == uid)
            )
        )
        .subquery()
    )
    rows = connection.execute(
        select(in_doubt, settled.c.settled_at)
        .outerjoin(
            settled,
            (settled.c.terminal_id == in_doubt.c.terminal_id)
            & (settled.c.sequence == in_doubt.c.sequence),
        )
        .where(in_doubt.c.card_uid == uid)
        .order_by(in_doubt.c.at, in_doubt.c.terminal_id, in_doubt.c.sequence)
    )
    return tuple(
        CardDoubt(
            terminal_id=row.terminal_id,
            sequence=row.sequence,
            amount=Rupiah(row.amount_rupiah),
            state=DoubtState(row.state),
            settled_by=row.settled_by,
            explanation=row.explanation,
            counter=row.counter,
            at=row.at,
            settled_at=row.settled_at,
        )
        for row in rows
    )


def _events(transactions: Sequence[Row[Any]]) -> tuple[CardEvent, ...]:
    events = []
    before: Row[Any] | None = None
    for row in transactions:
        expected = 0 if row.counter == 1 else None
        if before is not None and before.counter == row.counter - 1:
            expected = before.balance_after_rupiah
        events.append(
            CardEvent(
                counter=row.counter,
                terminal_id=row.terminal_id,
                sequence=row.sequence,
                is_credit=row.balance_after_rupiah > row.balance_before_rupiah,
                amount=Rupiah(row.amount_rupiah),
                balance_after=Rupiah(row.balance_after_rupiah),
                card_mac_verified=row.card_mac_verified,
                at=row.at,
                follows=expected is None or expected == row.balance_before_rupiah,
            )
        )
        before = row
    return tuple(events)


def _gaps(
    transactions: Sequence[Row[Any]], doubts: Sequence[CardDoubt], heads: Mapping[int, int]
) -> tuple[Gap, ...]:
    """Every number up to the newest that is not on record."""
    doubtful = {
        ReaderId(terminal_id=one.terminal_id, sequence=one.sequence)
        for one in doubts
        if one.state in _UNDECIDED
    }
    by_number = {
        one.counter: ReaderId(terminal_id=one.terminal_id, sequence=one.sequence)
        for one in doubts
        if one.counter is not None and one.state in _UNDECIDED
    }
    gaps, counter, balance = [], 0, 0
    for row in transactions:
        hole = range(counter + 1, row.counter)
        for missing in hole:
            reader = by_number.get(missing)
            if missing == row.counter - 1 and row.previous_terminal_id is not None:
                reader = ReaderId(
                    terminal_id=row.previous_terminal_id, sequence=row.previous_sequence
                )
            lost = Rupiah(balance - row.balance_before_rupiah)
            gaps.append(Gap(missing, _cause(reader, doubtful, heads), reader, lost))
        counter, balance = row.counter, row.balance_after_rupiah
    return tuple(gaps)


def _cause(reader: ReaderId | None, doubtful: set[ReaderId], heads: Mapping[int, int]) -> GapCause:
    if reader is None:
        return GapCause.UNNAMED
    if reader in doubtful:
        return GapCause.IN_DOUBT
    if reader.terminal_id == CENTRAL_TERMINAL_ID:
        return GapCause.CENTRAL
    head = heads.get(reader.terminal_id)
    if reader == FOREIGN_READER or head is None:
        return GapCause.STRANGER
    return GapCause.AWAITED if reader.sequence > head else GapCause.NOT_SENT


_nought = literal(0)


def open_cards_statement() -> Select[Any]:
    """All cards with something open, in one statement: each part reads its table once."""
    mine = card_transactions.c
    holes = (
        select(
            mine.card_uid,
            (func.max(mine.counter) - func.count()).label("missing"),
            _nought.label("doubts"),
            _nought.label("doubts_sum"),
            _nought.label("credits"),
            _nought.label("suspense"),
            _nought.label("findings"),
        )
        .group_by(mine.card_uid)
        .having(func.count() != func.max(mine.counter))
    )
    doubts = (
        select(
            in_doubt.c.card_uid,
            _nought,
            func.count(),
            whole_sum(in_doubt.c.amount_rupiah),
            _nought,
            _nought,
            _nought,
        )
        .where(in_doubt.c.state.in_([state.value for state in _UNDECIDED]))
        .group_by(in_doubt.c.card_uid)
    )
    unsure = (
        select(
            pending_credits.c.card_uid, _nought, _nought, _nought, func.count(), _nought, _nought
        )
        .where(pending_credits.c.state == "in_doubt")
        .group_by(pending_credits.c.card_uid)
    )
    held = _suspense_postings().subquery()
    suspended = (
        select(
            held.c.card_uid,
            _nought,
            _nought,
            _nought,
            _nought,
            whole_sum(held.c.amount_rupiah),
            _nought,
        )
        .group_by(held.c.card_uid)
        .having(whole_sum(held.c.amount_rupiah) != 0)
    )
    listed = _not_closed().where(anomalies.c.card_uid.is_not(None)).subquery()
    found = select(
        listed.c.card_uid, _nought, _nought, _nought, _nought, _nought, func.count()
    ).group_by(listed.c.card_uid)
    parts = union_all(holes, doubts, unsure, suspended, found).subquery("parts")
    return (
        select(
            cards.c.uid,
            cards.c.serial,
            cards.c.member_number,
            whole_sum(parts.c.missing).label("missing"),
            whole_sum(parts.c.doubts).label("doubts"),
            whole_sum(parts.c.doubts_sum).label("doubts_sum"),
            whole_sum(parts.c.credits).label("credits"),
            whole_sum(parts.c.suspense).label("suspense"),
            whole_sum(parts.c.findings).label("findings"),
        )
        .join_from(parts, cards, cards.c.uid == parts.c.card_uid)
        .group_by(cards.c.uid, cards.c.serial, cards.c.member_number)
        .order_by(cards.c.serial)
    )


def open_cards(central: Central) -> list[OpenCard]:
    """By serial number."""
    with central.database.read() as connection:
        rows = connection.execute(open_cards_statement()).all()
    return [
        OpenCard(
            uid=bytes(row.uid),
            serial=row.serial,
            member_number=row.member_number,
            missing=row.missing,
            doubts=row.doubts,
            doubts_sum=Rupiah(row.doubts_sum),
            credits_in_doubt=row.credits,
            suspense=Rupiah(row.suspense),
            findings=row.findings,
        )
        for row in rows
    ]


def till_lines(central: Central, terminal_id: int | None = None) -> list[TillLine]:
    """Every terminal, by number."""
    listed = _not_closed().subquery()
    named = select(named_before.c.terminal_id.label("id"), _amount_named().label("amount")).join(
        terminals, terminals.c.id == named_before.c.terminal_id
    )
    named = _with_neighbours(named).where(named_before.c.sequence > terminals.c.head_sequence)
    per_till = named.subquery("named")
    parts = {
        "kept": select(vouchers.c.terminal_id, func.count()).group_by(vouchers.c.terminal_id),
        "last_batch": select(batches.c.terminal_id, func.max(batches.c.received_at)).group_by(
            batches.c.terminal_id
        ),
        "named": select(per_till.c.id, func.count()).group_by(per_till.c.id),
        "named_sum": select(per_till.c.id, whole_sum(per_till.c.amount)).group_by(per_till.c.id),
        "quarantined": select(quarantine.c.terminal_id, func.count()).group_by(
            quarantine.c.terminal_id
        ),
        "doubts": select(in_doubt.c.terminal_id, func.count())
        .where(in_doubt.c.state.in_([state.value for state in _UNDECIDED]))
        .group_by(in_doubt.c.terminal_id),
        "clock_behind": select(listed.c.terminal_id, func.count())
        .where(listed.c.kind == CLOCK_BEHIND)
        .group_by(listed.c.terminal_id),
        "findings": select(listed.c.terminal_id, func.count()).group_by(listed.c.terminal_id),
    }
    if terminal_id is not None:
        parts = {
            name: part.having(next(iter(part.selected_columns)) == terminal_id)
            for name, part in parts.items()
        }
        parts["kept"] = select(vouchers.c.terminal_id, func.count()).where(
            vouchers.c.terminal_id == terminal_id
        ).group_by(vouchers.c.terminal_id)  # fmt: skip
    statement = select(terminals, sellers.c.name.label("seller")).join(sellers)
    if terminal_id is not None:
        statement = statement.where(terminals.c.id == terminal_id)
    with central.database.read() as connection:
        rows = connection.execute(statement.order_by(terminals.c.id)).all()
        found = {
            name: {row[0]: row[1] for row in connection.execute(part)}
            for name, part in parts.items()
        }

    def of(name: str, row: Row[Any]) -> int:
        return int(found[name].get(row.id) or 0)

    lines = []
    for row in rows:
        last_batch = found["last_batch"].get(row.id)
        seen = [at for at in (last_batch, row.feed_at) if at is not None]
        lines.append(
            TillLine(
                terminal_id=row.id,
                name=row.name,
                seller=row.seller,
                role=row.role,
                status=row.status,
                head=row.head_sequence,
                kept=of("kept", row),
                last_seen=max(seen, default=None),
                last_batch=last_batch,
                named=of("named", row),
                named_sum=Rupiah(of("named_sum", row)),
                quarantined=of("quarantined", row),
                doubts=of("doubts", row),
                clock_behind=of("clock_behind", row),
                findings=of("findings", row),
            )
        )
    return lines


_later = card_transactions.alias("later")
_earlier = card_transactions.alias("earlier")


def _amount_named() -> Any:
    """By the balances around the transaction that is named; nought where more are missing there."""
    before = case((_later.c.counter == 2, 0), else_=_earlier.c.balance_after_rupiah)
    return func.coalesce(before - _later.c.balance_before_rupiah, 0)


def _with_neighbours(statement: Select[Any]) -> Select[Any]:
    return statement.join(
        _later,
        (_later.c.card_uid == named_before.c.card_uid)
        & (_later.c.counter == named_before.c.counter),
    ).outerjoin(
        _earlier,
        (_earlier.c.card_uid == _later.c.card_uid) & (_earlier.c.counter == _later.c.counter - 2),
    )


@dataclass(slots=True)
class _Chain:
    """Follows a till's vouchers in their order."""

    sequence: int
    hash: bytes
    missing: list[tuple[int, int]] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)

    def add(self, sequence: int, encoded: bytes) -> None:
        if sequence != self.sequence + 1:
            self.missing.append((self.sequence + 1, sequence - 1))
        elif self._previous_hash(encoded) != self.hash:
            self.broken.append(sequence)
        self.sequence, self.hash = sequence, voucher_hash(encoded)

    @staticmethod
    def _previous_hash(encoded: bytes) -> bytes:
        """Nothing's, of one that was changed until it is no voucher any more."""
        try:
            return decode_voucher(encoded).link.previous_hash
        except MalformedMessage:
            return b""


def reconcile_till(central: Central, terminal_id: int) -> TillAccount:
    """The till's whole chain read through. Raises UnknownTerminal."""
    lines = till_lines(central, terminal_id)
    if not lines:
        raise UnknownTerminal(terminal_id=terminal_id)
    with central.database.read() as connection:
        terminal = connection.execute(select(terminals).where(terminals.c.id == terminal_id)).one()
        chain = _Chain(0, genesis_hash(terminal_id, bytes(terminal.public_key)))
        kept = connection.execution_options(stream_results=True).execute(
            select(vouchers.c.sequence, vouchers.c.encoded)
            .where(vouchers.c.terminal_id == terminal_id)
            .order_by(vouchers.c.sequence)
        )
        for sequence, encoded in kept.yield_per(2_000):
            chain.add(sequence, bytes(encoded))
        if chain.sequence < terminal.head_sequence:
            chain.missing.append((chain.sequence + 1, terminal.head_sequence))
        named = connection.execute(
            _with_neighbours(
                select(named_before.c.sequence, named_before.c.card_uid, _later.c.at).join(
                    terminals, terminals.c.id == named_before.c.terminal_id
                )
            )
            .where(named_before.c.terminal_id == terminal_id)
            .where(named_before.c.sequence > terminals.c.head_sequence)
            .order_by(named_before.c.sequence)
        ).all()
        refused = connection.execute(
            select(quarantine.c.sequence, quarantine.c.reason, quarantine.c.detail)
            .where(quarantine.c.terminal_id == terminal_id)
            .order_by(quarantine.c.sequence)
        ).all()
        listed = _not_closed().where(anomalies.c.terminal_id == terminal_id)
        findings = tuple(row.id for row in connection.execute(listed.order_by(anomalies.c.id)))
    return TillAccount(
        line=lines[0],
        missing=tuple(chain.missing),
        broken=tuple(chain.broken),
        head_fits=bool(chain.missing) or chain.hash == bytes(terminal.head_hash),
        named=tuple((row.sequence, bytes(row.card_uid), row.at) for row in named),
        quarantined=tuple((row.sequence, row.reason, row.detail) for row in refused),
        findings=findings,
    )


def _suspense_postings() -> Select[Any]:
    """Every posting to or from suspense, `amount_rupiah` above nought into it.

    Found by the cards that ever had one: `posting_keys` has no sales, of which most postings are.
    """
    suspense = account_number(Group.SUSPENSE)
    with_some = select(posting_keys.c.card_uid).where(
        posting_keys.c.kind.in_([kind.value for kind in _SUSPENSE_KINDS])
    )
    return (
        select(
            postings.c.card_uid,
            postings.c.kind,
            postings.c.terminal_id,
            postings.c.sequence,
            postings.c.at,
            postings.c.explanation,
            case(
                (postings.c.credit_account == suspense, postings.c.amount_rupiah),
                else_=-postings.c.amount_rupiah,
            ).label("amount_rupiah"),
        )
        .where(postings.c.card_uid.in_(with_some))
        .where((postings.c.credit_account == suspense) | (postings.c.debit_account == suspense))
        .order_by(None)
    )


_CAUSES = {
    Kind.UNEXPLAINED_GAIN: Kind.UNEXPLAINED_LOSS,
    Kind.CLAIM_RELEASED: Kind.CLAIM_HELD,
    Kind.SHORTFALL_BACK: Kind.SHORTFALL,
}
"""Counter-entries belong to what they are against."""


def suspense_lines(central: Central) -> list[SuspenseLine]:
    """What each rupiah in suspense is about; the amounts add up to the account's balance.

    Of each cause what is left of it: one that was taken back is not in the list. Most money first.
    """
    with central.database.read() as connection:
        rows = connection.execute(_suspense_postings().order_by(postings.c.at, postings.c.id)).all()
        uids = sorted({bytes(row.card_uid) for row in rows})
        serials: dict[bytes, int] = {}
        findings: dict[bytes, list[int]] = {}
        for start in range(0, len(uids), 500):
            some = uids[start : start + 500]
            for uid, serial in connection.execute(
                select(cards.c.uid, cards.c.serial).where(cards.c.uid.in_(some))
            ):
                serials[bytes(uid)] = serial
            listed = _not_closed().where(anomalies.c.card_uid.in_(some)).order_by(anomalies.c.id)
            for one in connection.execute(listed):
                findings.setdefault(bytes(one.card_uid), []).append(one.id)
    sums: dict[tuple[bytes, Kind, int | None, int | None], list[Row[Any]]] = {}
    for row in rows:
        kind = Kind(row.kind)
        cause = _CAUSES.get(kind, kind)
        sale = (row.terminal_id, row.sequence) if cause is Kind.CLAIM_HELD else (None, None)
        sums.setdefault((bytes(row.card_uid), cause, *sale), []).append(row)
    lines = []
    for (uid, cause, terminal_id, sequence), entries in sums.items():
        amount = sum(entry.amount_rupiah for entry in entries)
        if amount:
            lines.append(
                SuspenseLine(
                    card_uid=uid,
                    serial=serials.get(uid),
                    cause=cause,
                    terminal_id=terminal_id,
                    sequence=sequence,
                    amount=Rupiah(amount),
                    since=entries[0].at,
                    explanation=entries[-1].explanation,
                    findings=tuple(findings.get(uid, ())),
                )
            )
    return sorted(lines, key=lambda line: (-abs(line.amount.amount), line.since, line.card_uid))
