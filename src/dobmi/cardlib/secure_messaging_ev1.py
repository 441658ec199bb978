"""EV1 secure messaging (chained CMAC, CRC32) and the older D40 one (CRC16, 4-byte MAC).

After AuthenticateISO (1A) and AuthenticateAES (AA) the EV1 scheme holds, after the legacy
Authenticate (0A) the D40 scheme. Both are needed because a factory-fresh card of any generation
has a DES master key. Sources: the recorded sessions in tests/vectors/ev1_*. Pure: bytes in,
bytes out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from dobmi.cardlib.crypto import (
    BlockCipher,
    cbc_decrypt,
    cbc_encrypt,
    cmac,
    crc16,
    crc32,
    pad_zero,
    rotate_left,
    xor,
)
from dobmi.cardlib.errors import CardNotAuthentic, ResponseTooShort, WrongResponseMac
from dobmi.cardlib.keys import DesfireKey, KeyType
from dobmi.cardlib.secure_messaging import CommMode

_EV1_MAC_LENGTH = 8
_D40_MAC_LENGTH = 4


def session_key(key: DesfireKey, rnd_a: bytes, rnd_b: bytes) -> bytes:
    """The session key, put together from pieces of both random numbers.

    DES, and 2K3DES with equal halves: A[0:4] B[0:4]. 2K3DES: then A[4:8] B[4:8].
    3K3DES: A[0:4] B[0:4] A[6:10] B[6:10] A[12:16] B[12:16]. AES: A[0:4] B[0:4] A[12:16] B[12:16].
    """
    if key.is_single_des:
        starts = [0]
    elif key.type is KeyType.TDES_2K:
        starts = [0, 4]
    elif key.type is KeyType.TDES_3K:
        starts = [0, 6, 12]
    else:
        starts = [0, 12]
    return b"".join(rnd_a[i : i + 4] + rnd_b[i : i + 4] for i in starts)


@dataclass(slots=True)
class Ev1Session:
    """The session key and the IV that runs through every command and answer."""

    key_no: int
    cipher: BlockCipher
    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)

    administrative_mode: ClassVar[CommMode] = CommMode.PLAIN

    def wrap_command(self, ins: int, header: bytes, data: bytes, mode: CommMode) -> bytes:
        """Header || data, with its 8-byte CMAC in MAC mode, enciphered with CRC32 in full mode.

        The CMAC is over INS || header || data and moves the IV on even where it is not sent;
        the CRC32 covers the same bytes, and zeros pad to whole blocks.
        """
        if mode is CommMode.FULL and data:
            checked = data + crc32(bytes([ins]) + header + data)
            return header + self._encipher(checked)
        mac = self._cmac(bytes([ins]) + header + data)
        return header + data + (mac[:_EV1_MAC_LENGTH] if mode is CommMode.MAC and data else b"")

    def unwrap_response(
        self,
        status: int,
        payload: bytes,
        mode: CommMode,
        *,
        length: int | None = None,
        padded: bool = True,  # noqa: ARG002 - concerns EV2 alone
    ) -> bytes:
        """Plain and MAC mode: the CMAC over data || status is checked, and taken off.

        Full mode: the CRC32 is over data || status. Raises ResponseTooShort, WrongResponseMac.
        """
        if mode is CommMode.FULL:
            block_length = self.cipher.block_length
            if not payload or len(payload) % block_length:
                raise ResponseTooShort(command="an enciphered command", length=len(payload))
            plain = cbc_decrypt(self.cipher, self.key, self.iv, payload)
            self.iv = payload[-block_length:]
            return _strip_crc(
                plain, block_length, 4, lambda data: crc32(data + bytes([status])), length
            )
        if len(payload) < _EV1_MAC_LENGTH:
            raise ResponseTooShort(command="a secured command", length=len(payload))
        data, mac = payload[:-_EV1_MAC_LENGTH], payload[-_EV1_MAC_LENGTH:]
        expected = self._cmac(data + bytes([status]))
        if not hmac.compare_digest(mac, expected[:_EV1_MAC_LENGTH]):
            raise WrongResponseMac
        return data

    def wrap_change_key(
        self, ins: int, header: bytes, new_key: DesfireKey, old_key: DesfireKey | None
    ) -> bytes:
        """New [|| version] || CRC32(INS || header || before); for another key new xor old, and
        CRC32(new) behind.
        """
        data = _change_key_material(new_key, old_key)
        data += crc32(bytes([ins]) + header + data)
        if old_key is not None:
            data += crc32(new_key.wire_value)
        return header + self._encipher(data)

    def _cmac(self, message: bytes) -> bytes:
        self.iv = cmac(self.cipher, self.key, message, iv=self.iv)
        return self.iv

    def _encipher(self, data: bytes) -> bytes:
        block_length = self.cipher.block_length
        enciphered = cbc_encrypt(self.cipher, self.key, self.iv, pad_zero(data, block_length))
        self.iv = enciphered[-block_length:]
        return enciphered


@dataclass(slots=True)
class D40Session:
    """The session key of the legacy scheme; it has no state between commands."""

    key_no: int
    key: bytes = field(repr=False)

    administrative_mode: ClassVar[CommMode] = CommMode.PLAIN

    def wrap_command(
        self,
        ins: int,  # noqa: ARG002 - D40 protects the data alone
        header: bytes,
        data: bytes,
        mode: CommMode,
    ) -> bytes:
        """Header || data, with a 4-byte MAC of the data, or enciphered with CRC16 of the data."""
        if mode is CommMode.FULL and data:
            return header + d40_send(self.key, pad_zero(data + crc16(data), 8))
        if mode is CommMode.MAC and data:
            return header + data + self._mac(data)
        return header + data

    def unwrap_response(
        self,
        status: int,  # noqa: ARG002 - D40 protects the data alone
        payload: bytes,
        mode: CommMode,
        *,
        length: int | None = None,
        padded: bool = True,  # noqa: ARG002 - concerns EV2 alone
    ) -> bytes:
        """An answer without data has no protection at all in this scheme."""
        if mode is CommMode.PLAIN or not payload:
            return payload
        if mode is CommMode.MAC:
            if len(payload) < _D40_MAC_LENGTH:
                raise ResponseTooShort(command="a secured command", length=len(payload))
            data, mac = payload[:-_D40_MAC_LENGTH], payload[-_D40_MAC_LENGTH:]
            if not hmac.compare_digest(mac, self._mac(data)):
                raise WrongResponseMac
            return data
        if len(payload) % 8:
            raise ResponseTooShort(command="an enciphered command", length=len(payload))
        plain = cbc_decrypt(BlockCipher.DES, self.key, bytes(8), payload)
        return _strip_crc(plain, 8, 2, crc16, length)

    def wrap_change_key(
        self,
        ins: int,  # noqa: ARG002 - D40 protects the data alone
        header: bytes,
        new_key: DesfireKey,
        old_key: DesfireKey | None,
    ) -> bytes:
        """New [|| version] || CRC16; for another key new xor old, and CRC16(new) behind."""
        data = _change_key_material(new_key, old_key)
        data += crc16(data)
        if old_key is not None:
            data += crc16(new_key.wire_value)
        return header + d40_send(self.key, pad_zero(data, 8))

    def _mac(self, data: bytes) -> bytes:
        last = cbc_encrypt(BlockCipher.DES, self.key, bytes(8), pad_zero(data, 8))[-8:]
        return last[:_D40_MAC_LENGTH]


def d40_send(key: bytes, data: bytes) -> bytes:
    """What a D40 reader sends: each block xored with the one sent before, then *de*ciphered.

    (Early cards could only encipher, so both directions make the card encipher.)
    """
    sent = b""
    previous = bytes(8)
    for start in range(0, len(data), 8):
        block = xor(data[start : start + 8], previous)
        previous = cbc_decrypt(BlockCipher.DES, key, bytes(8), block)
        sent += previous
    return sent


@dataclass(slots=True)
class Ev1Handshake:
    """The reader's side of AuthenticateISO (1A, DES keys) and AuthenticateAES (AA).

    One CBC chain runs through the three messages. Random numbers have 8 bytes for DES and
    2K3DES, 16 for 3K3DES and AES.
    """

    key: DesfireKey
    key_no: int
    _iv: bytes = field(default=b"", repr=False)
    _rnd_a: bytes = field(default=b"", repr=False)
    _rnd_b: bytes = field(default=b"", repr=False)

    @property
    def random_length(self) -> int:
        return 16 if self.key.type in {KeyType.AES, KeyType.TDES_3K} else 8

    def answer_challenge(self, challenge: bytes, rnd_a: bytes) -> bytes:
        """E(RndA || RndB') for E(RndB)."""
        if len(challenge) != self.random_length:
            raise ResponseTooShort(command="Authenticate", length=len(challenge))
        cipher = self.key.type.cipher
        self._rnd_a = rnd_a
        self._rnd_b = cbc_decrypt(cipher, self.key.value, cipher.zero_block, challenge)
        iv = challenge[-cipher.block_length :]
        token = cbc_encrypt(cipher, self.key.value, iv, rnd_a + rotate_left(self._rnd_b))
        self._iv = token[-cipher.block_length :]
        return token

    def finish(self, response: bytes) -> Ev1Session:
        """The session, from E(RndA'); CardNotAuthentic when RndA' is not ours."""
        if len(response) != self.random_length:
            raise ResponseTooShort(command="Authenticate", length=len(response))
        cipher = self.key.type.cipher
        plain = cbc_decrypt(cipher, self.key.value, self._iv, response)
        if not hmac.compare_digest(plain, rotate_left(self._rnd_a)):
            raise CardNotAuthentic(key_no=self.key_no)
        key = session_key(self.key, self._rnd_a, self._rnd_b)
        return Ev1Session(self.key_no, cipher, key, cipher.zero_block)


@dataclass(slots=True)
class D40Handshake:
    """The reader's side of the legacy Authenticate (0A): DES and 2K3DES keys only."""

    key: DesfireKey
    key_no: int
    _rnd_a: bytes = field(default=b"", repr=False)
    _rnd_b: bytes = field(default=b"", repr=False)

    random_length: ClassVar[int] = 8

    def __post_init__(self) -> None:
        if self.key.type not in {KeyType.DES, KeyType.TDES_2K}:
            msg = f"the legacy authentication takes a DES or 2K3DES key, not {self.key.type.value}"
            raise ValueError(msg)

    def answer_challenge(self, challenge: bytes, rnd_a: bytes) -> bytes:
        """RndA || RndB', sent by deciphering, for E(RndB)."""
        if len(challenge) != self.random_length:
            raise ResponseTooShort(command="Authenticate", length=len(challenge))
        self._rnd_a = rnd_a
        self._rnd_b = cbc_decrypt(BlockCipher.DES, self.key.value, bytes(8), challenge)
        return d40_send(self.key.value, rnd_a + rotate_left(self._rnd_b))

    def finish(self, response: bytes) -> D40Session:
        """The session, from E(RndA'); CardNotAuthentic when RndA' is not ours."""
        if len(response) != self.random_length:
            raise ResponseTooShort(command="Authenticate", length=len(response))
        plain = cbc_decrypt(BlockCipher.DES, self.key.value, bytes(8), response)
        if not hmac.compare_digest(plain, rotate_left(self._rnd_a)):
            raise CardNotAuthentic(key_no=self.key_no)
        return D40Session(self.key_no, session_key(self.key, self._rnd_a, self._rnd_b))


def _change_key_material(new_key: DesfireKey, old_key: DesfireKey | None) -> bytes:
    version = bytes([new_key.version]) if new_key.type is KeyType.AES else b""
    if old_key is None:
        return new_key.wire_value + version
    return xor(new_key.wire_value, old_key.wire_value) + version


def _strip_crc(
    plain: bytes,
    block_length: int,
    crc_length: int,
    crc: Callable[[bytes], bytes],
    length: int | None,
) -> bytes:
    """Data before the CRC. Zeros pad an answer of known length, `80 00 …` a "whole file".

    Where the caller does not know the length it is the shortest, of the few that the last block
    allows, at which CRC and padding both fit: the CRC of data with its CRC behind is zero, so
    that longer ones may fit too.
    """
    if length is None:
        longest = len(plain) - crc_length
        lengths = range(max(longest - block_length, 0), longest + 1)
    else:
        lengths = range(length, length + 1)
    for candidate in lengths:
        end = candidate + crc_length
        padding = plain[end:]
        fits = end <= len(plain) and padding in {
            bytes(len(padding)),
            b"\x80".ljust(len(padding), b"\0"),
        }
        if fits and hmac.compare_digest(plain[candidate:end], crc(plain[:candidate])):
            return plain[:candidate]
    raise WrongResponseMac
