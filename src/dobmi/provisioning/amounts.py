"""Amounts as people type them at a station."""

from __future__ import annotations

from dobmi.money import Rupiah
from dobmi.provisioning.errors import NotAnAmount


def parse_amount(text: str) -> Rupiah:
    """`12500`, `12.500` or `Rp 12.500`, above nought. Raises NotAnAmount."""
    try:
        amount = Rupiah.parse(text)
    except ValueError as error:
        raise NotAnAmount(text=text[:40]) from error
    if amount.amount <= 0:
        raise NotAnAmount(text=text[:40])
    return amount
