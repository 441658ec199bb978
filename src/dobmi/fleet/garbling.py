"""A till that relays a card session, knows the debit key, and changes what passes.

It changes the card's encrypted answer to the reader id, with a MAC that the server believes: so the
evidence that the server keeps of a credit is not what the card's own MAC is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from dobmi.cardlib.crypto import aes_cbc_decrypt, aes_cmac, truncate_mac
from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey
from dobmi.cardlib.secure_messaging_ev2 import Ev2Session, session_keys

_FIRST, _NON_FIRST, _MORE, _COMMIT_READER_ID = 0x71, 0x77, 0xAF, 0xC8
_SELECT = 0x5A
_FALSE = b"\x5a" * 16

Transmit = Callable[[bytes], bytes]


def debit_keys(ring: KeyRing, uid: bytes) -> list[bytes]:
    """The card's debit key in every generation that is held."""
    versions = ring.masters[CardKey.DEBIT]
    return [ring.card_key(CardKey.DEBIT, uid, version).value for version in versions]


class GarblingRelay:
    """`transmit` with a till's programs in between; `lies` counts what it changed."""

    def __init__(self, transmit: Transmit, keys: Sequence[bytes]) -> None:
        self._transmit = transmit
        self._keys = keys
        self._session: Ev2Session | None = None
        self._first: bytes | None = None
        self.lies = 0

    def __call__(self, command: bytes) -> bytes:
        instruction = command[1]
        answer = self._transmit(command)
        if instruction in {_FIRST, _NON_FIRST}:
            self._session = None  # another key's session is closed to us
            is_ours = instruction == _FIRST and answer[-2:] == b"\x91\xaf"
            self._first = answer[:16] if is_ours else None
        elif instruction == _MORE and self._first is not None:
            if answer[-2:] == b"\x91\x00":
                self._session = self._listen_in(self._first, command[5:37], answer)
            self._first = None
        elif self._session is not None and instruction != _SELECT:
            self._session.command_counter += 1
            if instruction == _COMMIT_READER_ID and answer[-2:] == b"\x91\x00":
                self.lies += 1
                return self._maced(self._session, _FALSE)
        return answer

    def _listen_in(self, challenge: bytes, sent: bytes, answer: bytes) -> Ev2Session | None:
        return next(_sessions(self._keys, challenge, sent, answer), None)

    @staticmethod
    def _maced(session: Ev2Session, body: bytes) -> bytes:
        counter = session.command_counter.to_bytes(2, "little")
        mac = aes_cmac(session.mac_key, b"\x00" + counter + session.transaction_id + body)
        return body + truncate_mac(mac) + b"\x91\x00"


def _sessions(
    keys: Iterable[bytes], challenge: bytes, sent: bytes, answer: bytes
) -> Iterator[Ev2Session]:
    """The session that the three-pass authentication (AN12343 section 8) opened, if by one of `keys`."""
    for key in keys:
        rnd_a = aes_cbc_decrypt(key, bytes(16), sent)[:16]
        told = aes_cbc_decrypt(key, bytes(16), answer[:32])
        if told[4:20] == rnd_a[1:] + rnd_a[:1]:
            encryption_key, mac_key = session_keys(
                key, rnd_a, aes_cbc_decrypt(key, bytes(16), challenge)
            )
            yield Ev2Session(1, encryption_key, mac_key, told[:4])
