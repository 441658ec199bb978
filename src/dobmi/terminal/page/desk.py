"""The cart that lies on the counter: one for the till, whatever browser looks at it. Any thread.

It goes to a card under a number (`request`) that is in the page's form, so that a second tap on
"Pay" is the first one again. Whatever changes the cart, and whatever a request ends in, gives the
next request a number of its own.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from dobmi.money import ZERO, Rupiah
from dobmi.sync.outlet import CatalogueItem
from dobmi.terminal.cart import Cart
from dobmi.terminal.counter_state import AskSale, CounterLike, CounterState, Phase
from dobmi.terminal.errors import BadCart, CounterBusy, PriceClassDiffers
from dobmi.terminal.page.errors import CartChanged

TWICE_SECONDS = 0.35
"""The same barcode or tile again so soon is a scanner or a finger that bounced."""
ANSWER_SECONDS_MAX = 10.0
_REQUESTS_KEPT = 100
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceNotice:
    """A card of another class came: what the same cart costs with it."""

    request: str
    holder: str
    member_class: str
    before: Rupiah
    total: Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskState:
    """`request`: under which number the cart is paid next. `added` is the newest line's name."""

    cart: Cart
    request: str
    added: str = ""
    notice: PriceNotice | None = None


def new_request() -> str:
    return secrets.token_urlsafe(18)


def answer_of(asked: Future[T]) -> T:
    """What the counter answers. Raises what it raises, and CounterBusy if it takes too long to begin:
    then it is withdrawn, and never done later.
    """
    try:
        return asked.result(ANSWER_SECONDS_MAX)
    except TimeoutError as error:
        if asked.cancel():
            raise CounterBusy from error
        return asked.result()  # it has begun meanwhile


class Desk:
    def __init__(
        self,
        counter: CounterLike,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
        found: tuple[Cart, str] | None = None,
    ) -> None:
        """`on_change` is called after each change, in whatever thread made it. `found`: a cart that
        lies there from before, and the number under which it is paid.
        """
        self._counter = counter
        self._monotonic = monotonic
        self._on_change = on_change
        self._lock = threading.RLock()
        cart, request = found or (Cart(), new_request())
        self._state = DeskState(cart=cart, request=request)
        self._asked: dict[str, AskSale] = {}
        self._was_taken = False
        """The counter has shown the newest request: when it shows it no more, it has ended."""
        self._seen_version = -1
        self._class_before_card: str | None = None
        """Whose prices the cart had before the card that lies there."""
        self._newest: tuple[str, float] = ("", -1.0)

    @property
    def state(self) -> DeskState:
        return self._state

    def add_item(self, item: CatalogueItem, quantity: int = 1) -> DeskState:
        """Raises BadCart, CounterBusy."""
        with self._lock:
            if self._is_twice(item.code):
                return self._state
            return self.change(lambda cart: cart.add_item(item, quantity), added=item.name)

    def change(self, change: Callable[[Cart], Cart], *, added: str = "") -> DeskState:
        """Raises what `change` raises, and CounterBusy while a card is asked to pay."""
        with self._lock:
            self._require_free()
            self._state = DeskState(
                cart=change(self._state.cart), request=new_request(), added=added
            )
            changed = self._state
        self._on_change()
        return changed

    def take(self, keep: Callable[[Cart], object]) -> DeskState:
        """The cart leaves the desk, and `keep` gets it. Raises what that raises: then it is back.

        `keep` may ask the counter, whose thread may want this desk: so nothing is locked meanwhile.
        """
        with self._lock:
            self._require_free()
            cart = self._state.cart
            emptied = self._state = DeskState(cart=Cart(), request=new_request())
        try:
            if cart.lines:
                keep(cart)
        except BaseException:
            with self._lock:
                if self._state is emptied:
                    self._state = DeskState(cart=cart, request=new_request())
            raise
        self._on_change()
        return emptied

    def pay(self, request: str, typed: Rupiah = ZERO) -> DeskState:
        """Have a card pay for the cart and the amount that was typed besides.

        Asked again with the same number it is the first time still. Raises CartChanged, BadCart,
        and what the counter raises.
        """
        with self._lock:
            if request in self._asked:
                return self._state
            if request != self._state.request:
                raise CartChanged
            self._require_free()
            cart = self._state.cart
            if typed > ZERO:
                cart = cart.add_amount(typed)
            asking = self._ask(cart, request)
            changed = self._state
        self._on_change()
        answer_of(asking)
        return changed

    def pay_again(self) -> DeskState:
        """After a refusal: the same cart under a new number."""
        return self.pay(self._state.request)

    def on_counter(self, state: CounterState) -> None:
        """What a request came to; called with every state of the counter, in its threads: an older
        state may come after a newer one, and says nothing any more.
        """
        with self._lock:
            if state.version <= self._seen_version:
                return
            self._seen_version = state.version
            request = self._state.request
            if request not in self._asked:
                if not self._follow(state):
                    return
            elif state.request == request:
                self._was_taken = True
                if not state.phase.is_final:
                    return
                if state.phase is Phase.PAID:
                    self._class_before_card = None
                    self._state = DeskState(cart=Cart(), request=new_request())
                elif isinstance(state.error, PriceClassDiffers):
                    self._ask_at_prices_of(state.error, state.card.holder if state.card else "")
                else:
                    self._state = DeskState(cart=self._state.cart, request=new_request())
            elif self._was_taken:  # it was cancelled
                self._state = DeskState(cart=self._state.cart, request=new_request())
            else:
                return
        self._on_change()

    def _follow(self, state: CounterState) -> bool:
        """Before the total is ready: the prices of the card that lies there, and those from before
        it when it is lifted again. Whether the cart changed.
        """
        cart = self._state.cart
        if state.phase is Phase.CARD_HERE and state.card is not None:
            if self._class_before_card is None:
                self._class_before_card = cart.member_class
            wanted = state.card.member_class
        elif self._class_before_card is not None:
            wanted, self._class_before_card = self._class_before_card, None
        else:
            return False
        if wanted == cart.member_class:
            return False
        followed = cart.for_class(wanted)
        request = self._state.request if followed.goods == cart.goods else new_request()
        self._state = DeskState(cart=followed, request=request)
        return True

    def _ask_at_prices_of(self, refusal: PriceClassDiffers, holder: str) -> None:
        """What is shown is what is charged: the new total is shown, and the next tap pays it."""
        before = self._state.cart.total
        cart = self._state.cart.for_class(refusal.card_class)
        request = new_request()
        self._state = DeskState(cart=cart, request=request)
        try:
            self._ask(cart, request)  # in the counter's own thread, so nobody waits for it here
        except BadCart:  # it costs that class nothing: the cart says so
            return
        self._state = DeskState(
            cart=cart,
            request=request,
            notice=PriceNotice(
                request=request,
                holder=holder,
                member_class=refusal.card_class,
                before=before,
                total=cart.total,
            ),
        )

    def _ask(self, cart: Cart, request: str) -> Future[None]:
        command = AskSale(
            request=request,
            purchase=cart.purchase(),
            member_class=cart.member_class if cart.has_class_prices else None,
            order=cart.order,
        )
        self._state = DeskState(cart=cart, request=request)
        self._was_taken = False
        self._asked[request] = command
        while len(self._asked) > _REQUESTS_KEPT:
            del self._asked[next(iter(self._asked))]
        asking = self._counter.do(command)
        asking.add_done_callback(lambda done: self._on_answer(request, done))
        return asking

    def _on_answer(self, request: str, done: Future[None]) -> None:
        """What the counter did not take needs another number, and can be asked again."""
        if done.cancelled() or done.exception() is not None:
            with self._lock:
                if self._state.request == request:
                    self._state = DeskState(cart=self._state.cart, request=new_request())
            self._on_change()

    def _require_free(self) -> None:
        if self._state.request in self._asked and self._counter.state.phase.is_busy:
            raise CounterBusy

    def _is_twice(self, what: str) -> bool:
        now = self._monotonic()
        before, at = self._newest
        self._newest = (what, now)
        return before == what and now - at < TWICE_SECONDS
