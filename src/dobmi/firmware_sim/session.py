"""The card's side of secure messaging: D40 (0x0A), EV1 (0x1A, 0xAA) and EV2 (0x71, 0x77).

A session opens what a command carries and seals what an answer takes along. `open` gets the
instruction, the header (sent in clear) and the body (what follows it, protected as the mode
says), and returns the body's plain data; `open_header` does so for a command that is all header.
Both raise Refusal: LENGTH_ERROR for a wrong length or a missing MAC, INTEGRITY_ERROR for a wrong
MAC, CRC or padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Protocol

from dobmi.cardlib.crypto import (
    BlockCipher,
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    aes_cmac,
    aes_encrypt_block,
    cbc_decrypt,
    cbc_encrypt,
    cmac,
    crc16,
    crc32,
    des_cbc_encrypt,
    pad_80,
    pad_zero,
    truncate_mac,
    unpad_80,
    xor,
)
from dobmi.firmware_sim.status import Refusal, Status, require

FRAME_DATA_BYTES = 59
"""Data bytes of a native frame (card to reader without cryptography, reader to card always)."""

OK = bytes([Status.OK])


class Mode(IntEnum):
    """Communication mode, as files have it; PLAIN may also be written 2 in a file's settings."""

    PLAIN = 0
    MAC = 1
    FULL = 3

    @classmethod
    def of_file(cls, comm: int) -> Mode:
        return cls.PLAIN if comm == 2 else cls(comm)


class Session(Protocol):
    key_no: int
    default_mode: Mode
    """Of the answers to commands that are about no file."""

    def open_header(self, ins: int, payload: bytes, mode: Mode, lengths: Iterable[int]) -> bytes:
        """The header, whose length must be one of `lengths`, freed of its MAC in EV2."""

    def open(
        self, ins: int, header: bytes, body: bytes, mode: Mode, lengths: Iterable[int]
    ) -> bytes:
        """The body's plain data, whose length must be one of `lengths`."""

    def open_cryptogram(self, ins: int, header: bytes, body: bytes) -> bytes:
        """ChangeKey's body deciphered: in D40 and EV1 with CRCs and padding still on."""

    def cryptogram_crc(self, ins: int, header: bytes, data: bytes) -> bytes:
        """The checksum that ChangeKey's cryptogram carries over its data; empty in EV2."""

    def key_crc(self, key: bytes) -> bytes:
        """The checksum over a new key that is not the session's own."""

    def seal(self, data: bytes, mode: Mode, *, open_ended: bool = False) -> bytes:
        """The answer's data under protection; `open_ended` when the reader gave Length 0."""

    def seal_block(self, data: bytes) -> bytes:
        """CommitReaderID's 16 bytes: enciphered without padding in EV2 (AN12343 table 32)."""

    def body_length(self, data_length: int, mode: Mode) -> int:
        """Bytes on the wire of `data_length` bytes of a command's data."""

    def frame_data_bytes(self, mode: Mode) -> int:
        """Data bytes of one answer frame in native chaining."""


class D40Session:
    """DES and 2K3DES after 0x0A: only data is protected, by 4-byte CBC-MAC or CRC16 and cipher.

    The reader deciphers what it sends, so the card enciphers to read it; each message starts from
    a zero IV.
    """

    default_mode = Mode.PLAIN

    def __init__(self, key_no: int, key: bytes) -> None:
        self.key_no = key_no
        self._key = key

    def open_header(self, ins: int, payload: bytes, mode: Mode, lengths: Iterable[int]) -> bytes:
        del ins, mode
        require(len(payload) in set(lengths), Status.LENGTH_ERROR)
        return payload

    def open(
        self, ins: int, header: bytes, body: bytes, mode: Mode, lengths: Iterable[int]
    ) -> bytes:
        lengths = list(lengths)
        if mode is Mode.FULL:
            plain = self.open_cryptogram(ins, header, body)
            return _data_before_crc(plain, lengths, 2, crc16)
        if mode is Mode.PLAIN:
            require(len(body) in lengths, Status.LENGTH_ERROR)
            return body
        require(len(body) - 4 in lengths, Status.LENGTH_ERROR)
        require(self._mac(body[:-4]) == body[-4:], Status.INTEGRITY_ERROR)
        return body[:-4]

    def open_cryptogram(self, ins: int, header: bytes, body: bytes) -> bytes:
        del ins, header
        require(len(body) > 0 and len(body) % 8 == 0, Status.LENGTH_ERROR)
        return receive_d40(self._key, body)

    def cryptogram_crc(self, ins: int, header: bytes, data: bytes) -> bytes:
        del ins, header
        return crc16(data)

    def key_crc(self, key: bytes) -> bytes:
        return crc16(key)

    def seal(self, data: bytes, mode: Mode, *, open_ended: bool = False) -> bytes:
        if not data or mode is Mode.PLAIN:
            return data
        if mode is Mode.MAC:
            return data + self._mac(data)
        padded = (pad_80 if open_ended else pad_zero)(data + crc16(data), 8)
        return des_cbc_encrypt(self._key, bytes(8), padded)

    def seal_block(self, data: bytes) -> bytes:
        return self.seal(data, Mode.MAC)

    def body_length(self, data_length: int, mode: Mode) -> int:
        if mode is Mode.FULL:
            return _whole_blocks(data_length + 2, 8)
        return data_length + (4 if mode is Mode.MAC else 0)

    def frame_data_bytes(self, mode: Mode) -> int:
        return FRAME_DATA_BYTES if mode is Mode.PLAIN else FRAME_DATA_BYTES // 8 * 8

    def _mac(self, data: bytes) -> bytes:
        return des_cbc_encrypt(self._key, bytes(8), pad_zero(data, 8))[-8:-4]


class Ev1Session:
    """After 0x1A (DES, 2K3DES, 3K3DES) and 0xAA: one IV through all commands and answers.

    Every command without cipher runs through the CMAC, whether its MAC is sent or not; every
    answer carries 8 bytes of CMAC over data || status, or CRC32 over them under the cipher.
    """

    default_mode = Mode.MAC

    def __init__(self, key_no: int, cipher: BlockCipher, key: bytes) -> None:
        self.key_no = key_no
        self._cipher = cipher
        self._block = cipher.block_length
        self._key = key
        self._iv = cipher.zero_block

    def open_header(self, ins: int, payload: bytes, mode: Mode, lengths: Iterable[int]) -> bytes:
        del mode
        require(len(payload) in set(lengths), Status.LENGTH_ERROR)
        self._cmac(bytes([ins]) + payload)
        return payload

    def open(
        self, ins: int, header: bytes, body: bytes, mode: Mode, lengths: Iterable[int]
    ) -> bytes:
        lengths = list(lengths)
        command = bytes([ins]) + header
        if mode is Mode.FULL:
            plain = self.open_cryptogram(ins, header, body)
            return _data_before_crc(plain, lengths, 4, lambda data: crc32(command + data))
        mac_length = 8 if mode is Mode.MAC else 0
        require(len(body) - mac_length in lengths, Status.LENGTH_ERROR)
        data = body[: len(body) - mac_length]
        mac = self._cmac(command + data)
        require(mac[:mac_length] == body[len(data) :], Status.INTEGRITY_ERROR)
        return data

    def open_cryptogram(self, ins: int, header: bytes, body: bytes) -> bytes:
        del ins, header
        require(len(body) > 0 and len(body) % self._block == 0, Status.LENGTH_ERROR)
        plain = cbc_decrypt(self._cipher, self._key, self._iv, body)
        self._iv = body[-self._block :]
        return plain

    def cryptogram_crc(self, ins: int, header: bytes, data: bytes) -> bytes:
        return crc32(bytes([ins]) + header + data)

    def key_crc(self, key: bytes) -> bytes:
        return crc32(key)

    def seal(self, data: bytes, mode: Mode, *, open_ended: bool = False) -> bytes:
        if not data or mode is not Mode.FULL:
            return data + self._cmac(data + OK)[:8]
        padded = (pad_80 if open_ended else pad_zero)(data + crc32(data + OK), self._block)
        sealed = cbc_encrypt(self._cipher, self._key, self._iv, padded)
        self._iv = sealed[-self._block :]
        return sealed

    def seal_block(self, data: bytes) -> bytes:
        return self.seal(data, Mode.MAC)

    def body_length(self, data_length: int, mode: Mode) -> int:
        if mode is Mode.FULL:
            return _whole_blocks(data_length + 4, self._block)
        return data_length + (8 if mode is Mode.MAC else 0)

    def frame_data_bytes(self, mode: Mode) -> int:
        del mode
        return FRAME_DATA_BYTES // self._block * self._block

    def _cmac(self, message: bytes) -> bytes:
        self._iv = cmac(self._cipher, self._key, message, iv=self._iv)
        return self._iv


class Ev2Session:
    """After 0x71 and 0x77: transaction identifier and command counter (AN12343 section 9)."""

    default_mode = Mode.MAC

    def __init__(
        self, key_no: int, enc_key: bytes, mac_key: bytes, identifier: bytes, counter: int = 0
    ) -> None:
        self.key_no = key_no
        self._enc_key = enc_key
        self._mac_key = mac_key
        self.identifier = identifier
        self.counter = counter

    def open_header(self, ins: int, payload: bytes, mode: Mode, lengths: Iterable[int]) -> bytes:
        mac_length = 0 if mode is Mode.PLAIN else 8
        require(len(payload) - mac_length in set(lengths), Status.LENGTH_ERROR)
        if mode is Mode.PLAIN:
            require(self.counter < 0xFFFF, Status.INTEGRITY_ERROR)
            return payload
        self._check_mac(ins, b"", payload)
        return payload[:-8]

    def open(
        self, ins: int, header: bytes, body: bytes, mode: Mode, lengths: Iterable[int]
    ) -> bytes:
        lengths = list(lengths)
        if mode is Mode.PLAIN:
            require(len(body) in lengths, Status.LENGTH_ERROR)
            require(self.counter < 0xFFFF, Status.INTEGRITY_ERROR)
            return body
        protected = (
            {_whole_blocks(n + 1, 16) for n in lengths} if mode is Mode.FULL else set(lengths)
        )
        require(len(body) - 8 in protected, Status.LENGTH_ERROR)
        self._check_mac(ins, header, body)
        if mode is Mode.MAC:
            return body[:-8]
        data = self._decrypt(body[:-8])
        require(len(data) in lengths, Status.LENGTH_ERROR)
        return data

    def open_cryptogram(self, ins: int, header: bytes, body: bytes) -> bytes:
        require(len(body) >= 24 and len(body) % 16 == 8, Status.LENGTH_ERROR)
        self._check_mac(ins, header, body)
        return self._decrypt(body[:-8])

    def cryptogram_crc(self, ins: int, header: bytes, data: bytes) -> bytes:
        del ins, header, data
        return b""

    def key_crc(self, key: bytes) -> bytes:
        return crc32(key)

    def seal(self, data: bytes, mode: Mode, *, open_ended: bool = False) -> bytes:
        del open_ended
        self.counter += 1
        if mode is Mode.PLAIN:
            return data
        if mode is Mode.FULL and data:
            data = aes_cbc_encrypt(self._enc_key, self._iv(b"\x5a\xa5"), pad_80(data, 16))
        return data + self._mac(OK, data)

    def seal_block(self, data: bytes) -> bytes:
        self.counter += 1
        sealed = aes_cbc_encrypt(self._enc_key, self._iv(b"\x5a\xa5"), data)
        return sealed + self._mac(OK, sealed)

    def body_length(self, data_length: int, mode: Mode) -> int:
        if mode is Mode.PLAIN:
            return data_length
        return (_whole_blocks(data_length + 1, 16) if mode is Mode.FULL else data_length) + 8

    def frame_data_bytes(self, mode: Mode) -> int:
        del mode
        return FRAME_DATA_BYTES // 16 * 16

    def _check_mac(self, ins: int, header: bytes, body: bytes) -> None:
        # A counter that has run out refuses like a wrong MAC (NT4H2421Gx 9.1.2).
        require(self.counter < 0xFFFF, Status.INTEGRITY_ERROR)
        expected = self._mac(bytes([ins]), header + body[:-8])
        require(expected == body[-8:], Status.INTEGRITY_ERROR)

    def _decrypt(self, sealed: bytes) -> bytes:
        plain = aes_cbc_decrypt(self._enc_key, self._iv(b"\xa5\x5a"), sealed)
        try:
            return unpad_80(plain)
        except ValueError:
            raise Refusal(Status.INTEGRITY_ERROR) from None

    def _mac(self, first: bytes, rest: bytes) -> bytes:
        message = first + self.counter.to_bytes(2, "little") + self.identifier + rest
        return truncate_mac(aes_cmac(self._mac_key, message))

    def _iv(self, label: bytes) -> bytes:
        block = label + self.identifier + self.counter.to_bytes(2, "little") + bytes(8)
        return aes_encrypt_block(self._enc_key, block)


def receive_d40(key: bytes, received: bytes) -> bytes:
    """Undo the D40 reader's CBC deciphering: encipher each block, then XOR the one before."""
    blocks = [received[i : i + 8] for i in range(0, len(received), 8)]
    before = [bytes(8), *blocks]
    return b"".join(
        xor(des_cbc_encrypt(key, bytes(8), block), previous)
        for block, previous in zip(blocks, before, strict=False)
    )


def session_key(key_length: int, cipher: BlockCipher, rnd_a: bytes, rnd_b: bytes) -> bytes:
    """Session key of D40 and EV1; `key_length` 8 (DES), 16 (2K3DES, AES) or 24 (3K3DES)."""
    starts = {8: (0,), 16: (0, 12) if cipher is BlockCipher.AES else (0, 4), 24: (0, 6, 12)}
    return b"".join(rnd_a[i : i + 4] + rnd_b[i : i + 4] for i in starts[key_length])


def ev2_session_keys(key: bytes, rnd_a: bytes, rnd_b: bytes) -> tuple[bytes, bytes]:
    """SesAuthENCKey and SesAuthMACKey (AN12343 section 8): CMAC over SV1 and SV2."""
    context = rnd_a[:2] + xor(rnd_a[2:8], rnd_b[:6]) + rnd_b[6:] + rnd_a[8:]
    tail = bytes.fromhex("00010080") + context
    return aes_cmac(key, b"\xa5\x5a" + tail), aes_cmac(key, b"\x5a\xa5" + tail)


def _whole_blocks(length: int, block: int) -> int:
    return -(-length // block) * block


def _data_before_crc(
    plain: bytes, lengths: Iterable[int], crc_length: int, crc: Callable[[bytes], bytes]
) -> bytes:
    """The data whose CRC follows it, then padding of zeros or of `80` and zeros."""
    wrong_length = True
    for length in lengths:
        end = length + crc_length
        padding = plain[end:]
        if end > len(plain) or len(padding) > 16:
            continue
        wrong_length = False
        if plain[length:end] == crc(plain[:length]) and padding.lstrip(b"\x80").strip(b"\0") == b"":
            return plain[:length]
    raise Refusal(Status.LENGTH_ERROR if wrong_length else Status.INTEGRITY_ERROR)
