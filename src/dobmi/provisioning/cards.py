"""What staff do with a card at a station: issue, top up, block. The card's keys stay at the server.

Each money-making step is an order with a key of its own (`reference`): given again, after a lost
answer or a second click, it is the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from dobmi.cardlib.readers import CardConnection
from dobmi.money import Rupiah
from dobmi.provisioning.enrolment import Station
from dobmi.sync.cbor import CborValue
from dobmi.sync.relay import (
    Action,
    BatchLine,
    CreditResult,
    IssueParameters,
    IssueResult,
    Question,
    RekeyResult,
    Start,
)
from dobmi.sync.relay_client import relay_card_session


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCard:
    """A card that is a member's purse now, at the card and at the central server."""

    uid: bytes
    card_serial: int
    member_number: int
    name: str
    expires: date
    generation: str
    resumed: bool


def issue(
    station: Station,
    connection: CardConnection,
    member_number: int,
    name: str,
    line: BatchLine | None = None,
) -> IssuedCard:
    """Make the card on the reader the purse of a member. Interrupted, it is run again and goes on.

    `line`: of an issuing batch; it is issued with the card. Raises RelayInterrupted (tap the same card again), ServerRefused (with the server's reason),
    ServerUnreachable.
    """
    asked = IssueParameters(member_number=member_number, name=name, line=line)
    result = IssueResult.from_cbor(relay(station, connection, Action.ISSUE, asked.to_cbor()))
    return IssuedCard(
        uid=connection.uid,
        card_serial=result.card_serial,
        member_number=member_number,
        name=name,
        expires=date(1970, 1, 1) + timedelta(days=result.expires_days),
        generation=result.generation,
        resumed=result.resumed,
    )


def order_credit(
    station: Station,
    uid: bytes,
    amount: Rupiah,
    source: str,
    reference: str,
    *,
    received: Rupiah | None = None,
) -> dict[str, Any]:
    """Have the server owe the card `amount`; `source` is `cash` or `salary`. No card is needed.

    `received`: the cash handed over. In the answer `approval` is there if a second person must
    accept it first. Raises ServerRefused, ServerUnreachable.
    """
    order: dict[str, object] = {
        "card_uid": uid.hex().upper(),
        "amount_rupiah": amount.amount,
        "source": source,
        "idempotency_key": reference,
    }
    if received is not None:
        order["received_rupiah"] = received.amount
    return station.client.post_json("/v1/credits", order)


def ordered_credit(station: Station, reference: str) -> dict[str, Any]:
    """How far an order of this station's is, as its receipt has it. Raises as `order_credit`."""
    return station.client.get_json(f"/v1/credits/{reference}")


def station_cash(station: Station) -> dict[str, Any]:
    """The cash here: by the books, by person today, as it was counted. Raises as `order_credit`."""
    return station.client.get_json("/v1/cash")


def count_cash(station: Station, counted: Rupiah, note: str = "") -> dict[str, Any]:
    """Write down what was counted here, beside what the books say. Raises as `order_credit`."""
    return station.client.post_json(
        "/v1/cash-counts", {"counted_rupiah": counted.amount, "note": note}
    )


def deliver_credits(station: Station, connection: CardConnection) -> CreditResult:
    """Let the server put on the card what it owes it. Run again, nothing is delivered twice.

    Raises as `issue`.
    """
    return CreditResult.from_cbor(relay(station, connection, Action.CREDIT, {}))


def rekey(station: Station, connection: CardConnection) -> RekeyResult:
    """Bring the card's keys to the newest generation. Interrupted, it is run again and goes on.

    Raises as `issue`.
    """
    return RekeyResult.from_cbor(relay(station, connection, Action.REKEY, {}))


def ledger_card(station: Station, uid: bytes) -> dict[str, Any]:
    """What the central ledger says of a card. Raises ServerRefused, ServerUnreachable."""
    return station.client.get_json(f"/v1/cards/{uid.hex().upper()}")


def block(station: Station, uid: bytes, reason: str) -> dict[str, Any]:
    """Have every till refuse the card from its next sync on. Raises as `ledger_card`."""
    return station.client.post_json(f"/v1/cards/{uid.hex().upper()}/block", {"reason": reason})


def unblock(station: Station, uid: bytes, reason: str) -> dict[str, Any]:
    """Take a block back. Raises as `ledger_card`."""
    return station.client.post_json(f"/v1/cards/{uid.hex().upper()}/unblock", {"reason": reason})


def replace(station: Station, uid: bytes, reason: str) -> dict[str, Any]:
    """Block a lost card for good; its money comes to the member's next card, when that is safe.

    What the server says of it is docs/formats/http.md's. Again, it changes nothing. Raises as
    `ledger_card`.
    """
    return station.client.post_json(f"/v1/cards/{uid.hex().upper()}/replace", {"reason": reason})


def pay_out(station: Station, member_number: int, amount: Rupiah, reference: str) -> dict[str, Any]:
    """Pay a member who gave their card back from their wallet; by the same `reference` once only.

    In the answer `receipt` is None while a second person has to accept it. Raises as `ledger_card`.
    """
    order: dict[str, object] = {
        "member_number": member_number,
        "amount_rupiah": amount.amount,
        "idempotency_key": reference,
    }
    return station.client.post_json("/v1/payouts", order)


def expiring_cards(station: Station, within_days: int) -> list[dict[str, Any]]:
    """Cards in force that expire within so many days, or have. Raises as `ledger_card`."""
    answer = station.client.get_json(f"/v1/expiring-cards?within_days={within_days}")
    found: list[dict[str, Any]] = answer["cards"]
    return found


def circulation(station: Station) -> dict[str, Any]:
    """Where every rupiah is, as the central ledger has it. Raises as `ledger_card`."""
    return station.client.get_json("/v1/circulation")


def relay(
    station: Station,
    connection: CardConnection,
    action: Action,
    parameters: dict[int, CborValue],
    *,
    answer: Callable[[Question], bytes] | None = None,
) -> dict[int, CborValue]:
    """One session between the server and the card on the reader; the server's result.

    `answer` is for what the server asks this station. Raises as `issue`.
    """
    start = Start(action, connection.uid, parameters)
    transmit: Callable[[bytes], bytes] = connection.transmit
    return relay_card_session(
        station.server,
        station.requester,
        start,
        transmit,
        language=station.language,
        answer=answer,
    )
