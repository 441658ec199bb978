"""What to do, in words for who stands at the page, where an error's own next step names a command."""

from collections.abc import Mapping
from typing import Final

from dobmi.i18n import N_

_CALL: Final = N_("Tell the office; it can be mended there.")
_OFFICE: Final = N_("Ask for another card, or send the member to the office with this one.")

ON_THE_PAGE: Final[Mapping[str, str]] = {
    "SALE-AMOUNT": N_(
        "Type an amount above nought. To give money back, open the sale under Sales."
    ),
    "DECISION-NOT-IN-DOUBT": N_("Load the page again and look at the list."),
    "REFUND-IN-DOUBT": N_("Tap the member's card first, under Balance: that settles the sale."),
    "REFUND-TEXT": N_("Give a reason of at most 200 characters."),
    "TILL-IN-USE": N_("End that program, or switch the till off and on."),
    "TILL-NOT-ENROLLED": N_("Set the till up: it is paired with the central server there."),
    "TILL-IDENTITY": _CALL,
    "TILL-NO-CARD-KEYS": N_("Have the office give this till its key file."),
    "KEY-PASSPHRASE": _CALL,
    "KEY-PASSPHRASE-EMPTY": _CALL,
    "SHIFT-NONE": N_("Open a shift first."),
    "LOGIN-NAME": N_("Correct the cashier's name in the set-up."),
    "PRINT": N_("It waits under Status and can be printed later."),
    "PRINT-NO-PRINTER": N_("Show the copy on the screen, or choose a printer in the set-up."),
    "PRINT-SETTING": N_("Choose one from the list, or type network: and its address."),
    "PRINT-IN-USE": N_("That program prints what waits."),
    "PRINT-NO-PAPER": N_("Look at the list under Status."),
    "PRINT-DONE": N_("To have it once more, open the sale and print its receipt."),
    "READER-SCHEME": N_("Choose a reader in the set-up."),
    "READER-UNAVAILABLE": N_("Plug the reader in again; if it stays, switch the till off and on."),
    "CARD-BLANK": _OFFICE,
    "CARD-UNSUPPORTED": _OFFICE,
    "CARD-UNFINISHED": _OFFICE,
    "CARD-ILLEGAL-COMMAND": _OFFICE,
    "CARD-ISSUED": N_("Take a blank card; have the office look at this one."),
    "PAGE-NOT-LOOPBACK": _CALL,
    "PAGE-NO-SET-UP": _CALL,
    "SETTINGS": _CALL,
}
"""By the error's code; the places are filled from the same facts."""
