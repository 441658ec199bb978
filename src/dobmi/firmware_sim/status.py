"""What a DESFire card answers with, and the refusal that carries it out of a command."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Status byte of a native answer (NT4H2421Gx table 23)."""

    OK = 0x00
    NO_CHANGES = 0x0C
    OUT_OF_EEPROM = 0x0E
    ILLEGAL_COMMAND = 0x1C
    INTEGRITY_ERROR = 0x1E
    NO_SUCH_KEY = 0x40
    LENGTH_ERROR = 0x7E
    PERMISSION_DENIED = 0x9D
    PARAMETER_ERROR = 0x9E
    APPLICATION_NOT_FOUND = 0xA0
    AUTHENTICATION_ERROR = 0xAE
    ADDITIONAL_FRAME = 0xAF
    BOUNDARY_ERROR = 0xBE
    COMMAND_ABORTED = 0xCA
    COUNT_ERROR = 0xCE
    DUPLICATE = 0xDE
    FILE_NOT_FOUND = 0xF0


class Refusal(Exception):
    """Ends a command with an error status; the card then drops session and transaction."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class IsoRefusal(Exception):
    """Ends an ISO 7816-4 command with an error status word."""

    def __init__(self, status_word: int) -> None:
        super().__init__(f"{status_word:04X}")
        self.status_word = status_word


def require(condition: bool, status: Status) -> None:
    if not condition:
        raise Refusal(status)
