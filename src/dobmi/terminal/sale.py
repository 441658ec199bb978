"""The sale of the system's design, section 5: nine exchanges with the card, three durable steps.

    begin_sale      6  select, authentication 2, reader id, holder, value
    (intent durable, written by another thread while the card works on the next)
    stage           2  debit, record
    commit          1
    (voucher durable)
    paid

Whatever happens between two steps, the ledger as it then is tells a restarted till what to do:
nothing there: the card forgot it too. An intent without a voucher: in doubt. A voucher: that is it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import assert_never

from dobmi.cardlib.errors import CardError, CardRefused, CardRemoved, CustodyUnavailable
from dobmi.cardlib.pin import Pin
from dobmi.cardlib.purse import CardTrail, Purse, PurseView
from dobmi.cardlib.purse_layout import ReaderId
from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import Limits, SettledAs, Settlement
from dobmi.sync.voucher import GoodsLine, Outcome, VoidReason
from dobmi.terminal.card_pin import Attempt, needs_pin, pin_limit
from dobmi.terminal.chain import Chain
from dobmi.terminal.clock import ClockReading, TillClock
from dobmi.terminal.doubt import Verdict, judge
from dobmi.terminal.errors import (
    CardBlocked,
    CardExpired,
    CardKeysPast,
    ClockAhead,
    LedgerError,
    PaidNotRecorded,
    PinNeeded,
    SaleInDoubt,
    StillInDoubt,
    SyncTooOld,
    TooManyUnsent,
    TooMuchUnsent,
)
from dobmi.terminal.ledger import Decision, DoubtRow, IntentRow, Ledger
from dobmi.terminal.purchase import Purchase
from dobmi.wib import day_of

_SECONDS_PER_HOUR = 3600
_SECONDS_PER_DAY = 24 * _SECONDS_PER_HOUR
PROVED_BY_THE_CARD = "card"
"""The rule of the feed's settlements that the card's later transactions prove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleResult:
    """A sale that is paid, and written down.

    `already_paid`: it was paid before (the card was in doubt, or the till stopped before showing
    it), and nothing was charged now. `exchanges` counts those of this tap with the card.
    """

    sequence: int
    voucher_hash: bytes
    card_uid: bytes
    member_number: int
    holder: str
    amount: Rupiah
    balance_before: Rupiah
    balance_after: Rupiah
    unix_seconds: int
    goods: tuple[GoodsLine, ...]
    already_paid: bool = False
    exchanges: int = 0
    credited: Rupiah = ZERO
    """What waited for the card and was put on it before the debit."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A sale in doubt and what the card told of it; None: it cannot tell any more.

    `decision`: a supervisor had closed it, and the member was dealt with.
    """

    intent: IntentRow
    outcome: Outcome | None
    voucher_hash: bytes
    decision: Decision | None = None


@dataclass(slots=True, kw_only=True)
class Desk:
    """What a sale works with. `writer` runs one task at a time, beside the card."""

    ledger: Ledger
    chain: Chain
    clock: TillClock
    writer: Executor
    monotonic: Callable[[], float] = time.monotonic
    commits_sent: dict[int, float] = field(default_factory=dict)
    """When this process sent the commit of an intent (monotonic seconds)."""
    writing: Future[None] | None = None
    """The newest intent's write; done before anyone asks the ledger for the open intent."""


def check_offline_limits(ledger: Ledger, amount: Rupiah, clock: ClockReading) -> None:
    """When the till must sync, or its machine's clock be set, before it sells.

    Raises ClockAhead, SyncTooOld, TooManyUnsent, TooMuchUnsent.
    """
    state, unsent = ledger.sync_state(), ledger.unsent()
    limits = state.limits
    age = clock.unix_seconds + clock.ahead_seconds - state.synced_unix_seconds
    if clock.ahead_seconds:
        raise ClockAhead(days=age // _SECONDS_PER_DAY)
    if age > limits.sync_age_seconds_max:
        raise SyncTooOld(
            hours=age // _SECONDS_PER_HOUR,
            hours_max=limits.sync_age_seconds_max // _SECONDS_PER_HOUR,
        )
    if unsent.count >= limits.unsent_vouchers_max:
        raise TooManyUnsent(count=unsent.count, limit=limits.unsent_vouchers_max)
    total = unsent.total + amount
    if total > limits.unsent_total_max:
        raise TooMuchUnsent(total=total, limit=limits.unsent_total_max)


def settle_doubts(desk: Desk, purse: Purse) -> list[Settled]:
    """Ask the card of its sales in doubt at this till, and write down what it answers.

    No exchange for a card that has none. Raises SaleInDoubt when the card left before it told of
    the sale just made, CardError when it did so before telling of older ones.
    """
    finish_writing(desk)
    open_intent = desk.ledger.open_intent()
    if open_intent is not None and (
        open_intent.card_uid != purse.uid or desk.chain.knows_ending_of(open_intent)
    ):
        desk.chain.end_open_intent()
        # Its paid answer may have been known, and only now could be written down.
        paid = desk.ledger.paid_hash(open_intent.sequence)
        answered = _ask(desk, purse, None)
        if open_intent.card_uid == purse.uid and paid is not None:
            answered.append(Settled(open_intent, Outcome.PAID, paid))
        return answered
    return _ask(desk, purse, open_intent)


def _ask(desk: Desk, purse: Purse, open_intent: IntentRow | None) -> list[Settled]:
    doubts = list(desk.ledger.unanswered(purse.uid))
    if open_intent is not None:
        doubts.append(DoubtRow(intent=open_intent, resolution=None, settlement=None, decision=None))
    if not doubts:
        return []
    try:
        trail = purse.read_trail()
    except (CardError, CustodyUnavailable) as error:
        if open_intent is None:
            raise
        raise in_doubt(open_intent) from error
    answers = [_answer(desk, doubt, trail, is_open=doubt.intent is open_intent) for doubt in doubts]
    return [
        replace(answer, decision=doubt.decision)
        for answer, doubt in zip(answers, doubts, strict=True)
        if answer.outcome is not None or doubt.is_open
    ]


def _answer(desk: Desk, doubt: DoubtRow, trail: CardTrail, *, is_open: bool) -> Settled:
    """Write down what the card's log tells of a doubt; an open intent gets its own voucher first."""
    chain, intent = desk.chain, doubt.intent
    sent = desk.commits_sent.get(intent.sequence)
    retap_seconds = None if sent is None else desk.monotonic() - sent
    verdict = judge(intent, chain.identity.terminal_id, trail, retap_seconds)
    if is_open and verdict is Verdict.PAID_LAST and trail.last is not None:
        return Settled(intent, Outcome.PAID, chain.write_sale(intent, trail.last))
    if is_open:
        chain.write_in_doubt(intent)
    match verdict:
        case Verdict.PAID_LAST:
            return Settled(
                intent, Outcome.PAID, chain.write_resolution(intent, Outcome.PAID, trail.last)
            )
        case Verdict.PAID_EARLIER:
            return Settled(intent, Outcome.PAID, chain.write_resolution(intent, Outcome.PAID))
        case Verdict.NOT_PAID:
            return Settled(
                intent, Outcome.NOT_PAID, chain.write_resolution(intent, Outcome.NOT_PAID)
            )
        case Verdict.UNKNOWN:
            proved = _proved_elsewhere(doubt.settlement)
            if proved is None:
                return Settled(intent, None, b"")
            return Settled(intent, proved, chain.write_resolution(intent, proved))
        case _:
            assert_never(verdict)


def _proved_elsewhere(settlement: Settlement | None) -> Outcome | None:
    """What the central server found by the card's own transactions, when its log here is too short."""
    if settlement is None or settlement.rule != PROVED_BY_THE_CARD:
        return None
    return {SettledAs.PAID: Outcome.PAID, SettledAs.NOT_PAID: Outcome.NOT_PAID}.get(
        settlement.outcome
    )


def same_sale(purchase: Purchase, settled: list[Settled]) -> SaleResult | None:
    """The sale in doubt that `purchase` is, if the card paid it: the same card, the same amount.

    A sale in doubt was never shown as paid, so its goods are still here. Raises StillInDoubt when
    the card cannot tell: then another debit might be a second one. What a supervisor closed was
    dealt with then.
    """
    same = [one for one in settled if one.intent.amount == purchase.amount and one.decision is None]
    paid = [one for one in same if one.outcome is Outcome.PAID]
    if paid:
        return already_paid(paid[-1].intent, paid[-1].voucher_hash)
    unknown = [one.intent for one in same if one.outcome is None]
    if unknown:
        raise in_doubt(unknown[-1], StillInDoubt)
    return None


def sell(
    desk: Desk,
    purse: Purse,
    purchase: Purchase,
    shift: int,
    *,
    request: str | None = None,
    pin: Pin | None = None,
    see: Callable[[PurseView], None] = lambda _: None,
) -> SaleResult:
    """Sell to the card behind `purse`, after `settle_doubts`: no intent is open.

    `pin`: as the member typed it; the card is asked for it where the amount needs one, and not else.

    `see` is told whose card it is and what is on it as soon as that is known, and refuses the sale by
    raising: nothing has been asked of the card's money then. `request` is what the intent comes of.

    Raises CardError (WrongPin and PinNotSet among them), CardBlocked, CardExpired, CardKeysPast,
    PinNeeded, CardPinLocked, InsufficientBalance, LedgerError: no money moved.
    SaleInDoubt: not known. PaidNotRecorded: paid, and known to be as long as this process lives.
    """
    sequence = desk.chain.next_sequence()
    if desk.ledger.is_blocked(purse.uid):
        raise CardBlocked
    reader_id = ReaderId(terminal_id=desk.chain.identity.terminal_id, sequence=sequence)
    with_pin = needs_pin(desk.ledger, purchase.amount)
    view = _begin(desk, purse, reader_id, pin) if with_pin else purse.begin_sale(reader_id)
    see(view)
    now = desk.clock.now()
    check_card(view, now, desk.ledger.sync_state().limits)
    prepared = purse.prepare_debit(purchase.amount, now)
    intent = IntentRow(
        sequence=sequence,
        card_uid=view.uid,
        member_number=view.holder.member_number,
        holder=view.holder.name,
        amount=purchase.amount,
        balance_before=prepared.balance_before,
        evidence=prepared.evidence,
        goods=purchase.goods,
        unix_seconds=now,
        shift=shift,
        cashier=desk.chain.cashier,
        with_pin=with_pin,
    )
    desk.writing = desk.writer.submit(desk.ledger.record_intent, intent, request)
    try:
        purse.stage(prepared)
    except Exception as error:
        _void(desk, intent, error)
        raise
    try:
        desk.writing.result()
    except LedgerError:
        _void(desk, intent, None)
        raise
    desk.commits_sent[sequence] = desk.monotonic()
    try:
        transaction = purse.commit()
    except Exception as error:
        raise in_doubt(intent) from error
    try:
        hash_ = desk.chain.write_sale(intent, transaction)
    except LedgerError as error:
        raise PaidNotRecorded(
            holder=intent.holder, amount=intent.amount, sequence=sequence
        ) from error
    del desk.commits_sent[sequence]
    return _result(intent, hash_, exchanges=purse.exchanges.count)


def _begin(desk: Desk, purse: Purse, reader_id: ReaderId, pin: Pin | None) -> PurseView:
    """The card has proved its PIN. Raises PinNeeded, CardPinLocked, CardError, LedgerError."""
    if pin is None:
        raise PinNeeded(limit=pin_limit(desk.ledger))
    attempt = Attempt(desk.ledger, purse.uid, desk.clock.now(), desk.writer)
    try:
        return purse.begin_sale(reader_id, pin=attempt.of(pin))
    except Exception as error:
        attempt.failed(error)
        raise


def check_card(view: PurseView, now: int, limits: Limits) -> None:
    """Raises CardExpired, CardKeysPast. The card's last valid day is one of Indonesia's west."""
    if day_of(now) > view.holder.expires:
        raise CardExpired(expires=view.holder.expires.strftime("%d-%m-%Y"))
    if keys_are_past(view, now, limits):
        raise CardKeysPast


def keys_are_past(view: PurseView, now: int, limits: Limits) -> bool:
    """Whether the card's keys are of a generation that is taken no more."""
    return 0 < view.key_generation < limits.keys_min_generation(now)


def finish_writing(desk: Desk) -> None:
    """Wait until no intent is being written any more, whether it could be or not."""
    if desk.writing is not None:
        with contextlib.suppress(LedgerError):  # who submitted it has said so
            desk.writing.result()
        desk.writing = None


def in_doubt(intent: IntentRow, kind: type[SaleInDoubt] = SaleInDoubt) -> SaleInDoubt:
    return kind(
        sequence=intent.sequence,
        uid=intent.card_uid,
        holder=intent.holder,
        amount=intent.amount,
    )


def already_paid(intent: IntentRow, voucher_hash: bytes) -> SaleResult:
    return _result(intent, voucher_hash, paid_before=True)


def _result(
    intent: IntentRow, voucher_hash: bytes, *, paid_before: bool = False, exchanges: int = 0
) -> SaleResult:
    return SaleResult(
        sequence=intent.sequence,
        voucher_hash=voucher_hash,
        card_uid=intent.card_uid,
        member_number=intent.member_number,
        holder=intent.holder,
        amount=intent.amount,
        balance_before=intent.balance_before,
        balance_after=intent.balance_after,
        unix_seconds=intent.unix_seconds,
        goods=intent.goods,
        already_paid=paid_before,
        exchanges=exchanges,
    )


def _void(desk: Desk, intent: IntentRow, error: Exception | None) -> None:
    """No commit was sent. If the intent is on disk, its number is taken: say that nothing moved.

    What cannot be written now is written before the next voucher; `error` is what is raised.
    """
    finish_writing(desk)
    match error:
        case CardRemoved():
            reason = VoidReason.CARD_REMOVED
        case CardRefused():
            reason = VoidReason.CARD_REFUSED
        case None:
            reason = VoidReason.CANCELLED
        case _:
            reason = VoidReason.READER_FAILED
    with contextlib.suppress(LedgerError):
        if desk.ledger.open_intent() is not None:
            desk.chain.write_void(intent, reason)
