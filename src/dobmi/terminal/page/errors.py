"""What the till's page refuses before any rule of the till is asked; the rest is dobmi.web.errors'.

PageError
  FormIncomplete     a field that the page itself would have sent is missing or unreadable
  SessionOver        nobody is logged in, or not any more
  CartChanged        the cart is not the one any more that was to be paid
  NotOnDuty          the open shift is another cashier's
  NoSetUp            this page was started without what sets a till up
"""

from dobmi.i18n import N_
from dobmi.web import errors
from dobmi.web.errors import PageError

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


class FormIncomplete(errors.FormIncomplete):
    def __init__(self, *, field: str) -> None:
        super().__init__(field=self.label(field))

    @staticmethod
    def label(field: str) -> str:
        """What the page calls it."""
        return _FIELDS.get(field, field)


class SessionOver(PageError):
    code = "PAGE-SESSION"
    message = N_("Nobody is logged in at this till.")
    next_step = N_("Log in with your staff card or your PIN.")


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
