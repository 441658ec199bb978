"""What each kind of finding means, and what a person does about it: the one table of them.

English message ids; the screen says them in the user's language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dobmi.i18n import N_

UNREPORTED_SALE: Final = "unreported-sale"
CLOCK_BEHIND: Final = "clock-behind"
MISSING_VOUCHER: Final = "missing-voucher"
REJECTED_BATCH: Final = "rejected-batch"


@dataclass(frozen=True, slots=True)
class Meaning:
    what: str
    next_step: str


_READ_VOUCHER = N_(
    "Read the voucher (`reconcile voucher`) and ask the cashier; if more come from this till, "
    "block it and look at the device."
)
_BLOCK_AND_ASK = N_(
    "Block the card, call the member in, and read the card (`reconcile card`); a copied card is "
    "replaced."
)
_READ_CARD = N_(
    "Read the card's life (`reconcile card`), then ask the till that is named; the amount is in "
    "suspense until then."
)

MEANINGS: Mapping[str, Meaning] = {
    "transaction-without-voucher": Meaning(
        N_("A card shows a transaction that no till sent a voucher of, and none will any more."),
        _READ_CARD,
    ),
    "balance-does-not-follow": Meaning(
        N_("A card's balance changed between two transactions that follow each other."), _READ_CARD
    ),
    "other-transaction-before": Meaning(
        N_("A card names another transaction before one of its own than is on record."), _READ_CARD
    ),
    "duplicate-counter": Meaning(
        N_("Two transactions of a card have one number: a copy of the card or of its keys."),
        _BLOCK_AND_ASK,
    ),
    "wrong-card-mac": Meaning(
        N_("The card's own seal does not fit what was sent: it was changed, or invented."),
        _READ_VOUCHER,
    ),
    "claim-differs": Meaning(
        N_("A till claims another amount, card or number than the card sealed."), _READ_VOUCHER
    ),
    "implausible-evidence": Meaning(
        N_("What a till sent as a card's evidence is none of any card of ours."), _READ_VOUCHER
    ),
    "cannot-be-posted": Meaning(
        N_("A voucher is sound, but the program or the database fails on it."),
        N_("Send the voucher's numbers and the server's log to whoever keeps the program up."),
    ),
    "unknown-card": Meaning(
        N_("A voucher is of a card that was never issued here."),
        N_("Find out whose card it is; if it is a test card, say so and close this."),
    ),
    "resolves-nothing": Meaning(
        N_("A till settles a sale in doubt that it never reported."), _READ_VOUCHER
    ),
    "decided-already": Meaning(
        N_("A supervisor decided twice about one sale in doubt; the first word counts."),
        N_("Ask the supervisor which was meant; nothing is posted from the second."),
    ),
    "refunds-nothing": Meaning(
        N_("A till gives money back of a sale that it did not make with this card."),
        N_("Ask the cashier for the receipt; if the refund is right, give the member the money."),
    ),
    "refund-too-much": Meaning(
        N_("A till gives back more than the sale was."),
        N_("Ask the cashier what was taken back; nothing of this refund is posted."),
    ),
    "refund-of-unpaid-sale": Meaning(
        N_("Money was promised back of a sale that turned out not to be paid."),
        N_("Tell the member that nothing was taken from the card, so nothing is owed."),
    ),
    "too-many-doubts": Meaning(
        N_("A till has too many sales in doubt with one card."),
        N_("Have the reader and the cable at the till checked, and settle the doubts there."),
    ),
    "doubt-fits-no-transaction": Meaning(
        N_("A sale in doubt was made for none of the card's transactions: no card told it so."),
        _READ_VOUCHER,
    ),
    "denied-sale-was-paid": Meaning(
        N_("The till said that a sale was not paid, and the card says that it was."),
        N_("The outlet is credited. Ask whether the member got the goods, else refund the sale."),
    ),
    "resolution-contradicts-card": Meaning(
        N_("A till's word on a sale in doubt contradicts the card's, which counts."),
        N_("Compare receipt and card (`dispute`), and tell the cashier what the card says."),
    ),
    "decision-contradicted": Meaning(
        N_("A supervisor's decision on a sale in doubt turned out otherwise by the card."),
        N_("Tell the supervisor and the member; goods or money may be owed (`dispute`)."),
    ),
    "sale-without-pin": Meaning(
        N_("A sale above the amount for which a PIN is needed, without the till's word of one."),
        _READ_VOUCHER,
    ),
    "sale-with-blocked-card": Meaning(
        N_("A till sold to a card that is blocked: its block list was old, or it ignores it."),
        N_("See when the till last asked for its list (`reconcile till`); then have it sync."),
    ),
    "other-seller": Meaning(
        N_("A till sells in the name of another seller than it is registered for."),
        N_("The sales go to the seller registered. Correct the till, or register it anew."),
    ),
    "forked-chain": Meaning(
        N_("A till signed two different vouchers under one number: two tills with one key."),
        N_("Block the till at once; find the second device, or the backup it was started from."),
    ),
    "wrong-credit-state": Meaning(
        N_("A card says that other credits arrived on it than the server delivered."),
        _BLOCK_AND_ASK,
    ),
    "credit-without-proof": Meaning(
        N_("A card has a credit, and the proof of it was lost on the way."),
        N_("See `in-doubt`; when it is sure, say so with `credit settle`."),
    ),
    "spent-after-restoring": Meaning(
        N_("A lost card was spent with after its money had been restored: at our expense."),
        N_("Ask the outlet who paid with it; the loss stays in suspense until it is decided on."),
    ),
    "card-not-settled": Meaning(
        N_("The program fails on a card, which is left as it is; its vouchers are kept."),
        N_("Send the card's number and the server's log to whoever keeps the program up."),
    ),
    "order-paid-twice": Meaning(
        N_("Two sales paid one order of a member's: it was on two tills' lists at once."),
        N_("Ask the outlet which of them was handed over, and have the other refunded there."),
    ),
    UNREPORTED_SALE: Meaning(
        N_("A card names a sale that its till has not sent: it is late, or keeps it to itself."),
        N_("Have the till sync. It closes by itself when the sale comes; a till that is lost: note."),
    ),
    CLOCK_BEHIND: Meaning(
        N_("A card made this sale later than the till's clock says, by an hour or more."),
        N_("Set the clock of the till, or of the one before it, and see that it has time by network."),
    ),
    MISSING_VOUCHER: Meaning(
        N_("Vouchers that were acknowledged are not in the database any more."),
        N_("Stop changing the database; restore them from the backup, or from the till itself."),
    ),
    REJECTED_BATCH: Meaning(
        N_("A batch was refused whole; what could be kept of it is kept, with the reason."),
        N_("If it is of a till of ours, see what the till's screen says; else close this."),
    ),
}  # fmt: skip
