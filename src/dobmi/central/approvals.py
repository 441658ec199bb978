"""Two people for what makes money: one proposes, another accepts, and in that transaction it is done.

That it is another the database checks; that it is done once, the key of the decision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, select

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.carriers import CARRIERS
from dobmi.central.carrying import Accepted, Carrier, Facts
from dobmi.central.database import Database, add_to_counter, insert_rows, next_number
from dobmi.central.errors import (
    ApprovalDecided,
    BadProposal,
    ProposerDecides,
    RoleLacking,
    StaffNeeded,
    UnknownApproval,
)
from dobmi.central.schema import ApprovalKind, StaffRole, approval_decisions, approvals
from dobmi.central.server import Central
from dobmi.central.staff import find_person
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import is_plain

_COUNTER: Final = "approval"
_FACTS_LENGTH_MAX: Final = 2000
_NUMBERS_END: Final = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A proposal, with what became of it. `accepted` None: nobody decided yet."""

    number: int
    kind: ApprovalKind
    facts: Facts
    proposed_by: str
    station: int | None
    proposed_at: int
    accepted: bool | None
    decided_by: str
    decided_at: int | None
    outcome: str

    @property
    def facts_text(self) -> str:
        """`name value, …`, for lists."""
        return ", ".join(f"{name} {value}" for name, value in self.facts.items())

    @property
    def amount(self) -> Rupiah:
        """What money it is about, nought where it is not about an amount."""
        amount = self.facts.get("amount_rupiah", 0)
        return Rupiah(amount) if type(amount) is int else ZERO


def propose(
    connection: Connection, kind: ApprovalKind, facts: Facts, actor: Actor, now: int
) -> int:
    """The number of the proposal; the same again, while it waits, has the same number.

    Raises StaffNeeded (nobody is named), RoleLacking, BadProposal, and what the kind's check does.
    """
    carrier = _carrier(kind)
    name = _require(connection, actor, *carrier.proposers)
    _require_storable(facts)
    carrier.check(connection, facts)
    encoded = json.dumps(dict(facts), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if len(encoded) > _FACTS_LENGTH_MAX:
        raise BadProposal(detail=N_("it is too long"))
    add_to_counter(connection, _COUNTER, 0)  # locked from here on: what waits is what it is
    same = connection.execute(
        _with_decisions().where(
            approvals.c.kind == kind.value,
            approvals.c.facts == encoded,
            approvals.c.proposed_by == name,
            approval_decisions.c.number.is_(None),
        )
    ).first()
    if same is not None:
        return int(same.number)
    number = next_number(connection, _COUNTER)
    row = {
        "number": number,
        "kind": kind.value,
        "facts": encoded,
        "proposed_by": name,
        "station": actor.station,
        "proposed_at": now,
    }
    insert_rows(connection, approvals, [row])
    _note(
        connection, Actor(name, actor.station), Act.PROPOSED, _approval_of(connection, number), now
    )
    return number


def propose_at(central: Central, kind: ApprovalKind, facts: Facts, actor: Actor) -> Approval:
    """`propose` in a transaction of its own."""

    def do(connection: Connection) -> Approval:
        return _approval_of(connection, propose(connection, kind, facts, actor, now))

    now = central.unix_seconds()
    return central.database.write_again(do)


def decide(central: Central, number: int, accept: bool, actor: Actor, now: int) -> Approval:
    """Accept and thereby do it, or refuse. By the same person the same way again: what became of it.

    Raises StaffNeeded, RoleLacking, UnknownApproval, ApprovalDecided, ProposerDecides, and what the
    kind raises when it cannot be done now; then it is still undecided.
    """

    def do(connection: Connection) -> Approval:
        name = _require(connection, actor, StaffRole.APPROVER)
        connection.execute(
            select(approvals.c.number).where(approvals.c.number == number).with_for_update()
        )
        known = _approval_of(connection, number)
        if known.accepted is not None:
            if (known.accepted, known.decided_by) == (accept, name):
                return known
            raise ApprovalDecided(number=number, by=known.decided_by)
        if known.proposed_by == name:
            raise ProposerDecides(name=name)
        outcome = ""
        if accept:
            of = Accepted(
                number=number,
                proposed_by=known.proposed_by,
                decided_by=name,
                station=actor.station,
                now=now,
            )
            outcome = _carrier(known.kind).carry_out(central, connection, known.facts, of)
        row = {
            "number": number,
            "proposed_by": known.proposed_by,
            "accepted": accept,
            "decided_by": name,
            "outcome": outcome[:400],
            "at": now,
        }
        insert_rows(connection, approval_decisions, [row])
        decided = _approval_of(connection, number)
        act = Act.ACCEPTED if accept else Act.REFUSED
        _note(connection, Actor(name, actor.station), act, decided, now)
        return decided

    return central.database.write_again(do)


def approval_of(database: Database, number: int) -> Approval:
    """Raises UnknownApproval."""
    with database.read() as connection:
        return _approval_of(connection, number)


def list_approvals(
    database: Database, *, waiting: bool | None = None, newest: int = 100
) -> list[Approval]:
    """Newest first. `waiting` True: nobody decided yet; False: somebody did; None: all."""
    query = _with_decisions().order_by(approvals.c.number.desc()).limit(newest)
    if waiting is not None:
        undecided = approval_decisions.c.number.is_(None)
        query = query.where(undecided if waiting else ~undecided)
    with database.read() as connection:
        return [_approval(row) for row in connection.execute(query)]


def _carrier(kind: ApprovalKind) -> Carrier:
    carrier = CARRIERS.get(kind)
    if carrier is None:
        raise BadProposal(detail=N_("nothing of that kind can be proposed"))
    return carrier


def _require(connection: Connection, actor: Actor, *roles: StaffRole) -> str:
    """The registered name of who acts. Raises StaffNeeded, RoleLacking."""
    if not actor.name:
        raise StaffNeeded
    person = find_person(connection, actor.name)
    if person is None or person.roles.isdisjoint(roles):
        raise RoleLacking(name=actor.name, role=", ".join(role.value for role in roles))
    return person.name


def _require_storable(facts: Facts) -> None:
    """Raises BadProposal for what a station may send and no database keeps."""
    for fact in facts.values():
        if isinstance(fact, str) and not is_plain(fact):
            raise BadProposal(
                detail=N_(
                    "there are characters in it that cannot be seen (line breaks, control characters)"
                )
            )
        if isinstance(fact, int) and abs(fact) >= _NUMBERS_END:
            raise BadProposal(detail=N_("the amount is out of its range"))


def _note(connection: Connection, actor: Actor, act: Act, of: Approval, now: int) -> None:
    note_act(
        connection,
        actor,
        act,
        subject=f"approval {of.number}",
        amount=of.amount,
        detail=f"{of.kind.value}: {of.outcome or of.facts_text}",
        now=now,
    )


def _with_decisions() -> Any:
    return select(
        approvals,
        approval_decisions.c.accepted,
        approval_decisions.c.decided_by,
        approval_decisions.c.at.label("decided_at"),
        approval_decisions.c.outcome,
    ).outerjoin(approval_decisions, and_(approval_decisions.c.number == approvals.c.number))


def _approval_of(connection: Connection, number: int) -> Approval:
    row = connection.execute(_with_decisions().where(approvals.c.number == number)).one_or_none()
    if row is None:
        raise UnknownApproval(number=number)
    return _approval(row)


def _approval(row: Row[Any]) -> Approval:
    return Approval(
        number=row.number,
        kind=ApprovalKind(row.kind),
        facts=json.loads(row.facts),
        proposed_by=row.proposed_by,
        station=row.station,
        proposed_at=row.proposed_at,
        accepted=row.accepted,
        decided_by=row.decided_by or "",
        decided_at=row.decided_at,
        outcome=row.outcome or "",
    )
