"""Taking a batch: believe it or not, post it, and answer with the signed acknowledgement.

Signatures, chain and card MACs are checked before the transaction; the place in the till's chain,
and everything that depends on other vouchers, inside it. The acknowledgement is stored by the same
transaction and leaves only when that is durable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, select, tuple_, update

from dobmi.cardlib.evidence import parse_sale_evidence
from dobmi.cardlib.purse_layout import ReaderId, RecordKind
from dobmi.central.database import add_to_counter, insert_rows, insert_unless_there
from dobmi.central.doubts import (
    Rule,
    conclude,
    is_settled_for_good,
    note_claim,
    take_decision,
)
from dobmi.central.errors import (
    ForkedChain,
    OnlyTillsSell,
    RoleNotAllowed,
    TerminalBlocked,
    UnknownTerminal,
    VouchersMissing,
)
from dobmi.central.posting_rules import Kind, posting
from dobmi.central.refunds import Sold, may_refund, note_refunds, sales_to_refund
from dobmi.central.replacement import follow_up
from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    DoubtState,
    Role,
    TerminalStatus,
    VoucherStatus,
    anomalies,
    batches,
    card_transactions,
    cards,
    doubt_decisions,
    in_doubt,
    pending_credits,
    postings,
    rejected_batches,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.settlement import (
    anomaly_row,
    carry_out_refunds,
    last_counters,
    lock_cards,
    post_sale,
    settle_cards,
    transaction_row,
)
from dobmi.central.verification import (
    CardFacts,
    MacKeyOf,
    Noted,
    PlausibleDoubt,
    Reason,
    Refused,
    Verdict,
    VerifiedSale,
    card_vouches,
    judge,
    kind_of,
    previous_of,
    uid_of,
)
from dobmi.errors import DoBMIError
from dobmi.money import Rupiah
from dobmi.sync.acknowledgement import Acknowledgement, encode_acknowledgement
from dobmi.sync.batch import UncheckedBatch, parse_batch
from dobmi.sync.errors import SyncError, WrongSignature
from dobmi.sync.voucher import (
    DecisionVoucher,
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    Voucher,
    genesis_hash,
)

SIGNED_BYTES_MAX = 64 * 1024 * 1024
SIGNED_ROWS_MAX = 100_000
"""Of refused batches that a terminal known here signed as they are: P6."""
OTHER_BYTES_MAX = 8 * 1024 * 1024
OTHER_ROWS_MAX = 1_000
"""Of those that anybody can make: from strangers together, and under each terminal's signed head."""

OPEN_DOUBTS_MAX = 20
"""Of one card at one till. An honest till settles one when the card comes again."""

_Key = tuple[bytes, int]
"""A card and the number of a transaction of its."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A voucher with its bytes and hash, and whether it is believed."""

    voucher: Voucher
    hash: bytes
    encoded: bytes
    verdict: Verdict


def take_batch(central: Central, data: bytes) -> bytes:
    """The encoded acknowledgement of the batch `data`, which is durable by then.

    The same bytes again get the same acknowledgement again. Raises MalformedMessage,
    WrongSignature, BrokenChain, UnknownTerminal, TerminalBlocked, OnlyTillsSell, VouchersMissing,
    ForkedChain: then nothing of it was taken, and the bytes are kept with the reason. ServerBusy: try again.
    """
    batch_hash = hashlib.sha256(data).digest()
    now = central.unix_seconds()
    try:
        with central.database.read() as connection:
            stored = _find_acknowledgement(connection, batch_hash)
        if stored is not None:
            return stored
        batch, public_key = _open_batch(central, data)
        mac_key_of = central.mac_keys()
        checked, facts = check_batch(central, batch, public_key, mac_key_of)
        with central.database.write() as connection:
            terminal = _lock_terminal(connection, batch.head.terminal_id)
            stored = _find_acknowledgement(connection, batch_hash)
            if stored is not None:  # the same batch came twice at once
                return stored
            posting_ = _Posting(connection, terminal, batch, facts, mac_key_of, now)
            quarantined = posting_.run(checked)
            acknowledgement = encode_acknowledgement(
                Acknowledgement(
                    terminal_id=batch.head.terminal_id,
                    batch_hash=batch_hash,
                    head_sequence=batch.head.last_sequence,
                    head_hash=batch.head.head_hash,
                    unix_seconds=now,
                    quarantined=quarantined,
                ),
                central.public_key,
                central.sign,
            )
            row = {
                "batch_hash": batch_hash,
                "terminal_id": batch.head.terminal_id,
                "acknowledgement": acknowledgement,
                "received_at": now,
            }
            insert_rows(connection, batches, [row])
    except (
        SyncError,
        UnknownTerminal,
        TerminalBlocked,
        RoleNotAllowed,
        VouchersMissing,
        ForkedChain,
    ) as error:
        _keep_rejected(central, batch_hash, data, error, now)
        raise
    return acknowledgement


def check_batch(
    central: Central, batch: UncheckedBatch, public_key: bytes, mac_key_of: MacKeyOf
) -> tuple[list[Checked], dict[bytes, CardFacts]]:
    """Signature, chain and each voucher's verdict, with the cards' facts. Nothing is written."""
    chain = batch.verify(public_key)
    facts = _card_facts(central, {uid_of(voucher) for voucher, _ in chain})
    checked = [
        Checked(voucher, hash_, encoded, judge(voucher, facts, mac_key_of))
        for (voucher, hash_), encoded in zip(chain, batch.vouchers, strict=True)
    ]
    return checked, facts


def _open_batch(central: Central, data: bytes) -> tuple[UncheckedBatch, bytes]:
    batch = parse_batch(data)
    terminal_id = batch.head.terminal_id
    with central.database.read() as connection:
        terminal = connection.execute(
            select(terminals).where(terminals.c.id == terminal_id)
        ).one_or_none()
    if terminal is None:
        raise UnknownTerminal(terminal_id=terminal_id)
    if terminal.status != TerminalStatus.ACTIVE:
        raise TerminalBlocked(terminal_id=terminal_id)
    if terminal.role != Role.TILL:
        raise OnlyTillsSell(terminal_id=terminal_id, role=terminal.role)
    return batch, bytes(terminal.public_key)


def _find_acknowledgement(connection: Connection, batch_hash: bytes) -> bytes | None:
    stored = connection.execute(
        select(batches.c.acknowledgement).where(batches.c.batch_hash == batch_hash)
    ).scalar_one_or_none()
    return None if stored is None else bytes(stored)


def _lock_terminal(connection: Connection, terminal_id: int) -> Row[Any]:
    """One batch of a terminal at a time: its head stands still until this transaction ends."""
    return connection.execute(
        select(terminals).where(terminals.c.id == terminal_id).with_for_update()
    ).one()


def _card_facts(central: Central, uids: Iterable[bytes]) -> dict[bytes, CardFacts]:
    with central.database.read() as connection:
        rows = connection.execute(select(cards).where(cards.c.uid.in_(sorted(uids)))).all()
    return {
        row.uid: CardFacts(
            uid=row.uid,
            serial=row.serial,
            member_number=row.member_number,
            mac_key_version=row.mac_key_version,
            blocked=row.state in {CardState.BLOCKED, CardState.REPLACED},
            replaced=row.state == CardState.REPLACED,
        )
        for row in rows
    }


def _keep_rejected(
    central: Central, batch_hash: bytes, data: bytes, error: DoBMIError, now: int
) -> None:
    """P6: kept with the reason, whoever sent it; the content only while its keep has room.

    What strangers send has a small keep of its own, so that they cannot take the room of what a
    till sends. A fork, which only the till's own key can make, is reported in any case.
    """
    keep = _keep_of(central, data)
    signed = keep == _SIGNED
    rows_max, bytes_max = (
        (SIGNED_ROWS_MAX, SIGNED_BYTES_MAX) if signed else (OTHER_ROWS_MAX, OTHER_BYTES_MAX)
    )
    with central.database.write() as connection:
        if isinstance(error, ForkedChain):
            fork = anomaly_row(
                "forked-chain",
                batch_hash.hex(),
                at=now,
                detail=error.explain(),
                terminal_id=_int(error.facts.get("terminal_id")),
            )
            insert_unless_there(connection, anomalies, [fork])
        rows = add_to_counter(connection, f"rejected-rows:{keep}", 0)  # locked from here on
        same = select(rejected_batches.c.code).where(rejected_batches.c.batch_hash == batch_hash)
        if rows >= rows_max or connection.execute(same).first() is not None:
            return
        kept_bytes = add_to_counter(connection, f"rejected-bytes:{keep}", 0)
        has_room = kept_bytes + len(data) <= bytes_max
        add_to_counter(connection, f"rejected-rows:{keep}", 1)
        add_to_counter(connection, f"rejected-bytes:{keep}", len(data) if has_room else 0)
        row = {
            "batch_hash": batch_hash,
            "code": error.code,
            "detail": error.explain()[:400],
            "size_bytes": len(data),
            "content": data if has_room else None,
            "received_at": now,
        }
        insert_unless_there(connection, rejected_batches, [row])


_SIGNED = "signed"
_STRANGERS = "strangers"


def _keep_of(central: Central, data: bytes) -> str:
    """Whose the refused bytes are: a known terminal's to the last byte, under its head, anybody's.

    A head is good for one batch alone, but who has seen it can send other vouchers under it.
    """
    try:
        batch = parse_batch(data)
    except SyncError:
        return _STRANGERS
    with central.database.read() as connection:
        public_key = connection.execute(
            select(terminals.c.public_key).where(terminals.c.id == batch.head.terminal_id)
        ).scalar_one_or_none()
    if public_key is None:
        return _STRANGERS
    try:
        batch.verify(public_key)
    except WrongSignature:
        return _STRANGERS
    except SyncError:
        return f"terminal:{batch.head.terminal_id}"
    return _SIGNED


def _amount_of(voucher: Voucher) -> Rupiah | None:
    """What the till claims, where it claims an amount."""
    match voucher:
        case SaleVoucher() | InDoubtVoucher():
            return voucher.intent.amount
        case RefundVoucher():
            return voucher.amount
        case _:
            return None


def _int(fact: object) -> int | None:
    return fact if isinstance(fact, int) else None


@dataclass(slots=True)
class _Seen:
    """What the vouchers before, on record and in the batch, make of the next one.

    Transactions' readers; doubts' cards and evidence; open doubts by card; decided sales; sales
    with what was given back of them. All but the first and third by sequence.
    """

    readers: dict[_Key, ReaderId]
    doubts: dict[int, tuple[bytes, bytes]]
    open_doubts: dict[bytes, set[int]]
    decided: set[int]
    sales: dict[int, Sold]


@dataclass(slots=True)
class _Posting:
    """The writing half of one batch, inside its transaction."""

    connection: Connection
    terminal: Row[Any]
    batch: UncheckedBatch
    facts: dict[bytes, CardFacts]
    mac_key_of: MacKeyOf
    now: int
    _to_settle: set[bytes] = field(default_factory=set)
    _to_follow_up: set[bytes] = field(default_factory=set)
    _anomalies: list[dict[str, object]] = field(default_factory=list)

    def run(self, checked: Sequence[Checked]) -> tuple[tuple[int, str], ...]:
        """Post what is new; the quarantined of the whole batch, old ones as they were kept."""
        terminal = self.terminal
        known = self._known_already(terminal)
        new = [item for item in checked if item.voucher.link.sequence > terminal.head_sequence]
        named = self._named_later(new)
        lock_cards(
            self.connection, {uid_of(item.voucher) for item in new} | {uid for uid, _ in named}
        )
        doubts = self._doubts_resolved(new)
        taken = self._taken_counters(new)
        new = self._second_look(new, taken, doubts)
        self._insert_vouchers(new)
        if new:
            self._move_head(new[-1])
        self._post_sales(new, terminal, taken)
        self._insert_doubts(new, terminal)
        self._note_refunds(new)
        for item in new:
            if isinstance(item.verdict, Noted):
                self._take_word(item.voucher)
        insert_unless_there(self.connection, anomalies, self._anomalies)
        if new:
            self._find_cards_to_settle(new, named)
        settle_cards(self.connection, self._to_settle, self.mac_key_of, self.now)
        for uid in sorted(self._to_follow_up - self._to_settle):
            carry_out_refunds(self.connection, uid, self.now)
            follow_up(self.connection, uid, self.now)
        return (
            *known,
            *(
                (item.voucher.link.sequence, item.verdict.reason.value)
                for item in new
                if isinstance(item.verdict, Refused)
            ),
        )

    def _known_already(self, terminal: Row[Any]) -> list[tuple[int, str]]:
        """The batch's vouchers that are kept already.

        Raises VouchersMissing for a gap before them, ForkedChain if one of them is another.
        """
        head = self.batch.head
        if head.first_sequence > terminal.head_sequence + 1:
            raise VouchersMissing(
                first_sequence=head.first_sequence, send_from=terminal.head_sequence + 1
            )
        stored = {
            row.sequence: row
            for row in self.connection.execute(
                select(
                    vouchers.c.sequence,
                    vouchers.c.hash,
                    vouchers.c.previous_hash,
                    vouchers.c.reason,
                ).where(
                    vouchers.c.terminal_id == head.terminal_id,
                    vouchers.c.sequence.between(head.first_sequence - 1, head.last_sequence),
                )
            )
        }
        before = stored.pop(head.first_sequence - 1, None)
        expected = (
            genesis_hash(head.terminal_id, terminal.public_key)
            if head.first_sequence == 1
            else before.hash
            if before is not None
            else None
        )
        if head.previous_hash != expected:
            raise ForkedChain(sequence=head.first_sequence - 1, terminal_id=head.terminal_id)
        for offset, encoded in enumerate(self.batch.vouchers):
            row = stored.get(head.first_sequence + offset)
            if row is not None and row.hash != hashlib.sha256(encoded).digest():
                raise ForkedChain(
                    sequence=head.first_sequence + offset, terminal_id=head.terminal_id
                )
        return [
            (number, stored[number].reason) for number in sorted(stored) if stored[number].reason
        ]

    def _named_later(self, new: Sequence[Checked]) -> list[tuple[bytes, int]]:
        """Cards that name one of the new numbers before a transaction on record, with the number.

        Found before the cards are locked. What another writer adds meanwhile, it settles itself,
        or `reconcile` does.
        """
        if not new:
            return []
        rows = self.connection.execute(
            select(card_transactions.c.card_uid, card_transactions.c.previous_sequence).where(
                card_transactions.c.previous_terminal_id == self.batch.head.terminal_id,
                card_transactions.c.previous_sequence.between(
                    new[0].voucher.link.sequence, new[-1].voucher.link.sequence
                ),
            )
        )
        return [(bytes(uid), sequence) for uid, sequence in rows]

    def _doubts_resolved(self, new: Sequence[Checked]) -> dict[int, tuple[bytes, bytes]]:
        """Card and evidence of the doubts, by sequence, that new resolutions and decisions are of."""
        wanted = [
            item.voucher.resolves
            for item in new
            if isinstance(item.voucher, ResolutionVoucher | DecisionVoucher)
        ]
        if not wanted:
            return {}
        doubts = {
            row.sequence: (bytes(row.card_uid), bytes(row.evidence))
            for row in self.connection.execute(
                select(in_doubt.c.sequence, in_doubt.c.card_uid, in_doubt.c.evidence).where(
                    in_doubt.c.terminal_id == self.batch.head.terminal_id,
                    in_doubt.c.sequence.in_(wanted),
                )
            )
        }
        for item in new:
            if isinstance(item.verdict, PlausibleDoubt):
                intent = item.verdict.voucher.intent
                doubts[item.voucher.link.sequence] = (intent.card_uid, intent.evidence)
        return doubts

    def _taken_counters(self, new: Sequence[Checked]) -> dict[_Key, Row[Any]]:
        """The transactions on record at the numbers of the new ones and beside them."""
        keys: set[_Key] = set()
        for item in new:
            counter = None
            if isinstance(item.verdict, VerifiedSale):
                counter = item.verdict.voucher.card_counter
            elif isinstance(item.voucher, ResolutionVoucher):
                counter = item.voucher.card_counter
            if counter is not None:
                uid = uid_of(item.voucher)
                keys.update((uid, counter + step) for step in (-1, 0, 1))
        if not keys:
            return {}
        rows = self.connection.execute(
            select(card_transactions).where(
                tuple_(card_transactions.c.card_uid, card_transactions.c.counter).in_(sorted(keys))
            )
        )
        return {(bytes(row.card_uid), row.counter): row for row in rows}

    def _second_look(
        self,
        new: Sequence[Checked],
        taken: dict[_Key, Row[Any]],
        doubts: dict[int, tuple[bytes, bytes]],
    ) -> list[Checked]:
        """The verdicts that other vouchers change: a number taken, a doubt that is not there."""
        readers = {
            key: ReaderId(terminal_id=row.terminal_id, sequence=row.sequence)
            for key, row in taken.items()
        }
        seen = _Seen(
            readers=readers,
            doubts=doubts,
            open_doubts=self._open_doubts(new),
            decided=self._decided(new),
            sales=self._sales_refunded(new),
        )
        looked = []
        for item in new:
            verdict = self._look_again(item, seen)
            link = item.voucher.link
            if isinstance(verdict, Refused) and verdict.reason in _SUSPICIOUS:
                self._anomalies.append(
                    anomaly_row(
                        verdict.reason.value,
                        f"{link.terminal_id}/{link.sequence}",
                        at=self.now,
                        detail=verdict.detail,
                        card_uid=uid_of(item.voucher),
                        terminal_id=link.terminal_id,
                        amount=_amount_of(item.voucher),
                    )
                )
            looked.append(Checked(item.voucher, item.hash, item.encoded, verdict))
        return looked

    def _look_again(self, item: Checked, seen: _Seen) -> Verdict:
        verdict, link = item.verdict, item.voucher.link
        match verdict:
            case VerifiedSale():
                key = (verdict.voucher.intent.card_uid, verdict.voucher.card_counter)
                reader = verdict.evidence.reader_id
                if seen.readers.setdefault(key, reader) != reader:
                    return self._duplicate(item.voucher, key, seen.readers[key])
            case PlausibleDoubt():
                of_card = seen.open_doubts.setdefault(uid_of(item.voucher), set())
                if len(of_card) >= OPEN_DOUBTS_MAX:
                    seen.doubts.pop(link.sequence, None)
                    return Refused(item.voucher, Reason.TOO_MANY_DOUBTS)
                of_card.add(link.sequence)
            case Noted():
                return self._look_at_word(item.voucher, verdict, seen)
            case Refused():
                return verdict
        intent = verdict.voucher.intent
        seen.sales[link.sequence] = Sold(intent.card_uid, intent.amount)
        return verdict

    def _look_at_word(self, voucher: Voucher, noted: Noted, seen: _Seen) -> Verdict:
        match voucher:
            case ResolutionVoucher():
                verdict = self._look_at_resolution(voucher, seen.readers, seen.doubts)
                if isinstance(verdict, Noted):
                    seen.open_doubts.get(voucher.card_uid, set()).discard(voucher.resolves)
                return verdict
            case RefundVoucher():
                refund = may_refund(voucher, seen.sales.get(voucher.refunds))
                if isinstance(refund, Noted):
                    seen.sales[voucher.refunds].refunded += voucher.amount
                return refund
            case DecisionVoucher():
                return _look_at_decision(voucher, seen.doubts, seen.decided)
            case _:
                return noted

    def _open_doubts(self, new: Sequence[Checked]) -> dict[bytes, set[int]]:
        """The till's open doubts of the cards of which it brings more."""
        uids = {uid_of(item.voucher) for item in new if isinstance(item.verdict, PlausibleDoubt)}
        found: dict[bytes, set[int]] = {}
        if uids:
            rows = self.connection.execute(
                select(in_doubt.c.card_uid, in_doubt.c.sequence).where(
                    in_doubt.c.terminal_id == self.batch.head.terminal_id,
                    in_doubt.c.card_uid.in_(sorted(uids)),
                    in_doubt.c.state == DoubtState.OPEN,
                )
            )
            for uid, sequence in rows:
                found.setdefault(bytes(uid), set()).add(sequence)
        return found

    def _decided(self, new: Sequence[Checked]) -> set[int]:
        """Which of the sales that new decisions are of have one already."""
        wanted = [
            item.voucher.resolves for item in new if isinstance(item.voucher, DecisionVoucher)
        ]
        if not wanted:
            return set()
        return set(
            self.connection.execute(
                select(doubt_decisions.c.sequence).where(
                    doubt_decisions.c.terminal_id == self.batch.head.terminal_id,
                    doubt_decisions.c.sequence.in_(wanted),
                )
            ).scalars()
        )

    def _look_at_resolution(
        self,
        voucher: ResolutionVoucher,
        readers: dict[_Key, ReaderId],
        doubts: dict[int, tuple[bytes, bytes]],
    ) -> Verdict:
        uid, evidence = doubts.get(voucher.resolves, (b"", b""))
        if uid != voucher.card_uid:
            return Refused(voucher, Reason.RESOLVES_NOTHING)
        counter, mac = voucher.card_counter, voucher.card_mac
        if counter is None or mac is None:
            return Noted(voucher)
        mac_key = self.mac_key_of(uid, self.facts[uid].mac_key_version)
        if not card_vouches(mac_key, uid, counter, mac, evidence):
            return Refused(voucher, Reason.WRONG_CARD_MAC)
        reader = ReaderId(terminal_id=voucher.link.terminal_id, sequence=voucher.resolves)
        if readers.setdefault((uid, counter), reader) != reader:
            return self._duplicate(voucher, (uid, counter), readers[uid, counter])
        return Noted(voucher)

    def _sales_refunded(self, new: Sequence[Checked]) -> dict[int, Sold]:
        """The till's sales on record, by number, that the new refunds speak of."""
        wanted = [item.voucher.refunds for item in new if isinstance(item.voucher, RefundVoucher)]
        if not wanted:
            return {}
        return sales_to_refund(self.connection, self.batch.head.terminal_id, wanted)

    def _note_refunds(self, new: Sequence[Checked]) -> None:
        believed = [
            item.voucher
            for item in new
            if isinstance(item.verdict, Noted) and isinstance(item.voucher, RefundVoucher)
        ]
        self._to_follow_up.update(voucher.card_uid for voucher in believed)
        note_refunds(self.connection, believed)

    def _duplicate(self, voucher: Voucher, key: _Key, other: ReaderId) -> Refused:
        detail = (
            f"the card's transaction {key[1]} is already on record as "
            f"{other.terminal_id}/{other.sequence}: a copy of the card or of its keys"
        )
        return Refused(voucher, Reason.DUPLICATE_COUNTER, detail)

    def _insert_vouchers(self, new: Sequence[Checked]) -> None:
        rows = []
        for item in new:
            link = item.voucher.link
            refused = item.verdict if isinstance(item.verdict, Refused) else None
            status = VoucherStatus.NOTED
            if refused is not None:
                status = VoucherStatus.QUARANTINED
            elif isinstance(item.verdict, VerifiedSale):
                status = VoucherStatus.POSTED
            rows.append(
                {
                    "terminal_id": link.terminal_id,
                    "sequence": link.sequence,
                    "hash": item.hash,
                    "previous_hash": link.previous_hash,
                    "kind": kind_of(item.voucher).value,
                    "card_uid": uid_of(item.voucher),
                    "encoded": item.encoded,
                    "received_at": self.now,
                    "status": status.value,
                    "reason": refused.reason.value if refused else "",
                    "detail": refused.detail[:200] if refused else "",
                }
            )
        insert_rows(self.connection, vouchers, rows)

    def _move_head(self, newest: Checked) -> None:
        self.connection.execute(
            update(terminals)
            .where(terminals.c.id == self.batch.head.terminal_id)
            .values(head_sequence=newest.voucher.link.sequence, head_hash=newest.hash)
        )

    def _post_sales(
        self, new: Sequence[Checked], terminal: Row[Any], taken: dict[_Key, Row[Any]]
    ) -> None:
        sales = [item.verdict for item in new if isinstance(item.verdict, VerifiedSale)]
        transactions, journal = [], []
        for sale in sales:
            evidence, link = sale.evidence, sale.voucher.link
            uid = sale.voucher.intent.card_uid
            transactions.append(
                transaction_row(
                    uid,
                    sale.voucher.card_counter,
                    RecordKind.SALE,
                    reader_id=evidence.reader_id,
                    previous=sale.previous,
                    balance_before=evidence.balance_before,
                    balance_after=evidence.balance_after,
                    at=link.unix_seconds,
                    card_mac_verified=True,
                )
            )
            journal.append(
                posting(
                    Kind.SALE,
                    evidence.amount,
                    card_uid=uid,
                    terminal_id=link.terminal_id,
                    sequence=link.sequence,
                    at=self.now,
                    seller=terminal.seller,
                )
            )
            if self.facts[uid].replaced:
                self._to_follow_up.add(uid)
            if self.facts[uid].blocked:
                self._sale_anomaly("sale-with-blocked-card", sale, f"{evidence.amount}")
            self._look_at_seller(sale.voucher.intent.seller, terminal)
        insert_rows(self.connection, card_transactions, transactions)
        insert_rows(self.connection, postings, journal)
        self._look_beside(sales, taken)

    def _look_beside(self, sales: Sequence[VerifiedSale], taken: dict[_Key, Row[Any]]) -> None:
        """Cards whose new transactions do not simply go on from the one before."""
        if not sales:
            return
        own = {(sale.voucher.intent.card_uid, sale.voucher.card_counter): sale for sale in sales}
        newest = last_counters(self.connection, sorted({uid for uid, _ in own}))
        for (uid, counter), sale in own.items():
            before = own.get((uid, counter - 1))
            row = taken.get((uid, counter - 1))
            follows = False
            if before is not None:
                follows = (
                    before.evidence.balance_after == sale.evidence.balance_before
                    and before.evidence.reader_id == sale.previous
                )
            elif row is not None:
                follows = row.balance_after_rupiah == sale.evidence.balance_before.amount and (
                    ReaderId(terminal_id=row.terminal_id, sequence=row.sequence) == sale.previous
                )
            if not follows or (counter != newest[uid] and (uid, counter + 1) not in own):
                self._to_settle.add(uid)

    def _look_at_seller(self, claimed: str, terminal: Row[Any]) -> None:
        if claimed != terminal.seller:
            self._anomalies.append(
                anomaly_row(
                    "other-seller",
                    f"{terminal.id}/{claimed}",
                    at=self.now,
                    detail=f"sales for {claimed!r}, registered for {terminal.seller!r}",
                    terminal_id=terminal.id,
                )
            )

    def _sale_anomaly(self, kind: str, sale: VerifiedSale, detail: str) -> None:
        link = sale.voucher.link
        self._anomalies.append(
            anomaly_row(
                kind,
                f"{link.terminal_id}/{link.sequence}",
                at=self.now,
                detail=detail,
                card_uid=sale.voucher.intent.card_uid,
                terminal_id=link.terminal_id,
                amount=sale.evidence.amount,
            )
        )

    def _insert_doubts(self, new: Sequence[Checked], terminal: Row[Any]) -> None:
        rows = []
        for item in new:
            if not isinstance(item.verdict, PlausibleDoubt):
                continue
            voucher = item.verdict.voucher
            self._look_at_seller(voucher.intent.seller, terminal)
            self._to_settle.add(voucher.intent.card_uid)
            rows.append(
                {
                    "terminal_id": voucher.link.terminal_id,
                    "sequence": voucher.link.sequence,
                    "card_uid": voucher.intent.card_uid,
                    "amount_rupiah": voucher.intent.amount.amount,
                    "evidence": voucher.intent.evidence,
                    "at": voucher.link.unix_seconds,
                    "state": DoubtState.OPEN.value,
                    "settled_by": "",
                    "explanation": "",
                    "counter": None,
                    "searched_to": 0,
                    "claimed_paid": False,
                }
            )
        insert_rows(self.connection, in_doubt, rows)

    def _take_word(self, voucher: Voucher) -> None:
        """What the till says of its own doubts."""
        match voucher:
            case ResolutionVoucher():
                self._resolve(voucher)
            case DecisionVoucher():
                self._to_settle.add(voucher.card_uid)
                take_decision(self.connection, voucher, self.now)
            case _:
                pass  # a void moves nothing

    def _resolve(self, voucher: ResolutionVoucher) -> None:
        self._to_settle.add(voucher.card_uid)
        terminal_id = voucher.link.terminal_id
        same = and_(in_doubt.c.terminal_id == terminal_id, in_doubt.c.sequence == voucher.resolves)
        doubt = self.connection.execute(select(in_doubt).where(same)).one()
        if voucher.card_counter is not None:
            self._paid_with_mac(voucher, doubt)
            return
        where = (terminal_id, voucher.resolves)
        if not is_settled_for_good(doubt):
            if voucher.outcome is Outcome.NOT_PAID:
                explanation = f"the till's word, voucher {voucher.link.sequence}"
                state = DoubtState.NOT_PAID
                conclude(
                    self.connection, *where, state, Rule.TILL, explanation=explanation, now=self.now
                )
            elif doubt.state != DoubtState.SUSPENDED:
                explanation = (
                    f"PAID, says the till in voucher {voucher.link.sequence}; "
                    "the card has yet to vouch for it"
                )
                note_claim(self.connection, *where, explanation, self.now)
        elif (voucher.outcome is Outcome.PAID) != (doubt.state == DoubtState.PAID):
            self._anomalies.append(
                anomaly_row(
                    "resolution-contradicts-card",
                    f"{terminal_id}/{voucher.link.sequence}",
                    at=self.now,
                    detail=f"{voucher.outcome.name} said of {voucher.resolves}, {doubt.state} known",
                    card_uid=voucher.card_uid,
                    terminal_id=terminal_id,
                )
            )

    def _paid_with_mac(self, voucher: ResolutionVoucher, doubt: Row[Any]) -> None:
        """The card's MAC covers the intent's evidence: as good as the sale's own voucher."""
        uid, counter = voucher.card_uid, voucher.card_counter
        assert counter is not None
        key = and_(card_transactions.c.card_uid == uid, card_transactions.c.counter == counter)
        on_record = self.connection.execute(
            update(card_transactions).where(key).values(card_mac_verified=True)
        )
        if on_record.rowcount:
            return  # settled meanwhile, by the transactions beside it
        evidence = parse_sale_evidence(doubt.evidence)
        reader = evidence.reader_id
        mac_key = self.mac_key_of(uid, self.facts[uid].mac_key_version)
        previous = previous_of(mac_key, uid, counter, evidence.encrypted_previous_reader_id)
        row = transaction_row(
            uid,
            counter,
            RecordKind.SALE,
            reader_id=reader,
            previous=previous,
            balance_before=evidence.balance_before,
            balance_after=evidence.balance_after,
            at=doubt.at,
            card_mac_verified=True,
        )
        insert_rows(self.connection, card_transactions, [row])
        explanation = f"the card's MAC, in voucher {voucher.link.sequence}"
        post_sale(
            self.connection,
            uid,
            reader,
            Rupiah(doubt.amount_rupiah),
            at=self.now,
            explanation=explanation,
        )
        where = (doubt.terminal_id, doubt.sequence)
        conclude(
            self.connection,
            *where,
            DoubtState.PAID,
            Rule.CARD_MAC,
            explanation=explanation,
            now=self.now,
        )
        self.connection.execute(
            update(in_doubt)
            .where(in_doubt.c.terminal_id == where[0], in_doubt.c.sequence == where[1])
            .values(counter=counter)
        )

    def _find_cards_to_settle(
        self, new: Sequence[Checked], named: Sequence[tuple[bytes, int]]
    ) -> None:
        """Cards with something open that the new vouchers may decide: all of them are locked."""
        uids = sorted({uid_of(item.voucher) for item in new} & set(self.facts))
        open_doubts = select(in_doubt.c.card_uid).where(
            in_doubt.c.card_uid.in_(uids),
            in_doubt.c.state.in_((DoubtState.OPEN, DoubtState.NOT_PAID, DoubtState.SUSPENDED)),
        )
        open_credits = select(pending_credits.c.card_uid).where(
            pending_credits.c.card_uid.in_(uids),
            pending_credits.c.state.in_((CreditDelivery.IN_DOUBT, CreditDelivery.ASSUMED)),
        )
        for (uid,) in self.connection.execute(open_doubts.union(open_credits)):
            self._to_settle.add(bytes(uid))
        posted = {
            (item.voucher.link.sequence, uid_of(item.voucher))
            for item in new
            if isinstance(item.verdict, VerifiedSale)
        }
        for uid, sequence in named:
            if (sequence, uid) not in posted:
                self._to_settle.add(uid)


def _look_at_decision(
    voucher: DecisionVoucher, doubts: dict[int, tuple[bytes, bytes]], decided: set[int]
) -> Verdict:
    """A decision is of a doubt of that till and card, and there is one for a sale."""
    uid, _ = doubts.get(voucher.resolves, (b"", b""))
    if uid != voucher.card_uid:
        return Refused(voucher, Reason.RESOLVES_NOTHING)
    if voucher.resolves in decided:
        return Refused(voucher, Reason.DECIDED_ALREADY)
    decided.add(voucher.resolves)
    return Noted(voucher)


_SUSPICIOUS = frozenset(
    {
        Reason.CLAIM_DIFFERS,
        Reason.WRONG_CARD_MAC,
        Reason.DUPLICATE_COUNTER,
        Reason.IMPLAUSIBLE_EVIDENCE,
        Reason.REFUND_TOO_MUCH,
        Reason.REFUNDS_NOTHING,
        Reason.TOO_MANY_DOUBTS,
    }
)
