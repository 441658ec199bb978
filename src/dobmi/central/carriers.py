"""Who carries out which kind of accepted proposal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dobmi.central import held_credits, limits, restitution, wallet_cash
from dobmi.central.carrying import Carrier
from dobmi.central.schema import ApprovalKind

CARRIERS: Final[Mapping[ApprovalKind, Carrier]] = MappingProxyType(
    {
        ApprovalKind.CREDIT: held_credits.CARRIER,
        ApprovalKind.LIMITS: limits.CARRIER,
        ApprovalKind.RESTITUTION: restitution.CARRIER,
        ApprovalKind.RETIREMENT: wallet_cash.CARRIER,
    }
)
"""A kind that is not here cannot be proposed."""
