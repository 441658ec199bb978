"""EV2 secure messaging with AES: authentication, session keys, MAC and full mode.

AN12343 sections 8 and 9, NT4H2421Gx section 9.1. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import ClassVar

from dobmi.cardlib.crypto import (
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    aes_cmac,
    aes_encrypt_block,
    crc32,
    pad_80,
    rotate_left,
    truncate_mac,
    unpad_80,
    xor,
)
from dobmi.cardlib.errors import (
    CardNotAuthentic,
    ResponseTooShort,
    SessionExhausted,
    WrongResponseMac,
)
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.secure_messaging import CommMode

COMMAND_COUNTER_MAX = 0xFFFF
_ZERO_IV = bytes(16)
_MAC_LENGTH = 8


def session_keys(key: bytes, rnd_a: bytes, rnd_b: bytes) -> tuple[bytes, bytes]:
    """SesAuthENCKey and SesAuthMACKey: CMACs over SV1 and SV2 (AN12343 section 8.3).

    SV = label (A55A or 5AA5) || 0001 0080 || RndA[0:2] || RndA[2:8] xor RndB[0:6] ||
    RndB[6:16] || RndA[8:16], byte 0 being the first on the wire.
    """
    context = rnd_a[:2] + xor(rnd_a[2:8], rnd_b[:6]) + rnd_b[6:] + rnd_a[8:]
    return (
        aes_cmac(key, b"\xa5\x5a\x00\x01\x00\x80" + context),
        aes_cmac(key, b"\x5a\xa5\x00\x01\x00\x80" + context),
    )


@dataclass(slots=True)
class Ev2Session:
    """TI (4 bytes), CmdCtr and the two session keys. `command_counter` moves on in `wrap`."""

    key_no: int
    encryption_key: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    transaction_id: bytes
    command_counter: int = 0

    administrative_mode: ClassVar[CommMode] = CommMode.MAC

    def wrap_command(self, ins: int, header: bytes, data: bytes, mode: CommMode) -> bytes:
        """AN12343 section 9: header || data (enciphered in full mode) || MACt.

        MACt is over INS || CmdCtr || TI || header || data. SessionExhausted at CmdCtr FFFF.
        """
        if self.command_counter >= COMMAND_COUNTER_MAX:
            raise SessionExhausted
        if mode is CommMode.FULL and data:
            iv = self._iv(b"\xa5\x5a")
            data = aes_cbc_encrypt(self.encryption_key, iv, pad_80(data, 16))
        body = header + data
        if mode is not CommMode.PLAIN:
            body += self._mac(ins, body)
        self.command_counter += 1
        return body

    def unwrap_response(
        self,
        status: int,
        payload: bytes,
        mode: CommMode,
        *,
        length: int | None = None,  # noqa: ARG002 - the padding of EV2 tells the length itself
        padded: bool = True,
    ) -> bytes:
        """The answer's plain data; MACt is over status || CmdCtr || TI || data.

        CmdCtr is already the incremented one. Raises ResponseTooShort without room for a MAC,
        WrongResponseMac for a wrong MAC or padding.
        """
        if mode is CommMode.PLAIN:
            return payload
        if len(payload) < _MAC_LENGTH:
            raise ResponseTooShort(command="a secured command", length=len(payload))
        body, mac = payload[:-_MAC_LENGTH], payload[-_MAC_LENGTH:]
        if not hmac.compare_digest(mac, self._mac(status, body)):
            raise WrongResponseMac
        if mode is not CommMode.FULL or not body:
            return body
        if len(body) % 16:
            raise WrongResponseMac
        plain = aes_cbc_decrypt(self.encryption_key, self._iv(b"\x5a\xa5"), body)
        if not padded:
            return plain
        try:
            return unpad_80(plain)
        except ValueError:
            raise WrongResponseMac from None

    def wrap_change_key(
        self, ins: int, header: bytes, new_key: DesfireKey, old_key: DesfireKey | None
    ) -> bytes:
        """New [|| version], or new xor old [|| version] || CRC32(new) (AN12343 section 11.2)."""
        return self.wrap_command(ins, header, change_key_data(new_key, old_key), CommMode.FULL)

    def _mac(self, first: int, body: bytes) -> bytes:
        counter = self.command_counter.to_bytes(2, "little")
        return truncate_mac(
            aes_cmac(self.mac_key, bytes([first]) + counter + self.transaction_id + body)
        )

    def _iv(self, label: bytes) -> bytes:
        counter = self.command_counter.to_bytes(2, "little")
        return aes_encrypt_block(
            self.encryption_key, label + self.transaction_id + counter + bytes(8)
        )


def change_key_data(new_key: DesfireKey, old_key: DesfireKey | None) -> bytes:
    """The plain data of an EV2 ChangeKey; `old_key` None when the session's own key changes."""
    version = bytes([new_key.version]) if new_key.type is KeyType.AES else b""
    if old_key is None:
        return new_key.wire_value + version
    return xor(new_key.wire_value, old_key.wire_value) + version + crc32(new_key.wire_value)


def require_aes(key: DesfireKey) -> None:
    """ValueError for any other key."""
    if key.type is not KeyType.AES:
        msg = f"EV2 authentication takes an AES key, not {key.type.value}"
        raise ValueError(msg)


@dataclass(slots=True)
class Ev2Handshake:
    """The reader's side of AuthenticateEV2First (71) and EV2NonFirst (77).

    `answer_challenge` takes what the card answered to the first frame, `finish` what it answered
    to the second. `previous` is the session that a NonFirst authentication continues, whose TI
    and CmdCtr it keeps (AN12196 tables 24 to 27): its own session is known, though not proved,
    before the second answer has come (`continued`).
    """

    key: DesfireKey
    key_no: int
    previous: Ev2Session | None = None
    token: bytes = field(default=b"", repr=False)
    """What the second frame carries, after `answer_challenge`."""
    _rnd_a: bytes = field(default=b"", repr=False)
    _rnd_b: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        require_aes(self.key)

    def answer_challenge(self, challenge: bytes, rnd_a: bytes) -> bytes:
        """E(K, RndA || RndB'), 32 bytes, for the 16 bytes E(K, RndB)."""
        if len(challenge) != 16:
            raise ResponseTooShort(command="AuthenticateEV2", length=len(challenge))
        self._rnd_a = rnd_a
        self._rnd_b = aes_cbc_decrypt(self.key.value, _ZERO_IV, challenge)
        self.token = aes_cbc_encrypt(self.key.value, _ZERO_IV, rnd_a + rotate_left(self._rnd_b))
        return self.token

    def finish(self, response: bytes) -> Ev2Session:
        """The session, from E(K, TI || RndA' || PDcap2 || PCDcap2) or E(K, RndA').

        Raises CardNotAuthentic when RndA' is not ours.
        """
        expected = 32 if self.previous is None else 16
        if len(response) != expected:
            raise ResponseTooShort(command="AuthenticateEV2", length=len(response))
        plain = aes_cbc_decrypt(self.key.value, _ZERO_IV, response)
        start = 4 if self.previous is None else 0
        if not hmac.compare_digest(plain[start : start + 16], rotate_left(self._rnd_a)):
            raise CardNotAuthentic(key_no=self.key_no)
        return self.continued() or Ev2Session(self.key_no, *self._session_keys(), plain[:4])

    def continued(self) -> Ev2Session | None:
        """The session after `answer_challenge`, if the card has the key; None for a First one,
        whose TI comes with the second answer.
        """
        if self.previous is None:
            return None
        return Ev2Session(
            self.key_no,
            *self._session_keys(),
            self.previous.transaction_id,
            self.previous.command_counter,
        )

    def _session_keys(self) -> tuple[bytes, bytes]:
        return session_keys(self.key.value, self._rnd_a, self._rnd_b)
