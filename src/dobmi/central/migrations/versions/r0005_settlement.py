"""Settlement: staff, sellers' bank accounts, fees, and runs of payments."""

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
)

revision = "0005"
down_revision = "0004"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

# As they are by now: only what the new tables refer to.
_sellers = Table("sellers", _tables, Column("id", _Number, primary_key=True, autoincrement=False))
_staff = Table(
    "staff",
    _tables,
    Column("name", String(80), primary_key=True),
    Column("folded", String(160), nullable=False, unique=True),
    Column("added_at", _Number, nullable=False),
)

_staff_roles = Table(
    "staff_roles",
    _tables,
    Column("name", String(80), ForeignKey("staff.name"), nullable=False),
    Column("role", String(10), nullable=False),
    Column("since", _Number, nullable=False),
    PrimaryKeyConstraint("name", "role"),
    CheckConstraint("role IN ('proposer', 'approver')", name="role_known"),
)

_seller_accounts = Table(
    "seller_accounts",
    _tables,
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("bank", String(70), nullable=False),
    Column("bank_code", String(11), nullable=False),
    Column("account", String(34), nullable=False),
    Column("holder", String(70), nullable=False),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("proposed_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    UniqueConstraint("seller_id", "number", "proposed_by", name="account_of_its_proposer"),
)

_seller_account_decisions = Table(
    "seller_account_decisions",
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
        ["seller_accounts.seller_id", "seller_accounts.number", "seller_accounts.proposed_by"],
    ),
    CheckConstraint("decided_by <> proposed_by", name="account_by_two_people"),
)

_fee_rules = Table(
    "fee_rules",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("from_day", Integer, nullable=False),
    Column("basis_points", Integer, nullable=False),
    Column("per_sale_rupiah", _Number, nullable=False),
    Column("per_run_rupiah", _Number, nullable=False),
    Column("minimum_rupiah", _Number, nullable=False),
    Column("maximum_rupiah", _Number),
    Column("set_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("set_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "from_day"),
    CheckConstraint("basis_points BETWEEN 0 AND 10000", name="fee_is_a_part"),
    CheckConstraint(
        "per_sale_rupiah >= 0 AND per_run_rupiah >= 0 AND minimum_rupiah >= 0 "
        "AND (maximum_rupiah IS NULL OR maximum_rupiah >= minimum_rupiah)",
        name="fee_is_no_gift",
    ),
)

_settlement_runs = Table(
    "settlement_runs",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("cut_off_day", Integer, nullable=False),
    Column("payments", Integer, nullable=False),
    Column("net_rupiah", _Number, nullable=False),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("proposed_at", _Number, nullable=False),
    UniqueConstraint("number", "proposed_by", name="run_of_its_proposer"),
    CheckConstraint("payments > 0 AND net_rupiah >= payments", name="run_pays_something"),
)

_settlement_steps = Table(
    "settlement_steps",
    _tables,
    Column("run", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("previous", String(10)),
    Column("proposed_by", String(80), nullable=False),
    Column("done_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("note", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("run", "state"),
    UniqueConstraint("run", "previous", name="one_way_on"),
    ForeignKeyConstraint(
        ["run", "proposed_by"], ["settlement_runs.number", "settlement_runs.proposed_by"]
    ),
    ForeignKeyConstraint(["run", "previous"], ["settlement_steps.run", "settlement_steps.state"]),
    CheckConstraint(
        "(previous IS NULL AND state = 'proposed')"
        " OR (previous = 'proposed' AND state IN ('approved', 'withdrawn'))"
        " OR (previous = 'approved' AND state IN ('exported', 'withdrawn'))"
        " OR (previous = 'exported' AND state IN ('paid', 'withdrawn'))",
        name="steps_in_order",
    ),
    CheckConstraint("state <> 'approved' OR done_by <> proposed_by", name="run_by_two_people"),
)

_settlement_items = Table(
    "settlement_items",
    _tables,
    Column("run", _Number, ForeignKey("settlement_runs.number"), nullable=False),
    Column("seller_id", _Number, nullable=False),
    Column("number", _Number, nullable=False, unique=True),
    Column("account_number", Integer, nullable=False),
    Column("from_at", _Number, nullable=False),
    Column("to_at", _Number, nullable=False),
    Column("sales", _Number, nullable=False),
    Column("sales_rupiah", _Number, nullable=False),
    Column("refunds_rupiah", _Number, nullable=False),
    Column("fee_rupiah", _Number, nullable=False),
    Column("net_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("run", "seller_id"),
    ForeignKeyConstraint(
        ["seller_id", "account_number"], ["seller_accounts.seller_id", "seller_accounts.number"]
    ),
    CheckConstraint("net_rupiah = sales_rupiah - refunds_rupiah - fee_rupiah", name="net_adds_up"),
    CheckConstraint(
        "net_rupiah > 0 AND fee_rupiah >= 0 AND sales_rupiah >= 0 AND refunds_rupiah >= 0",
        name="nobody_pays_in",
    ),
    CheckConstraint("to_at > from_at", name="some_time"),
)

_settlement_left_out = Table(
    "settlement_left_out",
    _tables,
    Column("run", _Number, ForeignKey("settlement_runs.number"), nullable=False),
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("reason", String(20), nullable=False),
    Column("due_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("run", "seller_id"),
    CheckConstraint("reason IN ('no-account', 'nothing-due')", name="reason_known"),
)

_settlement_claims = Table(
    "settlement_claims",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("from_at", _Number, nullable=False),
    Column("after", _Number),
    Column("to_at", _Number, nullable=False),
    Column("run", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "from_at"),
    UniqueConstraint("seller_id", "to_at", name="periods_end_apart"),
    ForeignKeyConstraint(
        ["seller_id", "after"], ["settlement_claims.seller_id", "settlement_claims.to_at"]
    ),
    ForeignKeyConstraint(
        ["run", "seller_id"], ["settlement_items.run", "settlement_items.seller_id"]
    ),
    CheckConstraint("from_at = coalesce(after, 0)", name="no_time_between"),
    CheckConstraint("to_at > from_at", name="some_time"),
)

_APPEND_ONLY = (
    _seller_accounts,
    _seller_account_decisions,
    _fee_rules,
    _settlement_runs,
    _settlement_steps,
    _settlement_items,
    _settlement_left_out,
)


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, tables=[t for t in _tables.sorted_tables if t is not _sellers])
    for table in _APPEND_ONLY:
        _refuse_changes(connection, table.name)


def _refuse_changes(connection: Connection, table: str) -> None:
    if connection.dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} "
                f"ON {table} BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
    )
