"""What the central server refuses, and why.

CentralError
  NotInitialised               the database has no tables yet
  OtherSchema                  it has those of another version
    DatabaseTooOld
      DatabaseNeverVersioned   from before tables had versions
    DatabaseTooNew
  DatabaseFailed               it cannot do what it is asked
  ProgramFailed                a mistake in the program
  ServerBusy                   the database did not let us write in time
    LostRace                   another writer was there first
      KeyTaken
  ShuttingDown                 it takes no new work any more
  KeysMissing                  no key file where the settings say
  KeyFileExists                keys are never overwritten
  KeysOfCeremony               made by several people: nobody makes new ones alone
  ExportExists                 neither are exports
  ClocksDiffer                 the server's and the database's
  LedgerDoesNotAddUp           the journal's sum is not nought
  DayNotAsSigned               a closed day's journal is not what was signed
  PeriodicWorkFailed           some of what is done now and then
  BackupProblem
    BackupFailed               it was not made
    BackupUnusable             it is not whole, or not of this program
    DatabaseNotEmpty           nothing is restored over what is there
    RestoredOtherwise          what came out is not what went in
  WhoAsks                      the sender is not believed
    UnknownTerminal
    TerminalBlocked
    RoleNotAllowed
      OnlyTillsSell            a station sent vouchers
      OnlyStationsTakeCash
      KeyNotForRole            a card key that this role is not given
    RequestReplayed            a signed request that was already served
    StaffNotBelieved           the station is, but not who works there
      StaffNeeded              nobody is logged in, and somebody must be
      StaffSessionOver
      WrongPassword
      PasswordLocked
  TooManyCardKeys              a till without masters asks for more than anybody sells
  InvitationRefused
    UnknownInvitation
    InvitationUsed
    InvitationExpired
    KeyAlreadyEnrolled
  PairingFailed                a till could not be taken in by a short code
    UnknownPairing
    PairingOpeningWrong        not the nonce that it had committed to
    PairingExpired
    TooManyPairings            too many wait at once
  PairingNotDecided            the office cannot decide so
    UnknownPairingCode
    PairingDecided             it was decided already
  ChainRefused                 a batch that does not go on from what is kept
    VouchersMissing            a gap; the sender is told where to start
    ForkedChain                another voucher under a number already kept
  RecordsRefused               records of a till that do not go on from what is kept
    RecordsMissing             a gap; the sender is told where to start
    RecordDiffers              another record under a number already kept
  UnknownPhoto
  CardProblem                  what a card or its member may not do
    UnknownCard
    CardIsBlocked
    CardWasReplaced            lost: blocked for good
    CardHasEnded               renewed or given back
    CardStillInDoubt           it may not be wiped yet
    CardHasExpired
    CardNotActive
    CardOfAnotherMember
      CardBegunForAnother      half-issued
    MemberHasAnotherCard
    MemberNameDiffers
    WrongCreditState           the card says other credits arrived than were delivered
    CardKeysPast               its keys are of a generation that is not taken any more
    CardPinLocked              too many wrong PINs at service points
    CardHasPin
    CardPinUnknown             on the card is none that the server has kept
  KeyGenerationProblem
    UnknownGeneration
    GenerationNotNewer
    GenerationInUse            its masters are needed yet
  IssuingProblem               what a list of members who are to get cards does not allow
    UnknownIssuingBatch
    UnknownIssuingLine
    IssuingLinesRefused
    NameDoesNotFit             on the card
    UnknownMemberClass
    MemberTwice                in one list
    MemberWaitsElsewhere       in another list
    LineOfAnother              the line is for another member
    LineIssued
    LineSkipped
    LineTaken                  another station is at it
  CreditRefused
    AmountNotAllowed
    BalanceWouldPassLimit
    DayLimitPassed
    CashTooLittle              less was handed over than is to be credited
    UnknownOrder
    IdempotencyConflict        one key for two different orders
  CreditNotSettled             the office cannot say of a credit that it arrived
    UnknownCredit
    CreditNotInDoubt
    CreditNotSeen              the card never said, under the credit key, that it has it
    CreditNotPlaced            it is not known which of the card's transactions it was
  WorkProblem                  the work list does not take this
    UnknownFinding
    FindingClosed              what is closed is opened again first
    FindingNotClosed
  StaffMayNot                  a person, or one and not two
    RoleLacking                not one who may do this
    ProposerDecides            who proposed cannot decide
  PasswordNotAllowed
  ApprovalProblem
    UnknownApproval
    ApprovalDecided            it was decided already
    BadProposal                it could not be done if it was accepted
  SettlementProblem            what sellers are owed cannot be settled so
    NotOfStaff
    SecondPersonNeeded         who proposed cannot approve
    UnknownSeller
    SellerHasSold              its sales would be in two accounts
    AccountAwaitsNobody        no such bank account is proposed
    PayerUnknown               the settings do not say from which account is paid
    FeeRuleTooLate             a run holds that day already
    FeeAwaitsNobody            no such rule is proposed
    UnknownRun
    WrongRunState
    CutOffNotOver
    CutOffSettled
    NothingToPay
    BankNotCompared            a backup was restored: payments since are not known
    LaterRunFirst              another run goes on from where this one ends
    RunNotAsInJournal
    PaymentFileDiffers         it would not be the file that was written first
  FileRefused                  lines of it cannot be taken
    SalaryFileRefused
  TillStaffProblem             who works at an outlet's tills
    UnknownTillStaff
    LastTillStaff                without anybody listed, tills ask nobody to log in
    StaffNumberTaken
    CardOfOtherStaff
    UnknownMember
    PinNotAllowed
  BooksProblem                 what the office asks of the books
    UnknownAccount
    CashNotThere               more than the station has by the ledger
    DayNotClosed
    BooksDoNotBalance          debits and credits differ
  DisputeImpossible
    UnknownVoucher
    NotASale
  BadRequest
    OtherSession               a card session is not the one its handshake is signed for
    BodyTooLarge
    BodyCompressed
    BodyTooSlow
    BodyCutOff
    WrongMediaType
    BadParameters
    NoSuchPage
"""

from __future__ import annotations

from collections.abc import Sequence

from dobmi.errors import DoBMIError, MoneyMoved, Phrase
from dobmi.i18n import N_


class CentralError(DoBMIError):
    code = "CENTRAL"
    message = N_("The central server cannot do this.")
    next_step = N_("Tell the central office the code of this error.")


class NotInitialised(CentralError):
    code = "CENTRAL-NOT-INITIALISED"
    message = N_("The database {database} has no tables of the central server.")
    next_step = N_("Run: dobmi central init")


class OtherSchema(CentralError):
    code = "CENTRAL-SCHEMA"


class DatabaseTooOld(OtherSchema):
    code = "CENTRAL-SCHEMA-OLD"
    message = N_("The database {database} was made by an older version: {found}, not {expected}.")
    next_step = N_("Make a backup of it, then run: dobmi central upgrade")


class DatabaseNeverVersioned(DatabaseTooOld):
    next_step = N_("Install the version that made it.")


class DatabaseTooNew(OtherSchema):
    code = "CENTRAL-SCHEMA-NEW"
    message = N_("The database {database} was made by a newer version: {found}, not {expected}.")
    next_step = N_("Install the version that made it, or a newer one.")


class DatabaseFailed(CentralError):
    """What the database says goes to the server's log; it may name tables and values."""

    code = "CENTRAL-DATABASE-FAILED"
    message = N_("The central server's database failed: {kind}.")
    next_step = N_("Tell the central office: is its disk full, is the database whole?")
    money_moved = MoneyMoved.UNKNOWN


class ProgramFailed(CentralError):
    """Of what went wrong the server's log has the kind and the place."""

    code = "CENTRAL-PROGRAM"
    message = N_("The central server's program failed.")
    next_step = N_(
        "Send the same again later. If it fails again, tell the central office the time."
    )
    money_moved = MoneyMoved.UNKNOWN


class ServerBusy(CentralError):
    code = "CENTRAL-BUSY"
    message = N_("The central server could not write to its database in time.")
    next_step = N_("Nothing was taken; send the same again in a minute.")


class LostRace(ServerBusy):
    """PostgreSQL: a serialisation failure or a deadlock."""


class KeyTaken(LostRace):
    """A unique key that another writer took, or that is on record."""


class DatabaseAway(CentralError):
    """It went away in the middle, perhaps in the middle of a commit."""

    code = "CENTRAL-DATABASE"
    message = N_("The central server has lost its database.")
    next_step = N_("It may or may not have been taken; send the same again in a minute.")
    money_moved = MoneyMoved.UNKNOWN


class KeysMissing(CentralError):
    code = "CENTRAL-KEYS-MISSING"
    message = N_("There is no key file {path}.")
    next_step = N_("Run: dobmi central keys init, or correct `keys` in the settings.")


class KeyFileExists(CentralError):
    code = "CENTRAL-KEYS-EXIST"
    message = N_("There is already a key file {path}; keys are never overwritten.")
    next_step = N_("Use it, or move it to a safe place first.")


class KeysOfCeremony(CentralError):
    code = "CENTRAL-KEYS-CEREMONY"
    message = N_("These keys were made in a ceremony: one person alone makes no new ones.")
    next_step = N_("Hold another with the custodians: dobmi ceremony renew.")


class ExportExists(CentralError):
    code = "CENTRAL-EXPORT-EXISTS"
    message = N_("There is already a file {path}; exports are never overwritten.")
    next_step = N_("Choose another name.")


class ClocksDiffer(CentralError):
    code = "CENTRAL-CLOCKS"
    message = N_("This server's clock is {seconds} s ahead of the database's. No day is closed.")
    next_step = N_("Set both machines' clocks by network time; days are then closed by themselves.")


class LedgerDoesNotAddUp(CentralError):
    code = "CENTRAL-SUM"
    message = N_("The ledger's sum is {difference}, not nought.")
    next_step = N_("Stop paying out, keep the database as it is and call for help.")


class DayNotAsSigned(CentralError):
    code = "CENTRAL-DAY-CHANGED"
    message = N_("The journal of {day} is not what was signed when the day was closed.")
    next_step = N_("Keep the database as it is, and have it audited: `dobmi audit`.")


class ShuttingDown(CentralError):
    code = "CENTRAL-STOPPING"
    message = N_("The server is being stopped and takes nothing new.")
    next_step = N_("Nothing was taken. Try again in a moment; the till does so by itself.")


class BackupProblem(CentralError):
    code = "CENTRAL-BACKUP"


class BackupFailed(BackupProblem):
    code = "CENTRAL-BACKUP-FAILED"
    message = N_("The backup was not made: {detail}")
    next_step = N_("Put that right and make it again; the earlier backups are as they were.")


class BackupUnusable(BackupProblem):
    code = "CENTRAL-BACKUP-UNUSABLE"
    message = N_("{path} cannot be restored: {detail}")
    next_step = N_("Restore an earlier backup. Keep this one for whoever looks into it.")


class DatabaseNotEmpty(BackupProblem):
    code = "CENTRAL-NOT-EMPTY"
    message = N_("There is something in {database} already.")
    next_step = N_("Restore into a new file or a new, empty database.")


class RestoredOtherwise(BackupProblem):
    code = "CENTRAL-RESTORED-OTHERWISE"
    message = N_("What was restored is not what the backup says: {detail}")
    next_step = N_("Do not start the server on it. Restore an earlier backup.")


class PeriodicWorkFailed(CentralError):
    code = "CENTRAL-PERIODIC"
    message = N_("Periodic work failed: {jobs}.")
    next_step = N_("It is tried again by itself. If it lasts, see the server's log.")


class WhoAsks(CentralError):
    code = "CENTRAL-WHO"
    message = N_("The sender is not known here.")


class UnknownTerminal(WhoAsks):
    code = "CENTRAL-UNKNOWN-TERMINAL"
    message = N_("There is no terminal {terminal_id}.")
    next_step = N_("Enrol this till with an invitation from the central office.")


class TerminalBlocked(WhoAsks):
    code = "CENTRAL-TERMINAL-BLOCKED"
    message = N_("Terminal {terminal_id} is blocked.")
    next_step = N_("Stop selling and call the central office.")


class RoleNotAllowed(WhoAsks):
    code = "CENTRAL-ROLE"
    message = N_("Terminal {terminal_id} is a {role}, which may not do this.")
    next_step = N_("Use an issuing station.")


class OnlyStationsTakeCash(RoleNotAllowed):
    next_step = N_("Name the station: see `dobmi central terminals`.")


class OnlyTillsSell(RoleNotAllowed):
    next_step = N_("Sell at a till.")


class KeyNotForRole(RoleNotAllowed):
    code = "CENTRAL-KEY-ROLE"
    message = N_("Terminal {terminal_id} is a {role}: it is not given the card key {key}.")
    next_step = N_("What needs this key is done by the central server, at a station.")


class TooManyCardKeys(CentralError):
    code = "CENTRAL-CARD-KEYS-MANY"
    message = N_("Terminal {terminal_id} has asked for {limit} cards' keys within a minute.")
    next_step = N_("Wait a minute. If nobody is selling that fast there, block the till.")


class RequestReplayed(WhoAsks):
    code = "CENTRAL-REPLAY"
    message = N_("This signed request was already served once.")
    next_step = N_("Sign the request anew.")


class StaffNotBelieved(WhoAsks):
    code = "CENTRAL-STAFF-LOGIN"
    message = N_("Nobody of the staff is logged in here.")
    next_step = N_("Log in at this station with `dobmi card login`.")


class StaffNeeded(StaffNotBelieved):
    code = "CENTRAL-STAFF-NEEDED"
    message = N_("Somebody of the staff must be logged in for this.")


class StaffSessionOver(StaffNotBelieved):
    code = "CENTRAL-STAFF-SESSION"
    message = N_("The log-in is over: it was left idle, is too old, or was ended.")
    next_step = N_("Log in again.")


class WrongPassword(StaffNotBelieved):
    code = "CENTRAL-PASSWORD"
    message = N_("Name or password is wrong. Tries left before a pause: {left}.")
    next_step = N_("Type both again; whoever registers staff can set a new password.")


class PasswordLocked(StaffNotBelieved):
    code = "CENTRAL-PASSWORD-LOCKED"
    message = N_("Too many wrong passwords: this name is locked here until {until}.")
    next_step = N_("Wait until then.")


class InvitationRefused(CentralError):
    code = "CENTRAL-INVITATION"
    message = N_("The invitation cannot be used.")
    next_step = N_("Ask the central office for a new invitation.")


class UnknownInvitation(InvitationRefused):
    code = "CENTRAL-INVITATION-UNKNOWN"
    message = N_("The central server made no such invitation.")


class InvitationUsed(InvitationRefused):
    code = "CENTRAL-INVITATION-USED"
    message = N_("The invitation was already used by another key, terminal {terminal_id}.")
    next_step = N_("If that was not you, call the central office at once.")


class InvitationExpired(InvitationRefused):
    code = "CENTRAL-INVITATION-EXPIRED"
    message = N_("The invitation is no longer valid.")


class KeyAlreadyEnrolled(InvitationRefused):
    code = "CENTRAL-KEY-ENROLLED"
    message = N_("This key is already that of terminal {terminal_id}.")
    next_step = N_("Make a new identity for this till, then use a new invitation.")


class PairingFailed(CentralError):
    code = "CENTRAL-PAIRING"
    message = N_("The till cannot be paired.")
    next_step = N_("Begin again at the till: it shows a new code.")


class UnknownPairing(PairingFailed):
    code = "CENTRAL-PAIRING-UNKNOWN"
    message = N_("The central server knows no such pairing.")


class PairingOpeningWrong(PairingFailed):
    code = "CENTRAL-PAIRING-OPENING"
    message = N_("That is not what the till had committed to when it asked to be paired.")
    next_step = N_("Tell the central office: somebody may be between the till and the server.")


class PairingExpired(PairingFailed):
    code = "CENTRAL-PAIRING-EXPIRED"
    message = N_("The code was not approved in time, or not fetched.")


class TooManyPairings(PairingFailed):
    code = "CENTRAL-PAIRINGS-MANY"
    message = N_("{count} tills wait to be paired already.")
    next_step = N_("Ask the office to decide on them, or wait a quarter of an hour.")


class PairingNotDecided(CentralError):
    code = "CENTRAL-PAIRING-DECISION"
    message = N_("The pairing cannot be decided.")


class UnknownPairingCode(PairingNotDecided):
    code = "CENTRAL-PAIRING-CODE"
    message = N_("No till that waits here shows the code {code}.")
    next_step = N_(
        "Read it again with whoever stands at the till. If it is right, somebody may be in "
        "between: do not approve anything, and have the till begin again."
    )


class PairingDecided(PairingNotDecided):
    code = "CENTRAL-PAIRING-DECIDED"
    message = N_("The pairing with code {code} was decided already.")
    next_step = N_("Look at the list of terminals: block the till there if it must go.")


class ChainRefused(CentralError):
    code = "CENTRAL-CHAIN"
    message = N_("The batch does not go on from what is kept.")


class VouchersMissing(ChainRefused):
    code = "CENTRAL-GAP"
    message = N_("Vouchers before number {first_sequence} are missing: send from {send_from}.")
    next_step = N_("Send the vouchers from number {send_from} on.")


class ForkedChain(ChainRefused):
    code = "CENTRAL-FORK"
    message = N_("Another voucher is already kept under number {sequence} of this till.")
    next_step = N_("Keep the till's database as it is and tell the central office.")


class RecordsRefused(CentralError):
    code = "CENTRAL-RECORDS"
    message = N_("The records do not go on from what is kept.")


class RecordsMissing(RecordsRefused):
    code = "CENTRAL-RECORDS-MISSING"
    message = N_("Records before number {first_number} are missing: send from {send_from}.")
    next_step = N_("Send the records from number {send_from} on.")


class RecordDiffers(RecordsRefused):
    code = "CENTRAL-RECORD-DIFFERS"
    message = N_("Another record is already kept under number {number} of this till.")
    next_step = N_("Keep the till's database as it is and tell the central office.")


class UnknownPhoto(CentralError):
    code = "CENTRAL-PHOTO-UNKNOWN"
    message = N_("There is no such photo.")
    next_step = N_("Go on without it; the next sync says which photo there is.")


class CardProblem(CentralError):
    code = "CENTRAL-CARD"
    message = N_("This card cannot be used for this.")


class UnknownCard(CardProblem):
    code = "CENTRAL-CARD-UNKNOWN"
    message = N_("No card {card} was issued.")
    next_step = N_("Look at the number printed on the card, or inspect the card.")


class CardIsBlocked(CardProblem):
    code = "CENTRAL-CARD-BLOCKED"
    message = N_("Card {card} is blocked: {reason}")
    next_step = N_("Ask the member to come to the office.")


class CardPinLocked(CardProblem):
    code = "CENTRAL-CARD-PIN-LOCKED"
    message = N_("Card {card}: too many wrong PINs.")
    next_step = N_("Identify the member, then have a new PIN chosen.")


class CardHasPin(CardProblem):
    code = "CENTRAL-CARD-HAS-PIN"
    message = N_("Card {card} has a PIN already.")
    next_step = N_("Change it with the old one; if that is forgotten, identify the member.")


class CardPinUnknown(CardProblem):
    code = "CENTRAL-CARD-PIN-UNKNOWN"
    message = N_("Card {card} has a PIN that the central server does not know.")
    next_step = N_("Change it with the old PIN; if that is forgotten, replace the card.")


class CardWasReplaced(CardProblem):
    code = "CENTRAL-CARD-REPLACED"
    message = N_("Card {card} was replaced for good: {reason}")
    next_step = N_("Keep the card. Its money is the member's new card's.")


class CardHasEnded(CardProblem):
    code = "CENTRAL-CARD-ENDED"
    message = N_("Card {card} has ended: {reason}")
    next_step = N_(
        "Use another card. Its money is the member's: on their new card, or in their wallet."
    )


class CardStillInDoubt(CardProblem):
    code = "CENTRAL-CARD-STILL-IN-DOUBT"
    message = N_("Card {card} cannot be wiped yet: a sale in doubt is to be settled by its log.")
    next_step = N_("Keep the card, and wipe it when the sale is settled. Its money is safe.")


class CardHasExpired(CardProblem):
    code = "CENTRAL-CARD-EXPIRED"
    message = N_("Card {card} expired on {expired}.")
    next_step = N_("Issue a new card to the member.")


class CardNotActive(CardProblem):
    code = "CENTRAL-CARD-NOT-ACTIVE"
    message = N_("The issuing of card {card} was not finished.")
    next_step = N_("Issue the card again for the same member: it goes on where it stopped.")


class CardOfAnotherMember(CardProblem):
    code = "CENTRAL-CARD-OTHER-MEMBER"
    message = N_("Card {card} belongs to member {member}, {name}.")
    next_step = N_("Use a blank card for this member.")


class CardBegunForAnother(CardOfAnotherMember):
    code = "CENTRAL-CARD-BEGUN"
    message = N_("Issuing card {card} to member {member}, {name}, was begun and not finished.")
    next_step = N_(
        "Put it aside for that member: issued to them, it goes on. Take a blank card now."
    )


class MemberHasAnotherCard(CardProblem):
    code = "CENTRAL-MEMBER-HAS-CARD"
    message = N_("Member {member} already has card number {serial} ({card}).")
    next_step = N_("If that card is lost, replace it first: dobmi card replace")


class MemberNameDiffers(CardProblem):
    code = "CENTRAL-MEMBER-NAME"
    message = N_("Member {member} is known here as {name}.")
    next_step = N_("Check the member number and the spelling of the name.")


class WrongCreditState(CardProblem):
    code = "CENTRAL-CREDIT-STATE"
    message = N_("Card {card} says its last credit was number {on_card}; it was {known}.")
    next_step = N_("Keep the card and tell the central office.")


class CardKeysPast(CardProblem):
    code = "CENTRAL-CARD-KEYS-PAST"
    message = N_("The card's keys are of generation {generation}; {needed} is needed by now.")
    next_step = N_("Send the member to a service point: a station gives the card new keys.")


class KeyGenerationProblem(CentralError):
    code = "CENTRAL-KEYS-GENERATION"
    message = N_("That cannot be done with this generation of keys.")


class UnknownGeneration(KeyGenerationProblem):
    code = "CENTRAL-KEYS-UNKNOWN"
    message = N_("Generation {generation} is none of those for which this can be done.")
    next_step = N_("Look which there are: dobmi central keys report")


class GenerationNotNewer(KeyGenerationProblem):
    code = "CENTRAL-KEYS-NOT-NEWER"
    message = N_("Generation {generation} cannot begin: generation {newest} has begun already.")
    next_step = N_("Nothing was changed. Look at: dobmi central keys report")


class GenerationInUse(KeyGenerationProblem):
    code = "CENTRAL-KEYS-IN-USE"
    message = N_("{count} cards in use have keys of generation {generation} or an older one.")
    next_step = N_(
        "Nothing was deleted. Have the cards brought to the new keys, or retired, first."
    )


class IssuingProblem(CentralError):
    code = "CENTRAL-ISSUING"
    message = N_("This card cannot be issued by the list.")


class UnknownIssuingBatch(IssuingProblem):
    code = "CENTRAL-ISSUING-UNKNOWN"
    message = N_("There is no issuing batch {batch}.")
    next_step = N_("See `dobmi card batches` for those there are.")


class UnknownIssuingLine(IssuingProblem):
    code = "CENTRAL-ISSUING-LINE"
    message = N_("Issuing batch {batch} has no line {line}.")
    next_step = N_("See `dobmi card batches` for those there are.")


class IssuingLinesRefused(IssuingProblem):
    code = "CENTRAL-ISSUING-LINES"
    message = N_("{count} of the rows cannot be taken. Row {line}, {column}: {problem}")
    next_step = N_("Look at the preview again and take the rows that are good.")


class NameDoesNotFit(IssuingProblem):
    code = "CENTRAL-NAME"
    message = N_("The name takes {found} bytes; a card holds 1 to {most}, no control characters.")
    next_step = N_(
        "Shorten the name as the member writes it: the first name whole, others by initial."
    )


class UnknownMemberClass(IssuingProblem):
    code = "CENTRAL-CLASS-UNKNOWN"
    message = N_("{name!r} is no class of members that is known here.")
    next_step = N_("Known are: {known}. A new class is taken when it is named as new.")


class MemberTwice(IssuingProblem):
    code = "CENTRAL-MEMBER-TWICE"
    message = N_("Member {member} is in this list already, in row {line}.")
    next_step = N_("Leave one of the two out; correct the number if they are two people.")


class MemberWaitsElsewhere(IssuingProblem):
    code = "CENTRAL-MEMBER-WAITS"
    message = N_("Member {member} already waits for a card: issuing batch {batch}, line {line}.")
    next_step = N_("Leave the member out here, or skip that line there.")


class LineOfAnother(IssuingProblem):
    code = "CENTRAL-LINE-OTHER"
    message = N_("Line {line} of issuing batch {batch} is for member {member}, {name}.")
    next_step = N_("Have the station ask for its line again.")


class LineIssued(IssuingProblem):
    code = "CENTRAL-LINE-ISSUED"
    message = N_("Line {line} of issuing batch {batch} is issued: card number {serial}.")
    next_step = N_("Go on with the next member; keep this card for another.")


class LineSkipped(IssuingProblem):
    code = "CENTRAL-LINE-SKIPPED"
    message = N_("Line {line} of issuing batch {batch} was skipped: {reason}")
    next_step = N_("Go on with the next member, or put the line back first.")


class LineTaken(IssuingProblem):
    code = "CENTRAL-LINE-TAKEN"
    message = N_("Station {station} is at line {line} of issuing batch {batch} just now.")
    next_step = N_("Go on with the next member; it comes free again if that station gives up.")


class CreditRefused(CentralError):
    code = "CENTRAL-CREDIT"
    message = N_("The credit cannot be ordered.")


class AmountNotAllowed(CreditRefused):
    code = "CENTRAL-AMOUNT"
    message = N_("{amount} cannot be credited: from {minimum} to {maximum} at a time.")
    next_step = N_("Enter another amount.")


class BalanceWouldPassLimit(CreditRefused):
    code = "CENTRAL-BALANCE-LIMIT"
    message = N_("With {amount} more the card would hold {total}, above its limit of {limit}.")
    next_step = N_("Enter a smaller amount.")


class DayLimitPassed(CreditRefused):
    code = "CENTRAL-CREDIT-DAY"
    message = N_("With {amount} more the member would be given {total} today, above {limit}.")
    next_step = N_("Enter a smaller amount, or come back tomorrow.")


class CashTooLittle(CreditRefused):
    code = "CENTRAL-CASH-RECEIVED"
    message = N_("{received} in cash was handed over, and {amount} is to be credited.")
    next_step = N_("Count the cash again, and enter what was handed over.")


class UnknownOrder(CreditRefused):
    code = "CENTRAL-NO-ORDER"
    message = N_("This station has ordered no credit under {order}.")
    next_step = N_("Look at the order's reference on the receipt or on the screen.")


class IdempotencyConflict(CreditRefused):
    code = "CENTRAL-IDEMPOTENCY"
    message = N_("The idempotency key was used before for another order.")
    next_step = N_("Use a new key for a new order.")


class CreditNotSettled(CentralError):
    code = "CENTRAL-CREDIT-SETTLE"
    message = N_("Credit {sequence} of card {card} cannot be settled by hand.")


class UnknownCredit(CreditNotSettled):
    code = "CENTRAL-CREDIT-UNKNOWN"
    message = N_("No credit {sequence} was ordered for card {card}.")
    next_step = N_("See `dobmi central card` for the credits that wait.")


class CreditNotInDoubt(CreditNotSettled):
    code = "CENTRAL-CREDIT-NOT-IN-DOUBT"
    message = N_("Credit {sequence} of card {card} is not in doubt: {state}.")
    next_step = N_("See `dobmi central card` for the credits that wait.")


class CreditNotSeen(CreditNotSettled):
    code = "CENTRAL-CREDIT-NOT-SEEN"
    message = N_("Card {card} has not said that credit {sequence} is on it.")
    next_step = N_("Lay the card on a station's reader and have it credited, then look again.")


class CreditNotPlaced(CreditNotSettled):
    code = "CENTRAL-CREDIT-NOT-PLACED"
    message = N_("It is not known which transaction of card {card} credit {sequence} was.")
    next_step = N_("Lay the card on a station of the office, have it credited, then settle again.")


class StaffMayNot(CentralError):
    code = "CENTRAL-STAFF-MAY-NOT"
    message = N_("{name} may not do this.")
    next_step = N_("See `dobmi central staff list` for who may.")


class RoleLacking(StaffMayNot):
    code = "CENTRAL-STAFF-ROLE"
    message = N_("{name} may not do this: it needs one of these roles: {role}.")


class ProposerDecides(StaffMayNot):
    code = "CENTRAL-OWN-PROPOSAL"
    message = N_("{name} has proposed it, and cannot decide on it.")
    next_step = N_("Have it looked at and decided by another person.")


class PasswordNotAllowed(CentralError):
    code = "CENTRAL-PASSWORD-WEAK"
    message = N_("A password has {minimum} to {maximum} characters and does not hold the name.")
    next_step = N_("Choose another; four words in a row are easy to keep in mind.")


class ApprovalProblem(CentralError):
    code = "CENTRAL-APPROVAL"
    message = N_("This proposal cannot be decided so.")
    next_step = N_("See `dobmi central approvals list` for what waits.")


class UnknownApproval(ApprovalProblem):
    code = "CENTRAL-APPROVAL-UNKNOWN"
    message = N_("There is no proposal {number}.")


class ApprovalDecided(ApprovalProblem):
    code = "CENTRAL-APPROVAL-DECIDED"
    message = N_("Proposal {number} was decided already, by {by}.")


class BadProposal(ApprovalProblem):
    code = "CENTRAL-PROPOSAL"
    message = N_("This cannot be proposed: {detail}")
    next_step = N_("Correct it, then propose it again.")


class SettlementProblem(CentralError):
    code = "CENTRAL-SETTLEMENT"
    message = N_("This cannot be settled so.")


class NotOfStaff(SettlementProblem):
    code = "CENTRAL-STAFF"
    message = N_("{name} is not registered as one who may do this ({role}).")
    next_step = N_("See `dobmi central staff list`; register with `dobmi central staff add`.")


class SecondPersonNeeded(SettlementProblem):
    code = "CENTRAL-SECOND-PERSON"
    message = N_("{name} has proposed it, and cannot approve it.")
    next_step = N_("Have it looked at and approved by another person.")


class UnknownSeller(SettlementProblem):
    code = "CENTRAL-SELLER-UNKNOWN"
    message = N_("There is no seller {seller}.")
    next_step = N_("See `dobmi central seller list` for the sellers' names.")


class SellerHasSold(SettlementProblem):
    code = "CENTRAL-SELLER-SOLD"
    message = N_("{seller} has sold already and stays what it is: its sales are in one account.")
    next_step = N_("Register it under another name, and invite its tills anew for that.")


class AccountAwaitsNobody(SettlementProblem):
    code = "CENTRAL-ACCOUNT"
    message = N_("Bank account number {number} of {seller} does not wait for approval.")
    next_step = N_("See `dobmi central seller accounts` for the newest.")


class PayerUnknown(SettlementProblem):
    code = "CENTRAL-PAYER"
    message = N_("The settings do not say from which bank account sellers are paid.")
    next_step = N_("Set payer_bank_code, payer_account and payer_holder under [central].")


class FeeRuleTooLate(SettlementProblem):
    code = "CENTRAL-FEE-RULE"
    message = N_("A fee can be set from {first} on: what was before is settled or has its rule.")
    next_step = N_("Choose a later day.")


class FeeAwaitsNobody(SettlementProblem):
    code = "CENTRAL-FEE"
    message = N_("Fee number {number} does not wait for approval.")
    next_step = N_("See `dobmi central seller fees` for what waits.")


class UnknownRun(SettlementProblem):
    code = "CENTRAL-RUN-UNKNOWN"
    message = N_("There is no settlement run {run}.")
    next_step = N_("See `dobmi central settlement list`.")


class WrongRunState(SettlementProblem):
    code = "CENTRAL-RUN-STATE"
    message = N_("Settlement run {run} is {state}, by {by}.")
    next_step = N_("See `dobmi central settlement show {run}` for what was done with it.")


class CutOffNotOver(SettlementProblem):
    code = "CENTRAL-DAY-OPEN"
    message = N_("{day} is not closed in the ledger.")
    next_step = N_("A day is closed two hours after its end, by `dobmi central periodic`.")


class CutOffSettled(SettlementProblem):
    code = "CENTRAL-CUT-OFF-SETTLED"
    message = N_("{day} is before {settled}, up to which run {run} goes.")
    next_step = N_("Choose a later day. What is booked late comes into the next run by itself.")


class NothingToPay(SettlementProblem):
    code = "CENTRAL-NOTHING-TO-PAY"
    message = N_("Up to {day} there is nothing to pay; sellers left out: {left_out}.")
    next_step = N_(
        "See `dobmi central settlement owed` for what is owed, and bank accounts missing."
    )


class BankNotCompared(SettlementProblem):
    code = "CENTRAL-BANK-COMPARE"
    message = N_(
        "The database came back from a backup on {day}: runs that were paid since that backup are "
        "not known here, and would be paid again."
    )
    next_step = N_(
        "Compare the bank's statements with `dobmi central settlement list`. What to do with payments "
        "that are missing here is in docs/operations.md; then propose with --compared-with-bank."
    )


class LaterRunFirst(SettlementProblem):
    code = "CENTRAL-LATER-RUN"
    message = N_("Run {later} goes on from where run {run} ends.")
    next_step = N_("Withdraw run {later} first; if it is paid, have this one paid too.")


class RunNotAsInJournal(SettlementProblem):
    code = "CENTRAL-RUN-DIFFERS"
    message = N_("Run {run} says otherwise than the journal what was booked (seller: {seller}).")
    next_step = N_("Withdraw it and propose it again; if that does not help, call an auditor.")


class PaymentFileDiffers(SettlementProblem):
    code = "CENTRAL-PAYMENT-FILE"
    message = N_("The payment file of run {run} would not be the one that was written first.")
    next_step = N_("Use the first file, or put the payer's account in the settings back.")


class FileRefused(CentralError):
    """`problems`: one for each bad line, with its number."""

    code = "CENTRAL-FILE"
    message = N_("The file has {count} lines that cannot be taken.")
    next_step = N_("Correct them and take the file again; nothing of it was taken.")

    def __init__(self, problems: Sequence[Phrase]) -> None:
        super().__init__(count=len(problems))
        self.problems = tuple(sorted(problems, key=_line_of))


def _line_of(problem: Phrase) -> int:
    line = problem.facts.get("line")
    return line if isinstance(line, int) else 0


class SalaryFileRefused(FileRefused):
    code = "CENTRAL-SALARY-FILE"
    message = N_("The salary file has {count} lines that cannot be taken.")


class TillStaffProblem(CentralError):
    code = "CENTRAL-TILL-STAFF"
    message = N_("The staff of the tills cannot be changed so.")


class UnknownTillStaff(TillStaffProblem):
    code = "CENTRAL-TILL-STAFF-UNKNOWN"
    message = N_("Nobody at {seller} has the number {number}.")
    next_step = N_("See who there is: dobmi central till-staff list")


class LastTillStaff(TillStaffProblem):
    code = "CENTRAL-TILL-STAFF-LAST"
    message = N_("{name} is the last of the staff of {seller}.")
    next_step = N_(
        "Without them its tills ask nobody to log in, and no supervisor is proved. "
        "List whoever follows first; or, if that is meant: --last"
    )


class StaffNumberTaken(TillStaffProblem):
    code = "CENTRAL-STAFF-NUMBER"
    message = N_("Number {number} at {seller} is {name}.")
    next_step = N_("Give another number, or remove {name} first.")


class CardOfOtherStaff(TillStaffProblem):
    code = "CENTRAL-STAFF-CARD"
    message = N_("The card of member {member} is the login of number {number} at {seller}.")
    next_step = N_("A card is one person's: each logs in with their own.")


class UnknownMember(TillStaffProblem):
    code = "CENTRAL-MEMBER-UNKNOWN"
    message = N_("There is no member {member}.")
    next_step = N_("Issue the member a Do BMI card first.")


class PinNotAllowed(TillStaffProblem):
    code = "CENTRAL-PIN"
    message = N_("A PIN is 6 to 12 digits, not all the same and not counted up or down.")
    next_step = N_("Choose another PIN.")


class BooksProblem(CentralError):
    code = "CENTRAL-BOOKS"
    message = N_("The books do not allow this.")


class UnknownAccount(BooksProblem):
    code = "CENTRAL-ACCOUNT-UNKNOWN"
    message = N_("There is no account {account}.")
    next_step = N_("Name it as `dobmi central trial-balance --accounts` does.")


class CashNotThere(BooksProblem):
    code = "CENTRAL-CASH"
    message = N_("Station {terminal_id} has {held} in cash by the ledger, not {amount}.")
    next_step = N_("Count the cash and look at: dobmi central statement cash {terminal_id}")


class DayNotClosed(BooksProblem):
    code = "CENTRAL-DAY-NOT-CLOSED"
    message = N_("The day {day} is not closed.")
    next_step = N_("Close the days that are over: dobmi central close-days")


class BooksDoNotBalance(BooksProblem):
    code = "CENTRAL-NOT-BALANCED"
    message = N_("Debits are {debits}, credits {credits}, and {posted} was posted.")
    next_step = N_("Stop paying out, keep the database as it is and call for help.")


class DisputeImpossible(CentralError):
    code = "CENTRAL-DISPUTE"
    message = N_("There is no evidence to show.")


class UnknownVoucher(DisputeImpossible):
    code = "CENTRAL-VOUCHER-UNKNOWN"
    message = N_("Terminal {terminal_id} has sent no voucher {sequence}.")
    next_step = N_("See `dobmi central unreported` for sales that cards name and no till sent.")


class NotASale(DisputeImpossible):
    code = "CENTRAL-NOT-A-SALE"
    message = N_("Voucher {terminal_id}/{sequence} is no sale.")
    next_step = N_("Read the number of the sale from the receipt or the card's statement.")


class BadRequest(CentralError):
    code = "CENTRAL-REQUEST"
    message = N_("The request cannot be understood: {detail}")


class OtherSession(BadRequest):
    code = "CENTRAL-OTHER-SESSION"
    message = N_("The card session asks for something else than its signed handshake.")
    next_step = N_("Somebody may be in the network: use https. Then tap the card again.")


class BodyTooLarge(BadRequest):
    code = "CENTRAL-TOO-LARGE"
    message = N_("The body is longer than {size_max} bytes.")
    next_step = N_("Send less at a time.")


class WrongMediaType(BadRequest):
    code = "CENTRAL-MEDIA-TYPE"
    message = N_("The body must be {expected}.")
    next_step = N_("Send the right Content-Type header.")


class BodyCompressed(BadRequest):
    code = "CENTRAL-COMPRESSED"
    message = N_("The body is compressed or otherwise encoded, which is not read here.")
    next_step = N_("Send it as it is, without a Content-Encoding header.")


class BodyTooSlow(BadRequest):
    code = "CENTRAL-SLOW"
    message = N_("The body did not come to its end in time.")
    next_step = N_("Send it again over a better connection, or less at a time.")


class BodyCutOff(BadRequest):
    code = "CENTRAL-CUT-OFF"
    message = N_("The connection ended before the body did.")
    next_step = N_("Send it again.")


class BadParameters(BadRequest):
    code = "CENTRAL-PARAMETERS"
    message = N_("A parameter is wrong: {detail}")
    next_step = N_("Correct it and send again.")


class NoSuchPage(BadRequest):
    code = "CENTRAL-NO-SUCH-PAGE"
    message = N_("There is nothing at {path} for {method}.")
    next_step = N_("Check the server's address in the settings.")


class WorkProblem(CentralError):
    code = "CENTRAL-WORK"
    message = N_("The work list does not take this.")


class UnknownFinding(WorkProblem):
    code = "CENTRAL-WORK-UNKNOWN"
    message = N_("There is no finding number {number}.")
    next_step = N_("See `dobmi central work list --all` for the numbers.")


class FindingClosed(WorkProblem):
    code = "CENTRAL-WORK-CLOSED"
    message = N_("Finding {number} is closed already.")
    next_step = N_("Open it again first, with `dobmi central work reopen`.")


class FindingNotClosed(WorkProblem):
    code = "CENTRAL-WORK-OPEN"
    message = N_("Finding {number} is not closed, so it cannot be opened again.")
    next_step = N_("Take, explain or close it; `dobmi central work show` has its history.")
