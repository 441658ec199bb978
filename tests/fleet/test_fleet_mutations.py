"""Every oracle can fail: one thing in the real code is broken, and the oracle that is meant speaks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dobmi.cardlib.errors import CardRemoved
from dobmi.central import (
    beside,
    conclusions,
    credit_session,
    doubts,
    held_credits,
    ingest,
    overdue,
    replacement,
    second_look,
)
from dobmi.central.deduction import Report
from dobmi.central.orders import append_credit, balance_on_card
from dobmi.central.refunds import note_refunds
from dobmi.central.verification import Noted
from dobmi.firmware_sim.faults import Moment
from dobmi.fleet import acts
from dobmi.fleet.events import (
    STATION,
    BlockTill,
    Chore,
    CopyCard,
    DaysPass,
    Decide,
    Deliver,
    Event,
    Issue,
    Look,
    Lose,
    OfficeWork,
    Purchase,
    Refund,
    Restart,
    SettleCredit,
    Sync,
    Tear,
    TopUp,
    Which,
)
from dobmi.fleet.oracles import NAMES
from dobmi.fleet.run import run_events
from dobmi.money import Rupiah
from dobmi.sync.errors import StaleFeed
from dobmi.sync.voucher import RefundVoucher
from dobmi.terminal import sale, synchronise, till
from dobmi.terminal.chain import Chain
from dobmi.terminal.doubt import Verdict
from dobmi.terminal.errors import CardExpired
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.refund import check_refund
from dobmi.terminal.till import Till

COMMIT_OF_SALE = 8
TORN = Tear(COMMIT_OF_SALE, Moment.AFTER)
UNPAID = Tear(COMMIT_OF_SALE, Moment.BEFORE)
Break = Callable[[pytest.MonkeyPatch], None]


def at(*events: Callable[..., Event]) -> list[Event]:
    """Two minutes apart."""
    return [make(at_seconds=120 * number) for number, make in enumerate(events, start=1)]


def event(kind: type[Event], **fields: Any) -> Callable[..., Event]:
    return functools.partial(kind, **fields)


BUYS = event(Purchase, till=0, card=0, amount=5_000)
TORN_ONCE = event(Purchase, till=0, card=0, amount=5_000, tears=(TORN,), taps=1)
TORN_UNPAID = event(Purchase, till=0, card=0, amount=5_000, tears=(UNPAID,), taps=1)
SYNC = event(Sync, till=0)
TOP_UP = event(TopUp, card=0, amount=50_000)
AT_STATION = event(Deliver, at=STATION, card=0)
LOSES = event(Lose, card=0)
ISSUE = event(Issue, card=0)
EVERYBODY_SYNCS = [event(Sync, till=number) for number in (0, 1, 2, 0, 1, 2)]
LOST_AND_RESTORED = [
    BUYS,
    LOSES,
    ISSUE,
    *EVERYBODY_SYNCS,
    event(OfficeWork, chore=Chore.RESTORE_DUE),
]
"""Siti's card is lost, and its money is on her next one."""
GIVES_BACK = event(Refund, till=0, sales_ago=0)
A_CLAIM = [
    TORN_UNPAID,
    event(Decide, till=0, doubts_ago=0, is_paid=True),
    SYNC,
    event(DaysPass, days=31),
    event(OfficeWork, chore=Chore.SETTLE_OVERDUE),
]
"""Said to be paid, which it was not, and the card does not come back for a month."""


def say_nothing(*_: Any, **__: Any) -> None:
    """Instead of doing it."""


def fail_in_a_way_nobody_foresaw(patch: pytest.MonkeyPatch) -> None:
    def balance(_: Till) -> None:
        msg = "planted"
        raise ValueError(msg)

    patch.setattr(Till, "balance", balance)


def charge_again_after_a_tear(patch: pytest.MonkeyPatch) -> None:
    """The till does not see that the sale in doubt is the one that is asked for again."""
    patch.setattr(sale, "same_sale", say_nothing)


def say_that_no_money_moved(patch: pytest.MonkeyPatch) -> None:
    """A torn commit is told like a card that was taken away before it."""
    patch.setattr(sale, "in_doubt", lambda *_: CardRemoved())


def forget_to_write_sales(patch: pytest.MonkeyPatch) -> None:
    def write_sale(self: Chain, intent: Any, _transaction: Any) -> bytes:
        self.write_in_doubt(intent)
        return bytes(32)

    patch.setattr(Chain, "write_sale", write_sale)


def misread_the_cards_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sale, "judge", lambda *_: Verdict.NOT_PAID)


def keep_no_intent(patch: pytest.MonkeyPatch) -> None:
    """A sale is written down when it is paid, and not before."""
    patch.setattr(Ledger, "record_intent", say_nothing)


def link_to_nothing(patch: pytest.MonkeyPatch) -> None:
    """The next voucher hangs on one that was never written."""
    append = Chain._append

    def twice(self: Chain, voucher: Any) -> bytes:
        hash_ = append(self, voucher)
        with self.ledger._engine.begin() as connection:
            for guard in ("vouchers_no_update",):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {guard}")
            connection.exec_driver_sql("UPDATE vouchers SET hash = zeroblob(32)")
        self._head = None
        return hash_

    patch.setattr(Chain, "_append", twice)


def let_a_credit_out_without_evidence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(credit_session, "note_attempt", lambda *_: True)


def call_a_credit_delivered_that_is_not(patch: pytest.MonkeyPatch) -> None:
    """Before the commit is sent."""
    note_attempt = credit_session.note_attempt

    def noted(central: Any, credit: Any, evidence: bytes) -> bool:
        note_attempt(central, credit, evidence)
        with central.database.write() as connection:
            conclusions.deliver_credit(
                connection, credit.card_uid, credit.sequence, central.unix_seconds(), counter=999
            )
        return False

    patch.setattr(credit_session, "note_attempt", noted)


def order_more_than_was_paid_in(patch: pytest.MonkeyPatch) -> None:
    def more(connection: Any, uid: bytes, amount: Rupiah, *rest: Any, **named: Any) -> int:
        return append_credit(connection, uid, amount + amount, *rest, **named)

    patch.setattr(held_credits, "append_credit", more)


def post_more(module: Any, kind: str, patch: pytest.MonkeyPatch) -> None:
    """What `module` posts of this kind is one rupiah more."""
    post = module.post

    def more(connection: Any, of: Any, amount: Rupiah, **named: Any) -> None:
        post(connection, of, amount + Rupiah(1) if of.value == kind else amount, **named)

    patch.setattr(module, "post", more)


def give_back_without_end(patch: pytest.MonkeyPatch) -> None:
    """Neither till nor server counts what was given back of a sale before."""

    def unchecked(ledger: Ledger, number: int, *rest: Any, **named: Any) -> Any:
        patch.setattr(Ledger, "refunded", lambda *_: Rupiah(0))
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER IF EXISTS refunds_within_their_sale")
        return check_refund(ledger, number, *rest, **named)

    patch.setattr(till, "check_refund", unchecked)
    patch.setattr(second_look, "may_refund", lambda voucher, _: Noted(voucher))


def give_back_more_than_the_till_said(patch: pytest.MonkeyPatch) -> None:
    def more(connection: Any, vouchers: list[RefundVoucher]) -> None:
        note_refunds(connection, vouchers)
        connection.exec_driver_sql("UPDATE refunds SET amount_rupiah = amount_rupiah + 1")

    patch.setattr(ingest, "note_refunds", more)


def forget_refunds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conclusions, "order_refunds", lambda *_: [])


def hold_for_nobody(patch: pytest.MonkeyPatch) -> None:
    """The rule holds also what nobody says was paid."""
    patch.setattr(overdue, "_may_be_held", lambda _: True)


def move_and_keep(patch: pytest.MonkeyPatch) -> None:
    """A credit that was moved to the new card waits for the old one all the same."""
    patch.setattr(replacement, "_set_state", say_nothing)


def restore_to_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replacement, "_restore", say_nothing)


def restore_to_somebody_else(patch: pytest.MonkeyPatch) -> None:
    """To the first card in force there is."""

    def anybody(connection: Any, _uid: bytes) -> bytes:
        query = (
            "SELECT uid FROM cards WHERE state = 'active' AND member_number <> 1001 ORDER BY serial"
        )
        (uid,) = connection.exec_driver_sql(query).first()
        return bytes(uid)

    patch.setattr(replacement, "card_in_force", anybody)


def take_nothing_for_a_shortfall(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        replacement,
        "_cover",
        lambda connection, uid, _: balance_on_card(connection, uid),
    )


def throw_refused_batches_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ingest, "keep_rejected", say_nothing)


def wait_for_no_till(patch: pytest.MonkeyPatch) -> None:
    """A sale that a till has not sent yet counts as one that never comes."""
    patch.setattr(conclusions._Conclusion, "_report", lambda *_: Report.WILL_NOT_COME)
    every_card = text(f"WITH {beside._MINE} SELECT card_uid, 1 FROM touched")  # noqa: S608 - ours
    patch.setattr(beside, "_UNDECIDED", every_card)


def leave_doubts_to_themselves(patch: pytest.MonkeyPatch) -> None:
    for module in (beside, overdue, conclusions):
        patch.setattr(module, "conclude", say_nothing)


def name_no_copy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ingest, "_SUSPICIOUS", frozenset())
    patch.setattr(conclusions._Conclusion, "_anomaly", say_nothing)


def sell_to_no_card(patch: pytest.MonkeyPatch) -> None:
    def check_card(*_: Any) -> None:
        raise CardExpired(expires="kemarin")

    patch.setattr(sale, "check_card", check_card)


def take_no_feed(patch: pytest.MonkeyPatch) -> None:
    def fetch_feed(*_: Any, **__: Any) -> None:
        raise StaleFeed(detail="planted")

    patch.setattr(synchronise, "fetch_feed", fetch_feed)


def believe_no_card_about_a_credit(patch: pytest.MonkeyPatch) -> None:
    """What a till garbled stays in doubt for ever."""
    patch.setattr(acts, "_settle_credit", say_nothing)


GARBLED = [TOP_UP, event(Deliver, at=0, card=0, is_garbled=True), AT_STATION]
COPY_IS_SPENT = [
    event(CopyCard, card=0),
    BUYS,
    SYNC,
    event(Purchase, till=1, card=0, amount=2_500, which=Which.COPY),
]
SPENT_AFTER_RESTORING = [
    event(Purchase, till=2, card=0, amount=60_000),
    LOSES,
    ISSUE,
    event(Sync, till=0),
    event(DaysPass, days=31),
    event(OfficeWork, chore=Chore.RESTORE_DUE),
    event(Sync, till=2),
]

MUTATIONS: list[tuple[str, Break, list[Callable[..., Event]]]] = [
    ("no-surprise", fail_in_a_way_nobody_foresaw, [event(Look, till=0, card=0)]),
    ("charged-once", charge_again_after_a_tear, [TORN_ONCE, BUYS]),
    ("charged-once", say_that_no_money_moved, [TORN_ONCE]),
    ("shown-paid-is-kept", forget_to_write_sales, [BUYS]),
    ("card-follows-vouchers", misread_the_cards_log, [TORN_ONCE, event(Look, till=0, card=0)]),
    ("card-follows-vouchers", keep_no_intent, [TORN_ONCE]),
    ("chain-unbroken", link_to_nothing, [BUYS]),
    ("credit-once", let_a_credit_out_without_evidence, [TOP_UP, AT_STATION]),
    ("credit-once", call_a_credit_delivered_that_is_not, [TOP_UP, AT_STATION]),
    ("money-conserved", order_more_than_was_paid_in, [TOP_UP]),
    ("ledger-true", functools.partial(post_more, conclusions, "delivered"), [TOP_UP, AT_STATION]),
    ("ledger-true", functools.partial(post_more, doubts, "claim-held"), A_CLAIM),
    ("ledger-true", functools.partial(post_more, replacement, "restored"), LOST_AND_RESTORED),
    ("ledger-true", restore_to_somebody_else, LOST_AND_RESTORED),
    ("ledger-true", move_and_keep, [TOP_UP, *LOST_AND_RESTORED]),
    ("ledger-true", take_nothing_for_a_shortfall, SPENT_AFTER_RESTORING),
    ("ledger-true", hold_for_nobody, [TORN_ONCE, SYNC, *A_CLAIM[3:]]),
    ("ledger-true", give_back_without_end, [BUYS, GIVES_BACK, GIVES_BACK, SYNC]),
    ("ledger-true", give_back_more_than_the_till_said, [BUYS, GIVES_BACK, SYNC]),
    (
        "nothing-dropped",
        throw_refused_batches_away,
        [BUYS, event(BlockTill, till=0, is_blocked=True), SYNC],
    ),
    (
        "no-false-alarm",
        wait_for_no_till,
        [BUYS, event(Purchase, till=1, card=0, amount=1_000), event(Sync, till=1)],
    ),
    ("books-agree", restore_to_nobody, LOST_AND_RESTORED),
    ("books-agree", forget_refunds, [BUYS, GIVES_BACK]),
    ("books-agree", leave_doubts_to_themselves, [TORN_UNPAID]),
    ("books-agree", believe_no_card_about_a_credit, GARBLED),
    ("copies-found", name_no_copy, COPY_IS_SPENT),
    ("all-work", sell_to_no_card, []),
    ("all-work", take_no_feed, []),
]


@pytest.mark.parametrize(
    ("oracle", "broken", "day"),
    MUTATIONS,
    ids=[
        f"{oracle}-{getattr(broken, '__name__', 'post_more')}-{number}"
        for number, (oracle, broken, _) in enumerate(MUTATIONS)
    ],
)
def test_a_thing_broken_in_the_real_code_is_found_by_its_oracle(
    monkeypatch: pytest.MonkeyPatch,
    oracle: str,
    broken: Break,
    day: list[Callable[..., Event]],
) -> None:
    broken(monkeypatch)
    outcome = run_events(at(*day))
    assert oracle in outcome.oracles, "\n".join(line.text for line in outcome.story)


def test_every_oracle_there_is_has_been_made_to_fail() -> None:
    assert {oracle for oracle, _, _ in MUTATIONS} == set(NAMES)


DAYS: dict[str, list[Callable[..., Event]]] = {
    "a claim": A_CLAIM,
    "a claim that was true": [TORN_ONCE, *A_CLAIM[1:]],
    "a wrong decision": [TORN_ONCE, event(Decide, till=0, doubts_ago=0, is_paid=False), SYNC, BUYS],
    "a refund of what a supervisor called paid": [
        TORN_UNPAID,
        event(Decide, till=0, doubts_ago=0, is_paid=True),
        GIVES_BACK,
        SYNC,
    ],
    "a lost card": LOST_AND_RESTORED,
    "a lost card that is spent": [
        *LOST_AND_RESTORED[:3],
        event(Purchase, till=2, card=0, amount=2_500, which=Which.LOST),
    ],
    "a lost card's credits": [TOP_UP, *LOST_AND_RESTORED],
    "a shortfall": SPENT_AFTER_RESTORING,
    "a garbled credit": [*GARBLED, event(SettleCredit, card=0), AT_STATION],
    "a copy": COPY_IS_SPENT,
    "a sale shown after a restart is given back": [TORN_ONCE, event(Restart, till=0), GIVES_BACK],
}


@pytest.mark.parametrize("name", DAYS)
def test_with_nothing_broken_no_oracle_speaks(name: str) -> None:
    outcome = run_events(at(*DAYS[name]))
    assert outcome.findings == (), "\n".join(line.text for line in outcome.story)
