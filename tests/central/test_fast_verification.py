"""Verifying many vouchers at speed decides what verifying them one by one, check by check, decides.

`support.plain_verification` is the slow way, kept as it was.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey, Holder, ReaderId
from dobmi.cardlib.transaction_mac import transaction_mac
from dobmi.central.verification import (
    CardFacts,
    JudgedBatch,
    Noted,
    PlausibleDoubt,
    Reason,
    Refused,
    Sale,
    VerifiedSale,
    cards_of,
    judge_batch,
)
from dobmi.money import Rupiah
from dobmi.sync import cbor
from dobmi.sync.batch import encode_batch, parse_batch
from dobmi.sync.cose import sign1
from dobmi.sync.errors import MalformedMessage, SyncError
from dobmi.sync.voucher import (
    CONTENT_TYPE,
    GoodsLine,
    Outcome,
    SaleFields,
    SaleVoucher,
    encode_voucher,
    genesis_hash,
    voucher_hash,
)
from support import plain_verification as plain
from support.traffic import START, ModelCard, ModelTill

TILL_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
PUBLIC = TILL_KEY.public_key().public_bytes_raw()
ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(96, 128)))
TERMINAL_ID = 300
RING = KeyRing(masters={CardKey.TRANSACTION_MAC: {1: bytes(range(16)), 2: bytes(range(16, 32))}})
UIDS = [bytes((4, number, 2, 3, 4, 5, 6)) for number in range(4)]
FACTS = {
    uid: CardFacts(uid, serial=70_000 + number, member_number=4_711 + number, mac_key_version=1)
    for number, uid in enumerate(UIDS[:3])
}
"""Of all cards but the last."""


def mac_key_of(uid: bytes, version: int) -> bytes:
    return RING.card_key(CardKey.TRANSACTION_MAC, uid, version).value


def make_card(number: int) -> ModelCard:
    uid = UIDS[number]
    holder = Holder(
        member_number=4_711 + number,
        name="Siti Aminah",
        card_serial=70_000 + number,
        expires=date(2031, 1, 1),
    )
    content = holder.sign(uid, ISSUER.sign)
    return ModelCard(uid, content, mac_key_of(uid, 1), balance=Rupiah(1_000_000))


def make_till() -> ModelTill:
    return ModelTill(TERMINAL_ID, TILL_KEY, "Toko Ciledug")


def one_of_each() -> ModelTill:
    """A till's chain with every kind of voucher, true and untrue."""
    till, cards = make_till(), [make_card(number) for number in range(4)]
    for card in cards:
        till.sell(card, Rupiah(20_000))
    for number, card in enumerate(cards):
        till.sell(card, Rupiah(1_500 + number))
    counter, mac = till.doubt(cards[0], Rupiah(7_000), committed=True)
    till.resolve(cards[0], len(till.vouchers), Outcome.PAID, counter, mac)
    till.doubt(cards[1], Rupiah(7_000), committed=False)
    till.decide(cards[1], len(till.vouchers), Outcome.NOT_PAID)
    till.void(cards[2], Rupiah(500))
    till.refund(cards[0], 1, Rupiah(500))
    staged = cards[2].stage_sale(till.next_reader_id, Rupiah(9_000))
    counter, mac = cards[2].commit(staged)
    till.append_sale(cards[2], staged, counter, mac, claimed=Rupiah(8_000))
    staged = cards[2].stage_sale(till.next_reader_id, Rupiah(9_000))
    till.append_sale(cards[2], staged, *cards[2].commit(staged)[:1], b"not this")
    sell_goods(till, cards[1])
    return till


def sell_goods(till: ModelTill, card: ModelCard) -> None:
    goods = (GoodsLine("Beras 5 kg", 2, Rupiah(75_000)), GoodsLine("Saté", 1, Rupiah(15_000)))
    staged = card.stage_sale(till.next_reader_id, Rupiah(165_000))
    counter, mac = card.commit(staged)
    intent = replace(till.intent(card.uid, staged.evidence, staged.amount), goods=goods)
    till.append(SaleVoucher(link=till.link(), intent=intent, card_counter=counter, card_mac=mac))


CHAIN = one_of_each()
SALES = make_till()
CUSTOMER = make_card(0)
SALES.sell(CUSTOMER, Rupiah(20_000))
sell_goods(SALES, CUSTOMER)
SALES.sell(CUSTOMER, Rupiah(12_500))


def batch_of(vouchers: list[bytes], first: int = 1, previous: bytes = b"") -> bytes:
    return encode_batch(
        TERMINAL_ID,
        first,
        previous or genesis_hash(TERMINAL_ID, PUBLIC),
        vouchers,
        public_key=PUBLIC,
        sign=TILL_KEY.sign,
    )


def last_changed(change: Callable[[bytes], bytes], till: ModelTill = SALES) -> bytes:
    """The till's batch with its last voucher changed, under a head that vouches for it."""
    return batch_of([*till.vouchers[:-1], change(till.vouchers[-1])])


def said(error: SyncError) -> tuple[type[SyncError], dict[str, object]]:
    """Class and facts. Of bytes behind a message it used to say of what type they are not."""
    facts = dict(error.facts)
    if facts.get("detail") == "not deterministic CBOR":
        facts["detail"] = "not CBOR of the allowed types"
    return type(error), facts


def slowly(data: bytes) -> JudgedBatch | tuple[type[SyncError], dict[str, object]]:
    try:
        verdicts = plain.verify_batch(data, PUBLIC, FACTS, mac_key_of)
    except SyncError as error:
        return said(error)
    judged = JudgedBatch([], [])
    first = parse_batch(data).head.first_sequence
    for sequence, verdict in enumerate(verdicts, start=first):
        if isinstance(verdict, VerifiedSale):
            voucher, evidence, previous = verdict.voucher, verdict.evidence, verdict.previous
            numbers = (previous.terminal_id, previous.sequence) if previous else (None, None)
            judged.sales.append(
                Sale(
                    sequence,
                    voucher.link.unix_seconds,
                    voucher.intent.seller,
                    voucher.intent.card_uid,
                    voucher.card_counter,
                    evidence.amount.amount,
                    evidence.balance_before.amount,
                    *numbers,
                )
            )
        else:
            judged.others.append((sequence, verdict))
    return judged


def fast(data: bytes) -> JudgedBatch | tuple[type[SyncError], dict[str, object]]:
    try:
        batch = parse_batch(data)
        read = batch.read(PUBLIC)
    except SyncError as error:
        return said(error)
    return judge_batch(batch, read, FACTS, mac_key_of)


def test_each_kind_of_voucher_gets_its_verdict() -> None:
    judged = fast(batch_of(CHAIN.vouchers))
    assert isinstance(judged, JudgedBatch)
    assert judged == slowly(batch_of(CHAIN.vouchers))
    assert [sale.sequence for sale in judged.sales] == [1, 2, 3, 5, 6, 7, 17]
    assert judged.sales[3] == Sale(
        sequence=5,
        unix_seconds=START,
        seller="Toko Ciledug",
        card_uid=UIDS[0],
        card_counter=2,
        amount_rupiah=1_500,
        balance_before_rupiah=980_000,
        previous_terminal_id=TERMINAL_ID,
        previous_sequence=1,
    )
    reasons = {
        sequence: verdict.reason
        for sequence, verdict in judged.others
        if isinstance(verdict, Refused)
    }
    assert reasons == {
        4: Reason.UNKNOWN_CARD,
        8: Reason.UNKNOWN_CARD,
        15: Reason.CLAIM_DIFFERS,
        16: Reason.WRONG_CARD_MAC,
    }
    assert {sequence for sequence, it in judged.others if isinstance(it, PlausibleDoubt)} == {9, 11}
    assert {sequence for sequence, it in judged.others if isinstance(it, Noted)} == {10, 12, 13, 14}


def test_sales_as_most_are_are_read_the_fast_way() -> None:
    """Or the speed is none, whatever the verdicts."""
    read = parse_batch(batch_of(SALES.vouchers)).read(PUBLIC)
    assert [type(item) for item in read] == [SaleFields] * 3
    assert cards_of(read) == {UIDS[0]}
    mixed = parse_batch(batch_of(CHAIN.vouchers)).read(PUBLIC)
    assert cards_of(mixed) == set(UIDS)


def test_the_verdicts_can_come_from_another_process() -> None:
    judged = fast(batch_of(CHAIN.vouchers))
    assert pickle.loads(pickle.dumps(judged)) == judged  # noqa: S301 - our own
    ring = pickle.loads(pickle.dumps(RING))  # noqa: S301 - our own
    assert ring == RING
    key = ring.card_key(CardKey.TRANSACTION_MAC, UIDS[0])
    assert key == RING.card_key(CardKey.TRANSACTION_MAC, UIDS[0])
    assert RING.masters[CardKey.TRANSACTION_MAC][1].hex() not in repr(RING)


@settings(max_examples=500)
@given(st.data())
@pytest.mark.parametrize("which", [SALES, CHAIN])
def test_bits_flipped_in_a_voucher_change_nothing_of_the_verdict(
    which: ModelTill, data: st.DataObject
) -> None:
    def flip(voucher: bytes) -> bytes:
        changed = bytearray(voucher)
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(voucher) - 1))] ^= data.draw(st.integers(1, 255))
        return bytes(changed)

    batch = last_changed(flip, which)
    assert fast(batch) == slowly(batch)


@settings(max_examples=300)
@given(st.integers(0, len(CHAIN.vouchers) - 1), st.data())
def test_bits_flipped_anywhere_in_a_chain_are_found_alike(place: int, data: st.DataObject) -> None:
    vouchers = list(CHAIN.vouchers)
    changed = bytearray(vouchers[place])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    vouchers[place] = bytes(changed)
    assert fast(batch_of(vouchers)) == slowly(batch_of(vouchers))


@settings(max_examples=300)
@given(st.data())
def test_a_batch_of_other_bytes_is_refused_alike(data: st.DataObject) -> None:
    batch = bytearray(batch_of(CHAIN.vouchers))
    batch[data.draw(st.integers(0, len(batch) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.none() | st.integers(0, len(batch)))
    assert fast(bytes(batch[:cut])) == slowly(bytes(batch[:cut]))


def resigned(payload: bytes, key: Ed25519PrivateKey = TILL_KEY) -> Callable[[bytes], bytes]:
    return lambda _: sign1(payload, CONTENT_TYPE, key.public_key().public_bytes_raw(), key.sign)


def payload_of(voucher: bytes) -> dict[int, object]:
    payload: dict[int, object] = cbor2.loads(cbor2.loads(voucher[1:])[2])
    return payload


edges = st.sampled_from(
    [n + d for n in (0, 24, 256, 1 << 16, 1 << 31, 1 << 32, 1 << 63, 1 << 64) for d in (-1, 0, 1)]
)
values = st.one_of(
    edges,
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.text(max_size=90),
    st.sampled_from(["\x0b", "é" * 80, "a" * 81, "\ud7ff\x85", "Toko\x00", "x\x0bG1234567\x0c"]),
    st.binary(max_size=40),
    st.sampled_from([7, 8, 31, 32, 33, 255, 256, 257, 1024, 1025]).map(bytes),
    st.just([]),
    st.lists(st.tuples(st.text(max_size=5), edges, edges, edges).map(list), max_size=3),
)


@settings(max_examples=1000)
@given(
    st.sampled_from([*range(18), -1, True]),
    values,
    st.sampled_from(["in place", "at the end", "canonical", "gone"]),
    st.sampled_from([TILL_KEY, OTHER_KEY]),
)
@example(12, 12_500.0, "in place", TILL_KEY)
@example(7, True, "in place", TILL_KEY)
@example(14, 0, "in place", TILL_KEY)
@example(16, [["Beras", 1, 12_500, 0]], "in place", TILL_KEY)
@example(16, [["Beras", 1, 12_501, 0]], "in place", TILL_KEY)
@example(16, [["Beras", 1, 12_501, 1]], "in place", OTHER_KEY)
def test_a_field_of_any_other_value_is_judged_alike(
    field: int, value: object, how: str, key: Ed25519PrivateKey
) -> None:
    payload = payload_of(SALES.vouchers[-1])
    if how == "gone":
        payload.pop(field, None)
    else:
        if how == "at the end":
            payload.pop(field, None)
        payload[field] = value
    batch = last_changed(resigned(cbor2.dumps(payload, canonical=how == "canonical"), key))
    assert fast(batch) == slowly(batch)


@settings(max_examples=500)
@given(st.data(), st.booleans())
def test_evidence_of_any_other_bytes_is_judged_alike(data: st.DataObject, vouched: bool) -> None:
    """Also when the card's own MAC is over it: `vouched`."""
    payload = payload_of(SALES.vouchers[-1])
    evidence = bytearray(payload[13])  # type: ignore[call-overload] # bytes, as it was made
    for _ in range(data.draw(st.integers(1, 2))):
        evidence[data.draw(st.integers(0, 255))] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        evidence = evidence[: data.draw(st.integers(0, 256))] + data.draw(st.binary(max_size=2))
    payload[13] = bytes(evidence)
    if vouched:
        payload[15] = transaction_mac(CUSTOMER.mac_key, UIDS[0], CUSTOMER.counter, bytes(evidence))
    batch = last_changed(resigned(cbor2.dumps(payload, canonical=True)))
    assert fast(batch) == slowly(batch)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.booleans())
@example(12_500, 12_500, True)
@example(-5, 0, True)
@example(0, 5, True)
def test_amounts_that_a_card_vouches_for_are_judged_alike(
    amount: int, balance: int, fits: bool
) -> None:
    payload = payload_of(SALES.vouchers[-1])
    evidence = bytearray(payload[13])  # type: ignore[call-overload] # bytes, as it was made
    evidence[178:182] = balance.to_bytes(4, "little", signed=True)
    evidence[194:198] = amount.to_bytes(4, "little", signed=True)
    if fits:
        evidence[237:241] = (amount % 2**32).to_bytes(4, "big")
        evidence[241:245] = ((balance - amount) % 2**32).to_bytes(4, "big")
    payload[12] = max(amount, 0)
    payload[13] = bytes(evidence)
    payload[15] = transaction_mac(CUSTOMER.mac_key, UIDS[0], CUSTOMER.counter, bytes(evidence))
    batch = last_changed(resigned(cbor2.dumps(payload, canonical=True)))
    assert fast(batch) == slowly(batch)


def widened(number: int, width: int) -> bytes:
    """An encoding of the number in `width` bytes after the head, one or more too many."""
    return bytes((0x18 + (1, 2, 4, 8).index(width),)) + number.to_bytes(width, "big")


TOO_WIDE = [
    (number, width)
    for width, numbers in {
        1: (0, 1, 23),
        2: (0, 24, 255),
        4: (0, 256, 65_535),
        8: (0, 65_536, 2**32 - 1),
    }.items()
    for number in numbers
]


@pytest.mark.parametrize(("number", "width"), TOO_WIDE)
@pytest.mark.parametrize("field", [3, 4, 6, 7, 12, 14])
def test_a_number_in_more_bytes_than_it_needs_is_refused(
    field: int, number: int, width: int
) -> None:
    payload = payload_of(SALES.vouchers[-1])
    wide = b"\xb0" + b"".join(
        cbor2.dumps(key)
        + (widened(number, width) if key == field else cbor2.dumps(value, canonical=True))
        for key, value in payload.items()
    )
    batch = last_changed(resigned(wide))
    refused = MalformedMessage, {"detail": "not CBOR of the allowed types"}
    assert fast(batch) == slowly(batch) == refused


@pytest.mark.parametrize("field", [8, 9, 10])
@pytest.mark.parametrize(
    "text", ["", "a" * 80, "a" * 81, "é" * 80, "é" * 81, "a\n", "a\x85", "\x0b"]
)
def test_a_name_too_long_or_with_control_characters_is_refused_alike(field: int, text: str) -> None:
    payload = {**payload_of(SALES.vouchers[-1]), field: text}
    batch = last_changed(resigned(cbor2.dumps(payload, canonical=True)))
    assert fast(batch) == slowly(batch)
    assert isinstance(fast(batch), JudgedBatch) == (len(text) <= 80 and text.isprintable())


@pytest.mark.parametrize("field", [6, 12])
@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_number_beyond_63_bits_is_refused_alike(field: int, number: int) -> None:
    payload = {**payload_of(SALES.vouchers[-1]), field: number}
    batch = last_changed(resigned(cbor2.dumps(payload, canonical=True)))
    assert fast(batch) == slowly(batch)
    assert isinstance(fast(batch), JudgedBatch) == (number < 2**63)


@pytest.mark.parametrize("terminal_id", [TERMINAL_ID, TERMINAL_ID + 1])
def test_a_sale_told_a_second_time_is_believed_once(terminal_id: int) -> None:
    """The card's word is for one voucher of one till."""
    till, card = make_till(), make_card(0)
    staged = card.stage_sale(
        ReaderId(terminal_id=terminal_id, sequence=till.next_reader_id.sequence), Rupiah(5_000)
    )
    counter, mac = card.commit(staged)
    for _ in range(2):
        till.append_sale(card, staged, counter, mac)
    judged = fast(batch_of(till.vouchers))
    assert judged == slowly(batch_of(till.vouchers))
    assert isinstance(judged, JudgedBatch)
    assert len(judged.sales) == (terminal_id == TERMINAL_ID)
    assert all(
        isinstance(verdict, Refused) and verdict.reason is Reason.CLAIM_DIFFERS
        for _, verdict in judged.others
    )


@pytest.mark.parametrize("place", range(256))
def test_each_byte_that_a_card_vouches_for_is_read_alike(place: int) -> None:
    payload = payload_of(SALES.vouchers[-1])
    for change in (0x01, 0x80):
        evidence = bytearray(payload[13])  # type: ignore[call-overload] # bytes, as it was made
        evidence[place] ^= change
        mac = transaction_mac(CUSTOMER.mac_key, UIDS[0], CUSTOMER.counter, bytes(evidence))
        changed = {**payload, 13: bytes(evidence), 15: mac}
        batch = last_changed(resigned(cbor2.dumps(changed, canonical=True)))
        assert fast(batch) == slowly(batch)


KNOWN = FACTS[UIDS[0]]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {UIDS[0]: KNOWN._replace(member_number=1)},
        {UIDS[0]: KNOWN._replace(serial=1)},
        {UIDS[0]: KNOWN._replace(mac_key_version=2)},
    ],
)
def test_what_the_issuer_knows_otherwise_is_judged_alike(facts: dict[bytes, CardFacts]) -> None:
    data = batch_of(SALES.vouchers)
    batch = parse_batch(data)
    judged = judge_batch(batch, batch.read(PUBLIC), facts, mac_key_of)
    assert judged.sales == []
    assert [verdict for _, verdict in judged.others] == plain.verify_batch(
        data, PUBLIC, facts, mac_key_of
    )


def test_a_sale_in_the_middle_of_a_chain_needs_none_of_the_others() -> None:
    data = batch_of(SALES.vouchers[1:], 2, voucher_hash(SALES.vouchers[0]))
    assert fast(data) == slowly(data)
    assert isinstance(fast(data), JudgedBatch)
    data = batch_of(SALES.vouchers[1:], 2, bytes(32))
    assert fast(data) == slowly(data)
    assert not isinstance(fast(data), JudgedBatch)


def test_the_largest_numbers_and_the_longest_names_are_read_the_fast_way() -> None:
    till, card = make_till(), make_card(0)
    card.counter = 2**32 - 2
    staged = card.stage_sale(till.next_reader_id, Rupiah(5_000))
    counter, mac = card.commit(staged)
    intent = till.intent(card.uid, staged.evidence, staged.amount)
    voucher = SaleVoucher(
        link=replace(till.link(2**63 - 1), shift=2**32 - 1, cashier="字" * 80),
        intent=replace(intent, issuer="", seller="é" * 80),
        card_counter=counter,
        card_mac=mac,
    )
    data = batch_of([encode_voucher(voucher, PUBLIC, TILL_KEY.sign)])
    (read,) = parse_batch(data).read(PUBLIC)
    assert isinstance(read, SaleFields)
    assert (read.unix_seconds, read.card_counter) == (2**63 - 1, 2**32 - 1)
    assert fast(data) == slowly(data)


cbor_values = st.recursive(
    st.one_of(st.none(), st.booleans(), edges, st.floats(), st.binary(max_size=4), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(edges, st.booleans(), st.text(max_size=2)), inner, max_size=4),
    ),
    max_leaves=12,
)


def decoded(decode: Callable[..., cbor.CborValue], data: bytes) -> object:
    try:
        return repr(decode(data, size_max=10_000))
    except SyncError as error:
        return said(error)


class TestCborIsReadAsBefore:
    @settings(max_examples=1000)
    @given(cbor_values, st.booleans(), st.data())
    def test_of_values_encoded_and_changed(
        self, value: object, canonical: bool, data: st.DataObject
    ) -> None:
        encoded = bytearray(cbor2.dumps(value, canonical=canonical))
        for _ in range(data.draw(st.integers(0, 2))):
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        assert decoded(cbor.decode, bytes(encoded)) == decoded(plain.decode, bytes(encoded))

    @settings(max_examples=1000)
    @given(st.binary(max_size=30))
    @example(b"\xf8\x14")
    @example(b"\xf8\xff")
    @example(b"\xe0")
    @example(b"\xf6\xd8")
    @example(b"\x3b" + b"\xff" * 8)
    @example(b"\xa2\x20\x00\x18\x18\x00")
    @example(b"\xa2\x18\x18\x00\x20\x00")
    @example(b"\xa2\x20\x00\x21\x00")
    @example(b"\xa2\xf5\x00\x01\x00")
    @example(b"\xa1\xf9\x3c\x00\x00")
    @example(b"\x81" * 8 + b"\x00")
    @example(b"\x81" * 9 + b"\x00")
    @example(b"\x81" * 8 + b"\x80")
    @example(b"\x81" * 9 + b"\x80")
    @example(b"\x81" * 500 + b"\x80")
    def test_of_any_bytes(self, data: bytes) -> None:
        assert decoded(cbor.decode, data) == decoded(plain.decode, data)

    @given(cbor_values)
    def test_and_written_as_before(self, value: object) -> None:
        def encoded(encode: Callable[..., bytes]) -> bytes | None:
            try:
                return encode(value)
            except TypeError:
                return None

        assert encoded(cbor.encode) == encoded(plain.encode)
