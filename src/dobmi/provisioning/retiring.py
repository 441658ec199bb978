"""Ending a card that is there: its money into the member's wallet, the chip blank again if wanted."""

from __future__ import annotations

from dobmi.cardlib.readers import CardConnection
from dobmi.provisioning.cards import relay
from dobmi.provisioning.enrolment import Station
from dobmi.sync.relay import Action
from dobmi.sync.retirement import Purpose, RetireParameters, RetireResult


def retire(
    station: Station, connection: CardConnection, purpose: Purpose, reason: str, *, wipe: bool
) -> RetireResult:
    """Empty the card and end it; interrupted, it is run again and goes on.

    Raises RelayInterrupted (tap the same card again), ServerRefused (with the server's reason),
    ServerUnreachable.
    """
    asked = RetireParameters(purpose=purpose, reason=reason, wipe=wipe)
    return RetireResult.from_cbor(relay(station, connection, Action.RETIRE, asked.to_cbor()))
