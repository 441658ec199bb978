"""Issuing cards from lists of members; staff who log in, and what they do."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

revision = "0012"
down_revision = "0011"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

# What is there already, as far as it is referred to.
_terminals = Table("terminals", _tables, Column("id", _Number, primary_key=True))
_members = Table("members", _tables, Column("member_number", _Number, primary_key=True))
_cards = Table("cards", _tables, Column("uid", LargeBinary, primary_key=True))

# ----- issuing batches

_issuing_batches = Table(
    "issuing_batches",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("lines_count", Integer, nullable=False),
    Column("made_at", _Number, nullable=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    CheckConstraint("number > 0", name="batches_from_1"),
    CheckConstraint("lines_count > 0", name="batch_of_somebody"),
)
_issuing_lines = Table(
    "issuing_lines",
    _tables,
    Column("batch", _Number, ForeignKey("issuing_batches.number"), nullable=False),
    Column("line", Integer, nullable=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("claim", String(40), nullable=False),
    Column("claimed_by", _Number, ForeignKey("terminals.id")),
    Column("claimed_until", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid")),
    Column("generation", String(40), nullable=False),
    Column("originality", String(80), nullable=False),
    Column("resumed", Boolean, nullable=False),
    Column("issued_at", _Number),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("person", String(80), nullable=False),
    PrimaryKeyConstraint("batch", "line"),
    UniqueConstraint("batch", "member_number", name="member_once_a_batch"),
    CheckConstraint("state IN ('waiting', 'issued', 'skipped')", name="state_known"),
    CheckConstraint("(state = 'issued') = (issued_at IS NOT NULL)", name="issued_some_time"),
    CheckConstraint("(state = 'issued') = (station IS NOT NULL)", name="issued_somewhere"),
    CheckConstraint("state <> 'issued' OR card_uid IS NOT NULL", name="issued_a_card"),
    CheckConstraint("(claim = '') = (claimed_by IS NULL)", name="claimed_by_a_station"),
)


def upgrade() -> None:
    _issuing()


def _issuing() -> None:
    _tables.create_all(op.get_bind(), tables=[_issuing_batches, _issuing_lines])
    _append_only("issuing_batches")
    _stays("issuing_lines")


# ----- for all of them


def _append_only(table: str) -> None:
    """Its rows neither change nor go."""
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
            )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
        )


def _stays(table: str) -> None:
    """Its rows change and never go."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
        )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
        )
