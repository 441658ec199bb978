"""What the staff's page refuses before the central server is asked.

PageError
  LoggedOut          nobody is logged in, or not any more
  NotYourWork        the role of who is logged in does not have this page
  NoCardHere         no card lies on the reader
  CashTooLittle      less cash than the amount
  PinsDiffer         the new PIN, typed twice, is not the same
  NoRun              no list is being issued from this browser
  NothingIssued      no card of a list to print labels for yet
  PreviewGone        the list that was looked at is not there any more
"""

from dobmi.i18n import N_
from dobmi.web.errors import PageError


class LoggedOut(PageError):
    code = "STAFF-LOGGED-OUT"
    message = N_("Nobody is logged in at this station.")
    next_step = N_("Log in with your name and password.")


class NotYourWork(PageError):
    code = "STAFF-NOT-YOURS"
    message = N_("Your roles do not have this page.")
    next_step = N_("Choose another one from the menu, or ask the office for the role.")


class NoCardHere(PageError):
    code = "STAFF-NO-CARD"
    message = N_("No card lies on the reader.")
    next_step = N_("Lay the card on the reader and try again.")


class CashTooLittle(PageError):
    code = "STAFF-CASH"
    message = N_("The cash received is less than the amount.")
    next_step = N_("Count the cash again, or take a smaller amount.")


class PinsDiffer(PageError):
    code = "STAFF-PINS-DIFFER"
    message = N_("The two PINs are not the same.")
    next_step = N_("Have the member type the new PIN twice.")


class NoRun(PageError):
    code = "STAFF-NO-RUN"
    message = N_("No list is being issued from here.")
    next_step = N_("Open the list and begin.")


class NothingIssued(PageError):
    code = "STAFF-NOTHING-ISSUED"
    message = N_("No card of this list is issued yet.")
    next_step = N_("Issue cards first; labels are printed for those that are.")


class PreviewGone(PageError):
    code = "STAFF-PREVIEW-GONE"
    message = N_("The list that was looked at is not here any more.")
    next_step = N_("Choose the file again.")
