"""Money for a card for which nobody paid: a disputed sale, a fault of ours. Two people decide it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID
from dobmi.central.cards import OWN_KEYS, card_row, require_usable
from dobmi.central.carrying import Accepted, Carrier, Facts
from dobmi.central.errors import BadProposal, UnknownCard
from dobmi.central.held_credits import require_room
from dobmi.central.journal import post
from dobmi.central.orders import append_credit, card_in_force
from dobmi.central.posting_rules import Kind
from dobmi.central.schema import CreditSource, StaffRole, cards
from dobmi.central.server import Central
from dobmi.central.texts import REASON_LENGTH_MAX
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.sync.cbor import is_plain

AMOUNT_MAX: Final = Rupiah(20_000_000)


@dataclass(frozen=True, slots=True)
class Restitution:
    card_uid: bytes
    amount: Rupiah
    reason: str

    def facts(self) -> Facts:
        """As they are proposed and kept."""
        return {
            "card_uid": self.card_uid.hex().upper(),
            "amount_rupiah": self.amount.amount,
            "reason": self.reason,
        }


def _read(facts: Facts) -> Restitution:
    """Raises BadProposal."""
    if set(facts) != {"card_uid", "amount_rupiah", "reason"}:
        raise BadProposal(detail=N_("a restitution has card_uid, amount_rupiah and reason"))
    amount, reason = facts["amount_rupiah"], facts["reason"]
    try:
        uid = bytes.fromhex(str(facts["card_uid"]))
    except ValueError:
        uid = b""
    if len(uid) != 7:
        raise BadProposal(detail=N_("that is no card UID"))
    if type(amount) is not int or not 0 < amount <= AMOUNT_MAX.amount:
        raise BadProposal(detail=N_("the amount is out of its range"))
    if not isinstance(reason, str) or not reason.strip() or not is_plain(reason):
        raise BadProposal(detail=N_("the reason is missing"))
    if len(reason) > REASON_LENGTH_MAX:
        raise BadProposal(detail=N_("the reason is too long"))
    return Restitution(uid, Rupiah(amount), reason)


def _check(connection: Connection, facts: Facts) -> None:
    asked = _read(facts)
    known = select(cards.c.uid).where(cards.c.uid == asked.card_uid)
    if connection.execute(known).first() is None:
        raise UnknownCard(card=asked.card_uid.hex())


def _carry_out(central: Central, connection: Connection, facts: Facts, of: Accepted) -> str:
    """A pending credit of the card, or of the one its member has by now."""
    asked = _read(facts)
    uid = card_in_force(connection, asked.card_uid) or asked.card_uid
    row = card_row(connection, uid, lock=True)
    require_usable(row, of.now)
    require_room(connection, central.settings, row, asked.amount)
    sequence = append_credit(
        connection,
        row.uid,
        asked.amount,
        CreditSource.RESTITUTION,
        idempotency_key=f"{OWN_KEYS}restitution:{of.number}",
        ordered_by=None,
        now=of.now,
    )
    post(
        connection,
        Kind.RESTITUTION,
        asked.amount,
        card_uid=row.uid,
        terminal_id=CENTRAL_TERMINAL_ID,
        sequence=sequence,
        at=of.now,
        explanation=asked.reason,
    )
    return f"card {row.serial}, credit {sequence}, {asked.amount}"


CARRIER: Final = Carrier(
    proposers=(StaffRole.PROPOSER, StaffRole.APPROVER), check=_check, carry_out=_carry_out
)
