"""What to do, in words for who sits at the page, where an error's own next step names a command."""

from collections.abc import Mapping
from typing import Final

from dobmi.i18n import N_

_CALL: Final = N_("Tell the office; it can be mended there.")
_ANOTHER: Final = N_("Put this card aside and take another blank one.")

AT_THE_STATION: Final[Mapping[str, str]] = {
    "STATION-NOT-ENROLLED": _CALL,
    "STATION-ENROLLED": _CALL,
    "STATION-FILE": _CALL,
    "STATION-NO-CARD": N_("Press the button again, and lay the card on the reader."),
    "STATION-UID": N_("Type the fourteen digits of its UID, or the card number printed on it."),
    "READER-SCHEME": _CALL,
    "READER-UNAVAILABLE": N_("Plug the reader in again; if it stays, start the station again."),
    "KEY-PASSPHRASE": _CALL,
    "KEY-PASSPHRASE-EMPTY": _CALL,
    "CARD-BLANK": N_("Issue it to a member first."),
    "CARD-UNSUPPORTED": _ANOTHER,
    "CARD-UNFINISHED": N_("Issue it again to the same member: that finishes it."),
    "CARD-ILLEGAL-COMMAND": _ANOTHER,
    "CARD-ISSUED": N_("Take a blank card; look at this one under Card."),
    "SYNC-UNREACHABLE": N_("Check the network cable, then try again: nothing is done twice."),
    "SYNC-SERVER-FAILS": N_("Wait a minute, then try again. Tell the office if it lasts."),
    "SYNC-RELAY": N_("Lay the same card on again; it goes on where it stopped."),
    "PAGE-NOT-LOOPBACK": _CALL,
    "SETTINGS": _CALL,
}
"""By the error's code; the places are filled from the same facts."""
