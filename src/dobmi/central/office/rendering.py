"""The look of the office's page, over what all pages share, and its words for what the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dobmi.central.acts import Act
from dobmi.central.approvals import Approval
from dobmi.central.limits import LIMITS
from dobmi.central.schema import ApprovalKind, StaffRole
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.web.rendering import Look, Voice

PREFIX: Final = "/office"
_ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CENTRAL-STAFF-ROLE": N_("Have somebody who may do it log in."),
        "CENTRAL-APPROVAL-DECIDED": N_("Load the list again."),
        "CENTRAL-UNKNOWN-TERMINAL": N_("Load the list again."),
    }
)
LOOK: Final = Look(Path(__file__).parent, advice=_ADVICE, prefix=PREFIX)

ROLE_WORDS: Final = {
    StaffRole.PROPOSER: N_("proposes"),
    StaffRole.APPROVER: N_("approves"),
    StaffRole.CLERK: N_("works on findings"),
    StaffRole.ISSUER: N_("issues and tops up"),
    StaffRole.CUSTODIAN: N_("keys and tills"),
    StaffRole.AUDITOR: N_("audits"),
}
KIND_WORDS: Final = {
    ApprovalKind.CREDIT: N_("Large credit"),
    ApprovalKind.RESTITUTION: N_("Restitution"),
    ApprovalKind.LIMITS: N_("Limit"),
    ApprovalKind.RETIREMENT: N_("Large payout of a wallet"),
}
ACT_WORDS: Final = {
    Act.LOG_IN: N_("logged in"),
    Act.LOG_OUT: N_("logged out"),
    Act.LOCKED_OUT: N_("locked out after wrong passwords"),
    Act.PASSWORD: N_("new password"),
    Act.STAFF_ADDED: N_("registered"),
    Act.STAFF_REMOVED: N_("all roles taken away"),
    Act.PROPOSED: N_("proposed"),
    Act.ACCEPTED: N_("accepted"),
    Act.REFUSED: N_("refused"),
    Act.CREDIT: N_("credit ordered"),
    Act.CASH_COUNTED: N_("cash counted"),
    Act.RESTITUTION: N_("restitution"),
    Act.LIMITS: N_("limit set"),
    Act.ISSUE: N_("card issued"),
    Act.REKEY: N_("card's keys renewed"),
    Act.PIN: N_("PIN set"),
    Act.RENEW: N_("card renewed"),
    Act.RETIRE: N_("card retired"),
    Act.BLOCK: N_("card blocked"),
    Act.UNBLOCK: N_("block taken back"),
    Act.REPLACE: N_("lost card replaced"),
    Act.IMPORT: N_("list taken in"),
    Act.PAIRING_APPROVED: N_("till taken in"),
    Act.PAIRING_REFUSED: N_("till turned away"),
    Act.TERMINAL_BLOCKED: N_("terminal revoked"),
    Act.TERMINAL_UNBLOCKED: N_("terminal let in again"),
    Act.KEYS: N_("keys changed"),
    Act.CEREMONY: N_("key ceremony"),
}
_FACT_WORDS: Final = {
    "card_uid": N_("card"),
    "card_serial": N_("card number"),
    "amount_rupiah": N_("amount"),
    "reason": N_("reason"),
    "name": N_("limit"),
    "value": N_("new value"),
    "member_class": N_("class of members"),
    "member_number": N_("member number"),
    "source": N_("paid by"),
    "order": N_("order"),
    "station": N_("station"),
}
_SOURCE_WORDS: Final = {"cash": N_("money in cash"), "salary": N_("wages")}
CARD_STATE_WORDS: Final = {
    "issuing": N_("issuing not finished"),
    "active": N_("active"),
    "blocked": N_("blocked"),
    "replaced": N_("replaced for good"),
    "retired": N_("retired"),
}


def facts_of(one: Approval, voice: Voice) -> list[tuple[str, str]]:
    """What a proposal says, in words."""
    rows = []
    for name, value in one.facts.items():
        if name == "member_class" and not value:
            continue
        label = voice.say(_FACT_WORDS[name]) if name in _FACT_WORDS else name
        limit = LIMITS.get(str(one.facts.get("name", "")))
        is_money = name.endswith("_rupiah") or (name == "value" and limit and limit.is_money)
        if name == "name" and limit is not None:
            shown = voice.say(limit.words)
        elif is_money and type(value) is int:
            shown = str(Rupiah(value))
        elif name == "source":
            shown = voice.say(_SOURCE_WORDS.get(str(value), str(value)))
        else:
            shown = str(value)
        rows.append((label, shown))
    return rows
