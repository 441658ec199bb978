"""The till's sales as a list: of the open shift, for voiding and refunding, and older ones by number."""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.money import Rupiah
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
    return tuple(
        ListedSale(intent=intent, state=state, refunded=refunded)
        for intent, state, refunded in ledger.sales_of_shift(shift, count_max)
    )


def find_sale(ledger: Ledger, sequence: int) -> ListedSale:
    """Raises NoSuchSale."""
    intent = ledger.intent(sequence)
    if intent is None:
        raise NoSuchSale(sequence=sequence)
    return ListedSale(
        intent=intent, state=ledger.sale_state(sequence), refunded=ledger.refunded(sequence)
    )
