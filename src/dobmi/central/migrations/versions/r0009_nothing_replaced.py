"""What never changes or goes is not replaced either; more tables whose rows stay.

SQLite's INSERT OR REPLACE takes a row's place and fires no trigger of DELETE. Cards' transactions
and claims of settlement runs could be changed, and rows that change could be deleted.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

_KEYS = {
    "vouchers": (("received_at", "sequence", "terminal_id"),),
    "quarantine": (("sequence", "terminal_id"),),
    "batches": (("batch_hash", "terminal_id"),),
    "postings": (("id",),),
    "anomalies": (("id",), ("kind", "subject")),
    "anomaly_steps": (("anomaly_id", "number"),),
    "hotlist_changes": (("version",),),
    "doubt_decisions": (("sequence", "terminal_id"),),
    "doubt_settlements": (("id",),),
    "credit_settlements": (("card_uid", "sequence"),),
    "restorations": (("version_after",),),
    "seller_accounts": (("number", "seller_id"),),
    "seller_account_decisions": (("number", "seller_id"),),
    "fee_rules": (("from_day", "seller_id"),),
    "settlement_runs": (("number",),),
    "settlement_steps": (("run", "state"), ("previous", "run")),
    "settlement_items": (("run", "seller_id"), ("number",)),
    "settlement_left_out": (("run", "seller_id"),),
    "settlement_claims": (("from_at", "seller_id"), ("seller_id", "to_at")),
    "sealed_days": (("day",),),
    "daily_heads": (("day",), ("hash",), ("previous_hash",)),
    "till_heads": (("day", "terminal_id"),),
    "kind_days": (("credit_group", "day", "debit_group", "kind"),),
    "account_days": (("account", "day"),),
    "salaries": (("member_number", "period"), ("member_number", "number")),
    "cash_banked": (("number",),),
    "card_transactions": (("card_uid", "counter"), ("card_uid", "sequence", "terminal_id")),
}
_FIXED = {
    "card_transactions": (
        "card_uid, counter, kind, terminal_id, sequence, previous_terminal_id, "
        "previous_sequence, amount_rupiah, balance_before_rupiah, balance_after_rupiah, at"
    ),
    "settlement_claims": "seller_id, from_at, after, to_at, run",
}
_STAY = (
    "members",
    "cards",
    "sellers",
    "terminals",
    "staff",
    "in_doubt",
    "pending_credits",
    "credit_attempts",
    "refunds",
    "replacements",
    "rejected_batches",
    "card_transactions",
)
_WITHDRAWN = "SELECT 1 FROM settlement_steps WHERE run = OLD.run AND state = 'withdrawn'"
_CLAIM_STAYS = f"""
CREATE FUNCTION dobmi_claim_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NOT EXISTS ({_WITHDRAWN}) THEN
    RAISE EXCEPTION 'append only: settlement_claims';
END IF;
RETURN OLD;
END $$"""
_WHOLE = ("at", "debit_account", "credit_account", "amount_rupiah")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _on_sqlite()
    else:
        _on_postgresql()


def _on_sqlite() -> None:
    def refuse(table: str, trigger: str) -> None:
        body = f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"
        op.execute(f"CREATE TRIGGER {table}_{trigger} {body}")

    for table, keys in _KEYS.items():
        same = [" AND ".join(f"{column} = NEW.{column}" for column in key) for key in keys]
        there = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {one})" for one in same)  # noqa: S608 - the names above
        refuse(table, f"no_replace BEFORE INSERT ON {table} WHEN {there}")
    for table, columns in _FIXED.items():
        refuse(table, f"no_update BEFORE UPDATE OF {columns} ON {table}")
    for table in _STAY:
        refuse(table, f"no_delete BEFORE DELETE ON {table}")
    claims = "settlement_claims"
    refuse(claims, f"no_delete BEFORE DELETE ON {claims} WHEN NOT EXISTS ({_WITHDRAWN})")
    whole = " OR ".join(f"typeof(NEW.{column}) <> 'integer'" for column in _WHOLE)
    op.execute(
        f"CREATE TRIGGER postings_whole BEFORE INSERT ON postings WHEN {whole} "
        "BEGIN SELECT RAISE(ABORT, 'not a whole number: postings'); END"
    )


def _on_postgresql() -> None:
    def refuse(table: str, trigger: str) -> None:
        each = "FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
        op.execute(f"CREATE TRIGGER {table}_{trigger} ON {table} {each}")

    for table, columns in _FIXED.items():
        refuse(table, f"no_update BEFORE UPDATE OF {columns}")
    for table in _STAY:
        refuse(table, "no_delete BEFORE DELETE OR TRUNCATE")
    refuse("settlement_claims", "no_truncate BEFORE TRUNCATE")
    op.execute(_CLAIM_STAYS)
    op.execute(
        "CREATE TRIGGER settlement_claims_no_delete BEFORE DELETE ON settlement_claims "
        "FOR EACH ROW EXECUTE FUNCTION dobmi_claim_stays()"
    )
