"""The limits that tills and stations hold to: by the settings, or as two people have set them since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, select

from dobmi.central.carrying import Accepted, Carrier, Facts
from dobmi.central.database import insert_rows, next_number
from dobmi.central.errors import BadProposal
from dobmi.central.schema import StaffRole, limit_changes
from dobmi.central.server import Central
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings

CLASS_LENGTH_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class LimitKind:
    """What a limit may be set to. `by_class`: also for the members of a class alone.

    `words` are what people call it, a marked text.
    """

    words: str
    minimum: int
    maximum: int
    is_money: bool = True
    by_class: bool = False


LIMITS: Final[Mapping[str, LimitKind]] = MappingProxyType(
    {
        "sale_max_rupiah": LimitKind(N_("largest sale"), 1, 20_000_000),
        "unsent_vouchers_max": LimitKind(N_("vouchers not sent yet"), 1, 1_000_000, is_money=False),
        "unsent_total_max_rupiah": LimitKind(N_("money not sent yet"), 1, 10_000_000_000),
        "sync_age_hours_max": LimitKind(N_("hours without sync"), 1, 24 * 365, is_money=False),
        "balance_max_rupiah": LimitKind(N_("largest balance"), 1, 20_000_000, by_class=True),
        "credit_max_rupiah": LimitKind(N_("largest credit"), 1, 20_000_000, by_class=True),
        "credit_day_max_rupiah": LimitKind(N_("credits of a day"), 0, 20_000_000, by_class=True),
        "approve_credit_above_rupiah": LimitKind(
            N_("credit decided by two people above"), 0, 20_000_000
        ),
        "approve_payout_above_rupiah": LimitKind(
            N_("payout without a second person"), 0, 20_000_000
        ),
        "pin_above_rupiah": LimitKind(N_("PIN for more than"), 0, 20_000_000),
    }
)
"""By their names, which are those of the settings."""


def limit_in_force(
    connection: Connection, settings: CentralSettings, name: str, member_class: str = ""
) -> int:
    """As it was set last for the class, else for all, else by the settings; 0 where they have none."""
    of = limit_changes.c
    for one in dict.fromkeys((member_class, "")):
        value = connection.execute(
            select(of.value)
            .where(of.name == name, of.member_class == one)
            .order_by(of.number.desc())
            .limit(1)
        ).scalar_one_or_none()
        if value is not None:
            return int(value)
    return int(getattr(settings, name, 0))


def _read(facts: Facts) -> tuple[str, str, int]:
    """Name, class and value. Raises BadProposal."""
    name, value, member_class = facts.get("name"), facts.get("value"), facts.get("member_class", "")
    kind = LIMITS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadProposal(detail=N_("there is no limit of that name"))
    if type(value) is not int or not kind.minimum <= value <= kind.maximum:
        raise BadProposal(detail=N_("the limit is out of its range"))
    if not isinstance(member_class, str) or len(member_class) > CLASS_LENGTH_MAX:
        raise BadProposal(detail=N_("that is no class of members"))
    if member_class and not kind.by_class:
        raise BadProposal(detail=N_("this limit is one for all members"))
    return str(name), member_class, value


def _check(_connection: Connection, facts: Facts) -> None:
    if set(facts) - {"name", "value", "member_class"}:
        raise BadProposal(detail=N_("it says more than a limit has"))
    _read(facts)


def _carry_out(_central: Central, connection: Connection, facts: Facts, of: Accepted) -> str:
    name, member_class, value = _read(facts)
    row = {
        "number": next_number(connection, "limit-change"),
        "name": name,
        "member_class": member_class,
        "value": value,
        "approval": of.number,
        "at": of.now,
    }
    insert_rows(connection, limit_changes, [row])
    shown = str(Rupiah(value)) if LIMITS[name].is_money else str(value)
    return f"{name} {member_class} {shown}".replace("  ", " ")


CARRIER: Final = Carrier(
    proposers=(StaffRole.PROPOSER, StaffRole.APPROVER), check=_check, carry_out=_carry_out
)
