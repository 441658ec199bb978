"""A till that relays a card session, holds the debit key, and changes what passes through it."""

from __future__ import annotations

from dobmi.cardlib.crypto import aes_cbc_decrypt, aes_cbc_encrypt, pad_80, truncate_mac
from dobmi.cardlib.crypto import aes_cmac as cmac
from dobmi.cardlib.purse_layout import CREDIT_STATE_LENGTH, FileNo
from dobmi.cardlib.secure_messaging_ev2 import Ev2Session, session_keys
from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.firmware_sim.card import SimulatedCard

_FIRST, _NON_FIRST, _MORE = 0x71, 0x77, 0xAF
_READ_DATA, _COMMIT, _COMMIT_READER_ID = 0xAD, 0xC7, 0xC8
_RESPONSE_IV = b"\x5a\xa5"


class LyingTill:
    """Between the server and the card: knows the debit key, so it reads and writes their session.

    It keeps the answer to the first commit from the server, and then has the card say that no
    credit ever arrived or, if it `exaggerates`, that it was used far more often than it was.
    """

    def __init__(self, card: SimulatedCard, debit_key: bytes) -> None:
        self.uid = card.uid
        self.ats = card.ats
        self._card = card
        self._key = debit_key
        self._session: Ev2Session | None = None
        self._awaits = 0
        self._rnd_b = b""
        self.swallow_commit = True
        self.exaggerates = False
        self.lies = 0

    def power_off(self) -> None:
        self._card.power_off()
        self._session = None

    def process(self, frame: bytes) -> bytes:
        instruction = frame[1]
        response = self._card.process(frame)
        if instruction == _COMMIT and self.swallow_commit:
            self.swallow_commit = False
            return b"\x91\x00"
        if instruction in {_FIRST, _NON_FIRST}:
            self._awaits = instruction
            self._rnd_b = aes_cbc_decrypt(self._key, bytes(16), response[:16])
        elif instruction == _MORE and self._awaits:
            if self._awaits == _FIRST:
                self._listen_in(frame[5:37], response)
            else:
                self._session = None  # the credit key's session: closed to us
            self._awaits = 0
        elif self._session is not None and instruction != 0x5A:
            self._session.command_counter += 1
            if instruction == _READ_DATA and frame[5] == FileNo.CREDIT_STATE:
                return self._nothing_arrived(self._session)
            is_mac_file = instruction == _READ_DATA and frame[5] == FileNo.TRANSACTION_MAC
            if is_mac_file and self.exaggerates:
                return self._used_ever_so_often(self._session)
        return response

    def _listen_in(self, sent: bytes, response: bytes) -> None:
        rnd_a = aes_cbc_decrypt(self._key, bytes(16), sent)[:16]
        transaction_id = aes_cbc_decrypt(self._key, bytes(16), response[:32])[:4]
        encryption_key, mac_key = session_keys(self._key, rnd_a, self._rnd_b)
        self._session = Ev2Session(1, encryption_key, mac_key, transaction_id)

    def _nothing_arrived(self, session: Ev2Session) -> bytes:
        self.lies += 1
        plain = pad_80(bytes(CREDIT_STATE_LENGTH), 16)
        body = aes_cbc_encrypt(session.encryption_key, session._iv(_RESPONSE_IV), plain)
        return self._maced(session, body)

    def _used_ever_so_often(self, session: Ev2Session) -> bytes:
        self.lies += 1
        return self._maced(session, bytes(TransactionMac(200_000, bytes(8))))

    @staticmethod
    def _maced(session: Ev2Session, body: bytes) -> bytes:
        counter = session.command_counter.to_bytes(2, "little")
        mac = cmac(session.mac_key, b"\x00" + counter + session.transaction_id + body)
        return body + truncate_mac(mac) + b"\x91\x00"


class RenamingTill(LyingTill):
    """Gives the credit's reader id to the card as another one, with a MAC that the card believes."""

    def __init__(self, card: SimulatedCard, debit_key: bytes, reader_id: bytes) -> None:
        super().__init__(card, debit_key)
        self.swallow_commit = False
        self._reader_id = reader_id

    def process(self, frame: bytes) -> bytes:
        if frame[1] == _COMMIT_READER_ID and self._session is not None:
            counter = self._session.command_counter.to_bytes(2, "little")
            covered = frame[1:2] + counter + self._session.transaction_id + self._reader_id
            mac = truncate_mac(cmac(self._session.mac_key, covered))
            frame = frame[:5] + self._reader_id + mac + frame[29:]
        return super().process(frame)


class GarblingTill(LyingTill):
    """Changes the card's answer to the reader id: the evidence that the server keeps is wrong."""

    def __init__(self, card: SimulatedCard, debit_key: bytes) -> None:
        super().__init__(card, debit_key)
        self.swallow_commit = False

    def process(self, frame: bytes) -> bytes:
        response = super().process(frame)
        if frame[1] == _COMMIT_READER_ID and self._session is not None:
            self.lies += 1
            return self._maced(self._session, b"\x5a" * 16)
        return response
