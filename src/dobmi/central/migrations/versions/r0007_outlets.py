"""Outlets: catalogue, tills' staff, members' orders, classes and photos, and what tills report."""

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
)

revision = "0007"
down_revision = "0006"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

# As they are by now: only what the new tables refer to.
_sellers = Table("sellers", _tables, Column("id", _Number, primary_key=True, autoincrement=False))
_members = Table(
    "members", _tables, Column("member_number", _Number, primary_key=True, autoincrement=False)
)

_outlet_versions = Table(
    "outlet_versions",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("part", String(10), nullable=False),
    Column("version", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "part"),
    CheckConstraint("part IN ('catalogue', 'staff', 'orders')", name="part_known"),
)

_catalogue_items = Table(
    "catalogue_items",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("code", String(80), nullable=False),
    Column("name", String(80), nullable=False),
    Column("category", String(80), nullable=False),
    Column("price_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "code"),
    CheckConstraint("price_rupiah >= 0", name="price_is_no_gift"),
)

_catalogue_barcodes = Table(
    "catalogue_barcodes",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("barcode", String(80), nullable=False),
    Column("code", String(80), nullable=False),
    PrimaryKeyConstraint("seller_id", "barcode"),
    ForeignKeyConstraint(
        ["seller_id", "code"], ["catalogue_items.seller_id", "catalogue_items.code"]
    ),
)

_catalogue_prices = Table(
    "catalogue_prices",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("code", String(80), nullable=False),
    Column("member_class", String(40), nullable=False),
    Column("price_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "code", "member_class"),
    ForeignKeyConstraint(
        ["seller_id", "code"], ["catalogue_items.seller_id", "catalogue_items.code"]
    ),
    CheckConstraint("price_rupiah >= 0", name="price_is_no_gift"),
)

_catalogue_outlets = Table(
    "catalogue_outlets",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("code", String(80), nullable=False),
    Column("outlet_id", _Number, ForeignKey("sellers.id"), nullable=False),
    PrimaryKeyConstraint("seller_id", "code", "outlet_id"),
    ForeignKeyConstraint(
        ["seller_id", "code"], ["catalogue_items.seller_id", "catalogue_items.code"]
    ),
    CheckConstraint("seller_id = 0", name="of_what_all_sell"),
)

_till_staff = Table(
    "till_staff",
    _tables,
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", String(80), nullable=False),
    Column("duty", Integer, nullable=False),
    Column("pin_salt", LargeBinary),
    Column("pin_hash", LargeBinary),
    Column("member_number", _Number, ForeignKey("members.member_number")),
    Column("changed_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    UniqueConstraint("seller_id", "member_number", name="a_card_is_one_persons"),
    CheckConstraint("number > 0", name="staff_numbers_from_1"),
    CheckConstraint("duty IN (1, 2)", name="duty_known"),
    CheckConstraint("(pin_salt IS NULL) = (pin_hash IS NULL)", name="pin_whole_or_none"),
)

_member_orders = Table(
    "member_orders",
    _tables,
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("number", _Number, nullable=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("placed_at", _Number, nullable=False),
    Column("pick_up_day", Integer, nullable=False),
    Column("note", String(200), nullable=False),
    Column("taken_at", _Number, nullable=False),
    Column("is_open", Boolean, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    CheckConstraint("number > 0", name="orders_from_1"),
)
Index(
    "orders_open",
    _member_orders.c.seller_id,
    sqlite_where=_member_orders.c.is_open,
    postgresql_where=_member_orders.c.is_open,
)

_member_order_lines = Table(
    "member_order_lines",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("line", Integer, nullable=False),
    Column("item", String(80), nullable=False),
    Column("name", String(80), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number", "line"),
    UniqueConstraint("seller_id", "number", "item", name="an_item_in_one_line"),
    ForeignKeyConstraint(
        ["seller_id", "number"], ["member_orders.seller_id", "member_orders.number"]
    ),
    CheckConstraint("quantity > 0 AND unit_price_rupiah >= 0", name="something_was_ordered"),
)

_member_order_states = Table(
    "member_order_states",
    _tables,
    Column("seller_id", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("record_number", _Number, nullable=False),
    Column("state", Integer, nullable=False),
    Column("sale_sequence", _Number),
    Column("done_by", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number", "terminal_id", "record_number"),
    CheckConstraint("state IN (1, 2, 3)", name="state_known"),
    CheckConstraint("(state = 1) = (sale_sequence IS NOT NULL)", name="paid_by_a_sale"),
)

_till_records = Table(
    "till_records",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    Column("received_at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "number"),
    CheckConstraint("number > 0", name="records_from_1"),
    CheckConstraint("kind IN ('shift', 'order')", name="kind_known"),
)
Index("records_received", _till_records.c.kind, _till_records.c.received_at)

_photos = Table(
    "photos",
    _tables,
    Column("hash", LargeBinary, primary_key=True),
    Column("jpeg", LargeBinary, nullable=False),
    Column("added_at", _Number, nullable=False),
)

_member_notes = Table(
    "member_notes",
    _tables,
    Column(
        "member_number",
        _Number,
        ForeignKey("members.member_number"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("member_class", String(40), nullable=False),
    Column("photo", LargeBinary, ForeignKey("photos.hash")),
    Column("version", _Number, nullable=False),
)
Index("notes_by_version", _member_notes.c.version)

_NEW = (
    _outlet_versions,
    _catalogue_items,
    _catalogue_barcodes,
    _catalogue_prices,
    _catalogue_outlets,
    _till_staff,
    _member_orders,
    _member_order_lines,
    _member_order_states,
    _till_records,
    _photos,
    _member_notes,
)
_APPEND_ONLY = ("member_order_lines", "member_order_states", "till_records", "photos")


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, tables=_NEW)
    for table in _APPEND_ONLY:
        if connection.dialect.name == "sqlite":
            for action in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
                )
        else:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON "
                f"{table} FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
            )
