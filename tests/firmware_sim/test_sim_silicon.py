"""Given the random numbers of the recorded real card, the simulated card answers the same bytes.

Vectors: ev1_silicon_transcript (libspookyaction, real EV2 4K in EV1-style sessions), used whole:
every session, every frame. A session starts from the state it needs: the applications and keys
that it uses without having made them, and the memory that its FreeMem says was used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.state import PICC_AID, Application, CardState, Key, KeyType

VECTORS = Path(__file__).parent.parent / "vectors"
SILICON = json.loads((VECTORS / "ev1_silicon_transcript.json").read_text())["vectors"]

UNMATCHED: set[tuple[int, int]] = set()
"""(step number, frame) of recorded answers that the simulated card does not give: none."""

KEY_TYPES = {"0A": KeyType.DES, "1A": KeyType.TDES_3K, "AA": KeyType.AES}


def queue_of(numbers: list[bytes]) -> Callable[[int], bytes]:
    def next_random(length: int) -> bytes:
        number = numbers.pop(0)
        assert len(number) == length
        return number

    return next_random


def as_key(step: dict[str, Any]) -> Key:
    value = bytes.fromhex(step["key"])
    return Key(KEY_TYPES[step["ins"]], value * 2 if len(value) == 8 else value)


def application_of(aid: bytes, key: Key) -> Application:
    """As libspookyaction makes its test applications: settings 0F, 14 keys."""
    return Application(aid, 0x0F, (key,) + (Key(key.type, bytes(key.type.length)),) * 13)


def starting_state(steps: list[dict[str, Any]], serial: bytes) -> CardState:
    """What the recorded session finds on the card, read off its frames up to a FormatPICC.

    The master key and application keys of its first authentications, the applications that its
    first GetApplicationIDs lists, and the memory that its first FreeMem says is used.
    """
    instructions = [step["ins"] for step in steps]
    end = instructions.index("FC") if "FC" in instructions else len(steps)
    selected = PICC_AID
    keys: dict[bytes, Key] = {}
    listed: list[bytes] = []
    used = 0
    for step in steps[:end]:
        sent, answer = (bytes.fromhex(text) for text in step["frames"][0])
        if step["ins"] == "CA":
            break
        if step["ins"] == "5A":
            selected = sent[1:4]
        elif step["kind"] == "auth":
            keys.setdefault(selected, as_key(step))
        elif step["ins"] == "6A" and not listed:
            listed = [answer[i : i + 3] for i in range(1, len(answer) - 2, 3)]
        elif step["ins"] == "6E":
            used = Personality.EV2.memory_bytes - int.from_bytes(answer[1:], "little")
    # Where a session starts with FormatPICC, or makes its application, the master key stands.
    master = keys.pop(PICC_AID, None) or as_key(
        next(step for step in steps if step["kind"] == "auth")
    )
    state = CardState(serial, Personality.EV2, bytes(56), master_key=master, memory_used_bytes=used)
    for aid in dict.fromkeys([*listed, *keys]):
        state = state.with_application(
            application_of(aid, keys.get(aid, Key(KeyType.DES, bytes(16))))
        )
    return state


def replay(vector: dict[str, Any]) -> set[tuple[int, int]]:
    """Every frame of one recorded session; returns what was answered differently."""
    steps = vector["outputs"]["steps"]
    serial = bytes.fromhex(vector["inputs"]["card"]["uid"])
    numbers = [bytes.fromhex(step["rndb"]) for step in steps if step["kind"] == "auth"]
    card = SimulatedCard(random_bytes=queue_of(numbers), state=starting_state(steps, serial))
    different = set()
    for step in steps:
        for index, (sent, answered) in enumerate(step["frames"]):
            if card.process(bytes.fromhex(sent)) != bytes.fromhex(answered):
                different.add((step["n"], index))
    assert not numbers
    return different


@pytest.mark.parametrize("vector", SILICON, ids=lambda vector: vector["name"])
def test_simulated_card_answers_as_the_recorded_one(vector: dict[str, Any]) -> None:
    numbers = {step["n"] for step in vector["outputs"]["steps"]}
    assert replay(vector) == {(n, frame) for n, frame in UNMATCHED if n in numbers}


def test_transcript_is_replayed_whole() -> None:
    assert len(SILICON) == 44
    assert sum(len(v["outputs"]["steps"]) for v in SILICON) == 881
