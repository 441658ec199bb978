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
  NothingToPrint         no card of these lines is issued
  BenchBusy              the reader is at another card's work
  BenchClosed            the page's program is ending
  BenchFault             the program met a fault with a card
  CeremonyProblem        keys were neither made nor recovered
    WeakRandomness         too short or too even to be random
    TooFewCustodians       fewer than two people, or somebody twice
    BadThreshold
    ShareGroupWrong        a digit of a share is wrong, in the group that is named
    ShareWrong             no share
    ShareOfAnotherCeremony
    SameShareTwice
    TooFewShares
    ShareNotAsShown        another share was typed back than was shown
    ShareFileDamaged
    ShareFileLocked        another passphrase
    RecoveredKeysDiffer    not the keys whose check values the minutes have
    MinutesUnusable        a file that holds no minutes
    MinutesForged          the signature is not over them, or not the server's
    MinutesBroken          the chain of minutes has a gap
    ClockBehindCeremony
    CeremonyKeysThere      a first ceremony where there are keys
    CeremonyKeysMissing    any other where there are none
    CeremonyUnfinished     one into another place broke off
    RehearsalsKeys         of a rehearsal, where real ones are asked for
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


class MemberFileUnusable(ProvisioningError):
    code = "STATION-MEMBER-FILE"
    message = N_("{file} cannot be taken as a list of members: {why}.")
    next_step = N_("{advice}")


class PhotoUnusable(ProvisioningError):
    code = "STATION-PHOTO"
    message = N_("{file} cannot be used as a photo: {why}.")
    next_step = N_("Save it as a JPEG or PNG of at most 20 MB, or leave it out.")


class NothingToPrint(ProvisioningError):
    code = "STATION-NOTHING-TO-PRINT"
    message = N_("No card of these is issued yet.")
    next_step = N_("Issue the cards first: dobmi card issue-batch NUMBER")


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


class CeremonyProblem(ProvisioningError):
    code = "CEREMONY"
    message = N_("The key ceremony cannot go on.")
    next_step = N_("Nothing was stored. Begin again when the reason is gone.")


class WeakRandomness(CeremonyProblem):
    code = "CEREMONY-RANDOMNESS"
    message = N_("That is too short or too even to be random.")
    next_step = N_(
        "Roll a die {rolls} times and type the digits, or type {characters} characters at random."
    )


class TooFewCustodians(CeremonyProblem):
    code = "CEREMONY-CUSTODIANS"
    message = N_("A ceremony has {least} to {most} custodians, each of them another person.")
    next_step = N_("Name each custodian once: --custodian NAME --custodian NAME")


class BadThreshold(CeremonyProblem):
    code = "CEREMONY-THRESHOLD"
    message = N_("{threshold} of {count} shares cannot be asked for.")
    next_step = N_("Ask for two shares at least, and for no more than there are custodians.")


class ShareGroupWrong(CeremonyProblem):
    code = "CEREMONY-SHARE-GROUP"
    message = N_("Group {group} of {groups} of the share is wrong.")
    next_step = N_("Compare it with the paper, digit by digit, and type the share again.")


class ShareWrong(CeremonyProblem):
    code = "CEREMONY-SHARE"
    message = N_("That is no share: it has {groups} groups of five digits, and a check over them.")
    next_step = N_("Compare it with the paper, digit by digit, and type the share again.")


class ShareOfAnotherCeremony(CeremonyProblem):
    code = "CEREMONY-SHARE-OTHER"
    message = N_("That is a share of ceremony {given}, not of {wanted}.")
    next_step = N_("Bring the share that the minutes of this ceremony name.")


class SameShareTwice(CeremonyProblem):
    code = "CEREMONY-SHARE-TWICE"
    message = N_("Share number {number} was given already.")
    next_step = N_("Another custodian gives another share.")


class TooFewShares(CeremonyProblem):
    code = "CEREMONY-SHARES-FEW"
    message = N_("{given} shares do not restore the keys; {needed} are needed.")
    next_step = N_("Bring further custodians with their shares.")


class ShareNotAsShown(CeremonyProblem):
    code = "CEREMONY-SHARE-DIFFERS"
    message = N_("What was typed is a share, but not the one that was shown.")
    next_step = N_("Type the share from the paper that was just written.")


class ShareFileDamaged(CeremonyProblem):
    code = "CEREMONY-SHARE-FILE"
    message = N_("That is no share file, or it is damaged.")
    next_step = N_("Use a copy of it, or other custodians' shares.")


class ShareFileLocked(CeremonyProblem):
    code = "CEREMONY-SHARE-LOCKED"
    message = N_("The share file does not open with this passphrase, or it was changed.")
    next_step = N_("Type the custodian's own passphrase again, or use other custodians' shares.")


class RecoveredKeysDiffer(CeremonyProblem):
    code = "CEREMONY-KEYS-DIFFER"
    message = N_("These keys are not those of the minutes: {names}.")
    next_step = N_("Nothing was stored. A share is wrong, or the minutes are of other keys.")


class MinutesUnusable(CeremonyProblem):
    code = "CEREMONY-MINUTES"
    message = N_("{file} holds no minutes of a ceremony: {detail}")
    next_step = N_("Use the file as the ceremony wrote it, or a copy of it.")


class MinutesForged(CeremonyProblem):
    code = "CEREMONY-MINUTES-FORGED"
    message = N_("{file} was not signed as it is: {detail}")
    next_step = N_("Do not rely on it. Compare it with the printed and signed minutes.")


class MinutesBroken(CeremonyProblem):
    code = "CEREMONY-MINUTES-CHAIN"
    message = N_("The minutes are not whole: {file} does not follow what is before it.")
    next_step = N_("Bring back the folder of minutes as the last ceremony left it.")


class ClockBehindCeremony(CeremonyProblem):
    code = "CEREMONY-CLOCK"
    message = N_("This machine's clock says {now}; the last ceremony was at {last}.")
    next_step = N_("Set the clock right first: the minutes are dated, one after the other.")


class CeremonyKeysThere(CeremonyProblem):
    code = "CEREMONY-KEYS-THERE"
    message = N_("{place} holds keys already.")
    next_step = N_("A first ceremony makes the first keys; for new ones: dobmi ceremony renew")


class CeremonyKeysMissing(CeremonyProblem):
    code = "CEREMONY-KEYS-MISSING"
    message = N_("{place} has no key of the server, which signs the minutes.")
    next_step = N_("Make or recover the keys of the first ceremony before.")


class CeremonyUnfinished(CeremonyProblem):
    code = "CEREMONY-UNFINISHED"
    message = N_("An earlier ceremony, into {place}, broke off; it must be ended first.")
    next_step = N_("Name the same place for the keys once more: it is finished, or given up.")


class RehearsalsKeys(CeremonyProblem):
    code = "CEREMONY-REHEARSAL"
    message = N_("{file} is of a rehearsal.")
    next_step = N_("A rehearsal's keys are for nothing but trying; use --rehearsal with them.")
