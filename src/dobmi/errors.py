"""The root of every package's error tree.

    DoBMIError
      cardlib.errors.CardError         what a card or a reader did
      cardlib.errors.CustodyUnavailable   the keys cannot be used now
      sync.errors.SyncError            what crossed, or did not cross, the network
      terminal.errors.TerminalError    what a till refuses or cannot finish
      central.errors.CentralError      what the central server refuses
      provisioning.errors.ProvisioningError

Each class has a code that a log and a receipt can carry, a message and a next step in the user's
language, and says whether money moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import ClassVar

from dobmi.i18n import N_


class MoneyMoved(StrEnum):
    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class Phrase:
    """A text with facts of its own, as the fact of an error: `message` is a message id."""

    def __init__(self, message: str, **facts: object) -> None:
        self.message = message
        self.facts = facts

    def explain(self, translate: Callable[[str], str] = str) -> str:
        return translate(self.message).format(**_translated(self.facts, translate))

    __str__ = explain


def _translated(facts: Mapping[str, object], translate: Callable[[str], str]) -> dict[str, object]:
    """A fact that is itself a marked text, or a Phrase, is put into the language too."""
    said: dict[str, object] = {}
    for name, fact in facts.items():
        if isinstance(fact, Phrase):
            said[name] = fact.explain(translate)
        else:
            said[name] = translate(fact) if isinstance(fact, str) and fact else fact
    return said


class DoBMIError(Exception):
    """An error of the domain.

    `message` and `next_step` are gettext message ids with `{name}` places, filled from the facts
    given at construction. Facts are shown to people and written to logs: never put a key in one.
    """

    code: ClassVar[str] = "ERROR"
    message: ClassVar[str] = N_("Something went wrong.")
    next_step: ClassVar[str] = N_("Tell the supervisor the code of this error.")
    money_moved: MoneyMoved = MoneyMoved.NO

    def __init__(self, *, money_moved: MoneyMoved | None = None, **facts: object) -> None:
        super().__init__()
        self.facts = facts
        if money_moved is not None:
            self.money_moved = money_moved

    def explain(self, translate: Callable[[str], str] = str) -> str:
        return translate(self.message).format(**_translated(self.facts, translate))

    def advise(self, translate: Callable[[str], str] = str) -> str:
        return translate(self.next_step).format(**_translated(self.facts, translate))

    def __str__(self) -> str:
        return f"[{self.code}] {self.explain()}"
