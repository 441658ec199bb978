"""What a card or a reader did that its caller must handle.

CardError
  ReaderError                    the reader, not the card
    UnknownReaderScheme            no plug-in for this URL
    ReaderUnavailable              reader unplugged, driver or pcscd gone
    GarbledResponse                what came back is no response APDU
  NoCard                         connect without a card in the field
  CardRemoved                    the card left the field
  ResponseTooShort               fewer bytes than the command promises
  WrongResponseMac               the card's MAC or CRC is not what the session says
  CardRefused                    the card answered with an error status: one class a code
  NotOurCard                     no Do BMI application on the card
    BlankCard                      a factory-fresh card
    UnsupportedCard                a card that cannot be a purse (EV1)
  ...
"""

from __future__ import annotations

from typing import ClassVar

from dobmi.errors import DoBMIError
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
