"""The till's tables. What is promised of them is a constraint or a trigger here."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from dobmi.sync.feed import Limits, SettledAs
from dobmi.sync.voucher import Outcome, VoucherKind

SCHEMA_VERSION = 5
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
    Column("with_pin", Boolean, nullable=False, server_default="0"),
)

_INTENTS_BY_MEMBER = Index("ix_intents_member_number", intents.c.member_number)

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

pins_locked = Table("pins_locked", metadata, Column("card_uid", LargeBinary, primary_key=True))
"""Cards whose PIN is tried nowhere, as the feed lists them."""

card_pin_tries = Table(
    "card_pin_tries",
    metadata,
    Column("card_uid", LargeBinary, primary_key=True),
    Column("tries", Integer, CheckConstraint("tries BETWEEN 1 AND 3"), nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("lock_record", Integer, ForeignKey("records.number")),
)
"""PINs tried here since the last right one. `is_open`: the card's answer to the last one is not known
yet. `lock_record`: the record by which the central server hears that there were three."""

credits_waiting = Table(
    "credits_waiting", metadata, Column("card_uid", LargeBinary, primary_key=True)
)

tap_credits = Table(
    "tap_credits",
    metadata,
    Column("sequence", Integer, ForeignKey("intents.sequence"), primary_key=True),
    Column("amount_rupiah", Integer, CheckConstraint("amount_rupiah > 0"), nullable=False),
    Column("balance_after_rupiah", Integer, nullable=False),
    Column("before_sale", Boolean, nullable=False),
)
"""What came onto the card in the tap of a sale, for its receipt; the central server has the credit."""

# What the feed says of the outlet: see dobmi.sync.outlet.

outlet_state = Table(
    "outlet_state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("catalogue_version", Integer, nullable=False, default=0),
    Column("staff_version", Integer, nullable=False, default=0),
    Column("orders_version", Integer, nullable=False, default=0),
    Column("members_version", Integer, nullable=False, default=0),
    Column("records_acknowledged", Integer, nullable=False, default=0),
    Column("pin_above_rupiah", Integer, nullable=False, default=0),
)
"""Which version of each part is in force (0: none yet), the last record the server has, and above which
amount a sale needs a PIN (0: none does)."""

catalogue_items = Table(
    "catalogue_items",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("category", Text, nullable=False, index=True),
    Column("price_rupiah", Integer, CheckConstraint("price_rupiah >= 0"), nullable=False),
)
"""`folded` is code, name and category as they are searched."""

catalogue_barcodes = Table(
    "catalogue_barcodes",
    metadata,
    Column("barcode", Text, primary_key=True),
    Column("code", Text, ForeignKey("catalogue_items.code"), nullable=False, index=True),
)

catalogue_class_prices = Table(
    "catalogue_class_prices",
    metadata,
    Column("code", Text, ForeignKey("catalogue_items.code"), primary_key=True),
    Column("member_class", Text, primary_key=True),
    Column("price_rupiah", Integer, CheckConstraint("price_rupiah >= 0"), nullable=False),
)

staff = Table(
    "staff",
    metadata,
    Column("number", Integer, CheckConstraint("number > 0"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("duty", Integer, nullable=False),
    Column("pin_salt", LargeBinary),
    Column("pin_hash", LargeBinary),
    Column("member_number", Integer, index=True),
)

pin_attempts = Table(
    "pin_attempts",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("wrong_count", Integer, nullable=False),
    Column("locks_count", Integer, nullable=False),
    Column("locked_until_unix_seconds", Integer, nullable=False),
)
"""Of members of staff: wrong PINs in a row since the last lock, and how often they were locked."""

member_notes = Table(
    "member_notes",
    metadata,
    Column("member_number", Integer, primary_key=True),
    Column("member_class", Text, nullable=False),
    Column("photo", LargeBinary, index=True),
)
"""`photo` is the SHA-256 of the JPEG."""

photos = Table(
    "photos",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("jpeg", LargeBinary, nullable=False),
)

member_orders = Table(
    "member_orders",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("member_number", Integer, nullable=False, index=True),
    Column("holder", Text, nullable=False),
    Column("placed_unix_seconds", Integer, nullable=False),
    Column("pick_up_on", Text, nullable=False),
    Column("lines", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("is_listed", Boolean, nullable=False),
)
"""`is_listed`: in the feed in force. Others stay as long as they are paid and not handed over."""

order_acts = Table(
    "order_acts",
    metadata,
    Column("record", Integer, ForeignKey("records.number"), primary_key=True),
    Column("order_number", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("sale", Integer, ForeignKey("intents.sequence")),
    Column("short", LargeBinary, nullable=False),
    Column("by", Text, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
    UniqueConstraint("order_number", "state"),
)
"""What was done here with a member's order: paid, handed over, cancelled; each once."""

records = Table(
    "records",
    metadata,
    Column("number", Integer, CheckConstraint("number > 0"), primary_key=True),
    Column("encoded", LargeBinary, nullable=False),
)
"""What the central server hears of shifts and orders, in the order of its happening."""

# The work at the till

shift_openings = Table(
    "shift_openings",
    metadata,
    Column("shift", Integer, ForeignKey("shifts.number"), primary_key=True),
    Column("cashier_number", Integer),
    Column("float_rupiah", Integer, CheckConstraint("float_rupiah >= 0"), nullable=False),
)
"""Shifts from before there was a float have none here."""

takeovers = Table(
    "takeovers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("shift", Integer, ForeignKey("shifts.number"), nullable=False, index=True),
    Column("cashier", Text, nullable=False),
    Column("cashier_number", Integer),
    Column("unix_seconds", Integer, nullable=False),
)

cash_movements = Table(
    "cash_movements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("shift", Integer, ForeignKey("shifts.number"), nullable=False, index=True),
    Column("amount_rupiah", Integer, CheckConstraint("amount_rupiah <> 0"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
)
"""Cash put into the drawer, or taken out (negative)."""

z_reports = Table(
    "z_reports",
    metadata,
    Column("shift", Integer, ForeignKey("shifts.number"), primary_key=True),
    Column("counted_rupiah", Integer, CheckConstraint("counted_rupiah >= 0"), nullable=False),
    Column("encoded", LargeBinary, nullable=False),
)
"""Each shift's report as it was when it was closed; its number is the shift's."""

held_carts = Table(
    "held_carts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("label", Text, nullable=False),
    Column("cart", LargeBinary, nullable=False),
    Column("by", Text, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
)

sale_requests = Table(
    "sale_requests",
    metadata,
    Column("id", Text, CheckConstraint("length(id) BETWEEN 1 AND 64"), primary_key=True),
    Column("amount_rupiah", Integer, nullable=False),
    Column("goods", LargeBinary, nullable=False),
    Column("member_class", Text, nullable=False),
    Column("order_number", Integer, index=True),
    Column("short", LargeBinary, nullable=False),
    Column("unix_seconds", Integer, nullable=False),
)
"""What a page asked to sell, under the number that it gave it: asked again it is the same sale."""

sale_attempts = Table(
    "sale_attempts",
    metadata,
    Column("sequence", Integer, ForeignKey("intents.sequence"), primary_key=True),
    Column("request", Text, ForeignKey("sale_requests.id"), nullable=False, index=True),
)
"""The intents that came of a request: one after another, none after one that may be paid."""

refund_requests = Table(
    "refund_requests",
    metadata,
    Column("id", Text, CheckConstraint("length(id) BETWEEN 1 AND 64"), primary_key=True),
    Column("sequence", Integer, ForeignKey("vouchers.sequence"), nullable=False, unique=True),
)

key_generations = Table(
    "key_generations",
    metadata,
    Column("generation", Integer, CheckConstraint("generation > 0"), primary_key=True),
    Column("needed_from_unix_seconds", Integer),
    Column("is_on_cards", Boolean, nullable=False),
)
"""From when on a card needs keys of this generation or a newer one (NULL: no such time was said), and
whether it is the one that cards are brought to."""

print_jobs = Table(
    "print_jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("reference", Integer, nullable=False),
    Column("paper", Text, nullable=False),
    Column("is_copy", Boolean, nullable=False),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('waiting', 'printed', 'dismissed')"),
        nullable=False,
    ),
    Column("begun_count", Integer, nullable=False, default=0),
    Column("problem", Text, nullable=False, default=""),
    Column("created_unix_seconds", Integer, nullable=False),
    Column("done_unix_seconds", Integer),
    Index("ix_print_jobs_state", "state"),
    Index("ix_print_jobs_reference", "kind", "reference"),
)
"""Papers to print, and what became of them. `begun_count`: how often a printer began with it."""

_NEW_IN_5 = (
    outlet_state,
    catalogue_items,
    catalogue_barcodes,
    catalogue_class_prices,
    staff,
    pin_attempts,
    member_notes,
    photos,
    member_orders,
    records,
    order_acts,
    shift_openings,
    takeovers,
    cash_movements,
    z_reports,
    held_carts,
    sale_requests,
    sale_attempts,
    refund_requests,
    print_jobs,
    pins_locked,
    card_pin_tries,
    key_generations,
    tap_credits,
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

_TRIGGERS_NEW_IN_5 = [
    (
        "CREATE TRIGGER print_jobs_are_done_once BEFORE UPDATE ON print_jobs "
        "WHEN OLD.state <> 'waiting' OR NEW.begun_count < OLD.begun_count "
        "BEGIN SELECT RAISE(ABORT, 'a paper is printed or dismissed once'); END"
    ),
    *_append_only("order_acts"),
    *_append_only("records"),
    *_append_only("shift_openings"),
    *_append_only("takeovers"),
    *_append_only("cash_movements"),
    *_append_only("z_reports"),
    *_append_only("sale_requests"),
    *_append_only("sale_attempts"),
    *_append_only("refund_requests"),
    *_append_only("tap_credits"),
    (
        "CREATE TRIGGER shifts_are_closed_once BEFORE UPDATE ON shifts "
        "WHEN OLD.closed_unix_seconds IS NOT NULL OR NEW.number <> OLD.number "
        "BEGIN SELECT RAISE(ABORT, 'a closed shift is never changed'); END"
    ),
    (
        "CREATE TRIGGER records_without_gap BEFORE INSERT ON records "
        "WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM records) "
        "BEGIN SELECT RAISE(ABORT, 'a gap in the records'); END"
    ),
    (
        "CREATE TRIGGER one_sale_of_a_request BEFORE INSERT ON sale_attempts "  # noqa: S608 - our own numbers
        "WHEN EXISTS (SELECT 1 FROM sale_attempts a WHERE a.request = NEW.request AND NOT ("
        "EXISTS (SELECT 1 FROM vouchers v WHERE v.sequence = a.sequence "
        f"AND v.kind = {VoucherKind.VOID.value}) OR "
        "EXISTS (SELECT 1 FROM vouchers v WHERE v.resolves = a.sequence "
        f"AND v.outcome = {Outcome.NOT_PAID.value}) OR "
        "EXISTS (SELECT 1 FROM settlements s WHERE s.sequence = a.sequence "
        f"AND s.outcome = {SettledAs.NOT_PAID.value}))) "
        "BEGIN SELECT RAISE(ABORT, 'this request may be paid already'); END"
    ),
]

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
    *_TRIGGERS_NEW_IN_5,
]


def _made(tables: tuple[Table, ...]) -> list[str]:
    """How SQLAlchemy makes them. Whoever changes one of them later writes out here how it was."""
    statements: list[DDLElement] = []
    for table in tables:
        statements.append(CreateTable(table))
        statements += [
            CreateIndex(index) for index in sorted(table.indexes, key=lambda one: str(one.name))
        ]
    return [str(statement.compile(dialect=dialect())) for statement in statements]


CHANGES: dict[int, tuple[str, ...]] = {
    3: ("DROP TRIGGER state_goes_forward", _STATE_GOES_FORWARD),
    4: (
        *_made(_NEW_IN_5),
        str(CreateIndex(_INTENTS_BY_MEMBER).compile(dialect=dialect())),
        *_TRIGGERS_NEW_IN_5,
        (
            "INSERT INTO outlet_state (id, catalogue_version, staff_version, orders_version, "
            "members_version, records_acknowledged, pin_above_rupiah) "
            "SELECT 1, 0, 0, 0, 0, 0, 0 FROM identity"
        ),
        "ALTER TABLE intents ADD COLUMN with_pin BOOLEAN DEFAULT '0' NOT NULL",
    ),
}
"""What makes the tables of a version those of the next."""
