"""What a till refuses, and what it cannot finish.

TerminalError
  SaleRefused                  no sale; nothing was asked of the card's money
    NotAnAmount                  the text is no amount in whole rupiah
    AmountNotPositive            nought or less
    AmountOverLimit              more than one sale may be
    BadCart                      goods that a voucher cannot hold
    SyncTooOld                   the till has sold too long without the central server
    ClockAhead                   the machine's clock is too far ahead to be believed
    TooManyUnsent                too many vouchers wait to be sent
    TooMuchUnsent                too much money waits to be sent
    CardBlocked                  the card is on the block list
    CardExpired                  the card's last valid day is over
    CardKeysPast                 the card's keys are of a generation that is not taken any more
    PinNeeded                    the amount needs the member's PIN
    PinNotGiven                  nobody typed it in time
    CardPinLocked                the card's PIN was wrong too often
    NoCardCame                   nobody tapped a card in time
    PriceClassDiffers            the total was made for members of another class
  SaleInDoubt                  the commit was sent, its answer never came
    AnotherCard                  another card than the one in doubt was tapped
    StillInDoubt                 the card was tapped again, and cannot tell
  DecisionRefused              a supervisor's decision was not written down
    NotInDoubt                   no open sale in doubt has that number
    BadDecision                  no name or reason, or one that a voucher cannot hold
  LedgerError                  the till's own database
    LedgerFull                   no room on the disk
    LedgerUnusable               it cannot be written or read
    LedgerTooNew                 made by a newer program
    LedgerTooOld                 made by a program so old that this one cannot take it over
  RefundRefused                no refund; nothing was written
    NoSuchSale                   this till has no sale of that number
    SaleNotPaid                  the card never paid it
    RefundOfDoubt                it is not known yet whether it was paid
    RefundAmount                 nothing, or more than is left of the sale
    SupervisorNeeded             a sale of an earlier shift
    BadRefund                    no reason, or one that a voucher cannot hold
    BadRefundGoods               goods that are not in the sale, or not any more
  PaidNotRecorded              the card paid, the voucher could not be written
  TillInUse                    another process owns this till
  NotEnrolled                  the till has no identity yet
  AlreadyEnrolled              the till has one already
  NotThisTill                  the identity key is not the one the ledger was made with
  NoCardKeys                   the till was started without the keys that open cards
  PassphrasesDiffer            a new passphrase, typed twice, is not the same
  CounterBusy                  the counter is at another request
  CounterClosed                the counter's program is ending
  CounterFault                 it met a fault, and has begun anew
  PairingProblem               the till could not be paired with the central server
    NoPairing                    none is under way
    PairingNotApproved           the office has not approved it yet
    PairingRefused               the office refused it
    WrongReply                   not the digits that the office said
    TooManyWrongReplies
  ShiftOpen                    a shift is open already
  NoShift                      none is
  BadCash                      an amount of cash that cannot be, or no reason for it
  TooManyTakeovers             a shift went from hand to hand too often
  NoSuchReport                 no shift of that number has a Z report here
  LoginRefused                 nobody was logged in
    LoginNeeded                  the outlet's staff is listed, and nobody has logged in
    NoSuchStaff                  nobody of that number works here
    NoPin                        they have no PIN, only a card
    WrongPin                     not theirs
    PinLocked                    wrong too often
    NotOfStaff                   the card is a member's who does not work here
    NotASupervisor               a cashier, where a supervisor is needed
    BadCashier                   a name that vouchers cannot hold
  NoSuchItem                   not in the catalogue
  NoSuchHeldCart               not held, or not any more
  TooManyHeldCarts             no more can be put aside
  OrderRefused                 nothing was done with the member's order
    NoSuchOrder                  not on this outlet's list
    OrderOfAnother               the card is not that of the member who ordered
    OrderPaid                    paid already
    OrderNotPaid                 not paid yet
    OrderEnded                   handed over or cancelled
    OrderInDoubt                 a sale of it may have been paid
  BadRequestId                 not the kind of number that a request may have
  RequestDiffers               the same number was another request's
  PrintFailed                  a paper was not printed; what it is of stands as it is
    NoPrinter                    none is set
    BadPrinter                   the setting names no printer
    PrinterGone                  it is not there, or stopped answering
    PaperOut                     its paper is used up
    PrinterCoverOpen             its cover is open
    PrinterFault                 it says that it cannot print
    PrinterInUse                 another program prints for this till
    NoSuchPaper                  no paper of that number is known
    PaperDone                    it was printed or dismissed already
"""

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.wib import local_time


class TerminalError(DoBMIError):
    code = "TILL"
    message = N_("The till cannot do this.")


class SaleRefused(TerminalError):
    code = "SALE-REFUSED"
    message = N_("The sale was refused.")


class NotAnAmount(SaleRefused):
    code = "SALE-NOT-AN-AMOUNT"
    message = N_("{text!r} is no amount in whole rupiah.")
    next_step = N_("Type the amount as 12500 or 12.500.")


class AmountNotPositive(SaleRefused):
    code = "SALE-AMOUNT"
    message = N_("A sale of {amount} is no sale.")
    next_step = N_("Type an amount above nought. To give money back: dobmi terminal refund")


class AmountOverLimit(SaleRefused):
    code = "SALE-LIMIT"
    message = N_("{amount} is more than one sale may be ({limit}).")
    next_step = N_("Check the amount; divide the purchase, or ask the supervisor.")


class BadCart(SaleRefused):
    code = "SALE-CART"
    message = N_("The cart cannot be sold: {detail}")
    next_step = N_("Correct the goods lines: name, quantity, price; at most 200 lines.")


class SyncTooOld(SaleRefused):
    code = "SALE-SYNC-AGE"
    message = N_("The till last met the central server {hours} hours ago; {hours_max} are allowed.")
    next_step = N_("Bring the till to a network and sync, then sell again.")


class ClockAhead(SaleRefused):
    code = "SALE-CLOCK"
    message = N_("This machine's clock is {days} days after the central server's last word.")
    next_step = N_(
        "Check date and time of this machine and set them. Then bring the till to a network and sync."
    )


class TooManyUnsent(SaleRefused):
    code = "SALE-UNSENT-COUNT"
    message = N_("{count} vouchers wait to be sent; {limit} are allowed.")
    next_step = N_("Bring the till to a network and sync, then sell again.")


class TooMuchUnsent(SaleRefused):
    code = "SALE-UNSENT-SUM"
    message = N_("With this sale {total} would wait to be sent; {limit} is allowed.")
    next_step = N_("Bring the till to a network and sync, then sell again.")


class CardBlocked(SaleRefused):
    code = "SALE-CARD-BLOCKED"
    message = N_("This card is blocked.")
    next_step = N_("Do not hand over the goods. Send the member to the office with the card.")


class CardExpired(SaleRefused):
    code = "SALE-CARD-EXPIRED"
    message = N_("This card was valid until {expires}.")
    next_step = N_("Send the member to the office: a new card gets the whole balance.")


class PinNeeded(SaleRefused):
    code = "SALE-PIN-NEEDED"
    message = N_("A sale of more than {limit} needs the member's PIN.")
    next_step = N_("Have the member type the PIN, then tap the card.")


class PinNotGiven(SaleRefused):
    code = "SALE-PIN-NOT-GIVEN"
    message = N_("The PIN was not typed within {seconds} seconds.")
    next_step = N_("Start the sale again when the member is ready.")


class CardPinLocked(SaleRefused):
    code = "SALE-PIN-LOCKED"
    message = N_("The PIN of this card is locked: it was wrong too often.")
    next_step = N_(
        "The member can have it freed at a service point. Up to {limit} the card pays without it."
    )


class CardKeysPast(SaleRefused):
    code = "SALE-CARD-KEYS-PAST"
    message = N_("This card still has its old keys, which are not taken any more.")
    next_step = N_("Send the member to a service point: the card gets new ones; its money stays.")


class NoCardCame(SaleRefused):
    code = "SALE-NO-CARD"
    message = N_("No card was tapped in {seconds} seconds.")
    next_step = N_("Start again when the member has the card at hand.")


class PriceClassDiffers(SaleRefused):
    """Facts: `holder`, `card_class`, `cart_class`; an ordinary member's class is empty."""

    code = "SALE-PRICE-CLASS"
    message = N_("{holder} pays the prices of another class of members.")
    next_step = N_("Show the new total, then have the member tap the card again.")

    def __init__(self, *, holder: str, card_class: str, cart_class: str) -> None:
        super().__init__(holder=holder, card_class=card_class, cart_class=cart_class)
        self.card_class = card_class


class SaleInDoubt(TerminalError):
    """Facts: `sequence`, `amount`, `holder`, `uid`."""

    code = "SALE-IN-DOUBT"
    message = N_("It is not known whether {holder} paid {amount} (sale {sequence}).")
    next_step = N_("Do not hand over the goods yet. Tap the same card again and hold it still.")
    money_moved = MoneyMoved.UNKNOWN

    def __init__(self, *, sequence: int, uid: bytes, holder: str, amount: Rupiah) -> None:
        super().__init__(sequence=sequence, uid=uid.hex().upper(), holder=holder, amount=amount)
        self.sequence = sequence
        self.uid = uid
        self.holder = holder
        self.amount = amount


class AnotherCard(SaleInDoubt):
    code = "SALE-ANOTHER-CARD"
    message = N_("This is another card; the sale of {amount} to {holder} is still in doubt.")
    next_step = N_("Tap the card of {holder} again.")


class StillInDoubt(SaleInDoubt):
    code = "SALE-STILL-IN-DOUBT"
    message = N_("The card cannot tell any more whether {holder} paid {amount} (sale {sequence}).")
    next_step = N_("Do not hand over the goods. The office settles it after the next sync.")


class DecisionRefused(TerminalError):
    code = "DECISION-REFUSED"
    message = N_("The sale in doubt was not closed.")


class NotInDoubt(DecisionRefused):
    code = "DECISION-NOT-IN-DOUBT"
    message = N_("Sale {sequence} is not in doubt at this till, or not any more.")
    next_step = N_("Look at the list: dobmi terminal in-doubt")


class BadDecision(DecisionRefused):
    code = "DECISION-TEXT"
    message = N_("A decision needs a name and a reason.")
    next_step = N_("Give a name of at most 80 and a reason of at most 200 characters.")


class LedgerError(TerminalError):
    code = "LEDGER"
    message = N_("The till's database failed: {detail}")
    next_step = N_("Stop selling and tell the supervisor. Do not delete the database.")


class LedgerFull(LedgerError):
    code = "LEDGER-FULL"
    message = N_("The till's disk is full.")
    next_step = N_("Make room on the disk, then go on. Do not delete the database.")


class LedgerUnusable(LedgerError):
    code = "LEDGER-UNUSABLE"


class LedgerTooNew(LedgerError):
    code = "LEDGER-TOO-NEW"
    message = N_("The till's database is of version {found}; this program knows {known}.")
    next_step = N_("Install the program version that last ran on this till, or a newer one.")


class LedgerTooOld(LedgerError):
    code = "LEDGER-TOO-OLD"
    message = N_(
        "The till's database is of version {found}; this program, of {known}, cannot go on with it."
    )
    next_step = N_(
        "Do not delete it. With the program version that last ran on this till: sync, then ask the office."
    )


class PaidNotRecorded(TerminalError):
    code = "SALE-NOT-RECORDED"
    message = N_("{holder} paid {amount} (sale {sequence}), but the till cannot write it down.")
    next_step = N_("Do not charge again. Make room on the disk, then tap the same card again.")
    money_moved = MoneyMoved.YES

    def __init__(self, *, sequence: int, holder: str, amount: Rupiah) -> None:
        super().__init__(sequence=sequence, holder=holder, amount=amount)
        self.sequence = sequence
        self.holder = holder
        self.amount = amount


class RefundRefused(TerminalError):
    code = "REFUND-REFUSED"
    message = N_("The refund was refused.")


class NoSuchSale(RefundRefused):
    code = "REFUND-NO-SALE"
    message = N_("This till has no sale {sequence}.")
    next_step = N_("Type the sale's number as it stands on the receipt of this till.")


class SaleNotPaid(RefundRefused):
    code = "REFUND-NOT-PAID"
    message = N_("Sale {sequence} was never paid: there is nothing to give back.")
    next_step = N_("Compare the number with the receipt.")


class RefundOfDoubt(RefundRefused):
    code = "REFUND-IN-DOUBT"
    message = N_("It is not known yet whether {holder} paid sale {sequence}.")
    next_step = N_("Tap the member's card first (dobmi terminal balance): that settles the sale.")


class RefundAmount(RefundRefused):
    code = "REFUND-AMOUNT"
    message = N_("{amount} cannot be given back: of sale {sequence} over {sale}, {left} is left.")
    next_step = N_("Look at the earlier refunds of this sale, and type a smaller amount.")


class SupervisorNeeded(RefundRefused):
    code = "REFUND-SUPERVISOR"
    message = N_("A supervisor must agree: sale {sequence} is of shift {shift}.")
    next_step = N_("Ask the supervisor to log in for it, with PIN or card.")


class BadRefund(RefundRefused):
    code = "REFUND-TEXT"
    message = N_("A refund has a reason, names are at most 80 characters, the goods come to it.")
    next_step = N_("Give a reason of at most 200 characters with --reason.")


class BadRefundGoods(RefundRefused):
    code = "REFUND-GOODS"
    message = N_("So much of {name!r} is not in the sale, or was given back before.")
    next_step = N_("Look at the sale's goods and at its earlier refunds.")


class TillInUse(TerminalError):
    code = "TILL-IN-USE"
    message = N_("Another program (process {pid}) is using this till.")
    next_step = N_("Use the till in that window, or end that program first.")


class NotEnrolled(TerminalError):
    code = "TILL-NOT-ENROLLED"
    message = N_("This till is not known to the central server yet.")
    next_step = N_(
        "Ask the office for an invitation and run: dobmi terminal enrol XXXXXX-XXXXXX-XXXXXX-XXXXXX"
    )


class AlreadyEnrolled(TerminalError):
    code = "TILL-ENROLLED"
    message = N_("This till is enrolled already, as number {terminal_id}.")
    next_step = N_("Use it as it is; a new till needs a new database and identity file.")


class NotThisTill(TerminalError):
    code = "TILL-IDENTITY"
    message = N_("The identity file is not the one of till {terminal_id}, whose database this is.")
    next_step = N_("Correct `identity` or `database` in the settings.")


class NoCardKeys(TerminalError):
    code = "TILL-NO-CARD-KEYS"
    message = N_("The till was started without the keys that open cards.")
    next_step = N_("Have the office give this till its key file, and name it in the settings.")


class PassphrasesDiffer(TerminalError):
    code = "TILL-PASSPHRASE"
    message = N_("The two passphrases are not the same.")
    next_step = N_("Run the command again and type the same passphrase twice.")


class CounterBusy(TerminalError):
    code = "COUNTER-BUSY"
    message = N_("The till is busy with something else.")
    next_step = N_("Finish or cancel that first.")


class CounterClosed(TerminalError):
    code = "COUNTER-CLOSED"
    message = N_("The till's program is ending.")
    next_step = N_("Wait until it has started again.")


class CounterFault(TerminalError):
    code = "COUNTER-FAULT"
    message = N_("The till's program met a fault and has begun anew.")
    next_step = N_("Try again. Tell the supervisor if this repeats.")


class ShiftOpen(TerminalError):
    code = "SHIFT-OPEN"
    message = N_("Shift {shift} is open already.")
    next_step = N_("Go on selling, or close it first.")


class NoShift(TerminalError):
    code = "SHIFT-NONE"
    message = N_("No shift is open.")
    next_step = N_("Open a shift first: dobmi terminal shift open --float 0")


class BadCash(TerminalError):
    code = "SHIFT-CASH"
    message = N_("That cannot be in the drawer, or has no reason.")
    next_step = N_("Type an amount of nought or more; to put in or take out cash, give a reason.")


class TooManyTakeovers(TerminalError):
    code = "SHIFT-TAKEOVERS"
    message = N_("This shift was taken over {count} times already.")
    next_step = N_("Close it, and open a new one.")


class NoSuchReport(TerminalError):
    code = "SHIFT-NO-REPORT"
    message = N_("There is no Z report of shift {shift}.")
    next_step = N_("Look at the shift's number; an open shift has an X report.")


class LoginRefused(TerminalError):
    code = "LOGIN-REFUSED"
    message = N_("Nobody was logged in.")


class LoginNeeded(LoginRefused):
    code = "LOGIN-NEEDED"
    message = N_("This outlet's staff log in to sell.")
    next_step = N_("Log in with your number and PIN, or with your card.")


class NoSuchStaff(LoginRefused):
    code = "LOGIN-NUMBER"
    message = N_("Nobody of this outlet has the number {number}.")
    next_step = N_("Look at your number; if it is new, sync first.")


class NoPin(LoginRefused):
    code = "LOGIN-NO-PIN"
    message = N_("{name} has no PIN.")
    next_step = N_("Log in with the card, or have the office set a PIN, then sync.")


class WrongPin(LoginRefused):
    code = "LOGIN-PIN"
    message = N_("This is not the PIN. Tries left: {left}.")
    next_step = N_("Type it again, slowly; or log in with the card.")


class PinLocked(LoginRefused):
    """Facts: `name`, `until_unix_seconds`."""

    code = "LOGIN-LOCKED"
    message = N_("Too many wrong PINs: {name} is locked out here until {time}.")
    next_step = N_("Wait until then, or log in with the card.")

    def __init__(self, *, name: str, until_unix_seconds: int) -> None:
        super().__init__(
            name=name,
            until_unix_seconds=until_unix_seconds,
            time=local_time(until_unix_seconds),
        )


class NotOfStaff(LoginRefused):
    code = "LOGIN-CARD"
    message = N_("The holder of this card does not work here.")
    next_step = N_("Take the card of somebody of this outlet's staff; if it is new, sync first.")


class NotASupervisor(LoginRefused):
    code = "LOGIN-SUPERVISOR"
    message = N_("{name} is no supervisor here.")
    next_step = N_("Ask a supervisor to log in for this.")


class BadCashier(LoginRefused):
    code = "LOGIN-NAME"
    message = N_("A cashier's name has 1 to 80 characters.")
    next_step = N_("Correct `cashier` in the settings.")


class NoSuchItem(TerminalError):
    code = "CATALOGUE-NO-ITEM"
    message = N_("Nothing in the catalogue has the code {text!r}.")
    next_step = N_("Search it by name, or sell it as a plain amount.")


class NoSuchHeldCart(TerminalError):
    code = "CART-NOT-HELD"
    message = N_("The cart {number} is not held, or was fetched already.")
    next_step = N_("Look at the list of held carts.")


class TooManyHeldCarts(TerminalError):
    code = "CART-HELD"
    message = N_("{count} carts are held already.")
    next_step = N_("Fetch one of them and finish it first.")


class OrderRefused(TerminalError):
    code = "ORDER-REFUSED"
    message = N_("The order was left as it is.")


class NoSuchOrder(OrderRefused):
    code = "ORDER-NONE"
    message = N_("Order {order} is not on this outlet's list.")
    next_step = N_("Look at the number; if the order is new, sync first.")


class OrderOfAnother(OrderRefused):
    """Facts: `order`, `member` whose order it is, `holder` whose card was tapped."""

    code = "ORDER-OTHER-CARD"
    message = N_("Order {order} is that of {member}; this is the card of {holder}.")
    next_step = N_(
        "Have {member}'s card tapped. If {holder} wants the goods, cancel the order and sell them anew."
    )

    def __init__(self, *, order: int, member: str, holder: str) -> None:
        super().__init__(order=order, member=member, holder=holder)


class OrderPaid(OrderRefused):
    code = "ORDER-PAID"
    message = N_("Order {order} was paid with sale {sale}.")
    next_step = N_("Hand the goods over; or, to cancel it, refund that sale first.")


class OrderNotPaid(OrderRefused):
    code = "ORDER-NOT-PAID"
    message = N_("Order {order} is not paid yet.")
    next_step = N_("Open it as a cart and have the member pay.")


class OrderEnded(OrderRefused):
    code = "ORDER-ENDED"
    message = N_("Order {order} was handed over or cancelled.")
    next_step = N_("Nothing more is to be done with it.")


class OrderInDoubt(OrderRefused):
    code = "ORDER-IN-DOUBT"
    message = N_("It is not known yet whether sale {sequence} paid order {order}.")
    next_step = N_("Tap the member's card first: that settles the sale.")


class BadRequestId(TerminalError):
    code = "REQUEST-ID"
    message = N_("A request's number has 1 to 64 plain characters.")
    next_step = N_("Load the page again.")


class RequestDiffers(TerminalError):
    code = "REQUEST-DIFFERS"
    message = N_("This request was made before, for something else.")
    next_step = N_("Load the page again, and compare the total.")


class PairingProblem(TerminalError):
    code = "PAIRING"
    message = N_("The till could not be paired.")


class NoPairing(PairingProblem):
    code = "PAIRING-NONE"
    message = N_("No pairing is under way.")
    next_step = N_("Begin again: a new code is shown.")


class PairingNotApproved(PairingProblem):
    code = "PAIRING-WAITING"
    message = N_("The central office has not approved this till yet.")
    next_step = N_("Tell the office the code that is shown, and wait for its four digits.")


class PairingRefused(PairingProblem):
    code = "PAIRING-REFUSED"
    message = N_("The central office refused this till.")
    next_step = N_("Ask the office why. Begin again only if it says so.")


class WrongReply(PairingProblem):
    code = "PAIRING-REPLY"
    message = N_("Those are not the digits that belong to this code. Tries left: {left}.")
    next_step = N_(
        "Ask the office to read its four digits again. If they stay wrong, somebody may be in "
        "between: stop, and tell the office."
    )


class TooManyWrongReplies(PairingProblem):
    code = "PAIRING-REPLIES"
    message = N_("The digits were wrong too often. This pairing is given up.")
    next_step = N_("Tell the office to block this till, then begin again: a new code is shown.")


class PrintFailed(TerminalError):
    """Facts of those that a printer raises: `printer`, its setting."""

    code = "PRINT"
    message = N_("The paper was not printed.")
    next_step = N_("It stays in the list and can be printed later: dobmi terminal print list")


class NoPrinter(PrintFailed):
    code = "PRINT-NO-PRINTER"
    message = N_("This till has no printer.")
    next_step = N_("Show the copy on the screen, or set `printer` in the settings.")


class BadPrinter(PrintFailed):
    code = "PRINT-SETTING"
    message = N_("{setting!r} names no printer.")
    next_step = N_(
        "Write usb:04b8:0e15, serial:/dev/ttyUSB0?baud=9600, network:192.168.1.50:9100, "
        "file:/dev/usb/lp0 or none."
    )


class PrinterGone(PrintFailed):
    code = "PRINT-GONE"
    message = N_("The printer {printer} does not answer: {detail}")
    next_step = N_(
        "Check that it is on and its cable is in. The paper is printed by itself when it is back."
    )


class PaperOut(PrintFailed):
    code = "PRINT-PAPER-OUT"
    message = N_("The printer has no paper.")
    next_step = N_("Put in a new roll and close the cover. The paper is then printed by itself.")


class PrinterCoverOpen(PrintFailed):
    code = "PRINT-COVER-OPEN"
    message = N_("The printer's cover is open.")
    next_step = N_("Close the cover. The paper is then printed by itself.")


class PrinterFault(PrintFailed):
    code = "PRINT-FAULT"
    message = N_("The printer says that it cannot print.")
    next_step = N_("Switch it off, look for jammed paper, and switch it on again.")


class PrinterInUse(PrintFailed):
    code = "PRINT-IN-USE"
    message = N_("Another program (process {pid}) prints for this till.")
    next_step = N_("That program prints what waits. Look at the list: dobmi terminal print list")


class NoSuchPaper(PrintFailed):
    code = "PRINT-NO-PAPER"
    message = N_("There is no paper {number} in the list.")
    next_step = N_("Look at the list: dobmi terminal print list")


class PaperDone(PrintFailed):
    code = "PRINT-DONE"
    message = N_("Paper {number} does not wait any more.")
    next_step = N_("To have it once more, as a copy: dobmi terminal print again {number}")
