"""What crossed, or did not cross, the network.

SyncError
  MalformedMessage             bytes that are not the format they claim to be
  WrongSignature               a signature that does not verify, or by another key
  BrokenChain                  vouchers out of order, missing, or with a byte changed
  ServerUnreachable            no answer: nothing is known of what the server did
    ServerFails                it answers that it cannot: its own trouble, not the network's
  ServerRefused                the server answered with a problem
  ForgedAcknowledgement        an acknowledgement that is not for what was sent
  StaleFeed                    a feed older than, or not joining, the one in force
  ClockOutOfStep               this machine's clock is too far from the server's
  RelayInterrupted             a relayed card session broke off half-way
"""

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import N_


class SyncError(DoBMIError):
    code = "SYNC"
    message = N_("The exchange with the central server failed.")
    next_step = N_("Go on selling; the till tries again by itself.")


class MalformedMessage(SyncError):
    code = "SYNC-MALFORMED"
    message = N_("Not a valid message: {detail}")
    next_step = N_("Keep the message and tell the central office.")


class WrongSignature(SyncError):
    code = "SYNC-SIGNATURE"
    message = N_("The signature on the {what} is wrong.")
    next_step = N_("Do not use it; tell the central office.")


class BrokenChain(SyncError):
    code = "SYNC-CHAIN"
    message = N_("The chain of vouchers is broken at number {sequence}: {detail}")
    next_step = N_("Keep the till's database as it is and tell the central office.")


class ServerUnreachable(SyncError):
    code = "SYNC-UNREACHABLE"
    message = N_("The central server cannot be reached: {detail}")
    next_step = N_("Check the network. Sales go on and are sent later.")


class ServerFails(ServerUnreachable):
    code = "SYNC-SERVER-FAILS"
    message = N_("The central server has a problem of its own: {detail}")
    next_step = N_("Sales go on and are sent later. Tell the central office if it lasts.")


class ServerRefused(SyncError):
    code = "SYNC-REFUSED"
    message = N_("The central server refused: {detail} ({problem})")
    next_step = N_("{advice}")


class ForgedAcknowledgement(SyncError):
    code = "SYNC-ACK"
    message = N_("The acknowledgement does not fit what was sent: {detail}")
    next_step = N_("Nothing is deleted here. Tell the central office.")


class StaleFeed(SyncError):
    code = "SYNC-FEED"
    message = N_("The feed does not follow the one in force: {detail}")
    next_step = N_("The till keeps its present block list and limits and asks again.")


class ClockOutOfStep(SyncError):
    code = "SYNC-CLOCK"
    message = N_("This machine's clock is {seconds} seconds away from the server's.")
    next_step = N_("Set the clock, then sync again.")


class RelayInterrupted(SyncError):
    code = "SYNC-RELAY"
    message = N_("The session between the central server and the card broke off: {detail}")
    next_step = N_("Tap the same card again; it goes on where it stopped.")
    money_moved = MoneyMoved.UNKNOWN
