"""Tills that ask to be taken in by a short code."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

revision = "0008"
down_revision = "0007"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

_terminals = Table("terminals", _tables, Column("id", _Number, primary_key=True))
_pairings = Table(
    "pairings",
    _tables,
    Column("request_id", LargeBinary, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealing_key", LargeBinary, nullable=False),
    Column("name", String(80), nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("server_nonce", LargeBinary, nullable=False),
    Column("opening", LargeBinary),
    Column("code", String(8), unique=True),
    Column("asked_at", _Number, nullable=False),
    Column("expires_at", _Number, nullable=False),
    Column("decision", String(10), nullable=False),
    Column("decided_by", String(80), nullable=False),
    Column("decided_at", _Number),
    Column("terminal_id", _Number, ForeignKey("terminals.id"), unique=True),
    CheckConstraint("(opening IS NULL) = (code IS NULL)", name="code_by_opening"),
    CheckConstraint(
        "(decision = 'approved') = (terminal_id IS NOT NULL)", name="approved_taken_in"
    ),
    CheckConstraint("(decision = '') = (decided_at IS NULL)", name="decided_some_time"),
    CheckConstraint("decision = '' OR code IS NOT NULL", name="decided_by_code"),
    CheckConstraint("decision IN ('', 'approved', 'refused')", name="decision_known"),
)


def upgrade() -> None:
    _tables.create_all(op.get_bind(), tables=[_pairings])
