"""Issuing: staff who log in, what they do, two people's approvals, and what else came with it.

Each part has a function of its own, called from `upgrade`.
"""

from __future__ import annotations

import re

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
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
    text,
)

revision = "0012"
down_revision = "0011"

_tables = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")

# As they are by now: only what the new tables refer to.
_staff = Table("staff", _tables, Column("name", String(80), primary_key=True))
_terminals = Table(
    "terminals", _tables, Column("id", _Number, primary_key=True, autoincrement=False)
)
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

# ----- staff, acts and approvals

_staff_passwords = Table(
    "staff_passwords",
    _tables,
    Column("name", String(80), ForeignKey("staff.name"), primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("set_at", _Number, nullable=False),
)
_staff_failures = Table(
    "staff_failures",
    _tables,
    Column("station", _Number, nullable=False),
    Column("folded", String(160), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("locked_until", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("station", "folded"),
)
_staff_sessions = Table(
    "staff_sessions",
    _tables,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("name", String(80), ForeignKey("staff.name"), nullable=False),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("started_at", _Number, nullable=False),
    Column("seen_at", _Number, nullable=False),
    Column("expires_at", _Number, nullable=False),
)
Index("sessions_of_staff", _staff_sessions.c.name)
_staff_acts = Table(
    "staff_acts",
    _tables,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("at", _Number, nullable=False),
    Column("station", _Number),
    Column("person", String(80), nullable=False),
    Column("act", String(30), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("detail", String(400), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("id > 0", name="acts_from_1"),
)
Index("acts_by_time", _staff_acts.c.at)
_approvals = Table(
    "approvals",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("kind", String(12), nullable=False),
    Column("facts", String(2000), nullable=False),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("proposed_at", _Number, nullable=False),
    UniqueConstraint("number", "proposed_by", name="approval_of_its_proposer"),
    CheckConstraint("kind IN ('credit', 'restitution', 'limits', 'retirement')", name="kind_known"),
)
_approval_decisions = Table(
    "approval_decisions",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("proposed_by", String(80), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("decided_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("outcome", String(400), nullable=False),
    Column("at", _Number, nullable=False),
    ForeignKeyConstraint(["number", "proposed_by"], ["approvals.number", "approvals.proposed_by"]),
    CheckConstraint("decided_by <> proposed_by", name="approval_by_two_people"),
)
_limit_changes = Table(
    "limit_changes",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("member_class", String(40), nullable=False),
    Column("value", _Number, nullable=False),
    Column("approval", _Number, ForeignKey("approvals.number"), nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("value >= 0", name="limit_not_negative"),
)
_OF_STAFF = (
    _staff_passwords,
    _staff_failures,
    _staff_sessions,
    _staff_acts,
    _approvals,
    _approval_decisions,
    _limit_changes,
)
_KEPT_AS_THEY_ARE = {
    "staff_acts": "id",
    "approvals": "number",
    "approval_decisions": "number",
    "limit_changes": "number",
}
"""Append only, by their key."""

_KINDS = (
    # Sales first: they are most.
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
    ("emptied", "4", "9"),
    ("returned", "3", "9"),
    ("cashed", "9", "1"),
    ("restitution", "6", "3"),
)
"""What each kind of posting debits and credits; new ones at the end, as in posting_rules.py."""


# ----- generations of card keys

_key_generations = Table(
    "key_generations",
    _tables,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("begun_at", _Number, nullable=False),
    Column("begun_by", String(200), nullable=False),
    Column("older_until", _Number, nullable=False),
    Column("minutes_hash", LargeBinary),
    Column("cards_from", _Number),
    CheckConstraint("generation BETWEEN 2 AND 255", name="generation_on_a_card"),
    CheckConstraint("older_until >= begun_at", name="older_until_afterwards"),
    CheckConstraint("minutes_hash IS NULL OR length(minutes_hash) = 32", name="minutes_hashed"),
)
_till_keys = Table(
    "till_keys",
    _tables,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("generation BETWEEN 0 AND 255", name="generation_on_a_card"),
)

# ----- PINs of cards

_card_pins = Table(
    "card_pins",
    _tables,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("sealed", LargeBinary),
    Column("pending", LargeBinary),
    Column("clear_since", _Number, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("locked_at", _Number),
    CheckConstraint("key_version BETWEEN 0 AND 255", name="generation_on_a_card"),
    CheckConstraint("tries >= 0", name="tries_from_0"),
)
_pin_events = Table(
    "pin_events",
    _tables,
    Column("id", _Number, primary_key=True),
    Column("card_uid", LargeBinary, nullable=False),
    Column("event", String(10), nullable=False),
    Column("terminal_id", _Number, ForeignKey("terminals.id")),
    Column("record_number", _Number),
    Column("at", _Number, nullable=False),
    Column("noted_at", _Number, nullable=False),
    CheckConstraint(
        "event IN ('wrong', 'not-known', 'tried', 'proved', 'set', 'changed', 'reset', 'locked')",
        name="event_known",
    ),
)
Index("pin_events_of_card", _pin_events.c.card_uid, _pin_events.c.at)

# ----- credits: held ones, and cash

_pending_credits = Table(
    "pending_credits",
    _tables,
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "sequence"),
)
_held_credits = Table(
    "held_credits",
    _tables,
    Column("idempotency_key", String(80), primary_key=True),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("source", String(12), nullable=False),
    Column("received_rupiah", _Number),
    Column("ordered_by", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("approval", _Number, ForeignKey("approvals.number"), nullable=False, unique=True),
    Column("ordered_at", _Number, nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    CheckConstraint("received_rupiah >= amount_rupiah", name="received_enough"),
    CheckConstraint("source IN ('cash', 'salary')", name="source_of_an_order"),
)
Index("held_credits_of_card", _held_credits.c.card_uid)
_cash_received = Table(
    "cash_received",
    _tables,
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("received_rupiah", _Number, nullable=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "sequence"),
    ForeignKeyConstraint(
        ["card_uid", "sequence"], ["pending_credits.card_uid", "pending_credits.sequence"]
    ),
    CheckConstraint("received_rupiah > 0", name="received_something"),
)
Index("cash_received_at", _cash_received.c.station, _cash_received.c.at)
_cash_counts = Table(
    "cash_counts",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("counted_rupiah", _Number, nullable=False),
    Column("expected_rupiah", _Number, nullable=False),
    Column("note", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("number > 0", name="counts_from_1"),
    CheckConstraint("counted_rupiah >= 0", name="counted_not_negative"),
)
Index("cash_counts_of_station", _cash_counts.c.station, _cash_counts.c.at)

# ----- tills without masters

_online_tills = Table(
    "online_tills",
    _tables,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), primary_key=True),
    Column("since", _Number, nullable=False),
)
_card_key_counts = Table(
    "card_key_counts",
    _tables,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("minute", _Number, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("terminal_id", "minute"),
    CheckConstraint("count >= 0", name="counted_from_0"),
)


def upgrade() -> None:
    connection = op.get_bind()
    _tables.create_all(connection, tables=[_online_tills, _card_key_counts])
    _pins_of_cards(connection)
    _issuing()
    _generations_of_keys()
    _staff_and_approvals(connection)
    _kinds_of_postings(connection)
    _credits(connection)
    _card_life(connection)


def _credits(connection: Connection) -> None:
    op.add_column("cards", Column("value_limit_rupiah", _Number))
    _tables.create_all(connection, tables=[_held_credits, _cash_received, _cash_counts])
    keep_as_they_are(connection, "held_credits", "idempotency_key", unique=("approval",))
    keep_as_they_are(connection, "cash_received", "card_uid", "sequence")
    keep_as_they_are(connection, "cash_counts", "number")


def _pins_of_cards(connection: Connection) -> None:
    _tables.create_all(connection, tables=[_card_pins, _pin_events])
    _stays("card_pins")
    keep_as_they_are(connection, "pin_events", "id")
    change_check(connection, "till_records", "kind_known", "kind IN ('shift', 'order', 'pin')")


def _generations_of_keys() -> None:
    _tables.create_all(op.get_bind(), tables=[_key_generations, _till_keys])
    _stays("key_generations")


def _issuing() -> None:
    _tables.create_all(op.get_bind(), tables=[_issuing_batches, _issuing_lines])
    _append_only("issuing_batches")
    _stays("issuing_lines")


def _staff_and_approvals(connection: Connection) -> None:
    _tables.create_all(connection, tables=list(_OF_STAFF))
    for table, key in _KEPT_AS_THEY_ARE.items():
        keep_as_they_are(connection, table, key)
    change_check(
        connection,
        "staff_roles",
        "role_known",
        "role IN ('proposer', 'approver', 'clerk', 'issuer', 'custodian', 'auditor')",
    )


def _kinds_of_postings(connection: Connection) -> None:
    group = "{}_account / 1000000000000 IN ({})"
    cases = [
        f"WHEN '{kind}' THEN {group.format('debit', debit)} AND {group.format('credit', credit)}"
        for kind, debit, credit in _KINDS
    ]
    condition = f"CASE kind {' '.join(cases)} ELSE FALSE END"
    change_check(connection, "postings", "accounts_of_the_kind", condition)
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE pending_credits ALTER COLUMN source TYPE VARCHAR(12)")
    change_check(
        connection,
        "pending_credits",
        "source_known",
        "source IN ('cash', 'salary', 'refund', 'restored', 'restitution')",
        columns={"source VARCHAR(10)": "source VARCHAR(12)"},
    )


# ----- cards that end, and what phones read off cards

_card_taps = Table(
    "card_taps",
    _tables,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("read_counter", _Number, nullable=False),
    Column("at", _Number, nullable=False),
)
_retirements = Table(
    "retirements",
    _tables,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("purpose", String(10), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("person", String(80), nullable=False),
    Column("block_version", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("amount_rupiah", _Number),
    Column("counter", _Number),
    Column("mac", LargeBinary),
    Column("emptied_at", _Number),
    Column("wiped_at", _Number),
    CheckConstraint("purpose IN ('renewed', 'given-back')", name="purpose_known"),
    CheckConstraint("state IN ('open', 'in_doubt', 'emptied', 'lost')", name="state_known"),
    CheckConstraint(
        "(state = 'emptied') = (emptied_at IS NOT NULL AND amount_rupiah IS NOT NULL)",
        name="emptied_of_something",
    ),
    CheckConstraint("amount_rupiah >= 0", name="amount_not_negative"),
    CheckConstraint("wiped_at IS NULL OR state = 'emptied'", name="wiped_when_empty"),
)
_retirement_attempts = Table(
    "retirement_attempts",
    _tables,
    Column("id", _Number, primary_key=True),
    Column("card_uid", LargeBinary, ForeignKey("retirements.card_uid"), nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False),
    Column("counter", _Number),
    Column("searched_to", _Number, nullable=False),
)
Index("attempts_to_empty", _retirement_attempts.c.card_uid)
_cash_payouts = Table(
    "cash_payouts",
    _tables,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("approval", _Number, ForeignKey("approvals.number"), unique=True),
    Column("at", _Number, nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)


def _card_life(connection: Connection) -> None:
    """After the kinds of postings and the approvals."""
    tables = [_card_taps, _retirements, _retirement_attempts, _cash_payouts]
    _tables.create_all(connection, tables=tables)
    keep_as_they_are(connection, "cash_payouts", "number", unique=("approval", "idempotency_key"))
    _stays("retirements")
    _stays("retirement_attempts")
    change_check(
        connection,
        "cards",
        "state_known",
        "state IN ('issuing', 'active', 'blocked', 'replaced', 'retired')",
    )
    change_check(
        connection,
        "pending_credits",
        "state_known",
        "state IN ('pending', 'in_doubt', 'delivered', 'assumed', 'moved', 'returned')",
    )


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


def keep_as_they_are(
    connection: Connection, table: str, *key: str, unique: tuple[str, ...] = ()
) -> None:
    """Rows of `table` neither change nor go, nor are they put in another's place."""
    _append_only(table)
    if connection.dialect.name == "postgresql":
        return
    body = f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
    keys = [tuple(sorted(key)), *((column,) for column in sorted(unique))]
    same = [" AND ".join(f"{column} = NEW.{column}" for column in one) for one in keys]
    there = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {one})" for one in same)  # noqa: S608 - names of this file
    op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} {body}")


def change_check(
    connection: Connection,
    table: str,
    name: str,
    condition: str,
    *,
    columns: dict[str, str] | None = None,
) -> None:
    """Another condition for the check `name`; on SQLite `columns` are changed by their text, too.

    SQLite has the table made anew, with its own words: rows, indexes and triggers come along.
    """
    if connection.dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition})")
        return
    of_table = {"name": table}
    written = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"), of_table
    ).scalar_one()
    beside = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE tbl_name = :name AND type <> 'table'"), of_table
    ).scalars()
    parts = [part for part in beside if part]
    start, end = _place_of_check(written, name)
    new = f"{written[:start]}CONSTRAINT {name} CHECK ({condition}){written[end:]}"
    for before, after in (columns or {}).items():
        assert before in new, before
        new = new.replace(before, after)
    new, count = re.subn(rf'^CREATE TABLE "?{table}"?', f"CREATE TABLE new_{table}", new)
    assert count == 1, written
    connection.exec_driver_sql(new)
    connection.exec_driver_sql(f"INSERT INTO new_{table} SELECT * FROM {table}")  # noqa: S608 - ours
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(f"ALTER TABLE new_{table} RENAME TO {table}")
    for part in parts:
        connection.exec_driver_sql(part)


def _place_of_check(written: str, name: str) -> tuple[int, int]:
    """Where the check stands in the table's words: from its name to its last bracket."""
    start = written.index(f"CONSTRAINT {name} CHECK")
    position, depth = written.index("(", start), 0
    while True:
        depth += {"(": 1, ")": -1}.get(written[position], 0)
        position += 1
        if not depth:
            return start, position
