"""What a card's log proves of a sale in doubt, and what it does not. No card, no till: only records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dobmi.cardlib.purse import CardTrail, PurseView
from dobmi.cardlib.purse_layout import LogRecord, RecordKind
from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.money import Rupiah
from dobmi.terminal.doubt import RETAP_SECONDS_MAX, Verdict, judge
from dobmi.terminal.ledger import IntentRow
from support.purses import SITI

TILL = 7
NOW = 1_790_000_000
UID = bytes(7)
INTENT = IntentRow(
    sequence=5,
    card_uid=UID,
    member_number=1,
    holder="Siti",
    amount=Rupiah(100),
    balance_before=Rupiah(1_000),
    evidence=b"x",
    goods=(),
    unix_seconds=NOW,
    shift=1,
    cashier="Siti",
)
OURS = LogRecord(
    kind=RecordKind.SALE,
    terminal_id=TILL,
    sequence=5,
    amount=Rupiah(100),
    balance_after=Rupiah(900),
    unix_seconds=NOW,
)


def elsewhere(number: int, balance_after: int = 700, unix_seconds: int = NOW + 60) -> LogRecord:
    return LogRecord(
        kind=RecordKind.SALE,
        terminal_id=99,
        sequence=number,
        amount=Rupiah(1),
        balance_after=Rupiah(balance_after),
        unix_seconds=unix_seconds,
    )


def trail(*records: LogRecord, counter: int | None = None) -> CardTrail:
    counter = len(records) if counter is None else counter
    balance = records[0].balance_after if records else Rupiah(1_000)
    return CardTrail(
        view=PurseView(uid=UID, holder=SITI, balance=balance),
        records=records,
        last=TransactionMac(counter, bytes(8)) if counter else None,
    )


FULL = tuple(elsewhere(number) for number in range(10))


def verdict(card: CardTrail, retap_seconds: float | None = None) -> Verdict:
    return judge(INTENT, TILL, card, retap_seconds)


class TestPaid:
    def test_the_newest_record_is_the_sale(self) -> None:
        assert verdict(trail(OURS, elsewhere(1))) is Verdict.PAID_LAST

    def test_an_older_record_is_the_sale(self) -> None:
        assert verdict(trail(elsewhere(1), OURS)) is Verdict.PAID_EARLIER
        assert verdict(trail(*FULL[:9], OURS, counter=500)) is Verdict.PAID_EARLIER

    @pytest.mark.parametrize(
        "record",
        [
            replace(OURS, amount=Rupiah(99)),
            replace(OURS, balance_after=Rupiah(901)),
            replace(OURS, kind=RecordKind.CREDIT),
        ],
    )
    def test_a_record_of_that_number_that_tells_another_sale_proves_nothing(
        self, record: LogRecord
    ) -> None:
        assert verdict(trail(record)) is Verdict.UNKNOWN


class TestNotPaid:
    def test_a_card_without_any_transaction(self) -> None:
        assert verdict(trail()) is Verdict.NOT_PAID

    def test_a_log_that_holds_all_the_card_ever_did(self) -> None:
        assert verdict(trail(*FULL[:4])) is Verdict.NOT_PAID
        assert verdict(trail(*FULL, counter=10)) is Verdict.NOT_PAID

    def test_a_log_that_reaches_back_to_an_earlier_sale_of_this_till(self) -> None:
        earlier = replace(OURS, sequence=4)
        assert verdict(trail(*FULL[:9], earlier, counter=500)) is Verdict.NOT_PAID

    def test_a_log_that_reaches_back_to_the_balance_before_the_sale(self) -> None:
        before = elsewhere(50, balance_after=1_000, unix_seconds=NOW - 1)
        assert verdict(trail(*FULL[:9], before, counter=500)) is Verdict.NOT_PAID

    def test_a_card_back_within_minutes_with_its_balance_unchanged(self) -> None:
        """Also where the other till's clock was ahead of ours."""
        before = elsewhere(50, balance_after=1_000, unix_seconds=NOW + 9_999)
        card = trail(before, *FULL[:9], counter=500)
        assert verdict(card, RETAP_SECONDS_MAX) is Verdict.NOT_PAID


class TestUnknown:
    def test_ten_transactions_elsewhere_since(self) -> None:
        assert verdict(trail(*FULL, counter=500)) is Verdict.UNKNOWN

    def test_later_sales_of_this_till_do_not_reach_back(self) -> None:
        later = replace(OURS, sequence=6)
        assert verdict(trail(*FULL[:9], later, counter=500)) is Verdict.UNKNOWN

    def test_an_old_record_with_another_balance_is_only_a_wrong_clock(self) -> None:
        old = elsewhere(50, balance_after=950, unix_seconds=NOW - 1)
        assert verdict(trail(*FULL[:9], old, counter=500)) is Verdict.UNKNOWN

    def test_the_balance_alone_long_after_proves_nothing(self) -> None:
        same = elsewhere(50, balance_after=1_000, unix_seconds=NOW + 9_999)
        card = trail(same, *FULL[:9], counter=500)
        assert verdict(card, RETAP_SECONDS_MAX + 1) is Verdict.UNKNOWN
        assert verdict(card, None) is Verdict.UNKNOWN
