"""What a page refuses before any rule of its role is asked.

PageError
  NotLoopback        asked to listen where other machines could reach it
  ForeignRequest     a request that this page did not make, or another name for this machine
  FileTooLarge       a file larger than any of its kind
  FormIncomplete     a field that the page itself would have sent is missing or unreadable
"""

from dobmi.errors import DoBMIError
from dobmi.i18n import N_


class PageError(DoBMIError):
    code = "PAGE"
    message = N_("The page cannot do this.")


class NotLoopback(PageError):
    code = "PAGE-NOT-LOOPBACK"
    message = N_("The page may not listen on {host}: other machines could reach it there.")
    next_step = N_("Leave `page_host` in the settings at 127.0.0.1.")


class ForeignRequest(PageError):
    code = "PAGE-FOREIGN"
    message = N_("This request did not come from the page itself.")
    next_step = N_("Load the page again and repeat what you did.")


class FileTooLarge(PageError):
    code = "PAGE-FILE-LARGE"
    message = N_("This file is larger than {megabytes} MB.")
    next_step = N_("Split it, or check that it is the right file.")


class FormIncomplete(PageError):
    """`field`: what the page calls it."""

    code = "PAGE-FORM"
    message = N_("Something is missing in what was sent: {field}")
    next_step = N_("Fill it in and try again.")

    def __init__(self, *, field: str) -> None:
        super().__init__(field=field)
