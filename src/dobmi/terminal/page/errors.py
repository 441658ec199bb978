"""What the page refuses before any rule of the till is asked.

PageError
  NotLoopback        asked to listen where other machines could reach it
  ForeignRequest     a request that this page did not make, or another name for this machine
  SessionOver        nobody is logged in, or not any more
  FormIncomplete     a field that the page itself would have sent is missing or unreadable
  CartChanged        the cart is not the one any more that was to be paid
  NotOnDuty          the open shift is another cashier's
  NoSetUp            this page was started without what sets a till up
"""

from dobmi.errors import DoBMIError
from dobmi.i18n import N_

_FIELDS = {
    "amount": N_("Amount"),
    "counted": N_("Counted in the drawer"),
    "number": N_("Number"),
    "off": N_("Discount in rupiah"),
    "percent": N_("Discount in percent"),
    "pin": N_("PIN"),
    "quantity": N_("Quantity"),
    "reason": N_("Reason"),
    "reply": N_("Digits that the office says"),
    "supervisor": N_("Staff number"),
}
"""What the page calls them."""


class PageError(DoBMIError):
    code = "PAGE"
    message = N_("The page cannot do this.")


class NotLoopback(PageError):
    code = "PAGE-NOT-LOOPBACK"
    message = N_("The page may not listen on {host}: other machines could reach it there.")
    next_step = N_("Leave `page_host` in the settings at 127.0.0.1.")


class ForeignRequest(PageError):
    code = "PAGE-FOREIGN"
    message = N_("This request did not come from the till's own page.")
    next_step = N_("Load the page again at http://127.0.0.1 and repeat what you did.")


class SessionOver(PageError):
    code = "PAGE-SESSION"
    message = N_("Nobody is logged in at this till.")
    next_step = N_("Log in with your staff card or your PIN.")


class FormIncomplete(PageError):
    code = "PAGE-FORM"
    message = N_("Something is missing in what was sent: {field}")
    next_step = N_("Fill it in and try again.")

    def __init__(self, *, field: str) -> None:
        super().__init__(field=_FIELDS.get(field, field))


class CartChanged(PageError):
    code = "PAGE-CART-CHANGED"
    message = N_("The cart has changed meanwhile.")
    next_step = N_("Look at the total and press the button again.")


class NotOnDuty(PageError):
    code = "PAGE-NOT-ON-DUTY"
    message = N_("The open shift is that of {name}.")
    next_step = N_("Take the shift over, or have {name} log in.")


class NoSetUp(PageError):
    code = "PAGE-NO-SET-UP"
    message = N_("This page cannot set the till up.")
    next_step = N_("Use the commands: dobmi terminal setup")
