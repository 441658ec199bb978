"""Who is logged in at the till's page; everything else of its safety is dobmi.web.security's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dobmi.terminal.staff import Cashier
from dobmi.web import security

SESSION_COOKIE: Final = "dobmi_till"


@dataclass(frozen=True, slots=True)
class Person:
    """Who is logged in."""

    cashier: Cashier
    is_supervisor: bool

    @property
    def name(self) -> str:
        return self.cashier.name


Session = security.Session[Person]
Sessions = security.Sessions[Person]
