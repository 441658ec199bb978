"""Cipher primitives of DESFire: CBC, CMAC, the two CRCs and paddings. No protocol knowledge.

Keys and blocks are bytes as they stand in the datasheets, most significant first. DES keys have
8 (DES), 16 (2K3DES) or 24 (3K3DES) bytes; their lowest bits are ignored by the cipher. CRCs come
out least significant byte first, as they go over the air.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import Enum
from functools import cache

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

_ECB = modes.ECB()  # noqa: S305 - of single blocks


class BlockCipher(Enum):
    """The cipher family; the value is its block length in bytes."""

    AES = 16
    DES = 8

    @property
    def block_length(self) -> int:
        return self.value

    @property
    def zero_block(self) -> bytes:
        return bytes(self.value)


def _algorithm(cipher: BlockCipher, key: bytes) -> algorithms.AES | TripleDES:
    if cipher is BlockCipher.AES:
        return algorithms.AES(key)
    if len(key) not in {8, 16, 24}:
        msg = f"a DES key has 8, 16 or 24 bytes, not {len(key)}"
        raise ValueError(msg)
    # DES is 3DES with three equal keys, 2K3DES with first and third equal.
    return TripleDES((key * 3)[:24])


def cbc_encrypt(cipher: BlockCipher, key: bytes, iv: bytes, data: bytes) -> bytes:
    """CBC without padding; `data` is whole blocks, else ValueError."""
    encryptor = Cipher(_algorithm(cipher, key), modes.CBC(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def cbc_decrypt(cipher: BlockCipher, key: bytes, iv: bytes, data: bytes) -> bytes:
    """CBC without padding; `data` is whole blocks, else ValueError."""
    decryptor = Cipher(_algorithm(cipher, key), modes.CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def aes_cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    return cbc_encrypt(BlockCipher.AES, key, iv, data)


def aes_cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    return cbc_decrypt(BlockCipher.AES, key, iv, data)


def des_cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    return cbc_encrypt(BlockCipher.DES, key, iv, data)


def des_cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    return cbc_decrypt(BlockCipher.DES, key, iv, data)


def aes_encrypt_block(key: bytes, block: bytes) -> bytes:
    """One AES block, as EV2 makes its IVs (AN12343 section 9.1)."""
    encryptor = Cipher(algorithms.AES(key), _ECB).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def aes_decrypt_block(key: bytes, block: bytes) -> bytes:
    """One AES block; the same as CBC with an IV of zeros."""
    return Cipher(algorithms.AES(key), _ECB).decryptor().update(block)


class AesCmac:
    """AES-CMAC (RFC 4493, NIST SP 800-38B) under one key, set up once for many messages."""

    __slots__ = ("_before",)

    def __init__(self, key: bytes) -> None:
        self._before = CMAC(algorithms.AES(key))

    def of(self, message: bytes) -> bytes:
        """16 bytes."""
        mac = self._before.copy()
        mac.update(message)
        return mac.finalize()


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """AES-CMAC (RFC 4493, NIST SP 800-38B), 16 bytes."""
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def aes_cmac_of_two(key: bytes, first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """AES-CMAC of two messages under one key that is set up once."""
    of_first = CMAC(algorithms.AES(key))
    of_second = of_first.copy()
    of_first.update(first)
    of_second.update(second)
    return of_first.finalize(), of_second.finalize()


def des_cmac(key: bytes, message: bytes) -> bytes:
    """CMAC on DES, 2K3DES or 3K3DES (NIST SP 800-38B), 8 bytes."""
    return cmac(BlockCipher.DES, key, message)


def cmac_subkeys(cipher: BlockCipher, key: bytes) -> tuple[bytes, bytes]:
    """K1 and K2 of SP 800-38B section 6.1."""
    length = cipher.block_length
    reduction = 0x87 if cipher is BlockCipher.AES else 0x1B

    def double(block: bytes) -> bytes:
        number = int.from_bytes(block, "big") << 1
        if number >> (8 * length):
            number ^= (1 << (8 * length)) | reduction
        return number.to_bytes(length, "big")

    k1 = double(cbc_encrypt(cipher, key, cipher.zero_block, cipher.zero_block))
    return k1, double(k1)


def cmac(
    cipher: BlockCipher,
    key: bytes,
    message: bytes,
    *,
    iv: bytes | None = None,
    blocks_min: int = 1,
) -> bytes:
    """CMAC of one block's length.

    `iv` is the chaining value an EV1 session starts from (zero is the standard's CMAC);
    `blocks_min` pads short messages to that many blocks, as AN10922 asks.
    """
    length = cipher.block_length
    k1, k2 = cmac_subkeys(cipher, key)
    needed = max(blocks_min * length, length)
    if len(message) >= needed and len(message) % length == 0:
        padded, last_key = message, k1
    else:
        padded, last_key = pad_80(message, length), k2
        padded = padded.ljust(needed, b"\0")
    body, last = padded[:-length], padded[-length:]
    masked = body + xor(last, last_key)
    return cbc_encrypt(cipher, key, iv or cipher.zero_block, masked)[-length:]


def truncate_mac(mac: bytes) -> bytes:
    """The odd bytes (1, 3, … 15) of a 16-byte CMAC: MACt of EV2 and TMV (AN12343 section 9.2)."""
    if len(mac) != 16:
        msg = f"a CMAC to truncate has 16 bytes, not {len(mac)}"
        raise ValueError(msg)
    return mac[1::2]


def xor(left: bytes, right: bytes) -> bytes:
    """Byte-wise; ValueError when the lengths differ."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def crc16(data: bytes) -> bytes:
    """CRC_A of ISO 14443-3 (initial value 6363), 2 bytes, least significant first."""
    crc = 0x6363
    for byte in data:
        mixed = (byte ^ crc) & 0xFF
        mixed = (mixed ^ (mixed << 4)) & 0xFF
        crc = (crc >> 8) ^ (mixed << 8) ^ (mixed << 3) ^ (mixed >> 4)
    return crc.to_bytes(2, "little")


def crc32(data: bytes) -> bytes:
    """CRC-32 without the final inversion (JAMCRC), 4 bytes, least significant first."""
    return (zlib.crc32(data) ^ 0xFFFFFFFF).to_bytes(4, "little")


def pad_80(data: bytes, block_length: int) -> bytes:
    """ISO 9797-1 method 2: `80` and zeros up to whole blocks, always at least the `80`."""
    return data + b"\x80" + bytes(-(len(data) + 1) % block_length)


def unpad_80(data: bytes) -> bytes:
    """Undo `pad_80`; ValueError when there is no `80` before the trailing zeros."""
    bare = data.rstrip(b"\0")
    if not bare.endswith(b"\x80"):
        msg = "no padding marker"
        raise ValueError(msg)
    return bare[:-1]


def pad_zero(data: bytes, block_length: int) -> bytes:
    """Zeros up to whole blocks; nothing is added to whole blocks."""
    return data + bytes(-len(data) % block_length)


def rotate_left(data: bytes) -> bytes:
    """One byte to the left, as RndA' and RndB' are made."""
    return data[1:] + data[:1]


class Aes128Diversifier:
    """AN10922 section 2.2 under one 16-byte master key, set up once for many cards."""

    __slots__ = ("_cmac", "_master")

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._cmac = AesCmac(master)

    def key(self, diversification_input: bytes) -> bytes:
        """CMAC over `01` || input, always padded to 32 bytes.

        The input has 1 to 31 bytes (ValueError otherwise); the result is a 16-byte AES key.
        """
        _check_diversification(self._master, 16, diversification_input, 31)
        if len(diversification_input) < 16:  # of one block, which the standard would not pad to two
            return _diversified_part(BlockCipher.AES, self._master, 0x01, diversification_input)
        return self._cmac.of(b"\x01" + diversification_input)

    def keys(self, diversification_inputs: Sequence[bytes]) -> list[bytes]:
        """As `key` of each input, of 16 to 31 bytes, at a tenth of the cost.

        CBC-MAC goes from block to block, but not from card to card: so the first blocks of all are
        enciphered by one call, and then the second ones.
        """
        if any(not 16 <= len(given) <= 31 for given in diversification_inputs):
            msg = "a diversification input of two blocks has 16 to 31 bytes"
            raise ValueError(msg)
        k1, k2 = cmac_subkeys(BlockCipher.AES, self._master)

        @cache  # what follows the UID is mostly the same
        def last_block(tail: bytes) -> bytes:
            return xor(tail, k1) if len(tail) == 16 else xor(pad_80(tail, 16), k2)

        first = [b"\x01" + given[:15] for given in diversification_inputs]
        second = [last_block(given[15:]) for given in diversification_inputs]
        encryptor = Cipher(algorithms.AES(self._master), _ECB).encryptor()
        chained = int.from_bytes(encryptor.update(b"".join(first)), "big")
        mixed = chained ^ int.from_bytes(b"".join(second), "big")
        derived = encryptor.update(mixed.to_bytes(16 * len(first), "big"))
        return [derived[start : start + 16] for start in range(0, len(derived), 16)]


def diversify_aes128(master: bytes, diversification_input: bytes) -> bytes:
    """AN10922 section 2.2: a 16-byte AES key, as `Aes128Diversifier` derives it."""
    return Aes128Diversifier(master).key(diversification_input)


def diversify_aes192(master: bytes, diversification_input: bytes) -> bytes:
    """AN10922 section 2.3: two CMACs, overlapping in the middle 8 bytes; 24 bytes."""
    _check_diversification(master, 24, diversification_input, 31)
    a = _diversified_part(BlockCipher.AES, master, 0x11, diversification_input)
    b = _diversified_part(BlockCipher.AES, master, 0x12, diversification_input)
    return a[:8] + xor(a[8:], b[:8]) + b[8:]


def diversify_2k3des(master: bytes, diversification_input: bytes) -> bytes:
    """AN10922 section 2.4; input 1 to 15 bytes. Version bits are left as the CMAC gives them."""
    _check_diversification(master, 16, diversification_input, 15)
    return b"".join(
        _diversified_part(BlockCipher.DES, master, constant, diversification_input)
        for constant in (0x21, 0x22)
    )


def diversify_3k3des(master: bytes, diversification_input: bytes) -> bytes:
    """AN10922 section 2.5; input 1 to 15 bytes. Version bits are left as the CMAC gives them."""
    _check_diversification(master, 24, diversification_input, 15)
    return b"".join(
        _diversified_part(BlockCipher.DES, master, constant, diversification_input)
        for constant in (0x31, 0x32, 0x33)
    )


def _diversified_part(cipher: BlockCipher, master: bytes, constant: int, data: bytes) -> bytes:
    return cmac(cipher, master, bytes([constant]) + data, blocks_min=2)


def _check_diversification(master: bytes, key_length: int, data: bytes, data_max: int) -> None:
    if len(master) != key_length:
        msg = f"the master key has {key_length} bytes, not {len(master)}"
        raise ValueError(msg)
    if not 1 <= len(data) <= data_max:
        msg = f"a diversification input has 1 to {data_max} bytes, not {len(data)}"
        raise ValueError(msg)
