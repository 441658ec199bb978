"""The till's own ledger: SQLite, WAL, synchronous FULL, one file. What it returned from is on disk.

    record_intent        before a commit is sent to a card
    append_voucher       a link of the chain; before anything is shown as paid
    record_acknowledgement, apply_feed, store_identity, mark_shown, record_clock_reset

What else is written (shifts, log-ins, carts, orders) is with its rules, in the module of its
subject. Each of these is one transaction. An intent whose sequence is the chain's next is *open*: it has no
voucher yet. There is at most one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dobmi.money import ZERO, Rupiah
from dobmi.sync.acknowledgement import Acknowledgement
from dobmi.sync.cbor import encode
from dobmi.sync.enrolment import Enrolment
from dobmi.sync.feed import Feed, Held, KeysMin, Limits, SettledAs, Settlement
from dobmi.sync.voucher import (
    DecisionVoucher,
    GoodsLine,
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidVoucher,
    Voucher,
    VoucherKind,
    decode_voucher,
    genesis_hash,
    goods_to_cbor,
    voucher_hash,
)
from dobmi.terminal import outlet, schema
from dobmi.terminal.errors import AlreadyEnrolled, LedgerFull, NotEnrolled
from dobmi.terminal.ledger_file import WRITES, bring_up, durably, make_engine

FREE_BYTES_MIN = 16 * 1024 * 1024
SETTLED_BY = "Koperasi"
"""Who an order is paid by when the central server found that its sale in doubt was paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TillIdentity:
    """Who this till is, as the central server took it in. Keys are 32 raw bytes, all public."""

    terminal_id: int
    public_key: bytes
    server_public_key: bytes
    card_issuer_public_key: bytes
    issuer: str
    seller: str


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest voucher: sequence 0 and the genesis hash before the first."""

    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TapCredit:
    """Money that waited for a card and came onto it in the tap of a sale. `balance_after`: the credit,
    not the sale.
    """

    amount: Rupiah
    balance_after: Rupiah
    before_sale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """A sale as it stood before its commit was sent; its sequence is taken for good."""

    sequence: int
    card_uid: bytes
    member_number: int
    holder: str
    amount: Rupiah
    balance_before: Rupiah
    evidence: bytes = field(repr=False)
    goods: tuple[GoodsLine, ...]
    unix_seconds: int
    shift: int
    cashier: str
    with_pin: bool = False
    """The card had proved the member's PIN."""

    @property
    def balance_after(self) -> Rupiah:
        return self.balance_before - self.amount


class SaleState(Enum):
    PAID = auto()
    NOT_PAID = auto()
    IN_DOUBT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a supervisor decided of a sale in doubt: in voucher `voucher_sequence`, and why."""

    voucher_sequence: int
    outcome: Outcome
    decided_by: str
    reason: str
    unix_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtRow:
    """A sale in doubt and what has been said of it: by the card here, by the server, by a person."""

    intent: IntentRow
    resolution: Outcome | None
    settlement: Settlement | None
    decision: Decision | None

    @property
    def is_open(self) -> bool:
        return self.resolution is None and self.settlement is None and self.decision is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Vouchers the server has not acknowledged; `total` is the money in their sales and doubts."""

    count: int
    total: Rupiah
    oldest_unix_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """What the server last said, and when. Times in Unix seconds."""

    acknowledged_sequence: int
    feed_version: int
    limits: Limits
    synced_unix_seconds: int
    server_unix_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReset:
    """Before it the till's latest time was `before_unix_seconds`, from then on `unix_seconds`."""

    before_unix_seconds: int
    unix_seconds: int
    supervisor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """`cashier` opened it, `on_duty` sells in it now. Numbers are of the outlet's staff list."""

    number: int
    cashier: str
    opened_unix_seconds: int
    closed_unix_seconds: int | None
    cashier_number: int | None = None
    float_cash: Rupiah = ZERO
    on_duty: str = ""
    on_duty_number: int | None = None

    @property
    def is_open(self) -> bool:
        return self.closed_unix_seconds is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftTotals:
    """One cashier's part of a shift. All are flows of this shift but `in_doubt`, which is a stock.

    `settled` are earlier doubts, of any shift, that a card answered with "paid" in this one.
    `server_paid` are doubts of this shift that the central server found paid since, `claimed` those
    of which a supervisor says so and the card does not yet; both change after the shift.
    """

    cashier: str
    sales_count: int = 0
    sales_total: Rupiah = ZERO
    settled_count: int = 0
    settled_total: Rupiah = ZERO
    void_count: int = 0
    in_doubt_count: int = 0
    in_doubt_total: Rupiah = ZERO
    refunds_count: int = 0
    refunds_total: Rupiah = ZERO
    server_paid_count: int = 0
    server_paid_total: Rupiah = ZERO
    claimed_count: int = 0
    claimed_total: Rupiah = ZERO


class Ledger:
    """One till's database. Writing is for the process that holds the till's lock; reading for all.

    Every method raises LedgerError for what the database cannot do.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the database. Raises LedgerTooNew, LedgerTooOld, LedgerError."""
        self.path = path
        self._engine = make_engine(path)
        self._writing = self._engine.execution_options(**{WRITES: True})
        with durably(), self._writing.begin() as connection:
            version = connection.execute(sa.text("PRAGMA user_version")).scalar_one()
            if version == 0:
                schema.metadata.create_all(connection)
                for trigger in schema.TRIGGERS:
                    connection.execute(sa.text(trigger))
                connection.execute(sa.text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
            elif version != schema.SCHEMA_VERSION:
                bring_up(connection, version)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction to write in: durable when it ends without an error."""
        with durably(), ExitStack() as stack:
            yield stack.enter_context(self._writing.begin())

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """To read with: all of it as it is at one moment."""
        with durably(), self._engine.connect() as connection:
            yield connection

    def check_room(self) -> None:
        """Raises LedgerFull while there is still room to finish what was begun."""
        if shutil.disk_usage(self.path.parent).free < FREE_BYTES_MIN:
            raise LedgerFull

    # Identity

    def store_identity(self, enrolment: Enrolment, unix_seconds: int) -> None:
        """Raises AlreadyEnrolled."""
        with durably(), self._writing.begin() as connection:
            row = connection.execute(sa.select(schema.identity.c.terminal_id)).one_or_none()
            if row is not None:
                raise AlreadyEnrolled(terminal_id=row.terminal_id)
            connection.execute(
                schema.identity.insert().values(
                    id=1,
                    terminal_id=enrolment.terminal_id,
                    public_key=enrolment.terminal_public_key,
                    server_public_key=enrolment.server_public_key,
                    card_issuer_public_key=enrolment.card_issuer_public_key,
                    issuer=enrolment.issuer,
                    seller=enrolment.seller,
                    unix_seconds=unix_seconds,
                )
            )
            connection.execute(
                schema.state.insert().values(
                    id=1, synced_unix_seconds=unix_seconds, server_unix_seconds=0
                )
            )
            connection.execute(schema.outlet_state.insert().values(id=1))

    def identity(self) -> TillIdentity:
        """Raises NotEnrolled."""
        with durably(), self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.identity)).one_or_none()
        if row is None:
            raise NotEnrolled
        return TillIdentity(
            terminal_id=row.terminal_id,
            public_key=row.public_key,
            server_public_key=row.server_public_key,
            card_issuer_public_key=row.card_issuer_public_key,
            issuer=row.issuer,
            seller=row.seller,
        )

    # The chain

    def head(self) -> ChainHead:
        with durably(), self._engine.connect() as connection:
            return _head(connection)

    def latest_unix_seconds(self) -> int:
        """The latest time that this till knows to have been, of its vouchers and the server's word.

        Vouchers from before a reset of the clock do not count.
        """
        with durably(), self._engine.connect() as connection:
            return _latest_unix_seconds(connection)

    def record_clock_reset(
        self, supervisor: str, reason: str, server_unix_seconds: int | None = None
    ) -> ClockReset:
        """Go on from the server's last signed time, whatever the vouchers so far say; or from the
        one that is given, whatever the server has signed before.
        """
        with durably(), self._writing.begin() as connection:
            reset = ClockReset(
                before_unix_seconds=_latest_unix_seconds(connection),
                unix_seconds=server_unix_seconds
                or connection.execute(sa.select(schema.state.c.server_unix_seconds)).scalar_one(),
                supervisor=supervisor,
                reason=reason,
            )
            connection.execute(
                schema.clock_resets.insert().values(
                    head_sequence=_head(connection).sequence,
                    before_unix_seconds=reset.before_unix_seconds,
                    unix_seconds=reset.unix_seconds,
                    supervisor=supervisor,
                    reason=reason,
                )
            )
            connection.execute(schema.state.update().values(server_unix_seconds=reset.unix_seconds))
            # Who was locked out until a time to come would be so for ever.
            connection.execute(schema.pin_attempts.update().values(locked_until_unix_seconds=0))
        return reset

    def clock_resets(self) -> tuple[ClockReset, ...]:
        """Oldest first."""
        with durably(), self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(schema.clock_resets).order_by(schema.clock_resets.c.id)
            )
            return tuple(
                ClockReset(
                    before_unix_seconds=row.before_unix_seconds,
                    unix_seconds=row.unix_seconds,
                    supervisor=row.supervisor,
                    reason=row.reason,
                )
                for row in rows
            )

    def record_intent(self, intent: IntentRow, request: str | None = None) -> None:
        """`request`: the sale request that it comes of, bound before (sale_request.bind)."""
        with durably(), self._writing.begin() as connection:
            connection.execute(
                schema.intents.insert().values(
                    sequence=intent.sequence,
                    card_uid=intent.card_uid,
                    member_number=intent.member_number,
                    holder=intent.holder,
                    amount_rupiah=intent.amount.amount,
                    balance_before_rupiah=intent.balance_before.amount,
                    evidence=intent.evidence,
                    goods=encode(goods_to_cbor(intent.goods)),
                    unix_seconds=intent.unix_seconds,
                    shift=intent.shift,
                    cashier=intent.cashier,
                    with_pin=intent.with_pin,
                )
            )
            if request is not None:
                connection.execute(
                    schema.sale_attempts.insert().values(sequence=intent.sequence, request=request)
                )

    def append_voucher(
        self, voucher: Voucher, encoded: bytes, refund_request: str | None = None
    ) -> bytes:
        """Add the chain's next link; its hash (32 bytes). A sale that is paid by it marks its order.

        `refund_request`: the number under which a page asked for the refund that this is.
        """
        link = voucher.link
        with durably(), self._writing.begin() as connection:
            hash_ = voucher_hash(encoded)
            connection.execute(
                schema.vouchers.insert().values(
                    sequence=link.sequence,
                    previous_hash=link.previous_hash,
                    hash=hash_,
                    unix_seconds=link.unix_seconds,
                    shift=link.shift,
                    cashier=link.cashier,
                    encoded=encoded,
                    **_voucher_values(connection, voucher),
                )
            )
            _with_voucher(connection, voucher)
            if refund_request is not None:
                connection.execute(
                    schema.refund_requests.insert().values(
                        id=refund_request, sequence=link.sequence
                    )
                )
        return hash_

    def open_intent(self) -> IntentRow | None:
        """The intent that has no voucher yet, if there is one."""
        with durably(), self._engine.connect() as connection:
            row = connection.execute(
                sa.select(schema.intents).where(
                    schema.intents.c.sequence == _head(connection).sequence + 1
                )
            ).one_or_none()
        return None if row is None else _intent(row)

    def doubts(self, card_uid: bytes | None = None) -> tuple[IntentRow, ...]:
        """Sales in doubt that neither card, nor server, nor supervisor has closed, oldest first."""
        return tuple(one.intent for one in self.all_doubts(card_uid) if one.is_open)

    def unanswered(self, card_uid: bytes) -> tuple[DoubtRow, ...]:
        """Sales in doubt that the card itself has not answered for here, closed or not."""
        return tuple(one for one in self.all_doubts(card_uid) if one.resolution is None)

    def all_doubts(self, card_uid: bytes | None = None) -> tuple[DoubtRow, ...]:
        """Every sale that got an in-doubt voucher, with all that has been said of it since."""
        intents, settlements, decisions = schema.intents, schema.settlements, schema.decisions
        resolutions = schema.vouchers.alias("resolutions")
        query = (
            sa.select(
                intents,
                resolutions.c.outcome.label("resolution"),
                settlements.c.outcome.label("settled_as"),
                settlements.c.unix_seconds.label("settled_unix_seconds"),
                settlements.c.rule,
                decisions.c.voucher_sequence,
                decisions.c.outcome.label("decided"),
                decisions.c.decided_by,
                decisions.c.reason,
                decisions.c.unix_seconds.label("decided_unix_seconds"),
            )
            .join(schema.vouchers, schema.vouchers.c.sequence == intents.c.sequence)
            .outerjoin(resolutions, resolutions.c.resolves == intents.c.sequence)
            .outerjoin(settlements, settlements.c.sequence == intents.c.sequence)
            .outerjoin(decisions, decisions.c.sequence == intents.c.sequence)
            .where(schema.vouchers.c.kind == VoucherKind.IN_DOUBT)
            .order_by(intents.c.sequence)
        )
        if card_uid is not None:
            query = query.where(intents.c.card_uid == card_uid)
        with durably(), self._engine.connect() as connection:
            return tuple(_doubt(row) for row in connection.execute(query))

    def intent(self, sequence: int) -> IntentRow | None:
        with durably(), self._engine.connect() as connection:
            row = connection.execute(
                sa.select(schema.intents).where(schema.intents.c.sequence == sequence)
            ).one_or_none()
        return None if row is None else _intent(row)

    def paid_hash(self, sequence: int) -> bytes | None:
        """The hash of voucher `sequence` if that is a paid sale."""
        query = sa.select(schema.vouchers.c.hash).where(
            schema.vouchers.c.sequence == sequence, schema.vouchers.c.kind == VoucherKind.SALE
        )
        with durably(), self._engine.connect() as connection:
            found: bytes | None = connection.execute(query).scalar()
        return found

    def hash_of_payment(self, sequence: int) -> bytes | None:
        """The hash of the voucher that says that sale `sequence` was paid: its own, or a later one."""
        vouchers = schema.vouchers
        query = sa.select(vouchers.c.hash).where(
            sa.or_(
                sa.and_(vouchers.c.sequence == sequence, vouchers.c.kind == VoucherKind.SALE),
                sa.and_(vouchers.c.resolves == sequence, vouchers.c.outcome == Outcome.PAID),
            )
        )
        with durably(), self._engine.connect() as connection:
            found: bytes | None = connection.execute(query).scalar()
        return found

    def paid_and_not_shown(self) -> list[tuple[IntentRow, bytes]]:
        """Sales whose paid result may never have reached the cashier, with the voucher's hash."""
        vouchers, intents = schema.vouchers, schema.intents
        query = (
            sa.select(intents, vouchers.c.hash)
            .join(
                vouchers,
                intents.c.sequence == sa.func.coalesce(vouchers.c.resolves, vouchers.c.sequence),
            )
            .where(
                vouchers.c.sequence > sa.select(schema.state.c.shown_sequence).scalar_subquery(),
                sa.or_(vouchers.c.kind == VoucherKind.SALE, vouchers.c.outcome == Outcome.PAID),
            )
            .order_by(vouchers.c.sequence)
        )
        with durably(), self._engine.connect() as connection:
            return [(_intent(row), row.hash) for row in connection.execute(query)]

    def sale_state(self, sequence: int) -> SaleState:
        """What is known of the sale whose intent has this sequence."""
        query = _with_state(schema.intents.c.sequence).where(schema.intents.c.sequence == sequence)
        with durably(), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return SaleState.IN_DOUBT if row is None else _state_of(row)

    def sales_of_shift(
        self, shift: int, count_max: int
    ) -> list[tuple[IntentRow, SaleState, Rupiah]]:
        """Newest first: each with its state, and what of it has been given back."""
        table, refund = schema.intents, schema.vouchers.alias("refund")
        refunded = (
            sa.select(sa.func.coalesce(sa.func.sum(refund.c.amount_rupiah), 0))
            .where(refund.c.refunds == table.c.sequence)
            .scalar_subquery()
        )
        query = (
            _with_state(table, refunded.label("refunded"))
            .where(table.c.shift == shift)
            .order_by(table.c.sequence.desc())
            .limit(count_max)
        )
        with durably(), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [(_intent(row), _state_of(row), Rupiah(row.refunded)) for row in rows]

    def refunded(self, sequence: int) -> Rupiah:
        """What of that sale has been given back."""
        query = sa.select(sa.func.coalesce(sa.func.sum(schema.vouchers.c.amount_rupiah), 0)).where(
            schema.vouchers.c.refunds == sequence
        )
        with durably(), self._engine.connect() as connection:
            return Rupiah(connection.execute(query).scalar_one())

    def refunds_of(self, sequence: int) -> list[RefundVoucher]:
        """Those of that sale, oldest first."""
        query = (
            sa.select(schema.vouchers.c.encoded)
            .where(schema.vouchers.c.refunds == sequence)
            .order_by(schema.vouchers.c.sequence)
        )
        with durably(), self._engine.connect() as connection:
            found = [decode_voucher(row.encoded) for row in connection.execute(query)]
        return [voucher for voucher in found if isinstance(voucher, RefundVoucher)]

    def refunds_not_shown(self) -> list[RefundVoucher]:
        """Refunds whose paper may never have been printed."""
        query = (
            sa.select(schema.vouchers.c.encoded)
            .where(
                schema.vouchers.c.sequence
                > sa.select(schema.state.c.shown_sequence).scalar_subquery(),
                schema.vouchers.c.kind == VoucherKind.REFUND,
            )
            .order_by(schema.vouchers.c.sequence)
        )
        with durably(), self._engine.connect() as connection:
            found = [decode_voucher(row.encoded) for row in connection.execute(query)]
        return [voucher for voucher in found if isinstance(voucher, RefundVoucher)]

    def vouchers_from(self, sequence: int, count_max: int) -> list[bytes]:
        """Encoded vouchers from `sequence` on, in order, at most `count_max`."""
        with durably(), self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(schema.vouchers.c.encoded)
                .where(schema.vouchers.c.sequence >= sequence)
                .order_by(schema.vouchers.c.sequence)
                .limit(count_max)
            )
            return [row.encoded for row in rows]

    def hash_at(self, sequence: int) -> bytes | None:
        """The hash of voucher `sequence` (0: the genesis hash), None if there is none."""
        if sequence == 0:
            who = self.identity()
            return genesis_hash(who.terminal_id, who.public_key)
        with durably(), self._engine.connect() as connection:
            found: bytes | None = connection.execute(
                sa.select(schema.vouchers.c.hash).where(schema.vouchers.c.sequence == sequence)
            ).scalar()
        return found

    # What has been shown to the cashier

    def mark_shown(self, sequence: int) -> None:
        """Results up to voucher `sequence` have reached the cashier."""
        with durably(), self._writing.begin() as connection:
            connection.execute(
                schema.state.update()
                .where(schema.state.c.shown_sequence < sequence)
                .values(shown_sequence=sequence)
            )

    # Sync

    def sync_state(self) -> SyncState:
        """Raises NotEnrolled."""
        with durably(), self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.state)).one_or_none()
            keys_min, cards_generation = _keys_limits(connection)
            pin_above = connection.execute(
                sa.select(schema.outlet_state.c.pin_above_rupiah)
            ).scalar()
        if row is None:
            raise NotEnrolled
        return SyncState(
            acknowledged_sequence=row.acknowledged_sequence,
            feed_version=row.feed_version,
            limits=Limits(
                sale_max=Rupiah(row.sale_max_rupiah),
                unsent_vouchers_max=row.unsent_vouchers_max,
                unsent_total_max=Rupiah(row.unsent_total_max_rupiah),
                sync_age_seconds_max=row.sync_age_seconds_max,
                pin_above=Rupiah(pin_above or 0),
                keys_min=keys_min,
                cards_generation=cards_generation,
            ),
            synced_unix_seconds=row.synced_unix_seconds,
            server_unix_seconds=row.server_unix_seconds,
        )

    def unsent(self) -> Unsent:
        kinds = (VoucherKind.SALE, VoucherKind.IN_DOUBT)
        money = sa.case(
            (schema.vouchers.c.kind.in_(kinds), schema.vouchers.c.amount_rupiah), else_=0
        )
        acknowledged = sa.select(schema.state.c.acknowledged_sequence).scalar_subquery()
        query = sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(money), 0),
            sa.func.min(schema.vouchers.c.unix_seconds),
        ).where(schema.vouchers.c.sequence > acknowledged)
        with durably(), self._engine.connect() as connection:
            count, total, oldest = connection.execute(query).one()
        return Unsent(count=count, total=Rupiah(total), oldest_unix_seconds=oldest)

    def record_acknowledgement(self, ack: Acknowledgement) -> None:
        """Keep what the server took and what it quarantined. `ack` has been verified."""
        with durably(), self._writing.begin() as connection:
            head = _head(connection).sequence
            assert ack.head_sequence <= head
            connection.execute(
                schema.state.update().values(
                    acknowledged_sequence=sa.func.max(
                        schema.state.c.acknowledged_sequence, ack.head_sequence
                    ),
                    server_unix_seconds=sa.func.max(
                        schema.state.c.server_unix_seconds, ack.unix_seconds
                    ),
                )
            )
            for sequence, reason in ack.quarantined:
                connection.execute(
                    schema.quarantine.insert()
                    .prefix_with("OR REPLACE")
                    .values(sequence=sequence, reason=reason)
                )

    def quarantined(self) -> tuple[tuple[int, str], ...]:
        """Vouchers that the server kept but did not post, with its reasons."""
        with durably(), self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(schema.quarantine).order_by(schema.quarantine.c.sequence)
            )
            return tuple((row.sequence, row.reason) for row in rows)

    def apply_feed(self, feed: Feed, synced_unix_seconds: int) -> None:
        """Put a verified feed in force, whole."""
        limits = feed.limits
        with durably(), self._writing.begin() as connection:
            if feed.since == 0:
                connection.execute(schema.hotlist.delete())
            for uid in feed.unblocked:
                connection.execute(schema.hotlist.delete().where(schema.hotlist.c.card_uid == uid))
            _insert_uids(connection, schema.hotlist, feed.blocked)
            connection.execute(schema.credits_waiting.delete())
            _insert_uids(connection, schema.credits_waiting, feed.credits_waiting)
            for one in () if feed.settlements is None else feed.settlements.settled:
                _record_settlement(connection, one)
            if feed.outlet is not None:
                outlet.put(connection, feed.outlet)
            _put_keys_limits(connection, limits)
            if feed.pins_locked is not None:
                outlet.put_pins(connection, feed.pins_locked, limits.pin_above)
            connection.execute(
                schema.state.update().values(
                    feed_version=feed.version,
                    sale_max_rupiah=limits.sale_max.amount,
                    unsent_vouchers_max=limits.unsent_vouchers_max,
                    unsent_total_max_rupiah=limits.unsent_total_max.amount,
                    sync_age_seconds_max=limits.sync_age_seconds_max,
                    synced_unix_seconds=synced_unix_seconds,
                    server_unix_seconds=sa.func.max(
                        schema.state.c.server_unix_seconds, feed.unix_seconds
                    ),
                )
            )

    def held(self) -> Held:
        """The versions of the outlet's parts that are in force. Raises NotEnrolled."""
        with durably(), self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.outlet_state)).one_or_none()
        if row is None:
            raise NotEnrolled
        return Held(
            catalogue=row.catalogue_version,
            staff=row.staff_version,
            orders=row.orders_version,
            members=row.members_version,
        )

    def is_blocked(self, card_uid: bytes) -> bool:
        return self._lists(schema.hotlist, card_uid)

    def has_credit_waiting(self, card_uid: bytes) -> bool:
        """Whether the last feed said that a credit waits for this card: a hint."""
        return self._lists(schema.credits_waiting, card_uid)

    def forget_credit_waiting(self, card_uid: bytes) -> None:
        """It is on the card, and the next feed will say so too."""
        waiting = schema.credits_waiting
        with durably(), self._writing.begin() as connection:
            connection.execute(waiting.delete().where(waiting.c.card_uid == card_uid))

    def note_tap_credit(self, sequence: int, credit: TapCredit) -> None:
        """What came onto the card in the tap of the sale `sequence`, once for each."""
        row = {
            "sequence": sequence,
            "amount_rupiah": credit.amount.amount,
            "balance_after_rupiah": credit.balance_after.amount,
            "before_sale": credit.before_sale,
        }
        with durably(), self._writing.begin() as connection:
            connection.execute(schema.tap_credits.insert().values(row))

    def tap_credit(self, sequence: int) -> TapCredit | None:
        with durably(), self._engine.connect() as connection:
            row = connection.execute(
                sa.select(schema.tap_credits).where(schema.tap_credits.c.sequence == sequence)
            ).one_or_none()
        if row is None:
            return None
        return TapCredit(
            amount=Rupiah(row.amount_rupiah),
            balance_after=Rupiah(row.balance_after_rupiah),
            before_sale=row.before_sale,
        )

    def blocked_count(self) -> int:
        with durably(), self._engine.connect() as connection:
            count: int = connection.execute(
                sa.select(sa.func.count()).select_from(schema.hotlist)
            ).scalar_one()
        return count

    def _lists(self, table: sa.Table, card_uid: bytes) -> bool:
        with durably(), self._engine.connect() as connection:
            query = sa.select(table).where(table.c.card_uid == card_uid)
            return connection.execute(query).one_or_none() is not None

    # Shifts

    def last_shift(self) -> Shift | None:
        with durably(), self._engine.connect() as connection:
            return last_shift(connection)

    def shift_totals(self, shift: int) -> tuple[ShiftTotals, ...]:
        """By cashier, in the order of their names."""
        with durably(), self._engine.connect() as connection:
            return shift_totals(connection, shift)


def _voucher_values(connection: sa.Connection, voucher: Voucher) -> dict[str, object]:
    """What a voucher's row has besides its link."""
    match voucher:
        case SaleVoucher(intent=intent):
            kind, uid, amount = VoucherKind.SALE, intent.card_uid, intent.amount.amount
        case InDoubtVoucher(intent=intent):
            kind, uid, amount = VoucherKind.IN_DOUBT, intent.card_uid, intent.amount.amount
        case VoidVoucher():
            kind, uid, amount = VoucherKind.VOID, voucher.card_uid, voucher.amount.amount
        case RefundVoucher():
            kind, uid, amount = VoucherKind.REFUND, voucher.card_uid, voucher.amount.amount
        case ResolutionVoucher() | DecisionVoucher():
            is_resolution = isinstance(voucher, ResolutionVoucher)
            kind = VoucherKind.RESOLUTION if is_resolution else VoucherKind.DECISION
            uid = voucher.card_uid
            amount = connection.execute(
                sa.select(schema.intents.c.amount_rupiah).where(
                    schema.intents.c.sequence == voucher.resolves
                )
            ).scalar_one()
    values: dict[str, object] = {"kind": kind, "card_uid": uid, "amount_rupiah": amount}
    if isinstance(voucher, ResolutionVoucher):
        values |= {"resolves": voucher.resolves, "outcome": voucher.outcome}
    if isinstance(voucher, RefundVoucher):
        values |= {"refunds": voucher.refunds}
    return values


def _with_voucher(connection: sa.Connection, voucher: Voucher) -> None:
    """What else is written when a voucher is: a decision; that a member's order is paid."""
    link = voucher.link
    match voucher:
        case SaleVoucher():
            outlet.mark_paid(connection, link.sequence, link.cashier, link.unix_seconds)
        case ResolutionVoucher(outcome=Outcome.PAID):
            outlet.mark_paid(connection, voucher.resolves, link.cashier, link.unix_seconds)
        case DecisionVoucher():
            connection.execute(
                schema.decisions.insert().values(
                    sequence=voucher.resolves,
                    voucher_sequence=link.sequence,
                    outcome=voucher.outcome,
                    decided_by=voucher.decided_by,
                    reason=voucher.reason,
                    unix_seconds=link.unix_seconds,
                )
            )
        case _:
            pass


def _head(connection: sa.Connection) -> ChainHead:
    row = connection.execute(
        sa.select(schema.vouchers.c.sequence, schema.vouchers.c.hash)
        .order_by(schema.vouchers.c.sequence.desc())
        .limit(1)
    ).one_or_none()
    if row is not None:
        return ChainHead(row.sequence, row.hash)
    who = connection.execute(sa.select(schema.identity)).one_or_none()
    if who is None:
        raise NotEnrolled
    return ChainHead(0, genesis_hash(who.terminal_id, who.public_key))


def _latest_unix_seconds(connection: sa.Connection) -> int:
    reset = sa.select(sa.func.coalesce(sa.func.max(schema.clock_resets.c.head_sequence), 0))
    times = [
        connection.execute(
            sa.select(table.c.unix_seconds)
            .where(table.c.sequence > reset.scalar_subquery())
            .order_by(table.c.sequence.desc())
            .limit(1)
        ).scalar()
        for table in (schema.vouchers, schema.intents)
    ]
    times.append(connection.execute(sa.select(schema.state.c.server_unix_seconds)).scalar())
    return max(time or 0 for time in times)


def last_shift(connection: sa.Connection, number: int | None = None) -> Shift | None:
    """The newest, or the one of that number."""
    shifts, openings, takeovers = schema.shifts, schema.shift_openings, schema.takeovers
    query = sa.select(shifts, openings.c.cashier_number, openings.c.float_rupiah).outerjoin(
        openings, openings.c.shift == shifts.c.number
    )
    if number is not None:
        query = query.where(shifts.c.number == number)
    row = connection.execute(query.order_by(shifts.c.number.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    taken_over = connection.execute(
        sa.select(takeovers.c.cashier, takeovers.c.cashier_number)
        .where(takeovers.c.shift == row.number)
        .order_by(takeovers.c.id.desc())
        .limit(1)
    ).one_or_none()
    on_duty = (row.cashier, row.cashier_number) if taken_over is None else taken_over
    return Shift(
        number=row.number,
        cashier=row.cashier,
        opened_unix_seconds=row.opened_unix_seconds,
        closed_unix_seconds=row.closed_unix_seconds,
        cashier_number=row.cashier_number,
        float_cash=Rupiah(row.float_rupiah or 0),
        on_duty=on_duty[0],
        on_duty_number=on_duty[1],
    )


def shift_totals(connection: sa.Connection, shift: int) -> tuple[ShiftTotals, ...]:
    """By cashier, in the order of their names."""
    vouchers = schema.vouchers
    resolutions = vouchers.alias("resolutions")
    settled, decided = schema.settlements.c.outcome, schema.decisions.c.outcome
    not_paid_here = sa.func.coalesce(resolutions.c.outcome, Outcome.NOT_PAID) != Outcome.PAID
    stands = sa.case(
        (sa.and_(settled == SettledAs.PAID, not_paid_here), "server_paid"),
        (resolutions.c.sequence.is_not(None), "answered"),
        (settled == SettledAs.NOT_PAID, "answered"),
        (sa.or_(settled == SettledAs.HELD, decided == Outcome.PAID), "claimed"),
        (decided == Outcome.NOT_PAID, "answered"),
        else_="in_doubt",
    )
    query = (
        sa.select(
            vouchers.c.cashier,
            vouchers.c.kind,
            vouchers.c.outcome,
            stands.label("stands"),
            sa.func.count().label("count"),
            sa.func.sum(vouchers.c.amount_rupiah).label("total"),
        )
        .outerjoin(resolutions, resolutions.c.resolves == vouchers.c.sequence)
        .outerjoin(schema.settlements, schema.settlements.c.sequence == vouchers.c.sequence)
        .outerjoin(schema.decisions, schema.decisions.c.sequence == vouchers.c.sequence)
        .where(vouchers.c.shift == shift)
        .group_by(vouchers.c.cashier, vouchers.c.kind, vouchers.c.outcome, sa.text("stands"))
    )
    rows = connection.execute(query).all()
    by_cashier: dict[str, dict[str, Any]] = {}
    for row in rows:
        totals = by_cashier.setdefault(row.cashier, {})
        match VoucherKind(row.kind), row.outcome, row.stands:
            case VoucherKind.SALE, _, _:
                totals |= {"sales_count": row.count, "sales_total": Rupiah(row.total)}
            case VoucherKind.RESOLUTION, Outcome.PAID, _:
                totals |= {"settled_count": row.count, "settled_total": Rupiah(row.total)}
            case VoucherKind.IN_DOUBT, _, "in_doubt" | "server_paid" | "claimed":
                totals[f"{row.stands}_count"] = row.count
                totals[f"{row.stands}_total"] = Rupiah(row.total)
            case VoucherKind.REFUND, _, _:
                totals |= {"refunds_count": row.count, "refunds_total": Rupiah(row.total)}
            case VoucherKind.VOID, _, _:
                totals |= {"void_count": row.count}
            case _:
                pass  # a doubt that has its answer is counted where the answer stands
    return tuple(
        ShiftTotals(cashier=cashier, **totals) for cashier, totals in sorted(by_cashier.items())
    )


def _insert_uids(connection: sa.Connection, table: sa.Table, uids: Sequence[bytes]) -> None:
    if uids:
        connection.execute(
            table.insert().prefix_with("OR IGNORE"), [{"card_uid": uid} for uid in uids]
        )


def _keys_limits(connection: sa.Connection) -> tuple[tuple[KeysMin, ...], int]:
    """`keys_min` and `cards_generation` of the limits in force."""
    table = schema.key_generations
    rows = connection.execute(sa.select(table).order_by(table.c.generation)).all()
    needed = tuple(
        KeysMin(row.generation, row.needed_from_unix_seconds)
        for row in rows
        if row.needed_from_unix_seconds is not None
    )
    return needed, max((row.generation for row in rows if row.is_on_cards), default=0)


def _put_keys_limits(connection: sa.Connection, limits: Limits) -> None:
    needed = {one.generation: one.from_unix_seconds for one in limits.keys_min}
    rows = [
        {
            "generation": generation,
            "needed_from_unix_seconds": needed.get(generation),
            "is_on_cards": generation == limits.cards_generation,
        }
        for generation in sorted({*needed, limits.cards_generation} - {0})
    ]
    connection.execute(schema.key_generations.delete())
    if rows:
        connection.execute(schema.key_generations.insert(), rows)


def _record_settlement(connection: sa.Connection, one: Settlement) -> None:
    """Keep what the server says of a sale in doubt of this till, unless it has said more since."""
    own = connection.execute(
        sa.select(schema.vouchers.c.kind).where(schema.vouchers.c.sequence == one.sequence)
    ).scalar()
    if own != VoucherKind.IN_DOUBT:
        return
    values = {"outcome": one.outcome, "unix_seconds": one.unix_seconds, "rule": one.rule}
    connection.execute(
        insert(schema.settlements)
        .values(sequence=one.sequence, **values)
        .on_conflict_do_update(
            index_elements=["sequence"],
            set_=values,
            where=schema.settlements.c.unix_seconds <= one.unix_seconds,
        )
    )
    if one.outcome is SettledAs.PAID:
        outlet.mark_paid(connection, one.sequence, SETTLED_BY, one.unix_seconds)


def _doubt(row: sa.Row[Any]) -> DoubtRow:
    settlement = decision = None
    if row.settled_as is not None:
        settled_as = SettledAs(row.settled_as)
        settlement = Settlement(row.sequence, settled_as, row.settled_unix_seconds, row.rule)
    if row.decided is not None:
        decision = Decision(
            voucher_sequence=row.voucher_sequence,
            outcome=Outcome(row.decided),
            decided_by=row.decided_by,
            reason=row.reason,
            unix_seconds=row.decided_unix_seconds,
        )
    return DoubtRow(
        intent=_intent(row),
        resolution=None if row.resolution is None else Outcome(row.resolution),
        settlement=settlement,
        decision=decision,
    )


def _with_state(*columns: sa.ColumnElement[Any] | sa.Table) -> sa.Select[Any]:
    """These columns of `intents`, and what `_state_of` needs."""
    intents, own = schema.intents, schema.vouchers.alias("own")
    resolution, settlements = schema.vouchers.alias("resolution"), schema.settlements
    is_its_resolution = sa.and_(
        resolution.c.resolves == intents.c.sequence, resolution.c.kind == VoucherKind.RESOLUTION
    )
    return sa.select(
        *columns, own.c.kind, resolution.c.outcome, settlements.c.outcome.label("server")
    ).select_from(
        intents.outerjoin(own, own.c.sequence == intents.c.sequence)
        .outerjoin(settlements, settlements.c.sequence == intents.c.sequence)
        .outerjoin(resolution, is_its_resolution)
    )


def _state_of(row: sa.Row[Any]) -> SaleState:
    if row.kind is None:
        return SaleState.IN_DOUBT
    if row.kind == VoucherKind.SALE or row.outcome == Outcome.PAID:
        return SaleState.PAID
    if row.kind == VoucherKind.VOID or row.outcome == Outcome.NOT_PAID:
        return SaleState.NOT_PAID
    settled = {SettledAs.PAID: SaleState.PAID, SettledAs.NOT_PAID: SaleState.NOT_PAID}
    return settled.get(row.server, SaleState.IN_DOUBT)


def _intent(row: sa.Row[Any]) -> IntentRow:
    return IntentRow(
        sequence=row.sequence,
        card_uid=row.card_uid,
        member_number=row.member_number,
        holder=row.holder,
        amount=Rupiah(row.amount_rupiah),
        balance_before=Rupiah(row.balance_before_rupiah),
        evidence=row.evidence,
        goods=outlet.goods_from_bytes(row.goods),
        unix_seconds=row.unix_seconds,
        shift=row.shift,
        cashier=row.cashier,
        with_pin=row.with_pin,
    )
