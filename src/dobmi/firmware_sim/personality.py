"""The generations of the card: what differs between EV1, EV2 and EV3."""

from __future__ import annotations

from enum import Enum


class Personality(Enum):
    """A 4 kB card of each generation, as GetVersion tells them apart."""

    EV1 = "ev1"
    EV2 = "ev2"
    EV3 = "ev3"

    @property
    def hardware_version(self) -> bytes:
        return bytes.fromhex(
            {
                Personality.EV1: "04010101001805",
                Personality.EV2: "04010112001805",
                Personality.EV3: "04010133001805",
            }[self]
        )

    @property
    def software_version(self) -> bytes:
        return bytes.fromhex(
            {
                Personality.EV1: "04010101041805",
                Personality.EV2: "04010102001805",
                Personality.EV3: "04010103001805",
            }[self]
        )

    @property
    def memory_bytes(self) -> int:
        """FreeMem of an empty card (EV2: measured on the recorded card)."""
        return 4864 if self is Personality.EV1 else 5120

    @property
    def applications_max(self) -> int | None:
        return 28 if self is Personality.EV1 else None

    @property
    def has_ev2_commands(self) -> bool:
        """EV2 authentication, transaction MAC, ISO-chaining opcodes, UpdateRecord, Read_Sig."""
        return self is not Personality.EV1

    @property
    def has_sdm(self) -> bool:
        """Secure dynamic messaging on standard data files."""
        return self is Personality.EV3

    @property
    def shows_limited_credit_when_disabled(self) -> bool:
        """EV1 shows the debit sum even if LimitedCredit is off (libfreefare issue 120)."""
        return self is Personality.EV1
