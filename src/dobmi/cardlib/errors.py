"""What a card or a reader did that its caller must handle.

CardError
  ReaderError                    the reader, not the card
    UnknownReaderScheme            no plug-in for this URL
    ReaderUnavailable              reader unplugged, driver or pcscd gone
    GarbledResponse                what came back is no response APDU
  NoCard                         connect without a card in the field
  CardRemoved                    the card left the field
  MalformedResponse              the answer decodes to nothing the command promises
    ResponseTooShort               fewer bytes than the command promises
  WrongResponseMac               the card's MAC, CRC or padding is not what the session says
  CardNotAuthentic               the card did not prove that it knows the key
  NotOriginal                    the originality signature fits no trusted key
  SessionExhausted               the session's command counter is used up (FFFF)
  CardRefused                    the card answered with an error status: one class a code
    NoChanges                  0C  commit or abort with nothing pending
    OutOfMemory                0E
    IllegalCommand             1C
    IntegrityError             1E  the card found our MAC, CRC or padding wrong
    NoSuchKey                  40
    LengthError                7E
    PermissionDenied           9D
    ParameterError             9E
    ApplicationNotFound        A0
    ApplicationIntegrityError  A1
    AuthenticationDelay        AD
    AuthenticationError        AE
    BoundaryError              BE
    PiccIntegrityError         C1
    CommandAborted             CA
    PiccDisabled               CD
    CountError                 CE
    DuplicateError             DE
    EepromError                EE
    FileNotFound               F0
    FileIntegrityError         F1
    UnknownStatus              any other
    IsoRefused                     an ISO 7816 status word instead of a native one
      TransactionLimitReached    6283  the transaction MAC counter is at its limit
      IsoMemoryFailure           6581
      IsoWrongLength             6700
      IsoSecurityNotSatisfied    6982
      IsoConditionsNotSatisfied  6985
      IsoFileNotFound            6A82
      IsoWrongParameters         6A86, 6A87, 6B00
      NotDesfire                 6D00, 6E00: the card knows no DESFire commands
  NotOurCard                     no Do BMI application on the card
    BlankCard                      a factory-fresh card
    UnsupportedCard                a card that cannot be a purse (EV1)
    WrongIssuerSignature           the holder was not signed by our issuer
    OtherKeySet                    a purse with keys that are not these
    UnfinishedCard                 issuing was interrupted
    AlreadyIssued                  a purse that is somebody else's
  DamagedCardData                bytes in a file of ours that are not what we write
  PinError                       the member's PIN
    WrongPin                       the card does not have this PIN
    PinNotSet                      the card has none yet
    NotAPin                        what was typed can be no PIN
    WeakPin                        no PIN to be given to a card
  InsufficientBalance
  BalanceLimit                   a credit would pass the purse's limit
  TimeBeyondCard                 a time that four bytes cannot hold
  ImplausibleEvidence            a transaction MAC input that is no purse transaction
  WrongTransactionMac            a transaction MAC that does not fit its input
  KeyNotHeld                     this custody does not hold that key
  DamagedKeyFile
    RehearsalKeyFile             its keys were made to try a ceremony
    OtherKeyFileFormat           another version of the program wrote it
  KeyFileUnusable                its place or permissions forbid reading or writing it
  EmptyPassphrase
  WrongPassphrase
  NotSealedForUs                 sealed to another key, for something else, or changed
  MasterLocked                   the master is in a token, which never gives it out
  MasterDiffers                  another key is kept there under that name and generation
CustodyUnavailable             the place where the keys are cannot be used now; no card's fault
  HsmModuleMissing               no PKCS#11 module to load
  HsmTokenMissing                no token of that name, or one not initialised
  HsmPinWrong
  HsmPinLocked                   too many wrong PINs
  HsmGone                        the token does not answer any more
  HsmRefused                     the token says no: it cannot, or it is full
  KeysOutOfReach                 the server that derives this till's keys does not answer
"""

from __future__ import annotations

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import N_


class CardError(DoBMIError):
    code = "CARD"
    message = N_("The card or the reader failed.")
    next_step = N_("Tap the card again.")


class ReaderError(CardError):
    code = "READER"
    message = N_("The reader failed: {detail}")
    next_step = N_("Check the reader's cable, then try again.")


class UnknownReaderScheme(ReaderError):
    code = "READER-SCHEME"
    message = N_("No reader plug-in for {url!r}; there are: {schemes}.")
    next_step = N_("Name the reader as pcsc:, nfc:usb or sim:card.json.")


class ReaderUnavailable(ReaderError):
    code = "READER-UNAVAILABLE"
    message = N_("The reader cannot be used: {detail}")
    next_step = N_("Plug the reader in again; if it stays, restart pcscd and call for help.")


class GarbledResponse(ReaderError):
    code = "READER-GARBLED"
    message = N_("The reader passed on something that is no card response ({length} bytes).")
    next_step = N_("Tap the card again; change the reader if this repeats.")


class NoCard(CardError):
    code = "CARD-NONE"
    message = N_("There is no card on the reader.")
    next_step = N_("Tap the card and hold it still.")


class CardRemoved(CardError):
    code = "CARD-REMOVED"
    message = N_("The card was taken away too soon.")
    next_step = N_("Tap the same card again and hold it still.")


class MalformedResponse(CardError):
    code = "CARD-MALFORMED"
    message = N_("The card's answer to {command} cannot be understood ({length} bytes).")
    next_step = N_("Tap the card again; keep the card for inspection if this repeats.")


class ResponseTooShort(MalformedResponse):
    code = "CARD-SHORT"
    message = N_("The card's answer to {command} was cut short ({length} bytes).")


class WrongResponseMac(CardError):
    code = "CARD-MAC"
    message = N_("The answer is not the card's own: its check value is wrong.")
    next_step = N_("Tap the card again; change the reader if this repeats.")


class CardNotAuthentic(CardError):
    code = "CARD-NOT-AUTHENTIC"
    message = N_("The card did not prove that it knows key {key_no}.")
    next_step = N_("Do not accept this card; tell the supervisor.")


class NotOriginal(CardError):
    code = "CARD-NOT-ORIGINAL"
    message = N_("The card's chip carries no signature of its maker.")
    next_step = N_("Do not issue this card; keep it for inspection.")


class SessionExhausted(CardError):
    code = "CARD-SESSION-EXHAUSTED"
    message = N_("The session with the card has used up its command counter.")
    next_step = N_("Tap the card again.")


class CardRefused(CardError):
    """The card answered with an error; its session is gone (NT4H2421Gx section 9.1.3).

    `status` is the native status byte, or SW1 SW2 as one number for an IsoRefused.
    """

    code = "CARD-REFUSED"
    message = N_("The card refused the command (status {status:#04x}).")
    next_step = N_("Tap the card again; tell the supervisor the code if this repeats.")
    status: int = -1

    def __init__(self, *, status: int | None = None, money_moved: MoneyMoved | None = None) -> None:
        if status is not None:
            self.status = status
        super().__init__(money_moved=money_moved, status=self.status)


class NoChanges(CardRefused):
    code = "CARD-NO-CHANGES"
    status = 0x0C
    message = N_("The card had nothing to commit or abort.")
    next_step = N_("Tap the card again.")


class OutOfMemory(CardRefused):
    code = "CARD-OUT-OF-MEMORY"
    status = 0x0E
    message = N_("The card has no room left.")
    next_step = N_("Take a fresh card, or format this one if it holds nothing.")


class IllegalCommand(CardRefused):
    code = "CARD-ILLEGAL-COMMAND"
    status = 0x1C
    message = N_("The card does not know this command.")
    next_step = N_("Use a newer card (DESFire EV2 or EV3).")


class IntegrityError(CardRefused):
    code = "CARD-INTEGRITY"
    status = 0x1E
    message = N_("The card found our command's check value wrong.")
    next_step = N_("Tap the card again; change the reader if this repeats.")


class NoSuchKey(CardRefused):
    code = "CARD-NO-SUCH-KEY"
    status = 0x40
    message = N_("The card has no key of this number.")
    next_step = N_("Have the card inspected: it is not laid out as ours are.")


class LengthError(CardRefused):
    code = "CARD-LENGTH"
    status = 0x7E
    message = N_("The card found the command's length wrong.")
    next_step = N_("Tap the card again; tell the supervisor the code if this repeats.")


class PermissionDenied(CardRefused):
    code = "CARD-PERMISSION"
    status = 0x9D
    message = N_("The card does not allow this with the key in use.")
    next_step = N_("Have the card inspected: it is not laid out as ours are.")


class ParameterError(CardRefused):
    code = "CARD-PARAMETER"
    status = 0x9E
    message = N_("The card found a parameter wrong.")
    next_step = N_("Tell the supervisor the code of this error.")


class ApplicationNotFound(CardRefused):
    code = "CARD-NO-APPLICATION"
    status = 0xA0
    message = N_("The card does not hold this application.")
    next_step = N_("Ask for a Do BMI card.")


class ApplicationIntegrityError(CardRefused):
    code = "CARD-APPLICATION-BROKEN"
    status = 0xA1
    message = N_("The card's application is damaged.")
    next_step = N_("Replace the card; its balance is restored from the ledger.")


class AuthenticationDelay(CardRefused):
    code = "CARD-AUTHENTICATION-DELAY"
    status = 0xAD
    message = N_("The card makes us wait after too many wrong keys.")
    next_step = N_("Leave the card on the reader for a minute, then try again.")


class AuthenticationError(CardRefused):
    code = "CARD-AUTHENTICATION"
    status = 0xAE
    message = N_("The card did not accept the key, or asks for one.")
    next_step = N_("Have the card inspected: its keys are not ours, or are of another key set.")


class BoundaryError(CardRefused):
    code = "CARD-BOUNDARY"
    status = 0xBE
    message = N_("This goes past a file's end or a value's limit.")
    next_step = N_("Check the amount against the card's balance and limit.")


class PiccIntegrityError(CardRefused):
    code = "CARD-BROKEN"
    status = 0xC1
    message = N_("The card found itself damaged.")
    next_step = N_("Replace the card; its balance is restored from the ledger.")


class CommandAborted(CardRefused):
    code = "CARD-COMMAND-ABORTED"
    status = 0xCA
    message = N_("The card was still busy with an earlier command.")
    next_step = N_("Tap the card again.")


class PiccDisabled(CardRefused):
    code = "CARD-DISABLED"
    status = 0xCD
    message = N_("The card has switched itself off for good.")
    next_step = N_("Replace the card; its balance is restored from the ledger.")


class CountError(CardRefused):
    code = "CARD-COUNT"
    status = 0xCE
    message = N_("The card holds as many applications as it can.")
    next_step = N_("Take a fresh card, or format this one if it holds nothing.")


class DuplicateError(CardRefused):
    code = "CARD-DUPLICATE"
    status = 0xDE
    message = N_("The card already holds this file or application.")
    next_step = N_("Have the card inspected.")


class EepromError(CardRefused):
    code = "CARD-EEPROM"
    status = 0xEE
    message = N_("The card could not write its memory.")
    next_step = N_("Tap the card again and hold it still; replace it if this repeats.")


class FileNotFound(CardRefused):
    code = "CARD-NO-FILE"
    status = 0xF0
    message = N_("The card does not hold this file.")
    next_step = N_("Have the card inspected: it is not laid out as ours are.")


class FileIntegrityError(CardRefused):
    code = "CARD-FILE-BROKEN"
    status = 0xF1
    message = N_("A file on the card is damaged.")
    next_step = N_("Replace the card; its balance is restored from the ledger.")


class UnknownStatus(CardRefused):
    code = "CARD-STATUS"
    message = N_("The card answered with a status that is not known ({status:#04x}).")
    next_step = N_("Tap the card again; tell the supervisor the code if this repeats.")


class IsoRefused(CardRefused):
    code = "CARD-ISO"
    message = N_("The card refused the command (status word {status:#06x}).")


class TransactionLimitReached(IsoRefused):
    code = "CARD-TRANSACTION-LIMIT"
    status = 0x6283
    message = N_("The card has made as many transactions as it may.")
    next_step = N_("Replace the card; its balance is restored from the ledger.")


class IsoMemoryFailure(IsoRefused):
    code = "CARD-ISO-MEMORY"
    status = 0x6581
    message = N_("The card could not write its memory.")
    next_step = N_("Tap the card again and hold it still; replace it if this repeats.")


class IsoWrongLength(IsoRefused):
    code = "CARD-ISO-LENGTH"
    status = 0x6700
    message = N_("The card found the command's length wrong.")


class IsoSecurityNotSatisfied(IsoRefused):
    code = "CARD-ISO-SECURITY"
    status = 0x6982
    message = N_("The card asks for a key first.")


class IsoConditionsNotSatisfied(IsoRefused):
    code = "CARD-ISO-CONDITIONS"
    status = 0x6985
    message = N_("The card does not allow this in its present state.")


class IsoFileNotFound(IsoRefused):
    code = "CARD-ISO-NO-FILE"
    status = 0x6A82
    message = N_("The card holds no application or file of this name.")
    next_step = N_("Ask for a Do BMI card.")


class IsoWrongParameters(IsoRefused):
    code = "CARD-ISO-PARAMETERS"
    status = 0x6A86
    message = N_("The card found a parameter wrong.")


class NotDesfire(IsoRefused):
    code = "CARD-NOT-DESFIRE"
    status = 0x6D00
    message = N_("This card is no DESFire card.")
    next_step = N_("Ask for a Do BMI card.")


class NotOurCard(CardError):
    code = "CARD-NOT-OURS"
    message = N_("This is not a Do BMI card.")
    next_step = N_("Ask for a Do BMI card.")


class BlankCard(NotOurCard):
    code = "CARD-BLANK"
    message = N_("This card is blank: it has not been issued.")
    next_step = N_("Issue the card first.")


class UnsupportedCard(NotOurCard):
    code = "CARD-UNSUPPORTED"
    message = N_("This card ({generation}) cannot be a Do BMI card.")
    next_step = N_("Take a DESFire EV2 or EV3 card.")


_REFUSALS: dict[int, type[CardRefused]] = {
    refusal.status: refusal
    for refusal in (
        NoChanges,
        OutOfMemory,
        IllegalCommand,
        IntegrityError,
        NoSuchKey,
        LengthError,
        PermissionDenied,
        ParameterError,
        ApplicationNotFound,
        ApplicationIntegrityError,
        AuthenticationDelay,
        AuthenticationError,
        BoundaryError,
        PiccIntegrityError,
        CommandAborted,
        PiccDisabled,
        CountError,
        DuplicateError,
        EepromError,
        FileNotFound,
        FileIntegrityError,
    )
}

_ISO_REFUSALS: dict[int, type[IsoRefused]] = {
    0x6283: TransactionLimitReached,
    0x6581: IsoMemoryFailure,
    0x6700: IsoWrongLength,
    0x6982: IsoSecurityNotSatisfied,
    0x6985: IsoConditionsNotSatisfied,
    0x6A82: IsoFileNotFound,
    0x6A86: IsoWrongParameters,
    0x6A87: IsoWrongParameters,
    0x6B00: IsoWrongParameters,
    0x6D00: NotDesfire,
    0x6E00: NotDesfire,
}


def refusal_by_status(status: int) -> CardRefused:
    """The exception of a native status byte other than 00 and AF (UnknownStatus if unlisted)."""
    return _REFUSALS.get(status, UnknownStatus)(status=status)


def refusal_by_iso_status(status_word: int) -> IsoRefused | None:
    """The exception of an ISO status word, or None for one that DESFire cards do not give."""
    refusal = _ISO_REFUSALS.get(status_word)
    return None if refusal is None else refusal(status=status_word)


class DamagedCardData(CardError):
    code = "CARD-DATA"
    message = N_("The card's {what} cannot be read as ours.")
    next_step = N_("Do not sell against this card; send it to the office for inspection.")


class WrongIssuerSignature(NotOurCard):
    code = "CARD-ISSUER"
    message = N_("The holder on this card was not signed by our issuer.")
    next_step = N_("Keep the card if you can and call the supervisor: it may be a forgery.")


class OtherKeySet(NotOurCard):
    code = "CARD-KEYS"
    message = N_("The card does not know the keys of this key set.")
    next_step = N_("Try the card at the office; this till may need its keys renewed.")


class UnfinishedCard(NotOurCard):
    code = "CARD-UNFINISHED"
    message = N_("Issuing of this card was not finished.")
    next_step = N_("Take the card back to the issuing station and issue it again there.")


class AlreadyIssued(NotOurCard):
    code = "CARD-ISSUED"
    message = N_("This card was issued to somebody else already.")
    next_step = N_("Take a blank card; look at this one with the inspect command.")


class PinError(CardError):
    code = "CARD-PIN"
    message = N_("The PIN cannot be used.")
    next_step = N_("Have the member type it again.")


class WrongPin(PinError):
    """The facts never hold the PIN."""

    code = "CARD-PIN-WRONG"
    message = N_("This is not the card's PIN. Tries left: {tries_left}.")
    next_step = N_("Have the member type it again, slowly.")

    def __init__(self, *, tries_left: int) -> None:
        super().__init__(tries_left=tries_left)
        self.tries_left = tries_left


class PinNotSet(PinError):
    code = "CARD-PIN-NONE"
    message = N_("This card has no PIN yet.")
    next_step = N_("The member can choose one at a service point.")


class NotAPin(PinError):
    code = "CARD-PIN-FORM"
    message = N_("A PIN is {digits_min} to {digits_max} digits.")


class WeakPin(PinError):
    code = "CARD-PIN-WEAK"
    message = N_("A new PIN has {digits_count} digits that are not easily guessed.")
    next_step = N_("Choose another: no rows like 123456, no digit six times, nothing repeated.")


class InsufficientBalance(CardError):
    code = "CARD-BALANCE"
    message = N_("The card holds {balance}; {amount} is needed.")
    next_step = N_("Ask the member to top up, or take something out of the cart.")


class BalanceLimit(CardError):
    code = "CARD-LIMIT"
    message = N_("The card holds {balance}; with {amount} more it would pass its limit of {limit}.")
    next_step = N_("Deliver the credit after the member has spent some of the balance.")


class TimeBeyondCard(CardError):
    code = "CARD-TIME"
    message = N_("The time {unix_seconds} (Unix seconds) does not fit on a card.")
    next_step = N_("Check date and time of this machine and set them.")


class ImplausibleEvidence(CardError):
    code = "CARD-EVIDENCE"
    message = N_("The card's evidence is not that of a purse transaction: {detail}")
    next_step = N_("Keep the voucher and tell the central office.")


class WrongTransactionMac(CardError):
    code = "CARD-TMAC"
    message = N_("The card's transaction MAC does not fit the evidence.")
    next_step = N_("Keep the voucher and tell the central office.")


class KeyNotHeld(CardError):
    code = "KEY-NOT-HELD"
    message = N_("This program does not hold the key {key}, version {version}.")
    next_step = N_("Use the program whose role holds it, or have the key file renewed.")


class DamagedKeyFile(CardError):
    code = "KEY-FILE"
    message = N_("The key file {path} is damaged.")
    next_step = N_("Restore it from the backup that was made at the key ceremony.")


class OtherKeyFileFormat(DamagedKeyFile):
    code = "KEY-FILE-FORMAT"
    message = N_("The key file {path} is of another version of this program ({format}).")
    next_step = N_("Nothing is wrong with it: use the program that wrote it, or a newer one.")


class KeyFileUnusable(CardError):
    code = "KEY-FILE-ACCESS"
    message = N_("The key file {path} cannot be read or written: {detail}")
    next_step = N_("Put its owner and permissions right; only this program's user may read it.")


class EmptyPassphrase(CardError):
    code = "KEY-PASSPHRASE-EMPTY"
    message = N_("The passphrase is empty.")
    next_step = N_(
        "Give one: in DOBMI_PASSPHRASE, in the passphrase file, or when it is asked for."
    )


class RehearsalKeyFile(DamagedKeyFile):
    code = "KEY-FILE-REHEARSAL"
    message = N_("The key file {path} is of a rehearsal: its keys are for nothing.")
    next_step = N_("Name the file of the real keys.")


class WrongPassphrase(CardError):
    code = "KEY-PASSPHRASE"
    message = N_("The passphrase does not open the key file {path}.")
    next_step = N_("Type the passphrase again; check that it is the one of this file.")


class NotSealedForUs(CardError):
    code = "KEY-SEALED"
    message = N_("The keys that came are sealed for somebody else, or were changed on the way.")
    next_step = N_("Do not use them. Pair this till again, and tell the central office.")


class MasterLocked(CardError):
    code = "KEY-IN-TOKEN"
    message = N_("The master of the key {key} is in the token {token}, which gives it to nobody.")
    next_step = N_("Make the file from the custodians' shares, in a ceremony (docs/keys.md).")


class MasterDiffers(CardError):
    code = "KEY-DIFFERS"
    message = N_("There is another {key} key of generation {version} in {place} already.")
    next_step = N_("Nothing was changed. Compare the check values: dobmi central keys show")


class CustodyUnavailable(DoBMIError):
    """Not a CardError: what one card can be blamed for is not what keeps all of them waiting."""

    code = "KEYS-UNAVAILABLE"
    message = N_("The keys cannot be used now.")
    next_step = N_("Try again in a moment; nothing was lost.")


class HsmModuleMissing(CustodyUnavailable):
    code = "HSM-MODULE"
    message = N_("The PKCS#11 module {module} cannot be loaded: {detail}")
    next_step = N_("Install the token's driver (Debian: softhsm2), or correct [central] keys.")


class HsmTokenMissing(CustodyUnavailable):
    code = "HSM-TOKEN"
    message = N_("There is no initialised token named {token}.")
    next_step = N_("Plug it in, or initialise it, or correct [central] keys.")


class HsmPinWrong(CustodyUnavailable):
    code = "HSM-PIN"
    message = N_("The token {token} does not take this PIN.")
    next_step = N_("Give the right one before the token locks itself: each wrong one counts.")


class HsmPinLocked(CustodyUnavailable):
    code = "HSM-PIN-LOCKED"
    message = N_("The token {token} is locked after too many wrong PINs.")
    next_step = N_("The token's security officer sets a new PIN (SO PIN); the keys are kept.")


class HsmGone(CustodyUnavailable):
    code = "HSM-GONE"
    message = N_("The token {token} does not answer any more: {detail}")
    next_step = N_("Look after the token; the same request, or the same tap, goes on afterwards.")


class HsmRefused(CustodyUnavailable):
    code = "HSM-REFUSED"
    message = N_("The token {token} refused: {detail}")
    next_step = N_("Look into the token's manual what this means; nothing was changed.")


class KeysOutOfReach(CustodyUnavailable):
    code = "KEYS-OUT-OF-REACH"
    message = N_("This till asks the central server for each card's key, and gets none: {detail}")
    next_step = N_("Check the network, then tap the card again.")
