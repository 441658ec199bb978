"""Who is it: what a card that was laid down tells without a key, and what the central ledger says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dobmi.cardlib.inspection import CardState, Inspection, inspect
from dobmi.cardlib.readers import CardConnection
from dobmi.errors import DoBMIError
from dobmi.provisioning.cards import relay
from dobmi.provisioning.enrolment import Station
from dobmi.sync.card_report import CardReport
from dobmi.sync.errors import ServerRefused
from dobmi.sync.relay import Action

LedgerCard = Mapping[str, Any]
"""As `GET /v1/cards/{card}` answers (docs/formats/http.md)."""
_UNKNOWN = "CENTRAL-CARD-UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCard:
    """`ledger` None: the ledger has no such card, or for the reason `ledger_error` it is not known."""

    inspection: Inspection
    ledger: LedgerCard | None = None
    ledger_error: DoBMIError | None = None


def look_at(
    connection: CardConnection,
    trusted: Mapping[str, bytes],
    ledger: Callable[[bytes], LedgerCard],
) -> FoundCard:
    """Nothing on the card changes. Raises NotOurCard for what is no DESFire, CardError.

    The ledger is asked of purses alone; what it cannot say is told beside what the card says.
    """
    found = inspect(connection, trusted)
    if found.state not in {CardState.PURSE, CardState.UNFINISHED}:
        return FoundCard(inspection=found)
    try:
        return FoundCard(inspection=found, ledger=ledger(found.uid))
    except ServerRefused as error:
        if error.facts.get("problem") == _UNKNOWN:
            return FoundCard(inspection=found)
        return FoundCard(inspection=found, ledger_error=error)
    except DoBMIError as error:
        return FoundCard(inspection=found, ledger_error=error)


def report_of(station: Station, connection: CardConnection) -> CardReport:
    """Everything the purse on the reader tells with its keys, beside the ledger; nothing changes.

    Raises RelayInterrupted, ServerRefused (with the server's reason), ServerUnreachable.
    """
    return CardReport.from_cbor(relay(station, connection, Action.INSPECT, {}))
