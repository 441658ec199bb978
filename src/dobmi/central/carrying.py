"""What an accepted proposal does: the kinds' own modules make a Carrier each, `carriers.py` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from dobmi.central.schema import StaffRole
from dobmi.central.server import Central

Facts = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The proposal that is carried out, by whom and when."""

    number: int
    proposed_by: str
    decided_by: str
    station: int | None
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """`check` raises BadProposal or another CentralError for what could not be done.

    `carry_out` does it within the transaction that accepts it, once, and says in a few words what
    it did (for people, without secrets); what it raises leaves the proposal undecided.
    """

    proposers: tuple[StaffRole, ...]
    check: Callable[[Connection, Facts], None]
    carry_out: Callable[[Central, Connection, Facts, Accepted], str]
