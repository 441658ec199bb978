"""The auditor's rules as a plain table: what is checked, and how bad it is if it does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dobmi.i18n import N_


class Severity(StrEnum):
    MONEY = "money"
    """Money was made, lost or moved, or may have been."""
    RECORD = "record"
    """A record was changed or is missing; no amount follows from it by itself."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`title` and `checks` are message ids. `needs`: the key without which it cannot be checked."""

    id: str
    severity: Severity
    title: str
    checks: str
    needs: str = ""


MAC_KEY: Final = "transaction-mac"
SERVER_KEY: Final = "server"
ISSUER_KEY: Final = "card-issuer"

_M, _R = Severity.MONEY, Severity.RECORD

RULES: Final = (
    Rule("VOUCHER-FORM", _R, N_("Voucher cannot be read"),
         N_("Every voucher is of the documented format, in its one encoding.")),
    Rule("VOUCHER-SIGNATURE", _M, N_("Voucher not signed by its till"),
         N_("Every voucher bears the Ed25519 signature of the till it is kept for.")),
    Rule("VOUCHER-PLACE", _R, N_("Voucher kept in another's place"),
         N_("A voucher's own till and number are those it is kept under.")),
    Rule("VOUCHER-MISSING", _M, N_("Voucher missing"),
         N_("Each till's vouchers are there from 1 to its newest, without a gap.")),
    Rule("CHAIN", _M, N_("Chain of vouchers broken"),
         N_("Each voucher holds the hash of the one before it, the first one the genesis hash.")),
    Rule("CHAIN-HEAD", _R, N_("Newest voucher is another than noted"),
         N_("The number and hash noted for a till are those of its newest voucher.")),
    Rule("ACK", _R, N_("Acknowledgement not true"),
         N_("Each acknowledgement is signed by the server and names the vouchers that are kept."),
         SERVER_KEY),
    Rule("ACK-MISSING", _R, N_("Voucher never acknowledged"),
         N_("Every voucher came with a batch that was acknowledged, at the time that is noted.")),
    Rule("QUARANTINE", _M, N_("Voucher withheld for a reason that is not true"),
         N_("What is in quarantine is there for a reason that holds.")),
    Rule("BELIEVED", _M, N_("Voucher believed that may not be"),
         N_("What is not in quarantine is as the card's evidence and the earlier vouchers allow.")),
    Rule("CARD-MAC", _M, N_("Card does not vouch for a sale"),
         N_("The card's transaction MAC in every believed sale is over its evidence."), MAC_KEY),
    Rule("CARD-ROW", _R, N_("Card is another than its issuer signed"),
         N_("Member, serial number and last day of a card are those in the holder file in its sales.")),
    Rule("CARD-MISSING", _M, N_("Card not on record"),
         N_("Every card that a voucher, a transaction or a posting names is on record.")),
    Rule("DOUBT-ROW", _M, N_("Sale in doubt kept otherwise than it was sent"),
         N_("Every sale in doubt is kept as its voucher has it, and has a voucher.")),
    Rule("REFUND-ROW", _M, N_("Refund kept otherwise than it was sent"),
         N_("Every refund is kept as its voucher has it, and has a voucher.")),
    Rule("DECISION-ROW", _R, N_("Supervisor's decision kept otherwise than it was sent"),
         N_("Every decision is kept as its voucher has it, and has a voucher.")),
    Rule("TRANSACTION-SOURCE", _M, N_("Card transaction that nobody vouches for"),
         N_("Every transaction of a card on record comes from a believed voucher or a credit sent.")),
    Rule("TRANSACTION-MISSING", _M, N_("Card transaction not on record"),
         N_("Every believed sale and every delivered credit is on record as a card's transaction.")),
    Rule("TRANSACTION", _M, N_("Card transaction kept otherwise than the card vouches"),
         N_("Number, amount, balances and predecessor are those in the card's evidence.")),
    Rule("NAMED-BEFORE", _R, N_("Note of a named transaction wrong"),
         N_("Transactions that cards name and that were not on record are noted, and no others.")),
    Rule("DOUBT-STATE", _M, N_("Sale in doubt settled without ground"),
         N_("Every state of a sale in doubt follows from the card, the till's word or a rule.")),
    Rule("DOUBT-HISTORY", _R, N_("History of a sale in doubt incomplete"),
         N_("Every change of a doubt's state is in its history, and the last one is its state.")),
    Rule("CREDIT", _M, N_("Credit otherwise than it was sent or delivered"),
         N_("Amount and state of a credit are as ordered, as sent to the card and as it answered.")),
    Rule("CREDIT-NUMBERS", _M, N_("Credit missing"),
         N_("Each card's credits are numbered without a gap.")),
    Rule("CREDIT-CAUSE", _M, N_("Credit without its cause"),
         N_("A refund's, a lost card's or a moved credit has the event that it names.")),
    Rule("CREDIT-BY-HAND", _R, N_("Credit settled by hand wrongly"),
         N_("A credit that a person settled has a name, a reason and a place among transactions.")),
    Rule("REFUND-STATE", _M, N_("Refund's state without ground"),
         N_("A refund is ordered if its sale is posted, refused if it was not paid.")),
    Rule("POSTING-MISSING", _M, N_("Posting missing"),
         N_("Everything that the rule table posts is in the journal.")),
    Rule("POSTING-STRAY", _M, N_("Posting without a cause"),
         N_("Every posting in the journal has the event it names, once.")),
    Rule("POSTING-AMOUNT", _M, N_("Posting of another amount"),
         N_("Every posting is of the amount that the card, the order or the voucher says.")),
    Rule("POSTING-ACCOUNTS", _M, N_("Posting to other accounts"),
         N_("Every posting debits and credits the accounts of the rule table.")),
    Rule("POSTING-KEY", _R, N_("Key of a posting wrong"),
         N_("Each posting but sales has its key, which keeps it from posting twice; no key is alone.")),
    Rule("POSTING-TIME", _R, N_("Posting at another time"),
         N_("A posting of a voucher is booked when the voucher came, or in the first day then open.")),
    Rule("SUSPENSE", _M, N_("Suspense is not what is unexplained"),
         N_("In suspense for a card is just the difference that its transactions leave unexplained.")),
    Rule("LOST-CARD", _M, N_("A lost card's money"),
         N_("Of a lost card is restored what its account held, no more and no less.")),
    Rule("CARD-BALANCE", _M, N_("Card's account is not what the card says"),
         N_("A card's account is the balance the card itself vouches for, but for what is in doubt.")),
    Rule("CARD-STATE", _R, N_("Card's state and the block list differ"),
         N_("A card is blocked if and only if its last change in the block list says so.")),
    Rule("BLOCK-LIST", _R, N_("Block list's version wrong"),
         N_("The block list's changes have their numbers, and the newest is the one in force.")),
    Rule("ANOMALY", _R, N_("Anomaly not on the work list"),
         N_("What cards show and nobody explains, and suspicious vouchers, are on the work list.")),
    Rule("DAY-CHAIN", _M, N_("Chain of days broken"),
         N_("Each closed day holds the hash of the one before, and no day is left out.")),
    Rule("DAY-SIGNATURE", _M, N_("Closed day not signed by the server"),
         N_("The head of each closed day bears the server's signature."), SERVER_KEY),
    Rule("DAY-JOURNAL", _M, N_("Journal of a closed day was changed"),
         N_("The journal of a closed day has the hash, the number and the sum that were signed.")),
    Rule("DAY-TILLS", _R, N_("Tills' vouchers of a closed day were changed"),
         N_("What the tills had sent by a day's close has the hash that was signed.")),
    Rule("DAY-ACCOUNTS", _M, N_("Account's day is not the sum of its postings"),
         N_("Each account's debits and credits of a closed day are the sums of its postings.")),
    Rule("SETTLEMENT", _M, N_("Settlement run not what was owed"),
         N_("Each settlement run pays what the journal owes, once, and two people agreed.")),
    Rule("WALLET", _M, N_("Wallet overdrawn"),
         N_("No member's wallet has given more than it was given.")),
    Rule("ACTS", _R, N_("Audit trail was changed"),
         N_("What staff did is numbered without a gap, and each act has the hash over the one before.")),
    Rule("APPROVAL", _M, N_("Not agreed by two people"),
         N_("What needs two people was proposed by one and accepted by another, and then done.")),
    Rule("SUM", _M, N_("The ledger does not add up"),
         N_("Issued less redeemed is on cards, in wallets, in flight, at outlets and in suspense.")),
    Rule("ORPHAN", _R, N_("Row that belongs to nothing"),
         N_("Every row belongs to a till or a card that is on record.")),
    Rule("SINCE", _M, N_("Less than at the last audit"),
         N_("No till, card, closed day, bank account or fee is behind what an earlier audit saw.")),
)  # fmt: skip

BY_ID: Final = {rule.id: rule for rule in RULES}
