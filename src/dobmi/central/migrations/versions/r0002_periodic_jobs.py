"""What a server does by itself now and then, and how it went."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, String

revision = "0002"
down_revision = "0001"

_Number = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "periodic_jobs",
        Column("name", String(40), nullable=False),
        Column("started_at", _Number, nullable=False),
        Column("running_until", _Number, nullable=False),
        Column("finished_at", _Number),
        Column("failed_at", _Number),
        Column("failures", Integer, nullable=False),
        Column("outcome", String(400), nullable=False),
        PrimaryKeyConstraint("name"),
    )
