"""The published vectors, as the card tests read them, and a connection that plays a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dobmi.cardlib.keys import DesfireKey, KeyType, des_key_version

VECTOR_FOLDER = Path(__file__).parent.parent / "vectors"

Vector = dict[str, Any]


def load_vectors(topic: str) -> list[Vector]:
    content = json.loads((VECTOR_FOLDER / f"{topic}.json").read_text(encoding="utf-8"))
    vectors: list[Vector] = content["vectors"]
    return vectors


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def key_as_on_card(value: bytes, kind: KeyType) -> DesfireKey:
    """A key whose version stands in its bytes, as the traces print it."""
    version = 0 if kind is KeyType.AES else des_key_version(value)
    return DesfireKey(kind, value, version)


@dataclass
class ScriptedConnection:
    """Answers each command as the script says and fails on any other.

    `frames` are native (command, answer) pairs of a recording: they are wrapped here. With
    `reassemble`, command frames may be split otherwise than in the recording; what they carry
    together must be the same.
    """

    frames: Iterable[tuple[bytes, bytes]]
    reassemble: bool = False
    uid: bytes = bytes(7)
    _script: Iterator[tuple[bytes, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        frames = list(self.frames)
        self._script = iter(_joined(frames) if self.reassemble else frames)
        self._pending = b""

    def transmit(self, command: bytes) -> bytes:
        assert command[0] == 0x90
        assert command[2:4] == b"\0\0"
        assert command[-1] == 0
        native = command[1:2] + (command[5:-1] if len(command) > 5 else b"")
        assert len(command) == 5 or command[4] == len(native) - 1
        if self.reassemble:
            sent = self._pending + (native[1:] if self._pending else native)
            expected, answer = self._peek()
            if len(sent) < len(expected) and expected.startswith(sent):
                self._pending = sent
                return b"\x91\xaf"
            self._pending = b""
            self._peeked = None
            assert sent.hex() == expected.hex()
        else:
            expected, answer = next(self._script)
            assert native.hex() == expected.hex()
        return answer[1:] + b"\x91" + answer[:1]

    def disconnect(self) -> None:
        raise AssertionError("no test disconnects")

    def assert_finished(self) -> None:
        assert next(self._script, None) is None, "the script has more exchanges than were made"

    _peeked: tuple[bytes, bytes] | None = None

    def _peek(self) -> tuple[bytes, bytes]:
        if self._peeked is None:
            self._peeked = next(self._script)
        return self._peeked


def _joined(frames: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Command frames that the card answered with a bare AF, put together with the next."""
    begun = b""
    for command, answer in frames:
        whole = begun + command[1:] if begun else command
        if answer == b"\xaf":
            begun = whole
        else:
            begun = b""
            yield whole, answer


def step_frames(step: Vector) -> list[tuple[bytes, bytes]]:
    return [(unhex(command), unhex(answer)) for command, answer in step["frames"]]


def fixed_random(values: Iterable[bytes]) -> Callable[[int], bytes]:
    """A source of the recorded random numbers, each asked for at its own length."""
    remaining = iter(values)

    def random_bytes(length: int) -> bytes:
        value = next(remaining)
        assert len(value) == length
        return value

    return random_bytes
