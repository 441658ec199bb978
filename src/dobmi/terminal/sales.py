"""The till's sales as a list: of the open shift, for voiding and refunding, and older ones by number."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dobmi.money import Rupiah
from dobmi.terminal import schema
from dobmi.terminal.errors import NoSuchSale
from dobmi.terminal.ledger import IntentRow, Ledger, SaleState

LISTED_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSale:
    """`refunded` is what of it has been given back."""

    intent: IntentRow
    state: SaleState
    refunded: Rupiah

    @property
    def left(self) -> Rupiah:
        """What can be given back still."""
        return self.intent.amount - self.refunded


def sales_of_shift(
    ledger: Ledger, shift: int, count_max: int = LISTED_MAX
) -> tuple[ListedSale, ...]:
    """Newest first; those too that were not paid, or are in doubt."""
    table = schema.intents
    query = (
        sa.select(table.c.sequence)
        .where(table.c.shift == shift)
        .order_by(table.c.sequence.desc())
        .limit(count_max)
    )
    with ledger.connect() as connection:
        sequences = [row.sequence for row in connection.execute(query)]
    return tuple(find_sale(ledger, sequence) for sequence in sequences)


def find_sale(ledger: Ledger, sequence: int) -> ListedSale:
    """Raises NoSuchSale."""
    intent = ledger.intent(sequence)
    if intent is None:
        raise NoSuchSale(sequence=sequence)
    return ListedSale(
        intent=intent, state=ledger.sale_state(sequence), refunded=ledger.refunded(sequence)
    )
