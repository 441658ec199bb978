"""The steps of a counter: what a card, a command or nothing at all changes. For one thread.

    steps = CounterSteps(board)
    steps.open(till)
    while True:
        steps.step(till)

Between two steps nothing is half done, so that is when commands are taken (`take`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

from dobmi.cardlib.errors import (
    CardError,
    CardRemoved,
    GarbledResponse,
    NoCard,
    ReaderUnavailable,
    WrongPin,
)
from dobmi.cardlib.pin import Pin
from dobmi.cardlib.purse import PurseView
from dobmi.cardlib.purse_layout import LogRecord
from dobmi.cardlib.readers.base import CardConnection, Reader, Signal
from dobmi.errors import DoBMIError
from dobmi.sync.errors import RelayInterrupted, SyncError
from dobmi.terminal import sale
from dobmi.terminal.counter_board import Board
from dobmi.terminal.counter_state import (
    Acknowledge,
    AcknowledgeNotShown,
    AskBalance,
    Asked,
    AskLogin,
    AskRefund,
    AskSale,
    Cancel,
    CardShown,
    CounterState,
    CreditPhase,
    CreditShown,
    DoubtShown,
    GivePin,
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
    CardKeysPast,
    CardPinLocked,
    CounterBusy,
    CounterFault,
    NoCardCame,
    PaidNotRecorded,
    PinNeeded,
    PinNotGiven,
    PriceClassDiffers,
    RequestDiffers,
    SaleInDoubt,
    StillInDoubt,
)
from dobmi.terminal.sale import SaleResult, Settled
from dobmi.terminal.sale_request import check_id
from dobmi.terminal.till import BalanceResult, Till

CARD_WAIT_SECONDS = 60.0
SLICE_SECONDS = 0.05
"""How long a step looks for a card at most."""
_SLICE_WITH_CARD_SECONDS = 0.02
"""Shorter: the total may be confirmed at any moment, and the card is there."""
_READER_RETRY_SECONDS = 1.0
_STOPPED_LOOK_SECONDS = 30.0
_TRIES_IN_PLACE_MAX = 3
"""How often a card that is not lifted is tried anew, as after an answer that came garbled."""


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
    owed_after: int | None = None
    """The sale just paid, while money waits for its card and may come onto it still."""
    key_generation: int = 0
    """Of the card's keys, once it is done with and they may be renewed; 0: not now."""

    @property
    def uid(self) -> bytes | None:
        return None if self.connection is None else self.connection.uid


StepCommand = Request | GivePin | Cancel | GiveUpDoubt | Acknowledge | AcknowledgeNotShown
"""Every command but AskSync."""


class CounterSteps:
    """What is under way at a counter, and what it shows of it on `board`. See the module."""

    def __init__(
        self,
        board: Board,
        *,
        card_wait_seconds: float = CARD_WAIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._card_wait_seconds = card_wait_seconds
        self._monotonic = monotonic
        self._request: Request | None = None
        self._pin: Pin | None = None
        """As typed for the request, until that has its end."""
        self._doubt: DoubtShown | None = None
        self._stay: _Stay | None = None
        self._tries_in_place = 0
        self._deadline = 0.0
        self._reader_retry_at = 0.0
        self._stopped_look_at = 0.0
        self._settled_seen = 0

    def open(self, till: Till) -> None:
        """Begin with a till that has just been opened; after a fault, with the sale it was at."""
        self._settled_seen = 0
        self._stopped_look_at = self._reader_retry_at = 0.0
        self._tell_shown(till)
        lost, self._doubt, self._pin = self._request, None, None
        # Nothing is shown between: a request that is shown no more would look cancelled.
        if lost is None:
            self._show_rest()
        elif isinstance(lost, AskSale):
            self._begin(till, lost, after_fault=True)
        else:
            self._finish(till, Phase.REFUSED, error=CounterFault())

    def show_closed(self, error: DoBMIError) -> None:
        """The till is not open, for this reason."""
        self._show(Phase.STARTING, error=error)

    def let_go(self) -> None:
        """Of the card that lies there; before the till is closed."""
        self._end_stay()

    def look_again_whether_stopped(self) -> None:
        """Something may have changed that forbids sales, or allows them."""
        self._stopped_look_at = 0.0

    def step(self, till: Till) -> bool:
        """Look for a card, or its removal, for a twentieth of a second at most, and do what is asked.

        False where it did not look, since the reader is gone: then wait a little. Raises what makes
        it necessary to close the till and open it anew.
        """
        now = self._monotonic()
        if self._board.state.phase is Phase.WAITING and now >= self._deadline:
            seconds = f"{self._card_wait_seconds:g}"
            self._finish(till, Phase.REFUSED, error=NoCardCame(seconds=seconds))
        if self._board.state.phase is Phase.PIN and now >= self._deadline:
            seconds = f"{self._card_wait_seconds:g}"
            self._finish(till, Phase.REFUSED, error=PinNotGiven(seconds=seconds))
        if now >= self._stopped_look_at and not self._board.state.phase.is_busy:
            self._look_whether_stopped(till)
        if now < self._reader_retry_at:
            return False
        try:
            self._look(till, till.opened_reader())
        except (ReaderUnavailable, NoCard) as error:
            self._reader_gone(till, error)
        return True

    def _look(self, till: Till, reader: Reader) -> None:
        """Serve the card that is there, or wait a little for one, or for its removal."""
        stay = self._stay
        if stay is None:
            came = reader.wait_for_card(SLICE_SECONDS)
            self._reader_there(reader)
            if came:
                self._card_came(till, reader)
            else:
                self._tries_in_place = 0
        elif self._asks_of_card and not stay.is_spent:
            assert self._request is not None
            self._serve_card(till, stay, self._request)
        elif stay.owed_after is not None and self._board.state.phase is Phase.PAID:
            self._load_owed(till, stay, stay.owed_after)
        elif stay.key_generation and self._board.state.phase in {Phase.PAID, Phase.BALANCE}:
            self._roll_keys(till, stay)
        elif reader.wait_for_removal(_SLICE_WITH_CARD_SECONDS):
            self._card_left()

    @property
    def _asks_of_card(self) -> bool:
        """Whether a request is under way that is the card's turn, and not the member's to type."""
        return self._request is not None and self._board.state.phase is not Phase.PIN

    # Commands

    def take(self, till: Till, command: StepCommand) -> None:
        """See CounterLike.do."""
        match command:
            case AskSale() | AskBalance() | AskLogin() | AskRefund():
                self._take_request(till, command)
            case GivePin():
                self._take_pin(till, command)
            case Cancel():
                is_it = command.request in {None, self._board.state.request}
                if is_it and self._board.state.phase in {Phase.WAITING, Phase.PIN}:
                    self._cancel()
            case GiveUpDoubt():
                self._give_up_doubt(till)
            case Acknowledge():
                if command.request in {None, self._board.state.request}:
                    self._acknowledge(till)
            case AcknowledgeNotShown():
                till.forget_not_shown()
                self._tell_shown(till)
            case _:
                assert_never(command)

    def _take_pin(self, till: Till, command: GivePin) -> None:
        if self._board.state.phase is Phase.PIN and self._is_under_way(command.request):
            self._pin = command.pin
            self._wait_for_card(till)

    def _give_up_doubt(self, till: Till) -> None:
        if self._board.state.phase is Phase.IN_DOUBT:
            error = self._board.state.error
            till.give_up()
            self._finish(till, Phase.DOUBT_LEFT, doubt=self._doubt, error=error)

    def _acknowledge(self, till: Till) -> None:
        self._settled_seen = len(till.settled)
        self._show_settled(till)
        if self._board.state.phase.is_final:
            till.mark_shown()
            self._show_rest()

    def _take_request(self, till: Till, request: Request) -> None:
        id_ = request.request
        check_id(id_)
        if self._request is not None and self._request.request == id_:
            if self._request != request:
                raise RequestDiffers
            return
        known = self._board.end_of(id_)
        if known is not None and known[0] != request:
            raise RequestDiffers
        waiting = isinstance(request, AskSale) and request.instead_of
        if known is None and waiting:
            phase = self._board.state.phase
            if not self._is_under_way(waiting) or phase not in {Phase.WAITING, Phase.PIN}:
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
                    self._refund(till, request)
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
            self._ask_member(till, request)

    def _ask_member(self, till: Till, request: Request) -> None:
        """For the PIN, where the amount needs one; then, or else, for the card."""
        if isinstance(request, AskSale) and till.needs_pin(request.purchase.amount):
            self._ask_pin(till)
        else:
            self._wait_for_card(till)

    def _is_under_way(self, request: str) -> bool:
        return self._request is not None and self._request.request == request

    def _ask_pin(self, till: Till, error: DoBMIError | None = None) -> None:
        """`error`: why once more; no money moved. A card whose PIN is locked is asked for none."""
        self._pin = None
        card = self._card_that_waits()
        try:
            if card is not None:
                till.require_pin_free(card.uid)
        except CardPinLocked as locked:
            self._finish(till, Phase.REFUSED, error=locked, signal=Signal.FAILURE)
            return
        self._deadline = self._monotonic() + self._card_wait_seconds
        self._show(
            Phase.PIN,
            error=error,
            card=card,
            wait_ends_unix_seconds=till.clock.now() + int(self._card_wait_seconds),
        )

    def _refund(self, till: Till, request: AskRefund) -> None:
        self._show(Phase.WORKING)
        try:
            found = till.refund(
                request.sale,
                request.amount,
                reason=request.reason,
                supervisor=request.supervisor,
                goods=request.goods,
                request=request.request,
            )
        except RequestDiffers:
            self._request = None
            self._show_rest()
            raise
        self._finish(till, Phase.REFUNDED, refund=found)

    def _wait_for_card(self, till: Till, error: DoBMIError | None = None) -> None:
        """`error`: why the last one did not do; no money moved."""
        self._deadline = self._monotonic() + self._card_wait_seconds
        self._show(
            Phase.WAITING,
            error=error,
            card=self._card_that_waits(),
            wait_ends_unix_seconds=till.clock.now() + int(self._card_wait_seconds),
        )
        if self._stay is None or self._stay.is_spent:
            till.signal(Signal.READY)

    def _cancel(self) -> None:
        self._show(Phase.IDLE, is_end=True)
        self._request = self._pin = None
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
        elif self._board.state.card is not None and self._board.state.card.uid == self._stay.uid:
            self._stay.card = self._board.state.card  # until it has been read again

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
                    found, _ = till.read_and_load(
                        stay.connection, is_online=self._board.state.sync.error is None
                    )
                    stay.card = _card_shown(found, till.identity.terminal_id)
                    self._show_settled(till)
                    _roll_later(till, stay, found.key_generation)
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
        generation = 0

        def see(view: PurseView) -> None:
            nonlocal generation
            found = till.describe(view)
            stay.card = _card_shown(found)
            generation = found.key_generation
            self._publish(card=stay.card)
            till.check_member(found, member_class=request.member_class, order=request.order)

        sold = till.sell_to(
            connection,
            request.purchase,
            only_card=None if self._doubt is None else self._doubt.uid,
            settled_before=stay.settled,
            request=request.request,
            pin=self._pin,
            see=see,
        )
        _roll_later(till, stay, generation)
        self._paid(till, sold)

    def _load_owed(self, till: Till, stay: _Stay, sale: int) -> None:
        """The sale is paid, and shown; what waits for its card is put on it while it lies there."""
        stay.owed_after = None
        assert stay.connection is not None
        loaded = None
        with contextlib.suppress(RelayInterrupted):  # the card has gone: it comes at another tap
            loaded = till.load_in_passing(stay.connection, sale)
        if loaded is None:
            self._publish(credit=CreditShown(phase=CreditPhase.WAITS_ON))
            return
        if stay.card is not None:
            stay.card = replace(stay.card, balance=loaded.balance, credit_waiting=False)
        arrived = CreditShown(
            phase=CreditPhase.ARRIVED, amount=loaded.total, balance=loaded.balance
        )
        self._publish(credit=arrived if loaded.delivered else None, card=stay.card)

    def _roll_keys(self, till: Till, stay: _Stay) -> None:
        """What the member came for is done and shown; their card, while it lies there, gets new keys.

        Once for as long as it lies there. That it does not come about needs nobody: it does the
        next time.
        """
        generation, stay.key_generation = stay.key_generation, 0
        if stay.connection is None or not till.may_roll_keys(generation):  # the network, by now
            return
        with contextlib.suppress(SyncError):
            till.roll_keys(stay.connection)

    def _paid(self, till: Till, sold: SaleResult) -> None:
        """It is on disk."""
        stay, coming = self._stay, None
        if stay is not None:
            stay.is_spent = True
            waits = stay.card is not None and stay.card.credit_waiting and not sold.already_paid
            if waits and stay.connection is not None and till.may_load_in_passing():
                stay.owed_after = sold.sequence
                coming = CreditShown(phase=CreditPhase.COMING)
        self._finish(
            till, Phase.PAID, sale=sold, last_sale=sold, credit=coming, signal=Signal.SUCCESS
        )
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
            case WrongPin() | PinNeeded():
                till.signal(Signal.FAILURE)
                self._ask_pin(till, error)
            case (
                CardRemoved()
                | NoCard()
                | GarbledResponse()
                | ReaderUnavailable()
                | RelayInterrupted()
            ):
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
        if self._stay is not None and self._stay.owed_after is not None:
            self._publish(credit=CreditShown(phase=CreditPhase.WAITS_ON))
        self._end_stay()
        if self._board.state.phase is Phase.CARD_HERE:
            self._show_rest()
        elif self._board.state.lift_card:
            self._publish(lift_card=False)

    def _end_stay(self) -> None:
        stay, self._stay = self._stay, None
        if stay is not None and stay.connection is not None:
            stay.connection.disconnect()

    # The reader

    def _reader_there(self, reader: Reader) -> None:
        shown = self._board.state.reader
        if not shown.is_there or shown.name != reader.name:
            self._publish(reader=ReaderShown(name=reader.name))

    def _reader_gone(self, till: Till, error: DoBMIError) -> None:
        self._end_stay()
        self._tries_in_place = 0
        with contextlib.suppress(DoBMIError):  # it has gone
            till.drop_reader()
        self._reader_retry_at = self._monotonic() + _READER_RETRY_SECONDS
        before = self._board.state.reader
        if before.error is None or str(before.error) != str(error):
            self._publish(reader=ReaderShown(name=before.name, error=error))
        if self._board.state.phase is Phase.CARD_HERE:
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
        self._request = self._doubt = self._pin = None
        self._stopped_look_at = 0.0
        if signal is not None:
            till.signal(signal)

    def _show_again(self, ended: CounterState) -> None:
        """How an earlier request ended, if it is not on show already."""
        if ended.phase.is_final and self._board.state.request != ended.request:
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
        if shown != self._board.state.settled:
            self._publish(settled=shown)

    def _tell_shown(self, till: Till) -> None:
        """What a crash may have kept from the cashier."""
        sales = tuple(sale.already_paid(intent, hash_) for intent, hash_ in till.not_shown)
        refunds = tuple(
            till.refund_result(voucher, already_written=True) for voucher in till.refunds_not_shown
        )
        if (sales, refunds) != (self._board.state.not_shown, self._board.state.refunds_not_shown):
            self._publish(not_shown=sales, refunds_not_shown=refunds)

    def _look_whether_stopped(self, till: Till) -> None:
        self._stopped_look_at = self._monotonic() + _STOPPED_LOOK_SECONDS
        stopped = till.why_not()
        before = self._board.state.stopped
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
        self._board.change(
            lambda state: state.after(phase=phase, lift_card=lift_card, **scene),
            request if is_end else None,
        )

    def _publish(self, **changes: object) -> None:
        self._board.change(lambda state: state.after(**changes))


_SCENE = (
    "request",
    "asked",
    "purchase",
    "member_class",
    "card",
    "sale",
    "credit",
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


def _roll_later(till: Till, stay: _Stay, generation: int) -> None:
    """With the next step, if this card may get new keys here; else the next step looks for its removal."""
    stay.key_generation = generation if till.may_roll_keys(generation) else 0


def _check_in_force(found: BalanceResult) -> None:
    """Raises CardBlocked, CardExpired, CardKeysPast."""
    if found.is_blocked:
        raise CardBlocked
    if found.keys_are_past:
        raise CardKeysPast
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
