"""What a feed, a record, a voucher and a card session say of PINs: read back as written, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import encode
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.feed import Limits, encode_feed, verify_feed
from dobmi.sync.records import PinOutcome, PinRecord, decode_record, encode_record
from dobmi.sync.relay import (
    Answer,
    PinAct,
    PinParameters,
    Question,
    SecretPins,
    decode_relay,
    encode_relay,
)
from support.messages import FEED, SERVER_KEY, SERVER_PUBLIC

UID = bytes.fromhex("04112233445566")
UIDS = st.lists(st.binary(min_size=7, max_size=7), max_size=5).map(tuple)
DIGITS = st.from_regex(r"[0-9]{0,8}", fullmatch=True)
RECORD = PinRecord(card_uid=UID, outcome=PinOutcome.WRONG, in_a_row=1, unix_seconds=1_790_000_000)


@given(UIDS, st.integers(0, 20_000_000))
def test_a_feed_says_the_limit_and_the_locks(locked: tuple[bytes, ...], limit: int) -> None:
    feed = replace(FEED, limits=Limits(pin_above=Rupiah(limit)), pins_locked=locked)
    assert (
        verify_feed(
            encode_feed(feed, SERVER_PUBLIC, SERVER_KEY.sign),
            SERVER_PUBLIC,
            0 if feed.since == 0 else feed.since,
        )
        == feed
    )


def test_a_feed_for_who_does_not_ask_has_none_of_it() -> None:
    feed = replace(FEED, limits=Limits(pin_above=ZERO), pins_locked=None)
    encoded = encode_feed(feed, SERVER_PUBLIC, SERVER_KEY.sign)
    content = cbor2.loads(cbor2.loads(encoded).value[2])
    assert 17 not in content
    assert 5 not in content[7]


@given(
    st.binary(min_size=7, max_size=7),
    st.sampled_from(PinOutcome),
    st.integers(1, 3),
    st.integers(0, (1 << 40) - 1),
)
def test_a_record_is_read_back(uid: bytes, outcome: PinOutcome, in_a_row: int, at: int) -> None:
    record = PinRecord(card_uid=uid, outcome=outcome, in_a_row=in_a_row, unix_seconds=at)
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    "change",
    [{2: b"123456"}, {2: "04112233445566"}, {3: 0}, {3: 3}, {4: 0}, {4: 4}, {5: 1 << 40}, {6: 1}],
)
def test_another_record_is_refused(change: dict[int, object]) -> None:
    fields = cbor2.loads(encode_record(RECORD)) | change
    with pytest.raises(MalformedMessage):
        decode_record(cbor2.dumps(fields, canonical=True))


@given(DIGITS, DIGITS)
def test_pins_to_be_sealed_are_read_back_and_shown_nowhere(old: str, new: str) -> None:
    pins = SecretPins(old=old, new=new)
    assert SecretPins.decode(pins.encode()) == pins
    assert repr(pins) == "SecretPins()"


@pytest.mark.parametrize(
    "data", [b"", encode({1: "739164"}), encode({1: 739164, 2: ""}), b"\xa2\x01"]
)
def test_what_is_no_such_pair_is_refused_and_not_shown(data: bytes) -> None:
    with pytest.raises(MalformedMessage) as refused:
        SecretPins.decode(data)
    assert "739164" not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=64, max_size=64),
    st.binary(min_size=1, max_size=200),
)
def test_question_and_answer_are_read_back(key: bytes, signature: bytes, sealed: bytes) -> None:
    for message in (Question(key, signature), Answer(sealed)):
        assert decode_relay(encode_relay(message)) == message
    assert sealed.hex() not in repr(Answer(sealed)) or len(sealed) < 2


@pytest.mark.parametrize("act", PinAct)
def test_a_reset_alone_says_how_the_member_was_identified(act: PinAct) -> None:
    is_reset = act is PinAct.RESET
    good = PinParameters(act=act, identified_by="KTP" if is_reset else "")
    assert PinParameters.from_cbor(good.to_cbor()) == good
    with pytest.raises(MalformedMessage):
        PinParameters.from_cbor({1: act.value, 2: "" if is_reset else "KTP"})
    with pytest.raises(MalformedMessage):
        PinParameters.from_cbor({1: "erase", 2: ""})
