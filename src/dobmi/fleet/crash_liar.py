"""A card as a dishonest relay shows it: with a till's key it changes what the card answers.

The server then keeps evidence that is not what the card's MAC covers, so that nothing proves the
credit that the card took (`central.credit_settlement`). AES keys, 16 bytes.
"""

from __future__ import annotations

from dobmi.cardlib.crypto import aes_cbc_decrypt, aes_cmac, truncate_mac
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.secure_messaging_ev2 import Ev2Session, session_keys

_FIRST, _NON_FIRST, _MORE, _SELECT, _COMMIT_READER_ID = 0x71, 0x77, 0xAF, 0x5A, 0xC8


class GarblingCard:
    """A CardConnection that gives another answer to CommitReaderID, with a MAC that is right."""

    def __init__(self, connection: CardConnection, debit_key: bytes) -> None:
        self._connection = connection
        self._key = debit_key
        self._awaits = 0
        self._rnd_b = b""
        self._session: Ev2Session | None = None

    @property
    def uid(self) -> bytes:
        return self._connection.uid

    def disconnect(self) -> None:
        self._connection.disconnect()

    def transmit(self, command: bytes) -> bytes:
        instruction = command[1]
        response = self._connection.transmit(command)
        if instruction in {_FIRST, _NON_FIRST}:
            self._awaits = instruction
            self._rnd_b = aes_cbc_decrypt(self._key, bytes(16), response[:16])
        elif instruction == _MORE and self._awaits:
            # The second authentication is with the credit key: closed to us.
            opened = self._awaits == _FIRST
            self._session = self._listened(command[5:37], response) if opened else None
            self._awaits = 0
        elif self._session is not None and instruction != _SELECT:
            self._session.command_counter += 1
            if instruction == _COMMIT_READER_ID:
                return self._with_mac(self._session, b"\x5a" * 16)
        return response

    def _listened(self, sent: bytes, response: bytes) -> Ev2Session:
        rnd_a = aes_cbc_decrypt(self._key, bytes(16), sent)[:16]
        transaction_id = aes_cbc_decrypt(self._key, bytes(16), response[:32])[:4]
        encryption_key, mac_key = session_keys(self._key, rnd_a, self._rnd_b)
        return Ev2Session(1, encryption_key, mac_key, transaction_id)

    @staticmethod
    def _with_mac(session: Ev2Session, body: bytes) -> bytes:
        counter = session.command_counter.to_bytes(2, "little")
        mac = aes_cmac(session.mac_key, b"\x00" + counter + session.transaction_id + body)
        return body + truncate_mac(mac) + b"\x91\x00"
