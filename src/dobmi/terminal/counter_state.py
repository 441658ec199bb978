"""What a counter shows and what it can be asked: facts and no texts, frozen, for every kind of page.

    IDLE --card--> CARD_HERE --AskSale--> WORKING --> PAID | REFUSED | IN_DOUBT
    IDLE --AskSale--> WAITING --card--> WORKING
    IDLE, CARD_HERE --AskSale--> PIN --GivePin--> WAITING      (an amount that needs the member's PIN)
    WORKING --a wrong PIN--> PIN
    IN_DOUBT --the same card--> WORKING --> PAID | DOUBT_LEFT        (or GiveUpDoubt: DOUBT_LEFT)
    AskBalance: WAITING --card--> WORKING --> BALANCE | REFUSED      AskLogin: the same, LOGIN
    AskRefund: WORKING --> REFUNDED | REFUSED                        (no card is needed)

PAID, REFUSED, DOUBT_LEFT, BALANCE, LOGIN and REFUNDED stay until `Acknowledge`, the next request, or
another card. A card that was part of one of them is spent: it counts again once it has been lifted
(`lift_card`); after REFUSED it may stay, but for a price that differs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar

from dobmi.cardlib.pin import Pin
from dobmi.cardlib.purse_layout import RecordKind
from dobmi.errors import DoBMIError
from dobmi.money import ZERO, Rupiah
from dobmi.sync.outlet import StaffMember
from dobmi.sync.voucher import GoodsLine, Outcome
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.refund import RefundResult
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.synchronise import SyncResult

if TYPE_CHECKING:
    from dobmi.terminal.till import Till

T = TypeVar("T")


class Phase(StrEnum):
    STARTING = "starting"
    """The till is not open yet, or could not be opened: `error` says why, and it is tried again."""
    IDLE = "idle"
    CARD_HERE = "card-here"
    """A card lies there and nothing is asked of it yet; `card`, or `error` for one that is no use."""
    WAITING = "waiting"
    """A card is waited for, for `asked`. `error`: the last one was gone too soon; no money moved."""
    PIN = "pin"
    """The member is to type the PIN, for `purchase`; the card may come before or after. `error`: the
    one that was typed was wrong, with the tries that are left."""
    WORKING = "working"
    """The card must stay. `card` is there as soon as it has been read."""
    PAID = "paid"
    """`sale`: it is on disk."""
    REFUSED = "refused"
    """`error`: no money moved."""
    IN_DOUBT = "in-doubt"
    """`doubt`: the same card again. `error` says why: SaleInDoubt, AnotherCard, or PaidNotRecorded when
    the card paid and the till's disk could not take it."""
    DOUBT_LEFT = "doubt-left"
    """`doubt`: it stays in doubt, no goods; the card tells at its next tap, or the office settles it."""
    BALANCE = "balance"
    """`card`, with its `movements`."""
    LOGIN = "login"
    """`card` is genuine and in force; whether its holder may do anything is for the staff list."""
    REFUNDED = "refunded"
    """`refund`: it is on disk; the money is a pending credit."""

    @property
    def is_final(self) -> bool:
        """What the request came to; it stays until somebody goes on."""
        return self in _FINAL

    @property
    def is_busy(self) -> bool:
        """A request is under way, and another one is refused with CounterBusy."""
        return self in {Phase.WAITING, Phase.PIN, Phase.WORKING, Phase.IN_DOUBT}


_FINAL = {
    Phase.PAID,
    Phase.REFUSED,
    Phase.DOUBT_LEFT,
    Phase.BALANCE,
    Phase.LOGIN,
    Phase.REFUNDED,
}


class Asked(StrEnum):
    SALE = "sale"
    BALANCE = "balance"
    LOGIN = "login"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One transaction of the card's own log. `here`: made at this till, as its sale `sequence`.

    `terminal_id` 0 is the central server, whose kind is CREDIT.
    """

    kind: RecordKind
    amount: Rupiah
    balance_after: Rupiah
    unix_seconds: int
    terminal_id: int
    sequence: int
    here: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CardShown:
    """A genuine card of ours. `member_class` is empty for an ordinary member.

    `photo`: the SHA-256 of one that the till has. `movements`, newest first, at most ten; None where
    the log was not asked for.
    """

    uid: bytes
    holder: str
    member_number: int
    member_class: str
    balance: Rupiah
    expires: date
    is_expired: bool
    is_blocked: bool
    credit_waiting: bool
    photo: bytes | None = None
    movements: tuple[Movement, ...] | None = None


class CreditPhase(StrEnum):
    COMING = "coming"
    """The card must stay a moment longer."""
    ARRIVED = "arrived"
    WAITS_ON = "waits-on"
    """No network, a slow one, or the card had gone: it comes at another tap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditShown:
    """Money that waited for the card of a paid sale. `amount` and `balance`: once it has arrived."""

    phase: CreditPhase
    amount: Rupiah = ZERO
    balance: Rupiah = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtShown:
    """The sale of which it is not known whether it was paid."""

    sequence: int
    uid: bytes
    holder: str
    amount: Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledShown:
    """What a card told of an earlier sale in doubt; None: it cannot tell any more."""

    sequence: int
    holder: str
    amount: Rupiah
    unix_seconds: int
    outcome: Outcome | None
    goods: tuple[GoodsLine, ...] = ()
    decided: Outcome | None = None
    """What a supervisor had decided meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderShown:
    """`name` is empty until the reader was opened once. `error`: it is gone; it is tried again."""

    name: str = ""
    error: DoBMIError | None = None

    @property
    def is_there(self) -> bool:
        return self.error is None and bool(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncShown:
    """The sync beside the sales. `done` and `total` count vouchers of the one that runs.

    `result` is of the last that came through, at `result_unix_seconds`; `error` of the last that
    did not, None once one came through again.
    """

    is_running: bool = False
    done: int = 0
    total: int = 0
    result: SyncResult | None = None
    result_unix_seconds: int | None = None
    error: DoBMIError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterState:
    """One moment of the counter. `version` grows with every change, by one or more.

    `request`, `asked`, `purchase` and `member_class` are of the request under way, or of the one
    whose end is shown. `wait_ends_unix_seconds`: when waiting for a card, or a PIN, is given up.
    `credit`: what is put on the card after its sale, which is paid whatever becomes of that.
    `last_sale` is the newest paid sale of this run, also while something else is shown.
    `not_shown` and `refunds_not_shown` are done, and a crash may have kept that from the cashier:
    until `AcknowledgeNotShown`. `settled` are doubts that cards answered, until `Acknowledge`.
    `stopped`: why a sale would be refused now, whatever the card (past the risk limits, no shift,
    clock, disk), so that it is known before the queue finds out.
    `lift_card`: a card lies there that has had its turn.
    """

    version: int = 0
    phase: Phase = Phase.STARTING
    asked: Asked | None = None
    request: str | None = None
    purchase: Purchase | None = None
    member_class: str | None = None
    card: CardShown | None = None
    lift_card: bool = False
    sale: SaleResult | None = None
    credit: CreditShown | None = None
    refund: RefundResult | None = None
    doubt: DoubtShown | None = None
    error: DoBMIError | None = None
    wait_ends_unix_seconds: int | None = None
    last_sale: SaleResult | None = None
    settled: tuple[SettledShown, ...] = ()
    not_shown: tuple[SaleResult, ...] = ()
    refunds_not_shown: tuple[RefundResult, ...] = ()
    stopped: DoBMIError | None = None
    reader: ReaderShown = field(default_factory=ReaderShown)
    sync: SyncShown = field(default_factory=SyncShown)

    @property
    def total(self) -> Rupiah | None:
        return None if self.purchase is None else self.purchase.amount

    @property
    def lines(self) -> tuple[GoodsLine, ...]:
        return () if self.purchase is None else self.purchase.goods

    def after(self, **changes: object) -> CounterState:
        """The next state."""
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type] # checked by tests


# What a counter can be asked. Requests carry an id that the client makes (1 to 64 characters): asked
# again, the same id gives what the first one came to, and charges nothing. Trying again after a
# refusal or a cancel is a new request.


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSale:
    """Sell to the card that lies there, or to the next one.

    `member_class` is the one the total was made for: a card of another is refused before any debit
    (PriceClassDiffers). None: the prices are the same for all. `order`: the member's order that is
    paid by this, with the card of who ordered and no other (OrderOfAnother). `instead_of`: the request, still waiting for a card, whose place this one takes; if
    it waits no more (a card has come), this one is refused with CounterBusy.
    """

    request: str
    purchase: Purchase
    member_class: str | None = None
    order: int | None = None
    instead_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskBalance:
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLogin:
    """Who is this? For a log-in, or a supervisor's consent, by card. Only a tap that comes now counts,
    or a card that came before and has not had its turn.
    """

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRefund:
    """Give all that is left of the sale number `sale` back, or `amount` of it.

    `supervisor` who has logged in for it; a name alone, only where the feed lists no staff.
    """

    request: str
    sale: int
    reason: str
    amount: Rupiah | None = None
    supervisor: StaffMember | str = ""
    goods: tuple[GoodsLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivePin:
    """What the member has typed for that request. Nothing happens unless it waits for a PIN."""

    request: str
    pin: Pin = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Do not wait for a card, or a PIN, any longer. Nothing happens unless that request (or any, if None) waits.

    A sale in doubt cannot be cancelled, only given up.
    """

    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpDoubt:
    """The card in doubt will not come again now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """The end of a request has been seen: back to idle. `request`: only if it is that one's."""

    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeNotShown:
    """`not_shown` and `refunds_not_shown` have been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSync:
    """Sync now."""


Command = (
    AskSale
    | AskBalance
    | AskLogin
    | AskRefund
    | GivePin
    | Cancel
    | GiveUpDoubt
    | Acknowledge
    | AcknowledgeNotShown
    | AskSync
)
Request = AskSale | AskBalance | AskLogin | AskRefund


class CounterLike(Protocol):
    """What a page needs of a counter; `dobmi.terminal.counter.Counter` is one. Thread-safe."""

    @property
    def state(self) -> CounterState:
        """As it is now."""

    def do(self, command: Command) -> Future[None]:
        """Have the counter take a command. Done when it is taken, not when a request has its end: that
        is a state, as is a request that is refused.

        Raises, out of the future, CounterBusy while another request is under way, RequestDiffers and
        BadRequestId for an id that cannot be used, CounterClosed when the counter ends, or what keeps
        the till from being opened. The same request again is taken at once, and its end shown again.
        """

    def ended(self, request: str) -> CounterState | None:
        """The state that a request ended in, of the last hundred; None while it is under way, or when
        it is not known. For who must not miss it: a log-in by card.
        """

    def run(self, work: Callable[[Till], T]) -> Future[T]:
        """Do `work` with the till in the counter's thread, between two looks for a card (a tenth of a
        second), never between two steps of a sale. For all that is quick: shifts, catalogue, status.
        """

    def changes(self, after_version: int, timeout_seconds: float | None = None) -> CounterState:
        """The newest state once it is newer than `after_version`, or when the time is up."""

    def watch(self, on_change: Callable[[CounterState], None]) -> Callable[[], None]:
        """Have `on_change` called with every new state, in a thread of the counter's: be quick.

        Two may come in the wrong order: their `version` tells. What is returned ends that.
        """
