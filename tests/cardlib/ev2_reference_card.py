"""The card's side of EV2 secure messaging, written apart from the project's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC


def aes(key: bytes, iv: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CBC(iv))
    turn = cipher.decryptor() if decrypt else cipher.encryptor()
    return turn.update(data) + turn.finalize()


def short_mac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()[1::2]


@dataclass
class Ev2Peer:
    """One session's card side: opens commands, closes answers."""

    encryption_key: bytes
    mac_key: bytes
    ti: bytes
    counter: int = 0

    def iv(self, label: str) -> bytes:
        block = bytes.fromhex(label) + self.ti + self.counter.to_bytes(2, "little") + bytes(8)
        return aes(self.encryption_key, bytes(16), block)

    def mac(self, first: int, body: bytes) -> bytes:
        return short_mac(
            self.mac_key, bytes([first]) + self.counter.to_bytes(2, "little") + self.ti + body
        )

    def open(self, ins: int, payload: bytes, header_length: int, mode: str) -> tuple[bytes, bytes]:
        body = payload
        if mode != "plain":
            body, mac = payload[:-8], payload[-8:]
            assert mac == self.mac(ins, body)
        header, data = body[:header_length], body[header_length:]
        if mode == "full" and data:
            data = aes(self.encryption_key, self.iv("A55A"), data, decrypt=True)
            data = data[: data.rindex(b"\x80")]
        self.counter += 1
        return header, data

    def close(self, data: bytes, mode: str, *, padded: bool = True) -> bytes:
        if mode == "plain":
            return data
        if mode == "full" and data:
            if padded:
                data += b"\x80" + bytes(15 - len(data) % 16)
            data = aes(self.encryption_key, self.iv("5AA5"), data)
        return data + self.mac(0, data)


@dataclass
class Ev2CardScript:
    """A connection whose card answers each command of a plan in its session.

    The plan is (INS, header length, mode of command, answer data, mode of answer); what came in
    is kept in `received` as (INS, header, data).
    """

    peer: Ev2Peer
    plan: list[tuple[int, int, str, bytes, str]]
    uid: bytes = bytes.fromhex("04782E21801D80")
    received: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def transmit(self, command: bytes) -> bytes:
        ins, header_length, command_mode, answer, answer_mode = self.plan.pop(0)
        assert command[1] == ins
        payload = command[5:-1] if len(command) > 5 else b""
        self.received.append((ins, *self.peer.open(ins, payload, header_length, command_mode)))
        padded = ins != 0xC8
        return self.peer.close(answer, answer_mode, padded=padded) + b"\x91\x00"

    def disconnect(self) -> None:
        raise AssertionError("no test disconnects")
