"""A finding: the rule that does not hold, the row, and the amount at stake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dobmi.audit.rules import BY_ID, Severity
from dobmi.central.posting_rules import GROUP_NUMBERS, OWNERS, Group, account_name


@dataclass(frozen=True, slots=True)
class Finding:
    """`row` is `table key`, as `voucher 7/12` or `card 04A1B2C3D4E5F6`; `amount_rupiah` may be None.

    `message` is a message id with `{fact}` places.
    """

    rule: str
    row: str
    message: str
    amount_rupiah: int | None = None
    facts: tuple[tuple[str, str | int], ...] = field(default=())

    def __post_init__(self) -> None:
        assert self.rule in BY_ID, "a finding is of a rule of the table"

    @property
    def severity(self) -> Severity:
        return BY_ID[self.rule].severity

    def explain(self, translate: Callable[[str], str] = str) -> str:
        return translate(self.message).format(**dict(self.facts))

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "row": self.row,
            "amount_rupiah": self.amount_rupiah,
            "message": self.explain(),
            "facts": dict(self.facts),
        }


def finding(
    rule: str, row: str, message: str, amount: int | None = None, /, **facts: str | int
) -> Finding:
    return Finding(rule, row, message, amount, tuple(facts.items()))


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """Each once, by the order of the rule table and by row; a card is missed once for all."""
    order = {rule: number for number, rule in enumerate(BY_ID)}
    once = {(one.rule, one.row, "" if one.rule == "CARD-MISSING" else one): one for one in found}
    return sorted(once.values(), key=lambda one: (order[one.rule], one.row, one.message))


def voucher_name(terminal_id: int, sequence: int) -> str:
    return f"voucher {terminal_id}/{sequence}"


def card_name(uid: bytes) -> str:
    return f"card {uid.hex().upper()}"


def account_of(group: Group, owner: int = 0) -> int:
    """Its number by the rule table, also of an owner that no program of ours gives out."""
    return GROUP_NUMBERS[group] * OWNERS + owner


def account_words(account: int) -> str:
    """`card 5` (its serial number), `outlet 2`, `suspense`; the number of one that is none of ours."""
    try:
        return account_name(account, {})
    except KeyError:
        return f"account {account}"
