"""The till's tables. What is promised of them is a constraint or a trigger here."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from dobmi.sync.feed import Limits, SettledAs
from dobmi.sync.voucher import Outcome, VoucherKind

SCHEMA_VERSION = 4
"""1 and 2 were never released; a number is not used twice.

Whoever raises it writes how a ledger of the number before is brought up to it, and keeps one in
tests/terminal/kept.
"""

metadata = MetaData()

identity = Table(
    "identity",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("terminal_id", Integer, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("server_public_key", LargeBinary, nullable=False),
    Column("card_issuer_public_key", LargeBinary, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("seller", Text, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
)

_NO_LIMITS_YET = Limits()

state = Table(
    "state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("acknowledged_sequence", Integer, nullable=False, default=0),
    Column("shown_sequence", Integer, nullable=False, default=0),
    Column("feed_version", Integer, nullable=False, default=0),
    Column("sale_max_rupiah", Integer, nullable=False, default=_NO_LIMITS_YET.sale_max.amount),
    Column(
        "unsent_vouchers_max", Integer, nullable=False, default=_NO_LIMITS_YET.unsent_vouchers_max
    ),
    Column(
        "unsent_total_max_rupiah",
        Integer,
        nullable=False,
        default=_NO_LIMITS_YET.unsent_total_max.amount,
    ),
    Column(
        "sync_age_seconds_max", Integer, nullable=False, default=_NO_LIMITS_YET.sync_age_seconds_max
    ),
    Column("synced_unix_seconds", Integer, nullable=False),
    Column("server_unix_seconds", Integer, nullable=False),
)

shifts = Table(
    "shifts",
    metadata,
    Column("number", Integer, CheckConstraint("number > 0"), primary_key=True),
    Column("cashier", Text, nullable=False),
    Column("opened_unix_seconds", Integer, nullable=False),
    Column("closed_unix_seconds", Integer),
)

intents = Table(
    "intents",
    metadata,
    Column("sequence", Integer, CheckConstraint("sequence > 0"), primary_key=True),
    Column("card_uid", LargeBinary, nullable=False, index=True),
    Column("member_number", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("amount_rupiah", Integer, CheckConstraint("amount_rupiah > 0"), nullable=False),
    Column("balance_before_rupiah", Integer, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("goods", LargeBinary, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
    Column("shift", Integer, ForeignKey("shifts.number"), nullable=False),
    Column("cashier", Text, nullable=False),
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("sequence", Integer, CheckConstraint("sequence > 0"), primary_key=True),
    Column("previous_hash", LargeBinary, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("kind", Integer, nullable=False, index=True),
    Column("card_uid", LargeBinary, nullable=False, index=True),
    Column("amount_rupiah", Integer, nullable=False),
    Column("outcome", Integer),
    Column("resolves", Integer, ForeignKey("intents.sequence")),
    Column("refunds", Integer, ForeignKey("intents.sequence"), index=True),
    Column("unix_seconds", Integer, nullable=False),
    Column("shift", Integer, nullable=False, index=True),
    Column("cashier", Text, nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    UniqueConstraint("resolves"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("sequence", Integer, ForeignKey("vouchers.sequence"), primary_key=True),
    Column("reason", Text, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("sequence", Integer, ForeignKey("intents.sequence"), primary_key=True),
    Column("voucher_sequence", Integer, ForeignKey("vouchers.sequence"), nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
)
"""What supervisors decided of sales in doubt, by the sale's sequence: one each."""

settlements = Table(
    "settlements",
    metadata,
    Column("sequence", Integer, ForeignKey("intents.sequence"), primary_key=True),
    Column("outcome", Integer, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
    Column("rule", Text, nullable=False),
)
"""What the central server last said of sales in doubt; its time only goes forward."""

clock_resets = Table(
    "clock_resets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("head_sequence", Integer, nullable=False),
    Column("before_unix_seconds", Integer, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
    Column("supervisor", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
"""When a supervisor set the till's clock back; times up to voucher `head_sequence` count no more."""

hotlist = Table("hotlist", metadata, Column("card_uid", LargeBinary, primary_key=True))

credits_waiting = Table(
    "credits_waiting", metadata, Column("card_uid", LargeBinary, primary_key=True)
)


def _append_only(table: str) -> list[str]:
    return [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are never changed'); END"
        for verb in ("UPDATE", "DELETE")
    ]


_STATE_GOES_FORWARD = (
    "CREATE TRIGGER state_goes_forward BEFORE UPDATE ON state "
    "WHEN NEW.acknowledged_sequence < OLD.acknowledged_sequence "
    "OR NEW.shown_sequence < OLD.shown_sequence "
    "OR NEW.feed_version < OLD.feed_version "
    "OR (NEW.server_unix_seconds < OLD.server_unix_seconds AND NEW.server_unix_seconds IS NOT "
    "(SELECT unix_seconds FROM clock_resets ORDER BY id DESC LIMIT 1)) "
    "BEGIN SELECT RAISE(ABORT, 'the state of a till only goes forward'); END"
)
"""The server's time goes back where a supervisor has reset the clock to it, and nowhere else."""

TRIGGERS = [
    *_append_only("identity"),
    *_append_only("intents"),
    *_append_only("vouchers"),
    *_append_only("decisions"),
    *_append_only("clock_resets"),
    (
        "CREATE TRIGGER settlements_go_forward BEFORE UPDATE ON settlements "
        "WHEN NEW.unix_seconds < OLD.unix_seconds OR NEW.sequence <> OLD.sequence "
        "BEGIN SELECT RAISE(ABORT, 'what the server settled only goes forward'); END"
    ),
    (
        "CREATE TRIGGER vouchers_without_gap BEFORE INSERT ON vouchers "
        "WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM vouchers) "
        "BEGIN SELECT RAISE(ABORT, 'a gap in the chain'); END"
    ),
    (
        "CREATE TRIGGER vouchers_follow BEFORE INSERT ON vouchers "
        "WHEN NEW.sequence > 1 AND NEW.previous_hash IS NOT "
        "(SELECT hash FROM vouchers WHERE sequence = NEW.sequence - 1) "
        "BEGIN SELECT RAISE(ABORT, 'a broken chain'); END"
    ),
    (
        "CREATE TRIGGER intents_one_at_a_time BEFORE INSERT ON intents "
        "WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM vouchers) "
        "BEGIN SELECT RAISE(ABORT, 'an intent is still open'); END"
    ),
    (
        "CREATE TRIGGER refunds_within_their_sale BEFORE INSERT ON vouchers "  # noqa: S608 - our own numbers
        "WHEN NEW.refunds IS NOT NULL AND (NEW.amount_rupiah <= 0 OR NEW.amount_rupiah + "
        "(SELECT coalesce(sum(amount_rupiah), 0) FROM vouchers WHERE refunds = NEW.refunds) > "
        "coalesce((SELECT i.amount_rupiah FROM intents i WHERE i.sequence = NEW.refunds AND ("
        "EXISTS (SELECT 1 FROM vouchers v WHERE v.sequence = i.sequence "
        f"AND v.kind = {VoucherKind.SALE.value}) OR "
        "EXISTS (SELECT 1 FROM vouchers v WHERE v.resolves = i.sequence "
        f"AND v.kind = {VoucherKind.RESOLUTION.value} AND v.outcome = {Outcome.PAID.value}) OR "
        "EXISTS (SELECT 1 FROM settlements s WHERE s.sequence = i.sequence "
        f"AND s.outcome = {SettledAs.PAID.value}))), 0)) "
        "BEGIN SELECT RAISE(ABORT, 'a refund beyond its sale'); END"
    ),
    _STATE_GOES_FORWARD,
]

CHANGES: dict[int, tuple[str, ...]] = {
    3: ("DROP TRIGGER state_goes_forward", _STATE_GOES_FORWARD),
}
"""What makes the tables of a version those of the next."""
