"""The formats of docs/formats: golden bytes, round trips, and refusal of every other byte."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.money import ZERO, Rupiah
from dobmi.sync.acknowledgement import (
    Acknowledgement,
    encode_acknowledgement,
    verify_acknowledgement,
)
from dobmi.sync.batch import encode_batch, parse_batch
from dobmi.sync.cbor import decode, encode
from dobmi.sync.cose import parse_sign1, sign1
from dobmi.sync.enrolment import Invitation, verify_enrol_request, verify_enrolment
from dobmi.sync.errors import (
    BrokenChain,
    ClockOutOfStep,
    MalformedMessage,
    StaleFeed,
    SyncError,
    WrongSignature,
)
from dobmi.sync.feed import (
    Feed,
    Limits,
    ServersHead,
    SettledAs,
    Settlement,
    Settlements,
    encode_feed,
    verify_feed,
)
from dobmi.sync.pairing import (
    OPENING_TYPE,
    parse_pairing_opening,
    verify_pairing_answer,
    verify_pairing_offer,
    verify_pairing_request,
)
from dobmi.sync.records import parse_records, verify_records_taken
from dobmi.sync.relay import (
    Action,
    CardGone,
    Commands,
    CreditResult,
    Done,
    Failed,
    IssueResult,
    RelayMessage,
    Responses,
    Start,
    decode_relay,
    encode_relay,
)
from dobmi.sync.request_signature import parse_request_signature
from dobmi.sync.voucher import (
    DecisionVoucher,
    GoodsLine,
    InDoubtVoucher,
    Intent,
    Link,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
    Voucher,
    decode_voucher,
    encode_voucher,
    follow_chain,
    genesis_hash,
    verify_voucher,
)
from support import pairings
from support.messages import (
    ENROLMENT,
    FEED,
    GOLDEN,
    INTENT,
    INVITATION,
    NOW,
    SERVER_KEY,
    SERVER_PUBLIC,
    SETTLING_FEED,
    TERMINAL_ID,
    TERMINAL_KEY,
    TERMINAL_PUBLIC,
    UID,
    link,
    sample_acknowledgement,
    sample_batch,
    sample_chain,
    samples,
)

SAMPLES = samples()
BATCH = SAMPLES["batch"]


def read_as(name: str, data: bytes) -> object:  # noqa: C901, PLR0911 - one line a kind
    """`data` read, and every signature in it checked, as a message of the kind `name`."""
    match name.partition("_")[0]:
        case "voucher":
            return verify_voucher(data, TERMINAL_PUBLIC)
        case "batch":
            return parse_batch(data).verify(TERMINAL_PUBLIC)
        case "acknowledgement":
            return verify_acknowledgement(data, SERVER_PUBLIC)
        case "records" if name == "records_taken":
            return verify_records_taken(data, SERVER_PUBLIC)
        case "records":
            return parse_records(data).verify(TERMINAL_PUBLIC)
        case "feed":
            return verify_feed(data, SERVER_PUBLIC, 9)
        case "enrol":
            return verify_enrol_request(data)
        case "enrolment":
            return verify_enrolment(data, INVITATION, TERMINAL_PUBLIC)
        case "request":
            text = data.decode("latin-1")
            claim = parse_request_signature(text)
            claim.verify(TERMINAL_PUBLIC, "GET", "/v1/feed?since=9", b"", NOW)
            return claim
        case "relay":
            return decode_relay(data)
        case "pairing":
            return read_pairing(name, data)
    raise AssertionError(name)


def read_pairing(name: str, data: bytes) -> object:
    match name.split("_")[1]:
        case "request":
            return verify_pairing_request(data)
        case "offer":
            return verify_pairing_offer(data, pairings.REQUEST_BYTES)
        case "opening":
            opening, message = parse_pairing_opening(data)
            message.verify(TERMINAL_PUBLIC, OPENING_TYPE)
            return opening
        case "answer":
            return verify_pairing_answer(data, pairings.OFFER)
    raise AssertionError(name)


SIGNED = sorted(name for name in SAMPLES if not name.startswith("relay"))


class TestGolden:
    """The bytes that third parties were promised."""

    def test_each_kept_file_is_a_sample(self) -> None:
        assert {path.stem for path in GOLDEN.glob("*.hex")} == set(SAMPLES)

    @pytest.mark.parametrize("name", SAMPLES)
    def test_the_encoding_has_not_changed(self, name: str) -> None:
        kept = bytes.fromhex((GOLDEN / f"{name}.hex").read_text(encoding="ascii"))
        assert SAMPLES[name] == kept

    @pytest.mark.parametrize("name", SAMPLES)
    def test_the_kept_bytes_are_read(self, name: str) -> None:
        assert read_as(name, SAMPLES[name]) is not None


class TestOneByteChanged:
    @given(st.data())
    @pytest.mark.parametrize("name", SIGNED)
    def test_a_signed_message_with_a_byte_changed_is_refused(
        self, name: str, data: st.DataObject
    ) -> None:
        message = bytearray(SAMPLES[name])
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] ^= data.draw(st.integers(1, 255))
        with pytest.raises(SyncError):
            read_as(name, bytes(message))

    @given(st.data())
    @pytest.mark.parametrize("name", sorted(SAMPLES))
    def test_a_message_cut_short_or_with_more_behind_it_is_refused(
        self, name: str, data: st.DataObject
    ) -> None:
        message = SAMPLES[name]
        if data.draw(st.booleans()):
            changed = message[: data.draw(st.integers(0, len(message) - 1))]
        else:
            changed = message + data.draw(st.binary(min_size=1, max_size=20))
        with pytest.raises(SyncError):
            read_as(name, changed)

    @given(st.binary(max_size=400))
    @pytest.mark.parametrize("name", sorted(SAMPLES))
    def test_garbage_is_refused(self, name: str, garbage: bytes) -> None:
        with pytest.raises(SyncError):
            read_as(name, garbage)


rupiah = st.integers(0, 2**31 - 1).map(Rupiah)
characters = st.characters(codec="utf-8", exclude_categories=["Cc"])
text = st.text(characters, max_size=80)
uids = st.binary(min_size=4, max_size=10)
hashes = st.binary(min_size=32, max_size=32)
times = st.integers(0, 2**40)
links = st.builds(
    Link,
    terminal_id=st.integers(0, 2**32 - 1),
    sequence=st.integers(2, 2**63 - 1),
    previous_hash=hashes,
    unix_seconds=times,
    shift=st.integers(0, 2**32 - 1),
    cashier=text,
)


@st.composite
def goods_lines(draw: st.DrawFn) -> GoodsLine:
    quantity, price = draw(st.integers(1, 1000)), draw(st.integers(0, 10**6))
    discount = draw(st.integers(0, quantity * price))
    return GoodsLine(draw(text), quantity, Rupiah(price), Rupiah(discount))


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    goods = tuple(draw(st.lists(goods_lines(), max_size=4)))
    amount = sum((line.amount for line in goods), ZERO) if goods else draw(rupiah)
    return Intent(
        card_uid=draw(uids),
        amount=amount,
        evidence=draw(st.binary(min_size=1, max_size=400)),
        issuer=draw(text),
        seller=draw(text),
        goods=goods,
    )


@st.composite
def refunds(draw: st.DrawFn) -> RefundVoucher:
    goods = tuple(draw(st.lists(goods_lines().filter(lambda line: bool(line.amount)), max_size=4)))
    amount = sum((line.amount for line in goods), ZERO) if goods else draw(rupiah)
    return RefundVoucher(
        link=draw(links),
        refunds=1,
        card_uid=draw(uids),
        amount=amount or Rupiah(1),
        reason=draw(text.filter(bool)),
        supervisor=draw(text),
        goods=goods,
    )


counters = st.integers(0, 2**32 - 1)
macs = st.binary(min_size=8, max_size=8)
vouchers: st.SearchStrategy[Voucher] = st.one_of(
    st.builds(SaleVoucher, link=links, intent=intents(), card_counter=counters, card_mac=macs),
    st.builds(InDoubtVoucher, link=links, intent=intents()),
    st.builds(
        VoidVoucher,
        link=links,
        card_uid=uids,
        amount=rupiah,
        reason=st.sampled_from(VoidReason),
    ),
    st.builds(
        ResolutionVoucher,
        link=links,
        resolves=st.just(1),
        card_uid=uids,
        outcome=st.just(Outcome.PAID),
        card_counter=counters,
        card_mac=macs,
    ),
    st.builds(
        ResolutionVoucher,
        link=links,
        resolves=st.just(1),
        card_uid=uids,
        outcome=st.sampled_from(Outcome),
    ),
    st.builds(
        DecisionVoucher,
        link=links,
        resolves=st.just(1),
        card_uid=uids,
        outcome=st.sampled_from(Outcome),
        decided_by=st.text(characters, min_size=1, max_size=80),
        reason=st.text(characters, min_size=1, max_size=200),
    ),
)


class TestVoucher:
    @given(vouchers)
    def test_every_voucher_reads_back_as_itself(self, voucher: Voucher) -> None:
        encoded = encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        assert decode_voucher(encoded) == voucher
        assert verify_voucher(encoded, TERMINAL_PUBLIC) == voucher

    @pytest.mark.parametrize(
        "intent",
        [
            replace(INTENT, amount=Rupiah(1)),
            replace(INTENT, amount=Rupiah(-162_500)),
            replace(INTENT, evidence=b""),
            replace(INTENT, evidence=bytes(1025)),
            replace(INTENT, card_uid=b"abc"),
            replace(INTENT, seller="x" * 81),
            replace(INTENT, seller="Toko\0"),
            replace(INTENT, goods=(GoodsLine("Beras\n", 1, Rupiah(162_500)),)),
            replace(INTENT, goods=(GoodsLine("x" * 81, 1, Rupiah(162_500)),)),
            replace(INTENT, goods=(GoodsLine("x", 0, ZERO), *INTENT.goods)),
            replace(INTENT, goods=(GoodsLine("x", 1, ZERO, Rupiah(1)), *INTENT.goods)),
        ],
    )
    def test_what_the_format_cannot_hold_is_not_written(self, intent: Intent) -> None:
        voucher = InDoubtVoucher(link=link(1, bytes(32)), intent=intent)
        with pytest.raises(ValueError, match="voucher"):
            encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)

    def test_a_mac_for_a_sale_that_was_not_paid_is_refused(self) -> None:
        voucher = ResolutionVoucher(
            link=link(2, bytes(32)),
            resolves=1,
            card_uid=UID,
            outcome=Outcome.NOT_PAID,
            card_counter=1,
            card_mac=bytes(8),
        )
        with pytest.raises(ValueError, match="not paid"):
            encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)

    def test_a_resolution_of_itself_or_of_a_later_voucher_is_refused(self) -> None:
        voucher = ResolutionVoucher(
            link=link(2, bytes(32)), resolves=2, card_uid=UID, outcome=Outcome.PAID
        )
        with pytest.raises(ValueError, match="come before"):
            encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"resolves": 2},
            {"decided_by": ""},
            {"decided_by": "x" * 81},
            {"reason": ""},
            {"reason": "x" * 201},
        ],
    )
    def test_a_decision_without_a_name_a_reason_or_an_earlier_doubt_is_refused(
        self, wrong: dict[str, object]
    ) -> None:
        parts: dict[str, object] = {"resolves": 1, "decided_by": "Ani", "reason": "nota ada"}
        voucher = DecisionVoucher(
            link=link(2, bytes(32)),
            card_uid=UID,
            outcome=Outcome.PAID,
            **{**parts, **wrong},  # type: ignore[arg-type] # one of them wrong
        )
        with pytest.raises(ValueError, match="voucher"):
            encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)

    @pytest.mark.parametrize(
        "change",
        [
            {"amount": ZERO},
            {"amount": Rupiah(-1)},
            {"reason": ""},
            {"reason": "x" * 201},
            {"supervisor": "x" * 81},
            {"refunds": 0},
            {"refunds": 2},
            {"goods": (GoodsLine("x", 1, Rupiah(2)),)},
        ],
    )
    def test_a_refund_of_nothing_for_no_reason_or_of_no_earlier_sale_is_refused(
        self, change: dict[str, object]
    ) -> None:
        voucher = RefundVoucher(
            link=link(2, bytes(32)), refunds=1, card_uid=UID, amount=Rupiah(1), reason="basah"
        )
        encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with pytest.raises(ValueError, match="voucher"):
            encode_voucher(
                replace(voucher, **change),  # type: ignore[arg-type] # each case changes one field
                TERMINAL_PUBLIC,
                TERMINAL_KEY.sign,
            )

    def test_another_tills_key_does_not_verify_it(self) -> None:
        with pytest.raises(WrongSignature):
            verify_voucher(SAMPLES["voucher_sale"], SERVER_PUBLIC)

    def test_an_unknown_field_is_refused(self) -> None:
        payload = cbor2.loads(parse_sign1(SAMPLES["voucher_void"], size_max=9999).payload)
        payload[99] = 1
        signed = sign1(encode(payload), "dobmi/voucher/1", TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with pytest.raises(MalformedMessage, match="unknown fields 99"):
            verify_voucher(signed, TERMINAL_PUBLIC)

    @pytest.mark.parametrize("reason", [0, 5])
    def test_an_unknown_reason_of_a_void_is_refused(self, reason: int) -> None:
        payload = cbor2.loads(parse_sign1(SAMPLES["voucher_void"], size_max=9999).payload)
        payload[19] = reason
        signed = sign1(encode(payload), "dobmi/voucher/1", TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with pytest.raises(MalformedMessage, match="unknown"):
            verify_voucher(signed, TERMINAL_PUBLIC)

    def test_a_signature_over_another_kind_of_message_is_none_over_a_voucher(self) -> None:
        payload = parse_sign1(SAMPLES["voucher_sale"], size_max=9999).payload
        signed = sign1(payload, "dobmi/feed/1", TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with pytest.raises(WrongSignature):
            verify_voucher(signed, TERMINAL_PUBLIC)


class TestChainAndBatch:
    def test_the_chain_is_followed_from_the_genesis_hash(self) -> None:
        chain = sample_chain()
        start = genesis_hash(TERMINAL_ID, TERMINAL_PUBLIC)
        followed = follow_chain([encoded for _, encoded in chain], TERMINAL_ID, 1, start)
        assert [voucher for voucher, _ in followed] == [voucher for voucher, _ in chain]

    def test_two_tills_or_keys_start_from_different_hashes(self) -> None:
        starts = {
            genesis_hash(1, TERMINAL_PUBLIC),
            genesis_hash(2, TERMINAL_PUBLIC),
            genesis_hash(1, SERVER_PUBLIC),
        }
        assert len(starts) == 3

    def test_vouchers_in_another_order_are_refused(self) -> None:
        encoded = [voucher for _, voucher in sample_chain()]
        encoded[1], encoded[2] = encoded[2], encoded[1]
        with pytest.raises(BrokenChain, match="number 2"):
            follow_chain(encoded, TERMINAL_ID, 1, genesis_hash(TERMINAL_ID, TERMINAL_PUBLIC))

    @pytest.mark.parametrize("missing", range(5))
    def test_a_batch_with_a_voucher_taken_out_is_refused(self, missing: int) -> None:
        head, vouchers = cbor2.loads(BATCH)
        del vouchers[missing]
        with pytest.raises(BrokenChain):
            parse_batch(encode([head, vouchers])).verify(TERMINAL_PUBLIC)

    def test_a_batch_signed_by_another_till_is_refused(self) -> None:
        with pytest.raises(WrongSignature):
            parse_batch(BATCH).verify(SERVER_PUBLIC)

    def test_a_batch_has_1_to_500_vouchers(self) -> None:
        for count in (0, 501):
            with pytest.raises(ValueError, match="1 to 500"):
                encode_batch(
                    1,
                    1,
                    bytes(32),
                    [b"voucher"] * count,
                    public_key=TERMINAL_PUBLIC,
                    sign=TERMINAL_KEY.sign,
                )
        head, vouchers = cbor2.loads(BATCH)
        for count in (0, 501):
            with pytest.raises(MalformedMessage, match="1 to 500"):
                parse_batch(encode([head, vouchers[:1] * count]))

    def test_what_is_no_byte_string_is_no_voucher(self) -> None:
        head, _ = cbor2.loads(BATCH)
        with pytest.raises(MalformedMessage, match="byte string"):
            parse_batch(encode([head, [1]]))


class TestAcknowledgement:
    @given(
        st.builds(
            Acknowledgement,
            terminal_id=st.integers(0, 2**32 - 1),
            batch_hash=hashes,
            head_sequence=st.integers(0, 2**63 - 1),
            head_hash=hashes,
            unix_seconds=times,
            quarantined=st.lists(
                st.tuples(st.integers(0, 2**63 - 1), st.text(characters, max_size=80)),
                max_size=5,
            ).map(tuple),
        )
    )
    def test_it_reads_back_as_itself(self, ack: Acknowledgement) -> None:
        signed = encode_acknowledgement(ack, SERVER_PUBLIC, SERVER_KEY.sign)
        assert verify_acknowledgement(signed, SERVER_PUBLIC) == ack

    def test_one_by_another_server_is_refused(self) -> None:
        signed = encode_acknowledgement(
            sample_acknowledgement(), TERMINAL_PUBLIC, TERMINAL_KEY.sign
        )
        with pytest.raises(WrongSignature):
            verify_acknowledgement(signed, SERVER_PUBLIC)


settlements = st.builds(
    Settlements,
    terminal_id=st.integers(0, 2**32 - 1),
    since=times,
    settled=st.lists(
        st.builds(
            Settlement,
            sequence=st.integers(1, 2**63 - 1),
            outcome=st.sampled_from(SettledAs),
            unix_seconds=times,
            rule=st.text(characters, min_size=1, max_size=40),
        ),
        max_size=5,
        unique_by=lambda one: one.sequence,
    ).map(lambda found: tuple(sorted(found, key=lambda one: one.sequence))),
)


class TestFeed:
    @given(
        st.builds(
            Feed,
            version=st.integers(9, 2**63 - 1),
            since=st.sampled_from([0, 9]),
            unix_seconds=times,
            limits=st.builds(
                Limits,
                sale_max=rupiah,
                unsent_vouchers_max=st.integers(0, 2**63 - 1),
                unsent_total_max=rupiah,
                sync_age_seconds_max=st.integers(0, 2**63 - 1),
            ),
            blocked=st.lists(uids, max_size=5).map(tuple),
            unblocked=st.lists(uids, max_size=5).map(tuple),
            credits_waiting=st.lists(uids, max_size=5).map(tuple),
            settlements=st.none() | settlements,
            servers_head=st.none()
            | st.builds(
                ServersHead,
                terminal_id=st.integers(0, 2**32 - 1),
                sequence=st.integers(0, 2**63 - 1),
            ),
        )
    )
    def test_it_reads_back_as_itself(self, feed: Feed) -> None:
        assert (
            verify_feed(encode_feed(feed, SERVER_PUBLIC, SERVER_KEY.sign), SERVER_PUBLIC, 9) == feed
        )

    def test_an_old_feed_replayed_is_refused(self) -> None:
        with pytest.raises(StaleFeed, match="older"):
            verify_feed(SAMPLES["feed"], SERVER_PUBLIC, FEED.version + 1)

    def test_a_delta_from_another_version_is_refused(self) -> None:
        for in_force in (8, 10, 12):
            with pytest.raises(StaleFeed, match="goes on from"):
                verify_feed(SAMPLES["feed"], SERVER_PUBLIC, in_force)

    def test_what_it_settles_for_another_till_is_refused(self) -> None:
        settling = SAMPLES["feed_settlements"]
        assert verify_feed(settling, SERVER_PUBLIC, 9, TERMINAL_ID) == SETTLING_FEED
        for one in (settling, SAMPLES["feed_servers_head"]):
            with pytest.raises(MalformedMessage, match="another till"):
                verify_feed(one, SERVER_PUBLIC, 9, TERMINAL_ID + 1)
        assert verify_feed(SAMPLES["feed"], SERVER_PUBLIC, 9, TERMINAL_ID) == FEED

    @pytest.mark.parametrize(
        "line",
        [
            [0, 1, NOW, "card"],
            [3, 4, NOW, "card"],
            [3, True, NOW, "card"],
            [3, 1, -1, "card"],
            [3, 1, NOW, ""],
            [3, 1, NOW, "x" * 41],
            [3, 1, NOW],
        ],
    )
    def test_a_settlement_that_is_none_is_refused(self, line: list[int | str]) -> None:
        for lines in ([line], [[3, 1, NOW, "card"], [3, 2, NOW, "card"]]):
            payload = cbor2.loads(parse_sign1(SAMPLES["feed_settlements"], size_max=9999).payload)
            payload[9][3] = lines
            signed = sign1(encode(payload), "dobmi/feed/1", SERVER_PUBLIC, SERVER_KEY.sign)
            with pytest.raises(MalformedMessage):
                verify_feed(signed, SERVER_PUBLIC, 9)

    def test_a_feed_by_another_server_is_refused(self) -> None:
        signed = encode_feed(FEED, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with pytest.raises(WrongSignature):
            verify_feed(signed, SERVER_PUBLIC, 9)


class TestEnrolment:
    @given(st.binary(min_size=6, max_size=6), st.sampled_from([" ", "-", "", " - "]))
    def test_an_invitation_survives_being_typed(self, code: bytes, gap: str) -> None:
        invitation = Invitation.make(code, SERVER_PUBLIC)
        typed = gap.join(str(invitation).lower().split("-"))
        assert Invitation.parse(typed) == invitation

    def test_its_text_and_its_fingerprint_of_72_bits(self) -> None:
        assert str(INVITATION) == "AEBAGB-AFVISP-N3LKZP-7BACOA"
        assert len(INVITATION.server_fingerprint) == 9

    @pytest.mark.parametrize(
        "typed", ["", "AAAAAA", "AAAAA-" * 4, "AAAAAA-AAAAAA-AAAAAA-AAAAA1", "Ä" * 24, "A" * 40]
    )
    def test_what_is_no_invitation_is_refused(self, typed: str) -> None:
        with pytest.raises(MalformedMessage, match="invitation"):
            Invitation.parse(typed)

    def test_another_server_than_the_invited_one_is_refused(self) -> None:
        other = Invitation.make(INVITATION.code, TERMINAL_PUBLIC)
        with pytest.raises(WrongSignature):
            verify_enrolment(SAMPLES["enrolment"], other, TERMINAL_PUBLIC)

    def test_an_enrolment_of_another_till_is_refused(self) -> None:
        with pytest.raises(WrongSignature):
            verify_enrolment(SAMPLES["enrolment"], INVITATION, SERVER_PUBLIC)

    def test_the_request_proves_the_key_it_names(self) -> None:
        assert verify_enrol_request(SAMPLES["enrol_request"]) == (INVITATION.code, TERMINAL_PUBLIC)
        assert verify_enrolment(SAMPLES["enrolment"], INVITATION, TERMINAL_PUBLIC) == ENROLMENT


class TestRequestSignature:
    def test_it_holds_for_just_this_request(self) -> None:
        claim = parse_request_signature(SAMPLES["request_signature"].decode())
        claim.verify(TERMINAL_PUBLIC, "GET", "/v1/feed?since=9", b"", NOW + 300)
        for method, path, body in (
            ("POST", "/v1/feed?since=9", b""),
            ("GET", "/v1/feed?since=0", b""),
            ("GET", "/v1/feed?since=9", b"x"),
        ):
            with pytest.raises(WrongSignature):
                claim.verify(TERMINAL_PUBLIC, method, path, body, NOW)

    @pytest.mark.parametrize("seconds", [-301, 301])
    def test_a_clock_five_minutes_out_is_told(self, seconds: int) -> None:
        claim = parse_request_signature(SAMPLES["request_signature"].decode())
        with pytest.raises(ClockOutOfStep, match="301 seconds"):
            claim.verify(TERMINAL_PUBLIC, "GET", "/v1/feed?since=9", b"", NOW + seconds)

    def test_another_base64_of_the_same_bytes_is_refused(self) -> None:
        header = SAMPLES["request_signature"].decode()
        assert header.endswith("CQ==")
        with pytest.raises(MalformedMessage, match="base64url"):
            parse_request_signature(header.removesuffix("CQ==") + "CR==")

    @pytest.mark.parametrize(
        "header", ["", "Bearer x", "DoBMI", "DoBMI ***", "DoBMI " + "A" * 9999]
    )
    def test_what_is_no_signature_is_refused(self, header: str) -> None:
        with pytest.raises(MalformedMessage):
            parse_request_signature(header)


apdus = st.lists(st.binary(min_size=2, max_size=300), min_size=1, max_size=16).map(tuple)
parameters = st.dictionaries(
    st.integers(0, 50), st.one_of(st.integers(0, 2**32), text, st.binary(max_size=50)), max_size=5
)
short = st.text(characters, max_size=40)
relay_messages: st.SearchStrategy[RelayMessage] = st.one_of(
    st.builds(Start, st.sampled_from(Action), uids, parameters),
    st.builds(Commands, apdus),
    st.builds(Responses, apdus),
    st.builds(CardGone, short),
    st.builds(Done, parameters),
    st.builds(Failed, short, short, short, st.sampled_from(["no", "yes", "unknown"])),
)


class TestRelay:
    @given(
        st.lists(st.tuples(st.integers(1, 2**32 - 1), rupiah), max_size=5).map(tuple),
        rupiah,
    )
    def test_a_credits_result_reads_back_as_itself(
        self, delivered: tuple[tuple[int, Rupiah], ...], balance: Rupiah
    ) -> None:
        result = CreditResult(delivered=delivered, balance=balance)
        assert CreditResult.from_cbor(result.to_cbor()) == result

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), short, st.booleans())
    def test_an_issues_result_reads_back_as_itself(
        self, serial: int, days: int, generation: str, resumed: bool
    ) -> None:
        result = IssueResult(
            card_serial=serial, expires_days=days, generation=generation, resumed=resumed
        )
        assert IssueResult.from_cbor(result.to_cbor()) == result

    @pytest.mark.parametrize("value", [None, {}, {1: [[1]], 2: 0}, {1: [[1, True]], 2: 0}])
    def test_what_is_no_result_is_refused(self, value: object) -> None:
        for kind in (CreditResult, IssueResult):
            with pytest.raises(MalformedMessage):
                kind.from_cbor(value)  # type: ignore[arg-type] # what came off the wire

    @given(relay_messages)
    def test_it_reads_back_as_itself(self, message: RelayMessage) -> None:
        assert decode_relay(encode_relay(message)) == message

    @pytest.mark.parametrize(
        "value",
        [
            {1: 7},
            {1: 1, 2: "steal", 3: UID, 4: {}},
            {1: 2, 2: []},
            {1: 2, 2: [b"x"]},
            {1: 2, 2: [b"xx"] * 17},
            {1: 2, 2: [bytes(513)]},
            {1: 3, 2: "xx"},
            {1: 5, 2: {}, 3: 1},
            {1: 4, 2: "CARD\x1b[2J"},
            [],
        ],
    )
    def test_what_is_no_message_is_refused(self, value: object) -> None:
        with pytest.raises(MalformedMessage):
            decode_relay(cbor2.dumps(value, canonical=True))


class TestCbor:
    @given(
        st.recursive(
            st.one_of(
                st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(), text
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=4),
                st.dictionaries(st.integers(-(2**63), 2**64 - 1), inner, max_size=4),
            ),
            max_leaves=12,
        )
    )
    def test_every_allowed_value_has_one_encoding_and_reads_back(self, value: object) -> None:
        encoded = encode(value)  # type: ignore[arg-type] # the strategy makes CborValue
        assert decode(encoded, size_max=10**6) == value

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x00\x00",  # a value, and more
            b"\x18\x01",  # 1 in two bytes
            b"\x5f\x41a\xff",  # indefinite length
            b"\xa2\x02\x00\x01\x00",  # keys out of order
            b"\xa2\x01\x00\x01\x00",  # a key twice
            b"\xf9\x3c\x00",  # a float
            b"\xc1\x00",  # a tag
            b"\xc2\x41\x01",  # a bignum
            b"\xf7",  # undefined
            b"\xa1\x61a\x00",  # a text key
            b"\x61\xff",  # no UTF-8
            b"\x9b\x00\x00\x00\x10\x00\x00\x00\x00",  # an array of 2^36 items, announced only
            b"\x5b\x00\x00\x00\x10\x00\x00\x00\x00",  # a byte string of 2^36, announced only
            b"\xbb\x00\x00\x00\x10\x00\x00\x00\x00",  # a map of 2^36, announced only
            b"\x81" * 10_000 + b"\x00",  # nested 10,000 deep
            b"\xa1\x00" * 5_000 + b"\x00",
            b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself (shared references)
            b"\xd9\x01\x00" * 1000 + b"\x00",
        ],
    )
    def test_bombs_and_other_encodings_are_refused(self, data: bytes) -> None:
        with pytest.raises(MalformedMessage):
            decode(data, size_max=100_000)

    @pytest.mark.parametrize("tag", [b"\xc4\x82\x00", b"\xc5\x82\x01", b"\x81\xc4\x82\x00"])
    def test_no_tag_keeps_the_reader_busy(self, tag: bytes) -> None:
        # A decimal fraction or big float whose mantissa is a megabyte: minutes, once decoded.
        mantissa = b"\xc2\x5a\x00\x10\x00\x00" + b"\xff" * (1 << 20)
        start = time.monotonic()
        with pytest.raises(MalformedMessage):
            decode(tag + mantissa, size_max=4 << 20)
        assert time.monotonic() - start < 1

    def test_too_many_bytes_are_not_even_read(self) -> None:
        with pytest.raises(MalformedMessage, match="at most 10"):
            decode(bytes(11), size_max=10)

    @pytest.mark.parametrize("value", [1.5, {"a": 1}, {True: 1}, 2**64, (1,), object()])
    def test_other_types_are_not_written(self, value: object) -> None:
        with pytest.raises(TypeError):
            encode(value)  # type: ignore[arg-type] # what the type forbids is tried


def test_the_batch_hash_is_sha_256_over_its_bytes() -> None:
    assert sample_acknowledgement().batch_hash == hashlib.sha256(sample_batch()).digest()
