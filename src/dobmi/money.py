"""Money is integer rupiah, in a type of its own. No float gets in or out."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GROUPED = re.compile(r"\d{1,3}(?:\.\d{3})+|\d+", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Rupiah:
    """An amount of whole rupiah; negative only as a difference."""

    amount: int

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            msg = f"rupiah are whole numbers of type int, not {type(self.amount).__name__}"
            raise TypeError(msg)

    @classmethod
    def parse(cls, text: str) -> Rupiah:
        """`12500`, `12.500` or `Rp 12.500`; raises ValueError for anything else (also `12,5`)."""
        bare = text.strip()
        if bare[:2].casefold() == "rp":
            bare = bare[2:].lstrip(" .\N{NO-BREAK SPACE}")
        sign = -1 if bare.startswith("-") else 1
        bare = bare.removeprefix("-")
        if not _GROUPED.fullmatch(bare):
            msg = f"not an amount in whole rupiah: {text!r}"
            raise ValueError(msg)
        return cls(sign * int(bare.replace(".", "")))

    def __add__(self, other: Rupiah) -> Rupiah:
        return Rupiah(self.amount + other.amount)

    def __sub__(self, other: Rupiah) -> Rupiah:
        return Rupiah(self.amount - other.amount)

    def __neg__(self) -> Rupiah:
        return Rupiah(-self.amount)

    def __mul__(self, count: int) -> Rupiah:
        return Rupiah(self.amount * count)

    def __bool__(self) -> bool:
        return self.amount != 0

    def __str__(self) -> str:
        """`Rp 12.500`, `-Rp 500`: as receipts and screens in Indonesia print it."""
        sign = "-" if self.amount < 0 else ""
        return f"{sign}Rp {abs(self.amount):,}".replace(",", ".")


ZERO = Rupiah(0)
