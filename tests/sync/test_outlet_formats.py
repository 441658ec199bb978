"""What a feed says of an outlet and what a till reports: read back as written, and nothing else read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.money import Rupiah
from dobmi.sync.cbor import encode
from dobmi.sync.cose import parse_sign1, sign1
from dobmi.sync.errors import ForgedAcknowledgement, MalformedMessage, StaleFeed, WrongSignature
from dobmi.sync.feed import Held, Outlet, encode_feed, verify_feed
from dobmi.sync.outlet import (
    Catalogue,
    CatalogueItem,
    Duty,
    MemberNote,
    MemberNotes,
    MemberOrder,
    OrderLine,
    OutletOrders,
    OutletStaff,
    PinVerifier,
    StaffMember,
    is_pin,
    make_pin_verifier,
    pin_matches,
)
from dobmi.sync.proof_code import TOKEN_LENGTH, decode_proof, encode_proof
from dobmi.sync.records import (
    OrderRecord,
    OrderState,
    RecordsTaken,
    ShiftRecord,
    check_records_taken,
    decode_record,
    encode_record,
    encode_records,
    parse_records,
    verify_records_taken,
)
from support.messages import (
    FEED,
    NOW,
    OUTLET,
    OUTLET_FEED,
    RECORDS,
    SERVER_KEY,
    SERVER_PUBLIC,
    TERMINAL_ID,
    TERMINAL_KEY,
    TERMINAL_PUBLIC,
    sample_records,
    sample_records_taken,
    samples,
)

HELD = Held(catalogue=2, staff=3, orders=8, members=5)

characters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
texts = st.text(characters, min_size=1, max_size=80)
classes = st.text(characters, min_size=1, max_size=40)
prices = st.integers(0, 10**9).map(Rupiah)
times = st.integers(0, 2**40 - 1)
ids = st.integers(1, 2**63 - 1)
versions = st.integers(9, 2**63 - 1)
hashes = st.binary(min_size=32, max_size=32)


def sorted_by(key: Callable[[Any], Any]) -> Callable[[list[Any]], tuple[Any, ...]]:
    return lambda found: tuple(sorted(found, key=key))


items = st.builds(
    CatalogueItem,
    code=texts,
    name=texts,
    category=texts,
    price=prices,
    class_prices=st.lists(st.tuples(classes, prices), max_size=3, unique_by=lambda one: one[0]).map(
        sorted_by(lambda one: one[0])
    ),
)


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    found = draw(st.lists(items, max_size=4, unique_by=lambda one: one.code))
    barcodes = draw(st.lists(texts, max_size=4, unique=True))
    for place, barcode in enumerate(barcodes if found else ()):
        item = found[place % len(found)]
        found[place % len(found)] = replace(item, barcodes=(*item.barcodes, barcode))
    return Catalogue(version=draw(versions), items=tuple(sorted(found, key=lambda one: one.code)))


people = st.builds(
    StaffMember,
    number=st.integers(1, 999_999),
    name=texts,
    duty=st.sampled_from(Duty),
    pin=st.none() | st.builds(PinVerifier, st.binary(min_size=16, max_size=16), hashes),
    member_number=st.none(),
)
orders = st.builds(
    MemberOrder,
    number=ids,
    member_number=ids,
    holder=texts,
    placed_unix_seconds=times,
    pick_up_on=st.dates(date(1970, 1, 1)),
    lines=st.lists(
        st.builds(
            OrderLine,
            item=texts,
            name=texts,
            quantity=st.integers(1, 10_000),
            unit_price=prices,
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one.item,
    ).map(tuple),
    note=st.text(characters, max_size=200),
    paid=st.booleans(),
)


@st.composite
def notes(draw: st.DrawFn) -> MemberNotes:
    since = draw(st.sampled_from([0, 5]))
    found = draw(
        st.lists(
            st.builds(MemberNote, ids, st.just("") | classes, st.none() | hashes),
            max_size=4,
            unique_by=lambda one: one.member_number,
        )
    )
    return MemberNotes(
        version=draw(versions),
        since=since,
        more=draw(st.booleans()),
        notes=tuple(sorted(found, key=lambda one: one.member_number)),
    )


outlets = st.builds(
    Outlet,
    terminal_id=st.just(TERMINAL_ID),
    catalogue=st.none() | catalogues(),
    staff=st.none()
    | st.builds(
        OutletStaff,
        version=versions,
        people=st.lists(people, max_size=3, unique_by=lambda one: one.number).map(
            sorted_by(lambda one: one.number)
        ),
    ),
    orders=st.none()
    | st.builds(
        OutletOrders,
        version=versions,
        orders=st.lists(orders, max_size=3, unique_by=lambda one: one.number).map(
            sorted_by(lambda one: one.number)
        ),
    ),
    members=notes(),
)


class TestOutletInAFeed:
    @given(outlets)
    def test_it_reads_back_as_itself(self, outlet: Outlet) -> None:
        signed = encode_feed(replace(FEED, outlet=outlet), SERVER_PUBLIC, SERVER_KEY.sign)
        assert verify_feed(signed, SERVER_PUBLIC, 9, TERMINAL_ID, HELD).outlet == outlet

    def test_what_was_told_to_another_till_is_refused(self) -> None:
        signed = samples()["feed_outlet"]
        assert verify_feed(signed, SERVER_PUBLIC, 9, TERMINAL_ID, HELD) == OUTLET_FEED
        with pytest.raises(MalformedMessage, match="another till"):
            verify_feed(signed, SERVER_PUBLIC, 9, TERMINAL_ID + 1)

    @pytest.mark.parametrize("part", ["catalogue", "staff", "orders", "members"])
    def test_an_older_part_sent_again_is_refused(self, part: str) -> None:
        held = replace(HELD, **{part: 100})
        with pytest.raises(StaleFeed, match=part):
            verify_feed(samples()["feed_outlet"], SERVER_PUBLIC, 9, TERMINAL_ID, held)

    def test_changes_of_members_go_on_from_what_the_till_has(self) -> None:
        for members in (4, 6):
            with pytest.raises(StaleFeed, match="go on from 5"):
                verify_feed(
                    samples()["feed_outlet"],
                    SERVER_PUBLIC,
                    9,
                    TERMINAL_ID,
                    replace(HELD, members=members),
                )

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            (11, {1: 3, 2: [["b", "n", "c", 1, [], []], ["a", "n", "c", 1, [], []]]}),
            (11, {1: 3, 2: [["a", "n", "c", 1, ["9"], []], ["b", "n", "c", 1, ["9"], []]]}),
            (11, {1: 3, 2: [["a", "n", "c", -1, [], []]]}),
            (11, {1: 3, 2: [["a", "n", "c", True, [], []]]}),
            (11, {1: 3, 2: [["a", "n", "c", 10**9 + 1, [], []]]}),
            (11, {1: 3, 2: [["a", "n\n", "c", 1, [], []]]}),
            (11, {1: 3, 2: [["a", "n" * 81, "c", 1, [], []]]}),
            (11, {1: 3, 2: [["a", "n", "c", 1, [1], []]]}),
            (11, {1: 3, 2: [["a", "n", "c", 1, [], [["y", 1], ["x", 1]]]]}),
            (11, {1: 3, 2: [["a", "n", "c", 1, []]]}),
            (12, {1: 3, 2: [[1, "n", 3, None, None]]}),
            (12, {1: 3, 2: [[1, "n", True, None, None]]}),
            (12, {1: 3, 2: [[0, "n", 1, None, None]]}),
            (12, {1: 3, 2: [[1, "n", 1, [bytes(15), bytes(32)], None]]}),
            (12, {1: 3, 2: [[1, "n", 1, [bytes(16), bytes(32)], True]]}),
            (12, {1: 3, 2: [[1, "n", 1, None, 7], [2, "n", 1, None, 7]]}),
            (13, {1: 3, 2: [[1, 1, "h", 0, 0, [], "", False]]}),
            (13, {1: 3, 2: [[1, 1, "h", 0, 0, [["a", "n", 0, 1]], "", False]]}),
            (13, {1: 3, 2: [[1, 1, "h", 0, -1, [["a", "n", 1, 1]], "", False]]}),
            (13, {1: 3, 2: [[1, 1, "h", 0, 0, [["a", "n", 1, 1]] * 2, "", False]]}),
            (13, {1: 3, 2: [[1, 1, "h", 0, 0, [["a", "n", 1, 1]], "", 0]]}),
            (14, {1: 9, 2: 5, 3: 0, 4: []}),
            (14, {1: 5, 2: 5, 3: True, 4: []}),
            (14, {1: 9, 2: 5, 3: False, 4: [[1, "", bytes(31)]]}),
            (14, {1: 9, 2: 5, 3: False, 4: [[1, "x" * 41, None]]}),
            (15, None),
        ],
    )
    def test_what_breaks_a_rule_of_the_format_is_refused(self, field: int, value: object) -> None:
        payload = cbor2.loads(parse_sign1(samples()["feed_outlet"], size_max=9999).payload)
        if value is None:
            del payload[field]
        else:
            payload[field] = value
        signed = sign1(encode(payload), "dobmi/feed/1", SERVER_PUBLIC, SERVER_KEY.sign)
        with pytest.raises(MalformedMessage):
            verify_feed(signed, SERVER_PUBLIC, 9)

    def test_a_part_without_the_till_it_is_for_is_refused_and_so_is_the_reverse(self) -> None:
        payload = cbor2.loads(parse_sign1(samples()["feed"], size_max=9999).payload)
        payload[15] = TERMINAL_ID
        signed = sign1(encode(payload), "dobmi/feed/1", SERVER_PUBLIC, SERVER_KEY.sign)
        with pytest.raises(MalformedMessage, match="unknown fields 15"):
            verify_feed(signed, SERVER_PUBLIC, 9)


class TestPin:
    def test_the_right_one_matches_and_no_other_and_none_is_shown(self) -> None:
        verifier = make_pin_verifier("274951")
        assert pin_matches("274951", verifier)
        assert not pin_matches("274952", verifier)
        assert "274951" not in repr(verifier)
        assert verifier.hash.hex() not in repr(verifier)
        assert repr(verifier.hash)[2:-1] not in repr(
            StaffMember(number=1, name="Ani", duty=Duty.CASHIER, pin=verifier)
        )

    @pytest.mark.parametrize("text", ["", "12345", "1234567890123", "12345a", "١٢٣٤٥٦", " 123456"])
    def test_what_is_no_pin_is_refused(self, text: str) -> None:
        assert not is_pin(text)
        assert not pin_matches(text, PinVerifier(bytes(16), bytes(32)))
        with pytest.raises(ValueError, match="6 to 12 digits"):
            make_pin_verifier(text)


amounts = st.integers(0, 2**63 - 1).map(Rupiah)
counts = st.integers(0, 2**32 - 1)
shift_records = st.builds(
    ShiftRecord,
    number=st.integers(1, 2**32 - 1),
    cashier=texts,
    opened_unix_seconds=times,
    closed_unix_seconds=times,
    float_cash=amounts,
    cash_in=amounts,
    cash_out=amounts,
    counted=amounts,
    takeovers=st.lists(st.tuples(times, texts), max_size=3).map(tuple),
    sales_count=counts,
    sales_total=amounts,
    refunds_count=counts,
    refunds_total=amounts,
)


@st.composite
def order_records(draw: st.DrawFn) -> OrderRecord:
    state = draw(st.sampled_from(OrderState))
    short = st.lists(
        st.tuples(texts, st.integers(1, 10_000)), max_size=3, unique_by=lambda one: one[0]
    )
    return OrderRecord(
        order=draw(ids),
        state=state,
        sale=draw(ids) if state is OrderState.PAID else None,
        short=tuple(draw(short)),
        by=draw(texts),
        unix_seconds=draw(times),
    )


class TestRecords:
    @given(st.lists(shift_records | order_records(), min_size=1, max_size=4), ids)
    def test_they_read_back_as_themselves(
        self, records: list[ShiftRecord | OrderRecord], first: int
    ) -> None:
        first = min(first, 2**63 - 1 - len(records) - 1)
        encoded = [encode_record(record) for record in records]
        message = encode_records(TERMINAL_ID, first, encoded, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        head = parse_records(message)
        assert (head.terminal_id, head.first_number) == (TERMINAL_ID, first)
        assert head.verify(TERMINAL_PUBLIC) == tuple(records)

    def test_another_tills_key_does_not_verify_them(self) -> None:
        with pytest.raises(WrongSignature):
            parse_records(sample_records()).verify(SERVER_PUBLIC)

    @pytest.mark.parametrize("count", [0, 501])
    def test_a_message_has_1_to_500(self, count: int) -> None:
        encoded = [encode_record(RECORDS[1])] * count
        with pytest.raises(ValueError, match="1 to 500"):
            encode_records(TERMINAL_ID, 1, encoded, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        payload = encode({1: 1, 2: TERMINAL_ID, 3: 1, 4: [*encoded]})
        message = sign1(payload, "dobmi/till-records/1", TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with pytest.raises(MalformedMessage):
            parse_records(message)

    @pytest.mark.parametrize(
        "change",
        [
            {1: 3},
            {2: 0},
            {3: 4},
            {3: 1, 4: None},
            {3: 2, 4: 5},
            {5: [["BRS5", 0]]},
            {5: [["BRS5", True]]},
            {5: [["BRS5", 1], ["BRS5", 1]]},
            {6: ""},
            {8: 1},
        ],
    )
    def test_what_is_no_record_is_refused(self, change: dict[int, object]) -> None:
        fields = cbor2.loads(encode_record(RECORDS[1])) | change
        with pytest.raises(MalformedMessage):
            decode_record(cbor2.dumps(fields, canonical=True))

    def test_an_answer_that_is_not_for_what_was_sent_is_refused(self) -> None:
        taken = verify_records_taken(sample_records_taken(), SERVER_PUBLIC)
        check_records_taken(taken, sample_records())
        for wrong in (
            replace(taken, terminal_id=8),
            replace(taken, batch_hash=bytes(32)),
            replace(taken, up_to=6),
        ):
            with pytest.raises(ForgedAcknowledgement):
                check_records_taken(wrong, sample_records())
        check_records_taken(replace(taken, up_to=9), sample_records())
        assert isinstance(taken, RecordsTaken)
        assert taken.unix_seconds == NOW + 1


class TestProofCode:
    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), hashes)
    def test_it_reads_back_as_itself_in_large_and_small_letters(
        self, terminal_id: int, sequence: int, voucher_hash: bytes
    ) -> None:
        address = encode_proof("https://bmi.example/", terminal_id, sequence, voucher_hash)
        start, _, token = address.rpartition("/")
        assert (start, len(token)) == ("https://bmi.example/r", TOKEN_LENGTH)
        for text in (token, token.lower()):
            assert decode_proof(text) == (terminal_id, sequence, voucher_hash[:16])

    def test_its_text(self) -> None:
        address = encode_proof("https://bmi.example", 7, 9, bytes(range(32)))
        assert address == "https://bmi.example/r/AAAAABYAAAAAAAAAAAEQAAICAMCAKBQHBAEQUCYMBUHA6"

    @pytest.mark.parametrize(
        "token",
        [
            "",
            "A" * 44,
            "A" * 46,
            "A" * 44 + "1",
            "A" * 44 + "B",
            "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 45,
            "a b",
        ],
    )
    def test_what_is_no_code_is_refused(self, token: str) -> None:
        with pytest.raises(MalformedMessage):
            decode_proof(token)

    def test_a_hash_cut_short_is_refused(self) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            encode_proof("https://bmi.example", 1, 1, bytes(16))


def test_the_sample_outlet_is_whole() -> None:
    assert None not in (OUTLET.catalogue, OUTLET.staff, OUTLET.orders, OUTLET.members)
