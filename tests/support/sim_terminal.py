"""A terminal of the tests' own for the simulated card: native frames, EV2 and EV1-AES sessions.

Written apart from cardlib, so that the card's tests do not lean on what they help to prove.
"""

from __future__ import annotations

from dobmi.cardlib.crypto import (
    BlockCipher,
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    aes_cmac,
    aes_encrypt_block,
    cmac,
    crc32,
    pad_80,
    pad_zero,
    rotate_left,
    truncate_mac,
    unpad_80,
    xor,
)
from dobmi.firmware_sim.contactless import ContactlessCard

RND_A = bytes(range(0xA0, 0xB0))
OK, MORE = 0x00, 0xAF
PLAIN, MAC, FULL = 0, 1, 3


class Terminal:
    """`call` sends a command under the session there is; it returns (status, plain data).

    What the card answers is checked against the session: a wrong MAC fails the test.
    """

    def __init__(self, card: ContactlessCard) -> None:
        self.card = card
        self.enc_key = self.mac_key = self.identifier = b""
        self.counter = 0
        self.ev1_key = b""
        self.iv = bytes(16)

    # Frames

    def exchange(self, ins: int, payload: bytes = b"") -> tuple[int, bytes]:
        """Native chaining both ways, except for ISO-chaining instructions."""
        iso = ins in {0xAD, 0x8D, 0xAB, 0x8B, 0xBA}
        size = len(payload) if iso else 59
        pieces = [payload[i : i + size] for i in range(0, len(payload), size or 1)] or [b""]
        answer = self.card.process(bytes([ins]) + pieces[0])
        for piece in pieces[1:]:
            if answer != bytes([MORE]):
                return answer[0], answer[1:]
            answer = self.card.process(bytes([MORE]) + piece)
        data = answer[1:]
        while answer[0] == MORE:
            answer = self.card.process(bytes([MORE]))
            data += answer[1:]
        return answer[0], data

    def forget(self) -> None:
        self.enc_key = self.ev1_key = b""

    def select(self, aid: bytes) -> int:
        self.forget()
        return self.exchange(0x5A, aid)[0]

    # Authentication

    def authenticate_ev2(self, number: int, key: bytes, *, first: bool = True) -> int:
        request = bytes([number, 0]) if first else bytes([number])
        answer = self.card.process(bytes([0x71 if first else 0x77]) + request)
        if answer[0] != MORE:
            self.forget()
            return answer[0]
        rnd_b = aes_cbc_decrypt(key, bytes(16), answer[1:])
        token = aes_cbc_encrypt(key, bytes(16), RND_A + rotate_left(rnd_b))
        answer = self.card.process(bytes([MORE]) + token)
        if answer[0] != OK:
            self.forget()
            return answer[0]
        plain = aes_cbc_decrypt(key, bytes(16), answer[1:])
        if first:
            self.identifier, self.counter, plain = plain[:4], 0, plain[4:20]
        assert plain == rotate_left(RND_A)
        tail = RND_A[:2] + xor(RND_A[2:8], rnd_b[:6]) + rnd_b[6:] + RND_A[8:]
        self.enc_key = aes_cmac(key, bytes.fromhex("A55A00010080") + tail)
        self.mac_key = aes_cmac(key, bytes.fromhex("5AA500010080") + tail)
        self.ev1_key = b""
        return OK

    def authenticate_aes(self, number: int, key: bytes) -> int:
        self.forget()
        answer = self.card.process(bytes([0xAA, number]))
        if answer[0] != MORE:
            return answer[0]
        rnd_b = aes_cbc_decrypt(key, bytes(16), answer[1:])
        token = aes_cbc_encrypt(key, answer[-16:], RND_A + rotate_left(rnd_b))
        answer = self.card.process(bytes([MORE]) + token)
        if answer[0] != OK:
            return answer[0]
        assert aes_cbc_decrypt(key, token[-16:], answer[1:]) == rotate_left(RND_A)
        self.ev1_key = RND_A[:4] + rnd_b[:4] + RND_A[12:] + rnd_b[12:]
        self.iv = bytes(16)
        return OK

    # Commands

    def call(
        self,
        ins: int,
        header: bytes = b"",
        data: bytes = b"",
        *,
        mode: int = MAC,
        answer_mode: int | None = None,
        length: int | None = None,
    ) -> tuple[int, bytes]:
        """`length`: of the answer's plain data in EV1's full mode."""
        answer_mode = mode if answer_mode is None else answer_mode
        if self.ev1_key:
            status, answer = self._call_ev1(ins, header, data, mode)
            if status == OK:
                answer = self._open_ev1(answer, answer_mode if answer else MAC, length)
        elif self.enc_key:
            status, answer = self.exchange(ins, self._seal_ev2(ins, header, data, mode))
            self.counter += 1
            if status == OK:
                answer = self._open_ev2(answer, answer_mode)
        else:
            status, answer = self.exchange(ins, header + data)
        if status != OK:
            assert not answer, "an error has no data and no MAC"
            self.forget()
        return status, answer

    def ok(
        self,
        ins: int,
        header: bytes = b"",
        data: bytes = b"",
        *,
        mode: int = MAC,
        answer_mode: int | None = None,
        length: int | None = None,
    ) -> bytes:
        status, answer = self.call(
            ins, header, data, mode=mode, answer_mode=answer_mode, length=length
        )
        assert status == OK, f"{ins:02X} answered {status:02X}"
        return answer

    def _iv_ev2(self, label: str) -> bytes:
        block = bytes.fromhex(label) + self.identifier + self.counter.to_bytes(2, "little")
        return aes_encrypt_block(self.enc_key, block + bytes(8))

    def _mac_ev2(self, first: int, rest: bytes) -> bytes:
        message = bytes([first]) + self.counter.to_bytes(2, "little") + self.identifier + rest
        return truncate_mac(aes_cmac(self.mac_key, message))

    def _seal_ev2(self, ins: int, header: bytes, data: bytes, mode: int) -> bytes:
        if mode == PLAIN:
            return header + data
        if mode == FULL and data:
            data = aes_cbc_encrypt(self.enc_key, self._iv_ev2("A55A"), pad_80(data, 16))
        return header + data + self._mac_ev2(ins, header + data)

    def _open_ev2(self, answer: bytes, mode: int) -> bytes:
        if mode == PLAIN:
            return answer
        data, mac = answer[:-8], answer[-8:]
        assert mac == self._mac_ev2(OK, data)
        if mode == FULL and data:
            return unpad_80(aes_cbc_decrypt(self.enc_key, self._iv_ev2("5AA5"), data))
        return data

    def open_block_ev2(self, block: bytes) -> bytes:
        """CommitReaderID's answer, enciphered without padding."""
        return aes_cbc_decrypt(self.enc_key, self._iv_ev2("5AA5"), block)

    def _call_ev1(self, ins: int, header: bytes, data: bytes, mode: int) -> tuple[int, bytes]:
        command = bytes([ins]) + header + data
        if mode == FULL and data:
            plain = pad_zero(data + crc32(command), 16)
            sealed = aes_cbc_encrypt(self.ev1_key, self.iv, plain)
            self.iv = sealed[-16:]
            return self.exchange(ins, header + sealed)
        self.iv = cmac(BlockCipher.AES, self.ev1_key, command, iv=self.iv)
        mac = self.iv[:8] if mode == MAC and data else b""
        return self.exchange(ins, header + data + mac)

    def _open_ev1(self, answer: bytes, mode: int, length: int | None) -> bytes:
        if mode == FULL:
            assert length is not None
            plain = aes_cbc_decrypt(self.ev1_key, self.iv, answer)
            self.iv = answer[-16:]
            data = plain[:length]
            assert plain[length : length + 4] == crc32(data + b"\0")
            return data
        data, mac = answer[:-8], answer[-8:]
        self.iv = cmac(BlockCipher.AES, self.ev1_key, data + b"\0", iv=self.iv)
        assert mac == self.iv[:8]
        return data
