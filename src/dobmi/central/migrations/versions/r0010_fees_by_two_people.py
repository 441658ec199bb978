"""Rules of fees are proposed and accepted; clerks; what vouchers came since is found by time.

Rules that one person set before stay in force.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

revision = "0010"
down_revision = "0009"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

_staff = Table("staff", _tables, Column("name", String(80), primary_key=True))
_staff_roles = Table(
    "staff_roles",
    _tables,
    Column("name", String(80), ForeignKey("staff.name"), nullable=False),
    Column("role", String(10), nullable=False),
    Column("since", _Number, nullable=False),
    PrimaryKeyConstraint("name", "role"),
    CheckConstraint("role IN ('proposer', 'approver', 'clerk')", name="role_known"),
)
_fee_proposals = Table(
    "fee_proposals",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("number", Integer, nullable=False),
    Column("from_day", Integer, nullable=False),
    Column("basis_points", Integer, nullable=False),
    Column("per_sale_rupiah", _Number, nullable=False),
    Column("per_run_rupiah", _Number, nullable=False),
    Column("minimum_rupiah", _Number, nullable=False),
    Column("maximum_rupiah", _Number),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("proposed_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    UniqueConstraint("seller_id", "number", "proposed_by", name="fee_of_its_proposer"),
)
_fee_decisions = Table(
    "fee_decisions",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("number", Integer, nullable=False),
    Column("proposed_by", String(80), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("decided_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    ForeignKeyConstraint(
        ["seller_id", "number", "proposed_by"],
        ["fee_proposals.seller_id", "fee_proposals.number", "fee_proposals.proposed_by"],
    ),
    CheckConstraint("decided_by <> proposed_by", name="fee_by_two_people"),
)
_KEYS = {
    "fee_proposals": (("number", "seller_id"),),
    "fee_decisions": (("number", "seller_id"),),
}
_AGREED = """
SELECT 1 FROM fee_proposals AS p JOIN fee_decisions AS d ON d.seller_id = p.seller_id
AND d.number = p.number WHERE d.accepted AND p.seller_id = NEW.seller_id
AND p.from_day = NEW.from_day AND p.basis_points = NEW.basis_points
AND p.per_sale_rupiah = NEW.per_sale_rupiah AND p.per_run_rupiah = NEW.per_run_rupiah
AND p.minimum_rupiah = NEW.minimum_rupiah
AND coalesce(p.maximum_rupiah, -1) = coalesce(NEW.maximum_rupiah, -1)"""

_FEE_AGREED_SQLITE = f"""
CREATE TRIGGER fee_rules_agreed BEFORE INSERT ON fee_rules WHEN NOT EXISTS ({_AGREED})
BEGIN SELECT RAISE(ABORT, 'nobody else accepted it: fee_rules'); END"""
_FEE_AGREED_FUNCTION = f"""
CREATE FUNCTION dobmi_fee_agreed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NOT EXISTS ({_AGREED}) THEN
    RAISE EXCEPTION 'nobody else accepted it: fee_rules';
END IF;
RETURN NEW;
END $$"""
_FEE_AGREED_TRIGGER = """
CREATE TRIGGER fee_rules_agreed BEFORE INSERT ON fee_rules
FOR EACH ROW EXECUTE FUNCTION dobmi_fee_agreed()"""


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, tables=[_fee_proposals, _fee_decisions])
    if connection.dialect.name == "sqlite":
        _on_sqlite(connection)
    else:
        _on_postgresql()


def _on_sqlite(connection: Connection) -> None:
    """A check is changed by making its table anew."""
    op.execute("ALTER TABLE staff_roles RENAME TO old_staff_roles")
    _tables.create_all(connection, tables=[_staff_roles])
    connection.execute(
        text("INSERT INTO staff_roles SELECT name, role, since FROM old_staff_roles")
    )
    op.execute("DROP TABLE old_staff_roles")
    for table, keys in _KEYS.items():
        body = f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} {body}"
            )
        same = [" AND ".join(f"{column} = NEW.{column}" for column in key) for key in keys]
        there = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {one})" for one in same)  # noqa: S608 - the names above
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} {body}"
        )
    op.execute(_FEE_AGREED_SQLITE)


def _on_postgresql() -> None:
    op.execute("ALTER TABLE staff_roles DROP CONSTRAINT role_known")
    op.execute(
        "ALTER TABLE staff_roles ADD CONSTRAINT role_known "
        "CHECK (role IN ('proposer', 'approver', 'clerk'))"
    )
    for table in _KEYS:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
        )
    op.execute(_FEE_AGREED_FUNCTION)
    op.execute(_FEE_AGREED_TRIGGER)
    op.execute("CREATE INDEX vouchers_by_time ON vouchers USING brin (received_at)")
