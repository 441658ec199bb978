"""What the three secure messaging schemes have in common, as the command layer sees them."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from dobmi.cardlib.keys import DesfireKey


class CommMode(IntEnum):
    """Communication mode; the value is that of bits 1-0 of a file's communication settings."""

    PLAIN = 0
    MAC = 1
    FULL = 3


class Session(Protocol):
    """An authenticated session: bytes in, bytes out, and the state that each exchange moves on.

    Each command is one `wrap_command` and, when the card answered with status 00, one
    `unwrap_response`. After any error the session is to be thrown away, as the card does.
    """

    @property
    def key_no(self) -> int:
        """The key that the session was authenticated with."""

    @property
    def administrative_mode(self) -> CommMode:
        """The mode of commands that no file's settings rule (AN12343 section 9: MAC in EV2)."""

    def wrap_command(self, ins: int, header: bytes, data: bytes, mode: CommMode) -> bytes:
        """What follows INS: header, data secured as `mode` says, MAC."""

    def unwrap_response(
        self,
        status: int,
        payload: bytes,
        mode: CommMode,
        *,
        length: int | None = None,
        padded: bool = True,
    ) -> bytes:
        """The answer's plain data; WrongResponseMac when the card's protection does not hold.

        `length` is the number of plain bytes where the command says it: the older schemes pad
        with zeros, which alone cannot be told from data. `padded` is False for the one EV2
        answer that is enciphered without padding (CommitReaderID).
        """

    def wrap_change_key(
        self, ins: int, header: bytes, new_key: DesfireKey, old_key: DesfireKey | None
    ) -> bytes:
        """What follows INS of a ChangeKey; `old_key` is None when the session's own changes."""
