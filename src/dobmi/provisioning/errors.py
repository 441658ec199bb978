"""What an issuing station cannot do.

ProvisioningError
  NotEnrolled            the station is not known to a central server yet
  AlreadyEnrolled        its files are there already
  StationFileUnusable    its enrolment cannot be read or written
  NoCardCame             nobody tapped a card in time
  NotAnAmount            the text is no amount that can be put on a card
  NotAUid                the text is no card number
  MemberFileUnusable     no list of members
  PhotoUnusable
  BenchBusy              the reader is at another card's work
  BenchClosed            the page's program is ending
  BenchFault             the program met a fault with a card
"""

from dobmi.errors import DoBMIError
from dobmi.i18n import N_


class ProvisioningError(DoBMIError):
    code = "STATION"
    message = N_("The station cannot do this.")
    next_step = N_("Tell the central office the code of this error.")


class NotEnrolled(ProvisioningError):
    code = "STATION-NOT-ENROLLED"
    message = N_("This station is not enrolled: {detail}")
    next_step = N_(
        "Ask the central office for an invitation, then run: dobmi card enrol INVITATION"
    )


class AlreadyEnrolled(ProvisioningError):
    code = "STATION-ENROLLED"
    message = N_("This station is enrolled already: {file} exists.")
    next_step = N_("Use it as it is; to enrol anew, move the file away first.")


class StationFileUnusable(ProvisioningError):
    code = "STATION-FILE"
    message = N_("The file {file} cannot be read or written: {detail}")
    next_step = N_("Put its owner and permissions right, then run the command again.")


class NoCardCame(ProvisioningError):
    code = "STATION-NO-CARD"
    message = N_("No card was tapped within {seconds} seconds.")
    next_step = N_("Run the command again and lay the card on the reader.")


class NotAnAmount(ProvisioningError):
    code = "STATION-AMOUNT"
    message = N_("{text!r} is no amount in whole rupiah above nought.")
    next_step = N_("Type the amount as 12500 or 12.500.")


class NotAUid(ProvisioningError):
    code = "STATION-UID"
    message = N_("{text!r} is no card UID.")
    next_step = N_("Type the fourteen hex digits that `dobmi card inspect` shows.")


class BenchBusy(ProvisioningError):
    code = "STATION-BUSY"
    message = N_("The reader is at another card's work.")
    next_step = N_("Finish or cancel that first.")


class BenchClosed(ProvisioningError):
    code = "STATION-CLOSED"
    message = N_("The station's program is ending.")
    next_step = N_("Load the page again in a moment.")


class BenchFault(ProvisioningError):
    code = "STATION-FAULT"
    message = N_("The program met a fault with this card.")
    next_step = N_("Look at the card first: it says how far it came. Then do it again.")
class MemberFileUnusable(ProvisioningError):
    code = "STATION-MEMBER-FILE"
    message = N_("{file} cannot be taken as a list of members: {why}.")
    next_step = N_("{advice}")


class PhotoUnusable(ProvisioningError):
    code = "STATION-PHOTO"
    message = N_("{file} cannot be used as a photo: {why}.")
    next_step = N_("Save it as a JPEG or PNG of at most 20 MB, or leave it out.")


