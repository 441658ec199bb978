"""What staff did: the audit trail's own chain, and that what makes money had two people.

docs/staff.md, worked out again from the rows alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import cbor2

from dobmi.audit.findings import Finding, finding
from dobmi.audit.source import Source
from dobmi.i18n import N_

_BEFORE_THE_FIRST: Final = bytes(32)
_COUNTER: Final = "staff-act"


def check_staff(source: Source) -> list[Finding]:
    """Nothing of a database of before there were acts."""
    if not source.has_table("staff_acts"):
        return []
    return _acts(source) + _approvals(source) + _limits(source)


def approved_restitution(source: Source, number: int) -> int | None:
    """Of how much, if two people agreed on it."""
    row = source.one(
        "SELECT a.facts FROM approvals a JOIN approval_decisions d ON d.number = a.number"
        " WHERE a.number = :number AND a.kind = 'restitution' AND d.accepted"
        " AND d.proposed_by = a.proposed_by AND d.decided_by <> a.proposed_by",
        number=number,
    )
    return None if row is None else _amount(_facts(row[0]))


def _acts(source: Source) -> list[Finding]:
    """Numbered from 1 without a gap, each with the hash over the one before and itself."""
    found = []
    before, expected = _BEFORE_THE_FIRST, 1
    for id_, at, station, person, act, subject, amount, detail, kept in source.stream(
        "SELECT id, at, station, person, act, subject, amount_rupiah, detail, hash"
        " FROM staff_acts ORDER BY id"
    ):
        fields = [id_, at, -1 if station is None else station, person, act, subject, amount, detail]
        right = hashlib.sha256(before + cbor2.dumps(fields, canonical=True)).digest()
        if id_ != expected:
            missing = N_("{count} acts before it are missing.")
            found.append(finding("ACTS", f"act {id_}", missing, count=id_ - expected))
        elif right != kept:
            words = N_("It is not as it was written: {act} by {person}.")
            found.append(finding("ACTS", f"act {id_}", words, act=act, person=person or "-"))
        before, expected = kept, id_ + 1
    row = source.one("SELECT value FROM counters WHERE name = :name", name=_COUNTER)
    count = 0 if row is None else int(row[0])
    if count != expected - 1:
        words = N_("Acts were numbered up to {count}; the last one there is {last}.")
        found.append(finding("ACTS", f"act {expected}", words, count=count, last=expected - 1))
    return found


def _approvals(source: Source) -> list[Finding]:
    found = []
    acts = {
        (act, subject): person
        for act, subject, person in source.stream(
            "SELECT act, subject, person FROM staff_acts"
            " WHERE act IN ('proposed', 'accepted', 'refused')"
        )
    }
    credited = {
        key
        for (key,) in source.stream(
            "SELECT idempotency_key FROM pending_credits"
            " WHERE idempotency_key LIKE 'dobmi:restitution:%'"
        )
    }
    for number, kind, facts, proposer, accepted, named, decider in source.stream(
        "SELECT a.number, a.kind, a.facts, a.proposed_by, d.accepted, d.proposed_by, d.decided_by"
        " FROM approvals a LEFT JOIN approval_decisions d ON d.number = a.number ORDER BY a.number"
    ):
        name, amount = f"approval {number}", _amount(_facts(facts))
        if acts.get(("proposed", name)) != proposer:
            words = N_("The audit trail does not say that {name} proposed it.")
            found.append(finding("APPROVAL", name, words, amount, name=proposer))
        if accepted is None:
            continue
        if decider == proposer or named != proposer:
            words = N_("It was decided by {name}, who had proposed it.")
            found.append(finding("APPROVAL", name, words, amount, name=decider))
        act = "accepted" if accepted else "refused"
        if acts.get((act, name)) != decider:
            words = N_("The audit trail does not say that {name} decided so.")
            found.append(finding("APPROVAL", name, words, amount, name=decider))
        key = f"dobmi:restitution:{number}"
        if accepted and kind == "restitution" and key not in credited:
            words = N_("It was accepted, and its credit is not there.")
            found.append(finding("APPROVAL", name, words, amount))
    for (number,) in source.rows(
        "SELECT d.number FROM approval_decisions d LEFT JOIN approvals a ON a.number = d.number"
        " WHERE a.number IS NULL ORDER BY d.number"
    ):
        words = N_("It was decided, and what was proposed is not there.")
        found.append(finding("APPROVAL", f"approval {number}", words))
    return found


def _limits(source: Source) -> list[Finding]:
    """Each limit that was set is what two people agreed on, once."""
    found = []
    seen: set[int] = set()
    for number, name, member_class, value, approval, facts, accepted in source.stream(
        "SELECT l.number, l.name, l.member_class, l.value, l.approval, a.facts, d.accepted"
        " FROM limit_changes l LEFT JOIN approvals a ON a.number = l.approval AND a.kind = 'limits'"
        " LEFT JOIN approval_decisions d ON d.number = l.approval ORDER BY l.number"
    ):
        agreed = _facts(facts or "{}")
        asked = (agreed.get("name"), agreed.get("member_class", ""), agreed.get("value"))
        if not accepted or asked != (name, member_class, value) or approval in seen:
            words = N_("Limit {limit} was set, and nobody agreed on it.")
            found.append(finding("APPROVAL", f"limit {number}", words, limit=name))
        seen.add(approval)
    return found


def _facts(text: str) -> Mapping[str, Any]:
    try:
        facts = json.loads(text)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _amount(facts: Mapping[str, Any]) -> int | None:
    amount = facts.get("amount_rupiah")
    return amount if type(amount) is int else None
