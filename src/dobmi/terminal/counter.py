"""A counter: one thread that owns a till, and a state that everybody may look at.

    with Counter(make_till) as counter:
        counter.do(AskSale(request="5f3a…", purchase=Purchase(Rupiah(12_500)))).result()
        state = counter.changes(counter.state.version, timeout_seconds=20)

Whatever shows a till (the page, a test) goes through this, so that all have the same rules. The
thread looks for a card and for commands in turn, a tenth of a second at most for each; a card that
comes starts what was asked at once. Syncs run in a second thread, beside the sales.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any, Self, TypeVar, assert_never

from dobmi.cardlib.errors import (
    CardError,
    CardRemoved,
    GarbledResponse,
    NoCard,
    ReaderUnavailable,
)
from dobmi.cardlib.purse import PurseView
from dobmi.cardlib.purse_layout import LogRecord
from dobmi.cardlib.readers.base import CardConnection, Reader, Signal
from dobmi.errors import DoBMIError
from dobmi.terminal import sale
from dobmi.terminal.counter_state import (
    Acknowledge,
    AcknowledgeNotShown,
    AskBalance,
    Asked,
    AskLogin,
    AskRefund,
    AskSale,
    AskSync,
    Cancel,
    CardShown,
    Command,
    CounterState,
    DoubtShown,
    GiveUpDoubt,
    Movement,
    Phase,
    ReaderShown,
    Request,
    SettledShown,
)
from dobmi.terminal.errors import (
    AnotherCard,
    CardBlocked,
    CardExpired,
    CounterBusy,
    CounterClosed,
    CounterFault,
    NoCardCame,
    PaidNotRecorded,
    PriceClassDiffers,
    RequestDiffers,
    SaleInDoubt,
    StillInDoubt,
)
from dobmi.terminal.sale import SaleResult, Settled
from dobmi.terminal.sale_request import check_id
from dobmi.terminal.till import BalanceResult, Till

T = TypeVar("T")

_SLICE_SECONDS = 0.05
_SLICE_WITH_CARD_SECONDS = 0.02
"""Shorter: the total may be confirmed at any moment, and the card is there."""
_READER_RETRY_SECONDS = 1.0
_TILL_RETRY_SECONDS = 1.0
_STOPPED_LOOK_SECONDS = 30.0
_SYNC_RETRY_SECONDS_MAX = 60.0
_SYNC_JITTER = 0.2
_ENDED_KEPT = 100
_TRIES_IN_PLACE_MAX = 3
"""How often a card that is not lifted is tried anew, as after an answer that came garbled."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterTimes:
    """`sync_interval_seconds`: give or take a fifth, so that not all tills come at once; 0: no sync
    but on demand.
    """

    card_wait_seconds: float = 60.0
    sync_interval_seconds: float = 300.0


@dataclass(slots=True)
class _Stay:
    """A card from when it was laid down until it is lifted. `connection` is None for one that the
    reader cannot connect to, for the reason `error`. `is_spent`: it has had its turn.
    """

    connection: CardConnection | None
    error: DoBMIError | None = None
    card: CardShown | None = None
    settled: list[Settled] = field(default_factory=list)
    is_spent: bool = False

    @property
    def uid(self) -> bytes | None:
        return None if self.connection is None else self.connection.uid


class Counter:
    """See the module, and counter_state.CounterLike for its methods. Thread-safe."""

    def __init__(
        self,
        make_till: Callable[[], Till],
        times: CounterTimes = CounterTimes(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        random_number: Callable[[], float] = random.random,
    ) -> None:
        """`make_till` is called in the counter's thread, and again when the till could not be opened.
        `random_number()` is at least 0 and below 1.
        """
        self._make_till = make_till
        self._times = times
        self._monotonic = monotonic
        self._random_number = random_number
        self._changed = Condition()
        self._state = CounterState()
        self._watchers: list[Callable[[CounterState], None]] = []
        self._queue: deque[tuple[Callable[[Till], Any], Future[Any]]] = deque()
        self._queued = Condition()
        self._closing = Event()
        self._sync_wanted = Event()
        self._worker = Thread(target=self._work, name="counter", daemon=True)
        self._syncer = Thread(target=self._sync_again_and_again, name="sync", daemon=True)
        self._ended: OrderedDict[str, tuple[Request, CounterState]] = OrderedDict()
        # The worker's own from here on.
        self._till: Till | None = None
        self._request: Request | None = None
        self._doubt: DoubtShown | None = None
        self._stay: _Stay | None = None
        self._tries_in_place = 0
        self._deadline = 0.0
        self._reader_retry_at = 0.0
        self._stopped_look_at = 0.0
        self._settled_seen = 0

    def start(self) -> None:
        self._worker.start()
        self._syncer.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End both threads; a sale that has begun is finished before. What waits is refused."""
        self._closing.set()
        self._sync_wanted.set()
        with self._queued:
            self._queued.notify_all()
        for thread in (self._worker, self._syncer):
            if thread.is_alive():
                thread.join(timeout_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # For everybody

    @property
    def state(self) -> CounterState:
        return self._state

    def do(self, command: Command) -> Future[None]:
        """See CounterLike."""
        if isinstance(command, AskSync):
            self._sync_wanted.set()
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self.run(lambda till: self._take(till, command))

    def run(self, work: Callable[[Till], T]) -> Future[T]:
        """See CounterLike."""
        future: Future[T] = Future()
        with self._queued:
            if self._closing.is_set():
                future.set_exception(CounterClosed())
            else:
                self._queue.append((work, future))
                self._queued.notify_all()
        return future

    def ended(self, request: str) -> CounterState | None:
        """See CounterLike."""
        with self._changed:
            found = self._ended.get(request)
        return None if found is None else found[1]

    def changes(self, after_version: int, timeout_seconds: float | None = None) -> CounterState:
        """See CounterLike."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.version > after_version, timeout_seconds)
            return self._state

    def watch(self, on_change: Callable[[CounterState], None]) -> Callable[[], None]:
        """See CounterLike."""
        with self._changed:
            self._watchers.append(on_change)

        def end() -> None:
            with self._changed, contextlib.suppress(ValueError):  # ended before
                self._watchers.remove(on_change)

        return end

    # The worker

    def _work(self) -> None:
        while not self._closing.is_set():
            error: DoBMIError
            try:
                with self._make_till() as till:
                    try:
                        self._open(till)
                        while not self._closing.is_set():
                            self._step(till)
                    finally:
                        self._till = None
                        self._end_stay()
                continue
            except DoBMIError as reason:
                error = reason
            except Exception:  # noqa: BLE001 - a fault anywhere in a sale is survived as a crash is
                # As after a crash: the till is opened anew, and its ledger says how things stand.
                _log.exception("the counter begins anew")
                error = CounterFault()
            self._show(Phase.STARTING, error=error)
            self._refuse_queue(error, _TILL_RETRY_SECONDS)
        self._refuse_queue(CounterClosed(), 0)

    def _open(self, till: Till) -> None:
        self._till = till
        self._settled_seen = 0
        self._tell_shown(till)
        lost, self._request, self._doubt = self._request, None, None
        self._show_rest()
        if isinstance(lost, AskSale):
            self._begin(till, lost, after_fault=True)
        elif lost is not None:
            self._request = lost
            self._finish(till, Phase.REFUSED, error=CounterFault())

    def _step(self, till: Till) -> None:
        self._run_queue(till)
        now = self._monotonic()
        if self._state.phase is Phase.WAITING and now >= self._deadline:
            seconds = f"{self._times.card_wait_seconds:g}"
            self._finish(till, Phase.REFUSED, error=NoCardCame(seconds=seconds))
        if now >= self._stopped_look_at and not self._state.phase.is_busy:
            self._look_whether_stopped(till)
        if now < self._reader_retry_at:
            with self._queued:
                self._queued.wait_for(lambda: self._queue or self._closing.is_set(), _SLICE_SECONDS)
            return
        try:
            self._look(till, till.opened_reader())
        except (ReaderUnavailable, NoCard) as error:
            self._reader_gone(till, error)

    def _look(self, till: Till, reader: Reader) -> None:
        """Serve the card that is there, or wait a little for one, or for its removal."""
        stay = self._stay
        if stay is None:
            came = reader.wait_for_card(_SLICE_SECONDS)
            self._reader_there(reader)
            if came:
                self._card_came(till, reader)
            else:
                self._tries_in_place = 0
        elif self._request is not None and not stay.is_spent:
            self._serve_card(till, stay, self._request)
        elif reader.wait_for_removal(_SLICE_WITH_CARD_SECONDS):
            self._card_left()

    # Commands

    def _run_queue(self, till: Till) -> None:
        while True:
            with self._queued:
                if not self._queue:
                    return
                work, future = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._stopped_look_at = 0.0
            try:
                future.set_result(work(till))
            except DoBMIError as error:
                future.set_exception(error)
            except Exception as error:
                future.set_exception(error)
                raise

    def _refuse_queue(self, error: DoBMIError, seconds: float) -> None:
        """Everything that comes within so many seconds."""
        until = self._monotonic() + seconds
        while True:
            with self._queued:
                refused = list(self._queue)
                self._queue.clear()
            for _, future in refused:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
            left = until - self._monotonic()
            if left <= 0 or self._closing.is_set():
                return
            with self._queued:
                self._queued.wait_for(lambda: self._queue or self._closing.is_set(), left)

    def _take(self, till: Till, command: Command) -> None:
        match command:
            case AskSale() | AskBalance() | AskLogin() | AskRefund():
                self._take_request(till, command)
            case Cancel():
                is_it = command.request in {None, self._state.request}
                if is_it and self._state.phase is Phase.WAITING:
                    self._cancel()
            case GiveUpDoubt():
                if self._state.phase is Phase.IN_DOUBT:
                    error = self._state.error
                    till.give_up()
                    self._finish(till, Phase.DOUBT_LEFT, doubt=self._doubt, error=error)
            case Acknowledge():
                if command.request in {None, self._state.request}:
                    self._acknowledge(till)
            case AcknowledgeNotShown():
                till.forget_not_shown()
                self._tell_shown(till)
            case AskSync():
                self._sync_wanted.set()
            case _:
                assert_never(command)

    def _acknowledge(self, till: Till) -> None:
        self._settled_seen = len(till.settled)
        self._show_settled(till)
        if self._state.phase.is_final:
            till.mark_shown()
            self._show_rest()

    def _take_request(self, till: Till, request: Request) -> None:
        id_ = request.request
        check_id(id_)
        if self._request is not None and self._request.request == id_:
            if self._request != request:
                raise RequestDiffers
            return
        known = self._ended.get(id_)
        if known is not None and known[0] != request:
            raise RequestDiffers
        waiting = isinstance(request, AskSale) and request.instead_of
        if known is None and waiting:
            is_waiting = self._request is not None and self._request.request == waiting
            if not is_waiting or self._state.phase is not Phase.WAITING:
                raise CounterBusy
            self._cancel()
        if self._request is not None:
            raise CounterBusy
        if known is not None:
            self._show_again(known[1])
            return
        self._begin(till, request)

    def _begin(self, till: Till, request: Request, *, after_fault: bool = False) -> None:
        """Do what must be done before a card is asked; then wait for one."""
        till.mark_shown()
        self._request = request
        try:
            match request:
                case AskSale():
                    paid = till.bind_sale(
                        request.request,
                        request.purchase,
                        member_class=request.member_class or "",
                        order=request.order,
                    )
                    if paid is not None:
                        self._paid(till, paid)
                        return
                    if after_fault:
                        raise CounterFault
                case AskRefund():
                    self._show(Phase.WORKING)
                    found = till.refund(
                        request.sale,
                        request.amount,
                        reason=request.reason,
                        supervisor=request.supervisor,
                        goods=request.goods,
                        request=request.request,
                    )
                    self._finish(till, Phase.REFUNDED, refund=found)
                    return
                case AskBalance() | AskLogin():
                    pass
                case _:
                    assert_never(request)
        except SaleInDoubt as error:
            self._in_doubt(till, error)
        except RequestDiffers:
            self._request = None
            raise
        except DoBMIError as error:
            self._finish(till, Phase.REFUSED, error=error)
        else:
            self._wait_for_card(till)

    def _wait_for_card(self, till: Till, error: DoBMIError | None = None) -> None:
        """`error`: why the last one did not do; no money moved."""
        self._deadline = self._monotonic() + self._times.card_wait_seconds
        self._show(
            Phase.WAITING,
            error=error,
            card=self._card_that_waits(),
            wait_ends_unix_seconds=till.clock.now() + int(self._times.card_wait_seconds),
        )
        if self._stay is None or self._stay.is_spent:
            till.signal(Signal.READY)

    def _cancel(self) -> None:
        self._show(Phase.IDLE, is_end=True)
        self._request = None
        self._stopped_look_at = 0.0
        self._show_rest()

    # The card

    def _card_came(self, till: Till, reader: Reader) -> None:
        try:
            self._stay = _Stay(reader.connect())
        except (NoCard, CardRemoved):
            return
        except ReaderUnavailable:
            raise
        except CardError as error:
            self._stay = _Stay(None, error)
        if self._tries_in_place >= _TRIES_IN_PLACE_MAX:
            self._stay.is_spent = True
            self._publish(lift_card=True)
        if self._request is None:
            self._read_before(till, self._stay)
        elif self._state.card is not None and self._state.card.uid == self._stay.uid:
            self._stay.card = self._state.card  # until it has been read again

    def _read_before(self, till: Till, stay: _Stay) -> None:
        """A card that comes before anything is asked of it."""
        if stay.connection is not None:
            try:
                found, stay.settled = till.read_card(stay.connection)
                stay.card = _card_shown(found)
            except (CardRemoved, NoCard):
                self._end_stay()
                return
            except ReaderUnavailable:
                self._end_stay()
                raise
            except DoBMIError as error:
                stay.error = error
        self._show_settled(till)
        self._show_rest()

    def _serve_card(self, till: Till, stay: _Stay, request: Request) -> None:
        self._show(Phase.WORKING, card=stay.card, doubt=self._doubt)
        try:
            if stay.connection is None:
                assert stay.error is not None
                raise stay.error if self._doubt is None else till.another_card(self._doubt.uid)
            match request:
                case AskSale():
                    self._sell(till, stay, stay.connection, request)
                case AskBalance():
                    found, _ = till.read_card(stay.connection, with_log=True)
                    stay.card = _card_shown(found, till.identity.terminal_id)
                    self._show_settled(till)
                    self._finish(till, Phase.BALANCE, card=stay.card, signal=Signal.SUCCESS)
                case AskLogin():
                    found, _ = till.read_card(stay.connection)
                    _check_in_force(found)
                    stay.card, stay.is_spent = _card_shown(found), True
                    self._show_settled(till)
                    self._finish(till, Phase.LOGIN, card=stay.card, signal=Signal.SUCCESS)
                case AskRefund():
                    msg = "a refund needs no card"
                    raise AssertionError(msg)
                case _:
                    assert_never(request)
        except DoBMIError as error:
            self._card_failed(till, stay, error)

    def _sell(self, till: Till, stay: _Stay, connection: CardConnection, request: AskSale) -> None:
        def see(view: PurseView) -> None:
            stay.card = _card_shown(till.describe(view))
            self._publish(card=stay.card)
            wanted = request.member_class
            if wanted not in {None, stay.card.member_class} and not stay.card.is_expired:
                raise PriceClassDiffers(
                    holder=stay.card.holder,
                    card_class=stay.card.member_class,
                    cart_class=wanted or "",
                )

        sold = till.sell_to(
            connection,
            request.purchase,
            only_card=None if self._doubt is None else self._doubt.uid,
            settled_before=stay.settled,
            request=request.request,
            see=see,
        )
        self._paid(till, sold)

    def _paid(self, till: Till, sold: SaleResult) -> None:
        """It is on disk."""
        if self._stay is not None:
            self._stay.is_spent = True
        self._finish(till, Phase.PAID, sale=sold, last_sale=sold, signal=Signal.SUCCESS)
        self._show_settled(till, besides=sold.sequence)

    def _card_failed(self, till: Till, stay: _Stay, error: DoBMIError) -> None:
        match error:
            case StillInDoubt():
                stay.is_spent = True
                doubt = _doubt_shown(error)
                self._finish(
                    till, Phase.DOUBT_LEFT, doubt=doubt, error=error, signal=Signal.FAILURE
                )
            case SaleInDoubt():
                if isinstance(error, AnotherCard):
                    stay.is_spent = True
                else:
                    self._try_in_place()
                self._in_doubt(till, error, stay.card)
            case PaidNotRecorded():
                assert stay.connection is not None
                doubt = DoubtShown(
                    sequence=error.sequence,
                    uid=stay.connection.uid,
                    holder=error.holder,
                    amount=error.amount,
                )
                self._doubt = doubt
                stay.is_spent = True
                self._show(Phase.IN_DOUBT, doubt=doubt, error=error, card=stay.card)
                till.signal(Signal.FAILURE)
            case CardRemoved() | NoCard() | GarbledResponse() | ReaderUnavailable():
                self._try_in_place()
                self._wait_for_card(till, error)
                if isinstance(error, ReaderUnavailable):
                    raise error
            case _:
                stay.is_spent = isinstance(error, PriceClassDiffers)
                self._finish(till, Phase.REFUSED, error=error, signal=Signal.FAILURE)
        self._show_settled(till)

    def _in_doubt(self, till: Till, error: SaleInDoubt, card: CardShown | None = None) -> None:
        self._doubt = _doubt_shown(error)
        # A card that is not the one in doubt is not shown.
        card = card if card is not None and card.uid == error.uid else None
        self._show(Phase.IN_DOUBT, doubt=self._doubt, error=error, card=card)
        till.signal(Signal.FAILURE)

    def _try_in_place(self) -> None:
        """The connection has ended; a card that still lies there is connected to anew, not for ever."""
        self._tries_in_place += 1
        self._end_stay()

    def _card_left(self) -> None:
        self._tries_in_place = 0
        self._end_stay()
        if self._state.phase is Phase.CARD_HERE:
            self._show_rest()
        elif self._state.lift_card:
            self._publish(lift_card=False)

    def _end_stay(self) -> None:
        stay, self._stay = self._stay, None
        if stay is not None and stay.connection is not None:
            stay.connection.disconnect()

    # The reader

    def _reader_there(self, reader: Reader) -> None:
        shown = self._state.reader
        if not shown.is_there or shown.name != reader.name:
            self._publish(reader=ReaderShown(name=reader.name))

    def _reader_gone(self, till: Till, error: DoBMIError) -> None:
        self._end_stay()
        self._tries_in_place = 0
        with contextlib.suppress(DoBMIError):  # it has gone
            till.drop_reader()
        self._reader_retry_at = self._monotonic() + _READER_RETRY_SECONDS
        before = self._state.reader
        if before.error is None or str(before.error) != str(error):
            self._publish(reader=ReaderShown(name=before.name, error=error))
        if self._state.phase is Phase.CARD_HERE:
            self._show_rest()

    # What is shown

    def _finish(
        self, till: Till, phase: Phase, *, signal: Signal | None = None, **changes: object
    ) -> None:
        """The end of the request under way."""
        assert self._request is not None
        if self._stay is not None:
            changes.setdefault("card", self._stay.card)
        self._tell_shown(till)
        self._show(phase, is_end=True, **changes)
        self._request = self._doubt = None
        self._stopped_look_at = 0.0
        if signal is not None:
            till.signal(signal)

    def _show_again(self, ended: CounterState) -> None:
        """How an earlier request ended, if it is not on show already."""
        if ended.phase.is_final and self._state.request != ended.request:
            self._show(ended.phase, **{name: getattr(ended, name) for name in _SCENE})

    def _show_rest(self) -> None:
        """Nothing is asked: idle, or the card that lies there."""
        stay = self._stay
        if stay is None or stay.is_spent:
            self._show(Phase.IDLE)
        else:
            self._show(Phase.CARD_HERE, card=stay.card, error=stay.error)

    def _card_that_waits(self) -> CardShown | None:
        """Which lies there, and has not had its turn."""
        return None if self._stay is None or self._stay.is_spent else self._stay.card

    def _show_settled(self, till: Till, besides: int | None = None) -> None:
        """What cards have answered since the last Acknowledge; but for what is on show anyway."""
        new = [one for one in till.settled[self._settled_seen :] if one.intent.sequence != besides]
        shown = tuple(map(_settled_shown, new))
        if shown != self._state.settled:
            self._publish(settled=shown)

    def _tell_shown(self, till: Till) -> None:
        """What a crash may have kept from the cashier."""
        sales = tuple(sale.already_paid(intent, hash_) for intent, hash_ in till.not_shown)
        refunds = tuple(
            till.refund_result(voucher, already_written=True) for voucher in till.refunds_not_shown
        )
        if (sales, refunds) != (self._state.not_shown, self._state.refunds_not_shown):
            self._publish(not_shown=sales, refunds_not_shown=refunds)

    def _look_whether_stopped(self, till: Till) -> None:
        self._stopped_look_at = self._monotonic() + _STOPPED_LOOK_SECONDS
        stopped = till.why_not()
        before = self._state.stopped
        if (stopped and str(stopped)) != (before and str(before)):
            self._publish(stopped=stopped)

    def _show(self, phase: Phase, *, is_end: bool = False, **changes: object) -> None:
        """The worker's: of the request under way, all that is not named is shown no more."""
        request = self._request
        scene = dict.fromkeys(_SCENE) | changes
        if request is not None:
            scene |= {"request": request.request, "asked": _ASKED[type(request)]}
        if isinstance(request, AskSale):
            scene |= {"purchase": request.purchase, "member_class": request.member_class}
        lift_card = self._stay is not None and self._stay.is_spent
        self._change(
            lambda state: state.after(phase=phase, lift_card=lift_card, **scene),
            request if is_end else None,
        )

    def _publish(self, **changes: object) -> None:
        self._change(lambda state: state.after(**changes))

    def _change(
        self, change: Callable[[CounterState], CounterState], ended: Request | None = None
    ) -> None:
        with self._changed:
            self._state = state = change(self._state)
            if ended is not None:
                self._ended[ended.request] = (ended, state)
                while len(self._ended) > _ENDED_KEPT:
                    self._ended.popitem(last=False)
            self._changed.notify_all()
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher(state)

    # Sync

    def _sync_again_and_again(self) -> None:
        """All of a network's tills start at once after a power cut: so also the first waits a little."""
        interval = self._times.sync_interval_seconds
        seconds = interval * _SYNC_JITTER * self._random_number()
        while True:
            self._sync_wanted.wait(seconds if interval else None)
            if self._closing.is_set():
                return
            self._sync_wanted.clear()
            till = self._till
            if till is None:
                self._closing.wait(_TILL_RETRY_SECONDS)
                seconds = 0.0
                continue
            seconds = self.sync_pause_seconds(went_well=self._sync(till))

    def sync_pause_seconds(self, *, went_well: bool) -> float:
        """Drawn anew with every call."""
        pause = self._times.sync_interval_seconds
        if not went_well:
            pause = min(pause, _SYNC_RETRY_SECONDS_MAX)
        return pause * (1 + _SYNC_JITTER * (2 * self._random_number() - 1))

    def _sync(self, till: Till) -> bool:
        self._show_sync(is_running=True, done=0, total=0)
        try:
            result = till.sync_beside(lambda done, total: self._show_sync(done=done, total=total))
        except DoBMIError as error:
            self._show_sync(is_running=False, error=error)
            return False
        except Exception:  # noqa: BLE001 - the next sync is tried all the same
            _log.exception("the sync ended")
            self._show_sync(is_running=False, error=CounterFault())
            return False
        self._show_sync(
            is_running=False,
            error=None,
            result=result,
            result_unix_seconds=result.server_unix_seconds,
        )
        self.run(Till.learn_time)
        return True

    def _show_sync(self, **changes: Any) -> None:
        self._change(lambda state: state.after(sync=replace(state.sync, **changes)))


_SCENE = (
    "request",
    "asked",
    "purchase",
    "member_class",
    "card",
    "sale",
    "refund",
    "doubt",
    "error",
    "wait_ends_unix_seconds",
)
"""What a state says of one request."""
_ASKED = {
    AskSale: Asked.SALE,
    AskBalance: Asked.BALANCE,
    AskLogin: Asked.LOGIN,
    AskRefund: Asked.REFUND,
}


def _check_in_force(found: BalanceResult) -> None:
    """Raises CardBlocked, CardExpired."""
    if found.is_blocked:
        raise CardBlocked
    if found.is_expired:
        raise CardExpired(expires=found.holder.expires.strftime("%d-%m-%Y"))


def _card_shown(found: BalanceResult, terminal_id: int | None = None) -> CardShown:
    """`terminal_id`: this till's, where the log was read."""
    return CardShown(
        uid=found.card_uid,
        holder=found.holder.name,
        member_number=found.holder.member_number,
        member_class=found.note.member_class,
        balance=found.balance,
        expires=found.holder.expires,
        is_expired=found.is_expired,
        is_blocked=found.is_blocked,
        credit_waiting=found.has_credit_waiting,
        photo=found.note.photo,
        movements=None
        if found.records is None
        else tuple(_movement(record, terminal_id) for record in found.records),
    )


def _movement(record: LogRecord, terminal_id: int | None) -> Movement:
    return Movement(
        kind=record.kind,
        amount=record.amount,
        balance_after=record.balance_after,
        unix_seconds=record.unix_seconds,
        terminal_id=record.terminal_id,
        sequence=record.sequence,
        here=record.terminal_id == terminal_id,
    )


def _doubt_shown(error: SaleInDoubt) -> DoubtShown:
    return DoubtShown(
        sequence=error.sequence, uid=error.uid, holder=error.holder, amount=error.amount
    )


def _settled_shown(one: Settled) -> SettledShown:
    return SettledShown(
        sequence=one.intent.sequence,
        holder=one.intent.holder,
        amount=one.intent.amount,
        unix_seconds=one.intent.unix_seconds,
        outcome=one.outcome,
        goods=one.intent.goods,
        decided=None if one.decision is None else one.decision.outcome,
    )
