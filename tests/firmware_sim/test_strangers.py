"""Programs of others read the simulated card, with nothing of ours between.

Debian's libnfc-bin and libfreefare-bin. They end with 0 also when no card is there, so what they print
is what counts.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.personality import Personality
from dobmi.firmware_sim.pn532 import PN532
from support.radio_cards import OTHER_UID, UID


def run(program: str, pn532: PN532, *arguments: str) -> str:
    done = subprocess.run(
        [program, *arguments],
        env={
            **os.environ,
            "LIBNFC_AUTO_SCAN": "false",
            "LIBNFC_DEVICE": f"pn532_uart:{pn532.path}",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout + done.stderr


def facts(text: str) -> dict[str, str]:
    """`Name: value` lines, the hardware's and the software's apart."""
    found, section = {}, ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if line.endswith("Information:"):
            section = name.split()[0] + " "
        found[(section if line.startswith("    ") else "") + name.strip()] = value.strip()
    return found


def test_nfc_list_finds_the_card_with_uid_and_answer_to_select() -> None:
    with PN532(SimulatedCard(UID)) as pn532:
        text = re.sub(r"\s+", " ", run("nfc-list", pn532))
    assert "1 ISO14443A passive target(s) found" in text
    assert "ATQA (SENS_RES): 03 44" in text
    assert "UID (NFCID1): 04 11 22 33 44 55 66" in text
    assert "SAK (SEL_RES): 20" in text
    assert "ATS: 75 77 81 02 80" in text


def test_nfc_list_finds_nothing_on_an_empty_reader() -> None:
    with PN532() as pn532:
        text = run("nfc-list", pn532)
    assert "opened" in text
    assert "found" not in text


@pytest.mark.parametrize(
    ("personality", "hardware", "software", "free_memory"),
    [
        (Personality.EV1, "1.0", "1.4", "4864 bytes"),
        (Personality.EV2, "18.0", "2.0", "5120 bytes"),
    ],
)
def test_mifare_desfire_info_reads_a_fresh_card(
    personality: Personality, hardware: str, software: str, free_memory: str
) -> None:
    with PN532(SimulatedCard(UID, personality)) as pn532:
        text = run("mifare-desfire-info", pn532)
    found = facts(text)
    assert "===> Version information for tag 04112233445566:" in text
    assert found["UID"] == "0x04112233445566"
    assert found["Hardware Vendor ID"] == found["Software Vendor ID"] == "0x04"
    assert found["Hardware Version"] == hardware
    assert found["Software Version"] == software
    assert found["Hardware Storage size"] == "0x18 (=4096 bytes)"
    assert found["Hardware Protocol"] == "0x05"
    assert "Master Key settings (0x0f)" in found
    assert found["Master Key version"] == "0 (0x00)"
    assert found["Free memory"] == free_memory
    assert found["Use random UID"] == "no"


def test_mifare_desfire_info_says_nothing_of_an_empty_reader() -> None:
    with PN532() as pn532:
        assert "===>" not in run("mifare-desfire-info", pn532)


def test_a_card_may_change_between_two_strangers() -> None:
    with PN532(SimulatedCard(UID, Personality.EV1)) as pn532:
        assert facts(run("mifare-desfire-info", pn532))["UID"] == "0x04112233445566"
        pn532.remove()
        assert "===>" not in run("mifare-desfire-info", pn532)
        pn532.insert(SimulatedCard(OTHER_UID, Personality.EV1))
        assert facts(run("mifare-desfire-info", pn532))["UID"] == "0x04aabbccddeeff"
