"""The tables as the programs before Alembic made them: schema version 1.

A revision is frozen: it says what it does itself and reads nothing of schema.py, which moves on.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    insert,
    text,
)

revision = "0001"
down_revision = None

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


schema_version = Table(
    "schema_version",
    _tables,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

counters = Table(
    "counters",
    _tables,
    Column("name", String(40), primary_key=True),
    Column("value", _Number, nullable=False),
)

terminals = Table(
    "terminals",
    _tables,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
    Column("role", String(10), nullable=False),
    Column("seller", String(80), nullable=False),
    Column("public_key", LargeBinary, nullable=False, unique=True),
    Column("status", String(10), nullable=False),
    Column("head_sequence", _Number, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("enrolled_at", _Number, nullable=False),
    Column("feed_version", _Number, nullable=False, default=0),
    Column("feed_at", _Number),
    CheckConstraint("id > 0", name="terminal_0_is_the_central_server"),
    _one_of("role", "till", "station"),
    _one_of("status", "active", "blocked"),
)

invitations = Table(
    "invitations",
    _tables,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("role", String(10), nullable=False),
    Column("name", String(80), nullable=False),
    Column("seller", String(80), nullable=False),
    Column("expires_at", _Number, nullable=False),
    Column("used_by", _Number, ForeignKey("terminals.id")),
    _one_of("role", "till", "station"),
)

request_nonces = Table(
    "request_nonces",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False, index=True),
    PrimaryKeyConstraint("terminal_id", "nonce"),
)

members = Table(
    "members",
    _tables,
    Column("member_number", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
)

cards = Table(
    "cards",
    _tables,
    Column("uid", LargeBinary, primary_key=True),
    Column("serial", _Number, nullable=False, unique=True),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("state", String(10), nullable=False),
    Column("expires_on_day", Integer, nullable=False),
    Column("mac_key_version", Integer, nullable=False),
    Column("key_version", Integer, nullable=False, default=1),
    Column("registered_at", _Number, nullable=False),
    Column("issued_at", _Number),
    Column("block_reason", String(200), nullable=False),
    _one_of("state", "issuing", "active", "blocked", "replaced"),
)
Index("cards_of_member", cards.c.member_number)
Index(
    "one_active_card_a_member",
    cards.c.member_number,
    unique=True,
    sqlite_where=text("state = 'active'"),
    postgresql_where=text("state = 'active'"),
)

vouchers = Table(
    "vouchers",
    _tables,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("previous_hash", LargeBinary, nullable=False, unique=True),
    Column("kind", Integer, nullable=False),
    Column("card_uid", LargeBinary, nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    Column("received_at", _Number, nullable=False),
    Column("status", String(12), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("detail", String(200), nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    _one_of("status", "posted", "noted", "quarantined"),
    CheckConstraint("(status = 'quarantined') = (reason <> '')", name="quarantined_has_a_reason"),
)
Index(
    "quarantine",
    vouchers.c.received_at,
    sqlite_where=text("status = 'quarantined'"),
    postgresql_where=text("status = 'quarantined'"),
)

batches = Table(
    "batches",
    _tables,
    Column("batch_hash", LargeBinary, primary_key=True),
    Column("terminal_id", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("acknowledgement", LargeBinary, nullable=False),
    Column("received_at", _Number, nullable=False),
)

rejected_batches = Table(
    "rejected_batches",
    _tables,
    Column("batch_hash", LargeBinary, primary_key=True),
    Column("code", String(40), nullable=False),
    Column("detail", String(400), nullable=False),
    Column("size_bytes", _Number, nullable=False),
    Column("content", LargeBinary),
    Column("received_at", _Number, nullable=False),
)

card_transactions = Table(
    "card_transactions",
    _tables,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("counter", _Number, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("previous_terminal_id", _Number),
    Column("previous_sequence", _Number),
    Column("amount_rupiah", _Number, nullable=False),
    Column("balance_before_rupiah", _Number, nullable=False),
    Column("balance_after_rupiah", _Number, nullable=False),
    Column("card_mac_verified", Boolean, nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "counter"),
    UniqueConstraint("card_uid", "terminal_id", "sequence"),
    CheckConstraint("counter > 0", name="counter_starts_at_1"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)
Index(
    "transactions_named_later",
    card_transactions.c.previous_terminal_id,
    card_transactions.c.previous_sequence,
)

in_doubt = Table(
    "in_doubt",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("settled_by", String(12), nullable=False),
    Column("explanation", String(200), nullable=False),
    Column("counter", _Number),
    Column("searched_to", _Number, nullable=False),
    Column("claimed_paid", Boolean, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    _one_of("state", "open", "paid", "not_paid", "disputed", "suspended"),
)
Index("doubts_of_card", in_doubt.c.card_uid)

doubt_decisions = Table(
    "doubt_decisions",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("voucher_sequence", _Number, nullable=False),
    Column("paid", Boolean, nullable=False),
    Column("decided_by", String(80), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence"),
)

doubt_settlements = Table(
    "doubt_settlements",
    _tables,
    Column("id", _Number, primary_key=True),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("rule", String(40), nullable=False),
    Column("explanation", String(200), nullable=False),
    Column("at", _Number, nullable=False),
)
Index("settlements_of_till", doubt_settlements.c.terminal_id, doubt_settlements.c.at)

pending_credits = Table(
    "pending_credits",
    _tables,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("source", String(10), nullable=False),
    Column("ordered_by", _Number, ForeignKey("terminals.id")),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("ordered_at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("counter", _Number),
    Column("mac", LargeBinary),
    Column("seen_at", _Number),
    Column("seen_counter", _Number),
    PrimaryKeyConstraint("card_uid", "sequence"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    _one_of("source", "cash", "salary", "refund", "restored"),
    _one_of("state", "pending", "in_doubt", "delivered", "assumed", "moved"),
)
Index(
    "credits_waiting",
    pending_credits.c.card_uid,
    sqlite_where=text("state IN ('pending', 'in_doubt')"),
    postgresql_where=text("state IN ('pending', 'in_doubt')"),
)

refunds = Table(
    "refunds",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("sale_sequence", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("supervisor", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("explanation", String(200), nullable=False),
    Column("credit_card_uid", LargeBinary),
    Column("credit_sequence", _Number),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    ForeignKeyConstraint(
        ["credit_card_uid", "credit_sequence"],
        ["pending_credits.card_uid", "pending_credits.sequence"],
    ),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    CheckConstraint(
        "(state = 'ordered') = (credit_sequence IS NOT NULL)", name="ordered_is_a_credit"
    ),
    _one_of("state", "waiting", "ordered", "refused"),
)
Index("refunds_of_sale", refunds.c.terminal_id, refunds.c.sale_sequence)
Index("refunds_of_card", refunds.c.card_uid)

credit_attempts = Table(
    "credit_attempts",
    _tables,
    Column("id", _Number, primary_key=True),
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False),
    Column("counter", _Number),
    Column("searched_to", _Number, nullable=False),
)
Index("attempts_of_credit", credit_attempts.c.card_uid, credit_attempts.c.sequence)

credit_settlements = Table(
    "credit_settlements",
    _tables,
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("counter", _Number, nullable=False),
    Column("settled_by", String(80), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "sequence"),
    ForeignKeyConstraint(
        ["card_uid", "sequence"], ["pending_credits.card_uid", "pending_credits.sequence"]
    ),
)

postings = Table(
    "postings",
    _tables,
    Column("id", _Number, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("debit_account", String(100), nullable=False),
    Column("credit_account", String(100), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("explanation", String(200), nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    CheckConstraint("debit_account <> credit_account", name="two_accounts"),
    UniqueConstraint("card_uid", "kind", "terminal_id", "sequence", name="nothing_posts_twice"),
)

anomalies = Table(
    "anomalies",
    _tables,
    Column("id", _Number, primary_key=True),
    Column("subject", String(120), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("card_uid", LargeBinary),
    Column("terminal_id", _Number),
    Column("amount_rupiah", _Number),
    Column("detail", String(400), nullable=False),
    Column("at", _Number, nullable=False),
    UniqueConstraint("kind", "subject", name="found_once"),
)

hotlist_changes = Table(
    "hotlist_changes",
    _tables,
    Column("version", _Number, primary_key=True, autoincrement=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("blocked", Boolean, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("by_terminal", _Number),
    Column("at", _Number, nullable=False),
)

restorations = Table(
    "restorations",
    _tables,
    Column("version_after", _Number, primary_key=True, autoincrement=False),
    Column("version_before", _Number, nullable=False),
    Column("at", _Number, nullable=False),
)

replacements = Table(
    "replacements",
    _tables,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("reason", String(200), nullable=False),
    Column("by_terminal", _Number),
    Column("at", _Number, nullable=False),
    Column("block_version", _Number, nullable=False),
    Column("safe_at", _Number),
    Column("safe_by", String(80), nullable=False),
)

_APPEND_ONLY = (
    "vouchers",
    "batches",
    "postings",
    "anomalies",
    "hotlist_changes",
    "doubt_decisions",
    "doubt_settlements",
    "credit_settlements",
    "restorations",
)


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, checkfirst=False)
    connection.execute(insert(schema_version).values(version=1))
    if connection.dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION dobmi_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'append only: %', TG_TABLE_NAME; END $$"
        )
    for table in _APPEND_ONLY:
        if connection.dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
            )
            continue
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} "
                f"ON {table} BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
            )
