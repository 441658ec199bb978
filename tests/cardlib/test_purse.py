"""The purse against a simulated card that keeps its own side of the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dobmi.cardlib.desfire import DesfireCard
from dobmi.cardlib.errors import (
    AlreadyIssued,
    BalanceLimit,
    BlankCard,
    CardError,
    CardRefused,
    CardRemoved,
    DamagedCardData,
    ImplausibleEvidence,
    InsufficientBalance,
    KeyNotHeld,
    NotOriginal,
    NotOurCard,
    OtherKeySet,
    TimeBeyondCard,
    UnfinishedCard,
    UnsupportedCard,
    WrongIssuerSignature,
    WrongResponseMac,
    WrongTransactionMac,
)
from dobmi.cardlib.evidence import (
    parse_credit_evidence,
    parse_sale_evidence,
    previous_reader_id,
    verify_evidence,
)
from dobmi.cardlib.files import KeySettings
from dobmi.cardlib.keys import FACTORY_PICC_KEY, DesfireKey
from dobmi.cardlib.personalise import personalise
from dobmi.cardlib.purse import Prepared, Purse
from dobmi.cardlib.purse_layout import CardKey, Holder, LogRecord, ReaderId, RecordKind
from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.firmware_sim.personality import Personality
from dobmi.money import Rupiah
from support.purses import (
    BALANCE_MAX,
    SITI,
    InProcess,
    credit,
    issued_card,
    make_purse,
    new_ring,
    purse_of,
)

RING = new_ring()
TILL = RING.only([CardKey.DEBIT, CardKey.PIN], ["card-issuer"])
SALE = ReaderId(terminal_id=7, sequence=1)
NOW = 1_790_000_000


def sell(purse: Purse, amount: int, reader_id: ReaderId = SALE) -> tuple[Prepared, TransactionMac]:
    purse.begin_sale(reader_id)
    prepared = purse.prepare_debit(Rupiah(amount), NOW)
    purse.stage(prepared)
    return prepared, purse.commit()


def mac_key(card: SimulatedCard) -> bytes:
    return RING.card_key(CardKey.TRANSACTION_MAC, card.uid).value


class TestSale:
    def test_a_sale_takes_nine_exchanges(self) -> None:
        purse = purse_of(issued_card(RING, Rupiah(50_000)), TILL)
        sell(purse, 12_500)
        assert purse.exchanges.count == 9

    def test_a_balance_takes_five_exchanges(self) -> None:
        purse = purse_of(issued_card(RING, Rupiah(50_000)), TILL)
        assert purse.read().balance == Rupiah(50_000)
        assert purse.exchanges.count == 5

    def test_the_cards_mac_covers_the_evidence_that_was_known_before_the_commit(self) -> None:
        card = issued_card(RING, Rupiah(50_000))
        prepared, transaction = sell(purse_of(card, TILL), 12_500)
        verify_evidence(
            mac_key(card), card.uid, transaction.counter, transaction.mac, prepared.evidence
        )
        sale = parse_sale_evidence(prepared.evidence)
        assert (sale.amount, sale.balance_before, sale.balance_after, sale.reader_id) == (
            Rupiah(12_500),
            Rupiah(50_000),
            Rupiah(37_500),
            SALE,
        )
        assert sale.holder == SITI

    @given(st.data())
    @settings(max_examples=60)
    def test_a_changed_bit_of_evidence_counter_or_mac_is_found(self, data: st.DataObject) -> None:
        card, prepared, transaction = SOLD
        whole = bytearray(bytes(transaction) + prepared.evidence)
        bit = data.draw(st.integers(0, len(whole) * 8 - 1))
        whole[bit // 8] ^= 1 << bit % 8
        changed = TransactionMac.from_bytes(bytes(whole[:12]))
        with pytest.raises(WrongTransactionMac):
            verify_evidence(
                mac_key(card), card.uid, changed.counter, changed.mac, bytes(whole[12:])
            )

    def test_each_transaction_names_the_one_before_it(self) -> None:
        """P5: a sale that a till hid is found at the card's next sale, and names the till."""
        card = issued_card(RING, Rupiah(50_000))
        for sequence, before in ((1, ReaderId(terminal_id=0, sequence=1)), (2, SALE)):
            reader_id = ReaderId(terminal_id=7, sequence=sequence)
            prepared, transaction = sell(purse_of(card, TILL), 1_000, reader_id)
            encrypted = parse_sale_evidence(prepared.evidence).encrypted_previous_reader_id
            named = previous_reader_id(mac_key(card), card.uid, transaction.counter, encrypted)
            assert named == before
            with pytest.raises(DamagedCardData):
                previous_reader_id(mac_key(card), card.uid, transaction.counter + 1, encrypted)

    def test_more_than_the_balance_is_refused_with_both_amounts(self) -> None:
        purse = purse_of(issued_card(RING, Rupiah(5_000)), TILL)
        purse.begin_sale(SALE)
        with pytest.raises(InsufficientBalance) as refusal:
            purse.prepare_debit(Rupiah(5_001), NOW)
        assert "Rp 5.000" in str(refusal.value)
        assert "Rp 5.001" in str(refusal.value)

    @pytest.mark.parametrize("amount", [0, -1])
    def test_nothing_and_less_than_nothing_cannot_be_sold(self, amount: int) -> None:
        purse = purse_of(issued_card(RING, Rupiah(5_000)), TILL)
        purse.begin_sale(SALE)
        with pytest.raises(ValueError, match="above nought"):
            purse.prepare_debit(Rupiah(amount), NOW)

    def test_a_commit_without_a_stage_is_a_programming_error(self) -> None:
        purse = purse_of(issued_card(RING, Rupiah(5_000)), TILL)
        purse.begin_sale(SALE)
        with pytest.raises(ValueError, match="begin, prepare, stage, commit"):
            purse.commit()

    def test_a_till_can_neither_credit_nor_change_a_key(self) -> None:
        """P3, by the card itself: with the debit key every way to more money is refused."""
        card = issued_card(RING, Rupiah(5_000))
        purse = purse_of(card, TILL)
        with pytest.raises(KeyNotHeld):
            purse.begin_credit(2)
        zero = DesfireKey.aes(bytes(16))
        ways: list[Callable[[DesfireCard], None]] = [
            lambda desfire: desfire.credit(2, 1_000),
            lambda desfire: desfire.limited_credit(2, 1_000),
            lambda desfire: desfire.write_data(1, 0, bytes(112)),
            lambda desfire: desfire.change_key(2, zero, zero),
        ]
        for forbidden in ways:
            card.power_off()
            desfire = DesfireCard(InProcess(card), iso_chaining=True)
            desfire.select_application(0xD0B310)
            desfire.authenticate_ev2_first(1, TILL.card_key(CardKey.DEBIT, card.uid))
            with pytest.raises(CardRefused):
                forbidden(desfire)
        assert purse_of(card, TILL).read().balance == Rupiah(5_000)

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(9))
    def test_a_tear_leaves_the_whole_sale_or_none(self, frame: int, moment: Moment) -> None:
        """P1: only the last exchange moves money, and only if the card saw it."""
        card = issued_card(RING, Rupiah(50_000))
        torn = FaultyCard(card, [at_frame(frame, moment)])
        with pytest.raises(CardRemoved):
            sell(Purse(InProcess(torn), TILL, RING.public_key("card-issuer")), 12_500)
        trail = purse_of(card, TILL).read_trail()
        committed = frame == 8 and moment is Moment.AFTER
        assert trail.view.balance == Rupiah(37_500 if committed else 50_000)
        assert (trail.record_of(SALE) is not None) == committed
        assert trail.ends_with(SALE) == committed


def _sold() -> tuple[SimulatedCard, Prepared, TransactionMac]:
    card = issued_card(RING, Rupiah(50_000))
    return (card, *sell(purse_of(card, TILL), 12_500))


SOLD = _sold()


class TestTrail:
    def test_the_log_keeps_the_ten_newest_transactions(self) -> None:
        card = issued_card(RING, Rupiah(50_000))
        for sequence in range(1, 13):
            sell(purse_of(card, TILL), 1_000, ReaderId(terminal_id=7, sequence=sequence))
        trail = purse_of(card, TILL).read_trail()
        assert [record.sequence for record in trail.records] == list(range(12, 2, -1))
        assert trail.records[0].balance_after == trail.view.balance == Rupiah(38_000)
        assert trail.last is not None
        assert trail.last.counter == 13
        assert not trail.is_whole

    def test_a_new_card_has_no_past(self) -> None:
        trail = purse_of(issued_card(RING), TILL).read_trail()
        assert (trail.records, trail.last, trail.is_whole) == ((), None, True)

    def test_the_last_mac_is_that_of_the_newest_record(self) -> None:
        card = issued_card(RING, Rupiah(50_000))
        _, transaction = sell(purse_of(card, TILL), 12_500)
        assert purse_of(card, TILL).read_trail().last == transaction


class TestCredit:
    def test_a_credit_takes_twelve_exchanges_and_is_vouched_for(self) -> None:
        card = issued_card(RING)
        purse = purse_of(card, RING)
        view = purse.begin_credit(1)
        assert view.state.last_credit_sequence == 0
        prepared = purse.prepare_credit(Rupiah(75_000), NOW, balance_max=BALANCE_MAX)
        purse.stage(prepared)
        transaction = purse.commit()
        assert purse.exchanges.count == 12
        verify_evidence(
            mac_key(card), card.uid, transaction.counter, transaction.mac, prepared.evidence
        )
        evidence = parse_credit_evidence(prepared.evidence)
        assert evidence.state_after.last_credit_sequence == 1
        assert evidence.balance_after == Rupiah(75_000)
        assert purse_of(card, TILL).read().balance == Rupiah(75_000)

    def test_a_credit_above_the_limit_is_refused_before_the_card_hears_of_it(self) -> None:
        purse = purse_of(issued_card(RING, Rupiah(1_999_000)), RING)
        purse.begin_credit(2)
        with pytest.raises(BalanceLimit):
            purse.prepare_credit(Rupiah(1_001), NOW, balance_max=BALANCE_MAX)

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(12))
    def test_a_torn_credit_is_delivered_whole_or_not_and_the_card_says_which(
        self, frame: int, moment: Moment
    ) -> None:
        card = issued_card(RING)
        torn = FaultyCard(card, [at_frame(frame, moment)])
        purse = Purse(InProcess(torn), RING, RING.public_key("card-issuer"))
        with pytest.raises(CardRemoved):
            _deliver(purse, 75_000)
        state = purse_of(card, RING).begin_credit(2).state
        committed = frame == 11 and moment is Moment.AFTER
        assert state.last_credit_sequence == int(committed)
        assert purse_of(card, TILL).read().balance == Rupiah(75_000 * committed)


def _deliver(purse: Purse, amount: int) -> None:
    purse.begin_credit(1)
    purse.stage(purse.prepare_credit(Rupiah(amount), NOW, balance_max=BALANCE_MAX))
    purse.commit()


class TestPersonalise:
    def test_a_factory_fresh_card_becomes_a_purse_in_27_exchanges(self) -> None:
        card = SimulatedCard()
        done = make_purse(card, RING)
        assert (done.exchanges.count, done.resumed) == (27, False)
        view = purse_of(card, TILL).read()
        assert (view.holder, view.balance) == (SITI, Rupiah(0))

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(27))
    def test_issuing_torn_at_any_frame_is_finished_by_a_second_tap(
        self, frame: int, moment: Moment
    ) -> None:
        card = SimulatedCard()
        with pytest.raises(CardRemoved):
            make_purse(FaultyCard(card, [at_frame(frame, moment)]), RING)
        card.power_off()
        make_purse(card, RING)
        view = purse_of(card, TILL).read()
        assert (view.holder, view.balance) == (SITI, Rupiah(0))

    @given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(Moment)), min_size=2, max_size=5))
    @settings(max_examples=25, deadline=None)
    def test_issuing_torn_again_and_again_is_still_finished(
        self, tears: list[tuple[int, Moment]]
    ) -> None:
        card = SimulatedCard()
        for frame, moment in tears:
            try:
                make_purse(FaultyCard(card, [at_frame(frame, moment)]), RING)
            except CardRemoved:
                continue
        make_purse(card, RING)
        assert purse_of(card, TILL).read().holder == SITI

    @pytest.mark.parametrize("frame", range(13, 26))
    def test_a_half_issued_card_is_refused_by_a_till_until_its_last_key(self, frame: int) -> None:
        """P3: a till never meets a card whose credit or master key is still the factory's."""
        card = SimulatedCard()
        with pytest.raises(CardRemoved):
            make_purse(FaultyCard(card, [at_frame(frame)]), RING)
        with pytest.raises(UnfinishedCard):
            purse_of(card, TILL).read()

    def test_a_finished_card_is_only_checked(self) -> None:
        card = issued_card(RING, Rupiah(5_000))
        card.power_off()
        assert make_purse(card, RING).resumed
        assert purse_of(card, TILL).read().balance == Rupiah(5_000)

    @pytest.mark.parametrize("frame", [20, 24, None])
    def test_a_card_is_never_taken_from_one_member_for_another(self, frame: int | None) -> None:
        card = SimulatedCard()
        if frame is None:
            make_purse(card, RING)
        else:
            with pytest.raises(CardRemoved):
                make_purse(FaultyCard(card, [at_frame(frame)]), RING)
        card.power_off()
        other = replace(SITI, member_number=4712, name="Budi Santoso", card_serial=2)
        with pytest.raises(AlreadyIssued):
            make_purse(card, RING, other)

    def test_an_ev1_card_cannot_be_issued(self) -> None:
        with pytest.raises(UnsupportedCard):
            make_purse(SimulatedCard(personality=Personality.EV1), RING)

    def test_an_ev3_card_can(self) -> None:
        card = SimulatedCard(personality=Personality.EV3)
        make_purse(card, RING)
        sell_after_credit(card)

    def test_a_chip_without_a_trusted_originality_signature_is_refused(self) -> None:
        """The simulated card does not carry NXP's signature, and is refused where only that counts."""
        with pytest.raises(NotOriginal):
            personalise(
                InProcess(SimulatedCard()),
                RING,
                SITI,
                lambda message: RING.sign("card-issuer", message),
                balance_max=BALANCE_MAX,
            )

    def test_a_card_with_somebody_elses_master_key_is_refused_untouched(self) -> None:
        card = SimulatedCard()
        stranger = DesfireCard(InProcess(card))
        stranger.authenticate_iso(0, FACTORY_PICC_KEY)
        stranger.change_key(0, DesfireKey.aes(bytes(range(16)), version=9))
        card.power_off()
        before = card.state
        with pytest.raises(OtherKeySet):
            make_purse(card, RING)
        assert card.state == before


def sell_after_credit(card: SimulatedCard) -> None:
    credit(card, RING, Rupiah(20_000))
    sell(purse_of(card, TILL), 5_000)
    assert purse_of(card, TILL).read().balance == Rupiah(15_000)


class TestForeignCards:
    def test_a_blank_card_is_called_blank(self) -> None:
        with pytest.raises(BlankCard):
            purse_of(SimulatedCard(), TILL).read()

    def test_an_ev1_card_is_called_unsupported(self) -> None:
        with pytest.raises(UnsupportedCard):
            purse_of(SimulatedCard(personality=Personality.EV1), TILL).read()

    def test_a_card_with_other_applications_is_not_ours(self) -> None:
        card = SimulatedCard()
        stranger = DesfireCard(InProcess(card))
        stranger.create_application(0x123456, KeySettings(), key_count=1)
        with pytest.raises(NotOurCard) as refusal:
            purse_of(card, TILL).read()
        assert type(refusal.value) is NotOurCard

    def test_a_card_of_another_key_set_is_told_apart(self) -> None:
        card = issued_card(new_ring())
        with pytest.raises(OtherKeySet):
            purse_of(card, TILL).read()

    def test_a_holder_signed_by_another_issuer_is_refused(self) -> None:
        card = issued_card(RING)
        card.power_off()
        forger = new_ring()
        with pytest.raises(WrongIssuerSignature):
            Purse(InProcess(card), TILL, forger.public_key("card-issuer")).read()

    def test_a_card_that_knows_no_desfire_command_is_not_ours(self) -> None:
        class Phone:
            uid = bytes.fromhex("04112233445566")

            def transmit(self, command: bytes) -> bytes:  # noqa: ARG002 - it knows none
                return bytes.fromhex("6D00")

            def disconnect(self) -> None: ...

        with pytest.raises(NotOurCard):
            Purse(Phone(), TILL, RING.public_key("card-issuer")).read()

    def test_a_random_four_byte_uid_is_not_ours(self) -> None:
        class RandomId:
            uid = bytes.fromhex("08AABBCC")

            def transmit(self, command: bytes) -> bytes:
                raise AssertionError(command)

            def disconnect(self) -> None: ...

        with pytest.raises(NotOurCard):
            Purse(RandomId(), TILL, RING.public_key("card-issuer"))


class _Garbling:
    """Changes one byte of one answer."""

    def __init__(self, card: SimulatedCard, exchange: int, position: int) -> None:
        self._inner = InProcess(card)
        self._left = exchange
        self._position = position
        self.uid = card.uid

    def transmit(self, command: bytes) -> bytes:
        answer = bytearray(self._inner.transmit(command))
        if self._left == 0:
            answer[self._position % len(answer)] ^= 0x40
        self._left -= 1
        return bytes(answer)

    def disconnect(self) -> None: ...


@given(exchange=st.integers(0, 8), position=st.integers(0, 300))
@settings(max_examples=80, deadline=None)
def test_a_byte_changed_on_the_way_is_found_and_never_costs_more_than_the_sale(
    exchange: int, position: int
) -> None:
    card = issued_card(RING, Rupiah(50_000))
    card.power_off()
    purse = Purse(_Garbling(card, exchange, position), TILL, RING.public_key("card-issuer"))
    with pytest.raises(CardError):
        sell(purse, 12_500)
    balance = purse_of(card, TILL).read().balance
    assert balance == Rupiah(37_500 if exchange == 8 else 50_000)


def test_a_wrong_mac_is_named_as_such() -> None:
    card = issued_card(RING, Rupiah(50_000))
    card.power_off()
    purse = Purse(_Garbling(card, 4, 3), TILL, RING.public_key("card-issuer"))
    with pytest.raises(WrongResponseMac):
        purse.read()


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_never_taken_for_evidence(noise: bytes) -> None:
    for parse in (parse_sale_evidence, parse_credit_evidence):
        with pytest.raises(ImplausibleEvidence):
            parse(noise)


uint32 = st.integers(0, 2**32 - 1)


@given(
    st.builds(
        LogRecord,
        kind=st.sampled_from(RecordKind),
        terminal_id=uint32,
        sequence=st.integers(0, 2**64 - 1),
        amount=st.builds(Rupiah, uint32),
        balance_after=st.builds(Rupiah, uint32),
        unix_seconds=uint32,
    )
)
def test_a_log_record_reads_back_as_written(record: LogRecord) -> None:
    assert LogRecord.decode(record.encode()) == record


def test_a_time_that_no_log_record_holds_is_refused_before_anything_is_sent() -> None:
    record = LogRecord(
        kind=RecordKind.SALE,
        terminal_id=7,
        sequence=1,
        amount=Rupiah(500),
        balance_after=Rupiah(0),
        unix_seconds=1 << 32,
    )
    with pytest.raises(TimeBeyondCard, match="4294967296"):
        record.encode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 37},
        {"name": "Siti\0"},
        {"member_number": 0},
        {"member_number": 2**32},
        {"card_serial": 0},
        {"expires": date(1970, 1, 1)},
        {"expires": date(2199, 1, 1)},
    ],
)
def test_a_holder_that_does_not_fit_the_card_is_refused(wrong: dict[str, object]) -> None:
    holder = Holder(**{**{f: getattr(SITI, f) for f in SITI.__dataclass_fields__}, **wrong})
    with pytest.raises(ValueError, match=r"name|member|expire"):
        holder.sign(bytes(7), lambda _message: bytes(64))
