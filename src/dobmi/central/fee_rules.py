"""The rules of sellers' fees: one person proposes, another accepts; every one that ever was is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, select

from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import FeeAwaitsNobody, FeeRuleTooLate, SecondPersonNeeded
from dobmi.central.fees import FeeRule
from dobmi.central.schema import StaffRole, fee_decisions, fee_proposals, fee_rules, sellers
from dobmi.central.seller_accounts import seller_number
from dobmi.central.settled import last_settled_day, one_after_the_other
from dobmi.central.staff import require_role
from dobmi.money import Rupiah
from dobmi.wib import day_number

_FOR_ALL: Final = 0


@dataclass(frozen=True, slots=True)
class FeeProposal:
    """A rule that was proposed, with what became of it. `seller` None: for all that have none of
    their own. `accepted` None: nobody decided yet.
    """

    seller: str | None
    number: int
    rule: FeeRule
    proposed_by: str
    accepted: bool | None
    decided_by: str


def propose_fee_rule(
    database: Database, seller: str | None, rule: FeeRule, by: str, now: int
) -> FeeProposal:
    """For a seller, or (None) for all that have none of their own, from a day that no run holds.

    To be accepted by somebody else; only the newest of a seller's can be. Raises NotOfStaff,
    UnknownSeller, FeeRuleTooLate.
    """

    def propose(connection: Connection) -> FeeProposal:
        name = require_role(connection, by, StaffRole.PROPOSER, StaffRole.APPROVER)
        one_after_the_other(connection)
        seller_id = _seller_id(connection, seller)
        _require_open(connection, seller_id, rule.from_day)
        newest = connection.execute(
            select(func.max(fee_proposals.c.number)).where(fee_proposals.c.seller_id == seller_id)
        ).scalar()
        row = {
            "seller_id": seller_id,
            "number": (newest or 0) + 1,
            **_columns(rule),
            "proposed_by": name,
            "proposed_at": now,
        }
        insert_rows(connection, fee_proposals, [row])
        return _history(connection, seller_id)[-1]

    return database.write_again(propose)


def decide_fee_rule(
    database: Database, seller: str | None, number: int, by: str, now: int, *, accepted: bool
) -> FeeProposal:
    """Accept or refuse proposal `number` of the seller (None: for all). Accepted it is in force.

    Raises NotOfStaff, UnknownSeller, FeeAwaitsNobody, SecondPersonNeeded; FeeRuleTooLate: a run
    holds its first day by now.
    """

    def decide(connection: Connection) -> FeeProposal:
        name = require_role(connection, by, StaffRole.APPROVER)
        one_after_the_other(connection)
        seller_id = _seller_id(connection, seller)
        history = _history(connection, seller_id)
        if not history or history[-1].number != number or history[-1].accepted is not None:
            raise FeeAwaitsNobody(number=number)
        proposal = history[-1]
        if proposal.proposed_by == name:
            raise SecondPersonNeeded(name=name)
        if accepted:
            _require_open(connection, seller_id, proposal.rule.from_day)
        decision = {
            "seller_id": seller_id,
            "number": number,
            "proposed_by": proposal.proposed_by,
            "accepted": accepted,
            "decided_by": name,
            "at": now,
        }
        insert_rows(connection, fee_decisions, [decision])
        if accepted:
            row = {"seller_id": seller_id, **_columns(proposal.rule), "set_by": name, "set_at": now}
            insert_rows(connection, fee_rules, [row])
        return _history(connection, seller_id)[-1]

    return database.write_again(decide)


def fee_rule_list(database: Database) -> list[tuple[str | None, FeeRule]]:
    """Every rule there ever was in force, with its seller's name (None: all others)."""
    with database.read() as connection:
        names: Mapping[int, str] = {
            row.id: row.name for row in connection.execute(select(sellers.c.id, sellers.c.name))
        }
        return [
            (names.get(seller_id), rule)
            for seller_id, rules in sorted(rules_in_force(connection).items())
            for rule in rules
        ]


def waiting_fee_rules(database: Database) -> list[FeeProposal]:
    """What somebody has to decide on: each seller's newest, if nobody did."""
    with database.read() as connection:
        of = connection.execute(
            select(fee_proposals.c.seller_id).distinct().order_by(fee_proposals.c.seller_id)
        ).scalars()
        newest = [_history(connection, seller_id)[-1] for seller_id in of.all()]
    return [one for one in newest if one.accepted is None]


def rules_in_force(connection: Connection) -> dict[int, list[FeeRule]]:
    """By seller (0: for all), each from its day on."""
    found: dict[int, list[FeeRule]] = defaultdict(list)
    for row in connection.execute(
        select(fee_rules).order_by(fee_rules.c.seller_id, fee_rules.c.from_day)
    ):
        found[row.seller_id].append(_rule(row))
    return found


def _seller_id(connection: Connection, seller: str | None) -> int:
    return _FOR_ALL if seller is None else seller_number(connection, seller)


def _require_open(connection: Connection, seller_id: int, from_day: int) -> None:
    """Raises FeeRuleTooLate."""
    newest = connection.execute(
        select(func.max(fee_rules.c.from_day)).where(fee_rules.c.seller_id == seller_id)
    ).scalar()
    settled = last_settled_day(connection)
    first = max((day + 1 for day in (settled, newest) if day is not None), default=0)
    if from_day < first:
        raise FeeRuleTooLate(first=f"{day_number(first):%d-%m-%Y}")


def _columns(rule: FeeRule) -> dict[str, int | None]:
    return {
        "from_day": rule.from_day,
        "basis_points": rule.basis_points,
        "per_sale_rupiah": rule.per_sale.amount,
        "per_run_rupiah": rule.per_run.amount,
        "minimum_rupiah": rule.minimum.amount,
        "maximum_rupiah": None if rule.maximum is None else rule.maximum.amount,
    }


def _rule(row: Row[Any]) -> FeeRule:
    return FeeRule(
        from_day=row.from_day,
        basis_points=row.basis_points,
        per_sale=Rupiah(row.per_sale_rupiah),
        per_run=Rupiah(row.per_run_rupiah),
        minimum=Rupiah(row.minimum_rupiah),
        maximum=None if row.maximum_rupiah is None else Rupiah(row.maximum_rupiah),
    )


def _history(connection: Connection, seller_id: int) -> list[FeeProposal]:
    made, decided = fee_proposals.c, fee_decisions.c
    rows = connection.execute(
        select(fee_proposals, sellers.c.name.label("seller"), decided.accepted, decided.decided_by)
        .select_from(fee_proposals)
        .outerjoin(sellers, sellers.c.id == made.seller_id)
        .outerjoin(
            fee_decisions, and_(decided.seller_id == made.seller_id, decided.number == made.number)
        )
        .where(made.seller_id == seller_id)
        .order_by(made.number)
    )
    return [
        FeeProposal(
            row.seller,
            row.number,
            _rule(row),
            row.proposed_by,
            row.accepted,
            row.decided_by or "",
        )
        for row in rows
    ]
