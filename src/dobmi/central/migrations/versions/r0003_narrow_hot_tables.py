"""Accounts as numbers, sellers of their own, narrow hot tables, partitions by month (decision 16).

The data is kept: what was in the tables made anew is copied into them. On PostgreSQL it lies in the
default partitions; months get their own from the next one on.
"""

# ruff: noqa: S608 - every name in these statements is written here

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

from dobmi.sync.voucher import ResolutionVoucher, decode_voucher

revision = "0003"
down_revision = "0002"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

_sellers = Table(
    "sellers",
    _tables,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False, unique=True),
    Column("kind", String(10), nullable=False),
    CheckConstraint("id > 0", name="seller_0_is_nobody"),
    CheckConstraint("kind IN ('outlet', 'merchant')", name="kind_known"),
)
_vouchers = Table(
    "vouchers",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("received_at", _Number, nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence", "received_at"),
    postgresql_partition_by="RANGE (received_at)",
)
_quarantine = Table(
    "quarantine",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("detail", String(200), nullable=False),
    Column("received_at", _Number, nullable=False, index=True),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    CheckConstraint("reason <> ''", name="quarantined_has_a_reason"),
)
_batches = Table(
    "batches",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("batch_hash", LargeBinary, nullable=False),
    Column("acknowledgement", LargeBinary, nullable=False),
    Column("received_at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "batch_hash"),
)
_batches_to_look_at = Table(
    "batches_to_look_at",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("first_sequence", _Number, nullable=False),
    Column("last_sequence", _Number, nullable=False),
    Column("posted_at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "first_sequence"),
)
_card_transactions = Table(
    "card_transactions",
    _tables,
    Column("card_uid", LargeBinary, nullable=False),
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
    UniqueConstraint("terminal_id", "sequence", "card_uid", name="no_sale_twice"),
    CheckConstraint("counter > 0", name="counter_starts_at_1"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)
_named_before = Table(
    "named_before",
    _tables,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("card_uid", LargeBinary, nullable=False),
    Column("counter", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence", "card_uid", "counter"),
)
_posting_keys = Table(
    "posting_keys",
    _tables,
    Column("card_uid", LargeBinary, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "kind", "terminal_id", "sequence", name="nothing_posts_twice"),
)
_unexplained = _posting_keys.c.kind.in_(["unexplained-loss", "unexplained-gain"])
Index(
    "cards_with_suspense",
    _posting_keys.c.card_uid,
    sqlite_where=_unexplained,
    postgresql_where=_unexplained,
)


def _postings(dialect: str) -> Table:
    """On SQLite only a key of one column numbers the rows."""
    key = ("id",) if dialect == "sqlite" else ("at", "id", "card_uid")
    table = Table(
        "postings",
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
        PrimaryKeyConstraint(*key),
        CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
        CheckConstraint("debit_account <> credit_account", name="two_accounts"),
        postgresql_partition_by="RANGE (at)",
    )
    Index("postings_of_card", table.c.card_uid)
    return table


_MADE_ANEW = ("vouchers", "batches", "card_transactions", "postings")
_PARTITIONED = ("vouchers", "postings")
_APPEND_ONLY_BEFORE = ("vouchers", "batches", "postings")
_APPEND_ONLY = (*_APPEND_ONLY_BEFORE, "quarantine", "named_before", "posting_keys")


def upgrade() -> None:
    connection = op.get_bind()
    _set_aside(connection)
    connection.execute(
        text("CREATE TABLE old_accounts (name VARCHAR(100) PRIMARY KEY, number BIGINT)")
    )
    _sellers.create(connection)
    _number_sellers(connection)
    _tables.create_all(connection)
    _postings(connection.dialect.name).create(connection)
    if connection.dialect.name == "postgresql":
        for table in _PARTITIONED:
            op.execute(f"CREATE TABLE {table}_other PARTITION OF {table} DEFAULT")
    _index_what_is_undecided()
    _copy(connection)
    _find_resolutions(connection)
    for table in _APPEND_ONLY:
        _refuse_changes(connection, table)
    for table in _MADE_ANEW:
        op.execute(f"DROP TABLE old_{table}")
    op.execute("DROP TABLE old_accounts")


def _set_aside(connection: Connection) -> None:
    """Rename the old tables, and drop what would keep a name that is wanted."""
    for table in _MADE_ANEW:
        if connection.dialect.name == "postgresql":
            op.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
            op.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
            names = connection.execute(
                text(
                    "SELECT indexname FROM pg_indexes WHERE tablename = :t AND schemaname = current_schema()"
                ),
                {"t": f"old_{table}"},
            ).scalars()
            for name in names.all():
                op.execute(f'ALTER INDEX "{name}" RENAME TO "old_{name}"')
            continue
        for action in ("update", "delete"):
            op.execute(f"DROP TRIGGER IF EXISTS {table}_no_{action}")
        op.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    if connection.dialect.name == "postgresql":
        op.execute("ALTER SEQUENCE IF EXISTS postings_id_seq RENAME TO old_postings_id_seq")
    else:
        op.execute("DROP INDEX quarantine")
        op.execute("DROP INDEX transactions_named_later")


def _number_sellers(connection: Connection) -> None:
    """By their first terminals; and every account that there is, by name and number."""
    names = connection.execute(
        text("SELECT seller FROM terminals GROUP BY seller ORDER BY min(id)")
    )
    for number, name in enumerate(names.scalars().all(), start=1):
        connection.execute(
            text("INSERT INTO sellers (id, name, kind) VALUES (:id, :name, 'outlet')"),
            {"id": number, "name": name},
        )
    connection.execute(
        text("INSERT INTO counters (name, value) SELECT 'seller', count(*) FROM sellers")
    )
    op.add_column("terminals", Column("seller_id", _Number))
    op.execute(
        "UPDATE terminals SET seller_id = "
        "(SELECT sellers.id FROM sellers WHERE sellers.name = terminals.seller)"
    )
    with op.batch_alter_table("terminals") as terminals:
        terminals.alter_column("seller_id", existing_type=_Number, nullable=False)
        terminals.create_foreign_key("terminals_seller_id_fkey", "sellers", ["seller_id"], ["id"])
        terminals.drop_column("seller")
    uid = "encode(uid, 'hex')" if connection.dialect.name == "postgresql" else "lower(hex(uid))"
    for numbers in (
        "SELECT 'salary', 2000000000000",
        "SELECT 'suspense', 6000000000000",
        "SELECT 'cash:' || id, 1000000000000 + id FROM terminals",
        f"SELECT 'in-flight:' || {uid}, 3000000000000 + serial FROM cards",
        f"SELECT 'card:' || {uid}, 4000000000000 + serial FROM cards",
        "SELECT 'outlet:' || name, 5000000000000 + id FROM sellers",
    ):
        op.execute(f"INSERT INTO old_accounts (name, number) {numbers}")


def _index_what_is_undecided() -> None:
    op.add_column("in_doubt", Column("resolved_in", _Number))
    for name, table, column, where in (
        ("doubts_undecided", "in_doubt", "state", "state IN ('open', 'suspended')"),
        ("credits_unsure", "pending_credits", "card_uid", "state IN ('in_doubt', 'assumed')"),
    ):
        op.create_index(
            name, table, [column], postgresql_where=text(where), sqlite_where=text(where)
        )


_COPIES = """
INSERT INTO vouchers (terminal_id, sequence, received_at, encoded)
SELECT terminal_id, sequence, received_at, encoded FROM old_vouchers;

INSERT INTO quarantine (terminal_id, sequence, reason, detail, received_at)
SELECT terminal_id, sequence, reason, detail, received_at FROM old_vouchers
WHERE status = 'quarantined';

INSERT INTO batches (terminal_id, batch_hash, acknowledgement, received_at)
SELECT terminal_id, batch_hash, acknowledgement, received_at FROM old_batches;

INSERT INTO card_transactions (card_uid, counter, kind, terminal_id, sequence,
    previous_terminal_id, previous_sequence, amount_rupiah, balance_before_rupiah,
    balance_after_rupiah, card_mac_verified, at)
SELECT card_uid, counter, kind, terminal_id, sequence,
    previous_terminal_id, previous_sequence, amount_rupiah, balance_before_rupiah,
    balance_after_rupiah, card_mac_verified, at
FROM old_card_transactions;

INSERT INTO named_before (terminal_id, sequence, card_uid, counter)
SELECT mine.previous_terminal_id, mine.previous_sequence, mine.card_uid, mine.counter
FROM card_transactions AS mine JOIN terminals ON terminals.id = mine.previous_terminal_id
WHERE NOT EXISTS (
    SELECT 1 FROM card_transactions AS one
    WHERE one.card_uid = mine.card_uid AND one.counter = mine.counter - 1
        AND one.terminal_id = mine.previous_terminal_id AND one.sequence = mine.previous_sequence);

INSERT INTO postings (at, id, kind, debit_account, credit_account, amount_rupiah,
    card_uid, terminal_id, sequence, explanation)
SELECT at, id, kind, debited.number, credited.number, amount_rupiah,
    card_uid, terminal_id, sequence, explanation
FROM old_postings
JOIN old_accounts AS debited ON debited.name = debit_account
JOIN old_accounts AS credited ON credited.name = credit_account
ORDER BY id;

INSERT INTO posting_keys (card_uid, kind, terminal_id, sequence)
SELECT card_uid, kind, terminal_id, sequence FROM old_postings WHERE kind <> 'sale'
"""


def _copy(connection: Connection) -> None:
    for statement in _COPIES.split(";"):
        op.execute(statement)
    counts = [
        connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        for table in ("postings", "old_postings")
    ]
    if counts[0] != counts[1]:
        msg = f"{counts[1] - counts[0]} postings are of accounts that nobody has"
        raise ValueError(msg)
    if connection.dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('postings', 'id'), "
            "(SELECT coalesce(max(id), 0) + 1 FROM postings), false)"
        )


def _find_resolutions(connection: Connection) -> None:
    """The vouchers that brought the cards' MACs for sales in doubt."""
    rows = connection.execute(
        text(
            "SELECT terminal_id, sequence, encoded FROM old_vouchers "
            "WHERE kind = 3 AND status <> 'quarantined'"
        )
    )
    for terminal_id, sequence, encoded in rows.all():
        voucher = decode_voucher(bytes(encoded))
        if isinstance(voucher, ResolutionVoucher) and voucher.card_mac is not None:
            connection.execute(
                text(
                    "UPDATE in_doubt SET resolved_in = :by "
                    "WHERE terminal_id = :terminal AND sequence = :doubt"
                ),
                {"by": sequence, "terminal": terminal_id, "doubt": voucher.resolves},
            )


def _refuse_changes(connection: Connection, table: str) -> None:
    if connection.dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} "
                f"ON {table} BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
            )
        return
    on = "ON {} FOR EACH {} EXECUTE FUNCTION dobmi_append_only()"
    if table not in _PARTITIONED:
        every = "UPDATE OR DELETE OR TRUNCATE"
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE {every} {on.format(table, 'STATEMENT')}"
        )
        return
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE {on.format(table, 'ROW')}"
    )
    for part in (table, f"{table}_other"):
        op.execute(
            f"CREATE TRIGGER {part}_no_truncate BEFORE TRUNCATE {on.format(part, 'STATEMENT')}"
        )
