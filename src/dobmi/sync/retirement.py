"""Ending a card that is there: parameters and result of a RETIRE session."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dobmi.money import Rupiah
from dobmi.sync.cbor import CborValue, Fields
from dobmi.sync.errors import MalformedMessage

_REASON_MAX = 200


class Purpose(StrEnum):
    """Why the card ends."""

    RENEWED = "renewed"
    """Expired or worn: its member gets another one."""
    GIVEN_BACK = "given-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireParameters:
    """`wipe`: when it is empty, make the chip blank again, to be anything but a purse."""

    purpose: Purpose
    reason: str
    wipe: bool = False

    def to_cbor(self) -> dict[int, CborValue]:
        return {1: self.purpose.value, 2: self.reason, 3: self.wipe}

    @classmethod
    def from_cbor(cls, value: CborValue) -> RetireParameters:
        """Raises MalformedMessage."""
        fields = Fields(value, "retire parameters")
        try:
            purpose = Purpose(fields.text(1, 20))
        except ValueError as error:
            raise MalformedMessage(detail="retire parameters: an unknown purpose") from error
        parameters = cls(
            purpose=purpose, reason=fields.text(2, _REASON_MAX), wipe=fields.boolean(3)
        )
        fields.finish()
        return parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireResult:
    """The card is empty, and `emptied` is in the member's wallet, with `returned`, credits that were
    never sent to it. `wallet` is what the wallet has now; `loaded`, what of it waits already for
    another card of the member's.
    """

    member_number: int
    emptied: Rupiah
    returned: Rupiah
    wallet: Rupiah
    loaded: Rupiah
    wiped: bool

    def to_cbor(self) -> dict[int, CborValue]:
        return {
            1: self.member_number,
            2: self.emptied.amount,
            3: self.returned.amount,
            4: self.wallet.amount,
            5: self.loaded.amount,
            6: self.wiped,
        }

    @classmethod
    def from_cbor(cls, value: CborValue) -> RetireResult:
        """Raises MalformedMessage."""
        fields = Fields(value, "retire result")
        result = cls(
            member_number=fields.uint(1, 32),
            emptied=Rupiah(fields.uint(2)),
            returned=Rupiah(fields.uint(3)),
            wallet=Rupiah(fields.uint(4)),
            loaded=Rupiah(fields.uint(5)),
            wiped=fields.boolean(6),
        )
        fields.finish()
        return result
