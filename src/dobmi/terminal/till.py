"""A till, whole: lock, ledger, chain, keys, reader. The command line is a thin skin over it.

    with Till(database=..., signing=..., custody=..., reader=reader, cashier="Siti") as till:
        result = till.sell(Rupiah(12_500))

One thread uses it. On entering it owns the till's sequence and recovers what a crash left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from requests.adapters import BaseAdapter

from dobmi.cardlib.custody import KeyCustody, SigningCustody
from dobmi.cardlib.errors import CardError, InsufficientBalance, NoCard
from dobmi.cardlib.generations import BeginningWith
from dobmi.cardlib.pin import Pin
from dobmi.cardlib.purse import Purse, PurseView
from dobmi.cardlib.purse_layout import Holder, LogRecord
from dobmi.cardlib.readers.base import CardConnection, Reader, Signal, open_reader
from dobmi.errors import DoBMIError
from dobmi.i18n import DEFAULT_LANGUAGE
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import is_plain
from dobmi.sync.client import PATIENT, HttpClient, Patience, Requester, SyncClient, enrol
from dobmi.sync.enrolment import Invitation
from dobmi.sync.errors import RelayInterrupted, ServerRefused, StaleFeed, SyncError
from dobmi.sync.outlet import MemberNote, StaffMember
from dobmi.sync.relay import Action, CreditResult, RekeyResult, Start
from dobmi.sync.relay_client import relay_card_session
from dobmi.sync.voucher import (
    REASON_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    GoodsLine,
    Outcome,
    RefundVoucher,
)
from dobmi.terminal import card_pin, picking, sale, sale_request
from dobmi.terminal import shift as shifts
from dobmi.terminal.card_keys import newest_generation
from dobmi.terminal.chain import Chain
from dobmi.terminal.clock import TillClock
from dobmi.terminal.errors import (
    AlreadyEnrolled,
    AnotherCard,
    BadDecision,
    LedgerError,
    NoCardCame,
    NoCardKeys,
    NotEnrolled,
    NotInDoubt,
    NotThisTill,
    PriceClassDiffers,
    RequestDiffers,
    SaleInDoubt,
)
from dobmi.terminal.ledger import (
    ClockReset,
    IntentRow,
    Ledger,
    SaleState,
    Shift,
    TapCredit,
    TillIdentity,
)
from dobmi.terminal.lock import TillLock
from dobmi.terminal.members import member_note
from dobmi.terminal.purchase import Purchase, check_purchase
from dobmi.terminal.refund import RefundResult, check_refund, supervisor_name
from dobmi.terminal.sale import Desk, SaleResult, Settled
from dobmi.terminal.shift import ShiftReport
from dobmi.terminal.staff import Cashier, supervisor_named, unlisted_cashier
from dobmi.terminal.synchronise import Progress, SyncResult, synchronise
from dobmi.wib import day_of

SIGNING_KEY = "terminal"
RELAY_CONNECT_SECONDS_MAX = 3.0
RELAY_SILENCE_SECONDS_MAX = 10.0
"""A queue stands behind the card: money that waits can wait for a better network."""
TAP_CONNECT_SECONDS_MAX = 1.0
TAP_SECONDS_MAX = 4.0
TAP_REST_SECONDS = 30.0
"""For money that waits for a card, in the tap of a sale: the sale goes on without it."""
ROLL_CONNECT_SECONDS_MAX = 1.5
ROLL_SILENCE_SECONDS_MAX = 2.0
ROLL_REST_SECONDS = 60.0
"""New keys wait more patiently still: the old ones do until the time that the feed says."""


def _one_writer() -> Executor:
    return ThreadPoolExecutor(1, "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceResult:
    """`records`, newest first, at most ten; None where the card's log was not read.

    `note` is the outlet's about the member.
    """

    card_uid: bytes
    holder: Holder
    balance: Rupiah
    is_blocked: bool
    is_expired: bool
    has_credit_waiting: bool
    records: tuple[LogRecord, ...] | None
    note: MemberNote
    key_generation: int = 0
    keys_are_past: bool = False
    """Its keys are of a generation that is taken no more: a service point gives it new ones."""


class Till:
    """See the module. Methods raise DoBMIError; each says whether money moved."""

    def __init__(
        self,
        *,
        database: Path,
        signing: SigningCustody,
        custody: KeyCustody | None = None,
        reader: Reader | str | None = None,
        cashier: str = "kasir",
        server: str = "",
        card_wait_seconds: float = 60,
        patience: Patience = PATIENT,
        language: str = DEFAULT_LANGUAGE,
        system_time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        make_writer: Callable[[], Executor] = _one_writer,
        transport: BaseAdapter | None = None,
    ) -> None:
        """`language` is that of what the server says. `signing` holds the key named `terminal`. `reader` is opened when a card is first needed,
        and closed here if it was given as a URL. `custody` may lack for what needs no card. A
        simulation gives the machine's two clocks, the writer beside the card and the network.
        """
        self._lock = TillLock(database)
        self._database = database
        self._signing = signing
        self._custody = custody
        self._reader_or_url = reader
        self._reader: Reader | None = None
        self._cashier = cashier
        self._server = server
        self._card_wait_seconds = card_wait_seconds
        self._patience = patience
        self._language = language
        self._system_time = system_time
        self._monotonic = monotonic
        self._make_writer = make_writer
        self._transport = transport
        self._stack = ExitStack()
        self._closes_reader = False
        self._returned = False
        self._no_roll_before = 0.0
        self._no_tap_credit_before = 0.0
        self._told: set[int] = set()
        self._identity: TillIdentity
        self._ledger: Ledger
        self._desk: Desk
        self.settled: list[Settled] = []
        """Every sale in doubt that a card answered for since the till was started."""
        self.not_shown: list[tuple[IntentRow, bytes]] = []
        """Paid sales that a crash may have kept from the cashier; with their voucher hashes.

        They and `refunds_not_shown` stay so until `acknowledge_not_shown`.
        """
        self.refunds_not_shown: list[RefundVoucher] = []
        """Refunds that a crash may have kept from being printed."""

    def __enter__(self) -> Self:
        """Raises TillInUse, NotEnrolled, NotThisTill, LedgerError."""
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            self._ledger = Ledger(self._database)
            stack.callback(self._ledger.close)
            self._identity = self._ledger.identity()
            if self._signing.public_key(SIGNING_KEY) != self._identity.public_key:
                raise NotThisTill(terminal_id=self._identity.terminal_id)
            writer = stack.enter_context(self._make_writer())
            clock = TillClock(self._ledger, self._system_time)
            chain = Chain(
                ledger=self._ledger,
                identity=self._identity,
                sign=self._sign,
                now=clock.now,
                cashier=self._cashier,
            )
            self._desk = Desk(
                ledger=self._ledger,
                chain=chain,
                clock=clock,
                writer=writer,
                monotonic=self._monotonic,
            )
            # What an earlier process left open: it may have sent the commit, so it is in doubt.
            chain.end_open_intent()
            card_pin.end_open_tries(self._ledger, clock.now())
            self.not_shown = self._ledger.paid_and_not_shown()
            self.refunds_not_shown = self._ledger.refunds_not_shown()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if kind is None:
                self.mark_shown()

    @property
    def identity(self) -> TillIdentity:
        return self._identity

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def clock(self) -> TillClock:
        return self._desk.clock

    def sell(
        self,
        amount: Rupiah,
        goods: tuple[GoodsLine, ...] = (),
        *,
        only_card: bytes | None = None,
        announce: Callable[[], None] = lambda: None,
        request: str | None = None,
        pin: Pin | None = None,
        see: Callable[[PurseView], None] = lambda _: None,
    ) -> SaleResult:
        """Wait for a card and sell to it. Paid when this returns.

        `announce` is called when the purchase is accepted and a card is waited for; `request`, `pin`
        and `see` are as for `sell_to`.

        After SaleInDoubt call it again with `only_card` set to the error's `uid`: the same card and
        amount are the same sale, which is then found paid, or sold anew if the card did not pay.
        Whatever keeps the card from telling is SaleInDoubt again, with its cause; that is
        NoCardCame when nobody taps it any more: then `give_up`.
        """
        self.mark_shown()
        purchase = Purchase(amount, goods)
        if only_card is None:
            self.check_sale(purchase)
        came = False
        try:
            with self._card(announce) as connection:
                came = True
                found = self.sell_to(
                    connection, purchase, only_card=only_card, request=request, pin=pin, see=see
                )
                self.signal(Signal.SUCCESS)
        except DoBMIError as error:
            if not came and only_card is not None:
                self._raise_in_doubt(only_card, error)
            raise
        self._returned = True
        return found

    def needs_pin(self, amount: Rupiah) -> bool:
        """Whether a sale of so much needs the member's PIN."""
        return card_pin.needs_pin(self._ledger, amount)

    def require_pin_free(self, card_uid: bytes) -> None:
        """Raises CardPinLocked: its PIN was wrong too often, here or anywhere."""
        card_pin.require_pin_free(self._ledger, card_uid)

    def check_sale(self, purchase: Purchase) -> None:
        """What forbids a sale whatever the card; ask before a card is asked for.

        Raises NoShift, LedgerFull, ClockAhead, SyncTooOld, TooManyUnsent, TooMuchUnsent and what
        check_purchase raises.
        """
        self._ledger.check_room()
        shift = self._shift_on_duty()
        limits = self._ledger.sync_state().limits
        check_purchase(
            purchase, limits, self._identity.issuer, self._identity.seller, shift.on_duty
        )
        sale.check_offline_limits(self._ledger, purchase.amount, self._desk.clock.read())

    def bind_sale(
        self,
        request: str,
        purchase: Purchase,
        *,
        member_class: str = "",
        order: int | None = None,
    ) -> SaleResult | None:
        """Bind the number `request`, made by who asks, to this sale and no other, durably.

        None: it was checked as by `check_sale`, and a card may be asked for it, with `sell_to`. If it
        was asked before and paid, that sale; nothing more is charged. Raises SaleInDoubt where that is
        not known, and what check_sale and sale_request.bind raise.
        """
        sale.finish_writing(self._desk)
        bound = sale_request.find(self._ledger, request)
        state = None if bound is None else sale_request.state(self._ledger, bound)
        if state is None or state is SaleState.NOT_PAID:
            self.check_sale(purchase)
        bound = sale_request.bind(
            self._ledger,
            request,
            purchase,
            member_class=member_class,
            order=order,
            now=self._desk.clock.now(),
        )
        if bound.sequence is None or state is None or state is SaleState.NOT_PAID:
            return None
        intent = self._ledger.intent(bound.sequence)
        assert intent is not None
        if state is SaleState.IN_DOUBT:
            raise sale.in_doubt(intent)
        self._returned = True
        self.not_shown = [one for one in self.not_shown if one[0].sequence != intent.sequence]
        # Found paid by the central server, it has no voucher of this till that says so but its doubt's.
        ledger = self._ledger
        hash_ = ledger.hash_of_payment(bound.sequence) or ledger.hash_at(bound.sequence)
        assert hash_ is not None
        return sale.already_paid(intent, hash_)

    def sell_to(
        self,
        connection: CardConnection,
        purchase: Purchase,
        *,
        only_card: bytes | None = None,
        settled_before: Sequence[Settled] = (),
        request: str | None = None,
        pin: Pin | None = None,
        see: Callable[[PurseView], None] = lambda _: None,
    ) -> SaleResult:
        """Sell to a card that is there, after `check_sale`. Paid, and on disk, when this returns.

        `only_card` as for `sell`. `settled_before`: what this card has just told of its doubts. `see`
        is told of the card before its money is asked for, and may refuse it by raising. `request`,
        bound before, has this sale as its own. `pin` is asked of the card where the amount needs one
        (`needs_pin`). Raises as `sell`; gives no signal.
        """
        settled: list[Settled] | None = None
        try:
            if only_card is not None and connection.uid != only_card:
                raise self.another_card(only_card)
            shift = self._shift_on_duty()
            purse = self._purse(connection)
            settled = self._settle(purse)
            known = [*settled_before, *settled]
            found = self._sell_or_load(connection, purchase, purse, known, shift, request, pin, see)
        except DoBMIError as error:
            # What kept the card from telling does not settle what is not known.
            if only_card is not None and settled is None:
                self._raise_in_doubt(only_card, error)
            raise
        self._returned = True
        return found

    def balance(self, announce: Callable[[], None] = lambda: None) -> BalanceResult:
        """Wait for a card and read it, with its log; settles what is in doubt with it."""
        self.mark_shown()
        with self._card(announce) as connection:
            found, _ = self.read_and_load(connection)
            self.signal(Signal.SUCCESS)
        self._returned = True
        return found

    def read_card(
        self, connection: CardConnection, *, with_log: bool = False
    ) -> tuple[BalanceResult, list[Settled]]:
        """A card that is there, and what it has told of its doubts. Raises CardError, LedgerError.

        5 exchanges, with the log at most 9, and more where the card has doubts.
        """
        purse = self._purse(connection)
        settled = self._settle(purse)
        if with_log:
            trail = purse.read_trail()
            return self.describe(trail.view, trail.records), settled
        return self.describe(purse.read()), settled

    def read_and_load(
        self, connection: CardConnection, *, is_online: bool = True
    ) -> tuple[BalanceResult, list[Settled]]:
        """A card with its log, after the central server has put on it what it owes it.

        Without a network, or where the server will not, the money waits on. Raises CardError,
        LedgerError, RelayInterrupted: tap the same card again.
        """
        found, settled = self.read_card(connection, with_log=True)
        # A simulated network carries no card sessions.
        is_online = is_online and bool(self._server) and self._transport is None
        if not (is_online and found.has_credit_waiting) or found.is_blocked:
            return found, settled
        try:
            self.load_credits(connection)
        except RelayInterrupted as error:
            if isinstance(error.__cause__, CardError):
                raise
            # The network broke in the middle: the card itself says whether the money came.
        except SyncError:
            return found, settled
        try:
            return self.read_card(connection, with_log=True)[0], settled
        except CardError as error:  # the money is on it, and that is not known here yet
            raise RelayInterrupted(detail=error.explain()) from error

    def load_credits(self, connection: CardConnection) -> CreditResult:
        """Let the central server put on the card what it owes it: this till only relays.

        Run again, nothing comes twice. Raises RelayInterrupted, ServerRefused, ServerUnreachable.
        """
        start = Start(Action.CREDIT, connection.uid, {})
        result = relay_card_session(
            self._server,
            self._requester(self._ledger, None),
            start,
            connection.transmit,
            language=self._language,
            connect_timeout_seconds=RELAY_CONNECT_SECONDS_MAX,
            silence_timeout_seconds=RELAY_SILENCE_SECONDS_MAX,
        )
        loaded = CreditResult.from_cbor(result)
        self._ledger.forget_credit_waiting(connection.uid)
        return loaded

    def may_load_in_passing(self) -> bool:
        """Whether there is a network, for all that is known."""
        # A simulated network carries no card sessions.
        is_online = bool(self._server) and self._transport is None
        return is_online and self._monotonic() >= self._no_tap_credit_before

    def load_in_passing(
        self, connection: CardConnection, sale: int | None = None
    ) -> CreditResult | None:
        """What the central server owes the card, put on it while it is there for something else.

        Short of time: None without a network or with a slow one, and where the server will not;
        for half a minute after a network failed it is not tried again. `sale`: the one that has
        just been paid, on whose receipt it is to stand. Raises RelayInterrupted for a card that
        left.
        """
        if not self.may_load_in_passing():
            return None
        start = Start(Action.CREDIT, connection.uid, {})
        try:
            result = relay_card_session(
                self._server,
                self._requester(self._ledger, None),
                start,
                connection.transmit,
                language=self._language,
                connect_timeout_seconds=TAP_CONNECT_SECONDS_MAX,
                silence_timeout_seconds=TAP_SECONDS_MAX,
                whole_timeout_seconds=TAP_SECONDS_MAX,
            )
        except SyncError as error:
            if isinstance(error.__cause__, CardError):
                raise
            if not isinstance(error, ServerRefused):
                self._no_tap_credit_before = self._monotonic() + TAP_REST_SECONDS
            return None
        loaded = CreditResult.from_cbor(result)
        self._ledger.forget_credit_waiting(connection.uid)
        if sale is not None:
            self._note_tap_credit(sale, loaded, before_sale=False)
        return loaded

    def _note_tap_credit(self, sale: int, loaded: CreditResult, *, before_sale: bool) -> None:
        """For the receipt. A disk that does not take it takes no sale either, and is told of there."""
        if not loaded.delivered:
            return
        credit = TapCredit(
            amount=loaded.total, balance_after=loaded.balance, before_sale=before_sale
        )
        with contextlib.suppress(LedgerError):
            self._ledger.note_tap_credit(sale, credit)

    def may_roll_keys(self, key_generation: int) -> bool:
        """Whether a card whose keys are of that generation can be given newer ones from here.

        Not one whose keys are past, at which people must look, nor before this till could open it
        with the new ones; nor in the minute after the network failed.
        """
        limits = self._ledger.sync_state().limits
        held = newest_generation(self._custody)
        return (
            bool(self._server)
            and self._transport is None  # a simulated network carries no card sessions
            and 0 < key_generation < limits.cards_generation
            and key_generation >= limits.keys_min_generation(self._desk.clock.now())
            and (held == 0 or (held or 0) >= limits.cards_generation)
            and self._monotonic() >= self._no_roll_before
        )

    def roll_keys(self, connection: CardConnection) -> RekeyResult:
        """Let the central server give a card the new keys: this till only relays. No money moves.

        To be called when what the member came for is done. A card that leaves in the middle is as
        good as before, and goes on the next time. Raises RelayInterrupted, ServerRefused,
        ServerUnreachable.
        """
        start = Start(Action.REKEY, connection.uid, {})
        try:
            result = relay_card_session(
                self._server,
                self._requester(self._ledger, None),
                start,
                connection.transmit,
                language=self._language,
                connect_timeout_seconds=ROLL_CONNECT_SECONDS_MAX,
                silence_timeout_seconds=ROLL_SILENCE_SECONDS_MAX,
            )
        except SyncError as error:
            if not isinstance(error.__cause__, CardError):
                self._no_roll_before = self._monotonic() + ROLL_REST_SECONDS
            raise
        return RekeyResult.from_cbor(result)

    def describe(
        self, view: PurseView, records: tuple[LogRecord, ...] | None = None
    ) -> BalanceResult:
        """What this till knows of a card besides what the card says."""
        return BalanceResult(
            card_uid=view.uid,
            holder=view.holder,
            balance=view.balance,
            is_blocked=self._ledger.is_blocked(view.uid),
            is_expired=day_of(self._desk.clock.now()) > view.holder.expires,
            has_credit_waiting=self._ledger.has_credit_waiting(view.uid),
            records=records,
            note=member_note(self._ledger, view.holder.member_number),
            key_generation=view.key_generation,
            keys_are_past=sale.keys_are_past(
                view, self._desk.clock.now(), self._ledger.sync_state().limits
            ),
        )

    def check_member(
        self, found: BalanceResult, *, member_class: str | None = None, order: int | None = None
    ) -> None:
        """Whether the card of `found` may pay what was made for `member_class` (None: for all alike),
        or is the order number `order`; for the `see` of a sale.

        What is shown is what is charged. Raises PriceClassDiffers, OrderOfAnother, NoSuchOrder.
        """
        holder = found.holder
        if found.is_expired:
            return  # that is said first
        if order is not None:
            picking.check_holder(self._ledger, order, holder.member_number, holder.name)
        if member_class not in {None, found.note.member_class}:
            raise PriceClassDiffers(
                holder=holder.name,
                card_class=found.note.member_class,
                cart_class=member_class or "",
            )

    def refund(
        self,
        sale: int,
        amount: Rupiah | None = None,
        *,
        reason: str,
        supervisor: StaffMember | str = "",
        goods: tuple[GoodsLine, ...] = (),
        request: str | None = None,
    ) -> RefundResult:
        """Give money of the own paid sale number `sale` back: all that is left of it, or `amount`.

        No card is needed, and none gets the money now: it waits at the central server, which hears
        of it at the next sync. `request` is a number made by who asks: asked again under it, the
        first one comes back. Raises RefundRefused and its kinds, RequestDiffers, NoShift, LedgerError.
        """
        self.mark_shown()
        self.give_up()
        found = self._refund_of(request, sale, amount) or self._same_refund(sale, amount)
        if found is None:
            self._ledger.check_room()
            shift = self._shift_on_duty()
            intent, given_back = check_refund(
                self._ledger,
                sale,
                amount,
                reason=reason,
                supervisor=supervisor,
                goods=goods,
            )
            voucher = self._desk.chain.write_refund(
                intent,
                given_back,
                shift.number,
                reason=reason,
                supervisor=supervisor_name(supervisor),
                goods=goods,
                request=request,
            )
            found = self.refund_result(voucher)
        self._returned = True
        return found

    def acknowledge_not_shown(self) -> None:
        """`not_shown` and `refunds_not_shown` have been put out: they need no telling again.

        That is written down with the next result that reaches the caller. What is added to them
        later in this process needs telling still.
        """
        self._told |= self._to_be_told()

    def forget_not_shown(self) -> None:
        """They have been seen, which is written down at once; and none stands for a new sale any more."""
        self.not_shown.clear()
        self.refunds_not_shown.clear()
        self._told.clear()
        self._returned = True
        self.mark_shown()

    def wait_for_removal(self) -> bool:
        """True once no card lies on the reader, False when the time for a card is up."""
        return self.opened_reader().wait_for_removal(self._card_wait_seconds)

    def give_up(self) -> None:
        """The card in doubt will not be tapped again now: the sale goes into the chain as it is."""
        self._end_open_intent()

    def interrupted(self) -> SaleInDoubt | None:
        """The sale that is in doubt because the cashier broke off, which is then given up."""
        sale.finish_writing(self._desk)
        intent = self._ledger.open_intent()
        self._end_open_intent()
        if intent is None or intent not in self._ledger.doubts(intent.card_uid):
            return None
        return sale.in_doubt(intent)

    def sync(self, progress: Progress = lambda _done, _total: None) -> SyncResult:
        """Send what is unsent and fetch the feed. Raises SyncError."""
        return self._sync(progress)

    def _sync(
        self,
        progress: Progress = lambda _done, _total: None,
        *,
        at_unix_seconds: int | None = None,
    ) -> SyncResult:
        """`at_unix_seconds`: the time now, where the machine's clock is known to be right."""
        self.give_up()
        return self._synchronise(self._ledger, self._desk.clock, progress, at_unix_seconds)

    def sync_beside(self, progress: Progress = lambda _done, _total: None) -> SyncResult:
        """As `sync`, in a thread of its own while the till sells; a sale in doubt stays open.

        The till's own thread calls `learn_time` afterwards. Raises SyncError, LedgerError.
        """
        ledger = Ledger(self._database)
        try:
            return self._synchronise(ledger, TillClock(ledger, self._system_time), progress, None)
        finally:
            ledger.close()

    def learn_time(self) -> None:
        """What the server has signed meanwhile, as a sync beside has kept it."""
        self._desk.clock.learn(self._ledger.latest_unix_seconds())

    def _synchronise(
        self,
        ledger: Ledger,
        clock: TillClock,
        progress: Progress,
        at_unix_seconds: int | None,
    ) -> SyncResult:
        with HttpClient(
            self._server, self._patience, language=self._language, transport=self._transport
        ) as http_client:
            requester = self._requester(ledger, at_unix_seconds)
            client = SyncClient(http_client, requester, self._identity.server_public_key)
            return synchronise(
                ledger,
                client,
                self._sign,
                clock,
                progress,
                at_unix_seconds=at_unix_seconds,
                custody=self._custody,
            )

    def _requester(self, ledger: Ledger, at_unix_seconds: int | None) -> Requester:
        def request_time() -> int:
            """The machine's clock, unless the server has signed a later time."""
            if at_unix_seconds is not None:
                return at_unix_seconds
            return max(int(self._system_time()), ledger.sync_state().server_unix_seconds)

        return Requester(
            terminal_id=self._identity.terminal_id,
            public_key=self._identity.public_key,
            sign=self._sign,
            now=request_time,
        )

    def close_doubt(
        self, sequence: int, outcome: Outcome, *, supervisor: StaffMember | str, reason: str
    ) -> IntentRow:
        """Write down what a supervisor decided of an open sale in doubt, which is returned.

        No card is asked, and the card's own word still goes before it. Raises NotInDoubt,
        BadDecision, NotASupervisor, LoginNeeded (a name alone, where the staff is listed), LedgerError.
        """
        self.mark_shown()
        self.give_up()
        named, reason = _decision_texts(supervisor_named(self._ledger, supervisor), reason)
        for intent in self._ledger.doubts():
            if intent.sequence == sequence:
                self._desk.chain.write_decision(intent, outcome, decided_by=named, reason=reason)
                return intent
        raise NotInDoubt(sequence=sequence)

    def reset_clock(self, *, supervisor: StaffMember | str, reason: str) -> ClockReset:
        """Sync, and go on from the time that the central server signed, back as it may be.

        For a till that has kept a time to come, of a machine's clock that was wrong, or of the
        server's; both must be right by now. Raises BadDecision, NotASupervisor, LoginNeeded,
        SyncError, LedgerError.
        """
        named, reason = _decision_texts(supervisor_named(self._ledger, supervisor), reason)
        server_time: int | None = None
        try:
            self.sync()
        except (ServerRefused, StaleFeed):
            # The server's own clock may have been ahead, and be right again: then its word of now,
            # which is told by this machine's clock, goes before all that it has signed.
            done = self._sync(at_unix_seconds=int(self._system_time()))
            server_time = done.server_unix_seconds
        reset = self._ledger.record_clock_reset(named, reason, server_time)
        self._desk.clock.start_again()
        return reset

    def open_shift(self, cashier: Cashier | None = None, float_cash: Rupiah = ZERO) -> Shift:
        """`cashier` who has logged in; None: the one of the settings, where nobody has to.

        Raises ShiftOpen, LoginNeeded, BadCash, BadCashier.
        """
        cashier = cashier or unlisted_cashier(self._ledger, self._cashier)
        return shifts.open_shift(self._ledger, cashier, float_cash, self._desk.clock.now())

    def close_shift(self, counted: Rupiah) -> ShiftReport:
        """The Z report; `counted` is the cash in the drawer. Raises NoShift, BadCash."""
        self.give_up()
        return shifts.close_shift(self._ledger, counted, self._desk.clock.now())

    def why_not(self) -> DoBMIError | None:
        """What would refuse the smallest sale now, whatever the card."""
        try:
            self.check_sale(Purchase(Rupiah(1)))
        except DoBMIError as error:
            return error
        return None

    def _sell_or_load(  # noqa: PLR0917 - as `_sell_once`
        self,
        connection: CardConnection,
        purchase: Purchase,
        purse: Purse,
        settled: list[Settled],
        shift: Shift,
        request: str | None,
        pin: Pin | None,
        see: Callable[[PurseView], None],
    ) -> SaleResult:
        """The sale; a card that has too little for it is first given what waits for it, if there is."""
        try:
            return self._sell_once(purchase, purse, settled, shift, request, pin, see)
        except InsufficientBalance as short:
            network_ok_before = self._no_tap_credit_before
            loaded = self.load_in_passing(connection)
            # Broken off by the network it may have come all the same: the card itself tells.
            broken_off = self._no_tap_credit_before != network_ok_before
            if not broken_off and (loaded is None or not loaded.delivered):
                raise short from None
        again = self._purse(connection)
        found = self._sell_once(purchase, again, settled, shift, request, pin, see)
        if loaded is not None:
            self._note_tap_credit(found.sequence, loaded, before_sale=True)
            found = replace(found, credited=loaded.total)
        return found

    def _sell_once(  # noqa: PLR0917 - the parts of one sale, each of its own type
        self,
        purchase: Purchase,
        purse: Purse,
        settled: list[Settled],
        shift: Shift,
        request: str | None,
        pin: Pin | None,
        see: Callable[[PurseView], None],
    ) -> SaleResult:
        """The sale that was paid already, if this is it; else a new one.

        One of which money was given back is not it: whoever did that has dealt with the member.
        """
        kept = [one for one in settled if not self._ledger.refunded(one.intent.sequence)]
        found = sale.same_sale(purchase, kept) or self._same_as_not_shown(purchase, purse.uid)
        if found is None:
            if settled:
                sale.check_offline_limits(self._ledger, purchase.amount, self._desk.clock.read())
            found = sale.sell(
                self._desk, purse, purchase, shift.number, request=request, pin=pin, see=see
            )
        return found

    def _sign(self, message: bytes) -> bytes:
        return self._signing.sign(SIGNING_KEY, message)

    def _shift_on_duty(self) -> Shift:
        """The open shift, whose cashier is the one that vouchers name from now on. Raises NoShift."""
        shift = shifts.current_shift(self._ledger)
        self._desk.chain.cashier = shift.on_duty
        return shift

    @contextmanager
    def _card(self, announce: Callable[[], None] = lambda: None) -> Iterator[CardConnection]:
        """The card that is tapped; the reader's light goes red when anything fails."""
        if self._custody is None:
            raise NoCardKeys
        reader = self.opened_reader()
        self.signal(Signal.READY)
        announce()
        if not reader.wait_for_card(self._card_wait_seconds):
            raise NoCardCame(seconds=f"{self._card_wait_seconds:g}")
        connection: CardConnection | None = None
        try:
            connection = reader.connect()
            yield connection
        except DoBMIError:
            self.signal(Signal.FAILURE)
            raise
        finally:
            if connection is not None:
                connection.disconnect()

    def _purse(self, connection: CardConnection) -> Purse:
        if self._custody is None:
            raise NoCardKeys
        on_cards = self._ledger.sync_state().limits.cards_generation
        custody = BeginningWith(self._custody, on_cards) if on_cards else self._custody
        return Purse(connection, custody, self._identity.card_issuer_public_key)

    def opened_reader(self) -> Reader:
        """The till's reader, opened when it is first needed. Raises ReaderUnavailable, NoCard (none)."""
        if self._reader is None:
            if isinstance(self._reader_or_url, str):
                self._reader = open_reader(self._reader_or_url)
                if not self._closes_reader:
                    self._closes_reader = True
                    self._stack.callback(self.drop_reader)
            elif self._reader_or_url is not None:
                self._reader = self._reader_or_url
            else:
                raise NoCard
        return self._reader

    def drop_reader(self) -> None:
        """Close a reader that has gone, if it was given as a URL: it is opened anew when needed."""
        if isinstance(self._reader_or_url, str) and self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()

    def signal(self, signal: Signal) -> None:
        """To the reader's light and tone, if it is open."""
        # A lamp that fails changes nothing of what was sold or refused.
        with contextlib.suppress(CardError):
            if self._reader is not None:
                self._reader.signal(signal)

    def another_card(self, expected: bytes) -> DoBMIError:
        """What there is to say when not the card `expected`, in doubt, is tapped."""
        waiting = self._waiting(expected)
        return NoCardCame(seconds=0) if waiting is None else sale.in_doubt(waiting, AnotherCard)

    def _raise_in_doubt(self, card_uid: bytes, error: DoBMIError) -> None:
        """What happened meanwhile leaves the sale with that card in doubt, if there is one."""
        waiting = self._waiting(card_uid)
        if waiting is not None and not isinstance(error, SaleInDoubt):
            raise sale.in_doubt(waiting) from error

    def _waiting(self, card_uid: bytes) -> IntentRow | None:
        """The newest sale in doubt with this card."""
        sale.finish_writing(self._desk)
        open_intent = self._ledger.open_intent()
        if open_intent is not None and open_intent.card_uid == card_uid:
            return open_intent
        return next(reversed(self._ledger.doubts(card_uid)), None)

    def _refund_of(
        self, request: str | None, sale: int, amount: Rupiah | None
    ) -> RefundResult | None:
        """Raises BadRequestId, RequestDiffers."""
        if request is None:
            return None
        sale_request.check_id(request)
        voucher = sale_request.refund_of(self._ledger, request)
        if voucher is None:
            return None
        if voucher.refunds != sale or amount not in {None, voucher.amount}:
            raise RequestDiffers
        return self.refund_result(voucher, already_written=True)

    def _same_refund(self, sale: int, amount: Rupiah | None) -> RefundResult | None:
        """The refund that a crash kept from being shown, if this is it."""
        for one in self.refunds_not_shown:
            if one.refunds == sale and amount in (None, one.amount):
                self.refunds_not_shown.remove(one)
                return self.refund_result(one, already_written=True)
        return None

    def refund_result(
        self, voucher: RefundVoucher, *, already_written: bool = False
    ) -> RefundResult:
        """A refund of this till as it is shown."""
        intent = self._ledger.intent(voucher.refunds)
        hash_ = self._ledger.hash_at(voucher.link.sequence)
        assert intent is not None
        assert hash_ is not None
        return RefundResult(
            sequence=voucher.link.sequence,
            voucher_hash=hash_,
            refunds=voucher.refunds,
            card_uid=voucher.card_uid,
            member_number=intent.member_number,
            holder=intent.holder,
            amount=voucher.amount,
            sale_amount=intent.amount,
            refunded_total=self._ledger.refunded(voucher.refunds),
            reason=voucher.reason,
            supervisor=voucher.supervisor,
            unix_seconds=voucher.link.unix_seconds,
            already_written=already_written,
        )

    def _end_open_intent(self) -> None:
        """A sale that is known as paid and could not be written down before is written now: its card
        may yet be tapped again, as the cashier was told.
        """
        sale.finish_writing(self._desk)
        intent = self._ledger.open_intent()
        self._desk.chain.end_open_intent()
        if intent is not None:
            paid = self._ledger.paid_hash(intent.sequence)
            if paid is not None:
                self.not_shown.append((intent, paid))

    def _settle(self, purse: Purse) -> list[Settled]:
        """What the card on the reader answers of its doubts; another card's is left as it is."""
        sale.finish_writing(self._desk)
        intent = self._ledger.open_intent()
        if intent is not None and intent.card_uid != purse.uid:
            self._end_open_intent()
        settled = sale.settle_doubts(self._desk, purse)
        self.settled += settled
        return settled

    def _same_as_not_shown(self, purchase: Purchase, card_uid: bytes) -> SaleResult | None:
        for one in self.not_shown:
            intent, hash_ = one
            is_same = (intent.card_uid, intent.amount) == (card_uid, purchase.amount)
            if is_same and not self._ledger.refunded(intent.sequence):
                self.not_shown.remove(one)
                return sale.already_paid(intent, hash_)
        return None

    def mark_shown(self) -> None:
        """The caller came back, so the last result has reached it; not so what it has not told."""
        if self._returned:
            shown = self._ledger.head().sequence
            untold = self._to_be_told() - self._told
            self._ledger.mark_shown(min([shown, *(sequence - 1 for sequence in untold)]))
            self._returned = False

    def _to_be_told(self) -> set[int]:
        """The sequences of `not_shown` and `refunds_not_shown`."""
        sales = {intent.sequence for intent, _ in self.not_shown}
        return sales | {voucher.link.sequence for voucher in self.refunds_not_shown}


def _decision_texts(supervisor: str, reason: str) -> tuple[str, str]:
    """Who decides, and why, as a voucher can hold them. Raises BadDecision."""
    supervisor, reason = supervisor.strip(), reason.strip()
    if not (0 < len(supervisor) <= TEXT_LENGTH_MAX and 0 < len(reason) <= REASON_LENGTH_MAX):
        raise BadDecision
    if not is_plain(supervisor + reason):
        raise BadDecision
    return supervisor, reason


def enrol_till(
    *,
    database: Path,
    signing: SigningCustody,
    server: str,
    invitation: Invitation,
    patience: Patience = PATIENT,
    language: str = DEFAULT_LANGUAGE,
    system_time: Callable[[], float] = time.time,
) -> TillIdentity:
    """Have the central server take this till in, and keep who it is.

    Raises AlreadyEnrolled, TillInUse, SyncError. After an error it can be repeated.
    """
    with TillLock(database):
        ledger = Ledger(database)
        try:
            with contextlib.suppress(NotEnrolled):
                raise AlreadyEnrolled(terminal_id=ledger.identity().terminal_id)
            with HttpClient(server, patience, language=language) as http_client:
                enrolment = enrol(
                    http_client,
                    invitation,
                    signing.public_key(SIGNING_KEY),
                    lambda message: signing.sign(SIGNING_KEY, message),
                )
            ledger.store_identity(enrolment, int(system_time()))
            return ledger.identity()
        finally:
            ledger.close()
