"""The format of a day's head, held against bytes that never change (docs/formats/daily-head.md)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dobmi.central.daily_head import (
    CONTENT_TYPE,
    DailyHead,
    JournalLine,
    TillHead,
    journal_hash,
    tills_hash,
)
from dobmi.money import Rupiah
from dobmi.sync.cose import parse_sign1
from dobmi.sync.errors import WrongSignature

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "daily_head.json").read_text(encoding="utf-8")
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["server_private_key"]))
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
LINES = [
    JournalLine(**{**line, "card_uid": bytes.fromhex(line["card_uid"])})
    for line in GOLDEN["journal"]
]
TILLS = [TillHead(head[0], head[1], bytes.fromhex(head[2])) for head in GOLDEN["tills"]]


def head() -> DailyHead:
    journal = journal_hash(LINES)
    return DailyHead(
        day=GOLDEN["day"],
        postings=journal.postings,
        amount=journal.amount,
        journal_hash=journal.digest,
        tills_hash=tills_hash(TILLS),
        previous_hash=bytes.fromhex(GOLDEN["previous_hash"]),
        closed_at=GOLDEN["closed_at"],
    )


def test_the_golden_day_has_its_hashes_and_its_signed_message() -> None:
    made = head()
    signature = made.sign(PUBLIC_KEY, KEY.sign)
    assert made.journal_hash.hex() == GOLDEN["journal_hash"]
    assert made.tills_hash.hex() == GOLDEN["tills_hash"]
    assert made.payload.hex() == GOLDEN["payload"]
    assert made.hash.hex() == GOLDEN["hash"]
    assert made.message(PUBLIC_KEY, signature).hex() == GOLDEN["message"]
    message = parse_sign1(bytes.fromhex(GOLDEN["message"]), size_max=1024)
    assert message.verify(PUBLIC_KEY, CONTENT_TYPE) == made.payload


def test_nothing_in_a_head_changes_without_its_signature_being_wrong() -> None:
    made = head()
    signature = made.sign(PUBLIC_KEY, KEY.sign)
    made.verify(PUBLIC_KEY, signature)
    for change in (
        {"day": made.day + 1},
        {"postings": made.postings + 1},
        {"amount": made.amount + Rupiah(1)},
        {"journal_hash": bytes(32)},
        {"tills_hash": bytes(32)},
        {"previous_hash": bytes(31) + b"\x01"},
        {"closed_at": made.closed_at + 1},
    ):
        changed = dataclasses.replace(made, **change)
        assert changed.hash != made.hash
        with pytest.raises(WrongSignature):
            changed.verify(PUBLIC_KEY, signature)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the other core may be busy
@given(st.data())
def test_no_change_of_a_line_leaves_the_journals_hash_as_it_was(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(LINES) - 1))
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(JournalLine)]))
    before = getattr(LINES[number], name)
    strategy: Any = {int: st.integers(0, 2**63 - 1), str: st.text(), bytes: st.binary()}
    after = data.draw(strategy[type(before)].filter(lambda value: value != before))
    lines = list(LINES)
    lines[number] = dataclasses.replace(lines[number], **{name: after})
    assert journal_hash(lines).digest != journal_hash(LINES).digest


def test_lines_that_run_into_each_other_are_told_apart() -> None:
    one, two = (dataclasses.replace(LINES[0], explanation=text) for text in ("ab", "c"))
    three, four = (dataclasses.replace(LINES[0], explanation=text) for text in ("a", "bc"))
    assert journal_hash([one, two]).digest != journal_hash([three, four]).digest
    assert journal_hash([]).postings == 0
