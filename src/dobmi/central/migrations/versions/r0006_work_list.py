"""What was done with each finding."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

revision = "0006"
down_revision = "0005"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")
_STATES = "'open', 'assigned', 'explained', 'closed', 'reopened'"

_anomalies = Table("anomalies", _tables, Column("id", _Number, primary_key=True))
_anomaly_steps = Table(
    "anomaly_steps",
    _tables,
    Column("anomaly_id", _Number, ForeignKey("anomalies.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("owner", String(80), nullable=False),
    Column("note", String(400), nullable=False),
    Column("amount_rupiah", _Number),
    Column("done_by", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("anomaly_id", "number"),
    CheckConstraint("number > 0", name="steps_from_1"),
    CheckConstraint(f"state IN ({_STATES})", name="state_known"),
)


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, tables=[_anomaly_steps])
    if connection.dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER anomaly_steps_no_{action.lower()} BEFORE {action} "
                "ON anomaly_steps BEGIN SELECT RAISE(ABORT, 'append only: anomaly_steps'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER anomaly_steps_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
        "ON anomaly_steps FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
    )
