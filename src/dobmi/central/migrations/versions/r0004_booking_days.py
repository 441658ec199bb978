"""Booking days with signed heads, sums of closed days, wallets, salaries and cash banked (decision 17).

From here on the database refuses postings into a sealed day, and postings between other accounts than
the rule of their kind has.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

revision = "0004"
down_revision = "0003"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")
# Only to be referred to.
Table("members", _tables, Column("member_number", _Number, primary_key=True))
Table("terminals", _tables, Column("id", _Number, primary_key=True))

sealed_days = Table(
    "sealed_days",
    _tables,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("sealed_at", _Number, nullable=False),
)

daily_heads = Table(
    "daily_heads",
    _tables,
    Column("day", Integer, ForeignKey("sealed_days.day"), primary_key=True, autoincrement=False),
    Column("postings", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("journal_hash", LargeBinary, nullable=False),
    Column("tills_hash", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("signature", LargeBinary, nullable=False),
    Column("closed_at", _Number, nullable=False),
    CheckConstraint(
        "postings >= 0 AND amount_rupiah >= postings", name="a_posting_moves_something"
    ),
)

till_heads = Table(
    "till_heads",
    _tables,
    Column("day", Integer, ForeignKey("sealed_days.day"), nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("head_sequence", _Number, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("day", "terminal_id"),
)

kind_days = Table(
    "kind_days",
    _tables,
    Column("day", Integer, ForeignKey("sealed_days.day"), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("debit_group", Integer, nullable=False),
    Column("credit_group", Integer, nullable=False),
    Column("postings", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("day", "kind", "debit_group", "credit_group"),
)

account_days = Table(
    "account_days",
    _tables,
    Column("account", _Number, nullable=False),
    Column("day", Integer, nullable=False),
    Column("debits_rupiah", _Number, nullable=False),
    Column("credits_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("account", "day"),
)

salaries = Table(
    "salaries",
    _tables,
    Column("period", String(20), nullable=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("number", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("period", "member_number"),
    UniqueConstraint("number", "member_number"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)

cash_banked = Table(
    "cash_banked",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("terminal_id", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("note", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)


_BOOKING_LOCK = 0x646F_626F_6F6B
# The first second of the first open day; WIB is seven hours ahead of UTC.
_OPEN_FROM = "SELECT (max(day) + 1) * 86400 - 25200 FROM sealed_days"
_SEALED_DAY_SQLITE = f"""
CREATE TRIGGER postings_sealed_day BEFORE INSERT ON postings WHEN NEW.at < ({_OPEN_FROM})
BEGIN SELECT RAISE(ABORT, 'the day is closed'); END"""
# Once a statement, so that rows cost next to nothing. The lock comes first: what is sealed is looked
# up after it, which only this isolation level does.
_OPEN_DAY_FUNCTION = f"""
CREATE FUNCTION dobmi_open_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'postings are written at the isolation level read committed';
END IF;
PERFORM pg_advisory_xact_lock_shared({_BOOKING_LOCK});
PERFORM set_config(
    'dobmi.open_from', coalesce(({_OPEN_FROM}), -9223372036854775808)::text, true);
RETURN NULL;
END $$"""
# As a serialisation failure: the same again is booked on an open day.
_SEALED_DAY_FUNCTION = """
CREATE FUNCTION dobmi_sealed_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'the day is closed' USING ERRCODE = '40001';
END $$"""
_OPEN_DAY_TRIGGER = """
CREATE TRIGGER postings_open_day BEFORE INSERT ON postings
FOR EACH STATEMENT EXECUTE FUNCTION dobmi_open_day()"""
_SEALED_DAY_TRIGGER = """
CREATE TRIGGER postings_sealed_day AFTER INSERT ON postings FOR EACH ROW
WHEN (NEW.at < current_setting('dobmi.open_from')::bigint) EXECUTE FUNCTION dobmi_sealed_day()"""

_NO_POSTING_IN_A_SEALED_DAY = (
    ("sqlite", _SEALED_DAY_SQLITE),
    ("postgresql", _OPEN_DAY_FUNCTION),
    ("postgresql", _SEALED_DAY_FUNCTION),
    ("postgresql", _OPEN_DAY_TRIGGER),
    ("postgresql", _SEALED_DAY_TRIGGER),
)


# Kind, groups of the account debited, of the one credited.
_RULES = (
    ("sale", "4", "5, 8"),
    ("top-up", "1", "3"),
    ("salary", "2", "3"),
    ("delivered", "3", "4"),
    ("moved", "3", "3"),
    ("restored", "4", "3"),
    ("shortfall", "6", "4"),
    ("shortfall-back", "4", "6"),
    ("refund", "5, 8", "3"),
    ("unexplained-loss", "4", "6"),
    ("unexplained-gain", "6", "4"),
    ("claim-held", "4", "6"),
    ("claim-released", "6", "4"),
    ("earned", "2", "9"),
    ("loaded", "9", "3"),
    ("banked", "7", "1"),
    ("fee", "5, 8", "10"),
    ("paid-out", "5, 8", "7"),
)
_NEW = (
    "sealed_days",
    "daily_heads",
    "till_heads",
    "kind_days",
    "account_days",
    "salaries",
    "cash_banked",
)


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, tables=[_tables.tables[name] for name in _NEW])
    for table in _NEW:
        _refuse_changes(connection, table)
    if connection.dialect.name == "postgresql":
        op.create_check_constraint("accounts_of_the_kind", "postings", _accounts_of_kinds())
    else:
        _make_postings_anew(connection)
    for dialect, statement in _NO_POSTING_IN_A_SEALED_DAY:
        if connection.dialect.name == dialect:
            op.execute(statement)


def _accounts_of_kinds() -> str:
    group = "{}_account / 1000000000000 IN ({})"
    cases = [
        f"WHEN '{kind}' THEN {group.format('debit', debit)} AND {group.format('credit', credit)}"
        for kind, debit, credit in _RULES
    ]
    return f"CASE kind {' '.join(cases)} ELSE FALSE END"


def _make_postings_anew(connection: Connection) -> None:
    """SQLite, which adds no constraint to a table that is there."""
    new = Table(
        "new_postings",
        MetaData(),
        Column("at", _Number, nullable=False),
        Column("id", _Number, Identity(), nullable=False),
        Column("kind", String(20), nullable=False),
        Column("debit_account", _Number, nullable=False),
        Column("credit_account", _Number, nullable=False),
        Column("amount_rupiah", _Number, nullable=False),
        Column("card_uid", LargeBinary, nullable=False),
        Column("terminal_id", _Number, nullable=False),
        Column("sequence", _Number, nullable=False),
        Column("explanation", String(200), nullable=False),
        PrimaryKeyConstraint("id"),
        CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
        CheckConstraint("debit_account <> credit_account", name="two_accounts"),
        CheckConstraint(_accounts_of_kinds(), name="accounts_of_the_kind"),
    )
    new.create(connection)
    columns = ", ".join(column.name for column in new.columns)
    op.execute(f"INSERT INTO new_postings ({columns}) SELECT {columns} FROM postings")  # noqa: S608 - named here
    op.execute("DROP TABLE postings")
    op.execute("ALTER TABLE new_postings RENAME TO postings")
    op.create_index("postings_of_card", "postings", ["card_uid"])
    _refuse_changes(connection, "postings")


def _refuse_changes(connection: Connection, table: str) -> None:
    if connection.dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} "
                f"ON {table} BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
        f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
    )
