"""What a distributed engine such as Citus asks of the tables and of every statement."""

from __future__ import annotations

from sqlalchemy import UniqueConstraint, func, select

from dobmi.central.schema import (
    card_transactions,
    in_doubt,
    metadata,
    posting_keys,
    quarantine,
    vouchers,
)
from support.distribution import loose_joins


def test_every_table_says_how_a_distributed_engine_has_it() -> None:
    for table in metadata.tables.values():
        key = table.info.get("distribution_key")
        assert (key is None) == bool(table.info.get("reference")), table.name
        if key is None:
            continue
        keys = [set(table.primary_key.columns.keys())]
        keys += [
            set(constraint.columns.keys())
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ]
        keys += [set(index.columns.keys()) for index in table.indexes if index.unique]
        assert all(key in columns for columns in keys), table.name


def test_joins_by_the_key_are_told_from_joins_by_something_else() -> None:
    """conftest.py has every statement of these tests looked at so."""
    later = card_transactions.alias("later")
    by_key = select(later).join(
        card_transactions,
        (card_transactions.c.card_uid == later.c.card_uid)
        & (card_transactions.c.counter == later.c.counter - 1),
    )
    by_number = select(later).join(
        card_transactions, card_transactions.c.counter == later.c.counter - 1
    )
    of_tills = select(quarantine).join(vouchers, vouchers.c.terminal_id == quarantine.c.terminal_id)
    of_one_till = select(quarantine, vouchers).where(
        quarantine.c.terminal_id == 7, vouchers.c.terminal_id == 7
    )
    through_a_table_that_all_have = (
        select(in_doubt)
        .join(vouchers, vouchers.c.terminal_id == in_doubt.c.terminal_id)
        .join(posting_keys, posting_keys.c.card_uid == in_doubt.c.card_uid)
    )
    newest = (
        select(card_transactions.c.card_uid, func.max(card_transactions.c.counter).label("counter"))
        .group_by(card_transactions.c.card_uid)
        .subquery()
    )
    with_newest = select(later).join(newest, newest.c.card_uid == later.c.card_uid)
    without_card = select(later).join(newest, newest.c.counter == later.c.counter)
    for good in (by_key, of_tills, of_one_till, with_newest):
        assert loose_joins(good) == []
    for bad in (by_number, through_a_table_that_all_have, without_card):
        assert len(loose_joins(bad)) == 1
        assert len(loose_joins(select(bad.subquery()))) == 1
